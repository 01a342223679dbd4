"""One device, one seed, one beginning."""

import random

import numpy as np
import pytest
import torch

from dlcv_lab import context, device, seed, set_up, start


def test_a_wish_beats_the_environment(monkeypatch):
    monkeypatch.setenv("DLCV_DEVICE", "nonsense")
    assert device("cpu") == torch.device("cpu")


def test_environment_is_heeded(monkeypatch):
    monkeypatch.setenv("DLCV_DEVICE", "cpu")
    assert device().type == "cpu"


@pytest.mark.parametrize("wish", ["nonsense", "cuda:77"])
def test_a_device_that_is_not_there_is_named(wish):
    with pytest.raises(ValueError, match=wish):
        device(wish)


def test_without_a_wish_the_best_there_is(monkeypatch):
    monkeypatch.delenv("DLCV_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device().type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert device().type == "cpu"


def draw():
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_seed_fixes_all_three_generators():
    seed(3)
    first = draw()
    seed(3)
    assert draw() == first
    seed(4)
    assert all(a != b for a, b in zip(draw(), first))


@pytest.mark.parametrize("n", [-1, 2**32])
def test_seed_out_of_range(n):
    with pytest.raises(ValueError, match=str(n)):
        seed(n)


def test_start_seeds_and_remembers_the_chapter(monkeypatch):
    monkeypatch.setattr(context, "_chapter", None)
    with pytest.raises(RuntimeError, match="set-up cell"):
        context.chapter()
    start("ch03", seed=5)
    first = draw()
    start("ch03", seed=5)
    assert draw() == first
    assert context.chapter() == "ch03"
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("chapter", ["3", "chapter 3", "ch3", "ch03_networks"])
def test_start_refuses_other_spellings(chapter):
    with pytest.raises(ValueError, match="ch03"):
        start(chapter)


def test_colab_is_told_once_to_save(monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "google.colab", object())
    monkeypatch.setattr(set_up, "_told_colab", False)
    start("ch03")
    start("ch03")
    assert capsys.readouterr().out.count("Save a copy in Drive") == 1
