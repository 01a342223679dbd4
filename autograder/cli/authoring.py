"""The verbs of authors and instructors before a class begins: from `dlcv new-chapter` to `dlcv release`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dlcv_lab.cli.frame import FINDINGS, console, fail, write_json

if TYPE_CHECKING:
    from autograder.chapter.rows import Row
    from autograder.release.verify import ExerciseReport

Chapter = Annotated[str, typer.Argument(metavar="[CH]", help="A chapter: 3, ch03 or its full name. Default: all.")]
Json = Annotated[bool, typer.Option("--json", help="Write the result as JSON to standard output.")]
PANEL = "For authors and instructors"
COURSE_HELP = "Make and keep the folder of one run of the course."
CLAIMS_HELP = "Measure the chapters' claims, or show what was measured."


def register(app: typer.Typer) -> None:
    """Add the verbs to the app."""
    course = typer.Typer(help=COURSE_HELP, no_args_is_help=True)
    course.command("init")(course_init)
    app.add_typer(course, name="course", rich_help_panel=PANEL)
    claims = typer.Typer(help=CLAIMS_HELP, no_args_is_help=True)
    claims.command("run")(claims_run)
    claims.command("show")(claims_show)
    app.add_typer(claims, name="claims", rich_help_panel=PANEL)
    for verb in (new_chapter, assemble, verify, slips, rows, release, methods, syllabus):
        app.command(verb.__name__.replace("_", "-"), rich_help_panel=PANEL)(verb)


@contextmanager
def troubles() -> Iterator[None]:
    """Turn what an author can mend into one message; findings about contents exit with 1, wrong usage with 2."""
    from autograder.chapter.ledger import ClaimsError
    from autograder.chapter.oracle_record import OracleError
    from autograder.chapter.rows import RowError
    from autograder.release.course import CourseError
    from autograder.release.judged_cases import HiddenError
    from autograder.release.nbgrader_release import FrozenError
    from autograder.release.repository import ReleaseError
    from autograder.release.wheel import WheelError
    from autograder.sandbox import IsolationError

    try:
        yield
    except (RowError, ReleaseError, FrozenError, HiddenError, WheelError, OracleError) as error:
        fail(str(error), FINDINGS)
    except (CourseError, ClaimsError, IsolationError, ValueError) as error:
        fail(str(error))


def chosen(chapter: str) -> list[Row]:
    """Load one chapter, or all."""
    from autograder.chapter.rows import load_row, slugs

    found = [load_row(name) for name in ([chapter] if chapter else slugs())]
    if not found:
        fail("there is no chapter yet; begin one with `dlcv new-chapter ch01_name`")
    return found


def say(quiet: bool = False) -> Callable[[str], None]:
    """Return a progress printer; silent where the output is JSON."""
    return lambda text: None if quiet else console.print(f"  {text}", style="dim", highlight=False)


def course_init(
    folder: Annotated[Path, typer.Argument(help="The course folder; outside the checkout's build/.")],
    name: Annotated[str, typer.Option(help="Name of the course, such as 'cv-2026'. Default: the folder's.")] = "",
    chapters: Annotated[str, typer.Option(help="Chapters in the order of teaching: 1,3,9. Default: all.")] = "",
    edition: Annotated[str, typer.Option(help="course or self-study.")] = "course",
) -> None:
    """Make a course folder: settings, secret, gradebook settings, folders. What is there already stays.

    Example: [bold]dlcv course init ~/cv-2026 --chapters 1,2,3[/bold]
    """
    from autograder.release.course import init_course

    with troubles():
        listed = [part.strip() for part in chapters.split(",") if part.strip()]
        course, made = init_course(folder, name=name, chapters=listed, edition=edition)
    for path in made:
        console.print(f"  made {path}", highlight=False)
    console.print(
        f"{course.name}: {len(course.chapters)} chapters, {course.edition} edition, {course.root}", highlight=False
    )
    if any(path.name == "secret" for path in made):
        console.print("Keep a backup of the secret: without it, hidden cases cannot be drawn again.", highlight=False)


def new_chapter(slug: Annotated[str, typer.Argument(help="Its name in every column: ch99_demo.")]) -> None:
    """Begin a chapter: a skeleton in every column that passes `dlcv verify` and builds.

    Example: [bold]dlcv new-chapter ch31_generation_and_restoration[/bold]
    """
    from autograder.base import paths
    from autograder.chapter import new_chapter as skeleton

    with troubles():
        made = skeleton.new_chapter(slug)
    for path in made:
        console.print(f"  {paths.shown(path)}", highlight=False)
    console.print(f"Next: dlcv verify {slug[:4]}, then replace what is in them. docs/authoring.md is the manual.")


def assemble(chapter: Chapter = "") -> None:
    """Build notebooks, check packs and marking sheets of one chapter or all, into build/.

    Example: [bold]dlcv assemble 3[/bold]
    """
    from autograder.base import paths
    from autograder.release import assemble as assembling

    with troubles():
        for row in chosen(chapter):
            made = assembling.assemble(row, progress=lambda name: say()(f"check pack of {name}"))
            notebooks = [path for path in made if path.parent == paths.source(row.slug)]
            exercises = f"{len(row.exercises)} exercises"
            console.print(f"{row.key}: {len(notebooks)} notebooks, {exercises}, {paths.shown(notebooks[0].parent)}")


def verify(
    chapter: Chapter = "",
    seeds: Annotated[int, typer.Option(min=1, help="Secret draws of cases: 3 in CI, 200 before a release.")] = 3,
    only: Annotated[
        list[str] | None, typer.Option(help="Only these exercises: with commas, or given again and again.")
    ] = None,
    level: Annotated[str, typer.Option(help="Isolation level. Default: the highest that this machine reaches.")] = "",
    workers: Annotated[int, typer.Option(min=0, help="Processes side by side. Default: one per core.")] = 0,
    as_json: Json = False,
) -> None:
    """Hand in stub, reference, alternatives and known mistakes of every exercise, and see that each gets its due.

    Exit code 1 where anything does not.

    Example: [bold]dlcv verify ch03 --only conv2d,max_pool2d --seeds 20[/bold]
    """
    from autograder.cli.shared import cores_of
    from autograder.release import verify_together
    from autograder.sandbox import detect

    reached = level or detect()
    names = _names(only)
    reports: list[ExerciseReport] = []
    with troubles():
        found = chosen(chapter)
        for row in found:
            unknown = [name for name in names if name not in row.exercise_by_name]
            if unknown:
                fail(f"{row.key} has no exercise {unknown[0]!r}; it has {', '.join(row.exercise_by_name)}")
        show = (lambda report: None) if as_json else _show_report
        reports = verify_together.verify_rows(
            found, seeds=seeds, only=names, level=reached, workers=cores_of(workers), progress=show
        )
    if as_json:
        write_json([report.as_data() for report in reports])
    wrong = [report for report in reports if report.findings]
    if not as_json:
        drawn = f"{seeds} draw{'' if seeds == 1 else 's'} each"
        console.print(f"{len(reports)} exercises, {len(wrong)} with findings, {drawn}, isolation {reached}")
    if wrong:
        raise typer.Exit(FINDINGS)


def slips(
    exercise: Annotated[str, typer.Argument(metavar="CH.EX", help="An exercise, such as ch03.conv2d.")],
    draws: Annotated[int, typer.Option(min=0, help="Secret draws of cases, besides the public ones.")] = 2,
    level: Annotated[str, typer.Option(help="Isolation level. Default: the highest that this machine reaches.")] = "",
    as_json: Json = False,
) -> None:
    """Propose known mistakes: mutations of a reference, run over the cases.

    Those that pass all cases show where the cases are too weak; those with an answer of their own are printed as slips
    to be pasted. Docs: docs/authoring.md.

    Example: [bold]dlcv slips ch03.conv2d[/bold]
    """
    from autograder.chapter.rows import load_row
    from autograder.release import slip_proposals
    from autograder.release import verify as verifying
    from autograder.sandbox import detect

    chapter, _, name = exercise.partition(".")
    with troubles():
        row = load_row(chapter)
        if name not in row.exercise_by_name:
            fail(f"{row.key} has no exercise {name!r}; it has {', '.join(row.exercise_by_name)}")
        with verifying.sandbox(row, level or detect()) as runner:
            found = slip_proposals.propose(row, row.exercise_by_name[name], runner, draws=draws, progress=_bar(as_json))
    if as_json:
        write_json([one.as_data() for one in found])
        return
    for line in slip_proposals.told(found):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _bar(quiet: bool) -> Callable[[int, int], None]:
    """Return what shows, where somebody looks, how much is done."""
    console_ = say(quiet)

    def show(done: int, total: int) -> None:
        if done % 25 == 0:
            console_(f"{done} of {total} mutations")

    return show


def rows(
    chapter: Chapter = "",
    again: Annotated[bool, typer.Option("--again", help="Also what passed for the same key on this machine.")] = False,
    workers: Annotated[int, typer.Option(min=0, help="Processes side by side. Default: one per core.")] = 0,
) -> None:
    """Run the heavy checks of one chapter or all, and note what passed in chapters/verified.json.

    Lessons, the untouched release, one notebook a second time, oracle tests, every exercise. A run that was stopped
    goes on where it was. Exit code 1 where a check finds something.

    Example: [bold]dlcv rows 3[/bold]
    """
    from rich import progress as rich

    from autograder.chapter import verified
    from autograder.cli.shared import cores_of
    from autograder.release import all_rows

    columns = (rich.TextColumn("{task.description}"), rich.BarColumn(), rich.MofNCompleteColumn(),
               rich.TimeElapsedColumn(), rich.TextColumn("left"), rich.TimeRemainingColumn())  # fmt: skip
    with troubles(), rich.Progress(*columns, console=console) as bar:
        slugs = [row.slug for row in chosen(chapter)]
        task = bar.add_task("checks", total=all_rows.count(slugs))

        def show(slug: str, check: str, wrong: str) -> None:
            bar.advance(task)
            bar.console.print(f"  {'FAIL' if wrong else 'ok  '} {slug[:4]} {check}", highlight=False)

        findings = all_rows.run(slugs, cores=cores_of(workers), again=again, progress=show)
        proved = verified.fresh() & set(slugs)
    for finding in findings:
        console.print(finding, highlight=False, soft_wrap=True, markup=False)
    console.print(f"{len(proved)} of {len(slugs)} rows on record as they are today: chapters/verified.json")
    if findings:
        raise typer.Exit(FINDINGS)


def _names(only: list[str] | None) -> list[str]:
    """Return the names of an option that takes several, each of them perhaps a list with commas."""
    return [name.strip() for given in only or [] for name in given.split(",") if name.strip()]


def _show_report(report: ExerciseReport) -> None:
    alternatives = f"{sum(one.verdict == 'OK' for one in report.alternatives)}/{len(report.alternatives)}"
    hints = f"{sum(one.hint_fired for one in report.misconceptions)}/{len(report.misconceptions)}"
    state = "ok  " if not report.findings else "FAIL"
    console.print(
        f"  {state} {report.exercise}: stub {report.stub}, reference {report.reference}, alternatives right "
        f"{alternatives}, mistakes told {hints}",
        highlight=False,
        soft_wrap=True,
    )
    for finding in report.findings:
        console.print(f"       {finding}", highlight=False, soft_wrap=True)


def release(
    chapter: Chapter = "",
    to: Annotated[Path | None, typer.Option(help="The student repository, new or from an earlier release.")] = None,
    edition: Annotated[str, typer.Option(help="course or self-study. Default: the course's, else course.")] = "",
    solutions: Annotated[bool, typer.Option("--solutions", help="Publish the solutions, after the deadline.")] = False,
    course: Annotated[Path | None, typer.Option(help="Also enter the chapters in this course's gradebook.")] = None,
) -> None:
    """Write or update the student repository: notebooks, check packs, wheel, README, CHANGES.

    With --course alone the repository is DIR/student.

    Example: [bold]dlcv release 3 --course ~/cv-2026 --to ~/cv-2026-student[/bold]
    """
    from autograder.release.course import EDITIONS, load_course
    from autograder.release.repository import release as write_release

    if to is None and course is None:
        fail("say where: --to DIR, or --course DIR")
    if edition and edition not in EDITIONS:
        fail(f"there is no edition {edition!r}; choose one of {', '.join(EDITIONS)}")
    with troubles():
        settings = load_course(course) if course else None
        target = to or Path(settings.root if settings else ".") / "student"
        done = write_release(
            target, [chapter] if chapter else [], edition=edition, solutions=solutions, course=settings, progress=say()
        )
    for name in done.kept_edits:
        console.print(f"  {name} had been edited there; the edited one is kept as {name}.bak", highlight=False)
    changed = f"{len(done.written)} files written, {len(done.removed)} removed"
    console.print(f"{', '.join(done.chapters)}: {done.edition} edition, {changed}, {done.folder}", highlight=False)


def methods(
    as_json: Json = False,
) -> None:
    """Tell which of the methods of the lectures work, computed from exercises, oracle tests, claims and lessons.

    It reads the records and runs nothing: [bold]dlcv rows[/bold] and [bold]dlcv verify[/bold] bring them up to date.
    """
    from autograder.chapter import methods as methods_
    from autograder.release import method_evidence

    with troubles():
        entries = methods_.report(method_evidence.gather())
        stale = method_evidence.unproved()
    if as_json:
        write_json(entries)
        return
    console.print(_methods_table(entries))
    counted = methods_.counts(entries)
    console.print(", ".join(f"{number} {status}" for status, number in counted.items()) + f", {len(entries)} in all")
    for slug in stale:
        console.print(f"{slug[:4]} is not on record as it is today: run dlcv rows {slug[:4]}", highlight=False)


def _methods_table(entries: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    table = Table("method", "status", "exercises and shows", "oracle tests", "claims (+ holds, - does not)", box=None)
    for entry in entries:
        if entry["status"] == "missing":
            continue
        claims = " ".join(("+" if claim["holds"] else "-") + claim["id"] for claim in entry["claims"])
        built = ", ".join([*entry["exercises"], *entry["shows"]])
        table.add_row(entry["key"], entry["status"], built, str(entry["oracle_tests"]), claims)
    return table


def claims_run(
    chapter: Annotated[str, typer.Argument(metavar="CH", help="A chapter: 3, ch03 or its full name.")],
    only: Annotated[
        list[str] | None,
        typer.Option(help="Only these claims: with commas, or given again and again. The others keep their record."),
    ] = None,
) -> None:
    """Measure a chapter's claims and write chapters/<slug>/claims.json.

    Example: [bold]dlcv claims run 3 --only gap_of_convolution[/bold]
    """
    from autograder.chapter import ledger, rows

    with troubles():
        rows_slug = rows.resolve(chapter)
        rows.load_row(rows_slug)  # links the chapter's solutions
        entries = ledger.run_claims(rows_slug, _names(only), lambda claim: say()(f"measuring {claim.id}"))
    _show_claims(entries)


def claims_show(chapter: Chapter = "", as_json: Json = False) -> None:
    """Show what was measured, holding or not."""
    from autograder.chapter import ledger, rows

    with troubles():
        slugs = [rows.resolve(chapter)] if chapter else rows.slugs()
        ledgers = {slug: ledger.read_ledger(slug) for slug in slugs}
    if as_json:
        write_json(ledgers)
        return
    for slug, entries in ledgers.items():
        console.print(f"[bold]{slug}[/bold]: {len(entries)} claims measured")
        _show_claims(entries)


def _show_claims(entries: list[dict[str, Any]]) -> None:
    for entry in entries:
        figures = ", ".join(
            f"{name} {_number(figure['mean'])}" + (f" ± {figure['std']:.2g}" if figure["std"] else "")
            for name, figure in entry["figures"].items()
        )
        verdict = "holds" if entry["holds"] else "does not hold"
        reason = f" ({entry['reason']})" if entry["reason"] else ""
        console.print(f"  {entry['id']}: {verdict}{reason}. {figures}", highlight=False, soft_wrap=True)


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"


def syllabus(
    chapters: Annotated[list[str] | None, typer.Argument(metavar="[CH]...", help="Default: all.")] = None,
    hours_a_week: Annotated[float, typer.Option(help="What a student can give the course in a week.")] = 9.0,
    as_json: Json = False,
) -> None:
    """Add up the hours of a selection of chapters: reading and core exercises, and extras beside them."""
    from rich.table import Table

    from autograder.chapter import syllabus as syllabuses
    from autograder.chapter.cards import plural

    with troubles():
        loads = syllabuses.syllabus(chapters or ())
        weeks = syllabuses.weeks(loads, hours_a_week)
    if as_json:
        write_json([syllabuses.as_data(load) for load in loads])
        return
    table = Table("chapter", "title", "reading", "core", "hours", "extras", "points", "needs", box=None)
    for load in loads:
        table.add_row(
            load.chapter,
            load.title,
            f"{load.reading} min",
            f"{load.core_exercises} in {load.core} min",
            f"{load.hours:.1f}",
            f"{load.extra_exercises} in {load.extra} min",
            f"{load.points:g}",
            ", ".join(load.needs),
        )
    console.print(table)
    hours = sum(load.hours for load in loads)
    console.print(f"{hours:.1f} hours without extras: {plural(weeks, 'week')} at {hours_a_week:g} hours a week")
