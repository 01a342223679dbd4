"""How many hours a selection of chapters asks for: reading, core exercises, extras."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from autograder.chapter import rows


@dataclass(frozen=True)
class Load:
    """The time one chapter asks for, in minutes, and what it is worth."""

    chapter: str
    title: str
    needs: tuple[str, ...]
    reading: int
    core: int
    extra: int
    core_exercises: int
    extra_exercises: int
    points: float

    @property
    def hours(self) -> float:
        """Return the hours of reading and core exercises together."""
        return (self.reading + self.core) / 60


def load_of(row: rows.Row) -> Load:
    """Add up one chapter. `minutes` of a notebook's front matter is all it asks for, core exercises included."""
    core = [exercise for exercise in row.exercises if exercise.core]
    extra = [exercise for exercise in row.exercises if not exercise.core]
    needs = dict.fromkeys(need for lesson in row.notebooks for need in lesson.meta.get("needs", []))
    return Load(
        chapter=row.key,
        title=row.title,
        needs=tuple(needs),
        reading=max(0, sum(lesson.minutes for lesson in row.notebooks) - sum(exercise.minutes for exercise in core)),
        core=sum(exercise.minutes for exercise in core),
        extra=sum(exercise.minutes for exercise in extra),
        core_exercises=len(core),
        extra_exercises=len(extra),
        points=sum(exercise.points for exercise in core) + sum(question.points for question in row.questions),
    )


def syllabus(chapters: Iterable[str] = ()) -> list[Load]:
    """Return the load of the chapters named, or of all.

    Raises:
        rows.RowError: an unknown chapter; the nearest name is suggested.
    """
    return [load_of(rows.load_row(chapter)) for chapter in (list(chapters) or rows.slugs())]


def weeks(loads: Iterable[Load], hours_a_week: float) -> int:
    """Return how many weeks the selection fills at so many hours a week.

    Raises:
        ValueError: `hours_a_week` is not positive.
    """
    if not hours_a_week > 0:
        raise ValueError(f"hours a week must be above 0, not {hours_a_week}")
    return math.ceil(sum(load.hours for load in loads) / hours_a_week)


def as_data(load: Load) -> dict[str, Any]:
    return asdict(load) | {"hours": round(load.hours, 1)}
