"""Chapter 1, notebook 2: what the oracles of the exercises do not say, and what the lesson's sentences state."""

import math
from itertools import pairwise

import pytest
import scipy.optimize
import torch
import torch.nn.functional as F

from dlcv_lab import data
from solutions.ch01_linear_classification import lesson_2 as ours


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def close(actual, expected, tol=1e-10):
    torch.testing.assert_close(actual, expected, rtol=tol, atol=tol)


@pytest.mark.method("ch01/numeric_gradient")
@pytest.mark.parametrize("w", [draw(5), draw(3, 4), draw(4, 3).T, draw(())], ids=["vector", "matrix", "view", "number"])
def test_numeric_gradient_equals_autograd_and_leaves_the_weights_alone(w):
    def f(v):
        return (v.sin() * v).sum()

    before, leaf = w.clone(), w.clone().requires_grad_()
    g = ours.numeric_gradient(f, w)
    assert (g.shape, g.dtype) == (w.shape, w.dtype)
    assert w.equal(before)
    close(g, torch.autograd.grad(f(leaf), leaf)[0], 1e-8)


@pytest.mark.method("ch01/numeric_gradient")
def test_forward_differences_equal_scipy():
    w = draw(6)
    expected = scipy.optimize.approx_fprime(w.numpy(), lambda v: float((v**3).sum()), 1e-6)
    close(ours.numeric_gradient(lambda v: float((v**3).sum()), w, h=1e-6, central=False), torch.tensor(expected), 1e-8)


@pytest.mark.method("ch01/numeric_gradient")
def test_exact_properties_of_differences():
    calls = []

    def f(v):
        calls.append(1)
        return (v**3).sum()

    w = draw(4)
    close(ours.numeric_gradient(f, w, h=0.1) - 3 * w**2, torch.full((4,), 0.01, dtype=torch.float64), 1e-9)  # h^2
    assert len(calls) == 8
    ours.numeric_gradient(f, w, central=False)
    assert len(calls) == 8 + 5
    A = draw(4, 4)
    close(ours.numeric_gradient(lambda v: v @ A @ v, w, h=3.0), (A + A.T) @ w, 1e-9)  # a quadratic: any h
    zero = torch.zeros(1, dtype=torch.float64)
    assert ours.numeric_gradient(lambda v: v.relu().sum(), zero).item() == pytest.approx(0.5)


@pytest.mark.method("ch01/numeric_gradient")
def test_relative_error():
    a = torch.tensor([1.0, 0.0, -2.0])
    assert ours.relative_error(a, a) == 0
    assert ours.relative_error(a, torch.tensor([1.0, 0.0, 2.0])) == 1
    assert ours.relative_error(a, torch.tensor([3.0, 0.0, -2.0])) == 0.5
    assert isinstance(ours.relative_error(a, a), float)


@pytest.mark.method("ch01/analytic_gradient")
@pytest.mark.parametrize("l2", [0.0, 0.3])
@pytest.mark.parametrize(("count", "scale"), [(9, 1.0), (1, 1.0), (9, 1e3)])
def test_the_gradient_by_hand_equals_autograd(l2, count, scale):
    X, y = draw(count, 6) * scale, torch.arange(count).remainder(3)
    W, b = draw(4, 6, seed=1).requires_grad_(), draw(4, seed=2).requires_grad_()
    library = F.cross_entropy(F.linear(X, W, b), y) + l2 / 2 * W.pow(2).sum()
    expected = torch.autograd.grad(library, [W, b])
    with torch.no_grad():
        loss, dW, db = ours.softmax_loss_grad(X, y, W, b, l2=l2)
    close(loss, library.detach())
    close(dW, expected[0])
    close(db, expected[1])
    close(dW.sum(0) - l2 * W.detach().sum(0), torch.zeros(6, dtype=torch.float64), 1e-9)  # blame sums to 0
    close(db.sum(), torch.zeros((), dtype=torch.float64))


@pytest.mark.method("ch01/gradient_descent")
def test_gradient_descent_equals_torch_step_by_step_and_the_closed_form():
    M = draw(4, 4)
    A, w0 = M @ M.T / 4, draw(4, seed=1)
    path = ours.gradient_descent(lambda w: A @ w, w0, lr=0.1, steps=20)
    w = w0.clone().requires_grad_()
    opt = torch.optim.SGD([w], lr=0.1)
    for k in range(21):
        close(path[k], w.detach())
        close(path[k], torch.linalg.matrix_power(torch.eye(4, dtype=torch.float64) - 0.1 * A, k) @ w0)
        opt.zero_grad()
        (0.5 * w @ A @ w).backward()
        opt.step()
    assert ours.gradient_descent(lambda w: A @ w, w0, lr=0.1, steps=0).equal(w0[None])


@pytest.mark.method("ch01/gradient_descent")
def test_the_largest_learning_rate_is_where_a_step_only_changes_the_sign():
    Q = torch.linalg.qr(draw(3, 3)).Q
    A, w0 = Q @ torch.diag(torch.tensor([4.0, 1.0, 0.0], dtype=torch.float64)) @ Q.T, Q[:, 0]
    lr = ours.max_stable_lr(A)
    assert lr == pytest.approx(0.5)
    close(ours.gradient_descent(lambda w: A @ w, w0, lr=lr, steps=9)[-1], -w0)
    assert ours.max_stable_lr(torch.zeros(2, 2)) == math.inf


@pytest.mark.method("ch01/sgd")
@pytest.mark.parametrize(
    "options", [{}, {"momentum": 0.9}, {"weight_decay": 0.1}, {"momentum": 0.8, "weight_decay": 0.1}]
)
def test_sgd_step_equals_torch_over_many_steps(options):
    w, v = draw(3, 4), None
    leaf = w.clone().requires_grad_()
    opt = torch.optim.SGD([leaf], lr=0.2, **options)
    for k in range(6):
        leaf.grad = draw(3, 4, seed=k + 1)
        opt.step()
        before = w.clone()
        w_new, v = ours.sgd_step(w, draw(3, 4, seed=k + 1), v, lr=0.2, **options)
        assert w.equal(before)
        w = w_new
        close(w, leaf.detach())


@pytest.mark.method("ch01/sgd")
@pytest.mark.parametrize(("count", "size"), [(12, 4), (10, 4), (3, 8), (5, 1), (0, 4)])
def test_minibatches_equal_torch_split(count, size):
    perm = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    expected = [part for part in perm.split(size) if len(part)]
    assert [part.tolist() for part in ours.minibatches(perm, size)] == [part.tolist() for part in expected]
    whole = ours.minibatches(perm, size, drop_last=True)
    assert [part.tolist() for part in whole] == [part.tolist() for part in expected if len(part) == size]


@pytest.mark.method("ch01/sgd")
def test_training_equals_torch_and_one_batch_with_all_is_gradient_descent():
    X, y = draw(22, 5), torch.arange(22).remainder(3)
    g = torch.Generator().manual_seed(0)
    perms = [torch.randperm(22, generator=g) for _ in range(3)]
    W, b = ours.train_softmax_sgd(X, y, 3, lr=0.4, batch_size=8, perms=perms, momentum=0.9)
    layer = torch.nn.Linear(5, 3, dtype=torch.float64)
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    opt = torch.optim.SGD(layer.parameters(), lr=0.4, momentum=0.9)
    for perm in perms:
        for batch in perm.split(8):
            opt.zero_grad()
            F.cross_entropy(layer(X[batch]), y[batch]).backward()
            opt.step()
    close(W, layer.weight.detach())
    close(b, layer.bias.detach())
    W, _ = ours.train_softmax_sgd(X, y, 3, lr=0.4, batch_size=22, perms=perms[:1])
    zeros = torch.zeros(3, 5, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    close(W, -0.4 * ours.softmax_loss_grad(X, y, *zeros)[1])


@pytest.mark.method("ch01/sgd")
def test_batch_gradients_are_right_on_average():
    X, y, W, b = draw(24, 5), torch.arange(24).remainder(3), draw(3, 5, seed=1), draw(3, seed=2)
    perm = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    parts = [ours.softmax_loss_grad(X[batch], y[batch], W, b)[1] for batch in ours.minibatches(perm, 6)]
    close(torch.stack(parts).mean(0), ours.softmax_loss_grad(X, y, W, b)[1])


# what the lesson's sentences say, computed again


def two_weights():
    train, _ = data.split(*data.digits(), test=0.4)
    chosen = (train.y == 1) | (train.y == 8)
    ink, t = train.x[chosen, 0], (train.y[chosen] == 8).float()
    z = torch.stack([ink[:, 2:6, 3:5].mean((1, 2)), ink[:, 4:, :4].mean((1, 2))], 1)
    return 10 * (z - z.mean(0)), t


def test_the_sentences_about_two_weights():
    z, t = two_weights()
    assert len(t) == 213
    start = torch.tensor([3.0, -2.0])

    def slope(w):
        return z.T @ (torch.sigmoid(z @ w) - t) / len(t)

    bottom = ours.gradient_descent(slope, start, lr=3.0, steps=2000)[-1]
    assert bottom[0] < 0 < bottom[1]  # likes ink at the lower left, dislikes it in the middle
    ends = {lr: ours.gradient_descent(slope, start, lr=lr, steps=1000) for lr in (4.0, 5.0, 5.5, 8.0)}
    assert (ends[4.0][40] - bottom).norm() < 0.3  # "arrives in forty steps"
    assert (ends[5.0][-1] - bottom).norm() < 0.01
    for lr in (5.5, 8.0):  # "leaps from one side of the valley to the other, for ever"
        here, there = ends[lr][-2:] - bottom
        assert here @ there < 0
        assert min(here.norm(), there.norm()) > 0.1
    q = torch.sigmoid(z @ bottom)
    assert 5 < ours.max_stable_lr((z * (q * (1 - q))[:, None]).T @ z / len(t)) < 5.5


def test_the_first_step_paints_the_class_means():
    train, _ = data.split(*data.digits(), test=0.4)
    X, y = train.x.flatten(1).double(), train.y
    zeros = torch.zeros(10, 64, dtype=torch.float64), torch.zeros(10, dtype=torch.float64)
    share = torch.bincount(y) / len(y)
    means = torch.stack([X[y == k].mean(0) for k in range(10)])
    close(-ours.softmax_loss_grad(X, y, *zeros)[1], share[:, None].double() * means - X.mean(0) / 10, 1e-7)


def test_the_sentences_about_650_weights():
    train, test = data.split(*data.digits(), test=0.4)
    X, X_test = (F.pad(part.x.flatten(1), (0, 1), value=1.0) for part in (train, test))
    path = ours.gradient_descent(
        lambda W: ours.softmax_loss_grad(X, train.y, W, torch.zeros(10))[1], torch.zeros(10, 65), lr=0.5, steps=300
    )
    losses = [F.cross_entropy(X @ W.T, train.y).item() for W in path]
    assert all(after < before for before, after in pairwise(losses))  # "three hundred steps, each of them downhill"
    assert F.cross_entropy(X_test @ path[-1].T, test.y) > losses[-1]  # "the test loss ends a little higher"


def test_the_gradient_by_hand_is_the_measured_one():
    train, _ = data.split(*data.digits(), test=0.4)
    x, y = train.x[:20].flatten(1).double(), train.y[:20]
    W = 0.1 * torch.randn(10, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    calls = []

    def loss(w):
        calls.append(1)
        return F.cross_entropy(x @ w.T, y)

    measured = ours.numeric_gradient(loss, W)
    by_hand = ours.softmax_loss_grad(x, y, W, torch.zeros(10, dtype=torch.float64))[1]
    assert ours.relative_error(by_hand, measured) < 1e-5
    assert len(calls) == 1280


def test_rough_steps_beat_exact_ones():
    train, _ = data.split(*data.digits(), test=0.4)
    x, g = train.x.flatten(1), torch.Generator().manual_seed(0)
    perms = [torch.randperm(len(x), generator=g) for _ in range(5)]
    rough, exact = (
        ours.softmax_loss_grad(x, train.y, *ours.train_softmax_sgd(x, train.y, 10, lr=0.5, batch_size=n, perms=perms))
        for n in (64, 1078)
    )
    assert rough[0] < exact[0] / 3


def test_learning_makes_the_middle_of_the_zero_negative_and_keeps_rows_like_their_means():
    train, _ = data.split(*data.digits(), test=0.4)
    x, y = train.x.flatten(1), train.y
    g = torch.Generator().manual_seed(0)
    perms = [torch.randperm(len(x), generator=g) for _ in range(18)]
    W, _ = ours.train_softmax_sgd(x, y, 10, lr=0.5, batch_size=64, perms=perms, momentum=0.9)
    means = torch.stack([x[y == k].mean(0) for k in range(10)])
    cosines = F.normalize(W - W.mean(0)) @ F.normalize(means - means.mean(0)).T
    assert cosines.argmax(1).tolist() == [*range(10)]
    zero = W[0].reshape(8, 8)
    assert (
        zero[3:5, 3:5].mean()
        == torch.stack([zero[r : r + 2, c : c + 2].mean() for r in range(7) for c in range(7)]).min()
    )
    assert 18 * math.ceil(1078 / 64) == 306  # "about the 300 steps of before"
    assert 5 * 1078 == 5390
    assert 2 * 30_730 == 61_460
