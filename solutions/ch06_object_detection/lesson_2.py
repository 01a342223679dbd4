"""Regions: selective search, box coding, RoI pooling and alignment, the losses of R-CNN, Fast and Faster R-CNN.

Notebook 2 of chapter 6. Boxes are (x1, y1, x2, y2) in continuous coordinates; labels of proposals are 0 for background
and 1 + class for objects. M proposals, A anchors, G true boxes, K classes.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torchvision import ops


def region_similarity(a: dict, b: dict, pixels: int) -> float:
    """Return how much two regions look as if they belonged together (selective search).

    A region is a dictionary: "size", its number of pixels; "box", (x1, y1, x2, y2) with
    the area (x2 - x1) * (y2 - y1); "colour" and "texture", histograms, tensors of one
    axis. `pixels` is the number of pixels of the picture.

    The similarity is a sum of four, each with weight 1: the sum of the smaller entries
    of the two colour histograms; the same for texture; size, 1 - (size of a + size of
    b) / pixels; fill, 1 - (area of the box around both - size of a - size of b) /
    pixels.
    """
    ### BEGIN SOLUTION
    colour = torch.minimum(a["colour"], b["colour"]).sum()
    texture = torch.minimum(a["texture"], b["texture"]).sum()
    sizes = a["size"] + b["size"]
    x1, y1 = min(a["box"][0], b["box"][0]), min(a["box"][1], b["box"][1])
    x2, y2 = max(a["box"][2], b["box"][2]), max(a["box"][3], b["box"][3])
    size = 1 - sizes / pixels
    fill = 1 - ((x2 - x1) * (y2 - y1) - sizes) / pixels
    return float(colour + texture + size + fill)
    ### END SOLUTION


def encode_boxes(
    truth: Float[Tensor, "M 4"],
    proposals: Float[Tensor, "M 4"],
    weights: tuple = (1.0, 1.0, 1.0, 1.0),
) -> Float[Tensor, "M 4"]:
    """Return the targets that move each proposal to its true box, row by row.

    Both are (x1, y1, x2, y2). With centres x, y and sides w, h: tx = (x of the truth -
    x of the proposal) / w of the proposal, ty likewise with h; tw = log(w of the truth
    / w of the proposal), th likewise. Each of the four columns is then multiplied by
    its entry of `weights`. M may be 0.
    """
    ### BEGIN SOLUTION
    t = ops.box_convert(truth, "xyxy", "cxcywh")
    p = ops.box_convert(proposals, "xyxy", "cxcywh")
    shift = (t[:, :2] - p[:, :2]) / p[:, 2:]
    stretch = torch.log(t[:, 2:] / p[:, 2:])
    return torch.cat([shift, stretch], dim=1) * shift.new_tensor(weights)
    ### END SOLUTION


def decode_boxes(
    deltas: Float[Tensor, "M 4"],
    proposals: Float[Tensor, "M 4"],
    weights: tuple = (1.0, 1.0, 1.0, 1.0),
) -> Float[Tensor, "M 4"]:
    """Move proposals by predicted deltas: the inverse of `encode_boxes`.

    Divide the columns by `weights` first. A stretch (the last two) above log(1000 / 16)
    counts as log(1000 / 16), so that no exponential overflows. Returns (x1, y1, x2,
    y2).
    """
    ### BEGIN SOLUTION
    d = deltas / deltas.new_tensor(weights)
    p = ops.box_convert(proposals, "xyxy", "cxcywh")
    centre = p[:, :2] + d[:, :2] * p[:, 2:]
    sides = p[:, 2:] * d[:, 2:].clamp(max=math.log(1000 / 16)).exp()
    return torch.cat([centre - sides / 2, centre + sides / 2], dim=1)
    ### END SOLUTION


def roi_pool(
    maps: Float[Tensor, "C H W"],
    box: Float[Tensor, "4"],
    out: int,
    scale: float,
) -> Tensor:
    """Cut a box out of a feature map, and keep the maximum of each of out x out bins.

    The corners are ROUNDED to whole cells of the map and the last cell belongs to the
    box (Girshick 2015); bins overlap where the box is no multiple of them. An empty bin
    is 0.
    """
    x1, y1, x2, y2 = ((box.double() * scale).abs() + 0.5).floor().mul(box.sign()).int().tolist()
    w, h = max(x2 - x1 + 1, 1), max(y2 - y1 + 1, 1)
    pooled = maps.new_zeros(len(maps), out, out)
    for i in range(out):
        top, bottom = y1 + i * h // out, y1 - (-(i + 1) * h // out)
        for j in range(out):
            left, right = x1 + j * w // out, x1 - (-(j + 1) * w // out)
            bin_ = maps[:, max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
            if bin_.numel():
                pooled[:, i, j] = bin_.amax((1, 2))
    return pooled


def bilinear(
    maps: Float[Tensor, "C H W"],
    y: Float[Tensor, "P"],
    x: Float[Tensor, "P"],
) -> Tensor:
    """Read a feature map between its cells: (C, P).

    Cell (row i, column j) lies at y = i, x = j. Up to one cell outside, the value at
    the border counts; farther away it is 0.
    """
    H, W = maps.shape[1:]
    near = (y >= -1) & (y <= H) & (x >= -1) & (x <= W)
    y, x = y.clamp(0, H - 1), x.clamp(0, W - 1)
    top, left = y.floor().long(), x.floor().long()
    bottom, right = (top + 1).clamp(max=H - 1), (left + 1).clamp(max=W - 1)
    v, u = y - top, x - left
    upper = maps[:, top, left] * (1 - u) + maps[:, top, right] * u
    lower = maps[:, bottom, left] * (1 - u) + maps[:, bottom, right] * u
    return (upper * (1 - v) + lower * v) * near


def roi_align(
    maps: Float[Tensor, "C H W"],
    boxes: Float[Tensor, "M 4"],
    out: int,
    scale: float,
    samples: int = 2,
) -> Float[Tensor, "M C out out"]:
    """Cut boxes out of a feature map without rounding anything.

    A box (x1, y1, x2, y2), in pixels of the picture, lies at x * scale - 1/2 on the map
    (likewise y): the centre of cell 0 is at pixel 1 / (2 scale). Divide it into out x
    out bins. In every bin, read the map with the given `bilinear(maps, y, x)` at
    samples x samples points, in the middles of as many equal parts: at start + (j + (i
    + 1/2) / samples) * bin width for bin j and sample i. A bin is the mean of its
    points. M may be 0. No corner is rounded, so the result depends smoothly on the box.
    """
    ### BEGIN SOLUTION
    fine = (torch.arange(out * samples, dtype=maps.dtype) + 0.5) / samples  # in bins
    pooled = [maps.new_zeros(0, len(maps), out, out)]
    for box in boxes:
        x1, y1, x2, y2 = box * scale - 0.5
        x = x1 + fine * (x2 - x1) / out
        y = y1 + fine * (y2 - y1) / out
        grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
        values = bilinear(maps, grid_y.flatten(), grid_x.flatten())
        values = values.reshape(len(maps), out, samples, out, samples)
        pooled.append(values.mean(dim=(2, 4))[None])
    return torch.cat(pooled)
    ### END SOLUTION


def label_proposals(
    proposals: Float[Tensor, "M 4"],
    truth: Float[Tensor, "G 4"],
    labels: Int[Tensor, "G"],
    *,
    least: float = 0.5,
) -> tuple[Tensor, Tensor]:
    """Give each proposal a label (0: background, 1 + class) and the box to become.

    A proposal belongs to the object it overlaps most, if that IoU is at least `least`.
    """
    if len(truth) == 0:
        return torch.zeros(len(proposals), dtype=torch.int64), proposals.clone()
    best, which = ops.box_iou(proposals, truth).max(dim=1)
    return torch.where(best >= least, labels[which] + 1, 0), truth[which]


def sample_proposals(
    labels: Int[Tensor, "M"],
    size: int,
    rng: torch.Generator,
    *,
    objects: float = 0.25,
) -> Int[Tensor, "B"]:
    """Choose at most `size` proposals, at most a quarter of them objects."""
    order = torch.randperm(len(labels), generator=rng)
    positive = order[labels[order] > 0][: int(objects * size)]
    negative = order[labels[order] == 0][: size - len(positive)]
    return torch.cat([positive, negative])


def fast_rcnn_loss(
    logits: Float[Tensor, "M K1"],
    deltas: Float[Tensor, "M K4"],
    labels: Int[Tensor, "M"],
    targets: Float[Tensor, "M 4"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return the two losses of a detection head on M proposals.

    `logits` (M, K + 1) has class 0 for background, `labels` are 0 to K. `deltas` (M, 4
    (K + 1)) holds four numbers for every class, class after class; `targets` are what
    encode_boxes gives for the true boxes.

    Returns:
        (classification, boxes), without axes. Classification: mean cross-entropy over
        all M. Boxes: smooth L1 with beta = 1 (d^2 / 2 where |d| < 1, else |d| - 1/2) of
        the four numbers of the TRUE class against the targets, summed over the
        proposals that are no background, divided by M (all of them). Without such
        proposals the second is 0, and a backward pass works. M is at least 1.
    """
    ### BEGIN SOLUTION
    classification = F.cross_entropy(logits, labels)
    own = deltas.reshape(len(deltas), -1, 4)
    objects = labels > 0
    d = own[objects, labels[objects]] - targets[objects]
    size = d.abs()
    smooth = torch.where(size < 1, d**2 / 2, size - 0.5)
    return classification, smooth.sum() / len(labels)
    ### END SOLUTION


def assign_anchors(
    anchors: Float[Tensor, "A 4"],
    truth: Float[Tensor, "G 4"],
    high: float = 0.7,
    low: float = 0.3,
) -> Int[Tensor, "A"]:
    """Say which object each anchor of a region proposal network should find.

    The IoU of an anchor is that with the true box it overlaps most (the first of
    equals). At least `high`: it belongs to this box. Below `low`: it is background.
    In between: it does not count. In addition, the anchors whose IoU with a true box is
    the largest that ANY anchor reaches with it (all of them, if equal) are never
    background and always count: they belong to the true box that they overlap most.
    IoU by ops.box_iou. G may be 0: then all is background.

    Returns:
        int64 (A,): the index of the true box, or -1 for background, or -2 for "does not
        count".
    """
    ### BEGIN SOLUTION
    if len(truth) == 0:
        return torch.full((len(anchors),), -1, dtype=torch.int64)
    iou = ops.box_iou(anchors, truth)  # (A, G)
    best, which = iou.max(dim=1)
    answer = torch.full_like(which, -2)
    answer[best < low] = -1
    keep = (best >= high) | (iou == iou.amax(dim=0)).any(dim=1)
    answer[keep] = which[keep]
    return answer
    ### END SOLUTION


def rpn_loss(
    objectness: Float[Tensor, "A"],
    deltas: Float[Tensor, "A 4"],
    anchors: Float[Tensor, "A 4"],
    truth: Float[Tensor, "G 4"],
    sampled: Int[Tensor, "B"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return the losses of a region proposal network on sampled anchors of one picture.

    Objectness is a binary cross-entropy, the boxes a smooth L1 (beta 1/9) over the
    anchors that belong to an object; both are divided by the number of sampled anchors.
    """
    assigned = assign_anchors(anchors, truth)[sampled]
    object_ = assigned >= 0
    score = F.binary_cross_entropy_with_logits(
        objectness[sampled],
        object_.to(objectness.dtype),
    )
    mine = sampled[object_]
    if len(mine) == 0:
        return score, 0 * deltas.sum()
    targets = encode_boxes(truth[assigned[object_]], anchors[mine])
    return score, F.smooth_l1_loss(deltas[mine], targets, beta=1 / 9, reduction="sum") / len(sampled)


def faster_rcnn_losses(
    model,
    images: Tensor,
    boxes: list,
    labels: list,
    rng: torch.Generator,
) -> dict:
    """Return the four losses of Faster R-CNN on a batch; their sum trains both stages.

    The proposals are taken as they come: no gradient flows through their coordinates.
    The true boxes join them, so that the head always sees objects.
    """
    maps = model.backbone(images)
    objectness, shifts = model.propose(maps)
    proposals = [torch.cat([p, b]) for p, b in zip(model.proposals(objectness, shifts), boxes)]
    total = {"objectness": 0.0, "anchors": 0.0}
    chosen, wanted, targets = [], [], []
    for n, truth in enumerate(boxes):
        assigned = assign_anchors(model.anchors, truth)
        kind = torch.where(assigned >= 0, 1, assigned + 1)  # -1: does not count
        sampled = sample_proposals(kind, 64, rng, objects=0.5)
        parts = rpn_loss(objectness[n], shifts[n], model.anchors, truth, sampled)
        total = {name: total[name] + part / len(boxes) for name, part in zip(total, parts)}
        label, goal = label_proposals(proposals[n], truth, labels[n])
        take = sample_proposals(label, 32, rng)
        chosen.append(proposals[n][take])
        wanted.append(label[take])
        targets.append(encode_boxes(goal[take], proposals[n][take], (10, 10, 5, 5)))
    answer = model.head(model.pool(maps, chosen))
    head = fast_rcnn_loss(*answer, torch.cat(wanted), torch.cat(targets))
    return total | {"classes": head[0], "boxes": head[1]}
