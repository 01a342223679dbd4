"""The addresses of the lessons, for tests of the built book."""

from __future__ import annotations

from autograder.chapter import rows


def lesson_pages() -> list[str]:
    return [f"chapters/{slug}/{lesson.stem}" for slug in rows.slugs() for lesson in rows.load_row(slug).notebooks]
