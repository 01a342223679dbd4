"""What comes from other programs: one sentence with file, line and remedy, never a traceback; excused stays excused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from autograder.exports.platforms import CANVAS, fill
from autograder.exports.scores import Score
from autograder.grade.gathering import GatheringError, Member, gather, read_roster
from autograder.release.course import CourseError, init_course, load_course


def score(student: str) -> Score:
    return Score("ch03_convolutional_networks", student, 12.0, 34.0)


def test_an_excused_student_stays_excused_and_is_told(tmp_path: Path) -> None:
    path = tmp_path / "canvas.csv"
    path.write_text(
        "Student,ID,SIS User ID,SIS Login ID,Section,Lab 3 (1234)\n    Points Possible,,,,,34.00\n"
        '"Arndt, Anna",101,s101,anna,Sec A,\n"Doe, Dan",104,s104,dan,Sec A,EX\n"Student, Test",9,,,Sec A,\n',
        encoding="utf-8",
    )
    filled = fill(path, [score("anna"), score("dan")], CANVAS, column="Lab 3 (1234)")
    assert b'"Arndt, Anna",101,s101,anna,Sec A,12\n' in filled.data
    assert b'"Doe, Dan",104,s104,dan,Sec A,EX\n' in filled.data
    assert filled.left == ["dan"]
    assert "dan, line 4: excused" in filled.notices[0]
    assert filled.sums() == (
        "2 rows: 1 filled in, 1 left as they are, 0 without a student in the gradebook. 0 students without a row."
    )
    assert fill(path, [score("dan")], CANVAS, column="Lab 3 (1234)").data == path.read_bytes()


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("student,repository\njosé,somewhere\n".encode("cp1252"), r"roster\.csv, line 2: not UTF-8.*CSV UTF-8"),
        ("student,repository\njosé,somewhere\n".encode("utf-16"), r"roster\.csv, line 1: not UTF-8.*CSV UTF-8"),
        (b"student,repository\nann," + b"x" * 200_000 + b"\n", r"roster\.csv, line 2: .*CSV UTF-8"),
    ],
)
def test_a_roster_in_another_encoding_is_one_sentence(tmp_path: Path, raw: bytes, said: str) -> None:
    (tmp_path / "roster.csv").write_bytes(raw)
    with pytest.raises(GatheringError, match=said):
        read_roster(tmp_path / "roster.csv")


def test_a_roster_of_excel_is_read(tmp_path: Path) -> None:
    (tmp_path / "roster.csv").write_bytes(b"\xef\xbb\xbf" + "Student;Repository\r\njose\u0301;somewhere\r\n".encode())
    assert read_roster(tmp_path / "roster.csv") == [Member("jos\u00e9", "somewhere")]


def test_a_bracket_in_a_path_and_a_wrong_encoding_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match=r"may not hold \[ \], .*choose another name"):
        init_course(tmp_path / "[2026] cv", chapters=["ch03"])
    assert not (tmp_path / "[2026] cv").exists()
    (tmp_path / "course.toml").write_bytes('[course]\nname = "Gerät"\n'.encode("cp1252"))
    with pytest.raises(CourseError, match=r"course\.toml, line 2: not UTF-8"):
        load_course(tmp_path)


def test_gather_takes_a_near_name_and_accounts_for_the_rest(tmp_path: Path) -> None:
    from datetime import UTC, datetime, timedelta

    home = tmp_path / "work"
    (home / "ch03").mkdir(parents=True)
    (home / "ch03" / "Copy of lesson_1.ipynb").write_text("{}")
    (home / "ch03" / "Untitled.ipynb").write_text("{}")
    (home / "README.md").write_text("hello")
    who = {f"GIT_{role}_{what}": "x" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "all"]):
        subprocess.run(["git", "-C", str(home), *words], env=os.environ | who, check=True)
    later = datetime.now(UTC) + timedelta(hours=1)
    (found,) = gather([Member("ann", str(home))], "ch03_convolutional_networks", ["lesson_1"], later, tmp_path / "in")
    assert found.files == ("Copy of lesson_1.ipynb",)
    assert {fate.file: fate.outcome for fate in found.fates} == {
        "ch03/Copy of lesson_1.ipynb": "taken", "ch03/Untitled.ipynb": "refused", "README.md": "no concern",
    }  # fmt: skip


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp932"])
def test_a_terminal_without_the_letters_gets_other_letters(encoding: str) -> None:
    code = (
        "from dlcv_lab.cli.frame import console, errors, fail, run\n"
        "def app(**_):\n    console.print('\\U0001f525 \\u2713 right')\n    print('\\U0001f525')\n"
        "    fail('\\U0001f525 no')\n"
        "raise SystemExit(run(app))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONIOENCODING": encoding}, capture_output=True, timeout=120
    )
    assert done.returncode == 2, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"right" in done.stdout
    assert b"? no" in done.stderr


def test_one_broken_extension_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch, capsys) -> None:  # type: ignore[no-untyped-def]
    from dlcv_lab import cli

    class Broken:
        name, value = "mine", "mine.plugin:register"

        def load(self):  # type: ignore[no-untyped-def]
            raise ModuleNotFoundError("No module named 'mine'")

    monkeypatch.setattr(cli, "entry_points", lambda group: [Broken()])
    app = cli.build_app()
    assert {command.callback.__name__ for command in app.registered_commands} >= {"check", "next_"}  # type: ignore[union-attr]
    said = " ".join(capsys.readouterr().err.split())
    assert "the extension mine (mine.plugin:register) does not load" in said


def test_the_json_of_gather_accounts_for_all(tmp_path: Path) -> None:
    import json

    from autograder.cli.gathering import _tell
    from autograder.grade.accounting import Fate
    from autograder.grade.gathering import Gathered

    fates = (Fate("ch03/lesson_1.ipynb", "ann", "taken", "", "lesson_1"), Fate("ch03/x.ipynb", "ann", "refused", "why"))
    told = [
        Gathered("ann", "c0ffee", None, True, ("lesson_1.ipynb",), "", fates),
        Gathered("bob", problem="no such place"),
    ]
    assert _tell(told, "ch03_demo", tmp_path / "gathered.json") == 1
    data = json.loads((tmp_path / "gathered.json").read_text())
    assert [student["student"] for student in data["students"]] == ["ann", "bob"]
    assert data["students"][1]["problem"] == "no such place"
    assert data["account"]["files"] == {"given": 2, "taken": 1, "refused": 1, "ambiguous": 0, "no concern": 0}
    assert data["account"]["students"] == {"given": 2, "read": 1, "nothing read": 0, "nothing handed in": 1}


def test_exports_of_verdicts_say_how_many_and_who_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from types import SimpleNamespace

    from autograder.cli.exports import _account
    from autograder.grade.journal import Entry
    from dlcv_lab.checking.model import ExerciseResult, Verdict

    (tmp_path / "roster.csv").write_text("student,repository\nann,here\nzoe\u0308,there\n", encoding="utf-8")
    results = (ExerciseResult("f", Verdict.OK, 1.0, 1.0), ExerciseResult("g", Verdict.XX, 0.0, 1.0))
    _account(SimpleNamespace(root=tmp_path), [Entry("ann", "ch03_demo", "a", "k", "none", {"lesson_1": results}, {})])  # type: ignore[arg-type]
    said = capsys.readouterr()
    told = " ".join(said.out.split())
    assert told == "1 students: 2 verdicts, 1 students with a fault of the grader; 1 of the class handed in nothing."
    assert "Handed in nothing: zo\u00eb" in said.err
