"""The trusted end of the sandbox: sends jobs, counts bytes and seconds, believes nothing that comes back."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from types import TracebackType
from typing import Any

from autograder.sandbox import command, cuda, levels
from autograder.sandbox.inside import STRETCH, syscalls
from dlcv_lab.checking.model import Job, Limits, Outcome
from dlcv_lab.checking.worker import frames

RUN, READ = "inside.entries:run_cases", "inside.entries:read_programs"
# what torch and numpy import at the first gradient, optimizer or tensor from bytes: in a warm parent once, not per job
_LOADED_LATE = ("import torch._dynamo", "import numpy.ctypeslib", "import dlcv_lab.checking.probing")
_START_SECONDS = 180.0  # importing torch on a cold disk
_GRACE = 150.0  # the supervisor ends a job on time; this much later the runner ends the supervisor


class SandboxFault(RuntimeError):
    """The sandbox itself failed; no statement about the student's code follows from it."""


class _Died(Exception):
    """The warm parent ended, or was silent, without a report."""


@dataclass(frozen=True)
class Ended:
    """How a job ended, told by its supervisor."""

    killed: str | None = None  # "timeout", "memory", "output", "processes"
    signal: int = 0
    code: int = 0
    seconds: float = 0.0
    peak: int = 0  # bytes

    def outcome(self) -> Outcome:
        """Return the outcome of a case that got no answer."""
        if self.killed == "timeout":
            return Outcome("timeout", message="it ran out of time", seconds=self.seconds)
        if self.killed == "memory":
            return Outcome("memory", message="it used too much memory")
        if self.killed == "output":
            return Outcome("output", message="its answer is too large")
        if self.killed == "processes":
            return Outcome("signal", message="it started too many processes")
        if self.signal:
            name = signal.Signals(self.signal).name if self.signal in set(signal.Signals) else str(self.signal)
            return Outcome("signal", message=f"the process was killed by {name}")
        return Outcome("signal", message="the process ended by itself before it answered")


def statements_of(setup: str) -> tuple[str, ...]:
    """Return the different top-level statements of the set-ups of a chapter, for the warm parent to run beforehand."""
    return tuple(dict.fromkeys(ast.unparse(node) for node in ast.parse(setup).body))


class SandboxRunner:
    """Runs jobs one after another, each in a process of its own. Use one per thread or process.

    `level` is a name of `levels.LEVELS` (default: what the machine reaches); `setup` is the chapter's given set-up,
    which the warm parent runs once. With `cold`, or where a job cannot be given namespaces of its own, each job starts
    a sandbox from nothing: as safe, but with all imports (seconds instead of milliseconds). `device` "cuda" does so
    too, because a process that has used CUDA must not be forked.
    """

    def __init__(
        self, level: str | None = None, chapter: str = "", *, setup: str = "", cold: bool = False, device: str = "cpu"
    ) -> None:
        self.level = level or levels.detect()
        self.chapter, self.device = chapter, levels.require_device(device)
        self.cold = cold or device == "cuda"
        self.mechanism = levels.mechanism(self.level)
        self.setup = statements_of(setup)
        self.starts = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._launch: command.Launch | None = None
        self._ready = False

    def __enter__(self) -> SandboxRunner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def label(self) -> str:
        """Return the level by name, and "cold" where every job starts a sandbox from nothing (known after a job)."""
        if self.device != "cpu":
            return f"{self.level} ({self.device})"
        return f"{self.level} (cold)" if self.cold else self.level

    def run(self, job: Job) -> list[Outcome]:
        """Run a job and return one outcome per case. Never raises for what the student's code does."""
        from dlcv_lab.checking.wire import decode_outcome, encode_job  # they need torch; the warm parent starts without

        if self.device == "cuda":
            job = cuda.on_gpu(job)
        try:
            ended, raw = self.call(RUN, encode_job(job), job.limits)
        except SandboxFault as fault:
            return [Outcome("fault", message=str(fault)) for _ in job.inputs]
        outcomes = [_told(decode_outcome(frame, job.limits.output_bytes)) for frame in frames(raw, len(job.inputs))]
        outcomes += [ended.outcome()] * (len(job.inputs) - len(outcomes))
        return [replace(outcome, peak=ended.peak) for outcome in outcomes]

    def call(self, entry: str, payload: bytes, limits: Limits) -> tuple[Ended, bytes]:
        """Run one entry on `payload` in a fresh job; return how it ended and what it wrote.

        A job that was killed by a signal which nobody here sent (a machine short of memory does that), or whose warm
        parent died, is run once more. A second death of the warm parent is told as a fault: a job cannot reach it, so
        no student may be charged with it. In a cold sandbox only a filter of system calls keeps the job from it; on a
        processor for which there is none, the second death is the job's own.

        Raises:
            SandboxFault: the sandbox did not start, or died twice.
        """
        for last in (False, True):
            self._ensure()
            try:
                ended, raw = self._exchange(entry, payload, limits)
                if last or ended.killed or ended.signal != signal.SIGKILL:
                    return ended, raw
            except _Died:
                self.close()
                if last and self.cold and not syscalls.supported():
                    return Ended(signal=signal.SIGKILL), b""
                if last:
                    raise SandboxFault("the sandbox itself ended during this job, twice") from None
            except BaseException:
                self.close()
                raise
            finally:
                if self.cold:
                    self.close()
        raise AssertionError("unreachable")

    def start(self) -> None:
        """Begin to start the warm parent without waiting for it."""
        if self._process is not None:
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        setup = self.setup if self.cold else (*self.setup, *_LOADED_LATE)
        self._launch = command.launch(self.mechanism, setup, (RUN, READ), cold=self.cold, device=self.device)
        with theirs:
            if theirs.fileno() == 3:
                raise SandboxFault("descriptor 3 is taken")
            argv = [sys.executable, "-I", "-S", "-c", _AT_THREE, str(theirs.fileno()), *self._launch.argv]
            self._process = subprocess.Popen(
                argv, env=self._launch.env, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True, cwd="/",
            )  # fmt: skip
        self._control, self._ready = ours, False
        self.starts += 1

    def close(self) -> None:
        """End the warm parent and everything in it."""
        process, control, launch = self._process, self._control, self._launch
        self._process = self._control = self._launch = None
        if control is not None:
            control.close()
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.wait()
            if process.stderr is not None:
                process.stderr.close()
        if launch is not None:
            launch.clean()

    def _ensure(self) -> None:
        self.start()
        if self._ready:
            return
        ready = self._hear_ready()
        if self.mechanism == "bubblewrap" and not self.cold and not ready["nested"]:
            self.close()
            self.cold = True
            self._ensure()
        self._ready = True

    def _hear_ready(self) -> dict[str, Any]:
        assert self._control is not None
        assert self._process is not None
        raw, end = b"", time.monotonic() + _START_SECONDS
        while not raw.endswith(b"\n"):
            part = b""
            if select.select([self._control], [], [], max(0.0, end - time.monotonic()))[0]:
                part = self._control.recv(65536)
            if not part:
                said = self._last_words()
                self.close()
                raise SandboxFault(f"the sandbox did not start: {said}")
            raw += part
        ready: dict[str, Any] = json.loads(raw)
        if not ready["ready"]:
            self.close()
            raise SandboxFault(f"the sandbox could not import what it needs: {ready['why']}")
        return ready

    def _last_words(self) -> str:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        raw = self._process.stderr.read(4000) if self._process.stderr else b""
        return raw.decode("utf-8", "replace").strip() or "no message"

    def _exchange(self, entry: str, payload: bytes, limits: Limits) -> tuple[Ended, bytes]:
        assert self._control is not None
        uid = self._launch.uid if self._launch else None
        header = {"entry": entry, "limits": asdict(limits), "uid": uid, "level": self.mechanism, "device": self.device}
        answers, answers_in = os.pipe()
        report, report_in = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with tempfile.TemporaryFile() as job, report:
            job.write(payload)
            job.seek(0)
            try:
                with report_in:
                    socket.send_fds(
                        self._control, [json.dumps(header).encode()], [job.fileno(), answers_in, report_in.fileno()]
                    )
            except OSError:
                os.close(answers)
                raise _Died from None
            finally:
                os.close(answers_in)
            try:
                return self._listen(answers, report, limits)
            finally:
                os.close(answers)

    def _listen(self, answers: int, report: socket.socket, limits: Limits) -> tuple[Ended, bytes]:
        """Collect answers up to the cap until the supervisor reports; then nothing of the job is left to write."""
        raw, told, most = bytearray(), b"", limits.output_bytes + 2**20
        end = time.monotonic() + (1 + STRETCH) * limits.seconds + _GRACE
        sources: list[Any] = [report, answers]
        while not told.endswith(b"\n"):
            heard = select.select(sources, [], [], max(0.0, end - time.monotonic()))[0]
            if not heard:
                raise _Died
            if answers in heard:
                part = os.read(answers, 2**20)
                raw += part
                if not part:
                    sources.remove(answers)
                elif len(raw) > most:
                    sources.remove(answers)
                    report.shutdown(socket.SHUT_WR)
            if report in heard:
                part = report.recv(65536)
                if not part:
                    raise _Died
                told += part
        if answers in sources:
            raw += _drain(answers, most - len(raw))
        status = json.loads(told)
        if "fault" in status:
            raise SandboxFault(status["fault"])
        return Ended(**status), bytes(raw)


def _told(outcome: Outcome) -> Outcome:
    """Give torch's own words for an allocation beyond the limit their name."""
    if outcome.status == "raised" and "can't allocate memory" in outcome.message:
        return Outcome("memory", message="it asked for more memory than it may use")
    return outcome


# the warm parent hears on descriptor 3, whatever number the socket had on this side
_AT_THREE = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.execvp(sys.argv[2], sys.argv[2:])"


def _drain(descriptor: int, most: int) -> bytes:
    """Read what already lies in the pipe; a process that was left behind may still hold its other end."""
    os.set_blocking(descriptor, False)
    raw = bytearray()
    with contextlib.suppress(BlockingIOError):
        while len(raw) < most and (part := os.read(descriptor, 2**20)):
            raw += part
    return bytes(raw)
