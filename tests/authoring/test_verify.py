"""`dlcv verify` accepts the skeleton, and finds each way in which an exercise can be wrong."""

import json
import subprocess
import sys

import pytest

from autograder.chapter import new_chapter, rows
from autograder.release import verify
from autograder.sandbox import SandboxRunner

pytestmark = pytest.mark.slow
EXERCISES = "autograder/exercises/ch99_demo.py"


@pytest.fixture(scope="module")
def runner():
    """One warm sandbox for all tests here."""
    lesson = (new_chapter.SKELETON / "lesson_1.md").read_text()
    setup = lesson[lesson.index("import math") : lesson.index('start("ch99")')]
    with SandboxRunner(None, "ch99", setup=setup) as runner:
        yield runner


@pytest.fixture
def verified(demo, runner):
    return lambda only: verify.verify_row(rows.load_row("ch99"), runner, seeds=2, only=[only])[0]


def test_the_skeleton_verifies_in_the_sandbox(demo, runner):
    reports = verify.verify_row(demo, runner, seeds=3)
    assert [report.findings for report in reports] == [[], []]
    assert [report.exercise for report in reports] == ["ch99.box_blur", "ch99.unsharp"]
    for report in reports:
        assert (report.stub, report.reference) == ("NA", "OK")
        assert [variant.verdict for variant in report.alternatives] == ["OK", "OK"]
        assert all(variant.verdict != "OK" and variant.hint_fired for variant in report.misconceptions)
    assert set(verify.verified()) == {"ch99.box_blur", "ch99.unsharp"}


def test_the_json_holds_what_is_promised(verified):
    data = verified("unsharp").as_data()
    assert set(data) >= {"exercise", "points", "core", "stub", "reference", "alternatives", "misconceptions"}
    assert set(data["alternatives"][0]) == {"name", "verdict"}
    assert set(data["misconceptions"][0]) == {"name", "verdict", "hint_fired"}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("return (1 + amount) * x[1:-1, 1:-1] - amount", "return (2 + amount) * x[1:-1, 1:-1] - amount",
         "because the alternative 'weighted' is that inexact"),
        ('"return amount"', '"return (1 + 1e-7) * middle + amount"', "'detail_only' passes"),
        ('"return amount"', '"return (1 + 3e-5) * middle + amount"', "differs by less than 10 tolerances"),
        ('{"x[1:-1, 1:-1]": "x[:-2, :-2]"}', '{"middle + amount": "middle - amount"}',
         "'corner' gets another hint than its own"),
    ],
)  # fmt: skip
def test_a_wrong_variant_is_a_finding(verified, edit, old, new, says):
    edit(EXERCISES, old, new)
    findings = verified("unsharp").findings
    assert any(says in finding for finding in findings), findings
    assert verify.verified() == {}


def test_a_wrong_reference_is_a_finding(verified, edit):
    edit("solutions/ch99_demo.py", "dtype=x.dtype)\n", "dtype=x.dtype) + 0.5\n")
    assert verified("box_blur").findings


def test_paste_fills_every_other_cell_with_the_reference(demo):
    from autograder.release import assemble

    release = assemble.notebook(demo, demo.notebooks[0], "source")
    nb = verify.paste(release, demo, {"unsharp": "def unsharp(x): return x"})
    cells = {cell.id: cell.source for cell in nb.cells}
    assert cells["ch99-unsharp"] == "def unsharp(x): return x"
    assert "SOLUTION" not in cells["ch99-box_blur"]
    assert "return y / k**2" in cells["ch99-box_blur"]
    assert "SOLUTION" in verify.paste(release, demo, {}, keep="box_blur").cells[8].source


def test_two_workers_say_what_one_says(demo):
    def said(workers: int) -> list[dict]:
        command = [sys.executable, "-c", "from dlcv_lab.cli import main; main()", "verify", "ch99", "--json"]
        done = subprocess.run([*command, "--workers", str(workers)], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    alone = said(1)
    assert [report["exercise"] for report in alone] == ["ch99.box_blur", "ch99.unsharp"]
    assert said(2) == alone
