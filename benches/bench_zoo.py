"""Measure the zoo: what a batch costs forward and in a step of fine-tuning, and how much memory it takes at most.

Seconds are processor seconds (a busy machine disturbs little), the best of several runs; beside each stands the ratio
to rendering as many scenes, measured in the same process. Every model runs in a process of its own, so that its peak of
memory is its own. GPU figures are taken where there is a GPU.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from dlcv_lab import world, zoo

BATCH = 16
MODELS = ("clip", "vit", "resnet", "gpt", "llama", "sd", "uncond", "video")


def seconds(work: Callable[[], Any], repeats: int, device: str) -> float:
    """Return the seconds of the fastest of several runs after one to warm up: processor time, wall time on a GPU."""
    clock = time.perf_counter if device == "cuda" else time.process_time
    work()
    best = float("inf")
    for _ in range(repeats):
        began = clock()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, clock() - began)
    return best


def cases(name: str, device: str) -> tuple[torch.nn.Module, Callable[[], torch.Tensor]]:
    """Return the network that is tuned, and a function that gives its loss on one batch."""
    scene = world.sample(BATCH, 0)
    images = (world.render(scene) * 2 - 1).to(device)
    texts = world.caption(scene)
    labels = scene.shape[:, 0].to(device)
    if name in ("vit", "resnet"):
        model, _ = zoo.load(name, device=device)
        return model, lambda: F.cross_entropy(model(images), labels)
    if name == "clip":
        from open_clip.loss import ClipLoss

        model, _, tokenizer = zoo.load(name, device=device)
        words, contrast = tokenizer(texts).to(device), ClipLoss()
        return model, lambda: contrast(*model(images, words))
    if name in ("gpt", "llama"):
        model, tokenizer = zoo.load(name, device=device)
        ids = tokenizer(texts, padding=True, return_tensors="pt").input_ids.to(device)
        return model, lambda: model(input_ids=ids, labels=ids).loss
    return _diffusion(name, images, texts, device)


def _diffusion(
    name: str, images: torch.Tensor, texts: list[str], device: str
) -> tuple[torch.nn.Module, Callable[[], torch.Tensor]]:
    pipe = zoo.load(name, device=device)
    steps = torch.randint(0, 1000, (BATCH,), generator=torch.Generator().manual_seed(0)).to(device)
    if name == "uncond":
        return pipe.unet, lambda: pipe.unet(images, steps).sample.square().mean()
    with torch.no_grad():
        latents = pipe.vae.encode(images).latent_dist.mean * pipe.vae.config.scaling_factor
        cut = pipe.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").to(device)
        states = pipe.text_encoder(cut.input_ids)[0]
    if name == "video":  # one clip of as many frames as the batch of pictures: the same number of latents
        frames = getattr(pipe.motion_adapter.config, "motion_max_seq_length", 8)
        latents = latents[:1, :, None].expand(-1, -1, frames, -1, -1)
        return pipe.unet, lambda: pipe.unet(latents, steps[:1], states[:1]).sample.square().mean()
    return pipe.unet, lambda: pipe.unet(latents, steps, states).sample.square().mean()


def measure(name: str, repeats: int, device: str) -> dict[str, float]:
    """Return forward and step seconds of a batch, the ratio to rendering, and the peak of memory in MB."""
    network, loss = cases(name, device)
    update = torch.optim.AdamW(network.parameters(), lr=1e-5)

    def step() -> None:
        update.zero_grad()
        loss().backward()
        update.step()

    with torch.no_grad():
        forward = seconds(loss, repeats, device)
    network.train()
    tuned = seconds(step, repeats, device)
    scene = world.sample(BATCH, 0)
    drawn = seconds(lambda: world.render(scene), repeats, "cpu")
    on_gpu = device == "cuda"
    peak = (
        torch.cuda.max_memory_allocated() / 1e6 if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    )
    return {
        "forward_s": round(forward, 4),
        "step_s": round(tuned, 4),
        "step_over_render": round(tuned / drawn, 1),
        "peak_mb": round(peak),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    parser.add_argument("--one", nargs=2, metavar=("MODEL", "DEVICE"), help="measure one model in this process")
    options = parser.parse_args()
    repeats = 3 if options.quick else 10
    if options.one:
        print(json.dumps(measure(*options.one[:1], repeats, options.one[1])))
        return
    figures: dict[str, Any] = {"batch": BATCH}
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for device in devices:
        figures[device] = {}
        for name in MODELS:
            quick = ["--quick"] if options.quick else []
            done = subprocess.run(
                [sys.executable, __file__, "--one", name, device, *quick], capture_output=True, text=True
            )
            if done.returncode:
                print(f"{device} {name}: not measured ({(done.stderr.strip().splitlines() or ['no message'])[-1]})")
                continue
            figures[device][name] = json.loads(done.stdout.strip().splitlines()[-1])
            print(f"{device} {name}: {figures[device][name]}", flush=True)
    if "cuda" not in devices:
        figures["cuda"] = "not measured"
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
