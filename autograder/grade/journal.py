"""The journal: one line per graded submission, on disk before the next one begins. A killed run resumes from it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autograder.base.disks import told
from dlcv_lab.checking.model import CaseResult, Diagnosis, ExerciseResult, Verdict

FORMAT = 1


class JournalError(RuntimeError):
    """The journal cannot be used; the message names the file and the remedy."""


@dataclass(frozen=True)
class Entry:
    """The judgement of one submission."""

    student: str
    slug: str
    address: str  # of what was judged: see `address`
    key: str  # id of the secret that made the cases
    isolation: str
    results: dict[str, tuple[ExerciseResult, ...]]  # notebook stem -> results
    digests: dict[str, str]  # notebook stem -> SHA-256 of the bytes that were judged
    extras: tuple[str, ...] = ()  # exercises that count nothing
    when: str = ""  # UTC

    @property
    def flat(self) -> tuple[ExerciseResult, ...]:
        return tuple(result for results in self.results.values() for result in results)

    @property
    def score(self) -> float:
        """Return the sum over the core exercises; `XX` counts nothing and is not zero either: see `faulty`."""
        return sum(result.score for result in self.flat if result.name not in self.extras)

    @property
    def max_score(self) -> float:
        """Return what the core exercises are worth together."""
        return sum(result.max_score for result in self.flat if result.name not in self.extras)

    @property
    def faulty(self) -> tuple[str, ...]:
        """Return the exercises that the grader itself could not judge."""
        return tuple(result.name for result in self.flat if result.verdict is Verdict.XX)


def address(student: str, slug: str, digests: dict[str, str], version: str, key: str, isolation: str) -> str:
    """Return the name of a judgement by its content: the same submission and exercises need no second run."""
    facts = [FORMAT, student, slug, sorted(digests.items()), version, key, isolation]
    return hashlib.sha256(json.dumps(facts, ensure_ascii=False).encode("utf-8")).hexdigest()


class Journal:
    """A JSON-lines file, appended and synced per submission. One grading run holds it at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: Any = None

    def entries(self) -> Iterator[Entry]:
        """Yield every entry that was written whole, oldest first; a line cut off by a crash is passed over."""
        if not self.path.exists():
            return
        with self.path.open("r", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    yield from_plain(json.loads(line))

    def latest(self) -> dict[str, Entry]:
        """Return the last entry of every student."""
        return {entry.student: entry for entry in self.entries()}

    def done(self) -> dict[str, Entry]:
        """Return the entries that need no second run, by address; those with a grader's fault are left out."""
        return {entry.address: entry for entry in self.entries() if not entry.faulty}

    def append(self, entry: Entry) -> None:
        """Write an entry and wait until it is on disk."""
        line = json.dumps(to_plain(entry), ensure_ascii=False, allow_nan=False) + "\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as sink:
                if sink.tell() and not _ends_with_newline(sink):
                    line = "\n" + line
                sink.write(line.encode("utf-8", "backslashreplace"))
                sink.flush()
                os.fsync(sink.fileno())
        except OSError as error:
            raise JournalError(f"{told(error, self.path)}. Nothing that was graded before is lost") from error

    def __enter__(self) -> Journal:
        """Hold the journal for one run; raise `JournalError` while another run holds it."""
        import fcntl

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = self.path.with_suffix(".lock").open("a")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise JournalError(f"{self.path}: another run grades this chapter; wait for it or stop it") from None
        except OSError as error:
            raise JournalError(told(error, self.path.parent)) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()


def _ends_with_newline(sink: Any) -> bool:
    sink.seek(-1, os.SEEK_END)
    return bool(sink.read(1) == b"\n")


def to_plain(entry: Entry) -> dict[str, Any]:
    """Return an entry as JSON data."""
    plain = asdict(entry) | {"format": FORMAT}
    plain["results"] = {stem: [result_to_plain(one) for one in results] for stem, results in entry.results.items()}
    return plain


def from_plain(plain: dict[str, Any]) -> Entry:
    """Return the entry of JSON data; raises ValueError, KeyError or TypeError for anything else."""
    if plain.pop("format") != FORMAT:
        raise ValueError("another format")
    results = {stem: tuple(result_from_plain(item) for item in items) for stem, items in plain.pop("results").items()}
    return Entry(**{**plain, "results": results, "extras": tuple(plain["extras"])})


def result_to_plain(result: ExerciseResult) -> dict[str, Any]:
    """Return a result as JSON data; numbers that JSON has no word for become null."""
    plain: dict[str, Any] = _finite(asdict(result))
    return plain


def result_from_plain(plain: dict[str, Any]) -> ExerciseResult:
    cases = tuple(CaseResult(**{**case, "verdict": Verdict(case["verdict"])}) for case in plain["cases"])
    diagnosis = Diagnosis(**plain["diagnosis"]) if plain["diagnosis"] else None
    known = {**plain, "verdict": Verdict(plain["verdict"]), "cases": cases, "diagnosis": diagnosis}
    return ExerciseResult(**{**known, "notes": tuple(plain["notes"])})


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, Verdict):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
