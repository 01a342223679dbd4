"""Core exercises of notebook 1: im2col, the convolution layer, max pooling."""

import torch
import torch.nn.functional as F

from autograder.declare.draws import case
from autograder.declare.exercise import Alternative, Exercise, Misconception
from autograder.declare.slips import slip
from autograder.exercises.ch03_convolutional_networks import lesson_1_core_variants as core
from autograder.exercises.ch03_convolutional_networks import lesson_1_pool_variants as pool
from autograder.exercises.ch03_convolutional_networks.lesson_1_common import NO_CONVOLUTION, STANDINS, between, draw
from dlcv_lab.checking import probing
from dlcv_lab.checking.model import Case, Forbid


def im2col_cases(rng):
    def case(group, x, k, stride, pad, note):
        return Case(group, {"x": x, "k": k, "stride": stride, "pad": pad}, note)

    H, W, N = between(rng, 4, 6), between(rng, 7, 9), between(rng, 2, 3)
    double = torch.float64
    return [
        case("plain", draw(rng, N, 3, H, W), 3, 1, 0, "stride 1, no padding"),
        case("plain", draw(rng, 1, 2, H, W, dtype=double), 2, 1, 1, "one picture, pad 1, float64"),
        case("shapes", draw(rng, N, 2, 2 * H + 2, 2 * W), 3, 2, 0, "stride 2 with a remainder"),
        case("shapes", draw(rng, 2, 2, 3 * H, 3 * W + 1), 2, 3, 1, "stride larger than the window"),
        case("shapes", draw(rng, N, W, H, 3).permute(0, 3, 2, 1), 3, 1, 1, "an x that is not contiguous"),
        case("edge", draw(rng, N, 3, H, W), 1, 1, 0, "k = 1"),
        case("edge", draw(rng, 1, 2, H, W), H, 1, 0, "a window as high as the picture"),
        case("edge", draw(rng, 2, 2, 2, 3), 2, 1, 2, "padding as wide as the window"),
        case("edge", draw(rng, 1, 1, 2, W), 5, 1, 1, "a window that does not fit"),
    ]


def probe_im2col(ns, data):
    return ns.im2col(data["x"], data["k"], stride=data["stride"], pad=data["pad"])


IM2COL = Exercise(
    name="im2col",
    methods=("ch03/conv2d",),
    core=True,
    groups={"plain": 1.0, "shapes": 1.0, "edge": 1.0},
    cases=im2col_cases,
    probe=probe_im2col,
    uses=("output_size",),
    standins=(STANDINS["output_size"],),
    minutes=20,
    difficulty="hard",
    good_for="turning a convolution into the one operation that hardware does best: a matrix product",
    forbid=Forbid(aten=("aten.im2col*", *NO_CONVOLUTION.aten), names=NO_CONVOLUTION.names),
    hints=(
        "In `correlate2d`, which numbers of the picture met w[u, v]? They are one row of the answer (for one channel).",
        "Pad; get Ho and Wo from conv_out; for every tap (u, v) slice the pixels that it meets: rows u, u + stride, "
        "..., Ho of them, and columns likewise, giving (N, C, Ho, Wo). Stack the k*k slices on an axis right after "
        "C, then flatten C with the taps, and Ho with Wo.",
        "xp[:, :, u : u + stride*Ho : stride, v : v + stride*Wo : stride] for u, then v, in range(k); then "
        'rearrange(torch.stack(taps), "tap n c i j -> n (c tap) (i j)").',
    ),
    alternatives=(
        Alternative(name="windows", code=(core.im2col__windows,)),
        Alternative(name="places", code=(core.im2col__places,)),
        Alternative(name="gathers", code=(core.im2col__gathers,)),
    ),
    misconceptions=(
        Misconception(
            name="channels_last",
            code=(core.im2col__channels_last,),
            hint="The right numbers in another order: within a column, your channel varies fastest. It must vary "
            "slowest: first all k*k numbers of channel 0, then those of channel 1.",
            source_of="library difference: tf.image.extract_patches orders a patch row, column, channel",
        ),
        Misconception(
            name="windows_as_rows",
            code=(core.im2col__windows_as_rows,),
            hint="Your windows are rows: (N, L, C*k*k). Here every window is a column: swap the last two axes.",
            source_of="library difference: tf.image.extract_patches and sklearn's extract_patches_2d put the patch "
            "last",
        ),
        Misconception(
            name="down_first",
            code=(core.im2col__down_first,),
            hint="The columns are right, their order is not: you walk down the picture first. Walk along a row "
            "first, so that window (i, j) is column i*Wo + j.",
            source_of="library difference: MATLAB's im2col walks down the columns",
        ),
        Misconception(
            name="window_turned",
            code=(core.im2col__window_turned,),
            hint="Inside each window you read down first. Read it like a line of text: entry (c*k + u)*k + v is row u, "
            "column v of the window.",
            source_of="library difference: MATLAB stores a window column by column",
        ),
        Misconception(
            name="partial_windows",
            code=(core.im2col__partial_windows,),
            hint="You keep windows that hang over the right or lower edge. With a stride that does not divide evenly "
            "the left-over pixels are not used: L = Ho*Wo with Ho, Wo from conv_out.",
            source_of="library difference: TensorFlow's padding='SAME' fills up to a whole number of strides",
        ),
        Misconception(
            name="ignores_stride",
            code=(core.im2col__ignores_stride,),
            hint="With stride 2 you return the windows of stride 1. The step belongs into the slices: "
            "start:stop:stride.",
            source_of="student mistake: the stride used for the size only, or not at all",
        ),
    ),
)


def conv2d_cases(d):
    H, W, C, O = d.whole(5, 7), d.whole(8, 10), d.whole(2, 3), d.whole(4, 5)

    def layer(group, note, x, k, bias=True, stride=1, pad=0):
        w, b = d.normal(O, C, k, k, dtype=x.dtype), d.normal(O, dtype=x.dtype) if bias else None
        places = ((size + 2 * pad - k) // stride + 1 for size in x.shape[2:])
        more = {"dy": d.normal(len(x), O, *places, dtype=x.dtype)} if group == "gradient" else {}
        return case(group, note, x=x, w=w, b=b, stride=stride, pad=pad, **more)

    return [
        layer("plain", "3x3 filters with bias", d.normal(2, C, H, W), 3),
        layer("plain", "no bias, pad 1", d.normal(2, C, H, W), 3, bias=False, pad=1),
        layer("shapes", "stride 2 with a remainder", d.normal(3, C, 2 * H, 2 * W), 3, stride=2),
        layer(
            "shapes",
            "an x that is not contiguous, stride 3, pad 2",
            d.normal(2, W, H, C).permute(0, 3, 2, 1),
            2,
            stride=3,
            pad=2,
        ),
        layer(
            "shapes",
            "one picture, float64, stride 2",
            d.normal(1, C, H, W, dtype=torch.float64),
            3,
            bias=False,
            stride=2,
            pad=1,
        ),
        layer("edge", "1x1 filters", d.normal(2, C, H, W), 1),
        layer("edge", "filters as large as the picture", d.normal(2, C, H, H), H),
        layer("edge", "filters of the wrong depth", d.normal(1, C + 1, H, W), 3, bias=False),
        layer("gradient", "gradients, stride 2, pad 1", d.normal(2, C, H, W), 3, stride=2, pad=1),
    ]


def conv2d_gradients(ns, data):
    options = {"stride": data["stride"], "pad": data["pad"]}
    return probing.gradients(ns.conv2d, [data["x"], data["w"], data["b"]], data["dy"], **options)[1]


def conv2d_library(data):
    return F.conv2d(data["x"], data["w"], data["b"], stride=data["stride"], padding=data["pad"])


CONV2D = Exercise(
    name="conv2d",
    methods=("ch03/conv2d",),
    core=True,
    groups={"plain": 1.0, "shapes": 1.0, "edge": 0.5, "gradient": 0.5},
    cases=conv2d_cases,
    probe={"gradient": conv2d_gradients},
    oracle=conv2d_library,
    uses=("output_size", "im2col"),
    standins=(STANDINS["output_size"], STANDINS["im2col"]),
    minutes=15,
    difficulty="medium",
    good_for="every convolutional network of this book, and for reading the shape of any filter bank",
    forbid=NO_CONVOLUTION,
    hints=(
        "One filter and one window are two lists of C*k*k numbers. What is their dot product? What is the matrix of "
        "all dot products of O filters with L windows?",
        "Refuse filters of the wrong depth. Flatten every filter to a row of C*k*k numbers, multiply this (O, C*k*k) "
        "matrix by the columns of im2col, add the bias to each map if there is one, and fold L back into Ho rows of "
        "Wo.",
        "y = w.reshape(O, -1) @ im2col(x, k, stride=stride, pad=pad), of shape (N, O, L); if b is not None add "
        "b[:, None]; return y.reshape(N, O, Ho, Wo).",
    ),
    alternatives=(
        Alternative(name="einsum", code=(core.conv2d__einsum,)),
        Alternative(name="taps", code=(core.conv2d__taps,)),
    ),
    misconceptions=(
        slip(
            "flipped",
            {"w.reshape": "w.flip(2, 3).reshape"},
            "Your filters are turned by 180 degrees. A convolution layer correlates: it does not flip.",
            "card trap: convolution of mathematics; scipy.signal.convolve",
        ),
        slip(
            "ignores_stride",
            {
                "conv_out(size, k, stride=stride, ": "conv_out(size, k, ",
                "im2col(x, k, stride=stride, ": "im2col(x, k, ",
            },
            "With a stride above 1 your output equals the one of stride 1. Hand the stride on, to im2col and "
            "to conv_out.",
            "student mistake: argument accepted and not used",
        ),
        slip(
            "width_first",
            {"y.reshape(N, O, Ho, Wo)": "y.reshape(N, O, Wo, Ho)"},
            "Right only where Ho = Wo: you fold L into Wo rows of Ho. Rows come first: (N, O, Ho, Wo).",
            "library difference: PIL and OpenCV give a size as (width, height)",
        ),
        slip(
            "channels_last",
            {"w.reshape": "w.permute(0, 2, 3, 1).reshape"},
            "You flatten the filters with the channel last, but the columns of im2col have it first. Right only "
            "for k = 1 or one channel: w.reshape(O, -1) already has the order (C, k, k).",
            "library difference: Keras and JAX keep kernels as (k, k, C, O)",
        ),
        slip(
            "forgets_bias",
            {"if b is not None:": "if False:"},
            "Without a bias you are right. With one, b[o] is added to every place of map o: b[:, None] beside (O, L).",
            "student mistake: optional argument never used",
        ),
        slip(
            "no_depth_check",
            {"if depth != C:": "if False:"},
            "All numbers are right. Filters of another depth than the input must raise ValueError before the "
            "matrix product fails with an error about its own shapes.",
            "card trap: '5x5x3 filters' applied again to 6 maps; library difference: torch raises RuntimeError",
        ),
    ),
)


def max_pool2d_cases(rng):
    def case(group, x, note, gradient=False, indices=False, **options):
        data = {"x": x, "options": options | ({"return_indices": True} if indices else {})}
        if gradient:
            k, stride = options.get("k", 2), options.get("stride", options.get("k", 2))
            data["dy"] = draw(rng, *x.shape[:2], *((size - k) // stride + 1 for size in x.shape[2:]), dtype=x.dtype)
        return Case(group, data, note)

    H, W, C = between(rng, 3, 4), between(rng, 5, 6), between(rng, 2, 3)
    ties = torch.zeros(1, 2, 4, 6)
    ties[:, 1] = torch.randint(0, 2, (4, 6), generator=rng)
    return [
        case("plain", draw(rng, 2, C, 2 * H, 2 * W), "defaults"),
        case("plain", draw(rng, 1, C, 3 * H, 3 * W, dtype=torch.float64), "k = 3, float64", k=3),
        case("plain", -draw(rng, 2, C, 2 * H, 2 * W).abs() - 0.1, "every number is negative"),
        case("shapes", draw(rng, 2, C, 2 * H + 1, 2 * W + 1), "odd height and width"),
        case("shapes", draw(rng, 2, C, 2 * H + 1, 2 * W), "overlapping windows", k=3, stride=2),
        case("shapes", draw(rng, 2, W, H, C).permute(0, 3, 2, 1), "not contiguous, stride > k", k=2, stride=3),
        case("indices", draw(rng, 2, C, 2 * H, 2 * W), "with indices", indices=True),
        case("indices", draw(rng, 2, C, 2 * H + 1, 2 * W), "overlapping, with indices", indices=True, k=3, stride=2),
        case("indices", ties, "equal numbers", indices=True),
        case("edge", draw(rng, 1, C, 2, W), "a window that does not fit", k=3),
        case("edge", draw(rng, 2, C, H, W), "k = 1", k=1),
        case("gradient", draw(rng, 2, C, 2 * H + 1, 2 * W), "gradient", gradient=True, k=3, stride=2),
    ]


def probe_max_pool2d(ns, data):
    options = dict(data["options"])
    k = options.pop("k", 2)
    if "dy" not in data:
        return ns.max_pool2d(data["x"], k, **options)
    x = data["x"].detach().clone().requires_grad_()
    return torch.autograd.grad(ns.max_pool2d(x, k, **options), x, data["dy"])[0]


MAX_POOL2D = Exercise(
    name="max_pool2d",
    methods=("ch03/max_pool",),
    core=True,
    groups={"plain": 1.0, "shapes": 0.5, "indices": 0.5, "edge": 0.5, "gradient": 0.5},
    cases=max_pool2d_cases,
    probe=probe_max_pool2d,
    uses=("output_size", "im2col"),
    standins=(STANDINS["output_size"], STANDINS["im2col"]),
    minutes=20,
    difficulty="medium",
    good_for="smaller maps and some tolerance to shifts; the indices come back in the segmentation networks of "
    "chapter 5",
    forbid=Forbid(
        aten=("aten.max_pool2d*", "aten.max_pool3d*", "aten.adaptive_max_pool*"),
        names=("F.max_pool2d", "F.adaptive_max_pool2d", "nn.MaxPool2d", "nn.functional.max_pool2d", "torch.max_pool2d"),
    ),
    hints=(
        "im2col already cuts out the windows, but it mixes the channels into one column. What would it see if every "
        "map were a picture of its own, with one channel?",
        "Reshape x to (N*C, 1, H, W), take im2col with the stride, and the maximum over axis 1: it gives values and "
        "the tap 0 ... k*k-1 that won. Window number i*Wo + j begins at row stride*i, column stride*j; the tap adds "
        "tap // k rows and tap % k columns.",
        "y, tap = windows.max(dim=1); place = torch.arange(Ho*Wo); row = place // Wo * stride + tap // k; "
        "column = place % Wo * stride + tap % k; the index is row*W + column. Reshape both to (N, C, Ho, Wo).",
    ),
    alternatives=(
        Alternative(name="windows", code=(pool.max_pool2d__windows,)),
        Alternative(name="running", code=(pool.max_pool2d__running,)),
    ),
    misconceptions=(
        Misconception(
            name="starts_at_zero",
            code=(pool.max_pool2d__starts_at_zero,),
            hint="Where a whole window is negative you return 0. The maximum of (-3, -1) is -1: a running maximum "
            "starts at minus infinity or at the first number, not at 0.",
            source_of="card trap: the neutral element of max is minus infinity, not 0",
        ),
        Misconception(
            name="ceil",
            code=(pool.max_pool2d__ceil,),
            hint="For odd sizes you keep a last, incomplete window. Rows and columns that fill no window are dropped.",
            source_of="library difference: Caffe's pooling rounds up, and skimage.measure.block_reduce pads",
        ),
        Misconception(
            name="moves_by_one",
            code=(pool.max_pool2d__moves_by_one,),
            hint="Without a stride your windows move by one pixel. stride=None means stride = k: windows side by side.",
            source_of="library difference: scipy.ndimage.maximum_filter moves by one",
        ),
        Misconception(
            name="side_by_side",
            code=(pool.max_pool2d__side_by_side,),
            hint="Your windows always lie side by side. With k = 3 and stride 2 they overlap: the next one begins "
            "`stride` pixels further, not k.",
            source_of="student mistake: pooling by reshaping into k x k blocks",
        ),
        Misconception(
            name="index_in_window",
            code=(pool.max_pool2d__index_in_window,),
            hint="The values are right; your indices count within the window (0 to k*k-1). They have to name the "
            "pixel in the whole map: row*W + column.",
            source_of="student mistake: the argmax over the window handed out as it is",
        ),
        Misconception(
            name="index_with_channel",
            code=(pool.max_pool2d__index_with_channel,),
            hint="The values are right; your indices also count channels. Each map is counted for itself: row*W + "
            "column.",
            source_of="library difference: tf.nn.max_pool_with_argmax counts (row*W + column)*C + channel",
        ),
        Misconception(
            name="last_of_equals",
            code=(pool.max_pool2d__last_of_equals,),
            hint="Where several numbers of a window are equal you name the last one; the first in reading order wins.",
            source_of="student mistake: >= in the comparison with the running maximum",
        ),
    ),
)
