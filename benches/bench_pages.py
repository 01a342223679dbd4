"""What a reader of the lesson pages meets: how much of it is code, what has to be scrolled sideways, how much is asked.

    python -m benches.bench_pages build/book [another/book ...]

prints one line a lesson for each built book; Chromium is needed.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DESK, PHONE = 1280, 390

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
SCROLLED = """() => [...document.querySelectorAll("article.bd-article pre")]
  .filter((pre) => !pre.closest(".cell_output, .output, .dlcv-check, details:not([open])"))
  .map((pre) => {
    if (pre.scrollWidth <= pre.clientWidth + 1) return 0;
    const letter = parseFloat(getComputedStyle(pre).fontSize) * 0.602, room = pre.clientWidth - 20;
    return pre.textContent.split("\\n").filter((line) => line.length * letter > room).length;
  }).reduce((sum, lines) => sum + lines, 0)"""


@dataclass(frozen=True)
class Measured:
    """One lesson page. Words hold a letter or a digit; `scrolled` counts lines of code wider than their box."""

    name: str
    height: int  # CSS pixels, on a desk
    code: int
    words: int
    scrolled_desk: int
    scrolled_phone: int
    questions: tuple[int, ...]  # of every section

    @property
    def share(self) -> float:
        return self.code / max(1, self.words)

    def line(self) -> str:
        asked = [many for many in self.questions if many]
        return (
            f"{self.name:58} {self.height:7} {self.share:6.1%} {self.scrolled_desk:6} {self.scrolled_phone:6}   "
            f"{sum(asked)} in {len(asked)} of {len(self.questions)} sections, {max(asked, default=0)} at most"
        )


HEAD = f"{'lesson':58} {'height':>7} {'code':>6} {DESK:>6} {PHONE:>6}   quick questions"


def measure(page: Any, address: str, name: str) -> Measured:
    """Measure a page in a browser; the window is made wide and narrow on the way."""
    page.set_viewport_size({"width": DESK, "height": 900})
    page.goto(address)
    page.wait_for_load_state("load")
    code, words, questions = page.evaluate(WORDS)
    height = page.evaluate("document.documentElement.scrollHeight")
    desk = page.evaluate(SCROLLED)
    page.set_viewport_size({"width": PHONE, "height": 844})
    return Measured(name, height, code, words, desk, page.evaluate(SCROLLED), tuple(questions))


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
    """Print the measures of every lesson page of some built books."""
    with chromium() as page:
        for book in books:
            print(f"\n{book}\n{HEAD}")
            found = []
            for path in sorted(book.glob("chapters/*/lesson*.html")):
                found.append(measure(page, path.resolve().as_uri(), f"{path.parent.name}/{path.stem}"))
                print(found[-1].line(), flush=True)
            if found:
                print(f"average share of code words: {sum(each.share for each in found) / len(found):.1%}")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]] or [Path("build/book")])
