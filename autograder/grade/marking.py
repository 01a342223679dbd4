"""Grade the submissions of one chapter: read, run and judge each, whatever is in it, and keep the others unaffected."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType

import torch

from autograder.chapter.rows import Row, load_row
from autograder.grade.journal import Entry, address
from autograder.grade.submissions import MAX_NOTEBOOK, Submission, read_bytes
from autograder.release import packing
from autograder.release.judged_cases import HiddenError, attempt_seed, hidden_pack, key_id, student_key
from autograder.release.warm_start import runner_for
from autograder.sandbox import SandboxFault, SandboxRunner
from autograder.sandbox.reading import read_programs
from dlcv_lab.checking.model import ExerciseInfo, ExerciseResult, Pack, Program, Verdict
from dlcv_lab.checking.notebook_reader import UnreadableError
from dlcv_lab.checking.submission import judge_programs, unreadable

Results = tuple[ExerciseResult, ...]
_KEPT = "kept from an earlier run"


class Marker:
    """Judges notebooks of one chapter with one secret at one isolation level. Not for use by two threads."""

    def __init__(
        self,
        chapter: str,
        secret: bytes,
        level: str,
        *,
        cold: bool = False,
        device: str = "cpu",
        only: Iterable[str] = (),
        runner: SandboxRunner | None = None,
    ) -> None:
        """Load the chapter. A `runner` of the same chapter, level and device may have started already; it is closed
        with the marker."""
        torch.set_num_threads(1)
        self.row: Row = load_row(chapter)
        self.secret, self.key, self.level = secret, key_id(secret), level
        self.runner = runner or runner_for(chapter, level, cold=cold, device=device)
        self.infos = infos_by_notebook(self.row)
        self.only = with_used(self.row, only)

    def __enter__(self) -> Marker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def prepare(self) -> None:
        """Draw and answer one set of cases of every exercise, to load all that this needs before a student waits."""
        for info in (info for stem in self.infos for info in self.chosen(stem)):
            with contextlib.suppress(Exception):  # what is wrong with an exercise is told when it is judged
                hidden_pack(self.row.exercise_by_name[info.name], info, b"prepare")

    def close(self) -> None:
        """End the sandbox."""
        self.runner.close()

    def mark(self, submission: Submission) -> Entry:
        """Judge everything that one student handed in."""
        results: dict[str, Results] = {}
        digests: dict[str, str] = {}
        for stem in self.infos:
            infos = self.chosen(stem)
            if not infos:
                continue
            path = submission.files.get(stem)
            problem = submission.problems.get(stem, "")
            if path is not None and not problem:
                try:
                    raw = read_bytes(path)
                except OSError as error:
                    problem = f"the file cannot be read: {error.strerror or error}"
                else:
                    digests[stem] = hashlib.sha256(raw).hexdigest()
                    marked = self.mark_notebook(submission.student, stem, raw)
                    results[stem] = tuple(_beside(result, submission.beside.get(stem, ())) for result in marked)
                    continue
            if problem:
                results[stem] = tuple(unreadable(info, f"{stem}.ipynb: {problem}") for info in infos)
            else:
                results[stem] = tuple(_not_handed_in(info) for info in infos)
        return Entry(
            student=submission.student,
            slug=self.row.slug,
            address=self.address(submission.student, digests),
            key=self.key,
            isolation=self.runner.label,
            results=results,
            digests=digests,
            extras=tuple(info.name for infos in self.infos.values() for info in infos if not info.core),
            when=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def address(self, student: str, digests: dict[str, str]) -> str:
        """Return the content address of a judgement of these notebooks."""
        judged = {stem: self.chosen(stem) for stem in self.infos}
        where = self.level if self.runner.device == "cpu" else f"{self.level} {self.runner.device}"
        return address(student, self.row.slug, digests, version(judged), self.key, where)

    def chosen(self, stem: str) -> list[ExerciseInfo]:
        """Return the exercises of a notebook that are judged: all, or those of `only` and what they use."""
        return [info for info in self.infos[stem] if not self.only or info.name in self.only]

    def mark_notebook(self, student: str, stem: str, raw: bytes) -> Results:
        """Judge one notebook from its bytes; a fault of the grader is tried once more in a new sandbox."""
        infos = self.chosen(stem)
        results = self._attempt(student, infos, raw)
        if any(result.verdict is Verdict.XX for result in results):
            self.runner.close()
            results = self._attempt(student, infos, raw)
        return results

    def programs(self, stem: str, raw: bytes) -> dict[str, Program]:
        """Read a notebook in the sandbox and return the code that counts for each exercise."""
        if len(raw) > MAX_NOTEBOOK:
            raise UnreadableError("the file is larger than 20 MiB; clear the outputs and save it again")
        return read_programs(self.runner, raw, self.infos[stem])

    def student_key(self, student: str) -> bytes:
        """Return the key from which a student's cases are drawn."""
        return student_key(self.secret, student)

    def pack(self, student: str, info: ExerciseInfo, program: Program) -> Pack:
        """Return the secret cases of one attempt."""
        exercise = self.row.exercise_by_name[info.name]
        try:
            return hidden_pack(exercise, info, attempt_seed(self.student_key(student), info.key, program.digest))
        except Exception as error:  # our own code on our own data: whatever fails here is a fault of the grader
            raise _OwnFault(info.name, f"{type(error).__name__}: {error}") from error

    def _attempt(self, student: str, infos: Sequence[ExerciseInfo], raw: bytes) -> Results:
        try:
            programs = self.programs(infos[0].notebook, raw) if infos else {}
        except UnreadableError as error:
            return tuple(unreadable(info, str(error).rstrip(".")) for info in infos)
        except SandboxFault as fault:
            return tuple(_fault(info, str(fault)) for info in infos)
        faults: dict[str, str] = {}
        while True:
            sound = [info for info in infos if info.name not in faults]
            try:
                judged = judge_programs(
                    programs, sound, lambda info, program: self.pack(student, info, program), self.runner
                )
                break
            except _OwnFault as fault:
                faults[fault.exercise] = fault.why
            except Exception as error:
                faults |= {info.name: f"{type(error).__name__}: {error}" for info in sound}
        by_name = {result.name: result for result in judged} if len(faults) < len(infos) else {}
        return tuple(by_name[i.name] if i.name in by_name else _fault(i, faults[i.name]) for i in infos)


class _OwnFault(HiddenError):
    def __init__(self, exercise: str, why: str) -> None:
        super().__init__(why)
        self.exercise, self.why = exercise, why


def never_lower(entry: Entry, previous: Entry | None) -> Entry:
    """Return the entry with every exercise that got fewer points than before as it was before.

    That holds for the same files only: whoever hands in something else is judged on it.
    """
    if previous is None or previous.digests != entry.digests:
        return entry
    before = {result.name: result for result in previous.flat}

    def better(result: ExerciseResult) -> ExerciseResult:
        old = before.get(result.name)
        if old is None or result.verdict is Verdict.XX or old.score <= result.score:
            return result
        return kept_better(old, result)

    results = {stem: tuple(better(result) for result in listed) for stem, listed in entry.results.items()}
    return replace(entry, results=results)


def kept_better(old: ExerciseResult, new: ExerciseResult) -> ExerciseResult:
    """Return an earlier result in the place of a new one that has fewer points, and say so."""
    note = f"{_KEPT}; judged again it would get {new.verdict}, {new.score:g} points"
    return replace(old, version=new.version, notes=(*(n for n in old.notes if not n.startswith(_KEPT)), note))


def infos_by_notebook(row: Row) -> dict[str, list[ExerciseInfo]]:
    """Return the exercises of each notebook of a chapter, in order."""
    return {lesson.stem: packing.infos_of(row, lesson.stem) for lesson in row.notebooks}


def with_used(row: Row, names: Iterable[str]) -> frozenset[str]:
    """Return the names of exercises and of all that they use, transitively."""
    found, waiting = set[str](), list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += row.exercise_by_name[name].uses
    return frozenset(found)


def version(infos: dict[str, list[ExerciseInfo]]) -> str:
    """Return a hash over everything that decides the verdicts of a chapter."""
    facts = [f"{info.key} {info.version}" for listed in infos.values() for info in listed]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def _beside(result: ExerciseResult, files: Sequence[str]) -> ExerciseResult:
    """Say of an exercise that is not attempted that another file lay beside the one that was read."""
    if result.verdict is not Verdict.NA or not files:
        return result
    return replace(result, message=f"{result.message} Another file was handed in and not read: {', '.join(files)}.")


def _not_handed_in(info: ExerciseInfo) -> ExerciseResult:
    return ExerciseResult(info.name, Verdict.NA, 0.0, info.points, message=f"{info.notebook}.ipynb was not handed in.",
                          version=info.version)  # fmt: skip


def _fault(info: ExerciseInfo, why: str) -> ExerciseResult:
    return ExerciseResult(info.name, Verdict.XX, 0.0, info.points, message=f"The grader failed: {why}",
                          version=info.version)  # fmt: skip
