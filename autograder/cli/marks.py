"""The verbs for when we were wrong: `dlcv regrade`, `dlcv void`, `dlcv override`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autograder.cli.shared import (
    CourseDir,
    Isolation,
    collect_with_progress,
    cores_of,
    needed_course,
    refused,
    troubles,
    write_feedback,
)
from dlcv_lab.cli.frame import FINDINGS, console, errors, fail, write_json

if TYPE_CHECKING:
    from autograder.chapter.rows import Row
    from autograder.grade.regrade import Change
    from autograder.release.course import Course

Why = Annotated[str, typer.Option("--why", help="The reason, as the student will read it.")]
ExerciseName = Annotated[str, typer.Argument(metavar="EX", help="The exercise: ch03.conv2d.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the app."""
    for verb in (regrade, void, override):
        app.command(verb.__name__, rich_help_panel="For authors and instructors")(verb)


def regrade(
    chapter: Annotated[str, typer.Argument(metavar="CH", help="The chapter: 3, ch03 or its full name.")],
    exercise: Annotated[list[str] | None, typer.Option(help="Judge this one again. Default: all that changed.")] = None,
    never_lower: Annotated[
        bool | None, typer.Option("--never-lower/--may-lower", help="Keep better points. Default: the course's.")
    ] = None,
    write: Annotated[bool, typer.Option("--apply", help="Write what the preview shows.")] = False,
    course: CourseDir = None,
    json_to: Annotated[Path | None, typer.Option("--json", help="Write the table to this file.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes side by side. Default: one per core.")] = 0,
    min_isolation: Isolation = "",
) -> None:
    """Judge again what a change of an exercise touches: first a preview, then --apply.

    Marks by hand, overrides, extensions and comments stay as they are. Example: [bold]dlcv regrade 3 --apply[/bold]
    """
    from autograder.chapter import rows
    from autograder.grade import recording
    from autograder.grade import regrade as regrading
    from autograder.grade.journal import Journal

    with troubles(), tempfile.TemporaryDirectory(prefix="dlcv-regrade-") as scratch:
        found = needed_course(course)
        row = rows.load_row(chapter)
        names = [name.removeprefix(f"{row.key}.") for name in exercise or ()]
        journal = recording.journal_of(found, row.slug)
        held = journal.latest()
        if not held:
            fail(f"nothing of {row.slug} has been graded; run `dlcv grade --chapter {row.key}` first")
        handed_in = recording.handed_in(found, row, Path(scratch), refused)
        work = regrading.find_work(row, held, handed_in, names)
        for student, why in work.left_out.items():
            errors.print(f"Left out: {student}: {why}", markup=False, highlight=False)
        may_lower = not (found.never_lower if never_lower is None else never_lower)
        preview = regrading.pending(found, row.slug)
        with Journal(preview) as kept:
            entries, changes = _judge_again(found, row, work, kept, min_isolation, workers, may_lower)
        if json_to is not None:
            write_json([_as_data(change) for change in changes], json_to)
        _table(changes, hand=_by_hand(found, row))
        if not write:
            console.print("Nothing was written. The same command with --apply writes it.", highlight=False)
            return
        with journal:
            regrading.apply(journal, entries, held)
        latest = list(journal.latest().values())
        recording.record(found, row.slug, latest, handed_in)
        write_feedback(found, row.slug, latest)
        preview.unlink(missing_ok=True)
        faulty = [change for change in changes if change.fault]
        if faulty:
            errors.print(f"The grader failed on {len(faulty)}; they stay as they were. Run the same command again.")
            raise typer.Exit(FINDINGS)


def _judge_again(found, row, work, journal, min_isolation, workers, may_lower):  # type: ignore[no-untyped-def]
    """Judge in the sandbox what has to be; return merged entries and the table of what became of each exercise."""
    from autograder import sandbox
    from autograder.grade import recording
    from autograder.grade import regrade as regrading
    from autograder.grade.pool import Plan, grade_class

    if not work.submissions:
        console.print("Every verdict was made by the exercises as they are now: nothing to judge again.")
        return [], []
    level = sandbox.require(min_isolation or found.min_isolation)
    plan = Plan(row.slug, found.secret(), level, only=work.exercises)
    said = ", ".join(work.exercises)
    console.print(f"{row.slug}: {said}; {len(work.submissions)} submissions, isolation {level}", highlight=False)
    held = recording.journal_of(found, row.slug).latest()
    running = grade_class(plan, work.submissions, journal=journal, workers=cores_of(workers))
    entries, changes = [], []
    for new in collect_with_progress(running, len(work.submissions), journalled=True):
        old = held[new.student]
        if old.key != new.key:
            fail(f"{new.student} was judged with another secret than the course has now; put the old one back first")
        merged, rows = regrading.merge(row, old, new, work.reasons[new.student], level=level, may_lower=may_lower)
        entries.append(merged)
        changes += rows
    return entries, sorted(changes, key=lambda change: (change.student, change.exercise))


def _as_data(change: Change) -> dict[str, object]:
    return {
        "student": change.student,
        "exercise": change.exercise,
        "old": {"verdict": str(change.old.verdict), "score": change.old.score, "version": change.old.version},
        "new": {"verdict": str(change.new.verdict), "score": change.new.score, "version": change.new.version},
        "why": change.why,
        "kept": change.kept,
    }


def _by_hand(course: Course, row: Row) -> Callable[[str, str], str]:
    """Return what to say about a mark that a person gave: it stays, whatever the judge says."""
    from autograder.base.wording import points
    from autograder.grade.gradebook import open_book
    from autograder.grade.overrides import DecisionLog

    marks = DecisionLog(course.journal, row.slug).marks()
    with open_book(course.database, row.slug, course.root) as book:
        manual = book.manual_scores()

    def told(student: str, exercise: str) -> str:
        override = marks.overrides.get((student, exercise))
        if override is not None and override.points is not None:
            return f"; the override of {points(override.points)} stays"
        if exercise in marks.voids:
            return "; void, full points"
        score = manual.get((student, exercise))
        return "" if score is None else f"; the mark by hand of {points(score)} stays"

    return told


def _table(changes: list[Change], hand: Callable[[str, str], str]) -> None:
    from rich.table import Table
    from rich.text import Text

    from autograder.base.wording import plain_text, points

    table = Table(box=None)
    for heading in ("student", "exercise", "old", "new", "why"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("old", "new"))
    shown = [change for change in changes if change.differs]
    for change in shown:
        cells = (
            plain_text(change.student), change.exercise, f"{change.old.verdict} {points(change.old.score)}",
            f"{change.new.verdict} {points(change.new.score)}" + (" (kept)" if change.kept else ""),
            change.why + hand(change.student, change.exercise),
        )  # fmt: skip
        table.add_row(*map(Text, cells))
    if shown:
        console.print(table)
    up = sum(change.new.score > change.old.score for change in changes)
    down = sum(change.new.score < change.old.score for change in changes)
    kept = sum(change.kept for change in changes)
    told = f"{len(changes)} verdicts judged again: {up} higher, {down} lower, {kept} kept that would be lower"
    console.print(told, highlight=False)


def void(
    exercise: ExerciseName,
    why: Why = "",
    undo: Annotated[bool, typer.Option("--undo", help="Take it back.")] = False,
    course: CourseDir = None,
) -> None:
    """Declare an exercise void: everyone who handed in gets its full points, until --undo.

    The verdicts stay in the journal. Example: [bold]dlcv void ch03.im2col --why "the text was wrong"[/bold]
    """
    from autograder.grade.overrides import Decision

    if not undo and not why.strip():
        fail("say why, with --why; the students will read it")
    with troubles():
        found = needed_course(course)
        row, name, _ = _exercise(exercise)
        if undo and name not in _log(found, row).marks().voids:
            fail(f"{row.key}.{name} is not void")
        _log(found, row).append(Decision("unvoid" if undo else "void", name, why.strip()))
        console.print(f"{row.key}.{name}: {'no longer void' if undo else 'void, full points for everyone'}.")
        _write_through(found, row)


def override(
    student: Annotated[str, typer.Argument(help="The student, as in submitted/.")],
    exercise: ExerciseName,
    score: Annotated[
        float | None, typer.Argument(metavar="[POINTS]", help="The points that count from now on.")
    ] = None,
    why: Why = "",
    undo: Annotated[bool, typer.Option("--undo", help="Take it back: the verdict counts again.")] = False,
    course: CourseDir = None,
) -> None:
    """Give one student these points for an exercise, whatever the judge says, now and after a regrade.

    Example: [bold]dlcv override ada ch03.conv2d 3 --why "right, but named conv_2d"[/bold]
    """
    from autograder.grade import recording
    from autograder.grade.overrides import Decision

    if undo == (score is not None):
        fail("name the points, or --undo to take an override back")
    if not undo and not why.strip():
        fail("say why, with --why; the student will read it")
    with troubles():
        found = needed_course(course)
        row, name, most = _exercise(exercise)
        if score is not None and not 0 <= score <= most:
            fail(f"{row.key}.{name} is worth 0 to {most:g} points; for more, give extra credit in formgrader")
        log = _log(found, row)
        if undo and (student, name) not in log.marks().overrides:
            fail(f"there is no override of {row.key}.{name} for {student}")
        if not undo and student not in recording.journal_of(found, row.slug).latest():
            fail(f"nothing of {student!r} has been graded in {row.key}; is that the folder's name in submitted/?")
        log.append(Decision("lift" if undo else "override", name, why.strip(), student, score))
        console.print(f"{student}, {row.key}.{name}: {'the verdict counts again' if undo else f'{score:g} points'}.",
                      markup=False, highlight=False)  # fmt: skip
        _write_through(found, row, student)


def _exercise(key: str) -> tuple[Row, str, float]:
    """Return chapter, name and points of an exercise that carries marks."""
    from autograder.chapter import rows

    chapter, _, name = key.partition(".")
    row = rows.load_row(chapter)
    if name not in row.exercise_by_name:
        fail(f"{row.key} has no exercise {name!r}; it has {', '.join(row.exercise_by_name)}")
    if not row.exercise_by_name[name].core:
        fail(f"{row.key}.{name} is an extra and carries no marks")
    return row, name, row.exercise_by_name[name].points


def _log(course: Course, row: Row):  # type: ignore[no-untyped-def]
    from autograder.grade.overrides import DecisionLog

    return DecisionLog(course.journal, row.slug)


def _write_through(course: Course, row: Row, student: str = "") -> None:
    """Bring gradebook, autograded copies and feedback up to what counts now, for one student or for all."""
    from autograder.grade import recording

    held = recording.journal_of(course, row.slug).latest()
    if not held:
        return
    for name in recording.record_students(course, row, [student] if student else sorted(held)):
        errors.print(f"{name} handed in other files since; `dlcv grade` judges them and brings all up to date.",
                     markup=False, highlight=False)  # fmt: skip
    write_feedback(course, row.slug, list(held.values()))
