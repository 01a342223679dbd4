"""The isolation levels: what runs where, what is refused, and what one job cannot do to the next at each of them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest
import torch

from autograder.sandbox import IsolationError, SandboxRunner, advice, closed_folders, command, cuda, levels, require
from autograder.sandbox.inside import syscalls, warm
from autograder.sandbox.runner import Ended, statements_of
from dlcv_lab.checking.envelope import encode
from dlcv_lab.checking.execute import load_probe
from dlcv_lab.checking.model import Job, Limits, Outcome, Program

SETUP = "import torch, torch.nn.functional as F\nfrom torch import nn"
PROBE = "def run(ns, data):\n    return ns.f(**data)\n"
LIMITS = Limits(seconds=60.0, cpu_seconds=60.0, memory_mib=300, output_bytes=2**20)
SHORT = Limits(seconds=2.0, cpu_seconds=2.0, memory_mib=300, output_bytes=2**20)

REACH_UP = """
def f():
    import ctypes, fcntl, os
    libc, up, done = ctypes.CDLL(None), os.getppid(), []
    here, there = os.pipe()
    for name, call in {
        "all": lambda: os.kill(-1, 9), "up": lambda: os.kill(up, 9), "group": lambda: os.kill(-up, 9),
        "thread": lambda: os.kill(up, 15), "first": lambda: os.kill(1, 9),
        "limit": lambda: __import__("resource").prlimit(up, 0, (0, 0)),
        "owner": lambda: fcntl.fcntl(here, fcntl.F_SETOWN, up),
        "memory": lambda: os.open(f"/proc/{up}/mem", os.O_RDWR), "files": lambda: os.listdir(f"/proc/{up}/fd"),
        "secrets": lambda: open(f"/proc/{up}/environ").read(),
        "pidfd": lambda: __import__("signal").pidfd_send_signal(os.pidfd_open(up), 9),
    }.items():
        try:
            call()
            done.append(name)
        except OSError:
            pass
    return [name for name in done if name != "first"]
"""


def outcomes(runner: SandboxRunner, code: str, *cases: dict[str, object], limits: Limits = LIMITS) -> list[Outcome]:
    job = Job(Program(SETUP, (code,), True), PROBE, tuple(encode(case) for case in cases or ({},)), limits=limits)
    return runner.run(job)


def reachable() -> list[str]:
    found = ["none"]
    if levels.bubblewrap_works():
        found.append("bubblewrap")
    if os.name == "posix" and os.geteuid() == 0:
        found.append("uid")
    return found


HALF = """
def f():
    x = torch.full((4, 4), 0.5).to(torch.float16)
    return (x @ x + x).to(torch.float64)
"""


@pytest.mark.slow
@pytest.mark.sandbox
@pytest.mark.parametrize("level", reachable())
def test_half_precision_works_in_a_job(level: str) -> None:
    """Torch looks at the processor's description when it first meets float16."""
    with SandboxRunner(level, setup=SETUP) as runner:
        (outcome,) = outcomes(runner, HALF)
    assert outcome.status == "value", outcome
    assert outcome.value.tolist() == [[1.5] * 4] * 4


@pytest.mark.slow
@pytest.mark.sandbox
@pytest.mark.parametrize("level", reachable())
def test_one_bad_job_does_not_touch_the_next(level: str) -> None:
    with SandboxRunner(level, setup=SETUP) as runner:
        assert outcomes(runner, "def f(): return torch.arange(3)")[0].value.tolist() == [0, 1, 2]
        assert outcomes(runner, "def f(): import os; os._exit(3)")[0].status == "signal"
        assert outcomes(runner, "def f():\n    while True: pass", limits=SHORT)[0].status == "timeout"
        assert (
            outcomes(runner, "def f():\n    x = []\n    while True: x.append(bytearray(2**22))")[0].status == "memory"
        )
        assert outcomes(runner, "def f(): return torch.zeros(2**20)")[0].status == "output"
        assert outcomes(runner, "def f(): return torch.ones(2)")[0].value.tolist() == [1, 1]
        assert runner.starts == 1, "the warm parent survives whatever a job does"


@pytest.mark.sandbox
@pytest.mark.parametrize("level", reachable())
def test_a_job_can_import_what_nobody_has_loaded_yet(level: str) -> None:
    """At level `uid` it is another user by then, and Python may lie below a home folder that is closed to it."""
    with SandboxRunner(level, setup=SETUP) as runner:
        code = "def f():\n    import sys, this\n    return [sys.modules['this'].__name__, len(this.s) > 99]"
        assert outcomes(runner, code)[0].value == ["this", True]
        if closed_folders.closed_above(closed_folders.needed()):  # what else lies in the closed folder is out of sight
            top, shown = next(iter(closed_folders.closed_above(closed_folders.needed()).items()))
            listed = outcomes(runner, f"def f():\n    import os\n    return os.listdir({top!r})")[0]
            assert level == "none" or set(listed.value or ()) <= {Path(p).relative_to(top).parts[0] for p in shown}


def test_a_closed_folder_above_python_is_found_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "home" / "python"
    python.mkdir(parents=True)
    (tmp_path / "home").chmod(0o700)
    assert str(python) in [path for paths in closed_folders.closed_above([python]).values() for path in paths]
    monkeypatch.setattr(closed_folders, "needed", lambda: [python])
    monkeypatch.setattr(closed_folders, "may_mount", lambda: False)
    monkeypatch.setattr(levels, "mechanism", lambda level: "uid")
    with pytest.raises(IsolationError, match=r"closed to them.*in /opt.*SYS_ADMIN"):
        require("uid", "uid")
    monkeypatch.setattr(levels, "detect", lambda: "uid")
    (line,) = advice.examine()
    assert (line[1], "closed" in line[2], "/opt" in line[3]) == (False, True, True)
    python.chmod(0o700)
    with pytest.raises(IsolationError, match=r"chmod -R o\+rX"):
        require("uid", "uid")


@pytest.mark.slow
@pytest.mark.sandbox
@pytest.mark.skipif(not levels.bubblewrap_works(), reason="bubblewrap is not available")
def test_a_cold_sandbox_gives_the_same_answers() -> None:
    with SandboxRunner("bubblewrap", setup=SETUP, cold=True) as runner:
        assert outcomes(runner, "def f(): return torch.ones(2)")[0].value.tolist() == [1, 1]
        assert runner.label == "bubblewrap (cold)"
        ended = outcomes(runner, REACH_UP)[0]
        assert (ended.value, runner.starts) == ([], 2), "a job can neither end nor read its supervisor"
        assert outcomes(runner, "def f():\n    import os\n    os.kill(os.getpid(), 9)")[0].status == "signal"


@pytest.mark.slow
@pytest.mark.sandbox
@pytest.mark.skipif(len(reachable()) < 3, reason="needs root and bubblewrap")
def test_two_sandboxes_side_by_side_do_not_end_each_others_jobs() -> None:
    """Root's sandboxes once shared a user: what one of them cleared away could be the other's job."""
    sleep = "def f():\n    import time\n    time.sleep({})\n    return 1"
    with SandboxRunner("bubblewrap", setup=SETUP) as one, SandboxRunner("uid", setup=SETUP) as other:
        for runner in (one, other):
            assert outcomes(runner, "def f(): return 1")[0].value == 1
        with ThreadPoolExecutor(2) as pool:
            short = pool.submit(outcomes, other, sleep.format(2))
            long = pool.submit(outcomes, one, sleep.format(4))
            assert [short.result()[0].value, long.result()[0].value] == [1, 1]
        users = {runner._launch.user.uid for runner in (one, other) if runner._launch and runner._launch.user}
        assert len(users) == 2


@pytest.mark.sandbox
def test_waiting_for_a_processor_is_not_charged(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = warm._Watch(os.getpid(), {"limits": asdict(SHORT), "uid": None}, "none", False, set(), 0, 0)
    monkeypatch.setattr(warm, "_stat", lambda pid: ["R"])
    watch._charge(10.0, 0.5)
    assert watch.charged == 0.5, "ready to run: its processor time alone"
    monkeypatch.setattr(warm, "_stat", lambda pid: ["S"])
    watch._charge(10.0, 0.5)
    assert watch.charged == 10.5, "asleep: all of it"


def test_a_gpu_is_asked_for_by_name_and_spawned_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The choice only: whether a job runs on a GPU was not tried here."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(IsolationError, match="finds no GPU"):
        SandboxRunner("none", device="cuda")
    with pytest.raises(IsolationError, match="cpu or cuda"):
        SandboxRunner("none", device="tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(command, "gpu_devices", lambda: [Path("/dev/null")])
    runner = SandboxRunner("bubblewrap", device="cuda")
    assert (runner.cold, runner.label) == (True, "bubblewrap (cuda)"), "never forked from a process that has CUDA"
    made = command.launch("none", (), (), cold=True, device="cuda")
    assert made.env["CUDA_VISIBLE_DEVICES"]
    made.clean()
    made = command.launch("none", (), (), cold=True)
    assert made.env["CUDA_VISIBLE_DEVICES"] == ""
    made.clean()


def test_a_job_for_a_gpu_moves_its_inputs_there() -> None:
    job = cuda.on_gpu(Job(Program("", (), True), "def run(ns, data):\n    return data['x'] + torch.ones(2)\n", ()))
    probe = load_probe(job.probe)
    x = torch.arange(2.0)
    assert probe(None, {"x": x, "more": [x, {"y": (x,)}]}, device="cpu").tolist() == [1, 2]
    assert probe(None, {"x": x}, device="meta").device.type == "meta"


@pytest.mark.slow
@pytest.mark.sandbox
@pytest.mark.skipif(not levels.bubblewrap_works(), reason="bubblewrap is not available")
def test_a_killed_warm_parent_is_started_again() -> None:
    with SandboxRunner("bubblewrap", setup=SETUP) as runner:
        outcomes(runner, "def f(): return 1")
        assert runner._process is not None
        below = psutil.Process(runner._process.pid).children(recursive=True)
        warm = next(process for process in below if process.name().startswith("python"))
        warm.kill()
        warm.wait(5)
        assert outcomes(runner, "def f(): return 2")[0].value == 2
        assert runner.starts == 2


@pytest.mark.sandbox
def test_later_cases_of_a_job_that_ends_early_have_no_value() -> None:
    code = "def f(last):\n    import os\n    if last: os._exit(0)\n    return 1"
    with SandboxRunner("none", setup=SETUP) as runner:
        found = outcomes(runner, code, {"last": False}, {"last": True}, {"last": False})
    assert [outcome.status for outcome in found] == ["value", "signal", "signal"]


def test_below_the_minimum_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels, "detect", lambda: "none")
    with pytest.raises(IsolationError, match=r"apt-get install bubblewrap.*--min-isolation none"):
        require("bubblewrap")
    assert require("none") == "none"
    with pytest.raises(IsolationError, match="no isolation level 'strong'"):
        require("strong")


def test_a_container_says_so_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels, "bubblewrap_works", lambda: False)
    monkeypatch.setenv("DLCV_ISOLATION", "container")
    assert levels.detect() == "container"
    assert require("bubblewrap") == "container"
    monkeypatch.setenv("DLCV_ISOLATION", "a spaceship")
    assert levels.detect() in ("uid", "none")


def test_the_parent_runs_every_statement_of_the_set_ups_once() -> None:
    assert statements_of(SETUP + "\n" + SETUP) == ("import torch, torch.nn.functional as F", "from torch import nn")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("protect", [(), (2, 3)])
def test_the_filter_ends_in_a_decision(machine: str, protect: tuple[int, ...]) -> None:
    """Every jump of the system-call filter lands inside it, and it never falls off its end."""
    raw = syscalls.program(machine, protect)
    steps = [(raw[i], raw[i + 2], raw[i + 3]) for i in range(0, len(raw), 8)]
    for at, (code, yes, no) in enumerate(steps):
        if code & 7 == 5:
            assert at + 1 + max(yes, no) < len(steps)
    assert steps[-1][0] == 6


def test_how_a_job_ended_is_told_in_one_status() -> None:
    assert Ended(killed="timeout").outcome().status == "timeout"
    assert Ended(killed="memory").outcome().status == "memory"
    assert "SIGSEGV" in Ended(signal=11).outcome().message
    assert Ended().outcome().status == "signal"
