"""Imitate the web: noisy alt-texts with their truth, pages of sentences and pictures, interleaved documents."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch

from . import words
from .answering import questions
from .grammar import Say, caption_of
from .sampling import generator, sample
from .scene import Plain, Scene
from .words import WorldError

ALT_KINDS = ("good", "wrong", "filename", "camera", "spam", "boilerplate", "duplicate", "name", "foreign")
ALT_SHARES = (0.30, 0.16, 0.10, 0.08, 0.10, 0.08, 0.06, 0.06, 0.06)
_SPAM = ("buy now", "best price", "free shipping", "click here", "top 10", "sale sale sale", "cheap cheap cheap")
_BOILERPLATE = ("image", "untitled", "no description available", "thumbnail", "photo credit", "loading")
_NAMES = ("Anna Berg", "Tom Rivera", "Mei Lin", "Omar Haddad", "Ida Novak", "Sam Okoro")
_FOREIGN = {
    "red": "rot",
    "orange": "orangefarben",
    "yellow": "gelb",
    "green": "gruen",
    "cyan": "tuerkis",
    "blue": "blau",
    "purple": "lila",
    "brown": "braun",
    "circle": "kreis",
    "square": "quadrat",
    "triangle": "dreieck",
    "star": "stern",
    "ring": "reif",
    "cross": "kreuz",
    "heart": "herz",
    "arrow": "pfeil",
}
_CHATTER = (
    "thank you for visiting our page.",
    "follow us for more.",
    "we had a lovely day.",
    "prices may change.",
    "all rights reserved.",
    "see you next week.",
)


@dataclass(frozen=True)
class Record:
    """One crawled picture: its alt-text and page data as a crawler sees them, and the truth that it cannot see.

    `kind` (one of `ALT_KINDS`), `caption` (a true one) and `label` ("red circle") are for scoring only.
    """

    alt: str
    width: int
    height: int
    url: str
    nsfw: bool
    sentences: tuple[str, ...]
    kind: str
    caption: str
    label: str


def web(n: int, seed: torch.Generator | int, **scene_options: Any) -> tuple[Scene, list[Record]]:
    """Return n crawled pictures of one object and their records; classes follow Zipf's law.

    Kinds of alt-text come in the shares `ALT_SHARES`: good captions, captions of another picture, file names, camera
    codes, advertisements, boilerplate, exact copies of an earlier record, captions with a person's name, and captions
    in another language. About 3 % carry the nsfw flag, 8 % are tiny or extremely wide.
    """
    gen = generator(seed)
    weights = [1 / (rank + 1) for rank in range(len(words.SHAPES))]
    scene = sample(n, gen, **({"shape_weights": weights} | scene_options))
    plains = scene.plain()
    say = Say(gen)
    kinds = torch.multinomial(torch.tensor(ALT_SHARES), max(n, 1), replacement=True, generator=gen).tolist()
    records: list[Record] = []
    for i, plain in enumerate(plains):
        kind = ALT_KINDS[kinds[i]]
        if kind == "duplicate" and not records:
            kind = "good"
        good = caption_of(plain, 1 + _draw(2, gen), say)
        alt = _alt_text(kind, good, plain, plains, say, gen)
        if kind == "duplicate":
            alt = records[_draw(len(records), gen)].alt
        width, height = _picture_size(gen)
        chatter = [_CHATTER[k] for k in torch.randperm(len(_CHATTER), generator=gen)[:3].tolist()]
        chatter.insert(_draw(4, gen), caption_of(plain, 2, say))
        thing = plain.things[0] if plain.things else None
        records.append(
            Record(
                alt=alt,
                width=width,
                height=height,
                url=f"https://example.org/{_draw(1 << 30, gen):08x}.jpg",
                nsfw=_draw(100, gen) < 3,
                sentences=tuple(chatter),
                kind=kind,
                caption=caption_of(plain, 2),
                label=f"{thing.colour} {thing.shape}" if thing else "nothing",
            )
        )
    return scene, records


def _draw(n: int, gen: torch.Generator) -> int:
    return int(torch.randint(n, (), generator=gen))


def _picture_size(gen: torch.Generator) -> tuple[int, int]:
    case = _draw(100, gen)
    if case < 4:
        return 20 + _draw(80, gen), 20 + _draw(80, gen)
    if case < 8:
        return 1600, 120 + _draw(100, gen)
    return 300 + 20 * _draw(40, gen), 300 + 20 * _draw(25, gen)


def _alt_text(kind: str, good: str, plain: Plain, plains: list[Plain], say: Say, gen: torch.Generator) -> str:
    if kind in ("good", "duplicate"):
        return good
    if kind == "wrong":
        return caption_of(plains[_draw(len(plains), gen)], 1 + _draw(2, gen), say)
    if kind == "filename":
        return f"{say.pick(('IMG', 'scan', 'final_v2', 'pic'))}_{_draw(10000, gen):04d}.{say.pick(('jpg', 'png'))}"
    if kind == "camera":
        return f"DSC{_draw(100000, gen):05d}"
    if kind == "spam":
        return f"{say.pick(_SPAM)} {say.pick(words.SHAPES)} {say.pick(_SPAM)} {_draw(1000, gen)}"
    if kind == "boilerplate":
        return say.pick(_BOILERPLATE)
    if kind == "name":
        return f"{say.pick(_NAMES)} shows {good}"
    thing = plain.things[0] if plain.things else None
    if thing is None:
        return "nichts"
    return f"ein bild von {_FOREIGN[thing.colour]} {_FOREIGN.get(thing.shape, 'ding')}"


@dataclass(frozen=True)
class Page:
    """A page of sentences and pictures: `belongs[j]` is the sentence that describes picture j of `scene`."""

    scene: Scene
    sentences: tuple[str, ...]
    belongs: tuple[int, ...]


def pages(
    n: int, seed: torch.Generator | int, sentences: int = 6, pictures: int = 3, **scene_options: Any
) -> list[Page]:
    """Return n web pages; each picture is described by exactly one sentence, the other sentences are chatter.

    Raises WorldError if there are more pictures than sentences or more chatter than the world knows.
    """
    if not 1 <= pictures <= sentences or sentences - pictures > len(_CHATTER):
        raise WorldError(f"{sentences} sentences and {pictures} pictures do not make a page.")
    gen = generator(seed)
    say = Say(gen)
    every = sample(n * pictures, gen, **scene_options)
    plains = every.plain()
    out = []
    for i in range(n):
        own = list(range(i * pictures, (i + 1) * pictures))
        lines: list[str] = [_CHATTER[k] for k in torch.randperm(len(_CHATTER), generator=gen).tolist()]
        text = [caption_of(plains[k], 2, say) for k in own] + lines[: sentences - pictures]
        order = torch.randperm(sentences, generator=gen).tolist()
        out.append(
            Page(
                every[own[0] : own[-1] + 1],
                tuple(text[k] for k in order),
                tuple(order.index(j) for j in range(pictures)),
            )
        )
    return out


@dataclass(frozen=True)
class Document:
    """Text and pictures in turn: `text` has one "<image>" for every picture of `scene`, in order."""

    scene: Scene
    text: str


def documents(
    n: int,
    seed: torch.Generator | int,
    pictures: int = 3,
    *,
    form: str = "flamingo",
    length: int = 0,
    **scene_options: Any,
) -> list[Document]:
    """Return n interleaved documents.

    `form` is "flamingo" ("<image>caption<EOC>" in a row), "article" (sentences around the pictures), or "html"
    (`<img src="<image>" alt="caption">`, as CM3 reads). With `length`, what is said after each picture goes on in true
    sentences, questions and answers about it until the document has at most so many tokens, and hardly fewer: a token
    is a word, a sign or a mark such as `<image>` (`document_tokens`).

    Raises:
        WorldError: for another form, or a length that the captions alone exceed.
    """
    if form not in ("flamingo", "article", "html"):
        raise WorldError(f'form is "flamingo", "article" or "html"; got {form!r}.')
    gen = generator(seed)
    say = Say(gen)
    every = sample(n * pictures, gen, **scene_options)
    plains = every.plain()
    texts = [caption_of(plain, 2, say) for plain in plains]
    out = []
    for i in range(n):
        part = slice(i * pictures, (i + 1) * pictures)
        more: list[list[str]] = [[] for _ in range(pictures)]
        text = _interleaved(texts[part], more, form, say)
        if length:
            text = _extended(texts[part], every[part], form, length, gen)
        out.append(Document(every[part], text))
    return out


def document_tokens(text: str) -> list[str]:
    """Return the words, signs and marks of a document, in order: "<image>", "a", "red", "star", ".", "<EOC>"."""
    return re.findall(r"<[A-Za-z0-9]+>|[A-Za-z0-9_]+(?:-[A-Za-z]+)*|[^\sA-Za-z0-9_]", text)


def _interleaved(texts: list[str], more: list[list[str]], form: str, say: Say) -> str:
    own = [" ".join([text, *rest]) for text, rest in zip(texts, more)]
    if form == "flamingo":
        return "".join(f"<image>{line}<EOC>" for line in own)
    if form == "html":
        return " ".join(f'<img src="<image>" alt="{line}">' for line in own)
    return " ".join(f"{say.pick(_CHATTER)} <image> {line}" for line in own)


def _extended(texts: list[str], scene: Scene, form: str, length: int, gen: torch.Generator) -> str:
    """Return the document with as many more true sentences as fit, given out in turn to its pictures."""
    frame = Say(None)
    more: list[list[str]] = [[] for _ in texts]
    text = _interleaved(texts, more, form, frame)
    if len(document_tokens(text)) > length:
        raise WorldError(f"The captions alone have {len(document_tokens(text))} tokens; {length} were asked for.")
    say, full = Say(gen), 0
    while full < 6:  # six sentences in a row that are too long: the document is full
        k = (sum(map(len, more)) + full) % len(texts)
        sentence = _sentence_about(scene[k], say, gen)
        longer = [[*rest, sentence] if j == k else rest for j, rest in enumerate(more)]
        tried = _interleaved(texts, longer, form, frame)
        if len(document_tokens(tried)) > length:
            full += 1
        else:
            text, more, full = tried, longer, 0
    return text


def _sentence_about(scene: Scene, say: Say, gen: torch.Generator) -> str:
    if say.coin(0.4):
        return caption_of(scene.plain()[0], 1 + _draw(3, gen), say)
    asked = questions(scene, gen, 1)[0]
    return " ".join(f"{question} {answer} ." for question, answer, _ in asked)
