"""What to teach again: the class summary of a chapter, as a page and as JSON. It is for instructors, never released."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from autograder.base.wording import VERDICTS, plain_text, points
from autograder.feedback.student_page import render
from autograder.grade.journal import Entry
from dlcv_lab.checking.model import ExerciseResult, Verdict

_BINS = 10
_HARDEST = 5
_CAUSES = 5

Summary = dict[str, Any]


def report_path(course: Path, slug: str) -> Path:
    """Return where the class summary of a chapter lies."""
    return course / "journal" / f"{slug}.html"


def summarise(entries: list[Entry], title: str, judged: Mapping[str, Entry] | None = None) -> Summary:
    """Return the summary of a class as plain data.

    Args:
        entries: what counts for each student: they make the scores.
        title: of the chapter.
        judged: the verdicts before people's decisions; they tell what the class could do. Default: the entries.
    """
    verdicts = [(judged or {}).get(entry.student, entry) for entry in entries]
    scores = [entry.score for entry in entries]
    most = max((entry.max_score for entry in entries), default=0.0)
    exercises = [_exercise(name, results, extra) for (name, extra), results in _by_exercise(verdicts).items()]
    tried = [item for item in exercises if item["tried"]]
    hardest = sorted(tried, key=lambda item: (item["right"] / item["tried"], item["name"]))
    return {
        "title": title,
        "submissions": len(entries),
        "max_score": most,
        "mean": _rounded(statistics.fmean(scores)) if scores else None,
        "median": _rounded(statistics.median(scores)) if scores else None,
        "distribution": _bins(scores, most),
        "exercises": exercises,
        "hardest": [item["name"] for item in hardest if item["right"] < item["tried"]][:_HARDEST],
        "not_graded": [plain_text(entry.student) for entry in entries if entry.faulty],
        "students": [
            {
                "student": plain_text(entry.student),
                "score": _rounded(entry.score),
                "verdicts": {result.name: str(result.verdict) for result in entry.flat},
            }
            for entry in entries
        ],
    }


def _by_exercise(entries: Iterable[Entry]) -> dict[tuple[str, bool], list[ExerciseResult]]:
    found: dict[tuple[str, bool], list[ExerciseResult]] = {}
    for entry in entries:
        for result in entry.flat:
            found.setdefault((result.name, result.name in entry.extras), []).append(result)
    return found


def _exercise(name: str, results: list[ExerciseResult], extra: bool) -> dict[str, Any]:
    causes = Counter(cause for result in results if (cause := _cause(result)))
    untouched = sum(result.verdict in (Verdict.NA, Verdict.UR) for result in results)
    seconds = [result.seconds for result in results if result.seconds]
    memory = [result.peak_mib for result in results if result.peak_mib]
    return {
        "name": name,
        "extra": extra,
        "handed_in": len(results),
        "tried": len(results) - untouched,
        "right": sum(result.verdict is Verdict.OK for result in results),
        "mean": _rounded(statistics.fmean(result.score for result in results)),
        "max_score": max(result.max_score for result in results),
        "verdicts": dict(sorted(Counter(str(result.verdict) for result in results).items())),
        "causes": [{"key": key, "text": text, "count": count} for (key, text), count in causes.most_common(_CAUSES)],
        "seconds": _spread(seconds, 4),
        "memory_mib": _spread(memory, 1),
    }


def _cause(result: ExerciseResult) -> tuple[str, str] | None:
    """Return key and text of what went wrong: the likely cause, else how it ended, with the exception's class."""
    if result.hint:
        return _key(result), plain_text(result.hint)
    if result.verdict in (Verdict.OK, Verdict.NA, Verdict.UR, Verdict.XX):
        return None
    ended = {result.verdict} if result.verdict is not Verdict.PA else {c.verdict for c in result.cases} - {Verdict.OK}
    first = next((case for case in result.cases if case.verdict in ended), None)
    raised = re.match(r"your code raised (\w+)", first.text) if first is not None else None
    verdict = first.verdict if first is not None else result.verdict
    return f"ended: {verdict}", f"{VERDICTS[verdict]}{f': {raised[1]}' if raised else ''}"


def _key(result: ExerciseResult) -> str:
    """Name a cause: a known mistake by its name, a generic one by its rule."""
    return f"{result.diagnosis.source}: {result.diagnosis.key}" if result.diagnosis else "other"


def _spread(values: list[float], digits: int) -> dict[str, float] | None:
    if not values:
        return None
    return {"median": round(statistics.median(values), digits), "most": round(max(values), digits)}


def _bins(scores: list[float], most: float) -> list[dict[str, Any]]:
    width = (most or 1.0) / _BINS
    counts = Counter(min(_BINS - 1, int(score / width + 1e-9)) for score in scores)
    return [{"from": _rounded(index * width), "count": counts[index]} for index in range(_BINS)]


def _rounded(number: float) -> float:
    return round(number, 4)


def page(summary: Summary, links: Mapping[str, str]) -> str:
    """Return the summary as a page; `links` leads from students to their feedback pages."""
    top = max((item["count"] for item in summary["distribution"]), default=0) or 1
    bins = [
        {"label": points(item["from"]), "count": item["count"], "height": round(100 * item["count"] / top)}
        for item in summary["distribution"]
    ]
    told = ", ".join(f"{item['count']} from {item['label']}" for item in bins if item["count"])
    return render(
        "report.html",
        summary=summary,
        bins=bins,
        chart_alt=f"Number of submissions by score: {told}",
        number=_number,
        codes={str(code): VERDICTS[code] for code in Verdict if code in _shown(summary)},
        points=points,
        links={plain_text(student): link for student, link in links.items()},
    )


def _shown(summary: Summary) -> set[Verdict]:
    """Return the verdicts whose codes the page shows."""
    return {Verdict(code) for item in summary["students"] for code in item["verdicts"].values() if code != "OK"}


def _number(spread: Mapping[str, float] | None, unit: str) -> str:
    """Write median and largest of a measured quantity."""
    return f"{spread['median']:g} ({spread['most']:g}) {unit}" if spread else "not measured"
