"""Which mutations of a reference do the cases let through, and which would make a known mistake? `dlcv slips`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from autograder.chapter.rows import Row
from autograder.declare.exercise import Exercise
from autograder.declare.slips import Slip
from autograder.release import mutations, packing
from autograder.release.judged_cases import hidden_pack, public_pack, source_of
from dlcv_lab.checking.envelope import encode
from dlcv_lab.checking.judging import judge_outcomes
from dlcv_lab.checking.model import Job, Outcome, Pack, Program, Verdict
from dlcv_lab.checking.runners import Runner
from dlcv_lab.checking.wire import encode_outcome

Fate = Literal["passes", "candidate", "known", "crashes"]
SECONDS = 10.0  # at most, for all cases of one mutation


@dataclass(frozen=True)
class Proposal:
    """A mutation as a slip, and what became of it."""

    slip: Slip
    fate: Fate
    verdict: str = ""
    wrong: tuple[str, ...] = ()  # notes of the public cases that it gets wrong
    known: str = ""  # the known mistake whose sentence it got

    def as_data(self) -> dict[str, object]:
        """Return what `dlcv slips --json` prints."""
        return {"slip": line_of(self.slip), "fate": self.fate, "verdict": self.verdict, "wrong": list(self.wrong),
                "known": self.known}  # fmt: skip


def line_of(slip: Slip) -> str:
    """Return a slip as Python to paste, its sentence and source still to be written."""
    pieces = ", ".join(
        f"{_quoted((piece.inside, piece.old) if piece.inside else piece.old)}: {_quoted(piece.new)}"
        for piece in slip.pieces
    )
    return f'slip("{slip.name}", {{{pieces}}}, "", ""),'


def _quoted(value: str | tuple[str, str]) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_quoted, value))})"
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def propose(
    row: Row,
    exercise: Exercise,
    runner: Runner,
    *,
    draws: int = 2,
    progress: Callable[[int, int], None] = lambda done, all_: None,
) -> list[Proposal]:
    """Run every mutation of an exercise's reference on the public cases and on secret draws, and judge it.

    Of mutations that answer all cases alike, the first stands for the others.
    """
    info = packing.info_of(row, exercise)
    packs = [public_pack(exercise, info), *(hidden_pack(exercise, info, b"slips %d" % n) for n in range(draws))]
    inputs = tuple(encode(case.data) for pack in packs for case in pack.cases)
    limits = replace(info.limits, seconds=SECONDS, cpu_seconds=SECONDS)
    parts = {name: row.source(name) for name in exercise.defines}
    found, seen = [], set[tuple[bytes, ...]]()
    slips = list(mutations.proposals(exercise, parts))
    for done, slip in enumerate(slips):
        progress(done, len(slips))
        program = Program(info.setup, (source_of(info), slip.source()), attempted=True)
        outcomes = runner.run(Job(program, info.probe, inputs, "", info.forbid, limits))
        proposal = _judged(slip, packs, outcomes, exercise)
        answer = tuple(encode_outcome(replace(one, seconds=0.0, peak=0, line="")) for one in outcomes)
        if proposal.fate == "passes" or answer not in seen:
            found.append(proposal)
        seen.add(answer)
    return found


def _judged(slip: Slip, packs: list[Pack], outcomes: list[Outcome], exercise: Exercise) -> Proposal:
    results, start = [], 0
    for pack in packs:
        results.append(judge_outcomes(pack, outcomes[start : start + len(pack.cases)]))
        start += len(pack.cases)
    if all(result.verdict is Verdict.OK for result in results):
        return Proposal(slip, "passes", str(Verdict.OK))
    wrong = tuple(case.note for case in results[0].cases if case.verdict is not Verdict.OK)
    first = next(result for result in results if result.verdict is not Verdict.OK)
    hints = {mistake.hint.strip(): mistake.name for mistake in exercise.misconceptions}
    if first.hint.strip() in hints:
        return Proposal(slip, "known", str(first.verdict), wrong, hints[first.hint.strip()])
    values = any(case.verdict in (Verdict.WA, Verdict.TY) for result in results for case in result.cases)
    return Proposal(slip, "candidate" if values else "crashes", str(first.verdict), wrong)


def _where(proposal: Proposal) -> str:
    if not proposal.wrong:
        return "wrong in secret draws alone, which is too weak: add a case to every draw"
    more = len(proposal.wrong) - 1
    return proposal.wrong[0] + (f", and {more} more of the public cases" if more else "")


def told(found: list[Proposal]) -> Iterator[str]:
    """Yield the lines of the report: first what passes, then candidates to paste, then a count of the rest."""
    passes = [one for one in found if one.fate == "passes"]
    candidates = sorted((one for one in found if one.fate == "candidate"), key=lambda one: len(one.wrong))
    yield f"{len(passes)} mutations pass all cases: each is as right as the reference, or the cases are too weak"
    yield from (f"    {line_of(one.slip)}" for one in passes)
    yield f"{len(candidates)} give an answer of their own: candidates; write the sentence and where it is known from"
    for one in candidates:
        yield f"    {line_of(one.slip)}  # {one.verdict}: {_where(one)}"
    known = sorted({one.known for one in found if one.fate == "known"})
    crashed = sum(one.fate == "crashes" for one in found)
    yield f"The rest: told as {', '.join(known) or 'no known mistake'}; {crashed} raise an exception or do not end"
