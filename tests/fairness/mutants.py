"""Wrong attempts that no author wrote: right code with one small mistake put in by a program.

Each operator is a mistake that people make: off by one, swapped arguments, a dropped term, a wrong axis, another sign,
a missing transpose, another dtype, a forgotten step, another variable, an argument that is not used.
"""

from __future__ import annotations

import ast
import copy
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Operator = Callable[[ast.AST], Iterator[Callable[[], None]]]
_AXES = ("dim", "axis", "dims")
_TURNING = ("transpose", "permute", "t", "flip", "T", "mT", "contiguous", "flatten", "squeeze", "unsqueeze")


@dataclass(frozen=True)
class Mutant:
    """One wrong attempt: the mistake, and the whole text."""

    mistake: str
    text: str


def mutants(source: str) -> Iterator[Mutant]:
    """Yield every mutant of a text, each with one mistake."""
    tree = ast.parse(source)
    seen = {ast.unparse(tree)}
    for name, operator in OPERATORS.items():
        for number in itertools.count():
            changed = copy.deepcopy(tree)
            edit = next(itertools.islice(_edits(changed, operator), number, None), None)
            if edit is None:
                break
            edit()
            try:
                text = ast.unparse(ast.fix_missing_locations(changed))
                ast.parse(text)
            except (SyntaxError, ValueError):
                continue
            if text not in seen:
                seen.add(text)
                yield Mutant(name, text)


def _edits(tree: ast.AST, operator: Operator) -> Iterator[Callable[[], None]]:
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            for node in ast.walk(ast.Module(function.body, [])):
                yield from operator(node)


def _off_by_one(node: ast.AST) -> Iterator[Callable[[], None]]:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        yield lambda: setattr(node, "value", node.value + 1)
        yield lambda: setattr(node, "value", node.value - 1)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
        last = node.args[-1] if len(node.args) != 1 else node.args[0]
        yield lambda: node.args.__setitem__(-1, ast.BinOp(last, ast.Sub(), ast.Constant(1)))


def _swapped_arguments(node: ast.AST) -> Iterator[Callable[[], None]]:
    if isinstance(node, ast.Call) and len(node.args) >= 2:
        yield lambda: node.args.__setitem__(slice(0, 2), [node.args[1], node.args[0]])
    if isinstance(node, ast.Tuple | ast.List) and len(node.elts) >= 2 and isinstance(node.ctx, ast.Load):
        yield lambda: node.elts.__setitem__(slice(-2, None), [node.elts[-1], node.elts[-2]])


def _dropped_term(node: ast.AST) -> Iterator[Callable[[], None]]:
    for holder, field, value in _expressions(node):
        if isinstance(value, ast.BinOp):
            for side in (value.left, value.right):
                yield lambda holder=holder, field=field, side=side: _put(holder, field, side)


def _other_operation(node: ast.AST) -> Iterator[Callable[[], None]]:
    other = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div,
             ast.Pow: ast.Mult}  # fmt: skip
    if isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in other:
        yield lambda: setattr(node, "op", other[type(node.op)]())
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        turned = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
        if type(node.ops[0]) in turned:
            yield lambda: node.ops.__setitem__(0, turned[type(node.ops[0])]())


def _wrong_axis(node: ast.AST) -> Iterator[Callable[[], None]]:
    if isinstance(node, ast.Call):
        for word in node.keywords:
            if word.arg in _AXES and isinstance(word.value, ast.Constant) and isinstance(word.value.value, int):
                yield lambda word=word: setattr(word.value, "value", word.value.value - 1)
                yield lambda word=word: setattr(word.value, "value", 0 if word.value.value else 1)


def _sign(node: ast.AST) -> Iterator[Callable[[], None]]:
    for holder, field, value in _expressions(node):
        if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub):
            yield lambda holder=holder, field=field, value=value: _put(holder, field, value.operand)
    if isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Tuple):
        yield lambda: setattr(node, "value", ast.UnaryOp(ast.USub(), node.value))


def _missing_turn(node: ast.AST) -> Iterator[Callable[[], None]]:
    for holder, field, value in _expressions(node):
        inner = value.func if isinstance(value, ast.Call) else value
        if isinstance(inner, ast.Attribute) and inner.attr in _TURNING:
            yield lambda holder=holder, field=field, inner=inner: _put(holder, field, inner.value)


def _other_kind(node: ast.AST) -> Iterator[Callable[[], None]]:
    if isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Tuple):
        for name in ("half", "int", "detach", "numpy"):
            yield lambda name=name: setattr(
                node, "value", ast.Call(ast.Attribute(node.value, name, ast.Load()), [], [])
            )
        yield lambda: setattr(node, "value", ast.Subscript(node.value, ast.Constant(0), ast.Load()))
        yield lambda: setattr(node, "value", None)


def _forgotten_step(node: ast.AST) -> Iterator[Callable[[], None]]:
    for field in ("body", "orelse"):
        body = getattr(node, field, None)
        if isinstance(body, list):
            for at, one in enumerate(body):
                droppable = ast.AugAssign | ast.Raise | ast.If | ast.Assign
                if isinstance(one, droppable) and not (isinstance(one, ast.Expr)):
                    yield lambda body=body, at=at: body.__setitem__(at, ast.Pass())


def _other_variable(node: ast.AST) -> Iterator[Callable[[], None]]:
    pairs = {"H": "W", "W": "H", "Ho": "Wo", "Wo": "Ho", "i": "j", "j": "i", "u": "v", "v": "u", "k": "stride",
             "stride": "k", "mean": "var", "var": "mean", "x": "y", "y": "x", "C": "N", "N": "C"}  # fmt: skip
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in pairs:
        yield lambda: setattr(node, "id", pairs[node.id])


def _unused_argument(node: ast.AST) -> Iterator[Callable[[], None]]:
    if isinstance(node, ast.Call):
        for at in range(len(node.keywords)):
            yield lambda at=at: node.keywords.pop(at)  # type: ignore[misc]


OPERATORS: dict[str, Operator] = {
    "off by one": _off_by_one,
    "swapped arguments": _swapped_arguments,
    "dropped term": _dropped_term,
    "another operation": _other_operation,
    "wrong axis": _wrong_axis,
    "sign": _sign,
    "missing transpose": _missing_turn,
    "another kind of answer": _other_kind,
    "forgotten step": _forgotten_step,
    "another variable": _other_variable,
    "argument not used": _unused_argument,
}


def _expressions(node: ast.AST) -> Iterator[tuple[ast.AST, object, ast.expr]]:
    """Yield (holder, field, value) of the expressions directly below a node."""
    for field, value in ast.iter_fields(node):
        if isinstance(value, ast.expr):
            yield node, field, value
        elif isinstance(value, list):
            for at, item in enumerate(value):
                if isinstance(item, ast.expr):
                    yield node, (field, at), item


def _put(holder: ast.AST, field: object, value: ast.AST) -> None:
    if isinstance(field, tuple):
        getattr(holder, field[0])[field[1]] = value
    else:
        setattr(holder, str(field), value)
