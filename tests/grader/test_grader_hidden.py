"""Secret cases: drawn from a seed, right in float64, with tolerances that right solutions keep."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from grader_helpers import Class

from autograder.declare.draws import case
from autograder.declare.exercise import Alternative, Exercise, Misconception
from autograder.release import judged_cases, packing
from autograder.release.judged_cases import (
    HiddenError,
    attempt_seed,
    draw,
    hidden_pack,
    key_id,
    public_pack,
    student_key,
)
from dlcv_lab.checking.envelope import encode
from dlcv_lab.checking.judging import judge_outcomes
from dlcv_lab.checking.model import ExerciseInfo, Pack, Verdict

SECRET = b"0123456789abcdef0123456789abcdef"


@pytest.fixture
def blur(klass: Class) -> tuple[Exercise, ExerciseInfo]:
    exercise = klass.row.exercise_by_name["box_blur"]
    return exercise, packing.info_of(klass.row, exercise)


def bytes_of(pack: Pack) -> bytes:
    return b"".join(encode(case.data) for case in pack.cases)


def test_the_same_attempt_meets_the_same_cases_and_another_does_not() -> None:
    one = attempt_seed(student_key(SECRET, "alice"), "ch99.box_blur", "d1")
    assert one == attempt_seed(student_key(SECRET, "alice"), "ch99.box_blur", "d1")
    others = {
        attempt_seed(student_key(SECRET, "bob"), "ch99.box_blur", "d1"),
        attempt_seed(student_key(SECRET, "alice"), "ch99.unsharp", "d1"),
        attempt_seed(student_key(SECRET, "alice"), "ch99.box_blur", "d2"),
        attempt_seed(student_key(SECRET[::-1], "alice"), "ch99.box_blur", "d1"),
        attempt_seed(student_key(SECRET, "alice"), "ch99.box", "_blurd1"),
    }
    assert len(others | {one}) == 6


def test_the_id_of_a_secret_does_not_tell_it() -> None:
    assert key_id(SECRET) != key_id(SECRET[::-1])
    assert SECRET.hex() not in key_id(SECRET)


def test_a_seed_decides_the_cases(blur: tuple[Exercise, ExerciseInfo]) -> None:
    assert bytes_of(hidden_pack(*blur, b"a")) == bytes_of(hidden_pack(*blur, b"a"))
    assert bytes_of(hidden_pack(*blur, b"a")) != bytes_of(hidden_pack(*blur, b"b"))


def test_expected_values_are_float64_and_errors_are_expected(blur: tuple[Exercise, ExerciseInfo]) -> None:
    pack = hidden_pack(*blur, b"a")
    values = [outcome.value for outcome in pack.expected if outcome.status == "value"]
    assert {value.dtype for value in values} == {torch.float64}
    errors = [outcome.error for outcome in pack.expected if outcome.status == "raised"]
    assert errors == ["ValueError"]
    assert all(0 < t < 1e-4 for row in pack.tolerances for t in row)


def test_misconceptions_are_only_run_when_asked(blur: tuple[Exercise, ExerciseInfo], klass: Class) -> None:
    reference = judged_cases.Reference(*blur, klass.reference("box_blur"))
    pack = reference.pack(draw(blur[0], b"a"))
    assert set(reference._namespaces) == {"", *(variant.name for variant in blur[0].alternatives)}
    answers = pack.misconceptions()
    assert [answer.name for answer in answers] == [wrong.name for wrong in blur[0].misconceptions]
    assert pack.misconceptions() is answers


def test_the_public_pack_holds_every_kind_of_case_and_tells_every_mistake(
    blur: tuple[Exercise, ExerciseInfo],
) -> None:
    exercise, info = blur
    pack = public_pack(exercise, info)
    assert {case.group for case in pack.cases} == set(exercise.groups)
    assert [case.note for case in pack.cases] == [case.note for case in draw(exercise, b"another seed")]
    for wrong in pack.misconceptions():
        result = judge_outcomes(pack, wrong.outcomes)
        assert result.verdict is not Verdict.OK
        assert result.hint == wrong.hint
    assert bytes_of(pack) == bytes_of(public_pack(exercise, info))


def test_where_a_mistake_raises_its_line_stays_with_us(blur: tuple[Exercise, ExerciseInfo]) -> None:
    gives_up = Misconception(name="gives_up", code=(box_blur__gives_up,), hint="It gives up.", source_of="card trap")
    pack = public_pack(dataclasses.replace(blur[0], misconceptions=(gives_up,)), blur[1])
    outcomes = pack.misconceptions()[0].outcomes
    assert {outcome.error for outcome in outcomes} == {"RuntimeError"}
    assert {outcome.line for outcome in outcomes} == {""}
    assert {outcome.message for outcome in outcomes} == {"not today"}


@pytest.mark.parametrize("data", [{"X": 0}, {"x": torch.zeros(3, 3)}])
def test_data_that_no_parameter_takes_is_the_authors_fault(
    blur: tuple[Exercise, ExerciseInfo], data: dict[str, Any]
) -> None:
    exercise, info = blur
    misnamed = dataclasses.replace(exercise, groups={"plain": 1}, cases=lambda d: [case("plain", "misnamed", **data)])
    with pytest.raises(HiddenError, match=r"'misnamed' cannot be put to the reference .*name its data like"):
        public_pack(misnamed, info)


def test_a_group_without_a_case_is_the_authors_fault(blur: tuple[Exercise, ExerciseInfo]) -> None:
    lonely = dataclasses.replace(blur[0], groups={**blur[0].groups, "gradient": 1.0})
    with pytest.raises(HiddenError, match="gradient"):
        draw(lonely, b"a")


def box_blur__gives_up(x, k):
    raise RuntimeError("not today")


def box_blur__another_shape(x, k):
    return x


@pytest.mark.parametrize("code", [box_blur__gives_up, box_blur__another_shape])
def test_an_alternative_that_is_wrong_is_the_authors_fault(blur: tuple[Exercise, ExerciseInfo], code: Any) -> None:
    exercise, info = blur
    wrong = dataclasses.replace(exercise, alternatives=(Alternative(name="wrong", code=(code,)),))
    with pytest.raises(HiddenError, match=r"wrong fails on the case|answers something else"):
        hidden_pack(wrong, info, b"a")
