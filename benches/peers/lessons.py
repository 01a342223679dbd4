"""The class of the benchmark: chapter 3, released once, handed in right by everyone, as each grader wants it."""

from __future__ import annotations

import ast
import copy
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from autograder.base import cache
from autograder.chapter import rows
from autograder.demo.sample_class import Sample, fill, right

ASSERT = 'from peer_asserts import assert_right\nassert_right("{name}", globals())'


@dataclass(frozen=True)
class Lessons:
    """The release of chapter 3 below `place`."""

    place: Path

    @property
    def student(self) -> Path:
        return self.place / "student"

    @cached_property
    def row(self) -> rows.Row:
        return rows.load_row("ch03")

    @cached_property
    def released(self) -> dict[str, NotebookNode]:
        folder = self.student / self.row.slug
        return {path.stem: nbformat.read(path, as_version=4) for path in sorted(folder.glob("*.ipynb"))}

    @cached_property
    def filled(self) -> dict[str, NotebookNode]:
        """Return the notebooks as a student who is right in everything saves them."""
        sample = Sample("right", "", "", "OK", right)
        return {stem: fill(notebook, self.row, sample) for stem, notebook in self.released.items()}

    @cached_property
    def core(self) -> list[str]:
        """Return the exercises that count: those whose check is a graded cell."""
        return [exercise.name for exercise in self.row.exercises if exercise.core]


def prepare(place: Path) -> Lessons:
    """Release chapter 3 below `place`, once for each state of the chapter and of what its checks run."""
    lessons, stamp = Lessons(place), place / "released.txt"
    state = cache.digest(cache.files_digest(lessons.row.files()), cache.code_digest("dlcv_lab/checking"))
    if not stamp.exists() or stamp.read_text() != state:
        place.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(lessons.student, ignore_errors=True)
        start = [sys.executable, "-c", "from dlcv_lab.cli import main; main()"]
        with tempfile.TemporaryDirectory(prefix="dlcv-bench-") as scratch:  # a course folder may not lie in build/
            course = str(Path(scratch, "course"))
            subprocess.run([*start, "course", "init", course, "--chapters", "ch03"], check=True)
            subprocess.run([*start, "release", "ch03", "--to", str(lessons.student), "--course", course], check=True)
        stamp.write_text(state)
    return lessons


def exercise_of(cell: NotebookNode) -> str:
    """Return the exercise that a graded cell checks, or nothing."""
    mark = cell.metadata.get("nbgrader", {})
    if cell.cell_type != "code" or not mark.get("grade"):
        return ""
    return str(mark["grade_id"]).removeprefix("ch03-").removesuffix("-check")


def with_asserts(notebook: NotebookNode) -> NotebookNode:
    """Return a notebook whose graded cells hold asserts instead of `check`."""
    made = copy.deepcopy(notebook)
    for cell in made.cells:
        if name := exercise_of(cell):
            cell.source = ASSERT.format(name=name)
        cell.metadata.get("nbgrader", {}).pop("checksum", None)
    return made


def stripped(notebook: NotebookNode) -> NotebookNode:
    """Return the graded cells alone: set-up, solutions of the exercises that count, and definitions they may need."""
    made = copy.deepcopy(notebook)
    counted = {name for cell in made.cells if (name := exercise_of(cell))}
    made.cells = [cell for cell in made.cells if _needed(cell, counted)]
    return made


def _needed(cell: NotebookNode, counted: set[str]) -> bool:
    if cell.cell_type != "code":
        return False
    mark = cell.metadata.get("nbgrader", {})
    if mark:
        return str(mark["grade_id"]).removeprefix("ch03-").removesuffix("-check") in counted
    definitions = (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
    tags = cell.metadata.get("tags", [])
    return "setup" in tags or all(isinstance(node, definitions) for node in ast.parse(cell.source).body)
