"""Chapter 23, notebook 2: cases, probe and variants of `QLoRALinear`."""

import torch
import torch.nn.functional as F
from torch import nn

from autograder.declare.exercise import Alternative, Exercise, mistaken
from autograder.exercises.ch23_low_rank_adaptation.lesson_2_nf4 import (
    CODE,
    dequantize_nf4__flat,
    quantize_nf4__bucketize,
    storable,
)
from dlcv_lab.checking.model import Case


def qlora_cases(rng: torch.Generator) -> list[Case]:
    def case(group: str, note: str, shape: tuple[int, ...], rows: int, r: int, block: int, **more) -> Case:
        columns = shape[-1]
        data = {
            "x": torch.randn(*shape, generator=rng),
            "W": storable(rng, (rows, columns), block),
            "bias": torch.randn(rows, generator=rng) + 1,
            "A": torch.randn(r, columns, generator=rng),
            "B": torch.randn(rows, r, generator=rng),
            "code": CODE.clone(),
            "block": block,
        }
        return Case(group, data | more, note)

    return [
        case("output", "a batch, blocks of 64", (4, 16), 12, 2, 64),
        case("output", "a batch of sequences, no bias, blocks of 4", (2, 3, 5), 3, 4, 4, bias=None),
        case("gradient", "gradients of the input, A and B", (3, 6), 4, 2, 8),
    ]


def qlora_probe(ns, data):
    """Return output, or gradients and what the layer keeps in memory."""
    W, bias = data["W"], data["bias"]
    base = nn.Linear(W.shape[1], W.shape[0], bias=bias is not None).to(W.dtype)
    base.weight.data = W.clone()
    if bias is not None:
        base.bias.data = bias.clone()
    layer = ns.QLoRALinear(base, data["code"], len(data["A"]), 6.0, block=data["block"])
    layer.A.data, layer.B.data = data["A"].clone(), data["B"].clone()
    trained = sorted(name for name, p in layer.named_parameters() if p.requires_grad)

    def holds_a_dense_weight():
        kept = [*vars(layer).values(), *layer.parameters(), *layer.buffers()]
        kept += [p for value in vars(layer).values() if isinstance(value, nn.Module) for p in value.parameters()]
        return any(isinstance(t, torch.Tensor) and t.is_floating_point() and t.numel() == W.numel() for t in kept)

    before = holds_a_dense_weight()
    x = data["x"].clone().requires_grad_()
    y = layer(x)
    after = holds_a_dense_weight()
    weight = torch.sin(torch.arange(y.numel(), dtype=torch.float64)).to(y.dtype).view(y.shape)
    gradients = torch.autograd.grad((y * weight).sum(), [x, layer.A, layer.B])
    return {
        "output": y,
        "gradients": list(gradients),
        "trainable": ", ".join(trained),
        "the layer holds a dense weight before forward": before,
        "the layer holds a dense weight after forward": after,
    }


def nf4_code__given():
    return levels_given().float()


def levels_given():
    q = torch.distributions.Normal(0.0, 1.0).icdf
    up, down = (q(torch.linspace(0.9677083, 0.5, n, dtype=torch.float64)[:-1]) for n in (9, 8))
    levels = torch.cat([-down, torch.zeros(1, dtype=torch.float64), up]).sort().values
    return levels / levels.max()


class QLoRALinear__separate_terms(nn.Module):
    def __init__(self, base, code, r, alpha, *, block=64):
        super().__init__()
        self.shape, self.scaling = tuple(base.weight.shape), alpha / r
        self.packed, self.absmax = quantize_nf4(base.weight.detach(), code, block=block)
        self.code = code
        self.bias = None if base.bias is None else base.bias.detach().clone()
        self.A = nn.Parameter(torch.zeros(r, base.in_features))
        self.B = nn.Parameter(torch.zeros(base.out_features, r))

    def forward(self, x):
        y = torch.einsum("...i,oi->...o", x, dequantize_nf4(self.packed, self.absmax, self.code, self.shape))
        y = y + F.linear(F.linear(x, self.A), self.scaling * self.B)
        return y if self.bias is None else y + self.bias


class QLoRALinear__one_weight(nn.Module):
    def __init__(self, base, code, r, alpha, *, block=64):
        super().__init__()
        self.shape, self.scaling = tuple(base.weight.shape), alpha / r
        packed, absmax = quantize_nf4(base.weight.detach(), code, block=block)
        self.register_buffer("packed", packed)
        self.register_buffer("absmax", absmax)
        self.register_buffer("code", code)
        self.register_buffer("bias", None if base.bias is None else base.bias.detach().clone())
        self.A = nn.Parameter(torch.empty(r, base.in_features).normal_())
        self.B = nn.Parameter(torch.zeros(base.out_features, r))

    def forward(self, x):
        W = dequantize_nf4(self.packed, self.absmax, self.code, self.shape) + self.scaling * self.B @ self.A
        return F.linear(x, W, self.bias)


class QuantLayer(nn.Module):
    """The given constructor of QLoRALinear."""

    mistake = ""

    def __init__(self, base, code, r, alpha, *, block=64):
        super().__init__()
        self.shape, self.scaling = tuple(base.weight.shape), alpha / r
        packed, absmax = quantize_nf4(base.weight.detach(), code, block=block)
        self.register_buffer("packed", packed)
        self.register_buffer("absmax", absmax)
        self.register_buffer("code", code)
        self.register_buffer("bias", None if base.bias is None else base.bias.detach().clone())
        self.A = nn.Parameter(torch.zeros(r, base.in_features))
        self.B = nn.Parameter(torch.zeros(base.out_features, r))
        if self.mistake == "kept from the start":
            self.dense = dequantize_nf4(self.packed, self.absmax, self.code, self.shape)
        if self.mistake == "keeps base":
            self.base = base
        if self.mistake == "bias trains" and self.bias is not None:
            bias = self.bias
            del self.bias
            self.bias = nn.Parameter(bias)

    def forward(self, x):
        W = dequantize_nf4(self.packed, self.absmax, self.code, self.shape)
        if self.mistake == "keeps it":
            self.dense = W
        scaling = 1.0 if self.mistake == "no scaling" else self.scaling
        if self.mistake == "no gradient":
            y = F.linear(x.detach(), W, self.bias)
        elif self.mistake == "no bias":
            y = F.linear(x, W)
        elif self.mistake == "rounds the sum":
            both = quantize_nf4(
                W + (scaling * self.B @ self.A).detach(), self.code, block=2 * len(self.packed) // len(self.absmax)
            )
            y = F.linear(x, dequantize_nf4(*both, self.code, self.shape), self.bias)
            return y + 0 * (x @ self.A.T @ self.B.T)
        else:
            y = F.linear(x, W, self.bias)
        return y + scaling * (x @ self.A.T @ self.B.T)


class QLoRALinear__no_scaling(QuantLayer):
    mistake = "no scaling"


class QLoRALinear__no_gradient(QuantLayer):
    mistake = "no gradient"


class QLoRALinear__no_bias(QuantLayer):
    mistake = "no bias"


class QLoRALinear__rounds_the_sum(QuantLayer):
    mistake = "rounds the sum"


class QLoRALinear__keeps_it(QuantLayer):
    mistake = "keeps it"


class QLoRALinear__kept_from_the_start(QuantLayer):
    mistake = "kept from the start"


class QLoRALinear__keeps_base(QuantLayer):
    mistake = "keeps base"


class QLoRALinear__bias_trains(QuantLayer):
    mistake = "bias trains"


QLORA = Exercise(
    name="QLoRALinear",
    methods=("ch23/qlora",),
    groups={"output": 1, "gradient": 1},
    cases=qlora_cases,
    probe=qlora_probe,
    uses=("nf4",),
    standins=(
        Alternative(
            name="nf4",
            code=(levels_given, nf4_code__given, quantize_nf4__bucketize, dequantize_nf4__flat),
        ),
    ),
    alternatives=(
        Alternative(name="separate_terms", code=(QLoRALinear__separate_terms,)),
        Alternative(name="one_weight", code=(QLoRALinear__one_weight,)),
    ),
    misconceptions=(
        mistaken(
            QLoRALinear__no_scaling,
            "The branch lacks the factor alpha / r, `self.scaling`.",
            "card trap: slides write W0 + B A", QuantLayer,
        ),
        mistaken(
            QLoRALinear__no_gradient,
            "No gradient goes to x through the 4-bit weight. The layers below need it; only the weight itself gets "
            "none.",
            "paper: section 3 back-propagates through the frozen 4-bit weights into the adapters", QuantLayer,
        ),
        mistaken(
            QLoRALinear__no_bias,
            "The bias is missing. It stays in full precision.",
            "student mistake: x @ W.T alone", QuantLayer,
        ),
        mistaken(
            QLoRALinear__rounds_the_sum,
            "You round the sum of weight and update to 4 bits. Only the pretrained weight is in 4 bits; the branch "
            "is exact.",
            "student mistake: quantisation after the update instead of before", QuantLayer,
        ),
        mistaken(
            QLoRALinear__keeps_it,
            "Your forward stores the dense weight in the layer. Let it go when forward ends: that is what saves "
            "the memory.",
            "card: dequantise in forward, never store the dense weight", QuantLayer,
        ),
        mistaken(
            QLoRALinear__kept_from_the_start,
            "Your layer holds a dense weight from the start. Keep the packed one alone and rebuild it in forward: that "
            "is what saves the memory.",
            "student mistake: dequantised once, in the constructor, because it is faster", QuantLayer,
        ),
        mistaken(
            QLoRALinear__keeps_base,
            "Your layer keeps `base`, and with it the dense weight, trainable besides. Keep what the given constructor "
            "keeps.",
            "student mistake: self.base = base, as in LoRALinear", QuantLayer,
        ),
        mistaken(
            QLoRALinear__bias_trains,
            "The bias is a trainable parameter. Trained are A and B alone; the bias is a buffer.",
            "student mistake: nn.Parameter for whatever is floating", QuantLayer,
        ),
    ),
    hints=(
        "Which of the tensors in y = x W^T + bias + branch is only there while forward runs?",
        "Rebuild W from the buffers with dequantize_nf4, in a local variable; F.linear with the bias; add the branch.",
        "W = dequantize_nf4(self.packed, self.absmax, self.code, self.shape); return F.linear(x, W, self.bias) + "
        "self.scaling * (x @ self.A.T @ self.B.T)",
    ),
    good_for="fine-tuning a model on a graphics card that could not hold it",
    minutes=10,
    difficulty="easy",
    core=True,
)  # fmt: skip
