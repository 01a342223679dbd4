"""Quick questions: made from public cases, answerable from the page, one right option, usable without a mouse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
import torch

from autograder.book import quiz, quiz_page, values
from autograder.chapter import quick
from autograder.chapter.markup import MarkupError, Rewriter
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
        minutes=5, difficulty="easy", good_for="test", uses=(), hints=("a", "b", "c"), stub="def f(x): ...", probe="",
        setup="",
    )  # fmt: skip
    cases = tuple(Case("plain", {"x": x}, note) for note, x in inputs.items())
    known = tuple(
        MisconceptionAnswers(name, HINTS[name], tuple(outcome(function, case.data["x"]) for case in cases))
        for name, function in wrong.items()
    )
    expected = tuple(outcome(lambda x: x + 1, case.data["x"]) for case in cases)
    return Pack(info, cases, expected, ((1e-6,),) * len(cases), lambda: known)


SMALL = {"a row": torch.tensor([3, 5]), "a number": 7, "another row": torch.tensor([4, 4, 9])}


def test_a_section_gets_two_questions_about_different_mistakes():
    found = quiz.for_section([pack(SMALL, WRONG | {"refuses": None})])
    assert len(found) == 2
    assert [question.about for question in found].count("") == 1
    assert found[0].about == ""
    assert len({question.about for question in found}) == 2


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


@pytest.mark.parametrize(
    "x", [torch.rand(20, 30) + 1, torch.rand(2, 2), torch.arange(20), torch.arange(15).reshape(3, 5), 0.123]
)
def test_no_question_where_the_input_is_nothing_for_the_head(x):
    assert list(quiz.candidates(pack({"large": x}, WRONG | {"refuses": None}))) == []


@pytest.mark.parametrize(
    "x", [torch.arange(16).reshape(4, 4), torch.arange(8), torch.arange(4).reshape(1, 1, 2, 2), 3, 0.5]
)
def test_a_small_matrix_a_line_and_a_number_are_for_the_head(x):
    assert list(quiz.candidates(pack({"small": x})))


def test_what_only_the_harness_knows_is_no_question():
    foreign = replace(
        pack(SMALL), cases=tuple(Case("plain", {"phase": case.data["x"]}, "a") for case in pack(SMALL).cases)
    )
    assert list(quiz.candidates(foreign)) == []


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


WRITTEN = """The kernel slides.

:::{quick} A `5x5` kernel over $28 < 30$ pixels gives
- 28x28
- [x] 24x24
- 23x23

28 - 5 + 1 places.
:::

And on."""


def test_a_written_question_is_taken_out_of_the_prose():
    text, (found,) = quick.take(WRITTEN)
    assert text == "The kernel slides.\n\nAnd on."
    assert found == quick.Quick(
        "A `5x5` kernel over $28 < 30$ pixels gives", ("28x28", "24x24", "23x23"), 1, "28 - 5 + 1 places."
    )


def test_a_notebook_shows_a_written_question_with_a_fold():
    plain = Rewriter({}).rewrite(WRITTEN)
    assert "**Quick question.** A `5x5` kernel over $28 < 30$ pixels gives" in plain
    assert "- **B** 24x24\n" in plain
    assert "<summary>Answer</summary>\n\n**B.** 28 - 5 + 1 places." in plain


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("[x] ", ""), "0 of them right"),
        (("- 28x28", "- [x] 28x28"), "2 of them right"),
        (("28 - 5 + 1 places.", ""), "why"),
    ],
)
def test_a_question_that_has_not_one_right_answer_and_a_reason_is_refused(change, says):
    with pytest.raises(MarkupError, match=says):
        Rewriter({}).rewrite(WRITTEN.replace(*change))


@pytest.mark.parametrize("questions", [quiz.for_section([pack(SMALL)]), quick.take(WRITTEN)[1] * 3])
def test_a_block_is_made_of_named_groups_with_a_live_region_and_answers_for_pages_without_scripts(questions):
    block = quiz_page.section_block(questions, "ch98_small")
    parts = Parts(block)
    assert block.startswith("```{raw} html")
    assert parts.tags.count("fieldset") == parts.tags.count("legend") == len(questions)
    assert parts.tags.count("details") == len(questions) + 1, "one is open, the others lie behind one line"
    assert block.count('role="status"') == len(questions)
    assert block.index("quick-more") > block.index('data-answer="')
    assert "\n\n" not in block.strip(), "an empty line would end the block"


def test_a_written_question_shows_code_and_formulas_and_says_why():
    block = quiz_page.section_block(quick.take(WRITTEN)[1], "ch98_small")
    assert '<code>5x5</code> kernel over <span class="math notranslate">28 &lt; 30</span>' in block
    assert block.count("28 - 5 + 1 places.") == 3
    assert block.count("It is B. 28 - 5 + 1 places.") == 2


def test_no_questions_no_block():
    assert quiz_page.section_block([]) == ""
