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
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from autograder.base import cache, paths
from autograder.base.code_text import code_only
from autograder.base.own_modules import (
    OWN,
    Chain,
    Module,
    Statement,
    Target,
    Uses,
    below,
    bound_by,
    fill,
    in_turn,
    is_magic,
    look_again,
    module_of,
    segment,
    uses_of,
    without_magics,
)  # fmt: skip

_TEXT_MATTERS = {"help", "getsource", "getdoc", "__doc__"}  # where these are used, docstrings and comments are values


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


@in_turn
def of_text(*texts: str) -> Reach:
    """Return what texts of one namespace reach, such as the cells of a notebook; the texts themselves are not part of
    it (see `code_of`)."""
    walk = _Walk(exact=any(map(_text_matters, texts)))
    walk.texts(texts)
    return walk.done()


@in_turn
def of_names(*roots: Target) -> Reach:
    """Return what definitions reach, themselves included; a root is (module, name), or (module, "") for all of it.

    Raises:
        ValueError: a module is not there, or is none of ours.
    """
    walk = _Walk()
    for module, name in roots:
        if module_of(module) is None:
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
    module = module_of(home)
    return [(home, name)] if module and name in module.bound else [(other, "") for other in otherwise]


def module_name(path: Path) -> str:
    """Return the name of the module in a file of solutions/, chapters/ or autograder/."""
    home = next(home for home in (paths.root(), paths.CHECKOUT) if path.is_relative_to(home))
    parts = path.relative_to(home).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@in_turn
def code_of(text: str) -> str:
    """Return a text's code as a key sees it: without comments and docstrings, unless it reads docstrings or source.
    Lines of IPython stay as they are, and so does what is no Python."""
    if _text_matters(text):
        return text
    return "\n".join([code_only(without_magics(text)), *filter(is_magic, text.splitlines())])


def _text_matters(text: str) -> bool:
    try:
        nodes = list(ast.walk(ast.parse(without_magics(text))))
    except SyntaxError:
        return True
    named = {node.id for node in nodes if isinstance(node, ast.Name)}
    return bool((named | {node.attr for node in nodes if isinstance(node, ast.Attribute)}) & _TEXT_MATTERS)


class _Walk:
    """Follows names from statement to statement."""

    def __init__(self, *, exact: bool = False) -> None:
        self.exact = exact
        self.seen: set[tuple[str, ...]] = set()
        self.statements: dict[tuple[str, str], set[str]] = {}
        self.data: dict[Path, str] = {}  # files and folders beside a module -> its package
        self.words: dict[str, set[str]] = {}  # package -> strings in what is reached of it
        look_again()

    def done(self) -> Reach:
        return Reach(self.statements, self._weights())

    def texts(self, texts: Iterable[str]) -> None:
        """Follow texts that stand in no module."""
        module = Module("", Path())
        for text in map(without_magics, texts):
            module.lines = text.splitlines()
            with contextlib.suppress(SyntaxError):
                fill(module, ast.parse(text))
        for name in module.runs:
            self.run(name)
        for name in module.stars:
            self.all_of(name)
        for statement in module.statements:
            self._follow(module, statement.uses)

    def run(self, name: str) -> None:
        """Take in what importing a module does: it and its packages, what they import, and what leaves a trace."""
        module = module_of(name)
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
        module = module_of(name)
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
        module = module_of(where)
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
        module = module_of(name)
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
        return (f"{name}.{wanted}", "") if module_of(f"{name}.{wanted}") else None

    def _new(self, *what: str) -> bool:
        fresh = what not in self.seen
        self.seen.add(what)
        return fresh

    def _take(self, module: Module, index: int) -> None:
        if not self._new("statement", module.name, str(index)):
            return
        statement = module.statements[index]
        self._note(module, " ".join(sorted(statement.names)), statement.text if self.exact else statement.plain)
        self.run(module.name)
        self._follow(module, statement.uses)

    def _note(self, module: Module, names: str, text: str) -> None:
        self.statements.setdefault((module.name, names), set()).add(cache.digest(text)[:16])

    def _follow(self, module: Module, uses: Uses) -> None:
        for name in uses.runs:
            self.run(name)
        for name in uses.whole:
            for each in below(name[:-1]) if name.endswith(".") else (name,):
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

    def _registers(self, module: Module, statement: Statement) -> bool:
        """Tell whether a definition stands under a decorator of ours."""
        decorators = getattr(statement.node, "decorator_list", [])
        chains = {chain for decorator in decorators for chain in uses_of(decorator, module.package, True).chains}
        return any(self._look(module.name, chain[0]) for chain in chains)

    def _single(self, module: Module, name: str, attribute: str) -> bool:
        """Take in one attribute of a single object such as `show = Show()`; return False where that cannot be told."""
        statements = [module.statements[index] for index in module.bound[name]]
        node = statements[0].node
        if len(statements) != 1 or not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
            return False
        made = node.value.func
        found = self._look(module.name, made.id) if isinstance(made, ast.Name) else None
        home = module_of(found[0]) if found and found[1] else None
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
            self._follow(module, uses_of(argument, module.package, True))
        for wanted in ("__init__", attribute):
            self._part(home, shape.name, parts, wanted)
        return True

    def _part(self, module: Module, kind: str, parts: dict[str, ast.stmt], name: str) -> None:
        node = parts.get(name)
        if node is None or not self._new("part", module.name, kind, name):
            return
        text = textwrap.dedent(segment(module.lines, node))
        self._note(module, f"{kind}.{name}", text if self.exact else code_only(text))
        uses = uses_of(node, module.package, True)
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
    return {name: node for node in shape.body for name in bound_by(node)}


@lru_cache(maxsize=4096)
def _file_hash(path: Path, changed: int, size: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
