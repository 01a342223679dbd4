"""The claims ledger: what the lectures say, measured at laptop scale, with the conditions fixed before measuring.

`chapters.<slug>.claims`, a module or a package, exports `CLAIMS`; `dlcv claims run CH` measures them and writes the
committed record `chapters/<slug>/claims.json`, which the book shows and `dlcv methods` reads.
"""

from __future__ import annotations

import datetime
import importlib
import importlib.metadata
import json
import math
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from autograder.base import cache, paths
from autograder.chapter import rows
from autograder.declare.claim import Claim


class ClaimsError(Exception):
    """A claims file or record that cannot be used; the message names the file and the remedy."""


def load_claims(slug: str) -> list[Claim]:
    """Return the claims of a chapter, in the order in which chapters/<slug>/claims.py, or the package claims/, has
    them.

    Raises:
        ClaimsError: no claims, no `CLAIMS`, an id twice, or fewer than three seeds of a measured claim.
    """
    where = _place(slug)
    rows.link_packages()
    for name in [name for name in sys.modules if name.startswith(f"chapters.{slug}.")]:
        del sys.modules[name]  # a file may have changed
    importlib.invalidate_caches()
    listed = getattr(importlib.import_module(f"chapters.{slug}.claims"), "CLAIMS", None)
    if not isinstance(listed, list):
        raise ClaimsError(f"{where} has no list CLAIMS; write `CLAIMS = [Claim(...), ...]`")
    found: dict[str, Claim] = {}
    for claim in listed:
        if claim.id in found:
            raise ClaimsError(f"{where}: the claim {claim.id!r} is there twice; rename one")
        if not claim.exact and len(claim.seeds) < 3:
            raise ClaimsError(f"{where}: {claim.id!r} is measured on {len(claim.seeds)} seeds; use 3")
        found[claim.id] = claim
    return listed


def _place(slug: str) -> str:
    """Return where a chapter's claims stand, as a message says it."""
    home = paths.chapters() / slug
    if stray := sorted(home.glob("claims_*.py")):
        raise ClaimsError(
            f"{paths.shown(stray[0])} is read by nobody; move it into the package chapters/{slug}/claims/"
        )
    for path in (home / "claims.py", home / "claims" / "__init__.py"):
        if path.exists():
            return paths.shown(path)
    raise ClaimsError(f"chapters/{slug} has no claims.py; write one with a list CLAIMS (see docs/authoring.md)")


def measure(claim: Claim) -> dict[str, Any]:
    """Measure one claim on all its seeds and return its entry of the ledger.

    Raises:
        ClaimsError: a figure that is not finite.
    """
    started = time.perf_counter()
    ran = [claim.measure(seed) for seed in (claim.seeds[:1] if claim.exact else claim.seeds)]
    values = {name: [float(row[name]) for row in ran] for name in ran[0]}
    for name, numbers in values.items():
        if not all(map(math.isfinite, numbers)):
            raise ClaimsError(f"the claim {claim.id!r} measured {name} = {numbers}; mend its experiment")
    holds = bool(claim.holds(values))
    return {
        "id": claim.id,
        "methods": list(claim.methods),
        "says": claim.says,
        "source": claim.source,
        "analogue": claim.analogue,
        "conditions": claim.conditions,
        "threshold": claim.threshold,
        "exact": claim.exact,
        "cheap": claim.cheap,
        "seeds": list(claim.seeds[:1] if claim.exact else claim.seeds),
        "figures": {name: _figure(numbers) for name, numbers in values.items()},
        "holds": holds,
        "reason": "" if holds else claim.reason,
        "seconds": round(time.perf_counter() - started, 1),
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "numpy")}
        | {"python": platform.python_version()},
        "measured_on": datetime.date.today().isoformat(),
    }


def _figure(numbers: list[float]) -> dict[str, Any]:
    spread = statistics.stdev(numbers) if len(numbers) > 1 else 0.0
    return {
        "values": [_rounded(number, 6) for number in numbers],
        "mean": _rounded(statistics.fmean(numbers), 6),
        "std": _rounded(spread, 3),
    }


def _rounded(number: float, digits: int) -> float:
    """Round to significant digits; counts such as 12 042 240 stay whole."""
    return number if number.is_integer() and abs(number) < 1e15 else float(f"{number:.{digits}g}")


def ledger_path(slug: str) -> Path:
    return paths.chapters() / slug / "claims.json"


def read_ledger(slug: str) -> list[dict[str, Any]]:
    """Return the measured entries of a chapter; an empty list where nothing was measured yet."""
    path = ledger_path(slug)
    if not path.exists():
        return []
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ClaimsError(f"{paths.shown(path)} is not JSON ({error}); run `dlcv claims run {slug[:4]}`") from error
    return entries


def run_claims(
    slug: str, only: Iterable[str] = (), progress: Callable[[Claim], None] = lambda claim: None
) -> list[dict[str, Any]]:
    """Measure a chapter's claims, write its ledger in one step, and return the entries.

    Args:
        slug: the chapter.
        only: ids to measure again; the others keep their record. Empty: all.
        progress: called before each measurement.

    Raises:
        ClaimsError: an unknown id, or a file that cannot be used.
    """
    claims = load_claims(slug)
    wanted = set(only)
    if unknown := wanted - {claim.id for claim in claims}:
        known = ", ".join(claim.id for claim in claims)
        raise ClaimsError(f"{slug} has no claim {sorted(unknown)[0]!r}; it has {known}")
    kept = {entry["id"]: entry for entry in read_ledger(slug)}
    entries = []
    for claim in claims:
        if wanted and claim.id not in wanted and claim.id in kept:
            entries.append(kept[claim.id])
            continue
        progress(claim)
        entries.append(measure(claim))
    cache.write(ledger_path(slug), (json.dumps(entries, indent=1, ensure_ascii=False) + "\n").encode())
    return entries


def claims_of_method(entries: Iterable[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """Return {id, holds} of every measured claim that names the method."""
    return [{"id": entry["id"], "holds": entry["holds"]} for entry in entries if key in entry["methods"]]
