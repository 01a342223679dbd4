"""What the sandbox costs: one exercise in a warm sandbox, in a cold one, and in a fresh process without any.

The same job (chapter 3's conv2d, the reference, one draw of cases) runs in turn at each of them. Prints the median
seconds per job, the share that is the student's own compute, and the ratios to the warm sandbox.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable

from autograder import sandbox
from autograder.chapter import rows
from autograder.release import packing
from autograder.release.judged_cases import Reference, draw
from dlcv_lab.checking.envelope import encode
from dlcv_lab.checking.model import Job, Outcome, Program
from dlcv_lab.checking.runners import LocalRunner

WARM, COLD = 30, 4


def job_of(row: rows.Row) -> Job:
    """Return the job of a right answer to conv2d."""
    exercise = row.exercise_by_name["conv2d"]
    info = packing.info_of(row, exercise)
    source = Reference(exercise, info).source
    inputs = tuple(encode(case.data) for case in draw(exercise, b"bench"))
    return Job(Program(info.setup, (source,), attempted=True), info.probe, inputs, "", info.forbid, info.limits)


def seconds(run: Callable[[Job], list[Outcome]], job: Job, times: int) -> tuple[float, float]:
    """Return the median seconds of a run and of the student's code in it."""
    walls, inside = [], []
    for _ in range(times):
        started = time.perf_counter()
        outcomes = run(job)
        walls.append(time.perf_counter() - started)
        assert all(outcome.status in ("value", "raised") for outcome in outcomes), outcomes
        inside.append(sum(outcome.seconds for outcome in outcomes))
    return statistics.median(walls), statistics.median(inside)


def fresh_process(job: Job) -> list[Outcome]:
    with LocalRunner() as runner:
        return runner.run(job)


def main() -> None:
    row = rows.load_row("ch03")
    job = job_of(row)
    with sandbox.SandboxRunner(None, row.key, setup=job.program.setup) as warm:
        started = time.perf_counter()
        warm.run(job)
        first = time.perf_counter() - started
        warm_seconds, inside = seconds(warm.run, job, WARM)
        level = warm.level
    with sandbox.SandboxRunner(None, row.key, setup=job.program.setup, cold=True) as cold:
        cold_seconds, _ = seconds(cold.run, job, COLD)
    fresh_seconds, _ = seconds(fresh_process, job, COLD)
    figures = {
        "isolation": level,
        "first verdict, s": round(first, 2),
        "warm sandbox, s per exercise": round(warm_seconds, 4),
        "of it the student's own code, s": round(inside, 4),
        "overhead, s per exercise": round(warm_seconds - inside, 4),
        "cold sandbox, s per exercise": round(cold_seconds, 2),
        "fresh process without sandbox, s per exercise": round(fresh_seconds, 2),
        "cold / warm": round(cold_seconds / warm_seconds, 1),
        "fresh process / warm sandbox": round(fresh_seconds / warm_seconds, 1),
    }
    for name, value in figures.items():
        print(f"  {name}: {value}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
