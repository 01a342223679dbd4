"""Read the code cells of a notebook file from its bytes. Only source text and grade ids are looked at."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_BYTES = 20 * 2**20
MAX_CELLS = 10_000
_CONFLICT = re.compile(r"^<<<<<<<( .{0,40})?", re.MULTILINE)
_UTF_16 = "the file is UTF-16 and not UTF-8 text; open it in JupyterLab and save it again, without another editor"
_OTHERS = {  # what is handed in as a notebook and is none, by how it begins
    b"\xff\xfe": _UTF_16,
    b"\xfe\xff": _UTF_16,
    b"version https://git-lfs": "the file is a pointer of Git LFS and the notebook was not fetched; run `git lfs pull` "
    "and hand in the notebook itself",
    b"%PDF": "the file is a PDF; hand in the .ipynb file itself",
    b"PK\x03\x04": "the file is a zip archive; unpack it and hand in the .ipynb file in it",
    b"<": "the file is a web page; download the notebook itself (on GitHub: Download raw file) and hand that in",
}
_TAGS = ("setup", "hide-input", "deterministic")  # of the cells of a release
MAX_SOURCE = 2 * 2**20


class UnreadableError(Exception):
    """The bytes are no notebook that can be graded. The message is one sentence with the remedy."""


@dataclass(frozen=True)
class Cell:
    """One cell: its number among all cells, from 1; the grade id it claims; its text; its kind."""

    index: int
    grade_id: str | None
    source: str
    kind: str = "code"  # or "markdown", "raw"
    count: int | None = None  # what Jupyter shows beside it: [12]
    given: bool = False  # it has a tag of the release, as no cell of a student has

    @property
    def called(self) -> str:
        """Return its name as its reader sees it: [12] where it was run, else its place among all cells."""
        return f"[{self.count}]" if self.count else str(self.index)


def read_bytes(path: Path) -> bytes:
    """Return a file's bytes, but never much more than a notebook may have."""
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def read_cells(raw: bytes) -> list[Cell]:
    """Return the cells of a notebook, in order; of one without a readable text, an empty one.

    Args:
        raw: the file's bytes: UTF-8 with or without byte-order mark, notebook format 4, at most 20 MiB.

    Raises:
        UnreadableError: anything else.
    """
    if not raw.strip():
        raise UnreadableError("the file is empty; save the notebook again and check that the disk is not full")
    if len(raw) > MAX_BYTES:
        raise UnreadableError(
            f"the file has more than {MAX_BYTES // 2**20} MiB; "
            "clear the outputs (Edit > Clear Outputs of All Cells) and save"
        )
    cells = _cells(_json(raw))
    if len(cells) > MAX_CELLS:
        raise UnreadableError(f"the notebook has {len(cells)} cells and {MAX_CELLS} are allowed; remove some")
    return [_cell(number, cell) for number, cell in enumerate(cells, 1)]


def _cell(number: int, cell: Any) -> Cell:
    if not isinstance(cell, dict):
        return Cell(number, None, "", "raw")
    kind = cell.get("cell_type")
    count = cell.get("execution_count")
    shown = count if type(count) is int and 0 < count < 1_000_000 and kind == "code" else None
    kind = kind if kind in ("code", "markdown") else "raw"
    return Cell(number, _grade_id(cell), _source(cell), kind, shown, _has_tag(cell))


def _json(raw: bytes) -> Any:
    for begins, what in _OTHERS.items():
        if raw.startswith(begins):
            raise UnreadableError(what)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise UnreadableError(
            f"the file is not UTF-8 text (line {line}, byte {error.start}); open it in JupyterLab and save it again"
        ) from None
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        conflict = _CONFLICT.search(text)
        if conflict is not None:
            raise UnreadableError(
                f"git left a conflict in line {text[: conflict.start()].count(chr(10)) + 1} ({conflict[0]}); choose "
                "one of the two versions (`git checkout --ours FILE` or `--theirs`), open it in JupyterLab and save it"
            ) from None
        raise UnreadableError(
            f"the file is not a notebook: no JSON at line {error.lineno}, column {error.colno}; "
            "open it in JupyterLab and save it again"
        ) from None
    except (RecursionError, ValueError):  # nested too deep; integers of a million digits
        raise UnreadableError("the file is JSON that no notebook program writes; save it with JupyterLab") from None


def _cells(notebook: Any) -> list[Any]:
    if not isinstance(notebook, dict):
        raise UnreadableError("the file is JSON but not a notebook; hand in the .ipynb file")
    version = notebook.get("nbformat")
    if version != 4:
        old = isinstance(version, int) and not isinstance(version, bool) and version < 4
        name = str(version)[:20] if isinstance(version, int | float | str) else "unknown"
        raise UnreadableError(
            f"the notebook is in format {name} and 4 is needed; "
            + ("open it in JupyterLab and save it again" if old else "save it with a current JupyterLab as .ipynb")
        )
    cells = notebook.get("cells")
    if not isinstance(cells, list):
        raise UnreadableError("the notebook has no list of cells; save it with JupyterLab")
    return cells


def _source(cell: dict[str, Any]) -> str:
    source = cell.get("source", "")
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    if not isinstance(source, str) or len(source) > MAX_SOURCE:
        return ""
    return source.encode("utf-8", "replace").decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")


def _has_tag(cell: dict[str, Any]) -> bool:
    metadata = cell.get("metadata")
    tags = metadata.get("tags") if isinstance(metadata, dict) else None
    return isinstance(tags, list) and any(tag in tags for tag in _TAGS)


def _grade_id(cell: dict[str, Any]) -> str | None:
    metadata = cell.get("metadata")
    mark = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    name = mark.get("grade_id") if isinstance(mark, dict) else None
    return name if isinstance(name, str) else None
