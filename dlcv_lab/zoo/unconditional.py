"""`uncond`: a tiny DDPM that paints 32 x 32 pictures of one object in pixel space, without a prompt.

`DiffusionPipeline.from_pretrained(folder)` gives a `DDPMPipeline` (UNet2DModel, DDPMScheduler): the prior of the
restoration methods.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dlcv_lab import world

from . import pipelines
from .catalogue import CHECKPOINT, Options, Trained
from .training import averaged, run_steps, start, step_generator, stretches

SEED = 26_200
STEPS = 12000
BATCH = 8
LR = 1e-3
PREVIEW_STEPS = 50
DATA = "dlcv_lab.world: one plain object of 8 shapes and 8 colours on a plain ground; fresh scenes in every batch"
LIMITS = (
    "One object, no textures, marks or styles. Colours are greyish and run into each other, and a quarter of the "
    "samples are no clear shape."
)


def make_unet(size: int = 32) -> Any:
    """Return the untrained U-Net: no attention but at the smallest size."""
    from diffusers import UNet2DModel

    return UNet2DModel(
        sample_size=size,
        in_channels=3,
        out_channels=3,
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        attention_head_dim=16,
        norm_num_groups=8,
    )


def make_scheduler() -> Any:
    """Return the DDPM scheduler: linear betas, epsilon prediction, pictures kept in [-1, 1]."""
    from diffusers import DDPMScheduler

    return DDPMScheduler(beta_schedule="linear", clip_sample=True)


def pictures(n: int, gen: torch.Generator, device: str = "cpu") -> Tensor:
    """Return n pictures of one object each in [-1, 1], float32 [n, 3, 32, 32]."""
    scene = world.sample(n, gen, sizes=("medium", "big", "big"), rotation="tilt")
    return world.render(scene.to(device)) * 2 - 1


def train(folder: Path, options: Options) -> Trained:
    """Train the model and write it into the folder; see `catalogue.Maker`."""
    from diffusers import DDPMPipeline

    torch.manual_seed(SEED)
    device, scheduler = options.device, make_scheduler()
    unet = (load(options.begin).unet.requires_grad_() if options.begin else make_unet()).to(device).train()
    from_here = start(options, SEED, LR, STEPS, DATA)

    def one_step(step: int) -> Tensor:
        gen = step_generator(from_here.seed, step)
        images = pictures(BATCH, gen, device)
        noise = torch.randn(images.shape, generator=gen).to(device)
        times = (stretches(BATCH, gen) * scheduler.config.num_train_timesteps).long().to(device)
        output = unet(scheduler.add_noise(images, noise, times), times).sample
        return F.mse_loss(output, noise)

    learned = list(unet.parameters())
    average = averaged(learned)
    seconds = run_steps(
        folder / CHECKPOINT, {"unet": unet}, one_step, options,
        steps=from_here.steps, lr=from_here.rate, average=average,
    )  # fmt: skip
    average.copy_to(learned)
    pipelines.save(DDPMPipeline(unet=unet.eval(), scheduler=scheduler), folder)
    return Trained(from_here.steps, from_here.seed, seconds, sum(p.numel() for p in learned), from_here.data, LIMITS)


@torch.no_grad()
def sample(pipe: Any, n: int, seed: int = 0, steps: int = PREVIEW_STEPS) -> Tensor:
    """Return n samples in [0, 1], float32 [n, 3, S, S], by DDIM in fewer steps than the pipeline's own DDPM."""
    from diffusers import DDIMPipeline, DDIMScheduler

    quick: Any = DDIMPipeline(pipe.unet, DDIMScheduler.from_config(pipe.scheduler.config))
    quick.set_progress_bar_config(disable=True)
    gen = torch.Generator().manual_seed(seed)
    images = quick(batch_size=n, generator=gen, num_inference_steps=steps, output_type="np").images
    return torch.from_numpy(images).permute(0, 3, 1, 2).to(pipe.device)


def measure(folder: Path, *, device: str = "cpu") -> dict[str, float]:
    """Return the figures of the model in the folder; see `catalogue.Maker`.

    "one object": share of 64 samples in which the reader finds exactly one object and is sure of its shape and colour;
    "noise error": mean squared error of the predicted noise on held-out pictures.
    """
    pipe = load(folder, device=device)
    seen = world.read(sample(pipe, 64).cpu())
    sure = (seen.labels["shape"][:, 0] >= 0) & (seen.labels["colour"][:, 0] >= 0)
    clear = (seen.found.sum(1) == 1) & sure
    gen = step_generator(SEED, 10**6)
    images = pictures(256, gen, device)
    noise = torch.randn(images.shape, generator=gen).to(device)
    times = torch.randint(pipe.scheduler.config.num_train_timesteps, (256,), generator=gen).to(device)
    with torch.no_grad():
        output = pipe.unet(pipe.scheduler.add_noise(images, noise, times), times).sample
    return {"one object": float(clear.float().mean()), "noise error": float(F.mse_loss(output, noise))}


def load(folder: Path, *, device: Any = "cpu") -> Any:
    """Return the `DDPMPipeline` in a folder."""
    return pipelines.load(folder, device=device)
