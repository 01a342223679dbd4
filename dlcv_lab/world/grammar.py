"""Say what a scene shows: noun phrases, captions at three levels of detail, paraphrases and templates.

Everything said here can be read back by `parsing.parse` and is true of its scene by `parsing.is_true`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch

from . import words
from .sampling import generator
from .scene import Plain, Scene, Thing
from .words import WorldError

T = TypeVar("T")
OPENINGS = ("", "a picture of ", "this is ", "there is ", "we see ", "the picture shows ")
GROUND_NOUNS = ("background", "ground", "canvas")
TEMPLATES = (
    "{}.",
    "a picture of {}.",
    "a drawing of {}.",
    "a painting of {}.",
    "a photo of {}.",
    "a close picture of {}.",
    "a poor picture of {}.",
    "a good picture of {}.",
    "a small picture of {}.",
    "a bright picture of {}.",
    "a dark picture of {}.",
    "a noisy picture of {}.",
    "a blurred picture of {}.",
    "a clean picture of {}.",
    "this is {}.",
    "there is {}.",
    "we see {}.",
    "the picture shows {}.",
    "one can see {}.",
    "here is {}.",
)
"""Twenty wordings for zero-shot classifiers; put a noun phrase such as "a red circle" into them."""

RELATION_MARGIN = 0.10
"""Two centres must differ by this share of the canvas before a relation is said or asked."""


class Say:
    """A voice: chooses among synonyms, or keeps to the first word of each."""

    def __init__(self, gen: torch.Generator | None) -> None:
        self.gen = gen

    def pick(self, options: Sequence[T]) -> T:
        """Return one of the options: the first without a generator, else a random one."""
        if self.gen is None or len(options) == 1:
            return options[0]
        return options[int(torch.randint(len(options), (), generator=self.gen))]

    def coin(self, chance: float) -> bool:
        """Return True with the given chance; never without a generator."""
        return self.gen is not None and float(torch.rand((), generator=self.gen)) < chance


def article(phrase: str) -> str:
    """Return the phrase with "a" or "an" before it."""
    return f"an {phrase}" if phrase[0] in "aeiou" else f"a {phrase}"


def plural(noun: str) -> str:
    """Return the plural of a shape noun: "boxes", "crosses", "leaves", "round shapes"."""
    if noun.endswith("leaf"):
        return noun[:-1] + "ves"
    return noun + ("es" if noun.endswith(("s", "x", "ss")) else "s")


def noun_phrase(thing: Thing, say: Say, parts: Sequence[str] = ("colour",), *, number: int = 1) -> str:
    """Return e.g. "big red striped circle with a belt": the shape, with the named parts.

    `parts` is any of "size", "shade", "colour", "texture", "mark", "region".
    """
    front = []
    if "size" in parts:
        front.append(say.pick(words.SIZE_SYNONYMS[thing.size_word]))
    if "shade" in parts and thing.shade_word:
        front.append(thing.shade_word)
    if "colour" in parts:
        front.append(say.pick(words.COLOUR_SYNONYMS[thing.colour]))
    if "texture" in parts and (thing.texture != "plain" or say.coin(0.15)):
        front.append(say.pick(words.TEXTURE_SYNONYMS[thing.texture]))
    noun = say.pick(words.SHAPE_SYNONYMS[thing.shape])
    text = " ".join([*front, plural(noun) if number > 1 else noun])
    if "mark" in parts and thing.mark != "none":
        text += f" with {mark_phrase(thing.mark)}"
    if "region" in parts:
        text += f" {region_phrase(thing.region)}"
    return text


def mark_phrase(mark: str) -> str:
    """Return e.g. "a belt" or "two eyes"."""
    return {"eyes": "two eyes", "half": "a two-tone side"}.get(mark, f"a {mark}")


def region_phrase(region: str) -> str:
    """Return e.g. "at the top left" or "in the centre"."""
    return f"in the {region}" if region == "centre" else f"at the {region}"


def relation(a: Thing, b: Thing) -> str | None:
    """Return how a stands to b ("left of", "right of", "above", "below") along the longer axis, or None if unclear."""
    dx, dy = b.x - a.x, b.y - a.y
    if abs(dx) >= abs(dy):
        return None if abs(dx) < RELATION_MARGIN else "left of" if dx > 0 else "right of"
    return None if abs(dy) < RELATION_MARGIN else "above" if dy > 0 else "below"


def related(a: Thing, relation_name: str, b: Thing) -> bool:
    """Return whether a stands in the relation to b; both "left of" and "above" may hold of one pair."""
    gap = {"left of": b.x - a.x, "right of": a.x - b.x, "above": b.y - a.y, "below": a.y - b.y}[relation_name]
    return gap >= RELATION_MARGIN


def setting(plain: Plain, say: Say, *, kind: bool = False) -> str:
    """Return e.g. "on a grey background" or, with `kind`, "on a gridded grey background"."""
    look = f"{say.pick(words.BACKGROUND_SYNONYMS[plain.background])} " if kind else ""
    return f"on {article(look + plain.ground)} {say.pick(GROUND_NOUNS)}"


def caption_of(plain: Plain, level: int = 2, say: Say | None = None) -> str:
    """Return one caption of one scene; see `caption`."""
    say = say or Say(None)
    if not plain.things:
        return f"nothing {setting(plain, say, kind=level == 3)}."
    parts = (
        (),
        ("colour",),
        ("size", "shade", "colour", "texture"),
        ("size", "shade", "colour", "texture", "mark", "region"),
    )[level]
    phrases = _grouped(plain, parts, say)
    things = list(plain.things)
    if level == 2 and len(things) == 2 and len(phrases) == 2 and (link := relation(things[0], things[1])):
        if say.coin(0.5):
            phrases, link = phrases[::-1], relation(things[1], things[0]) or link
        body = f"{phrases[0]} {say.pick(words.RELATION_SYNONYMS[link])} {phrases[1]}"
    else:
        body = phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"
    if level >= 2:
        body += f" {setting(plain, say, kind=level == 3)}"
    if plain.style != "flat" and (level >= 2 or say.coin(0.3)):
        body += f" in {say.pick(words.STYLE_SYNONYMS[plain.style])} style"
    opening = say.pick(OPENINGS)
    if opening == "there is " and not body.startswith(("a ", "an ")):
        opening = "there are "
    return f"{opening}{body}."


def _grouped(plain: Plain, parts: Sequence[str], say: Say) -> list[str]:
    """Return the noun phrases of a scene; things alike in all that is said of them are counted together."""
    keys: dict[tuple[object, ...], list[Thing]] = {}
    for thing in plain.things:
        looks = {
            "size": thing.size_word,
            "shade": thing.shade_word,
            "colour": thing.colour,
            "texture": thing.texture,
            "mark": thing.mark,
            "region": thing.region,
        }
        keys.setdefault((thing.shape, *(looks[part] for part in parts)), []).append(thing)
    out = []
    for alike in keys.values():
        phrase = noun_phrase(alike[0], say, parts, number=len(alike))
        out.append(article(phrase) if len(alike) == 1 else f"{words.NUMBERS[len(alike)]} {phrase}")
    return out


def caption(scene: Scene, level: int = 2, seed: torch.Generator | int | None = None) -> list[str]:
    """Return one true caption a scene.

    Args:
        scene: a batch of N scenes.
        level: 1 names colours and shapes; 2 adds sizes, textures, the relation of two objects, background colour and
            style; 3 adds marks, regions and the background's kind.
        seed: chooses synonyms, openings and order; without it every scene has one plain wording.

    Raises:
        WorldError: for a level other than 1, 2, 3.
    """
    if level not in (1, 2, 3):
        raise WorldError(f"Captions have level 1, 2 or 3; got {level!r}.")
    say = Say(None if seed is None else generator(seed))
    return [caption_of(plain, level, say) for plain in scene.plain()]


def captions(scene: Scene, count: int, seed: torch.Generator | int, level: int = 2) -> list[list[str]]:
    """Return `count` reference captions a scene, all true, in different words as far as the grammar has them."""
    say = Say(generator(seed))
    out = []
    for plain in scene.plain():
        found: dict[str, None] = {}
        for _ in range(6 * count):
            found[caption_of(plain, level, say)] = None
            if len(found) == count:
                break
        texts = list(found)
        out.append([texts[i % len(texts)] for i in range(count)])
    return out
