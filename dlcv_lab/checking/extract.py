"""Decide which of a student's code counts for an exercise, from the text of the cells alone.

What runs: our own set-up; then, in order, from the solution cells and all other cells, every definition and import, and
everything that assigns or changes a variable that the exercise reaches. Calls, prints, plots, training loops and magics
are dropped. The definition of an exercise's own names is the one in its solution cell (the last cell with its grade
id); where that cell does not define them, the last definition in the notebook.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from dlcv_lab.checking.bindings import DEFINITIONS, Statement, kept, reach
from dlcv_lab.checking.magics import without_magics
from dlcv_lab.checking.model import ExerciseInfo, Program
from dlcv_lab.checking.notebook_reader import CodeCell, read_notebook

MAX_STATEMENTS = 5_000


def grade_id(key: str) -> str:
    """Return the grade id of an exercise's solution cell: "ch03.conv2d" -> "ch03-conv2d"."""
    return key.replace(".", "-")


def extract(cells: Sequence[CodeCell], info: ExerciseInfo, infos: Iterable[ExerciseInfo]) -> Program:
    """Return the code that counts for one exercise.

    Args:
        cells: of the student's notebook.
        info: the exercise.
        infos: all exercises of the notebook, `info` included.
    """
    return _program(_look(cells, [*infos, info]), info)


@dataclass(frozen=True)
class _Notebook:
    """What the cells of a notebook say, for all of its exercises."""

    statements: list[Statement]  # those that others overrule are left out
    notes: tuple[str, ...]
    broken: frozenset[str]  # exercises whose solution cell cannot be read


def _look(cells: Sequence[CodeCell], infos: Iterable[ExerciseInfo]) -> _Notebook:
    """Parse the cells once."""
    known = {each.name: each for each in infos}
    homes = _solution_cells(cells, known.values())
    notes: list[str] = []
    statements: list[Statement] = []
    broken: set[str] = set()
    for cell in cells:
        owner = homes.get(cell.index)
        found, note = _parse(cell, owner)
        statements += found
        if note:
            notes.append(note)
            broken |= {owner} if owner else set()
    if len(statements) > MAX_STATEMENTS:
        notes.append(f"only the first {MAX_STATEMENTS} of {len(statements)} statements were looked at")
        statements = statements[:MAX_STATEMENTS]
    return _Notebook(_without_overruled(statements, known), tuple(notes), frozenset(broken))


def _program(notebook: _Notebook, info: ExerciseInfo) -> Program:
    sources = tuple(kept(notebook.statements, reach(notebook.statements, info.defines)))
    attempted = info.name in notebook.broken or _is_attempted(notebook.statements, info)
    digest = hashlib.sha256("\0".join(sources).encode()).hexdigest()
    return Program(info.setup, sources, attempted, notebook.notes, digest)


def read_programs(raw: bytes, infos: Sequence[ExerciseInfo]) -> dict[str, Program]:
    """Return the program of every exercise of a notebook, by name. Raises `UnreadableError` (see `read_notebook`)."""
    notebook = _look(read_notebook(raw), infos)
    return {info.name: _program(notebook, info) for info in infos}


def reached_sources(sources: Iterable[str], roots: Iterable[str], stop: Iterable[str] = ()) -> list[str]:
    """Return those of a program's statements that bind or change something that `roots` use, `stop` left aside."""
    statements = [statement for source in sources for statement in _parsed(source)]
    found = reach(statements, roots, stop)
    return [s.source for s in statements if found.names & (s.binds | (s.changes & found.variables))]


@lru_cache(maxsize=512)  # a program's statements are mostly those of the next exercise and of the next student
def _parsed(source: str) -> tuple[Statement, ...]:
    return tuple(Statement(0, source, node) for node in ast.parse(source).body)


def _solution_cells(cells: Sequence[CodeCell], infos: Iterable[ExerciseInfo]) -> dict[int, str]:
    """Return {cell number: exercise} for the last cell with each exercise's grade id."""
    last = {cell.grade_id: cell.index for cell in cells if cell.grade_id}
    return {last[grade_id(info.key)]: info.name for info in infos if grade_id(info.key) in last}


def _parse(cell: CodeCell, owner: str | None) -> tuple[list[Statement], str]:
    """Return the statements of a cell, and a note where it has none that can be read."""
    text = without_magics(cell.source)
    try:
        tree = ast.parse(text)
        lines = text.encode().split(b"\n")  # positions in an ast are counted in bytes
        found = [Statement(cell.index, _segment(lines, node), node, owner) for node in tree.body
                 if not isinstance(node, ast.Pass)]  # fmt: skip
        for statement in found:
            statement.look()  # what is nested too deeply is said here
        return found, ""
    except SyntaxError as error:
        return [], f"cell {cell.index} was skipped: syntax error in line {error.lineno}: {error.msg}"
    except (ValueError, RecursionError, MemoryError):
        return [], f"cell {cell.index} was skipped: it cannot be read as Python"


def _segment(lines: list[bytes], node: ast.stmt) -> str:
    """Return the text of a statement, decorators included."""
    decorators = getattr(node, "decorator_list", [])
    first = decorators[0].lineno - 1 if decorators else node.lineno - 1
    start = 0 if decorators else node.col_offset
    last = (node.end_lineno or node.lineno) - 1
    end = node.end_col_offset if node.end_col_offset is not None else len(lines[last])
    if first == last:
        return lines[first][start:end].decode()
    return b"\n".join([lines[first][start:], *lines[first + 1 : last], lines[last][:end]]).decode()


def _without_overruled(statements: Sequence[Statement], known: Mapping[str, ExerciseInfo]) -> list[Statement]:
    """Leave out definitions that give way to another one of the same exercise's name.

    The last one in the exercise's own solution cell wins, except where that holds no more than the stub and the name is
    defined elsewhere; without one, the last definition in the notebook.
    """
    owners = {name: info for info in known.values() for name in info.defines}
    rivals: dict[str, list[Statement]] = {}
    for statement in statements:
        name = _defined(statement.node)
        if name in owners:
            rivals.setdefault(str(name), []).append(statement)
    losers: set[int] = set()
    for name, several in rivals.items():
        stubs = _stubs(owners[name].stub)
        real = [s for s in several if not _is_one_of(s.node, stubs)] or several
        own = [s for s in real if s.solution_of == owners[name].name]
        winner = (own or real)[-1]
        losers |= {id(s) for s in several if s is not winner}
    return [s for s in statements if id(s) not in losers]


def _defined(node: ast.stmt) -> str | None:
    return node.name if isinstance(node, DEFINITIONS) else None


@lru_cache(maxsize=256)
def _stubs(source: str) -> tuple[ast.stmt, ...]:
    """Return the definitions of a released solution cell."""
    return tuple(node for node in ast.parse(source).body if isinstance(node, DEFINITIONS))


def _is_one_of(node: ast.stmt, stubs: Iterable[ast.stmt]) -> bool:
    """Tell whether a definition is as it was released, docstrings aside; one nested too deeply is nobody's stub."""
    try:
        return any(_alike(node, stub) for stub in stubs)
    except RecursionError:
        return False


def _alike(one: Any, two: Any) -> bool:
    """Compare two parts of syntax trees up to their first difference."""
    if type(one) is not type(two):
        return False
    if isinstance(one, ast.AST):
        return all(map(_alike, _parts(one), _parts(two)))
    if isinstance(one, list):
        return len(one) == len(two) and all(map(_alike, one, two))
    return bool(one == two)


def _parts(node: ast.AST) -> Iterator[Any]:
    """Yield the fields of a node; the body of a definition without its docstring."""
    documented = isinstance(node, DEFINITIONS) and ast.get_docstring(node, clean=False) is not None
    for name in node._fields:
        part: Any = getattr(node, name, None)
        yield (part[1:] or [ast.Pass()]) if documented and name == "body" else part


def _is_attempted(statements: Sequence[Statement], info: ExerciseInfo) -> bool:
    """Tell whether anything that defines the exercise's names differs from the stub."""
    stubs = _stubs(info.stub)
    return any(
        not isinstance(s.node, DEFINITIONS) or not _is_one_of(s.node, stubs)
        for s in statements
        if s.binds & set(info.defines)
    )
