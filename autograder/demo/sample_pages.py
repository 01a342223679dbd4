"""The sample feedback page and the sample class report of the book's front page, taken from what `dlcv demo` wrote:

    dlcv demo
    dlcv feedback --chapter ch03 --course build/demo-course --cases
    python -m autograder.demo.sample_pages build/demo-course

They are committed, in book/_static/samples: a book is built without grading anything. tests/book/test_samples.py holds
them against the chapter as it is, tests/test_whole_way.py against a demo that has just run.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from autograder.base import paths
from autograder.chapter import rows
from autograder.demo import run
from dlcv_lab.files import write_whole

FOLDER = paths.CHECKOUT / "book" / "_static" / "samples"
STUDENT = "tim"  # a mistake that is known by name, in an exercise that everybody knows
NOTE = (
    '<p class="soft"><a href="../../index.html#what-an-instructor-gets">The book</a>: a sample, made by '
    "<code>dlcv demo</code> for a class of nine that does not exist. {}</p>"
)
ABOUT = {
    "feedback": "A student gets this page. The failing cases are shown once the deadline has passed.",
    "report": "The instructor gets this page.",
}
_LINK = re.compile(r'<a href="\.\./feedback/([^/"]+)/[^"]*">(.*?)</a>', re.S)
_HEADING = re.compile(r"<h([123])>(.*?)</h\1>", re.S)
_ROW = re.compile(
    r"<tr><td>(?:<a [^>]*>)?(\w+)(?:</a>)?</td>\s*<td class=\"number\">([\d.]+)</td>\s*<td>(.*?)</td></tr>"
)
_SOFT = re.compile(r'<span class="soft">.*?</span>', re.S)
_TAG = re.compile(r"<[^>]+>")


def made(course: Path) -> dict[str, str]:
    """Return the two pages by name, as the demo's course folder holds them."""
    slug = rows.load_row(run.CHAPTER).slug
    (own,) = (course / "feedback" / STUDENT / slug).glob("feedback-*.html")
    found = {"feedback": own, "report": course / "journal" / f"{slug}.html"}
    return {name: shareable(path.read_text(encoding="utf-8"), ABOUT[name]) for name, path in found.items()}


def shareable(page: str, about: str) -> str:
    """Return a page with a line that says what it is; of the links to students' pages the sample's own stays."""
    linked = _LINK.sub(lambda a: f'<a href="feedback.html">{a[2]}</a>' if a[1] == STUDENT else a[2], page)
    lines = (line.rstrip() for line in linked.replace("<main>", f"<main>\n{NOTE.format(about)}", 1).splitlines())
    return re.sub(r"\n{2,}", "\n", "\n".join(lines)) + "\n"


def kind(page: str) -> list[str]:
    """Return what two runs of the demo share: headings, and the score and the verdicts of every student."""
    heads = [" ".join(_TAG.sub("", _SOFT.sub("", text)).split()) for _, text in _HEADING.findall(page)]
    return heads + [
        f"{student}: {score}, {' '.join(_TAG.sub('', told).split())}" for student, score, told in _ROW.findall(page)
    ]


def main(course: Path) -> None:
    """Write both pages into the book."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, page in made(course).items():
        write_whole(FOLDER / f"{name}.html", page.encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else run.place().course)
