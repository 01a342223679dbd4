"""`interact` offers sliders to a kernel and a strip of frames to a page."""

import json
import re
from html.parser import HTMLParser

import pytest
import torch

from dlcv_lab import filmstrip_html, interact, show
from dlcv_lab.card import Picture
from dlcv_lab.interaction import label, values_of


def ramp(k, flip=False):
    image = torch.linspace(0, 1, 2 + k).flip(0) if flip else torch.linspace(0, 1, 2 + k)
    show(image.expand(4, -1), alt=f"A ramp of {k} steps, {'down' if flip else 'up'}.")


class Parts(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.inputs, self.images = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag == "input":
            self.inputs.append(dict(attributes))
        if tag == "img":
            self.images.append(dict(attributes))


def frames_of(strip):
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', strip, re.S)[1])


@pytest.mark.parametrize(
    ("param", "values"),
    [
        ([3, 1, 2], [3, 1, 2]),
        (range(2, 8, 2), [2, 4, 6]),
        ((0, 4, 5), [0, 1, 2, 3, 4]),
        ((0, 1, 3), [0.0, 0.5, 1.0]),
        ((0.0, 0.3, 4), [0.0, 0.1, 0.2, 0.3]),
        (True, [False, True]),
        (["same", "valid"], ["same", "valid"]),
    ],
)
def test_values(param, values):
    got = values_of("k", param)
    assert got == values
    assert [type(value) for value in got] == [type(value) for value in values]


@pytest.mark.parametrize("param", [(0, 1), (0, 1, 1), (0, 1, 2.5), [], "abc", 3, {"a": 1}])
def test_values_that_are_none(param):
    with pytest.raises(ValueError, match="k"):
        values_of("k", param)


def test_labels():
    assert [label(v) for v in (True, 3, 0.25, 1 / 3, "same")] == ["on", "3", "0.25", "0.3333", "same"]


def test_a_strip_has_a_frame_for_every_choice_with_its_words():
    strip = filmstrip_html(ramp, k=[1, 2, 5], flip=False)
    frames = frames_of(strip)
    assert [alt for _, alt in frames] == [f"A ramp of {k} steps, {way}." for k in (1, 2, 5) for way in ("up", "down")]
    assert all(source.startswith("data:image/webp;base64,") for source, _ in frames)
    parts = Parts(strip)
    assert [(i["aria-label"], i["value"], i["aria-valuetext"], i["data-stride"]) for i in parts.inputs] == [
        ("k", "1", "2", "2"),
        ("flip", "0", "off", "1"),
    ]
    assert parts.images[0]["alt"] == "A ramp of 2 steps, up."
    assert parts.images[0]["src"] == frames[2][0]


def test_a_strip_needs_nothing_from_elsewhere():
    strip = filmstrip_html(ramp, k=[1, 2])
    outside = re.sub(r"data:image/webp;base64,[A-Za-z0-9+/=]+", "", strip)
    assert not re.search(r"https?:|//|import |fetch\(|url\(|@import|\bid=", outside)


def test_words_cannot_break_out_of_the_strip():
    def hostile(k):
        show(torch.rand(2, 2), alt=f'</script><b onclick="x">{k}')

    strip = filmstrip_html(hostile, k=["<i>", "b"])
    assert "</script><b" not in strip
    assert "<i>" not in strip
    assert frames_of(strip)[0][1] == '</script><b onclick="x"><i>'


def test_frames_have_one_size():
    strip = filmstrip_html(lambda n: show.grid(torch.zeros(n, n), alt=f"{n} zeros a side."), n=[2, 5])
    import base64

    sizes = {
        Picture(base64.b64decode(source.split(",")[1]), "image/webp", 1, 1, alt).pixels().size
        for source, alt in frames_of(strip)
    }
    assert len(sizes) == 1


def test_too_many_frames_name_the_remedy():
    with pytest.raises(ValueError, match=r"9 \(k\) x 5 \(j\) = 45 frames.*at most 40"):
        filmstrip_html(lambda k, j: None, k=range(9), j=range(5))


def test_strips_are_the_same_bytes_each_time():
    assert filmstrip_html(ramp, k=[1, 2]) == filmstrip_html(ramp, k=[1, 2])


def test_a_function_that_shows_nothing_is_an_error():
    with pytest.raises(TypeError, match="must show or return a picture; for k = 1"):
        filmstrip_html(lambda k: None, k=[1, 2])


def test_the_book_gets_html_and_no_widget(monkeypatch):
    import IPython.display

    monkeypatch.setenv("DLCV_BOOK", "1")
    seen = []
    monkeypatch.setattr(IPython.display, "display", lambda bundle, raw: seen.append(bundle))
    interact(ramp, k=[1, 2])
    assert [set(bundle) for bundle in seen] == [{"text/html", "text/plain"}]
    assert "dlcv-filmstrip" in seen[0]["text/html"]
    assert seen[0]["text/plain"] == "A picture with a slider for k."


def test_a_kernel_gets_one_labelled_control_a_parameter(monkeypatch):
    import IPython.display

    monkeypatch.delenv("DLCV_BOOK", raising=False)
    seen = []
    monkeypatch.setattr(IPython.display, "display", seen.append)
    interact(ramp, k=[1, 2, 5], flip=True)
    box = next(item for item in seen if type(item).__name__ == "VBox")
    slider, switch = box.children[:2]
    assert (slider.description, slider.value, switch.description, switch.value) == ("k", 2, "flip", True)
    assert [text for text, _ in slider.options] == ["1", "2", "5"]


def test_interact_needs_a_parameter():
    with pytest.raises(ValueError, match="at least one parameter"):
        interact(ramp)


@pytest.mark.browser
@pytest.mark.slow
def test_strips_on_one_page_move_by_keys_and_do_not_disturb_each_other(tmp_path, browser):
    page_file = tmp_path / "page.html"
    strips = filmstrip_html(ramp, k=[1, 2, 3]) + filmstrip_html(ramp, k=[1, 2, 3], flip=False)
    page_file.write_text(f"<!doctype html><meta charset=utf-8>{strips}", encoding="utf-8")
    page = browser.new_page(viewport={"width": 390, "height": 800})
    errors, asked = [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: asked.append(request.url.split(":")[0]))
    page.goto(page_file.as_uri())
    first, second = page.locator(".dlcv-filmstrip").all()
    first.locator("input").focus()
    page.keyboard.press("ArrowRight")
    assert first.locator("img").get_attribute("alt") == "A ramp of 3 steps, up."
    assert first.locator("input").get_attribute("aria-valuetext") == "3"
    assert first.locator("output").inner_text() == "3"
    assert second.locator("img").get_attribute("alt") == "A ramp of 2 steps, up."
    second.locator("input").nth(1).focus()
    page.keyboard.press("End")
    assert second.locator("img").get_attribute("alt") == "A ramp of 2 steps, down."
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert first.locator("img").get_attribute("alt") == "A ramp of 2 steps, up."
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert first.locator("img").get_attribute("alt") == "A ramp of 3 steps, up."
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()
    assert errors == []
    assert set(asked) <= {"file", "data"}
