"""Move things: short clips in which one object slides, bounces, rotates, grows, orbits or spirals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from . import words
from .grammar import Say, article, noun_phrase
from .parsing import ParseError, Tokens, read_mention
from .rendering import render
from .sampling import choose, generator, sample
from .scene import Scene
from .words import WorldError

DIRECTIONS = ("to the right", "downwards", "to the left", "upwards")
TURNS = ("clockwise", "anticlockwise")
SHRINKS = ("shrinks", "dwindles")
"""What a thing does that grows backwards; like `TURNS`, words of their own: `vocabulary` does not hold them."""


@dataclass(frozen=True)
class Clips:
    """N clips: the scenes at rest (the object in slot 0 moves), `motion` and `direction` int64 [N], `pace` float32 [N].

    `direction` (of `DIRECTIONS`) matters for "slide"; "bounce", "rotate", "orbit" and "spiral" go the other way for odd
    ones. A negative pace runs a clip backwards: what grows then shrinks.
    """

    scene: Scene
    motion: Tensor
    direction: Tensor
    pace: Tensor

    def __len__(self) -> int:
        return len(self.scene)

    def of(self, scene: Scene) -> Clips:
        """Return the same motions carried out by other objects; raises WorldError unless there are as many scenes."""
        if len(scene) != len(self):
            raise WorldError(f"{len(self)} motions cannot be given to {len(scene)} scenes.")
        return replace(self, scene=scene)


def sample_clips(
    n: int,
    seed: torch.Generator | int,
    *,
    motions: Sequence[str] = words.MOTIONS[1:],
    directions: Sequence[str] = DIRECTIONS,
    shrink: bool = False,
    **options: Any,
) -> Clips:
    """Draw n clips of one object; `options` go to `sample` (shapes, colours, backgrounds, ...).

    With `shrink`, half of the things that would grow shrink, so that every motion has directions. Circles and rings
    that rotate are striped, since else nobody would see it. Raises WorldError for an unknown motion.
    """
    gen = generator(seed)
    scene = sample(n, gen, **({"sizes": (0.13, 0.17), "rotation": "upright"} | options))
    motion = choose(words.labels("motion", motions), (n,), gen)
    round_shapes = torch.isin(scene.shape, words.labels("shape", ("circle", "ring")))
    turning = (motion == words.label("motion", "rotate"))[:, None] & round_shapes & (scene.texture == 0)
    scene = scene.replace(texture=torch.where(turning, words.label("texture", "stripes"), scene.texture))
    for word in directions:
        if word not in DIRECTIONS:
            raise WorldError(f"{word!r} is no direction; directions are: {', '.join(DIRECTIONS)}.")
    way = choose(torch.tensor([DIRECTIONS.index(d) for d in directions]), (n,), gen)
    pace = 0.85 + 0.15 * torch.rand(n, generator=gen)
    if shrink:
        backwards = (torch.rand(n, generator=gen) < 0.5) & (motion == words.label("motion", "grow"))
        pace = torch.where(backwards, -pace, pace)
    return Clips(scene, motion, way, pace)


def clip_directions(clips: Clips) -> list[str]:
    """Return each clip's direction in words, "" for one that stands still.

    One of `DIRECTIONS` for slide (and, for bounce, right or left), of `TURNS` for rotate, orbit and spiral; "outwards"
    or "inwards" for what grows or shrinks. Moving backwards (negative pace) counts.
    """
    out = []
    for motion, way, pace in zip(clips.motion.tolist(), clips.direction.tolist(), clips.pace.tolist()):
        name, back = words.MOTIONS[motion], pace < 0
        if name == "slide":
            out.append(DIRECTIONS[(way + 2 * back) % 4])
        elif name == "bounce":
            out.append(DIRECTIONS[2 * ((way % 2 == 1) != back)])
        elif name == "grow":
            out.append("inwards" if back else "outwards")
        else:
            out.append("" if name == "still" else TURNS[(way % 2 == 1) != back])
    return out


def frames(clips: Clips, steps: int = 8) -> Scene:
    """Return every frame as a scene, [N * steps], clip after clip; raises WorldError for fewer than two steps."""
    if steps < 2:
        raise WorldError(f"A clip has at least two frames; got {steps}.")
    n = len(clips)
    index = torch.arange(n).repeat_interleave(steps)
    still = clips.scene[index]
    t = (torch.arange(steps) / (steps - 1)).repeat(n)
    x, y, size, turn = _move(clips, index, t, still)

    def first(column: Tensor, value: Tensor) -> Tensor:
        return torch.cat([value[:, None], column[:, 1:]], 1)

    return still.replace(
        x=first(still.x, x), y=first(still.y, y), size=first(still.size, size), rotation=first(still.rotation, turn)
    )


def _move(clips: Clips, index: Tensor, t: Tensor, still: Scene) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    kind, way, pace = clips.motion[index], clips.direction[index], clips.pace[index]
    t, pace = torch.where(pace < 0, 1 - t, t), pace.abs()
    x, y, size, turn = (getattr(still, name)[:, 0].clone() for name in ("x", "y", "size", "rotation"))
    sign = 1.0 - 2.0 * (way % 2)

    def when(name: str) -> Tensor:
        return kind == words.label("motion", name)

    # moving objects keep to paths around the middle, so that nothing leaves the canvas
    reach = (0.48 - size) * pace
    ahead = (2 * t - 1) * reach
    angle = way * (math.pi / 2)
    drift = (torch.stack([x, y], 1) - 0.5) * 0.5 + 0.5
    slide_x = torch.where(way % 2 == 0, 0.5 + ahead * angle.cos(), drift[:, 0])
    slide_y = torch.where(way % 2 == 1, 0.5 + ahead * angle.sin(), drift[:, 1])
    x, y = torch.where(when("slide"), slide_x, x), torch.where(when("slide"), slide_y, y)
    jump = (2 * math.pi * t).sin().abs()
    x = torch.where(when("bounce"), 0.5 + 0.5 * ahead * sign, x)
    y = torch.where(when("bounce"), 0.98 - size - 0.55 * pace * jump, y)
    turn = torch.where(when("rotate"), turn + sign * 1.6 * math.pi * pace * t, turn)
    size = torch.where(when("grow"), size * (0.7 + 1.3 * pace * t), size)
    middle = when("grow") | when("rotate")
    x, y = torch.where(middle, drift[:, 0], x), torch.where(middle, drift[:, 1], y)
    phase = clips.scene.seed[index] % 628 / 100
    orbit = phase + sign * 2 * math.pi * 0.875 * t
    spiral = phase + sign * 3 * math.pi * t
    for name, turned, radius in (("orbit", orbit, 0.28 + 0 * t), ("spiral", spiral, 0.32 * (1 - 0.9 * t))):
        x = torch.where(when(name), 0.5 + radius * turned.cos(), x)
        y = torch.where(when(name), 0.5 + radius * turned.sin(), y)
    return x, y, size, turn


def render_clips(clips: Clips, size: int = 32, steps: int = 8, device: torch.device | str = "cpu") -> Tensor:
    """Return the clips as images, float32 [N, T, 3, size, size] in [0, 1]."""
    images = render(frames(clips, steps).to(device), size)
    return images.unflatten(0, (len(clips), steps))


def trajectory(clips: Clips, steps: int = 8) -> Tensor:
    """Return the moving object's centre in every frame, float32 [N, T, 2] in canvas widths."""
    scene = frames(clips, steps)
    return torch.stack([scene.x[:, 0], scene.y[:, 0]], -1).unflatten(0, (len(clips), steps))


def centroids(images: Tensor, background: Tensor | None = None) -> Tensor:
    """Return where the picture changes most over a clip: the centroid per frame, float32 [N, T, 2] in canvas widths.

    `images` is [N, T, 3, S, S]. The background is the median over time unless given as [N, 3, S, S]; frames without
    change give 0.5. For clips of a moving object on a still background.
    """
    still = images.median(1).values if background is None else background
    change = (images - still[:, None]).abs().amax(2)
    change = torch.where(change > 0.15, change, 0.0)
    axis = (torch.arange(images.shape[-1]).to(images) + 0.5) / images.shape[-1]
    mass = change.sum((-2, -1))
    x, y = (change.sum(-2) * axis).sum(-1), (change.sum(-1) * axis).sum(-1)
    return torch.where(mass[..., None] > 0, torch.stack([x, y], -1) / mass.clamp(min=1e-6)[..., None], 0.5)


def clip_captions(clips: Clips, seed: torch.Generator | int | None = None, *, directions: bool = False) -> list[str]:
    """Return one caption a clip, e.g. "a red star slides to the right."; the direction of other motions too with
    `directions`, e.g. "a red star orbits anticlockwise."."""
    say = Say(None if seed is None else generator(seed))
    ways = clip_directions(clips)
    out = []
    for plain, motion, pace, way in zip(clips.scene.plain(), clips.motion.tolist(), clips.pace.tolist(), ways):
        name = words.MOTIONS[motion]
        verb = say.pick(SHRINKS if name == "grow" and pace < 0 else words.MOTION_WORDS[name])
        said = name == "slide" or (directions and name not in ("still", "grow"))
        out.append(f"{article(noun_phrase(plain.things[0], say))} {verb}{f' {way}' if said else ''}.")
    return out


def read_clip_caption(text: str) -> dict[str, str | None]:
    """Return what a clip's caption says: "shape", "colour", "motion", "direction"; raises ParseError if unreadable."""
    t = Tokens(text)
    who = read_mention(t)
    verbs = {verb: motion for motion, options in words.MOTION_WORDS.items() for verb in options}
    verbs |= dict.fromkeys(SHRINKS, "grow")
    verb = t.take(verbs)
    if verb is None:
        raise t.fail("a motion")
    where = "inwards" if verb in SHRINKS else t.take((*DIRECTIONS, *TURNS))
    if not t.done:
        raise ParseError(f"Cannot read {text!r} to its end.")
    return {"shape": who.shape, "colour": who.colour, "motion": verbs[verb], "direction": where}
