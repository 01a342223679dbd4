"""Pages that stay active without a kernel: light, answered by key or pointer, remembered, and good on paper."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from lesson_pages import lesson_pages

pytestmark = [pytest.mark.slow, pytest.mark.browser]

BEFORE_SCROLLING, WHOLE = 1_500_000, 6_000_000  # bytes


@pytest.fixture
def lesson(visit: Any) -> Any:
    """The first lesson of the book."""
    return visit(lesson_pages()[0])


@pytest.mark.parametrize("name", [*lesson_pages(), "tour_of_the_world"])
def test_a_page_is_light_before_it_is_scrolled_and_as_a_whole(browser, served, built_book, name):
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(180_000)
    page = context.new_page()
    sizes: dict[str, int] = {}
    page.on("response", lambda response: sizes.update({response.url: len(response.body())}))
    page.goto(f"{served}{name}.html")
    page.wait_for_load_state("networkidle")
    before = sum(sizes.values())
    text = (built_book / f"{name}.html").read_text(encoding="utf-8")
    later = {
        picture
        for picture in re.findall(r"pictures/[0-9a-f]{20}\.\w+", text)
        if not any(url.endswith(picture) for url in sizes)
    }
    whole = before + sum((built_book / name).parent.joinpath(picture).stat().st_size for picture in later)
    context.close()
    assert before <= BEFORE_SCROLLING, sorted(sizes.items(), key=lambda pair: -pair[1])[:5]
    assert whole <= WHOLE


def test_pictures_are_loaded_when_they_come_near(lesson):
    waiting = "[...document.images].filter((picture) => picture.loading === 'lazy' && !picture.complete).length"
    assert lesson.evaluate(waiting) > 0
    lesson.evaluate("for (const picture of document.images) picture.loading = 'eager'")
    lesson.wait_for_function("[...document.images].every((picture) => picture.complete && picture.naturalWidth)")


def test_a_prediction_is_noted_and_remembered(lesson):
    box = lesson.locator(".dlcv-predict").first
    box.locator("label").nth(1).click()
    noted = box.locator("[role=status]").inner_text()
    assert noted.startswith("Noted: ")
    lesson.reload()
    assert lesson.locator(".dlcv-predict").first.locator("input").nth(1).is_checked()
    assert lesson.locator(".dlcv-predict").first.locator("[role=status]").inner_text() == noted


def test_sections_with_an_exercise_ask_up_to_three_quick_questions(visit):
    for name in lesson_pages():
        page = visit(name)
        asked = page.eval_on_selector_all(
            "section[id]", """sections => sections
              .filter((s) => [...s.querySelectorAll('.exercise-card:not(.question-card)')]
                .some((card) => card.closest('section[id]') === s))
              .map((s) => s.querySelectorAll('.quick-question').length)""",
        )  # fmt: skip
        # fewer only where the exercises' inputs and outputs cannot be shown, such as whole networks
        assert asked, name
        assert max(asked) == 3, name


def test_a_quick_question_is_answered_by_key_alone(lesson):
    requests: list[str] = []
    lesson.on("request", lambda request: requests.append(request.url))
    box = lesson.locator(".quick-question").first
    answer = int(box.get_attribute("data-answer"))
    wrong = next(index for index in range(2) if index != answer)
    box.locator("input").nth(wrong).focus()
    lesson.keyboard.press("Space")
    said = box.locator("[role=status]")
    assert said.inner_text().startswith("✗ Not this one. This comes from wrong code.")
    lesson.keyboard.press("ArrowDown" if answer > wrong else "ArrowUp")
    assert box.locator("input").nth(answer).is_checked()
    assert said.inner_text().startswith("✓ Yes.")
    assert [url for url in requests if "/pictures/" not in url and "favicon" not in url] == []
    lesson.reload()
    assert lesson.locator(".quick-question").first.locator("[role=status]").inner_text().startswith("✓ Yes.")


def test_questions_are_named_groups_and_their_choices_have_names(lesson):
    for selector in (".dlcv-predict", ".quick-question"):
        box = lesson.locator(selector).first
        assert box.evaluate("node => node.tagName") == "FIELDSET"
        assert box.locator("legend").inner_text().strip()
        assert all(text.strip() for text in box.locator("label").all_inner_texts())


def test_without_scripts_the_answers_can_still_be_opened(visit):
    page = visit(lesson_pages()[0], java_script_enabled=False)
    fold = page.locator(".quick-question details").first
    fold.locator("summary").click()
    assert "This is the right output." in fold.inner_text()


def moved(page: Any, strip: Any, act: Any) -> bool:
    """Tell whether a filmstrip shows another frame after `act`."""
    picture = strip.locator("img")
    before = picture.get_attribute("src")
    act(strip.locator("input").first)
    page.wait_for_function("([node, old]) => node.getAttribute('src') !== old", arg=[picture.element_handle(), before])
    return picture.get_attribute("src") != before


def drag(slider: Any) -> None:
    """Press on the thumb's place and pull to the far end."""
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    mouse, middle = slider.page.mouse, box["y"] + box["height"] / 2
    mouse.move(box["x"] + box["width"] / 2, middle)
    mouse.down()
    mouse.move(box["x"] + box["width"] - 2, middle, steps=4)
    mouse.up()


def tap(slider: Any) -> None:
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    slider.page.touchscreen.tap(box["x"] + box["width"] - 3, box["y"] + box["height"] / 2)


def test_a_filmstrip_is_dragged_by_mouse_and_touched_by_thumb(visit, built_book):
    name = next(name for name in lesson_pages() if "dlcv-filmstrip" in (built_book / f"{name}.html").read_text("utf-8"))
    page = visit(name)
    assert moved(page, page.locator(".dlcv-filmstrip").first, drag)
    phone = visit(name, width=390, has_touch=True, reduced_motion="reduce")
    strip = phone.locator(".dlcv-filmstrip").first
    assert moved(phone, strip, tap)
    assert strip.locator("img").evaluate("node => getComputedStyle(node).transitionDuration") == "0s"


def test_the_colour_mode_can_be_changed_by_key_and_has_a_name(lesson):
    button = lesson.locator(".theme-switch-button").first
    assert button.get_attribute("aria-label")
    assert button.locator("[data-mode]:visible").count() == 1
    button.focus()
    lesson.keyboard.press("Enter")
    assert lesson.evaluate("document.documentElement.dataset.mode") in ("light", "dark")
    assert button.locator("[data-mode]:visible").count() == 1


def test_summaries_of_search_results_begin_with_the_page_itself(visit):
    page = visit("search.html?q=convolution")
    page.wait_for_selector("#search-results li p.context")
    assert not any("Contents" in text for text in page.locator("#search-results li p.context").all_inner_texts())


def test_a_lesson_prints_with_everything_open_and_nothing_around(lesson, tmp_path: Path):
    from pypdf import PdfReader

    folds = lesson.locator("details").all()
    inside = " ".join(lesson.locator("details.sd-dropdown .sd-card-body").first.text_content().split())[:40]
    title = lesson.locator("h1").first.evaluate("node => node.firstChild.textContent")
    reader = PdfReader(io.BytesIO(lesson.pdf(format="A4")))
    text = " ".join(
        " ".join(page.extract_text() for page in reader.pages).replace("ﬁ", "fi").replace("ﬂ", "fl").split()
    )
    assert len(reader.pages) > 5
    assert title in text
    assert inside in text
    assert text.count("This is the right output.") >= lesson.locator(".quick-question").count() // 3
    assert sum(len(page.images) for page in reader.pages) >= lesson.locator(".bd-article .dlcv-picture img").count()
    for around in ("Skip to main content", "Drag, or use the arrow keys", "How to use it", "Previous"):
        assert around not in text
    assert any(not fold.get_attribute("open") for fold in folds), "what was folded is folded again afterwards"
