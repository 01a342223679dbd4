"""What the class of these tests must get, and a Dask cluster on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

STEM = "lesson_1"
EXPECTED = {"alice": "OK OK", "bob": "WA OK", "carol": "NA NA", "dave": "SG OK", "eve": "UR UR", "zoë 王": "OK OK"}


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
