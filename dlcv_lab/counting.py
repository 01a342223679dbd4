"""Counting parameters the way papers do."""

from __future__ import annotations

from torch import nn
from torch.nn.parameter import UninitializedParameter


def count_params(model: nn.Module, trainable: bool | None = None) -> int:
    """Return the number of parameters of `model`; what shares its memory (tied weights) is counted once.

    `trainable=True` counts the parameters with `requires_grad`, `trainable=False` the frozen ones, `None` both; a
    number that lies in a trainable and in a frozen parameter counts as trainable. Buffers, such as the running
    averages of batch norm, are not parameters. Works on models on the meta device, which need no memory.

    Raises:
        ValueError: a lazy layer does not know its shape yet.
    """
    everything = _count(model, include_frozen=True)
    if trainable is None:
        return everything
    learned = _count(model, include_frozen=False)
    return learned if trainable else everything - learned


def _count(model: nn.Module, *, include_frozen: bool) -> int:
    """Sum, over the storages, the lengths of the union of the stretches that parameters occupy in each."""
    stretches: dict[int, list[tuple[int, int]]] = {}
    total = 0
    for name, parameter in model.named_parameters():
        if isinstance(parameter, UninitializedParameter):
            raise ValueError(f"the shape of {name!r} is not known yet: run the model once on an example, then count")
        if parameter.numel() == 0 or not (include_frozen or parameter.requires_grad):
            continue
        distinct = _distinct(parameter.shape, parameter.stride())
        span = 1 + sum((n - 1) * step for n, step in zip(parameter.shape, parameter.stride()))
        if distinct < span:  # a view with gaps has no stretch of its own
            total += distinct
            continue
        storage = parameter.untyped_storage()._cdata  # the address of the data is 0 for every meta tensor
        first = int(parameter.storage_offset())
        stretches.setdefault(storage, []).append((first, first + int(span)))
    return total + sum(_covered(intervals) for intervals in stretches.values())


def _distinct(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    product = 1
    for n, step in zip(shape, strides):
        product *= n if step else 1
    return product


def _covered(intervals: list[tuple[int, int]]) -> int:
    total, reached = 0, -1
    for first, last in sorted(intervals):
        total += max(0, last - max(first, reached))
        reached = max(reached, last)
    return total
