"""Chapter 23, notebook 1: the known mistakes with `LoRAConv2d`."""

import torch
from torch import nn

from autograder.declare.exercise import mistaken


class Mistaken(nn.Module):
    mistake = ""

    def __init__(self, base, r, alpha):
        super().__init__()
        if base.groups != 1 and self.mistake != "groups":
            raise ValueError("groups")
        r = r * base.groups
        if self.mistake == "small rank":
            r = min(r, base.in_channels, base.out_channels)
        self.base, self.scaling, self.merged = base, alpha / r, False
        self.freeze(base)
        self.A, self.B = self.branch(base, r)
        if self.mistake == "drawn otherwise":
            nn.init.kaiming_normal_(self.A.weight)
        nn.init.constant_(self.B.weight, 0.1 if self.mistake == "random start" else 0.0)

    def freeze(self, base):
        if self.mistake == "bias trains":
            base.weight.requires_grad_(False)
        elif self.mistake != "base trains":
            base.requires_grad_(False)

    def branch(self, base, r):
        names = [] if self.mistake == "no path" else ["stride", "padding", "dilation", "padding_mode"]
        if self.mistake in names:
            names.remove(self.mistake)
        path = {name: getattr(base, name) for name in names}
        kind = {"dtype": torch.float32 if self.mistake == "always float32" else base.weight.dtype}
        size = base.kernel_size[0] if self.mistake == "square" else base.kernel_size
        both = {"stride": base.stride} if self.mistake == "stride twice" else {}
        A = nn.Conv2d(base.in_channels, r, size, **path, **kind, bias=self.mistake == "bias in a")
        return A, nn.Conv2d(r, base.out_channels, 1, **both, **kind, bias=self.mistake == "bias")

    def forward(self, x):
        scaling = 1.0 if self.mistake in ("no scaling", "forward unscaled") else self.scaling
        silent = self.merged and self.mistake != "adds twice"
        out = self.base(x)
        if not silent:
            out = out + self.B(self.A(x)) * scaling
        return out

    def delta(self):
        scaling = 1.0 if self.mistake in ("no scaling", "delta unscaled") else self.scaling
        to = "ocvu" if self.mistake == "turned" else "ocuv"
        A = self.A.weight.flip(-1, -2) if self.mistake == "flipped" else self.A.weight
        return (scaling * torch.einsum(f"or,rcuv->{to}", self.B.weight[:, :, 0, 0], A)).reshape(self.base.weight.shape)

    def merge(self):
        if self.merged and self.mistake != "again":
            return
        if self.mistake == "no no_grad":
            self.base.weight += self.delta()
        elif self.mistake == "assigns a tensor":
            self.base.weight = self.base.weight + self.delta()
        elif self.mistake in ("new parameter", "new frozen parameter"):
            new = self.base.weight + self.delta()
            self.base.weight = nn.Parameter(new, requires_grad=self.mistake == "new parameter")
        else:
            self.base.weight.data += self.delta().detach()
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


class LoRAConv2d__square(Mistaken):
    mistake = "square"


class LoRAConv2d__small_rank(Mistaken):
    mistake = "small rank"


class LoRAConv2d__drawn_otherwise(Mistaken):
    mistake = "drawn otherwise"


class LoRAConv2d__always_float32(Mistaken):
    mistake = "always float32"


class LoRAConv2d__random_start(Mistaken):
    mistake = "random start"


class LoRAConv2d__base_trains(Mistaken):
    mistake = "base trains"


class LoRAConv2d__bias_trains(Mistaken):
    mistake = "bias trains"


class LoRAConv2d__bias_in_a(Mistaken):
    mistake = "bias in a"


class LoRAConv2d__forward_unscaled(Mistaken):
    mistake = "forward unscaled"


class LoRAConv2d__delta_unscaled(Mistaken):
    mistake = "delta unscaled"


class LoRAConv2d__adds_twice(Mistaken):
    mistake = "adds twice"


class LoRAConv2d__flipped(Mistaken):
    mistake = "flipped"


class LoRAConv2d__no_no_grad(Mistaken):
    mistake = "no no_grad"


class LoRAConv2d__assigns_a_tensor(Mistaken):
    mistake = "assigns a tensor"


class LoRAConv2d__new_parameter(Mistaken):
    mistake = "new parameter"


class LoRAConv2d__new_frozen_parameter(Mistaken):
    mistake = "new frozen parameter"


MISTAKES = (
    mistaken(
        LoRAConv2d__stride,
        "With stride 2 your branch has another size than the base layer: A needs the stride of base, B stride 1.",
        "student mistake: a new nn.Conv2d has stride 1",
        Mistaken,
    ),
    mistaken(
        LoRAConv2d__padding,
        "With padding your branch has another size than the base layer: A needs the padding of base.",
        "student mistake: a new nn.Conv2d does not pad",
        Mistaken,
    ),
    mistaken(
        LoRAConv2d__dilation,
        "With dilation your branch reads other pixels than the base layer: A needs the dilation of base.",
        "library difference: peft 0.21 hands stride and padding on to its branch, not the dilation",
        Mistaken,
    ),
    mistaken(
        LoRAConv2d__padding_mode,
        "At the border your branch sees zeros where the base layer sees the picture reflected: A needs the "
        "padding_mode of base.",
        "library difference: peft 0.21 ignores padding_mode in its branch",
        Mistaken,
    ),
    mistaken(
        LoRAConv2d__no_path,
        "A does not walk over the picture as base does: give it the stride, padding, dilation and "
        "padding_mode of base.",
        "student mistake: the kernel size alone is copied",
        Mistaken,
    ),
    mistaken(
        LoRAConv2d__stride_twice,
        "With stride 2 your branch has another size than the base layer: A needs the stride of base, B stride 1.",
        "student mistake: both convolutions made by the same line",
        Mistaken,
    ),
    mistaken(
        LoRAConv2d__bias,
        "B has a bias. Then the branch is not zero at the start, and it cannot be merged into a kernel: bias=False.",
        "student mistake: nn.Conv2d has a bias unless told otherwise",
        Mistaken,
    ),
    mistaken(
        LoRAConv2d__no_scaling,
        "The factor alpha / r, `self.scaling`, is missing in the branch or in delta.",
        "card trap: the slide writes W0 + B A, without alpha / r",
        Mistaken,
    ),
    mistaken(
        LoRAConv2d__turned,
        "In your delta the two axes of the kernel are exchanged: it is B[o, r] A[r, c, u, v] with u before v.",
        "card trap: reshaping a kernel mixes axes, it is not a permutation",
        Mistaken,
    ),
    mistaken(
        LoRAConv2d__again,
        "Merging a second time adds the update once more. Ask `self.merged` first.",
        "card: hidden case merge twice",
        Mistaken,
    ),
    mistaken(
        LoRAConv2d__groups,
        "A convolution in groups must be refused: a dense B mixes what the groups keep apart. Raise a ValueError.",
        "card: hidden case groups > 1; peft cannot merge it either",
        Mistaken,
    ),
    mistaken(
        LoRAConv2d__square,
        "Your kernel has the height of base's for both sides. Hand the whole base.kernel_size on: kernels "
        "need not be square.",
        "student mistake: kernel_size[0]",
        Mistaken,
    ),
    mistaken(
        LoRAConv2d__small_rank,
        "You cut the rank to the number of channels. A has r channels, whatever the layer has.",
        "student mistake: a rank above the number of channels taken for an error",
        Mistaken,
    ),
    mistaken(
        LoRAConv2d__drawn_otherwise,
        "A.weight keeps the values that nn.Conv2d gives it; you draw it again.",
        "student mistake: LoRALinear's line carried over, or another rule",
        Mistaken,
    ),
    mistaken(
        LoRAConv2d__always_float32,
        "A and B are float32 whatever `base` is. Give them the dtype of base.weight, or a layer in float64 or"
        " bfloat16 cannot be adapted.",
        "student mistake: nn.Conv2d without dtype; models are stored in 16 bits",
        Mistaken,
    ),
    mistaken(
        LoRAConv2d__random_start,
        "B is not zero at the start, so your layer begins with a random disturbance of the pretrained one.",
        "student mistake: PyTorch's default initialization for both",
        Mistaken,
    ),
    mistaken(
        LoRAConv2d__base_trains,
        "The weights of `base` are still trainable. Freeze them: base.requires_grad_(False).",
        "student mistake: 'the branch is trained' does not stop the optimizer from training the rest",
        Mistaken,
    ),
    mistaken(
        LoRAConv2d__bias_trains,
        "The bias of `base` is still trainable: you froze its weight alone. Freeze the whole layer: "
        "base.requires_grad_(False).",
        "student mistake: base.weight.requires_grad_(False)",
        Mistaken,
    ),
    mistaken(
        LoRAConv2d__bias_in_a,
        "A has a bias. It is no part of a kernel, so it cannot be merged: bias=False.",
        "student mistake: nn.Conv2d has a bias unless told otherwise",
        Mistaken,
    ),
    mistaken(
        LoRAConv2d__forward_unscaled,
        "In `forward` the branch lacks the factor alpha / r, `self.scaling`; your `delta` has it.",
        "card trap: the slide writes W0 + B A, without alpha / r",
        Mistaken,
    ),
    mistaken(
        LoRAConv2d__delta_unscaled,
        "`delta` lacks the factor alpha / r, `self.scaling`; your `forward` has it.",
        "student mistake: the scaling stands in `forward` only",
        Mistaken,
    ),
    mistaken(
        LoRAConv2d__adds_twice,
        "After `merge` the update is counted twice: it is in the weight, and `forward` still adds the branch.",
        "library difference: peft's forward asks `if self.merged` first",
        Mistaken,
    ),
    mistaken(
        LoRAConv2d__flipped,
        "In your delta the kernel is turned by 180 degrees. PyTorch's convolutions do not flip their kernels:"
        " take A's as it is.",
        "library difference: scipy.signal.convolve2d flips the kernel",
        Mistaken,
    ),
    mistaken(
        LoRAConv2d__no_no_grad,
        "`merge` changes a parameter while autograd watches. Do it under torch.no_grad(), or change "
        "base.weight.data by a detached update.",
        "student mistake: base.weight += delta() without torch.no_grad()",
        Mistaken,
    ),
    mistaken(
        LoRAConv2d__assigns_a_tensor,
        "`merge` assigns a tensor to base.weight, and only a parameter may stand there. Change its values in "
        "place: base.weight.data += ..., or += under torch.no_grad().",
        "student mistake: base.weight = base.weight + delta()",
        Mistaken,
    ),
    mistaken(
        LoRAConv2d__new_parameter,
        "`merge` puts a new parameter in place of base.weight, and a new nn.Parameter is trainable. Change "
        "the values of the old one in place.",
        "student mistake: nn.Parameter(...) to silence PyTorch's error message",
        Mistaken,
    ),
    mistaken(
        LoRAConv2d__new_frozen_parameter,
        "`merge` puts a new parameter in place of base.weight; who holds the old one (a tied layer, an "
        "optimizer) does not see the update. Change its values in place.",
        "student mistake: nn.Parameter(...) to silence PyTorch's error message",
        Mistaken,
    ),
)
