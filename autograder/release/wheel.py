"""The student's wheel: dlcv-lab with the check packs of a release inside, built in a staging folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from autograder.base import cache, paths

META = ("pyproject.toml", "README.md", "LICENSE")
_EPOCH = "315532800"  # 1980-01-01: the earliest time that a zip file can hold


class WheelError(Exception):
    """The wheel could not be built; the message carries the builder's last lines."""


def _package_files() -> list[Path]:
    home = paths.CHECKOUT / "dlcv_lab"
    return [
        path
        for path in sorted(home.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and path.relative_to(home).parts[0] != "packs"
    ]


def build_wheel(packs: Path, to: Path) -> Path:
    """Build dlcv-lab with everything below `packs` as its package data, and put the wheel into the folder `to`.

    The version ends in a hash of the packs, so that `pip install -r requirements.txt` updates a student whose package
    is of the same version but has older packs. The same inputs give the same file; it is built once and then copied.

    Raises:
        WheelError: the build failed.
    """
    contents = sorted(path for path in packs.rglob("*") if path.is_file())
    held = cache.digest(
        *(part for path in contents for part in (path.relative_to(packs).as_posix(), path.read_bytes()))
    )
    code = [(path.relative_to(paths.CHECKOUT).as_posix(), path.read_bytes()) for path in _package_files()]
    code += [(name, (paths.CHECKOUT / name).read_bytes()) for name in META]
    key = cache.digest(held, sys.version, *(part for pair in code for part in pair))
    folder = paths.cache() / "wheels" / key
    if not any(folder.glob("*.whl")):
        with tempfile.TemporaryDirectory(prefix="dlcv-wheel-") as temporary:
            staging = Path(temporary) / "dlcv-lab"
            _stage(staging, packs, code, held[:8])
            built = _build(staging)
            cache.write(folder / built.name, built.read_bytes())
    wheel = next(folder.glob("*.whl"))
    cache.write(to / wheel.name, wheel.read_bytes())
    return to / wheel.name


def _stage(staging: Path, packs: Path, code: list[tuple[str, bytes]], packs_hash: str) -> None:
    for name, raw in code:
        cache.write(staging / name, raw)
    settings = staging / "pyproject.toml"
    text, count = re.subn(
        r'(?m)^version = "([^"+]+)"', rf'version = "\1+packs.{packs_hash}"', settings.read_text(), count=1
    )
    if count != 1:
        raise WheelError("pyproject.toml has no line 'version = \"...\"' in [project]")
    settings.write_text(text)
    for path in sorted(packs.rglob("*")):
        if path.is_file():
            cache.write(staging / "dlcv_lab" / "packs" / path.relative_to(packs), path.read_bytes())


def _build(staging: Path) -> Path:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist", "."]
    done = subprocess.run(command, cwd=staging, env=env | {"SOURCE_DATE_EPOCH": _EPOCH}, capture_output=True, text=True)
    wheels = list((staging / "dist").glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
        raise WheelError(f"the wheel could not be built:\n{tail}")
    shutil.rmtree(staging / "build", ignore_errors=True)
    return wheels[0]


def version_of(wheel: Path) -> str:
    """Return the version in a wheel's file name."""
    return wheel.name.split("-")[1]
