"""One image or many, placed to the inch with square pixels and stated limits. `show.images` is the way in."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dlcv_lab import layout
from dlcv_lab.palette import FAINT, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST = 100  # images in one picture
_BAD = "#ff4fa3"  # pixels that are not a number
_GAP = 0.12  # inches between images
_CELL = {1: 3.0, 2: 2.3, 3: 1.58}  # inches an image may be wide, by images in a row
_FITS = {5: 5, 6: 3, 9: 3, 10: 5, 12: 6, 16: 4, 20: 5, 25: 5, 40: 8, 64: 8, 100: 10}  # rows that come out even


def single_images(images: Any) -> list[Any]:
    """Take a batch or a list apart into single images [H, W] or [C, H, W]."""
    if isinstance(images, (list, tuple)):
        panels = [part for image in images for part in (single_images(image) if _ndim(image) == 4 else [image])]
    else:
        panels = list(images) if _ndim(images) == 4 else [images]
    if not panels:
        raise ValueError("nothing to show: the list or batch of images is empty")
    if len(panels) > _MOST:
        raise ValueError(
            f"{len(panels)} images are too many for one picture: show at most {_MOST}, such as x[:{_MOST}]"
        )
    return panels


def _ndim(image: Any) -> int:
    if not isinstance(image, (torch.Tensor, np.ndarray)):
        raise ValueError(f"an image is a tensor or an array, not {type(image).__name__}; convert it first")
    return image.ndim


def pixels(image: Any) -> np.ndarray:
    """Return one image as float64 [H, W] or [H, W, 3]; uint8 becomes [0, 1]."""
    shape = list(image.shape)
    if _ndim(image) not in (2, 3) or (image.ndim == 3 and shape[0] not in (1, 3)) or 0 in shape:
        remedy = "an image is [H, W] or [C, H, W] with C = 1 or 3, a batch [N, C, H, W]"
        if image.ndim == 3 and shape[-1] in (1, 3):
            remedy = "the channels come first, [C, H, W]: use image.permute(2, 0, 1), or image.transpose(2, 0, 1)"
        elif image.ndim == 3 and 0 not in shape:
            remedy = (
                f"for {shape[0]} grey images add the axis of channels, x[:, None]; to see them as one use show.grid"
            )
        raise ValueError(f"an image cannot have the shape {shape}: {remedy}")
    pixels = layout.array(image)
    scale = 255.0 if pixels.dtype == np.uint8 else 1.0
    pixels = pixels.astype(np.float64) / scale
    if pixels.ndim == 2:
        return pixels
    return pixels[0] if shape[0] == 1 else pixels.transpose(1, 2, 0)


def limits_of(
    panels: list[np.ndarray], vmin: float | None, vmax: float | None, share: bool
) -> tuple[list[tuple[float, float]], list[str]]:
    """Return the limits of each image, and what must be said about them in words."""
    said: list[str] = []
    grey = [panel for panel in panels if panel.ndim == 2]
    colour = [panel for panel in panels if panel.ndim == 3]
    together = _range(grey, vmin, vmax) if grey else (0.0, 1.0)
    if grey and share:
        said.append(f"Black is {layout.number(together[0])}, white is {layout.number(together[1])}.")
    if colour and (vmin is not None or vmax is not None):
        said.append(
            f"Colours are scaled from {layout.number(vmin or 0)} to {layout.number(1 if vmax is None else vmax)}"
        )
    elif colour:
        low, high = _extent(colour)
        if low < 0 or high > 1:
            said.append(f"Colours from {layout.number(low)} to {layout.number(high)} are clipped to [0, 1].")
    bad = sum(int((~np.isfinite(panel)).sum()) for panel in panels)
    if bad:
        said.append(f"{bad} values are not finite (pink).")
    limits = []
    for panel in panels:
        if panel.ndim == 3:
            limits.append((0.0 if vmin is None else vmin, 1.0 if vmax is None else vmax))
        else:
            limits.append(together if share else _range([panel], vmin, vmax))
    return limits, said


def _extent(panels: list[np.ndarray]) -> tuple[float, float]:
    finite = [panel[np.isfinite(panel)] for panel in panels]
    filled = [values for values in finite if values.size]
    if not filled:
        return 0.0, 1.0
    return float(min(values.min() for values in filled)), float(max(values.max() for values in filled))


def _range(panels: list[np.ndarray], vmin: float | None, vmax: float | None) -> tuple[float, float]:
    low, high = _extent(panels)
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    low, high = (low if vmin is None else float(vmin)), (high if vmax is None else float(vmax))
    return (low, high) if high > low else (low, low + 1)


def draw_images(
    panels: list[np.ndarray],
    limits: list[tuple[float, float]],
    names: list[str],
    title: str | None,
    footnote: str,
    cmap: str,
    cols: int | None,
    bar: tuple[float, float] | None,
) -> Figure:
    """Place the images in rows, to the inch, so that pixels are square and nothing overlaps."""
    import matplotlib

    plan = _plan([(panel.shape[0], panel.shape[1]) for panel in panels], names, cols, 0.75 if bar else 0.0)
    figure = layout.new_figure(plan.width, plan.height)
    colours = matplotlib.colormaps[cmap].with_extremes(bad=_BAD)
    for i, (panel, limit, (left, top, width, height)) in enumerate(zip(panels, limits, plan.boxes)):
        axes = figure.add_axes(plan.fraction(left, top, width, height))
        _panel(axes, panel, limit, colours, width)
        if names:
            axes.set_title(plan.names[i], fontsize=plan.size, color=INK, pad=4, linespacing=1.25)
    if bar:
        _colour_bar(figure, plan, bar, colours)
    layout.surround(figure, title, footnote)
    return figure


def _plan(shapes: list[tuple[int, int]], names: list[str], cols: int | None, extra: float) -> layout.Plan:
    if cols is not None and cols < 1:
        raise ValueError(f"cols is the number of images in a row, at least 1, not {cols}")
    columns = min(len(shapes), cols or columns_for(len(shapes)))
    cell = min(_CELL.get(columns, layout.WIDTH), (layout.WIDTH - extra - _GAP * (columns - 1)) / columns)
    size = layout.SMALL if columns > 3 else layout.LABEL
    wrapped = [layout.wrap(name, cell, size) for name in names]
    boxes: list[tuple[float, float, float, float]] = []
    top = 0.0
    for first in range(0, len(shapes), columns):
        lines = max((text.count("\n") + 1 for text in wrapped[first : first + columns] if text), default=0)
        top += lines * size * 1.35 / 72 + (0.05 if lines else 0)
        row = shapes[first : first + columns]
        tallest = min(max(cell * h / w for h, w in row), 1.6 * max(cell, 1.2))
        for c, (h, w) in enumerate(row):
            height = min(cell * h / w, tallest)
            width = height * w / h
            boxes.append((c * (cell + _GAP) + (cell - width) / 2, top, width, height))
        top += tallest + _GAP
    full = max(columns * cell + _GAP * (columns - 1) + extra, 2.6)
    return layout.Plan(full, top - _GAP, boxes, wrapped, size)


def _colour_bar(figure: Figure, plan: layout.Plan, limits: tuple[float, float], colours: Any) -> None:
    import matplotlib

    top = plan.boxes[0][1]
    height = min(plan.height - top, 2.2)
    left = max(left + width for left, _, width, _ in plan.boxes) + _GAP
    axes = figure.add_axes(plan.fraction(left, top, 0.13, height))
    scale = matplotlib.cm.ScalarMappable(matplotlib.colors.Normalize(*limits), colours)
    ticks = np.linspace(*limits, 3 if height < 1.2 else 5)
    bar = figure.colorbar(scale, cax=axes, ticks=ticks)
    bar.ax.set_yticklabels([layout.number(tick) for tick in ticks])
    bar.ax.tick_params(length=0, labelsize=layout.SMALL)
    for spine in bar.ax.spines.values():
        spine.set_visible(False)


def _panel(ax: Axes, panel: np.ndarray, limits: tuple[float, float], colours: Any, width: float) -> None:
    low, high = limits
    shown = panel
    if panel.ndim == 3:
        bad = ~np.isfinite(panel).all(axis=2)
        shown = np.clip((np.nan_to_num(panel) - low) / (high - low), 0, 1)
        shown[bad] = (1.0, 0.31, 0.64)
    interpolation = "nearest" if panel.shape[1] <= width * 160 else "antialiased"
    ax.imshow(shown, cmap=colours, vmin=low, vmax=high, interpolation=interpolation, aspect="auto")
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(True)
        spine.set_color(FAINT)


def columns_for(n: int) -> int:
    """Return how many of `n` images stand in a row."""
    return _FITS.get(n, n if n <= 4 else 8 if n > 24 else min(6, math.ceil(math.sqrt(n)) + 1))
