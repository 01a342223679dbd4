"""Which parts of the answers and which kinds of cases are wrong, and plain numbers that are off."""

from __future__ import annotations

from collections.abc import Sequence

from dlcv_lab.checking.compare import is_number, numeric_leaves
from dlcv_lab.checking.diagnosis.judged_case import Evidence
from dlcv_lab.checking.diagnosis.sentences import generic
from dlcv_lab.checking.messages import say
from dlcv_lab.checking.model import Diagnosis


def numbers(wrong: Sequence[Evidence]) -> Diagnosis | None:
    """Return what holds for plain numbers in every wrong case: off by one amount, by one factor, or on one side."""
    pairs = []
    for item in wrong:
        mine, right = item.outcome.value, item.expected.value
        if not (item.has_values and is_number(mine) and is_number(right)) or complex in (type(mine), type(right)):
            return None
        pairs.append((mine, right))
    if not pairs:
        return None
    gaps = [mine - right for mine, right in pairs]
    where = say("in_every_wrong_case") if len(pairs) > 1 else wrong[0].name
    if max(gaps) - min(gaps) <= 1e-9 * max(map(abs, gaps)):
        key = "number_large" if gaps[0] > 0 else "number_small"
        return generic(key, by=f"{abs(gaps[0]):.6g}", where=where)
    if len(pairs) > 1 and all(mine and right for mine, right in pairs):
        ratios = [right / mine for mine, right in pairs]
        if max(ratios) - min(ratios) <= 1e-6 * max(map(abs, ratios)):
            return generic("number_factor", factor=f"{ratios[0]:.6g}")
    if len(pairs) > 1 and (min(gaps) > 0 or max(gaps) < 0):
        return generic("number_above" if gaps[0] > 0 else "number_below", cases=len(pairs))
    return None


def parts(evidence: Sequence[Evidence]) -> Diagnosis | None:
    """Return which parts of an answer of several parts are wrong, where others are right in every case."""
    wrong: dict[str, None] = {}
    seen: dict[str, None] = {}
    for item in evidence:
        expected = item.expected.value
        if not item.has_values or not isinstance(expected, dict | list | tuple):
            continue
        paths = [path for path, _ in numeric_leaves(expected)]
        found = item.pairs()
        if [path for path, _, _ in found] != paths:
            return None
        for index, (path, mine, right) in enumerate(found):
            seen[path] = None
            if not item.fits(mine, right, index):
                wrong[path] = None
    fine = [path for path in seen if path not in wrong]
    if not wrong or not fine or len(wrong) > 3:
        return None
    key = "part_wrong" if len(wrong) == 1 else "parts_wrong"
    return generic(key, wrong=_listed(wrong, item), right=_listed(fine[:4], item))


def groups(evidence: Sequence[Evidence]) -> Diagnosis | None:
    """Return the one kind of cases that holds all that is wrong, where every other kind is right."""
    kinds = dict.fromkeys(item.case.group for item in evidence)
    wrong = dict.fromkeys(item.case.group for item in evidence if not item.right)
    if len(wrong) != 1:
        return None
    (name,) = wrong
    bad = [item for item in evidence if not item.right]
    if len(bad) == 1 and len(evidence) > 2 and bad[0].case.note:
        return generic("one_case", case=bad[0].case.note)
    if len(kinds) < 2:
        return None
    own = [item for item in evidence if item.case.group == name]
    count = sum(not item.right for item in own)
    notes = ", ".join(f"'{item.case.note}'" for item in own if not item.right and item.case.note)
    return generic("group", group=name, count=count, total=len(own), notes=notes)


def _listed(paths: Sequence[str] | dict[str, None], item: Evidence) -> str:
    return " and ".join(map(item.spoken, paths))
