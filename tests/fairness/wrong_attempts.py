"""Mutants of a chapter's references, judged in this process, and what the student would be told about each."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from mutants import Mutant, mutants
from truth import is_true
from variants import origins

from autograder.chapter import rows
from autograder.declare.exercise import Exercise
from autograder.release import packing
from autograder.release.judged_cases import hidden_pack
from dlcv_lab.checking.envelope import encode
from dlcv_lab.checking.execute import load_namespace, load_probe, run_case
from dlcv_lab.checking.judging import judge_outcomes
from dlcv_lab.checking.model import ExerciseInfo, ExerciseResult, Outcome, Pack, Program, Verdict

LOOKED_AT = 12  # of the shuffled mutants of an exercise, at the least
VAGUE = frozenset({"numbers"})  # true, and says no more than that something is wrong


@dataclass(frozen=True)
class Told:
    """One wrong attempt and what was said about it."""

    exercise: str
    mutant: Mutant
    result: ExerciseResult
    truth: bool | None

    @property
    def kind(self) -> str:
        """Return "misconception", "rule", "exception" (named with the student's own line), "numbers" or "nothing"."""
        found = self.result.diagnosis
        if found is not None and found.key not in VAGUE:
            return "misconception" if found.source == "misconception" else "rule"
        if "raised" in self.result.message and "in the line" in self.result.message:
            return "exception"
        return "numbers" if found is not None else "nothing"

    @property
    def specific(self) -> bool:
        return self.kind in ("misconception", "rule", "exception") and self.truth is not False


class _TooLong(BaseException):
    pass


@contextmanager
def _at_most(seconds: int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def attempts(row: rows.Row, per_exercise: int, seed: int = 0, *, held_out: bool = False) -> Iterator[Told]:
    """Yield wrong attempts at every exercise of a chapter; mutants that are right after all are left out.

    The mutants of each exercise are shuffled; with `held_out` only the second half of them is drawn from, which nobody
    looked at while the sentences of chapter 3 were improved.
    """
    for name, pool in pools(row, seed).items():
        first = max(len(pool) // 2, LOOKED_AT) if held_out else 0
        yield from attempts_at(row, row.exercise_by_name[name], pool[first:], per_exercise)


def pools(row: rows.Row, seed: int = 0) -> dict[str, list[Mutant]]:
    """Return the mutants of every exercise's reference in a random order."""
    rng = random.Random(seed)
    found = {}
    for exercise in row.exercises:
        found[exercise.name] = list(mutants(origins(row, exercise)["reference"]))
        rng.shuffle(found[exercise.name])
    return found


def attempts_at(row: rows.Row, exercise: Exercise, pool: Sequence[Mutant], count: int) -> Iterator[Told]:
    """Yield the first `count` mutants of a pool that are wrong, each judged."""
    info = packing.info_of(row, exercise)
    pack = hidden_pack(exercise, info, b"wrong attempts")
    below = [origins(row, row.exercise_by_name[name])["reference"] for name in _used(row, exercise)]
    for mutant in pool:
        outcomes = _outcomes(info, pack, [*below, mutant.text]) if count else None
        if outcomes is None:
            continue
        result = judge_outcomes(pack, outcomes)
        if result.verdict not in (Verdict.OK, Verdict.NA):
            count -= 1
            yield Told(exercise.name, mutant, result, is_true(pack, outcomes, result))


def _used(row: rows.Row, exercise: Exercise) -> list[str]:
    found: list[str] = []
    for name in exercise.uses:
        found += [one for one in (*_used(row, row.exercise_by_name[name]), name) if one not in found]
    return found


def _outcomes(info: ExerciseInfo, pack: Pack, texts: Sequence[str]) -> list[Outcome] | None:
    """Return what the code answers; None where it does not come to an end."""
    try:
        with _at_most(20):
            names, _ = load_namespace(Program(info.setup, tuple(texts), attempted=True))
            run = load_probe(info.probe)
            return [run_case(run, names, encode(case.data), info.forbid) for case in pack.cases]
    except _TooLong:
        return None
