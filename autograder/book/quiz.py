"""Quick questions below the sections of a lesson: which output is right, and which belongs to a known mistake?

They are made from what the check packs hold anyway: public cases, what the reference and the known mistakes answer on
them, and the sentence that helps. Nothing that is hidden from students comes near a page. They fill in where an author
wrote none, and only on inputs that one computes with in the head: whole numbers, at most 4 x 4 of them, and nothing but
arguments of the function itself.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from autograder.book.values import Shown, flat, shown, shown_outcome
from dlcv_lab.checking.model import Case, Outcome, Pack

EACH = 2  # questions a section
SIDE, LINE = 4, 8  # a tensor fits in 4 x 4 numbers, or is one line of 8
LARGEST = 200  # number that one computes with in the head
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
    options: tuple[Option, ...]
    about: str  # the mistake whose output is asked for; empty: the right output is asked for
    cost: float

    @property
    def answer(self) -> int:
        return next(index for index, option in enumerate(self.options) if option.mistake == self.about)


def for_section(packs: Sequence[Pack]) -> list[QuickQuestion]:
    """Return up to two questions on the exercises of a section, each about another mistake, in turns.

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
    """Yield every question on an exercise that a reader of the section can answer in the head."""
    wrong = pack.misconceptions()
    known = _parameters(pack.info.stub)
    for index, (case, right) in enumerate(zip(pack.cases, pack.expected)):
        given = _given(case, known)
        best = shown_outcome(right, "")
        if given is None or best is None or not _in_the_head(right.value if right.status == "value" else None):
            continue
        answers = [(each, shown_outcome(each.outcomes[index], "")) for each in wrong]
        there = [
            (Option(look, each.name, each.hint), each.outcomes[index])
            for each, look in answers
            if look is not None and _differs(right, each.outcomes[index]) and look.key != best.key
        ]
        yield from _of_case(pack, index, given, Option(best), there)


def _of_case(
    pack: Pack,
    index: int,
    given: tuple[tuple[str, Shown], ...],
    right: Option,
    wrong: Sequence[tuple[Option, Outcome]],
) -> Iterator[QuickQuestion]:
    case = pack.cases[index]
    for option, outcome in wrong:
        others = [
            other
            for other, result in wrong
            if other.shown.key not in (option.shown.key, right.shown.key) and _differs(outcome, result)
        ]
        # a second mistake on the same case makes three options; the cheapest to look at
        other = min(others, key=lambda each: (each.shown.cost, each.mistake), default=None)
        options = [right, option, *([other] if other else [])]
        key = f"{pack.info.key}/{index}//{option.mistake}"
        cost = float(sum(look.cost for _, look in given) + sum(each.shown.cost for each in options))
        cost += (0 if other else 60) + 40 * (case.group == "gradient")
        yield QuickQuestion(
            pack.info.name, key, case.note or case.group, given, tuple(_shuffled(options, key)), option.mistake, cost
        )


def _parameters(stub: str) -> list[list[str]]:
    """Return the parameters of every function and method of a stub, in their order."""
    try:
        tree = ast.parse(stub)
    except SyntaxError:
        return []
    found = [node.args for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return [
        [each.arg for each in (*args.posonlyargs, *args.args, *args.kwonlyargs) if each.arg != "self"] for args in found
    ]


def _given(case: Case, known: Sequence[Sequence[str]]) -> tuple[tuple[str, Shown], ...] | None:
    """Return the inputs of a case by the names that the function gives them; what is absent says nothing.

    None where an input is no argument of the function, or nothing to compute with in the head.
    """
    found = []
    for path, leaf in flat(case.data):
        name = re.sub(r"^(?:tensors|options|arguments|kwargs)\.", "", path)
        if place := re.fullmatch(r"args\[(\d+)\]", name):
            name = known[0][int(place[1])] if len(known) == 1 and int(place[1]) < len(known[0]) else ""
        if not any(name in names for names in known) or not _in_the_head(leaf):
            return None
        if leaf is not None:
            found.append((name, shown(leaf)))
    return tuple(found)


def _in_the_head(leaf: object) -> bool:
    """Tell whether a value is small and whole: a few numbers, a word, or a tensor of at most 4 x 4 numbers."""
    if isinstance(leaf, int | float):
        return abs(leaf) <= LARGEST and float(10 * leaf).is_integer()
    if not isinstance(leaf, Tensor):
        return True
    numbers = leaf.double()
    if not 0 < leaf.numel() <= SIDE * SIDE or not bool(
        ((numbers == numbers.round()) & (numbers.abs() <= LARGEST)).all()
    ):
        return False
    sides = [side for side in leaf.shape if side > 1]
    return leaf.numel() <= LINE if len(sides) < 2 else len(sides) == 2 and max(sides) <= SIDE


def _shuffled(options: Sequence[Option], key: str) -> list[Option]:
    """Order the options by chance, the same chance in every build."""
    return sorted(options, key=lambda option: hashlib.sha256(f"{key}:{option.mistake}".encode()).hexdigest())


def _differs(one: Outcome, other: Outcome) -> bool:
    """Tell whether two outcomes differ by more than a reader overlooks."""
    if one.status != "value" or other.status != "value":
        return (one.status, one.error) != (other.status, other.error)
    a, b = one.value, other.value
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        return str(a) != str(b)
    if a.shape != b.shape:
        return True
    a, b = a.double().nan_to_num(), b.double().nan_to_num()
    return bool(a.numel()) and bool((a - b).abs().max() > NOTICEABLE * a.abs().max().clamp(min=1e-6))
