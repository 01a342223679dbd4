"""The steps that release chapter 3, check it, fetch a class, grade it and give feedback back, run on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from workflow_tools import OURS, RELEASED, ROOT, Place, Step, run, steps

pytestmark = [pytest.mark.slow, pytest.mark.sandbox]

SECRET = "0123456789abcdef" * 4


def step(workflow: str, name: str) -> Step:
    """Return a step by its workflow and id, as the file has it."""
    return next(
        each for path in (*OURS, *RELEASED) if path.stem == workflow for each in steps(path) if each.name == name
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("runner"))


@pytest.fixture(scope="module")
def trial(place: Place) -> Path:
    """What the job `release` of ci.yml hands to the Windows and macOS jobs."""
    place.run(step("ci", "prepare"), place.checkout)
    return place.checkout / "build" / "trial"


def test_a_student_of_another_system(place: Place, trial: Path):
    place.run(step("ci", "install"), trial.parent)
    assert "as it should be: submit writes a receipt" in place.run(step("ci", "walk"), trial.parent)


def test_a_students_own_check_is_green_though_an_exercise_is_wrong(place: Place, trial: Path):
    repository = place.folder / "wrong-repository"
    shutil.copytree(trial / "repository", repository)
    shutil.copytree(trial / "wrong", repository, dirs_exist_ok=True)
    for name in ("torch", "install"):
        place.run(step("check", name), repository)
    place.run(step("check", "check"), repository, **step("check", "check").environment)
    assert "conv2d" in (place.folder / "summary.md").read_text()


def test_the_class_is_fetched_graded_and_told(place: Place, trial: Path):
    course = course_on_a_server(place, trial)
    student = place.folder / "students" / "tim"
    values = {"CHAPTER": "ch03", "DEADLINE": (datetime.now(UTC) + timedelta(hours=1)).isoformat(), "NO_COLOR": "1",
              "COLUMNS": "140", "DLCV_SECRET": SECRET, "GH_TOKEN": "none"}  # fmt: skip
    (grade,) = (path for path in RELEASED if path.stem == "grade")
    *ways, findings = steps(grade)
    said = {each.name: place.run(each, course, **values) for each in ways}
    code = told_to_later_steps(place, "code")
    assert (code, findings.name, findings.environment["CODE"]) == ("0", "findings", "${{ steps.grade.outputs.code }}")
    place.run(findings, course, CODE=code)
    for other in ("1", "2", ""):  # empty: the step "grade" did not come to its end
        red = run(findings, course, **place.environment, CODE=other)
        assert (red.returncode, red.stderr) == (1, "")
        assert "what was not read" in red.stdout
    assert "by the commit's own date" in said["gather"]
    (entry,) = json.loads((course / "scores" / "ch03.json").read_text())["students"]
    assert (entry["student"], entry["score"], entry["max_score"]) == ("tim", 28.5, 30.0)
    assert said["grade"].count("::stop-commands::") == 1
    assert "Grade ch03" in git(course, "log", "-1", "--format=%s", "origin/main")
    assert "feedback-" in git(student, "ls-tree", "-r", "--name-only", "feedback")
    assert SECRET not in git(course, "log", "-p", "--all")


def told_to_later_steps(place: Place, name: str) -> str:
    """Return an output as the runner would: the last line `name=value` that a step wrote."""
    lines = Path(place.environment["GITHUB_OUTPUT"]).read_text().splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{name}=")][-1]


def git(folder: Path, *arguments: str) -> str:
    who = {f"GIT_{role}_{what}": "somebody" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, env=os.environ | who, capture_output=True, text=True, check=True).stdout.strip()


def course_on_a_server(place: Place, trial: Path) -> Path:
    """Return a clone of the instructor's private repository, with one student in its roster."""
    student, server, course = (place.folder / name for name in ("students/tim", "server.git", "course"))
    shutil.copytree(trial / "wrong", student)
    git(student, "init", "--quiet", "--initial-branch=main")
    git(student, "add", "--all")
    git(student, "commit", "--quiet", "-m", "handed in")
    git(place.folder, "init", "--quiet", "--bare", "--initial-branch=main", str(server))
    git(place.folder, "clone", "--quiet", str(server), str(course))
    start = "from dlcv_lab.cli import main; main()"
    init = [sys.executable, "-c", start, "course", "init", str(course), "--chapters", "ch03"]
    subprocess.run(init, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, capture_output=True)
    settings = course / "course.toml"
    settings.write_text(settings.read_text().replace('secret = "secret"', 'secret = "env:DLCV_SECRET"'))
    (course / "roster.csv").write_text(f"student,repository\ntim,{student}\n")
    (course / ".workbook").symlink_to(ROOT)
    git(course, "checkout", "--quiet", "-B", "main")
    git(course, "add", "course.toml", "roster.csv", ".gitignore", ".github")
    git(course, "commit", "--quiet", "-m", "A new course")
    git(course, "push", "--quiet", "--set-upstream", "origin", "main")
    return course
