"""Chapter 23, notebook 1: cases, probe and variants of `LoRALinear`."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from autograder.declare.exercise import Alternative, Exercise
from autograder.exercises.ch23_low_rank_adaptation.lesson_1_linear_mistakes import MISTAKES
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

    turned = torch.linalg.qr(torch.randn(2, 6, 6, generator=rng)).Q  # A and B that can be undone without a loss
    large = 0.5 + torch.rand(40, 6, generator=rng)  # a share of a tiny input would be rounding alone
    double = case("start", "start", "a base layer in float64", (2, 4), 3, 2)
    double.data.update({name: value.double() for name, value in double.data.items() if torch.is_tensor(value)})
    return [
        case("start", "start", "before training: what is trainable, and with which values", (2, 64), 3, 16),
        double,
        case("output", "output", "a batch, r = 2, alpha = 6", (4, 5), 3, 2),
        case("output", "output", "one vector, r larger than the layer", (3,), 2, 4),
        case("output", "output", "a batch of sequences, no bias", (2, 3, 4), 5, 1, bias=None),
        case("output", "output", "training with dropout 1: a silent branch", (3, 4), 4, 2, dropout=1.0, training=True),
        case("output", "output", "evaluation, with a dropout of 1 that must not act", (3, 4), 2, 3, dropout=1.0),
        case("output", "kept", "training with dropout 0.5: which inputs the branch sees", (40, 6), 6, 6,
             x=large, A=turned[0], B=turned[1], dropout=0.5, training=True),
        case("merge", "merge", "merged, merged twice, unmerged, unmerged twice", (3, 4), 5, 2),
        case("merge", "merge", "merged in training mode, no bias, alpha = 1", (2, 6), 3, 3,
             bias=None, alpha=1.0, training=True),
    ]  # fmt: skip


def linear_probe(ns, data):
    """Build the layer around a given base; say how it starts, what it computes, or what merging does."""
    W, bias = data["W"], data["bias"]
    base = nn.Linear(W.shape[1], W.shape[0], bias=bias is not None).to(W.dtype)
    base.weight.data = W.clone()
    if bias is not None:
        base.bias.data = bias.clone()
    layer = ns.LoRALinear(base, len(data["A"]), data["alpha"], data["dropout"])
    types = [layer.A.dtype, layer.B.dtype]
    layer = layer.to(W.dtype)
    frozen = nn.functional.linear(data["x"], W, bias)
    start = {
        "trainable": ", ".join(sorted(name for name, p in layer.named_parameters() if p.requires_grad)),
        "shape of A": str(tuple(layer.A.shape)),
        "shape of B": str(tuple(layer.B.shape)),
    }
    if data["ask"] == "start":
        A, bound = layer.A.detach(), W.shape[1] ** -0.5  # kaiming_uniform_ with a = sqrt(5) is uniform on +-bound
        spread = float(A.std() / bound)
        drawn = bool(A.abs().max() <= bound) and 0.5 < spread < 0.66
        return start | {
            "A is drawn": bool(A.std() > 0),
            "A is drawn by kaiming_uniform_": drawn or A.numel() < 100,  # a few numbers do not tell
            "B is zero": bool((layer.B == 0).all()),
            "output is that of base": bool(((layer(data["x"]) - frozen).abs() < 1e-4).all()),
            "A and B have the dtype of base.weight": types == [W.dtype] * 2,
        }
    layer.A.data, layer.B.data = data["A"].clone(), data["B"].clone()
    layer.train(data["training"])
    if data["ask"] == "kept":
        seen = (layer(data["x"]) - frozen) @ data["B"] @ data["A"] / data["alpha"] * len(data["A"])
        share = (seen / data["x"]).detach()
        zero, doubled = (share.abs() < 1e-2), ((share - 2).abs() < 1e-2)
        # A and B are orthogonal, so what the branch saw comes back: each input, dropped or times 1 / (1 - p)
        return start | {
            "every input is dropped or doubled": bool((zero | doubled).all()),
            "about half is dropped": 0.25 < float(zero.float().mean()) < 0.75,
        }
    if data["ask"] == "output":
        x = data["x"].clone().requires_grad_()
        y = layer(x)
        weight = torch.sin(torch.arange(y.numel(), dtype=torch.float64)).to(y.dtype).view(y.shape)
        found = torch.autograd.grad((y * weight).sum(), [x, layer.A, layer.B], allow_unused=True)
        zeros = [torch.zeros_like(p) for p in (x, layer.A, layer.B)]
        gradients = [z if g is None else g for g, z in zip(found, zeros, strict=True)]
        return start | {"output": y, "gradients": gradients}
    answer, weight = {}, layer.base.weight
    for step in ("merge", "merge", "unmerge", "unmerge"):
        getattr(layer, step)()
        many = f"{step} again" if step in answer else step
        answer[step] = True
        answer[f"{many}: output"] = layer(data["x"])
        answer[f"{many}: base.weight"] = layer.base.weight.detach().clone()
        answer[f"{many}: merged"] = bool(layer.merged)
    same = layer.base.weight is weight
    return answer | {"the same parameter": same, "still frozen": not layer.base.weight.requires_grad}


class LoRALinear__functional(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base, self.scaling, self.merged, self.dropout = base, alpha / r, False, nn.Dropout(dropout)
        for p in base.parameters():
            p.requires_grad = False
        self.A = nn.Parameter(torch.empty(r, base.in_features, dtype=base.weight.dtype))
        self.B = nn.Parameter(torch.zeros(base.out_features, r, dtype=base.weight.dtype))
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
        self.A = nn.Parameter(nn.Linear(base.in_features, r, dtype=base.weight.dtype).weight.detach().clone())
        self.B = nn.Parameter(torch.zeros(base.out_features, r, dtype=base.weight.dtype))

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
    misconceptions=MISTAKES,
    hints=(
        "Which of the two matrices has to be zero at the start, so that the layer begins as the base layer and "
        "still gets "
        "a gradient? And where is the update when `merged` is True?",
        "Start: freeze base, A of shape (r, in_features) drawn, B of shape (out_features, r) zero, both nn.Parameter. "
        "Forward: base(x), plus, if not merged, scaling times dropout(x) through A, then B (transposed: x is a "
        "row). Merge "
        "and unmerge: ask the flag, change base.weight.data by scaling * B @ A, flip the flag.",
        "self.A = nn.Parameter(torch.empty(r, base.in_features, dtype=base.weight.dtype)); self.B = "
        "nn.Parameter(torch.zeros(base.out_features, r, dtype=base.weight.dtype)); return self.base(x) + "
        "self.scaling * (self.dropout(x) @ self.A.T @ self.B.T); "
        "self.base.weight.data += (self.scaling * self.B @ self.A).detach()",
    ),
    good_for="the layer under most fine-tuned models that people share",
    minutes=20,
    core=True,
)
