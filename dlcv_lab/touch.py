"""Small live models for the book's pages: `interact(..., touch=touch.kernel(...))`.

In the book the page's own script (book/_static/touch.js, and zoo.js for the zoo's models) puts the live model in the
place of the filmstrip; without scripts, and in print, the filmstrip stays. A live notebook has its sliders and needs
none of this.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

MOST_PIXELS = 160  # of a side of a photograph: more is slow on a phone

MEGABYTES = {"paint": 9, "rank": 6}  # that a click loads, about; tests/book/test_page_models.py holds it


@dataclass(frozen=True)
class Touch:
    """A kind of live model, and the plain data that it begins with."""

    kind: str
    data: Mapping[str, Any] = field(repr=False)

    def around(self, fallback: str) -> str:
        """Return the HTML of the model; `fallback` is what a page without scripts shows."""
        told = json.dumps(self.data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
        return (
            f'<div class="dlcv-touch" data-kind="{html.escape(self.kind)}">'
            f'<script type="application/json" class="dlcv-touch-data">{told}</script>{fallback}</div>'
        )


def kernel(pictures: Mapping[str, Tensor], presets: Mapping[str, Tensor]) -> Touch:
    """A kernel to edit: its numbers are typed, it slides over a picture at once, and a pixel shows its window's sum.

    Args:
        pictures: name -> grey or colour picture in [0, 1] or [0, 255], [H, W] or [C, H, W], at most 160 pixels a side.
        presets: name -> kernel of 3x3 or 5x5 numbers; the first one comes first.

    Raises:
        ValueError: a picture or kernel of another size, or none.
    """
    if not pictures or not presets:
        raise ValueError("touch.kernel needs at least one picture and one preset")
    for name, weights in presets.items():
        if tuple(weights.shape) not in ((3, 3), (5, 5)):
            raise ValueError(f"the preset {name!r} has the shape {tuple(weights.shape)}; kernels are 3x3 or 5x5")
    rounded = {name: [[round(float(w), 4) for w in row] for row in weights] for name, weights in presets.items()}
    return Touch(
        "kernel", {"pictures": {name: _grey(name, each) for name, each in pictures.items()}, "presets": rounded}
    )


def _grey(name: str, picture: Tensor) -> dict[str, Any]:
    """Return a picture as bytes of grey levels."""
    grey = picture.detach().float()
    grey = grey.mean(0) if grey.ndim == 3 else grey
    if grey.ndim != 2 or min(grey.shape) < 8 or max(grey.shape) > MOST_PIXELS:
        raise ValueError(
            f"the picture {name!r} has the shape {tuple(picture.shape)}; sides are 8 to {MOST_PIXELS} pixels"
        )
    levels = (grey * (255 if grey.max() <= 1 else 1)).round().clamp(0, 255).to(torch.uint8)
    return {"h": grey.shape[0], "w": grey.shape[1], "grey": _text(levels)}


def _text(values: Tensor) -> str:
    """Return the bytes of a tensor as a page can hold them."""
    return base64.b64encode(values.detach().contiguous().cpu().numpy().tobytes()).decode("ascii")


def paint(
    prompts: Sequence[str],
    posters: Tensor,
    *,
    seed: int = 0,
    steps: int = 25,
    guidance: float = 4.0,
    edited: tuple[nn.Module, nn.Module] | None = None,
    names: tuple[str, str] = ("untouched", "erased"),
) -> Touch:
    """`sd` in the page: type a prompt, see it painted step by step, and what the world's reader sees in the picture.

    The same prompt, seed, steps and guidance give what the pipeline paints with `torch.Generator().manual_seed(seed)`.

    Args:
        prompts: examples to choose from; the first one stands there.
        posters: pictures to show before anything is loaded, [1, 3, S, S] in [0, 1]: of the first prompt; [2, 3, S, S]
            with `edited`.
        seed, steps, guidance: to begin with.
        edited: the zoo's U-Net and a copy of which only cross-attention's keys and values differ: both paint the prompt
            from the same noise. The new weights lie in the page, in half precision (90 KB).
        names: of the two, for the captions.

    Raises:
        ValueError: no prompt, posters of another shape, or other weights differ, too.
    """
    wanted = 1 if edited is None else 2
    if not prompts or posters.ndim != 4 or tuple(posters.shape[:2]) != (wanted, 3):
        raise ValueError(
            f"touch.paint needs prompts, and posters [{wanted}, 3, S, S]; these are {tuple(posters.shape)}"
        )
    data = {
        "prompts": list(prompts), "poster": [_text(_levels(picture)) for picture in posters], "seed": seed,
        "steps": steps, "guidance": guidance, "names": list(names) if edited else [""], "megabytes": MEGABYTES["paint"],
    }  # fmt: skip
    return Touch("paint", data | ({"edited": _exchanged(*edited)} if edited else {}))


def _exchanged(untouched: nn.Module, edited: nn.Module) -> dict[str, dict[str, Any]]:
    """Return the weights of a U-Net's copy that differ, in half precision, row by row."""
    before, found = dict(untouched.named_parameters()), {}
    for name, weight in edited.named_parameters():
        if name in before and torch.equal(weight, before[name]):
            continue
        if name not in before or not name.endswith((".attn2.to_k.weight", ".attn2.to_v.weight")):
            raise ValueError(f"a page can exchange keys and values of cross-attention only; {name} differs, too")
        found[name] = {"rows": weight.shape[0], "half": _text(weight.half())}
    return found


def _levels(picture: Tensor) -> Tensor:
    return (picture.detach().float() * 255).round().clamp(0, 255).to(torch.uint8)


def rank(queries: Sequence[str], pictures: Tensor, alts: Sequence[str]) -> Touch:
    """Pictures ranked by `clip` in the page: type a query, and those most like it come first.

    Args:
        queries: examples to choose from; the first one stands there.
        pictures: [N, 3, 32, 32] in [0, 1].
        alts: what each shows.

    Raises:
        ValueError: no query, or other shapes.
    """
    if not queries or tuple(pictures.shape) != (len(alts), 3, 32, 32):
        raise ValueError(
            f"touch.rank needs queries, and pictures [{len(alts)}, 3, 32, 32], not {tuple(pictures.shape)}"
        )
    shown = [{"rgb": _text(_levels(picture)), "alt": alt} for picture, alt in zip(pictures, alts)]
    return Touch("rank", {"queries": list(queries), "pictures": shown, "megabytes": MEGABYTES["rank"]})


def surface(
    z: Tensor,
    x: Tensor,
    y: Tensor,
    *,
    start: tuple[float, float],
    rates: tuple[float, float] = (0.01, 2.0),
    names: str = "w b",
) -> Touch:
    """A loss surface to walk down: choose where to begin and how large a step is, and see the path of gradient descent.

    Args:
        z: [len(y), len(x)], the loss at every place of the grid.
        x, y: the two parameters' values, evenly spaced.
        start: where the first path begins, (x, y).
        rates: the smallest and the largest learning rate of the slider.
        names: of the two parameters.

    Raises:
        ValueError: the grid does not fit its axes, or is no number somewhere.
    """
    if tuple(z.shape) != (len(y), len(x)) or not torch.isfinite(z).all():
        raise ValueError(f"z is {tuple(z.shape)}; it needs a finite number for each of {len(y)} x {len(x)} places")
    return Touch(
        "surface",
        {
            "z": [[round(float(v), 4) for v in row] for row in z],
            "x": [float(x[0]), float(x[-1])],
            "y": [float(y[0]), float(y[-1])],
            "start": list(start),
            "rates": list(rates),
            "names": names.split(),
        },
    )


def neuron(points: Tensor, labels: Tensor, *, weights: tuple[float, float, float] = (1.0, 0.0, 0.0)) -> Touch:
    """One neuron in the plane: move its two weights and its bias, and see which points it takes for 1.

    Args:
        points: [N, 2].
        labels: [N], 0 or 1.
        weights: w1, w2 and b to begin with.

    Raises:
        ValueError: other shapes.
    """
    if points.ndim != 2 or points.shape[1] != 2 or tuple(labels.shape) != (len(points),):
        raise ValueError(f"points are (N, 2) and labels (N,), not {tuple(points.shape)} and {tuple(labels.shape)}")
    return Touch(
        "neuron",
        {
            "points": [[round(float(v), 3) for v in point] for point in points],
            "labels": [int(label) for label in labels],
            "weights": list(weights),
        },
    )
