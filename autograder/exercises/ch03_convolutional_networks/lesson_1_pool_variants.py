"""Right and wrong ways to write `max_pool2d` and its backward pass, and stand-ins for what the exercises use."""

import torch
import torch.nn.functional as F

from solutions.ch03_convolutional_networks.lesson_1 import conv_out, im2col


def conv_out__standin(size, k, *, stride=1, pad=0, dilation=1):
    try:
        window = dilation * (k - 1) + 1
        return F.avg_pool1d(torch.zeros(1, 1, size + 2 * pad), window, stride).shape[-1]
    except RuntimeError as error:
        raise ValueError(str(error)) from None


def im2col__standin(x, k, *, stride=1, pad=0):
    try:
        return F.unfold(x, k, padding=pad, stride=stride)
    except RuntimeError as error:
        raise ValueError(str(error)) from None


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


def max_pool2d__starts_at_zero(x, k=2, *, stride=None, return_indices=False):
    N, C, H, W = x.shape
    stride = k if stride is None else stride
    Ho, Wo = conv_out(H, k, stride=stride), conv_out(W, k, stride=stride)
    windows = im2col(x.reshape(N * C, 1, H, W), k, stride=stride)
    y, tap = windows.max(dim=1)
    y = y.clamp(min=0)
    place = torch.arange(Ho * Wo)
    indices = (place // Wo * stride + tap // k) * W + place % Wo * stride + tap % k
    y, indices = y.reshape(N, C, Ho, Wo), indices.reshape(N, C, Ho, Wo)
    return (y, indices) if return_indices else y


def max_pool2d__ceil(x, k=2, *, stride=None, return_indices=False):
    if min(x.shape[2:]) < k:
        raise ValueError
    stride = k if stride is None else stride
    N, C, H, W = x.shape
    xp = F.pad(x, (0, -(W - k) % stride, 0, -(H - k) % stride), value=-torch.inf)
    Ho, Wo = (xp.shape[2] - k) // stride + 1, (xp.shape[3] - k) // stride + 1
    y, tap = im2col(xp.reshape(N * C, 1, *xp.shape[2:]), k, stride=stride).max(dim=1)
    place = torch.arange(Ho * Wo)
    indices = (place // Wo * stride + tap // k) * W + place % Wo * stride + tap % k
    y, indices = y.reshape(N, C, Ho, Wo), indices.reshape(N, C, Ho, Wo)
    return (y, indices) if return_indices else y


def max_pool2d__moves_by_one(x, k=2, *, stride=None, return_indices=False):
    N, C, H, W = x.shape
    stride = 1 if stride is None else stride
    Ho, Wo = conv_out(H, k, stride=stride), conv_out(W, k, stride=stride)
    y, tap = im2col(x.reshape(N * C, 1, H, W), k, stride=stride).max(dim=1)
    place = torch.arange(Ho * Wo)
    indices = (place // Wo * stride + tap // k) * W + place % Wo * stride + tap % k
    y, indices = y.reshape(N, C, Ho, Wo), indices.reshape(N, C, Ho, Wo)
    return (y, indices) if return_indices else y


def max_pool2d__side_by_side(x, k=2, *, stride=None, return_indices=False):
    N, C, H, W = x.shape
    Ho, Wo = conv_out(H, k, stride=k), conv_out(W, k, stride=k)
    y, tap = im2col(x.reshape(N * C, 1, H, W), k, stride=k).max(dim=1)
    place = torch.arange(Ho * Wo)
    indices = (place // Wo * k + tap // k) * W + place % Wo * k + tap % k
    y, indices = y.reshape(N, C, Ho, Wo), indices.reshape(N, C, Ho, Wo)
    return (y, indices) if return_indices else y


def max_pool2d__index_in_window(x, k=2, *, stride=None, return_indices=False):
    N, C, H, W = x.shape
    stride = k if stride is None else stride
    Ho, Wo = conv_out(H, k, stride=stride), conv_out(W, k, stride=stride)
    y, tap = im2col(x.reshape(N * C, 1, H, W), k, stride=stride).max(dim=1)
    y, tap = y.reshape(N, C, Ho, Wo), tap.reshape(N, C, Ho, Wo)
    return (y, tap) if return_indices else y


def max_pool2d__index_with_channel(x, k=2, *, stride=None, return_indices=False):
    N, C, H, W = x.shape
    stride = k if stride is None else stride
    Ho, Wo = conv_out(H, k, stride=stride), conv_out(W, k, stride=stride)
    y, tap = im2col(x.reshape(N * C, 1, H, W), k, stride=stride).max(dim=1)
    place = torch.arange(Ho * Wo)
    indices = (place // Wo * stride + tap // k) * W + place % Wo * stride + tap % k
    y, indices = y.reshape(N, C, Ho, Wo), indices.reshape(N, C, Ho, Wo) * C + torch.arange(C)[:, None, None]
    return (y, indices) if return_indices else y


def max_pool2d__last_of_equals(x, k=2, *, stride=None, return_indices=False):
    N, C, H, W = x.shape
    stride = k if stride is None else stride
    Ho, Wo = conv_out(H, k, stride=stride), conv_out(W, k, stride=stride)
    y, tap = im2col(x.reshape(N * C, 1, H, W), k, stride=stride).flip(1).max(dim=1)
    tap, place = k * k - 1 - tap, torch.arange(Ho * Wo)
    indices = (place // Wo * stride + tap // k) * W + place % Wo * stride + tap % k
    y, indices = y.reshape(N, C, Ho, Wo), indices.reshape(N, C, Ho, Wo)
    return (y, indices) if return_indices else y


def max_pool2d_backward__index_add(dy, indices, in_shape):
    N, C, H, W = in_shape
    plane = torch.arange(N * C).view(N, C, 1, 1) * (H * W)
    dx = torch.zeros(N * C * H * W, dtype=dy.dtype)
    return dx.index_add(0, (plane + indices).flatten(), dy.flatten()).view(N, C, H, W)


def max_pool2d_backward__one_hot(dy, indices, in_shape):
    N, C, H, W = in_shape
    winners = F.one_hot(indices.flatten(2), H * W).to(dy.dtype)  # (N, C, L, H W)
    return torch.einsum("ncl,nclp->ncp", dy.flatten(2), winners).reshape(N, C, H, W)


def max_pool2d_backward__overwrites(dy, indices, in_shape):
    N, C, H, W = in_shape
    dx = torch.zeros(N * C, H * W, dtype=dy.dtype)
    planes, places = dy.reshape(N * C, -1), indices.reshape(N * C, -1)
    for at in range(planes.shape[1]):
        dx[torch.arange(N * C), places[:, at]] = planes[:, at]
    return dx.reshape(N, C, H, W)


def max_pool2d_backward__averages(dy, indices, in_shape):
    N, C, H, W = in_shape
    dx = torch.zeros(N, C, H * W, dtype=dy.dtype)
    dx = dx.scatter_reduce(2, indices.flatten(2), dy.flatten(2), "mean", include_self=False)
    return dx.reshape(N, C, H, W)


def max_pool2d_backward__columns_first(dy, indices, in_shape):
    N, C, H, W = in_shape
    dx = torch.zeros(N, C, H * W, dtype=dy.dtype)
    dx = dx.scatter_add(2, indices.flatten(2), dy.flatten(2))
    return dx.reshape(N, C, W, H).transpose(2, 3)


def max_pool2d_backward__one_plane(dy, indices, in_shape):
    N, C, H, W = in_shape
    dx = torch.zeros(N * C * H * W, dtype=dy.dtype)
    return dx.index_add(0, indices.flatten(), dy.flatten()).view(N, C, H, W)
