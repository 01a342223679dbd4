"""nbgrader's own commands and formgrader's button reach the same judge, by configuration alone.

`Judge` stands where nbgrader would sanitise the submission and before it would execute it: no cell of a student runs
in a kernel. It writes our score into the output of each graded cell, from which nbgrader's `SaveAutoGrades` reads it.
"""

from __future__ import annotations

import atexit
import contextlib
from pathlib import Path

from nbconvert.exporters.exporter import ResourcesDict
from nbformat.notebooknode import NotebookNode
from nbgrader.api import Gradebook
from nbgrader.preprocessors import NbGraderPreprocessor

from autograder.grade import autograded, gradebook
from autograder.grade.marking import Marker
from autograder.grade.overrides import DecisionLog
from autograder.release.course import load_course
from autograder.sandbox import require
from dlcv_lab.checking.model import ExerciseResult


class Judge(NbGraderPreprocessor):
    """Turn a submitted notebook into its autograded copy with verdicts in the graded cells.

    Raises where the grader itself failed, so that nbgrader reports this one submission and scores nothing for it.
    """

    def preprocess(self, nb: NotebookNode, resources: ResourcesDict) -> tuple[NotebookNode, ResourcesDict]:
        facts = resources["nbgrader"]
        student, slug, stem = facts["student"], facts["assignment"], facts["notebook"]
        folder = Path(resources["metadata"]["path"])
        course_root = course_of(folder)
        raw = (folder / f"{stem}.ipynb").read_bytes()
        judged = _marker(course_root, slug).mark_notebook(student, stem, raw)
        results = DecisionLog(load_course(course_root).journal, slug).marks().apply(student, judged)
        _last[(student, slug, stem)] = results
        with Gradebook(facts["db_url"]) as book:
            known = gradebook.known_cells(book, slug, stem)
        return autograded.compose(nb.cells, known, results, slug[:4]), resources


class SaveComments(NbGraderPreprocessor):
    """Keep our sentence about each exercise as the automatic comment of its solution cell."""

    def preprocess(self, nb: NotebookNode, resources: ResourcesDict) -> tuple[NotebookNode, ResourcesDict]:
        facts = resources["nbgrader"]
        student, slug, stem = facts["student"], facts["assignment"], facts["notebook"]
        results = _last.pop((student, slug, stem), ())
        with Gradebook(facts["db_url"]) as book:
            gradebook.save(book, nb, slug, stem, student, results)
            book.db.commit()
        return nb, resources


def course_of(folder: Path) -> Path:
    """Return the course folder above a submission; raise FileNotFoundError where there is none."""
    for parent in (folder, *folder.resolve().parents):
        if (parent / "course.toml").exists():
            return parent
    raise FileNotFoundError(f"no course.toml in any folder above {folder}; make one with `dlcv course init`")


_last: dict[tuple[str, str, str], tuple[ExerciseResult, ...]] = {}
_markers: dict[tuple[Path, str], Marker] = {}


def _marker(root: Path, slug: str) -> Marker:
    """Return the marker of a course and chapter; it stays warm while this process lives."""
    key = (root.resolve(), slug)
    if key not in _markers:
        for old in list(_markers):  # one warm parent at a time is enough for a button
            _markers.pop(old).close()
        course = load_course(root)
        _markers[key] = Marker(slug, course.secret(), require(course.min_isolation))
    return _markers[key]


@atexit.register
def close() -> None:
    """End the warm parents of this process."""
    while _markers:
        with contextlib.suppress(Exception):
            _markers.popitem()[1].close()
