"""Down and up again: transposed convolution, unpooling, FCN, SegNet and U-Net, and DeconvNet beside them.

Notebook 2 of chapter 5. Axes: N pictures, C (or O) channels, K classes, H rows, W columns, k side of a kernel.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn


def conv_transpose2d(
    x: Float[Tensor, "N C H W"],
    w: Float[Tensor, "C O k k"],
    stride: int = 1,
    pad: int = 0,
    out_pad: int = 0,
) -> Float[Tensor, "N O Ho Wo"]:
    """Stamp the kernel once for every input number, and add up what overlaps.

    x[n, c, i, j] puts x[n, c, i, j] * w[c, o] on the k x k square of output channel o
    whose upper left pixel is (stride * i, stride * j), unflipped. The channels c add
    up. The canvas has (H - 1) * stride + k rows (columns alike). Then `pad` rows and
    columns are cut off all four sides, but `out_pad` fewer at the bottom and on the
    right; where that is beyond the canvas, zeros stand. So Ho = (H - 1) * stride - 2 *
    pad + k + out_pad. The result can be differentiated in x and w.
    """
    ### BEGIN SOLUTION
    N, _, H, W = x.shape
    O, k = w.shape[1], w.shape[2]
    high, wide = (H - 1) * stride + k, (W - 1) * stride + k
    canvas = x.new_zeros(N, O, high + out_pad, wide + out_pad)
    for u in range(k):
        for v in range(k):  # number (u, v) of all stamps at once
            ink = torch.einsum("nchw,co->nohw", x, w[:, :, u, v])
            rows = slice(u, u + (H - 1) * stride + 1, stride)
            canvas[:, :, rows, v : v + (W - 1) * stride + 1 : stride] += ink
    return canvas[:, :, pad : canvas.shape[2] - pad, pad : canvas.shape[3] - pad]
    ### END SOLUTION


def strided_matrix(
    w: Float[Tensor, "k k"],
    side: int,
    stride: int,
    pad: int,
) -> Float[Tensor, "L S"]:
    """Write a strided convolution of side x side pictures as a matrix A.

    y.flatten() = A @ x.flatten(). Column p is the answer to the picture
    with a 1 at pixel p and 0 elsewhere.
    """
    one_pixel = torch.eye(side * side, dtype=w.dtype).reshape(-1, 1, side, side)
    answers = F.conv2d(one_pixel, w[None, None], stride=stride, padding=pad)
    return answers.flatten(1).T


def bilinear_kernel(k: int) -> Float[Tensor, "k k"]:
    """Return the kernel with which a transposed convolution interpolates, float64.

    Entry (i, j) is g(i) * g(j), where g falls in straight lines from the middle:
    g(i) = 1 - |i - c| / f, with f = (k + 1) // 2, and c = f - 1 for odd k, f - 1/2 for
    even k. FCN's up-sampling layers begin as this (Long, Shelhamer and Darrell, CVPR
    2015), with k = 2 * stride.
    """
    ### BEGIN SOLUTION
    f = (k + 1) // 2
    c = f - 1 if k % 2 else f - 0.5
    g = 1 - (torch.arange(k, dtype=torch.float64) - c).abs() / f
    return g[:, None] * g
    ### END SOLUTION


def unpool_nearest(x: Float[Tensor, "N C h w"], s: int = 2) -> Float[Tensor, "N C H W"]:
    """Make an s x s square of every pixel, all of its value. H = s * h, W = s * w."""
    ### BEGIN SOLUTION
    return x.repeat_interleave(s, 2).repeat_interleave(s, 3)
    ### END SOLUTION


def bed_of_nails(x: Float[Tensor, "N C h w"], s: int = 2) -> Float[Tensor, "N C H W"]:
    """Put every pixel into the upper left corner of an s x s square of zeros."""
    ### BEGIN SOLUTION
    out = x.new_zeros(*x.shape[:2], s * x.shape[2], s * x.shape[3])
    out[:, :, ::s, ::s] = x
    return out
    ### END SOLUTION


def max_unpool2d(
    x: Float[Tensor, "N C h w"],
    indices: Int[Tensor, "N C h w"],
    out_size: tuple[int, int],
) -> Float[Tensor, "N C H W"]:
    """Put every number back where max pooling found its own; all other pixels are 0.

    `indices` come from F.max_pool2d(..., return_indices=True): indices[n, c, i, j] =
    row * W + column is the place in channel c of picture n, with (H, W) = out_size. The
    windows of the pooling did not overlap, so no place comes twice.
    """
    ### BEGIN SOLUTION
    N, C = x.shape[:2]
    H, W = out_size
    flat = x.new_zeros(N, C, H * W)
    return flat.scatter(2, indices.flatten(2), x.flatten(2)).reshape(N, C, H, W)
    ### END SOLUTION


def block(c_in: int, c_out: int) -> nn.Sequential:
    """Two 3x3 convolutions that keep the size, each with batch norm and ReLU."""
    parts = []
    for c in (c_in, c_out):
        conv = nn.Conv2d(c, c_out, 3, padding=1, bias=False)
        parts += [conv, nn.BatchNorm2d(c_out), nn.ReLU()]
    return nn.Sequential(*parts)


class FCN(nn.Module):
    """Score coarse maps, and add what finer maps say: FCN-32s, 16s or 8s in small.

    `skips` says how many finer maps are asked: 0, 1 or 2 (FCN-32s, 16s, 8s). Long,
    Shelhamer and Darrell, CVPR 2015. Here the coarsest map has an eighth of the side.
    """

    def __init__(
        self,
        K: int = 5,
        widths: tuple[int, ...] = (12, 24, 48),
        skips: int = 2,
    ):
        super().__init__()
        a, b, c = widths
        self.skips = skips
        self.down1, self.down2, self.down3 = block(3, a), block(a, b), block(b, c)
        self.bottom = block(c, c)
        self.score = nn.Conv2d(c, K, 1)  # of the coarsest map
        self.skip2 = nn.Conv2d(b, K, 1)  # of the map with a quarter of the side
        self.skip1 = nn.Conv2d(a, K, 1)  # of the map with half of the side

    def forward(self, x: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N K H W"]:
        """Return K scores a pixel, for H and W of 8 or more, multiples of 8 or not.

        h1 = down1 of x, then 2x2 max pooling; h2 = down2 of h1, then pooling; h3 =
        down3 of h2, then pooling. The scores s are those of the coarsest map: bottom of
        h3, then score. With skips >= 1, enlarge s to the size of h2 and add skip2 of
        h2. With skips = 2, enlarge that to the size of h1 and add skip1 of h1. At last
        enlarge to H x W. "Enlarge" is always F.interpolate(..., size=(rows, columns),
        mode="bilinear", align_corners=False).
        """
        ### BEGIN SOLUTION
        h1 = F.max_pool2d(self.down1(x), 2)
        h2 = F.max_pool2d(self.down2(h1), 2)
        h3 = F.max_pool2d(self.down3(h2), 2)
        s = self.score(self.bottom(h3))
        if self.skips >= 1:
            s = F.interpolate(s, size=h2.shape[2:], mode="bilinear")
            s = s + self.skip2(h2)
        if self.skips >= 2:
            s = F.interpolate(s, size=h1.shape[2:], mode="bilinear")
            s = s + self.skip1(h1)
        return F.interpolate(s, size=x.shape[2:], mode="bilinear")
        ### END SOLUTION


class SegNet(nn.Module):
    """Go down with max pooling, remember where each maximum was, and go up along that.

    Badrinarayanan, Kendall and Cipolla, TPAMI 2017; three poolings here, five there.
    """

    def __init__(self, K: int = 5, widths: tuple[int, ...] = (12, 24, 48)):
        super().__init__()
        a, b, c = widths
        self.down1, self.down2, self.down3 = block(3, a), block(a, b), block(b, c)
        self.up3, self.up2, self.up1 = block(c, b), block(b, a), block(a, a)
        self.score = nn.Conv2d(a, K, 1)

    def forward(self, x: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N K H W"]:
        """Return K scores a pixel, for H and W of 8 or more, odd ones included.

        Three times: down (1, 2, 3), then 2x2 max pooling that keeps its indices. Then
        three times: max-unpool with the indices of the pooling of that size, back to
        the size before it, then up (3, 2, 1). Last, score. Use your `max_unpool2d`.
        """
        ### BEGIN SOLUTION
        kept = []
        for down in (self.down1, self.down2, self.down3):
            x = down(x)
            size = x.shape[2:]
            x, indices = F.max_pool2d(x, 2, return_indices=True)
            kept.append((indices, size))
        for up in (self.up3, self.up2, self.up1):
            x = up(max_unpool2d(x, *kept.pop()))  # last pooled, first unpooled
        return self.score(x)
        ### END SOLUTION


class UNet(nn.Module):
    """Go down and up, and at every size put the left map beside the right one.

    Ronneberger, Fischer and Brox, MICCAI 2015, with padded convolutions and batch norm.
    """

    def __init__(self, K: int = 5, widths: tuple[int, ...] = (12, 24, 48)):
        super().__init__()
        a, b, c = widths
        self.down1, self.down2, self.down3 = block(3, a), block(a, b), block(b, c)
        self.bottom = block(c, c)
        self.up3 = nn.ConvTranspose2d(c, c, 2, stride=2)
        self.up2 = nn.ConvTranspose2d(c, b, 2, stride=2)
        self.up1 = nn.ConvTranspose2d(b, a, 2, stride=2)
        self.join3, self.join2 = block(2 * c, c), block(2 * b, b)
        self.join1 = block(2 * a, a)
        self.score = nn.Conv2d(a, K, 1)

    def forward(self, x: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N K H W"]:
        """Return K scores a pixel, for H and W of 8 or more, odd ones included.

        Three times: down (1, 2, 3), keep the map, then 2x2 max pooling. Then bottom.
        Then three times (3, 2, 1): up; concatenate the kept map of that size *first*
        and what came up second, along the channels; join. Last, score. Where a size was
        odd, what comes up is one row or column short: pad it with zeros at the bottom
        and on the right.
        """
        ### BEGIN SOLUTION
        kept = []
        for down in (self.down1, self.down2, self.down3):
            x = down(x)
            kept.append(x)
            x = F.max_pool2d(x, 2)
        x = self.bottom(x)
        ups = self.up3, self.up2, self.up1
        joins = self.join3, self.join2, self.join1
        for up, join in zip(ups, joins):
            left, x = kept.pop(), up(x)
            rows, columns = left.shape[2] - x.shape[2], left.shape[3] - x.shape[3]
            x = join(torch.cat([left, F.pad(x, (0, columns, 0, rows))], 1))
        return self.score(x)
        ### END SOLUTION


class DeconvNet(nn.Module):
    """Squeeze the picture through one column of numbers, and unfold it in the mirror.

    Pooling, unpooling with indices, and transposed convolutions in place of SegNet's
    convolutions; between the halves a whole-picture layer, for 32x32 pixels only. Noh,
    Hong and Han, ICCV 2015.
    """

    def __init__(self, K: int = 5, widths: tuple[int, ...] = (12, 24, 48)):
        super().__init__()
        a, b, c = widths
        self.down1, self.down2, self.down3 = block(3, a), block(a, b), block(b, c)
        conv, back = nn.Conv2d(c, 2 * c, 4), nn.ConvTranspose2d(2 * c, c, 4)
        self.fold = nn.Sequential(conv, nn.BatchNorm2d(2 * c), nn.ReLU())
        self.unfold = nn.Sequential(back, nn.BatchNorm2d(c), nn.ReLU())
        self.up3, self.up2 = self.mirror(c, b), self.mirror(b, a)
        self.up1 = self.mirror(a, a)
        self.score = nn.Conv2d(a, K, 1)

    @staticmethod
    def mirror(c_in: int, c_out: int) -> nn.Sequential:
        """Two 3x3 transposed convolutions, each with batch norm and ReLU."""
        parts = []
        for c in (c_in, c_out):
            conv = nn.ConvTranspose2d(c, c_out, 3, padding=1, bias=False)
            parts += [conv, nn.BatchNorm2d(c_out), nn.ReLU()]
        return nn.Sequential(*parts)

    def forward(self, x: Float[Tensor, "N 3 32 32"]) -> Float[Tensor, "N K 32 32"]:
        """Return K scores a pixel."""
        kept = []
        for down in (self.down1, self.down2, self.down3):
            x, indices = F.max_pool2d(down(x), 2, return_indices=True)
            kept.append(indices)
        x = self.unfold(self.fold(x))
        for up in (self.up3, self.up2, self.up1):
            x = up(F.max_unpool2d(x, kept.pop(), 2))
        return self.score(x)
