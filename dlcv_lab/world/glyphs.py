"""Write tiny digits and letters into pictures: what only a model that sees enough pixels can read."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .rendering import render
from .sampling import generator, sample
from .scene import Scene
from .words import WorldError

_FONT = {
    "0": "111101101101111",
    "1": "010110010010111",
    "2": "111001111100111",
    "3": "111001111001111",
    "4": "101101111001001",
    "5": "111100111001111",
    "6": "111100111101111",
    "7": "111001010010010",
    "8": "111101111101111",
    "9": "111101111001111",
    "A": "010101111101101",
    "C": "011100100100011",
    "E": "111100110100111",
    "F": "111100110100100",
    "H": "101101111101101",
    "J": "001001001101010",
    "K": "101101110101101",
    "L": "100100100100111",
    "P": "110101110100100",
    "U": "101101101101111",
    "X": "101101010101101",
    "Y": "101101010010010",
}
GLYPHS = tuple(_FONT)
"""What can be written: ten digits, and twelve letters that no digit looks like in so few pixels."""
HEIGHT, WIDTH = 5, 3


def glyph_mask(text: str, scale: int = 1) -> Tensor:
    """Return a text as a bool mask [5 scale, (4 len(text) - 1) scale]; raises WorldError unless all are `GLYPHS`."""
    if not text or any(letter not in _FONT for letter in text) or scale < 1:
        raise WorldError(
            f"Only digits and the letters {''.join(GLYPHS[10:])} can be written, at a whole scale of at least 1; "
            f"got {text!r}, scale {scale}."
        )
    mask = torch.zeros(HEIGHT, 4 * len(text) - 1, dtype=torch.bool)
    for i, letter in enumerate(text):
        mask[:, 4 * i : 4 * i + WIDTH] = torch.tensor([bit == "1" for bit in _FONT[letter]]).view(HEIGHT, WIDTH)
    return mask.repeat_interleave(scale, 0).repeat_interleave(scale, 1)


def write(image: Tensor, text: str, x: int, y: int, scale: int = 1) -> Tensor:
    """Return an image [3, H, W] with a text on a white label whose top left corner is at (x, y).

    Raises WorldError if the label would leave the picture.
    """
    mask = glyph_mask(text, scale)
    high, wide = mask.shape[0] + 2, mask.shape[1] + 2
    if not (x >= 0 and y >= 0 and x + wide <= image.shape[-1] and y + high <= image.shape[-2]):
        raise WorldError(f"A label of {wide} x {high} pixels at ({x}, {y}) leaves the picture {tuple(image.shape)}.")
    out = image.clone()
    out[:, y : y + high, x : x + wide] = 1.0
    out[:, y + 1 : y + high - 1, x + 1 : x + wide - 1][:, mask] = 0.05
    return out


def numbers(
    n: int, seed: torch.Generator | int, *, digits: int = 3, size: int = 64, scale: int = 1, **options: Any
) -> tuple[Tensor, list[str], Scene]:
    """Draw n scenes that carry a number: images float32 [n, 3, size, size], the numbers, and the scenes."""
    gen = generator(seed)
    scene = sample(n, gen, **options)
    images = render(scene, size)
    out, texts = [], []
    for image in images:
        text, image = _labelled(image, digits, scale, gen)
        out.append(image)
        texts.append(text)
    return (torch.stack(out) if out else images), texts, scene


def panoramas(
    n: int, seed: torch.Generator | int, *, tiles: int = 3, size: int = 32, digits: int = 2
) -> tuple[Tensor, list[str], Scene]:
    """Draw n wide pictures of `tiles` scenes side by side, float32 [n, 3, size, tiles * size], with one tiny number.

    Digits are 5 pixels high: lost when the panorama is shrunk to one tile. Returns images, numbers, and the scenes
    [n * tiles] row by row.
    """
    gen = generator(seed)
    scene = sample(n * tiles, gen, sizes=("small", "medium"))
    wide = render(scene, size).unflatten(0, (n, tiles)).permute(0, 2, 3, 1, 4).flatten(3)
    out, texts = [], []
    for image in wide:
        text, image = _labelled(image, digits, 1, gen)
        out.append(image)
        texts.append(text)
    return (torch.stack(out) if out else wide), texts, scene


def _labelled(image: Tensor, digits: int, scale: int, gen: torch.Generator) -> tuple[str, Tensor]:
    text = "".join(str(int(torch.randint(10, (), generator=gen))) for _ in range(digits))
    wide, high = (4 * digits - 1) * scale + 2, HEIGHT * scale + 2
    if wide > image.shape[-1] or high > image.shape[-2]:
        raise WorldError(f"{digits} digits at scale {scale} do not fit a picture of {tuple(image.shape[-2:])}.")
    x = int(torch.randint(image.shape[-1] - wide + 1, (), generator=gen))
    y = int(torch.randint(image.shape[-2] - high + 1, (), generator=gen))
    return text, write(image, text, x, y, scale)
