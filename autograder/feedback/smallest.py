"""The smallest case on which a submission still makes the same mistake: shown after the deadline, and replayed.

Every simpler case goes the grader's own way: the reference gives the expected value in float64, all alternatives have
to agree with it, the student's code runs in the sandbox, the judge compares. A simpler case counts only if it fails in
the same way (docs/decisions/0014).
"""

from __future__ import annotations

import hashlib
import itertools
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from autograder.feedback.shrinking import measure, simpler
from autograder.grade.journal import Entry
from autograder.grade.marking import Marker
from autograder.release.judged_cases import HiddenError, Reference
from dlcv_lab.checking import compare
from dlcv_lab.checking.envelope import EnvelopeError, decode, encode
from dlcv_lab.checking.judging import judge_outcomes
from dlcv_lab.checking.model import Case, ExerciseInfo, ExerciseResult, Job, Outcome, Pack, Program, Verdict
from dlcv_lab.checking.wire import decode_outcome, encode_outcome
from dlcv_lab.files import write_whole

SHRUNK = (Verdict.WA, Verdict.TY, Verdict.RE)  # what ends a process is not run again and again to shrink it
SECONDS = 6.0  # at most, per exercise
_BATCH = 8  # simpler cases per process
_LOOSEST = 0.02  # of the largest value: beyond it the alternatives do not agree on a case
_KEEP_FORMAT = 1


@dataclass(frozen=True)
class Smallest:
    """One failing case: what goes in, what came, what is right."""

    case: Case
    got: Outcome
    expected: Outcome
    text: str  # the judge's words
    shrunk: bool


class Shrinker:
    """Finds smallest cases with a marker's sandbox. Not for use by two threads."""

    def __init__(self, marker: Marker, seconds: float = SECONDS) -> None:
        self.marker, self.seconds = marker, seconds
        self._references: dict[str, Reference] = {}

    def smallest(self, student: str, info: ExerciseInfo, program: Program, result: ExerciseResult) -> Smallest | None:
        """Return the smallest failing case of an exercise that was judged, or None where there is nothing to show.

        Args:
            student: whose cases they are.
            info: the exercise.
            program: what was extracted of the submission.
            result: the verdict that is explained.
        """
        if not program.attempted or not any(case.verdict in SHRUNK for case in result.cases):
            return None
        pack = self.marker.pack(student, info, program)
        found = self._same_again(pack, info, program, result)
        if found is None:
            return None
        job, outcomes = found
        failing = [case for case in result.cases if case.verdict in SHRUNK and outcomes[case.index].status != "missing"]
        if not failing:
            return None
        first = min(failing, key=lambda case: measure(pack.cases[case.index]))
        case, expected, got = pack.cases[first.index], pack.expected[first.index], outcomes[first.index]
        start = Smallest(case, got, expected, first.text, shrunk=False)
        search = _Search(self, info, job, pack, start, result, first.verdict)
        return search.run(time.monotonic() + self.seconds)

    def _same_again(
        self, pack: Pack, info: ExerciseInfo, program: Program, result: ExerciseResult
    ) -> tuple[Job, list[Outcome]] | None:
        """Run all cases as they were judged, in the reading and with the stand-ins with which it was so; None where
        other verdicts come now."""
        inputs = tuple(encode(case.data) for case in pack.cases)
        stored = [case.verdict for case in result.cases]
        ways = itertools.product(program.readings, dict.fromkeys(("", "\n\n".join(info.standins.values()))))
        for reading, standin in ways:
            job = Job(reading, info.probe, inputs, standin, info.forbid, info.limits)
            outcomes = self.marker.runner.run(job)
            if [case.verdict for case in judge_outcomes(pack, outcomes).cases] == stored:
                return job, outcomes
        return None

    def reference(self, info: ExerciseInfo) -> Reference:
        """Return the reference of an exercise; loaded once."""
        if info.name not in self._references:
            self._references[info.name] = Reference(self.marker.row.exercise_by_name[info.name], info)
        return self._references[info.name]


@dataclass
class _Search:
    shrinker: Shrinker
    info: ExerciseInfo
    job: Job
    pack: Pack
    best: Smallest
    result: ExerciseResult
    verdict: Verdict

    def run(self, end: float) -> Smallest:
        """Return the best that was found until `end`; what is returned failed once more in a process of its own."""
        start = self.best
        going = True
        while going and time.monotonic() < end:
            going = self._step(end)
        if self.best is start:
            return start
        again = self._outcomes([self.best.case])[0]
        confirmed = self._failure(self.best.case, self._pack(self.best.case), again)
        return confirmed or start

    def _step(self, end: float) -> bool:
        """Take the first simpler case that fails in the same way; say whether there was one."""
        hook = self.shrinker.marker.row.exercise_by_name[self.info.name].shrink
        offered: Iterable[Case] = hook(self.best.case) if hook else simpler(self.best.case, self.pack.cases)
        size = measure(self.best.case)
        smaller = (case for case in offered if measure(case) < size)
        for group in _batched(smaller, _BATCH):
            if time.monotonic() >= end:
                return False
            packs = [(case, pack) for case in group if (pack := self._pack(case)) is not None]
            for (case, pack), outcome in zip(packs, self._outcomes([case for case, _ in packs])):
                failure = self._failure(case, pack, outcome)
                if failure is not None:
                    self.best = failure
                    return True
        return False

    def _pack(self, case: Case) -> Pack | None:
        """Return the pack of one case if it makes sense: as the first one did, and all right solutions agree on it."""
        try:
            pack = self.shrinker.reference(self.info).pack([case])
            if self.result.diagnosis is None or "+" not in self.result.diagnosis.key:
                pack = replace(pack, pairs=tuple)  # nobody asks for two mistakes here
        except HiddenError:
            return None
        expected, first = pack.expected[0], self.best.expected
        if (expected.status, expected.error) != (first.status, first.error):
            return None
        leaves = compare.numeric_leaves(expected.value) if expected.status == "value" else []
        for (_, leaf), tolerance in zip(leaves, pack.tolerances[0]):
            finite = bool(torch.isfinite(compare.as_tensor(leaf).to(torch.complex128)).all())
            if not finite or not math.isfinite(tolerance) or tolerance > _LOOSEST * compare.scale(leaf):
                return None
        return pack

    def _outcomes(self, cases: Sequence[Case]) -> list[Outcome]:
        if not cases:
            return []
        limits = replace(self.info.limits, seconds=min(self.info.limits.seconds, 5.0), cpu_seconds=5.0)
        inputs = tuple(encode(case.data) for case in cases)
        return self.shrinker.marker.runner.run(replace(self.job, inputs=inputs, limits=limits))

    def _failure(self, case: Case, pack: Pack | None, outcome: Outcome) -> Smallest | None:
        """Return what to show if a case fails as the first one did: verdict, exception and known mistake alike."""
        if pack is None or outcome.status != self.best.got.status or outcome.error != self.best.got.error:
            return None
        judged = judge_outcomes(pack, [outcome])
        known = self.result.diagnosis
        if judged.cases[0].verdict is not self.verdict:
            return None
        if known and known.source == "misconception" and (not judged.diagnosis or judged.diagnosis.key != known.key):
            return None
        return Smallest(case, outcome, pack.expected[0], judged.cases[0].text, shrunk=True)


def _batched(items: Iterable[Case], size: int) -> Iterable[tuple[Case, ...]]:
    iterator = iter(items)
    while group := tuple(itertools.islice(iterator, size)):
        yield group


class Kept:
    """Smallest cases that were found, in journal/<slug>.cases/, one file per student, exercise and state of both."""

    def __init__(self, journal: Path, slug: str) -> None:
        self.folder = journal / f"{slug}.cases"

    def path(self, entry: Entry, result: ExerciseResult) -> Path:
        facts = [entry.student, entry.slug, entry.key, result.name, result.attempt, result.version, str(result.verdict)]
        return self.folder / (hashlib.sha256("\0".join(facts).encode("utf-8", "replace")).hexdigest()[:32] + ".case")

    def get(self, entry: Entry, result: ExerciseResult) -> Smallest | None:
        """Return what was found before, or None; a damaged file counts as none."""
        try:
            plain = decode(self.path(entry, result).read_bytes(), max_bytes=2**32)
            if plain["format"] != _KEEP_FORMAT:
                return None
            case = Case(plain["group"], plain["data"], plain["note"])
            got, expected = decode_outcome(plain["got"]), decode_outcome(plain["expected"])
            return Smallest(case, got, expected, plain["text"], plain["shrunk"])
        except (OSError, EnvelopeError, KeyError, TypeError):
            return None

    def put(self, entry: Entry, result: ExerciseResult, found: Smallest) -> None:
        """Keep what was found."""
        case = found.case
        plain = {
            "format": _KEEP_FORMAT, "group": case.group, "note": case.note, "data": case.data, "text": found.text,
            "shrunk": found.shrunk, "got": encode_outcome(found.got), "expected": encode_outcome(found.expected),
        }  # fmt: skip
        write_whole(self.path(entry, result), encode(plain))
