"""Checkpoints of chapter 12: one small vision transformer on moving digits, read out in two ways.

`dlcv zoo train ch12/token` makes one; the sheets are drawn anew at every step.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from dlcv_lab import data
from dlcv_lab.zoo.recipes import Training, recipe, step_generator
from solutions import ch12_vision_transformers as ours

SEED = 12_100
BATCH = 64
HELD_OUT = 12_900_000  # a seed that no step draws
HOW = {
    "steps": 2400,
    "lr": 2e-3,
    "seed": SEED,
    "data": f"{BATCH} sheets of 16x16 pixels a step, each with one of 1201 digits of 8x8 pixels at a random place.",
    "figures": {"accuracy": "share of 1000 sheets that are read rightly, of 596 digits that were not in training"},
    "limits": "It knows one digit of 8x8 pixels on an empty sheet of 16x16.",
}


@lru_cache
def halves() -> data.Split:
    """Return the digits for training and those for the test."""
    return data.split(*data.digits(), test=597 / 1797, generator=torch.Generator().manual_seed(0))


def sheets(part: str, n: int, gen: torch.Generator) -> data.Labelled:
    """Draw n sheets (N, 1, 16, 16) with digits of the training or of the test half, and their classes."""
    return data.scattered_digits(16, gen, n=n, source=getattr(halves(), part))


def plan(pool: str) -> Training:
    """Return the training of a ViT whose scores are read off the class token, or off the mean of the patches."""
    model = ours.ViT(size=16, p=2, channels=1, width=48, depth=3, heads=3, classes=10)

    def scores(x: Tensor) -> Tensor:
        return ours.classify(model.encode(x)[0], model.head, pool)

    def loss(step: int) -> Tensor:
        x, y = sheets("train", BATCH, step_generator(SEED, step))
        return F.cross_entropy(scores(x), y)

    def measure() -> dict[str, float]:
        x, y = sheets("test", 1000, torch.Generator().manual_seed(HELD_OUT))
        right = torch.cat([scores(part).argmax(1) for part in x.split(250)]) == y
        return {"accuracy": float(right.float().mean())}

    return Training(model, loss, measure)


@recipe(**HOW)
def token() -> Training:
    """A ViT that reads a digit off its class token."""
    return plan("token")


@recipe(**HOW)
def gap() -> Training:
    """The same, read off the mean of its patch tokens."""
    return plan("avg")
