"""The part of the book's page that is about our grader alone: kills, honest work, random files, wrong attempts.

Its figures are those of the other benchmarks, as `python benches/run.py --publish NAME` left them in benches/results.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HEAD = """
## Right, whatever happens

| what was tried | how much | what came out | measured |
|---|---:|---|---|
"""
TAIL = """
Each line is a benchmark in `benches/`. Processes were killed with `kill -9` at random moments, and the run was
started again until it ended. The right solutions are the reference of chapter 3 written differently: renamed,
reordered, rewritten. The wrong ones are mutants of the references of chapters 3 and 23 that nobody had looked at
when the sentences were written. A sentence is specific when it names the mistake, or the exception with the
student's own line. Code of its own checks what a sentence claims, where that can be computed.
"""


def section(results: Path) -> str:
    """Return the section; a benchmark without figures in the folder `results` is said to be not measured."""
    lines = []
    for name, told in ROWS.items():
        path = results / f"{name}.json"
        if path.exists():
            record = json.loads(path.read_text())
            lines += [f"| {row} | {record['date']} |\n" for row in told(record["figures"])]
        else:
            lines.append(f"| `bench_{name}.py` | | not measured | |\n")
    return "".join([HEAD, *lines, TAIL])


def _attacks(figures: dict[str, Any]) -> list[str]:
    return [
        f"attacks at level `{level}` | {table['attacks']} | {table['stopped']} stopped, {table['points gained']:g} "
        f"points gained, {table['leaks']} saw something, {table['others touched']} other students touched; "
        f"{table['rules']['evaded']} of {table['rules']['attacks']} right answers hid a forbidden operation"
        for level, table in figures.items()
    ]


def _kills(figures: dict[str, Any]) -> list[str]:
    same = [name for name, identical in figures["identical"].items() if identical]
    differ = [name for name, identical in figures["identical"].items() if not identical]
    found = [f"identical to an undisturbed run: {', '.join(same)}"] if same else []
    found += [f"**different: {', '.join(differ)}**"] if differ else []
    return [f"kills during a run of {figures['submissions']} | {figures['kills']} | {'; '.join(found)}"]


def _fairness(figures: dict[str, Any]) -> list[str]:
    return [
        f"right solutions, written differently | {figures['generated']['variants']:,} | "
        f"{figures['generated']['false negatives']} judged wrong",
        f"honest but unusual notebooks | {figures['unusual']['submissions']} | "
        f"{figures['unusual']['false negatives']} judged wrong",
    ]


def _fuzz(figures: dict[str, Any]) -> list[str]:
    read = figures["reader"]
    return [
        f"random files, to the reader | {figures['files']:,} | {read['read']:,} read, {read['refused']:,} refused with "
        f"a reason, {figures['faults of the grader']} faults of the grader",
        f"random submissions, through the sandbox | {figures['submissions']:,} | {figures['faults of the grader']} "
        "faults of the grader",
    ]


def _diagnosis(figures: dict[str, Any]) -> list[str]:
    held = figures["held out together"]
    return [
        f"wrong attempts that nobody foresaw | {held['wrong attempts']} | {held['specific and true, %']:g} % get a "
        f"specific sentence that holds (80 wanted), {held['false sentences']} one that a check calls false"
    ]


ROWS = {"attacks": _attacks, "kill": _kills, "fairness": _fairness, "fuzz": _fuzz, "diagnosis": _diagnosis}
