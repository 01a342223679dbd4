"""The text of code as a hash sees it."""

from __future__ import annotations

import ast
import io
import tokenize


def code_only(text: str) -> str:
    """Return Python text without comments, docstrings and blank lines; text that is not Python comes back as it is."""
    try:
        tree = ast.parse(text)
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (SyntaxError, tokenize.TokenError):
        return text
    lines = text.splitlines()
    spans = [(token.start, token.end) for token in tokens if token.type == tokenize.COMMENT]
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef | ast.Module):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and type(first.value.value) is str:
                start, end = (first.lineno, first.col_offset), (first.end_lineno or 0, first.end_col_offset or 0)
                spans.append((_in_characters(lines, start), _in_characters(lines, end)))
    for start, end in sorted(spans, reverse=True):
        before, after = lines[start[0] - 1][: start[1]], lines[end[0] - 1][end[1] :]
        lines[start[0] - 1 : end[0]] = [before + after, *[""] * (end[0] - start[0])]
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _in_characters(lines: list[str], place: tuple[int, int]) -> tuple[int, int]:
    """Turn ast's (line, offset in UTF-8 bytes) into (line, offset in characters)."""
    return place[0], len(lines[place[0] - 1].encode()[: place[1]].decode())
