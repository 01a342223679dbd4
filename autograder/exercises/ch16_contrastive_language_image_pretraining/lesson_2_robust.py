"""Chapter 16, notebook 2: cases, probe and variants of `effective_robustness`."""

import math

import torch

from autograder.declare.exercise import Exercise, alternative
from autograder.declare.slips import slip
from dlcv_lab.checking.model import Case


def robust_cases(rng: torch.Generator) -> list[Case]:
    """Draw baselines near a line in logit space, with accuracies at both ends."""

    def case(group: str, note: str, n: int, **more) -> Case:
        base = torch.linspace(-1, 2.5, n, dtype=torch.float64) + 0.2 * torch.rand(n, generator=rng, dtype=torch.float64)
        shifted = 0.7 * base - 1 + 0.3 * torch.randn(n, generator=rng, dtype=torch.float64)
        data = {
            "id": float(0.5 + 0.3 * torch.rand((), generator=rng)),
            "ood": float(0.4 + 0.4 * torch.rand((), generator=rng)),
            "base_id": base.sigmoid().tolist(),
            "base_ood": shifted.sigmoid().tolist(),
        }
        return Case(group, data | more, note)

    return [
        case("line", "six baseline models", 6),
        case("line", "two baseline models", 2),
        case("edge", "an accuracy of 1", 4, id=1.0),
        case("edge", "a baseline of 0 under the shift", 3, base_ood=[0.0, 0.3, 0.5]),
        case("edge", "the model fails under the shift", 4, ood=0.0),
        case("edge", "one baseline model", 1),
        case("edge", "three baseline models of one accuracy", 3, base_id=[0.7] * 3),
        case("edge", "two baselines that differ only outside the bounds", 2, base_id=[0.0, 0.0005]),
        case("edge", "a line so steep that exp overflows", 2, id=0.001, base_id=[0.5, 0.5001], base_ood=[0.001, 0.999]),
    ]


def robust_probe(ns, data):
    """Return the effective robustness; it raises where the baseline models determine no line."""
    given = data["id"], data["ood"], list(data["base_id"]), list(data["base_ood"])
    return {"effective robustness": float(ns.effective_robustness(*given))}


def effective_robustness__lstsq(id_acc, ood_acc, base_id, base_ood):
    if len(base_id) < 2:
        raise ValueError("give two or more baseline models")
    x = torch.tensor(base_id, dtype=torch.float64).clamp(0.001, 0.999).logit()
    y = torch.tensor(base_ood, dtype=torch.float64).clamp(0.001, 0.999).logit()
    if x.unique().numel() == 1:
        raise ValueError("these models do not differ")
    A = torch.stack([torch.ones_like(x), x], 1)
    a, b = torch.linalg.lstsq(A, y[:, None]).solution[:, 0]
    at = torch.tensor(id_acc, dtype=torch.float64).clamp(0.001, 0.999).logit()
    return ood_acc - float((a + b * at).sigmoid())


def effective_robustness__normal_equations(id_acc, ood_acc, base_id, base_ood):
    n = len(base_id)
    if n <= 1:
        raise ValueError("a line through one point")

    def logit(p):
        p = max(0.001, min(0.999, p))
        return math.log(p) - math.log1p(-p)

    xs, ys = [logit(p) for p in base_id], [logit(p) for p in base_ood]
    if len(set(xs)) < 2:
        raise ValueError("a line through one place")
    sx, sy = sum(xs), sum(ys)
    sxx, sxy = sum(x * x for x in xs), sum(x * y for x, y in zip(xs, ys))
    b = (n * sxy - sx * sy) / (n * sxx - sx * sx)
    a = (sy - b * sx) / n
    at = max(-500, min(500, a + b * logit(id_acc)))
    return ood_acc - 1.0 / (1.0 + math.exp(-at))


ROBUST = Exercise(
    name="effective_robustness",
    methods=("ch16/data_robustness",),
    groups={"line": 1, "edge": 1},
    cases=robust_cases,
    probe=robust_probe,
    alternatives=(alternative(effective_robustness__lstsq), alternative(effective_robustness__normal_equations)),
    misconceptions=(
        slip("no_line",
             {("if min(x) == max(x):\n"
               '    raise ValueError("baseline models of one accuracy determine no line")'):
                "",
              "slope = sum((p - mx) * (q - my) for p, q in zip(x, y)) / sum((p - mx) ** 2 for p in x)":
                "spread = sum((p - mx) ** 2 for p in x)\n"
                "slope = sum((p - mx) * (q - my) for p, q in zip(x, y)) / spread if spread else math.nan"},
             "Where all baseline models have one accuracy, your slope is 0 / 0. No line is best then: raise "
             "ValueError.", "card: hidden case one base model, in another dress"),
        slip("overflows", {"(1 + math.tanh(at / 2)) / 2": "1 / (1 + math.exp(-at))"},
             "math.exp(-x) overflows below x = -709. A sigmoid that does not is (1 + math.tanh(x / 2)) / 2.",
             "library difference: torch.sigmoid never overflows, 1 / (1 + math.exp(-x)) does"),
        slip("divides_and_overflows",
             {("if min(x) == max(x):\n"
               '    raise ValueError("baseline models of one accuracy determine no line")'):
                "",
              "(1 + math.tanh(at / 2)) / 2": "1 / (1 + math.exp(-at))"},
             "Two ends are open: baseline models of one accuracy divide by zero (raise ValueError), and "
             "math.exp overflows on a steep line (the sigmoid is (1 + math.tanh(x / 2)) / 2).",
             "student mistake: found in this course's own reference"),
        slip("no_logit", {"math.log(p / (1 - p))": "p", "(1 + math.tanh(at / 2)) / 2": "at"},
             "Your line is fitted to the accuracies. Fit it to their logits, and bring the prediction back by "
             "a sigmoid.", "paper: Taori et al. fit in logit (or probit) space, where the relation is straight"),
        slip("not_clamped",
             {"min(max(accuracy, 0.001), 0.999)": "accuracy"},
             "An accuracy of 0 or 1 has no logit. Bring every accuracy into [0.001, 0.999] first.",
             "student mistake: the bounds forgotten"),
        slip("slope_one",
             {"slope = sum((p - mx) * (q - my) for p, q in zip(x, y)) / sum((p - mx) ** 2 for p in x)":
              "slope = 1"},
             "Your line has slope 1, whatever the baseline models are. Fit the slope by least squares, too.",
             "student mistake: a shift in place of a line"),
        slip("barely_clamped", {"min(max(accuracy, 0.001), 0.999)": "min(max(accuracy, 1e-6), 1 - 1e-6)"},
             "An accuracy of 0 or 1 has no logit: bring it to 0.001 or 0.999, not nearer to the end.",
             "card: clip accuracies to [1e-3, 1 - 1e-3]"),
        slip("per_cent", {"min(max(accuracy, 0.001), 0.999)": "min(max(accuracy, 0.01), 1 - 0.01)"},
             "You bring accuracies into [0.01, 0.99]. The bounds are 0.001 and 0.999.",
             "student mistake: per cent for per mille"),
        slip("no_sigmoid", {"(1 + math.tanh(at / 2)) / 2": "at"},
             "Your prediction is still a logit. Take its sigmoid before you subtract it from an accuracy.",
             "student mistake: sigmoid forgotten"),
        slip("clamps_both",
             {"return ood_acc - (1 + math.tanh(at / 2)) / 2":
                "return min(max(ood_acc, 0.001), 0.999) - (1 + math.tanh(at / 2)) / 2"},
             "The measured accuracy under the shift is subtracted as it is; only what goes into a logit is "
             "brought into [0.001, 0.999].", "student mistake: all accuracies clamped at the beginning"),
        slip("through_zero",
             {"at = my + slope * (logit(id_acc) - mx)":
                "at = sum(p * q for p, q in zip(x, y)) / sum(p * p for p in x) * logit(id_acc)"},
             "Your line passes through 0. Fit an intercept, too.",
             "student mistake: least squares without a column of ones"),
        slip("exchanged", {"x, y = [logit(value) for value in base_id]": "y, x = [logit(value) for value in base_id]"},
             "You predict the ordinary accuracy from the shifted one. It is the other way round.",
             "student mistake: x and y of the fit"),
        slip("stays_in_logits", {"return ood_acc - (1 + math.tanh(at / 2)) / 2": "return logit(ood_acc) - at"},
             "Your difference is one of logits. Take the sigmoid of the prediction, then subtract accuracies.",
             "student mistake: sigmoid forgotten"),
        slip("plain_drop", {"return ood_acc - (1 + math.tanh(at / 2)) / 2": "return ood_acc - id_acc"},
             "You return the plain drop of accuracy. Better models drop less anyway; compare with the line.",
             "paper: effective robustness was defined to tell the two apart"),
        slip("sign", {"return ood_acc - (1 + math.tanh(at / 2)) / 2": "return (1 + math.tanh(at / 2)) / 2 - ood_acc"},
             "The sign is turned: a model above the line is more robust, a positive number.",
             "student mistake: expected minus measured"),
        slip("one_model",
             {'raise ValueError("a line needs at least two baseline models")': "return ood_acc - base_ood[0]"},
             "Through one point goes no particular line: raise ValueError for fewer than two baseline models.",
             "card: hidden case one base model"),
    ),
    hints=(
        "Why is 'it loses less accuracy' a poor measure for a model that is better to begin with?",
        "Clamp, logit, least squares y = a + b x through the baselines, at the logit of id_acc, sigmoid, subtract.",
        "slope = sum((p - mx) * (q - my) for p, q in zip(x, y)) / sum((p - mx) ** 2 for p in x)",
    ),
    good_for="telling robust from merely good",
    minutes=15,
)  # fmt: skip
