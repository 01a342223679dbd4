"""What nbgrader's gradebook says about a chapter: scores with marks by hand, extra credit and penalties in them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from autograder.grade.gradebook import open_book
from autograder.release.course import Course

COLUMNS = ("assignment", "duedate", "timestamp", "student_id", "last_name", "first_name", "email", "raw_score",
           "late_submission_penalty", "score", "max_score")  # fmt: skip


@dataclass(frozen=True)
class Score:
    """One student and assignment, as nbgrader's own export has it, and what is still open."""

    assignment: str
    student: str
    score: float
    max_score: float
    raw_score: float = 0.0
    penalty: float = 0.0
    duedate: str = ""
    timestamp: str = ""
    last_name: str = ""
    first_name: str = ""
    email: str = ""
    lms_user_id: str = ""
    handed_in: bool = True
    waits: bool = False  # something still has to be marked by hand

    def names(self) -> list[str]:
        """Return everything that a platform may know this student by."""
        local = self.email.partition("@")[0]
        full = [f"{self.last_name}, {self.first_name}", f"{self.first_name} {self.last_name}"]
        known = [self.student, self.lms_user_id, self.email, local]
        return [name for name in known + (full if self.first_name and self.last_name else []) if name]


def scores(course: Course, slugs: Iterable[str]) -> list[Score]:
    """Return the scores of all students in chapters that the gradebook has, in its order.

    Raises:
        gradebook.GradebookError: the gradebook or an assignment is missing or cannot be used.
    """
    found = []
    for slug in slugs:
        with open_book(course.database, slug, course.root) as book:
            assignment = book.gradebook.find_assignment(slug)
            submitted = {submission.student_id: submission for submission in assignment.submissions}
            for student in book.gradebook.students:
                submission = submitted.get(student.id)
                raw = float(submission.score) if submission else 0.0
                penalty = float(submission.late_submission_penalty or 0.0) if submission else 0.0
                found.append(
                    Score(
                        assignment=slug,
                        student=student.id,
                        score=max(0.0, raw - penalty),
                        max_score=float(assignment.max_score),
                        raw_score=raw,
                        penalty=penalty,
                        duedate=str(assignment.duedate or ""),
                        timestamp=str(submission.timestamp or "") if submission else "",
                        last_name=student.last_name or "",
                        first_name=student.first_name or "",
                        email=student.email or "",
                        lms_user_id=student.lms_user_id or "",
                        handed_in=submission is not None,
                        waits=bool(submission.needs_manual_grade) if submission else False,
                    )
                )
    return found
