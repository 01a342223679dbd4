"""Chapter 23, notebook 1: `LoRAConv2d`."""

import torch
from torch import nn

from autograder.declare import Exercise, alternative, case, shipped, slip
from autograder.exercises.ch23_low_rank_adaptation.common import slopes, trainable
from dlcv_lab.checking import probing


def conv_cases(d):
    """Draw convolutions with strides, paddings, dilations, padding modes, and kernels that are not square."""

    def layer(group, note, kernel=(3, 3), r=2, channels=3, dtype=torch.float32, **options):
        return case(
            group,
            note,
            x=d.normal(2, channels, 8, 7, dtype=dtype),
            W=d.normal(4, channels // options.get("groups", 1), *kernel, dtype=dtype),
            bias=d.normal(4, dtype=dtype) + 1,
            A=d.normal(r, channels, *kernel, dtype=dtype),
            B=d.normal(4, r, 1, 1, dtype=dtype),
            alpha=3.0,
            options=options,
        )

    reflected = {"padding": (0, 1), "padding_mode": "reflect"}
    return [
        layer("start", "before training: what is trainable, and with which values", r=16),
        layer("start", "a base layer in float64", dtype=torch.float64),
        layer("start", "a convolution in groups", channels=4, groups=2),
        layer("output", "plain"),
        layer("output", "stride 2, padding 1", stride=2, padding=1),
        layer("output", "dilation 2", dilation=2),
        layer("output", "kernel 1x3, reflected border", (1, 3), **reflected),
        layer("merge", "the update of a 3x3 kernel, merged twice", r=3),
        layer("merge", "merged, stride 2, kernel 3x2", (3, 2), stride=2),
    ]


@shipped
def around(ns, data):
    """Return the student's layer around the given convolution, what that answers, and what is trainable."""
    W, options = data["W"], data["options"]
    base = nn.Conv2d(W.shape[1] * options.get("groups", 1), len(W), tuple(W.shape[2:]), **options).to(W.dtype)
    base.weight.data, base.bias.data = W.clone(), data["bias"].clone()
    frozen = base(data["x"]).detach()
    layer = ns.LoRAConv2d(base, len(data["A"]), data["alpha"])
    start = {"trainable": trainable(layer)}
    for name, part in (("A", layer.A), ("B", layer.B)):
        start[f"shape of {name}.weight"] = str(tuple(part.weight.shape))
        if part.bias is not None:
            part.bias.data.fill_(0.5)  # whoever has a bias has the same one
    return layer, frozen, start


@shipped
def filled(ns, data):
    """Return the layer with the given A and B, and what is trainable in it."""
    layer, _, start = around(ns, data)
    layer = layer.to(data["W"].dtype)
    layer.A.weight.data, layer.B.weight.data = data["A"].clone(), data["B"].clone()
    return layer, start


def start_probe(ns, data):
    """Say how the layer starts."""
    layer, frozen, start = around(ns, data)
    types = [layer.A.weight.dtype, layer.B.weight.dtype]
    layer = layer.to(frozen.dtype)
    A, bound = layer.A.weight.detach(), data["A"][0].numel() ** -0.5  # nn.Conv2d draws uniformly on +-bound
    return start | {
        "A keeps PyTorch's start": bool(A.abs().max() <= bound) and 0.4 < float(A.std() / bound) < 0.75,
        "B is zero": bool((layer.B.weight == 0).all()),
        "output is that of base": bool(((probing.call(layer, data["x"]) - frozen).abs() < 1e-4).all()),
        "A and B have the dtype of base.weight": types == [frozen.dtype] * 2,
    }


def output_probe(ns, data):
    """Return output and gradients."""
    layer, start = filled(ns, data)
    y = probing.call(layer, data["x"])
    return start | {"output": y, "gradients": slopes(y, A=layer.A.weight, B=layer.B.weight)}


def merge_probe(ns, data):
    """Return the update, and what merging twice does."""
    layer, start = filled(ns, data)
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


FREEZE = "base.requires_grad_(False)"
ZEROS = "nn.init.zeros_(self.B.weight)"
ADDS = "self.base.weight.data += self.delta().detach()"
MISTAKES = (
    slip("stride", {'"stride", ': ""},
         "With stride 2 your branch has another size than the base layer: A needs the stride of base, B stride 1.",
         "student mistake: a new nn.Conv2d has stride 1"),
    slip("padding", {'"padding", ': ""},
         "With padding your branch has another size than the base layer: A needs the padding of base.",
         "student mistake: a new nn.Conv2d does not pad"),
    slip("dilation", {'"dilation", ': ""},
         "With dilation your branch reads other pixels than the base layer: A needs the dilation of base.",
         "library difference: peft 0.21 hands stride and padding on to its branch, not the dilation"),
    slip("padding_mode", {'"padding_mode")': ")"},
         "At the border your branch sees zeros where the base layer sees the picture reflected: A needs the "
         "padding_mode of base.", "library difference: peft 0.21 ignores padding_mode in its branch"),
    slip("no_path", {", **path": ""},
         "A does not walk over the picture as base does: give it the stride, padding, dilation and "
         "padding_mode of base.", "student mistake: the kernel size alone is copied"),
    slip("stride_twice", {"base.out_channels, 1, ": "base.out_channels, 1, base.stride, "},
         "With stride 2 your branch has another size than the base layer: A needs the stride of base, B stride 1.",
         "student mistake: both convolutions made by the same line"),
    slip("bias", {"base.out_channels, 1, **kind": "base.out_channels, 1, dtype=base.weight.dtype"},
         "B has a bias. Then the branch is not zero at the start, and it cannot be merged into a kernel: bias=False.",
         "student mistake: nn.Conv2d has a bias unless told otherwise"),
    slip("no_scaling", {("forward", "self.scaling * "): "", ("delta", "self.scaling * "): ""},
         "The factor alpha / r, `self.scaling`, is missing in the branch or in delta.",
         "card trap: the slide writes W0 + B A, without alpha / r"),
    slip("turned", {"->ocuv": "->ocvu"},
         "In your delta the two axes of the kernel are exchanged: it is B[o, r] A[r, c, u, v] with u before v.",
         "card trap: reshaping a kernel mixes axes, it is not a permutation"),
    slip("again", {"if not self.merged:": "if True:"},
         "Merging a second time adds the update once more. Ask `self.merged` first.", "card: hidden case merge twice"),
    slip("groups", {"if base.groups != 1:": "if False:"},
         "A convolution in groups must be refused: a dense B mixes what the groups keep apart. Raise a ValueError.",
         "card: hidden case groups > 1; peft cannot merge it either"),
    slip("square", {"base.kernel_size": "base.kernel_size[0]"},
         "Your kernel has the height of base's for both sides. Hand the whole base.kernel_size on: kernels "
         "need not be square.", "student mistake: kernel_size[0]"),
    slip("small_rank", {FREEZE: FREEZE + "\nr = min(r, base.in_channels, base.out_channels)"},
         "You cut the rank to the number of channels. A has r channels, whatever the layer has.",
         "student mistake: a rank above the number of channels taken for an error"),
    slip("drawn_otherwise", {ZEROS: ZEROS + "\nnn.init.kaiming_normal_(self.A.weight)"},
         "A.weight keeps the values that nn.Conv2d gives it; you draw it again.",
         "student mistake: LoRALinear's line carried over, or another rule"),
    slip("always_float32", {', "dtype": base.weight.dtype': ""},
         "A and B are float32 whatever `base` is. Give them the dtype of base.weight, or a layer in float64 or "
         "bfloat16 cannot be adapted.", "student mistake: nn.Conv2d without dtype; models are stored in 16 bits"),
    slip("random_start", {ZEROS: ""},
         "B is not zero at the start, so your layer begins with a random disturbance of the pretrained one.",
         "student mistake: PyTorch's default initialization for both"),
    slip("base_trains", {FREEZE: ""},
         "The weights of `base` are still trainable. Freeze them: base.requires_grad_(False).",
         "student mistake: 'the branch is trained' does not stop the optimizer from training the rest"),
    slip("bias_trains", {FREEZE: "base.weight.requires_grad_(False)"},
         "The bias of `base` is still trainable: you froze its weight alone. Freeze the whole layer: "
         "base.requires_grad_(False).", "student mistake: base.weight.requires_grad_(False)"),
    slip("bias_in_a", {"**path, **kind": "**path, dtype=base.weight.dtype"},
         "A has a bias. It is no part of a kernel, so it cannot be merged: bias=False.",
         "student mistake: nn.Conv2d has a bias unless told otherwise"),
    slip("forward_unscaled", {("forward", "self.scaling * "): ""},
         "In `forward` the branch lacks the factor alpha / r, `self.scaling`; your `delta` has it.",
         "card trap: the slide writes W0 + B A, without alpha / r"),
    slip("delta_unscaled", {("delta", "self.scaling * "): ""},
         "`delta` lacks the factor alpha / r, `self.scaling`; your `forward` has it.",
         "student mistake: the scaling stands in `forward` only"),
    slip("adds_twice", {"self.base(x) if self.merged else ": ""},
         "After `merge` the update is counted twice: it is in the weight, and `forward` still adds the branch.",
         "library difference: peft's forward asks `if self.merged` first"),
    slip("flipped", {("delta", "self.A.weight"): "self.A.weight.flip(2, 3)"},
         "In your delta the kernel is turned by 180 degrees. PyTorch's convolutions do not flip their kernels: "
         "take A's as it is.", "library difference: scipy.signal.convolve2d flips the kernel"),
    slip("no_no_grad", {ADDS: "self.base.weight += self.delta()"},
         "`merge` changes a parameter while autograd watches. Do it under torch.no_grad(), or change "
         "base.weight.data by a detached update.", "student mistake: base.weight += delta() without torch.no_grad()"),
    slip("assigns_a_tensor", {ADDS: "self.base.weight = self.base.weight + self.delta()"},
         "`merge` assigns a tensor to base.weight, and only a parameter may stand there. Change its values in "
         "place: base.weight.data += ..., or += under torch.no_grad().",
         "student mistake: base.weight = base.weight + delta()"),
    slip("new_parameter", {ADDS: "self.base.weight = nn.Parameter(self.base.weight + self.delta())"},
         "`merge` puts a new parameter in place of base.weight, and a new nn.Parameter is trainable. Change "
         "the values of the old one in place.",
         "student mistake: nn.Parameter(...) to silence PyTorch's error message"),
    slip("new_frozen_parameter",
         {ADDS: "self.base.weight = nn.Parameter(self.base.weight + self.delta(), requires_grad=False)"},
         "`merge` puts a new parameter in place of base.weight; who holds the old one (a tied layer, an "
         "optimizer) does not see the update. Change its values in place.",
         "student mistake: nn.Parameter(...) to silence PyTorch's error message"),
)  # fmt: skip

CONV = Exercise(
    name="LoRAConv2d",
    methods=("ch23/lora_conv",),
    groups={"start": 1, "output": 2, "merge": 1},
    cases=conv_cases,
    probe={"start": start_probe, "output": output_probe, "merge": merge_probe},
    alternatives=(alternative(LoRAConv2d__borrows_the_path), alternative(LoRAConv2d__one_kernel)),
    misconceptions=MISTAKES,
    hints=(
        "Which of the two convolutions moves over the picture, and which one only mixes channels?",
        "A: as base, but with r output channels and no bias. B: 1 x 1, from r to all output channels, no bias, zero. "
        "The update of the kernel contracts the rank axis of both.",
        "self.A = nn.Conv2d(base.in_channels, r, base.kernel_size, stride=base.stride, padding=base.padding, "
        "dilation=base.dilation, padding_mode=base.padding_mode, bias=False, dtype=base.weight.dtype); delta: "
        'self.scaling * torch.einsum("or,rcuv->ocuv", self.B.weight[:, :, 0, 0], self.A.weight)',
    ),
    good_for="adapting ResNets and the U-Nets of diffusion models",
    minutes=20,
    core=True,
)
