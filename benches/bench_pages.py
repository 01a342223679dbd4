"""What a reader of the lesson pages meets: how much of it is code, what has to be scrolled sideways, how much is asked.

    python -m benches.bench_pages build/book [another/book ...]

prints one line a lesson for each built book and the heaviest of all pages, then the figures of the last book as JSON;
`python benches/run.py pages --publish` keeps them in benches/results. Chromium is needed. BEFORE are the figures of the
eight lessons that there were when this was first measured, before their pages were made over.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

DESK, PHONE = 1280, 390
BEFORE = {  # height on a desk, share of code words, lines of code to scroll on a desk and on a phone, quick questions
    "ch03_convolutional_networks/lesson_1": (45378, 0.307, 139, 268, 21),
    "ch03_convolutional_networks/lesson_2": (37922, 0.360, 146, 259, 15),
    "ch16_contrastive_language_image_pretraining/lesson_1": (34330, 0.367, 148, 266, 15),
    "ch16_contrastive_language_image_pretraining/lesson_2": (39239, 0.348, 163, 276, 21),
    "ch23_low_rank_adaptation/lesson_1": (36354, 0.330, 121, 234, 15),
    "ch23_low_rank_adaptation/lesson_2": (30538, 0.406, 142, 271, 9),
    "ch28_concept_unlearning/lesson_1": (25534, 0.338, 103, 165, 9),
    "ch28_concept_unlearning/lesson_2": (35364, 0.292, 120, 222, 14),
}

WORDS = """() => {
  const article = document.querySelector("article.bd-article");
  const words = (text) => text.split(/\\s+/).filter((word) => /[\\p{L}\\p{N}]/u.test(word)).length;
  const count = (nodes) => nodes.reduce((sum, node) => sum + words(node.textContent), 0);
  const prose = article.cloneNode(true);
  prose.querySelectorAll("script, style, annotation, .katex-html").forEach((node) => node.remove());
  const code = [...article.querySelectorAll("pre")].filter((pre) =>
    !pre.closest("details, .cell_output, .output, .dlcv-check, script, style"));
  const sections = [...article.querySelectorAll("section[id]")].map((section) =>
    [...section.querySelectorAll(".quick-question")].filter((box) => box.closest("section[id]") === section).length);
  return [count(code), count([prose]), sections];
}"""
SCROLLED = """(outputs) => [...document.querySelectorAll("article.bd-article pre")]
  .filter((pre) => !pre.closest("details:not([open])") && Boolean(pre.closest(".cell_output, .output")) === outputs)
  .map((pre) => {
    if (pre.scrollWidth <= pre.clientWidth + 1) return 0;
    const letter = parseFloat(getComputedStyle(pre).fontSize) * 0.602, room = pre.clientWidth - 20;
    return pre.textContent.split("\\n").filter((line) => line.length * letter > room).length;
  }).reduce((sum, lines) => sum + lines, 0)"""


@dataclass(frozen=True)
class Measured:
    """One lesson page. Words hold a letter or a digit; `scrolled` counts lines of code wider than their box, and
    `printed` those of what cells print: tables, whose columns would be spoilt by wrapping."""

    name: str
    height: int  # CSS pixels, on a desk
    code: int
    words: int
    scrolled_desk: int
    scrolled_phone: int
    questions: tuple[int, ...]  # of every section
    printed_desk: int
    printed_phone: int

    @property
    def share(self) -> float:
        return self.code / max(1, self.words)

    def line(self) -> str:
        asked = [many for many in self.questions if many]
        questions = f"{sum(asked)} in {len(asked)} of {len(self.questions)} sections, {max(asked, default=0)} at most"
        return (
            f"{self.name:58} {self.height:7} {self.share:6.1%} {self.scrolled_desk:6} {self.scrolled_phone:6} "
            f"{self.printed_desk:8} {self.printed_phone:6}   {questions}"
        )


HEAD = f"{'lesson':58} {'height':>7} {'code':>6} {DESK:>6} {PHONE:>6} {'printed':>8} {PHONE:>6}   quick questions"


def measure(page: Any, address: str, name: str) -> Measured:
    """Measure a page in a browser; the window is made wide and narrow on the way."""
    page.set_viewport_size({"width": DESK, "height": 900})
    page.goto(address)
    page.wait_for_load_state("load")
    code, words, questions = page.evaluate(WORDS)
    height = page.evaluate("document.documentElement.scrollHeight")
    desk, printed = page.evaluate(SCROLLED, False), page.evaluate(SCROLLED, True)
    page.set_viewport_size({"width": PHONE, "height": 844})
    phone = page.evaluate(SCROLLED, False)
    return Measured(name, height, code, words, desk, phone, tuple(questions), printed, page.evaluate(SCROLLED, True))


def weigh(page: Any, address: str) -> int:
    """Return the bytes that a page loads before anybody scrolls, on a desk."""
    sizes: dict[str, int] = {}

    def arrived(response: Any) -> None:
        sizes[response.url] = len(response.body())

    page.set_viewport_size({"width": DESK, "height": 900})
    page.on("response", arrived)
    page.goto(address)
    page.wait_for_load_state("networkidle")
    page.remove_listener("response", arrived)
    return sum(size for url, size in sizes.items() if not url.startswith(("data:", "blob:")))


@contextmanager
def chromium() -> Iterator[Any]:
    """Yield a page of a headless Chromium."""
    from playwright.sync_api import sync_playwright

    path = next((found for name in ("chromium", "chromium-browser") if (found := shutil.which(name))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser.new_page()
        browser.close()


def main(books: list[Path]) -> None:
    """Print the measures of every lesson page of some built books, and the weight of all pages."""
    figures: dict[str, Any] = {}
    with chromium() as page:
        for book in books:
            print(f"\n{book}\n{HEAD}")
            found: list[Measured] = []
            for path in sorted(book.glob("chapters/*/lesson*.html")):
                found.append(measure(page, path.resolve().as_uri(), f"{path.parent.name}/{path.stem}"))
                print(found[-1].line(), flush=True)
            weights = {
                path.relative_to(book).with_suffix("").as_posix(): weigh(page, path.resolve().as_uri())
                for path in sorted(book.rglob("*.html"))
                if "_static" not in path.parts
            }
            average = sum(each.share for each in found) / max(1, len(found))
            heaviest = max(weights, key=lambda name: weights[name])
            print(f"average share of code words: {average:.1%}")
            print(f"heaviest of {len(weights)} pages before scrolling: {heaviest}, {weights[heaviest] / 1e6:.2f} MB")
            lessons = {
                each.name: {key: value for key, value in asdict(each).items() if key != "name"} for each in found
            }
            figures = {"lessons": lessons, "share": round(average, 4), "before": BEFORE, "weights": weights}
    print(json.dumps(figures))


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]] or [Path("build/book")])
