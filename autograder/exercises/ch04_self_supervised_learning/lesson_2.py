"""Exercises of notebook 2, contrast: InfoNCE and NT-Xent; and how many directions features use."""

import math

import numpy as np
import scipy.linalg
import scipy.stats
import torch
import torch.nn.functional as F

from autograder.declare import Exercise, Question, alternative, case, mistaken, slip
from dlcv_lab.checking import probing

DOUBLE = torch.float64


def nce_cases(d):
    return [
        case("value", "5 pairs, 4 numbers each", pred=d.normal(5, 4), target=d.normal(5, 4)),
        case("value", "temperature 0.2", pred=d.normal(6, 3), target=d.normal(6, 3), temperature=0.2),
        case("gradient", "both sides learn", pred=d.normal(4, 3), target=d.normal(4, 3), temperature=0.7),
        case("edge", "one pair", pred=d.normal(1, 3), target=d.normal(1, 3)),
        case("edge", "scores in the thousands", pred=60 * d.normal(4, 8), target=60 * d.normal(4, 8)),
        case("edge", "all targets are the same", pred=d.normal(7, 2), target=d.normal(1, 2).expand(7, 2).clone()),
        case("edge", "float64", pred=d.normal(3, 5, dtype=DOUBLE), target=d.normal(3, 5, dtype=DOUBLE)),
    ]


def nce_gradient(ns, data):
    return probing.gradients(ns.info_nce, [data["pred"], data["target"]], temperature=data["temperature"])


def nce_library(data):
    scores = torch.einsum("id,jd->ij", data["pred"], data["target"]) / data.get("temperature", 1.0)
    return F.cross_entropy(scores, torch.arange(len(scores)))


def info_nce__cross_entropy(pred, target, temperature=1.0):
    return F.cross_entropy(pred.matmul(target.t()) / temperature, torch.arange(len(pred)))


def info_nce__log_softmax(pred, target, temperature=1.0):
    scores = (pred[:, None] * target[None]).sum(-1) / temperature
    return -scores.log_softmax(dim=1).diag().mean()


def info_nce__only_negatives(pred, target, temperature=1.0):
    scores = pred @ target.T / temperature
    own = torch.eye(len(pred), dtype=torch.bool)
    return (scores.masked_fill(own, -math.inf).logsumexp(1) - scores.diagonal()).mean()


def info_nce__both_directions(pred, target, temperature=1.0):
    scores, labels = pred @ target.T / temperature, torch.arange(len(pred))
    return (F.cross_entropy(scores, labels) + F.cross_entropy(scores.T, labels)) / 2


def info_nce__naive_columns(pred, target, temperature=1.0):
    scores = pred @ target.T / temperature
    return -(scores.diagonal() - scores.exp().sum(0).log()).mean()


INFO_NCE = Exercise(
    name="info_nce",
    methods=("ch04/cpc",),
    core=True,
    groups={"value": 1.0, "gradient": 0.5, "edge": 1.0},
    cases=nce_cases,
    probe={"gradient": nce_gradient},
    oracle=nce_library,
    minutes=12,
    difficulty="easy",
    good_for="a classifier whose classes are the other pictures",
    alternatives=(alternative(info_nce__cross_entropy), alternative(info_nce__log_softmax)),
    misconceptions=(
        slip(
            "other_direction",
            {"scores.logsumexp(1)": "scores.logsumexp(0)"},
            "You let each target choose among the predictions. Here each PREDICTION chooses among the targets: the sum "
            "in the softmax runs over the targets.",
            "library difference: a public CPC code normalises over the predictions",
        ),
        slip(
            "no_temperature",
            {" / temperature": ""},
            "The temperature has no effect. Divide the scores by it.",
            "student mistake: an argument is ignored",
        ),
        slip(
            "times_temperature",
            {" / temperature": " * temperature"},
            "You multiply by the temperature. Divide: a low temperature makes the choice sharper.",
            "student mistake: inverse temperature",
        ),
        slip(
            "normalised",
            {"pred @ target.T": "F.normalize(pred, dim=1) @ F.normalize(target, dim=1).T"},
            "You normalise the rows. CPC takes plain dot products.",
            "library difference: info-nce-pytorch normalises",
        ),
        slip(
            "sum",
            {".mean()": ".sum()"},
            "You add up over the pairs. The loss is their mean.",
            "student mistake: sum for mean",
        ),
        slip(
            "overflow",
            {"scores.logsumexp(1)": "scores.exp().sum(1).log()"},
            "exp of a score in the thousands is infinite. Use logsumexp or a cross-entropy that takes scores.",
            "card trap: scores of 1e4",
        ),
        mistaken(
            info_nce__only_negatives,
            "Your denominator leaves the positive out. It is a softmax over all M targets, the right one included.",
            "student mistake: denominator without the positive",
        ),
        mistaken(
            info_nce__both_directions,
            "You average both directions. Here only the predictions choose among the targets.",
            "library difference: CLIP's loss is symmetric",
        ),
        mistaken(
            info_nce__naive_columns,
            "Two things: the sum in the softmax runs over the TARGETS, along dimension 1 of pred @ target.T; and exp "
            "of a score in the thousands is infinite: use logsumexp.",
            "student mistake: axis and overflow at once",
        ),
    ),
    hints=(
        "M predictions, M possible answers, and answer i is right for prediction i. Which loss of chapter 1 is that?",
        "scores = pred @ target.T / temperature, shape (M, M). Row i should be largest on the diagonal: softmax "
        "cross-entropy with the labels 0 ... M - 1.",
        "return F.cross_entropy(pred @ target.T / temperature, torch.arange(len(pred)))",
    ),
)  # fmt: skip


def xent_cases(d):
    same = d.normal(1, 4).expand(3, 4).clone()
    zero = torch.cat([d.normal(2, 3), torch.zeros(1, 3)])
    near = d.normal(4, 6, dtype=DOUBLE)
    return [
        case("value", "4 pictures", z1=d.normal(4, 5), z2=d.normal(4, 5)),
        case("value", "temperature 0.1", z1=d.normal(3, 4), z2=d.normal(3, 4), temperature=0.1),
        case("value", "vectors of all lengths", z1=1000 * d.normal(3, 3), z2=d.normal(3, 3)),
        case("gradient", "both views learn", z1=d.normal(3, 4), z2=d.normal(3, 4), temperature=0.3),
        case("edge", "one picture: only the partner is left", z1=d.normal(1, 4), z2=d.normal(1, 4)),
        case("edge", "all six views are the same", z1=same, z2=same.clone()),
        case(
            "edge", "temperature 0.01, float64", z1=near, z2=near + 0.1 * d.normal(4, 6, dtype=DOUBLE), temperature=0.01
        ),
        case("edge", "a vector of zeros", z1=zero, z2=d.normal(3, 3)),
    ]


def xent_gradient(ns, data):
    return probing.gradients(ns.nt_xent, [data["z1"], data["z2"]], temperature=data["temperature"])


def xent_library(data):
    """Return equation 1 by loops."""
    z = torch.cat([data["z1"], data["z2"]])
    z = z / z.norm(dim=1, keepdim=True).clamp(min=1e-12)
    n, total = len(data["z1"]), 0.0
    for i in range(2 * n):
        scores = [z[i].dot(z[k]) / data.get("temperature", 0.5) for k in range(2 * n) if k != i]
        total = total + torch.stack(scores).logsumexp(0) - z[i].dot(z[(i + n) % (2 * n)]) / data.get("temperature", 0.5)
    return total / (2 * n)


def nt_xent__log_softmax(z1, z2, temperature=0.5):
    z = torch.cat([z1, z2])
    z = z / z.norm(dim=1, keepdim=True).clamp(min=1e-12)
    scores = (z @ z.t()).div(temperature) - torch.diag(torch.full((len(z),), 1e30, dtype=z.dtype))
    n = len(z1)
    picked = scores.log_softmax(1)
    return -(picked[:n, n:].diagonal().sum() + picked[n:, :n].diagonal().sum()) / (2 * n)


def nt_xent__blocks(z1, z2, temperature=0.5):
    a, b = F.normalize(z1, dim=1), F.normalize(z2, dim=1)
    itself = torch.full((len(a),), float("inf"), dtype=a.dtype).diag_embed().nan_to_num(0.0, posinf=1e30)
    first = torch.cat([a @ b.T / temperature, a @ a.T / temperature - itself], dim=1)
    second = torch.cat([b @ a.T / temperature, b @ b.T / temperature - itself], dim=1)
    labels = torch.arange(len(a))
    return (F.cross_entropy(first, labels) + F.cross_entropy(second, labels)) / 2


def nt_xent__across_only(z1, z2, temperature=0.5):
    scores = F.normalize(z1, dim=1) @ F.normalize(z2, dim=1).T / temperature
    labels = torch.arange(len(z1))
    return (F.cross_entropy(scores, labels) + F.cross_entropy(scores.T, labels)) / 2


NT_XENT = Exercise(
    name="nt_xent",
    methods=("ch04/simclr",),
    core=True,
    groups={"value": 2.0, "gradient": 0.5, "edge": 1.5},
    cases=xent_cases,
    probe={"gradient": xent_gradient},
    oracle=xent_library,
    minutes=20,
    difficulty="medium",
    good_for="seeing that a contrastive loss is a softmax with one entry missing",
    alternatives=(alternative(nt_xent__log_softmax), alternative(nt_xent__blocks)),
    misconceptions=(
        slip(
            "twice",
            {"F.cross_entropy(scores, partner)": "2 * F.cross_entropy(scores, partner)"},
            "Your loss is exactly twice as large: you add the means of the two views. The paper's is ONE mean over all "
            "2N views.",
            "library difference: Google's code returns loss_a + loss_b",
        ),
        slip(
            "self_is_zero",
            {"-math.inf": "0.0"},
            "You set the score of a view with itself to 0. In a softmax a score of 0 still counts, as exp(0) = 1: set "
            "it to minus infinity.",
            "card trap: zeroed instead of masked",
        ),
        slip(
            "with_itself",
            {"scores = scores.masked_fill(itself, -math.inf)": ""},
            "Each view may choose itself, the most similar of all. Take its own score out of the softmax.",
            "card trap: self-similarity",
        ),
        slip(
            "not_normalised",
            {"F.normalize(torch.cat([z1, z2]), dim=1)": "torch.cat([z1, z2])"},
            "You take plain dot products. Scale every row to length 1 first, so that the scores are cosines.",
            "student mistake: cosine forgotten",
        ),
        slip(
            "no_temperature",
            {" / temperature": ""},
            "The temperature has no effect. Divide the cosines by it.",
            "student mistake: an argument is ignored",
        ),
        slip(
            "neighbours_as_partners",
            {"torch.arange(2 * N, device=z.device).roll(N)": "torch.arange(2 * N, device=z.device) ^ 1"},
            "After torch.cat view 1 of picture n is row n, and its partner is row n + N. Your partners are next rows, "
            "as in the paper's numbering 2k - 1, 2k.",
            "card trap: stacked or interleaved views",
        ),
        mistaken(
            nt_xent__across_only,
            "Your views choose among the OTHER view's N rows only. All 2N - 1 other views stand to choice, those "
            "of the "
            "same side too.",
            "library difference: CLIP's loss compares across only",
        ),
        slip(
            "columns_normalised",
            {"torch.cat([z1, z2]), dim=1)": "torch.cat([z1, z2]), dim=0)"},
            "You scale the columns to length 1. A row is one view: dim=1.",
            "student mistake: axis of F.normalize",
        ),
        slip(
            "one_view_asks",
            {"F.cross_entropy(scores, partner)": "F.cross_entropy(scores[:N], partner[:N])"},
            "Only the N views of z1 look for their partners. Those of z2 do, too: the mean is over all 2N.",
            "student mistake: half of the rows",
        ),
    ),
    hints=(
        "Stack all 2N views. In row i of the 2N x 2N scores, which entry is right, and which must not be there?",
        "z = F.normalize(torch.cat([z1, z2]), dim=1); scores = z @ z.T / temperature; the diagonal becomes -inf; "
        "row i's "
        "label is i + N, or i - N for the second half; cross-entropy.",
        "scores = scores.masked_fill(torch.eye(2 * N, dtype=torch.bool), -math.inf); return F.cross_entropy(scores, "
        "torch.arange(2 * N).roll(N))",
    ),
)  # fmt: skip


def rank_cases(d):
    line = d.normal(8, 1) @ d.normal(1, 5)
    basis = torch.linalg.qr(d.normal(8, 8, dtype=DOUBLE))[0][:, :4]
    equal = torch.linalg.qr(basis - basis.mean(0))[0]  # centred columns, orthonormal: all four singular values are 1
    far = d.normal(9, 3) + 20
    return [
        case("rank", "10 pictures, 4 features", z=d.normal(10, 4)),
        case("rank", "features of unequal strength", z=d.normal(12, 5) * torch.tensor([8.0, 4, 2, 1, 0.5])),
        case("rank", "far from the origin", z=far),
        case("edge", "all on one line", z=line + d.normal(1, 5)),
        case("edge", "four directions alike", z=equal),
        case("edge", "every picture has the same features", z=torch.full((6, 3), 0.25 * d.whole(1, 9))),
        case("edge", "more features than pictures", z=d.normal(4, 9)),
    ]


def rank_library(data):
    z = data["z"].double().numpy()
    sigma = scipy.linalg.svd(z - z.mean(0), compute_uv=False, lapack_driver="gesvd")
    return math.exp(scipy.stats.entropy(sigma)) if sigma.sum() > 1e-6 * np.linalg.norm(z) else 0.0


def effective_rank__entropy(z):
    sigma = torch.linalg.svd(z - z.mean(dim=0, keepdim=True), full_matrices=False).S
    if sigma.max() < 1e-6 * z.abs().max():
        return 0.0
    return torch.special.entr(sigma / sigma.sum()).sum().exp().item()


def effective_rank__loop(z):
    values = torch.linalg.svdvals((z - z.mean(0)).double()).tolist()
    if sum(values) < 1e-6 * float(z.norm()):
        return 0.0
    shares = [v / sum(values) for v in values]
    return math.exp(-sum(p * math.log(p) for p in shares if p > 0))


EFFECTIVE_RANK = Exercise(
    name="effective_rank",
    methods=("ch04/collapse_and_shortcuts",),
    core=True,
    groups={"rank": 1.5, "edge": 1.5},
    cases=rank_cases,
    oracle=rank_library,
    minutes=12,
    difficulty="medium",
    good_for="seeing a collapse that the loss hides",
    alternatives=(alternative(effective_rank__entropy), alternative(effective_rank__loop)),
    misconceptions=(
        slip(
            "not_centred",
            {"z - z.mean(0)": "z"},
            "You do not subtract the mean. Features that are the same for all pictures then look like a direction.",
            "card trap: centred",
        ),
        slip(
            "squared",
            {"p = sigma / sigma.sum()": "p = sigma.square() / sigma.square().sum()"},
            "You square the singular values (those are variances). p_k is the singular value itself over their sum.",
            "library difference: participation ratios use variances",
        ),
        slip(
            "entropy_only",
            {"math.exp(-torch.special.xlogy(p, p).sum().item())": "-torch.special.xlogy(p, p).sum().item()"},
            "That is the entropy. The effective rank is exp of it: D equal directions give D.",
            "student mistake: exp is missing",
        ),
        slip(
            "bits",
            {
                "math.exp(-torch.special.xlogy(p, p).sum().item())":
                    "math.exp(-(p * p.clamp(min=1e-12).log2()).sum().item())"
            },
            "You take logarithms to base 2 and then exp, which belongs to the natural logarithm.",
            "student mistake: base of the logarithm",
        ),
        slip(
            "over_pictures",
            {"z.mean(0)": "z.mean(1, keepdim=True)"},
            "You subtract each picture's mean over its features. Subtract each FEATURE's mean over the pictures.",
            "student mistake: axis",
        ),
        slip(
            "collapse_unseen",
            {"if sigma.sum() <= 1e-6 * z.norm():": "if False:"},
            "With equal rows all singular values are 0, and 0 / 0 is not a number. A full collapse has rank 0.",
            "card trap: all-zero spectrum",
        ),
        slip(
            "count",
            {"return math.exp(-torch.special.xlogy(p, p).sum().item())": "return float((p > 1e-6).sum())"},
            "You count the directions that are not 0. The effective rank weighs them: a weak direction counts little.",
            "student mistake: matrix rank",
        ),
        slip(
            "one_mean",
            {"z.mean(0)": "z.mean()"},
            "You subtract one mean of all numbers. Each feature has its own: z.mean(0).",
            "student mistake: axis",
        ),
        slip(
            "length_for_sum",
            {"sigma / sigma.sum()": "sigma / sigma.norm()"},
            "Your p_k do not sum to 1. Divide the singular values by their sum, not by the root of the sum of squares.",
            "student mistake: the wrong norm",
        ),
    ),
    hints=(
        "If all D singular values are equal, what is their entropy, and what makes D of it?",
        "sigma = torch.linalg.svdvals(z - z.mean(0)); nothing left: 0.0; p = sigma / sigma.sum(); exp of the entropy.",
        "return math.exp(-torch.special.xlogy(p, p).sum().item())",
    ),
)  # fmt: skip

WHY_NO_COLLAPSE = Question(
    name="why_no_collapse",
    points=4,
    text="""BYOL's loss is 0 if the encoder gives every picture the same vector. Yet in your run it did not.

1. Why can SimCLR not end in that solution? Say it with the formula: what is NT-Xent there, for N pictures?
2. You also trained BYOL without its stop-gradient and its predictor. Name the figure that shows what happened, and say
   why the loss alone would not have shown it.
3. Is "the target is a moving average" what prevents the collapse? Answer with one number of the notebook.

(About 120 words.)""",
    rubric="""\
* **1 (1.5 points)**: if all views are equal, each chooses among 2N - 1 equal scores, so the loss is log(2N - 1) (one
  point), the loss of guessing: the negatives push apart (half a point).
* **2 (1.5 points)**: the spread (half a point) falls to nearly nothing; the loss is lowest of all there, since equal
  vectors agree perfectly (one point).
* **3 (1 point)**: an answer that fits the run's bar without moving average (the target equals the online network, with
  the stop-gradient kept). If its spread stays well above the collapsed one's, the average is not what prevents it. A
  bare yes or no: nothing.""",
    samples=(
        (
            4.0,
            "If all vectors are equal, every one of the 2N - 1 scores is the same and NT-Xent is log(2N - 1), as "
            "bad as "
            "guessing, so gradient descent leaves that place. BYOL has no such term. Without predictor and "
            "stop-gradient "
            "the spread fell to nearly nothing while the loss was practically 0, lower than that of the healthy run: "
            "the loss rewards agreement, and constants agree. The run without the moving average kept its spread, so "
            "here the average is not the reason; stop-gradient and predictor are.",
        ),
        (2.0, "SimCLR has negatives. The spread collapses without stop-gradient. The moving average helps."),
        (0.5, "BYOL does not collapse because it has a target network which moves slowly."),
    ),
)
