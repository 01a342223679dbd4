"""What a piece of code really runs: the definitions of our own packages that it reaches, and a hash of them.

A chapter's notebook that draws curves hangs on `show.curves`, not on `show.contours` beside it, and on neither's
docstring. So a key is made from single top-level statements: those that a text, a function or a module names, and what
they name in turn, through imports (late ones too), packages that load late (`_HOMES`), attributes of modules and of
single objects such as `show`. Comments, docstrings and the order in a file do not count; nor do annotations lead
anywhere.

Where a name is used in a way that cannot be followed, all of it counts: a module that is handed on or asked by
`getattr`, a module that a text names beside `import`, a package behind `import_module(f"dlcv_lab.zoo.{name}")`. A
statement at the top of a module that is neither a definition nor an assignment counts whenever the module is imported,
and so does a definition under a decorator of our own, since both may register something. Of assignments it is taken
that calling what stands at their right leaves no trace elsewhere. Files beside a module count where a statement joins
their name to `__file__`; of the zoo's weights, those of the models that are named. Versions of other people's packages
do not count: constraints.txt pins them.

Source: the idea is that of reachability in a call graph (as in `vulture` and tree shaking), at the grain of statements.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

from autograder.base import cache, paths
from autograder.base.code_text import code_only

OWN = ("dlcv_lab", "solutions", "autograder", "chapters")
_ROWS = ("solutions", "chapters", "autograder.exercises")  # these lie in the rows' folder (DLCV_ROOT)
_TEXT_MATTERS = {"help", "getsource", "getdoc", "__doc__"}  # where these are used, docstrings and comments are values
_CALLED = "__call__"
_DECLARES = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign

Chain = tuple[str, ...]  # ("world", "sample", "__call__"): a name, attributes of it, and that it was called
Target = tuple[str, str]  # module and name in it; the name is "" for the module itself


@dataclass
class _Uses:
    """What a statement names."""

    chains: set[Chain] = field(default_factory=set)
    imports: dict[str, Target] = field(default_factory=dict)  # its own: names bound inside functions
    runs: set[str] = field(default_factory=set)  # modules that its imports execute
    whole: set[str] = field(default_factory=set)  # modules, all of them; "a." stands for all modules below a
    strings: set[str] = field(default_factory=set)


@dataclass
class _Statement:
    """One top-level statement of a module."""

    names: frozenset[str]
    text: str
    uses: _Uses
    node: ast.stmt
    effect: bool  # may leave a trace when the module is imported

    @cached_property
    def plain(self) -> str:
        return code_only(self.text)


@dataclass
class _Module:
    """A parsed module of our own."""

    name: str
    path: Path
    lines: list[str] = field(default_factory=list)
    statements: list[_Statement] = field(default_factory=list)
    bound: dict[str, list[int]] = field(default_factory=dict)
    imports: dict[str, Target] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    runs: set[str] = field(default_factory=set)
    homes: dict[str, str] = field(default_factory=dict)  # of a package that loads late: name -> module

    @property
    def package(self) -> str:
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]


@dataclass(frozen=True)
class Reach:
    """What some code reaches: (module, a statement's names) -> hashes of its text, and files of data -> theirs."""

    statements: Mapping[tuple[str, str], set[str]]
    data: Mapping[str, str]

    @property
    def key(self) -> str:
        parts = [f"{module} {names} {sorted(texts)}" for (module, names), texts in sorted(self.statements.items())]
        return cache.digest(*parts, *(f"{name} {seen}" for name, seen in sorted(self.data.items())))

    @property
    def modules(self) -> set[str]:
        return {module for module, _ in self.statements}

    def within(self, *packages: str) -> Reach:
        """Return the part of it that lies in some packages."""
        own = {place: text for place, text in self.statements.items() if place[0].split(".")[0] in packages}
        return Reach(own, self.data)

    def holds(self, module: str, name: str) -> bool:
        """Tell whether a definition is part of it."""
        return any(module == where and name in names.split() for where, names in self.statements)


def of_text(*texts: str) -> Reach:
    """Return what texts of one namespace reach, such as the cells of a notebook; the texts themselves are not part of
    it (see `code_of`)."""
    walk = _Walk(exact=any(map(_text_matters, texts)))
    walk.texts(texts)
    return walk.done()


def of_names(*roots: Target) -> Reach:
    """Return what definitions reach, themselves included; a root is (module, name), or (module, "") for all of it.

    Raises:
        ValueError: a module is not there, or is none of ours.
    """
    walk = _Walk()
    for module, name in roots:
        if _module(module) is None:
            raise ValueError(f"{module} is no module of {', '.join(OWN)}")
        walk.reach(module, name) if name else walk.all_of(module)
    return walk.done()


def roots_of(function: Callable[..., object], otherwise: Iterable[str]) -> list[Target]:
    """Return the root of a function of ours, or whole modules where it has no name at the top of its module.

    Args:
        function: for example a case generator.
        otherwise: the modules that count for a lambda, a partial or a function made by another.
    """
    plain = inspect.unwrap(function)
    name, home = getattr(plain, "__qualname__", ""), getattr(plain, "__module__", "")
    module = _module(home)
    return [(home, name)] if module and name in module.bound else [(other, "") for other in otherwise]


def module_name(path: Path) -> str:
    """Return the name of the module in a file of solutions/, chapters/ or autograder/."""
    home = next(home for home in (paths.root(), paths.CHECKOUT) if path.is_relative_to(home))
    parts = path.relative_to(home).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def code_of(text: str) -> str:
    """Return a text's code as a key sees it: without comments and docstrings, unless it reads docstrings or source.
    Lines of IPython stay as they are, and so does what is no Python."""
    if _text_matters(text):
        return text
    return "\n".join([code_only(_without_magics(text)), *filter(_is_magic, text.splitlines())])


def _text_matters(text: str) -> bool:
    try:
        nodes = list(ast.walk(ast.parse(_without_magics(text))))
    except SyntaxError:
        return True
    named = {node.id for node in nodes if isinstance(node, ast.Name)}
    return bool((named | {node.attr for node in nodes if isinstance(node, ast.Attribute)}) & _TEXT_MATTERS)


def _is_magic(line: str) -> bool:
    return line.lstrip().startswith(("%", "!"))


def _without_magics(text: str) -> str:
    return "\n".join("pass" if _is_magic(line) else line for line in text.splitlines())


def _docstring(node: ast.AST) -> ast.Constant | None:
    body = getattr(node, "body", None)
    first = body[0] if isinstance(body, list) and body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return first.value
    return None


_seen: dict[str, _Module | None] = {}  # in this walk: files may change between two
_still = [False]


@contextlib.contextmanager
def still() -> Iterator[None]:
    """Look at the files only once for all keys that are made inside: whoever says so knows that none changes."""
    _seen.clear()
    _still[0] = True
    try:
        yield
    finally:
        _still[0] = False


class _Walk:
    """Follows names from statement to statement."""

    def __init__(self, *, exact: bool = False) -> None:
        self.exact = exact
        self.seen: set[tuple[str, ...]] = set()
        self.statements: dict[tuple[str, str], set[str]] = {}
        self.data: dict[Path, str] = {}  # files and folders beside a module -> its package
        self.words: dict[str, set[str]] = {}  # package -> strings in what is reached of it
        if not _still[0]:
            _seen.clear()

    def done(self) -> Reach:
        return Reach(self.statements, self._weights())

    def texts(self, texts: Iterable[str]) -> None:
        """Follow texts that stand in no module."""
        module = _Module("", Path())
        for text in map(_without_magics, texts):
            module.lines = text.splitlines()
            with contextlib.suppress(SyntaxError):
                _fill(module, ast.parse(text))
        for name in module.runs:
            self.run(name)
        for name in module.stars:
            self.all_of(name)
        for statement in module.statements:
            self._follow(module, statement.uses)

    def run(self, name: str) -> None:
        """Take in what importing a module does: it and its packages, what they import, and what leaves a trace."""
        module = _module(name)
        if module is None or not self._new("run", name):
            return
        if "." in name:
            self.run(name.rpartition(".")[0])
        for other in module.runs:
            self.run(other)
        for index, statement in enumerate(module.statements):
            if statement.effect or self._registers(module, statement):
                self._take(module, index)

    def all_of(self, name: str) -> None:
        """Take in a whole module, and what a package that loads late offers."""
        module = _module(name)
        if module is None or not self._new("all", name):
            return
        self.run(name)
        for index in range(len(module.statements)):
            self._take(module, index)
        for each in [*module.homes, *module.imports]:
            self.reach(name, each)
        for star in module.stars:
            self.all_of(star)

    def reach(self, name: str, wanted: str, rest: Chain = ()) -> None:
        """Take in what `wanted` is in a module, of which the attributes `rest` are used."""
        if not self._new("reach", name, wanted, *rest):
            return
        found = self._look(name, wanted)
        if found is None:
            return
        where, own = found
        self.run(name)
        self.run(where)
        if not own:
            self._ask(where, rest)
            return
        module = _module(where)
        assert module is not None
        if rest and self._single(module, own, rest[0]):
            return
        for index in module.bound[own]:
            self._take(module, index)

    def _ask(self, name: str, rest: Chain) -> None:
        """Take in what a module is asked for: an attribute of it, or all where it is handed on as it is."""
        self.run(name)
        if not rest or not (rest[0].startswith("__") or self._look(name, rest[0])):
            self.all_of(name)
        elif not rest[0].startswith("__"):
            self.reach(name, rest[0], rest[1:])

    def _look(self, name: str, wanted: str) -> Target | None:
        """Return where a name of a module is defined: (module, name), or (module, "") where it is a module."""
        module = _module(name)
        if module is None:
            return None
        if wanted in module.bound:
            return name, wanted
        base, own = module.imports.get(wanted, (name, wanted))
        if (base, own) != (name, wanted):
            return self._look(base, own) if own else (base, "")
        if wanted in module.homes:
            return self._look(module.homes[wanted], wanted)
        for star in reversed(module.stars):
            if not wanted.startswith("_") and (found := self._look(star, wanted)):
                return found
        return (f"{name}.{wanted}", "") if _module(f"{name}.{wanted}") else None

    def _new(self, *what: str) -> bool:
        fresh = what not in self.seen
        self.seen.add(what)
        return fresh

    def _take(self, module: _Module, index: int) -> None:
        if not self._new("statement", module.name, str(index)):
            return
        statement = module.statements[index]
        self._note(module, " ".join(sorted(statement.names)), statement.text if self.exact else statement.plain)
        self.run(module.name)
        self._follow(module, statement.uses)

    def _note(self, module: _Module, names: str, text: str) -> None:
        self.statements.setdefault((module.name, names), set()).add(cache.digest(text)[:16])

    def _follow(self, module: _Module, uses: _Uses) -> None:
        for name in uses.runs:
            self.run(name)
        for name in uses.whole:
            for each in _below(name[:-1]) if name.endswith(".") else (name,):
                self.all_of(each)
        self.words.setdefault(module.package, set()).update(uses.strings)
        if ("__file__",) in uses.chains:
            places = [module.path.parent / name for name in uses.strings if name.strip("./")]
            self.data |= {place: module.package for place in places if place.exists()}
        for first, *rest in sorted(uses.chains):
            if first in uses.imports:
                base, own = uses.imports[first]
                self._target(base, own, tuple(rest))
            elif first in module.imports and first not in module.bound:
                self._target(*module.imports[first], tuple(rest))
            else:
                self.reach(module.name, first, tuple(rest))

    def _target(self, base: str, own: str, rest: Chain) -> None:
        """Take in what an import names, and all of its module where that cannot be found."""
        if not own:
            self._ask(base, rest)
        elif self._look(base, own):
            self.reach(base, own, rest)
        else:
            self.all_of(base)

    def _registers(self, module: _Module, statement: _Statement) -> bool:
        """Tell whether a definition stands under a decorator of ours."""
        decorators = getattr(statement.node, "decorator_list", [])
        chains = {chain for decorator in decorators for chain in _uses_of(decorator, module.package, True).chains}
        return any(self._look(module.name, chain[0]) for chain in chains)

    def _single(self, module: _Module, name: str, attribute: str) -> bool:
        """Take in one attribute of a single object such as `show = Show()`; return False where that cannot be told."""
        statements = [module.statements[index] for index in module.bound[name]]
        node = statements[0].node
        if len(statements) != 1 or not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
            return False
        made = node.value.func
        found = self._look(module.name, made.id) if isinstance(made, ast.Name) else None
        home = _module(found[0]) if found and found[1] else None
        if home is None or found is None or len(home.bound[found[1]]) != 1:
            return False
        shape = home.statements[home.bound[found[1]][0]].node
        if not isinstance(shape, ast.ClassDef) or shape.bases or shape.keywords or shape.decorator_list:
            return False
        parts = _parts(shape)
        if attribute not in parts or "__getattr__" in parts:
            return False
        self._note(module, name, statements[0].plain)
        for argument in [*node.value.args, *node.value.keywords]:
            self._follow(module, _uses_of(argument, module.package, True))
        for wanted in ("__init__", attribute):
            self._part(home, shape.name, parts, wanted)
        return True

    def _part(self, module: _Module, kind: str, parts: dict[str, ast.stmt], name: str) -> None:
        node = parts.get(name)
        if node is None or not self._new("part", module.name, kind, name):
            return
        text = textwrap.dedent(_segment(module.lines, node))
        self._note(module, f"{kind}.{name}", text if self.exact else code_only(text))
        uses = _uses_of(node, module.package, True)
        self._follow(module, uses)
        for chain in uses.chains:
            if len(chain) > 1 and chain[0] in ("self", "cls"):
                self._part(module, kind, parts, chain[1])

    def _weights(self) -> dict[str, str]:
        """Return the hashes of the data files that count.

        Of a folder of folders, such as the weights of the zoo, those count whose name ("clip", "ch04/simclr") stands in
        what is reached outside the package that holds them; where none does, all.
        """
        found = {}
        for place, package in self.data.items():
            words = set().union(*(words for home, words in self.words.items() if home != package))
            folders = [path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_dir()]
            named = [name for name in folders if name in words]
            for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
                inner = path.relative_to(place).as_posix()
                if path.is_dir() or path.suffix in (".py", ".pyc"):
                    continue
                if "/" not in inner or not named or any(inner.startswith(f"{name}/") for name in named):
                    stat = path.stat()
                    found[f"{package}/{place.name}/{inner}"] = _file_hash(path, stat.st_mtime_ns, stat.st_size)
        return found


def _parts(shape: ast.ClassDef) -> dict[str, ast.stmt]:
    return {name: node for node in shape.body for name in _bound(node)}


@lru_cache(maxsize=4096)
def _file_hash(path: Path, changed: int, size: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _place(name: str) -> Path | None:
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


def _below(package: str) -> Iterator[str]:
    """Yield a package and all modules below it."""
    place = _place(package)
    if place is None:
        return
    yield package
    for path in sorted(place.parent.rglob("*.py")) if place.name == "__init__.py" else ():
        inner = path.relative_to(place.parent).with_suffix("").parts
        if path != place:
            yield ".".join([package, *(inner[:-1] if inner[-1] == "__init__" else inner)])


def _module(name: str) -> _Module | None:
    """Return a parsed module of ours, or None where there is none of this name."""
    if name in _seen:
        with contextlib.suppress(KeyError):  # another thread may begin a walk now
            return _seen[name]
    path = _place(name)
    stat = path.stat() if path else None
    found = _parsed(name, path, stat.st_mtime_ns, stat.st_size) if path and stat else None
    _seen[name] = found
    return found


@lru_cache(maxsize=2048)
def _parsed(name: str, path: Path, changed: int, size: int) -> _Module:
    text = path.read_text(encoding="utf-8")
    module = _Module(name, path, text.splitlines())
    _fill(module, ast.parse(text))
    if {"__getattr__", "_HOMES"} <= module.bound.keys():
        module.homes = _homes(module)
    return module


def _homes(module: _Module) -> dict[str, str]:
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


def _fill(module: _Module, tree: ast.Module) -> None:
    lazy = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    docstring = _docstring(tree)
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            _note_import(node, module.package, module.imports, module.runs, module.stars)
            continue
        if (isinstance(node, ast.Expr) and node.value is docstring) or _never_runs(node):
            continue
        uses = _uses_of(node, module.package, lazy)
        effect = not isinstance(node, _DECLARES)
        if effect:
            module.runs |= uses.runs
            module.imports |= uses.imports
        names = frozenset(_bound(node))
        for name in names:
            module.bound.setdefault(name, []).append(len(module.statements))
        module.statements.append(_Statement(names, _segment(module.lines, node), uses, node, effect))


def _segment(lines: list[str], node: ast.stmt) -> str:
    """Return the lines of a statement, its decorators included."""
    first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
    return "\n".join(lines[first - 1 : node.end_lineno])


def _never_runs(node: ast.AST) -> bool:
    """Tell what stands there for type checkers, or for a module that is run as a script."""
    if not isinstance(node, ast.If):
        return False
    test = ast.unparse(node.test)
    return not node.orelse and ("TYPE_CHECKING" in test or test == "__name__ == '__main__'")


def _bound(node: ast.stmt) -> Iterator[str]:
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
            yield from _bound(child)  # type: ignore[arg-type]


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


def _uses_of(node: ast.AST, package: str, lazy_annotations: bool) -> _Uses:
    reader = _Reader(package, lazy_annotations)
    reader.visit(node)
    return reader.uses


class _Reader(ast.NodeVisitor):
    """Reads off what a statement names."""

    def __init__(self, package: str, lazy_annotations: bool) -> None:
        self.package, self.lazy, self.uses = package, lazy_annotations, _Uses()

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
            self.uses.whole.add(below if _place(below) else base)
        for name in re.findall(r"(?<!from )\b(dlcv_lab\.[\w.]+)", text):
            parts = name.split(".")
            while parts and _place(".".join(parts)) is None:
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
