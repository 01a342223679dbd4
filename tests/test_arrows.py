"""The house rules that hold for every file: which way imports go, what the student's package may not do at import."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

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


def module_imports(package: str) -> dict[str, set[str]]:
    """Return module -> modules of the same package that it imports, late imports too; a package's root is left out,
    because it exports lazily what lies below it."""
    names = {}
    for path in sources(package):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name != package and "skeleton" not in parts:
            names[name] = path
    found: dict[str, set[str]] = {name: set() for name in names}
    for name, path in names.items():
        home = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found[name] |= {alias.name for alias in node.names} & names.keys()
            elif isinstance(node, ast.ImportFrom):
                above = home[: len(home) - node.level + 1] if node.level else []
                base = ".".join([*above, *([node.module] if node.module else [])])
                for alias in node.names:
                    found[name] |= {next((at for at in (f"{base}.{alias.name}", base) if at in names), name)}
        found[name].discard(name)
    return found


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Return the strongly connected components of a graph of imports."""
    names = sorted(graph)
    place = {name: index for index, name in enumerate(names)}
    edges = [(place[a], place[b]) for a in names for b in graph[a] if b in place]
    rows, columns = zip(*edges) if edges else ((), ())
    matrix = coo_array(([1] * len(edges), (rows, columns)), shape=(len(names), len(names)))
    _, labels = connected_components(matrix, directed=True, connection="strong")
    return [{name for name, label in zip(names, labels) if label == part} for part in sorted(set(labels))]


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [("dlcv_lab", {"solutions", "autograder", "nbgrader", "jupytext"}), ("solutions", {"autograder", "nbgrader"})],
)
def test_imports_go_one_way(package, forbidden):
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(package)
        for name in imported(ast.parse(path.read_text(encoding="utf-8")))
        if name.split(".")[0] in forbidden
    ]
    assert wrong == []


ROOMS = {  # room of autograder/ -> rooms that it may import from, besides itself
    "base": set(),
    "declare": {"base"},
    "sandbox": {"base"},
    "chapter": {"base", "declare", "exercises"},  # it loads them
    "release": {"base", "declare", "sandbox", "chapter"},
    "grade": {"base", "declare", "sandbox", "chapter", "release"},
    "feedback": {"base", "declare", "sandbox", "chapter", "release", "grade"},
    "exports": {"base", "declare", "sandbox", "chapter", "release", "grade"},
    "book": {"base", "declare", "chapter", "release"},
    "exercises": {"declare"},
    "demo": {"base", "declare", "sandbox", "chapter", "release", "grade"},
    "cli": {"base", "declare", "sandbox", "chapter", "release", "grade", "feedback", "exports", "book", "demo"},
}


def test_rooms_of_the_instructors_half_import_downwards_only():
    wrong = {
        f"{name} imports {other}"
        for name, found in module_imports("autograder").items()
        for other in found
        if len(name.split(".")) > 1 and len(other.split(".")) > 1
        if (room := name.split(".")[1]) != (used := other.split(".")[1]) and used not in ROOMS[room]
    }
    assert wrong == set()
    assert {path.name for path in (ROOT / "autograder").iterdir() if (path / "__init__.py").exists()} == set(ROOMS)
    assert [path.name for path in (ROOT / "autograder").glob("*.py")] == ["__init__.py"]


def test_a_chapter_imports_from_declare_alone():
    """Of the instructor's half, that is: claims and exercises say what they are and reach for nothing else."""
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in [*sources("chapters"), *sources("autograder/exercises")]
        for name in imported(ast.parse(path.read_text(encoding="utf-8")))
        if name.startswith("autograder.") and not name.startswith(("autograder.declare", "autograder.exercises"))
    ]
    assert wrong == []


@pytest.mark.parametrize("package", ["dlcv_lab", "autograder", "solutions"])
def test_no_modules_import_each_other_in_a_circle(package):
    graph = module_imports(package)
    assert [circle for circle in circles(graph) if len(circle) > 1] == []
    planted = {**graph, "a": {"b"}, "b": {"c"}, "c": {"a"}}
    assert [circle for circle in circles(planted) if len(circle) > 1] == [{"a", "b", "c"}]


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
