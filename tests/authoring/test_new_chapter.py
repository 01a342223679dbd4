"""A new chapter stands in every column, passes as it is, and goes without a trace."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from autograder.base import paths
from autograder.chapter import new_chapter, row_checks, rows
from autograder.chapter.rows import RowError


def test_every_column_gets_its_file_under_the_new_name(workshop: Path):
    made = new_chapter.new_chapter("ch42_edges")
    names = {path.relative_to(workshop).as_posix() for path in made}
    assert names == {
        "chapters/ch42_edges/lesson_1.md", "chapters/ch42_edges/claims.py", "solutions/ch42_edges.py",
        "autograder/exercises/ch42_edges.py", "tests/chapters/test_ch42_edges.py",
    }  # fmt: skip
    assert not any("ch99" in path.read_text() for path in made)
    assert row_checks.findings(rows.load_row("ch42")) == []
    rows.forget("ch42_edges")


@pytest.mark.parametrize("slug", ["demo", "ch9_demo", "ch99-demo", "ch99_Demo"])
def test_a_malformed_name_is_refused(workshop, slug):
    with pytest.raises(RowError, match="write it like ch99_demo"):
        new_chapter.new_chapter(slug)


def test_a_taken_number_is_refused(demo):
    with pytest.raises(RowError, match="ch99 is taken by ch99_demo"):
        new_chapter.new_chapter("ch99_other")


def test_nothing_that_exists_is_overwritten(workshop: Path):
    mine = workshop / "solutions" / "ch99_demo.py"
    mine.parent.mkdir(parents=True)
    mine.write_text("# mine")
    with pytest.raises(RowError, match="exists already"):
        new_chapter.new_chapter("ch99_demo")
    assert mine.read_text() == "# mine"
    assert not (workshop / "chapters").exists()


@pytest.mark.slow
def test_in_a_checkout_it_is_made_used_and_removed_without_a_trace(workshop: Path, tmp_path: Path):
    """In a repository of its own: assemble, oracle tests, claims; then `git status` is clean again."""
    from autograder.chapter import ledger
    from autograder.release import assemble

    (workshop / "solutions").mkdir(parents=True)
    (workshop / "solutions" / "__init__.py").write_text("")
    git = ["git", "-C", str(workshop), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    (workshop / ".gitignore").write_text((paths.CHECKOUT / ".gitignore").read_text())
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "begin"]):
        subprocess.run([*git, *command], check=True)
    new_chapter.new_chapter("ch99_demo")
    assert assemble.assemble(rows.load_row("ch99"))
    assert ledger.run_claims("ch99_demo")[0]["holds"]
    (workshop / "chapters" / "ch99_demo" / "claims.json").unlink()
    tests = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        str(paths.CHECKOUT / "pyproject.toml"),
    ]
    done = subprocess.run(
        [*tests, "--rootdir", str(workshop), str(workshop / "tests")],
        env=os.environ | {"PYTHONPATH": str(workshop)}, capture_output=True, text=True, cwd=workshop,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    new_chapter.remove_skeleton("ch99_demo")
    status = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    assert status == ""


def test_removing_leaves_other_files_of_the_chapter(demo, workshop: Path):
    extra = workshop / "chapters" / "ch99_demo" / "notes.md"
    extra.write_text("mine")
    new_chapter.remove_skeleton("ch99_demo")
    assert extra.exists()
    assert not (workshop / "solutions" / "ch99_demo.py").exists()
