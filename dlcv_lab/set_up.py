"""`start("ch03")`: the last line of every set-up cell."""

from __future__ import annotations

import os
import re
import sys

import torch

from dlcv_lab import palette
from dlcv_lab.checking.needs import install
from dlcv_lab.context import begin
from dlcv_lab.devices import seed as set_seed

_told_colab = False


def start(chapter: str, seed: int = 0) -> None:
    """Begin a notebook of `chapter` ("ch03"): seed all random numbers, compute on one thread, prepare `needs`.

    `check`, `hint`, `needs` and the other verbs look up exercises of this chapter from now on. One thread, because the
    small networks of this book run slower on two; set the variable DLCV_THREADS to choose otherwise. On Colab it says
    once that the notebook must be saved to Drive.

    Raises:
        ValueError: `chapter` is not written like "ch03".
    """
    global _told_colab
    if not re.fullmatch(r"ch\d{2}", chapter):
        raise ValueError(f"a chapter is written like 'ch03', not {chapter!r}")
    begin(chapter)
    set_seed(seed)
    palette.forget()
    torch.set_num_threads(int(os.environ.get("DLCV_THREADS", "1")))
    install()
    if "google.colab" in sys.modules and not _told_colab:
        _told_colab = True
        print("You are on Colab: choose File > Save a copy in Drive, or your work is gone when the session ends.")
