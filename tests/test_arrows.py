"""The house rules that hold for every file: which way imports go, what the student's package may not do at import."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
POSIX_ONLY = {"fcntl", "pwd", "grp", "resource", "termios", "tty", "pty", "posix", "syslog"}
HEAVY = {"matplotlib", "ipywidgets", "sklearn", "skimage", "torchvision", "pandas", "scipy"}


def sources(package: str) -> list[Path]:
    return sorted(path for path in (ROOT / package).rglob("*.py") if "build" not in path.parts)


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def imported_at_once(path: Path) -> set[str]:
    """Return what is imported when the module is: outside functions and `if TYPE_CHECKING`."""
    found: set[str] = set()

    def visit(body: list[ast.stmt]) -> None:
        for node in body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                found.update(name.split(".")[0] for name in imported(ast.Module([node], [])))
            elif isinstance(node, ast.ClassDef | ast.With | ast.Try):
                visit(node.body)
            elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
                visit([*node.body, *node.orelse])

    visit(ast.parse(path.read_text(encoding="utf-8")).body)
    return found


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [("dlcv_lab", {"solutions", "autograder", "nbgrader", "jupytext"}), ("solutions", {"autograder", "nbgrader"})],
)
def test_imports_go_one_way(package, forbidden):
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(package)
        for name in imported(ast.parse(path.read_text(encoding="utf-8")))
        if name.split(".")[0] in forbidden and not (path.parent.name == "cli" and name.startswith("autograder.cli"))
    ]
    assert wrong == []


def test_the_students_package_imports_nothing_posix_only_at_import():
    wrong = {
        str(path.relative_to(ROOT)): found
        for path in sources("dlcv_lab")
        if (found := imported_at_once(path) & POSIX_ONLY)
    }
    assert wrong == {}


def test_the_students_package_loads_plotting_and_widgets_late():
    wrong = {
        str(path.relative_to(ROOT)): found for path in sources("dlcv_lab") if (found := imported_at_once(path) & HEAVY)
    }
    assert wrong == {}


def test_importing_dlcv_lab_loads_neither_torch_nor_anything_heavy():
    code = "import sys, dlcv_lab; print(sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(done.stdout))
    assert not loaded & (HEAVY | {"torch", "IPython", "solutions", "autograder"})


def test_the_wheel_lists_dlcv_lab_only():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'include = ["dlcv_lab*"]' in text
