"""nbgrader's own commands and formgrader's button give our verdicts, and one broken notebook stops nobody."""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import nbformat
import pytest
from grader_helpers import SLUG, Class, write
from nbgrader.api import Gradebook
from nbgrader.apps import NbGraderAPI
from nbgrader.coursedir import CourseDirectory
from traitlets.config import Config
from traitlets.config.loader import PyFileConfigLoader

from autograder.base import paths
from autograder.grade import nbgrader_plugin
from autograder.release import course as courses
from autograder.release import nbgrader_release

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning"),
    pytest.mark.filterwarnings("ignore::nbformat.warnings.DuplicateCellId"),
]
STEM = "lesson_1"


def duplicated(cells: list[dict[str, Any]]) -> None:
    cells += [dict(cell) for cell in cells]


def outdated(cells: list[dict[str, Any]]) -> None:
    for cell in cells:
        if "nbgrader" in cell["metadata"]:
            cell["metadata"]["nbgrader"] = {"grade_id": cell["metadata"]["nbgrader"]["grade_id"], "grade": True}


def skipped(cells: list[dict[str, Any]]) -> None:
    for cell in cells:
        cell["metadata"]["tags"] = ["skip-execution"]


@pytest.fixture(scope="module")
def course(klass: Class, tmp_path_factory: pytest.TempPathFactory) -> courses.Course:
    """A course with submissions that stop stock nbgrader, before and after an honest one."""
    root = tmp_path_factory.mktemp("course")
    made, _ = courses.init_course(root, chapters=["ch99"])
    nbgrader_release.generate(paths.source(SLUG), SLUG, root / "student", made)
    blur, unsharp = klass.reference("box_blur"), klass.reference("unsharp")
    handed_in = {
        "a_duplicates": klass.hand_in(duplicated, box_blur=blur, unsharp=unsharp),
        "b_outdated": klass.hand_in(outdated, box_blur=blur, unsharp=unsharp),
        "c_skips": klass.hand_in(skipped),
        "d_exits": klass.hand_in(box_blur="def box_blur(x, k):\n    import os\n    os._exit(0)\n"),
        "e_broken": b"{",
        "z_honest": klass.hand_in(box_blur=blur, unsharp=unsharp),
    }
    for student, raw in handed_in.items():
        write(root / "submitted" / student / SLUG / f"{STEM}.ipynb", raw)
    return made


def config_of(course: courses.Course) -> Config:
    return PyFileConfigLoader("nbgrader_config.py", path=str(course.root)).load_config()


def api_of(course: courses.Course) -> NbGraderAPI:
    config = config_of(course)
    return NbGraderAPI(CourseDirectory(config=config), config=config)


def test_autograde_goes_through_our_judge(course: courses.Course) -> None:
    api = api_of(course)
    with_results = {student: api.autograde(SLUG, student) for student in sorted(os.listdir(course.root / "submitted"))}
    nbgrader_plugin.close()
    assert [student for student, result in with_results.items() if not result["success"]] == ["e_broken"]
    with Gradebook(course.database) as book:
        scores = {
            student: book.find_grade("ch99-box_blur-check", STEM, SLUG, student).auto_score
            for student in with_results
            if student != "e_broken"
        }
        comment = book.find_comment("ch99-box_blur", STEM, SLUG, "z_honest").auto_comment
    most = scores["z_honest"]
    assert most > 0
    assert scores == {"a_duplicates": most, "b_outdated": most, "c_skips": 0, "d_exits": 0, "z_honest": most}
    assert comment.startswith("OK box_blur: right")
    copy = nbformat.read(course.root / "autograded" / "d_exits" / SLUG / f"{STEM}.ipynb", as_version=4)
    outputs = [c.outputs for c in copy.cells if c.metadata.get("nbgrader", {}).get("grade_id") == "ch99-box_blur-check"]
    assert len(outputs) == 1
    assert "SG box_blur" in outputs[0][0].text


def test_a_fault_of_the_grader_raises_and_scores_nothing(
    course: courses.Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    from autograder.grade import marking

    def broken(*_: object) -> None:
        raise ZeroDivisionError("our own mistake")

    monkeypatch.setattr(marking, "hidden_pack", broken)
    result = api_of(course).autograde(SLUG, "z_honest", force=True)
    nbgrader_plugin.close()
    assert not result["success"]
    assert "has no verdict" in result["log"] or "has no verdict" in str(result["error"])
    assert not (course.root / "autograded" / "z_honest" / SLUG / f"{STEM}.ipynb").exists()


def test_no_cell_is_executed_and_hidden_tests_are_cleared(course: courses.Course) -> None:
    config = config_of(course)
    listed = [*config.Autograde.sanitize_preprocessors, *config.Autograde.autograde_preprocessors]
    assert not [name for name in listed if name.endswith(".Execute")]
    assert config.Execute.skip_cells_with_tag != "skip-execution"
    assert config.GenerateFeedback.preprocessors[0] == "nbgrader.preprocessors.ClearHiddenTests"
    assert config.ClearSolutions.code_stub == {"python": "raise NotImplementedError"}


@pytest.mark.slow
def test_nbgraders_own_feedback_can_be_made(course: courses.Course) -> None:
    api = api_of(course)
    assert api.autograde(SLUG, "z_honest", force=True)["success"]
    nbgrader_plugin.close()
    result = api.generate_feedback(SLUG, "z_honest")
    assert result["success"], result
    page = (course.root / "feedback" / "z_honest" / SLUG / f"{STEM}.html").read_text()
    assert "OK box_blur" in page


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
def test_formgraders_button_gives_the_same_score(course: courses.Course, tmp_path: Path) -> None:
    """A Jupyter server with formgrader: press "autograde" for one student and read the score that it shows."""
    port, token = free_port(), secrets.token_hex(8)
    environment = os.environ | {
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"), "JUPYTER_DATA_DIR": str(tmp_path / "data"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "run"), "HOME": str(tmp_path), "PYTHONPATH": str(paths.CHECKOUT),
    }  # fmt: skip
    settings = 'c.ServerApp.jpserver_extensions = {"nbgrader.server_extensions.formgrader": True}\n'
    write(tmp_path / "config" / "jupyter_server_config.py", settings.encode())
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyter", "server", "--no-browser", "--allow-root", f"--port={port}",
             f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={course.root}",
             "--ServerApp.disable_check_xsrf=True"],
            cwd=course.root, env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip

    def ask(path: str, method: str = "GET") -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/formgrader/api/{path}", method=method,
                                         headers={"Authorization": f"token {token}"})  # fmt: skip
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.loads(answer.read())

    try:
        for _ in range(300):
            assert server.poll() is None, (tmp_path / "log").read_text()[-3000:]
            try:
                ask("assignments")
                break
            except OSError:
                time.sleep(0.2)
        result = ask(f"submission/{SLUG}/z_honest/autograde", "POST")
        assert result["success"], result
        shown = ask(f"submission/{SLUG}/z_honest")
        assert shown["autograded"]
        assert shown["code_score"] == shown["max_code_score"] > 0
    finally:
        server.terminate()
        server.wait(20)
    assert not re.search(r"Traceback", (tmp_path / "log").read_text())
