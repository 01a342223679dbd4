"""Right code written differently: rewrites of a function's syntax tree that keep what it computes.

`rewrite(source, rng)` applies a random choice of them. They are conservative: names of parameters stay, only plain
local names are renamed, and only statements that cannot see each other change places.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Callable

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def rewrite(source: str, rng: random.Random) -> str:
    """Return another text of the same meaning."""
    tree = ast.parse(source)
    for change in rng.sample(REWRITES, rng.randint(2, 5)):
        change(tree, rng)
        tree = ast.parse(ast.unparse(ast.fix_missing_locations(tree)))
    return ast.unparse(tree)


def functions(tree: ast.Module) -> list[ast.FunctionDef]:
    """Return the functions and methods of a text, inner functions left aside."""
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            found += [inner for inner in node.body if isinstance(inner, ast.FunctionDef)]
    return found


def rename_locals(tree: ast.Module, rng: random.Random) -> None:
    """Give local variables other names."""
    for function in functions(tree):
        kept = {arg.arg for arg in ast.walk(function) if isinstance(arg, ast.arg)}
        inner = {node.name for node in ast.walk(function) if isinstance(node, (*_FUNCTIONS, ast.ClassDef))}
        said = {
            name for node in ast.walk(function) if isinstance(node, ast.Global | ast.Nonlocal) for name in node.names
        }
        own = {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        table = {name: f"{rng.choice(('my', 'tmp', 'α', 'the'))}_{name}" for name in sorted(own - kept - inner - said)}
        for node in ast.walk(function):
            if isinstance(node, ast.Name) and node.id in table:
                node.id = table[node.id]


def drop_annotations(tree: ast.Module, rng: random.Random) -> None:
    """Take type hints and docstrings away."""
    for function in functions(tree):
        function.returns = None
        for arg in (*function.args.args, *function.args.kwonlyargs):
            arg.annotation = None
        if ast.get_docstring(function) is not None and len(function.body) > 1:
            function.body = function.body[1:]


def name_the_result(tree: ast.Module, rng: random.Random) -> None:
    """Write `return x` as `result = x; return result`."""
    for function in functions(tree):
        for body in _bodies(function):
            for at, node in enumerate(body):
                if isinstance(node, ast.Return) and node.value is not None and rng.random() < 0.8:
                    target = ast.Name("the_result_", ast.Store())
                    body[at : at + 1] = [
                        ast.Assign([target], node.value),
                        ast.Return(ast.Name("the_result_", ast.Load())),
                    ]
                    break


def reorder(tree: ast.Module, rng: random.Random) -> None:
    """Let neighbouring assignments that do not see each other change places."""
    for function in functions(tree):
        for body in _bodies(function):
            for at in range(len(body) - 1):
                if _independent(body[at], body[at + 1]) and rng.random() < 0.7:
                    body[at], body[at + 1] = body[at + 1], body[at]


def turn_choices(tree: ast.Module, rng: random.Random) -> None:
    """Write `if a: b else: c` as `if not a: c else: b`."""
    for node in ast.walk(tree):
        whole = isinstance(node, ast.If) and node.orelse and not isinstance(node.orelse[0], ast.If)
        if isinstance(node, ast.If | ast.IfExp) and (whole or isinstance(node, ast.IfExp)) and rng.random() < 0.8:
            node.test = ast.UnaryOp(ast.Not(), node.test)
            node.body, node.orelse = node.orelse, node.body


def turn_comparisons(tree: ast.Module, rng: random.Random) -> None:
    """Write `a < b` as `b > a`."""
    turned = {ast.Lt: ast.Gt, ast.Gt: ast.Lt, ast.LtE: ast.GtE, ast.GtE: ast.LtE, ast.Eq: ast.Eq, ast.NotEq: ast.NotEq}
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in turned and rng.random() < 0.8:
            node.left, node.comparators = node.comparators[0], [node.left]
            node.ops = [turned[type(node.ops[0])]()]


def turn_products(tree: ast.Module, rng: random.Random) -> None:
    """Write `a * b` as `b * a`, where neither is starred or a display."""
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult) and rng.random() < 0.8:
            node.left, node.right = node.right, node.left


def spell_numbers(tree: ast.Module, rng: random.Random) -> None:
    """Write small whole numbers as sums."""

    class Spell(ast.NodeTransformer):
        def visit_Constant(self, node: ast.Constant) -> ast.AST:
            if type(node.value) is int and 1 < node.value < 100 and rng.random() < 0.6:
                return ast.BinOp(ast.Constant(node.value - 1), ast.Add(), ast.Constant(1))
            return node

        def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
            return node

    for function in functions(tree):
        function.body = [Spell().visit(node) for node in function.body]


def spell_ranges(tree: ast.Module, rng: random.Random) -> None:
    """Write `range(n)` as `range(0, n, 1)` or as a list of it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.For) and _is_call(node.iter, "range"):
            assert isinstance(node.iter, ast.Call)
            if len(node.iter.args) == 1 and rng.random() < 0.7:
                node.iter.args = [ast.Constant(0), node.iter.args[0], ast.Constant(1)]
            if rng.random() < 0.5:
                node.iter = ast.Call(ast.Name("list", ast.Load()), [node.iter], [])


def talk(tree: ast.Module, rng: random.Random) -> None:
    """Put prints, asserts and unused variables between the statements."""
    extras = ("print('here')", "assert True", "unused_ = [1, 2, 3]", "import math as unused_math_", "pass")
    for function in functions(tree):
        start = 1 if ast.get_docstring(function) is not None else 0
        for _ in range(rng.randint(1, 3)):
            function.body.insert(rng.randint(start, start), ast.parse(rng.choice(extras)).body[0])


def move_out(tree: ast.Module, rng: random.Random) -> None:
    """Put the body of a function into a helper at the top."""
    for node in [node for node in tree.body if isinstance(node, ast.FunctionDef)]:
        args = node.args
        special = any(isinstance(inner, ast.Yield | ast.YieldFrom | ast.Nonlocal) for inner in ast.walk(node))
        if special or args.vararg or args.kwarg or node.decorator_list or rng.random() < 0.3:
            continue
        helper = ast.parse(ast.unparse(node)).body[0]
        assert isinstance(helper, ast.FunctionDef)
        helper.name = f"_{node.name}_worked_out"
        given = [ast.Name(arg.arg, ast.Load()) for arg in (*args.posonlyargs, *args.args)]
        named = [ast.keyword(arg.arg, ast.Name(arg.arg, ast.Load())) for arg in args.kwonlyargs]
        call = ast.Call(ast.Name(helper.name, ast.Load()), list(given), named)
        node.body = [ast.Return(call)]
        tree.body.insert(tree.body.index(node), helper)


def methods_as_functions(tree: ast.Module, rng: random.Random) -> None:
    """Write `a @ b` as torch.matmul and `x.sum(...)` and the like as functions of torch."""
    names = {"sum", "reshape", "permute", "transpose", "exp", "sqrt", "abs"}

    class Spell(ast.NodeTransformer):
        def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
            self.generic_visit(node)
            if isinstance(node.op, ast.MatMult) and rng.random() < 0.8:
                return ast.Call(_torch("matmul"), [node.left, node.right], [])
            return node

        def visit_Call(self, node: ast.Call) -> ast.AST:
            self.generic_visit(node)
            plain = isinstance(node.func, ast.Attribute) and node.func.attr in names - {"reshape", "permute"}
            if plain and not _module(node.func) and rng.random() < 0.6:
                assert isinstance(node.func, ast.Attribute)
                return ast.Call(_torch(node.func.attr), [node.func.value, *node.args], node.keywords)
            return node

    Spell().visit(tree)


REWRITES: list[Callable[[ast.Module, random.Random], None]] = [
    rename_locals, drop_annotations, name_the_result, reorder, turn_choices, turn_comparisons, turn_products,
    spell_numbers, spell_ranges, talk, move_out, methods_as_functions,
]  # fmt: skip


def _torch(name: str) -> ast.Attribute:
    return ast.Attribute(ast.Name("torch", ast.Load()), name, ast.Load())


def _module(node: ast.expr) -> bool:
    """Tell whether a method's owner may be a module or a class and no tensor."""
    assert isinstance(node, ast.Attribute)
    owner = node.value
    return isinstance(owner, ast.Name) and owner.id in ("torch", "F", "nn", "math", "np", "itertools", "self", "random")


def _is_call(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def _bodies(function: ast.FunctionDef) -> list[list[ast.stmt]]:
    """Return the blocks of a function, those of inner functions left aside."""
    found, waiting = [], [function.body]
    while waiting:
        body = waiting.pop()
        found.append(body)
        for node in body:
            if isinstance(node, ast.If | ast.For | ast.While | ast.With):
                waiting += [getattr(node, field) for field in ("body", "orelse") if getattr(node, field, None)]
    return found


def _independent(first: ast.stmt, second: ast.stmt) -> bool:
    """Tell whether two statements assign plain names from expressions that neither sees nor changes the other's."""
    if not all(isinstance(node, ast.Assign) for node in (first, second)):
        return False
    reads, writes = zip(*(_seen(node) for node in (first, second)))
    pure = all(_is_pure(node) for node in (first, second))
    return pure and not (writes[0] & (reads[1] | writes[1]) or writes[1] & reads[0])


def _seen(node: ast.stmt) -> tuple[set[str], set[str]]:
    found = [inner for inner in ast.walk(node) if isinstance(inner, ast.Name)]
    return {one.id for one in found if isinstance(one.ctx, ast.Load)}, {
        one.id for one in found if isinstance(one.ctx, ast.Store)
    }


def _is_pure(node: ast.stmt) -> bool:
    """Tell whether a statement calls nothing that changes a value in place or draws a random number."""
    assert isinstance(node, ast.Assign)
    for inner in ast.walk(node):
        if isinstance(inner, ast.Subscript | ast.Attribute) and isinstance(inner.ctx, ast.Store):
            return False
        if isinstance(inner, ast.Call):
            name = getattr(inner.func, "attr", getattr(inner.func, "id", ""))
            if name.endswith("_") or "rand" in name or name in ("pop", "append", "next"):
                return False
        if isinstance(inner, ast.NamedExpr | ast.Yield | ast.Await):
            return False
    return True
