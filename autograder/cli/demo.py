"""The verb `dlcv demo`."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command(rich_help_panel="For authors and instructors")(demo)


def demo(book: Annotated[bool, typer.Option(help="Build the chapter's book page too.")] = True) -> None:
    """Take chapter 3 all the way: release, nine submissions, sandboxed grades, gradebook, feedback, book page.

    Example: [bold]dlcv demo[/bold]
    """
    from autograder.demo.run import run

    raise typer.Exit(run(book=book))
