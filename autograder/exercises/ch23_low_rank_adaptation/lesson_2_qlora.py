"""Chapter 23, notebook 2: `QLoRALinear`, and the optional `double_quantize`."""

import torch
import torch.nn.functional as F
from torch import nn

from autograder.declare import Alternative, Exercise, alternative, case, mistaken, slip
from autograder.exercises.ch23_low_rank_adaptation.common import layer_data, linear, slopes, trainable
from autograder.exercises.ch23_low_rank_adaptation.lesson_2_nf4 import (
    CODE,
    dequantize_nf4__flat,
    nf4_code__erfinv,
    quantize_nf4__bucketize,
    storable,
)
from dlcv_lab.checking import probing


def double_cases(d):
    """Draw constants that lie near the middle of a step of 8 bits, so that rounding errors decide nothing."""

    def constants(group, note, sizes, **block):
        parts = []
        for size in sizes:
            steps = d.integers(-120, 119, size).float()
            steps[:2] = torch.tensor([127.0, -127.0])
            parts.append(steps * d.real(0.01, 0.03))
        left = torch.cat(parts).double()
        # shift all numbers until the sum is zero, so that subtracting the mean of the constants returns the grid
        return case(group, note, absmax=(left - left.mean() + 5.0).float(), **block)

    return [
        constants("plain", "one block", [40]),
        constants("plain", "three blocks of 8", [8, 8, 8], block=8),
        constants("edge", "a shorter last block", [8, 8, 3], block=8),
        case("edge", "all constants equal", absmax=torch.full((6,), 1.5), block=4),
    ]


def double_probe(ns, data):
    """Return scales and mean, and the constants that come back, to within a step."""
    options = {"block": data["block"]} if "block" in data else {}
    q, scale, mean = probing.call(ns.double_quantize, data["absmax"], **options)
    steps = scale.repeat_interleave(data.get("block", 256))[: len(q)]
    back = q.to(steps.dtype) * steps + mean
    close = bool(((back - data["absmax"]).abs() <= 0.51 * steps).all())
    return {"scale": scale, "mean": mean, "off by half a step at most": close, "dtype": str(q.dtype), "length": len(q)}


def double_quantize__loop(absmax, *, block=256):
    mean = absmax.mean()
    codes, scales = [], []
    for first in range(0, len(absmax), block):
        part = absmax[first : first + block] - mean
        largest = part.abs().max()
        scale = largest / 127 if largest > 0 else torch.ones_like(largest)
        scales.append(scale)
        codes.append(torch.round(part / scale).to(torch.int8))
    return torch.cat(codes), torch.stack(scales), mean


def double_quantize__padded(absmax, *, block=256):
    mean = absmax.sum() / len(absmax)
    rows = torch.nn.functional.pad(absmax - mean, (0, -len(absmax) % block)).view(-1, block)
    scale = rows.abs().amax(1) / 127
    scale = scale.masked_fill(scale == 0, 1.0)
    return (rows / scale[:, None]).round().flatten()[: len(absmax)].to(torch.int8), scale, mean


DOUBLE_MISTAKES = (
    slip("no_mean", {"absmax.mean()": "torch.zeros_like(absmax[0])"},
         "Subtract the mean first. The constants are all positive, so half of the 256 codes would stay unused.",
         "paper: section 3 subtracts the mean of the constants"),
    slip("keeps_the_mean",
         {"(absmax - mean)": "absmax"},
         "You return the mean, but do not subtract it: it comes off before the blocks get their scale.",
         "student mistake: computed and not used"),
    slip("one_block", {".split(block)": ".split(len(absmax))"},
         "You use one scale for all constants. Every block of them has its own.",
         "student mistake: the second level of blocks forgotten"),
    slip("by_128", {"127": "128"},
         "Divide by 127: int8 ends at +127, and the largest constant would become 128.",
         "student mistake: 2 to the power 7"),
    slip("no_guard", {"scale = torch.where(scale == 0, 1, scale)": ""},
         "A block whose constants all equal the mean has the scale 0. Use 1 there.",
         "card: hidden case of a block of zeros, one level up"),
    slip("mean_per_block", {"(absmax - mean).split(block)": "[part - part.mean() for part in absmax.split(block)]"},
         "You subtract the mean of each block. There is ONE mean, of all constants.",
         "student mistake: mean and scale taken in the same loop"),
    slip("truncates", {".round()": ""},
         "Converting to int8 cuts decimals off. Round first.",
         "library difference: Tensor.to(torch.int8) truncates towards zero"),
)  # fmt: skip

DOUBLE = Exercise(
    name="double_quantize",
    methods=("ch23/qlora",),
    groups={"plain": 1, "edge": 1},
    cases=double_cases,
    probe=double_probe,
    alternatives=(alternative(double_quantize__loop), alternative(double_quantize__padded)),
    misconceptions=DOUBLE_MISTAKES,
    hints=(
        "What is the smallest, what the largest number that int8 holds, and which constant should land there?",
        "Subtract the mean, split into blocks, scale = largest absolute value / 127 (or 1), round the quotients.",
        "parts = (absmax - mean).split(block); scale = torch.stack([part.abs().max() / 127 for part in parts]); q = "
        "torch.cat([(part / s).round() for part, s in zip(parts, scale)]).to(torch.int8)",
    ),
    good_for="the last third of a bit",
    minutes=10,
    difficulty="easy",
)


def qlora_cases(d):
    def layer(group, note, shape, rows, r, block, **more):
        own = {"W": storable(d, (rows, shape[-1]), block), "code": CODE.clone(), "block": block}
        return case(group, note, **layer_data(d, shape, rows, r) | own | more)

    return [
        layer("output", "a batch, blocks of 64", (4, 16), 12, 2, 64),
        layer("output", "a batch of sequences, no bias, blocks of 4", (2, 3, 5), 3, 4, 4, bias=None),
        layer("gradient", "gradients of the input, A and B", (3, 6), 4, 2, 8),
    ]


def qlora_probe(ns, data):
    """Return output, gradients, and what the layer keeps in memory."""
    base = linear(data["W"], data["bias"])
    layer = ns.QLoRALinear(base, data["code"], len(data["A"]), 6.0, block=data["block"])
    layer.A.data, layer.B.data = data["A"].clone(), data["B"].clone()
    trained, size = trainable(layer), data["W"].numel()

    def holds_a_dense_weight():
        kept = [*vars(layer).values(), *layer.parameters(), *layer.buffers()]
        kept += [p for value in vars(layer).values() if isinstance(value, nn.Module) for p in value.parameters()]
        return any(isinstance(t, torch.Tensor) and t.is_floating_point() and t.numel() == size for t in kept)

    before = holds_a_dense_weight()
    x = data["x"].clone().requires_grad_()
    y = probing.call(layer, x)
    return {
        "output": y,
        "gradients": slopes(y, x=x, A=layer.A, B=layer.B),
        "trainable": trained,
        "the layer holds a dense weight before forward": before,
        "the layer holds a dense weight after forward": holds_a_dense_weight(),
    }


class QuantLayer(nn.Module):
    """The given constructor, and a forward that is right."""

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

    def dense(self):
        return dequantize_nf4(self.packed, self.absmax, self.code, self.shape)

    def forward(self, x):
        return F.linear(x, self.dense(), self.bias) + self.scaling * F.linear(F.linear(x, self.A), self.B)


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


class QLoRALinear__one_weight(QuantLayer):
    def forward(self, x):
        return F.linear(x, self.dense() + self.scaling * self.B @ self.A, self.bias)


class QLoRALinear__kept_from_the_start(QuantLayer):
    def __init__(self, base, code, r, alpha, *, block=64):
        super().__init__(base, code, r, alpha, block=block)
        self.kept = self.dense()


class QLoRALinear__keeps_base(QuantLayer):
    def __init__(self, base, code, r, alpha, *, block=64):
        super().__init__(base, code, r, alpha, block=block)
        self.base = base


class QLoRALinear__bias_trains(QuantLayer):
    def __init__(self, base, code, r, alpha, *, block=64):
        super().__init__(base, code, r, alpha, block=block)
        if (bias := self.bias) is not None:
            del self.bias
            self.bias = nn.Parameter(bias)


QLORA_MISTAKES = (
    slip("no_scaling", {"self.scaling * ": ""},
         "The branch lacks the factor alpha / r, `self.scaling`.", "card trap: slides write W0 + B A"),
    slip("no_gradient", {"F.linear(x, ": "F.linear(x.detach(), "},
         "No gradient goes to x through the 4-bit weight. The layers below need it; only the weight itself gets none.",
         "paper: section 3 back-propagates through the frozen 4-bit weights into the adapters"),
    slip("no_bias", {"W, self.bias": "W"},
         "The bias is missing. It stays in full precision.", "student mistake: x @ W.T alone"),
    slip("rounds_the_sum",
         {"return F.linear(x, W, self.bias) + self.scaling * (x @ self.A.T @ self.B.T)":
            "\n"
            "              block = 2 * len(self.packed) // len(self.absmax)\n"
            "              both = quantize_nf4(W + (self.scaling * self.B @ self.A).detach(), self.code, "
            "block=block)\n"
            "              return F.linear(x, dequantize_nf4(*both, self.code, self.shape), self.bias)\n"
            "          "},
         "You round the sum of weight and update to 4 bits. Only the pretrained weight is in 4 bits; the "
         "branch is exact.", "student mistake: quantisation after the update instead of before"),
    slip("keeps_it", {"W = dequantize_nf4": "W = self.dense = dequantize_nf4"},
         "Your forward stores the dense weight in the layer. Let it go when forward ends: that is what saves "
         "the memory.", "card: dequantise in forward, never store the dense weight"),
    mistaken(QLoRALinear__kept_from_the_start,
             "Your layer holds a dense weight from the start. Keep the packed one alone and rebuild it in forward: "
             "that is what saves the memory.",
             "student mistake: dequantised once, in the constructor, because it is faster",
             QuantLayer),
    mistaken(QLoRALinear__keeps_base,
             "Your layer keeps `base`, and with it the dense weight, trainable besides. Keep what the given "
             "constructor keeps.",
             "student mistake: self.base = base, as in LoRALinear",
             QuantLayer),
    mistaken(QLoRALinear__bias_trains,
             "The bias is a trainable parameter. Trained are A and B alone; the bias is a buffer.",
             "student mistake: nn.Parameter for whatever is floating",
             QuantLayer),
)  # fmt: skip

QLORA = Exercise(
    name="QLoRALinear",
    methods=("ch23/qlora",),
    groups={"output": 1, "gradient": 1},
    cases=qlora_cases,
    probe=qlora_probe,
    uses=("nf4",),
    standins=(Alternative(name="nf4", code=(nf4_code__erfinv, quantize_nf4__bucketize, dequantize_nf4__flat)),),
    alternatives=(
        alternative(QLoRALinear__separate_terms),
        Alternative(name="one_weight", code=(QuantLayer, QLoRALinear__one_weight)),
    ),
    misconceptions=QLORA_MISTAKES,
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
)
