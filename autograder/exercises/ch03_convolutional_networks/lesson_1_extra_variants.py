"""Right and wrong ways to write the extra exercises of notebook 1."""

import torch
import torch.nn.functional as F
from einops import rearrange

from solutions.ch03_convolutional_networks.lesson_1 import col2im, conv_out, im2col


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


def count_layer_params__bias_per_map(kind, in_shape, out_maps, k, *, bias=True):
    C, H, W = in_shape
    places = (H - k + 1) * (W - k + 1)
    weights = {"fc": places * C * H * W, "local": places * C * k * k, "conv": C * k * k}
    if kind not in weights:
        raise ValueError
    return out_maps * (weights[kind] + bias)


def count_layer_params__flat_filters(kind, in_shape, out_maps, k, *, bias=True):
    C, H, W = in_shape
    places = (H - k + 1) * (W - k + 1)
    sizes = {"fc": places * (C * H * W + bias), "local": places * (k * k + bias), "conv": k * k + bias}
    if kind not in sizes:
        raise ValueError
    return out_maps * sizes[kind]


def count_layer_params__same_size(kind, in_shape, out_maps, k, *, bias=True):
    C, H, W = in_shape
    sizes = {"fc": H * W * (C * H * W + bias), "local": H * W * (C * k * k + bias), "conv": C * k * k + bias}
    if kind not in sizes:
        raise ValueError
    return out_maps * sizes[kind]


def count_layer_params__not_shared(kind, in_shape, out_maps, k, *, bias=True):
    C, H, W = in_shape
    places = (H - k + 1) * (W - k + 1)
    sizes = {"fc": C * H * W + bias, "local": C * k * k + bias, "conv": C * k * k + bias}
    if kind not in sizes:
        raise ValueError
    return out_maps * places * sizes[kind]


def relu__zeroes_a_copy(x):
    y = x.clone()
    y[x < 0] = 0
    return y


def relu__maximum(x):
    return torch.maximum(x, torch.zeros_like(x))


def relu_backward__where(dy, x):
    return torch.where(x > 0, dy, torch.zeros_like(dy))


def relu_backward__copy(dy, x):
    dx = dy.clone()
    dx[x <= 0] = 0
    return dx


def relu_backward__multiplies(dy, x):
    return dy * (x > 0)


def relu_backward__one_at_zero(dy, x):
    return dy * (x >= 0)


def relu_backward__sign_of_dy(dy, x):
    return dy.clamp(min=0)


def relu_backward__both_signs(dy, x):
    return dy.clamp(min=0) * (x > 0)


def relu__in_place(x):
    return x.clamp_(min=0)


def relu__loses_nan(x):
    return torch.where(x > 0, x, torch.zeros_like(x))


def relu__absolute(x):
    return x.abs()


def col2im__index_add(cols, shape, k, *, stride=1, pad=0):
    N, C, H, W = shape
    Hp, Wp = H + 2 * pad, W + 2 * pad
    Wo = (Wp - k) // stride + 1
    tap, place = torch.arange(k * k)[:, None], torch.arange(cols.shape[-1])[None]
    row, column = tap // k + stride * (place // Wo), tap % k + stride * (place % Wo)
    flat = torch.zeros(N * C, Hp * Wp, dtype=cols.dtype)
    flat = flat.index_add(1, (row * Wp + column).flatten(), cols.reshape(N * C, -1))
    return flat.view(N, C, Hp, Wp)[:, :, pad : pad + H, pad : pad + W]


def col2im__window_by_window(cols, shape, k, *, stride=1, pad=0):
    N, C, H, W = shape
    xp = F.pad(torch.zeros(shape, dtype=cols.dtype), (pad, pad, pad, pad))
    place = 0
    for i in range(0, xp.shape[2] - k + 1, stride):
        for j in range(0, xp.shape[3] - k + 1, stride):
            xp[:, :, i : i + k, j : j + k] += cols[:, :, place].reshape(N, C, k, k)
            place += 1
    return xp[:, :, pad : pad + H, pad : pad + W]


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


def col2im__overwrites(cols, shape, k, *, stride=1, pad=0):
    N, C, H, W = shape
    Ho, Wo = conv_out(H, k, stride=stride, pad=pad), conv_out(W, k, stride=stride, pad=pad)
    taps = rearrange(cols, "n (c u v) (i j) -> u v n c i j", u=k, v=k, i=Ho)
    xp = torch.zeros(N, C, H + 2 * pad, W + 2 * pad, dtype=cols.dtype)
    for u in range(k):
        for v in range(k):
            xp[:, :, u : u + stride * Ho : stride, v : v + stride * Wo : stride] = taps[u, v]
    return xp[:, :, pad : pad + H, pad : pad + W]


def col2im__keeps_padding(cols, shape, k, *, stride=1, pad=0):
    N, C, H, W = shape
    Ho, Wo = conv_out(H, k, stride=stride, pad=pad), conv_out(W, k, stride=stride, pad=pad)
    taps = rearrange(cols, "n (c u v) (i j) -> u v n c i j", u=k, v=k, i=Ho)
    xp = torch.zeros(N, C, H + 2 * pad, W + 2 * pad, dtype=cols.dtype)
    for u in range(k):
        for v in range(k):
            xp[:, :, u : u + stride * Ho : stride, v : v + stride * Wo : stride] += taps[u, v]
    return xp


def conv2d_backward__batch_mean(dy, x, w, *, stride=1, pad=0):
    k, N = w.shape[-1], x.shape[0]
    cols, dy = im2col(x, k, stride=stride, pad=pad), dy.flatten(2)
    dw = torch.einsum("nol,nkl->ok", dy, cols).reshape(w.shape) / N
    dx = col2im(w.flatten(1).T @ dy, tuple(x.shape), k, stride=stride, pad=pad)
    return dx, dw, dy.sum((0, 2)) / N


def conv2d_backward__bias_mean(dy, x, w, *, stride=1, pad=0):
    k = w.shape[-1]
    cols, dy = im2col(x, k, stride=stride, pad=pad), dy.flatten(2)
    dw = torch.einsum("nol,nkl->ok", dy, cols).reshape(w.shape)
    dx = col2im(w.flatten(1).T @ dy, tuple(x.shape), k, stride=stride, pad=pad)
    return dx, dw, dy.mean((0, 2))


def conv2d_backward__flips_again(dy, x, w, *, stride=1, pad=0):
    k = w.shape[-1]
    cols, dy = im2col(x, k, stride=stride, pad=pad), dy.flatten(2)
    dw = torch.einsum("nol,nkl->ok", dy, cols).reshape(w.shape)
    dx = col2im(w.flip(2, 3).flatten(1).T @ dy, tuple(x.shape), k, stride=stride, pad=pad)
    return dx, dw, dy.sum((0, 2))


def fc_as_conv__rearranged(W, b, chw):
    C, H, _ = chw
    return rearrange(W, "o (c h w) -> o c h w", c=C, h=H), b


def fc_as_conv__row_by_row(W, b, chw):
    return torch.stack([row.view(chw) for row in W.contiguous()]), b.clone()


def fc_as_conv__channels_last(W, b, chw):
    C, H, _ = chw
    return rearrange(W, "o (h w c) -> o c h w", c=C, h=H), b


def fc_as_conv__width_first(W, b, chw):
    C, H, _ = chw
    return rearrange(W, "o (c w h) -> o c h w", c=C, h=H), b


def fc_as_conv__flipped(W, b, chw):
    return W.reshape(-1, *chw).flip(2, 3), b


def fc_as_conv__drops_bias(W, b, chw):
    return W.reshape(-1, *chw), torch.zeros_like(b)
