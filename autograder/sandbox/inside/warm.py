"""The warm parent: imports once what a chapter needs, then forks one shut-in child per job. It holds nothing secret.

It talks to the runner over one socket (descriptor 3). A request is one JSON header with three descriptors: the job's
bytes, the pipe for its answers, and a socket on which this process reports how the job ended. No student byte ever
runs here; the job is a child, process 1 of a namespace of its own, without capabilities.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from . import STRETCH, confine, large_pages

_TICK = 0.02  # seconds between two looks of the watchdog
_NESTED = ("bubblewrap",)  # levels at which a job gets namespaces of its own
_SHUT_IN = 120  # seconds for our own steps in the child, on the busiest machine
_HERTZ = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Serve jobs until the runner closes the socket."""
    options = json.loads(sys.argv[1])
    sys.path[:0] = options["first"]
    sys.path.extend(options["last"])
    control = socket.socket(fileno=3)
    confine.hide_memory(True)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a kernel, whatever the grader does with Ctrl-C
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    ready: dict[str, Any] = {"ready": True}
    gc.disable()  # collections cost a quarter of the imports, and what is imported stays
    try:
        if options["closed"]:
            confine.open_closed(options["closed"])
        scope: dict[str, Any] = {"__name__": "warm"}
        for statement in options["setup"]:  # our own text; run here, so that whatever it loads is there in every fork
            with contextlib.suppress(Exception):  # the job itself will say what is missing
                exec(statement, scope)
        import torch

        torch.set_num_threads(1)
        torch.zeros(1, dtype=torch.float16).double()  # reads the processor's description, out of reach for a job
        entries = {name: _entry(name) for name in options["entries"]}
        ready["nested"] = options["level"] in _NESTED and not options["cold"] and _can_nest()
    except BaseException:
        ready = {"ready": False, "why": traceback.format_exc(limit=4)}
        entries = {}
    gc.freeze()
    gc.enable()
    control.sendall(json.dumps(ready).encode() + b"\n")
    small = iter(()) if options["cold"] else large_pages.own_places()
    while entries:
        large_pages.enlarge_while_idle(small, control)
        raw, descriptors, _, _ = socket.recv_fds(control, 65536, 3)
        if not raw:
            break
        header = json.loads(raw)
        _supervise(header, entries[header["entry"]], descriptors, options["level"], ready["nested"])
        if options["cold"]:
            break
    os._exit(0)


def _entry(name: str) -> Any:
    module, function = name.split(":")
    return getattr(importlib.import_module(module), function)


def _can_nest() -> bool:
    """Try once whether a job can be given namespaces of its own."""
    try:
        child = confine.fork_as_first()
    except OSError:
        return False
    if child == 0:
        try:
            confine.private_namespaces(1)
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def _supervise(header: dict[str, Any], entry: Any, descriptors: list[int], level: str, nested: bool) -> None:
    """Start one job, watch it, report how it ended, and leave nothing of it behind."""
    job, answers, report = descriptors
    status: dict[str, Any] = {}
    scratch = None
    try:
        if level != "bubblewrap":
            scratch = tempfile.mkdtemp(prefix="dlcv-")
            os.chmod(scratch, 0o777)
        others = _pids()
        base, data_now = _memory(os.getpid())
        opened, told = os.pipe()
        child = confine.fork_as_first() if nested else os.fork()
        if child == 0:
            _job(header, entry, job, answers, told, nested, scratch, data_now)
        os.close(told)
        status = _Watch(child, header, level, nested, others | {child}, base, report).until_the_end(opened)
    except BaseException:
        status = {"fault": traceback.format_exc(limit=4)}
    finally:
        with contextlib.suppress(OSError):
            os.write(report, json.dumps(status).encode() + b"\n")
        for descriptor in descriptors:
            os.close(descriptor)
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def _job(
    header: dict[str, Any], entry: Any, job: int, answers: int, told: int, nested: bool, scratch: str | None,
    data_now: int,
) -> None:  # fmt: skip
    """Shut this process in, say so, run the entry, end. Never returns."""
    try:
        supervisor = () if nested else confine.threads_of(os.getppid())
        os.setsid()
        confine.only_descriptors((job, answers, told))
        if nested:
            confine.private_namespaces(header["limits"]["scratch_mib"])
        os.chdir(scratch or "/tmp")
        confine.limit(header["limits"], data_now, header.get("device", "cpu"))
        if header["uid"] is not None:
            confine.become(header["uid"])
        if header["level"] != "none":
            confine.drop_privileges(supervisor)
        confine.hide_memory(False)
        os.write(told, b"in")
    except BaseException:
        os.write(told, traceback.format_exc(limit=3).encode()[:4000])
        os._exit(1)
    os.close(told)
    code = 1
    try:
        entry(job, answers)
        code = 0
    finally:
        os._exit(code)


class _Watch:
    """The watchdog of one job: wall clock, memory and number of processes of the whole tree."""

    def __init__(
        self, child: int, header: dict[str, Any], level: str, nested: bool, known: set[int], base: int, report: int
    ) -> None:
        self.child, self.limits, self.uid = child, header["limits"], header["uid"]
        self.level, self.nested, self.known, self.base, self.report = level, nested, known, base, report
        self.charged = self.busy = 0.0

    def until_the_end(self, opened: int) -> dict[str, Any]:
        """Return how the job ended; afterwards none of its processes is left."""
        pidfd = os.pidfd_open(self.child)
        try:
            return self._watch(opened, pidfd)
        finally:
            os.close(pidfd)

    def _watch(self, opened: int, pidfd: int) -> dict[str, Any]:
        message = _read_all(opened, seconds=_SHUT_IN)
        if message != b"in":
            self._kill()
            os.waitpid(self.child, 0)
            return {"fault": "the job could not be shut in: " + message.decode("utf-8", "replace")}
        begin, killed, peak = time.monotonic(), None, 0
        last, longest = begin, (1 + STRETCH) * self.limits["seconds"]
        most_busy = self.limits["cpu_seconds"] + 1
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.register(self.report, select.POLLIN)  # the runner hangs up: it wants no more of this job
        while killed is None:
            events = dict(poll.poll(_TICK * 1000))
            if pidfd in events:
                break
            memory, processes, busy = self._look()
            peak = max(peak, memory)
            now = time.monotonic()
            self._charge(now - last, busy)
            last = now
            if self.report in events:
                killed = "output"
            elif busy > most_busy or self.charged > self.limits["seconds"] or now > begin + longest:
                killed = "timeout"
            elif memory > self.limits["memory_mib"] * 2**20:
                killed = "memory"
            elif processes > 2 * self.limits["processes"] + 16:
                killed = "processes"
        self._kill()
        _, code, usage = os.wait4(self.child, 0)
        seconds = time.monotonic() - begin
        self._kill_strays()
        signal_number = os.WTERMSIG(code) if os.WIFSIGNALED(code) else 0
        # the kernel counts processor time in ticks and kills a little before the clock that we read says so
        spent = usage.ru_utime + usage.ru_stime >= 0.95 * self.limits["cpu_seconds"]
        if killed is None and signal_number and (spent or signal_number == signal.SIGXCPU):
            killed = "timeout"
        return {"killed": killed, "signal": signal_number, "code": os.waitstatus_to_exitcode(code),
                "seconds": seconds, "peak": peak}  # fmt: skip

    def _members(self) -> list[int]:
        return [pid for pid in _pids() - self.known if self._ours(pid) and not _is_zombie(pid)] + [self.child]

    def _ours(self, pid: int) -> bool:
        """Inside bubblewrap everything new is the job's; elsewhere its uid or its parents tell."""
        if self.level == "bubblewrap":
            return True
        if self.uid is not None:
            with contextlib.suppress(OSError):
                return os.stat(f"/proc/{pid}").st_uid == self.uid
            return False
        while pid > 1:
            if pid == self.child:
                return True
            pid = _parent(pid)
        return False

    def _charge(self, seconds: float, busy: float) -> None:
        """Charge the time since the last look: all of it to a job that sleeps, only its processor time to one that was
        ready to run or waited for the disk, because then the machine kept it waiting."""
        fields = _stat(self.child)
        kept_waiting = bool(fields) and fields[0] in "RD"
        self.charged += min(seconds, max(0.0, busy - self.busy)) if kept_waiting else seconds
        self.busy = busy

    def _look(self) -> tuple[int, int, float]:
        """Return memory in bytes, number of processes and seconds of processor time of the whole tree."""
        members = self._members()
        memory = sum(max(0, _memory(pid)[0] - self.base) for pid in members)
        return memory, len(members), sum(_busy(pid) for pid in members)

    def _kill(self) -> None:
        """Kill the job; where it is process 1 of its own namespace, the kernel kills all the rest with it."""
        members = [] if self.nested else self._members()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.child, signal.SIGKILL)
        for pid in members:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def _kill_strays(self) -> None:
        """Without namespaces: kill what the job left behind, until a look finds nothing."""
        for _ in range(200):
            strays = [] if self.nested else [pid for pid in self._members() if pid != self.child]
            if not strays:
                return
            for pid in strays:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)


def _read_all(descriptor: int, seconds: float) -> bytes:
    """Read until the other end closes, at most `seconds` long."""
    raw, end = b"", time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and select.select([descriptor], [], [], left)[0]:
        part = os.read(descriptor, 4096)
        if not part:
            break
        raw += part
    os.close(descriptor)
    return raw


def _pids() -> set[int]:
    return {int(name) for name in os.listdir("/proc") if name.isdigit()} if os.path.isdir("/proc") else set()


def _memory(pid: int) -> tuple[int, int]:
    """Return (anonymous and shared memory, size of the data segment) of a process in bytes; zeros when it is gone."""
    own = data = 0
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_bytes().splitlines():
            if line.startswith((b"RssAnon:", b"RssShmem:")):
                own += int(line.split()[1]) * 1024
            elif line.startswith(b"VmData:"):
                data = int(line.split()[1]) * 1024
    return own, data


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on; empty when the process is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return []


def _busy(pid: int) -> float:
    """Return the processor seconds of a process and of its children that have ended."""
    return sum(map(int, _stat(pid)[11:15])) / _HERTZ


def _parent(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def _is_zombie(pid: int) -> bool:
    return _stat(pid)[:1] == ["Z"]
