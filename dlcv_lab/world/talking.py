"""Talk about scenes: short dialogs with pronouns, and instruction data of four kinds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from . import words
from .answering import ANSWERS, COUNTS, answer, name_of, questions
from .grammar import Say, article, caption_of, noun_phrase, region_phrase, relation
from .sampling import generator
from .scene import Plain, Scene, Thing
from .words import WorldError

INSTRUCTION_KINDS = ("conversation", "detail", "reasoning", "categorical")
DETAIL = ("describe the picture in detail.", "what do you see? tell me everything.", "give a full description.")
USES = {
    "circle": "roll away",
    "ring": "roll away",
    "square": "stand still",
    "triangle": "stand still",
    "house": "stand still",
    "star": "prick you",
    "cross": "stand still",
    "arrow": "prick you",
    "heart": "tip over",
    "moon": "tip over",
    "drop": "tip over",
    "leaf": "tip over",
}

REASONS = (
    "which object would you move first to make the picture lighter, and why?",
    "the {}, because it covers most; it lies {} the {}.",
    "what would happen if the object were real and someone pushed it?",
    "it is {} {}, so it would {}.",
)


@dataclass(frozen=True)
class Turn:
    """One question and answer of a dialog; `needs_history` when the question alone does not say which object is meant.

    `resolved` is the question without pronoun; `candidates` holds possible answers, the true one at `index`.
    `relevance` says of each, where it was asked for, how right it is, from 0 to 1.
    """

    question: str
    answer: str
    needs_history: bool
    resolved: str
    candidates: tuple[str, ...]
    index: int
    relevance: tuple[float, ...] = ()


@dataclass(frozen=True)
class Dialog:
    """A caption and the turns that follow it."""

    caption: str
    turns: tuple[Turn, ...]


def dialogs(scene: Scene, seed: torch.Generator | int, turns: int = 5, candidates: int = 16) -> list[Dialog]:
    """Return one dialog a scene: the caption names the objects, questions go from one to the next, some say "it".

    Every second question about an object uses the pronoun, and its answer cannot be had from the question alone. Raises
    WorldError for a scene without objects, fewer than one turn, or more candidates than there are answers.
    """
    pool = sorted({*ANSWERS, *words.REGIONS, *words.TEXTURES, *words.SIZES})
    if turns < 1 or not 2 <= candidates <= len(pool):
        raise WorldError(f"A dialog has at least 1 turn and 2 to {len(pool)} candidates.")
    gen = generator(seed)
    return [_dialog(plain, gen, turns, candidates, pool) for plain in scene.plain()]


def _dialog(plain: Plain, gen: torch.Generator, turns: int, candidates: int, pool: list[str]) -> Dialog:
    if not plain.things:
        raise WorldError("A dialog needs a scene with at least one object.")
    say = Say(None)
    named = [(thing, name_of(thing, plain, say)) for thing in plain.things]
    named = [(thing, name) for thing, name in named if name] or [(plain.things[0], noun_phrase(plain.things[0], say))]
    rows: list[Turn] = []
    while len(rows) < turns:
        thing, name = named[int(torch.randint(len(named), (), generator=gen))]
        facts = _facts(thing)
        order = torch.randperm(len(facts), generator=gen).tolist()[: 2 + int(torch.randint(2, (), generator=gen))]
        for step, k in enumerate(order):
            if len(rows) == turns:
                break
            form, reply = facts[k]
            asked = form.format("it") if step else form.format(f"the {name}")
            others = [a for a in pool if a != reply]
            chosen = torch.randperm(len(others), generator=gen)[: candidates - 1].tolist()
            at = int(torch.randint(candidates, (), generator=gen))
            options = [others[j] for j in chosen]
            options.insert(at, reply)
            rows.append(Turn(asked, reply, step > 0, form.format(f"the {name}"), tuple(options), at))
    return Dialog(caption_of(plain, 1), tuple(rows))


def _facts(thing: Thing) -> list[tuple[str, str]]:
    return [
        ("what colour is {} ?", thing.colour),
        ("where is {} ?", thing.region),
        ("what size is {} ?", thing.size_word),
        ("what texture has {} ?", thing.texture),
    ]


def instructions(
    scene: Scene, seed: torch.Generator | int, kinds: Sequence[str] = INSTRUCTION_KINDS
) -> list[list[dict[str, str]]]:
    """Return instruction data, a list of {"kind", "question", "answer"} for each scene, one entry a kind.

    The world plays the teacher that LLaVA asks GPT-4 to be, and never errs. "conversation" asks for a fact, "detail"
    for a full description, "reasoning" for a conclusion (its question names no attribute of the answer),
    "categorical" for one of eight shapes in a fixed form. Raises WorldError for an unknown kind or an empty scene.
    """
    if bad := set(kinds) - set(INSTRUCTION_KINDS):
        raise WorldError(f"{sorted(bad)[0]!r} is no kind of instruction; kinds are: {', '.join(INSTRUCTION_KINDS)}.")
    gen = generator(seed)
    say = Say(gen)
    asked = questions(scene, gen, 1)
    out = []
    for plain, first in zip(scene.plain(), asked):
        if not plain.things:
            raise WorldError("Instruction data needs scenes with at least one object.")
        rows = []
        for kind in kinds:
            if kind == "conversation":
                q, a = _conversation(first[0][0], first[0][1], plain)
            elif kind == "detail":
                q, a = say.pick(DETAIL), caption_of(plain, 3)
            elif kind == "categorical":
                biggest = max(plain.things, key=lambda thing: thing.size)
                options = ", ".join(words.ALL_SHAPES)
                q = f"please select the shape of the biggest object from the following options: {options}. "
                q += "answer in the following format: predict shape:"
                a = f"predict shape: {biggest.shape}"
            else:
                q, a = _reasoning(plain)
            rows.append({"kind": kind, "question": q, "answer": a})
        out.append(rows)
    return out


def _conversation(question: str, reply: str, plain: Plain) -> tuple[str, str]:
    if question.startswith("how many"):
        number = words.NUMBERS[COUNTS.index(reply)]
        return question, f"the answer is {number if number != 'no' else 'zero'}."
    return question, f"{reply}."


def _reasoning(plain: Plain) -> tuple[str, str]:
    things = sorted(plain.things, key=lambda t: t.size, reverse=True)
    first = things[0]
    if len(things) > 1 and (link := relation(first, things[1])):
        second = f"{things[1].colour} {things[1].shape}"
        return REASONS[0], REASONS[1].format(f"{first.colour} {first.shape}", link, second)
    what = article(f"{first.size_word} {first.colour} {first.shape}")
    return REASONS[2], REASONS[3].format(what, region_phrase(first.region), USES[first.shape])


def dialog_text(dialog: Dialog, upto: int, max_turns: int | None = None) -> str:
    """Return caption, the last `max_turns` turns before number `upto`, and that question, as one line."""
    past = dialog.turns[:upto]
    past = past if max_turns is None else past[len(past) - min(max_turns, len(past)) :]
    told = " ".join(f"{turn.question} {turn.answer} ." for turn in past)
    return " ".join(part for part in (dialog.caption, told, dialog.turns[upto].question) if part)


def holds(turn: Turn, plain: Plain) -> bool:
    """Return whether a turn's answer is true, by the question engine, for colour and place questions."""
    if not turn.resolved.startswith(("what colour", "where")):
        raise WorldError("Only colour and place questions are read by the question engine.")
    return answer(turn.resolved, plain) == turn.answer
