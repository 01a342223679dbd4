"""Exercises of notebook 1: one neuron, its objective, the landscape over its weights, and the walk down."""

import torch
import torch.nn.functional as F

from autograder.declare.draws import case
from autograder.declare.exercise import Alternative, Exercise, Variant
from autograder.declare.slips import slip
from dlcv_lab.checking import probing
from dlcv_lab.checking.model import Forbid

DOUBLE = torch.float64
NO_AUTOGRAD = Forbid(names=("torch.autograd", "torch.func"))


def neuron_cases(d):
    x, far = d.normal(6, 2), torch.tensor([[1000.0], [-1000.0], [0.0], [120.0], [-120.0]])
    return [
        case("plain", "two inputs, no bias", x=x, w=d.normal(2)),
        case("plain", "two inputs and a bias", x=x, w=d.normal(2), b=d.real(0.5, 2.0)),
        case("plain", "five inputs, the bias is a tensor", x=d.normal(4, 5), w=d.normal(5), b=1 + d.uniform()),
        case("edge", "weighted sums of 1000, -1000, 0, 120 and -120", x=far, w=torch.ones(1)),
        case("edge", "a single row, float64", x=d.normal(1, 3, dtype=DOUBLE), w=d.normal(3, dtype=DOUBLE), b=-1.0),
    ]


def neuron_library(data):
    if data["x"].abs().max() > 100:
        return NotImplemented  # 1 / (1 + exp(-a)) has no gradient there, which nobody asks for
    return torch.sigmoid(data["x"] @ data["w"] + data.get("b", 0.0))


def neuron__tanh(x, w, b=0.0):
    return (1 + torch.tanh((x @ w + b) / 2)) / 2


def neuron__two_sides(x, w, b=0.0):
    a = (x * w).sum(1) + b
    small = torch.exp(-a.abs())
    return torch.where(a >= 0, 1 / (1 + small), small / (1 + small))


NEURON = Exercise(
    name="neuron",
    methods=("ch02/neuron",),
    core=True,
    groups={"plain": 1.0, "edge": 1.0},
    cases=neuron_cases,
    oracle=neuron_library,
    minutes=10,
    difficulty="easy",
    good_for="the smallest part of every network in this book",
    forbid=Forbid(aten=("aten.sigmoid*", "aten.special_expit*"), names=("torch.sigmoid", "F.sigmoid", "nn.Sigmoid")),
    hints=(
        "x has N rows. Which product gives one weighted sum for each of them, in one go?",
        "First all activations a = x @ w + b, shape (N,). Then the sigmoid of each, with torch.exp.",
        "return 1 / (1 + torch.exp(-a))",
    ),
    alternatives=(
        Alternative(name="tanh", code=(neuron__tanh,)),
        Alternative(name="two_sides", code=(neuron__two_sides,)),
    ),
    misconceptions=(
        slip(
            "forgets_bias",
            {"x @ w + b": "x @ w"},
            "Without a bias you are right. With one, b is added to every weighted sum before the squash.",
            "student mistake: optional argument never used",
        ),
        slip(
            "mirrored",
            {"torch.exp(-a)": "torch.exp(a)"},
            "You return 1 - p: yes and no are exchanged. The exponent is -a, so that a large a gives an answer near 1.",
            "student mistake: sign of the exponent",
        ),
        slip(
            "no_squash",
            {"1 / (1 + torch.exp(-a))": "a"},
            "This is the weighted sum itself. The neuron still has to squash it between 0 and 1.",
            "student mistake: stops at chapter 1's score",
        ),
        slip(
            "overflows",
            {"1 / (1 + torch.exp(-a))": "torch.exp(a) / (1 + torch.exp(a))"},
            "At large a this is infinity over infinity, NaN. Divide numerator and denominator by exp(a): "
            "1 / (1 + exp(-a)) has no such place.",
            "card trap: a = 1000 must give 1 without NaN",
        ),
        slip(
            "softmax",
            {"1 / (1 + torch.exp(-a))": "torch.softmax(a, 0)"},
            "Your answers add up to 1 over the rows. Every row is a question of its own: squash each a by itself.",
            "student mistake: softmax of chapter 1 in place of the sigmoid",
        ),
    ),
)


def boundary_cases(d):
    w = d.normal(2)
    return [
        case("plain", "w = (3, -4), b = 10", w=torch.tensor([3.0, -4.0]), b=10.0),
        case("plain", "drawn weights, positive bias", w=w + 2 * w.sign(), b=d.real(0.5, 3.0)),
        case("plain", "drawn weights, negative bias", w=3 * d.normal(2).sign(), b=d.real(-3.0, -0.5)),
        case("edge", "no bias, float64", w=d.normal(2, dtype=DOUBLE) + 3, b=0.0),
        case("edge", "one weight is 0", w=torch.tensor([0.0, -d.real(1.5, 2.5)]), b=2.0),
        case("edge", "both weights are 0", w=torch.zeros(2), b=1.0),
    ]


def boundary_library(data):
    if not data["w"].any():
        return NotImplemented
    return F.normalize(data["w"], dim=0), float(-data["b"] / data["w"].norm())


def boundary__hypot(w, b):
    length = float(torch.hypot(w[0], w[1]))
    if length < 1e-12:
        raise ValueError("no boundary")
    return w / length, -b / length


def boundary__foot(w, b):
    squared = float(w @ w)
    if squared == 0.0:
        raise ValueError("no line")
    foot, n = -b * w / squared, w / squared**0.5  # the point of the line nearest to the origin
    return n, float(foot @ n)


BOUNDARY = Exercise(
    name="boundary",
    methods=("ch02/neuron",),
    groups={"plain": 1.0, "edge": 1.0},
    cases=boundary_cases,
    oracle=boundary_library,
    minutes=10,
    difficulty="medium",
    good_for="reading a trained neuron: where it draws its line, and which side it favours",
    hints=(
        "On the line w . x = -b. Along which direction does w . x grow fastest?",
        "n is w divided by its length. For the point d * n the weighted sum is d * |w| + b; when is it 0?",
        "return w / length, float(-b / length), after refusing length == 0",
    ),
    alternatives=(
        Alternative(name="hypot", code=(boundary__hypot,)),
        Alternative(name="foot", code=(boundary__foot,)),
    ),
    misconceptions=(
        slip(
            "not_normalised",
            {"w / length, float": "w, float"},
            "The direction is right, its length is not: n has length 1, so divide w by |w|.",
            "student mistake: w taken for the unit normal",
        ),
        slip(
            "wrong_side",
            {"float(-b / length)": "float(b / length)"},
            "The sign of d: w . (d n) + b = d |w| + b is 0 at d = -b / |w|. A positive bias lets the neuron say yes "
            "earlier, so the line moves backwards.",
            "student mistake: sign lost when solving for d",
        ),
        slip(
            "not_divided",
            {"float(-b / length)": "float(-b)"},
            "-b is the distance only for weights of length 1. Divide by |w|.",
            "student mistake: bias taken for a distance",
        ),
        slip(
            "along_the_line",
            {"w / length, float": "torch.stack([-w[1], w[0]]) / length, float"},
            "Your n runs along the line. The normal stands at a right angle to it: that is the direction of w itself.",
            "student mistake: direction vector and normal exchanged",
        ),
        slip(
            "no_refusal",
            {"if length == 0:": "if False:"},
            "All numbers are right. Zero weights have no boundary: raise ValueError before you divide by 0.",
            "student mistake: error case forgotten",
        ),
    ),
)


def points(d, n, dim=2, dtype=torch.float32):
    """Draw n points with labels of both kinds."""
    t = torch.arange(n).remainder(2).to(dtype)
    return {"x": d.normal(n, dim, dtype=dtype) + (2 * t - 1)[:, None], "t": t}


def objective_cases(d):
    w, far = d.normal(2), torch.tensor([[300.0, 0.0], [0.0, -300.0], [-300.0, 0.0]])
    cases = []
    for group in ("price", "gradient"):
        soft = {"x": d.normal(5, 3, dtype=DOUBLE), "t": d.uniform(5, dtype=DOUBLE)}
        edge = {"ask": group} if group == "gradient" else {}
        cases += [
            case(group, "no decay", w=w, **points(d, 7)),
            case(group, "alpha = 0.7", w=d.normal(2) + 1, **points(d, 6), alpha=0.7),
            case(group, "labels between 0 and 1, float64", w=d.normal(3, dtype=DOUBLE), **soft, alpha=0.2),
            case("edge", "activations of 300 and -300", w=torch.ones(2), x=far, t=torch.tensor([0.0, 1, 0]), **edge),
            case("edge", "a single point", w=2 + d.normal(2), **points(d, 1), alpha=3.0, **edge),
        ]
    return cases


def price_library(data):
    w = data["w"]
    bernoulli = torch.distributions.Bernoulli(logits=data["x"] @ w, validate_args=False)
    return -bernoulli.log_prob(data["t"]).sum() + data.get("alpha", 0.0) / 2 * (w @ w)


def gradient_library(data):
    w = data["w"].detach().clone().requires_grad_()
    a = data["x"] @ w
    price = F.binary_cross_entropy_with_logits(a, data["t"], reduction="sum") + data.get("alpha", 0.0) / 2 * (w @ w)
    return torch.autograd.grad(price, w)[0]


def objective__softplus(w, x, t, alpha=0.0):
    a = x @ w
    return (F.softplus(a) - t * a).sum() + 0.5 * alpha * (w @ w)


def objective_grad__loop(w, x, t, alpha=0.0):
    total = alpha * w
    for row, wanted in zip(x, t):
        total = total + (torch.sigmoid(row @ w) - wanted) * row
    return total


def objective__logsigmoid(w, x, t, alpha=0.0):
    a = x @ w
    return -(t * F.logsigmoid(a) + (1 - t) * F.logsigmoid(-a)).sum() + alpha * (w**2).sum() / 2


def objective_grad__outer(w, x, t, alpha=0.0):
    return ((torch.sigmoid((x * w).sum(1)) - t)[:, None] * x).sum(0) + alpha * w


def objective__standin(w, x, t, alpha=0.0):
    return F.binary_cross_entropy_with_logits(x @ w, t, reduction="sum") + alpha * (w @ w) / 2


def objective_grad__standin(w, x, t, alpha=0.0):
    return x.T @ (torch.sigmoid(x @ w) - t) + alpha * w


STANDIN = Variant(name="objective", code=(objective__standin, objective_grad__standin))

OBJECTIVE = Exercise(
    name="objective",
    defines=("objective", "objective_grad"),
    methods=("ch02/neuron_objective", "ch02/weight_decay"),
    core=True,
    groups={"price": 1.5, "gradient": 1.5, "edge": 1.0},
    cases=objective_cases,
    probe={"gradient": "objective_grad"},
    oracle={"price": price_library, "gradient": gradient_library, "edge": price_library},
    minutes=20,
    difficulty="medium",
    good_for="every loss with weight decay: what it costs, and where it pulls",
    forbid=NO_AUTOGRAD,
    hints=(
        "Which function of chapter 1 charges a yes/no answer straight from the weighted sum, and how is it told to "
        "add?",
        "G is F.binary_cross_entropy_with_logits of x @ w and t with reduction='sum'; E is half the sum of squares. "
        "In the gradient every point contributes its error p - t, times its input.",
        "objective: return G + alpha * (w**2).sum() / 2. objective_grad: p = torch.sigmoid(x @ w); return (p - t) @ x "
        "+ alpha * w.",
    ),
    alternatives=(
        Alternative(name="softplus", code=(objective__softplus, objective_grad__loop)),
        Alternative(name="logsigmoid", code=(objective__logsigmoid, objective_grad__outer)),
    ),
    misconceptions=(
        slip(
            "mean",
            {'reduction="sum"': 'reduction="mean"', "(p - t) @ x": "(p - t) @ x / len(x)"},
            "You take the mean over the points. Here G is their sum: N times as much beside the same alpha.",
            "card trap: G is a sum; PyTorch's default is the mean",
        ),
        slip(
            "no_half",
            {"w.square().sum() / 2": "w.square().sum()", "+ alpha * w": "+ 2 * alpha * w"},
            "Without decay you are right. E is HALF the sum of squares, so its gradient is w and not 2w.",
            "card trap: alpha * w, not 2 * alpha * w",
        ),
        slip(
            "uphill",
            {"(p - t) @ x": "(t - p) @ x"},
            "The value is right; the data's part of the gradient has the wrong sign: dG/dw = -sum of (t - p) x.",
            "student mistake: the minus in front of the sum lost",
        ),
        slip(
            "logarithm_of_zero",
            {
                'F.binary_cross_entropy_with_logits(x @ w, t, reduction="sum")': "-(t * torch.log(torch.sigmoid(x @ w))"
                " + (1 - t) * torch.log(1 - torch.sigmoid(x @ w))).sum()"
            },
            "At an activation of 300 the output rounds to exactly 1 and log(1 - p) is infinite. Compute the charge "
            "from "
            "the activation: F.binary_cross_entropy_with_logits does.",
            "card trap: logits of 300 must stay finite",
        ),
        slip(
            "forgets_decay",
            {"return G + alpha * E": "return G", "(p - t) @ x + alpha * w": "(p - t) @ x"},
            "With alpha = 0 you are right. The weights' own price is missing: alpha * E, and alpha * w in the "
            "gradient.",
            "student mistake: optional argument never used",
        ),
        slip(
            "slope_twice",
            {"(p - t) @ x": "((p - t) * p * (1 - p)) @ x"},
            "The factor p (1 - p) is too much: it cancels against the derivative of the logarithm. The error at the "
            "activation is just p - t.",
            "student mistake: gradient of the squared error",
        ),
    ),
)


def surface_cases(d):
    grid, few = torch.linspace(-2.0, 3.0, 6), d.normal(4)
    return [
        case("plain", "a grid of 6, no decay", **points(d, 5), grid=grid),
        case("plain", "a grid of 6, alpha = 0.8", **points(d, 6), grid=grid, alpha=0.8),
        case("plain", "an uneven grid, float64", **points(d, 3, dtype=DOUBLE), grid=few.double(), alpha=0.3),
        case("edge", "weights of 50 and more", **points(d, 6), grid=torch.tensor([-50.0, 0, 90]), alpha=0.1),
        case("edge", "a grid of one value", **points(d, 4), grid=torch.tensor([1.5]), alpha=2.0),
    ]


def surface_library(data):
    x, t, grid, alpha = data["x"], data["t"], data["grid"], data.get("alpha", 0.0)
    rows = []
    for second in grid:
        row = []
        for first in grid:
            w = torch.stack([first, second])
            row.append(F.binary_cross_entropy_with_logits(x @ w, t, reduction="sum") + alpha * w.square().sum() / 2)
        rows.append(torch.stack(row))
    return torch.stack(rows)


def loss_surface__loops(x, t, grid, alpha=0.0):
    M = torch.zeros(len(grid), len(grid), dtype=x.dtype)
    for i in range(len(grid)):
        for j in range(len(grid)):
            M[i, j] = objective(torch.stack([grid[j], grid[i]]), x, t, alpha)
    return M


def loss_surface__broadcast(x, t, grid, alpha=0.0):
    a = grid[None, :, None] * x[:, 0] + grid[:, None, None] * x[:, 1]
    price = -(t * F.logsigmoid(a) + (1 - t) * F.logsigmoid(-a)).sum(2)
    return price + alpha / 2 * (grid[None, :] ** 2 + grid[:, None] ** 2)


LOSS_SURFACE = Exercise(
    name="loss_surface",
    methods=("ch02/weight_space",),
    core=True,
    groups={"plain": 2.0, "edge": 1.0},
    cases=surface_cases,
    oracle=surface_library,
    uses=("objective",),
    standins=(STANDIN,),
    minutes=20,
    difficulty="hard",
    good_for="seeing what an optimiser walks on, and a first exercise in shapes",
    hints=(
        "What is the answer at a single place [i, j]? You have a function for it. (Two loops are a right solution.)",
        "Row i holds the second weight grid[i], column j the first weight grid[j]. With loops: fill a (G, G) tensor "
        "with "
        "objective(torch.stack([grid[j], grid[i]]), x, t, alpha). Without: torch.meshgrid gives both weights as (G, "
        "G).",
        "w2, w1 = torch.meshgrid(grid, grid, indexing='ij'); a = torch.stack([w1, w2], -1) @ x.T is (G, G, N); the "
        "charge of each point is F.softplus(a) - t * a; sum over the last axis and add alpha * (w1**2 + w2**2) / 2.",
    ),
    alternatives=(
        Alternative(name="loops", code=(loss_surface__loops,)),
        Alternative(name="broadcast", code=(loss_surface__broadcast,)),
    ),
    misconceptions=(
        slip(
            "transposed",
            {"w2, w1 = torch": "w1, w2 = torch"},
            "Right numbers, exchanged axes: entry [i, j] belongs to w = (grid[j], grid[i]). Columns are the first "
            "weight, rows the second.",
            "card trap: i and j swapped; meshgrid's indexing='xy' and 'ij'",
        ),
        slip(
            "mean",
            {".sum(-1)": ".mean(-1)"},
            "You take the mean over the points. G is their sum.",
            "card trap: sum versus mean",
        ),
        slip(
            "forgets_decay",
            {"G + alpha * (w1.square() + w2.square()) / 2": "G"},
            "With alpha = 0 you are right. The price of the weights themselves is missing.",
            "student mistake: optional argument never used",
        ),
        slip(
            "overflows",
            {"F.softplus(a)": "torch.log(1 + torch.exp(a))"},
            "exp(a) is infinite for a above 88. F.softplus(a) is log(1 + exp(a)) for a of any size.",
            "card trap: grid values of 50",
        ),
        slip(
            "upside_down",
            {
                "G + alpha * (w1.square() + w2.square()) / 2": "(G + alpha * (w1.square() + w2.square()) / 2).flip(0)",
            },
            "Your rows run from the last grid value to the first. Row i belongs to grid[i]; the plot turns the "
            "picture, "
            "the matrix does not.",
            "library difference: pictures count rows from the top",
        ),
    ),
)


def train_cases(d):
    return [
        case("plain", "12 steps, no decay", **points(d, 8), alpha=0.0, lr=0.1, steps=12),
        case("plain", "9 steps, alpha = 2", **points(d, 6), alpha=2.0, lr=0.1, steps=9),
        case("plain", "three inputs, float64", **points(d, 6, 3, dtype=DOUBLE), alpha=0.5, lr=0.05, steps=7),
        case("edge", "no step at all", **points(d, 4), alpha=1.0, lr=0.1, steps=0),
        case("edge", "a single step", **points(d, 5), alpha=1.0, lr=0.3, steps=1),
    ]


def train_library(data):
    w = torch.zeros(data["x"].shape[1], dtype=data["x"].dtype, requires_grad=True)
    sgd = torch.optim.SGD([w], lr=data["lr"], weight_decay=data["alpha"])
    path = [w.detach().clone()]
    for _ in range(data["steps"]):
        sgd.zero_grad()
        F.binary_cross_entropy_with_logits(data["x"].detach() @ w, data["t"].detach(), reduction="sum").backward()
        sgd.step()
        path.append(w.detach().clone())
    return torch.stack(path)


def train_neuron__shrinks(x, t, *, alpha, lr, steps):
    path = torch.zeros(steps + 1, x.shape[1], dtype=x.dtype)
    for k in range(steps):
        path[k + 1] = (1 - lr * alpha) * path[k] - lr * objective_grad(path[k], x, t)
    return path


def train_neuron__in_place(x, t, *, alpha, lr, steps):
    w = torch.zeros_like(x[0])
    rows = [w.clone()]
    while len(rows) <= steps:
        w -= lr * objective_grad(w, x, t, alpha)
        rows.append(w.clone())
    return torch.stack(rows)


TRAIN_NEURON = Exercise(
    name="train_neuron",
    methods=("ch02/train_neuron", "ch02/weight_decay"),
    core=True,
    groups={"plain": 2.0, "edge": 1.0},
    cases=train_cases,
    oracle=train_library,
    uses=("objective",),
    standins=(STANDIN,),
    minutes=15,
    difficulty="easy",
    good_for="watching training as a walk, which needs every point of it",
    hints=(
        "What has to be remembered, besides the current w?",
        "Begin with zeros and a list that holds them. In each of `steps` turns make a NEW w from the old one and "
        "append "
        "it; stack the list at the end. objective_grad already contains the decay.",
        "w = w - lr * objective_grad(w, x, t, alpha); path.append(w)",
    ),
    alternatives=(
        Alternative(name="shrinks", code=(train_neuron__shrinks,)),
        Alternative(name="in_place", code=(train_neuron__in_place,)),
    ),
    misconceptions=(
        slip(
            "uphill",
            {"w - lr * objective_grad": "w + lr * objective_grad"},
            "You walk uphill: the step goes against the gradient.",
            "student mistake: sign of the step",
        ),
        slip(
            "one_tensor",
            {"w = w - lr * objective_grad(w, x, t, alpha)": "w -= lr * objective_grad(w, x, t, alpha)"},
            "All your rows are the last point: `-=` changes the tensor that is already in the list. Make a new one "
            "with "
            "w = w - ..., or append w.clone().",
            "card trap: aliasing of the stored w",
        ),
        slip(
            "without_start",
            {"path = [w]": "path = []"},
            "The first row must be the zeros before any step: steps + 1 rows in all.",
            "student mistake: start of the walk not recorded",
        ),
        slip(
            "forgets_alpha",
            {"objective_grad(w, x, t, alpha)": "objective_grad(w, x, t)"},
            "With alpha = 0 you are right. Hand alpha on to objective_grad.",
            "student mistake: argument accepted and not used",
        ),
        slip(
            "decays_twice",
            {"w = w - lr *": "w = (1 - lr * alpha) * w - lr *"},
            "You shrink w and then subtract a gradient that holds alpha * w already: the decay acts twice. Do one of "
            "the two.",
            "student mistake: both forms of the step combined",
        ),
    ),
)


def choose_cases(d):
    good, shy, sure = torch.tensor([1.0, 1.2]), torch.tensor([0.05, 0.05]), torch.tensor([60.0, 72.0])
    noisy = points(d, 20)
    noisy["x"][0] = torch.tensor([1.0, 1.0])  # a point of kind 0 amid the others, so that being sure costs

    def validated(group, note, alphas, weights):
        return case(group, note, alphas=alphas, weights=weights, x_val=noisy["x"], t_val=noisy["t"])

    return [
        validated("plain", "the strongest decay is best", [0.1, 1.0, 10.0], [shy, -good, good]),
        validated("plain", "the weakest of three is best", [1.0, 0.1, 10.0], [sure, good, shy]),
        validated("plain", "in no order", [3.0, 0.0, 0.5, 7.0], [shy, sure, good, -sure]),
        validated("edge", "two are equally good", [0.2, 5.0, 1.0, 0.4], [good, shy, good, sure]),
        validated("edge", "a single one", [2.0], [shy]),
    ]


def choose_probe(ns, data):
    weights, trained = dict(zip(data["alphas"], data["weights"])), []

    def fit(alpha):
        trained.append(alpha)
        return weights[alpha]

    chosen = probing.call(ns.choose_alpha, list(data["alphas"]), fit, data["x_val"], data["t_val"])
    return {"chosen": float(chosen), "calls of fit": len(trained)}


def choose_alpha__loop(alphas, fit, x_val, t_val):
    best, lowest = None, float("inf")
    for alpha in sorted(alphas, reverse=True):
        price = objective(fit(alpha), x_val, t_val).item()
        if price < lowest:
            best, lowest = alpha, price
    return best


def choose_alpha__sorts(alphas, fit, x_val, t_val):
    def price(alpha):
        return F.binary_cross_entropy_with_logits(x_val @ fit(alpha), t_val).item()

    return sorted((price(alpha), -alpha, alpha) for alpha in alphas)[0][2]


CHOOSE_ALPHA = Exercise(
    name="choose_alpha",
    methods=("ch02/weight_decay",),
    core=True,
    groups={"plain": 2.0, "edge": 1.0},
    cases=choose_cases,
    probe=choose_probe,
    uses=("objective",),
    standins=(STANDIN,),
    minutes=15,
    difficulty="medium",
    good_for="choosing any setting that the training data cannot choose for you",
    hints=(
        "What must stay out of the comparison, although it was in the training?",
        "Call fit once for each alpha, note the objective of its weights on the held-out points without any decay, and "
        "return the alpha with the smallest. Of equal ones the largest alpha wins.",
        "price = {a: float(objective(fit(a), x_val, t_val)) for a in alphas}; then min(alphas, key=lambda a: "
        "(price[a], -a)).",
    ),
    alternatives=(
        Alternative(name="loop", code=(choose_alpha__loop,)),
        Alternative(name="sorts", code=(choose_alpha__sorts,)),
    ),
    misconceptions=(
        slip(
            "counts_the_weights",
            {"objective(fit(alpha), x_val, t_val)": "objective(fit(alpha), x_val, t_val, alpha)"},
            "You add alpha * E to the held-out charge, so strong decay looks bad only because it is strong. Compare G "
            "alone.",
            "student mistake: training objective used for validation",
        ),
        slip(
            "counts_mistakes",
            {
                "float(objective(fit(alpha), x_val, t_val))": "float(((x_val @ fit(alpha) > 0) != (t_val == 1)).sum())",
            },
            "You count wrong answers. Neurons with the same boundary make the same mistakes, however sure they are; "
            "compare the charge G.",
            "student mistake: accuracy in place of the likelihood",
        ),
        slip(
            "smallest_of_equals",
            {"-alpha)": "alpha)"},
            "Where two strengths are equally good, the larger one is wanted: the simpler neuron.",
            "card trap: ties go to the larger alpha",
        ),
        slip(
            "trains_again",
            {"(held_out[alpha], -alpha)": "(float(objective(fit(alpha), x_val, t_val)), -alpha)"},
            "The choice is right, but fit is called more than once for an alpha. Training is what costs: keep what you "
            "computed.",
            "student mistake: expensive call inside the comparison",
        ),
    ),
)
