"""`dlcv book --serve`: loopback alone, made again on a change, and a fault does not end it."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import pytest

from autograder.book import serving, web_book
from autograder.release.execute_lessons import Execution


def test_a_folder_is_served_on_this_machine_and_never_from_memory(tmp_path: Path):
    (tmp_path / "index.html").write_text("<p>book</p>")
    with serving.served(tmp_path) as address:
        assert address.startswith("http://127.0.0.1:")
        answer = urllib.request.urlopen(address + "index.html", timeout=10)
        assert answer.read() == b"<p>book</p>"
        assert answer.headers["Cache-Control"] == "no-store"
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address, timeout=2)


def test_only_a_change_builds_again_and_a_fault_is_told(monkeypatch):
    states = iter([{"a": 1}, {"a": 1}, {"a": 2}, {"a": 2, "b": 1}, {"a": 2}])
    monkeypatch.setattr(serving, "sources", lambda: {Path(name): time for name, time in next(states).items()})
    built, told = [], []

    def build() -> None:
        built.append(1)
        if len(built) == 2:
            raise web_book.BookError("a label is missing")

    serving.watch(build, told.append, pause=0, turns=4)
    assert len(built) == 3
    assert "not made: a label is missing" in told
    assert sum(line.startswith("made again") for line in told) == 2


def test_the_sources_of_pages_are_watched_and_nothing_vendored():
    names = {path.as_posix() for path in serving.sources()}
    assert any(name.endswith("chapters/ch03_convolutional_networks/lesson_1.md") for name in names)
    assert any(name.endswith("book/_static/touch.js") for name in names)
    assert not any("/vendor/" in name for name in names)


def test_the_estimate_falls_with_every_lesson():
    still = web_book.Estimate({("ch03", "lesson_1"): 600.0, ("ch03", "lesson_2"): 60.0}, 2)
    done = Execution("ch03", "lesson_1", Path(), 500.0, 450.0, 300.0, 40)
    assert still.line(done) == "[1 of 2] ch03 lesson_1: 500 s, about 1 min left at most"
    kept = Execution("ch03", "lesson_2", Path(), 60.0, 50.0, 300.0, 40, cached=True)
    assert still.line(kept) == "[2 of 2] ch03 lesson_2: kept from before"
