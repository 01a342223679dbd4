"""The attack suite as a class of students: a small row, a course, the submissions, `dlcv grade`, and the table."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import attack_suite
import nbformat
from attack_suite import Attack

from autograder.base import paths
from autograder.chapter import new_chapter, rows
from autograder.chapter.source import without_markers
from autograder.release import assemble
from autograder.release import course as courses
from autograder.release.nbgrader_release import generate
from autograder.sandbox import levels

SLUG, STEM = "ch99_demo", "lesson_1"
TOKEN = {"DLCV_TEST_TOKEN": "s3cret-token"}
# short, so that a denial is over soon; and one operation is forbidden
QUICK = (
    "limits=Limits(seconds=1.5, cpu_seconds=1.5, memory_mib=400, output_bytes=2**20),\n"
    '        forbid=Forbid(aten=("aten.avg_pool2d*",), names=("F.avg_pool2d",)),\n        '
)


@dataclass(frozen=True)
class Course:
    """A course folder with one released chapter."""

    root: Path
    release: dict[str, Any]  # notebook JSON
    honest: dict[str, str]  # function -> right answer
    environment: dict[str, str]

    def values(self) -> dict[str, list[str]]:
        """Return the paths that attacks look for."""
        checkout = paths.CHECKOUT
        wanted = [self.root / "secret", checkout, checkout / "solutions", Path.home() / ".ssh", "/etc/passwd",
                  "/etc/shadow", "/proc/1/environ", "/home", "/var"]  # fmt: skip
        course = [self.root / "submitted", self.root / "gradebook.db", self.root / "journal" / f"{SLUG}.jsonl",
                  self.root / "secret", self.root / "course.toml"]  # fmt: skip
        return {"WANTED": list(map(str, wanted)), "COURSE": list(map(str, course))}


def variables(place: Path) -> dict[str, str]:
    """Return the environment in which the row below `place` is the only one."""
    build = place / "build"
    return {"DLCV_ROOT": str(place / "rows"), "DLCV_BUILD": str(build), "DLCV_CACHE": str(place / "cache"),
            "DLCV_PACKS": str(build / "packs")}  # fmt: skip


def make_course(place: Path, *, quick: bool = True) -> Course:
    """Make the row and the course below `place`; `variables(place)` must be set in this process.

    With `quick`, its exercise has short limits and forbids an operation.
    """
    new_chapter.new_chapter(SLUG)
    declared = new_chapter.columns(SLUG)["exercises.py"]
    imports = "from dlcv_lab.checking.model import Forbid, Limits\n"
    text = declared.read_text().replace("import torch\n", f"import torch\n{imports}", 1)
    if quick:
        text = text.replace('methods=("ch99/box_blur",),\n', f'methods=("ch99/box_blur",),\n        {QUICK}', 1)
    declared.write_text(text)
    rows.forget(SLUG)
    row = rows.load_row(SLUG)
    assemble.assemble(row, packs=False)
    root = place / "course"
    made, _ = courses.init_course(root, chapters=["ch99"])
    root.chmod(0o700)
    released = generate(paths.source(SLUG), SLUG, root / "student", made)
    honest = {name: without_markers(row.source(name)) for name in ("box_blur", "unsharp")}
    notebook = json.loads(nbformat.writes(nbformat.read(released[0], as_version=4)))
    rows.forget(SLUG)
    return Course(root, notebook, honest, {**os.environ, **variables(place), **TOKEN})


@dataclass(frozen=True)
class Handed:
    """One submission: whose, and of which attack; `right` where a trick surrounds right answers."""

    student: str
    attack: Attack | None
    right: bool = False


def hand_in(course: Course, attacks: Sequence[Attack], every: int) -> list[Handed]:
    """Fill submitted/ with the attacks, and an honest student first, last and after `every` attacks."""
    shutil.rmtree(course.root / "submitted", ignore_errors=True)
    handed = list(_planned(attacks, every))
    honest = attack_suite.notebook(replace(attacks[0], form="code"), course.release, answers=course.honest)
    later = []
    for item in handed:
        folder = course.root / "submitted" / item.student / SLUG
        path = folder / f"{STEM}.ipynb"
        folder.mkdir(parents=True)
        if item.attack is None:
            path.write_bytes(honest)
            continue
        answers = course.honest if item.right else None
        path.write_bytes(attack_suite.notebook(item.attack, course.release, course.values(), answers))
        later.append((item.attack, folder, path))
    for attack, folder, path in later:
        attack_suite.arrange(attack, folder, path)
    return handed


def _planned(attacks: Sequence[Attack], every: int) -> Iterator[Handed]:
    for number, attack in enumerate(attacks):
        if number % every == 0:
            yield Handed(f"{number:03d}-0-honest", None)
        name = f"{number:03d}-{attack.name.replace('/', '-')}"
        yield Handed(attack.student or name, attack)
        if attack.form == "notebook":
            yield Handed(f"{name}-right", attack, right=True)
        if attack.name.endswith("left_on_disk"):
            yield Handed(f"{name}-again", attack)
    yield Handed("zzz-honest", None)


@dataclass(frozen=True)
class Graded:
    """What `dlcv grade` made of a class."""

    code: int
    said: str
    students: dict[str, dict[str, Any]]

    @property
    def aborted(self) -> bool:
        """Tell whether the run ended early or could not judge somebody; 1 alone says that files were not read."""
        return self.code > 1 or "a fault of the grader" in self.said


def command(course: Course, level: str, workers: int, out: Path, *, recorded: bool = False) -> list[str]:
    """Return the command line of `dlcv grade`: on the folder of submissions, or with `recorded` into the course."""
    words = [sys.executable, "-c", "from dlcv_lab.cli import main; main()", "grade", "--chapter", "ch99", "--json",
             str(out), "--level", level, "--min-isolation", "none", "--workers", str(workers)]  # fmt: skip
    return words + (["--course", str(course.root)] if recorded else [str(course.root / "submitted")])


def grade(course: Course, level: str, workers: int, seconds: float) -> Graded:
    """Run `dlcv grade` on the class at one isolation level, in a process of its own."""
    out = course.root.parent / f"grades-{level}.json"
    out.unlink(missing_ok=True)
    done = subprocess.run(
        command(course, level, workers, out), env=course.environment, cwd=course.root.parent, capture_output=True,
        text=True, timeout=seconds,
    )  # fmt: skip
    students = {item["student"]: item for item in json.loads(out.read_text())["students"]} if out.exists() else {}
    return Graded(done.returncode, done.stdout + done.stderr, students)


def reachable() -> list[str]:
    """Return the isolation levels that can be tried on this machine, best first."""
    found = ["bubblewrap"] if levels.bubblewrap_works() else []
    found += ["uid"] if sys.platform.startswith("linux") and os.geteuid() == 0 else []
    return [*found, "none"]


def best() -> str:
    return reachable()[0]


@dataclass(frozen=True)
class Line:
    """What became of one attack at one level."""

    attack: str
    kind: str
    counts_as: str
    verdicts: str
    gained: float  # points
    leaked: bool
    as_expected: bool
    known_open: bool  # this level is known not to stop it

    @property
    def stopped(self) -> bool:
        return not self.gained and not self.leaked


def lines(handed: Sequence[Handed], graded: Graded, level: str) -> list[Line]:
    """Return one line per attack that was handed in to gain something."""
    found = []
    for item in handed:
        if item.attack is None or item.right:
            continue
        exercises = graded.students[item.student]["exercises"]
        said = " ".join(exercise["message"] for exercise in exercises)
        verdicts = [exercise["verdict"] for exercise in exercises]
        expected = not item.attack.verdicts or verdicts[0] in item.attack.verdicts
        found.append(
            Line(item.attack.name, item.attack.kind, item.attack.counts_as, " ".join(verdicts),
                 sum(exercise["score"] for exercise in exercises), leaked(said), expected, level in item.attack.open_at)
        )  # fmt: skip
    return found


def leaked(said: str) -> bool:
    """Tell whether an attack says that it has seen something."""
    return "loot [" in said and "loot []" not in said


def untouched(handed: Sequence[Handed], graded: Graded) -> list[str]:
    """Return the honest students, and those with a right answer inside a trick, who did not get full marks."""
    return [
        item.student
        for item in handed
        if (item.attack is None or item.right)
        and {exercise["verdict"] for exercise in graded.students[item.student]["exercises"]} != {"OK"}
    ]


def table(level: str, found: Sequence[Line], wronged: Sequence[str], graded: Graded) -> str:
    """Return the table of one level as text."""
    honest = [line for line in found if line.counts_as == "integrity"]
    rows_ = [f"{'level ' + level:28} {'tried':>6} {'stopped':>8} {'points':>7} {'seen':>5}"]
    for kind in dict.fromkeys(line.kind for line in honest):
        own = [line for line in honest if line.kind == kind]
        rows_.append(_row(kind, own))
    rows_.append(_row("all", honest))
    rules = [line for line in found if line.counts_as == "rules"]
    evaded = sum(line.gained > 0 for line in rules)
    rows_.append(f"rules of the exercise: {len(rules)} tried, {evaded} evaded (the answers are right)")
    rows_ += [f"not stopped, as known for this level: {line.attack}" for line in honest if not line.stopped]
    rows_.append(f"others touched: {len(wronged)}; run aborted: {'yes' if graded.aborted else 'no'}")
    return "\n".join(rows_)


def _row(name: str, own: Sequence[Line]) -> str:
    stopped = sum(line.stopped for line in own)
    return f"{name:28} {len(own):6} {stopped:8} {sum(line.gained for line in own):7g} {sum(w.leaked for w in own):5}"


def record(level: str, found: Sequence[Line], wronged: Sequence[str], graded: Graded) -> dict[str, Any]:
    """Return the table of one level as data."""
    integrity = [line for line in found if line.counts_as == "integrity"]
    rules = [line for line in found if line.counts_as == "rules"]
    return {
        "level": level,
        "attacks": len(integrity),
        "stopped": sum(line.stopped for line in integrity),
        "points gained": sum(line.gained for line in integrity),
        "leaks": sum(line.leaked for line in integrity),
        "others touched": len(wronged),
        "aborted": graded.aborted,
        "rules": {"attacks": len(rules), "evaded": sum(line.gained > 0 for line in rules)},
        "classes": dict(Counter(line.kind for line in integrity)),
        "lines": [asdict(line) for line in found],
    }
