"""Right code, written differently by a program: never judged wrong."""

from __future__ import annotations

import ast
import random
from pathlib import Path

import pytest
import rewriting
from variants import generated, judged, released

from autograder.chapter import rows
from autograder.grade.marking import Marker
from autograder.sandbox import detect
from dlcv_lab.checking.model import Verdict

COUNT = 60


@pytest.mark.slow
@pytest.mark.sandbox
def test_rewritten_solutions_of_chapter_3_are_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLCV_BUILD", str(tmp_path / "build"))
    row = rows.load_row("ch03")
    notebooks = released(row, tmp_path / "release")
    with Marker(row.slug, b"a secret of the tests", detect()) as marker:
        wrong = [
            f"{variant.exercise}, {variant.origin}: {result.verdict} {result.message} {result.hint}\n{variant.text}"
            for variant, result in judged(marker, notebooks, list(generated(row, COUNT)))
            if result.verdict is not Verdict.OK
        ]
    assert not wrong, "\n\n".join(wrong)


TEXT = '''
def f(x: int, *, n: int = 2) -> int:
    """Add up."""
    a = x * 3
    b = n + 1
    if a < b:
        y = a
    else:
        y = b
    for i in range(n):
        y = y + i
    return y
'''


@pytest.mark.parametrize("change", rewriting.REWRITES, ids=lambda change: change.__name__)
def test_a_rewrite_keeps_what_is_computed(change) -> None:  # type: ignore[no-untyped-def]
    for seed in range(5):
        tree = ast.parse(TEXT)
        change(tree, random.Random(seed))
        results = []
        for text in (TEXT, ast.unparse(ast.fix_missing_locations(tree))):
            scope: dict = {}
            exec(text, scope)
            results.append([scope["f"](x, n=n) for x in range(4) for n in range(4)])
        assert results[0] == results[1]


def test_every_rewrite_changes_something() -> None:
    changed = set()
    for change in rewriting.REWRITES:
        for seed in range(10):
            tree = ast.parse(TEXT + "\ndef g(x):\n    return x.sum(0) @ x if x else 1\n")
            before = ast.unparse(tree)
            change(tree, random.Random(seed))
            if ast.unparse(ast.fix_missing_locations(tree)) != before:
                changed.add(change.__name__)
    assert changed == {change.__name__ for change in rewriting.REWRITES}
