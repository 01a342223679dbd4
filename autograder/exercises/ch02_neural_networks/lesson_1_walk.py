"""Exercises of notebook 1 on weight space: the landscape over it, the walk down, and the choice of the decay."""

import torch
import torch.nn.functional as F

from autograder.declare import Exercise, alternative, case, slip
from autograder.exercises.ch02_neural_networks.common import DOUBLE, points
from autograder.exercises.ch02_neural_networks.lesson_1_neuron import STANDIN
from dlcv_lab.checking import probing


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


CHARGES = "(F.softplus(a) - t * a).sum(-1)"
WHOLE = "G + alpha * (w1.square() + w2.square()) / 2"
SURFACE_MISTAKES = (
    slip("transposed", {"w2, w1 = torch": "w1, w2 = torch"},
         "Right numbers, exchanged axes: entry [i, j] belongs to w = (grid[j], grid[i]). Columns are the first weight, "
         "rows the second.", "card trap: i and j swapped; meshgrid's indexing='xy' and 'ij'"),
    slip("mean", {".sum(-1)": ".mean(-1)"},
         "You take the mean over the points. G is their sum.", "card trap: sum versus mean"),
    slip("forgets_decay", {WHOLE: "G"},
         "With alpha = 0 you are right. The price of the weights themselves is missing.",
         "student mistake: optional argument never used"),
    slip("overflows", {"F.softplus(a)": "torch.log(1 + torch.exp(a))"},
         "exp(a) is infinite for a above 88. F.softplus(a) is log(1 + exp(a)) for a of any size.",
         "card trap: grid values of 50"),
    slip("logarithm_of_zero",
         {CHARGES: "-(t * torch.sigmoid(a).log() + (1 - t) * (1 - torch.sigmoid(a)).log()).sum(-1)"},
         "With weights of 50 an answer rounds to exactly 0 or 1, and its logarithm is infinite. Compute the charge "
         "from the activation, as your `objective` does.", "card trap: grid values of 50"),
    slip("upside_down", {WHOLE: f"({WHOLE}).flip(0)"},
         "Your rows run from the last grid value to the first. Row i belongs to grid[i]; the plot turns the picture, "
         "the matrix does not.", "library difference: pictures count rows from the top"),
)  # fmt: skip

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
        "with objective(torch.stack([grid[j], grid[i]]), x, t, alpha). Without: torch.meshgrid gives both weights as "
        "(G, G).",
        "w2, w1 = torch.meshgrid(grid, grid, indexing='ij'); a = torch.stack([w1, w2], -1) @ x.T is (G, G, N); the "
        "charge of each point is F.softplus(a) - t * a; sum over the last axis and add alpha * (w1**2 + w2**2) / 2.",
    ),
    alternatives=(alternative(loss_surface__loops), alternative(loss_surface__broadcast)),
    misconceptions=SURFACE_MISTAKES,
)


def train_cases(d):
    return [
        case("plain", "12 steps, no decay", **points(d, 8), alpha=0.0, lr=0.1, steps=12),
        case("plain", "9 steps, alpha = 2", **points(d, 6), alpha=2.0, lr=0.1, steps=9),
        case("plain", "three inputs, float64", **points(d, 6, 3, dtype=DOUBLE), alpha=0.5, lr=0.05, steps=9),
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


STEP = "w = w - lr * objective_grad(w, x, t, alpha)"
TRAIN_MISTAKES = (
    slip("uphill", {"w - lr * objective_grad": "w + lr * objective_grad"},
         "You walk uphill: the step goes against the gradient.", "student mistake: sign of the step"),
    slip("one_tensor", {STEP: "w -= lr * objective_grad(w, x, t, alpha)"},
         "All your rows are the last point: `-=` changes the tensor that is already in the list. Make a new one with "
         "w = w - ..., or append w.clone().", "card trap: aliasing of the stored w"),
    slip("without_start", {"path = [w]": "path = []"},
         "The first row must be the zeros before any step: steps + 1 rows in all.",
         "student mistake: start of the walk not recorded"),
    slip("forgets_alpha", {"objective_grad(w, x, t, alpha)": "objective_grad(w, x, t)"},
         "With alpha = 0 you are right. Hand alpha on to objective_grad.",
         "student mistake: argument accepted and not used"),
    slip("decays_twice", {"w = w - lr *": "w = (1 - lr * alpha) * w - lr *"},
         "You shrink w and then subtract a gradient that holds alpha * w already: the decay acts twice. Do one of the "
         "two.", "student mistake: both forms of the step combined"),
    slip("decays_by_alpha", {STEP: "w = (1 - alpha) * w - lr * objective_grad(w, x, t)"},
         "Without decay you are right. One step takes the share lr * alpha of w, not alpha.",
         "student mistake: learning rate left out of the decay"),
    slip("decays_afterwards", {STEP: "w = (1 - lr * alpha) * (w - lr * objective_grad(w, x, t))"},
         "You move and then shrink, the step itself included. Both belong to the same w: (1 - lr * alpha) * w - lr * "
         "dG/dw.", "student mistake: order of shrinking and moving"),
    slip("point_by_point",
         {STEP: "for n in range(len(x)):\n    w = w - lr * objective_grad(w, x[n : n + 1], t[n : n + 1], alpha)"},
         "You step after every point. One step uses the gradient of all N points together.",
         "student mistake: stochastic gradient descent of chapter 1"),
)  # fmt: skip

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
        "append it; stack the list at the end. objective_grad already contains the decay.",
        "w = w - lr * objective_grad(w, x, t, alpha); path.append(w)",
    ),
    alternatives=(alternative(train_neuron__shrinks), alternative(train_neuron__in_place)),
    misconceptions=TRAIN_MISTAKES,
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
        validated("edge", "two equally good, the larger first", [1.0, 5.0, 0.2, 0.4], [good, shy, good, sure]),
        validated("edge", "two equally good, the larger last", [0.2, 5.0, 1.0, 0.4], [good, shy, good, sure]),
        validated("edge", "a single one", [2.0], [shy]),
    ]


def choose_probe(ns, data):
    weights, trained, alphas = dict(zip(data["alphas"], data["weights"])), [], data["alphas"]

    def fit(alpha):
        trained.append(alpha)
        return weights[alpha]

    chosen = probing.call(ns.choose_alpha, alphas, fit, data["x_val"], data["t_val"])
    if isinstance(chosen, torch.Tensor) and chosen.numel() > 1:
        raise probing.Unusable("one of the alphas is expected; your code returns a tensor of several numbers")
    return {"chosen": float(chosen), "fit called once for each alpha": sorted(trained) == sorted(weights)}


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


LARGER = "Where two strengths are equally good, the larger one is wanted, wherever it stands: the simpler neuron."
CHOOSE_MISTAKES = (
    slip("counts_the_weights", {"objective(fit(alpha), x_val, t_val)": "objective(fit(alpha), x_val, t_val, alpha)"},
         "You add alpha * E to the held-out charge, so strong decay looks bad only because it is strong. Compare G "
         "alone.", "student mistake: training objective used for validation"),
    slip("counts_mistakes",
         {"float(objective(fit(alpha), x_val, t_val))": "float(((x_val @ fit(alpha) > 0) != (t_val == 1)).sum())"},
         "You count wrong answers. Neurons with the same boundary make the same mistakes, however sure they are; "
         "compare the charge G.", "student mistake: accuracy in place of the likelihood"),
    slip("smallest_of_equals", {"-alpha)": "alpha)"}, LARGER, "card trap: ties go to the larger alpha"),
    slip("first_of_equals", {"(held_out[alpha], -alpha)": "held_out[alpha]"}, LARGER,
         "student mistake: `min` or `<` keep the first"),
    slip("last_of_equals", {"min(alphas,": "min(reversed(alphas),", "(held_out[alpha], -alpha)": "held_out[alpha]"},
         LARGER, "student mistake: `<=` keeps the last"),
    slip("its_place", {"return min(alphas, key=lambda alpha: (held_out[alpha], -alpha))":
                       "return min(range(len(alphas)), key=lambda k: held_out[alphas[k]])"},
         "You return the place of the best alpha in the list. The alpha itself is wanted.",
         "student mistake: argmin for the argument"),
    slip("trains_again", {"(held_out[alpha], -alpha)": "(float(objective(fit(alpha), x_val, t_val)), -alpha)"},
         "The choice is right, but fit is called more than once for an alpha. Training is what costs: keep what you "
         "computed.", "student mistake: expensive call inside the comparison"),
)  # fmt: skip

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
    alternatives=(alternative(choose_alpha__loop), alternative(choose_alpha__sorts)),
    misconceptions=CHOOSE_MISTAKES,
)
