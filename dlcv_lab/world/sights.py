"""Put faces and labels among the objects of a scene: what a model must see that is asked about all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from . import words
from .affect import affect_instructions
from .faces import SKINS, Faces, render_faces, sample_faces
from .glyphs import GLYPHS, HEIGHT, WIDTH, write
from .grammar import Say, article
from .rendering import render
from .sampling import generator, sample
from .scene import Scene
from .talking import INSTRUCTION_KINDS
from .truth import object_masks
from .words import WorldError

SIGHT_KINDS = (*words.ALL_SHAPES, *words.EMOTIONS, *GLYPHS)
"""What can be seen at a place: twelve shapes, faces of eight emotions, 22 glyphs."""
SIGHT_COLOURS = (*words.COLOURS, "white")
"""The eight colours, and the white of labels and of one skin."""
_FACES, _LABELS = len(words.ALL_SHAPES), len(words.ALL_SHAPES) + len(words.EMOTIONS)


@dataclass(frozen=True)
class Sights:
    """N scenes in which at most one object is a face and at most one a label with a glyph.

    `kind` and `colour` int64 [N, K] index `SIGHT_KINDS` and `SIGHT_COLOURS`, -1 where nothing is. `scene` holds the
    objects of the world; a slot of a face or a label is empty in it, but keeps its place and radius. `face` int64 [N]
    is the slot of the face or -1, `faces` are the faces of the scenes that have one, in order.
    """

    scene: Scene
    kind: Tensor
    colour: Tensor
    face: Tensor
    faces: Faces

    def __len__(self) -> int:
        return len(self.scene)

    @property
    def present(self) -> Tensor:
        """Return where something is, bool [N, K]."""
        return self.kind >= 0

    @property
    def count(self) -> Tensor:
        """Return the number of things in each picture, int64 [N]."""
        return self.present.sum(1)

    def names(self) -> list[list[str]]:
        """Return a noun phrase for each thing: "red star", "yellow face full of awe", "label that says 7"."""
        return [[_name(k, c) for k, c in zip(*row) if k >= 0] for row in zip(self.kind.tolist(), self.colour.tolist())]

    def captions(self) -> list[str]:
        """Return e.g. "a red star and a label that says 7 on a grey background."."""
        things = [" and ".join(map(article, row)) for row in self.names()]
        grounds = [article(words.GROUNDS[ground]) for ground in self.scene.ground.tolist()]
        return [f"{said} on {ground} background." for said, ground in zip(things, grounds)]


def _name(kind: int, colour: int) -> str:
    if kind >= _LABELS:
        return f"label that says {SIGHT_KINDS[kind]}"
    if kind >= _FACES:
        return f"{SIGHT_COLOURS[colour]} face full of {SIGHT_KINDS[kind]}"
    return f"{SIGHT_COLOURS[colour]} {SIGHT_KINDS[kind]}"


def sample_sights(
    n: int, seed: torch.Generator | int, *, faces: float = 0.5, labels: float = 0.5, **options: Any
) -> Sights:
    """Draw n scenes; a share `faces` has a face, and a share `labels` a label, in the place of an object.

    Scenes of one object get one of the two at most. `options` go to `sample`; the scenes need an object at least, and
    objects that do not overlap.

    Raises:
        WorldError: for a share outside 0 to 1, or scenes that may be empty or overlap.
    """
    if not (0 <= faces <= 1 and 0 <= labels <= 1):
        raise WorldError("Shares of faces and labels lie between 0 and 1.")
    if options.get("overlap"):
        raise WorldError("Faces and labels need scenes whose objects lie apart: overlap=0.")
    gen = generator(seed)
    scene = sample(n, gen, **options)
    count = scene.count
    if n and int(count.min()) < 1:
        raise WorldError("Faces and labels stand in the place of objects: scenes need at least one.")
    luck = torch.rand(2, n, generator=gen)
    slot = (torch.rand(n, generator=gen) * count).long()
    other = (slot + 1 + (torch.rand(n, generator=gen) * (count - 1)).long()) % count.clamp(min=1)
    has_face = luck[0] < faces
    has_label = (luck[1] < labels) & ((count > 1) | ~has_face)
    label = torch.where(count > 1, other, slot)
    drawn = sample_faces(n, gen, skins=SKINS, glasses=0.3)
    glyph = torch.randint(len(GLYPHS), (n,), generator=gen)

    each = torch.arange(n)
    kind = torch.where(scene.present, scene.shape, -1)
    colour = torch.where(scene.present, scene.colour, -1)
    skin = torch.tensor([SIGHT_COLOURS.index(name) for name in SKINS])[drawn.skin]
    kind[each[has_face], slot[has_face]] = _FACES + drawn.emotion[has_face]
    colour[each[has_face], slot[has_face]] = skin[has_face]
    kind[each[has_label], label[has_label]] = _LABELS + glyph[has_label]
    colour[each[has_label], label[has_label]] = SIGHT_COLOURS.index("white")
    placed = drawn.replace(x=scene.x[each, slot], y=scene.y[each, slot], size=scene.size[each, slot])
    return Sights(
        scene=scene.replace(present=scene.present & (kind < _FACES)),
        kind=kind,
        colour=colour,
        face=torch.where(has_face, slot, -1),
        faces=placed[has_face],
    )


def sight_instructions(
    sights: Sights, seed: torch.Generator | int, kinds: Sequence[str] = INSTRUCTION_KINDS
) -> list[list[dict[str, str]]]:
    """Return emotion instructions for the pictures that have a face, in order: {"kind", "question", "answer"} each.

    "categorical" is EmoVIT's fixed form. "conversation" asks what only a look at face or neighbours tells: the emotion,
    the skin, what stands beside the face, how many things there are. "detail" wants all of it. "reasoning" asks for
    what happened before or what to do now, and neither question nor answer names the emotion.

    Raises:
        WorldError: for an unknown kind.
    """
    gen = generator(seed)
    say = Say(gen)
    told = affect_instructions(sights.faces, gen, kinds)
    rows = (sights.face >= 0).nonzero(as_tuple=True)[0].tolist()
    captions = sights.captions()
    for each, row in zip(told, rows):
        kind, colour = sights.kind[row].tolist(), sights.colour[row].tolist()
        slot = int(sights.face[row])
        others = [_name(k, c) for i, (k, c) in enumerate(zip(kind, colour)) if k >= 0 and i != slot]
        for turn in each:
            if turn["kind"] == "detail":
                turn["answer"] = captions[row]
            elif turn["kind"] == "conversation":
                turn["question"], turn["answer"] = say.pick(
                    (
                        ("which emotion does the face show?", f"{SIGHT_KINDS[kind[slot]]}."),
                        ("what colour is the face?", f"{SIGHT_COLOURS[colour[slot]]}."),
                        ("what else is in the picture?", f"{' and '.join(map(article, others)) or 'nothing'}."),
                        ("how many things are in the picture?", f"{words.NUMBERS[len(others) + 1]}."),
                    )
                )
    return told


def _place(sights: Sights, row: int, slot: int, size: int) -> tuple[int, int, int, int, int]:
    """Return a label's left, top, width and height in pixels, and its scale: about as high as the object's circle."""
    x, y, r = (float(getattr(sights.scene, name)[row, slot]) * size for name in ("x", "y", "size"))
    scale = max(1, int(2 * r / (HEIGHT + 2)))
    wide, high = WIDTH * scale + 2, HEIGHT * scale + 2
    left, top = (round(min(max(at - side / 2, 0), size - side)) for at, side in ((x, wide), (y, high)))
    return left, top, wide, high, scale


def render_sights(sights: Sights, size: int = 64) -> Tensor:
    """Return the pictures, float32 [N, 3, size, size] in [0, 1]."""
    images = render(sights.scene, size)
    rows = (sights.face >= 0).nonzero(as_tuple=True)[0]
    if len(rows):
        images[rows] = render_faces(sights.faces, size, images[rows])
    for row, slot in (sights.kind >= _LABELS).nonzero().tolist():
        x, y, _, _, scale = _place(sights, row, slot, size)
        images[row] = write(images[row], SIGHT_KINDS[int(sights.kind[row, slot])], x, y, scale)
    return images


def sight_masks(sights: Sights, size: int = 64) -> Tensor:
    """Return one mask a thing, bool [N, K, size, size]: an object's pixels, a face's disc, a label's rectangle.

    A label's corners may lie on a neighbour; these pixels are the label's.
    """
    masks = object_masks(sights.scene, size)
    axis = (torch.arange(size) + 0.5) / size
    for i, row in enumerate((sights.face >= 0).nonzero(as_tuple=True)[0].tolist()):
        dx, dy = axis[None] - sights.faces.x[i], axis[:, None] - sights.faces.y[i]
        masks[row, int(sights.face[row])] = dx.square() + dy.square() < sights.faces.size[i].square()
    for row, slot in (sights.kind >= _LABELS).nonzero().tolist():
        x, y, wide, high, _ = _place(sights, row, slot, size)
        masks[row, :, y : y + high, x : x + wide] = False
        masks[row, slot, y : y + high, x : x + wide] = True
    return masks
