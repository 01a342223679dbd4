"""The evidence for `dlcv methods`, from records alone: nothing is run on the way.

What counts is the committed record of the rows (chapters/verified.json) and what ran on this machine since, each only
for the state of the chapter that it was made of.
"""

from __future__ import annotations

from autograder.chapter import content_version, oracle_record, rows, verified
from autograder.chapter.methods import Evidence
from autograder.release import packing, verify


def gather() -> Evidence:
    """Return what is known to work."""
    exercises: set[str] = set()
    oracle: dict[str, dict[str, int]] = {}
    fresh, known = verified.fresh(), verify.verified()
    for slug in rows.slugs():
        row = rows.load_row(slug)
        for info in packing.infos_of(row):
            if slug in fresh or known.get(info.key) == content_version.verified_as(row, info):
                exercises.add(info.key)
        for key, told in (oracle_record.counts_of(slug) or verified.oracle_counts(slug)).items():
            sums = oracle.setdefault(key, {"passed": 0, "failed": 0})
            for outcome, many in told.items():
                sums[outcome] += many
    return Evidence(frozenset(exercises), oracle)


def unproved() -> list[str]:
    """Return the slugs of the rows that no record proves as they are today."""
    fresh, known = verified.fresh(), verify.verified()
    return [
        row.slug
        for row in map(rows.load_row, rows.slugs())
        if row.slug not in fresh
        and any(known.get(info.key) != content_version.verified_as(row, info) for info in packing.infos_of(row))
    ]
