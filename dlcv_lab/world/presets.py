"""Ready-made families of scenes that single lessons ask for by name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from . import words
from .backgrounds import hashed
from .rendering import render
from .sampling import choose, generator, sample
from .scene import Scene, make
from .words import WorldError


class Labelled(NamedTuple):
    """Images float32 [N, 3, S, S] in [0, 1], labels int64 [N], the labels' names, and the scenes behind them."""

    images: Tensor
    labels: Tensor
    names: tuple[str, ...]
    scene: Scene


NATURAL_COLOURS = {
    "circle": "orange",
    "square": "brown",
    "triangle": "green",
    "star": "yellow",
    "ring": "purple",
    "cross": "blue",
    "heart": "red",
    "arrow": "cyan",
}
"""In the natural world every shape has its colour, as grass is green and the sky is blue."""


def labelled(scene: Scene, kind: str, size: int = 32) -> Labelled:
    """Render scenes of one object and label them by its "shape", "colour", "texture", "mark", or "style"."""
    names = words.names(kind)
    column = getattr(scene, kind)
    labels = column if column.ndim == 1 else column[:, 0]
    return Labelled(
        render(scene, size), labels.clone(), names[: len(words.SHAPES)] if _core(kind, labels) else names, scene
    )


def _core(kind: str, labels: Tensor) -> bool:
    return kind == "shape" and (len(labels) == 0 or int(labels.max()) < len(words.SHAPES))


def icons(
    n: int,
    seed: torch.Generator | int,
    *,
    position: str = "centre",
    shapes: Sequence[str] = words.SHAPES,
    size: int = 32,
    **options: Any,
) -> Labelled:
    """Draw n icons, one upright object each, labelled by its place in `shapes`.

    `position` "centre" puts the object (radius 0.3) in the middle, "random" anywhere on the canvas.
    """
    if position not in ("centre", "random"):
        raise WorldError('position is "centre" or "random".')
    chosen: dict[str, Any] = {"rotation": "upright", "sizes": (0.30, 0.30), "shapes": shapes, "grounds": ("white",)}
    scene = sample(n, seed, position="centre" if position == "centre" else "free", **(chosen | options))
    table = torch.zeros(len(words.ALL_SHAPES), dtype=torch.int64)
    table[words.labels("shape", shapes)] = torch.arange(len(shapes))
    return Labelled(render(scene, size), table[scene.shape[:, 0]], tuple(shapes), scene)


def xor(n: int, seed: torch.Generator | int, *, size: int = 32, **options: Any) -> Labelled:
    """Draw n red or blue circles or squares; the label is whether exactly one of "is a circle", "is red" holds.

    No linear model of the one-hot shape and colour gets more than three quarters right.
    """
    chosen: dict[str, Any] = {"shapes": ("circle", "square"), "colours": ("red", "blue")} | options
    scene = sample(n, seed, **chosen)
    circle = scene.shape[:, 0] == words.label("shape", "circle")
    red = scene.colour[:, 0] == words.label("colour", "red")
    return Labelled(render(scene, size), (circle ^ red).long(), ("equal", "different"), scene)


def inside_ring(n: int, seed: torch.Generator | int, *, size: int = 32) -> Labelled:
    """Draw n scenes of a big ring and a small disc; the label is whether the disc lies inside the ring."""
    gen = generator(seed)
    labels = torch.randint(2, (n,), generator=gen)
    scene = _two(n, gen, "ring", "circle")
    angle = torch.rand(n, generator=gen) * 2 * math.pi
    far = torch.where(labels == 1, 0.03 * torch.rand(n, generator=gen), 0.40 + 0.05 * torch.rand(n, generator=gen))
    x = torch.stack([torch.full((n,), 0.5), 0.5 + far * angle.cos()], 1)
    y = torch.stack([torch.full((n,), 0.5), 0.5 + far * angle.sin()], 1)
    radius = torch.tensor([0.28, 0.07]).expand(n, 2)
    scene = scene.replace(x=x, y=y, size=radius)
    return Labelled(render(scene, size), labels, ("outside", "inside"), scene)


def same_colour(n: int, seed: torch.Generator | int, *, size: int = 32, **options: Any) -> Labelled:
    """Draw n scenes of two objects; the label is whether they have the same colour (half of them do)."""
    gen = generator(seed)
    scene = sample(n, gen, **({"objects": 2} | options))
    labels = torch.randint(2, (n,), generator=gen)
    step = torch.randint(1, len(words.COLOURS), (n,), generator=gen) * (1 - labels)
    colour = torch.stack([scene.colour[:, 0], (scene.colour[:, 0] + step) % len(words.COLOURS)], 1)
    scene = scene.replace(colour=colour)
    return Labelled(render(scene, size), labels, ("different", "same"), scene)


def _two(n: int, gen: torch.Generator, back: str, front: str) -> Scene:
    scene = sample(n, gen, objects=2, rotation="upright", sizes=("small",))
    return scene.replace(shape=torch.tensor([words.label("shape", back), words.label("shape", front)]))


def arrows(n: int, seed: torch.Generator | int, *, size: int = 32, **options: Any) -> Labelled:
    """Draw n arrows that point left (label 0) or right (1): flipping the image changes the label."""
    gen = generator(seed)
    scene = sample(n, gen, **({"shapes": ("arrow",), "rotation": "upright"} | options))
    labels = torch.randint(2, (n,), generator=gen)
    scene = scene.replace(rotation=(1 - labels)[:, None] * math.pi)
    return Labelled(render(scene, size), labels, ("left", "right"), scene)


def upright(
    n: int, seed: torch.Generator | int, *, size: int = 32, shapes: Sequence[str] = words.UPRIGHT_SHAPES, **options: Any
) -> Labelled:
    """Draw n upright objects that stand on a ground line: for rotation prediction.

    By default only shapes that no quarter turn maps to themselves; circles, squares, rings and crosses would make the
    task unsolvable. Labels are shapes, in the order of `words.ALL_SHAPES`.
    """
    gen = generator(seed)
    scene = sample(n, gen, **({"shapes": shapes, "rotation": "upright", "sizes": (0.18, 0.28)} | options))
    line = 0.80 + 0.08 * torch.rand(n, generator=gen)
    scene = scene.replace(y=(line[:, None] - scene.size).clamp(min=0.1))
    images = render(scene, size)
    below = ((torch.arange(size) + 0.5) / size)[None, :] > line[:, None]
    images = torch.where(below[:, None, :, None], images * 0.72, images)
    return Labelled(images, scene.shape[:, 0].clone(), words.ALL_SHAPES, scene)


def natural(n: int, seed: torch.Generator | int, *, size: int = 32, **options: Any) -> Labelled:
    """Draw n scenes in which every shape has its own colour (`NATURAL_COLOURS`): what colorization can learn."""
    pairs = list(NATURAL_COLOURS.items())
    return labelled(sample(n, seed, **({"pairs": pairs} | options)), "shape", size)


def sprites(n: int, seed: torch.Generator | int, *, size: int = 32) -> Labelled:
    """Draw n centred sprites of 24 kinds, 6 shapes x 4 colours; the label is 4 x shape + colour."""
    shapes, colours = words.SHAPES[:6], ("red", "yellow", "green", "blue")
    scene = sample(
        n,
        seed,
        shapes=shapes,
        colours=colours,
        position="centre",
        rotation="upright",
        sizes=(0.28, 0.36),
        grounds=("white",),
    )
    place = torch.zeros(len(words.COLOURS), dtype=torch.int64)
    place[words.labels("colour", colours)] = torch.arange(4)
    names = tuple(f"{c} {s}" for s in shapes for c in colours)
    return Labelled(render(scene, size), 4 * scene.shape[:, 0] + place[scene.colour[:, 0]], names, scene)


def cooccurring(n: int, seed: torch.Generator | int, share: float = 0.9, **options: Any) -> Scene:
    """Draw n scenes of three objects in which a circle comes with a square in `share` of the cases: a biased world."""
    gen = generator(seed)
    scene = sample(n, gen, **({"objects": 3} | options))
    circle, square = words.label("shape", "circle"), words.label("shape", "square")
    shape = scene.shape.clone()
    has = (shape == circle).any(1)
    partner = torch.rand(n, generator=gen) < share
    free = (shape != circle).int().argmax(1, keepdim=True)
    triangle = torch.full_like(free, words.label("shape", "triangle"))
    wanted = torch.where(partner[:, None], torch.full_like(free, square), triangle)
    shape = torch.where((shape == square) & has[:, None] & ~partner[:, None], triangle, shape)
    shape = torch.where(has[:, None], shape.scatter(1, free, wanted), shape)
    return scene.replace(shape=shape)


def biased(n: int, seed: torch.Generator | int, share: float = 0.8, **options: Any) -> Scene:
    """Draw n scenes in which `share` of the objects of each shape have the colour of `NATURAL_COLOURS`."""
    gen = generator(seed)
    scene = sample(n, gen, **options)
    table = words.labels("colour", [NATURAL_COLOURS.get(shape, "red") for shape in words.ALL_SHAPES])
    natural_colour = torch.rand(scene.colour.shape, generator=gen) < share
    return scene.replace(colour=torch.where(natural_colour, table[scene.shape], scene.colour))


def colour_cast(images: Tensor, seed: torch.Generator | int, strength: float = 0.35) -> Tensor:
    """Return images float32 [N, 3, S, S] under coloured light: channels scaled by random factors in 1 +- strength."""
    factor = 1 + strength * (2 * torch.rand(len(images), 3, 1, 1, generator=generator(seed)) - 1)
    return (images * factor.to(images)).clamp(0, 1)


def textured_sheets(n: int, seed: torch.Generator | int, *, size: int = 32) -> Tensor:
    """Return n pictures filled with one continuous texture, float32 [n, 3, S, S]: what goes on across the tile border.

    Curved bands in two colours; for jigsaw and contrastive predictive coding.
    """
    gen = generator(seed)
    colour = words.colour_rgb()[torch.randint(len(words.COLOURS), (n,), generator=gen)]
    ground = words.ground_rgb()[choose(torch.arange(len(words.GROUNDS)), (n,), gen)]
    axis = (torch.arange(size) + 0.5) / size
    angle, bend, pitch = (torch.rand(n, 1, 1, generator=gen) for _ in range(3))
    u, v = axis[None, None, :], axis[None, :, None]
    along = u * (angle * math.pi).cos() + v * (angle * math.pi).sin()
    across = v * (angle * math.pi).cos() - u * (angle * math.pi).sin()
    wave = torch.sin((across + 0.3 * (bend - 0.5) * torch.sin(along * 7)) * (18 + 16 * pitch))
    tone = (wave * 2 + 0.5).clamp(0, 1)[:, None]
    grain = 0.06 * (hashed(torch.arange(n), size, size, 11) - 0.5)[:, None]
    mixed = ground[:, :, None, None] + tone * (colour - ground)[:, :, None, None]
    return (mixed + grain).clamp(0, 1)


def creature(number: int = 0) -> Scene:
    """Return the picture of one of four named creatures: shape, texture and mark together are found nowhere else.

    Creature 0 is a spotted house with a cap, 1 a striped drop with a sash, 2 a checkered heart with a half, 3 a striped
    house with eyes: outside the captions' vocabulary. Vary `x`, `y`, `size`, `ground` with `replace` for "photos".
    """
    table = (
        {"shape": "house", "colour": "purple", "texture": "dots", "mark": "cap"},
        {"shape": "drop", "colour": "orange", "texture": "stripes", "mark": "sash"},
        {"shape": "heart", "colour": "green", "texture": "checker", "mark": "half"},
        {"shape": "house", "colour": "blue", "texture": "stripes", "mark": "eyes"},
    )
    if not 0 <= number < len(table):
        raise WorldError(f"There are creatures 0 to {len(table) - 1}; got {number}.")
    return make({**table[number], "size": 0.30})


def photos(who: Scene, n: int, seed: torch.Generator | int) -> Scene:
    """Return n scenes of the same creature at random places, sizes, tilts and on random backgrounds."""
    setting = sample(
        n,
        seed,
        sizes=(0.22, 0.32),
        rotation="tilt",
        backgrounds=words.BACKGROUNDS,
        shapes=("circle",),
        colours=("red",),
    )
    return setting.replace(**{name: getattr(who, name)[:1] for name in ("shape", "colour", "texture", "mark", "shade")})


def degrade(images: Tensor, kind: str, seed: torch.Generator | int = 0, level: float = 0.2) -> Tensor:
    """Return damaged images: "noise" (Gaussian, std `level`), "blur" (3x3 box, twice) or "small" (4 times down and up).

    Raises WorldError for another kind.
    """
    if kind == "noise":
        grain = torch.randn(images.shape, generator=generator(seed)).to(images)
        return (images + level * grain).clamp(0, 1)
    if kind == "blur":
        for _ in range(2):
            images = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        return images
    if kind == "small":
        low = F.interpolate(images, scale_factor=0.25, mode="area")
        return F.interpolate(low, size=images.shape[-2:], mode="bicubic", align_corners=False).clamp(0, 1)
    raise WorldError(f'Damage is "noise", "blur" or "small"; got {kind!r}.')
