"""Train the reader on the world and write its weights, card and calibration table.

Run `python -m dlcv_lab.world.train_reader`: about 8 minutes on one CPU core, the same bytes on the same machine
and torch version. `--calibrate` measures the table again without training.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dlcv_lab.files import write_whole

from . import words
from .faces import render_faces, sample_faces
from .presets import degrade, textured_sheets
from .reader import GRID, OBJECT_HEADS, SCENE_HEADS, WEIGHTS, ReaderNet, interpret
from .rendering import render
from .sampling import sample
from .scene import Scene, cat

TRAIN_SEED, HELD_OUT_SEED = 20_000, 77


def batch(n: int, gen: torch.Generator) -> tuple[Tensor, Scene]:
    """Draw a training batch: images float32 [n, 3, 32, 32], half of them damaged, and the truth."""
    half = n // 2
    plain: dict[str, Any] = {
        "shapes": (*words.SHAPES, *words.SHAPES, *words.NOVEL_SHAPES),
        "backgrounds": ("plain", *words.BACKGROUNDS),
    }
    varied = plain | {
        "textures": ("plain", *words.TEXTURES),
        "marks": ("none",) * 5 + words.MARKS[1:],
        "styles": ("flat",) * 4 + words.STYLES[1:],
    }
    parts = [
        sample(half, gen, sizes=words.SIZES, rotation="free", **plain),
        sample(n // 4, gen, rotation="tilt", sizes=(0.16, 0.40), **varied),
        sample(n - half - n // 4, gen, objects=(0, 4), rotation="tilt", overlap=0.15, **varied),
    ]
    scene = cat(parts)
    shade = (torch.rand(scene.shape.shape, generator=gen) * 2 - 1) * 0.3
    scene = scene.replace(shade=shade)
    return damage(render(scene), gen), scene


def damage(images: Tensor, gen: torch.Generator) -> Tensor:
    """Return images of which about half carry noise, blur, low resolution or another exposure."""
    kind = torch.randint(8, (len(images),), generator=gen)
    out = images.clone()
    level = torch.rand(len(images), 1, 1, 1, generator=gen)
    noisy = images + 0.18 * level * torch.randn(images.shape, generator=gen)
    gain = 1 + 0.25 * (2 * torch.rand(len(images), 3, 1, 1, generator=gen) - 1) * level
    half = F.interpolate(F.interpolate(images, scale_factor=0.5, mode="area"), scale_factor=2, mode="bilinear")
    for label, changed in ((0, noisy), (1, degrade(images, "blur")), (2, images * gain), (3, half)):
        out = torch.where((kind == label)[:, None, None, None], changed, out)
    return out.clamp(0, 1)


def loss_of(grid: Tensor, scene_logits: Tensor, scene: Scene) -> Tensor:
    """Return the sum of the losses of objectness (focal), place, size and all attributes."""
    n = len(scene)
    i, k = scene.present.nonzero(as_tuple=True)
    x, y = scene.x[i, k] * GRID, scene.y[i, k] * GRID
    column, row = x.long().clamp(0, GRID - 1), y.long().clamp(0, GRID - 1)
    yy, xx = torch.meshgrid(torch.arange(GRID) + 0.5, torch.arange(GRID) + 0.5, indexing="ij")
    far = (xx[None, None] - (scene.x * GRID)[..., None, None]).square()
    far = far + (yy[None, None] - (scene.y * GRID)[..., None, None]).square()
    heat = (torch.exp(-far / 1.6) * scene.present[..., None, None]).amax(1)
    target = torch.zeros(n, GRID, GRID)
    target[i, row, column] = 1
    logit = grid[:, 0]
    share = logit.sigmoid()
    positive = target * (1 - share).square() * F.softplus(-logit)
    negative = (1 - target) * (1 - heat).pow(4) * share.square() * F.softplus(logit)
    total = (positive.sum() + negative.sum()) / max(1, len(i))
    picked = grid[i, :, row, column]
    place = (picked[:, 1].tanh() - (x - column - 0.5)).abs() + (picked[:, 2].tanh() - (y - row - 0.5)).abs()
    size = (picked[:, 3].sigmoid() * 0.5 - scene.size[i, k]).abs() * 8
    total = total + (place + size).mean()
    start = 4
    for kind, width in OBJECT_HEADS.items():
        weight = 0.5 if kind in ("texture", "mark") else 1.0
        total = total + weight * F.cross_entropy(picked[:, start : start + width], getattr(scene, kind)[i, k])
        start += width
    start = 0
    for kind, width in SCENE_HEADS.items():
        # a drawing style hides the kind of background, and some its colour
        keep = scene.style == 0 if kind != "style" else torch.ones_like(scene.style, dtype=torch.bool)
        each = F.cross_entropy(scene_logits[:, start : start + width], getattr(scene, kind), reduction="none")
        total = total + 0.3 * (each * keep).mean()
        start += width
    return total


def junk(n: int, gen: torch.Generator) -> Tensor:
    """Return pictures without any object of the world: noise, faces, textured sheets."""
    third = n // 3
    parts = [torch.rand(n - 2 * third, 3, 32, 32, generator=gen)]
    if third:
        parts += [render_faces(sample_faces(third, gen)), textured_sheets(third, gen)]
    return torch.cat(parts)


def train(steps: int, size: int = 64, rate: float = 3e-3) -> ReaderNet:
    """Return a reader trained for `steps` batches of `size` fresh scenes."""
    torch.manual_seed(TRAIN_SEED)
    gen = torch.Generator().manual_seed(TRAIN_SEED)
    net = ReaderNet().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=steps, pct_start=0.15)
    began = time.process_time()
    for step in range(steps):
        images, scene = batch(size - 3, gen)
        images = torch.cat([images, junk(3, gen)])
        grid, logits = net(images.contiguous(memory_format=torch.channels_last))
        empty = grid[size - 3 :, 0]
        loss = loss_of(grid[: size - 3], logits[: size - 3], scene)
        loss = loss + 0.1 * (empty.sigmoid().square() * F.softplus(empty)).sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            seconds = time.process_time() - began
            print(f"step {step + 1:5d}  loss {loss.item():.3f}  {seconds:.0f} CPU-s", flush=True)
    return net.eval()


def conditions(n: int) -> dict[str, tuple[Tensor, Scene]]:
    """Return the held-out sets of the calibration table: images and truth by name."""
    clean = sample(n, HELD_OUT_SEED)
    free = sample(n, HELD_OUT_SEED + 1, rotation="free", backgrounds=words.BACKGROUNDS, shapes=words.ALL_SHAPES)
    marked = sample(
        n,
        HELD_OUT_SEED + 2,
        marks=words.MARKS,
        textures=words.TEXTURES,
        sizes=("medium", "big"),
        shapes=words.SOLID_SHAPES,
    )
    images = render(clean)
    table = {
        "clean": (images, clean),
        "any rotation, background, shape": (render(free), free),
        "textures and marks": (render(marked), marked),
        "four objects": (render(four := sample(n, HELD_OUT_SEED + 3, objects=4)), four),
        "four objects, 64 x 64": (render(four, 64), four),
        "noise 0.1": (degrade(images, "noise", HELD_OUT_SEED, 0.1), clean),
        "noise 0.2": (degrade(images, "noise", HELD_OUT_SEED, 0.2), clean),
        "blur": (degrade(images, "blur"), clean),
        "4 times smaller": (degrade(images, "small"), clean),
    }
    for style in words.STYLES[1:]:
        styled = clean.replace(style=style)
        table[f"style {style}"] = (render(styled), styled)
    return table


def match(readout: Any, scene: Scene) -> Tensor:
    """Return for each found object the slot of the nearest true object, int64 [N, 4]; -1 where none is within 0.12."""
    gap = (readout.x[:, :, None] - scene.x[:, None]).square() + (readout.y[:, :, None] - scene.y[:, None]).square()
    gap = gap.masked_fill(~scene.present[:, None], torch.inf)
    near, slot = gap.min(2)
    return torch.where(readout.found & (near < 0.12**2), slot, -1)


def score(readout: Any, scene: Scene) -> dict[str, float]:
    """Return the figures of one row: accuracy of what was answered, share unsure, and the count's accuracy.

    Every attribute is scored over all true objects; an object that was not found counts as unsure.
    """
    slot = match(readout, scene)
    i, j = (slot >= 0).nonzero(as_tuple=True)
    k = slot[i, j]
    total = int(scene.present.sum())
    out = {"count": float((readout.count == scene.count).float().mean()), "found": len(i) / max(1, total)}
    for kind in OBJECT_HEADS:
        said, true = readout.labels[kind][i, j], getattr(scene, kind)[i, k]
        sure = said >= 0
        out[kind] = float((said == true)[sure].float().mean()) if bool(sure.any()) else 0.0
        out[f"{kind} unsure"] = 1 - int(sure.sum()) / max(1, total)
    for kind in SCENE_HEADS:
        said = readout.labels[kind]
        sure = said >= 0
        out[kind] = float((said == getattr(scene, kind))[sure].float().mean()) if bool(sure.any()) else 0.0
        out[f"{kind} unsure"] = 1 - float(sure.float().mean())
    place = ((readout.x[i, j] - scene.x[i, k]).square() + (readout.y[i, j] - scene.y[i, k]).square()).sqrt()
    out["place error"] = float(place.mean()) if len(i) else 1.0
    return out


def fit_temperatures(net: ReaderNet) -> dict[str, float]:
    """Return the temperature of every head that makes its confidence on held-out scenes most likely."""
    gen = torch.Generator().manual_seed(HELD_OUT_SEED + 9)
    images, scene = batch(1024, gen)
    with torch.no_grad():
        grid, logits = net(images)
    i, k = scene.present.nonzero(as_tuple=True)
    row, column = (scene.y[i, k] * GRID).long().clamp(0, GRID - 1), (scene.x[i, k] * GRID).long().clamp(0, GRID - 1)
    picked = grid[i, :, row, column]
    out, start = {}, 4
    grid_of = torch.linspace(0.5, 3.0, 51)
    heads = [(kind, picked, getattr(scene, kind)[i, k], width) for kind, width in OBJECT_HEADS.items()]
    heads += [(kind, logits, getattr(scene, kind), width) for kind, width in SCENE_HEADS.items()]
    for kind, values, truth, width in heads:
        if kind == "style":
            start = 0
        part = values[:, start : start + width]
        if kind in ("background", "ground"):
            part, truth = part[scene.style == 0], truth[scene.style == 0]
        start += width
        losses = torch.stack([F.cross_entropy(part / t, truth) for t in grid_of])
        out[kind] = round(float(grid_of[losses.argmin()]), 2)
    return out


def calibrate(net: ReaderNet, temperature: dict[str, float], n: int = 2000) -> dict[str, dict[str, float]]:
    """Return the calibration table: figures by condition, on n held-out scenes each (400 where it reads closely)."""
    table = {}
    for name, (images, scene) in conditions(n).items():
        table[name] = score(interpret(net, images, temperature), scene)
    marked = conditions(400)["textures and marks"]
    for name, images in (("", marked[0]), (", blur", degrade(marked[0], "blur"))):
        readout = interpret(net, images, temperature, closely=True)
        table[f"textures and marks, read closely{name}"] = score(readout, marked[1])
    return {name: {key: round(value, 4) for key, value in row.items()} for name, row in table.items()}


def main() -> None:
    """Train (unless `--calibrate`), measure, and write weights and card, each file whole or not at all."""
    from safetensors.torch import load_file, save

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--calibrate", action="store_true", help="measure the present weights again")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    path, card_path, began = args.out / "reader.safetensors", args.out / "reader.json", time.process_time()
    if args.calibrate:
        net = ReaderNet()
        net.load_state_dict(load_file(path))
        net.eval()
        past = json.loads(card_path.read_text(encoding="utf-8"))
        trained = {key: past[key] for key in ("steps", "torch", "cpu_seconds")}
    else:
        net = train(args.steps)
        state = {name: value.contiguous() for name, value in net.state_dict().items()}
        write_whole(path, save(state))
        seconds = round(time.process_time() - began)
        trained = {"steps": args.steps, "torch": torch.__version__, "cpu_seconds": seconds}
    temperature = fit_temperatures(net)
    card: dict[str, Any] = {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "parameters": sum(p.numel() for p in net.parameters()),
        **trained,
        "seed": TRAIN_SEED,
        "licence": "MIT",
        "data": "dlcv_lab.world, fresh scenes in every batch",
        "temperature": temperature,
        "calibration": calibrate(net, temperature),
    }
    write_whole(card_path, (json.dumps(card, indent=1) + "\n").encode())
    for name, row in card["calibration"].items():
        print(f"{name:32s} shape {row['shape']:.4f} (unsure {row['shape unsure']:.3f})  colour {row['colour']:.4f}")


if __name__ == "__main__":
    main()
