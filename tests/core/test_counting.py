"""Parameters are counted the way papers count them."""

import pytest
import torch
from torch import nn

from dlcv_lab import count_params


def test_closed_forms():
    assert count_params(nn.Linear(7, 5)) == 7 * 5 + 5
    assert count_params(nn.Conv2d(3, 8, 5, bias=False)) == 3 * 8 * 25
    assert count_params(nn.BatchNorm2d(6)) == 12  # running averages are buffers
    assert count_params(nn.ReLU()) == 0


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_tied_weights_count_once(device):
    model = nn.ModuleDict({"embed": nn.Embedding(11, 4), "head": nn.Linear(4, 11, bias=False)}).to(device)
    assert count_params(model) == 88
    model["head"].weight = model["embed"].weight
    assert count_params(model) == 44


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_transposed_view_of_the_same_memory_counts_once(device):
    model = nn.Linear(4, 11, bias=False, device=device)
    model.again = nn.Parameter(model.weight.detach().t())
    assert count_params(model) == 44


def test_views_that_overlap_in_part_count_their_union():
    flat = torch.zeros(10)
    model = nn.Module()
    model.a, model.b = nn.Parameter(flat[:6]), nn.Parameter(flat[4:9])
    assert count_params(model) == 9


def test_trainable_and_frozen_add_up():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    assert count_params(model, trainable=True) == 10
    assert count_params(model, trainable=False) == 16
    assert count_params(model) == 26


def test_a_tie_between_trainable_and_frozen_counts_as_trainable():
    model = nn.Module()
    model.a = nn.Parameter(torch.zeros(5))
    model.b = nn.Parameter(model.a.detach(), requires_grad=False)
    assert (count_params(model, trainable=True), count_params(model, trainable=False)) == (5, 0)


def test_expanded_parameters_count_their_memory():
    model = nn.Module()
    model.a = nn.Parameter(torch.zeros(3, 1).expand(3, 100))
    assert count_params(model) == 3


def test_lazy_layers_must_be_run_first():
    model = nn.LazyLinear(3)
    with pytest.raises(ValueError, match=r"'weight'.*run the model once"):
        count_params(model)
    model(torch.zeros(2, 5))
    assert count_params(model) == 18
