"""Rank many answers to a question of a dialog, each more or less right: VisDial's hundred candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from . import words
from .answering import ANSWERS
from .sampling import generator
from .talking import Dialog, Turn
from .text import HYPERNYMS
from .words import WorldError


def ranked(dialogs: Sequence[Dialog], seed: torch.Generator | int, candidates: int = 100) -> list[Dialog]:
    """Return the dialogs with so many candidates a turn, each with its relevance, as in the dense labels of VisDial.

    The true answer has 1, the same in other words 0.9 ("it is red") to 0.7 ("maybe scarlet"), one that is true but
    says less ("a warm colour", "top" for "top left") 0.4, a wrong one 0. Every turn gets all candidates that are not
    wrong, wrong ones fill up.

    Raises:
        WorldError: fewer candidates than right ones, or more than there are.
    """
    gen = generator(seed)
    wordings = _wordings()
    return [
        replace(talk, turns=tuple(_rank(turn, wordings, candidates, gen) for turn in talk.turns)) for talk in dialogs
    ]


def _rank(turn: Turn, wordings: dict[str, tuple[str, float]], candidates: int, gen: torch.Generator) -> Turn:
    graded = {said: _relevance(turn.answer, meaning, weight) for said, (meaning, weight) in wordings.items()}
    right = [said for said, value in graded.items() if value > 0]
    wrong = [said for said, value in graded.items() if value == 0]
    if not len(right) <= candidates <= len(graded):
        raise WorldError(f"A ranked turn has {len(right)} to {len(graded)} candidates; {candidates} were asked for.")
    fill = torch.randperm(len(wrong), generator=gen)[: candidates - len(right)].tolist()
    chosen = [*right, *(wrong[i] for i in fill)]
    chosen = [chosen[i] for i in torch.randperm(len(chosen), generator=gen).tolist()]
    relevance = tuple(graded[said] for said in chosen)
    return replace(turn, candidates=tuple(chosen), index=chosen.index(turn.answer), relevance=relevance)


def _wordings() -> dict[str, tuple[str, float]]:
    """Return every candidate -> what it means, and how near its wording is to the plain answer."""
    plain = dict.fromkeys((*words.COLOURS, *words.TEXTURES, *words.SIZES, *words.REGIONS, *ANSWERS))
    found: dict[str, tuple[str, float]] = {word: (word, 1.0) for word in plain}
    tables = (words.COLOUR_SYNONYMS, words.TEXTURE_SYNONYMS, words.SIZE_SYNONYMS, words.SHAPE_SYNONYMS)
    synonyms = {
        other: word for table in tables for word, options in table.items() for other in options if word in plain
    }
    for other, word in synonyms.items():
        found.setdefault(other, (word, 0.8))
    for word in plain:
        found[f"it is {word}"] = (word, 0.9)
    for other, word in synonyms.items():
        found.setdefault(f"maybe {other}", (word, 0.7))
    vague = {f"a {kind}" for kind in HYPERNYMS.values() if " " in kind}
    return found | {f"{kind}": (kind, 0.4) for kind in sorted(vague)}


def _relevance(answer: str, meaning: str, weight: float) -> float:
    if meaning == answer:
        return weight
    if meaning == f"a {HYPERNYMS.get(answer, '')}":
        return 0.4
    partly = answer in words.REGIONS and " " in answer and meaning in answer.split()
    return round(0.4 * weight, 2) if partly else 0.0
