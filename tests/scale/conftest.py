"""The small row of the grader's tests, and a class that hands it in, for the tests of many workers."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

sys.path.append(str(Path(__file__).parent.parent / "grader"))

from grader_helpers import SLUG, Class, write
from scale_helpers import STEM, Dask

from autograder.base import paths
from autograder.chapter import new_chapter, rows
from autograder.release import assemble
from autograder.release.nbgrader_release import generate


@pytest.fixture(scope="module")
def klass(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Class]:
    place = tmp_path_factory.mktemp("scale")
    with pytest.MonkeyPatch.context() as patch:
        for name, where in (("ROOT", "rows"), ("BUILD", "build"), ("CACHE", "cache"), ("PACKS", "build/packs")):
            patch.setenv(f"DLCV_{name}", str(place / where))
        new_chapter.new_chapter(SLUG)
        row = rows.load_row(SLUG)
        assemble.assemble(row, packs=False)
        made = generate(paths.source(SLUG), SLUG, place / "release")
        yield Class(row, json.loads(nbformat.writes(nbformat.read(made[0], as_version=4))))
        rows.forget(SLUG)


@pytest.fixture(scope="module")
def handed_in(klass: Class, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six submissions: right, a known mistake, nothing, a crash, no notebook, right with a name beyond ASCII."""
    folder = tmp_path_factory.mktemp("in")
    unsharp = klass.reference("unsharp")
    sums = klass.row.exercise_by_name["box_blur"].misconceptions[0].source()
    raws = {
        "alice": klass.honest(),
        "bob": klass.hand_in(box_blur=sums, unsharp=unsharp),
        "carol": klass.hand_in(),
        "dave": klass.hand_in(box_blur="def box_blur(x, k):\n    import os\n    os._exit(0)\n", unsharp=unsharp),
        "eve": b"not a notebook",
        "zoë 王": klass.honest(),
    }
    for student, raw in raws.items():
        write(folder / student / SLUG / f"{STEM}.ipynb", raw)
    return folder


@pytest.fixture
def dask(tmp_path: Path) -> Iterator[Dask]:
    started = Dask(tmp_path)
    yield started
    started.stop()
