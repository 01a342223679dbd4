"""What of a notebook counts for a set of names: the statements that bind or change what is reached from them."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dlcv_lab.checking.bindings import BLOCKS, DEFINITIONS, IMPORTS, Statement


@dataclass(frozen=True, eq=False)
class Notes:
    """What must be known of all statements of a notebook to read any one of them."""

    variables: frozenset[str]  # what can be changed: assigned names and classes
    writers: Mapping[str, frozenset[str]]  # function -> the names that a call of it assigns, by `global`
    _touched: dict[Statement, frozenset[str]] = field(default_factory=dict)

    def touched(self, statement: Statement) -> frozenset[str]:
        """Return the names that a statement binds or changes; ".flat" for an attribute set on what was imported."""
        found = self._touched.get(statement)
        if found is None:
            patched = {f".{attribute}" for root, attribute in statement.sets if root not in self.variables}
            patched |= {attribute for root, attribute in statement.sets if root == "builtins"}
            changed = statement.changes & self.variables
            found = statement.binds.union(changed, patched, self.writers.get(statement.called, ()))
            self._touched[statement] = found
        return found


def notes_on(statements: Sequence[Statement]) -> Notes:
    """Return what must be known of all statements."""
    variables = frozenset(name for statement in statements for name in statement.assigns)
    writers: dict[str, frozenset[str]] = {}
    functions = [s for s in statements if isinstance(s.node, ast.FunctionDef | ast.AsyncFunctionDef)]
    if any(s.writes for s in functions):
        for _ in range(20):  # who calls a writer is one; nobody's calls are deeper
            before = dict(writers)
            for s in functions:
                (name,) = s.binds
                called = (writers.get(used, frozenset()) for used in s.uses)
                writers[name] = frozenset().union(writers.get(name, frozenset()), s.writes, *called)
            if writers == before:
                break
    return Notes(variables, {name: written for name, written in writers.items() if written})


@dataclass(frozen=True)
class Reach:
    """The names that an exercise uses, through whatever binds them, and which of them can be changed."""

    names: frozenset[str]
    notes: Notes

    def touches(self, statement: Statement) -> bool:
        """Tell whether a statement binds or changes something reached."""
        return not self.names.isdisjoint(self.notes.touched(statement)) or statement.is_setting


def reach(
    statements: Sequence[Statement], roots: Iterable[str], stop: Iterable[str] = (), notes: Notes | None = None
) -> Reach:
    """Follow the names that `roots` use through the statements that bind or change them; `stop` is not followed."""
    notes = notes or notes_on(statements)
    touching: dict[str, list[Statement]] = {}
    for statement in statements:
        for name in notes.touched(statement):
            touching.setdefault(name, []).append(statement)
    found: set[str] = set()
    stopped, waiting = frozenset(stop), list(roots)
    while waiting:
        name = waiting.pop()
        if name not in found and name not in stopped:
            found.add(name)
            for statement in touching.pop(name, ()):
                waiting += statement.uses
    return Reach(frozenset(found), notes)


def kept(statements: Sequence[Statement], reached: Reach) -> Iterator[str]:
    """Yield the sources of what counts, in order: definitions, imports, and what binds or changes a reached name."""
    for statement in statements:
        try:
            node = _filtered(statement, reached)
            if node is statement.node:
                yield statement.source
            elif node is not None:
                yield ast.unparse(ast.fix_missing_locations(node))
        except RecursionError:  # nobody nests blocks a thousand deep
            continue


def left_out(
    statements: Sequence[Statement], reached: Reach, known: Iterable[str]
) -> Iterator[tuple[Statement, frozenset[str]]]:
    """Yield the calls that do not count though they name something that the exercise uses and that can change, or that
    nothing binds; with these names. `known` is what the exercises define."""
    bound = {name for statement in statements for name in reached.notes.touched(statement)}
    wanted = {name for name in reached.names if name in reached.notes.variables or name not in bound}
    wanted -= {name for name in wanted if name.startswith(".") or hasattr(builtins, name)} | set(known)
    nowhere = frozenset(wanted - bound)
    for statement in statements:
        if statement.line_magic[:1] in (("run",), ("load",)) and nowhere:
            yield statement, nowhere
        elif isinstance(statement.node, ast.Expr | ast.For | ast.While) and not reached.touches(statement):
            named = statement.mentions & wanted
            if named:
                yield statement, named


def _filtered(statement: Statement, reached: Reach) -> ast.stmt | None:
    """Return the node if it counts, a copy of a block with what counts in it, or None."""
    node = statement.node
    if isinstance(node, DEFINITIONS + IMPORTS):
        return node
    if not isinstance(node, BLOCKS):
        return node if reached.touches(statement) else None
    parts = [_chosen(listed, reached) for listed in statement.blocks]
    if not any(parts) and reached.names.isdisjoint(statement.head_binds):
        return None
    if statement.steers:
        return node  # which of its rounds come to what counts is up to all of it
    if isinstance(node, ast.Try | ast.TryStar):
        parts[0] = node.body  # what of it raises decides
    return _with_lists(node, parts)


def _chosen(listed: Iterable[Statement], reached: Reach) -> list[ast.stmt]:
    return [found for inner in listed if (found := _filtered(inner, reached)) is not None]


def _with_lists(node: ast.stmt, parts: list[list[ast.stmt]]) -> ast.stmt:
    """Return a copy of a block with other lists of statements."""
    left = iter(parts)
    fields = {name: getattr(node, name) for name in node._fields}
    for name in ("body", "orelse", "finalbody"):
        if name in fields:
            fields[name] = next(left) or ([ast.Pass()] if name == "body" else [])
    if "handlers" in fields:
        fields["handlers"] = [ast.ExceptHandler(h.type, h.name, next(left) or [ast.Pass()]) for h in fields["handlers"]]
    if "cases" in fields:
        fields["cases"] = [ast.match_case(c.pattern, c.guard, next(left) or [ast.Pass()]) for c in fields["cases"]]
    return type(node)(**fields)
