"""The instructor's verbs of `dlcv`, registered through the entry-point group `dlcv.commands`."""

from __future__ import annotations

import importlib
import importlib.util

import typer

from dlcv_lab.zoo import catalogue

GROUPS = ("authoring", "gathering", "grading", "marks", "exports", "book", "demo")


def register(app: typer.Typer) -> None:
    """Add every instructor's verb to the app, and let `dlcv zoo` find the recipes of the chapters."""
    if find_recipe not in catalogue.FINDERS:
        catalogue.FINDERS.append(find_recipe)
    for name in GROUPS:
        module = f"autograder.cli.{name}"
        if importlib.util.find_spec(module) is not None:
            importlib.import_module(module).register(app)


def find_recipe(name: str) -> catalogue.Model | None:
    """Return the recipe of a chapter's checkpoint, "ch04/simclr", or None."""
    from autograder.chapter import recipes

    return recipes.find(name)
