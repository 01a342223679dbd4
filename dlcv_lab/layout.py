"""How every picture of the book is laid out: fonts, widths, wrapped text, quiet axes. Used by pictures and charts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from dlcv_lab.palette import FAINT, INK, MUTED, PAPER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 5.0  # inches; a page shows 550 CSS pixels, a telephone scales that down to about 340
TITLE, LABEL, SMALL = 11.5, 10.0, 9.0  # points

_RC = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # travels with matplotlib: the same picture on every machine
    "font.size": LABEL,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.labelsize": LABEL,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.formatter.use_mathtext": True,
    "axes.unicode_minus": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
}


class Plan(NamedTuple):
    """Where everything goes, in inches from the upper left corner."""

    width: float
    height: float
    boxes: list[tuple[float, float, float, float]]  # left, top, width, height of each picture
    names: list[str]  # wrapped
    size: float  # of the names, in points

    def fraction(self, left: float, top: float, width: float, height: float) -> tuple[float, float, float, float]:
        """Return a box as matplotlib wants it: fractions of the figure, from the lower left corner."""
        return left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height


@contextmanager
def style() -> Iterator[None]:
    """Draw in the style of the book, whatever the reader has set for their own plots."""
    import matplotlib.style

    with matplotlib.style.context(_RC, after_reset=True):
        yield


def new_figure(width: float, height: float, *, constrained: bool = False) -> Figure:
    """Return a figure that pyplot knows nothing about: it is never shown twice and needs no closing."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained" if constrained else None)
    FigureCanvasAgg(figure)
    return figure


def array(values: Any) -> np.ndarray:
    """Return a tensor, array, list or number as a NumPy array; bfloat16 and half become float32."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        if values.dtype in (torch.bfloat16, torch.float16):
            values = values.float()
        return values.numpy()
    if isinstance(values, (list, tuple)) and any(isinstance(value, torch.Tensor) for value in values):
        return np.array([float(value) for value in values])
    return np.asarray(values)


def number(value: float) -> str:
    """Write a number the way a caption does: short, without an exponent where one can be avoided."""
    value = float(value)
    if value == 0:
        return "0"
    if 0.001 <= abs(value) < 10_000:
        text = f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
        return text.replace("-", "\N{MINUS SIGN}")
    return f"{value:.1e}".replace("-", "\N{MINUS SIGN}")


@lru_cache(maxsize=1)
def _renderer() -> Any:
    from matplotlib.backends.backend_agg import RendererAgg

    return RendererAgg(1, 1, 72)  # at 72 dots per inch a pixel is a point


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Return the width of one line in points."""
    from matplotlib.font_manager import FontProperties

    font = FontProperties(family=["DejaVu Sans"], size=size, weight=weight)
    is_math = "$" in text and text.count("$") % 2 == 0
    width, _, _ = _renderer().get_text_width_height_descent(text, font, is_math)
    return float(width)


def wrap(text: str, width: float, size: float, weight: str = "normal") -> str:
    """Break `text` into lines of at most `width` inches; a formula between dollar signs stays whole.

    Line breaks in `text` are kept. A word that is too long for a line is broken after a hyphen, a slash or an
    underscore if it has one, else anywhere.
    """
    lines = []
    for paragraph in text.splitlines() or [""]:
        line = ""
        for word in _words(paragraph, width * 72, size, weight):
            longer = line + word
            if line and text_width(longer.rstrip(), size, weight) > width * 72:
                lines.append(line.rstrip())
                longer = word
            line = longer
        lines.append(line.rstrip())
    return "\n".join(lines)


def _words(paragraph: str, width: float, size: float, weight: str) -> Iterator[str]:
    for word in re.findall(r"(?:\$[^$]*\$|\S)+\s*", paragraph):
        if "$" in word or text_width(word.rstrip(), size, weight) <= width:
            yield word
            continue
        for part in re.findall(r"[^-/_]*[-/_]?", word):
            while part and text_width(part.rstrip(), size, weight) > width:
                cut = max(1, next(n for n in range(1, len(part) + 1) if text_width(part[:n], size, weight) > width) - 1)
                yield part[:cut]
                part = part[cut:]
            if part:
                yield part


def heading(figure: Figure, title: str | None, footnote: str | None = None) -> None:
    """Put a title above and a small grey note below a figure with constrained layout, both flush left and wrapped."""
    width = figure.get_figwidth() - 0.1
    if title:
        text = wrap(title, width, TITLE, "bold")
        figure.suptitle(text, x=0.0, ha="left", fontsize=TITLE, fontweight="bold", linespacing=1.25)
    if footnote:
        figure.supxlabel(wrap(footnote, width, SMALL), x=0.0, ha="left", fontsize=SMALL, color=MUTED, linespacing=1.3)


def surround(figure: Figure, title: str | None, footnote: str, below: float = 0.1) -> None:
    """Put a title above and a small grey note `below` inches under a figure that is filled to its edges."""
    width, height = figure.get_size_inches()
    if title:
        text = wrap(title, max(width, 4.2), TITLE, "bold")
        figure.text(0, 1 + 0.12 / height, text, va="bottom", fontsize=TITLE, fontweight="bold", linespacing=1.25)
    if footnote:
        text = wrap(footnote, max(width, 3.2), SMALL)
        figure.text(0, -below / height, text, va="top", fontsize=SMALL, color=MUTED, linespacing=1.3)


def quiet(axes: Axes, *, grid: str | None = "y") -> None:
    """Give axes a light grid in one direction and no tick marks."""
    axes.tick_params(length=0, pad=5)
    if grid in ("x", "y", "both"):
        axes.grid(True, axis=grid)  # type: ignore[arg-type]


def log_axes(axes: Axes, log: str) -> None:
    """Make the axes named in `log` ("", "x", "y" or "xy") logarithmic.

    Raises:
        ValueError: `log` is something else.
    """
    if log not in ("", "x", "y", "xy"):
        raise ValueError(f'log is "", "x", "y" or "xy", not {log!r}')
    if "x" in log:
        axes.set_xscale("log")
    if "y" in log:
        axes.set_yscale("log")
