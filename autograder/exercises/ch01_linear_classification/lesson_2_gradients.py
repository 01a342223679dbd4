"""Exercises of notebook 2 about gradients: measured, and derived."""

import torch
import torch.nn.functional as F

from autograder.declare.draws import case
from autograder.declare.exercise import Alternative, Exercise
from autograder.declare.probes import shipped
from autograder.declare.slips import slip

DOUBLE = torch.float64


def numeric_gradient_cases(d):
    def weights(*shape):
        return d.normal(*shape, dtype=DOUBLE)

    n = d.whole(4, 6)
    return [
        case("central", "a sum of cubes", f="cubes", w=weights(n), h=0.2),
        case("central", "the default nudge", f="waves", w=weights(n), h=None),
        case("central", "a bowl, any nudge", f="bowl", w=weights(n), h=2.0),
        case("forward", "one side, a sum of cubes", f="cubes", w=weights(n), h=0.1, central=False),
        case("shape", "a matrix", f="waves", w=weights(3, n), h=0.01),
        case("shape", "a matrix on its side", f="waves", w=weights(n, 2).T, h=0.01),
        case("shape", "a function that gives a Python number", f="number", w=weights(2, 2), h=0.01),
        case("error", "two gradients", a=weights(n), n=weights(n)),
        case("error", "the same, and zeros", a=torch.tensor([0.0, 1.0, 3.0]), n=torch.tensor([0.0, 1.0, 2.0])),
    ]


@shipped
def height(name, w):
    """Return a smooth function of all weights, in which every weight counts differently."""
    order = torch.arange(1, w.numel() + 1, dtype=w.dtype).reshape(w.shape)
    if name == "cubes":
        return (order * w**3).sum()
    if name == "bowl":
        return (order * w * w).sum() + w.sum() ** 2
    value = (order * w.sin()).sum()
    return float(value) if name == "number" else value


def numeric_gradient_probe(ns, data):
    w, calls = data["w"], []

    def f(v):
        calls.append(1)
        return height(data["f"], v)

    options = {} if data["h"] is None else {"h": data["h"]}
    if not data.get("central", True):
        options["central"] = False
    return {"gradient": probing.call(ns.numeric_gradient, f, w, **options), "calls of f": len(calls)}


def relative_error_probe(ns, data):
    return probing.call(ns.relative_error, data["a"], data["n"])


def numeric_gradient__nudges_a_copy(f, w, *, h=1e-5, central=True):
    moved, g = w.clone().contiguous(), torch.empty(w.numel(), dtype=w.dtype)
    flat, start = moved.view(-1), None if central else float(f(w))
    for i, value in enumerate(w.flatten().tolist()):
        flat[i] = value + h
        above = float(f(moved))
        flat[i] = value - h
        below = float(f(moved)) if central else start
        flat[i] = value
        g[i] = (above - below) / ((2 if central else 1) * h)
    return g.view(w.shape)


def relative_error__loop(a, n):
    pairs = zip(a.flatten().tolist(), n.flatten().tolist())
    return max(abs(p - q) / max(abs(p) + abs(q), 1e-12) for p, q in pairs)


def numeric_gradient__rows_of_nudges(f, w, *, h=1e-5, central=True):
    nudges = h * torch.eye(w.numel(), dtype=w.dtype).reshape(w.numel(), *w.shape)
    if central:
        slopes = [(f(w + e) - f(w - e)) / (2 * h) for e in nudges]
    else:
        here = f(w)
        slopes = [(f(w + e) - here) / h for e in nudges]
    return torch.tensor([float(s) for s in slopes], dtype=w.dtype).reshape(w.shape)


NUMERIC_GRADIENT = Exercise(
    name="numeric_gradient",
    defines=("numeric_gradient", "relative_error"),
    methods=("ch01/numeric_gradient",),
    core=True,
    groups={"central": 1.0, "forward": 0.5, "shape": 0.5, "error": 0.5},
    cases=numeric_gradient_cases,
    probe={
        "central": numeric_gradient_probe,
        "forward": numeric_gradient_probe,
        "shape": numeric_gradient_probe,
        "error": relative_error_probe,
    },
    minutes=18,
    difficulty="medium",
    good_for="checking every gradient that you will ever derive",
    hints=(
        "If all weights stay except one, which changes by h: how often must f be called to know the slope there?",
        "For each of the w.numel() places make a tensor of zeros with h at this place, in the shape of w. Call "
        "f(w + nudge) and f(w - nudge), and divide the difference by 2h. Never change w itself.",
        "nudge = torch.zeros(w.numel(), dtype=w.dtype); nudge[i] = h; nudge = nudge.reshape(w.shape); "
        "slopes[i] = (float(f(w + nudge)) - float(f(w - nudge))) / (2 * h). Without central: f(w + nudge) - f(w), "
        "divided by h, with f(w) computed once.",
    ),
    alternatives=(
        Alternative(name="nudges_a_copy", code=(numeric_gradient__nudges_a_copy, relative_error__loop)),
        Alternative(name="rows_of_nudges", code=(numeric_gradient__rows_of_nudges,)),
    ),
    misconceptions=(
        slip(
            "by_h",
            {"(2 * h)": "h"},
            "Your slopes from both sides are twice too large: from w - h to w + h it is 2h.",
            "student mistake: the distance between the two nudges",
        ),
        slip(
            "one_side",
            {"(float(f(w + nudge)) - float(f(w - nudge))) / (2 * h)": "(float(f(w + nudge)) - float(f(w))) / h"},
            "You look to one side only. With central=True go h to either side: the error then falls like h squared.",
            "card trap: forward for central differences",
        ),
        slip(
            "all_at_once",
            {"nudge[i] = h": "nudge[:] = h"},
            "You nudge all weights together, so every slope is their sum. One weight at a time: nudge[i] = h.",
            "student mistake: the step taken along (1, ..., 1)",
        ),
        slip(
            "not_put_back",
            {"nudge = nudge.reshape(w.shape)": "nudge = nudge.reshape(w.shape)\nw += nudge"},
            "w is not what it was: nudges stay in it, and each later slope is measured somewhere else. Compute w + "
            "nudge as a new tensor, not w += nudge.",
            "card trap: += then -= on the weights",
        ),
        slip(
            "flat",
            {"return slopes.reshape(w.shape)": "return slopes"},
            "The slopes are right, in one long row. Give them the shape of w.",
            "student mistake: shape lost",
        ),
        slip(
            "mean_error",
            {".max())": ".mean())"},
            "relative_error averages. One wrong entry among a thousand right ones must show: take the largest.",
            "student mistake: mean for max",
        ),
    ),
)


def softmax_loss_grad_cases(d):
    def problem(group, note, N, scale=1.0, dtype=DOUBLE, K=4, **options):
        X, W = d.normal(N, 5, dtype=dtype) * scale, d.normal(K, 5, dtype=dtype)
        return case(group, note, X=X, y=d.integers(0, K - 2, N), W=W, b=d.normal(K, dtype=dtype), **options)

    return [
        problem("plain", "a few pictures, a class that does not occur", d.whole(5, 8)),
        problem("plain", "float32", d.whole(5, 8), dtype=torch.float32),
        problem("edge", "one picture", 1),
        problem("edge", "scores in the thousands", d.whole(3, 5), scale=1e3),
        problem("l2", "large weights are penalised", d.whole(4, 6), l2=d.real(0.3, 0.6)),
    ]


@shipped
def without_autograd(ns, data):
    with torch.no_grad():
        return probing.call(ns.softmax_loss_grad, *(data[k] for k in "XyWb"), **{k: data[k] for k in data if k == "l2"})


def softmax_loss_grad_probe(ns, data):
    loss, dW, db = without_autograd(ns, data)
    return {"loss": loss, "dW": dW, "db": db}


def softmax_loss_grad_oracle(data):
    W, b = data["W"].detach().requires_grad_(), data["b"].detach().requires_grad_()
    with torch.enable_grad():
        loss = F.cross_entropy(F.linear(data["X"], W, b), data["y"]) + data.get("l2", 0.0) / 2 * W.pow(2).sum()
        dW, db = torch.autograd.grad(loss, [W, b])
    return {"loss": loss.detach(), "dW": dW, "db": db}


def softmax_loss_grad__in_place(X, y, W, b, *, l2=0.0):
    S, rows = X @ W.T + b, torch.arange(len(X))
    G = F.softmax(S, 1)
    G[rows, y] -= 1
    loss = (torch.logsumexp(S, 1) - S[rows, y]).mean() + 0.5 * l2 * W.square().sum()
    return loss, torch.einsum("nk,nd->kd", G, X).div(len(X)).add(W, alpha=l2), G.mean(0)


def softmax_loss_grad__one_by_one(X, y, W, b, *, l2=0.0):
    loss, dW, db = l2 / 2 * (W * W).sum(), l2 * W, torch.zeros_like(b)
    for x, k in zip(X, y.tolist()):
        log_p = F.log_softmax(W @ x + b, 0)
        g = log_p.exp()
        g[k] = g[k] - 1
        loss, dW, db = loss - log_p[k] / len(y), dW + torch.outer(g, x) / len(y), db + g / len(y)
    return loss, dW, db


SOFTMAX_LOSS_GRAD = Exercise(
    name="softmax_loss_grad",
    methods=("ch01/analytic_gradient",),
    core=True,
    groups={"plain": 2.0, "edge": 1.0, "l2": 1.0},
    cases=softmax_loss_grad_cases,
    probe=softmax_loss_grad_probe,
    oracle=softmax_loss_grad_oracle,
    minutes=20,
    difficulty="medium",
    good_for="the pattern of every backward pass: blame, times what came in",
    hints=(
        "Which shape must dW have, and which product of G (N, K) and X (N, D) has it?",
        "log_p = F.log_softmax(scores, 1). The loss picks the entry of the true class in each row. The blame is "
        "exp(log_p), minus 1 at the true classes, divided by N. Then dW = G.T @ X (+ l2 * W) and db = the sum of G.",
        "G = (log_p.exp() - F.one_hot(y, len(W))) / N; the loss is -log_p[torch.arange(N), y].mean() + l2 / 2 * "
        "(W**2).sum(); the gradients are G.T @ X + l2 * W and G.sum(0).",
    ),
    alternatives=(
        Alternative(name="in_place", code=(softmax_loss_grad__in_place,)),
        Alternative(name="one_by_one", code=(softmax_loss_grad__one_by_one,)),
    ),
    misconceptions=(
        slip(
            "not_divided",
            {" / N": ""},
            "Your gradients are N times too large: the loss is a mean over the pictures, so the blame is divided by N.",
            "card trap: missing 1/N",
        ),
        slip(
            "no_truth",
            {" - F.one_hot(y, len(W))": ""},
            "Your blame is the probability alone. Subtract 1 at the true class of each row; then each row adds up to "
            "0.",
            "student mistake: P for P - Y",
        ),
        slip(
            "truth_added",
            {"- F.one_hot": "+ F.one_hot"},
            "You add the truth to the probabilities. It is subtracted: the true class gets negative blame, so that a "
            "step against the gradient raises it.",
            "student mistake: sign",
        ),
        slip(
            "decays_the_bias",
            {"G.sum(0)": "G.sum(0) + l2 * b"},
            "Without l2 you are right. The penalty holds the weights W only; db has no part of it.",
            "card trap: bias not decayed; library difference: torch.optim decays every parameter it is given",
        ),
        slip(
            "no_half",
            {"l2 / 2 * (W**2).sum()": "l2 * (W**2).sum()"},
            "Your gradients are right, but with l2 the loss is too large: the penalty is l2/2 times the sum of "
            "squares.",
            "student mistake: the half that cancels the 2 of the square",
        ),
        slip(
            "mean_of_the_bias",
            {"G.sum(0)": "G.mean(0)"},
            "db is N times too small: G is divided by N already, so add its rows up, do not average them.",
            "student mistake: divided by N twice",
        ),
        slip(
            "by_classes",
            {"y, len(W))) / N": "y, len(W))) / len(W)"},
            "You divide the blame by the number of classes. The loss is a mean over the N pictures: divide by N.",
            "student mistake: the wrong axis of S is counted",
        ),
    ),
)
