"""Extra exercises of notebook 1: the same probes and hints, no marks."""

import math

import torch
from einops import rearrange
from torch import nn

from autograder.declare import Exercise, alternative, case, slip
from dlcv_lab.checking.model import Forbid


def count_layer_params_cases(d):
    C, O, k = d.whole(2, 4), d.whole(5, 9), d.whole(2, 3)
    H, W = d.whole(6, 9), d.whole(10, 14)

    def layer(group, note, kind, k=k, H=H, W=W, **options):
        return case(group, note, kind=kind, in_shape=(C, H, W), out_maps=O, k=k, **options)

    kinds = ("fc", "local", "conv")
    return [
        *(layer("plain", kind, kind) for kind in kinds),
        *(layer("edge", f"{kind}, k = 1", kind, k=1) for kind in kinds),
        *(layer("edge", f"{kind}, no bias", kind, bias=False) for kind in kinds),
        case("edge", "a window as large as the picture", kind="local", in_shape=(C, H, H), out_maps=O, k=H),
        layer("edge", "an unknown kind", "dense"),
    ]


def parameters_of_a_layer(data):
    """Build the layer, where torch has it, and count."""
    (C, H, W), O, k, bias = data["in_shape"], data["out_maps"], data["k"], data.get("bias", True)
    if data["kind"] == "fc":
        layer = nn.Linear(C * H * W, O * (H - k + 1) * (W - k + 1), bias=bias, device="meta")
    elif data["kind"] == "conv":
        layer = nn.Conv2d(C, O, k, bias=bias, device="meta")
    else:
        return NotImplemented
    return sum(parameter.numel() for parameter in layer.parameters())


def count_layer_params__one_neuron(kind, in_shape, out_maps, k, *, bias=True):
    C, H, W = in_shape
    inputs = {"fc": C * H * W, "local": C * k**2, "conv": C * k**2}
    if kind not in inputs:
        raise ValueError("unknown kind")
    places = 1 if kind == "conv" else (H - k + 1) * (W - k + 1)
    return out_maps * places * (inputs[kind] + int(bias))


def count_layer_params__window_by_window(kind, in_shape, out_maps, k, *, bias=True):
    C, H, W = in_shape
    windows = [(i, j) for i in range(H - k + 1) for j in range(W - k + 1)]
    if kind == "fc":
        total = sum(C * H * W + bias for _ in windows)
    elif kind == "local":
        total = sum(C * k * k + bias for _ in windows)
    elif kind == "conv":
        total = C * k * k + (1 if bias else 0)
    else:
        raise ValueError(kind)
    return total * out_maps


COUNT_LAYER_PARAMS = Exercise(
    name="count_layer_params",
    methods=("ch03/mlp_weight_count",),
    groups={"plain": 1.0, "edge": 1.0},
    cases=count_layer_params_cases,
    oracle=parameters_of_a_layer,
    minutes=8,
    difficulty="easy",
    good_for="feeling where the parameters of a network sit before you build it",
    hints=(
        "How many output neurons are there? How many inputs does one of them see? How many of them have weights of "
        "their own?",
        "fc and local: every one of the O*Ho*Wo neurons has its own weights (C*H*W or C*k*k of them) and its own bias. "
        "conv: all neurons of a map share one set, so only O sets are counted.",
        "neurons = O*(H-k+1)*(W-k+1); fc: neurons*(C*H*W + bias); local: neurons*(C*k*k + bias); conv: "
        "O*(C*k*k + bias). A bool counts as 0 or 1.",
    ),
    alternatives=(alternative(count_layer_params__one_neuron), alternative(count_layer_params__window_by_window)),
    misconceptions=(
        slip("bias_per_map",
             {"neurons * (C * H * W + bias)": "neurons * C * H * W + out_maps * bias",
              "neurons * (C * k * k + bias)": "neurons * C * k * k + out_maps * bias"},
             "The weights are right, the biases are not: only a convolution shares its bias within a map. In "
             "'fc' and 'local' every neuron has one.", "card trap: biases of locally connected layers"),
        slip("flat_filters", {"neurons * (C * k * k": "neurons * (k * k", "out_maps * (C * k * k": "out_maps * (k * k"},
             "Your windows are flat: k*k inputs. A neuron looks through all channels: C*k*k inputs.",
             "student mistake: a colour picture drawn as one sheet"),
        slip("one_short",
             {"(H - k + 1) * (W - k + 1)": "(H - k) * (W - k)"},
             "A window of side k has H - k + 1 places along an axis, not H - k: count them for 3 pixels and k "
             "= 3.",
             "student mistake: one off, the first place is not counted"),
        slip("same_size", {"(H - k + 1) * (W - k + 1)": "H * W"},
             "You have a neuron for every pixel. The window stays inside: only (H-k+1)*(W-k+1) places.",
             "library difference: padding='same' in Keras keeps H x W outputs"),
        slip("not_shared", {"out_maps * (C * k * k + bias)": "neurons * (C * k * k + bias)"},
             "Your 'conv' counts as many as 'local'. Sharing means that one set of weights serves all places "
             "of a map.", "student mistake: neurons counted instead of weights"),
    ),
)  # fmt: skip


def relu_cases(d):
    H, W = d.whole(4, 6), d.whole(7, 9)
    signs = torch.tensor([0.0, -0.0, 1.0, -1.0, math.inf, -math.inf])
    dy, x = d.normal(H, W), d.normal(H, W)
    dy[:, ::2], x[0, 0], x[1, 0] = math.inf, 1.0, -1.0
    zeros = d.integers(-1, 1, H, 3 * W).float()
    return [
        case("plain", "forward", x=d.normal(2, 3, H, W)),
        case("plain", "float64", x=d.normal(H, W, dtype=torch.float64)),
        case("edge", "zeros and infinities", x=signs),
        case("edge", "NaN stays NaN", x=torch.cat([d.normal(H), torch.tensor([math.nan, -2.0])])),
        case("edge", "whole numbers", x=d.integers(-9, 8, H, W)),
        case("gradient", "backward", dy=d.normal(2, 3, H, W), x=d.normal(2, 3, H, W)),
        case("gradient", "zeros, backward", dy=d.normal(H, 3 * W), x=zeros),
        case("gradient", "a gradient that is infinite in places, backward", dy=dy, x=x),
    ]


def relu_of_torch(data):
    return torch.relu(data["x"])


def backward_of_torch(data):
    return torch.ops.aten.threshold_backward(data["dy"], data["x"], 0)


def relu__maximum(x):
    return torch.maximum(x, torch.zeros_like(x))


def relu_backward__where(dy, x):
    return torch.where(x > 0, dy, torch.zeros_like(dy))


def relu__zeroes_a_copy(x):
    y = x.clone()
    y[x < 0] = 0
    return y


def relu_backward__copy(dy, x):
    dx = dy.clone()
    dx[x <= 0] = 0
    return dx


RELU = Exercise(
    name="relu",
    defines=("relu", "relu_backward"),
    methods=("ch03/relu",),
    groups={"plain": 0.5, "edge": 0.25, "gradient": 0.25},
    cases=relu_cases,
    probe={"gradient": "relu_backward"},
    oracle={"plain": relu_of_torch, "gradient": backward_of_torch},
    minutes=5,
    difficulty="easy",
    good_for="the smallest layer there is, with its backward pass",
    forbid=Forbid(aten=("aten.relu*", "aten.threshold*"), names=("F.relu", "torch.relu", "nn.ReLU", "F.threshold")),
    hints=(
        "What is the slope of max(0, x) left of 0, and right of it?",
        "Forward: everything below 0 becomes 0, in a new tensor. Backward: let dy through where x was positive.",
        "x.clamp(min=0) keeps NaN and dtype. Backward: torch.where(x > 0, dy, 0).",
    ),
    alternatives=(
        alternative(relu__maximum, relu_backward__where),
        alternative(relu__zeroes_a_copy, relu_backward__copy, name="copy"),
    ),
    misconceptions=(
        slip("one_at_zero", {"x > 0": "x >= 0"},
             "At x = 0 exactly you let the gradient through. Agree with torch: the derivative there is 0, so x > 0.",
             "library difference: clamp(min=0) of torch has gradient 1 at 0, relu has 0"),
        slip("sign_of_dy", {"torch.where(x > 0, dy, 0)": "dy.clamp(min=0)"},
             "You gate by the sign of dy. The gate is set in the forward pass: it opens where x was positive.",
             "library difference: the 'deconvnet' rule for visualising networks rectifies dy instead"),
        slip("both_signs", {"dy, 0": "dy.clamp(min=0), 0"},
             "You drop negative gradients as well. Only x decides: a negative dy passes where x > 0.",
             "library difference: 'guided backpropagation' rectifies twice"),
        slip("multiplies", {"torch.where(": "torch.mul(", ", dy, 0)": ", dy)"},
             "Where dy is infinite, infinity times 0 is NaN. Choose instead of multiplying: torch.where(x > 0, "
             "dy, 0).", "library difference: torch's backward pass chooses, so that one overflow does not spread"),
        slip("loses_nan", {"x.clamp(min=0)": "torch.where(x > 0, x, torch.zeros_like(x))"},
             "NaN > 0 is False, so your NaN becomes 0 and hides a bug upstream. Let NaN through: clamp does.",
             "card trap: where(x > 0, x, 0) loses NaN"),
        slip("in_place", {"x.clamp(": "x.clamp_("},
             "Your relu overwrites x, which relu_backward still needs. Return a new tensor: clamp, not clamp_.",
             "library difference: nn.ReLU(inplace=True)"),
        slip("absolute", {"x.clamp(min=0)": "x.abs()"},
             "You mirror the negative numbers (absolute value). They become 0.", "student mistake: 'make it positive'"),
    ),
)  # fmt: skip


def fc_as_conv_cases(d):
    def layer(group, note, O, chw, dtype=torch.float32):
        return case(group, note, W=d.normal(O, math.prod(chw), dtype=dtype), b=d.normal(O, dtype=dtype), chw=chw)

    H, W = d.whole(2, 4), d.whole(5, 7)
    return [
        layer("plain", "three maps", 4, (3, H, W)),
        layer("plain", "higher than wide, float64", 5, (2, W, H), torch.float64),
        layer("edge", "one map", 3, (1, H, W)),
        layer("edge", "1x1 maps", 2, (7, 1, 1)),
    ]


def fc_as_conv__rearranged(W, b, chw):
    C, H, _ = chw
    return rearrange(W, "o (c h w) -> o c h w", c=C, h=H), b


def fc_as_conv__row_by_row(W, b, chw):
    return torch.stack([row.view(chw) for row in W.contiguous()]), b.clone()


FC_AS_CONV = Exercise(
    name="fc_as_conv",
    methods=("ch03/fc_layer",),
    groups={"plain": 0.5, "edge": 0.5},
    cases=fc_as_conv_cases,
    minutes=5,
    difficulty="easy",
    good_for="letting a trained classifier slide over larger pictures, as chapter 5 does for segmentation",
    hints=(
        "In which order does x.flatten(1) read the numbers of a picture of shape (C, H, W)?",
        "Row o of W holds the C*H*W weights of output o in that order: give them back their shape. The bias stays.",
        "W.reshape(-1, C, H, W) and b.",
    ),
    alternatives=(alternative(fc_as_conv__rearranged), alternative(fc_as_conv__row_by_row)),
    misconceptions=(
        slip("channels_last", {"W.reshape(-1, *chw)": "W.reshape(-1, *chw[1:], chw[0]).permute(0, 3, 1, 2)"},
             "You read the weights with the channel last. flatten(1) reads map after map: the order is (C, H, W).",
             "library difference: Keras flattens (H, W, C)"),
        slip("width_first", {"W.reshape(-1, *chw)": "W.reshape(-1, chw[0], chw[2], chw[1]).transpose(2, 3)"},
             "Height and width are exchanged: right only for square maps.",
             "library difference: PIL gives sizes as (width, height)"),
        slip("flipped", {"W.reshape(-1, *chw)": "W.reshape(-1, *chw).flip(2, 3)"},
             "You turn the kernels by 180 degrees. A convolution layer does not flip, so the weights stay as "
             "they are.", "card trap: convolution of mathematics"),
        slip("drops_bias", {"*chw), b": "*chw), torch.zeros_like(b)"},
             "The bias is lost. It moves over unchanged: one number per output.",
             "student mistake: only the matrix is converted"),
    ),
)  # fmt: skip
