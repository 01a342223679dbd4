"""What a part of the book refers to and does not hold: chapters by their key, and labels inside other chapters."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator

from autograder.base import paths
from autograder.chapter import markup, rows
from autograder.chapter.book_plan import Chapter, Plan


def chapter_label(chapter: Chapter) -> str:
    """Return the label of a chapter's first page, so that a lesson can write {ref}`ch05`."""
    return chapter.key


def chapter_title(chapter: Chapter) -> str:
    return f"chapter {chapter.number}, {chapter.title}"


def labels(plan: Plan) -> dict[str, str]:
    """Return label -> words of every planned chapter and of every labelled heading in those that are written."""
    found = {}
    for chapter in plan.chapters:
        found[chapter_label(chapter)] = chapter_title(chapter)
        for _, label, heading in _headings(chapter):
            found[label] = f"{heading} ({chapter_title(chapter)})"
    return found


def _headings(chapter: Chapter) -> Iterator[tuple[str, str, str]]:
    """Yield (notebook, label, heading) of a chapter; nothing where it is not written."""
    for path in sorted((paths.chapters() / chapter.slug).glob("lesson*.md")):
        for label, heading in markup.headings(path.read_text(encoding="utf-8")).items():
            yield path.stem, label, heading


def table(plan: Plan, present: Collection[str], published: str) -> str:
    """Return what the book's Sphinx extension reads: label -> title and address of everything that is elsewhere.

    Args:
        plan: all chapters.
        present: slugs of the chapters in this book.
        published: address of the whole book; empty where it is not published, then there are no links.
    """
    found: dict[str, dict[str, str]] = {}
    written = set(rows.slugs())
    base = published.rstrip("/")
    for chapter in plan.chapters:
        if chapter.slug in present:
            continue
        there = bool(base) and chapter.slug in written
        home = f"{base}/chapters/{chapter.slug}" if there else ""
        found[chapter_label(chapter)] = {"title": chapter_title(chapter), "address": home and f"{home}/index.html"}
        for notebook, label, heading in _headings(chapter):
            address = f"{home}/{notebook}.html#{label}" if home else ""
            found[label] = {"title": f"{heading} ({chapter_title(chapter)})", "address": address}
    return json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
