"""Extra exercises of notebook 1: the same probes and hints, no marks."""

import math

import torch

from autograder.declare.exercise import Alternative, Exercise, Misconception
from autograder.exercises.ch03_convolutional_networks import lesson_1_extra_variants as extra
from autograder.exercises.ch03_convolutional_networks.lesson_1_common import between, draw
from dlcv_lab.checking.model import Case, Forbid


def count_layer_params_cases(rng):
    def case(group, kind, in_shape, out_maps, k, note, **options):
        data = {"kind": kind, "in_shape": in_shape, "out_maps": out_maps, "k": k, "options": options}
        return Case(group, data, note)

    C, O, k = between(rng, 2, 4), between(rng, 5, 9), between(rng, 2, 3)
    H, W = between(rng, 6, 9), between(rng, 10, 14)
    return [
        *(case("plain", kind, (C, H, W), O, k, kind) for kind in ("fc", "local", "conv")),
        *(case("edge", kind, (C, H, W), O, 1, f"{kind}, k = 1") for kind in ("fc", "local", "conv")),
        *(case("edge", kind, (C, H, W), O, k, f"{kind}, no bias", bias=False) for kind in ("fc", "local", "conv")),
        case("edge", "local", (C, H, H), O, H, "a window as large as the picture"),
        case("edge", "dense", (C, H, W), O, k, "an unknown kind"),
    ]


def probe_count_layer_params(ns, data):
    return ns.count_layer_params(data["kind"], data["in_shape"], data["out_maps"], data["k"], **data["options"])


COUNT_LAYER_PARAMS = Exercise(
    name="count_layer_params",
    methods=("ch03/mlp_weight_count",),
    groups={"plain": 1.0, "edge": 1.0},
    cases=count_layer_params_cases,
    probe=probe_count_layer_params,
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
    alternatives=(
        Alternative(name="one_neuron", code=(extra.count_layer_params__one_neuron,)),
        Alternative(name="window_by_window", code=(extra.count_layer_params__window_by_window,)),
    ),
    misconceptions=(
        Misconception(
            name="bias_per_map",
            code=(extra.count_layer_params__bias_per_map,),
            hint="The weights are right, the biases are not: only a convolution shares its bias within a map. In "
            "'fc' and 'local' every neuron has one.",
            source_of="card trap: biases of locally connected layers",
        ),
        Misconception(
            name="flat_filters",
            code=(extra.count_layer_params__flat_filters,),
            hint="Your windows are flat: k*k inputs. A neuron looks through all channels: C*k*k inputs.",
            source_of="student mistake: a colour picture drawn as one sheet",
        ),
        Misconception(
            name="same_size",
            code=(extra.count_layer_params__same_size,),
            hint="You have a neuron for every pixel. The window stays inside: only (H-k+1)*(W-k+1) places.",
            source_of="library difference: padding='same' in Keras keeps H x W outputs",
        ),
        Misconception(
            name="not_shared",
            code=(extra.count_layer_params__not_shared,),
            hint="Your 'conv' counts as many as 'local'. Sharing means that one set of weights serves all places of "
            "a map.",
            source_of="student mistake: neurons counted instead of weights",
        ),
    ),
)


def relu_cases(rng):
    def case(group, x, note, backward=False):
        data = {"x": x}
        if backward:
            data["dy"] = draw(rng, *x.shape, dtype=x.dtype)
        return Case(group, data, note)

    H, W = between(rng, 4, 6), between(rng, 7, 9)
    signs = torch.tensor([0.0, -0.0, 1.0, -1.0, math.inf, -math.inf])
    overflown = case("gradient", draw(rng, H, W), "a gradient that is infinite in places, backward", backward=True)
    overflown.data["dy"][:, ::2] = math.inf
    overflown.data["x"][0, 0], overflown.data["x"][1, 0] = 1.0, -1.0
    return [
        case("plain", draw(rng, 2, 3, H, W), "forward"),
        case("plain", draw(rng, H, W, dtype=torch.float64), "float64"),
        case("edge", signs, "zeros and infinities"),
        case("edge", torch.cat([draw(rng, H), torch.tensor([math.nan, -2.0])]), "NaN stays NaN"),
        case("edge", torch.randint(-9, 9, (H, W), generator=rng), "whole numbers"),
        case("gradient", draw(rng, 2, 3, H, W), "backward", backward=True),
        case("gradient", torch.randint(-1, 2, (H, 3 * W), generator=rng).float(), "zeros, backward", backward=True),
        overflown,
    ]


def probe_relu(ns, data):
    return ns.relu_backward(data["dy"], data["x"]) if "dy" in data else ns.relu(data["x"])


RELU = Exercise(
    name="relu",
    defines=("relu", "relu_backward"),
    methods=("ch03/relu",),
    groups={"plain": 0.5, "edge": 0.25, "gradient": 0.25},
    cases=relu_cases,
    probe=probe_relu,
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
        Alternative(name="maximum", code=(extra.relu__maximum, extra.relu_backward__where)),
        Alternative(name="copy", code=(extra.relu__zeroes_a_copy, extra.relu_backward__copy)),
    ),
    misconceptions=(
        Misconception(
            name="one_at_zero",
            code=(extra.relu_backward__one_at_zero,),
            hint="At x = 0 exactly you let the gradient through. Agree with torch: the derivative there is 0, so x > "
            "0.",
            source_of="library difference: clamp(min=0) of torch has gradient 1 at 0, relu has 0",
        ),
        Misconception(
            name="sign_of_dy",
            code=(extra.relu_backward__sign_of_dy,),
            hint="You gate by the sign of dy. The gate is set in the forward pass: it opens where x was positive.",
            source_of="library difference: the 'deconvnet' rule for visualising networks rectifies dy instead",
        ),
        Misconception(
            name="both_signs",
            code=(extra.relu_backward__both_signs,),
            hint="You drop negative gradients as well. Only x decides: a negative dy passes where x > 0.",
            source_of="library difference: 'guided backpropagation' rectifies twice",
        ),
        Misconception(
            name="multiplies",
            code=(extra.relu_backward__multiplies,),
            hint="Where dy is infinite, infinity times 0 is NaN. Choose instead of multiplying: torch.where(x > 0, "
            "dy, 0).",
            source_of="library difference: torch's backward pass chooses, so that one overflow does not spread",
        ),
        Misconception(
            name="loses_nan",
            code=(extra.relu__loses_nan,),
            hint="NaN > 0 is False, so your NaN becomes 0 and hides a bug upstream. Let NaN through: clamp does.",
            source_of="card trap: where(x > 0, x, 0) loses NaN",
        ),
        Misconception(
            name="in_place",
            code=(extra.relu__in_place,),
            hint="Your relu overwrites x, which relu_backward still needs. Return a new tensor: clamp, not clamp_.",
            source_of="library difference: nn.ReLU(inplace=True)",
        ),
        Misconception(
            name="absolute",
            code=(extra.relu__absolute,),
            hint="You mirror the negative numbers (absolute value). They become 0.",
            source_of="student mistake: 'make it positive'",
        ),
    ),
)


def fc_as_conv_cases(rng):
    def case(group, O, chw, note, dtype=torch.float32):
        data = {"W": draw(rng, O, math.prod(chw), dtype=dtype), "b": draw(rng, O, dtype=dtype), "chw": chw}
        return Case(group, data, note)

    H, W = between(rng, 2, 4), between(rng, 5, 7)
    return [
        case("plain", 4, (3, H, W), "three maps"),
        case("plain", 5, (2, W, H), "higher than wide, float64", torch.float64),
        case("edge", 3, (1, H, W), "one map"),
        case("edge", 2, (7, 1, 1), "1x1 maps"),
    ]


def probe_fc_as_conv(ns, data):
    return ns.fc_as_conv(data["W"], data["b"], tuple(data["chw"]))


FC_AS_CONV = Exercise(
    name="fc_as_conv",
    methods=("ch03/fc_layer",),
    groups={"plain": 0.5, "edge": 0.5},
    cases=fc_as_conv_cases,
    probe=probe_fc_as_conv,
    minutes=5,
    difficulty="easy",
    good_for="letting a trained classifier slide over larger pictures, as chapter 5 does for segmentation",
    hints=(
        "In which order does x.flatten(1) read the numbers of a picture of shape (C, H, W)?",
        "Row o of W holds the C*H*W weights of output o in that order: give them back their shape. The bias stays.",
        "W.reshape(-1, C, H, W) and b.",
    ),
    alternatives=(
        Alternative(name="rearranged", code=(extra.fc_as_conv__rearranged,)),
        Alternative(name="row_by_row", code=(extra.fc_as_conv__row_by_row,)),
    ),
    misconceptions=(
        Misconception(
            name="channels_last",
            code=(extra.fc_as_conv__channels_last,),
            hint="You read the weights with the channel last. flatten(1) reads map after map: the order is (C, H, W).",
            source_of="library difference: Keras flattens (H, W, C)",
        ),
        Misconception(
            name="width_first",
            code=(extra.fc_as_conv__width_first,),
            hint="Height and width are exchanged: right only for square maps.",
            source_of="library difference: PIL gives sizes as (width, height)",
        ),
        Misconception(
            name="flipped",
            code=(extra.fc_as_conv__flipped,),
            hint="You turn the kernels by 180 degrees. A convolution layer does not flip, so the weights stay as "
            "they are.",
            source_of="card trap: convolution of mathematics",
        ),
        Misconception(
            name="drops_bias",
            code=(extra.fc_as_conv__drops_bias,),
            hint="The bias is lost. It moves over unchanged: one number per output.",
            source_of="student mistake: only the matrix is converted",
        ),
    ),
)
