"""Decisions that people take about marks: an override for one student, or an exercise declared void for all.

They are kept apart from the verdicts, in an append-only log beside the journal, and laid over the verdicts wherever
marks are used: gradebook, formgrader's button, feedback, summary, exports. A judgement never erases a decision, and
a decision never hides a judgement (docs/decisions/0013).
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from autograder.base.wording import plain_text, points
from autograder.grade.journal import Entry, JournalError
from dlcv_lab.checking.model import ExerciseResult, Verdict

FORMAT = 1
Kind = Literal["override", "lift", "void", "unvoid"]
KINDS: tuple[Kind, ...] = ("override", "lift", "void", "unvoid")


@dataclass(frozen=True)
class Decision:
    """One line of the log. `student` is empty where it holds for the whole class."""

    kind: Kind
    exercise: str
    why: str
    student: str = ""
    points: float | None = None
    by: str = ""
    when: str = ""  # UTC


@dataclass(frozen=True)
class Marks:
    """What holds now: the log read from its beginning to its end."""

    overrides: Mapping[tuple[str, str], Decision] = field(default_factory=dict)  # (student, exercise) -> decision
    voids: Mapping[str, Decision] = field(default_factory=dict)  # exercise -> decision

    def __bool__(self) -> bool:
        return bool(self.overrides or self.voids)

    def apply(self, student: str, results: Iterable[ExerciseResult]) -> tuple[ExerciseResult, ...]:
        """Return results with the decisions laid over them; what the judge said stays in verdict and message."""
        return tuple(self._applied(student, result) for result in results)

    def over(self, entry: Entry) -> Entry:
        """Return an entry of the journal with the decisions laid over it."""
        if not self:
            return entry
        results = {stem: self.apply(entry.student, listed) for stem, listed in entry.results.items()}
        return replace(entry, results=results)

    def _applied(self, student: str, result: ExerciseResult) -> ExerciseResult:
        override = self.overrides.get((student, result.name))
        void = self.voids.get(result.name)
        if override is not None and override.points is not None:
            score = min(max(override.points, 0.0), result.max_score)
            note = f"{points(score)} points by decision of a marker: {override.why}"
        elif void is not None:
            score, note = result.max_score, f"void, full points for everyone: {void.why}"
        else:
            return result
        # a fault of the grader must not keep back points that a person has already given
        verdict = Verdict.NA if result.verdict is Verdict.XX else result.verdict
        return replace(result, verdict=verdict, score=score, notes=(*result.notes, plain_text(note)))


class DecisionLog:
    """The log of one chapter: journal/<slug>.decisions.jsonl."""

    def __init__(self, journal: Path, slug: str) -> None:
        self.path = journal / f"{slug}.decisions.jsonl"

    def history(self) -> list[Decision]:
        """Return every decision that was ever taken, oldest first; a line cut off by a crash is passed over."""
        if not self.path.exists():
            return []
        found = []
        with self.path.open("r", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    found.append(_from_plain(json.loads(line)))
        return found

    def marks(self) -> Marks:
        """Return what holds now."""
        overrides: dict[tuple[str, str], Decision] = {}
        voids: dict[str, Decision] = {}
        for decision in self.history():
            place = decision.student, decision.exercise
            if decision.kind == "override":
                overrides[place] = decision
            elif decision.kind == "lift":
                overrides.pop(place, None)
            elif decision.kind == "void":
                voids[decision.exercise] = decision
            else:
                voids.pop(decision.exercise, None)
        return Marks(overrides, voids)

    def append(self, decision: Decision) -> Decision:
        """Write a decision with its author and time, and wait until it is on disk; return what was written.

        Raises:
            JournalError: the log cannot be written.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        whole = replace(decision, by=decision.by or _user(), when=decision.when or now)
        line = json.dumps({"format": FORMAT, **asdict(whole)}, ensure_ascii=False, allow_nan=False)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # one write at the end of the file: two markers at once cannot cut each other's lines
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                os.write(descriptor, ("\n" + line + "\n").encode("utf-8", "backslashreplace"))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise JournalError(
                f"{self.path} cannot be written ({error.strerror}); make room or make it writable. Nothing was decided"
            ) from error
        return whole


def _from_plain(plain: dict[str, object]) -> Decision:
    if plain.pop("format") != FORMAT or plain["kind"] not in KINDS:
        raise ValueError("another format")
    decision = Decision(**plain)  # type: ignore[arg-type]
    if decision.points is not None and not isinstance(decision.points, int | float):
        raise TypeError("points are a number")
    return decision


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""
