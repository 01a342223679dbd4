"""The sample feedback page and class report of the front page: of the chapter as it is, harmless, and found."""

from __future__ import annotations

import re

import pytest

from autograder.base import paths
from autograder.base.wording import points
from autograder.chapter import rows
from autograder.demo import run, sample_pages
from autograder.demo.sample_class import CLASS

STYLE = re.compile(r"<style>(.*?)</style>", re.S)


@pytest.fixture(scope="module")
def row() -> rows.Row:
    return rows.load_row(run.CHAPTER)


def sample(name: str) -> str:
    return (sample_pages.FOLDER / f"{name}.html").read_text(encoding="utf-8")


def test_the_page_of_a_student_has_the_exercises_of_the_chapter_with_their_points(row):
    heads = sample_pages.kind(sample("feedback"))
    assert heads[0].endswith(row.title)
    assert [re.match(r". (\w+): ", head)[1] for head in heads[1:]] == [each.name for each in row.exercises]
    for head, exercise in zip(heads[1:], row.exercises, strict=True):
        assert head.endswith(f" of {points(exercise.points)}") == exercise.core


def test_its_mistake_is_told_in_the_words_of_the_exercise(row):
    told = next(each for each in CLASS if each.student == sample_pages.STUDENT)
    mistake = next(m for m in row.exercise_by_name[told.about].misconceptions if m.name == "ignores_stride")
    assert mistake.hint in sample("feedback")
    assert f"◐ {told.about}: partly right" in "\n".join(sample_pages.kind(sample("feedback")))


def test_the_report_has_the_whole_class_with_the_verdicts_it_was_made_for(row):
    lines = {line.split(":")[0]: line for line in sample_pages.kind(sample("report"))}
    for each in CLASS:
        assert not each.about or f"{each.about} {each.expected}" in lines[each.student]
    assert lines["ada"] == f"ada: {points(sum(each.points for each in row.exercises if each.core))}, "


@pytest.mark.parametrize("name", sorted(sample_pages.ABOUT))
def test_a_sample_looks_as_a_page_looks_today_and_leads_back(name):
    page = sample(name)
    style = (paths.CHECKOUT / "autograder" / "feedback" / "templates" / "page.css").read_text(encoding="utf-8")
    assert STYLE.search(page)[1].split() == style.split()
    assert set(re.findall(r'href="([^"]*)"', page)) <= {"../../index.html#what-an-instructor-gets", "feedback.html"}
    assert "<script" not in page
    assert not re.search(r"feedback-[0-9a-f]{32}|/home/|/tmp/|https?://", page)


def test_a_page_with_a_link_to_every_student_keeps_its_own_alone():
    links = [f'<a href="../feedback/{name}/ch03/feedback-1.html">{name}</a>' for name in ("ada", "tim")]
    told = sample_pages.shareable(f"<main>\n{' '.join(links)}", "About.")
    assert 'ada <a href="feedback.html">tim</a>' in told
    assert "About." in told


def test_the_front_page_and_the_page_for_instructors_lead_there():
    for name, way in (("index", ""), ("howto/instructor", "../")):
        text = (paths.CHECKOUT / "book" / f"{name}.md").read_text(encoding="utf-8")
        assert all(f'href="{way}_static/samples/{each}.html"' in text for each in sample_pages.ABOUT)
