"""The instructor's verbs of `dlcv`, registered through the entry-point group `dlcv.commands`."""

from __future__ import annotations

import importlib
import importlib.util

import typer

GROUPS = ("authoring", "gathering", "grading", "marks", "exports", "book", "demo")


def register(app: typer.Typer) -> None:
    """Add every instructor's verb to the app."""
    for name in GROUPS:
        module = f"autograder.cli.{name}"
        if importlib.util.find_spec(module) is not None:
            importlib.import_module(module).register(app)
