"""Chapter 16, notebook 2: cases, probe and variants of `effective_robustness`."""

import math

import torch

from autograder.declare.exercise import Alternative, Exercise, mistaken
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


def robust_with_mistake(mistake, id_acc, ood_acc, base_id, base_ood):
    if len(base_id) < 2:
        if mistake == "one model":
            return ood_acc - base_ood[0]
        raise ValueError("two models are needed")
    low = {"barely clamped": 1e-6, "per cent": 0.01}.get(mistake, 0.001)

    def logit(p):
        p = torch.as_tensor(p, dtype=torch.float64).clamp(low, 1 - low)
        return p if mistake == "no logit" else p.logit()

    x, y = logit(base_id), logit(base_ood)
    if mistake == "exchanged":
        x, y = y, x
    if x.min() == x.max() and mistake != "no line":
        raise ZeroDivisionError if mistake == "divides and overflows" else ValueError
    b = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    at = y.mean() + b * (logit(id_acc) - x.mean())
    if mistake in ("overflows", "divides and overflows"):
        return float(ood_acc) - 1 / (1 + math.exp(-float(at)))
    if mistake == "through zero":
        at = (x * y).sum() / (x * x).sum() * logit(id_acc)
    if mistake == "stays in logits":
        return float(logit(ood_acc) - at)
    expected = at if mistake in ("no logit", "no sigmoid") else at.sigmoid()
    if mistake == "clamps both":
        ood_acc = min(max(ood_acc, 0.001), 0.999)
    if mistake == "plain drop":
        return ood_acc - id_acc
    return float(expected - ood_acc if mistake == "sign" else ood_acc - expected)


def effective_robustness__no_line(id_acc, ood_acc, base_id, base_ood):
    return robust_with_mistake("no line", id_acc, ood_acc, base_id, base_ood)


def effective_robustness__overflows(id_acc, ood_acc, base_id, base_ood):
    return robust_with_mistake("overflows", id_acc, ood_acc, base_id, base_ood)


def effective_robustness__divides_and_overflows(id_acc, ood_acc, base_id, base_ood):
    return robust_with_mistake("divides and overflows", id_acc, ood_acc, base_id, base_ood)


def effective_robustness__no_logit(id_acc, ood_acc, base_id, base_ood):
    return robust_with_mistake("no logit", id_acc, ood_acc, base_id, base_ood)


def effective_robustness__barely_clamped(id_acc, ood_acc, base_id, base_ood):
    return robust_with_mistake("barely clamped", id_acc, ood_acc, base_id, base_ood)


def effective_robustness__exchanged(id_acc, ood_acc, base_id, base_ood):
    return robust_with_mistake("exchanged", id_acc, ood_acc, base_id, base_ood)


def effective_robustness__stays_in_logits(id_acc, ood_acc, base_id, base_ood):
    return robust_with_mistake("stays in logits", id_acc, ood_acc, base_id, base_ood)


def effective_robustness__plain_drop(id_acc, ood_acc, base_id, base_ood):
    return robust_with_mistake("plain drop", id_acc, ood_acc, base_id, base_ood)


def effective_robustness__sign(id_acc, ood_acc, base_id, base_ood):
    return robust_with_mistake("sign", id_acc, ood_acc, base_id, base_ood)


def effective_robustness__one_model(id_acc, ood_acc, base_id, base_ood):
    return robust_with_mistake("one model", id_acc, ood_acc, base_id, base_ood)


def effective_robustness__no_sigmoid(id_acc, ood_acc, base_id, base_ood):
    return robust_with_mistake("no sigmoid", id_acc, ood_acc, base_id, base_ood)


def effective_robustness__clamps_both(id_acc, ood_acc, base_id, base_ood):
    return robust_with_mistake("clamps both", id_acc, ood_acc, base_id, base_ood)


def effective_robustness__per_cent(id_acc, ood_acc, base_id, base_ood):
    return robust_with_mistake("per cent", id_acc, ood_acc, base_id, base_ood)


def effective_robustness__through_zero(id_acc, ood_acc, base_id, base_ood):
    return robust_with_mistake("through zero", id_acc, ood_acc, base_id, base_ood)


ROBUST = Exercise(
    name="effective_robustness",
    methods=("ch16/data_robustness",),
    groups={"line": 1, "edge": 1},
    cases=robust_cases,
    probe=robust_probe,
    alternatives=(
        Alternative(name="lstsq", code=(effective_robustness__lstsq,)),
        Alternative(name="normal_equations", code=(effective_robustness__normal_equations,)),
    ),
    misconceptions=(
        mistaken(
            effective_robustness__no_line,
            "Where all baseline models have one accuracy, your slope is 0 / 0. No line is best then: raise ValueError.",
            "card: hidden case one base model, in another dress",
            robust_with_mistake,
        ),
        mistaken(
            effective_robustness__overflows,
            "math.exp(-x) overflows below x = -709. A sigmoid that does not is (1 + math.tanh(x / 2)) / 2.",
            "library difference: torch.sigmoid never overflows, 1 / (1 + math.exp(-x)) does",
            robust_with_mistake,
        ),
        mistaken(
            effective_robustness__divides_and_overflows,
            "Two ends are open: baseline models of one accuracy divide by zero (raise ValueError), and math.exp "
            "overflows on a steep line (the sigmoid is (1 + math.tanh(x / 2)) / 2).",
            "student mistake: found in this course's own reference",
            robust_with_mistake,
        ),
        mistaken(
            effective_robustness__no_logit,
            "Your line is fitted to the accuracies. Fit it to their logits, and bring the prediction back by a "
            "sigmoid.",
            "paper: Taori et al. fit in logit (or probit) space, where the relation is straight",
            robust_with_mistake,
        ),
        mistaken(
            effective_robustness__barely_clamped,
            "An accuracy of 0 or 1 has no logit: bring it to 0.001 or 0.999, not nearer to the end.",
            "card: clip accuracies to [1e-3, 1 - 1e-3]",
            robust_with_mistake,
        ),
        mistaken(
            effective_robustness__per_cent,
            "You bring accuracies into [0.01, 0.99]. The bounds are 0.001 and 0.999.",
            "student mistake: per cent for per mille",
            robust_with_mistake,
        ),
        mistaken(
            effective_robustness__no_sigmoid,
            "Your prediction is still a logit. Take its sigmoid before you subtract it from an accuracy.",
            "student mistake: sigmoid forgotten",
            robust_with_mistake,
        ),
        mistaken(
            effective_robustness__clamps_both,
            "The measured accuracy under the shift is subtracted as it is; only what goes into a logit is brought into "
            "[0.001, 0.999].",
            "student mistake: all accuracies clamped at the beginning",
            robust_with_mistake,
        ),
        mistaken(
            effective_robustness__through_zero,
            "Your line passes through 0. Fit an intercept, too.",
            "student mistake: least squares without a column of ones",
            robust_with_mistake,
        ),
        mistaken(
            effective_robustness__exchanged,
            "You predict the ordinary accuracy from the shifted one. It is the other way round.",
            "student mistake: x and y of the fit",
            robust_with_mistake,
        ),
        mistaken(
            effective_robustness__stays_in_logits,
            "Your difference is one of logits. Take the sigmoid of the prediction, then subtract accuracies.",
            "student mistake: sigmoid forgotten",
            robust_with_mistake,
        ),
        mistaken(
            effective_robustness__plain_drop,
            "You return the plain drop of accuracy. Better models drop less anyway; compare with the line.",
            "paper: effective robustness was defined to tell the two apart",
            robust_with_mistake,
        ),
        mistaken(
            effective_robustness__sign,
            "The sign is turned: a model above the line is more robust, a positive number.",
            "student mistake: expected minus measured",
            robust_with_mistake,
        ),
        mistaken(
            effective_robustness__one_model,
            "Through one point goes no particular line: raise ValueError for fewer than two baseline models.",
            "card: hidden case one base model",
            robust_with_mistake,
        ),
    ),
    hints=(
        "Why is 'it loses less accuracy' a poor measure for a model that is better to begin with?",
        "Clamp, logit, least squares y = a + b x through the baselines, at the logit of id_acc, sigmoid, subtract.",
        "slope = sum((p - mx) * (q - my) for p, q in zip(x, y)) / sum((p - mx) ** 2 for p in x)",
    ),
    good_for="telling robust from merely good",
    minutes=15,
)
