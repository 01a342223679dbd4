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

from autograder import autograded, gradebook
from autograder.assemble import ANSWER
from autograder.course import load_course
from autograder.grading import Marker
from autograder.overrides import DecisionLog
from autograder.sandbox import require
from autograder.source import STUB
from dlcv_lab.checking.model import ExerciseResult

CONFIG = """\
# nbgrader's settings for this course, written by `dlcv course init`.
from pathlib import Path

from autograder.course import load_course

c = get_config()  # noqa: F821
c.CourseDirectory.root = {root!r}
c.CourseDirectory.db_url = load_course(Path({root!r})).database  # course.toml says where it is
if not c.CourseDirectory.db_url.startswith("sqlite"):  # a server checks its keys: an assignment needs a course
    c.CourseDirectory.course_id = "default_course"
c.ClearSolutions.code_stub = {{"python": {stub!r}}}
c.ClearSolutions.text_stub = {answer!r}

# no cell of a student is executed: the judge runs the functions it needs in a sandbox and compares outside of it
c.Autograde.sanitize_preprocessors = ["autograder.nbgrader_plugin.Judge"]
c.Autograde.autograde_preprocessors = [
    "nbgrader.preprocessors.SaveAutoGrades",
    "autograder.nbgrader_plugin.SaveComments",
    "nbgrader.preprocessors.AssignLatePenalties",
]
# should a kernel ever run cells for this course, then every cell: the tag `skip-execution` means nothing here
c.ExecutePreprocessor.skip_cells_with_tag = "dlcv-no-cell-is-skipped"
c.Execute.skip_cells_with_tag = "dlcv-no-cell-is-skipped"
# feedback never shows hidden test text, whatever an instructor's own cells hold
c.GenerateFeedback.preprocessors = [
    "nbgrader.preprocessors.ClearHiddenTests",
    "nbgrader.preprocessors.GetGrades",
    "nbconvert.preprocessors.CSSHTMLHeaderPreprocessor",
]
"""


def nbgrader_config(root: Path) -> str:
    """Return the text of nbgrader_config.py for the course folder `root`."""
    course = load_course(root)
    return CONFIG.format(root=str(course.root), stub=STUB, answer=ANSWER)


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
