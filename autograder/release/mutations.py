"""Small changes of a solution, as slips: other operators, axes and arguments, dropped terms, calls and statements."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, pairwise

from autograder.declare.exercise import Exercise
from autograder.declare.slips import Part, Piece, Slip, SlipError, part_of
from autograder.release.clauses import clause

_BINARY = {"+": "-", "-": "+", "*": "/", "/": "*", "//": "/", "%": "//", "**": "*"}
_COMPARED = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==", "is not": "is", "in": "not in"}
_TWINS = [("sum", "mean"), ("max", "min"), ("any", "all"), ("argmax", "argmin"), ("amax", "amin"), ("floor", "ceil"),
          ("zeros", "ones"), ("cos", "sin"), ("rows", "columns"), ("sigmoid", "tanh"), ("log", "log2"),
          ("square", "abs"), ("floor", "round"), ("mean", "amax"), ("sum", "amax"), ("prod", "sum"),
          ("var", "std")]  # fmt: skip
_TWIN = [(a, b) for pair in _TWINS for a, b in (pair, pair[::-1])]
_MODULES = {"torch", "F", "nn", "math", "np", "init", "einops"}
_ALONG = frozenset(
    ("sum", "mean", "amax", "amin", "max", "min", "argmax", "argmin", "softmax", "log_softmax", "logsumexp", "norm",
     "std", "var", "cumsum", "flip", "sort", "argsort", "prod", "any", "all")
)  # fmt: skip
_AXES = ("0", "1", "-1")
_SHORT = 8  # characters of a piece below which it is hard to see where it stands
_BLOCKS = ("body", "orelse", "finalbody")


@dataclass(frozen=True)
class Edit:
    """One change: in words of a name, the characters that go, what comes."""

    what: str
    start: int
    stop: int
    new: str


def proposals(exercise: Exercise, parts: dict[str, str]) -> Iterator[Slip]:
    """Yield a slip for every mutation of the solution's regions, each syntax tree once, the reference left out.

    Its sentence is a clause that tells the change to a student (`autograder.release.clauses`), or empty.

    Args:
        exercise: as a row holds it.
        parts: its definitions with region markers, by name.
    """
    own = {name: part_of(name, text) for name, text in parts.items()}
    seen = {"\n".join(part.tree for part in own.values())}
    for name, part in own.items():
        tree = ast.parse(part.text)
        places = _Places(part)
        known = _parameters(tree)
        places.tensors = _tensors(tree)
        for node, above, edit in chain(_ignored(tree, places), _everywhere(tree, places)):
            text = part.text[: edit.start] + edit.new + part.text[edit.stop :]
            try:
                meant = "\n".join(ast.dump(each) for each in ast.parse(text).body)
            except SyntaxError:
                continue
            whole = "\n".join(meant if other == name else held.tree for other, held in own.items())
            if whole in seen:
                continue
            seen.add(whole)
            slip = _as_slip(edit, [places.span(each) for each in above], part, parts, whole)
            if slip is not None:
                yield replace(slip, hint=clause(edit.what, node, above, known))


def _everywhere(tree: ast.Module, places: _Places) -> Iterator[tuple[_Spanned, list[_Spanned], Edit]]:
    for node, above in _nodes(tree, places):
        for edit in _edits(node, places):
            yield node, above, edit


def _ignored(tree: ast.Module, at: _Places) -> Iterator[tuple[_Spanned, list[_Spanned], Edit]]:
    """Let a parameter have its default, whatever is given."""
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        first = next((statement for statement in function.body if at.inside(statement)), None)
        if first is None:
            continue
        given = function.args
        pairs = [*zip(given.args[len(given.args) - len(given.defaults) :], given.defaults),
                 *zip(given.kwonlyargs, given.kw_defaults)]  # fmt: skip
        start, stop = at.span(first)
        for arg, default in pairs:
            if default is not None:
                text = f"{arg.arg} = {ast.unparse(default)}\n{_indent(at.text, start)}{at.said(first)}"
                yield first, [first], Edit(f"ignores_{arg.arg}", start, stop, text)


def _parameters(tree: ast.Module) -> tuple[str, ...]:
    """Return the parameters of a function, or of a class's methods."""
    return tuple(arg.arg for arg in _arguments(tree))


def _tensors(tree: ast.Module) -> tuple[str, ...]:
    """Return the parameters that are said to be tensors."""
    return tuple(arg.arg for arg in _arguments(tree) if arg.annotation and "Tensor" in ast.unparse(arg.annotation)
                 and not ast.unparse(arg.annotation).startswith(("list", "dict", "tuple", "Callable")))  # fmt: skip


def _arguments(tree: ast.Module) -> list[ast.arg]:
    outer = [part for node in tree.body for part in (node.body if isinstance(node, ast.ClassDef) else [node])]
    functions = [each for each in outer if isinstance(each, ast.FunctionDef)]
    found = (arg for each in functions for arg in ast.walk(each.args) if isinstance(arg, ast.arg))
    return list({arg.arg: arg for arg in found if arg.arg != "self"}.values())


def _as_slip(edit: Edit, above: list[tuple[int, int]], part: Part, parts: dict[str, str], whole: str) -> Slip | None:
    """Return the edit as a slip with the shortest readable piece that stands once, or None where none does."""
    text = part.text
    owner = next(owner for start, stop, owner in part.regions if start <= edit.start <= stop)
    spans = [(edit.start, edit.stop), *above]
    for inside in ("", owner):
        for short in (False, True):
            for start, stop in spans:
                if start > edit.start or stop < edit.stop or _is_short(text[start:stop]) is not short:
                    continue
                indent = _indent(text, start)
                old = text[start:stop].replace("\n" + indent, "\n")
                new = (text[start : edit.start] + edit.new + text[edit.stop : stop]).replace("\n" + indent, "\n")
                slip = Slip(name=edit.what, pieces=(Piece(old, new, inside),), hint="", source_of="").on(parts)
                try:
                    if slip.tree() == whole:
                        return slip
                except SlipError:
                    continue
    return None


def _is_short(piece: str) -> bool:
    """Tell whether a piece is too short, or no whole expression, for a reader to see where it stands."""
    return len(piece) < _SHORT or piece != piece.strip()


def _indent(text: str, start: int) -> str:
    line = text[text.rfind("\n", 0, start) + 1 :]
    return line[: len(line) - len(line.lstrip(" "))]


class _Places:
    """Characters of the nodes of a definition; ast counts bytes within lines."""

    def __init__(self, part: Part) -> None:
        self.part, self.text = part, part.text
        self.lines = part.text.split("\n")
        self.tensors: tuple[str, ...] = ()  # parameters that are tensors
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line) + 1)

    def at(self, line: int, column: int) -> int:
        return self.starts[line - 1] + len(self.lines[line - 1].encode()[:column].decode())

    def span(self, node: ast.expr | ast.stmt | ast.keyword) -> tuple[int, int]:
        return self.at(node.lineno, node.col_offset), self.at(node.end_lineno or 0, node.end_col_offset or 0)

    def said(self, node: ast.expr | ast.stmt | ast.keyword) -> str:
        start, stop = self.span(node)
        return self.text[start:stop]

    def inside(self, node: ast.expr | ast.stmt | ast.keyword) -> bool:
        start, stop = self.span(node)
        return any(begin <= start and stop <= end for begin, end, _ in self.part.regions)


_Spanned = ast.expr | ast.stmt | ast.keyword


def _nodes(
    tree: ast.AST, places: _Places, above: tuple[_Spanned, ...] = ()
) -> Iterator[tuple[_Spanned, list[_Spanned]]]:
    """Yield every node of the regions with the nodes around it, the nearest first, as far as they lie inside, too."""
    for node in ast.iter_child_nodes(tree):
        here = above
        if isinstance(node, _Spanned) and places.inside(node):
            here = (node, *above)
            yield node, list(here)
        yield from _nodes(node, places, here)


def _edits(node: _Spanned, at: _Places) -> Iterator[Edit]:
    start, stop = at.span(node) if not isinstance(node, ast.Slice) else (0, 0)
    if isinstance(node, ast.BinOp):
        yield from _operator(at, at.span(node.left)[1], at.span(node.right)[0], _BINARY, "operator")
        if isinstance(node.op, ast.Add | ast.Sub | ast.Mult | ast.Div | ast.Pow):
            yield Edit("without", start, stop, at.said(node.left))
        if isinstance(node.op, ast.Add | ast.Mult):
            yield Edit("without", start, stop, at.said(node.right))
        if isinstance(node.op, ast.Pow):
            yield Edit("absolute", start, stop, f"abs({at.said(node.left)})")
        for part in (node.left, node.right) if isinstance(node.op, ast.Add | ast.Sub) else ():
            for name in at.tensors[:1]:
                yield Edit(f"by_count_{name}", *at.span(part), f"({at.said(part)}) / len({name})")
        if isinstance(node.op, ast.Sub | ast.Div):
            sign = "-" if isinstance(node.op, ast.Sub) else "/"
            yield Edit("reversed", start, stop, f"({at.said(node.right)}) {sign} ({at.said(node.left)})")
    elif isinstance(node, ast.Compare):
        yield from _operator(at, at.span(node.left)[1], at.span(node.comparators[0])[0], _COMPARED, "compares")
    elif isinstance(node, ast.BoolOp):
        first, second = at.span(node.values[0])[1], at.span(node.values[1])[0]
        yield from _operator(at, first, second, {"and": "or", "or": "and"}, "and_or")
    elif isinstance(node, ast.UnaryOp):
        yield Edit("drops_sign" if isinstance(node.op, ast.USub) else "drops_not", start, stop, at.said(node.operand))
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        yield Edit("one_more", start, stop, str(node.value + 1))
        yield Edit("one_less", start, stop, str(node.value - 1))
    elif isinstance(node, ast.IfExp):
        yield Edit("always", start, stop, at.said(node.body))
        yield Edit("never", start, stop, at.said(node.orelse))
    elif isinstance(node, ast.Call):
        yield from _call(node, at)
    elif isinstance(node, ast.Attribute) and node.attr in ("T", "mT", "mH"):
        yield Edit("not_transposed", start, stop, at.said(node.value))
    elif isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Load):
        yield from _swapped(list(node.elts), at, "swaps_items")
    elif isinstance(node, ast.stmt):
        yield from _statement(node, at)


def _operator(at: _Places, start: int, stop: int, table: dict[str, str], what: str) -> Iterator[Edit]:
    """Exchange the operator between two operands; brackets around them stay."""
    gap = at.text[start:stop]
    operator = gap.strip("() \n")
    if operator in table:
        yield Edit(what, start, stop, gap.replace(operator, table[operator], 1))


def _swapped(items: list[ast.expr], at: _Places, what: str) -> Iterator[Edit]:
    for first, second in pairwise(items):
        (start, middle), (after, stop) = at.span(first), at.span(second)
        if not isinstance(first, ast.Starred) and not isinstance(second, ast.Starred):
            yield Edit(what, start, stop, at.said(second) + at.text[middle:after] + at.said(first))


def _call(node: ast.Call, at: _Places) -> Iterator[Edit]:
    start, stop = at.span(node)
    yield from _swapped(node.args, at, "swaps_arguments")
    given: list[ast.expr | ast.keyword] = [*node.args, *node.keywords]
    given.sort(key=lambda each: at.span(each)[0])
    for keyword in node.keywords:
        if keyword.arg is None:
            continue
        index = given.index(keyword)
        begin, end = at.span(keyword)
        if index:
            begin = at.span(given[index - 1])[1]  # with the comma before it
        elif len(given) > 1:
            end = at.span(given[1])[0]
        yield Edit(f"drops_{keyword.arg}", begin, end, "")
        if isinstance(keyword.value, ast.Constant) and type(keyword.value.value) is bool:
            yield Edit(f"other_{keyword.arg}", *at.span(keyword.value), str(not keyword.value.value))
    yield from _axes(node, at)
    function = node.func
    if isinstance(function, ast.Attribute):
        of_module = isinstance(function.value, ast.Name) and function.value.id in _MODULES
        begin = at.span(function.value)[1]
        for right, wrong in _TWIN:
            if function.attr == right:
                yield Edit(f"{wrong}_for_{right}", begin, at.span(function)[1], "." + wrong)
        if of_module and len(node.args) == 1:
            yield Edit(f"drops_{function.attr}", start, stop, at.said(node.args[0]))
        elif not of_module:
            yield Edit(f"drops_{function.attr}", start, stop, at.said(function.value))
    elif isinstance(function, ast.Name):
        tensors = [each.id for each in node.args if isinstance(each, ast.Name) and each.id in at.tensors]
        yield from (Edit(f"by_count_{name}", start, stop, f"({at.said(node)}) / len({name})") for name in tensors)
    if isinstance(function, ast.Name) and len(node.args) == 1:
        yield Edit(f"drops_{function.id}", start, stop, at.said(node.args[0]))


def _axes(node: ast.Call, at: _Places) -> Iterator[Edit]:
    """Let a step go along another axis: `sum(0)` and `softmax(s, dim=1)`."""
    method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    given = [each.value for each in node.keywords if each.arg in ("dim", "axis")]
    given += [each for each in node.args[-1:] if method in _ALONG]
    for axis in given:
        text = at.said(axis)
        if text in _AXES:
            yield from (Edit("other_axis", *at.span(axis), other) for other in _AXES if other != text)


def _statement(node: ast.stmt, at: _Places) -> Iterator[Edit]:
    start, stop = at.span(node)
    if isinstance(node, ast.AugAssign):
        target, value = at.said(node.target), at.said(node.value)
        yield Edit("overwrites", start, stop, f"{target} = {value}")
    if isinstance(node, ast.Return) and node.value is not None:
        for part in node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]:
            for name in at.tensors[:3]:
                yield Edit(f"by_count_{name}", *at.span(part), f"({at.said(part)}) / len({name})")
                yield Edit(f"times_count_{name}", *at.span(part), f"({at.said(part)}) * len({name})")
                yield Edit(f"by_length_{name}", *at.span(part), f"({at.said(part)}) / {name}.shape[-1]")
    if isinstance(node, ast.For):
        begin, end = at.span(node.iter)
        yield Edit("first_round", begin, end, f"list({at.said(node.iter)})[:1]")
        yield Edit("not_first", begin, end, f"list({at.said(node.iter)})[1:]")
        yield Edit("not_last", begin, end, f"list({at.said(node.iter)})[:-1]")
        yield Edit("backwards", begin, end, f"list({at.said(node.iter)})[::-1]")
    if isinstance(node, ast.If):
        yield Edit("never", *at.span(node.test), "False")
        yield Edit("always", *at.span(node.test), "True")
    elif isinstance(node, ast.With):
        body = at.text[at.span(node.body[0])[0] : at.span(node.body[-1])[1]]
        inner, outer = _indent(at.text, at.span(node.body[0])[0]), _indent(at.text, start)
        yield Edit("without_with", start, stop, body.replace("\n" + inner, "\n" + outer))
    elif isinstance(node, ast.Expr | ast.Assign | ast.AugAssign):
        yield Edit("drops_statement", start, stop, "pass")
