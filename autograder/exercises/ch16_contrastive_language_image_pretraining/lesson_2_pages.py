"""Chapter 16, notebook 2: cases, probes and variants of `assign_images` and `effective_robustness`."""

import math

import torch
from scipy.optimize import linear_sum_assignment

from autograder.exercise import Alternative, Exercise, Misconception
from dlcv_lab.checking.model import Case


def pages_cases(rng: torch.Generator) -> list[Case]:
    """Draw similarities with one sentence that attracts several images."""

    def case(group: str, note: str, images: int, sentences: int, lift: float = 1.0) -> Case:
        S = torch.randn(images, sentences, generator=rng, dtype=torch.float64)
        if images and sentences > 1:
            S[:, 0] += lift
            S[:2, 0] = S.max() + 1 + torch.rand(2, generator=rng, dtype=torch.float64)
        return Case(group, {"S": S}, note)

    trap = torch.tensor([[0.9, 0.8, 0.1], [0.85, 0.1, 0.2]], dtype=torch.float64)
    return [
        case("plain", "3 images, 6 sentences", 3, 6),
        case("plain", "4 images, 4 sentences", 4, 4),
        Case(
            "plain", {"S": trap + 0.01 * torch.rand(2, 3, generator=rng, dtype=torch.float64)}, "both want sentence 0"
        ),
        case("edge", "5 images, 2 sentences", 5, 2),
        case("edge", "3 images, 1 sentence", 3, 1),
        case("edge", "no image", 0, 4),
        Case("edge", {"S": -1 - torch.rand(3, 5, generator=rng, dtype=torch.float64)}, "all similarities are negative"),
    ]


def pages_probe(ns, data):
    """Return the sentences."""
    return [int(t) for t in ns.assign_images(data["S"])]


def assign_images__permutations(S):
    import itertools

    I, T = S.shape
    if I == 0:
        return []
    best, found = -math.inf, None
    if I <= T:
        for columns in itertools.permutations(range(T), I):
            value = sum(float(S[i, t]) for i, t in enumerate(columns))
            if value > best:
                best, found = value, list(columns)
        return found
    for rows in itertools.permutations(range(I), T):
        value = sum(float(S[i, t]) for t, i in enumerate(rows))
        if value > best:
            best, found = value, rows
    out = [int(S[i].argmax()) for i in range(I)]
    for t, i in enumerate(found):
        out[i] = t
    return out


def assign_images__costs(S):
    if S.shape[0] == 0:
        return []
    rows, columns = linear_sum_assignment((S.max() - S).numpy())
    taken = dict(zip(rows.tolist(), columns.tolist()))
    return [taken[i] if i in taken else int(torch.argmax(S[i])) for i in range(len(S))]


def pages_with_mistake(mistake, S):
    if len(S) == 0:
        return []
    chosen = S.argmax(1).tolist()
    if mistake == "favourites":
        return chosen
    if mistake == "in turn":
        free = set(range(S.shape[1]))
        for i, row in enumerate(S):
            if free:
                chosen[i] = max(free, key=lambda t: float(row[t]))
                free.discard(chosen[i])
        return chosen
    rows, columns = linear_sum_assignment(S.numpy(), maximize=mistake != "smallest")
    if mistake == "drops":
        return columns[rows.argsort()].tolist()
    if mistake == "last":
        chosen = [S.shape[1] - 1] * len(S)
    for i, t in zip(rows.tolist(), columns.tolist()):
        chosen[i] = t
    return chosen


def assign_images__favourites(S):
    return pages_with_mistake("favourites", S)


def assign_images__in_turn(S):
    return pages_with_mistake("in turn", S)


def assign_images__smallest(S):
    return pages_with_mistake("smallest", S)


def assign_images__drops(S):
    return pages_with_mistake("drops", S)


def mistaken(variant, hint: str, source_of: str, helper) -> Misconception:
    """Name a misconception after its function."""
    return Misconception(name=variant.__name__.split("__")[1], code=(helper, variant), hint=hint, source_of=source_of)


PAGES = Exercise(
    name="assign_images",
    methods=("ch16/mmc4",),
    groups={"plain": 1, "edge": 1},
    cases=pages_cases,
    probe=pages_probe,
    alternatives=(
        Alternative(name="permutations", code=(assign_images__permutations,)),
        Alternative(name="costs", code=(assign_images__costs,)),
    ),
    misconceptions=(
        mistaken(
            assign_images__favourites,
            "Each image takes its favourite sentence, and several share one. A sentence gets at most one image.",
            "card: the max-assignment baseline",
            pages_with_mistake,
        ),
        mistaken(
            assign_images__in_turn,
            "You assign one image after the other. The first may take what the second needs more: maximise the sum.",
            "card: greedy is worse on a given matrix",
            pages_with_mistake,
        ),
        mistaken(
            assign_images__smallest,
            "You minimise. linear_sum_assignment does so by default; ask for maximize=True.",
            "library difference: scipy's function minimises costs",
            pages_with_mistake,
        ),
        mistaken(
            assign_images__drops,
            "With more images than sentences some are missing in your list. They go to their most similar sentence.",
            "card: I > T, surplus -> argmax",
            pages_with_mistake,
        ),
    ),
    hints=(
        "Two images like the same sentence best. Which of them should give way?",
        "Start with everybody's favourite; overwrite those that scipy's linear_sum_assignment(maximize=True) assigns.",
        "rows, columns = linear_sum_assignment(S.numpy(), maximize=True)",
    ),
    good_for="documents in which pictures and sentences take turns",
    minutes=10,
    difficulty="easy",
)


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
    ]


def robust_probe(ns, data):
    """Return the effective robustness, or that a ValueError was raised."""
    try:
        value = ns.effective_robustness(data["id"], data["ood"], list(data["base_id"]), list(data["base_ood"]))
    except ValueError:
        return {"raised": "ValueError"}
    return {"effective robustness": float(value)}


def effective_robustness__lstsq(id_acc, ood_acc, base_id, base_ood):
    if len(base_id) < 2:
        raise ValueError("give two or more baseline models")
    x = torch.tensor(base_id, dtype=torch.float64).clamp(0.001, 0.999).logit()
    y = torch.tensor(base_ood, dtype=torch.float64).clamp(0.001, 0.999).logit()
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
    sx, sy = sum(xs), sum(ys)
    sxx, sxy = sum(x * x for x in xs), sum(x * y for x, y in zip(xs, ys))
    b = (n * sxy - sx * sy) / (n * sxx - sx * sx)
    a = (sy - b * sx) / n
    return ood_acc - 1.0 / (1.0 + math.exp(-a - b * logit(id_acc)))


def robust_with_mistake(mistake, id_acc, ood_acc, base_id, base_ood):
    if len(base_id) < 2:
        if mistake == "one model":
            return ood_acc - base_ood[0]
        raise ValueError("two models are needed")
    low = 1e-6 if mistake == "barely clamped" else 0.001

    def logit(p):
        p = torch.as_tensor(p, dtype=torch.float64).clamp(low, 1 - low)
        return p if mistake == "no logit" else p.logit()

    x, y = logit(base_id), logit(base_ood)
    if mistake == "exchanged":
        x, y = y, x
    b = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    at = y.mean() + b * (logit(id_acc) - x.mean())
    if mistake == "through zero":
        at = (x * y).sum() / (x * x).sum() * logit(id_acc)
    if mistake == "stays in logits":
        return float(logit(ood_acc) - at)
    expected = at if mistake == "no logit" else at.sigmoid()
    if mistake == "plain drop":
        return ood_acc - id_acc
    return float(expected - ood_acc if mistake == "sign" else ood_acc - expected)


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
