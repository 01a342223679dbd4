"""Which rows the tests run the heavy checks of: see `autograder.chapter.verified.choose`.

DLCV_ROWS names others: "all", "none", or "ch03,ch16".
"""

from __future__ import annotations

import functools
import os
import subprocess

from autograder.base import paths
from autograder.chapter import rows, verified

MODEL = "ch03"  # the tests' book runs this chapter in any case: what its pages do is tried in a browser


@functools.cache
def choice() -> verified.Choice:
    """Return the choice of this run; it is the same in every process that shares the tests."""
    if wanted := os.environ.get("DLCV_ROWS"):
        return verified.named(wanted, rows.slugs())
    return verified.choose(verified.keys(), verified.load(), commit())


def commit() -> str:
    """Return the commit's hash, or where there is none a name that changes with the record."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=paths.CHECKOUT, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else str(sorted(verified.keys().values()))


def executed() -> list[str]:
    """Return the slugs whose lessons are run for the tests' book, the model's first; the others have no outputs."""
    model = rows.resolve(MODEL)
    return [model, *(slug for slug in choice().run if slug != model)]
