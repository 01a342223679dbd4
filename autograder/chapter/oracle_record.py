"""The record of oracle tests: which tests marked with a method's key passed, and for which state of the chapter.

Kept in build/records/oracle_tests.json by the hooks in tests/conftest.py; build/records/oracle.json is the sum by key.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from autograder.base import cache, closure, paths
from autograder.chapter import row_checks, rows

SHARED = "test_oracles.py"  # one test for every exercise that declares an oracle

Outcomes = dict[str, dict[str, Any]]  # node id -> {"keys": [...], "outcome": "passed" | "failed" | "skipped"}


class OracleError(Exception):
    """The oracle tests could not be run at all."""


def files(slug: str) -> list[Path]:
    """Return the oracle test files of a chapter."""
    return sorted((paths.root() / "tests" / "chapters").glob(f"test_{slug}*.py"))


def declared(slug: str) -> list[str]:
    """Return the names of a chapter's exercises with an oracle of their own (`oracle=`), whose tests share a file."""
    row = rows.load_row(slug)
    return [f"{row.key}.{exercise.name}" for exercise in row.exercises if exercise.oracle is not None]


def names(slug: str) -> list[str]:
    """Return the names under which the oracle tests of a chapter are noted: its files, and its part of the shared."""
    return [path.name for path in files(slug)] + ([f"{SHARED}[{slug[:4]}]"] if declared(slug) else [])


def slug_of(file: str) -> str | None:
    """Return the chapter that a test file belongs to, or None."""
    name = Path(file).name.removeprefix("test_")
    return next((slug for slug in rows.slugs() if name.startswith(slug)), None)


def state(slug: str) -> str:
    """Return a hash of everything that the oracle tests of a chapter depend on: their code, and what it reaches."""
    texts = [path.read_text(encoding="utf-8") for path in files(slug)]
    keys = [closure.of_text(text).key for text in texts]
    if declared(slug):
        row = rows.load_row(slug)
        modules = [(closure.module_name(path), "") for path in row.exercise_files]
        texts += [(paths.CHECKOUT / "tests" / "chapters" / SHARED).read_text(encoding="utf-8")]
        texts += [row.reference(exercise) for exercise in row.exercises]
        texts += [row_checks.setup_of(row, lesson) for lesson in row.notebooks]
        keys += [closure.of_text(*texts[-len(row.notebooks) :]).key]
        keys += [closure.of_names(*modules, ("autograder.declare.oracle", "compare_all")).key]
    return cache.digest(*map(closure.code_of, texts), *keys)


def _path() -> Path:
    return paths.records() / "oracle_tests.json"


def load() -> dict[str, dict[str, Any]]:
    """Return test file name -> {state, complete, tests}."""
    return json.loads(_path().read_text()) if _path().exists() else {}


def record(ran: Mapping[str, Outcomes], *, complete: bool) -> None:
    """Merge the outcomes of a test run, by test file; `complete` says that no test of the files was left out."""
    with cache.updated(_path()) as held:
        for name, slug, tests, whole in _parts(ran, complete):
            now, before = state(slug), held.get(name, {})
            fresh = before.get("state") == now and not whole
            merged = {**before["tests"], **tests} if fresh else dict(tests)
            held[name] = {"state": now, "complete": whole or (fresh and before["complete"]), "tests": merged}
    sums = (json.dumps(counts(held), indent=1, sort_keys=True) + "\n").encode()
    cache.write(paths.records() / "oracle.json", sums)


def _parts(ran: Mapping[str, Outcomes], complete: bool) -> Iterator[tuple[str, str, Outcomes, bool]]:
    """Yield name, chapter, outcomes and completeness of every part of a test run; the shared file has one a chapter."""
    for file, tests in ran.items():
        if Path(file).name != SHARED:
            slug = slug_of(file)
            if slug is not None:
                yield Path(file).name, slug, tests, complete
            continue
        for slug in rows.slugs():
            own = {node: told for node, told in tests.items() if f"[{slug[:4]}." in node}
            if own:
                found = {node.rsplit("[", 1)[1].rstrip("]") for node in own}
                yield f"{SHARED}[{slug[:4]}]", slug, own, found >= set(declared(slug))


def counts(held: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, dict[str, int]]:
    """Return method key -> {"passed": n, "failed": n}."""
    found: dict[str, dict[str, int]] = {}
    for entry in (load() if held is None else held).values():
        for test in entry["tests"].values():
            for key in test["keys"]:
                sums = found.setdefault(key, {"passed": 0, "failed": 0})
                if test["outcome"] in sums:
                    sums[test["outcome"]] += 1
    return found


def counts_of(slug: str) -> dict[str, dict[str, int]]:
    """Return the counts of one chapter's tests, those of its present state alone."""
    held = load()
    return counts({name: held[name] for name in names(slug)}) if is_fresh(slug) else {}


def is_fresh(slug: str) -> bool:
    """Tell whether the record holds a complete run of the chapter's oracle tests as they are now."""
    held, now = load(), state(slug)
    entries = [held.get(name) for name in names(slug)]
    return all(entry is not None and entry["complete"] and entry["state"] == now for entry in entries)


def refresh(slugs: Iterable[str]) -> list[str]:
    """Run the oracle tests of the chapters whose record is missing or older than the chapter; return those slugs.

    Raises:
        OracleError: pytest could not collect or run them (failing tests are a result, not an error).
    """
    stale = [slug for slug in slugs if files(slug) and not is_fresh(slug)]
    shared = f"{paths.CHECKOUT / 'tests' / 'chapters' / SHARED}::test_the_reference_agrees_with_its_oracle"
    for tests in (
        [str(path) for slug in stale for path in files(slug)],
        [f"{shared}[{name}]" for slug in stale for name in declared(slug)],
    ):
        if tests:
            _run(tests)
    return stale


def _run(tests: list[str]) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=paths.CHECKOUT, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
        raise OracleError(f"the oracle tests could not be run:\n{tail}")
