"""Source text of reference solutions: taken by line ranges, so that comments and decorators survive."""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from autograder.declare.text import BEGIN, END, Definition, SourceError, bound_names, free_names

STUB = "raise NotImplementedError"


@lru_cache(maxsize=256)
def _tree(text: str) -> ast.Module:
    return ast.parse(text)


def module_file(module: ModuleType) -> Path:
    """Return the file of a module, or fail with its name."""
    if not module.__file__:
        raise SourceError(f"{module.__name__} has no file to read its text from")
    return Path(module.__file__)


def definitions(text: str) -> dict[str, Definition]:
    """Return the top-level functions and classes of a module's text, by name."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name: node for node in _tree(text).body if isinstance(node, kinds)}


def segment(text: str, node: Definition) -> str:
    """Return the lines of a definition, its decorators and the comments inside it included."""
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return "\n".join(text.split("\n")[first - 1 : node.end_lineno])


def definition_source(path: Path, name: str) -> str:
    """Return the source of one top-level function or class of a file.

    A marker line that stands right after the last statement belongs to it, although the grammar ends before it.

    Raises:
        SourceError: the file defines no such name.
    """
    text = path.read_text(encoding="utf-8")
    node = definitions(text).get(name)
    if node is None:
        raise SourceError(f"{path.name} defines no function or class {name!r}")
    lines = text.split("\n")
    end = node.end_lineno or node.lineno
    while end < len(lines) and (not lines[end].strip() or lines[end][:1] in " \t"):
        end += 1
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return "\n".join(lines[first - 1 : end]).rstrip()


def function_source(module: ModuleType, name: str) -> str:
    """Return the source of one top-level function or class of a module: decorators and comments are kept.

    A package is searched through its submodules in the order in which it imports them.
    """
    value = getattr(module, name, None)
    owner = inspect.getmodule(value) if callable(value) else None
    return definition_source(module_file(owner or module), name)


def without_markers(source: str) -> str:
    """Return the source without its marker lines: what a reader of a shown or published solution sees."""
    return "\n".join(line for line in source.split("\n") if line.strip() not in (BEGIN, END))


def stub_of(source: str) -> str:
    """Return what nbgrader's ClearSolutions releases: every solution region replaced by `raise NotImplementedError`.

    Written out here, because nbgrader takes longer to import than a submission takes to grade.

    Raises:
        SourceError: the markers do not come in pairs.
    """
    lines: list[str] = []
    inside = False
    for line in source.split("\n"):
        if "BEGIN SOLUTION" in line:
            if inside:
                raise SourceError(f"two {BEGIN!r} follow each other; put {END!r} between them")
            inside = True
            lines.append(line[: len(line) - len(line.lstrip())] + STUB)
        elif "END SOLUTION" in line:
            inside = False
        elif not inside:
            lines.append(line)
    if inside:
        raise SourceError(f"{END!r} is missing after the last {BEGIN!r}")
    return "\n".join(lines)


def region_faults(source: str, name: str) -> list[str]:
    """Say what nbgrader would get wrong about the solution regions of one definition."""
    lines = source.split("\n")
    faults = []
    for line in lines:
        for marker in ("BEGIN SOLUTION", "END SOLUTION"):
            if marker in line and line.strip() != f"### {marker}":
                faults.append(f"{name}: the marker {marker!r} stands inside other text: {line.strip()!r}; reword it")
        if "HIDDEN TESTS" in line or "MARK SCHEME" in line:
            faults.append(f"{name}: nbgrader's marker stands inside other text: {line.strip()!r}; reword it")
    if faults:
        return faults
    marks = [line.strip() for line in lines if line.strip() in (BEGIN, END)]
    if not marks:
        return [f"{name} has no solution region; put {BEGIN!r} and {END!r} around the lines to be written"]
    if marks != [BEGIN, END] * (len(marks) // 2):
        return [f"{name}: the markers do not come in pairs of {BEGIN!r} and {END!r}"]
    for index, line in enumerate(lines):
        if line.strip() != END:
            continue
        indent = len(line) - len(line.lstrip())
        after = next((later for later in lines[index + 1 :] if later.strip()), "")
        if after and len(after) - len(after.lstrip()) >= indent:
            faults.append(f"{name}: given lines stand after the region ({after.strip()!r}); move them before it")
    try:
        ast.parse(stub_of(source))
    except SyntaxError as error:
        faults.append(f"{name}: the released stub would not be valid Python (line {error.lineno}); move the markers")
    return faults


@lru_cache(maxsize=256)
def _binders(text: str) -> tuple[tuple[str, frozenset[str]], ...]:
    """Return the top-level statements of a module's text, expressions left out, with the names that they bind.

    A statement's text is that of `ast.get_source_segment`, which splits the whole file again for each of them.
    """
    lines = [line.encode() for line in text.split("\n")]  # positions in an ast are counted in bytes
    found = []
    for node in _tree(text).body:
        if isinstance(node, ast.Expr):
            continue
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        part = lines[first : last + 1]
        part[-1] = part[-1][: node.end_col_offset]
        part[0] = part[0][node.col_offset :]
        source = b"\n".join(part).decode()
        found.append((source, frozenset(bound_names(source))))
    return tuple(found)


def reachable(text: str, roots: Iterable[str]) -> str:
    """Return the top-level statements of a module's text that `roots` need, transitively, in their order."""
    binders = _binders(text)
    wanted, queue = set[str](), list(roots)
    while queue:
        name = queue.pop()
        if name in wanted:
            continue
        wanted.add(name)
        for source, names in binders:
            if name in names:
                queue += free_names(source) - wanted
    return "\n".join(source for source, names in binders if names & wanted)


def short_hash(text: str, length: int = 16) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]
