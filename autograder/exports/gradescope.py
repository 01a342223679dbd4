"""Gradescope: results.json from our verdicts, and the zip that grades inside Gradescope's own container.

There the harness runs as root in a container of its own for each submission. Our jobs then run at level `uid`: as
another user, with limits, without the bundle's files. docs/exports.md says what that does not stop.
"""

from __future__ import annotations

import io
import json
import os
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from autograder.base import paths
from autograder.base.wording import headline, plain_text
from autograder.chapter.rows import Row
from autograder.exports import ExportError
from autograder.grade import submissions
from autograder.grade.accounting import Account, choose
from autograder.grade.journal import Entry
from dlcv_lab.checking.model import ExerciseResult, Verdict
from dlcv_lab.files import write_whole

_STAMP = (2020, 1, 1, 0, 0, 0)  # the same bundle from the same files
_MODE = {True: 0o755, False: 0o644}
_DESCRIPTION = "bundle.json"

SETUP = """\
#!/usr/bin/env bash
# Gradescope runs this once, as root, when the autograder is built.
set -euo pipefail
apt-get update
apt-get install -y --no-install-recommends python3 python3-venv python3-pip
python3 -m venv /autograder/venv
/autograder/venv/bin/pip install --no-cache-dir torch torchvision
/autograder/venv/bin/pip install --no-cache-dir -c /autograder/source/constraints.txt \\
  -e /autograder/source -e /autograder/source/autograder
"""
RUN = """\
#!/usr/bin/env bash
# Gradescope runs this for every submission, as root. What a submission prints never reaches results.json.
base="${AUTOGRADER_ROOT:-/autograder}"
python="${AUTOGRADER_PYTHON:-$base/venv/bin/python}"
# a submission runs as another user: it may read the student's package and the sandbox's own files,
# neither cases nor secret
chmod -R go-rwx "$base/source"
chmod go+x "$base/source" "$base/source/autograder" "$base/source/autograder/sandbox"
chmod -R go+rX "$base/source/dlcv_lab" "$base/source/autograder/sandbox/inside"
mkdir -p "$base/results"
cd "$base/source" && exec "$python" -m autograder.exports.gradescope "$base"
"""


def results(entry: Entry, *, visibility: str = "visible") -> dict[str, Any]:
    """Return what Gradescope reads: score, and one test per exercise. Extras have no score.

    Where the grader itself failed there is no score at all, so that Gradescope calls the run failed, not the student.
    """
    if entry.faulty:
        return {
            "output": f"The grader itself failed on {', '.join(entry.faulty)}. Nothing was scored; run it again.",
            "output_format": "text",
            "extra_data": {"isolation": entry.isolation},
        }
    return {
        "score": entry.score,
        "execution_time": round(sum(result.seconds for result in entry.flat)),
        "output": "Each exercise was judged on cases that were drawn for this submission alone.",
        "output_format": "text",
        "test_output_format": "text",
        "test_name_format": "text",
        "visibility": visibility,
        "stdout_visibility": "hidden",
        "tests": [
            _test(f"{number}.{place}", result, result.name in entry.extras)
            for number, listed in enumerate(entry.results.values(), 1)
            for place, result in enumerate(listed, 1)
        ],
        "extra_data": {
            "isolation": entry.isolation,
            "versions": {result.name: result.version for result in entry.flat},
        },
    }


def _test(number: str, result: ExerciseResult, extra: bool) -> dict[str, Any]:
    test: dict[str, Any] = {
        "number": number,
        "name": f"{result.name} (extra, no marks)" if extra else result.name,
        "status": "passed" if result.verdict is Verdict.OK else "failed",
        "output": plain_text(headline(result)),
        "tags": [str(result.verdict)],
    }
    return test if extra else test | {"score": result.score, "max_score": result.max_score}


def bundle(row: Row, secret: bytes) -> bytes:
    """Return the autograder zip of a chapter: setup.sh, run_autograder, the grader, one chapter, a secret of its own.

    Raises:
        ExportError: a file that belongs in it is missing.
    """
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as sink:
        _add(sink, "setup.sh", SETUP.encode(), program=True)
        _add(sink, "run_autograder", RUN.encode(), program=True)
        _add(sink, _DESCRIPTION, (json.dumps({"chapter": row.slug, "minimum": "uid"}) + "\n").encode())
        _add(sink, "secret", secret + b"\n")
        for path, name in _files(row):
            _add(sink, name, path.read_bytes())
    return out.getvalue()


def _files(row: Row) -> Iterator[tuple[Path, str]]:
    """Yield what the grader needs of the checkout: the two packages, and of the chapters this one alone."""
    for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE", "autograder/pyproject.toml"):
        if not (paths.CHECKOUT / name).is_file():
            raise ExportError(f"{paths.CHECKOUT / name} is missing; export from a complete checkout")
        yield paths.CHECKOUT / name, name
    for package in ("dlcv_lab", "autograder"):
        for path in sorted((paths.CHECKOUT / package).rglob("*")):
            name = path.relative_to(paths.CHECKOUT).as_posix()
            if path.is_file() and _belongs(name):
                yield path, name
    for home in (paths.solutions(), paths.exercises()):
        yield from _row_files(home, row)
    for path in sorted((paths.chapters() / row.slug).glob("lesson*.md")):
        yield path, f"chapters/{row.slug}/{path.name}"
    for path in paths.bibliography():
        yield path, f"book/references/{path.name}"
    if paths.methods_table().is_file():
        yield paths.methods_table(), "book/methods.csv"
    yield paths.CHECKOUT / "autograder/exercises/__init__.py", "autograder/exercises/__init__.py"
    yield paths.CHECKOUT / "solutions/__init__.py", "solutions/__init__.py"


def _belongs(name: str) -> bool:
    left_out = ("__pycache__", ".egg-info", "dlcv_lab/packs/", "dlcv_lab/zoo/weights", "autograder/exercises/",
                "autograder/pyproject.toml", ".cache")  # fmt: skip
    return not any(part in name for part in left_out)


def _row_files(home: Path, row: Row) -> Iterator[tuple[Path, str]]:
    base = "solutions" if home == paths.solutions() else "autograder/exercises"
    single, folder = home / f"{row.slug}.py", home / row.slug
    for path in [single] if single.is_file() else sorted(folder.glob("*.py")):
        yield path, f"{base}/{path.relative_to(home).as_posix()}"


def _add(sink: zipfile.ZipFile, name: str, data: bytes, *, program: bool = False) -> None:
    item = zipfile.ZipInfo(name, _STAMP)
    item.external_attr = _MODE[program] << 16
    item.compress_type = zipfile.ZIP_DEFLATED
    sink.writestr(item, data)


def grade_one(base: Path) -> int:
    """Grade what lies in Gradescope's submission folder and write results.json; 1 where the grader itself failed."""
    from autograder import sandbox
    from autograder.chapter import rows
    from autograder.grade.marking import Marker

    described = json.loads((base / "source" / _DESCRIPTION).read_text(encoding="utf-8"))
    row = rows.load_row(described["chapter"])
    secret = (base / "source" / "secret").read_bytes().strip()
    to = base / "results" / "results.json"
    student = _student(base / "submission_metadata.json")
    level = sandbox.require(described["minimum"])
    submission, account = _collect(base / "submission", row, student)
    with Marker(row.slug, secret, level) as marker:
        entry = marker.mark(submission)
    told = with_account(results(entry), account)
    write_whole(to, (json.dumps(told, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace"))
    return 1 if entry.faulty else 0


def _collect(folder: Path, row: Row, student: str) -> tuple[submissions.Submission, Account]:
    """Return the submission, and what became of every file of the upload.

    An upload is a few files or a whole repository: the chapter's folder counts, then files in no chapter's folder.
    """
    stems = [lesson.stem for lesson in row.notebooks]
    given = [replace(one, name="/".join(one.parts)) for one in submissions.files_of(folder, student) if one.parts]
    chosen = choose(given, row.slug, stems, submissions.begins, loose=True)
    taken = {stem: one.path for stem, one in chosen.files.items() if one.path is not None}
    return submissions.Submission(student, taken, chosen.problems), Account(chosen.fates)


def with_account(made: dict[str, Any], account: Account) -> dict[str, Any]:
    """Return a results.json that tells what became of every file of the upload."""
    told = [f"Taken: {fate.file} {fate.why}" for fate in account.told]
    told += [f"Not taken: {fate.file}: {fate.why}" for fate in account.findings]
    extra = {**made.get("extra_data", {}), "account": account.as_data()}
    return {**made, "output": plain_text("\n".join([made["output"], *told])), "extra_data": extra}


def _student(metadata: Path) -> str:
    """Return who handed in: the cases depend on it. One submission of a group is one student here."""
    try:
        users = json.loads(metadata.read_text(encoding="utf-8"))["users"]
        return ",".join(sorted(str(user["email"]) for user in users)) or "unknown"
    except (OSError, ValueError, KeyError, TypeError):
        return "unknown"


def main(base: Path) -> int:
    """Grade, and leave a results.json whatever happens: without a score where the grader failed."""
    try:
        return grade_one(base)
    except Exception as error:  # the last border: Gradescope shows this text to the instructor
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        said = {"output": "The grader itself failed. Nothing was scored; run it again.", "output_format": "text"}
        write_whole(base / "results" / "results.json", (json.dumps(said) + "\n").encode())
        return 1


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main(Path(sys.argv[1])))
