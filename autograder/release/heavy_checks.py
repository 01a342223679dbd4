"""The heavy checks, the same for every row: what `make test` runs for rows that changed, and `dlcv rows` for all.

`lessons`: every notebook runs with the reference, within its budget. `release`: "Run all" on the untouched release ends
in no traceback, and given cells wait for the exercises that they need. `reader`: nbval runs the first notebook again
and compares the cells that are marked deterministic. `oracle`: the row's oracle tests. `verify`: every exercise.
"""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import nbformat

from autograder.base import paths
from autograder.chapter import oracle_record, verified
from autograder.chapter.rows import Row
from autograder.release import verify as verifying
from autograder.release.execute_lessons import BUDGET_MIB, BUDGET_SECONDS, execute, run_notebook
from autograder.release.nbgrader_release import generate

SEEDS = 3
Figures = dict[str, Any]


class CheckFailed(Exception):
    """A heavy check found something; one sentence a line."""


def _fail(findings: list[str]) -> None:
    if findings:
        raise CheckFailed("\n".join(findings))


def lessons(row: Row) -> Figures:
    """Run every notebook with the reference inserted; what was run before and is unchanged comes from the cache."""
    ran = execute([row])
    _fail([
        f"{row.slug}/{done.notebook} takes {done.cpu_seconds:.0f} s and {done.peak_mib:.0f} MiB; "
        f"{BUDGET_SECONDS:.0f} s of one processor and {BUDGET_MIB} MiB are allowed"
        for done in ran
        if not done.in_budget
    ])  # fmt: skip
    return {done.notebook: {"cpu_seconds": done.cpu_seconds, "peak_mib": done.peak_mib} for done in ran}


def release(row: Row) -> Figures:
    """Run the untouched release from top to bottom, as a student does who has solved nothing yet."""
    execute([row])  # assembles, too; its packs lie beside the release
    found: list[str] = []
    figures: Figures = {}
    with tempfile.TemporaryDirectory(prefix="dlcv-release-") as folder:
        released = generate(paths.source(row.slug), row.slug, Path(folder) / "release")
        if [path.stem for path in released] != [lesson.stem for lesson in row.notebooks]:
            found.append(f"{row.slug}: the release holds {', '.join(path.stem for path in released)}")
        waiting = 0
        for path in released:
            notebook = nbformat.read(path, as_version=4)
            used = run_notebook(notebook, f"the release of {row.slug}/{path.stem}", Path(folder) / "kernel")
            waiting += sum("This cell waits for" in str(cell.get("outputs", "")) for cell in notebook.cells)
            figures[path.stem] = {"cpu_seconds": round(used.cpu_seconds, 1)}
            if used.cpu_seconds > BUDGET_SECONDS:
                found.append(f"the release of {row.slug}/{path.stem} takes {used.cpu_seconds:.0f} s unsolved")
        if not waiting:
            found.append(f"{row.slug}: no given cell of the untouched release waits for an exercise")
    _fail(found)
    return figures


def reader(row: Row) -> Figures:
    """Run the first notebook again with nbval, on another day as it were: marked cells print the same."""
    done = execute([row])[0]
    notebook = copy.deepcopy(nbformat.read(done.path, as_version=4))
    compared = 0
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if "deterministic" in tags:
            cell.metadata["tags"] = [*tags, "nbval-check-output"]
            compared += 1
    if not compared:
        raise CheckFailed(f"{row.slug}/{done.notebook}: no cell has the tag 'deterministic'; mark one that prints")
    with tempfile.TemporaryDirectory(prefix="dlcv-reader-") as folder:
        place = Path(folder) / "lesson.ipynb"
        nbformat.write(notebook, place)
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "--nbval-lax", "-q", "-p", "no:cacheprovider", "-p", "no:xdist",
             "--rootdir", folder, "--nbval-cell-timeout", "300", str(place)],
            cwd=folder, capture_output=True, text=True,
            env=os.environ | {"DLCV_BOOK": "1", "DLCV_PACKS": str(paths.packs()), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    if ran.returncode:
        raise CheckFailed(f"{row.slug}/{done.notebook} printed something else when it ran again:\n{ran.stdout[-3000:]}")
    return {"compared": compared}


def oracle(row: Row) -> Figures:
    """Run the row's oracle tests where the record of them is missing or older than the row."""
    oracle_record.refresh([row.slug])
    counts = oracle_record.counts_of(row.slug)
    _fail([f"{key}: {told['failed']} oracle tests fail" for key, told in counts.items() if told["failed"]])
    return {"passed": sum(told["passed"] for told in counts.values())}


def verify(row: Row, only: Collection[str] = ()) -> Figures:
    """Hand in stub, reference, alternatives and known mistakes of every exercise, or of those in `only`."""
    with verifying.sandbox(row) as runner:
        reports = verifying.verify_row(row, runner, seeds=SEEDS, only=only)
    _fail([finding for report in reports for finding in report.findings])
    asked = [f"{row.key}.{name}" for lesson in row.notebooks for name in lesson.named("exercise")]
    if not only and sorted(report.exercise for report in reports) != sorted(asked):
        raise CheckFailed(f"{row.slug}: not every exercise that a lesson asks for was verified")
    return {
        "exercises": len(reports),
        "alternatives": sum(len(report.alternatives) for report in reports),
        "mistakes": sum(len(report.misconceptions) for report in reports),
    }


CHECKS: dict[str, Callable[[Row], Figures]] = {
    "lessons": lessons, "release": release, "reader": reader, "oracle": oracle, "verify": verify,
}  # fmt: skip
assert tuple(CHECKS) == verified.CHECKS


def timed(row: Row, check: str) -> Figures:
    """Run one check and return its figures, with the seconds of one processor that it took, kernels and sandbox
    included: other work on the machine slows the clock only.

    Raises:
        CheckFailed: it found something.
        LessonFailed: a cell raised.
        RowError: the row does not hold together.
    """
    before = os.times()
    figures = CHECKS[check](row)
    spent = [now - then for now, then in zip(os.times()[:4], before[:4])]  # of this process and of those that it began
    return figures | {"seconds": round(sum(spent), 1)}
