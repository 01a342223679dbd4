"""Where things are: the one place that knows the layout of the checkout and of build/."""

from __future__ import annotations

import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def root() -> Path:
    """Return the folder that holds the rows: the checkout, or the folder named by DLCV_ROOT."""
    return Path(os.environ.get("DLCV_ROOT") or CHECKOUT).resolve()


def build() -> Path:
    """Return the folder for everything derived: build/ in the checkout, or the folder named by DLCV_BUILD."""
    return Path(os.environ.get("DLCV_BUILD") or root() / "build").resolve()


def cache() -> Path:
    """Return the folder of the content-addressed cache; DLCV_CACHE moves it out of the checkout."""
    return Path(os.environ.get("DLCV_CACHE") or build() / "cache").resolve()


def chapters() -> Path:
    return root() / "chapters"


def solutions() -> Path:
    return root() / "solutions"


def exercises() -> Path:
    return root() / "autograder" / "exercises"


def bibliography() -> list[Path]:
    """Return the files of book/references, one a chapter; the checkout's where the rows' folder has none."""
    own = sorted((root() / "book" / "references").glob("*.bib"))
    return own or sorted((CHECKOUT / "book" / "references").glob("*.bib"))


def methods_table() -> Path:
    """Return book/methods.csv, the list of all methods."""
    own = root() / "book" / "methods.csv"
    return own if own.exists() else CHECKOUT / "book" / "methods.csv"


def source(slug: str) -> Path:
    """Return the folder of the nbgrader source notebooks of a chapter."""
    return build() / "source" / slug


def packs() -> Path:
    return build() / "packs"


def booksrc(slug: str) -> Path:
    """Return the folder of the notebooks that the book executes: reference inserted, MyST kept."""
    return build() / "booksrc" / slug


def executed(slug: str) -> Path:
    return build() / "executed" / slug


def instructor() -> Path:
    """Return the folder of the markers' material: rubrics and sample answers."""
    return build() / "instructor"


def records() -> Path:
    return build() / "records"


def shown(path: Path) -> str:
    """Write a path as a reader of a message wants it: relative to the rows' folder where it lies inside."""
    try:
        return path.resolve().relative_to(root()).as_posix()
    except ValueError:
        return str(path)
