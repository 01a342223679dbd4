"""Probes: the given code that calls a student's names on one case, and the text of it that is shipped.

A probe is a function `def name(ns, data)`; or a name that the student defines, which is called with the case's data;
or a mapping from groups of points to such, for exercises that are asked in more than one way. Groups that a mapping
leaves out are asked by the exercise's own name.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from autograder.declare.exercise import Exercise
from autograder.declare.text import SourceError, free_names
from dlcv_lab.checking.model import Case

T = TypeVar("T", bound=Callable[..., Any])

PRELUDE = frozenset({"math", "torch", "F", "nn", "probing"})
_CALLED = "def run(ns, data):\n    return probing.call_with(ns.{name}, data, {positional!r})\n"
_MAPPED = "def run(ns, data):\n    rest = dict(data)\n    return {table}.get(rest.pop('ask'){plain})(ns, rest)\n"


def shipped(helper: T) -> T:
    """Mark a function or class of an exercise module as one that probes use: its text goes out with theirs."""
    helper.dlcv_shipped = True  # type: ignore[attr-defined]
    return helper


def asked(exercise: Exercise, cases: list[Case]) -> list[Case]:
    """Note in the data of each case which probe of a mapping asks: `ask`, which is its group unless it says otherwise.

    Raises:
        SourceError: a probe of the mapping is asked for by no case, or a case asks for none.
    """
    if not isinstance(exercise.probe, Mapping):
        return cases
    told = [replace(case, data={"ask": case.group, **case.data}) for case in cases]
    asks = {str(case.data["ask"]) for case in told}
    if idle := set(exercise.probe) - asks:
        raise SourceError(f"{exercise.name}: no case asks for the probe {', '.join(sorted(idle))}; correct its name")
    if exercise.name not in exercise.defines and (left := asks - set(exercise.probe)):
        raise SourceError(
            f"{exercise.name}: no probe asks for {', '.join(sorted(left))}, and {exercise.name} is no function; add "
            "one to the mapping, or name one by `ask` in the case"
        )
    return told


def is_plain(exercise: Exercise, case: Case) -> bool:
    """Tell whether a case is asked by a mere call of a name with the case's data."""
    if isinstance(exercise.probe, Mapping):
        return isinstance(exercise.probe.get(case.data["ask"], exercise.name), str)
    return isinstance(exercise.probe, str)


def text_of(exercise: Exercise, source: Callable[[str], str]) -> str:
    """Return the text of a probe as `def run(ns, data)`, with the helpers that it uses, which is what is shipped.

    Args:
        exercise: its probe is a function, a name, or a mapping of them.
        source: gives the text of one definition of the solution, such as `Row.source`.

    Raises:
        SourceError: a probe is a lambda, or uses more than its arguments, the prelude and what is `shipped`.
    """
    probe = exercise.probe
    if not isinstance(probe, Mapping):
        return _text(probe, "run", source)
    left = exercise.name in exercise.defines and any(group not in probe for group in exercise.groups)
    named = dict(probe) | ({"": exercise.name} if left else {})  # groups without a probe call the exercise by name
    texts = [_text(one, f"ask_{index}", source).split("\n\n\n") for index, one in enumerate(named.values())]
    helpers = dict.fromkeys(part for text in texts for part in text[:-1])
    table = "{" + ", ".join(f"{ask!r}: ask_{index}" for index, ask in enumerate(probe)) + "}"
    run = _MAPPED.format(table=table, plain=f", ask_{len(probe)}" if left else "")
    return "\n\n\n".join([*helpers, *(text[-1].rstrip("\n") for text in texts), run])


def _text(probe: Callable[..., Any] | str, name: str, source: Callable[[str], str]) -> str:
    """Return helpers and the probe as the function `name`, with two blank lines between definitions."""
    if isinstance(probe, str):
        return _CALLED.format(name=probe, positional=_positional(source(probe))).replace("run", name, 1)
    text = textwrap.dedent(inspect.getsource(probe))
    node = ast.parse(text).body[0] if text.lstrip().startswith(("def ", "@")) else None
    if not isinstance(node, ast.FunctionDef):
        raise SourceError("a probe is a function `def name(ns, data)` of the exercise file, or the name to be called")
    names = [argument.arg for argument in node.args.args]
    if len(names) != 2:
        raise SourceError(f"the probe {node.name} takes {names}; it takes (ns, data)")
    first = node.body[0]
    body = "\n".join(text.split("\n")[first.lineno - 1 : node.end_lineno])
    if text.split("\n")[first.lineno - 1][: first.col_offset].strip():  # the body stands on the line of the def
        body = textwrap.indent("\n".join(ast.unparse(statement) for statement in node.body), "    ")
    made = f"def {name}({', '.join(names)}):\n{body}\n"  # without annotations: their names are not shipped
    return "\n\n\n".join([*_helpers(node.name, made, probe.__globals__, set()), made])


def _positional(text: str) -> tuple[str, ...]:
    """Return the names of the parameters that a solution's function, or a class, takes by position."""
    node = ast.parse(text).body[0]
    if isinstance(node, ast.ClassDef):
        made = (inner for inner in node.body if isinstance(inner, ast.FunctionDef) and inner.name == "__init__")
        node = next(made, node)
        return tuple(argument.arg for argument in node.args.args[1:]) if isinstance(node, ast.FunctionDef) else ()
    return tuple(argument.arg for argument in node.args.args) if isinstance(node, ast.FunctionDef) else ()


def _helpers(name: str, text: str, scope: Mapping[str, Any], seen: set[str]) -> list[str]:
    """Return the texts of the shipped helpers that a text needs, each after those that it needs itself."""
    found: list[str] = []
    for other in sorted(free_names(text) - PRELUDE - seen):
        helper = scope.get(other)
        if helper is None or not getattr(helper, "dlcv_shipped", False):
            raise SourceError(
                f"the probe {name} uses {other}; its text is shipped alone, so it may use its arguments, its own "
                "imports, math, torch, F, nn, probing, and functions and classes of the file that are marked @shipped"
            )
        seen.add(other)
        own = _Bare().visit(ast.parse(textwrap.dedent(inspect.getsource(helper))))
        plain = ast.unparse(own)
        globals_of = helper.__globals__ if inspect.isfunction(helper) else scope
        found += [*_helpers(name, plain, globals_of, seen), plain]
    return found


class _Bare(ast.NodeTransformer):
    """Drops annotations and the mark, whose names are not shipped."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns, node.decorator_list = None, [mark for mark in node.decorator_list if not _is_mark(mark)]
        self.generic_visit(node)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.decorator_list = [mark for mark in node.decorator_list if not _is_mark(mark)]
        self.generic_visit(node)
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node


def _is_mark(node: ast.expr) -> bool:
    return ast.unparse(node).split(".")[-1] == "shipped"
