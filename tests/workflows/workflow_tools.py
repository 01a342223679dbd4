"""The workflows as data, and a way to run a step's shell lines here."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
OURS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
RELEASED = sorted((ROOT / "autograder" / "release" / "workflows").glob("*.yml"))


@dataclass(frozen=True)
class Step:
    """One `run` step of a workflow."""

    workflow: str
    job: str
    name: str
    lines: str
    environment: Mapping[str, str]
    folder: str


def load(path: Path) -> dict[str, Any]:
    """Return a workflow; YAML 1.1 reads its key `on` as the word true, so it is put right."""
    data: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {("on" if key is True else key): value for key, value in data.items()}


def steps(path: Path) -> Iterator[Step]:
    """Yield the steps of a workflow that run shell lines."""
    for job, facts in load(path)["jobs"].items():
        for step in facts["steps"]:
            if "run" in step:
                environment = {**facts.get("env", {}), **step.get("env", {})}
                name = step.get("id", "")
                yield Step(path.stem, job, name, step["run"], environment, step.get("working-directory", "."))


def run(step: Step, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a step as the runner does: bash, stopping at the first error."""
    return subprocess.run(
        ["bash", "-e", "-c", step.lines], cwd=folder / step.folder, env=os.environ | environment,
        capture_output=True, text=True, timeout=900,
    )  # fmt: skip


# what would install packages, change the machine or take many minutes looks at its arguments instead
STAND_INS = {
    "make": 'exec /usr/bin/env -i PATH=/usr/bin:/bin make --dry-run "$@"',
    "sudo": 'case "$1" in apt-get|sysctl) exit 0 ;; esac; echo "no stand-in for sudo $1"; exit 9',
    "gh": 'test "$*" = "auth setup-git"',
    "python": """
if [ "$1 $2 $3" = "-m pip install" ]; then
  shift 3
  while [ $# -gt 0 ]; do
    case "$1" in
      -r|-c) test -f "$2" || { echo "$2 is missing"; exit 9; }; shift ;;
      -e) test -f "${2%%[*}/pyproject.toml" || { echo "$2 is missing"; exit 9; }; shift ;;
    esac
    shift
  done
  exit 0
fi
case "$*" in "-m pytest"*) exec REAL -m pytest --version ;; "-m pip freeze") exec REAL -m pip --version ;; esac
exec REAL "$@"
""",
    "dlcv": """
if [ "$*" = verify ]; then exec REAL -c "from dlcv_lab.cli import main; main()" verify --help; fi
exec REAL -c "from dlcv_lab.cli import main; main()" "$@"
""",
}


class Place:
    """A checkout made of links, with the stand-ins first on the path."""

    def __init__(self, folder: Path) -> None:
        self.folder, tools = folder, folder / "tools-of-the-test"
        self.checkout = folder / "checkout"
        self.checkout.mkdir()
        for path in ROOT.iterdir():
            if path.name not in (".git", ".venv", "build"):
                (self.checkout / path.name).symlink_to(path)
        for place in (tools, self.checkout / ".venv" / "bin"):
            place.mkdir(parents=True)
        for name, text in STAND_INS.items():
            script = tools / name
            script.write_text("#!/bin/bash\n" + text.replace("REAL", sys.executable) + "\n")
            script.chmod(0o755)
        (self.checkout / ".venv" / "bin" / "python").symlink_to(tools / "python")
        self.environment = {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
                            "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
                            "GITHUB_OUTPUT": str(folder / "output.txt"), "RUNNER_TEMP": str(folder),
                            "GIT_CONFIG_GLOBAL": str(folder / "gitconfig")}  # fmt: skip

    def run(self, step: Step, where: Path, **more: str) -> str:
        done = run(step, where, **self.environment, **more)
        assert done.returncode == 0, f"{step.workflow}: {step.name}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
        return done.stdout
