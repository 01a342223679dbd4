"""Every sentence of the diagnoser is true of the answer that it was given."""

import math

import pytest
import torch
from small_packs import outcome, pack

from dlcv_lab.checking.diagnosis.diagnose import diagnose, known_names
from dlcv_lab.checking.diagnosis.judged_case import Evidence
from dlcv_lab.checking.diagnosis.shapes import conditions
from dlcv_lab.checking.judging import judge_outcomes
from dlcv_lab.checking.messages import ENGLISH, input_name, spoken
from dlcv_lab.checking.model import Case, Diagnosis, Outcome

A = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
B = torch.randn(4, 4, generator=torch.Generator().manual_seed(2))
CUBE = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(3))
SEEN: set[str] = set()
PERM = torch.tensor([3, 0, 2, 1, 7, 4, 11, 5, 9, 10, 6, 8])


def cause(reference, wrong, *data, groups=None) -> Diagnosis | None:
    """Return the diagnosis of `wrong` on one case per input."""
    names = groups or ["plain"] * len(data)
    cases = [Case(group, given, chr(97 + i)) for i, (group, given) in enumerate(zip(names, data))]
    made = pack(reference, cases)
    found = judge_outcomes(made, [outcome(wrong, case.data) for case in cases]).diagnosis
    if found is not None:
        SEEN.add(found.key)
    return found


def double(x):
    return 2 * x


def shifted_by_one(x):
    return torch.roll(2 * x, 1, -1)


def wrong_inside(x):
    y = 2 * x
    y[1, 2] += 1
    return y


def changes_input(x):
    y = 2 * x
    x += 1
    return y


@pytest.mark.parametrize(
    ("wrong", "key", "words"),
    [
        (lambda x: None, "none", "returns None"),
        (lambda x: (2 * x).numpy(), "numpy", "a numpy array in the case 'a'"),
        (lambda x: [2 * x], "wrapped", "inside a list of one item"),
        (lambda x: [2 * row for row in x], "sequence", "You return a list in the case 'a'"),
        (lambda x: -2 * x, "sign", "In the case 'a', your output has the opposite sign."),
        (lambda x: 6 * x, "factor", "your output times 0.3333 would be right"),
        (lambda x: 2 * x + 3, "offset", "your output plus -3 would be right"),
        (lambda x: 2 * x.flip(1), "flipped", "reversed along axis -1"),
        (lambda x: 2 * x.flip(0, 1), "flipped", "reversed along axis -2 and -1"),
        (lambda x: (2 * x)[None], "reshaped", "in another shape (such as (1, 3, 4) where (3, 4) is expected)"),
        (lambda x: (2 * x).int(), "dtype", "the dtype is int32"),
        (lambda x: (2 * x) / 0 * 0, "nan", "NaN comes from 0 / 0"),
        (lambda x: 2 * x + 1 / (x * 0).clamp(max=0), "infinite", "Infinity comes from a division by 0"),
        (lambda x: x[:, :3], "shape", "Your output has shape (3, 3) in the case 'a', expected (3, 4)."),
        (lambda x: 2 * x[:, :3], "too_short", "with its end missing in the case 'a': 1 along axis 1."),
        (lambda x: 2 * x[1:, 2:], "too_short", "with its beginning missing in the case 'a': 1 along axis 0 and 2"),
        (lambda x: torch.cat([x, 2 * x]), "too_long", "and more at its beginning in the case 'a': 3 along axis 0."),
        (
            lambda x: 2 * x[0],
            "axes",
            "has one axis in the case 'a', shape (4,); 2 expected, shape (3, 4).",
        ),
        (lambda x: torch.zeros_like(x), "zeros", "zero everywhere in the case 'a'"),
        (lambda x: torch.ones_like(x), "constant", "the same number everywhere"),
        (shifted_by_one, "shifted", "shifted by 1 along axis -1"),
        (wrong_inside, "numbers", "1 of 12 numbers differ in the case 'a'; the first is at index (1, 2)"),
        (changes_input, "mutated", "The values are right, but `x` is changed in place"),
        (lambda x: undefined_name, "name_error", "defined neither in the cells that count nor in the set-up"),  # noqa: F821
        (lambda x: 2.0, "plain_number", "a plain Python number"),
    ],
)
def test_one_wrong_case(wrong, key, words):
    found = cause(double, wrong, {"x": A})
    assert found is not None
    assert (found.key, found.source) == (key, "generic")
    assert words in found.text


def with_other_border(x):
    y = 2 * x
    y[0], y[:, -1] = x[0].sin(), x[:, -1].cos()
    return y


def test_a_border_is_told_of_a_picture_and_not_of_a_small_matrix():
    """The inside of 3x3 is one number: that it is right says nothing."""
    picture = torch.randn(7, 6, generator=torch.Generator().manual_seed(4))
    found = cause(double, with_other_border, {"x": picture})
    assert found.key == "border"
    assert cause(double, with_other_border, {"x": A[:, :3]}).key != "border"


def test_rounding_is_called_rounding():
    """The absolute value of nearly right positive numbers is nearly right, too, and was said to be what is missing."""
    x = A.abs().double() / 3
    assert cause(lambda x: x.exp(), lambda x: x.exp().float().double(), {"x": x}, {"x": x + 1}).key == "rounded"
    assert cause(lambda x: x.exp(), lambda x: x.float().exp(), {"x": x}, {"x": x + 1}).key == "precision"


def test_a_single_number_has_no_place():
    found = cause(lambda x: x.sin().sum(), lambda x: x.cos().sum(), {"x": A}, {"x": B})
    assert found.key == "number"
    assert "index" not in found.text


def test_an_overflow_of_python_is_no_matter_of_a_function_more():
    found = cause(lambda x: x.exp(), lambda x: torch.tensor([math.exp(v) for v in x]), {"x": torch.tensor([1.0, 800])})
    assert found.key == "overflow"


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        (lambda x: x - x.max(1, keepdim=True), "values_and_places"),
        (lambda x: x if x > 0 else -x, "one_truth"),
        (lambda x: x.sum(0).item(), "one_number"),
        (lambda x: x.long().mean(0), "whole_numbers"),
        (lambda x: x[x.abs().floor()], "index_dtype"),
        (lambda x: x.t().view(-1), "views"),
        (lambda x: torch.cat([row.sum() for row in x]), "no_axes_to_join"),
        (lambda x: x.requires_grad_().exp().backward(), "not_one_loss"),
        (lambda x: x @ x, "product_sizes"),
        (lambda x: x - x.mean(1), "sizes_meet"),
        (lambda x: double(x, dim=1), "signature"),
    ],
)
def test_a_well_known_exception_gets_its_meaning(wrong, key):
    found = cause(double, wrong, {"x": A})
    assert found is not None
    assert found.key == key, found


def test_two_dtypes_that_meet():
    found = cause(lambda x: x @ x.T, lambda x: x @ torch.zeros(4, 3), {"x": A.double()})
    assert found.key == "dtypes_meet"


def test_a_number_that_goes_along_with_a_dtype_is_no_cause():
    """Both float64 cases had 7 steps."""
    data = [{"x": A, "stride": 1}, {"x": B, "stride": 2}, {"x": B + 1, "stride": 3},
            {"x": A.double(), "stride": 7}, {"x": B.double(), "stride": 7}]  # fmt: skip
    found = cause(lambda x, stride: x + 1, lambda x, stride: x + 1 + (x**2 if x.dtype == torch.float64 else 0), *data)
    assert found.text == "It is wrong only where `x` is float64."
    kinds = ["a"] * 3 + ["b"] * 2
    data = [{"x": n, "stride": stride} for n, stride in enumerate((1, 2, 3, 7, 7))]
    found = cause(lambda x, stride: [1, 2], lambda x, stride: [1, 2] if stride < 7 else [x, 3], *data, groups=kinds)
    assert found.key == "group"


def test_a_transposed_answer():
    assert cause(lambda x: x, lambda x: x.t(), {"x": A}).key == "transposed"
    assert cause(lambda x: x, lambda x: x.t(), {"x": B}, {"x": A}).key == "transposed"


def test_axes_in_another_order_name_the_order_that_mends_them():
    found = cause(lambda x: x, lambda x: x.permute(2, 0, 1), {"x": CUBE})
    assert found.key == "permuted"
    assert "`.permute(1, 2, 0)` of it is right" in found.text


def test_parts_in_another_order_name_the_right_order():
    found = cause(lambda x: (x, x.sum(), 2 * x), lambda x: (2 * x, x, x.sum()), {"x": A})
    assert found.key == "order"
    assert "expected is your item 1, item 2, item 0" in found.text


def test_a_factor_that_changes_from_case_to_case_is_told_for_each():
    found = cause(lambda x: x.mean(0), lambda x: x.sum(0), {"x": A}, {"x": B})
    assert found.key == "factors"
    assert "0.3333 in the case 'a', 0.25 in the case 'b'" in found.text


def test_a_change_that_mends_only_the_first_wrong_case_is_told_of_that_case_only():
    found = cause(double, lambda x: -2 * x if len(x) == 3 else torch.zeros_like(x), {"x": A}, {"x": B})
    assert found.text == "In the case 'a', your output has the opposite sign."


def test_right_only_with_stride_one():
    def reference(x, stride):
        return x[::stride]

    found = cause(reference, lambda x, stride: x, {"x": B, "stride": 1}, {"x": B, "stride": 2})
    assert found.text == "It is right only where `stride` is 1."


def test_right_only_where_the_input_is_square():
    def wrong(x):
        return x.sum(1) * 0 + x.sum(0) if x.shape[0] == x.shape[1] else x.sum(1)

    found = cause(lambda x: x.sum(0), wrong, {"x": B}, {"x": B + 1}, {"x": A}, {"x": A + 1})
    assert found.key == "right_where"
    assert "the last two axes of `x` are equally long" in found.text


def test_the_form_of_a_single_case_is_no_condition():
    """A case that is wrong for another reason may happen to be square, or the only one with r = 3."""
    found = cause(lambda x: x.sum(0), lambda x: x.sum(0) + float(x[0, 0] > 5), {"x": A}, {"x": A + 1}, {"x": B + 9})
    assert found.key == "offset"
    rank = [{"x": A, "r": r} for r in (2, 3, 4, 5)]
    found = cause(lambda x, r: x, lambda x, r: x + (x**2 if r == 3 else 0), *rank)
    assert found.key == "one_case"
    assert found.text == "Only the case 'b' is wrong; all others are right."


def test_right_only_with_a_batch_of_one():
    found = cause(lambda x: x / x.sum(1, keepdim=True), lambda x: x / x.sum(),
                  *({"x": x} for x in (A[:1], A[1:2], A, A + 1)))  # fmt: skip
    assert "the first axis of `x` has length 1" in found.text


def test_wrong_only_where_something_is_given():
    found = cause(lambda x, b: x if b is None else x + b, lambda x, b: x + 0, {"x": A, "b": None},
                  {"x": A, "b": torch.arange(4.0)})  # fmt: skip
    assert "`b` is None" in found.text


def test_wrong_only_with_one_of_three_strides():
    found = cause(lambda x, stride: x[::stride], lambda x, stride: x if stride == 2 else x[::stride],
                  *({"x": B + n, "stride": stride} for n, stride in enumerate((1, 2, 3, 1, 2, 4))))  # fmt: skip
    assert found.text == "It is wrong only where `stride` is 2."


def test_cases_that_do_not_tell_conditions_apart_say_so():
    found = cause(lambda x, s, p: x[::s], lambda x, s, p: x, {"x": B, "s": 1, "p": 0}, {"x": B, "s": 2, "p": 1})
    assert found.text == "It is right only where `s` is 1 (or `p` is 0: these cases do not tell which)."


def test_a_shape_that_goes_with_an_input_of_the_probe_alone_is_no_condition():
    right, wrong = Case("plain", {"x": B, "bias": None}), Case("plain", {"x": A, "bias": torch.ones(4)})
    assert conditions([right, right], [wrong, wrong], {"x"}) is None
    text = conditions([right, right], [wrong, wrong]).text
    assert "`x` are equally long" in text
    assert "or `bias` is None: these cases do not tell which" in text


def grad(function):
    def probe(x):
        from dlcv_lab.checking.probing import gradients

        value, (gradient,) = gradients(function, [x])
        return {"value": value, "gradient": gradient}

    return probe


def test_a_value_without_gradient():
    found = cause(grad(double), grad(lambda x: 2 * x.detach()), {"x": A}, groups=["gradient"])
    assert found.key == "no_gradient"
    assert "`gradient`" in found.text


def test_a_detached_loss():
    def step(loss):
        def probe(x):
            x.requires_grad_()
            loss(x).backward()
            return x.grad

        return probe

    found = cause(step(lambda x: (x**2).sum()), step(lambda x: (x.detach() ** 2).sum()), {"x": A})
    assert found.key == "nothing_to_go_back"
    assert "The line `loss(x).backward()` asks for a gradient" in found.text
    message = "element 0 of tensors does not require grad and does not have a grad_fn"
    of_the_probe = Outcome("raised", error="RuntimeError", message=message)
    found = diagnose([Evidence(Case("a", {"x": A}), of_the_probe, Outcome("value", A), (), None, False)])
    SEEN.add(found.key)
    assert found.key == "detached"
    found = cause(step(lambda x: (x**2).sum()), step(lambda x: x.mul_(2).sum()), {"x": A})
    assert found.key == "inplace_gradient"


def test_none_inside_an_answer():
    assert cause(lambda x: (x, x), lambda x: (x, None), {"x": A}).key == "none_inside"


def test_an_error_that_should_come_and_does_not():
    def strict(x):
        if x.dim() == 2:
            raise ValueError("no")
        return x

    found = cause(strict, lambda x: x, {"x": A})
    assert found.text == "A ValueError should be raised in the case 'a', and nothing was raised."


def test_a_part_that_is_still_missing():
    def half(x):
        if len(x) == 4:
            raise NotImplementedError
        return 2 * x

    assert cause(double, half, {"x": A}, {"x": B}).key == "part_missing"


def test_float32_arithmetic_on_float64_inputs():
    assert cause(double, lambda x: 2 * x.float(), {"x": A.double() / 3}).key == "precision"


def test_where_nothing_simple_explains_it_nothing_is_claimed():
    assert cause(lambda x: "a", lambda x: "b", {"x": A}) is None


def two_parts(y, z):
    return lambda x: {"y": y(x), "z": z(x)}


def ones_at(x, index):
    y = 2 * x
    y[..., index] += torch.rand(y.shape[:-1]) + 1
    return y


@pytest.mark.parametrize(
    ("right", "wrong", "data", "key", "words"),
    [
        (lambda x: x.abs().sqrt(), lambda x: x.abs(), [{"x": A}], "function", "the square root of it"),
        (double, lambda x: x, [{"x": A[:1]}], "factor", "times 2"),
        (lambda x, b: x.relu() + b, lambda x, b: x, [{"x": A, "b": torch.randn(4)}], "input_returned", "`x`"),
        (lambda x, b: x.exp() + b, lambda x, b: x.exp(), [{"x": A, "b": A[0]}], "input_missing", "plus `b`"),
        (lambda x: x.sin(), lambda x: x.sin().abs(), [{"x": A}], "signs", "have the wrong sign"),
        (double, lambda x: (2 * x).reshape(-1)[PERM].reshape(3, 4), [{"x": A}], "shuffled", "in another order"),
        (double, lambda x: 2 * x + torch.tensor([1.0, 2.0, 4.0])[:, None], [{"x": A}], "offset_axis", "axis 0"),
        (double, lambda x: x * torch.tensor([1.0, 3.0, 4.0])[:, None], [{"x": A}], "factor_axis", "axis 0"),
        (double, lambda x: 2 * x.relu(), [{"x": A}], "zero_where_wrong", "0 at each of"),
        (lambda x: (x > 0).float(), lambda x: (x <= 0).float(), [{"x": A}], "inverted", "0 and 1 are exchanged"),
        (lambda x: x.relu(), lambda x: torch.where(x > 0, x, x.cos()), [{"x": A}], "zero_wanted", "0 is expected"),
        (double, lambda x: ones_at(x, 2), [{"x": A}], "one_index", "index 2 of axis 1"),
        (lambda n: n, lambda n: n + 1, [{"n": 4}, {"n": 7}], "number_large", "too large by 1"),
        (lambda n: n, lambda n: n - 2, [{"n": 4}, {"n": 7}], "number_small", "too small by 2"),
        (lambda n: 3 * n, lambda n: n, [{"n": 4}, {"n": 7}], "number_factor", "times 3"),
        (lambda n: n, lambda n: n * n, [{"n": 4}, {"n": 7}], "number_above", "too large in every one"),
        (lambda n: n * n, lambda n: n + 1, [{"n": 4}, {"n": 7}], "number_below", "too small in every one"),
        (two_parts(double, torch.sin), two_parts(torch.cos, torch.sin), [{"x": A}, {"x": B}], "part_wrong", "only `y`"),
        (lambda x: [x, 2 * x], lambda x: [x], [{"x": A}], "structure", "a list of length 1 came"),
    ],
)  # fmt: skip
def test_a_relation_is_named(right, wrong, data, key, words):
    found = cause(right, wrong, *data)
    assert (found.key, words in found.text) == (key, True), found


def test_the_part_that_is_an_input_is_named():
    step = two_parts(lambda x: 2 * x.exp(), lambda x: x.relu())
    found = cause(step, two_parts(lambda x: 2 * x.exp(), lambda x: x), {"x": A})
    assert found.text == "In the case 'a', `z` is the input `x`, unchanged."


def test_two_whole_numbers_are_a_list_like_any_other():
    """ "Right only where it is not empty" was said beside a wrong case of two words: they were taken for a pair."""
    data = [{"x": A + len(words), "words": words} for words in ([3], [1, 2], [0, 1, 2], [2, 1], [4])]
    found = cause(lambda x, words: x, lambda x, words: x + (x**2 if len(words) == 2 else 0), *data)
    assert "empty" not in found.text


def test_several_wrong_parts_are_named():
    def answer(a, b, c):
        return lambda x: {"a": a(x), "b": b(x), "c": c(x)}

    found = cause(answer(double, torch.sin, torch.cos), answer(torch.exp, torch.tan, torch.cos), {"x": A}, {"x": B})
    assert found.text == "Of the parts of your answer `a` and `b` are wrong; `c` came out right in every case."


def test_a_kind_of_cases_that_is_wrong_is_named():
    odd = torch.randn(3, 4, generator=torch.Generator().manual_seed(5))
    found = cause(double, lambda x: 2 * x + (x**3 if float(x[0, 0]) == float(odd[0, 0]) else 0), {"x": A}, {"x": odd},
                  groups=["plain", "edge"])  # fmt: skip
    assert found.key == "group"
    assert "'edge'" in found.text


def test_names_that_only_the_probe_knows_are_not_spoken():
    assert input_name("tensors['x']", frozenset({"x"})) == "x"
    assert input_name("tensors['x']", None) == "tensors['x']"
    assert known_names("def f(x, *, stride=1): ...") == {"x", "stride"}
    assert known_names("class A:\n    def __init__(self, width): ...\n    def forward(self, x): ...") == {"width", "x"}
    assert known_names("def f(*args): ...") is None
    assert [spoken(path) for path in ("['y']", "[1]", "[0]['w']", "[1][2]")] == ["`y`", "item 1", "`w` of item 0",
                                                                              "[1][2]"]  # fmt: skip


def test_another_order_is_told_by_names():
    def three(x):
        return (x, 2 * x, 3 * x)

    made = pack(three, [Case("a", {"x": A}, "a")], returns=("dx", "dw", "db"))
    outcomes = [outcome(lambda x: (2 * x, 3 * x, x), {"x": A})]
    found = judge_outcomes(made, outcomes).diagnosis
    SEEN.add(found.key)
    assert found.text.endswith("you return (dw, db, dx), expected is (dx, dw, db).")


def test_an_offset_of_one_part_alone_in_whole_numbers_too():
    def two(x, offset=0):
        return x, torch.arange(6) + offset

    found = cause(two, lambda x: two(x, 1), {"x": A}, {"x": B})
    assert found.text == "In every wrong case, item 1 plus -1 would be right."


def test_a_statement_of_the_probe_that_is_not_true():
    found = cause(lambda x: {"y": x, "x is unchanged": True}, lambda x: {"y": x * 0, "x is unchanged": False}, {"x": A})
    assert found.text == "`x is unchanged` is False in the case 'a'; True is expected."


def test_nan_that_came_in_is_no_division():
    x = torch.tensor([1.0, math.nan, 2.0])
    found = cause(lambda x, m: x[m].sum(), lambda x, m: (x * m).sum(), {"x": x, "m": x == x})
    assert found.key == "strange_input"


def test_every_sentence_has_a_test():
    wanted = {key.removeprefix("diagnosis.") for key in ENGLISH if key.startswith("diagnosis.")}
    assert wanted - SEEN == set() or len(SEEN) < 20, wanted - SEEN
