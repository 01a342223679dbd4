"""What is shipped of a probe, and how cases tell which one asks."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from autograder.declare import probes
from autograder.declare.draws import Draws, case
from autograder.declare.text import SourceError
from dlcv_lab.checking.execute import Names, load_probe

FACTOR = 3.0


@probes.shipped
def doubled(x: torch.Tensor) -> torch.Tensor:
    return 2 * x


@probes.shipped
class Twice:
    """Uses another helper."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return doubled(doubled(x))


def not_marked(x):
    return x


def plain(ns: Any, data: dict[str, Any]) -> Any:
    """Call it."""
    return ns.f(data["x"])


def helped(ns, data):
    return ns.f(Twice()(data["x"]))


def foreign(ns, data):
    return not_marked(ns.f(data["x"]))


def constant(ns, data):
    return FACTOR * ns.f(data["x"])


@pytest.fixture
def exercise(demo):
    return dataclasses.replace(demo.exercise_by_name["box_blur"], name="f", defines=("f",), groups={"a": 1, "b": 1})


def solution(name):
    return {"f": "def f(x, k=1, *, way=0):\n    return x", "Net": "class Net:\n    def __init__(self, r): ..."}[name]


def text(exercise, probe):
    return probes.text_of(dataclasses.replace(exercise, probe=probe), solution)


def test_a_function_is_shipped_as_run_without_annotations(exercise):
    assert text(exercise, plain) == 'def run(ns, data):\n    """Call it."""\n    return ns.f(data["x"])\n'


def test_a_lambda_is_no_probe(exercise):
    with pytest.raises(SourceError, match="a probe is a function"):
        text(exercise, lambda ns, data: ns.f(data))


@pytest.mark.parametrize(("probe", "name"), [(foreign, "not_marked"), (constant, "FACTOR")])
def test_what_is_not_marked_is_not_shipped(exercise, probe, name):
    with pytest.raises(SourceError, match=f"uses {name}; its text is shipped alone"):
        text(exercise, probe)


def test_marked_helpers_go_along_with_what_they_need(exercise):
    run = load_probe(text(exercise, helped))
    assert "shipped" not in text(exercise, helped)
    assert "Tensor" not in text(exercise, helped)
    assert run(Names({"f": lambda x: x + 1}), {"x": 1}) == 5


def test_a_name_is_called_by_position_and_by_name_whatever_its_parameters_are_called(exercise):
    run = load_probe(text(exercise, ""))
    assert run(Names({"f": lambda other, size=1, *, way=0: (other, size, way)}), {"way": 9, "k": 2, "x": 1}) == (
        1,
        2,
        9,
    )
    assert run(Names({"f": lambda x, other=7: (x, other)}), {"x": 1}) == (1, 7)
    assert load_probe(text(exercise, "Net"))(Names({"Net": lambda rank: rank}), {"r": 4}) == 4


def test_each_group_has_its_probe_and_the_rest_is_a_mere_call(exercise):
    mapped = dataclasses.replace(exercise, probe={"b": helped})
    cases = probes.asked(mapped, [case("a", "", x=1), case("b", "", x=1), case("a", "", x=1, ask="b")])
    run = load_probe(probes.text_of(mapped, solution))
    assert [run(Names({"f": lambda x: -x}), each.data) for each in cases] == [-1, -4, -4]
    assert [probes.is_plain(mapped, each) for each in cases] == [True, False, False]
    assert "ask" in cases[0].data


def test_a_mapping_ships_a_helper_once_and_nothing_that_is_not_used(exercise):
    made = text(exercise, {"a": helped, "b": plain})
    assert made.count("class Twice") == 1
    assert "probing.call_with" not in made


def test_a_group_without_a_probe_is_refused_where_no_function_has_the_name_of_the_exercise(exercise):
    mapped = dataclasses.replace(exercise, defines=("g",), probe={"b": "f"})
    assert "ask_1" not in probes.text_of(mapped, solution)
    with pytest.raises(SourceError, match="no probe asks for a, and f is no function"):
        probes.asked(mapped, [case("a", ""), case("b", "")])
    assert probes.asked(mapped, [case("a", "", ask="b"), case("b", "")])


def test_a_probe_that_no_case_asks_for_is_named(exercise):
    mapped = dataclasses.replace(exercise, probe={"c": helped})
    with pytest.raises(SourceError, match="no case asks for the probe c"):
        probes.asked(mapped, [case("a", "")])


def test_draws_are_those_of_their_seed_and_within_their_bounds():
    def draw(seed):
        d = Draws()
        d.manual_seed(seed)
        return [d.normal(2, 3), d.uniform(50, low=1, high=2), d.whole(3, 5), d.integers(3, 5, 50), d.mask(50, p=0.9),
                d.permutation(5), d.shuffled("abc"), d.choice("abc"), d.real(2, 3)]  # fmt: skip

    first, again, other = draw(1), draw(1), draw(2)
    assert repr(first) == repr(again) != repr(other)
    assert first[0].dtype == torch.float32
    assert first[1].min() >= 1
    assert first[1].max() < 2
    assert {3, 4, 5} == set(first[3].tolist())
    assert first[4].sum() > 30
    assert sorted(first[6]) == ["a", "b", "c"]
    assert Draws().normal(2, dtype=torch.float64).dtype == torch.float64
    d = Draws()
    d.manual_seed(0)
    assert {d.whole(0, 1) for _ in range(40)} == {0, 1}
