"""An answer is right within measured tolerances, and what is wrong about it is said truly."""

import math

import numpy as np
import pytest
import torch

from dlcv_lab.checking.compare import compare, describe, deviations, input_dtype, numeric_leaves, tolerances
from dlcv_lab.checking.model import Case

X = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (X.float(), X),
        (X, X),
        (X + 1e-6, X),
        ((1, 2), [1, 2]),
        ([1, (2.0, "a")], (1, [2.0, "a"])),
        (torch.tensor(2.5), 2.5),
        (np.array(2.5), 2.5),
        (torch.tensor(3), 3),
        (3, 3.0),
        (torch.tensor(True), True),
        (torch.tensor([1, 2], dtype=torch.int32), torch.tensor([1, 2])),
        (None, None),
        ({"b": 1, "a": 2}, {"a": 2, "b": 1}),
        (float("nan"), float("nan")),
        (torch.tensor([1.0, float("inf")]), torch.tensor([1.0, float("inf")])),
        (10**30, 10**30),
        (torch.empty(0, 3), torch.empty(0, 3)),
    ],
)
def test_right_answers_in_another_form_are_right(got, expected):
    assert compare(got, expected).equal


@pytest.mark.parametrize(
    ("got", "expected", "kind", "text"),
    [
        (X.t(), X, "shape", "the shape is (3, 2), expected (2, 3)"),
        (X[0], X, "shape", "the shape is (3,), expected (2, 3)"),
        (X.long(), X, "dtype", "the dtype is int64"),
        (X.half(), X, "dtype", "the dtype is float16"),
        (X.numpy(), X, "type", "a numpy array of shape (2, 3) came"),
        (X.tolist(), X, "type", "a list of length 2 came"),
        (None, X, "type", "None came"),
        (1.0, torch.tensor(1.0), "type", "the float 1.0 came"),
        (3.0, 3, "dtype", "the dtype is float64, expected int64"),
        (True, 1, "type", "True came"),
        (1, True, "type", "the int 1 came"),
        ("1", 1, "type", "the text '1' came"),
        ((1, 2, 3), (1, 2), "structure", "a tuple of length 3 came where a tuple of length 2"),
        ({"a": 1}, {"a": 1, "b": 2}, "structure", "missing 'b'"),
        ({"a": 1, "b": 2}, {"a": 1}, "structure", "not expected 'b'"),
        (X + 0.5, X, "value", "the largest difference is 0.5"),
        (torch.tensor([1, 3]), torch.tensor([1, 2]), "value", "the largest difference is 1"),
        (10**30, 10**30 + 1, "value", "came where"),
        (2, 3, "value", "2 came where 3 is expected"),
        (X.where(X != 2, torch.nan), X, "nan", "1 of 6 numbers are NaN"),
        (X / 0, X, "nan", "6 of 6 numbers are infinite"),
        (float("nan"), 1.0, "nan", "the number is NaN"),
        ("abc", "abd", "value", "the text 'abc' came"),
        ([1, [2, 3]], [1, [2, 4]], "value", "at [1][1], 3 came where 4"),
    ],
)
def test_wrong_answers_are_wrong_and_it_is_said_why(got, expected, kind, text):
    found = compare(got, expected)
    assert not found.equal
    assert found.kind == kind
    assert text in found.text


def test_the_largest_difference_is_that_of_all_leaves():
    assert compare([X, X + 0.25], [X + 1.0, X]).max_difference == 1.0
    assert compare(X, X).text == "exact"
    assert compare(X + 2e-6, X).text == "within tolerance"


def test_a_wrong_type_is_told_before_a_wrong_number():
    assert compare([X + 1, None], [X, X]).path == "[1]"


def test_exact_dtype_asks_for_the_dtype_of_the_inputs():
    assert compare(X.float(), X, exact_dtype=True, dtype=torch.float32).equal
    found = compare(X, X, exact_dtype=True, dtype=torch.float32)
    assert found.text == "the dtype is float64, expected float32"
    assert not compare(torch.tensor([1], dtype=torch.int32), torch.tensor([1]), exact_dtype=True).equal


def test_half_precision_answers_fit_half_precision_inputs():
    assert compare(X.half(), X, [0.1], dtype=torch.float16).equal


def test_every_numeric_leaf_has_its_own_tolerance():
    expected = {"a": X, "name": "x", "n": 3, "flag": True, "b": [1.0, X]}
    assert [path for path, _ in numeric_leaves(expected)] == ["['a']", "['n']", "['b'][0]", "['b'][1]"]
    near = {"a": X + 0.9, "name": "x", "n": 3, "flag": True, "b": [1.0, X]}
    assert compare(near, expected, [1.0, 0, 0, 0]).equal
    assert not compare(near, expected, [0, 0, 1.0, 1.0]).equal


def test_a_leaf_that_is_missing_does_not_shift_the_tolerances_of_those_after_it():
    expected = [[X, X], X]
    assert compare([None, X + 0.9], expected, [0, 0, 1.0]).path == "[0]"


def test_tolerances_come_from_the_dtype_or_from_what_right_solutions_deviate():
    expected = [torch.tensor([0.0, 100.0], dtype=torch.float64), 7, torch.zeros(2, dtype=torch.float64)]
    assert tolerances(expected, [(1e-7, 0, 0)], torch.float32) == pytest.approx((1e-3, 0.0, 1e-5))
    assert tolerances(expected, [(0.001, 0, 0), (0.01, 0, 0)], torch.float32)[0] == pytest.approx(0.08)
    assert tolerances(expected, [], torch.float64)[0] == pytest.approx(1e-7)


def test_a_right_solution_that_answers_something_else_is_an_authors_mistake():
    runs = [deviations(X.t(), X)]
    assert runs == [(math.inf,)]
    with pytest.raises(ValueError, match="a right solution answers something else"):
        tolerances(X, runs, torch.float32)


def test_deviations_are_measured_leaf_by_leaf():
    assert deviations([X + 1, 5.0], [X, 5.5]) == (1.0, 0.5)
    assert deviations([X], [X, 5.5]) == (0.0, math.inf)
    assert deviations(X.where(X != 2, torch.nan), X) == (math.inf,)


def test_the_dtype_of_the_inputs_is_known_where_it_is_one():
    assert input_dtype(Case("a", {"x": X.float(), "y": [X.float()], "i": torch.arange(2)})) == torch.float32
    assert input_dtype(Case("a", {"x": X.float(), "y": X})) is None
    assert input_dtype(Case("a", {"n": 3})) is None


def test_values_are_described_in_words():
    assert describe(X, torch.float32) == "a float32 tensor of shape (2, 3)"
    assert describe(torch.arange(3)) == "an int64 tensor of shape (3,)"
    assert describe(None) == "None"
