"""Training can be broken off and resumed without a trace, and leaves a whole model or none."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from dlcv_lab.zoo import cards, catalogue, training
from dlcv_lab.zoo.catalogue import CHECKPOINT, Trained

SEED = 5


def run(folder, model, **options):
    def one_step(step):
        x = torch.randn(8, 4, generator=training.step_generator(SEED, step))
        return model(x).square().mean()

    return training.run_steps(
        folder / CHECKPOINT, {"model": model}, one_step, steps=40, lr=1e-2, progress=False, **options
    )


def fresh():
    torch.manual_seed(SEED)
    return nn.Linear(4, 4)


def test_a_resumed_run_is_the_run_that_never_stopped(tmp_path):
    whole, halves = fresh(), fresh()
    run(tmp_path / "whole", whole)
    run(tmp_path / "halves", halves, stop_at=17)
    after = fresh()
    run(tmp_path / "halves", after, resume=True)
    assert torch.equal(whole.weight, after.weight)
    assert not torch.equal(whole.weight, halves.weight)


def test_damaged_checkpoint_and_other_plan_are_told(tmp_path):
    run(tmp_path, fresh(), stop_at=3)
    with pytest.raises(training.InterruptedTrainingError, match="another plan"):
        training.run_steps(
            tmp_path / CHECKPOINT, {"model": fresh()}, lambda step: None, steps=7, lr=1e-2, resume=True, progress=False
        )
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(training.InterruptedTrainingError, match="delete it to begin anew"):
        run(tmp_path, fresh(), resume=True)


def test_infinite_loss_stops_training(tmp_path):
    model = fresh()
    with pytest.raises(training.InterruptedTrainingError, match="at step 0 of 40"):
        training.run_steps(
            tmp_path / CHECKPOINT, {"model": model}, lambda step: model.weight.sum() * torch.inf,
            steps=40, lr=1.0, progress=False,
        )  # fmt: skip


class Toy:
    """A maker whose model is one number in a file; `breaks` stops it half-way, as a power cut would."""

    def __init__(self, breaks: bool = False) -> None:
        self.breaks = breaks

    def train(self, folder: Path, *, steps=None, device="cpu", resume=False, progress=True) -> Trained:
        (folder / "weights.json").write_text(json.dumps(steps))
        (folder / CHECKPOINT).write_bytes(b"state")
        if self.breaks:
            raise KeyboardInterrupt
        return Trained(steps, 1, 0.1, 1, "none", "everything")

    def measure(self, folder: Path, *, device="cpu") -> dict[str, float]:
        return {"figure": float(json.loads((folder / "weights.json").read_text()))}

    def load(self, folder: Path, *, device="cpu"):
        return json.loads((folder / "weights.json").read_text())


def row(maker):
    class Row(catalogue.Model):
        def maker(self):
            return maker

    return Row(name="toy", what="", gives="", made_by="", extra="vl", needs=(), full="")


def test_a_broken_off_training_leaves_the_older_model_as_it_was(tmp_path):
    to = tmp_path / "toy"
    training.make(row(Toy()), to, steps=1, progress=False)
    with pytest.raises(KeyboardInterrupt):
        training.make(row(Toy(breaks=True)), to, steps=2, progress=False)
    assert cards.check(to, again=True).steps == 1
    assert Toy().load(to) == 1
    assert (tmp_path / ".toy.part" / CHECKPOINT).is_file(), "what was done waits for --resume"
    training.make(row(Toy()), to, steps=2, resume=True, progress=False)
    assert cards.check(to, again=True).metrics == {"figure": 2.0}
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]
    assert not (to / CHECKPOINT).exists()


def test_nothing_lies_where_no_training_was_finished(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        training.make(row(Toy(breaks=True)), tmp_path / "toy", steps=2, progress=False)
    assert not (tmp_path / "toy").exists()


def test_a_card_tells_how_the_model_was_made(tmp_path):
    card = training.make(row(Toy()), tmp_path / "toy", steps=3, progress=False)
    assert (card.steps, card.seed, card.device) == (3, 1, training.describe("cpu"))
    assert set(card.files) == {"weights.json"}
    assert replace(card, version=1) == cards.read(tmp_path / "toy")
