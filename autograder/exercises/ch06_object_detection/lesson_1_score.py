"""Exercises of notebook 1 about scoring: which detections are right, and average precision."""

import math
from itertools import pairwise

import numpy as np
import torch
from torchvision import ops

from autograder.declare import Exercise, alternative, case, slip
from autograder.exercises.ch06_object_detection.lesson_1_boxes import STANDIN, some_boxes
from dlcv_lab.checking.model import Forbid


def match_cases(d):
    truth = torch.tensor([[0.0, 0, 10, 10], [6, 0, 16, 10]])
    near = torch.tensor([[0.0, 0, 10, 9], [2, 0, 12, 10], [6, 1, 16, 10]])  # the second prefers the first object
    double = torch.tensor([[1.0, 0, 11, 10], [0, 0, 10, 10], [50, 50, 60, 60]])
    two = torch.cat([some_boxes(d, 1, 10), some_boxes(d, 1, 10) + 60])
    moved = torch.cat([two + d.real(0.3, 0.8), two - d.real(0.3, 0.8), some_boxes(d, 1) + 200])
    order = d.permutation(5)
    return [
        case("plain", "two objects, five detections", boxes=moved[order], scores=d.permutation(5) / 5 + 0.1, truth=two),
        case("plain", "one object found twice, the better one comes later", boxes=double,
             scores=torch.tensor([0.3, 0.9, 0.8]), truth=truth[:1]),
        case("plain", "given from the lowest score to the highest", boxes=double.flip(0),
             scores=torch.tensor([0.2, 0.4, 0.6]), truth=truth[:1]),
        case("close", "a double that also reaches the neighbour", boxes=near, scores=torch.tensor([0.9, 0.8, 0.7]),
             truth=truth, iou_threshold=0.25),
        case("edge", "an IoU of exactly the threshold", boxes=torch.tensor([[0.0, 0, 10, 5], [0, 0, 10, 4]]),
             scores=torch.tensor([0.4, 0.9]), truth=truth[:1], iou_threshold=0.5),
        case("edge", "no object", boxes=double, scores=torch.tensor([0.1, 0.2, 0.3]), truth=torch.zeros(0, 4)),
        case("edge", "no detection", boxes=torch.zeros(0, 4), scores=torch.zeros(0), truth=truth),
    ]  # fmt: skip


def match_brute(data):
    boxes, truth = data["boxes"], data["truth"]
    threshold = data.get("iou_threshold", 0.5)
    iou = ops.box_iou(boxes, truth).numpy()
    claims = {}
    for i in np.argsort(-data["scores"].numpy(), kind="stable"):
        if len(truth):
            claims.setdefault(int(iou[i].argmax()), []).append(int(i))
    # of all that prefer an object, the first that reaches the threshold is right
    firsts = [next((i for i in who if iou[i, g] >= threshold), None) for g, who in claims.items()]
    return torch.tensor([i in firsts for i in range(len(boxes))], dtype=torch.bool)


def match_detections__objects(boxes, scores, truth, iou_threshold=0.5):
    right = torch.zeros(len(boxes), dtype=torch.bool)
    if len(boxes) == 0 or len(truth) == 0:
        return right
    best, which = box_iou(boxes, truth).max(dim=1)
    for g in range(len(truth)):
        mine = ((which == g) & (best >= iou_threshold)).nonzero()[:, 0]
        if len(mine):
            right[mine[scores[mine].argmax()]] = True
    return right


def match_detections__set(boxes, scores, truth, iou_threshold=0.5):
    seen, right = set(), [False] * len(boxes)
    for i in sorted(range(len(boxes)), key=lambda i: -float(scores[i])):
        row = box_iou(boxes[i][None], truth)[0].tolist()
        if not row:
            continue
        g = row.index(max(row))
        right[i] = row[g] >= iou_threshold and g not in seen
        if right[i]:
            seen.add(g)
    return torch.tensor(right, dtype=torch.bool)


MATCH_DETECTIONS = Exercise(
    name="match_detections",
    methods=("ch06/mean_ap",),
    core=True,
    groups={"plain": 1.5, "close": 0.5, "edge": 1.0},
    cases=match_cases,
    oracle=match_brute,
    uses=("box_iou",),
    standins=(STANDIN,),
    minutes=18,
    good_for="knowing what a detection benchmark counts, and what it punishes",
    hints=(
        "Two detections sit on the same star. Which one is right, and why must the other be punished?",
        "Go from the highest score down. For each detection take the true box with the largest IoU, `iou[i].argmax()`; "
        "it is right if this IoU reaches the threshold and the true box is not yet taken. If right, mark it taken.",
        "for i in scores.argsort(descending=True, stable=True).tolist(): best = iou[i].argmax(); if iou[i, best] >= "
        "iou_threshold and not taken[best]: right[i] = True; taken[best] = True. Without true boxes all is False.",
    ),
    alternatives=(alternative(match_detections__objects), alternative(match_detections__set)),
    misconceptions=(
        slip("doubles_are_right", {" and not taken[best]": ""},
             "An object was found twice, and you count both detections as right. The second is a false alarm: without "
             "this rule, repeating each box a hundred times would cost nothing.",
             "card trap: duplicates"),
        slip("next_free", {"best = iou[i].argmax()": "best = iou[i].masked_fill(taken, -1).argmax()"},
             "Where the best true box is taken you give the detection the next one. PASCAL VOC does not: it "
             "looks at the "
             "best true box first, and only then whether it is taken.",
             "library difference: COCO lets a detection take the best free box"),
        slip("given_order", {"scores.argsort(descending=True, stable=True).tolist()": "range(len(boxes))"},
             "You go through the detections as they are given. The highest score chooses first.",
             "student mistake: not sorted"),
        slip("above", {"iou[i, best] >= iou_threshold": "iou[i, best] > iou_threshold"},
             "An IoU of exactly the threshold is enough here (at least).",
             "library difference: py-faster-rcnn's voc_eval wants more than 0.5"),
        slip("sorted_answer", {"right[i] = True":
             "right[scores.argsort(descending=True, stable=True).tolist().index(i)] = True"},
             "Your answers are in the order of the scores. Return them in the order in which the detections "
             "were given.",
             "student mistake: indices after sorting"),
    ),
)  # fmt: skip


def ap_case(d, group, note, pattern, num_truth, shuffled=True):
    """Give hits in the order of their scores, in another order of the list."""
    m = len(pattern)
    order = d.permutation(m) if shuffled else torch.arange(m - 1, -1, -1)
    scores = 1 - (torch.arange(m) + d.real(0.1, 0.9)) / (m + 1)
    return case(group, note, right=torch.tensor(pattern, dtype=torch.bool)[order], scores=scores[order],
                num_truth=num_truth)  # fmt: skip


def ap_cases(d):
    tail = [bool(d.whole(0, 1)) for _ in range(3)]
    return [
        ap_case(d, "plain", "three objects: right, wrong, right, right", [1, 0, 1, 1], 3, shuffled=False),
        ap_case(d, "plain", "ten detections of eight objects", [1, 0, 0, 1, 1, 1, 0, *tail], 8),
        ap_case(d, "plain", "begins with false alarms", [0, 0, 1, 1, 0, 1], d.whole(4, 6), shuffled=False),
        ap_case(d, "edge", "everything found at once", [1, 1, 0, 0], 2),
        ap_case(d, "edge", "nothing right", [0, 0, 0], 4),
        case("edge", "no detection", right=torch.zeros(0, dtype=torch.bool), scores=torch.zeros(0), num_truth=3),
        case("edge", "no object", right=torch.zeros(2, dtype=torch.bool), scores=torch.tensor([0.4, 0.6]), num_truth=0),
    ]


def ap_brute(data):
    if data["num_truth"] == 0:
        return math.nan
    order = np.argsort(-data["scores"].numpy(), kind="stable")
    hits = data["right"].numpy()[order].astype(int)
    n, points = data["num_truth"], [(0.0, 0.0)]
    for k in range(1, len(hits) + 1):
        points.append((hits[:k].sum() / n, hits[:k].sum() / k))
    area = 0.0
    for (before, _), (after, _) in pairwise(points):
        area += (after - before) * max(p for r, p in points if r >= after)
    return float(area)


def average_precision__backwards(right, scores, num_truth):
    if not num_truth:
        return float("nan")
    hits = [bool(right[i]) for i in scores.argsort(descending=True, stable=True)]
    best, total, found = 0.0, 0.0, sum(hits)
    for k in range(len(hits), 0, -1):
        best = max(best, found / k)
        if hits[k - 1]:
            total += best
            found -= 1
    return total / num_truth


def average_precision__numpy(right, scores, num_truth):
    import numpy

    if num_truth == 0:
        return float(numpy.nan)
    hits = right.numpy()[numpy.argsort(-scores.numpy(), kind="stable")]
    tp = numpy.cumsum(hits)
    recall = numpy.concatenate([[0.0], tp / num_truth])
    precision = numpy.concatenate([tp / numpy.arange(1, len(tp) + 1), [0.0]])
    for k in range(len(precision) - 2, -1, -1):
        precision[k] = max(precision[k], precision[k + 1])
    return float(((recall[1:] - recall[:-1]) * precision[:-1]).sum())


AVERAGE_PRECISION = Exercise(
    name="average_precision",
    methods=("ch06/mean_ap",),
    core=True,
    groups={"plain": 2.0, "edge": 1.0},
    cases=ap_cases,
    oracle=ap_brute,
    minutes=18,
    good_for="the one number in the tables of every detection paper",
    forbid=Forbid(names=("sklearn",)),
    hints=(
        "Walk down the sorted list. When does the recall rise, and by how much?",
        "Only a right detection raises it, by 1 / num_truth. So the area is the sum of the envelope over the right "
        "detections, divided by num_truth. The envelope at k is the largest precision at k or LATER in the list.",
        "hits = right[order].double(); precision = hits.cumsum(0) / torch.arange(1, M + 1); envelope = "
        "precision.flip(0).cummax(0).values.flip(0); return float((envelope * hits).sum() / num_truth).",
    ),
    alternatives=(alternative(average_precision__backwards), alternative(average_precision__numpy)),
    misconceptions=(
        slip("no_envelope", {"precision.flip(0).cummax(0).values.flip(0)": "precision"},
             "You take the precisions as they are. VOC first replaces each by the largest at this or a higher "
             "recall, so "
             "that the curve only falls.",
             "library difference: sklearn's average_precision_score has no envelope"),
        slip("envelope_forwards", {"precision.flip(0).cummax(0).values.flip(0)": "precision.cummax(0).values"},
             "Your envelope looks back at LOWER recalls. It is the largest precision at this or any HIGHER "
             "recall, later "
             "in the list.",
             "student mistake: running maximum in the wrong direction"),
        slip("not_sorted", {"right[scores.argsort(descending=True, stable=True)]": "right"},
             "The list is not sorted by score. Precision and recall are those of its first k entries, best "
             "scores first.",
             "student mistake: not sorted"),
        slip("upwards", {"scores.argsort(descending=True, stable=True)": "scores.argsort(stable=True)"},
             "You sort from the lowest score upwards. The most certain detection comes first.",
             "library difference: argsort sorts upwards"),
        slip("of_the_found", {".sum() / num_truth": ".sum() / hits.sum().clamp(min=1)"},
             "You divide by the objects that were found. Divide by all of them, num_truth: what was missed counts as "
             "well.",
             "student mistake: recall relative to the found"),
        slip("mean_precision", {"(envelope * hits).sum() / num_truth": "envelope.sum() / max(len(hits), 1)"},
             "This is the mean over all detections. Only those that raise the recall, the right ones, add area.",
             "student mistake: mean precision"),
    ),
)  # fmt: skip
