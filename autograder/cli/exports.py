"""`dlcv export`: marks and verdicts for other programs. Every file is written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autograder.cli.shared import CourseDir, needed_course, troubles
from dlcv_lab.cli.frame import FINDINGS, console, errors, fail

if TYPE_CHECKING:
    from autograder.exports.platforms import Filled, Platform
    from autograder.grade.journal import Entry
    from autograder.release.course import Course

PANEL = "For authors and instructors"
Chapter = Annotated[str, typer.Argument(metavar="CH", help="The chapter: 3, ch03 or its full name.")]
To = Annotated[Path | None, typer.Option("--to", help="The file to write.")]
Exported = Annotated[Path, typer.Argument(metavar="FILE", help="The CSV file as the platform exported it.")]
Match = Annotated[str, typer.Option(help="The column that tells a student. Default: where most are found.")]
Scale = Annotated[bool, typer.Option("--scale", help="Bring scores to the platform's largest score.")]
Decimal = Annotated[str, typer.Option(help="The decimal mark of the platform's language: . or ,")]


def register(app: typer.Typer) -> None:
    """Add the group of verbs to the app."""
    group = typer.Typer(help="Write marks and verdicts in the formats of other programs.", no_args_is_help=True)
    for verb in (csv, canvas, moodle, gradescope, junit, jsonl):
        group.command(verb.__name__)(verb)
    app.add_typer(group, name="export", rich_help_panel=PANEL)


def csv(
    chapters: Annotated[list[str] | None, typer.Argument(metavar="[CH]...", help="Default: all of the course.")] = None,
    to: To = None,
    bom: Annotated[bool, typer.Option("--bom", help="Begin with a byte order mark, as Excel likes it.")] = False,
    course: CourseDir = None,
) -> None:
    """The gradebook as CSV with nbgrader's columns, quoted, and without cells that a spreadsheet would run."""
    from autograder.chapter import rows
    from autograder.exports import nbgrader_csv
    from autograder.exports.scores import scores
    from autograder.grade.gradebook import assignments

    with troubles():
        found = needed_course(course)
        slugs = [rows.resolve(chapter) for chapter in chapters or found.chapters]
        if not chapters:  # all of the course: those that are in the gradebook by now
            there = assignments(found.database)
            left = [slug[:4] for slug in slugs if slug not in there]
            slugs = [slug for slug in slugs if slug in there]
            if not slugs:
                fail(f"no chapter is in the gradebook yet; run `dlcv release CH --course {found.root}` first")
            if left:
                errors.print(f"Not released yet, so not in the file: {', '.join(left)}", highlight=False)
        listed = scores(found, slugs)
        _write(nbgrader_csv.export(listed, bom=bom), to or Path("grades.csv"))
        handed_in = sum(score.handed_in for score in listed)
        sums = f"{len(listed)} rows: {handed_in} with a submission, {len(listed) - handed_in} without."
        console.print(sums, highlight=False)


def canvas(
    chapter: Chapter,
    exported: Exported,
    column: Annotated[str, typer.Option(help="The assignment's column, such as 'Lab 3 (1234)'.")] = "",
    to: To = None,
    match: Match = "",
    scale: Scale = False,
    course: CourseDir = None,
) -> None:
    """Fill one column of Canvas's exported gradebook; every other byte stays as it is."""
    from autograder.exports.platforms import CANVAS

    _fill(chapter, exported, CANVAS, to, course, column, match, scale, ".")


def moodle(
    chapter: Chapter,
    exported: Exported,
    column: Annotated[str, typer.Option(help="The column of the grade, in the file's language.")] = "",
    to: To = None,
    match: Match = "",
    scale: Scale = False,
    decimal: Decimal = ".",
    course: CourseDir = None,
) -> None:
    """Fill the grades of Moodle's offline grading worksheet; every other byte stays as it is."""
    from autograder.exports.platforms import MOODLE

    if decimal not in (".", ","):
        fail("--decimal is . or ,")
    _fill(chapter, exported, MOODLE, to, course, column, match, scale, decimal)


def _fill(
    chapter: str, exported: Path, platform: Platform, to: Path | None, place: Path | None, column: str, match: str,
    scale: bool, decimal: str,
) -> None:  # fmt: skip
    from autograder.chapter import rows
    from autograder.exports import ExportError
    from autograder.exports.platforms import fill
    from autograder.exports.scores import scores

    with troubles():
        course = needed_course(place)
        slug = rows.resolve(chapter)
        target = to or exported.with_name(f"{exported.stem}-{slug[:4]}{exported.suffix}")
        if target.resolve() == exported.resolve():
            fail(f"{target} is the file that was exported; name another one with --to, and keep that one")
        try:
            filled = fill(exported, scores(course, [slug]), platform, column=column, match=match, scale=scale,
                          decimal=decimal)  # fmt: skip
        except ExportError as error:
            fail(str(error))
        _write(filled.data, target)
        _tell(filled)
        if filled.rows_without_student or filled.students_without_row:
            raise typer.Exit(FINDINGS)


def _tell(filled: Filled) -> None:
    from autograder.base.wording import plain_text

    console.print(f"{filled.sums()} Students are told by {filled.matched_by!r}.", highlight=False)
    lists = (
        ("Rows without a student in the gradebook", filled.rows_without_student),
        ("Students without a row", filled.students_without_row),
    )
    for title, names in lists:
        if names:
            errors.print(f"{title}: {plain_text(', '.join(names))}", markup=False, highlight=False)
    for notice in filled.notices:
        errors.print(plain_text(notice), markup=False, highlight=False)


def gradescope(
    chapter: Chapter,
    to: To = None,
    verdicts: Annotated[
        bool, typer.Option("--results", help="Write results.json of every graded student instead of the bundle.")
    ] = False,
    course: CourseDir = None,
) -> None:
    """The zip that grades a chapter inside Gradescope, or results.json files of what was graded here.

    In Gradescope's container a submission is shut in at level uid only; docs/exports.md says what that does not stop.
    """
    import json

    from autograder.chapter import rows
    from autograder.exports import ExportError
    from autograder.exports import gradescope as exporting
    from autograder.release.judged_cases import student_key
    from dlcv_lab.files import write_whole

    with troubles():
        found = needed_course(course)
        row = rows.load_row(chapter)
        if verdicts:
            folder = to or Path(f"gradescope-{row.key}")
            entries = _graded(found, row.slug)
            for entry in entries:
                text = json.dumps(exporting.results(entry), indent=1, ensure_ascii=False) + "\n"
                write_whole(folder / entry.student / "results.json", text.encode("utf-8", "backslashreplace"))
            console.print(f"{len(entries)} files below {folder}", highlight=False)
            _account(found, entries)
            return
        # a key of its own: whoever gets hold of the bundle learns nothing about the course's other cases
        own = student_key(found.secret(), f"gradescope {row.slug}").hex().encode()
        try:
            _write(exporting.bundle(row, own), to or Path(f"gradescope-{row.key}.zip"))
        except ExportError as error:
            fail(str(error))
        console.print("It holds solutions and a secret: upload it as the autograder, and to nowhere else.")


def junit(chapter: Chapter, to: To = None, course: CourseDir = None) -> None:
    """Verdicts as JUnit XML: a suite per student, a test case per exercise."""
    from autograder.chapter import rows
    from autograder.exports import records

    with troubles():
        found, slug = needed_course(course), rows.resolve(chapter)
        entries = _graded(found, slug)
        _write(records.junit(entries, slug), to or Path(f"junit-{slug[:4]}.xml"))
        _account(found, entries)


def jsonl(chapter: Chapter, to: To = None, course: CourseDir = None) -> None:
    """Verdicts as JSON lines: one per student and exercise."""
    from autograder.chapter import rows
    from autograder.exports import records

    with troubles():
        found, slug = needed_course(course), rows.resolve(chapter)
        entries = _graded(found, slug)
        _write(records.json_lines(entries), to or Path(f"verdicts-{slug[:4]}.jsonl"))
        _account(found, entries)


def _account(course: Course, entries: list[Entry]) -> None:
    """Print how many students and verdicts a file holds, and who of the class is not in it."""
    from autograder.base.wording import plain_text
    from autograder.cli.grading import class_of
    from autograder.grade.accounting import one_form

    verdicts = [result for entry in entries for result in entry.flat]
    missing = sorted({*map(one_form, class_of(course))} - {one_form(entry.student) for entry in entries})
    faulty = sum(bool(entry.faulty) for entry in entries)
    console.print(
        f"{len(entries)} students: {len(verdicts)} verdicts, {faulty} students with a fault of the grader; "
        f"{len(missing)} of the class handed in nothing.",
        highlight=False,
    )
    if missing:
        errors.print(f"Handed in nothing: {plain_text(', '.join(missing))}", markup=False, highlight=False)


def _graded(course: Course, slug: str) -> list[Entry]:
    from autograder.grade import recording

    entries = recording.latest(course, slug)
    if not entries:
        fail(f"nothing of {slug} has been graded; run `dlcv grade --chapter {slug[:4]}` first")
    return entries


def _write(data: bytes, to: Path) -> None:
    from dlcv_lab.files import write_whole

    try:
        write_whole(to, data)
    except OSError as error:
        fail(f"{to} could not be written: {error.strerror}. Name another place, or make room on the disk.")
    console.print(f"written: {to}", highlight=False, markup=False)
