"""Small live models for the book's pages: `interact(..., touch=touch.kernel(...))`.

In the book the page's own script (book/_static/touch.js) puts the live model in the place of the filmstrip; without
scripts, and in print, the filmstrip stays. A live notebook has its sliders and needs none of this.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

MOST_PIXELS = 160  # of a side of a photograph: more is slow on a phone


@dataclass(frozen=True)
class Touch:
    """A kind of live model, and the plain data that it begins with."""

    kind: str
    data: Mapping[str, Any] = field(repr=False)

    def around(self, fallback: str) -> str:
        """Return the HTML of the model; `fallback` is what a page without scripts shows."""
        told = json.dumps(self.data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
        return (
            f'<div class="dlcv-touch" data-kind="{html.escape(self.kind)}">'
            f'<script type="application/json" class="dlcv-touch-data">{told}</script>{fallback}</div>'
        )


def kernel(pictures: Mapping[str, Tensor], presets: Mapping[str, Tensor]) -> Touch:
    """A kernel to edit: its numbers are typed, it slides over a picture at once, and a pixel shows its window's sum.

    Args:
        pictures: name -> grey or colour picture in [0, 1] or [0, 255], [H, W] or [C, H, W], at most 160 pixels a side.
        presets: name -> kernel of 3x3 or 5x5 numbers; the first one comes first.

    Raises:
        ValueError: a picture or kernel of another size, or none.
    """
    if not pictures or not presets:
        raise ValueError("touch.kernel needs at least one picture and one preset")
    for name, weights in presets.items():
        if tuple(weights.shape) not in ((3, 3), (5, 5)):
            raise ValueError(f"the preset {name!r} has the shape {tuple(weights.shape)}; kernels are 3x3 or 5x5")
    rounded = {name: [[round(float(w), 4) for w in row] for row in weights] for name, weights in presets.items()}
    return Touch(
        "kernel", {"pictures": {name: _grey(name, each) for name, each in pictures.items()}, "presets": rounded}
    )


def _grey(name: str, picture: Tensor) -> dict[str, Any]:
    """Return a picture as bytes of grey levels."""
    grey = picture.detach().float()
    grey = grey.mean(0) if grey.ndim == 3 else grey
    if grey.ndim != 2 or min(grey.shape) < 8 or max(grey.shape) > MOST_PIXELS:
        raise ValueError(
            f"the picture {name!r} has the shape {tuple(picture.shape)}; sides are 8 to {MOST_PIXELS} pixels"
        )
    levels = (grey * (255 if grey.max() <= 1 else 1)).round().clamp(0, 255).to(torch.uint8)
    return {"h": grey.shape[0], "w": grey.shape[1], "grey": base64.b64encode(levels.numpy().tobytes()).decode("ascii")}


def surface(
    z: Tensor,
    x: Tensor,
    y: Tensor,
    *,
    start: tuple[float, float],
    rates: tuple[float, float] = (0.01, 2.0),
    names: str = "w b",
) -> Touch:
    """A loss surface to walk down: choose where to begin and how large a step is, and see the path of gradient descent.

    Args:
        z: [len(y), len(x)], the loss at every place of the grid.
        x, y: the two parameters' values, evenly spaced.
        start: where the first path begins, (x, y).
        rates: the smallest and the largest learning rate of the slider.
        names: of the two parameters.

    Raises:
        ValueError: the grid does not fit its axes, or is no number somewhere.
    """
    if tuple(z.shape) != (len(y), len(x)) or not torch.isfinite(z).all():
        raise ValueError(f"z is {tuple(z.shape)}; it needs a finite number for each of {len(y)} x {len(x)} places")
    return Touch(
        "surface",
        {
            "z": [[round(float(v), 4) for v in row] for row in z],
            "x": [float(x[0]), float(x[-1])],
            "y": [float(y[0]), float(y[-1])],
            "start": list(start),
            "rates": list(rates),
            "names": names.split(),
        },
    )


def neuron(points: Tensor, labels: Tensor, *, weights: tuple[float, float, float] = (1.0, 0.0, 0.0)) -> Touch:
    """One neuron in the plane: move its two weights and its bias, and see which points it takes for 1.

    Args:
        points: [N, 2].
        labels: [N], 0 or 1.
        weights: w1, w2 and b to begin with.

    Raises:
        ValueError: other shapes.
    """
    if points.ndim != 2 or points.shape[1] != 2 or tuple(labels.shape) != (len(points),):
        raise ValueError(f"points are (N, 2) and labels (N,), not {tuple(points.shape)} and {tuple(labels.shape)}")
    return Touch(
        "neuron",
        {
            "points": [[round(float(v), 3) for v in point] for point in points],
            "labels": [int(label) for label in labels],
            "weights": list(weights),
        },
    )
