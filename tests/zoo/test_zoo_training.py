"""Training can be broken off and resumed without a trace, and leaves a whole model or none."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from dlcv_lab import zoo
from dlcv_lab.zoo import cards, catalogue, training
from dlcv_lab.zoo.catalogue import CHECKPOINT, Options, Trained

SEED = 5
QUIET = Options(progress=False)


def run(folder, model, resume=False, **more):
    def one_step(step):
        x = torch.randn(8, 4, generator=training.step_generator(SEED, step))
        return model(x).square().mean()

    return training.run_steps(
        folder / CHECKPOINT, {"model": model}, one_step, replace(QUIET, resume=resume), steps=40, lr=1e-2, **more
    )


def fresh():
    torch.manual_seed(SEED)
    return nn.Linear(4, 4)


@pytest.mark.parametrize("muon", [False, True])
def test_a_resumed_run_is_the_run_that_never_stopped(tmp_path, muon):
    def train(name, model, **more):
        run(tmp_path / name, model, matrices=[model.weight] if muon else (), **more)
        return model

    whole, halves = train("whole", fresh()), train("halves", fresh(), stop_at=17)
    after = train("halves", fresh(), resume=True)
    assert torch.equal(whole.weight, after.weight)
    assert not torch.equal(whole.weight, halves.weight)


def test_damaged_checkpoint_and_other_plan_are_told(tmp_path):
    run(tmp_path, fresh(), stop_at=3)
    with pytest.raises(training.InterruptedTrainingError, match="another plan"):
        training.run_steps(
            tmp_path / CHECKPOINT, {"model": fresh()}, lambda step: None, replace(QUIET, resume=True), steps=7, lr=1e-2
        )
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(training.InterruptedTrainingError, match="delete it to begin anew"):
        run(tmp_path, fresh(), resume=True)


def test_matrices_are_trained_by_muon_and_the_rest_by_adamw(tmp_path):
    plain, other = fresh(), fresh()
    run(tmp_path / "plain", plain, stop_at=1)
    run(tmp_path / "other", other, stop_at=1, matrices=[other.weight])
    before = fresh()
    assert torch.equal(plain.bias, other.bias)
    assert torch.allclose((plain.weight - before.weight).abs(), torch.tensor(1e-2 / 4), rtol=1e-3), "Adam: all alike"
    spectrum = torch.linalg.svdvals(other.weight - before.weight) / (training.MUON_TIMES * 1e-2 / 4)
    assert float(spectrum.min()) > 0.5, "Muon: all directions nearly alike"
    assert float(spectrum.max()) < 1.5


def test_a_torch_without_muon_is_told(tmp_path, monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon")
    model = fresh()
    with pytest.raises(zoo.ZooError, match=r"torch 2\.9 or newer"):
        run(tmp_path, model, matrices=[model.weight])


def test_infinite_loss_stops_training(tmp_path):
    model = fresh()
    with pytest.raises(training.InterruptedTrainingError, match="at step 0 of 40"):
        training.run_steps(
            tmp_path / CHECKPOINT, {"model": model}, lambda step: model.weight.sum() * torch.inf,
            QUIET, steps=40, lr=1.0,
        )  # fmt: skip


class Toy:
    """A maker whose model is one number in a file; `breaks` stops it half-way, as a power cut would."""

    def __init__(self, breaks: bool = False) -> None:
        self.breaks = breaks

    def train(self, folder: Path, options: Options) -> Trained:
        (folder / "weights.json").write_text(json.dumps(options.steps))
        (folder / CHECKPOINT).write_bytes(b"state")
        if self.breaks:
            raise KeyboardInterrupt
        return Trained(options.steps, 1, 0.1, 1, "none", "everything")

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
    training.make(row(Toy()), to, replace(QUIET, steps=1))
    with pytest.raises(KeyboardInterrupt):
        training.make(row(Toy(breaks=True)), to, replace(QUIET, steps=2))
    assert cards.check(to, again=True).steps == 1
    assert Toy().load(to) == 1
    assert (tmp_path / ".toy.part" / CHECKPOINT).is_file(), "what was done waits for --resume"
    training.make(row(Toy()), to, replace(QUIET, steps=2, resume=True))
    assert cards.check(to, again=True).metrics == {"figure": 2.0}
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]
    assert not (to / CHECKPOINT).exists()


def test_nothing_lies_where_no_training_was_finished(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        training.make(row(Toy(breaks=True)), tmp_path / "toy", replace(QUIET, steps=2))
    assert not (tmp_path / "toy").exists()


def test_a_card_tells_how_the_model_was_made(tmp_path):
    card = training.make(row(Toy()), tmp_path / "toy", replace(QUIET, steps=3))
    assert (card.steps, card.seed, card.device) == (3, 1, training.describe("cpu"))
    assert set(card.files) == {"weights.json"}
    assert replace(card, version=1) == cards.read(tmp_path / "toy")


def test_a_start_from_earlier_weights_draws_anew_at_half_the_rate(tmp_path):
    assert training.start(QUIET, 7, 0.5, 9, "scenes") == (7, 0.5, 9, "scenes")
    training.make(row(Toy()), tmp_path / "toy", replace(QUIET, steps=3))
    again = training.start(Options(steps=4, begin=tmp_path / "toy"), 7, 0.5, 9, "scenes")
    assert again == (2, 0.25, 4, "scenes; goes on from weights of 3 steps"), "the seed after the one on the card"
    card = cards.read(tmp_path / "toy")
    cards.write(tmp_path / "toy", replace(card, data=again.data, steps=4))
    third = training.start(Options(begin=tmp_path / "toy"), 7, 0.5, 9, "scenes")
    assert third.data == "scenes; goes on from weights of 3 + 4 steps"


def test_training_begins_at_no_other_model_and_at_no_damaged_one(tmp_path):
    training.make(row(Toy()), tmp_path / "toy", replace(QUIET, steps=1))
    with pytest.raises(zoo.ZooError, match="toy holds toy: resnet cannot begin there"):
        training.make(catalogue.find("resnet"), tmp_path / "resnet", Options(begin=tmp_path / "toy"))
    (tmp_path / "toy" / "weights.json").write_text("2")
    with pytest.raises(zoo.DamagedWeightsError, match=r"weights\.json"):
        training.make(row(Toy()), tmp_path / "more", Options(begin=tmp_path / "toy"))
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo.names())
def test_every_model_can_be_trained_on(name, tmp_path):
    earlier = zoo.folder(name)
    made = catalogue.find(name).maker().train(tmp_path, replace(QUIET, steps=1, begin=earlier))
    card = cards.read(earlier)
    assert made.seed == card.seed + 1
    assert made.data.endswith(f" {card.steps} steps")
    assert training.GOES_ON in made.data
    stored = sorted(path.relative_to(earlier) for path in earlier.rglob("*.safetensors"))
    assert stored
    for path in stored:
        before, after = (load_file(folder / path) for folder in (earlier, tmp_path))
        assert before.keys() == after.keys()
        learned = [key for key in before if "running_" not in key and "num_batches" not in key]
        assert all(torch.allclose(before[key].float(), after[key].float(), atol=0.02) for key in learned), path
