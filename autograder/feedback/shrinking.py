"""Simpler versions of a case: smaller sizes, smaller whole numbers, plainer values, plain memory layout.

Axes of equal length are cut together, because they usually mean the same thing. Whether a simpler case still makes
sense is not decided here: the reference and every alternative have to agree on it (see `smallest`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import torch

from dlcv_lab.checking.envelope import clone, leaves
from dlcv_lab.checking.model import Case

Measure = tuple[int, int, int, int]
_MOST_PAIRS = 5  # different lengths, of which pairs are tried


def measure(case: Case) -> Measure:
    """Return how large a case is: elements, strange layouts, whole numbers, how plain its values are."""
    tensors = [leaf for _, leaf in leaves(case.data) if isinstance(leaf, torch.Tensor)]
    numbers = [leaf for _, leaf in leaves(case.data) if type(leaf) in (int, float)]
    return (
        sum(tensor.numel() for tensor in tensors),
        sum(not tensor.is_contiguous() for tensor in tensors),
        sum(min(abs(int(number)), 10**6) for number in numbers if number == number and abs(number) < 1e6),
        sum(_plainness(tensor) for tensor in tensors),
    )


def simpler(case: Case, others: Sequence[Case]) -> Iterator[Case]:
    """Yield simpler versions of a case, the boldest first. `others` tell which whole numbers an exercise meets."""
    yield from _cut(case)
    yield from _smaller_numbers(case, others)
    yield from _plain_layout(case)
    yield from _plain_values(case)


def _cut(case: Case) -> Iterator[Case]:
    tensors = [leaf for _, leaf in leaves(case.data) if isinstance(leaf, torch.Tensor)]
    lengths = sorted({length for tensor in tensors for length in tensor.shape if length > 1}, reverse=True)
    for old in lengths:
        for new in dict.fromkeys((1, 2, old // 2, old - 1)):
            if 1 <= new < old:
                yield _with_lengths(case, {old: new}, numbers=False)
                yield _with_lengths(case, {old: new}, numbers=True)
    for one, two in permutations(lengths[:_MOST_PAIRS], 2):  # an output's size follows that of its input
        for less in dict.fromkeys((min(one, two) - 1, 1)):
            if one > two and two - less >= 1:
                yield _with_lengths(case, {one: one - less, two: two - less}, numbers=False)


def _with_lengths(case: Case, lengths: dict[int, int], *, numbers: bool) -> Case:
    """Cut every axis of such a length; class indices stay inside, and with `numbers` equal whole numbers follow."""

    def change(leaf: Any) -> Any:
        if isinstance(leaf, torch.Tensor):
            cut = leaf.detach()
            for axis, length in enumerate(leaf.shape):
                if length in lengths:
                    cut = cut.narrow(axis, 0, lengths[length])
            if cut.dtype == torch.int64 and cut.numel() and int(cut.min()) >= 0:
                for old, new in lengths.items():
                    if new <= int(cut.max()) < old:
                        cut = cut % new
            return _compact(cut).requires_grad_(leaf.requires_grad)
        if numbers and type(leaf) is int and leaf in lengths:
            return lengths[leaf]
        return leaf

    return replace(case, data=_map(case.data, change))


def _compact(tensor: torch.Tensor) -> torch.Tensor:
    """Copy a tensor into memory of its own, in the order of axes that it had."""
    if tensor.is_contiguous() or any(step == 0 for step in tensor.stride()):
        return tensor.clone(memory_format=torch.contiguous_format)
    order = sorted(range(tensor.dim()), key=tensor.stride().__getitem__, reverse=True)
    back = sorted(range(tensor.dim()), key=order.__getitem__)
    return tensor.permute(order).clone(memory_format=torch.contiguous_format).permute(back)


def _smaller_numbers(case: Case, others: Sequence[Case]) -> Iterator[Case]:
    """Try the smaller whole numbers that other cases have in the same place, and no other ones: 0 can mean a loop
    without end, and a reference need not stand what no case asks of it."""
    met: dict[str, set[int]] = {}
    for other in others:
        for path, leaf in leaves(other.data):
            if type(leaf) is int:
                met.setdefault(path, set()).add(leaf)
    for path, leaf in leaves(case.data):
        if type(leaf) is int:
            for number in sorted(number for number in met.get(path, ()) if 0 <= number < leaf):
                yield _with_leaf(case, path, number)
        elif type(leaf) is float and leaf not in (0.0, 1.0, 0.5):
            yield from (_with_leaf(case, path, number) for number in (1.0, 0.5, round(leaf, 1)))


def _plain_layout(case: Case) -> Iterator[Case]:
    for path, leaf in leaves(case.data):
        if isinstance(leaf, torch.Tensor) and not leaf.is_contiguous():
            plain = leaf.detach().clone(memory_format=torch.contiguous_format)
            yield _with_leaf(case, path, plain.requires_grad_(leaf.requires_grad))


_PLAINER: tuple[Callable[[torch.Tensor], torch.Tensor], ...] = (
    torch.zeros_like,
    torch.ones_like,
    lambda t: (torch.arange(t.numel(), dtype=torch.float64) % 5).reshape(t.shape).to(t.dtype),
    lambda t: t.round().clamp(-2, 2),
    lambda t: t.round(),
    lambda t: (t * 10).round() / 10,
)


def _plain_values(case: Case) -> Iterator[Case]:
    places = [
        (path, leaf)
        for path, leaf in leaves(case.data)
        if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() and leaf.numel()
    ]
    for plain in _PLAINER[2:] if len(places) > 1 else ():
        changed = case
        for path, leaf in places:
            changed = _with_leaf(changed, path, _replaced(leaf, plain))
        yield changed
    for path, leaf in places:
        for plain in _PLAINER:
            yield _with_leaf(case, path, _replaced(leaf, plain))


def _replaced(leaf: torch.Tensor, plain: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    values = plain(leaf.detach()).to(leaf.dtype)
    like: torch.Tensor = clone({"t": leaf.detach()})["t"]  # layout of the original, values of the plain one
    return like.copy_(values).requires_grad_(leaf.requires_grad)


def _plainness(tensor: torch.Tensor) -> int:
    if not tensor.is_floating_point() or not tensor.numel():
        return 0
    values = tensor.detach()
    if bool((values == values.flatten()[0]).all()):
        return int(float(values.flatten()[0]) != 0.0)
    if bool((values == values.round()).all()):
        return 2 if float(values.abs().max()) <= 4 else 3
    tenths = values * 10
    return 4 if torch.allclose(tenths, tenths.round(), atol=1e-3) else 5


def _with_leaf(case: Case, path: str, value: Any) -> Case:
    return replace(case, data=_map(case.data, lambda leaf: leaf, {path: value}))


def _map(value: Any, change: Callable[[Any], Any], by_path: dict[str, Any] | None = None, path: str = "") -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_map(item, change, by_path, f"{path}[{index}]") for index, item in enumerate(value))
    if isinstance(value, dict):
        return {key: _map(item, change, by_path, f"{path}[{key!r}]") for key, item in value.items()}
    return by_path[path] if by_path and path in by_path else change(value)
