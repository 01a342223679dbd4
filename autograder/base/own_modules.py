"""The modules of our own packages, parsed: their top-level statements, and what each of them names."""

from __future__ import annotations

import ast
import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from autograder.base import paths
from autograder.base.code_text import code_only

OWN = ("dlcv_lab", "solutions", "autograder", "chapters")
_ROWS = ("solutions", "chapters", "autograder.exercises")  # these lie in the rows' folder (DLCV_ROOT)
_CALLED = "__call__"
_DECLARES = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign

Chain = tuple[str, ...]  # ("world", "sample", "__call__"): a name, attributes of it, and that it was called
Target = tuple[str, str]  # module and name in it; the name is "" for the module itself


@dataclass
class Uses:
    """What a statement names."""

    chains: set[Chain] = field(default_factory=set)
    imports: dict[str, Target] = field(default_factory=dict)  # its own: names bound inside functions
    runs: set[str] = field(default_factory=set)  # modules that its imports execute
    whole: set[str] = field(default_factory=set)  # modules, all of them; "a." stands for all modules below a
    strings: set[str] = field(default_factory=set)


@dataclass
class Statement:
    """One top-level statement of a module."""

    names: frozenset[str]
    text: str
    uses: Uses
    node: ast.stmt
    effect: bool  # may leave a trace when the module is imported

    @cached_property
    def plain(self) -> str:
        return code_only(self.text)


@dataclass
class Module:
    """A parsed module of our own."""

    name: str
    path: Path
    lines: list[str] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)
    bound: dict[str, list[int]] = field(default_factory=dict)
    imports: dict[str, Target] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    runs: set[str] = field(default_factory=set)
    homes: dict[str, str] = field(default_factory=dict)  # of a package that loads late: name -> module

    @property
    def package(self) -> str:
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]


_seen: dict[str, Module | None] = {}  # in this walk: files may change between two
_still = [False]
_turn = threading.RLock()
_P = ParamSpec("_P")
_R = TypeVar("_R")


@contextlib.contextmanager
def still() -> Iterator[None]:
    """Look at the files only once for all keys that are made inside: whoever says so knows that none changes."""
    _seen.clear()
    _still[0] = True
    try:
        yield
    finally:
        _still[0] = False


def in_turn(of: Callable[_P, _R]) -> Callable[_P, _R]:
    """Let threads call a function one after another: Python 3.11 loses count where two parse source at the same time
    (compare issue 106905 of github.com/python/cpython), and what was parsed is kept for all of them."""

    @wraps(of)
    def waits(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with _turn:
            return of(*args, **kwargs)

    return waits


def look_again() -> None:
    """Forget what was parsed, unless `still` holds: files may have changed."""
    if not _still[0]:
        _seen.clear()


def is_magic(line: str) -> bool:
    return line.lstrip().startswith(("%", "!"))


def without_magics(text: str) -> str:
    return "\n".join("pass" if is_magic(line) else line for line in text.splitlines())


def _docstring(node: ast.AST) -> ast.Constant | None:
    body = getattr(node, "body", None)
    first = body[0] if isinstance(body, list) and body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return first.value
    return None


def place_of(name: str) -> Path | None:
    """Return the file of a module of ours, or None."""
    if name.split(".")[0] not in OWN:
        return None
    rows = any(name == each or name.startswith(each + ".") for each in _ROWS)
    for home in dict.fromkeys([paths.root(), paths.CHECKOUT] if rows else [paths.CHECKOUT]):
        base = home.joinpath(*name.split("."))
        for path in (base.with_name(base.name + ".py"), base / "__init__.py"):
            if path.is_file():
                return path
    return None


def below(package: str) -> Iterator[str]:
    """Yield a package and all modules below it."""
    place = place_of(package)
    if place is None:
        return
    yield package
    for path in sorted(place.parent.rglob("*.py")) if place.name == "__init__.py" else ():
        inner = path.relative_to(place.parent).with_suffix("").parts
        if path != place:
            yield ".".join([package, *(inner[:-1] if inner[-1] == "__init__" else inner)])


def module_of(name: str) -> Module | None:
    """Return a parsed module of ours, or None where there is none of this name."""
    if name in _seen:
        with contextlib.suppress(KeyError):  # another thread may begin a walk now
            return _seen[name]
    path = place_of(name)
    stat = path.stat() if path else None
    found = _parsed(name, path, stat.st_mtime_ns, stat.st_size) if path and stat else None
    _seen[name] = found
    return found


@lru_cache(maxsize=2048)
def _parsed(name: str, path: Path, changed: int, size: int) -> Module:
    text = path.read_text(encoding="utf-8")
    module = Module(name, path, text.splitlines())
    fill(module, ast.parse(text))
    if {"__getattr__", "_HOMES"} <= module.bound.keys():
        module.homes = _homes(module)
    return module


def _homes(module: Module) -> dict[str, str]:
    """Return name -> module of a package that loads late, and drop how it does that: its table names everything."""
    scope: dict[str, object] = {"__name__": module.name}
    for statement in module.statements:
        if isinstance(statement.node, ast.Assign):
            exec(compile(ast.Module([statement.node], []), str(module.path), "exec"), scope)
    table = scope["_HOMES"]
    assert isinstance(table, dict)
    module.statements = []
    module.bound = {}
    return {str(name): f"{module.name}.{home}" for name, home in table.items()}


def fill(module: Module, tree: ast.Module) -> None:
    lazy = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    docstring = _docstring(tree)
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            _note_import(node, module.package, module.imports, module.runs, module.stars)
            continue
        if (isinstance(node, ast.Expr) and node.value is docstring) or _never_runs(node):
            continue
        uses = uses_of(node, module.package, lazy)
        effect = not isinstance(node, _DECLARES)
        if effect:
            module.runs |= uses.runs
            module.imports |= uses.imports
        names = frozenset(bound_by(node))
        for name in names:
            module.bound.setdefault(name, []).append(len(module.statements))
        module.statements.append(Statement(names, segment(module.lines, node), uses, node, effect))


def segment(lines: list[str], node: ast.stmt) -> str:
    """Return the lines of a statement, its decorators included."""
    first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
    return "\n".join(lines[first - 1 : node.end_lineno])


def _never_runs(node: ast.AST) -> bool:
    """Tell what stands there for type checkers, or for a module that is run as a script."""
    if not isinstance(node, ast.If):
        return False
    test = ast.unparse(node.test)
    return not node.orelse and ("TYPE_CHECKING" in test or test == "__name__ == '__main__'")


def bound_by(node: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement binds in its own scope, imports apart."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
        return
    if isinstance(node, ast.Import | ast.ImportFrom):
        return
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
            yield child.id
        elif isinstance(child, ast.stmt | ast.ExceptHandler | ast.withitem | ast.Tuple | ast.List | ast.Starred
                        | ast.match_case):  # fmt: skip
            yield from bound_by(child)  # type: ignore[arg-type]


def _note_import(
    node: ast.Import | ast.ImportFrom, package: str, imports: dict[str, Target], runs: set[str], stars: list[str]
) -> None:
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.name.split(".")[0] in OWN:
                runs.add(alias.name)
                bound = alias.name if alias.asname else alias.name.split(".")[0]
                imports[alias.asname or bound] = (bound, "")
        return
    above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
    base = ".".join([*above, *([node.module] if node.module else [])])
    if base.split(".")[0] not in OWN:
        return
    runs.add(base)
    for alias in node.names:
        if alias.name == "*":
            stars.append(base)
        else:
            runs.add(f"{base}.{alias.name}")  # where it is a module
            imports[alias.asname or alias.name] = (base, alias.name)


def uses_of(node: ast.AST, package: str, lazy_annotations: bool) -> Uses:
    reader = _Reader(package, lazy_annotations)
    reader.visit(node)
    return reader.uses


class _Reader(ast.NodeVisitor):
    """Reads off what a statement names."""

    def __init__(self, package: str, lazy_annotations: bool) -> None:
        self.package, self.lazy, self.uses = package, lazy_annotations, Uses()

    def visit(self, node: ast.AST) -> None:
        if not _never_runs(node):
            super().visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring, or nothing
            self.visit(node.value)

    def visit_Name(self, node: ast.Name) -> None:
        self.uses.chains.add((node.id,))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        chain = _chain(node)
        if chain:
            self.uses.chains.add(chain)
        else:
            self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        chain = _chain(node.func)
        if chain:
            self.uses.chains.add((*chain, _CALLED))
        else:
            self.visit(node.func)
        if chain and chain[-1] in ("import_module", "__import__") and node.args:
            self._imported(node.args[0])
        for part in [*node.args, *node.keywords]:
            self.visit(part)

    def visit_Import(self, node: ast.Import) -> None:
        self._import(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self._import(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.uses.strings.add(node.value)
            if "import" in node.value:
                self._named(node.value)

    def visit_arg(self, node: ast.arg) -> None:
        if node.annotation is not None and not self.lazy:
            self.visit(node.annotation)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        returns = [node.returns] if node.returns and not self.lazy else []
        for part in [*node.decorator_list, node.args, *node.body, *returns]:
            self.visit(part)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        for part in (node.target, node.value, None if self.lazy else node.annotation):
            if part is not None:
                self.visit(part)

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        stars: list[str] = []
        _note_import(node, self.package, self.uses.imports, self.uses.runs, stars)
        self.uses.whole |= set(stars)

    def _imported(self, name: ast.expr) -> None:
        """Note what `import_module` is given: a name, or the constant beginning of one."""
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            self.uses.whole.add(name.value)
        elif isinstance(name, ast.JoinedStr) and name.values and isinstance(name.values[0], ast.Constant):
            start = str(name.values[0].value)
            if start.startswith("dlcv_lab.") and start.endswith("."):  # chapters are named by who asks for a key
                self.uses.whole.add(start)

    def _named(self, text: str) -> None:
        """Note the modules of ours that a string with code in it imports."""
        for base, name in re.findall(r"from (dlcv_lab[\w.]*) import (\w+)", text):
            below = f"{base}.{name}"
            self.uses.whole.add(below if place_of(below) else base)
        for name in re.findall(r"(?<!from )\b(dlcv_lab\.[\w.]+)", text):
            parts = name.split(".")
            while parts and place_of(".".join(parts)) is None:
                parts.pop()
            if len(parts) > 1:
                self.uses.whole.add(".".join(parts))


def _chain(node: ast.AST) -> Chain:
    """Return a name and the attributes asked of it, or nothing where it begins with something else."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return (node.id, *reversed(names)) if isinstance(node, ast.Name) else ()
