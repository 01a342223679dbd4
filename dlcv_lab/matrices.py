"""Small matrices with the number in every cell: kernels, tiny pictures, confusion tables. `show.grid` is the way in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcv_lab import layout
from dlcv_lab.layout import LABEL, SMALL, WIDTH
from dlcv_lab.palette import FAINT, INK, PAPER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_GAP = 0.28  # inches between matrices


def matrices_of(matrix: Any) -> list[np.ndarray]:
    """Take one matrix, a batch or a list of them apart; raise ValueError for other shapes."""
    many = isinstance(matrix, (list, tuple)) and len(matrix) > 0 and getattr(matrix[0], "ndim", 0) == 2
    tables = [layout.array(part) for part in matrix] if many else [layout.array(matrix)]
    if not many and tables[0].ndim == 3:
        tables = list(tables[0])
    for table in tables:
        if table.ndim != 2 or 0 in table.shape:
            raise ValueError(f"show.grid needs matrices [H, W] or [N, H, W], not the shape {list(table.shape)}")
    return tables


def draw_grid(
    tables: list[np.ndarray],
    *,
    names: Sequence[str] | None,
    annotate: bool | str | None,
    title: str | None,
    row_names: Sequence[Any] | None,
    column_names: Sequence[Any] | None,
    xlabel: str,
    ylabel: str,
    limits: tuple[float | None, float | None],
    share: bool,
    cmap: str | None,
    marks: Sequence[tuple[int, int]],
    note: str | None,
) -> Figure:
    """Draw matrices side by side, wrapped into rows, with a number in every cell."""
    import matplotlib
    from matplotlib.patches import Rectangle

    written = annotate is not False and (annotate is not None or max(table.shape[1] for table in tables) <= 16)
    scales = [_grid_limits(tables if share else [table], limits) for table in tables]
    texts = [[[_cell(v, annotate) for v in row] for row in table] for table in tables]
    longest = max((layout.text_width(t, SMALL) for table in texts for row in table for t in row), default=0) / 72
    widest, columns = max(table.shape[1] for table in tables), sum(table.shape[1] for table in tables)
    cell = min(0.4, max(0.3, longest + 0.12), WIDTH / widest) if written else max(0.06, min(0.3, 4.6 / columns))
    plan = _plan([(table.shape[0], table.shape[1]) for table in tables], cell, names or [""] * len(tables))
    figure = layout.new_figure(plan.width, plan.height)
    size = SMALL if longest + 0.06 <= cell else max(5.0, SMALL * (cell - 0.04) / longest)
    for i, (table, (low, high, signed), box) in enumerate(zip(tables, scales, plan.boxes)):
        colours = matplotlib.colormaps[cmap] if cmap else _ramp(signed)
        axes = figure.add_axes(plan.fraction(*box))
        axes.imshow(table, cmap=colours, vmin=low, vmax=high, interpolation="nearest", aspect="auto")
        if written:
            _numbers(axes, table, texts[i], colours, (low, high), size)
        for row, column in marks:
            axes.add_patch(Rectangle((column - 0.46, row - 0.46), 0.92, 0.92, fill=False, edgecolor=INK, linewidth=2))
        axes.set_title(plan.names[i], fontsize=LABEL, pad=5, linespacing=1.2)
        leftmost = box[0] == 0
        _edges(axes, table.shape, row_names if leftmost else None, column_names, cell)
        axes.set_xlabel(xlabel, labelpad=4)
        axes.set_ylabel(ylabel if leftmost else "", labelpad=4)
    said = [] if written else [_said(scales, share)]
    footnote = " ".join([*said, *([note] if note else [])])
    below = 0.12 + (0.25 if column_names is not None else 0) + (0.25 if xlabel else 0)
    layout.surround(figure, title, footnote, below)
    return figure


def _plan(shapes: list[tuple[int, int]], cell: float, names: Sequence[str]) -> layout.Plan:
    """Set matrices side by side, and begin a new row where the next one would not fit."""
    lines = [layout.wrap(name, max(cell * w, 0.9), LABEL) for name, (_, w) in zip(names, shapes)]
    rows: list[list[int]] = [[]]
    for i, (_, w) in enumerate(shapes):
        if rows[-1] and sum(cell * shapes[j][1] + _GAP for j in rows[-1]) + cell * w > WIDTH + 0.01:
            rows.append([])
        rows[-1].append(i)
    boxes: list[tuple[float, float, float, float]] = []
    top = 0.0
    for row in rows:
        left = 0.0
        top += max((lines[i].count("\n") + 1) * LABEL * 1.3 / 72 + 0.08 if lines[i] else 0 for i in row)
        for i in row:
            h, w = shapes[i]
            boxes.append((left, top, cell * w, cell * h))
            left += cell * w + _GAP
        top += max(cell * shapes[i][0] for i in row) + _GAP
    return layout.Plan(max(left + width for left, _, width, _ in boxes), top - _GAP, boxes, lines, LABEL)


def _said(scales: list[tuple[float, float, bool]], share: bool) -> str:
    ranges = [f"{layout.number(low)} to {layout.number(high)}" for low, high, _ in (scales[:1] if share else scales)]
    return f"Colours run from {', then from '.join(ranges)}."


def _ramp(signed: bool) -> Any:
    """Return orange - white - blue for signed numbers and white - blue for the others."""
    from matplotlib.colors import LinearSegmentedColormap

    positive = ["#ffffff", "#b9c8ee", "#718eef", "#15378e"]
    return LinearSegmentedColormap.from_list(
        "dlcv", [*(["#a85b00", "#e59a38", "#f8d7a8"] if signed else []), *positive]
    )


def _grid_limits(tables: list[np.ndarray], limits: tuple[float | None, float | None]) -> tuple[float, float, bool]:
    finite = np.concatenate([table[np.isfinite(table)].astype(float) for table in tables])
    least, most = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    signed = least < 0 if limits[0] is None else limits[0] < 0
    reach = max(abs(least), abs(most)) or 1.0
    low = (-reach if signed else min(0.0, least)) if limits[0] is None else limits[0]
    high = (reach if signed else (most if most > low else low + 1)) if limits[1] is None else limits[1]
    return low, high, signed


def _cell(value: Any, annotate: bool | str | None) -> str:
    if isinstance(annotate, str):
        text = format(value, annotate)
    elif float(value).is_integer() and abs(value) < 1e5:
        text = str(int(value))
    else:
        text = f"{float(value):.2f}" if abs(value) < 100 else f"{float(value):.0f}"
    return text.replace("-", "\N{MINUS SIGN}")


def _numbers(
    axes: Axes, table: np.ndarray, texts: list[list[str]], colours: Any, limits: tuple[float, float], size: float
) -> None:
    low, high = limits
    for r, row in enumerate(texts):
        for c, text in enumerate(row):
            red, green, blue, _ = colours((float(table[r, c]) - low) / (high - low))
            light = 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2
            axes.text(c, r, text, ha="center", va="center", fontsize=size, color=INK if light > 0.21 else PAPER)


def _edges(
    axes: Axes, shape: tuple[int, ...], row_names: Sequence[Any] | None, column_names: Sequence[Any] | None, cell: float
) -> None:
    """Name rows and columns, and part the cells by thin lines."""
    h, w = shape
    axes.tick_params(length=0, pad=3)
    axes.set_yticks(range(h) if row_names is not None else [], [str(name) for name in row_names or []])
    axes.set_xticks(range(w) if column_names is not None else [], [str(name) for name in column_names or []])
    if column_names is not None:
        longest = max(layout.text_width(str(name), SMALL) for name in column_names) / 72
        if longest > cell:
            axes.tick_params(axis="x", labelrotation=90)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xticks(np.arange(0.5, w - 1), minor=True)
    axes.set_yticks(np.arange(0.5, h - 1), minor=True)
    axes.grid(True, which="minor", color=FAINT, linewidth=0.8 if cell > 0.2 else 0)
    axes.tick_params(which="minor", length=0)
