"""None and NumPy arrays, returned by every exercise: the answer is told, never the probe's exception."""

from __future__ import annotations

import ast
from functools import cache

import pytest

from autograder.chapter import rows
from autograder.release import packing
from autograder.release.judged_cases import PUBLIC_SEED, draw, source_of
from dlcv_lab.checking.envelope import encode
from dlcv_lab.checking.execute import load_namespace, load_probe, run_case
from dlcv_lab.checking.model import Outcome, Program

NOTHING = """
def _answer(answer):
    return None
"""
ARRAYS = """
def _answer(answer):
    if isinstance(answer, torch.Tensor):
        return answer.detach().numpy() if answer.dtype != torch.bfloat16 else answer
    if isinstance(answer, tuple | list):
        return type(answer)(_answer(item) for item in answer)
    return {key: _answer(item) for key, item in answer.items()} if isinstance(answer, dict) else answer
"""
FUNCTION = """
def _of_function(function):
    return lambda *args, **kwargs: _answer(function(*args, **kwargs))

{name} = _of_function({name})
"""
FORWARD = """
class _Given({name}):
    def forward(self, *args, **kwargs):
        return _answer(super().forward(*args, **kwargs))

_Given.__name__ = "{name}"
{name} = _Given
"""


@cache
def row_of(key: str) -> rows.Row:
    return rows.load_row(key)


EXERCISES = [(row.key, exercise.name) for row in map(row_of, rows.slugs()) for exercise in row.exercises]


def outcomes(key: str, name: str, changed: str) -> list[tuple[Outcome, Outcome]]:
    """Return what comes, case by case, of the reference and of the reference whose answers go through `_answer`."""
    row = row_of(key)
    exercise = row.exercise_by_name[name]
    info = packing.info_of(row, exercise)
    kinds = {each: type(ast.parse(row.source(each)).body[0]) for each in exercise.defines}
    wraps = [(FORWARD if kind is ast.ClassDef else FUNCTION).format(name=each) for each, kind in kinds.items()]
    right = (source_of(info),)
    probe = load_probe(info.probe)
    sides = []
    for statements in (right, (*right, "import torch\n" + changed, *wraps)):
        names, notes = load_namespace(Program(info.setup, statements, attempted=True))
        assert not notes
        sides.append([run_case(probe, names, encode(case.data)) for case in draw(exercise, PUBLIC_SEED)])
    return list(zip(*sides))


def told(right: Outcome, got: Outcome) -> str:
    """Return what is said of a case; nothing where the answer did not come into play, or stopped the code itself."""
    if right.status != "value" or (got.status == "value" and encode(got.value) == encode(right.value)):
        return ""
    assert got.status in ("value", "type") or got.line, f"an exception of the checker: {got.error}: {got.message}"
    return got.message if got.status == "type" else repr(got.value)


@pytest.mark.parametrize(("key", "name"), EXERCISES)
def test_an_answer_of_none_is_told_as_such(key: str, name: str) -> None:
    for right, got in outcomes(key, name, NOTHING):
        text = told(right, got)
        assert not text or "None" in text or got.line


@pytest.mark.parametrize(("key", "name"), EXERCISES)
def test_an_answer_of_arrays_is_told_as_such(key: str, name: str) -> None:
    for right, got in outcomes(key, name, ARRAYS):
        text = told(right, got)
        assert "NumPy" in text or got.status != "type"
