"""`otter run` on the class, in an environment of its own that shares nothing but torch and the student's package."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import nbformat
import torch
from nbformat import NotebookNode

import dlcv_lab
from peers.lessons import Lessons, exercise_of
from peers.measure import Taken, take
from peers.nbgrader_peer import environment

VERSION = "otter-grader==7.0.0"
CASE = '>>> from peer_asserts import assert_right\n>>> assert_right("{name}", globals())\n'


def install(place: Path) -> Path | None:
    """Return the folder of otter's programs, made on the first call; None where it cannot be installed."""
    home = place / "otter"
    if not (home / "bin" / "otter").exists():
        venv.EnvBuilder(with_pip=True).create(home)
        done = subprocess.run([home / "bin" / "pip", "install", "-q", "--disable-pip-version-check", VERSION])
        if done.returncode:
            return None
    links = place / "shared"  # the student's package alone, not the checkout with its solutions
    links.mkdir(exist_ok=True)
    if not (links / "dlcv_lab").exists():
        (links / "dlcv_lab").symlink_to(Path(dlcv_lab.__file__).parent)
    packages = home / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (packages / "zz_torch.pth").write_text(f"{Path(torch.__file__).parent.parent}\n{links}\n")
    return home / "bin"


def autograder(programs: Path, notebook: NotebookNode, folder: Path, check: str = "") -> Path:
    """Make the zip with the tests of a notebook; `check` replaces the asserts."""
    code = "".join(f">>> {line}\n" for line in check.splitlines()) or CASE
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "tests").mkdir(parents=True)
    for cell in notebook.cells:
        if name := exercise_of(cell):
            case = {"code": code.format(name=name), "hidden": False, "locked": False}
            suite = {"cases": [case], "scored": True, "setup": "", "teardown": "", "type": "doctest"}
            test = {"name": name, "points": cell.metadata.nbgrader.points, "suites": [suite]}
            (folder / "tests" / f"{name}.py").write_text(f"OK_FORMAT = True\ntest = {test!r}\n")
    command = [programs / "otter", "generate", "-t", "tests", "-o", "autograder.zip", "--no-environment",
               "--no-requirements", "--no-config"]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return folder / "autograder.zip"


def without_asserts(notebook: NotebookNode) -> NotebookNode:
    """Return a notebook without its graded cells: otter brings its tests along."""
    made = nbformat.from_dict(notebook)
    made.cells = [cell for cell in made.cells if not exercise_of(cell)]
    return made


def run(programs: Path, lessons: Lessons, archive: Path, notebook: NotebookNode, folder: Path, limit: float = 300
        ) -> tuple[Taken, float | None]:  # fmt: skip
    """Grade one notebook; return what it took and its points, None where otter gave none."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    nbformat.write(notebook, folder / "submission.ipynb")
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    command = [str(programs / "otter"), "run", "-a", str(archive), "--no-logo", "-o", str(folder), "submission.ipynb"]
    taken = take(command, cwd=folder, env=environment(lessons) | {"PATH": path, "VIRTUAL_ENV": str(programs.parent)},
                 limit=limit)  # fmt: skip
    results = folder / "results.json"
    if not results.exists():
        return taken, None
    told = json.loads(results.read_text())
    return taken, sum(test.get("score", 0) or 0 for test in told.get("tests", []))
