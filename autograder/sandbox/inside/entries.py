"""What a job may be: run student code on cases, or read a notebook. Each gets two descriptors: bytes in, bytes out."""

from __future__ import annotations

# looked up by name later: loaded once, in the warm parent
import encodings.ascii
import encodings.latin_1
import encodings.utf_8_sig  # noqa: F401
import gc
import os

import IPython.core.inputtransformer2  # noqa: F401  # likewise, for cells that are no plain Python

from dlcv_lab.checking.envelope import decode, encode
from dlcv_lab.checking.execute import run_job
from dlcv_lab.checking.extract import read_programs as programs_of
from dlcv_lab.checking.model import ExerciseInfo
from dlcv_lab.checking.notebook_reader import UnreadableError
from dlcv_lab.checking.wire import decode_job
from dlcv_lab.checking.worker import HEAD

PARTS = ("statements", "attempted", "notes", "reason", "stands", "otherwise", "left_out")  # of a program, as told


def run_cases(job: int, answers: int) -> None:
    """Run a job: one frame per case, in the order of the cases."""
    run_job(decode_job(_all(job)), lambda index, frame: _write(answers, frame))


def read_programs(job: int, answers: int) -> None:
    """Read a notebook and extract the program of every exercise: one frame with {name: ...} or {"unreadable": why}."""
    gc.disable()  # syntax trees are many objects, and this process ends with its answer
    asked = decode(_all(job), max_bytes=2**32)
    infos = [_info(**facts) for facts in asked["infos"]]
    try:
        found = programs_of(asked["raw"], infos)
        frame = encode({"programs": {name: [getattr(p, part) for part in PARTS] for name, p in found.items()}})
    except UnreadableError as error:
        frame = encode({"unreadable": str(error)})
    _write(answers, frame)


def _info(chapter: str, name: str, notebook: str, defines: list[str], stub: str) -> ExerciseInfo:
    """Return what extraction needs to know about an exercise, and nothing of the rest."""
    return ExerciseInfo(
        chapter, name, notebook, tuple(defines), points=0.0, core=True, groups={}, minutes=0, difficulty="",
        good_for="", uses=(), hints=("", "", ""), stub=stub, probe="", setup="",
    )  # fmt: skip


def _all(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as source:
        return source.read()


def _write(descriptor: int, frame: bytes) -> None:
    view = memoryview(HEAD.pack(len(frame)) + frame)
    while view:
        view = view[os.write(descriptor, view) :]
