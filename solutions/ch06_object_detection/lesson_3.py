"""One look: YOLO's grid, SSD's default boxes, and the race.

Notebook 3 of chapter 6. N pictures, S x S cells of B boxes, P default boxes, G true boxes, K classes.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torchvision import ops


def yolo_encode(
    boxes: Float[Tensor, "G 4"],
    labels: Int[Tensor, "G"],
    S: int,
    K: int,
) -> Tensor:
    """Write the objects of one picture into a grid (S, S, 5 + K).

    A cell holds: object or none, x, y, w, h, classes. `boxes` are x1, y1, x2, y2 in [0,
    1]. The cell that holds a centre is responsible; x, y are the place of the centre in
    the cell, w, h shares of the picture. A second object in the same cell is lost.
    """
    grid = torch.zeros(S, S, 5 + K)
    for (cx, cy, w, h), label in zip(
        ops.box_convert(boxes, "xyxy", "cxcywh").tolist(),
        labels.tolist(),
    ):
        column, row = min(int(cx * S), S - 1), min(int(cy * S), S - 1)
        if grid[row, column, 0] == 0:
            grid[row, column, :5] = torch.tensor(
                [1, cx * S - column, cy * S - row, w, h],
            )
            grid[row, column, 5 + label] = 1
    return grid


def yolo_loss(
    pred: Float[Tensor, "N S S D"],
    target: Float[Tensor, "N S S T"],
    B: int = 2,
    coord: float = 5.0,
    noobj: float = 0.5,
) -> Float[Tensor, ""]:
    """Return YOLO v1's loss: one sum of squares, divided by the number of pictures.

    pred[n, row, column] holds B times (x, y, rw, rh, c), then K class scores; the sides
    of a box are w = rw^2 and h = rh^2. target[n, row, column] holds (1 if the cell has
    an object else 0, x, y, w, h), then K numbers, 1 at the class. x, y are places in
    the cell (so in pictures they are x / S from its edge), w, h shares of the picture.

    In a cell with an object, the box with the larger IoU (the first of equals) is
    responsible. The loss sums:
      coord * [(x - x')^2 + (y - y')^2 + (rw - sqrt w')^2 + (rh - sqrt h')^2] and (c -
        IoU)^2 of every responsible box, where its IoU counts as a constant;
      noobj * c^2 of all other boxes, also the others of a cell with an object;
      (class score - target)^2 over the K classes of every cell with an object.
    """
    ### BEGIN SOLUTION
    N, S = pred.shape[:2]
    box = pred[..., : 5 * B].reshape(N, S, S, B, 5)
    here = target[..., 0] == 1  # (N, S, S)
    mine, true = box[here], target[here]  # (M, B, 5), (M, 5 + K)
    with torch.no_grad():
        pixels = mine[..., :4].clone()
        pixels[..., :2] /= S
        pixels[..., 2:] **= 2
        wanted = true[:, None, 1:5].clone()
        wanted[..., :2] /= S
        iou = pair_iou(pixels, wanted)  # (M, B)
    best = iou.argmax(dim=1)
    rows = torch.arange(len(mine))
    chosen = mine[rows, best]
    goal = torch.cat([true[:, 1:3], true[:, 3:5].sqrt()], dim=1)
    place = (chosen[:, :4] - goal).square().sum()
    sure = (chosen[:, 4] - iou[rows, best]).square().sum()
    unsure = box[..., 4].square().sum() - chosen[:, 4].square().sum()
    kind = (pred[..., 5 * B :][here] - true[:, 5:]).square().sum()
    return (coord * place + sure + noobj * unsure + kind) / N
    ### END SOLUTION


def pair_iou(a: Float[Tensor, "*M 4"], b: Float[Tensor, "*M 4"]) -> Float[Tensor, "*M"]:
    """Return the IoU of boxes (cx, cy, w, h), pair by pair; shapes broadcast."""
    low = torch.maximum(a[..., :2] - a[..., 2:] / 2, b[..., :2] - b[..., 2:] / 2)
    high = torch.minimum(a[..., :2] + a[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2)
    shared = (high - low).clamp(min=0).prod(-1)
    union = a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - shared
    return shared / union.clamp(min=1e-12)


def match_defaults(
    defaults: Float[Tensor, "P 4"],
    truth: Float[Tensor, "G 4"],
    threshold: float = 0.5,
) -> Int[Tensor, "P"]:
    """Say which object each default box of SSD should find.

    Both are (x1, y1, x2, y2). A default box belongs to the true box that it overlaps
    most (the first of equals), if that IoU is at least `threshold`. Besides, every true
    box keeps the one default box that overlaps IT most (the first of equals), whatever
    their IoU; if two true boxes claim the same default box, the later one gets it. IoU
    by ops.box_iou. G may be 0.

    Returns:
        int64 (P,): the index of the true box, or -1 for background.
    """
    ### BEGIN SOLUTION
    if len(truth) == 0:
        return torch.full((len(defaults),), -1, dtype=torch.int64)
    iou = ops.box_iou(defaults, truth)  # (P, G)
    best, which = iou.max(dim=1)
    which[best < threshold] = -1
    for g, p in enumerate(iou.argmax(dim=0).tolist()):
        which[p] = g
    return which
    ### END SOLUTION


def multibox_loss(
    loc: Float[Tensor, "N P 4"],
    logits: Float[Tensor, "N P K1"],
    targets: Float[Tensor, "N P 4"],
    labels: Int[Tensor, "N P"],
    ratio: int = 3,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return SSD's losses of places and classes, with hard negative mining.

    `labels` are 0 for background and 1 to K for default boxes that belong to an object;
    `targets` are the coded boxes of these (other rows mean nothing).

    Places: smooth L1 (beta = 1), summed over the default boxes with an object. Classes:
    cross-entropy, summed over the same, and over the background boxes of largest
    cross-entropy in each picture: `ratio` times as many as it has objects' boxes, or
    all if there are fewer. BOTH are divided by the number of objects' boxes of the
    whole batch; if there is none, both are 0 (and a backward pass works).

    Returns:
        (places, classes), without axes.
    """
    ### BEGIN SOLUTION
    positive = labels > 0
    count = positive.sum().clamp(min=1)
    places = F.smooth_l1_loss(loc[positive], targets[positive], reduction="sum")
    each = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none")  # (N, P)
    hardness = each.detach().masked_fill(positive, -1.0)
    rank = hardness.argsort(dim=1, descending=True).argsort(dim=1)
    hard = (rank < ratio * positive.sum(dim=1, keepdim=True)) & ~positive
    classes = each[positive | hard].sum()
    return places / count, classes / count
    ### END SOLUTION


def front(rows: dict[str, tuple[float, float]]) -> list[str]:
    """Return the names of rows (mAP, ms) that no other beats in both; fastest first."""
    best = []
    for name, (score, ms) in rows.items():
        beaten = [s >= score and t <= ms and (s, t) != (score, ms) for s, t in rows.values()]
        if not any(beaten):
            best.append(name)
    return sorted(best, key=lambda name: rows[name][1])
