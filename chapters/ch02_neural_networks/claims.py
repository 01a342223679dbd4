"""Measured claims of chapter 2. Explored on the seeds 0 to 11; conditions and thresholds were fixed, then measured."""

import itertools
import math
import time
from functools import lru_cache

import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from autograder.declare.claim import Claim
from dlcv_lab import data, fit, seed, world, zoo
from solutions import ch02_neural_networks as ours

SEEDS = (20, 21, 22)
STRENGTHS = (0.0, 0.01, 0.1, 1.0, 10.0)
CLOUDS = (
    "Two Gaussian clouds around (-1, -1) and (1, 1) with unit variance, 10 points each, drawn again until a line "
    "through the origin separates them; 4000 test points; gradient descent from zero, learning rate 0.05, 5000 steps."
)


def generator(n: int) -> torch.Generator:
    return torch.Generator().manual_seed(n)


def two_clouds(n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    t = (torch.arange(2 * n) >= n).float()
    return torch.randn(2 * n, 2, generator=rng) + (2 * t - 1)[:, None], t


def separable(x: Tensor, t: Tensor) -> bool:
    """Say whether a line through the origin separates the points: all (2t - 1) x lie in one open half plane."""
    turned = (2 * t - 1)[:, None] * x
    angle = torch.atan2(turned[:, 1], turned[:, 0]).sort().values
    gaps = torch.cat([angle.diff(), angle[:1] + 2 * math.pi - angle[-1:]])
    return bool(gaps.max() > math.pi)


@lru_cache
def walks(n: int) -> dict:
    """Return {strength: path} and the points of a separable draw: (x, t, x_test, t_test)."""
    rng = generator(n)
    x, t = two_clouds(10, rng)
    while not separable(x, t):
        x, t = two_clouds(10, rng)
    found = {a: ours.train_neuron(x, t, alpha=a, lr=0.05, steps=5000) for a in STRENGTHS}
    return {"paths": found, "data": (x, t, *two_clouds(2000, rng))}


def charge(w: Tensor, x: Tensor, t: Tensor) -> float:
    return float(ours.objective(w, x, t)) / len(t)


def strip(_: int) -> dict[str, float]:
    worst = 0.0
    for w in ((0.5, 0.2), (1.0, 2.0), (-3.0, 4.0)):
        w = torch.tensor(w, dtype=torch.float64)
        along = torch.linspace(-10, 10, 1_000_001, dtype=torch.float64)
        p = ours.neuron(along[:, None] * w / w.norm(), w)
        width = 2e-5 * float(((p > 0.25) & (p < 0.75)).sum())
        worst = max(worst, abs(width / (2 * math.log(3) / float(w.norm())) - 1))
    return {"relative error": worst}


def lengths(n: int) -> dict[str, float]:
    return {f"alpha {a:g}": float(path[-1].norm()) for a, path in walks(n)["paths"].items()}


def charges(n: int) -> dict[str, float]:
    found = walks(n)
    x, t, x_test, t_test = found["data"]
    free = found["paths"][0.0]
    values = {f"test, alpha {a:g}": charge(path[-1], x_test, t_test) for a, path in found["paths"].items()}
    lowest = min(charge(free[k], x_test, t_test) for k in range(0, 200))
    return values | {"training, alpha 0": charge(free[-1], x, t), "test, alpha 0, best step": lowest}


def mistakes(n: int) -> dict[str, float]:
    found = walks(n)
    _, _, x, t = found["data"]
    return {
        f"right, alpha {a:g}": ((x @ found["paths"][a][-1] > 0) == (t == 1)).float().mean().item() for a in (0.0, 1.0)
    }


def shrinking(_: int) -> dict[str, float]:
    silent, t = torch.zeros(5, 3, dtype=torch.float64), torch.tensor([0.0, 1, 1, 0, 1], dtype=torch.float64)
    w = torch.tensor([4.0, -2.0, 1.0], dtype=torch.float64)
    step = w - 0.1 * ours.objective_grad(w, silent, t, alpha=2.0)
    parameter = nn.Parameter(w.clone())
    sgd = torch.optim.SGD([parameter], lr=0.1, weight_decay=2.0)
    parameter.grad = torch.zeros_like(w)
    sgd.step()
    return {
        "from 0.8 w": float((step - 0.8 * w).abs().max()),
        "from SGD": float((step - parameter.detach()).abs().max()),
    }


def one_valley(n: int) -> dict[str, float]:
    x, t, _, _ = walks(n)["data"]
    worst, rng = 0.0, generator(n)
    for alpha in (0.1, 1.0, 10.0):
        fitted = LogisticRegression(C=1 / alpha, fit_intercept=False, tol=1e-10).fit(x.numpy(), t.numpy())
        best = torch.from_numpy(fitted.coef_[0]).float()
        for _ in range(5):
            w = 5 * torch.randn(2, generator=rng)
            for _ in range(5000):
                w = w - 0.05 * ours.objective_grad(w, x, t, alpha)
            worst = max(worst, float((w - best).abs().max()))
    return {"distance": worst}


def train(x: Tensor, t: Tensor, K: int, rng: torch.Generator, steps: int) -> list[Tensor]:
    net = [torch.randn(s, generator=rng) for s in ((K, x.shape[1]), (K,), (K,))] + [torch.zeros(())]
    speed = [torch.zeros_like(q) for q in net]
    for _ in range(steps):
        grads = ours.two_layer_backward(x, t, *net)
        speed = [0.9 * v + g / len(x) for v, g in zip(speed, grads)]
        net = [q - v for q, v in zip(net, speed)]
    return net


def right(net: list[Tensor], x: Tensor, t: Tensor) -> float:
    return float(((ours.two_layer_forward(x, *net)[1] > 0.5) == (t == 1)).float().mean())


def disk_and_ring(n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    t = (torch.arange(2 * n) >= n).float()
    radius = torch.rand(2 * n, generator=rng) + 1.5 * t
    angle = 2 * math.pi * torch.rand(2 * n, generator=rng)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1), t


def rings(n: int) -> dict[str, float]:
    rng = generator(n)
    points, unseen = disk_and_ring(100, rng), disk_and_ring(1000, rng)
    neuron = LogisticRegression(C=1e4).fit(points[0].numpy(), points[1].numpy())
    found = {"one neuron": float(neuron.score(unseen[0].numpy(), unseen[1].numpy()))}
    return found | {f"{K} hidden": right(train(*points, K, rng, 1500), *unseen) for K in (2, 3, 8)}


def xor_scenes(n: int) -> dict[str, float]:
    scene = world.xor(1000, n)
    x = torch.stack(
        [
            scene.scene.shape[:, 0] == world.label("shape", "circle"),
            scene.scene.colour[:, 0] == world.label("colour", "red"),
        ],
        1,
    ).float()
    t = scene.labels.float()
    linear = LogisticRegression(C=1e4).fit(x[:500].numpy(), t[:500].numpy())
    rng = generator(n)
    starts = [train(x[:500], t[:500], 4, rng, 1000) for _ in range(3)]
    net = min(starts, key=lambda net: float(F.binary_cross_entropy(ours.two_layer_forward(x[:500], *net)[1], t[:500])))
    return {
        "linear": float(linear.score(x[500:].numpy(), t[500:].numpy())),
        "4 hidden": right(net, x[500:], t[500:]),
    }


def xor_starts(n: int) -> dict[str, float]:
    rng = generator(n)
    corners = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]]).repeat(40, 1)
    t = (corners[:, 0] != corners[:, 1]).float()
    x = corners + 0.12 * torch.randn(160, 2, generator=rng)
    return {f"{K} hidden": sum(right(train(x, t, K, rng, 600), x, t) > 0.95 for _ in range(10)) / 10 for K in (2, 4)}


def cost(n: int) -> dict[str, float]:
    rng = generator(n)
    x, t = torch.randn(160, 2, generator=rng), (torch.rand(160, generator=rng) > 0.5).float()
    net = [torch.randn(250, 2), torch.randn(250), torch.randn(250), torch.zeros(())]
    backward = min(timed(lambda: ours.two_layer_backward(x, t, *net)) for _ in range(50))
    forward = min(timed(lambda: ours.two_layer_forward(x, *net)) for _ in range(50))
    return {"ratio": 2 * 1001 * forward / backward}


def timed(call) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def layers(n: int) -> dict[str, float]:
    rng = generator(n)
    digits = data.split(*data.digits(), test=0.4, generator=rng)
    moving = data.scattered_digits(16, rng, n=4000, source=digits.train)
    moving_test = data.scattered_digits(16, rng, n=1000, source=digits.test)
    found = {}
    for place, pair, side in (("centred", digits, 64), ("moving", (moving, moving_test), 256)):
        for name, bend in (("linear", None), ("no bend", nn.Identity()), ("ReLU", nn.ReLU())):
            seed(n)
            hidden = (nn.Linear(side, 128), bend) if bend else ()
            net = nn.Sequential(nn.Flatten(), *hidden, nn.Linear(128 if bend else side, 10))
            history = fit(net, pair[0], test=pair[1], optimizer="sgd", lr=0.1, steps=500, progress=False)
            found[f"{name}, {place}"] = history.accuracy[-1]
    return found


def fading(n: int) -> dict[str, float]:
    first = {name: ours.gradient_norms(name, 8, rng=generator(n))[0] for name in ("sigmoid", "tanh", "relu")}
    return {"sigmoid / relu": first["sigmoid"] / first["relu"], "tanh / relu": first["tanh"] / first["relu"]}


def deeper(n: int) -> dict[str, float]:
    model, _ = zoo.load("resnet")
    stem = nn.Sequential(model.conv1, model.bn1, model.act1, model.maxpool)
    stages = nn.Sequential(stem, model.layer1, model.layer2, model.layer3, model.layer4)
    scene = world.sample(1500, n)
    heard = ours.layer_activations(stages, (world.render(scene) - 0.5) / 0.5)
    found = {}
    for name, y in (("shape", scene.shape[:, 0]), ("colour", scene.colour[:, 0])):
        for stage, (h, channels) in enumerate(zip(heard, (64, 32, 48, 64, 96)), start=1):
            h = h.reshape(1500, channels, -1).mean(2)
            h = (h - h[:1000].mean(0)) / (h[:1000].std(0) + 1e-3)
            seed(n)
            probe = nn.Linear(channels, 8)
            history = fit(probe, (h[:1000], y[:1000]), test=(h[1000:], y[1000:]), lr=1e-2, progress=False)
            found[f"{name}, stage {stage}"] = history.accuracy[-1]
    return found


def mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)


def rising(v: dict[str, list[float]]) -> bool:
    """Say whether the mean accuracy for the shape never falls by more than .03, and rises by .15 in all."""
    shape = [mean(v[f"shape, stage {k}"]) for k in range(1, 6)]
    return all(b >= a - 0.03 for a, b in itertools.pairwise(shape)) and shape[-1] - shape[0] >= 0.15


CLAIMS = [
    Claim(
        id="soft-step",
        methods=("ch02/neuron",),
        says="The input-output function of a neuron is a step whose sharpness is the length of its weights",
        source="slide 'Input-Output Function of a Single Neuron'; mackay2003information",
        analogue="Walk across the boundary and measure how long the answer lies between 1/4 and 3/4.",
        conditions="float64, steps of 2e-5, three weight vectors",
        threshold="2 ln 3 / |w| within 0.1 %",
        measure=strip,
        holds=lambda v: v["relative error"][0] < 1e-3,
        exact=True,
    ),
    Claim(
        id="one-lowest-point",
        methods=("ch02/weight_space", "ch02/train_neuron"),
        says="w* = arg min of M(w) = G(w) + alpha E(w): there is one best neuron",
        source="slide 'Weight Space of a Single Neuron'",
        analogue="Gradient descent from five random starts for alpha 0.1, 1 and 10, against scikit-learn.",
        conditions=CLOUDS + " Starts with standard deviation 5.",
        threshold="every end within 0.001 of LogisticRegression's weights",
        measure=one_valley,
        holds=lambda v: max(v["distance"]) < 1e-3,
        seeds=SEEDS,
    ),
    Claim(
        id="extreme-weights",
        methods=("ch02/weight_decay",),
        says="The regulariser discourages the network using extreme weights",
        source="slide 'Overfitting and Weight Decay'",
        analogue="The length of the trained weights for alpha 0, 0.01, 0.1, 1 and 10.",
        conditions=CLOUDS,
        threshold="on every seed, the stronger the decay the shorter the weights; alpha 1 at most half of alpha 0",
        measure=lengths,
        holds=lambda v: all(
            row == tuple(sorted(row, reverse=True)) and 2 * row[3] <= row[0]
            for row in zip(*(v[f"alpha {a:g}"] for a in STRENGTHS))
        ),
        seeds=SEEDS,
    ),
    Claim(
        id="decay-shrinks",
        methods=("ch02/weight_decay",),
        says="weight decay - shrinks weights towards zero",
        source="slide 'Weight Space of a Single Neuron'",
        analogue="One step where all inputs are zero, so that the data say nothing; against torch.optim.SGD.",
        conditions="float64, learning rate 0.1, alpha 2",
        threshold="w becomes 0.8 w, and SGD(weight_decay=2) does the same, to 1e-12",
        measure=shrinking,
        holds=lambda v: max(v["from 0.8 w"][0], v["from SGD"][0]) < 1e-12,
        exact=True,
    ),
    Claim(
        id="overfitting-confidence",
        methods=("ch02/weight_decay", "ch02/neuron_objective"),
        says="Overfitting: without weight decay the fit to new data becomes worse",
        source="slide 'Overfitting and Weight Decay'",
        analogue="The mean charge G/N for unseen points after 5000 steps, against the best of the first 200 steps.",
        conditions=CLOUDS,
        threshold="on every seed, at least 1.5 times as high, while the training charge is below 0.05",
        measure=charges,
        holds=lambda v: all(
            end >= 1.5 * best and seen < 0.05
            for end, best, seen in zip(v["test, alpha 0"], v["test, alpha 0, best step"], v["training, alpha 0"])
        ),
        seeds=SEEDS,
    ),
    Claim(
        id="overfitting-mistakes",
        methods=("ch02/weight_decay",),
        says="Overfitting: without weight decay the fit to new data becomes worse",
        source="slide 'Overfitting and Weight Decay'",
        analogue="The share of right answers on unseen points, with alpha 0 and alpha 1.",
        conditions=CLOUDS,
        threshold="mean at least 0.01 higher with alpha 1",
        measure=mistakes,
        holds=lambda v: mean(v["right, alpha 1"]) - mean(v["right, alpha 0"]) >= 0.01,
        seeds=SEEDS,
        reason="The boundary is found in the first steps and hardly turns afterwards; what grows is the confidence, "
        "which mistakes do not count.",
    ),
    Claim(
        id="decay-mends",
        methods=("ch02/weight_decay",),
        says="Weight decay is a remedy for overfitting",
        source="slide 'Overfitting and Weight Decay'",
        analogue="The charge for unseen points over alpha 0, 0.01, 0.1, 1 and 10.",
        conditions=CLOUDS,
        threshold="on every seed, lowest for one of the three in between, and at most 2/3 of that of alpha 0",
        measure=charges,
        holds=lambda v: all(
            min(row) not in (row[0], row[-1]) and 1.5 * min(row) <= row[0]
            for row in zip(*(v[f"test, alpha {a:g}"] for a in STRENGTHS))
        ),
        seeds=SEEDS,
    ),
    Claim(
        id="disk-and-ring",
        methods=("ch02/two_layer",),
        says="From linear to non-linear classifiers: hidden layers solve what a linear one cannot",
        source="slides 'Recap: Linear Classification to Neural Nets'",
        analogue="A disk inside a ring: one neuron with bias, and 2, 3 and 8 hidden units.",
        conditions="100 + 100 points, 2000 unseen; 1500 full steps, learning rate 1 on the mean, momentum 0.9.",
        threshold="on every seed, the neuron below 0.70, three hidden units above 0.95",
        measure=rings,
        holds=lambda v: max(v["one neuron"]) < 0.70 and min(v["3 hidden"]) > 0.95,
        seeds=SEEDS,
    ),
    Claim(
        id="xor-scenes",
        methods=("ch02/two_layer",),
        says="From linear to non-linear classifiers: hidden layers solve what a linear one cannot",
        source="slides 'Recap: Linear Classification to Neural Nets'; minsky1969perceptrons",
        analogue="Scenes of the world: is exactly one of 'circle' and 'red' true? Both attributes are given as 0 or 1.",
        conditions="500 scenes to train, 500 to test; LogisticRegression, and 4 hidden units with 1000 steps, the best "
        "of three starts by its training charge (with a single start one seed in three got stuck).",
        threshold="on every seed, linear at most 0.80, hidden units at least 0.98",
        measure=xor_scenes,
        holds=lambda v: max(v["linear"]) <= 0.80 and min(v["4 hidden"]) >= 0.98,
        seeds=SEEDS,
    ),
    Claim(
        id="fit-by-back-propagation",
        methods=("ch02/backprop", "ch02/two_layer"),
        says="Networks with hidden layers can be fit using gradient descent, with back-propagation",
        source="slide 'Training a Neural Network with Two Hidden Layers'; rumelhart1986learning",
        analogue="Exclusive or with noise: how many of ten random starts end with more than 95 % right?",
        conditions="160 points, noise 0.12; weights from N(0, 1), 600 full steps, learning rate 1, momentum 0.9.",
        threshold="on every seed at least nine of ten with 4 hidden units",
        measure=xor_starts,
        holds=lambda v: min(v["4 hidden"]) >= 0.9,
        seeds=SEEDS,
    ),
    Claim(
        id="cost-of-nudging",
        methods=("ch02/backprop",),
        says="Back-propagation makes gradient descent for networks with hidden layers affordable",
        source="slide 'Training a Neural Network with Two Hidden Layers'",
        analogue="Seconds of 2 x 1001 forward passes (nudging every weight) over those of one backward pass.",
        conditions="250 hidden units, 160 points, one thread, the fastest of 50.",
        threshold="at least 50 times on every seed",
        measure=cost,
        holds=lambda v: min(v["ratio"]) >= 50,
        seeds=SEEDS,
    ),
    Claim(
        id="layers-need-a-bend",
        methods=("ch02/mlp",),
        says="Hierarchical models with many layers go beyond linear classification",
        source="slides 'Hierarchical Models with Many Layers', 'Recap: Linear Classification to Neural Nets'",
        analogue="8x8 digits, centred and at random places of 16x16: linear, one hidden layer of 128 without and with "
        "ReLU.",
        conditions="500 steps of 64, SGD with momentum 0.9, learning rate 0.1.",
        threshold="on moving digits ReLU above 2.5 times linear, no bend within 0.05 of linear; on centred ones ReLU "
        "not below linear (means)",
        measure=layers,
        holds=lambda v: (
            mean(v["ReLU, moving"]) > 2.5 * mean(v["linear, moving"])
            and abs(mean(v["no bend, moving"]) - mean(v["linear, moving"])) < 0.05
            and mean(v["ReLU, centred"]) >= mean(v["linear, centred"])
        ),
        seeds=SEEDS,
    ),
    Claim(
        id="sigmoids-fade",
        methods=("ch02/activations",),
        says="Deep networks of sigmoids pass almost no gradient to their first layers",
        source="glorot2010understanding; he2015delving; slide 'Hierarchical Models with Many Layers'",
        analogue="Mean size of the first layer's gradient, eight layers of 64 units at the start.",
        conditions="Variance of the weights 1/64, for ReLU 2/64; 128 random inputs, random classes.",
        threshold="on every seed, sigmoid below 0.001 times ReLU",
        measure=fading,
        holds=lambda v: max(v["sigmoid / relu"]) < 1e-3,
        seeds=SEEDS,
    ),
    Claim(
        id="deeper-representations",
        methods=("ch02/hierarchical_features",),
        says="Successive model layers learn deeper intermediate representations",
        source="slide 'Hierarchical Representation Learning'; alain2016understanding",
        analogue="Linear probes for shape and colour on five stages of the zoo's resnet, which was trained on shapes.",
        conditions="1000 scenes to train a probe, 500 to test, features averaged over places, 300 steps of Adam, 1e-2.",
        threshold="mean accuracy for the shape never falls by more than 0.03 from stage to stage, and rises by 0.15",
        measure=deeper,
        holds=rising,
        seeds=SEEDS,
    ),
]
