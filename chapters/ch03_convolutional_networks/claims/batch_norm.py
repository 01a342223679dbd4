"""Claims about batch normalization, forward and backward (notebook 2).

Every claim was explored on the seeds 0 to 2; conditions and thresholds were fixed afterwards and measured on 10 to 12.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autograder.declare.claim import Claim
from dlcv_lab import accuracy, data, fit, seed
from dlcv_lab.data import Split
from solutions.ch03_convolutional_networks import batch_norm_backward, fold_bn

SEEDS = (10, 11, 12)


def generator(n: int) -> torch.Generator:
    return torch.Generator().manual_seed(n)


def split(n: int) -> Split:
    """Split the 1797 digits into 1294 and 503, another way for each seed."""
    return data.split(*data.digits(), test=0.28, generator=generator(n))


def deep_net(depth: int, norm: bool, bend: type[nn.Module]) -> nn.Sequential:
    """Return `depth` hidden layers of 64 units, with batch norm before the nonlinearity or without."""
    layers: list[nn.Module] = [nn.Flatten()]
    for _ in range(depth):
        layers += [nn.Linear(64, 64), *([nn.BatchNorm1d(64)] if norm else []), bend()]
    return nn.Sequential(*layers, nn.Linear(64, 10))


def plain_sgd(lr: float):
    return lambda parameters: torch.optim.SGD(parameters, lr=lr)


def deep(n: int) -> dict[str, float]:
    digits, found = split(n), {}
    for bend in (nn.Sigmoid, nn.ReLU):
        for lr in (0.1, 1.0):
            for norm in (False, True):
                seed(n)
                model = deep_net(5, norm, bend)
                fit(model, digits.train, optimizer=plain_sgd(lr), steps=200, generator=generator(n), progress=False)
                name = f"{bend.__name__}, lr {lr:g}, {'with' if norm else 'without'}"
                found[name] = accuracy(model, *digits.test)
    return found


class FixedStatistics(nn.BatchNorm1d):
    """Batch norm whose gradient takes the batch's mean and variance for constants."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        super().forward(x.detach())  # the running statistics
        mean, var = x.detach().mean(0), x.detach().var(0, correction=0)
        return self.weight * (x - mean) / torch.sqrt(var + self.eps) + self.bias


def half_a_gradient(n: int) -> dict[str, float]:
    digits, found = split(n), {}
    for lr in (0.1, 1.0):
        for name, layer in (("whole gradient", nn.BatchNorm1d), ("statistics fixed", FixedStatistics)):
            seed(n)
            layers = [part for _ in range(5) for part in (nn.Linear(64, 64), layer(64), nn.Sigmoid())]
            model = nn.Sequential(nn.Flatten(), *layers, nn.Linear(64, 10))
            fit(model, digits.train, optimizer=plain_sgd(lr), steps=200, generator=generator(n), progress=False)
            found[f"{name}, lr {lr:g}"] = accuracy(model, *digits.test)
    return found


def steps_needed(n: int) -> dict[str, float]:
    """Count the steps to 93 % on the test digits, each network at the best of four learning rates."""
    digits, found = split(n), {}
    for bend, depth in ((nn.Sigmoid, 2), (nn.ReLU, 3)):
        for norm in (False, True):
            best = 1500
            for lr in (0.1, 0.3, 1.0, 3.0):
                seed(n)
                model = deep_net(depth, norm, bend)
                history = fit(
                    model, digits.train, test=digits.test, optimizer=plain_sgd(lr), steps=best, evaluate_every=10,
                    generator=generator(n), progress=False,
                )  # fmt: skip
                good = [at for at, right in zip(history.at, history.accuracy) if right >= 0.93]
                best = min([best, *good])
            found[f"{bend.__name__}, {'with' if norm else 'without'}"] = best
        name = bend.__name__
        found[f"{name}, ratio"] = found[f"{name}, without"] / found[f"{name}, with"]
    return found


def backward_error(n: int) -> dict[str, float]:
    rng = generator(n)
    x, dy = (torch.randn(6, 3, 4, 5, generator=rng, dtype=torch.float64) for _ in range(2))
    gamma = torch.randn(3, generator=rng, dtype=torch.float64)
    leaves = [x.requires_grad_(), gamma.requires_grad_()]
    y = F.batch_norm(x, None, None, gamma, torch.zeros(3, dtype=torch.float64), training=True)
    expected = torch.autograd.grad(y, leaves, dy)
    got = batch_norm_backward(dy, x.detach(), gamma.detach())
    errors = [float((a - b).norm() / b.norm()) for a, b in zip(got, expected)]
    return {"relative error": max(errors), "largest sum of dx": float(got[0].sum((0, 2, 3)).abs().max())}


def folding_error(n: int) -> dict[str, float]:
    rng = generator(n)
    conv, norm = nn.Conv2d(3, 8, 3).double(), nn.BatchNorm2d(8).double()
    for _ in range(20):
        norm(conv(torch.rand(4, 3, 9, 9, generator=rng, dtype=torch.float64)))
    norm.eval()
    w, b = fold_bn(conv.weight, conv.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var)
    x = torch.rand(4, 3, 9, 9, generator=rng, dtype=torch.float64)
    with torch.no_grad():
        return {"error": float((F.conv2d(x, w, b) - norm(conv(x))).abs().max())}


def every(values: dict[str, list[float]], a: str, b: str, margin: float) -> bool:
    """Say whether a exceeds b by the margin on every seed."""
    return all(left - right >= margin for left, right in zip(values[a], values[b]))


def mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)


CLAIMS = [
    Claim(
        id="batch-norm-rescues-depth",
        methods=("ch03/batch_norm",),
        says="Batch normalization allows saturating nonlinearities and much higher learning rates (section 3.3)",
        source="ioffe2015batch; slide 'Training Technique #3: Batch Normalization'",
        analogue="8x8 digits, 5 hidden layers of 64 with sigmoid or ReLU, PyTorch's default weights.",
        conditions="SGD without momentum at lr 0.1 and 1, 200 steps of 64.",
        threshold="in all four settings and on every seed: above 0.9 with, below 0.25 without",
        measure=deep,
        holds=lambda v: all(
            min(numbers) > 0.9 if name.endswith("with") else max(numbers) < 0.25 for name, numbers in v.items()
        ),
        seeds=SEEDS,
    ),
    Claim(
        id="batch-norm-needs-its-whole-gradient",
        methods=("ch03/batch_norm_backward",),
        says="The gradient must take into account that mean and variance depend on the parameters (section 2)",
        source="ioffe2015batch; slide 'Batch Normalization (cont'd)'",
        analogue="The sigmoid network of five hidden layers, with the statistics held fixed in the backward pass.",
        conditions="SGD without momentum at lr 0.1 and 1, 200 steps of 64, the same initial weights and batches.",
        threshold="whole gradient at least 0.1 better on every seed and at both rates",
        measure=half_a_gradient,
        holds=lambda v: all(
            every(v, f"whole gradient, lr {r}", f"statistics fixed, lr {r}", 0.1) for r in ("0.1", "1")
        ),
        seeds=SEEDS,
    ),
    Claim(
        id="batch-norm-14-times-fewer-steps",
        methods=("ch03/batch_norm",),
        says="The same accuracy is reached in 14 times fewer training steps (abstract)",
        source="ioffe2015batch",
        analogue="Steps to 93 % on the 8x8 digits: two hidden layers with sigmoid, three with ReLU.",
        conditions="SGD without momentum, each network at its best of the rates 0.1, 0.3, 1, 3; tested every 10 steps.",
        threshold="mean ratio at least 14 for either",
        measure=steps_needed,
        holds=lambda v: max(mean(v["Sigmoid, ratio"]), mean(v["ReLU, ratio"])) >= 14,
        seeds=SEEDS,
        cheap=False,
        reason="The direction holds; on networks shallow enough to train without normalization, the factor is smaller.",
    ),
    Claim(
        id="fold-bn",
        methods=("ch03/batch_norm",),
        says="At test time batch normalization is a linear transform (section 3.1)",
        source="ioffe2015batch",
        analogue="Fold a layer with 20 steps of running statistics into its convolution.",
        conditions="float64, eval mode",
        threshold="largest difference below 1e-12",
        measure=folding_error,
        holds=lambda v: max(v["error"]) < 1e-12,
        exact=True,
    ),
    Claim(
        id="batch-norm-gradient",
        methods=("ch03/batch_norm_backward",),
        says="Batch normalization is a differentiable transform; its gradient has a closed form (section 3)",
        source="ioffe2015batch; slide 'Batch Normalization (cont'd)'",
        analogue="The closed form against autograd on random feature maps.",
        conditions="float64, x of 6x3x4x5",
        threshold="relative error below 1e-8; dx sums to 0 within 1e-12 in every channel",
        measure=backward_error,
        holds=lambda v: max(v["relative error"]) < 1e-8 and max(v["largest sum of dx"]) < 1e-12,
        exact=True,
    ),
]
