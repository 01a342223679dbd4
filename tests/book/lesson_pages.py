"""The addresses of the lessons, for tests of the built book."""

from __future__ import annotations

from row_choice import executed

from autograder.chapter import rows


def lesson_pages() -> list[str]:
    """Return the pages of the lessons that were run for this book, those of the model chapter first."""
    return [f"chapters/{slug}/{lesson.stem}" for slug in executed() for lesson in rows.load_row(slug).notebooks]
