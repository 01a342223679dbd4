"""Random files: read or refused, judged or told unreadable, and never a fault of the grader."""

from __future__ import annotations

import fuzzing
import pytest
from attack_class import STEM, Course

from autograder.grade.marking import Marker


def test_the_reader_reads_or_refuses(fuzzed_marker: Marker) -> None:
    met = fuzzing.fuzz_reader(fuzzed_marker.infos[STEM], 300)
    assert all(met.values()), f"the files are of one kind: {met}"


@pytest.mark.slow
@pytest.mark.sandbox
def test_the_sandbox_judges_whatever_comes(fuzzed_marker: Marker, fuzzed: Course) -> None:
    met = fuzzing.fuzz_submissions(fuzzed_marker, STEM, fuzzed.release, 20)
    assert sum(met.values()) >= 20
