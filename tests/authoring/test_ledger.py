"""The committed record of every chapter belongs to its claims, and the cheap ones come out the same again."""

import pytest

from autograder.chapter import ledger, rows

CLAIMS = [(slug, claim) for slug in rows.slugs() for claim in ledger.load_claims(slug)]
IDS = [f"{slug[:4]}-{claim.id}" for slug, claim in CLAIMS]


@pytest.mark.parametrize(("slug", "claim"), CLAIMS, ids=IDS)
def test_the_record_was_made_under_the_conditions_that_are_written_down(slug, claim):
    entry = next((entry for entry in ledger.read_ledger(slug) if entry["id"] == claim.id), None)
    assert entry is not None, f"measure it: dlcv claims run {slug[:4]} --only {claim.id}"
    for name in ("says", "source", "analogue", "conditions", "threshold", "exact"):
        assert entry[name] == getattr(claim, name), f"measure it again: dlcv claims run {slug[:4]} --only {claim.id}"
    values = {name: figure["values"] for name, figure in entry["figures"].items()}
    assert bool(claim.holds(values)) == entry["holds"]


@pytest.mark.parametrize("slug", rows.slugs())
def test_the_record_holds_nothing_that_is_no_longer_claimed(slug):
    assert {entry["id"] for entry in ledger.read_ledger(slug)} == {claim.id for claim in ledger.load_claims(slug)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("slug", "claim"),
    [pair for pair in CLAIMS if pair[1].cheap],
    ids=[name for name, pair in zip(IDS, CLAIMS, strict=True) if pair[1].cheap],
)
def test_a_cheap_claim_comes_out_as_recorded(slug, claim):
    entry = next(entry for entry in ledger.read_ledger(slug) if entry["id"] == claim.id)
    assert ledger.measure(claim)["holds"] == entry["holds"]
