"""What the diagnoser knows about one judged case, and ways to look at it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from dlcv_lab.checking.compare import Comparison, as_tensor, compare, input_dtype, numeric_leaves
from dlcv_lab.checking.envelope import leaves
from dlcv_lab.checking.messages import spoken
from dlcv_lab.checking.model import Case, Outcome


@dataclass(frozen=True)
class Evidence:
    """One judged case: what was given, what came, what was expected and how they compare."""

    case: Case
    outcome: Outcome
    expected: Outcome
    tolerances: tuple[float, ...]
    comparison: Comparison | None  # None where no value came or none was expected
    right: bool
    returns: tuple[str, ...] = ()  # names for the parts of a tuple

    def spoken(self, path: str) -> str:
        """Name a part of the answer."""
        return spoken(path, self.returns)

    @property
    def name(self) -> str:
        """Name the case inside a sentence: "in the case 'stride 2'"."""
        return f"in the case '{self.case.note or self.case.group}'"

    @property
    def has_values(self) -> bool:
        return self.outcome.status == "value" and self.expected.status == "value"

    def pairs(self) -> list[tuple[str, Any, Any]]:
        """Return (path, yours, expected) of the numeric leaves of the expected value for which something came."""
        if not self.has_values:
            return []
        expected = self.expected.value
        if not isinstance(expected, list | tuple | dict):
            return [("", self.outcome.value, expected)]
        table = dict(leaves(self.outcome.value))
        return [(path, table[path], leaf) for path, leaf in numeric_leaves(expected) if path in table]

    def fits(self, mine: Any, right: Any, index: int = 0) -> bool:
        """Tell whether `mine` would be right in the place of the numeric leaf with this number."""
        return compare(mine, right, self.tolerances[index : index + 1], dtype=input_dtype(self.case)).equal

    def first_wrong(self) -> tuple[str, torch.Tensor, torch.Tensor] | None:
        """Return path, yours and expected of the first tensor that differs."""
        for index, (path, mine, right) in enumerate(self.pairs()):
            if isinstance(mine, torch.Tensor) and isinstance(right, torch.Tensor) and not self.fits(mine, right, index):
                return path, mine.detach(), right.detach()
        return None

    def single(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return yours and expected in float64 where the answer is one finite real tensor of the right shape."""
        pairs = self.pairs()
        if len(pairs) != 1 or not all(isinstance(value, torch.Tensor) for value in pairs[0][1:]):
            return None
        return comparable(*(as_tensor(value) for value in pairs[0][1:]))

    def slack(self, right: torch.Tensor) -> float:
        """Return how far numbers may differ and still count as equal to a rule."""
        return max(self.tolerances[:1] or (0.0,)) + 1e-5 * float(right.abs().max())


def comparable(mine: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return both in float64 if they are finite, real, of one shape and not empty."""
    if mine.shape != right.shape or mine.is_complex() or mine.dtype == torch.bool or not right.is_floating_point():
        return None
    if not mine.numel() or not bool(torch.isfinite(mine).all() and torch.isfinite(right).all()):
        return None
    return mine.double(), right.double()
