"""Which extras of the student's package a chapter needs: `dlcv-lab[vl]`, `dlcv-lab[diffusion]`.

Read from the imports of its notebooks, solutions and probes, so that no author has to remember to say it.
"""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterator

from autograder.chapter.rows import Row
from dlcv_lab.cli.doctor import EXTRAS

ZOO = "dlcv_lab.zoo"  # its models come in the formats of all these libraries


def extras_of(row: Row) -> list[str]:
    """Return the names of the extras that hold what the row imports, sorted."""
    modules = set(_imported(row))
    if any(module == ZOO or module.startswith(ZOO + ".") for module in modules):
        return sorted(EXTRAS)
    left = {module.partition(".")[0] for module in modules}
    found = []
    for extra in sorted(EXTRAS, key=lambda extra: -len(left & set(EXTRAS[extra]))):  # several bring peft: one is enough
        if left & set(EXTRAS[extra]):
            found.append(extra)
            left -= set(EXTRAS[extra])
    return sorted(found)


def _imported(row: Row) -> Iterator[str]:
    """Yield the full names of the modules that the row's cells and files import; names from `dlcv_lab` with it."""
    texts = [cell.source for lesson in row.notebooks for cell in lesson.cells if cell.kind != "prose"]
    texts += [path.read_text(encoding="utf-8") for path in (*row.solution_files, *row.exercise_files)]
    for text in texts:
        with contextlib.suppress(SyntaxError):  # a cell with a magic
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Import):
                    yield from (name.name for name in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module:
                    yield node.module
                    yield from (f"{node.module}.{name.name}" for name in node.names)
