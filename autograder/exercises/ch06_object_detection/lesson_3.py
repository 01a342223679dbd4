"""Exercises of notebook 3: the loss of YOLO, matching and loss of SSD; the written question."""

import torch
import torch.nn.functional as F
from torchvision import ops
from torchvision.models.detection._utils import SSDMatcher

from autograder.declare import Exercise, Question, alternative, case, slip
from autograder.exercises.ch06_object_detection.lesson_1_boxes import some_boxes
from dlcv_lab.checking import probing
from dlcv_lab.checking.model import Forbid

DOUBLE = torch.float64


def yolo_target(d, N, S, K, cells, dtype):
    """Put an object into each (picture, row, column) of `cells`."""
    target = torch.zeros(N, S, S, 5 + K, dtype=dtype)
    for n, row, column in cells:
        place = d.uniform(4, low=0.25, high=0.75, dtype=dtype)
        target[n, row, column, :5] = torch.cat([torch.ones(1, dtype=dtype), place[:2], place[2:] * 0.8])
        target[n, row, column, 5 + d.whole(0, K - 1)] = 1
    return target


def yolo_pred(d, target, B, K, dtype):
    """Predict boxes around the true ones, so that IoUs are neither 0 nor equal."""
    N, S = target.shape[:2]
    pred = 0.5 * d.normal(N, S, S, 5 * B + K, dtype=dtype)
    for b in range(B):
        pred[..., 5 * b : 5 * b + 2] = target[..., 1:3] + d.uniform(N, S, S, 2, low=-0.2, high=0.2, dtype=dtype)
        stretch = d.uniform(N, S, S, 2, low=0.7 + 0.2 * b, high=0.85 + 0.2 * b, dtype=dtype)
        pred[..., 5 * b + 2 : 5 * b + 4] = target[..., 3:5].sqrt() * stretch
        pred[..., 5 * b + 4] = d.uniform(N, S, S, low=0.1, high=0.9, dtype=dtype)
    return pred


def yolo_case(d, group, note, N, S, B, K, cells, dtype=torch.float32, **more):
    target = yolo_target(d, N, S, K, cells, dtype)
    return case(group, note, pred=yolo_pred(d, target, B, K, dtype), target=target, B=B, **more)


def yolo_cases(d):
    cells = [(0, 0, 1), (0, 2, 0), (1, 1, 2)]
    return [
        yolo_case(d, "plain", "two pictures, three objects, two boxes a cell", 2, 3, 2, 4, cells),
        yolo_case(d, "plain", "float64, three boxes a cell", 1, 2, 3, 2, [(0, 1, 0)], DOUBLE),
        yolo_case(d, "plain", "other weights", 1, 3, 2, 3, [(0, 2, 1), (0, 0, 0)], coord=2.0, noobj=0.1),
        yolo_case(d, "edge", "no object", 2, 2, 2, 3, []),
        yolo_case(d, "edge", "one box a cell, every cell full", 1, 2, 1, 2,
                  [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)]),
        yolo_case(d, "gradient", "gradient", 2, 2, 2, 3, [(0, 0, 1), (1, 1, 1)], ask="gradient"),
    ]  # fmt: skip


def yolo_gradient(ns, data):
    return probing.gradients(lambda pred: ns.yolo_loss(pred, data["target"], data["B"]), [data["pred"]])[1]


def yolo_loops(data):
    pred, target, B = data["pred"], data["target"], data["B"]
    coord, noobj = data.get("coord", 5.0), data.get("noobj", 0.5)
    N, S = pred.shape[:2]
    total = 0 * pred.sum()
    for n in range(N):
        for row in range(S):
            for column in range(S):
                answer, true = pred[n, row, column], target[n, row, column]
                boxes = [answer[5 * b : 5 * b + 5] for b in range(B)]
                if true[0] == 0:
                    total = total + noobj * sum(box[4] ** 2 for box in boxes)
                    continue
                size = torch.stack([true[3], true[4]])
                wanted = torch.cat([true[1:3] / S, size])
                corners = [torch.cat([box[:2] / S, box[2:4] ** 2]).detach() for box in boxes]
                iou = ops.box_iou(
                    ops.box_convert(torch.stack(corners), "cxcywh", "xyxy"),
                    ops.box_convert(wanted[None], "cxcywh", "xyxy"),
                )[:, 0].detach()
                best = int(iou.argmax())
                for b, box in enumerate(boxes):
                    if b == best:
                        place = (box[:2] - true[1:3]) ** 2 + (box[2:4] - size.sqrt()) ** 2
                        total = total + coord * place.sum() + (box[4] - iou[b]) ** 2
                    else:
                        total = total + noobj * box[4] ** 2
                total = total + ((answer[5 * B :] - true[5:]) ** 2).sum()
    return total / N


def yolo_loss__mask(pred, target, B=2, coord=5.0, noobj=0.5):
    N, S = pred.shape[:2]
    boxes = pred[..., : 5 * B].unflatten(-1, (B, 5))
    place = torch.cat([boxes[..., :2] / S, boxes[..., 2:4] ** 2], -1).detach()
    truth = torch.cat([target[..., 1:3] / S, target[..., 3:5]], -1)[..., None, :].expand_as(place)
    iou = pair_iou(place, truth)
    mine = F.one_hot(iou.argmax(-1), B) * target[..., :1]  # (N, S, S, B): responsible
    goal = torch.cat([target[..., 1:3], target[..., 3:5].sqrt()], -1)[..., None, :]
    loss = coord * (mine[..., None] * (boxes[..., :4] - goal) ** 2).sum()
    loss = loss + (mine * (boxes[..., 4] - iou) ** 2).sum() + noobj * ((1 - mine) * boxes[..., 4] ** 2).sum()
    loss = loss + (target[..., :1] * (pred[..., 5 * B :] - target[..., 5:]) ** 2).sum()
    return loss / N


def yolo_loss__cells(pred, target, B=2, coord=5.0, noobj=0.5):
    S = pred.shape[1]
    flat, wanted = pred.reshape(-1, pred.shape[-1]), target.reshape(-1, target.shape[-1])
    loss = noobj * torch.stack([flat[:, 5 * b + 4] ** 2 for b in range(B)]).sum()
    for answer, true in zip(flat, wanted):
        if not true[0]:
            continue
        cells = answer[: 5 * B].reshape(B, 5)
        scale = torch.tensor([S, S, 1, 1], dtype=pred.dtype)
        now = torch.cat([cells[:, :2], cells[:, 2:4] ** 2], 1).detach() / scale
        iou = pair_iou(now, true[1:5] / scale)
        b = int(iou.argmax())
        shape = torch.cat([true[1:3], true[3:5] ** 0.5])
        loss = loss + coord * F.mse_loss(cells[b, :4], shape, reduction="sum") - noobj * cells[b, 4] ** 2
        loss = loss + (cells[b, 4] - iou[b]) ** 2 + F.mse_loss(answer[5 * B :], true[5:], reduction="sum")
    return loss / len(pred)


def pair_iou(a, b): ...  # the lesson gives it


YOLO_LOSS = Exercise(
    name="yolo_loss",
    methods=("ch06/yolo",),
    core=True,
    groups={"plain": 2.5, "edge": 1.0, "gradient": 0.5},
    cases=yolo_cases,
    probe={"gradient": yolo_gradient},
    oracle=yolo_loops,
    minutes=30,
    difficulty="hard",
    good_for="detection as one regression: five sums of squares",
    hints=(
        "Sort the numbers of the answer into three heaps: those of responsible boxes, the confidences of all other "
        "boxes, the class scores of cells with an object. Which numbers are in no heap?",
        "box = pred[..., :5*B].reshape(N, S, S, B, 5); here = target[..., 0] == 1. For the M cells with an "
        "object: boxes "
        "(M, B, 5), their IoU with the truth by the given pair_iou (x, y divided by S, sides squared, no "
        "gradient); best "
        "= iou.argmax(1). All confidences squared, minus the responsible ones, are the noobj term.",
        "chosen = mine[torch.arange(M), best]; place = (chosen[:, :4] - [x', y', sqrt w', sqrt h'])^2 summed; sure = "
        "(chosen[:, 4] - iou)^2 summed; unsure = box[..., 4]^2 summed - chosen[:, 4]^2 summed; kind over pred[..., "
        "5*B:][here]. (coord * place + sure + noobj * unsure + kind) / N.",
    ),
    alternatives=(alternative(yolo_loss__mask), alternative(yolo_loss__cells)),
    misconceptions=(
        slip("confidence_one", {"(chosen[:, 4] - iou[rows, best])": "(chosen[:, 4] - 1)"},
             "The responsible box should be as confident as its IoU says, not always 1.",
             "card trap: the target confidence is the IoU"),
        slip("only_empty_cells",
             {"box[..., 4].square().sum() - chosen[:, 4].square().sum()": "box[..., 4][~here].square().sum()"},
             "You leave out the other boxes of a cell with an object. Every box that is not responsible should say 0.",
             "card trap: the other box of an object cell"),
        slip("no_root", {"true[:, 3:5].sqrt()": "true[:, 3:5]"},
             "The network predicts ROOTS of the sides, and you compare them with the sides themselves.",
             "card trap: square roots of width and height"),
        slip("sides_not_squared", {"pixels[..., 2:] **= 2": ""},
             "For the IoU the predicted roots must be squared: w = rw * rw.",
             "student mistake: roots taken for sides"),
        slip("cells_and_pictures", {"pixels[..., :2] /= S": "", "wanted[..., :2] /= S": ""},
             "In your IoU the centres count cells and the sides count pictures. Divide x and y by S first.",
             "card trap: two units in one box"),
        slip("gradient_of_the_iou", {"with torch.no_grad():": "if True:"},
             "The values are right, the gradient is not: the IoU in the confidence's target is a constant. Compute it "
             "without gradients.",
             "card trap: detach the IoU target"),
        slip("class_everywhere", {"(pred[..., 5 * B :][here] - true[:, 5:])": "(pred[..., 5 * B :] - target[..., 5:])"},
             "You ask empty cells for a class, too. The class scores count only where there is an object.",
             "student mistake: class term for all cells"),
        slip("mean_over_cells", {"+ kind) / N": "+ kind) / (N * S * S)"},
             "Divide by the number of pictures only, not of cells.",
             "student mistake: mean in place of sum"),
    ),
)  # fmt: skip


def ssd_cases(d):
    grid = torch.tensor([[x, y, x + 8.0, y + 8.0] for y in (0, 8, 16) for x in (0, 8, 16)])
    exact = torch.tensor([[0.0, 0, 4, 2], [0, 0, 4, 4], [9, 9, 12, 12]])
    return [
        case("plain", "ten boxes, two objects", defaults=some_boxes(d, 10, 12), truth=some_boxes(d, 2, 8)),
        case("plain", "float64, a low threshold", defaults=some_boxes(d, 12, 12, DOUBLE),
             truth=some_boxes(d, 3, 12, DOUBLE), threshold=0.3),
        case("forced", "a small object that no box overlaps by half", defaults=grid,
             truth=torch.tensor([[1.0, 1.0, 3.0, 4.0], [15.0, 9.0, 24.0, 17.0]])),
        case("forced", "two objects claim one box", defaults=grid[[0, 8]],
             truth=torch.tensor([[0.0, 0.0, 4.0, 7.0], [1.0, 1.0, 6.0, 6.0]])),
        case("forced", "an object claims a box that another overlaps by more than half",
             defaults=torch.tensor([[0.0, 0, 8, 8], [0, 0, 8, 9]]),
             truth=torch.tensor([[5.0, 0, 8, 2], [0, 0, 8, 9]])),
        case("forced", "an object that has a box, and claims a better one",
             defaults=torch.tensor([[0.0, 0, 10, 10], [3, 0, 13, 10]]),
             truth=torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10]])),
        case("edge", "an IoU of exactly the threshold", defaults=exact, truth=torch.tensor([[0.0, 0, 4, 4]])),
        case("edge", "no object", defaults=grid, truth=torch.zeros(0, 4)),
    ]  # fmt: skip


def ssd_library(data):
    if len(data["truth"]) == 0:
        return torch.full((len(data["defaults"]),), -1)
    threshold = data.get("threshold", 0.5)
    matched = SSDMatcher(threshold)(ops.box_iou(data["truth"], data["defaults"]))
    return matched.clamp(min=-1)


def match_defaults__loops(defaults, truth, threshold=0.5):
    table = ops.box_iou(defaults, truth).tolist()
    answer = [row.index(max(row)) if row and max(row) >= threshold else -1 for row in table]
    for g in range(len(truth)):
        column = [row[g] for row in table]
        answer[column.index(max(column))] = g
    return torch.tensor(answer, dtype=torch.int64)


def match_defaults__raised(defaults, truth, threshold=0.5):
    if len(truth) == 0:
        return torch.full([len(defaults)], -1)
    iou = ops.box_iou(truth, defaults)  # (G, P)
    claimed = iou.argmax(1)
    for g in range(len(truth)):
        iou[:, claimed[g]] = iou[:, claimed[g]].clamp(max=1)
        iou[g, claimed[g]] = 2.0 + g  # later claims weigh more
    value, g = iou.max(0)
    return torch.where(value >= threshold, g, -1)


MATCH_DEFAULTS = Exercise(
    name="match_defaults",
    methods=("ch06/ssd",),
    core=True,
    groups={"plain": 1.5, "forced": 1.5, "edge": 0.5},
    cases=ssd_cases,
    oracle=ssd_library,
    minutes=18,
    good_for="turning a list of true boxes into a target for every default box",
    forbid=Forbid(names=("torchvision.models",)),
    hints=(
        "Two rules: each default box chooses an object, and each object chooses a default box. Which one must "
        "be applied "
        "last?",
        "iou = ops.box_iou(defaults, truth); best, which = iou.max(dim=1); -1 where best < threshold. Then, object by "
        "object in order, its best default box `iou.argmax(dim=0)[g]` gets g, whatever stood there.",
        "which[best < threshold] = -1; for g, p in enumerate(iou.argmax(dim=0).tolist()): which[p] = g. Without "
        "objects: "
        "all -1.",
    ),
    alternatives=(alternative(match_defaults__loops), alternative(match_defaults__raised)),
    misconceptions=(
        slip("nobody_is_forced", {"which[p] = g": "pass"},
             "An object that no default box overlaps by the threshold is lost. Every true box keeps its best default "
             "box.",
             "card trap: objects without any IoU of .5"),
        slip("first_claim_wins", {"enumerate(iou.argmax(dim=0).tolist())":
             "reversed(list(enumerate(iou.argmax(dim=0).tolist())))"},
             "Where two true boxes claim one default box, the LATER one gets it.",
             "card trap: the later index wins, as in torchvision"),
        slip("forced_before_threshold", {"which[p] = g": "which[p] = g if best[p] < threshold else which[p]"},
             "A claim wins even over an overlap above the threshold: the object would otherwise have no box at all.",
             "student mistake: claims only on free boxes"),
        slip("only_the_lost", {"which[p] = g": "which[p] = which[p] if (which == g).any() else g"},
             "You force a box only on objects that have none yet. Every true box claims the default box that overlaps "
             "IT most, also where it has another one already.",
             "student mistake: the second rule as a rescue"),
        slip("above", {"best < threshold": "best <= threshold"},
             "An IoU of exactly the threshold is enough (at least).",
             "library difference: the paper writes 'higher than .5'"),
        slip("background_zero", {"which[best < threshold] = -1": "which[best < threshold] = 0"},
             "Background is -1 here. 0 is the first true box.",
             "student mistake: class 0 and index 0"),
        slip("claims_above_threshold", {"which[p] = g": "which[p] = g if iou[p, g] >= threshold else which[p]"},
             "A true box keeps its best default box only where their IoU reaches the threshold, in yours. It keeps it "
             "whatever their IoU, so that no object is left without one.",
             "student mistake: the threshold asked twice"),
    ),
)  # fmt: skip


def multibox_case(d, group, note, counts, P=14, K=3, dtype=torch.float32, **more):
    N = len(counts)
    labels = torch.zeros(N, P, dtype=torch.int64)
    for n, count in enumerate(counts):
        for p in d.permutation(P)[:count].tolist():
            labels[n, p] = d.whole(1, K)
    far = torch.where(d.mask(N, P, 4), 2.0, 0.0).to(dtype)
    return case(group, note, loc=d.normal(N, P, 4, dtype=dtype), logits=2 * d.normal(N, P, K + 1, dtype=dtype),
                targets=d.normal(N, P, 4, dtype=dtype) + far, labels=labels, **more)  # fmt: skip


def multibox_cases(d):
    return [
        multibox_case(d, "plain", "two pictures with one and three objects' boxes", [1, 3]),
        multibox_case(d, "plain", "float64, two hard negatives an object", [2, 1], dtype=DOUBLE, ratio=2),
        multibox_case(d, "plain", "one picture has no object", [0, 2, 1]),
        multibox_case(d, "edge", "fewer background boxes than wanted", [5, 2], P=8),
        multibox_case(d, "edge", "no object in the batch", [0, 0]),
        multibox_case(d, "gradient", "gradients of both losses together", [2, 1], ask="gradient"),
        multibox_case(d, "gradient", "gradients where there is no object", [0], ask="gradient"),
    ]


def multibox_gradient(ns, data):
    def total(loc, logits):
        places, classes = ns.multibox_loss(loc, logits, data["targets"], data["labels"])
        return places + 2 * classes

    grads = probing.gradients(total, [data["loc"], data["logits"]])[1]
    return [torch.zeros_like(x) if g is None else g for g, x in zip(grads, (data["loc"], data["logits"]))]


def multibox_loops(data):
    loc, logits, targets, labels = data["loc"], data["logits"], data["targets"], data["labels"]
    places, classes, objects = 0 * loc.sum(), 0 * logits.sum(), 0
    for n in range(len(labels)):
        each = F.cross_entropy(logits[n], labels[n], reduction="none")
        mine = labels[n].nonzero()[:, 0].tolist()
        objects += len(mine)
        rest = sorted((p for p in range(len(each)) if p not in mine), key=lambda p: -float(each[p]))
        for p in mine:
            places = places + F.smooth_l1_loss(loc[n, p], targets[n, p], reduction="sum")
        for p in mine + rest[: data.get("ratio", 3) * len(mine)]:
            classes = classes + each[p]
    return places / max(objects, 1), classes / max(objects, 1)


def multibox_loss__pictures(loc, logits, targets, labels, ratio=3):
    objects = max(int((labels > 0).sum()), 1)
    places, classes = loc.sum() * 0, logits.sum() * 0
    for n in range(len(labels)):
        yes = labels[n] > 0
        places = places + F.smooth_l1_loss(loc[n][yes], targets[n][yes], reduction="sum")
        each = F.cross_entropy(logits[n], labels[n], reduction="none")
        k = min(ratio * int(yes.sum()), int((~yes).sum()))
        classes = classes + each[yes].sum() + each[~yes].topk(k).values.sum()
    return places / objects, classes / objects


def multibox_loss__sorted(loc, logits, targets, labels, ratio=3):
    yes = labels > 0
    d = (loc - targets).abs()
    smooth = torch.where(d < 1, 0.5 * d * d, d - 0.5).sum(-1)
    each = -logits.log_softmax(-1).gather(-1, labels[..., None])[..., 0]
    worst = each.masked_fill(yes, -torch.inf).sort(dim=1, descending=True)
    allowed = torch.arange(labels.shape[1]) < ratio * yes.sum(1, keepdim=True)
    hard = torch.where(allowed & torch.isfinite(worst.values), worst.values, torch.zeros_like(worst.values))
    count = yes.sum().clamp(min=1)
    return (smooth * yes).sum() / count, ((each * yes).sum() + hard.sum()) / count


MULTIBOX_LOSS = Exercise(
    name="multibox_loss",
    returns=("places", "classes"),
    methods=("ch06/ssd",),
    core=True,
    groups={"plain": 2.0, "edge": 1.0, "gradient": 1.0},
    cases=multibox_cases,
    probe={"gradient": multibox_gradient},
    oracle=multibox_loops,
    minutes=28,
    difficulty="hard",
    good_for="why a detector with thousands of boxes does not simply answer 'background'",
    forbid=Forbid(names=("torchvision.models",)),
    hints=(
        "320 boxes, three of them on an object. What would the network learn first if all had one vote?",
        "positive = labels > 0. Cross-entropy of every box (reduction='none', logits transposed to (N, K+1, "
        "P)). Rank the "
        "background boxes of each picture by it: set positives to -1, argsort downwards twice gives the rank. "
        "Keep ranks "
        "below ratio * number of positives of that picture.",
        "rank = hardness.argsort(1, descending=True).argsort(1); hard = (rank < ratio * positive.sum(1, "
        "keepdim=True)) & "
        "~positive; classes = each[positive | hard].sum() / count; places = F.smooth_l1_loss(loc[positive], "
        "targets[positive], reduction='sum') / count, count = positive.sum().clamp(min=1).",
    ),
    alternatives=(alternative(multibox_loss__pictures), alternative(multibox_loss__sorted)),
    misconceptions=(
        slip("all_background", {"each[positive | hard].sum()": "each.sum()"},
             "All background boxes count. Only the hardest do, `ratio` times as many as the picture has "
             "objects' boxes.",
             "student mistake: no mining"),
        slip("easy_negatives", {"hardness.argsort(dim=1, descending=True)":
             "hardness.masked_fill(positive, 99.0).argsort(dim=1)"},
             "You keep the EASIEST background boxes. Hard are those with the largest cross-entropy.",
             "student mistake: sorted the wrong way"),
        slip("mined_over_the_batch",
             {"hardness.argsort(dim=1, descending=True).argsort(dim=1)":
                  "hardness.flatten().argsort(descending=True).argsort().reshape(hardness.shape)",
              "positive.sum(dim=1, keepdim=True)": "positive.sum()"},
             "You rank over the whole batch. Each picture has its own negatives: `ratio` times ITS objects' boxes.",
             "card trap: per picture"),
        slip("divided_by_all_kept", {"classes / count": "classes / (positive | hard).sum().clamp(min=1)"},
             "The class loss is divided by the objects' boxes as well, not by all boxes that count.",
             "card trap: N is the number of matched boxes, for both losses"),
        slip("no_objects_lost", {"each[positive | hard].sum()": "each[hard].sum()"},
             "The boxes with objects must learn their class, too: they count besides the hard negatives.",
             "student mistake: negatives only"),
        slip("objects_are_ranked", {".masked_fill(positive, -1.0)": ""},
             "The boxes with objects take part in your ranking and use up places of the hard negatives. Rank the "
             "background alone.",
             "student mistake: one ranking of all boxes"),
        slip("divided_by_pictures", {"positive.sum().clamp(min=1)": "len(labels)"},
             "You divide by the number of pictures. Divide by the boxes with objects of the whole batch (1 if "
             "there are "
             "none).",
             "card trap: N over the whole batch"),
        slip("background_moves", {"loc[positive], targets[positive]": "loc, targets"},
             "Background boxes have no place to go to; your place loss counts them.",
             "student mistake: all boxes regress"),
    ),
)  # fmt: skip

WHICH_ONE = Question(
    name="which_one",
    points=4,
    text="""A factory wants to count screws on a belt: up to forty in a picture, many touching, all of one size. The
camera takes 60 pictures a second; a missed screw costs ten times as much as a false one.

1. Which detector of the race would you begin with, and which would you rule out? Use two numbers or statements of the
   table, and say whether they carry over.
2. Name the one thing in your detector that touching screws would break, and how you would see it in recall and
   precision.
3. Why is mAP at IoU .5 not the number to choose by here? What would you report?

(About 150 words.)""",
    rubric="""\
* **1 (1.5 points)**: a choice that follows from the table (a one-stage detector for the speed, or Faster R-CNN where
  its milliseconds suffice) and an exclusion (anything with selective search or sliding windows is too slow for 60 a
  second), with two numbers (one point). That milliseconds depend on the machine and the sizes, and mAP on the scenes
  (half).
* **2 (1.5 points)**: YOLO's one object a cell, or non-maximum suppression that takes a touching neighbour for a double,
  or selective search that merges neighbours (one point). Recall stays below 1 at every threshold while precision is
  high (half).
* **3 (1 point)**: mAP weighs all thresholds and false alarms alike; the count needs one operating point: recall at the
  precision that the costs allow, or the expected cost, or the error of the count.""",
    samples=(
        (
            4.0,
            "I would begin with SSD: 60 pictures a second leave 16 ms, the two detectors of one stage come "
            "nearest to that in "
            "the table, and its mAP is a few hundredths below Faster R-CNN's. R-CNN and Fast R-CNN are out, since "
            "selective search alone takes longer than "
            "that. The order should carry over, the milliseconds not: another machine, larger pictures. YOLO v1 "
            "would be "
            "dangerous: one object a cell, so of two touching screws in one cell one is lost, whatever the threshold; "
            "recall would stop below 1 with precision still high. Also NMS must be weak enough. mAP averages over all "
            "thresholds, but a factory runs at one; I would report the cost 10 x missed + false at the best threshold.",
        ),
        (
            2.5,
            "SSD, because it is fast and accurate, R-CNN is too slow. Touching screws overlap, so NMS would "
            "delete some "
            "and recall falls. mAP treats misses and false alarms equally.",
        ),
        (0.5, "I would take Faster R-CNN since it has two stages and is therefore the most accurate."),
    ),
)
