"""Read a submitted notebook in a shut-in process: hostile JSON or Python can exhaust memory or the stack there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autograder.sandbox.runner import READ, SandboxRunner
from dlcv_lab.checking.envelope import EnvelopeError, decode, encode
from dlcv_lab.checking.extract import digest_of
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
    statements, attempted, notes, reason, stands, otherwise, left_out = told
    kept, at_the_end = tuple(map(str, statements)), tuple(map(str, otherwise))
    return Program(
        info.setup,
        kept,
        bool(attempted),
        tuple(_said(note) for note in notes[:20]),
        digest_of(kept, at_the_end),
        _said(reason),
        None if stands is None else tuple(map(int, stands)),  # type: ignore[arg-type]
        at_the_end,
        tuple(tuple(_said(part) for part in missed[:20]) for missed in left_out[:20]),
    )


def _said(text: Any) -> str:
    return harmless(str(text)[:300])
