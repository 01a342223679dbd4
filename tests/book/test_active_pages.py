"""Pages that stay active without a kernel: light, answered by key or pointer, remembered, and good on paper."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from lesson_pages import lesson_pages

from benches import bench_pages

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


def everything_arrives(page: Any) -> None:
    """Fetch the pictures that wait for the reader, as scrolling to the end does, until all have arrived."""
    page.evaluate("for (const picture of document.images) picture.loading = 'eager'")
    page.wait_for_function("[...document.images].every((picture) => picture.complete && picture.naturalWidth)")


def test_pictures_are_loaded_when_they_come_near(lesson):
    waiting = "[...document.images].filter((picture) => picture.loading === 'lazy' && !picture.complete).length"
    assert lesson.evaluate(waiting) > 0
    everything_arrives(lesson)


def prediction(page: Any) -> tuple[Any, Any, Any]:
    """Return the first prediction of a page, its answer, and the output in which that stands."""
    box = page.locator(".dlcv-predict").first
    answer = page.locator(f".dlcv-reveal[data-name='{box.get_attribute('data-name')}']")
    return box, answer, page.locator(".cell_output", has=answer)


def test_what_came_is_covered_until_a_choice_and_then_answers_it(lesson):
    box, answer, output = prediction(lesson)
    assert output.is_hidden()
    right = int(answer.get_attribute("data-right"))
    wrong = next(index for index in range(3) if index != right)
    chosen = box.locator("li button").nth(wrong)
    words = chosen.inner_text()
    chosen.focus()
    lesson.keyboard.press("Enter")
    assert output.is_visible()
    assert f"You said “{words}”; it was " in answer.inner_text()
    assert box.locator("[role=status]").inner_text().startswith(f"Noted: {words}")
    assert chosen.get_attribute("aria-pressed") == "true"
    assert lesson.locator(".lesson-end .foreseen").inner_text() == "You foresaw 0 of 1 in this chapter."
    lesson.reload()
    box, answer, output = prediction(lesson)
    assert output.is_visible()
    assert f"You said “{words}”" in answer.inner_text()
    box.get_by_role("button", name="Ask me again").click()
    assert output.is_hidden()
    box.locator("li button").nth(right).click()
    assert "You foresaw it." in answer.inner_text()
    assert lesson.locator(".lesson-end .foreseen").inner_text() == "You foresaw 1 of 1 in this chapter."


def test_show_me_uncovers_without_a_choice_and_foresees_nothing(lesson):
    _, answer, output = prediction(lesson)
    cover = lesson.locator(".dlcv-cover").first
    cover.get_by_role("button", name="Show me").click()
    assert output.is_visible()
    assert answer.inner_text().startswith("What came: It was ")
    assert lesson.locator(".lesson-end .foreseen").inner_text() == "You foresaw 0 of 1 in this chapter."


def test_without_scripts_nothing_is_covered_and_the_options_can_be_read(visit):
    page = visit(lesson_pages()[0], java_script_enabled=False)
    box, answer, output = prediction(page)
    assert output.is_visible()
    assert "It was" in answer.inner_text()
    assert box.locator("li").count() == 3
    assert page.locator(".dlcv-cover").count() == 0


def test_every_prediction_of_the_book_has_its_answer_on_the_page(built_book):
    for name in lesson_pages():
        text = (built_book / f"{name}.html").read_text("utf-8")
        asked = re.findall(r'class="dlcv-predict" data-name="([^"]+)"', text)
        assert asked, name
        assert asked == re.findall(r'class="dlcv-reveal" data-name="([^"]+)"', text), name


def test_a_section_asks_at_most_three_and_shows_one_of_them(visit):
    for name in lesson_pages():
        page = visit(name)
        asked = page.eval_on_selector_all(
            ".quick",
            "blocks => blocks.map((block) => [block.querySelectorAll('.quick-question').length, "
            "[...block.querySelectorAll('.quick-question')].filter((each) => each.checkVisibility()).length])",
        )
        assert all(1 <= many <= 3 and seen == 1 for many, seen in asked), name


@pytest.mark.parametrize("width", [1280, 390])
def test_code_is_read_without_scrolling_and_is_the_smaller_part_of_a_page(visit, width):
    shares = []
    for name in lesson_pages():
        page = visit(name, width=width)
        assert page.evaluate(bench_pages.SCROLLED, False) == 0, name
        code, words, _ = page.evaluate(bench_pages.WORDS)
        shares.append(code / words)
    assert sum(shares) / len(shares) <= 0.18


def test_the_kernel_of_the_front_page_is_live_and_its_buttons_lead_on(visit):
    page = visit("index")
    page.get_by_label("row 2, column 2").fill("5")
    assert page.locator(".touch-sum").first.inner_text()
    for name in ("Try a lesson", "Install", "Teach"):
        assert page.get_by_role("link", name=name, exact=True).is_visible()
    page.get_by_role("link", name="Try a lesson").click()
    page.get_by_role("link", name="Notebook").wait_for()
    assert page.locator("meta[name=description]").get_attribute("content")


def test_a_quick_question_is_answered_by_key_alone(lesson):
    requests: list[str] = []
    lesson.on("request", lambda request: requests.append(request.url))
    box = lesson.locator(".quick-question").first
    answer = int(box.get_attribute("data-answer"))
    wrong = answer - 1 if answer else 1
    box.locator("input").nth(wrong).focus()
    lesson.keyboard.press("Space")
    said = box.locator("[role=status]")
    assert said.inner_text().startswith("✗ Not this one.")
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
    assert fold.locator("li").count() >= 2
    assert fold.locator("li").first.is_visible()


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
    assert moved(page, page.locator(".dlcv-filmstrip:visible").first, drag)
    phone = visit(name, width=390, has_touch=True, reduced_motion="reduce")
    strip = phone.locator(".dlcv-filmstrip:visible").first
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
    everything_arrives(lesson)
    reader = PdfReader(io.BytesIO(lesson.pdf(format="A4")))
    text = " ".join(
        " ".join(page.extract_text() for page in reader.pages).replace("ﬁ", "fi").replace("ﬂ", "fl").split()
    )
    assert len(reader.pages) > 5
    assert title in text
    assert inside in text
    answers = lesson.locator(".quick-question > details").first.text_content()
    assert " ".join(answers.split())[:60] not in text, "answers are not printed"
    assert sum(len(page.images) for page in reader.pages) >= lesson.locator(".bd-article .dlcv-picture img").count()
    for around in ("Skip to main content", "Drag, or use the arrow keys", "How to use it", "Previous"):
        assert around not in text
    assert any(not fold.get_attribute("open") for fold in folds), "what was folded is folded again afterwards"
