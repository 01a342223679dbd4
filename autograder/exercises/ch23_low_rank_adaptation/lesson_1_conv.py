"""Chapter 23, notebook 1: cases, probe and variants of `LoRAConv2d`."""

import torch
from torch import nn

from autograder.declare.exercise import Alternative, Exercise
from autograder.exercises.ch23_low_rank_adaptation.lesson_1_conv_mistakes import MISTAKES
from dlcv_lab.checking.model import Case


def conv_cases(rng: torch.Generator) -> list[Case]:
    """Draw convolutions with strides, paddings, dilations, padding modes, and kernels that are not square."""

    def case(group: str, ask: str, note: str, kernel: tuple[int, int] = (3, 3), r: int = 2, **options) -> Case:
        data = {
            "ask": ask,
            "x": torch.randn(2, 3, 8, 7, generator=rng),
            "W": torch.randn(4, 3 // options.get("groups", 1), *kernel, generator=rng),
            "bias": torch.randn(4, generator=rng) + 1,
            "A": torch.randn(r, 3, *kernel, generator=rng),
            "B": torch.randn(4, r, 1, 1, generator=rng),
            "alpha": 3.0,
            "options": options,
        }
        return Case(group, data, note)

    grouped = {
        "ask": "start", "x": torch.randn(1, 4, 5, 5, generator=rng), "W": torch.randn(4, 2, 3, 3, generator=rng),
        "bias": None, "A": torch.randn(2, 4, 3, 3, generator=rng), "B": torch.randn(4, 2, 1, 1, generator=rng),
        "alpha": 1.0, "options": {"groups": 2},
    }  # fmt: skip
    double = case("start", "start", "a base layer in float64")
    double.data.update({name: value.double() for name, value in double.data.items() if torch.is_tensor(value)})
    return [
        case("start", "start", "before training: what is trainable, and with which values", r=16),
        double,
        Case("start", grouped, "a convolution in groups"),
        case("output", "output", "plain"),
        case("output", "output", "stride 2, padding 1", stride=2, padding=1),
        case("output", "output", "dilation 2", dilation=2),
        case("output", "output", "kernel 1x3, reflected border", kernel=(1, 3), padding=(0, 1), padding_mode="reflect"),
        case("merge", "merge", "the update of a 3x3 kernel, merged twice", r=3),
        case("merge", "merge", "merged, stride 2, kernel 3x2", kernel=(3, 2), stride=2),
    ]


def conv_probe(ns, data):
    """Build the layer around a given convolution; say how it starts, what it computes, or what merging does."""
    W, bias = data["W"], data["bias"]
    groups = data["options"].get("groups", 1)
    base = nn.Conv2d(W.shape[1] * groups, len(W), tuple(W.shape[2:]), bias=bias is not None, **data["options"])
    base = base.to(W.dtype)
    base.weight.data = W.clone()
    if bias is not None:
        base.bias.data = bias.clone()
    frozen = base(data["x"]).detach()
    layer = ns.LoRAConv2d(base, len(data["A"]), data["alpha"])
    types = [layer.A.weight.dtype, layer.B.weight.dtype]
    layer = layer.to(W.dtype)
    start = {
        "trainable": ", ".join(sorted(name for name, p in layer.named_parameters() if p.requires_grad)),
        "shape of A.weight": str(tuple(layer.A.weight.shape)),
        "shape of B.weight": str(tuple(layer.B.weight.shape)),
    }
    for bias in (layer.A.bias, layer.B.bias):
        if bias is not None:
            bias.data.fill_(0.5)  # whoever has a bias has the same one
    if data["ask"] == "start":
        A, bound = layer.A.weight.detach(), data["A"][0].numel() ** -0.5  # nn.Conv2d draws uniformly on +-bound
        return start | {
            "A keeps PyTorch's start": bool(A.abs().max() <= bound) and 0.4 < float(A.std() / bound) < 0.75,
            "B is zero": bool((layer.B.weight == 0).all()),
            "output is that of base": bool(((layer(data["x"]) - frozen).abs() < 1e-4).all()),
            "A and B have the dtype of base.weight": types == [W.dtype] * 2,
        }
    layer.A.weight.data, layer.B.weight.data = data["A"].clone(), data["B"].clone()
    if data["ask"] == "output":
        y = layer(data["x"])
        weight = torch.sin(torch.arange(y.numel(), dtype=torch.float64)).to(y.dtype).view(y.shape)
        gradients = torch.autograd.grad((y * weight).sum(), [layer.A.weight, layer.B.weight])
        return start | {"output": y, "gradients": list(gradients)}
    answer, parameter = start | {"delta": layer.delta()}, layer.base.weight
    layer.merge()
    same = layer.base.weight is parameter
    answer |= {"the same parameter": same, "still frozen": not layer.base.weight.requires_grad}
    answer |= {"merge: base.weight": layer.base.weight.detach().clone(), "merge: output": layer(data["x"])}
    layer.merge()
    return answer | {"merge again: base.weight": layer.base.weight.detach().clone(), "merged": bool(layer.merged)}


class LoRAConv2d__borrows_the_path(nn.Module):
    def __init__(self, base, r, alpha):
        super().__init__()
        if base.groups > 1:
            raise ValueError("groups")
        self.base, self.scaling, self.merged = base, alpha / r, False
        for p in base.parameters():
            p.requires_grad_(False)
        kind = {"bias": False, "dtype": base.weight.dtype}
        self.A = nn.Conv2d(base.in_channels, r, base.kernel_size, **kind)
        self.B = nn.Conv2d(r, base.out_channels, kernel_size=1, **kind)
        self.B.weight.data.zero_()

    def forward(self, x):
        y = self.base(x)
        if not self.merged:
            middle = self.base._conv_forward(x, self.A.weight, None)  # strides and borders of the base layer
            y = y + torch.einsum("nrij,or->noij", middle, self.B.weight.flatten(1)) * self.scaling
        return y

    def delta(self):
        O, r = self.B.weight.shape[:2]
        product = self.B.weight.view(O, r) @ self.A.weight.flatten(1)
        return self.scaling * product.view(O, *self.A.weight.shape[1:])

    @torch.no_grad()
    def merge(self):
        if self.merged:
            return
        self.base.weight += self.delta()
        self.merged = True


class LoRAConv2d__one_kernel(nn.Module):
    def __init__(self, base, r, alpha):
        super().__init__()
        if base.groups != 1:
            raise ValueError(f"groups = {base.groups}")
        base.requires_grad_(False)
        self.base, self.scaling, self.merged = base, alpha / r, False
        self.A = nn.Conv2d(base.in_channels, r, base.kernel_size, base.stride, base.padding, base.dilation, bias=False)
        self.A.to(base.weight.dtype)
        self.B = nn.Conv2d(r, base.out_channels, 1, bias=False, dtype=base.weight.dtype)
        nn.init.constant_(self.B.weight, 0.0)

    def forward(self, x):
        if self.merged:
            return self.base(x)
        return self.base._conv_forward(x, self.base.weight + self.delta(), self.base.bias)

    def delta(self):
        return (self.B.weight[:, :, None] * self.A.weight[None]).sum(1) * self.scaling

    def merge(self):
        if not self.merged:
            self.base.weight.data = self.base.weight.data + self.delta().data
        self.merged = True


CONV = Exercise(
    name="LoRAConv2d",
    methods=("ch23/lora_conv",),
    groups={"start": 1, "output": 2, "merge": 1},
    cases=conv_cases,
    probe=conv_probe,
    alternatives=(
        Alternative(name="borrows_the_path", code=(LoRAConv2d__borrows_the_path,)),
        Alternative(name="one_kernel", code=(LoRAConv2d__one_kernel,)),
    ),
    misconceptions=MISTAKES,
    hints=(
        "Which of the two convolutions moves over the picture, and which one only mixes channels?",
        "A: as base, but with r output channels and no bias. B: 1 x 1, from r to all output channels, no bias, "
        "zero. The "
        "update of the kernel contracts the rank axis of both.",
        "self.A = nn.Conv2d(base.in_channels, r, base.kernel_size, stride=base.stride, padding=base.padding, "
        "dilation=base.dilation, padding_mode=base.padding_mode, bias=False, dtype=base.weight.dtype); "
        "delta: self.scaling * "
        'torch.einsum("or,rcuv->ocuv", self.B.weight[:, :, 0, 0], self.A.weight)',
    ),
    good_for="adapting ResNets and the U-Nets of diffusion models",
    minutes=20,
    core=True,
)
