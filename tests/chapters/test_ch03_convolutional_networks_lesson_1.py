"""Oracle tests of chapter 3, notebook 1: libraries and exact properties, beyond the oracles of the exercises."""

import math

import numpy as np
import pytest
import scipy.signal
import torch
import torch.nn.functional as F
from torch import nn

from solutions.ch03_convolutional_networks import lesson_1 as ours

DTYPES = [torch.float32, torch.float64]
# (N, C, O, H, W, k, stride, pad): remainders, one pixel, padding as wide as the kernel, stride beyond the kernel
LAYERS = [
    (2, 3, 4, 7, 6, 3, 1, 0),
    (1, 2, 3, 8, 5, 3, 2, 1),
    (3, 1, 2, 6, 9, 2, 3, 0),
    (2, 4, 1, 5, 5, 1, 1, 0),
    (1, 3, 2, 4, 6, 2, 1, 3),
    (2, 2, 2, 5, 8, 5, 1, 0),
]


def draw(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def close(actual, expected):
    """Compare with a tolerance that fits the dtype, shapes and dtypes included."""
    tight = expected.dtype == torch.float64
    torch.testing.assert_close(actual, expected, rtol=1e-10 if tight else 1e-4, atol=1e-10 if tight else 1e-4)


def with_grad(*tensors):
    return [t.clone().requires_grad_() for t in tensors]


@pytest.mark.method("ch03/mlp_weight_count")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("chw", "out_maps", "k"), [((3, 9, 7), 4, 3), ((1, 5, 6), 2, 1), ((2, 4, 4), 3, 4)])
def test_layer_counts_equal_those_of_torch_modules(chw, out_maps, k, bias):
    C, H, W = chw
    Ho, Wo = H - k + 1, W - k + 1
    fc = nn.Linear(C * H * W, out_maps * Ho * Wo, bias=bias)
    conv = nn.Conv2d(C, out_maps, k, bias=bias)
    one_neuron = nn.Linear(C * k * k, 1, bias=bias)
    for kind, modules in {"fc": [fc], "conv": [conv], "local": [one_neuron] * (out_maps * Ho * Wo)}.items():
        expected = sum(p.numel() for m in modules for p in m.parameters())
        assert ours.count_layer_params(kind, chw, out_maps, k, bias=bias) == expected


@pytest.mark.method("ch03/mlp_weight_count")
def test_unknown_kind_of_layer_is_refused():
    with pytest.raises(ValueError, match="kind"):
        ours.count_layer_params("dense", (3, 8, 8), 2, 3)


@pytest.mark.method("ch03/local_connectivity")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [1, 2, 3])
def test_locally_connected_equals_unfold_and_one_product_per_place(dtype, k):
    N, C, O, H, W = 2, 3, 4, 5, 7
    Ho, Wo = H - k + 1, W - k + 1
    x, w, b = with_grad(
        draw(N, C, W, H, dtype=dtype), draw(O, Ho, Wo, C, k, k, dtype=dtype), draw(O, Ho, Wo, dtype=dtype)
    )
    y = ours.locally_connected(x.transpose(2, 3), w, b)
    cols = F.unfold(x.transpose(2, 3), k)
    expected = torch.einsum("npl,olp->nol", cols, w.flatten(3).flatten(1, 2)).reshape(N, O, Ho, Wo) + b
    close(y, expected)
    dy = draw(*y.shape, dtype=dtype, seed=1)
    for a, e in zip(torch.autograd.grad(y, [x, w, b], dy), torch.autograd.grad(expected, [x, w, b], dy)):
        close(a, e)


@pytest.mark.method("ch03/local_connectivity")
def test_locally_connected_with_one_window_is_a_linear_layer_and_with_equal_weights_a_convolution():
    x, w, b = draw(2, 3, 4, 4), draw(5, 1, 1, 3, 4, 4, seed=1), draw(5, 1, 1, seed=2)
    close(ours.locally_connected(x, w, b).flatten(1), F.linear(x.flatten(1), w.flatten(1), b.flatten()))
    kernel = draw(5, 3, 2, 2, seed=3)
    everywhere = kernel[:, None, None].expand(5, 3, 3, 3, 2, 2)
    close(ours.locally_connected(x, everywhere, torch.zeros(5, 3, 3).double()), F.conv2d(x, kernel))


@pytest.mark.method("ch03/weight_sharing")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("H", "W", "k"), [(6, 4, 3), (5, 7, 1), (4, 4, 4), (3, 8, 2)])
def test_conv_matrix_times_picture_equals_conv2d(H, W, k, dtype):
    x, w = with_grad(draw(H, W, dtype=dtype), draw(k, k, dtype=dtype, seed=1))
    A = ours.conv_matrix(w, H, W)
    y, expected = A @ x.flatten(), F.conv2d(x[None, None], w[None, None]).flatten()
    close(y, expected)
    assert (A != 0).sum() == A.shape[0] * k * k
    dy = draw(*y.shape, dtype=dtype, seed=2)
    for a, e in zip(torch.autograd.grad(y, [x, w], dy), torch.autograd.grad(expected, [x, w], dy)):
        close(a, e)


@pytest.mark.method("ch03/weight_sharing")
def test_equivariance_gap_is_zero_for_circular_convolution_and_large_for_a_linear_layer():
    x, w = draw(2, 3, 6, 8), draw(4, 3, 3, 3, seed=1)
    conv = nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular", bias=False).double()
    conv.weight.data = w
    linear = nn.Linear(6 * 8, 6 * 8).double()
    with torch.no_grad():
        assert ours.equivariance_gap(conv, x, 2, -3) < 1e-12
        assert ours.equivariance_gap(lambda t: linear(t.flatten(2)).reshape(t.shape), x, 2, -3) > 0.1
    row_ramp = torch.arange(6.0)[:, None]
    assert ours.equivariance_gap(lambda t: t * row_ramp, torch.ones(1, 1, 6, 8), 0, 3) == 0
    assert ours.equivariance_gap(lambda t: t * row_ramp, torch.ones(1, 1, 6, 8), 1, 0) == 5


@pytest.mark.method("ch03/convolution")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pad", [0, 2])
@pytest.mark.parametrize("kernel", [(3, 3), (2, 4), (1, 1), (5, 6)])
def test_moving_sums_equal_scipy_and_torch(kernel, pad, dtype):
    x, w = with_grad(draw(5, 6, dtype=dtype), draw(*kernel, dtype=dtype, seed=1))
    padded = np.pad(x.detach().numpy(), pad)
    for f, oracle in [(ours.correlate2d, scipy.signal.correlate2d), (ours.convolve2d, scipy.signal.convolve2d)]:
        expected = torch.from_numpy(oracle(padded, w.detach().numpy(), mode="valid"))
        close(f(x, w, pad=pad), expected)
    y, expected = ours.correlate2d(x, w, pad=pad), F.conv2d(x[None, None], w[None, None], padding=pad)[0, 0]
    dy = draw(*y.shape, dtype=dtype, seed=2)
    for a, e in zip(torch.autograd.grad(y, [x, w], dy), torch.autograd.grad(expected, [x, w], dy)):
        close(a, e)


@pytest.mark.method("ch03/convolution")
def test_moving_sums_keep_integers_and_refuse_kernels_that_do_not_fit():
    x = torch.arange(12).reshape(3, 4)
    assert torch.equal(ours.correlate2d(x, torch.tensor([[0, 1], [-1, 0]])), x[:2, 1:] - x[1:, :3])
    assert ours.correlate2d(x, torch.full((2, 2), 0.25)).dtype == torch.float32
    for f in (ours.correlate2d, ours.convolve2d):
        with pytest.raises(ValueError, match="does not fit"):
            f(draw(3, 8), draw(4, 2))


@pytest.mark.method("ch03/convolution")
def test_a_kernel_is_separable_exactly_when_its_rank_is_one():
    binomial = torch.tensor([1.0, 2.0, 1.0])
    assert ours.is_separable(torch.outer(binomial, binomial))
    assert ours.is_separable(torch.outer(binomial, torch.tensor([-1.0, 0.0, 1.0])))
    assert not ours.is_separable(torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]]))
    for seed in range(5):
        a, b = draw(4, seed=seed), draw(6, seed=seed + 50)
        assert ours.is_separable(torch.outer(a, b)) == (np.linalg.matrix_rank(np.outer(a, b)) == 1)
        assert not ours.is_separable(draw(4, 6, seed=seed))


@pytest.mark.method("ch03/output_size")
def test_conv_out_predicts_the_shapes_of_torch_layers():
    checked = 0
    for size in (1, 5, 8, 13):
        for k in (1, 2, 3, 5):
            for stride in (1, 2, 7):
                for pad in (0, 1, 3):
                    for dilation in (1, 2):
                        layer = nn.Conv1d(1, 1, k, stride=stride, padding=pad, dilation=dilation, device="meta")
                        x = torch.empty(1, 1, size, device="meta")
                        if dilation * (k - 1) + 1 > size + 2 * pad:
                            with pytest.raises(ValueError, match="does not fit"):
                                ours.conv_out(size, k, stride=stride, pad=pad, dilation=dilation)
                        else:
                            expected = layer(x).shape[-1]
                            assert ours.conv_out(size, k, stride=stride, pad=pad, dilation=dilation) == expected
                            checked += 1
    assert checked > 200
    assert ours.conv_out(9, 3, stride=2) == nn.MaxPool1d(3, 2)(torch.zeros(1, 1, 9)).shape[-1]


@pytest.mark.method("ch03/output_size")
@pytest.mark.parametrize(
    "layers",
    [[(3, 1, 1)], [(3, 1, 1), (3, 1, 1)], [(3, 2, 1), (2, 2, 1), (3, 1, 2)], [(5, 3, 1), (3, 1, 3), (2, 2, 1)]],
)
def test_receptive_field_is_the_patch_where_the_gradient_is_not_zero(layers):
    net = nn.Sequential(*(nn.Conv1d(1, 1, k, stride=s, dilation=d, bias=False).double() for k, s, d in layers))
    for layer in net:
        nn.init.ones_(layer.weight)
    x = torch.zeros(1, 1, 120, dtype=torch.float64, requires_grad=True)
    y = net(x)
    middle = y.shape[-1] // 2
    seen = [
        torch.autograd.grad(y[0, 0, at], x, retain_graph=True)[0].flatten().nonzero() for at in (middle, middle + 1)
    ]
    r, jump = ours.receptive_field(layers)
    assert r == (seen[0].max() - seen[0].min() + 1).item()
    assert jump == (seen[1].min() - seen[0].min()).item()


@pytest.mark.method("ch03/conv2d")
def test_conv2d_refuses_filters_of_another_depth_and_windows_that_do_not_fit():
    with pytest.raises(ValueError, match="depth"):
        ours.conv2d(draw(1, 5, 8, 8), draw(6, 3, 5, 5))
    with pytest.raises(ValueError, match="does not fit"):
        ours.conv2d(draw(1, 3, 4, 8), draw(6, 3, 5, 5))
    with pytest.raises(ValueError, match="does not fit"):
        ours.im2col(draw(1, 3, 8, 4), 5)


@pytest.mark.method("ch03/conv_backward")
@pytest.mark.parametrize(("N", "C", "O", "H", "W", "k", "stride", "pad"), LAYERS)
def test_col2im_is_the_adjoint_of_im2col(N, C, O, H, W, k, stride, pad):
    x = draw(N, C, H, W)
    cols = ours.im2col(x, k, stride=stride, pad=pad)
    c = draw(*cols.shape, seed=1)
    back = ours.col2im(c, (N, C, H, W), k, stride=stride, pad=pad)
    assert math.isclose((cols * c).sum(), (x * back).sum(), rel_tol=1e-10)


@pytest.mark.method("ch03/conv_backward")
def test_conv2d_backward_passes_the_numerical_gradient_check():
    x, w, dy = draw(2, 3, 7, 6), draw(4, 3, 3, 3, seed=1), draw(2, 4, 4, 3, seed=2)

    class Hand(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            ctx.save_for_backward(x, w)
            return ours.conv2d(x, w, stride=2, pad=1)

        @staticmethod
        def backward(ctx, dy):
            return ours.conv2d_backward(dy, *ctx.saved_tensors, stride=2, pad=1)[:2]

    assert Hand.apply(x, w).shape == dy.shape
    assert torch.autograd.gradcheck(Hand.apply, with_grad(x, w), atol=1e-7)


@pytest.mark.method("ch03/relu")
@pytest.mark.parametrize("dtype", DTYPES)
def test_relu_and_its_gradient_equal_torch(dtype):
    x = torch.cat([draw(20, dtype=dtype), torch.tensor([0.0, -0.0, math.inf, -math.inf, math.nan], dtype=dtype)])
    before = x.clone()
    torch.testing.assert_close(ours.relu(x), F.relu(x), equal_nan=True, rtol=0, atol=0)
    torch.testing.assert_close(x, before, equal_nan=True, rtol=0, atol=0)
    x, dy = x[:-1].requires_grad_(), draw(24, dtype=dtype, seed=1)
    close(ours.relu_backward(dy, x.detach()), torch.autograd.grad(F.relu(x), x, dy)[0])
    assert torch.equal(ours.relu(torch.tensor([-3, 0, 4])), F.relu(torch.tensor([-3, 0, 4])))


@pytest.mark.method("ch03/max_pool")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("H", "W", "k", "stride"), [(6, 8, 2, None), (7, 5, 2, 2), (9, 8, 3, 2), (7, 8, 2, 3), (4, 5, 1, 1)]
)
def test_max_pool2d_and_its_gradient_equal_torch(H, W, k, stride, dtype):
    (x,) = with_grad(draw(2, 3, W, H, dtype=dtype) - 3)  # nearly every number is negative
    y, indices = ours.max_pool2d(x.transpose(2, 3), k, stride=stride, return_indices=True)
    expected, where = F.max_pool2d(x.transpose(2, 3), k, stride, return_indices=True)
    close(y, expected)
    assert torch.equal(indices, where)
    close(ours.max_pool2d(x.transpose(2, 3), k, stride=stride), expected)
    dy = draw(*y.shape, dtype=dtype, seed=1)
    (dx,) = torch.autograd.grad(expected, x, dy)
    close(torch.autograd.grad(y, x, dy)[0], dx)
    close(ours.max_pool2d_backward(dy, indices, (2, 3, H, W)), dx.transpose(2, 3))


@pytest.mark.method("ch03/max_pool")
def test_max_pool2d_takes_the_first_of_equal_numbers_and_refuses_windows_that_do_not_fit():
    x = torch.randint(0, 2, (2, 3, 9, 9), generator=torch.Generator().manual_seed(0)).float()
    for k, stride in [(2, 2), (3, 2), (3, 3)]:
        indices = ours.max_pool2d(x, k, stride=stride, return_indices=True)[1]
        assert torch.equal(indices, F.max_pool2d(x, k, stride, return_indices=True)[1])
    with pytest.raises(ValueError, match="does not fit"):
        ours.max_pool2d(draw(1, 1, 2, 9), 3)


@pytest.mark.method("ch03/max_pool")
def test_max_pool2d_backward_undoes_disjoint_windows_like_max_unpool2d():
    dy = draw(2, 3, 3, 4)
    indices = F.max_pool2d(draw(2, 3, 6, 8, seed=1), 2, return_indices=True)[1]
    close(ours.max_pool2d_backward(dy, indices, (2, 3, 6, 8)), F.max_unpool2d(dy, indices, 2))


@pytest.mark.method("ch03/fc_layer")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("chw", [(3, 4, 6), (1, 5, 2), (7, 1, 1)])
def test_fc_as_conv_equals_the_linear_layer_forward_and_gradient(chw, dtype):
    W, b, x = with_grad(
        draw(5, math.prod(chw), dtype=dtype), draw(5, dtype=dtype, seed=1), draw(2, *chw, dtype=dtype, seed=2)
    )
    y, expected = F.conv2d(x, *ours.fc_as_conv(W, b, chw)).flatten(1), F.linear(x.flatten(1), W, b)
    close(y, expected)
    dy = draw(*y.shape, dtype=dtype, seed=3)
    for a, e in zip(torch.autograd.grad(y, [W, b, x], dy), torch.autograd.grad(expected, [W, b, x], dy)):
        close(a, e)
    larger = draw(2, chw[0], chw[1] + 2, chw[2] + 3, dtype=dtype, seed=4)
    assert F.conv2d(larger, *ours.fc_as_conv(W, b, chw)).shape == (2, 5, 3, 4)


@pytest.mark.method("ch03/relu")
def test_an_infinite_gradient_stops_at_a_closed_relu_as_in_torch():
    x = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    dy = torch.tensor([math.inf, math.nan, -math.inf])
    (expected,) = torch.autograd.grad(F.relu(x), x, dy)
    assert expected.tolist() == ours.relu_backward(dy, x.detach()).tolist() == [0.0, 0.0, -math.inf]
