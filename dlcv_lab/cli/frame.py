"""What every verb of `dlcv` shares: the console, exit codes, JSON, and how an error is told."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

DONE, FINDINGS, USAGE, FAULT = 0, 1, 2, 3

console = Console()
errors = Console(stderr=True)
# typer brings its own copy of click or uses the installed one, by version; either way this is its base of usage errors
ClickError: Any = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")


class Trouble(Exception):
    """Something the user can mend. The message names the file and the remedy; `code` is the exit code."""

    def __init__(self, message: str, code: int = USAGE) -> None:
        super().__init__(message)
        self.code = code


def fail(message: str, code: int = USAGE) -> NoReturn:
    """End the command with one message on standard error."""
    raise Trouble(message, code)


def write_json(data: Any, to: Path | None = None) -> None:
    """Write data as JSON to standard output, or in one step to a file."""
    text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    if to is None:
        typer.echo(text, nl=False)
        return
    partial = to.with_name(f".{to.name}.part")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(to)
    except OSError as error:
        partial.unlink(missing_ok=True)
        fail(f"{to} could not be written: {error.strerror}. Name another place, or make room on the disk.")


def run(app: Callable[..., Any]) -> int:
    """Run the app and return its exit code; known troubles become one line, Ctrl-C ends cleanly.

    What a terminal's encoding (ascii, cp1252) has no letter for is printed as "?", never a reason to stop.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        result = app(standalone_mode=False)
        return result if isinstance(result, int) else DONE
    except Trouble as trouble:
        errors.print(f"[bold]dlcv:[/bold] {escape(str(trouble))}", highlight=False, soft_wrap=True)
        return trouble.code
    except typer.Exit as end:
        return end.exit_code
    except ClickError as wrong:
        said = wrong.format_message()
        errors.print(said if "Usage:" in said else f"[bold]dlcv:[/bold] {escape(said)} Try `dlcv --help`.",
                     highlight=False, soft_wrap=True)  # fmt: skip
        return USAGE
    except (KeyboardInterrupt, typer.Abort):
        errors.print("[bold]dlcv:[/bold] stopped by you; what was finished is kept.", highlight=False)
        return 130
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        errors.print(f"[bold]dlcv:[/bold] {place}{error.strerror or error}", highlight=False, soft_wrap=True)
        return USAGE
