"""Draw random scenes: everything the world varies, with a `torch.Generator` and nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from . import words
from .scene import MAX_OBJECTS, Scene, check_size
from .words import WorldError

_ROTATIONS = {"upright": 0.0, "tilt": 0.35, "free": math.pi}
_LARGEST = (0.32, 0.32, 0.225, 0.225, 0.16)
_ROUNDS, _TRIES = 60, 24


def generator(seed: torch.Generator | int) -> torch.Generator:
    """Return a CPU generator: the given one, or a new one from an int seed.

    Raises WorldError for a generator of another device: scenes are drawn on the CPU, so that every machine draws the
    same ones, and rendered where you like (`render(scene.to("cuda"))`).
    """
    if isinstance(seed, torch.Generator):
        if seed.device.type != "cpu":
            raise WorldError(
                f"The generator lies on {seed.device}; draw with a CPU generator, then move scenes with .to(device)."
            )
        return seed
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise WorldError(f"Give a torch.Generator or an int seed; got {type(seed).__name__}.")
    return torch.Generator().manual_seed(seed)


def choose(
    options: Tensor, shape: Sequence[int], gen: torch.Generator, weights: Sequence[float] | None = None
) -> Tensor:
    """Return entries of `options` [M] drawn with replacement, in the given shape."""
    if weights is None:
        return options[torch.randint(len(options), tuple(shape), generator=gen)]
    share = torch.as_tensor(weights, dtype=torch.float64)
    if len(share) != len(options) or bool((share < 0).any()) or float(share.sum()) <= 0:
        raise WorldError(f"Weights must be {len(options)} numbers >= 0 with a positive sum.")
    drawn = torch.multinomial(share, math.prod(shape), replacement=True, generator=gen)
    return options[drawn].reshape(tuple(shape))


def sample(
    n: int,
    seed: torch.Generator | int,
    *,
    objects: int | tuple[int, int] = 1,
    shapes: Sequence[str] = words.SHAPES,
    colours: Sequence[str] = words.COLOURS,
    pairs: Sequence[tuple[str, str]] | None = None,
    textures: Sequence[str] = ("plain",),
    marks: Sequence[str] = ("none",),
    backgrounds: Sequence[str] = ("plain",),
    grounds: Sequence[str] = words.GROUNDS,
    styles: Sequence[str] = ("flat",),
    sizes: Sequence[str] | tuple[float, float] = words.SIZES,
    position: str = "free",
    rotation: str = "tilt",
    overlap: float = 0.0,
    distinct: bool = False,
    shape_weights: Sequence[float] | None = None,
) -> Scene:
    """Draw n scenes; every attribute is uniform over what is allowed, and independent of the others.

    Args:
        n: number of scenes.
        seed: a CPU `torch.Generator`, or an int seed.
        objects: number of objects, fixed or (least, most), 0 to 4.
        shapes, colours, textures, marks, backgrounds, grounds, styles: allowed words.
        pairs: allowed (shape, colour) combinations; replaces `shapes` and `colours`.
        sizes: allowed size words, or a (least, most) radius in canvas widths. With 2 or 3 objects radii stay below
            0.225, with 4 below 0.16, so that they fit; a size word that cannot be had raises.
        position: "free" or "centre" (one object only).
        rotation: "upright", "tilt" (up to 20 degrees either way) or "free".
        overlap: how far two objects may overlap, 0 (apart) to 1 (anywhere), as a share of their summed radii.
        distinct: no two objects of a scene share both shape and colour.
        shape_weights: relative frequencies of `shapes`, for unbalanced classes.

    Returns:
        A `Scene` of n scenes on the CPU. Later slots lie in front.

    Raises:
        WorldError: for an unknown word, an impossible number of objects, or a layout that does not fit.
    """
    gen = generator(seed)
    least, most = _object_range(n, objects)
    _check_layout(position, rotation, overlap, most)
    slots = max(1, most)
    combos = _combinations(shapes, colours, pairs, shape_weights)
    count = torch.randint(least, most + 1, (n,), generator=gen)
    kind = _combine(combos, n, slots, gen, distinct)
    size = _draw_sizes(n, count, slots, sizes, gen)
    x, y = _place(size, count, overlap, position, gen)
    turn = (torch.rand(n, slots, generator=gen) * 2 - 1) * _ROTATIONS[rotation]

    def drawn(attribute: str, allowed: Sequence[str], *shape: int) -> Tensor:
        return choose(words.labels(attribute, allowed), shape, gen)

    return Scene(  # drawn in this order: a seed gives the same scenes for ever
        shape=kind[..., 0],
        colour=kind[..., 1],
        size=size,
        x=x,
        y=y,
        rotation=turn,
        mark=_seen_on_a_ring(kind[..., 0], drawn("mark", marks, n, slots)),
        texture=drawn("texture", textures, n, slots),
        shade=torch.zeros(n, slots),
        layer=torch.arange(slots).expand(n, slots).clone(),
        present=torch.arange(slots)[None] < count[:, None],
        background=drawn("background", backgrounds, n),
        ground=drawn("ground", grounds, n),
        style=drawn("style", styles, n),
        seed=torch.randint(1 << 24, (n,), generator=gen),
    )


def _check_layout(position: str, rotation: str, overlap: float, most: int) -> None:
    if position not in ("free", "centre") or (position == "centre" and most > 1):
        raise WorldError('position is "free", or "centre" for scenes of one object.')
    if rotation not in _ROTATIONS:
        raise WorldError(f"rotation is one of {', '.join(_ROTATIONS)}; got {rotation!r}.")
    if not 0 <= overlap <= 1:
        raise WorldError(f"overlap is a share from 0 to 1; got {overlap}.")


def _seen_on_a_ring(shape: Tensor, mark: Tensor) -> Tensor:
    """Return the marks with a belt on every ring that drew one which would lie in its hole."""
    hidden = torch.tensor([words.label("mark", name) for name in ("spot", "eyes")])
    lost = (shape == words.label("shape", "ring")) & torch.isin(mark, hidden)
    return torch.where(lost, torch.full_like(mark, words.label("mark", "belt")), mark)


def _object_range(n: int, objects: int | tuple[int, int]) -> tuple[int, int]:
    if isinstance(n, bool) or not isinstance(n, int) or n < 0:
        raise WorldError(f"The number of scenes is an int >= 0; got {n!r}.")
    least, most = (objects, objects) if isinstance(objects, int) else objects
    if not 0 <= least <= most <= MAX_OBJECTS:
        raise WorldError(f"A scene holds 0 to {MAX_OBJECTS} objects; {objects} was asked for.")
    return least, most


def _combinations(
    shapes: Sequence[str],
    colours: Sequence[str],
    pairs: Sequence[tuple[str, str]] | None,
    weights: Sequence[float] | None,
) -> tuple[Tensor, list[float] | None]:
    """Return the allowed (shape, colour) labels [M, 2] and their weights."""
    if pairs is not None:
        table = torch.stack(
            [words.labels("shape", [s for s, _ in pairs]), words.labels("colour", [c for _, c in pairs])], 1
        )
        return table, None
    table = torch.cartesian_prod(words.labels("shape", shapes), words.labels("colour", colours)).reshape(-1, 2)
    if weights is None:
        return table, None
    if len(weights) != len(shapes):
        raise WorldError(f"shape_weights needs {len(shapes)} numbers, one for each shape; got {len(weights)}.")
    return table, [float(w) for w in weights for _ in colours]


def _combine(
    combos: tuple[Tensor, list[float] | None], n: int, slots: int, gen: torch.Generator, distinct: bool
) -> Tensor:
    table, weights = combos
    share = torch.ones(len(table)) if weights is None else torch.tensor(weights)
    if distinct and int((share > 0).sum()) < slots:
        raise WorldError(
            f"{slots} distinct objects were asked for, but only {int((share > 0).sum())} kinds are allowed."
        )
    if n == 0:
        return table.new_zeros(0, slots, 2)
    if not distinct:
        return table[choose(torch.arange(len(table)), (n, slots), gen, weights)]
    return table[torch.multinomial(share.expand(n, -1), slots, replacement=False, generator=gen)]


def _draw_sizes(
    n: int, count: Tensor, slots: int, sizes: Sequence[str] | tuple[float, float], gen: torch.Generator
) -> Tensor:
    limit = torch.tensor(_LARGEST)[count][:, None]
    u = torch.rand(n, slots, generator=gen)
    if len(sizes) == 2 and not isinstance(sizes[0], str):
        low, high = float(sizes[0]), float(sizes[1])
        check_size(low)
        check_size(high)
        if low > high:
            raise WorldError(f"The range of sizes runs from small to large; got {low} to {high}.")
        return low + u * (high - low)
    picked = [words.SIZE_RANGES[words.label("size", str(word))] for word in sizes]
    if not picked:
        raise WorldError("At least one size is needed.")
    if n and min(high for _, high in picked) > float(limit.min()) + 1e-6:
        raise WorldError(
            f"{int(count.max())} objects of size {' or '.join(map(str, sizes))} do not fit; allow small ones."
        )
    table = torch.tensor(sorted(picked))
    fits = (table[:, 1][None] <= limit + 1e-6).sum(1, keepdim=True).expand(n, slots)
    row = (torch.rand(n, slots, generator=gen) * fits).floor().long()
    return table[row, 0] + u * (table[row, 1] - table[row, 0])


def _place(size: Tensor, count: Tensor, overlap: float, position: str, gen: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw centres so that every object lies on the canvas and apart from those before it."""
    n, slots = size.shape
    if position == "centre":
        return torch.full_like(size, 0.5), torch.full_like(size, 0.5)
    spot = size[..., None] + torch.rand(n, slots, 2, generator=gen) * (1 - 2 * size[..., None])
    todo = (count > 1).nonzero(as_tuple=True)[0]
    for _ in range(_ROUNDS):
        if len(todo) == 0:
            return spot[..., 0].contiguous(), spot[..., 1].contiguous()
        good = torch.ones(len(todo), dtype=torch.bool)
        for k in range(1, slots):
            r = size[todo, k]
            tries = torch.rand(len(todo), _TRIES, 2, generator=gen) * (1 - 2 * r[:, None, None]) + r[:, None, None]
            gap = (tries[:, :, None] - spot[todo, None, :k]).norm(dim=-1)
            free = (gap >= (r[:, None] + size[todo, :k])[:, None] * (1 - overlap)).all(-1)
            first = free.int().argmax(1)
            needed = count[todo] > k
            good &= free.any(1) | ~needed
            spot[todo, k] = tries[torch.arange(len(todo)), first]
        redo = todo[~good]
        spot[redo, 0] = size[redo, 0, None] + torch.rand(len(redo), 2, generator=gen) * (1 - 2 * size[redo, 0, None])
        todo = redo
    raise WorldError(
        f"{int(count.max())} objects of radius up to {float(size.max()):.2f} do not fit apart; "
        "allow smaller sizes, fewer objects or some overlap."
    )
