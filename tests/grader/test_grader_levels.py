"""The isolation levels: what runs where, what is refused, and what one job cannot do to the next at each of them."""

from __future__ import annotations

import os

import psutil
import pytest

from autograder.sandbox import IsolationError, SandboxRunner, levels, require
from autograder.sandbox.inside import syscalls
from autograder.sandbox.runner import Ended, statements_of
from dlcv_lab.checking.envelope import encode
from dlcv_lab.checking.model import Job, Limits, Outcome, Program

SETUP = "import torch, torch.nn.functional as F\nfrom torch import nn"
PROBE = "def run(ns, data):\n    return ns.f(**data)\n"
LIMITS = Limits(seconds=2.0, cpu_seconds=2.0, memory_mib=300, output_bytes=2**20)


def outcomes(runner: SandboxRunner, code: str, *cases: dict[str, object]) -> list[Outcome]:
    job = Job(Program(SETUP, (code,), True), PROBE, tuple(encode(case) for case in cases or ({},)), limits=LIMITS)
    return runner.run(job)


def reachable() -> list[str]:
    found = ["none"]
    if levels.bubblewrap_works():
        found.append("bubblewrap")
    if os.name == "posix" and os.geteuid() == 0:
        found.append("uid")
    return found


@pytest.mark.sandbox
@pytest.mark.parametrize("level", reachable())
def test_one_bad_job_does_not_touch_the_next(level: str) -> None:
    with SandboxRunner(level, setup=SETUP) as runner:
        assert outcomes(runner, "def f(): return torch.arange(3)")[0].value.tolist() == [0, 1, 2]
        assert outcomes(runner, "def f(): import os; os._exit(3)")[0].status == "signal"
        assert outcomes(runner, "def f():\n    while True: pass")[0].status == "timeout"
        assert (
            outcomes(runner, "def f():\n    x = []\n    while True: x.append(bytearray(2**22))")[0].status == "memory"
        )
        assert outcomes(runner, "def f(): return torch.zeros(2**20)")[0].status == "output"
        assert outcomes(runner, "def f(): return torch.ones(2)")[0].value.tolist() == [1, 1]
        assert runner.starts == 1, "the warm parent survives whatever a job does"


@pytest.mark.slow
@pytest.mark.sandbox
@pytest.mark.skipif(not levels.bubblewrap_works(), reason="bubblewrap is not available")
def test_a_cold_sandbox_gives_the_same_answers() -> None:
    with SandboxRunner("bubblewrap", setup=SETUP, cold=True) as runner:
        assert outcomes(runner, "def f(): return torch.ones(2)")[0].value.tolist() == [1, 1]
        killed = "def f():\n    import os\n    os.kill(-1, 9)\n    os.kill(os.getppid(), 9)"
        assert outcomes(runner, killed)[0].status == "signal"


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
def test_the_filter_ends_in_a_decision(machine: str) -> None:
    """Every jump of the system-call filter lands inside it, and it never falls off its end."""
    raw = syscalls.program(machine)
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
