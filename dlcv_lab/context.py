"""What a notebook says about itself once, in its set-up cell."""

from __future__ import annotations

import os
import re
import sys

import torch

from dlcv_lab import palette
from dlcv_lab.devices import seed as set_seed

_chapter: str | None = None
_told_colab = False


def start(chapter: str, seed: int = 0) -> None:
    """Begin a notebook of `chapter` ("ch03"): seed all random numbers, compute on one thread, prepare `needs`.

    `check`, `hint`, `needs` and the other verbs look up exercises of this chapter from now on. One thread, because the
    small networks of this book run slower on two; set the variable DLCV_THREADS to choose otherwise. On Colab it says
    once that the notebook must be saved to Drive.

    Raises:
        ValueError: `chapter` is not written like "ch03".
    """
    global _chapter, _told_colab
    if not re.fullmatch(r"ch\d{2}", chapter):
        raise ValueError(f"a chapter is written like 'ch03', not {chapter!r}")
    _chapter = chapter
    set_seed(seed)
    palette.forget()
    torch.set_num_threads(int(os.environ.get("DLCV_THREADS", "1")))
    from dlcv_lab.checking.needs import install

    install()
    if "google.colab" in sys.modules and not _told_colab:
        _told_colab = True
        print("You are on Colab: choose File > Save a copy in Drive, or your work is gone when the session ends.")


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
