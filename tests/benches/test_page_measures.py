"""The pages as they were last measured: short, without scrolling sideways, light. `python benches/run.py pages`."""

import json
from pathlib import Path

import pytest

RECORD = Path(__file__).resolve().parents[2] / "benches" / "results" / "pages.json"


@pytest.fixture(scope="module")
def figures() -> dict:
    return json.loads(RECORD.read_text(encoding="utf-8"))["figures"]


def test_code_is_the_smaller_part_of_a_page_and_is_read_without_scrolling(figures):
    assert figures["share"] <= 0.18
    for name, page in figures["lessons"].items():
        assert (page["scrolled_desk"], page["scrolled_phone"], page["printed_desk"]) == (0, 0, 0), name
        assert max(page["questions"]) <= 3, name


def test_pages_are_shorter_than_they_were(figures):
    for name, (height, share, *_) in figures["before"].items():
        page = figures["lessons"][name]
        assert page["height"] < height, name
        assert page["code"] / page["words"] < share, name


def test_no_page_weighs_more_than_a_megabyte_and_a_half_before_it_is_scrolled(figures):
    assert len(figures["weights"]) >= len(figures["lessons"])
    assert max(figures["weights"].values()) <= 1_500_000
