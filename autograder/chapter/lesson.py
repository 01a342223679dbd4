"""Read lesson.md: a MyST-Markdown notebook with placeholders for what the solutions and the exercises say."""

from __future__ import annotations

import ast
import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from autograder.base import cache, paths
from autograder.chapter import folding, quick
from autograder.chapter.source import bound_names

Kind = Literal["prose", "setup", "given", "exercise", "show", "question"]

TAGS = frozenset({"setup", "deterministic", "hide-input", "hide-output", "hide-cell"})
SETUP_LINES, GIVEN_LINES, DEFINITION_LINES = 12, 35, 60  # of the lines that a page prints
COLUMNS = 88
REQUIRED = ("title", "lecture", "methods", "minutes", "needs", "story", "discussion")

_PLACEHOLDER = re.compile(r"^# (exercise|show|question): *(.*)$")
_NAME = re.compile(r"^[A-Za-z_]\w*$")


class LessonError(Exception):
    """A lesson that cannot be read; the message names file, line and remedy."""


@dataclass(frozen=True)
class LessonCell:
    """One cell of a lesson. `names` are the exercises, functions or questions that a placeholder asks for."""

    kind: Kind
    source: str
    line: int
    names: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lesson:
    """One notebook of a chapter as its author wrote it."""

    path: Path
    meta: dict[str, Any] = field(compare=False)
    cells: tuple[LessonCell, ...]

    @property
    def stem(self) -> str:
        return self.path.stem

    @property
    def title(self) -> str:
        return str(self.meta.get("title", self.stem))

    @property
    def minutes(self) -> int:
        return int(self.meta.get("minutes", 0))

    def named(self, kind: Kind) -> tuple[str, ...]:
        """Return the names of all placeholders of a kind, in their order."""
        return tuple(name for cell in self.cells if cell.kind == kind for name in cell.names)

    def where(self, cell: LessonCell) -> str:
        return f"{paths.shown(self.path)}:{cell.line}"


def read(path: Path) -> Lesson:
    """Parse one lesson file.

    Raises:
        LessonError: front matter or a cell is malformed.
    """
    text = path.read_text(encoding="utf-8")
    if not text.startswith("---\n"):
        raise LessonError(f"{paths.shown(path)}: no front matter; begin with '---' and the keys {', '.join(REQUIRED)}")
    meta, parts = _parsed(path, text)
    cells = []
    for kind, source, line, metadata in parts:
        if kind == "raw":
            raise LessonError(f"{paths.shown(path)}:{line + 1}: raw cells are not shown anywhere; write prose instead")
        if kind == "markdown":
            cells.append(LessonCell("prose", source, line + 1))
        else:
            cells.append(_code_cell(path, source.strip("\n"), line + 1, metadata))
    return Lesson(path, meta, tuple(cells))


def _parsed(path: Path, text: str) -> tuple[dict[str, Any], list[tuple[str, str, int, dict[str, Any]]]]:
    """Return the front matter and (kind, source, line, metadata) of every cell, from the cache where it has them.

    Importing the parser takes half a second, which a grading run would pay in each of its processes.
    """
    held = paths.cache() / "lessons" / cache.digest(text, version("jupytext"), version("markdown-it-py"))
    with contextlib.suppress(OSError, ValueError):
        meta, parts = json.loads(held.read_bytes())
        return meta, [tuple(part) for part in parts]
    from jupytext.myst import MystMetadataParsingError, myst_to_notebook

    try:
        notebook = myst_to_notebook(text, add_source_map=True)
    except MystMetadataParsingError as error:
        raise LessonError(f"{paths.shown(path)}: {error}") from None
    meta = dict(notebook.metadata)
    lines = meta.pop("source_map")
    parts = [(str(c.cell_type), str(c.source), n, dict(c.metadata)) for c, n in zip(notebook.cells, lines, strict=True)]
    with contextlib.suppress(OSError, TypeError):  # a folder that cannot be written; a date in the front matter
        told = json.dumps([meta, parts])
        if json.loads(told) == [meta, [list(part) for part in parts]]:
            cache.write(held, told.encode())
    return meta, parts


def _code_cell(path: Path, source: str, line: int, metadata: dict[str, Any]) -> LessonCell:
    where = f"{paths.shown(path)}:{line}"
    tags = metadata.get("tags", [])
    if not isinstance(tags, list):
        raise LessonError(f"{where}: tags are a list: ':tags: [setup]'")
    lines = [text for text in source.split("\n") if text.strip()]
    found = [_PLACEHOLDER.match(text) for text in lines]
    if any(found):
        if len(lines) != 1 or found[0] is None:
            raise LessonError(
                f"{where}: a placeholder stands alone in its cell; move the other lines to a cell of theirs"
            )
        kind, names = found[0][1], tuple(name.strip() for name in found[0][2].split(","))
        bad = [name for name in names if not _NAME.match(name)]
        if bad or (kind != "show" and len(names) != 1):
            raise LessonError(f"{where}: write '# {kind}: NAME'{' or # show: NAME, NAME2' if kind == 'show' else ''}")
        return LessonCell(kind, source, line, names, tuple(tags))  # type: ignore[arg-type]
    return LessonCell("setup" if "setup" in tags else "given", source, line, (), tuple(tags))


def setup_source(lesson: Lesson, shown: dict[str, str]) -> str:
    """Return the source of the set-up cells; `shown` holds the text of shown functions that are tagged as set-up."""
    parts = []
    for cell in lesson.cells:
        if "setup" in cell.tags:
            parts += [cell.source] if cell.kind == "setup" else [shown[name] for name in cell.names]
    return "\n\n".join(parts) + "\n" if parts else ""


def needed(cell: LessonCell) -> tuple[str, ...]:
    """Return the exercises that a given cell waits for: the names in a leading `needs(...)`."""
    try:
        first = ast.parse(cell.source).body[:1]
    except SyntaxError:
        return ()
    if not first or not isinstance(first[0], ast.Expr) or not isinstance(first[0].value, ast.Call):
        return ()
    call = first[0].value
    if not isinstance(call.func, ast.Name) or call.func.id != "needs":
        return ()
    return tuple(arg.value for arg in call.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str))


def faults(lesson: Lesson, key: str, exercises: set[str], questions: set[str]) -> list[str]:
    """Check a lesson against the rules that need nothing but its text and the names of the row."""
    shown = paths.shown(lesson.path)
    found = [
        f"{shown}: the front matter lacks '{name}'; docs/authoring.md says what it holds"
        for name in REQUIRED
        if name not in lesson.meta
    ]
    found += [f"{shown}: {fault}" for fault in _teaching_faults(lesson)]
    code = [cell for cell in lesson.cells if cell.kind != "prose"]
    if not code or code[0].kind != "setup":
        found.append(f"{shown}: the first code cell must be the set-up cell, tagged ':tags: [setup]'")
    elif f'start("{key}")' not in code[0].source:
        found.append(f'{lesson.where(code[0])}: the set-up cell must end with start("{key}")')
    for cell in lesson.cells:
        found += [f"{lesson.where(cell)}: {fault}" for fault in _cell_faults(cell, exercises, questions)]
    found += [f"{lesson.where(cell)}: {fault}" for cell, fault in _prediction_faults(lesson)]
    found += [f"{shown}: {fault}" for fault in _quick_faults(lesson)]
    return found


def predictions(lesson: Lesson, verb: str = "predict") -> list[tuple[LessonCell, ast.Call, str]]:
    """Return the calls of `predict` (or `reveal`) with their cells and the name that each gives, "" for none."""
    found = []
    for cell in lesson.cells:
        if cell.kind == "given" and f"{verb}(" in cell.source:
            for call in ast.walk(ast.parse(_without_magics(cell.source))):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == verb:
                    named = {word.arg: word.value for word in call.keywords}.get("name")
                    given = named if verb == "predict" else (call.args[0] if call.args else named)
                    name = given.value if isinstance(given, ast.Constant) and isinstance(given.value, str) else ""
                    found.append((cell, call, name))
    return found


def _prediction_faults(lesson: Lesson) -> Iterator[tuple[LessonCell, str]]:
    """Check that every prediction is answered later, once, and by a value that the run computes."""
    try:
        asked, answered = predictions(lesson), predictions(lesson, "reveal")
    except SyntaxError:
        return  # said by _cell_faults
    order = list(lesson.cells)
    for cell, _, name in asked:
        later = [each for each, _, told in answered if told == name and order.index(each) > order.index(cell)]
        if not name:
            yield (
                cell,
                "predict has no name; write name='...' and answer it by reveal(name, value) after the experiment",
            )
        elif [told for _, _, told in asked].count(name) > 1:
            yield cell, f"two predictions are called {name!r}; rename one"
        elif len(later) != 1:
            yield cell, f"the prediction {name!r} is answered {len(later)} times by a later reveal({name!r}, ...); once"
    for cell, call, name in answered:
        if name not in [told for _, _, told in asked]:
            yield cell, f"reveal({name!r}, ...) answers no prediction of this lesson"
        right = {word.arg: word.value for word in call.keywords}.get(
            "right", call.args[2] if len(call.args) > 2 else None
        )
        if isinstance(right, ast.Constant):
            yield cell, f"reveal({name!r}, ..., right={right.value!r}) is fixed; compute it from what came"


def _quick_faults(lesson: Lesson) -> Iterator[str]:
    """Check that a section has at most three quick questions."""
    text = "\n\n".join(cell.source for cell in lesson.cells if cell.kind == "prose")
    for section in re.split(r"^(?=## )", text, flags=re.M):
        try:
            many = len(quick.take(section)[1])
        except quick.QuickError:
            continue  # said when the prose is rewritten
        if many > quick.MOST:
            yield f"the section {section.split(chr(10))[0]!r} has {many} quick questions; {quick.MOST} are allowed"


def _teaching_faults(lesson: Lesson) -> list[str]:
    """Check what the page for teachers is made from: questions to discuss, and sections that may be cut."""
    asked, cut = lesson.meta.get("discussion", ["?"] * 2), lesson.meta.get("cut", [])
    found = []
    if not isinstance(asked, list) or len(asked) < 2 or not all(str(text).strip().endswith("?") for text in asked):
        found.append(
            "'discussion' in the front matter is a list of at least two questions for a class, each ends with '?'"
        )
    headings = re.findall(r"^## +(.+?) *$", "\n\n".join(c.source for c in lesson.cells if c.kind == "prose"), re.M)
    if not isinstance(cut, list):
        found.append("'cut' in the front matter is a list of headings: the sections that may be left out")
    else:
        found += [
            f"'cut' names the section {name!r}, which is no '## ' heading here" for name in cut if name not in headings
        ]
    return found


def _cell_faults(cell: LessonCell, exercises: set[str], questions: set[str]) -> list[str]:
    found = []
    for marker in ("BEGIN SOLUTION", "END SOLUTION", "HIDDEN TESTS", "MARK SCHEME"):
        if marker in cell.source:
            found.append(f"nbgrader's marker {marker!r} may stand in solutions only; reword it")
    odd = [tag for tag in cell.tags if tag not in TAGS]
    if odd:
        found.append(f"the tag {odd[0]!r} is not allowed; allowed: {', '.join(sorted(TAGS))}")
    read = cell.source
    if cell.kind == "given":
        read, _ = folding.split(cell.source)
    wide = [line for line in read.split("\n") if len(line) > COLUMNS]
    if wide and cell.kind in ("given", "setup"):
        found.append(
            f"a line of code that is read has {len(wide[0])} columns, {COLUMNS} are allowed: {wide[0].strip()}"
        )
    lines = len(read.split("\n"))
    if cell.kind == "setup" and lines > SETUP_LINES:
        found.append(f"the set-up cell has {lines} lines; {SETUP_LINES} are allowed")
    if cell.kind == "given" and lines > GIVEN_LINES:
        found.append(f"the cell has {lines} lines; {GIVEN_LINES} are allowed: split it or move a part to dlcv_lab")
    if re.search(r"\b(plt|pyplot)\.show\(", cell.source) and cell.kind in ("given", "setup"):
        found.append("a bare plt.show(); use show.figure(fig, alt=...) so that the picture has a text alternative")
    known = {"exercise": exercises, "question": questions}.get(cell.kind)
    if known is not None:
        found += [
            f"no {cell.kind} is called {name!r}; declare it in autograder/exercises, or correct the placeholder "
            f"(declared: {', '.join(sorted(known)) or 'none'})"
            for name in cell.names
            if name not in known
        ]
    if cell.kind in ("given", "setup"):
        try:
            bound_names(_without_magics(cell.source))
        except SyntaxError as error:
            found.append(f"not valid Python: {error.msg} (line {error.lineno} of the cell)")
        found += [
            f"needs({name!r}) names no exercise of this chapter" for name in needed(cell) if name not in exercises
        ]
    return found


def _without_magics(source: str) -> str:
    return "\n".join("pass" if line.lstrip().startswith(("%", "!")) else line for line in source.split("\n"))
