"""Turn scenes into images by evaluating signed distances at pixel centres, batched, on any device."""

from __future__ import annotations

import torch
from torch import Tensor

from . import words
from .backgrounds import paint_background
from .scene import Scene
from .shapes import DISTANCES
from .styles import stylise
from .words import WorldError

_CHUNK_PIXELS = 1 << 17
_RIM = 0.30
_RIM_WIDTH = 0.16
_LIGHT = tuple(words.COLOURS.index(name) for name in ("orange", "yellow", "cyan"))
"""Labels of the colours whose stripes and marks are drawn dark; the others get light ones."""


def render(scene: Scene, size: int = 32) -> Tensor:
    """Return the images of a batch of scenes as float32 [N, 3, size, size] in [0, 1] on the scenes' device.

    Edges are smoothed over one pixel. Memory is bounded: scenes are drawn a chunk at a time. The same scenes give the
    same bytes on every call on the same device. Raises WorldError for a size below 8 or above 512.
    """
    check_canvas(size)
    out = torch.empty(len(scene), 3, size, size, device=scene.device)
    chunk = max(1, _CHUNK_PIXELS // (size * size)) if scene.device.type == "cpu" else 4096
    for start in range(0, len(scene), chunk):
        _draw(scene[start : start + chunk], out[start : start + chunk])
    if bool((scene.style != 0).any()):
        return stylise(out, scene.style, scene.seed)
    return out


def check_canvas(size: int) -> None:
    """Raise WorldError unless the canvas size is an int from 8 to 512."""
    if isinstance(size, bool) or not isinstance(size, int) or not 8 <= size <= 512:
        raise WorldError(f"The canvas is 8 to 512 pixels wide (32 and 64 are usual); got {size!r}.")


def layers(scene: Scene) -> Tensor:
    """Return the slots from back to front, int64 [N, K]."""
    return scene.layer.argsort(dim=1, stable=True)


def local_coordinates(scene: Scene, slot: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return pixel centres in the frame of one object per scene, two float32 [N, size, size] in units of its radius.

    `slot` is int64 [N, 1]; p points right and q down before the object is turned.
    """
    axis = (torch.arange(size, device=scene.device) + 0.5) / size
    radius = scene.size.gather(1, slot)
    u = (axis - scene.x.gather(1, slot)) / radius
    v = (axis - scene.y.gather(1, slot)) / radius
    turn = scene.rotation.gather(1, slot)
    c, s = turn.cos(), turn.sin()
    p = (c * u)[:, None, :] + (s * v)[:, :, None]
    q = (-s * u)[:, None, :] + (c * v)[:, :, None]
    return p, q


def signed_distance(shape: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """Return the signed distance of each scene's own shape [N, S, S] in units of its radius; `shape` is int64 [N]."""
    present = shape.unique().tolist()
    if len(present) == 1:
        return DISTANCES[present[0]](p, q)
    out = torch.empty_like(p)
    for kind in present:
        rows = (shape == kind).nonzero(as_tuple=True)[0]
        out.index_copy_(0, rows, DISTANCES[kind](p[rows], q[rows]))
    return out


def _draw(scene: Scene, out: Tensor) -> None:
    paint_background(scene, out)
    order = layers(scene)
    for step in range(scene.slots):
        slot = order[:, step : step + 1]
        here = scene.present.gather(1, slot)[:, 0]
        if bool(here.all()):
            _draw_object(scene, slot, out)
        elif bool(here.any()):
            rows = here.nonzero(as_tuple=True)[0]
            part = out[rows]
            _draw_object(scene[rows], slot[rows], part)
            out.index_copy_(0, rows, part)
    out.clamp_(0, 1)


def _draw_object(scene: Scene, slot: Tensor, out: Tensor) -> None:
    size = out.shape[-1]
    p, q = local_coordinates(scene, slot, size)
    distance = signed_distance(scene.shape.gather(1, slot)[:, 0], p, q)
    pixels = scene.size.gather(1, slot)[:, :, None] * size
    cover = torch.mul(distance, -pixels).add_(0.5).clamp_(0, 1)
    rim = distance.mul_(1 / _RIM_WIDTH).add_(1).clamp_(0, 1)
    out.mul_(torch.sub(1, cover)[:, None])
    ink, second = object_rgb(scene, slot)
    weight = cover - cover * rim.mul_(_RIM)

    texture, mark = scene.texture.gather(1, slot)[:, 0], scene.mark.gather(1, slot)[:, 0]
    for share, colours in ((_pattern, second), (_mark, _mark_rgb(scene, slot))):
        kinds = texture if share is _pattern else mark
        rows = kinds.nonzero(as_tuple=True)[0]
        if len(rows) == 0:
            continue
        part = share(kinds[rows], p[rows], q[rows], pixels[rows]) * weight[rows]
        out.index_add_(0, rows, part[:, None] * colours[rows][:, :, None, None])
        weight.index_add_(0, rows, part, alpha=-1)
    for channel in range(3):
        out[:, channel].addcmul_(weight, ink[:, channel, None, None])


def object_rgb(scene: Scene, slot: Tensor) -> tuple[Tensor, Tensor]:
    """Return the colour and the second colour of the texture of one object per scene, two float32 [N, 3]."""
    label = scene.colour.gather(1, slot)[:, 0]
    base = words.colour_rgb().to(scene.device)[label]
    shade = scene.shade.gather(1, slot)
    dark, pale = base * (1 + 0.55 * shade.clamp(max=0)), base + (1 - base) * 0.55 * shade.clamp(min=0)
    ink = torch.where(shade < 0, dark, pale)
    light = _is_light(label)[:, None]
    return ink, torch.where(light, ink * 0.62, ink + (1 - ink) * 0.55)


def _is_light(label: Tensor) -> Tensor:
    return (label[:, None] == torch.tensor(_LIGHT, device=label.device)).any(1)


def _mark_rgb(scene: Scene, slot: Tensor) -> Tensor:
    light = _is_light(scene.colour.gather(1, slot)[:, 0])[:, None]
    dark = torch.tensor([0.10, 0.08, 0.12], device=scene.device)
    return torch.where(light, dark, torch.ones(3, device=scene.device)).expand(-1, 3)


def _wave(t: Tensor) -> Tensor:
    """Return a triangle wave of period 1 between 0 and 1, 0 at whole numbers."""
    return (t - t.floor()).sub_(0.5).abs_().mul_(-2).add_(1)


def _pattern(kind: Tensor, p: Tensor, q: Tensor, pixels: Tensor) -> Tensor:
    """Return where the second colour shows, float32 [M, S, S] in [0, 1]; kinds as in `words.TEXTURES`."""
    out = torch.zeros_like(p)
    for label, name in enumerate(words.TEXTURES):
        rows = (kind == label).nonzero(as_tuple=True)[0]
        if name == "plain" or len(rows) == 0:
            continue
        a, b, width = p[rows], q[rows], pixels[rows]
        if name == "stripes":
            tone = (_wave(b / 0.5 + 0.5) - 0.5) * (0.25 * width) + 0.5
        elif name == "checker":
            tone = (_wave(a / 0.9 + 0.25) * 2 - 1) * (_wave(b / 0.9 + 0.25) * 2 - 1) * (0.45 * width) + 0.5
        else:
            row = (b / 0.5).round()
            shift = (row - 2 * (row / 2).floor()) * 0.25
            da = a - shift - ((a - shift) / 0.5).round() * 0.5
            db = b - row * 0.5
            tone = (0.15 - (da * da + db * db).sqrt()) * width + 0.5
        out.index_copy_(0, rows, tone.clamp_(0, 1))
    return out


def _mark(kind: Tensor, p: Tensor, q: Tensor, pixels: Tensor) -> Tensor:
    """Return where the identity mark shows, float32 [M, S, S] in [0, 1]; kinds as in `words.MARKS`."""
    out = torch.zeros_like(p)
    for label, name in enumerate(words.MARKS):
        rows = (kind == label).nonzero(as_tuple=True)[0]
        if name == "none" or len(rows) == 0:
            continue
        a, b = p[rows], q[rows]
        if name == "spot":
            inside = 0.30 - (a * a + b * b).sqrt()
        elif name == "belt":
            inside = 0.16 - (b - 0.12).abs()
        elif name == "sash":
            inside = 0.15 - (a + b).abs() * 0.7071
        elif name == "cap":
            inside = -0.34 - b
        elif name == "eyes":
            inside = 0.19 - ((a.abs() - 0.27).square_() + (b - 0.08).square_()).sqrt_()
        else:
            inside = a - 0.10
        out.index_copy_(0, rows, (inside * pixels[rows]).add_(0.5).clamp_(0, 1))
    return out
