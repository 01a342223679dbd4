"""Extra exercise of notebook 1: gradients through the convolution layer."""

import torch
import torch.nn.functional as F
from torch.nn.grad import conv2d_input, conv2d_weight

from autograder.declare import Exercise, alternative, case, slip
from autograder.exercises.ch03_convolutional_networks.lesson_1_common import NO_CONVOLUTION, STANDINS
from dlcv_lab.checking.model import Forbid


def conv2d_backward_cases(d):
    H, W, C, O = d.whole(5, 6), d.whole(7, 9), d.whole(2, 3), d.whole(4, 5)

    def backward(group, note, N, H, W, k, stride, pad, dtype=torch.float32):
        places = ((size + 2 * pad - k) // stride + 1 for size in (H, W))
        dy, x, w = (
            d.normal(N, O, *places, dtype=dtype),
            d.normal(N, C, H, W, dtype=dtype),
            d.normal(O, C, k, k, dtype=dtype),
        )
        return case(group, note, dy=dy, x=x, w=w, stride=stride, pad=pad)

    def fold(note, N, H, W, k, stride, pad):
        L = ((H + 2 * pad - k) // stride + 1) * ((W + 2 * pad - k) // stride + 1)
        return case("col2im", note, cols=d.normal(N, C * k * k, L), shape=(N, C, H, W), k=k, stride=stride, pad=pad)

    return [
        fold("overlapping windows", 2, H, W, 3, 1, 0),
        fold("stride 2 with pixels that no window saw", 2, 2 * H, 2 * W, 3, 2, 0),
        fold("pad 1", 1, H, W, 2, 1, 1),
        backward("plain", "3x3 filters", 2, H, W, 3, 1, 0),
        backward("plain", "pad 1, float64", 3, H, W, 3, 1, 1, torch.float64),
        backward("shapes", "stride 2 with pixels that no window saw", 2, 2 * H, 2 * W, 3, 2, 0),
        backward("shapes", "stride 3, pad 2", 2, H, W, 2, 3, 2),
        backward("edge", "k = 1, one picture", 1, H, W, 1, 1, 0),
    ]


def folded(data):
    return F.fold(data["cols"], data["shape"][2:], data["k"], stride=data["stride"], padding=data["pad"])


def gradients_of_torch(data):
    dy, x, w, options = data["dy"], data["x"], data["w"], {"stride": data["stride"], "padding": data["pad"]}
    return conv2d_input(x.shape, w, dy, **options), conv2d_weight(x, w.shape, dy, **options), dy.sum((0, 2, 3))


def col2im__index_add(cols, shape, k, *, stride=1, pad=0):
    N, C, H, W = shape
    Hp, Wp = H + 2 * pad, W + 2 * pad
    Wo = (Wp - k) // stride + 1
    tap, place = torch.arange(k * k)[:, None], torch.arange(cols.shape[-1])[None]
    row, column = tap // k + stride * (place // Wo), tap % k + stride * (place % Wo)
    flat = torch.zeros(N * C, Hp * Wp, dtype=cols.dtype)
    flat = flat.index_add(1, (row * Wp + column).flatten(), cols.reshape(N * C, -1))
    return flat.view(N, C, Hp, Wp)[:, :, pad : pad + H, pad : pad + W]


def conv2d_backward__taps(dy, x, w, *, stride=1, pad=0):
    k, (Ho, Wo) = w.shape[-1], dy.shape[2:]
    xp = F.pad(x, (pad, pad, pad, pad))
    dxp, dw = torch.zeros_like(xp), torch.zeros_like(w)
    for u in range(k):
        for v in range(k):
            rows, columns = slice(u, u + stride * Ho, stride), slice(v, v + stride * Wo, stride)
            dw[:, :, u, v] = torch.einsum("noij,ncij->oc", dy, xp[:, :, rows, columns])
            dxp[:, :, rows, columns] += torch.einsum("noij,oc->ncij", dy, w[:, :, u, v])
    return dxp[:, :, pad : pad + x.shape[2], pad : pad + x.shape[3]], dw, dy.sum((0, 2, 3))


def col2im__window_by_window(cols, shape, k, *, stride=1, pad=0):
    N, C, H, W = shape
    xp = F.pad(torch.zeros(shape, dtype=cols.dtype), (pad, pad, pad, pad))
    place = 0
    for i in range(0, xp.shape[2] - k + 1, stride):
        for j in range(0, xp.shape[3] - k + 1, stride):
            xp[:, :, i : i + k, j : j + k] += cols[:, :, place].reshape(N, C, k, k)
            place += 1
    return xp[:, :, pad : pad + H, pad : pad + W]


CONV2D_BACKWARD = Exercise(
    name="conv2d_backward",
    returns=("dx", "dw", "db"),
    defines=("col2im", "conv2d_backward"),
    methods=("ch03/conv_backward",),
    groups={"col2im": 2.0, "plain": 2.0, "shapes": 1.0, "edge": 1.0},
    cases=conv2d_backward_cases,
    probe={"col2im": "col2im"},
    oracle={"col2im": folded, "plain": gradients_of_torch, "shapes": gradients_of_torch, "edge": gradients_of_torch},
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
    alternatives=(alternative(col2im__index_add, conv2d_backward__taps), alternative(col2im__window_by_window)),
    misconceptions=(
        slip("overwrites", {"+= taps[u, v]": "= taps[u, v]"},
             "Where windows overlap, your col2im keeps only the last number. A pixel that was used in several "
             "windows gets the SUM of their gradients: +=, not =.", "card trap: overlaps are added, not overwritten"),
        slip("overwrites_windows",
             {"for u in range(k):": "for u in reversed(range(k)):",
              "for v in range(k):": "for v in reversed(range(k)):",
              "+= taps[u, v]": "= taps[u, v]"},
             "Where windows overlap, your col2im keeps only the last number. A pixel that was used in several "
             "windows gets the SUM of their gradients: +=, not =.",
             "card trap: overlaps are added, not overwritten; here window by window"),
        slip("one_picture",
             {"dy.sum(dim=(0, 2))": "dy[0].sum(dim=1)"},
             "db holds the first picture of the batch alone. Sum over the whole batch, too.",
             "student mistake: the batch axis indexed instead of summed"),
        slip("keeps_padding", {"return xp[:, :, pad : pad + H, pad : pad + W]": "return xp"},
             "With padding your dx is too large. The padding was no input, so its gradient is cut off: xp[:, "
             ":, pad : pad + H, pad : pad + W].", "student mistake: gradient of the padded picture returned"),
        slip("batch_mean",
             {"reshape(w.shape)": "reshape(w.shape) / len(x)",
              "dy.sum(dim=(0, 2))": "dy.sum(dim=(0, 2)) / len(x)"},
             "dw and db are too small by the number of pictures. The mean over the batch belongs to the loss, "
             "and is already inside dy; here you sum.", "student mistake: averaging twice"),
        slip("bias_mean", {"dy.sum(": "dy.mean("},
             "db is a mean in your code. The bias is added at every place of every picture, so its gradient is "
             "the SUM of dy over n and over all places.", "student mistake: the shared bias treated as one neuron's"),
        slip("flips_again", {"w.flatten(1).T": "w.flip(2, 3).flatten(1).T"},
             "dx uses a turned kernel AND col2im. The half turn appears only if you write dx as a correlation "
             "of the padded dy; the transposed matrix W^T with col2im already does it.",
             "student mistake: textbook formula 'full convolution with the flipped kernel' mixed with im2col"),
    ),
)  # fmt: skip
