"""Exercises are tested like code: the stub, the reference, every alternative and every known mistake are handed in.

Each goes exactly the grader's way: pasted into the release notebook, read, extracted, run in the sandbox on the public
cases and on N secret draws in one process, and judged.
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
from nbformat.notebooknode import NotebookNode

from autograder.base import cache, paths
from autograder.chapter import content_version, row_checks, source
from autograder.chapter.rows import Row, RowError
from autograder.declare.exercise import Exercise, Misconception
from autograder.release import assemble, leaks, nbgrader_release, packing
from autograder.release.judged_cases import HiddenError, Reference, hidden_pack, public_pack
from autograder.release.warm_start import runner_for
from autograder.sandbox import SandboxRunner
from dlcv_lab.checking import compare
from dlcv_lab.checking.envelope import encode
from dlcv_lab.checking.extract import extract
from dlcv_lab.checking.model import Case, ExerciseInfo, ExerciseResult, Job, Limits, Outcome, Pack, Program, Verdict
from dlcv_lab.checking.notebook_reader import read_cells
from dlcv_lab.checking.runners import Runner
from dlcv_lab.checking.submission import judge_programs

WIDEST = 0.5  # a tolerance of more than half the largest value is a mistake of the author
MARGIN = 10.0  # a known mistake differs from the reference by at least so many tolerances


@dataclass
class VariantReport:
    """One variant and the verdict that it got; the worst over all draws."""

    name: str
    verdict: str
    hint_fired: bool = False
    said: str = ""  # what the student would read


@dataclass
class ExerciseReport:
    """What became of one exercise, with one sentence per finding."""

    exercise: str
    points: float
    core: bool
    stub: str = ""
    reference: str = ""
    alternatives: list[VariantReport] = field(default_factory=list)
    misconceptions: list[VariantReport] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)

    def as_data(self) -> dict[str, Any]:
        """Return what `dlcv verify --json` prints."""
        return asdict(self) | {
            "alternatives": [{"name": variant.name, "verdict": variant.verdict} for variant in self.alternatives],
            "misconceptions": [
                {"name": variant.name, "verdict": variant.verdict, "hint_fired": variant.hint_fired}
                for variant in self.misconceptions
            ],
        }


def verify_row(
    row: Row,
    runner: Runner,
    *,
    seeds: int = 3,
    only: Iterable[str] = (),
    progress: Callable[[ExerciseReport], None] = lambda report: None,
) -> list[ExerciseReport]:
    """Verify the exercises of a chapter one after the other, and note the result in build/records/verify.json.

    `verify_together.verify_rows` does the same on several cores.

    Raises:
        RowError: the static checks of the row or the leak test fail; nothing is run then.
    """
    reports = []
    with tempfile.TemporaryDirectory(prefix="dlcv-verify-") as folder:
        release = release_of(row, Path(folder))
        for name in chosen(row, only):
            reports.append(verify_exercise(row, name, release, runner, seeds))
            progress(reports[-1])
    record(row, reports, seeds)
    return reports


def chosen(row: Row, only: Iterable[str] = ()) -> list[str]:
    """Return the names of a row's exercises in the order of the lessons: those in `only`, or all."""
    wanted = set(only)
    return [exercise.name for exercise in row.exercises if not wanted or exercise.name in wanted]


def release_of(row: Row, folder: Path) -> Path:
    """Check a row, release its notebooks into `folder`, look for leaks in them, and return where they lie."""
    row_checks.raise_findings(row)
    assemble.assemble(row, packs=False)
    made = nbgrader_release.generate(paths.source(row.slug), row.slug, folder / "release")
    if found := leaks.find_leaks(made, [row]):
        raise RowError("\n".join(map(str, found)))
    return made[0].parent


def verify_exercise(row: Row, name: str, release: Path, runner: Runner, seeds: int) -> ExerciseReport:
    """Verify one exercise; `release` is the folder that `release_of` returned."""
    infos = packing.infos_of(row)
    info = next(info for info in infos if info.name == name)
    own = [other for other in infos if other.notebook == info.notebook]
    notebook = nbformat.read(release / f"{info.notebook}.ipynb", as_version=4)
    return _Bench(row, row.exercise_by_name[name], info, own, notebook, runner, seeds).report()


class _Bench:
    """One exercise on the bench: its packs are made once, every variant is pasted, run and judged on all of them."""

    def __init__(
        self,
        row: Row,
        exercise: Exercise,
        info: ExerciseInfo,
        infos: list[ExerciseInfo],
        release: NotebookNode,
        runner: Runner,
        seeds: int,
    ) -> None:
        self.row, self.exercise, self.info, self.infos = row, exercise, info, infos
        self.release, self.runner, self.seeds = release, runner, seeds
        self.packs: list[Pack] = []

    def report(self) -> ExerciseReport:
        report = ExerciseReport(self.info.key, self.info.points, self.info.core)
        try:
            self._verify(report)
        except HiddenError as error:
            report.findings.append(str(error))
        return report

    def _verify(self, report: ExerciseReport) -> None:
        draws = [hidden_pack(self.exercise, self.info, f"verify {seed}".encode()) for seed in range(self.seeds)]
        self.packs = [public_pack(self.exercise, self.info), *draws]
        report.findings += self._wide_tolerances()
        report.stub = self._worst(self._judge(None))
        if report.stub != Verdict.NA:
            report.findings.append(f"{self.info.key}: the untouched stub gets {report.stub} instead of NA")
        results = self._judge(self._text({}))
        report.reference = self._worst(results)
        if report.reference != Verdict.OK:
            report.findings.append(f"{self.info.key}: the reference gets {report.reference}: {_said(results)}")
        for alternative in self.exercise.alternatives:
            results = self._judge(self._variant(alternative.source()))
            verdict = self._worst(results)
            report.alternatives.append(VariantReport(alternative.name, verdict, said=_said(results)))
            if verdict != Verdict.OK:
                report.findings.append(
                    f"{self.info.key}: the alternative {alternative.name!r} gets {verdict}: {_said(results)}"
                )
        for misconception in self.exercise.misconceptions:
            self._misconception(report, misconception)

    def _wide_tolerances(self) -> Iterator[str]:
        """Find cases on which a solution declared right is so far off that nearly everything would pass."""
        told = set[str]()
        for pack in self.packs:
            for case, expected, allowed in zip(pack.cases, pack.expected, pack.tolerances):
                leaves = [leaf for _, leaf in compare.numeric_leaves(expected.value)] if allowed else []
                wide = any(most > WIDEST * compare.scale(leaf) for leaf, most in zip(leaves, allowed))
                if wide and case.note not in told:
                    told.add(case.note)
                    yield (
                        f"{self.info.key}: on the case {case.note!r} the tolerance is wider than {WIDEST:g} of the "
                        f"values, because {self._worst_solution(case, expected)} is that inexact; mend it or its cases"
                    )

    def _worst_solution(self, case: Case, expected: Outcome) -> str:
        reference = Reference(self.exercise, self.info)
        off = {"the reference": reference.answer(case.data)}
        off |= {f"the alternative {one.name!r}": reference.answer(case.data, one) for one in self.exercise.alternatives}
        return max(off, key=lambda name: max(compare.deviations(off[name].value, expected.value)))

    def _misconception(self, report: ExerciseReport, misconception: Misconception) -> None:
        source_text = self._variant(misconception.source())
        program, outcomes = self._run(source_text)
        results = self._results(program, outcomes)
        missed = [result for result in results if result.verdict == Verdict.OK]
        fired = [result for result in results if result.hint.strip() == misconception.hint.strip()]
        verdict = str(Verdict.OK) if missed else self._worst(results)
        all_fired = len(fired) == len(results)
        report.misconceptions.append(VariantReport(misconception.name, verdict, all_fired, _said(results)))
        name = f"{self.info.key}: the misconception {misconception.name!r}"
        if missed:
            where = "on the public cases" if results[0] in missed else f"in {len(missed)} of {self.seeds} draws"
            report.findings.append(f"{name} passes {where}; add a kind of case to every draw on which it differs")
            return
        if not all_fired:
            other = next(result for result in results if result not in fired)
            instead = other.hint or other.message or "nothing"
            report.findings.append(f"{name} gets another hint than its own in {len(results) - len(fired)} of "
                                   f"{len(results)} draws: {instead!r}")  # fmt: skip
        wide = [replace(pack, tolerances=_scaled(pack.tolerances, MARGIN)) for pack in self.packs]
        if any(result.verdict == Verdict.OK for result in self._results(program, outcomes, wide)):
            report.findings.append(
                f"{name} differs by less than {MARGIN:g} tolerances; make a case that tells it clearly"
            )

    def _text(self, replaced: dict[str, str]) -> str:
        """Return the solution cell with the reference of every name that is not replaced."""
        parts = [replaced.get(name) or source.without_markers(self.row.source(name)) for name in self.exercise.defines]
        return "\n\n\n".join(dict.fromkeys(parts))

    def _variant(self, text: str) -> str:
        """Return the solution cell of a variant: its own code, and the reference of the names that it leaves alone."""
        own = source.bound_names(text)
        left = [source.without_markers(self.row.source(name)) for name in self.exercise.defines if name not in own]
        return "\n\n\n".join([*left, text])

    def _judge(self, text: str | None) -> list[ExerciseResult]:
        return self._results(*self._run(text))

    def _run(self, text: str | None) -> tuple[Program, list[Outcome]]:
        """Hand the text in, pasted into its cell of the release notebook, and run it on all cases in one process."""
        nb = paste(self.release, self.row, {} if text is None else {self.exercise.name: text}, keep=self.exercise.name)
        program = extract(read_cells(assemble.to_bytes(nb)), self.info, self.infos)
        if not program.attempted:
            return program, []
        inputs = tuple(encode(case.data) for pack in self.packs for case in pack.cases)
        limits = _widened(self.info.limits, len(self.packs))
        job = Job(program, self.info.probe, inputs, "", self.info.forbid, limits)
        outcomes = self.runner.run(job)
        if any(outcome.status in ("signal", "timeout", "memory", "fault") for outcome in outcomes):
            outcomes = self.runner.run(job)  # the code is ours: a busy machine is the likelier cause
        return program, outcomes

    def _results(
        self, program: Program, outcomes: list[Outcome], packs: list[Pack] | None = None
    ) -> list[ExerciseResult]:
        """Judge draw by draw, with the function that grades."""
        results, start = [], 0
        for pack in packs or self.packs:
            answers = _Answers(outcomes[start : start + len(pack.cases)])
            start += len(pack.cases)
            results += judge_programs({self.info.name: program}, [self.info], partial(_same, pack), answers)
        return results

    @staticmethod
    def _worst(results: list[ExerciseResult]) -> str:
        wrong = [result for result in results if result.verdict != Verdict.OK]
        return str((wrong or results)[0].verdict)


@dataclass(frozen=True)
class _Answers:
    """A runner that answers from what was run already."""

    outcomes: list[Outcome]

    def run(self, job: Job) -> list[Outcome]:
        return self.outcomes


def _same(pack: Pack, info: ExerciseInfo, program: Program) -> Pack:
    return pack


def paste(release: NotebookNode, row: Row, texts: dict[str, str], *, keep: str = "") -> NotebookNode:
    """Return a copy of a release notebook in which solution cells hold the given texts.

    Args:
        release: an untouched release notebook.
        row: its chapter.
        texts: exercise -> source of its solution cell.
        keep: an exercise that stays as released unless `texts` has it; all others get the reference.
    """
    nb = copy.deepcopy(release)
    by_id = {assemble.grade_id(f"{row.key}.{exercise.name}"): exercise for exercise in row.exercises}
    for cell in nb.cells:
        exercise = by_id.get(cell.metadata.get("nbgrader", {}).get("grade_id", ""))
        if exercise is None or cell.cell_type != "code":
            continue
        if exercise.name in texts:
            cell.source = texts[exercise.name]
        elif exercise.name != keep:
            cell.source = source.without_markers(row.reference(exercise))
    return nb


def _widened(limits: Limits, times: int) -> Limits:
    return replace(
        limits,
        seconds=limits.seconds * times,
        cpu_seconds=limits.cpu_seconds * times,
        output_bytes=limits.output_bytes * times,
    )


def _scaled(tolerances: tuple[tuple[float, ...], ...], factor: float) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(factor * value for value in row) for row in tolerances)


def _said(results: list[ExerciseResult]) -> str:
    result = next((result for result in results if result.verdict != Verdict.OK), results[0])
    wrong = next((case for case in result.cases if case.verdict != Verdict.OK), None)
    parts = [result.message, result.hint, f"case {wrong.note!r}: {wrong.text}" if wrong else "", *result.notes]
    return " ".join(part for part in parts if part)


def record(row: Row, reports: list[ExerciseReport], seeds: int) -> None:
    """Note the reports of a row's exercises, each under the version that it was made of."""
    versions = {info.key: content_version.verified_as(row, info) for info in packing.infos_of(row)}
    with cache.updated(paths.records() / "verify.json") as held:
        for report in reports:
            held[report.exercise] = {"ok": not report.findings, "version": versions[report.exercise], "seeds": seeds}


def verified(*, tried: bool = False) -> dict[str, str]:
    """Return exercise key -> `content_version.verified_as` of what was verified without a finding; `tried`: of all."""
    path = paths.records() / "verify.json"
    held = json.loads(path.read_text()) if path.exists() else {}
    return {key: facts["version"] for key, facts in held.items() if facts["ok"] or tried}


def sandbox(row: Row, level: str | None = None) -> SandboxRunner:
    """Return the grader's own runner for a chapter, at the highest level that this machine reaches."""
    return runner_for(row.slug, level)
