"""`dlcv rows`: the heavy checks of all rows side by side; what passed for today's keys is not run again."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from autograder.base import cache, paths
from autograder.chapter import verified
from autograder.chapter.rows import load_row

Told = Callable[[str, str, str], None]  # slug, check, what was wrong


def run(slugs: Iterable[str], *, cores: int, again: bool = False, progress: Told = lambda *told: None) -> list[str]:
    """Run what is left of the heavy checks of some rows; write the entry of each row that passed them all.

    A run that was stopped goes on where it was: what passed is kept in build/records/rows.json. With `again` nothing
    is taken from there.

    Returns:
        One finding a line, with the row and the check.
    """
    now = verified.keys()
    kept = {} if again else _kept()
    findings: list[str] = []
    wanted = list(slugs)
    jobs = [(slug, group) for group in _GROUPS for slug in wanted]
    with ProcessPoolExecutor(cores, mp_context=multiprocessing.get_context("spawn")) as pool:
        running = {}
        for slug, group in jobs:
            done = {check for check in group if kept.get(slug, {}).get(check, {}).get("key") == now[slug]}
            for check in done:
                progress(slug, check, "")
            if left := [check for check in group if check not in done]:
                running[pool.submit(_run_group, slug, left, now[slug])] = slug
        for slug in wanted:
            _enter(slug, now[slug])
        for future in as_completed(running):
            slug = running[future]
            for check, wrong in future.result():
                progress(slug, check, wrong)
                findings += [f"{slug[:4]} {check}: {wrong}"] if wrong else []
            _enter(slug, now[slug])
    return findings


_GROUPS = (("verify",), ("lessons", "release", "reader"), ("oracle",))  # of a group, one after the other


def count(slugs: Iterable[str]) -> int:
    return sum(len(group) for group in _GROUPS) * len(list(slugs))


def _run_group(slug: str, checks: list[str], key: str) -> list[tuple[str, str]]:
    """Run checks of one row in a process of the pool; return (check, what was wrong)."""
    from autograder.release import heavy_checks

    told = []
    for check in checks:
        try:
            figures = heavy_checks.timed(load_row(slug), check)
        except Exception as error:  # whatever it is, the other rows are checked, too
            told.append((check, str(error) or type(error).__name__))
            continue
        _keep(slug, check, {"key": key, "figures": figures})
        told.append((check, ""))
    return told


def _place() -> Path:
    return paths.records() / "rows.json"


def _kept() -> dict[str, dict[str, Any]]:
    return json.loads(_place().read_text(encoding="utf-8")) if _place().exists() else {}


def _keep(slug: str, check: str, facts: dict[str, Any]) -> None:
    with cache.updated(_place()) as held:
        held.setdefault(slug, {})[check] = facts


def _enter(slug: str, key: str) -> None:
    """Write the entry of a row once all its checks have passed for its key."""
    kept = _kept().get(slug, {})
    if any(kept.get(check, {}).get("key") != key for check in verified.CHECKS):
        return
    figures = {check: dict(kept[check]["figures"]) for check in verified.CHECKS}
    seconds = sum(told.pop("seconds") for told in figures.values())
    verified.note(slug, key, {**figures, "seconds": round(seconds, 1)})
