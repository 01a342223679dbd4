"""Core exercises of notebook 1: im2col and the convolution layer."""

import torch
import torch.nn.functional as F

from autograder.declare import Exercise, alternative, case, slip
from autograder.exercises.ch03_convolutional_networks.lesson_1_common import NO_CONVOLUTION, STANDINS
from dlcv_lab.checking import probing
from dlcv_lab.checking.model import Forbid
from solutions.ch03_convolutional_networks.lesson_1 import conv_out


def im2col_cases(d):
    H, W, N = d.whole(4, 6), d.whole(7, 9), d.whole(2, 3)
    double, turned = torch.float64, d.normal(N, W, H, 3).permute(0, 3, 2, 1)
    return [
        case("plain", "stride 1, no padding", x=d.normal(N, 3, H, W), k=3, stride=1, pad=0),
        case("plain", "one picture, pad 1, float64", x=d.normal(1, 2, H, W, dtype=double), k=2, stride=1, pad=1),
        case("shapes", "stride 2 with a remainder", x=d.normal(N, 2, 2 * H + 2, 2 * W), k=3, stride=2, pad=0),
        case("shapes", "stride larger than the window", x=d.normal(2, 2, 3 * H, 3 * W + 1), k=2, stride=3, pad=1),
        case("shapes", "an x that is not contiguous", x=turned, k=3, stride=1, pad=1),
        case("edge", "k = 1", x=d.normal(N, 3, H, W), k=1, stride=1, pad=0),
        case("edge", "a window as high as the picture", x=d.normal(1, 2, H, W), k=H, stride=1, pad=0),
        case("edge", "padding as wide as the window", x=d.normal(2, 2, 2, 3), k=2, stride=1, pad=2),
        case("edge", "a window that does not fit", x=d.normal(1, 1, 2, W), k=5, stride=1, pad=1),
    ]


def unfolded(data):
    return F.unfold(data["x"], data["k"], stride=data["stride"], padding=data["pad"])


def im2col__windows(x, k, *, stride=1, pad=0):
    xp = F.pad(x, (pad, pad, pad, pad))
    if min(xp.shape[2:]) < k:
        raise ValueError("window too large")
    windows = xp.unfold(2, k, stride).unfold(3, k, stride)  # (N, C, Ho, Wo, k, k)
    N, C, Ho, Wo = windows.shape[:4]
    return windows.permute(0, 1, 4, 5, 2, 3).reshape(N, C * k * k, Ho * Wo)


def im2col__places(x, k, *, stride=1, pad=0):
    N, C, H, W = x.shape
    xp = torch.zeros(N, C, H + 2 * pad, W + 2 * pad, dtype=x.dtype)
    xp[:, :, pad : pad + H, pad : pad + W] = x
    columns = []
    for i in range(0, H + 2 * pad - k + 1, stride):
        for j in range(0, W + 2 * pad - k + 1, stride):
            columns.append(xp[:, :, i : i + k, j : j + k].reshape(N, -1))
    if not columns:
        raise ValueError("window too large")
    return torch.stack(columns, dim=-1)


def im2col__gathers(x, k, *, stride=1, pad=0):
    N, C = x.shape[:2]
    Ho, Wo = conv_out(x.shape[2], k, stride=stride, pad=pad), conv_out(x.shape[3], k, stride=stride, pad=pad)
    xp = F.pad(x, (pad, pad, pad, pad))
    tap, place = torch.arange(k * k)[:, None], torch.arange(Ho * Wo)[None]
    row, column = tap // k + stride * (place // Wo), tap % k + stride * (place % Wo)
    return xp[:, :, row, column].reshape(N, C * k * k, Ho * Wo)


IM2COL = Exercise(
    name="im2col",
    methods=("ch03/conv2d",),
    core=True,
    groups={"plain": 1.0, "shapes": 1.0, "edge": 1.0},
    cases=im2col_cases,
    oracle=unfolded,
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
    alternatives=(alternative(im2col__windows), alternative(im2col__places), alternative(im2col__gathers)),
    misconceptions=(
        slip("channels_last", {"n (c tap) (i j)": "n (tap c) (i j)"},
             "The right numbers in another order: within a column, your channel varies fastest. It must vary "
             "slowest: first all k*k numbers of channel 0, then those of channel 1.",
             "library difference: tf.image.extract_patches orders a patch row, column, channel"),
        slip("windows_as_rows", {"n (c tap) (i j)": "n (i j) (c tap)"},
             "Your windows are rows: (N, L, C*k*k). Here every window is a column: swap the last two axes.",
             "library difference: tf.image.extract_patches and sklearn's extract_patches_2d put the patch last"),
        slip("down_first", {"n (c tap) (i j)": "n (c tap) (j i)"},
             "The columns are right, their order is not: you walk down the picture first. Walk along a row "
             "first, so that window (i, j) is column i*Wo + j.",
             "library difference: MATLAB's im2col walks down the columns"),
        slip("window_turned",
             {("for u in range(k)\n"
               "for v in range(k)"):
                "for v in range(k)\n"
                "for u in range(k)"},
             "Inside each window you read down first. Read it like a line of text: entry (c*k + u)*k + v is "
             "row u, column v of the window.", "library difference: MATLAB stores a window column by column"),
        slip("partial_windows",
             {"conv_out(size, k": "conv_out(size + stride - 1, k",
              "(pad, pad, pad, pad)": "(pad, pad + stride, pad, pad + stride)"},
             "You keep windows that hang over the right or lower edge. With a stride that does not divide "
             "evenly the left-over pixels are not used: L = Ho*Wo with Ho, Wo from conv_out.",
             "library difference: TensorFlow's padding='SAME' fills up to a whole number of strides"),
        slip("ignores_stride",
             {"conv_out(size, k, stride=stride, pad=pad)": "conv_out(size, k, pad=pad)",
              "u : u + stride * Ho : stride, v : v + stride * Wo : stride": "u : u + Ho, v : v + Wo"},
             "With stride 2 you return the windows of stride 1. The step belongs into the slices: start:stop:stride.",
             "student mistake: the stride used for the size only, or not at all"),
    ),
)  # fmt: skip


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
    gradients = probing.gradients(ns.conv2d, [data["x"], data["w"], data["b"]], data["dy"], **options)[1]
    return {f"gradient of {name}": gradient for name, gradient in zip("xwb", gradients)}


def convolved(data):
    return F.conv2d(data["x"], data["w"], data["b"], stride=data["stride"], padding=data["pad"])


def conv2d__einsum(x, w, b=None, *, stride=1, pad=0):
    if x.shape[1] != w.shape[1]:
        raise ValueError("depth")
    xp, k = F.pad(x, (pad, pad, pad, pad)), w.shape[-1]
    if min(xp.shape[2:]) < k:
        raise ValueError("does not fit")
    windows = xp.unfold(2, k, stride).unfold(3, k, stride)
    y = torch.einsum("ncijuv,ocuv->noij", windows, w)
    return y if b is None else y + b.view(-1, 1, 1)


def conv2d__taps(x, w, b=None, *, stride=1, pad=0):
    if x.shape[1] != w.shape[1]:
        raise ValueError("depth")
    (N, _, H, W), (O, _, k, _) = x.shape, w.shape
    Ho, Wo = (H + 2 * pad - k) // stride + 1, (W + 2 * pad - k) // stride + 1
    if H + 2 * pad < k or W + 2 * pad < k:
        raise ValueError("does not fit")
    xp = F.pad(x, (pad, pad, pad, pad))
    y = torch.zeros(N, O, Ho, Wo, dtype=x.dtype) if b is None else b.view(1, O, 1, 1).expand(N, O, Ho, Wo)
    for u in range(k):
        for v in range(k):
            seen = xp[:, :, u : u + stride * (Ho - 1) + 1 : stride, v : v + stride * (Wo - 1) + 1 : stride]
            y = y + torch.tensordot(seen, w[:, :, u, v], dims=([1], [1])).permute(0, 3, 1, 2)
    return y


CONV2D = Exercise(
    name="conv2d",
    methods=("ch03/conv2d",),
    core=True,
    groups={"plain": 1.0, "shapes": 1.0, "edge": 0.5, "gradient": 0.5},
    cases=conv2d_cases,
    probe={"gradient": conv2d_gradients},
    oracle=convolved,
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
    alternatives=(alternative(conv2d__einsum), alternative(conv2d__taps)),
    misconceptions=(
        slip("flipped", {"w.reshape": "w.flip(2, 3).reshape"},
             "Your filters are turned by 180 degrees. A convolution layer correlates: it does not flip.",
             "card trap: convolution of mathematics; scipy.signal.convolve"),
        slip("ignores_stride",
             {"conv_out(size, k, stride=stride, ": "conv_out(size, k, ",
              "im2col(x, k, stride=stride, ": "im2col(x, k, "},
             "With a stride above 1 your output equals the one of stride 1. Hand the stride on, to im2col and "
             "to conv_out.", "student mistake: argument accepted and not used"),
        slip("width_first", {"y.reshape(N, O, Ho, Wo)": "y.reshape(N, O, Wo, Ho)"},
             "Right only where Ho = Wo: you fold L into Wo rows of Ho. Rows come first: (N, O, Ho, Wo).",
             "library difference: PIL and OpenCV give a size as (width, height)"),
        slip("channels_last", {"w.reshape": "w.permute(0, 2, 3, 1).reshape"},
             "You flatten the filters with the channel last, but the columns of im2col have it first. Right "
             "only for k = 1 or one channel: w.reshape(O, -1) already has the order (C, k, k).",
             "library difference: Keras and JAX keep kernels as (k, k, C, O)"),
        slip("places_first",
             {"y.reshape(N, O, Ho, Wo)": "y.transpose(1, 2).reshape(N, O, Ho, Wo)"},
             "Your product is right, then its numbers get mixed up: (N, L, O) is reshaped into maps. Bring it "
             "to (N, O, L) first, by a transpose, not by a reshape.",
             "student mistake: view in place of a transpose"),
        slip("ignores_pad",
             {"pad=pad) for size": "pad=0) for size",
              "pad=pad)\ny": "pad=0)\ny"},
             "You do not use `pad`: the output is too small, or its border is missing. Hand it on to conv_out "
             "and to im2col.",
             "student mistake: an optional argument never used"),
        slip("forgets_bias", {"if b is not None:": "if False:"},
             "Without a bias you are right. With one, b[o] is added to every place of map o: b[:, None] beside "
             "(O, L).", "student mistake: optional argument never used"),
        slip("no_depth_check", {"if depth != C:": "if False:"},
             "All numbers are right. Filters of another depth than the input must raise ValueError before the "
             "matrix product fails with an error about its own shapes.",
             "card trap: '5x5x3 filters' applied again to 6 maps; library difference: torch raises RuntimeError"),
    ),
)  # fmt: skip
