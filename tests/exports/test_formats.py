"""Each format against a golden file, and against a program that reads it where there is one."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path

import pytest
import typer
from nbgrader.api import Gradebook
from nbgrader.plugins import CsvExportPlugin
from typer.testing import CliRunner

from autograder.cli import exports as verbs
from autograder.exports import gradescope, nbgrader_csv, records
from autograder.exports.scores import Score
from autograder.grade.journal import Entry
from autograder.release.course import Course
from dlcv_lab.cli.frame import Trouble

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")
SLUG = "ch99_demo"
GOLDEN = Path(__file__).parent / "golden"


def golden(name: str, made: bytes) -> None:
    """Compare with the golden file; DLCV_GOLDEN=1 writes it anew, to be looked at before it is committed."""
    path = GOLDEN / name
    if os.environ.get("DLCV_GOLDEN") == "1":
        path.write_bytes(made)
    assert path.read_bytes() == made


def as_bytes(data: object) -> bytes:
    return (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode()


def run(*arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    verbs.register(app)
    result = CliRunner().invoke(app, ["export", *arguments], env={"COLUMNS": "200"})
    if isinstance(result.exception, Trouble):
        return result.exception.code, str(result.exception)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_json_lines(entries: list[Entry]) -> None:
    made = records.json_lines(entries)
    golden("verdicts.jsonl", made)
    assert [json.loads(line)["student"] for line in made.decode().splitlines()] == [
        "王小明", "王小明", "O'Neil", "O'Neil", "carol", "carol",
    ]  # fmt: skip


def test_junit_xml_is_read_by_junitparser(entries: list[Entry], fault: Entry, tmp_path: Path) -> None:
    import junitparser

    made = records.junit([*entries, fault], SLUG)
    golden("junit.xml", made)
    (tmp_path / "junit.xml").write_bytes(made)
    read = junitparser.JUnitXml.fromfile(str(tmp_path / "junit.xml"))
    assert [suite.name for suite in read] == ["王小明", "O'Neil", "carol", "xi"]
    assert (read.tests, read.failures, read.errors) == (8, 1, 1)
    failed = next(case for suite in read for case in suite if case.result and "You divide" in case.result[0].message)
    assert isinstance(failed.result[0], junitparser.Failure)
    assert "]]> & <b>" in failed.result[0].text
    read.update_statistics()
    assert (read.tests, read.failures, read.errors, read.skipped) == (8, 1, 1, 5)
    assert ET.fromstring(made).tag == "testsuites"


def test_gradescope_results(entries: list[Entry], fault: Entry) -> None:
    golden("gradescope.json", as_bytes([gradescope.results(entry) for entry in [*entries, fault]]))
    for entry in entries:
        made = gradescope.results(entry)
        assert set(made) <= GRADESCOPE_KEYS
        assert made["score"] == sum(test.get("score", 0.0) for test in made["tests"])
        assert all(set(test) <= GRADESCOPE_TEST_KEYS for test in made["tests"])
    assert "score" not in gradescope.results(fault)
    assert "tests" not in gradescope.results(fault)


GRADESCOPE_KEYS = {"score", "execution_time", "output", "output_format", "test_output_format", "test_name_format",
                   "visibility", "stdout_visibility", "extra_data", "tests", "leaderboard"}  # fmt: skip
GRADESCOPE_TEST_KEYS = {"score", "max_score", "status", "name", "name_format", "number", "output", "output_format",
                        "tags", "visibility", "extra_data"}  # fmt: skip


def test_the_csv_has_nbgraders_columns_and_values_and_no_formula(known: list[Score], course: Course) -> None:
    made = nbgrader_csv.export(known)
    golden("grades.csv", made)
    assert nbgrader_csv.export(known, bom=True) == b"\xef\xbb\xbf" + made
    ours = list(csv.DictReader(io.StringIO(made.decode(), newline="")))
    stock = CsvExportPlugin(to=str(course.root / "stock.csv"))
    with Gradebook(course.database) as book:
        stock.export(book)
    theirs = list(csv.DictReader((course.root / "stock.csv").open(encoding="utf-8")))
    for mine, other in zip(ours, theirs, strict=True):
        if mine["student_id"] not in ("evil", "quote"):  # stock nbgrader quotes nothing and lets formulas through
            assert mine == other
    assert list(ours[0]) == (course.root / "stock.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    dangerous = [row for row in csv.reader(io.StringIO(made.decode())) for cell in row if cell[:1] in ("=", "+", "@")]
    assert dangerous == []


@pytest.mark.parametrize("verb", ["csv", "junit", "jsonl"])
def test_the_verbs_write_whole_files(
    verb: str, course: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autograder.chapter.rows.resolve", lambda chapter: SLUG)
    to = tmp_path / "out" / "file"
    code, said = run(verb, "ch99", "--course", str(course.root), "--to", str(to))
    assert code == 0, said
    assert to.stat().st_size > 100
    assert list(to.parent.iterdir()) == [to]
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder should be")
    code, said = run(verb, "ch99", "--course", str(course.root), "--to", str(blocked / "x"))
    assert (code, "could not be written" in said) == (2, True), said


def test_canvas_and_moodle_never_overwrite_what_was_exported(
    course: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autograder.chapter.rows.resolve", lambda chapter: SLUG)
    exported = tmp_path / "canvas.csv"
    exported.write_bytes((GOLDEN / "canvas.csv").read_bytes())
    folder = ("--course", str(course.root))
    code, said = run("canvas", "ch99", str(exported), "--column", "Lab 9 (1234)", "--to", str(exported), *folder)
    assert (code, "name another one" in said) == (2, True)
    code, said = run("canvas", "ch99", str(exported), "--column", "Lab 9 (1234)", *folder)
    assert code == 1, said  # a row and a student did not find each other
    assert (tmp_path / "canvas-ch99.csv").read_bytes() == (GOLDEN / "canvas.filled.csv").read_bytes()
    assert exported.read_bytes() == (GOLDEN / "canvas.csv").read_bytes()
    parts = ("4 rows: 3 filled in, 0 left as they are, 1 without a student",
             "Rows without a student in the gradebook: zoe", "Students without a row: evil")  # fmt: skip
    for part in parts:
        assert part in said
    code, said = run("moodle", "ch99", str(tmp_path / "nowhere.csv"), *folder)
    assert (code, "nowhere.csv cannot be read" in said) == (2, True)


def test_nothing_graded_says_what_to_do(course: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autograder.chapter.rows.resolve", lambda chapter: SLUG)
    (course.journal / f"{SLUG}.jsonl").unlink()
    code, said = run("jsonl", "ch99", "--course", str(course.root))
    assert (code, "dlcv grade --chapter ch99" in said) == (2, True)


@pytest.mark.slow
@pytest.mark.sandbox
def test_the_gradescope_bundle_grades_a_submission(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Unpack the bundle as Gradescope would, in another place, and run its run_autograder on an honest submission."""
    from autograder.base import paths
    from autograder.chapter import new_chapter, rows
    from autograder.chapter.source import without_markers
    from autograder.release.nbgrader_release import generate

    with pytest.MonkeyPatch.context() as patch:
        for name in ("ROOT", "BUILD", "CACHE"):
            patch.setenv(f"DLCV_{name}", str(tmp_path / name.lower()))
        new_chapter.new_chapter(SLUG)
        row = rows.load_row(SLUG)
        from autograder.release import assemble

        assemble.assemble(row, packs=False)
        released = generate(paths.source(SLUG), SLUG, tmp_path / "release")[0]
        made = gradescope.bundle(row, b"s" * 64)
        assert made == gradescope.bundle(row, b"s" * 64)
        answer = without_markers(row.reference(row.exercise_by_name["box_blur"]))
        rows.forget(SLUG)
    base = tmp_path / "autograder"
    with zipfile.ZipFile(io.BytesIO(made)) as opened:
        names = set(opened.namelist())
        opened.extractall(base / "source")
    assert {"setup.sh", "run_autograder", "secret", f"solutions/{SLUG}.py"} <= names
    assert not [name for name in names if "gradebook" in name.rsplit("/", 1)[-1] and name.endswith(".db")]
    notebook = json.loads(released.read_text())
    for cell in notebook["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("grade_id") == "ch99-box_blur":
            cell["source"] = answer
    (base / "submission" / "upload").mkdir(parents=True)
    (base / "submission" / "upload" / "lesson_1.ipynb").write_text(json.dumps(notebook))
    (base / "submission_metadata.json").write_text(json.dumps({"users": [{"email": "a@x"}]}))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DLCV_")}
    environment |= {"AUTOGRADER_ROOT": str(base), "AUTOGRADER_PYTHON": sys.executable}
    done = subprocess.run(["bash", str(base / "source" / "run_autograder")], env=environment, capture_output=True,
                          text=True, timeout=300)  # fmt: skip
    told = json.loads((base / "results" / "results.json").read_text())
    assert done.returncode == 0, (done.stderr, told)
    assert told["score"] == 3
    assert [test["status"] for test in told["tests"]] == ["passed", "failed"]
    (base / "source" / "secret").unlink()
    done = subprocess.run(["bash", str(base / "source" / "run_autograder")], env=environment, capture_output=True,
                          text=True, timeout=300)  # fmt: skip
    told = json.loads((base / "results" / "results.json").read_text())
    assert done.returncode == 1
    assert "score" not in told
