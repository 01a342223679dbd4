"""Say where two tensors of one shape differ."""

from __future__ import annotations

import torch
from torch import Tensor

from dlcv_lab.checking.diagnosis.sentences import generic
from dlcv_lab.checking.model import Diagnosis


def differences(mine: Tensor, right: Tensor, slack: float, where: str) -> Diagnosis | None:
    """Return where `mine` differs from `right` by more than `slack`, in the simplest words that are true.

    Both are finite float64 tensors of one shape; `where` names the case. None where nothing differs.
    """
    wrong = (mine - right).abs() > slack
    if not bool(wrong.any()):
        return None
    if mine.numel() > 1 and not bool(mine.any()):
        return generic("zeros", where=where)
    if mine.numel() > 1 and bool((mine == mine.reshape(-1)[0]).all()) and float(right.std()) > slack:
        return generic("constant", where=where)
    for axis in range(-1, -mine.dim() - 1, -1):
        for steps in (1, -1):
            if _is_shifted(mine, right, axis, steps, slack):
                return generic("shifted", steps=steps, axis=axis, where=where)
    if _only_border(wrong):
        return generic("border", where=where)
    if mine.numel() == 1:
        return generic("number", mine=f"{float(mine):.4g}", right=f"{float(right):.4g}", where=where)
    index = tuple(int(i) for i in wrong.nonzero()[0])
    return generic(
        "numbers", count=int(wrong.sum()), total=wrong.numel(), index=index if len(index) != 1 else index[0],
        mine=f"{float(mine[index]):.4g}", right=f"{float(right[index]):.4g}", where=where,
    )  # fmt: skip


def _is_shifted(mine: Tensor, right: Tensor, axis: int, steps: int, slack: float) -> bool:
    """Tell whether mine[i + steps] equals right[i] along an axis, wherever both exist."""
    size = mine.shape[axis]
    if size < 3:
        return False
    moved = mine.narrow(axis, max(steps, 0), size - 1)
    still = right.narrow(axis, max(-steps, 0), size - 1)
    return float(still.std()) > slack and bool(((moved - still).abs() <= slack).all())


def _only_border(wrong: Tensor) -> bool:
    """Tell whether what is wrong lies along two sides or more of a picture; in a small matrix that is chance."""
    if wrong.dim() < 2 or min(wrong.shape[-2:]) < 5:
        return False
    sides = (wrong[..., 0, :], wrong[..., -1, :], wrong[..., :, 0], wrong[..., :, -1])
    if sum(int(side.sum()) > 2 for side in sides) < 2:  # a side shares a corner with each of two others
        return False
    inside = torch.zeros_like(wrong)
    inside[..., 1:-1, 1:-1] = True
    return not bool((wrong & inside).any())
