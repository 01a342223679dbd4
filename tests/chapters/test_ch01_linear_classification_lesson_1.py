"""Chapter 1, notebook 1: what the oracles of the exercises do not say, and what the lesson's sentences state."""

import math

import pytest
import torch
import torch.nn.functional as F
from sklearn.neighbors import NearestCentroid

from dlcv_lab import data, world
from solutions.ch01_linear_classification import lesson_1 as ours

DTYPES = [torch.float32, torch.float64]


def draw(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def close(actual, expected):
    """Compare with a tolerance that fits the dtype, shapes and dtypes included."""
    tight = expected.dtype == torch.float64
    torch.testing.assert_close(actual, expected, rtol=1e-10 if tight else 1e-5, atol=1e-10 if tight else 1e-5)


def with_grad(*tensors):
    return [t.clone().requires_grad_() for t in tensors]


@pytest.mark.method("ch01/linear_scores")
def test_pictures_may_be_permuted_or_whole_numbers():
    x, W, b = draw(4, 6, 5, 3).permute(0, 3, 1, 2), draw(2, 90, seed=1), draw(2, seed=2)
    close(ours.linear_scores(x, W, b), F.linear(x.reshape(4, 90), W, b))
    whole = torch.randint(0, 256, (4, 90), generator=torch.Generator().manual_seed(0))
    close(ours.linear_scores(whole.to(torch.uint8), W, b), F.linear(whole.double(), W, b))


@pytest.mark.method("ch01/linear_scores")
def test_the_bias_trick_changes_no_score():
    x, W, b = draw(5, 8), draw(3, 8, seed=1), draw(3, seed=2)
    x1, W1 = ours.bias_trick(x, W, b)
    close(x1 @ W1.T, ours.linear_scores(x, W, b))
    assert x1[:, -1].eq(1).all()
    assert W1[:, -1].equal(b)


@pytest.mark.method("ch01/templates")
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_mean_templates_are_the_nearest_mean(offset):
    x, y = draw(60, 9) + offset, torch.arange(60).remainder(4).flip(0)
    W, b = ours.mean_template_classifier(x, y, 4)
    said = ours.linear_scores(draw(500, 9, seed=1) + offset, W, b).argmax(1)
    there = draw(500, 9, seed=1) + offset
    assert said.equal(torch.cdist(there, W).argmin(1))
    assert said.tolist() == NearestCentroid().fit(x.numpy(), y.numpy()).predict(there.numpy()).tolist()


@pytest.mark.method("ch01/templates")
def test_a_class_without_a_picture_never_wins_and_one_picture_a_class_is_one_nearest_neighbour():
    x, y = draw(5, 6), torch.tensor([4, 0, 3, 1, 5])
    W, b = ours.mean_template_classifier(x, y, 6)
    assert W[2].eq(0).all()
    assert b[2] == -math.inf
    new = draw(200, 6, seed=1) * 0.01
    assert ours.linear_scores(new, W, b).argmax(1).equal(y[torch.cdist(new, x).argmin(1)])


@pytest.mark.method("ch01/templates")
def test_template_images_reach_from_0_to_1_and_a_flat_row_is_grey():
    images = ours.template_image(torch.stack([draw(12), torch.full((12,), 3.0, dtype=torch.float64)]), (3, 2, 2))
    assert images.shape == (2, 3, 2, 2)
    assert (images[0].min(), images[0].max()) == (0, 1)
    assert images[1].eq(0.5).all()


@pytest.mark.method("ch01/softmax")
def test_softmax_at_its_limits():
    assert ours.softmax(torch.tensor([[3.0]])).item() == 1
    assert ours.softmax(torch.tensor([0.0, -math.inf, 0.0])).tolist() == [0.5, 0, 0.5]
    assert ours.log_softmax(torch.tensor([1e4, -1e4])).tolist() == [0, -2e4]
    s = draw(6, 9)
    close(ours.softmax(s + 1000), ours.softmax(s))
    close(ours.softmax(s).sum(1), torch.ones(6, dtype=torch.float64))


@pytest.mark.method("ch01/softmax")
def test_the_jacobian_of_softmax_equals_autograd():
    s = draw(6)
    close(ours.softmax_jacobian(ours.softmax(s)), torch.autograd.functional.jacobian(lambda v: torch.softmax(v, 0), s))


@pytest.mark.method("ch01/cross_entropy")
def test_the_loss_of_equal_scores_and_of_a_margin():
    zeros = torch.zeros(7, 10)
    assert ours.cross_entropy(zeros, torch.arange(7)).item() == pytest.approx(math.log(10), abs=1e-6)
    assert ours.cross_entropy(torch.tensor([[200.0, 0.0]]), torch.tensor([1])).item() == 200
    with pytest.raises(ValueError, match="reduction"):
        ours.cross_entropy(zeros, torch.arange(7), reduction="average")


@pytest.mark.method("ch01/bce")
@pytest.mark.parametrize("dtype", DTYPES)
def test_bce_equals_torch_forward_and_backward(dtype):
    for scale in (1.0, 1e4):
        (s,) = with_grad(torch.cat([draw(4, 6, dtype=dtype) * scale, torch.zeros(1, 6, dtype=dtype)]))
        t = torch.rand(5, 6, generator=torch.Generator().manual_seed(1)).to(dtype)
        mine, library = ours.bce_with_logits(s, t), F.binary_cross_entropy_with_logits(s, t)
        close(mine, library)
        close(torch.autograd.grad(mine, s)[0], torch.autograd.grad(library, s)[0])


@pytest.mark.method("ch01/bce")
def test_bce_is_the_cross_entropy_of_the_scores_0_and_s():
    s, t = draw(50) * 20, torch.arange(50).remainder(2)
    close(ours.bce_with_logits(s, t.double()), F.cross_entropy(torch.stack([torch.zeros_like(s), s], 1), t))


# what the lesson's sentences say, computed again


def test_the_sentences_about_the_digits():
    train, test = data.split(*data.digits(), test=0.4)
    assert (len(train.y), len(test.y)) == (1078, 719)
    W, b = ours.mean_template_classifier(train.x.flatten(1), train.y, 10)
    s = ours.linear_scores(test.x, W, b)
    assert (s.argmax(1) != test.y).sum() >= 10
    losses = [ours.cross_entropy(a * s, test.y).item() for a in (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)]
    assert losses[:5] == sorted(losses[:5], reverse=True)  # "shaped like a valley", and its lowest place
    assert losses[4:] == sorted(losses[4:])
    assert losses[7] > math.log(10) > losses[0]  # sure and wrong costs more than knowing nothing
    sure, right = ours.softmax(s).amax(1).mean(), (s.argmax(1) == test.y).float().mean()
    assert sure < right - 0.3  # "right and does not dare to say so"


def test_the_sentences_about_the_examples():
    cat, b = torch.tensor([[56.0, 231.0, 24.0, 2.0]]), torch.tensor([1.1, 3.2, -1.2])
    W = torch.tensor([[0.2, -0.5, 0.1, 2.0], [1.5, 1.3, 2.1, 0.0], [0.0, 0.25, 0.2, -0.3]])
    scores = ours.linear_scores(cat, W, b)[0].tolist()
    assert [round(s, 2) for s in scores] == [-96.8, 437.9, 60.75]
    assert round(scores[2] - b[2].item(), 2) == 61.95  # the copies that forget the bias
    animal = torch.tensor([[3.2, 5.1, -1.7]])
    p = ours.softmax(animal)[0, 0].item()
    assert (f"{p:.2f}", f"{-math.log(p):.2f}", f"{-math.log10(p):.2f}") == ("0.13", "2.04", "0.89")
    assert 32 * 32 * 3 == 3072
    assert (50_000 * 3072, 10 * 3072 + 10) == (153_600_000, 30_730)


def test_the_mean_of_arrows_has_two_heads():
    arrows = world.arrows(200, seed=0, position="centre", sizes=(0.3, 0.3), colours=("red",), grounds=("white",))
    mean = arrows.images.mean(0)
    assert (mean - mean.flip(-1)).abs().max() < 0.2  # nearly its own mirror image
    one = arrows.images[0]
    assert (one - one.flip(-1)).abs().max() > 0.5
