"""Name the likely cause of a wrong answer in one sentence that is true of the evidence.

Every rule looks at the outcomes of all cases and speaks only of what it has computed, so its sentence holds for the
cases at hand whatever the cause was. `changes` looks for a simple change that would make the answer right, `relations`
for a term or factor that is missing, `shapes` for what the right cases have in common, `parts` for parts and kinds of
cases that are right, `places` for where the numbers differ.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Sequence

import numpy as np
import torch

from dlcv_lab.checking.compare import compare, describe, input_dtype, is_number, numeric_leaves
from dlcv_lab.checking.diagnosis.changes import changed
from dlcv_lab.checking.diagnosis.errors import has_float64, meaning
from dlcv_lab.checking.diagnosis.judged_case import Evidence, comparable
from dlcv_lab.checking.diagnosis.parts import groups, numbers, parts
from dlcv_lab.checking.diagnosis.places import differences
from dlcv_lab.checking.diagnosis.relations import pattern, related, wrong_pairs
from dlcv_lab.checking.diagnosis.sentences import generic
from dlcv_lab.checking.diagnosis.shapes import conditions
from dlcv_lab.checking.envelope import leaves
from dlcv_lab.checking.messages import input_name
from dlcv_lab.checking.model import Diagnosis

_PLAIN = frozenset({"int", "float", "list", "tuple", "dict", "str", "None"})
_CUT_OFF = ("does not require grad", "does not have a grad_fn")
_IN_PLACE = ("modified by an inplace operation", "a leaf Variable that requires grad is being used in an in-place")
NO_GRADIENT = (*_CUT_OFF, *_IN_PLACE)
# sentences that say where or how numbers differ, and not what was done: what reproduces the numbers says more
VAGUE = frozenset(
    ("number", "numbers", "number_large", "number_small", "number_factor", "number_above", "number_below",
     "part_wrong", "parts_wrong", "one_case", "group", "right_where", "wrong_where", "factor", "factors", "offset",
     "offset_axis", "factor_axis", "border", "one_index", "zero_where_wrong", "zero_wanted", "constant", "zeros",
     "shuffled", "signs", "shape", "axes", "function", "input_missing", "structure", "nan", "infinite", "order",
     "rounded")
)  # fmt: skip


def diagnose(evidence: Sequence[Evidence], names: frozenset[str] | None = None) -> Diagnosis | None:
    """Return the likely cause of the failures, or None where nothing simple explains them.

    `names` are the inputs that the student knows by name, the parameters of what is to be written; a sentence speaks
    of no other. None allows all.
    """
    wrong = [item for item in evidence if not item.right]
    if not wrong:
        return None
    for found in (
        _errors(wrong),
        _none(wrong),
        _mutated(wrong, names),
        _types(wrong),
        _dtype_alone(wrong),
        _flag(wrong),
    ):
        if found:
            return found
    values = [item for item in wrong if item.comparison is not None and not item.comparison.equal]
    whole = len(values) == len(wrong)
    found = (_rounded(values) if whole else None) or (_changes(values, whole=whole) if values else None)
    if found:
        return found
    found = conditions(
        [item.case for item in evidence if item.right and item.expected.status != "raised"],
        [item.case for item in wrong],
        names,
    )
    if found is None and values:
        found = related(values if whole else values[:1], names)
    return (
        found or _shapes(values) or _dtypes(values) or _structures(values) or parts(evidence) or groups(evidence)
        or _places(values)
    )  # fmt: skip


def _changes(values: Sequence[Evidence], *, whole: bool) -> Diagnosis | None:
    """Look for a change that would mend the values; a sentence about every wrong case is only true where every wrong
    case gave a value (`whole`)."""
    found = _strange(values) or ((changed(values, _only(values)) or numbers(values)) if whole else None)
    if found is None and len(values) > 1:
        found = changed(values[:1], values[0].name)
    return found


def _only(values: Sequence[Evidence]) -> str:
    """Name the case where there is one alone."""
    return values[0].name if len(values) == 1 else ""


def _start(item: Evidence) -> str:
    return item.name[0].upper() + item.name[1:]


def _errors(wrong: Sequence[Evidence]) -> Diagnosis | None:
    errors = [item for item in wrong if item.outcome.status == "raised"]
    if not errors:
        silent = [item for item in wrong if item.expected.status == "raised"]
        if silent and len(silent) == len(wrong):
            return generic("no_error", error=silent[0].expected.error, where=silent[0].name)
        return None
    for item in errors:
        if any(text in item.outcome.message for text in _CUT_OFF):
            # in a line of theirs the inputs may be what needs no gradient: not everything there was cut off by them
            return generic("nothing_to_go_back", line=item.outcome.line) if item.outcome.line else generic("detached")
        if any(text in item.outcome.message for text in _IN_PLACE):
            return generic("inplace_gradient")
    first = errors[0].outcome
    if first.error == "NameError":
        return generic("name_error")
    if found := meaning(errors):
        return found
    if first.unwritten and len(errors) == len(wrong):
        return generic("part_missing", where=errors[0].name)
    return None


def _none(wrong: Sequence[Evidence]) -> Diagnosis | None:
    empty = [
        item for item in wrong if item.has_values and item.outcome.value is None and item.expected.value is not None
    ]
    if empty and len(empty) == len(wrong):
        return generic("none")
    for item in wrong:
        if item.has_values:
            table = dict(leaves(item.outcome.value))
            lost = [path for path, _ in numeric_leaves(item.expected.value) if path and table.get(path, 0) is None]
            if lost:
                key = "no_gradient" if "grad" in item.case.group.lower() else "none_inside"
                return generic(key, path=item.spoken(lost[0]), where=item.name)
    return None


def _mutated(wrong: Sequence[Evidence], names: frozenset[str] | None) -> Diagnosis | None:
    if all(item.outcome.mutated and item.comparison is not None and item.comparison.equal for item in wrong):
        changed_ = dict.fromkeys(input_name(path, names) for path in wrong[0].outcome.mutated)
        return generic("mutated", names=", ".join(f"`{name}`" for name in changed_))
    return None


def _types(wrong: Sequence[Evidence]) -> Diagnosis | None:
    for item in wrong:
        if item.has_values and isinstance(item.expected.value, torch.Tensor):
            mine = item.outcome.value
            if isinstance(mine, list | tuple):
                if len(mine) == 1 and item.fits(mine[0], item.expected.value):
                    return generic("wrapped", kind=type(mine).__name__)
                return generic("sequence", kind=type(mine).__name__, where=item.name)
        for _, part, right in item.pairs():
            if isinstance(part, np.ndarray) and isinstance(right, torch.Tensor):
                return generic("numpy", where=item.name)
            if is_number(part) and isinstance(right, torch.Tensor):
                return generic("plain_number", where=item.name)
    return None


def _dtype_alone(wrong: Sequence[Evidence]) -> Diagnosis | None:
    """Say that a dtype is wrong where the values are right."""
    for item in wrong:
        found = item.comparison
        allowed = max(item.tolerances[:1], default=0.0)
        if found is not None and found.kind == "dtype" and (found.max_difference or 0.0) <= allowed:
            return generic("dtype", start=_start(item), text=found.text)
    return None


def _flag(wrong: Sequence[Evidence]) -> Diagnosis | None:
    """Say which statement of a probe about an answer ("the states are unchanged") is not true in any wrong case."""
    found = [_false_statement(item) for item in wrong]
    first = found[0]
    if first is None or None in found:
        return None
    path, right = first
    return generic("flag", name=wrong[0].spoken(path), mine=not right, right=right, where=wrong[0].name)


def _false_statement(item: Evidence) -> tuple[str, bool] | None:
    table = dict(leaves(item.outcome.value)) if item.has_values else {}
    for path, leaf in leaves(item.expected.value) if table else ():
        if isinstance(leaf, bool) and path.endswith("']") and table.get(path) is (not leaf):
            return path, leaf
    return None


def _strange(values: Sequence[Evidence]) -> Diagnosis | None:
    """Say where NaN or infinity comes from, where nothing else is wrong."""
    if any(item.comparison is None or item.comparison.kind != "nan" for item in values):
        return None
    item = values[0]
    if all(_holds_strange(each.case.data) for each in values):
        return generic("strange_input", where=item.name)
    return generic("nan" if item.comparison and "NaN" in item.comparison.text else "infinite", where=item.name)


def _rounded(values: Sequence[Evidence]) -> Diagnosis | None:
    """Say that nothing but rounding is wrong: every number that is no longer right has six digits or so."""
    pairs = [each for item in values for each in wrong_pairs(item)]
    if not all(wrong_pairs(item) for item in values) or any(
        float((mine - right).abs().max()) > 1e-5 * float(right.abs().max()) for _, mine, right, _ in pairs
    ):
        return None
    first = values[0].first_wrong()
    if first is not None and first[1].dtype != torch.float64 and all(map(has_float64, values)):
        return generic("precision", dtype=describe(first[1]).split()[1], where=values[0].name)
    return generic("rounded", where=values[0].name)


def _holds_strange(data: object) -> bool:
    return any(isinstance(leaf, torch.Tensor) and leaf.is_floating_point() and not bool(leaf.isfinite().all())
               for _, leaf in leaves(data))  # fmt: skip


def _shapes(values: Sequence[Evidence]) -> Diagnosis | None:
    for item in values:
        for index, (path, mine, right) in enumerate(item.pairs()):
            if isinstance(mine, torch.Tensor) and isinstance(right, torch.Tensor) and mine.shape != right.shape:
                if found := _cut(item, index, mine.detach(), right):
                    return found
                place = f"At {item.spoken(path)}, your output has" if path else "Your output has"
                key = "axes" if mine.dim() != right.dim() else "shape"
                return generic(key, place=place, mine=tuple(mine.shape), right=tuple(right.shape), where=item.name,
                                dims=_axes(mine.dim()), want=right.dim())  # fmt: skip
    return None


def _cut(item: Evidence, index: int, mine: torch.Tensor, right: torch.Tensor) -> Diagnosis | None:
    """Say that an answer is right but for what is missing, or too much, at one end of its axes."""
    if mine.dim() != right.dim() or not mine.numel() or not right.numel():
        return None
    short, long = (mine, right) if mine.numel() < right.numel() else (right, mine)
    axes = [axis for axis in range(mine.dim()) if mine.shape[axis] != right.shape[axis]]
    if any(short.shape[axis] > long.shape[axis] for axis in axes):
        return None
    for end in ("end", "beginning"):
        part = long
        for axis in axes:
            start = long.shape[axis] - short.shape[axis] if end == "beginning" else 0
            part = part.narrow(axis, start, short.shape[axis])
        pair = (part, short) if long is mine else (short, part)
        if item.fits(*pair, index):
            lengths = " and ".join(f"{long.shape[axis] - short.shape[axis]} along axis {axis}" for axis in axes)
            return generic("too_long" if long is mine else "too_short", lengths=lengths, end=end, where=item.name)
    return None


def _axes(count: int) -> str:
    return "one axis" if count == 1 else f"{count or 'no'} axes"


def _dtypes(values: Sequence[Evidence]) -> Diagnosis | None:
    for item in values:
        if item.comparison is not None and item.comparison.kind == "dtype":
            return generic("dtype", start=_start(item), text=item.comparison.text)
        pair, first = item.single(), item.first_wrong()
        if pair is None or first is None or input_dtype(item.case) != torch.float64 or first[1].dtype == torch.float64:
            continue
        if compare(*pair, [1e-5 * float(pair[1].abs().max())]).equal:
            return generic("precision", dtype=describe(first[1]).split()[1], where=item.name)
    return None


def _structures(values: Sequence[Evidence]) -> Diagnosis | None:
    for item in values:
        if item.comparison is not None and item.comparison.kind in ("structure", "type"):
            return generic("structure", start=_start(item), text=item.comparison.text)
    return None


def _places(values: Sequence[Evidence]) -> Diagnosis | None:
    for item in values:
        first = item.first_wrong()
        pair = comparable(*first[1:]) if first is not None else None
        if first is not None and pair is not None:
            where = f"at {item.spoken(first[0])} {item.name}" if first[0] else item.name
            found = differences(*pair, item.slack(pair[1]), where)
            if found:
                return (pattern(item) or found) if found.key == "numbers" else found
    return None


@functools.lru_cache(maxsize=512)
def promises_numbers(stub: str) -> bool:
    """Tell whether the functions of a stub promise Python numbers, as `-> float` or `-> list[int]`, and no tensor."""
    returned = [node.returns for node in ast.parse(stub).body if isinstance(node, ast.FunctionDef)]
    words = [set(re.findall(r"\w+", ast.unparse(each))) if each is not None else set[str]() for each in returned]
    return bool(words) and all(each & {"int", "float"} and each <= _PLAIN for each in words)


@functools.lru_cache(maxsize=512)
def known_names(stub: str) -> frozenset[str] | None:
    """Return the parameters of the functions and methods of a stub; None where it has none, or takes any."""
    functions = [node for node in ast.walk(ast.parse(stub)) if isinstance(node, ast.FunctionDef)]
    if any(function.args.vararg or function.args.kwarg for function in functions):
        return None
    found = {arg.arg for function in functions for arg in ast.walk(function.args) if isinstance(arg, ast.arg)}
    return frozenset(found - {"self"}) or None
