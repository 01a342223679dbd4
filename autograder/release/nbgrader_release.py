"""nbgrader's own release step: solutions cleared, checksums computed, the assignment entered in the gradebook."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path

import nbformat
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.converters import GenerateAssignment
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import (
    CheckCellMetadata,
    ClearHiddenTests,
    ClearMarkScheme,
    ClearOutput,
    ClearSolutions,
    ComputeChecksums,
    LockCells,
    SaveCells,
)
from traitlets.config import Config

from autograder.chapter.source import STUB
from autograder.release.assemble import ANSWER
from autograder.release.course import Course


class FrozenError(Exception):
    """A release would change ids, points or names that submissions already refer to."""


# nbgrader's own list without the header file and the generated tests, which we do not use
_PREPROCESSORS = [
    LockCells,
    ClearSolutions,
    ClearOutput,
    CheckCellMetadata,
    ComputeChecksums,
    SaveCells,
    ClearHiddenTests,
    ClearMarkScheme,
    ComputeChecksums,
    CheckCellMetadata,
]


def release_config(root: Path, database: str | None) -> Config:
    """Return the settings of nbgrader's release step for a course folder; without a database nothing is entered."""
    config = Config()
    config.CourseDirectory.root = str(root)
    if database is not None:
        config.CourseDirectory.db_url = database
        if not database.startswith("sqlite"):  # a server checks its keys: an assignment needs a course
            config.CourseDirectory.course_id = "default_course"
    config.ClearSolutions.code_stub = {"python": STUB}
    config.ClearSolutions.text_stub = ANSWER
    config.GenerateAssignment.no_database = database is None
    config.GenerateAssignment.preprocessors = [p for p in _PREPROCESSORS if database is not None or p is not SaveCells]
    config.GenerateAssignment.force = True
    return config


def generate(source: Path, slug: str, to: Path, course: Course | None = None) -> list[Path]:
    """Turn the source notebooks of a chapter into release notebooks in the folder `to`.

    With a course, source/ and release/ of its folder are written too and its gradebook lists the assignment, so that
    formgrader shows it.

    Raises:
        FrozenError: submissions exist and the graded cells differ from what they were made from.
    """
    if course is not None:
        return _generate(source, slug, to, course.root, course.database)
    with tempfile.TemporaryDirectory(prefix="dlcv-release-") as temporary:
        return _generate(source, slug, to, Path(temporary), None)


def _generate(source: Path, slug: str, to: Path, root: Path, database: str | None) -> list[Path]:
    if database is not None:
        check_frozen(source, slug, database)
    home = root / "source" / slug
    home.mkdir(parents=True, exist_ok=True)
    for old in home.glob("*.ipynb"):
        old.unlink()
    for path in sorted(source.glob("*.ipynb")):
        shutil.copyfile(path, home / path.name)
    config = release_config(root, database)
    folder = CourseDirectory(config=config)
    folder.assignment_id = slug
    converter = GenerateAssignment(coursedir=folder, config=config)
    converter.log.setLevel(logging.ERROR)
    converter.start()
    to.mkdir(parents=True, exist_ok=True)
    made = []
    for path in sorted((root / "release" / slug).glob("*.ipynb")):
        shutil.copyfile(path, to / path.name)
        made.append(to / path.name)
    return made


def check_frozen(source: Path, slug: str, database: str) -> None:
    """Refuse a release whose graded cells differ from those that existing submissions were made from.

    Raises:
        FrozenError: nothing has been written yet.
    """
    with Gradebook(database) as gradebook:
        try:
            assignment = gradebook.find_assignment(slug)
        except MissingEntry:
            return
        if not assignment.submissions:
            return
        old = {(book.name, cell.name): 0.0 for book in assignment.notebooks for cell in book.solution_cells}
        old |= {
            (book.name, cell.name): float(cell.max_score) for book in assignment.notebooks for cell in book.grade_cells
        }
        students = len(assignment.submissions)
    new: dict[tuple[str, str], float] = {}
    for path in source.glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            facts = cell.metadata.get("nbgrader", {})
            if facts.get("grade") or facts.get("solution"):
                new[path.stem, facts["grade_id"]] = float(facts.get("points", 0) or 0)
    odd = [key for key in sorted({*old, *new}) if key not in old or key not in new]
    odd += [key for key in sorted(old.keys() & new.keys()) if new[key] != old[key]]
    if odd:
        names = ", ".join(f"{notebook}/{cell}" for notebook, cell in odd[:5])
        raise FrozenError(
            f"{slug}: {students} submissions exist, so graded cells, their points and notebook names are frozen; this "
            f"release would change {names}. Keep them as they were (texts, hints, cases and tolerances may change), or "
            f"release under a new chapter name. Nothing was written."
        )
