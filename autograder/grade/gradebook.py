"""The one writer into nbgrader's gradebook and into autograded/. Scores of a student appear together or not at all."""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nbformat
from nbgrader import utils
from nbgrader.api import Gradebook, InvalidEntry, MissingEntry
from nbgrader.preprocessors import AssignLatePenalties
from sqlalchemy import make_url
from sqlalchemy.exc import NoSuchModuleError, SAWarning, SQLAlchemyError
from traitlets.config import Config
from traitlets.config.loader import PyFileConfigLoader

from autograder.base import wording
from autograder.base.disks import told
from autograder.grade import autograded
from autograder.grade.autograded import Known
from autograder.grade.submissions import folder_of
from autograder.release.assemble import check_id, grade_id
from dlcv_lab.checking.model import ExerciseResult
from dlcv_lab.files import write_whole

_AS_TIME = "Write it as 2027-05-04 23:59:00 UTC, or with an offset, +02:00; names such as CEST are not understood"
_TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?( ?(UTC|GMT|Z|[+-]\d\d:?\d\d))?")
_KEPT = "No verdict is lost: the journal keeps them"


class GradebookError(RuntimeError):
    """The gradebook cannot be used; the message names it and the remedy. The journal keeps every verdict."""


class Book:
    """An open gradebook, for one chapter."""

    def __init__(self, gradebook: Any, slug: str, course_root: Path) -> None:
        self.gradebook, self.slug, self.root = gradebook, slug, course_root
        self.late = late_penalties(course_root)
        self.notices: list[str] = []  # what should be told about submissions that were recorded

    def stems(self) -> list[str]:
        """Return the names of the chapter's notebooks."""
        return [notebook.name for notebook in self.gradebook.find_assignment(self.slug).notebooks]

    def known(self, stem: str) -> list[Known]:
        """Return the cells that the release entered, in their order."""
        return known_cells(self.gradebook, self.slug, stem)

    def record(
        self, student: str, results: dict[str, tuple[ExerciseResult, ...]], raws: Mapping[str, bytes | None]
    ) -> None:
        """Write one student: autograded notebooks first (each whole or not at all), then all scores in one commit."""
        notebooks = {}
        for stem in self.stems():
            raw = raws.get(stem)
            cells = autograded.cells_of(raw) if raw is not None else None
            notebooks[stem] = autograded.compose(cells, self.known(stem), results.get(stem, ()), self.slug[:4])
        before = {stem: self._answers(student, stem) for stem in notebooks}
        for stem, notebook in notebooks.items():
            write_whole(self._copy(student, stem), nbformat.writes(notebook).encode("utf-8"))
        book = self.gradebook
        book.update_or_create_student(student)
        stamp, notice = _timestamp(folder_of(self.root / "submitted", student) / self.slug)
        self.notices += [notice] if notice else []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SAWarning)  # nbgrader builds a submission before it adds it to the session
            book.update_or_create_submission(self.slug, student, **({"timestamp": stamp} if stamp else {}))
        try:
            for stem, notebook in notebooks.items():
                closed = closed_by_hand(book, self.slug, stem, student)
                save(book, notebook, self.slug, stem, student, results.get(stem, ()))
                for name, seen in closed.items():
                    grade = book.find_grade(name, stem, self.slug, student)
                    answer = _answers_in(notebook).get(name)
                    if grade.auto_score == seen and answer is not None and before[stem].get(name) == answer:
                        grade.needs_manual_grade = False  # nothing that the marker looked at has changed
                self._penalise(student, stem)
            book.db.commit()
        except BaseException:
            book.db.rollback()
            raise

    def manual_scores(self) -> dict[tuple[str, str], float]:
        """Return the marks by hand for exercises: (student, exercise) -> points."""
        return {
            (submission.student_id, exercise): float(grade.manual_score)
            for submission in self.gradebook.find_assignment(self.slug).submissions
            for notebook in submission.notebooks
            for grade in notebook.grades
            if grade.manual_score is not None and (exercise := self._exercise_of(grade.name))
        }

    def _exercise_of(self, cell: str) -> str:
        found = re.fullmatch(re.escape(self.slug[:4]) + r"-(\w+)-check", cell)
        return found[1] if found else ""

    def due(self, student: str) -> datetime | None:
        """Return a student's deadline in UTC, extension included, or None where none is set."""
        assignment = self.gradebook.find_assignment(self.slug)
        if assignment.duedate is None:
            return None
        return assignment.duedate.replace(tzinfo=UTC) + self.extension(student)

    def extension(self, student: str) -> timedelta:
        """Return how much longer than the others a student has."""
        try:
            return self.gradebook.find_submission(self.slug, student).extension or timedelta(0)
        except MissingEntry:
            return timedelta(0)

    def human_facts(self, student: str, exercise: str, stem: str) -> dict[str, str]:
        """Return in words what people and the clock did to a student's marks."""
        key = f"{self.slug[:4]}.{exercise}"
        try:
            grade = self.gradebook.find_grade(check_id(key), stem, self.slug, student)
            comment = self.gradebook.find_comment(grade_id(key), stem, self.slug, student)
        except MissingEntry:
            return {}
        told = {
            "mark by hand": "" if grade.manual_score is None else f"{grade.manual_score:g}",
            "extra credit": f"{grade.extra_credit:g}" if grade.extra_credit else "",
            "comment": comment.manual_comment or "",
            "extension": str(self.extension(student) or ""),
            "penalty for lateness": f"{late:g}" if (late := grade.notebook.late_submission_penalty) else "",
            "waits for a marker": "yes" if grade.needs_manual_grade else "",
        }
        return {what: text for what, text in told.items() if text}

    def _copy(self, student: str, stem: str) -> Path:
        return self.root / "autograded" / student / self.slug / f"{stem}.ipynb"

    def _answers(self, student: str, stem: str) -> dict[str, str]:
        """Return the text of every graded cell in the autograded copy that is there now."""
        try:
            return _answers_in(nbformat.read(self._copy(student, stem), as_version=4))
        except Exception:  # no copy yet, or one that somebody damaged: then nothing is known to be unchanged
            return {}

    def _penalise(self, student: str, stem: str) -> None:
        """Set the penalty for late submission as nbgrader's autograde would, by the course's own plug-in."""
        book = self.gradebook
        book.db.flush()
        notebook = book.find_submission_notebook(stem, self.slug, student)
        book.db.refresh(notebook)
        seconds = notebook.assignment.total_seconds_late
        notebook.late_submission_penalty = None
        if seconds > 0:
            penalty = self.late.plugin_inst.late_submission_penalty(student, notebook.score, seconds)
            if penalty is not None:
                notebook.late_submission_penalty = self.late._check_late_penalty(notebook, penalty)


def late_penalties(course_root: Path) -> AssignLatePenalties:
    """Return nbgrader's own step for late submissions, with the settings of the course's nbgrader_config.py."""
    config = Config()
    if (course_root / "nbgrader_config.py").exists():
        config = PyFileConfigLoader("nbgrader_config.py", path=str(course_root)).load_config()
    step = AssignLatePenalties(config=config)
    step.init_plugin()
    return step


def closed_by_hand(gradebook: Any, slug: str, stem: str, student: str) -> dict[str, float | None]:
    """Return the cells that a marker has marked and closed, with the automatic score that was seen."""
    notebook = gradebook.find_submission_notebook(stem, slug, student)
    return {
        grade.name: grade.auto_score
        for grade in notebook.grades
        if grade.manual_score is not None and not grade.needs_manual_grade
    }


def _answers_in(notebook: Any) -> dict[str, str]:
    return {
        cell.metadata.nbgrader["grade_id"]: cell.source
        for cell in notebook.cells
        if cell.metadata.get("nbgrader", {}).get("grade_id")
    }


def known_cells(gradebook: Any, slug: str, stem: str) -> list[Known]:
    """Return what the gradebook knows about the cells of one released notebook."""
    notebook = gradebook.find_notebook(stem, slug)
    grades = {cell.name: cell for cell in notebook.grade_cells}
    tasks = {cell.name: cell for cell in notebook.task_cells}
    solutions = {cell.name for cell in notebook.solution_cells}
    return [
        Known(
            name=cell.name,
            cell_type=cell.cell_type,
            source=cell.source,
            checksum=cell.checksum,
            locked=bool(cell.locked),
            grade=cell.name in grades,
            solution=cell.name in solutions,
            task=cell.name in tasks,
            points=float((grades.get(cell.name) or tasks.get(cell.name)).max_score)  # type: ignore[union-attr]
            if cell.name in grades or cell.name in tasks
            else 0.0,
        )
        for cell in notebook.source_cells
    ]


def save(
    gradebook: Any, notebook: Any, slug: str, stem: str, student: str, results: tuple[ExerciseResult, ...]
) -> None:
    """Set scores and comments of one autograded notebook, without committing."""
    by_solution = {grade_id(f"{slug[:4]}.{result.name}"): result for result in results}
    for cell in notebook.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        if name is None:
            continue
        if utils.is_grade(cell):
            grade = gradebook.find_grade(name, stem, slug, student)
            grade.auto_score = utils.determine_grade(cell)[0]
            # as nbgrader has it: no automatic score, or a marker's score that should be looked at again
            grade.needs_manual_grade = grade.auto_score is None or grade.manual_score is not None
        if utils.is_solution(cell) or utils.is_task(cell):
            comment = gradebook.find_comment(name, stem, slug, student)
            untouched = cell.metadata.nbgrader.get("checksum") == utils.compute_checksum(cell)
            if name in by_solution:
                comment.auto_comment = wording.comment(by_solution[name])
            else:
                comment.auto_comment = "No response." if untouched and not utils.is_task(cell) else None


@contextlib.contextmanager
def open_book(database: str, slug: str, course_root: Path) -> Iterator[Book]:
    """Open the gradebook for one chapter; raise `GradebookError` with the file and the remedy for whatever fails."""
    try:
        with _told_once(), Gradebook(database) as gradebook:
            try:
                gradebook.find_assignment(slug)
            except MissingEntry:
                raise GradebookError(
                    f"{shown(database)} lists no assignment {slug}; run "
                    f"`dlcv release {slug[:4]} --course {course_root}` first"
                ) from None
            yield Book(gradebook, slug, course_root)
    except OSError as error:  # a copy of a notebook, not the gradebook itself
        raise GradebookError(f"{told(error)}. {_KEPT}") from error
    except (SQLAlchemyError, InvalidEntry, ModuleNotFoundError) as error:
        raise GradebookError(_remedy(shown(database), error)) from error


def assignments(database: str) -> set[str]:
    """Return the names of the gradebook's assignments; raise `GradebookError` where it cannot be used."""
    try:
        with _told_once(), Gradebook(database) as gradebook:
            return {assignment.name for assignment in gradebook.assignments}
    except (SQLAlchemyError, ModuleNotFoundError) as error:
        raise GradebookError(_remedy(shown(database), error)) from error


@contextlib.contextmanager
def _told_once() -> Iterator[None]:
    """Keep nbgrader from logging the trace of an error that is told in one sentence."""

    def other(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Rolling back session")

    log = logging.getLogger("tornado.application")
    log.addFilter(other)
    try:
        yield
    finally:
        log.removeFilter(other)


def shown(database: str) -> str:
    """Return a database URL as a message may show it: without password and without settings."""
    try:
        return make_url(database).set(query={}).render_as_string(hide_password=True)
    except SQLAlchemyError:
        return "of course.toml"


def _remedy(database: str, error: BaseException) -> str:
    text = (str(getattr(error, "orig", error)).splitlines() or [type(error).__name__])[0]
    if "locked" in text or "lock timeout" in text:
        advice = "another program writes it: close it (or wait) and run the same command again"
    elif isinstance(error, NoSuchModuleError | ModuleNotFoundError):
        advice = "its driver is missing: `pip install -c constraints.txt -e './autograder[cluster]'`"
    elif "authentication" in text or "does not exist" in text or "permission denied" in text:
        advice = "correct user, password and database in its URL (course.toml) and run the same command again"
    elif "connection" in text:
        advice = "see that the server runs and can be reached, and run the same command again"
    elif "readonly" in text or "read-only" in text or "unable to open" in text:
        advice = "make it and its folder writable and run the same command again"
    elif "malformed" in text or "not a database" in text:
        advice = "it is damaged: put it aside, restore your copy (or release the chapter again) and run again"
    elif "full" in text or "space" in text:
        advice = "make room and run the same command again"
    elif "disk I/O" in text:  # SQLite's word for a limit on files or a quota, too
        advice = "make room, or look after its disk, and run the same command again"
    else:
        advice = "put that right and run the same command again"
    return f"the gradebook {database} could not be used ({text}); {advice}. {_KEPT}"


def _timestamp(folder: Path) -> tuple[datetime | None, str]:
    """Return what timestamp.txt says about the time of submission, and a sentence where that cannot be read."""
    path = folder / "timestamp.txt"
    try:
        text = path.read_bytes().decode("utf-8-sig").strip()
        return utils.parse_utc(text if _is_time(text) else ""), ""
    except FileNotFoundError:
        return None, ""
    except (OSError, ValueError, OverflowError):
        return None, f"{path}, line 1: the time of submission cannot be read, so it counts as in time. {_AS_TIME}"


def _is_time(text: str) -> bool:
    """Tell whether a time says date, time and zone, for "CEST" is a name that programs read as UTC."""
    return _TIME.fullmatch(text) is not None
