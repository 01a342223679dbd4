"""What the claims of chapter 11 share: a mean, a clock, and a training loop for tasks that draw their own data."""

import time
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

SEEDS = (20, 21, 22)


def mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)


def seconds(run: Callable[[], object], tries: int = 5) -> float:
    """Return the shortest of several times: what else runs on the machine only makes it longer."""
    found = []
    for _ in range(tries):
        began = time.perf_counter()
        run()
        found.append(time.perf_counter() - began)
    return min(found)


def train(modules: Iterable[nn.Module], loss: Callable[[torch.Generator], Tensor], steps: int, lr: float, n: int):
    """Make `loss(rng)` small by Adam; return the mean loss of the last ten steps."""
    rng, losses = torch.Generator().manual_seed(n), []
    adam = torch.optim.Adam([p for module in modules for p in module.parameters()], lr)
    for _ in range(steps):
        value = loss(rng)
        adam.zero_grad()
        value.backward()
        adam.step()
        losses.append(value.item())
    return mean(losses[-10:])
