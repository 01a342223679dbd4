"""The second measurement of robustness: three methods at rates that fit the present `sd`, at equal locality.

The first (erasing.py) had rates from an earlier `sd`, and at them no method used up its locality. What one method does
on one seed is kept, as there.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean
from typing import NamedTuple

import torch
from torch import Tensor, nn

from autograder.declare.kept import kept
from chapters.ch28_concept_unlearning.claims import erasing

EQUAL, NOISES = 0.95, (0, 100)  # the locality at which methods are compared; what is added to the seed of the noise


class Setting(NamedTuple):
    """How a method is trained: Adam's rate, and after how many steps it is looked at."""

    rate: float
    sweep: tuple[int, ...]


SETTINGS = {
    "Ablating": Setting(3e-3, (96, 120, 144)),
    "ESD-x": Setting(5e-3, (12, 16, 24)),
    "Receler": Setting(6e-3, (40, 60, 80)),
}


def model_and_loss(method: str, seed: int) -> tuple[nn.Module, Callable[..., Tensor]]:
    """Return the model to train and its loss; Receler's mask has the weight of the notebook."""
    if method == "Receler":
        return erasing.receler(seed, mask=True, attack=True, weight=1e-3)
    return erasing.step_loss(method, seed)


def evaluate(unet: nn.Module, seed: int) -> dict[str, float]:
    """Return the shares of rings and the locality, in the mean of two noises."""
    rows = [erasing.evaluate(unet, seed + more) for more in NOISES]
    return {key: fmean(row[key] for row in rows) for key in rows[0]}


def swept(method: str, seed: int) -> dict[str, float]:
    """Train along the sweep; report and attack the model whose locality is nearest to `EQUAL`."""
    setting = SETTINGS[method]
    models = erasing.fit(*model_and_loss(method, seed), setting.rate, seed, setting.sweep)
    rows = {steps: evaluate(model, seed) for steps, model in models.items()}
    found = {f"{key} after {steps}": row[key] for steps, row in rows.items() for key in row}
    steps = min(rows, key=lambda n: (abs(rows[n]["locality"] - EQUAL), n))
    attacked = fmean(erasing.attacked(models[steps], seed + more) for more in NOISES)
    return found | {
        f"{key}, equal": value for key, value in (rows[steps] | {"attacked": attacked, "steps": steps}).items()
    }


@kept
def cell(method: str, seed: int) -> dict[str, float]:
    """Return the figures of one method and seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return swept(method, seed)


def measured(seed: int) -> dict[str, float]:
    """Measure the three methods on a seed."""
    return {f"{method}: {key}": value for method in SETTINGS for key, value in cell(method, seed).items()}
