"""Values of cases and outcomes as a page shows them: numbers, small tables, small pictures, in words for everybody."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from html import escape
from typing import Any

import torch
from torch import Tensor

from dlcv_lab.card import encode
from dlcv_lab.checking.model import Outcome

NUMBERS = 60  # of a tensor with more of them a page shows a corner, or a picture
CORNER = (4, 8)  # rows and columns of a corner
PLANES = 3  # pictures side by side, and small tables side by side
WIDEST = 12  # columns of a table
_SIDE = 96  # pixels of the longer side of a picture


@dataclass(frozen=True)
class Shown:
    """How a value looks on a page."""

    html: str
    key: object  # equal for values that look the same
    numbers: bool  # it can be computed with: every number of it is to be seen, or of an output a corner
    cost: int  # how much a reader has to look at


def number(value: float | int | bool) -> str:
    """Write one number for a reader: "3", "−0.25", "∞"."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "−∞"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value)}".replace("-", "\N{MINUS SIGN}")
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


def shown_outcome(outcome: Outcome, path: str) -> Shown | None:
    """Return how one leaf of an outcome looks, of a large one its corner, or None where it has no such leaf."""
    if outcome.status == "raised":
        return Shown(f"raises <code>{escape(outcome.error)}</code>", outcome.error, True, 1)
    if outcome.status != "value":
        return None
    found = dict(flat(outcome.value))
    return shown(found[path], corner=True) if path in found else None


def flat(value: Any, path: str = "") -> list[tuple[str, Any]]:
    """Return (path, leaf) of plain data; a short list of numbers is one leaf."""
    if isinstance(value, dict):
        return [leaf for key, part in value.items() for leaf in flat(part, f"{path}.{key}" if path else str(key))]
    if isinstance(value, list | tuple) and not _is_short(value):
        return [leaf for index, part in enumerate(value) for leaf in flat(part, f"{path}[{index}]")]
    return [(path, value)]


def _is_short(value: list[Any] | tuple[Any, ...]) -> bool:
    return len(value) <= WIDEST and all(isinstance(part, int | float | str) for part in value)


def shown(value: Any, *, corner: bool = False) -> Shown:
    """Return how one leaf looks: a text, a table, a corner of a large table, or pictures of its first planes."""
    if isinstance(value, Tensor) and value.ndim == 0:
        value = value.item()
    if isinstance(value, Tensor):
        return _tensor(value, corner)
    if isinstance(value, list | tuple):
        text = "(" + ", ".join(number(part) if isinstance(part, int | float) else str(part) for part in value) + ")"
    else:
        text = number(value) if isinstance(value, bool | int | float) else str(value)
    return Shown(f'<span class="number">{escape(text)}</span>', text, True, 1)


def _tensor(value: Tensor, corner: bool) -> Shown:
    shape = tuple(value.shape)
    if not value.numel():
        return Shown(f"empty, {_shape(shape)}", shape, True, 2)
    planes = value.detach().reshape(-1, *(shape[-2:] if value.ndim > 1 else (1, shape[-1]))).double()
    fits = value.numel() <= NUMBERS and len(planes) <= PLANES and planes.shape[-1] <= WIDEST
    if fits or corner:
        seen = planes if fits else planes[:1, : CORNER[0], : CORNER[1]]
        text = [[[number(entry) for entry in row] for row in plane] for plane in seen.tolist()]
        where = "" if fits else ", its upper left corner" if len(planes) == 1 else ", a corner of its first plane"
        said = f'<span class="shape">{_shape(shape)}{where}</span>' if value.ndim > 2 or not fits else ""
        return Shown("".join(map(_table, text)) + said, (shape, str(text)), True, seen.numel())
    if value.ndim < 2:
        return Shown(_shape(shape), shape, False, 20)
    low, high = _limits(value)
    grey = ((planes[:PLANES] - low) / max(high - low, 1e-12) * 255).nan_to_num().clamp(0, 255).round().byte()
    said = "" if len(planes) <= PLANES else f", the first {PLANES} of {len(planes)} planes"
    pictures = "".join(_picture(plane, low, high) for plane in grey)
    return Shown(f'{pictures}<span class="shape">{_shape(shape)}{said}</span>', shape, False, 40 + value.numel() // 8)


def _limits(value: Tensor) -> tuple[float, float]:
    """Return the smallest and the largest finite number."""
    finite = value.double()[torch.isfinite(value.double())]
    return (float(finite.min()), float(finite.max())) if finite.numel() else (0.0, 1.0)


def _shape(shape: tuple[int, ...]) -> str:
    return "shape " + " × ".join(map(str, shape))


def _table(rows: list[list[str]]) -> str:
    lines = "".join(f"<span>{''.join(f'<span>{entry} </span>' for entry in row)}</span>" for row in rows)
    return f'<span class="matrix" style="--columns:{len(rows[0])}">{lines}</span>'


def _picture(plane: Tensor, low: float, high: float) -> str:
    from PIL import Image

    scale = max(1, _SIDE // max(plane.shape))
    image = Image.fromarray(plane.numpy(), "L")
    data = base64.b64encode(encode(image.resize((image.width * scale, image.height * scale), 0))).decode()
    means = ", ".join(number(float(row.double().mean() / 255 * (high - low) + low)) for row in plane)
    alt = f"{plane.shape[0]} rows of {plane.shape[1]} numbers as grey levels; means of the rows: {means}"
    return (
        f'<img src="data:image/webp;base64,{data}" alt="{alt}" width="{image.width * scale}" '
        f'height="{image.height * scale}">'
    )
