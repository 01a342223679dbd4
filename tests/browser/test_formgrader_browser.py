"""formgrader on chapter 3's real release: its button reaches our judge, and a written answer is marked by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from browser_tools import Chapter, dlcv, jupyter

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.sandbox]

ANSWER = "The arrow of the picture turns with the kernel, because the same nine weights meet every window."
WRITTEN = "ch03-arrows"
# formgrader loads its formulas from there; without a network it shows them as they are typed, and works
MATHJAX = "https://cdnjs.cloudflare.com/**"


def write_answer(folder: Path) -> None:
    """Answer the written question of the chapter."""
    for path in folder.glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.metadata.get("nbgrader", {}).get("grade_id") == WRITTEN:
                cell.source = ANSWER
        nbformat.write(notebook, path)


def press_autograde(page: Any) -> None:
    page.locator(".autograde a").click()
    modal = page.locator("#success-modal, #error-modal")
    modal.wait_for(timeout=400_000)
    assert "Successfully autograded" in modal.inner_text()
    modal.get_by_role("button", name="OK").click()
    modal.wait_for(state="detached")


def wait_for_row(page: Any, status: str, score: str) -> None:
    """Wait until the list of submissions shows this status and score."""
    page.locator("#main-table", has_text=re.compile(rf"{status}\s*{re.escape(score)}")).wait_for()


def read_verdict(page: Any) -> str:
    """Open the submitted notebook from the list and return what stands below check("conv2d")."""
    page.locator(".student-name a").click()
    page.get_by_role("link", name="lesson_1").click()
    verdict = page.locator(".output_stdout", has_text="conv2d").first
    verdict.wait_for()
    return " ".join(verdict.inner_text().split())


def mark_by_hand(page: Any, points: str) -> None:
    """Give points for the written answer and wait until formgrader has saved them."""
    page.get_by_text(ANSWER).wait_for()
    box = page.locator(f"input.score[id='{WRITTEN}']")
    with page.expect_response(lambda answer: "/api/grade/" in answer.url and answer.request.method == "PUT"):
        box.fill(points)
        box.press("Tab")


def test_from_the_button_to_the_written_answer(chapter3: Chapter, browser: Any, tmp_path: Path) -> None:
    folder = chapter3.hand_in("tim")  # tim's conv2d ignores the stride
    write_answer(folder)
    said = json.loads(dlcv("check", "ch03.conv2d", "--in", str(folder), "--json", cwd=chapter3.repository, expect=(1,)))
    assert "stride" in said[0]["hint"]
    with jupyter(chapter3.course, tmp_path) as server:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        context.set_default_timeout(120_000)
        context.route(MATHJAX, lambda route: route.abort())
        page = context.new_page()
        page.goto(server.page("lab"))
        page.get_by_role("menuitem", name="Nbgrader").click()
        page.get_by_role("menuitem", name="Formgrader", exact=True).click()
        page.frame_locator("iframe").get_by_role("link", name="Manage Students").wait_for()
        submissions = server.page(f"formgrader/manage_submissions/{chapter3.slug}")

        page.goto(submissions)
        press_autograde(page)
        wait_for_row(page, "needs manual grading", "28.5 / 34")
        verdict = read_verdict(page)
        assert verdict.startswith("PA conv2d: partly right, 1.5 of 3 points")
        assert said[0]["hint"] in verdict

        page.go_back()
        page.get_by_role("link", name="lesson_2").click()
        mark_by_hand(page, "3")
        page.goto(submissions)
        wait_for_row(page, "graded", "31.5 / 34")

        chapter3.hand_in("ada", student="tim", only="lesson_1")  # the right conv2d
        press_autograde(page)
        wait_for_row(page, "needs manual grading", "33 / 34")
        assert read_verdict(page).startswith("OK conv2d: right")
        context.close()
