"""The pages of the book that are made from the rows: the chapters, the map of methods, and one page a chapter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from autograder.book.claims_page import verdict_line
from autograder.chapter.book_plan import Chapter, Plan
from autograder.chapter.markup import raw
from autograder.chapter.rows import Row

STATUS = {"works": ("●", "works"), "partial": ("◐", "partly"), "missing": ("○", "to come")}
KIND = {"build": "built", "row": "compared", "read": "explained"}

Method = Mapping[str, Any]  # an entry of `dlcv methods --json`


def hours(minutes: int) -> str:
    """Write a duration as a reader plans it: "50 min", "3 h", "2.5 h"."""
    return f"{minutes} min" if minutes < 60 else f"{round(minutes / 30) / 2:g} h"


def count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def status_mark(status: str) -> str:
    sign, word = STATUS[status]
    return f'<span class="status status-{status}"><span aria-hidden="true">{sign}</span> {word}</span>'


def places(rows: Mapping[str, Row], methods: Sequence[Method]) -> dict[str, str]:
    """Return method key -> address of its place in the book, for every method that has one."""
    found: dict[str, str] = {}
    for method in methods:
        row = rows.get(str(method["chapter"]))
        if row is None:
            continue
        home = f"chapters/{row.slug}"
        asked = {name: lesson.path.stem for lesson in row.notebooks for name in lesson.named("exercise")}
        exercise = next((name for name in method["exercises"] if name in asked), None)
        lesson = next(
            (lesson.path.stem for lesson in row.notebooks if method["key"] in lesson.meta.get("methods", ())), None
        )
        if exercise:
            found[method["key"]] = f"{home}/{asked[exercise]}.html#exercise-{exercise.replace('_', '-')}"
        elif lesson:
            found[method["key"]] = f"{home}/{lesson}.html"
    return found


def chapters_page(plan: Plan, rows: Mapping[str, Row], methods: Sequence[Method]) -> str:
    """Return the page that lists all chapters in their parts."""
    by_chapter: dict[str, list[Method]] = {}
    for method in methods:
        by_chapter.setdefault(str(method["chapter"]), []).append(method)
    lines = [
        "# The chapters",
        "",
        f"{count(len(plan.chapters), 'chapter')} are planned, in {len(plan.parts)} parts; "
        f"{count(len(rows), 'chapter')} {'is' if len(rows) == 1 else 'are'} in this book. "
        "A card with a solid frame can be read.",
        "",
    ]
    for part in plan.parts:
        lines += [f"## {part.title}", "", part.text, ""]
        cards = [chapter_card(c, rows.get(c.slug), by_chapter.get(c.slug, [])) for c in part.chapters]
        lines.append(raw(f'<ul class="book-cards">{"".join(cards)}</ul>'))
    lines += [
        "## The lectures",
        "",
        "The book follows four lecture series. It keeps their order of topics and tests their claims.",
        "",
    ]
    for lecture in plan.lectures.values():
        many = sum(lecture.key in str(method["lecture"]).split(";") for method in methods)
        lines.append(
            f"- **{lecture.title}**, {lecture.speaker}, {lecture.when} "
            f"(on the map: {lecture.key}, {count(many, 'method')})."
        )
    return "\n".join(lines) + "\n"


def chapter_card(chapter: Chapter, row: Row | None, methods: Sequence[Method]) -> str:
    number = f'<span class="number">{chapter.number}</span>'
    if row is None:
        facts = f"to come · {count(len(methods), 'method')}"
        return (
            f'<li class="planned"><p class="name">{number}{escape(chapter.title)}</p>'
            f'<p>{escape(chapter.after)}</p><p class="facts">{facts}</p></li>'
        )
    core = sum(exercise.core for exercise in row.exercises)
    works = sum(method["status"] == "works" for method in methods)
    facts = " · ".join(
        [
            count(len(row.notebooks), "notebook"),
            hours(sum(int(lesson.meta.get("minutes", 0)) for lesson in row.notebooks)),
            f"{core} core and {len(row.exercises) - core} extra exercises",
            f"{works} of {count(len(methods), 'method')} work{'s' if works == 1 else ''}",
        ]
    )
    return (
        f'<li><p class="name"><a href="chapters/{row.slug}/index.html">{number}{escape(chapter.title)}</a></p>'
        f'<p>{escape(chapter.after)}</p><p class="facts">{facts}</p></li>'
    )


def methods_page(plan: Plan, methods: Sequence[Method], place: Mapping[str, str]) -> str:
    """Return the map of all methods: a plain table, which a script narrows where scripts run."""
    states = Counter(str(method["status"]) for method in methods)
    head = f"""---
html_theme.sidebar_secondary.remove: true
---

# The map of methods

Every method and system that the four lectures name stands here: {len(methods)} in all. **Built** means that you write
it, or watch it being written, and run it; **compared** that it runs as a baseline; **explained** that its idea and what
became of it are told in its place.

The last column is computed each time this book is made. A method *works* when its exercise or its shown code is there,
a test against an independent implementation passes, and its claim was measured. Today {states["works"]} work,
{states["partial"]} are there in part and {states["missing"]} are to come.
"""
    groups = []
    for part in plan.parts:
        for chapter in part.chapters:
            own = [method for method in methods if method["chapter"] == chapter.slug]
            groups += [_group(part.number, chapter, own, place)] if own else []
    table = (
        '<table class="methods"><colgroup><col><col class="c-lecture"><col class="c-kind"><col class="c-status">'
        "</colgroup>"
        '<thead><tr><th scope="col">Method</th><th scope="col">Lecture</th><th scope="col">Kind</th>'
        f'<th scope="col">Status</th></tr></thead>\n{"".join(groups)}</table>'
    )
    return (
        head + "\n" + raw(f'<div id="methods-map">{_form(plan)}\n<output aria-live="polite"></output>\n{table}</div>')
    )


def _form(plan: Plan) -> str:
    def choice(name: str, label: str, options: Mapping[str, str]) -> str:
        items = "".join(f'<option value="{escape(value)}">{escape(text)}</option>' for value, text in options.items())
        return f'<label>{label}<select name="{name}"><option value="">all</option>{items}</select></label>'

    return "".join(
        [
            '<form hidden aria-label="Narrow the map">',
            '<label class="wide">Search<input type="search" name="text" autocomplete="off" '
            'placeholder="attention, LoRA, U-Net"></label>',
            choice("part", "Part", {str(part.number): part.title for part in plan.parts}),
            choice("lecture", "Lecture", {key: f"{key} {lecture.speaker}" for key, lecture in plan.lectures.items()}),
            choice("kind", "Kind", KIND),
            choice("status", "Status", {key: word for key, (_, word) in STATUS.items()}),
            '<button type="reset">Clear</button></form>',
        ]
    )


def _group(part: int, chapter: Chapter, methods: Sequence[Method], place: Mapping[str, str]) -> str:
    lines = [
        f'<tbody data-part="{part}"><tr><th class="chapter" colspan="4" scope="rowgroup" id="{chapter.key}">'
        f"{chapter.number} {escape(chapter.title)}<small>{count(len(methods), 'method')}</small></th></tr>"
    ]
    for method in methods:
        key, title = str(method["key"]), escape(str(method["title"]))
        name = f'<a href="{place[key]}">{title}</a>' if key in place else title
        lectures = str(method["lecture"]).split(";")
        lines.append(
            f'<tr data-key="{escape(key)}" data-lecture="{" ".join(lectures)}" data-kind="{method["kind"]}" '
            f'data-status="{method["status"]}"><td>{name}<span class="key">{escape(key)}</span></td>'
            f"<td>{', '.join(lectures)}</td>"
            f"<td>{KIND[str(method['kind'])]}</td><td>{status_mark(str(method['status']))}</td></tr>"
        )
    return "\n".join([*lines, "</tbody>\n"])


def chapter_page(
    plan: Plan,
    row: Row,
    methods: Sequence[Method],
    place: Mapping[str, str],
    claims: Sequence[Mapping[str, Any]],
    seconds: Mapping[tuple[str, str], float],
) -> str:
    """Return the first page of a chapter: what it is about, its notebooks, its methods, what was measured."""
    chapter = next(chapter for chapter in plan.chapters if chapter.slug == row.slug)
    lines = [f"({chapter.key})=", f"# {chapter.number} {chapter.title}", ""]
    lines += [f"After this chapter you can: {_lower(chapter.after)}", ""] if chapter.after else []
    story = str(row.notebooks[0].meta.get("story", "")).strip() if row.notebooks else ""
    lines += [story, ""] if story else []
    cards = [_notebook_card(row, index, seconds) for index in range(len(row.notebooks))]
    lines.append(raw(f'<ul class="book-cards">{"".join(cards)}</ul>'))
    needs = list(dict.fromkeys(str(key) for lesson in row.notebooks for key in lesson.meta.get("needs") or ()))
    if needs:
        names = [f"{c.number} {c.title}" for c in plan.chapters if c.key in needs]
        lines += [f"It needs a little of: {', '.join(names)}. The first notebook starts with a warm-up for each.", ""]
    lines += ["## Methods", "", "| method | kind | status |", "|---|---|---|"]
    for method in methods:
        title = str(method["title"]).replace("|", "\\|")
        address = place.get(str(method["key"]))
        # places are addresses from the root of the book; this page lies beside its notebooks
        link = f'<a href="{address.rsplit("/", 1)[1]}">{escape(title)}</a>' if address else escape(title)
        key = f'<span class="key">{escape(str(method["key"]))}</span>'
        lines.append(f"| {link} {key} | {KIND[str(method['kind'])]} | {status_mark(str(method['status']))} |")
    lines += ["", "## Measured", ""]
    if claims:
        holding = sum(bool(claim["holds"]) for claim in claims)
        lines += [
            f"{count(len(claims), 'claim')} of the lectures and papers were put to the test here; {holding} "
            f"hold{'s' if holding == 1 else ''} at this scale. "
            f"The [claims page](../../claims.md) has conditions and thresholds.",
            "",
            *(f"- {verdict_line(row.key, claim)}" for claim in claims),
        ]
    else:
        lines.append("No claim of this chapter has been measured yet.")
    return "\n".join(lines) + "\n"


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _notebook_card(row: Row, index: int, seconds: Mapping[tuple[str, str], float]) -> str:
    lesson = row.notebooks[index]
    own = [row.exercise_by_name[name] for name in lesson.named("exercise") if name in row.exercise_by_name]
    core = [exercise for exercise in own if exercise.core]
    facts = [hours(int(lesson.meta.get("minutes", 0))), f"{len(core)} core, {len(own) - len(core)} extra"]
    points = sum(exercise.points for exercise in core)
    facts += [f"{points:g} points"] if points else []
    ran = seconds.get((row.key, lesson.path.stem))
    facts += [f"runs in {ran:.0f} s"] if ran else []
    names = ", ".join(f"<code>{escape(exercise.name)}</code>" for exercise in core)
    about = f"<p>You write {names}.</p>" if names else ""
    return (
        f'<li><p class="name"><a href="{lesson.path.stem}.html"><span class="number">{row.number}.{index + 1}</span>'
        f"{escape(str(lesson.meta.get('title', lesson.path.stem)))}</a></p>{about}"
        f'<p class="facts">{" · ".join(facts)}</p></li>'
    )
