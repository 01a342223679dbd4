"""A class is graded: layouts, one broken submission, a stopped run, workers, the JSON, the gradebook, feedback."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import zipfile
from pathlib import Path

import nbformat
import pytest
from grader_helpers import SECRET, SLUG, Class, write
from nbgrader.api import Gradebook
from typer.testing import CliRunner

from autograder.base import paths
from autograder.cli import grading as verbs
from autograder.grade import marking, submissions
from autograder.grade.journal import Journal, JournalError
from autograder.grade.pool import Plan, grade_class
from autograder.release import course as courses
from autograder.release import nbgrader_release
from autograder.sandbox import detect
from dlcv_lab.cli.frame import Trouble

pytestmark = [pytest.mark.sandbox, pytest.mark.slow, pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")]
STEM = "lesson_1"


@pytest.fixture(scope="module")
def raws(klass: Class) -> dict[str, bytes]:
    """Five submissions: right, one mistake, nothing, a loop without end, no notebook at all."""
    blur, unsharp = klass.reference("box_blur"), klass.reference("unsharp")
    sums = klass.row.exercise_by_name["box_blur"].misconceptions[0].source()
    return {
        "alice": klass.hand_in(box_blur=blur, unsharp=unsharp),
        "bob": klass.hand_in(box_blur=sums, unsharp=unsharp),
        "carol": klass.hand_in(),
        "dave": klass.hand_in(box_blur="def box_blur(x, k):\n    import os\n    os._exit(0)\n", unsharp=unsharp),
        "eve <b>": b"not a notebook",
    }


@pytest.fixture
def folder(tmp_path: Path, raws: dict[str, bytes]) -> Path:
    for student, raw in raws.items():
        write(tmp_path / "in" / student / SLUG / f"{STEM}.ipynb", raw)
    return tmp_path / "in"


def plan() -> Plan:
    return Plan(SLUG, SECRET, detect())


def collected(place: Path, tmp_path: Path) -> list[submissions.Submission]:
    return submissions.collect(place, SLUG, [STEM], tmp_path / "unpacked")


def verdicts(entries: list) -> dict[str, str]:
    return {entry.student: " ".join(str(result.verdict) for result in entry.flat) for entry in entries}


EXPECTED = {"alice": "OK OK", "bob": "WA OK", "carol": "NA NA", "dave": "SG OK", "eve <b>": "UR UR"}


@pytest.fixture(scope="module")
def course(klass: Class, tmp_path_factory: pytest.TempPathFactory) -> courses.Course:
    root = tmp_path_factory.mktemp("course")
    made, _ = courses.init_course(root, chapters=["ch99"])
    nbgrader_release.generate(paths.source(SLUG), SLUG, root / "student", made)
    return made


def run(*arguments: str) -> tuple[int, str]:
    """Run `dlcv` in this process; the exit code and what was printed."""
    import typer

    app = typer.Typer()
    verbs.register(app)
    result = CliRunner().invoke(app, list(arguments))
    if isinstance(result.exception, Trouble):
        return result.exception.code, str(result.exception)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_a_course_is_graded_into_journal_gradebook_copies_and_feedback(
    course: courses.Course, raws: dict[str, bytes], tmp_path: Path
) -> None:
    for student, raw in raws.items():
        write(course.root / "submitted" / student / SLUG / f"{STEM}.ipynb", raw)
    out = tmp_path / "grades.json"
    code, said = run("grade", "--chapter", "ch99", "--course", str(course.root), "--json", str(out), "--workers", "1")
    assert (code, "eve <b>/ch99_demo/lesson_1.ipynb: refused" in said) == (1, True), said
    table = {item["student"]: item for item in json.loads(out.read_text())["students"]}
    got = {student: " ".join(e["verdict"] for e in item["exercises"]) for student, item in table.items()}
    assert got == EXPECTED
    assert table["bob"]["score"] < table["alice"]["score"] == table["alice"]["max_score"]
    hint = {e["name"]: e["hint"] for e in table["bob"]["exercises"]}["box_blur"]
    assert hint, "the misconception is told"

    with Gradebook(course.database) as book:
        for student, item in table.items():
            assert book.find_submission(SLUG, student).score == pytest.approx(item["score"])
        grade = book.find_grade("ch99-box_blur-check", STEM, SLUG, "bob")
        assert not grade.needs_manual_grade
        assert hint in book.find_comment("ch99-box_blur", STEM, SLUG, "bob").auto_comment
        assert book.find_grade("ch99-where_blur_hurts", STEM, SLUG, "carol").auto_score == 0

    for student in raws:
        copy = nbformat.read(course.root / "autograded" / student / SLUG / f"{STEM}.ipynb", as_version=4)
        nbformat.validate(copy)
        for cell in copy.cells:
            if cell.metadata.get("nbgrader", {}).get("grade") and cell.cell_type == "code":
                assert cell.outputs[-1].output_type == "execute_result"
    page = next((course.root / "feedback" / "eve <b>" / SLUG).glob("feedback-*.html")).read_text()
    assert "eve &lt;b&gt;" in page
    assert "<b>" not in page
    assert "<script" not in page
    report = (course.journal / f"{SLUG}.html").read_text()
    assert hint.split("<")[0][:30] in report


def test_a_second_run_takes_everything_from_the_journal(
    course: courses.Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marking.Marker, "mark", lambda *a: pytest.fail("a submission was judged twice"))
    code, said = run("grade", "--chapter", "ch99", "--course", str(course.root), "--workers", "1")
    assert code == 1, said  # eve's file cannot be read, as before


def test_a_locked_gradebook_is_named_and_nothing_is_lost(course: courses.Course) -> None:
    holder = sqlite3.connect(course.root / "gradebook.db", timeout=0)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        code, said = run("grade", "--chapter", "ch99", "--course", str(course.root), "--workers", "1")
    finally:
        holder.rollback()
        holder.close()
    assert code == 3
    assert "gradebook.db" in said
    assert "close it" in said
    assert len(Journal(course.journal / f"{SLUG}.jsonl").latest()) == len(EXPECTED)


def test_a_damaged_gradebook_is_named(course: courses.Course, tmp_path: Path) -> None:
    whole = course.root / "gradebook.db"
    kept = tmp_path / "kept.db"
    shutil.copy(whole, kept)
    whole.write_bytes(b"this is no database, " * 100)
    try:
        code, said = run("grade", "--chapter", "ch99", "--course", str(course.root), "--workers", "1")
    finally:
        shutil.copy(kept, whole)
    assert (code, "damaged" in said) == (3, True), said


def test_without_a_course_the_flat_layout_and_a_zip_give_the_same_verdicts(
    raws: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flat = tmp_path / "flat"
    for student, raw in raws.items():
        write(flat / f"{student.replace(' <b>', '')}__{STEM}.ipynb", raw)
    archive = tmp_path / "class.zip"
    with zipfile.ZipFile(archive, "w") as sink:
        for path in sorted(flat.iterdir()):
            sink.write(path, path.name)
    tables = []
    for place in (flat, archive):
        out = tmp_path / f"{place.name}.json"
        code, said = run("grade", str(place), "--chapter", "ch99", "--json", str(out), "--workers", "1")
        assert code == 1, said  # eve's file could not be read
        students = json.loads(out.read_text())["students"]
        tables.append({i["student"]: [e["verdict"] for e in i["exercises"]] for i in students})
    assert tables[0] == tables[1]
    assert tables[0]["alice"] == ["OK", "OK"]


@pytest.mark.slow
def test_two_workers_give_the_verdicts_of_one(folder: Path, tmp_path: Path) -> None:
    entries = list(grade_class(plan(), collected(folder, tmp_path), workers=2))
    assert verdicts(entries) == EXPECTED


def test_a_stopped_run_goes_on_where_it_was(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal" / f"{SLUG}.jsonl"
    handed_in = collected(folder, tmp_path)
    with Journal(path) as journal:
        running = grade_class(plan(), handed_in, journal=journal, workers=1)
        first = [next(running), next(running)]
        running.close()
    with path.open("ab") as sink:
        sink.write(b'{"format": 1, "student": "cut o')  # the power went here
    marked: list[str] = []
    real = marking.Marker.mark
    monkeypatch.setattr(marking.Marker, "mark", lambda self, s: marked.append(s.student) or real(self, s))
    with Journal(path) as journal:
        entries = list(grade_class(plan(), handed_in, journal=journal, workers=1))
    assert not set(marked) & {entry.student for entry in first}
    assert verdicts(entries) == EXPECTED
    assert len(Journal(path).latest()) == len(EXPECTED)


def test_a_changed_submission_or_secret_is_judged_again(folder: Path, klass: Class, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    one = [s for s in collected(folder, tmp_path) if s.student == "carol"]
    list(grade_class(plan(), one, journal=journal, workers=1))
    write(folder / "carol" / SLUG / f"{STEM}.ipynb", klass.honest())
    list(grade_class(plan(), one, journal=journal, workers=1))
    assert len(list(journal.entries())) == 2
    assert verdicts(list(journal.latest().values())) == {"carol": "OK OK"}


def test_a_fault_of_the_grader_is_no_score_and_is_tried_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("our own mistake")

    journal = Journal(tmp_path / "journal.jsonl")
    one = [s for s in collected(folder, tmp_path) if s.student == "alice"]
    with monkeypatch.context() as patch:
        patch.setattr(marking, "hidden_pack", broken)
        entry = next(iter(grade_class(plan(), one, journal=journal, workers=1)))
        assert entry.faulty == ("box_blur", "unsharp")
        assert "our own mistake" in entry.flat[0].message
    assert verdicts(list(grade_class(plan(), one, journal=journal, workers=1))) == {"alice": "OK OK"}


def test_only_one_run_holds_the_journal(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.jsonl"), pytest.raises(JournalError, match="another run"), Journal(tmp_path / "j.jsonl"):
        pass


def test_wrong_usage_is_told_with_exit_code_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, klass: Class) -> None:
    monkeypatch.chdir(tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run("grade", str(empty), "--chapter", "ch99")[0] == 2
    assert run("grade", str(tmp_path / "nowhere"), "--chapter", "ch99")[0] == 2
    assert run("grade", "--chapter", "ch99")[0] == 2
    assert run("grade", str(empty), "--chapter", "ch42")[0] == 2
    code, said = run("grade", str(empty), "--chapter", "ch99", "--min-isolation", "none", "--device", "tpu")
    assert (code, "cpu or cuda" in said) == (2, True), said
    assert os.listdir(empty) == []


def test_a_gpu_that_is_not_there_is_told_before_anything_is_judged(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    code, said = run("grade", str(folder), "--chapter", "ch99", "--min-isolation", "none", "--device", "cuda")
    assert (code, "torch finds no GPU here" in said, "leave --device out" in said) == (2, True, True), said
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    words = ("--device", "cuda", "--scheduler", "tcp://127.0.0.1:1")
    code, said = run("grade", str(folder), "--chapter", "ch99", "--min-isolation", "none", *words)
    assert (code, "on this machine" in said) == (2, True), said


def test_the_same_files_on_another_device_are_another_judgement(klass: Class, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    names = []
    for device in ("cpu", "cuda"):
        with marking.Marker(SLUG, SECRET, "none", device=device) as marker:
            names.append(marker.address("alice", {}))
    assert len(set(names)) == 2


def test_explain_shows_what_a_case_met(course: courses.Course) -> None:
    code, said = run("explain", "bob", "ch99.box_blur", "--course", str(course.root))
    assert code == 0, said
    for part in ("window 3", "a float32 tensor of shape (6, 6)", "got:", "expected:"):
        assert part in said.replace("\n", " ")
