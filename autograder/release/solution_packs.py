"""Worked solutions as `show_solution` reads them: written only by the self-study edition or on purpose."""

from __future__ import annotations

import json
from pathlib import Path

from autograder.base import cache
from autograder.chapter import source
from autograder.chapter.rows import Row
from dlcv_lab.checking.wire import veil

FILE = "solutions.json"


def write(row: Row, folder: Path, *, after_attempt: bool) -> Path:
    """Write the solutions of a chapter into `folder`; with `after_attempt` they open once something was tried."""
    texts = {exercise.name: veil(source.without_markers(row.reference(exercise))) for exercise in row.exercises}
    contents = {"chapter": row.key, "after_attempt": after_attempt, "solutions": texts}
    path = folder / FILE
    cache.write(path, (json.dumps(contents, indent=1) + "\n").encode())
    return path
