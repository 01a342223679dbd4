"""From lesson.md, solutions and exercises to notebooks: the nbgrader source, the book's source, the markers' sheet.

The same inputs give the same bytes, wherever the checkout lies: cell ids come from names and contents, and nothing
holds a time, a path or a hash of Python's own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import nbformat
from nbformat.notebooknode import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from autograder.base import cache, paths
from autograder.chapter import book_plan, cards, elsewhere, folding, references, row_checks, source
from autograder.chapter.lesson import Lesson, LessonCell
from autograder.chapter.markup import MarkupError, Rewriter, headings
from autograder.chapter.rows import Row, RowError
from autograder.declare.exercise import Exercise, Question
from autograder.release import packing
from dlcv_lab.checking.extract import grade_id

__all__ = ["ANSWER", "assemble", "check_id", "grade_id", "marking_sheet", "notebook", "to_bytes"]

Edition = Literal["source", "book"]

ANSWER = "*Write your answer here.*"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def check_id(key: str) -> str:
    """Return nbgrader's id of the graded check cell of an exercise."""
    return grade_id(key) + "-check"


def assemble(row: Row, *, packs: bool = True, progress: Callable[[str], None] = lambda name: None) -> list[Path]:
    """Build everything of one chapter that needs no execution, and return the files.

    Raises:
        RowError: a static check fails; every line of the message names a file and a remedy.
    """
    row_checks.raise_findings(row)
    made = []
    for lesson in row.notebooks:
        for edition, home in (("source", paths.source(row.slug)), ("book", paths.booksrc(row.slug))):
            path = home / f"{lesson.stem}.ipynb"
            cache.write(path, to_bytes(notebook(row, lesson, edition)))  # type: ignore[arg-type]
            made.append(path)
    for home in (paths.source(row.slug), paths.booksrc(row.slug)):
        for stale in set(home.glob("*.ipynb")) - set(made):
            stale.unlink()
    if row.questions:
        made.append(paths.instructor() / f"{row.slug}.md")
        cache.write(made[-1], marking_sheet(row).encode())
    if packs:
        made += packing.build_packs(row, progress)
    return made


def to_bytes(nb: NotebookNode) -> bytes:
    """Return a notebook as it is written to disk."""
    return (nbformat.writes(nb, version=4) + "\n").encode()


def notebook(row: Row, lesson: Lesson, edition: Edition) -> NotebookNode:
    """Return one notebook with the reference in its solution cells.

    "source" is nbgrader's instructor version, in plain Markdown. "book" keeps MyST and carries, in the metadata of each
    solution cell, `dlcv.exercise`, and `dlcv.stub`, which the page shows instead.
    """
    maker = _Maker(row, lesson, edition)
    cells = [made for cell in lesson.cells for made in maker.cells(cell)]
    metadata: dict[str, Any] = {
        "kernelspec": KERNEL,
        "language_info": {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"},
        "dlcv": {"chapter": row.key, "slug": row.slug, "notebook": lesson.stem, "title": lesson.title},
    }
    nb = new_notebook(cells=cells, metadata=metadata)
    nb.nbformat_minor = 5
    nbformat.validate(nb)
    return nb


class _Maker:
    def __init__(self, row: Row, lesson: Lesson, edition: Edition) -> None:
        self.row, self.lesson, self.edition = row, lesson, edition
        labels = elsewhere.labels(book_plan.read()) | {
            label: text
            for other in row.notebooks
            for label, text in headings(other.path.read_text(encoding="utf-8")).items()
        }
        self.rewriter = Rewriter(references.load(), labels)
        self.seen: Counter[str] = Counter()

    def cells(self, cell: LessonCell) -> list[NotebookNode]:
        if cell.kind == "prose":
            return [self._markdown(self._prose(cell))]
        if cell.kind == "exercise":
            return self._exercise(self.row.exercise_by_name[cell.names[0]])
        if cell.kind == "question":
            return self._question(self.row.question_by_name[cell.names[0]])
        text = cell.source
        if cell.kind == "show":
            text = "\n\n\n".join(source.without_markers(self.row.source(name)) for name in cell.names)
        made = new_code_cell(text, id=self._content_id("code", text))
        if cell.kind == "show" and self.edition == "book":
            made.metadata["dlcv"] = {"shown": list(cell.names)}
        if cell.tags:
            made.metadata["tags"] = list(cell.tags)
        if self.edition == "source" and cell.kind == "given" and folding.only_draws(text):
            made.metadata["jupyter"] = {"source_hidden": True}  # one click opens it
        return [made]

    def _prose(self, cell: LessonCell) -> str:
        try:
            plain = self.rewriter.rewrite(cell.source)
        except MarkupError as error:
            raise RowError(f"{self.lesson.where(cell)}: {error}") from None
        return cell.source if self.edition == "book" else plain

    def _markdown(self, text: str, name: str = "") -> NotebookNode:
        return new_markdown_cell(text, id=name or self._content_id("text", text))

    def _content_id(self, kind: str, text: str) -> str:
        digest = source.short_hash(text)
        self.seen[digest] += 1
        count = self.seen[digest]
        return f"{kind}-{digest}" + (f"-{count}" if count > 1 else "")

    def _exercise(self, exercise: Exercise) -> list[NotebookNode]:
        key = f"{self.row.key}.{exercise.name}"
        text = self.row.reference(exercise)
        solution = new_code_cell(text, id=grade_id(key))
        check = new_code_cell(f'check("{exercise.name}")', id=check_id(key))
        if self.edition == "book":
            solution.source = source.without_markers(text)
            solution.metadata["dlcv"] = {"exercise": exercise.name, "stub": source.stub_of(text)}
            check.metadata["dlcv"] = {"check": exercise.name}
        else:
            solution.metadata["nbgrader"] = _nbgrader(grade_id(key), solution=True)
            if exercise.core:
                check.metadata["nbgrader"] = _nbgrader(check_id(key), grade=True, locked=True, points=exercise.points)
        card = self._markdown(cards.exercise_card(exercise, self._functions(exercise)), grade_id(key) + "-card")
        return [card, solution, check]

    def _functions(self, exercise: Exercise) -> list[str]:
        """Return those functions of the used exercises that the reference calls: `conv_out` of `output_size`."""
        known = source.free_names(self.row.reference(exercise))
        used = [self.row.exercise_by_name[name] for name in exercise.uses]
        return [name for other in used for name in other.defines if name in known]

    def _question(self, question: Question) -> list[NotebookNode]:
        key = f"{self.row.key}.{question.name}"
        try:
            text = cards.question_card(question)
            plain = self.rewriter.rewrite(text)
        except MarkupError as error:
            raise RowError(f"{paths.shown(self.row.exercise_files[0])}: question {question.name}: {error}") from None
        card = self._markdown(text if self.edition == "book" else plain, grade_id(key) + "-card")
        answer = self._markdown(ANSWER, grade_id(key))
        if self.edition == "source":
            answer.metadata["nbgrader"] = _nbgrader(grade_id(key), grade=True, solution=True, points=question.points)
        return [card, answer]


def _nbgrader(
    name: str, *, grade: bool = False, solution: bool = False, locked: bool = False, points: float | None = None
) -> dict[str, Any]:
    """Return the cell metadata of nbgrader's schema 3."""
    found: dict[str, Any] = {
        "grade": grade,
        "grade_id": name,
        "locked": locked,
        "schema_version": 3,
        "solution": solution,
        "task": False,
    }
    return found | ({"points": points} if points is not None else {})


def marking_sheet(row: Row) -> str:
    """Return rubric and sample answers of a chapter's written questions: for markers only, never released."""
    parts = [f"# {row.key} {row.title}: how the written questions are marked\n"]
    for question in row.questions:
        parts.append(f"## `{question.name}` ({cards.plural(question.points, 'point')})\n\n{question.text.strip()}\n")
        parts.append(f"### Rubric\n\n{question.rubric.strip()}\n\n### Sample answers\n")
        for points, answer in question.samples:
            parts.append(f"**{cards.number(points)} of {cards.number(question.points)}**\n\n{answer.strip()}\n")
    return "\n".join(parts)
