"""Exercises of notebook 1 about probabilities and losses."""

import math

import torch
import torch.nn.functional as F

from autograder.declare.draws import case
from autograder.declare.exercise import Alternative, Exercise, Variant
from autograder.declare.slips import slip
from dlcv_lab.checking import probing
from dlcv_lab.checking.model import Forbid

DOUBLE = torch.float64
NO_SOFTMAX = Forbid(
    aten=("aten._softmax*", "aten._log_softmax*", "aten.logsumexp*", "aten.softmax*", "aten.log_softmax*"),
    names=("torch.softmax", "torch.log_softmax", "torch.logsumexp", "F.softmax", "F.log_softmax", "F.cross_entropy"),
)


def softmax_cases(d):
    N, K = d.whole(2, 3), d.whole(4, 6)
    far = torch.tensor([[1e4, 0.0], [-1e4, -1e4]]) + d.normal(2, 2)
    return [
        case("softmax", "a row for each picture", s=d.normal(N, K) * 2),
        case("softmax", "over axis 1 of three", s=d.normal(3, 3, 3, dtype=DOUBLE), dim=1),
        case("softmax", "over axis 0", s=d.normal(K, K), dim=0),
        case("softmax", "one class", s=d.normal(N, 1)),
        case("large", "scores of 10 000 and -10 000", s=far),
        case("large", "a class that is ruled out by -inf", s=torch.cat([d.normal(3), torch.tensor([-math.inf])])),
        case("log", "logarithms", s=d.normal(N, K, dtype=DOUBLE) * 2),
        case("log", "logarithms over axis 0", s=d.normal(K, K), dim=0),
        case("log", "logarithms of tiny probabilities", s=torch.tensor([1e4, -1e4, 200.0]) + d.normal(3)),
    ]


def softmax__by_exp_of_log(s, dim=-1):
    return log_softmax(s, dim).exp()


def log_softmax__logaddexp(s, dim=-1):
    total = s.select(dim, 0)
    for k in range(1, s.shape[dim]):
        total = torch.logaddexp(total, s.select(dim, k))
    return s - total.unsqueeze(dim)


def softmax__moves_the_axis(s, dim=-1):
    rows = s.movedim(dim, -1)
    e = torch.exp(rows - rows.max(-1, keepdim=True).values)
    return (e / e.sum(-1, keepdim=True)).movedim(-1, dim)


def log_softmax__two_steps(s, dim=-1):
    m = s.max(dim, keepdim=True).values
    return s - (m + torch.log(torch.exp(s - m).sum(dim, keepdim=True)))


SOFTMAX = Exercise(
    name="softmax",
    defines=("softmax", "log_softmax"),
    methods=("ch01/softmax",),
    core=True,
    groups={"softmax": 1.0, "large": 0.5, "log": 1.0},
    cases=softmax_cases,
    probe={"log": "log_softmax"},
    oracle={
        "softmax": lambda data: torch.softmax(data["s"], data.get("dim", -1)),
        "large": lambda data: torch.softmax(data["s"], data.get("dim", -1)),
        "log": lambda data: torch.log_softmax(data["s"], data.get("dim", -1)),
    },
    forbid=NO_SOFTMAX,
    minutes=12,
    difficulty="easy",
    good_for="the step from scores to probabilities, safe for scores of any size",
    hints=(
        "Which number can you subtract from all scores so that none is positive any more? Does it change the answer?",
        "Subtract the largest score along dim, keeping the axis (keepdim=True), so that shapes still fit. Then exp, "
        "and divide by the sum along dim. For the logarithm: the shifted score minus the log of that sum.",
        "below = s - s.amax(dim, keepdim=True); e = below.exp(); e / e.sum(dim, keepdim=True). The logarithm is "
        "below - below.exp().sum(dim, keepdim=True).log().",
    ),
    alternatives=(
        Alternative(name="by_the_logarithm", code=(softmax__by_exp_of_log, log_softmax__two_steps)),
        Alternative(name="moves_the_axis", code=(softmax__moves_the_axis, log_softmax__logaddexp)),
    ),
    misconceptions=(
        slip(
            "overflows",
            {"(s - s.amax(dim, keepdim=True)).exp()": "s.exp()"},
            "Right for small scores; for large ones exp overflows to infinity, and infinity / infinity is nan. "
            "Subtract the largest score of each row first.",
            "card trap: scores of 1e4",
        ),
        slip(
            "overflows_twice",
            {
                "(s - s.amax(dim, keepdim=True)).exp()": "s.exp()",
                "below - below.exp().sum(dim, keepdim=True).log()": "softmax(s, dim).log()",
            },
            "Right for small scores, both of them. For large ones exp overflows to infinity, and infinity / infinity "
            "is nan: subtract the largest score of each row first. For the logarithm subtract the log of the sum then; "
            "the log of a probability that rounds to 0 is -inf.",
            "student mistake: both formulas as they stand",
        ),
        slip(
            "overflows_in_both",
            {
                "(s - s.amax(dim, keepdim=True)).exp()": "s.exp()",
                "below - below.exp().sum(dim, keepdim=True).log()": "s - s.exp().sum(dim, keepdim=True).log()",
            },
            "Right for small scores, both of them. For large ones exp overflows to infinity: subtract the largest "
            "score of each row first, in both functions.",
            "student mistake: both formulas as they stand",
        ),
        slip(
            "one_maximum",
            {("softmax", "s.amax(dim, keepdim=True)"): "s.amax()"},
            "You subtract the largest of ALL scores. A row far below it becomes 0 / 0: take the largest along dim, "
            "with keepdim=True.",
            "student mistake: max over everything",
        ),
        slip(
            "log_of_zero",
            {
                "below - below.exp().sum(dim, keepdim=True).log()": "(e := below.exp()).div(e.sum(dim, "
                "keepdim=True)).log()"
            },
            "You take the logarithm of the probabilities. A probability that rounds to 0 has the logarithm -inf, "
            "where -20 000 is right: subtract the log of the sum instead.",
            "card trap: log(softmax(s))",
        ),
        slip(
            "always_the_last_axis",
            {"e.sum(dim, keepdim=True)": "e.sum(-1, keepdim=True)"},
            "Along the last axis you are right. The sum has to run along dim, wherever that is.",
            "student mistake: dim ignored in one of the two places",
        ),
        slip(
            "no_exp",
            {"(s - s.amax(dim, keepdim=True)).exp()": "s"},
            "You divide the scores by their sum. Scores may be negative: first make them positive with exp.",
            "student mistake: normalising without exp",
        ),
        slip(
            "base_ten",
            {"sum(dim, keepdim=True).log()": "sum(dim, keepdim=True).log10()"},
            "Your logarithm has base 10. Everywhere in this book log is the natural logarithm.",
            "card trap: the copies of the worked example that print 0.89",
        ),
        slip(
            "log_overflows",
            {"below - below.exp().sum(dim, keepdim=True).log()": "s - s.exp().sum(dim, keepdim=True).log()"},
            "`softmax` is right. In `log_softmax` exp overflows for large scores: subtract the largest score of "
            "each row before it, there too.",
            "student mistake: the second formula as it stands",
        ),
    ),
)


def softmax_jacobian_cases(d):
    def probabilities(K, dtype=torch.float32):
        return torch.softmax(d.normal(K, dtype=dtype), 0)

    return [
        case("plain", "a few classes", p=probabilities(d.whole(3, 5))),
        case("plain", "float64", p=probabilities(d.whole(6, 8), DOUBLE)),
        case("edge", "one class", p=torch.ones(1)),
        case("edge", "a sure answer", p=torch.tensor([0.0, 1.0, 0.0])),
    ]


def softmax_jacobian__entries(p):
    J = torch.zeros(len(p), len(p), dtype=p.dtype)
    for i in range(len(p)):
        for j in range(len(p)):
            J[i, j] = p[i] * (1 - p[i]) if i == j else -p[i] * p[j]
    return J


def softmax_jacobian__row_times(p):
    return p[:, None] * (torch.eye(len(p), dtype=p.dtype) - p)


SOFTMAX_JACOBIAN = Exercise(
    name="softmax_jacobian",
    methods=("ch01/softmax",),
    groups={"plain": 1.0, "edge": 0.5},
    cases=softmax_jacobian_cases,
    minutes=8,
    difficulty="medium",
    good_for="the slopes behind 'probability minus truth'",
    hints=(
        "What is different on the diagonal, where i == j?",
        "Two matrices: one with p on its diagonal and 0 elsewhere, and one with all products p_i * p_j.",
        "torch.diag(p) - p[:, None] * p[None, :].",
    ),
    alternatives=(
        Alternative(name="entries", code=(softmax_jacobian__entries,)),
        Alternative(name="row_times", code=(softmax_jacobian__row_times,)),
    ),
    misconceptions=(
        slip(
            "diagonal_only",
            {"torch.diag(p) - p[:, None] * p[None, :]": "torch.diag(p * (1 - p))"},
            "Off the diagonal you have 0. Raising one score takes probability from all the others: -p_i * p_j.",
            "student mistake: softmax taken for a function of each score alone, like the sigmoid",
        ),
        slip(
            "sign",
            {"torch.diag(p) - p[:, None] * p[None, :]": "p[:, None] * p[None, :] - torch.diag(p)"},
            "All signs are turned: raising a score raises its own probability, so the diagonal is positive.",
            "student mistake: sign",
        ),
        slip(
            "identity",
            {"torch.diag(p)": "torch.eye(len(p), dtype=p.dtype)"},
            "On the diagonal you have 1 - p_i * p_i; it is p_i * (1 - p_i). The factor p_i stands before the bracket.",
            "student mistake: p_i left out of delta_ij",
        ),
        slip(
            "squares",
            {"p[:, None] * p[None, :]": "p * p"},
            "You subtract the squares p_j * p_j from every row. Row i and column j need the product p_i * p_j: a "
            "column p[:, None] times a row p[None, :].",
            "student mistake: a vector times itself taken for all pairs",
        ),
    ),
)


def softmax__standin(s, dim=-1):
    return torch.softmax(s, dim)


def log_softmax__standin(s, dim=-1):
    return torch.log_softmax(s, dim)


def cross_entropy_cases(d):
    N, K = d.whole(4, 6), d.whole(3, 5)
    y = d.integers(0, K - 1, N)
    return [
        case("plain", "the mean over the pictures", s=d.normal(N, K) * 2, y=y),
        case("plain", "one picture, float64", s=d.normal(1, K, dtype=DOUBLE), y=y[:1]),
        case("reduction", "the sum", s=d.normal(N, K), y=y, reduction="sum"),
        case("reduction", "a loss for each picture", s=d.normal(N, K), y=y, reduction="none"),
        case("reduction", "an unknown reduction", s=d.normal(2, K), y=y[:2], reduction="average"),
        case("large", "scores of 10 000", s=torch.tensor([[0.0, 1e4], [1e4, 0.0]]) + d.normal(2, 2), y=y[:2] * 0),
        case("gradient", "the gradient", s=d.normal(N, K), y=y),
    ]


def cross_entropy_gradient(ns, data):
    value, grads = probing.gradients(ns.cross_entropy, [data["s"], data["y"]], torch.ones(()))
    return {"loss": value, "gradient": grads[0]}


def cross_entropy__gather(s, y, *, reduction="mean"):
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(reduction)
    loss = log_softmax(s).gather(1, y[:, None])[:, 0].neg()
    return loss if reduction == "none" else getattr(loss, reduction)()


def cross_entropy__one_hot(s, y, *, reduction="mean"):
    truth = y[:, None] == torch.arange(s.shape[1])
    m = s.max(1).values
    loss = m + (s - m[:, None]).exp().sum(1).log() - (s * truth).sum(1)
    match reduction:
        case "none":
            return loss
        case "sum" | "mean":
            return loss.sum() / (1 if reduction == "sum" else len(y))
    raise ValueError(f"no such reduction: {reduction}")


CROSS_ENTROPY = Exercise(
    name="cross_entropy",
    methods=("ch01/cross_entropy",),
    core=True,
    groups={"plain": 1.0, "reduction": 0.5, "large": 0.5, "gradient": 0.5},
    cases=cross_entropy_cases,
    probe={"gradient": cross_entropy_gradient},
    oracle=lambda data: F.cross_entropy(data["s"], data["y"], reduction=data.get("reduction", "mean")),
    uses=("softmax",),
    standins=(Variant(name="softmax", code=(softmax__standin, log_softmax__standin)),),
    forbid=Forbid(
        aten=("aten.nll_loss*", "aten.cross_entropy*"), names=("F.cross_entropy", "F.nll_loss", "nn.CrossEntropyLoss")
    ),
    minutes=12,
    difficulty="medium",
    good_for="the loss of nearly every classifier in this book",
    hints=(
        "You have log_softmax. Which of its K numbers in row n belongs to the true class?",
        "log_p = log_softmax(s, dim=1) has a row a picture. Pick entry y[n] of row n for all n at once by giving two "
        "lists of places: the rows 0 ... N - 1, and y. Then the minus sign, then the reduction.",
        "losses = -log_softmax(s, dim=1)[torch.arange(len(y)), y]; return losses.mean(), losses.sum() or losses.",
    ),
    alternatives=(
        Alternative(name="gather", code=(cross_entropy__gather,)),
        Alternative(name="one_hot", code=(cross_entropy__one_hot,)),
    ),
    misconceptions=(
        slip(
            "log_of_softmax",
            {"log_softmax(s, dim=1)": "softmax(s, dim=1).log()"},
            "Right for small scores. For large ones the probability rounds to 0 and your loss is infinite: take "
            "log_softmax, not the log of softmax.",
            "card trap: log(softmax(s))",
        ),
        slip(
            "softmax_twice",
            {"log_softmax(s, dim=1)": "log_softmax(softmax(s, dim=1), dim=1)"},
            "You take the softmax twice: log_softmax gets probabilities, and makes probabilities of them once more. "
            "Give it the scores.",
            "library difference: F.cross_entropy wants scores and gets probabilities",
        ),
        slip(
            "no_minus",
            {"-log_softmax": "log_softmax"},
            "Your loss is negative. A surprise is MINUS the logarithm of a probability.",
            "student mistake: sign",
        ),
        slip(
            "raw_score",
            {"-log_softmax(s, dim=1)": "-s"},
            "You charge minus the score of the true class. The other scores count, too: turn them into (log) "
            "probabilities first.",
            "library difference: nll_loss expects log-probabilities and gets scores",
        ),
        slip(
            "down_the_columns",
            {"dim=1": "dim=0"},
            "Your probabilities add up to 1 over the pictures. They must do so over the classes of each picture: "
            "dim=1.",
            "student mistake: axes confused",
        ),
        slip(
            "all_pairs",
            {"[torch.arange(len(y)), y]": "[:, y]"},
            "[:, y] takes the columns y from EVERY row, an N x N table. You want one entry a row: "
            "[torch.arange(len(y)), y].",
            "student mistake: indexing by a list of columns",
        ),
        slip(
            "always_the_mean",
            {"return losses.sum()": "return losses.mean()"},
            "The mean is right; for reduction='sum' the losses are added up and not divided.",
            "student mistake: reduction ignored",
        ),
    ),
)


def bce_cases(d):
    N, K = d.whole(4, 6), d.whole(3, 5)
    labels = d.integers(0, K - 1, N)
    return [
        case("plain", "yes or no", s=d.normal(N) * 2, t=d.mask(N).float()),
        case("plain", "soft targets, a table of questions", s=d.normal(N, K), t=d.uniform(N, K)),
        case("plain", "float64", s=d.normal(N, dtype=DOUBLE), t=d.uniform(N, dtype=DOUBLE)),
        case("large", "scores of 10 000", s=torch.tensor([1e4, -1e4, -1e4]), t=torch.tensor([0.0, 1.0, 0.0])),
        case("gradient", "the gradient, large scores too", s=torch.tensor([100.0, -200.0, 1.0, -0.5]), t=d.uniform(4)),
        case("targets", "one class against the rest", y=labels, num_classes=K),
        case("targets", "a class that does not occur", y=labels, num_classes=K + 2),
    ]


def bce_gradient(ns, data):
    value, grads = probing.gradients(ns.bce_with_logits, [data["s"], data["t"]], torch.ones(()))
    return {"loss": value, "gradient": grads[0]}


def bce_with_logits__two_parts(s, t):
    return (t * F.softplus(-s) + (1 - t) * F.softplus(s)).mean()


def bce_with_logits__nothing_overflows(s, t):
    return (s.clamp(min=0) - s * t + torch.log1p((-s.abs()).exp())).mean()


def one_vs_rest_targets__fills(y, num_classes):
    t = torch.zeros(len(y), num_classes)
    t[torch.arange(len(y)), y] = 1
    return t


def one_vs_rest_targets__eye(y, num_classes):
    return torch.eye(num_classes)[y]


BCE = Exercise(
    name="bce_with_logits",
    defines=("bce_with_logits", "one_vs_rest_targets"),
    methods=("ch01/bce",),
    core=True,
    groups={"plain": 1.0, "large": 0.5, "gradient": 0.5, "targets": 0.5},
    cases=bce_cases,
    probe={"gradient": bce_gradient, "targets": "one_vs_rest_targets"},
    oracle={
        "plain": lambda data: F.binary_cross_entropy_with_logits(data["s"], data["t"]),
        "large": lambda data: F.binary_cross_entropy_with_logits(data["s"], data["t"]),
        "targets": lambda data: F.one_hot(data["y"], data["num_classes"]).float(),
    },
    forbid=Forbid(
        aten=("aten.binary_cross_entropy*",),
        names=("F.binary_cross_entropy", "F.binary_cross_entropy_with_logits", "nn.BCEWithLogitsLoss", "F.one_hot"),
    ),
    minutes=12,
    difficulty="medium",
    good_for="yes/no questions, from detectors to discriminators, without a single nan",
    hints=(
        "What is log(1 + exp(s)) for a very large s, nearly? And why does exp(s) not survive that?",
        "torch.logaddexp(s, 0) is log(exp(s) + exp(0)); it wants two tensors. Subtract s * t, and take the mean. "
        "For the targets, compare a column of labels with a row of class numbers.",
        "(torch.logaddexp(s, torch.zeros_like(s)) - s * t).mean(), and "
        "(y[:, None] == torch.arange(num_classes)).float().",
    ),
    alternatives=(
        Alternative(name="two_parts", code=(bce_with_logits__two_parts, one_vs_rest_targets__fills)),
        Alternative(name="eye", code=(bce_with_logits__nothing_overflows, one_vs_rest_targets__eye)),
    ),
    misconceptions=(
        slip(
            "as_it_stands",
            {
                "(torch.logaddexp(s, torch.zeros_like(s)) - s * t).mean()": "(-t * torch.sigmoid(s).log() - (1 - t) "
                "* (1 - torch.sigmoid(s)).log()).mean()"
            },
            "Right for small scores. For large ones the sigmoid rounds to 0 or 1, and its logarithm is infinite or "
            "nan: compute from the score, log(1 + exp(s)) - s * t.",
            "card trap: log(sigmoid(s)) in float32",
        ),
        slip(
            "exp_overflows",
            {"torch.logaddexp(s, torch.zeros_like(s))": "torch.log(1 + s.exp())"},
            "The formula is right, but exp(s) overflows for large scores. torch.logaddexp(s, zeros) computes the same "
            "number for any score.",
            "student mistake: log(1 + exp(s)) written out",
        ),
        slip(
            "clamped",
            {
                "return (torch.logaddexp(s, torch.zeros_like(s)) - s * t).mean()": "q = torch.sigmoid(s)."
                "clamp(1e-7, 1 - 1e-7)\nreturn -(t * q.log() + (1 - t) * (1 - q).log()).mean()"
            },
            "You keep the probability away from 0 and 1. The loss of an answer then ends at about 16, and its gradient "
            "is 0 where the answer is worst: compute from the score, log(1 + exp(s)) - s * t.",
            "student mistake: clamping against log(0)",
        ),
        slip(
            "sign_of_the_score",
            {"torch.logaddexp(s, torch.zeros_like(s)) - s * t": "torch.logaddexp(-s, torch.zeros_like(s)) + s * t"},
            "The sign of s is turned round: you charge a positive score as a no. It says yes, q = 1 / (1 + exp(-s)).",
            "student mistake: sign",
        ),
        slip(
            "yes_only",
            {"torch.logaddexp(s, torch.zeros_like(s)) - s * t": "t * torch.logaddexp(-s, torch.zeros_like(s))"},
            "Questions whose answer is no cost nothing with yours. The second half, (1 - t) * log(1 - q), is missing.",
            "student mistake: the first term of the formula only",
        ),
        slip(
            "sums",
            {".mean()": ".sum()"},
            "Your losses are added up. The mean over all questions is asked for.",
            "student mistake: sum for mean",
        ),
        slip(
            "hard_targets",
            {"s * t": "s * (t > 0.5)"},
            "You round the targets to 0 and 1. A target of 0.3 is allowed, and it counts as 0.3.",
            "student mistake: targets taken for labels",
        ),
        slip(
            "minus_one",
            {".float()": ".float() * 2 - 1"},
            "Your targets are 1 and -1. For this loss 'no' is 0.",
            "library difference: support vector machines use the targets -1 and 1",
        ),
    ),
)
