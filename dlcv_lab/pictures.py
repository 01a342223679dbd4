"""`show`: every picture of the book goes through it, and none without words for those who cannot see it.

`show(image, alt="...")` and `show.images` draw images, `show.curves`, `show.bars` and `show.scatter` draw results,
`show.grid` prints the numbers of a small matrix, `show.contours` draws a surface from above, and `show.figure` takes a
matplotlib figure of your own. All draw on an opaque white card in one calm style. With `display=False` they return the
`Picture` in place of showing it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dlcv_lab import charts, layout, matrices, mosaic, surfaces
from dlcv_lab.card import Picture, deliver, from_figure, need_alt

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def images(
    images: Any,
    *,
    alt: str,
    titles: Sequence[Any] | None = None,
    title: str | None = None,
    cmap: str = "gray",
    vmin: float | None = None,
    vmax: float | None = None,
    cols: int | None = None,
    share: bool = True,
    note: str | None = None,
    display: bool = True,
) -> Picture | None:
    """Show one or more images with square pixels.

    `images` is one image [H, W] or [C, H, W], a batch [N, C, H, W], or a list of single images, which may differ in
    size; C is 1 or 3; tensors or arrays, float or uint8. Colours of C = 3 are clipped to [0, 1]. Values of C = 1 run
    from `vmin` to `vmax`, by default from 0 to 1 if they all lie there, else from the smallest to the largest of all
    images (`share=False`: of each image on its own); the limits are stated under the picture, or by a colour bar if
    `cmap` is not "gray". `titles` has one entry an image, `title` states the finding, `note` adds a line below.

    Raises:
        TypeError: `alt` is missing or empty.
        ValueError: a shape is not one of those above, or the titles are not as many as the images.
    """
    words = need_alt(alt, "show.images")
    panels = [mosaic.pixels(panel) for panel in mosaic.single_images(images)]
    if titles is not None and len(titles) != len(panels):
        raise ValueError(f"{len(panels)} images but {len(titles)} titles: they must be as many")
    limits, said = mosaic.limits_of(panels, vmin, vmax, share)
    if cmap != "gray" and share and any(panel.ndim == 2 for panel in panels):
        said = [text for text in said if not text.startswith("Black")]
        bar: tuple[float, float] | None = next(lim for lim, panel in zip(limits, panels) if panel.ndim == 2)
    else:
        bar = None
        if cmap != "gray":
            said = [text.replace("Black", "The lowest colour").replace("white", "the highest") for text in said]
    names = [] if titles is None else [str(name) for name in titles]
    if not share and cmap == "gray":
        names = [
            f"{name}\n{layout.number(low)} to {layout.number(high)}".strip()
            for name, (low, high) in zip(names or [""] * len(panels), limits)
        ]
    footnote = " ".join([*said, *([note] if note else [])])
    with layout.style():
        figure = mosaic.draw_images(panels, limits, names, title, footnote, cmap, cols, bar)
        return deliver(from_figure(figure, words), display)


def grid(
    matrix: Any,
    *,
    alt: str,
    annotate: bool | str | None = None,
    titles: Sequence[Any] | None = None,
    title: str | None = None,
    row_names: Sequence[Any] | None = None,
    column_names: Sequence[Any] | None = None,
    xlabel: str = "",
    ylabel: str = "",
    vmin: float | None = None,
    vmax: float | None = None,
    share: bool = True,
    cmap: str | None = None,
    marks: Sequence[tuple[int, int]] = (),
    note: str | None = None,
    display: bool = True,
) -> Picture | None:
    """Show a small matrix [H, W], or several [N, H, W] or in a dictionary or list, with the number in every cell.

    Made for kernels, 5x5 pictures and confusion matrices. `annotate` is a format such as ".1f", or False for colours
    only (the default above 16 columns). All matrices share one colour scale unless `share` is False: blue for positive
    and orange for negative numbers, with white at 0, or white to blue if there are no negative ones. The cells
    (row, column) in `marks` get a frame, in every matrix.

    Raises:
        TypeError: `alt` is missing or empty.
        ValueError: a matrix does not have two axes.
    """
    words = need_alt(alt, "show.grid")
    if isinstance(matrix, Mapping):
        titles = list(matrix) if titles is None else titles
        matrix = list(matrix.values())
    tables = matrices.matrices_of(matrix)
    if titles is not None and len(titles) != len(tables):
        raise ValueError(f"{len(tables)} matrices but {len(titles)} titles: they must be as many")
    names = None if titles is None else [str(name) for name in titles]
    with layout.style():
        figure = matrices.draw_grid(
            tables,
            names=names,
            annotate=annotate,
            title=title,
            row_names=row_names,
            column_names=column_names,
            xlabel=xlabel,
            ylabel=ylabel,
            limits=(vmin, vmax),
            share=share,
            cmap=cmap,
            marks=marks,
            note=note,
        )
        return deliver(from_figure(figure, words), display)


def curves(
    series: Mapping[str, Any],
    *,
    alt: str,
    xlabel: str = "",
    ylabel: str = "",
    title: str | None = None,
    log: str = "",
    ylim: tuple[float | None, float | None] | None = None,
    lines: Mapping[str, float] | None = None,
    spread: str = "one standard deviation",
    note: str | None = None,
    display: bool = True,
) -> Picture | None:
    """Draw one curve a name; its name stands at its right end, in its colour.

    A value of `series` is a sequence of y, a tuple (x, y), or a tuple (x, mean, spread), which gets a band that
    `spread` puts in words. `log` makes axes logarithmic ("x", "y", "xy"); `lines` are horizontal lines to compare
    with, such as {"chance": 0.1}. A name has the same colour in the whole book.

    Raises:
        TypeError: `alt` is missing or empty.
        ValueError: x and y of a curve differ in length, or there is no curve.
    """
    words = need_alt(alt, "show.curves")
    with layout.style():
        figure = charts.draw_curves(
            series, xlabel=xlabel, ylabel=ylabel, title=title, log=log, ylim=ylim, lines=lines, spread=spread, note=note
        )
        return deliver(from_figure(figure, words), display)


def bars(
    values: Mapping[str, Any],
    *,
    alt: str,
    xlabel: str = "",
    title: str | None = None,
    fmt: str | None = None,
    log: bool = False,
    xlim: tuple[float | None, float | None] | None = None,
    lines: Mapping[str, float] | None = None,
    spread: str = "one standard deviation",
    note: str | None = None,
    display: bool = True,
) -> Picture | None:
    """Draw one horizontal bar a name, in the order given, with its value beside it.

    A value is a number or a tuple (mean, spread), which gets a whisker that `spread` puts in words. `fmt` writes the
    numbers (".1%" for shares); bars start at 0. `lines` are values to compare with, such as {"chance": 0.1}.

    Raises:
        TypeError: `alt` is missing or empty.
        ValueError: there are no values.
    """
    words = need_alt(alt, "show.bars")
    with layout.style():
        figure = charts.draw_bars(
            values, xlabel=xlabel, title=title, fmt=fmt, log=log, xlim=xlim, lines=lines, spread=spread, note=note
        )
        return deliver(from_figure(figure, words), display)


def scatter(
    points: Any,
    *,
    alt: str,
    labels: Any = None,
    names: Sequence[Any] | None = None,
    xlabel: str = "",
    ylabel: str = "",
    title: str | None = None,
    equal: bool = False,
    log: str = "",
    note: str | None = None,
    display: bool = True,
) -> Picture | None:
    """Draw points of the plane, with a colour and a marker for each group.

    `points` is [N, 2], with `labels` [N] from 0 upwards and `names` for them, or a dictionary of names and [N, 2].
    `equal=True` gives both axes the same scale, which distances need.

    Raises:
        TypeError: `alt` is missing or empty.
        ValueError: points are not [N, 2], or labels are not as many as points.
    """
    words = need_alt(alt, "show.scatter")
    with layout.style():
        figure = charts.draw_scatter(
            points, labels, names, xlabel=xlabel, ylabel=ylabel, title=title, equal=equal, log=log, note=note
        )
        return deliver(from_figure(figure, words), display)


def contours(
    z: Any,
    *,
    x: Any,
    y: Any,
    alt: str,
    paths: Mapping[str, Any] | None = None,
    points: Mapping[str, Any] | None = None,
    xlabel: str = "",
    ylabel: str = "",
    title: str | None = None,
    note: str | None = None,
    display: bool = True,
) -> Picture | None:
    """Draw a function of two numbers from above, light where it is low, and paths that walk over it.

    `z` is [len(y), len(x)], the height at every place of the grid. A path is [steps, 2], its places (x, y) in order;
    its start is a ring, and what leaves the grid is cut off. `points` are single places, drawn as stars.

    Raises:
        TypeError: `alt` is missing or empty.
        ValueError: `z` does not fit x and y, or a path is not [steps, 2].
    """
    words = need_alt(alt, "show.contours")
    with layout.style():
        figure = surfaces.draw_contours(
            z, x=x, y=y, paths=paths, points=points, xlabel=xlabel, ylabel=ylabel, title=title, note=note
        )
        return deliver(from_figure(figure, words), display)


def figure(fig: Figure, *, alt: str, display: bool = True) -> Picture | None:
    """Show a matplotlib figure of your own, once, on the book's white card.

    Raises:
        TypeError: `alt` is missing or empty.
    """
    words = need_alt(alt, "show.figure")
    picture = from_figure(fig, words)
    _close(fig)
    return deliver(picture, display)


class Show:
    """The callable `show`: `show(image, alt="...")` is `show.images(image, alt="...")`."""

    images = staticmethod(images)
    grid = staticmethod(grid)
    curves = staticmethod(curves)
    bars = staticmethod(bars)
    scatter = staticmethod(scatter)
    contours = staticmethod(contours)
    figure = staticmethod(figure)

    def __call__(self, *pictures: Any, alt: str = "", **options: Any) -> Picture | None:
        """Show one or more images, or a matplotlib figure; see `show.images` for shapes and options.

        Raises:
            TypeError: `alt` is missing or empty.
        """
        need_alt(alt, "show")
        if len(pictures) == 1 and hasattr(pictures[0], "savefig"):
            return figure(pictures[0], alt=alt, **options)
        if len(pictures) == 1 and isinstance(pictures[0], Picture):
            return deliver(pictures[0], options.get("display", True))
        if not pictures:
            raise ValueError("nothing to show: give one or more images, then alt=...")
        return images(pictures[0] if len(pictures) == 1 else list(pictures), alt=alt, **options)

    def __repr__(self) -> str:
        return "show: images, grid, curves, bars, scatter, contours, figure (each needs alt=...)"


show = Show()


def _close(fig: Figure) -> None:
    """Keep pyplot from showing its figure a second time at the end of the cell."""
    import sys

    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None and getattr(fig, "number", None) is not None:
        pyplot.close(fig)
