"""Squeeze pictures of 32 x 32 pixels into latents of 16 x 16 x 4: the autoencoder of `sd` and `video`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dlcv_lab import world

from .catalogue import Options
from .text import sample_scenes
from .training import run_steps, step_generator

SEED = 26_000
STEPS = 1800
BATCH = 16
LR = 2e-3
KL_WEIGHT = 1e-4


def make_vae() -> Any:
    """Return an untrained `AutoencoderKL` that halves height and width."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(16, 32),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=32,
    )


def pictures(n: int, gen: torch.Generator, device: str = "cpu") -> tuple[Tensor, Any]:
    """Return n pictures of the mixture in [-1, 1], float32 [n, 3, 32, 32], and their scenes."""
    scene = sample_scenes(n, gen)
    return world.render(scene.to(device)) * 2 - 1, scene


def train_vae(checkpoint: Path, options: Options) -> tuple[Any, float]:
    """Train the autoencoder on fresh pictures; return it, `scaling_factor` set, and the seconds it took."""
    torch.manual_seed(SEED)
    vae = make_vae().to(options.device)

    def one_step(step: int) -> Tensor:
        gen = step_generator(SEED, step)
        images, _ = pictures(BATCH, gen, options.device)
        posterior = vae.encode(images).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=gen).to(options.device)
        output = vae.decode(posterior.mean + posterior.std * noise).sample
        return F.mse_loss(output, images) + 0.2 * F.l1_loss(output, images) + KL_WEIGHT * _kl(posterior)

    seconds = run_steps(checkpoint, {"vae": vae}, one_step, options, steps=options.steps or STEPS, lr=LR)
    vae.eval().requires_grad_(False)
    centre(vae)
    return vae, seconds


def _kl(posterior: Any) -> Tensor:
    kl: Tensor = posterior.kl().mean() / posterior.mean[0].numel()
    return kl


@torch.no_grad()
def centre(vae: Any, n: int = 256) -> None:
    """Give every latent channel mean 0 and more equal spreads, and set `scaling_factor` so that their mean square is 1.

    A shift and a factor for each channel go into the 1 x 1 convolutions around the latents, so that pictures pass
    through the autoencoder as before. Diffusion starts from noise of mean 0: centred latents lose least to that.
    """
    images, _ = pictures(n, step_generator(SEED, -1), str(vae.device))
    means = vae.encode(images).latent_dist.mean
    middle, spread = means.mean((0, 2, 3)), means.std((0, 2, 3))
    factor = spread.rsqrt()
    channels = len(middle)
    quant, post = vae.quant_conv, vae.post_quant_conv
    post.bias += post.weight[:, :, 0, 0] @ middle
    post.weight /= factor[None, :, None, None]
    quant.bias[:channels] = (quant.bias[:channels] - middle) * factor
    quant.weight[:channels] *= factor[:, None, None, None]
    quant.bias[channels:] += 2 * factor.log()
    means = vae.encode(images).latent_dist.mean
    vae.register_to_config(scaling_factor=round(float(means.square().mean().rsqrt()), 4))


@torch.no_grad()
def reconstruction_error(vae: Any, n: int = 256) -> float:
    """Return the mean squared error of pictures in [0, 1] that went through the autoencoder, on held-out scenes."""
    images, _ = pictures(n, step_generator(SEED, -2), str(vae.device))
    output = vae.decode(vae.encode(images).latent_dist.mean).sample
    return float(F.mse_loss(output.clamp(-1, 1), images)) / 4
