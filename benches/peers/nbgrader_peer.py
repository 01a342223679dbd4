"""`nbgrader autograde` on the class: a course of its own, its graded cells hold asserts, its kernel runs them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbgrader.api import Gradebook

from peers.lessons import Lessons, with_asserts
from peers.measure import Taken, take

TASK = "ch03"
CONFIG = """c = get_config()
c.CourseDirectory.root = {root!r}
c.Execute.timeout = {timeout}
c.ClearSolutions.enforce_metadata = False
"""


def environment(lessons: Lessons) -> dict[str, str]:
    """Return what the asserts need: their module on the path, and the cases."""
    place = str(Path(__file__).parent)
    paths = os.pathsep.join(filter(None, [place, os.environ.get("PYTHONPATH", "")]))
    return {"PYTHONPATH": paths, "PEER_PACKS": str(lessons.student), "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}


def set_up(
    lessons: Lessons,
    root: Path,
    shape: Callable[[NotebookNode], NotebookNode],
    *,
    stems: Collection[str] = (),
    timeout: int = 600,
) -> dict[str, NotebookNode]:
    """Make a course with the assignment and return the right submission, by notebook; `stems` are these alone."""
    shutil.rmtree(root, ignore_errors=True)
    (root / "source" / TASK).mkdir(parents=True)
    (root / "nbgrader_config.py").write_text(CONFIG.format(root=str(root), timeout=timeout))
    for stem, notebook in lessons.released.items():
        if stems and stem not in stems:
            continue
        nbformat.write(shape(with_asserts(notebook)), root / "source" / TASK / f"{stem}.ipynb")
    command = [sys.executable, "-m", "nbgrader", "generate_assignment", TASK, "--force"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, env=os.environ | environment(lessons))
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    released = {path.stem: nbformat.read(path, as_version=4) for path in (root / "release" / TASK).glob("*.ipynb")}
    for stem, notebook in released.items():
        answers = {cell.metadata.nbgrader.grade_id: cell.source for cell in lessons.filled[stem].cells
                   if cell.metadata.get("nbgrader", {}).get("solution")}  # fmt: skip
        for cell in notebook.cells:
            name = cell.metadata.get("nbgrader", {}).get("grade_id")
            cell.source = answers.get(name, cell.source) if cell.cell_type == "code" else cell.source
    return released


def hand_in(root: Path, student: str, notebooks: dict[str, NotebookNode]) -> None:
    folder = root / "submitted" / student / TASK
    folder.mkdir(parents=True, exist_ok=True)
    for stem, notebook in notebooks.items():
        nbformat.write(notebook, folder / f"{stem}.ipynb")


def autograde(lessons: Lessons, root: Path, limit: float = 900) -> Taken:
    """Grade everything that was handed in, from nothing."""
    command = [sys.executable, "-m", "nbgrader", "autograde", TASK, "--force"]
    return take(command, cwd=root, env=environment(lessons), limit=limit)


def scores(root: Path) -> dict[str, float]:
    """Return the points of the graded code cells, by student; manual cells are left aside."""

    def points(grade: Any) -> float:
        own = grade.auto_score or 0.0 if grade.manual_score is None else grade.manual_score
        return float(own + (grade.extra_credit or 0.0)) if grade.cell.cell_type == "code" else 0.0

    with Gradebook(f"sqlite:///{root}/gradebook.db") as book:
        return {
            submission.student.id: sum(points(grade) for notebook in submission.notebooks for grade in notebook.grades)
            for submission in book.assignment_submissions(TASK)
        }
