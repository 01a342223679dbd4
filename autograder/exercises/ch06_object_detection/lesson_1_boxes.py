"""Exercises of notebook 1 about boxes: intersection over union, and non-maximum suppression."""

import torch
from torchvision import ops

from autograder.declare import Exercise, alternative, case, slip
from autograder.declare.exercise import Variant
from dlcv_lab.checking.model import Forbid

DOUBLE = torch.float64


def some_boxes(d, n, reach=30.0, dtype=torch.float32):
    """Draw n boxes with sides of 5 to 20."""
    corner = d.uniform(n, 2, low=0, high=reach, dtype=dtype)
    return torch.cat([corner, corner + d.uniform(n, 2, low=5, high=20, dtype=dtype)], 1)


def box_iou_cases(d):
    n, m = d.whole(3, 5), d.whole(2, 4)
    square = torch.tensor([[0.0, 0, 4, 4]])
    apart = torch.tensor([[9.0, 9, 12, 11], [4, 0, 8, 4], [9, 1, 11, 3]])
    return [
        case("plain", "boxes that meet", a=some_boxes(d, n, 12), b=some_boxes(d, m, 12)),
        case("plain", "float64", a=some_boxes(d, 3, 10, DOUBLE), b=some_boxes(d, 5, 10, DOUBLE)),
        case("plain", "one inside the other", a=square, b=torch.tensor([[1.0, 1, 3, 2], [0, 0, 4, 4]])),
        case("edge", "far apart in both directions, touching, beside it", a=square, b=apart),
        case("edge", "boxes without area", a=torch.tensor([[2.0, 2, 2, 5], [1, 1, 3, 3]]), b=torch.full((2, 4), 2.0)),
        case("edge", "no box in a", a=torch.zeros(0, 4), b=some_boxes(d, 2)),
        case("edge", "whole numbers", a=torch.tensor([[0, 0, 4, 4]]), b=torch.tensor([[2, 1, 6, 5], [0, 0, 2, 2]])),
    ]


def box_iou_library(data):
    if (data["b"][:, 2:] == data["b"][:, :2]).any():
        return NotImplemented  # torchvision gives nan for two boxes without area
    return ops.box_iou(data["a"], data["b"])


def box_iou__loops(a, b):
    out = torch.zeros(len(a), len(b), dtype=a.dtype if a.is_floating_point() else torch.float32)
    for i in range(len(a)):
        for j in range(len(b)):
            w = min(a[i, 2], b[j, 2]) - max(a[i, 0], b[j, 0])
            h = min(a[i, 3], b[j, 3]) - max(a[i, 1], b[j, 1])
            both = w * h if w > 0 and h > 0 else 0 * a[i, 0]
            joint = (a[i, 2] - a[i, 0]) * (a[i, 3] - a[i, 1]) + (b[j, 2] - b[j, 0]) * (b[j, 3] - b[j, 1]) - both
            out[i, j] = both / joint if joint > 0 else 0
    return out


def box_iou__sides(a, b):
    a, b = a + 0.0, b + 0.0
    ax1, ay1, ax2, ay2 = a[:, :, None].unbind(1)
    bx1, by1, bx2, by2 = b[None].unbind(2)
    w = torch.relu(torch.minimum(ax2, bx2) - torch.maximum(ax1, bx1))
    h = torch.relu(torch.minimum(ay2, by2) - torch.maximum(ay1, by1))
    joint = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - w * h
    return (w * h / joint).nan_to_num(0.0)


BOX_IOU = Exercise(
    name="box_iou",
    methods=("ch06/iou",),
    core=True,
    groups={"plain": 1.5, "edge": 0.5},
    cases=box_iou_cases,
    oracle=box_iou_library,
    minutes=12,
    difficulty="easy",
    good_for="the yardstick of the whole chapter: matching, suppressing and scoring boxes all ask it",
    forbid=Forbid(names=("torchvision.ops.box_iou", "ops.box_iou")),
    hints=(
        "Where does the shared rectangle of two boxes begin, and where does it end, in x and in y?",
        "It begins at the larger of the two x1 and ends at the smaller of the two x2; if that length is negative, the "
        "boxes do not meet: make it 0. With a[:, None] (N, 1, 4) and b[None] (1, M, 4) all pairs come at once. The "
        "union is the one area plus the other minus what both share.",
        "low = torch.maximum(a[:, None, :2], b[None, :, :2]); high = torch.minimum(a[:, None, 2:], b[None, :, 2:]); "
        "shared = (high - low).clamp(min=0).prod(2); then shared / (area_a[:, None] + area_b - shared), and 0 where "
        "the union is 0.",
    ),
    alternatives=(alternative(box_iou__loops), alternative(box_iou__sides)),
    misconceptions=(
        slip("no_clamp", {"(high - low).clamp(min=0)": "(high - low)"},
             "Two boxes that are apart in x AND in y have two negative lengths, whose product is a positive area. Make "
             "each length at least 0 before you multiply.",
             "card trap: both negative sides multiply to a positive area"),
        slip("plus_one",
             {"(high - low)": "(high - low + 1)",
              "(a[:, 2] - a[:, 0]) * (a[:, 3] - a[:, 1])": "(a[:, 2] - a[:, 0] + 1) * (a[:, 3] - a[:, 1] + 1)",
              "(b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])": "(b[:, 2] - b[:, 0] + 1) * (b[:, 3] - b[:, 1] + 1)"},
             "You count pixels, with + 1 on every side, as the oldest code does. Here coordinates are continuous: the "
             "width is x2 - x1.",
             "library difference: py-faster-rcnn's bbox_overlaps counts inclusive pixels"),
        slip("counted_twice", {"area_a[:, None] + area_b - shared": "area_a[:, None] + area_b"},
             "The shared area is in both areas: subtract it once from their sum. A box with itself must have IoU 1.",
             "student mistake: the sum of areas as the union"),
        slip("smaller_area", {"area_a[:, None] + area_b - shared": "torch.minimum(area_a[:, None], area_b)"},
             "You divide by the smaller area. Then a tiny box inside a large one has the value 1; divide by the union.",
             "student mistake: overlap coefficient in place of IoU"),
        slip("nan",
             {"torch.where(union > 0, shared / union.clamp(min=1e-12), torch.zeros_like(shared))": "shared / union"},
             "Two boxes without area have the union 0, and 0 / 0 is nan. The text asks for 0 there.",
             "library difference: torchvision.ops.box_iou gives nan"),
        slip("width_and_height",
             {"(a[:, 2] - a[:, 0]) * (a[:, 3] - a[:, 1])": "a[:, 2] * a[:, 3]",
              "(b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])": "b[:, 2] * b[:, 3]"},
             "The last two numbers are the far corner, not width and height: the area is (x2 - x1) * (y2 - y1).",
             "library difference: COCO stores x, y, width, height"),
    ),
)  # fmt: skip


def box_iou__standin(a, b):
    low, high = torch.maximum(a[:, None, :2], b[:, :2]), torch.minimum(a[:, None, 2:], b[:, 2:])
    both = torch.relu(high - low).prod(-1)
    area = [(box[:, 2:] - box[:, :2]).prod(1) for box in (a, b)]
    return (both / (area[0][:, None] + area[1] - both)).nan_to_num(0.0)


STANDIN = Variant(name="box_iou", code=(box_iou__standin,))


def nms_cases(d):
    chain = torch.tensor([[0.0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10], [40, 40, 50, 50]])
    half = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 2], [20, 20, 24, 24]])
    n = d.whole(8, 10)
    crowd = some_boxes(d, n, 12)
    order = d.permutation(n)
    return [
        case("plain", "a crowd", boxes=crowd, scores=(order + 1.0) / n, iou_threshold=0.3),
        case("plain", "float64", boxes=some_boxes(d, 7, 10, DOUBLE), scores=(d.permutation(7) + 1).double() / 8,
             iou_threshold=0.5),
        case("chain", "the second box falls to the first; the third meets only the second", boxes=chain,
             scores=torch.tensor([0.9, 0.8, 0.7, 0.95]), iou_threshold=0.3),
        case("chain", "the same, given in another order", boxes=chain.flip(0),
             scores=torch.tensor([0.5, 0.7, 0.8, 0.9]), iou_threshold=0.3),
        case("edge", "an IoU of exactly the threshold", boxes=half, scores=torch.tensor([0.6, 0.9, 0.8]),
             iou_threshold=0.5),
        case("edge", "equal scores", boxes=torch.tensor([[0.0, 0, 4, 4], [1, 0, 5, 4], [30, 0, 34, 4]]),
             scores=torch.tensor([0.5, 0.5, 0.9]), iou_threshold=0.3),
        case("edge", "no box", boxes=torch.zeros(0, 4), scores=torch.zeros(0), iou_threshold=0.5),
    ]  # fmt: skip


def nms_library(data):
    scores = data["scores"]
    if len(scores.unique()) < len(scores):
        return NotImplemented  # torchvision does not say which of equals comes first
    return ops.nms(data["boxes"], scores, data["iou_threshold"])


def nms__rounds(boxes, scores, iou_threshold):
    left = torch.argsort(scores, descending=True, stable=True)
    kept = []
    while len(left):
        kept.append(left[0])
        far = box_iou(boxes[left[:1]], boxes[left])[0] <= iou_threshold
        far[0] = False
        left = left[far]
    return torch.stack(kept) if kept else left


def nms__flags(boxes, scores, iou_threshold):
    alive = [True] * len(boxes)
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: (-float(scores[i]), i)):
        if not alive[i]:
            continue
        kept.append(i)
        for j, value in enumerate(box_iou(boxes[i : i + 1], boxes)[0].tolist()):
            alive[j] = alive[j] and value <= iou_threshold
    return torch.tensor(kept, dtype=torch.int64)


NMS = Exercise(
    name="nms",
    methods=("ch06/nms",),
    core=True,
    groups={"plain": 1.0, "chain": 1.0, "edge": 1.0},
    cases=nms_cases,
    oracle=nms_library,
    uses=("box_iou",),
    standins=(STANDIN,),
    minutes=18,
    good_for="the last step of every detector in this chapter, from 2005 to 2016",
    forbid=Forbid(names=("torchvision.ops.nms", "ops.nms", "ops.batched_nms")),
    hints=(
        "Take the boxes one by one, best first. What must be true of the boxes that you have already KEPT, so that you "
        "keep this one as well?",
        "order = scores.argsort(descending=True, stable=True). For each i of this order: keep it if its IoU with every "
        "kept box is at most the threshold. Boxes that were dropped have no say.",
        "iou = box_iou(boxes, boxes); keep = []; for i in order.tolist(): if all(iou[i, j] <= iou_threshold for j in "
        "keep): keep.append(i). Return torch.tensor(keep, dtype=torch.int64).",
    ),
    alternatives=(alternative(nms__rounds), alternative(nms__flags)),
    misconceptions=(
        slip("dropped_boxes_drop",
             {"for j in keep)": "for j in order.tolist()[: order.tolist().index(i)])"},
             "A box is dropped although it overlaps only a box that was itself dropped. Only KEPT boxes suppress: in a "
             "chain A, B, C the loss of B frees C.",
             "card trap: chains A-B-C"),
        slip("at_threshold", {"<= iou_threshold": "< iou_threshold"},
             "At exactly the threshold a box stays: it is dropped if its IoU is GREATER.",
             "card trap: strict comparison, as in torchvision"),
        slip("worst_first", {"scores.argsort(descending=True, stable=True)": "scores.argsort(stable=True)"},
             "You begin with the lowest score. The best box comes first and suppresses the others.",
             "library difference: argsort sorts upwards"),
        slip("sorted_places", {"torch.tensor(keep, dtype=torch.int64)":
             "torch.tensor([order.tolist().index(i) for i in keep], dtype=torch.int64)"},
             "Your indices count in the sorted list. Return places in the list as it was given.",
             "student mistake: indices after sorting"),
        slip("index_order", {"torch.tensor(keep, dtype=torch.int64)": "torch.tensor(sorted(keep), dtype=torch.int64)"},
             "The right boxes, in the wrong order: the best score comes first.",
             "student mistake: a mask turned into indices"),
    ),
)  # fmt: skip
