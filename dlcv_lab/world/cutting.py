"""Cut clips together: videos in which the motion changes at borders that are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from . import words
from .rendering import render
from .sampling import generator
from .scene import Scene, cat
from .video import Clips, clip_captions, clip_directions, frames, sample_clips
from .words import WorldError

SHORTEST = 4
"""Frames a shot has at least: fewer do not show a motion."""


@dataclass(frozen=True)
class Montage:
    """N videos of T frames, each cut together from shots.

    `scene` holds the frames [N * T], video after video. `shot` int64 [N, T] numbers the shots of a video from 0;
    `motion` int64 [N, T] labels every frame; `border` bool [N, T] is true where a new shot begins (never at frame 0).
    `directions` and `captions` say each shot's direction and what happens in it.
    """

    scene: Scene
    shot: Tensor
    motion: Tensor
    border: Tensor
    directions: tuple[tuple[str, ...], ...]
    captions: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.shot)

    def render(self, size: int = 32) -> Tensor:
        """Return the videos, float32 [N, T, 3, size, size] in [0, 1]."""
        return render(self.scene, size).unflatten(0, self.shot.shape)


def montage(
    n: int,
    seed: torch.Generator | int,
    *,
    shots: int = 3,
    steps: int = 24,
    motions: Sequence[str] = words.MOTIONS[1:],
    same_object: bool = True,
    **options: Any,
) -> Montage:
    """Draw n videos of `shots` clips each, cut together at random places.

    Neighbouring shots show different motions. With `same_object` one object moves through the whole video, so that
    only the motion tells the shots apart; without, every shot has an object and a background of its own.

    Raises:
        WorldError: shots of at least four frames do not fit into the steps, or there is one motion for several shots.
    """
    gen = generator(seed)
    if shots < 1 or shots * SHORTEST > steps:
        raise WorldError(f"{shots} shots of at least {SHORTEST} frames do not fit into {steps} frames.")
    if shots > 1 and len(set(motions)) < 2:
        raise WorldError("Neighbouring shots show different motions: allow two at least.")
    length = _lengths(n, shots, steps, gen)
    kinds = _kinds(n, shots, words.labels("motion", motions).unique(), gen)
    clips = sample_clips(n * shots, gen, motions=motions, shrink=True, **options)
    scene = clips.scene
    if same_object:
        scene = scene[torch.arange(n).repeat_interleave(shots) * shots]
        round_shapes = torch.isin(scene.shape, words.labels("shape", ("circle", "ring")))
        scene = scene.replace(texture=torch.where(round_shapes & (scene.texture == 0), 1, scene.texture))
    motion = kinds.flatten()
    grow = motion == words.label("motion", "grow")
    backwards = grow & (clips.direction % 2 == 1)
    clips = Clips(scene, motion, clips.direction, torch.where(backwards, -clips.pace.abs(), clips.pace.abs()))

    parts, order = [], []
    flat = length.flatten()
    first = flat.cumsum(0) - flat  # where each shot begins among all frames: a video's shots fill exactly its frames
    for count in flat.unique().tolist():
        rows = (flat == count).nonzero(as_tuple=True)[0]
        chosen = Clips(scene[rows], motion[rows], clips.direction[rows], clips.pace[rows])
        parts.append(frames(chosen, count))
        order.append((first[rows][:, None] + torch.arange(count)).flatten())
    whole = cat(parts)[torch.cat(order).argsort()] if parts else scene
    shot = torch.repeat_interleave(torch.arange(shots).repeat(n), flat).view(n, steps)
    border = torch.zeros(n, steps, dtype=torch.bool)
    border[:, 1:] = shot[:, 1:] != shot[:, :-1]
    ways, said = clip_directions(clips), clip_captions(clips, directions=True)

    def rows_of(texts: list[str]) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(texts[i * shots : (i + 1) * shots]) for i in range(n))

    return Montage(whole, shot, kinds.gather(1, shot), border, rows_of(ways), rows_of(said))


def _lengths(n: int, shots: int, steps: int, gen: torch.Generator) -> Tensor:
    """Return frames a shot, int64 [N, shots], at least `SHORTEST` each, `steps` in all; all cuts are alike likely."""
    spare = steps - shots * SHORTEST
    bars = (
        torch.stack([torch.randperm(spare + shots - 1, generator=gen)[: shots - 1].sort().values for _ in range(n)])
        if n and shots > 1
        else torch.zeros(n, shots - 1, dtype=torch.int64)
    )
    ends = torch.cat([torch.full((n, 1), -1), bars, torch.full((n, 1), spare + shots - 1)], 1)
    return ends.diff(dim=1) - 1 + SHORTEST


def _kinds(n: int, shots: int, known: Tensor, gen: torch.Generator) -> Tensor:
    """Return motions, int64 [N, shots], neighbours different."""
    at = torch.randint(len(known), (n, shots), generator=gen)
    for k in range(1, shots):
        step = 1 + torch.randint(len(known) - 1, (n,), generator=gen)
        at[:, k] = (at[:, k - 1] + step) % len(known)
    return known[at]
