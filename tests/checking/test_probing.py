"""What probes use: a student's answer that is no use is told as such, not as an exception of the checker."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dlcv_lab.checking import probing
from dlcv_lab.checking.envelope import encode
from dlcv_lab.checking.execute import Names, load_namespace, load_probe, run_case
from dlcv_lab.checking.model import Program


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "your code returns None: is a `return` missing?"),
        (np.ones(2), "your code returns a NumPy array: return a tensor"),
        (np.float64(2), "your code returns a NumPy float64: return a tensor"),
        ((torch.ones(1), None), "item 1 of what your code returns is None"),
    ],
)
def test_an_answer_of_no_use_is_told(value, says):
    with pytest.raises(probing.Unusable) as told:
        probing.call(lambda: value)
    assert says in str(told.value)


@pytest.mark.parametrize("value", [torch.ones(2), 3, (1, torch.ones(1)), {"a": None}, False])
def test_everything_else_goes_through(value):
    assert probing.call(lambda: value) is value


def test_the_student_gets_the_sentence_as_an_outcome_of_its_own():
    run = load_probe("def run(ns, data):\n    return probing.gradients(ns.f, [data['x']])[1]\n")
    raw = encode({"x": torch.ones(2)})
    outcome = run_case(run, Names({"f": lambda x: None}), raw)
    assert (outcome.status, outcome.message) == ("type", "your code returns None: is a `return` missing?")
    assert run_case(run, Names({"f": lambda x: 2 * x}), raw).value[0].tolist() == [2, 2]
    assert (
        run_case(run, Names({"f": lambda x: 3.0}), raw).message
        == "your code returns a float where a tensor is expected"
    )


def test_gradients_pass_on_what_is_no_floating_tensor():
    x, mask = torch.ones(3), torch.tensor([True, False, True])
    value, found = probing.gradients(lambda x, mask, b: (x * mask).sum(), [x, mask, None])
    assert value == 2
    assert len(found) == 1
    assert found[0].tolist() == [1, 0, 1]


def test_a_line_of_the_set_up_is_not_told_as_the_students():
    setup = "def given(x):\n    raise KeyError('colour')"
    program = Program(setup, ("def f(x):\n    return given(x)",), attempted=True)
    names, _ = load_namespace(program)
    outcome = run_case(load_probe("def run(ns, data):\n    return ns.f(1)\n"), names, encode({}))
    assert (outcome.error, outcome.line) == ("KeyError", "return given(x)")


def test_what_a_probe_cannot_use_is_told_and_not_what_it_raised():
    run = load_probe("def run(ns, data):\n    a, b = ns.f(1)\n    return a\n")
    outcome = run_case(run, Names({"f": lambda x: 3.0}), encode({}))
    assert outcome.status == "type"
    assert "the check cannot go on with what your code returns (the float 3.0)" in outcome.message
    outcome = run_case(run, Names({"f": lambda x: ValueError("no")}), encode({}))
    assert outcome.message == "your code returns the exception ValueError: write `raise` instead of `return`"
    assert run_case(run, Names({"f": lambda x, y: 3.0}), encode({})).error == "TypeError"  # their signature is theirs
