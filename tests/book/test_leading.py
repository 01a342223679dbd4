"""A lesson leads on: minutes, exercises, the notebook without solutions, and what comes next."""

from __future__ import annotations

import pytest

from autograder.book import leading
from autograder.chapter import book_plan, rows
from autograder.release.launch_buttons import Places

SLUG = "ch03_convolutional_networks"


@pytest.fixture(scope="module")
def row():
    return rows.load_row(SLUG)


@pytest.fixture(scope="module")
def plan():
    return book_plan.read()


def test_the_head_says_the_time_and_what_is_to_do_and_has_the_notebook(row):
    head = leading.head(row, row.notebooks[0], None)
    core = sum(exercise.core for exercise in leading.exercises(row, row.notebooks[0]))
    assert f"{core} core and" in head
    assert "about 2.5 h" in head
    assert '<a href="notebooks/lesson_1.ipynb" download>' in head
    assert "Open in" not in head


def test_a_configured_place_is_a_button_with_escaped_address(row):
    places = Places(repository="https://github.com/you/cv-student", hub="https://hub.example.org/")
    head = leading.head(row, row.notebooks[0], places)
    assert head.count("Open in ") == 3
    assert "&branch" not in head


def test_a_lesson_is_followed_by_the_next_and_a_chapter_by_the_next_that_is_there(row, plan):
    later = rows.load_row(rows.slugs()[-1])
    loaded = {row.slug: row, later.slug: later}
    first = leading.following(plan, loaded, row, row.notebooks[0])
    assert first is not None
    assert (first.address, first.title) == ("lesson_2.html", row.notebooks[1].title)
    after = leading.following(plan, loaded, row, row.notebooks[-1])
    assert after is not None
    assert after.address == f"../{later.slug}/index.html"
    assert leading.following(plan, loaded, later, later.notebooks[-1]) is None


def test_the_end_links_every_exercise_and_says_what_is_left(row, plan):
    end = leading.end(row, row.notebooks[0], leading.following(plan, {SLUG: row}, row, row.notebooks[0]))
    assert end.count('href="#exercise-') == len(row.notebooks[0].named("exercise"))
    assert 'data-chapter="ch03" data-notebook="lesson_1"' in end
    assert "of this chapter are left" in end
    assert "of this chapter are left" not in leading.end(row, row.notebooks[-1], None)


def test_the_notebook_to_download_has_stubs_and_no_solution(row):
    for lesson in row.notebooks:
        made = leading.student_notebook(row, lesson)
        code = [cell.source for cell in made.cells if cell.cell_type == "code"]
        assert not any("SOLUTION" in text for text in code)
        assert not any("nbgrader" in cell.metadata for cell in made.cells)
        for name in lesson.named("exercise"):
            for defined in row.exercise_by_name[name].defines:
                own = next(text for text in code if f"def {defined}(" in text or f"class {defined}" in text)
                assert "raise NotImplementedError" in own
