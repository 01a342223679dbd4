"""Hold a batch of scenes as plain tensors: what is where, and how it looks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import words
from .words import WorldError

MAX_OBJECTS = 4


class Thing(NamedTuple):
    """One object in words and numbers; lengths are fractions of the canvas width, y points down."""

    slot: int
    shape: str
    colour: str
    size: float
    x: float
    y: float
    rotation: float
    texture: str
    mark: str
    shade: float
    layer: int

    @property
    def size_word(self) -> str:
        """Return "small", "medium" or "big"."""
        return words.SIZES[0] if self.size < 0.17 else words.SIZES[1] if self.size < 0.2375 else words.SIZES[2]

    @property
    def region(self) -> str:
        """Return where on the canvas the centre lies, e.g. "top left"."""
        column = 0 if self.x < 0.4 else 1 if self.x <= 0.6 else 2
        row = 0 if self.y < 0.4 else 1 if self.y <= 0.6 else 2
        return words.REGIONS[3 * row + column]

    @property
    def shade_word(self) -> str:
        """Return "dark", "pale" or ""."""
        return "dark" if self.shade < -0.4 else "pale" if self.shade > 0.4 else ""


class Plain(NamedTuple):
    """One scene in words: its objects in slot order and its setting."""

    things: tuple[Thing, ...]
    background: str
    ground: str
    style: str


@dataclass(frozen=True)
class Scene:
    """N scenes of up to K objects each (K <= 4), as batched tensors.

    Per object, [N, K]: `shape`, `colour`, `texture`, `mark`, `layer` int64 labels (a larger layer is in front);
    `size` (radius), `x`, `y` float32 in canvas widths, y down; `rotation` float32 radians, clockwise on the screen;
    `shade` float32 in [-1, 1], dark to pale; `present` bool. Per scene, [N]: `background`, `ground`, `style` int64;
    `seed` int64, from which noise and gradient direction follow.
    """

    shape: Tensor
    colour: Tensor
    size: Tensor
    x: Tensor
    y: Tensor
    rotation: Tensor
    texture: Tensor
    mark: Tensor
    shade: Tensor
    layer: Tensor
    present: Tensor
    background: Tensor
    ground: Tensor
    style: Tensor
    seed: Tensor

    def __len__(self) -> int:
        return int(self.shape.shape[0])

    def __getitem__(self, index: Any) -> Scene:
        """Return the chosen scenes as a batch; an int gives a batch of one."""
        if isinstance(index, int):
            if not -len(self) <= index < len(self):
                raise IndexError(f"scene {index} of {len(self)}")
            index = slice(index, index + 1 or None)
        return Scene(*(getattr(self, f.name)[index] for f in fields(self)))

    def __iter__(self) -> Iterator[Scene]:
        return (self[i] for i in range(len(self)))

    @property
    def device(self) -> torch.device:
        """Return the device on which the tensors lie."""
        return self.shape.device

    @property
    def slots(self) -> int:
        """Return K, the number of object slots."""
        return int(self.shape.shape[1])

    @property
    def count(self) -> Tensor:
        """Return the number of objects in each scene, int64 [N]."""
        return self.present.sum(1)

    def to(self, device: torch.device | str) -> Scene:
        """Return the same scenes on another device."""
        return Scene(*(getattr(self, f.name).to(device) for f in fields(self)))

    def replace(self, **changes: Any) -> Scene:
        """Return a copy with some fields replaced: tensors, or a word or number for all, e.g. `replace(colour="red")`.

        Raises WorldError for an unknown field or word.
        """
        known = {f.name for f in fields(self)}
        ready = {}
        for name, value in changes.items():
            if name not in known:
                raise WorldError(f"A scene has no field {name!r}; its fields are: {', '.join(sorted(known))}.")
            old = getattr(self, name)
            if isinstance(value, str):
                value = words.label(name, value)
            ready[name] = torch.as_tensor(value, device=old.device).to(old.dtype).expand_as(old).clone()
        return replace(self, **ready)

    def plain(self) -> list[Plain]:
        """Return the scenes in words, one `Plain` each: what all language of the world is made from."""
        columns = {f.name: getattr(self, f.name).tolist() for f in fields(self)}
        out = []
        for i in range(len(self)):
            things = tuple(
                Thing(
                    slot=k,
                    shape=words.ALL_SHAPES[columns["shape"][i][k]],
                    colour=words.COLOURS[columns["colour"][i][k]],
                    size=columns["size"][i][k],
                    x=columns["x"][i][k],
                    y=columns["y"][i][k],
                    rotation=columns["rotation"][i][k],
                    texture=words.TEXTURES[columns["texture"][i][k]],
                    mark=words.MARKS[columns["mark"][i][k]],
                    shade=columns["shade"][i][k],
                    layer=columns["layer"][i][k],
                )
                for k, here in enumerate(columns["present"][i])
                if here
            )
            out.append(
                Plain(
                    things,
                    words.BACKGROUNDS[columns["background"][i]],
                    words.GROUNDS[columns["ground"][i]],
                    words.STYLES[columns["style"][i]],
                )
            )
        return out


def cat(scenes: Sequence[Scene]) -> Scene:
    """Join batches of scenes; batches with fewer slots are filled with absent objects."""
    if not scenes:
        raise WorldError("cat needs at least one batch of scenes.")
    slots = max(s.slots for s in scenes)
    return Scene(*(torch.cat([_widen(getattr(s, f.name), slots) for s in scenes]) for f in fields(Scene)))


def _widen(column: Tensor, slots: int) -> Tensor:
    if column.ndim == 1 or column.shape[1] == slots:
        return column
    return torch.cat([column, column[:, :1].expand(-1, slots - column.shape[1]).clone() * 0], 1)


def make(
    *things: dict[str, Any], background: str = "plain", ground: str = "white", style: str = "flat", seed: int = 0
) -> Scene:
    """Build one scene by hand, a dictionary per object; later objects lie in front.

    Keys and defaults: shape="circle", colour="red", size=0.25, x=0.5, y=0.5, rotation=0.0, texture="plain",
    mark="none", shade=0.0. Raises WorldError for more than four objects, an unknown key or word, or a size <= 0.
    Example: `make({"shape": "star", "colour": "blue"}, ground="sand")`.
    """
    if len(things) > MAX_OBJECTS:
        raise WorldError(f"A scene holds at most {MAX_OBJECTS} objects; {len(things)} were given.")
    default: dict[str, Any] = {
        "shape": "circle",
        "colour": "red",
        "size": 0.25,
        "x": 0.5,
        "y": 0.5,
        "rotation": 0.0,
        "texture": "plain",
        "mark": "none",
        "shade": 0.0,
    }
    rows = []
    for thing in things:
        if extra := set(thing) - set(default):
            raise WorldError(f"An object has no {sorted(extra)[0]!r}; it has: {', '.join(default)}.")
        rows.append(default | thing)
        check_size(float(rows[-1]["size"]))
        if not all(math.isfinite(float(rows[-1][key])) for key in ("x", "y", "rotation", "shade")):
            raise WorldError("x, y, rotation and shade must be finite numbers.")
    full = rows or [default]
    columns: dict[str, Tensor] = {}
    for key in default:
        if key in ("shape", "colour", "texture", "mark"):
            columns[key] = words.labels(key, [row[key] for row in full])[None]
        else:
            columns[key] = torch.tensor([[float(row[key]) for row in full]])
    return Scene(
        **columns,
        layer=torch.arange(len(full))[None],
        present=torch.full((1, len(full)), bool(rows)),
        background=words.labels("background", [background]),
        ground=words.labels("ground", [ground]),
        style=words.labels("style", [style]),
        seed=torch.tensor([seed]),
    )


def check_size(size: float) -> None:
    """Raise WorldError unless the radius is positive and the object fits on the canvas (0 < size <= 0.5)."""
    if not 0 < size <= 0.5:
        raise WorldError(f"An object's size is its radius in canvas widths, above 0 and at most 0.5; got {size}.")
