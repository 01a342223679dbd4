"""What starts before this process has loaded torch: a chapter's sandbox, or the process that forks the workers.

Loading torch takes seconds in each of them. Nothing here imports it, so those seconds pass side by side.
"""

from __future__ import annotations

import ast
import contextlib
import gc
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

from autograder.chapter.row_checks import setup_of
from autograder.chapter.rows import Row, load_texts
from autograder.sandbox import SandboxRunner

_open = contextlib.ExitStack()  # of this worker: its sandbox, from the moment it starts


def runner_for(chapter: str, level: str | None, *, cold: bool = False, device: str = "cpu") -> SandboxRunner:
    """Return the sandbox of a chapter, not yet started; only the chapter's texts are read. `level` None: the highest.

    Raises:
        RowError: the chapter is unknown, or one of its lessons cannot be read.
    """
    texts = load_texts(chapter)
    setups = dict.fromkeys(setup_of(texts, lesson) for lesson in texts.notebooks)
    setup = "\n".join([*setups, *imports_of(texts)])
    return SandboxRunner(level, texts.key, setup=setup, cold=cold, device=device)


def imports_of(row: Row) -> list[str]:
    """Return the import statements of the lessons' own cells: every notebook brings them, a warm parent has them."""
    texts = [cell.source for lesson in row.notebooks for cell in lesson.cells if cell.kind == "given"]
    nodes: list[ast.stmt] = []
    for text in texts:
        with contextlib.suppress(SyntaxError):  # a cell with a magic: the job itself imports what it needs
            nodes += ast.parse(text).body
    return [ast.unparse(node) for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]


def workers_context(preload: str) -> BaseContext:
    """Return the way in which worker processes are made; where they are forked, start the process that forks them.

    It imports the module `preload` once and not once per worker: torch, and what torch's first gradient and optimizer
    load. It knows nothing of a course, a chapter or a student.
    """
    if os.name != "posix":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([preload])
    _start_deaf()
    return context


def _start_deaf() -> None:
    """Start the process that forks the workers with Ctrl-C blocked, from its first import on."""
    resource_tracker.ensure_running()  # by itself, because it unblocks Ctrl-C when it has started
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def without_collections() -> Iterator[None]:
    """Import large packages without the collector, which finds next to nothing and takes a quarter of the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def workers_pool(workers: int, begin: Callable[..., None], *given: Any, preload: str) -> ProcessPoolExecutor:
    """Return a pool of warm workers; each calls `begin(*given)` first, which calls `begin_worker`."""
    return ProcessPoolExecutor(workers, mp_context=workers_context(preload), initializer=begin, initargs=given)


def end_workers(pool: ProcessPoolExecutor) -> None:
    """End the workers now; their sandboxes die with them."""
    processes = list((getattr(pool, "_processes", None) or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(10)


def begin_worker(master: int) -> contextlib.ExitStack:
    """Let this worker process end with process `master`, and return what is closed then: its sandboxes go there."""
    threading.Thread(target=_end_with, args=(master,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that started the workers
    signal.signal(signal.SIGTERM, _end)
    gc.freeze()  # a collection would write to, and so copy, what all workers share
    return _open


def _end_with(master: int) -> None:
    """End this worker when the run is gone: killed, it cannot say so, and a worker would wait for ever."""
    with contextlib.suppress(OSError):
        while Path(f"/proc/{master}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] != "Z":
            time.sleep(1)
    _end()


def _end(*_: object) -> None:
    with contextlib.suppress(Exception):
        _open.close()
    os._exit(0)
