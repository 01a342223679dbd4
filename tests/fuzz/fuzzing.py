"""What must hold for every random file: it is read or refused, and no fault is the grader's."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from strategies import notebooks, submissions

from autograder.grading import Marker
from dlcv_lab.checking.extract import read_programs
from dlcv_lab.checking.model import ExerciseInfo, Verdict
from dlcv_lab.checking.reader import UnreadableError


def _settings(count: int) -> settings:
    # the same examples in every run: what CI finds, everybody finds
    return settings(max_examples=count, deadline=None, derandomize=True, database=None,
                    suppress_health_check=list(HealthCheck))  # fmt: skip


def fuzz_reader(infos: list[ExerciseInfo], count: int) -> dict[str, int]:
    """Read `count` random files; whatever is neither a program nor a refusal raises."""
    met = {"read": 0, "refused": 0, "attempted": 0}

    @_settings(count)
    @given(notebooks())
    def each(raw: bytes) -> None:
        try:
            programs = read_programs(raw, infos)
        except UnreadableError as error:
            met["refused"] += bool(str(error))  # a refusal says why
            return
        met["read"] += 1
        met["attempted"] += any(program.attempted for program in programs.values())
        assert set(programs) == {info.name for info in infos}
        for program in programs.values():
            "".join(program.statements).encode()  # every text can be written down

    each()
    return met


def fuzz_submissions(marker: Marker, stem: str, release: dict[str, Any], count: int) -> dict[str, int]:
    """Judge `count` random submissions in the sandbox; a fault of the grader raises."""
    met: dict[str, int] = {}

    @_settings(count)
    @given(submissions(release) | notebooks())
    def each(raw: bytes) -> None:
        for result in marker.mark_notebook("mallory", stem, raw):
            met[str(result.verdict)] = met.get(str(result.verdict), 0) + 1
            assert result.verdict is not Verdict.XX, result
            assert 0 <= result.score <= result.max_score

    each()
    return met
