"""What happened to one exercise of one student, in a minute: the cases, what came, what was expected."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from autograder.base.wording import plain_text, points
from autograder.grade.marking import Marker
from autograder.grade.submissions import folder_of
from dlcv_lab.checking import compare
from dlcv_lab.checking.envelope import encode, leaves
from dlcv_lab.checking.messages import say
from dlcv_lab.checking.model import Case, CaseResult, ExerciseResult, Job, Outcome, Pack, Program
from dlcv_lab.checking.submission import judge_programs

if TYPE_CHECKING:
    from autograder.chapter.rows import Row
    from autograder.release.course import Course

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
    program = program.readings[say("at_the_end") in result.notes]
    outcomes = marker.runner.run(Job(program, info.probe, inputs, "", info.forbid, info.limits))
    cases = [_case(pack, outcome, judged) for outcome, judged in zip(outcomes, result.cases)]
    return Explanation(program, result, cases)


def _case(pack: Pack, outcome: Outcome, judged: CaseResult) -> Explained:
    case = pack.cases[judged.index]
    return Explained(
        judged, inputs_in_words(case), outcome_in_words(outcome), outcome_in_words(pack.expected[judged.index])
    )


def inputs_in_words(case: Case) -> list[str]:
    """Return one text per input: its name, what it is, and its numbers where they are few."""
    dtype = compare.input_dtype(case)
    return [f"{_argument(path)} = {leaf_in_words(leaf, dtype)}" for path, leaf in leaves(case.data)]


def _argument(path: str) -> str:
    """Write the path of an input as an argument: "['x']" is x."""
    return path.removeprefix("['").replace("']", "", 1) if path.startswith("['") else path


def outcome_in_words(outcome: Outcome) -> str:
    """Return an answer, or how it failed to come, as plain text."""
    if outcome.status == "value":
        return (
            "\n".join(f"{path or 'value'} = {leaf_in_words(leaf)}" for path, leaf in leaves(outcome.value)) or "nothing"
        )
    words = [outcome.status, outcome.error, outcome.message, f"in: {outcome.line}" if outcome.line else ""]
    return plain_text(" ".join(word for word in words if word))


def leaf_in_words(leaf: Any, dtype: torch.dtype | None = None) -> str:
    """Return what a value is, and its numbers where they are few."""
    text = compare.describe(leaf, dtype)
    if isinstance(leaf, torch.Tensor) and leaf.numel() <= _FULL:
        text += "\n" + str(leaf)
    elif not isinstance(leaf, torch.Tensor):
        text = f"{leaf!r}"[:400]
    return plain_text(text)


def find_submission(course: Path, student: str, slug: str, stem: str) -> Path:
    """Return the file that a student handed in; raise FileNotFoundError that names what was looked for."""
    path = folder_of(course / "submitted", student) / slug / f"{stem}.ipynb"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; is {student!r} the student's folder name?")
    return path


def replay(marker: Marker, student: str, stem: str, exercise: str, told: Explanation) -> str:
    """Return Python text that rebuilds the smallest failing case; "" where there is none or it is too large."""
    from autograder.feedback.replay import snippet
    from autograder.feedback.smallest import Shrinker

    info = next(one for one in marker.infos[stem] if one.name == exercise)
    found = Shrinker(marker).smallest(student, info, told.program, told.result)
    return plain_text(snippet(info, found)) if found is not None else ""


def history(course: Course, row: Row, student: str, exercise: str, now: ExerciseResult) -> list[str]:
    """Return in lines what is known beside the cases: content versions, earlier verdicts, people's decisions."""
    from autograder.chapter import content_version
    from autograder.grade import recording
    from autograder.grade.gradebook import GradebookError, open_book
    from autograder.grade.overrides import DecisionLog

    released = content_version.released(course.journal, row.slug).get(exercise, "")
    receipt = _receipt(course.root / "submitted" / student / row.slug, exercise)
    versions = {"released": released, "student's receipt says": receipt, "now": now.version}
    lines = ["content version: " + ", ".join(f"{what} {text[:8]}" for what, text in versions.items() if text)]
    for entry in recording.journal_of(course, row.slug).entries():
        for result in entry.flat:
            if entry.student == student and result.name == exercise:
                score = f"{result.verdict} {points(result.score)} of {points(result.max_score)}"
                lines.append(f"journal {entry.when}: {score}, version {result.version[:8]}, {entry.isolation}")
    for one in DecisionLog(course.journal, row.slug).history():
        if one.exercise == exercise and one.student in ("", student):
            score = "" if one.points is None else f" to {points(one.points)}"
            lines.append(plain_text(f"decision {one.when} by {one.by or '?'}: {one.kind}{score}: {one.why}"))
    try:
        with open_book(course.database, row.slug, course.root) as book:
            facts = book.human_facts(student, exercise, row.notebook_of(exercise).stem)
    except GradebookError:
        facts = {}
    return lines + [plain_text(f"gradebook: {what}: {text}") for what, text in facts.items()]


def _receipt(folder: Path, exercise: str) -> str:
    """Return the version that a student's own receipt names; nobody vouches for it."""
    try:
        told = json.loads((folder / "submission.json").read_bytes()[: 2**20])
        found = {item["name"]: item["version"] for item in told["results"]}.get(exercise, "")
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
    return plain_text(found) if isinstance(found, str) else ""
