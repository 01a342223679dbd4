"""Decide which of a student's code counts for an exercise, from the text of the cells alone.

One promise decides every detail (docs/decisions/0020): what `check` calls right in a live kernel after "Restart and run
all" gets the same verdict here, or the verdict names the cell and the reason. What runs: our own set-up; then, in
order, every definition and import of the notebook, and everything that assigns or changes a variable that the exercise
reaches. Calls, prints, plots, training loops and magics are dropped.

A notebook is read as it stands at the check of the exercise: what its solution cell (the last cell with its grade id)
binds stays, and so does what is bound above the cell with its `check`; what comes later only adds names. Where the
notebook means something else at its end, that reading is kept, too, for an exercise that is wrong at its check.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import platform
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from dlcv_lab.checking.bindings import DEFINITIONS, IMPORTS, STAR, Statement
from dlcv_lab.checking.magics import as_python, unwrapped
from dlcv_lab.checking.messages import say
from dlcv_lab.checking.model import ExerciseInfo, Program
from dlcv_lab.checking.notebook_reader import Cell, read_cells
from dlcv_lab.checking.reaching import Notes, kept, left_out, notes_on, reach

MAX_STATEMENTS = 5_000
_PYTHON = "Python " + ".".join(platform.python_version_tuple()[:2])
_MOST_NAMED = 20  # statements left out that are remembered


def grade_id(key: str) -> str:
    """Return the grade id of an exercise's solution cell: "ch03.conv2d" -> "ch03-conv2d"."""
    return key.replace(".", "-")


def extract(cells: Sequence[Cell], info: ExerciseInfo, infos: Iterable[ExerciseInfo]) -> Program:
    """Return the code that counts for one exercise.

    Args:
        cells: of the student's notebook.
        info: the exercise.
        infos: all exercises of the notebook, `info` included.
    """
    return _program(_look(cells, [*infos, info]), info)


def read_programs(raw: bytes, infos: Sequence[ExerciseInfo]) -> dict[str, Program]:
    """Return the program of every exercise of a notebook, by name. Raises `UnreadableError` (see `read_cells`)."""
    notebook = _look(read_cells(raw), infos)
    return {info.name: _program(notebook, info) for info in infos}


def digest_of(*parts: Iterable[str]) -> str:
    """Return the SHA-256 of a program's texts: the attempt."""
    return hashlib.sha256("\0\0".join("\0".join(part) for part in parts if part).encode("utf-8", "replace")).hexdigest()


def reached_sources(sources: Iterable[str], roots: Iterable[str], stop: Iterable[str] = ()) -> list[str]:
    """Return those of a program's statements that bind or change something that `roots` use, `stop` left aside."""
    statements = [statement for source in sources for statement in _parsed(source)]
    found = reach(statements, roots, stop)
    return [s.source for s in statements if found.touches(s)]


@dataclass(frozen=True)
class _Notebook:
    """What the cells of a notebook say, for all of its exercises."""

    cells: Sequence[Cell]
    homes: Mapping[str, int]  # exercise -> number of its solution cell
    statements: list[Statement]  # those that others overrule are left out
    at_the_end: list[Statement]  # only stubs are left out
    notes: Notes
    names: frozenset[str]  # what the exercises define
    broken: Mapping[int, str]  # cell -> why it cannot be read
    magic: Mapping[int, str]  # cell -> the magic that keeps it from counting
    warnings: tuple[str, ...]
    given: frozenset[int]  # cells of the release, whose statements nobody wrote

    def called(self, number: int) -> str:
        """Return the name of a cell as its reader sees it."""
        return next((cell.called for cell in self.cells if cell.index == number), str(number))


def _look(cells: Sequence[Cell], infos: Iterable[ExerciseInfo]) -> _Notebook:
    """Parse the cells once."""
    known = {each.name: each for each in infos}
    code = [cell for cell in cells if cell.kind == "code"]
    homes = _solution_cells(code, known.values())
    owners = {cell: name for name, cell in homes.items()}
    statements: list[Statement] = []
    broken: dict[int, str] = {}
    magic: dict[int, str] = {}
    for cell in code:
        found, fault, other = _parse(cell, owners.get(cell.index))
        statements += found
        if fault:
            broken[cell.index] = fault
        if other:
            magic[cell.index] = other
    names_of = {cell.index: cell.called for cell in cells}
    warnings = [f"cell {names_of[number]} was skipped: {fault}" for number, fault in broken.items()]
    given = {cell.index for cell in code if cell.given}
    given |= {s.cell for s in statements if s.called == "needs" and s.cell not in owners}
    if len(statements) > MAX_STATEMENTS:
        warnings.append(f"only the first {MAX_STATEMENTS} of {len(statements)} statements were looked at")
        statements = statements[:MAX_STATEMENTS]
    names = frozenset(name for each in known.values() for name in each.defines)
    winners, end = _without_overruled(statements, known)
    return _Notebook(cells, homes, winners, end, notes_on(statements), names, broken, magic, tuple(warnings),
                     frozenset(given))  # fmt: skip


def _program(notebook: _Notebook, info: ExerciseInfo) -> Program:
    statements, notes = notebook.statements, notebook.notes
    home, checked = _places(notebook, info)
    early = [s for s in statements if s.cell <= checked]
    bound = _bound(early, notes)
    reading = [*early, *(s for s in statements if s.cell > checked and not _is_known(s, bound, notes))]
    reached = reach(reading, info.defines, notes=notes)
    parts = [
        tuple(kept([s for s in reading if low <= s.cell < high], reached))
        for low, high in ((0, home), (home, home + 1), (home + 1, checked + 1), (checked + 1, len(notebook.cells) + 2))
    ]
    sources = tuple(source for part in parts for source in part)
    stands = (len(parts[0]), len(parts[0]) + len(parts[1]), len(parts[0]) + len(parts[1]) + len(parts[2]))
    otherwise = _at_the_end(notebook, info, home, checked)
    missed = [
        (f"`{_shown(s)}` in cell {notebook.called(s.cell)}", *sorted(names))
        for s, names in left_out(statements, reached, notebook.names)
        if s.cell not in notebook.given
    ]
    fault = notebook.broken.get(notebook.homes.get(info.name, 0), "")
    attempted = bool(fault) or _is_attempted(statements, info)
    return Program(
        info.setup,
        sources,
        attempted,
        notebook.warnings,
        digest_of(sources, otherwise),
        reason=say("syntax", cell=notebook.called(notebook.homes[info.name]), fault=fault) if fault
        else "" if attempted else _reason(notebook, info),
        stands=stands,
        otherwise=otherwise,
        left_out=tuple(missed[:_MOST_NAMED]),
    )  # fmt: skip


def _places(notebook: _Notebook, info: ExerciseInfo) -> tuple[int, int]:
    """Return the numbers of the cell that holds the solution, and of the cell that checks it (the same, without one).

    The solution is in the exercise's own cell; where that holds no more than the stub, in the last other one.
    """
    stubs, defines = _stubs(info.stub), set(info.defines)
    real = [s for s in notebook.statements if s.binds & defines and not _is_one_of(s.node, stubs)]
    own = [s for s in real if s.solution_of == info.name]
    chosen = own or real
    home = chosen[-1].cell if chosen else notebook.homes.get(info.name, len(notebook.cells) + 1)
    checks = (s.cell for s in notebook.at_the_end if s.cell >= home and s.checks & {info.name, info.key})
    return home, next(checks, home)


def _bound(statements: Iterable[Statement], notes: Notes) -> dict[str, set[str]]:
    """Return what is bound, and for what is imported, as what."""
    found: dict[str, set[str]] = {}
    for statement in statements:
        for name in notes.touched(statement):
            found.setdefault(name, set()).update(_imported(statement.node, name))
    return found


def _imported(node: ast.stmt, name: str) -> Iterator[str]:
    if isinstance(node, IMPORTS):
        base = f"{node.level}{node.module}" if isinstance(node, ast.ImportFrom) else ""
        yield from (f"{base}:{each.name}" for each in node.names if (each.asname or each.name).split(".")[0] == name)


def _is_known(statement: Statement, bound: Mapping[str, set[str]], notes: Notes) -> bool:
    """Tell whether all that a statement binds or changes has a value already, as attributes of modules have."""
    touched = {name for name in notes.touched(statement) if not name.startswith(".")}
    return bool(touched or statement.sets) and STAR not in touched and touched <= bound.keys()


def _at_the_end(notebook: _Notebook, info: ExerciseInfo, home: int, checked: int) -> tuple[str, ...]:
    """Return what the notebook means at its end, or nothing where that is what it means at the exercise's check."""
    notes, reached = notebook.notes, reach(notebook.at_the_end, info.defines, notes=notebook.notes)
    before = _bound((s for s in notebook.at_the_end if s.cell <= checked), notes)
    own = _bound((s for s in notebook.at_the_end if s.cell == home), notes)

    def differs(statement: Statement) -> bool:
        known = before if statement.cell > checked else own if statement.cell > home else {}
        return any(
            (name in known and not set(_imported(statement.node, name)) & known[name])
            or (name.startswith(".") and statement.cell > checked)
            for name in notes.touched(statement) & reached.names
        )

    if not any(differs(statement) for statement in notebook.at_the_end):
        return ()
    return tuple(kept(notebook.at_the_end, reached))


def _reason(notebook: _Notebook, info: ExerciseInfo) -> str:
    """Say why nothing counts as an attempt at an exercise, or nothing where its cell is as it was released."""
    home, key = notebook.homes.get(info.name, 0), grade_id(info.key)
    names = " and ".join(f"`{name}`" for name in info.defines)
    if home in notebook.magic:
        return say("na.magic", cell=notebook.called(home), magic=notebook.magic[home], names=names)
    aside = [cell for cell in notebook.cells if cell.kind != "code"]
    own = [cell for cell in aside if cell.grade_id == key]
    if not own and any(s.binds & set(info.defines) for s in notebook.statements):
        return ""  # the stub, where it was
    pattern = re.compile(rf"^\s*(async +def|def|class) +({'|'.join(map(re.escape, info.defines))})\b", re.MULTILINE)
    for cell in own or [cell for cell in aside if pattern.search(cell.source)]:
        kind = "Markdown" if cell.kind == "markdown" else "raw"
        return say("na.kind", cell=cell.called, kind=kind, names=names)
    near = _near(notebook, info, home)
    if near:
        return say("na.name", cell=notebook.called(near.cell), near=next(iter(near.binds)), names=names)
    for number, fault in notebook.broken.items():
        if pattern.search(notebook.cells[number - 1].source):
            return say("syntax", cell=notebook.called(number), fault=fault)
    for number, magic in notebook.magic.items():
        if pattern.search(notebook.cells[number - 1].source):
            return say("na.magic", cell=notebook.called(number), magic=magic, names=names)
    return say("undefined_in_file", names=names)


def _near(notebook: _Notebook, info: ExerciseInfo, home: int) -> Statement | None:
    """Return the definition that may be meant for the exercise under another name."""
    defined = [s for s in notebook.statements if isinstance(s.node, DEFINITIONS)]
    own = [s for s in defined if s.cell == home]
    names = {next(iter(s.binds)): s for s in own or defined}
    found = difflib.get_close_matches(info.defines[0], names, 1, 0.75) or (list(names)[-1:] if own else [])
    return names[found[0]] if found else None


def _shown(statement: Statement) -> str:
    """Return the first line of a statement as the student wrote it."""
    magic = statement.line_magic
    first = "%" + " ".join(magic) if magic else statement.source.strip().split("\n")[0]
    return first if len(first) <= 60 else first[:57] + "..."


@lru_cache(maxsize=512)  # a program's statements are mostly those of the next exercise and of the next student
def _parsed(source: str) -> tuple[Statement, ...]:
    return tuple(Statement(0, source, node) for node in ast.parse(source).body)


def _solution_cells(cells: Sequence[Cell], infos: Iterable[ExerciseInfo]) -> dict[str, int]:
    """Return {exercise: cell number} for the last cell with each exercise's grade id."""
    last = {cell.grade_id: cell.index for cell in cells if cell.grade_id}
    return {info.name: last[grade_id(info.key)] for info in infos if grade_id(info.key) in last}


def _parse(cell: Cell, owner: str | None) -> tuple[list[Statement], str, str]:
    """Return the statements of a cell, why it has none that can be read, and the magic because of which it has none."""
    python = as_python(cell.source)
    try:
        tree = ast.parse(python.text)
        lines = python.text.encode().split(b"\n")  # positions in an ast are counted in bytes
        found = []
        for node in tree.body:
            for inner in unwrapped(node):
                if not isinstance(inner, ast.Pass):
                    source = _segment(lines, inner) if inner is node else ast.unparse(inner)
                    found.append(Statement(cell.index, source, inner, owner))
        return found, "", python.magic
    except SyntaxError as error:
        line = (error.lineno or 1) + python.above
        text = " ".join((error.text or "").split())[:60]
        return [], say("syntax_error", line=line, text=text, error=error.msg, version=_PYTHON), ""
    except (ValueError, RecursionError, MemoryError):
        return [], say("no_python", version=_PYTHON), ""


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


def _without_overruled(
    statements: Sequence[Statement], known: Mapping[str, ExerciseInfo]
) -> tuple[list[Statement], list[Statement]]:
    """Return the statements without definitions that give way to another one of the same exercise's name, and those
    without stubs only.

    The last one in the exercise's own solution cell wins, except where that holds no more than the stub and the name is
    bound elsewhere; without one, the last definition in the notebook.
    """
    owners = {name: info for info in known.values() for name in info.defines}
    rivals: dict[str, list[Statement]] = {}
    for statement in statements:
        for name in statement.binds & owners.keys():
            rivals.setdefault(name, []).append(statement)
    losers: set[int] = set()
    released: set[int] = set()
    for name, several in rivals.items():
        stubs = _stubs(owners[name].stub)
        real = [s for s in several if not _is_one_of(s.node, stubs)]
        if real:
            released |= {id(s) for s in several if _is_one_of(s.node, stubs)}
        defined = [s for s in real or several if isinstance(s.node, DEFINITIONS)]
        own = [s for s in defined if s.solution_of == owners[name].name]
        losers |= {id(s) for s in defined if s is not (own or defined)[-1]}
    end = [s for s in statements if id(s) not in released]
    return [s for s in end if id(s) not in losers], end


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
