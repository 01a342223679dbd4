"""Read the world's language back: what a caption says, as tuples, and whether it is true of a scene."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from . import words
from .grammar import GROUND_NOUNS, TEMPLATES, mark_phrase, plural, region_phrase, related
from .scene import Plain, Thing
from .words import WorldError


class ParseError(WorldError):
    """A text that the world's grammar cannot read."""


@dataclass(frozen=True)
class Mention:
    """What a text says about one object, or `number` objects alike; None where it says nothing."""

    shape: str | None = None
    colour: str | None = None
    size: str | None = None
    texture: str | None = None
    shade: str | None = None
    mark: str | None = None
    region: str | None = None
    number: int = 1

    def fits(self, thing: Thing) -> bool:
        """Return whether the thing has every attribute that is mentioned."""
        return (
            self.shape in (None, thing.shape)
            and self.colour in (None, thing.colour)
            and self.size in (None, thing.size_word)
            and self.texture in (None, thing.texture)
            and self.shade in (None, thing.shade_word)
            and self.mark in (None, thing.mark)
            and self.region in (None, thing.region)
        )


@dataclass(frozen=True)
class Reading:
    """What a caption says: objects, relations between them by index, and the setting."""

    mentions: tuple[Mention, ...] = ()
    relations: tuple[tuple[int, str, int], ...] = ()
    background: str | None = None
    ground: str | None = None
    style: str | None = None

    def tuples(self) -> set[tuple[str, ...]]:
        """Return SPICE's propositions: (object,), (object, attribute) and (object, relation, object).

        Synonyms are mapped to one word; "right of" and "below" are turned round to "left of" and "above".
        """
        out: set[tuple[str, ...]] = set()
        nouns = [m.shape or "object" for m in self.mentions]
        for noun, m in zip(nouns, self.mentions):
            out.add((noun,))
            for value in (m.colour, m.size, m.texture, m.shade, m.mark, m.region):
                if value:
                    out.add((noun, value))
            if m.number > 1:
                out.add((noun, words.NUMBERS[m.number]))
        for i, link, j in self.relations:
            if link in ("right of", "below"):
                i, link, j = j, {"right of": "left of", "below": "above"}[link], i
            out.add((nouns[i], link, nouns[j]))
        for noun, value in (("background", self.background), ("background", self.ground), ("style", self.style)):
            if value:
                out |= {(noun,), (noun, value)}
        return out


def _inverse(table: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    return {word: name for name, options in table.items() for word in options}


_SHAPES = _inverse(words.SHAPE_SYNONYMS)
_SHAPES |= {plural(word): name for word, name in _SHAPES.items()} | {
    "object": "",
    "objects": "",
    "thing": "",
    "things": "",
}
_FRONT = (
    {word: ("size", name) for word, name in _inverse(words.SIZE_SYNONYMS).items()}
    | {word: ("shade", word) for word in words.SHADE_WORDS}
    | {word: ("colour", name) for word, name in _inverse(words.COLOUR_SYNONYMS).items()}
    | {word: ("texture", name) for word, name in _inverse(words.TEXTURE_SYNONYMS).items()}
)
_FRONT_WORDS = tuple(_FRONT)
_MARKS = {mark_phrase(mark): mark for mark in words.MARKS[1:]}
_REGIONS = {region_phrase(region): region for region in words.REGIONS}
LINKS = _inverse(words.RELATION_SYNONYMS)
_KINDS = _inverse(words.BACKGROUND_SYNONYMS)
_STYLES = _inverse(words.STYLE_SYNONYMS)
_NUMBERS = {"a": 1, "an": 1, "one": 1, "the": 1, "two": 2, "three": 3, "four": 4}
_OPENINGS = sorted(
    {t.split("{}")[0].strip() for t in TEMPLATES} | {"there are", "here are", "i see"}, key=len, reverse=True
)


@functools.lru_cache(maxsize=256)
def _by_first_word(options: tuple[str, ...]) -> dict[str, list[tuple[list[str], str]]]:
    table: dict[str, list[tuple[list[str], str]]] = {}
    for option in sorted(options, key=lambda o: -len(o.split())):
        if parts := option.split():
            table.setdefault(parts[0], []).append((parts, option))
    return table


class Tokens:
    """A cursor over the words of a text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.items = re.findall(r"[a-z0-9-]+|,", text.lower())
        self.at = 0

    def next_is(self, phrase: str) -> bool:
        """Step over the phrase if it comes next."""
        wanted = phrase.split()
        if self.items[self.at : self.at + len(wanted)] != wanted:
            return False
        self.at += len(wanted)
        return True

    def take(self, options: Sequence[str] | dict[str, str] | dict[str, int]) -> str | None:
        """Step over the longest of the options that comes next and return it, or None."""
        if self.at < len(self.items):
            for wanted, option in _by_first_word(tuple(options)).get(self.items[self.at], ()):
                if self.items[self.at : self.at + len(wanted)] == wanted:
                    self.at += len(wanted)
                    return option
        return None

    @property
    def done(self) -> bool:
        return self.at >= len(self.items)

    def fail(self, wanted: str) -> ParseError:
        rest = " ".join(self.items[self.at : self.at + 4]) or "the end"
        return ParseError(f"Cannot read {self.text!r}: expected {wanted} at {rest!r}.")


def read_mention(tokens: Tokens) -> Mention:
    """Read a noun phrase such as "two big red striped circles with a belt at the top left"."""
    number = tokens.take(_NUMBERS)
    return read_description(tokens, _NUMBERS[number] if number else 1)


def read_description(tokens: Tokens, number: int = 1) -> Mention:
    """Read a noun phrase without article: adjectives, a noun, then mark and region if said."""
    found: dict[str, str] = {}
    while word := tokens.take(_FRONT_WORDS):
        kind, name = _FRONT[word]
        if kind in found:
            raise tokens.fail(f"one {kind} only")
        found[kind] = name
    noun = tokens.take(_SHAPES)
    if noun is None:
        raise tokens.fail("a shape")
    mention = Mention(shape=_SHAPES[noun] or None, number=number, **found)
    before = tokens.at
    if tokens.next_is("with"):
        if mark := tokens.take(_MARKS):
            mention = replace(mention, mark=_MARKS[mark])
        else:
            tokens.at = before
    if region := tokens.take(_REGIONS):
        mention = replace(mention, region=_REGIONS[region])
    return mention


def _read_setting(tokens: Tokens) -> tuple[str | None, str | None]:
    if not tokens.next_is("on"):
        return None, None
    if not (tokens.next_is("a") or tokens.next_is("an")):
        raise tokens.fail('"a"')
    kind = tokens.take(_KINDS)
    ground = tokens.take(words.GROUNDS)
    if ground is None or tokens.take(GROUND_NOUNS) is None:
        raise tokens.fail("a background")
    return _KINDS[kind] if kind else None, ground


def parse(text: str) -> Reading:
    """Return what a caption of the world says.

    Every word must be understood; synonyms, the twenty templates and all three levels are. Raises ParseError (a
    WorldError) naming the first words that cannot be read: so `parse` also tells whether a generated sentence is
    grammatical.
    """
    tokens = Tokens(text)
    tokens.take(_OPENINGS)
    mentions: list[Mention] = []
    links: list[tuple[int, str, int]] = []
    if not tokens.next_is("nothing"):
        mentions.append(read_mention(tokens))
        if link := tokens.take(LINKS):
            mentions.append(read_mention(tokens))
            links.append((0, LINKS[link], 1))
        while tokens.next_is(",") or tokens.next_is("and"):
            tokens.next_is("and")
            mentions.append(read_mention(tokens))
    background, ground = _read_setting(tokens)
    style = None
    if tokens.next_is("in"):
        word = tokens.take(_STYLES)
        if word is None or not tokens.next_is("style"):
            raise tokens.fail("a style")
        style = _STYLES[word]
    if not tokens.done:
        raise tokens.fail("the end")
    return Reading(tuple(mentions), tuple(links), background, ground, style)


def is_grammatical(text: str) -> bool:
    """Return whether `parse` can read the text."""
    try:
        parse(text)
    except ParseError:
        return False
    return True


def is_true(text: str | Reading, plain: Plain) -> bool:
    """Return whether a caption is true of a scene.

    Every mention must be met by objects of its own and every relation hold; "two red circles" means that there is no
    third one beside those that the caption mentions. "nothing" is true of an empty scene only.
    """
    said = parse(text) if isinstance(text, str) else text
    if said.background not in (None, plain.background) or said.ground not in (None, plain.ground):
        return False
    if said.style not in (None, plain.style):
        return False
    if not said.mentions:
        return not plain.things
    singles = [m for m in said.mentions for _ in range(m.number)]
    first = list(itertools.accumulate([0] + [m.number for m in said.mentions]))
    return any(
        all(m.fits(t) for m, t in zip(singles, chosen))
        and all(related(chosen[first[i]], link, chosen[first[j]]) for i, link, j in said.relations)
        and not any(m.number > 1 and m.fits(t) for t in plain.things if t not in chosen for m in said.mentions)
        for chosen in itertools.permutations(plain.things, len(singles))
    )
