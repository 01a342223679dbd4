"""From the journal to where marks are used: decisions laid over verdicts, then gradebook and autograded copies."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from autograder.chapter.rows import Row
from autograder.grade import submissions
from autograder.grade.gradebook import open_book
from autograder.grade.journal import Entry, Journal
from autograder.grade.overrides import DecisionLog
from autograder.grade.submissions import Submission, SubmissionsError, read_bytes
from autograder.release.course import Course


def journal_of(course: Course, slug: str) -> Journal:
    """Return the journal of a chapter."""
    return Journal(course.journal / f"{slug}.jsonl")


def with_decisions(course: Course, slug: str, entries: Iterable[Entry]) -> list[Entry]:
    """Return entries of the journal as they count: overrides and voided exercises laid over the verdicts."""
    marks = DecisionLog(course.journal, slug).marks()
    return [marks.over(entry) for entry in entries]


def latest(course: Course, slug: str) -> list[Entry]:
    """Return what counts now for every student of a chapter, sorted by student."""
    entries = journal_of(course, slug).latest()
    return with_decisions(course, slug, (entries[student] for student in sorted(entries)))


def handed_in(
    course: Course, row: Row, scratch: Path, refused: Callable[[str], None] = lambda why: None
) -> list[Submission]:
    """Return the submissions in the course's folder; none where there are none."""
    stems = [lesson.stem for lesson in row.notebooks]
    try:
        return submissions.collect(course.folder("submitted"), row.slug, stems, scratch, refused)
    except SubmissionsError:
        return []


def record(
    course: Course,
    slug: str,
    entries: Iterable[Entry],
    handed_in: Iterable[Submission],
    changed: Callable[[str], None] = lambda student: None,
    say: Callable[[str], None] = lambda notice: None,
) -> None:
    """Write entries into gradebook and autograded copies; those with a fault of the grader stay as they were.

    Files that are no longer what was judged are passed over, and `changed` is told their students; `say` is told what
    could not be read about a submission, such as its time.

    Raises:
        gradebook.GradebookError: the gradebook cannot be used; the journal keeps every verdict.
    """
    files = {submission.student: submission.files for submission in handed_in}
    with open_book(course.database, slug, course.root) as book:
        for entry in with_decisions(course, slug, entries):
            raws = _judged_files(entry, files.get(entry.student, {}))
            if raws is None:
                changed(entry.student)
            elif not entry.faulty:
                book.record(entry.student, entry.results, raws)
        for notice in book.notices:
            say(notice)


def _judged_files(entry: Entry, files: dict[str, Path]) -> dict[str, bytes] | None:
    """Return the bytes that were judged, or None where a file is gone or another one by now."""
    found = {}
    for stem, digest in entry.digests.items():
        try:
            raw = read_bytes(files[stem])
        except (KeyError, OSError):
            return None
        if hashlib.sha256(raw).hexdigest() != digest:
            return None
        found[stem] = raw
    return found


def record_students(course: Course, row: Row, students: Iterable[str]) -> list[str]:
    """Write what counts now for some students; return those whose files are no longer what was judged."""
    held = journal_of(course, row.slug).latest()
    missing: list[str] = []
    with tempfile.TemporaryDirectory(prefix="dlcv-record-") as scratch:
        wanted = [held[student] for student in students if student in held]
        record(course, row.slug, wanted, handed_in(course, row, Path(scratch)), missing.append)
    return missing
