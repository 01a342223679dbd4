"""`needs("conv2d")`: a given cell waits quietly until the exercise that it shows off is solved.

`install` registers an AST transformer: a cell whose first statement calls `needs` becomes `if needs(...): <the rest>`,
so that an unsolved exercise is one line and "Run All" goes on (docs/decisions/0003).
"""

from __future__ import annotations

import ast
import html
import re
from collections.abc import Callable, Iterator
from typing import Any

from dlcv_lab.checking.packs import find_chapter, load_pack

_DISPLAY = '__import__("dlcv_lab.checking.needs", fromlist=["shown"]).shown(None)'
_transformed = False  # whether the cell that runs now was rewritten
_restore: list[Callable[[], None]] = []


class NotSolvedYet(Exception):
    """Raised by `needs` where no notebook cell can be skipped, such as in a script."""

    def _render_traceback_(self) -> list[str]:
        """Show one line instead of our own frames (IPython calls this)."""
        return [str(self)]


class WaitingCells(ast.NodeTransformer):
    """Rewrite cells that begin with `needs(...)`."""

    def visit_Module(self, node: ast.Module) -> ast.Module:
        global _transformed
        _transformed = bool(node.body) and _is_needs(node.body[0])
        if not _transformed:
            return node
        first, *rest = node.body
        assert isinstance(first, ast.Expr)
        if rest and isinstance(rest[-1], ast.Expr):
            shown = ast.parse(_DISPLAY, mode="eval").body
            assert isinstance(shown, ast.Call)
            shown.args = [rest[-1].value]
            rest[-1] = ast.copy_location(ast.Expr(shown), rest[-1])
        guarded = ast.copy_location(ast.If(first.value, rest or [ast.Pass()], []), first)
        return ast.fix_missing_locations(ast.Module([guarded], node.type_ignores))


def _is_needs(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Call)
        and isinstance(statement.value.func, ast.Name)
        and statement.value.func.id == "needs"
    )


def shown(value: Any) -> None:
    """Display the value of a cell's last expression, as the notebook itself would."""
    if value is not None:
        from IPython.display import display

        display(value)


def install() -> None:
    """Make `needs` work in the running notebook; outside IPython this does nothing. Calling it again is harmless."""
    shell = _shell()
    if shell is None or any(isinstance(known, WaitingCells) for known in shell.ast_transformers):
        return
    shell.ast_transformers.append(WaitingCells())
    shell.events.register("post_run_cell", _put_back)


def needs(*names: str, picture: str = "", standin: bool = False) -> bool:
    """Tell whether the exercises are solved; as the first statement of a cell, run the rest only then.

    Args:
        names: exercises of this chapter, such as "conv2d".
        picture: what the cell will show, in a few words: "the photo, blurred by your kernel".
        standin: where an exercise is unsolved and the chapter has a stand-in for it, use that for this cell.

    Returns:
        True if all are solved or replaced. Otherwise a small card says what the cell waits for.

    Raises:
        NotSolvedYet: unsolved, and this is no notebook cell that could be skipped.
        PacksError: an unknown exercise.
    """
    from dlcv_lab.checking.check import quick_verdict, scope
    from dlcv_lab.context import chapter

    waiting = [name for name in names if quick_verdict(name) != "OK"]
    if waiting and standin and _stand_in(chapter(), waiting, scope()):
        print(f"A library call takes the place of {_list(waiting)} in this cell, until yours is right.")
        return True
    if not waiting:
        return True
    checks = [f'check("{name}")' for name in waiting]
    line = f"This cell waits for {_list(waiting)}: it runs once {_list(checks)} says right."
    if picture:
        line += f" Then you will see {picture}."
    if _shell() is None or not _transformed:
        raise NotSolvedYet(line)
    shown(Waiting(line))
    return False


class Waiting:
    """The sentence that stands in place of what a cell would show."""

    def __init__(self, line: str) -> None:
        self.line = line

    def __repr__(self) -> str:
        return self.line

    def _repr_html_(self) -> str:
        said = re.sub(r"(check\(&quot;\w+&quot;\))", r"<code>\1</code>", html.escape(self.line))
        return (
            '<div class="dlcv-needs" style="border:1px dashed #8a929c;border-radius:8px;padding:.4em .9em;'
            f'display:inline-block;max-width:46em">{said}</div>'
        )


def _stand_in(chapter: str, names: list[str], scope: dict[str, Any]) -> bool:
    """Put stand-ins for `names` into the notebook until the cell ends; False where one has none."""
    sources = {name: source for name in names for source in _standins(chapter, name)}
    if set(sources) != set(names):
        return False
    before = dict(scope)
    for source in sources.values():
        exec(compile(source, "<stand-in>", "exec"), scope)
    changed = [key for key in scope if key not in before or scope[key] is not before[key]]

    def restore() -> None:
        for key in changed:
            if key in before:
                scope[key] = before[key]
            else:
                scope.pop(key, None)

    _restore.append(restore)
    return True


def _standins(chapter: str, name: str) -> Iterator[str]:
    for other in find_chapter(chapter).exercises:
        source = load_pack(chapter, other).info.standins.get(name)
        if source:
            yield source
            return


def _put_back(*_: Any) -> None:
    while _restore:
        _restore.pop()()


def _list(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def _shell() -> Any:
    try:
        from IPython import get_ipython
    except ImportError:
        return None
    return get_ipython()
