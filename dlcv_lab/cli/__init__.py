"""The command `dlcv`. The student's verbs are here; an instructor's checkout adds its own through `dlcv.commands`."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

import typer

from dlcv_lab.cli import student, zoo
from dlcv_lab.cli.frame import errors, run

GROUP = "dlcv.commands"


def build_app() -> typer.Typer:
    """Return the app with the student's verbs and those of every installed extension."""
    app = typer.Typer(
        name="dlcv",
        help="Deep Learning for Computer Vision: the workbook's command line.",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    student.register(app)
    app.add_typer(zoo.app, name="zoo", rich_help_panel="For everyone who works through the notebooks")
    for extension in sorted(entry_points(group=GROUP), key=lambda found: found.name):
        try:
            extension.load()(app)
        except Exception as error:  # whatever is wrong with somebody's extension, the other commands work
            said = f"dlcv: the extension {extension.name} ({extension.value}) does not load and is left out: "
            remedy = "Reinstall it, or take it away with pip uninstall."
            errors.print(f"{said}{type(error).__name__}: {error}. {remedy}", markup=False, highlight=False)
    return app


def main() -> None:
    """Run the command line and end with its exit code: 0 done, 1 findings, 2 usage, 3 the grader's own fault."""
    sys.exit(run(build_app()))
