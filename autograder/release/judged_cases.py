"""The cases an exercise is judged on: drawn from a seed, answered by the reference in float64, with tolerances that
were measured on the reference and on every alternative.

Hidden packs are seeded from the grader's secret; the public pack that travels with a release is the smallest set of
cases of one fixed draw that covers every group of points and tells every misconception from the reference. All of it
runs in the trusted process, on our own code only.
"""

from __future__ import annotations

import ast
import hashlib
import hmac
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch

from autograder.declare import slips
from autograder.declare.draws import Draws
from autograder.declare.exercise import Exercise, Variant
from autograder.declare.probes import asked
from autograder.declare.slips import Slip
from autograder.declare.text import SourceError
from autograder.release import mutations
from dlcv_lab.checking import compare
from dlcv_lab.checking.envelope import decode, encode, float64_of
from dlcv_lab.checking.execute import load_namespace, load_probe, run_case, run_fresh
from dlcv_lab.checking.model import (
    Case,
    ExerciseInfo,
    MisconceptionAnswers,
    NearAnswers,
    Outcome,
    Pack,
    PairAnswers,
    Program,
)

PUBLIC_SEED = b"dlcv public cases 1"

_MISCALLED = re.compile(r"unexpected keyword argument|missing \d+ required|multiple values for argument")


class HiddenError(RuntimeError):
    """The exercise itself is at fault: its reference or an alternative fails on one of its own cases."""


def student_key(secret: bytes, student: str) -> bytes:
    """Return the key of one student's cases: all that a machine needs which judges this student alone."""
    return hmac.digest(secret, b"dlcv student\0" + student.encode("utf-8", "surrogatepass"), "sha256")


def attempt_seed(own_key: bytes, key: str, attempt: str) -> bytes:
    """Return the seed of a student's cases for one exercise and one state of the code; `own_key` is `student_key`.

    The same code always meets the same cases, so that a second run, a resumed run and formgrader agree; without the
    secret nobody can tell them beforehand.
    """
    parts = [part.encode("utf-8") for part in (key, attempt)]
    message = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    return hmac.digest(own_key, message, "sha256")


def key_id(secret: bytes) -> str:
    """Name a secret without telling it; stored with every result."""
    return hmac.digest(secret, b"dlcv key id", "sha256").hex()[:16]


def generator(seed: bytes) -> Draws:
    """Return a CPU generator in a state that depends on the whole seed."""
    draws = Draws()
    draws.manual_seed(int.from_bytes(hashlib.sha256(seed).digest()[:8], "big") % 2**63)
    return draws


class Reference:
    """Runs the reference of one exercise, and its variants, on cases in this process."""

    def __init__(self, exercise: Exercise, info: ExerciseInfo, source: str | None = None) -> None:
        self.exercise, self.info = exercise, info
        self.source = source if source is not None else source_of(info)
        self._probe: Callable[..., Any] = load_probe(info.probe)
        self._namespaces: dict[str, Any] = {}
        self._pairs: tuple[tuple[int, int, Slip], ...] | None = None
        self._near: tuple[Slip, ...] | None = None

    def answer(self, data: dict[str, Any], variant: Variant | None = None) -> Outcome:
        """Return the outcome of the probe on fresh copies of `data`, for the reference or for a variant of it."""
        return run_case(self._probe, self._namespace(variant), encode(data))

    def _value(self, data: Any, variant: Variant | None = None) -> Outcome:
        """Answer on data that nobody else holds, without a look at what became of it."""
        return run_fresh(self._probe, self._namespace(variant), data)

    def _namespace(self, variant: Variant | None) -> Any:
        name = variant.name if variant is not None else ""
        if name not in self._namespaces:
            texts = (self.source,) if variant is None else (self.source, variant.source())
            namespace, notes = load_namespace(Program(self.info.setup, texts, attempted=True))
            own = [note for note in notes if "the set-up" not in note]
            if own:
                raise HiddenError(f"{self.info.key}: {name or 'the reference'} cannot be loaded: {'; '.join(own)}")
            self._namespaces[name] = namespace
        return self._namespaces[name]

    def expected(self, case: Case, raw: bytes) -> Outcome:
        """Return what is right for a case, computed in float64; `raw` holds its data."""
        outcome = self._value(float64_of(raw))
        if outcome.status == "value":
            return Outcome("value", value=outcome.value)
        if outcome.status == "raised":
            if outcome.error == "TypeError" and _MISCALLED.search(outcome.message):
                raise HiddenError(
                    f"{self.info.key}: the case {case.note!r} cannot be put to the reference ({outcome.message}); "
                    "name its data like the parameters, or declare a probe"
                )
            return Outcome("raised", error=outcome.error, error_bases=outcome.error_bases, message=outcome.message)
        raise HiddenError(f"{self.info.key}: the reference fails on the case {case.note!r}: {outcome.message}")

    def tolerances(self, case: Case, raw: bytes, expected: Outcome) -> tuple[float, ...]:
        """Return the tolerance of each numeric leaf, measured on the reference in the case's own dtype and on every
        alternative; `raw` holds the case's data."""
        if expected.status != "value":
            return ()
        runs = []
        for variant in (None, *self.exercise.alternatives):
            outcome = self._value(decode(raw, max_bytes=2**40), variant)
            name = variant.name if variant else "the reference in its own dtype"
            if outcome.status != "value":
                raise HiddenError(f"{self.info.key}: {name} fails on the case {case.note!r}: {outcome.message}")
            runs.append(compare.deviations(outcome.value, expected.value))
        dtype = compare.input_dtype(case) or torch.float32
        try:
            return compare.tolerances(expected.value, runs, dtype)
        except ValueError as error:
            raise HiddenError(f"{self.info.key}, case {case.note!r}: {error}") from None

    def pack(self, cases: list[Case]) -> Pack:
        """Return the pack of these cases; the misconceptions are run when they are asked for.

        Where one raises, its line is left out: students get packs, and a mistake's line may be the solution's.
        """
        kept = tuple(cases)
        inputs = tuple(encode(case.data) for case in kept)
        expected = tuple(self.expected(case, raw) for case, raw in zip(kept, inputs))
        tolerances = tuple(self.tolerances(*each) for each in zip(kept, inputs, expected))

        @cache
        def misconceptions() -> tuple[MisconceptionAnswers, ...]:
            return tuple(
                MisconceptionAnswers(
                    wrong.name, wrong.hint, tuple(replace(self.answer(case.data, wrong), line="") for case in kept)
                )
                for wrong in self.exercise.misconceptions
            )

        def pairs() -> Iterator[PairAnswers]:
            for first, second, both in self._slips_in_pairs():
                yield PairAnswers(first, second, cache(partial(self._of_slip, both, kept)))
                self._namespaces.pop(both.name, None)

        def near() -> Iterator[NearAnswers]:
            for change in self._changes():
                yield NearAnswers(change.name.split(" ")[1], change.hint, cache(partial(self._of_slip, change, kept)))
                self._namespaces.pop(change.name, None)

        return Pack(self.info, kept, expected, tolerances, misconceptions, pairs, near, inputs)

    def _of_slip(self, change: Slip, cases: tuple[Case, ...], index: int) -> Outcome:
        try:
            with warnings.catch_warnings():  # about deprecated calls that nobody wrote
                warnings.simplefilter("ignore")
                return replace(self.answer(cases[index].data, change), line="", seconds=0.0)
        except HiddenError as error:  # it makes no code that can be loaded
            return Outcome("fault", message=str(error))

    def _changes(self) -> tuple[Slip, ...]:
        """Return the mechanical changes of the solution that can be told, each under a name of its own."""
        if self._near is None:
            parts = next((dict(one.parts) for one in self.exercise.misconceptions if isinstance(one, Slip)), {})
            loops = any(isinstance(node, ast.While) for text in parts.values() for node in ast.walk(ast.parse(text)))
            found = mutations.proposals(self.exercise, parts) if not loops else ()  # a changed loop may never end
            told = [change for change in found if change.hint]
            told += slips.alike(told)
            self._near = tuple(replace(change, name=f"{n} {change.name}") for n, change in enumerate(told))
        return self._near

    def _slips_in_pairs(self) -> tuple[tuple[int, int, Slip], ...]:
        if self._pairs is None:
            self._pairs = tuple(slips.pairs(self.exercise))
        return self._pairs


def draw(exercise: Exercise, seed: bytes) -> list[Case]:
    """Draw the cases of an exercise; raise `HiddenError` where a group of points has no case or is unknown."""
    cases = list(exercise.cases(generator(seed)))
    groups = {case.group for case in cases}
    if groups != set(exercise.groups):
        faults = [f"the group {name!r} has points and no case" for name in exercise.groups if name not in groups]
        faults += [f"cases of the group {name!r} have no points" for name in sorted(groups - set(exercise.groups))]
        raise HiddenError(f"{exercise.name}: {'; '.join(faults)}; name the same groups in `groups` and in `cases`")
    try:
        return asked(exercise, cases)
    except SourceError as error:
        raise HiddenError(str(error)) from None


def hidden_pack(exercise: Exercise, info: ExerciseInfo, seed: bytes, reference: str | None = None) -> Pack:
    """Return the pack of one attempt. `reference` is the source of the solution and of what it uses; by default it is
    looked up in the chapter's row."""
    return _reference(exercise, info, reference).pack(draw(exercise, seed))


def public_pack(exercise: Exercise, info: ExerciseInfo, reference: str | None = None) -> Pack:
    """Return the pack that travels with a release: one draw with a public seed, so every kind of case that the grader
    will use, with other numbers (docs/decisions/0009)."""
    return _reference(exercise, info, reference).pack(draw(exercise, PUBLIC_SEED))


def source_of(info: ExerciseInfo) -> str:
    """Return the reference's text from the chapter's row, used exercises first."""
    from autograder.chapter.rows import load_row

    row = load_row(info.chapter)
    names: list[str] = []

    def visit(name: str) -> None:
        for used in row.exercise_by_name[name].uses:
            visit(used)
        if name not in names:
            names.append(name)

    visit(info.name)
    return "\n\n\n".join(row.reference(row.exercise_by_name[name]) for name in names)


_held: dict[tuple[int, int, str | None], Reference] = {}


def _reference(exercise: Exercise, info: ExerciseInfo, source: str | None) -> Reference:
    """Return the one `Reference` of these objects; it keeps them alive, so that their ids stay theirs."""
    key = (id(exercise), id(info), source)
    if key not in _held:
        _held[key] = Reference(exercise, info, source)
    return _held[key]
