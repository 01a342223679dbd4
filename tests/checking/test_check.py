"""`check` and its companions on live functions: right, wrong, raised, not attempted, and always why."""

import re

import pytest
import torch

from dlcv_lab.checking import check as checking
from dlcv_lab.checking import help as helping
from dlcv_lab.checking import packs
from dlcv_lab.checking.model import Verdict
from dlcv_lab.checking.needs import NotSolvedYet, needs
from dlcv_lab.checking.packs import PacksError, find_exercise, list_packs, load_pack
from dlcv_lab.checking.progress import Progress


@pytest.fixture
def names(course, monkeypatch):
    """The names of a notebook, empty but for the set-up."""
    scope = {"__name__": "__main__", "torch": torch}
    monkeypatch.setattr(checking, "scope", lambda: scope)
    monkeypatch.setattr("dlcv_lab.context._chapter", "ch98")
    return scope


def define(names, source: str) -> None:
    exec(source, names)


STUB = "def f(x, stride=1):\n    raise NotImplementedError"
RIGHT = "def f(x, stride=1):\n    return 2 * x[::stride]"
WRONG = "def f(x, stride=1):\n    return 2 * x"


@pytest.mark.parametrize("source", ["", STUB])
def test_nothing_written_is_not_attempted(names, source):
    define(names, source)
    report = checking.check("f")
    assert report.verdict is Verdict.NA
    assert "not attempted yet" in repr(report)
    assert not report


def test_a_right_function_is_right(names):
    define(names, RIGHT)
    report = checking.check("f")
    assert report
    assert "\N{CHECK MARK} right: f, 2 of 2 cases" in repr(report)
    assert Progress().of("ch98.f").solved


def test_a_wrong_function_is_told_what_was_given_came_and_was_expected_and_why(names):
    define(names, WRONG)
    text = repr(checking.check("f"))
    assert "partly right: f, 1 of 2 cases" in text
    assert "1 of 2 cases right. In the case 'stride 2', the shape is (6, 2), expected (3, 2)." in text
    assert "Likely cause: Where does `stride` come in?" in text
    assert "x = a float32 tensor of shape (6, 2), stride = 2" in text
    assert "came      a float32 tensor of shape (6, 2)" in text
    assert "expected  a float32 tensor of shape (3, 2)" in text


def test_html_and_text_have_the_same_words(names):
    define(names, WRONG)
    report = checking.check("f")
    page = report._repr_html_()
    words = re.sub(r"<[^>]+>", " ", page)
    for word in ("partly right", "1 of 2 cases right", "expected"):
        assert word in words
    assert "Where does <code>stride</code> come in?" in page
    assert "`" not in page


def test_what_a_student_names_cannot_become_html(names):
    define(names, "def f(x, stride=1):\n    raise ValueError('<img src=x onerror=alert(1)>')")
    assert "<img" not in checking.check("f")._repr_html_()


def test_an_exception_is_told_with_its_line(names):
    define(names, "def f(x, stride=1):\n    return x.nothing")
    text = repr(checking.check("f"))
    assert "raised an exception" in text
    assert "AttributeError: 'Tensor' object has no attribute 'nothing'" in text


def test_after_three_equal_failures_the_smallest_case_is_printed(names):
    define(names, WRONG)
    texts = [repr(checking.check("f")) for _ in range(3)]
    assert "smaller problem" not in texts[1]
    assert "smaller problem" in texts[2]
    assert "expected = [[0.0, 2.0], [8.0, 10.0], [16.0, 18.0]]" in texts[2]


def test_a_broken_exercise_that_is_used_is_replaced_by_a_stand_in_and_put_back(names):
    define(names, STUB + "\ndef g(x):\n    return f(x).sum(0)")
    before = dict(names)
    report = checking.check("g")
    assert report.verdict is Verdict.OK
    assert "right, given a working f" in repr(report)
    assert names == before


def test_check_leaves_random_numbers_gradients_and_devices_alone(names):
    define(names, RIGHT)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with torch.no_grad():
        checking.check("f")
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.rand(2), expected)


def test_inputs_are_fresh_in_every_check(names):
    define(names, "def f(x, stride=1):\n    x *= 2\n    return x[::stride]")
    assert [checking.check("f").verdict for _ in range(2)] == [Verdict.WA] * 2


def test_an_unknown_exercise_names_the_nearest(names):
    with pytest.raises(PacksError, match=r"ch98 has no exercise 'ff'\. Did you mean 'f'\?"):
        checking.check("ff")


def test_in_the_book_a_right_verdict_also_shows_what_a_wrong_answer_reads(names, monkeypatch):
    monkeypatch.setenv("DLCV_BOOK", "1")
    define(names, RIGHT)
    report = checking.check("f")
    assert "For comparison, what a wrong answer reads" in repr(report)
    assert "Where does `stride` come in?" in repr(report)
    assert Progress().of("ch98.f").attempts == 0


def test_hints_come_one_by_one(names):
    assert [helping.hint("f").body.split("\n")[0] for _ in range(4)] == ["What comes out?", "Slice it.", "x[::stride]",
                                                                        "x[::stride]"]  # fmt: skip


def test_without_published_solutions_it_is_said_when_they_come(names):
    assert "after the deadline" in repr(helping.show_solution("f"))


def test_a_solution_opens_after_an_attempt(names, course):
    import json

    from dlcv_lab.checking.wire import veil

    folder = course / ".dlcv" / "solutions" / "ch98_small"
    folder.mkdir(parents=True)
    held = {"chapter": "ch98", "after_attempt": True, "solutions": {"f": veil(RIGHT)}}
    (folder / "solutions.json").write_text(json.dumps(held))
    assert "first attempt" in repr(helping.show_solution("f"))
    define(names, WRONG)
    checking.check("f")
    assert RIGHT in repr(helping.show_solution("f"))


def test_stuck_writes_a_text_with_versions_case_and_own_code(names):
    define(names, WRONG)
    text = repr(helping.stuck("f"))
    for part in ("I am stuck at ch98.f", "torch", "In the case 'stride 2'", "```python"):
        assert part in text


def test_needs_raises_outside_a_notebook_and_says_what_would_come(names):
    define(names, STUB)
    with pytest.raises(NotSolvedYet, match=r"waits for f: it runs once check\(\"f\"\) says right. Then you will see a"):
        needs("f", picture="a photo")
    define(names, RIGHT)
    assert needs("f")


def test_packs_are_listed_and_found(course):
    assert list_packs("ch98") == [("ch98", "f"), ("ch98", "g")]
    assert find_exercise("g") == find_exercise("ch98.g") == find_exercise("g", "98") == ("ch98", "g")
    pack = load_pack("ch98", "f")
    assert pack.info.hints == ("What comes out?", "Slice it.", "x[::stride]")
    assert [wrong.name for wrong in pack.misconceptions()] == ["ignores_stride"]


def test_hints_do_not_stand_in_a_pack_for_all_to_read(packs_root):
    raw = (packs_root / "ch98_small" / "f.pack").read_bytes()
    assert b"Slice it" not in raw
    assert b"ignores_stride" not in raw


def test_a_damaged_pack_is_named_with_a_remedy(course, packs_root, tmp_path, monkeypatch):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(packs_root, copy)
    (copy / "ch98_small" / "f.pack").write_bytes(b"DLCV")
    monkeypatch.setenv("DLCV_PACKS", str(copy))
    with pytest.raises(PacksError, match=r"f.pack is damaged .*; work in a folder of the course's repository"):
        load_pack("ch98", "f")


def test_left_over_packs_of_a_removed_chapter_do_not_count(monkeypatch, tmp_path):
    monkeypatch.setattr(packs.dlcv_lab, "__file__", str(tmp_path / "dlcv_lab" / "__init__.py"))
    (tmp_path / "chapters" / "ch03_kept").mkdir(parents=True)
    held = tmp_path / "build" / "packs"
    assert [packs._taken_away(held / slug) for slug in ("ch03_kept", "ch99_gone")] == [False, True]
    assert not packs._taken_away(tmp_path / ".dlcv" / "packs" / "ch99_gone")
