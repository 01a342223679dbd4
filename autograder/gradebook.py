"""The one writer into nbgrader's gradebook and into autograded/. Scores of a student appear together or not at all."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import nbformat
from nbgrader import utils
from nbgrader.api import Gradebook, MissingEntry
from sqlalchemy.exc import SAWarning, SQLAlchemyError

from autograder import autograded, wording
from autograder.assemble import grade_id
from autograder.autograded import Known
from dlcv_lab.checking.model import ExerciseResult


class GradebookError(RuntimeError):
    """The gradebook cannot be used; the message names it and the remedy. The journal keeps every verdict."""


class Book:
    """An open gradebook, for one chapter."""

    def __init__(self, gradebook: Any, slug: str, course_root: Path) -> None:
        self.gradebook, self.slug, self.root = gradebook, slug, course_root

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
        for stem, notebook in notebooks.items():
            path = self.root / "autograded" / student / self.slug / f"{stem}.ipynb"
            autograded.write_whole(path, nbformat.writes(notebook).encode("utf-8"))
        book = self.gradebook
        book.update_or_create_student(student)
        stamp = _timestamp(self.root / "submitted" / student / self.slug)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SAWarning)  # nbgrader builds a submission before it adds it to the session
            book.update_or_create_submission(self.slug, student, **({"timestamp": stamp} if stamp else {}))
        try:
            for stem, notebook in notebooks.items():
                save(book, notebook, self.slug, stem, student, results.get(stem, ()))
            book.db.commit()
        except BaseException:
            book.db.rollback()
            raise


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
        with Gradebook(database) as gradebook:
            try:
                gradebook.find_assignment(slug)
            except MissingEntry:
                raise GradebookError(
                    f"{database} lists no assignment {slug}; run `dlcv release {slug[:4]} --course {course_root}` first"
                ) from None
            yield Book(gradebook, slug, course_root)
    except (SQLAlchemyError, OSError) as error:
        raise GradebookError(_remedy(database, error)) from error


def _remedy(database: str, error: BaseException) -> str:
    text = str(getattr(error, "orig", error))
    if "locked" in text:
        advice = "another program writes it: close it (or wait) and run the same command again"
    elif "readonly" in text or "read-only" in text or "unable to open" in text or isinstance(error, PermissionError):
        advice = "make it and its folder writable and run the same command again"
    elif "malformed" in text or "not a database" in text:
        advice = "it is damaged: put it aside, restore your copy (or release the chapter again) and run again"
    elif "full" in text or "space" in text:
        advice = "make room and run the same command again"
    else:
        advice = "put that right and run the same command again"
    return f"the gradebook {database} could not be used ({text}); {advice}. No verdict is lost: the journal keeps them"


def _timestamp(folder: Path) -> datetime | None:
    """Return what nbgrader's collect wrote about the time of submission, or nothing."""
    try:
        return utils.parse_utc((folder / "timestamp.txt").read_text(encoding="utf-8").strip()[:64])
    except (OSError, ValueError, OverflowError):
        return None
