"""Chapter 23, notebook 1: cases, probe and variants of `LoRAConv2d`."""

import torch
from torch import nn

from autograder.exercise import Alternative, Exercise, Misconception
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
    return [
        case("start", "start", "before training: what is trainable, and with which values"),
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
    layer = ns.LoRAConv2d(base, len(data["A"]), data["alpha"]).to(W.dtype)
    if data["ask"] == "start":
        return {
            "trainable": sorted(name for name, p in layer.named_parameters() if p.requires_grad),
            "shapes": {"A.weight": list(layer.A.weight.shape), "B.weight": list(layer.B.weight.shape)},
            "A is random": bool(layer.A.weight.detach().std() > 0),
            "B is zero": bool((layer.B.weight == 0).all()),
            "output": layer(data["x"]),
        }
    layer.A.weight.data, layer.B.weight.data = data["A"].clone(), data["B"].clone()
    if data["ask"] == "output":
        y = layer(data["x"])
        weight = torch.sin(torch.arange(y.numel(), dtype=torch.float64)).to(y.dtype).view(y.shape)
        gradients = torch.autograd.grad((y * weight).sum(), [layer.A.weight, layer.B.weight])
        return {"output": y, "gradients": list(gradients)}
    answer = {"delta": layer.delta()}
    layer.merge()
    answer |= {"merge: base.weight": base.weight.detach().clone(), "merge: output": layer(data["x"])}
    layer.merge()
    return answer | {"merge again: base.weight": base.weight.detach().clone(), "merged": bool(layer.merged)}


class LoRAConv2d__borrows_the_path(nn.Module):
    def __init__(self, base, r, alpha):
        super().__init__()
        if base.groups > 1:
            raise ValueError("groups")
        self.base, self.scaling, self.merged = base, alpha / r, False
        for p in base.parameters():
            p.requires_grad_(False)
        self.A = nn.Conv2d(base.in_channels, r, base.kernel_size, bias=False)
        self.B = nn.Conv2d(r, base.out_channels, kernel_size=1, bias=False)
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
        self.B = nn.Conv2d(r, base.out_channels, 1, bias=False)
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


class Mistaken(nn.Module):
    mistake = ""

    def __init__(self, base, r, alpha):
        super().__init__()
        if base.groups != 1:
            if self.mistake == "groups":
                r = r * base.groups
            else:
                raise ValueError("groups")
        self.base, self.scaling, self.merged = base, alpha / r, False
        base.requires_grad_(False)
        names = ["stride", "padding", "dilation", "padding_mode"]
        if self.mistake == "no path":
            names = []
        if self.mistake in names:
            names.remove(self.mistake)
        path = {name: getattr(base, name) for name in names}
        self.A = nn.Conv2d(base.in_channels, r, base.kernel_size, **path, bias=False)
        both = {"stride": base.stride} if self.mistake == "stride twice" else {}
        self.B = nn.Conv2d(r, base.out_channels, 1, **both, bias=self.mistake == "bias")
        nn.init.zeros_(self.B.weight)

    def forward(self, x):
        scaling = 1.0 if self.mistake == "no scaling" else self.scaling
        branch = 0 if self.merged else scaling * self.B(self.A(x))
        return self.base(x) + branch

    def delta(self):
        scaling = 1.0 if self.mistake == "no scaling" else self.scaling
        to = "ocvu" if self.mistake == "turned" else "ocuv"
        delta = scaling * torch.einsum(f"or,rcuv->{to}", self.B.weight[:, :, 0, 0], self.A.weight)
        return delta.reshape(self.base.weight.shape)

    @torch.no_grad()
    def merge(self):
        if not self.merged or self.mistake == "again":
            self.base.weight += self.delta()
        self.merged = True


class LoRAConv2d__stride(Mistaken):
    mistake = "stride"


class LoRAConv2d__padding(Mistaken):
    mistake = "padding"


class LoRAConv2d__dilation(Mistaken):
    mistake = "dilation"


class LoRAConv2d__padding_mode(Mistaken):
    mistake = "padding_mode"


class LoRAConv2d__no_path(Mistaken):
    mistake = "no path"


class LoRAConv2d__stride_twice(Mistaken):
    mistake = "stride twice"


class LoRAConv2d__bias(Mistaken):
    mistake = "bias"


class LoRAConv2d__no_scaling(Mistaken):
    mistake = "no scaling"


class LoRAConv2d__turned(Mistaken):
    mistake = "turned"


class LoRAConv2d__again(Mistaken):
    mistake = "again"


class LoRAConv2d__groups(Mistaken):
    mistake = "groups"


def mistaken(variant: type, hint: str, source_of: str) -> Misconception:
    """Name a misconception after its class."""
    return Misconception(name=variant.__name__.split("__")[1], code=(Mistaken, variant), hint=hint, source_of=source_of)


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
    misconceptions=(
        mistaken(
            LoRAConv2d__stride,
            "With stride 2 your branch has another size than the base layer: A needs the stride of base, B stride 1.",
            "student mistake: a new nn.Conv2d has stride 1",
        ),
        mistaken(
            LoRAConv2d__padding,
            "With padding your branch has another size than the base layer: A needs the padding of base.",
            "student mistake: a new nn.Conv2d does not pad",
        ),
        mistaken(
            LoRAConv2d__dilation,
            "With dilation your branch reads other pixels than the base layer: A needs the dilation of base.",
            "library difference: peft 0.21 hands stride and padding on to its branch, not the dilation",
        ),
        mistaken(
            LoRAConv2d__padding_mode,
            "At the border your branch sees zeros where the base layer sees the picture reflected: A needs the "
            "padding_mode of base.",
            "library difference: peft 0.21 ignores padding_mode in its branch",
        ),
        mistaken(
            LoRAConv2d__no_path,
            "A does not walk over the picture as base does: give it the stride, padding, dilation and padding_mode "
            "of base.",
            "student mistake: the kernel size alone is copied",
        ),
        mistaken(
            LoRAConv2d__stride_twice,
            "With stride 2 your branch has another size than the base layer: A needs the stride of base, B stride 1.",
            "student mistake: both convolutions made by the same line",
        ),
        mistaken(
            LoRAConv2d__bias,
            "B has a bias. Then the branch is not zero at the start, and it cannot be merged into a kernel: "
            "bias=False.",
            "student mistake: nn.Conv2d has a bias unless told otherwise",
        ),
        mistaken(
            LoRAConv2d__no_scaling,
            "The factor alpha / r, `self.scaling`, is missing in the branch or in delta.",
            "card trap: the slide writes W0 + B A, without alpha / r",
        ),
        mistaken(
            LoRAConv2d__turned,
            "In your delta the two axes of the kernel are exchanged: it is B[o, r] A[r, c, u, v] with u before v.",
            "card trap: reshaping a kernel mixes axes, it is not a permutation",
        ),
        mistaken(
            LoRAConv2d__again,
            "Merging a second time adds the update once more. Ask `self.merged` first.",
            "card: hidden case merge twice",
        ),
        mistaken(
            LoRAConv2d__groups,
            "A convolution in groups must be refused: a dense B mixes what the groups keep apart. Raise a ValueError.",
            "card: hidden case groups > 1; peft cannot merge it either",
        ),
    ),
    hints=(
        "Which of the two convolutions moves over the picture, and which one only mixes channels?",
        "A: as base, but with r output channels and no bias. B: 1 x 1, from r to all output channels, no bias, "
        "zero. The "
        "update of the kernel contracts the rank axis of both.",
        "self.A = nn.Conv2d(base.in_channels, r, base.kernel_size, stride=base.stride, padding=base.padding, "
        "dilation=base.dilation, padding_mode=base.padding_mode, bias=False); delta: self.scaling * "
        'torch.einsum("or,rcuv->ocuv", self.B.weight[:, :, 0, 0], self.A.weight)',
    ),
    good_for="adapting ResNets and the U-Nets of diffusion models",
    minutes=20,
    core=True,
)
