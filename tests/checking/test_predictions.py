"""`predict` asks, `reveal` answers from the run's own value, and what was noted first is counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from dlcv_lab import context
from dlcv_lab.checking import predictions
from dlcv_lab.checking.predictions import foreseen, predict, reveal
from dlcv_lab.checking.progress import Progress


@pytest.fixture(autouse=True)
def in_a_notebook(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A notebook of chapter 3 in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(context, "_chapter", "ch03")
    monkeypatch.setattr(predictions, "_asked", {})


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What `display` was given."""
    seen: list[Any] = []
    monkeypatch.setattr("IPython.display.display", seen.append)
    return seen


@pytest.mark.parametrize("mine", [1, "down", "B", "b"])
def test_a_choice_is_a_letter_an_option_or_an_index(mine):
    assert "Noted: down" in repr(predict("Where?", ["up", "down"], mine=mine))


def test_without_a_choice_the_text_says_how_to_make_one():
    assert 'mine="A" to mine="B"' in repr(predict("Where?", ["up", "down"]))


@pytest.mark.parametrize(
    "wrong", [{"mine": 2}, {"mine": "C"}, {"mine": True}, {"name": "No Name"}, {"options": ["one"]}, {"options": "up"}]
)
def test_what_cannot_be_meant_is_refused(wrong):
    with pytest.raises(ValueError, match=r"none of the options|small letters|two to six"):
        predict(**({"question": "Where?", "options": ["up", "down"]} | wrong))


@pytest.mark.parametrize(
    ("options", "value", "right", "was"),
    [
        (["about 90 %", "about 60 %", "about 20 %"], 0.192, 2, "19 %"),
        (["about 90 %", "about 60 %", "about 20 %"], torch.tensor(0.7), 1, "70 %"),
        (["256", "2 560", "2 570"], 2570, 2, "2 570"),
        (["about .95", "about .65"], 0.66, 1, "0.66"),
        (["−1", "1"], -0.5, 0, "−0.5"),
        ({"few": (0, 10), "many": (10, 100)}, 12, 1, "12"),
        ({"within 2 points": (-2, 2), "below": (-100, -2)}, -7.5, 1, "−7.5"),
    ],
)
def test_the_right_option_is_computed_from_the_value(shown, options, value, right, was):
    predict("How many?", options, name="many")
    reveal("many", value)
    assert (shown[0].right, shown[0].was) == (right, was)


@pytest.mark.parametrize(
    ("options", "value"),
    [
        (["14x14", "15x15"], 14),
        (["up", "down"], 3),
        (["10", "20"], 15),
        (["10", "20"], float("nan")),
        (["10", "20"], "x"),
    ],
)
def test_where_it_cannot_be_computed_the_author_must_say(options, value):
    predict("Which?", options, name="which")
    with pytest.raises(ValueError, match="say which is right"):
        reveal("which", value)


def test_a_right_option_that_is_none_and_an_unknown_name_are_refused():
    predict("Which?", ["up", "down"], name="way")
    with pytest.raises(ValueError, match="none of the options of 'way'"):
        reveal("way", 3, right="left")
    with pytest.raises(ValueError, match="run the cell with predict"):
        reveal("where", 3)


def test_reveal_says_what_one_had_said_and_what_came(shown):
    predict("How many?", ["about 90 %", "about 20 %"], mine="A", name="linear")
    reveal("linear", 0.192, fmt=".1%")
    assert repr(shown[0]) == "You said “about 90 %”; it was 19.2 %: “about 20 %” is right."
    predict("How many?", ["about 90 %", "about 20 %"], mine="B", name="again")
    reveal("again", 0.192, fmt=lambda share: f"{192} of 1000")
    assert repr(shown[1]) == "You said “about 20 %”, and it was 192 of 1000. You foresaw it."
    predict("How many?", ["about 90 %", "about 20 %"], name="open")
    reveal("open", 0.192)
    assert repr(shown[2]) == "It was 19 %: “about 20 %” is right."


def test_the_first_choice_is_counted_and_the_second_knows_the_result(shown):
    assert (foreseen().right, foreseen().answered) == (0, 0)
    for mine in "AB":
        predict("How many?", ["90 %", "20 %"], mine=mine, name="one")
        reveal("one", 0.2)
    predict("Where?", ["up", "down"], mine="A", name="two")
    reveal("two", "upwards", right="up")
    assert repr(foreseen()) == "You foresaw 1 of the 2 results that you predicted."
    assert Progress().predictions["ch03.one"] == {"said": "90 %", "right": "20 %", "was": "20 %"}
    assert foreseen("ch04").answered == 0


def test_checks_and_predictions_are_kept_side_by_side(shown):
    predict("Where?", ["up", "down"], mine="A", name="two")
    reveal("two", "upwards", right="up")
    Progress().checked("ch03.conv2d", "OK")
    assert list(Progress().predictions) == ["ch03.two"]
    assert Progress().of("ch03.conv2d").solved


def test_a_page_gets_every_sentence_and_plain_text_without_script(shown, monkeypatch):
    monkeypatch.setenv("DLCV_BOOK", "1")
    asked = predict("A < B?", ["yes & no", "no"], mine="A", name="less")
    reveal("less", "so", right="no")
    page = shown[0]._repr_html_()
    assert 'data-name="ch03.less"' in asked._repr_html_()
    assert "<li>yes &amp; no</li>" in asked._repr_html_()
    assert 'data-name="ch03.less" data-right="1"' in page
    import html
    import re

    answers = json.loads(html.unescape(re.search(r'data-answers="([^"]*)"', page)[1]))
    assert answers == [shown[0].sentence(0), shown[0].sentence(1)]
    assert not Progress().predictions, "building the book is no reader"
