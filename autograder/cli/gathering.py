"""The verbs around a class's repositories: `dlcv gather` before `dlcv grade`, `dlcv give-back` after it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dlcv_lab.cli.frame import FINDINGS, console, errors, fail, write_json

if TYPE_CHECKING:
    from autograder.grade.accounting import Fate
    from autograder.grade.gathering import Gathered

CourseDir = Annotated[Path, typer.Option("--course", help="The course folder. Default: the current one.")]
Roster = Annotated[Path | None, typer.Option(help="The class: student,repository. Default: roster.csv of the course.")]
ChapterName = Annotated[str, typer.Option("--chapter", help="The chapter: 3, ch03 or its full name.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the app."""
    for name, verb in (("gather", gather), ("give-back", give_back)):
        app.command(name, rich_help_panel="For authors and instructors")(verb)


def gather(
    chapter: ChapterName,
    deadline: Annotated[str, typer.Option(help="The last moment that counts: 2027-05-04T23:59:00+02:00.")],
    course: CourseDir = Path(),
    roster: Roster = None,
    json_to: Annotated[
        Path | None, typer.Option("--json", help="Write what was fetched of whom, and the account of all files.")
    ] = None,
) -> int:
    """Fetch the class's repositories as they were at the deadline into submitted/.

    Example: [bold]dlcv gather --chapter ch03 --deadline 2027-05-04T23:59:00+02:00[/bold]
    """
    from autograder.chapter import rows
    from autograder.grade import gathering
    from autograder.release.course import CourseError, load_course

    try:
        found = load_course(course)
        row = rows.load_row(chapter)
        members = gathering.read_roster(roster or found.root / "roster.csv")
        stems = [lesson.stem for lesson in row.notebooks]
        fetched = gathering.gather(members, row.slug, stems, moment(deadline), found.folder("submitted"))
        return _tell(fetched, row.slug, json_to)
    except (gathering.GatheringError, CourseError, rows.RowError) as error:
        fail(str(error))


def moment(text: str) -> datetime:
    """Return a point in time; one without a time zone is refused, because a deadline must not depend on a machine."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        fail(f"--deadline {text!r} is no point in time; write it as 2027-05-04T23:59:00+02:00")
    if when.tzinfo is None:
        fail(f"--deadline {text} names no time zone; write {text}+00:00 for UTC, or your own offset")
    return when.astimezone(UTC)


def give_back(chapter: ChapterName, course: CourseDir = Path(), roster: Roster = None) -> int:
    """Push the feedback pages to the branch `feedback` of each student's repository.

    Example: [bold]dlcv give-back --chapter ch03[/bold]
    """
    from autograder.chapter import rows
    from autograder.grade import gathering
    from autograder.release.course import CourseError, load_course

    try:
        found = load_course(course)
        members = gathering.read_roster(roster or found.root / "roster.csv")
        return _tell(gathering.give_back(members, rows.resolve(chapter), found.folder("feedback")))
    except (gathering.GatheringError, CourseError, rows.RowError) as error:
        fail(str(error))


def _tell(results: Iterable[Gathered], slug: str = "", json_to: Path | None = None) -> int:
    """Print one line a student and the sums; exit code 1 where something was not fetched or pushed, or not taken."""
    from autograder.grade.accounting import Account

    problems = fetched = 0
    fates: list[Fate] = []
    told: list[Gathered] = []
    for result in results:
        told.append(result)
        fates += result.fates
        if result.problem:
            problems += 1
            errors.print(f"{result.student}: {result.problem}", markup=False, highlight=False)
            continue
        fetched += 1
        when = f"{result.received:%Y-%m-%d %H:%M:%S} UTC" if result.received else ""
        doubt = "" if result.trusted else ", by the commit's own date, which its author can set"
        console.print(f"{result.student}: {result.commit[:12]} {when}{doubt}", markup=False, highlight=False)
        for fate in result.fates:
            if fate.why and fate.outcome != "no concern":
                errors.print(
                    f"{result.student}: {fate.file}: {fate.outcome}, {fate.why}", markup=False, highlight=False
                )
    account = Account(fates, [result.student for result in told if result.problem])
    if json_to is not None:
        write_json({"chapter": slug, "students": list(map(_as_data, told)), "account": account.as_data()}, json_to)
    sums = account.counts()
    files = f"; {len(fates)} files: {', '.join(f'{n} {kind}' for kind, n in sums.items())}" if fates else ""
    console.print(f"{problems + fetched} students: {fetched} done, {problems} not{files}.", highlight=False)
    return FINDINGS if problems or sums["refused"] or sums["ambiguous"] else 0


def _as_data(result: Gathered) -> dict[str, Any]:
    """Return what `--json` holds about one student."""
    return {
        "student": result.student,
        "commit": result.commit,
        "received": result.received.isoformat() if result.received else None,
        "trusted": result.trusted,
        "files": list(result.files),
        "problem": result.problem,
    }
