"""Measured claims about the convolution layer and what surrounds it (notebook 1); closed forms stand beside this file.

Everything here was explored on the seeds 0 to 2; conditions and thresholds were fixed afterwards and measured on 10 to
12.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autograder.declare.claim import Claim
from dlcv_lab import accuracy, count_params, data, fit, seed
from solutions.ch03_convolutional_networks import lesson_1 as ours

SEEDS = (10, 11, 12)
SLIDE = "lecture 002, "


def generator(n: int) -> torch.Generator:
    return torch.Generator().manual_seed(n)


def moving(n: int) -> tuple[data.Labelled, data.Labelled]:
    """Return 4000 training and 1000 test sheets of 16x16 with a digit at a random place, from disjoint digits."""
    g = generator(n)
    train, test = data.split(*data.digits(), test=0.4, generator=g)
    return data.scattered_digits(16, g, n=4000, source=train), data.scattered_digits(16, g, n=1000, source=test)


def trained(model: nn.Module, pair: tuple[data.Labelled, data.Labelled], n: int, lr: float) -> float:
    """Train 500 steps of SGD (momentum .9, batches of 64) and return the test accuracy."""
    fit(model, pair[0], optimizer="sgd", lr=lr, steps=500, generator=generator(n), progress=False)
    return accuracy(model, *pair[1])


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))


class Local(nn.Module):
    """A locally connected layer, 16 maps, 5x5 windows on 16x16, initialised like the convolution beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.empty(16, 12, 12, 1, 5, 5).uniform_(-0.2, 0.2))
        self.b = nn.Parameter(torch.empty(16, 12, 12).uniform_(-0.2, 0.2))

    def forward(self, x: Tensor) -> Tensor:
        windows = x.unfold(2, 5, 1).unfold(3, 5, 1)
        return torch.einsum("ncijuv,oijcuv->noij", windows, self.w) + self.b


class SlidingTemplates(nn.Module):
    """Ten 8x8 filters, each scored at its best place, computed by the functions of the notebook."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 10, 8)

    def forward(self, x: Tensor) -> Tensor:
        return ours.max_pool2d(ours.conv2d(x, self.layer.weight, self.layer.bias), 9).flatten(1)


def moving_digits(n: int) -> dict[str, float]:
    seed(n)
    pair = moving(n)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(256, 10))
    return {"linear": trained(linear, pair, n, 0.1), "mlp": trained(mlp(), pair, n, 0.1)}


def sharing(n: int) -> dict[str, float]:
    seed(n)
    pair = moving(n)
    out = {}
    for name, layer in {"local": Local(), "conv": nn.Conv2d(1, 16, 5)}.items():
        model = nn.Sequential(layer, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(576, 10))
        out |= {name: trained(model, pair, n, 0.05), f"{name}_parameters": count_params(model)}
    return out


def templates(n: int) -> dict[str, float]:
    seed(n)
    pair = moving(n)
    sliding, other = SlidingTemplates(), mlp()
    return {
        "sliding": trained(sliding, pair, n, 0.2),
        "mlp": trained(other, pair, n, 0.1),
        "sliding_parameters": count_params(sliding),
        "mlp_parameters": count_params(other),
    }


@lru_cache
def zeros(n: int) -> dict[str, float]:
    """Return the share of zeros after each ReLU of three fresh 3x3 layers, for noise and for moving digits."""
    seed(n)
    net = nn.Sequential(*(part for c in (1, 16, 16) for part in (nn.Conv2d(c, 16, 3, padding=1), nn.ReLU())))
    inputs = {"noise": torch.randn(256, 1, 16, 16, generator=generator(n)), "digits": moving(n)[1].x}
    out = {}
    with torch.no_grad():
        for name, x in inputs.items():
            for at, layer in enumerate(net):
                x = layer(x)
                if at % 2:
                    out[f"{name}_layer_{at // 2 + 1}"] = (x == 0).float().mean().item()
    return out


@lru_cache
def shifted(n: int) -> dict[str, float]:
    """Return the accuracy on digits moved by 0 and 1 pixels, for networks that pool over 1, 2 and 4 pixels."""
    train, test = data.split(*data.digits(), test=0.4, generator=generator(n))

    def placed(part: data.Labelled, top: int, left: int) -> Tensor:
        return F.pad(part.x, (left, 8 - left, top, 8 - top))

    out = {}
    for k in (1, 2, 4):
        seed(n)
        head = nn.Linear(16 * (16 // k) ** 2, 10)
        model = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(k), nn.Flatten(), head)
        pair = (placed(train, 4, 4), train.y)
        fit(model, pair, optimizer="sgd", lr=0.05, steps=300, generator=generator(n), progress=False)
        moves = [(4, 5), (5, 4), (4, 3), (3, 4)]
        out[f"pool{k}_shift0"] = accuracy(model, placed(test, 4, 4), test.y)
        out[f"pool{k}_shift1"] = sum(accuracy(model, placed(test, *move), test.y) for move in moves) / 4
    return out


def drop(v: dict[str, list[float]], k: int) -> list[float]:
    """Return the loss of accuracy under a shift by one pixel, per seed."""
    return [a - b for a, b in zip(v[f"pool{k}_shift0"], v[f"pool{k}_shift1"])]


FIVE_HUNDRED = "4000 training and 1000 test sheets from disjoint digits; 500 steps of SGD, momentum .9, batches of 64"

CLAIMS = [
    Claim(
        id="place-breaks-fully-connected",
        methods=("ch03/mlp_weight_count",),
        says="Fully connected networks do not cope with pictures.",
        source=SLIDE + "'how many weights for MLPs for images?'",
        analogue="A linear classifier (2 570 parameters) and an MLP 256-128-10 (34 186) on digits at a random place of "
        "16x16; on centred digits both read more than 95 %.",
        conditions=FIVE_HUNDRED + ", lr .1",
        threshold="linear at most .30, MLP at most .85, for every seed",
        measure=moving_digits,
        holds=lambda v: max(v["linear"]) <= 0.30 and max(v["mlp"]) <= 0.85,
        seeds=SEEDS,
        cheap=False,
    ),
    Claim(
        id="sharing-beats-locality",
        methods=("ch03/local_connectivity", "ch03/weight_sharing", "ch03/conv2d"),
        says="Local connectivity and weight sharing make the convolutional network.",
        source=SLIDE + "'Property I', 'Property II'; fukushima1980neocognitron",
        analogue="The same network with a locally connected and with a convolution layer, on digits at a random place.",
        conditions=FIVE_HUNDRED + ", lr .05; 16 maps of 5x5, ReLU, 2x2 max pooling, linear classifier in both",
        threshold="convolution above locally connected by at least .15 for every seed",
        measure=sharing,
        holds=lambda v: min(c - u for c, u in zip(v["conv"], v["local"])) >= 0.15,
        seeds=SEEDS,
        cheap=False,
    ),
    Claim(
        id="sliding-templates",
        methods=("ch03/convolution", "ch03/conv2d", "ch03/max_pool", "ch03/fc_layer"),
        says="A convolution layer finds its pattern wherever it is, with few weights.",
        source=SLIDE + "'Putting them together'; lecun1998gradient",
        analogue="Ten 8x8 filters and one max over all places (650 parameters) against an MLP with 34 186.",
        conditions=FIVE_HUNDRED + "; lr .2 for the filters, .1 for the MLP, chosen on seeds 0 to 2",
        threshold="filters above the MLP by at least .10 for every seed, with less than a fiftieth of the parameters",
        measure=templates,
        holds=lambda v: (
            min(a - b for a, b in zip(v["sliding"], v["mlp"])) >= 0.10
            and v["sliding_parameters"][0] * 50 < v["mlp_parameters"][0]
        ),
        seeds=SEEDS,
        cheap=False,
    ),
    Claim(
        id="relu-halves-noise",
        methods=("ch03/relu",),
        says="ReLU zeroes negative answers.",
        source=SLIDE + "'Nonlinearity Layer'",
        analogue="Share of zeros after each of three ReLUs at initialisation, for Gaussian noise.",
        conditions="3x3 layers of 16 maps, PyTorch's default initialisation, 256 pictures of 16x16",
        threshold="between .4 and .6 after every layer, mean over the seeds",
        measure=zeros,
        holds=lambda v: all(0.4 < sum(v[f"noise_layer_{i}"]) / len(SEEDS) < 0.6 for i in (1, 2, 3)),
        seeds=SEEDS,
    ),
    Claim(
        id="relu-halves-digits",
        methods=("ch03/relu",),
        says="About half of the activations are zero at initialisation.",
        source="course card of the nonlinearity layer",
        analogue="Share of zeros after each of three ReLUs at initialisation, for digits on an empty sheet.",
        conditions="as in relu-halves-noise, 1000 sheets with one digit",
        threshold="between .4 and .6 after every layer, for every seed",
        measure=zeros,
        holds=lambda v: all(0.4 < x < 0.6 for i in (1, 2, 3) for x in v[f"digits_layer_{i}"]),
        seeds=SEEDS,
        reason="Behind a ReLU all inputs are positive, so the sign of a few sums decides for whole maps; 16 maps are "
        "few.",
    ),
    Claim(
        id="pooling-softens-a-shift",
        methods=("ch03/max_pool",),
        says="Pooling reduces the spatial size and provides spatial invariance.",
        source=SLIDE + "'Pooling Layer'; zhang2019making",
        analogue="Loss of accuracy when centred digits move by one pixel (mean of four directions), by size of "
        "pooling.",
        conditions="16 filters of 3x3, ReLU, max pooling, linear classifier; trained 300 steps on centred digits, lr "
        ".05",
        threshold="the loss with 4x4 pooling is smaller than without pooling by at least .10, for every seed",
        measure=shifted,
        holds=lambda v: min(a - b for a, b in zip(drop(v, 1), drop(v, 4))) >= 0.10,
        seeds=SEEDS,
        cheap=False,
    ),
    Claim(
        id="pooling-gives-invariance",
        methods=("ch03/max_pool",),
        says="Pooling provides spatial invariance.",
        source=SLIDE + "'Pooling Layer'; azulay2019deep",
        analogue="The same networks: does 4x4 pooling make a shift by one pixel harmless?",
        conditions="as in pooling-softens-a-shift",
        threshold="the loss with 4x4 pooling is at most .05 for every seed",
        measure=shifted,
        holds=lambda v: max(drop(v, 4)) <= 0.05,
        seeds=SEEDS,
        cheap=False,
        reason="A max is unchanged only while the strongest pixel stays in its block; many cross the border of a "
        "block.",
    ),
]
