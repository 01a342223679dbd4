"""Claims of notebook 2: ways up, and six networks that go down and up, from the chapter's checkpoints."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autograder.declare.claim import Claim
from dlcv_lab import count_params, zoo
from solutions import ch05_segmentation as ours

SEEDS = (20, 21, 22)
K = 5
NETS = {
    "fcn32": lambda: ours.FCN(skips=0),
    "fcn16": lambda: ours.FCN(skips=1),
    "fcn8": ours.FCN,
    "segnet": ours.SegNet,
    "deconvnet": ours.DeconvNet,
    "unet": ours.UNet,
}
CHECKPOINTS = "The chapter's checkpoints: 700 steps of 24 fresh scenes each. 300 unseen scenes a seed."


@lru_cache
def trained(name: str) -> nn.Module:
    net = NETS[name]().eval()
    zoo.checkpoint(f"ch05/{name}", into=net)
    return net


@torch.no_grad()
def judged(net: nn.Module, n: int) -> tuple[float, float]:
    """Return mIoU and mIoU near edges on 300 scenes."""
    x, y = ours.labelled_scenes(300, n)
    pred = torch.cat([net(part).argmax(1) for part in x.split(100)])
    return float(ours.seg_scores(ours.confusion_matrix(pred, y, K))["miou"]), float(ours.boundary_iou(pred, y, K))


def scores(*names: str):
    def measure(n: int) -> dict[str, float]:
        found = {}
        for name in names:
            found[f"{name}, mIoU"], found[f"{name}, edges"] = judged(trained(name), n)
        return found

    return measure


def hooked(name: str, parts: tuple[str, ...], change, n: int) -> float:
    """Return the mIoU of a trained network when the inputs of some of its parts are changed."""
    net = trained(name)
    hooks = [getattr(net, part).register_forward_pre_hook(lambda _, inputs: change(inputs[0])) for part in parts]
    try:
        return judged(net, n)[0]
    finally:
        for hook in hooks:
            hook.remove()


def nails(n: int) -> dict[str, float]:
    def into_corners(x: Tensor) -> Tensor:
        return ours.bed_of_nails(F.max_pool2d(x, 2))

    return {
        "own indices": judged(trained("segnet"), n)[0],
        "nails": hooked("segnet", ("up3", "up2", "up1"), into_corners, n),
    }


def cut_skips(n: int) -> dict[str, float]:
    def without_left(x: Tensor) -> Tensor:
        left, below = x.chunk(2, 1)
        return torch.cat([torch.zeros_like(left), below], 1)

    found = {"whole": judged(trained("unet"), n)[0]}
    for level in (3, 2, 1):
        found[f"without skip {level}"] = hooked("unet", (f"join{level}",), without_left, n)
    return found | {"without all": hooked("unet", ("join3", "join2", "join1"), without_left, n)}


def mirror(n: int) -> dict[str, float]:
    more = count_params(trained("deconvnet")) / count_params(trained("segnet"))
    return scores("segnet", "deconvnet")(n) | {"times the weights": more}


def transposed(_: int) -> dict[str, float]:
    rng = torch.Generator().manual_seed(0)
    w = torch.randn(3, 3, generator=rng, dtype=torch.float64)
    z, x = (torch.randn(s, s, generator=rng, dtype=torch.float64) for s in (4, 8))
    up = ours.conv_transpose2d(z[None, None], w[None, None], 2, 1, 1)
    back = (ours.strided_matrix(w, 8, 2, 1).T @ z.flatten()).reshape(8, 8)
    down = F.conv2d(x[None, None], w[None, None], stride=2, padding=1)
    coarse = torch.randn(1, 1, 6, 6, generator=rng, dtype=torch.float64)
    grown = ours.conv_transpose2d(coarse, ours.bilinear_kernel(8)[None, None], 4, 2)
    wide = F.interpolate(coarse, scale_factor=4, mode="bilinear")
    return {
        "from torch": float((up - F.conv_transpose2d(z[None, None], w[None, None], None, 2, 1, 1)).abs().max()),
        "from the matrix": float((up[0, 0] - back).abs().max()),
        "<down x, z> - <x, up z>": float(((down * z).sum() - (x * up).sum()).abs()),
        "bilinear, inside": float((grown - wide)[..., 2:-2, 2:-2].abs().max()),
    }


def stamps(_: int) -> dict[str, float]:
    found = {}
    for k in (2, 3, 4):
        one, kernel = torch.ones(1, 1, 8, 8), torch.ones(1, 1, k, k)
        inside = ours.conv_transpose2d(one, kernel, 2)[0, 0, k:-k, k:-k]
        found[f"kernel {k}, fewest"], found[f"kernel {k}, most"] = float(inside.min()), float(inside.max())
    return found


def vgg(classes: int) -> dict[str, float]:
    """Count SegNet with VGG-16's thirteen convolutions and their mirror, each with batch norm, on the meta device."""
    widths = [3, 64, 64, 128, 128, 256, 256, 256, *6 * [512]]
    pairs = list(zip(widths, widths[1:]))  # noqa: RUF007
    back = [(b, a) for a, b in reversed(pairs)]
    back[-1] = (64, classes)
    with torch.device("meta"):
        down = [nn.Conv2d(a, b, 3) for a, b in pairs]
        up = [nn.Conv2d(a, b, 3) for a, b in back]
        norms = [nn.BatchNorm2d(layer.out_channels) for layer in (*down, *up[:-1])]  # the scores have none
        heads = [nn.Conv2d(512, 4096, 7), nn.Conv2d(4096, 4096, 1), nn.Conv2d(4096, 21, 1)]
    count = {name: sum(map(count_params, parts)) for name, parts in
             {"down": down, "up": up, "norms": norms, "heads": heads}.items()}  # fmt: skip
    return {
        "encoder": count["down"],
        "SegNet": count["down"] + count["up"] + count["norms"],
        "FCN-VGG16": count["down"] + count["heads"],
    }


def memory(_: int) -> dict[str, float]:
    shapes = [(12, 32), (24, 16), (48, 8)]
    copies = sum(c * side**2 * 32 for c, side in shapes)
    indices = sum(c * (side // 2) ** 2 for c, side in shapes)
    return vgg(11) | {"bits, maps to indices": copies / (2 * indices), "as int64": copies / (64 * indices)}


def original_unet(_: int) -> dict[str, float]:
    """Follow 572 pixels through the paper's network, and count its layers and weights."""
    side, convs, weights, widths = 572, 0, 0, [1, 64, 128, 256, 512, 1024]
    for a, b in zip(widths, widths[1:]):  # noqa: RUF007
        weights += 9 * a * b + b + 9 * b * b + b
        convs, side = convs + 2, side - 4
        side = side // 2 if b < 1024 else side
    for b, a in ((1024, 512), (512, 256), (256, 128), (128, 64)):
        weights += 4 * b * a + a + 9 * b * a + a + 9 * a * a + a
        convs, side = convs + 3, 2 * side - 4
    return {"labels a side": side, "layers": convs + 1, "weights": weights + 64 * 2 + 2}


CLAIMS = [
    Claim(
        id="transposed-convolution",
        methods=("ch05/transposed_conv",),
        says="Upsampling: unpooling or strided transpose convolution",
        source="slide 'Fully Convolutional Networks (FCN)'; dumoulin2016guide",
        analogue="Stamps against torch, against the transposed matrix, and as the adjoint of a convolution; bilinear "
        "stamps against F.interpolate.",
        conditions="float64; kernel 3, stride 2, pad 1 from 4x4 to 8x8; kernel 8, stride 4 from 6x6 to 24x24.",
        threshold="all within 1e-12 (interpolation: but for the rim of two pixels)",
        measure=transposed,
        holds=lambda v: max(value[0] for value in v.values()) < 1e-12,
        exact=True,
    ),
    Claim(
        id="checkerboard",
        methods=("ch05/transposed_conv",),
        says="Transposed convolutions overlap unevenly where the stride does not divide the kernel",
        source="odena2016deconvolution",
        analogue="How many stamps reach a pixel inside, with stride 2 and kernels of 2, 3 and 4.",
        conditions="An 8x8 map of ones, kernels of ones.",
        threshold="1 to 4 for kernel 3; the same everywhere for kernels 2 and 4",
        measure=stamps,
        holds=lambda v: (
            (v["kernel 3, fewest"][0], v["kernel 3, most"][0]) == (1, 4)
            and v["kernel 2, fewest"] == v["kernel 2, most"]
            and v["kernel 4, fewest"] == v["kernel 4, most"]
        ),
        exact=True,
    ),
    Claim(
        id="skips-bring-edges",
        methods=("ch05/fcn",),
        says="FCN-32s, 16s, 8s: mean IU 59.4, 62.4, 62.7 on PASCAL VOC",
        source="long2015fully, table 2; slide 'Fully Convolutional Networks (FCN)'",
        analogue="No skip, one and two, with coarsest maps of an eighth of the side: mIoU, and mIoU near edges.",
        conditions=CHECKPOINTS,
        threshold="on every seed mIoU 32s < 16s and 16s < 8s + 0.01, and near edges 8s at least 0.05 above 32s",
        measure=scores("fcn32", "fcn16", "fcn8"),
        holds=lambda v: all(
            a < b < c + 0.01 and near - far > 0.05
            for a, b, c, far, near in zip(
                *(v[f"{name}, mIoU"] for name in ("fcn32", "fcn16", "fcn8")), v["fcn32, edges"], v["fcn8, edges"]
            )
        ),
        seeds=SEEDS,
    ),
    Claim(
        id="segnet-reuses-indices",
        methods=("ch05/segnet", "ch05/unpooling"),
        says="Upsampling reusing max-unpooling indices",
        source="slide 'SegNet'; badrinarayanan2017segnet",
        analogue="The trained network with its own indices, and with every value in the corner of its square.",
        conditions=CHECKPOINTS,
        threshold="on every seed the mIoU falls by more than 0.2 without the indices",
        measure=nails,
        holds=lambda v: all(a - b > 0.2 for a, b in zip(v["own indices"], v["nails"], strict=True)),
        seeds=SEEDS,
    ),
    Claim(
        id="segnet-comparable-to-fcn",
        methods=("ch05/segnet", "ch05/fcn"),
        says="SegNet: comparable to FCN",
        source="slide 'SegNet'",
        analogue="mIoU of SegNet and of FCN-8s.",
        conditions=CHECKPOINTS,
        threshold="on every seed SegNet's mIoU is at least FCN-8s' minus 0.03",
        measure=scores("fcn8", "segnet"),
        holds=lambda v: all(s >= f - 0.03 for f, s in zip(v["fcn8, mIoU"], v["segnet, mIoU"], strict=True)),
        seeds=SEEDS,
    ),
    Claim(
        id="segnet-memory",
        methods=("ch05/segnet",),
        says="SegNet: efficient architecture (memory + computation time)",
        source="slide 'SegNet'; badrinarayanan2017segnet",
        analogue="Parameters of the full-size encoder, of SegNet for 11 classes and of FCN with VGG-16's layers, on "
        "the meta device; bits that wait on the left side, against U-Net's maps in float32.",
        conditions="Counted, not run; the time is not measured here.",
        threshold="14 714 688, 29 449 355 and 134 346 581 weights; 64 to 1, with PyTorch's 64-bit indices 2 to 1",
        measure=memory,
        holds=lambda v: [value[0] for value in v.values()] == [14_714_688, 29_449_355, 134_346_581, 64, 2],
        exact=True,
    ),
    Claim(
        id="deconvnet-mirror",
        methods=("ch05/deconvnet",),
        says="DeconvNet: a deep mirror of unpooling and transposed convolution",
        source="slide 'Fully Convolutional Networks (FCN)'; noh2015learning",
        analogue="mIoU near edges of DeconvNet and SegNet, which has fewer weights.",
        conditions=CHECKPOINTS,
        threshold="on every seed within 0.03 of SegNet near edges, with more weights",
        measure=mirror,
        holds=lambda v: all(
            abs(d - s) <= 0.03 and times > 1
            for d, s, times in zip(v["deconvnet, edges"], v["segnet, edges"], v["times the weights"], strict=True)
        ),
        seeds=SEEDS,
        reason="Everything passes through 96 numbers in the middle, and 700 steps are few for it; the paper trains in "
        "two stages on cut-out things.",
    ),
    Claim(
        id="unet-is-best",
        methods=("ch05/unet", "ch05/fcn"),
        says="U-Net: precise localisation by concatenated skips",
        source="slide 'U-Net'; ronneberger2015unet",
        analogue="mIoU, and mIoU near edges, of six networks that go down and up.",
        conditions=CHECKPOINTS,
        threshold="on every seed the highest near edges, and a mIoU of at least FCN-32s' plus 0.10",
        measure=scores(*NETS),
        holds=lambda v: all(
            max(row) == row[-1] and u - f >= 0.10
            for row, u, f in zip(
                zip(*(v[f"{name}, edges"] for name in NETS)), v["unet, mIoU"], v["fcn32, mIoU"], strict=True
            )
        ),
        seeds=SEEDS,
    ),
    Claim(
        id="unet-uses-skips",
        methods=("ch05/unet",),
        says="U-Net: features of the left side are copied to the right",
        source="slide 'U-Net'; ronneberger2015unet",
        analogue="The trained network with the left maps of its joins replaced by zeros.",
        conditions=CHECKPOINTS,
        threshold="on every seed the mIoU falls by more than 0.2 without all skips",
        measure=cut_skips,
        holds=lambda v: all(a - b > 0.2 for a, b in zip(v["whole"], v["without all"], strict=True)),
        seeds=SEEDS,
    ),
    Claim(
        id="unet-of-the-paper",
        methods=("ch05/unet",),
        says="572x572 pixels in, 388x388 labels out, 23 convolutional layers",
        source="ronneberger2015unet, figure 1",
        analogue="Sizes, layers and weights, from the paper's widths.",
        conditions="One input channel, two classes, 3x3 kernels without padding, 2x2 up-convolutions.",
        threshold="388, 23 and 31 030 658",
        measure=original_unet,
        holds=lambda v: [value[0] for value in v.values()] == [388, 23, 31_030_658],
        exact=True,
    ),
]
