"""The book's page about the benchmark says what the published figures say."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def benches(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benches"))
    yield ROOT / "benches"
    for name in [name for name in sys.modules if name == "bench_graders" or name.partition(".")[0] == "peers"]:
        del sys.modules[name]


def test_the_page_is_written_from_the_published_figures(benches):
    import bench_graders
    from peers import page

    figures = json.loads(bench_graders.RESULTS.read_text(encoding="utf-8"))
    written = bench_graders.wrapped(page.text(figures, bench_graders.RESULTS.parent))
    assert (ROOT / "book" / "grader_benchmark.md").read_text(encoding="utf-8") == written


def test_what_was_not_measured_is_said_and_what_differs_too(benches, tmp_path):
    from peers import others

    same = {"journal": True, "gradebook": False, "copies": False}
    record = {"date": "2026-01-02", "figures": {"submissions": 7, "kills": 3, "identical": same}}
    (tmp_path / "kill.json").write_text(json.dumps(record))
    told = others.section(tmp_path)
    assert (
        "kills during a run of 7 | 3 | identical to an undisturbed run: journal; **different: gradebook, copies** |"
        in told
    )
    assert "| `bench_fuzz.py` | | not measured | |" in told
