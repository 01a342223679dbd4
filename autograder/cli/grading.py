"""The verbs after a deadline: `dlcv grade`, `dlcv feedback`, `dlcv explain`."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dlcv_lab.cli.frame import FAULT, FINDINGS, console, errors, fail, write_json

if TYPE_CHECKING:
    from autograder.course import Course
    from autograder.journal import Entry

STOPPED = 130  # as shells have it for Ctrl-C
CourseDir = Annotated[
    Path | None, typer.Option("--course", help="The course folder. Default: the current one, if it has course.toml.")
]
Isolation = Annotated[
    str,
    typer.Option(help="Least isolation: vm, container, bubblewrap, uid or none. Default: the course's own minimum."),
]


def register(app: typer.Typer) -> None:
    """Add the verbs to the app."""
    for verb in (grade, feedback, explain):
        app.command(verb.__name__, rich_help_panel="For authors and instructors")(verb)


@contextmanager
def troubles() -> Iterator[None]:
    """Tell apart what the user can mend (2) and what is the grader's own fault (3)."""
    from autograder.course import CourseError
    from autograder.gradebook import GradebookError
    from autograder.journal import JournalError
    from autograder.rows import RowError
    from autograder.sandbox import IsolationError, SandboxFault
    from autograder.submissions import SubmissionsError
    from dlcv_lab.checking.reader import UnreadableError

    try:
        yield
    except (CourseError, RowError, IsolationError, SubmissionsError, UnreadableError, FileNotFoundError) as error:
        fail(str(error))
    except (GradebookError, JournalError, SandboxFault) as error:
        fail(str(error), FAULT)


def course_at(place: Path | None) -> Course | None:
    """Return the course of --course or of the current folder, or None where there is none."""
    from autograder.course import load_course

    if place is None and not Path("course.toml").exists():
        return None
    return load_course(place or Path())


def grade(
    place: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]",
            help="<student>/<chapter>/*.ipynb, <student>__<notebook>.ipynb or a zip. Default: the course's submitted/.",
        ),
    ] = None,
    chapter: Annotated[str, typer.Option(help="The chapter: 3, ch03 or its full name.")] = "",
    course: CourseDir = None,
    json_to: Annotated[Path | None, typer.Option("--json", help="Write all results to this file.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes side by side. Default: one per core.")] = 0,
    min_isolation: Isolation = "",
    level: Annotated[str, typer.Option(help="Use this isolation level. Default: the highest that is reached.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Judge again what the journal holds already.")] = False,
) -> None:
    """Grade the submissions of one chapter, in a sandbox, on fresh secret cases.

    With a course, verdicts go to its journal, gradebook, autograded copies and feedback pages, and a stopped run goes
    on where it was. Without one, a secret for this run alone is made. Exit code 1 where the grader itself failed on a
    submission: nothing is scored for it, run the same command again.
    """
    from autograder import rows, sandbox, submissions
    from autograder.journal import Journal
    from autograder.pool import Plan, grade_class

    with troubles(), tempfile.TemporaryDirectory(prefix="dlcv-grade-") as scratch:
        found = course_at(course)
        if not chapter:
            fail("name the chapter, such as --chapter ch03")
        if place is None and found is None:
            fail("name the folder of submissions, or a course folder with --course")
        row = rows.load_row(chapter)
        minimum = min_isolation or (found.min_isolation if found else sandbox.DEFAULT_MINIMUM)
        reached = sandbox.require(minimum, level or None)
        stems = [lesson.stem for lesson in row.notebooks]
        handed_in = submissions.collect(place or _submitted(found), row.slug, stems, Path(scratch), _refused)
        plan = Plan(row.slug, found.secret() if found else secrets.token_bytes(32), reached)
        cores = workers or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else workers or 1
        lost: list[str] = []
        console.print(f"{row.slug}: {len(handed_in)} submissions, isolation {reached}", highlight=False)
        if found is None:
            running = grade_class(plan, handed_in, workers=cores, lost=lost.append)
            entries = _with_progress(running, len(handed_in), journalled=False)
        else:
            with Journal(found.journal / f"{row.slug}.jsonl") as journal:
                running = grade_class(
                    plan, handed_in, journal=journal, workers=cores, force=force, keep_better=found.never_lower,
                    lost=lost.append,
                )  # fmt: skip
                entries = _with_progress(running, len(handed_in), journalled=True)
            _record(found, row.slug, entries, handed_in)
            _write_feedback(found, row.slug, entries, plan.secret)
    entries.sort(key=lambda entry: entry.student)
    if json_to is not None:
        write_json([as_data(entry) for entry in entries], json_to)
    _table(entries)
    faulty = [entry.student for entry in entries if entry.faulty] + lost
    if faulty:
        named = ", ".join(faulty)
        errors.print(f"Not graded, a fault of the grader: {named}. Run the same command again.", markup=False)
        raise typer.Exit(FINDINGS)


def as_data(entry: Entry) -> dict[str, Any]:
    """Return what `--json` holds about one student."""
    return {
        "student": entry.student,
        "score": entry.score,
        "max_score": entry.max_score,
        "isolation": entry.isolation,
        "exercises": [
            {
                "name": result.name,
                "verdict": str(result.verdict),
                "score": result.score,
                "max_score": result.max_score,
                "core": result.name not in entry.extras,
                "seconds": result.seconds,
                "hint": result.hint,
                "message": result.message,
            }
            for result in entry.flat
        ],
    }


def feedback(
    chapter: Annotated[str, typer.Option(help="The chapter: 3, ch03 or its full name.")],
    course: CourseDir = None,
    cases: Annotated[bool | None, typer.Option(help="Show a failing case. Default: the course's policy.")] = None,
) -> None:
    """Write the feedback pages and the class report of one chapter again, from the journal."""
    from autograder import rows
    from autograder.journal import Journal

    with troubles():
        found = course_at(course)
        if found is None:
            fail("name the course folder with --course")
        slug = rows.resolve(chapter)
        entries = list(Journal(found.journal / f"{slug}.jsonl").latest().values())
        if not entries:
            fail(f"nothing of {slug} has been graded; run `dlcv grade --chapter {slug[:4]}` first")
        _write_feedback(found, slug, entries, found.secret(), cases)


def explain(
    student: Annotated[str, typer.Argument(help="The student, as in submitted/.")],
    exercise: Annotated[str, typer.Argument(help="The exercise: ch03.conv2d.")],
    course: CourseDir = None,
    notebook: Annotated[Path | None, typer.Option(help="This file instead of the one in the course folder.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Show the cases that are right, too.")] = False,
    min_isolation: Isolation = "",
) -> None:
    """Show what an exercise of a student met: each case, what came and what was expected."""
    from autograder import explain as explaining
    from autograder import rows, sandbox
    from autograder.grading import Marker
    from autograder.submissions import read_bytes
    from autograder.wording import headline
    from dlcv_lab.checking.model import Verdict

    with troubles():
        found = course_at(course)
        if found is None and notebook is None:
            fail("name the course folder with --course, or a notebook file with --notebook")
        key, _, name = exercise.partition(".")
        row = rows.load_row(key)
        if name not in row.exercise_by_name:
            fail(f"{row.key} has no exercise {name!r}; it has {', '.join(row.exercise_by_name)}")
        minimum = min_isolation or (found.min_isolation if found else sandbox.DEFAULT_MINIMUM)
        stem = row.notebook_of(name).stem
        path = notebook or explaining.find_submission(_root(found), student, row.slug, stem)
        secret = found.secret() if found else secrets.token_bytes(32)
        with Marker(row.slug, secret, sandbox.require(minimum)) as marker:
            told = explaining.explain(marker, student, stem, name, read_bytes(path))
    console.print(headline(told.result), markup=False, highlight=False)
    for statement in told.program.statements:
        console.print("\n" + statement, markup=False, highlight=False)
    for case in told.cases:
        if case.result.verdict is Verdict.OK and not every:
            continue
        head = f"\ncase {case.result.index} ({case.result.group}): {case.result.note}"
        console.print(head, markup=False, style="bold")
        for line in (*case.inputs, "got:", case.got, "expected:", case.expected, case.result.text):
            console.print("  " + line.replace("\n", "\n  "), markup=False, highlight=False)


def _refused(why: str) -> None:
    errors.print(f"Left out: {why}", markup=False, highlight=False)


def _root(course: Course | None) -> Path:
    assert course is not None
    return course.root


def _submitted(course: Course | None) -> Path:
    assert course is not None
    return course.folder("submitted")


def _with_progress(running: Generator[Entry, None, None], total: int, *, journalled: bool) -> list[Entry]:
    """Collect the entries under a bar that says how long it will still take."""
    from rich import progress as rich

    columns = (rich.TextColumn("grading"), rich.BarColumn(), rich.MofNCompleteColumn(), rich.TimeElapsedColumn(),
               rich.TextColumn("left"), rich.TimeRemainingColumn())  # fmt: skip
    entries: list[Entry] = []
    bar = rich.Progress(*columns, console=errors, disable=not errors.is_terminal)
    try:
        with closing(running), bar as progress:
            task = progress.add_task("grading", total=total)
            for entry in running:
                entries.append(entry)
                progress.advance(task)
    except KeyboardInterrupt:
        kept = "the same command goes on from here" if journalled else "nothing is kept without a course"
        errors.print(f"Stopped after {len(entries)} of {total}; {kept}.")
        raise typer.Exit(STOPPED) from None
    return entries


def _record(course: Course, slug: str, entries: list[Entry], handed_in: list[Any]) -> None:
    from autograder.gradebook import open_book
    from autograder.submissions import read_bytes

    files = {submission.student: submission.files for submission in handed_in}
    with open_book(course.database, slug, course.root) as book:
        for entry in entries:
            if not entry.faulty:
                raws = {stem: read_bytes(path) for stem, path in files[entry.student].items() if stem in entry.digests}
                book.record(entry.student, entry.results, raws)


def _write_feedback(course: Course, slug: str, entries: list[Entry], secret: bytes, cases: bool | None = None) -> None:
    from autograder import packing, rows
    from autograder.feedback import write_pages

    if not entries:
        return
    row = rows.load_row(slug)
    infos = {info.name: info for info in packing.infos_of(row)}
    show = course.show_failing_case if cases is None else cases
    pages, report = write_pages(course.root, entries, infos, f"{row.key} {row.title}", secret, show_cases=show)
    console.print(f"{len(pages)} feedback pages; class report: {report}", highlight=False)


def _table(entries: list[Entry]) -> None:
    from rich.table import Table
    from rich.text import Text

    from autograder.wording import plain_text, points
    from dlcv_lab.checking.model import Verdict

    table = Table(box=None)
    table.add_column("student", overflow="fold")
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("right", justify="right", no_wrap=True)
    table.add_column("not right", overflow="fold")
    for entry in entries:
        wrong = [f"{result.name} {result.verdict}" for result in entry.flat if result.verdict is not Verdict.OK]
        alike = {result.verdict for result in entry.flat}
        text = f"all {alike.pop()}" if wrong and len(alike) == 1 else ", ".join(wrong)
        score = f"{points(entry.score)}/{points(entry.max_score)}"
        right = f"{len(entry.flat) - len(wrong)} of {len(entry.flat)}"
        table.add_row(Text(plain_text(entry.student)), score, right, Text(text))
    console.print(table)
