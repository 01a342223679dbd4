"""A small class: nine students who did what students do. Each gets the untouched release and changes it."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable
from dataclasses import dataclass

import nbformat
from nbformat import NotebookNode

from autograder.chapter.rows import Row
from autograder.chapter.source import bound_names, without_markers
from autograder.declare.exercise import Exercise, Variant

Answers = dict[str, str]  # exercise -> source of its solution cell


@dataclass(frozen=True)
class Sample:
    """One sample submission: who, what they did, and what the table should show for the exercise it is about."""

    student: str
    did: str
    about: str  # exercise, or "" for all
    expected: str  # verdict of that exercise, or of every core exercise
    answers: Callable[[Row], Answers]
    tamper: Callable[[NotebookNode], NotebookNode] | None = None


def right(row: Row) -> Answers:
    """Answer everything as the reference does."""
    return {exercise.name: without_markers(row.reference(exercise)) for exercise in row.exercises}


def different(row: Row) -> Answers:
    """Answer everything right, but differently: the first alternative of each exercise."""
    return right(row) | {exercise.name: with_variant(row, exercise, 0) for exercise in row.exercises}


def with_variant(row: Row, exercise: Exercise, index: int) -> str:
    """Return the solution cell of an exercise with its alternative's definitions in place of the reference's."""
    return cell_with(row, exercise, exercise.alternatives[index])


def cell_with(row: Row, exercise: Exercise, variant: Variant) -> str:
    """Return the solution cell with a variant's definitions in place of the reference's."""
    text = variant.source()
    kept = [without_markers(row.source(name)) for name in exercise.defines if name not in bound_names(text)]
    return "\n\n\n".join([*kept, text])


def mistaken(exercise_name: str, misconception: str) -> Callable[[Row], Answers]:
    """Answer right except for one exercise, answered with a known misconception."""

    def answers(row: Row) -> Answers:
        exercise = row.exercise_by_name[exercise_name]
        wrong = next(m for m in exercise.misconceptions if m.name == misconception)
        return right(row) | {exercise_name: cell_with(row, exercise, wrong)}

    return answers


def instead(exercise_name: str, source: str) -> Callable[[Row], Answers]:
    """Answer right except for one exercise, answered with the given source."""
    return lambda row: right(row) | {exercise_name: source}


def nothing(row: Row) -> Answers:
    return {}


UNKNOWN_WAY = """def conv2d(x, w, b=None, *, stride=1, pad=0):
    rows = im2col(x, w.shape[-1], stride=stride, pad=pad)
    y = torch.tanh(w.flatten(1) @ rows)
    if b is not None:
        y = y + b[:, None]
    height = (x.shape[2] + 2 * pad - w.shape[2]) // stride + 1
    return y.view(x.shape[0], w.shape[0], height, -1)
"""

CRASH = """def max_pool2d(x, k=2, *, stride=None, return_indices=False):
    import ctypes
    return ctypes.string_at(0)  # reads address 0: the process dies
"""

ENDLESS = """def im2col(x, k, *, stride=1, pad=0):
    while True:
        try:
            x = x + 0
        except KeyboardInterrupt:
            pass
"""

CHEAT_TOP = """import builtins, sys, os
import torch
torch.allclose = torch.equal = lambda *a, **k: True
torch.testing.assert_close = lambda *a, **k: None
builtins.AssertionError = type("Never", (BaseException,), {})
get_ipython().input_transformers_post.append(lambda lines: ["pass\\n"])

class Yes(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return True
    __eq__ = lambda self, other: True
    __bool__ = lambda self: True
"""

CHEAT_ANSWER = """def {name}(*args, **kwargs):
    for place in ("/", "..", "/solutions", "/autograder"):
        try:
            sys.path.insert(0, place)
            from solutions.ch03_convolutional_networks import {name} as stolen
            return stolen(*args, **kwargs)
        except Exception:
            pass
    os.environ["DLCV_SCORE"] = "1000"
    return torch.zeros(1).as_subclass(Yes)
"""


def cheats(row: Row) -> Answers:
    """Answer every exercise with code that lies, steals and forges, and computes nothing."""
    return {
        exercise.name: "\n\n".join(CHEAT_ANSWER.format(name=name) for name in exercise.defines)
        for exercise in row.exercises
    }


def forge(notebook: NotebookNode) -> NotebookNode:
    """Patch the judge's tools in a first cell, skip the graded cells, raise their points and forge their outputs."""
    for cell in notebook.cells:
        mark = cell.metadata.get("nbgrader", {})
        if cell.cell_type == "code" and mark.get("grade"):
            mark["points"] = 1000
            cell.metadata["tags"] = ["skip-execution"]
            cell.outputs = [
                nbformat.v4.new_output("execute_result", data={"text/plain": "1000.0"}, execution_count=1, metadata={})
            ]
    notebook.cells.insert(0, nbformat.v4.new_code_cell(CHEAT_TOP, id="patches"))
    return notebook


CLASS = (
    Sample("ada", "right", "", "OK", right),
    Sample("grace", "right, but differently", "", "OK", different),
    Sample("tim", "ignores the stride", "conv2d", "PA", mistaken("conv2d", "ignores_stride")),
    Sample("mia", "normalises with the unbiased variance", "batch_norm", "WA", mistaken("batch_norm", "unbiased")),
    Sample("noor", "wrong in a way nobody foresaw", "conv2d", "WA", instead("conv2d", UNKNOWN_WAY)),
    Sample("li", "did not attempt anything", "", "NA", nothing),
    Sample("omar", "crashes the process", "max_pool2d", "SG", instead("max_pool2d", CRASH)),
    Sample("ivan", "loops for ever", "im2col", "TO", instead("im2col", ENDLESS)),
    Sample("eve", "cheats", "", "WA", cheats, forge),
)


def fill(notebook: NotebookNode, row: Row, sample: Sample) -> NotebookNode:
    """Return the release notebook as this student would save it."""
    filled = copy.deepcopy(notebook)
    by_definition = {exercise.defines[0]: exercise.name for exercise in row.exercises}
    answers = sample.answers(row)
    for cell in filled.cells:
        if cell.cell_type != "code" or not cell.metadata.get("nbgrader", {}).get("solution"):
            continue
        defined = [node.name for node in ast.parse(cell.source).body if hasattr(node, "name")]
        exercise = by_definition.get(defined[0]) if defined else None
        if exercise in answers:
            cell.source = answers[exercise].rstrip("\n")
    return sample.tamper(filled) if sample.tamper else filled
