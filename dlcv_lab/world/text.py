"""Write the world's text corpus, list its words, and say what each word is."""

from __future__ import annotations

import functools
import re

import torch

from . import words
from .answering import ANSWERS, COUNTS, answer, questions
from .grammar import GROUND_NOUNS, OPENINGS, TEMPLATES, Say, article, caption_of, mark_phrase, plural
from .parsing import ParseError, is_grammatical
from .sampling import generator, sample
from .scene import Plain
from .words import WorldError

HYPERNYMS = {
    **{
        shape: ("round thing" if shape in ("circle", "ring", "drop", "moon") else "pointed thing")
        for shape in words.ALL_SHAPES
    },
    "heart": "round thing",
    "square": "angular thing",
    "cross": "angular thing",
    "house": "angular thing",
    "round thing": "shape",
    "pointed thing": "shape",
    "angular thing": "shape",
    **{c: ("warm colour" if c in ("red", "orange", "yellow", "brown") else "cold colour") for c in words.COLOURS},
    "warm colour": "colour",
    "cold colour": "colour",
}
"""What each word is a kind of: the world's little WordNet."""

_CORNERS = {
    "square": "four",
    "triangle": "three",
    "star": "five",
    "arrow": "seven",
    "cross": "twelve",
    "house": "seven",
}


def class_facts() -> list[str]:
    """Return true sentences about the world's kinds: "a square is an angular thing .", "red is a warm colour ."."""
    out = []
    for word, kind in HYPERNYMS.items():
        subject = word if word in words.COLOURS else article(word)
        out.append(f"{subject} is {article(kind)} .")
    out += [f"{article(shape)} has {number} corners ." for shape, number in _CORNERS.items()]
    out += [f"{article(shape)} {words.SOUND_WORDS[shape]} ." for shape in words.ALL_SHAPES]
    for table in (words.COLOUR_SYNONYMS, words.SHAPE_SYNONYMS):
        out += [f"{options[1]} means {name} ." for name, options in table.items()]
    return out


def corpus(n: int, seed: torch.Generator | int, *, style: str = "lines") -> list[str]:
    """Return n sentences of the world's language, for a language model.

    Two fifths are captions of all levels, two fifths question and answer, a fifth facts about kinds. `style` "lines"
    writes "question ? answer .", "chat" writes "<USER> question ? <ASSISTANT> answer .".
    """
    gen = generator(seed)
    say = Say(gen)
    scene = sample(
        n,
        gen,
        objects=(1, 3),
        textures=words.TEXTURES,
        backgrounds=words.BACKGROUNDS,
        styles=words.STYLES,
        marks=("none", "none", *words.MARKS),
    )
    asked = questions(scene, gen, 1, paraphrase=True)
    known = class_facts()
    kinds = torch.multinomial(torch.tensor([2.0, 2.0, 1.0]), max(n, 1), replacement=True, generator=gen).tolist()
    out = []
    for i, plain in enumerate(scene.plain()):
        if kinds[i] == 0:
            text = caption_of(plain, 1 + int(torch.randint(3, (), generator=gen)), say)
            out.append(text[:-1] + " .")
        elif kinds[i] == 1:
            question, reply, _ = asked[i][0]
            out.append(f"<USER> {question} <ASSISTANT> {reply} ." if style == "chat" else f"{question} {reply} .")
        else:
            out.append(say.pick(known))
    return out


def is_sentence(text: str) -> bool:
    """Return whether a line is one that `corpus` could write: a caption, a question with an answer, or a true fact.

    Whether a caption or an answer is true cannot be told without a scene.
    """
    line = " ".join(tokens(text.replace("<USER>", " ").replace("<ASSISTANT>", " "))).lower()
    if line in _known_facts():
        return True
    question, mark, reply = line.partition("?")
    if not mark:
        return is_grammatical(line)
    if reply.strip(" .") not in {*ANSWERS, *words.REGIONS}:
        return False
    try:
        answer(question, Plain((), "plain", "white", "flat"))
    except ParseError:
        return False
    except WorldError:
        return True
    return True


@functools.cache
def _known_facts() -> frozenset[str]:
    return frozenset(" ".join(tokens(fact)) for fact in class_facts())


def tokens(text: str) -> list[str]:
    """Return the word-level tokens of a text: words, numbers, marks such as <image>, and punctuation."""
    return re.findall(r"<[^<>\s]+>|[A-Za-z0-9_]+(?:-[A-Za-z]+)*|[^\sA-Za-z0-9_]", text)


def vocabulary() -> list[str]:
    """Return every word of the world's language, sorted: the word-level vocabulary of the zoo's models.

    Captions, questions, statements, dialogs, instructions, clips, sounds, faces and facts are covered; made-up names,
    numbers in digits, and the "categorical" instructions are not.
    """
    found: set[str] = set()
    for table in (
        words.SHAPE_SYNONYMS,
        words.COLOUR_SYNONYMS,
        words.TEXTURE_SYNONYMS,
        words.SIZE_SYNONYMS,
        words.BACKGROUND_SYNONYMS,
        words.STYLE_SYNONYMS,
        words.RELATION_SYNONYMS,
        words.MOTION_WORDS,
    ):
        for options in table.values():
            for option in options:
                found.update(option.split())
                if table is words.SHAPE_SYNONYMS:
                    found.update(plural(option).split())
    lines = [*class_facts(), *words.SOUND_WORDS.values(), *words.GROUNDS, *GROUND_NOUNS, *words.SHADE_WORDS]
    lines += [*words.EMOTIONS, *words.REGIONS, *words.NUMBERS, *COUNTS, *map(mark_phrase, words.MARKS[1:])]
    lines += [*words.SHAPES, *words.COLOURS, *words.TEXTURES, *words.SIZES, *words.STYLES, *words.MOTIONS]
    for line in [*lines, *_fixed_wordings()]:
        found.update(tokens(line.lower().replace("{", " ").replace("}", " ")))
    return sorted(found)


def _fixed_wordings() -> list[str]:
    """Return the fixed words of every generator of text."""
    from . import affect, fact_wordings, speech, talking, video

    lines = [
        *OPENINGS,
        *TEMPLATES,
        "nothing on an in style with at and , . ?",
        "both neither exactly one image images show",
    ]
    lines += [
        "of to the left right image shows more together a face smiley with glasses full of",
        *affect.LOOKS.values(),
    ]
    lines += [
        "is are there how many what colour shape where size texture has it more than bigger do you see can any of to"
    ]
    lines += ["something nothing is heard hear the one that object objects thing things leftmost rightmost topmost"]
    lines += ["bottommost biggest smallest middle an i see a mouth that says", *video.DIRECTIONS, *speech.VISEMES]
    lines += [*talking.DETAIL, *talking.REASONS, *talking.USES.values(), *affect.SKINS]
    for question, answers in affect.REASONS:
        lines += [question, *answers.values()]
    lines += [text for pair in affect.DEFINITE for text in pair] + [
        "the picture is bright dark and colourful muted yes no"
    ]
    lines += [form for forms in fact_wordings.TEMPLATES.values() for form in forms]
    return lines + [value for values in fact_wordings.SUBJECT_FACTS.values() for value in values]


_OTHER_NOUNS = (
    "face smiley glasses brows mouth eyes skin expression joke mountain milk parcel noise friend moment day room size "
    "texture home cave desert forest island meadow river swamp tongue description detail comfort stripes dots checker"
)


def lexicon() -> dict[str, str]:
    """Return the part of speech of every word of `vocabulary`: noun, adj, verb, num, det, prep or other."""
    nouns = {
        part
        for options in words.SHAPE_SYNONYMS.values()
        for o in options
        for part in (o.split()[-1], plural(o.split()[-1]))
    }
    nouns |= {"background", "ground", "canvas", "picture", "drawing", "painting", "photo", "style", "object", "objects"}
    nouns |= {
        "thing",
        "things",
        "colour",
        "shape",
        "shapes",
        "corners",
        "image",
        "images",
        *words.EMOTIONS,
        *words.MARKS[1:],
    }
    nouns |= {"top", "bottom", "centre", "side", *_OTHER_NOUNS.split()}
    adjectives = {
        o for t in (words.COLOUR_SYNONYMS, words.TEXTURE_SYNONYMS, words.SIZE_SYNONYMS) for v in t.values() for o in v
    }
    adjectives |= {o for t in (words.BACKGROUND_SYNONYMS, words.STYLE_SYNONYMS) for v in t.values() for o in v}
    adjectives |= {
        *words.GROUNDS,
        *words.SHADE_WORDS,
        "warm",
        "cold",
        "round",
        "pointed",
        "angular",
        "close",
        "poor",
        "good",
    }
    adjectives |= {"bright", "dark", "blurred", "clean", "two-tone", "left", "right", "bigger"}
    adjectives |= {o.split()[0] for v in words.SHAPE_SYNONYMS.values() for o in v if " " in o}
    verbs = {"is", "are", "see", "shows", "show", "has", "means", "do", "can", *words.SOUND_WORDS.values()}
    verbs |= {v.split()[0] for options in words.MOTION_WORDS.values() for v in options}
    numbers = {*words.NUMBERS, *COUNTS, "five", "seven", "twelve"}
    table = {}
    for word in vocabulary():
        for part, group in (("num", numbers), ("adj", adjectives), ("noun", nouns), ("verb", verbs)):
            if word in group:
                table[word] = part
                break
        else:
            determiner = word in ("a", "an", "the")
            preposition = word in ("of", "on", "in", "at", "with", "above", "below", "over", "under", "to", "than")
            table[word] = "det" if determiner else "prep" if preposition else "other"
    return table
