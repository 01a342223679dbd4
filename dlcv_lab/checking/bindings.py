"""Which names a statement binds, changes and uses, and what of a block counts for a set of names.

An attribute that is set on an imported module or one of its classes (`torch.Tensor.flat = ...`) is a name of its own,
".flat": it is used by whoever asks anything for `.flat`, and it makes nobody else a changed variable.
"""

from __future__ import annotations

import ast
import re
import symtable
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
IMPORTS = (ast.Import, ast.ImportFrom)
STAR = "*"  # what a star import binds, besides
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_BLOCKS = (*_LOOPS, ast.With, ast.AsyncWith, ast.If, ast.Try, ast.TryStar, ast.Match)
# what changes its first argument, besides the functions of torch whose names end in "_"
_CHANGING = frozenset({"setattr", "delattr", "shuffle", "heappush", "heapify", "insort"})
_SETTINGS = frozenset({"torch.set_default_dtype"})  # what changes the meaning of all code below it
_SHOWING = frozenset(
    [
        "print",
        "display",
        "len",
        "type",
        "help",
        "plt",
        "sns",
        "show",
        "check",
        "needs",
        "predict",
        "reveal",
        "interact",
        "submit",
    ]
)
_MUTATORS = frozenset(
    [
        "add",
        "append",
        "clear",
        "discard",
        "extend",
        "insert",
        "pop",
        "popitem",
        "remove",
        "reverse",
        "setdefault",
        "sort",
        "update",
    ]
)


@dataclass(frozen=True)
class Statement:
    """One top-level statement of the notebook."""

    cell: int
    source: str
    node: ast.stmt
    solution_of: str | None = None  # the exercise whose solution cell it stands in

    @cached_property
    def binds(self) -> frozenset[str]:
        """Return the names that it defines, imports, assigns or deletes, in blocks too."""
        return frozenset(_bound(self.node))

    @cached_property
    def changes(self) -> frozenset[str]:
        """Return the names of which it sets a part or calls a method, as `table[0] = 1` and `table.append(1)` do."""
        return frozenset(_changed(self.node))

    @cached_property
    def sets(self) -> frozenset[tuple[str, str]]:
        """Return the attributes that it sets, as (name at the root, attribute)."""
        return frozenset(_attributes_set(self.node))

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
    def _symbols(self) -> tuple[frozenset[str], frozenset[str]]:
        try:
            table = symtable.symtable(self.source, "<cell>", "exec")
            written = (name for child in table.get_children() for name in _written(child))
            return frozenset(_globals(table)), frozenset(written)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return frozenset(inner.id for inner in ast.walk(self.node) if isinstance(inner, ast.Name)), frozenset()

    @cached_property
    def called(self) -> str:
        """Return the name that the statement calls, "init" for `init()`, or nothing."""
        value = self.node.value if isinstance(self.node, ast.Expr) else None
        return value.func.id if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) else ""

    @cached_property
    def line_magic(self) -> tuple[str, ...]:
        """Return name and text of the line magic that the statement was: ("run", "helpers.py")."""
        value = self.node.value if isinstance(self.node, ast.Expr) else None
        if isinstance(value, ast.Call) and _dotted(value.func).endswith(".run_line_magic"):
            return tuple(str(given.value) for given in value.args if isinstance(given, ast.Constant))
        return ()

    @cached_property
    def is_setting(self) -> bool:
        """Tell whether it is a call that changes the meaning of all code below it."""
        return isinstance(self.node, ast.Expr) and isinstance(self.node.value, ast.Call) and (
            _dotted(self.node.value.func) in _SETTINGS
        )  # fmt: skip


@dataclass(frozen=True)
class Notes:
    """What must be known of all statements of a notebook to read any one of them."""

    variables: frozenset[str]  # what can be changed: assigned names and classes
    writers: Mapping[str, frozenset[str]]  # function -> the names that a call of it assigns, by `global`

    def touched(self, statement: Statement) -> frozenset[str]:
        """Return the names that a statement binds or changes; ".flat" for an attribute set on what was imported."""
        patched = {f".{attribute}" for root, attribute in statement.sets if root not in self.variables}
        patched |= {attribute for root, attribute in statement.sets if root == "builtins"}
        return (
            statement.binds
            | (statement.changes & self.variables)
            | patched
            | self.writers.get(statement.called, frozenset())
        )


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

    def counts(self, node: ast.stmt) -> bool:
        """Tell whether a statement inside a block does."""
        return self.touches(Statement(0, "", node))


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
    wanted = {name for name in reached.names
              if not name.startswith(".") and (name in reached.notes.variables or name not in bound)}  # fmt: skip
    wanted -= set(known)
    nowhere = frozenset(wanted - bound)
    for statement in statements:
        if statement.line_magic[:1] in (("run",), ("load",)) and nowhere:
            yield statement, nowhere
            continue
        if not isinstance(statement.node, ast.Expr | ast.For | ast.While) or reached.touches(statement):
            continue
        calls = [part for part in ast.walk(statement.node) if isinstance(part, ast.Call)]
        if any(_shows(call) for call in calls):
            continue
        parts = [part for call in calls for given in (*call.args, *call.keywords) for part in ast.walk(given)]
        named = {part.id for part in parts if isinstance(part, ast.Name)}
        named |= {part.arg for part in parts if isinstance(part, ast.keyword) and part.arg}
        strings = [part.value for part in ast.walk(statement.node) if isinstance(part, ast.Constant)]
        named |= {word for text in strings if isinstance(text, str) for word in re.findall(r"\w+", text)}
        if named & wanted:
            yield statement, frozenset(named & wanted)


def _shows(call: ast.Call) -> bool:
    """Tell whether a call only shows something, or is one of the workbook's own."""
    return _dotted(call.func).split(".")[0] in _SHOWING


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


def _bound(node: ast.AST) -> Iterator[str]:
    """Yield the names that a statement binds or deletes in the scope of the cell."""
    own: set[int] = set()  # variables of comprehensions
    for part in _parts(node):
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


def _changed(node: ast.AST) -> Iterator[str]:
    """Yield the names of which a statement changes something."""
    for part in _parts(node):
        if isinstance(part, ast.Attribute | ast.Subscript) and not isinstance(part.ctx, ast.Load):
            yield from _root(part)
        elif isinstance(part, ast.Expr) and isinstance(part.value, ast.Call):
            if isinstance(part.value.func, ast.Attribute):
                yield from _root(part.value.func)
        elif isinstance(part, ast.Call):
            name = _dotted(part.func).rpartition(".")[2]
            in_place = name.endswith("_") and not name.endswith("__")
            if isinstance(part.func, ast.Attribute) and (name in _MUTATORS or in_place):
                yield from _root(part.func)
            if part.args and (name in _CHANGING or in_place):
                yield from _root(part.args[0])


def _attributes_set(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield (root, attribute) for `root.a.attribute = ...`, and for the same by `setattr`."""
    for part in _parts(node):
        if isinstance(part, ast.Attribute) and not isinstance(part.ctx, ast.Load):
            yield from ((root, part.attr) for root in _root(part))
        elif isinstance(part, ast.Call) and _dotted(part.func) == "setattr" and len(part.args) == 3:
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


def _filtered(statement: Statement, reached: Reach) -> ast.stmt | None:
    """Return the node if it counts, a copy of a block with what counts in it, or None."""
    node = statement.node
    if isinstance(node, DEFINITIONS + IMPORTS):
        return node
    if not isinstance(node, _BLOCKS):
        return node if reached.touches(statement) else None
    return _block(node, reached)


def _chosen(body: list[ast.stmt], reached: Reach) -> list[ast.stmt]:
    return [found for inner in body if (found := _filtered(Statement(0, "", inner), reached)) is not None]


def _block(node: ast.stmt, reached: Reach) -> ast.stmt | None:
    """Return a block with what counts in it; what steers it stays, and so does all that a `try` tries."""
    lists = _lists(node)
    parts = [_chosen(body, reached) for body in lists]
    heads = frozenset(name for head in _heads(node) for name in _bound(head))
    if not any(parts) and reached.names.isdisjoint(heads):
        return None
    if isinstance(node, _LOOPS) and any(isinstance(part, ast.Break | ast.Continue) for part in ast.walk(node)):
        return node  # which of its rounds come to what counts is up to all of it
    if isinstance(node, ast.Try | ast.TryStar):
        parts[0] = node.body
    return _with_lists(node, parts)


def _lists(node: ast.stmt) -> list[list[ast.stmt]]:
    """Return the lists of statements in a block."""
    found = [getattr(node, field) for field in ("body", "orelse", "finalbody") if hasattr(node, field)]
    return found + [inner.body for inner in (*getattr(node, "handlers", ()), *getattr(node, "cases", ()))]


def _heads(node: ast.stmt) -> Iterator[ast.AST]:
    """Yield the parts of a block that are no statements: targets, tests, contexts and patterns."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.match_case):
            yield child.pattern
        elif not isinstance(child, ast.stmt | ast.ExceptHandler):
            yield child


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
