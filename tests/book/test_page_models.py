"""The zoo in a page that is opened as a file, without network: what is painted there is what the pipeline paints.

The page is of this test, the scripts are the book's. test_a_lesson_on_the_page.py does the same in the built book.
"""

from __future__ import annotations

import copy
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from autograder.base import paths
from autograder.book import zoo_scripts
from dlcv_lab import touch, world, zoo
from dlcv_lab.zoo import clip, diffusion

pytestmark = [pytest.mark.slow, pytest.mark.browser]

STATIC = paths.CHECKOUT / "book" / "_static"
PATIENCE = 240_000  # milliseconds, for machines that have other things to do
PROMPTS = [
    "a red ring.", "a green star in neon style.", "two", "", "a big blue heart with a cap.", "a purple cross.",
    "a yellow circle on a green background.", "an orange arrow", "a CYAN triangle!", "a brown square in sketch style.",
    "a striped red square.", "a hoop", "a blue star and a red circle.", "a small green ring",
    "a photo of a yellow heart.", "nothing on a blue background.",
]  # fmt: skip


@pytest.fixture(scope="module")
def pipe() -> Any:
    return zoo.load("sd")


@pytest.fixture(scope="module")
def edited(pipe: Any) -> Any:
    """A copy of the U-Net that listens to other words."""
    unet = copy.deepcopy(pipe.unet)
    gen = torch.Generator().manual_seed(0)
    for name, weight in unet.named_parameters():
        if name.endswith("attn2.to_v.weight"):
            weight.data = (weight.std() * torch.randn(weight.shape, generator=gen)).half().float()
    return unet


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the book's scripts and the models."""
    home = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DLCV_CACHE", str(paths.cache()))
        began = time.perf_counter()
        assert zoo_scripts.write(home, ("sd", "clip", "reader")) == {"sd", "clip", "reader"}
    shutil.copytree(STATIC, home / "_static")
    shutil.move(home / "zoo", home / "_static" / "zoo")
    print(f"\nscripts of the models: {time.perf_counter() - began:.1f} s")
    return home


@pytest.fixture
def opened(browser: Any, folder: Path) -> Iterator[Callable[..., Any]]:
    """Open live models as a file, without network; nothing may fail, and nothing may be asked for outside."""
    faults: list[str] = []
    contexts: list[Any] = []

    def at(*models: touch.Touch, width: int = 1280, **more: Any) -> Any:
        body = "".join(each.around('<figure class="dlcv-filmstrip"><p>a film</p></figure>') for each in models)
        path = folder / "page.html"
        path.write_text(
            '<!DOCTYPE html><html lang="en" data-theme="light"><meta charset="utf-8"><title>a page</title>'
            '<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="_static/book.css">'
            f'<main class="bd-article"><h1>a page</h1>{body}</main>'
            '<script defer src="_static/touch.js"></script></html>',
            encoding="utf-8",
        )
        context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **more)
        context.set_default_timeout(PATIENCE)
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
def painter() -> touch.Touch:
    return touch.paint(["a red ring.", "a blue heart."], torch.full((1, 3, 32, 32), 0.5))


def settled(box: Any) -> str:
    """Wait until a painter is done, and return what it says, or what is wrong."""
    box.page.wait_for_function(
        "box => !box.hasAttribute('aria-busy') && /Painted in|./.test(box.querySelector('.touch-wrong').textContent"
        " || box.querySelector('.touch-sum').textContent)",
        arg=box.element_handle(),
    )
    return box.locator(".touch-wrong").inner_text() or box.locator(".touch-sum").inner_text()


def put(box: Any, label: str, value: float) -> None:
    """Move a slider as its script sees it moved."""
    box.get_by_label(label).evaluate("(slider, value) => { slider.value = value; }", str(value))


def paint(box: Any, prompt: str, *, seed: int = 0, steps: int = 25, guidance: float = 4.0) -> str:
    put(box, "Steps", steps)
    put(box, "Guidance", guidance)
    box.get_by_label("Seed", exact=True).evaluate("(field, value) => { field.value = value; }", str(seed))
    box.get_by_label("Prompt").fill(prompt)
    box.get_by_label("Prompt").press("Enter")
    return settled(box)


def pixels(canvas: Any) -> torch.Tensor:
    """Return a canvas as levels of its three colours, [1, 3, H, W]."""
    width, height, values = canvas.evaluate(
        "c => [c.width, c.height, [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]]"
    )
    return torch.tensor(values).reshape(1, height, width, 4)[..., :3].movedim(-1, 1).float()


def by_torch(pipe: Any, prompt: str, *, seed: int = 0, steps: int = 25, guidance: float = 4.0) -> torch.Tensor:
    """Return what the pipeline paints, as levels."""
    gen = torch.Generator().manual_seed(seed)
    made = pipe(prompt, num_inference_steps=steps, guidance_scale=guidance, generator=gen, output_type="pt").images
    return (made.float() * 255).round()


def test_sixteen_prompts_are_painted_as_the_pipeline_paints_them(opened, painter, pipe, folder, capsys):
    page = opened(painter)
    box = page.locator(".touch-paint")
    began = time.perf_counter()
    first = paint(box, PROMPTS[0])
    started = time.perf_counter() - began
    assert first.startswith("Painted in"), first
    worst, agree, seconds = 0.0, 0, []
    for k, prompt in enumerate(PROMPTS):
        settings = {"seed": 1000 * k + k, "steps": (25, 8, 10, 50)[k % 4], "guidance": (4.0, 1.0, 7.5)[k % 3]}
        said = paint(box, prompt, **settings)
        assert said.startswith("Painted in"), said
        seconds.append((settings["steps"], float(said.split()[2])))
        mine, theirs = pixels(box.locator("canvas")), by_torch(pipe, prompt, **settings)
        worst = max(worst, float((mine - theirs).abs().max()))
        assert worst <= 1, f"{prompt!r} with {settings} differs by {worst:g} of 255"
        seen = [world.read(picture / 255).plain()[0].things for picture in (mine, theirs)]
        one, other = ([(thing.colour, thing.shape) for thing in things] for things in seen)
        assert one == other, prompt
        told = box.locator(".touch-read").inner_text()
        agree += all(word in told for pair in one for word in pair if word != "unsure")
    assert agree == len(PROMPTS), "the page's reader names what the world's reader names"
    home = folder / "_static"
    loaded = {name: (home / name).stat().st_size / 1e6 for name in LOADED["paint"]}
    with capsys.disabled():
        print(f"\nsixteen prompts: at most {worst:g}/255 from the pipeline; first click to picture {started:.1f} s")
        print("seconds by steps:", ", ".join(f"{steps}: {least:.2f}" for steps, least in fastest(seconds).items()))
        print("MB:", ", ".join(f"{name} {size:.2f}" for name, size in loaded.items()), f"= {sum(loaded.values()):.2f}")


def fastest(seconds: list[tuple[int, float]]) -> dict[int, float]:
    return {steps: min(s for n, s in seconds if n == steps) for steps, _ in sorted(seconds)}


LOADED = {
    "paint": ("vendor/onnxruntime/ort.wasm.min.js", "vendor/onnxruntime/runtime.js", "zoo/sd.js", "zoo/reader.js"),
    "rank": ("vendor/onnxruntime/ort.wasm.min.js", "vendor/onnxruntime/runtime.js", "zoo/clip.js"),
}


@pytest.mark.parametrize("kind", sorted(LOADED))
def test_the_page_says_how_much_a_click_loads(folder, kind):
    size = sum((folder / "_static" / name).stat().st_size for name in LOADED[kind]) / 1e6
    assert round(size) == touch.MEGABYTES[kind]


def test_nothing_is_loaded_before_the_first_click(opened, painter):
    page = opened(painter)
    page.locator(".touch-paint canvas").wait_for()
    scripts = page.evaluate(
        "[...document.scripts].map(script => script.src.split('_static/')[1] || '').filter(Boolean)"
    )
    assert sorted(scripts) == ["touch.js", "zoo.js"]
    assert "Press “Paint”" in page.locator(".touch-sum").inner_text()
    assert pixels(page.locator("canvas")).eq(128).all(), "the poster"


def test_a_word_that_it_never_saw_is_named(opened, painter):
    box = opened(painter).locator(".touch-paint")
    assert paint(box, "a red dragon.") == "This model has never seen “dragon”."
    assert box.get_by_label("Prompt").get_attribute("aria-invalid") == "true"
    assert "Did you mean “circle”?" in paint(box, "a red cirlce.")
    assert "never seen “<start>”" in paint(box, "<start>")
    assert paint(box, "red " * 23) == "At most 22 words; these are 23."
    assert paint(box, "a red ring.", seed=-1).startswith("A seed is a whole number")
    assert paint(box, "a red ring.", steps=4).startswith("Painted in")
    assert box.get_by_label("Prompt").get_attribute("aria-invalid") is None
    box.get_by_text("The words it knows").click()
    words = box.locator("details p").inner_text().split(", ")
    assert "ring" in words
    assert f"knows {len(words)} words" in (paths.CHECKOUT / "book" / "the_zoo.md").read_text(encoding="utf-8")


def test_the_film_is_played_paused_and_walked_over_by_key(opened, painter, pipe):
    box = opened(painter).locator(".touch-paint")
    paint(box, "a red ring.", steps=10)
    last, film = pixels(box.locator("canvas")), box.get_by_label("Film: after step")
    film.focus()
    film.press("Home")
    noise = pixels(box.locator("canvas"))
    start = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        decoded = pipe.vae.decode(start / pipe.vae.config.scaling_factor).sample
    assert (noise - ((decoded / 2 + 0.5).clamp(0, 1) * 255).round()).abs().max() <= 1
    box.get_by_role("button", name="Play").click()
    box.get_by_role("button", name="Pause").click()
    here = film.input_value()
    box.page.wait_for_timeout(400)
    assert film.input_value() == here, "paused"
    box.get_by_role("button", name="Play").press("Enter")
    box.page.wait_for_function("film => film.value === film.max", arg=film.element_handle())
    assert pixels(box.locator("canvas")).equal(last)


def test_who_asked_for_less_motion_sees_the_last_picture_alone(opened, painter):
    shown = {}
    for motion in ("reduce", "no-preference"):
        page = opened(painter, reduced_motion=motion)
        page.evaluate(
            "() => { window.drawn = 0; const put = CanvasRenderingContext2D.prototype.putImageData;"
            " CanvasRenderingContext2D.prototype.putImageData = function (...all)"
            " { window.drawn += 1; return put.apply(this, all); }; }"
        )
        assert paint(page.locator(".touch-paint"), "a red ring.", steps=6).startswith("Painted in")
        shown[motion] = page.evaluate("window.drawn")
    assert shown == {"reduce": 1, "no-preference": 7}


def test_two_models_paint_from_the_same_noise(opened, pipe, edited):
    page = opened(
        touch.paint(["a red ring."], torch.zeros(2, 3, 32, 32), edited=(pipe.unet, edited), names=("plain", "other"))
    )
    box = page.locator(".touch-paint")
    untouched = pipe.unet
    for prompt in ("a red ring.", "a blue heart."):
        assert paint(box, prompt, seed=3, steps=8).startswith("Painted in")
        made = [pixels(box.locator("canvas").nth(k)) for k in range(2)]
        for picture, unet in zip(made, (untouched, edited)):
            pipe.unet = unet
            assert (picture - by_torch(pipe, prompt, seed=3, steps=8)).abs().max() <= 1
        pipe.unet = untouched
        assert (made[0] - made[1]).abs().max() > 20, "the other model is another model"


def test_pictures_are_ranked_as_clip_ranks_them(opened):
    model, _, tokenizer = zoo.load("clip")
    scene = world.sample(12, 5, sizes=("big",), distinct=True)
    pictures = (world.render(scene) * 255).round() / 255
    queries = ["a red ring", "there is a blue star.", "an orange thing"]
    box = opened(touch.rank(queries, pictures, world.caption(scene, 1))).locator(".touch-rank")
    for query in queries:
        box.get_by_label("Query").fill(query)
        box.get_by_role("button", name="Rank").click()
        box.locator(".touch-sum", has_text=f"Most like “{query}”").wait_for()
        with torch.no_grad():
            words = torch.nn.functional.normalize(model.encode_text(tokenizer([query])), dim=1)
            likeness = (clip._embed(model, pictures, "cpu") @ words.T)[:, 0]
        shown = [float(text.replace("−", "-")) for text in box.locator(".touch-score").all_inner_texts()]
        assert shown == pytest.approx(likeness.sort(descending=True).values.tolist(), abs=6e-4)
        first = box.locator("canvas").first.get_attribute("aria-label")
        assert first == world.caption(scene, 1)[int(likeness.argmax())]
    box.get_by_label("Query").fill("a dragon")
    box.get_by_label("Query").press("Enter")
    box.get_by_text("never seen “dragon”").wait_for()


def test_on_a_phone_all_fits_and_nothing_hinders_access(opened, painter, pipe, edited, accessible):
    both = touch.paint(["a red ring."], torch.zeros(2, 3, 32, 32), edited=(pipe.unet, edited))
    strip = touch.rank(["a red ring"], torch.rand(12, 3, 32, 32), [f"picture {k}" for k in range(12)])
    page = opened(painter, both, strip, width=390, has_touch=True, is_mobile=True)
    box = page.locator(".touch-paint").first
    put(box, "Steps", 5)
    box.get_by_role("button", name="Paint").tap()
    assert settled(box).startswith("Painted in")
    box.get_by_role("button", name="Next seed").tap()
    box.get_by_text("seed 1").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    accessible(page, levels=("minor", "moderate", "serious", "critical"))


def test_without_scripts_the_filmstrip_stays(opened, painter):
    assert opened(painter, java_script_enabled=False).get_by_text("a film").is_visible()
    page = opened(painter)
    page.locator(".touch-paint").wait_for()
    assert page.get_by_text("a film").is_hidden()


def test_a_book_without_models_says_so_and_shows_its_film(opened, painter, folder):
    os.rename(folder / "_static" / "zoo", folder / "_static" / "elsewhere")
    try:
        page = opened(painter)
        assert "The models do not lie beside this copy" in paint(page.locator(".touch-paint"), "a red ring.")
        assert page.get_by_text("a film").is_visible()
    finally:
        os.rename(folder / "_static" / "elsewhere", folder / "_static" / "zoo")


def test_the_settings_that_the_zoo_is_measured_with_stand_there(opened, painter):
    assert (painter.data["steps"], painter.data["guidance"]) == (diffusion.SAMPLING_STEPS, diffusion.GUIDANCE)
