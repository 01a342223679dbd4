"""Describe every shape by its signed distance: negative inside, positive outside, in units of the object's radius.

All shapes fit in the unit circle around their centre. Coordinates: p to the right, q downwards. Where corners meet the
value is a bound rather than the true Euclidean distance; near the outline, where it decides coverage, it is exact.
Formulas after Inigo Quilez, "2D distance functions".
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


def circle(p: Tensor, q: Tensor) -> Tensor:
    """Return the distance to a disc of radius 0.92."""
    return torch.addcmul(p * p, q, q).sqrt_().sub_(0.92)


def square(p: Tensor, q: Tensor) -> Tensor:
    """Return the distance to a square of half side 0.7."""
    return torch.maximum(p.abs(), q.abs()).sub_(0.70)


def triangle(p: Tensor, q: Tensor) -> Tensor:
    """Return the distance to an equilateral triangle with its tip up."""
    r = 0.98
    return torch.maximum(p.abs() * (math.sqrt(3) / 2) - q * 0.5, q).sub_(r / 2)


def star(p: Tensor, q: Tensor) -> Tensor:
    """Return the distance to a five-pointed star with one point up (tips at radius 1, notches at 0.45)."""
    tip, notch = 1.0, 0.45
    a, b = p.abs(), -q
    c, s = math.cos(math.pi / 5), math.sin(math.pi / 5)
    for side in (1, -1):
        over = torch.add(a * (side * c), b, alpha=-s).clamp_min_(0)
        a, b = torch.add(a, over, alpha=-2 * side * c), torch.add(b, over, alpha=2 * s)
    # after folding, the outline is the one segment from the tip to the notch
    ex, ey = notch * s, notch * c - tip
    length = math.hypot(ex, ey)
    return a.abs_().mul_(-ey / length).add_(b, alpha=ex / length).sub_(tip * ex / length)


def ring(p: Tensor, q: Tensor) -> Tensor:
    """Return the distance to a ring between radii 0.5 and 0.96."""
    return torch.addcmul(p * p, q, q).sqrt_().sub_(0.73).abs_().sub_(0.23)


def cross(p: Tensor, q: Tensor) -> Tensor:
    """Return the distance to an upright plus with arms of half width 0.27."""
    a, b = p.abs(), q.abs()
    long, short = torch.maximum(a, b), torch.minimum(a, b)
    return torch.maximum(long - 0.92, short - 0.27)


def heart(p: Tensor, q: Tensor) -> Tensor:
    """Return the distance to a heart: two discs above a pointed body."""
    a = p.abs()
    x, y, r, tip = 0.42, -0.31, 0.47, 0.95
    lobe = torch.addcmul((a - x).square_(), q - y, q - y).sqrt_().sub_(r)
    # n is the normal of the tangent from the lobe to the tip, (tx, ty) the point where it touches
    far = math.hypot(x, tip - y)
    along, aside = r / far, math.sqrt(1 - (r / far) ** 2)
    nx, ny = (aside * (tip - y) - along * x) / far, (along * (tip - y) + aside * x) / far
    tx, ty = x + r * nx, y + r * ny
    side = torch.add(a * nx, q, alpha=ny).sub_(ny * tip)
    # the body ends at a line from inside both lobes to the touching point
    length = math.hypot(tx, ty - y)
    lid = torch.add(a * ((ty - y) / length), q, alpha=-tx / length).add_(y * tx / length)
    return torch.minimum(lobe, torch.maximum(side, lid))


def arrow(p: Tensor, q: Tensor) -> Tensor:
    """Return the distance to an arrow that points to the right."""
    b = q.abs()
    shaft = torch.maximum(torch.maximum(-p - 0.92, p - 0.25), b - 0.27)
    k = 1 / math.hypot(0.80, 0.92)
    head = torch.maximum(0.04 - p, (p - 0.96) * (0.80 * k) + b * (0.92 * k))
    return torch.minimum(shaft, head)


def ellipse(p: Tensor, q: Tensor, width: Tensor | float, height: Tensor | float) -> Tensor:
    """Return about the distance to an ellipse with the given half axes; good near the outline, also for thin ones."""
    flat = ((p / width).square() + (q / height).square()).sqrt()
    slope = ((p / width**2).square() + (q / height**2).square()).sqrt().clamp(min=1e-6)
    return flat * (flat - 1) / slope


def moon(p: Tensor, q: Tensor) -> Tensor:
    """Return the distance to a crescent that opens to the right."""
    outer = torch.addcmul(p * p, q, q).sqrt_().sub_(0.94)
    inner = torch.addcmul((p - 0.42) ** 2, q, q).sqrt_().sub_(0.70)
    return torch.maximum(outer, -inner)


def drop(p: Tensor, q: Tensor) -> Tensor:
    """Return the distance to a drop with its tip up."""
    a = p.abs()
    bowl = torch.addcmul(a * a, q - 0.34, q - 0.34).sqrt_().sub_(0.60)
    turn = math.asin(0.60 / 1.32)
    side = a * math.cos(turn) - (q + 0.98) * math.sin(turn)
    roof = torch.maximum(side, q - 0.34 + 0.60 * math.sin(turn))
    return torch.minimum(bowl, roof)


def house(p: Tensor, q: Tensor) -> Tensor:
    """Return the distance to a house: a gable on a box."""
    a = p.abs()
    walls = torch.maximum(torch.maximum(a - 0.58, q - 0.78), -q - 0.30)
    k = 1 / math.hypot(0.88, 0.84)
    roof = torch.maximum(q + 0.08, a * (0.88 * k) - (q + 0.96) * (0.84 * k))
    return torch.minimum(walls, roof)


def leaf(p: Tensor, q: Tensor) -> Tensor:
    """Return the distance to a leaf: two arcs that meet in points left and right."""
    # arcs of radius R through (+-0.98, 0) with half height 0.5
    height, half = 0.50, 0.98
    radius = (height * height + half * half) / (2 * height)
    b = q.abs() + (radius - height)
    return torch.addcmul(p * p, b, b).sqrt_().sub_(radius)


DISTANCES: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    circle,
    square,
    triangle,
    star,
    ring,
    cross,
    heart,
    arrow,
    moon,
    drop,
    house,
    leaf,
)
"""The distance functions in the label order of `words.ALL_SHAPES`."""
