"""Name everything the world can show: shapes, colours, textures, marks, backgrounds, styles, and their synonyms.

A name's position in its tuple is its label, in every part of the world.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

SHAPES = ("circle", "square", "triangle", "star", "ring", "cross", "heart", "arrow")
NOVEL_SHAPES = ("moon", "drop", "house", "leaf")
"""Shapes that no caption of the eight names: for new classes, few-shot episodes and held-out objects."""
ALL_SHAPES = SHAPES + NOVEL_SHAPES
SOLID_SHAPES = ("circle", "square", "triangle", "star", "cross", "heart", "arrow", "moon", "drop", "house", "leaf")
"""Shapes without a hole, on which every identity mark shows."""
UPRIGHT_SHAPES = ("triangle", "heart", "arrow", "moon", "drop", "house")
"""Shapes whose "up" can be seen: no quarter turn maps one to itself."""
THIN_SHAPES = ("ring", "cross")

COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "brown")
COLOUR_HEX = ("#C0271A", "#F0942B", "#FFE70A", "#07A563", "#72E6FB", "#1242EA", "#8F4FAC", "#44291D")
GROUNDS = ("white", "grey", "blue", "green", "pink", "sand")
GROUND_HEX = ("#F6F4EE", "#B4B9C2", "#B3C8F2", "#BFE0C6", "#F3C6D0", "#E6D7B2")

TEXTURES = ("plain", "stripes", "dots", "checker")
MARKS = ("none", "spot", "belt", "sash", "cap", "eyes", "half")
BACKGROUNDS = ("plain", "gradient", "noise", "grid")
STYLES = ("flat", "dotted", "sketch", "swirl", "mosaic", "watercolour", "neon")
SIZES = ("small", "medium", "big")
SIZE_RANGES = ((0.12, 0.16), (0.18, 0.225), (0.25, 0.32))
"""Radii of the three size words as fractions of the canvas width; no object is sampled between them."""
EMOTIONS = ("amusement", "anger", "awe", "contentment", "disgust", "excitement", "fear", "sadness")
MOTIONS = ("still", "slide", "bounce", "rotate", "grow", "orbit", "spiral")
RELATIONS = ("left of", "right of", "above", "below")
REGIONS = (
    "top left",
    "top",
    "top right",
    "left",
    "centre",
    "right",
    "bottom left",
    "bottom",
    "bottom right",
)
NUMBERS = ("no", "one", "two", "three", "four")

SHAPE_SYNONYMS = {
    "circle": ("circle", "disc", "round shape"),
    "square": ("square", "box", "four-sided shape"),
    "triangle": ("triangle", "wedge", "three-sided shape"),
    "star": ("star", "pentagram", "five-pointed shape"),
    "ring": ("ring", "hoop", "hollow shape"),
    "cross": ("cross", "plus", "four-armed shape"),
    "heart": ("heart", "valentine", "two-lobed shape"),
    "arrow": ("arrow", "pointer", "pointing shape"),
    "moon": ("moon", "crescent", "horned shape"),
    "drop": ("drop", "tear", "dripping shape"),
    "house": ("house", "hut", "roofed shape"),
    "leaf": ("leaf", "almond", "two-pointed shape"),
}
COLOUR_SYNONYMS = {
    "red": ("red", "scarlet"),
    "orange": ("orange", "tangerine"),
    "yellow": ("yellow", "golden"),
    "green": ("green", "emerald"),
    "cyan": ("cyan", "turquoise"),
    "blue": ("blue", "azure"),
    "purple": ("purple", "violet"),
    "brown": ("brown", "chocolate"),
}
TEXTURE_SYNONYMS = {
    "plain": ("plain", "smooth"),
    "stripes": ("striped", "banded"),
    "dots": ("spotted", "dappled"),
    "checker": ("checkered", "tartan"),
}
SIZE_SYNONYMS = {"small": ("small", "little"), "medium": ("medium", "middling"), "big": ("big", "large")}
SHADE_WORDS = ("dark", "pale")
BACKGROUND_SYNONYMS = {
    "plain": ("plain", "even"),
    "gradient": ("shaded", "fading"),
    "noise": ("noisy", "grainy"),
    "grid": ("gridded", "ruled"),
}
STYLE_SYNONYMS = {
    "flat": ("flat", "poster"),
    "dotted": ("dotted", "pointillist"),
    "sketch": ("sketch", "pencil"),
    "swirl": ("swirl", "whirlpool"),
    "mosaic": ("mosaic", "tile"),
    "watercolour": ("watercolour", "aquarelle"),
    "neon": ("neon", "glow"),
}
RELATION_SYNONYMS = {
    "left of": ("left of", "to the left of"),
    "right of": ("right of", "to the right of"),
    "above": ("above", "over"),
    "below": ("below", "under"),
}
MOTION_WORDS = {
    "still": ("stands still", "rests"),
    "slide": ("slides", "glides"),
    "bounce": ("bounces", "hops"),
    "rotate": ("rotates", "turns"),
    "grow": ("grows", "swells"),
    "orbit": ("orbits", "goes around"),
    "spiral": ("spirals", "winds inwards"),
}
SOUND_WORDS = {
    "circle": "hums",
    "square": "buzzes",
    "triangle": "rings",
    "star": "chimes",
    "ring": "whistles",
    "cross": "rattles",
    "heart": "throbs",
    "arrow": "hisses",
    "moon": "howls",
    "drop": "drips",
    "house": "creaks",
    "leaf": "rustles",
}

_TABLES: dict[str, tuple[str, ...]] = {
    "shape": ALL_SHAPES,
    "colour": COLOURS,
    "ground": GROUNDS,
    "texture": TEXTURES,
    "mark": MARKS,
    "background": BACKGROUNDS,
    "style": STYLES,
    "size": SIZES,
    "emotion": EMOTIONS,
    "motion": MOTIONS,
    "relation": RELATIONS,
    "region": REGIONS,
}


class WorldError(ValueError):
    """A scene, word or request that the world cannot make true."""


def names(kind: str) -> tuple[str, ...]:
    """Return all names of a kind ("shape", "colour", "texture", ...) in label order."""
    if kind not in _TABLES:
        raise WorldError(f"There is no kind {kind!r}; kinds are: {', '.join(_TABLES)}.")
    return _TABLES[kind]


def label(kind: str, word: str) -> int:
    """Return the label of a word, e.g. `label("colour", "red") == 0`; raises WorldError naming the known words."""
    known = names(kind)
    if word not in known:
        raise WorldError(f"{word!r} is no {kind} of the world; it knows: {', '.join(known)}.")
    return known.index(word)


def labels(kind: str, words: Iterable[str]) -> Tensor:
    """Return the labels of several words as int64 [len(words)]; raises WorldError for an unknown or missing word."""
    if isinstance(words, str):
        words = (words,)
    found = [label(kind, word) for word in words]
    if not found:
        raise WorldError(f"At least one {kind} is needed.")
    return torch.tensor(found)


def _rgb(codes: tuple[str, ...]) -> Tensor:
    return torch.tensor([[int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)] for code in codes])


def colour_rgb() -> Tensor:
    """Return the eight colours as float32 [8, 3] in [0, 1]."""
    return _rgb(COLOUR_HEX)


def ground_rgb() -> Tensor:
    """Return the background colours as float32 [6, 3] in [0, 1]."""
    return _rgb(GROUND_HEX)
