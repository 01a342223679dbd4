"""Find what the right cases have in common and the wrong ones lack: stride 1, a square input, a batch of one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch

from dlcv_lab.checking.messages import say
from dlcv_lab.checking.model import Case, Diagnosis

_MOST = 3  # with more candidates than this, the cases do not tell enough


def conditions(right: Sequence[Case], wrong: Sequence[Case], names: Collection[str] | None = None) -> Diagnosis | None:
    """Return the conditions under which the answer is right, or wrong, as far as these cases tell; None without any.

    Only conditions that people get wrong are looked for, not every number that happens to differ. A sentence speaks of
    the inputs in `names` alone (None: of all). Where another input, which only the probe knows, tells right from wrong
    as well, it may be the cause, and what remains a coincidence: then nothing is said.
    """
    if not right or not wrong:
        return None
    right_facts, wrong_facts = [facts(case) for case in right], [facts(case) for case in wrong]
    kinds = {case.group for case in right}.isdisjoint({case.group for case in wrong})
    for key, inside, outside in (("right_where", right_facts, wrong_facts), ("wrong_where", wrong_facts, right_facts)):
        held = {
            label: phrase
            for label, (phrase, telling) in inside[0].items()
            if (telling or (min(len(right), len(wrong)) > 1 and len(outside) > 2 and key == "wrong_where"))
            # a property that every tensor has tells right from wrong by chance: one case of a kind is no evidence
            and (label in names_of(inside[0]) or min(len(right), len(wrong)) > 1)
            and all(each.get(label, ("", False))[0] == phrase for each in inside)
            and all(label in each and each[label][0] != phrase for each in outside)
        }
        # where a telling fact, or the kind of the cases, goes along with a mere number, the number may be chance
        telling = {label: phrase for label, phrase in held.items() if inside[0][label][1]}
        held = telling or ({} if kinds else held)
        if names is not None and any(label.split(" ")[0] not in names for label in held):
            continue
        found = list(held.values())
        if 0 < len(found) <= _MOST:
            text = found[0]
            if len(found) > 1:
                text += f" (or {', or '.join(found[1:])}: these cases do not tell which)"
            return Diagnosis(key, say(f"diagnosis.{key}", condition=text), "generic")
    return None


def names_of(found: dict[str, tuple[str, bool]]) -> set[str]:
    """Return the labels that are about an argument itself, not about the form of its tensor."""
    return {label for label in found if " " not in label}


def facts(case: Case) -> dict[str, tuple[str, bool]]:
    """Return simple facts about a case's inputs: {what it is about: (the fact in words, whether it is telling)}.

    That a stride is 1 or a bias None is telling; that a kernel is 5 wide is not.
    """
    found: dict[str, tuple[str, bool]] = {}
    for name, value in case.data.items():
        if name == "ask":  # which probe asks: no input
            continue
        if value is None or isinstance(value, bool) or (isinstance(value, str) and len(value) < 20):
            found[name] = f"`{name}` is {value!r}", True
        elif isinstance(value, int):
            found[name] = f"`{name}` is {value}", value in (0, 1)
        elif isinstance(value, list | tuple):
            found[name] = f"`{name}` is {'empty' if len(value) == 0 else 'not empty'}", True
            if _is_pair(value):
                found[f"{name} entries"] = (
                    f"`{name}` has {'equal' if value[0] == value[1] else 'unequal'} entries",
                    True,
                )
        elif isinstance(value, torch.Tensor):
            found[name] = f"`{name}` is given", True  # beside cases where it is None
            found |= _tensor_facts(name, value)
    return found


def _tensor_facts(name: str, tensor: torch.Tensor) -> dict[str, tuple[str, bool]]:
    found: dict[str, tuple[str, bool]] = {}
    if tensor.dim() >= 2:
        square = "equally" if tensor.shape[-1] == tensor.shape[-2] else "not equally"
        found[f"{name} square"] = f"the last two axes of `{name}` are {square} long", True
        single = "length 1" if tensor.shape[0] == 1 else "more than one item"
        found[f"{name} batch"] = f"the first axis of `{name}` has {single}", True
    if tensor.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
        found[f"{name} dtype"] = f"`{name}` is {kind}", kind != "float32"
    found[f"{name} layout"] = f"`{name}` is {'' if tensor.is_contiguous() else 'not '}contiguous in memory", True
    return found


def _is_pair(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(type(item) is int for item in value)
