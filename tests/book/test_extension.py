"""The book's Sphinx extension: addresses, search index, and the message where pages are missing."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys

import pytest
from sphinx.search import js_index

from autograder.base import paths

sys.path.insert(0, str(paths.CHECKOUT / "book" / "_ext"))
import dlcv_book


@pytest.mark.parametrize(
    ("docname", "address"),
    [
        ("book/index", "index"),
        ("book/howto/student", "howto/student"),
        ("build/pages/methods", "methods"),
        ("build/pages/chapters/ch03_x/lesson_1", "chapters/ch03_x/lesson_1"),
        ("search", "search"),
    ],
)
def test_addresses_do_not_show_where_a_page_is_made(docname, address):
    assert dlcv_book.plain(docname) == address


def test_no_two_pages_share_an_address():
    lines = (paths.CHECKOUT / "_toc.yml").read_text(encoding="utf-8").splitlines()
    names = [line.split("file:")[1].strip() for line in lines if "file:" in line]
    addresses = [dlcv_book.plain(name) for name in names]
    assert len(addresses) > 10
    assert len(set(addresses)) == len(addresses)


def test_the_search_index_has_addresses_on_disk_and_sources_in_memory():
    data = {"docnames": ["book/notation"], "filenames": ["book/notation.md"], "titles": ["Notation"]}
    index = dlcv_book.PlainIndex(js_index)
    stream = io.StringIO()
    index.dump(data, stream)
    assert '"docnames": ["notation"]' in stream.getvalue() or 'docnames:["notation"]' in stream.getvalue().replace(
        " ", ""
    )
    stream.seek(0)
    assert index.load(stream)["docnames"] == ["book/notation"]


def test_only_generated_pages_count_as_missing(tmp_path):
    (tmp_path / "build/pages").mkdir(parents=True)
    (tmp_path / "build/pages/methods.md").touch()
    names = ["book/index", "build/pages/methods", "build/pages/claims"]
    assert dlcv_book.missing_pages(tmp_path, names, [".md", ".ipynb"]) == ["build/pages/claims"]


@pytest.mark.slow
def test_typing_jupyter_book_before_the_pages_exist_says_what_to_run(tmp_path):
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(paths.CHECKOUT / name, tmp_path)
    shutil.copytree(paths.CHECKOUT / "book", tmp_path / "book")
    start = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", "."]
    done = subprocess.run(start, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("Run `dlcv book` (or `make book`)") == 1
    assert "Traceback" not in done.stdout + done.stderr
