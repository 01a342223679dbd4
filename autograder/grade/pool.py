"""Many submissions on many cores: worker processes, each with its own sandbox; one journal, written here alone."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from autograder.grade.journal import Entry, Journal
from autograder.grade.submissions import Submission, read_bytes
from autograder.release.warm_start import (
    begin_worker,
    end_workers,
    runner_for,
    without_collections,
    workers_context,
    workers_pool,
)

if TYPE_CHECKING:
    from autograder.grade.marking import Marker
    from autograder.sandbox import SandboxRunner

_PRELOAD = "autograder.grade.preloaded"
_marker: Marker | None = None  # of this worker


@dataclass(frozen=True)
class Plan:
    """What every worker needs to know."""

    chapter: str
    secret: bytes
    level: str
    only: tuple[str, ...] = ()  # judge these exercises and what they use; empty: all
    device: str = "cpu"  # or "cuda": every job is then spawned from nothing
    master: int = field(default_factory=os.getpid)


Elsewhere = Callable[[Plan, list[Submission], Callable[[str], None]], Iterator[Entry]]


def grade_class(
    plan: Plan,
    submissions: Sequence[Submission],
    *,
    journal: Journal | None = None,
    workers: int = 1,
    elsewhere: Elsewhere | None = None,
    force: bool = False,
    keep_better: bool = False,
    lost: Callable[[str], None] = lambda student: None,
) -> Generator[Entry, None, None]:
    """Yield one entry per submission as it is done; those that the journal holds already come first, unchanged.

    `elsewhere` judges on other machines instead of `workers` processes here (see `schedulers`). With `keep_better` the
    same files never get fewer points than in an earlier run. `lost` is told the students whose worker died twice (a
    fault of the grader: nothing is scored for them). Closing the iterator, as Ctrl-C does, stops the workers; what was
    yielded is in the journal.
    """
    done = journal.done() if journal is not None and not force else {}
    before = journal.latest() if journal is not None and keep_better else {}
    at_least = 0 if elsewhere else min(workers, len(submissions) - len(done))  # so many will judge at once
    if at_least > 1:
        workers_context(_PRELOAD)  # loads torch while we do
    waiting = []
    with runner_for(plan.chapter, plan.level, device=plan.device) as runner:
        if at_least == 1:
            runner.start()  # it loads torch, too
        marker = _marker_with(plan, runner)
        for submission in submissions:
            held = done.get(marker.address(submission.student, digests_of(submission))) if done else None
            if held is not None and not submission.problems:
                yield held
            else:
                waiting.append(submission)
        alone = elsewhere is None and min(workers, len(waiting)) <= 1
        if alone and waiting:
            runner.start()
            marker.prepare()  # while the warm parent starts
        for submission in waiting if alone else ():
            yield _kept(marker.mark(submission), journal, before)
    if not alone:
        running = elsewhere(plan, waiting, lost) if elsewhere else _in_processes(plan, waiting, workers, lost)
        for entry in running:
            yield _kept(entry, journal, before)


def _kept(entry: Entry, journal: Journal | None, before: dict[str, Entry]) -> Entry:
    """Return what counts, the entry or a better one of the same files from `before`, once it is in the journal."""
    from autograder.grade.marking import never_lower

    chosen = never_lower(entry, before.get(entry.student))
    if journal is not None:
        journal.append(chosen)
    return chosen


def _marker_with(plan: Plan, runner: SandboxRunner) -> Marker:
    """Return what judges in this process, with a sandbox that may be starting."""
    with without_collections():
        from autograder.grade.marking import Marker  # and torch, seconds

        return Marker(plan.chapter, plan.secret, plan.level, device=plan.device, only=plan.only, runner=runner)


def digests_of(submission: Submission) -> dict[str, str]:
    """Return the SHA-256 of every file that can be read, by notebook."""
    found = {}
    for stem, path in submission.files.items():
        with contextlib.suppress(OSError):
            found[stem] = hashlib.sha256(read_bytes(path)).hexdigest()
    return found


def _in_processes(
    plan: Plan, submissions: list[Submission], workers: int, lost: Callable[[str], None]
) -> Iterator[Entry]:
    """Mark in worker processes. A worker that dies takes its pool with it: what was under way then is tried alone, and
    a submission that kills its worker again is lost; the others go on."""
    rest = list(submissions)
    while rest:
        suspects: list[Submission] = []
        yield from _together(plan, rest, workers, suspects)
        for submission in suspects:
            again: list[Submission] = []
            yield from _together(plan, [submission], 1, again)
            if again:
                lost(submission.student)


def _together(plan: Plan, rest: list[Submission], workers: int, suspects: list[Submission]) -> Iterator[Entry]:
    """Take submissions from `rest` until it is empty or a worker died; then `suspects` holds what was under way."""
    pool = workers_pool(workers, _begin, plan, preload=_PRELOAD)
    running: dict[Future[Entry], Submission] = {}
    try:
        while rest or running:
            while rest and len(running) < 2 * workers:
                submission = rest.pop(0)
                running[pool.submit(_mark, submission)] = submission
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                entry = future.result()
                del running[future]
                yield entry
    except BrokenProcessPool:
        suspects += running.values()
    finally:
        end_workers(pool)


def _begin(plan: Plan) -> None:
    global _marker
    runner = begin_worker(plan.master).enter_context(runner_for(plan.chapter, plan.level, device=plan.device))
    runner.start()
    _marker = _marker_with(plan, runner)


def _mark(submission: Submission) -> Entry:
    assert _marker is not None
    return _marker.mark(submission)
