"""The pages that are made from the rows: every method stands on the map, every figure is written as it was measured."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest

from autograder.book import claims_page, pages
from autograder.chapter import book_plan, methods


def entry(method: methods.Method, **more: object) -> dict:
    known = {"exercises": [], "shows": [], "oracle_tests": 0, "claims": [], "status": "missing"}
    return {**vars(method), **known, **more}


@pytest.fixture(scope="module")
def entries() -> list[dict]:
    return [entry(method) for method in methods.table()]


@pytest.fixture(scope="module")
def plan() -> book_plan.Plan:
    return book_plan.read()


def lesson(stem: str, *, asks: tuple[str, ...] = (), **meta: object) -> SimpleNamespace:
    named = {"exercise": asks, "show": (), "question": ()}
    return SimpleNamespace(path=Path(f"{stem}.md"), stem=stem, meta=meta, named=named.get, cells=())


def exercise(name: str, *, core: bool) -> SimpleNamespace:
    return SimpleNamespace(name=name, core=core, points=3.0)


@pytest.fixture
def row() -> SimpleNamespace:
    exercises = (exercise("conv2d", core=True), exercise("max_pool", core=False))
    return SimpleNamespace(
        slug="ch03_convolutional_networks",
        key="ch03",
        number=3,
        exercises=exercises,
        exercise_by_name={item.name: item for item in exercises},
        notebooks=(
            lesson(
                "lesson_1",
                asks=("conv2d", "max_pool"),
                title="Slide & sum",
                minutes=100,
                story="A window slides.",
                needs=["ch02"],
            ),
            lesson("lesson_2", title="Training", minutes=80, methods=["ch03/dropout"]),
        ),
    )


class Table(HTMLParser):
    """The rows of the map as a browser without scripts has them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.keys: list[str] = []
        self.hidden: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "tr" and "data-key" in found:
            self.keys.append(found["data-key"] or "")
        if "hidden" in found:
            self.hidden.append(tag)


def test_every_method_is_one_row_of_the_map(plan, entries):
    table = Table(pages.methods_page(plan, entries, {}))
    assert sorted(table.keys) == sorted(item["key"] for item in entries)


def test_without_scripts_only_the_filters_are_hidden(plan, entries):
    assert Table(pages.methods_page(plan, entries, {})).hidden == ["form"]


def test_the_map_counts_what_works(plan, entries):
    some = [{**item, "status": "works" if index < 7 else "partial"} for index, item in enumerate(entries)]
    assert f"Today 7 work,\n{len(entries) - 7} are there in part" in pages.methods_page(plan, some, {})


def test_a_title_cannot_add_markup_to_the_map(plan):
    bad = [entry(methods.Method("ch01/x", "ch01_linear_classification", "<script>a</script>", "002", "build"))]
    page = pages.methods_page(plan, bad, {})
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_a_method_leads_to_its_exercise_or_else_to_its_notebook(row):
    slug = row.slug
    found = pages.places(
        {slug: row},
        [
            entry(methods.Method("ch03/max_pool", slug, "", "002", "build"), exercises=["max_pool"]),
            entry(methods.Method("ch03/dropout", slug, "", "002", "build")),
            entry(methods.Method("ch03/unwritten", slug, "", "002", "build")),
            entry(methods.Method("ch09/ddpm", "ch09_diffusion", "", "002", "build")),
        ],
    )
    assert found == {
        "ch03/max_pool": f"chapters/{slug}/lesson_1.html#exercise-max-pool",
        "ch03/dropout": f"chapters/{slug}/lesson_2.html",
    }


def test_a_card_of_a_written_chapter_is_a_link_with_its_hours(plan, row, entries):
    page = pages.chapters_page(plan, {row.slug: row}, entries)
    assert 'href="chapters/ch03_convolutional_networks/index.html"' in page
    assert "2 notebooks · 3 h · 1 core and 1 extra exercises" in page
    assert page.count('<li class="planned">') == len(plan.chapters) - 1


def test_a_chapter_page_shows_notebooks_methods_and_claims(plan, row, entries):
    own = [item for item in entries if item["chapter"] == row.slug]
    page = pages.chapter_page(
        plan,
        row,
        own,
        {"ch03/conv2d": f"chapters/{row.slug}/lesson_1.html#exercise-conv2d"},
        [claim()],
        {("ch03", "lesson_1"): 41.2},
    )
    assert "# 3 Convolutional networks" in page
    assert "Slide &amp; sum" in page
    assert "runs in 41 s" in page
    assert 'href="lesson_1.html#exercise-conv2d"' in page
    assert "{ref}`Fewer weights <claim-ch03-fewer-weights>`" in page
    assert all(item["title"].split("|")[0][:20].split("&")[0].split('"')[0] in page for item in own)


def claim(**more: object) -> dict:
    base = {
        "id": "fewer_weights",
        "methods": ["ch03/conv2d"],
        "says": "A convolution needs\nfar fewer weights.",
        "source": "lecun1998gradient; slide Convolution Layer",
        "analogue": "count them",
        "conditions": "same output size",
        "threshold": "at least 100 times fewer",
        "exact": True,
        "seeds": [0],
        "figures": {"ratio": {"values": [12042240.0], "mean": 12042240.0, "std": 0.0}},
        "holds": True,
        "reason": "",
        "seconds": 0.1,
        "versions": {"torch": "2"},
        "measured_on": "2026-01-01",
    }
    return {**base, **more}


def test_a_claim_that_does_not_hold_is_shown_with_its_reason():
    text = claims_page.claim_block("ch03", claim(holds=False, reason="Too small."), set())
    assert "### Fewer weights: does not hold here\N{NO-BREAK SPACE}✗" in text
    assert "**does not hold here\N{NO-BREAK SPACE}✗** Too small." in text


def test_citation_keys_inside_a_source_become_citations():
    assert (
        claims_page.cited("lecun1998gradient; slide 5", {"lecun1998gradient"}) == "{cite:t}`lecun1998gradient`; slide 5"
    )


@pytest.mark.parametrize(
    ("values", "mean", "std", "text"),
    [
        ([12042240.0], 12042240.0, 0.0, "12042240"),
        ([0.93, 0.94, 0.95], 0.94, 0.01, "0.940 ± 0.010"),
        ([0.9384, 0.9391, 0.9379], 0.938467, 0.00061, "0.93847 ± 0.00061"),
        ([10.0, 30.0], 20.0, 14.1, "20 ± 14"),
        ([1.0, 1.0], 1.0, 0.0, "1 ± 0"),
    ],
)
def test_figures_show_two_digits_of_the_spread(values, mean, std, text):
    assert claims_page.figure_text({"values": values, "mean": mean, "std": std}) == text


def test_the_claims_page_counts_both_kinds(plan):
    ledger = {"ch03_convolutional_networks": [claim(), claim(id="faster", holds=False)]}
    assert "**2 measured, 1 hold, 1 do not hold here.**" in claims_page.claims_page(plan, ledger, set())
