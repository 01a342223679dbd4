"""nbgrader's settings for a course folder: they name our judge, `autograder.grade.nbgrader_plugin`, as text."""

from __future__ import annotations

from pathlib import Path

from autograder.chapter.source import STUB
from autograder.release.assemble import ANSWER

CONFIG = """\
# nbgrader's settings for this course, written by `dlcv course init`.
from pathlib import Path

from autograder.release.course import load_course

c = get_config()  # noqa: F821
c.CourseDirectory.root = {root!r}
c.CourseDirectory.db_url = load_course(Path({root!r})).database  # course.toml says where it is
if not c.CourseDirectory.db_url.startswith("sqlite"):  # a server checks its keys: an assignment needs a course
    c.CourseDirectory.course_id = "default_course"
c.ClearSolutions.code_stub = {{"python": {stub!r}}}
c.ClearSolutions.text_stub = {answer!r}

# no cell of a student is executed: the judge runs the functions it needs in a sandbox and compares outside of it
c.Autograde.sanitize_preprocessors = ["autograder.grade.nbgrader_plugin.Judge"]
c.Autograde.autograde_preprocessors = [
    "nbgrader.preprocessors.SaveAutoGrades",
    "autograder.grade.nbgrader_plugin.SaveComments",
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
    return CONFIG.format(root=str(root), stub=STUB, answer=ANSWER)
