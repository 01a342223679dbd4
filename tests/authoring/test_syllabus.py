"""Hours are added up from front matter and exercises."""

import pytest

from autograder.chapter import syllabus
from autograder.chapter.rows import RowError


def test_a_chapter_is_added_up(demo):
    load = syllabus.load_of(demo)
    assert (load.reading, load.core, load.extra) == (10, 10, 5)
    assert (load.core_exercises, load.extra_exercises, load.points) == (1, 1, 5)
    assert load.hours == pytest.approx(20 / 60)


@pytest.mark.parametrize(("hours", "weeks"), [(0.15, 3), (0.5, 1), (9, 1)])
def test_weeks_are_rounded_up(demo, hours, weeks):
    assert syllabus.weeks(syllabus.syllabus(["99"]), hours) == weeks


def test_no_hours_a_week_is_refused(demo):
    with pytest.raises(ValueError, match="above 0"):
        syllabus.weeks(syllabus.syllabus(), 0)


def test_an_unknown_chapter_is_refused(demo):
    with pytest.raises(RowError, match="no chapter '98'"):
        syllabus.syllabus(["98"])
