"""Convolution, pooling and the fully connected layer, from nothing but slices, sums and one matrix product.

Notebook 1 of chapter 3. Axes: N pictures, C channels, H rows, W columns, O output maps, k kernel side, L places.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor


def count_layer_params(kind: str, in_shape: tuple[int, int, int], out_maps: int, k: int, *, bias: bool = True) -> int:
    """Count the trainable numbers of a layer that turns a picture into `out_maps` maps.

    All three kinds have the same output: maps of size (H - k + 1, W - k + 1), as from a k x k window that stays
    inside the picture. So they have the same number of output neurons, O * Ho * Wo, and differ in what is connected.

    Args:
        kind: "fc" (every neuron sees all C*H*W inputs), "local" (every neuron sees its own C x k x k window and has
            its own weights) or "conv" (as "local", but all neurons of one map use the same weights).
        in_shape: (C, H, W) of the input.
        out_maps: O, the number of maps.
        k: side of the window.
        bias: whether biases are counted: one per neuron for "fc" and "local", one per map for "conv".

    Raises:
        ValueError: `kind` is none of the three.
    """
    ### BEGIN SOLUTION
    C, H, W = in_shape
    neurons = out_maps * (H - k + 1) * (W - k + 1)
    if kind == "fc":
        return neurons * (C * H * W + bias)
    if kind == "local":
        return neurons * (C * k * k + bias)
    if kind == "conv":
        return out_maps * (C * k * k + bias)
    raise ValueError(f"kind must be 'fc', 'local' or 'conv', not {kind!r}")
    ### END SOLUTION


def locally_connected(
    x: Float[Tensor, "N C H W"], w: Float[Tensor, "O Ho Wo C k k"], b: Float[Tensor, "O Ho Wo"]
) -> Float[Tensor, "N O Ho Wo"]:
    """Give every place (i, j) of every map its own small neuron, which sees only the k x k window starting there.

    y[n, o, i, j] = b[o, i, j] + sum over c, u, v of w[o, i, j, c, u, v] * x[n, c, i + u, j + v].
    Ho = H - k + 1 and Wo = W - k + 1 follow from the shapes; stride 1, no padding.
    """
    _, Ho, Wo, _, k, _ = w.shape
    rows = []
    for i in range(Ho):
        for j in range(Wo):
            window = x[:, :, i : i + k, j : j + k]  # (N, C, k, k)
            rows.append(torch.einsum("ncuv,ocuv->no", window, w[:, i, j]) + b[:, i, j])
    return rearrange(torch.stack(rows), "(i j) n o -> n o i j", i=Ho)


def conv_matrix(w: Float[Tensor, "k k"], H: int, W: int) -> Float[Tensor, "L HW"]:
    """Write the sliding of one kernel over an H x W picture as a matrix: y.flatten() = A @ x.flatten().

    Each of the Ho*Wo rows holds the same k*k numbers, moved to the window that this output sees (stride 1, no padding).
    """
    k = w.shape[0]
    Ho, Wo = H - k + 1, W - k + 1
    A = w.new_zeros(Ho, Wo, H, W)  # one picture-sized sheet of weights per output
    for i in range(Ho):
        for j in range(Wo):
            A[i, j, i : i + k, j : j + k] = w
    return A.reshape(Ho * Wo, H * W)


def equivariance_gap(f, x: Float[Tensor, "N C H W"], dy: int, dx: int) -> float:
    """Measure how far `f` is from commuting with a shift: max |f(shift(x)) - shift(f(x))|.

    The shift moves everything `dy` rows down and `dx` columns right; what leaves the picture re-enters on the other
    side. `f` maps (N, C, H, W) to (N, O, H, W).
    """
    shifted_first = f(x.roll((dy, dx), dims=(2, 3)))
    shifted_last = f(x).roll((dy, dx), dims=(2, 3))
    return (shifted_first - shifted_last).abs().max().item()


def correlate2d(x: Float[Tensor, "H W"], w: Float[Tensor, "kh kw"], *, pad: int = 0) -> Float[Tensor, "Ho Wo"]:
    """Slide the kernel over the picture; at every place multiply what lies on top of each other, and add.

    y[i, j] = sum over u, v of w[u, v] * xp[i + u, j + v], where xp is `x` with `pad` rows and columns of zeros added
    on each of its four sides. The kernel is not flipped, and it never leaves xp.
    Loop over the kh*kw entries of the KERNEL, and treat the whole picture at once in each turn.

    Returns:
        y of shape (H + 2*pad - kh + 1, W + 2*pad - kw + 1). An integer picture with a float kernel gives floats.

    Raises:
        ValueError: the kernel is higher or wider than xp.
    """
    ### BEGIN SOLUTION
    (H, W), (kh, kw) = x.shape, w.shape
    Ho, Wo = H + 2 * pad - kh + 1, W + 2 * pad - kw + 1
    if Ho < 1 or Wo < 1:
        raise ValueError(f"a {kh}x{kw} kernel does not fit into {H}x{W} with padding {pad}")
    xp = F.pad(x, (pad, pad, pad, pad))
    y = torch.zeros(Ho, Wo, dtype=torch.result_type(x, w), device=x.device)
    for u in range(kh):
        for v in range(kw):
            y = y + w[u, v] * xp[u : u + Ho, v : v + Wo]
    return y
    ### END SOLUTION


def convolve2d(x: Float[Tensor, "H W"], w: Float[Tensor, "kh kw"], *, pad: int = 0) -> Float[Tensor, "Ho Wo"]:
    """Convolve in the sense of mathematics: as `correlate2d`, with the kernel turned by 180 degrees first.

    y[i, j] = sum over u, v of w[kh - 1 - u, kw - 1 - v] * xp[i + u, j + v]. Shapes and errors as in `correlate2d`.
    """
    ### BEGIN SOLUTION
    return correlate2d(x, w.flip(0, 1), pad=pad)
    ### END SOLUTION


def is_separable(w: Float[Tensor, "kh kw"], *, tol: float = 1e-6) -> bool:
    """Say whether `w` is one column times one row, so that two 1-D passes do the work of the 2-D one.

    That is so exactly when the matrix has rank one: its second singular value is at most `tol` times the first.
    """
    s = torch.linalg.svdvals(w)
    return bool((s[1:] <= tol * s[0]).all())


def conv_out(size: int, k: int, *, stride: int = 1, pad: int = 0, dilation: int = 1) -> int:
    """Predict the number of places at which a window fits, along one axis.

    The input has `size` pixels, and `pad` more on BOTH ends. The window has k taps, `dilation` pixels from one tap to
    the next. It starts at the left end, moves on by `stride`, and never hangs over the right end: pixels that are left
    over there are not used.

    Raises:
        ValueError: the window does not fit even once.
    """
    ### BEGIN SOLUTION
    room = size + 2 * pad - dilation * (k - 1) - 1  # how far the window can move
    if room < 0:
        raise ValueError(f"a window of {k} taps (dilation {dilation}) does not fit into {size} + 2*{pad} pixels")
    return room // stride + 1
    ### END SOLUTION


def receptive_field(layers: list[tuple[int, int, int]]) -> tuple[int, int]:
    """Tell how many input pixels, along one axis, reach a neuron of the last layer, and how far its neighbour's start.

    Args:
        layers: (k, stride, dilation) of each convolution or pooling layer, the first layer first.

    Returns:
        (r, jump), both in input pixels: r is the width of what one neuron of the last layer sees, jump the distance
        between the places that two neighbouring neurons of it see. No layers at all: (1, 1), a pixel sees itself.
    """
    ### BEGIN SOLUTION
    r, jump = 1, 1
    for k, stride, dilation in layers:
        r += dilation * (k - 1) * jump  # taps of this layer are dilation * jump input pixels apart
        jump *= stride
    return r, jump
    ### END SOLUTION


def im2col(x: Float[Tensor, "N C H W"], k: int, *, stride: int = 1, pad: int = 0) -> Float[Tensor, "N Ckk L"]:
    """Copy every k x k window of every picture into a column.

    `pad` rows and columns of zeros are added on each side first. Windows start at the top left and move by `stride`,
    along a row first, then to the next row; only windows that lie inside the padded picture count.

    Returns:
        cols of shape (N, C*k*k, L), L = Ho*Wo windows. Within a column the channel varies slowest, then the row
        within the window, then the column: entry (c*k + u)*k + v of column i*Wo + j is
        xp[n, c, stride*i + u, stride*j + v].

    Raises:
        ValueError: the window does not fit into the padded picture.
    """
    ### BEGIN SOLUTION
    Ho, Wo = (conv_out(size, k, stride=stride, pad=pad) for size in x.shape[2:])
    xp = F.pad(x, (pad, pad, pad, pad))
    taps = [
        xp[:, :, u : u + stride * Ho : stride, v : v + stride * Wo : stride]  # (N, C, Ho, Wo)
        for u in range(k)
        for v in range(k)
    ]
    return rearrange(torch.stack(taps), "tap n c i j -> n (c tap) (i j)")
    ### END SOLUTION


def conv2d(
    x: Float[Tensor, "N C H W"],
    w: Float[Tensor, "O C k k"],
    b: Float[Tensor, "O"] | None = None,
    *,
    stride: int = 1,
    pad: int = 0,
) -> Float[Tensor, "N O Ho Wo"]:
    """Apply a convolution layer: O filters, each as deep as the input, each giving one map.

    y[n, o, i, j] = b[o] + sum over c, u, v of w[o, c, u, v] * xp[n, c, stride*i + u, stride*j + v], where xp is `x`
    with `pad` zeros on each side. Kernels are square and not flipped. `b=None` means no bias.
    Ho = conv_out(H, k, stride=stride, pad=pad), and Wo likewise. Use `im2col` and one matrix product.

    Raises:
        ValueError: the filters have another depth than the input has channels, or do not fit into it.
    """
    ### BEGIN SOLUTION
    N, C, H, W = x.shape
    O, depth, k, _ = w.shape
    if depth != C:
        raise ValueError(f"filters of depth {depth} cannot look at {C} channels")
    Ho, Wo = (conv_out(size, k, stride=stride, pad=pad) for size in (H, W))
    cols = im2col(x, k, stride=stride, pad=pad)  # (N, C k k, L)
    y = w.reshape(O, -1) @ cols  # (O, C k k) @ (N, C k k, L) -> (N, O, L)
    if b is not None:
        y = y + b[:, None]
    return y.reshape(N, O, Ho, Wo)
    ### END SOLUTION


def col2im(
    cols: Float[Tensor, "N Ckk L"], shape: tuple[int, int, int, int], k: int, *, stride: int = 1, pad: int = 0
) -> Float[Tensor, "N C H W"]:
    """Put columns back where `im2col` took them from, and ADD where windows overlap.

    Args:
        cols: (N, C*k*k, L), in the order of `im2col(x, k, stride=stride, pad=pad)`.
        shape: (N, C, H, W) of that x.

    Returns:
        A picture of shape `shape`. What would fall on the padding is dropped; a pixel that no window saw is 0.
    """
    ### BEGIN SOLUTION
    N, C, H, W = shape
    Ho, Wo = (conv_out(size, k, stride=stride, pad=pad) for size in (H, W))
    taps = rearrange(cols, "n (c u v) (i j) -> u v n c i j", u=k, v=k, i=Ho)
    xp = cols.new_zeros(N, C, H + 2 * pad, W + 2 * pad)
    for u in range(k):
        for v in range(k):
            xp[:, :, u : u + stride * Ho : stride, v : v + stride * Wo : stride] += taps[u, v]
    return xp[:, :, pad : pad + H, pad : pad + W]
    ### END SOLUTION


def conv2d_backward(
    dy: Float[Tensor, "N O Ho Wo"],
    x: Float[Tensor, "N C H W"],
    w: Float[Tensor, "O C k k"],
    *,
    stride: int = 1,
    pad: int = 0,
) -> tuple[Float[Tensor, "N C H W"], Float[Tensor, "O C k k"], Float[Tensor, "O"]]:
    """Return the gradients (dx, dw, db) of a loss through y = conv2d(x, w, b, stride=stride, pad=pad).

    `dy` is the gradient of the loss with respect to y. dx, dw and db have the shapes of x, w and b; dw and db are
    sums over the batch. Written out by hand: no autograd.
    """
    ### BEGIN SOLUTION
    k = w.shape[-1]
    cols = im2col(x, k, stride=stride, pad=pad)  # (N, C k k, L)
    dy = dy.flatten(2)  # (N, O, L)
    dw = torch.einsum("nol,nkl->ok", dy, cols).reshape(w.shape)
    db = dy.sum(dim=(0, 2))
    dcols = w.flatten(1).T @ dy  # (C k k, O) @ (N, O, L) -> (N, C k k, L)
    return col2im(dcols, tuple(x.shape), k, stride=stride, pad=pad), dw, db
    ### END SOLUTION


def relu(x: Tensor) -> Tensor:
    """Replace every negative number by 0 and leave the rest as it is: max(0, x), element by element.

    Shape and dtype stay (also for integers), NaN stays NaN, and `x` itself is not changed.
    """
    ### BEGIN SOLUTION
    return x.clamp(min=0)
    ### END SOLUTION


def relu_backward(dy: Tensor, x: Tensor) -> Tensor:
    """Return dx, the gradient of a loss with respect to x, given dy, its gradient with respect to relu(x).

    The derivative of relu is 1 where x > 0 and 0 elsewhere, also at x = 0. Where it is 0 so is dx, even if dy is
    infinite or NaN there (0 times infinity would be NaN).
    """
    ### BEGIN SOLUTION
    return torch.where(x > 0, dy, 0)
    ### END SOLUTION


def max_pool2d(
    x: Float[Tensor, "N C H W"], k: int = 2, *, stride: int | None = None, return_indices: bool = False
) -> Float[Tensor, "N C Ho Wo"] | tuple[Float[Tensor, "N C Ho Wo"], Int[Tensor, "N C Ho Wo"]]:
    """Keep the largest number of every k x k window of every map.

    Args:
        k: side of the window.
        stride: from one window to the next; None means k, so that windows lie side by side. No padding: Ho =
            conv_out(H, k, stride=stride), rows and columns left over at the end are dropped.
        return_indices: also return where each maximum was.

    Returns:
        y, or (y, indices). An index (int64) counts within the map of size H x W, row by row: row * W + column.
        Of equal numbers the first in that order wins.

    Raises:
        ValueError: the window does not fit into the map.
    """
    ### BEGIN SOLUTION
    N, C, H, W = x.shape
    stride = k if stride is None else stride
    Ho, Wo = (conv_out(size, k, stride=stride) for size in (H, W))
    windows = im2col(x.reshape(N * C, 1, H, W), k, stride=stride)  # (N C, k k, L): every map for itself
    y, tap = windows.max(dim=1)  # (N C, L)
    place = torch.arange(Ho * Wo, device=x.device)
    row = place // Wo * stride + tap // k
    column = place % Wo * stride + tap % k
    y, indices = (t.reshape(N, C, Ho, Wo) for t in (y, row * W + column))
    return (y, indices) if return_indices else y
    ### END SOLUTION


def max_pool2d_backward(
    dy: Float[Tensor, "N C Ho Wo"], indices: Int[Tensor, "N C Ho Wo"], in_shape: tuple[int, int, int, int]
) -> Float[Tensor, "N C H W"]:
    """Send every number of `dy` back to the pixel that won its window, and add where one pixel won several.

    `indices` are those of `max_pool2d(..., return_indices=True)`, `in_shape` is (N, C, H, W) of its input.
    """
    ### BEGIN SOLUTION
    N, C, H, W = in_shape
    dx = dy.new_zeros(N, C, H * W)
    dx.scatter_add_(2, indices.flatten(2), dy.flatten(2))
    return dx.reshape(N, C, H, W)
    ### END SOLUTION


def fc_as_conv(
    W: Float[Tensor, "O CHW"], b: Float[Tensor, "O"], chw: tuple[int, int, int]
) -> tuple[Float[Tensor, "O C H W"], Float[Tensor, "O"]]:
    """Turn a fully connected layer on flattened (C, H, W) maps into a convolution with kernels as large as the maps.

    Returns:
        (w, b) such that F.conv2d(x, w, b).flatten(1) equals F.linear(x.flatten(1), W, b) for x of shape (N, C, H, W).
    """
    ### BEGIN SOLUTION
    return W.reshape(-1, *chw), b
    ### END SOLUTION
