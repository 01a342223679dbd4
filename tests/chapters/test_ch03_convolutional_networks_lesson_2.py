"""Oracle tests of chapter 3, notebook 2: every method against an independent implementation, on random inputs."""

import copy
import math
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.transforms.v2 import functional as tv

from solutions.ch03_convolutional_networks.lesson_2 import (
    LeNet,
    affine,
    augment_boxes_hflip,
    batch_norm,
    batch_norm_backward,
    color_cast,
    conspiracy,
    dropout,
    fold_bn,
    geometric_ensemble,
    hflip,
    pad_crop,
    train_epoch,
)

DOUBLE = torch.float64
SHAPES = [(7, 3), (2, 3), (4, 3, 5, 6), (1, 2, 3, 4)]


@pytest.fixture(params=range(3))
def rng(request):
    return torch.Generator().manual_seed(request.param)


def draw(rng, *shape):
    return torch.randn(*shape, generator=rng, dtype=DOUBLE)


def with_gradients(function, *inputs):
    """Return the value of `function` and the gradients of a weighted sum of it."""
    leaves = [t.clone().requires_grad_() for t in inputs]
    y = function(*leaves)
    weight = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view_as(y)
    return [y.detach(), *torch.autograd.grad((y * weight).sum(), leaves)]


def assert_all_close(got, expected):
    for mine, right in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, right, rtol=1e-10, atol=1e-12)


def sequential_lenet(net):
    """Return torch's layers in a row with the weights of `net`."""
    other = nn.Sequential(
        nn.Conv2d(net.conv1.in_channels, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(),
        nn.Linear(84, net.fc3.out_features),
    ).to(DOUBLE)  # fmt: skip
    with torch.no_grad():
        for theirs, ours in zip(other.parameters(), net.parameters(), strict=True):
            theirs.copy_(ours)
    return other


@pytest.mark.method("ch03/lenet")
@pytest.mark.parametrize(("channels", "classes", "n"), [(1, 10, 3), (3, 6, 1)])
def test_lenet_equals_torchs_layers_in_a_row(rng, channels, classes, n):
    net = LeNet(channels, classes).to(DOUBLE)
    other, x = sequential_lenet(net), draw(rng, n, channels, 32, 32)
    assert_all_close(with_gradients(net, x), with_gradients(other, x))
    net(x).square().sum().backward()
    other(x).square().sum().backward()
    assert_all_close([p.grad for p in net.parameters()], [p.grad for p in other.parameters()])


@pytest.mark.method("ch03/lenet")
def test_lenet_has_as_many_parameters_as_the_card_says():
    assert sum(p.numel() for p in LeNet().parameters()) == 61_706
    assert sum(p.numel() for p in LeNet(3).parameters()) == 62_006


def test_lenet_takes_an_empty_batch():
    assert LeNet(3, 7)(torch.zeros(0, 3, 32, 32)).shape == (0, 7)


@pytest.mark.method("ch03/lenet")
@pytest.mark.parametrize("batch_size", [3, 4, 20])
def test_train_epoch_makes_the_steps_of_a_data_loader(rng, batch_size):
    x, y = draw(rng, 10, 4), torch.randint(3, (10,), generator=rng)
    perm = torch.randperm(10, generator=rng)
    mine = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).to(DOUBLE)
    other = copy.deepcopy(mine)
    losses = train_epoch(mine, x, y, perm, batch_size=batch_size, opt=torch.optim.Adam(mine.parameters(), 0.1))
    opt, expected = torch.optim.Adam(other.parameters(), 0.1), []
    rows = torch.utils.data.TensorDataset(x, y)
    for bx, by in torch.utils.data.DataLoader(rows, batch_size=batch_size, sampler=perm.tolist()):
        opt.zero_grad()
        loss = nn.CrossEntropyLoss()(other(bx), by)
        loss.backward()
        opt.step()
        expected.append(loss.item())
    assert losses == pytest.approx(expected, rel=1e-12)
    assert_all_close(mine.parameters(), other.parameters())


@pytest.mark.method("ch03/dropout")
@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("training", [True, False])
def test_dropout_equals_torchs_with_the_mask_that_torch_drew(rng, p, training):
    torch.manual_seed(int(torch.randint(1000, (), generator=rng)))
    ones = torch.ones(6, 9, dtype=DOUBLE)
    state = torch.get_rng_state()
    keep = F.dropout(ones, p, training=True) > 0
    x = draw(rng, 6, 9)

    def theirs(t):
        torch.set_rng_state(state)
        return F.dropout(t, p, training=training)

    def mine(t):
        return dropout(t, keep, p=p, training=training) + 0 * t  # p = 1 may cut the graph

    assert_all_close(with_gradients(mine, x), with_gradients(theirs, x))


@pytest.mark.method("ch03/dropout")
def test_dropout_keeps_mean_and_has_the_variance_of_the_card(rng):
    p, n = 0.4, 200_000
    keep = torch.rand(n, generator=rng) >= p
    y = dropout(torch.full((n,), 3.0, dtype=DOUBLE), keep, p=p, training=True)
    sigma = 3 * math.sqrt(p / (1 - p))
    assert abs(y.mean() - 3) < 6 * sigma / math.sqrt(n)
    assert y.var() == pytest.approx(sigma**2, rel=0.03)


@pytest.mark.method("ch03/dropout")
@pytest.mark.parametrize("p", [0.3, 0.5])
def test_geometric_ensemble_of_all_subnetworks_is_the_whole_network(rng, p):
    x, w = draw(rng, 6), draw(rng, 4, 6)
    torch.testing.assert_close(geometric_ensemble(x, w, p=p), F.softmax(w @ x, 0), rtol=1e-12, atol=1e-12)


def test_geometric_ensemble_equals_the_definition_spelled_out(rng):
    x, w, p = draw(rng, 3), draw(rng, 2, 3), 0.2
    product_of_powers = torch.ones(2, dtype=DOUBLE)
    for mask in product([0.0, 1.0], repeat=3):
        weight = math.prod(1 - p if m else p for m in mask)
        product_of_powers *= F.softmax(w @ (torch.tensor(mask, dtype=DOUBLE) * x / (1 - p)), 0) ** weight
    expected = product_of_powers / product_of_powers.sum()
    torch.testing.assert_close(geometric_ensemble(x, w, p=p), expected)


def test_conspiracy_gives_the_numbers_of_the_card():
    assert conspiracy(0.9, groups=1, size=50) == pytest.approx(0.9**50)
    assert conspiracy(0.9, groups=1, size=50) == pytest.approx(0.005, abs=2e-4)
    assert conspiracy(0.9, groups=10, size=5) == pytest.approx(0.9999, abs=1e-4)


@pytest.mark.method("ch03/data_augmentation")
def test_hflip_equals_torchvisions_picture_by_picture(rng):
    x, flip = torch.rand(5, 3, 4, 7, generator=rng), torch.rand(5, generator=rng) < 0.5
    before = x.clone()
    expected = [tv.horizontal_flip(picture) if f else picture for picture, f in zip(x, flip, strict=True)]
    assert torch.equal(hflip(x, flip), torch.stack(expected))
    assert torch.equal(x, before)


@pytest.mark.method("ch03/data_augmentation")
@pytest.mark.parametrize("pad", [0, 1, 4])
def test_pad_crop_equals_torchvisions_pad_and_crop(rng, pad):
    x, offsets = torch.rand(6, 2, 5, 8, generator=rng), torch.randint(2 * pad + 1, (6, 2), generator=rng)
    expected = [tv.crop(tv.pad(picture, pad), i, j, 5, 8) for picture, (i, j) in zip(x, offsets.tolist(), strict=True)]
    assert torch.equal(pad_crop(x, offsets, pad=pad), torch.stack(expected))


@pytest.mark.method("ch03/data_augmentation")
def test_boxes_are_mirrored_as_torchvision_does(rng):
    from torchvision import tv_tensors

    first = torch.rand(6, 2, generator=rng) * 8
    boxes = torch.cat([first, first + torch.rand(6, 2, generator=rng)], 1)
    theirs = tv.horizontal_flip(tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(10, 12)))
    torch.testing.assert_close(augment_boxes_hflip(boxes, 12), theirs.as_subclass(torch.Tensor))


@pytest.mark.method("ch03/data_augmentation")
def test_color_cast_moves_a_uniform_picture_and_stops_at_black_and_white(rng):
    shift = torch.randn(4, 3, generator=rng)
    y = color_cast(torch.full((4, 3, 2, 5), 0.5), shift)
    expected = torch.minimum(torch.maximum(shift + 0.5, torch.zeros(())), torch.ones(()))
    torch.testing.assert_close(y, expected[:, :, None, None].expand(4, 3, 2, 5))


@pytest.mark.method("ch03/data_augmentation")
def test_affine_equals_scipy_on_every_picture(rng):
    from scipy.ndimage import affine_transform

    n = 9
    x = torch.rand(3, 1, n, n, generator=rng, dtype=DOUBLE)
    theta = torch.eye(2, 3, dtype=DOUBLE) + 0.2 * draw(rng, 3, 2, 3)
    got = affine(x, theta)
    for picture, t, mine in zip(x[:, 0], theta, got[:, 0], strict=True):
        # scipy counts (row, column) pixels from a corner, theta (x, y) half pictures from the middle
        a = t[:, :2].flip(0, 1).numpy()
        middle = (n - 1) / 2
        move = t[:, 2].flip(0).numpy() * n / 2 + middle - a @ [middle, middle]
        theirs = affine_transform(picture.numpy(), a, move, order=1, mode="grid-constant", cval=0)
        torch.testing.assert_close(mine, torch.from_numpy(theirs), rtol=1e-9, atol=1e-9)


def drawn_layer(rng, shape):
    c = shape[1]
    return draw(rng, *shape) * 2 + 1, draw(rng, c), draw(rng, c), draw(rng, c), draw(rng, c).square() + 0.1


@pytest.mark.method("ch03/batch_norm")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_equals_torchs_values_and_gradients(rng, shape, training):
    x, gamma, beta, mean, var = drawn_layer(rng, shape)
    options = {"training": training, "momentum": 0.3, "eps": 1e-2}

    def mine(x, gamma, beta):
        return batch_norm(x, gamma, beta, mean, var, **options)[0]

    def theirs(x, gamma, beta):
        return F.batch_norm(x, mean.clone(), var.clone(), gamma, beta, **options)

    assert_all_close(with_gradients(mine, x, gamma, beta), with_gradients(theirs, x, gamma, beta))


@pytest.mark.method("ch03/batch_norm")
@pytest.mark.parametrize(("shape", "layer"), [((6, 4), nn.BatchNorm1d), ((3, 4, 5, 2), nn.BatchNorm2d)])
def test_batch_norm_keeps_the_buffers_of_torchs_module_over_three_steps(rng, shape, layer):
    module = layer(4).to(DOUBLE)
    mean, var = torch.zeros(4, dtype=DOUBLE), torch.ones(4, dtype=DOUBLE)
    for _ in range(3):
        x = drawn_layer(rng, shape)[0].requires_grad_()
        y, mean, var = batch_norm(x, module.weight, module.bias, mean, var, training=True)
        assert_all_close([y], [module(x)])
        assert not mean.requires_grad
        assert not var.requires_grad
    assert_all_close([mean, var], [module.running_mean, module.running_var])


@pytest.mark.method("ch03/batch_norm")
def test_batch_norm_refuses_what_torch_refuses_and_nothing_else():
    x, one, zero = torch.randn(1, 3), torch.ones(3), torch.zeros(3)
    with pytest.raises(ValueError, match="more than 1 value"):
        F.batch_norm(x, zero.clone(), one.clone(), training=True)
    with pytest.raises(ValueError, match="more than one value"):
        batch_norm(x, one, zero, zero, one, training=True)
    torch.testing.assert_close(batch_norm(x, one, zero, zero, one, training=False, eps=0.0)[0], x)


def test_batch_norm_forgets_the_scale_of_its_input(rng):
    x, gamma, beta, mean, var = drawn_layer(rng, (8, 3))
    one, _, _ = batch_norm(x, gamma, beta, mean, var, training=True, eps=0.0)
    two, _, _ = batch_norm(7 * x + 5, gamma, beta, mean, var, training=True, eps=0.0)
    assert_all_close([two], [one])


def test_batch_norm_does_not_touch_its_arguments(rng):
    arguments = drawn_layer(rng, (5, 3))
    before = [t.clone() for t in arguments]
    for training in (True, False):
        batch_norm(*arguments, training=training)
        assert all(torch.equal(a, b) for a, b in zip(arguments, before, strict=True))


@pytest.mark.method("ch03/batch_norm_backward")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("eps", [1e-5, 0.3])
def test_batch_norm_backward_equals_autograd_through_torchs(rng, shape, eps):
    x, gamma, beta, _, _ = drawn_layer(rng, shape)
    dy = draw(rng, *shape)
    leaves = [t.requires_grad_() for t in (x, gamma, beta)]
    y = F.batch_norm(x, None, None, gamma, beta, training=True, eps=eps)
    expected = torch.autograd.grad(y, leaves, dy)
    assert_all_close(batch_norm_backward(dy, x.detach(), gamma.detach(), eps=eps), expected)


@pytest.mark.method("ch03/batch_norm_backward")
def test_the_gradient_sums_to_zero_and_is_almost_orthogonal_to_the_normalized_input(rng):
    x, gamma, _, _, _ = drawn_layer(rng, (3, 2, 4, 5))
    dy, eps, axes = draw(rng, 3, 2, 4, 5), 0.1, (0, 2, 3)
    dx, dgamma, _ = batch_norm_backward(dy, x, gamma, eps=eps)
    var = x.var(axes, correction=0)
    normal = F.batch_norm(x, None, None, training=True, eps=eps)
    assert_all_close([dx.sum(axes)], [torch.zeros(2, dtype=DOUBLE)])
    assert_all_close([(dx * normal).sum(axes)], [dgamma * gamma * eps / (var + eps) ** 1.5])


@pytest.mark.method("ch03/batch_norm")
@pytest.mark.parametrize("bias", [True, False])
def test_fold_bn_equals_torchs_fusion(rng, bias):
    from torch.nn.utils.fusion import fuse_conv_bn_weights

    w, b = draw(rng, 4, 3, 3, 3), draw(rng, 4) if bias else None
    gamma, beta, mean, var = draw(rng, 4), draw(rng, 4), draw(rng, 4), draw(rng, 4).square()
    expected = fuse_conv_bn_weights(w, b, mean, var, 1e-3, gamma, beta)
    assert_all_close(fold_bn(w, b, gamma, beta, mean, var, eps=1e-3), expected)
    x = draw(rng, 2, 3, 6, 7)
    normed = F.batch_norm(F.conv2d(x, w, b), mean, var, gamma, beta, eps=1e-3)
    assert_all_close([F.conv2d(x, *fold_bn(w, b, gamma, beta, mean, var, eps=1e-3))], [normed])


@pytest.mark.method("ch03/dropout")
def test_dropout_of_everything_stays_in_the_graph_as_torchs_does(rng):
    x = draw(rng, 3, 4).requires_grad_()
    for y in (dropout(x, torch.zeros(3, 4, dtype=torch.bool), p=1.0, training=True), F.dropout(x, 1.0)):
        assert torch.equal(y, torch.zeros(3, 4, dtype=DOUBLE))
        assert torch.equal(torch.autograd.grad(y.sum(), x)[0], torch.zeros(3, 4, dtype=DOUBLE))
    endless = torch.full((2,), math.inf)
    assert dropout(endless, torch.ones(2, dtype=torch.bool), p=1.0, training=True).tolist() == [0.0, 0.0]


@pytest.mark.method("ch03/batch_norm")
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_of_large_numbers_in_half_precision_equals_torchs(rng, training):
    x = (3e4 * draw(rng, 16, 3).sign() + 200 * draw(rng, 16, 3)).half()
    gamma, beta, mean, var = draw(rng, 3).float(), draw(rng, 3).float(), torch.zeros(3), torch.full((3,), 1e8)
    y, new_mean, new_var = batch_norm(x, gamma, beta, mean, var, training=training)
    expected = F.batch_norm(x, mean, var, gamma, beta, training=training)  # writes into mean and var
    torch.testing.assert_close(y, expected)
    assert y.dtype == torch.float16
    assert y.abs().max() > 0.1
    torch.testing.assert_close((new_mean, new_var), (mean, var))
