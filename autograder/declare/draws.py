"""Draws for case generators, and a case in one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from dlcv_lab.checking.model import Case

T = TypeVar("T")


class Draws(torch.Generator):
    """What `cases(d)` gets: a CPU generator with draws as methods. It serves as any `generator=` of PyTorch, too."""

    def normal(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Draw standard normal numbers of a shape."""
        return torch.randn(shape, generator=self, dtype=dtype)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0, dtype: torch.dtype = torch.float32) -> Tensor:
        """Draw numbers between `low` (included) and `high` (excluded)."""
        return low + (high - low) * torch.rand(shape, generator=self, dtype=dtype)

    def whole(self, low: int, high: int) -> int:
        """Draw one whole number, both ends included."""
        return int(torch.randint(low, high + 1, (), generator=self))

    def real(self, low: float = 0.0, high: float = 1.0) -> float:
        """Draw one number between `low` and `high`."""
        return low + (high - low) * float(torch.rand((), generator=self, dtype=torch.float64))

    def integers(self, low: int, high: int, *shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
        """Draw whole numbers of a shape, both ends included."""
        return torch.randint(low, high + 1, shape, generator=self, dtype=dtype)

    def mask(self, *shape: int, p: float = 0.5) -> Tensor:
        """Draw a mask that is True with probability `p`."""
        return torch.rand(shape, generator=self) < p

    def permutation(self, n: int) -> Tensor:
        """Draw an order of 0 ... n - 1 (int64)."""
        return torch.randperm(n, generator=self)

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Return the items in a drawn order."""
        return [items[index] for index in self.permutation(len(items)).tolist()]

    def choice(self, items: Sequence[T]) -> T:
        """Draw one of the items."""
        return items[self.whole(0, len(items) - 1)]


def case(group: str, note: str, /, **data: Any) -> Case:
    """Return a case of a group of points: a few words for the student, and what goes in."""
    return Case(group, data, note)
