"""Chapter 2 against libraries and exact properties, and its prose against what its own cells compute.

Most functions have an oracle beside their exercise (tests/chapters/test_oracles.py); here are the others.
"""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from autograder.base import paths
from autograder.chapter import lesson as lessons
from dlcv_lab import count_params, pictures
from solutions import ch02_neural_networks as ours

SLUG = "ch02_neural_networks"


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def clouds(seed):
    t = (torch.arange(30) % 2).double()
    return draw(30, 2, seed=seed) + (2 * t - 1)[:, None], t


@pytest.mark.method("ch02/train_neuron", "ch02/weight_decay")
@pytest.mark.parametrize("alpha", [0.3, 1.0, 10.0])
def test_a_trained_neuron_equals_logistic_regression_with_c_of_one_over_alpha(alpha):
    x, t = clouds(1)
    theirs = LogisticRegression(C=1 / alpha, fit_intercept=False, tol=1e-10).fit(x.numpy(), t.numpy()).coef_[0]
    mine = ours.train_neuron(x, t, alpha=alpha, lr=0.05, steps=4000)[-1]
    np.testing.assert_allclose(mine, theirs, atol=1e-4)
    p = ours.neuron(x, mine)
    torch.testing.assert_close((t - p) @ x, alpha * mine, atol=1e-5, rtol=0)  # the condition of the optimum


@pytest.mark.method("ch02/neuron")
def test_a_neuron_is_the_posterior_of_two_gaussians_and_answers_one_half_on_its_boundary():
    x, mean = draw(50, 2), torch.tensor([1.0, 1.0], dtype=torch.float64)
    density = [torch.distributions.Normal(m, 1.0).log_prob(x).sum(1) for m in (-mean, mean)]
    torch.testing.assert_close(ours.neuron(x, 2 * mean), torch.stack(density).softmax(0)[1])
    w, b = draw(2, seed=3), 1.7
    n, d = ours.boundary(w, b)
    far = torch.tensor([[1000.0], [-1000.0]])
    assert ours.neuron(far, torch.ones(1)).tolist() == [1.0, 0.0]
    torch.testing.assert_close(ours.neuron((d * n)[None], w, b), torch.tensor([0.5], dtype=torch.float64))
    width = math.log(3) / w.norm()  # from the boundary to the answer 3/4
    torch.testing.assert_close(ours.neuron(((d + width) * n)[None], w, b), torch.tensor([0.75], dtype=torch.float64))


@pytest.mark.method("ch02/neuron_objective")
def test_the_gradient_passes_the_numerical_check_and_the_landscape_has_its_lowest_point_at_the_trained_neuron():
    x, t = clouds(2)
    w = draw(2, seed=5).requires_grad_()
    (slope,) = torch.autograd.grad(ours.objective(w, x, t, 0.7), w)
    torch.testing.assert_close(ours.objective_grad(w.detach(), x, t, 0.7), slope)
    assert torch.autograd.gradcheck(lambda v: ours.objective(v, x, t, 0.7), w)
    grid = torch.linspace(-1, 4, 101, dtype=torch.float64)
    row, column = divmod(ours.loss_surface(x, t, grid, alpha=1.0).argmin().item(), 101)
    trained = ours.train_neuron(x, t, alpha=1.0, lr=0.05, steps=3000)[-1]
    assert (torch.stack([grid[column], grid[row]]) - trained).abs().max() <= 0.05


@pytest.mark.method("ch02/two_layer")
def test_hand_set_weights_solve_xor_and_hidden_units_may_change_places():
    corners = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    W, b, w, c = ours.xor_weights()
    _h, p = ours.two_layer_forward(corners, W, b, w, c)
    assert p[1:3].min() > 0.9
    assert max(p[0], p[3]) < 0.1
    torch.testing.assert_close(ours.two_layer_forward(corners, W.flip(0), b.flip(0), w.flip(0), c)[1], p)
    net = nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.Linear(2, 1), nn.Sigmoid())
    net.load_state_dict({"0.weight": W, "0.bias": b, "2.weight": w[None], "2.bias": c[None]})
    torch.testing.assert_close(net(corners)[:, 0], p)
    assert count_params(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))) == 13  # the quick question


@pytest.mark.method("ch02/backprop")
def test_units_that_begin_alike_stay_alike():
    x, t = clouds(4)
    net = [torch.full(s, 0.3, dtype=torch.float64) for s in ((3, 2), (3,), (3,), ())]
    for _ in range(50):
        net = [q - 0.1 * g for q, g in zip(net, ours.two_layer_backward(x, t, *net))]
    W, b, w, _ = net
    assert (W[0] == W).all()
    assert (b == b[0]).all()
    assert (w == w[0]).all()
    assert (W[0] - 0.3).abs().max() > 0.1  # they moved, together


@pytest.mark.method("ch02/activations")
def test_gradient_norms_equal_those_of_a_deep_module():
    for name, bend in (("relu", nn.ReLU()), ("tanh", nn.Tanh()), ("sigmoid", nn.Sigmoid())):
        rng, gain = torch.Generator().manual_seed(3), 2.0 if name == "relu" else 1.0
        net = nn.Sequential()
        for _ in range(3):
            net.append(nn.Linear(16, 16, bias=False)).append(bend)
            net[-2].weight.data = torch.randn(16, 16, generator=rng) * math.sqrt(gain / 16)
        x = torch.randn(128, 16, generator=rng)
        F.cross_entropy(net[:-1](x), torch.randint(16, (128,), generator=rng)).backward()
        expected = [part.weight.grad.abs().mean().item() for part in net[::2]]
        np.testing.assert_allclose(
            ours.gradient_norms(name, 3, width=16, rng=torch.Generator().manual_seed(3)), expected, rtol=1e-5
        )


@pytest.mark.method("ch02/hierarchical_features")
@pytest.mark.parametrize("training", [True, False])
def test_layer_activations_equal_torchvisions_feature_extractor(training):
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(27, 4))
    model[1].running_mean.normal_()
    x = torch.randn(6, 1, 5, 5)
    model.train(training)
    mine = ours.layer_activations(model, x)
    assert model.training is training
    copy = nn.Sequential(*(nn.ReLU() if isinstance(part, nn.ReLU) else part for part in model)).eval()
    theirs = create_feature_extractor(copy, [str(k) for k in range(5)])(x)
    for a, e in zip(mine, theirs.values(), strict=True):
        torch.testing.assert_close(a, e.flatten(1))


@pytest.mark.method("ch02/weight_decay")
def test_choose_alpha_equals_a_table_of_held_out_likelihoods():
    x, t = clouds(6)
    ends = {a: ours.train_neuron(x[:10], t[:10], alpha=a, lr=0.05, steps=500)[-1] for a in (0.0, 0.1, 1.0, 10.0)}
    table = {a: F.binary_cross_entropy(torch.sigmoid(x[10:] @ w), t[10:]).item() for a, w in ends.items()}
    assert ours.choose_alpha(list(ends), ends.__getitem__, x[10:], t[10:]) == min(table, key=table.get)


def run_cells(number, monkeypatch):
    """Run the given cells of a lesson with the reference, drawing nothing; return its names."""
    for name in ("images", "grid", "curves", "bars", "scatter", "contours", "figure"):
        monkeypatch.setattr(pictures.Show, name, staticmethod(lambda *_, **__: None), raising=False)
    revealed: dict[str, float] = {}
    silent = {name: lambda *_, **__: None for name in ("needs", "predict", "interact")}
    silent["reveal"] = lambda name, value, **_: revealed.setdefault(name, float(value))
    names: dict = {"revealed": revealed}
    for cell in lessons.read(paths.chapters() / SLUG / f"lesson_{number}.md").cells:
        if cell.kind == "setup":
            exec(cell.source.replace('start("ch02")', ""), names)
            names |= vars(ours) | silent
        elif cell.kind == "given":
            exec(cell.source, names)
    return names


@pytest.mark.slow
def test_the_prose_of_notebook_1_says_what_its_cells_compute(monkeypatch):
    names = run_cells(1, monkeypatch)
    x, t, x_test, t_test, paths_ = (names[k] for k in ("x", "t", "x_test", "t_test", "paths"))
    # "many neurons have all twenty right"
    assert all(((x @ torch.tensor(w) > 0) == (t == 1)).all() for w in ((1.0, 1.0), (3.0, 3.0), (1.0, 0.9)))
    # "a line separates these twenty points", "G falls and falls towards the upper right"
    assert ((x @ paths_[0.0][-1] > 0) == (t == 1)).all()
    assert names["G"].argmin() == names["G"].numel() - 1
    # "the first ten steps find the direction"; "the dot comes to rest within a hundred"; "it creeps on"
    assert F.cosine_similarity(paths_[0.0][10], paths_[0.0][-1], dim=0) > 0.99
    assert (paths_[1.0][100] - paths_[1.0][-1]).norm() < 0.02
    assert paths_[0.0][-1].norm() > 1.2 * paths_[0.0][1000].norm()
    # the test charge is lowest about step 30; "about as many answers are right as before"
    assert names["unseen"][3] == min(names["unseen"])
    right = [((x_test @ names["path"][k] > 0) == (t_test == 1)).float().mean().item() for k in (30, 5000)]
    assert abs(right[0] - right[1]) < 0.01
    # the answers to the predictions
    told = names["revealed"]
    assert told["strip"] == pytest.approx(0.5, abs=0.01)
    assert told["too_far"] > 1.3
    assert 0 < told["strength"] < 10
    assert told["corners"] == 3
    assert names["correct"].min() == 1  # "nor does any neuron get all four wrong"


@pytest.mark.slow
def test_the_prose_of_notebook_2_says_what_its_cells_compute(monkeypatch):
    names = run_cells(2, monkeypatch)
    x, t = names["x"], names["t"]
    # "one straight cut, dashed, separates them": |x2 - x1| / 2 against 0.22
    assert (((x[:, 1] - x[:, 0]).abs() / 2 > 0.22) == (t == 1)).all()
    # the film: "the two orange clouds meet in one corner, and a straight cut separates them from the blue ones"
    h, _ = ours.two_layer_forward(x, *names["films"][-1])
    low, high = (h[(x.sum(1) < 1) & (t == 0)].mean(0), h[(x.sum(1) > 1) & (t == 0)].mean(0))
    assert (low - high).norm() < 0.2
    assert names["accuracy"](names["films"][-1], x, t) > 0.98
    # one line, a strip, a triangle; more units round off the corners
    assert names["right"][1] < 0.7 < 0.8 < names["right"][2] < 0.9  # "more than 80 %", says the question
    assert names["right"][8] > names["right"][3] > 0.95
    # the figures beside the predictions
    told = names["revealed"]
    assert told["nudging"] > 100  # depends on the machine; for a million weights it is days against a second
    assert told["rings"] == 3
    assert told["no_bend"] < 0.25
    assert names["found"]["three, ReLU"] > 2 * names["found"]["one linear layer"]
    assert names["share"]["MLP"] > 2 * names["share"]["linear"]
    # "with ReLU the error arrives", and sigmoids let little through
    assert told["vanish"] > 1e4
    assert names["sizes"]["relu"][0] > names["sizes"]["relu"][-1] / 3
    # depth finds the shape, and lets the colour go
    assert names["read"]["shape"][-1] > 0.9
    assert max(names["read"]["colour"]) == names["read"]["colour"][1]
    assert told["colour"] < -0.1
    # "the first feature wants one colour, in whatever shape; the last particular shapes, in whatever colour"
    titles = [name for name in names["names"] if name]
    assert titles[1] == "1 colour"
    assert int(titles[2].split()[0]) >= 3
    assert int(titles[-1].split()[0]) <= 2
    assert int(titles[-2].split()[0]) >= 3
    assert (torch.sigmoid(names["a"]) * (1 - torch.sigmoid(names["a"]))).max() <= 0.25
