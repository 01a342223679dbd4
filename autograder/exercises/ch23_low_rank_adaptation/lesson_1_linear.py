"""Chapter 23, notebook 1: cases, probe and variants of `LoRALinear`."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from autograder.exercise import Alternative, Exercise, Misconception
from dlcv_lab.checking.model import Case


def linear_cases(rng: torch.Generator) -> list[Case]:
    """Draw layers that are not square, ranks above the smaller side, inputs with one, two and three axes."""

    def case(group: str, ask: str, note: str, shape: tuple[int, ...], rows: int, r: int, **more) -> Case:
        columns = shape[-1]
        data = {
            "ask": ask,
            "x": torch.randn(*shape, generator=rng),
            "W": torch.randn(rows, columns, generator=rng),
            "bias": torch.randn(rows, generator=rng) + 1,
            "A": torch.randn(r, columns, generator=rng),
            "B": torch.randn(rows, r, generator=rng),
            "alpha": 6.0,
            "dropout": 0.0,
            "training": False,
        }
        return Case(group, data | more, note)

    return [
        case("start", "start", "before training: what is trainable, and with which values", (2, 5), 3, 2),
        case("output", "output", "a batch, r = 2, alpha = 6", (4, 5), 3, 2),
        case("output", "output", "one vector, r larger than the layer", (3,), 2, 4),
        case("output", "output", "a batch of sequences, no bias", (2, 3, 4), 5, 1, bias=None),
        case("output", "output", "training with dropout 1: a silent branch", (3, 4), 4, 2, dropout=1.0, training=True),
        case("output", "output", "evaluation with dropout 0.5", (3, 4), 2, 3, dropout=0.5),
        case("merge", "merge", "merged, merged twice, unmerged, unmerged twice", (3, 4), 5, 2),
        case("merge", "merge", "merging without a bias, alpha = 1", (2, 6), 3, 3, bias=None, alpha=1.0),
    ]  # fmt: skip


def linear_probe(ns, data):
    """Build the layer around a given base; say how it starts, what it computes, or what merging does."""
    W, bias = data["W"], data["bias"]
    base = nn.Linear(W.shape[1], W.shape[0], bias=bias is not None).to(W.dtype)
    base.weight.data = W.clone()
    if bias is not None:
        base.bias.data = bias.clone()
    layer = ns.LoRALinear(base, len(data["A"]), data["alpha"], data["dropout"]).to(W.dtype)
    names = sorted(name for name, p in layer.named_parameters() if p.requires_grad)
    shapes = {"A": list(layer.A.shape), "B": list(layer.B.shape)}
    if data["ask"] == "start":
        drawn = bool(layer.A.detach().std() > 0)
        zero = bool((layer.B == 0).all())
        return {
            "trainable": names,
            "shapes": shapes,
            "A is random": drawn,
            "B is zero": zero,
            "output": layer(data["x"]),
        }
    layer.A.data, layer.B.data = data["A"].clone(), data["B"].clone()
    layer.train(data["training"])
    if data["ask"] == "output":
        x = data["x"].clone().requires_grad_()
        y = layer(x)
        weight = torch.sin(torch.arange(y.numel(), dtype=torch.float64)).to(y.dtype).view(y.shape)
        found = torch.autograd.grad((y * weight).sum(), [x, layer.A, layer.B], allow_unused=True)
        zeros = [torch.zeros_like(p) for p in (x, layer.A, layer.B)]
        return {"output": y, "gradients": [z if g is None else g for g, z in zip(found, zeros, strict=True)]}
    answer = {}
    for step in ("merge", "merge", "unmerge", "unmerge"):
        getattr(layer, step)()
        many = f"{step} again" if step in answer else step
        answer[step] = True
        answer[f"{many}: output"] = layer(data["x"])
        answer[f"{many}: base.weight"] = layer.base.weight.detach().clone()
        answer[f"{many}: merged"] = bool(layer.merged)
    return answer


class LoRALinear__functional(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base, self.scaling, self.merged, self.dropout = base, alpha / r, False, nn.Dropout(dropout)
        for p in base.parameters():
            p.requires_grad = False
        self.A = nn.Parameter(torch.empty(r, base.in_features))
        self.B = nn.Parameter(torch.zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def forward(self, x):
        y = self.base(x)
        if not self.merged:
            y = y + self.scaling * F.linear(F.linear(self.dropout(x), self.A), self.B)
        return y

    @torch.no_grad()
    def merge(self):
        if self.merged:
            return
        self.base.weight.add_(self.B @ self.A, alpha=self.scaling)
        self.merged = True

    @torch.no_grad()
    def unmerge(self):
        if not self.merged:
            return
        self.base.weight.sub_(self.B @ self.A, alpha=self.scaling)
        self.merged = False


class LoRALinear__dense_branch(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base, self.scaling, self.merged, self.dropout = base, alpha / r, False, nn.Dropout(dropout)
        base.requires_grad_(False)
        self.A = nn.Parameter(nn.Linear(base.in_features, r, bias=False).weight.detach().clone())
        self.B = nn.Parameter(torch.zeros(base.out_features, r))

    def update(self):
        return torch.einsum("or,ri->oi", self.B, self.A) * self.scaling

    def forward(self, x):
        branch = 0 if self.merged else torch.einsum("...i,oi->...o", self.dropout(x), self.update())
        return self.base(x) + branch

    def merge(self):
        self.flip(1, not self.merged)

    def unmerge(self):
        self.flip(-1, self.merged)

    def flip(self, sign, needed):
        if needed:
            self.base.weight.data = self.base.weight.data + sign * self.update().detach()
            self.merged = not self.merged


class Mistaken(nn.Module):
    mistake = ""

    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base, self.scaling, self.merged, self.dropout = base, alpha / r, False, nn.Dropout(dropout)
        if self.mistake == "no scaling":
            self.scaling = 1.0
        if self.mistake == "alpha alone":
            self.scaling = alpha
        if self.mistake != "base trains":
            base.requires_grad_(False)
        self.A = nn.Parameter(torch.empty(r, base.in_features))
        self.B = nn.Parameter(torch.zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
        if self.mistake == "both zero":
            nn.init.zeros_(self.A)
        if self.mistake == "both random":
            nn.init.constant_(self.B, 0.1)
        if self.mistake == "a not b":
            nn.init.constant_(self.B, 0.1)
            nn.init.zeros_(self.A)

    def forward(self, x):
        branch = self.scaling * (self.dropout(x) @ self.A.T @ self.B.T)
        if self.merged and self.mistake != "adds twice":
            branch = 0
        return self.base(self.dropout(x) if self.mistake == "dropout everywhere" else x) + branch

    @torch.no_grad()
    def merge(self):
        if not self.merged or self.mistake == "merges again":
            scaling = 1.0 if self.mistake == "merge unscaled" else self.scaling
            self.base.weight += scaling * self.B @ self.A
            self.merged = True

    @torch.no_grad()
    def unmerge(self):
        if self.merged or self.mistake == "unmerges again":
            scaling = 1.0 if self.mistake == "merge unscaled" else self.scaling
            self.base.weight -= scaling * self.B @ self.A
            self.merged = self.mistake == "flag stays"


class LoRALinear__no_scaling(Mistaken):
    mistake = "no scaling"


class LoRALinear__alpha_alone(Mistaken):
    mistake = "alpha alone"


class LoRALinear__base_trains(Mistaken):
    mistake = "base trains"


class LoRALinear__both_zero(Mistaken):
    mistake = "both zero"


class LoRALinear__both_random(Mistaken):
    mistake = "both random"


class LoRALinear__a_not_b(Mistaken):
    mistake = "a not b"


class LoRALinear__adds_twice(Mistaken):
    mistake = "adds twice"


class LoRALinear__dropout_everywhere(Mistaken):
    mistake = "dropout everywhere"


class LoRALinear__merges_again(Mistaken):
    mistake = "merges again"


class LoRALinear__merge_unscaled(Mistaken):
    mistake = "merge unscaled"


class LoRALinear__unmerges_again(Mistaken):
    mistake = "unmerges again"


class LoRALinear__flag_stays(Mistaken):
    mistake = "flag stays"


def mistaken(variant: type, hint: str, source_of: str) -> Misconception:
    """Name a misconception after its class."""
    return Misconception(name=variant.__name__.split("__")[1], code=(Mistaken, variant), hint=hint, source_of=source_of)


LINEAR = Exercise(
    name="LoRALinear",
    methods=("ch23/lora", "ch23/lora_merging"),
    groups={"start": 1, "output": 2, "merge": 2},
    cases=linear_cases,
    probe=linear_probe,
    alternatives=(
        Alternative(name="functional", code=(LoRALinear__functional,)),
        Alternative(name="dense_branch", code=(LoRALinear__dense_branch,)),
    ),
    misconceptions=(
        mistaken(
            LoRALinear__no_scaling,
            "Your branch is right up to the factor alpha / r, `self.scaling`, which is missing.",
            "card trap: the slide writes h = W0 x + B A x, without alpha / r",
        ),
        mistaken(
            LoRALinear__alpha_alone,
            "Your branch is too large by the factor r: scale by alpha / r, not by alpha.",
            "paper: section 4.1 divides alpha by r, so that r can change without a new learning rate",
        ),
        mistaken(
            LoRALinear__base_trains,
            "The weights of `base` are still trainable. Freeze them: base.requires_grad_(False).",
            "student mistake: 'the branch is trained' does not stop the optimizer from training the rest",
        ),
        mistaken(
            LoRALinear__both_zero,
            "A and B are both zero. Then both gradients are zero, for ever: draw A at random, leave B at zero.",
            "student mistake: zero everywhere, 'so that nothing changes at the start'",
        ),
        mistaken(
            LoRALinear__both_random,
            "B is not zero at the start, so your layer begins with a random disturbance of the pretrained one.",
            "student mistake: PyTorch's default initialization for both",
        ),
        mistaken(
            LoRALinear__a_not_b,
            "You made A zero and B nonzero. It would train, too, but the text (and peft) has A random and B zero.",
            "card trap: slides write both 'BA' and 'AB'",
        ),
        mistaken(
            LoRALinear__adds_twice,
            "After `merge` the update is counted twice: it is in the weight, and `forward` still adds the branch.",
            "library difference: peft's forward asks `if self.merged` first",
        ),
        mistaken(
            LoRALinear__dropout_everywhere,
            "You drop inputs of the frozen layer, too. Dropout belongs to the input of the branch only.",
            "card trap: dropout only on the LoRA branch input",
        ),
        mistaken(
            LoRALinear__merges_again,
            "Merging a second time adds the update once more. Ask `self.merged` first, and set it.",
            "card: hidden case merge twice",
        ),
        mistaken(
            LoRALinear__merge_unscaled,
            "What you merge lacks the factor alpha / r: merged and unmerged layer disagree.",
            "student mistake: the scaling stands in `forward` only",
        ),
        mistaken(
            LoRALinear__unmerges_again,
            "Unmerging a second time subtracts the update once more. Without a merge before, do nothing.",
            "card: hidden case unmerge twice",
        ),
        mistaken(
            LoRALinear__flag_stays,
            "After `unmerge` your layer still believes that it is merged: set `self.merged = False`.",
            "student mistake: the flag is set in one direction only",
        ),
    ),
    hints=(
        "Which of the two matrices has to be zero at the start, so that the layer begins as the base layer and "
        "still gets "
        "a gradient? And where is the update when `merged` is True?",
        "Start: freeze base, A of shape (r, in_features) drawn, B of shape (out_features, r) zero, both nn.Parameter. "
        "Forward: base(x), plus, if not merged, scaling times dropout(x) through A, then B (transposed: x is a "
        "row). Merge "
        "and unmerge: ask the flag, change base.weight.data by scaling * B @ A, flip the flag.",
        "self.A = nn.Parameter(torch.empty(r, base.in_features)); self.B = nn.Parameter(torch.zeros(base.out_features, "
        "r)); return self.base(x) + self.scaling * (self.dropout(x) @ self.A.T @ self.B.T); "
        "self.base.weight.data += (self.scaling * self.B @ self.A).detach()",
    ),
    good_for="the layer under most fine-tuned models that people share",
    minutes=20,
    core=True,
)
