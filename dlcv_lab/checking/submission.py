"""Judge a saved notebook. `check`'s re-run, `dlcv grade` and formgrader's button all come through `judge`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dlcv_lab.checking.envelope import encode
from dlcv_lab.checking.extract import reached_sources, read_programs
from dlcv_lab.checking.forbidding import forbidden_names
from dlcv_lab.checking.judging import judge_outcomes, with_broken
from dlcv_lab.checking.messages import say
from dlcv_lab.checking.model import ExerciseInfo, ExerciseResult, Job, Outcome, Pack, Program, Verdict
from dlcv_lab.checking.notebook_reader import UnreadableError, read_bytes
from dlcv_lab.checking.runners import Runner

Packs = Callable[[ExerciseInfo, Program], Pack]  # the cases may depend on the attempt
Read = Callable[[bytes, Sequence[ExerciseInfo]], Mapping[str, Program]]
_MISSING_NAME = re.compile(r"name '(\w+)' is not defined|\b(\w+) is not defined")


def judge(
    path: Path,
    infos: Sequence[ExerciseInfo],
    packs: Packs,
    runner: Runner,
    *,
    read: Read = read_programs,
    done: Callable[[ExerciseResult], None] = lambda result: None,
) -> list[ExerciseResult]:
    """Judge every exercise of one saved notebook.

    Args:
        path: the notebook file.
        infos: its exercises, in the order of the notebook.
        packs: gives the cases for an exercise and an attempt: the public ones, or fresh secret ones.
        runner: where the student's code runs.
        read: turns the file's bytes into programs; the grader does it in a limited process.
        done: called with each result as soon as it is there.

    Returns:
        One result per exercise; where the file cannot be read, verdict UR for each with the reason.
    """
    try:
        programs = read(read_bytes(path), infos)
    except (UnreadableError, OSError) as error:
        reason = f"{path.name}: {error.strerror if isinstance(error, OSError) else error}"
        return [unreadable(info, reason) for info in infos]
    return judge_programs(programs, infos, packs, runner, done=done)


def judge_programs(
    programs: Mapping[str, Program],
    infos: Sequence[ExerciseInfo],
    packs: Packs,
    runner: Runner,
    *,
    done: Callable[[ExerciseResult], None] = lambda result: None,
) -> list[ExerciseResult]:
    """Judge the exercises of one notebook from what was extracted of it; see `judge`."""
    by_name = {info.name: info for info in infos}
    judged: dict[str, ExerciseResult] = {}
    for info in _used_first(infos):
        broken = [name for name in info.uses if name in judged and judged[name].verdict is not Verdict.OK]
        judged[info.name] = _judge_one(info, programs[info.name], packs, runner, broken)
        done(judged[info.name])
    return [judged[name] for name in by_name]


def _judge_one(
    info: ExerciseInfo, program: Program, packs: Packs, runner: Runner, broken: Sequence[str]
) -> ExerciseResult:
    """Judge one exercise with the student's own functions, and with stand-ins where those it uses are broken."""
    if not program.attempted:
        return _dressed(_not_attempted(info, program), info, program, 0.0, 0)
    pack = packs(info, program)
    inputs = pack.inputs or tuple(encode(case.data) for case in pack.cases)
    job = Job(program, info.probe, inputs, "", info.forbid, info.limits)
    outcomes = _named(runner.run(job), program, info)
    seconds = sum(outcome.seconds for outcome in outcomes)
    peak = max((outcome.peak for outcome in outcomes), default=0)
    result = judge_outcomes(pack, outcomes)
    for at_the_end in program.readings[1:] if result.verdict not in (Verdict.OK, Verdict.XX) else ():
        later = _named(runner.run(replace(job, program=at_the_end)), at_the_end, info)
        seconds += sum(outcome.seconds for outcome in later)
        peak = max([peak, *(outcome.peak for outcome in later)])
        as_it_ends = judge_outcomes(pack, later)
        if as_it_ends.verdict is not Verdict.XX and as_it_ends.score > result.score:
            result = replace(as_it_ends, notes=(*as_it_ends.notes, say("at_the_end")))
            program, job, outcomes = at_the_end, replace(job, program=at_the_end), later
    replaced = [name for name in broken if name in info.standins]
    if result.verdict not in (Verdict.OK, Verdict.XX) and replaced:
        standin = "\n\n".join(info.standins[name] for name in replaced)
        again = _named(runner.run(replace(job, standin=standin)), program, info)
        seconds += sum(outcome.seconds for outcome in again)
        peak = max([peak, *(outcome.peak for outcome in again)])
        result = judge_outcomes(pack, outcomes, (tuple(replaced), again))
    result = with_broken(result, [name for name in broken if name not in replaced])
    return _dressed(_missed(result, program), info, program, seconds, peak)


def _missed(result: ExerciseResult, program: Program) -> ExerciseResult:
    """Name the statements that were not run and may be what is missed; where a name is, those that are about it."""
    if result.verdict in (Verdict.OK, Verdict.NA, Verdict.XX):
        return result
    names = {name for found in _MISSING_NAME.findall(f"{result.message} {result.hint}") for name in found if name}
    found = [missed for missed, *about in program.left_out if not names or names & set(about)]
    said = program.reason or result.message  # a cell that is no Python is the whole news
    why = [say("left_out_file" if each.startswith("`%") else "left_out", statement=each) for each in found[:3]]
    return replace(result, message=" ".join([said, *why]))


def _named(outcomes: list[Outcome], program: Program, info: ExerciseInfo) -> list[Outcome]:
    """Add the forbidden names that the exercise's own code uses to what the sandbox saw."""
    if not info.forbid.names:
        return outcomes
    seen = forbidden_names(reached_sources(program.statements, info.defines, info.uses), info.forbid.names)
    return [replace(outcome, forbidden=tuple(dict.fromkeys([*seen, *outcome.forbidden]))) for outcome in outcomes]


def _dressed(result: ExerciseResult, info: ExerciseInfo, program: Program, seconds: float, peak: int) -> ExerciseResult:
    """Add what the judge of outcomes cannot know: time, memory, attempt, version, and what was skipped."""
    return replace(
        result,
        seconds=round(seconds, 4),
        notes=(*result.notes, *program.notes),
        attempt=program.digest,
        version=info.version,
        peak_mib=round(peak / 2**20, 1),
    )


def _used_first(infos: Sequence[ExerciseInfo]) -> list[ExerciseInfo]:
    """Return the exercises so that those that others use come before them."""
    by_name = {info.name: info for info in infos}
    ordered: dict[str, ExerciseInfo] = {}

    def add(info: ExerciseInfo) -> None:
        if info.name in ordered:
            return
        for name in info.uses:
            if name in by_name and name != info.name:
                add(by_name[name])
        ordered[info.name] = info

    for info in infos:
        add(info)
    return list(ordered.values())


def _not_attempted(info: ExerciseInfo, program: Program) -> ExerciseResult:
    """Return NA with its reason: the cell holds what was released, or no cell defines the name at all."""
    return ExerciseResult(info.name, Verdict.NA, 0.0, info.points, message=program.reason or say("untouched"))


def unreadable(info: ExerciseInfo, reason: str) -> ExerciseResult:
    """Return the result of an exercise whose notebook cannot be read."""
    return ExerciseResult(info.name, Verdict.UR, 0.0, info.points, message=f"The notebook cannot be read: {reason}.",
                          version=info.version)  # fmt: skip
