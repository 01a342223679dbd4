"""Chapter 23, notebook 1: the optional exercises `dylora_forward` and `prune_lambdas`."""

import torch
import torch.nn.functional as F

from autograder.declare.exercise import Alternative, Exercise, mistaken
from dlcv_lab.checking.model import Case


def dylora_cases(rng: torch.Generator) -> list[Case]:
    def case(group: str, note: str, r: int, b: int, alpha: float = 6.0) -> Case:
        x, W0 = torch.randn(3, 5, generator=rng), torch.randn(4, 5, generator=rng)
        A, B = torch.randn(r, 5, generator=rng), torch.randn(4, r, generator=rng)
        return Case(group, {"x": x, "W0": W0, "A": A, "B": B, "alpha": alpha, "b": b}, note)

    return [
        case("plain", "3 of 5 components", 5, 3),
        case("edge", "the first component alone", 4, 1),
        case("edge", "all components, alpha 1", 3, 3, 1.0),
    ]


def dylora_probe(ns, data):
    """Return the output and the gradients of A and B."""
    A, B = data["A"].clone().requires_grad_(), data["B"].clone().requires_grad_()
    y = ns.dylora_forward(data["x"], data["W0"], A, B, alpha=data["alpha"], b=data["b"])
    weight = torch.sin(torch.arange(y.numel(), dtype=torch.float64)).to(y.dtype).view(y.shape)
    return {"output": y, "gradients": list(torch.autograd.grad((y * weight).sum(), [A, B]))}


def dylora_forward__masked(x, W0, A, B, *, alpha, b):
    mask = (torch.arange(len(A)) < b).to(x.dtype)
    return x @ W0.T + alpha / b * (x @ A.T * mask) @ B.T


def dylora_forward__by_components(x, W0, A, B, *, alpha, b):
    y = F.linear(x, W0)
    for i in range(b):
        y = y + alpha / b * torch.outer(x @ A[i], B[:, i])
    return y


def dylora_with_mistake(mistake, x, W0, A, B, *, alpha, b):
    rows = slice(len(A) - b, None) if mistake == "last" else slice(b)
    if mistake == "one":
        rows = slice(b - 1, b)
    scaling = alpha / (len(A) if mistake == "by r" else b)
    branch = scaling * (x @ A[rows].T @ B[:, rows].T)
    return branch if mistake == "no base" else x @ W0.T + branch


def dylora_forward__by_r(x, W0, A, B, *, alpha, b):
    return dylora_with_mistake("by r", x, W0, A, B, alpha=alpha, b=b)


def dylora_forward__last(x, W0, A, B, *, alpha, b):
    return dylora_with_mistake("last", x, W0, A, B, alpha=alpha, b=b)


def dylora_forward__one(x, W0, A, B, *, alpha, b):
    return dylora_with_mistake("one", x, W0, A, B, alpha=alpha, b=b)


def dylora_forward__no_base(x, W0, A, B, *, alpha, b):
    return dylora_with_mistake("no base", x, W0, A, B, alpha=alpha, b=b)


DYLORA = Exercise(
    name="dylora_forward",
    methods=("ch23/dylora",),
    groups={"plain": 1, "edge": 1},
    cases=dylora_cases,
    probe=dylora_probe,
    alternatives=(
        Alternative(name="masked", code=(dylora_forward__masked,)),
        Alternative(name="by_components", code=(dylora_forward__by_components,)),
    ),
    misconceptions=(
        mistaken(
            dylora_forward__by_r,
            "You scale by alpha / r. With b components in use the factor is alpha / b.",
            "paper: Valipour et al. scale by alpha / b", dylora_with_mistake,
        ),
        mistaken(
            dylora_forward__last,
            "You use the last b components. The first ones are shared by all ranks.",
            "student mistake: a negative slice", dylora_with_mistake,
        ),
        mistaken(
            dylora_forward__one,
            "You use component b alone. Used are all up to b; in the 'frozen' variant only b is UPDATED.",
            "paper: the frozen variant trains component b alone", dylora_with_mistake,
        ),
        mistaken(
            dylora_forward__no_base,
            "The output of the pretrained weight is missing.",
            "student mistake: the branch for the layer", dylora_with_mistake,
        ),
    ),
    hints=(
        "Which rows of A and which columns of B belong to the first b components?",
        "Cut A to its first b rows and B to its first b columns, and compute LoRA of rank b with them.",
        "return F.linear(x, W0 + alpha / b * B[:, :b] @ A[:b])",
    ),
    good_for="one training for every rank",
    minutes=5,
    difficulty="easy",
)  # fmt: skip


def prune_cases(rng: torch.Generator) -> list[Case]:
    def case(group: str, note: str, sizes: list[int], budget: int) -> Case:
        order = torch.randperm(sum(sizes), generator=rng).float() + 1
        order[: sizes[0]] += 3 * sum(sizes)  # the first layer matters most
        order[sizes[0] :] -= sum(sizes) + 0.5  # and in the others all scores are negative
        parts = order.split(sizes)
        return Case(group, {"scores": {f"layer {i}": part for i, part in enumerate(parts)}, "budget": budget}, note)

    return [
        case("plain", "6 of 12 components in three layers", [4, 4, 4], 6),
        case("plain", "layers of different rank", [3, 5, 2], 5),
        case("edge", "no budget", [2, 2], 0),
        case("edge", "more budget than components", [2, 3], 9),
    ]


def prune_probe(ns, data):
    """Return which components are kept, and whether the masks are tensors of truth values."""
    kept = ns.prune_lambdas(data["scores"], data["budget"])
    masks = all(isinstance(mask, torch.Tensor) and mask.dtype == torch.bool for mask in kept.values())
    return {name: [bool(value) for value in mask] for name, mask in kept.items()} | {"truth values": masks}


def prune_lambdas__topk(scores, budget):
    pool = torch.cat(list(scores.values()))
    keep = torch.zeros(len(pool), dtype=torch.bool)
    keep[pool.topk(min(budget, len(pool))).indices] = True
    return dict(zip(scores, keep.split([len(score) for score in scores.values()])))


def prune_lambdas__ranked(scores, budget):
    ranked = sorted(((float(v), name, i) for name, score in scores.items() for i, v in enumerate(score)), reverse=True)
    kept = {(name, i) for _, name, i in ranked[:budget]}
    return {name: torch.tensor([(name, i) in kept for i in range(len(score))]) for name, score in scores.items()}


def prune_with_mistake(mistake, scores, budget):
    if mistake == "per layer":
        share = budget // len(scores)
        return {name: score.argsort().argsort() >= len(score) - share for name, score in scores.items()}
    if mistake == "absolute":
        scores = {name: score.abs() for name, score in scores.items()}
    pool = torch.cat(list(scores.values())).sort(descending=mistake != "lowest").values
    if budget <= 0:
        kind = torch.float32 if mistake == "masked scores" else torch.bool
        return {name: torch.zeros(len(score), dtype=kind) for name, score in scores.items()}
    if mistake == "too many for topk":
        least = pool.topk(budget).values[-1]
    else:
        least = pool[budget - 1] if mistake == "beyond the end" else pool[min(budget, len(pool)) - 1]
    if mistake in ("masked scores", "masked scores alone"):
        return {name: score * (score >= least) for name, score in scores.items()}
    if mistake in ("absolute", "too many for topk", "beyond the end"):
        return {name: score >= least for name, score in scores.items()}
    if mistake == "lowest":
        return {name: score <= least for name, score in scores.items()}
    if mistake == "one short":
        return {name: score > least for name, score in scores.items()}
    return {name: score < least for name, score in scores.items()}


def prune_lambdas__per_layer(scores, budget):
    return prune_with_mistake("per layer", scores, budget)


def prune_lambdas__lowest(scores, budget):
    return prune_with_mistake("lowest", scores, budget)


def prune_lambdas__one_short(scores, budget):
    return prune_with_mistake("one short", scores, budget)


def prune_lambdas__pruned_ones(scores, budget):
    return prune_with_mistake("pruned ones", scores, budget)


def prune_lambdas__absolute(scores, budget):
    return prune_with_mistake("absolute", scores, budget)


def prune_lambdas__masked_scores(scores, budget):
    return prune_with_mistake("masked scores", scores, budget)


def prune_lambdas__masked_scores_alone(scores, budget):
    return prune_with_mistake("masked scores alone", scores, budget)


def prune_lambdas__too_many_for_topk(scores, budget):
    return prune_with_mistake("too many for topk", scores, budget)


def prune_lambdas__beyond_the_end(scores, budget):
    return prune_with_mistake("beyond the end", scores, budget)


PRUNE = Exercise(
    name="prune_lambdas",
    methods=("ch23/adalora",),
    groups={"plain": 1, "edge": 1},
    cases=prune_cases,
    probe=prune_probe,
    alternatives=(
        Alternative(name="topk", code=(prune_lambdas__topk,)),
        Alternative(name="ranked", code=(prune_lambdas__ranked,)),
    ),
    misconceptions=(
        mistaken(
            prune_lambdas__per_layer,
            "You give every layer the same share. The layers compete: rank all components together.",
            "paper: AdaLoRA's budget is global; a fixed share per layer is plain LoRA", prune_with_mistake,
        ),
        mistaken(
            prune_lambdas__lowest,
            "You keep the components with the lowest scores.",
            "library difference: torch.sort sorts ascending, torch.topk takes the largest", prune_with_mistake,
        ),
        mistaken(
            prune_lambdas__one_short,
            "You keep one component too few: the one at the threshold belongs to the budget.",
            "student mistake: > for >=", prune_with_mistake,
        ),
        mistaken(
            prune_lambdas__pruned_ones,
            "True marks the components to KEEP; yours marks those to prune.",
            "library difference: masked_fill takes a mask of what is overwritten", prune_with_mistake,
        ),
        mistaken(
            prune_lambdas__absolute,
            "You rank by absolute values. The scores are ranked as they are; a negative one is a low one.",
            "student mistake: scores taken for lambdas", prune_with_mistake,
        ),
        mistaken(
            prune_lambdas__masked_scores,
            "You return numbers. Asked for are truth values, one boolean tensor per layer.",
            "student mistake: the masked scores, or a mask of 0.0 and 1.0", prune_with_mistake,
        ),
        mistaken(
            prune_lambdas__masked_scores_alone,
            "You return numbers. Asked for are truth values, one boolean tensor per layer.",
            "student mistake: the masked scores, or a mask of 0.0 and 1.0", prune_with_mistake,
        ),
        mistaken(
            prune_lambdas__too_many_for_topk,
            "With a budget above the number of components your selection runs past the end: min(budget, that number).",
            "library difference: torch.topk refuses a k above the length", prune_with_mistake,
        ),
        mistaken(
            prune_lambdas__beyond_the_end,
            "With a budget above the number of components your selection runs past the end: min(budget, that number).",
            "student mistake: the index budget - 1 without a limit", prune_with_mistake,
        ),
    ),
    hints=(
        "What does the score of the last component that still fits into the budget tell about all others?",
        "Put all scores into one tensor, sort, read the threshold at the budget, compare each layer with it.",
        "least = torch.cat(list(scores.values())).sort(descending=True).values[min(budget, n) - 1]; return "
        "{name: score >= least for name, score in scores.items()}; treat budget 0 before",
    ),
    good_for="spending ranks where they help",
    minutes=10,
    difficulty="easy",
)  # fmt: skip
