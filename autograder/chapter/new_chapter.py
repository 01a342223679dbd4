"""A new chapter begins as a row that already passes: every column has its file, and each is there to be replaced."""

from __future__ import annotations

import re
from pathlib import Path

from autograder.base import cache, paths
from autograder.chapter.rows import SLUG, RowError, forget, slugs

SKELETON = paths.CHECKOUT / "autograder" / "chapter" / "skeleton"


def columns(slug: str) -> dict[str, Path]:
    """Return skeleton file -> place of a row's first files."""
    root = paths.root()
    return {
        "lesson_1.md": root / "chapters" / slug / "lesson_1.md",
        "claims.py": root / "chapters" / slug / "claims.py",
        "solution.py": root / "solutions" / f"{slug}.py",
        "exercises.py": root / "autograder" / "exercises" / f"{slug}.py",
        "test_row.py": root / "tests" / "chapters" / f"test_{slug}.py",
    }


def new_chapter(slug: str) -> list[Path]:
    """Write a skeleton row that passes `dlcv verify` and builds, and return its files.

    Raises:
        RowError: the name is malformed, its number is taken, or one of the files exists.
    """
    if not SLUG.match(slug):
        raise RowError(f"{slug!r} is no chapter name; write it like ch99_demo: two digits, then lower-case words")
    taken = [other for other in slugs() if other[:4] == slug[:4]]
    if taken:
        raise RowError(f"the number {slug[:4]} is taken by {taken[0]}; choose another")
    places = columns(slug)
    present = [path for path in places.values() if path.exists()]
    if present:
        raise RowError(f"{paths.shown(present[0])} exists already; remove it or choose another name")
    for name, path in places.items():
        text = (SKELETON / name).read_text(encoding="utf-8")
        text = text.replace("ch99_demo", slug)
        text = re.sub(r"\bch99\b", slug[:4], text).replace("chapter 99", f"chapter {int(slug[2:4])}")
        cache.write(path, text.encode())
    forget(slug)
    return list(places.values())


def remove_skeleton(slug: str) -> None:
    """Remove the files of a row made by `new_chapter`, and folders that this leaves empty; used by its tests."""
    for path in columns(slug).values():
        path.unlink(missing_ok=True)
        if path.parent.name == slug and not any(path.parent.iterdir()):
            path.parent.rmdir()
    forget(slug)
