"""Which mistake, known or mechanical, has exactly the outcomes that came: alone, two at once, or in a part of them.

A mistake is told where its own answers on the same cases are those that came. So every sentence here rests on numbers
that were reproduced, never on a likeness.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from dlcv_lab.checking.compare import compare, input_dtype, numeric_leaves, scale
from dlcv_lab.checking.envelope import leaves
from dlcv_lab.checking.messages import say, spoken
from dlcv_lab.checking.model import Diagnosis, MisconceptionAnswers, Outcome, Pack, Verdict

PAIR_RUNS = 600  # answers of pairs that one wrong answer is compared with; no clock, so that the same answer gets the
# same sentence on every machine
NEAR_RUNS = 600  # the same for mechanical changes
_ROUNDING = 1e-5  # how far two runs of the same mistake may differ, relative to its largest number
_FEW = 6  # whole numbers and truth values below this many may agree by chance


def known(pack: Pack, outcomes: Sequence[Outcome], indices: Sequence[int], wrong: Collection[int]) -> Diagnosis | None:
    """Return the known mistake that has these outcomes on the cases with these numbers, of which some are wrong."""
    for answers in pack.misconceptions():
        if len(answers.outcomes) != len(outcomes):
            continue
        both = [(outcomes[index], answers.outcomes[index]) for index in indices]
        # where nothing but exceptions came, their kind alone says little
        values = any(got.status == "value" for (got, _), index in zip(both, indices) if index in wrong)
        if all(
            _reproduces(pack, index, got, theirs) and (values or _said_alike(got, theirs))
            for index, (got, theirs) in zip(indices, both)
        ):
            return Diagnosis(answers.name, answers.hint, "misconception")
    return None


def known_pair(pack: Pack, outcomes: Sequence[Outcome], indices: Sequence[int]) -> Diagnosis | None:
    """Return the two known mistakes that have these outcomes together."""
    found = pack.misconceptions()
    runs = 0
    for pair in pack.pairs():
        for index in indices:
            runs += 1
            if not _reproduces(pack, index, outcomes[index], pair.answer(index)):
                break
        else:
            first, second = found[pair.first], found[pair.second]
            text = say("two_mistakes", first=first.hint, second=second.hint)
            return Diagnosis(f"{first.name}+{second.name}", text, "misconception")
        if runs >= PAIR_RUNS:
            break
    return None


def near(pack: Pack, outcomes: Sequence[Outcome], indices: Sequence[int], wrong: Collection[int]) -> Diagnosis | None:
    """Return the mechanical change of a right solution that has these outcomes, or two that cannot be told apart.

    Nothing is said where three or more kinds of change would explain them, or where what came is too little to tell.
    """
    if not _telling(pack, outcomes, wrong):
        return None
    runs = 0
    clauses: dict[str, str] = {}
    for change in pack.near():
        for index in indices:
            runs += 1
            if not _reproduces(pack, index, outcomes[index], change.answer(index)):
                break
        else:
            clauses.setdefault(change.clause, change.key)
        if runs >= NEAR_RUNS or len(clauses) > 2:
            break
    if not 0 < len(clauses) <= 2:
        return None
    text = say("near", clause=say("or").join(clauses))
    return Diagnosis("near." + "+".join(dict.fromkeys(clauses.values())), text, "generic")


@dataclass(frozen=True)
class _Place:
    """What one case holds of one part of the answers, or the whole case where it has no parts."""

    index: int
    part: str | int | None
    right: bool


def known_in_part(pack: Pack, outcomes: Sequence[Outcome], verdicts: Sequence[Verdict]) -> Diagnosis | None:
    """Return the one or two known mistakes that explain every part of the answers that is wrong, each in its part.

    Parts are the keys of a dictionary, or the named items of a tuple; where an exercise defines several names, those of
    each kind of cases are told apart, too. A part is explained where each of its answers is that of the mistake. Where
    one stays unexplained, what the others have in common with a known mistake is likely to be chance.
    """
    if any(outcome.mutated for outcome in outcomes):
        return None
    parts: dict[tuple[str, str | int | None], list[_Place]] = {}
    for index, verdict in enumerate(verdicts):
        group = pack.cases[index].group if len(pack.info.defines) > 1 else ""
        for place in _places(pack, index, outcomes[index], verdict):
            parts.setdefault((group, place.part), []).append(place)
    wrong = [key for key, places in parts.items() if not all(place.right for place in places)]
    if len(parts) < 2 or not wrong:
        return None
    told: dict[str, tuple[MisconceptionAnswers, list[str]]] = {}
    for key in wrong:
        mistake = _of_part(pack, outcomes, parts[key])
        if mistake is None:
            return None
        told.setdefault(mistake.hint, (mistake, []))[1].append(_called(pack, *key))
    if len(told) > 2:
        return None
    texts = [say("in_part", place=_all_of(names), hint=hint) for hint, (_, names) in told.items()]
    text = texts[0] if len(texts) == 1 else say("two_mistakes", first=texts[0], second=texts[1])
    return Diagnosis("part." + "+".join(mistake.name for mistake, _ in told.values()), text, "generic")


def _places(pack: Pack, index: int, got: Outcome, verdict: Verdict) -> list[_Place]:
    expected = pack.expected[index]
    keys = _keys(pack, expected.value) if expected.status == "value" else []
    if got.status != "value" or not keys or keys != _keys(pack, got.value):
        return [_Place(index, None, verdict is Verdict.OK)]
    return [
        _Place(index, key, compare(got.value[key], expected.value[key], _allowed(pack, index, key),
                                   exact_dtype=pack.info.exact_dtype, dtype=input_dtype(pack.cases[index])).equal)
        for key in keys
    ]  # fmt: skip


def _keys(pack: Pack, value: object) -> list[str | int]:
    """Return what the parts of an answer are called by: keys, or places in a tuple whose parts have names."""
    if isinstance(value, dict) and len(value) > 1 and all(isinstance(key, str) for key in value):
        return sorted(value)
    if isinstance(value, tuple | list) and len(value) == len(pack.info.returns) > 1:
        return list(range(len(value)))
    return []


def _allowed(pack: Pack, index: int, key: str | int) -> list[float]:
    found = numeric_leaves(pack.expected[index].value)
    return [one for one, (path, _) in zip(pack.tolerances[index], found) if path.startswith(f"[{key!r}]")]


def _of_part(pack: Pack, outcomes: Sequence[Outcome], places: Sequence[_Place]) -> MisconceptionAnswers | None:
    """Return the known mistake that has every one of these answers; of several, the one that is otherwise nearest."""
    mine = [(outcomes[place.index], place) for place in places if not place.right]
    if not any(got.status == "value" and _tells(_sub(got, place.part)) for got, place in mine):
        return None
    found = [
        mistake
        for mistake in pack.misconceptions()
        if len(mistake.outcomes) == len(outcomes)
        and all(_has_part(pack, outcomes[place.index], mistake.outcomes[place.index], place) for place in places)
    ]
    return max(
        found,
        key=lambda each: sum(_reproduces(pack, n, got, each.outcomes[n]) for n, got in enumerate(outcomes)),
        default=None,
    )


def _has_part(pack: Pack, got: Outcome, theirs: Outcome, place: _Place) -> bool:
    if place.part is None:
        return _reproduces(pack, place.index, got, theirs)
    if theirs.status != "value" or _keys(pack, theirs.value) != _keys(pack, got.value):
        return False
    mine, wrong = _sub(got, place.part), _sub(theirs, place.part)
    return compare(mine, wrong, _slack(wrong, _allowed(pack, place.index, place.part))).equal


def _sub(outcome: Outcome, part: str | int | None) -> object:
    return outcome.value if part is None else outcome.value[part]


def _called(pack: Pack, group: str, part: str | int | None) -> str:
    name = say("at", name=spoken(f"[{part!r}]", pack.info.returns)) if part is not None else ""
    kind = say("of_kind", group=group) if group and len(pack.info.groups) > 1 else ""
    return ", ".join(filter(None, (name, kind))) or say("your_output")


def _all_of(names: Sequence[str]) -> str:
    """Name several parts in a sentence, three of them where they are more."""
    known = list(dict.fromkeys(names))
    text = " and ".join(known[:3]) + (say("more", count=len(known) - 3) if len(known) > 3 else "")
    return text[0].upper() + text[1:]


def _telling(pack: Pack, outcomes: Sequence[Outcome], wrong: Collection[int]) -> bool:
    """Tell whether the wrong answers hold enough to know a change by: a fraction, or several whole numbers."""
    values = [outcomes[index].value for index in wrong if outcomes[index].status == "value"]
    return any(map(_tells, values)) or sum(map(_size, values)) >= _FEW


def _tells(value: object) -> bool:
    """Tell whether an answer holds fractions, which do not agree by chance, or many whole numbers."""
    floats = [leaf for _, leaf in numeric_leaves(value) if isinstance(leaf, float) or _is_floating(leaf)]
    return bool(floats) or _size(value) >= _FEW


def _is_floating(leaf: object) -> bool:
    dtype = getattr(leaf, "dtype", None)
    return bool(getattr(dtype, "is_floating_point", False)) and getattr(leaf, "numel", int)() > 0


def _size(value: object) -> int:
    return sum(int(getattr(leaf, "numel", lambda: 1)()) for _, leaf in leaves(value))


def _said_alike(got: Outcome, wrong: Outcome) -> bool:
    """Tell whether two exceptions say the same up to numbers; a refusal in words of one's own is alike, too."""
    own = got.line.startswith("raise ")
    return got.status != "raised" or own or re.sub(r"\d+", "", got.message) == re.sub(r"\d+", "", wrong.message)


def _reproduces(pack: Pack, index: int, got: Outcome, wrong: Outcome) -> bool:
    """Tell whether an outcome is the one that a mistake has on this case."""
    if got.status != wrong.status:
        return False
    if got.status == "raised":
        return got.error == wrong.error
    if got.status != "value":
        return True
    if pack.info.keeps_inputs and bool(got.mutated) != bool(wrong.mutated):
        return False
    return compare(got.value, wrong.value, _slack(wrong.value, pack.tolerances[index])).equal


def _slack(wrong: object, allowed: Sequence[float]) -> list[float]:
    """Return how far each numeric leaf of a mistake's answer may be from the one that came."""
    found = numeric_leaves(wrong)
    widest = max(allowed, default=0.0)
    given = allowed if len(allowed) == len(found) else [widest] * len(found)
    return [max(number, _ROUNDING * scale(leaf)) if number else 0.0 for number, (_, leaf) in zip(given, found)]
