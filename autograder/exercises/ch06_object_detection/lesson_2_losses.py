"""Exercises of notebook 2 about training: the loss of Fast R-CNN, and which anchor answers for which object."""

import torch
import torch.nn.functional as F
from torchvision import ops
from torchvision.models.detection._utils import Matcher

from autograder.declare import Exercise, alternative, case, slip
from autograder.exercises.ch06_object_detection.lesson_1_boxes import some_boxes
from dlcv_lab.checking import probing
from dlcv_lab.checking.model import Forbid

DOUBLE = torch.float64


def loss_cases(d):
    def head(group, note, M, K, labels, dtype=torch.float32, **more):
        far = torch.where(d.mask(M, 4), 2.5, 0.0).to(dtype)  # some differences above 1, some below
        return case(group, note, logits=d.normal(M, K + 1, dtype=dtype), deltas=d.normal(M, 4 * (K + 1), dtype=dtype),
                    labels=torch.tensor(labels), targets=0.4 * d.normal(M, 4, dtype=dtype) + far, **more)  # fmt: skip

    return [
        head("plain", "six proposals, three classes", 6, 3, [0, 2, 1, 0, 3, 0]),
        head("plain", "three classes, so that 4 (K + 1) = 16 could be read both ways, float64", 5, 3, [3, 0, 0, 1, 2],
             DOUBLE),
        head("edge", "background only", 4, 2, [0, 0, 0, 0]),
        head("edge", "one proposal, one class", 1, 1, [1]),
        head("gradient", "gradients of both losses together", 6, 3, [0, 2, 1, 0, 3, 0], ask="gradient"),
        head("gradient", "gradients where all is background", 3, 2, [0, 0, 0], ask="gradient"),
    ]  # fmt: skip


def loss_gradient(ns, data):
    def total(logits, deltas):
        classes, boxes = ns.fast_rcnn_loss(logits, deltas, data["labels"], data["targets"])
        return classes + 2 * boxes

    grads = probing.gradients(total, [data["logits"], data["deltas"]])[1]
    return [torch.zeros_like(x) if g is None else g for g, x in zip(grads, (data["logits"], data["deltas"]))]


def loss_library(data):
    labels = data["labels"]
    own = torch.stack([4 * labels + k for k in range(4)], 1)
    chosen = data["deltas"].gather(1, own)
    each = F.smooth_l1_loss(chosen, data["targets"], reduction="none").sum(1)
    return F.cross_entropy(data["logits"], labels), (each * (labels > 0)).sum() / len(labels)


def fast_rcnn_loss__huber(logits, deltas, labels, targets):
    rows = torch.where(labels > 0)[0]
    table = deltas.view(len(deltas), -1, 4)
    boxes = F.smooth_l1_loss(table[rows, labels[rows]], targets[rows], reduction="sum") / labels.numel()
    return F.cross_entropy(logits, labels), boxes


def fast_rcnn_loss__loops(logits, deltas, labels, targets):
    classification = -logits.log_softmax(1)[torch.arange(len(labels)), labels].mean()
    boxes = 0 * deltas.sum()
    for i, u in enumerate(labels.tolist()):
        if u == 0:
            continue
        d = (deltas[i, 4 * u : 4 * u + 4] - targets[i]).abs()
        boxes = boxes + torch.where(d < 1, 0.5 * d * d, d - 0.5).sum()
    return classification, boxes / len(labels)


FAST_RCNN_LOSS = Exercise(
    name="fast_rcnn_loss",
    returns=("classification", "boxes"),
    methods=("ch06/fast_rcnn",),
    core=True,
    groups={"plain": 2.0, "edge": 1.0, "gradient": 1.0},
    cases=loss_cases,
    probe={"gradient": loss_gradient},
    oracle=loss_library,
    minutes=20,
    good_for="the two questions of every detection head: what is it, and how must the box move",
    forbid=Forbid(names=("torchvision.models",)),
    hints=(
        "A proposal shows grass. What should its box have been, and what should the box loss therefore say of it?",
        "Reshape deltas to (M, K + 1, 4). Keep the proposals with labels > 0, and of each the four numbers of its own "
        "class: own[objects, labels[objects]]. Smooth L1 against the targets of the same proposals, summed, divided by "
        "M, the number of all proposals.",
        "d = deltas.reshape(M, -1, 4)[objects, labels[objects]] - targets[objects]; torch.where(d.abs() < 1, d**2 / 2, "
        "d.abs() - 0.5).sum() / M; and F.cross_entropy(logits, labels).",
    ),
    alternatives=(alternative(fast_rcnn_loss__huber), alternative(fast_rcnn_loss__loops)),
    misconceptions=(
        slip("background_too", {"objects = labels > 0": "objects = labels >= 0"},
             "The box loss also counts the background, which has no box to become. Only proposals with labels > 0 take "
             "part.",
             "student mistake: all proposals regress"),
        slip("per_object", {"smooth.sum() / len(labels)": "smooth.sum() / objects.sum().clamp(min=1)"},
             "You divide the box loss by the proposals with objects. Divide by M, all proposals: then its "
             "weight against "
             "the classification is always the same.",
             "card trap: the normaliser is the number of all RoIs"),
        slip("mean", {"smooth.sum() / len(labels)": "smooth.mean()"},
             "You take the mean over all coordinates, which is nan without objects. Sum over the four numbers and the "
             "objects, then divide by M.",
             "student mistake: reduction='mean'"),
        slip("class_before", {"labels[objects]] - targets": "labels[objects] - 1] - targets"},
             "You take the four numbers of the class before. The table has a row for background, too: class u is at u.",
             "student mistake: off by one because of the background"),
        slip("coordinates_first",
             {"deltas.reshape(len(deltas), -1, 4)": "deltas.reshape(len(deltas), 4, -1).transpose(1, 2)"},
             "deltas are class after class, four numbers each: reshape to (M, K + 1, 4).",
             "student mistake: layout of class-specific boxes"),
        slip("squared", {"torch.where(size < 1, d**2 / 2, size - 0.5)": "d**2 / 2"},
             "Differences above 1 are squared. Smooth L1 grows only linearly there (|d| - 1/2), so that a wild "
             "proposal "
             "does not rule the gradient.",
             "student mistake: L2"),
        slip("jump", {"size - 0.5": "size"},
             "Beyond 1 the smooth L1 is |d| - 1/2; without the half it jumps at 1.",
             "student mistake: the half left out"),
    ),
)  # fmt: skip


def anchor_cases(d):
    crowd = some_boxes(d, 12, 12)
    two = some_boxes(d, 2, 10)
    tied = torch.tensor([[0.0, 0, 4, 4], [4, 0, 8, 4], [20, 20, 24, 24]])  # both reach 1/3 with the truth
    shared = torch.tensor([[2.0, 0, 12, 10], [30, 30, 40, 40], [0, 40, 10, 50]])
    exact = torch.tensor([[0.0, 0, 4, 2], [0, 0, 4, 4], [0, 0, 4, 1], [0, 0, 2, 1], [50, 50, 54, 54]])
    square = torch.tensor([[0.0, 0, 4, 4]])
    return [
        case("plain", "twelve anchors, two objects", anchors=crowd, truth=two),
        case("plain", "float64", anchors=some_boxes(d, 9, 8, DOUBLE), truth=some_boxes(d, 2, 8, DOUBLE), high=0.6,
             low=0.4),
        case("plain", "the anchors are the objects, and others", anchors=torch.cat([two, crowd + 100, two + 2.5]),
             truth=two),
        case("best", "no anchor is good, two are equally the best", anchors=tied,
             truth=torch.tensor([[2.0, 0, 6, 4]]), low=0.4),
        case("best", "the best anchor of one object overlaps another object more", anchors=shared,
             truth=torch.tensor([[0.0, 0, 10, 10], [6, 0, 16, 10]])),
        case("edge", "an IoU of exactly high, and of exactly low", anchors=exact, truth=square, high=0.5, low=0.25),
        case("edge", "no object", anchors=crowd, truth=torch.zeros(0, 4)),
    ]  # fmt: skip


def anchor_library(data):
    if len(data["truth"]) == 0:
        return torch.full((len(data["anchors"]),), -1)
    matcher = Matcher(data.get("high", 0.7), data.get("low", 0.3), allow_low_quality_matches=True)
    return matcher(ops.box_iou(data["truth"], data["anchors"]))


def assign_anchors__loops(anchors, truth, high=0.7, low=0.3):
    table = ops.box_iou(anchors, truth).tolist()
    answer = []
    for row in table:
        if not row:
            answer.append(-1)
            continue
        g = row.index(max(row))
        champion = any(row[k] == max(other[k] for other in table) for k in range(len(row)))
        answer.append(g if row[g] >= high or champion else -1 if row[g] < low else -2)
    return torch.tensor(answer, dtype=torch.int64)


def assign_anchors__where(anchors, truth, high=0.7, low=0.3):
    if truth.shape[0] == 0:
        return -torch.ones(anchors.shape[0], dtype=torch.int64)
    iou = ops.box_iou(truth, anchors)
    best, g = iou.max(0)
    answer = torch.where(best >= high, g, torch.where(best < low, -1, -2))
    _, champions = torch.where(iou == iou.max(1, keepdim=True).values)
    answer[champions] = g[champions]
    return answer


ASSIGN_ANCHORS = Exercise(
    name="assign_anchors",
    methods=("ch06/anchors_rpn",),
    core=True,
    groups={"plain": 2.0, "best": 1.0, "edge": 1.0},
    cases=anchor_cases,
    oracle=anchor_library,
    minutes=22,
    difficulty="hard",
    good_for="the bookkeeping on which Faster R-CNN, SSD and all their children stand",
    forbid=Forbid(names=("torchvision.models",)),
    hints=(
        "An object so odd that no anchor reaches IoU .7: who should find it?",
        "iou = ops.box_iou(anchors, truth), (A, G); best, which = iou.max(dim=1). Begin with -2 everywhere, -1 "
        "where best "
        "< low, which where best >= high. Then the champions: anchors with iou[a, g] == iou[:, g].max() for some g get "
        "which[a] as well, their own favourite.",
        "keep = (best >= high) | (iou == iou.amax(dim=0)).any(dim=1); answer = full of -2; answer[best < low] = -1; "
        "answer[keep] = which[keep]. Without objects: all -1.",
    ),
    alternatives=(alternative(assign_anchors__loops), alternative(assign_anchors__where)),
    misconceptions=(
        slip("no_best_rule", {" | (iou == iou.amax(dim=0)).any(dim=1)": ""},
             "An object that no anchor overlaps by `high` is left without an anchor and can never be found. Its best "
             "anchor counts, however bad.",
             "card trap: the best-anchor rule below the lower threshold"),
        slip("one_of_the_best",
             {"keep = (best >= high) | (iou == iou.amax(dim=0)).any(dim=1)":
                  "keep = best >= high\n"
                  "keep[iou.argmax(dim=0)] = True"},
             "Where several anchors are equally the best for an object, all of them count; you take the first.",
             "card trap: ties"),
        slip("champion_of",
             {"answer[keep] = which[keep]": "answer[keep] = which[keep]\n"
                                            "answer[iou.argmax(dim=0)] = torch.arange(len(truth))"},
             "The best anchor of an object is given to that object although it overlaps another one more. It "
             "belongs to "
             "the one that IT overlaps most.",
             "library difference: SSD gives the box to the object that claims it"),
        slip("claims_as_in_ssd",
             {"keep = (best >= high) | (iou == iou.amax(dim=0)).any(dim=1)": "keep = best >= high",
              "answer[keep] = which[keep]": "answer[keep] = which[keep]\n"
                                            "answer[iou.argmax(dim=0)] = torch.arange(len(truth))"},
             "You hand each object ONE best anchor, whatever that anchor overlaps more. Here all anchors that are "
             "equally the best count, and each belongs to the true box that IT overlaps most.",
             "student mistake: each object is given its first best anchor, object by object"),
        slip("marks_swapped",
             {"torch.full_like(which, -2)": "torch.full_like(which, -1)",
              "answer[best < low] = -1": "answer[best < low] = -2"},
             "The two marks are swapped: background, below `low`, is -1; what does not count, between the thresholds, "
             "is -2.",
             "student mistake: -1 and -2 exchanged"),
        slip("above_high", {"best >= high": "best > high"},
             "An IoU of exactly `high` is enough (at least).",
             "card trap: the paper writes >, its code >="),
        slip("low_included", {"best < low": "best <= low"},
             "An IoU of exactly `low` does not count; background lies BELOW it.",
             "card trap: comparison at the threshold"),
        slip("all_the_rest", {"torch.full_like(which, -2)": "torch.full_like(which, -1)"},
             "Anchors between the thresholds are neither: -2. As background they would punish nearly right answers.",
             "student mistake: two classes in place of three"),
    ),
)  # fmt: skip
