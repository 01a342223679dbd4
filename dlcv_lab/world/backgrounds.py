"""Paint what lies behind the objects: plain, gradient, noise or grid, in one of six colours."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from . import words
from .scene import Scene


def hashed(seed: Tensor, height: int, width: int, salt: int = 0) -> Tensor:
    """Return reproducible noise, float32 [N, height, width] in [0, 1), from int64 seeds [N].

    An integer hash of (seed, row, column, salt): the same on every device and for every batch size.
    """
    rows = torch.arange(height, device=seed.device)[None, :, None]
    columns = torch.arange(width, device=seed.device)[None, None, :]
    mask = 0x7FFFFFFF
    value = (seed[:, None, None] * 1_103_515_245 + rows * 374_761_393 + columns * 668_265_263 + salt * 97_531) & mask
    for factor in (1_274_126_177, 1_181_783_497):
        value = ((value ^ (value >> 13)) * factor) & mask
    value = value ^ (value >> 15)
    return (value & 0xFFFFFF).to(torch.float32) / 0x1000000


def paint_background(scene: Scene, out: Tensor) -> None:
    """Fill `out`, float32 [N, 3, S, S], with the backgrounds of the scenes."""
    tone = words.ground_rgb().to(out.device)[scene.ground]
    out.copy_(tone[:, :, None, None].expand_as(out))
    for label, name in enumerate(words.BACKGROUNDS):
        if name == "plain":
            continue
        rows = (scene.background == label).nonzero(as_tuple=True)[0]
        if len(rows):
            change = _CHANGES[name](scene.seed[rows], out.shape[-1])
            out.index_copy_(0, rows, (out[rows] * change[:, None]).clamp_(0, 1))


def _gradient(seed: Tensor, size: int) -> Tensor:
    axis = (torch.arange(size, device=seed.device) + 0.5) / size - 0.5
    angle = hashed(seed, 1, 1)[:, 0] * 6.2832
    ramp = angle.cos()[:, :, None] * axis[None, None, :] + angle.sin()[:, :, None] * axis[None, :, None]
    return 0.86 + 0.40 * ramp


def _noise(seed: Tensor, size: int) -> Tensor:
    coarse = hashed(seed, 9, 9, 1)[:, None]
    cloud = F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True)[:, 0]
    return 0.76 + 0.24 * cloud + 0.14 * (hashed(seed, size, size, 2) - 0.5)


def _grid(seed: Tensor, size: int) -> Tensor:
    axis = (torch.arange(size, device=seed.device) + 0.5) / size * 5
    phase = hashed(seed, 2, 1, 3)[:, :, 0]

    def line(shift: Tensor) -> Tensor:
        t = axis[None] + shift[:, None]
        return (0.5 + size / 32 * 0.5 - (t - t.round()).abs() * (size / 5)).clamp(0, 1)

    across, down = line(phase[:, 0]), line(phase[:, 1])
    return 1 - 0.20 * torch.maximum(across[:, None, :], down[:, :, None])


_CHANGES = {"gradient": _gradient, "noise": _noise, "grid": _grid}
