"""Read a submitted notebook in a shut-in process: hostile JSON or Python can exhaust memory or the stack there."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from autograder.sandbox.runner import READ, SandboxRunner
from dlcv_lab.checking.envelope import EnvelopeError, decode, encode
from dlcv_lab.checking.model import ExerciseInfo, Limits, Program
from dlcv_lab.checking.notebook_reader import MAX_BYTES, UnreadableError
from dlcv_lab.checking.wire import harmless
from dlcv_lab.checking.worker import frames

LIMITS = Limits(seconds=20.0, cpu_seconds=20.0, memory_mib=1024, output_bytes=64 * 2**20)


def read_programs(runner: SandboxRunner, raw: bytes, infos: Sequence[ExerciseInfo]) -> dict[str, Program]:
    """Return the program of every exercise of a notebook, extracted inside the sandbox.

    Raises:
        UnreadableError: it is no notebook, or reading it took more than a notebook can need.
        SandboxFault: the sandbox failed.
    """
    if len(raw) > MAX_BYTES:
        raise UnreadableError("the file is larger than 20 MiB; clear the outputs and save it again")
    asked = [
        {"chapter": info.chapter, "name": info.name, "notebook": info.notebook, "defines": list(info.defines),
         "stub": info.stub}
        for info in infos
    ]  # fmt: skip
    ended, answer = runner.call(READ, encode({"raw": raw, "infos": asked}), LIMITS)
    told: Any = None
    try:
        told = decode(frames(answer, 1)[0], LIMITS.output_bytes)
    except (EnvelopeError, IndexError):
        raise UnreadableError(f"reading the file failed: {ended.outcome().message}") from None
    if "unreadable" in told:
        raise UnreadableError(harmless(str(told["unreadable"])[:1000]))
    return {info.name: _program(info, told["programs"][info.name]) for info in infos}


def _program(info: ExerciseInfo, told: Any) -> Program:
    statements, attempted, notes = told
    kept = tuple(str(statement) for statement in statements)
    digest = hashlib.sha256("\0".join(kept).encode("utf-8", "replace")).hexdigest()
    return Program(info.setup, kept, bool(attempted), tuple(harmless(str(note)[:300]) for note in notes[:20]), digest)
