"""Selective search (Uijlings et al. 2013): boxes where something might be, by merging regions that look alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

Region = dict[str, Any]
"""What is known of a region: `size` (pixels), `box` (x1, y1, x2, y2), `colour` [75] and `texture` [240], sums 1."""

Similarity = Callable[[Region, Region, int], float]


def segments(image: Tensor, *, scale: float = 60.0, sigma: float = 0.7, smallest: int = 12) -> Tensor:
    """Return Felzenszwalb and Huttenlocher's segments of an image [3, H, W]: int64 [H, W], from 0 upwards."""
    from skimage.segmentation import felzenszwalb

    pixels = image.permute(1, 2, 0).double().numpy()
    found = felzenszwalb(pixels, scale=scale, sigma=sigma, min_size=smallest, channel_axis=-1)
    return torch.from_numpy(np.unique(found, return_inverse=True)[1].reshape(found.shape)).long()


def regions(image: Tensor, label_map: Tensor) -> list[Region]:
    """Describe every segment of an image [3, H, W] by size, box and histograms."""
    pixels, owner = image.double().numpy(), label_map.numpy()
    n = int(owner.max()) + 1
    size = np.bincount(owner.ravel(), minlength=n).tolist()
    colour = [_histograms(owner, np.minimum(channel * 25, 24).astype(int), 25, n) for channel in pixels]
    texture = [_histograms(owner, kind, 80, n) for kind in _texture_kinds(pixels)]
    places = np.indices(owner.shape)
    out = []
    for k in range(n):
        y, x = places[:, owner == k]
        out.append(
            {
                "size": size[k],
                "box": (int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1),
                "colour": _unit(np.concatenate([table[k] for table in colour])),
                "texture": _unit(np.concatenate([table[k] for table in texture])),
            }
        )
    return out


def _unit(counts: np.ndarray) -> Tensor:
    return torch.from_numpy(counts / max(counts.sum(), 1e-12))


def _histograms(owner: np.ndarray, kind: np.ndarray, kinds: int, n: int) -> np.ndarray:
    return np.bincount((owner * kinds + kind).ravel(), minlength=n * kinds).reshape(n, kinds).astype(float)


def _texture_kinds(pixels: np.ndarray) -> list[np.ndarray]:
    """Return the direction (8) and strength (10) of the smoothed gradient of each channel as one number 0 to 79."""
    from scipy.ndimage import gaussian_filter

    out = []
    for channel in pixels:
        gy, gx = (gaussian_filter(channel, 1.0, order=order) for order in ((1, 0), (0, 1)))
        turn = ((np.arctan2(gy, gx) / (2 * np.pi)) % 1.0 * 8).astype(int) % 8
        strength = np.minimum(np.hypot(gy, gx) * 20, 9).astype(int)
        out.append(turn * 10 + strength)
    return out


def joined(a: Region, b: Region) -> Region:
    """Return the union of two regions; its histograms follow from theirs, without looking at a pixel."""
    share = a["size"] / (a["size"] + b["size"])
    return {
        "size": a["size"] + b["size"],
        "box": (*map(min, a["box"][:2], b["box"][:2]), *map(max, a["box"][2:], b["box"][2:])),
        "colour": share * a["colour"] + (1 - share) * b["colour"],
        "texture": share * a["texture"] + (1 - share) * b["texture"],
    }


def alike(a: Region, b: Region, pixels: int) -> float:
    """Return the similarity of two regions: colour, texture, small sizes, and how well they fit into one box."""
    both = joined(a, b)["box"]
    room = (both[2] - both[0]) * (both[3] - both[1])
    common = sum(float(torch.min(a[key], b[key]).sum()) for key in ("colour", "texture"))
    return common + 2 - (room / pixels)


def neighbours(label_map: Tensor) -> set[tuple[int, int]]:
    """Return the pairs of segments that touch along a side of a pixel."""
    sides = [(label_map[:, :-1], label_map[:, 1:]), (label_map[:-1], label_map[1:])]
    pairs = torch.cat([torch.stack([a.flatten(), b.flatten()], 1) for a, b in sides])
    pairs = pairs[pairs[:, 0] != pairs[:, 1]].sort(dim=1).values.unique(dim=0)
    return {(int(a), int(b)) for a, b in pairs}


def selective_search(
    image: Tensor, label_map: Tensor | None = None, *, similarity: Similarity = alike, smallest: int = 6
) -> Tensor:
    """Merge the two most similar neighbours until one region is left; return the boxes of all regions there ever were.

    Args:
        image: [3, H, W] in [0, 1].
        label_map: int64 [H, W]; by default `segments(image)`.
        similarity: of two regions and the number of pixels of the image.
        smallest: boxes with a shorter side are left out.

    Returns:
        float32 [M, 4], the latest (largest) regions first, each box once. R segments that hang together give 2R - 1
        regions, and at most as many boxes.
    """
    label_map = segments(image) if label_map is None else label_map
    alive = dict(enumerate(regions(image, label_map)))
    pixels = label_map.numel()
    found = [region["box"] for region in alive.values()]
    near = {pair: similarity(alive[pair[0]], alive[pair[1]], pixels) for pair in sorted(neighbours(label_map))}
    while near:
        best = max(near, key=lambda pair: near[pair])
        new = max(alive) + 1
        touched = {k for pair in near if set(pair) & set(best) for k in pair} - set(best)
        alive[new] = joined(*(alive.pop(k) for k in best))
        found.append(alive[new]["box"])
        near = {pair: value for pair, value in near.items() if not set(pair) & set(best)}
        near |= {(k, new): similarity(alive[k], alive[new], pixels) for k in sorted(touched)}
    kept = dict.fromkeys(box for box in reversed(found) if min(box[2] - box[0], box[3] - box[1]) >= smallest)
    return torch.tensor(list(kept), dtype=torch.float32).reshape(-1, 4)
