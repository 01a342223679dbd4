"""Oracle tests of chapter 23, notebook 2: VeRA and DoRA against peft; NF4 against quantiles and published values."""

import copy

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import norm
from torch import nn

from solutions.ch23_low_rank_adaptation.lesson_2 import (
    DoRALinear,
    DVoRALinear,
    QLoRALinear,
    VeRALinear,
    bits_per_param,
    decompose_update,
    dequantize_nf4,
    dora_params,
    double_quantize,
    nf4_code,
    quantize_nf4,
    shared_projections,
    vera_params,
)

DOUBLE = torch.float64
# the constants that bitsandbytes publishes for its data type "nf4"
PUBLISHED = [
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
]  # fmt: skip


@pytest.fixture(params=range(3))
def rng(request):
    torch.manual_seed(request.param)  # layers draw their weights from the global generator
    return torch.Generator().manual_seed(request.param)


def draw(rng, *shape):
    return torch.randn(*shape, generator=rng, dtype=DOUBLE)


def trainable(module):
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


@pytest.mark.method("ch23/vera")
def test_vera_equals_peft_projections_forward_gradient_and_merge(rng):
    import peft

    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 7, bias=False))
    ours = copy.deepcopy(model)
    config = peft.VeraConfig(r=5, target_modules=["0", "2"], projection_prng_key=9, vera_dropout=0.0)
    theirs = peft.get_peft_model(model, config)
    A, B = shared_projections([(4, 6), (7, 4)], 5, seed=9)
    inner = theirs.base_model.model
    assert torch.equal(inner[0].vera_A["default"], A)
    assert torch.equal(inner[0].vera_B["default"], B)
    for k in (0, 2):
        ours[k] = VeRALinear(ours[k], A, B)
        assert torch.equal(ours[k].d, inner[k].vera_lambda_d["default"])
        ours[k].b.data = torch.randn(ours[k].b.shape, generator=rng)
        inner[k].vera_lambda_b["default"].data = ours[k].b.data.clone()
    x, dy = torch.randn(3, 6, generator=rng), torch.randn(3, 7, generator=rng)
    torch.testing.assert_close(ours(x), theirs(x))
    mine = torch.autograd.grad(ours(x), [ours[0].d, ours[0].b, ours[2].d, ours[2].b], dy)
    vectors = [getattr(inner[k], f"vera_lambda_{v}")["default"] for k in (0, 2) for v in "db"]
    torch.testing.assert_close(mine, torch.autograd.grad(theirs(x), vectors, dy), rtol=1e-4, atol=1e-5)
    for k in (0, 2):
        torch.testing.assert_close(ours[k].delta(), inner[k].get_delta_weight("default"))


@pytest.mark.method("ch23/vera")
def test_vera_shares_memory_saves_vectors_only_and_starts_as_the_base(rng):
    base = nn.Linear(4, 3)
    A, B = shared_projections([(3, 4), (5, 6)], 8, seed=0)
    layer, x = VeRALinear(base, A, B), torch.randn(2, 4, generator=rng)
    assert torch.equal(layer(x), base(x))
    assert layer.A.data_ptr() == A.data_ptr()
    assert set(layer.state_dict()) == {"d", "b", "base.weight", "base.bias"}
    dd, db = torch.autograd.grad(layer(x).sum(), [layer.d, layer.b])
    assert not dd.any()
    assert db.all()
    assert sum(p.numel() for p in trainable(layer).values()) == vera_params([(3, 4)], 8) == 11


def dora_pair(rng, rows, columns, r, bias=True):
    """Return our layer and peft's with the same random weights, in float64."""
    import peft

    base = nn.Linear(columns, rows, bias=bias, dtype=DOUBLE)
    model = nn.Sequential(copy.deepcopy(base))
    config = peft.LoraConfig(r=r, lora_alpha=3, use_dora=True, target_modules=["0"])
    theirs = peft.get_peft_model(model, config).double()
    ours = DoRALinear(base, r, 3)
    layer = theirs.base_model.model[0]
    ours.A.data, ours.B.data = draw(rng, r, columns), draw(rng, rows, r)
    ours.m.data = 1 + draw(rng, rows).abs()
    layer.lora_A["default"].weight.data = ours.A.data.clone()
    layer.lora_B["default"].weight.data = ours.B.data.clone()
    layer.lora_magnitude_vector["default"].weight.data = ours.m.data.clone()
    return ours, theirs, layer


@pytest.mark.method("ch23/dora")
@pytest.mark.parametrize(("rows", "columns", "r", "bias"), [(5, 7, 3, True), (6, 2, 4, False)])
def test_dora_equals_peft_forward_gradient_and_merge(rng, rows, columns, r, bias):
    ours, theirs, layer = dora_pair(rng, rows, columns, r, bias)
    x, dy = draw(rng, 2, 3, columns), draw(rng, 2, 3, rows)
    torch.testing.assert_close(ours(x), theirs(x))
    mine = torch.autograd.grad(ours(x), [ours.A, ours.B, ours.m], dy)
    weights = [layer.lora_A["default"].weight, layer.lora_B["default"].weight]
    weights.append(layer.lora_magnitude_vector["default"].weight)
    torch.testing.assert_close(mine, torch.autograd.grad(theirs(x), weights, dy))
    plain = ours.merge()
    torch.testing.assert_close(plain.weight, theirs.merge_and_unload()[0].weight)
    torch.testing.assert_close(plain(x), ours(x))
    assert sum(p.numel() for p in trainable(ours).values()) == dora_params([(rows, columns)], r)


@pytest.mark.method("ch23/dora")
def test_dora_at_the_start_is_the_base_and_weight_norm(rng):
    base = nn.Linear(5, 4, dtype=DOUBLE)
    layer, x = DoRALinear(base, 2, 1, detach_norm=False), draw(rng, 3, 5)
    torch.testing.assert_close(layer(x), base(x))
    normed = nn.utils.parametrizations.weight_norm(copy.deepcopy(base), dim=0)
    torch.testing.assert_close(layer(x), normed(x))
    layer.m.data *= 2
    torch.testing.assert_close(layer(x) - base.bias, 2 * (base(x) - base.bias))


@pytest.mark.method("ch23/dora")
def test_with_the_norm_in_the_graph_the_weight_gradient_is_orthogonal_to_the_rows(rng):
    layer = DoRALinear(nn.Linear(5, 4, bias=False, dtype=DOUBLE), 2, 1, detach_norm=False)
    layer.B.data = draw(rng, 4, 2)
    V = (layer.base.weight + layer.scaling * layer.B @ layer.A).detach().requires_grad_()
    W = layer.m[:, None] * V / V.norm(dim=1, keepdim=True)
    (dV,) = torch.autograd.grad(W, V, G := draw(rng, 4, 5))
    torch.testing.assert_close((dV * V).sum(1), torch.zeros(4, dtype=DOUBLE))
    (dB,) = torch.autograd.grad(layer.weight(), layer.B, G)
    torch.testing.assert_close(dB, layer.scaling * dV @ layer.A.T)


@pytest.mark.method("ch23/dora")
def test_a_row_of_zeros_gives_zeros():
    base = nn.Linear(3, 2, dtype=DOUBLE)
    base.weight.data[0] = 0
    assert torch.equal(DoRALinear(base, 1, 1).weight()[0], torch.zeros(3, dtype=DOUBLE))


@pytest.mark.method("ch23/dora")
def test_dvora_is_dora_with_the_update_of_vera(rng):
    base = nn.Linear(5, 4, dtype=DOUBLE)
    A, B = draw(rng, 3, 8), draw(rng, 9, 3)
    layer, vera = DVoRALinear(base, A, B), VeRALinear(base, A, B)
    x = draw(rng, 2, 5)
    torch.testing.assert_close(layer(x), base(x))
    layer.b.data = vera.b.data = draw(rng, 4)
    layer.m.data = draw(rng, 4)
    dora = DoRALinear(base, 4, 4)  # an update of full rank: B A = vera.delta()
    dora.A.data, dora.B.data, dora.m.data = vera.delta().detach(), torch.eye(4, dtype=DOUBLE), layer.m.data
    torch.testing.assert_close(layer(x), dora(x))
    assert set(trainable(layer)) == {"d", "b", "m"}


@pytest.mark.method("ch23/dora")
def test_decompose_separates_length_from_direction(rng):
    W0 = draw(rng, 4, 6)
    magnitude, direction = decompose_update(W0, 3 * W0)
    assert magnitude == pytest.approx(2 * W0.norm(dim=1).mean().item())
    assert direction == pytest.approx(0, abs=1e-12)
    turned = W0.flip(1) * torch.tensor([1, 1, 1, -1, -1, -1])  # same lengths, orthogonal to W0
    assert decompose_update(W0, turned) == pytest.approx((0, 1))


@pytest.mark.method("ch23/qlora")
def test_nf4_levels_are_the_published_ones_and_scipys_quantiles():
    code = nf4_code()
    torch.testing.assert_close(code, torch.tensor(PUBLISHED), atol=1e-6, rtol=0)
    levels = [0.0, *norm.ppf(torch.linspace(0.9677083, 0.5, 9).numpy()[:-1])]
    levels += list(-norm.ppf(torch.linspace(0.9677083, 0.5, 8).numpy()[:-1]))
    expected = torch.tensor(sorted(levels))
    torch.testing.assert_close(code, (expected / expected.max()).float(), atol=1e-6, rtol=0)
    assert code.dtype == torch.float32
    assert (code == 0).sum() == 1


@pytest.mark.method("ch23/qlora")
@pytest.mark.parametrize("shape", [(64,), (3, 50), (7, 2, 9), (1,)])
def test_quantizing_takes_the_nearest_level_and_survives_a_second_time(rng, shape):
    code, w = nf4_code(), torch.randn(*shape, generator=rng)
    packed, absmax = quantize_nf4(w, code, block=16)
    back = dequantize_nf4(packed, absmax, code, shape)
    assert packed.dtype == torch.uint8
    assert len(packed) == 8 * len(absmax) == 8 * -(-w.numel() // 16)
    flat = w.flatten()
    for i, value in enumerate(flat):
        scale = flat[i // 16 * 16 : i // 16 * 16 + 16].abs().max()
        level = min(code.tolist(), key=lambda c: abs(value.item() / scale.item() - c))
        assert back.flatten()[i].item() == pytest.approx(level * scale.item(), rel=1e-6)
    for mine, first in zip(quantize_nf4(back, code, block=16), (packed, absmax), strict=True):
        assert torch.equal(mine, first)


@pytest.mark.method("ch23/qlora")
def test_the_first_of_two_takes_the_high_bits_and_zeros_stay_zero():
    code = nf4_code()
    packed, absmax = quantize_nf4(torch.tensor([2.0, -2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]), code, block=4)
    assert packed.tolist() == [0xF0, 0x77, 0x77, 0x77]
    assert absmax.tolist() == [2.0, 0.0]
    assert torch.equal(dequantize_nf4(packed, absmax, code, (8,))[2:], torch.zeros(6))


@pytest.mark.method("ch23/qlora")
def test_double_quantisation_is_off_by_half_a_step_at_most_and_costs_4_127_bits(rng):
    absmax = torch.rand(600, generator=rng) + 1
    q, scale, mean = double_quantize(absmax)
    assert q.dtype == torch.int8
    assert scale.shape == (3,)
    steps = scale.repeat_interleave(256)[:600]
    assert ((q * steps + mean - absmax).abs() <= 0.501 * steps).all()
    assert (q.abs() == 127).sum() >= 3
    assert double_quantize(torch.full((5,), 2.0))[0].tolist() == [0] * 5
    assert bits_per_param(double=False) == 4.5
    assert bits_per_param(double=True) == pytest.approx(4.127, abs=5e-4)
    assert bits_per_param(double=False) - bits_per_param(double=True) == pytest.approx(0.373, abs=5e-4)


@pytest.mark.method("ch23/qlora")
def test_a_4_bit_layer_equals_a_dense_layer_with_the_rounded_weight(rng):
    code, base = nf4_code(), nn.Linear(30, 20)
    layer = QLoRALinear(base, code, 3, 6)
    layer.B.data = torch.randn(20, 3, generator=rng)
    dense = nn.Linear(30, 20)
    dense.weight.data = dequantize_nf4(*quantize_nf4(base.weight.data, code), code, (20, 30))
    dense.bias.data = base.bias.data
    W = dense.weight.data + 2 * layer.B @ layer.A
    x, dy = torch.randn(4, 30, generator=rng, requires_grad=True), torch.randn(4, 20, generator=rng)
    expected = F.linear(x, W, dense.bias.data)
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)
    mine = torch.autograd.grad(layer(x), [x, layer.A, layer.B], dy)
    torch.testing.assert_close(mine, torch.autograd.grad(expected, [x, layer.A, layer.B], dy), rtol=1e-4, atol=1e-5)
    assert set(trainable(layer)) == {"A", "B"}
    stored = sum(b.numel() * b.element_size() for name, b in layer.named_buffers() if name != "bias")
    assert stored < base.weight.numel() * 4 / 5


def rounded(layer_of, dtype):
    """Return the output of a layer in `dtype` with a row of zeros, and that of the same layer in float64."""
    torch.manual_seed(0)
    base = nn.Linear(6, 4).to(dtype)
    base.weight.data[2] = 0
    x = torch.randn(3, 6).to(dtype)
    return layer_of(base)(x), layer_of(copy.deepcopy(base).double())(x.double())


@pytest.mark.method("ch23/dora")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_row_of_zeros_gives_zeros_in_half_precision(dtype):
    A, B = shared_projections([(4, 6)], 3, seed=0)
    for layer_of in (lambda base: DoRALinear(base, 2, 4.0), lambda base: DVoRALinear(base, A, B)):
        y, expected = rounded(layer_of, dtype)
        assert y.dtype == dtype
        torch.testing.assert_close(y.double(), expected, rtol=0.02, atol=0.02)


@pytest.mark.method("ch23/vera")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, DOUBLE])
def test_shared_projections_serve_a_base_of_any_dtype(dtype):
    A, B = shared_projections([(4, 6)], 3, seed=0)

    def layer_of(base):
        layer = VeRALinear(base, A, B)
        layer.b.data += 0.5
        return layer

    y, expected = rounded(layer_of, dtype)
    assert y.dtype == dtype
    assert layer_of(nn.Linear(6, 4, dtype=dtype)).delta().dtype == dtype
    torch.testing.assert_close(y.double(), expected, rtol=0.02, atol=0.02)


@pytest.mark.method("ch23/qlora")
def test_of_two_levels_equally_near_the_lower_is_taken():
    packed, _ = quantize_nf4(torch.tensor([0.5, 1.0, -0.5, 1.0]), torch.tensor([-1.0, 0.0, 1.0]), block=4)
    assert [packed[0] >> 4, packed[1] >> 4] == [1, 0]  # 0.5 lies between 0 and 1, -0.5 between -1 and 0
