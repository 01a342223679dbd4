"""A key hangs on the definitions that some code reaches, and on nothing else; tried with changes planted in a copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from nbformat.notebooknode import NotebookNode
from nbformat.v4 import new_output

from autograder.base import closure, paths
from autograder.chapter import oracle_record, rows
from autograder.release import assemble, execute_lessons

USES = "from dlcv_lab import show\nshow.curves({'a': [1, 2]}, alt='two numbers')\n"
Plant = Callable[[str, str, str], None]


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the checkout as far as keys look at it; solutions and exercises are links."""
    real = paths.CHECKOUT
    for name in ("dlcv_lab", "chapters"):
        shutil.copytree(real / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    for name in ("solutions", "autograder", "book", "tests"):
        (tmp_path / name).symlink_to(real / name)
    monkeypatch.setattr(paths, "CHECKOUT", tmp_path)
    monkeypatch.setenv("DLCV_ROOT", str(tmp_path))
    monkeypatch.setenv("DLCV_BUILD", str(tmp_path / "build"))
    monkeypatch.setenv("DLCV_CACHE", str(tmp_path / "cache"))
    yield tmp_path
    monkeypatch.undo()
    for slug in rows.slugs():
        rows.forget(slug)


@pytest.fixture
def plant(copied: Path) -> Plant:
    """Replace a text that stands once in a file of the copy."""

    def replace(file: str, old: str, new: str) -> None:
        path = copied / file
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {file}"
        path.write_text(text.replace(old, new), encoding="utf-8")

    return replace


@pytest.fixture
def ran(copied: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Execute chapter 3, with a kernel that only notes what it is given; return what it was given this time."""
    given: list[str] = []

    def kernel(nb: NotebookNode, name: str, folder: Path, **_: object) -> execute_lessons.Used:
        given.append(name)
        for cell in nb.cells:
            if cell.cell_type == "code":
                cell.execution_count = 1
                cell.outputs = [new_output("stream", text=f"{len(cell.source)} characters")]
        return execute_lessons.Used()

    def run() -> list[str]:
        given.clear()
        execute_lessons.execute([rows.load_row("ch03")], packs=False)
        return sorted(given)

    monkeypatch.setattr(execute_lessons, "run_notebook", kernel)
    return run


def test_a_sentence_runs_nothing_again_and_a_line_of_code_its_own_notebook(ran, plant):
    slug = rows.resolve("ch03")
    assert ran() == [f"{slug}/lesson_1", f"{slug}/lesson_2"]
    plant(f"chapters/{slug}/lesson_1.md", "it has learned *where* the ink is", "it has only learned *where* the ink is")
    assert ran() == []
    page = paths.executed(slug) / "lesson_1.ipynb"
    assert "it has only learned" in page.read_text(encoding="utf-8"), "the new sentence stands beside the kept outputs"
    assert "characters" in page.read_text(encoding="utf-8")
    plant(f"chapters/{slug}/lesson_1.md", 'start("ch03")\n', 'start("ch03"); extra = 1\n')
    assert ran() == [f"{slug}/lesson_1"]


@pytest.fixture(scope="module")
def notebooks() -> dict[str, NotebookNode]:
    """All notebooks as the book runs them."""
    return {
        f"{slug}/{lesson.stem}": assemble.notebook(rows.load_row(slug), lesson, "book")
        for slug in rows.slugs()
        for lesson in rows.load_row(slug).notebooks
    }


@pytest.fixture
def changed(notebooks: dict[str, NotebookNode], copied: Path) -> Callable[[], list[str]]:
    """Tell which notebooks have another key than when it was asked before."""
    held: dict[str, str] = {}

    def look() -> list[str]:
        now = {name: execute_lessons.key_of(name.split("/")[0], nb) for name, nb in notebooks.items()}
        found = [name for name in now if now[name] != held.get(name)]
        held.update(now)
        return found

    look()
    return look


def test_a_docstring_and_a_comment_of_the_package_run_nothing_again(changed, plant):
    plant("dlcv_lab/pictures.py", "Show one or more images with square pixels.", "Show images, with square pixels.")
    plant("dlcv_lab/pictures.py", "show = Show()\n", "# the one object\nshow = Show()\n")
    assert changed() == []


@pytest.mark.parametrize("chart", ["grid", "scatter", "contours"])
def test_a_chart_runs_its_users_again_and_nobody_else(notebooks, changed, plant, chart):
    plant("dlcv_lab/matrices.py", "def draw_grid(", "PLANTED = 1\n\n\ndef draw_grid(")
    assert changed() == [], "a new definition that nothing names"
    plant("dlcv_lab/pictures.py", f'    words = need_alt(alt, "show.{chart}")\n', "    words = alt\n")
    users = [name for name, nb in notebooks.items() if any(f"show.{chart}(" in cell.source for cell in nb.cells)]
    assert len(users) < len(notebooks)
    assert changed() == users


def test_single_objects_are_followed_by_attribute():
    reach = closure.of_text(USES)
    assert reach.holds("dlcv_lab.charts", "draw_curves")
    assert not reach.holds("dlcv_lab.charts", "draw_bars")
    assert not reach.holds("dlcv_lab.surfaces", "draw_contours")
    whole = closure.of_text("from dlcv_lab import show\nkept = [show]\n")
    assert whole.holds("dlcv_lab.surfaces", "draw_contours"), "who hands `show` on may ask it for anything"


def test_packages_that_load_late_are_followed_to_the_module_that_has_the_name():
    reach = closure.of_text("import dlcv_lab\ndlcv_lab.world.sample(1)\n")
    assert reach.holds("dlcv_lab.world.sampling", "sample")
    assert not reach.holds("dlcv_lab.world.video", "render_clips")
    assert closure.of_text("from dlcv_lab import world\ngetattr(world, name)\n").modules > reach.modules


def test_models_of_the_zoo_bring_their_weights():
    reach = closure.of_text("from dlcv_lab import zoo\nzoo.load('clip')\n")
    assert any(name.endswith("clip/open_clip_model.safetensors") for name in reach.data)
    assert not any("/sd/" in name for name in reach.data)
    unnamed = closure.of_text("from dlcv_lab import zoo\nfor name in zoo.names():\n    zoo.load(name)\n")
    assert {name.split("/")[2] for name in unnamed.data} >= {"clip", "sd", "video"}
    assert closure.of_text(USES).data == {}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Write dlcv_lab/tool.py in a checkout of its own."""
    monkeypatch.setattr(paths, "CHECKOUT", tmp_path)
    monkeypatch.setenv("DLCV_ROOT", str(tmp_path))
    (tmp_path / "dlcv_lab").mkdir()
    (tmp_path / "dlcv_lab" / "__init__.py").touch()

    def write(text: str) -> None:
        (tmp_path / "dlcv_lab" / "tool.py").write_text(text)

    return write


@pytest.mark.parametrize(
    ("before", "after", "counts"),
    [
        ("def f():\n    return 1\n", 'def f():\n    """Say one."""\n    return 1  # one\n', False),
        ("def f():\n    return 1\n", "def f():\n    return 2\n", True),
        ("def f():\n    return g()\ndef g():\n    return 1\n",
         "def f():\n    return g()\ndef g():\n    return 2\n", True),
        ("def f():\n    return 1\ndef g():\n    return 1\n", "def g():\n    return 2\ndef f():\n    return 1\n", False),
        ("def f():\n    return N\nN = 1\n", "def f():\n    return N\nN = 2\n", True),
        ("def f():\n    return 1\nprint(1)\n", "def f():\n    return 1\nprint(2)\n", True),
        ("def f():\n    return 1\ndef r(g): pass\n@r\ndef h():\n    return 1\n",
         "def f():\n    return 1\ndef r(g): pass\n@r\ndef h():\n    return 2\n", True),
        ("import functools\ndef f():\n    return 1\n@functools.cache\ndef h():\n    return 1\n",
         "import functools\ndef f():\n    return 1\n@functools.cache\ndef h():\n    return 2\n", False),
        ("try:\n    f = int\nexcept ValueError:\n    f = str\n",
         "try:\n    f = float\nexcept ValueError:\n    f = str\n", True),
        ("from __future__ import annotations\nclass A:\n    x = 1\ndef f(a: A): ...\n",
         "from __future__ import annotations\nclass A:\n    x = 2\ndef f(a: A): ...\n", False),
        ("def f():\n    return 1\nif __name__ == '__main__':\n    print(1)\n", "def f():\n    return 1\n", False),
    ],
)  # fmt: skip
def test_what_counts(package, before, after, counts):
    package(before)
    first = closure.of_text("from dlcv_lab.tool import f\nf()\n").key
    package(after)
    assert (closure.of_text("from dlcv_lab.tool import f\nf()\n").key != first) == counts


def test_where_a_text_reads_docstrings_they_count(package):
    package('def f():\n    """Say one."""\n    return 1\n')
    text = "from dlcv_lab.tool import f\nhelp(f)\n"
    first = closure.of_text(text).key
    package('def f():\n    """Say a one."""\n    return 1\n')
    assert closure.of_text(text).key != first
    assert closure.code_of("help(f)  # why") != closure.code_of("help(f)")
    assert closure.code_of("f()  # why") == closure.code_of("f()")


def test_code_in_a_string_is_followed(package):
    package("def f():\n    return 1\n")
    text = "import subprocess\nsubprocess.run(['python', '-c', 'from dlcv_lab import tool; tool.f()'])\n"
    assert closure.of_text(text).holds("dlcv_lab.tool", "f")


def test_oracle_tests_hang_on_what_they_import(copied, plant):
    states = {slug: oracle_record.state(slug) for slug in rows.slugs()}
    assert len(set(states.values())) == len(states)
    plant("dlcv_lab/pictures.py", '    words = need_alt(alt, "show.contours")\n', "    words = alt\n")
    changed = {slug for slug in rows.slugs() if oracle_record.state(slug) != states[slug]}
    drawing = {slug for slug in rows.slugs() for path in oracle_record.files(slug) if "contours" in path.read_text()}
    assert changed == drawing < set(rows.slugs())


def test_a_module_that_is_not_ours_is_no_root():
    with pytest.raises(ValueError, match=r"torch is no module of dlcv_lab, solutions"):
        closure.of_names(("torch", ""))
