"""The small row of the attack suite, with the limits that exercises have by default, and a marker for it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "attacks"))

import attack_class

from autograder.chapter import rows
from autograder.grade.marking import Marker
from autograder.sandbox import detect


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[attack_class.Course]:
    place = tmp_path_factory.mktemp("fairness")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in attack_class.variables(place).items():
            patch.setenv(name, value)
        yield attack_class.make_course(place, quick=False)
        rows.forget(attack_class.SLUG)


@pytest.fixture(scope="module")
def small_marker(small: attack_class.Course) -> Iterator[Marker]:
    with Marker(attack_class.SLUG, b"a secret of the tests", detect()) as made:
        yield made
