"""What happened to one exercise of one student, in a minute: the cases, what came, what was expected."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from autograder.grading import Marker
from autograder.wording import plain_text
from dlcv_lab.checking import compare
from dlcv_lab.checking.envelope import encode, leaves
from dlcv_lab.checking.model import CaseResult, ExerciseResult, Job, Outcome, Pack, Program
from dlcv_lab.checking.submission import judge_programs

_FULL = 36  # elements of a tensor that are printed in full


@dataclass(frozen=True)
class Explained:
    """One case: the inputs, the answer, what is right, and the judgement."""

    result: CaseResult
    inputs: list[str]
    got: str
    expected: str


@dataclass(frozen=True)
class Explanation:
    """One exercise of one student."""

    program: Program
    result: ExerciseResult
    cases: list[Explained]


def explain(marker: Marker, student: str, stem: str, exercise: str, raw: bytes) -> Explanation:
    """Judge one exercise again, on the same cases as when it was graded, and keep everything that is to be seen.

    Raises:
        UnreadableError: the notebook cannot be read.
        SandboxFault: the sandbox failed.
    """
    infos = marker.infos[stem]
    info = next(one for one in infos if one.name == exercise)
    programs = marker.programs(stem, raw)
    program = programs[exercise]
    results = judge_programs(programs, infos, lambda one, made: marker.pack(student, one, made), marker.runner)
    result = next(one for one in results if one.name == exercise)
    if not program.attempted:
        return Explanation(program, result, [])
    pack = marker.pack(student, info, program)
    inputs = tuple(encode(case.data) for case in pack.cases)
    outcomes = marker.runner.run(Job(program, info.probe, inputs, "", info.forbid, info.limits))
    cases = [_case(pack, outcome, judged) for outcome, judged in zip(outcomes, result.cases)]
    return Explanation(program, result, cases)


def _case(pack: Pack, outcome: Outcome, judged: CaseResult) -> Explained:
    case = pack.cases[judged.index]
    dtype = compare.input_dtype(case)
    inputs = [f"{path} = {_shown(leaf, dtype)}" for path, leaf in leaves(case.data)]
    return Explained(judged, inputs, _outcome(outcome), _outcome(pack.expected[judged.index]))


def _outcome(outcome: Outcome) -> str:
    if outcome.status == "value":
        return "\n".join(f"{path or 'value'} = {_shown(leaf)}" for path, leaf in leaves(outcome.value)) or "nothing"
    words = [outcome.status, outcome.error, outcome.message, f"in: {outcome.line}" if outcome.line else ""]
    return plain_text(" ".join(word for word in words if word))


def _shown(leaf: Any, dtype: torch.dtype | None = None) -> str:
    text = compare.describe(leaf, dtype)
    if isinstance(leaf, torch.Tensor) and leaf.numel() <= _FULL:
        text += "\n" + str(leaf)
    elif not isinstance(leaf, torch.Tensor):
        text = f"{leaf!r}"[:400]
    return plain_text(text)


def find_submission(course: Path, student: str, slug: str, stem: str) -> Path:
    """Return the file that a student handed in; raise FileNotFoundError that names what was looked for."""
    path = course / "submitted" / student / slug / f"{stem}.ipynb"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; is {student!r} the student's folder name?")
    return path
