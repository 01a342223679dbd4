"""Make or refresh the checkout's environment: `python3 tools/setup_environment.py`.

Plain Python, standard library only, because it runs before anything is installed. It makes .venv with the pinned
packages, and installs bubblewrap and Chromium where that needs no questions (Debian or Ubuntu, as root or with
passwordless sudo). What it cannot install it names, with the command. Nothing is done twice: a stamp holds the hash
of everything that decides the environment.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INPUTS = ("pyproject.toml", "autograder/pyproject.toml", "constraints.txt", "tools/setup_environment.py")
# program -> Debian package
SYSTEM = {"bwrap": "bubblewrap", "chromium": "chromium", "pg_ctlcluster": "postgresql"}
WHY = {
    "bwrap": "the sandbox that student code runs in",
    "chromium": "the browser tests of the book",
    "pg_ctlcluster": "the tests of a gradebook on a server",
}
OLDEST = (3, 11)


def say(text: str) -> None:
    print(f"  {text}", flush=True)


def fingerprint() -> str:
    """Return a hash of the interpreter and of every file that decides what is installed."""
    digest = hashlib.sha256(sys.version.encode())
    for name in INPUTS:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def python_in(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def install_packages(folder: Path) -> None:
    """Make the virtual environment and install the pinned packages, both halves editable."""
    stamp = folder / ".dlcv-stamp"
    wanted = fingerprint()
    if stamp.exists() and stamp.read_text() == wanted and python_in(folder).exists():
        say(f"{folder.name}: up to date")
        return
    if not python_in(folder).exists():
        say(f"{folder.name}: creating the virtual environment")
        venv.EnvBuilder(with_pip=True).create(folder)
    say(f"{folder.name}: installing the pinned packages (the first time this fetches several GB and takes minutes)")
    command = [python_in(folder), "-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--progress-bar=on"]
    command += ["-c", "constraints.txt", "-e", ".[vl,diffusion,onnx]", "-e", "./autograder[dev,cluster]"]
    done = subprocess.run([str(part) for part in command], cwd=ROOT)
    if done.returncode:
        sys.exit(
            "  The packages could not be installed; pip's message stands above. Check the network and the free disk "
            f"space (about 8 GB), then run this again: what was fetched is kept. To start over, remove {folder}."
        )
    stamp.write_text(wanted)


def privilege() -> list[str] | None:
    """Return the prefix that makes apt-get work without asking, or None."""
    if os.name == "nt" or not shutil.which("apt-get"):
        return None
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0:
        return ["sudo", "-n"]
    return None


def install_system_packages() -> None:
    """Install what is missing of bubblewrap and Chromium, or say how to."""
    missing = {program: package for program, package in SYSTEM.items() if not shutil.which(program)}
    if not missing:
        say(f"system packages: {', '.join(SYSTEM.values())} are there")
        return
    prefix = privilege()
    if prefix is not None:
        say(f"system packages: installing {', '.join(missing.values())}")
        quiet = {"stdout": subprocess.DEVNULL, "env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"}}
        subprocess.run([*prefix, "apt-get", "update", "-qq"], **quiet)
        subprocess.run([*prefix, "apt-get", "install", "-y", "-qq", *missing.values()], **quiet)
    for program, package in missing.items():
        if not shutil.which(program):
            say(f"system packages: {package} is missing ({WHY[program]}); its tests will be reported as not run.")
            say(f"                 On Debian or Ubuntu: sudo apt-get install {package}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="the virtual environment's folder")
    parser.add_argument("--no-system", action="store_true", help="leave Debian's packages alone")
    options = parser.parse_args()
    if sys.version_info < OLDEST:
        sys.exit(
            f"  Python {OLDEST[0]}.{OLDEST[1]} or newer is needed; this is {sys.version.split()[0]}. "
            "Name another one: make PYTHON=python3.12 ..."
        )
    install_packages(options.venv)
    if not options.no_system:
        install_system_packages()


if __name__ == "__main__":
    main()
