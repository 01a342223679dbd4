"""Exercise of notebook 2 on activation functions: their values and their slopes."""

import torch
import torch.nn.functional as F

from autograder.declare import Exercise, alternative, case, slip
from autograder.exercises.ch02_neural_networks.common import DOUBLE
from dlcv_lab.checking.model import Forbid

READY_MADE = Forbid(
    aten=("aten.gelu*", "aten.silu*", "aten.leaky_relu*"),
    names=("torch.autograd", "torch.func", "F.gelu", "F.silu", "F.leaky_relu", "nn.GELU", "nn.SiLU", "nn.LeakyReLU"),
)


def activation_cases(d):
    cases = []
    for group in ("value", "slope"):
        for name in ("sigmoid", "tanh", "relu", "leaky_relu", "gelu", "silu"):
            a = torch.cat([d.normal(8, dtype=DOUBLE), d.uniform(2, low=1.0, high=2.0, dtype=DOUBLE)])
            ends = torch.tensor([0.0, 50.0, -50.0], dtype=DOUBLE)
            cases.append(case(group, f"{name}, float64", name=name, a=torch.cat([a, ends])))
        cases.append(case(group, "an unknown name", name="softsign", a=d.normal(3)))
        cases.append(case(group, "relu of a matrix", name="relu", a=d.normal(3, 4)))
    return cases


def value_library(data):
    if data["name"] == "softsign":
        raise ValueError("not in the list")
    return {"tanh": torch.tanh, "sigmoid": torch.sigmoid}.get(data["name"], getattr(F, data["name"]))(data["a"])


def slope_library(data):
    a = data["a"].detach().clone().requires_grad_()
    return torch.autograd.grad(value_library({"name": data["name"], "a": a}).sum(), a)[0]


def activation__table(name, a):
    table = {
        "sigmoid": lambda: 1 / (1 + torch.exp(-a)),
        "tanh": lambda: 2 * torch.sigmoid(2 * a) - 1,
        "relu": lambda: a.clamp(min=0),
        "leaky_relu": lambda: a.clamp(min=0) + 0.01 * a.clamp(max=0),
        "gelu": lambda: a * torch.special.ndtr(a),
        "silu": lambda: a / (1 + torch.exp(-a)),
    }
    if name not in table:
        raise ValueError(name)
    return table[name]()


def activation_grad__table(name, a):
    s = torch.sigmoid(a)
    if name in ("relu", "leaky_relu"):
        low = 0.0 if name == "relu" else 0.01
        return low + (1 - low) * (a > 0).to(a.dtype)
    if name == "gelu":
        return torch.special.ndtr(a) + a * torch.exp(-(a**2) / 2) / (2 * torch.pi) ** 0.5
    if name == "tanh":
        wide = torch.sigmoid(2 * a)
        return 4 * wide * (1 - wide)
    if name not in ("sigmoid", "silu"):
        raise ValueError(name)
    return s * (1 - s) if name == "sigmoid" else s * (1 + a * (1 - s))


def activation__one_by_one(name, a):
    if name == "sigmoid":
        return torch.sigmoid(a)
    if name == "tanh":
        return torch.tanh(a)
    if name == "relu":
        return torch.where(a > 0, a, torch.zeros_like(a))
    if name == "leaky_relu":
        return torch.maximum(a, 0.01 * a)
    if name == "gelu":
        return 0.5 * a * (1 + torch.erf(a * 0.5**0.5))
    if name == "silu":
        return torch.sigmoid(a) * a
    raise ValueError("unknown")


def activation_grad__one_by_one(name, a):
    if name == "sigmoid":
        return torch.sigmoid(a) * torch.sigmoid(-a)
    if name == "tanh":
        return 1 - torch.tanh(a).square()
    if name == "relu":
        return torch.heaviside(a, torch.zeros_like(a))
    if name == "leaky_relu":
        return torch.heaviside(a, torch.zeros_like(a)) * 0.99 + 0.01
    if name == "gelu":
        normal = torch.distributions.Normal(torch.zeros((), dtype=a.dtype), torch.ones((), dtype=a.dtype))
        return normal.cdf(a) + a * normal.log_prob(a).exp()
    if name == "silu":
        return torch.sigmoid(a) * (1 + a * torch.sigmoid(-a))
    raise ValueError("unknown")


TENTH = "Your leaky relu lets a tenth through. Here, as in PyTorch, the slope below zero is .01."
PRODUCT = "silu and gelu are products a * f(a), so their slopes have two parts: f(a) + a * f'(a)."
OF_THE_VALUE = "activation_grad gets a, the sum before the function, and not the function's value."
ACTIVATION_MISTAKES = (
    slip("gelu_by_tanh", {"a * (1 + torch.erf(a / math.sqrt(2))) / 2":
                          "a * (1 + torch.tanh(math.sqrt(2 / math.pi) * (a + 0.044715 * a**3))) / 2"},
         "This is the tanh approximation of gelu, good to three digits. Here the exact one is wanted, with torch.erf.",
         "library difference: F.gelu(approximate='tanh'), used by GPT-2"),
    slip("leaky_by_a_tenth", {"0.01 * a": "0.1 * a", "torch.full_like(a, 0.01)": "torch.full_like(a, 0.1)"}, TENTH,
         "library difference: YOLO and darknet use .1"),
    slip("leaky_value_by_a_tenth", {"0.01 * a": "0.1 * a"}, TENTH, "library difference: YOLO and darknet use .1"),
    slip("slope_one_at_zero", {"return (a > 0).to(a.dtype)": "return (a >= 0).to(a.dtype)"},
         "At a = 0 the slope of relu is taken as 0, as PyTorch does.", "card trap: relu' at 0"),
    slip("no_product_rule", {"return s + a * s * (1 - s)": "return a * s * (1 - s)"}, PRODUCT,
         "student mistake: product rule"),
    slip("silu_first_part", {"return s + a * s * (1 - s)": "return s"}, PRODUCT, "student mistake: product rule"),
    slip("gelu_first_part", {"(1 + torch.erf(a / math.sqrt(2))) / 2 + a * density":
                             "(1 + torch.erf(a / math.sqrt(2))) / 2"}, PRODUCT, "student mistake: product rule"),
    slip("tanh_not_squared", {"1 - torch.tanh(a) ** 2": "1 - torch.tanh(a)"},
         "The slope of tanh is 1 minus its SQUARE.", "student mistake: square forgotten"),
    slip("slopes_of_the_values", {"return s * (1 - s)": "return a * (1 - a)", "1 - torch.tanh(a) ** 2": "1 - a**2"},
         OF_THE_VALUE, "library difference: derivatives written in the output, as back-propagation code keeps it"),
    slip("sigmoid_of_the_value", {"return s * (1 - s)": "return a * (1 - a)"}, OF_THE_VALUE,
         "library difference: derivatives written in the output"),
    slip("tanh_of_the_value", {"1 - torch.tanh(a) ** 2": "1 - a**2"}, OF_THE_VALUE,
         "library difference: derivatives written in the output"),
)  # fmt: skip

ACTIVATION = Exercise(
    name="activation",
    defines=("activation", "activation_grad"),
    methods=("ch02/activations",),
    groups={"value": 1.5, "slope": 1.5},
    cases=activation_cases,
    probe={"slope": "activation_grad"},
    oracle={"value": value_library, "slope": slope_library},
    minutes=25,
    difficulty="medium",
    good_for="knowing what the names in other people's networks compute, and what they let through backwards",
    forbid=READY_MADE,
    hints=(
        "Three of the slopes can be written with the function's own value. Which?",
        "sigmoid: s (1 - s). tanh: 1 - tanh squared. relu and leaky relu: 1 where a > 0, else 0 or .01. gelu and silu "
        "are products a * f(a): the slope is f(a) + a * f'(a), with f' the normal density, or s (1 - s).",
        "silu: s + a * s * (1 - s). gelu: (1 + torch.erf(a / 2**.5)) / 2 + a * torch.exp(-a * a / 2) / "
        "(2 * math.pi)**.5.",
    ),
    alternatives=(
        alternative(activation__table, activation_grad__table),
        alternative(activation__one_by_one, activation_grad__one_by_one),
    ),
    misconceptions=ACTIVATION_MISTAKES,
)
