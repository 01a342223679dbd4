"""`fit` is deterministic, honest about what it did, and stops when something is wrong."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dlcv_lab import accuracy, fit, training


@pytest.fixture
def blobs():
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(120) % 3
    centres = torch.tensor([[4.0, 0], [0, 4], [-4, -4]])
    return centres[y] + torch.randn(120, 2, generator=rng), y


def linear(n_in=2, n_out=3):
    torch.manual_seed(0)
    return nn.Linear(n_in, n_out)


def test_it_learns_and_reports(blobs):
    model = linear()
    history = fit(model, blobs, test=blobs, lr=0.1, steps=60, batch_size=16, evaluate_every=25, progress=False)
    assert history.steps == 60
    assert history.at == [25, 50, 60]
    assert len(history.accuracy) == len(history.test_loss) == 3
    assert history.accuracy[-1] == accuracy(model, *blobs) > 0.95
    assert history.test_loss[-1] == pytest.approx(F.cross_entropy(model(blobs[0]), blobs[1]).item(), rel=1e-5)
    assert not model.training


def test_same_generator_same_weights(blobs):
    weights = []
    for n in (1, 1, 2):
        model = linear()
        fit(model, blobs, steps=10, generator=torch.Generator().manual_seed(n), progress=False)
        weights.append(model.weight.detach())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_one_step_of_sgd_is_one_step_of_sgd(blobs):
    """With the whole data as one batch, a step must equal the update written by hand."""
    model, by_hand = linear(), linear()
    fit(model, blobs, steps=1, batch_size=1000, optimizer="sgd", lr=0.5, progress=False)
    gradient = torch.autograd.grad(F.cross_entropy(by_hand(blobs[0]), blobs[1]), by_hand.weight)[0]
    torch.testing.assert_close(model.weight, by_hand.weight - 0.5 * gradient)


def test_every_epoch_visits_every_example_once():
    seen = []
    x = torch.arange(12.0)[:, None]

    def watch(bx, by, rng):
        seen.append(bx.flatten())
        return bx, by

    fit(linear(1, 1), (x, x), epochs=3, batch_size=4, loss=F.mse_loss, augment=watch, lr=1e-4, progress=False)
    epochs = torch.cat(seen).reshape(3, 12)
    assert all(sorted(epoch.tolist()) == list(range(12)) for epoch in epochs)
    assert epochs.unique(dim=0).shape[0] == 3


def test_augment_changes_what_the_model_sees_and_draws_from_the_generator():
    def noise(bx, by, rng):
        return bx + torch.randn(bx.shape, generator=rng), by

    x = torch.zeros(8, 2)
    losses = [
        fit(
            linear(2, 2), (x, x), steps=3, loss=F.mse_loss, augment=noise, progress=False,
            generator=torch.Generator().manual_seed(n),
        ).loss
        for n in (0, 0, 1)
    ]  # fmt: skip
    assert losses[0] == losses[1] != losses[2]


def test_schedule_multiplies_the_rate(blobs):
    still, moved = linear(), linear()
    fit(still, blobs, steps=5, schedule=lambda step: 0.0, progress=False)
    fit(moved, blobs, steps=5, schedule=lambda step: 1.0, progress=False)
    assert torch.equal(still.weight, linear().weight)
    assert not torch.equal(moved.weight, linear().weight)


def test_frozen_parameters_stay(blobs):
    model = nn.Sequential(linear(2, 4), nn.Linear(4, 3))
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    fit(model, blobs, steps=3, progress=False)
    assert torch.equal(model[0].weight, before)
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="no trainable parameters"):
        fit(model, blobs, steps=3)


def test_an_optimizer_of_your_own(blobs):
    model = linear()
    fit(model, blobs, steps=2, optimizer=lambda p: torch.optim.SGD(p, lr=0.0), progress=False)
    assert torch.equal(model.weight, linear().weight)


def test_a_loss_that_is_not_finite_stops_at_its_step(blobs):
    calls = []

    def loss(output, target):
        calls.append(1)
        value = F.cross_entropy(output, target)
        return value / 0 if len(calls) == 4 else value

    with pytest.raises(training.NonFiniteLossError, match="inf at step 4 of 9"):
        fit(linear(), blobs, steps=9, loss=loss, progress=False)


def test_a_silent_broadcast_is_an_error():
    x, y = torch.randn(8, 2), torch.randn(8)
    with pytest.raises(ValueError, match=r"\[8, 1\] for targets \[8\]"):
        fit(linear(2, 1), (x, y), steps=1, loss=F.mse_loss, progress=False)


def test_a_loss_that_is_no_number_is_an_error(blobs):
    with pytest.raises(ValueError, match=r"shape \[64\].*mean"):
        fit(linear(), blobs, steps=1, loss=lambda o, t: F.cross_entropy(o, t, reduction="none"), progress=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 1, "steps": 1}, "not both"),
        ({"steps": 0}, "at least one step"),
        ({"batch_size": 0}, "at least one example"),
        ({"optimizer": "adma"}, "'adam', 'sgd'"),
    ],
)
def test_senseless_arguments(blobs, options, message):
    with pytest.raises(ValueError, match=message):
        fit(linear(), blobs, progress=False, **options)


def test_pairs_of_unequal_length(blobs):
    with pytest.raises(ValueError, match="lengths 120, 119"):
        fit(linear(), (blobs[0], blobs[1][:-1]))
    with pytest.raises(ValueError, match="test must be a pair"):
        fit(linear(), blobs, test=(blobs[0], blobs[1][:5]))


def test_book_pages_get_one_line_without_times(blobs, monkeypatch, capsys):
    monkeypatch.setenv("DLCV_BOOK", "1")
    fit(linear(), blobs, test=blobs, steps=5)
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.count("\n") == 1
    assert captured.out.startswith("5 steps, loss ")


def test_accuracy_counts_pixels_and_restores_the_mode():
    class Constant(nn.Module):
        def forward(self, x):
            return torch.stack([torch.zeros_like(x), torch.ones_like(x)], dim=1)

    model = Constant().train()
    y = torch.tensor([[[0, 1], [1, 1]], [[1, 1], [0, 0]]])
    assert accuracy(model, torch.zeros(2, 2, 2), y, batch_size=1) == 5 / 8
    assert model.training
    with pytest.raises(ValueError, match="0 and 0"):
        accuracy(model, torch.zeros(0, 2), torch.zeros(0))


def test_evaluation_does_not_touch_batch_norm(blobs):
    model = nn.Sequential(nn.BatchNorm1d(2), linear())
    before = model[0].running_mean.clone()
    accuracy(model, *blobs)
    assert torch.equal(model[0].running_mean, before)


def test_history_plot_needs_words(blobs):
    history = fit(linear(), blobs, test=blobs, steps=12, progress=False)
    picture = history.plot(alt="Both losses fall.", display=False)
    assert picture.alt == "Both losses fall."
    with pytest.raises(TypeError, match="alt"):
        history.plot(alt="")
