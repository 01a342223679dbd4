"""Curves, bars, points and number grids as matplotlib figures. `show` is the way in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcv_lab import layout
from dlcv_lab.layout import LABEL, SMALL, WIDTH
from dlcv_lab.palette import INK, MUTED, PAPER, Mark, marks, sequence

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LABEL_WIDTH = 1.3  # inches beside the curves for their names


def draw_curves(
    series: Mapping[str, Any],
    *,
    xlabel: str,
    ylabel: str,
    title: str | None,
    log: str,
    ylim: tuple[float | None, float | None] | None,
    lines: Mapping[str, float] | None,
    spread: str,
    note: str | None,
) -> Figure:
    """Draw one curve a name, with the names at the right ends."""
    if not series:
        raise ValueError("nothing to draw: give at least one curve, as {'name': values}")
    height = 3.1
    figure = layout.new_figure(WIDTH, height, constrained=True)
    axes = figure.add_subplot()
    layout.log_axes(axes, log)
    if "x" in log:
        _plain_ticks(axes, [_curve(name, value)[0] for name, value in series.items()])
    banded = False
    ends: list[tuple[str, Mark, float]] = []
    for k, (name, mark) in enumerate(zip(series, marks(series))):
        xs, ys, around = _curve(name, series[name])
        every = max(1, len(xs) // 6)
        plain = len(series) == 1 and len(xs) > 20
        axes.plot(
            xs,
            ys,
            color=mark.colour,
            linestyle=mark.dash,
            marker=None if plain else mark.marker,
            markevery=1 if len(xs) <= 20 else (k * every // max(1, len(series)), every),
        )
        if around is not None:
            banded = True
            axes.fill_between(xs, ys - around, ys + around, color=mark.colour, alpha=0.18, linewidth=0)
        finite = np.isfinite(ys)
        if finite.any():
            ends.append((name, mark, float(ys[finite][-1])))
    if ylim is not None:
        axes.set_ylim(*ylim)
    elif "y" not in log:
        axes.margins(y=0.08)
    for name, value in (lines or {}).items():
        axes.axhline(value, color=MUTED, linestyle=(0, (1, 2)), linewidth=1.4)
        ends.append((name, Mark(MUTED, ":", ""), float(value)))
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    layout.quiet(axes)
    if len(ends) > 1:
        _name_ends(axes, ends, height * 0.72)
    said = [f"Bands: mean ± {spread}."] if banded else []
    layout.heading(figure, title, " ".join([*said, *([note] if note else [])]))
    return figure


def _plain_ticks(axes: Axes, xs: list[np.ndarray]) -> None:
    """Write the values themselves, such as batch sizes, under a logarithmic axis where there are few."""
    ticks = np.unique(np.concatenate(xs))
    if len(ticks) <= 9:
        axes.set_xticks(ticks, [layout.number(tick) for tick in ticks])
        axes.minorticks_off()


def _curve(name: str, value: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    parts = [layout.array(part) for part in value] if isinstance(value, tuple) else [layout.array(value)]
    if len(parts) == 1:
        parts = [np.arange(parts[0].size), parts[0]]
    sizes = [part.shape for part in parts]
    if len(parts) > 3 or any(part.ndim != 1 for part in parts) or len(set(sizes)) != 1 or parts[0].size == 0:
        raise ValueError(
            f"the curve {name!r} must be y, (x, y) or (x, mean, spread), each with the same number of values; "
            f"it has the shapes {', '.join(str(list(shape)) for shape in sizes)}"
        )
    xs, ys = parts[0].astype(float), parts[1].astype(float)
    return xs, ys, parts[2].astype(float) if len(parts) == 3 else None


def _name_ends(axes: Axes, ends: list[tuple[str, Mark, float]], height: float) -> None:
    """Write each name beside the axes at the height where its curve ends, moved apart where they would touch."""
    axes.autoscale_view()
    to_axes = axes.transData + axes.transAxes.inverted()
    right = axes.get_xlim()[1]
    placed = []
    for name, mark, value in ends:
        at = float(np.clip(to_axes.transform((right, value))[1], 0.02, 0.98)) if np.isfinite(value) else 0.5
        text = layout.wrap(name, _LABEL_WIDTH, SMALL + 0.5)
        placed.append((at, (text.count("\n") + 1) * (SMALL + 0.5) * 1.32 / 72 / height, text, mark))
    placed.sort(key=lambda item: -item[0])
    middles = spaced([item[0] for item in placed], [item[1] for item in placed])
    for (_, _, text, mark), middle in zip(placed, middles):
        axes.plot(
            [1.025, 1.05, 1.075],
            [middle] * 3,
            color=mark.colour,
            linestyle=mark.dash,
            marker=mark.marker,
            markevery=[1],
            transform=axes.transAxes,
            clip_on=False,
            solid_capstyle="butt",
        )
        axes.annotate(
            text,
            (1.095, middle),
            xycoords="axes fraction",
            va="center",
            ha="left",
            fontsize=SMALL + 0.5,
            color=INK,
            linespacing=1.15,
        )


def spaced(wishes: Sequence[float], heights: Sequence[float]) -> list[float]:
    """Return middles near `wishes` (sorted from high to low) such that labels of these heights do not overlap.

    The labels stay within [0, 1] if together they fit there.
    """
    middles: list[float] = []
    ceiling = 1.0 + heights[0] / 2
    for wish, height in zip(wishes, heights):
        middles.append(min(wish, ceiling - height / 2))
        ceiling = middles[-1] - height / 2
    floor = -heights[-1] / 2
    for k in range(len(middles) - 1, -1, -1):
        middles[k] = max(middles[k], floor + heights[k] / 2)
        floor = middles[k] + heights[k] / 2
    return middles


def draw_bars(
    values: Mapping[str, Any],
    *,
    xlabel: str,
    title: str | None,
    fmt: str | None,
    log: bool,
    xlim: tuple[float | None, float | None] | None,
    lines: Mapping[str, float] | None,
    spread: str,
    note: str | None,
) -> Figure:
    """Draw one horizontal bar a name, the first one on top."""
    if not values:
        raise ValueError("nothing to draw: give at least one bar, as {'name': value}")
    names = [layout.wrap(str(name), 1.5, LABEL) for name in values]
    pairs = [value if isinstance(value, (tuple, list)) else (value, None) for value in values.values()]
    means = [float(mean) for mean, _ in pairs]
    spreads = [None if around is None else float(around) for _, around in pairs]
    rows = sum(0.34 + 0.16 * name.count("\n") for name in names)
    figure = layout.new_figure(WIDTH, rows + 0.75 + (0.2 if lines else 0), constrained=True)
    axes = figure.add_subplot()
    if log:
        axes.set_xscale("log")
    axes.barh(range(len(names)), means, height=0.62, color=[mark.colour for mark in marks(map(str, values))])
    for k, (mean, around) in enumerate(zip(means, spreads)):
        _finish_bar(axes, k, mean, around, fmt)
    for name, at in (lines or {}).items():
        _compare_with(axes, f"{name} {_write(float(at), fmt)}", float(at))
    axes.set_yticks(range(len(names)), names, fontsize=LABEL)
    axes.invert_yaxis()
    axes.set_xlabel(xlabel)
    layout.quiet(axes, grid="x")
    axes.spines["left"].set_visible(not log)
    axes.spines["bottom"].set_visible(False)
    if min(means) < 0 and not log:
        axes.axvline(0, color=MUTED, linewidth=0.8)
        axes.spines["left"].set_visible(False)
        axes.margins(x=0.2)
    if xlim is not None:
        axes.set_xlim(*xlim)
    if fmt and fmt.endswith("%"):
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    said = [f"Whiskers: mean ± {spread}."] if any(spreads) else []
    layout.heading(figure, title, " ".join([*said, *([note] if note else [])]))
    return figure


def _finish_bar(axes: Axes, k: int, mean: float, around: float | None, fmt: str | None) -> None:
    """Put the whisker on bar `k` and its value beside it."""
    if around:
        for colour, width in ((PAPER, 3.2), (INK, 1.2)):  # a white rim keeps the whisker visible on a dark bar
            axes.errorbar(mean, k, xerr=around, ecolor=colour, elinewidth=width, capthick=width, capsize=3)
    side = -1 if mean < 0 else 1
    axes.annotate(
        _write(mean, fmt) + ("" if around is None else f" ± {_write(around, fmt)}"),
        (mean + side * (around or 0), k),
        xytext=(side * 5, 0),
        textcoords="offset points",
        va="center",
        ha="left" if side > 0 else "right",
        fontsize=SMALL + 0.5,
        color=INK,
        bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.6, "alpha": 0.85},
    )


def _compare_with(axes: Axes, text: str, at: float) -> None:
    """Draw a dotted line down the bars, named above them."""
    axes.axvline(at, color=INK, linestyle=(0, (1, 2)), linewidth=1.4)
    axes.annotate(
        text,
        (at, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(0, 4),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=SMALL,
        color=MUTED,
    )


def _write(value: float, fmt: str | None) -> str:
    return format(value, fmt).replace("-", "\N{MINUS SIGN}") if fmt else layout.number(value)


def draw_scatter(
    points: Any,
    labels: Any,
    names: Sequence[Any] | None,
    *,
    xlabel: str,
    ylabel: str,
    title: str | None,
    equal: bool,
    log: str,
    note: str | None,
) -> Figure:
    """Draw groups of points, each with its colour and marker, and their names at the right."""
    groups = _groups(points, labels, names)
    drawn = marks(groups) if isinstance(points, Mapping) or names is not None else sequence(len(groups))
    figure = layout.new_figure(WIDTH, 3.8 if equal else 3.4, constrained=True)
    axes = figure.add_subplot()
    layout.log_axes(axes, log)
    most = max(len(group) for group in groups.values())
    size = 26 if most <= 200 else 12
    for (name, group), mark in zip(groups.items(), drawn):
        axes.scatter(
            group[:, 0],
            group[:, 1],
            s=size,
            color=mark.colour,
            marker=mark.marker,
            alpha=0.8,
            linewidths=0,
            label=layout.wrap(name, _LABEL_WIDTH, SMALL + 0.5),
        )
    if equal:
        axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    layout.quiet(axes, grid="both")
    if len(groups) > 1:
        legend = axes.legend(
            loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=SMALL + 0.5, handletextpad=0.3
        )
        for handle in legend.legend_handles:
            if handle is not None:
                handle.set_alpha(1)
    layout.heading(figure, title, note)
    return figure


def _groups(points: Any, labels: Any, names: Sequence[Any] | None) -> dict[str, np.ndarray]:
    if isinstance(points, Mapping):
        groups = {str(name): layout.array(group) for name, group in points.items()}
    else:
        everything = layout.array(points)
        if labels is None:
            groups = {"": everything}
        else:
            kinds = layout.array(labels)
            if len(kinds) != len(everything):
                raise ValueError(f"{len(everything)} points but {len(kinds)} labels: they must be as many")
            groups = {str(names[k] if names is not None else k): everything[kinds == k] for k in np.unique(kinds)}
    for name, group in groups.items():
        if group.ndim != 2 or group.shape[1] != 2 or len(group) == 0:
            raise ValueError(f"show.scatter needs points [N, 2]; {name or 'they'} has the shape {list(group.shape)}")
    return groups
