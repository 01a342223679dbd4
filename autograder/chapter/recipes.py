"""Find the recipes of the chapters' checkpoints: `chapters/<slug>/recipes.py`, for `dlcv zoo train ch04/simclr`."""

from __future__ import annotations

import functools
import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

from autograder.base import paths
from autograder.chapter.rows import SLUG, link_packages
from dlcv_lab.zoo.recipes import Recipe


def find(name: str) -> Recipe | None:
    """Return the recipe of "ch04/simclr": the function `simclr` of the chapter's recipes.py, or None."""
    key, _, wanted = name.partition("/")
    home = paths.chapters()
    places = sorted(home.glob(f"{key}_*/recipes.py")) if home.exists() else []
    for place in places:
        if SLUG.match(place.parent.name) and wanted in (known := of(place)):
            return replace(known[wanted], name=name)
    return None


def names() -> tuple[str, ...]:
    """Return the names of all recipes of all chapters."""
    places = sorted(paths.chapters().glob("ch[0-9][0-9]_*/recipes.py"))
    return tuple(f"{place.parent.name[:4]}/{name}" for place in places for name in of(place))


def of(place: Path) -> dict[str, Recipe]:
    """Return the recipes that a file defines, by name."""
    return _load(place, place.stat().st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _load(place: Path, stamp: int) -> dict[str, Recipe]:
    link_packages()
    spec = importlib.util.spec_from_file_location(f"chapters_{place.parent.name}_recipes", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return {name: value for name, value in vars(module).items() if isinstance(value, Recipe)}
