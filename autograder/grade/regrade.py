"""When we were wrong: judge again what an exercise's change touches, look first, then write; never lower unless asked.

Only exercises are judged again whose content version is no longer the one that a verdict was made by, those that were
named, those that the grader failed on, and those that use one of them. Everything that people did stays as it is:
marks by hand, overrides, extensions, comments.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autograder.chapter.rows import Row, RowError
from autograder.grade.journal import Entry, Journal, address
from autograder.grade.marking import infos_by_notebook, kept_better, version
from autograder.grade.pool import digests_of
from autograder.grade.submissions import Submission
from autograder.release.course import Course
from dlcv_lab.checking.model import ExerciseInfo, ExerciseResult, Verdict


@dataclass(frozen=True)
class Change:
    """One exercise of one student that was judged again."""

    student: str
    exercise: str
    old: ExerciseResult
    new: ExerciseResult  # what would count from now on
    why: str
    kept: bool = False  # the new judgement is lower and the old one stays
    fault: bool = False  # the grader failed, so the old one stays

    @property
    def differs(self) -> bool:
        return self.kept or (self.old.verdict, self.old.score) != (self.new.verdict, self.new.score)


@dataclass(frozen=True)
class Work:
    """What has to be judged again: submissions with only the notebooks that matter, and the reasons."""

    submissions: list[Submission]
    reasons: dict[str, dict[str, str]]  # student -> exercise -> why
    left_out: dict[str, str]  # student -> why nothing of theirs is judged again

    @property
    def exercises(self) -> tuple[str, ...]:
        return tuple(sorted({name for reasons in self.reasons.values() for name in reasons}))


def pending(course: Course, slug: str) -> Path:
    """Return the file that keeps a preview, so that --apply judges nothing a second time."""
    return course.journal / f"{slug}.regrade.jsonl"


def find_work(row: Row, entries: Mapping[str, Entry], handed_in: Iterable[Submission], named: Sequence[str]) -> Work:
    """Say what has to be judged again.

    Args:
        row: the chapter.
        entries: the journal's latest entry of each student.
        handed_in: what lies in submitted/ now.
        named: exercises to judge again whatever their version; empty: all that changed.

    Raises:
        RowError: an exercise that the chapter does not have.
    """
    unknown = [name for name in named if name not in row.exercise_by_name]
    if unknown:
        raise RowError(f"{row.key} has no exercise {unknown[0]!r}; it has {', '.join(row.exercise_by_name)}")
    infos = {info.name: info for listed in infos_by_notebook(row).values() for info in listed}
    work = Work([], {}, {})
    present = {submission.student: submission for submission in handed_in}
    for student, entry in sorted(entries.items()):
        reasons = _reasons(row, infos, entry, named)
        submission = present.get(student)
        if not reasons:
            continue
        if submission is None:
            work.left_out[student] = "nothing of theirs lies in submitted/ any more"
        elif submission.problems or digests_of(submission) != entry.digests:
            work.left_out[student] = "other files than were judged lie there now; `dlcv grade` judges them"
        else:
            stems = {infos[name].notebook for name in reasons}
            files = {stem: path for stem, path in submission.files.items() if stem in stems}
            work.submissions.append(replace(submission, files=files))
            work.reasons[student] = reasons
    return work


def _reasons(row: Row, infos: Mapping[str, ExerciseInfo], entry: Entry, named: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    judged = {result.name: result for result in entry.flat}
    for name, info in infos.items():
        result = judged.get(name)
        if result is None:
            found[name] = "new in the chapter"
        elif named:
            if name in named:
                found[name] = _changed(result, info) or "named"
        elif result.verdict is Verdict.XX:
            found[name] = "the grader had failed on it"
        elif why := _changed(result, info):
            found[name] = why
    for name in infos:
        used = [used for used in row.exercise_by_name[name].uses if used in found]
        if used and name not in found:
            found[name] = f"it uses {used[0]}"
    return found


def _changed(result: ExerciseResult, info: ExerciseInfo) -> str:
    if result.version == info.version:
        return ""
    return f"the exercise changed ({result.version[:8] or 'unknown'} -> {info.version[:8]})"


def merge(
    row: Row, old: Entry, new: Entry, reasons: Mapping[str, str], *, level: str, may_lower: bool = False
) -> tuple[Entry, list[Change]]:
    """Return an entry in which the exercises of `reasons` are as judged anew and all others as they were."""
    fresh = {result.name: result for result in new.flat}
    before = {result.name: result for result in old.flat}
    changes: list[Change] = []

    def chosen(name: str) -> ExerciseResult:
        was, now = before.get(name), fresh.get(name)
        if name not in reasons or now is None:
            assert was is not None
            return was
        if was is None:
            return now
        kept = not may_lower and now.verdict is not Verdict.XX and now.score < was.score
        counts = kept_better(was, now) if kept else now
        if now.verdict is Verdict.XX:  # never a score: what was there stays until the grader can judge
            counts = was
        fault = now.verdict is Verdict.XX
        changes.append(Change(old.student, name, was, counts, reasons[name], kept, fault))
        return counts

    infos = infos_by_notebook(row)
    results = {stem: tuple(chosen(info.name) for info in listed) for stem, listed in infos.items()}
    by_name = {result.name: result for listed in results.values() for result in listed}
    judged_by = {s: [replace(info, version=by_name[info.name].version) for info in i] for s, i in infos.items()}
    name = address(old.student, old.slug, old.digests, version(judged_by), new.key, level)
    merged = replace(
        new, address=name, results=results, digests=old.digests,
        extras=tuple(info.name for listed in infos.values() for info in listed if not info.core),
    )  # fmt: skip
    return merged, changes


def apply(journal: Journal, entries: Iterable[Entry], held: Mapping[str, Entry]) -> int:
    """Append the entries that differ from what the journal holds; return how many did."""
    written = 0
    for entry in entries:
        old = held[entry.student]
        if (entry.results, entry.address) != (old.results, old.address):
            journal.append(entry)
            written += 1
    return written
