"""Chapter 3, notebook 2: a LeNet-like network, dropout, data augmentation and batch normalization."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


class LeNet(nn.Module):
    """Classify 32x32 images with two conv-ReLU-pool stages and three fully connected layers.

    The modern form of LeNet-5 (LeCun et al., Proc. IEEE 1998, fig. 2): max pooling and ReLU instead of trainable
    average pooling and tanh, every map of the first stage connected to every map of the second.
    `in_channels` is 1 for grey and 3 for colour images. 61 706 parameters for the default arguments.
    """

    def __init__(self, in_channels: int = 1, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, x: Float[Tensor, "N C 32 32"]) -> Float[Tensor, "N K"]:
        """Return one row of K class scores (logits, no softmax) per image.

        Twice: convolution, ReLU, 2x2 max pooling with stride 2. Then flatten each image in (channel, row, column)
        order and apply fc1, ReLU, fc2, ReLU, fc3. Works for every batch size N, 0 and 1 included.
        """
        ### BEGIN SOLUTION
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)  # (N, 6, 14, 14)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)  # (N, 16, 5, 5)
        x = x.flatten(1)  # (N, 400)
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.fc3(x)
        ### END SOLUTION


def train_epoch(
    model: nn.Module,
    x: Float[Tensor, "N *shape"],
    y: Int[Tensor, "N"],
    perm: Int[Tensor, "N"],
    *,
    batch_size: int,
    opt: torch.optim.Optimizer,
) -> list[float]:
    """Train `model` for one pass over (x, y) and return the loss of every batch, as Python floats.

    Puts the model into training mode first. Visits the samples in the order `perm`: batch 0 is
    `perm[:batch_size]`, batch 1 the next `batch_size` entries, and so on; a smaller last batch is used too.
    The loss is `F.cross_entropy` (mean over the batch) of the model's scores. Every batch makes exactly one step
    of `opt` with the gradient of that batch alone; its loss is the one measured before the step.
    """
    ### BEGIN SOLUTION
    model.train()
    losses = []
    for batch in perm.split(batch_size):
        loss = F.cross_entropy(model(x[batch]), y[batch])
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return losses
    ### END SOLUTION


def dropout(
    x: Float[Tensor, "*shape"], keep: Bool[Tensor, "*shape"], *, p: float, training: bool
) -> Float[Tensor, "*shape"]:
    """Switch off the units of `x` where `keep` is False, so that the expected value of every unit stays the same.

    `p` is the probability of DROPPING a unit, 0 <= p <= 1, as in PyTorch; the mask has been drawn by the caller with
    `P(keep is True) = 1 - p`. In training ("inverted dropout"), a kept unit is multiplied by 1/(1-p) and a dropped one
    is 0; with p = 1 the result is all zeros, without NaN, and still part of the graph: its gradient is zero, not
    missing. When not training, `x` comes back unchanged.
    Srivastava et al., JMLR 2014, but careful: there p is the probability of keeping.
    """
    ### BEGIN SOLUTION
    if not training:
        return x
    if p == 1:  # whatever the mask says; zeros_like(x) would cut the graph, x * 0 make NaN of infinity
        return x.masked_fill(torch.ones_like(keep), 0)
    return x * keep / (1 - p)
    ### END SOLUTION


def conspiracy(q: float, *, groups: int, size: int) -> float:
    """Return the probability that at least one of `groups` teams succeeds when all its `size` members must.

    Every member succeeds independently with probability `q`.
    """
    return 1 - (1 - q**size) ** groups


def geometric_ensemble(x: Float[Tensor, "n"], w: Float[Tensor, "K n"], *, p: float = 0.5) -> Float[Tensor, "K"]:
    """Average the softmax predictions of all 2^n thinned networks by their normalized geometric mean.

    Network m sees the input `m * x / (1 - p)` and has the weight p^(dropped units) (1-p)^(kept units). Use n <= 12.
    Srivastava et al., JMLR 2014, section 2; Baldi and Sadowski, NIPS 2013.
    """
    n = x.numel()
    masks = (torch.arange(2**n)[:, None] >> torch.arange(n)) & 1  # (2^n, n): every subset of the inputs
    log_probs = F.log_softmax((masks * x / (1 - p)) @ w.T, dim=1)  # (2^n, K)
    kept = masks.sum(1).to(x.dtype)
    weights = (1 - p) ** kept * p ** (n - kept)  # (2^n,), they sum to 1
    return F.softmax(weights @ log_probs, dim=0)


def hflip(x: Float[Tensor, "N C H W"], flip: Bool[Tensor, "N"]) -> Float[Tensor, "N C H W"]:
    """Return a copy of the images in which those with `flip[n]` True are mirrored left to right."""
    ### BEGIN SOLUTION
    return torch.where(flip[:, None, None, None], x.flip(-1), x)
    ### END SOLUTION


def pad_crop(x: Float[Tensor, "N C H W"], offsets: Int[Tensor, "N 2"], *, pad: int) -> Float[Tensor, "N C H W"]:
    """Surround every image by `pad` zeros on each side and cut a window of the old size back out.

    `offsets[n]` = (row, column) of the window's upper left pixel in the padded image n, both from 0 to 2 pad;
    (pad, pad) gives the image back, (0, 0) moves its content down and to the right.
    """
    ### BEGIN SOLUTION
    h, w = x.shape[-2:]
    padded = F.pad(x, (pad, pad, pad, pad))
    out = torch.empty_like(x)
    for n, (i, j) in enumerate(offsets.tolist()):
        out[n] = padded[n, :, i : i + h, j : j + w]
    return out
    ### END SOLUTION


def color_cast(x: Float[Tensor, "N C H W"], shift: Float[Tensor, "N C"]) -> Float[Tensor, "N C H W"]:
    """Add `shift[n, c]` to every pixel of channel c of image n and clamp the result to [0, 1]."""
    ### BEGIN SOLUTION
    return (x + shift[:, :, None, None]).clamp(0, 1)
    ### END SOLUTION


def augment_boxes_hflip(boxes: Float[Tensor, "M 4"], width: float) -> Float[Tensor, "M 4"]:
    """Move the boxes of an image that is mirrored left to right.

    A box is (x1, y1, x2, y2) with x1 <= x2 in continuous coordinates: the image's left edge is x = 0, its right edge
    x = `width`. The result obeys x1 <= x2 again.
    """
    ### BEGIN SOLUTION
    x1, y1, x2, y2 = boxes.unbind(1)
    return torch.stack([width - x2, y1, width - x1, y2], dim=1)
    ### END SOLUTION


def affine(x: Float[Tensor, "N C H W"], theta: Float[Tensor, "N 2 3"]) -> Float[Tensor, "N C H W"]:
    """Distort every image by its own affine map; outside the image there are zeros.

    `theta[n]` maps a place of the OUTPUT to the place of the input that is read there, in coordinates (x, y) that run
    from -1 to 1 over the image: scaling them by 0.5 makes the picture twice as large.
    """
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)  # (N, H, W, 2): where to read
    return F.grid_sample(x, grid, align_corners=False)


def batch_norm(
    x: Float[Tensor, "N C *space"],
    gamma: Float[Tensor, "C"],
    beta: Float[Tensor, "C"],
    running_mean: Float[Tensor, "C"],
    running_var: Float[Tensor, "C"],
    *,
    training: bool,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Float[Tensor, "N C *space"], Float[Tensor, "C"], Float[Tensor, "C"]]:
    """Normalize every channel, scale it by `gamma`, shift it by `beta`; return (y, new_mean, new_var).

    `x` is (N, C) or (N, C, H, W); the m values of a channel are taken over all other axes: m = N, or m = N H W.
    Training: y = gamma (x - mean) / sqrt(var + eps) + beta with the mean and the BIASED variance (divide by m) of
    this batch. New buffers: (1 - momentum) old + momentum * statistic, where the variance buffer takes the UNBIASED
    variance (divide by m - 1); the new buffers carry no gradient. With m = 1 raise ValueError.
    Not training: the running buffers take the place of the batch's mean and variance, any m >= 1 is fine, and the
    buffers come back as they were. The arguments are never changed in place.
    In half precision (float16, bfloat16) everything is computed in float32, where squares of large numbers do not
    overflow, and y is rounded to the dtype of `x` at the end; the buffers stay float32.
    Ioffe and Szegedy, ICML 2015, algorithms 1 and 2.
    """
    axes = [0, *range(2, x.ndim)]  # all but the channel axis
    shape = [1, -1] + [1] * (x.ndim - 2)  # turns a vector of C numbers into one that broadcasts against x
    ### BEGIN SOLUTION
    dtype = x.dtype
    x = x.to(torch.promote_types(dtype, torch.float32))
    mean, var = running_mean, running_var
    if training:
        m = x.numel() // x.shape[1]
        if m < 2:
            raise ValueError(f"training needs more than one value per channel, got {tuple(x.shape)}")
        mean, var = x.mean(axes), x.var(axes, correction=0)
        running_mean = (1 - momentum) * running_mean + momentum * mean.detach()
        running_var = (1 - momentum) * running_var + momentum * var.detach() * m / (m - 1)
    normal = (x - mean.view(shape)) / torch.sqrt(var.view(shape) + eps)
    y = gamma.view(shape) * normal + beta.view(shape)
    return y.to(dtype), running_mean, running_var
    ### END SOLUTION


def batch_norm_backward(
    dy: Float[Tensor, "N C *space"], x: Float[Tensor, "N C *space"], gamma: Float[Tensor, "C"], *, eps: float = 1e-5
) -> tuple[Float[Tensor, "N C *space"], Float[Tensor, "C"], Float[Tensor, "C"]]:
    """Return the gradients (dx, dgamma, dbeta) of batch normalization in training mode.

    `dy` is the gradient of the loss with respect to the output y = gamma (x - mean) / sqrt(var + eps) + beta, where
    mean and var (biased) are those of the batch `x` itself, (N, C) or (N, C, H, W), per channel. Write the formula
    out: no autograd (`backward`, `torch.autograd.grad`).
    """
    axes = [0, *range(2, x.ndim)]
    shape = [1, -1] + [1] * (x.ndim - 2)
    ### BEGIN SOLUTION
    m = x.numel() // x.shape[1]
    mean, var = x.mean(axes).view(shape), x.var(axes, correction=0).view(shape)
    scale = torch.rsqrt(var + eps)
    normal = (x - mean) * scale
    dgamma, dbeta = (dy * normal).sum(axes), dy.sum(axes)
    # dx = gamma / (m sqrt(var + eps)) (m dy - dbeta - normal dgamma)
    dx = gamma.view(shape) * scale / m * (m * dy - dbeta.view(shape) - normal * dgamma.view(shape))
    return dx, dgamma, dbeta
    ### END SOLUTION


def fold_bn(
    w: Float[Tensor, "O C kh kw"],
    b: Float[Tensor, "O"] | None,
    gamma: Float[Tensor, "O"],
    beta: Float[Tensor, "O"],
    mean: Float[Tensor, "O"],
    var: Float[Tensor, "O"],
    *,
    eps: float = 1e-5,
) -> tuple[Float[Tensor, "O C kh kw"], Float[Tensor, "O"]]:
    """Return weights and bias of ONE convolution that equals this convolution followed by batch norm in eval mode.

    `mean` and `var` are the running buffers of the batch norm, `b` is None for a convolution without a bias.
    The returned bias is always a tensor. No argument is changed in place.
    """
    ### BEGIN SOLUTION
    scale = gamma / torch.sqrt(var + eps)
    bias = torch.zeros_like(mean) if b is None else b
    return w * scale[:, None, None, None], (bias - mean) * scale + beta
    ### END SOLUTION
