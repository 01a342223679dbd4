"""Which rows are chosen, and that a fault in a recorded row is found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from autograder.base import paths
from autograder.chapter import rows, verified
from autograder.release import heavy_checks, method_evidence

RIGHT, FAULTY = "return sum(r * (rows + columns) for", "return sum(r * (rows + columns) + 1 for"
NOW = {f"ch{number:02d}_x": f"key {number}" for number in range(1, 11)}


def record(**changes: str) -> dict[str, verified.Entry]:
    """A record of all rows at today's keys, each measured at 200 s; `changes` are other keys."""
    return {
        slug: {
            "key": changes.get(slug, key), "ran": list(verified.CHECKS), "figures": {"seconds": 200.0},
            "date": f"2026-11-{10 + index:02d}", "oracle": {},
        }
        for index, (slug, key) in enumerate(NOW.items())
    }  # fmt: skip


def test_changed_rows_come_first_then_two_drawn_by_the_commit():
    chosen = verified.choose(NOW, record(ch07_x="older", ch02_x="older"), "a1")
    assert chosen.run[:2] == ("ch02_x", "ch07_x"), "the longest unverified comes first"
    assert len(chosen.run) == 4
    assert set(chosen.recorded) == NOW.keys() - set(chosen.run)
    assert chosen.left == ()
    assert chosen.seconds == 800
    drawn = {verified.choose(NOW, record(), f"{number:x}").run for number in range(50)}
    assert {slug for pair in drawn for slug in pair} == set(NOW), "every row is drawn sooner or later"
    assert all(len(pair) == 2 for pair in drawn)


def test_a_row_that_was_never_on_record_counts_as_changed():
    held = record()
    del held["ch05_x"]
    assert verified.choose(NOW, held, "a1").run[0] == "ch05_x"


def test_the_time_is_kept_and_what_is_left_is_said():
    held = record(**dict.fromkeys(NOW, "older"))
    chosen = verified.choose(NOW, held, "a1", seconds=700)
    assert chosen.run == ("ch01_x", "ch02_x", "ch03_x")
    assert chosen.left == tuple(list(NOW)[3:])
    assert chosen.seconds <= 700
    assert any("NOT checked" in line and "ch10" in line for line in chosen.lines())
    assert verified.choose(NOW, held, "a1", seconds=1).run == ("ch01_x",), "one row is always checked"


def test_rows_can_be_named():
    slugs = rows.slugs()
    assert verified.named("all", slugs).run == tuple(slugs)
    assert verified.named("none", slugs).run == ()
    assert verified.named("ch03, 23", slugs).run == (rows.resolve("ch03"), rows.resolve("ch23"))


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The rows in a folder of their own, all of them on record as they are."""
    root = tmp_path / "rows"
    for name in ("chapters", "solutions", "autograder/exercises"):
        shutil.copytree(paths.CHECKOUT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "tests").symlink_to(paths.CHECKOUT / "tests")
    monkeypatch.setenv("DLCV_ROOT", str(root))
    monkeypatch.setenv("DLCV_BUILD", str(tmp_path / "build"))
    monkeypatch.setenv("DLCV_CACHE", str(tmp_path / "cache"))
    entries = {
        slug: {
            "key": key,
            "ran": list(verified.CHECKS),
            "figures": {"seconds": 1.0},
            "date": "2026-11-30",
            "oracle": {},
        }
        for slug, key in verified.keys().items()
    }
    verified.path().write_text(json.dumps(entries))
    yield root
    monkeypatch.undo()
    for slug in rows.slugs():
        rows.forget(slug)


@pytest.mark.slow
@pytest.mark.sandbox
def test_a_fault_in_a_recorded_exercise_is_found_although_the_record_is_there(copied):
    """In chapter 23: the run of the tests takes the row up again, and its check fails."""
    slug = rows.resolve("ch23")
    before = commit_that_leaves(slug)
    assert slug in verified.choose(verified.keys(), verified.load(), before).recorded
    path = next(path for path in rows.load_row(slug).solution_files if "def lora_params(" in path.read_text("utf-8"))
    text = path.read_text(encoding="utf-8")
    assert text.count(RIGHT) == 1
    path.write_text(text.replace(RIGHT, FAULTY), encoding="utf-8")
    rows.forget(slug)
    assert verified.choose(verified.keys(), verified.load(), before).run[0] == slug, "its key is not that of the record"
    assert verified.fresh() == set(rows.slugs()) - {slug}
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider",
         str(paths.CHECKOUT / "tests" / "rows" / "test_heavy_checks.py")],
        cwd=paths.CHECKOUT, env={name: value for name, value in os.environ.items() if name != "DLCV_ROWS"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert "test_a_row_passes[ch23-verify]" in listed.stdout, listed.stdout + listed.stderr
    with pytest.raises(heavy_checks.CheckFailed, match="count_trainable"):
        heavy_checks.verify(rows.load_row(slug), only=("count_trainable",))


@pytest.mark.slow
def test_a_record_with_another_key_proves_no_method(copied):
    slug = rows.resolve("ch23")
    proved = method_evidence.gather().verified
    assert {key[:4] for key in proved} == {slug[:4] for slug in rows.slugs()}
    assert method_evidence.unproved() == []
    held = verified.load()
    held[slug]["key"] = "older"
    verified.path().write_text(json.dumps(held))
    assert method_evidence.gather().verified == {key for key in proved if not key.startswith("ch23")}
    assert method_evidence.unproved() == [slug]


def commit_that_leaves(slug: str) -> str:
    """Return a commit whose draw does not hold a row."""
    now, held = verified.keys(), verified.load()
    same = {name: {**held[name], "key": key} for name, key in now.items()}
    return next(str(n) for n in range(100) if slug not in verified.choose(now, same, str(n)).run)
