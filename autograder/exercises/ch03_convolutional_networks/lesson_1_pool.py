"""Core and extra exercises of notebook 1: max pooling, forward and backward."""

import torch
import torch.nn.functional as F

from autograder.declare import Exercise, alternative, case, slip
from autograder.exercises.ch03_convolutional_networks.lesson_1_common import STANDINS
from dlcv_lab.checking import probing
from dlcv_lab.checking.model import Forbid


def max_pool2d_cases(d):
    H, W, C = d.whole(3, 4), d.whole(5, 6), d.whole(2, 3)
    ties = torch.zeros(1, 2, 4, 6)
    ties[:, 1] = d.integers(0, 1, 4, 6)
    turned, odd, dy = (
        d.normal(2, W, H, C).permute(0, 3, 2, 1),
        d.normal(2, C, 2 * H + 1, 2 * W + 1),
        d.normal(2, C, H, W),
    )
    indices = {"return_indices": True}
    return [
        case("plain", "defaults", x=d.normal(2, C, 2 * H, 2 * W)),
        case("plain", "k = 3, float64", x=d.normal(1, C, 3 * H, 3 * W, dtype=torch.float64), k=3),
        case("plain", "every number is negative", x=-d.normal(2, C, 2 * H, 2 * W).abs() - 0.1),
        case("shapes", "odd height and width", x=d.normal(2, C, 2 * H + 1, 2 * W + 1)),
        case("shapes", "overlapping windows", x=d.normal(2, C, 2 * H + 1, 2 * W), k=3, stride=2),
        case("shapes", "not contiguous, stride > k", x=turned, k=2, stride=3),
        case("indices", "with indices", x=d.normal(2, C, 2 * H, 2 * W), **indices),
        case("indices", "overlapping, with indices", x=d.normal(2, C, 2 * H + 1, 2 * W), k=3, stride=2, **indices),
        case("indices", "equal numbers", x=ties, **indices),
        case("edge", "a window that does not fit", x=d.normal(1, C, 2, W), k=3),
        case("edge", "k = 1", x=d.normal(2, C, H, W), k=1),
        case("gradient", "gradient", x=odd, k=3, stride=2, dy=dy),
    ]


def max_pool2d_gradient(ns, data):
    return probing.gradients(ns.max_pool2d, [data["x"], data["k"]], data["dy"], stride=data["stride"])[1]


def pooled(data):
    return F.max_pool2d(
        data["x"], data.get("k", 2), data.get("stride"), return_indices=data.get("return_indices", False)
    )


def max_pool2d__windows(x, k=2, *, stride=None, return_indices=False):
    stride = stride or k
    H, W = x.shape[2:]
    if min(H, W) < k:
        raise ValueError("window too large")
    windows = x.unfold(2, k, stride).unfold(3, k, stride)  # (N, C, Ho, Wo, k, k)
    tap = windows.flatten(4).argmax(dim=-1)
    y = windows.flatten(4).gather(-1, tap[..., None])[..., 0]
    Ho, Wo = y.shape[2:]
    row = torch.arange(Ho)[:, None] * stride + tap // k
    column = torch.arange(Wo) * stride + tap % k
    return (y, row * W + column) if return_indices else y


def max_pool2d__running(x, k=2, *, stride=None, return_indices=False):
    stride = k if stride is None else stride
    N, C, H, W = x.shape
    Ho, Wo = (H - k) // stride + 1, (W - k) // stride + 1
    if k > H or k > W:
        raise ValueError("window too large")
    flat = torch.arange(H * W).view(H, W)
    best, where = None, None
    for u in range(k):
        for v in range(k):
            rows, columns = slice(u, u + stride * Ho, stride), slice(v, v + stride * Wo, stride)
            seen, at = x[:, :, rows, columns][:, :, :Ho, :Wo], flat[rows, columns][:Ho, :Wo].expand(N, C, Ho, Wo)
            if best is None:
                best, where = seen, at
            else:
                where = torch.where(seen > best, at, where)
                best = torch.where(seen > best, seen, best)
    return (best, where.contiguous()) if return_indices else best


MAX_POOL2D = Exercise(
    name="max_pool2d",
    returns=("y", "indices"),
    methods=("ch03/max_pool",),
    core=True,
    groups={"plain": 1.0, "shapes": 0.5, "indices": 0.5, "edge": 0.5, "gradient": 0.5},
    cases=max_pool2d_cases,
    probe={"gradient": max_pool2d_gradient},
    oracle=pooled,
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
    alternatives=(alternative(max_pool2d__windows), alternative(max_pool2d__running)),
    misconceptions=(
        slip("starts_at_zero",
             {"y, tap = windows.max(dim=1)":
                "y, tap = windows.max(dim=1)\n"
                "y = y.clamp(min=0)"},
             "Where a whole window is negative you return 0. The maximum of (-3, -1) is -1: a running maximum "
             "starts at minus infinity or at the first number, not at 0.",
             "card trap: the neutral element of max is minus infinity, not 0"),
        slip("ceil",
             {"conv_out(size, k": "conv_out(size + (k - size) % stride, k",
              "windows = im2col(x.reshape(N * C, 1, H, W)":
                "\n"
                "                    hanging = (0, (k - W) % stride, 0, (k - H) % stride)\n"
                "                    windows = im2col(F.pad(x.reshape(N * C, 1, H, W), hanging, value=-torch.inf)"},
             "For odd sizes you keep a last, incomplete window. Rows and columns that fill no window are dropped.",
             "library difference: Caffe's pooling rounds up, and skimage.measure.block_reduce pads"),
        slip("moves_by_one", {"stride = k if": "stride = 1 if"},
             "Without a stride your windows move by one pixel. stride=None means stride = k: windows side by side.",
             "library difference: scipy.ndimage.maximum_filter moves by one"),
        slip("side_by_side", {"stride = k if stride is None else stride": "stride = k"},
             "Your windows always lie side by side. With k = 3 and stride 2 they overlap: the next one begins "
             "`stride` pixels further, not k.", "student mistake: pooling by reshaping into k x k blocks"),
        slip("channels_as_windows",
             {"windows = im2col(x.reshape(N * C, 1, H, W), k, stride=stride)":
              "windows = im2col(x, k, stride=stride).reshape(N, k * k, C, -1)\n"
              "windows = windows.transpose(1, 2).reshape(N * C, k * k, -1)"},
             "You mix up channels and windows. In a column of im2col the channel varies slowest: it is (C, "
             "k*k), not (k*k, C).",
             "student mistake: the two axes of a reshape exchanged"),
        slip("row_times_height",
             {"row * W": "row * H"},
             "Your index multiplies the row by the height. In reading order a row holds W numbers: row*W + "
             "column.",
             "student mistake: height and width exchanged"),
        slip("averages",
             {"y, tap = windows.max(dim=1)":
              "y, tap = windows.mean(dim=1), windows.argmax(dim=1)"},
             "You take the mean of each window. Max pooling keeps the largest number.",
             "library difference: F.avg_pool2d"),
        slip("index_in_window", {"row * W + column": "tap"},
             "The values are right; your indices count within the window (0 to k*k-1). They have to name the "
             "pixel in the whole map: row*W + column.",
             "student mistake: the argmax over the window handed out as it is"),
        slip("index_with_channel", {"(y, indices) if": "(y, indices * C + torch.arange(C)[:, None, None]) if"},
             "The values are right; your indices also count channels. Each map is counted for itself: row*W + column.",
             "library difference: tf.nn.max_pool_with_argmax counts (row*W + column)*C + channel"),
        slip("last_of_equals",
             {"y, tap = windows.max(dim=1)":
                "y, tap = windows.flip(1).max(dim=1)\n"
                "tap = k * k - 1 - tap"},
             "Where several numbers of a window are equal you name the last one; the first in reading order wins.",
             "student mistake: >= in the comparison with the running maximum"),
    ),
)  # fmt: skip


def max_pool2d_backward_cases(d):
    def pool(group, note, x, k, stride):
        y, indices = F.max_pool2d(x, k, stride, return_indices=True)
        return case(group, note, dy=d.normal(*y.shape, dtype=x.dtype), indices=indices, in_shape=tuple(x.shape))

    H, W, C = d.whole(2, 3), d.whole(4, 5), d.whole(2, 3)
    peak = torch.zeros(1, 1, 5, 7)
    peak[:, :, 2, 4] = 1.0
    return [
        pool("plain", "windows side by side", d.normal(2, C, 2 * H, 2 * W), 2, 2),
        pool("plain", "odd sizes, float64", d.normal(1, C, 2 * H + 1, 2 * W + 1, dtype=torch.float64), 2, 2),
        pool("overlap", "overlapping windows", d.normal(2, C, 2 * H + 3, 2 * W + 1), 3, 1),
        pool("overlap", "one pixel wins several windows", peak, 3, 2),
    ]


def max_pool2d_backward__index_add(dy, indices, in_shape):
    N, C, H, W = in_shape
    plane = torch.arange(N * C).view(N, C, 1, 1) * (H * W)
    dx = torch.zeros(N * C * H * W, dtype=dy.dtype)
    return dx.index_add(0, (plane + indices).flatten(), dy.flatten()).view(N, C, H, W)


def max_pool2d_backward__one_hot(dy, indices, in_shape):
    N, C, H, W = in_shape
    winners = F.one_hot(indices.flatten(2), H * W).to(dy.dtype)  # (N, C, L, H W)
    return torch.einsum("ncl,nclp->ncp", dy.flatten(2), winners).reshape(N, C, H, W)


MAX_POOL2D_BACKWARD = Exercise(
    name="max_pool2d_backward",
    methods=("ch03/max_pool",),
    groups={"plain": 1.0, "overlap": 1.0},
    cases=max_pool2d_backward_cases,
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
    alternatives=(alternative(max_pool2d_backward__index_add), alternative(max_pool2d_backward__one_hot)),
    misconceptions=(
        slip("overwrites", {"dx.scatter_add_(": "dx.scatter_("},
             "With overlapping windows one pixel can win several times; you keep only the last gradient. Add them.",
             "library difference: F.max_unpool2d overwrites"),
        slip("averages",
             {"dx.scatter_add_(2, indices.flatten(2), dy.flatten(2))":
                "dx.scatter_reduce_(2, indices.flatten(2), dy.flatten(2), 'mean', include_self=False)"},
             "A pixel that wins several windows gets the SUM of their gradients, not the mean.",
             "student mistake: mean instead of sum over the paths of the chain rule"),
        slip("columns_first", {"dx.reshape(N, C, H, W)": "dx.reshape(N, C, W, H).transpose(2, 3)"},
             "Right only for square maps: an index counts row by row, index = row*W + column.",
             "library difference: MATLAB's linear indices run down the columns"),
        slip("one_plane",
             {"dx.scatter_add_(2, indices.flatten(2), dy.flatten(2))":
                "dx.view(-1).index_add_(0, indices.flatten(), dy.flatten())"},
             "All gradients land in the first map of the first picture. Indices count within their own map.",
             "student mistake: flat index applied to the whole batch"),
    ),
)  # fmt: skip
