"""The heavy checks of the rows that are chosen for this run: the same ones for every chapter.

What is chosen changes with the commit: rows that differ from chapters/verified.json, and two more by its hash.
"""

from __future__ import annotations

import pytest
from row_choice import choice

from autograder.chapter import rows
from autograder.release import heavy_checks

pytestmark = pytest.mark.slow

HERE = ("lessons", "release", "reader", "verify")  # the oracle tests run anyway, in tests/chapters
CHECKED = [
    pytest.param(slug, check, marks=[pytest.mark.sandbox] if check == "verify" else [], id=f"{slug[:4]}-{check}")
    for slug in choice().run
    for check in HERE
]


@pytest.mark.parametrize(("slug", "check"), CHECKED)
def test_a_row_passes(slug, check):
    heavy_checks.CHECKS[check](rows.load_row(slug))


def test_something_is_checked_in_every_run():
    chosen = choice()
    assert not set(chosen.run) & {*chosen.recorded, *chosen.left}
    assert {*chosen.run, *chosen.recorded, *chosen.left} <= set(rows.slugs())
