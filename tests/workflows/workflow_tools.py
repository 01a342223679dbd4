"""The workflows as data, and a way to run a step's shell lines here."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
OURS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
RELEASED = sorted((ROOT / "autograder" / "workflows").glob("*.yml"))


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
