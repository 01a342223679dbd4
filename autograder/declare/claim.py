"""How an author declares a claim: what a source says, and the small experiment that tests it here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One statement of a lecture or paper and the small experiment that tests it."""

    id: str
    methods: tuple[str, ...]  # keys of methods.csv
    says: str  # what the source says, with its table or figure
    source: str  # citation keys of book/references and the slide's heading
    analogue: str  # what is measured here instead
    conditions: str  # fixed before measuring
    threshold: str  # in words, what `holds` computes
    measure: Callable[[int], dict[str, float]]  # seed -> figures
    holds: Callable[[dict[str, list[float]]], bool]  # figure -> value per seed
    seeds: tuple[int, ...] = (0, 1, 2)
    exact: bool = False  # a closed form: one seed suffices
    cheap: bool = True  # runs again in the tests
    reason: str = ""  # why it does not hold, where that is known
