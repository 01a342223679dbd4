"""The plan of the book, the selection of chapters, and the table of contents."""

from __future__ import annotations

import pytest
import yaml

from autograder.base import paths
from autograder.book import web_book
from autograder.chapter import book_plan, methods

WRITTEN = ["ch01_linear_classification", "ch03_convolutional_networks", "ch16_contrastive_language_image_pretraining"]


def test_the_plan_has_exactly_the_chapters_of_the_methods_table():
    assert {chapter.slug for chapter in book_plan.read().chapters} == {method.chapter for method in methods.table()}


def test_the_plan_knows_exactly_the_lectures_of_the_methods_table():
    named = {key for method in methods.table() for key in method.lecture.split(";")}
    assert set(book_plan.read().lectures) == named


def test_chapters_are_numbered_in_the_order_of_the_plan():
    numbers = [chapter.number for chapter in book_plan.read().chapters]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("3", [1]),
        ("ch03", [1]),
        ("1-3", [0, 1]),
        ("16-25", [2]),
        ("1, 16", [0, 2]),
        ("ch03_convolutional_networks", [1]),
    ],
)
def test_a_selection_names_written_chapters(wanted, expected):
    assert book_plan.select(wanted, WRITTEN) == [WRITTEN[index] for index in expected]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("three", "cannot read 'three'"),
        ("9-3", "backwards"),
        ("4-9", "written: ch01, ch03, ch16"),
        ("", "none of these"),
    ],
)
def test_a_selection_that_names_nothing_says_why(wanted, said):
    with pytest.raises(book_plan.PlanError, match=said):
        book_plan.select(wanted, WRITTEN)


def test_a_set_of_chapters_has_a_short_name():
    assert book_plan.label(WRITTEN) == "1,3,16"
    assert book_plan.label([f"ch{number:02d}_x" for number in range(16, 26)]) == "16-25"


def test_the_contents_list_a_chapter_once_in_its_part():
    text = book_plan.toc(book_plan.read(), {WRITTEN[1]: ["lesson_1", "lesson_2"]})
    contents = yaml.safe_load(text)
    parts = {part["caption"]: part["chapters"] for part in contents["parts"]}
    (chapter,) = parts["Crash course"]
    assert chapter["file"] == f"build/pages/chapters/{WRITTEN[1]}/index"
    assert [section["file"].rsplit("/", 1)[1] for section in chapter["sections"]] == ["lesson_1", "lesson_2"]
    assert "Adaptation" not in parts


def test_a_chapter_that_the_plan_does_not_know_comes_last():
    contents = yaml.safe_load(book_plan.toc(book_plan.read(), {"ch99_demo": ["lesson"]}))
    captions = [part["caption"] for part in contents["parts"]]
    assert captions[-3:] == ["Further chapters", "Teaching", "Reference"]


def test_a_page_counts_once_all_that_it_includes_is_there(tmp_path):
    page = tmp_path / "tour.md"
    assert not book_plan.complete(page)
    page.write_text("# Tour\n\n```{include} part/a.md\n```\n\n```{raw} html\n:file: part/b.html\n```\n")
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "a.md").touch()
    assert not book_plan.complete(page)
    (tmp_path / "part" / "b.html").touch()
    assert book_plan.complete(page)


def test_a_broken_plan_is_named(tmp_path):
    broken = tmp_path / "chapters.toml"
    broken.write_text("[[parts]]\ntitle = 'x'\n")
    with pytest.raises(book_plan.PlanError, match=r"chapters\.toml cannot be used"):
        book_plan.read(broken)


def test_the_table_of_contents_agrees_with_the_rows():
    assert (paths.CHECKOUT / "_toc.yml").read_text(encoding="utf-8") == web_book.expected_toc(), "run `dlcv book`"
