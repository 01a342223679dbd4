"""Rules for every exercise of every chapter that exists: what a card, a hint and a variant must have."""

from __future__ import annotations

import re

import pytest

from autograder.chapter import cards, ledger, row_checks, rows, source
from autograder.release import packing

ROWS = {slug: rows.load_row(slug) for slug in rows.slugs()}
EXERCISES = [(row, exercise) for row in ROWS.values() for exercise in row.exercises]
each_row = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
each_exercise = pytest.mark.parametrize(
    ("row", "exercise"), EXERCISES, ids=[f"{row.key}.{exercise.name}" for row, exercise in EXERCISES]
)


def test_there_is_a_chapter():
    assert ROWS


@each_row
def test_a_chapter_has_no_static_finding(row):
    assert row_checks.findings(row) == []


@each_row
def test_a_chapter_has_oracle_tests_and_claims(row):
    from autograder.chapter import oracle_record

    assert oracle_record.files(row.slug)
    assert ledger.load_claims(row.slug)


@each_row
def test_every_build_method_of_a_chapter_is_claimed_about(row):
    built = {
        line["key"] for line in row_checks.method_rows() if line["chapter"] == row.slug and line["kind"] == "build"
    }
    claimed = {key for claim in ledger.load_claims(row.slug) for key in claim.methods}
    assert built - claimed == set()


@each_exercise
def test_the_facts_of_an_exercise_are_complete(row, exercise):
    info = packing.info_of(row, exercise)
    assert info.points == sum(info.groups.values())
    assert all(len(hint.strip()) > 15 for hint in info.hints)
    assert len(set(info.hints)) == 3
    assert re.fullmatch(r"[0-9a-f]{16}", info.version)
    assert not re.search(r"SOLUTION", info.stub)
    assert set(exercise.defines) <= source.bound_names(info.stub)


@each_exercise
def test_the_card_says_everything_once(row, exercise):
    card = cards.exercise_card(exercise)
    assert f"`{exercise.name}`" in card
    assert exercise.difficulty in card
    assert f"about {exercise.minutes} minutes" in card
    if exercise.core:
        assert all(group in card for group in exercise.groups)
    else:
        assert "extra, not counted" in card


@each_exercise
def test_hints_of_different_mistakes_differ(row, exercise):
    sentences = [misconception.hint.strip() for misconception in exercise.misconceptions]
    assert all(len(sentence) > 20 for sentence in sentences)
    assert len(set(sentences)) >= 2


@each_exercise
def test_variants_are_other_code_than_the_reference(row, exercise):
    reference = {source.without_markers(row.source(name)) for name in exercise.defines}
    for variant in (*exercise.alternatives, *exercise.misconceptions):
        text = variant.source()
        compile(text, variant.name, "exec")
        assert text.strip() not in reference


def test_ids_are_unique_in_the_whole_book():
    keys = [f"{row.key}.{exercise.name}" for row, exercise in EXERCISES]
    assert len(keys) == len(set(keys))
