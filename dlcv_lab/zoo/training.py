"""Train a model of the zoo: steps that can be interrupted, and files that are whole or not there at all."""

from __future__ import annotations

import importlib.metadata
import math
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from . import cards
from .catalogue import CHECKPOINT, Model, ZooError

SAVE_EVERY = 60.0
"""Seconds between two checkpoints."""
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


def run_steps(
    checkpoint: Path,
    modules: dict[str, nn.Module],
    one_step: Callable[[int], Tensor],
    *,
    steps: int,
    lr: float,
    weight_decay: float = 1e-4,
    average: Any = None,
    resume: bool = False,
    progress: bool = True,
    stop_at: int | None = None,
) -> float:
    """Train the parameters that want a gradient of all modules, and return the seconds it took, resumed parts included.

    `one_step(step)` returns the loss; `average` is a diffusers `EMAModel` over these parameters. State goes to
    `checkpoint` every minute and at the end. `stop_at` ends early, as an interruption would (for tests).

    Raises:
        InterruptedTrainingError: the loss is not finite, or the checkpoint is damaged or of another plan.
    """
    learned = [p for module in modules.values() for p in module.parameters() if p.requires_grad]
    update = torch.optim.AdamW(learned, lr=lr, weight_decay=weight_decay)
    rates = torch.optim.lr_scheduler.LambdaLR(update, rate(steps, min(100, max(1, steps // 10))))
    plan = {"steps": steps, "lr": lr, "numbers": sum(p.numel() for p in learned)}
    first, spent = 0, 0.0
    if resume and checkpoint.exists():
        first, spent = _restore(checkpoint, plan, modules, update, rates, average)
    last = steps if stop_at is None else min(steps, stop_at)
    began = saved = time.perf_counter()
    bar = _bar(steps, first, progress, checkpoint.parent.name.strip(".").removesuffix(".part"))
    smooth = 0.0
    for step in range(first, last):
        loss = one_step(step)
        if not torch.isfinite(loss):
            raise InterruptedTrainingError(f"the loss is {loss.item()} at step {step} of {steps}: lower the rate {lr}")
        update.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(learned, 1.0)
        update.step()
        rates.step()
        if average is not None:
            average.step(learned)
        smooth = loss.item() if step == first else 0.98 * smooth + 0.02 * loss.item()
        if bar is not None:
            bar.update()
            bar.set_postfix(loss=f"{smooth:.4f}", refresh=False)
        if time.perf_counter() - saved > SAVE_EVERY:
            saved = time.perf_counter()
            _save(checkpoint, plan, step + 1, spent + saved - began, modules, update, rates, average)
    spent += time.perf_counter() - began
    _save(checkpoint, plan, last, spent, modules, update, rates, average)
    if bar is not None:
        bar.close()
    return spent


def make(
    model: Model,
    to: Path,
    *,
    steps: int | None = None,
    device: str = "cpu",
    resume: bool = False,
    progress: bool = True,
) -> cards.Card:
    """Train a model of the catalogue, measure it, and put its files and card into the folder `to`, in one step.

    Work in progress lies beside it in a hidden folder, from which `resume` goes on.

    Raises:
        InterruptedTrainingError: see `run_steps`.
    """
    work = to.with_name(f".{to.name}.part")
    if work.exists() and not resume:
        shutil.rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    maker = model.maker()
    done = maker.train(work, steps=steps, device=device, resume=resume, progress=progress)
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
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {"plan": plan, "step": step, "seconds": spent}
    state["modules"] = {name: module.state_dict() for name, module in modules.items()}
    state["rest"] = [None if part is None else part.state_dict() for part in rest]
    partial = path.with_name(path.name + ".part")
    torch.save(state, partial)
    os.replace(partial, path)


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
