"""GitHub Classroom's runner result, version 3: public cases, real points, one line in the step's outputs."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from dlcv_lab.checking.classroom import hand_over, runner_result
from dlcv_lab.checking.model import ExerciseResult, Verdict
from dlcv_lab.checking.packs import Chapter, Notebook

CHAPTER = Chapter("ch98", "ch98_small", "Small", "1", (Notebook("lesson_1", "S", 5, ("f", "g", "h")),), Path())
RESULTS = [
    ExerciseResult(
        "f", Verdict.PA, 1.0, 2.0, seconds=0.5, message="1 of 2 cases.\n::error::no", hint="Mind the stride."
    ),
    ExerciseResult("g", Verdict.OK, 1.0, 1.0, message="All right."),
    ExerciseResult("h", Verdict.OK, 3.0, 3.0, message="An extra."),
]
GOLDEN = Path(__file__).parent / "golden" / "classroom.json"


def test_the_result_is_the_golden_one() -> None:
    result = runner_result([(CHAPTER, RESULTS)], frozenset({"ch98.h"}))
    assert result == json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert sum(test["score"] for test in result["tests"]) == 2.0
    assert result["max_score"] == 3.0


def test_all_right_is_a_pass_and_a_fault_an_error() -> None:
    assert runner_result([(CHAPTER, RESULTS[1:])], frozenset())["status"] == "pass"
    fault = ExerciseResult("f", Verdict.XX, 0.0, 2.0)
    assert runner_result([(CHAPTER, [fault])], frozenset())["status"] == "error"


def test_the_step_gets_one_line_that_no_message_can_break(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_OUTPUT", raising=False)
    result = runner_result([(CHAPTER, RESULTS)], frozenset())
    hand_over(result)
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    hand_over(result)
    (line,) = (tmp_path / "output").read_text().splitlines()
    assert json.loads(base64.b64decode(line.removeprefix("result="))) == result
