"""Oracle tests count for the state of the chapter that they ran on, and for no other."""

import json

import pytest

from autograder.base import paths
from autograder.chapter import content_version, oracle_record
from autograder.chapter.methods import Evidence
from autograder.release import method_evidence, packing, verify

FILE = "tests/chapters/test_ch99_demo.py"
PASSED = {"keys": ["ch99/box_blur"], "outcome": "passed"}
FAILED = {"keys": ["ch99/box_blur", "ch99/contrast"], "outcome": "failed"}


@pytest.fixture(autouse=True)
def _no_shared_part(monkeypatch):
    """Leave out what the skeleton's own oracle adds to the record; test_declared_oracle looks at that."""
    monkeypatch.setattr(oracle_record, "declared", lambda slug: [])


def test_outcomes_are_counted_by_method(demo):
    oracle_record.record({FILE: {"a": PASSED, "b": PASSED, "c": FAILED}}, complete=True)
    expected = {"ch99/box_blur": {"passed": 2, "failed": 1}, "ch99/contrast": {"passed": 0, "failed": 1}}
    assert oracle_record.counts() == expected
    assert json.loads((paths.records() / "oracle.json").read_text()) == expected
    assert oracle_record.is_fresh("ch99_demo")


def test_a_part_of_the_tests_adds_to_the_record_but_does_not_complete_it(demo):
    oracle_record.record({FILE: {"a": PASSED}}, complete=False)
    assert not oracle_record.is_fresh("ch99_demo")
    oracle_record.record({FILE: {"a": PASSED, "b": PASSED}}, complete=True)
    oracle_record.record({FILE: {"b": FAILED}}, complete=False)
    assert oracle_record.is_fresh("ch99_demo")
    assert oracle_record.counts()["ch99/box_blur"] == {"passed": 1, "failed": 1}


def test_a_changed_solution_makes_the_record_old(demo, edit):
    oracle_record.record({FILE: {"a": PASSED}}, complete=True)
    edit("solutions/ch99_demo.py", "correction=0", "correction=1")
    assert not oracle_record.is_fresh("ch99_demo")
    assert method_evidence.gather().oracle == {}


def test_tests_that_are_gone_do_not_count(demo):
    oracle_record.record({FILE: {"a": PASSED, "b": PASSED}}, complete=True)
    oracle_record.record({FILE: {"a": PASSED}}, complete=True)
    assert oracle_record.counts()["ch99/box_blur"]["passed"] == 1


def test_evidence_takes_verified_exercises_of_the_present_version_only(demo, edit):
    oracle_record.record({FILE: {"a": PASSED}}, complete=True)
    infos = packing.infos_of(demo)
    record = {info.key: {"ok": True, "version": content_version.verified_as(demo, info), "seeds": 3} for info in infos}
    record["ch99.unsharp"]["version"] = "older"
    (paths.records() / "verify.json").write_text(json.dumps(record))
    found = method_evidence.gather()
    assert found == Evidence(frozenset({"ch99.box_blur"}), {"ch99/box_blur": {"passed": 1, "failed": 0}})
    assert set(verify.verified()) == {"ch99.box_blur", "ch99.unsharp"}


def test_evidence_is_read_and_nothing_is_run(demo, monkeypatch):
    monkeypatch.setattr(oracle_record, "refresh", lambda slugs: pytest.fail(f"ran the tests of {slugs}"))
    monkeypatch.setattr(verify, "verify_row", lambda row, *_, **__: pytest.fail(f"verified {row.key}"))
    assert method_evidence.gather() == Evidence()
    assert method_evidence.unproved() == ["ch99_demo"]


@pytest.mark.parametrize("name", ["test_ch99_demo.py", "test_ch99_demo_lesson_1.py"])
def test_a_test_file_belongs_to_its_chapter(demo, name):
    assert oracle_record.slug_of(f"tests/chapters/{name}") == "ch99_demo"
    assert oracle_record.slug_of("tests/core/test_data.py") is None
