"""Student code runs one statement at a time, on fresh inputs, and whatever it does becomes an outcome."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from dlcv_lab.checking import execute
from dlcv_lab.checking.envelope import encode
from dlcv_lab.checking.forbidding import forbidden_names
from dlcv_lab.checking.model import Forbid, Job, Limits, Program
from dlcv_lab.checking.runners import LocalRunner
from dlcv_lab.checking.wire import decode_outcome

PROBE = "def run(ns, data):\n    return ns.f(**data)\n"
X = {"x": torch.arange(6.0).view(2, 3)}


def program(*statements: str) -> Program:
    return Program("import torch\nimport torch.nn.functional as F", statements, attempted=True)


def outcome(source: str, data=X, forbid=execute.NOTHING):
    names, notes = execute.load_namespace(program(source))
    assert not notes
    return execute.run_case(execute.load_probe(PROBE), names, encode(data), forbid)


def test_a_value_comes_back_as_plain_data():
    got = outcome("def f(x):\n    return {'y': torch.nn.Parameter(x * 2), 'n': 3}")
    assert got.status == "value"
    assert type(got.value["y"]) is torch.Tensor
    assert torch.equal(got.value["y"], X["x"] * 2)


def test_every_case_gets_inputs_of_its_own():
    assert outcome("def f(x):\n    x += 1\n    return x").mutated == ("x",)
    assert torch.equal(outcome("def f(x):\n    return x").value, X["x"])


def test_a_nan_that_stays_is_no_change():
    assert outcome("def f(x):\n    return x", {"x": torch.tensor([float("nan")])}).mutated == ()


def test_an_exception_is_told_with_its_line_and_bases():
    got = outcome("def f(x):\n    y = x\n    return y[99]  # here")
    assert (got.status, got.error) == ("raised", "IndexError")
    assert "LookupError" in got.error_bases
    assert got.line == "return y[99]  # here"


@pytest.mark.parametrize("body", ["raise SystemExit(0)", "raise BaseException('x')", "raise MemoryError"])
def test_ways_out_of_the_process_are_outcomes(body):
    assert outcome(f"def f(x):\n    {body}").status in ("raised", "memory")


def test_a_hostile_exception_text_is_left_out():
    text = "class E(Exception):\n    def __str__(self):\n        raise ValueError\ndef f(x):\n    raise E"
    assert outcome(text).message == ""


def test_a_missing_name_is_named():
    got = outcome("def g(x):\n    return x")
    assert (got.status, got.message) == ("missing", "f is not defined")


def test_what_is_no_plain_data_is_a_type_error():
    assert outcome("def f(x):\n    return (value for value in x)").status == "type"


def test_a_statement_that_raises_is_skipped_and_reported():
    names, notes = execute.load_namespace(program("scale = unknown", "def f(x):\n    return x"))
    assert names.f(1) == 1
    (note,) = notes
    assert "NameError" in note
    assert "scale = unknown" in note


def test_dataclasses_with_postponed_annotations_work():
    lines = ["from __future__ import annotations", "from dataclasses import dataclass", "@dataclass", "class P:",
             "    a: int", "def f(x):", "    return P(3).a"]  # fmt: skip
    text = "\n".join(lines)
    assert outcome(text).value == 3


def test_random_numbers_are_the_same_in_every_run():
    text = "def f(x):\n    return torch.rand(3)"
    assert torch.equal(outcome(text).value, outcome(text).value)


def test_a_forbidden_operator_is_seen_however_it_is_called():
    text = "def f(x):\n    return getattr(F, 'con' + 'v1d')(x[None], torch.ones(1, 2, 1))"
    assert outcome(text, forbid=Forbid(aten=("aten.convolution*",))).forbidden == ("aten.convolution.default",)
    assert outcome("def f(x):\n    return x", forbid=Forbid(aten=("aten.convolution*",))).forbidden == ()


@pytest.mark.parametrize(
    "source",
    [
        "def f(x):\n    return F.conv2d(x)",
        "import torch.nn.functional as other\ny = other.conv2d",
        "from torch.nn.functional import conv2d as c\nc(1)",
        "torch.nn.functional.conv2d(1)",
        "import torch as t\nt.nn.functional.conv2d",
    ],
)
def test_a_forbidden_name_is_seen_under_other_names(source):
    assert forbidden_names([source], ["F.conv2d"]) == ("F.conv2d",)


def test_other_names_are_not_forbidden():
    assert forbidden_names(["def conv2d(x):\n    return my.conv2d(x)"], ["F.conv2d"]) == ()


def job(source: str, **limits) -> Job:
    return Job(program(source), PROBE, (encode(X), encode({"x": torch.ones(1)})), limits=Limits(**limits))


def test_an_answer_that_is_too_large_is_not_sent():
    frames = []
    execute.run_job(
        job("def f(x):\n    return torch.zeros(5000) + x.sum()", output_bytes=3000), lambda i, f: frames.append(f)
    )
    assert [decode_outcome(frame).status for frame in frames] == ["output", "output"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "statuses"),
    [
        ("return x + 1", ["value", "value"]),
        ("import os\n    return os._exit(0) if x.ndim == 1 else x", ["value", "signal"]),
        ("while x.ndim == 1:\n        pass\n    return x", ["value", "timeout"]),
        ("import ctypes\n    return ctypes.string_at(0)", ["signal", "signal"]),
    ],
)
def test_a_fresh_process_answers_for_every_case(body, statuses):
    outcomes = LocalRunner().run(job(f"def f(x):\n    {body}", seconds=3))
    assert [o.status for o in outcomes] == statuses


def test_code_finds_itself_in_main_and_nothing_is_compiled():
    frames = []
    compiler, main = torch.compile, sys.modules["__main__"]
    source = "@torch.compile(mode='max-autotune')\ndef f(x):\n    import __main__\n    return __main__.f is f, __name__"
    execute.run_job(job(source), lambda index, frame: frames.append(frame))
    assert [decode_outcome(frame).value for frame in frames] == [(True, "__main__")] * 2
    assert (torch.compile, sys.modules["__main__"]) == (compiler, main)


def test_what_stands_stays_and_what_comes_later_only_adds():
    code = ("k = 2", "def f(x):\n    return x * k + extra", "k = 3", "extra = 1", "f = None")
    made = Program("import torch", code, attempted=True, stands=(1, 2, 2))
    names, notes = execute.load_namespace(made)
    assert (names.f(5), notes) == (11, ())


def test_annotations_are_postponed_where_a_cell_says_so():
    plain = "def f(x: int):\n    return f.__annotations__['x'] is int"
    assert execute.load_namespace(program(plain))[0].f(1)
    names, notes = execute.load_namespace(
        program("from __future__ import annotations", "def f(x: Later):\n    return 2")
    )
    assert (names.f(1), notes) == (2, ())


def test_await_at_the_top_of_a_cell():
    cells = program("async def load():\n    return 3", "k = await load()")
    with ThreadPoolExecutor(1) as pool:  # Playwright's tests may have left a loop running in this thread
        names, notes = pool.submit(execute.load_namespace, cells).result()
    assert (names.k, notes) == (3, ())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere jobs share a process")
def test_what_a_job_does_to_a_library_does_nothing_to_the_next():
    with LocalRunner() as runner:
        runner.run(job("def f(x):\n    F.relu = None\n    return x"))
        assert [o.status for o in runner.run(job("def f(x):\n    return F.relu(x)"))] == ["value", "value"]


def test_a_line_of_a_stand_in_is_nobodys_own():
    source = "def f(x):\n    return used(x, 1)"
    names, _ = execute.load_namespace(program(source), "def used(x, n):\n    return x.view(5)")
    got = execute.run_case(execute.load_probe(PROBE), names, encode(X))
    assert (got.status, got.line) == ("raised", "return used(x, 1)")
