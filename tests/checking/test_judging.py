"""Outcomes become verdicts and points: positive evidence only, groups as a whole, known mistakes by name."""

from dataclasses import replace

import pytest
import torch
from small_packs import outcome, pack

from dlcv_lab.checking.judging import judge_outcomes, with_broken
from dlcv_lab.checking.model import Case, NearAnswers, Outcome, PairAnswers, Verdict

X = torch.arange(12.0).reshape(6, 2)
CASES = [
    Case("plain", {"x": X, "stride": 1}, "stride 1"),
    Case("plain", {"x": X + 1, "stride": 1}, "other numbers"),
    Case("stride", {"x": X, "stride": 2}, "stride 2"),
]
POINTS = {"groups": {"plain": 2.0, "stride": 1.0}, "points": 3.0}


def right(x, stride):
    return 2 * x[::stride]


def ignores_stride(x, stride):
    return 2 * x


def forgets_factor(x, stride):
    return x[::stride]


def late(x, stride):
    return 2 * x[stride - 1 :: stride]


KNOWN = [
    ("ignores_stride", "Where does `stride` come in?", ignores_stride),
    ("forgets_factor", "Twice.", forgets_factor),
]


def made(**changes):
    return pack(right, CASES, KNOWN, **(POINTS | changes))


def judged(function, **changes):
    return judge_outcomes(made(**changes), [outcome(function, case.data) for case in CASES])


def test_a_right_solution_earns_everything():
    result = judged(right)
    assert (result.verdict, result.score, result.max_score) == (Verdict.OK, 3.0, 3.0)
    assert result.message == "All 3 cases are right."
    assert [case.text for case in result.cases] == ["exact"] * 3
    assert result.hint == ""


def test_a_known_mistake_is_named_and_other_groups_keep_their_points():
    result = judged(ignores_stride)
    assert (result.verdict, result.score) == (Verdict.PA, 2.0)
    assert result.message == "2 of 3 cases right. In the case 'stride 2', the shape is (6, 2), expected (3, 2)."
    assert result.hint == "Where does `stride` come in?"
    assert result.diagnosis.source == "misconception"
    assert [case.verdict for case in result.cases] == [Verdict.OK, Verdict.OK, Verdict.TY]


def test_a_group_earns_only_if_all_its_cases_are_right():
    def wrong_once(x, stride):
        return right(x, stride) + float(x[0, 0] == 1)

    result = judged(wrong_once)
    assert (result.verdict, result.score) == (Verdict.PA, 1.0)


def test_misconceptions_are_not_run_while_everything_is_right():
    def never():
        raise AssertionError("asked")

    plain = made()
    lazy = type(plain)(plain.info, plain.cases, plain.expected, plain.tolerances, never)
    assert judge_outcomes(lazy, [outcome(right, case.data) for case in CASES]).verdict is Verdict.OK


def test_a_tensor_is_no_number_where_numbers_are_promised():
    stub = "def f(x) -> float:\n    raise NotImplementedError"
    for text, verdict in ((stub, Verdict.TY), (stub.replace(" -> float", ""), Verdict.OK)):
        made = pack(lambda x: float(x.sum()), [Case("a", {"x": X}, "a")], stub=text)
        result = judge_outcomes(made, [outcome(lambda x: x.sum(), {"x": X})])
        assert result.verdict is verdict
    assert (
        "a Python number is promised"
        in judge_outcomes(
            pack(lambda x: float(x.sum()), [Case("a", {"x": X}, "a")], stub=stub),
            [outcome(lambda x: x.sum(), {"x": X})],
        ).hint
    )


def test_used_exercises_that_are_not_right_are_named():
    wrong, right_ = judged(ignores_stride), judged(right)
    assert with_broken(wrong, ["clip_loss"]).notes[-1] == "It uses `clip_loss`, which is not right yet: begin there."
    assert with_broken(right_, ["clip_loss"]).notes == ()


def test_parts_of_a_tuple_have_the_names_of_the_text():
    made = pack(lambda x: (x, 2 * x), [Case("a", {"x": X}, "a")], returns=("dx", "dw"))
    result = judge_outcomes(made, [outcome(lambda x: (x, x + 2), {"x": X})])
    assert "at `dw`" in f"{result.message} {result.hint}"
    assert "item 1" not in f"{result.message} {result.hint}"


def test_exceptions_that_say_something_else_are_no_known_mistake():
    def views(x, stride):
        return x.view(5)

    def adds(x, stride):
        return x + torch.ones(7, 7)

    bad = pack(right, CASES, [("wrong_view", "`view` needs as many elements.", views)], **POINTS)
    assert judge_outcomes(bad, [outcome(adds, case.data) for case in CASES]).diagnosis.source == "generic"


def both(x, stride):
    return x[stride - 1 :]


def with_pairs(function):
    """Judge with the pair of the two known mistakes; return the result and the cases that the pair was asked for."""
    asked = []

    def answer(index):
        asked.append(index)
        return outcome(lambda x, stride: x, CASES[index].data)

    bad = replace(made(), pairs=lambda: [PairAnswers(0, 1, answer)])
    return judge_outcomes(bad, [outcome(function, case.data) for case in CASES]), asked


def test_two_known_mistakes_at_once_are_both_told():
    result, _ = with_pairs(lambda x, stride: x)
    assert result.hint == "Two mistakes at once. Where does `stride` come in? And: Twice."
    assert (result.diagnosis.key, result.diagnosis.source) == ("ignores_stride+forgets_factor", "misconception")


def test_pairs_are_tried_where_no_single_mistake_explains_the_answer_and_not_further_than_the_first_difference():
    assert with_pairs(right)[1] == []
    assert with_pairs(ignores_stride)[1] == []
    result, asked = with_pairs(both)
    assert result.diagnosis.source == "generic"
    assert asked == [0, 1, 2]
    assert with_pairs(lambda x, stride: 3 * x)[1] == [0]


def test_exceptions_alone_are_no_evidence_of_two_mistakes():
    def fails(x, stride):
        raise ValueError

    assert with_pairs(lambda x, stride: fails(x, stride) if stride == 2 else right(x, stride))[1] == []


def test_an_answer_that_only_resembles_a_known_mistake_is_not_called_it():
    result = judged(lambda x, stride: 2 * x if stride == 1 else 2 * x + 1)
    assert result.diagnosis is None or result.diagnosis.source == "generic"


def test_a_known_mistake_is_known_by_its_exceptions_too():
    def raises(x, stride):
        return x.view(5)

    known = [("wrong_view", "`view` needs the same number of elements.", raises)]
    bad = pack(right, CASES, known, **POINTS)
    result = judge_outcomes(bad, [outcome(raises, case.data) for case in CASES])
    assert (result.verdict, result.hint) == (Verdict.RE, "`view` needs the same number of elements.")
    assert "In the case 'stride 1', your code raised RuntimeError: shape '[5]' is invalid" in result.message
    assert "in the line `return x.view(5)`" in result.message


def stub(x, stride):
    raise NotImplementedError


def test_a_stub_is_not_attempted():
    result = judged(stub)
    assert (result.verdict, result.score, result.hint) == (Verdict.NA, 0.0, "")


def test_one_missing_part_does_not_zero_the_others():
    result = judged(lambda x, stride: right(x, stride) if stride == 1 else stub(x, stride))
    assert (result.verdict, result.score) == (Verdict.PA, 2.0)
    assert result.cases[2].verdict is Verdict.NA


@pytest.mark.parametrize(
    ("status", "verdict"),
    [("signal", "SG"), ("timeout", "TO"), ("memory", "ML"), ("output", "OL"), ("type", "TY"), ("missing", "RE")],
)
def test_what_ends_a_process_is_named_and_earns_nothing(status, verdict):
    result = judge_outcomes(made(), [Outcome(status, message="so it is")] * 3)
    assert (result.verdict, result.score) == (verdict, 0.0)
    partly = judge_outcomes(made(), [outcome(right, case.data) for case in CASES[:2]] + [Outcome(status)])
    assert (partly.verdict, partly.score) == (Verdict.PA, 2.0)


def test_a_fault_of_the_grader_is_no_score_even_beside_right_cases():
    outcomes = [outcome(right, case.data) for case in CASES[:2]] + [Outcome("fault", message="disk full")]
    result = judge_outcomes(made(), outcomes)
    assert (result.verdict, result.score) == (Verdict.XX, 0.0)
    assert "disk full" in result.message


@pytest.mark.parametrize("count", [0, 1, 2])
def test_missing_answers_earn_nothing(count):
    result = judge_outcomes(made(), [outcome(right, case.data) for case in CASES[:count]])
    assert result.verdict is not Verdict.OK
    assert result.score == (2.0 if count == 2 else 0.0)


def test_answers_beyond_the_cases_are_ignored():
    outcomes = [outcome(right, case.data) for case in CASES]
    assert judge_outcomes(made(), [*outcomes, *outcomes]).score == 3.0
    wrong = [outcome(ignores_stride, case.data) for case in CASES]
    assert judge_outcomes(made(), [*wrong, *outcomes]).score == 2.0


def test_a_group_of_points_without_cases_earns_nothing():
    result = judged(right, groups={"plain": 2.0, "stride": 1.0, "gradient": 1.0}, points=4.0)
    assert (result.verdict, result.score, result.max_score) == (Verdict.PA, 3.0, 4.0)


def test_changing_an_input_costs_the_case_unless_the_exercise_allows_it():
    def in_place(x, stride):
        answer = right(x, stride)
        x.zero_()
        return answer

    assert judged(in_place).verdict is Verdict.WA
    assert "changed in place" in judged(in_place).hint
    assert judged(in_place, keeps_inputs=False).verdict is Verdict.OK


def test_a_forbidden_operation_costs_the_case():
    outcomes = [outcome(right, case.data) for case in CASES]
    outcomes[2] = Outcome("value", value=outcomes[2].value, forbidden=("aten.unfold.default",))
    result = judge_outcomes(made(), outcomes)
    assert (result.verdict, result.score) == (Verdict.PA, 2.0)
    assert "the forbidden aten.unfold.default was used" in result.message
    every = [Outcome("value", value=one.value, forbidden=("F.conv2d",)) for one in outcomes]
    assert judge_outcomes(made(), every).verdict is Verdict.FO


def test_facts_can_only_take_away():
    plain = judge_outcomes(made(), [outcome(late, case.data) for case in CASES]).score
    dressed = [Outcome("value", value=outcome(late, case.data).value, seconds=0.0) for case in CASES]
    assert judge_outcomes(made(), dressed).score == plain == 2.0


def strict(x, stride):
    if stride < 1:
        raise ValueError("stride must be positive")
    return 2 * x[::stride]


ERRORS = [Case("errors", {"x": X, "stride": 0}, "stride 0")]


@pytest.mark.parametrize(
    ("error", "verdict"),
    [(ValueError("x"), "OK"), (UnicodeError("x"), "OK"), (TypeError("x"), "RE"), (NotImplementedError(), "NA"),
     (None, "WA")],
)  # fmt: skip
def test_an_error_is_right_where_one_is_expected(error, verdict):
    def function(x, stride):
        if error is not None:
            raise error
        return x

    assert judge_outcomes(pack(strict, ERRORS), [outcome(function, ERRORS[0].data)]).verdict == verdict


def test_the_stubs_error_never_counts_as_a_runtime_error():
    def careful(x, stride):
        raise RuntimeError("no")

    result = judge_outcomes(pack(careful, ERRORS), [outcome(stub, ERRORS[0].data)])
    assert (result.verdict, result.score) == (Verdict.NA, 0.0)


def test_a_stand_in_gives_full_points_and_says_so():
    own = [outcome(stub, case.data) for case in CASES]
    lent = [outcome(right, case.data) for case in CASES]
    result = judge_outcomes(made(), own, (("im2col",), lent))
    assert (result.verdict, result.score, result.notes) == (Verdict.OK, 3.0, ("right, given a working im2col",))


def test_an_attempt_that_only_meets_a_stub_it_uses_is_judged_with_the_stand_in():
    own = [outcome(stub, case.data) for case in CASES]
    lent = [outcome(lambda x, stride: x + 9, case.data) for case in CASES]
    result = judge_outcomes(made(), own, (("im2col",), lent))
    assert (result.verdict, result.score, result.notes) == (Verdict.WA, 0.0, ("judged with a working im2col",))


def test_a_stand_in_that_does_not_help_changes_nothing():
    own = [outcome(ignores_stride, case.data) for case in CASES]
    result = judge_outcomes(made(), own, (("im2col",), own))
    assert (result.score, result.notes) == (2.0, ())
    fault = judge_outcomes(made(), own, (("im2col",), [Outcome("fault")] * 3))
    assert fault.score == 2.0


def test_a_float64_answer_is_wrong_only_where_the_dtype_matters():
    def wide(x, stride):
        return right(x, stride).double()

    assert judged(wide).verdict is Verdict.OK
    result = judged(wide, exact_dtype=True)
    assert result.verdict is Verdict.TY
    assert "float64" in result.hint
    assert "float32" in result.hint


def two_functions(value, slope):
    """Return a function of the values of two of a student's functions, by name."""
    return lambda x: {"value": value(x), "slope": slope(x)}


def test_a_known_mistake_in_one_of_two_functions_is_told_of_that_one():
    reference = two_functions(lambda x: x.sum(), lambda x: 2 * x)
    known = [("averages", "It is a sum.", two_functions(lambda x: x.mean(), lambda x: 2 * x / x.numel())),
             ("half", "A factor 2.", two_functions(lambda x: x.sum() / 2, lambda x: x))]  # fmt: skip
    made = pack(reference, [Case("a", {"x": X + n}, f"{n}") for n in (1.0, 2.0)], known)

    def told(value, slope):
        found = judge_outcomes(made, [outcome(two_functions(value, slope), case.data) for case in made.cases])
        return found.diagnosis.key, found.hint

    assert told(lambda x: x.mean(), lambda x: 2 * x) == ("part.averages", "At `value`: It is a sum.")
    both = "Two mistakes at once. At `slope`: A factor 2. And: At `value`: It is a sum."
    assert told(lambda x: x.mean(), lambda x: x) == ("part.half+averages", both)
    assert told(lambda x: x.mean(), lambda x: x.sin())[0] != "part.averages"  # one cause for both
    assert told(lambda x: x.prod(), lambda x: 2 * x)[0] == "part_wrong"


def test_a_mechanical_change_is_told_where_its_answers_came_and_few_others_have_them():
    def changed(*functions):
        def near():
            for n, function in enumerate(functions):
                yield NearAnswers(f"k{n}", f"clause {n}", lambda i, f=function: outcome(f, CASES[i].data))

        return near

    def wrong(x, stride):
        return (x[::stride] ** 2 + x[::stride]).sin()

    given = [outcome(wrong, case.data) for case in CASES]
    one = judge_outcomes(replace(made(), near=changed(right, wrong)), given)
    assert one.hint == "Your answers are exactly those that come when clause 1."
    assert one.diagnosis.key == "near.k1"
    two = judge_outcomes(replace(made(), near=changed(wrong, wrong)), given)
    assert two.hint == "Your answers are exactly those that come when clause 0, or when clause 1."
    many = judge_outcomes(replace(made(), near=changed(wrong, wrong, wrong)), given)
    assert not many.diagnosis.key.startswith("near")


def test_a_few_whole_numbers_are_too_little_to_know_a_change_by():
    cases = [Case("a", {"x": n}, str(n)) for n in (3, 5)]
    plain = pack(lambda x: x, cases)
    near = replace(plain, near=lambda: [NearAnswers("k", "clause", lambda i: outcome(lambda x: 2, cases[i].data))])
    found = judge_outcomes(near, [outcome(lambda x: 2, case.data) for case in cases])
    assert not found.diagnosis.key.startswith("near")
