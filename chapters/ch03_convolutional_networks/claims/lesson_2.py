"""Claims about a LeNet-like network, dropout and data augmentation (notebook 2; batch norm: batch_norm.py).

Every claim was explored on the seeds 0 to 2; conditions and thresholds were fixed afterwards and measured on 10 to 12.
"""

from functools import lru_cache
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autograder.declare.claim import Claim
from dlcv_lab import accuracy, count_params, data, fit, seed
from dlcv_lab.data import Split
from solutions.ch03_convolutional_networks import (
    LeNet,
    geometric_ensemble,
    hflip,
    pad_crop,
)

SEEDS = (10, 11, 12)


def generator(n: int) -> torch.Generator:
    return torch.Generator().manual_seed(n)


def split(n: int) -> Split:
    """Split the 1797 digits into 1294 and 503, another way for each seed."""
    return data.split(*data.digits(), test=0.28, generator=generator(n))


def small_cnn(drop: nn.Module | None = None) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.AdaptiveMaxPool2d(2), nn.Flatten(), drop or nn.Identity(), nn.Linear(128, 10),
    )  # fmt: skip


def mlp(*sizes: int, drop: float = 0.0) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise(sizes[:-1]):
        layers += [nn.Linear(before, after), nn.ReLU(), *([nn.Dropout(drop)] if drop else [])]
    return nn.Sequential(*layers, nn.Linear(*sizes[-2:]))


def ten_per_class(x: Tensor, y: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    order = torch.randperm(len(y), generator=rng)
    rows = torch.cat([order[y[order] == k][:10] for k in range(10)])
    return x[rows], y[rows]


def lenet_counts(_: int) -> dict[str, float]:
    # LeNet-5 as printed: C1, S2, C3 (partial connections), S4, C5, F6; the fixed output codes are not trained
    maps = [3] * 6 + [4] * 9 + [6]
    layers = [6 * 26, 6 * 2, sum(25 * m + 1 for m in maps), 16 * 2, 120 * (16 * 25 + 1), 84 * 121]
    return {"grey": count_params(LeNet()), "colour": count_params(LeNet(3)), "LeNet-5": sum(layers)}


def cnn_or_mlp(n: int) -> dict[str, float]:
    digits, rng = split(n), generator(n)
    train = data.scattered_digits(16, rng, n=4000, source=digits.train)
    test = data.scattered_digits(16, rng, n=1000, source=digits.test)
    found = {}
    for name, make, lr in (
        ("linear", lambda: mlp(256, 10), 0.1),
        ("MLP", lambda: mlp(256, 128, 10), 0.1),
        ("CNN", small_cnn, 0.05),
    ):
        seed(n)
        model = make()
        fit(model, train, optimizer="sgd", lr=lr, steps=500, generator=generator(n), progress=False)
        found[name] = accuracy(model, *test)
        found[f"parameters {name}"] = count_params(model)
    return found


def shifted_digits(n: int) -> dict[str, float]:
    """Train on digits in the middle, test on digits one or two pixels away from it."""
    digits, found = split(n), {}
    middle, x = F.pad(digits.train.x, (4, 4, 4, 4)), F.pad(digits.test.x, (4, 4, 4, 4))
    for name in ("strides", "pooling", "global maximum"):
        seed(n)
        stride, pool = (2, nn.Identity()) if name == "strides" else (1, nn.MaxPool2d(2))
        last = nn.AdaptiveMaxPool2d(1) if name == "global maximum" else pool
        model = nn.Sequential(
            nn.Conv2d(1, 16, 3, stride, 1), nn.ReLU(), pool, nn.Conv2d(16, 32, 3, stride, 1), nn.ReLU(), last,
            nn.Flatten(), nn.Linear(32 if name == "global maximum" else 512, 10),
        )  # fmt: skip
        fit(model, (middle, digits.train.y), lr=3e-3, steps=300, generator=generator(n), progress=False)
        found[f"{name}, centred"] = accuracy(model, x, digits.test.y)
        for d in (1, 2):
            moved = [torch.roll(x, step, (2, 3)) for step in ((0, d), (0, -d), (d, 0), (-d, 0))]
            found[f"{name}, {d} off"] = sum(accuracy(model, m, digits.test.y) for m in moved) / 4
    return found


def few_labels_mlp(n: int) -> dict[str, float]:
    digits = split(n)
    few = ten_per_class(*digits.train, generator(n))
    found = {}
    for name, p in (("without", 0.0), ("dropout", 0.5)):
        seed(n)
        model = mlp(64, 256, 256, 10, drop=p)
        fit(model, few, steps=300, generator=generator(n), progress=False)
        found[name] = accuracy(model, *digits.test)
        found[f"gap {name}"] = accuracy(model, *few) - found[name]
    return found


@lru_cache(maxsize=len(SEEDS))
def few_labels_cnn(n: int) -> dict[str, float]:
    digits, rng = split(n), generator(n)
    few = data.scattered_digits(16, rng, source=ten_per_class(*digits.train, rng))
    test = data.scattered_digits(16, rng, n=1000, source=digits.test)

    def shift(x: Tensor, y: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        steps = torch.randint(16, (len(x), 2), generator=rng).tolist()
        return torch.stack([torch.roll(a, step, (1, 2)) for a, step in zip(x, steps)]), y

    found = {}
    for name, p, augment in (("without", 0.0, None), ("dropout", 0.5, None), ("shifts", 0.0, shift)):
        seed(n)
        model = small_cnn(nn.Dropout(p))
        fit(model, few, lr=3e-3, steps=400, augment=augment, generator=generator(n), progress=False)
        found[name] = accuracy(model, *test)
        found[f"training {name}"] = accuracy(model, *few)
    return found


def mismatched(n: int) -> dict[str, float]:
    digits = split(n)
    few = ten_per_class(*digits.train, generator(n))

    def shift(x: Tensor, y: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        return pad_crop(x, torch.randint(3, (len(x), 2), generator=rng), pad=1), y

    def flip(x: Tensor, y: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        return hflip(x, torch.rand(len(x), generator=rng) < 0.5), y

    found = {}
    for name, augment in (("none", None), ("shifts by 1", shift), ("flips", flip)):
        seed(n)
        model = mlp(64, 256, 256, 10)
        fit(model, few, steps=300, augment=augment, generator=generator(n), progress=False)
        found[name] = accuracy(model, *digits.test)
    return found


def ensemble_error(n: int) -> dict[str, float]:
    rng = generator(n)
    x, w = torch.randn(10, generator=rng, dtype=torch.float64), torch.randn(5, 10, generator=rng, dtype=torch.float64)
    return {"error": float((geometric_ensemble(x, w) - F.softmax(w @ x, 0)).abs().max())}


def every(values: dict[str, list[float]], a: str, b: str, margin: float) -> bool:
    """Say whether a exceeds b by the margin on every seed."""
    return all(left - right >= margin for left, right in zip(values[a], values[b]))


def mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)


CLAIMS = [
    Claim(
        id="lenet-parameters",
        methods=("ch03/lenet",),
        says="LeNet-5 has 60 000 trainable parameters (section II.B)",
        source="lecun1998gradient; slide 'CNN'",
        analogue="Count the parameters of the modern form, and those of the printed table by hand.",
        conditions="Trainable numbers only; the output codes of LeNet-5 are fixed.",
        threshold="61 706 (grey), 62 006 (colour) and 60 000 (LeNet-5), exactly",
        measure=lenet_counts,
        holds=lambda v: (v["grey"], v["colour"], v["LeNet-5"]) == ([61_706], [62_006], [60_000]),
        exact=True,
    ),
    Claim(
        id="cnn-beats-mlp",
        methods=("ch03/lenet",),
        says="Local connectivity and weight sharing make fully connected layers on pixels unnecessary",
        source="lecun1998gradient; slide 'Putting them together -> CNN'",
        analogue="8x8 digits at a random place of 16x16 pixels: linear, MLP 256-128-10, a small CNN.",
        conditions="4000 and 1000 pictures from disjoint digits, 500 steps of 64, SGD with momentum 0.9, lr 0.1 "
        "(CNN 0.05).",
        threshold="on every seed, CNN at least 0.10 above the MLP with less than a third of its parameters",
        measure=cnn_or_mlp,
        holds=lambda v: every(v, "CNN", "MLP", 0.10) and 3 * v["parameters CNN"][0] < v["parameters MLP"][0],
        seeds=SEEDS,
    ),
    Claim(
        id="networks-under-shifts",
        methods=("ch03/lenet",),
        says="Pooling provides spatial invariance",
        source="zhang2019making; slide 'Pooling Layer'",
        analogue="Train whole networks on centred digits, move the test digits by one or two pixels: stride 2, 2x2 max "
        "pooling (equal weights), or a global maximum behind one 2x2 pooling.",
        conditions="Adam 3e-3, 300 steps of 64; mean over the four directions.",
        threshold="invariance: with pooling or the global maximum, a loss of at most 0.05 at 1 and at 2 pixels",
        measure=shifted_digits,
        holds=lambda v: any(
            mean(v[f"{name}, centred"]) - min(mean(v[f"{name}, {d} off"]) for d in (1, 2)) <= 0.05
            for name in ("pooling", "global maximum")
        ),
        seeds=SEEDS,
        reason="2x2 blocks stand still: a shift by an odd number of pixels cuts the strokes at other places. Behind a "
        "global maximum even shifts are forgiven, odd ones are not; flattened maps keep the place anyway.",
    ),
    Claim(
        id="dropout-few-labels-mlp",
        methods=("ch03/dropout",),
        says="Dropout reduces overfitting and the test error (figure 4)",
        source="srivastava2014dropout; slide 'Training Technique #1: Dropout'",
        analogue="10 labels per class of the 8x8 digits, MLP 64-256-256-10, dropout 0.5 behind both hidden layers.",
        conditions="Adam 1e-3, 300 steps, the same initial weights and batches with and without.",
        threshold="mean test accuracy at least 0.01 higher",
        measure=few_labels_mlp,
        holds=lambda v: mean(v["dropout"]) - mean(v["without"]) >= 0.01,
        seeds=SEEDS,
        reason="The difference is within the spread over seeds: both fit the 100 pictures without an error.",
    ),
    Claim(
        id="dropout-few-labels-cnn",
        methods=("ch03/dropout",),
        says="Dropout reduces overfitting and the test error (figure 4)",
        source="srivastava2014dropout; slide 'Training Technique #1: Dropout'",
        analogue="The small CNN on 100 digits at random places, dropout 0.5 before its last layer.",
        conditions="Adam 3e-3, 400 steps, 1000 test pictures, the same initial weights and batches with and without.",
        threshold="at least 0.03 higher on every seed",
        measure=few_labels_cnn,
        holds=lambda v: every(v, "dropout", "without", 0.03),
        seeds=SEEDS,
    ),
    Claim(
        id="dropout-geometric-mean",
        methods=("ch03/dropout",),
        says="The whole network with scaled weights averages the 2^n thinned networks; for one softmax layer exactly, "
        "in the geometric mean",
        source="srivastava2014dropout, baldi2013understanding; slide 'Intuition: successful conspiracies'",
        analogue="All 1024 masks of 10 inputs of a random softmax layer.",
        conditions="float64, p = 1/2",
        threshold="largest difference below 1e-12",
        measure=ensemble_error,
        holds=lambda v: max(v["error"]) < 1e-12,
        exact=True,
    ),
    Claim(
        id="augmentation-that-matches",
        methods=("ch03/data_augmentation",),
        says="Virtual training samples (random crops) help where labels are few",
        source="wu2015deep; slide 'Training Technique #2: Data Augmentation'",
        analogue="The small CNN on 100 digits at random places; batches are shifted at random, round the edge.",
        conditions="Adam 3e-3, 400 steps, test digits at random places; shifts stand for crops.",
        threshold="at least 0.05 higher on every seed",
        measure=few_labels_cnn,
        holds=lambda v: every(v, "shifts", "without", 0.05),
        seeds=SEEDS,
    ),
    Claim(
        id="augmentation-that-does-not-match",
        methods=("ch03/data_augmentation",),
        says="Virtual training samples (horizontal flip, random crop) help where labels are few",
        source="wu2015deep; slide 'Training Technique #2: Data Augmentation'",
        analogue="10 labels per class of the centred 8x8 digits, MLP 64-256-256-10; shifts by up to 1 pixel, or flips.",
        conditions="Adam 1e-3, 300 steps; the test digits are centred and never mirrored.",
        threshold="mean test accuracy at least 0.01 higher with shifts or with flips",
        measure=mismatched,
        holds=lambda v: max(mean(v["shifts by 1"]), mean(v["flips"])) - mean(v["none"]) >= 0.01,
        seeds=SEEDS,
        reason="The test digits never move and are never mirrored: the network spends its capacity on pictures that do "
        "not come.",
    ),
]
