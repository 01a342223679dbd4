"""Core exercises of notebook 1: the moving sum, and the sizes that come out of it."""

import torch
import torch.nn.functional as F

from autograder.declare import Exercise, alternative, case, slip
from autograder.exercises.ch03_convolutional_networks.lesson_1_common import NO_CONVOLUTION
from solutions.ch03_convolutional_networks.lesson_1 import correlate2d


def correlate2d_cases(d):
    H, W = d.whole(5, 8), d.whole(9, 12)
    double, delta = torch.float64, torch.zeros(3, 3)
    delta[1, 1] = 1.0
    return [
        case("plain", "a 3x3 kernel", x=d.normal(H, W), w=d.normal(3, 3), pad=0),
        case("plain", "float64, pad 1", x=d.normal(W, H, dtype=double).T, w=d.normal(3, 3, dtype=double), pad=1),
        case("plain", "a kernel that gives the picture back", x=d.normal(H, W), w=delta, pad=1),
        case("shapes", "a 2x4 kernel", x=d.normal(H, W), w=d.normal(2, 4), pad=0),
        case("shapes", "a 5x3 kernel, pad 2", x=d.normal(H, W), w=d.normal(5, 3), pad=2),
        case("shapes", "a kernel as high as the picture", x=d.normal(H, W), w=d.normal(H, 3), pad=0),
        case("edge", "a picture of whole numbers", x=d.integers(0, 255, H, W), w=d.normal(3, 2), pad=0),
        case("edge", "a kernel higher than the picture", x=d.normal(3, W), w=d.normal(4, 2), pad=0),
        case("edge", "a kernel wider than the padded picture", x=d.normal(H, 2), w=d.normal(2, 5), pad=1),
        case("flipped", "convolve2d, 3x3", x=d.normal(H, W), w=d.normal(3, 3), pad=1),
        case("flipped", "convolve2d, 2x4", x=d.normal(H, W), w=d.normal(2, 4), pad=0),
    ]


def correlation(data):
    x, w = data["x"].to(data["w"].dtype), data["w"]
    return F.conv2d(x[None, None], w[None, None], padding=data["pad"])[0, 0]


def convolution(data):
    """Scatter every pixel as a copy of the kernel, which turns it, and cut off what hangs over."""
    x, w, pad = data["x"], data["w"], data["pad"]
    return F.conv_transpose2d(x[None, None], w[None, None], padding=tuple(k - 1 - pad for k in w.shape))[0, 0]


def correlate2d__windows(x, w, *, pad=0):
    xp = F.pad(x, (pad, pad, pad, pad))
    if w.shape[0] > xp.shape[0] or w.shape[1] > xp.shape[1]:
        raise ValueError("kernel larger than picture")
    windows = xp.unfold(0, w.shape[0], 1).unfold(1, w.shape[1], 1)
    return (windows * w).sum(dim=(2, 3))


def convolve2d__flips_picture(x, w, *, pad=0):
    return correlate2d(x.flip((0, 1)), w, pad=pad).flip((0, 1))


def correlate2d__places(x, w, *, pad=0):
    kh, kw = w.shape
    xp = torch.zeros(x.shape[0] + 2 * pad, x.shape[1] + 2 * pad, dtype=x.dtype)
    xp[pad : pad + x.shape[0], pad : pad + x.shape[1]] = x
    rows, columns = xp.shape[0] - kh + 1, xp.shape[1] - kw + 1
    if rows <= 0 or columns <= 0:
        raise ValueError
    sums = [(xp[i : i + kh, j : j + kw] * w).sum() for i in range(rows) for j in range(columns)]
    return torch.stack(sums).view(rows, columns)


def convolve2d__after_flipped(x, w, *, pad=0):
    return correlate2d(x, w.flip(0, 1), pad=pad)


CORRELATE2D = Exercise(
    name="correlate2d",
    defines=("correlate2d", "convolve2d"),
    methods=("ch03/convolution",),
    core=True,
    groups={"plain": 1.0, "shapes": 0.5, "edge": 0.5, "flipped": 1.0},
    cases=correlate2d_cases,
    probe={"flipped": "convolve2d"},
    oracle={"plain": correlation, "shapes": correlation, "edge": correlation, "flipped": convolution},
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
        alternative(correlate2d__windows, convolve2d__flips_picture),
        alternative(correlate2d__places, convolve2d__after_flipped),
    ),
    misconceptions=(
        slip("flipped", {"w[u, v]": "w[kh - 1 - u, kw - 1 - v]"},
             "Your correlate2d turns the kernel by 180 degrees. Here w[u, v] meets x[i + u, j + v], with two "
             "plus signs; the turned version is convolve2d. Try the kernel [[0, 1], [0, 0]]: it must read the "
             "pixel on the right.",
             "card trap: deep learning says convolution and means correlation; scipy.signal.convolve2d flips"),
        slip("never_flips", {"w.flip(0, 1)": "w"},
             "Your convolve2d gives what correlate2d gives. It has to turn the kernel upside down AND left to "
             "right before it slides: w.flip(0, 1).",
             "card trap: the two agree for kernels that are their own half turn"),
        slip("transposes", {"w.flip(0, 1)": "w.T"},
             "Your convolve2d mirrors the kernel at its diagonal (a transpose). A half turn reverses both axes "
             "and keeps the shape: w[kh - 1 - u, kw - 1 - v].",
             "student mistake: turning a matrix read as transposing it"),
        slip("one_short", {"return y": "return y[:-1, :-1]"},
             "One row and one column are missing at the end. A kernel of height kh fits at H - kh + 1 places, "
             "not at H - kh: count them for a 3-pixel kernel on 3 pixels.",
             "student mistake: fence posts counted as gaps"),
        slip("repeats_border",
             {"xp = F.pad(x, (pad, pad, pad, pad))":
                "\n"
                "                    rows = torch.arange(-pad, H + pad).clamp(0, H - 1)\n"
                "                    columns = torch.arange(-pad, W + pad).clamp(0, W - 1)\n"
                "                    xp = x[rows][:, columns]\n"
                "                "},
             "Inside the picture you are right, on the padding not: the padding has to be zeros, and yours "
             "repeats the pixels at the border.",
             "library difference: scipy.ndimage.correlate and OpenCV continue the picture at its border"),
        slip("flips_one_axis",
             {"w.flip(0, 1)": "w.flip(1)"},
             "convolve2d mirrors the kernel along one axis alone. Turned by 180 degrees means both axes.",
             "student mistake: a flip taken for a half turn"),
        slip("convolves_unpadded",
             {"w.flip(0, 1), pad=pad": "w.flip(0, 1)"},
             "convolve2d forgets `pad`: hand it on to correlate2d.",
             "student mistake: an optional argument not handed on"),
        slip("pads_one_side",
             {"(pad, pad, pad, pad)": "(0, 2 * pad, 0, 2 * pad)"},
             "All your zeros stand on the right and below. `pad` rows and columns belong on each of the four "
             "sides.",
             "student mistake: the size is right, the place of the zeros is not"),
        slip("averages", {"return y": "return y / w.numel()"},
             "Your numbers are too small by the number of kernel entries: the products are summed, not "
             "averaged. A kernel that wants a mean carries the division in its entries.",
             "student mistake: 'weighted moving sum' taken for a moving average"),
    ),
)  # fmt: skip


def output_size_cases(d):
    def size(group, note, **numbers):
        return case(group, note, ask="conv_out", **numbers)

    def field(group, note, layers):
        return case(group, note, ask="receptive_field", layers=layers)

    k, s, n = d.whole(3, 5), d.whole(2, 4), d.whole(4, 9)
    conv, halve = (3, 1, 1), (2, 2, 1)
    vgg16 = [conv, conv, halve, conv, conv, halve] + 3 * [conv, conv, conv, halve]
    return [
        size("conv_out", "defaults", size=d.whole(12, 30), k=k),
        size("conv_out", "stride and remainder", size=k + n * s + 1, k=k, stride=s),
        size("conv_out", "padding", size=d.whole(9, 20), k=k, pad=d.whole(1, 3)),
        size("conv_out", "dilation", size=d.whole(14, 30), k=3, dilation=d.whole(2, 4)),
        size("conv_out", "stride larger than the window", size=2 + 5 * n, k=2, stride=5),
        size("conv_out", "all four", size=d.whole(20, 40), k=k, stride=s, pad=2, dilation=2),
        field("receptive_field", "strides", [(k, s, 1), (3, 1, 1), (3, 2, 1)]),
        field("receptive_field", "dilation after a stride", [(3, 1, 1), (3, s, 2), (5, 1, 3)]),
        field("receptive_field", "a stack of 3x3", [(3, 1, 1)] * d.whole(2, 6)),
        field("receptive_field", "VGG16 up to its last pooling", vgg16),
        size("edge", "the window fits exactly once", size=k, k=k, stride=s),
        size("edge", "the window does not fit", size=4, k=d.whole(5, 8)),
        size("edge", "the dilated window does not fit", size=6, k=3, pad=1, dilation=4),
        field("edge", "no layers", []),
    ]


def convolved_size(data):
    options = {"stride": data.get("stride", 1), "padding": data.get("pad", 0), "dilation": data.get("dilation", 1)}
    return F.conv1d(torch.zeros(1, 1, data["size"]), torch.zeros(1, 1, data["k"]), **options).shape[-1]


def conv_out__counts(size, k, *, stride=1, pad=0, dilation=1):
    starts = range(0, size + 2 * pad - dilation * (k - 1), stride)
    if len(starts) == 0:
        raise ValueError
    return len(starts)


def receptive_field__backwards(layers):
    r, jump = 1, 1
    for k, stride, dilation in reversed(layers):
        r = (r - 1) * stride + dilation * (k - 1) + 1
        jump *= stride
    return [r, jump]


def conv_out__walks(size, k, *, stride=1, pad=0, dilation=1):
    places, left = 0, -pad
    while left + dilation * (k - 1) <= size + pad - 1:
        places, left = places + 1, left + stride
    if places == 0:
        raise ValueError("no room")
    return places


def receptive_field__adds_up(layers):
    jumps = [1]
    for layer in layers:
        jumps.append(jumps[-1] * layer[1])
    return 1 + sum((k - 1) * d * j for (k, _, d), j in zip(layers, jumps)), jumps[-1]


OUTPUT_SIZE = Exercise(
    name="output_size",
    defines=("conv_out", "receptive_field"),
    methods=("ch03/output_size",),
    core=True,
    groups={"conv_out": 1.0, "receptive_field": 1.5, "edge": 0.5},
    cases=output_size_cases,
    probe={"conv_out": "conv_out", "receptive_field": "receptive_field"},
    oracle={"conv_out": convolved_size},
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
        alternative(conv_out__counts, receptive_field__backwards),
        alternative(conv_out__walks, receptive_field__adds_up),
    ),
    misconceptions=(
        slip("ceil", {"room // stride + 1": "-(-room // stride) + 1"},
             "You count a last window that hangs over the end (rounded up). It has to lie inside: round down.",
             "library difference: Caffe's pooling and TensorFlow's padding='SAME' round up"),
        slip("pads_once", {"size + 2 * pad": "size + pad"},
             "Without padding you are right. The padding is added on BOTH ends, so the axis grows by 2*pad.",
             "student mistake: padding counted on one side"),
        slip("dilates_k", {"dilation * (k - 1) - 1": "dilation * k"},
             "Without dilation you are right. Between k taps there are k - 1 steps, so the window spans "
             "dilation*(k-1) + 1 pixels, not dilation*k.", "student mistake: taps and gaps confused"),
        slip("no_dilation",
             {"dilation * (k - 1) - 1": "k"},
             "conv_out does not use `dilation`. k taps with steps of `dilation` between them span "
             "dilation*(k-1) + 1 pixels.",
             "student mistake: the formula without dilation"),
        slip("strides_add",
             {"jump *= stride": "jump += stride"},
             "Your strides add up. They multiply: behind two layers of stride 2, neighbours are 4 pixels "
             "apart.",
             "student mistake: jump taken for a sum"),
        slip("never_refuses", {"if room < 0:": "if False:"},
             "A window that does not fit gives a size of 0 or less with your formula; raise ValueError there.",
             "library difference: a bare formula returns 0 or a negative size where torch raises"),
        slip("jumps_first",
             {("r += dilation * (k - 1) * jump\n"
               "jump *= stride"):
                "jump *= stride\n"
                "r += dilation * (k - 1) * jump"},
             "In receptive_field you multiply the jump before you use it. The taps of a layer lie on ITS "
             "INPUT, so they are spaced by the jump of the layers before it; its own stride only matters for "
             "the next layer.", "student mistake: order of the two updates (r_l uses j_(l-1))"),
        slip("no_jump", {"(k - 1) * jump": "(k - 1)"},
             "Without strides your receptive field is right. After a stride, neighbouring taps are `jump` "
             "input pixels apart, so every further layer adds jump times more.",
             "student mistake: the stride forgotten, as in a stack of 3x3 layers"),
        slip("adds_k", {"(k - 1) * jump": "k * jump"},
             "Every layer adds one step too many: the first tap is already inside the field, only k - 1 are "
             "new. Two 3x3 layers see 5 pixels, not 7.", "student mistake: kernel sizes added up"),
    ),
)  # fmt: skip
