"""Measure the diffusion models of the zoo: painting 36 pictures, 300 steps of fine-tuning, an unconditional batch.

Wall seconds on two threads, with the processor seconds beside them: on a busy machine the wall figure is an upper
bound. Fine-tuning is measured over 60 steps and scaled to 300. GPU figures are taken where there is a GPU.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from dlcv_lab import world, zoo
from dlcv_lab.zoo import diffusion, text, unconditional

THREADS, BATCH, STEPS, MEASURED = 2, 16, 300, 60


def spent(work: Callable[[], Any]) -> dict[str, float]:
    """Return wall and processor seconds of one run."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return {"seconds": round(time.perf_counter() - wall, 2), "cpu_seconds": round(time.process_time() - cpu, 2)}


def fine_tuning(pipe: Any) -> Callable[[int], None]:
    """Return a function that fine-tunes the whole U-Net for a number of steps, latents and text states made before."""
    scene = world.sample(BATCH, 1)
    device = pipe.device
    with torch.no_grad():
        latents = pipe.vae.encode(world.render(scene).to(device) * 2 - 1).latent_dist.mean
        states = pipe.text_encoder(text.encode(pipe.tokenizer, world.caption(scene)).to(device)).last_hidden_state
    latents = latents * pipe.vae.config.scaling_factor
    update = torch.optim.AdamW(pipe.unet.parameters(), lr=1e-5)

    def tune(steps: int) -> None:
        for _ in range(steps):
            noise = torch.randn_like(latents)
            times = torch.randint(pipe.scheduler.config.num_train_timesteps, (BATCH,), device=device)
            noisy = pipe.scheduler.add_noise(latents, noise, times)
            update.zero_grad()
            F.mse_loss(pipe.unet(noisy, times, states).sample, noise).backward()
            update.step()

    return tune


def measure(device: str) -> dict[str, float]:
    """Return the figures of one device."""
    pipe = zoo.load("sd", device=device)
    prompts = diffusion.plain_prompts()[:36]
    diffusion.paint(pipe, prompts[:2])
    figures = {f"36 pictures, {key}": value for key, value in spent(lambda: diffusion.paint(pipe, prompts)).items()}
    uncond = zoo.load("uncond", device=device)
    painted = spent(lambda: unconditional.sample(uncond, 16))
    figures |= {f"16 unconditional pictures, {key}": value for key, value in painted.items()}
    tune = fine_tuning(pipe)
    tune(2)
    tuned = spent(lambda: tune(MEASURED))
    figures |= {f"{STEPS} steps at batch {BATCH}, {key}": value * STEPS / MEASURED for key, value in tuned.items()}
    return {name: round(value, 2) for name, value in figures.items()}


def main() -> None:
    """Print the figures as JSON."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(THREADS)
    figures: dict[str, Any] = {"threads": THREADS, "cpu": measure("cpu")}
    figures["gpu"] = measure("cuda") if torch.cuda.is_available() else "not measured"
    figures["peak_memory_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    for name, value in figures["cpu"].items():
        print(f"{name:44s} {value:8.2f}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
