"""The text of a solution: the markers of its regions, and the names that code binds and reads."""

from __future__ import annotations

import ast
import builtins

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
BUILTINS = frozenset(dir(builtins)) | {"__name__", "__file__", "__doc__", "__annotations__"}

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class SourceError(Exception):
    """A solution's source text does not have the shape that the tools need; the message says what to do."""


def bound_names(source: str) -> set[str]:
    """Return the names that a cell binds at its top level, also below `if`, `for`, `with` and `try`."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, Definition):
            found.add(node.name)
            return
        if isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            return
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.update((alias.asname or alias.name).split(".")[0] for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(source))
    return found


def free_names(source: str) -> set[str]:
    """Return the global names that a piece of code reads and does not bind itself, builtins left out."""
    import symtable

    found: set[str] = set()

    def visit(table: symtable.SymbolTable) -> None:
        top = table.get_type() == "module"
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (top or symbol.is_global()):
                found.add(symbol.get_name())
        for child in table.get_children():
            visit(child)

    visit(symtable.symtable(source, "<cell>", "exec"))
    return found - bound_names(source) - BUILTINS
