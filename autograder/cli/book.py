"""`dlcv book`: the web book from what is written."""

from __future__ import annotations

import contextlib
import webbrowser
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from dlcv_lab.cli.frame import FINDINGS, console, fail, write_json


class Solutions(StrEnum):
    """Whether worked solutions stand in the book."""

    none = "none"
    dropdown = "dropdown"


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""

    @app.command(
        rich_help_panel="For authors and instructors",
        epilog="Examples: dlcv book · dlcv book --serve · dlcv book --chapters 16-25 --solutions dropdown",
    )
    def book(
        chapters: Annotated[str, typer.Option(help="Which chapters: 3, 16-25 or 1,3,9-12. Default: all written.")] = "",
        solutions: Annotated[Solutions, typer.Option(help="Leave solutions out, or fold them away.")] = Solutions.none,
        course: Annotated[
            Path | None, typer.Option(help="A course folder; course.toml says where notebooks open.", file_okay=False)
        ] = None,
        serve: Annotated[
            bool, typer.Option("--serve", help="Serve it on this machine, and make again what changes.")
        ] = False,
        open_it: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Say what was made as JSON.")] = False,
    ) -> None:
        """Run the lessons, make the pages and build the web book, with every warning an error.

        Which methods work is told from the records of `dlcv verify` and of the oracle tests; nothing is verified here.

        The book lies in build/book (a part of it in build/book-3, for example): plain files that need no network.
        """
        from autograder.base import paths
        from autograder.book import serving
        from autograder.book import web_book as books
        from autograder.chapter import ledger, methods
        from autograder.chapter.book_plan import PlanError
        from autograder.chapter.rows import RowError
        from autograder.release import method_evidence
        from autograder.release.execute_lessons import LessonFailed
        from autograder.release.launch_buttons import LaunchError

        def say(line: str) -> None:
            if not as_json:
                console.print(f"  {line}", style="dim", highlight=False)

        def status() -> list[dict[str, Any]]:
            for slug in method_evidence.unproved():
                say(f"{slug[:4]} is not on record as it is today (dlcv rows {slug[:4]}): its methods count as partial")
            return methods.report(method_evidence.gather())

        def make() -> books.Built:
            return books.build(chapters, solutions.value, methods=status, course=course, progress=say)

        try:
            made = make()
        except (PlanError, LaunchError, RowError, ledger.ClaimsError) as error:
            fail(str(error))
        except (books.BookError, LessonFailed) as error:
            fail(str(error), FINDINGS)
        index = made.folder / "index.html"
        if as_json:
            write_json(
                {
                    "index": str(index),
                    "chapters": list(made.chapters),
                    "pages": made.pages,
                    "seconds": round(made.seconds, 1),
                }
            )
        else:
            console.print(
                f"{made.pages} pages in {made.seconds:.0f} s, no warning: {paths.shown(index)}", highlight=False
            )
            console.print(f"Open {index.as_uri()}", highlight=False, soft_wrap=True)
        if open_it and not serve:
            webbrowser.open(index.as_uri())
        if serve:
            with serving.served(made.folder) as address:
                console.print(f"The book stands at {address} until Ctrl-C.", highlight=False)
                if open_it:
                    webbrowser.open(address)
                with contextlib.suppress(KeyboardInterrupt):
                    serving.watch(make, say)
