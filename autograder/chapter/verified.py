"""chapters/verified.json: which heavy checks passed for each row, when, and for which state of it.

The file is committed, so that a change of one chapter need not run the lessons and exercises of all. An entry whose key
is not today's counts nowhere: not in the tests (`choose`), and not in `dlcv methods`.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autograder.base import cache, closure, own_modules, paths
from autograder.chapter import oracle_record, rows
from autograder.chapter.rows import Row

CHECKS = ("lessons", "release", "reader", "oracle", "verify")
DRAWN = 2  # rows that are checked although nothing changed, other ones for each commit
CORES, MINUTES = 2, 20  # what `make test` may spend on heavy checks
UNKNOWN_SECONDS = 300.0  # of one core, for a row that was never measured

Entry = dict[str, Any]  # key, ran, figures, oracle, date


def path() -> Path:
    return paths.chapters() / "verified.json"


def load() -> dict[str, Entry]:
    """Return slug -> entry."""
    return json.loads(path().read_text(encoding="utf-8")) if path().exists() else {}


def key_of(row: Row) -> str:
    """Return the hash of what a row's heavy checks run: the code of its lessons, its solutions and its exercises, and
    what these reach in our packages. Prose does not count, and neither does the grader, which has tests of its own."""
    modules = [closure.module_name(path) for path in (*row.solution_files, *row.exercise_files)]
    parts = [closure.of_names(*((module, "") for module in modules)).key]
    for lesson in row.notebooks:
        texts = [text for cell in lesson.cells if cell.kind != "prose" for text in _code(row, cell.kind, cell)]
        tags = [" ".join(cell.tags) for cell in lesson.cells if cell.kind != "prose"]
        parts += [*map(closure.code_of, texts), *tags, closure.of_text(*texts).key]
    return cache.digest(*parts)[:32]


def _code(row: Row, kind: str, cell: Any) -> list[str]:
    """Return the code that stands in a cell of a lesson once it is assembled."""
    if kind == "exercise":
        return [row.reference(row.exercise_by_name[cell.names[0]])]
    return [row.source(name) for name in cell.names] if kind == "show" else [cell.source]


def keys() -> dict[str, str]:
    """Return slug -> today's key of every row. They are kept until a file of ours changes."""
    held = paths.cache() / "row_keys" / f"{_stamp()}.json"
    with cache.locked(str(held)):
        if not held.exists():
            with own_modules.still():
                found = {slug: key_of(rows.load_row(slug)) for slug in rows.slugs()}
            cache.write(held, json.dumps(found).encode())
        known: dict[str, str] = json.loads(held.read_text())
    return known


def _stamp() -> str:
    """Return a hash of names, sizes and times of all files that a key may hang on."""
    found = []
    for home, names in ((paths.CHECKOUT, ("dlcv_lab", "autograder")), (paths.root(), ("solutions", "chapters"))):
        found += [file for name in names for file in sorted((home / name).rglob("*")) if file.suffix != ".pyc"]
    found += sorted(paths.exercises().rglob("*.py"))
    stats = [(file, file.stat()) for file in found if file != path() and file.is_file()]
    return cache.digest(*(f"{file} {stat.st_size} {stat.st_mtime_ns}" for file, stat in stats))[:32]


def fresh() -> set[str]:
    """Return the slugs of the rows that passed all heavy checks as they are today."""
    now = keys()
    return {
        slug for slug, entry in load().items() if set(entry["ran"]) == set(CHECKS) and entry["key"] == now.get(slug)
    }


def oracle_counts(slug: str) -> dict[str, dict[str, int]]:
    """Return method key -> {"passed": n, "failed": n} as the record has it, or nothing where it is older than the
    chapter's oracle tests or what they test."""
    told = load().get(slug, {}).get("oracle", {})
    return told["counts"] if told and told["key"] == oracle_record.state(slug) else {}


def note(slug: str, key: str, figures: Mapping[str, Any]) -> None:
    """Write a row's entry: all its checks passed for this key."""
    oracle = {"key": oracle_record.state(slug), "counts": oracle_record.counts_of(slug)}
    today = datetime.date.today().isoformat()
    entry = {"key": key, "ran": list(CHECKS), "figures": dict(figures), "oracle": oracle, "date": today}
    with cache.updated(path()) as held:
        for gone in held.keys() - set(rows.slugs()):
            del held[gone]
        if {**held.get(slug, {}), "date": "", "figures": {}} != {**entry, "date": "", "figures": {}}:
            held[slug] = entry


@dataclass(frozen=True)
class Choice:
    """Which rows the tests check now, which they take from the record, and for which there is no time."""

    run: tuple[str, ...]
    recorded: tuple[str, ...]
    left: tuple[str, ...]
    seconds: float  # of one core, that `run` is expected to take

    def lines(self) -> list[str]:
        """Return what the summary of a test run says."""
        minutes = self.seconds / 60
        said = [f"checked now ({minutes:.0f} minutes of one core expected): {_short(self.run)}"]
        said += [f"from the record, whose keys are today's: {_short(self.recorded)}"] if self.recorded else []
        said += (
            [f"changed, and NOT checked for want of time: {_short(self.left)}; `dlcv rows` does"] if self.left else []
        )
        return said


def _short(slugs: Sequence[str]) -> str:
    return ", ".join(slug[:4] for slug in slugs) or "none"


def choose(
    now: Mapping[str, str], held: Mapping[str, Entry], commit: str, *, seconds: float = CORES * MINUTES * 60.0
) -> Choice:
    """Choose rows for the heavy checks: those that changed since the record, the longest unverified first, as far as
    the time goes, then rows drawn by the commit's hash.

    Args:
        now: slug -> today's key.
        held: the record.
        commit: names the state of the repository; the draw hangs on it.
        seconds: of one core, to be spent. One row is checked in any case.
    """
    changed = [slug for slug in now if held.get(slug, {}).get("key") != now[slug]]
    changed.sort(key=lambda slug: (held.get(slug, {}).get("date", ""), slug))
    same = [slug for slug in now if slug not in changed]
    drawn = sorted(same, key=lambda slug: hashlib.sha256(f"{commit} {slug}".encode()).hexdigest())[:DRAWN]
    run: list[str] = []
    spent = 0.0
    for slug in [*changed, *drawn]:
        cost = float(held.get(slug, {}).get("figures", {}).get("seconds", UNKNOWN_SECONDS))
        if run and spent + cost > seconds:
            continue
        run.append(slug)
        spent += cost
    left = [slug for slug in changed if slug not in run]
    return Choice(tuple(run), tuple(slug for slug in same if slug not in run), tuple(left), spent)


def named(wanted: str, slugs: Iterable[str]) -> Choice:
    """Return the choice of somebody who names the rows: "all", "none", or "ch03,ch16"."""
    known = list(slugs)
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    picked = known if wanted == "all" else [] if wanted == "none" else [rows.resolve(name) for name in names]
    return Choice(tuple(picked), (), (), 0.0)
