"""Colours and marks that mean the same in the whole book, and that everybody can tell apart."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import NamedTuple

# Ten colours found by search: the CIE76 distance of any two is at least 28 in normal vision and for people without
# long- or middle-wave cones (Machado et al. 2009), and each has a contrast of at least 3 to 1 on white
COLOURS = {
    "blue": "#15378e",
    "vermilion": "#b20300",
    "green": "#09a963",
    "purple": "#bb7eac",
    "sky": "#718eef",
    "amber": "#d87d00",
    "black": "#371c41",
    "indigo": "#853df1",
    "grey": "#535b52",
    "wine": "#570003",
}
INK, MUTED, FAINT, PAPER = "#1f2328", "#5b626c", "#d5d9df", "#ffffff"
DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")

# methods and roles that many chapters compare keep one colour each; all others get theirs from their name
_FIXED = {
    "yours": "blue",
    "expected": "vermilion",
    "reference": "black",
    "baseline": "black",
    "chance": "black",
    "data": "black",
    "training": "blue",
    "train": "blue",
    "training loss": "blue",
    "training accuracy": "blue",
    "test": "vermilion",
    "test loss": "vermilion",
    "test accuracy": "vermilion",
    "validation": "vermilion",
    "validation loss": "vermilion",
    "linear": "black",
    "mlp": "amber",
    "fully connected": "amber",
    "cnn": "blue",
    "convolution": "blue",
    "resnet": "green",
    "residual": "green",
    "plain": "vermilion",
    "vit": "purple",
    "transformer": "purple",
    "attention": "purple",
    "batch norm": "blue",
    "layer norm": "vermilion",
    "group norm": "green",
    "instance norm": "amber",
    "no norm": "black",
    "none": "black",
    "sgd": "blue",
    "momentum": "green",
    "adam": "vermilion",
    "adamw": "purple",
    "vae": "blue",
    "gan": "vermilion",
    "diffusion": "green",
    "flow": "purple",
    "ddpm": "green",
    "ddim": "blue",
    "clip": "indigo",
    "circle": "blue",
    "square": "amber",
    "triangle": "green",
    "star": "purple",
    "cross": "vermilion",
}
_NAMES = tuple(COLOURS)
_given: dict[str, str] = {}


class Mark(NamedTuple):
    """How one name is drawn: a colour, a dash pattern and a marker, so that colour never carries meaning alone."""

    colour: str
    dash: str
    marker: str


def colour(name: str) -> str:
    """Return the colour of a method, "#rrggbb".

    Methods and roles that the book compares often have a colour of their own; any other name gets one at its first use
    and keeps it in this notebook. Case, hyphens and underscores do not matter.
    """
    return marks([name])[0].colour


def marks(names: Iterable[str]) -> list[Mark]:
    """Return a mark for each name of one picture; no two are alike.

    Names that share a colour, which happens when there are many of them, differ in dash pattern and marker.
    """
    names = list(names)
    taken = {wish for name in names if (wish := _known(name))}
    used: dict[str, int] = {}
    out = []
    for i, name in enumerate(names):
        chosen = _known(name) or _choose(name, taken)
        taken.add(chosen)
        again = used.get(chosen, 0)
        used[chosen] = again + 1
        out.append(Mark(COLOURS[chosen], DASHES[again % len(DASHES)], MARKERS[i % len(MARKERS)]))
    return out


def sequence(n: int) -> list[Mark]:
    """Return `n` marks for unnamed classes 0 to n - 1, such as the ten digits."""
    return [
        Mark(COLOURS[_NAMES[i % len(_NAMES)]], DASHES[i // len(_NAMES) % len(DASHES)], MARKERS[i % len(MARKERS)])
        for i in range(n)
    ]


def forget() -> None:
    """Forget the colours given to names in this notebook; `start` does this, so that a second run draws the same."""
    _given.clear()


def _known(name: str) -> str | None:
    return _FIXED.get(_key(name)) or _given.get(_key(name))


def _choose(name: str, taken: set[str]) -> str:
    """Give a new name the colour its letters hash to, or the next one that is free in the picture."""
    first = zlib.crc32(_key(name).encode()) % len(_NAMES)
    around = [_NAMES[(first + k) % len(_NAMES)] for k in range(len(_NAMES))]
    _given[_key(name)] = next((wish for wish in around if wish not in taken), around[0])
    return _given[_key(name)]


def _key(name: str) -> str:
    return " ".join(str(name).lower().replace("-", " ").replace("_", " ").split())
