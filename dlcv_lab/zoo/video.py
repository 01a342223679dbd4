"""`video`: `sd` with attention over time, painting clips of 8 frames from prompts such as "a red star orbits."

`DiffusionPipeline.from_pretrained(folder)` gives an `AnimateDiffPipeline` whose `UNetMotionModel` holds the U-Net of
`sd` and small motion modules between its blocks. All were trained together on clips, and the text encoder with them:
`sd` knows no motion words, and motion modules alone never see the prompt.
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
from .catalogue import CHECKPOINT, Options, Trained, find
from .diffusion import DROP, make_scheduler, weights
from .motions import MOTIONS, read_motions
from .training import averaged, run_steps, start, step_generator, stretches

SEED = 26_300
STEPS = 12000
BATCH = 2
FRAMES = 8
LR = 6e-4
SIZES = (0.16, 0.20)
GUIDANCE, SAMPLING_STEPS = 4.0, 25
DATA = "dlcv_lab.world: clips of 8 frames, one plain object, five motions; fresh clips in every batch; begins at sd"
LIMITS = (
    "One plain object on a plain ground; motions slide, bounce, rotate, grow and orbit. In a clip of eight frames one "
    "or two may stand out of the path, above all in bounces and orbits, and turning objects lose their shape."
)


def make_unet(unet: Any, frames: int = FRAMES) -> Any:
    """Return a `UNetMotionModel`: the given U-Net with untrained motion modules, which at first change nothing."""
    from diffusers import MotionAdapter, UNetMotionModel

    config = unet.config
    adapter = MotionAdapter(
        block_out_channels=config.block_out_channels,
        motion_layers_per_block=config.layers_per_block,
        motion_mid_block_layers_per_block=1,
        motion_num_attention_heads=config.attention_head_dim,
        motion_norm_num_groups=config.norm_num_groups,
        motion_max_seq_length=frames,
        use_motion_mid_block=True,
    )
    return UNetMotionModel.from_unet2d(unet, adapter)


def clips(n: int, gen: torch.Generator, motions: tuple[str, ...] = MOTIONS) -> Any:
    """Return n clips of the kind that the model learns."""
    return world.sample_clips(n, gen, motions=motions, sizes=SIZES)


def train(folder: Path, options: Options) -> Trained:
    """Train on from `sd` (the package's unless `options.begin` names another) or from an earlier `video`.

    See `catalogue.Maker`.
    """
    from diffusers import AnimateDiffPipeline, UNetMotionModel

    device = options.device
    torch.manual_seed(SEED)
    pipe = pipelines.load(options.begin or find("sd").folder, device=device)
    moves = isinstance(pipe.unet, UNetMotionModel)
    from_here = start(options if moves else replace(options, begin=None), SEED, LR, STEPS, DATA)
    if not moves:
        pipe.unet = make_unet(pipe.unet).to(device)
    vae, encoder, unet = pipe.vae.requires_grad_(False), pipe.text_encoder, pipe.unet
    scheduler = make_scheduler()
    # a time as often as the loss of `sd` weighs it: the same mean, with less variance, for a batch as small as this
    often = weights(scheduler).double().cumsum(0)

    def one_step(step: int) -> Tensor:
        gen = step_generator(from_here.seed, step)
        moving = clips(BATCH, gen)
        images = world.render_clips(moving, vae.config.sample_size, FRAMES, device) * 2 - 1
        with torch.no_grad():
            latents = vae.encode(images.flatten(0, 1)).latent_dist.mean * vae.config.scaling_factor
        latents = latents.unflatten(0, (BATCH, FRAMES)).transpose(1, 2)
        said = ["" if float(torch.rand((), generator=gen)) < DROP else c for c in world.clip_captions(moving, gen)]
        states = encoder(text.encode(pipe.tokenizer, said).to(device)).last_hidden_state
        noise = torch.randn(latents.shape, generator=gen).to(device)
        times = torch.searchsorted(often, stretches(BATCH, gen).double() * often[-1]).to(device)
        noisy = scheduler.add_noise(latents, noise, times)
        return F.mse_loss(unet(noisy, times, states.repeat_interleave(FRAMES, 0)).sample, noise)

    parts = {"unet": unet.train(), "text_encoder": encoder.train()}
    learned = [p for module in parts.values() for p in module.parameters() if p.requires_grad]
    average = averaged(learned)
    seconds = run_steps(
        folder / CHECKPOINT, parts, one_step, options, steps=from_here.steps, lr=from_here.rate, average=average
    )
    average.copy_to(learned)
    made = AnimateDiffPipeline(
        vae=vae,
        text_encoder=encoder.eval(),
        tokenizer=text.make_tokenizer(),
        unet=unet.eval(),
        motion_adapter=None,
        scheduler=scheduler,
    )
    pipelines.save(made, folder)
    counted = sum(pipelines.parameters(made).values())
    return Trained(from_here.steps, from_here.seed, seconds, counted, from_here.data, LIMITS)


def load(folder: Path, *, device: Any = "cpu") -> Any:
    """Return the `AnimateDiffPipeline` in a folder."""
    return pipelines.load(folder, device=device)


def paint(pipe: Any, prompts: list[str], seed: int = 0, guidance: float = GUIDANCE) -> Tensor:
    """Return one clip a prompt in [0, 1], float32 [N, T, 3, S, S] on the CPU, from noise that depends on the seed."""
    gen = torch.Generator().manual_seed(seed)
    frames: Tensor = pipe(
        prompts,
        num_frames=pipe.unet.config.motion_max_seq_length,
        num_inference_steps=SAMPLING_STEPS,
        guidance_scale=guidance,
        generator=gen,
        output_type="pt",
    ).frames
    return frames.float().cpu()


def prompts(each: int = 6) -> tuple[list[str], list[str]]:
    """Return `each` prompts for every motion, with objects of all kinds, and the motions."""
    gen = torch.Generator().manual_seed(SEED + 1)
    moving = world.cat([clips(each, gen, (motion,)).scene for motion in MOTIONS])
    moved = [motion for motion in MOTIONS for _ in range(each)]
    texts = []
    for i, (plain, motion) in enumerate(zip(moving.plain(), moved)):
        thing = world.grammar.noun_phrase(plain.things[0], world.Say(None))
        where = f" {world.DIRECTIONS[i % 4]}" if motion == "slide" else ""
        texts.append(f"{world.grammar.article(thing)} {world.words.MOTION_WORDS[motion][i % 2]}{where}.")
    return texts, moved


def measure(folder: Path, *, device: str = "cpu") -> dict[str, float]:
    """Return the figures of the model in the folder; see `catalogue.Maker`.

    "motion obeyed": share of 30 clips in which the motion read off is the one that the prompt names; "object obeyed":
    share of their frames that show the prompt's shape and colour; "motion read": how often real clips are read right.
    """
    pipe = load(folder, device=device)
    texts, wanted = prompts()
    frames = paint(pipe, texts)
    moved = read_motions(frames)
    real = clips(100, torch.Generator().manual_seed(SEED + 2))
    names = [world.MOTIONS[i] for i in real.motion.tolist()]
    read = read_motions(world.render_clips(real, frames.shape[-1], frames.shape[1]))
    said = [world.read_clip_caption(line) for line in texts]
    still = [world.grammar.article(f"{who['colour']} {who['shape']}.") for who in said for _ in range(frames.shape[1])]
    return {
        "motion obeyed": _share(moved, wanted),
        "object obeyed": float(world.obeys(frames.flatten(0, 1), still).float().mean()),
        "motion read": _share(read, names),
    }


def _share(said: list[str], wanted: list[str]) -> float:
    return sum(a == b for a, b in zip(said, wanted)) / len(wanted)
