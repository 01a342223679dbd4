"""The Python of a cell: what IPython makes of prompts, indents, magics, shell lines and help, by its own rules."""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass
from functools import lru_cache

# cell magics whose body runs in the notebook's own names
_BODY_MAGICS = frozenset({"time", "timeit", "capture", "prun", "memit", "mprun", "debug", "pyinstrument", "snakeviz"})
_PIECES = re.compile(r"(^[%!](?![%!])[^\n]*(?<!\\)(?:\n|\Z))", re.MULTILINE)  # whole lines of one magic
_LINE_MAGICS = frozenset({"time", "prun", "memit"})  # line magics whose code does


@dataclass(frozen=True)
class Python:
    """What of a cell is Python."""

    text: str
    above: int = 0  # lines of the cell above it
    magic: str = ""  # the cell magic because of which nothing is: "%%bash"


def as_python(source: str) -> Python:
    """Return the Python of a cell. What IPython would hand to a magic becomes a call of `get_ipython()`, and the body
    of `%%time` and the like is what it is without it."""
    if _parses(source):  # then IPython leaves it as it is
        return Python(source)
    text = source.lstrip("\n")
    above = len(source) - len(text)
    first, _, rest = text.partition("\n")
    if first.startswith("%%"):
        name = re.match(r"%%(\w*)", first)
        if name is None or name[1] not in _BODY_MAGICS:
            return Python("", magic=first.split()[0][:40])
        inner = as_python(rest)
        return Python(inner.text, above + 1 + inner.above, inner.magic)
    return Python(_transformed(source))


def without_magics(source: str) -> str:
    """Return the text of `as_python`."""
    return as_python(source).text


def unwrapped(node: ast.stmt) -> list[ast.stmt]:
    """Return what a statement stands for: the code in `get_ipython().run_line_magic("time", "y = f(x)")`."""
    call = node.value if isinstance(node, ast.Expr) else None
    if (
        isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "run_line_magic"
        and [type(given) for given in call.args] == [ast.Constant, ast.Constant]
        and call.args[0].value in _LINE_MAGICS  # type: ignore[attr-defined]
    ):
        code = str(call.args[1].value)  # type: ignore[attr-defined]
        return ast.parse(code).body if _parses(code) else []
    return [node]


def _parses(source: str) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _transformed(source: str) -> str:
    """Return what IPython makes of a cell.

    Its transformer looks at the whole cell again for every magic in it. Where what stands between the lines that begin
    with a magic is Python by itself, no such line lies inside a text or a bracket, and each piece is read alone.
    """
    pieces = _PIECES.split(source)
    if len(pieces) > 3 and all(_parses(piece) for piece in pieces[::2]):
        return "".join(piece if index % 2 == 0 else _by_ipython(piece) for index, piece in enumerate(pieces))
    return _by_ipython(source)


def _by_ipython(source: str) -> str:
    try:
        with warnings.catch_warnings():  # about line ends that only a hostile cell has
            warnings.simplefilter("ignore")
            return str(_transformer().transform_cell(source))
    except Exception:  # whatever a hostile cell makes of it: Python says what is wrong with the cell
        return source


@lru_cache(maxsize=1)
def _transformer():  # type: ignore[no-untyped-def]
    from IPython.core.inputtransformer2 import TransformerManager  # a fifth of a second, and few cells need it

    return TransformerManager()
