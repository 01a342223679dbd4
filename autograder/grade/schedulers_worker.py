"""The far end of `dlcv grade --scheduler`: judges one submission in a Dask worker, from bytes to bytes.

A worker is trusted: it has the checkout with its reference solutions, and it compares. Student code runs in the
worker's own sandbox, exactly as it does on one machine. The secret of the course never comes here; a task brings the
key of the one student whose submission it holds.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import threading
from pathlib import Path
from typing import Any

import torch

from autograder import sandbox
from autograder.grade.journal import to_plain
from autograder.grade.marking import Marker, version
from autograder.grade.submissions import MAX_NOTEBOOK, Submission
from dlcv_lab.checking.envelope import decode

MAX_TASK = 40 * MAX_NOTEBOOK


class StudentMarker(Marker):
    """A marker with the keys of single students in place of the secret."""

    def __init__(self, task: dict[str, Any]) -> None:
        super().__init__(task["chapter"], b"", task["level"], only=task["only"])
        self.key: str = task["key"]
        self.keys: dict[str, bytes] = {}
        self.busy = threading.Lock()

    def student_key(self, student: str) -> bytes:
        return self.keys[student]


_markers: dict[tuple[Any, ...], StudentMarker] = {}
_guard = threading.Lock()


def mark(raw: bytes) -> bytes:
    """Judge the submission of a task; return the entry as JSON, or {"refused": why} where verdicts could differ."""
    task = decode(raw, MAX_TASK)
    why = unlike(task)
    if why:
        return json.dumps({"refused": why}).encode()
    marker = _marker(task)
    if version(marker.infos) != task["version"]:
        return json.dumps({"refused": f"{here()} has other exercises in its checkout; update it"}).encode()
    with marker.busy, tempfile.TemporaryDirectory(prefix="dlcv-task-") as folder:
        marker.keys = {task["student"]: task["student_key"]}
        files = {}
        for stem, content in task["files"].items():
            files[stem] = Path(folder, f"{stem}.ipynb")
            files[stem].write_bytes(content)
        entry = marker.mark(Submission(task["student"], files, dict(task["problems"])))
        marker.keys = {}
    return json.dumps(to_plain(entry), ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")


def rest() -> None:
    """End the warm parents of this process that judge nothing just now."""
    with _guard:
        for key, marker in list(_markers.items()):
            if marker.busy.acquire(blocking=False):
                del _markers[key]
                marker.close()
                marker.busy.release()


def software() -> dict[str, str]:
    """Return what must be alike for verdicts to be alike to the last byte."""
    return {"Python": ".".join(platform.python_version_tuple()[:2]), "torch": torch.__version__}


def here() -> str:
    return f"the worker on {platform.node()} (process {os.getpid()})"


def unlike(task: dict[str, Any]) -> str:
    """Say why this worker must not judge a task, or nothing."""
    for name, wanted in task["software"].items():
        found = software()[name]
        if found != wanted:
            return f"{here()} has {name} {found} and the run has {wanted}; install the same constraints.txt there"
    reached = sandbox.detect()
    if sandbox.LEVELS[reached] < sandbox.LEVELS[task["level"]]:
        return f"{here()} reaches isolation {reached!r} and the run asks for {task['level']!r}; see docs/grader.md"
    return ""


def _marker(task: dict[str, Any]) -> StudentMarker:
    """Return this thread's warm marker for the task's chapter and level."""
    key = (threading.get_ident(), task["chapter"], task["level"], task["key"], tuple(task["only"]))
    with _guard:
        for old in [other for other in _markers if other[0] == key[0] and other != key]:
            _markers.pop(old).close()
        if key not in _markers:
            _markers[key] = StudentMarker(task)
        return _markers[key]
