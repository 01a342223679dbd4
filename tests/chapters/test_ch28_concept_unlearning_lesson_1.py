"""Oracle tests of chapter 28, notebook 1: intervals against scipy, losses against autograd, pools against diffusers."""

import copy
import statistics

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import binomtest
from torch import nn

from dlcv_lab.zoo import anatomy, diffusion
from solutions.ch28_concept_unlearning.lesson_1 import (
    ablation_loss,
    erase_report,
    esd_loss,
    esd_target,
    make_pairs,
    trainable_names,
    trajectory_pool,
    wilson_interval,
)


def make_unet(seed=0):
    torch.manual_seed(seed)
    return diffusion.make_unet(16, channels=4, size=8).eval()


@pytest.fixture(scope="module")
def unet():
    return make_unet()


@pytest.fixture
def batch():
    g = torch.Generator().manual_seed(3)
    x, states = torch.randn(2, 4, 8, 8, generator=g), torch.randn(2, 2, 6, 16, generator=g)
    return x, torch.tensor([30, 900]), states[0], states[1]


@pytest.mark.method("ch28/erase_protocol")
@pytest.mark.parametrize(("k", "n"), [(0, 16), (16, 16), (3, 48), (47, 48), (1, 1)])
def test_the_interval_is_scipys(k, n):
    theirs = binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(k, n, z=1.959963984540054) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@pytest.mark.method("ch28/erase_protocol")
def test_the_report_of_a_table_made_by_hand():
    t = torch.tensor
    asked = t([0, 1, 2, 3, 0])
    found = erase_report(t([4, 4, 1, -1]), t([4, 0]), t([0, 1, -1, 2, 4]), t([0, 1, 2, 3, 4]), asked, target=4)
    assert found["direct"] == 0.5
    assert found["paraphrase"] == 0.5
    assert found["locality"] == pytest.approx(0.5)
    assert found["score"] == pytest.approx(statistics.harmonic_mean([0.5, 0.5, 0.5]))


@pytest.mark.method("ch28/erase_protocol")
def test_an_untouched_model_has_locality_one_and_no_score():
    seen, rings = torch.tensor([0, 2, 1, -1]), torch.full((5,), 3)
    found = erase_report(rings, rings, seen, seen, torch.tensor([0, 2, 2, 2]), target=3)
    assert found == {"direct": 1.0, "paraphrase": 1.0, "locality": 1.0, "score": 0.0}


@pytest.mark.method("ch28/ablating_concepts")
def test_pairs_differ_in_the_word_and_nothing_else():
    pairs = make_pairs(["A cat on a mat.", "cats", "the CAT"], "cat", "grumpy cat")
    assert pairs == [("A cat on a mat.", "A grumpy cat on a mat."), ("the CAT", "the grumpy cat")]
    assert make_pairs(["a b"], "x", "y") == []


@pytest.mark.method("ch28/ablating_concepts")
def test_the_gradient_is_that_of_a_regression_on_a_frozen_copy(unet, batch):
    x, t, target, anchor = batch
    student = copy.deepcopy(unet).requires_grad_(False)
    weight = student.get_parameter(trainable_names(student, "kv")[0]).requires_grad_()
    loss = ablation_loss(student, x, t, target, anchor)
    (mine,) = torch.autograd.grad(loss, [weight])
    label = unet(x, t, anchor).sample.detach()
    output = student(x, t, target).sample
    torch.testing.assert_close(loss, F.mse_loss(output, label))
    # 2 / n J^T (e_target - e_anchor)
    (theirs,) = torch.autograd.grad(output, [weight], 2 / output.numel() * (output - label).detach())
    torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-7)


@pytest.mark.method("ch28/ablating_concepts")
def test_the_same_prompt_twice_has_no_loss_and_no_gradient(unet, batch):
    x, t, target, _ = batch
    weight = unet.get_parameter(trainable_names(unet, "kv")[0])
    loss = ablation_loss(unet, x, t, target, target)
    assert loss == 0
    assert not torch.autograd.grad(loss, [weight])[0].any()


@pytest.mark.method("ch28/ablating_concepts")
@pytest.mark.method("ch28/esd")
def test_counts_of_trained_parameters_in_sd_and_in_stable_diffusion():
    small = diffusion.make_unet(64)
    large = anatomy.full()[2]

    def counts(unet):
        sizes = {name: p.numel() for name, p in unet.named_parameters()}
        return [sum(sizes[name] for name in trainable_names(unet, part)) for part in ("kv", "esd-x", "esd-u")]

    assert counts(small)[:2] == [45_056, 84_320]
    assert counts(large) == [19_169_280, 43_962_560, 815_358_084]


@pytest.mark.method("ch28/esd")
def test_names_of_esd(unet):
    inside, outside = trainable_names(unet, "esd-x"), trainable_names(unet, "esd-u")
    assert set(trainable_names(unet, "kv")) < set(inside)
    assert not set(inside) & set(outside)
    rest = set(dict(unet.named_parameters())) - set(inside) - set(outside)
    kinds = {type(unet.get_submodule(name.rpartition(".")[0])) for name in rest}
    assert kinds == {nn.GroupNorm, nn.LayerNorm}
    with pytest.raises(ValueError):
        trainable_names(unet, "esd")


@pytest.mark.method("ch28/esd")
def test_the_target_is_guidance_with_a_negative_scale(batch):
    x = batch[0]
    torch.testing.assert_close(esd_target(x, x.flip(0), 2.5), x + -2.5 * (x.flip(0) - x))
    assert torch.equal(esd_target(x, x.flip(0), 0.0), x)
    torch.testing.assert_close(esd_target(x, x, 3.0), x)


@pytest.mark.method("ch28/esd")
def test_esd_loss_is_a_regression_and_leaves_the_teacher_alone(unet, batch):
    x, t, concept, null = batch
    student = make_unet(1)
    loss = esd_loss(student, unet, x, t, concept, null, eta=2.0)
    with torch.no_grad():
        goal = unet(x, t, null).sample - 2 * (unet(x, t, concept).sample - unet(x, t, null).sample)
    output = student(x, t, concept).sample
    torch.testing.assert_close(loss, F.mse_loss(output, goal))
    weight = student.conv_out.weight
    (mine,) = torch.autograd.grad(loss, [weight], retain_graph=True)
    (theirs,) = torch.autograd.grad(output, [weight], 2 / output.numel() * (output - goal).detach())
    torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-7)
    assert torch.autograd.grad(loss, [unet.conv_out.weight], allow_unused=True) == (None,)


@pytest.mark.method("ch28/esd")
def test_a_pool_passes_through_what_the_pipeline_of_diffusers_paints():
    from diffusers import StableDiffusionPipeline

    from dlcv_lab.zoo import latents, text

    torch.manual_seed(0)
    tokenizer = text.make_tokenizer()
    parts = diffusion.assemble(
        latents.make_vae(), text.make_text_encoder(tokenizer, 16), tokenizer, diffusion.make_unet(16)
    )
    assert isinstance(parts, StableDiffusionPipeline)
    parts.set_progress_bar_config(disable=True)
    g = torch.Generator().manual_seed(1)
    concept, null = torch.randn(2, 24, 16, generator=g), torch.randn(2, 24, 16, generator=g)
    pool, times, final = trajectory_pool(
        parts.unet, parts.scheduler, concept, null, guidance=3.0, steps=3, generator=torch.Generator().manual_seed(7)
    )
    options = {"num_inference_steps": 3, "guidance_scale": 3.0, "output_type": "latent", "latents": pool[0].clone()}
    seen = []
    theirs = parts(
        prompt_embeds=concept, negative_prompt_embeds=null, **options,
        callback_on_step_end=lambda _, i, t, kwargs: seen.append(kwargs["latents"].clone()) or {},
    ).images  # fmt: skip
    torch.testing.assert_close(final, theirs)
    torch.testing.assert_close(pool[1:], torch.stack(seen[:-1]))
    assert times.tolist() == parts.scheduler.timesteps.tolist()
