"""Extra exercises of notebook 1 about gradients: through the convolution layer and through max pooling."""

import torch

from autograder.declare.exercise import Alternative, Exercise, Misconception
from autograder.exercises.ch03_convolutional_networks import lesson_1_extra_variants as extra
from autograder.exercises.ch03_convolutional_networks import lesson_1_pool_variants as pool
from autograder.exercises.ch03_convolutional_networks.lesson_1_common import NO_CONVOLUTION, STANDINS, between, draw
from dlcv_lab.checking.model import Case, Forbid


def conv2d_backward_cases(rng):
    def backward(group, N, C, O, H, W, k, stride, pad, note, dtype=torch.float32):
        Ho, Wo = ((size + 2 * pad - k) // stride + 1 for size in (H, W))
        dy, x = draw(rng, N, O, Ho, Wo, dtype=dtype), draw(rng, N, C, H, W, dtype=dtype)
        data = {"dy": dy, "x": x, "w": draw(rng, O, C, k, k, dtype=dtype), "stride": stride, "pad": pad}
        return Case(group, data, note)

    def fold(N, C, H, W, k, stride, pad, note):
        L = ((H + 2 * pad - k) // stride + 1) * ((W + 2 * pad - k) // stride + 1)
        data = {"cols": draw(rng, N, C * k * k, L), "shape": (N, C, H, W), "k": k, "stride": stride, "pad": pad}
        return Case("col2im", data, note)

    H, W, C, O = between(rng, 5, 6), between(rng, 7, 9), between(rng, 2, 3), between(rng, 4, 5)
    return [
        fold(2, C, H, W, 3, 1, 0, "overlapping windows"),
        fold(2, C, 2 * H, 2 * W, 3, 2, 0, "stride 2 with pixels that no window saw"),
        fold(1, C, H, W, 2, 1, 1, "pad 1"),
        backward("plain", 2, C, O, H, W, 3, 1, 0, "3x3 filters"),
        backward("plain", 3, C, O, H, W, 3, 1, 1, "pad 1, float64", torch.float64),
        backward("shapes", 2, C, O, 2 * H, 2 * W, 3, 2, 0, "stride 2 with pixels that no window saw"),
        backward("shapes", 2, C, O, H, W, 2, 3, 2, "stride 3, pad 2"),
        backward("edge", 1, C, O, H, W, 1, 1, 0, "k = 1, one picture"),
    ]


def probe_conv2d_backward(ns, data):
    stride, pad = data["stride"], data["pad"]
    if "cols" in data:
        return ns.col2im(data["cols"], tuple(data["shape"]), data["k"], stride=stride, pad=pad)
    return ns.conv2d_backward(data["dy"], data["x"], data["w"], stride=stride, pad=pad)


CONV2D_BACKWARD = Exercise(
    name="conv2d_backward",
    defines=("col2im", "conv2d_backward"),
    methods=("ch03/conv_backward",),
    groups={"col2im": 2.0, "plain": 2.0, "shapes": 1.0, "edge": 1.0},
    cases=conv2d_backward_cases,
    probe=probe_conv2d_backward,
    uses=("output_size", "im2col"),
    standins=(STANDINS["output_size"], STANDINS["im2col"]),
    minutes=35,
    difficulty="hard",
    good_for="knowing what training does to a filter, and meeting the transposed convolution of chapter 5 early",
    forbid=Forbid(
        aten=("aten.col2im*", *NO_CONVOLUTION.aten),
        names=("F.fold", "nn.Fold", "torch.nn.grad", "nn.grad", "torch.autograd", "F.conv_transpose2d", "F.conv2d"),
    ),
    hints=(
        "Forward is Y = W @ cols, a linear layer. What are the gradients of a matrix product with respect to its two "
        "factors? And a pixel that was copied into nine columns: what is its gradient?",
        "With dY of shape (N, O, L): dW is the sum over n of dY @ cols^T, db the sum of dY over n and L, dcols = W^T "
        "@ dY. col2im runs the loop of im2col backwards: for every tap, ADD the tap's numbers to the slice they came "
        "from in a zero picture of the padded size; cut the padding off at the end.",
        'taps = rearrange(cols, "n (c u v) (i j) -> u v n c i j", u=k, v=k, i=Ho); xp[same slice as in im2col] += '
        'taps[u, v]. dw = torch.einsum("nol,nkl->ok", dy, cols).reshape(w.shape).',
    ),
    alternatives=(
        Alternative(name="index_add", code=(extra.col2im__index_add, extra.conv2d_backward__taps)),
        Alternative(name="window_by_window", code=(extra.col2im__window_by_window,)),
    ),
    misconceptions=(
        Misconception(
            name="overwrites",
            code=(extra.col2im__overwrites,),
            hint="Where windows overlap, your col2im keeps only the last number. A pixel that was used in several "
            "windows gets the SUM of their gradients: +=, not =.",
            source_of="card trap: overlaps are added, not overwritten",
        ),
        Misconception(
            name="keeps_padding",
            code=(extra.col2im__keeps_padding,),
            hint="With padding your dx is too large. The padding was no input, so its gradient is cut off: "
            "xp[:, :, pad : pad + H, pad : pad + W].",
            source_of="student mistake: gradient of the padded picture returned",
        ),
        Misconception(
            name="batch_mean",
            code=(extra.conv2d_backward__batch_mean,),
            hint="dw and db are too small by the number of pictures. The mean over the batch belongs to the loss, "
            "and is already inside dy; here you sum.",
            source_of="student mistake: averaging twice",
        ),
        Misconception(
            name="bias_mean",
            code=(extra.conv2d_backward__bias_mean,),
            hint="db is a mean in your code. The bias is added at every place of every picture, so its gradient is "
            "the SUM of dy over n and over all places.",
            source_of="student mistake: the shared bias treated as one neuron's",
        ),
        Misconception(
            name="flips_again",
            code=(extra.conv2d_backward__flips_again,),
            hint="dx uses a turned kernel AND col2im. The half turn appears only if you write dx as a correlation of "
            "the padded dy; the transposed matrix W^T with col2im already does it.",
            source_of="student mistake: textbook formula 'full convolution with the flipped kernel' mixed with im2col",
        ),
    ),
)


def max_pool2d_backward_cases(rng):
    def case(group, N, C, H, W, k, stride, note, x=None, dtype=torch.float32):
        x = draw(rng, N, C, H, W, dtype=dtype) if x is None else x
        y, indices = torch.nn.functional.max_pool2d(x, k, stride, return_indices=True)
        data = {"dy": draw(rng, *y.shape, dtype=dtype), "indices": indices, "in_shape": tuple(x.shape)}
        return Case(group, data, note)

    H, W, C = between(rng, 2, 3), between(rng, 4, 5), between(rng, 2, 3)
    peak = torch.zeros(1, 1, 5, 7)
    peak[:, :, 2, 4] = 1.0
    return [
        case("plain", 2, C, 2 * H, 2 * W, 2, 2, "windows side by side"),
        case("plain", 1, C, 2 * H + 1, 2 * W + 1, 2, 2, "odd sizes, float64", dtype=torch.float64),
        case("overlap", 2, C, 2 * H + 3, 2 * W + 1, 3, 1, "overlapping windows"),
        case("overlap", 1, 1, 5, 7, 3, 2, "one pixel wins several windows", x=peak),
    ]


def probe_max_pool2d_backward(ns, data):
    return ns.max_pool2d_backward(data["dy"], data["indices"], tuple(data["in_shape"]))


MAX_POOL2D_BACKWARD = Exercise(
    name="max_pool2d_backward",
    methods=("ch03/max_pool",),
    groups={"plain": 1.0, "overlap": 1.0},
    cases=max_pool2d_backward_cases,
    probe=probe_max_pool2d_backward,
    minutes=10,
    difficulty="medium",
    good_for="seeing that pooling is a switch: the gradient goes to the winner and nowhere else",
    forbid=Forbid(
        aten=("aten.max_pool2d*", "aten.max_unpool2d*"), names=("F.max_unpool2d", "nn.MaxUnpool2d", "torch.autograd")
    ),
    hints=(
        "If a pixel that did not win changes a little, how does the output change?",
        "Begin with zeros of shape (N, C, H*W); an index already counts in that last axis. One pixel can win in "
        "several windows: its gradients add up.",
        "dx.scatter_add_(2, indices.flatten(2), dy.flatten(2)), then reshape to (N, C, H, W).",
    ),
    alternatives=(
        Alternative(name="index_add", code=(pool.max_pool2d_backward__index_add,)),
        Alternative(name="one_hot", code=(pool.max_pool2d_backward__one_hot,)),
    ),
    misconceptions=(
        Misconception(
            name="overwrites",
            code=(pool.max_pool2d_backward__overwrites,),
            hint="With overlapping windows one pixel can win several times; you keep only the last gradient. Add them.",
            source_of="library difference: F.max_unpool2d overwrites",
        ),
        Misconception(
            name="averages",
            code=(pool.max_pool2d_backward__averages,),
            hint="A pixel that wins several windows gets the SUM of their gradients, not the mean.",
            source_of="student mistake: mean instead of sum over the paths of the chain rule",
        ),
        Misconception(
            name="columns_first",
            code=(pool.max_pool2d_backward__columns_first,),
            hint="Right only for square maps: an index counts row by row, index = row*W + column.",
            source_of="library difference: MATLAB's linear indices run down the columns",
        ),
        Misconception(
            name="one_plane",
            code=(pool.max_pool2d_backward__one_plane,),
            hint="All gradients land in the first map of the first picture. Indices count within their own map.",
            source_of="student mistake: flat index applied to the whole batch",
        ),
    ),
)
