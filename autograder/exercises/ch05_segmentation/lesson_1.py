"""Exercises of notebook 1: the loss of a pixel and the scores of a mask; the written question."""

import torch
import torch.nn.functional as F

from autograder.declare.draws import case
from autograder.declare.exercise import Exercise, Question, Variant, alternative
from autograder.declare.slips import slip
from dlcv_lab.checking import probing
from dlcv_lab.checking.model import Forbid

DOUBLE = torch.float64


def loss_cases(d):
    def some(K, *shape, dtype=torch.float32):
        return {"logits": d.normal(shape[0], K, *shape[1:], dtype=dtype), "y": d.integers(0, K - 1, *shape)}

    void = some(4, 2, 5, 6)
    void["y"][:, 1:3] = 255
    other = some(3, 1, 4, 3)
    other["y"][0, 0] = -1
    both = some(3, 2, 3, 4, dtype=DOUBLE)
    both["y"][0, 0, :3] = torch.tensor([255, 0, 1])
    far = {"logits": torch.tensor([1e4, -1e4]).reshape(1, 2, 1, 1).repeat(1, 1, 1, 2), "y": torch.tensor([[[0, 1]]])}
    return [
        case("plain", "two pictures of 3 x 5 pixels, four classes", **some(4, 2, 3, 5)),
        case("plain", "as many classes as rows and columns", **some(3, 3, 3, 3)),
        case("ignore", "rows without label", **void),
        case("ignore", "ignore_index = -1", **other, ignore_index=-1),
        case("ignore", "no pixel has a label", logits=d.normal(1, 3, 2, 2), y=torch.full((1, 2, 2), 255)),
        case("weight", "three classes with weights", **some(3, 2, 4, 4), weight=torch.tensor([0.2, 1.5, 4.0])),
        case("weight", "weights and pixels without label, float64", **both,
             weight=torch.tensor([3.0, 0.5, 1.0], dtype=DOUBLE)),
        case("weight", "scores of 10 000 and -10 000", **far),
        case("gradient", "gradient, pixels without label", **void),
        case("gradient", "gradient, no pixel has a label", logits=d.normal(1, 3, 2, 2), y=torch.full((1, 2, 2), 255)),
    ]  # fmt: skip


def loss_gradient(ns, data):
    return probing.gradients(ns.pixel_cross_entropy, [data["logits"], data["y"]])[1]


def loss_library_gradient(data):
    logits = data["logits"].detach().clone().requires_grad_()
    loss = F.cross_entropy(logits, data["y"], ignore_index=255, reduction="sum")
    return [torch.autograd.grad(loss, logits)[0] / (data["y"] != 255).sum().clamp(min=1)]


def loss_library(data):
    ignore = data.get("ignore_index", 255)
    if (data["y"] == ignore).all():
        return NotImplemented  # the library answers NaN there
    return F.cross_entropy(data["logits"], data["y"], weight=data.get("weight"), ignore_index=ignore)


def pixel_cross_entropy__rows(logits, y, weight=None, ignore_index=255):
    K = logits.shape[1]
    rows, y = logits.permute(0, 2, 3, 1).reshape(-1, K), y.reshape(-1)
    rows, y = rows[y != ignore_index], y[y != ignore_index]
    if len(y) == 0:
        return logits.sum() * 0
    charge = torch.logsumexp(rows, 1) - rows[torch.arange(len(y)), y]
    w = torch.ones_like(charge) if weight is None else weight[y]
    return (w * charge).sum() / w.sum()


def pixel_cross_entropy__one_hot(logits, y, weight=None, ignore_index=255):
    K = logits.shape[1]
    labelled = (y != ignore_index)[..., None]
    wanted = F.one_hot(torch.where(y == ignore_index, 0, y), K) * labelled
    if weight is not None:
        wanted = wanted * weight
    charge = -(wanted.movedim(-1, 1) * F.log_softmax(logits, 1)).sum()
    return charge / wanted.sum() if wanted.sum() > 0 else 0 * charge


PIXEL_CROSS_ENTROPY = Exercise(
    name="pixel_cross_entropy",
    methods=("ch05/pixel_classification",),
    core=True,
    groups={"plain": 0.5, "ignore": 1.0, "weight": 1.0, "gradient": 0.5},
    cases=loss_cases,
    probe={"gradient": loss_gradient},
    oracle={"plain": loss_library, "ignore": loss_library, "weight": loss_library, "gradient": loss_library_gradient},
    forbid=Forbid(aten=("aten.nll_loss*", "aten.cross_entropy*"),
                  names=("F.cross_entropy", "F.nll_loss", "nn.CrossEntropyLoss", "nn.NLLLoss")),
    minutes=20,
    difficulty="medium",
    good_for="the loss of every network in this chapter",
    hints=(
        "Which axis do the classes lie on, and what does one pixel with its K scores owe? What stands in y where there "
        "is no label, and what happens if you use it as an index?",
        "Put class 0 where there is no label (masked_fill). log_softmax over axis 1, gather at y[:, None]. One weight "
        "a pixel: weight[y], or 1, and 0 where there is no label. Divide by the sum of these weights, but never by 0.",
        "charge = -logits.log_softmax(1).gather(1, y[:, None]).squeeze(1); each = weight[y] * labelled; "
        "return (each * charge).sum() / each.sum().clamp(min=1e-12)",
    ),
    alternatives=(alternative(pixel_cross_entropy__rows), alternative(pixel_cross_entropy__one_hot)),
    misconceptions=(
        slip("all_pixels", {"each.sum().clamp(min=1e-12)": "each.numel()"},
             "You divide by the number of all pixels. Divide by the sum of the weights of the labelled ones: a picture "
             "with many unlabelled pixels must not look cheap.", "card trap: mean over labelled pixels"),
        slip("labelled_pixels", {"each.sum().clamp(min=1e-12)": "labelled.sum().clamp(min=1)"},
             "Without weights you are right. With them, divide by the sum of the weights of the labelled pixels, not "
             "by their number.", "library difference: torch's weighted mean divides by the sum of the weights"),
        slip("mean_of_the_labelled", {"each.sum().clamp(min=1e-12)": "labelled.sum()"},
             "Two things. With weights, divide by the sum of the weights of the labelled pixels, not by their number. "
             "And where no pixel is labelled, the loss is 0, not 0 / 0.",
             "student mistake: mean() over the labelled pixels"),
        slip("constant_zero", {"return (each * charge).sum()":
             "if not labelled.any():\n    return torch.tensor(0.0)\nreturn (each * charge).sum()"},
             "Where no pixel is labelled the value 0 is right, but it is a new number that knows nothing of the "
             "logits: training would stop with an error. Let it depend on them, as 0 times their sum does.",
             "student mistake: return of a constant"),
        slip("classes_to_the_end", {"logits.log_softmax(1).gather(1, y[:, None]).squeeze(1)":
             "logits.reshape(*y.shape, -1).log_softmax(-1).gather(-1, y[..., None]).squeeze(-1)"},
             "reshape does not move an axis, it only cuts the numbers anew, so that scores of different pixels are "
             "mixed. Move the classes with movedim(1, -1), or leave them on axis 1.",
             "student mistake: reshape for permute"),
        slip("sum", {"(each * charge).sum() / each.sum().clamp(min=1e-12)": "(each * charge).sum()"},
             "This is the sum over the pixels. Divide it by the sum of the weights.",
             "library difference: FCN's official loss is a sum (normalize: false)"),
        slip("wrong_axis", {"log_softmax(1)": "log_softmax(-1)"},
             "Your softmax runs along a row of pixels. The K scores of one pixel lie along axis 1.",
             "card trap: the class axis is 1"),
        slip("void_is_ground", {"each = each * labelled": ""},
             "Pixels without label still count, as if they were class 0. Give them the weight 0.",
             "student mistake: 255 replaced by 0 to please gather, and then forgotten"),
        slip("nan_without_labels", {".clamp(min=1e-12)": ""},
             "Where no pixel is labelled you divide 0 by 0. The loss is 0 there.",
             "card trap: torch gives NaN"),
        slip("overflows", {"logits.log_softmax(1)": "logits.softmax(1).log()"},
             "At scores of 10 000 a probability rounds to 0, and its logarithm is infinite. Let log_softmax do both at "
             "once.", "student mistake: logarithm after softmax, as in chapter 1"),
        slip("always_255", {"labelled = y != ignore_index": "labelled = y != 255"},
             "255 is only the default: leave out the pixels with y == ignore_index, whatever its value.",
             "student mistake: optional argument never used"),
        slip("picture_by_picture", {"(each * charge).sum() / each.sum().clamp(min=1e-12)":
             "((each * charge).sum((1, 2)) / each.sum((1, 2)).clamp(min=1e-12)).mean()"},
             "You average picture by picture. Divide one sum over all pictures by one sum of weights: a picture with "
             "few labelled pixels must not weigh as much as a full one.", "student mistake: mean of means"),
        slip("no_weights", {"torch.ones_like(charge) if weight is None else weight[y]": "torch.ones_like(charge)"},
             "Without weights you are right. With `weight`, a pixel of class c counts weight[c] times.",
             "student mistake: optional argument never used"),
        slip("unlabelled_in_the_mean", {"(each * charge).sum() / each.sum().clamp(min=1e-12)":
                              "(each * charge).sum() / (each.sum() + (~labelled).sum()).clamp(min=1e-12)"},
             "Pixels without a label cost nothing, and still count in the number that you divide by. Leave them out "
             "of both.",
             "student mistake: the mean over a loss that is zero at the ignored pixels"),
    ),
)  # fmt: skip


def count_cases(d):
    pred, target = d.integers(0, 3, 2, 4, 5), d.integers(0, 3, 2, 4, 5)
    target[0, 0, :4] = torch.arange(4)
    pred[0, 0, :4] = torch.tensor([1, 1, 3, 0])
    pred[1], target[1, :2] = 1, 0
    void = target.clone()
    void[:, :, 2] = 255
    small_p, small_t = torch.full((3, 6), 18), torch.full((3, 6), 17)
    small_t[0], small_p[0] = 19, 2
    return [
        case("plain", "two masks of four classes", pred=pred, target=target, K=4),
        case("plain", "the last two classes do not occur", pred=pred % 2, target=target % 3 % 2, K=4),
        case("ignore", "a column without label", pred=pred, target=void, K=4),
        case("ignore", "ignore_index = 2", pred=pred, target=target, K=4, ignore_index=2),
        case("ignore", "no pixel has a label", pred=pred, target=torch.full_like(pred, 255), K=3 + 1),
        case("edge", "uint8 masks, 20 classes", pred=small_p.to(torch.uint8), target=small_t.to(torch.uint8), K=20),
        case("edge", "one axis", pred=torch.tensor([0, 2, 2, 1]), target=torch.tensor([0, 1, 1, 2]), K=3),
    ]


def count_library(data):
    from sklearn.metrics import confusion_matrix

    t, p = data["target"].flatten(), data["pred"].flatten()
    kept = t != data.get("ignore_index", 255)
    if not kept.any():
        return NotImplemented  # scikit-learn refuses an empty target
    return torch.from_numpy(confusion_matrix(t[kept].numpy(), p[kept].numpy(), labels=range(data["K"])))


def confusion_matrix__loops(pred, target, K, ignore_index=255):
    counts = torch.zeros(K, K, dtype=torch.int64)
    for p, t in zip(pred.flatten().tolist(), target.flatten().tolist()):
        if t != ignore_index:
            counts[t, p] += 1
    return counts


def confusion_matrix__one_hot(pred, target, K, ignore_index=255):
    counted = target != ignore_index
    t = F.one_hot(target[counted].long(), K).double()
    return (t.T @ F.one_hot(pred[counted].long(), K).double()).long()


CONFUSION_MATRIX = Exercise(
    name="confusion_matrix",
    methods=("ch05/seg_metrics",),
    core=True,
    groups={"plain": 1.0, "ignore": 0.5, "edge": 0.5},
    cases=count_cases,
    oracle=count_library,
    minutes=15,
    difficulty="easy",
    good_for="every score of a mask; and of a classifier",
    exact_dtype=True,
    hints=(
        "Each pixel is a pair (truth, answer). How could one number stand for a pair, so that equal numbers are "
        "counted together?",
        "Keep the pixels whose target is not ignore_index, as int64. The pair (t, p) is the number K * t + p; "
        "torch.bincount counts them.",
        "return torch.bincount(K * t + p, minlength=K * K).reshape(K, K)",
    ),
    alternatives=(alternative(confusion_matrix__loops), alternative(confusion_matrix__one_hot)),
    misconceptions=(
        slip("transposed", {"K * t + p": "K * p + t"},
             "Rows and columns are exchanged: a row is a true class, a column an answer.",
             "card trap: transposed matrix"),
        slip("counts_void", {"counted = target != ignore_index": "counted = target < K"},
             "You leave out targets that are no class. What does not count is the target ignore_index, whatever its "
             "number.", "student mistake: ignore_index never used"),
        slip("small_numbers", {"target[counted].long(), pred[counted].long()": "target[counted], pred[counted]"},
             "With uint8 masks K * t + p runs over at 256. Turn both into int64 first.",
             "card trap: uint8 predictions overflow"),
        slip("too_short", {", minlength=K * K": ""},
             "Where the last classes do not occur, bincount returns fewer than K * K numbers: give it minlength.",
             "student mistake: bincount stops at the largest number that occurs"),
        slip("shares", {"reshape(K, K)": "reshape(K, K) / max(len(t), 1)"},
             "These are shares. Return the counts: then two batches may simply be added.",
             "library difference: confusion_matrix(normalize=...)"),
    ),
)  # fmt: skip


def score_cases(d):
    full = d.integers(1, 30, 4, 4) + 20 * torch.eye(4, dtype=torch.int64)
    never = full.clone()
    never[:, 2] = never[2] = 0  # neither true nor called
    only_called = full.clone()
    only_called[1] = 0
    missed = full.clone()
    missed[:, 3] = 0
    ground = torch.tensor([[870, 0, 0], [60, 0, 0], [70, 0, 0]])
    return [
        case("plain", "four classes", cm=full),
        case("plain", "two classes", cm=d.integers(1, 9, 2, 2)),
        case("missing", "a class that is neither true nor called", cm=never),
        case("missing", "a class that is called, but nowhere true", cm=only_called),
        case("missing", "a class that is never called", cm=missed),
        case("missing", "everything called ground", cm=ground),
        case("missing", "no pixel at all", cm=torch.zeros(3, 3, dtype=torch.int64)),
    ]


def score_probe(ns, data):
    scores = probing.call(ns.seg_scores, data["cm"])
    if not isinstance(scores, dict):
        return scores
    return scores | {"in float64": all(getattr(value, "dtype", None) == torch.float64 for value in scores.values())}


def score_library(data):
    from sklearn.metrics import jaccard_score

    t, p = torch.cartesian_prod(*2 * [torch.arange(len(data["cm"]))]).repeat_interleave(data["cm"].flatten(), 0).T
    if not len(t):
        return NotImplemented
    classes = list(range(len(data["cm"])))
    iou = torch.from_numpy(jaccard_score(t, p, labels=classes, average=None, zero_division=0.0))
    iou[~torch.isin(torch.arange(len(iou)), torch.cat([t, p]))] = torch.nan
    return {
        "in float64": True,
        "iou": iou,
        "miou": iou[~iou.isnan()].mean(),
        "pixel_acc": (t == p).double().mean(),
        "mean_acc": torch.stack([(p[t == k] == k).double().mean() for k in classes if (t == k).any()]).mean(),
        "fwiou": torch.tensor(jaccard_score(t, p, average="weighted", zero_division=0.0), dtype=DOUBLE),
    }


def seg_scores__loops(cm):
    K, n = len(cm), cm.double()
    iou, recall, weighted = [], [], torch.zeros((), dtype=torch.float64)
    for i in range(K):
        t, q, right = n[i].sum(), n[:, i].sum(), n[i, i]
        iou.append(right / (t + q - right))
        if t > 0:
            recall.append(right / t)
            weighted = weighted + t * iou[-1]
    iou, nothing = torch.stack(iou), torch.tensor(float("nan"), dtype=torch.float64)
    return {
        "iou": iou,
        "miou": iou[~iou.isnan()].mean(),
        "pixel_acc": sum(n[i, i] for i in range(K)) / n.sum(),
        "mean_acc": torch.stack(recall).mean() if recall else nothing,
        "fwiou": weighted / n.sum(),
    }


def seg_scores__masked(cm):
    n = cm.to(torch.float64)
    both, true, called = torch.diagonal(n), n.sum(dim=1), n.sum(dim=0)
    either = true + called - both
    iou = torch.where(either > 0, both / either, torch.nan)
    return {
        "iou": iou,
        "miou": iou[either > 0].mean(),
        "pixel_acc": n.trace() / n.sum(),
        "mean_acc": (both / true)[true > 0].mean(),
        "fwiou": (true / n.sum() * iou.nan_to_num()).sum() if n.sum() > 0 else iou.mean(),
    }


SEG_SCORES = Exercise(
    name="seg_scores",
    methods=("ch05/seg_metrics",),
    core=True,
    groups={"plain": 1.5, "missing": 1.5},
    cases=score_cases,
    probe=score_probe,
    oracle=score_library,
    minutes=15,
    difficulty="medium",
    good_for="reading any table of segmentation results",
    hints=(
        "Three vectors are enough for all five scores: the right ones, the true ones, the called ones. Which sums of "
        "cm are they? What is 0 / 0 as a float?",
        "right = n.diag(), t = n.sum(1), q = n.sum(0), in float64. A pixel that is right stands in t and in q. NaN "
        "marks the classes without pixels; nanmean and nansum pass over them.",
        "iou = right / (t + q - right); miou = iou.nanmean(); mean_acc = (right / t).nanmean(); "
        "fwiou = (t * iou).nansum() / t.sum()",
    ),
    alternatives=(alternative(seg_scores__loops), alternative(seg_scores__masked)),
    misconceptions=(
        slip("counted_twice", {"right / (t + q - right)": "right / (t + q)"},
             "What is right stands in t and in q, so t + q counts it twice. The union is t + q - right.",
             "student mistake: union as a sum of areas"),
        slip("transposed", {"n.sum(1), n.sum(0)": "n.sum(0), n.sum(1)"},
             "You take the columns for the truth. A row is a true class: t are the sums of the rows, n.sum(1).",
             "student mistake: rows and columns exchanged"),
        slip("float32", {"cm.double()": "cm.float()"},
             "The scores are right, but in float32, which cannot count beyond 16 777 216 pixels one by one: turn cm "
             "into float64 first.", "student mistake: .float() out of habit"),
        slip("nothing_is_zero", {"(t * iou).nansum() / t.sum()": "(t / t.sum() * iou)[t > 0].sum()"},
             "All is right but one thing: where no pixel was counted, fwiou is NaN, as the other scores are. A sum "
             "over no class at all is 0.", "student mistake: sum over an empty selection"),
        slip("dice", {"right / (t + q - right)": "2 * right / (t + q)"},
             "This is the Dice score, 2 n / (t + q). IoU divides what is right by the union.",
             "library difference: Dice and F1 instead of Jaccard"),
        slip("missing_is_zero", {"iou = right / (t + q - right)": "iou = (right / (t + q - right)).nan_to_num()"},
             "A class that is neither true nor called has no score: NaN, and no part in the mean. You count it as 0.",
             "card trap: classes with an empty union are skipped"),
        slip("true_classes_only", {"iou.nanmean()": "iou[t > 0].mean()"},
             "A class that is called although it is nowhere true has the IoU 0, and counts in the mean.",
             "card trap: predicted but absent counts as 0"),
        slip("nan_spreads", {"iou.nanmean()": "iou.mean()", "(right / t).nanmean()": "(right / t).mean()"},
             "One class without pixels makes your mean NaN. Leave such classes out (nanmean).",
             "student mistake: mean over NaN"),
        slip("precision", {"(right / t).nanmean()": "(right / q).nanmean()"},
             "You divide by the pixels *called* i. The accuracy of class i is its share among the pixels that truly "
             "are i.", "student mistake: rows and columns exchanged"),
        slip("called_weights", {"(t * iou).nansum() / t.sum()": "(q * iou).nansum() / q.sum()"},
             "fwiou weighs a class by how often it is *true*.", "student mistake: rows and columns exchanged"),
    ),
)  # fmt: skip


def confusion_matrix__standin(pred, target, K, ignore_index=255):
    t, p = target.flatten().long(), pred.flatten().long()
    counts = torch.zeros(K, K, dtype=torch.int64)
    ones = torch.ones_like(t)[t != ignore_index]
    return counts.index_put((t[t != ignore_index], p[t != ignore_index]), ones, accumulate=True)


SCORED = (
    Variant(name="confusion_matrix", code=(confusion_matrix__standin,)),
    Variant(name="seg_scores", code=(seg_scores__loops,)),
)


def edge_cases(d):
    target = torch.zeros(2, 12, 11, dtype=torch.int64)
    target[0, 3:8, 2:7], target[0, 6:10, 5:10], target[1, 2:7, 4:9] = 1, 2, 2
    pred = target.clone()
    wrong = d.mask(2, 12, 11, p=0.15)
    wrong[0, 2, 3] = wrong[0, 4, 4] = wrong[1, 11, 0] = wrong[0, 6, 6] = wrong[1, 4, 6] = True
    pred[wrong] = (pred[wrong] + d.integers(1, 2, int(wrong.sum()))) % 3
    shifted = target.roll(1, 2)
    half = torch.zeros(1, 6, 6, dtype=torch.int64)
    half[:, :, 3:] = 1
    low = half.clone()
    low[0, :2, 1:4] = 1 - low[0, :2, 1:4]
    return [
        case("plain", "three classes, pixels wrong here and there", pred=pred, target=target, K=3),
        case("plain", "moved by one column", pred=shifted, target=target, K=3),
        case("plain", "two halves", pred=low, target=half, K=2),
        case("edge", "radius 2", pred=pred, target=target, K=3, radius=2),
        case("edge", "classes of two pictures differ", pred=pred.flip(0), target=target, K=4),
        case("edge", "no edge", pred=half, target=torch.zeros_like(half), K=2),
    ]


def edge_library(data):
    from scipy.ndimage import maximum_filter, minimum_filter
    from sklearn.metrics import jaccard_score

    target, side = data["target"].numpy(), 2 * data.get("radius", 1) + 1
    window = {"size": (1, side, side), "mode": "nearest"}
    near = maximum_filter(target, **window) != minimum_filter(target, **window)
    if not near.any():
        return NotImplemented
    pred, target = data["pred"].numpy()[near], target[near]
    return torch.tensor(jaccard_score(target, pred, average="macro"), dtype=DOUBLE)  # of the classes that occur


def boundary_iou__shifts(pred, target, K, radius=1):
    H, W = target.shape[1:]
    near = torch.zeros_like(target, dtype=torch.bool)
    for di in range(-radius, radius + 1):
        for dj in range(-radius, radius + 1):
            rows, cols = slice(max(0, -di), min(H, H - di)), slice(max(0, -dj), min(W, W - dj))
            there = slice(max(0, di), min(H, H + di)), slice(max(0, dj), min(W, W + dj))
            near[:, rows, cols] |= target[:, rows, cols] != target[:, there[0], there[1]]
    return seg_scores(confusion_matrix(pred[near], target[near], K))["miou"]


def boundary_iou__classes(pred, target, K, radius=1):
    here = torch.stack([target == k for k in range(K)], 1).float()
    close = F.max_pool2d(here, 2 * radius + 1, stride=1, padding=radius)
    void = torch.where(close.sum(1) > 1, target, 255)
    return seg_scores(confusion_matrix(pred, void, K))["miou"]


BOUNDARY_IOU = Exercise(
    name="boundary_iou",
    methods=("ch05/seg_metrics",),
    groups={"plain": 1.0, "edge": 1.0},
    cases=edge_cases,
    oracle=edge_library,
    uses=("confusion_matrix", "seg_scores"),
    standins=SCORED,
    minutes=20,
    difficulty="hard",
    good_for="seeing what a score over all pixels hides",
    hints=(
        "A pixel is far from every edge if its whole window has one label. Which two numbers about a window tell you "
        "that?",
        "The largest and the smallest label of each window differ near an edge. F.max_pool2d with stride 1 and padding "
        "radius gives the largest, and, on negative labels, the smallest.",
        "near = F.max_pool2d(t, side, stride=1, padding=radius) != -F.max_pool2d(-t, side, stride=1, padding=radius); "
        "then score pred[near] and target[near].",
    ),
    alternatives=(alternative(boundary_iou__shifts), alternative(boundary_iou__classes)),
    misconceptions=(
        slip("everywhere", {"near = highest != lowest": "near = highest >= lowest"},
             "This is the mIoU over all pixels. Keep only those near an edge of the true mask.",
             "student mistake: comparison that is always true"),
        slip("outer_side", {"near = highest != lowest": "near = highest != t"},
             "You keep one side of each edge only. A pixel is near an edge if *any* label of its window differs.",
             "student mistake: dilation minus mask"),
        slip("inner_side", {"near = highest != lowest": "near = lowest != t"},
             "You keep one side of each edge only. A pixel is near an edge if *any* label of its window differs.",
             "student mistake: mask minus erosion"),
        slip("round_the_corner", {"near = highest != lowest":
             "near = torch.zeros_like(target, dtype=torch.bool)\n"
             "for i in range(-radius, radius + 1):\n"
             "    for j in range(-radius, radius + 1):\n"
             "        near |= target.roll((i, j), (1, 2)) != target"},
             "roll brings in the opposite side of the picture: pixels at the border get neighbours that they do not "
             "have. Look only inside the picture.", "student mistake: roll for a shift"),
        slip("leans", {"near = highest != lowest":
             "step = torch.zeros_like(target, dtype=torch.bool)\n"
             "step[:, 1:] |= target[:, 1:] != target[:, :-1]\n"
             "step[:, :, 1:] |= target[:, :, 1:] != target[:, :, :-1]\n"
             "near = F.max_pool2d(step[:, None].double(), side, stride=1, padding=radius)[:, 0] > 0"},
             "Your band leans to one side: you mark only the lower or right pixel of two that differ, and widen from "
             "there. Compare each pixel with its whole window.", "student mistake: difference, then dilation"),
        slip("edges_of_the_answer", {"2 * radius + 1, target.double()": "2 * radius + 1, pred.double()"},
             "You look near the edges of the answer. Use those of the true mask: else an answer without edges is never "
             "asked.", "student mistake: pred and target exchanged"),
        slip("one_further", {"side, t = 2": "radius = radius + 1\nside, t = 2"},
             "Your band is one pixel too wide on each side: the window has 2 * radius + 1 rows and columns.",
             "student mistake: off by one in the window"),
        slip("accuracy", {'["miou"]': '["pixel_acc"]'},
             "You return the share of right pixels near edges. Return their mIoU.", "student mistake: wrong score"),
        slip("no_diagonals", {"near = highest != lowest": "cross = F.max_pool2d(t, (side, 1), stride=1, "
             "padding=(radius, 0))\n"
                               "row = F.max_pool2d(t, (1, side), stride=1, padding=(0, radius))\n"
                               "low = F.max_pool2d(-t, (side, 1), stride=1, padding=(radius, 0))\n"
                               "lows = F.max_pool2d(-t, (1, side), stride=1, padding=(0, radius))\n"
                               "near = torch.maximum(cross, row) != -torch.maximum(low, lows)"},
             "You look along rows and columns only. A pixel whose diagonal neighbour has another class is near an "
             "edge, too.",
             "student mistake: four neighbours for eight"),
    ),
)  # fmt: skip


WHY_POOL = Question(
    name="why_pool",
    points=4,
    text="""Your seven layers of 3x3 kernels at full resolution see 15x15 pixels, as many as the patch classifier.

1. How many such layers would it take to see the whole picture of 32x32 pixels from every one of its pixels (63x63)?
2. Name two different costs of simply adding these layers.
3. The next notebook halves the picture three times on the way instead. What does that buy, and what does it lose?

(About 120 words.)""",
    rubric="""\
* **1 (1 point)**: each layer adds 2 to the side, 2L + 1 = 63, so 31 layers.
* **2 (1 point)**: two of: multiplications grow with the depth at full resolution; memory for all the maps that
  back-propagation needs; deep plain stacks train badly (chapter 3). Half a point each.
* **3 (2 points)**: buys: after each halving, a layer sees twice as far and costs a quarter (one point, either half
  for half a point). Loses: the exact place, the borders; what was averaged or pooled away must be brought back
  (one point).""",
    samples=(
        (
            4.0,
            "2L + 1 = 63 gives 31 layers. Every one costs as much as the first, since the maps stay at 32x32, and all "
            "these maps must be kept for the backward pass; a plain stack that deep is also hard to train. After a "
            "2x2 pooling there are a quarter of the places to compute, and one step to the neighbour is two pixels "
            "wide, so the field grows twice as fast. But a pooled map no longer knows which of the four pixels it was: "
            "borders become uncertain, and something has to bring them back.",
        ),
        (2.0, "31 layers. That is slow and needs much memory. Halving makes it cheaper."),
        (0.5, "More layers would overfit, so one pools."),
    ),
)
