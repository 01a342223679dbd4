"""Asserts that ask what our hidden cases ask, for graders that run them in the student's own process.

Stands on the path of the other graders. The cases are one draw, the same number and kind as ours; probe, comparison
and tolerances are ours too, so that honest work gets the same marks.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from dlcv_lab.checking import execute, judging
from dlcv_lab.checking.envelope import encode
from dlcv_lab.checking.packs import load_pack


def assert_right(name: str, scope: dict[str, Any]) -> None:
    """Raise AssertionError unless the student's function is right on every case."""
    pack = load_pack("ch03", name, Path(os.environ["PEER_PACKS"]))
    probe, names = execute.load_probe(pack.info.probe), execute.Names(scope)
    outcomes = [execute.run_case(probe, names, encode(case.data), pack.info.forbid) for case in pack.cases]
    result = judging.judge_outcomes(pack, outcomes)
    assert result.score == result.max_score, result.message
