"""What chapters do with `sd`, each shown to work once: guidance, inversion, attention maps, LoRA, a new word."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dlcv_lab import world, zoo
from dlcv_lab.zoo import anatomy, diffusion, text

pytestmark = pytest.mark.slow


@pytest.fixture
def sd() -> Any:
    return zoo.load("sd")


def states(pipe: Any, prompts: list[str]) -> Tensor:
    ids: Tensor = text.encode(pipe.tokenizer, prompts)
    out: Tensor = pipe.text_encoder(ids).last_hidden_state
    return out


@torch.no_grad()
def latents_of(pipe: Any, images: Tensor) -> Tensor:
    means: Tensor = pipe.vae.encode(images * 2 - 1).latent_dist.mean
    return means * pipe.vae.config.scaling_factor


def noise_loss(pipe: Any, latents: Tensor, prompts: list[str], seed: int) -> Tensor:
    gen = torch.Generator().manual_seed(seed)
    noise = torch.randn(latents.shape, generator=gen)
    times = torch.randint(pipe.scheduler.config.num_train_timesteps, (len(latents),), generator=gen)
    noisy = pipe.scheduler.add_noise(latents, noise, times)
    return F.mse_loss(pipe.unet(noisy, times, states(pipe, prompts)).sample, noise)


def photos(n: int = 4) -> Tensor:
    return world.render(world.photos(world.creature(0), n, seed=1))


def tune(parameters: list[Any], loss: Callable[[int], Tensor], steps: int, lr: float) -> None:
    update = torch.optim.Adam(parameters, lr=lr)
    for step in range(steps):
        update.zero_grad()
        loss(step).backward()
        update.step()


def held_out(loss: Callable[[int], Tensor]) -> float:
    with torch.no_grad():
        return sum(float(loss(1000 + i)) for i in range(6)) / 6


def test_guidance_makes_prompts_obeyed(sd: Any) -> None:
    prompts = diffusion.plain_prompts()[::4]
    weak, strong = (
        float(world.obeys(diffusion.paint(sd, prompts, guidance=scale), prompts).float().mean()) for scale in (1, 4)
    )
    assert strong > weak


def test_ddim_inversion_leads_back(sd: Any) -> None:
    from diffusers import DDIMInverseScheduler

    scene = world.sample(4, 5, sizes=("big",))
    start = latents_of(sd, world.render(scene))
    told = states(sd, world.caption(scene, level=1)).detach()
    errors = []
    for steps in (5, 40):
        back, forth = DDIMInverseScheduler.from_config(sd.scheduler.config), sd.scheduler
        latents = start
        for scheduler in (back, forth):
            scheduler.set_timesteps(steps)
            for time in scheduler.timesteps:
                with torch.no_grad():
                    noise = sd.unet(latents, time, told).sample
                latents = scheduler.step(noise, time, latents).prev_sample
        errors.append(float(F.mse_loss(latents, start)))
    assert errors[1] < errors[0]
    assert errors[1] < 0.1


def attention_maps(pipe: Any, latents: Tensor, prompts: list[str], words: list[str], at: int) -> Tensor:
    """Return the mean attention that latent cells pay to a word of each prompt, at the finest cross-attentions."""
    from diffusers.models.attention_processor import Attention

    maps = []
    fine = {a.name for a in anatomy.attentions(pipe.unet) if a.side == pipe.unet.config.sample_size}

    def keep(module: Attention, inputs: Any, options: Any, output: Any) -> None:
        query = module.head_to_batch_dim(module.to_q(inputs[0]))
        key = module.head_to_batch_dim(module.to_k(options["encoder_hidden_states"]))
        share = module.get_attention_scores(query, key).unflatten(0, (-1, module.heads))
        maps.append(share.mean(1))

    hooks = [m.register_forward_hook(keep, with_kwargs=True) for n, m in pipe.unet.named_modules() if n in fine]
    gen = torch.Generator().manual_seed(0)
    noise = torch.randn(latents.shape, generator=gen)
    times = torch.full((len(latents),), at)
    with torch.no_grad():
        pipe.unet(pipe.scheduler.add_noise(latents, noise, times), times, states(pipe, prompts))
    for hook in hooks:
        hook.remove()
    ids = text.encode(pipe.tokenizer, prompts)
    place = (ids == torch.tensor(pipe.tokenizer.convert_tokens_to_ids(words))[:, None]).int().argmax(1)
    cells = torch.stack(maps).mean(0)[torch.arange(len(ids)), :, place]
    return cells.unflatten(1, latents.shape[-2:])


def test_cross_attention_of_the_colours_word_finds_the_object(sd: Any) -> None:
    scene = world.sample(32, 9, sizes=("big",))
    words = [world.COLOURS[i] for i in scene.colour[:, 0].tolist()]
    maps = attention_maps(sd, latents_of(sd, world.render(scene)), world.caption(scene, level=1), words, at=200)
    side = sd.unet.config.sample_size
    truth = F.adaptive_avg_pool2d(world.object_masks(scene)[:, :1].float(), side)[:, 0] > 0.5
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    found = (maps - low) / (high - low) > 0.5
    iou = (found & truth).sum((1, 2)) / (found | truth).sum((1, 2))
    assert float(iou.mean()) >= 0.6


def test_lora_learns_a_creature_and_leaves_the_model_alone(sd: Any) -> None:
    from peft import LoraConfig

    before = [p.clone() for p in sd.unet.parameters()]
    sd.unet.requires_grad_(False)
    sd.unet.add_adapter(LoraConfig(r=4, lora_alpha=4, target_modules=["to_q", "to_k", "to_v"]))
    learned = [p for p in sd.unet.parameters() if p.requires_grad]
    latents = latents_of(sd, photos())
    said = ["a photo of sks thing."] * len(latents)
    first = held_out(lambda step: noise_loss(sd, latents, said, step))
    tune(learned, lambda step: noise_loss(sd, latents, said, step), steps=30, lr=3e-3)
    assert held_out(lambda step: noise_loss(sd, latents, said, step)) < first
    frozen = [p for p in sd.unet.parameters() if not p.requires_grad]
    assert len(frozen) == len(before)
    assert all(torch.equal(one, other) for one, other in zip(before, frozen))


def test_a_new_word_learns_a_creature(sd: Any) -> None:
    sd.tokenizer.add_tokens("<creature>")
    sd.text_encoder.resize_token_embeddings(len(sd.tokenizer), mean_resizing=False)
    table = sd.text_encoder.get_input_embeddings().weight
    new, old = (sd.tokenizer.convert_tokens_to_ids(word) for word in ("<creature>", "thing"))
    for part in (sd.unet, sd.text_encoder):
        part.requires_grad_(False)
    table.data[new] = table.data[old]
    table.requires_grad_(True)
    keep = torch.zeros(len(table), 1)
    keep[new] = 1
    table.register_hook(lambda grad: grad * keep)
    before = table.detach().clone()
    latents = latents_of(sd, photos())
    said = ["a photo of a <creature>."] * len(latents)
    first = held_out(lambda step: noise_loss(sd, latents, said, step))
    tune([table], lambda step: noise_loss(sd, latents, said, step), steps=30, lr=1e-2)
    assert held_out(lambda step: noise_loss(sd, latents, said, step)) < first
    changed = (table.detach() != before).any(1)
    assert changed.nonzero().flatten().tolist() == [new]
