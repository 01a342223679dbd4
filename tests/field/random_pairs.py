"""Two known mistakes of an exercise at once, drawn at random, and what is told of them."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

from autograder.chapter import rows
from autograder.declare import slips
from autograder.declare.exercise import Exercise
from autograder.release.judged_cases import Reference
from dlcv_lab.checking.judging import judge_outcomes
from dlcv_lab.checking.model import ExerciseResult, Pack, Verdict


@dataclass(frozen=True)
class Pair:
    """Two slips, and how many of their sentences were told; a pair that is right on the cases is not here."""

    exercise: str
    name: str
    sentences: int
    seconds: float  # of judging
    result: ExerciseResult


def told_on(row: rows.Row, exercise: Exercise, pack: Pack, most: int, draws: random.Random) -> Iterator[Pair]:
    """Draw `most` pairs of an exercise of `row`, judge them on a pack and yield what was told."""
    found = list(slips.pairs(exercise))
    reference = Reference(exercise, pack.info)
    for first, second, both in draws.sample(found, min(most, len(found))):
        outcomes = [reference.answer(case.data, both) for case in pack.cases]
        started = time.perf_counter()
        result = judge_outcomes(pack, outcomes)
        seconds = time.perf_counter() - started
        if result.verdict is not Verdict.OK:
            hints = [exercise.misconceptions[place].hint.strip() for place in (first, second)]
            told = sum(hint in result.hint for hint in hints)
            yield Pair(exercise.name, both.name, told, seconds, result)
