"""The lesson pages: the executed notebooks with the stub in the place of the reference, and the outputs kept."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import nbformat
from nbformat.notebooknode import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

from autograder.base import cache, paths
from autograder.book import leading, pictures, quiz, quiz_page
from autograder.chapter import folding, quick
from autograder.chapter.book_plan import Plan
from autograder.chapter.rows import Row
from autograder.release import assemble, launch_buttons
from autograder.release.execute_lessons import Execution
from dlcv_lab.checking.wire import decode_pack

# a section's heading with the label above it; headings inside fences do not occur in lessons
_SECTION = re.compile(r"^(?:\(\S+\)=\s*\n+)?## ", re.M)
_DRAWS = "The picture's code"
READ_LINES = 14  # a page prints no more of a cell; longer experiments fold as a whole
_SAMPLE = "<summary>What a wrong"  # how `check` begins the sample of a wrong verdict
_SAID_TWICE = re.compile(r"(<p>)For comparison, what a wrong answer reads: (.*?)(?= (?:\d+ of|The case|All))")
_ITSELF = re.compile(r"\bit was (.+?): “\1” is right\.", re.I)  # of a value that is an option's own words


def write_lessons(
    executions: Sequence[Execution],
    folder: Path,
    with_solutions: bool,
    row: Row,
    plan: Plan,
    loaded: Mapping[str, Row],
    places: launch_buttons.Places | None = None,
) -> None:
    """Write the page of every executed notebook of one chapter, its pictures and files, and remove what is gone.

    Args:
        executions: the chapter's notebooks as they ran.
        folder: of the chapter's pages; its name is the chapter's slug.
        with_solutions: put the worked solution under each exercise, folded away.
        row: the chapter.
        plan: of the whole book.
        loaded: the chapters of this book by their slugs.
        places: where the notebook can be opened; None leaves these buttons out.
    """
    wanted = leading.write_notebooks(row, folder)
    lessons = {lesson.stem: lesson for lesson in row.notebooks}
    for done in executions:
        page = page_of(nbformat.read(done.path, as_version=4), with_solutions)
        _add_quick_questions(page, folder.name, made=done.ran)  # from check packs, which come with a run
        lesson = lessons[done.notebook]
        _below_the_title(page, leading.head(row, lesson, places))
        following = leading.following(plan, loaded, row, lesson)
        page.cells.append(new_markdown_cell(leading.end(row, lesson, following), id="lesson-end"))
        wanted |= {folder / f"{done.notebook}.ipynb", *pictures.separate(page, folder)}
        cache.write(folder / f"{done.notebook}.ipynb", assemble.to_bytes(page))
    for stale in {*folder.glob("*.ipynb"), *folder.glob(f"{pictures.FOLDER}/*"), *folder.glob("notebooks/*")} - wanted:
        stale.unlink()


def _below_the_title(page: NotebookNode, block: str) -> None:
    """Put a block below the first heading of a page."""
    first = page.cells[0]
    title, rest = re.match(r"((?:\(\S+\)=\s*\n+)?# [^\n]*\n?)(.*)", first.source, re.S).groups()  # type: ignore[union-attr]
    first.source = f"{title.rstrip()}\n\n{block}\n{rest.lstrip()}"


def page_of(executed: NotebookNode, with_solutions: bool) -> NotebookNode:
    """Return the notebook as the book shows it.

    Every solution cell shows the released stub; with `with_solutions` the reference follows it, folded away. What the
    reference printed and drew stays, in this and in later cells. A prose cell that goes on to a new section is split.
    """
    cells: list[NotebookNode] = []
    for cell in executed.cells:
        facts = cell.metadata.get("dlcv", {})
        if cell.cell_type == "markdown":
            cells += _split(cell)
        elif "stub" in facts:
            solution = cell.source
            cell.source = facts["stub"]
            cells += [_what_to_write(cell), _behind(cell, "The whole stub: shapes, arguments, errors")]
            if with_solutions:
                cells.append(_folded(cell.id, str(facts["exercise"]), solution))
        else:
            if "check" in facts:
                _tag(cell, "check")
                _open_sample(cell)
            _say_once(cell)
            cells += _read_and_folded(cell)
    cells = _in_one_fold(cells)
    page: NotebookNode = nbformat.from_dict({**executed, "cells": cells})
    return page


def _tag(cell: NotebookNode, *tags: str) -> None:
    cell.metadata["tags"] = list(dict.fromkeys([*cell.metadata.get("tags", []), *tags]))


def _read_and_folded(cell: NotebookNode) -> list[NotebookNode]:
    """Return a code cell as the page prints it: what is read, and what draws behind one line; what asks is left out."""
    if re.search(r'^start\("ch', cell.source, re.M):
        return [_behind(cell, "The set-up")]
    if "hide-input" in cell.metadata.get("tags", []):
        return [_behind(cell, "The code")]
    if "shown" in cell.metadata.get("dlcv", {}):
        return [cell]
    read, drawing = folding.split(cell.source)
    if sum(bool(line.strip()) for line in read.split("\n")) > READ_LINES:
        cell.source = f"{read}\n\n{drawing}".strip()
        return [_behind(cell, "The experiment's code")]
    if not drawing:
        if read:
            cell.source = read
        else:  # MyST-NB drops a cell without source, and its output with it
            _tag(cell, "remove-input")
        return [cell]
    first = new_code_cell(read, id=f"{cell.id}-read"[:64], execution_count=cell.execution_count)
    cell.source = drawing
    return [*([first] if read else []), _behind(cell, _DRAWS)]


def _in_one_fold(cells: Sequence[NotebookNode]) -> list[NotebookNode]:
    """Return the cells with those that fold whole and show nothing put into the fold that follows."""
    out: list[NotebookNode] = []
    for cell in cells:
        before = out[-1] if out else None
        if before is not None and _folds(before) and _folds(cell) and not before.get("outputs"):
            cell.source = f"{before.source}\n\n\n{cell.source}"
            out[-1] = cell
        else:
            out.append(cell)
    return out


def _folds(cell: NotebookNode) -> bool:
    """Tell whether a cell folds behind a line that may stand for other code, too."""
    return cell.metadata.get("mystnb", {}).get("code_prompt_show", "") in ("The code", "The experiment's code", _DRAWS)


def _say_once(cell: NotebookNode) -> None:
    """Take out of what a cell shows the words that stand beside it: above a wrong verdict, and as an option."""
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        if "text/html" in data:
            text = _SAID_TWICE.sub(r"\1\2:", data["text/html"])
            if "dlcv-reveal" in text:
                text = _ITSELF.sub(lambda found: f"{'It' if found[0][0] == 'I' else 'it'} was “{found[1]}”.", text)
            data["text/html"] = text


def _what_to_write(cell: NotebookNode) -> NotebookNode:
    """Return what a stub asks for: its signatures, and the first sentence of each docstring."""
    lines = cell.source.split("\n")
    parts = []
    for node in ast.parse(cell.source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            inside = node.body if isinstance(node, ast.ClassDef) else []
            methods = [each for each in inside if isinstance(each, ast.FunctionDef)]
            heads = [_head(lines, each) for each in (node, *methods)]
            said = (ast.get_docstring(node) or "").split("\n\n")[0]
            parts.append("```python\n" + "\n".join(heads) + "\n```\n\n" + " ".join(said.split()))
    return new_markdown_cell("\n\n".join(parts), id=f"{cell.id}-asked"[:64])


def _head(lines: Sequence[str], node: ast.FunctionDef | ast.ClassDef) -> str:
    """Return the lines of a definition up to its colon."""
    return "\n".join(lines[node.lineno - 1 : max(node.lineno, node.body[0].lineno - 1)])


def _behind(cell: NotebookNode, line: str) -> NotebookNode:
    """Fold the source of a cell behind one line."""
    _tag(cell, "hide-input")
    cell.metadata["mystnb"] = {"code_prompt_show": line, "code_prompt_hide": line}
    return cell


def _split(cell: NotebookNode) -> list[NotebookNode]:
    """Return a prose cell as one cell a section."""
    starts = [found.start() for found in _SECTION.finditer(cell.source) if found.start()]
    if not starts:
        return [cell]
    ends = [*starts, len(cell.source)]
    texts = [cell.source[start:end].strip("\n") for start, end in zip([0, *starts], ends)]
    return [new_markdown_cell(text, id=f"{cell.id}-{index}"[:64]) for index, text in enumerate(texts)]


def _open_sample(check: NotebookNode) -> None:
    """Let the page show what a wrong answer reads beside what the right one does, not behind a click."""
    for output in check.get("outputs", []):
        data = output.get("data", {})
        if "text/html" in data:
            data["text/html"] = data["text/html"].replace(f"<details>{_SAMPLE}", f"<details open>{_SAMPLE}")


def _folded(cell_id: str, name: str, solution: str) -> NotebookNode:
    text = f"::::{{dropdown}} A worked solution of `{name}`\n```python\n{solution.strip()}\n```\n::::"
    return new_markdown_cell(text, id=f"{cell_id}-solution"[:64])


def _add_quick_questions(page: NotebookNode, slug: str, *, made: bool) -> None:
    """Put the quick questions of every section at its end: those that stand in it, else some on its exercises, if they
    are to be `made`."""
    cells: list[NotebookNode] = []
    for number, section in enumerate(_sections(page)):
        written: list[quick.Quick] = []
        for cell in section:
            if cell.cell_type == "markdown":
                cell.source, found = quick.take(cell.source)
                written += found
        block = quiz_page.section_block(written or (_generated(section, slug) if made else []), slug)
        cells += [cell for cell in section if cell.cell_type != "markdown" or cell.source.strip()]
        cells += [new_markdown_cell(block, id=f"quick-{number}")] if block else []
    page.cells = cells


def _generated(section: Sequence[NotebookNode], slug: str) -> list[quiz.QuickQuestion]:
    names = [cell.metadata["dlcv"]["exercise"] for cell in section if "exercise" in cell.metadata.get("dlcv", {})]
    return quiz.for_section([decode_pack((paths.packs() / slug / f"{name}.pack").read_bytes()) for name in names])


def _sections(page: NotebookNode) -> Iterator[list[NotebookNode]]:
    section: list[NotebookNode] = []
    for cell in page.cells:
        if cell.cell_type == "markdown" and _SECTION.match(cell.source) and section:
            yield section
            section = []
        section.append(cell)
    yield section
