"""Runs of `dlcv grade` that are stopped, killed or out of space: how they end, and what a course holds afterwards."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import attack_class
import attack_suite
from attack_class import SLUG, STEM, Course
from grader_helpers import lasting

from autograder.grade.journal import Journal

WRONG = "def box_blur(x, k):\n    return x.unfold(0, k, 1).unfold(1, k, 1).sum((2, 3))\n"


@dataclass(frozen=True)
class Ended:
    """How a run ended and what it said, as one line."""

    code: int
    said: str


def small_class(course: Course, count: int) -> None:
    """Fill submitted/ with honest, wrong, half-done and unreadable submissions in turn."""
    shutil.rmtree(course.root / "submitted", ignore_errors=True)
    blank = next(attack for attack in attack_suite.load() if attack.form == "code")
    kinds = [course.honest, course.honest | {"box_blur": WRONG}, {"box_blur": WRONG}, None]
    for number in range(count):
        answers = kinds[number % len(kinds)]
        path = course.root / "submitted" / f"student{number:03d}" / SLUG / f"{STEM}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_bytes(attack_suite.notebook(blank, course.release, answers=answers) if answers else b"{" * number)


def begin(course: Course, workers: int = 2) -> subprocess.Popen[str]:
    """Start `dlcv grade` on the course, in a group of processes of its own as a terminal does."""
    out = course.root.parent / "grades.json"
    return subprocess.Popen(
        attack_class.command(course, attack_class.best(), workers, out, recorded=True), env=course.environment,
        cwd=course.root.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        # whoever runs the tests in the background may have told them to ignore Ctrl-C, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def lines(course: Course) -> int:
    """Return how many lines the journal has."""
    path = journal_path(course)
    return path.read_bytes().count(b"\n") if path.exists() else 0


def journal_path(course: Course) -> Path:
    return course.root / "journal" / f"{SLUG}.jsonl"


def stop_at(course: Course, count: int, number: signal.Signals, wait: float, seconds: float = 540) -> Ended:
    """Start a run and send it a signal once the journal has `count` lines and `wait` seconds more have passed.

    An interrupt goes to every process of the run, as Ctrl-C in a terminal does; a kill to the run alone.
    """
    running = begin(course)
    end = time.monotonic() + seconds
    while lines(course) < count and running.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    time.sleep(wait)
    with contextlib.suppress(ProcessLookupError):
        (os.killpg if number is signal.SIGINT else os.kill)(running.pid, number)
    return _ended(running, seconds)


def finish(course: Course, seconds: float = 3600) -> Ended:
    """Run to the end."""
    return _ended(begin(course), seconds)


def _ended(running: subprocess.Popen[str], seconds: float) -> Ended:
    said, _ = running.communicate(timeout=seconds)
    return Ended(running.returncode, " ".join(said.split()))


def killed_again_and_again(course: Course, moments: Sequence[int], rng: random.Random) -> list[int]:
    """Kill a run whenever the journal has reached a number of lines, at some moment of the next half second.

    Return how each run ended: -9 where the kill came in time.
    """
    return [stop_at(course, count, signal.SIGKILL, 0.5 * rng.random()).code for count in moments]


def held(course: Course) -> dict[str, Any]:
    """Return what the journal says of every student: all but times and memory."""
    return {student: lasting(entry) for student, entry in Journal(journal_path(course)).latest().items()}


def gradebook(course: Course) -> list[tuple[Any, ...]]:
    """Return every score and comment with the names of student and cell."""
    found: list[tuple[Any, ...]] = []
    tables = {"grade": ("auto_score", "manual_score", "extra_credit", "needs_manual_grade"),
              "comment": ("auto_comment", "manual_comment")}  # fmt: skip
    with closing(sqlite3.connect(course.root / "gradebook.db")) as book:
        for table, columns in tables.items():
            chosen = ", ".join(f"t.{column}" for column in columns)
            found += book.execute(
                f"select '{table}', a.student_id, c.name, {chosen} from {table} t "
                "join submitted_notebook n on t.notebook_id = n.id "
                "join submitted_assignment a on n.assignment_id = a.id join base_cell c on t.cell_id = c.id "
                "order by a.student_id, c.name"
            ).fetchall()
    return found


def copies(course: Course) -> dict[str, list[tuple[str, Any]]]:
    """Return text and outputs of every autograded copy; the ids of its cells are drawn at random."""
    import nbformat

    folder = course.root / "autograded"
    return {
        str(path.relative_to(folder)): [
            (cell.source, cell.get("outputs")) for cell in nbformat.read(path, as_version=4).cells
        ]
        for path in sorted(folder.rglob("*.ipynb"))
    }


def result(course: Course) -> tuple[Any, ...]:
    """Return everything that a run leaves behind and that must not depend on how often it was stopped."""
    return held(course), gradebook(course), copies(course)


def snapshot(course: Course, place: Path) -> None:
    shutil.copytree(course.root, place, symlinks=True)


def restore(course: Course, place: Path) -> None:
    shutil.rmtree(course.root)
    shutil.copytree(place, course.root, symlinks=True)


def can_mount() -> bool:
    """Tell whether this process may mount a disk: root, and not in a container without that right."""
    with tempfile.TemporaryDirectory() as place:
        try:
            with small_disk(Path(place) / "disk"):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False


@contextmanager
def small_disk(place: Path, mib: int = 2) -> Iterator[Path]:
    """Mount an empty disk of a few MiB at `place`."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(place)]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextmanager
def full_disk(path: Path, place: Path, left: int = 0) -> Iterator[None]:
    """Move a file or folder to a disk that has `left` bytes of room; afterwards it stays there, with room."""
    with small_disk(place):
        shutil.move(path, place / path.name)
        path.symlink_to(place / path.name)
        filler = place / "filler"
        fill_up(filler)
        os.truncate(filler, max(0, filler.stat().st_size - left))
        yield
        filler.unlink()
        path.unlink()
        shutil.move(place / path.name, path)


@contextmanager
def short_files(most: int) -> Iterator[None]:
    """Let this process write no file longer than `most` bytes: a full disk for those who may not mount one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def read_only(path: Path, place: Path) -> Iterator[None]:
    """Put a file on a disk that may only be read, or where that cannot be mounted, take the right to write away."""
    if not can_mount():
        modes = path.stat().st_mode, path.parent.stat().st_mode
        path.chmod(0o400)
        path.parent.chmod(0o500)
        yield
        path.parent.chmod(modes[1])
        path.chmod(modes[0])
        return
    with small_disk(place):
        shutil.copy(path, place / path.name)
        aside = path.rename(path.with_suffix(".aside"))
        path.symlink_to(place / path.name)
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        yield
        path.unlink()
        aside.rename(path)


def fill_up(path: Path) -> None:
    """Write a file until its disk is full."""
    with path.open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while filler.write(b"x" * 4096):
            pass
