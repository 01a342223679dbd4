"""Closed forms, identities and gradients of notebook 1: claims that are exact, or hold up to rounding."""

import torch
import torch.nn.functional as F
from torch import nn

from autograder.declare.claim import Claim
from dlcv_lab import count_params, data
from solutions.ch03_convolutional_networks import lesson_1 as ours

SEEDS = (10, 11, 12)
SLIDE = "lecture 002, "


def generator(n: int) -> torch.Generator:
    return torch.Generator().manual_seed(n)


def weights(_: int) -> dict[str, float]:
    sizes = {k: ours.count_layer_params(k, (3, 32, 32), 5, 5, bias=False) for k in ("fc", "local")}
    return sizes | {
        "conv": ours.count_layer_params("conv", (3, 32, 32), 5, 5),
        "fc_biases": ours.count_layer_params("fc", (3, 32, 32), 5, 5) - sizes["fc"],
        "grey_200": 200 * 200 * 40_000,
    }


def equivariance(n: int) -> dict[str, float]:
    x, w = torch.randn(2, 3, 16, 16, generator=generator(n)), torch.randn(4, 3, 3, 3, generator=generator(n + 1))
    dense = torch.randn(256, 256, generator=generator(n + 2)) / 16
    return {
        "conv": ours.equivariance_gap(lambda t: F.conv2d(F.pad(t, (1,) * 4, mode="circular"), w), x, 3, -5),
        "fc": ours.equivariance_gap(lambda t: (t.flatten(2) @ dense.T).reshape(t.shape), x, 3, -5),
    }


def toeplitz(n: int) -> dict[str, float]:
    w, x = torch.randn(3, 3, generator=generator(n)), torch.randn(9, 7, generator=generator(n + 1))
    A = ours.conv_matrix(w, 9, 7)
    same = max((row[row != 0] - w.flatten()).abs().max().item() for row in A)
    gap = (A @ x.flatten() - F.conv2d(x[None, None], w[None, None]).flatten()).abs().max().item()
    return {"nonzero": int((A != 0).sum()), "places": A.shape[0], "row_difference": same, "conv_difference": gap}


def sobel(_: int) -> dict[str, float]:
    from skimage.filters import sobel_h

    x = data.photo("camera")[0].double()
    w = torch.tensor([[1.0, 2, 1], [0, 0, 0], [-1, -2, -1]], dtype=torch.float64)
    correlated, convolved = ours.correlate2d(x, w), ours.convolve2d(x, w)
    reference = torch.from_numpy(sobel_h(x.numpy()))[1:-1, 1:-1]
    return {
        "sum_of_both": (correlated + convolved).abs().max().item(),
        "largest": correlated.abs().max().item(),
        "from_skimage": min((s * reference * 4 - correlated).abs().max().item() for s in (1, -1)),
    }


def shrinking(_: int) -> dict[str, float]:
    x = torch.zeros(1, 3, 32, 32)
    first, second = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 10, 5)
    maps = ours.conv2d(x, first.weight, first.bias)
    try:
        ours.conv2d(maps, torch.zeros(10, 3, 5, 5))
        refused = 0.0
    except ValueError:
        refused = 1.0
    return {
        "after_first": maps.shape[-1],
        "after_second": ours.conv2d(maps, second.weight, second.bias).shape[-1],
        "parameters_first": count_params(first),
        "parameters_second": count_params(second),
        "depth_3_refused": refused,
    }


def gradient(n: int) -> dict[str, float]:
    g = generator(n)
    x, w = (torch.randn(*s, dtype=torch.float64, generator=g) for s in [(2, 3, 7, 6), (4, 3, 3, 3)])
    dy = torch.randn(2, 4, 4, 3, dtype=torch.float64, generator=g)
    dx, dw, _ = ours.conv2d_backward(dy, x, w, stride=2, pad=1)
    worst = 0.0
    for value, analytic in ((x, dx), (w, dw)):
        numeric = torch.empty_like(value)
        for at in range(value.numel()):
            sides = []
            for h in (1e-4, -1e-4):
                moved = value.clone()
                moved.view(-1)[at] += h
                pair = (moved, w) if value is x else (x, moved)
                sides.append((ours.conv2d(*pair, stride=2, pad=1) * dy).sum())
            numeric.view(-1)[at] = (sides[0] - sides[1]) / 2e-4
        worst = max(worst, ((numeric - analytic).abs().max() / analytic.abs().max()).item())
    return {"relative_error": worst}


def fields(_: int) -> dict[str, float]:
    conv, halve = (3, 1, 1), (2, 2, 1)
    r, jump = ours.receptive_field([conv, conv, halve] * 2 + [conv, conv, conv, halve] * 3)
    return {
        "vgg16_field": r,
        "vgg16_jump": jump,
        "two_3x3": ours.receptive_field([conv, conv])[0],
        "one_5x5": ours.receptive_field([(5, 1, 1)])[0],
        "weights_two_3x3": 2 * count_params(nn.Conv2d(64, 64, 3, bias=False, device="meta")) / 64**2,
        "weights_one_5x5": count_params(nn.Conv2d(64, 64, 5, bias=False, device="meta")) / 64**2,
    }


def fully_connected(n: int) -> dict[str, float]:
    W, b = torch.randn(10, 168, generator=generator(n)) / 13, torch.randn(10, generator=generator(n + 1))
    x = torch.randn(5, 7, 4, 6, generator=generator(n + 2))
    gap = F.conv2d(x, *ours.fc_as_conv(W, b, (7, 4, 6))).flatten(1) - F.linear(x.flatten(1), W, b)
    fc6 = nn.Linear(512 * 7 * 7, 4096, device="meta")
    return {"difference": gap.abs().max().item(), "vgg16_fc6": count_params(fc6)}


CLAIMS = [
    Claim(
        id="weights-of-three-layers",
        methods=("ch03/mlp_weight_count", "ch03/local_connectivity", "ch03/weight_sharing"),
        says="An MLP on pixels needs too many weights; local connectivity and weight sharing remove almost all of "
        "them.",
        source=SLIDE + "'how many weights for MLPs for images?'; lecun1998gradient",
        analogue="Weights of a layer from 32x32x3 to 28x28x5, connected in three ways; 200x200 grey to 40 000 units.",
        conditions="5x5 windows, stride 1, no padding; biases counted for the convolution only",
        threshold="exactly 12 042 240, 294 000, 380; 3920 biases of the first; 1.6e9",
        measure=weights,
        holds=lambda v: (
            [v[k][0] for k in ("fc", "local", "conv", "fc_biases", "grey_200")]
            == [12_042_240, 294_000, 380, 3920, 1.6e9]
        ),
        exact=True,
    ),
    Claim(
        id="shift-equivariance",
        methods=("ch03/weight_sharing",),
        says="All neurons of a map have identical weights, so a shifted picture gives a shifted map.",
        source=SLIDE + "'Property II of CNN: Weight Sharing'",
        analogue="Largest |f(shift x) - shift f(x)| of a 3x3 convolution with circular padding and of a dense layer.",
        conditions="random weights and pictures of 16x16; shift by 3 rows down and 5 columns to the left",
        threshold="convolution below 1e-5, dense above .1, for every seed",
        measure=equivariance,
        holds=lambda v: max(v["conv"]) < 1e-5 and min(v["fc"]) > 0.1,
        seeds=SEEDS,
    ),
    Claim(
        id="convolution-is-a-toeplitz-matrix",
        methods=("ch03/weight_sharing", "ch03/convolution"),
        says="Convolution is a local linear operator.",
        source=SLIDE + "'What is a Convolution?'",
        analogue="The matrix of a 3x3 kernel on 9x7 pixels: 35 places, the same nine numbers in every row.",
        conditions="random kernel and picture",
        threshold="35 rows, exactly 315 non-zeros, rows equal; matrix product and conv2d agree to 1e-5",
        measure=toeplitz,
        holds=lambda v: (
            (v["places"], v["nonzero"], v["row_difference"]) == ([35.0], [315.0], [0.0])
            and max(v["conv_difference"]) < 1e-5
        ),
        exact=True,
    ),
    Claim(
        id="half-turn-of-sobel",
        methods=("ch03/convolution",),
        says="A convolution is a weighted moving sum.",
        source=SLIDE + "'What is a Convolution?'; dumoulin2016guide",
        analogue="Correlation and convolution of a photograph with a Sobel kernel; sobel_h of scikit-image.",
        conditions="photograph 'camera', 512x512, float64, inside the border",
        threshold="the two are exactly opposite, and equal to four times scikit-image's filter to 1e-9",
        measure=sobel,
        holds=lambda v: v["sum_of_both"][0] < 1e-12 < v["largest"][0] and v["from_skimage"][0] < 1e-9,
        exact=True,
    ),
    Claim(
        id="shrinking-32-28-24",
        methods=("ch03/conv2d", "ch03/output_size"),
        says="A 32x32 picture convolved repeatedly with 5x5x3 filters shrinks: 32 -> 28 -> 24.",
        source=SLIDE + "'Putting them together (cont'd)'",
        analogue="Two layers of 6 and 10 filters; the second with filters of depth 6, and of depth 3 as on the slide.",
        conditions="5x5, stride 1, no padding",
        threshold="28, 24; 456 and 1510 parameters; filters of depth 3 are refused by the second layer",
        measure=shrinking,
        holds=lambda v: [x[0] for x in v.values()] == [28, 24, 456, 1510, 1],
        exact=True,
    ),
    Claim(
        id="gradient-of-the-convolution",
        methods=("ch03/conv_backward",),
        says="A convolutional network is trained by back-propagation.",
        source=SLIDE + "'Training'; lecun1998gradient",
        analogue="Hand-written dx and dw against central differences on 2x3x7x6, stride 2, padding 1.",
        conditions="float64, step 1e-4",
        threshold="relative error below 1e-8 for every seed",
        measure=gradient,
        holds=lambda v: max(v["relative_error"]) < 1e-8,
        seeds=SEEDS,
    ),
    Claim(
        id="fields-of-view",
        methods=("ch03/output_size",),
        says="A 5x5 filter gives each neuron a 5x5 receptive field.",
        source=SLIDE + "'brain/neuron view of CONV layer (cont'd)'; simonyan2015very",
        analogue="Receptive field of two 3x3 layers and of VGG16 up to its last pooling, by the recursion.",
        conditions="13 convolutions of 3x3 and five 2x2 poolings",
        threshold="VGG16: 212 pixels, jump 32; two 3x3 see 5 pixels with 18 instead of 25 weights per pair of channels",
        measure=fields,
        holds=lambda v: [x[0] for x in v.values()] == [212, 32, 5, 5, 18, 25],
        exact=True,
    ),
    Claim(
        id="fully-connected-is-a-convolution",
        methods=("ch03/fc_layer",),
        says="Neurons of the FC layer connect to the entire input volume.",
        source=SLIDE + "'FC Layer'; simonyan2015very",
        analogue="A linear layer and the convolution with kernels as large as the maps; parameters of VGG16's first "
        "FC layer.",
        conditions="7 maps of 4x6, float32, weights of size 1/sqrt(168)",
        threshold="difference below 1e-5 and exactly 102 764 544 parameters",
        measure=fully_connected,
        holds=lambda v: max(v["difference"]) < 1e-5 and v["vgg16_fc6"][0] == 102_764_544,
        exact=True,
    ),
]
