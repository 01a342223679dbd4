"""Oracle tests of chapter 28, notebook 2: attention and SLD against diffusers, UCE against least squares, counts."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dlcv_lab.zoo import anatomy, diffusion
from solutions.ch28_concept_unlearning.lesson_2 import (
    AttnWithEraser,
    Eraser,
    KeepProbabilities,
    attack_step,
    concept_mask,
    insert_erasers,
    invert_concept,
    keep_probabilities,
    localisation_loss,
    resteer_loss,
    sld_guidance,
    uce_weight,
)

DOUBLE = torch.float64


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(5)


@pytest.fixture
def unet():
    torch.manual_seed(0)
    return diffusion.make_unet(16, channels=4, size=8).eval()


@pytest.fixture
def batch(rng):
    return torch.randn(2, 4, 8, 8, generator=rng), torch.tensor([30, 900]), torch.randn(2, 6, 16, generator=rng)


@pytest.mark.method("ch28/receler_eraser")
def test_an_eraser_is_a_bottleneck_that_begins_as_zero(rng):
    eraser, h = Eraser(6, 3), torch.randn(2, 5, 6, generator=rng)
    assert not eraser(h).any()
    nn.init.normal_(eraser.up.weight), nn.init.normal_(eraser.up.bias)
    plain = nn.Sequential(eraser.down, nn.GELU(), eraser.up)
    torch.testing.assert_close(eraser(h), plain(h))
    dy, parameters = torch.randn(2, 5, 6, generator=rng), list(eraser.parameters())
    mine = torch.autograd.grad(eraser(h), parameters, dy)
    torch.testing.assert_close(mine, torch.autograd.grad(plain(h), parameters, dy))


@pytest.mark.method("ch28/receler_eraser")
def test_new_erasers_change_no_bit_and_can_be_switched_off(unet, batch):
    before = unet(*batch).sample
    erased, wrapped = insert_erasers(unet, 4)
    assert torch.equal(erased(*batch).sample, before)
    assert all(name.rpartition(".")[2] == "attn2" for name in wrapped)
    assert {name.split(".eraser.")[0] for name, p in erased.named_parameters() if p.requires_grad} == set(wrapped)
    for layer in wrapped.values():
        nn.init.normal_(layer.eraser.up.weight)
    assert not torch.equal(erased(*batch).sample, before)
    for layer in wrapped.values():
        layer.enabled = False
    assert torch.equal(erased(*batch).sample, before)
    assert not any(isinstance(m, AttnWithEraser) for m in unet.modules())


@pytest.mark.method("ch28/receler_eraser")
def test_the_share_of_parameters_in_stable_diffusion_is_exactly_the_papers():
    unet = anatomy.full()[2]
    rows = anatomy.attentions(unet)
    with torch.device("meta"):
        count = sum(anatomy.count(Eraser(row.width, 128)) for row in rows)
    assert count == sum(2 * row.width * 128 + 128 + row.width for row in rows) == 3_209_408
    assert round(100 * count / anatomy.count(unet), 2) == 0.37


@pytest.mark.method("ch28/receler_localised")
def test_kept_probabilities_are_those_of_diffusers(unet, batch):
    from diffusers.models.attention_processor import AttnProcessor

    layer = unet.get_submodule(anatomy.attentions(unet)[1].name)
    h, states = torch.randn(2, 16, layer.to_q.in_features), batch[2]
    keep = KeepProbabilities()
    layer.set_processor(keep)
    out = layer(h, states)
    layer.set_processor(AttnProcessor())
    torch.testing.assert_close(out, layer(h, states))
    q, k = (layer.head_to_batch_dim(x) for x in (layer.to_q(h), layer.to_k(states)))
    theirs = layer.get_attention_scores(q, k).unflatten(0, (2, layer.heads))
    torch.testing.assert_close(keep.probabilities, theirs)
    torch.testing.assert_close(keep.probabilities.sum(-1), torch.ones(2, layer.heads, 16))


@pytest.mark.method("ch28/receler_localised")
def test_keeping_probabilities_changes_nothing_and_reaches_every_layer(unet, batch):
    before = unet(*batch).sample
    kept = keep_probabilities(unet)
    torch.testing.assert_close(unet(*batch).sample, before, rtol=1e-4, atol=1e-5)
    assert sorted(kept) == sorted(row.name for row in anatomy.attentions(unet))
    sides = {name: keep.probabilities.shape[2] for name, keep in kept.items()}
    assert all(sides[row.name] == row.side**2 for row in anatomy.attentions(unet))


@pytest.mark.method("ch28/receler_localised")
def test_a_mask_finds_the_world_s_object_and_ignores_scale_and_order_of_heads(rng):
    from dlcv_lab import world

    truth = (
        world.object_masks(world.icons(3, 0).scene, 8)[:, 0].float() if hasattr(world.icons(3, 0), "scene") else None
    )
    truth = torch.rand(3, 8, 8, generator=rng).round() if truth is None else truth
    p = torch.full((3, 2, 64, 5), 0.05)
    p[..., 2] += 0.5 * truth.flatten(1)[:, None]
    other = torch.rand(3, 2, 16, 5, generator=rng)
    found = concept_mask([p, other, p * 0.3], [2], size=8, threshold=0.5)
    assert torch.equal(found, truth)
    assert torch.equal(found, concept_mask([p.flip(1) * torch.tensor([1, 0.2, 3])[:, None, None, None]], [2], size=8))


@pytest.mark.method("ch28/receler_localised")
def test_the_regularisation_is_a_mean_over_unmasked_places_with_no_gradient_inside(rng):
    mask = torch.rand(2, 8, 8, generator=rng).round()
    outputs = [torch.randn(2, side * side, 5, generator=rng, dtype=DOUBLE, requires_grad=True) for side in (8, 4)]
    masks = [mask, F.interpolate(mask[:, None], size=4, mode="nearest")[:, 0]]
    free = [m.flatten(1) == 0 for m in masks]
    loss = localisation_loss(outputs, mask.double())
    wanted = sum(F.mse_loss(o[f], torch.zeros_like(o[f])) for o, f in zip(outputs, free)) / 2
    torch.testing.assert_close(loss, wanted)
    mine = torch.autograd.grad(loss, outputs, retain_graph=True)
    torch.testing.assert_close(mine, torch.autograd.grad(wanted, outputs))
    assert not any(g[~f].any() for g, f in zip(mine, free))
    assert localisation_loss(outputs, torch.ones(2, 8, 8, dtype=DOUBLE)) == 0


class Linear(nn.Module):
    """A "network" that is linear in the text states, so that the attack has a closed form."""

    def __init__(self, rng):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4, generator=rng, dtype=DOUBLE))

    def forward(self, x, t, states):
        from types import SimpleNamespace

        return SimpleNamespace(sample=x + (states.sum(1) @ self.weight)[:, :, None, None])


@pytest.mark.method("ch28/receler_adversarial")
def test_the_attack_on_a_linear_network_finds_the_concept_again(rng):
    net, states = Linear(rng), torch.randn(1, 5, 4, generator=rng, dtype=DOUBLE)
    x, t = torch.randn(3, 4, 2, 2, generator=rng, dtype=DOUBLE), torch.zeros(3, dtype=torch.long)
    concept = torch.randn(1, 4, generator=rng, dtype=DOUBLE)
    there = states.clone()
    there[:, 2] = concept
    wanted = net(x, t, there.expand(3, -1, -1)).sample.detach()
    prompt = torch.zeros(1, 4, dtype=DOUBLE, requires_grad=True)
    optimizer = torch.optim.SGD([prompt], lr=0.2)
    losses = [attack_step(net, x, t, states.expand(3, -1, -1), prompt, 2, wanted, optimizer) for _ in range(800)]
    assert losses[-1] < 1e-3 * losses[0]
    torch.testing.assert_close(prompt.detach() @ net.weight, concept @ net.weight, rtol=0.05, atol=0.2)
    assert net.weight.grad is None


@pytest.mark.method("ch28/receler_adversarial")
def test_an_attack_step_is_one_step_of_the_optimizer_along_autograds_gradient(unet, batch, rng):
    x, t, states = batch
    prompt = torch.randn(2, 16, generator=rng).requires_grad_()
    wanted = torch.randn(x.shape, generator=rng)
    twin = prompt.detach().clone().requires_grad_()
    loss = F.mse_loss(unet(x, t, torch.cat([states[:, :3], twin.expand(2, -1, -1), states[:, 5:]], 1)).sample, wanted)
    loss.backward()
    theirs = torch.optim.Adam([twin], lr=0.1)
    theirs.step()
    unet.zero_grad(set_to_none=True)
    mine = attack_step(unet, x, t, states, prompt, 3, wanted, torch.optim.Adam([prompt], lr=0.1))
    assert mine == pytest.approx(loss.item(), rel=1e-5)
    torch.testing.assert_close(prompt.detach(), twin.detach(), rtol=1e-3, atol=1e-4)
    assert all(p.grad is None for p in unet.parameters())
    with pytest.raises(ValueError):
        attack_step(unet, x, t, states, prompt, 5, wanted, theirs)


@pytest.mark.method("ch28/receler_adversarial")
def test_inversion_learns_and_leaves_the_network_alone(unet, batch):
    x, _, states = batch
    before = {name: p.clone() for name, p in unet.named_parameters()}
    g = torch.Generator().manual_seed(0)
    prompt = invert_concept(
        unet, diffusion.make_scheduler(), x, states[:1], first=2, slots=2, steps=3, batch=2, generator=g
    )
    assert prompt.shape == (2, 16)
    start = torch.rand(2, 16, generator=torch.Generator().manual_seed(0))
    assert (prompt - start).abs().max() > 0.1
    assert all(torch.equal(p, before[name]) for name, p in unet.named_parameters())


def uce_parts(rng, m=3):
    def draw(*shape):
        return torch.randn(*shape, generator=rng, dtype=DOUBLE)

    return draw(5, 6), draw(2, 6), draw(2, 6), draw(m, 6)


@pytest.mark.method("ch28/uce")
@pytest.mark.parametrize("m", [0, 3])
def test_uce_is_the_solution_of_least_squares_on_stacked_rows(rng, m):
    W0, C, G, K = uce_parts(rng, m)
    lam = 0.7
    rows = torch.cat([C, K, lam**0.5 * torch.eye(6, dtype=DOUBLE)])
    wanted = torch.cat([G @ W0.T, K @ W0.T, lam**0.5 * W0.T])
    theirs = torch.linalg.lstsq(rows, wanted).solution.T
    torch.testing.assert_close(uce_weight(W0, C, G, K, lam=lam), theirs)


@pytest.mark.method("ch28/uce")
def test_uce_is_stationary_and_has_its_limits(rng):
    W0, C, G, K = uce_parts(rng)
    W = uce_weight(W0, C, G, K).requires_grad_()
    loss = (C @ W.T - G @ W0.T).square().sum() + (K @ W.T - K @ W0.T).square().sum() + 0.5 * (W - W0).square().sum()
    (gradient,) = torch.autograd.grad(loss, [W])
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-10, rtol=0)
    torch.testing.assert_close(uce_weight(W0, C, C, K), W0)
    torch.testing.assert_close(uce_weight(W0, C, G, K, lam=1e9), W0, atol=1e-6, rtol=0)
    assert uce_weight(W0.half(), C.half(), G.half(), K.half()).dtype == torch.float16


@pytest.mark.method("ch28/sld")
@pytest.mark.parametrize("step", [0, 9, 10, 30])
@pytest.mark.parametrize("level", ["WEAK", "MEDIUM", "STRONG", "MAX"])
def test_sld_is_that_of_diffusers(rng, step, level):
    module = pytest.importorskip("diffusers.pipelines.deprecated.stable_diffusion_safe")
    pipeline = module.pipeline_stable_diffusion_safe.StableDiffusionPipelineSafe
    config = getattr(module.SafetyConfig, level)
    e_null, e_prompt, e_safe, nu = torch.randn(4, 2, 4, 5, 5, generator=rng) * 0.1
    guidance, momentum = pipeline.perform_safety_guidance(
        None, True, nu, e_prompt - e_null, [e_prompt, e_null, e_safe], step, config["sld_guidance_scale"],
        config["sld_warmup_steps"], config["sld_threshold"], config["sld_momentum_scale"], config["sld_mom_beta"],
    )  # fmt: skip
    noise, mine = sld_guidance(
        e_null, e_prompt, e_safe, nu, step, guidance=7.5, scale=config["sld_guidance_scale"],
        warmup=config["sld_warmup_steps"], threshold=config["sld_threshold"],
        momentum_scale=config["sld_momentum_scale"], beta=config["sld_mom_beta"],
    )  # fmt: skip
    torch.testing.assert_close(noise, e_null + 7.5 * guidance)
    torch.testing.assert_close(mine, momentum)


@pytest.mark.method("ch28/fmn")
def test_resteering_is_the_norm_of_the_collected_columns_with_its_gradient(rng):
    layers = [torch.randn(2, 3, n, 6, generator=rng, dtype=DOUBLE).softmax(-1).requires_grad_() for n in (4, 9)]
    positions = torch.tensor([[0, 1, 0, 0, 0, 1], [0, 0, 1, 0, 0, 0]], dtype=torch.bool)
    loss = resteer_loss(layers, positions)
    columns = [p[b][..., positions[b]].flatten() for p in layers for b in range(2)]
    theirs = torch.cat(columns).norm()
    torch.testing.assert_close(loss, theirs)
    mine = torch.autograd.grad(loss, layers, retain_graph=True)
    torch.testing.assert_close(mine, torch.autograd.grad(theirs, layers))
    nothing = resteer_loss(layers, torch.zeros_like(positions))
    assert nothing.item() == pytest.approx(0, abs=1e-5)
    assert all(g.isfinite().all() for g in torch.autograd.grad(nothing, layers))


@pytest.mark.method("ch28/fmn")
def test_resteering_in_half_precision_is_finite_and_so_is_its_gradient():
    much = torch.ones(1, 1, 90_000, 1, dtype=torch.float16, requires_grad=True)  # 90 000 is infinite in float16
    nothing = torch.zeros(1, 1, 4, 1, dtype=torch.float16, requires_grad=True)  # 1e-12 is 0 there
    for p, right in ((much, 300.0), (nothing, 1e-6)):
        loss = resteer_loss([p], torch.tensor([[True]]))
        assert loss.item() == pytest.approx(right, rel=1e-5)
        assert torch.autograd.grad(loss, p)[0].isfinite().all()


@pytest.mark.method("ch28/receler_localised")
def test_a_size_that_no_layer_has_is_refused():
    with pytest.raises(ValueError, match="3 x 3"):
        concept_mask([torch.ones(1, 1, 4, 2), torch.ones(1, 1, 16, 2)], [0], size=3)


@pytest.mark.method("ch28/receler_adversarial")
def test_an_attack_leaves_earlier_gradients_of_the_network_and_forgets_those_of_the_prompt(unet, batch, rng):
    x, t, states = batch
    wanted = torch.randn(x.shape, generator=rng)
    start = torch.randn(2, 16, generator=rng)
    for p in unet.parameters():
        p.grad = torch.ones_like(p)
    after = []
    for earlier in (None, torch.full((2, 16), 1e3)):
        prompt = start.clone().requires_grad_()
        prompt.grad = earlier
        attack_step(unet, x, t, states, prompt, 1, wanted, torch.optim.SGD([prompt], lr=0.1))
        after.append(prompt.detach())
    assert torch.equal(*after)
    assert not torch.equal(after[0], start)
    assert all((p.grad == 1).all() for p in unet.parameters())
