"""The lesson pages: the executed notebooks with the stub in the place of the reference, and the outputs kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbformat.notebooknode import NotebookNode
from nbformat.v4 import new_markdown_cell

from autograder import assemble, cache
from autograder.execute_lessons import Execution


def write_lessons(executions: Sequence[Execution], folder: Path, with_solutions: bool) -> None:
    """Write the page of every executed notebook of one chapter, and remove pages of notebooks that are gone."""
    wanted = set()
    for done in executions:
        page = page_of(nbformat.read(done.path, as_version=4), with_solutions)
        wanted.add(folder / f"{done.notebook}.ipynb")
        cache.write(folder / f"{done.notebook}.ipynb", assemble.to_bytes(page))
    for stale in set(folder.glob("*.ipynb")) - wanted:
        stale.unlink()


def page_of(executed: NotebookNode, with_solutions: bool) -> NotebookNode:
    """Return the notebook as the book shows it.

    Every solution cell shows the released stub; with `with_solutions` the reference follows it, folded away. What the
    reference printed and drew stays, in this and in later cells.
    """
    cells: list[NotebookNode] = []
    for cell in executed.cells:
        facts = cell.metadata.get("dlcv", {})
        cells.append(cell)
        if "check" in facts:
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), "check"]
        if "stub" in facts:
            solution = cell.source
            cell.source = facts["stub"]
            if with_solutions:
                cells.append(_folded(cell.id, str(facts["exercise"]), solution))
    page: NotebookNode = nbformat.from_dict({**executed, "cells": cells})
    return page


def _folded(cell_id: str, name: str, solution: str) -> NotebookNode:
    text = f"::::{{dropdown}} A worked solution of `{name}`\n```python\n{solution.strip()}\n```\n::::"
    return new_markdown_cell(text, id=f"{cell_id}-solution"[:64])
