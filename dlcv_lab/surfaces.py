"""Level lines of a function of two numbers, with the paths that walk over it. `show.contours` is the way in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcv_lab import layout
from dlcv_lab.layout import SMALL, WIDTH
from dlcv_lab.palette import INK, PAPER, marks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEVELS = 14
_MOST_DOTS = 60


def draw_contours(
    z: Any,
    *,
    x: Any,
    y: Any,
    paths: Mapping[str, Any] | None,
    points: Mapping[str, Any] | None,
    xlabel: str,
    ylabel: str,
    title: str | None,
    note: str | None,
) -> Figure:
    """Draw the surface, light where it is low, then the paths and the single points."""
    from matplotlib.colors import LinearSegmentedColormap

    heights, xs, ys = layout.array(z).astype(float), layout.array(x).astype(float), layout.array(y).astype(float)
    if heights.shape != (len(ys), len(xs)):
        raise ValueError(f"z must be [len(y), len(x)] = [{len(ys)}, {len(xs)}], not {list(heights.shape)}")
    figure = layout.new_figure(WIDTH, 3.9, constrained=True)
    axes = figure.add_subplot()
    low, high = float(heights.min()), float(heights.max())
    levels = low + max(high - low, 1e-12) * np.linspace(0, 1, _LEVELS) ** 2  # close together in the valley
    shades = LinearSegmentedColormap.from_list("valley", [PAPER, "#c9d3ea", "#7f93c4"])
    axes.contourf(xs, ys, heights, levels=levels, cmap=shades, extend="both")
    axes.contour(xs, ys, heights, levels=levels, colors="#8391b5", linewidths=0.6)
    walked = {name: _walk(name, path) for name, path in (paths or {}).items()}
    for (name, path), mark in zip(walked.items(), marks(walked)):
        dots = mark.marker if len(path) <= _MOST_DOTS else None
        axes.plot(path[:, 0], path[:, 1], color=mark.colour, marker=dots, markersize=3.5, linewidth=1.4, label=name)
        axes.plot(*path[0], marker="o", markersize=8, markerfacecolor=PAPER, markeredgecolor=mark.colour)
    for name, at in (points or {}).items():
        place = layout.array(at).astype(float)
        axes.plot(*place, marker="*", markersize=13, color=INK, markeredgecolor=PAPER, linestyle="none", label=name)
    axes.set_xlim(xs.min(), xs.max())
    axes.set_ylim(ys.min(), ys.max())
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    if walked or points:
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=SMALL + 0.5)
    layout.heading(figure, title, note)
    return figure


def _walk(name: str, path: Any) -> np.ndarray:
    steps = layout.array(path).astype(float)
    if steps.ndim != 2 or steps.shape[1] != 2 or len(steps) == 0:
        raise ValueError(f"the path {name!r} must be [steps, 2], not {list(steps.shape)}")
    return np.where(np.isfinite(steps), steps, np.nan)
