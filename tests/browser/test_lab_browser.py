"""Chapter 3's release notebook in JupyterLab, as `dlcv lab` opens it: wrong, the hint, right, a slider, a receipt."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_tools import PATIENCE, START, Chapter, Server, jupyter
from playwright.sync_api import TimeoutError as TookTooLong

from autograder.chapter import rows
from autograder.demo.sample_class import mistaken, right

pytestmark = [pytest.mark.slow, pytest.mark.browser]

LESSON = "lesson_1"
SOON = 30_000  # milliseconds after which keys that did nothing are pressed again, as a person would


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
    """Open a student's notebook and wait until the page is connected with its kernel."""

    def opened(student: str) -> Any:
        place = f"lab/workspaces/{student}/tree/{student}/{chapter3.slug}/{LESSON}.ipynb"  # no tabs of another test
        page = open_page(lab[0].page(place))
        page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for(state="attached")
        page.locator(".jp-CodeCell").nth(20).wait_for(state="attached")
        wait_for_kernel(page, lab[0], student)
        return page

    return opened


def wait_for_kernel(page: Any, server: Server, student: str) -> None:
    """Wait for the kernel of a student's notebook: the page shows "idle" before there is one."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        sessions = page.request.get(server.page("api/sessions")).json()
        own = [session["kernel"] for session in sessions if session["path"].startswith(f"{student}/")]
        if any(kernel["connections"] and kernel["execution_state"] == "idle" for kernel in own):
            return
        time.sleep(1)
    raise AssertionError(f"no kernel within {PATIENCE} s:\n{server.said()[-3000:]}")


def cell_with(page: Any, text: str) -> Any:
    return page.locator(".jp-CodeCell", has_text=text).first


def run(cell: Any) -> Any:
    """Run a cell by Shift+Enter and return its output, once its number stands beside it."""

    def press() -> None:
        cell.scroll_into_view_if_needed()
        cell.locator(".cm-content").click()
        cell.page.keyboard.press("Shift+Enter")

    wait_for_number(cell.page, cell.locator(".jp-InputPrompt").element_handle(), press)
    return cell.locator(".jp-OutputArea").first


def wait_for_number(page: Any, prompt: Any, press: Callable[[], None]) -> None:
    """Press until a cell's prompt changes, then wait for its new number: keys are lost while a page is still busy."""
    before = prompt.inner_text()
    for _ in range(6):
        press()
        try:
            page.wait_for_function("([node, was]) => node.innerText !== was", arg=[prompt, before], timeout=SOON)
        except TookTooLong:
            continue
        page.wait_for_function(
            "([node, was]) => /\\[\\d+\\]/.test(node.innerText) && node.innerText !== was", arg=[prompt, before]
        )
        return
    raise AssertionError("Shift+Enter runs no cell")


def write(cell: Any, source: str) -> None:
    cell.locator(".cm-content").click()
    cell.page.keyboard.press("Control+a")
    cell.page.keyboard.insert_text(source)


def words(locator: Any) -> str:
    return " ".join(locator.inner_text().split())


def test_wrong_the_hint_right_and_the_receipt(
    notebook: Any, lab: tuple[Server, Path], chapter3: Chapter, accessible: Any
) -> None:
    row = rows.load_row(chapter3.slug)
    mistake = row.exercise_by_name["correlate2d"].misconceptions[0]
    page = notebook("ann")
    run(cell_with(page, 'start("ch03")'))
    answer = cell_with(page, "def correlate2d(")
    asked = cell_with(page, 'check("correlate2d")')

    write(answer, mistaken("correlate2d", mistake.name)(row)["correlate2d"])
    run(answer)
    assert " ".join(mistake.hint.split()) in words(run(asked))
    accessible(page, ".dlcv-check")

    write(answer, right(row)["correlate2d"])
    run(answer)
    verdict = words(run(asked))
    assert "right" in verdict.lower()
    assert mistake.hint not in verdict
    accessible(page, ".dlcv-check")

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


FOCUSED = "document.activeElement.closest('.jp-Cell')"


def test_an_exercise_by_keyboard_alone(notebook: Any, chapter3: Chapter) -> None:
    row = rows.load_row(chapter3.slug)
    mistake = row.exercise_by_name["output_size"].misconceptions[0]
    page = notebook("ben")
    page.wait_for_function(f"{FOCUSED} !== null")
    walk(page, 'start("ch03")', "ArrowDown")
    run_focused(page)
    walk(page, "def conv_out(", "ArrowDown")
    answer_focused(page, mistaken("output_size", mistake.name)(row)["output_size"])
    assert " ".join(mistake.hint.split()) in run_focused(page)
    walk(page, "def conv_out(", "ArrowUp")
    answer_focused(page, right(row)["output_size"])
    assert "right" in run_focused(page).lower()


def walk(page: Any, text: str, key: str, most: int = 150) -> None:
    """Press an arrow key, cell by cell, until the code cell that has the focus holds this text."""
    for _ in range(most):
        page.evaluate(f"window.was = {FOCUSED}")
        page.keyboard.press(key)
        page.wait_for_function(f"{FOCUSED} !== null && {FOCUSED} !== window.was")
        if page.evaluate(f"text => {FOCUSED}.matches('.jp-CodeCell') && {FOCUSED}.innerText.includes(text)", text):
            return
    raise AssertionError(f"no cell with {text!r} can be reached by the arrow keys")


def answer_focused(page: Any, source: str) -> None:
    """Replace what the focused cell holds, run it, and stand on the cell after it."""
    page.keyboard.press("Enter")
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(source)
    run_focused(page)


def run_focused(page: Any) -> str:
    """Run the cell that has the focus and go on; return what its output says, once its number stands beside it."""
    ran = page.evaluate_handle(FOCUSED).as_element()

    def press() -> None:
        if not page.evaluate(f"cell => {FOCUSED} === cell", ran):
            page.keyboard.press("ArrowUp")  # back from where keys that came too early led
        page.keyboard.press("Shift+Enter")

    wait_for_number(page, ran.query_selector(".jp-InputPrompt"), press)
    page.wait_for_function(f"cell => {FOCUSED} !== null && {FOCUSED} !== cell", arg=ran)
    return words(ran.query_selector(".jp-OutputArea"))
