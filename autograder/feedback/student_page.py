"""Feedback pages, one per student and chapter.

Every text passes the template's escaping and holds no control characters; pages allow no script and no request. The
file name of a page cannot be guessed, so a folder of pages may lie on a static host without a listing.
"""

from __future__ import annotations

import functools
import hmac
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import markupsafe

from autograder.base.wording import VERDICTS, plain_text, points
from autograder.feedback.as_submitted import Outputs
from autograder.feedback.explain import inputs_in_words, outcome_in_words
from autograder.feedback.replay import snippet
from autograder.feedback.smallest import Smallest
from autograder.grade.journal import Entry
from dlcv_lab.checking.messages import as_html, say
from dlcv_lab.checking.model import ExerciseInfo, ExerciseResult, Verdict

_TEMPLATES = Path(__file__).parent / "templates"
_MARKS = {Verdict.OK: "✓", Verdict.PA: "◐", Verdict.NA: "○"}


def page_path(course: Path, entry: Entry, secret: bytes) -> Path:
    """Return where a student's page lies: feedback/<student>/<slug>/feedback-<token>.html."""
    message = f"feedback\0{entry.student}\0{entry.slug}".encode()
    token = hmac.digest(secret, message, "sha256").hex()[:32]
    return course / "feedback" / entry.student / entry.slug / f"feedback-{token}.html"


def page(
    entry: Entry,
    infos: Mapping[str, ExerciseInfo],
    title: str,
    *,
    show_cases: bool = False,
    smallest: Mapping[str, Smallest] | None = None,
    outputs: Mapping[str, Outputs] | None = None,
) -> str:
    """Return the feedback page of one submission.

    Args:
        entry: what counts for the student.
        infos: the chapter's exercises by name.
        title: of the chapter.
        show_cases: show a failing case of each exercise; only after the deadline.
        smallest: the smallest failing cases that are known, by exercise.
        outputs: what the student's own cells had shown, by notebook.
    """
    known = smallest if smallest is not None and show_cases else {}
    shared = _shared(entry)
    results = [replace(r, notes=tuple(note for note in r.notes if note not in shared)) for r in entry.flat]
    return render(
        "feedback.html",
        title=title,
        student=plain_text(entry.student),
        score=points(entry.score),
        max_score=points(entry.max_score),
        isolation=entry.isolation,
        when=entry.when,
        exercises=[
            _exercise(result, infos.get(result.name), show_cases, known.get(result.name), result.name in entry.extras)
            for result in results
            if not _untouched(result)
        ],
        untouched=[
            f"{result.name} (extra, no marks)" if result.name in entry.extras else result.name
            for result in results
            if _untouched(result)
        ],
        notes=[plain_text(note) for note in shared],
        notebooks=[
            {"name": stem, "shown": found.shown, "left_out": found.left_out} for stem, found in (outputs or {}).items()
        ],
    )


def _shared(entry: Entry) -> list[str]:
    """Return the notes on a whole notebook, such as on a cell that was skipped: all of its results have them."""
    together = (set.intersection(*(set(result.notes) for result in results))
                for results in entry.results.values() if len(results) > 1)  # fmt: skip
    return list(dict.fromkeys(note for notes in together for note in sorted(notes)))


def _untouched(result: ExerciseResult) -> bool:
    """Tell whether there is no more to say of a result than that nothing was attempted."""
    return result.verdict is Verdict.NA and result.message == say("untouched") and not result.notes and not result.score


def _exercise(
    result: ExerciseResult, info: ExerciseInfo | None, show_cases: bool, smallest: Smallest | None, extra: bool
) -> dict[str, Any]:
    failures = [case for case in result.cases if case.verdict is not Verdict.OK]
    shown = failures[:1] if show_cases and smallest is None and result.verdict is not Verdict.NA else []
    return {
        "name": result.name,
        "extra": extra,
        "mark": _MARKS.get(result.verdict, "✗"),
        "verdict": VERDICTS[result.verdict],
        "score": points(result.score),
        "max_score": points(result.max_score),
        "message": plain_text(result.message),
        "hint": plain_text(result.hint),
        "notes": [plain_text(note) for note in result.notes],
        "groups": _groups(result, info) if result.cases and not extra else [],
        "smallest": _smallest(smallest, info) if smallest is not None and info is not None else None,
        "failures": [
            {"head": f"A case that fails ({plain_text(case.note or case.group)})", "text": plain_text(case.text)}
            for case in shown
        ],
    }


def _smallest(found: Smallest, info: ExerciseInfo) -> dict[str, Any]:
    note = plain_text(found.case.note or found.case.group)
    return {
        "head": f"The smallest case that fails, made from '{note}'" if found.shrunk else f"A case that fails: '{note}'",
        "text": plain_text(found.text),
        "inputs": "\n".join(inputs_in_words(found.case)),
        "got": outcome_in_words(found.got),
        "expected": outcome_in_words(found.expected),
        "replay": plain_text(snippet(info, found)),
    }


def _groups(result: ExerciseResult, info: ExerciseInfo | None) -> list[dict[str, Any]]:
    rows = []
    for name, worth in (info.groups if info else {}).items():
        cases = [case for case in result.cases if case.group == name]
        right = sum(case.verdict is Verdict.OK for case in cases)
        earned = worth if cases and right == len(cases) else 0.0
        scored = {"score": points(earned), "points": points(worth)}
        rows.append({"name": name, "right": right, "cases": len(cases), **scored})
    return rows


def render(name: str, **values: Any) -> str:
    """Fill in a template; every value is escaped."""
    css = (_TEMPLATES / "page.css").read_text(encoding="utf-8")
    return _environment().get_template(name).render(css=css, **values)


@functools.cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    made.filters["coded"] = lambda text: markupsafe.Markup(as_html(text))  # escapes first: only `code` becomes a tag
    return made
