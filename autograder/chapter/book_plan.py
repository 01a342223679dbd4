"""The plan of the book: parts, chapters and lectures (book/chapters.toml), and the table of contents made from it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autograder.base import paths

MADE = ("tour_of_the_world", "the_zoo", "grader_benchmark")  # pages that a tool draws
HOWTO = ("student", "self_learner", "instructor", "ci", "author")


class PlanError(Exception):
    """A plan or a selection of chapters that cannot be used; the message names the file or the remedy."""


@dataclass(frozen=True)
class Lecture:
    """One of the lectures that the book follows."""

    key: str  # "002"
    title: str
    speaker: str
    when: str


@dataclass(frozen=True)
class Chapter:
    """One planned chapter, written or not."""

    slug: str
    title: str
    after: str  # what a reader can do after it, one sentence

    @property
    def key(self) -> str:
        return self.slug[:4]

    @property
    def number(self) -> int:
        return int(self.slug[2:4])


@dataclass(frozen=True)
class Part:
    """A run of chapters under one caption."""

    number: int
    title: str
    text: str
    chapters: tuple[Chapter, ...]


@dataclass(frozen=True)
class Plan:
    """All that is planned."""

    parts: tuple[Part, ...]
    lectures: dict[str, Lecture]

    @property
    def chapters(self) -> tuple[Chapter, ...]:
        return tuple(chapter for part in self.parts for chapter in part.chapters)

    def with_written(self, slugs: Collection[str]) -> Plan:
        """Return the plan with a last part for the chapters that exist and that it does not know."""
        known = {chapter.slug for chapter in self.chapters}
        more = tuple(Chapter(slug, _words(slug), "") for slug in sorted(slugs) if slug not in known)
        if not more:
            return self
        text = "Chapters that book/chapters.toml has in no part yet."
        return Plan((*self.parts, Part(len(self.parts) + 1, "Further chapters", text, more)), self.lectures)


def _words(slug: str) -> str:
    words = slug[5:].replace("_", " ")
    return words[:1].upper() + words[1:]


def book_folder() -> Path:
    """Return the folder of the front matter: book/ beside the rows, or the checkout's where that has none."""
    own = paths.root() / "book"
    return own if (own / "chapters.toml").exists() else paths.CHECKOUT / "book"


def read(path: Path | None = None) -> Plan:
    """Read book/chapters.toml.

    Raises:
        PlanError: the file is missing, not TOML, or lacks a key.
    """
    path = path or book_folder() / "chapters.toml"
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        lectures = {key: Lecture(key, **value) for key, value in raw["lectures"].items()}
        parts = tuple(
            Part(number, part["title"], part["text"], tuple(Chapter(**chapter) for chapter in part["chapters"]))
            for number, part in enumerate(raw["parts"], start=1)
        )
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise PlanError(f"{paths.shown(path)} cannot be used: {type(error).__name__}: {error}") from error
    return Plan(parts, lectures)


def select(wanted: str, written: Sequence[str]) -> list[str]:
    """Return the slugs that a selection such as "3", "16-25", "1,3,9-12" or "ch03" names.

    Args:
        wanted: numbers, keys and ranges, with commas between them.
        written: slugs of the chapters that exist, in order.

    Raises:
        PlanError: the selection cannot be read, or names nothing that is written.
    """
    numbers: set[int] = set()
    for piece in filter(None, (piece.strip() for piece in wanted.split(","))):
        found = re.fullmatch(r"(?:ch)?(\d{1,2})(?:_\w+)?(?:\s*-\s*(?:ch)?(\d{1,2}))?", piece)
        if not found:
            raise PlanError(f"--chapters {wanted!r}: cannot read {piece!r}; write for example 3, 16-25 or 1,3,9-12")
        first, last = int(found[1]), int(found[2] or found[1])
        if last < first:
            raise PlanError(f"--chapters {wanted!r}: {piece!r} runs backwards")
        numbers |= set(range(first, last + 1))
    chosen = [slug for slug in written if int(slug[2:4]) in numbers]
    if not chosen:
        there = ", ".join(slug[:4] for slug in written) or "none"
        raise PlanError(f"--chapters {wanted!r}: none of these is written yet; written: {there}")
    return chosen


def label(slugs: Collection[str]) -> str:
    """Return a short name of a set of chapters: "3", "16-25", "1-3,9"."""
    runs: list[list[int]] = []
    for number in sorted(int(slug[2:4]) for slug in slugs):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def complete(page: Path) -> bool:
    """Return whether a page is there together with every file that it includes."""
    if not page.exists():
        return False
    text = page.read_text(encoding="utf-8")
    included = re.findall(r"^```\{include\}\s*(\S+)|^:file:\s*(\S+)", text, re.M)
    return all((page.parent / (first or second)).exists() for first, second in included)


def toc(plan: Plan, notebooks: Mapping[str, Sequence[str]]) -> str:
    """Return the text of _toc.yml.

    Args:
        plan: parts and chapters.
        notebooks: slug -> stems of its notebooks, for every chapter to be listed.
    """
    plan = plan.with_written(notebooks)
    lines = [
        "# The pages of the book. Chapters come from the rows of chapters/: `dlcv book` keeps this file in agreement.",
        "format: jb-book",
        "root: book/index",
        "parts:",
        "  - caption: Overview",
        "    chapters:",
        "      - file: build/pages/chapters",
        "      - file: build/pages/methods",
        "      - file: build/pages/claims",
        *(f"      - file: book/{page}" for page in MADE if complete(book_folder() / f"{page}.md")),
        "  - caption: How to use it",
        "    chapters:",
        *(f"      - file: book/howto/{page}" for page in HOWTO),
    ]
    for part in plan.parts:
        there = [chapter.slug for chapter in part.chapters if chapter.slug in notebooks]
        if there:
            lines += [f"  - caption: {part.title}", "    chapters:"]
        for slug in there:
            lines += [f"      - file: build/pages/chapters/{slug}/index", "        sections:"]
            lines += [f"          - file: build/pages/chapters/{slug}/{stem}" for stem in notebooks[slug]]
    written = [chapter.slug for chapter in plan.chapters if chapter.slug in notebooks]
    lines += ["  - caption: Teaching", "    chapters:", "      - file: build/pages/teaching/index"]
    lines += ["        sections:"] if written else []
    lines += [f"          - file: build/pages/teaching/{slug}" for slug in written]
    lines += ["  - caption: Reference", "    chapters:"]
    lines += [f"      - file: book/{page}" for page in ("notation", "bibliography", "licence")]
    return "\n".join(lines) + "\n"
