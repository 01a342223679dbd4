"""The student's verbs of `dlcv`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from dlcv_lab.checking import packs
from dlcv_lab.checking.messages import say
from dlcv_lab.checking.model import ExerciseInfo, ExerciseResult, Verdict
from dlcv_lab.checking.packs import Chapter, PacksError
from dlcv_lab.checking.predictions import foreseen
from dlcv_lab.checking.progress import Progress
from dlcv_lab.cli.frame import DONE, FAULT, FINDINGS, Trouble, console, fail, write_json

WORDS = {
    Verdict.OK: "right", Verdict.PA: "partly right", Verdict.WA: "wrong answer", Verdict.RE: "raised an exception",
    Verdict.SG: "the process died", Verdict.TO: "out of time", Verdict.ML: "out of memory",
    Verdict.OL: "answer too large", Verdict.TY: "wrong type or shape", Verdict.FO: "forbidden operation",
    Verdict.NA: "not attempted", Verdict.UR: "notebook unreadable", Verdict.XX: "the grader's own fault",
}  # fmt: skip

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program instead of a table.")]
Where = Annotated[str, typer.Argument(help="A chapter or an exercise: ch03, 3 or ch03.conv2d.", metavar="CH[.EX]")]


def register(app: typer.Typer) -> None:
    """Add the student's verbs to an app."""
    for verb, panel in ((lab, _LEARN), (check, _LEARN), (hint, _LEARN), (next_, _LEARN), (progress, _LEARN),
                        (submit, _LEARN), (doctor, _LEARN)):  # fmt: skip
        app.command(name=verb.__name__.rstrip("_"), rich_help_panel=panel)(verb)


_LEARN = "For everyone who works through the notebooks"


def chapter_named(name: str) -> Chapter:
    """Return a chapter of the packs; an unknown one ends the command with the nearest name."""
    try:
        return packs.find_chapter(name)
    except PacksError as error:
        fail(str(error))


def lab(
    folder: Annotated[Path, typer.Argument(help="The folder with the notebooks.")] = Path("."),
    browser: Annotated[bool, typer.Option(help="Open a browser window.")] = True,
) -> None:
    """Open JupyterLab on the notebooks.

    Example: [bold]dlcv lab[/bold]
    """
    if not folder.is_dir():
        fail(f"{folder} is no folder; name the one that holds the notebooks")
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={folder.resolve()}"]
    code = subprocess.run(command + ([] if browser else ["--no-browser"])).returncode
    if code:
        raise Trouble("JupyterLab ended with an error; its message stands above. Try `dlcv doctor`.", code)


def check(
    where: Annotated[str, typer.Argument(help="ch03, or one exercise: ch03.conv2d.", metavar="[CH[.EX]]")] = "",
    every: Annotated[bool, typer.Option("--all", help="Every chapter whose notebooks are here.")] = False,
    folder: Annotated[Path, typer.Option("--in", help="The folder with the notebooks.")] = Path("."),
    as_json: Json = False,
    classroom: Annotated[
        bool, typer.Option("--github-classroom", help="Print the result of a GitHub Classroom runner, version 3.")
    ] = False,
) -> int:
    """Check the saved notebooks on the public cases, in a fresh process. Unofficial.

    Examples: [bold]dlcv check ch03.conv2d[/bold]   [bold]dlcv check --all --json[/bold]
    """
    chapter, _, exercise = where.partition(".")
    if every == bool(where):
        fail("say what to check: a chapter (dlcv check ch03), an exercise (dlcv check ch03.conv2d), or --all")
    chapters = list(packs.chapters().values()) if every else [chapter_named(chapter)]
    if exercise and exercise not in chapters[0].exercises:
        try:
            packs.load_pack(chapter, exercise)
        except PacksError as error:
            fail(str(error))
    found: list[tuple[Chapter, list[ExerciseResult]]] = []
    for each in chapters:
        results = _check_chapter(each, folder, exercise, missing_is_fine=every)
        found += [(each, results)] if results else []
    if not found:
        fail(f"no notebook of a known chapter lies in {folder.resolve()}; go to the course's folder, or use --in")
    if classroom:
        _for_classroom(found)
    elif as_json:
        write_json([{"chapter": each.key, **as_data(result)} for each, results in found for result in results])
    else:
        for each, results in found:
            show_results(each, f"{each.key} {each.title} (public cases, unofficial)", results)
    verdicts = {result.verdict for _, results in found for result in results}
    return FAULT if Verdict.XX in verdicts else FINDINGS if verdicts - {Verdict.OK} else DONE


def _for_classroom(found: list[tuple[Chapter, list[ExerciseResult]]]) -> None:
    from dlcv_lab.checking.classroom import hand_over, runner_result

    keys = [(each.key, name) for each, _ in found for name in each.exercises]
    extras = frozenset(f"{key}.{name}" for key, name in keys if not packs.load_pack(key, name).info.core)
    result = runner_result(found, extras)
    write_json(result)
    hand_over(result)


def _check_chapter(chapter: Chapter, folder: Path, exercise: str, *, missing_is_fine: bool) -> list[ExerciseResult]:
    from dlcv_lab.checking.submit import find_notebooks, judge_public, nothing_here

    files = find_notebooks(chapter, folder)
    if not files:
        if missing_is_fine:
            return []
        fail(nothing_here(chapter, folder))
    with console.status(f"{chapter.key}: running your code in a fresh process"):
        results = judge_public(chapter, files, only=exercise or None)
    marks = Progress()
    for result in results:
        if result.verdict is not Verdict.UR:
            marks.checked(f"{chapter.key}.{result.name}", result.verdict, result.hint or result.message)
    return results


def hint(where: Where) -> None:
    """Show the next of an exercise's three hints: a question back, a sketch, nearly code.

    Example: [bold]dlcv hint ch03.conv2d[/bold]
    """
    try:
        chapter, name = packs.find_exercise(where)
    except PacksError as error:
        fail(str(error))
    pack, marks = packs.load_pack(chapter, name), Progress()
    opened = marks.of(f"{chapter}.{name}").hints
    stage = min(opened + 1, 3)
    marks.hinted(f"{chapter}.{name}", stage)
    console.print(f"[bold]{chapter}.{name}, hint {stage} of 3[/bold]")
    console.print(pack.info.hints[stage - 1], highlight=False, markup=False)
    if opened >= 3:
        console.print(say("hints_over", count=3, name=name), highlight=False, markup=False)


def next_(as_json: Json = False) -> None:
    """Name the next exercise that is not solved yet.

    Example: [bold]dlcv next[/bold]
    """
    marks = Progress()
    for core in (True, False):  # extras wait until everything that carries marks is solved
        for chapter in packs.chapters().values():
            for notebook in chapter.notebooks:
                for name in notebook.exercises:
                    info = packs.load_pack(chapter.key, name).info
                    if info.core is core and not marks.of(info.key).solved:
                        _show_next(info, f"{chapter.slug}/{notebook.stem}.ipynb", as_json=as_json)
                        return
    if not packs.list_packs():
        fail(f"no exercises were found from here: {packs.REMEDY}")
    if as_json:
        write_json(None)
    else:
        console.print("Everything that can be checked here is solved.")
        for chapter in packs.chapters().values():
            for notebook in chapter.notebooks:
                for name in notebook.written:
                    where = f"{chapter.slug}/{notebook.stem}.ipynb"
                    console.print(f"{chapter.key}.{name} in {where}: written, marked by hand", highlight=False)


def _show_next(info: ExerciseInfo, notebook: str, *, as_json: bool) -> None:
    if as_json:
        write_json({"exercise": info.key, "notebook": notebook, "minutes": info.minutes, "core": info.core})
        return
    kind = "core" if info.core else "extra"
    console.print(f"[bold]{info.key}[/bold] ({kind}, about {info.minutes} minutes)", highlight=False)
    console.print(f"in {notebook}: {info.good_for}", highlight=False)


def progress(as_json: Json = False) -> None:
    """Show what is solved, chapter by chapter.

    Example: [bold]dlcv progress[/bold]
    """
    marks = Progress()
    rows: list[dict[str, Any]] = []
    for chapter in packs.chapters().values():
        done = [name for name in chapter.exercises if marks.of(f"{chapter.key}.{name}").solved]
        tried = [n for n in chapter.exercises if marks.of(f"{chapter.key}.{n}").attempts and n not in done]
        left = [name for name in chapter.exercises if name not in done]
        rows.append({"chapter": chapter.key, "title": chapter.title, "exercises": len(chapter.exercises),
                     "solved": done, "tried": tried, "written": list(chapter.written),
                     "foresaw": foreseen(chapter.key).counted, "next": left[0] if left else None})  # fmt: skip
    if not rows:
        fail(f"no exercises were found from here: {packs.REMEDY}")
    if as_json:
        write_json(rows)
        return
    shown = Table(title="Your progress", title_justify="left")
    for heading in ("chapter", "solved", "tried", "next", "foreseen", "marked by hand"):
        shown.add_column(heading)
    for row in rows:
        shown.add_row(f"{row['chapter']} {row['title']}", f"{len(row['solved'])} of {row['exercises']}",
                      ", ".join(row["tried"]) or "-", row["next"] or "all done", row["foresaw"] or "-",
                      ", ".join(row["written"]) or "-")  # fmt: skip
    console.print(shown)


def submit(
    chapter: Annotated[str, typer.Argument(help="The chapter: ch03.", metavar="CH")],
    folder: Annotated[Path, typer.Option("--in", help="The folder with the notebooks.")] = Path("."),
    as_json: Json = False,
) -> int:
    """Show what the grader will see of the saved notebooks and write a receipt. It never refuses.

    Example: [bold]dlcv submit ch03[/bold]
    """
    from dlcv_lab.checking.submit import submit_folder

    found = chapter_named(chapter)
    with console.status(f"{found.key}: running your saved code in a fresh process"):
        try:
            receipt = submit_folder(found, folder)
        except PacksError as error:
            fail(str(error))
    if as_json:
        write_json(receipt.data())
        return DONE
    show_results(found, f"{found.key} {found.title}: your saved code on the public cases", receipt.results)
    console.print(say("others"), highlight=False)
    for notebook in found.notebooks:
        for name in notebook.written:
            points = f", {notebook.written_points[name]:g} points more" if name in notebook.written_points else ""
            console.print(
                f"Not in the table: {name} in {notebook.stem}.ipynb, marked by hand{points}.", highlight=False
            )
    for warning in receipt.warnings:
        console.print(f"[bold]Note:[/bold] {warning}", highlight=False)
    console.print(
        f"Receipt {receipt.number}, written to {receipt.path.parent.name}/{receipt.path.name}", highlight=False
    )
    console.print(say("hand_in"), highlight=False)
    return DONE


def doctor(as_json: Json = False) -> int:
    """Look at this machine and name a remedy for every line that fails.

    Example: [bold]dlcv doctor[/bold]
    """
    from dlcv_lab.cli.doctor import examine

    findings = examine()
    if as_json:
        write_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            sign = {True: "[green]ok  [/green]", False: "[red]FAIL[/red]", None: "info"}[finding.ok]
            console.print(f"{sign} {_plain(finding.name)}: {_plain(finding.text)}", highlight=False, soft_wrap=True)
            if finding.remedy:
                console.print(f"     remedy: {finding.remedy}", highlight=False, markup=False, soft_wrap=True)
    return FINDINGS if any(finding.ok is False for finding in findings) else DONE


def show_results(chapter: Chapter, title: str, results: Sequence[ExerciseResult]) -> None:
    """Print results as a table: verdict in letters and words, points, and the reason; then what was skipped, once.

    Extras carry no marks, so they show none and do not count in the sum.
    """
    extras = {name for name in chapter.exercises if not packs.load_pack(chapter.key, name).info.core}
    shown = Table(title=title, title_justify="left", show_lines=False)
    for heading in ("exercise", "verdict", "points", "reason"):
        width = 15 if heading == "verdict" else None  # in a narrow terminal the reason is to be the wide column
        shown.add_column(heading, overflow="fold", no_wrap=heading in ("exercise", "points"), max_width=width)
    notes: dict[str, None] = {}
    untouched = []
    for result in results:
        if result.verdict is Verdict.NA and result.message == say("untouched") and len(results) > 1:
            untouched.append(f"{result.name} (extra)" if result.name in extras else result.name)
            notes |= dict.fromkeys(result.notes)
            continue
        style = "green" if result.verdict is Verdict.OK else "dim" if result.verdict is Verdict.NA else "yellow"
        reason = " ".join(part for part in (result.message, result.hint) if part)
        points = "extra" if result.name in extras else f"{result.score:g}/{result.max_score:g}"
        shown.add_row(
            result.name, f"[{style}]{result.verdict} {WORDS[result.verdict]}[/{style}]", points, _plain(reason)
        )
        notes |= dict.fromkeys(result.notes)
    core = [result for result in results if result.name not in extras]
    if len(core) > 1:
        earned, most = sum(result.score for result in core), sum(result.max_score for result in core)
        shown.add_section()
        shown.add_row("core, together", "", f"{earned:g}/{most:g}", "")
    console.print(shown)
    if untouched:
        console.print(f"NA {WORDS[Verdict.NA]}: {', '.join(untouched)}", markup=False, highlight=False)
    for note in notes:
        console.print(f"[bold]Note:[/bold] {_plain(note)}", highlight=False)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def as_data(result: ExerciseResult) -> dict[str, Any]:
    """Return a result as plain data for JSON."""
    return {"name": result.name, "verdict": str(result.verdict), "score": result.score,
            "max_score": result.max_score, "seconds": result.seconds, "hint": result.hint,
            "message": result.message, "notes": list(result.notes)}  # fmt: skip
