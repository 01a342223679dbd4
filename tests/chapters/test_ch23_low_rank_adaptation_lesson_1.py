"""Oracle tests of chapter 23, notebook 1: LoRA against peft and dense algebra; counts against models on meta."""

import copy

import pytest
import torch
from torch import nn

from solutions.ch23_low_rank_adaptation.lesson_1 import (
    LoRAConv2d,
    LoRALinear,
    adapter_params,
    bitfit_params,
    dylora_forward,
    extract_lora,
    inject_lora,
    lora_params,
    merge_loras,
    prune_lambdas,
)

DOUBLE = torch.float64


@pytest.fixture(params=range(3))
def rng(request):
    torch.manual_seed(request.param)  # layers draw their weights from the global generator
    return torch.Generator().manual_seed(request.param)


def draw(rng, *shape):
    return torch.randn(*shape, generator=rng, dtype=DOUBLE)


def of_peft(layer, **options):
    """Wrap a copy of a layer by peft; return the model and the wrapped layer."""
    import peft

    model = nn.Sequential(copy.deepcopy(layer))
    wrapped = peft.get_peft_model(model, peft.LoraConfig(target_modules=["0"], **options)).double()
    return wrapped, wrapped.base_model.model[0]


@pytest.mark.method("ch23/lora")
@pytest.mark.parametrize(("rows", "columns", "r", "bias"), [(5, 7, 3, True), (6, 2, 4, False), (1, 3, 1, True)])
def test_lora_linear_equals_peft_forward_gradient_and_merge(rng, rows, columns, r, bias):
    base = nn.Linear(columns, rows, bias=bias, dtype=DOUBLE)
    model, theirs = of_peft(base, r=r, lora_alpha=5)
    ours = LoRALinear(base, r, 5)
    x = draw(rng, 2, 3, columns)
    assert torch.equal(ours(x), model(x))  # B = 0 in both
    ours.A.data, ours.B.data = draw(rng, r, columns), draw(rng, rows, r)
    theirs.lora_A["default"].weight.data, theirs.lora_B["default"].weight.data = ours.A.data, ours.B.data
    dy = draw(rng, 2, 3, rows)
    torch.testing.assert_close(ours(x), model(x))
    mine = torch.autograd.grad(ours(x), [ours.A, ours.B], dy)
    weights = [theirs.lora_A["default"].weight, theirs.lora_B["default"].weight]
    torch.testing.assert_close(mine, torch.autograd.grad(model(x), weights, dy))
    before = ours(x)
    ours.merge()
    torch.testing.assert_close(ours.base.weight, model.merge_and_unload()[0].weight)
    torch.testing.assert_close(ours(x), before)


@pytest.mark.method("ch23/lora")
def test_at_the_start_the_gradient_of_a_is_zero_and_that_of_b_is_the_formula(rng):
    layer = LoRALinear(nn.Linear(4, 3, dtype=DOUBLE), r=2, alpha=6)
    x, delta = draw(rng, 1, 4), draw(rng, 1, 3)
    dA, dB = torch.autograd.grad(layer(x), [layer.A, layer.B], delta)
    assert torch.equal(dA, torch.zeros_like(dA))
    torch.testing.assert_close(dB, 3 * delta.T @ (x @ layer.A.T))


@pytest.mark.method("ch23/lora")
def test_dropout_touches_the_branch_only_and_no_evaluation(rng):
    base = nn.Linear(4, 3, dtype=DOUBLE)
    layer, x = LoRALinear(base, 2, 1, dropout=1.0), draw(rng, 5, 4)
    layer.B.data = draw(rng, 3, 2)
    assert torch.equal(layer(x), base(x))
    assert not torch.allclose(layer.eval()(x), base(x))


@pytest.mark.method("ch23/lora_merging")
def test_merging_is_idempotent_and_undone_exactly(rng):
    layer = LoRALinear(nn.Linear(4, 3, dtype=DOUBLE), 2, 1)
    layer.B.data = draw(rng, 3, 2)
    W0 = layer.base.weight.clone()
    for _ in range(2):
        layer.merge()
    torch.testing.assert_close(layer.base.weight, W0 + layer.scaling * layer.B @ layer.A)
    for _ in range(2):
        layer.unmerge()
    torch.testing.assert_close(layer.base.weight, W0)
    assert not layer.base.weight.requires_grad


@pytest.mark.method("ch23/lora")
def test_inject_replaces_what_peft_replaces_and_counts_the_same():
    import peft
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=40, image_size=16)
    model = ViTModel(config, add_pooling_layer=False)
    theirs = peft.get_peft_model(copy.deepcopy(model), peft.LoraConfig(r=3, target_modules=["q_proj", "v_proj"]))
    assert inject_lora(model, [r".*\.q_proj", r".*\.v_proj"], 3, 8) == 2 * 2 * 3 * 48
    assert sum(p.numel() for p in theirs.parameters() if p.requires_grad) == 2 * 2 * 3 * 48
    wrapped = [name for name, module in model.named_modules() if isinstance(module, LoRALinear)]
    assert len(wrapped) == 4
    with pytest.raises(ValueError, match="nothing"):
        inject_lora(model, ["nothing"], 3, 8)


@pytest.mark.method("ch23/lora_merging")
def test_small_updates_survive_in_bfloat16():
    W0 = torch.ones(2, 3, dtype=torch.bfloat16)
    lora = (torch.full((1, 3), 0.5, dtype=torch.bfloat16), torch.full((2, 1), 2.0**-9, dtype=torch.bfloat16), 1.0, 1.0)
    merged = merge_loras(W0, [lora] * 256)
    assert merged.dtype == torch.bfloat16
    assert torch.equal(merged.float(), torch.full((2, 3), 1.25))


@pytest.mark.method("ch23/lora_merging")
def test_the_cut_off_singular_values_are_the_error(rng):
    W0, W1 = draw(rng, 6, 4), draw(rng, 6, 4)
    values = torch.linalg.svdvals(W1 - W0)
    for r in range(1, 5):
        A, B = extract_lora(W0, W1, r)
        assert A.shape == (r, 4)
        assert B.shape == (6, r)
        torch.testing.assert_close((W1 - W0 - B @ A).norm(), values[r:].square().sum().sqrt(), atol=1e-9, rtol=0)


CONVOLUTIONS = [
    {"stride": 2, "padding": 1},
    {"dilation": 2, "kernel_size": (1, 3)},
    {"padding": 1, "padding_mode": "reflect"},
    {"bias": False},
]


@pytest.mark.method("ch23/lora_conv")
@pytest.mark.parametrize("options", CONVOLUTIONS)
def test_lora_conv_equals_peft_forward_gradient_and_merge(rng, options):
    base = nn.Conv2d(3, 5, **({"kernel_size": 3} | options)).double()
    known = base.padding_mode == "zeros" and base.dilation == (1, 1)  # peft 0.21 hands neither on to its branch
    ours = LoRAConv2d(base, 2, 3).double()
    ours.B.weight.data = draw(rng, 5, 2, 1, 1)
    x = draw(rng, 2, 3, 7, 6)
    if known:
        model, theirs = of_peft(base, r=2, lora_alpha=3)
        theirs.lora_A["default"].weight.data = ours.A.weight.data
        theirs.lora_B["default"].weight.data = ours.B.weight.data
        torch.testing.assert_close(ours.delta(), theirs.get_delta_weight("default"))
        torch.testing.assert_close(ours(x), model(x))
        dy = torch.randn_like(model(x))
        weights = [theirs.lora_A["default"].weight, theirs.lora_B["default"].weight]
        mine = torch.autograd.grad(ours(x), [ours.A.weight, ours.B.weight], dy)
        torch.testing.assert_close(mine, torch.autograd.grad(model(x), weights, dy))
    before, W0 = ours(x), base.weight.clone()
    for _ in range(2):
        ours.merge()
    torch.testing.assert_close(base.weight, W0 + ours.delta())
    torch.testing.assert_close(ours(x), before)


@pytest.mark.method("ch23/lora_conv")
def test_groups_are_refused():
    with pytest.raises(ValueError, match="groups"):
        LoRAConv2d(nn.Conv2d(4, 4, 3, groups=2), 2, 1)


def test_dylora_is_lora_with_truncated_matrices_and_no_gradient_beyond(rng):
    A, B = draw(rng, 4, 5).requires_grad_(), draw(rng, 3, 4).requires_grad_()
    x, W0 = draw(rng, 2, 5), draw(rng, 3, 5)
    for b in (1, 3, 4):
        y = dylora_forward(x, W0, A, B, alpha=2, b=b)
        layer = LoRALinear(nn.Linear(5, 3, bias=False, dtype=DOUBLE), b, 2)
        layer.base.weight.data, layer.A.data, layer.B.data = W0, A.data[:b], B.data[:, :b]
        torch.testing.assert_close(y, layer(x))
        dA, dB = torch.autograd.grad(y.sum(), [A, B])
        assert not dA[b:].any()
        assert not dB[:, b:].any()


def test_pruning_keeps_what_pefts_rank_allocator_keeps(rng):
    import peft
    from peft.tuners.adalora.layer import RankAllocator

    model = peft.get_peft_model(
        nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4)),
        peft.AdaLoraConfig(target_modules=["0", "1"], init_r=4, target_r=2, total_step=10, tinit=1, tfinal=1),
    )
    allocator = RankAllocator(model, model.peft_config["default"], "default")
    scores = {}
    for name, p in model.named_parameters():
        if "lora_" in name:
            p.data = torch.rand(p.shape, generator=rng)
            only_lambda = torch.rand(p.shape, generator=rng) if "lora_E" in name else torch.zeros(p.shape)
            allocator.exp_avg_ipt[name], allocator.exp_avg_unc[name] = only_lambda, torch.ones(p.shape)
            if "lora_E" in name:
                scores[name] = only_lambda.flatten()
    kept = allocator.mask_to_budget(model, 3)
    assert {name: mask.tolist() for name, mask in prune_lambdas(scores, 3).items()} == kept
    assert sum(int(mask.sum()) for mask in prune_lambdas(scores, 99).values()) == 8
    assert not any(mask.any() for mask in prune_lambdas(scores, 0).values())


@pytest.mark.method("ch23/param_ledger")
def test_counts_agree_with_models():
    import peft
    from transformers import RobertaConfig, RobertaModel

    config = RobertaConfig(hidden_size=12, num_hidden_layers=3, num_attention_heads=2, intermediate_size=20)
    for pooler in (False, True):
        with torch.device("meta"):
            model = RobertaModel(config, add_pooling_layer=pooler)
        biases = sum(p.numel() for name, p in model.named_parameters() if name.endswith("bias"))
        assert biases == bitfit_params(3, 12, 20, pooler=pooler)
    layers = [m for m in model.encoder.modules() if isinstance(m, nn.Linear)]
    wrapped = peft.get_peft_model(
        model,
        peft.LoraConfig(r=3, target_modules=r".*encoder.*(query|key|value|dense)"),
        low_cpu_mem_usage=True,
    )
    counted = sum(p.numel() for p in wrapped.parameters() if p.requires_grad)
    assert counted == lora_params([(m.out_features, m.in_features) for m in layers], 3)
    adapter = nn.Sequential(nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 12))
    one = sum(p.numel() for p in adapter.parameters())
    assert adapter_params(7, 12, 5, norms=2) == 7 * one + 2 * sum(p.numel() for p in nn.LayerNorm(12).parameters())


@pytest.mark.method("ch23/lora")
def test_the_out_proj_of_attention_is_no_target_because_nobody_calls_it(rng):
    """Attention reads `out_proj.weight`: peft wraps the layer and nothing changes, whatever B is."""
    import peft

    def net():
        torch.manual_seed(0)
        return nn.ModuleDict({"attn": nn.MultiheadAttention(6, 2), "head": nn.Linear(6, 3)})

    x, model = torch.randn(4, 1, 6, generator=rng), net()
    before = model["attn"](x, x, x)[0]
    options = peft.LoraConfig(target_modules=r".*out_proj", r=2, init_lora_weights=False)
    assert torch.equal(peft.get_peft_model(net(), options).base_model.model["attn"](x, x, x)[0], before)

    assert inject_lora(model, [".*"], 2, 4.0) == 2 * (6 + 3)
    assert isinstance(model["head"], LoRALinear)
    assert torch.equal(model["attn"](x, x, x)[0], before)
    with pytest.raises(ValueError, match="out_proj"):
        inject_lora(net(), [r"attn\.out_proj"], 2, 4.0)


@pytest.mark.method("ch23/lora_merging")
def test_merging_nothing_gives_a_copy(rng):
    W = draw(rng, 3, 4)
    merged = merge_loras(W, [])
    assert torch.equal(merged, W)
    assert merged.data_ptr() != W.data_ptr()
