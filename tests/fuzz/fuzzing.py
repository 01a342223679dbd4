"""What must hold for every random file: it is read or refused, and no fault is the grader's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from strategies import notebooks, submissions

from autograder.grade.marking import Marker
from dlcv_lab.checking.extract import read_programs
from dlcv_lab.checking.model import ExerciseInfo, Verdict
from dlcv_lab.checking.notebook_reader import UnreadableError


def _drawn(count: int, number: int) -> Callable[[Callable[[bytes], None]], Callable[[bytes], None]]:
    """Draw `count` examples, the same ones in every run with the same number: what CI finds, everybody finds."""

    def decorate(test: Callable[[bytes], None]) -> Callable[[bytes], None]:
        chosen = settings(max_examples=count, deadline=None, derandomize=number == 0, database=None,
                          suppress_health_check=list(HealthCheck))  # fmt: skip
        return chosen(seed(number)(test) if number else test)

    return decorate


def fuzz_reader(infos: list[ExerciseInfo], count: int, number: int = 0) -> dict[str, int]:
    """Read `count` random files of one draw; whatever is neither a program nor a refusal raises."""
    met = {"read": 0, "refused": 0, "attempted": 0}

    @_drawn(count, number)
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


def fuzz_submissions(marker: Marker, stem: str, release: dict[str, Any], count: int, number: int = 0) -> dict[str, int]:
    """Judge `count` random submissions of one draw in the sandbox; a fault of the grader raises."""
    met: dict[str, int] = {}

    @_drawn(count, number)
    @given(submissions(release) | notebooks())
    def each(raw: bytes) -> None:
        for result in marker.mark_notebook("mallory", stem, raw):
            met[str(result.verdict)] = met.get(str(result.verdict), 0) + 1
            assert result.verdict is not Verdict.XX, result
            assert 0 <= result.score <= result.max_score

    each()
    return met
