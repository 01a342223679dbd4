"""The status of every method that the lectures name, computed from evidence and never declared.

- A `build` row works when an exercise of its own verifies or a lesson shows its code, at least one oracle test marked
  with its key passes and none fails, and the ledger holds a measurement of a claim about it, holding or not.
- A `row` (a baseline in a comparison) works when the ledger holds a figure of it.
- A `read` row works when its anchor and a citation stand in the same cell of a lesson.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from autograder.base import paths
from autograder.chapter import ledger, rows

Status = Literal["works", "partial", "missing"]


@dataclass(frozen=True)
class Method:
    """One line of book/methods.csv."""

    key: str  # "ch03/conv2d"
    chapter: str  # slug
    title: str
    lecture: str  # "002"
    kind: str  # "build", "row" or "read"


@dataclass(frozen=True)
class Evidence:
    """What was seen to work: by `dlcv verify`, by the oracle tests, by `dlcv claims run`, and in the lessons."""

    verified: frozenset[str] = frozenset()  # exercise keys such as "ch03.conv2d"
    oracle: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # method key -> {"passed": n, "failed": n}


def table() -> list[Method]:
    """Return all methods of book/methods.csv, in its order."""
    with paths.methods_table().open(encoding="utf-8", newline="") as file:
        return [Method(**line) for line in csv.DictReader(file)]


def anchor(key: str) -> str:
    """Return the label of a method's place in the book: "ch03/conv2d" -> "method-ch03-conv2d"."""
    return "method-" + re.sub(r"[^a-z0-9]+", "-", key.lower())


def report(evidence: Evidence) -> list[dict[str, Any]]:
    """Return one dictionary per method: its line of the table, its evidence and its status."""
    present = {slug: rows.load_row(slug) for slug in rows.slugs()}
    ledgers = {slug: ledger.read_ledger(slug) for slug in present}
    return [
        _entry(method, present.get(method.chapter), ledgers.get(method.chapter, []), evidence) for method in table()
    ]


def _entry(method: Method, row: rows.Row | None, entries: list[dict[str, Any]], evidence: Evidence) -> dict[str, Any]:
    own = [exercise.name for exercise in row.exercises if method.key in exercise.methods] if row else []
    shows = _shows(row, method.key) if row else []
    claims = ledger.claims_of_method(entries, method.key)
    oracle = evidence.oracle.get(method.key, {})
    return {
        "key": method.key,
        "chapter": method.chapter,
        "title": method.title,
        "lecture": method.lecture,
        "kind": method.kind,
        "exercises": own,
        "shows": shows,
        "oracle_tests": oracle.get("passed", 0),
        "claims": claims,
        "status": _status(method, row, own, shows, oracle, claims, evidence.verified),
    }


def _status(
    method: Method,
    row: rows.Row | None,
    own: list[str],
    shows: list[str],
    oracle: Mapping[str, int],
    measured: list[dict[str, Any]],
    verified: frozenset[str],
) -> Status:
    if row is None:
        return "missing"
    if method.kind == "read":
        return "works" if _is_read(row, method.key) else "missing"
    if method.kind == "row":
        return "works" if measured else "missing"
    built = bool(shows) or any(f"{row.key}.{name}" in verified for name in own)
    tested = oracle.get("passed", 0) > 0 and oracle.get("failed", 0) == 0
    if built and tested and measured:
        return "works"
    return "partial" if own or shows or oracle or measured else "missing"


def _shows(row: rows.Row, key: str) -> list[str]:
    """Return the shown functions that the notebooks' front matter (`shows: {name: method key}`) ties to a method."""
    found = []
    for lesson in row.notebooks:
        ties = lesson.meta.get("shows") or {}
        for name in lesson.named("show"):
            keys = ties.get(name, ())
            if key == keys or (not isinstance(keys, str) and key in keys):
                found.append(name)
    return found


def _is_read(row: rows.Row, key: str) -> bool:
    label = f"({anchor(key)})="
    return any(
        label in cell.source and "{cite" in cell.source
        for lesson in row.notebooks
        for cell in lesson.cells
        if cell.kind == "prose"
    )


def counts(entries: list[dict[str, Any]]) -> dict[str, int]:
    """Return how many methods work, work partly and are missing."""
    return {status: sum(entry["status"] == status for entry in entries) for status in ("works", "partial", "missing")}
