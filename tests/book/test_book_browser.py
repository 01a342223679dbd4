"""The book in a real browser: quiet, closed in itself, readable on a phone, and alive without a kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lesson_pages import lesson_pages

from autograder.chapter import rows

pytestmark = [pytest.mark.slow, pytest.mark.browser]

DESK, PHONE = 1280, 360

# what a reader sees of the filmstrip that has the focus: its words and its visible pictures
SEEN = """() => {
  const strip = document.activeElement.closest(".cell_output");
  const shown = [...strip.querySelectorAll("img")].filter((picture) => picture.offsetParent);
  return strip.innerText + shown.map((picture) => picture.src).join();
}"""


def test_pages_are_quiet_and_fit_their_width(visit, served, built_book):
    pages = [path for path in sorted(built_book.rglob("*.html")) if "_static" not in path.parts]
    assert len(pages) > 12
    page = visit("index")
    for path in pages:
        name = path.relative_to(built_book).with_suffix("").as_posix()
        page.set_viewport_size({"width": DESK, "height": 900})
        page.goto(f"{served}{name}.html")
        for width in (DESK, PHONE):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} scrolls at {width} px"
            assert page.locator("h1:visible").count() > 0, name


def test_formulas_are_set(visit):
    seen = 0
    for name in ["notation", *lesson_pages()]:
        page = visit(name)
        seen += page.locator(".math").count()
        page.wait_for_function(
            "document.querySelectorAll('.math .katex').length >= document.querySelectorAll('.math').length"
        )
        assert page.locator(".katex-error").count() == 0, name
    assert seen > 0


def test_dark_and_light_differ_and_can_be_chosen(visit):
    page = visit("notation", scheme="light")
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    assert page.evaluate(colour) != light


def visible_methods(page: Any) -> list[str]:
    return page.eval_on_selector_all("tr[data-key]", "rows => rows.filter(r => r.offsetParent).map(r => r.dataset.key)")


def test_the_map_narrows_by_text_and_by_choice(visit):
    page = visit("methods")
    everything = len(visible_methods(page))
    page.fill("#methods-map input[name=text]", "max pool")
    assert "ch03/max_pool" in visible_methods(page)
    assert len(visible_methods(page)) < everything // 10
    assert page.locator("#methods-map output").inner_text().startswith(f"{len(visible_methods(page))} of {everything}")
    page.fill("#methods-map input[name=text]", "")
    page.select_option("#methods-map select[name=part]", "3")
    assert {key[:4] for key in visible_methods(page)} == {"ch21", "ch22", "ch23", "ch24", "ch25"}
    page.select_option("#methods-map select[name=kind]", "read")
    assert 0 < len(visible_methods(page)) < 20
    page.click("#methods-map button[type=reset]")
    page.wait_for_function(f"document.querySelector('#methods-map output').textContent.includes('All {everything}')")


def test_a_narrowed_map_has_an_address(visit):
    page = visit("methods")
    page.select_option("#methods-map select[name=lecture]", "001")
    narrowed = visible_methods(page)
    again = visit(page.url.rsplit("/", 1)[1])
    assert again.locator("#methods-map select[name=lecture]").input_value() == "001"
    assert visible_methods(again) == narrowed


def test_the_map_stands_whole_without_scripts(visit):
    page = visit("methods", java_script_enabled=False)
    assert page.locator("tr[data-key]").count() > 300
    assert page.locator("tr[data-key]").last.is_visible()
    assert not page.locator("#methods-map form").is_visible()


def test_a_method_leads_to_its_place(visit):
    page = visit("methods")
    link = page.locator("tr[data-key='ch03/conv2d'] a")
    if not rows.slugs():
        assert link.count() == 0
        return
    link.click()
    page.wait_for_load_state("load")
    fragment = page.url.split("#")[1]
    assert page.locator(f"[id='{fragment}']").is_visible()


def test_search_finds_convolution(visit):
    page = visit("search.html?q=convolution")
    page.wait_for_selector("#search-results li a")
    addresses = page.eval_on_selector_all("#search-results li a", "links => links.map(link => link.href)")
    assert any("ch03_convolutional_networks" in address or "methods.html" in address for address in addresses)
    assert not any("/build/" in address or "/book/" in address for address in addresses)
    page.click("#search-results li a")
    page.wait_for_load_state("load")
    assert page.locator(".bd-article h1").first.is_visible()


def filmstrips(visit: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    for name in lesson_pages():
        page = visit(name)
        if page.locator(".cell_output input[type=range]:visible").count():
            yield name, page


def test_a_filmstrip_moves_by_key_without_a_kernel(visit):
    seen = 0
    for name, page in filmstrips(visit):
        slider = page.locator(".cell_output input[type=range]:visible").first
        slider.scroll_into_view_if_needed()
        slider.focus()
        before = page.evaluate(SEEN)
        value = slider.input_value()
        slider.press("ArrowRight" if value != slider.get_attribute("max") else "ArrowLeft")
        assert slider.input_value() != value, name
        assert page.evaluate(SEEN) != before, name
        seen += 1
    assert seen or not lesson_pages(), "no lesson page has a filmstrip"


def test_print_leaves_the_navigation_out(visit):
    page = visit("notation")
    page.emulate_media(media="print")
    assert not page.locator(".bd-sidebar-primary").is_visible()
    assert page.locator(".bd-article p").first.is_visible()


def test_the_book_works_as_files_on_a_stick(browser, built_book: Path):
    context = browser.new_context()
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto((built_book / "methods.html").as_uri())
    page.fill("#methods-map input[name=text]", "diffusion")
    assert 0 < len(visible_methods(page)) < 60
    page.goto((built_book / "notation.html").as_uri())
    page.wait_for_selector(".katex")
    context.close()
    assert faults == []
