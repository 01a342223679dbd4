"""What stands at the head and at the end of a lesson page: minutes, exercises, the notebook, and where to go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nbformat.notebooknode import NotebookNode

from autograder.base import cache
from autograder.book.pages import hours
from autograder.book.render import block
from autograder.chapter import source
from autograder.chapter.book_plan import Plan
from autograder.chapter.lesson import Lesson
from autograder.chapter.rows import Row
from autograder.declare.exercise import Exercise
from autograder.release import assemble, launch_buttons

NOTEBOOKS = "notebooks"  # beside the pages of a chapter


@dataclass(frozen=True)
class Step:
    """Where a reader may go on."""

    address: str
    title: str
    minutes: str


def head(row: Row, lesson: Lesson, places: launch_buttons.Places | None) -> str:
    """Return the line below the title: how long it takes, what it holds, and where the notebook is."""
    own = exercises(row, lesson)
    core = sum(exercise.core for exercise in own)
    return block(
        "lesson_head.html",
        minutes=hours(lesson.minutes),
        core=core,
        extra=len(own) - core,
        notebook=f"{NOTEBOOKS}/{lesson.stem}.ipynb",
        places=launch_buttons.addresses(places, row.slug, lesson.stem) if places else {},
    )


def end(row: Row, lesson: Lesson, following: Step | None) -> str:
    """Return the last block: predictions that came true, exercises with their places, what is left, what comes next."""
    place = row.notebooks.index(lesson)
    left = sum(other.minutes for other in row.notebooks[place + 1 :])
    return block(
        "lesson_end.html",
        chapter=row.key,
        notebook=lesson.stem,
        exercises=exercises(row, lesson),
        following=following,
        left=hours(left) if left else "",
        download=f"{NOTEBOOKS}/{lesson.stem}.ipynb",
    )


def exercises(row: Row, lesson: Lesson) -> list[Exercise]:
    """Return the exercises of a lesson in their order."""
    return [row.exercise_by_name[name] for name in lesson.named("exercise")]


def following(plan: Plan, rows: Mapping[str, Row], row: Row, lesson: Lesson) -> Step | None:
    """Return the lesson after this one: the next of the chapter, else the first page of the next chapter."""
    place = row.notebooks.index(lesson) + 1
    if place < len(row.notebooks):
        after = row.notebooks[place]
        return Step(f"{after.stem}.html", after.title, hours(after.minutes))
    later: Sequence[str] = [c.slug for c in plan.chapters if c.slug in rows and c.number > row.number]
    if not later:
        return None
    chapter = rows[later[0]]
    title = next(f"{c.number} {c.title}" for c in plan.chapters if c.slug == chapter.slug)
    return Step(f"../{chapter.slug}/index.html", title, hours(sum(each.minutes for each in chapter.notebooks)))


def write_notebooks(row: Row, folder: Path) -> set[Path]:
    """Write the notebooks as students get them, with stubs for solutions, and return the files."""
    made = set()
    for lesson in row.notebooks:
        path = folder / NOTEBOOKS / f"{lesson.stem}.ipynb"
        cache.write(path, assemble.to_bytes(student_notebook(row, lesson)))
        made.add(path)
    return made


def student_notebook(row: Row, lesson: Lesson) -> NotebookNode:
    """Return a lesson in plain Markdown with a stub in every solution cell, and nothing of a grader's."""
    made = assemble.notebook(row, lesson, "source")
    for cell in made.cells:
        facts = cell.metadata.pop("nbgrader", {})
        if cell.cell_type == "code" and facts.get("solution"):
            cell.source = source.stub_of(cell.source)
    return made
