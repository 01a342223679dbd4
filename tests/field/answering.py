"""Wrong answers as someone writes them who has read the lesson alone, and what the check says to each.

`wrong_answers/ch03.txt` holds them: `=== exercise`, a right answer written from the released text, then for each wrong
one a line `--- judge key | what was thought` and the changes of the right answer, `old => new`, "\n" for a new line.
The judge read what was told: S specific and true, G true and general, F false or misleading, A accepted though wrong.
The key is that of the diagnosis which was judged, or the verdict where there was none; another one needs a new judge.

`python tests/field/answering.py ch03` prints what is told to each today.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autograder.chapter import rows
from autograder.release import packing
from autograder.release.judged_cases import public_pack
from dlcv_lab.checking.envelope import encode
from dlcv_lab.checking.execute import load_namespace, load_probe, run_case
from dlcv_lab.checking.judging import judge_outcomes
from dlcv_lab.checking.model import ExerciseResult, Outcome, Pack, Program, Verdict

PLACE = Path(__file__).parent / "wrong_answers"
SECONDS = 20
JUDGES = {"S": "specific and true", "G": "true and general", "F": "false or misleading", "A": "accepted"}


@dataclass(frozen=True)
class Answer:
    """One answer to one exercise; a right one has no judge."""

    exercise: str
    code: str
    judge: str = ""
    key: str = ""
    thought: str = ""


def answers(chapter: str) -> Iterator[Answer]:
    """Yield the right and the wrong answers to a chapter, the right one of an exercise first.

    Raises:
        ValueError: a change does not apply exactly once; the message says which.
    """
    text = (PLACE / f"{chapter}.txt").read_text(encoding="utf-8")
    for block in text.split("\n=== ")[1:]:
        right, *wrong = block.split("\n--- ")
        exercise, _, code = right.partition("\n")
        yield Answer(exercise.strip(), code.strip() + "\n")
        for one in wrong:
            head, _, changes = one.partition("\n")
            (judge, key), thought = head.split("|")[0].split(), head.split("|")[1].strip()
            changed = code.strip() + "\n"
            for line in changes.strip("\n").split("\n"):
                old, _, new = (part.replace("\\n", "\n") for part in (line + " ").partition(" => "))
                if changed.count(old) != 1:
                    raise ValueError(f"{exercise}, {thought}: {old!r} stands {changed.count(old)} times")
                changed = changed.replace(old, new.rstrip(" "))
            yield Answer(exercise.strip(), changed, judge, key, thought)


class Desk:
    """Checks answers to a chapter on the public cases, as the notebook does; used exercises are answered rightly."""

    def __init__(self, chapter: str) -> None:
        self.row = rows.load_row(chapter)
        self.right: dict[str, str] = {}
        self._packs: dict[str, Pack] = {}

    def pack(self, name: str) -> Pack:
        if name not in self._packs:
            exercise = self.row.exercise_by_name[name]
            self._packs[name] = public_pack(exercise, packing.info_of(self.row, exercise))
        return self._packs[name]

    def check(self, answer: Answer) -> ExerciseResult:
        """Return the result of an answer. The first right answer to an exercise is what later exercises use."""
        pack = self.pack(answer.exercise)
        used = [self.right[name] for name in self.right if name != answer.exercise]
        names, notes = load_namespace(Program(pack.info.setup, (*used, answer.code), attempted=True))
        probe = load_probe(pack.info.probe)
        outcomes = [_run(probe, names, encode(case.data), pack) for case in pack.cases]
        if not answer.judge:
            self.right[answer.exercise] = answer.code
        result = judge_outcomes(pack, outcomes)
        return result if not notes else type(result)(**{**vars(result), "notes": (*result.notes, *notes)})


def _run(probe: Any, names: Any, raw: bytes, pack: Pack) -> Outcome:
    def stop(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        return run_case(probe, names, raw, pack.info.forbid)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def key_of(result: ExerciseResult) -> str:
    """Return what was judged: the key of the cause, else the verdict."""
    return result.diagnosis.key if result.diagnosis else str(result.verdict)


def main(chapter: str, wanted: list[str]) -> None:
    desk = Desk(chapter)
    for answer in answers(chapter):
        if wanted and answer.exercise not in wanted and answer.exercise in desk.right:
            continue
        if wanted and answer.judge and answer.exercise not in wanted:
            continue
        result = desk.check(answer)
        if not answer.judge:
            if result.verdict is not Verdict.OK:
                print(f"### {answer.exercise}: the RIGHT answer gets {result.verdict}: {result.message} {result.hint}")
            continue
        mark = "" if key_of(result) == answer.key else f"  <<< was {answer.judge} {answer.key}"
        print(
            f"--- {answer.exercise} | {answer.thought}{mark}\n  [{key_of(result)}] {result.message}\n    {result.hint}"
        )
        for note in result.notes:
            print(f"    note: {note}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
