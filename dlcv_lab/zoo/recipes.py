"""Checkpoints of chapters: how one is made, written as one small function beside the chapter.

    # chapters/ch04_self_supervised_learning/recipes.py
    @recipe(steps=3000, lr=1e-3, seed=4_000, data="64 icons a step, two views each",
            figures={"linear": "linear probe of the shape, 1000 held-out icons"}, limits="It has seen icons only.")
    def simclr() -> Training:
        model = SimCLR()                                  # the reference of the chapter's solutions
        def loss(step: int) -> Tensor:
            images = world.render(world.icons(64, step_generator(4_000, step))...)
            return info_nce(model(augment(images)), model(augment(images)))
        def measure() -> dict[str, float]:
            return {"linear": probe(model)}
        return Training(model, loss, measure)

`dlcv zoo train ch04/simclr` then makes it, and `zoo.checkpoint("ch04/simclr")` gives its state dict. Nothing here
imports a chapter: whoever can see the chapters adds a finder to `catalogue.FINDERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .catalogue import CHECKPOINT, Maker, Model, Options, Trained
from .training import run_steps, start
from .training import step_generator as step_generator

WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Training:
    """What a recipe's function returns.

    `module`: its state dict is shipped. `loss(step)`: the loss of one step, from data drawn with
    `step_generator(seed, step)`, so that a resumed run is the same run. `measure()`: the figures of the module as it
    then is, on held-out data, the same ones each time. `also`: modules that are trained or kept beside it and not
    shipped (a head, a teacher, a discriminator). `after(step)`: called after each update (a moving average).
    `optimizers`: with them, `loss` makes its updates itself and returns a number to show (two players of a game);
    without, AdamW with a warm cosine changes every parameter of `module` and `also` that wants a gradient.
    """

    module: nn.Module
    loss: Callable[[int], Tensor]
    measure: Callable[[], Mapping[str, float]]
    also: Mapping[str, nn.Module] = field(default_factory=dict)
    after: Callable[[int], None] | None = None
    optimizers: Sequence[torch.optim.Optimizer] = ()


@dataclass(frozen=True)
class Recipe(Model):
    """A row of the catalogue whose maker is a chapter's function."""

    build: Callable[[], Training] = field(default=lambda: _nothing(), compare=False)
    steps: int = 1000
    lr: float = 1e-3
    seed: int = 0
    weight_decay: float = 1e-4
    data: str = ""
    limits: str = ""

    def maker(self) -> Maker:
        """Return what trains, measures and loads it: the recipe itself."""
        return self

    def start(self) -> Training:
        """Return the training before its first step, always the same."""
        torch.manual_seed(self.seed)
        return self.build()

    def train(self, folder: Path, options: Options) -> Trained:
        """Train the chapter's module and write its state dict; see `Maker`."""
        from safetensors.torch import save_file

        plan = self.start()
        from_here = start(options, self.seed, self.lr, self.steps, self.data)
        if options.begin is not None:
            plan.module.load_state_dict(state(options.begin))
        modules = {"module": plan.module, **plan.also}
        for module in modules.values():
            module.to(options.device).train()
        seconds = run_steps(
            folder / CHECKPOINT, modules, plan.loss, options, steps=from_here.steps, lr=from_here.rate,
            weight_decay=self.weight_decay, updates=plan.optimizers, after=plan.after,
        )  # fmt: skip
        tensors = {name: _half(value).cpu().contiguous().clone() for name, value in plan.module.state_dict().items()}
        save_file(tensors, folder / WEIGHTS)
        return Trained(
            steps=from_here.steps, seed=from_here.seed, seconds=seconds,
            parameters=sum(p.numel() for p in plan.module.parameters()), data=from_here.data, limits=self.limits,
        )  # fmt: skip

    @torch.no_grad()
    def measure(self, folder: Path, *, device: str = "cpu") -> dict[str, float]:
        """Return the figures of the weights in a folder; see `Maker`."""
        plan = self.start()
        plan.module.load_state_dict(state(folder))
        plan.module.to(device).eval()
        torch.manual_seed(self.seed)
        return {name: float(value) for name, value in plan.measure().items()}

    def load(self, folder: Path, *, device: Any = "cpu") -> dict[str, Tensor]:
        """Return the state dict; see `Maker`."""
        return {name: value.to(device) for name, value in state(folder).items()}


def recipe(
    *,
    steps: int,
    data: str,
    limits: str,
    figures: dict[str, str],
    lr: float = 1e-3,
    seed: int = 0,
    weight_decay: float = 1e-4,
    least: dict[str, float] | None = None,
    tolerance: dict[str, float] | None = None,
) -> Callable[[Callable[[], Training]], Recipe]:
    """Make a recipe of a function; its checkpoint is called as the function, after the key of the chapter.

    Args:
        steps: how many the shipped weights have seen; `--steps` takes others.
        data: in words, what it learns from; for the card.
        limits: in words, what it cannot do; for the card.
        figures: name of each figure of `measure` -> what it is, in words.
        lr, weight_decay: of AdamW, where the training brings no optimizers.
        seed: torch's seed before the function runs.
        least: what a figure must reach.
        tolerance: how far a figure may be off on another machine, where 0.03 is too little.
    """

    def wrap(build: Callable[[], Training]) -> Recipe:
        what = (build.__doc__ or build.__name__.replace("_", " ")).strip().splitlines()[0].rstrip(".")
        return Recipe(
            name=build.__name__, what=what, gives="a state dict for the chapter's module", made_by="", extra="vl",
            needs=(), full="", figures=figures, least=least or {}, tolerance=tolerance or {},
            build=build, steps=steps, lr=lr, seed=seed, weight_decay=weight_decay, data=data, limits=limits,
        )  # fmt: skip

    return wrap


def state(folder: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint's folder, floating ones in single precision."""
    from safetensors.torch import load_file

    return {
        name: value.float() if value.is_floating_point() else value
        for name, value in load_file(folder / WEIGHTS).items()
    }


def _half(value: Tensor) -> Tensor:
    """Return a tensor in half precision, unless it is of whole numbers or too large for it."""
    fits = value.is_floating_point() and (value.numel() == 0 or float(value.abs().max()) < 6e4)
    return value.half() if fits else value


def _nothing() -> Training:
    raise NotImplementedError("a recipe is made by the decorator `recipe`")
