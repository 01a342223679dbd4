"""The zoo's frame: names, cards, checksums, and an error that says what to do for everything that can be wrong."""

import importlib.util
import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from autograder.release import wheel
from dlcv_lab import zoo
from dlcv_lab.zoo import cards, catalogue, fetching, training

ROOT = Path(__file__).parents[2]
SHIPPED = [name for name in zoo.names() if (zoo.folder(name) / cards.NAME).is_file()]


@pytest.fixture
def copy(tmp_path):
    """A copy of the smallest model's folder, to be damaged."""
    return Path(shutil.copytree(zoo.folder("resnet"), tmp_path / "resnet"))


def test_importing_the_zoo_loads_no_library():
    code = (
        "import sys; from dlcv_lab import zoo; zoo.names(); print([m for m in ('torch', 'timm') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert said.strip() == "[]"


def test_unknown_name_gets_the_nearest_one():
    with pytest.raises(zoo.UnknownModelError, match="did you mean 'clip'"):
        zoo.load("clipp")
    with pytest.raises(ValueError, match="There are clip, sd"):
        zoo.card("something else")


def test_missing_library_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(zoo.MissingLibraryError, match=r'pip install "dlcv-lab\[vl\]"'):
        zoo.load("clip")


def test_scale_and_device_are_checked():
    with pytest.raises(ValueError, match="'laptop' or 'full'"):
        zoo.load("clip", scale="huge")
    with pytest.raises(ValueError, match="use 'cpu'"):
        zoo.load("clip", device="abacus")


@pytest.mark.parametrize("name", SHIPPED)
def test_files_are_those_of_the_card(name):
    card = cards.check(zoo.folder(name), again=True)
    assert card.name == name
    assert set(card.files) == set(cards.digests(zoo.folder(name))), "every file of the folder is in the card"
    assert set(card.metrics) <= set(catalogue.find(name).figures)
    assert card.tolerance == training.tolerance(catalogue.find(name), card.metrics), "no card is edited by hand"
    assert card.licence
    assert card.limits


def test_weights_are_small_enough():
    size = sum(path.stat().st_size for path in catalogue.WEIGHTS.rglob("*") if path.is_file())
    assert size <= 45e6


def test_the_wheel_carries_every_file_of_the_weights():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    home = ROOT / "dlcv_lab"
    taken = {
        path for pattern in settings["tool"]["setuptools"]["package-data"]["dlcv_lab"] for path in home.glob(pattern)
    }
    files = {catalogue.WEIGHTS / name / file for name in SHIPPED for file in [*zoo.card(name).files, cards.NAME]}
    assert files <= taken
    assert files <= set(wheel._package_files())


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "is damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\0"), "is damaged"),
        (lambda path: path.unlink(), "is missing"),
    ],
    ids=["truncated", "changed", "missing"],
)
def test_damaged_weights_are_refused(copy, damage, said):
    damage(copy / "model.safetensors")
    with pytest.raises(zoo.DamagedWeightsError, match=rf"model\.safetensors {said}.*dlcv zoo train resnet"):
        zoo.load("resnet", folder=copy)


def test_other_format_version_is_refused(copy):
    data = json.loads((copy / cards.NAME).read_text(encoding="utf-8"))
    (copy / cards.NAME).write_text(json.dumps(data | {"version": 99}), encoding="utf-8")
    with pytest.raises(zoo.DamagedWeightsError, match="format version 99, this package reads 1"):
        zoo.load("resnet", folder=copy)


def test_unreadable_and_missing_cards_are_refused(copy):
    (copy / cards.NAME).write_text("{", encoding="utf-8")
    with pytest.raises(zoo.DamagedWeightsError, match="cannot be read"):
        zoo.load("resnet", folder=copy)
    (copy / cards.NAME).unlink()
    with pytest.raises(zoo.DamagedWeightsError, match="no finished model"):
        zoo.load("resnet", folder=copy)


def test_checksums_are_compared_once_a_process(copy):
    cards.check(copy)
    (copy / "model.safetensors").write_bytes(b"")
    cards.check(copy)
    with pytest.raises(zoo.DamagedWeightsError):
        cards.check(copy, again=True)


def test_the_catalogue_names_the_real_models():
    from dlcv_lab.zoo import pipelines

    real = {name: source.repo for name, source in fetching.SOURCES.items()} | pipelines.FULL
    assert real == {model.name: model.full for model in catalogue.MODELS.values()}


def test_comparison_knows_tolerance_and_aim():
    one = cards.Comparison("shapes", said=0.9, measured=0.93, allowed=0.02, aim=0.95)
    assert not one.ok
    assert one.short
    assert not cards.Comparison("shapes", 0.9, float("nan"), 0.02).ok
