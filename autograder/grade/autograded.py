"""The autograded copy of a notebook: the student's text in our cells, with our verdicts where outputs would be.

Ids, points, types and the text of locked cells come from the gradebook; the student's metadata, outputs and tags do
not survive. A graded cell never stays without output: nbgrader would read that as full marks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nbformat import NotebookNode, v4

from autograder.base.wording import headline, plain_text
from autograder.release.assemble import check_id
from dlcv_lab.checking.model import ExerciseResult, Verdict

_CHECK = re.compile(r"""^\s*check\(\s*["'](\w+)["']\s*\)\s*$""")
_MISSING = "*This cell was missing from the submission; it was put back by the grader.*"


@dataclass(frozen=True)
class Known:
    """What the gradebook knows about one cell of the released notebook."""

    name: str
    cell_type: str
    source: str
    checksum: str | None
    locked: bool
    grade: bool
    solution: bool
    task: bool
    points: float = 0.0

    def metadata(self) -> dict[str, Any]:
        """Return nbgrader's metadata of the cell, schema 3."""
        found: dict[str, Any] = {
            "grade": self.grade, "grade_id": self.name, "locked": self.locked, "schema_version": 3,
            "solution": self.solution, "task": self.task, "cell_type": self.cell_type, "checksum": self.checksum,
        }  # fmt: skip
        return found | ({"points": self.points} if self.grade or self.task else {})


class UnjudgedError(RuntimeError):
    """An exercise has no verdict of its own fault; nothing may be written for it."""


def compose(
    submitted: Iterable[Mapping[str, Any]] | None, known: list[Known], results: Iterable[ExerciseResult], chapter: str
) -> NotebookNode:
    """Return the autograded notebook.

    `submitted` holds the cells of the student's notebook as JSON, or None where it could not be read. Duplicated ids
    count once, the last time; missing cells come back at the end. Raises `UnjudgedError` where a graded cell has no
    result or the grader itself failed: such a cell must never reach nbgrader's scoring.
    """
    table = {cell.name: cell for cell in known}
    by_id = {check_id(f"{chapter}.{result.name}"): result for result in results}
    cells = [_plain_cell(cell) for cell in submitted or ()]
    last = {name: index for index, (_, name) in enumerate(cells) if name in table}
    made = []
    for index, (cell, name) in enumerate(cells):
        entry = table.get(name or "")
        made.append(_known_cell(entry, cell.source) if entry and last[entry.name] == index else cell)
    if submitted is None:
        made.append(v4.new_markdown_cell("**The submitted notebook could not be read.**"))
    for entry in known:
        if entry.name not in last:
            made += [v4.new_markdown_cell(_MISSING), _known_cell(entry, entry.source)]
    for number, cell in enumerate(made):
        cell["id"] = f"cell-{number}"
        _put_verdict(cell, table, by_id)
    metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
                "language_info": {"name": "python"}}  # fmt: skip
    notebook = v4.new_notebook(cells=made, metadata=metadata)
    notebook.nbformat_minor = 5
    return notebook


def cells_of(raw: bytes) -> list[dict[str, Any]] | None:
    """Return the cells of a notebook's JSON for showing, or None where it cannot be read."""
    try:
        cells = json.loads(raw.decode("utf-8-sig"))["cells"]
        return [cell for cell in cells if isinstance(cell, dict)]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _plain_cell(cell: Mapping[str, Any]) -> tuple[NotebookNode, str | None]:
    """Return a cell with nothing of the student's but its type and text, and the id it claims."""
    source = cell.get("source", "")
    if isinstance(source, list):
        source = "".join(part for part in source if isinstance(part, str))
    text = plain_text(source) if isinstance(source, str) else ""
    maker = {"code": v4.new_code_cell, "raw": v4.new_raw_cell}.get(str(cell.get("cell_type")), v4.new_markdown_cell)
    metadata = cell.get("metadata")
    facts = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    name = facts.get("grade_id") if isinstance(facts, dict) else None
    return maker(text), name if isinstance(name, str) else None


def _known_cell(entry: Known, text: str) -> NotebookNode:
    made = (v4.new_code_cell if entry.cell_type == "code" else v4.new_markdown_cell)(
        entry.source if entry.locked else text
    )
    made.metadata["nbgrader"] = NotebookNode(entry.metadata())
    return made


def _put_verdict(cell: NotebookNode, table: dict[str, Known], by_id: dict[str, ExerciseResult]) -> None:
    if cell.cell_type != "code":
        return
    entry = table.get(cell.metadata.get("nbgrader", {}).get("grade_id", ""))
    if entry is not None and entry.grade and not entry.solution:
        result = by_id.get(entry.name)
        if result is None or result.verdict is Verdict.XX:
            raise UnjudgedError(f"{entry.name} has no verdict; grade it again")
        score = repr(float(min(max(result.score, 0.0), entry.points)))
        cell.outputs = [
            v4.new_output("stream", name="stdout", text=headline(result) + "\n"),
            v4.new_output("execute_result", data={"text/plain": score}, execution_count=None),
        ]
    elif entry is None and (match := _CHECK.match(cell.source)):
        extra = next((result for result in by_id.values() if result.name == match[1]), None)
        if extra is not None:
            cell.outputs = [v4.new_output("stream", name="stdout", text=headline(extra) + "\n")]
