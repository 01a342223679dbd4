"""Quick questions below the sections of a lesson: which output is right, and which belongs to a known mistake?

They are made from what the check packs hold anyway: public cases, what the reference and the known mistakes answer on
them, and the sentence that helps. Nothing that is hidden from students comes near a page.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autograder.book.values import Shown, flat, shown, shown_outcome
from dlcv_lab.checking.model import Case, Outcome, Pack

EACH = 3  # questions a section
MOST_GIVEN = 130  # numbers a reader may have to look at before the options
NOTICEABLE = 0.05  # of the largest number: below that, two outputs look the same


@dataclass(frozen=True)
class Option:
    """One output to choose from. Without `hint` it is the right one."""

    shown: Shown
    mistake: str = ""
    hint: str = ""


@dataclass(frozen=True)
class QuickQuestion:
    """One question: what went in, and two or three outputs of which `answer` is to be found."""

    exercise: str
    key: str  # under which a browser remembers the reader's answer
    note: str
    given: tuple[tuple[str, Shown], ...]
    part: str  # which part of the result is shown; empty: all of it
    options: tuple[Option, ...]
    about: str  # the mistake whose output is asked for; empty: the right output is asked for
    cost: float

    @property
    def answer(self) -> int:
        return next(index for index, option in enumerate(self.options) if option.mistake == self.about)


def for_section(packs: Sequence[Pack]) -> list[QuickQuestion]:
    """Return up to three questions on the exercises of a section, each about another mistake, in turns.

    The first asks for the right output, the others for the output of the wrong code that `check` describes.
    """
    waiting = [sorted(candidates(pack), key=lambda question: (question.cost, question.key)) for pack in packs]
    found: list[QuickQuestion] = []
    for fresh_case in (True, False):
        while len(found) < EACH and any(waiting):
            for queue in waiting:
                taken = _next(queue, found, fresh_case)
                if taken and len(found) < EACH:
                    found.append(taken)
            if not any(_next(list(queue), found, fresh_case) for queue in waiting):
                break
    return [_asking_for_the_right_one(question) if index == 0 else question for index, question in enumerate(found)]


def _next(queue: list[QuickQuestion], found: Sequence[QuickQuestion], fresh_case: bool) -> QuickQuestion | None:
    """Take the cheapest question about a mistake that none asks for yet, on a case of its own if so wished."""
    used = {(question.exercise, question.about) for question in found}
    cases = {(question.exercise, question.note) for question in found}
    for index, question in enumerate(queue):
        if (question.exercise, question.about) not in used and not (
            fresh_case and (question.exercise, question.note) in cases
        ):
            return queue.pop(index)
    return None


def _asking_for_the_right_one(question: QuickQuestion) -> QuickQuestion:
    return QuickQuestion(**{**vars(question), "about": "", "key": question.key + "/right"})


def candidates(pack: Pack) -> Iterator[QuickQuestion]:
    """Yield every question on an exercise whose answer a reader can find from what the page shows."""
    wrong = pack.misconceptions()
    for index, (case, right) in enumerate(zip(pack.cases, pack.expected)):
        given = _given(case)
        paths = [path for path, _ in flat(right.value)] if right.status == "value" else [""]
        for path in paths:
            answers = [(each, shown_outcome(each.outcomes[index], path)) for each in wrong]
            best = shown_outcome(right, path)
            if best is None:
                continue
            there = [
                (Option(look, each.name, each.hint), each.outcomes[index])
                for each, look in answers
                if look is not None and _differs(right, each.outcomes[index], path) and look.key != best.key
            ]
            yield from _of_case(pack, index, given, path, Option(best), there)


def _of_case(
    pack: Pack,
    index: int,
    given: tuple[tuple[str, Shown], ...],
    path: str,
    right: Option,
    wrong: Sequence[tuple[Option, Outcome]],
) -> Iterator[QuickQuestion]:
    case, expected = pack.cases[index], pack.expected[index]
    note = case.note or case.group
    part = path if len(flat(expected.value)) > 1 else ""
    for option, outcome in wrong:
        others = [
            (other, result)
            for other, result in wrong
            if other.shown.key not in (option.shown.key, right.shown.key) and _differs(outcome, result, path)
        ]
        # a second mistake on the same case makes three options; the cheapest to look at
        other = min(others, key=lambda pair: (pair[0].shown.cost, pair[0].mistake), default=None)
        rivals = [expected, *([other[1]] if other else [])]
        if not _answerable(given, outcome, rivals, path):
            continue
        options = [right, option, *([other[0]] if other else [])]
        key = f"{pack.info.key}/{index}/{part}/{option.mistake}"
        cost = float(sum(look.cost for _, look in given) + sum(each.shown.cost for each in options))
        cost += 0 if other else 60
        cost += 40 * _unround(case) + 40 * any(not look.numbers for _, look in given) + 40 * (case.group == "gradient")
        yield QuickQuestion(
            pack.info.name, key, note, given, part, tuple(_shuffled(options, key)), option.mistake, cost
        )


def _given(case: Case) -> tuple[tuple[str, Shown], ...]:
    """Return the inputs of a case by name; what is absent says nothing."""
    names = [re.sub(r"^(?:tensors|options|arguments|kwargs)\.", "", path) for path, _ in flat(case.data)]
    plain = [re.sub(r"^args\[(\d+)\]$", lambda found: f"argument {int(found[1]) + 1}", name) for name in names]
    leaves = [leaf for _, leaf in flat(case.data)]
    return tuple((name, shown(leaf)) for name, leaf in zip(plain, leaves) if leaf is not None)


def _shuffled(options: Sequence[Option], key: str) -> list[Option]:
    """Order the options by chance, the same chance in every build."""
    return sorted(options, key=lambda option: hashlib.sha256(f"{key}:{option.mistake}".encode()).hexdigest())


def _differs(one: Outcome, other: Outcome, path: str) -> bool:
    """Tell whether two outcomes differ by more than a reader overlooks."""
    if one.status != "value" or other.status != "value":
        return (one.status, one.error) != (other.status, other.error)
    a, b = dict(flat(one.value)).get(path), dict(flat(other.value)).get(path)
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        return str(a) != str(b)
    if a.shape != b.shape:
        return True
    a, b = a.double().nan_to_num(), b.double().nan_to_num()
    return bool(a.numel()) and bool((a - b).abs().max() > NOTICEABLE * a.abs().max().clamp(min=1e-6))


def _answerable(given: Sequence[tuple[str, Shown]], wrong: Outcome, rivals: Sequence[Outcome], path: str) -> bool:
    """Tell whether the wrong output can be known from what the page shows.

    It can where all inputs are to be seen, so that an entry can be computed, and otherwise where the wrong output
    differs in kind from every other: an exception, a shape, a sign, a sum.
    """
    if all(look.numbers for _, look in given) and sum(look.cost for _, look in given) <= MOST_GIVEN:
        return True
    return all(_kind(wrong, path) != _kind(rival, path) for rival in rivals)


def _kind(outcome: Outcome, path: str) -> tuple[object, ...]:
    """Return what can be said about an output without knowing the inputs."""
    if outcome.status != "value":
        return (outcome.status, outcome.error)
    leaf = dict(flat(outcome.value)).get(path)
    if not isinstance(leaf, Tensor) or not leaf.numel():
        return (type(leaf).__name__,)
    value = leaf.double()
    rows = value.sum(-1) if value.ndim else value
    sums_to_one = bool(torch.allclose(rows, torch.ones_like(rows), atol=1e-4))
    return (tuple(leaf.shape), bool((value >= 0).all()), bool((value <= 0).all()), sums_to_one)


def _unround(case: Case) -> float:
    """Return the share of input numbers that nobody computes with in their head."""
    tensors = [leaf.double().flatten() for _, leaf in flat(case.data) if isinstance(leaf, Tensor) and leaf.numel()]
    if not tensors:
        return 0.0
    numbers = torch.cat(tensors)
    return float((numbers != numbers.round()).double().mean())
