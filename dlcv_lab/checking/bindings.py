"""Which names a statement binds, changes and uses, and what of a block counts for a set of names."""

from __future__ import annotations

import ast
import symtable
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_IMPORTS = (ast.Import, ast.ImportFrom)
_LOOPS = (ast.For, ast.AsyncFor, ast.With, ast.AsyncWith)
_CHOICES = (ast.If, ast.Try, ast.TryStar)


@dataclass(frozen=True)
class Statement:
    """One top-level statement of the notebook."""

    cell: int
    source: str
    node: ast.stmt
    solution_of: str | None = None  # the exercise whose solution cell it stands in

    def look(self) -> None:
        """Find out what it binds and changes; raise RecursionError where its blocks are nested beyond reason."""
        self.binds, self.changes, self.assigns  # noqa: B018

    @cached_property
    def binds(self) -> frozenset[str]:
        """Return the names that it defines, imports or assigns, in blocks too."""
        return frozenset(_bound(self.node))

    @cached_property
    def changes(self) -> frozenset[str]:
        """Return the variables on which it calls a method, as `table.append(1)` does."""
        return frozenset(_called(self.node))

    @cached_property
    def assigns(self) -> frozenset[str]:
        """Return the names that it assigns, which are variables."""
        return frozenset() if isinstance(self.node, DEFINITIONS + _IMPORTS) else frozenset(_assigned(self.node))

    @cached_property
    def uses(self) -> frozenset[str]:
        """Return the global names that it refers to; names local to a function are not among them."""
        try:
            return frozenset(_globals(symtable.symtable(self.source, "<cell>", "exec")))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return frozenset(inner.id for inner in ast.walk(self.node) if isinstance(inner, ast.Name))


@dataclass(frozen=True)
class Reach:
    """The names that an exercise uses, through whatever binds them, and which of them are variables."""

    names: frozenset[str]
    variables: frozenset[str]

    def counts(self, node: ast.stmt) -> bool:
        """Tell whether a statement that is no definition, import or block binds or changes something reached."""
        return bool(self.names & set(_bound(node)) or self.names & self.variables & set(_called(node)))


def reach(statements: Sequence[Statement], roots: Iterable[str], stop: Iterable[str] = ()) -> Reach:
    """Follow the names that `roots` use through the statements that bind or change them; `stop` is not followed."""
    variables = frozenset(name for statement in statements for name in statement.assigns)
    touching: dict[str, list[Statement]] = {}
    for statement in statements:
        for name in statement.binds | (statement.changes & variables):
            touching.setdefault(name, []).append(statement)
    found: set[str] = set()
    stopped, waiting = frozenset(stop), list(roots)
    while waiting:
        name = waiting.pop()
        if name not in found and name not in stopped:
            found.add(name)
            for statement in touching.pop(name, ()):
                waiting += statement.uses
    return Reach(frozenset(found), variables)


def kept(statements: Sequence[Statement], reached: Reach) -> Iterator[str]:
    """Yield the sources of what counts, in order: definitions, imports, and what binds or changes a reached name."""
    for statement in statements:
        try:
            node = _filtered(statement.node, reached)
            if node is statement.node:
                yield statement.source
            elif node is not None:
                yield ast.unparse(ast.fix_missing_locations(node))
        except RecursionError:  # nobody nests blocks a thousand deep
            continue


def _globals(table: symtable.SymbolTable) -> Iterator[str]:
    top = table.get_type() == "module"
    for symbol in table.get_symbols():
        if symbol.is_referenced() if top else symbol.is_global():
            yield symbol.get_name()
    for child in table.get_children():
        yield from _globals(child)


def _bound(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, DEFINITIONS):
        yield node.name
    elif isinstance(node, _IMPORTS):
        yield from ((alias.asname or alias.name).split(".")[0] for alias in node.names)
    elif isinstance(node, _LOOPS + _CHOICES):
        yield from _own_targets(node)
        yield from (name for part in _blocks(node) for inner in part for name in _bound(inner))
    else:
        yield from _own_targets(node)


def _assigned(node: ast.stmt) -> Iterator[str]:
    yield from _own_targets(node)
    for part in _blocks(node):
        for inner in part:
            if not isinstance(inner, DEFINITIONS + _IMPORTS):
                yield from _assigned(inner)


def _own_targets(node: ast.stmt) -> Iterator[str]:
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign | ast.AugAssign | ast.For | ast.AsyncFor):
        targets = [node.target]
    elif isinstance(node, ast.With | ast.AsyncWith):
        targets = [item.optional_vars for item in node.items if item.optional_vars is not None]
    yield from (name for target in targets for name in _roots(target))


def _roots(target: ast.expr) -> Iterator[str]:
    """Yield the names at the root of a target: `a, b[0], c.d = ...` gives a, b, c."""
    if isinstance(target, ast.Tuple | ast.List):
        yield from (name for item in target.elts for name in _roots(item))
        return
    while isinstance(target, ast.Attribute | ast.Subscript | ast.Starred):
        target = target.value
    if isinstance(target, ast.Name):
        yield target.id


def _called(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Attribute):
        yield from _roots(node.value.func)
    if isinstance(node, _LOOPS + _CHOICES):
        yield from (name for part in _blocks(node) for inner in part for name in _called(inner))


def _blocks(node: ast.stmt) -> Iterator[list[ast.stmt]]:
    if isinstance(node, _LOOPS + _CHOICES):
        for field in ("body", "orelse", "finalbody"):
            yield getattr(node, field, [])
        yield from (handler.body for handler in getattr(node, "handlers", []))


def _filtered(node: ast.stmt, reached: Reach) -> ast.stmt | None:
    """Return the statement if it counts, a copy of a block with what counts in it, or None."""
    if isinstance(node, DEFINITIONS + _IMPORTS):
        return node
    if not isinstance(node, _LOOPS + _CHOICES):
        return node if reached.counts(node) else None
    parts = {name: _chosen(getattr(node, name), reached) for name in ("body", "orelse", "finalbody")
             if hasattr(node, name)}  # fmt: skip
    handlers = [
        ast.ExceptHandler(handler.type, handler.name, _chosen(handler.body, reached) or [ast.Pass()])
        for handler in getattr(node, "handlers", [])
    ]
    anything = any(parts.values()) or any(_chosen(handler.body, reached) for handler in getattr(node, "handlers", []))
    if not anything and not reached.names & set(_own_targets(node)):
        return None
    fields = {name: getattr(node, name) for name in node._fields}
    fields |= parts | {"body": parts["body"] or [ast.Pass()]} | ({"handlers": handlers} if handlers else {})
    return type(node)(**fields)


def _chosen(body: list[ast.stmt], reached: Reach) -> list[ast.stmt]:
    return [found for inner in body if (found := _filtered(inner, reached)) is not None]
