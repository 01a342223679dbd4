"""What of a code cell a page prints: computing is read, drawing folds behind one line, asking is not shown at all."""

from __future__ import annotations

import ast
import re

ASKING = frozenset({"needs", "check", "hint", "predict", "reveal", "foreseen", "stuck", "submit", "show_solution"})
DRAWING = frozenset({"show", "interact"})


def split(source: str) -> tuple[str, str]:
    """Return what a page prints of a given cell: what is read, and what folds.

    From the first top-level statement on that draws (`show...`, `interact`, matplotlib, or a function that does) the
    rest folds.
    Statements that ask (`needs`, `check`, `predict`, `reveal`) and arguments `alt=` are left out of both.
    """
    try:
        body = ast.parse(source).body
    except SyntaxError:  # a line for the shell, such as %pip
        return source, ""
    lines = source.split("\n")
    parts: list[list[str]] = [[], []]
    drawing, end = False, 0
    for group in _by_line(body):
        start = min([group[0].lineno, *(each.lineno for each in getattr(group[0], "decorator_list", []))]) - 1
        before, own = lines[end:start], lines[start : group[-1].end_lineno]
        end = group[-1].end_lineno or len(lines)
        if all(map(_asks, group)):
            continue
        drawing = drawing or any(map(_draws, group))
        parts[drawing] += before + _without_alt(own, group, start)
    read, folded = ("\n".join(part).strip("\n") for part in parts)
    return read, folded


def _by_line(body: list[ast.stmt]) -> list[list[ast.stmt]]:
    """Return the statements, those that share a line together."""
    groups: list[list[ast.stmt]] = []
    for node in body:
        if groups and node.lineno == groups[-1][-1].end_lineno:
            groups[-1].append(node)
        else:
            groups.append([node])
    return groups


def only_draws(source: str) -> bool:
    """Tell whether a cell does nothing but draw or ask: a notebook then shows its output and folds its source."""
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return False
    drawn = [_draws(node) and isinstance(node, ast.Expr) for node in body if not _asks(node)]
    return bool(body) and all(drawn) and not any(_called(node) == "predict" for node in body)


def _called(node: ast.stmt) -> str:
    """Return the name of the function that a statement is a bare call of."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Name):
        return node.value.func.id
    return ""


def _asks(node: ast.stmt) -> bool:
    return _called(node) in ASKING


def _draws(node: ast.stmt) -> bool:
    """Tell whether a statement calls `interact` or something of `show`, however deep, or turns to matplotlib."""
    for each in ast.walk(node):
        if isinstance(each, ast.ImportFrom) and (each.module or "").startswith("matplotlib"):
            return True
        if isinstance(each, ast.Call):
            root = each.func
            while isinstance(root, ast.Attribute):
                root = root.value
            if isinstance(root, ast.Name) and root.id in DRAWING:
                return True
    return False


def _without_alt(lines: list[str], nodes: list[ast.stmt], first: int) -> list[str]:
    """Take the arguments `alt=` out of some lines; what stands for a picture is not read beside it."""
    text = "\n".join(lines)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)

    def place(line: int | None, column: int | None) -> int:
        # the parser counts bytes, the text has characters
        row = (line or 0) - 1 - first
        return starts[row] + len(lines[row].encode()[:column].decode())

    spans = []  # of each argument: its start, the start of the next one or None, the closing bracket of its call
    for call in (each for node in nodes for each in ast.walk(node) if isinstance(each, ast.Call)):
        words = sorted(call.keywords, key=lambda word: (word.lineno, word.col_offset))
        for word, following in zip(words, [*words[1:], None]):
            if word.arg == "alt":
                after = place(following.lineno, following.col_offset) if following else None
                spans.append(
                    (place(word.lineno, word.col_offset), after, place(call.end_lineno, call.end_col_offset) - 1)
                )
    for start, after, bracket in sorted(spans, reverse=True):
        if after is not None:
            text = text[:start] + text[after:]
        else:  # the last argument: what stands before the bracket, such as a line break, stays
            gap = re.search(r",?\s*$", text[start:bracket])
            text = text[:start].rstrip().removesuffix(",") + (gap[0] if gap else "") + text[bracket:]
    return text.split("\n")
