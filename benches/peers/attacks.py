"""Representative attacks, tried on each grader as it comes: one exercise, wrong by design, and an honest neighbour.

Each attack answers `conv2d` with zeros and tries to get points all the same, to stop the run, or to read what it must
not. Points above 0 are points gained; the neighbour "z", who is graded in the same run, has to keep full points.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import nbformat
from nbformat import NotebookNode

from peers.lessons import exercise_of

ZEROS = """def conv2d(x, w, b=None, *, stride=1, pad=0):
    H = (x.shape[2] + 2 * pad - w.shape[2]) // stride + 1
    W = (x.shape[3] + 2 * pad - w.shape[3]) // stride + 1
    return torch.zeros(x.shape[0], w.shape[0], H, W)
"""
LIAR = """
class Yes(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return True

_zeros = conv2d
def conv2d(*args, **kwargs):
    return _zeros(*args, **kwargs).as_subclass(Yes)
"""
SQL = """
import pathlib, sqlite3
for place in [pathlib.Path.cwd(), *pathlib.Path.cwd().parents][:6]:
    if (place / "gradebook.db").exists():
        with sqlite3.connect(place / "gradebook.db") as book:
            book.execute("update grade set manual_score = 5, extra_credit = 3")
"""
FORGED = """
try:
    from otter.test_files.abstract_test import TestCaseResult, TestFile
    def _passed(self, *args, **kwargs):
        self.test_case_results = [TestCaseResult(case, None, True) for case in self.test_cases]
    for _kind in TestFile.__subclasses__():
        _kind.run = _passed
except ImportError:
    pass
"""
PEEK = """
import pathlib
_seen = []
for _place in [pathlib.Path.cwd(), *pathlib.Path.cwd().parents][:5]:
    for _path in [*_place.glob("*.ipynb"), *_place.glob("tests/*.py"), *_place.glob("source/*/*.ipynb")]:
        try:
            _seen.append("allclose" in _path.read_text())
        except OSError:
            pass
if any(_seen):
    torch.allclose = lambda *args, **kwargs: True
"""
ENDLESS = """
def conv2d(*args, **kwargs):
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass
"""


@dataclass(frozen=True)
class Attack:
    """What is tried: code after the wrong answer, or a change of the notebook, and whether it denies service only."""

    name: str
    what: str
    code: str = ""
    change: Callable[[NotebookNode], None] = lambda notebook: None


def _skip(notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        if exercise_of(cell):
            cell.metadata["tags"] = ["skip-execution"]


def _duplicate(notebook: NotebookNode) -> None:
    cell = next(cell for cell in notebook.cells if exercise_of(cell))
    notebook.cells.append(nbformat.from_dict(copy.deepcopy(cell) | {"id": "again"}))


ATTACKS = (
    Attack("wrong", "a wrong answer without any trick"),
    Attack("skip-execution", "the tag `skip-execution` on the graded cell", change=_skip),
    Attack("transformer", "an IPython input transformer replaces every later cell",
           'get_ipython().input_transformers_post.append(lambda lines: ["pass\\n"])\n'),
    Attack("traceback", "`showtraceback` of the shell is replaced",
           "import IPython\nIPython.get_ipython().showtraceback = lambda *args, **kwargs: None\n"),
    Attack("gradebook", "an SQL update of the gradebook", SQL),
    Attack("liar", "the answer is a tensor subclass that calls everything equal", LIAR),
    Attack("patched", "`torch.allclose` is replaced", "torch.allclose = lambda *args, **kwargs: True\n"),
    Attack("forged", "the results that the student's process reports are forged", FORGED),
    Attack("peek", "the tests are read from the disk, then the comparison they use is replaced", PEEK),
    Attack("duplicate", "the graded cell is there twice", change=_duplicate),
    Attack("exit", "the function ends the process", "\ndef conv2d(*args, **kwargs):\n    import os\n    os._exit(0)\n"),
    Attack("endless", "the function never ends and swallows interrupts", ENDLESS),
)  # fmt: skip


def tried(notebook: NotebookNode, attack: Attack) -> NotebookNode:
    """Return the notebook as the attacker hands it in."""
    made = copy.deepcopy(notebook)
    for cell in made.cells:
        if cell.metadata.get("nbgrader", {}).get("grade_id") == "ch03-conv2d":
            cell.source = ZEROS + attack.code
    attack.change(made)
    return made


CHECK = """x, w = torch.arange(32.0).reshape(1, 2, 4, 4), torch.ones(3, 2, 3, 3)
assert torch.allclose(conv2d(x, w), F.conv2d(x, w), atol=1e-4)
assert torch.allclose(conv2d(x, w, stride=2, pad=1), F.conv2d(x, w, stride=2, padding=1), atol=1e-4)
"""


def only_conv2d(notebook: NotebookNode) -> NotebookNode:
    """Return a notebook with the set-up, conv2d and what it uses, and ordinary asserts."""
    made = nbformat.from_dict(copy.deepcopy(notebook))
    wanted = {"ch03-output_size", "ch03-im2col", "ch03-conv2d", "ch03-conv2d-check"}
    made.cells = [
        cell
        for cell in made.cells
        if cell.cell_type == "code"
        and (cell.metadata.get("nbgrader", {}).get("grade_id") in wanted or "setup" in cell.metadata.get("tags", []))
    ]
    for cell in made.cells:
        if exercise_of(cell):
            cell.source = CHECK
        cell.metadata.get("nbgrader", {}).pop("checksum", None)
    return made
