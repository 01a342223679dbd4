"""Repaint whole images in a style: what a painter does to a scene, and a domain shift for a network."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from . import words
from .backgrounds import hashed
from .words import WorldError

PAPER = (0.975, 0.965, 0.93)


def stylise(images: Tensor, style: str | int | Tensor, seed: Tensor | None = None) -> Tensor:
    """Return images repainted in a style, float32 [N, 3, S, S] in [0, 1].

    `style` is a word of `words.STYLES`, a label, or int64 [N]; `seed` int64 [N] varies strokes and grain (zeros if left
    out). Objects stay where they are, up to a pixel or two for "swirl". Raises WorldError for an unknown style or
    images of another shape.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise WorldError(f"Images are [N, 3, S, S]; got {tuple(images.shape)}.")
    if isinstance(style, str):
        style = words.label("style", style)
    kinds = torch.as_tensor(style, device=images.device).expand(len(images))
    if len(kinds) and not 0 <= int(kinds.min()) <= int(kinds.max()) < len(words.STYLES):
        raise WorldError(f"Style labels run from 0 to {len(words.STYLES) - 1}.")
    seeds = torch.zeros_like(kinds) if seed is None else seed.to(images.device)
    out = images.clone()
    for label, name in enumerate(words.STYLES):
        rows = (kinds == label).nonzero(as_tuple=True)[0]
        if name == "flat" or len(rows) == 0:
            continue
        for part in rows.split(256):
            out.index_copy_(0, part, _PAINTERS[name](images[part], seeds[part]).clamp_(0, 1))
    return out


def luma(images: Tensor) -> Tensor:
    """Return the Rec. 601 brightness, [N, 1, S, S]."""
    return (images * images.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)


def edges(images: Tensor) -> Tensor:
    """Return the strength of colour edges, float32 [N, 1, S, S] in [0, 1], by Sobel's kernel."""
    kernel = images.new_tensor([[1.0, 2.0, 1.0], [0.0, 0.0, 0.0], [-1.0, -2.0, -1.0]]) / 4
    weight = torch.stack([kernel, kernel.T])[:, None].repeat(3, 1, 1, 1)
    slope = F.conv2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), weight, groups=3)
    return slope.square().unflatten(1, (3, 2)).sum(2).sqrt().amax(1, keepdim=True).clamp(max=1)


def _paper(images: Tensor) -> Tensor:
    return images.new_tensor(PAPER)[:, None, None]


def _axes(images: Tensor) -> tuple[Tensor, Tensor]:
    axis = torch.arange(images.shape[-1], device=images.device, dtype=images.dtype) + 0.5
    return axis[None, :].expand(images.shape[-1], -1), axis[:, None].expand(-1, images.shape[-1])


def _blur(images: Tensor, reach: int) -> Tensor:
    for _ in range(2):
        images = F.avg_pool2d(F.pad(images, (reach,) * 4, mode="replicate"), 2 * reach + 1, stride=1)
    return images


def _dotted(images: Tensor, seed: Tensor) -> Tensor:
    x, y = _axes(images)
    period = max(3.0, images.shape[-1] / 9)
    row = (y / period).floor()
    across = x + (row % 2) * period / 2
    dx = across % period - period / 2
    dy = y % period - period / 2
    dot = (period * 0.46 - (dx * dx + dy * dy).sqrt() + 0.5).clamp(0, 1)
    vivid = (images - luma(images)) * 1.15 + luma(images)
    return _paper(images) + dot * (vivid - _paper(images))


def _sketch(images: Tensor, seed: Tensor) -> Tensor:
    x, y = _axes(images)
    line = (edges(images) * 1.8).clamp(max=1)
    period = max(3.0, images.shape[-1] / 14)
    hatch = (((x + y) % period) / period < 0.4).to(images.dtype)
    dark = (0.82 - luma(images)).clamp(0, 1)
    wash = _paper(images) + 0.38 * (images - images.amax(1, keepdim=True)) * (1 - 0.2 * hatch)
    graphite = images.new_tensor([0.20, 0.20, 0.24])[:, None, None]
    return wash + (graphite - wash) * torch.maximum(line, 0.55 * hatch * dark)


def _swirl(images: Tensor, seed: Tensor) -> Tensor:
    size = images.shape[-1]
    x, y = _axes(images)
    u, v = x / size * 2 - 1, y / size * 2 - 1
    phase = (hashed(seed, 2, 1, 5)[:, :, 0] * 6.2832)[:, :, None, None]
    reach = 0.055
    du = reach * torch.sin(v[None] * 9.5 + phase[:, 0]) + 0.3 * reach * torch.sin(u[None] * 14 + phase[:, 1])
    dv = reach * torch.cos(u[None] * 9.5 + phase[:, 1]) + 0.3 * reach * torch.cos(v[None] * 14 + phase[:, 0])
    grid = torch.stack([u[None] + du, v[None] + dv], -1)
    moved = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    stroke = torch.sin(18 * (grid[..., 0] * 0.8 + grid[..., 1]) + 4 * torch.sin(grid[..., 0] * 6))
    return moved * (1 + 0.13 * stroke[:, None])


def _mosaic(images: Tensor, seed: Tensor) -> Tensor:
    size = images.shape[-1]
    tiles = 11 if size <= 40 else 16
    x, y = _axes(images)
    coarse = F.interpolate(images, size=(tiles, tiles), mode="area")
    flat = F.interpolate(coarse, size=(size, size), mode="nearest")
    # half the tile's mean, half what lies under it, so that small shapes stay readable
    flat = 0.55 * flat + 0.45 * images
    tone = F.interpolate(hashed(seed, tiles, tiles, 6)[:, None], size=(size, size), mode="nearest")
    cell_x, cell_y = (x * tiles / size).floor(), (y * tiles / size).floor()
    first = ((cell_x - ((x - 1) * tiles / size).floor()) > 0) | ((cell_y - ((y - 1) * tiles / size).floor()) > 0)
    return torch.where(first, 0.62 * flat + 0.06, flat * (0.93 + 0.16 * (tone - 0.5)))


def _watercolour(images: Tensor, seed: Tensor) -> Tensor:
    size = images.shape[-1]
    soft = _blur(images, max(1, size // 32))
    bleed = F.interpolate(hashed(seed, 6, 6, 7)[:, None], size=(size, size), mode="bicubic", align_corners=True)
    grain = hashed(seed, size, size, 8)[:, None]
    pigment = 1 - soft
    density = (0.62 + 0.5 * (bleed - 0.5) + 0.16 * (grain - 0.5)) + 0.55 * edges(soft)
    return _paper(images) * (1 - pigment * density)


def _neon(images: Tensor, seed: Tensor) -> Tensor:
    line = edges(images)
    peak = images.amax(dim=1, keepdim=True).clamp(min=0.2)
    hue = images * (0.4 + 0.6 * peak) / peak
    strongest = F.max_pool2d(F.pad(hue - hue.amin(1, keepdim=True), (1, 1, 1, 1)), 3, stride=1)
    tube = (strongest * 1.25).clamp(max=1) * (line * 1.6).clamp(max=1)
    glow = _blur(tube, max(1, images.shape[-1] // 32))
    night = images.new_tensor([0.045, 0.04, 0.10])[:, None, None]
    body = 0.30 * images * (images - images.amin(1, keepdim=True)).amax(1, keepdim=True)
    return night + body + 0.9 * tube + 0.75 * glow


_PAINTERS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "dotted": _dotted,
    "sketch": _sketch,
    "swirl": _swirl,
    "mosaic": _mosaic,
    "watercolour": _watercolour,
    "neon": _neon,
}
