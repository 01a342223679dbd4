"""Chapter 23, notebook 1: the optional exercises `dylora_forward` and `prune_lambdas`."""

import torch
import torch.nn.functional as F

from autograder.declare import Exercise, alternative, case, slip
from autograder.exercises.ch23_low_rank_adaptation.common import slopes
from dlcv_lab.checking import probing


def dylora_cases(d):
    def layer(group, note, r, b, alpha=6.0):
        x, W0, A, B = d.normal(3, 5), d.normal(4, 5), d.normal(r, 5), d.normal(4, r)
        return case(group, note, x=x, W0=W0, A=A, B=B, alpha=alpha, b=b)

    return [
        layer("plain", "3 of 5 components", 5, 3),
        layer("edge", "the first component alone", 4, 1),
        layer("edge", "all components, alpha 1", 3, 3, 1.0),
    ]


def dylora_probe(ns, data):
    """Return the output and the gradients of A and B."""
    A, B = data["A"].clone().requires_grad_(), data["B"].clone().requires_grad_()
    y = probing.call(ns.dylora_forward, data["x"], data["W0"], A, B, alpha=data["alpha"], b=data["b"])
    return {"output": y, "gradients": slopes(y, A=A, B=B)}


def dylora_forward__masked(x, W0, A, B, *, alpha, b):
    mask = (torch.arange(len(A)) < b).to(x.dtype)
    return x @ W0.T + alpha / b * (x @ A.T * mask) @ B.T


def dylora_forward__by_components(x, W0, A, B, *, alpha, b):
    y = F.linear(x, W0)
    for i in range(b):
        y = y + alpha / b * torch.outer(x @ A[i], B[:, i])
    return y


DYLORA_MISTAKES = (
    slip("by_r", {"alpha / b": "alpha / len(A)"},
         "You scale by alpha / r. With b components in use the factor is alpha / b.",
         "paper: Valipour et al. scale by alpha / b"),
    slip("last", {"B[:, :b] @ A[:b]": "B[:, -b:] @ A[-b:]"},
         "You use the last b components. The first ones are shared by all ranks.", "student mistake: a negative slice"),
    slip("one", {"B[:, :b] @ A[:b]": "B[:, b - 1 : b] @ A[b - 1 : b]"},
         "You use component b alone. Used are all up to b; in the 'frozen' variant only b is UPDATED.",
         "paper: the frozen variant trains component b alone"),
    slip("one_more",
         {"B[:, :b] @ A[:b]": "B[:, : b + 1] @ A[: b + 1]"},
         "You use b + 1 components. The first b end before index b.",
         "student mistake: one off"),
    slip("no_base", {"W0 + ": ""},
         "The output of the pretrained weight is missing.", "student mistake: the branch for the layer"),
)  # fmt: skip

DYLORA = Exercise(
    name="dylora_forward",
    methods=("ch23/dylora",),
    groups={"plain": 1, "edge": 1},
    cases=dylora_cases,
    probe=dylora_probe,
    alternatives=(alternative(dylora_forward__masked), alternative(dylora_forward__by_components)),
    misconceptions=DYLORA_MISTAKES,
    hints=(
        "Which rows of A and which columns of B belong to the first b components?",
        "Cut A to its first b rows and B to its first b columns, and compute LoRA of rank b with them.",
        "return F.linear(x, W0 + alpha / b * B[:, :b] @ A[:b])",
    ),
    good_for="one training for every rank",
    minutes=5,
    difficulty="easy",
)


def prune_cases(d):
    def layers(group, note, sizes, budget):
        n = sum(sizes)
        order = d.permutation(n).float() + 1
        order[: sizes[0]] += 3 * n  # the first layer matters most
        order[sizes[0] :] -= n + 0.5  # and in the others all scores are negative
        scores = {f"layer {i}": part for i, part in enumerate(order.split(sizes))}
        return case(group, note, scores=scores, budget=budget)

    return [
        layers("plain", "6 of 12 components in three layers", [4, 4, 4], 6),
        layers("plain", "layers of different rank", [3, 5, 2], 5),
        layers("edge", "no budget", [2, 2], 0),
        layers("edge", "more budget than components", [2, 3], 9),
    ]


def prune_probe(ns, data):
    """Return which components are kept, and whether the masks are tensors of truth values."""
    kept = probing.call(ns.prune_lambdas, data["scores"], data["budget"])
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


PRUNE_MISTAKES = (
    slip("per_layer", {"score >= least": "score.argsort().argsort() >= len(score) - budget // len(scores)"},
         "You give every layer the same share. The layers compete: rank all components together.",
         "paper: AdaLoRA's budget is global; a fixed share per layer is plain LoRA"),
    slip("lowest", {"descending=True": "", "score >= least": "score <= least"},
         "You keep the components with the lowest scores.",
         "library difference: torch.sort sorts ascending, torch.topk takes the largest"),
    slip("one_short", {"score >= least": "score > least"},
         "You keep one component too few: the one at the threshold belongs to the budget.",
         "student mistake: > for >="),
    slip("pruned_ones", {"score >= least": "score < least"},
         "True marks the components to KEEP; yours marks those to prune.",
         "library difference: masked_fill takes a mask of what is overwritten"),
    slip("absolute", {".sort(": ".abs().sort(", "score >= least": "score.abs() >= least"},
         "You rank by absolute values. The scores are ranked as they are; a negative one is a low one.",
         "student mistake: scores taken for lambdas"),
    slip("masked_scores", {", dtype=torch.bool": "", "score >= least": "score * (score >= least)"},
         "You return numbers. Asked for are truth values, one boolean tensor per layer.",
         "student mistake: the masked scores, or a mask of 0.0 and 1.0"),
    slip("masked_scores_alone", {"score >= least": "score * (score >= least)"},
         "You return numbers. Asked for are truth values, one boolean tensor per layer.",
         "student mistake: the masked scores, or a mask of 0.0 and 1.0"),
    slip("too_many_for_topk", {"pool[min(budget, len(pool)) - 1]": "pool.topk(budget).values[-1]"},
         "With a budget above the number of components your selection runs past the end: min(budget, that number).",
         "library difference: torch.topk refuses a k above the length"),
    slip("beyond_the_end", {"min(budget, len(pool))": "budget"},
         "With a budget above the number of components your selection runs past the end: min(budget, that number).",
         "student mistake: the index budget - 1 without a limit"),
)  # fmt: skip

PRUNE = Exercise(
    name="prune_lambdas",
    methods=("ch23/adalora",),
    groups={"plain": 1, "edge": 1},
    cases=prune_cases,
    probe=prune_probe,
    alternatives=(alternative(prune_lambdas__topk), alternative(prune_lambdas__ranked)),
    misconceptions=PRUNE_MISTAKES,
    hints=(
        "What does the score of the last component that still fits into the budget tell about all others?",
        "Put all scores into one tensor, sort, read the threshold at the budget, compare each layer with it.",
        "least = torch.cat(list(scores.values())).sort(descending=True).values[min(budget, n) - 1]; return {name: "
        "score >= least for name, score in scores.items()}; treat budget 0 before",
    ),
    good_for="spending ranks where they help",
    minutes=10,
    difficulty="easy",
)
