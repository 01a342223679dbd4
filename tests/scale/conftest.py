"""The small row of the grader's tests, and a class that hands it in, for the tests of many workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

sys.path.append(str(Path(__file__).parent.parent / "grader"))

from grader_helpers import SLUG, Class, write

from autograder import assemble, new_chapter, paths, rows
from autograder.nbgrader_release import generate

STEM = "lesson_1"
EXPECTED = {"alice": "OK OK", "bob": "WA OK", "carol": "NA NA", "dave": "SG OK", "eve": "UR UR", "zoë 王": "OK OK"}


@pytest.fixture(scope="module")
def klass(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Class]:
    place = tmp_path_factory.mktemp("scale")
    with pytest.MonkeyPatch.context() as patch:
        for name, where in (("ROOT", "rows"), ("BUILD", "build"), ("CACHE", "cache"), ("PACKS", "build/packs")):
            patch.setenv(f"DLCV_{name}", str(place / where))
        new_chapter.new_chapter(SLUG)
        row = rows.load_row(SLUG)
        assemble.assemble(row, packs=False)
        made = generate(paths.source(SLUG), SLUG, place / "release")
        yield Class(row, json.loads(nbformat.writes(nbformat.read(made[0], as_version=4))))
        rows.forget(SLUG)


@pytest.fixture(scope="module")
def handed_in(klass: Class, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six submissions: right, a known mistake, nothing, a crash, no notebook, right with a name beyond ASCII."""
    folder = tmp_path_factory.mktemp("in")
    unsharp = klass.reference("unsharp")
    sums = klass.row.exercise_by_name["box_blur"].misconceptions[0].source()
    raws = {
        "alice": klass.honest(),
        "bob": klass.hand_in(box_blur=sums, unsharp=unsharp),
        "carol": klass.hand_in(),
        "dave": klass.hand_in(box_blur="def box_blur(x, k):\n    import os\n    os._exit(0)\n", unsharp=unsharp),
        "eve": b"not a notebook",
        "zoë 王": klass.honest(),
    }
    for student, raw in raws.items():
        write(folder / student / SLUG / f"{STEM}.ipynb", raw)
    return folder


class Dask:
    """A scheduler and worker processes on loopback, started as `dask scheduler` and `dask worker` start them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "scheduler.json"
        self.processes: list[subprocess.Popen[bytes]] = []
        self._start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        self._wait(self.file.exists)
        self.address = json.loads(self.file.read_text())["address"]

    def work(self, count: int = 1, **environment: str) -> None:
        """Start worker processes; they announce themselves when they are ready."""
        for _ in range(count):
            self._start("dask_worker", "--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard", "--no-nanny",
                        "--local-directory", str(self.folder), **environment)  # fmt: skip

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.kill()
            process.wait()

    def _start(self, program: str, *arguments: str, **environment: str) -> None:
        log = (self.folder / f"{program}-{len(self.processes)}.log").open("wb")
        command = [sys.executable, "-m", f"distributed.cli.{program}", "--scheduler-file", str(self.file), *arguments]
        with log:
            self.processes.append(subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log))

    def _wait(self, there: Any) -> None:
        end = time.monotonic() + 180
        while not there():
            if time.monotonic() > end or self.processes[0].poll() is not None:
                said = "\n".join(path.read_text() for path in self.folder.glob("*.log"))
                raise RuntimeError(f"Dask did not start: {said}")
            time.sleep(0.2)


@pytest.fixture
def dask(tmp_path: Path) -> Iterator[Dask]:
    started = Dask(tmp_path)
    yield started
    started.stop()
