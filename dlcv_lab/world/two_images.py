"""True and false sentences: about two images, and captions made false on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from . import words
from .answering import OPPOSITE, name_of
from .grammar import Say, article, caption_of, noun_phrase, plural, relation
from .parsing import Mention, Tokens, is_true, read_description
from .sampling import generator, sample
from .scene import Plain, Scene, Thing
from .words import WorldError

SWAPS = ("attribute", "relation", "order")
_FORMS = (
    "both images show {a}.",
    "neither image shows {a}.",
    "exactly one image shows {a}.",
    "the left image shows more {many}.",
    "the right image shows more {many}.",
    "together the images show {number} {many}.",
)


@dataclass(frozen=True)
class Pairs:
    """Two images and a sentence about them; sentence j stands in rows 2 j (true of its pair) and 2 j + 1 (false)."""

    left: Scene
    right: Scene
    text: tuple[str, ...]
    truth: tuple[bool, ...]


def judge(text: str, left: Plain, right: Plain) -> bool:
    """Return whether a statement is true of two scenes; raises WorldError for one the grammar cannot read."""
    t = Tokens(text)
    form = t.take([f.split(" {")[0] for f in _FORMS])
    if form is None:
        raise t.fail("a statement about two images")
    number = t.take(words.NUMBERS) if form.startswith("together") else None
    t.take(["a", "an"])
    wanted = read_description(t)
    if not t.done:
        raise t.fail("the end")
    a, b = (_hits(wanted, plain) for plain in (left, right))
    return {
        "both": a > 0 and b > 0,
        "neither": a + b == 0,
        "exactly": (a > 0) != (b > 0),
        "the": a > b if "left" in form else b > a,
        "together": number is not None and a + b == words.NUMBERS.index(number),
    }[form.split()[0]]


def _hits(wanted: Mention, plain: Plain) -> int:
    return sum(wanted.fits(thing) for thing in plain.things)


def statements(n: int, seed: torch.Generator | int, *, paraphrase: bool = False, **scene_options: Any) -> Pairs:
    """Draw n sentences about two images, each with one pair it is true of and one it is false of: 2 n rows.

    So who reads the sentence alone is right half of the time. Sentences: both / neither / exactly one image shows ...,
    the left (right) image shows more ..., together the images show so many ... Scenes have two to four objects of four
    shapes and four colours unless `scene_options` (passed to `sample`) say otherwise.
    """
    gen = generator(seed)
    say = Say(gen if paraphrase else None)
    options = {"objects": (2, 4), "colours": words.COLOURS[:4], "shapes": words.SHAPES[:4]} | scene_options
    scenes = sample(max(64, 4 * n), gen, **options)
    plain = scenes.plain()
    picks: list[tuple[int, int]] = []
    texts: list[str] = []
    while len(texts) < 2 * n:
        text = _sentence(plain[_draw(len(plain), gen)], gen, say)
        found = _examples(text, plain, gen)
        if found is not None:
            texts += [text, text]
            picks += found
    index = torch.tensor(picks, dtype=torch.int64).reshape(-1, 2)
    return Pairs(scenes[index[:, 0]], scenes[index[:, 1]], tuple(texts), (True, False) * n)


def _draw(n: int, gen: torch.Generator) -> int:
    return int(torch.randint(n, (), generator=gen))


def _sentence(plain: Plain, gen: torch.Generator, say: Say) -> str:
    thing = plain.things[_draw(len(plain.things), gen)]
    form = _FORMS[_draw(len(_FORMS), gen)]
    with_colour = ("colour",) if _draw(2, gen) else ()
    one, many = noun_phrase(thing, say, with_colour), noun_phrase(thing, say, with_colour, number=2)
    number = words.NUMBERS[1 + _draw(3, gen)]
    return form.format(a=article(one), many=many if number != "one" or "number" not in form else one, number=number)


def _examples(text: str, plain: list[Plain], gen: torch.Generator) -> list[tuple[int, int]] | None:
    """Return a pair of scenes for which the sentence is true and one for which it is false."""
    found: dict[bool, tuple[int, int]] = {}
    for _ in range(60):
        i, j = _draw(len(plain), gen), _draw(len(plain), gen)
        found.setdefault(judge(text, plain[i], plain[j]), (i, j))
        if len(found) == 2:
            return [found[True], found[False]]
    return None


def swap_caption(plain: Plain, kind: str, seed: torch.Generator | int) -> tuple[str, str] | None:
    """Return a true caption of two objects and a false one with the same words in another order (Winoground, ARO).

    "attribute" exchanges the colours, "relation" the two objects, "order" shuffles the words until the text is no
    longer a true caption. None when the scene does not have two objects that differ in what is exchanged. Raises
    WorldError for an unknown kind.
    """
    if kind not in SWAPS:
        raise WorldError(f"{kind!r} is no kind of swap; kinds are: {', '.join(SWAPS)}.")
    gen = generator(seed)
    pairs = [(a, b) for a in plain.things for b in plain.things if a.slot != b.slot and relation(a, b)]
    pairs = [(a, b) for a, b in pairs if (a.shape, a.colour) != (b.shape, b.colour)]
    for k in torch.randperm(len(pairs), generator=gen).tolist():
        a, b = pairs[k]
        link = relation(a, b)
        true = _two(a, link, b)
        if kind == "attribute":
            false = _two(a._replace(colour=b.colour), link, b._replace(colour=a.colour))
        elif kind == "relation":
            false = _two(b, link, a)
        else:
            parts = true[:-1].split()
            order = torch.randperm(len(parts), generator=gen).tolist()
            false = " ".join(parts[i] for i in order) + "."
            if false == true:
                continue
            return true, false
        if not is_true(false, plain):
            return true, false
    return None


def _two(a: Thing, link: str | None, b: Thing) -> str:
    return f"{article(f'{a.colour} {a.shape}')} {link} {article(f'{b.colour} {b.shape}')}."


def corrupt(
    scene: Scene, seed: torch.Generator | int, share: float = 0.4, level: int = 2
) -> tuple[list[str], list[bool]]:
    """Return captions of which about `share` are false, and which ones are true: the noisy web of BLIP.

    Half of the false ones have one colour or shape changed, half belong to another scene.
    """
    gen = generator(seed)
    say = Say(gen)
    plains = scene.plain()
    texts, truth = [], []
    for plain in plains:
        text = caption_of(plain, level, say)
        if float(torch.rand((), generator=gen)) < share:
            for _ in range(20):
                other = _changed(plain, gen) if _draw(2, gen) else plains[_draw(len(plains), gen)]
                text = caption_of(other, level, say)
                if not is_true(text, plain):
                    break
        texts.append(text)
        truth.append(is_true(text, plain))
    return texts, truth


def _changed(plain: Plain, gen: torch.Generator) -> Plain:
    if not plain.things:
        return plain
    things = list(plain.things)
    k = _draw(len(things), gen)
    if _draw(2, gen):
        things[k] = things[k]._replace(colour=words.COLOURS[_draw(len(words.COLOURS), gen)])
    else:
        things[k] = things[k]._replace(shape=words.SHAPES[_draw(len(words.SHAPES), gen)])
    return plain._replace(things=tuple(things))


def polls(scene: Scene, seed: torch.Generator | int, per_scene: int = 3) -> list[list[tuple[str, str]]]:
    """Return yes/no questions about numbers and places, half true: "are there exactly two stars ?", "is the ...".

    The extension of POPE (hallucination polls) to counts and relations, from the scene graph. Scenes without objects
    get none.
    """
    gen = generator(seed)
    return [[_poll(plain, gen) for _ in range(per_scene if plain.things else 0)] for plain in scene.plain()]


def _poll(plain: Plain, gen: torch.Generator) -> tuple[str, str]:
    say = Say(None)
    thing, other = (plain.things[_draw(len(plain.things), gen)] for _ in range(2))
    link, name, whom = relation(thing, other), name_of(thing, plain, say), name_of(other, plain, say)
    true = bool(_draw(2, gen))
    if link and name and whom:
        asked = link if true else OPPOSITE[link]
        return f"is the {name} {asked} the {whom} ?", "yes" if true else "no"
    count = sum(t.shape == thing.shape for t in plain.things)
    said = count if true else [v for v in (1, 2, 3, 4) if v != count][_draw(3, gen)]
    noun, verb = (thing.shape, "is") if said == 1 else (plural(thing.shape), "are")
    return f"{verb} there exactly {words.NUMBERS[said]} {noun} ?", "yes" if true else "no"


def objects_listed(scenes: Sequence[Plain]) -> list[list[str]]:
    """Return the shape names in each scene, in slot order, as POPE and CHAIR take them."""
    return [[thing.shape for thing in plain.things] for plain in scenes]
