"""Point at one object in words, find the object that words point at, and write places as text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from . import words
from .answering import name_of
from .grammar import Say, noun_phrase, related, relation
from .parsing import LINKS, Tokens, read_description
from .sampling import generator
from .scene import Plain, Scene, Thing
from .truth import boxes
from .words import WorldError

REFERRING_KINDS = ("attribute", "superlative", "relation")
_MARGIN = 0.03
_SUPERLATIVES = ("leftmost", "rightmost", "topmost", "bottommost", "biggest", "smallest", "middle")


def refer(plain: Plain, target: int, seed: torch.Generator | int, kinds: Sequence[str] = REFERRING_KINDS) -> str:
    """Return a short expression that only the object in slot `target` answers to, e.g. "the leftmost red star".

    Kinds are tried in the given order: "attribute" (as few attributes as possible), "superlative" (leftmost, biggest,
    the middle of three, ...), "relation" (to an object that has a unique name).

    Raises:
        WorldError: if there is no such object, a kind is unknown, or no expression of these kinds is unique.
    """
    say = Say(generator(seed))
    if bad := set(kinds) - set(REFERRING_KINDS):
        raise WorldError(f"{sorted(bad)[0]!r} is no kind of expression; kinds are: {', '.join(REFERRING_KINDS)}.")
    thing = next((t for t in plain.things if t.slot == target), None)
    if thing is None:
        raise WorldError(f"The scene has no object in slot {target}; it has: {[t.slot for t in plain.things]}.")
    for kind in kinds:
        for text in _expressions(kind, thing, plain, say):
            if _unique(text, plain) == target:
                return text
    raise WorldError(
        f"No expression by {', '.join(kinds)} points at object {target} alone; another object looks and lies alike."
    )


def _expressions(kind: str, thing: Thing, plain: Plain, say: Say) -> list[str]:
    if kind == "attribute":
        name = name_of(thing, plain, say)
        return [] if name is None else [f"the {name}"]
    noun, colour_noun = noun_phrase(thing, say, ()), noun_phrase(thing, say, ("colour",))
    if kind == "superlative":
        return [f"the {word} {phrase}" for phrase in (noun, colour_noun) for word in _SUPERLATIVES]
    out = []
    for other in plain.things:
        link, whom = relation(thing, other), name_of(other, plain, say)
        if other.slot != thing.slot and link and whom:
            said = say.pick(words.RELATION_SYNONYMS[link])
            out += [f"the {phrase} {said} the {whom}" for phrase in (noun, colour_noun)]
    return out


def _unique(text: str, plain: Plain) -> int | None:
    try:
        return resolve(text, plain)
    except WorldError:
        return None


def resolve(expression: str, plain: Plain) -> int:
    """Return the slot of the one object that a referring expression points at.

    A superlative counts only when the object leads the next by 0.03 of the canvas. Raises WorldError if the expression
    cannot be read, or points at no object or at several.
    """
    t = Tokens(expression)
    t.next_is("the")
    superlative = t.take(_SUPERLATIVES)
    wanted = read_description(t)
    found = [thing for thing in plain.things if wanted.fits(thing)]
    if link := t.take(LINKS):
        t.next_is("the")
        anchor = read_description(t)
        anchors = [thing for thing in plain.things if anchor.fits(thing)]
        if len(anchors) != 1:
            raise WorldError(f"{expression!r} leans on {len(anchors)} objects instead of one.")
        found = [thing for thing in found if thing.slot != anchors[0].slot and related(thing, LINKS[link], anchors[0])]
    if not t.done:
        raise t.fail("the end")
    if superlative:
        found = _extreme(superlative, found)
    if len(found) != 1:
        raise WorldError(f"{expression!r} points at {len(found)} objects; it must point at one.")
    return found[0].slot


def _extreme(word: str, things: list[Thing]) -> list[Thing]:
    if word == "middle":
        if len(things) != 3:
            return []
        a, b, c = sorted(things, key=lambda t: t.x)
        return [b] if b.x - a.x >= _MARGIN and c.x - b.x >= _MARGIN else []
    value = {
        "leftmost": lambda t: -t.x,
        "rightmost": lambda t: t.x,
        "topmost": lambda t: -t.y,
        "bottommost": lambda t: t.y,
        "biggest": lambda t: t.size,
        "smallest": lambda t: -t.size,
    }[word]
    ranked = sorted(things, key=value, reverse=True)
    clear = len(ranked) > 1 and value(ranked[0]) - value(ranked[1]) >= _MARGIN
    return ranked[:1] if clear else []


def box_text(box: Sequence[float] | Tensor) -> str:
    """Return a box in canvas shares (x1, y1, x2, y2 in [0, 1]) as "[x1,y1,x2,y2]", whole hundredths from 0 to 99.

    Raises WorldError unless x1 < x2 and y1 < y2.
    """
    x1, y1, x2, y2 = (float(v) for v in box)
    if not (x1 < x2 and y1 < y2):
        raise WorldError(f"A box has x1 < x2 and y1 < y2; got {[x1, y1, x2, y2]}.")
    return "[" + ",".join(str(min(99, max(0, int(100 * v + 0.5)))) for v in (x1, y1, x2, y2)) + "]"


def read_box(text: str) -> list[float] | None:
    """Return the first four numbers of a text as a box in canvas shares, corners in order; None if there are fewer."""
    found = [float(v) / 100 for v in re.findall(r"-?\d+(?:\.\d+)?", text)[:4]]
    if len(found) < 4:
        return None
    x1, y1, x2, y2 = found
    return [min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)]


@dataclass(frozen=True)
class Region:
    """A word-tag-region triplet's region: Oscar's tag and where it lies; `box` in canvas shares."""

    slot: int
    tag: str
    box: tuple[float, float, float, float]


def triplets(
    scene: Scene, seed: torch.Generator | int, size: int = 64, *, wrong_tags: float = 0.0
) -> list[tuple[str, list[str], list[Region]]]:
    """Return word-tag-region triplets, one (caption, tags, regions) a scene, as Oscar is trained on.

    A region is a visible object; its tag is "colour shape". With `wrong_tags` that share of the tags is replaced by
    random ones.
    """
    from .grammar import caption_of

    gen = generator(seed)
    say = Say(gen)
    box = boxes(scene, size) / size
    out = []
    for i, plain in enumerate(scene.plain()):
        regions = []
        for thing in plain.things:
            x1, y1, x2, y2 = box[i, thing.slot].tolist()
            if x2 <= x1:
                continue
            tag = f"{thing.colour} {thing.shape}"
            if float(torch.rand((), generator=gen)) < wrong_tags:
                tag = f"{say.pick(words.COLOURS)} {say.pick(words.SHAPES)}"
            regions.append(Region(thing.slot, tag, (x1, y1, x2, y2)))
        out.append((caption_of(plain, 2, say), [r.tag for r in regions], regions))
    return out
