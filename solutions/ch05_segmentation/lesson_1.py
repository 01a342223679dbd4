"""A label for every pixel: loss, scores, the sliding window, and the classifier that becomes a convolution.

Notebook 1 of chapter 5. Axes: N pictures, C channels, K classes, H rows, W columns, P side of a patch.
"""

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from dlcv_lab import world


def labelled_scenes(n: int, seed: int | torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw n pictures, (n, 3, 32, 32), and the classes of all pixels, (n, 32, 32).

    Classes: 0 ground, 1 circle, 2 square, 3 triangle, 4 star. One to three things lie
    in a picture, and may cover each other; what is covered is not labelled.
    """
    scene = world.sample(
        n,
        seed,
        objects=(1, 3),
        shapes=("circle", "square", "triangle", "star"),
        overlap=0.4,
        sizes=(0.16, 0.224),
        textures=("plain", "stripes"),
        backgrounds=("plain", "gradient"),
    )
    return world.render(scene), world.semantic_masks(scene)


def group_pixels(
    x: Float[Tensor, "3 H W"],
    k: int,
    steps: int = 20,
) -> Int[Tensor, "H W"]:
    """Group the pixels of one picture by colour, by k-means: k groups, 0 to k - 1.

    The first centre is the mean colour; each further one is the colour farthest from
    all centres so far. MacQueen, Berkeley Symposium 1967.
    """
    colours = x.flatten(1).T  # (HW, 3)
    centres = colours.mean(0, keepdim=True)
    while len(centres) < k:
        far = torch.cdist(colours, centres).amin(1).argmax()
        centres = torch.cat([centres, colours[far, None]])
    for _ in range(steps):
        group = torch.cdist(colours, centres).argmin(1)
        own = F.one_hot(group, k).to(x.dtype)  # (HW, k)
        size = own.sum(0)[:, None]
        centres = torch.where(size > 0, own.T @ colours / size, centres)
    return torch.cdist(colours, centres).argmin(1).reshape(x.shape[1:])


def pixel_cross_entropy(
    logits: Float[Tensor, "N K H W"],
    y: Int[Tensor, "N H W"],
    weight: Float[Tensor, "K"] | None = None,
    ignore_index: int = 255,
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy over the labelled pixels of all pictures.

    A pixel with y == ignore_index has no label and does not count. The others have y
    from 0 to K - 1, and a pixel of class c counts weight[c] times: the result is the
    weighted mean, the sum of weight * charge divided by the sum of the weights of the
    labelled pixels. Without `weight` every class weighs 1. Where no pixel is labelled,
    the loss is 0, and can still be differentiated. `logits` hold scores before the
    softmax, of any size, also 1e4.
    """
    ### BEGIN SOLUTION
    labelled = y != ignore_index
    y = y.masked_fill(~labelled, 0)  # any class will do: it will not count
    charge = -logits.log_softmax(1).gather(1, y[:, None]).squeeze(1)  # (N, H, W)
    each = torch.ones_like(charge) if weight is None else weight[y]
    each = each * labelled
    return (each * charge).sum() / each.sum().clamp(min=1e-12)
    ### END SOLUTION


def confusion_matrix(
    pred: Int[Tensor, "*shape"],
    target: Int[Tensor, "*shape"],
    K: int,
    ignore_index: int = 255,
) -> Int[Tensor, "K K"]:
    """Count how often each true class (row) was called each class (column).

    Pixels whose *target* is ignore_index do not count. `pred` holds classes 0 to K - 1
    everywhere. Both tensors have one shape, any shape, and whole numbers of any dtype,
    uint8 included. Returns int64.
    """
    ### BEGIN SOLUTION
    counted = target != ignore_index
    t, p = target[counted].long(), pred[counted].long()
    return torch.bincount(K * t + p, minlength=K * K).reshape(K, K)
    ### END SOLUTION


def seg_scores(cm: Int[Tensor, "K K"]) -> dict[str, Float[Tensor, "..."]]:
    """Compute the usual scores of a confusion matrix (row = truth), in float64.

    Write n_ij for its entries, t_i for the pixels that truly are i (row sums), q_i for
    those called i (column sums).

    Returns a dictionary:
        "iou": (K,), n_ii / (t_i + q_i - n_ii), intersection over union of each class;
            NaN for a class that is neither true nor called anywhere.
        "miou": mean of "iou" over the classes that are not NaN.
        "pixel_acc": share of all pixels that are right.
        "mean_acc": mean of n_ii / t_i over the classes with t_i > 0.
        "fwiou": sum over the classes of (t_i / all pixels) * iou_i; classes with t_i =
            0 add nothing.

    Long, Shelhamer and Darrell, CVPR 2015, section 5. The last four have no axes. Where
    no pixel was counted, all five are NaN.
    """
    ### BEGIN SOLUTION
    n = cm.double()
    right, t, q = n.diag(), n.sum(1), n.sum(0)
    iou = right / (t + q - right)  # 0 / 0 is NaN: nothing to score
    return {
        "iou": iou,
        "miou": iou.nanmean(),
        "pixel_acc": right.sum() / t.sum(),
        "mean_acc": (right / t).nanmean(),
        "fwiou": (t * iou).nansum() / t.sum(),
    }
    ### END SOLUTION


def boundary_iou(
    pred: Int[Tensor, "N H W"],
    target: Int[Tensor, "N H W"],
    K: int,
    radius: int = 1,
) -> Float[Tensor, ""]:
    """Return the mIoU over the pixels near an edge of the true mask, of all pictures.

    A pixel is near an edge if any pixel of its picture at most `radius` rows and at
    most `radius` columns away (diagonals included) has another target. Every pixel is
    labelled. Use your `confusion_matrix` and `seg_scores`. NaN if no pixel is near an
    edge.
    """
    ### BEGIN SOLUTION
    side, t = 2 * radius + 1, target.double()
    highest = F.max_pool2d(t, side, stride=1, padding=radius)
    lowest = -F.max_pool2d(-t, side, stride=1, padding=radius)
    near = highest != lowest
    return seg_scores(confusion_matrix(pred[near], target[near], K))["miou"]
    ### END SOLUTION


def sliding_window_segment(
    f: Callable[[Tensor], Tensor],
    x: Float[Tensor, "C H W"],
    patch: int,
    batch: int = 256,
) -> Int[Tensor, "H W"]:
    """Label every pixel of one picture by classifying the patch around it.

    `f` maps patches (M, C, patch, patch) to scores (M, K); call it on at most `batch`
    patches at a time, without gradients. The label of pixel (i, j) is the class with
    the highest score for the patch whose *centre* is (i, j). Beyond its border the
    picture is mirrored (`F.pad` with mode="reflect").

    Raises:
        ValueError: `patch` is even, so that no pixel is its centre.
    """
    ### BEGIN SOLUTION
    if patch % 2 == 0:
        raise ValueError(f"a patch with a centre has an odd side, not {patch}")
    r = patch // 2
    padded = F.pad(x[None], (r, r, r, r), mode="reflect")
    patches = F.unfold(padded, patch)[0].T  # (HW, C P P), row by row
    patches = patches.reshape(-1, x.shape[0], patch, patch)
    with torch.no_grad():
        labels = [f(part).argmax(1) for part in patches.split(batch)]
    return torch.cat(labels).reshape(x.shape[1:])
    ### END SOLUTION


def conv_macs(layers: list[tuple[int, int, int, int]], H: int, W: int) -> int:
    """Count the multiplications of a stack of convolutions on an H x W picture.

    A layer is (c_in, c_out, k, stride): a k x k kernel, padded so that stride s leaves
    ceil(H / s) x ceil(W / s) pixels. Each output number costs one multiplication a
    weight; biases cost none.
    """
    ### BEGIN SOLUTION
    total = 0
    for c_in, c_out, k, stride in layers:
        H, W = -(-H // stride), -(-W // stride)  # ceil
        total += H * W * c_out * c_in * k * k
    return total
    ### END SOLUTION


def convolutionalize(
    model: nn.Sequential,
    in_shape: tuple[int, int, int],
) -> nn.Sequential:
    """Turn a classifier into a network of convolutions that also takes larger pictures.

    `model` maps (N, C, H, W) with (C, H, W) = in_shape to (N, K). It is a Sequential
    with one nn.Flatten and, after it, one or more nn.Linear (with or without bias),
    maybe with other layers between. The result computes the same numbers as (N, K, 1,
    1): without the Flatten, and with an nn.Conv2d for each Linear. The first has
    kernels of the size of the map that was flattened, the others of 1x1. All other
    layers stay, in their order. The new network has weights of its own (copies):
    training it leaves `model` as it is.
    """
    ### BEGIN SOLUTION
    layers, x = [], next(model.parameters()).new_zeros(1, *in_shape)
    for layer in copy.deepcopy(model).eval():
        if isinstance(layer, nn.Flatten):
            side = x.shape[2:]  # the first kernels cover the whole map
        elif isinstance(layer, nn.Linear):
            w = layer.weight.data.reshape(layer.out_features, -1, *side)
            conv = nn.Conv2d(w.shape[1], len(w), side, bias=layer.bias is not None)
            conv.weight.data = w
            if layer.bias is not None:
                conv.bias.data = layer.bias.data
            layers.append(conv)
            side = (1, 1)
        else:
            layers.append(layer)
        x = layer(x)
    return nn.Sequential(*layers).train(model.training)
    ### END SOLUTION


def plain_net(
    c_in: int = 3,
    K: int = 5,
    width: int = 16,
    norm: bool = True,
) -> nn.Sequential:
    """Stack seven 3x3 convolutions that keep the size, and score every pixel.

    A score sees 15x15 pixels. `norm` puts a batch norm behind each convolution.
    """
    parts = []
    for c in [c_in] + [width] * 6:
        conv = nn.Conv2d(c, width, 3, padding=1, bias=not norm)
        parts += [conv, *([nn.BatchNorm2d(width)] if norm else []), nn.ReLU()]
    return nn.Sequential(*parts, nn.Conv2d(width, K, 1))


def recurrent_segment(
    f: Callable[[Tensor], Tensor],
    x: Float[Tensor, "N C H W"],
    K: int,
    steps: int,
) -> list[Float[Tensor, "N K H W"]]:
    """Label a picture again and again, with the last answer beside the picture.

    `f` maps (N, K + C, H, W) to scores (N, K, H, W) of the same size: first the K
    probabilities of the last answer (zeros in the first step), then the picture.
    Returns the scores of every step. Pinheiro and Collobert, ICML 2014, at one size.
    """
    answer = x.new_zeros(len(x), K, *x.shape[2:])
    scores = []
    for _ in range(steps):
        scores.append(f(torch.cat([answer, x], 1)))
        answer = scores[-1].softmax(1)
    return scores
