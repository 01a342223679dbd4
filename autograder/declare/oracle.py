"""A second opinion on a reference: an independent library answers the same cases, forward and gradient.

`oracle=` of an exercise is a function `oracle(data)` that answers one case by other means. It becomes a test by itself
(tests/chapters/test_oracles.py), in float64 with gradients and in the case's own dtype without, over several draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from autograder.declare.exercise import Exercise
from autograder.declare.probes import is_plain
from dlcv_lab.checking import compare
from dlcv_lab.checking.envelope import decode, encode, float64_of
from dlcv_lab.checking.model import Case

Answer = Callable[[dict[str, Any]], Any]

EXACT = 1e-9  # of the largest value, or absolute below one: two ways to compute in float64
ROUNDED = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}


class OracleError(AssertionError):
    """Reference and oracle disagree; the message says on which case and by how much."""


@dataclass
class Agreement:
    """How much was compared."""

    cases: int = 0
    gradients: int = 0
    errors: int = 0  # cases on which both raise


def oracle_of(exercise: Exercise, case: Case) -> Answer | None:
    """Return the oracle that answers a case, or None where there is none for it.

    A mapping names it by group or `ask`. A single one answers all cases, or, beside a mapping of probes, those that
    are mere calls.
    """
    if isinstance(exercise.oracle, Mapping):
        return exercise.oracle.get(case.data.get("ask", case.group))
    if isinstance(exercise.probe, Mapping) and not is_plain(exercise, case):
        return None
    return exercise.oracle


def compare_all(exercise: Exercise, reference: Answer, cases: list[Case]) -> Agreement:
    """Compare the answers of a reference with those of the exercise's oracle.

    Args:
        exercise: has an oracle. One that returns NotImplemented leaves a case out.
        reference: answers a case's data by probe and solution.
        cases: of one draw.

    Raises:
        OracleError: they differ, in value or gradient, or one alone raises; or the oracle answers no case at all.
    """
    seen = Agreement()
    for case in cases:
        oracle = oracle_of(exercise, case)
        if oracle is None:
            continue
        raw = encode(case.data)
        theirs = _answer(oracle, _told(exercise, float64_of(raw)))
        if theirs is NotImplemented:
            continue
        mine = _answer(reference, float64_of(raw))
        where = f"{exercise.name}, case {case.note!r}"
        if isinstance(mine, Exception) or isinstance(theirs, Exception):
            if not (isinstance(mine, Exception) and isinstance(theirs, Exception)):
                raise OracleError(f"{where}: the reference gives {_short(mine)}, the oracle {_short(theirs)}")
            seen.errors += 1
            continue
        _same(mine, theirs, EXACT, where)
        seen.cases += 1
        seen.gradients += _same_gradients(reference, oracle, exercise, raw, where)
        dtype = compare.input_dtype(case)
        if dtype in ROUNDED:
            own = _answer(oracle, _told(exercise, decode(raw, max_bytes=2**40)))
            if not isinstance(own, Exception):  # a library may know float32 and float64 alone
                mine = _answer(reference, decode(raw, max_bytes=2**40))
                _same(mine, theirs, ROUNDED[dtype], f"{where}, in {dtype}")
    if not seen.cases:
        raise OracleError(f"{exercise.name}: the oracle answers none of the cases")
    return seen


def _told(exercise: Exercise, data: dict[str, Any]) -> dict[str, Any]:
    """Return the data as a probe of a mapping gets it: without `ask`."""
    mapped = isinstance(exercise.probe, Mapping)
    return {key: value for key, value in data.items() if not (mapped and key == "ask")}


def _answer(function: Answer, data: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    try:
        return function(data)
    except Exception as error:
        return error


def _same(mine: Any, theirs: Any, allowed: float, where: str) -> None:
    if isinstance(mine, Exception) or isinstance(theirs, Exception):
        raise OracleError(f"{where}: the reference gives {_short(mine)}, the oracle {_short(theirs)}")
    ours, other = list(_numbers(mine)), list(_numbers(theirs))
    if [path for path, _ in ours] != [path for path, _ in other]:
        raise OracleError(f"{where}: the reference answers {_short(mine)}, the oracle {_short(theirs)}")
    for (path, left), (_, right) in zip(ours, other):
        if not isinstance(left, Tensor) or not isinstance(right, Tensor):
            if left != right:
                raise OracleError(f"{where}, {path}: the reference gives {left!r}, the oracle {right!r}")
            continue
        try:
            torch.testing.assert_close(
                left.detach().double(),
                right.detach().double(),
                rtol=allowed,
                atol=allowed * _size(right),
                equal_nan=True,
            )
        except AssertionError as error:
            raise OracleError(f"{where}, {path or 'the answer'}: {error}") from None


def _size(tensor: Tensor) -> float:
    finite = tensor.detach().double().flatten()
    finite = finite[finite.isfinite()]
    return max(1.0, float(finite.abs().max())) if len(finite) else 1.0


def _numbers(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the leaves of an answer with their paths; numbers become tensors, lists and tuples are alike."""
    if isinstance(value, Mapping):
        for key in sorted(value, key=repr):
            yield from ((f"[{key!r}]{path}", leaf) for path, leaf in _numbers(value[key]))
    elif isinstance(value, tuple | list):
        for index, item in enumerate(value):
            yield from ((f"[{index}]{path}", leaf) for path, leaf in _numbers(item))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield "", torch.tensor(value, dtype=torch.float64)
    else:
        yield "", value


def _same_gradients(reference: Answer, oracle: Answer, exercise: Exercise, raw: bytes, where: str) -> int:
    """Compare the gradients of a random sum of the answers with respect to every floating tensor of the data.

    Nothing is compared where the oracle's answer does not hang on the data by autograd, such as that of NumPy.
    """
    mine, theirs = _gradients(reference, float64_of(raw)), _gradients(oracle, _told(exercise, float64_of(raw)))
    if theirs is None:
        return 0
    if mine is None:
        raise OracleError(
            f"{where}: no gradient comes through the reference, but through the oracle; if that is meant, let the "
            "oracle return item() or detach()"
        )
    _same(mine, theirs, EXACT, f"{where}, gradients")
    return 1


def _gradients(function: Answer, data: dict[str, Any]) -> dict[str, Tensor] | None:
    with_path, spec = pytree.tree_flatten_with_path(data)
    leaves = [leaf.requires_grad_() if _floating(leaf) else leaf for _, leaf in with_path]
    answer = _answer(function, pytree.tree_unflatten(leaves, spec))
    parts = [leaf for _, leaf in _numbers(answer) if isinstance(leaf, Tensor) and leaf.requires_grad]
    if not parts:
        return None
    draws = torch.Generator().manual_seed(0)
    total = sum((part * torch.randn(part.shape, generator=draws, dtype=part.dtype)).sum() for part in parts)
    inputs = {pytree.keystr(path): leaf for path, leaf in with_path if _floating(leaf)}
    found = torch.autograd.grad(total, list(inputs.values()), allow_unused=True, materialize_grads=True)  # type: ignore[arg-type]
    return dict(zip(inputs, found))


def _floating(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()


def _short(value: Any) -> str:
    text = f"{type(value).__name__}: {value}" if isinstance(value, Exception) else repr(value)
    return text if len(text) < 200 else text[:200] + " ..."
