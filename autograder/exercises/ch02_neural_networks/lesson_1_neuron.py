"""Exercises of notebook 1 on one neuron: its answer, its boundary, and what its mistakes and its weights cost."""

import torch
import torch.nn.functional as F

from autograder.declare import Exercise, Variant, alternative, case, slip
from autograder.exercises.ch02_neural_networks.common import DOUBLE, NO_AUTOGRAD, by_hand, named, points
from dlcv_lab.checking import probing
from dlcv_lab.checking.model import Forbid


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


SIGMOID = "1 / (1 + torch.exp(-a))"
NEURON_MISTAKES = (
    slip("forgets_bias", {"x @ w + b": "x @ w"},
         "Without a bias you are right. With one, b is added to every weighted sum before the squash.",
         "student mistake: optional argument never used"),
    slip("bias_after_the_squash", {"x @ w + b": "x @ w", SIGMOID: SIGMOID + " + b"},
         "Without a bias you are right. You add b to the answer; it belongs to the weighted sum, before the squash.",
         "student mistake: the bias outside the brackets"),
    slip("mirrored", {"torch.exp(-a)": "torch.exp(a)"},
         "You return 1 - p: yes and no are exchanged. The exponent is -a, so that a large a gives an answer near 1.",
         "student mistake: sign of the exponent"),
    slip("no_squash", {SIGMOID: "a"},
         "This is the weighted sum itself. The neuron still has to squash it between 0 and 1.",
         "student mistake: stops at chapter 1's score"),
    slip("squashed_by_tanh", {SIGMOID: "torch.tanh(a)"},
         "tanh runs from -1 to 1. The neuron answers between 0 and 1: p = 1 / (1 + exp(-a)).",
         "student mistake: another S-shaped function"),
    slip("overflows", {SIGMOID: "torch.exp(a) / (1 + torch.exp(a))"},
         "At large a this is infinity over infinity, NaN. Divide numerator and denominator by exp(a): "
         "1 / (1 + exp(-a)) has no such place.", "card trap: a = 1000 must give 1 without NaN"),
    slip("softmax", {SIGMOID: "torch.softmax(a, 0)"},
         "Your answers add up to 1 over the rows. Every row is a question of its own: squash each a by itself.",
         "student mistake: softmax of chapter 1 in place of the sigmoid"),
)  # fmt: skip

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
    alternatives=(alternative(neuron__tanh), alternative(neuron__two_sides)),
    misconceptions=NEURON_MISTAKES,
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


def boundary_probe(ns, data):
    line = named(probing.call(ns.boundary, data["w"], data["b"]), "n", "d")
    return line | {"d": float(line["d"])} if torch.as_tensor(line["d"]).ndim == 0 else line


def boundary_library(data):
    if not data["w"].any():
        return NotImplemented
    return {"n": F.normalize(data["w"], dim=0), "d": float(-data["b"] / data["w"].norm())}


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


BOUNDARY_MISTAKES = (
    slip("not_normalised", {"w / length, float": "w, float"},
         "The direction is right, its length is not: n has length 1, so divide w by |w|.",
         "student mistake: w taken for the unit normal"),
    slip("sum_for_length", {"torch.linalg.vector_norm(w)": "w.abs().sum()"},
         "The length of w is the root of the sum of its squares; you add up absolute values.",
         "student mistake: another norm"),
    slip("wrong_side", {"float(-b / length)": "float(b / length)"},
         "The sign of d: w . (d n) + b = d |w| + b is 0 at d = -b / |w|. A positive bias lets the neuron say yes "
         "earlier, so the line moves backwards.", "student mistake: sign lost when solving for d"),
    slip("plain_distance", {"float(-b / length)": "abs(float(b / length))"},
         "d is more than a distance, it has a sign: -b / |w| is negative where the line lies behind the origin.",
         "student mistake: distance of a point and a line, from school"),
    slip("not_divided", {"float(-b / length)": "float(-b)"},
         "-b is the distance only for weights of length 1. Divide by |w|.",
         "student mistake: bias taken for a distance"),
    slip("along_the_line", {"w / length, float": "torch.stack([-w[1], w[0]]) / length, float"},
         "Your n runs along the line. The normal stands at a right angle to it: that is the direction of w itself.",
         "student mistake: direction vector and normal exchanged"),
    slip("no_refusal", {"if length == 0:": "if False:"},
         "All numbers are right. Zero weights have no boundary: raise ValueError before you divide by 0.",
         "student mistake: error case forgotten"),
    slip("squared_length", {"float(-b / length)": "float(-b / length**2)"},
         "You divide by the square of the length. That is right for a factor of w; d goes along n, which has length 1 "
         "already: -b / |w|.", "student mistake: the foot of the perpendicular is -b w / |w|^2"),
)  # fmt: skip

BOUNDARY = Exercise(
    name="boundary",
    methods=("ch02/neuron",),
    groups={"plain": 1.0, "edge": 1.0},
    cases=boundary_cases,
    probe=boundary_probe,
    oracle=boundary_library,
    minutes=10,
    difficulty="medium",
    good_for="reading a trained neuron: where it draws its line, and which side it favours",
    hints=(
        "On the line w . x = -b. Along which direction does w . x grow fastest?",
        "n is w divided by its length. For the point d * n the weighted sum is d * |w| + b; when is it 0?",
        "return w / length, float(-b / length), after refusing length == 0",
    ),
    alternatives=(alternative(boundary__hypot), alternative(boundary__foot)),
    misconceptions=BOUNDARY_MISTAKES,
)


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


def gradient_probe(ns, data):
    return by_hand(ns.objective_grad, data)


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

CHARGE = 'F.binary_cross_entropy_with_logits(x @ w, t, reduction="sum")'
P = "torch.sigmoid(x @ w)"
MEAN = "You take the mean over the points. Here G is their sum: N times as much beside the same alpha."
NO_PRICE = "With alpha = 0 you are right. The weights' own price is missing: alpha * E, and alpha * w in the gradient."
OBJECTIVE_MISTAKES = (
    slip("mean", {'reduction="sum"': 'reduction="mean"', "(p - t) @ x": "(p - t) @ x / len(x)"}, MEAN,
         "card trap: G is a sum; PyTorch's default is the mean"),
    slip("mean_price", {'reduction="sum"': 'reduction="mean"'}, MEAN,
         "library difference: PyTorch's default is the mean"),
    slip("no_half", {"w.square().sum() / 2": "w.square().sum()"},
         "Without decay you are right. E is HALF the sum of squares.", "student mistake: the half left out"),
    slip("decay_doubled", {"+ alpha * w": "+ 2 * alpha * w"},
         "Without decay you are right. E is HALF the sum of squares, so its gradient is w and not 2w.",
         "card trap: alpha * w, not 2 * alpha * w"),
    slip("decay_per_point", {"+ alpha * w": "+ len(x) * alpha * w"},
         "alpha * w is added once for each point. It belongs to the weights, not to the points: add it once.",
         "student mistake: the decay inside the loop over the points"),
    slip("length_not_squared", {"w.square().sum() / 2": "w.norm() / 2"},
         "Without decay you are right. E is half the sum of SQUARES; you take the length of w.",
         "student mistake: norm and squared norm"),
    slip("uphill", {"(p - t) @ x": "(t - p) @ x"},
         "The value is right; the data's part of the gradient has the wrong sign: dG/dw = -sum of (t - p) x.",
         "student mistake: the minus in front of the sum lost"),
    slip("logarithm_of_zero", {CHARGE: f"-(t * torch.log({P}) + (1 - t) * torch.log(1 - {P})).sum()"},
         "At an activation of 300 the output rounds to exactly 1 and log(1 - p) is infinite. Compute the charge from "
         "the activation: F.binary_cross_entropy_with_logits does.", "card trap: logits of 300 must stay finite"),
    slip("clamped", {CHARGE: f"F.binary_cross_entropy({P}.clamp(1e-7, 1 - 1e-7), t, reduction='sum')"},
         "A clamped probability caps the charge: at an activation of 300 a point costs 300, not 16. Compute the charge "
         "from the activation: F.binary_cross_entropy_with_logits does.", "student mistake: an epsilon against log 0"),
    slip("only_yes", {CHARGE: "-(t * F.logsigmoid(x @ w)).sum()"},
         "You charge the points with t = 1 alone. Those with t = 0 cost -log(1 - p).",
         "student mistake: cross-entropy with one term"),
    slip("forgets_decay", {"return G + alpha * E": "return G", "(p - t) @ x + alpha * w": "(p - t) @ x"}, NO_PRICE,
         "student mistake: optional argument never used"),
    slip("forgets_price", {"return G + alpha * E": "return G"}, NO_PRICE, "student mistake: optional argument"),
    slip("slope_twice", {"(p - t) @ x": "((p - t) * p * (1 - p)) @ x"},
         "The factor p (1 - p) is too much: it cancels against the derivative of the logarithm. The error at the "
         "activation is just p - t.", "student mistake: gradient of the squared error"),
    slip("last_point", {"(p - t) @ x": "(p[-1] - t[-1]) * x[-1]"},
         "Only the last point counts in your gradient. In a loop add each point's part to what is there already.",
         "student mistake: `=` in a loop where `+=` is meant"),
)  # fmt: skip

OBJECTIVE = Exercise(
    name="objective",
    defines=("objective", "objective_grad"),
    methods=("ch02/neuron_objective", "ch02/weight_decay"),
    core=True,
    groups={"price": 1.5, "gradient": 1.5, "edge": 1.0},
    cases=objective_cases,
    probe={"gradient": gradient_probe},
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
        alternative(objective__softplus, objective_grad__loop),
        alternative(objective__logsigmoid, objective_grad__outer),
    ),
    misconceptions=OBJECTIVE_MISTAKES,
)
