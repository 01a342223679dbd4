"""The gradebook on a PostgreSQL server, from Debian's package, that the tests start: nothing else is different."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from grader_helpers import SLUG, Class
from nbgrader.api import Gradebook
from scale_helpers import EXPECTED
from typer.testing import CliRunner

from autograder.base import paths
from autograder.cli import grading as verbs
from autograder.grade import gradebook, marking
from autograder.grade.journal import Journal
from autograder.release import course as courses
from autograder.release import nbgrader_release
from dlcv_lab.cli.frame import Trouble

pytestmark = [
    pytest.mark.slow,
    pytest.mark.sandbox,
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning"),
]


def programs() -> Path:
    """Return the folder of initdb and pg_ctl; Debian keeps it off the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [Path(shutil.which("initdb") or "")]
    if not found[-1].is_file():
        pytest.skip("needs PostgreSQL (Debian: apt-get install postgresql)")
    return found[-1].parent


class Server:
    """A server of its own on a socket in a temporary folder; it refuses to run as root, so it gets another user."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bin = folder, programs()
        self.prefix: list[str] = []
        if os.geteuid() == 0:
            user = pwd.getpwnam("nobody")
            os.chown(folder, user.pw_uid, user.pw_gid)
            self.prefix = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        self._do("initdb", "-U", "grader", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync",
                 "-D", f"{folder}/data")  # fmt: skip

    @property
    def url(self) -> str:
        return f"postgresql://grader:not-told@/postgres?host={self.folder}&options=-c%20lock_timeout%3D500"

    def start(self) -> None:
        settings = f"-k {self.folder} -c listen_addresses='' -c fsync=off"
        self._do("pg_ctl", "-D", f"{self.folder}/data", "-w", "-t", "180", "-l", f"{self.folder}/log", "-o", settings,
                 "start")  # fmt: skip

    def stop(self) -> None:
        self._do("pg_ctl", "-D", f"{self.folder}/data", "-w", "-t", "180", "-m", "immediate", "stop")

    def _do(self, program: str, *arguments: str) -> None:
        command = [*self.prefix, str(self.bin / program), *arguments]
        done = subprocess.run(command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="dlcv-pg-", dir="/tmp") as folder:
        made = Server(Path(folder))
        made.start()
        yield made
        made.stop()


@pytest.fixture(scope="module")
def course(klass: Class, handed_in: Path, server: Server, tmp_path_factory: pytest.TempPathFactory) -> courses.Course:
    root = tmp_path_factory.mktemp("course")
    (root / "course.toml").write_text(f'[course]\nchapters = ["ch99"]\n[grading]\ngradebook = "{server.url}"\n')
    made, _ = courses.init_course(root)
    nbgrader_release.generate(paths.source(SLUG), SLUG, root / "student", made)
    shutil.copytree(handed_in, root / "submitted", dirs_exist_ok=True)
    return made


def grade(course: courses.Course) -> tuple[int, str]:
    app = typer.Typer()
    verbs.register(app)
    arguments = ["grade", "--chapter", "ch99", "--course", str(course.root), "--workers", "1", "--json"]
    result = CliRunner().invoke(app, [*arguments, str(course.root / "grades.json")])
    if isinstance(result.exception, Trouble):
        return result.exception.code, str(result.exception)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def complete(course: courses.Course, code: int, said: str) -> dict[str, Any]:
    """Return what a run wrote that ended: it names eve's file, which is no notebook, and no other finding."""
    assert (code, "Not taken: eve/" in said, "a fault of the grader" in said) == (1, True, False), said
    written: dict[str, Any] = json.loads((course.root / "grades.json").read_text())
    assert [fate["student"] for fate in written["account"]["not_taken"]] == ["eve"]
    assert [entry["student"] for entry in written["students"]] == sorted(EXPECTED)
    return written


def scores(course: courses.Course) -> dict[str, float]:
    with Gradebook(course.database) as book:
        return {item["student"]: item["score"] for item in book.submission_dicts(SLUG)}


def test_a_locked_server_is_named_and_the_next_run_completes(
    course: courses.Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    with psycopg.connect(course.database.replace("+psycopg", ""), autocommit=False) as holder:
        holder.execute("LOCK TABLE grade IN ACCESS EXCLUSIVE MODE")
        code, said = grade(course)
        holder.rollback()
    assert code == 3, said
    assert "another program" in said
    assert "not-told" not in said
    assert set(Journal(course.journal / f"{SLUG}.jsonl").latest()) == set(EXPECTED)
    assert not any(scores(course).values()), "nothing of a student is there before everything of that student is"

    monkeypatch.setattr(marking.Marker, "mark", lambda *a: pytest.fail("a submission was judged twice"))
    code, said = grade(course)
    told = {item["student"]: item["score"] for item in complete(course, code, said)["students"]}
    assert scores(course) == pytest.approx(told)
    assert told["alice"] == told["zoë 王"] > told["bob"] >= told["carol"] == 0


def test_a_server_that_cannot_be_reached_is_named(course: courses.Course, server: Server) -> None:
    server.stop()
    try:
        code, said = grade(course)
    finally:
        server.start()
    assert code == 3, said
    assert "see that the server runs" in said
    assert "not-told" not in said
    complete(course, *grade(course))


def test_nbgraders_own_settings_point_to_the_server(course: courses.Course) -> None:
    from traitlets.config.loader import PyFileConfigLoader

    config = PyFileConfigLoader("nbgrader_config.py", path=str(course.root)).load_config()
    assert config.CourseDirectory.db_url == course.database


def test_the_url_may_stand_in_a_variable(course: courses.Course, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    named = replace(course, gradebook_at="env:MY_GRADEBOOK")
    with pytest.raises(courses.CourseError, match="MY_GRADEBOOK"):
        _ = named.database
    monkeypatch.setenv("MY_GRADEBOOK", "postgresql://ta@db.example.org/cv")
    assert named.database.startswith("postgresql+psycopg://ta@db.example.org/cv?connect_timeout=10&options=")
    assert gradebook.shown(named.database) == "postgresql+psycopg://ta@db.example.org/cv"
