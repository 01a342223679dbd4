"""Checkpoints of chapters: a recipe beside a chapter becomes weights that a student's module can load."""

import importlib
import json
import sys

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from autograder.chapter import recipes as finding
from autograder.chapter import rows
from dlcv_lab import zoo
from dlcv_lab.cli import build_app
from dlcv_lab.cli.frame import run
from dlcv_lab.zoo import cards, catalogue, training
from dlcv_lab.zoo import recipes as making
from dlcv_lab.zoo.catalogue import CHECKPOINT, Options

SOLUTION = """
from torch import nn

class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)
        self.norm = nn.BatchNorm1d(1)

    def forward(self, x):
        return self.norm(self.layer(x))
"""
RECIPE = '''
import torch
from torch import nn
from dlcv_lab.zoo.recipes import Training, recipe, step_generator
from solutions.ch98_toy import Line

SEED = 98
COMMON = dict(steps=150, lr=5e-2, seed=SEED, data="8 points a step", limits="Anything but a line.")


def points(gen, n=64):
    x = torch.randn(n, 3, generator=gen)
    return x, (x @ torch.tensor([[1.0], [2.0], [-1.0]])) / 6**0.5


def error(model):
    x, y = points(torch.Generator().manual_seed(1))
    return float((model(x) - y).square().mean())


@recipe(**COMMON, figures={"error": "mean squared error on 64 held-out points"}, least={})
def line():
    """A line through points."""
    model = Line()

    def loss(step):
        x, y = points(step_generator(SEED, step))
        return (model(x) - y).square().mean()

    return Training(model, loss, lambda: {"error": error(model)})


@recipe(**COMMON, figures={"error": "mean squared error on 64 held-out points"})
def teacher():
    """A moving average of a line, which a loop of its own trains."""
    model, mean = Line(), Line()
    mean.requires_grad_(False)
    update = torch.optim.SGD(model.parameters(), lr=0.1)

    def loss(step):
        x, y = points(step_generator(SEED, step))
        value = (model(x) - y).square().mean()
        update.zero_grad()
        value.backward()
        update.step()
        return value

    def after(step):
        for slow, fast in zip(mean.state_dict().values(), model.state_dict().values()):
            slow.copy_(0.8 * slow + 0.2 * fast if slow.is_floating_point() else fast)

    return Training(mean, loss, lambda: {"error": error(mean)}, also={"student": model}, after=after,
                    optimizers=[update])
'''


@pytest.fixture
def chapter(tmp_path, monkeypatch):
    """A row of one toy chapter with two recipes, and an empty place for its weights."""
    for name, text in (("chapters/ch98_toy/recipes.py", RECIPE), ("solutions/ch98_toy.py", SOLUTION)):
        place = tmp_path / "root" / name
        place.parent.mkdir(parents=True)
        place.write_text(text)
    (tmp_path / "root" / "chapters" / "ch98_toy" / "lesson_1.md").write_text("# Toy\n")
    monkeypatch.setenv("DLCV_ROOT", str(tmp_path / "root"))
    monkeypatch.setattr(catalogue, "WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr(catalogue, "FINDERS", [finding.find])
    yield tmp_path
    rows.forget("ch98_toy")
    sys.modules.pop("chapters_ch98_toy_recipes", None)
    monkeypatch.undo()
    rows.link_packages()


@pytest.fixture
def dlcv(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["dlcv", "zoo", *arguments])
        code = run(build_app())
        said = capsys.readouterr()
        return code, said.out, " ".join(said.err.split())

    return call


def student():
    """Import the module of the toy chapter, as a student would have written it."""
    return importlib.import_module("solutions.ch98_toy").Line()


def test_a_recipe_becomes_a_checkpoint_that_fits_the_students_module(chapter, dlcv):
    code, out, _ = dlcv("train", "ch98/line", "--device", "cpu")
    assert code == 0
    assert 'zoo.checkpoint("ch98/line") loads it' in out
    assert zoo.checkpoints() == ("ch98/line",)
    mine = student()
    state = zoo.checkpoint("ch98/line", into=mine)
    assert all(torch.equal(value, mine.state_dict()[name]) for name, value in state.items())
    assert state["layer.weight"].dtype == torch.float32
    assert state["norm.num_batches_tracked"].dtype == torch.int64
    x = torch.randn(500, 3, generator=torch.Generator().manual_seed(5))
    line = x @ torch.tensor([1.0, 2.0, -1.0]) / 6**0.5
    assert (mine.eval()(x)[:, 0] - line).square().mean() < 0.01, "it has learnt what the recipe teaches"
    assert load_file(zoo.folder("ch98/line") / "model.safetensors")["layer.weight"].dtype == torch.float16


def test_card_list_show_and_verify(chapter, dlcv):
    dlcv("train", "ch98/line", "--device", "cpu")
    card = zoo.card("ch98/line")
    assert (card.name, card.steps, card.seed, card.parameters) == ("ch98/line", 150, 98, 6)
    assert set(card.files) == {"model.safetensors"}
    rows_ = {row["name"]: row for row in json.loads(dlcv("list", "--json")[1])}
    assert rows_["ch98/line"]["metrics"] == card.metrics
    assert "held-out points" in dlcv("show", "ch98/line")[1]
    code, out, _ = dlcv("verify", "ch98/line", "--json")
    assert code == 0
    assert json.loads(out)[0]["figures"][0]["measured"] == pytest.approx(card.metrics["error"], abs=1e-4)
    data = json.loads((zoo.folder("ch98/line") / cards.NAME).read_text())
    data["metrics"]["error"] += 0.1
    (zoo.folder("ch98/line") / cards.NAME).write_text(json.dumps(data))
    assert dlcv("verify", "ch98/line")[0] == 1, "a card that claims another figure is found out"


def test_without_the_chapters_files_are_compared_and_nothing_is_measured(chapter, dlcv, monkeypatch):
    dlcv("train", "ch98/line", "--device", "cpu")
    monkeypatch.setattr(catalogue, "FINDERS", [])
    assert zoo.verify("ch98/line") == []
    weights = zoo.folder("ch98/line") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-2])
    with pytest.raises(zoo.DamagedWeightsError, match="dlcv zoo train ch98/line"):
        zoo.verify("ch98/line")


def test_another_module_is_refused_with_the_names(chapter, dlcv):
    dlcv("train", "ch98/line", "--device", "cpu")

    class Other(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.scale = nn.Linear(4, 1), nn.Linear(1, 1)

    other = Other()
    before = other.layer.weight.clone()
    with pytest.raises(zoo.MismatchedWeightsError) as caught:
        zoo.checkpoint("ch98/line", into=other)
    said = str(caught.value)
    assert "does not fit this Other: your module lacks norm.bias, norm.num_batches_tracked, norm.running_mean" in said
    assert "the checkpoint lacks scale.weight, scale.bias" in said
    assert "layer.weight [1, 4], in the checkpoint [1, 3]" in said
    assert torch.equal(other.layer.weight, before), "nothing was loaded"


def test_unknown_names_say_what_there_is(chapter, dlcv):
    dlcv("train", "ch98/line", "--device", "cpu")
    with pytest.raises(zoo.UnknownModelError, match="did you mean 'ch98/line'"):
        zoo.checkpoint("ch98/lines")
    code, _, said = dlcv("train", "ch98/circle")
    assert code == 2
    assert "no recipe 'ch98/circle'" in said
    assert finding.names() == ("ch98/line", "ch98/teacher")


def test_a_broken_off_training_of_two_modules_goes_on_where_it_stopped(chapter):
    """The average, its student, and the recipe's own optimizer all come back from the checkpoint."""

    def train(name, resume=False, stop=None):
        made = finding.find("ch98/teacher").start()
        (chapter / name).mkdir(exist_ok=True)
        training.run_steps(
            chapter / name / CHECKPOINT, {"module": made.module, **made.also}, made.loss,
            Options(progress=False, resume=resume), steps=40, lr=1.0, updates=made.optimizers, after=made.after,
            stop_at=stop,
        )  # fmt: skip
        return made.module.state_dict()

    whole, _ = train("whole"), train("halves", stop=13)
    after = train("halves", resume=True)
    assert all(torch.equal(whole[name], after[name]) for name in whole)


def test_a_moving_average_with_its_own_loop_is_trained_and_measured(chapter, dlcv):
    assert dlcv("train", "ch98/teacher", "--device", "cpu")[0] == 0
    assert zoo.card("ch98/teacher").metrics["error"] < 0.05
    assert all(each.ok for each in zoo.verify("ch98/teacher"))
    zoo.checkpoint("ch98/teacher", into=student())


def test_weights_too_large_for_half_precision_stay_as_they_are():
    assert making._half(torch.tensor([7e4])).dtype == torch.float32
    assert making._half(torch.tensor([1.0])).dtype == torch.float16
    assert making._half(torch.tensor([1])).dtype == torch.int64


def test_every_checkpoint_in_the_package_is_whole():
    for name in zoo.checkpoints():
        card = cards.check(zoo.folder(name), again=True)
        assert card.name == name
        assert card.limits
        assert set(card.files) == set(cards.digests(zoo.folder(name)))
