"""Read texture and identity mark by rendering: the candidate that looks most like the picture wins.

The network of `reader` finds objects and names shape and colour; the fine print of an object is then found by drawing
it with every texture, mark and tilt and comparing the pixels inside its outline.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from . import words
from .presets import degrade
from .rendering import local_coordinates, render, signed_distance
from .scene import Scene

TILTS = torch.arange(-24, 25, 6) * (math.pi / 180)
_CLIP = 0.35
_SHARPNESS = 110.0


def fit_looks(images: Tensor, shape: Tensor, colour: Tensor, x: Tensor, y: Tensor, size: Tensor) -> dict[str, Tensor]:
    """Return how likely every texture and every mark is, float32 {"texture": [M, 4], "mark": [M, 7]}, rows sum to 1.

    Args:
        images: float32 [M, 3, S, S], one for each object.
        shape, colour: int64 [M] labels.
        x, y, size: float32 [M] in canvas widths.
    """
    textures, marks = len(words.TEXTURES), len(words.MARKS)
    if len(images) == 0:
        return {"texture": images.new_zeros(0, textures), "mark": images.new_zeros(0, marks)}
    parts = [_fit(*part) for part in zip(*(v.split(16) for v in (images, shape, colour, x, y, size)))]
    texture, mark = (torch.cat(column) for column in zip(*parts))
    return {"texture": texture, "mark": mark}


def _fit(images: Tensor, shape: Tensor, colour: Tensor, x: Tensor, y: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    m = len(images)
    tilts = TILTS.to(images.device)
    kinds = torch.cartesian_prod(torch.arange(len(words.TEXTURES)), torch.arange(len(words.MARKS))).to(images.device)
    # every tilt, texture and mark of every object
    grid = torch.cartesian_prod(torch.arange(len(tilts)), torch.arange(len(kinds))).to(images.device)
    n = len(grid)

    def spread(column: Tensor) -> Tensor:
        return column.repeat_interleave(n)[:, None]

    zeros = torch.zeros(m * n, dtype=torch.int64, device=images.device)
    kind = kinds[grid[:, 1]].repeat(m, 1)
    scene = Scene(
        shape=spread(shape),
        colour=spread(colour),
        size=spread(size),
        x=spread(x),
        y=spread(y),
        rotation=tilts[grid[:, 0]].repeat(m)[:, None],
        texture=kind[:, :1],
        mark=kind[:, 1:],
        shade=torch.zeros(m * n, 1, device=images.device),
        layer=zeros[:, None],
        present=torch.ones(m * n, 1, dtype=torch.bool, device=images.device),
        background=zeros,
        ground=zeros,
        style=zeros,
        seed=zeros,
    )
    canvas = images.shape[-1]
    drawn = render(scene, canvas)
    p, q = local_coordinates(scene, zeros[:, None], canvas)
    inside = signed_distance(scene.shape[:, 0], p, q) < 0.02
    # soft pictures are compared with softened drawings
    target, size_inside = images.repeat_interleave(n, 0), inside.sum((1, 2)).clamp(min=1)
    errors = []
    for candidate in (drawn, degrade(drawn, "blur")):
        gap = (candidate - target).abs().mean(1).clamp(max=_CLIP)
        errors.append((gap * inside).sum((1, 2)) / size_inside)
    error = torch.minimum(*errors)
    best = error.view(m, len(tilts), len(words.TEXTURES), len(words.MARKS)).amin(1)
    texture = (-_SHARPNESS * best.amin(2)).softmax(1)
    mark = (-_SHARPNESS * best.amin(1)).softmax(1)
    return texture, mark
