"""Draw smileys: eight emotions from brows, eyes and mouth, with glasses, colours and movable parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from . import words
from .rendering import check_canvas
from .sampling import choose, generator
from .shapes import ellipse
from .words import WorldError

FEATURES = ("curve", "open", "width", "skew", "brow_height", "brow_slope", "brow_skew", "lid", "pupil", "tear")
"""What an expression is made of: mouth curvature (up > 0), opening, width, tilt; brow height, slope (angry > 0) and
difference between sides; how wide the eyes are open; pupil size; tear."""

_EXPRESSIONS = {
    #               curve open  width skew  b_h   b_sl  b_sk  lid   pupil tear
    "amusement": (0.95, 0.75, 0.95, 0.00, 0.45, 0.00, 0.00, 0.02, 0.50, 0.00),
    "anger": (-0.65, 0.00, 0.75, 0.00, -0.65, 0.95, 0.00, 0.60, 0.55, 0.00),
    "awe": (0.10, 1.00, 0.30, 0.00, 1.00, 0.00, 0.00, 1.00, 0.90, 0.00),
    "contentment": (0.60, 0.00, 0.60, 0.00, 0.15, 0.00, 0.00, 0.00, 0.50, 0.00),
    "disgust": (-0.50, 0.10, 0.60, 0.85, -0.30, 0.35, 0.90, 0.38, 0.45, 0.00),
    "excitement": (0.85, 1.00, 1.00, 0.00, 0.95, 0.00, 0.00, 1.00, 0.55, 0.00),
    "fear": (-0.60, 0.65, 0.75, 0.00, 0.75, -0.90, 0.00, 1.00, 0.28, 0.00),
    "sadness": (-0.85, 0.00, 0.65, 0.00, 0.10, -1.00, 0.00, 0.55, 0.60, 1.00),
}
SKIN_HEX = ("#F6C544", "#F0942B", "#E58E8E", "#8FCB6E", "#7FC4E8", "#C79BDD", "#F3E3C3", "#A5744A")
SKINS = ("yellow", "orange", "red", "green", "cyan", "purple", "white", "brown")


@dataclass(frozen=True)
class Faces:
    """N smileys: `emotion`, `skin`, `ground` int64 [N]; `glasses` bool [N]; `x`, `y`, `size` (radius) float32 [N].

    Lengths are canvas widths. `features` float32 [N, 10] (order of `FEATURES`) decides the expression; `shift` float32
    [N, 3, 2] moves left eye, right eye and mouth out of their place, in radii; `light` and `vivid` float32 [N] scale
    brightness and saturation (1 = as is).
    """

    emotion: Tensor
    skin: Tensor
    ground: Tensor
    glasses: Tensor
    x: Tensor
    y: Tensor
    size: Tensor
    features: Tensor
    shift: Tensor
    light: Tensor
    vivid: Tensor

    def __len__(self) -> int:
        return len(self.emotion)

    def __getitem__(self, index: Any) -> Faces:
        if isinstance(index, int):
            index = slice(index, index + 1 or None)
        return Faces(*(getattr(self, f.name)[index] for f in fields(self)))

    def to(self, device: torch.device | str) -> Faces:
        """Return the same faces on another device."""
        return Faces(*(getattr(self, f.name).to(device) for f in fields(self)))

    def replace(self, **changes: Any) -> Faces:
        """Return a copy with fields replaced by tensors, or by one number or emotion word for all."""
        ready = {}
        for name, value in changes.items():
            old = getattr(self, name)
            if name == "emotion" and isinstance(value, str):
                value = words.label("emotion", value)
                ready["features"] = expression(words.EMOTIONS[value]).expand_as(self.features).clone()
            ready[name] = torch.as_tensor(value).to(old).expand_as(old).clone()
        return replace(self, **ready)


def expression(emotion: str) -> Tensor:
    """Return the features of the typical face of an emotion, float32 [10]."""
    return torch.tensor(_EXPRESSIONS[words.EMOTIONS[words.label("emotion", emotion)]])


def sample_faces(
    n: int,
    seed: torch.Generator | int,
    *,
    emotions: Sequence[str] = words.EMOTIONS,
    skins: Sequence[str] = SKINS[:1],
    grounds: Sequence[str] = words.GROUNDS,
    glasses: float = 0.0,
    position: str = "centre",
    spread: float = 0.08,
    jitter: float = 0.0,
    sizes: tuple[float, float] = (0.36, 0.44),
) -> Faces:
    """Draw n smileys.

    Args:
        n: number of faces.
        seed: CPU generator or int.
        emotions, skins, grounds: allowed words (skins: one of `SKINS`).
        glasses: share of faces with glasses.
        position: "centre" or "free" (anywhere on the canvas).
        spread: how much faces of one emotion differ (standard deviation of the features).
        jitter: how far eyes and mouth are moved, up to this many radii (for part models).
        sizes: (least, most) radius in canvas widths.

    Raises:
        WorldError: for an unknown word, a share outside 0 to 1, or sizes that do not fit.
    """
    gen = generator(seed)
    if not 0 < sizes[0] <= sizes[1] <= 0.5 or not 0 <= glasses <= 1 or position not in ("centre", "free"):
        raise WorldError('Faces have 0 < radius <= 0.5, a share of glasses from 0 to 1, position "centre" or "free".')
    if unknown := set(skins) - set(SKINS):
        raise WorldError(f"{sorted(unknown)[0]!r} is no skin; skins are: {', '.join(SKINS)}.")
    emotion = choose(words.labels("emotion", emotions), (n,), gen)
    table = torch.stack([expression(name) for name in words.EMOTIONS])
    noise = torch.randn(n, len(FEATURES), generator=gen) * spread
    noise[:, FEATURES.index("tear")] = 0
    size = sizes[0] + (sizes[1] - sizes[0]) * torch.rand(n, generator=gen)
    at = torch.rand(n, 2, generator=gen)
    room = (0.5 - size)[:, None] if position == "free" else torch.full((n, 1), 0.02)
    at = 0.5 + (2 * at - 1) * room
    return Faces(
        emotion=emotion,
        skin=choose(torch.tensor([SKINS.index(s) for s in skins]), (n,), gen),
        ground=choose(words.labels("ground", grounds), (n,), gen),
        glasses=torch.rand(n, generator=gen) < glasses,
        x=at[:, 0].contiguous(),
        y=at[:, 1].contiguous(),
        size=size,
        features=table[emotion] + noise,
        shift=jitter * (2 * torch.rand(n, 3, 2, generator=gen) - 1),
        light=torch.ones(n),
        vivid=torch.ones(n),
    )


def part_centres(faces: Faces, size: int = 32) -> Tensor:
    """Return the centres of left eye, right eye and mouth, float32 [N, 3, 2] as x, y in pixels."""
    home = torch.tensor([[-0.36, -0.14], [0.36, -0.14], [0.0, 0.42]], device=faces.x.device)
    centre = torch.stack([faces.x, faces.y], -1)[:, None]
    return (centre + (home + faces.shift) * faces.size[:, None, None]) * size


def face_boxes(faces: Faces, size: int = 32) -> Tensor:
    """Return the boxes of the faces, float32 [N, 4] as x1, y1, x2, y2 in pixels, clipped to the canvas."""
    low = torch.stack([faces.x - faces.size, faces.y - faces.size], -1)
    high = torch.stack([faces.x + faces.size, faces.y + faces.size], -1)
    return (torch.cat([low, high], -1) * size).clamp(0, size)


def render_faces(faces: Faces, size: int = 32, onto: Tensor | None = None) -> Tensor:
    """Return the images, float32 [N, 3, size, size] in [0, 1]; `onto` gives pictures to draw the faces upon.

    Raises WorldError for a canvas outside 8 to 512 pixels, or pictures of another shape.
    """
    check_canvas(size)
    n = len(faces)
    if onto is not None and tuple(onto.shape) != (n, 3, size, size):
        raise WorldError(f"Faces are drawn onto images [{n}, 3, {size}, {size}]; got {tuple(onto.shape)}.")
    parts = []
    for start in range(0, n, 256):
        stop = min(n, start + 256)
        parts.append(_draw(faces[start:stop], size, None if onto is None else onto[start:stop]))
    return torch.cat(parts) if parts else torch.zeros(0, 3, size, size)


def _draw(faces: Faces, size: int, onto: Tensor | None) -> Tensor:
    device = faces.x.device
    axis = (torch.arange(size, device=device) + 0.5) / size
    radius = faces.size[:, None, None]
    p = ((axis[None, None, :] - faces.x[:, None, None]) / radius).expand(-1, size, size)
    q = ((axis[None, :, None] - faces.y[:, None, None]) / radius).expand(-1, size, size)
    pixels = radius * size
    rgb = torch.tensor([[int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)] for code in SKIN_HEX], device=device)
    skin = rgb[faces.skin][:, :, None, None]
    image = words.ground_rgb().to(device)[faces.ground][:, :, None, None].expand(-1, 3, size, size)
    image = image.clone() if onto is None else onto.clone()

    def cover(distance: Tensor) -> Tensor:
        return (0.5 - distance * pixels).clamp(0, 1)[:, None]

    def paint(image: Tensor, alpha: Tensor, colour: Tensor | Sequence[float]) -> Tensor:
        value = colour if isinstance(colour, Tensor) else image.new_tensor(colour)[:, None, None]
        return image + alpha * (value - image)

    head = (p * p + q * q).sqrt() - 0.97
    image = paint(image, cover(head), skin * (1 - 0.30 * (head * 7 + 1).clamp(0, 1)[:, None]))
    part = {name: faces.features[:, i, None, None] for i, name in enumerate(FEATURES)}
    ink = (0.16, 0.10, 0.08)
    for side, eye in ((-1.0, 0), (1.0, 1)):
        a = p - 0.36 * side - faces.shift[:, eye, 0, None, None]
        b = q + 0.14 - faces.shift[:, eye, 1, None, None]
        image = _eye(image, a, b, side, part, cover, paint, ink)
        if bool(faces.glasses.any()):
            frame = ((a * a + b * b).sqrt() - 0.29).abs() - 0.055
            bridge = torch.maximum(b.abs() - 0.05, (a * side + 0.36).abs() - 0.10)
            image = paint(
                image, cover(torch.minimum(frame, bridge)) * faces.glasses[:, None, None, None], (0.05, 0.05, 0.10)
            )
    image = _mouth(
        image,
        p - faces.shift[:, 2, 0, None, None],
        q - 0.42 - faces.shift[:, 2, 1, None, None],
        part,
        cover,
        paint,
        ink,
    )
    grey = (image * image.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    image = grey + (image - grey) * faces.vivid[:, None, None, None]
    return (image * faces.light[:, None, None, None]).clamp(0, 1)


def _eye(
    image: Tensor, a: Tensor, b: Tensor, side: float, part: dict[str, Tensor], cover: Any, paint: Any, ink: Any
) -> Tensor:
    lid = part["lid"].clamp(0, 1)
    height = 0.21 * lid + 0.001
    white = ellipse(a, b, 0.19, height)
    shut = lid < 0.25
    # a shut eye is an arc: it bends up when amused, down when content
    bend = torch.where(part["curve"] > 0.78, -1.0, 1.0) * 0.10
    arc = torch.maximum((b - bend * (1 - (a / 0.19).square())).abs() - 0.055, a.abs() - 0.20)
    open_eye = cover(white) * ~shut[:, None]
    image = paint(image, cover(white - 0.045) * ~shut[:, None], ink)
    image = paint(image, open_eye, (1.0, 1.0, 1.0))
    pupil = (a * a + b * b).sqrt() - (0.045 + 0.11 * part["pupil"].clamp(0, 1))
    image = paint(image, torch.minimum(cover(pupil), open_eye), ink)
    image = paint(image, cover(arc) * shut[:, None], ink)
    rise = part["brow_height"] * 0.13 + part["brow_skew"] * 0.14 * side
    line = b + 0.34 + rise + part["brow_slope"] * 0.45 * a * side
    brow = torch.maximum(line.abs() - 0.055, a.abs() - 0.23)
    image = paint(image, cover(brow), ink)
    if side > 0:
        drop = ellipse(a - 0.05, b - 0.34, 0.10, 0.15)
        image = paint(image, cover(drop) * (part["tear"][:, None] > 0.5), (0.25, 0.55, 0.95))
    return image


def _mouth(image: Tensor, a: Tensor, b: Tensor, part: dict[str, Tensor], cover: Any, paint: Any, ink: Any) -> Tensor:
    half = 0.20 + 0.33 * part["width"].clamp(0, 1.2)
    t = (a / half).clamp(-1, 1)
    # the lips: a parabola that bends with the mood and tilts with disgust; the opening hangs between them
    middle = part["curve"] * 0.24 * (0.5 - t.square()) + part["skew"] * (0.16 * t + 0.07 * torch.sin(t * 6))
    gape = part["open"].clamp(0, 1.2) * 0.27 * (1 - t.square()).clamp(min=0).sqrt()
    lower, upper = (
        middle + gape * torch.where(part["curve"] > 0.4, 1.1, 0.9),
        middle - gape * torch.where(part["curve"] > 0.4, 0.15, 0.9),
    )
    inside = torch.maximum(torch.maximum(b - lower, upper - b), a.abs() - half)
    image = paint(image, cover(inside - 0.055), ink)
    image = paint(image, cover(inside + 0.02) * (part["open"][:, None] > 0.3), (0.55, 0.12, 0.14))
    teeth = torch.maximum(inside + 0.03, b - upper - 0.10)
    return paint(image, cover(teeth) * ((part["open"] > 0.3) & (part["curve"] > 0.4))[:, None], (1.0, 1.0, 1.0))
