"""How a verdict reads in a gradebook, a feedback page or a terminal: plain text without anything that acts."""

from __future__ import annotations

import re
import unicodedata

from dlcv_lab.checking.model import ExerciseResult, Verdict

VERDICTS: dict[Verdict, str] = {
    Verdict.OK: "right",
    Verdict.PA: "partly right",
    Verdict.WA: "wrong answer",
    Verdict.RE: "raised an exception",
    Verdict.SG: "the process was killed or ended by itself",
    Verdict.TO: "out of time",
    Verdict.ML: "out of memory",
    Verdict.OL: "answer too large",
    Verdict.TY: "wrong type or shape",
    Verdict.FO: "forbidden operation",
    Verdict.NA: "not attempted",
    Verdict.UR: "submission unreadable",
    Verdict.XX: "not graded: a fault of the grader",
}
_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.)?", re.DOTALL)


def plain_text(text: str) -> str:
    """Return text without escape sequences, control characters and direction marks; newlines and tabs stay."""
    text = _ESCAPES.sub("", text)
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co"))


def points(number: float) -> str:
    """Write a number of points: 2, 2.5, 0.33."""
    return f"{number:.2f}".rstrip("0").rstrip(".")


def headline(result: ExerciseResult) -> str:
    """Return verdict, score, message, hint and notes of one exercise, each on a line of its own."""
    first = (
        f"{result.verdict} {result.name}: {VERDICTS[result.verdict]}, "
        f"{points(result.score)} of {points(result.max_score)} points"
    )
    rest = [result.message, result.hint if result.hint != result.message else "", *result.notes]
    return "\n".join([first, *(plain_text(line).strip() for line in rest if line and line.strip())])


def comment(result: ExerciseResult) -> str:
    """Return what the gradebook keeps as the automatic comment."""
    return headline(result)[:4000]
