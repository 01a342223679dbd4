"""Lessons run once with the reference inserted; a cell that fails is named; an untouched release runs through."""

import json

import nbformat
import pytest

from autograder.base import paths
from autograder.chapter import rows
from autograder.release import assemble, execute_lessons, nbgrader_release, packing
from autograder.release.execute_lessons import LessonFailed

pytestmark = pytest.mark.slow


def test_a_lesson_runs_once_and_then_comes_from_the_cache(demo):
    first = execute_lessons.execute_row(demo)[0]
    assert not first.cached
    assert first.in_budget
    assert first.peak_mib > 50
    nb = nbformat.read(first.path, as_version=4)
    shown = [str(output.get("data", "")) for cell in nb.cells for output in cell.get("outputs", [])]
    assert any("0.33 times what it was" in text for text in shown)
    raw = first.path.read_bytes()
    first.path.unlink()
    again = execute_lessons.execute_row(rows.load_row("ch99"))[0]
    assert again.cached
    assert again.path.read_bytes() == raw
    record = json.loads((paths.records() / "lessons.json").read_text())
    assert record["ch99"]["lesson_1"]["seconds"] == first.seconds


def test_a_failing_cell_is_named(demo, edit):
    edit("chapters/ch99_demo/lesson_1.md", "noise = torch.randn(64, 64", "noise = torch.nothing(64, 64")
    with pytest.raises(LessonFailed, match=r"ch99_demo/lesson_1: cell \d+ \(code-\w+\) raised AttributeError"):
        execute_lessons.execute_row(rows.load_row("ch99"))


def test_an_untouched_release_runs_from_top_to_bottom(demo, tmp_path):
    assemble.assemble(demo)
    path = nbgrader_release.generate(paths.source(demo.slug), demo.slug, tmp_path / "release")[0]
    nb = execute_lessons.execute_release(path)
    assert all(cell.execution_count for cell in nb.cells if cell.cell_type == "code")
    assert not [output for cell in nb.cells for output in cell.get("outputs", []) if output.output_type == "error"]


def test_a_cell_that_is_skipped_by_its_tag_is_still_run(demo, tmp_path):
    packing.build_packs(demo)
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x = 1", metadata={"tags": ["skip-execution"]})])
    execute_lessons.run_notebook(nb, "tagged", tmp_path)
    assert nb.cells[0].execution_count == 1
