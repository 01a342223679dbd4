"""`check`: judge the functions of the running notebook on the public cases, and say why."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from dlcv_lab.checking import execute
from dlcv_lab.checking.envelope import encode
from dlcv_lab.checking.forbidding import forbidden_names
from dlcv_lab.checking.judging import judge_outcomes, with_broken
from dlcv_lab.checking.messages import say
from dlcv_lab.checking.model import ExerciseResult, MisconceptionAnswers, Outcome, Pack, Verdict
from dlcv_lab.checking.packs import find_exercise, load_pack
from dlcv_lab.checking.progress import Progress
from dlcv_lab.checking.report import CheckReport
from dlcv_lab.checking.submit import live_sources
from dlcv_lab.context import chapter_or_none, in_book

PATIENCE = 3  # equal failures in a row before a smaller problem is offered
_quick: dict[str, tuple[tuple[Any, ...], str]] = {}


def check(name: str) -> CheckReport:
    """Check an exercise of this chapter, such as `check("conv2d")`, with the functions of the running notebook.

    Returns:
        A report that shows itself: right, partly right, wrong, raised, or not attempted yet; what was given, what came
        and what is expected; and the likely cause.

    Raises:
        PacksError: an unknown exercise; the nearest name is suggested.
    """
    pack = find(name)
    names = scope()
    result, outcomes = judge_live(pack, names)
    if in_book():  # a page shows what a wrong answer reads, and nobody's progress changes
        sample = _sample_wrong(pack) if result.verdict is Verdict.OK else None
        return CheckReport(pack, result, tuple(outcomes), sample=sample)
    failure = f"{result.hint}|{result.message}" if result.verdict not in (Verdict.OK, Verdict.NA) else ""
    record = Progress().checked(pack.info.key, str(result.verdict), failure)
    return CheckReport(pack, result, tuple(outcomes), stuck=record.repeats >= PATIENCE)


def find(name: str) -> Pack:
    """Return the public pack of an exercise of this chapter, or of "ch03.conv2d"."""
    return load_pack(*find_exercise(name, chapter_or_none()))


def quick_verdict(name: str) -> str:
    """Return the verdict of an exercise without showing or noting anything; remembered until the code changes."""
    pack = find(name)
    names = scope()
    now = tuple(names.get(each) for each in (*pack.info.defines, *_used_names(pack)))
    held = _quick.get(pack.info.key)
    if held and len(held[0]) == len(now) and all(old is new for old, new in zip(held[0], now)):
        return held[1]
    verdict = str(judge_live(pack, names)[0].verdict)
    _quick[pack.info.key] = (now, verdict)
    return verdict


def judge_live(pack: Pack, names: dict[str, Any]) -> tuple[ExerciseResult, list[Outcome]]:
    """Judge the live definitions in `names`; with stand-ins where used exercises are wrong too."""
    outcomes = _outcomes(pack, names)
    if all(name not in names for name in pack.info.defines):
        text = say("undefined", names=", ".join(pack.info.defines))
        return ExerciseResult(pack.info.name, Verdict.NA, 0.0, pack.info.points, message=text), outcomes
    result = judge_outcomes(pack, outcomes)
    if result.verdict is not Verdict.OK:
        broken = tuple(used for used in pack.info.uses if _is_broken(pack.info.chapter, used, names))
        lent = tuple(used for used in broken if used in pack.info.standins)
        if lent:
            with standing_in("\n\n".join(pack.info.standins[used] for used in lent), names):
                again = _outcomes(pack, names)
            result = judge_outcomes(pack, outcomes, (lent, again))
        result = with_broken(result, [used for used in broken if used not in lent])
    return replace(result, version=pack.info.version), outcomes


def _outcomes(pack: Pack, names: Mapping[str, Any]) -> list[Outcome]:
    probe = execute.load_probe(pack.info.probe)
    # the notebook's own random state, gradient mode and default device stay as they are
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), torch.device("cpu"):
        outcomes = [
            execute.run_case(probe, execute.Names(names, pack.info.setup), encode(case.data), pack.info.forbid)
            for case in pack.cases
        ]
    if not pack.info.forbid.names:
        return outcomes
    seen = forbidden_names(live_sources(names, pack.info.defines, pack.info.uses), pack.info.forbid.names)
    return [replace(one, forbidden=tuple(dict.fromkeys([*seen, *one.forbidden]))) for one in outcomes]


def _is_broken(chapter: str, name: str, names: Mapping[str, Any]) -> bool:
    pack = load_pack(chapter, name)
    return judge_outcomes(pack, _outcomes(pack, names)).verdict is not Verdict.OK


def _used_names(pack: Pack) -> Iterator[str]:
    for used in pack.info.uses:
        yield from load_pack(pack.info.chapter, used).info.defines


@contextmanager
def standing_in(source: str, names: dict[str, Any]) -> Iterator[None]:
    """Run `source` in the notebook's names and put everything back afterwards."""
    before = dict(names)
    try:
        exec(compile(source, execute.STANDIN, "exec"), names)
        yield
    finally:
        for key in set(names) - set(before):
            del names[key]
        names.update(before)


def _sample_wrong(pack: Pack) -> tuple[MisconceptionAnswers, ExerciseResult] | None:
    """Return what a known mistake would read, for the pages of the book."""
    for wrong in pack.misconceptions():
        result = judge_outcomes(pack, list(wrong.outcomes))
        if result.verdict is not Verdict.OK and result.hint:
            return wrong, result
    return None


def scope() -> dict[str, Any]:
    """Return the names of the running notebook; in a script, those of the module that called into this package."""
    try:
        from IPython import get_ipython

        shell = get_ipython()
    except ImportError:
        shell = None
    if shell is not None:
        found: dict[str, Any] = shell.user_ns
        return found
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("dlcv_lab"):
        frame = frame.f_back
    return frame.f_globals
