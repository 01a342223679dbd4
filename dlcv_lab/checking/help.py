"""What stands beside `check`: hints in three stages, worked solutions by policy, and a text to paste when stuck."""

from __future__ import annotations

import html
import importlib.metadata
import json
import platform
from pathlib import Path

from dlcv_lab.checking import check as checking
from dlcv_lab.checking.envelope import EnvelopeError
from dlcv_lab.checking.messages import as_html, say
from dlcv_lab.checking.model import ExerciseInfo, ExerciseResult, Verdict
from dlcv_lab.checking.packs import PacksError, find_chapter
from dlcv_lab.checking.predictions import foreseen
from dlcv_lab.checking.progress import Progress, home
from dlcv_lab.checking.report import CheckReport
from dlcv_lab.checking.submit import Receipt, live_source, submit_folder
from dlcv_lab.checking.wire import unveil
from dlcv_lab.context import chapter_or_none

STAGES = ("a question back", "a sketch", "nearly code")


class Note:
    """A short text that shows itself the same way as text and as HTML."""

    def __init__(self, title: str, body: str, *, code: bool = False) -> None:
        self.title, self.body, self.code = title, body, code

    def __repr__(self) -> str:
        return f"{self.title}\n{self.body}" if self.body else self.title

    def _repr_html_(self) -> str:
        body = as_html(self.body)
        raw = html.escape(self.body)
        shown = f"<pre>{raw}</pre>" if self.code else f'<p style="white-space:pre-wrap;margin:.3em 0">{body}</p>'
        return (
            '<div class="dlcv-note" style="border-left:4px solid #4a6fa5;padding:.4em .8em;margin:.4em 0">'
            f"<p style='margin:0'><strong>{as_html(self.title)}</strong></p>{shown if self.body else ''}</div>"
        )


def hint(name: str) -> Note:
    """Show the next hint for an exercise: a question back, then a sketch, then nearly code.

    Raises:
        PacksError: an unknown exercise.
    """
    info = checking.find(name).info
    progress = Progress()
    opened = progress.of(info.key).hints
    stage = min(opened + 1, len(STAGES))
    progress.hinted(info.key, stage)
    more = f"\nThe next call of hint shows {STAGES[stage]}." if stage < len(STAGES) else ""
    if opened >= len(STAGES):
        more = f"\n{say('hints_over', count=len(STAGES), name=info.name)}"
    return Note(f"{info.name}, hint {stage} of {len(STAGES)}: {STAGES[stage - 1]}", info.hints[stage - 1] + more)


def show_solution(name: str) -> Note:
    """Show the worked solution of an exercise, where the course has published it.

    The self-study edition opens it after the first attempt; in a course it opens when the instructor publishes it.
    """
    info = checking.find(name).info
    path = _solutions(info)
    if path is None:
        return Note(
            f"The solution of {info.name} is not here",
            "Your course has not published the solutions of this chapter yet. They come after the deadline, in the "
            "folder .dlcv/solutions of the course's repository. Until then hint(\"" + info.name + '") helps.',
        )
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        text = unveil(held["solutions"][info.name])
    except (ValueError, KeyError, TypeError, EnvelopeError) as error:
        raise PacksError(f"{path} cannot be read ({error}); fetch the course's repository again") from None
    if held.get("after_attempt") and not Progress().of(info.key).attempts:
        return Note(
            f"Try {info.name} first",
            f'The solution opens after your first attempt: write something, run its cell and check("{info.name}").',
        )
    return Note(f"A worked solution of {info.name}", text, code=True)


def _solutions(info: ExerciseInfo) -> Path | None:
    slug = find_chapter(info.chapter).slug
    path = home() / "solutions" / slug / "solutions.json"
    return path if path.exists() else None


def stuck(name: str) -> Note:
    """Write a text to paste into a forum: versions, the failing case, and your own code; nothing else of yours."""
    report: CheckReport = checking.check(name)
    if report:
        return Note(f"{report.pack.info.name} is right", "There is nothing to ask, and a right answer is no question.")
    names = checking.scope()
    code = [live_source(names.get(each)) or f"# {each}: its source is not known" for each in report.pack.info.defines]
    versions = ", ".join(f"{each} {importlib.metadata.version(each)}" for each in ("dlcv-lab", "torch"))
    text = "\n".join(
        [
            f"I am stuck at {report.pack.info.key} (version {report.pack.info.version}).",
            f"Python {platform.python_version()} on {platform.system()}, {versions}.",
            "",
            repr(report),
            "",
            "```python",
            *code,
            "```",
        ]
    )
    return Note("Copy this into your question:", text, code=True)


def _bare(result: ExerciseResult) -> bool:
    """Tell whether there is no more to say of a result than that nothing was attempted."""
    return result.verdict is Verdict.NA and result.message == say("untouched")


class Submitted:
    """A receipt that shows itself."""

    def __init__(self, receipt: Receipt) -> None:
        self.receipt = receipt

    def __repr__(self) -> str:
        lines = [f"{self.receipt.chapter}: your saved code on the public cases. {say('others')}"]
        untouched = [result.name for result in self.receipt.results if _bare(result)]
        for result in self.receipt.results:
            if _bare(result):
                continue
            reason = f"  {result.message} {result.hint}".rstrip()
            lines.append(f"  {result.name:24s} {result.verdict}  {result.score:g}/{result.max_score:g}{reason}")
        if untouched:
            lines.append(f"  not attempted yet: {', '.join(untouched)}")
        lines += [f"Note: {warning}" for warning in self.receipt.warnings]
        if foreseen(self.receipt.chapter).answered:
            lines.append(repr(foreseen(self.receipt.chapter)))
        lines.append(f"Receipt {self.receipt.number}, written to {self.receipt.path.name}")
        return "\n".join([*lines, say("hand_in")])


def submit(chapter: str | None = None) -> Submitted:
    """Run the saved notebooks of this folder as the grader will, show what it will see, and write a receipt.

    Save first: what counts is the file. Where the running notebook and the file disagree, a note says so.
    """
    found = find_chapter(chapter or chapter_or_none() or "")
    return Submitted(submit_folder(found, Path.cwd(), checking.scope()))
