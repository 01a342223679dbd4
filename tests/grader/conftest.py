"""The small row of the grader's tests, built once per module."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from grader_helpers import SLUG, Class

sys.path.append(str(Path(__file__).parent.parent / "attacks"))

from autograder.base import paths
from autograder.chapter import new_chapter, rows
from autograder.release import assemble
from autograder.release.nbgrader_release import generate


@pytest.fixture(scope="module")
def klass(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Class]:
    place = tmp_path_factory.mktemp("grader")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DLCV_ROOT", str(place / "rows"))
        patch.setenv("DLCV_BUILD", str(place / "build"))
        patch.setenv("DLCV_CACHE", str(place / "cache"))
        patch.setenv("DLCV_PACKS", str(place / "build" / "packs"))
        new_chapter.new_chapter(SLUG)
        row = rows.load_row(SLUG)
        assemble.assemble(row, packs=False)
        made = generate(paths.source(SLUG), SLUG, place / "release")
        yield Class(row, json.loads(nbformat.writes(nbformat.read(made[0], as_version=4))))
        rows.forget(SLUG)
