"""Exercises of notebook 1: a Gaussian a class, and Bayes' rule in logs."""

import numpy as np
import torch
import torch.nn.functional as F

from autograder.declare import Exercise, Question, alternative, case, mistaken, slip

DOUBLE = torch.float64


def labels(d, *counts):
    """Return labels with these numbers of pictures a class, in a drawn order."""
    y = torch.cat([torch.full((n,), label) for label, n in enumerate(counts)])
    return y[d.permutation(len(y))]


def gaussian_cases(d):
    still = d.normal(8, 3)
    still[:, 1] = 0.5
    return [
        case("value", "12 pictures of 5 pixels, 3 classes", x=d.normal(12, 5), y=labels(d, 5, 4, 3), num_classes=3),
        case("value", "floor 0.5", x=3 * d.normal(9, 4), y=labels(d, 2, 7), num_classes=2, floor=0.5),
        case("edge", "one picture in a class", x=d.normal(7, 4), y=labels(d, 6, 1), num_classes=2),
        case("edge", "a pixel that never changes", x=still, y=labels(d, 3, 5), num_classes=2, floor=0.1),
        case("edge", "one class, float64", x=d.normal(5, 3, dtype=DOUBLE), y=labels(d, 5), num_classes=1),
        case("edge", "a class without pictures", x=d.normal(6, 3), y=labels(d, 3, 3), num_classes=3),
    ]


def gaussian_library(data):
    """Answer by scikit-learn's naive Bayes, whose floor is a share of the largest variance."""
    from sklearn.naive_bayes import GaussianNB

    x, y, floor = data["x"], data["y"], data.get("floor", 1e-2)
    if x.requires_grad or len(y.unique()) < data["num_classes"]:
        return NotImplemented
    x = x.double()
    share = floor / float(x.var(0, unbiased=False).max())
    theirs = GaussianNB(var_smoothing=share).fit(x.numpy(), y.numpy())
    parts = theirs.theta_, theirs.var_, np.log(theirs.class_prior_)
    return tuple(torch.from_numpy(part).to(data["x"].dtype) for part in parts)


def fit_gaussians__matrix(x, y, num_classes, floor=1e-2):
    member = F.one_hot(y, num_classes).to(x.dtype)  # (N, K)
    count = member.sum(0)
    if (count < 1).any():
        raise ValueError("a class without pictures")
    mu = member.T @ x / count[:, None]
    off = (x - mu[y]).pow(2)
    return mu, member.T @ off / count[:, None] + floor, torch.log(count / count.sum())


def fit_gaussians__moments(x, y, num_classes, floor=1e-2):
    parts = [x[y == k].double() for k in range(num_classes)]
    if any(len(part) == 0 for part in parts):
        raise ValueError("a class without pictures")
    mu = torch.stack([part.mean(0) for part in parts])
    second = torch.stack([(part * part).mean(0) for part in parts])
    share = torch.tensor([len(part) / len(x) for part in parts], dtype=x.dtype)
    return mu.to(x.dtype), (second - mu * mu + floor).to(x.dtype), share.log()


FIT_GAUSSIANS = Exercise(
    name="fit_gaussians",
    methods=("ch07/model_taxonomy",),
    core=True,
    groups={"value": 1.5, "edge": 1.0},
    cases=gaussian_cases,
    oracle=gaussian_library,
    returns=("mu", "var", "log_py"),
    minutes=15,
    difficulty="easy",
    good_for="a generative model that one can write on a napkin",
    alternatives=(alternative(fit_gaussians__matrix), alternative(fit_gaussians__moments)),
    misconceptions=(
        slip("unbiased", {"unbiased=False": "unbiased=True"},
             "You divide by one less than the number of pictures (torch's default). Divide by their number; with a "
             "single picture the variance is then 0, and the floor is all that remains.",
             "library difference: torch.var divides by N - 1"),
        slip("clamped", {"mine.var(0, unbiased=False) + floor": "mine.var(0, unbiased=False).clamp(min=floor)"},
             "You use the floor as a least value. It is ADDED to every variance.",
             "library difference: scikit-learn's var_smoothing is added, too"),
        slip("no_floor", {" + floor": ""},
             "The floor has no effect. Add it to every variance, else a pixel that never changes has variance 0.",
             "card trap: a class with one sample"),
        slip("deviation", {"mine.var(0, unbiased=False) + floor": "mine.std(0, unbiased=False) + floor"},
             "You return standard deviations. The second part holds variances, their squares.",
             "student mistake: std for var"),
        slip("around_all",
             {"mine.var(0, unbiased=False)": "(mine - x.mean(0)).square().mean(0)"},
             "Your variance is around the mean of ALL pictures. Each class deviates from its own mean.",
             "student mistake: one mean for all classes"),
        slip("no_log", {"/ len(y)).log()": "/ len(y))"},
             "The third part holds the shares themselves. Return their logs.", "student mistake: log forgotten"),
        slip("counts", {" / len(y)": ""},
             "Your log shares are logs of counts. Divide by the number of all pictures: shares sum to 1.",
             "student mistake: counts for shares"),
        slip("unchecked", {"if (count == 0).any():": "if False:"},
             "A class without any picture has no mean. Raise a ValueError for it.", "student mistake: mean of nothing"),
    ),
    hints=(
        "Which pictures belong to class 2? What are mean and variance of one pixel over them?",
        "Loop over the classes: mine = x[y == label]; its mean over axis 0, its variance over axis 0 with "
        "unbiased=False, plus the floor. The shares are torch.bincount(y, minlength=num_classes) / N.",
        "mu.append(mine.mean(0)); var.append(mine.var(0, unbiased=False) + floor); at the end torch.stack both, and "
        "the log of the shares.",
    ),
)  # fmt: skip


def bayes_cases(d):
    impossible = torch.tensor([0.25, 0.75, 0.0]).log()
    shares = lambda k, **kind: d.normal(k, **kind).log_softmax(0)  # noqa: E731
    return [
        case("value", "4 pictures, 3 classes", log_px_y=d.normal(4, 3), log_py=shares(3)),
        case("value", "3 pictures, 3 classes", log_px_y=3 * d.normal(3, 3), log_py=2 * d.normal(3).log_softmax(0)),
        case("edge", "log densities around -2000", log_px_y=20 * d.normal(5, 4) - 2000, log_py=shares(4)),
        case("edge", "log densities around +2000", log_px_y=20 * d.normal(5, 4) + 2000, log_py=shares(4)),
        case("edge", "a class with share 0", log_px_y=d.normal(4, 3), log_py=impossible),
        case("edge", "one picture, float64", log_px_y=d.normal(1, 5, dtype=DOUBLE), log_py=shares(5, dtype=DOUBLE)),
        case(
            "edge",
            "a face beside junk: densities around 1000, 0 and -1000",
            log_px_y=d.normal(3, 4) + torch.tensor([[1000.0], [0.0], [-1000.0]]),
            log_py=shares(4),
        ),
    ]


def bayes_library(data):
    log_px_y, log_py = data["log_px_y"], data["log_py"]
    joint = log_px_y + log_py
    most = joint.detach().amax(1, keepdim=True)
    log_px = (joint - most).exp().sum(1).log() + most[:, 0]
    return joint.log_softmax(1), log_px


def bayes_classifier__softmax(log_px_y, log_py):
    joint = log_px_y + log_py[None]
    return F.log_softmax(joint, dim=1), torch.logsumexp(joint, dim=-1)


def bayes_classifier__by_picture(log_px_y, log_py):
    posterior, evidence = [], []
    for row in log_px_y:
        joint = row + log_py
        most = joint.max()
        total = most + (joint - most).exp().sum().log()
        posterior.append(joint - total)
        evidence.append(total)
    return torch.stack(posterior), torch.stack(evidence)


def bayes_classifier__adds_densities(log_px_y, log_py):
    joint = log_px_y + log_py
    return joint - joint.sum(1, keepdim=True), joint.sum(1)


def bayes_classifier__densities(log_px_y, log_py):
    joint = log_px_y.exp() * log_py.exp()
    px = joint.sum(1)
    return (joint / px[:, None]).log(), px.log()


def bayes_classifier__one_maximum(log_px_y, log_py):
    joint = log_px_y + log_py
    most = joint.max()
    log_px = (joint - most).exp().sum(1).log() + most
    return joint - log_px[:, None], log_px


BAYES_CLASSIFIER = Exercise(
    name="bayes_classifier",
    methods=("ch07/model_taxonomy",),
    core=True,
    groups={"value": 1.0, "edge": 1.0},
    cases=bayes_cases,
    oracle=bayes_library,
    returns=("log_py_x", "log_px"),
    minutes=12,
    difficulty="easy",
    good_for="seeing that p(x), p(x|y) and p(y|x) are three questions to one table",
    alternatives=(alternative(bayes_classifier__softmax), alternative(bayes_classifier__by_picture)),
    misconceptions=(
        slip("underflow", {"joint.logsumexp(1)": "joint.exp().sum(1).log()"},
             "exp(-2000) is 0 and exp(2000) is infinite. Use torch.logsumexp, which subtracts the largest first.",
             "card trap: underflow without logsumexp"),
        slip("no_prior", {" + log_py": ""},
             "The shares of the classes have no effect. p(x|y) p(y) is a sum of two logs.",
             "student mistake: the prior is forgotten"),
        slip("not_divided", {"joint - log_px[:, None]": "joint"},
             "Your first part is log p(x, y): it is not divided by p(x). Subtract log p(x) from every row.",
             "student mistake: joint for posterior"),
        slip("over_pictures",
             {"joint.logsumexp(1)": "joint.logsumexp(0)", "log_px[:, None]": "log_px[None]"},
             "You sum over the pictures. p(x) is a sum over the LABELS, one number a picture.",
             "student mistake: wrong axis"),
        slip("no_logs", {"return joint - log_px[:, None], log_px": "return (joint - log_px[:, None]).exp(), log_px"},
             "Your first part holds probabilities. Return their logs.", "student mistake: exp too many"),
        slip("max_for_sum", {"joint.logsumexp(1)": "joint.amax(1)"},
             "Your p(x) is that of the best label alone. Sum over all labels.", "student mistake: maximum for sum"),
        slip("px_without_shares",
             {"joint.logsumexp(1)": "log_px_y.logsumexp(1)", "joint - log_px[:, None]": "joint.log_softmax(1)"},
             "Your p(x) leaves out the shares of the classes. It is the sum of p(x|y) p(y).",
             "student mistake: the prior is forgotten in one part"),
        mistaken(bayes_classifier__densities,
                 "exp(-2000) is 0 and exp(2000) is infinite, and their quotient is NaN. Never leave the logs: add and "
                 "subtract them, and use torch.logsumexp.", "card trap: underflow without logsumexp"),
        mistaken(bayes_classifier__one_maximum,
                 "You subtract one and the same largest number from all pictures: beside a likely one, a very unlikely "
                 "one still underflows. Each picture has its own largest; torch.logsumexp takes it.",
                 "student mistake: one maximum for a batch"),
        mistaken(bayes_classifier__adds_densities,
                 "You add logs, which multiplies the probabilities. p(x) is the SUM of p(x|y) p(y): exp, sum, log, "
                 "which torch.logsumexp does without overflow.", "student mistake: sum of logs for log of sum"),
    ),
    hints=(
        "p(x|y) p(y) is a product. What is it in logs? And what does a sum become?",
        "joint = log_px_y + log_py, shape (N, K). log p(x) is torch.logsumexp over the classes; dividing by p(x) is "
        "a subtraction.",
        "log_px = joint.logsumexp(1); return joint - log_px[:, None], log_px",
    ),
)  # fmt: skip

WHO_COMPETES = Question(
    name="who_competes",
    text="A hospital wants software that names the disease on an X-ray, and that says so when a picture is none of "
    "its business (a photograph of a cat, a broken scan). Which of p(y|x), p(x) and p(x|y) do you need, and why can "
    "softmax probabilities not replace p(x)? Which weakness of p(x) on *pixels* have you seen in this notebook?",
    points=2,
    rubric="- 1 point: p(y|x) to name, p(x) (or p(x|y) with Bayes, which gives both) to reject.\n- 0.5: a softmax "
    "distributes probability 1 among the labels of every picture, however strange: only labels compete.\n- 0.5: a "
    "pixel density judges by pixels: an easy, smooth picture may score high though it is no X-ray (or another "
    "weakness that was measured).",
    samples=(
        (2, "p(x|y) with shares: Bayes gives p(y|x) to name and p(x) to reject. Softmax must sum to one over labels "
            "for a cat as well, so it may be 99 % sure. The Gaussians took blank paper for likelier than many faces: "
            "they judge pixels, one by one, not what is on the picture."),
        (1, "p(y|x) for the diagnosis and p(x) for the cat. One could also take the softmax if it is low."),
        (0, "p(y|x), because it is most accurate."),
    ),
)  # fmt: skip
