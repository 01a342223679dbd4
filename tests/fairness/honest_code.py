"""Honest code that looks unusual: other algorithms, other habits, other corners of the language."""

from __future__ import annotations

from honest_forms import BLUR, SHARP, code

code(
    "float64 inside",
    """
def box_blur(x, k):
    if k > min(x.shape):
        raise ValueError
    return x.double().unfold(0, k, 1).unfold(1, k, 1).mean((2, 3))
""",
)
code(
    "float64 inside, back at the end",
    """
def box_blur(x, k):
    if k > min(x.shape):
        raise ValueError
    wide = x.to(torch.float64)
    return wide.unfold(0, k, 1).unfold(1, k, 1).mean((2, 3)).to(x.dtype)
""",
)
code(
    "a helper in another cell",
    """
def box_blur(x, k):
    check_size(x, k)
    return windows(x, k).mean((2, 3))
""",
    SHARP,
    "def windows(x, k):\n    return x.unfold(0, k, 1).unfold(1, k, 1)",
    "def check_size(x, k):\n    if k > min(x.shape):\n        raise ValueError(k)",
)
code(
    "lambdas",
    """
too_large = lambda x, k: k > min(x.shape)
box_blur = lambda x, k: fail(k) if too_large(x, k) else x.unfold(0, k, 1).unfold(1, k, 1).mean((2, 3))


def fail(k):
    raise ValueError(f"a window of {k}")
""",
)
code(
    "a partial",
    BLUR,
    """
from functools import partial


def sharper(x, amount, *, side=3):
    return x[1:-1, 1:-1] * (1 + amount) - amount * box_blur(x, side)


def unsharp(x, *, amount=1.0):
    return partial(sharper, side=3)(x, amount)
""",
)
code(
    "type hints of every kind",
    """
from typing import Annotated, Optional


def box_blur(x: "Float[Tensor, 'H W']", k: Optional[int]) -> Annotated[torch.Tensor, "Ho Wo"]:
    size: tuple[int, int] = (x.shape[0], x.shape[1])
    if k > min(size):
        raise ValueError("too large")
    y: torch.Tensor = x.unfold(0, k, 1).unfold(1, k, 1).mean((2, 3))
    return y
""",
)
code(
    "nested functions and a closure",
    """
def box_blur(x, k):
    def fits():
        return k <= min(x.shape)

    def average():
        total = 0

        def add(part):
            nonlocal total
            total = total + part

        for u in range(k):
            for v in range(k):
                add(x[u : x.shape[0] - k + 1 + u, v : x.shape[1] - k + 1 + v])
        return total / (k * k)

    if not fits():
        raise ValueError("too large")
    return average()
""",
)
code(
    "global constants and a table that is filled",
    """
AXES = (2, 3)
STEP: int = 1
NAMES = []
NAMES.append("rows")
NAMES += ["columns"]


def box_blur(x, k):
    if k > min(x.shape):
        raise ValueError(" and ".join(NAMES))
    for axis in range(len(NAMES)):
        x = x.unfold(axis, k, STEP)
    return x.mean(AXES)
""",
)
code(
    "a comprehension and sum",
    """
def box_blur(x, k):
    H, W = x.shape[0] - k + 1, x.shape[1] - k + 1
    if H < 1 or W < 1:
        raise ValueError("too large")
    return sum(x[u : u + H, v : v + W] for u in range(k) for v in range(k)) / k**2
""",
)
code(
    "changes a copy in place",
    """
def box_blur(x, k):
    if k > min(x.shape):
        raise ValueError("too large")
    y = x.clone().unfold(0, k, 1).unfold(1, k, 1).sum((2, 3))
    y /= k
    y.div_(k)
    return y
""",
)
code(
    "fills an empty tensor number by number",
    """
def box_blur(x, k):
    if k > min(x.shape):
        raise ValueError("too large")
    y = torch.empty(x.size(0) - k + 1, x.size(1) - k + 1)
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            y[i, j] = x[i : i + k, j : j + k].mean()
    return y
""",
)
code(
    "through numpy and back",
    """
import numpy as np


def box_blur(x, k):
    if k > min(x.shape):
        raise ValueError("too large")
    windows = np.lib.stride_tricks.sliding_window_view(x.numpy(), (k, k))
    return torch.from_numpy(windows.mean(axis=(2, 3)))
""",
)
code(
    "star imports and other names for modules",
    """
from torch.nn.functional import *
import torch as t
import torch.nn.functional as fn


def box_blur(x, k):
    if k > min(x.shape):
        raise ValueError("too large")
    return conv2d(x[None, None], t.ones(1, 1, k, k) / k**2)[0, 0]
""",
)
code(
    "parameters with other names behind",
    """
def box_blur(x, k, *ignored, debug=False, **more):
    if debug:
        print(x)
    if k > min(x.shape):
        raise ValueError("too large")
    return F.conv2d(input=x.view(1, 1, *x.shape), weight=x.new_full((1, 1, k, k), 1 / k / k))[0, 0]
""",
)
code(
    "its own kind of ValueError",
    """
class TooLarge(ValueError):
    def __init__(self, k):
        super().__init__(f"a window of side {k}")


def box_blur(x, k):
    if k > min(x.shape):
        raise TooLarge(k) from None
    return x.unfold(0, k, 1).unfold(1, k, 1).mean((-1, -2))
""",
)
code(
    "a class with __call__ behind the function",
    """
from dataclasses import dataclass


@dataclass
class Blur:
    side: int

    def __call__(self, x):
        if self.side > min(x.shape):
            raise ValueError(self)
        return x.unfold(0, self.side, 1).unfold(1, self.side, 1).mean((2, 3))


def box_blur(x, k):
    return Blur(k)(x)
""",
)
code(
    "a decorator",
    """
import functools


def loud(function):
    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        print(function.__name__)
        return function(*args, **kwargs)

    return wrapped


@loud
@torch.no_grad()
def box_blur(x, k):
    if k > min(x.shape):
        raise ValueError("too large")
    return x.unfold(0, k, 1).unfold(1, k, 1).mean((2, 3))
""",
)
code(
    "a cumulative sum, another algorithm",
    """
def box_blur(x, k):
    if k > min(x.shape):
        raise ValueError("too large")
    s = F.pad(x.double().cumsum(0).cumsum(1), (1, 0, 1, 0))
    return (s[k:, k:] - s[:-k, k:] - s[k:, :-k] + s[:-k, :-k]) / k**2
""",
)
code(
    "names that are not ASCII",
    """
def box_blur(x, k):
    höhe, ширина = x.shape
    if k > min(höhe, ширина):
        raise ValueError("zu groß – 窓が大きい 🙂")
    β = x.unfold(0, k, 1).unfold(1, k, 1)
    return β.mean((2, 3))
""",
)
code(
    "a type check with assert and isinstance",
    """
def box_blur(x, k):
    assert isinstance(x, torch.Tensor) and x.ndim == 2, type(x)
    assert isinstance(k, int) and k > 0
    match k <= min(x.shape):
        case True:
            return x.unfold(0, k, 1).unfold(1, k, 1).mean((2, 3))
        case _:
            raise ValueError("too large")
""",
)
code(
    "definitions under if and try",
    """
try:
    import einops
except ImportError:
    einops = None

if einops is not None:

    def average(w):
        return einops.reduce(w, "h w a b -> h w", "mean")
else:

    def average(w):
        return w.mean((2, 3))


def box_blur(x, k):
    if k > min(x.shape):
        raise ValueError("too large")
    return average(x.unfold(0, k, 1).unfold(1, k, 1))
""",
)
code(
    "a cache over calls",
    """
import functools


@functools.lru_cache(maxsize=None)
def ones(k, dtype):
    return torch.ones(1, 1, k, k, dtype=dtype) / k**2


def box_blur(x, k):
    if k > min(x.shape):
        raise ValueError("too large")
    return F.conv2d(x[None, None], ones(k, x.dtype))[0, 0]
""",
)
