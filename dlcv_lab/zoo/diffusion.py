"""`sd`: a tiny Stable Diffusion in the library's own format, trained on the world.

`DiffusionPipeline.from_pretrained(folder)` gives a `StableDiffusionPipeline` (AutoencoderKL, UNet2DConditionModel with
cross-attention, CLIPTextModel, word tokenizer, DDIM) that paints 32 x 32 pictures from the world's captions.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dlcv_lab import world

from . import pipelines, text
from .catalogue import CHECKPOINT, Options, Trained
from .latents import pictures, reconstruction_error, train_vae
from .training import Start, averaged, run_steps, start, step_generator, stretches

SEED = 26_100
STEPS = 16000
BATCH = 8
LR = 1e-3
DROP = 0.12
"""Share of captions left empty in training, so that "" is the unconditional prompt."""
HEAVIEST, CLEAREST = 10.0, 5.0
"""Bounds of the weight of the loss at a time; see `weights`."""
GUIDANCE, SAMPLING_STEPS = 4.0, 25
"""With which the figures are measured."""
DATA = (
    "dlcv_lab.world, fresh scenes in every batch: one medium or big object (8 shapes, 8 colours; a third with marks, "
    "some with textures, backgrounds, one of 7 styles), sometimes two or none; captions with synonyms, 12 % left empty"
)
LIMITS = (
    "Two objects come out right half of the time, else they swap colours or merge; no counting beyond two; small "
    "objects, the four novel shapes and faces are unknown; belts, sashes, caps and halves are painted, spots and eyes "
    "are blots; textures are soft; places are followed loosely."
)


def make_unet(text_width: int, channels: int = 4, size: int = 16) -> Any:
    """Return the untrained U-Net: cross-attention at full and at half the latents' size."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=size,
        in_channels=channels,
        out_channels=channels,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        block_out_channels=(32, 64),
        layers_per_block=1,
        cross_attention_dim=text_width,
        attention_head_dim=2,
        norm_num_groups=8,
    )


def make_scheduler() -> Any:
    """Return the DDIM scheduler of `sd`: the settings of Stable Diffusion 1.5, epsilon prediction."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def weights(scheduler: Any) -> Tensor:
    """Return the weight of the loss at each time, float32 [T], mean 1: most where the prompt decides what is painted.

    1 / abar is the weight that velocity prediction gives to an error of the noise; `CLEAREST` bounds the
    signal-to-noise ratio that still counts in full, since nearly clean pictures teach little but cost most.
    """
    from diffusers.training_utils import compute_snr

    times = torch.arange(scheduler.config.num_train_timesteps)
    share = (1 / scheduler.alphas_cumprod).clamp(max=HEAVIEST) * (CLEAREST / compute_snr(scheduler, times)).clamp(max=1)
    return share / share.mean()


def weighted_error(output: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the mean squared error, each example [N, ...] counted with its weight [N]."""
    return (weight * F.mse_loss(output, target, reduction="none").flatten(1).mean(1)).mean()


def make_parts() -> tuple[Any, Any, Any]:
    """Return tokenizer, untrained text encoder and untrained U-Net."""
    torch.manual_seed(SEED)
    tokenizer = text.make_tokenizer()
    encoder = text.make_text_encoder(tokenizer)
    return tokenizer, encoder, make_unet(encoder.config.hidden_size)


def train_unet(
    parts: tuple[Any, Any, Any],
    vae: Any,
    checkpoint: Path,
    from_here: Start,
    options: Options,
) -> tuple[Any, Any, Any, float]:
    """Train U-Net and text encoder together; return tokenizer, encoder, U-Net (averaged weights) and seconds."""
    device = options.device
    tokenizer, encoder, unet = parts
    encoder.to(device).train(), unet.to(device).train()
    scheduler = make_scheduler()
    weight = weights(scheduler).to(device)

    def one_step(step: int) -> Tensor:
        gen = step_generator(from_here.seed, step)
        images, scene = pictures(BATCH, gen, device)
        with torch.no_grad():
            latents = vae.encode(images).latent_dist.mean * vae.config.scaling_factor
        ids = text.encode(tokenizer, text.captions(scene, gen, drop=DROP)).to(device)
        noise = torch.randn(latents.shape, generator=gen).to(device)
        times = (stretches(BATCH, gen) * scheduler.config.num_train_timesteps).long().to(device)
        noisy = scheduler.add_noise(latents, noise, times)
        output = unet(noisy, times, encoder(ids).last_hidden_state).sample
        return weighted_error(output, noise, weight[times])

    modules = {"unet": unet, "text_encoder": encoder}
    learned = [p for module in modules.values() for p in module.parameters()]
    average = averaged(learned)
    seconds = run_steps(
        checkpoint, modules, one_step, options, steps=from_here.steps, lr=from_here.rate, average=average
    )
    average.copy_to(learned)
    return tokenizer, encoder.eval(), unet.eval(), seconds


def train(folder: Path, options: Options) -> Trained:
    """Train the autoencoder, then text encoder and U-Net, and write the pipeline; see `catalogue.Maker`.

    The autoencoder of an earlier `sd` stays, the two others are trained on from there.
    """
    if not options.resume:
        (folder / CHECKPOINT).unlink(missing_ok=True)
    if options.begin is None:
        vae_steps = options.steps and max(1, options.steps // 3)
        vae, vae_seconds = train_vae(folder / f"{CHECKPOINT}.vae", replace(options, steps=vae_steps))
        parts = make_parts()
    else:
        earlier = load(options.begin, device=options.device)
        vae, vae_seconds = earlier.vae.requires_grad_(False), 0.0
        parts = (text.make_tokenizer(), earlier.text_encoder.requires_grad_(), earlier.unet.requires_grad_())
    from_here = start(options, SEED, LR, STEPS, DATA)
    _, encoder, unet, seconds = train_unet(parts, vae, folder / CHECKPOINT, from_here, options)
    pipe = assemble(vae, encoder, text.make_tokenizer(), unet)  # the one in use keeps the padding of its last call
    pipelines.save(pipe, folder)
    counted = sum(pipelines.parameters(pipe).values())
    return Trained(from_here.steps, from_here.seed, vae_seconds + seconds, counted, from_here.data, LIMITS)


def assemble(vae: Any, encoder: Any, tokenizer: Any, unet: Any) -> Any:
    """Return the `StableDiffusionPipeline` made of these parts."""
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def load(folder: Path, *, device: Any = "cpu") -> Any:
    """Return the `StableDiffusionPipeline` in a folder."""
    return pipelines.load(folder, device=device)


def paint(pipe: Any, prompts: list[str], seed: int = 0, guidance: float = GUIDANCE) -> Tensor:
    """Return one picture a prompt in [0, 1], float32 [N, 3, S, S] on the CPU, from noise that depends on the seed."""
    gen = torch.Generator().manual_seed(seed)
    images: Tensor = pipe(
        prompts,
        num_inference_steps=SAMPLING_STEPS,
        guidance_scale=guidance,
        generator=gen,
        output_type="pt",
    ).images
    return images.float().cpu()


def plain_prompts() -> list[str]:
    """Return a prompt for each colour and shape, 64 in all."""
    return [world.grammar.article(f"{colour} {shape}.") for shape in world.SHAPES for colour in world.COLOURS]


def synonym_prompts() -> list[str]:
    """Return prompts that name the same colours and shapes by other words, 64 in all."""
    words = world.words
    return [
        world.grammar.article(f"{words.COLOUR_SYNONYMS[colour][1]} {words.SHAPE_SYNONYMS[shape][1 + (i + j) % 2]}.")
        for i, shape in enumerate(world.SHAPES)
        for j, colour in enumerate(world.COLOURS)
    ]


def styled_prompts() -> tuple[list[str], list[str]]:
    """Return prompts that name a style, by either of its words, and the styles."""
    styles = [style for style in world.STYLES[1:] for _ in range(6)]
    pairs = [(world.COLOURS[i % 8], world.SHAPES[(3 * i + i // 8) % 8]) for i in range(len(styles))]
    said = [world.words.STYLE_SYNONYMS[style][i % 2] for i, style in enumerate(styles)]
    bodies = [world.grammar.article(f"{c} {s} in {word} style.") for (c, s), word in zip(pairs, said)]
    return bodies, styles


def marked_prompts() -> tuple[list[str], list[str]]:
    """Return prompts that give an object an identity mark, and the marks."""
    marks = [mark for mark in world.MARKS[1:] for _ in range(4)]
    solid = [shape for shape in ("circle", "square", "heart", "star")]
    pairs = [(world.COLOURS[i % 8], solid[(i + i // 4) % 4]) for i in range(len(marks))]
    phrase = world.grammar.mark_phrase
    return [world.grammar.article(f"big {c} {s} with {phrase(m)}.") for (c, s), m in zip(pairs, marks)], marks


def measure(folder: Path, *, device: str = "cpu") -> dict[str, float]:
    """Return the figures of the model in the folder; see `catalogue.Maker`.

    Shares of prompts whose shape and colour the reader finds: "prompt obeyed" (guidance 4), "without guidance",
    "synonyms obeyed"; shares in which it reads the named style or mark; "picture error" of the autoencoder.
    """
    pipe = load(folder, device=device)
    prompts = plain_prompts()
    figures = {
        "prompt obeyed": _obeyed(paint(pipe, prompts), prompts),
        "without guidance": _obeyed(paint(pipe, prompts, guidance=1.0), prompts),
        "synonyms obeyed": _obeyed(paint(pipe, synonym_prompts(), seed=1), prompts),
    }
    for name, (texts, wanted) in {"style": styled_prompts(), "mark": marked_prompts()}.items():
        seen = world.read(paint(pipe, texts, seed=2), closely=name == "mark", unsure_below=0.0).labels[name]
        seen = seen[:, 0] if seen.ndim == 2 else seen
        figures[f"{name} obeyed"] = float((seen == world.labels(name, wanted)).float().mean())
    figures["picture error"] = reconstruction_error(pipe.vae)
    return figures


def _obeyed(images: Tensor, prompts: list[str]) -> float:
    return float(world.obeys(images, prompts).float().mean())
