"""Check a sentence of the diagnoser against the answers it speaks of, without the diagnoser's own code.

`is_true` reads the sentence as a student would (which case, which number, which axis) and computes again.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dlcv_lab.checking.model import CaseResult, ExerciseResult, Outcome, Pack, Verdict


@dataclass(frozen=True)
class Facts:
    """What came and what is right, case by case, and which cases are wrong."""

    pack: Pack
    outcomes: Sequence[Outcome]
    cases: Sequence[CaseResult]
    text: str

    def spoken_of(self) -> list[int]:
        """Return the numbers of the wrong cases that the sentence is about: the one it names, else all."""
        wrong = [case.index for case in self.cases if case.verdict is not Verdict.OK]
        named = [index for index in wrong if f"'{self.pack.cases[index].note}'" in self.text]
        return named or wrong

    def pairs(self, index: int) -> list[tuple[torch.Tensor, torch.Tensor, float]]:
        """Return (yours, expected, allowed) of the tensors of a case, those named by the sentence's path alone."""
        mine, right = tensors(self.outcomes[index].value), tensors(self.pack.expected[index].value)
        allowed = self.pack.tolerances[index]
        if len(allowed) != len(right):  # numbers that are no tensors have tolerances, too
            allowed = (max(allowed, default=0.0),) * len(right)
        return [
            (m, r, slack + 1e-5 * float(r.double().abs().max() if r.numel() else 0))
            for m, r, slack in zip(mine, right, allowed)
        ]

    def all_become_right(self, change: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> bool:
        return all(
            same(m, r, slack) or same(change(m, r), r, slack)
            for index in self.spoken_of()
            for m, r, slack in self.pairs(index)
        )


def tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value.detach()]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return [torch.tensor(float(value), dtype=torch.float64)]
    if isinstance(value, dict):
        return [one for item in value.values() for one in tensors(item)]
    if isinstance(value, list | tuple):
        return [one for item in value for one in tensors(item)]
    return []


def same(mine: torch.Tensor, right: torch.Tensor, slack: float) -> bool:
    if mine.shape != right.shape:
        return False
    a, b = mine.double(), right.double()
    return bool((((a - b).abs() <= slack) | (a == b) | (a.isnan() & b.isnan())).all())


def is_true(pack: Pack, outcomes: Sequence[Outcome], result: ExerciseResult) -> bool | None:
    """Tell whether the sentence of a result holds; None where there is none, or none that can be computed."""
    if result.diagnosis is None:
        return None
    facts = Facts(pack, outcomes, result.cases, result.diagnosis.text)
    if result.diagnosis.source == "misconception":
        return _is_known_mistake(facts, result.diagnosis.key)
    if result.diagnosis.key.startswith("near."):
        return _are_the_answers_of_a_change(facts)
    check = CHECKS.get(result.diagnosis.key)
    return None if check is None else bool(check(facts))


def _outcomes_of(pack: Pack, name: str) -> list[Outcome]:
    """Return what the known mistake of this name answers, or the two of "first+second"."""
    known = pack.misconceptions()
    for answers in known:
        if answers.name == name:
            return list(answers.outcomes)
    pair = next(pair for pair in pack.pairs() if f"{known[pair.first].name}+{known[pair.second].name}" == name)
    return [pair.answer(index) for index in range(len(pack.cases))]


def _are_the_answers_of_a_change(facts: Facts) -> bool:
    told = [change for change in facts.pack.near() if change.clause in facts.text]
    return any(
        _came(facts, [change.answer(index) for index in range(len(facts.pack.cases))]) for change in told
    )  # fmt: skip


def _is_known_mistake(facts: Facts, name: str) -> bool:
    return _came(facts, _outcomes_of(facts.pack, name))


def _came(facts: Facts, outcomes: Sequence[Outcome]) -> bool:
    for index, wrong in enumerate(outcomes):
        got = facts.outcomes[index]
        if facts.pack.expected[index].status == "raised":
            continue
        if got.status != wrong.status:
            return False
        slack = max(facts.pack.tolerances[index], default=0.0)
        for mine, theirs in zip(tensors(got.value), tensors(wrong.value)):
            if not same(mine, theirs, slack + 2e-5 * float(theirs.double().abs().max() if theirs.numel() else 0)):
                return False
    return True


def _number(text: str, pattern: str) -> float:
    found = re.search(pattern, text)
    assert found, text
    return float(found.group(1))


def _close(change: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Callable[[Facts], bool]:
    return lambda facts: facts.all_become_right(change)


def _factor(facts: Facts) -> bool:
    factor = _number(facts.text, r"times (-?[\d.e+-]+) would")
    return _scaled(facts, lambda index: factor)


def _scaled(facts: Facts, factor_of: Callable[[int], float]) -> bool:
    for index in facts.spoken_of():
        for mine, right, slack in facts.pairs(index):
            rounding = 1e-3 * float(right.double().abs().max())  # the sentence has four digits
            if not same(mine.double() * factor_of(index), right.double(), slack + rounding):
                return False
    return True


def _factors(facts: Facts) -> bool:
    told = {note: float(number) for number, note in re.findall(r"(-?[\d.e+-]+) in the case '([^']*)'", facts.text)}
    return all(
        same(m.double() * told[facts.pack.cases[i].note], r.double(), slack + 1e-3 * float(r.double().abs().max()))
        for i in facts.spoken_of()
        for m, r, slack in facts.pairs(i)
    )


def _offset(facts: Facts) -> bool:
    offset = _number(facts.text, r"plus (-?[\d.e+-]+) would")
    return all(
        same(m.double() + offset, r.double(), slack + 1e-3 * abs(offset))
        for index in facts.spoken_of()
        for m, r, slack in facts.pairs(index)
    )


def _axes(facts: Facts) -> bool:
    axes = [int(number) for number in re.findall(r"-?\d+", facts.text.split("along axis")[1])]
    return facts.all_become_right(lambda m, r: m.flip(axes) if m.dim() >= -min(axes) else m)


def _permuted(facts: Facts) -> bool:
    order = ast.literal_eval(re.search(r"permute(\([\d, ]+\))", facts.text).group(1))  # type: ignore[union-attr]
    return facts.all_become_right(lambda m, r: m.permute(order) if m.dim() == len(order) else m)


def _shape(facts: Facts) -> bool:
    shapes = [ast.literal_eval(found) for found in re.findall(r"\([\d, ]*\)", facts.text)]
    index = facts.spoken_of()[0]
    return any((tuple(m.shape), tuple(r.shape)) == tuple(shapes[-2:]) for m, r, _ in _all_pairs(facts, index))


def _all_pairs(facts: Facts, index: int) -> list[tuple[torch.Tensor, torch.Tensor, float]]:
    return facts.pairs(index)


def _shifted(facts: Facts) -> bool:
    steps, axis = (int(n) for n in re.search(r"shifted by (-?\d+) along axis (-?\d+)", facts.text).groups())  # type: ignore[union-attr]
    for mine, right, slack in facts.pairs(facts.spoken_of()[0]):
        if mine.shape == right.shape and not same(mine, right, slack):
            size = mine.shape[axis] - abs(steps)
            moved, still = mine.narrow(axis, max(steps, 0), size), right.narrow(axis, max(-steps, 0), size)
            return same(moved, still, slack)
    return False


def _border(facts: Facts) -> bool:
    for mine, right, slack in facts.pairs(facts.spoken_of()[0]):
        if mine.shape == right.shape and not same(mine, right, slack):
            return same(mine[..., 1:-1, 1:-1], right[..., 1:-1, 1:-1], slack)
    return False


def _first_wrong(facts: Facts) -> tuple[torch.Tensor, torch.Tensor, float]:
    return next(
        (mine, right, slack)
        for mine, right, slack in facts.pairs(facts.spoken_of()[0])
        if mine.shape == right.shape and not same(mine, right, slack)
    )


def _constant(facts: Facts) -> bool:
    mine, right, _ = _first_wrong(facts)
    return bool((mine == mine.reshape(-1)[0]).all()) and float(right.double().std()) > 0


def _word(facts: Facts, pattern: str) -> str:
    found = re.search(pattern, facts.text)
    assert found, facts.text
    return found.group(1)


def _function(facts: Facts) -> bool:
    functions = {"the square": torch.square, "the square root": torch.sqrt, "one divided by it": torch.reciprocal,
                 "the exponential": torch.exp, "the logarithm": torch.log, "the absolute value": torch.abs}  # fmt: skip
    function = functions[_word(facts, r"function: (.*) of it")]
    return facts.all_become_right(lambda m, r: function(m.double()))


def _input(facts: Facts) -> bool:
    word, name = re.search(r"your output (?:is the input )?(.*?) ?`(\w+)`", facts.text).groups()  # type: ignore[union-attr]
    change = {"plus": torch.add, "minus": torch.sub, "times": torch.mul, "divided by": torch.div, "": lambda m, v: v}

    def mended(index: int, mine: torch.Tensor, right: torch.Tensor, slack: float) -> bool:
        value = torch.as_tensor(facts.pack.cases[index].data[name]).detach().double()
        shapes = [value] + [
            value.reshape([-1 if axis == at else 1 for axis in range(mine.dim())])
            for at in range(mine.dim()) if value.dim() == 1
        ]  # fmt: skip
        for one in shapes:
            try:
                if same(change[word](mine.double(), one), right, slack):
                    return True
            except RuntimeError:
                continue
        return False

    return all(
        same(m, r, slack) or mended(index, m, r, slack)
        for index in facts.spoken_of()
        for m, r, slack in facts.pairs(index)
    )


def _per_axis(facts: Facts) -> bool:
    axis = int(_word(facts, r"axis (\d+)"))
    mine, right, slack = _first_wrong(facts)
    table = right.double() - mine.double() if "difference" in facts.text else right.double() / mine.double()
    flat = table.movedim(axis, 0).reshape(table.shape[axis], -1)
    wide = float(right.double().abs().max() / mine.double().abs().min().clamp(min=1e-12))
    return bool(((flat - flat[:, :1]).abs() <= 4 * slack * max(1.0, wide)).all())


def _one_index(facts: Facts) -> bool:
    index, axis = (int(number) for number in re.search(r"index (\d+) of axis (\d+)", facts.text).groups())  # type: ignore[union-attr]
    mine, right, slack = _first_wrong(facts)
    rest = [at for at in range(mine.shape[axis]) if at != index]
    return same(mine.movedim(axis, 0)[rest], right.movedim(axis, 0)[rest], slack)


def _where_wrong(facts: Facts) -> bool:
    mine, right, slack = _first_wrong(facts)
    wrong = (mine.double() - right.double()).abs() > slack
    values = right if "0 is expected" in facts.text else mine
    return not bool(values[wrong].any()) and f"{int(wrong.sum())} numbers" in facts.text


def _shuffled(facts: Facts) -> bool:
    mine, right, slack = _first_wrong(facts)
    return same(mine.reshape(-1).sort().values, right.reshape(-1).sort().values, slack)


def _whole(facts: Facts) -> bool:
    pairs = [(facts.outcomes[i].value, facts.pack.expected[i].value) for i in facts.spoken_of()]
    if "times" in facts.text:
        factor = float(_word(facts, r"times ([\d.e+-]+)"))
        return all(abs(mine * factor - right) <= 1e-4 * abs(right) for mine, right in pairs)
    side = 1 if "large" in facts.text else -1
    if " by " in facts.text:
        by = float(_word(facts, r"by ([\d.e+-]+) in"))
        return all(abs(mine - right - side * by) <= 1e-4 * by for mine, right in pairs)
    return all((mine - right) * side > 0 for mine, right in pairs)


def _parts(facts: Facts) -> bool:
    told = facts.text.split("answer")[1]
    fine = told.split(";")[1]
    for index, outcome in enumerate(facts.outcomes):
        right, slack = facts.pack.expected[index], max(facts.pack.tolerances[index], default=0.0)
        if outcome.status != "value" or right.status != "value" or not isinstance(right.value, dict | list | tuple):
            continue
        items = right.value.items() if isinstance(right.value, dict) else enumerate(right.value)
        for key, value in items:
            name = f"`{key}`" if isinstance(key, str) else f"item {key} "
            if name.strip() in fine and not isinstance(value, dict):
                for mine, want in zip(tensors(outcome.value[key]), tensors(value)):
                    if not same(mine, want, slack + 1e-5 * float(want.double().abs().max() if want.numel() else 0)):
                        return False
    return True


def _group(facts: Facts) -> bool:
    name = _word(facts, r"kind '(.*?)' are")
    return {case.group for case in facts.cases if case.verdict is not Verdict.OK} == {name}


def _structure(facts: Facts) -> bool:
    index = facts.spoken_of()[0]
    return facts.cases[index].text in facts.text and type(facts.outcomes[index].value) is not None


def _numbers(facts: Facts) -> bool:
    count, total = (int(number) for number in re.match(r"(\d+) of (\d+)", facts.text).groups())  # type: ignore[union-attr]
    mine, right, _ = _first_wrong(facts)
    wrong = int(((mine.double() - right.double()).abs() > 0).sum())
    return total == mine.numel() and 0 < count <= wrong


def _some(predicate: Callable[[Outcome, Outcome], bool]) -> Callable[[Facts], bool]:
    return lambda facts: any(predicate(facts.outcomes[i], facts.pack.expected[i]) for i in facts.spoken_of())


def _condition(facts: Facts) -> bool:
    """Check the partition: what is said of the right cases holds for none of the wrong ones, or the other way round."""
    from dlcv_lab.checking.diagnosis.shapes import facts as facts_of

    right = [facts_of(facts.pack.cases[case.index]) for case in facts.cases if case.verdict is Verdict.OK]
    wrong = [facts_of(facts.pack.cases[case.index]) for case in facts.cases if case.verdict is not Verdict.OK]
    inside, outside = (right, wrong) if "right only" in facts.text else (wrong, right)
    phrase = re.sub(r" \(or .*", "", facts.text.split(" only where ")[1]).rstrip(".")
    holds = [phrase in {words for words, _ in one.values()} for one in (*inside, *outside)]
    return all(holds[: len(inside)]) and not any(holds[len(inside) :])


CHECKS: dict[str, Callable[[Facts], bool]] = {
    "function": _function,
    "input_returned": _input,
    "input_missing": _input,
    "signs": lambda facts: same(_first_wrong(facts)[0].abs(), _first_wrong(facts)[1].abs(), _first_wrong(facts)[2]),
    "shuffled": _shuffled,
    "offset_axis": _per_axis,
    "factor_axis": _per_axis,
    "zero_where_wrong": _where_wrong,
    "zero_wanted": _where_wrong,
    "one_index": _one_index,
    "number_large": _whole,
    "number_small": _whole,
    "number_factor": _whole,
    "number_above": _whole,
    "number_below": _whole,
    "part_wrong": _parts,
    "parts_wrong": _parts,
    "group": _group,
    "structure": _structure,
    "factor": _factor,
    "factors": _factors,
    "offset": _offset,
    "sign": _close(lambda m, r: -m),
    "transposed": _close(lambda m, r: m.t() if m.dim() == 2 else m),
    "permuted": _permuted,
    "reshaped": _close(lambda m, r: m.reshape(r.shape) if m.numel() == r.numel() else m),
    "flipped": _axes,
    "shape": _shape,
    "axes": _shape,
    "shifted": _shifted,
    "border": _border,
    "zeros": lambda facts: not bool(_first_wrong(facts)[0].any()),
    "constant": _constant,
    "numbers": _numbers,
    "none": _some(lambda got, right: got.status == "value" and got.value is None),
    "none_inside": _some(lambda got, right: got.status == "value" and "None" in repr(got.value)),
    "no_gradient": _some(lambda got, right: got.status == "value" and "None" in repr(got.value)),
    "mutated": _some(lambda got, right: bool(got.mutated)),
    "nan": _some(lambda got, right: any(not bool(torch.isfinite(t.double()).all()) for t in tensors(got.value))),
    "numpy": _some(lambda got, right: "array" in repr(got.value)),
    "plain_number": _some(lambda got, right: "tensor" not in repr(got.value) or isinstance(got.value, list | dict)),
    "sequence": _some(lambda got, right: isinstance(got.value, list | tuple)),
    "wrapped": _some(lambda got, right: isinstance(got.value, list | tuple) and len(got.value) == 1),
    "dtype": _some(
        lambda got, right: any(m.dtype != r.dtype for m, r in zip(tensors(got.value), tensors(right.value)))
    ),
    "precision": _some(lambda got, right: any(t.dtype == torch.float32 for t in tensors(got.value))),
    "detached": _some(lambda got, right: "grad" in got.message),
    "inplace_gradient": _some(lambda got, right: "place" in got.message),
    "name_error": _some(lambda got, right: got.error == "NameError"),
    "part_missing": _some(lambda got, right: got.error == "NotImplementedError"),
    "no_error": _some(lambda got, right: right.status == "raised" and got.status != "raised"),
    "right_where": _condition,
    "wrong_where": _condition,
}
