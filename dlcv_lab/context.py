"""What a notebook says about itself once, in its set-up cell."""

from __future__ import annotations

import os

_chapter: str | None = None


def begin(chapter: str) -> None:
    """Note the chapter of this notebook; `start` does this."""
    global _chapter
    _chapter = chapter


def chapter() -> str:
    """Return the chapter that `start` was called with, such as "ch03".

    Raises:
        RuntimeError: `start` was not called.
    """
    if _chapter is None:
        raise RuntimeError("no chapter yet: run the set-up cell at the top, which ends in start('ch03') or the like")
    return _chapter


def chapter_or_none() -> str | None:
    """Return the chapter that `start` was called with, or None."""
    return _chapter


def in_book() -> bool:
    """Tell whether the book is being built: pictures are then made for a page without a kernel."""
    return os.environ.get("DLCV_BOOK") == "1"
