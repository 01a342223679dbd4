"""Train a model of the zoo: steps that can be interrupted, and files that are whole or not there at all."""

from __future__ import annotations

import importlib.metadata
import io
import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dlcv_lab.files import write_whole

from . import cards
from .catalogue import CHECKPOINT, Model, Options, ZooError

SAVE_EVERY = 60.0
"""Seconds between two checkpoints."""
MUON_TIMES = 20
GOES_ON = "; goes on from weights of "
LICENCE = "MIT"


class InterruptedTrainingError(ZooError, RuntimeError):
    """A checkpoint cannot be resumed from, or training was stopped by a loss that is no number."""


def step_generator(seed: int, step: int) -> torch.Generator:
    """Return the generator of one step: it depends on seed and step alone, so that a resumed run is the same run."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


def rate(steps: int, warm: int = 100) -> Callable[[int], float]:
    """Return the factor on the learning rate at each step: a linear rise, then a cosine down to 2 %."""

    def at(step: int) -> float:
        rise = min(1.0, (step + 1) / warm)
        return rise * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, steps)))))

    return at


class Start(NamedTuple):
    """Where a training begins: the seed of its draws, its rate, its steps, and what the card says of its data."""

    seed: int
    rate: float
    steps: int
    data: str


def averaged(learned: list[nn.Parameter]) -> Any:
    """Return diffusers' moving average of the parameters for `run_steps`; `copy_to(learned)` puts it in their place."""
    from diffusers.training_utils import EMAModel

    return EMAModel(learned, decay=0.9995, use_ema_warmup=True, power=0.75)


def stretches(n: int, gen: torch.Generator) -> Tensor:
    """Return n numbers in [0, 1), float32 [n], one in each of n equal stretches, in random order.

    Each is uniform, as independent draws are, but their mean varies less.
    """
    return (torch.randperm(n, generator=gen) + torch.rand(n, generator=gen)) / n


def start(options: Options, seed: int, rate: float, steps: int, data: str) -> Start:
    """Return the start of a training from nothing, or of one that goes on from the model in `options.begin`.

    The latter draws other scenes than those the model has seen, and takes half the rate.
    """
    steps = options.steps or steps
    if options.begin is None:
        return Start(seed, rate, steps, data)
    earlier = cards.read(options.begin)
    before = earlier.data.partition(GOES_ON)[2].removesuffix(" steps")
    whence = f"{before} + {earlier.steps}" if before else earlier.steps
    return Start(earlier.seed + 1, rate / 2, steps, f"{data}{GOES_ON}{whence} steps")


def run_steps(
    checkpoint: Path,
    modules: dict[str, nn.Module],
    one_step: Callable[[int], Tensor],
    options: Options,
    *,
    steps: int,
    lr: float,
    weight_decay: float = 1e-4,
    matrices: Sequence[nn.Parameter] = (),
    average: Any = None,
    updates: Sequence[torch.optim.Optimizer] = (),
    after: Callable[[int], None] | None = None,
    stop_at: int | None = None,
) -> float:
    """Train the parameters that want a gradient of all modules, and return the seconds it took, resumed parts included.

    `one_step(step)` returns the loss; `average` is a diffusers `EMAModel` over these parameters. AdamW changes them at
    the rate `lr`, but Muon (Jordan et al. 2024) at `MUON_TIMES` this rate those in `matrices`, hidden layers' weights.
    With `updates`, `one_step` makes its updates itself, by these optimizers; `after(step)` is called when one is made.
    State goes to `checkpoint` every minute and at the end. `stop_at` ends early, as an interruption would (for tests).

    Raises:
        InterruptedTrainingError: the loss is not finite, or the checkpoint is damaged or of another plan.
        ZooError: torch is too old to have Muon.
    """
    learned = [p for module in modules.values() for p in module.parameters() if p.requires_grad]
    own = bool(updates)
    updates = updates or _optimizers(learned, lr, weight_decay, matrices)
    factor: Callable[[int], float] = (lambda step: 1.0) if own else rate(steps, min(100, max(1, steps // 10)))
    rates = [torch.optim.lr_scheduler.LambdaLR(update, factor) for update in updates]
    plan = {"steps": steps, "lr": lr, "numbers": sum(p.numel() for p in learned)}
    first, spent = 0, 0.0
    if options.resume and checkpoint.exists():
        first, spent = _restore(checkpoint, plan, modules, *updates, *rates, average)
    last = steps if stop_at is None else min(steps, stop_at)
    began = saved = time.perf_counter()
    bar = _bar(steps, first, options.progress, checkpoint.parent.name.strip(".").removesuffix(".part"))
    smooth = 0.0
    for step in range(first, last):
        loss = one_step(step)
        if not torch.isfinite(loss):
            raise InterruptedTrainingError(f"the loss is {loss.item()} at step {step} of {steps}: lower the rate {lr}")
        if not own:
            for parameter in learned:
                parameter.grad = None
            loss.backward()
            nn.utils.clip_grad_norm_(learned, 1.0)
            for update, schedule in zip(updates, rates):
                update.step()
                schedule.step()
        if after is not None:
            after(step)
        if average is not None:
            average.step(learned)
        smooth = loss.item() if step == first else 0.98 * smooth + 0.02 * loss.item()
        if bar is not None:
            bar.update()
            bar.set_postfix(loss=f"{smooth:.4f}", refresh=False)
        if time.perf_counter() - saved > SAVE_EVERY:
            saved = time.perf_counter()
            _save(checkpoint, plan, step + 1, spent + saved - began, modules, *updates, *rates, average)
    spent += time.perf_counter() - began
    _save(checkpoint, plan, last, spent, modules, *updates, *rates, average)
    if bar is not None:
        bar.close()
    return spent


def _optimizers(
    learned: list[nn.Parameter], lr: float, weight_decay: float, matrices: Sequence[nn.Parameter]
) -> list[torch.optim.Optimizer]:
    chosen = {id(parameter) for parameter in matrices}
    rest = [parameter for parameter in learned if id(parameter) not in chosen]
    found: list[torch.optim.Optimizer] = [torch.optim.AdamW(rest, lr=lr, weight_decay=weight_decay)]
    if matrices:
        if not hasattr(torch.optim, "Muon"):
            raise ZooError(f"this training needs torch 2.9 or newer, for torch.optim.Muon; this is {torch.__version__}")
        found.append(torch.optim.Muon(matrices, lr=MUON_TIMES * lr, weight_decay=0.01))
    return found


def make(model: Model, to: Path, options: Options) -> cards.Card:
    """Train a model of the catalogue, measure it, and put its files and card into the folder `to`, in one step.

    Work in progress lies beside it in a hidden folder, from which `options.resume` goes on.

    Raises:
        InterruptedTrainingError: see `run_steps`.
        DamagedWeightsError: no whole model lies in `options.begin`.
        ZooError: another model lies there, or torch is too old.
    """
    begin, device = options.begin, options.device
    if begin is not None and cards.check(begin, again=True).name not in (model.name, *model.begins_at):
        raise ZooError(f"{begin} holds {cards.read(begin).name}: {model.name} cannot begin there")
    work = to.with_name(f".{to.name}.part")
    if work.exists() and not options.resume:
        shutil.rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    maker = model.maker()
    done = maker.train(work, options)
    metrics = {name: round(value, 4) for name, value in maker.measure(work, device=device).items()}
    card = cards.Card(
        name=model.name, made_of=model.gives, data=done.data, steps=done.steps, seed=done.seed,
        seconds=round(done.seconds), device=describe(device), licence=LICENCE, parameters=done.parameters,
        metrics=metrics, tolerance=tolerance(model, metrics), limits=done.limits,
        libraries=_libraries(model), files={},
    )  # fmt: skip
    for left in work.glob(f"{CHECKPOINT}*"):
        left.unlink()
    cards.write(work, card)
    _swap(work, to)
    return cards.check(to, again=True)


def describe(device: str) -> str:
    """Return the name of a device for a card."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"{device}, {torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''}"


def tolerance(model: Model, metrics: dict[str, float]) -> dict[str, float]:
    """Return the model's own tolerances, and 5 % for every figure that is no share."""
    return {name: round(0.05 * value, 4) for name, value in metrics.items() if value > 1} | model.tolerance


def _libraries(model: Model) -> dict[str, str]:
    names = {"open_clip": "open_clip_torch"}
    return {name: importlib.metadata.version(names.get(name, name)) for name in ("torch", *model.needs)}


def _swap(work: Path, to: Path) -> None:
    """Put the finished folder in the place of an older one."""
    old = to.with_name(f".{to.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if to.exists():
        os.replace(to, old)
    os.replace(work, to)
    shutil.rmtree(old, ignore_errors=True)


def _bar(steps: int, first: int, wanted: bool, name: str) -> Any:
    if not wanted:
        return None
    from tqdm.auto import tqdm

    return tqdm(total=steps, initial=first, unit="step", desc=name, mininterval=2.0)


def _save(path: Path, plan: dict[str, Any], step: int, spent: float, modules: dict[str, nn.Module], *rest: Any) -> None:
    state = {"plan": plan, "step": step, "seconds": spent}
    state["modules"] = {name: module.state_dict() for name, module in modules.items()}
    state["rest"] = [None if part is None else part.state_dict() for part in rest]
    kept = io.BytesIO()
    torch.save(state, kept)
    write_whole(path, kept.getvalue())


def _restore(path: Path, plan: dict[str, Any], modules: dict[str, nn.Module], *rest: Any) -> tuple[int, float]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["plan"] != plan:
            raise InterruptedTrainingError(
                f"the checkpoint {path} belongs to another plan ({state['plan']}, not {plan}): "
                "train with the same steps, or without --resume"
            )
        for name, module in modules.items():
            module.load_state_dict(state["modules"][name])
        for part, saved in zip(rest, state["rest"]):
            if part is not None:
                part.load_state_dict(saved)
        return int(state["step"]), float(state["seconds"])
    except InterruptedTrainingError:
        raise
    except Exception as error:  # torch.load raises many kinds for a damaged file
        raise InterruptedTrainingError(
            f"the checkpoint {path} cannot be read ({error}): delete it to begin anew, or train without --resume"
        ) from error
