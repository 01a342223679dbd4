"""Scoring detectors, and the classical ones: HOG with a linear SVM, parts on springs, boosted rectangles.

Notebook 1 of chapter 6. Boxes are (x1, y1, x2, y2) in continuous coordinates, y down: width is x2 - x1.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


def box_iou(a: Float[Tensor, "N 4"], b: Float[Tensor, "M 4"]) -> Float[Tensor, "N M"]:
    """Return the intersection over union of every box of `a` with every box of `b`.

    Boxes are (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2; the area is (x2 - x1) *
    (y2 - y1), with no + 1. Boxes that do not meet have the value 0, and so have two
    boxes without area. N or M may be 0. Whole-number boxes give a float32 result.
    """
    ### BEGIN SOLUTION
    if not a.is_floating_point():
        a, b = a.float(), b.float()
    low = torch.maximum(a[:, None, :2], b[None, :, :2])  # (N, M, 2)
    high = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(dim=2)
    area_a = (a[:, 2] - a[:, 0]) * (a[:, 3] - a[:, 1])
    area_b = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
    union = area_a[:, None] + area_b - shared
    return torch.where(union > 0, shared / union.clamp(min=1e-12), torch.zeros_like(shared))
    ### END SOLUTION


def nms(
    boxes: Float[Tensor, "N 4"],
    scores: Float[Tensor, "N"],
    iou_threshold: float,
) -> Int[Tensor, "K"]:
    """Keep the best box, drop what overlaps it too much, and repeat with the rest.

    A box is dropped if its IoU with a KEPT box of higher score is GREATER than
    `iou_threshold`; at exactly the threshold it stays. Of equal scores, the box that
    comes first in the list counts as the better one. N may be 0.

    Returns:
        The indices of the kept boxes in the list as given, int64, best score first.
    """
    ### BEGIN SOLUTION
    order = scores.argsort(descending=True, stable=True)
    iou = box_iou(boxes, boxes)
    keep: list[int] = []
    for i in order.tolist():
        if all(iou[i, j] <= iou_threshold for j in keep):
            keep.append(i)
    return torch.tensor(keep, dtype=torch.int64)
    ### END SOLUTION


def match_detections(
    boxes: Float[Tensor, "M 4"],
    scores: Float[Tensor, "M"],
    truth: Float[Tensor, "G 4"],
    iou_threshold: float = 0.5,
) -> Bool[Tensor, "M"]:
    """Say which detections of one class in one picture are right.

    Go through the detections from the highest score to the lowest. Each looks at the
    true box that it overlaps most (the first of equals). It is right if that IoU is at
    least `iou_threshold` and no earlier detection was given this true box; else it is
    a false alarm. A second detection of the same object is a false alarm, even where
    another true box would be free. M or G may be 0.

    Returns:
        Bool (M,), in the order in which the detections are GIVEN.
    """
    ### BEGIN SOLUTION
    right = torch.zeros(len(boxes), dtype=torch.bool)
    taken = torch.zeros(len(truth), dtype=torch.bool)
    if len(truth) == 0:
        return right
    iou = box_iou(boxes, truth)
    for i in scores.argsort(descending=True, stable=True).tolist():
        best = iou[i].argmax()
        if iou[i, best] >= iou_threshold and not taken[best]:
            right[i] = True
            taken[best] = True
    return right
    ### END SOLUTION


def average_precision(
    right: Bool[Tensor, "M"],
    scores: Float[Tensor, "M"],
    num_truth: int,
) -> float:
    """Return the area under the precision-recall curve of one class (PASCAL VOC 2010).

    Sort the detections of all pictures by score, highest first (stable). After the
    first k of them, precision is the share of the k that is right, recall the share of
    the `num_truth` objects that has been found. Replace each precision by the largest
    one at this or any higher recall (the envelope), and sum envelope * (rise of the
    recall) over the list.

    Returns:
        A Python float from 0 to 1; 0.0 without detections; nan if num_truth is 0.
    """
    ### BEGIN SOLUTION
    if num_truth == 0:
        return math.nan
    hits = right[scores.argsort(descending=True, stable=True)].double()
    found = hits.cumsum(0)
    precision = found / torch.arange(1, len(hits) + 1)
    envelope = precision.flip(0).cummax(0).values.flip(0)
    return float((envelope * hits).sum() / num_truth)
    ### END SOLUTION


def eleven_points(
    right: Bool[Tensor, "M"],
    scores: Float[Tensor, "M"],
    num_truth: int,
) -> float:
    """Return VOC 2007's average precision: the mean envelope at recalls 0, .1 ... 1."""
    found = right[scores.argsort(descending=True, stable=True)].double().cumsum(0)
    precision = found / torch.arange(1, len(found) + 1)
    total = 0.0
    for tenth in range(11):
        enough = 10 * found >= tenth * num_truth  # whole numbers: .3 is exactly .3
        total += float(precision[enough].max()) if enough.any() else 0.0
    return total / 11


def hog_cells(image: Float[Tensor, "H W"], cell: int = 8, bins: int = 9) -> Tensor:
    """Count the directions of the edges in square cells of a grey picture.

    Gradients are differences of the two neighbours, without the factor 1/2: gx[y, x] =
    image[y, x+1] - image[y, x-1], gy[y, x] = image[y+1, x] - image[y-1, x]; gx is 0 in
    the first and last column, gy in the first and last row. The direction is atan2(gy,
    gx) in degrees, taken modulo 180. Bin k holds the directions from k * 180 / bins up
    to, but not including, (k + 1) * 180 / bins. Each pixel adds its magnitude
    sqrt(gx^2 + gy^2) to one bin of its cell. Rows and columns that fill no whole cell
    are left out (after the gradients were taken).

    Returns:
        (H // cell, W // cell, bins), the sums divided by cell * cell, image's dtype.
    """
    ### BEGIN SOLUTION
    gx, gy = torch.zeros_like(image), torch.zeros_like(image)
    gx[:, 1:-1] = image[:, 2:] - image[:, :-2]
    gy[1:-1] = image[2:] - image[:-2]
    magnitude = (gx**2 + gy**2).sqrt()
    degrees = torch.rad2deg(torch.atan2(gy, gx)) % 180
    which = (degrees / (180 / bins)).floor().long().clamp(max=bins - 1)
    votes = F.one_hot(which, bins).to(image.dtype) * magnitude[:, :, None]
    rows, columns = image.shape[0] // cell, image.shape[1] // cell
    votes = votes[: rows * cell, : columns * cell]
    return votes.reshape(rows, cell, columns, cell, bins).mean(dim=(1, 3))
    ### END SOLUTION


def hog_blocks(cells: Float[Tensor, "R C K"], block: int = 2) -> Tensor:
    """Normalise the histograms of every block x block neighbourhood of cells (L2-Hys).

    Divide by the length, cut at .2, divide by the length again (Dalal and Triggs 2005;
    the small number under the root is 1e-5 squared).

    Returns:
        (R - block + 1, C - block + 1, block * block * K): blocks overlap.
    """
    v = cells.unfold(0, block, 1).unfold(1, block, 1).permute(0, 1, 3, 4, 2).flatten(2)
    v = v / (v.square().sum(-1, keepdim=True) + 1e-10).sqrt()
    v = v.clamp(max=0.2)
    return v / (v.square().sum(-1, keepdim=True) + 1e-10).sqrt()


def window_boxes(
    rows: int,
    columns: int,
    window: int,
    stride: int,
    scale: float = 1.0,
) -> Tensor:
    """Return the boxes (M, 4) of all places of a sliding window, row by row.

    `rows` and `columns` count the places, `window` and `stride` are pixels of a picture
    that was enlarged by `scale`; the boxes are pixels of the original.
    """
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    corner = stride * torch.stack([x, y], -1).reshape(-1, 2).float()
    return torch.cat([corner, corner + window], 1) / scale


def pyramid(
    image: Float[Tensor, "C H W"],
    per_octave: int = 3,
    smallest: int = 32,
) -> list[Tensor]:
    """Return the picture at scales 1, 2^(-1/n), 2^(-2/n) ... while large enough."""
    levels: list[Tensor] = []
    while True:
        scale = 2 ** (-len(levels) / per_octave)
        size = [round(side * scale) for side in image.shape[1:]]
        if min(size) < smallest:
            return levels
        small = F.interpolate(image[None], size=size, mode="bilinear", antialias=True)[0]
        levels.append(small if levels else image)


def hard_negatives(
    score: Callable[[Tensor], tuple[Tensor, Tensor]],
    images: Float[Tensor, "N C H W"],
    truth: list[Tensor],
    *,
    max_iou: float = 0.3,
    threshold: float = 0.0,
) -> list[tuple[int, int]]:
    """Return a detector's false alarms: (picture, index of its window), worst first.

    `score(image)` gives boxes (M, 4) and scores (M,). A false alarm scores above
    `threshold` and overlaps no object of `truth` by `max_iou` or more.
    """
    found: list[tuple[float, int, int]] = []
    for n, image in enumerate(images):
        boxes, scores = score(image)
        far = torch.ones(len(boxes), dtype=torch.bool)
        if len(truth[n]):
            far = box_iou(boxes, truth[n]).amax(1) < max_iou
        for i in (far & (scores > threshold)).nonzero()[:, 0].tolist():
            found.append((float(scores[i]), n, i))
    return [(n, i) for _, n, i in sorted(found, reverse=True)]


def distance_transform(
    f: Float[Tensor, "n"],
    a: float,
    b: float = 0.0,
) -> tuple[Float[Tensor, "n"], Int[Tensor, "n"]]:
    """Let a part on a spring look for its best place, from every home along a line.

    For every home p = 0 ... n - 1: D[p] = max over q of f[q] - a * (p - q)^2 - b * (p -
    q). f[q] says how well the part fits at q, the rest is what the spring charges. A
    table of all pairs (n, n) is fine.

    Returns:
        (D, q): the value, (n,), and the place where it is taken, int64 (n,): the
        lowest q of equals.
    """
    ### BEGIN SOLUTION
    place = torch.arange(len(f), dtype=f.dtype)
    offset = place[:, None] - place  # (home p, place q)
    table = f - a * offset**2 - b * offset
    D = table.max(dim=1).values
    q = (table == D[:, None]).to(torch.uint8).argmax(dim=1)
    return D, q
    ### END SOLUTION


def spring_map(response: Float[Tensor, "H W"], a: float, b: float = 0.0) -> Tensor:
    """Apply the distance transform to every column, then to every row: (H, W).

    Each pass compares all pairs of places along its axis, for all columns or rows at
    once.
    """

    def along(values: Tensor) -> Tensor:  # over the last axis
        place = torch.arange(values.shape[-1], dtype=values.dtype)
        offset = place[:, None] - place
        return (values[..., None, :] - a * offset**2 - b * offset).amax(-1)

    return along(along(response.mT.contiguous()).mT.contiguous())


def integral_image(x: Float[Tensor, "*B H W"]) -> Float[Tensor, "*B H1 W1"]:
    """Return the sums over all rectangles that begin at the top left: (H+1, W+1).

    The first row and column are zeros, so that entry (y, x) is the sum of the rows
    above y and the columns before x. Computed in float64.
    """
    return F.pad(x.double().cumsum(-1).cumsum(-2), (1, 0, 1, 0))


def haar(
    ii: Float[Tensor, "N H W"],
    features: Int[Tensor, "M 5"],
) -> Float[Tensor, "N M"]:
    """Return the second half of each rectangle minus its first half.

    `features`: rows of (y, x, height, width, kind); kind 0 cuts the rectangle into a
    left and a right half, kind 1 into an upper and a lower one.
    """
    y, x, h, w, kind = features.T

    def area(y, x, h, w):
        return ii[:, y + h, x + w] - ii[:, y, x + w] - ii[:, y + h, x] + ii[:, y, x]

    across = kind == 0
    half_h, half_w = torch.where(across, h, h // 2), torch.where(across, w // 2, w)
    first = area(y, x, half_h, half_w)
    second = area(y + h - half_h, x + w - half_w, half_h, half_w)
    return second - first


def best_stump(
    f: Float[Tensor, "N"],
    y: Int[Tensor, "N"],
    w: Float[Tensor, "N"],
) -> tuple[float, int, float]:
    """Find the threshold on one number that errs with the least weight.

    The stump says 1 where p * f < p * theta, and 0 elsewhere; the polarity p is +1 or
    -1. Its error is the sum of the weights w of the examples whose label y (0 or 1) it
    misses. Try theta in the middle of every two neighbouring DIFFERENT values of f, and
    also one that lies below all values and one above all.

    Returns:
        (theta, p, error) as Python numbers, with the least error. Which of several
        equally good ones is up to you.
    """
    ### BEGIN SOLUTION
    values = f.double().unique()
    theta = torch.cat([values[:1] - 1, (values[1:] + values[:-1]) / 2, values[-1:] + 1])
    below = f[:, None] < theta  # (N, T)
    missed = (below != (y == 1)[:, None]).to(w.dtype)
    plus = (w[:, None] * missed).sum(0)
    minus = w.sum() - plus
    k = int(torch.minimum(plus, minus).argmin())
    if plus[k] <= minus[k]:
        return float(theta[k]), 1, float(plus[k])
    return float(theta[k]), -1, float(minus[k])
    ### END SOLUTION


def adaboost(
    values: Float[Tensor, "N M"],
    y: Int[Tensor, "N"],
    rounds: int,
) -> list[tuple]:
    """Choose one stump a round, each on the examples that the earlier ones missed.

    The weights begin as 1/2 over each class. Per round the best stump of all M features
    is taken; with its error e and beta = e / (1 - e), right examples are multiplied by
    beta (Viola and Jones 2001, table 1).

    Returns:
        A list of (feature, theta, p, alpha), alpha = log(1 / beta).
    """
    w = torch.where(y == 1, 0.5 / (y == 1).sum(), 0.5 / (y == 0).sum()).double()
    order = values.argsort(0)
    ranked = values.gather(0, order)
    chosen: list[tuple] = []
    for _ in range(rounds):
        w = w / w.sum()
        share = w[order]  # (N, M), each feature in its own order
        positive = torch.where(y[order] == 1, share, 0.0).cumsum(0)
        negative = torch.where(y[order] == 0, share, 0.0).cumsum(0)
        missed = positive[-1] - positive + negative  # "1 up to here"
        distinct = torch.ones_like(missed, dtype=torch.bool)
        distinct[:-1] = ranked[1:] > ranked[:-1]
        cost = torch.minimum(missed, 1 - missed).masked_fill(~distinct, 2.0)
        j = int(cost.amin(0).argmin())
        k = int(cost[:, j].argmin())
        after = ranked[k + 1, j] if k + 1 < len(y) else ranked[k, j] + 2
        theta = float((ranked[k, j] + after) / 2)
        p = 1 if missed[k, j] <= 1 - missed[k, j] else -1
        error = float(cost[k, j].clamp(1e-10, 1 - 1e-10))
        right = (p * values[:, j] < p * theta) == (y == 1)
        w = torch.where(right, w * error / (1 - error), w)
        chosen.append((j, theta, p, math.log((1 - error) / error)))
    return chosen


def boosted_score(
    values: Float[Tensor, "N M"],
    stumps: list[tuple],
) -> Float[Tensor, "N"]:
    """Return the stumps' weighted vote minus half of all weights: a face where >= 0."""
    vote = sum(alpha * (p * values[:, j] < p * theta).double() for j, theta, p, alpha in stumps)
    return vote - sum(alpha for *_, alpha in stumps) / 2


def cascade_rates(
    detection: float,
    false_alarm: float,
    stages: int,
) -> tuple[float, float]:
    """Return what a cascade keeps of faces and of other windows after its stages."""
    return detection**stages, false_alarm**stages
