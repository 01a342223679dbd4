"""The verbs after a deadline: `dlcv grade`, `dlcv feedback`, `dlcv explain`."""

from __future__ import annotations

import secrets
import tempfile
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autograder.cli.shared import (
    CourseDir,
    Isolation,
    collect_with_progress,
    cores_of,
    course_at,
    needed_course,
    tell,
    tell_account,
    troubles,
    write_feedback,
)
from dlcv_lab.cli.frame import FINDINGS, console, errors, fail, write_json

if TYPE_CHECKING:
    from autograder.feedback.explain import Explanation
    from autograder.grade.journal import Entry
    from autograder.grade.pool import Elsewhere
    from autograder.release.course import Course


def register(app: typer.Typer) -> None:
    """Add the verbs to the app."""
    for verb in (grade, feedback, explain):
        app.command(verb.__name__, rich_help_panel="For authors and instructors")(verb)


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
    scheduler: Annotated[str, typer.Option(help="Judge on the workers of this Dask scheduler: tcp://HOST:8786.")] = "",
    slurm: Annotated[bool, typer.Option("--slurm", help="Judge in Slurm jobs, --workers of them.")] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda: where student code runs, on this machine alone.")] = "cpu",
) -> None:
    """Grade the submissions of one chapter, in a sandbox, on fresh secret cases.

    With a course, verdicts go to its journal, gradebook, autograded copies and feedback pages, and a stopped run goes
    on where it was. Without one, a secret for this run alone is made. Every file and student of what was given is
    accounted for. Exit code 1 where a file was not taken or could not be read, and where the grader itself failed on a
    submission: nothing is scored for it, run the same command again.
    """
    from autograder import sandbox
    from autograder.chapter import rows
    from autograder.grade import submissions
    from autograder.grade.journal import Journal
    from autograder.grade.pool import Plan, grade_class

    with troubles(), tempfile.TemporaryDirectory(prefix="dlcv-grade-") as scratch, ExitStack() as stack:
        found = course_at(course)
        if not chapter:
            fail("name the chapter, such as --chapter ch03")
        if place is None and found is None:
            fail("name the folder of submissions, or a course folder with --course")
        row = rows.load_texts(chapter)  # its exercises need torch: while the sandbox starts
        minimum = min_isolation or (found.min_isolation if found else sandbox.DEFAULT_MINIMUM)
        reached = sandbox.require(minimum, level or None)
        if sandbox.require_device(device) != "cpu" and (scheduler or slurm):
            fail("--device cuda is for jobs on this machine; leave out --scheduler and --slurm")
        stems = [lesson.stem for lesson in row.notebooks]
        given = place or _submitted(found)
        handed_in, account = submissions.accounted(given, row.slug, stems, Path(scratch), class_of(found))
        plan = Plan(row.slug, found.secret() if found else secrets.token_bytes(32), reached, device=device)
        cores = cores_of(workers)
        lost: list[str] = []
        console.print(f"{row.slug}: {len(handed_in)} submissions, isolation {reached}", highlight=False)
        elsewhere = stack.enter_context(_elsewhere(scheduler, slurm, workers))
        if found is None:
            running = grade_class(plan, handed_in, workers=cores, elsewhere=elsewhere, lost=lost.append)
            entries = collect_with_progress(running, len(handed_in), journalled=False)
        else:
            with Journal(found.journal / f"{row.slug}.jsonl") as journal:
                running = grade_class(
                    plan, handed_in, journal=journal, workers=cores, elsewhere=elsewhere, force=force,
                    keep_better=found.never_lower, lost=lost.append,
                )  # fmt: skip
                entries = collect_with_progress(running, len(handed_in), journalled=True)
                latest = list(journal.latest().values())
            from autograder.grade import recording  # nbgrader's modules, when the first verdicts are out

            recording.record(found, row.slug, entries, handed_in, say=tell)
            write_feedback(found, row.slug, entries if place is None else latest)
            entries = recording.with_decisions(found, row.slug, entries)
    entries.sort(key=lambda entry: entry.student)
    account.unreadable(_unreadable(entries))
    if json_to is not None:
        students = [as_data(entry) for entry in entries]
        write_json({"chapter": row.slug, "students": students, "account": account.as_data()}, json_to)
    _table(entries)
    tell_account(account)
    faulty = [entry.student for entry in entries if entry.faulty] + lost
    if faulty:
        named = ", ".join(faulty)
        errors.print(f"Not graded, a fault of the grader: {named}. Run the same command again.", markup=False)
    if faulty or account.findings:
        raise typer.Exit(FINDINGS)


def class_of(course: Course | None) -> list[str]:
    """Return the students of the course's roster.csv, where there is one."""
    from autograder.grade.gathering import read_roster

    roster = course.root / "roster.csv" if course is not None else None
    return [member.student for member in read_roster(roster)] if roster is not None and roster.is_file() else []


def _unreadable(entries: list[Entry]) -> dict[tuple[str, str], str]:
    """Return why notebooks that were taken could not be read, by student and notebook."""
    from dlcv_lab.checking.model import Verdict

    return {
        (entry.student, stem): results[0].message
        for entry in entries
        for stem, results in entry.results.items()
        if results and all(result.verdict is Verdict.UR for result in results)
    }


def _elsewhere(scheduler: str, slurm: bool, workers: int) -> AbstractContextManager[Elsewhere | None]:
    """Return where submissions are judged if not in processes of this machine."""
    if scheduler and slurm:
        fail("--scheduler and --slurm are two ways to the same end; choose one")
    if slurm:
        from autograder.grade.schedulers_slurm import on_slurm

        return on_slurm(workers or 4)
    if scheduler:
        from autograder.grade.schedulers import at

        return at(scheduler)
    return nullcontext()


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
    cases: Annotated[
        bool | None, typer.Option(help="Show failing cases now, or not. Default: after each student's deadline.")
    ] = None,
) -> None:
    """Write the feedback pages and the class summary of one chapter again, from the journal.

    After the deadline the pages show the smallest failing case of each exercise; those not known yet are looked for.
    """
    from autograder.chapter import rows
    from autograder.grade import recording

    with troubles():
        found = needed_course(course)
        slug = rows.resolve(chapter)
        entries = list(recording.journal_of(found, slug).latest().values())
        if not entries:
            fail(f"nothing of {slug} has been graded; run `dlcv grade --chapter {slug[:4]}` first")
        write_feedback(found, slug, entries, cases, search=True)


def explain(
    student: Annotated[str, typer.Argument(help="The student, as in submitted/.")],
    exercise: Annotated[str, typer.Argument(help="The exercise: ch03.conv2d.")],
    course: CourseDir = None,
    notebook: Annotated[Path | None, typer.Option(help="This file instead of the one in the course folder.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Show the cases that are right, too.")] = False,
    replay: Annotated[bool, typer.Option("--replay", help="Find the smallest failing case; print it as code.")] = False,
    min_isolation: Isolation = "",
) -> None:
    """Show what an exercise of a student met: each case, what came and what was expected, and what people decided."""
    from autograder import sandbox
    from autograder.chapter import rows
    from autograder.feedback import explain as explaining
    from autograder.grade.marking import Marker
    from autograder.grade.submissions import read_bytes

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
        root = found.root if found else Path()
        path = notebook or explaining.find_submission(root, student, row.slug, stem)
        secret = found.secret() if found else secrets.token_bytes(32)
        with Marker(row.slug, secret, sandbox.require(minimum)) as marker:
            told = explaining.explain(marker, student, stem, name, read_bytes(path))
            code = explaining.replay(marker, student, stem, name, told) if replay else ""
        history = explaining.history(found, row, student, name, told.result) if found else []
    _show(told, history, every=every)
    if replay:
        console.print(f"\n{code or 'no case to replay: right, not attempted, ended by the system, or too large'}",
                      markup=False, highlight=False, soft_wrap=True)  # fmt: skip


def _show(told: Explanation, history: list[str], *, every: bool) -> None:
    from autograder.base.wording import headline
    from dlcv_lab.checking.model import Verdict

    console.print(headline(told.result), markup=False, highlight=False)
    for line in history:
        console.print(line, markup=False, highlight=False)
    for statement in told.program.statements:
        console.print("\n" + statement, markup=False, highlight=False)
    for case in told.cases:
        if case.result.verdict is Verdict.OK and not every:
            continue
        head = f"\ncase {case.result.index} ({case.result.group}): {case.result.note}"
        console.print(head, markup=False, style="bold")
        for line in (*case.inputs, "got:", case.got, "expected:", case.expected, case.result.text):
            console.print("  " + line.replace("\n", "\n  "), markup=False, highlight=False)


def _submitted(course: Course | None) -> Path:
    assert course is not None
    return course.folder("submitted")


def _table(entries: list[Entry]) -> None:
    from rich.table import Table
    from rich.text import Text

    from autograder.base.wording import plain_text, points
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
