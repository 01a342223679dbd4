"""What keeps this machine from a higher isolation level, and what to do about it: for `dlcv doctor`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from autograder.sandbox import closed_folders, levels

Line = tuple[str, bool | None, str, str]  # name, ok (None: for information), text, remedy

SETTINGS = Path("/proc/sys")
# setting of the kernel -> (the value that forbids unprivileged user namespaces, the one that allows them)
RESTRICTIONS = {
    "kernel.apparmor_restrict_unprivileged_userns": ("1", "0"),  # Ubuntu 23.10 and newer
    "kernel.unprivileged_userns_clone": ("0", "1"),  # Debian before 11
    "user.max_user_namespaces": ("0", "15000"),
}
CONTAINER = "docker/Dockerfile.grader, as docs/install.md shows"


def examine() -> list[Line]:
    """Return the doctor's lines about the sandbox: the level that is reached, and the way to the next one."""
    if not sys.platform.startswith("linux"):
        return [("grader's sandbox", False, "it needs Linux; `dlcv check` works everywhere",
                 f"grade in the container: {CONTAINER}")]  # fmt: skip
    level = levels.detect()
    means = levels.mechanism(level)
    text = f"isolation level {level}" + (f", jobs shut in by {means}" if means != level else "")
    if means == "uid" and (found := closed_folders.trouble()):
        why, _, remedy = found.partition(": ")
        return [("grader's sandbox", False, f"{text}, but {why}", f"{_way_to_bubblewrap()}; or {remedy}")]
    enough = levels.LEVELS[level] >= levels.LEVELS[levels.DEFAULT_MINIMUM]
    if not enough:
        return [("grader's sandbox", False, text, _way_to_bubblewrap())]
    lines: list[Line] = [("grader's sandbox", True, text, "")]
    if level == "bubblewrap":
        more = "for a hostile crowd: grade in a virtual machine of its own with DLCV_ISOLATION=vm"
        lines.append(("next isolation level", None, "vm", more))
    if level in ("container", "vm") and means == "none":
        lines.append(("jobs among themselves", None, "nothing tells one job from another here", _way_to_bubblewrap()))
    return lines


def _way_to_bubblewrap() -> str:
    if shutil.which("bwrap") is None:
        return f"sudo apt-get install bubblewrap (Debian, Ubuntu), or grade in the container: {CONTAINER}"
    found = forbidding()
    if found:
        settings = " ".join(f"{name}={RESTRICTIONS[name][1]}" for name in found)
        return (
            f"this kernel forbids bubblewrap its namespaces: sudo sysctl -w {settings} (for good: a line for each in "
            f"/etc/sysctl.d/dlcv.conf), or grade in the container: {CONTAINER}"
        )
    return (
        "bubblewrap is installed and may not make namespaces, as in most containers: run this on the machine itself, "
        f"or in the image that says so about itself: {CONTAINER}"
    )


def forbidding() -> list[str]:
    """Return the settings of the kernel that keep an ordinary user from making namespaces."""
    found = []
    for name, (bad, _) in RESTRICTIONS.items():
        try:
            value = SETTINGS.joinpath(*name.split(".")).read_text().strip()
        except OSError:
            continue
        if value == bad:
            found.append(name)
    return found
