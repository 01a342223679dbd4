"""Right and wrong ways to write the core exercises of notebook 1, each as a student would put it into the cell."""

import torch
import torch.nn.functional as F
from einops import rearrange

from solutions.ch03_convolutional_networks.lesson_1 import conv_out, correlate2d


def correlate2d__windows(x, w, *, pad=0):
    xp = F.pad(x, (pad, pad, pad, pad))
    if w.shape[0] > xp.shape[0] or w.shape[1] > xp.shape[1]:
        raise ValueError("kernel larger than picture")
    windows = xp.unfold(0, w.shape[0], 1).unfold(1, w.shape[1], 1)
    return (windows * w).sum(dim=(2, 3))


def correlate2d__places(x, w, *, pad=0):
    kh, kw = w.shape
    xp = torch.zeros(x.shape[0] + 2 * pad, x.shape[1] + 2 * pad, dtype=x.dtype)
    xp[pad : pad + x.shape[0], pad : pad + x.shape[1]] = x
    rows, columns = xp.shape[0] - kh + 1, xp.shape[1] - kw + 1
    if rows <= 0 or columns <= 0:
        raise ValueError
    sums = [(xp[i : i + kh, j : j + kw] * w).sum() for i in range(rows) for j in range(columns)]
    return torch.stack(sums).view(rows, columns)


def convolve2d__flips_picture(x, w, *, pad=0):
    return correlate2d(x.flip((0, 1)), w, pad=pad).flip((0, 1))


def correlate2d__flipped(x, w, *, pad=0):
    xp = F.pad(x, (pad, pad, pad, pad))
    if w.shape[0] > xp.shape[0] or w.shape[1] > xp.shape[1]:
        raise ValueError("kernel larger than picture")
    windows = xp.unfold(0, w.shape[0], 1).unfold(1, w.shape[1], 1)
    return (windows * w.flip(0, 1)).sum(dim=(2, 3))


def convolve2d__after_flipped(x, w, *, pad=0):
    return correlate2d(x, w.flip(0, 1), pad=pad)


def convolve2d__never_flips(x, w, *, pad=0):
    return correlate2d(x, w, pad=pad)


def convolve2d__transposes(x, w, *, pad=0):
    return correlate2d(x, w.T, pad=pad)


def correlate2d__one_short(x, w, *, pad=0):
    xp = F.pad(x, (pad, pad, pad, pad))
    if w.shape[0] > xp.shape[0] or w.shape[1] > xp.shape[1]:
        raise ValueError("kernel larger than picture")
    windows = xp.unfold(0, w.shape[0], 1).unfold(1, w.shape[1], 1)
    return (windows * w).sum(dim=(2, 3))[:-1, :-1]


def correlate2d__repeats_border(x, w, *, pad=0):
    rows = torch.arange(-pad, x.shape[0] + pad).clamp(0, x.shape[0] - 1)
    columns = torch.arange(-pad, x.shape[1] + pad).clamp(0, x.shape[1] - 1)
    xp = x[rows][:, columns]
    if w.shape[0] > xp.shape[0] or w.shape[1] > xp.shape[1]:
        raise ValueError("kernel larger than picture")
    windows = xp.unfold(0, w.shape[0], 1).unfold(1, w.shape[1], 1)
    return (windows * w).sum(dim=(2, 3))


def correlate2d__averages(x, w, *, pad=0):
    xp = F.pad(x, (pad, pad, pad, pad))
    if w.shape[0] > xp.shape[0] or w.shape[1] > xp.shape[1]:
        raise ValueError("kernel larger than picture")
    windows = xp.unfold(0, w.shape[0], 1).unfold(1, w.shape[1], 1)
    return (windows * w).sum(dim=(2, 3)) / w.numel()


def conv_out__counts(size, k, *, stride=1, pad=0, dilation=1):
    starts = range(0, size + 2 * pad - dilation * (k - 1), stride)
    if len(starts) == 0:
        raise ValueError
    return len(starts)


def conv_out__walks(size, k, *, stride=1, pad=0, dilation=1):
    places, left = 0, -pad
    while left + dilation * (k - 1) <= size + pad - 1:
        places, left = places + 1, left + stride
    if places == 0:
        raise ValueError("no room")
    return places


def receptive_field__backwards(layers):
    r, jump = 1, 1
    for k, stride, dilation in reversed(layers):
        r = (r - 1) * stride + dilation * (k - 1) + 1
        jump *= stride
    return [r, jump]


def receptive_field__adds_up(layers):
    jumps = [1]
    for layer in layers:
        jumps.append(jumps[-1] * layer[1])
    return 1 + sum((k - 1) * d * j for (k, _, d), j in zip(layers, jumps)), jumps[-1]


def conv_out__ceil(size, k, *, stride=1, pad=0, dilation=1):
    room = size + 2 * pad - dilation * (k - 1) - 1
    if room < 0:
        raise ValueError
    return -(-room // stride) + 1


def conv_out__pads_once(size, k, *, stride=1, pad=0, dilation=1):
    room = size + pad - dilation * (k - 1) - 1
    if room < 0:
        raise ValueError
    return room // stride + 1


def conv_out__dilates_k(size, k, *, stride=1, pad=0, dilation=1):
    room = size + 2 * pad - dilation * k
    if room < 0:
        raise ValueError
    return room // stride + 1


def conv_out__never_refuses(size, k, *, stride=1, pad=0, dilation=1):
    return (size + 2 * pad - dilation * (k - 1) - 1) // stride + 1


def receptive_field__jumps_first(layers):
    r, jump = 1, 1
    for k, stride, dilation in layers:
        jump *= stride
        r += dilation * (k - 1) * jump
    return r, jump


def receptive_field__no_jump(layers):
    r, jump = 1, 1
    for k, stride, dilation in layers:
        r += dilation * (k - 1)
        jump *= stride
    return r, jump


def receptive_field__adds_k(layers):
    r, jump = 1, 1
    for k, stride, dilation in layers:
        r += dilation * k * jump
        jump *= stride
    return r, jump


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


def im2col__channels_last(x, k, *, stride=1, pad=0):
    xp = F.pad(x, (pad, pad, pad, pad))
    if min(xp.shape[2:]) < k:
        raise ValueError
    windows = xp.unfold(2, k, stride).unfold(3, k, stride)
    return rearrange(windows, "n c i j u v -> n (u v c) (i j)")


def im2col__windows_as_rows(x, k, *, stride=1, pad=0):
    xp = F.pad(x, (pad, pad, pad, pad))
    if min(xp.shape[2:]) < k:
        raise ValueError
    windows = xp.unfold(2, k, stride).unfold(3, k, stride)
    return rearrange(windows, "n c i j u v -> n (i j) (c u v)")


def im2col__down_first(x, k, *, stride=1, pad=0):
    xp = F.pad(x, (pad, pad, pad, pad))
    if min(xp.shape[2:]) < k:
        raise ValueError
    windows = xp.unfold(2, k, stride).unfold(3, k, stride)
    return rearrange(windows, "n c i j u v -> n (c u v) (j i)")


def im2col__window_turned(x, k, *, stride=1, pad=0):
    xp = F.pad(x, (pad, pad, pad, pad))
    if min(xp.shape[2:]) < k:
        raise ValueError
    windows = xp.unfold(2, k, stride).unfold(3, k, stride)
    return rearrange(windows, "n c i j u v -> n (c v u) (i j)")


def im2col__partial_windows(x, k, *, stride=1, pad=0):
    xp = F.pad(x, (pad, pad, pad, pad))
    if min(xp.shape[2:]) < k:
        raise ValueError
    xp = F.pad(xp, (0, -(xp.shape[3] - k) % stride, 0, -(xp.shape[2] - k) % stride))
    windows = xp.unfold(2, k, stride).unfold(3, k, stride)
    return rearrange(windows, "n c i j u v -> n (c u v) (i j)")


def im2col__ignores_stride(x, k, *, stride=1, pad=0):
    xp = F.pad(x, (pad, pad, pad, pad))
    if min(xp.shape[2:]) < k:
        raise ValueError
    windows = xp.unfold(2, k, 1).unfold(3, k, 1)
    return rearrange(windows, "n c i j u v -> n (c u v) (i j)")


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
