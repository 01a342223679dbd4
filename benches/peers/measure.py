"""Run a command and say what it took: wall clock, processor seconds and memory of all its processes together."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_ACCOUNTS = Path("/sys/fs/cgroup/cpuacct")  # version 1
_UNIFIED = Path("/sys/fs/cgroup")  # version 2


@dataclass(frozen=True)
class Taken:
    """What a command took."""

    wall: float
    cpu: float | None  # None where the kernel does not let us count all processes
    peak_mib: float  # proportional set size of the whole tree, sampled
    code: int
    said: str  # the end of its output

    def figures(self) -> dict[str, float | None]:
        return {"wall_s": round(self.wall, 2), "cpu_s": None if self.cpu is None else round(self.cpu, 2),
                "peak_mib": round(self.peak_mib)}  # fmt: skip


class _Account:
    """A control group that counts processor time, also of processes that nobody waits for."""

    def __init__(self) -> None:
        old = _ACCOUNTS.is_dir()
        self.path = (_ACCOUNTS if old else _UNIFIED) / f"dlcv-bench-{os.getpid()}-{time.monotonic_ns()}"
        self.works = False
        with contextlib.suppress(OSError):
            self.path.mkdir()
            self.works = (self.path / ("cpuacct.usage" if old else "cpu.stat")).exists()

    def enter(self) -> None:
        if self.works:
            (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def seconds(self) -> float | None:
        if not self.works:
            return None
        if (self.path / "cpuacct.usage").exists():
            return int((self.path / "cpuacct.usage").read_text()) / 1e9
        return int((self.path / "cpu.stat").read_text().split()[1]) / 1e6

    def close(self) -> None:
        for _ in range(50):
            try:
                self.path.rmdir()
                return
            except OSError:
                time.sleep(0.1)


def take(
    command: Sequence[str], *, cwd: Path, env: Mapping[str, str] | None = None, limit: float = 460, sample: float = 2.0
) -> Taken:
    """Run a command to its end, or for `limit` seconds; then `code` is 124."""
    account, end = _Account(), threading.Event()
    peak = [0.0]
    started = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=cwd, env=dict(os.environ | (env or {})), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", preexec_fn=account.enter, start_new_session=True,
    )  # fmt: skip
    watch = threading.Thread(target=_watch, args=(process.pid, end, peak, sample), daemon=True)
    watch.start()
    try:
        said, code = process.communicate(timeout=limit)[0], process.returncode
    except subprocess.TimeoutExpired:
        _end(process.pid)
        said, code = process.communicate()[0], 124
    wall = time.perf_counter() - started
    end.set()
    watch.join()
    cpu = account.seconds()
    account.close()
    return Taken(wall, cpu, peak[0], code, said[-2000:])


def _watch(pid: int, end: threading.Event, peak: list[float], sample: float) -> None:
    while not end.wait(sample):
        total = 0.0
        for process in _tree(pid):
            total += _share(process.pid)
        peak[0] = max(peak[0], total / 2**20)


def _share(pid: int) -> int:
    """Return the proportional set size of a process in bytes; the kernel's own sum, which is quick to read."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_bytes().splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _tree(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    return []


def _end(pid: int) -> None:
    for process in reversed(_tree(pid)):
        with contextlib.suppress(psutil.Error):
            process.kill()
