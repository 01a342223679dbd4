"""The whole way of chapter 3 on the real files: lesson, release, verification, a class."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from autograder.base import paths
from autograder.chapter import rows
from autograder.demo import run as demo
from autograder.demo.sample_class import CLASS
from autograder.release.execute_lessons import BUDGET_MIB, BUDGET_SECONDS, execute, run_notebook
from autograder.release.nbgrader_release import generate
from autograder.release.verify import sandbox, verify_row

CHAPTER = "ch03"
ROW = rows.load_row(CHAPTER)
STEMS = [lesson.stem for lesson in ROW.notebooks]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def executed():
    """Run both lessons once with the reference inserted; what the book's build has already run is taken from there."""
    return {done.notebook: done for done in execute([ROW])}


@pytest.mark.parametrize("stem", STEMS)
def test_a_lesson_stays_within_its_budget(executed, stem):
    assert executed[stem].cpu_seconds <= BUDGET_SECONDS
    assert executed[stem].peak_mib <= BUDGET_MIB


def test_run_all_on_the_untouched_release_shows_no_traceback(executed, tmp_path: Path):
    """`executed` comes first, because it assembles the chapter."""
    released = generate(paths.source(ROW.slug), ROW.slug, tmp_path)
    assert [path.stem for path in released] == STEMS
    for path in released:
        notebook = nbformat.read(path, as_version=4)
        used = run_notebook(notebook, path.name, tmp_path / "kernel")
        outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
        assert not [output for output in outputs if output.output_type == "error"]
        waiting = [output for output in outputs if "This cell waits for" in str(output.get("text", ""))]
        assert waiting, "no given cell waited for an exercise"
        assert used.cpu_seconds <= BUDGET_SECONDS


def test_a_student_sees_what_the_book_shows(executed, tmp_path: Path):
    """nbval runs one executed lesson again: cells marked deterministic are compared, the others only have to run."""
    notebook = copy.deepcopy(nbformat.read(executed[STEMS[0]].path, as_version=4))
    compared = 0
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if "deterministic" in tags:
            cell.metadata["tags"] = [*tags, "nbval-check-output"]
            compared += 1
    assert compared >= 3
    nbformat.write(notebook, tmp_path / "lesson.ipynb")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--nbval-lax", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path),
         "--nbval-cell-timeout", "300", str(tmp_path / "lesson.ipynb")],
        cwd=tmp_path, capture_output=True, text=True, env=_environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]


def _environment() -> dict[str, str]:
    import os

    return os.environ | {"DLCV_BOOK": "1", "DLCV_PACKS": str(paths.packs()), "OMP_NUM_THREADS": "1"}


@pytest.mark.sandbox
def test_every_exercise_of_the_chapter_verifies():
    with sandbox(ROW) as runner:
        reports = verify_row(ROW, runner, seeds=3)
    assert [finding for report in reports for finding in report.findings] == []
    assert [report.exercise for report in reports] == [
        f"{CHAPTER}.{name}" for lesson in ROW.notebooks for name in lesson.named("exercise")
    ]


@pytest.mark.sandbox
def test_the_demo_gives_every_sample_submission_its_due(capfd):
    assert demo.run(book=False) == 0
    scores = {entry["student"]: entry for entry in json.loads(demo.place().scores.read_text())}
    assert set(scores) == {sample.student for sample in CLASS}
    assert scores["ada"]["score"] == scores["grace"]["score"] == scores["ada"]["max_score"]
    assert scores["eve"]["score"] == scores["li"]["score"] == 0
    assert all(entry["isolation"] == "bubblewrap" for entry in scores.values())
    told = capfd.readouterr().out
    assert "not as it should be" not in told
    feedback = demo.place().course / "feedback"
    assert {path.name for path in feedback.iterdir() if path.is_dir()} == set(scores)
