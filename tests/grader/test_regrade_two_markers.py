"""Two people at once on one gradebook: one marks by hand, the other records verdicts; both keep everything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from grader_helpers import SLUG, Class, write
from nbgrader.api import Gradebook

from autograder.base import paths
from autograder.release import course as courses
from autograder.release.nbgrader_release import generate

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")
STEM, QUESTION = "lesson_1", "ch99-where_blur_hurts"
STUDENTS = ("ann", "bob", "cy")
MARKING = f"""
import sys, warnings
warnings.simplefilter("ignore")
from nbgrader.api import Gradebook
for turn in range(5):
    for student in {STUDENTS!r}:
        with Gradebook(sys.argv[1]) as book:
            grade = book.find_grade({QUESTION!r}, "{STEM}", "{SLUG}", student)
            grade.manual_score, grade.needs_manual_grade = 1.0 + turn / 4, False
            book.find_comment({QUESTION!r}, "{STEM}", "{SLUG}", student).manual_comment = f"turn {{turn}}"
            book.db.commit()
"""
RECORDING = f"""
import sys
from pathlib import Path
from autograder.grade.gradebook import open_book
from dlcv_lab.checking.model import ExerciseResult, Verdict
root, raw = Path(sys.argv[2]), Path(sys.argv[3]).read_bytes()
for turn in range(5):
    for student in {STUDENTS!r}:
        with open_book(sys.argv[1], "{SLUG}", root) as book:
            blur = ExerciseResult("box_blur", Verdict.PA, turn / 2, 3.0)
            results = (blur, ExerciseResult("unsharp", Verdict.OK, 1.0, 1.0))
            book.record(student, {{"{STEM}": results}}, {{"{STEM}": raw}})
"""


@pytest.mark.slow
def test_marks_by_hand_and_verdicts_written_at_once_are_all_kept(klass: Class, tmp_path: Path) -> None:
    course, _ = courses.init_course(tmp_path / "course", chapters=["ch99"])
    generate(paths.source(SLUG), SLUG, tmp_path / "student", course)
    raw = write(tmp_path / "handed_in.ipynb", klass.honest())
    with Gradebook(course.database) as book:
        for student in STUDENTS:
            book.add_student(student)
            book.add_submission(SLUG, student)
    running = [
        subprocess.Popen([sys.executable, "-c", code, course.database, str(course.root), str(raw)],
                         cwd=paths.CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for code in (MARKING, RECORDING)
    ]  # fmt: skip
    said = [process.communicate(timeout=280)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    with Gradebook(course.database) as book:
        for student in STUDENTS:
            answer = book.find_grade(QUESTION, STEM, SLUG, student)
            assert answer.manual_score == 2.0
            assert book.find_comment(QUESTION, STEM, SLUG, student).manual_comment == "turn 4"
            assert book.find_grade("ch99-box_blur-check", STEM, SLUG, student).auto_score == 2.0
            assert json.loads((course.root / "autograded" / student / SLUG / f"{STEM}.ipynb").read_text())["cells"]
