"""How far the world's reader can be trusted on generated pictures, where nobody knows the truth.

What was asked for is known, but a picture need not obey. So a second judge looks, one without a network: it draws
every shape, turned and scaled, where the reader found something, and takes the outline that splits the picture best
into two colours. Where it sees what the prompt asked for, the reader is scored. `python -m dlcv_lab.zoo.judging` prints
the figures.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dlcv_lab import world
from dlcv_lab.world.grammar import article
from dlcv_lab.world.rendering import local_coordinates, signed_distance
from dlcv_lab.world.scene import Scene

TILTS = torch.arange(-24, 25, 6) * (math.pi / 180)
SCALES = torch.tensor([0.8, 0.9, 1.0, 1.1, 1.2])
SHIFTS = torch.tensor([-0.03, 0.0, 0.03])


def see_by_drawing(images: Tensor, x: Tensor, y: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """Return the shape and colour, int64 [N] labels, of the drawn outline that splits each picture best.

    `images` float32 [N, 3, S, S] in [0, 1]; `x`, `y`, `size` float32 [N] in canvas widths, as the reader found them.
    """
    parts = [_see(*(value[i] for value in (images, x, y, size))) for i in range(len(images))]
    shape, colour = (torch.tensor(column, dtype=torch.int64) for column in zip(*parts)) if parts else ([], [])
    return torch.as_tensor(shape), torch.as_tensor(colour)


def _see(image: Tensor, x: Tensor, y: Tensor, size: Tensor) -> tuple[int, int]:
    scene = _candidates(x, y, size)
    p, q = local_coordinates(scene, torch.zeros(len(scene), 1, dtype=torch.int64), image.shape[-1])
    inside = (signed_distance(scene.shape[:, 0], p, q) < 0).flatten(1).float()  # [M, S * S]
    pixels = image.flatten(1)  # [3, S * S]
    n = torch.clamp(inside.sum(1), min=1)
    within = inside @ pixels.T / n[:, None]  # mean colour inside each outline, [M, 3]
    around = ((1 - inside) @ pixels.T) / (pixels.shape[1] - n)[:, None]
    # of the colours' variance, what the split explains
    explained = ((within - around).square().sum(1)) * n * (pixels.shape[1] - n)
    best = int(explained.argmax())
    palette = world.colour_rgb()
    return int(scene.shape[best, 0]), int((palette - within[best]).square().sum(1).argmin())


def _candidates(x: Tensor, y: Tensor, size: Tensor) -> Scene:
    """Return one scene for every shape, tilt, scale and small shift, [M]."""
    kinds = torch.arange(len(world.SHAPES))
    grid = torch.cartesian_prod(kinds.float(), TILTS, SCALES, SHIFTS, SHIFTS)
    m = len(grid)
    zeros = torch.zeros(m, dtype=torch.int64)
    return Scene(
        shape=grid[:, :1].long(),
        colour=zeros[:, None],
        size=grid[:, 2:3] * size,
        x=x + grid[:, 3:4],
        y=y + grid[:, 4:5],
        rotation=grid[:, 1:2],
        texture=zeros[:, None],
        mark=zeros[:, None],
        shade=torch.zeros(m, 1),
        layer=zeros[:, None],
        present=torch.ones(m, 1, dtype=torch.bool),
        background=zeros,
        ground=zeros,
        style=zeros,
        seed=zeros,
    )


def compare(images: Tensor, shapes: Sequence[str], colours: Sequence[str]) -> dict[str, float]:
    """Return how reader, drawing judge and prompts agree on pictures of one object each.

    `obeyed`: the reader surely sees what was asked. `clear`: the drawing judge sees it. Of these clear pictures:
    `found`, `count` right, `shape` and `colour` right of what the reader was sure of, and how often it was unsure.
    """
    wanted = {"shape": world.labels("shape", list(shapes)), "colour": world.labels("colour", list(colours))}
    seen = world.read(images)
    drawn = see_by_drawing(images, seen.x[:, 0], seen.y[:, 0], seen.size[:, 0])
    found = seen.found[:, 0]
    clear = found & (drawn[0] == wanted["shape"]) & (drawn[1] == wanted["colour"])
    right = {kind: seen.labels[kind][:, 0] == label for kind, label in wanted.items()}
    out = {
        "pictures": float(len(images)),
        "obeyed": float((right["shape"] & right["colour"]).float().mean()),
        "clear": float(clear.float().mean()),
        "found": float(found.float().mean()),
        "count": float((seen.count[clear] == 1).float().mean()),
    }
    for kind, good in right.items():
        sure = seen.labels[kind][clear, 0] >= 0
        out[kind] = float(good[clear][sure].float().mean())
        out[f"{kind} unsure"] = 1 - float(sure.float().mean())
    return {name: round(value, 4) for name, value in out.items()}


def main() -> None:
    """Paint every pair of shape and colour with `sd`, as often as an argument says, and let the judges look."""
    from dlcv_lab import zoo

    from .diffusion import paint

    torch.set_num_threads(1)
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    pairs = [(shape, colour) for shape in world.SHAPES for colour in world.COLOURS]
    pipe: Any = zoo.load("sd")
    images = torch.cat(
        [paint(pipe, [article(f"{colour} {shape}.") for shape, colour in pairs], seed=s) for s in range(times)]
    )
    print(json.dumps(compare(images, *zip(*(pairs * times))), indent=1))


if __name__ == "__main__":
    main()
