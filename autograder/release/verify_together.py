"""`dlcv verify` on several cores: exercises side by side, each worker with a warm sandbox of its own."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, as_completed
from pathlib import Path

from autograder.chapter.rows import Row, load_row
from autograder.release import verify
from autograder.release.verify import ExerciseReport
from autograder.release.warm_start import begin_worker, end_workers, workers_pool
from autograder.sandbox import SandboxRunner

PRELOAD = "autograder.release.verify_preloaded"


def verify_rows(
    rows: Sequence[Row],
    *,
    seeds: int = 3,
    only: Iterable[str] = (),
    level: str | None = None,
    workers: int = 1,
    progress: Callable[[ExerciseReport], None] = lambda report: None,
) -> list[ExerciseReport]:
    """Verify the exercises of chapters, note the results, and return the reports in the order of the lessons.

    Args:
        rows: the chapters.
        seeds: secret draws of cases.
        only: names of exercises; empty: all.
        level: isolation level; None: the highest that this machine reaches.
        workers: processes; with one, everything happens in this process.
        progress: called with each report when it is there, in no order.

    Raises:
        RowError: the static checks of a row or the leak test fail; nothing is run then.
    """
    only = tuple(only)
    if workers == 1 or sum(len(verify.chosen(row, only)) for row in rows) == 1:
        reports = []
        for row in rows:
            with verify.sandbox(row, level) as runner:
                reports += verify.verify_row(row, runner, seeds=seeds, only=only, progress=progress)
        return reports
    with tempfile.TemporaryDirectory(prefix="dlcv-verify-") as folder:
        releases = {row.slug: verify.release_of(row, Path(folder) / row.key) for row in rows}
        pool = workers_pool(workers, _begin, os.getpid(), level, seeds, preload=PRELOAD)
        try:
            # a row's exercises stay together, so that a worker seldom changes its sandbox; the heaviest of them first
            running = {
                pool.submit(_verify, row.slug, name, releases[row.slug]): (row.slug, name)
                for row in rows
                for name in sorted(verify.chosen(row, only), key=lambda name: -_weight(row, name))
            }
            done = _collected(running, progress)
        finally:
            end_workers(pool)
    reports = []
    for row in rows:
        own = [done[row.slug, name] for name in verify.chosen(row, only)]
        verify.record(row, own, seeds)
        reports += own
    return reports


def _weight(row: Row, name: str) -> int:
    return len(row.exercise_by_name[name].misconceptions)


def _collected(
    running: dict[Future[ExerciseReport], tuple[str, str]], progress: Callable[[ExerciseReport], None]
) -> dict[tuple[str, str], ExerciseReport]:
    done = {}
    for future in as_completed(running):
        done[running[future]] = future.result()
        progress(future.result())
    return done


class _Worker:
    """What a worker process holds: the sandbox of the chapter that it is at."""

    def __init__(self, closing: contextlib.ExitStack, level: str | None, seeds: int) -> None:
        self.level, self.seeds, self.slug = level, seeds, ""
        self.runner: SandboxRunner | None = None
        closing.callback(self.close)

    def verify(self, slug: str, name: str, release: Path) -> ExerciseReport:
        row = load_row(slug)
        if slug != self.slug or self.runner is None:
            self.close()
            self.slug, self.runner = slug, verify.sandbox(row, self.level)
            self.runner.start()
        return verify.verify_exercise(row, name, release, self.runner, self.seeds)

    def close(self) -> None:
        if self.runner is not None:
            self.runner.close()
            self.runner = None


_worker: _Worker | None = None


def _begin(master: int, level: str | None, seeds: int) -> None:
    global _worker
    _worker = _Worker(begin_worker(master), level, seeds)


def _verify(slug: str, name: str, release: Path) -> ExerciseReport:
    assert _worker is not None
    return _worker.verify(slug, name, release)
