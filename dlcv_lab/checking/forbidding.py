"""Notice operations that an exercise asks to do without: by name in the source, by operator while it runs."""

from __future__ import annotations

import ast
import fnmatch
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class OperatorWatch(TorchDispatchMode):
    """Note every aten operator that matches one of the patterns, such as "aten.convolution*"."""

    def __init__(self, patterns: Iterable[str]) -> None:
        super().__init__()
        self.patterns = tuple(patterns)
        self.seen: dict[str, None] = {}
        self._meant: dict[Any, bool] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Tell torch that nothing is compiled under this mode: else its first use imports the compiler for seconds."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        meant = self._meant.get(func)
        if meant is None:
            meant = any(fnmatch.fnmatchcase(str(func), pattern) for pattern in self.patterns)
            self._meant[func] = meant
        if meant:
            self.seen[str(func)] = None
        return func(*args, **(kwargs or {}))


def forbidden_names(statements: Iterable[str], names: Iterable[str]) -> tuple[str, ...]:
    """Return which of the dotted `names` the statements use: "F.conv2d" also as `torch.nn.functional.conv2d`,
    through `import ... as`, or imported by itself.
    """
    wanted = {_resolve(name, _KNOWN): name for name in names}
    looked = [_look(statement) for statement in statements]
    aliases = dict(_KNOWN)
    for imported, _ in looked:
        aliases |= imported
    resolved = (_resolve(dotted, aliases) for _, used in looked for dotted in used)
    return tuple(dict.fromkeys(wanted[name] for name in resolved if name in wanted))


@lru_cache(maxsize=512)  # the statements of an exercise are mostly those of the next exercise and of the next student
def _look(statement: str) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Return what a statement imports as what, and the dotted names that it uses, each once."""
    imported: dict[str, str] = {}
    used: dict[str, None] = {}
    for node in ast.walk(ast.parse(statement)):
        if isinstance(node, ast.Import):
            imported |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imported |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif dotted := _dotted(node):
            used[dotted] = None
    return tuple(imported.items()), tuple(used)


_KNOWN = {"F": "torch.nn.functional", "nn": "torch.nn", "np": "numpy"}


def _resolve(dotted: str, aliases: dict[str, str]) -> str:
    first, _, rest = dotted.partition(".")
    full = f"{aliases.get(first, first)}.{rest}" if rest else aliases.get(first, first)
    return full


def _dotted(node: ast.AST) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""
