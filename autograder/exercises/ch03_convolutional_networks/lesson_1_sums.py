"""Core exercises of notebook 1: the moving sum, and the sizes that come out of it."""

import torch

from autograder.declare.exercise import Alternative, Exercise, Misconception
from autograder.exercises.ch03_convolutional_networks import lesson_1_core_variants as core
from autograder.exercises.ch03_convolutional_networks.lesson_1_common import NO_CONVOLUTION, between, draw
from dlcv_lab.checking.model import Case


def correlate2d_cases(rng):
    def case(group, x, w, pad, note, function="correlate2d"):
        return Case(group, {"function": function, "x": x, "w": w, "pad": pad}, note)

    H, W = between(rng, 5, 8), between(rng, 9, 12)
    double, delta = torch.float64, torch.zeros(3, 3)
    delta[1, 1] = 1.0
    whole = torch.randint(0, 256, (H, W), generator=rng)
    return [
        case("plain", draw(rng, H, W), draw(rng, 3, 3), 0, "a 3x3 kernel"),
        case("plain", draw(rng, W, H, dtype=double).T, draw(rng, 3, 3, dtype=double), 1, "float64, pad 1"),
        case("plain", draw(rng, H, W), delta, 1, "a kernel that gives the picture back"),
        case("shapes", draw(rng, H, W), draw(rng, 2, 4), 0, "a 2x4 kernel"),
        case("shapes", draw(rng, H, W), draw(rng, 5, 3), 2, "a 5x3 kernel, pad 2"),
        case("shapes", draw(rng, H, W), draw(rng, H, 3), 0, "a kernel as high as the picture"),
        case("edge", whole, draw(rng, 3, 2), 0, "a picture of whole numbers"),
        case("edge", draw(rng, 3, W), draw(rng, 4, 2), 0, "a kernel higher than the picture"),
        case("edge", draw(rng, H, 2), draw(rng, 2, 5), 1, "a kernel wider than the padded picture"),
        case("flipped", draw(rng, H, W), draw(rng, 3, 3), 1, "convolve2d, 3x3", "convolve2d"),
        case("flipped", draw(rng, H, W), draw(rng, 2, 4), 0, "convolve2d, 2x4", "convolve2d"),
    ]


def probe_correlate2d(ns, data):
    return getattr(ns, data["function"])(data["x"], data["w"], pad=data["pad"])


CORRELATE2D = Exercise(
    name="correlate2d",
    defines=("correlate2d", "convolve2d"),
    methods=("ch03/convolution",),
    core=True,
    groups={"plain": 1.0, "shapes": 0.5, "edge": 0.5, "flipped": 1.0},
    cases=correlate2d_cases,
    probe=probe_correlate2d,
    picture=True,
    minutes=15,
    difficulty="easy",
    good_for="seeing that a convolution is kh*kw shifted copies of one picture, weighted and added",
    forbid=NO_CONVOLUTION,
    hints=(
        "Which part of the padded picture does w[0, 0] ever touch? And w[0, 1]? Both parts have the size of the "
        "result.",
        "First Ho and Wo, then the check that both are at least 1, then F.pad. Start with a result of zeros; for every "
        "(u, v) add w[u, v] times the Ho x Wo piece of the padded picture that begins at row u and column v.",
        "y = y + w[u, v] * xp[u : u + Ho, v : v + Wo], inside two loops over range(kh) and range(kw). "
        "convolve2d is one line: correlate2d with w.flip(0, 1).",
    ),
    alternatives=(
        Alternative(name="windows", code=(core.correlate2d__windows, core.convolve2d__flips_picture)),
        Alternative(name="places", code=(core.correlate2d__places, core.convolve2d__after_flipped)),
    ),
    misconceptions=(
        Misconception(
            name="flipped",
            code=(core.correlate2d__flipped, core.convolve2d__after_flipped),
            hint="Your correlate2d turns the kernel by 180 degrees. Here w[u, v] meets x[i + u, j + v], with two "
            "plus signs; the turned version is convolve2d. Try the kernel [[0, 1], [0, 0]]: it must read the pixel "
            "on the right.",
            source_of="card trap: deep learning says convolution and means correlation; scipy.signal.convolve2d flips",
        ),
        Misconception(
            name="never_flips",
            code=(core.convolve2d__never_flips,),
            hint="Your convolve2d gives what correlate2d gives. It has to turn the kernel upside down AND left to "
            "right before it slides: w.flip(0, 1).",
            source_of="card trap: the two agree for kernels that are their own half turn",
        ),
        Misconception(
            name="transposes",
            code=(core.convolve2d__transposes,),
            hint="Your convolve2d mirrors the kernel at its diagonal (a transpose). A half turn reverses both axes and "
            "keeps the shape: w[kh - 1 - u, kw - 1 - v].",
            source_of="student mistake: turning a matrix read as transposing it",
        ),
        Misconception(
            name="one_short",
            code=(core.correlate2d__one_short,),
            hint="One row and one column are missing at the end. A kernel of height kh fits at H - kh + 1 places, "
            "not at H - kh: count them for a 3-pixel kernel on 3 pixels.",
            source_of="student mistake: fence posts counted as gaps",
        ),
        Misconception(
            name="repeats_border",
            code=(core.correlate2d__repeats_border,),
            hint="Inside the picture you are right, on the padding not: the padding has to be zeros, and yours repeats "
            "the pixels at the border.",
            source_of="library difference: scipy.ndimage.correlate and OpenCV continue the picture at its border",
        ),
        Misconception(
            name="averages",
            code=(core.correlate2d__averages,),
            hint="Your numbers are too small by the number of kernel entries: the products are summed, not averaged. A "
            "kernel that wants a mean carries the division in its entries.",
            source_of="student mistake: 'weighted moving sum' taken for a moving average",
        ),
    ),
)


def output_size_cases(rng):
    def size(group, note, **numbers):
        return Case(group, {"function": "conv_out", "arguments": numbers}, note)

    def field(group, layers, note):
        return Case(group, {"function": "receptive_field", "layers": layers}, note)

    k, s, n = between(rng, 3, 5), between(rng, 2, 4), between(rng, 4, 9)
    conv, halve = (3, 1, 1), (2, 2, 1)
    vgg16 = [conv, conv, halve, conv, conv, halve] + 3 * [conv, conv, conv, halve]
    return [
        size("conv_out", "defaults", size=between(rng, 12, 30), k=k),
        size("conv_out", "stride and remainder", size=k + n * s + 1, k=k, stride=s),
        size("conv_out", "padding", size=between(rng, 9, 20), k=k, pad=between(rng, 1, 3)),
        size("conv_out", "dilation", size=between(rng, 14, 30), k=3, dilation=between(rng, 2, 4)),
        size("conv_out", "stride larger than the window", size=2 + 5 * n, k=2, stride=5),
        size("conv_out", "all four", size=between(rng, 20, 40), k=k, stride=s, pad=2, dilation=2),
        field("receptive_field", [(k, s, 1), (3, 1, 1), (3, 2, 1)], "strides"),
        field("receptive_field", [(3, 1, 1), (3, s, 2), (5, 1, 3)], "dilation after a stride"),
        field("receptive_field", [(3, 1, 1)] * between(rng, 2, 6), "a stack of 3x3"),
        field("receptive_field", vgg16, "VGG16 up to its last pooling"),
        size("edge", "the window fits exactly once", size=k, k=k, stride=s),
        size("edge", "the window does not fit", size=4, k=between(rng, 5, 8)),
        size("edge", "the dilated window does not fit", size=6, k=3, pad=1, dilation=4),
        field("edge", [], "no layers"),
    ]


def probe_output_size(ns, data):
    if data["function"] == "receptive_field":
        return ns.receptive_field(data["layers"])
    arguments = dict(data["arguments"])
    return ns.conv_out(arguments.pop("size"), arguments.pop("k"), **arguments)


OUTPUT_SIZE = Exercise(
    name="output_size",
    defines=("conv_out", "receptive_field"),
    methods=("ch03/output_size",),
    core=True,
    groups={"conv_out": 1.0, "receptive_field": 1.5, "edge": 0.5},
    cases=output_size_cases,
    probe=probe_output_size,
    minutes=15,
    difficulty="easy",
    good_for="reading any architecture table, and finding shape errors before the GPU does",
    hints=(
        "How far is it from the first tap of the window to its last one? How many pixels are left to move in?",
        "conv_out: the taps span dilation*(k-1) + 1 pixels; what remains of size + 2*pad is the room to move; one "
        "place plus one more for every full stride in that room. receptive_field: keep (r, jump), begin with (1, 1). "
        "A layer adds its k - 1 steps between taps, and such a step is dilation*jump input pixels long.",
        "room = size + 2*pad - dilation*(k - 1) - 1; room // stride + 1. For each layer, in this order: "
        "r += dilation*(k - 1)*jump, and only then jump *= stride.",
    ),
    alternatives=(
        Alternative(name="counts", code=(core.conv_out__counts, core.receptive_field__backwards)),
        Alternative(name="walks", code=(core.conv_out__walks, core.receptive_field__adds_up)),
    ),
    misconceptions=(
        Misconception(
            name="ceil",
            code=(core.conv_out__ceil,),
            hint="You count a last window that hangs over the end (rounded up). It has to lie inside: round down.",
            source_of="library difference: Caffe's pooling and TensorFlow's padding='SAME' round up",
        ),
        Misconception(
            name="pads_once",
            code=(core.conv_out__pads_once,),
            hint="Without padding you are right. The padding is added on BOTH ends, so the axis grows by 2*pad.",
            source_of="student mistake: padding counted on one side",
        ),
        Misconception(
            name="dilates_k",
            code=(core.conv_out__dilates_k,),
            hint="Without dilation you are right. Between k taps there are k - 1 steps, so the window spans "
            "dilation*(k-1) + 1 pixels, not dilation*k.",
            source_of="student mistake: taps and gaps confused",
        ),
        Misconception(
            name="never_refuses",
            code=(core.conv_out__never_refuses,),
            hint="A window that does not fit gives a size of 0 or less with your formula; raise ValueError there.",
            source_of="library difference: a bare formula returns 0 or a negative size where torch raises",
        ),
        Misconception(
            name="jumps_first",
            code=(core.receptive_field__jumps_first,),
            hint="In receptive_field you multiply the jump before you use it. The taps of a layer lie on ITS INPUT, so "
            "they are spaced by the jump of the layers before it; its own stride only matters for the next layer.",
            source_of="student mistake: order of the two updates (r_l uses j_(l-1))",
        ),
        Misconception(
            name="no_jump",
            code=(core.receptive_field__no_jump,),
            hint="Without strides your receptive field is right. After a stride, neighbouring taps are `jump` input "
            "pixels apart, so every further layer adds jump times more.",
            source_of="student mistake: the stride forgotten, as in a stack of 3x3 layers",
        ),
        Misconception(
            name="adds_k",
            code=(core.receptive_field__adds_k,),
            hint="Every layer adds one step too many: the first tap is already inside the field, only k - 1 are new. "
            "Two 3x3 layers see 5 pixels, not 7.",
            source_of="student mistake: kernel sizes added up",
        ),
    ),
)
