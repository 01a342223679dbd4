"""The book's page about the benchmark, written from benches/results/graders.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peers import others
from peers.attacks import ATTACKS
from peers.summary import TARGETS

HEAD = """# Three graders side by side

<!-- written by `python benches/bench_graders.py --publish` from benches/results/graders.json -->

This page is for instructors who ask what a grader of our own is good for. One class handed in chapter 3, everybody
right in everything. It was graded by nbgrader's own `autograde`, by otter-grader's `otter run`, and by our grader.
For the other two, the graded cells hold asserts that ask the same cases with the same tolerances, in the student's
kernel. All three gave the same marks.

*The real lesson* is the notebook as students hand it in, with all its demonstrations, which nbgrader executes again.
*Graded cells alone* is a notebook stripped to the set-up, the solutions that count, and their asserts. We read the
real lesson in both cases, because we run no other cell anyway. For the real lesson we judge all seventeen exercises;
beside the graded cells alone we judge the ten that count, as the others do there.

```{{figure}} _static/grader_benchmark.svg
:alt: Wall clock and processor seconds per submission for each grader, as points on a logarithmic axis.

Seconds per submission, start-up of the grader included. Each step of the axis is ten times the one before.
```

Measured with {cores} cores, Python {python}, {days}. {note} Times are seconds.

| grader, what | class | clock | processor | each: clock | each: processor | peak, MiB |
|---|---:|---:|---:|---:|---:|---:|
"""
ROWS = (
    ("nbgrader, real lesson", "nbgrader_real"),
    ("nbgrader, graded cells", "nbgrader_core"),
    ("otter, graded cells", "otter_core"),
    ("ours, real lesson", "ours_1"),
    ("ours, real lesson", "ours_10"),
    ("ours, real lesson", "ours_100"),
    ("ours, exercises that count", "ours_core_10"),
    ("ours, exercises that count", "ours_core_100"),
    ("ours, exercises that count", "ours_core_1000"),
    ("ours, two exercises", "ours_small_100"),
    ("ours, two exercises", "ours_small_1000"),
)
RATIOS = """
nbgrader and otter take one submission after another, so their time per submission does not depend on the size of the
class; the two sizes in the table show it. Ours has a start-up of some seconds, which a larger class shares.

## What was aimed at

| figure | aimed at | measured | result |
|---|---:|---:|---|
"""
ATTACKED = """
## Who withstands what

Each attack answers `conv2d` with zeros and tries something. *Gained* is points for the wrong answer; *the neighbour*
is an honest student who is graded in the same run. The asserts are ordinary ones here, `torch.allclose` with the
result of torch. otter grades one file per call, so there is no neighbour.

| attack | nbgrader | otter | ours |
|---|---|---|---|
"""
TAIL = """
`tests/attacks` holds many more attacks on our grader, with what must happen; `docs/threats.md` says what is not
promised.
"""
LESS = (
    "1000 submissions / 100",
    "memory, 1000 / 100",
    "overhead per exercise, s",
    "first verdict, s",
    "one submission alone, s",
)


def text(figures: dict[str, Any], results: Path) -> str:
    """Return the page; the folder `results` holds the figures of the other benchmarks."""
    parts = figures["parts"]
    days = sorted({str(date).split(" ")[0] for date in figures["date"].values()})
    told = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    lines = [HEAD.format(**figures["machine"], days=told)]
    for label, name in ROWS:
        several = parts.get(name)
        for part in several if isinstance(several, list) else [several] if isinstance(several, dict) else []:
            count = part["submissions"]
            cpu = part["cpu_s"]
            each = [f"{part['wall_s'] / count:.2f}", f"{cpu / count:.2f}" if cpu else "not measured"]
            lines.append(f"| {label} | {count} | {part['wall_s']:.0f} | {cpu or 0:.0f} | {each[0]} | {each[1]} | "
                         f"{part['peak_mib']} |\n")  # fmt: skip
    lines.append(RATIOS)
    for name, (target, what) in TARGETS.items():
        got = figures["ratios"].get(name)
        met = got is not None and (got <= target if name in LESS else got >= target)
        shown = "not measured" if got is None else f"{got:g}"
        lines.append(
            f"| {name} | {target:g} {what} | {shown} | {'' if got is None else 'reached' if met else 'missed'} |\n"
        )
    lines += ["\n", *(f"- **{name}**: {reason}\n" for name, reason in _why(parts).items())]
    lines.append(ATTACKED)
    for attack in ATTACKS:
        told = [_told(parts.get(f"attacks_{grader}"), attack.name) for grader in ("nbgrader", "otter", "ours")]
        lines.append(f"| {attack.what} | {' | '.join(told)} |\n")
    return "".join([*lines, TAIL, others.section(results)])


def _why(parts: dict[str, Any]) -> dict[str, str]:
    """Return how the figures came about and what bounds them, with the numbers that were measured."""
    found = {
        "How the ratios are formed": "wall clock per submission of the other grader's larger run, over ours for a "
        "class of 100, start-up included. For a class of 10 our start-up weighs more; those ratios, and those of "
        "processor seconds, are in the JSON file.",
        "Graded cells alone": "nbgrader runs ten fixed checks in one process. We start a sandboxed process for each "
        "exercise and draw fresh cases with measured tolerances for every student",
        "1000 submissions": "two short exercises for each of them, so that start-up, reading and writing weigh most.",
        "First verdict, one submission alone": "the first verdict that is told is that of a whole submission. Most of "
        "the time is the start of Python and torch, in the grader and once more in the sandbox.",
    }
    cost = parts.get("ours_core_100")
    if cost:
        found["Graded cells alone"] += (
            f": {cost['cpu_s'] / cost['submissions']:.2f} processor seconds a submission here, which the cores share. "
            f"Of the {cost['all_s']:.0f} s for a class of 100, {cost['first_verdict_s']:.0f} s pass before the first "
            "verdict; a class of 1000 has that start-up once, too."
        )
    return found


def _told(part: Any, name: str) -> str:
    if not isinstance(part, dict) or name not in part:
        return "not measured"
    found = part[name]
    points = (
        "no mark" if found["points"] is None else f"{found['points']:g} gained" if found["points"] else "withstands"
    )
    harmed = found["neighbour"] is not None and found["neighbour"] < 3
    return points + (", **the neighbour gets no mark**" if harmed else "")
