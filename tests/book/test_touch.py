"""Live models in a page opened as a file: typed into, walked over by key and thumb; without scripts a film is left."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from dlcv_lab import touch

STATIC = Path(__file__).parents[2] / "book" / "_static"
PRESETS = {"blur": torch.full((3, 3), 1 / 9), "edges": torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])}
SHADES = torch.arange(24 * 32).reshape(24, 32).remainder(251).float()


def page_with(model: touch.Touch) -> str:
    script, style = (STATIC / "touch.js").read_text("utf-8"), (STATIC / "book.css").read_text("utf-8")
    strip = model.around('<figure class="dlcv-filmstrip"><p>frames of a film</p></figure>')
    return (
        f'<!DOCTYPE html><html lang="en" data-theme="light"><meta charset="utf-8"><title>touch</title>'
        f'<meta name="viewport" content="width=device-width"><style>{style}</style>'
        f'<main class="bd-article"><h1>touch</h1>{strip}</main><script>{script}</script></html>'
    )


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Open a model as a file; no script may fail and nothing may be asked for."""
    faults: list[str] = []
    contexts: list[Any] = []

    def at(model: touch.Touch, *, width: int = 1280, **more: Any) -> Any:
        path = tmp_path / f"{model.kind}.html"
        path.write_text(page_with(model), encoding="utf-8")
        context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **more)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: faults.append(request.url) if request.url.startswith("http") else None)
        page.goto(path.as_uri())
        return page

    yield at
    for context in contexts:
        context.close()
    assert faults == []


@pytest.fixture
def kernel() -> touch.Touch:
    return touch.kernel({"shades": SHADES, "grey": torch.full((20, 20), 0.5)}, PRESETS)


def pixels(page: Any, place: int) -> torch.Tensor:
    """Return the grey levels of one of the two canvases."""
    width, height, values = (
        page.locator(".touch-pictures canvas")
        .nth(place)
        .evaluate(
            "c => [c.width, c.height, [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
            ".filter((_, i) => i % 4 === 0)]"
        )
    )
    return torch.tensor(values).reshape(height, width)


def told(page: Any) -> tuple[int, int, float]:
    """Return row, column and sum of the window that is marked."""
    text = page.locator(".touch-sum").inner_text().replace("−", "-")
    row, column = re.search(r"Row (\d+), column (\d+)", text).groups()
    return int(row), int(column), float(text.rsplit("=", 1)[1])


@pytest.mark.slow
@pytest.mark.browser
def test_the_result_and_the_sum_are_those_of_torch(opened, kernel):
    page = opened(kernel)
    page.locator("select").nth(1).select_option("edges")
    right = F.conv2d(SHADES[None, None], PRESETS["edges"][None, None])[0, 0]
    reach = right.abs().max()
    difference = (pixels(page, 1) - (127.5 + 127.5 * right / reach)).abs()
    assert (difference > 1).float().mean() < 0.03, "all but the mark itself"
    row, column, total = told(page)
    assert total == pytest.approx(float(right[row - 1, column - 1]), abs=0.06)


@pytest.mark.slow
@pytest.mark.browser
def test_a_kernel_is_typed_by_keyboard_alone(opened, kernel):
    page = opened(kernel)
    page.get_by_label("row 1, column 1").focus()
    for number in range(9):
        page.keyboard.type("1" if number == 4 else "0")
        page.keyboard.press("Tab")
    assert page.locator("select").nth(1).input_value() == "your own"
    difference = (pixels(page, 1) - SHADES[1:-1, 1:-1]).abs()
    assert (difference > 1).float().mean() < 0.06, "one in the middle leaves the picture as it is"
    cell = page.get_by_label("row 2, column 2")
    cell.fill("x")
    assert cell.get_attribute("aria-invalid") == "true"
    cell.fill("1/2")
    row, column, total = told(page)
    assert total == pytest.approx(float(SHADES[row, column]) / 2, abs=0.06)


@pytest.mark.slow
@pytest.mark.browser
def test_the_window_walks_by_arrow_keys_and_stays_inside(opened, kernel):
    page = opened(kernel)
    page.locator("canvas").first.focus()
    row, column, _ = told(page)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    assert told(page)[:2] == (row - 1, column + 1)
    for _ in range(8):
        page.keyboard.press("Shift+ArrowRight")
    assert told(page)[1] == SHADES.shape[1] - 2


@pytest.mark.slow
@pytest.mark.browser
def test_a_pixel_is_tapped_on_a_phone_and_nothing_is_too_wide(opened, kernel):
    page = opened(kernel, width=390, has_touch=True, is_mobile=True)
    box = page.locator("canvas").first.bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] * 0.25, box["y"] + box["height"] * 0.75)
    row, column, total = told(page)
    assert (abs(row - 18), abs(column - 8)) <= (1, 1)
    assert total == pytest.approx(float(SHADES[row - 1 : row + 2, column - 1 : column + 2].mean()), abs=0.1)
    page.locator("select").nth(2).select_option("5 x 5")
    assert page.locator(".touch-cells input").count() == 25
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.slow
@pytest.mark.browser
def test_ones_own_picture_is_read_on_this_device(opened, kernel, tmp_path):
    own = tmp_path / "own.png"
    Image.new("RGB", (256, 128), (200, 200, 200)).save(own)
    page = opened(kernel)
    page.locator("input[type=file]").set_input_files(own)
    page.wait_for_function("document.querySelector('canvas').width === 128")
    assert told(page)[2] == pytest.approx(200, abs=1)
    assert page.locator("select").first.input_value() == "your own picture"


@pytest.mark.slow
@pytest.mark.browser
def test_without_scripts_the_filmstrip_stays_and_with_them_it_is_hidden(opened, kernel, accessible):
    assert opened(kernel, java_script_enabled=False).get_by_text("frames of a film").is_visible()
    page = opened(kernel)
    assert page.get_by_text("frames of a film").is_hidden()
    accessible(page)


@pytest.mark.slow
@pytest.mark.browser
def test_a_path_follows_the_gradient_of_the_surface(opened, accessible):
    axis = torch.linspace(-2, 2, 41)
    bowl = touch.surface(axis[None] ** 2 + axis[:, None] ** 2, axis, axis, start=(1.5, -1.0), rates=(0.01, 2.0))
    page = opened(bowl)
    said = page.locator(".touch-sum")
    start, end = map(float, re.search(r"loss ([\d.]+) → ([\d.e-]+)", said.inner_text()).groups())
    assert start == pytest.approx(3.25, abs=0.02)
    assert end < 0.05
    page.get_by_label("Learning rate").focus()
    page.keyboard.press("End")
    assert "leaves the picture" in said.inner_text()
    page.locator("canvas").focus()
    page.keyboard.press("ArrowLeft")
    assert "w = 1.402" in said.inner_text() or "w = 1.4" in said.inner_text()
    accessible(page)


@pytest.mark.slow
@pytest.mark.browser
def test_a_neuron_counts_the_points_on_their_side(opened, accessible):
    points = torch.tensor([[1.0, 0.2], [0.8, -0.5], [-1.0, 0.1], [-0.4, 0.9]])
    page = opened(touch.neuron(points, torch.tensor([1, 1, 0, 0])))
    said = page.locator(".touch-sum")
    assert "4 of 4 points" in said.inner_text()
    page.get_by_label("w₁").focus()
    page.keyboard.press("Home")
    assert "0 of 4 points" in said.inner_text()
    accessible(page)


@pytest.mark.parametrize(
    ("pictures", "presets", "says"),
    [
        ({}, PRESETS, "at least one picture"),
        ({"a": SHADES}, {"wide": torch.ones(3, 4)}, "kernels are 3x3 or 5x5"),
        ({"large": torch.zeros(200, 200)}, PRESETS, "sides are 8 to 160"),
        ({"batch": torch.zeros(2, 3, 32, 32)}, PRESETS, "sides are 8 to 160"),
    ],
)
def test_what_cannot_be_touched_is_refused(pictures, presets, says):
    with pytest.raises(ValueError, match=says):
        touch.kernel(pictures, presets)


def test_data_cannot_end_the_script_that_holds_it():
    assert "</script><b>" not in touch.kernel({"</script><b>": SHADES}, PRESETS).around("")


def test_a_painter_takes_posters_and_weights_that_a_page_can_exchange():
    def unet(**changed: torch.Tensor) -> torch.nn.Module:
        made = torch.nn.ModuleDict({"attn2": torch.nn.ModuleDict({"to_k": torch.nn.Linear(4, 6, bias=False)})})
        whole = torch.nn.ModuleDict({"block": made, "conv": torch.nn.Linear(2, 2, bias=False)})
        for name, weight in whole.named_parameters():
            weight.data = changed.get(name.split(".")[-2], torch.zeros_like(weight))
        return whole

    posters, new = torch.zeros(2, 3, 32, 32), torch.arange(24.0).reshape(6, 4)
    told = touch.paint(["a"], posters, edited=(unet(), unet(to_k=new))).data["edited"]
    assert list(told) == ["block.attn2.to_k.weight"]
    held = torch.frombuffer(bytearray(base64.b64decode(told["block.attn2.to_k.weight"]["half"])), dtype=torch.half)
    assert held.reshape(told["block.attn2.to_k.weight"]["rows"], -1).float().equal(new)
    with pytest.raises(ValueError, match=r"conv\.weight differs, too"):
        touch.paint(["a"], posters, edited=(unet(), unet(conv=torch.ones(2, 2))))
    with pytest.raises(ValueError, match=r"posters \[1, 3, S, S\]"):
        touch.paint(["a"], posters)
    with pytest.raises(ValueError, match=r"pictures \[3, 3, 32, 32\]"):
        touch.rank(["a"], posters, ["one", "two", "three"])
