"""Run each lesson once with the reference inserted; keep outputs, seconds and peak memory.

The book shows what this run printed. A lesson runs in a kernel of its own on one thread, side by side on the cores
there are, and is run again only where its code changed, or a definition that it reaches (autograder.base.closure).
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nbformat
import psutil
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat.notebooknode import NotebookNode

from autograder.base import cache, closure, paths
from autograder.chapter.rows import Row
from autograder.release import assemble

BUDGET_SECONDS, BUDGET_MIB = 90.0, 1024
SIDE_BY_SIDE = max(2, os.cpu_count() or 2)  # one core a lesson
FORMAT = "3"  # of what the cache holds
_HANG = 6 * BUDGET_SECONDS  # a single cell may not take longer, however slow the machine is


class LessonFailed(Exception):
    """A cell of a lesson raised, was not run, or hung; the message names it."""


@dataclass(frozen=True)
class Execution:
    """How one lesson ran. `cached` ones report the run that was kept."""

    chapter: str
    notebook: str
    path: Path
    seconds: float  # by the clock
    cpu_seconds: float  # of the kernel: what the budget is about, since other work slows the clock only
    peak_mib: float
    cells: int
    cached: bool = False
    ran: bool = True

    @property
    def in_budget(self) -> bool:
        return self.cpu_seconds <= BUDGET_SECONDS and self.peak_mib <= BUDGET_MIB


@dataclass
class Used:
    """What a kernel used, as seen five times a second."""

    peak: int = 0  # bytes, library files apart
    cpu_seconds: float = 0.0


def execute_row(row: Row, *, packs: bool = True) -> list[Execution]:
    """Assemble and run every notebook of one chapter (see `execute`)."""
    return execute([row], packs=packs)


def execute(
    rows: Iterable[Row], *, packs: bool = True, progress: Callable[[Execution], None] = lambda done: None
) -> list[Execution]:
    """Run the book's notebooks of some chapters into build/executed/<slug>/ and record what they took.

    Raises:
        LessonFailed: a cell raised, hung or was not run; all failures are in the message.
    """
    jobs = []
    for row in rows:
        assemble.assemble(row, packs=packs)
        jobs += [(row, lesson.stem) for lesson in row.notebooks]
    failures: list[str] = []

    def one(job: tuple[Row, str]) -> Execution | None:
        try:
            done = _execute_one(*job)
        except LessonFailed as error:
            failures.append(str(error))
            return None
        progress(done)
        return done

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        executions = [done for done in pool.map(one, jobs) if done]
    _record(executions)
    if failures:
        raise LessonFailed("\n".join(failures))
    return executions


def unexecuted(row: Row) -> list[Execution]:
    """Assemble the book's notebooks of a chapter, without check packs, and do not run them."""
    assemble.assemble(row, packs=False)
    sources = {lesson.stem: paths.booksrc(row.slug) / f"{lesson.stem}.ipynb" for lesson in row.notebooks}
    return [Execution(row.key, stem, path, 0.0, 0.0, 0.0, 0, ran=False) for stem, path in sources.items()]


def _execute_one(row: Row, stem: str) -> Execution:
    source = paths.booksrc(row.slug) / f"{stem}.ipynb"
    target = paths.executed(row.slug) / f"{stem}.ipynb"
    nb = nbformat.read(source, as_version=4)
    key = key_of(row.slug, nb)
    held = paths.cache() / "executed" / key
    with cache.locked(str(held)):  # another process may be running the same lesson now
        if (held / "facts.json").exists():
            _lay_outputs(nbformat.read(held / "run.ipynb", as_version=4), nb)
            cache.write(target, assemble.to_bytes(nb))
            return Execution(path=target, cached=True, **json.loads((held / "facts.json").read_text()))
        started = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="dlcv-lesson-") as folder:  # lessons must not share progress or files
            used = run_notebook(nb, f"{row.slug}/{stem}", Path(folder), book=True)
        seconds = time.perf_counter() - started
        cells = sum(cell.cell_type == "code" for cell in nb.cells)
        peak = round(used.peak / 2**20)
        done = Execution(row.key, stem, target, round(seconds, 1), round(used.cpu_seconds, 1), peak, cells)
        raw = assemble.to_bytes(_without_times(nb))
        cache.write(target, raw)
        cache.write(held / "run.ipynb", raw)
        facts = {name: value for name, value in asdict(done).items() if name not in ("path", "cached", "ran")}
        cache.write(held / "facts.json", json.dumps(facts).encode())
    return done


def key_of(slug: str, nb: NotebookNode) -> str:
    """Return the hash of all that the outputs of a notebook hang on: its code, the definitions of ours that this
    reaches, and the check packs that it names. Its prose does not count."""
    texts = [cell.source for cell in nb.cells if cell.cell_type == "code"]
    tags = [" ".join(cell.metadata.get("tags", [])) for cell in nb.cells if cell.cell_type == "code"]
    named = {name for text in texts for name in re.findall(r"""["'](\w+)["']""", text)}
    packs = [path for path in sorted((paths.packs() / slug).glob("*.pack")) if path.stem in named]
    chapter = paths.packs() / slug / "chapter.json"
    facts = json.loads(chapter.read_text(encoding="utf-8")) if chapter.exists() else {}
    told = json.dumps({name: facts[name] for name in facts if name not in ("version", "versions")}, sort_keys=True)
    code = [closure.code_of(text) for text in texts]
    return cache.digest(FORMAT, *code, *tags, closure.of_text(*texts).key, told, *(path.read_bytes() for path in packs))


def _lay_outputs(run: NotebookNode, nb: NotebookNode) -> None:
    """Lay the outputs of a run into a notebook of the same code, whose prose may have changed since."""
    ran, now = ([cell for cell in each.cells if cell.cell_type == "code"] for each in (run, nb))
    for before, after in zip(ran, now, strict=True):
        after.outputs, after.execution_count = before.outputs, before.execution_count
    nb.metadata.language_info = run.metadata.language_info  # as the kernel told it


def run_notebook(
    nb: NotebookNode, name: str, folder: Path, *, book: bool = False, env: dict[str, str] | None = None
) -> Used:
    """Run all cells of a notebook in place, as "Run All" does, and return what the kernel used.

    Errors are not allowed: an untouched release must come through this, too.

    Args:
        nb: the notebook; outputs are written into it.
        name: what the message calls it.
        folder: the kernel's working folder.
        book: set DLCV_BOOK=1, so that pictures are made for a page without kernel.
        env: further variables of the kernel.

    Raises:
        LessonFailed: a cell raised, hung or was not run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    variables = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONHASHSEED": "0", **(env or {})}
    variables["DLCV_PACKS"] = variables.get("DLCV_PACKS") or str(paths.packs())
    variables.pop("DLCV_BOOK", None)
    if book:
        variables["DLCV_BOOK"] = "1"
    client = NotebookClient(
        nb, timeout=int(_HANG), kernel_name="python3", resources={"metadata": {"path": str(folder)}},
        allow_errors=False, skip_cells_with_tag="", record_timing=False,
    )  # fmt: skip
    with _watched(client) as used:
        try:
            client.execute(env=variables)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            raise LessonFailed(_failure(nb, name, error)) from None
    skipped = [index for index, cell in enumerate(nb.cells) if cell.cell_type == "code" and _not_run(cell)]
    if skipped:
        raise LessonFailed(f"{name}: cell {skipped[0] + 1} was not run: {_first_line(nb.cells[skipped[0]])}")
    return used


def _not_run(cell: NotebookNode) -> bool:
    return bool(cell.source.strip()) and cell.execution_count is None


def _first_line(cell: NotebookNode) -> str:
    return next((line for line in cell.source.split("\n") if line.strip()), "")


def _failure(nb: NotebookNode, name: str, error: Exception) -> str:
    for index, cell in enumerate(nb.cells):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                return (
                    f"{name}: cell {index + 1} ({cell.id}) raised {output.ename}: {output.evalue}\n"
                    f"    it begins with: {_first_line(cell)}"
                )
    running = next((cell for cell in nb.cells if cell.cell_type == "code" and _not_run(cell)), None)
    where = f" at or after {_first_line(running)!r}" if running else ""
    return f"{name}: {type(error).__name__}{where}: {str(error).strip().splitlines()[-1]}"


@contextmanager
def _watched(client: NotebookClient) -> Iterator[Used]:
    """Watch the kernel and its children while it runs."""
    used, done = Used(), threading.Event()

    def watch() -> None:
        while not done.wait(0.2):
            _look(client, used)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield used
    finally:
        done.set()
        thread.join()


def _look(client: NotebookClient, used: Used) -> None:
    provisioner = getattr(client.km, "provisioner", None)
    pid: Any = getattr(provisioner, "pid", None)
    if not pid:
        return
    try:
        kernel = psutil.Process(pid)
        everyone = [kernel, *kernel.children(recursive=True)]
        used.peak = max(used.peak, sum(map(_own_memory, everyone)))
        used.cpu_seconds = max(used.cpu_seconds, sum(sum(process.cpu_times()[:2]) for process in everyone))
    except psutil.Error:
        return


def _own_memory(process: psutil.Process) -> int:
    """Return the bytes that a process itself needs: without the pages of library files, which differ by some hundred
    MiB between the builds of PyTorch and which the system may drop at any time."""
    memory = process.memory_info()
    return int(memory.rss - getattr(memory, "shared", 0))


def _without_times(nb: NotebookNode) -> NotebookNode:
    for cell in nb.cells:
        cell.metadata.pop("execution", None)
    return nb


def _record(executions: list[Execution]) -> None:
    """Merge into build/records/lessons.json: {slug key: {notebook: {seconds, peak_mib, cells}}}."""
    names = ("seconds", "cpu_seconds", "peak_mib", "cells", "in_budget")
    with cache.updated(paths.records() / "lessons.json") as held:
        for done in executions:
            held.setdefault(done.chapter, {})[done.notebook] = {name: getattr(done, name) for name in names}


def execute_release(path: Path, folder: Path | None = None, *, env: dict[str, str] | None = None) -> NotebookNode:
    """Run an untouched release notebook from top to bottom without allowing errors, and return it with its outputs.

    Raises:
        LessonFailed: a cell ended in an error output.
    """
    nb: NotebookNode = nbformat.read(path, as_version=4)
    run_notebook(nb, path.name, folder or path.parent, env=env)
    return nb
