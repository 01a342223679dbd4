"""Where a job runs. The student's side has one way: a fresh process of the same interpreter, with a time limit."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Protocol

import dlcv_lab
from dlcv_lab.checking.model import Job, Outcome
from dlcv_lab.checking.wire import decode_outcome, encode_job
from dlcv_lab.checking.worker import frames

IMPORT_SECONDS = 120.0  # a cold `import torch` on a slow disk
_LOOK = 0.01  # seconds between two looks at the folder
_ENDED = Outcome("signal", message="the process ended by itself before it answered")


class Runner(Protocol):
    """Anything that runs a job and returns one outcome per case, whatever the student's code does."""

    def run(self, job: Job) -> list[Outcome]: ...


class LocalRunner:
    """Run jobs in a process apart from this one, without a sandbox: for the student's own machine.

    Jobs run one after another, each in a namespace of its own, in one process, because the imports take seconds. A job
    that hangs or dies takes its process with it and the next job gets a new one.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._place: tempfile.TemporaryDirectory[str] | None = None
        self._jobs = 0

    def __enter__(self) -> LocalRunner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, job: Job) -> list[Outcome]:
        """Return one outcome per case; cases that a timeout or a crash cut off say so."""
        folder = self._ready()
        self._jobs += 1
        answers = folder / f"{self._jobs}.answers"
        (folder / f"{self._jobs}.job").write_bytes(encode_job(job))
        ended = self._wait(folder / f"{self._jobs}.done", str(self._jobs), job.limits.seconds)
        raw = answers.read_bytes() if answers.exists() else b""
        outcomes = [decode_outcome(frame, job.limits.output_bytes) for frame in frames(raw, len(job.inputs))]
        if ended is not None:
            self.close()
        return outcomes + [ended or _ENDED] * (len(job.inputs) - len(outcomes))

    def close(self) -> None:
        """End the process and remove its folder."""
        process, place = self._process, self._place
        self._process = self._place = None
        if process is not None:
            _kill(process)
            process.wait()
            if process.stdin is not None:
                process.stdin.close()
        if place is not None:
            place.cleanup()

    def _ready(self) -> Path:
        """Return the folder of a process that waits for jobs; start one if there is none."""
        if self._process is None or self._process.poll() is not None or self._place is None:
            self.close()
            self._place = tempfile.TemporaryDirectory(prefix="dlcv-", ignore_cleanup_errors=True)
            self._process = _start(self._place.name)
            end = time.monotonic() + IMPORT_SECONDS
            ready = Path(self._place.name, "ready")
            while not ready.exists() and self._process.poll() is None and time.monotonic() < end:
                time.sleep(_LOOK)
        return Path(self._place.name)

    def _wait(self, done: Path, order: str, seconds: float) -> Outcome | None:
        """Give the order and wait; return why the process did not finish the job, or None."""
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(order + "\n")
            self._process.stdin.flush()
        except OSError:
            return _ENDED
        end = time.monotonic() + seconds
        while not done.exists():
            code = self._process.poll()
            if code is not None:
                return _ENDED if code >= 0 else Outcome("signal", message=f"the process was killed by signal {-code}")
            if time.monotonic() > end:
                return Outcome("timeout", message=f"no answer within {seconds:g} seconds")
            time.sleep(_LOOK)
        return None


def _start(folder: str) -> subprocess.Popen[str]:
    package = str(Path(dlcv_lab.__file__).parent.parent)
    start = (
        f"import sys; sys.path.insert(0, {package!r}); from dlcv_lab.checking import worker; worker.main({folder!r})"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "DLCV_BOOK": "0"}
    return subprocess.Popen(
        [sys.executable, "-P", "-c", start],  # -P: a torch.py beside the notebook is not imported
        cwd=folder, env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip


def _kill(process: subprocess.Popen[str]) -> None:
    """End the process and what it started."""
    if sys.platform == "win32":
        process.kill()
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
