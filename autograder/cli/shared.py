"""What the instructor's verbs share: finding the course, telling troubles apart, progress, feedback pages."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlcv_lab.cli.frame import FAULT, USAGE, Trouble, console, errors, fail

if TYPE_CHECKING:
    from rich.progress import Task
    from rich.text import Text

    from autograder.grade.accounting import Account
    from autograder.grade.journal import Entry
    from autograder.release.course import Course

STOPPED = 130  # as shells have it for Ctrl-C
CourseDir = Annotated[
    Path | None, typer.Option("--course", help="The course folder. Default: the current one, if it has course.toml.")
]
Isolation = Annotated[
    str,
    typer.Option(help="Least isolation: vm, container, bubblewrap, uid or none. Default: the course's own minimum."),
]


@contextmanager
def troubles() -> Iterator[None]:
    """Tell apart what the user can mend (2) and what is the grader's own fault (3)."""
    try:
        yield
    except (typer.Exit, Trouble):
        raise
    except Exception as error:
        told = _told(error)
        if told is None:
            raise
        fail(*told)
    except KeyboardInterrupt:
        errors.print("Stopped. What was finished is kept; run the same command again to go on.")
        raise typer.Exit(STOPPED) from None


def _told(error: Exception) -> tuple[str, int] | None:
    """Return message and exit code of an error that is known; the gradebook's imports wait until there is one."""
    from autograder.base import disks
    from autograder.chapter.rows import RowError
    from autograder.grade.gathering import GatheringError
    from autograder.grade.gradebook import GradebookError
    from autograder.grade.journal import JournalError
    from autograder.grade.schedulers import SchedulerError
    from autograder.grade.submissions import SubmissionsError
    from autograder.release.course import CourseError
    from autograder.sandbox import IsolationError, SandboxFault
    from dlcv_lab.checking.notebook_reader import UnreadableError

    if isinstance(error, CourseError | GatheringError | RowError | IsolationError | SubmissionsError
                  | UnreadableError | FileNotFoundError):  # fmt: skip
        return str(error), USAGE
    if isinstance(error, GradebookError | JournalError | SchedulerError | SandboxFault):
        return str(error), FAULT
    return (disks.told(error), FAULT) if isinstance(error, OSError) else None


def course_at(place: Path | None) -> Course | None:
    """Return the course of --course or of the current folder, or None where there is none."""
    from autograder.release.course import load_course

    if place is None and not Path("course.toml").exists():
        return None
    return load_course(place or Path())


def needed_course(place: Path | None) -> Course:
    """Return the course of --course or of the current folder; end the command where there is none."""
    found = course_at(place)
    if found is None:
        fail("name the course folder with --course")
    return found


def refused(why: str) -> None:
    """Say that a file was left out."""
    errors.print(f"Left out: {why}", markup=False, highlight=False)


def tell_account(account: Account) -> None:
    """Print what became of everything that was given: what was not taken by name, the rest as sums."""
    from autograder.base.wording import plain_text

    for fate in account.told:
        tell(plain_text(f"Taken: {fate.file} {fate.why}"))
    for fate in account.findings:
        tell(plain_text(f"Not taken: {fate.line()}"))
    if missing := account.students()["nothing handed in"]:
        tell(plain_text(f"Nothing handed in: {', '.join(missing)}"))
    console.print(account.sums(), markup=False, highlight=False)


def cores_of(workers: int) -> int:
    """Return how many processes to use: as many as asked for, else one per core that this process may use."""
    return workers or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def collect_with_progress(running: Generator[Entry, None, None], total: int, *, journalled: bool) -> list[Entry]:
    """Collect the entries under a bar that says how fast it goes and how long it will still take."""
    from rich import progress as rich
    from rich.text import Text

    class Throughput(rich.ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{60 * speed:.0f} a minute" if speed else "- a minute")

    columns = (rich.TextColumn("grading"), rich.BarColumn(), rich.MofNCompleteColumn(), Throughput(),
               rich.TimeElapsedColumn(), rich.TextColumn("left"), rich.TimeRemainingColumn())  # fmt: skip
    entries: list[Entry] = []
    bar = rich.Progress(*columns, console=errors, disable=not errors.is_terminal)
    try:
        with closing(running), bar as progress:
            task = progress.add_task("grading", total=total)
            for entry in running:
                entries.append(entry)
                progress.advance(task)
    except KeyboardInterrupt:
        kept = "Run the same command again: it goes on from here" if journalled else "Nothing is kept without a course"
        errors.print(f"Stopped after {len(entries)} of {total}. {kept}.", highlight=False)
        raise typer.Exit(STOPPED) from None
    return entries


def write_feedback(
    course: Course, slug: str, entries: list[Entry], cases: bool | None = None, *, search: bool = False
) -> None:
    """Write feedback pages, class summary and its JSON from entries of the journal.

    Args:
        course: the course.
        slug: the chapter.
        entries: as the journal has them; decisions are laid over them here.
        cases: show failing cases now, or never; by default what the course says.
        search: look for the smallest failing cases that are not known yet.
    """
    from autograder.chapter import rows
    from autograder.feedback.writing import write_all

    if not entries:
        return
    done = write_all(course, rows.load_row(slug), entries, cases=cases, search=search, say=tell)
    console.print(f"{len(done.pages)} feedback pages; class summary: {done.summary}", highlight=False)
    if done.notice:
        console.print(done.notice, highlight=False)


def tell(text: str) -> None:
    """Print a line on standard error as it is."""
    errors.print(text, markup=False, highlight=False)
