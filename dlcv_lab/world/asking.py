"""Make sets of questions whose answers depend on the question alone exactly as strongly as you wish."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from . import words
from .answering import COUNTS, KINDS, answers_of
from .grammar import RELATION_MARGIN, Say, article, plural
from .sampling import choose, generator, sample
from .scene import Scene
from .words import WorldError


@dataclass(frozen=True)
class Questions:
    """Questions with their answers, one for each scene; `plan` keeps what was asked, so that it can be asked again."""

    scene: Scene
    text: tuple[str, ...]
    answer: tuple[str, ...]
    kind: tuple[str, ...]
    plan: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.text)


def ask(
    n: int,
    seed: torch.Generator | int,
    kinds: Sequence[str] = KINDS,
    *,
    prior: float = 0.0,
    paraphrase: bool = False,
    **scene_options: Any,
) -> Questions:
    """Draw n questions, each about a scene of its own with three objects, with a language prior of your choice.

    Question and answer are drawn first, then the scene is changed until the answer is true. So with `prior` 0 all
    answers to a question are equally likely; with 1 every question has one answer; in between its favourite answer
    comes with chance prior + (1 - prior) / (number of answers).

    Args:
        n: number of questions.
        seed: CPU generator or int.
        kinds: some of `KINDS`, drawn uniformly.
        prior: strength of the language-only prior, 0 to 1.
        paraphrase: use synonyms; the favourite answer stays that of the plain wording.
        scene_options: passed to `sample` (textures, backgrounds, ...); 2 to 4 objects.

    Raises:
        WorldError: for an unknown kind, a prior outside 0 to 1, or scenes of fewer than two objects.
    """
    gen = generator(seed)
    if not 0 <= prior <= 1:
        raise WorldError(f"prior is a strength from 0 to 1; got {prior}.")
    for kind in kinds:
        answers_of(kind)
    scene = sample(n, gen, **({"objects": 3} | scene_options))
    if n and int(scene.count.min()) < 2:
        raise WorldError("Questions need scenes of at least two objects.")
    drafts = _drafts(scene, gen)
    say = Say(gen if paraphrase else None)
    which = choose(torch.arange(len(kinds)), (n,), gen).tolist() if n else []
    rows = []
    for draft, index in zip(drafts, which):
        kind = kinds[index]
        plan = draft.plan()
        key = _wording(kind, plan, Say(None))
        options = answers_of(kind)
        if float(torch.rand((), generator=gen)) < prior:
            reply = options[zlib.crc32(key.encode()) % len(options)]
        else:
            reply = options[draft.draw(len(options))]
        if kind == "count" and COUNTS.index(reply) > draft.n:
            reply = COUNTS[draft.n]
        draft.enforce(kind, plan, reply)
        rows.append((_wording(kind, plan, say), reply, kind, plan))
    text, answer, kind_, plan_ = zip(*rows) if rows else ((), (), (), ())
    return Questions(_written(scene, drafts), text, answer, kind_, plan_)


def complement(questions: Questions, seed: torch.Generator | int) -> Questions:
    """Return for every question a similar scene with another answer: the second half of a balanced set, as in VQA v2.

    Texts stay; answers differ everywhere; only the objects asked about are changed.
    """
    drafts = _drafts(questions.scene, generator(seed))
    replies = []
    for draft, kind, plan, old in zip(drafts, questions.kind, questions.plan, questions.answer):
        others = [a for a in answers_of(kind) if a != old and not (kind == "count" and COUNTS.index(a) > draft.n)]
        replies.append(others[draft.draw(len(others))])
        draft.enforce(kind, plan, replies[-1])
    return Questions(_written(questions.scene, drafts), questions.text, tuple(replies), questions.kind, questions.plan)


def _wording(kind: str, plan: tuple[int, ...], say: Say) -> str:
    s, s2, c, r = plan
    colour = say.pick(words.COLOUR_SYNONYMS[words.COLOURS[c]])
    noun, other = (say.pick(words.SHAPE_SYNONYMS[words.SHAPES[k]]) for k in (s, s2))
    if kind == "exist":
        return f"is there {article(f'{colour} {noun}')} ?"
    if kind == "count":
        return f"how many {colour} objects are there ?"
    if kind == "colour":
        return f"{say.pick(('what colour is the', 'what is the colour of the'))} {noun} ?"
    if kind == "shape":
        return f"{say.pick(('what shape is the', 'what is the shape of the'))} {colour} object ?"
    if kind == "spatial":
        return f"is the {noun} {say.pick(words.RELATION_SYNONYMS[words.RELATIONS[r]])} the {other} ?"
    return f"are there more {plural(noun)} than {plural(other)} ?"


class _Draft:
    """One scene being changed until a wished answer is true."""

    def __init__(self, n: int, columns: dict[str, list[Any]], gen: torch.Generator) -> None:
        self.n, self.gen = n, gen
        self.shape, self.colour = columns["shape"], columns["colour"]
        self.x, self.y, self.size = columns["x"], columns["y"], columns["size"]

    def draw(self, n: int) -> int:
        return int(torch.randint(n, (), generator=self.gen))

    def plan(self) -> tuple[int, ...]:
        """Draw what to ask about: two different shapes, a colour, a relation."""
        s = self.draw(len(words.SHAPES))
        return s, self.other(s, len(words.SHAPES)), self.draw(len(words.COLOURS)), self.draw(4)

    def other(self, value: int, total: int, *more: int) -> int:
        """Draw a value below `total` that differs from the given ones."""
        return [v for v in range(total) if v != value and v not in more][self.draw(total - 1 - len(more))]

    def enforce(self, kind: str, plan: tuple[int, ...], reply: str) -> None:
        """Change the scene so that `reply` answers the planned question."""
        s, s2, c, r = plan
        order = torch.randperm(self.n, generator=self.gen).tolist()
        if kind == "exist":
            self._exist(s, c, reply, order)
        elif kind == "count":
            self._spread(self.colour, {c: COUNTS.index(reply)}, len(words.COLOURS), order)
        elif kind == "colour":
            self.colour[self._spread(self.shape, {s: 1}, len(words.SHAPES), order)[s]] = words.COLOURS.index(reply)
        elif kind == "shape":
            self.shape[self._spread(self.colour, {c: 1}, len(words.COLOURS), order)[c]] = words.SHAPES.index(reply)
        elif kind == "compare":
            more = 1 + self.draw(self.n - 1)
            less = self.draw(min(more, self.n - more + 1))
            counts = {s: more, s2: less} if reply == "yes" else {s: less, s2: more}
            self._spread(self.shape, counts, len(words.SHAPES), order)
        else:
            self._spatial(s, s2, words.RELATIONS[r], reply)

    def _exist(self, s: int, c: int, reply: str, order: list[int]) -> None:
        if reply == "yes":
            self.shape[order[0]], self.colour[order[0]] = s, c
            return
        for k in range(self.n):
            if (self.shape[k], self.colour[k]) == (s, c):
                self.colour[k] = self.other(c, len(words.COLOURS))

    def _spread(self, column: list[int], counts: dict[int, int], total: int, order: list[int]) -> dict[int, int]:
        """Give each value to exactly so many objects, changing as few as possible; return a slot for each value."""
        slots = {}
        for value, wanted in counts.items():
            taken = [k for k in order if column[k] == value]
            for k in taken[wanted:]:
                column[k] = self.other(value, total, *(v for v in counts if v != value))
            missing = wanted - len(taken)
            full = {v for v in counts if v != value}
            spare = [k for k in order if column[k] != value and column[k] not in full]
            blocked = [k for k in order if column[k] in full]
            for k in (spare + blocked)[: max(0, missing)]:
                column[k] = value
            slots[value] = next((k for k in order if column[k] == value), -1)
        for value, wanted in counts.items():
            if sum(v == value for v in column[: self.n]) != wanted:
                return self._assign(column, counts, total, order)
        return slots

    def _assign(self, column: list[int], counts: dict[int, int], total: int, order: list[int]) -> dict[int, int]:
        """Give the values out afresh when keeping the present ones cannot work."""
        wanted = [value for value, number in counts.items() for _ in range(number)]
        rest = [self.other(next(iter(counts)), total, *list(counts)[1:]) for _ in range(self.n - len(wanted))]
        for k, value in zip(order, wanted + rest):
            column[k] = value
        return {value: column.index(value) for value in counts if value in column}

    def _spatial(self, s: int, s2: int, link: str, reply: str) -> None:
        if not self._far_pair(link):
            self.x, self.y = self.y, self.x
        pair = self._far_pair(link)
        if pair is None:
            raise WorldError("The objects lie too close together to ask where they are; allow smaller ones.")
        low, high = pair
        first_is_low = (link in ("left of", "above")) == (reply == "yes")
        one, two = (low, high) if first_is_low else (high, low)
        for k in range(self.n):
            if k not in pair and self.shape[k] in (s, s2):
                self.shape[k] = self.other(s, len(words.SHAPES), s2)
        self.shape[one], self.shape[two] = s, s2

    def _far_pair(self, link: str) -> tuple[int, int] | None:
        """Return the slots of the outermost objects along the relation's axis, if they are far enough apart."""
        along = self.x if link in ("left of", "right of") else self.y
        order = sorted(range(self.n), key=lambda k: along[k])
        gap = along[order[-1]] - along[order[0]]
        return (order[0], order[-1]) if gap >= RELATION_MARGIN + 1e-4 else None


_EDITED = ("shape", "colour", "x", "y", "size")


def _drafts(scene: Scene, gen: torch.Generator) -> list[_Draft]:
    columns = {name: getattr(scene, name).tolist() for name in _EDITED}
    return [_Draft(n, {k: v[i] for k, v in columns.items()}, gen) for i, n in enumerate(scene.count.tolist())]


def _written(scene: Scene, drafts: list[_Draft]) -> Scene:
    if not drafts:
        return scene
    return scene.replace(**{name: torch.tensor([getattr(d, name) for d in drafts]) for name in _EDITED})
