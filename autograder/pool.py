"""Many submissions on many cores: worker processes, each with its own sandbox; one journal, written here alone."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import forkserver, resource_tracker
from pathlib import Path

from autograder.grading import Marker, never_lower
from autograder.journal import Entry, Journal
from autograder.submissions import Submission, read_bytes

_marker: Marker | None = None


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

    def kept(entry: Entry) -> Entry:
        chosen = never_lower(entry, before.get(entry.student))
        if journal is not None:
            journal.append(chosen)
        return chosen

    waiting = []
    here = elsewhere is None and min(workers, len(submissions)) == 1
    with Marker(plan.chapter, plan.secret, plan.level, device=plan.device, only=plan.only, start=here) as marker:
        for submission in submissions:
            held = done.get(marker.address(submission.student, digests_of(submission))) if done else None
            if held is not None and not submission.problems:
                yield held
            else:
                waiting.append(submission)
        workers = max(1, min(workers, len(waiting)))
        if workers == 1 and elsewhere is None:
            if here and waiting:  # while the warm parent starts
                marker.prepare()
            for submission in waiting:
                yield kept(marker.mark(submission))
            return
    running = elsewhere(plan, waiting, lost) if elsewhere else _in_processes(plan, waiting, workers, lost)
    for entry in running:
        yield kept(entry)


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
    pool = _pool(plan, workers)
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
        _stop(pool)


def _pool(plan: Plan, workers: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")
    if os.name == "posix":
        # torch, and what its first gradient and optimizer load, once and not once per worker
        context.set_forkserver_preload(["autograder.grading", "torch._dynamo"])
        _start_deaf()
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(plan,))


def _start_deaf() -> None:
    """Start the process that forks the workers with Ctrl-C blocked, from its first import on."""
    resource_tracker.ensure_running()  # by itself, because it unblocks Ctrl-C when it has started
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stop(pool: ProcessPoolExecutor) -> None:
    """End the workers now; their sandboxes die with them."""
    processes = list((getattr(pool, "_processes", None) or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(10)


def _begin(plan: Plan) -> None:
    global _marker
    threading.Thread(target=_end_with, args=(plan.master,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that writes the journal
    signal.signal(signal.SIGTERM, _end)
    _marker = Marker(plan.chapter, plan.secret, plan.level, device=plan.device, only=plan.only, start=True)


def _end_with(master: int) -> None:
    """End this worker when the run is gone: killed, it cannot say so, and a worker would wait for ever."""
    with contextlib.suppress(OSError):
        while Path(f"/proc/{master}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] != "Z":
            time.sleep(1)
    _end()


def _end(*_: object) -> None:
    if _marker is not None:
        with contextlib.suppress(Exception):
            _marker.close()
    os._exit(0)


def _mark(submission: Submission) -> Entry:
    assert _marker is not None
    return _marker.mark(submission)
