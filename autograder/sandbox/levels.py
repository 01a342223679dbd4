"""The isolation levels by name, what this machine can reach, and the refusal below the level that was asked for."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys

LEVELS: dict[str, int] = {"vm": 4, "container": 3, "bubblewrap": 3, "uid": 2, "none": 0}
DEFAULT_MINIMUM = "bubblewrap"


class IsolationError(RuntimeError):
    """The machine cannot reach the isolation that was asked for."""


@functools.cache
def bubblewrap_works() -> bool:
    """Say whether bubblewrap is installed and may make namespaces here."""
    if not sys.platform.startswith("linux") or shutil.which("bwrap") is None:
        return False
    probe = ["bwrap", "--unshare-user", "--unshare-pid", "--unshare-net", "--ro-bind", "/", "/", "--proc", "/proc",
             "--", "true"]  # fmt: skip
    try:
        return subprocess.run(probe, capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def declared() -> str | None:
    """Return the level that our container or virtual machine declares about itself in DLCV_ISOLATION."""
    name = os.environ.get("DLCV_ISOLATION", "")
    return name if name in ("vm", "container") else None


def detect() -> str:
    """Return the name of the highest level that this machine reaches.

    `vm` and `container` are declared by the image that we ship; inside them jobs are still told apart by bubblewrap
    or by uid, whichever works.
    """
    if declared() == "vm":
        return "vm"
    if bubblewrap_works():
        return "bubblewrap"
    if declared() == "container":
        return "container"
    if sys.platform.startswith("linux") and os.geteuid() == 0:
        return "uid"
    return "none"


def mechanism(level: str) -> str:
    """Return how jobs are shut in at `level`: "bubblewrap", "uid" or "none"."""
    if level in ("bubblewrap", "uid", "none"):
        return level
    if bubblewrap_works():
        return "bubblewrap"
    return "uid" if sys.platform.startswith("linux") and os.geteuid() == 0 else "none"


def require(minimum: str = DEFAULT_MINIMUM, level: str | None = None) -> str:
    """Return the level to grade at; raise `IsolationError` when it is below `minimum`.

    Nothing falls back silently: a machine that reaches less than the minimum is told what to install or to allow.
    """
    for name in (minimum, level):
        if name is not None and name not in LEVELS:
            raise IsolationError(f"there is no isolation level {name!r}; the levels are {', '.join(LEVELS)}")
    reached = level or detect()
    if not sys.platform.startswith("linux"):
        raise IsolationError(
            f"the grader's sandbox needs Linux and this is {sys.platform}: grade in the container from the Dockerfile, "
            "or on a Linux machine (students' own `dlcv check` works everywhere)"
        )
    if LEVELS[reached] < LEVELS[minimum]:
        raise IsolationError(
            f"this machine reaches isolation level {reached!r} and {minimum!r} is the minimum. Install the sandbox "
            "(Debian, Ubuntu: `apt-get install bubblewrap`; macOS, Windows: grade in the container from the "
            f"Dockerfile), or allow less with `--min-isolation {reached}`"
            + (": then a submission can read and change everything that you can." if reached == "none" else ".")
        )
    if LEVELS[minimum] > LEVELS["none"] and mechanism(reached) == "none":
        raise IsolationError(
            f"this machine says that it is a {reached}, but jobs cannot be told apart inside it: bubblewrap does not "
            "work and the grader is not root. Allow user namespaces (docker: `--security-opt seccomp=unconfined`), run "
            "the grader as root inside it, or allow less with `--min-isolation none`: then a submission can read the "
            "secret."
        )
    if mechanism(reached) == "uid":
        from autograder.sandbox import closed_folders

        if found := closed_folders.trouble():
            raise IsolationError(f"isolation level {reached!r}: {found}")
    return reached


def require_device(device: str) -> str:
    """Return `device` if jobs can run on it here; raise `IsolationError` with the reason otherwise."""
    if device not in ("cpu", "cuda"):
        raise IsolationError(f"there is no device {device!r} for grading; write cpu or cuda")
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise IsolationError(
                "--device cuda: torch finds no GPU here; install a build of torch with CUDA and the driver, or leave "
                "--device out (exercises are made for the processor and give the same verdicts there)"
            )
    return device
