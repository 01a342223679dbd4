"""Grade a folder of submissions with our grader, in a process of its own: `python -m peers.ours PLACE WORKERS [E,E]`.

Prints one line of JSON: seconds until the first verdict and in all, and per exercise the median overhead: the wall
clock of a job less the student's own compute in it.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

STARTED = time.perf_counter()


def grade(place: Path, workers: int, only: tuple[str, ...]) -> dict[str, float]:
    """Grade the folder `place`; return seconds and sums."""
    from autograder.chapter import rows
    from autograder.grade import submissions
    from autograder.grade.journal import Journal
    from autograder.grade.pool import Plan, grade_class
    from autograder.sandbox import require

    row = rows.load_texts("ch03")  # as `dlcv grade` does
    handed_in = submissions.collect(place, row.slug, [lesson.stem for lesson in row.notebooks], place / "unpacked")
    plan = Plan(row.slug, b"the secret of the benchmark, 32 b", require("bubblewrap"), only=only)
    first, points, verdicts = 0.0, set(), set()
    with Journal(place.parent / f"{place.name}.jsonl") as journal:
        for entry in grade_class(plan, handed_in, journal=journal, workers=workers, force=True):
            first = first or time.perf_counter() - STARTED
            points.add(round(entry.score, 3))
            verdicts |= {str(result.verdict) for result in entry.flat}
    return {"first_verdict_s": first, "all_s": time.perf_counter() - STARTED, "points": sorted(points),
            "verdicts": sorted(verdicts), "submissions": len(handed_in)}  # fmt: skip


def overhead(place: Path) -> dict[str, float]:
    """Return the median seconds of an exercise in the warm sandbox beyond the student's own compute."""
    from autograder.chapter import rows
    from autograder.grade.marking import Marker
    from autograder.sandbox import require

    row = rows.load_row("ch03")
    beyond, own, judged = [], [], []
    with Marker(row.slug, b"the secret of the benchmark, 32 b", require("bubblewrap")) as marker:
        run = marker.runner.run

        def timed(job):
            began = time.perf_counter()
            outcomes = run(job)
            inside = sum(outcome.seconds for outcome in outcomes)
            beyond.append(time.perf_counter() - began - inside)
            own.append(inside)
            return outcomes

        marker.runner.run = timed
        folder = next(path for path in sorted(place.iterdir()) if path.is_dir()) / row.slug
        for round_ in range(4):
            began = time.perf_counter()
            for lesson in row.notebooks:
                marker.mark_notebook("s", lesson.stem, (folder / f"{lesson.stem}.ipynb").read_bytes())
            judged.append(time.perf_counter() - began)
            if round_ == 0:  # the first starts the sandbox
                beyond.clear()
                own.clear()
    return {"beyond_s": statistics.median(beyond), "own_s": statistics.median(own), "exercises": len(beyond) // 3,
            "submission_warm_s": statistics.median(judged[1:])}  # fmt: skip


if __name__ == "__main__":
    where, what = Path(sys.argv[1]), sys.argv[2]
    chosen = tuple(filter(None, sys.argv[3].split(","))) if len(sys.argv) > 3 else ()
    print(json.dumps(overhead(where) if what == "overhead" else grade(where, int(what), chosen)))
