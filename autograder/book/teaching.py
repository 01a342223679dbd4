"""The pages for whoever teaches a chapter: its time, what to vote on and discuss, what goes wrong, what may be cut.

They are made from the rows. Nothing on them is hidden from students: rubrics, sample answers and solutions stay out.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from textwrap import indent

from autograder.book.pages import count, hours
from autograder.book.render import prose
from autograder.chapter import syllabus
from autograder.chapter.book_plan import Plan
from autograder.chapter.cards import number
from autograder.chapter.lesson import Lesson
from autograder.chapter.markup import raw
from autograder.chapter.rows import Row
from autograder.declare.exercise import Exercise

HEAD = """\
# Teaching with this book

Each chapter has a page for whoever teaches it: how long it takes, where a class can vote, what to discuss, which
mistakes to expect, and what may be left out when there is one week of three hours. The pages are made from the same
files as the lessons, so they cannot lag behind.

Students may read them. What they must not see is not here: how written questions are marked lies in
`build/instructor/` after `dlcv assemble`, and solutions are released after the deadline
(see [for instructors](../../../book/howto/instructor.md)).
"""
TERM_HOURS = 140  # of a student's work that a course of three credits may ask for
WEEK_HOURS = 9


def overview(plan: Plan, rows: Mapping[str, Row]) -> str:
    """Return the first page: all chapters with the hours that they ask for."""
    lines = [HEAD, "| chapter | reading and experiments | core exercises | extras | points |", "|---|---|---|---|---|"]
    loads = []
    for chapter in plan.chapters:
        row = rows.get(chapter.slug)
        if row:
            load = syllabus.load_of(row)
            loads.append(load)
            lines.append(
                f"| [{chapter.number} {chapter.title}]({chapter.slug}.md) | {hours(load.reading)} | {hours(load.core)} "
                f"| {hours(load.extra)} | {number(load.points)} |"
            )
    return "\n".join([*lines, *_term(loads)]) + "\n"


def _term(loads: Sequence[syllabus.Load]) -> Iterator[str]:
    """Say how far the chapters go in a term."""
    together = sum(load.hours for load in loads)
    names = " ".join(load.chapter.removeprefix("ch").lstrip("0") for load in loads)
    yield ""
    yield (
        f"Together about {together:.0f} hours of a student's work without the extras: "
        f"{count(syllabus.weeks(loads, WEEK_HOURS), 'week')} at {WEEK_HOURS} hours a week. A course of three credits "
        f"has about {TERM_HOURS} hours. `dlcv syllabus {names} --hours-a-week {WEEK_HOURS}` prints the plan of the "
        f"chapters that you choose."
    )


def page(plan: Plan, row: Row) -> str:
    """Return the page for whoever teaches one chapter."""
    chapter = next(chapter for chapter in plan.chapters if chapter.slug == row.slug)
    lines = [f"# Teaching {chapter.number} {chapter.title}", ""]
    lines += [f"The [chapter](../chapters/{row.slug}/index.md) and its notebooks.", ""]
    lines += [*_time(row), *_one_week(row), *_votes(row), *_discussion(row), *_mistakes(row), *_by_hand(row)]
    return "\n".join(lines) + "\n"


def _time(row: Row) -> Iterator[str]:
    load = syllabus.load_of(row)
    yield from ["## Time", ""]
    for lesson in row.notebooks:
        core, extra = _own(row, lesson, core=True), _own(row, lesson, core=False)
        yield (
            f"- [{lesson.title}](../chapters/{row.slug}/{lesson.stem}.ipynb): {hours(lesson.minutes)} in all. "
            f"Core: {_minutes(core)}. Extras: {_minutes(extra)}."
        )
    yield ""
    yield (
        f"{hours(load.reading + load.core)} of a student's time, of which {hours(load.core)} are the "
        f"{count(load.core_exercises, 'core exercise')}. The extras would take about {hours(load.extra)} more; they "
        f"have the same checks and no marks.\n"
    )


def _own(row: Row, lesson: Lesson, *, core: bool) -> list[Exercise]:
    return [row.exercise_by_name[name] for name in lesson.named("exercise") if row.exercise_by_name[name].core is core]


def _minutes(exercises: Sequence[Exercise]) -> str:
    if not exercises:
        return "none"
    names = ", ".join(f"`{exercise.name}`" for exercise in exercises)
    return f"{names} ({sum(exercise.minutes for exercise in exercises)} min)"


def _one_week(row: Row) -> Iterator[str]:
    yield from ["## In one week of three hours", ""]
    needed = {name for exercise in row.exercises if exercise.core for name in exercise.uses}
    extras = [exercise for exercise in row.exercises if not exercise.core]
    free = [f"`{exercise.name}`" for exercise in extras if exercise.name not in needed]
    kept = [f"`{exercise.name}`" for exercise in extras if exercise.name in needed]
    if free:
        yield f"- Leave out the extras; no core exercise needs them: {', '.join(free)}."
    if kept:
        yield f"- Keep {', '.join(kept)}: a core exercise builds on it."
    for lesson in row.notebooks:
        sections = [f"“{heading}”" for heading in lesson.meta.get("cut", ())]
        if sections:
            yield f"- Of *{lesson.title}* these sections may be cut: {', '.join(sections)}."
    yield (
        "- Use the time in class for the predictions and the pictures after them, and give the core exercises as "
        "homework: a cell that needs an unsolved exercise says so and the notebook runs on.\n"
    )


def predictions(lesson: Lesson) -> Iterator[tuple[str, list[str]]]:
    """Yield (question, options) of every `predict` of a lesson that is written out plainly."""
    for cell in lesson.cells:
        if cell.kind != "given" or "predict(" not in cell.source:
            continue
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "predict":
                try:
                    yield ast.literal_eval(node.args[0]), list(ast.literal_eval(node.args[1]))
                except (ValueError, IndexError):
                    continue


def _votes(row: Row) -> Iterator[str]:
    asked = [vote for lesson in row.notebooks for vote in predictions(lesson)]
    if asked:
        yield from ["## Stop here and let the class vote", ""]
        yield from (f"- {question} ({' · '.join(options)})" for question, options in asked)
        yield ""


def _discussion(row: Row) -> Iterator[str]:
    yield from ["## Questions to discuss", ""]
    yield from (f"1. {question}" for lesson in row.notebooks for question in lesson.meta.get("discussion", ()))
    yield ""


def _mistakes(row: Row) -> Iterator[str]:
    yield from ["## Common mistakes", "", "What `check` says to each, and where the mistake is known from.", ""]
    for exercise in row.exercises:
        kind = "core" if exercise.core else "extra"
        lines = "".join(
            f"<li>{prose(wrong.hint)} <small>{escape(wrong.source_of)}</small></li>"
            for wrong in exercise.misconceptions
        )
        head = f"<code>{escape(exercise.name)}</code>, {kind}: {count(len(exercise.misconceptions), 'known mistake')}"
        yield raw(f'<details class="mistakes"><summary>{head}</summary><ul>{lines}</ul></details>')


def _by_hand(row: Row) -> Iterator[str]:
    if row.questions:
        yield from ["## Marked by hand", ""]
        for question in row.questions:
            yield f"- `{question.name}`, {number(question.points)} points:\n\n{indent(question.text.strip(), '  ')}\n"
        yield f"\nRubric and sample answers: `build/instructor/{row.slug}.md`.\n"
