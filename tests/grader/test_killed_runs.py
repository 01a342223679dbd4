"""Whatever stops a run, a second one ends exactly like an undisturbed one, and the journal is never lost."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attack_class
import interrupting
import pytest
import typer
from attack_class import SLUG, Course
from interrupting import full_disk, held, lines, read_only, short_files, stop_at
from typer.testing import CliRunner

from autograder.chapter import rows
from autograder.cli import grading as verbs
from dlcv_lab.cli.frame import FAULT, Trouble

pytestmark = [pytest.mark.sandbox, pytest.mark.slow, pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")]
COUNT = 12


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Course]:
    """A course with a small class, as yet ungraded; a copy of it lies in `fresh`."""
    place = tmp_path_factory.mktemp("killed")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in attack_class.variables(place).items():
            patch.setenv(name, value)
        made = attack_class.make_course(place, quick=False)
        interrupting.small_class(made, COUNT)
        interrupting.snapshot(made, place / "fresh")
        yield made
        rows.forget(SLUG)


def run(course: Course, workers: int = 1) -> tuple[int, str]:
    """Run `dlcv grade` on the course in this process, which has imported everything; exit code and what it said."""
    app = typer.Typer()
    verbs.register(app)
    words = ["--chapter", "ch99", "--course", str(course.root), "--level", attack_class.best(), "--min-isolation",
             "none", "--workers", str(workers)]  # fmt: skip
    done = CliRunner().invoke(app, ["grade", *words])
    if isinstance(done.exception, Trouble):
        return done.exception.code, str(done.exception)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def undisturbed(course: Course) -> tuple[Any, ...]:
    """What a course holds after a run that nobody stopped; a copy of it lies in `graded`."""
    code, said = run(course)
    assert code == 1, said  # every fourth file cannot be read
    found = interrupting.result(course)
    assert [len(found[0]), len({row[1] for row in found[1]}), len(found[2])] == [COUNT] * 3
    interrupting.snapshot(course, course.root.parent / "graded")
    return found


@pytest.fixture
def fresh(course: Course) -> Course:
    interrupting.restore(course, course.root.parent / "fresh")
    return course


@pytest.fixture
def judged(course: Course, undisturbed: tuple[Any, ...]) -> Course:
    """The course with a whole journal and an empty gradebook: what is there when the gradebook could not be used."""
    interrupting.restore(course, course.root.parent / "fresh")
    shutil.copytree(course.root.parent / "graded" / "journal", course.root / "journal", dirs_exist_ok=True)
    return course


def test_three_kills_change_nothing(undisturbed: tuple[Any, ...], fresh: Course) -> None:
    codes = interrupting.killed_again_and_again(fresh, [1, 5, COUNT], random.Random(1))
    assert -signal.SIGKILL in codes, codes
    assert lines(fresh) >= 5
    code, said = run(fresh)
    assert code == 1, said  # every fourth file cannot be read
    assert interrupting.result(fresh) == undisturbed


def test_ctrl_c_stops_and_says_how_to_go_on(undisturbed: tuple[Any, ...], fresh: Course) -> None:
    ended = stop_at(fresh, 2, signal.SIGINT, 0.0)
    kept = lines(fresh)
    assert (ended.code, kept >= 2) == (130, True), ended
    assert "Traceback" not in ended.said
    assert "Run the same command again" in ended.said
    code, said = run(fresh)
    assert code == 1, said  # every fourth file cannot be read
    assert interrupting.result(fresh) == undisturbed


MOUNTED = ["a full disk"] if interrupting.can_mount() else []


@pytest.mark.parametrize("way", ["files may not grow", *MOUNTED])
def test_a_gradebook_without_room_is_told_and_nothing_is_lost(
    way: str, judged: Course, undisturbed: tuple[Any, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    book = judged.root / "gradebook.db"
    full = full_disk(book, tmp_path / "disk") if way in MOUNTED else short_files(book.stat().st_size)
    with full:
        code, said = run(judged, workers=2)
        assert code == FAULT, said
        assert "gradebook.db" in said
        assert "make room" in said
        assert "No verdict is lost" in said
        assert not [record for record in caplog.records if record.exc_info], "one sentence, and no trace"
        assert held(judged) == undisturbed[0]
    code, said = run(judged, workers=2)
    assert code == 1, said  # every fourth file cannot be read
    assert interrupting.result(judged) == undisturbed


@pytest.mark.parametrize("way", ["files may not grow", *MOUNTED])
def test_a_journal_without_room_is_told_and_the_next_run_goes_on(
    way: str, fresh: Course, undisturbed: tuple[Any, ...], tmp_path: Path
) -> None:
    enough = (fresh.root.parent / "graded" / "journal" / f"{SLUG}.jsonl").stat().st_size // 2
    full = full_disk(fresh.root / "journal", tmp_path / "disk", enough) if way in MOUNTED else short_files(enough)
    with full:
        code, said = run(fresh)
        assert code == FAULT, said
        assert f"{SLUG}.jsonl" in said
        assert "make room" in said
        assert 0 < len(held(fresh)) < COUNT
    code, said = run(fresh)
    assert code == 1, said  # every fourth file cannot be read
    assert interrupting.result(fresh) == undisturbed


if MOUNTED or os.geteuid() != 0:  # else nothing keeps root from writing

    def test_a_read_only_gradebook_is_told(judged: Course, undisturbed: tuple[Any, ...], tmp_path: Path) -> None:
        with read_only(judged.root / "gradebook.db", tmp_path / "disk"):
            code, said = run(judged, workers=2)
            assert code == FAULT, said
            assert "gradebook.db" in said
            assert "writable" in said
        code, said = run(judged, workers=2)
        assert code == 1, said  # as undisturbed
        assert interrupting.result(judged) == undisturbed


def test_a_gradebook_of_which_a_part_was_lost_is_told(judged: Course, undisturbed: tuple[Any, ...]) -> None:
    book = judged.root / "gradebook.db"
    whole = book.read_bytes()
    book.write_bytes(whole[:8192] + b"\0" * (len(whole) // 2))
    code, said = run(judged, workers=2)
    assert code == FAULT, said
    assert "gradebook.db" in said
    assert "damaged" in said
    book.write_bytes(whole)
    code, said = run(judged, workers=2)
    assert code == 1, said  # every fourth file cannot be read
    assert interrupting.result(judged) == undisturbed


def test_a_copy_that_cannot_be_written_is_named(judged: Course, undisturbed: tuple[Any, ...]) -> None:
    in_the_way = judged.root / "autograded" / "student000" / SLUG / f"{attack_class.STEM}.ipynb"
    in_the_way.mkdir(parents=True)
    code, said = run(judged, workers=2)
    assert (code, str(in_the_way) in said) == (FAULT, True), said
    assert "No verdict is lost" in said
    in_the_way.rmdir()
    assert run(judged, workers=2)[0] == 1
    assert interrupting.result(judged) == undisturbed
