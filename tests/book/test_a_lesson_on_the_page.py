"""A lesson done as a reader does it, in the built book opened as files, without network: predict, see, touch, paint."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import torch

from dlcv_lab import world

pytestmark = [pytest.mark.slow, pytest.mark.browser]

PATIENCE = 240_000  # milliseconds, for machines that have other things to do
PAINTED = "/Painted in/.test(document.querySelector('.touch-paint .touch-sum')?.textContent)"


def colours(canvas: Any) -> torch.Tensor:
    """Return a canvas as a picture in [0, 1], [1, 3, H, W]."""
    width, height, values = canvas.evaluate(
        "c => [c.width, c.height, [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]]"
    )
    return torch.tensor(values).reshape(1, height, width, 4)[..., :3].movedim(-1, 1) / 255


def with_prediction(book: Path) -> Path:
    """Return the first lesson page that asks for a prediction and answers it."""
    pages = sorted(book.glob("chapters/*/lesson_*.html"))
    found = [page for page in pages if 'class="dlcv-reveal"' in page.read_text(encoding="utf-8")]
    assert found, "no lesson of this book was run"
    return found[0]


@pytest.mark.parametrize(
    "device",
    [
        {"viewport": {"width": 1280, "height": 900}},
        {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
    ],
    ids=["desk", "phone"],
)
def test_predict_see_touch_and_paint_without_network(browser, built_book, device, accessible, capsys):
    context = browser.new_context(offline=True, **device)
    context.set_default_timeout(PATIENCE)
    faults: list[str] = []
    asked: list[str] = []
    page = context.new_page()
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    phone = "has_touch" in device

    # predict, and see
    lesson = with_prediction(built_book)
    page.goto(lesson.as_uri())
    box = page.locator(".dlcv-predict").first
    answer = page.locator(f".dlcv-reveal[data-name='{box.get_attribute('data-name')}']")
    assert answer.is_hidden()
    choice = box.get_by_role("button").first
    words = choice.inner_text()
    if phone:
        choice.tap()
    else:
        choice.press("Enter")
    assert f"You said “{words}”; it was " in answer.inner_text()

    # the kernel: its numbers by key, its window by touch
    page.goto((built_book / "index.html").as_uri())
    kernel = page.locator(".touch-kernel")
    kernel.get_by_label("row 1, column 1").focus()
    for number in range(9):
        page.keyboard.type("2" if number == 4 else "0")
        page.keyboard.press("Tab")
    picture, told = kernel.locator("canvas").first, kernel.locator(".touch-sum")
    place = picture.bounding_box()
    if phone:
        page.touchscreen.tap(place["x"] + place["width"] / 4, place["y"] + place["height"] / 2)
    else:
        picture.press("ArrowLeft")
    factor, level = told.inner_text().split(": ")[1].split(" = ")[0].split("·")
    total = float(told.inner_text().rsplit("=", 1)[1])
    assert (float(factor), total) == (2.0, 2 * float(level))

    # paint "a red ring.", and read it
    painter = page.locator(".touch-paint")
    painter.get_by_label("Prompt").fill("a red ring.")
    began = time.perf_counter()
    if phone:
        painter.get_by_role("button", name="Paint").tap()
    else:
        painter.get_by_label("Prompt").press("Enter")
    page.wait_for_function(PAINTED)
    seconds = time.perf_counter() - began
    said = painter.locator(".touch-sum").inner_text()
    made = colours(painter.locator("canvas"))
    assert made.shape == (1, 3, 32, 32)
    assert world.obeys(made, ["a red ring."]).all()
    assert "a red ring" in painter.locator(".touch-read").inner_text()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function("scheme => document.documentElement.dataset.theme === scheme", arg=scheme)
        accessible(page, ".touch-paint", levels=("minor", "moderate", "serious", "critical"))
    context.close()
    assert faults == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    size = (
        sum(path.stat().st_size for name in ("vendor/onnxruntime", "zoo") for path in scripts(built_book, name)) / 1e6
    )
    with capsys.disabled():
        print(f"\n{lesson.parent.name}: first click to picture {seconds:.1f} s; {said} {size:.2f} MB of scripts")


@pytest.mark.parametrize("name", ["index", "the_zoo"])
def test_before_one_scrolls_or_clicks_a_page_is_light(browser, built_book, name):
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    asked: set[Path] = set()
    page.on("request", lambda request: asked.add(Path(unquote(urlsplit(request.url).path))))
    page.goto((built_book / f"{name}.html").as_uri(), wait_until="load")
    page.locator(".touch-paint").first.wait_for(state="attached")
    context.close()
    loaded = {path.name: path.stat().st_size for path in asked if path.is_file()}
    assert "zoo.js" in loaded
    assert not {"sd.js", "reader.js", "clip.js", "runtime.js", "ort.wasm.min.js"} & set(loaded)
    assert sum(loaded.values()) <= 1.5e6, loaded


def scripts(book: Path, name: str) -> list[Path]:
    return [path for path in (book / "_static" / name).glob("*.js") if path.stem != "clip"]


def test_a_book_takes_only_the_models_that_its_pages_use(tmp_path):
    from autograder.book import zoo_scripts

    (tmp_path / "page.md").write_text('<div class="dlcv-touch" data-kind="kernel">')
    assert zoo_scripts.wanted(tmp_path) == set()
    (tmp_path / "lesson.ipynb").write_text(r'"<div class=\"dlcv-touch\" data-kind=\"rank\">"')
    assert zoo_scripts.wanted(tmp_path) == {"clip"}
    (tmp_path / "piece.html").write_text('<div class="dlcv-touch" data-kind="paint">')
    assert zoo_scripts.wanted(tmp_path) == {"clip", "sd", "reader"}


def test_without_the_exporter_a_book_is_built_without_models(tmp_path, monkeypatch):
    from autograder.book import zoo_scripts
    from dlcv_lab.zoo import exporting

    monkeypatch.setattr(exporting, "NEEDS", ("no_such_library",))
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "sd.js").write_text("old")
    lines: list[str] = []
    assert zoo_scripts.write(tmp_path, {"sd"}, lines.append) == set()
    assert list((tmp_path / "zoo").iterdir()) == []
    assert "dlcv-lab[onnx]" in lines[0]
