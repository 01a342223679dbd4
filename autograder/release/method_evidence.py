"""Bring the evidence for `dlcv methods` up to date: verified exercises and oracle tests of every chapter."""

from __future__ import annotations

from collections.abc import Callable, Collection

from autograder.chapter import content_version, oracle_record, rows
from autograder.chapter.methods import Evidence
from autograder.release import packing, verify


def gather(
    *,
    refresh: bool = True,
    only: Collection[str] | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Evidence:
    """Return what is known to work. With `refresh`, run again what is missing or older than its chapter, in the
    chapters `only` (slugs; default: in all).

    Elsewhere records that are older than their chapter do not count.
    """
    slugs = rows.slugs()
    again = {slug for slug in slugs if refresh and (only is None or slug in only)}
    if again:
        stale = [slug for slug in sorted(again) if not oracle_record.is_fresh(slug)]
        if stale:
            progress(f"oracle tests of {', '.join(slug[:4] for slug in stale)}")
            oracle_record.refresh(stale)
    verified = set()
    for slug in slugs:
        row = rows.load_row(slug)
        infos = packing.infos_of(row)
        states = {info.key: content_version.verified_as(row, info) for info in infos}
        tried = verify.verified(tried=True)
        stale_names = [info.name for info in infos if tried.get(info.key) != states[info.key]]
        if slug in again and stale_names:
            progress(f"verifying {len(stale_names)} exercises of {row.key}")
            with verify.sandbox(row) as runner:
                verify.verify_row(row, runner, only=stale_names)
        known = verify.verified()
        verified |= {key for key, state in states.items() if known.get(key) == state}
    fresh = [name for slug in slugs if oracle_record.is_fresh(slug) for name in oracle_record.names(slug)]
    held = oracle_record.load()
    return Evidence(frozenset(verified), oracle_record.counts({name: held[name] for name in fresh}))
