"""Find one simple change that makes every wrong answer right: another order, axis, sign, factor or offset."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from dlcv_lab.checking.compare import as_tensor, compare, input_dtype, numeric_leaves
from dlcv_lab.checking.diagnosis.judged_case import Evidence, comparable
from dlcv_lab.checking.diagnosis.sentences import generic
from dlcv_lab.checking.messages import say
from dlcv_lab.checking.model import Diagnosis

# (yours, expected) -> yours changed, or None where the change does not apply
Change = Callable[[Tensor, Tensor], Tensor | None]
Candidates = Iterator[tuple[dict[str, object], Change]]


def changed(wrong: Sequence[Evidence], where: str = "") -> Diagnosis | None:
    """Return the change that makes each of these wrong answers right; `where` names the case if there is only one."""
    start = where or say("in_every_wrong_case")
    start = start[0].upper() + start[1:]
    for order in _orders(wrong[0]):
        if all(_is_reordered(item, order) for item in wrong):
            names = wrong[0].returns
            if len(names) == len(order):
                mine = ", ".join(names[order.index(place)] for place in range(len(order)))
                return generic("order_named", start=start, mine=mine, right=", ".join(names))
            return generic("order", start=start, order=", ".join(f"item {index}" for index in order))
    first = wrong[0].first_wrong()
    if first is not None:
        for key, candidates in _CHANGES:
            for words, change in candidates(*first[1:]):
                if all(_becomes_right(item, change) for item in wrong):
                    return generic(key, start=start, **words)
    factors = [factor for item in wrong if (factor := _factor(item)) is not None]
    what = _wrong_part(wrong)
    if len(factors) == len(wrong):
        if _alike(factors):
            return generic("factor", start=start, factor=f"{factors[0]:.4g}", what=what)
        text = ", ".join(f"{factor:.4g} {item.name}" for factor, item in zip(factors, wrong))
        return generic("factors", factors=text)
    offsets = [offset for item in wrong if (offset := _offset(item)) is not None]
    if len(offsets) == len(wrong) and _alike(offsets):
        return generic("offset", start=start, offset=f"{offsets[0]:.4g}", what=what)
    return None


def _orders(item: Evidence) -> Iterator[tuple[int, ...]]:
    mine, right = item.outcome.value, item.expected.value
    if isinstance(right, list | tuple) and isinstance(mine, list | tuple) and 2 <= len(mine) == len(right) <= 5:
        plain = tuple(range(len(mine)))
        yield from (order for order in itertools.permutations(plain) if order != plain)


def _is_reordered(item: Evidence, order: tuple[int, ...]) -> bool:
    mine, right = item.outcome.value, item.expected.value
    if not (isinstance(mine, list | tuple) and isinstance(right, list | tuple)):
        return False
    if not len(mine) == len(right) == len(order):
        return False
    moved = [mine[index] for index in order]
    return compare(moved, right, item.tolerances, dtype=input_dtype(item.case)).equal


def _transposed(mine: Tensor, right: Tensor) -> Candidates:
    if mine.dim() == 2:
        yield {}, lambda t, _: t.t() if t.dim() == 2 else None


def _permuted(mine: Tensor, right: Tensor) -> Candidates:
    dims = mine.dim()
    if 3 <= dims <= 5:
        for order in itertools.permutations(range(dims)):
            if order != tuple(range(dims)):
                yield {"order": order}, partial(_permute, order=order)


def _permute(tensor: Tensor, _: Tensor, order: tuple[int, ...]) -> Tensor | None:
    return tensor.permute(order) if tensor.dim() == len(order) else None


def _reshaped(mine: Tensor, right: Tensor) -> Candidates:
    if mine.shape != right.shape and mine.numel() == right.numel():
        words: dict[str, object] = {"mine": tuple(mine.shape), "right": tuple(right.shape)}
        yield words, lambda t, goal: t.reshape(goal.shape) if t.numel() == goal.numel() else None


def _negated(mine: Tensor, right: Tensor) -> Candidates:
    yield {}, lambda t, _: None if t.dtype == torch.bool else -t


def _flipped(mine: Tensor, right: Tensor) -> Candidates:
    for count in (1, 2):
        for axes in itertools.combinations(range(-min(mine.dim(), 5), 0), count):
            yield {"axes": " and ".join(str(axis) for axis in axes)}, partial(_flip, axes=axes)


def _flip(tensor: Tensor, _: Tensor, axes: tuple[int, ...]) -> Tensor | None:
    return tensor.flip(axes) if tensor.dim() >= -min(axes) else None


_CHANGES: tuple[tuple[str, Callable[[Tensor, Tensor], Candidates]], ...] = (
    ("transposed", _transposed),
    ("permuted", _permuted),
    ("reshaped", _reshaped),
    ("sign", _negated),
    ("flipped", _flipped),
)


def _becomes_right(item: Evidence, change: Change) -> bool:
    """Tell whether the change, applied to the tensors of the answer that are wrong, makes all of it right."""
    pairs = item.pairs()
    if not pairs or len(pairs) != len(numeric_leaves(item.expected.value)):
        return False
    mended_one = False
    for index, (_, mine, right) in enumerate(pairs):
        if item.fits(mine, right, index):
            continue
        if not (isinstance(mine, Tensor | float) and isinstance(right, Tensor | float)):
            return False
        mended = change(as_tensor(mine), as_tensor(right))
        if mended is None or not item.fits(mended, as_tensor(right), index):
            return False
        mended_one = True
    return mended_one


def _part(item: Evidence) -> tuple[str, Tensor, Tensor] | None:
    """Return path, yours and expected, in float64, of the one tensor of an answer that is wrong."""
    wrong = [
        (path, mine, right)
        for index, (path, mine, right) in enumerate(item.pairs())
        if not item.fits(mine, right, index)
    ]
    if len(wrong) != 1 or not all(isinstance(value, Tensor) for value in wrong[0][1:]):
        return None
    path, mine, right = wrong[0]
    whole = not (right.is_floating_point() or right.is_complex() or torch.bool in (mine.dtype, right.dtype))
    pair = comparable(mine.detach(), right.detach().double() if whole else right.detach())
    return (path, *pair) if pair is not None and pair[0].numel() > 1 else None


def _wrong_part(wrong: Sequence[Evidence]) -> str:
    """Name the part of the answers that is wrong; "your output" where it is all of them."""
    part = _part(wrong[0])
    return wrong[0].spoken(part[0]) if part is not None and part[0] else say("your_output")


def _factor(item: Evidence) -> float | None:
    part = _part(item)
    if part is None:
        return None
    _, mine, right = part
    if float(mine.std()) == 0:
        return None
    factor = float((mine * right).sum() / (mine * mine).sum())
    fits = compare(mine * factor, right, [item.slack(right)]).equal
    return factor if fits and abs(factor) > 1e-6 and abs(factor - 1) > 1e-3 else None


def _offset(item: Evidence) -> float | None:
    part = _part(item)
    if part is None:
        return None
    _, mine, right = part
    if float(right.std()) == 0:
        return None
    offset = float((right - mine).mean())
    fits = compare(mine + offset, right, [item.slack(right)]).equal
    return offset if fits and abs(offset) > 10 * item.slack(right) else None


def _alike(numbers: Sequence[float]) -> bool:
    return max(numbers) - min(numbers) < 1e-3 * max(abs(number) for number in numbers)
