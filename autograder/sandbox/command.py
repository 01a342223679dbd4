"""The command line that starts a warm parent: what it may see, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from autograder.sandbox import closed_folders, users
from autograder.sandbox.imports import INSIDE, PACKAGE, site_packages

_HOME = "/dlcv"  # where the student's package and the warm parent lie inside
_SITE = "/site"
_START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from inside.warm import main; main()"


@dataclass(frozen=True)
class Launch:
    """How to start a warm parent."""

    argv: list[str]
    env: dict[str, str]
    uid: int | None = None  # jobs become this user
    user: users.User | None = None  # claimed for as long as the warm parent lives
    remove: list[Path] = field(default_factory=list)

    def clean(self) -> None:
        """Remove what was made for the warm parent, and let its user go."""
        for path in self.remove:
            shutil.rmtree(path, ignore_errors=True)
        if self.user is not None:
            self.user.release()


def environment(home: str, device: str = "cpu") -> dict[str, str]:
    """Return the whole environment of student code."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0") if device == "cuda" else ""
    return {
        "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": home, "TMPDIR": home, "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "agg",
        "MPLCONFIGDIR": home, "PYTHONDONTWRITEBYTECODE": "1", "CUDA_VISIBLE_DEVICES": visible,
    }  # fmt: skip


def launch(
    mechanism: str, setup: tuple[str, ...], entries: tuple[str, ...], *, cold: bool, device: str = "cpu"
) -> Launch:
    """Return the command for `mechanism` ("bubblewrap", "uid" or "none"); for `device` "cuda" with the GPU in reach."""
    if mechanism == "bubblewrap":
        return _bubblewrap(setup, entries, cold, device)
    return _plain(mechanism, setup, entries, cold, device)


def gpu_devices() -> list[Path]:
    """Return the device files of NVIDIA GPUs."""
    return [*sorted(Path("/dev").glob("nvidia*")), *(path for path in (Path("/dev/dxg"),) if path.exists())]


def _options(
    level: str, setup: tuple[str, ...], entries: tuple[str, ...], cold: bool, folders: list[str],
    closed: dict[str, list[str]] | None = None,
) -> str:  # fmt: skip
    return json.dumps({"level": level, "first": [], "last": folders, "setup": setup, "entries": entries,
                       "cold": cold, "closed": closed or {}})  # fmt: skip


def _bubblewrap(setup: tuple[str, ...], entries: tuple[str, ...], cold: bool, device: str) -> Launch:
    python = Path(sys.base_prefix).resolve()
    folders = site_packages()
    inner_sites = [f"{_SITE}/{index}" for index in range(len(folders))]
    visible = [(python, str(python))] if not python.is_relative_to("/usr") else []
    visible += list(zip(folders, inner_sites))
    visible += [(PACKAGE, f"{_HOME}/dlcv_lab"), (INSIDE, f"{_HOME}/inside")]
    visible += [(path, str(path)) for path in (Path("/etc/ld.so.cache"),) if path.exists()]

    outer: list[str] = []
    user = users.claim() if users.may_change() else None
    if user is not None:  # root is exempt from the limit on processes: step down, with the folders within reach
        outer = [_tool("bwrap"), "--die-with-parent", "--dev-bind", "/", "/", "--tmpfs", "/mnt", "--cap-add",
                 "CAP_SETUID", "--cap-add", "CAP_SETGID"]  # fmt: skip
        for index, (path, _) in enumerate(visible):
            outer += ["--ro-bind", str(path), f"/mnt/{index}"]
        outer += ["--", _tool("setpriv"), f"--reuid={user.uid}", f"--regid={user.uid}", "--clear-groups", "--"]
        visible = [(Path(f"/mnt/{index}"), inside) for index, (_, inside) in enumerate(visible)]

    inner = [_tool("bwrap"), "--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts",
             "--unshare-cgroup-try", "--die-with-parent", "--new-session", "--clearenv", "--hostname", "sandbox",
             "--uid", "1000", "--gid", "1000", "--ro-bind", "/usr", "/usr"]  # fmt: skip
    for name in ("lib", "lib32", "lib64", "bin", "sbin"):
        path = Path("/", name)
        if path.is_symlink():
            inner += ["--symlink", os.readlink(path), str(path)]
        elif path.is_dir():
            inner += ["--ro-bind", str(path), str(path)]
    for path, inside in visible:
        inner += ["--ro-bind", str(path), inside]
    # single devices instead of `--dev`: a terminal device would need a second user namespace, which could not give the
    # jobs of the warm parent process namespaces of their own
    inner += ["--tmpfs", "/dev", "--dir", "/dev/shm"]
    for name in ("null", "zero", "full", "random", "urandom"):
        inner += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    for path in gpu_devices() if device == "cuda" else ():
        inner += ["--dev-bind", str(path), str(path)]
    inner += ["--proc", "/proc", "--size", str(64 * 2**20), "--tmpfs", "/tmp"]
    inner += ["--remount-ro", "/dev", "--remount-ro", "/"]
    if not cold:  # the warm parent gives each job namespaces of its own; a job has no capability at all
        inner += ["--cap-add", "CAP_SYS_ADMIN", "--cap-add", "CAP_SETPCAP"]
    for name, value in environment("/tmp", device).items():
        inner += ["--setenv", name, value]
    executable = python / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    options = _options("bubblewrap", setup, entries, cold, inner_sites)
    inner += ["--", str(executable), "-I", "-S", "-B", "-c", _START, _HOME, options]
    return Launch(outer + inner, {"PATH": "/usr/bin:/bin"}, user=user)


def _plain(mechanism: str, setup: tuple[str, ...], entries: tuple[str, ...], cold: bool, device: str) -> Launch:
    """Start the warm parent as an ordinary process that sees the packages through a folder of links."""
    import tempfile

    home = Path(tempfile.mkdtemp(prefix="dlcv-warm-"))
    home.chmod(0o755)
    (home / "dlcv_lab").symlink_to(PACKAGE)
    (home / "inside").symlink_to(INSIDE)
    closed = closed_folders.closed_above([*closed_folders.needed(), home]) if mechanism == "uid" else {}
    options = _options(mechanism, setup, entries, cold, [str(path) for path in site_packages()], closed)
    executable = getattr(sys, "_base_executable", sys.executable)
    argv = [executable, "-I", "-S", "-B", "-c", _START, str(home), options]
    user = users.claim() if mechanism == "uid" else None
    return Launch(argv, environment(str(home), device), user.uid if user else None, user, [home])


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        package = {"bwrap": "bubblewrap"}.get(name, "util-linux")
        raise FileNotFoundError(f"{name} is not installed (Debian, Ubuntu: `apt-get install {package}`)")
    return found
