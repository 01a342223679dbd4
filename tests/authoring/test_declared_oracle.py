"""A declared oracle: agrees with a right reference, and tells a planted wrong one by value, gradient and error."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from autograder.chapter import oracle_record as record
from autograder.chapter import rows
from autograder.declare import oracle
from autograder.declare.draws import Draws, case


def library(data):
    if data["k"] > 4:
        raise RuntimeError("too large")
    return {"y": F.avg_pool1d(data["x"][None], data["k"], 1)[0], "k": data["k"]}


def right(data):
    if data["k"] > 4:
        raise ValueError("too large")
    return {"k": data["k"], "y": data["x"].unfold(1, data["k"], 1).mean(2)}


def wrong_value(data):
    answer = right(data)
    return answer | {"y": answer["y"] * (1 + 1e-7)}


def wrong_gradient(data):
    x = data["x"]
    return {"k": data["k"], "y": right({"x": x.detach(), "k": data["k"]})["y"] + 0 * x.sum()}


def no_gradient(data):
    return {"k": data["k"], "y": right(data)["y"].detach()}


def never_refuses(data):
    return right(data | {"k": min(data["k"], 4)})


def only_float32(data):
    answer = right(data)
    return answer | {"y": answer["y"] + (0.1 if data["x"].dtype == torch.float32 else 0)}


@pytest.fixture
def exercise(demo):
    return dataclasses.replace(demo.exercise_by_name["box_blur"], oracle=library)


@pytest.fixture
def cases():
    d = Draws()
    d.manual_seed(0)
    return [case("plain", "a", x=d.normal(2, 6), k=3), case("edge", "b", x=d.normal(1, 4), k=5)]


def test_a_right_reference_agrees_in_values_gradients_and_errors(exercise, cases):
    assert oracle.compare_all(exercise, right, cases) == oracle.Agreement(cases=1, gradients=1, errors=1)


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        (wrong_value, r"case 'a', \['y'\]"),
        (wrong_gradient, r"case 'a', gradients"),
        (no_gradient, "no gradient comes through the reference"),
        (never_refuses, "case 'b': the reference gives .*RuntimeError"),
        (only_float32, "in torch.float32"),
        (lambda data: right(data)["y"], "the reference answers"),
    ],
)
def test_a_planted_wrong_reference_is_told(exercise, cases, reference, says):
    with pytest.raises(oracle.OracleError, match=f"(?s)box_blur.*{says}"):
        oracle.compare_all(exercise, reference, cases)


def test_an_oracle_may_leave_cases_out_but_not_all(exercise, cases):
    one = dataclasses.replace(exercise, oracle={"plain": library})
    assert oracle.compare_all(one, right, cases).errors == 0
    none = dataclasses.replace(exercise, oracle=lambda data: NotImplemented)
    with pytest.raises(oracle.OracleError, match="answers none of the cases"):
        oracle.compare_all(none, right, cases)


def test_the_shared_tests_are_noted_for_the_chapter_of_each_exercise(demo, monkeypatch):
    monkeypatch.setattr(rows, "load_row", lambda chapter: dataclasses.replace(demo, exercises=tuple(
        dataclasses.replace(one, oracle=library) for one in demo.exercises)))  # fmt: skip
    node = "tests/chapters/test_oracles.py::test_the_reference_agrees_with_its_oracle[ch99.box_blur]"
    other = node.replace("box_blur", "unsharp")
    passed = {"keys": ["ch99/box_blur"], "outcome": "passed"}
    record.record({"tests/chapters/test_oracles.py": {node: passed}}, complete=True)
    held = record.load()["test_oracles.py[ch99]"]
    assert not held["complete"]
    assert record.counts() == {"ch99/box_blur": {"passed": 1, "failed": 0}}
    record.record({"tests/chapters/test_oracles.py": {node: passed, other: passed}}, complete=False)
    assert record.load()["test_oracles.py[ch99]"]["complete"]
    assert record.names("ch99_demo")[-1] == "test_oracles.py[ch99]"
