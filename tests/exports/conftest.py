"""A small class for the exports: results as the journal has them, and a gradebook with names that are hard to write."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from nbgrader.api import Gradebook

from autograder.exports.scores import Score, scores
from autograder.grade.journal import Entry, Journal
from autograder.release.course import Course
from dlcv_lab.checking.model import CaseResult, Diagnosis, ExerciseResult, Verdict

SLUG, STEM = "ch99_demo", "lesson_1"
PEOPLE = {
    "wang": ("王", "小明", "wang@uni.example"),
    "oneil": ("O'Neil", "Áine", "aine.oneil@uni.example"),
    "quote": ('Doe "JD", Jr.', "John", "jd@uni.example"),
    "evil": ('=HYPERLINK("http://x","y")', "+1", "@evil"),
    "absent": ("Nemo", "Ann", "nemo@uni.example"),
}
SCORES = {"wang": 3.0, "oneil": 2.5, "quote": 0.0, "evil": 1.0}


def result(verdict: Verdict, score: float, **more: object) -> ExerciseResult:
    facts = {"seconds": 0.25, "message": "2 of 4 cases are right.", "version": "0123456789abcdef", "attempt": "a" * 64}
    return ExerciseResult("box_blur", verdict, score, 3.0, **{**facts, **more})  # type: ignore[arg-type]


def entry(student: str, first: ExerciseResult, **more: object) -> Entry:
    extra = ExerciseResult("unsharp", Verdict.NA, 0.0, 1.0, message="Not attempted yet.", version="fedcba9876543210")
    facts = dict(
        student=student, slug=SLUG, address=student, key="k", isolation="bubblewrap", digests={},
        results={STEM: (first, extra)}, extras=("unsharp",), when="2026-01-02T03:04:05+00:00",
    )  # fmt: skip
    return Entry(**{**facts, **more})  # type: ignore[arg-type]


@pytest.fixture
def entries() -> list[Entry]:
    """A right one, a known mistake with hostile text, one that is not attempted."""
    hostile = "]]> & <b>\x1b[31m\x00\ufffe=1"
    mistake = result(
        Verdict.PA, 2.0, hint="You divide by k.", notes=(hostile,), peak_mib=12.5,
        diagnosis=Diagnosis("divides_by_side", "You divide by k.", "misconception"),
        cases=(CaseResult(0, "plain", "6x6", Verdict.OK), CaseResult(1, "edge", "4x6", Verdict.WA, "off by 2")),
    )  # fmt: skip
    return [
        entry("王小明", result(Verdict.OK, 3.0, message="All 4 cases are right.")),
        entry("O'Neil", mistake),
        entry("carol", result(Verdict.NA, 0.0, message="Not attempted yet.")),
    ]


@pytest.fixture
def fault() -> Entry:
    return entry("xi", result(Verdict.XX, 0.0, message="The grader failed: our own mistake"))


@pytest.fixture(scope="session")
def gradebook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gradebook with one assignment, five people and four submissions; made once, because nbgrader takes seconds."""
    path = tmp_path_factory.mktemp("gradebook") / "gradebook.db"
    with Gradebook(f"sqlite:///{path}") as book:
        book.add_assignment(SLUG)
        book.add_notebook(STEM, SLUG)
        book.add_grade_cell("ch99-box_blur-check", STEM, SLUG, max_score=3, cell_type="code")
        for student, (last, first, email) in PEOPLE.items():
            book.add_student(student, last_name=last, first_name=first, email=email)
        for student, score in SCORES.items():
            book.add_submission(SLUG, student)
            grade = book.find_grade("ch99-box_blur-check", STEM, SLUG, student)
            grade.auto_score, grade.needs_manual_grade = score, student == "oneil"
        book.db.commit()
    return path


@pytest.fixture(scope="session")
def known(gradebook: Path) -> list[Score]:
    """The scores in that gradebook."""
    return scores(Course(gradebook.parent, "exports", ("ch99",)), [SLUG])


@pytest.fixture
def course(tmp_path: Path, gradebook: Path, entries: list[Entry]) -> Course:
    """A course folder with that gradebook and a journal."""
    root = tmp_path / "course"
    root.mkdir()
    shutil.copy(gradebook, root / "gradebook.db")
    (root / "course.toml").write_text('[course]\nname = "exports"\nchapters = ["ch99"]\n')
    made = Course(root, "exports", ("ch99",))
    journal = Journal(made.journal / f"{SLUG}.jsonl")
    for one in entries:
        journal.append(one)
    return made
