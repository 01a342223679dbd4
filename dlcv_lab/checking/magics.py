"""Take IPython's own syntax out of a cell: magics, shell lines and help."""

from __future__ import annotations

import ast
import re

_BODY_MAGICS = frozenset({"time", "timeit", "capture", "prun"})
_MAGIC_LINE = re.compile(r"^(\s*)([%!?]|[\w.]+\?{1,2}\s*$|[\w, ]+=\s*[%!])")
_MOST = 200  # magics of one cell that are taken out one by one


def without_magics(source: str) -> str:
    """Return the Python of a cell: magic lines become `pass`; of a `%%` cell only that of %%time and the like counts.

    Lines inside a text that only look like magics stay: a line is taken out where Python stumbles over it.
    """
    first, _, rest = source.lstrip("\n").partition("\n")
    if first.startswith("%%"):
        words = first[2:].split()
        return without_magics(rest) if words and words[0] in _BODY_MAGICS else ""
    lines = source.split("\n")
    for _ in range(_MOST):
        try:
            ast.parse("\n".join(lines))
        except SyntaxError as error:
            found = _magic_near(lines, error.lineno)
            if found is None:
                break
            _take_out(lines, found)
        except (ValueError, RecursionError, MemoryError):
            break
        else:
            break
    return "\n".join(lines)


def _magic_near(lines: list[str], number: int | None) -> int | None:
    """Return the index of the magic line that an error speaks of, else of the first that looks like one."""
    if number is not None and 0 < number <= len(lines) and _MAGIC_LINE.match(lines[number - 1]):
        return number - 1
    return next((index for index, line in enumerate(lines) if _MAGIC_LINE.match(line)), None)


def _take_out(lines: list[str], index: int) -> None:
    match = _MAGIC_LINE.match(lines[index])
    indent = match.group(1) if match else ""
    while lines[index].endswith("\\") and index + 1 < len(lines):
        lines[index] = indent + "pass"
        index += 1
    lines[index] = indent + "pass"
