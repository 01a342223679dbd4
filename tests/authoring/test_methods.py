"""A method works when it is built, tested and measured; nothing can declare it."""

import pytest

from autograder.chapter import methods
from autograder.chapter.methods import Evidence, Method

VERIFIED = frozenset({"ch99.box_blur"})
PASSED = {"ch99/box_blur": {"passed": 2, "failed": 0}, "ch99/contrast": {"passed": 1, "failed": 0}}
CLAIM = [{"id": "a", "holds": False, "methods": ["ch99/box_blur", "ch99/contrast"]}]


def entry(row, key, kind="build", ledger=CLAIM, evidence=None):
    method = Method(key, "ch99_demo", "A title", "002", kind)
    return methods._entry(method, row, ledger, evidence or Evidence(VERIFIED, PASSED))


def test_the_table_has_all_methods_of_the_lectures():
    table = methods.table()
    assert len(table) == 370
    assert len({method.key for method in table}) == 370
    assert {method.kind for method in table} == {"build", "row", "read"}


def test_an_exercise_that_verifies_is_tested_and_measured_works(demo):
    found = entry(demo, "ch99/box_blur")
    assert found["status"] == "works"
    assert found["exercises"] == ["box_blur", "unsharp"]
    assert found["oracle_tests"] == 2
    assert found["claims"] == [{"id": "a", "holds": False}]


def test_a_shown_function_counts_as_built(demo):
    assert entry(demo, "ch99/contrast", evidence=Evidence(frozenset(), PASSED))["status"] == "works"


@pytest.mark.parametrize(
    ("evidence", "ledger"),
    [
        (Evidence(frozenset(), PASSED), CLAIM),
        (Evidence(VERIFIED, {}), CLAIM),
        (Evidence(VERIFIED, {"ch99/box_blur": {"passed": 2, "failed": 1}}), CLAIM),
        (Evidence(VERIFIED, PASSED), []),
    ],
    ids=["not verified", "not tested", "a test fails", "not measured"],
)
def test_what_lacks_one_kind_of_evidence_is_partial(demo, evidence, ledger):
    assert entry(demo, "ch99/box_blur", evidence=evidence, ledger=ledger)["status"] == "partial"


def test_a_chapter_that_does_not_exist_is_missing():
    assert entry(None, "ch99/box_blur", ledger=[])["status"] == "missing"


def test_a_row_needs_a_figure_and_a_read_an_anchor_with_a_citation(demo, edit):
    from autograder.chapter import rows

    assert entry(demo, "ch99/box_blur", kind="row")["status"] == "works"
    assert entry(demo, "ch99/box_blur", kind="row", ledger=[])["status"] == "missing"
    assert entry(demo, "ch99/gabor", kind="read")["status"] == "missing"
    text = "(method-ch99-gabor)=\n## Gabor filters\n\nAs {cite:p}`lecun1998gradient` say.\n\nHow strong is"
    edit("chapters/ch99_demo/lesson_1.md", "How strong is", text)
    assert entry(rows.load_row("ch99"), "ch99/gabor", kind="read")["status"] == "works"
