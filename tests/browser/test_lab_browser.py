"""Chapter 3's release notebook in JupyterLab, as `dlcv lab` opens it: wrong, the hint, right, a slider, a receipt."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_tools import START, Chapter, Server, jupyter

from autograder import rows
from autograder.demo.sample_class import mistaken, right

pytestmark = [pytest.mark.slow, pytest.mark.browser]

LESSON = "lesson_1"


@pytest.fixture(scope="module")
def lab(chapter3: Chapter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """`dlcv lab` on a folder in which every test finds a student repository of its own."""
    place = tmp_path_factory.mktemp("lab")
    students = place / "students"
    for name in ("ann", "ben"):
        shutil.copytree(chapter3.repository, students / name)
    with jupyter(students, place / "home", ("-c", START, "lab", str(students), "--no-browser")) as server:
        yield server, students


@pytest.fixture
def notebook(lab: tuple[Server, Path], open_page: Callable[..., Any], chapter3: Chapter) -> Callable[[str], Any]:
    """Open a student's notebook and wait for its kernel."""

    def opened(student: str) -> Any:
        page = open_page(lab[0].page(f"lab/tree/{student}/{chapter3.slug}/{LESSON}.ipynb"))
        page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for(state="attached")
        page.locator(".jp-CodeCell").nth(20).wait_for(state="attached")
        return page

    return opened


def cell_with(page: Any, text: str) -> Any:
    return page.locator(".jp-CodeCell", has_text=text).first


def run(cell: Any) -> Any:
    """Run a cell by Shift+Enter and return its output, once its number stands beside it."""
    cell.scroll_into_view_if_needed()
    cell.locator(".cm-content").click()
    before = cell.locator(".jp-InputPrompt").inner_text()
    cell.page.keyboard.press("Shift+Enter")
    cell.page.wait_for_function(
        "([prompt, before]) => /\\[\\d+\\]/.test(prompt.innerText) && prompt.innerText !== before",
        arg=[cell.locator(".jp-InputPrompt").element_handle(), before],
    )
    return cell.locator(".jp-OutputArea").first


def write(cell: Any, source: str) -> None:
    cell.locator(".cm-content").click()
    cell.page.keyboard.press("Control+a")
    cell.page.keyboard.insert_text(source)


def words(locator: Any) -> str:
    return " ".join(locator.inner_text().split())


def test_wrong_the_hint_right_and_the_receipt(notebook: Any, lab: tuple[Server, Path], chapter3: Chapter) -> None:
    row = rows.load_row(chapter3.slug)
    mistake = row.exercise_by_name["correlate2d"].misconceptions[0]
    page = notebook("ann")
    run(cell_with(page, 'start("ch03")'))
    answer = cell_with(page, "def correlate2d(")
    asked = cell_with(page, 'check("correlate2d")')

    write(answer, mistaken("correlate2d", mistake.name)(row)["correlate2d"])
    run(answer)
    assert " ".join(mistake.hint.split()) in words(run(asked))

    write(answer, right(row)["correlate2d"])
    run(answer)
    verdict = words(run(asked))
    assert "right" in verdict.lower()
    assert mistake.hint not in verdict

    move_a_slider(page)

    page.keyboard.press("Control+s")
    page.keyboard.press("Escape")
    page.keyboard.press("b")
    page.keyboard.press("Enter")
    page.keyboard.insert_text('submit("ch03")')
    said = words(run(cell_with(page, 'submit("ch03")')))
    assert re.search(r"correlate2d OK 3/3", said)
    receipt = json.loads((lab[1] / "ann" / chapter3.slug / "submission.json").read_text())
    assert receipt["receipt"] in said
    assert {result["name"]: result["verdict"] for result in receipt["results"]}["correlate2d"] == "OK"


def move_a_slider(page: Any) -> None:
    """Move the kernel over the photograph with a live slider: the picture is drawn anew."""
    run(cell_with(page, "KERNELS = {"))
    shown = run(cell_with(page, "interact(moving_sum"))
    picture = shown.locator("img").first
    picture.wait_for()
    before = picture.get_attribute("src")
    handle = shown.locator(".noUi-handle").last
    handle.focus()
    handle.press("ArrowRight")
    page.wait_for_function(
        "([area, before]) => { const p = area.querySelector('img'); return p && p.src && p.src !== before; }",
        arg=[shown.element_handle(), before],
    )
