"""Chapter 28, notebook 2, extra: cases, probe and variants of `resteer_loss`."""

import torch

from autograder.declare.exercise import Exercise, alternative
from autograder.declare.slips import slip
from dlcv_lab.checking.model import Case


def resteer_cases(rng: torch.Generator) -> list[Case]:
    """Draw attention of several layers; positions differ between examples, one case has none."""

    def case(group: str, note: str, B: int, places: list[int], chosen: int, dtype=torch.float32) -> Case:
        layers = [torch.randn(B, 2, n, 6, generator=rng).to(dtype).softmax(-1) for n in places]
        positions = torch.zeros(B, 6, dtype=torch.bool)
        for row in positions:
            row[torch.randperm(6, generator=rng)[:chosen]] = True
        return Case(group, {"probabilities": layers, "positions": positions}, note)

    many = torch.randn(1, 12, 8192, 2, generator=rng).half()
    many[..., 0] += 8  # nearly all attention goes to the first word: the sum of squares is beyond float16's 65 504
    largest = {"probabilities": [many.softmax(-1)], "positions": torch.tensor([[True, False]])}
    return [
        case("value", "two layers, one word", 1, [4, 9], 1),
        case("value", "three examples with words at different places", 3, [4, 4, 9], 2),
        case("value", "float64", 2, [9], 1, torch.float64),
        case("edge", "no word belongs to the concept", 2, [4, 4], 0),
        case("edge", "no word belongs to the concept, half precision", 2, [4, 4], 0, torch.float16),
        Case("edge", largest, "much attention in half precision"),
    ]


def resteer_probe(ns, data):
    """Return the loss and its gradients, the gradients alone where no word belongs to the concept."""
    layers = [p.clone().requires_grad_() for p in data["probabilities"]]
    loss = ns.resteer_loss(layers, data["positions"])
    found = torch.autograd.grad(loss, layers, allow_unused=True)
    zeros = [torch.zeros_like(p) if g is None else g for p, g in zip(layers, found)]
    if not data["positions"].any():  # 1e-6 or 0: nobody can tell them apart on a page
        return {"gradients": zeros}
    return {"loss": loss.detach(), "gradients": zeros}


def resteer_loss__collected(probabilities, positions):
    parts = [p.permute(0, 3, 1, 2)[positions].flatten() for p in probabilities]
    chosen = torch.cat(parts)
    chosen = chosen if chosen.dtype == torch.float64 else chosen.float()
    return (chosen.pow(2).sum() + 1e-12) ** 0.5


def resteer_loss__loops(probabilities, positions):
    total = 1e-12
    for p in probabilities:
        p = p.float() if p.dtype == torch.float16 else p
        for example, row in zip(p, positions):
            for w in range(len(row)):
                if row[w]:
                    total = total + (example[:, :, w] ** 2).sum()
    return torch.sqrt(total) if isinstance(total, torch.Tensor) else (probabilities[0].double() * 0).sum() + total**0.5


RESTEER = Exercise(
    name="resteer_loss",
    methods=("ch28/fmn",),
    groups={"value": 1, "edge": 1},
    cases=resteer_cases,
    probe=resteer_probe,
    alternatives=(alternative(resteer_loss__collected), alternative(resteer_loss__loops)),
    misconceptions=(
        slip("overflows",
             {"exact = torch.promote_types(probabilities[0].dtype, torch.float32)": "",
              "p.to(exact)": "p"},
             "In float16 your sum of squares is infinite beyond 65 504, and 1e-12 is 0, so the gradient of the "
             "root is not a number. Square and sum in float32: p.float().",
             "library difference: Tensor.norm() sums float16 in float32"),
        slip("squared", {"return (total + 1e-12).sqrt()": "return total + 1e-12"},
             "Your loss is squared. The official code takes the norm: the root of the sum of squares.",
             "card trap: cat(...).norm(), not squared"),
        slip("mean", {".square().sum() for": ".square().mean() for"},
             "You take means. The norm is a root of a SUM, over layers, heads, places and words.",
             "student mistake: mean for sum"),
        slip("sum_of_norms",
             {("total = sum((p.to(exact) * positions[:, None, None, :]).square().sum() for p in probabilities)\n"
               "return (total + 1e-12).sqrt()"):
                "return sum(((p.to(exact) * positions[:, None, None, :]).square().sum() + 1e-12).sqrt() for p "
                "in probabilities)"},
             "You add one norm per layer. All probabilities go into one norm.",
             "student mistake: the root taken too early"),
        slip("first_example", {"positions[:, None": "positions[:1, None"},
             "You use the positions of the first example for all. Every row of `positions` belongs to its own "
             "example.", "card trap: the official mask is right for a batch of one only"),
        slip("others", {"positions[:, None, None, :]": "~positions[:, None, None, :]"},
             "You punish attention to the other words. Punish attention to the concept's.",
             "student mistake: the mask inverted"),
        slip("all_words", {" * positions[:, None, None, :]": ""},
             "You punish attention to all words. Multiply by `positions`.",
             "student mistake: an argument that is not used"),
        slip("mean_head",
             {"(p.to(exact) * positions[:, None, None, :])": "(p.to(exact).mean(1) * positions[:, None, :])"},
             "You average the heads first. Every head's probabilities go into the norm.",
             "student mistake: the mean of concept_mask taken over"),
        slip("no_floor", {" + 1e-12": ""},
             "Where nothing attends, the gradient of your root is not a number. Add 1e-12 UNDER the root.",
             "student mistake: the small number forgotten, or added outside"),
    ),
    hints=(
        "Along which of the four axes do the words lie? What is the gradient of a root at zero?",
        "In float32 or longer: multiply each tensor by positions[:, None, None, :], square, sum everything over all "
        "layers, add 1e-12, root.",
        "exact = torch.promote_types(probabilities[0].dtype, torch.float32); total = sum((p.to(exact) "
        "* positions[:, None, None, :]).square().sum() for p in probabilities); (total + 1e-12).sqrt()",
    ),
    good_for="making pixels look away from a word",
    minutes=10,
)  # fmt: skip
