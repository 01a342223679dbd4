"""The one training loop of the book."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlcv_lab.context import in_book

if TYPE_CHECKING:
    from dlcv_lab.card import Picture

Pair = tuple[Tensor, Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]
MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
Augment = Callable[[Tensor, Tensor, torch.Generator], Pair]


_ELEMENTWISE = (F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss, F.binary_cross_entropy_with_logits)


class NonFiniteLossError(RuntimeError):
    """Training was stopped because the loss became infinite or not a number."""


@dataclass
class History:
    """What happened during `fit`, step by step.

    `loss[i]` is the loss of the batch of step i + 1. `at`, `test_loss` and `accuracy` belong together: after `at[j]`
    steps the loss on the test data was `test_loss[j]` and the share of right answers `accuracy[j]` (empty without test
    data; `accuracy` is empty as well where labels are no classes). `seconds` is the time training took.
    """

    loss: list[float] = field(default_factory=list)
    at: list[int] = field(default_factory=list)
    test_loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def steps(self) -> int:
        return len(self.loss)

    def plot(self, *, alt: str, title: str | None = None, display: bool = True) -> Picture | None:
        """Draw the training loss, smoothed, and the test loss over the steps; `alt` describes it in words."""
        from dlcv_lab.pictures import show

        series: dict[str, Any] = {"training loss": (list(range(1, self.steps + 1)), _smooth(self.loss))}
        if self.test_loss:
            series["test loss"] = (self.at, self.test_loss)
        width = _width(self.steps)
        note = f"The training loss is a running mean over {width} steps." if width > 1 else None
        return show.curves(series, xlabel="step", ylabel="loss", title=title, note=note, alt=alt, display=display)

    def __repr__(self) -> str:
        if not self.loss:
            return "History(no steps)"
        ends = f"loss {self.loss[0]:.3g} -> {_mean(self.loss[-10:]):.3g}"
        tested = f", test accuracy {self.accuracy[-1]:.1%}" if self.accuracy else ""
        if self.test_loss and not self.accuracy:
            tested = f", test loss {self.test_loss[-1]:.3g}"
        return f"History({self.steps} steps, {ends}{tested})"


def fit(
    model: nn.Module,
    train: Pair,
    *,
    test: Pair | None = None,
    loss: Loss = F.cross_entropy,
    optimizer: str | MakeOptimizer = "adam",
    lr: float = 1e-3,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int = 64,
    generator: torch.Generator | None = None,
    augment: Augment | None = None,
    schedule: Callable[[int], float] | None = None,
    evaluate_every: int | None = None,
    device: torch.device | str | None = None,
    amp: bool = True,
    progress: bool = True,
) -> History:
    """Train `model` in place to make `loss(model(x), y)` small, and return what happened.

    `train` and `test` are pairs (x, y) of tensors of equal length. Give `epochs` or `steps` (without either: 300
    steps). Every epoch visits the data in a new order drawn from `generator` (without one: always the same orders); a
    last batch of fewer than `batch_size` examples is left out. `augment(x, y, generator)` returns a changed batch; it
    draws on the CPU from the generator and moves to `x.device`.
    `optimizer` is "adam", "sgd" (momentum 0.9) or a function of the parameters; `schedule(step)`, from step 0, is the
    factor on the learning rate. The test data are looked at every `evaluate_every` steps (by default ten times) and
    after the last. The model moves to `device` (by default it stays where it is) and is left in evaluation mode. `amp`
    computes in mixed precision on a CUDA GPU; elsewhere everything is float32.

    Raises:
        ValueError: lengths, shapes, steps or the optimizer make no sense.
        NonFiniteLossError: the loss became infinite or not a number; the message names the step.
    """
    total = _plan(train, test, epochs, steps, batch_size)
    place = torch.device(device) if device is not None else next((p.device for p in model.parameters()), None)
    place = place or torch.device("cpu")
    model.to(place)
    x, y = (part.to(place) for part in train)
    rng = torch.Generator().manual_seed(0) if generator is None else generator
    update = _optimizer(optimizer, model, lr)
    rates = torch.optim.lr_scheduler.LambdaLR(update, schedule) if schedule else None
    mixed = amp and place.type == "cuda"
    scaler = torch.amp.GradScaler("cuda", enabled=mixed)
    every = evaluate_every or max(1, math.ceil(total / 10))
    history = History()
    bar = _progress(total, progress)
    began = time.perf_counter()
    model.train()
    for step, batch in enumerate(_batches(len(x), min(batch_size, len(x)), total, rng), start=1):
        chosen = batch.to(place)
        bx, by = x[chosen], y[chosen]
        if augment is not None:
            bx, by = augment(bx, by, rng)
        with torch.autocast(place.type, enabled=mixed):
            output = model(bx)
            _check_shapes(output, by, loss)
            value = loss(output, by)
        _check_loss(value, step, total)
        update.zero_grad(set_to_none=True)
        scaler.scale(value).backward()
        scaler.step(update)
        scaler.update()
        if rates is not None:
            rates.step()
        history.loss.append(value.item())
        if test is not None and (step % every == 0 or step == total):
            _evaluate(model, test, loss, history, step)
        if bar is not None:
            bar.update()
            bar.set_postfix(loss=f"{history.loss[-1]:.3g}", refresh=False)
    model.eval()
    history.seconds = time.perf_counter() - began
    if bar is not None:
        bar.close()
    if progress:
        print(repr(history).removeprefix("History(").removesuffix(")"))
    return history


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor, batch_size: int = 512) -> float:
    """Return the share of right answers, 0 to 1: where the largest of `model(x)` [N, K, ...] along K is y [N, ...].

    The model computes in evaluation mode, where its parameters are, and is put back into the mode that it had.

    Raises:
        ValueError: x and y differ in length, or are empty.
    """
    if len(x) != len(y) or len(y) == 0:
        raise ValueError(f"accuracy needs as many labels as inputs and at least one, not {len(x)} and {len(y)}")
    right = 0
    for output, target in _outputs(model, x, y, batch_size):
        right += int((output.argmax(1) == target).sum())
    return right / y.numel()


def _plan(train: Pair, test: Pair | None, epochs: int | None, steps: int | None, batch_size: int) -> int:
    """Check the arguments of `fit` and return the number of steps."""
    for name, pair in {"train": train, "test": test}.items():
        if pair is not None and (len(pair) != 2 or len(pair[0]) != len(pair[1]) or len(pair[0]) == 0):
            lengths = ", ".join(str(len(part)) for part in pair)
            raise ValueError(
                f"{name} must be a pair (x, y) of equal, positive length; its parts have lengths {lengths}"
            )
    if epochs is not None and steps is not None:
        raise ValueError("give epochs or steps, not both")
    if batch_size < 1:
        raise ValueError(f"a batch has at least one example, not {batch_size}")
    n = len(train[0])
    if steps is None:
        steps = 300 if epochs is None else epochs * (n // min(batch_size, n))
    if steps < 1:
        raise ValueError(f"training needs at least one step, not {steps}")
    return steps


def _optimizer(kind: str | MakeOptimizer, model: nn.Module, lr: float) -> torch.optim.Optimizer:
    learned = [p for p in model.parameters() if p.requires_grad]
    if not learned:
        raise ValueError("the model has no trainable parameters: nothing to fit")
    if callable(kind):
        return kind(learned)
    if kind == "adam":
        return torch.optim.Adam(learned, lr=lr)
    if kind == "sgd":
        return torch.optim.SGD(learned, lr=lr, momentum=0.9)
    raise ValueError(f"optimizer is 'adam', 'sgd' or a function of the parameters, not {kind!r}")


def _batches(n: int, size: int, total: int, rng: torch.Generator) -> Iterable[Tensor]:
    made = 0
    while made < total:
        order = torch.randperm(n, generator=rng, device=rng.device)
        for first in range(0, n - size + 1, size):
            if made == total:
                return
            yield order[first : first + size]
            made += 1


def _check_shapes(output: Any, target: Tensor, loss: Loss) -> None:
    """Stop where a loss would compare the wrong things, with a broadcast or a puzzling message."""
    if not isinstance(output, Tensor):
        return
    shapes = f"the model gives {list(output.shape)} for targets {list(target.shape)}"
    if output.ndim == 0 or len(output) != len(target):
        raise ValueError(f"{shapes}: the first axis must be the batch in both")
    if loss in _ELEMENTWISE and output.shape != target.shape:
        raise ValueError(f"{shapes}: this loss compares number with number, so the shapes must be equal")


def _check_loss(value: Tensor, step: int, total: int) -> None:
    if value.ndim != 0:
        raise ValueError(f"the loss must be one number; it has the shape {list(value.shape)}: take its mean")
    if not torch.isfinite(value):
        raise NonFiniteLossError(
            f"the loss is {value.item()} at step {step} of {total}: training stopped. "
            "Usual causes: a learning rate that is too large, log(0), or a division by zero."
        )


def _evaluate(model: nn.Module, test: Pair, loss: Loss, history: History, step: int) -> None:
    """Append the mean test loss, and the accuracy where the labels are classes."""
    x, y = test
    classes = loss is F.cross_entropy and not y.is_floating_point()
    summed, right = 0.0, 0
    with torch.no_grad():
        for output, target in _outputs(model, x, y, 512):
            summed += loss(output, target).item() * len(target)
            right += int((output.argmax(1) == target).sum()) if classes else 0
    history.at.append(step)
    history.test_loss.append(summed / len(y))
    if classes:
        history.accuracy.append(right / y.numel())


def _outputs(model: nn.Module, x: Tensor, y: Tensor, batch_size: int) -> Iterable[Pair]:
    place = next((p.device for p in model.parameters()), x.device)
    was_training = model.training
    model.eval()
    try:
        for bx, by in zip(x.split(batch_size), y.split(batch_size)):
            yield model(bx.to(place)), by.to(place)
    finally:
        model.train(was_training)


def _progress(total: int, wanted: bool) -> Any:
    """Return a progress bar for a person who waits; a book page gets only the closing line."""
    if not wanted or in_book():
        return None
    from tqdm.auto import tqdm

    return tqdm(total=total, unit="step", leave=False)


def _width(steps: int) -> int:
    """Return how many steps `History.plot` averages over."""
    return max(1, round(0.04 * steps))


def _smooth(values: list[float]) -> list[float]:
    width = _width(len(values))
    return [_mean(values[max(0, i - width + 1) : i + 1]) for i in range(len(values))]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
