"""Pages for teachers: complete, made from the row, and without anything that students must not see."""

from __future__ import annotations

import pytest

from autograder.book import teaching
from autograder.chapter import book_plan, lesson, rows, syllabus
from autograder.release import leaks


@pytest.fixture(scope="module")
def row() -> rows.Row:
    return rows.load_row("ch03")


@pytest.fixture(scope="module")
def page(row) -> str:
    return teaching.page(book_plan.read(), row)


def test_the_page_has_every_part(page):
    for heading in ("Time", "In one week of three hours", "Stop here and let the class vote", "Questions to discuss",
                    "Common mistakes", "Marked by hand"):  # fmt: skip
        assert f"## {heading}\n" in page


def test_every_known_mistake_of_every_exercise_is_there(page, row):
    assert page.count("<li>") == sum(len(exercise.misconceptions) for exercise in row.exercises)
    assert all(f"<code>{exercise.name}</code>" in page for exercise in row.exercises)


def test_every_question_of_the_front_matter_is_there(page, row):
    for notebook in row.notebooks:
        assert all(question in page for question in notebook.meta["discussion"])
        assert all(f"“{heading}”" in page for heading in notebook.meta["cut"])


def test_predictions_are_read_from_the_lesson(row):
    found = [vote for notebook in row.notebooks for vote in teaching.predictions(notebook)]
    assert len(found) >= 6
    assert all(question.strip() and len(options) >= 2 for question, options in found)


def test_no_rubric_sample_answer_or_code_of_a_solution_is_on_it(page, row):
    hidden = leaks.secrets_of(row)
    assert not [
        what for length in (leaks.RUN, leaks.LONG_RUN) for run in leaks.runs(page, length) if (what := hidden.get(run))
    ]
    for question in row.questions:
        assert question.rubric.strip()[:60] not in page
        assert all(answer.strip()[:60] not in page for _, answer in question.samples)


def test_the_overview_lists_the_chapters_that_are_written(row):
    text = teaching.overview(book_plan.read(), {row.slug: row})
    assert text.count(f"]({row.slug}.md)") == 1


def test_the_overview_says_how_far_its_chapters_go_in_a_term(row):
    text = teaching.overview(book_plan.read(), {row.slug: row})
    load = syllabus.load_of(row)
    assert f"Together about {load.hours:.0f} hours" in text
    assert f"1 week at {teaching.WEEK_HOURS} hours" in text
    assert "`dlcv syllabus 3 --hours-a-week 9`" in text


def test_the_parts_of_a_written_question_stay_a_list(page):
    assert "\n  1. mirrors every training picture" in page


def meta_faults(notebook: lesson.Lesson, **meta: object) -> list[str]:
    return lesson.faults(lesson.Lesson(notebook.path, {**notebook.meta, **meta}, notebook.cells), "ch03", set(), set())


@pytest.mark.parametrize("asked", ["What?", ["Only one?"], ["One?", "No question."]])
def test_a_lesson_has_two_questions_to_discuss(row, asked):
    assert any("two questions for a class" in fault for fault in meta_faults(row.notebooks[0], discussion=asked))


def test_a_section_to_cut_must_exist(row):
    found = meta_faults(row.notebooks[0], cut=["The way back", "No such section"])
    assert [fault for fault in found if "'cut'" in fault] == [
        f"{found[0].split(':')[0]}: 'cut' names the section 'No such section', which is no '## ' heading here"
    ]
