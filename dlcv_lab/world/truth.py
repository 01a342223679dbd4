"""Read the ground truth off scenes: masks, boxes, keypoints, labels, cut-outs and edges."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from . import words
from .rendering import check_canvas, layers, local_coordinates, render, signed_distance
from .sampling import generator
from .scene import Scene
from .styles import luma, stylise
from .words import WorldError

_CHUNK = 128
VOID = 255
"""The label of pixels that no score counts, as in PASCAL VOC."""


def distances(scene: Scene, size: int = 32) -> Tensor:
    """Return the signed distance of every object at every pixel centre, float32 [N, K, S, S] in pixels.

    Negative inside; absent objects are infinitely far.
    """
    check_canvas(size)
    out = torch.full((len(scene), scene.slots, size, size), torch.inf, device=scene.device)
    for k in range(scene.slots):
        rows = scene.present[:, k].nonzero(as_tuple=True)[0]
        if len(rows):
            part = scene[rows]
            slot = torch.full((len(rows), 1), k, device=scene.device)
            p, q = local_coordinates(part, slot, size)
            out[rows, k] = signed_distance(part.shape[:, k], p, q) * (part.size[:, k] * size)[:, None, None]
    return out


def object_masks(scene: Scene, size: int = 32, *, visible: bool = True) -> Tensor:
    """Return one mask an object, bool [N, K, S, S]: the pixels whose centre lies in it.

    With `visible` the part hidden by objects in front is left out; without, the whole silhouette comes (amodal).
    Masks are those of the flat picture; the style "swirl" moves outlines by a pixel or two.
    """
    if len(scene) > _CHUNK:
        parts = (scene[i : i + _CHUNK] for i in range(0, len(scene), _CHUNK))
        return torch.cat([object_masks(part, size, visible=visible) for part in parts])
    inside = distances(scene, size) < 0
    if not visible:
        return inside
    order = layers(scene)
    covered = torch.zeros_like(inside[:, 0])
    out = torch.zeros_like(inside)
    each = torch.arange(len(scene), device=scene.device)
    for step in reversed(range(scene.slots)):
        slot = order[:, step]
        own = inside[each, slot]
        out[each, slot] = own & ~covered
        covered |= own
    return out


def semantic_masks(scene: Scene, size: int = 32, *, void: bool = False) -> Tensor:
    """Return class maps, int64 [N, S, S]: 0 background, 1 + shape label on objects, and with `void` 255 on borders.

    A border pixel is one with a neighbour (of four) in another object or in the background.
    """
    owner = instance_masks(scene, size)
    table = torch.cat([torch.zeros_like(scene.shape[:, :1]), scene.shape + 1], 1)
    out = table.gather(1, owner.flatten(1)).view_as(owner)
    return torch.where(_borders(owner), VOID, out) if void else out


def instance_masks(scene: Scene, size: int = 32, *, void: bool = False) -> Tensor:
    """Return object maps, int64 [N, S, S]: 0 background, 1 + slot on the visible part of each object."""
    seen = object_masks(scene, size)
    number = torch.arange(1, scene.slots + 1, device=scene.device)
    owner = (seen * number[:, None, None]).sum(1)
    return torch.where(_borders(owner), VOID, owner) if void else owner


def _borders(owner: Tensor) -> Tensor:
    padded = F.pad(owner[:, None].float(), (1, 1, 1, 1), mode="replicate")[:, 0].long()
    middle = padded[:, 1:-1, 1:-1]
    out = middle != padded[:, :-2, 1:-1]
    for shifted in (padded[:, 2:, 1:-1], padded[:, 1:-1, :-2], padded[:, 1:-1, 2:]):
        out |= middle != shifted
    return out


def mask_boxes(masks: Tensor) -> Tensor:
    """Return the tight boxes of masks, float32 [..., 4] as x1, y1, x2, y2 in pixels, for bool [..., S, S].

    Coordinates are continuous: the area is (x2 - x1)(y2 - y1), and one pixel has width 1. Empty masks give zeros.
    """
    size = masks.shape[-1]
    ends = []
    for dim in (-2, -1):
        line = masks.any(dim)
        first = line.int().argmax(-1)
        last = size - line.flip(-1).int().argmax(-1)
        ends.append((first, last))
    (x1, x2), (y1, y2) = ends
    box = torch.stack([x1, y1, x2, y2], -1).float()
    return box * masks.any(-1).any(-1)[..., None]


def boxes(scene: Scene, size: int = 32, *, visible: bool = True) -> Tensor:
    """Return each object's tight box, float32 [N, K, 4] as x1, y1, x2, y2 in pixels; zeros where there is no object."""
    return mask_boxes(object_masks(scene, size, visible=visible))


def targets(scene: Scene, size: int = 32) -> list[dict[str, Tensor]]:
    """Return torchvision's detection targets, a dictionary per scene.

    Keys: "boxes" float32 [M, 4], "labels" int64 [M] (1 + shape label; 0 is background), "masks" uint8 [M, S, S], for
    the M objects of which something can be seen; M = 0 for a scene without objects.
    """
    seen = object_masks(scene, size)
    box = mask_boxes(seen)
    out = []
    for i in range(len(scene)):
        keep = seen[i].flatten(1).any(1)
        out.append({"boxes": box[i, keep], "labels": scene.shape[i, keep] + 1, "masks": seen[i, keep].to(torch.uint8)})
    return out


def area_fraction(scene: Scene, size: int = 32) -> Tensor:
    """Return the share of the canvas that each object visibly covers, float32 [N, K]."""
    return object_masks(scene, size).float().mean((-2, -1))


def keypoints(scene: Scene, size: int = 32) -> Tensor:
    """Return five points of every object, float32 [N, K, 5, 3] as x, y (pixels) and 1 if present and on the canvas.

    In the object's own frame: centre, top, right, bottom and left of the unit circle, turned with the object.
    """
    frame = torch.tensor([[0.0, 0.0], [0.0, -1.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], device=scene.device)
    c, s = scene.rotation.cos(), scene.rotation.sin()
    p, q = frame[:, 0], frame[:, 1]
    x = scene.x[..., None] + scene.size[..., None] * (c[..., None] * p - s[..., None] * q)
    y = scene.y[..., None] + scene.size[..., None] * (s[..., None] * p + c[..., None] * q)
    seen = scene.present[..., None] & (x >= 0) & (x <= 1) & (y >= 0) & (y <= 1)
    return torch.stack([x * size, y * size, seen.float()], -1)


def multi_label(scene: Scene, kind: str = "shape") -> Tensor:
    """Return which values of an attribute occur in a scene, float32 [N, C] of zeros and ones.

    `kind` is "shape" (C = 12, novel shapes included), "colour", "texture" or "mark".
    """
    if kind not in ("shape", "colour", "texture", "mark"):
        raise WorldError(f'Multi-labels are of "shape", "colour", "texture" or "mark"; got {kind!r}.')
    out = torch.zeros(len(scene), len(words.names(kind)), device=scene.device)
    return out.scatter_add_(1, getattr(scene, kind), scene.present.float()).clamp_(max=1)


def size_label(scene: Scene) -> Tensor:
    """Return the size word of each object as a label of `words.SIZES`, int64 [N, K]."""
    return (scene.size >= 0.17).long() + (scene.size >= 0.2375).long()


def brightness(images: Tensor) -> Tensor:
    """Return the mean Rec. 601 luma of each image, float32 [N] in [0, 1]."""
    return luma(images).mean((1, 2, 3))


def colourfulness(images: Tensor) -> Tensor:
    """Return Hasler and Suesstrunk's (2003) colourfulness of images, float32 [N], divided by 109, at most 1."""
    r, g, b = (images * 255).unbind(1)
    rg, yb = r - g, 0.5 * (r + g) - b
    spread = (rg.var((1, 2), correction=0) + yb.var((1, 2), correction=0)).sqrt()
    mean = (rg.mean((1, 2)).square() + yb.mean((1, 2)).square()).sqrt()
    return ((spread + 0.3 * mean) / 109).clamp(max=1)


def cutouts(scene: Scene, size: int = 64) -> tuple[Tensor, Tensor]:
    """Return scenes as pictures to paste: colours float32 [N, 3, S, S] and alpha float32 [N, 1, S, S] in [0, 1].

    Only the objects are opaque; edges are half transparent over one pixel.
    """
    alpha = (0.5 - distances(scene, size)).clamp(0, 1).amax(1, keepdim=True)
    bare = scene.replace(background="plain", ground="white", style="flat")
    return render(bare, size), alpha


def edge_map(scene: Scene, size: int = 32) -> Tensor:
    """Return the outlines of the visible objects, float32 [N, 1, S, S] of zeros and ones."""
    return _borders(instance_masks(scene, size))[:, None].float()


def strokes(scene: Scene, seed: torch.Generator | int, size: int = 32) -> Tensor:
    """Return a rough hand-made sketch of the scene in flat colours, float32 [N, 3, S, S]: where SDEdit starts.

    Objects are shaky blobs a little off their place, without texture, mark or background pattern.
    """
    gen = generator(seed)
    wobble = 0.02 * torch.randn(2, *scene.x.shape, generator=gen).to(scene.device)
    rough = scene.replace(
        texture="plain", mark="none", background="plain", style="flat", x=scene.x + wobble[0], y=scene.y + wobble[1]
    )
    return stylise(render(rough, size), "swirl", scene.seed).mul(10).round().div(10)
