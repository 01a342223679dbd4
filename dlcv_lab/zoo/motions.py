"""Read which motion a clip shows, from where the reader finds the object in each frame."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from dlcv_lab import world

MOTIONS = ("slide", "bounce", "rotate", "grow", "orbit")
_EXAMPLES = 40
_NEIGHBOURS = 5


def read_motions(frames: Tensor, motions: tuple[str, ...] = MOTIONS) -> list[str]:
    """Return the motion of each clip, float32 [N, T, 3, S, S] in [0, 1], by its nearest neighbours among real clips."""
    known, labels = _examples(frames.shape[1], frames.shape[-1], motions)
    near = torch.cdist(features(frames), known).topk(_NEIGHBOURS, largest=False).indices
    return [motions[i] for i in labels[near].mode(1).values.tolist()]


def features(frames: Tensor) -> Tensor:
    """Return the path, the growth and the turning of the largest object in each clip, float32 [N, 3 T + 1]."""
    n, steps = frames.shape[:2]
    seen = world.read(frames.flatten(0, 1), unsure_below=0.0)
    size = torch.where(seen.found, seen.size, 0.0)
    first = size.argmax(1, keepdim=True)
    x, y, size = (v.gather(1, first).view(n, steps) for v in (seen.x, seen.y, size.clamp(min=0.02)))
    grown = size.log() - size.log().mean(1, keepdim=True)
    path = torch.cat([x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)], 1)
    change = (frames[:, 1:] - frames[:, :-1]).abs().mean((1, 2, 3, 4))[:, None]
    return torch.cat([path, 0.5 * grown, 4 * change], 1)


@functools.lru_cache(maxsize=4)
def _examples(steps: int, size: int, motions: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    gen = torch.Generator().manual_seed(26_310)
    kinds = []
    for motion in motions:
        moving = world.sample_clips(_EXAMPLES, gen, motions=(motion,), sizes=(0.15, 0.20))
        kinds.append(features(world.render_clips(moving, size, steps)))
    return torch.cat(kinds), torch.arange(len(motions)).repeat_interleave(_EXAMPLES)
