"""The front door: something to touch, where to begin, what the series hold, and what a verdict looks like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import yaml

from autograder.base import paths
from autograder.book.pages import hours
from autograder.book.render import block
from autograder.chapter.book_plan import Chapter, Lecture, Plan
from autograder.chapter.rows import Row
from autograder.release.launch_buttons import Places
from dlcv_lab import data, touch

PHOTOS = ("camera", "chelsea", "coins")
KERNELS = {
    "edges, left to right": [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
    "edges, top to bottom": [[-1, -2, -1], [0, 0, 0], [1, 2, 1]],
    "blur": [[1 / 9] * 3] * 3,
    "sharpen": [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
    "nothing": [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
}


@dataclass(frozen=True)
class Listed:
    """A chapter in the list of a series: a link where it can be read."""

    chapter: Chapter
    address: str
    time: str


@dataclass(frozen=True)
class Series:
    """A lecture series with the chapters that it leads to."""

    lecture: Lecture
    chapters: tuple[Listed, ...]

    @property
    def ready(self) -> int:
        return sum(bool(each.address) for each in self.chapters)


def door(rows: Mapping[str, Row]) -> str:
    """Return the first screen: the kernel to edit and three buttons."""
    first = next(iter(rows.values()))
    still = '<p class="touch-fallback">With scripts switched on, a kernel to edit stands here.</p>'
    return block(
        "front_door.html",
        model=kernel().around(still),
        lesson=f"chapters/{first.slug}/{first.notebooks[0].stem}.html",
    )


@lru_cache(maxsize=1)
def kernel() -> touch.Touch:
    """Return the live model of the front page."""
    pictures = {name: data.photo(name, 128) for name in PHOTOS}
    return touch.kernel(pictures, {name: torch.tensor(rows, dtype=torch.float) for name, rows in KERNELS.items()})


def foot(places: Places) -> str:
    """Return the last lines: version, licences, repository, and how to report a mistake."""
    about = yaml.safe_load((paths.CHECKOUT / "CITATION.cff").read_text(encoding="utf-8"))
    return block(
        "front_foot.html",
        version=about["version"],
        authors=", ".join(author.get("name", "") for author in about["authors"]),
        repository=places.repository,
    )


def shelf(plan: Plan, rows: Mapping[str, Row], methods: Sequence[Mapping[str, Any]]) -> str:
    """Return the list of the series with their chapters."""
    return block("front_series.html", series=series(plan, rows, methods))


def series(plan: Plan, rows: Mapping[str, Row], methods: Sequence[Mapping[str, Any]]) -> list[Series]:
    """Return each lecture series with the chapters that hold most of their methods from it."""
    votes: dict[str, dict[str, int]] = {}
    for method in methods:
        for key in str(method["lecture"]).split(";"):
            counted = votes.setdefault(str(method["chapter"]), {})
            counted[key] = counted.get(key, 0) + 1
    home = {slug: max(counted, key=lambda key: counted[key]) for slug, counted in votes.items()}
    return [
        Series(lecture, tuple(_listed(c, rows.get(c.slug)) for c in plan.chapters if home.get(c.slug) == lecture.key))
        for lecture in plan.lectures.values()
    ]


def _listed(chapter: Chapter, row: Row | None) -> Listed:
    if row is None:
        return Listed(chapter, "", "")
    return Listed(chapter, f"chapters/{row.slug}/index.html", hours(sum(each.minutes for each in row.notebooks)))
