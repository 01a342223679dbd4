"""Quick questions: made from public cases, answerable from the page, one right option, usable without a mouse."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
import torch

from autograder.book import quiz, quiz_page, values
from dlcv_lab.checking.model import Case, ExerciseInfo, MisconceptionAnswers, Outcome, Pack

HINTS = {
    "doubles": "Your f doubles. It adds `one`.",
    "forgets": "Your f returns x as it came.",
    "refuses": "Your f raises an error on every input.",
}
WRONG: dict[str, Callable[[Any], Any]] = {"doubles": lambda x: 2 * x, "forgets": lambda x: x}


def outcome(function: Callable[[Any], Any] | None, x: Any) -> Outcome:
    return Outcome("raised", error="ValueError") if function is None else Outcome("value", value=function(x))


def pack(inputs: dict[str, Any], wrong: dict[str, Any] | None = None) -> Pack:
    """A pack of f(x) = x + 1 with one case an input; a wrong function that is None raises."""
    wrong = WRONG if wrong is None else wrong
    info = ExerciseInfo(
        chapter="ch98", name="f", notebook="lesson_1", defines=("f",), points=1.0, core=True, groups={"plain": 1.0},
        minutes=5, difficulty="easy", good_for="testing", uses=(), hints=("a", "b", "c"), stub="", probe="", setup="",
    )  # fmt: skip
    cases = tuple(Case("plain", {"x": x}, note) for note, x in inputs.items())
    known = tuple(
        MisconceptionAnswers(name, HINTS[name], tuple(outcome(function, case.data["x"]) for case in cases))
        for name, function in wrong.items()
    )
    expected = tuple(outcome(lambda x: x + 1, case.data["x"]) for case in cases)
    return Pack(info, cases, expected, ((1e-6,),) * len(cases), lambda: known)


SMALL = {"a row": torch.tensor([3, 5]), "a number": 7, "another row": torch.tensor([4, 4, 9])}


def test_a_section_gets_three_questions_about_different_mistakes():
    found = quiz.for_section([pack(SMALL, WRONG | {"refuses": None})])
    assert len(found) == 3
    assert [question.about for question in found].count("") == 1
    assert found[0].about == ""
    assert len({question.about for question in found}) == 3


def test_exactly_one_option_is_asked_for_and_one_is_right():
    for question in quiz.for_section([pack(SMALL)]):
        assert [option.mistake for option in question.options].count(question.about) == 1
        assert [option.mistake for option in question.options].count("") == 1
        assert len({str(option.shown.key) for option in question.options}) == len(question.options)


def test_the_same_pack_gives_the_same_questions():
    assert quiz.for_section([pack(SMALL)]) == quiz.for_section([pack(SMALL)])


def test_options_are_not_always_in_the_same_order():
    inputs = {f"case {n}": torch.tensor([n, n + 2]) for n in range(12)}
    assert len({question.answer for question in quiz.candidates(pack(inputs))}) > 1


def test_no_question_where_the_inputs_are_too_large_to_compute_with():
    assert list(quiz.candidates(pack({"large": torch.rand(20, 30) + 1}))) == []


def test_large_inputs_are_fine_where_the_wrong_output_is_of_another_kind():
    found = list(quiz.candidates(pack({"large": torch.rand(20, 30) + 1}, {"refuses": None})))
    assert [question.about for question in found] == ["refuses"]


def test_outputs_that_look_alike_are_no_options():
    close = {"doubles": lambda x: x + 1.001}
    assert list(quiz.candidates(pack({"a row": torch.tensor([300.0, 500.0])}, close))) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3.0, "3"),
        (-0.25, "−0.25"),
        (2, "2"),
        (True, "True"),
        (float("inf"), "∞"),
        (float("nan"), "NaN"),
        (1e-9, "0.00"),
    ],
)
def test_numbers_are_written_for_readers(value, text):
    assert values.number(value) == text


def test_a_large_input_is_a_picture_with_words_and_a_large_output_a_corner():
    large = torch.arange(600.0).reshape(2, 15, 20)
    assert 'alt="15 rows of 20 numbers as grey levels' in values.shown(large).html
    assert "a corner of its first plane" in values.shown(large, corner=True).html


class Parts(HTMLParser):
    """Radio buttons by name, and how many of each tag."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.groups: dict[str, list[str]] = {}
        self.tags: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        if tag == "input":
            assert found["type"] == "radio"
            self.groups.setdefault(str(found["name"]), []).append(str(found["value"]))


def test_a_block_is_made_of_named_groups_with_a_live_region_and_answers_for_pages_without_scripts():
    block = quiz_page.section_block(quiz.for_section([pack(SMALL)]))
    parts = Parts(block)
    assert block.startswith("```{raw} html")
    assert (
        parts.tags.count("fieldset") == parts.tags.count("legend") == parts.tags.count("details") == len(parts.groups)
    )
    assert block.count('role="status"') == len(parts.groups)
    assert all(part == ["0", "1", "2"] for part in parts.groups.values())
    assert "Your f doubles. It adds <code>one</code>." in block


def test_no_questions_no_block():
    assert quiz_page.section_block([]) == ""
