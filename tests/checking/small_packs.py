"""A small exercise for tests: conv-like `f(x, stride)` with its pack, made without the authoring side."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from dlcv_lab.checking import execute
from dlcv_lab.checking.compare import deviations, input_dtype, tolerances
from dlcv_lab.checking.envelope import encode, to_float64
from dlcv_lab.checking.model import Case, ExerciseInfo, MisconceptionAnswers, Outcome, Pack

PROBE = "def run(ns, data):\n    return ns.f(**data)\n"
STUB = (
    'def f(x, stride=1, b=None, s=1, p=0):\n    """Return every stride-th row of 2 x."""\n    raise NotImplementedError'
)


def info(**changes: Any) -> ExerciseInfo:
    plain = ExerciseInfo(
        chapter="ch98", name="f", notebook="lesson_1", defines=("f",), points=3.0, core=True,
        groups={"plain": 2.0, "stride": 1.0}, minutes=5, difficulty="easy", good_for="testing", uses=(),
        hints=("What comes out?", "Slice it.", "x[::stride]"), stub=STUB, probe=PROBE, setup="import torch",
        version="v1",
    )  # fmt: skip
    return replace(plain, **changes)


def outcome(function: Callable[..., Any], data: dict[str, Any]) -> Outcome:
    return execute.run_case(lambda ns, given: function(**given), None, encode(data))


def pack(
    reference: Callable[..., Any],
    cases: Sequence[Case],
    misconceptions: Sequence[tuple[str, str, Callable[..., Any]]] = (),
    **changes: Any,
) -> Pack:
    """Make a pack from functions: (name, hint, function) for each misconception."""
    expected = [outcome(reference, to_float64(case.data)) for case in cases]
    allowed = [
        tolerances(right.value, [deviations(outcome(reference, case.data).value, right.value)],
                   input_dtype(case) or torch.float32) if right.status == "value" else ()
        for case, right in zip(cases, expected)
    ]  # fmt: skip
    answers = tuple(
        MisconceptionAnswers(name, hint, tuple(outcome(function, case.data) for case in cases))
        for name, hint, function in misconceptions
    )
    groups = {case.group: 1.0 for case in cases}
    facts = info(**({"groups": groups, "points": sum(groups.values())} | changes))
    return Pack(facts, tuple(cases), tuple(expected), tuple(allowed), lambda: answers)
