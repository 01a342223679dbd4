"""Notebooks are generated: the same bytes twice, valid for nbgrader, stubs and cards where placeholders stood."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbgrader.nbgraderformat import MetadataValidator

from autograder.base import paths
from autograder.chapter import rows
from autograder.release import assemble


def by_id(nb):
    return {cell.id: cell for cell in nb.cells}


def test_the_source_notebook_is_what_nbgrader_wants(demo):
    nb = assemble.notebook(demo, demo.notebooks[0], "source")
    MetadataValidator().validate_nb(nb)
    cells = by_id(nb)
    assert cells["ch99-box_blur"].metadata.nbgrader.solution
    assert cells["ch99-box_blur"].source == demo.source("box_blur")
    check = cells["ch99-box_blur-check"]
    assert (check.source, check.metadata.nbgrader.points, check.metadata.nbgrader.locked) == (
        'check("box_blur")',
        3,
        True,
    )
    answer = cells["ch99-where_blur_hurts"]
    assert answer.cell_type == "markdown"
    assert answer.metadata.nbgrader.grade
    assert answer.metadata.nbgrader.points == 2


def test_an_extra_has_no_graded_cell(demo):
    cells = by_id(assemble.notebook(demo, demo.notebooks[0], "source"))
    assert cells["ch99-unsharp"].metadata.nbgrader.solution
    assert "nbgrader" not in cells["ch99-unsharp-check"].metadata


def test_the_card_says_points_split_difficulty_and_kind(demo):
    cells = by_id(assemble.notebook(demo, demo.notebooks[0], "source"))
    card = cells["ch99-box_blur-card"].source
    for word in ("core · 3 points (plain 2, edge 1)", "easy ●○○", "about 10 minutes", "Good for: the bookkeeping"):
        assert word in card
    assert "extra, not counted" in cells["ch99-unsharp-card"].source
    assert "Uses your `box_blur`." in cells["ch99-unsharp-card"].source


def test_the_books_notebook_keeps_myst_and_carries_the_stub(demo):
    nb = assemble.notebook(demo, demo.notebooks[0], "book")
    text = "\n".join(cell.source for cell in nb.cells)
    assert ":::{dropdown} What came out" in text
    assert "(sec-ch99-blur)=" in text
    assert "SOLUTION" not in text
    facts = by_id(nb)["ch99-box_blur"].metadata.dlcv
    assert facts.stub.endswith("raise NotImplementedError")


def test_notebooks_hold_plain_markdown_only(demo):
    nb = assemble.notebook(demo, demo.notebooks[0], "source")
    text = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
    assert "<summary>What came out</summary>" in text
    assert "What averaging removes" in text
    assert ":::" not in text


def test_rubric_and_samples_stand_in_the_marking_sheet_only(demo):
    made = assemble.assemble(demo, packs=False)
    sheet = (paths.instructor() / "ch99_demo.md").read_text()
    assert "One point for each picture" in sheet
    assert sheet.count("of 2**") == 3
    for path in made:
        if path.suffix == ".ipynb":
            assert "One point for each picture" not in path.read_text()


def test_a_removed_notebook_leaves_no_stale_copy(demo):
    stale = paths.source("ch99_demo") / "lesson_7.ipynb"
    stale.parent.mkdir(parents=True)
    stale.write_text("{}")
    assemble.assemble(demo, packs=False)
    assert not stale.exists()


def test_nothing_is_written_where_nothing_changed(demo):
    before = {path: path.stat().st_mtime_ns for path in assemble.assemble(demo, packs=False)}
    assert {path: path.stat().st_mtime_ns for path in assemble.assemble(demo, packs=False)} == before


def test_cell_ids_survive_the_insertion_of_a_cell(demo, edit):
    before = set(by_id(assemble.notebook(demo, demo.notebooks[0], "source")))
    edit("chapters/ch99_demo/lesson_1.md", "How strong is", "```{code-cell} ipython3\n1 + 1\n```\n\nHow strong is")
    row = rows.load_row("ch99")
    after = set(by_id(assemble.notebook(row, row.notebooks[0], "source")))
    assert before < after
    assert len(after - before) == 1


def test_equal_cells_get_ids_of_their_own(demo, workshop: Path):
    path = workshop / "chapters/ch99_demo/lesson_1.md"
    twice = "\n\n```{code-cell} ipython3\n1 + 1\n```\n\n```{code-cell} ipython3\n1 + 1\n```\n"
    path.write_text(path.read_text() + twice)
    rows.forget("ch99_demo")
    row = rows.load_row("ch99")
    nb = assemble.notebook(row, row.notebooks[0], "source")
    assert len({cell.id for cell in nb.cells}) == len(nb.cells)
    nbformat.validate(nb)


BUILD = """
import sys
from autograder.chapter import rows
from autograder.release import assemble
for path in assemble.assemble(rows.load_row("ch99")):
    print(path)
"""


@pytest.mark.slow
def test_two_places_and_two_hash_seeds_give_the_same_bytes(demo, workshop: Path, tmp_path: Path):
    digests = []
    for seed in ("1", "2"):
        place = tmp_path / f"copy_{seed}" / ("deeper" * int(seed))
        shutil.copytree(workshop, place)
        names = ("DLCV_BUILD", "DLCV_CACHE", "DLCV_PACKS")
        env = {name: value for name, value in os.environ.items() if name not in names}
        env |= {"DLCV_ROOT": str(place), "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", BUILD], env=env, check=True, cwd=place)
        files = sorted(path for path in (place / "build").rglob("*") if path.is_file() and "cache" not in path.parts)
        digests.append({path.relative_to(place): hashlib.sha256(path.read_bytes()).hexdigest() for path in files})
    assert len(digests[0]) >= 6
    assert digests[0] == digests[1]
