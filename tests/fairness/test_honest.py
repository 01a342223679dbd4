"""Honest work gets full points, however unusual it looks."""

from __future__ import annotations

import pytest
from attack_class import STEM, Course
from honest import HONEST

from autograder.grade.marking import Marker

pytestmark = pytest.mark.sandbox


@pytest.mark.parametrize("name", HONEST)
def test_gets_full_points(name: str, small_marker: Marker, small: Course) -> None:
    results = small_marker.mark_notebook("alice", STEM, HONEST[name](small.release))
    assert [str(result.verdict) for result in results] == ["OK", "OK"], [
        (result.name, result.message, result.notes) for result in results
    ]
    assert all(result.score == result.max_score for result in results)


def test_there_are_many() -> None:
    assert len(HONEST) >= 25
