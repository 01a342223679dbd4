"""The book's Sphinx extension: addresses, search index, and the message where pages are missing."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys

import pytest
from docutils import nodes
from docutils.utils import new_document
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


def test_lines_wrap_below_their_indentation_and_a_deep_one_can_be_narrowed():
    lines = dlcv_book.in_lines(f"if x:\n    y\n{' ' * 20}<span class='n'>z</span>")
    assert lines.count('<span class="line"') == 3
    assert '<span class="line" style="--in:4">    y\n</span>' in lines
    assert f'style="--in:20"><span class="deep">{" " * 20}</span><span' in lines


def test_an_option_is_not_broken_at_its_hyphens():
    assert '<span class="together">--solutions</span>' in dlcv_book.in_lines("dlcv release --solutions")
    page = {"body": '<code><span class="pre">--course</span> <span class="pre">-1</span></code>'}
    dlcv_book.hang(None, "", "", page, None)
    assert page["body"] == '<code><span class="pre together">--course</span> <span class="pre">-1</span></code>'


@pytest.mark.parametrize(
    ("printed", "table"),
    [
        ("whole   loss 1.6   0.9\nno average   loss 1.0   0.8", True),
        ("felt:    [1.08, 2]\nlibrary: [1.08, 2]", False),
        ("one long sentence that may wrap", False),
        ("a   <span>b</span>\nc   d\nand a last line", True),
    ],
)
def test_printed_columns_are_told_from_sentences(printed, table):
    assert dlcv_book.in_columns(printed) is table
    page = {"body": f'<div class="output stream x"><div class="highlight"><pre>{printed}</pre></div></div>'}
    dlcv_book.hang(None, "", "", page, None)
    assert ('<pre class="columns">' in page["body"]) is table


@pytest.mark.parametrize(
    ("text", "tied"),
    [
        ("58 % of 12 042 240 are .93 ± .01", "58~% of 12~042~240 are .93~±~.01"),
        ("in 3 of 145 cases, 3 100", "in 3 of 145 cases, 3~100"),
        ("2021 and 5 pictures % b", "2021 and 5 pictures % b"),
    ],
)
def test_what_is_one_number_stays_on_a_line(text, tied):
    assert dlcv_book._TIED.sub("~", text) == tied


def test_a_formula_keeps_the_comma_behind_it_and_only_later_pictures_wait():
    document = new_document("page")
    words = nodes.paragraph("", "", nodes.Text("let "), nodes.math("", "x"), nodes.Text("), and"))
    pictures = [nodes.image(uri="a.png"), nodes.image(uri="b.png")]
    document += [words, *pictures]
    dlcv_book.TogetherOnALine(document).apply()
    dlcv_book.LatePictures(document).apply()
    assert words[1]["closing"] == "),"
    assert words[2] == " and"
    assert ["loading" in picture for picture in pictures] == [False, True]


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
