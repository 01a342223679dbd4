"""Answer questions about scenes, and ask some about a given scene."""

from __future__ import annotations

import torch

from . import words
from .grammar import Say, article, noun_phrase, related, relation
from .parsing import LINKS, Mention, Tokens, read_description
from .sampling import generator
from .scene import Plain, Scene, Thing
from .words import WorldError

KINDS = ("exist", "count", "colour", "shape", "spatial", "compare")
COUNTS = ("zero", "one", "two", "three", "four")
ANSWERS = ("yes", "no", *COUNTS, *words.COLOURS, *words.SHAPES)
"""Every answer to the six kinds of question, in label order."""


def answers_of(kind: str) -> tuple[str, ...]:
    """Return the possible answers to a kind of question; raises WorldError for an unknown kind."""
    table = {
        "exist": ("yes", "no"),
        "spatial": ("yes", "no"),
        "compare": ("yes", "no"),
        "count": COUNTS[:4],
        "colour": words.COLOURS,
        "shape": words.SHAPES,
    }
    if kind not in table:
        raise WorldError(f"{kind!r} is no kind of question; kinds are: {', '.join(KINDS)}.")
    return table[kind]


def answer(question: str, plain: Plain) -> str:
    """Return the true answer to a question about a scene.

    Raises WorldError for a question the grammar cannot read, or whose object is missing or not unique.
    """
    t = Tokens(question)
    if t.take(["is there exactly", "are there exactly"]):
        wanted_number = t.take(words.NUMBERS)
        if wanted_number is None:
            raise t.fail("a number")
        return _yes(_number(t, plain, last=True) == words.NUMBERS.index(wanted_number))
    if t.next_is("is there"):
        t.take(["a", "an", "any"])
        return _yes(_number(t, plain, last=True) > 0)
    if t.next_is("how many"):
        number = _number(t, plain)
        t.take(["are there", "do you see", "can you see"])
        return _end(t, COUNTS[number])
    if t.take(["what colour is the", "what is the colour of the"]):
        return _only(t, plain, last=True).colour
    if t.take(["what shape is the", "what is the shape of the"]):
        return _only(t, plain, last=True).shape
    if t.next_is("where is the"):
        return _only(t, plain, last=True).region
    if t.next_is("are there more"):
        first = _number(t, plain)
        if not t.next_is("than"):
            raise t.fail('"than"')
        return _yes(first > _number(t, plain, last=True))
    if t.next_is("is the"):
        one = _only(t, plain)
        if t.next_is("bigger than the"):
            return _yes(one.size > _only(t, plain, last=True).size)
        link = t.take(LINKS)
        if link is None or not t.next_is("the"):
            raise t.fail("a relation")
        return _yes(related(one, LINKS[link], _only(t, plain, last=True)))
    raise t.fail("a question")


def _yes(truth: bool) -> str:
    return "yes" if truth else "no"


def _end(t: Tokens, value: str) -> str:
    if not t.done:
        raise t.fail("the end")
    return value


def _number(t: Tokens, plain: Plain, *, last: bool = False) -> int:
    wanted = read_description(t)
    if last:
        _end(t, "")
    return sum(wanted.fits(thing) for thing in plain.things)


def _only(t: Tokens, plain: Plain, *, last: bool = False) -> Thing:
    wanted = read_description(t)
    if last:
        _end(t, "")
    return the_one(wanted, plain, t.text)


def the_one(wanted: Mention, plain: Plain, text: str) -> Thing:
    """Return the only thing that fits; raises WorldError when there is none or more than one."""
    found = [thing for thing in plain.things if wanted.fits(thing)]
    if len(found) != 1:
        raise WorldError(f"{text!r} needs exactly one such object; the scene has {len(found)}.")
    return found[0]


def name_of(thing: Thing, plain: Plain, say: Say) -> str | None:
    """Return a short name that no other thing of the scene answers to ("star", "red star", ...), or None."""
    for parts in ((), ("colour",), ("size", "colour"), ("size", "colour", "texture"), ("colour", "mark")):
        wanted = Mention(
            shape=thing.shape,
            colour=thing.colour if "colour" in parts else None,
            size=thing.size_word if "size" in parts else None,
            texture=thing.texture if "texture" in parts and thing.texture != "plain" else None,
            mark=thing.mark if "mark" in parts and thing.mark != "none" else None,
        )
        if sum(wanted.fits(other) for other in plain.things) == 1:
            return noun_phrase(thing, say, parts)
    return None


def questions(
    scene: Scene, seed: torch.Generator | int, per_scene: int = 3, *, paraphrase: bool = False
) -> list[list[tuple[str, str, str]]]:
    """Return questions about given scenes as (text, answer, kind), `per_scene` for each or fewer if it has no more.

    Kinds are those of `KINDS` and "where"; yes and no are equally likely where the scene allows it. For sets with a
    controlled language prior see `ask`.
    """
    gen = generator(seed)
    say = Say(gen if paraphrase else None)
    out = []
    for plain in scene.plain():
        pool = _pool(plain, gen, say)
        order = torch.randperm(len(pool), generator=gen).tolist()
        out.append([(text, answer(text, plain), kind) for text, kind in (pool[j] for j in order[:per_scene])])
    return out


def _pool(plain: Plain, gen: torch.Generator, say: Say) -> list[tuple[str, str]]:
    def draw(options: tuple[str, ...]) -> str:
        return options[int(torch.randint(len(options), (), generator=gen))]

    found: list[tuple[str, str]] = []
    for thing in plain.things:
        found.append((f"is there {article(noun_phrase(thing, say))} ?", "exist"))
        name = name_of(thing, plain, say)
        if name is None:
            continue
        found.append((f"where is the {name} ?", "where"))
        if not _says_colour(name):
            found.append((f"{say.pick(('what colour is the', 'what is the colour of the'))} {name} ?", "colour"))
        alike = [other for other in plain.things if other.colour == thing.colour]
        if len(alike) == 1:
            found.append((f"what shape is the {thing.colour} object ?", "shape"))
        for other in plain.things:
            link, whom = relation(thing, other), name_of(other, plain, say)
            if other.slot != thing.slot and link and whom:
                asked = draw((link, OPPOSITE[link]))
                found.append((f"is the {name} {say.pick(words.RELATION_SYNONYMS[asked])} the {whom} ?", "spatial"))
                if other.size_word != thing.size_word:
                    found.append((f"is the {name} bigger than the {whom} ?", "compare"))
    for _ in range(max(1, len(plain.things))):
        shape, colour = draw(words.SHAPES), draw(words.COLOURS)
        found.append((f"is there {article(f'{colour} {shape}')} ?", "exist"))
    found.append((f"how many {draw(words.COLOURS)} objects are there ?", "count"))
    found.append(("how many objects are there ?", "count"))
    return list(dict.fromkeys(found))


def _says_colour(name: str) -> bool:
    return read_description(Tokens(name)).colour is not None


OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
