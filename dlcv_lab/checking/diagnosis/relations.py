"""How wrong numbers relate to the right ones and to the inputs: a forgotten term or factor, a power, another order.

Every rule is computed on the answers at hand; `related` speaks of all wrong cases where that is true, else of
the first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from dlcv_lab.checking.diagnosis.judged_case import Evidence, comparable
from dlcv_lab.checking.diagnosis.sentences import generic
from dlcv_lab.checking.messages import say
from dlcv_lab.checking.model import Diagnosis

# name -> what makes a wrong answer right
_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "the square": torch.square,
    "the square root": torch.sqrt,
    "one divided by it": torch.reciprocal,
    "the exponential": torch.exp,
    "the logarithm": torch.log,
    "the absolute value": torch.abs,
}
Pair = tuple[str, Tensor, Tensor, float]  # path, yours, expected, how far they may differ


def related(wrong: Sequence[Evidence], names: frozenset[str] | None) -> Diagnosis | None:
    """Return a relation that holds in every wrong case, or in the first one alone, which is then named.

    `names` are the inputs that a sentence may speak of; None allows all.
    """
    first = wrong[:1], _capital(wrong[0].name)
    for items, start in ((wrong, _capital(say("in_every_wrong_case"))), first) if len(wrong) > 1 else (first,):
        pairs = [wrong_pairs(item) for item in items]
        # what a mere rounding separates is equal to its own absolute value, and to much else
        if not all(pairs) or any(_equal(mine, right, slack) for each in pairs for _, mine, right, slack in each):
            continue
        for rule in (_function, _input_itself, _input_missing):
            found = rule(items, pairs, names, start)
            if found:
                return found
    return None


def pattern(item: Evidence) -> Diagnosis | None:
    """Return what the wrong numbers of one case have in common: signs, order, one axis, zeros."""
    for path, mine, right, slack in wrong_pairs(item)[:1]:
        where = f"at {item.spoken(path)} {item.name}" if path else item.name
        if _equal(mine.abs(), right.abs(), slack):
            count = int(((mine - right).abs() > slack).sum())
            return generic("signs", where=where, count=count)
        if bool(((right == 0) | (right == 1)).all()) and _equal(1 - mine, right, 0.0):
            return generic("inverted", where=where)
        several = mine.numel() > 3 and float(right.std()) > slack
        if several and _equal(mine.reshape(-1).sort().values, right.reshape(-1).sort().values, slack):
            return generic("shuffled", where=where)
        found = _per_axis(mine, right, slack, where) or _zeros_where_wrong(mine, right, slack, where)
        if found:
            return found
        return _one_index(mine, right, slack, where)
    return None


def wrong_pairs(item: Evidence) -> list[Pair]:
    """Return the tensors of an answer that are wrong, in float64; empty where one of them cannot be compared."""
    found: list[Pair] = []
    for index, (path, mine, right) in enumerate(item.pairs()):
        if item.fits(mine, right, index):
            continue
        if not (isinstance(mine, Tensor) and isinstance(right, Tensor)):
            return []
        pair = comparable(mine.detach(), right.detach())
        if pair is None:
            return []
        allowed = item.tolerances[index] if index < len(item.tolerances) else 0.0
        found.append((path, *pair, allowed + 1e-5 * float(pair[1].abs().max())))
    return found


def _function(
    items: Sequence[Evidence], pairs: Sequence[list[Pair]], names: frozenset[str] | None, start: str
) -> Diagnosis | None:
    for name, function in _FUNCTIONS.items():
        if all(_equal(function(mine), right, slack) for each in pairs for _, mine, right, slack in each):
            return generic("function", start=start, what=_what(items, pairs), function=name)
    return None


def _input_itself(
    items: Sequence[Evidence], pairs: Sequence[list[Pair]], names: frozenset[str] | None, start: str
) -> Diagnosis | None:
    for name in _inputs(items[0], names):
        values = [_inputs(item, names).get(name) for item in items]
        if all(
            value is not None and value.shape == mine.shape and _equal(mine, value, 0.0)
            for value, each in zip(values, pairs)
            for _, mine, _, _ in each
        ):
            return generic("input_returned", start=start, what=_what(items, pairs), name=name)
    return None


def _input_missing(
    items: Sequence[Evidence], pairs: Sequence[list[Pair]], names: frozenset[str] | None, start: str
) -> Diagnosis | None:
    """Find an input by which the answer must still be increased, reduced, multiplied or divided."""
    words: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "plus": torch.add, "minus": torch.sub, "times": torch.mul, "divided by": torch.div,
    }  # fmt: skip
    for name in _inputs(items[0], names):
        values = [_inputs(item, names).get(name) for item in items]
        for word, change in words.items():
            if all(
                value is not None and any(_equal(change(mine, one), right, slack) for one in _spread(value, mine))
                for value, each in zip(values, pairs)
                for _, mine, right, slack in each
            ):
                return generic("input_missing", start=start, what=_what(items, pairs), word=word, name=name)
    return None


def _what(items: Sequence[Evidence], pairs: Sequence[list[Pair]]) -> str:
    """Name the part of the answers that is wrong; "your output" where it is all of them, or several parts."""
    paths = {path for each in pairs for path, *_ in each}
    return items[0].spoken(paths.pop()) if len(paths) == 1 and "" not in paths else say("your_output")


def _inputs(item: Evidence, names: frozenset[str] | None) -> dict[str, Tensor]:
    """Return the floating inputs and plain numbers of a case, by name."""
    found = {}
    for name, value in item.case.data.items():
        if names is not None and name not in names:
            continue
        if isinstance(value, Tensor) and value.is_floating_point() and value.numel():
            found[name] = value.detach().double()
        elif type(value) in (int, float) and value not in (0, 1):
            found[name] = torch.tensor(float(value), dtype=torch.float64)
    return found


def _spread(value: Tensor, like: Tensor) -> Iterator[Tensor]:
    """Yield an input as it may be broadcast: as it is, and one number per index of an axis."""
    if value.dim() <= like.dim():
        with contextlib.suppress(RuntimeError):
            yield value.expand(like.shape)
    if value.dim() == 1 and like.dim() > 1:
        for axis in range(like.dim() - 1):
            if like.shape[axis] == value.numel():
                shape = [1] * like.dim()
                shape[axis] = -1
                yield value.reshape(shape).expand(like.shape)


def _per_axis(mine: Tensor, right: Tensor, slack: float, where: str) -> Diagnosis | None:
    """Find a difference or a ratio that is the same number all over each index of one axis."""
    if mine.dim() < 2:
        return None
    for key, table in (("offset_axis", right - mine), ("factor_axis", right / mine)):
        if not bool(torch.isfinite(table).all()):
            continue
        for axis in range(mine.dim()):
            others = [other for other in range(mine.dim()) if other != axis]
            if mine.shape[axis] == mine.numel() or all(mine.shape[other] == 1 for other in others):
                continue
            middle = table.mean(others, keepdim=True)
            mended = mine + middle if key == "offset_axis" else mine * middle
            if _equal(mended, right, slack):
                return generic(key, where=where, axis=axis)
    return None


def _zeros_where_wrong(mine: Tensor, right: Tensor, slack: float, where: str) -> Diagnosis | None:
    wrong = (mine - right).abs() > slack
    if bool(wrong.all()) or int(wrong.sum()) < 2:
        return None
    for key, values in (("zero_where_wrong", mine), ("zero_wanted", right)):
        if not bool(values[wrong].any()):
            return generic(key, count=int(wrong.sum()), where=where)
    return None


def _one_index(mine: Tensor, right: Tensor, slack: float, where: str) -> Diagnosis | None:
    """Find an axis on which all wrong numbers have the same index."""
    wrong = (mine - right).abs() > slack
    for axis in range(mine.dim()) if int(wrong.sum()) > 1 else ():
        if mine.shape[axis] < 3:
            continue
        others = [other for other in range(mine.dim()) if other != axis]
        held = wrong.any(dim=others[0]) if len(others) == 1 else wrong
        for other in sorted(others, reverse=True) if len(others) > 1 else ():
            held = held.any(dim=other)
        indices = held.nonzero().reshape(-1).tolist()
        if len(indices) == 1:
            return generic("one_index", index=indices[0], axis=axis, size=mine.shape[axis], where=where)
    return None


def _equal(mine: Tensor, right: Tensor, slack: float) -> bool:
    return mine.shape == right.shape and bool(((mine - right).abs() <= slack).all())


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
