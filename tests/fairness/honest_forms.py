"""Honest submissions that look unusual: the registry, and hands that fill a released notebook in."""

import copy
import json
from collections.abc import Callable
from typing import Any

Notebook = dict[str, Any]
BLUR = """
def box_blur(x, k):
    H, W = x.shape
    if k > min(H, W):
        raise ValueError("too large")
    y = torch.zeros(H - k + 1, W - k + 1, dtype=x.dtype)
    for u in range(k):
        for v in range(k):
            y = y + x[u : u + H - k + 1, v : v + W - k + 1]
    return y / k**2
"""
SHARP = """
def unsharp(x, *, amount=1.0):
    middle = x[1:-1, 1:-1]
    return middle + amount * (middle - box_blur(x, 3))
"""
HONEST: dict[str, Callable[[Notebook], bytes]] = {}


def unusual(name: str) -> Callable[[Callable[[Notebook], Any]], Callable[[Notebook], bytes]]:
    """Register a function that changes a filled notebook, or returns other bytes."""

    def register(change: Callable[[Notebook], Any]) -> Callable[[Notebook], bytes]:
        def hand_in(release: Notebook) -> bytes:
            nb = fill(release)
            made = change(nb)
            return made if isinstance(made, bytes) else json.dumps(made or nb).encode()

        HONEST[name] = hand_in
        return hand_in

    return register


def code(name: str, blur: str = BLUR, sharp: str = SHARP, *before: str) -> None:
    """Register solution cells, with other cells in front of them."""

    def hand_in(release: Notebook) -> bytes:
        nb = fill(release, blur, sharp)
        for source in reversed(before):
            nb["cells"].insert(1, cell(source))
        return json.dumps(nb).encode()

    HONEST[name] = hand_in


def fill(release: Notebook, blur: str = BLUR, sharp: str = SHARP) -> Notebook:
    nb = copy.deepcopy(release)
    for name, text in (("box_blur", blur), ("unsharp", sharp)):
        solution(nb, name)["source"] = text
    return nb


def solution(nb: Notebook, name: str) -> dict[str, Any]:
    return next(one for one in nb["cells"] if one["cell_type"] == "code" and f"def {name}(" in "".join(one["source"]))


def cell(source: str, kind: str = "code") -> dict[str, Any]:
    made: dict[str, Any] = {"cell_type": kind, "metadata": {}, "source": source}
    return made | ({"outputs": [], "execution_count": None} if kind == "code" else {})
