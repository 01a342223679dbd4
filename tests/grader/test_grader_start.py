"""The grader's start: what takes long begins before this process has loaded torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from autograder.chapter import rows
from autograder.release.warm_start import imports_of

# what is called to start something tells whether torch was there, and ends the run
TELL = """
import sys
from autograder.grade import pool
from autograder.release import warm_start
from autograder.grade.submissions import Submission

class Told(Exception):
    pass

def tell(*_):
    raise Told("torch" in sys.modules)

pool.workers_context = tell
warm_start.SandboxRunner.start = tell
classmates = [Submission("ada"), Submission("bob")]
plan = pool.Plan("ch03", b"0" * 32, "none")
try:
    list(pool.grade_class(plan, classmates[: int(sys.argv[1])], workers=int(sys.argv[2])))
except Told as told:
    print(told)
"""


def said(*argv: str) -> str:
    done = subprocess.run([sys.executable, "-c", *argv], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(("count", "workers"), [(1, 4), (2, 1), (2, 2)])
def test_sandbox_or_workers_start_before_torch_is_loaded(count: int, workers: int) -> None:
    assert said(TELL, str(count), str(workers)) == "False"


def test_the_texts_of_a_chapter_are_those_of_its_row() -> None:
    texts, row = rows.load_texts("ch03"), rows.load_row("ch03")
    assert (texts.slug, texts.notebooks, texts.exercise_files) == (row.slug, row.notebooks, row.exercise_files)
    assert texts.exercises == ()
    assert imports_of(texts) == imports_of(row) != []
