"""Measure the world against decoding images from disk, side by side in one process on one core.

Every figure is scenes or images per CPU-second (processor time, so that a busy machine disturbs little), and the ratio
to torchvision's `ImageFolder` reading as many PNG files of the same size. GPU figures are taken where there is a GPU.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torchvision.datasets import ImageFolder
from torchvision.transforms.functional import to_tensor
from torchvision.utils import save_image

from dlcv_lab import world


def rate(work: Callable[[], Any], items: int, repeats: int) -> float:
    """Return items per CPU-second, the best of several runs after one to warm up."""
    work()
    best = float("inf")
    for _ in range(repeats):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return items / best


def folder_rate(images: torch.Tensor, repeats: int) -> float:
    """Return how many PNG files a CPU-second torchvision's ImageFolder decodes to tensors."""
    with tempfile.TemporaryDirectory() as root:
        (Path(root) / "one").mkdir()
        for i, image in enumerate(images):
            save_image(image, Path(root) / "one" / f"{i:05d}.png")
        data = ImageFolder(root, transform=to_tensor)
        return rate(lambda: [data[i][0] for i in range(len(data))], len(images), repeats)


def gpu_rate(n: int) -> float | None:
    """Return scenes rendered per second on a GPU, or None where there is none."""
    if not torch.cuda.is_available():
        return None
    scene = world.sample(n, 0).to("cuda")
    world.render(scene)
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(5):
        world.render(scene)
    torch.cuda.synchronize()
    return 5 * n / (time.perf_counter() - began)


def main() -> None:
    """Print a table, then all figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    n, few, repeats = args.scenes, max(16, args.scenes // 8), args.repeats
    one, four = world.sample(n, 0), world.sample(few, 0, objects=4)
    rich = {"textures": world.TEXTURES, "marks": world.MARKS, "backgrounds": world.BACKGROUNDS, "styles": world.STYLES}
    mixed = world.sample(few, 0, objects=(1, 4), **rich)
    sounds = world.sample_sounds(one[:few], 0)
    figures: dict[str, float | None] = {
        "1 object, 32x32, rendered": rate(lambda: world.render(one), n, repeats),
        "1 object, 32x32, sampled and rendered": rate(lambda: world.render(world.sample(n, 0)), n, repeats),
        "4 objects, 64x64, rendered": rate(lambda: world.render(four, 64), few, repeats),
        "1 to 4 objects, all looks, 32x32, rendered": rate(lambda: world.render(mixed), few, repeats),
        "1 object, 32x32, rendered and captioned": rate(
            lambda: (world.render(one[:few]), world.caption(one[:few], 2, 0)), few, repeats
        ),
        "1 object, 32x32, rendered and sounding (1 s)": rate(
            lambda: (world.render(one[:few]), world.waveform(sounds, 0)), few, repeats
        ),
        "questions with controlled prior": rate(lambda: world.ask(few, 0), few, repeats),
        "read back (reader), 32x32": rate(lambda: world.read(world.render(one[:few])), few, repeats),
        "ImageFolder, PNG 32x32": folder_rate(world.render(one[:few]), repeats),
        "ImageFolder, PNG 64x64": folder_rate(world.render(four, 64), repeats),
    }
    small, large = figures["ImageFolder, PNG 32x32"], figures["ImageFolder, PNG 64x64"]
    assert small is not None
    assert large is not None
    ratios = {
        name: round(value / (large if "64x64" in name else small), 2)
        for name, value in figures.items()
        if value is not None and "ImageFolder" not in name
    }
    gpu = gpu_rate(1 << 16)
    for name, value in figures.items():
        print(f"{name:46s} {value:10.0f} /CPU-s   {ratios.get(name, 1):6.2f} x ImageFolder")
    print(f"{'1 object, 32x32, GPU':46s} {'not measured' if gpu is None else f'{gpu:10.0f} /s'}")
    print(
        json.dumps(
            {
                "per_cpu_second": {name: round(value, 1) for name, value in figures.items() if value is not None},
                "ratio_to_image_folder": ratios,
                "gpu_scenes_per_second": None if gpu is None else round(gpu),
                "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
                "torch": torch.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
