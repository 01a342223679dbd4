"""The words of checking: cases, outcomes, packs and results, shared by `check`, `dlcv submit` and the grader.

Everything here is a value. A `Pack` is all that is needed to judge one exercise on one set of cases: the public packs
that travel with a release and the hidden ones that the grader makes from its secret are the same type and go through
the same judge.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal


class Verdict(StrEnum):
    """The result of one exercise, in two letters."""

    OK = "OK"  # right
    PA = "PA"  # partly right
    WA = "WA"  # wrong answer
    RE = "RE"  # raised an exception
    SG = "SG"  # killed by a signal, or the process ended by itself
    TO = "TO"  # out of time
    ML = "ML"  # out of memory
    OL = "OL"  # output too large
    TY = "TY"  # wrong type or shape
    FO = "FO"  # forbidden operation
    NA = "NA"  # not attempted
    UR = "UR"  # submission unreadable
    XX = "XX"  # the grader's own fault: never a score, always retried


@dataclass(frozen=True)
class Limits:
    """What one exercise may use in the sandbox."""

    seconds: float = 20.0  # wall clock for all cases together, imports excluded
    cpu_seconds: float = 20.0
    memory_mib: int = 2048
    processes: int = 32
    output_bytes: int = 32 * 2**20  # encoded answers
    scratch_mib: int = 64


@dataclass(frozen=True)
class Forbid:
    """Operations that an exercise asks to do without (best effort, counted apart from integrity)."""

    aten: tuple[str, ...] = ()  # patterns such as "aten.convolution*", seen by a dispatch mode
    names: tuple[str, ...] = ()  # dotted names such as "F.conv2d", seen in the student's source

    def __bool__(self) -> bool:
        return bool(self.aten or self.names)


@dataclass(frozen=True)
class Case:
    """One input of a probe: `data` is plain data (tensors, numbers, strings, None, lists, tuples, dicts of them)."""

    group: str
    data: dict[str, Any]
    note: str = ""  # a few words for the student: "stride 2, odd height"


Status = Literal["value", "raised", "missing", "signal", "timeout", "memory", "output", "type", "fault"]


@dataclass(frozen=True)
class Outcome:
    """What running the probe on one case gave. Only `status`, `value` and the error fields can earn points; the facts
    below them are reported by the sandbox about itself and can only take points away."""

    status: Status
    value: Any = None  # plain data when status == "value"
    error: str = ""  # exception class name when status == "raised"
    error_bases: tuple[str, ...] = ()  # names of its method resolution order
    message: str = ""
    line: str = ""  # the student's source line that raised
    mutated: tuple[str, ...] = ()  # inputs changed in place, by path: ("x",)
    forbidden: tuple[str, ...] = ()  # forbidden operations seen
    seconds: float = 0.0
    peak: int = 0  # bytes at most in use by the whole job, where the runner measures it

    @property
    def unwritten(self) -> bool:
        """Tell whether the student's own code says that a part is still to be written; a library may say so, too."""
        return self.error == "NotImplementedError" and (not self.line or bool(re.search(r"\braise\b", self.line)))


@dataclass(frozen=True)
class ExerciseInfo:
    """What a student may know about an exercise. Serialised into its check pack."""

    chapter: str  # "ch03"
    name: str  # "conv2d"
    notebook: str  # "lesson_1"
    defines: tuple[str, ...]  # names the solution cell defines
    points: float
    core: bool
    groups: dict[str, float]  # group -> points; an extra has the same groups and counts 0 in the gradebook
    minutes: int
    difficulty: str  # "easy" | "medium" | "hard"
    good_for: str
    uses: tuple[str, ...]  # names of other exercises in this chapter
    hints: tuple[str, str, str]
    stub: str  # released source of the solution cell
    probe: str  # source of `run(ns, data)`
    setup: str  # source of the notebook's given set-up cells
    standins: dict[str, str] = field(default_factory=dict)  # used exercise -> source of a stand-in
    forbid: Forbid = Forbid()
    limits: Limits = Limits()
    keeps_inputs: bool = True  # changing an argument in place fails the case
    exact_dtype: bool = False  # a float64 answer to float32 inputs fails the case
    picture: bool = False  # `check` draws yours / expected
    returns: tuple[str, ...] = ()  # names for the parts of a returned tuple, where a mere call of the function is asked
    version: str = ""  # content hash of all that decides points: reference, cases, probe, variants, limits

    @property
    def key(self) -> str:
        return f"{self.chapter}.{self.name}"


@dataclass(frozen=True)
class Diagnosis:
    """A likely cause, in one sentence that is true of the evidence."""

    key: str  # "stride_ignored" or a generic key such as "transposed"
    text: str
    source: Literal["misconception", "generic"]


@dataclass(frozen=True)
class MisconceptionAnswers:
    """What a known mistake answers on the cases of a pack."""

    name: str
    hint: str
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True)
class PairAnswers:
    """What two known mistakes at once answer, case by case."""

    first: int  # their places among the misconceptions of the pack
    second: int
    answer: Callable[[int], Outcome]  # the outcome on the case with this number


@dataclass(frozen=True)
class NearAnswers:
    """What a mechanical change of a right solution answers, case by case."""

    key: str  # "without"
    clause: str  # what the change is: "a factor is left out, where `lr` comes in"
    answer: Callable[[int], Outcome]


@dataclass(frozen=True)
class Pack:
    """One exercise with the cases it is judged on."""

    info: ExerciseInfo
    cases: tuple[Case, ...]
    expected: tuple[Outcome, ...]  # of the reference, computed in float64
    tolerances: tuple[tuple[float, ...], ...]  # per case, per numeric leaf of the expected value
    # called only after a mismatch: outcomes of every misconception on `cases`
    misconceptions: Callable[[], tuple[MisconceptionAnswers, ...]] = tuple
    # called only where no misconception alone explains the outcomes
    pairs: Callable[[], Iterable[PairAnswers]] = tuple
    # called only where no known mistake does
    near: Callable[[], Iterable[NearAnswers]] = tuple
    inputs: tuple[bytes, ...] = ()  # the data of `cases` as envelopes, where they are known already


@dataclass(frozen=True)
class CaseResult:
    """The judgement of one case."""

    index: int
    group: str
    note: str
    verdict: Verdict  # OK, WA, RE, TY, TO, SG, ML, OL, FO or NA
    text: str = ""  # "within tolerance (max difference 3.1e-07)", "raised ValueError: ..."
    max_difference: float | None = None


@dataclass(frozen=True)
class ExerciseResult:
    """The judgement of one exercise of one submission."""

    name: str
    verdict: Verdict
    score: float
    max_score: float
    seconds: float = 0.0
    message: str = ""  # one or two plain sentences
    hint: str = ""  # the misconception's or the diagnoser's sentence
    diagnosis: Diagnosis | None = None
    cases: tuple[CaseResult, ...] = ()
    notes: tuple[str, ...] = ()  # "right, given a working im2col"; statements that were skipped
    attempt: str = ""  # SHA-256 of the extracted source
    version: str = ""  # content version of the exercise
    peak_mib: float = 0.0  # memory of its processes together, sampled; 0 where it was not seen


@dataclass(frozen=True)
class Program:
    """The student's code that counts for one exercise, extracted from the source text of a notebook's code cells."""

    setup: str  # our own given set-up, never the student's copy of it
    statements: tuple[str, ...]  # top-level statements to execute in order, each on its own
    attempted: bool  # False: equal to the released stub by ast, or no definition found
    notes: tuple[str, ...] = ()  # what was dropped or odd, in words
    digest: str = ""  # SHA-256 over the extracted source: the attempt
    reason: str = ""  # why there is nothing to judge, where there is more to say than that it is untouched
    # how many statements stand above the solution cell, to its end, and to the cell that checks it: what is bound
    # in the second stretch stays, then what is bound in all three; what comes later only adds names
    stands: tuple[int, int, int] | None = None
    otherwise: tuple[str, ...] = ()  # the statements of the notebook as it stands at its end, where that differs
    left_out: tuple[tuple[str, ...], ...] = ()  # ("`init()` in cell 12", names it may be about ...)

    @property
    def readings(self) -> tuple[Program, ...]:
        """Return the program as it stands at the exercise's check, and at the end where it means something else."""
        end = replace(self, statements=self.otherwise, stands=None, otherwise=())
        return (self, end) if self.otherwise else (self,)


@dataclass(frozen=True)
class Job:
    """One process of student code: a program, a probe, and the cases (inputs only)."""

    program: Program
    probe: str
    inputs: tuple[bytes, ...]  # one envelope per case
    standin: str = ""  # source run after the program, replacing a used name
    forbid: Forbid = Forbid()
    limits: Limits = Limits()
