"""The ledger measures what it says, keeps what was not asked for, and refuses what it cannot use."""

import importlib
import json

import pytest

from autograder.chapter import ledger

SOURCE = """
from autograder.declare.claim import Claim

def claim(id, **changes):
    return Claim(**{"id": id, "methods": ("ch98/a",), "says": "s", "source": "x", "analogue": "a", "conditions": "c",
                    "threshold": "mean above 1", "measure": lambda seed: {"gain": 1.0 + seed},
                    "holds": lambda figures: min(figures["gain"]) >= 1.0} | changes)

CLAIMS = [claim("first"), claim("second", holds=lambda figures: False, reason="noise", methods=("ch98/b",))]
"""


@pytest.fixture
def row(tmp_path, monkeypatch):
    monkeypatch.setenv("DLCV_ROOT", str(tmp_path))
    folder = tmp_path / "chapters" / "ch98_sample"
    folder.mkdir(parents=True)
    (folder / "claims.py").write_text(SOURCE)
    return folder


def test_every_seed_is_measured_and_summarised(row):
    first, second = ledger.run_claims("ch98_sample")
    assert first["figures"]["gain"] == {"values": [1.0, 2.0, 3.0], "mean": 2.0, "std": 1.0}
    assert first["holds"]
    assert first["reason"] == ""
    assert not second["holds"]
    assert second["reason"] == "noise"
    assert json.loads((row / "claims.json").read_text()) == [first, second]


def test_measuring_one_claim_keeps_the_record_of_the_others(row):
    before = ledger.run_claims("ch98_sample")
    (row / "claims.py").write_text(SOURCE.replace("1.0 + seed", "5.00 + seed"))
    after = ledger.run_claims("ch98_sample", only=["first"])
    assert after[0]["figures"]["gain"]["mean"] == 6.0
    assert after[1] == before[1]


def test_a_figure_that_is_not_finite_is_no_measurement(row):
    (row / "claims.py").write_text(SOURCE.replace("1.0 + seed", "float('inf')"))
    with pytest.raises(ledger.ClaimsError, match="mend its experiment"):
        ledger.run_claims("ch98_sample")
    assert not (row / "claims.json").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("CLAIMS = [", "OTHER = ["), "no list CLAIMS"),
        (('claim("second"', 'claim("first"'), "is there twice"),
        (('claim("first")', 'claim("first", seeds=(0,))'), "use 3"),
    ],
)
def test_a_claims_file_that_cannot_be_used_is_named(row, change, sentence):
    (row / "claims.py").write_text(SOURCE.replace(*change))
    with pytest.raises(ledger.ClaimsError, match=sentence) as caught:
        ledger.run_claims("ch98_sample")
    assert "claims.py" in str(caught.value)
    assert not (row / "claims.json").exists()


def test_an_unknown_claim_is_refused_with_the_known_ones(row):
    with pytest.raises(ledger.ClaimsError, match="it has first, second"):
        ledger.run_claims("ch98_sample", only=["third"])


def test_a_broken_record_names_the_command_that_renews_it(row):
    (row / "claims.json").write_text("[")
    with pytest.raises(ledger.ClaimsError, match="dlcv claims run ch98"):
        ledger.read_ledger("ch98_sample")


def test_claims_are_found_by_method(row):
    entries = ledger.run_claims("ch98_sample")
    assert ledger.claims_of_method(entries, "ch98/b") == [{"id": "second", "holds": False}]


def test_counts_stay_whole(row):
    (row / "claims.py").write_text(SOURCE.replace("1.0 + seed", "12_042_240"))
    assert ledger.run_claims("ch98_sample", only=["first"])[0]["figures"]["gain"]["mean"] == 12_042_240


KEPT = """
from autograder.declare.kept import kept

calls = []

def slow(method, seed):
    return 2.0 * seed

@kept
def cell(method, seed):
    calls.append(method)
    return {"loss": slow(method, seed)}
"""


def test_claims_may_be_a_package_whose_experiments_are_kept(row, monkeypatch):
    monkeypatch.setenv("DLCV_CACHE", str(row.parents[1] / "cache"))
    (row / "claims.py").unlink()
    (row / "claims").mkdir()
    (row / "claims" / "__init__.py").write_text(
        "from chapters.ch98_sample.claims.experiments import calls, cell\n" + SOURCE.replace(
            '"measure": lambda seed: {"gain": 1.0 + seed}', '"measure": lambda seed: {"gain": cell("a", seed)["loss"]}'
        ).replace("min(figures", "max(figures")
    )  # fmt: skip
    experiments = row / "claims" / "experiments.py"

    def measured(text: str) -> tuple[list[float], int]:
        experiments.write_text(text)
        (entry,) = ledger.run_claims("ch98_sample", only=["first"])[:1]
        return entry["figures"]["gain"]["values"], len(importlib.import_module("chapters.ch98_sample.claims").calls)

    assert measured(KEPT) == ([0.0, 2.0, 4.0], 3)  # two claims, three seeds
    assert measured(KEPT.replace("def slow", "# a note\ndef slow")) == ([0.0, 2.0, 4.0], 0)
    assert measured(KEPT.replace("2.0 * seed", "3.00 * seed")) == ([0.0, 3.0, 6.0], 3)


def test_a_claims_file_that_nobody_reads_is_told(row):
    (row / "claims_more.py").write_text(SOURCE)
    with pytest.raises(ledger.ClaimsError, match=r"claims_more\.py is read by nobody"):
        ledger.load_claims("ch98_sample")
