"""What GitHub Classroom's reporter reads: the result of one runner, version 3, for the public cases only.

A student's repository can be edited by the student, so this is practice and no official mark.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlcv_lab.checking.model import ExerciseResult, Verdict
from dlcv_lab.checking.packs import Chapter

_STATUS = {Verdict.OK: "pass", Verdict.XX: "error", Verdict.UR: "error"}


def runner_result(found: Sequence[tuple[Chapter, Sequence[ExerciseResult]]], extras: frozenset[str]) -> dict[str, Any]:
    """Return the runner's result; `extras` holds the keys of exercises without marks, which score 0 of 0."""
    tests = [
        {
            "name": f"{chapter.key}.{result.name}",
            "status": _STATUS.get(result.verdict, "fail"),
            "message": " ".join(part for part in (result.message, result.hint) if part),
            "test_code": f'check("{result.name}")',
            "filename": f"{chapter.slug}/{chapter.notebook_of(result.name).stem}.ipynb",
            "line_no": 0,
            "duration": round(1000 * result.seconds),
            "score": 0.0 if f"{chapter.key}.{result.name}" in extras else result.score,
        }
        for chapter, results in found
        for result in results
    ]
    marked = [r for chapter, results in found for r in results if f"{chapter.key}.{r.name}" not in extras]
    states = {test["status"] for test in tests}
    status = "error" if "error" in states else "fail" if "fail" in states else "pass"
    return {"version": 3, "status": status, "max_score": sum(result.max_score for result in marked), "tests": tests}


def hand_over(result: dict[str, Any]) -> None:
    """Add `result=<base64>` to the step's outputs where GitHub names a file for them."""
    to = os.environ.get("GITHUB_OUTPUT")
    if not to:
        return
    coded = base64.b64encode(json.dumps(result).encode("utf-8")).decode("ascii")
    with Path(to).open("a", encoding="utf-8") as out:
        out.write(f"result={coded}\n")
