"""A complete small row, made from the skeleton in a folder of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autograder.chapter import new_chapter, rows


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty place for rows, with a build/ and a cache of its own."""
    monkeypatch.setenv("DLCV_ROOT", str(tmp_path / "rows"))
    monkeypatch.setenv("DLCV_BUILD", str(tmp_path / "build"))
    monkeypatch.setenv("DLCV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DLCV_PACKS", str(tmp_path / "build" / "packs"))
    yield tmp_path / "rows"
    rows.forget("ch99_demo")


@pytest.fixture
def demo(workshop: Path) -> rows.Row:
    """The skeleton row ch99_demo."""
    new_chapter.new_chapter("ch99_demo")
    return rows.load_row("ch99")


@pytest.fixture
def edit(workshop: Path) -> Callable[[str, str, str], None]:
    """Replace a text that stands in a file of the row, and let rows be read again."""

    def replace(file: str, old: str, new: str) -> None:
        path = workshop / file
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")
        rows.forget("ch99_demo")

    return replace
