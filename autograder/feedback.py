"""Feedback pages, one per student and chapter, and the class report of the instructor.

Every text passes the template's escaping and holds no control characters; pages allow no script and no request. The
file name of a page cannot be guessed, so a folder of pages may lie on a static host without a listing.
"""

from __future__ import annotations

import hmac
import statistics
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2

from autograder.autograded import write_whole
from autograder.journal import Entry
from autograder.wording import VERDICTS, plain_text, points
from dlcv_lab.checking.model import ExerciseInfo, ExerciseResult, Verdict

_TEMPLATES = Path(__file__).parent / "templates"
_MARKS = {Verdict.OK: "✓", Verdict.PA: "◐", Verdict.NA: "○"}
_BINS = 10


def page_path(course: Path, entry: Entry, secret: bytes) -> Path:
    """Return where a student's page lies: feedback/<student>/<slug>/feedback-<token>.html."""
    message = f"feedback\0{entry.student}\0{entry.slug}".encode()
    token = hmac.digest(secret, message, "sha256").hex()[:32]
    return course / "feedback" / entry.student / entry.slug / f"feedback-{token}.html"


def report_path(course: Path, slug: str) -> Path:
    """Return where the class report of a chapter lies; it is for instructors and is never released."""
    return course / "journal" / f"{slug}.html"


def write_pages(
    course: Path,
    entries: Iterable[Entry],
    infos: dict[str, ExerciseInfo],
    title: str,
    secret: bytes,
    *,
    show_cases: bool = False,
) -> tuple[list[Path], Path]:
    """Write the pages of a class and its report; return both."""
    pages = []
    kept = list(entries)
    for entry in kept:
        path = page_path(course, entry, secret)
        write_whole(path, page(entry, infos, title, show_cases=show_cases).encode("utf-8"))
        pages.append(path)
    slug = kept[0].slug if kept else ""
    report = report_path(course, slug)
    links = {entry.student: "../" + quote(path.relative_to(course).as_posix()) for entry, path in zip(kept, pages)}
    write_whole(report, class_report(kept, title, links).encode("utf-8"))
    return pages, report


def page(entry: Entry, infos: dict[str, ExerciseInfo], title: str, *, show_cases: bool = False) -> str:
    """Return the feedback page of one submission. With `show_cases` (after the deadline) the smallest failing case of
    each exercise is described; its inputs are fresh, so that gives nothing away."""
    return _render(
        "feedback.html",
        title=title,
        student=plain_text(entry.student),
        score=points(entry.score),
        max_score=points(entry.max_score),
        isolation=entry.isolation,
        when=entry.when,
        exercises=[_exercise(result, infos.get(result.name), show_cases) for result in entry.flat],
    )


def _exercise(result: ExerciseResult, info: ExerciseInfo | None, show_cases: bool) -> dict[str, Any]:
    failures = [case for case in result.cases if case.verdict is not Verdict.OK]
    shown = failures[:1] if show_cases and result.verdict is not Verdict.NA else []
    return {
        "name": result.name,
        "mark": _MARKS.get(result.verdict, "✗"),
        "verdict": VERDICTS[result.verdict],
        "score": points(result.score),
        "max_score": points(result.max_score),
        "message": plain_text(result.message),
        "hint": plain_text(result.hint),
        "notes": [plain_text(note) for note in result.notes],
        "groups": _groups(result, info) if result.cases else [],
        "failures": [
            {"head": f"A case that fails ({plain_text(case.note or case.group)})", "text": plain_text(case.text)}
            for case in shown
        ],
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


def class_report(entries: list[Entry], title: str, links: dict[str, str]) -> str:
    """Return the report of a class: distribution of scores, exercises with their usual causes, students."""
    scores = [entry.score for entry in entries] or [0.0]
    most = max([entry.max_score for entry in entries] or [0.0])
    bins = _bins(scores, most)
    return _render(
        "report.html",
        title=title,
        faulty=[plain_text(entry.student) for entry in entries if entry.faulty],
        mean=points(statistics.fmean(scores)),
        median=points(statistics.median(scores)),
        max_score=points(most),
        bins=bins,
        chart_alt="Number of submissions by score: "
        + ", ".join(f"{b['count']} from {b['label']}" for b in bins if b["count"]),
        exercises=_exercise_rows(entries),
        students=[
            {
                "student": plain_text(entry.student),
                "link": links.get(entry.student, ""),
                "score": points(entry.score),
                "verdicts": " ".join(f"{result.name}:{result.verdict}" for result in entry.flat),
            }
            for entry in sorted(entries, key=lambda entry: entry.student)
        ],
    )


def _bins(scores: list[float], most: float) -> list[dict[str, Any]]:
    width = (most or 1.0) / _BINS
    counts = Counter(min(_BINS - 1, int(score / width)) for score in scores)
    top = max(counts.values())
    return [
        {"label": points(index * width), "count": counts[index], "height": round(100 * counts[index] / top)}
        for index in range(_BINS)
    ]


def _exercise_rows(entries: list[Entry]) -> list[dict[str, Any]]:
    by_name: dict[str, list[ExerciseResult]] = {}
    for entry in entries:
        for result in entry.flat:
            by_name.setdefault(result.name, []).append(result)
    rows = []
    for name, results in by_name.items():
        causes = Counter(plain_text(result.hint) for result in results if result.hint)
        rows.append({
            "name": name,
            "count": len(results),
            "right": sum(result.verdict is Verdict.OK for result in results),
            "untouched": sum(result.verdict is Verdict.NA for result in results),
            "mean": points(statistics.fmean(result.score for result in results)),
            "max_score": points(max(result.max_score for result in results)),
            "causes": [{"text": text, "count": count} for text, count in causes.most_common(3)],
        })  # fmt: skip
    return rows


def _render(name: str, **values: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    css = (_TEMPLATES / "page.css").read_text(encoding="utf-8")
    return environment.get_template(name).render(css=css, **values)
