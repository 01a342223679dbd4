"""References to chapters that a book lacks: links to the whole book, or words, and never a warning."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest
from docutils import nodes

from autograder.base import paths
from autograder.chapter import book_plan, elsewhere

sys.path.insert(0, str(paths.CHECKOUT / "book" / "_ext"))
import dlcv_book

HERE = "ch03_convolutional_networks"


def table(published: str = "", present: tuple[str, ...] = (HERE,)) -> dict[str, dict[str, str]]:
    return json.loads(elsewhere.table(book_plan.read(), present, published))


def test_every_absent_chapter_has_a_title_and_no_present_one_is_listed():
    found = table()
    assert found["ch05"] == {"title": "chapter 5, Segmentation", "address": ""}
    assert "ch03" not in found


def test_only_written_chapters_of_a_published_book_are_links():
    found = table("https://example.org/book/", present=())
    assert found["ch03"]["address"] == f"https://example.org/book/chapters/{HERE}/index.html"
    assert found["ch31"]["address"] == ""


def test_a_notebook_reads_the_title():
    assert elsewhere.labels(book_plan.read())["ch05"] == "chapter 5, Segmentation"


@pytest.fixture
def app(tmp_path):
    folder = tmp_path / "build" / "pages"
    folder.mkdir(parents=True)
    places = {
        "ch05": {"title": "Segmentation", "address": ""},
        "ch06": {"title": "Boxes", "address": "https://x.org/6"},
    }
    (folder / "elsewhere.json").write_text(json.dumps(places))
    return SimpleNamespace(srcdir=str(tmp_path))


def asked(app, label: str, words: str = "") -> nodes.Node | None:
    node = {"refdomain": "std", "reftype": "ref", "reftarget": label, "refexplicit": bool(words)}
    return dlcv_book.elsewhere(app, None, node, nodes.inline(words, words))


def test_an_unpublished_chapter_is_named(app):
    assert asked(app, "ch05").astext() == "Segmentation"
    assert asked(app, "ch05", "later").astext() == "later"


def test_a_published_chapter_is_a_link(app):
    link = asked(app, "ch06")
    assert isinstance(link, nodes.reference)
    assert link["refuri"] == "https://x.org/6"


def test_an_unknown_label_still_warns(app):
    assert asked(app, "nobody") is None
