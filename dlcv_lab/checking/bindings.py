"""What one statement of a notebook binds, changes and uses, from its syntax tree.

An attribute that is set on an imported module or one of its classes (`torch.Tensor.flat = ...`) is a name of its own,
".flat": it is used by whoever asks anything for `.flat`, and it makes nobody else a changed variable.
"""

from __future__ import annotations

import ast
import re
import symtable
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
IMPORTS = (ast.Import, ast.ImportFrom)
LOOPS = (ast.For, ast.AsyncFor, ast.While)
BLOCKS = (*LOOPS, ast.With, ast.AsyncWith, ast.If, ast.Try, ast.TryStar, ast.Match)
STAR = "*"  # what a star import binds, besides
# what changes its first argument, besides the functions of torch whose names end in "_"
_CHANGING = frozenset(("setattr", "delattr", "shuffle", "heappush", "heapify", "insort"))
_SETTINGS = frozenset(("torch.set_default_dtype",))  # what changes the meaning of all code below it
_MUTATORS = frozenset(  # of lists, dictionaries and sets
    ("add", "append", "clear", "discard", "extend", "insert", "pop", "popitem", "remove", "reverse", "setdefault",
     "sort", "update")
)  # fmt: skip
_SHOWING = frozenset(  # what only shows something, and the workbook's own verbs
    ("print", "display", "len", "type", "help", "plt", "sns", "show", "check", "needs", "predict", "reveal", "interact",
     "submit")
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Statement:
    """One statement of the notebook; those inside blocks have no text of their own."""

    cell: int
    source: str
    node: ast.stmt
    solution_of: str | None = None  # the exercise whose solution cell it stands in

    @cached_property
    def blocks(self) -> tuple[tuple[Statement, ...], ...]:
        """Return the lists of statements in a block: body, orelse and finalbody, then those of handlers and cases."""
        node = self.node
        if not isinstance(node, BLOCKS):
            return ()
        lists = [getattr(node, name) for name in ("body", "orelse", "finalbody") if hasattr(node, name)]
        lists += [inner.body for inner in (*getattr(node, "handlers", ()), *getattr(node, "cases", ()))]
        return tuple(tuple(Statement(self.cell, "", inner) for inner in listed) for listed in lists)

    @cached_property
    def binds(self) -> frozenset[str]:
        """Return the names that it defines, imports, assigns or deletes, in blocks too."""
        return frozenset(_bound(self._parts))

    @cached_property
    def head_binds(self) -> frozenset[str]:
        """Return the names that a block binds outside its statements: in targets, tests, contexts and patterns."""
        heads = [part for head in _heads(self.node) for part in _parts(head)]
        return frozenset(_bound(heads))

    @cached_property
    def changes(self) -> frozenset[str]:
        """Return the names of which it sets a part or calls a method, as `table[0] = 1` and `table.append(1)` do."""
        return frozenset(_changed(self._parts))

    @cached_property
    def sets(self) -> frozenset[tuple[str, str]]:
        """Return the attributes that it sets, as (name at the root, attribute)."""
        return frozenset(_attributes_set(self._parts))

    @cached_property
    def assigns(self) -> frozenset[str]:
        """Return the names that it assigns or defines as a class: what can be changed."""
        if isinstance(self.node, ast.ClassDef):
            return frozenset({self.node.name})
        return frozenset() if isinstance(self.node, DEFINITIONS + IMPORTS) else self.binds

    @cached_property
    def uses(self) -> frozenset[str]:
        """Return the global names that it refers to, and ".name" for every attribute; names local to a function are
        not among them."""
        attributes = (f".{inner.attr}" for inner in ast.walk(self.node) if isinstance(inner, ast.Attribute))
        return self._symbols[0].union(attributes)

    @cached_property
    def writes(self) -> frozenset[str]:
        """Return the names that its functions assign under `global`."""
        return self._symbols[1] if "global" in self.source else frozenset()

    @cached_property
    def mentions(self) -> frozenset[str]:
        """Return the names and words in the arguments of what it calls, or nothing where that only shows something."""
        calls = [part for part in self._parts if isinstance(part, ast.Call)]
        if any(dotted(call.func).split(".")[0] in _SHOWING for call in calls):
            return frozenset()
        parts = [part for call in calls for given in (*call.args, *call.keywords) for part in ast.walk(given)]
        named = {part.id for part in parts if isinstance(part, ast.Name)}
        named |= {part.arg for part in parts if isinstance(part, ast.keyword) and part.arg}
        strings = [part.value for part in self._parts if isinstance(part, ast.Constant)]
        return frozenset(named.union(*(re.findall(r"\w+", text) for text in strings if isinstance(text, str))))

    @cached_property
    def called(self) -> str:
        """Return the name that the statement calls, "init" for `init()`, or nothing."""
        value = self.node.value if isinstance(self.node, ast.Expr) else None
        return value.func.id if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) else ""

    @cached_property
    def checks(self) -> frozenset[str]:
        """Return the exercises that it asks `check` for."""
        calls = [
            part for part in self._parts if isinstance(part, ast.Call) and dotted(part.func) == "check" and part.args
        ]
        given = [call.args[0].value for call in calls if isinstance(call.args[0], ast.Constant)]
        return frozenset(name for name in given if isinstance(name, str))

    @cached_property
    def line_magic(self) -> tuple[str, ...]:
        """Return name and text of the line magic that the statement was: ("run", "helpers.py")."""
        value = self.node.value if isinstance(self.node, ast.Expr) else None
        if isinstance(value, ast.Call) and dotted(value.func).endswith(".run_line_magic"):
            return tuple(str(given.value) for given in value.args if isinstance(given, ast.Constant))
        return ()

    @cached_property
    def is_setting(self) -> bool:
        """Tell whether it is a call that changes the meaning of all code below it."""
        value = self.node.value if isinstance(self.node, ast.Expr) else None
        return isinstance(value, ast.Call) and dotted(value.func) in _SETTINGS

    @cached_property
    def steers(self) -> bool:
        """Tell whether a loop is ended or goes on early."""
        return isinstance(self.node, LOOPS) and any(isinstance(p, ast.Break | ast.Continue) for p in self._parts)

    @cached_property
    def _parts(self) -> tuple[ast.AST, ...]:
        return tuple(_parts(self.node))

    @cached_property
    def _symbols(self) -> tuple[frozenset[str], frozenset[str]]:
        try:
            table = symtable.symtable(self.source, "<cell>", "exec")
            written = (name for child in table.get_children() for name in _written(child))
            return frozenset(_globals(table)), frozenset(written)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return frozenset(inner.id for inner in ast.walk(self.node) if isinstance(inner, ast.Name)), frozenset()


def dotted(node: ast.expr) -> str:
    """Return "a.b.c" for such an expression; of anything else only what is asked of it."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return ".".join([node.id if isinstance(node, ast.Name) else "", *reversed(names)])


def _globals(table: symtable.SymbolTable) -> Iterator[str]:
    top = table.get_type() == "module"
    for symbol in table.get_symbols():
        if symbol.is_referenced() if top else symbol.is_global():
            yield symbol.get_name()
    for child in table.get_children():
        yield from _globals(child)


def _written(table: symtable.SymbolTable) -> Iterator[str]:
    yield from (s.get_name() for s in table.get_symbols() if s.is_declared_global() and s.is_assigned())
    for child in table.get_children():
        yield from _written(child)


def _parts(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the parts of a statement, outer ones first; what stands in the scope of a function or class is left out."""
    waiting = [node]
    while waiting:
        part = waiting.pop()
        yield part
        if not isinstance(part, (*DEFINITIONS, ast.Lambda)):
            waiting += ast.iter_child_nodes(part)


def _heads(node: ast.stmt) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.match_case):
            yield child.pattern
        elif not isinstance(child, ast.stmt | ast.ExceptHandler):
            yield child


def _bound(parts: Iterable[ast.AST]) -> Iterator[str]:
    """Yield the names that a statement binds or deletes in the scope of the cell."""
    own: set[int] = set()  # variables of comprehensions
    for part in parts:
        if isinstance(part, DEFINITIONS):
            yield part.name
        elif isinstance(part, IMPORTS):
            yield from ((alias.asname or alias.name).split(".")[0] for alias in part.names)
        elif isinstance(part, ast.comprehension):
            own |= {id(inner) for inner in ast.walk(part.target)}
        elif isinstance(part, ast.Name) and not isinstance(part.ctx, ast.Load) and id(part) not in own:
            yield part.id
        elif isinstance(part, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and part.name:
            yield part.name
        elif isinstance(part, ast.MatchMapping) and part.rest:
            yield part.rest


def _changed(parts: Iterable[ast.AST]) -> Iterator[str]:
    """Yield the names of which a statement changes something."""
    for part in parts:
        if isinstance(part, ast.Attribute | ast.Subscript) and not isinstance(part.ctx, ast.Load):
            yield from _root(part)
        elif isinstance(part, ast.Expr) and isinstance(part.value, ast.Call):
            if isinstance(part.value.func, ast.Attribute):
                yield from _root(part.value.func)
        elif isinstance(part, ast.Call):
            name = dotted(part.func).rpartition(".")[2]
            in_place = name.endswith("_") and not name.endswith("__")
            if isinstance(part.func, ast.Attribute) and (name in _MUTATORS or in_place):
                yield from _root(part.func)
            if part.args and (name in _CHANGING or in_place):
                yield from _root(part.args[0])


def _attributes_set(parts: Iterable[ast.AST]) -> Iterator[tuple[str, str]]:
    """Yield (root, attribute) for `root.a.attribute = ...`, and for the same by `setattr`."""
    for part in parts:
        if isinstance(part, ast.Attribute) and not isinstance(part.ctx, ast.Load):
            yield from ((root, part.attr) for root in _root(part))
        elif isinstance(part, ast.Call) and dotted(part.func) == "setattr" and len(part.args) == 3:
            name = part.args[1]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield from ((root, name.value) for root in _root(part.args[0]))


def _root(part: ast.expr) -> Iterator[str]:
    """Yield the name at the root: `a[0].b` gives a."""
    while isinstance(part, ast.Attribute | ast.Subscript | ast.Starred):
        part = part.value
    if isinstance(part, ast.Name):
        yield part.id


def _dotted(node: ast.expr) -> str:
    """Return "a.b.c" for such an expression; of anything else only what is asked of it."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return ".".join([node.id if isinstance(node, ast.Name) else "", *reversed(names)])
