"""`dlcv zoo`: exit codes 0, 1 and 2, tables and JSON."""

import json
import shutil

import pytest

from dlcv_lab import zoo
from dlcv_lab.cli import build_app
from dlcv_lab.cli.frame import run
from dlcv_lab.zoo import catalogue

MINE = ["clip", "vit", "resnet", "gpt", "llama"]


@pytest.fixture
def dlcv(monkeypatch, capsys):
    """Run `dlcv zoo ...` in this process; give its exit code, output and errors."""

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["dlcv", "zoo", *arguments])
        code = run(build_app())
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_list_names_every_model(dlcv):
    code, out, _ = dlcv("list")
    assert code == 0
    assert all(name in out for name in zoo.names())
    code, out, _ = dlcv("list", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert set(rows) == {*zoo.names(), *zoo.checkpoints()}
    assert all(rows[name]["parameters"] > 0 and rows[name]["bytes"] > 0 for name in MINE)


def test_show_prints_the_card(dlcv):
    code, out, _ = dlcv("show", "gpt")
    assert code == 0
    assert "licence" in out
    assert "MIT" in out
    code, out, _ = dlcv("show", "gpt", "--json")
    assert json.loads(out)["metrics"] == zoo.card("gpt").metrics


def test_unknown_model_is_a_usage_error(dlcv):
    for verb in ("show", "verify", "train"):
        code, _, said = dlcv(verb, "clipp")
        assert code == 2
        assert "did you mean 'clip'" in " ".join(said.split())


@pytest.mark.slow
def test_verify_measures_what_the_cards_say(dlcv):
    code, out, _ = dlcv("verify", *MINE, "--json")
    rows = json.loads(out)
    assert [row["name"] for row in rows] == MINE
    off = [(row["name"], each) for row in rows for each in row["figures"] if not each["ok"]]
    assert (code, off) == (0, [])


def test_verify_finds_damage(dlcv, tmp_path, monkeypatch):
    shutil.copytree(zoo.folder("resnet"), tmp_path / "resnet")
    (tmp_path / "resnet" / "model.safetensors").write_bytes(b"torn")
    monkeypatch.setattr(catalogue, "WEIGHTS", tmp_path)
    code, out, _ = dlcv("verify", "resnet")
    assert code == 1
    assert "damaged" in out


def test_train_makes_a_model_that_loads(dlcv, tmp_path):
    code, out, _ = dlcv("train", "resnet", "--steps", "2", "--device", "cpu", "--to", str(tmp_path / "mine"))
    assert code == 0
    assert "shapes:" in out
    model, _ = zoo.load("resnet", folder=tmp_path / "mine")
    assert model.num_classes == 8


def test_train_does_not_overwrite_something_else(dlcv, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    code, _, said = dlcv("train", "resnet", "--steps", "2", "--to", str(tmp_path))
    assert code == 2
    assert "something else" in " ".join(said.split())
    assert (tmp_path / "thesis.txt").exists()
