"""Quick questions as HTML that works without kernel and network, by keyboard and by ear; without scripts, too."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from autograder.book.quiz import QuickQuestion
from autograder.book.render import block, prose
from autograder.chapter.quick import LETTERS, Quick
from autograder.chapter.source import short_hash


@dataclass(frozen=True)
class ShownOption:
    """An option, and what a reader who chose it is told."""

    shown: Markup
    said: Markup


@dataclass(frozen=True)
class ShownQuestion:
    """A question as the template prints it."""

    key: str  # under which a browser remembers the reader's answer
    asked: Markup
    options: tuple[ShownOption, ...]
    answer: int
    note: str = ""
    given: tuple[tuple[str, Markup], ...] = ()

    @property
    def field(self) -> str:
        return "quick-" + re.sub(r"[^a-z0-9]+", "-", self.key.lower()).strip("-")


def section_block(questions: Sequence[QuickQuestion | Quick], slug: str = "") -> str:
    """Return the quick questions of one section as a MyST block; an empty text where there are none."""
    if not questions:
        return ""
    shown = [_written(each, slug) if isinstance(each, Quick) else _generated(each) for each in questions]
    return block("quick.html", questions=shown)


def _written(quick: Quick, slug: str) -> ShownQuestion:
    why = prose(quick.why)
    best = Markup("It is {}. {}").format(LETTERS[quick.answer], why)
    options = tuple(
        ShownOption(prose(option), why if index == quick.answer else best) for index, option in enumerate(quick.options)
    )
    return ShownQuestion(f"{slug}/{short_hash(quick.question)}", prose(quick.question), options, quick.answer)


def _generated(question: QuickQuestion) -> ShownQuestion:
    name = Markup("<code>{}</code>").format(question.exercise)
    asked = Markup("{}: which output is right?").format(name)
    if question.about:
        hint = next(option.hint for option in question.options if option.mistake == question.about)
        asked = Markup(
            "{}: one of these outputs is from wrong code, to which <code>check</code> says: “{}” Which one?"
        ).format(name, prose(hint))
    options = tuple(
        ShownOption(Markup(option.shown.html), _said(question, index)) for index, option in enumerate(question.options)
    )
    given = tuple((label, Markup(look.html)) for label, look in question.given)
    return ShownQuestion(question.key, asked, options, question.answer, f"Case: {question.note}.", given)


def _said(question: QuickQuestion, index: int) -> Markup:
    """Return the sentence that an option is answered with."""
    option = question.options[index]
    if index == question.answer and option.mistake:
        place = next(index for index, option in enumerate(question.options) if not option.mistake)
        return Markup("This is it. The right output is {}.").format(LETTERS[place])
    if not option.mistake:
        return Markup("This is the right output.")
    return Markup("This comes from wrong code. {}").format(prose(option.hint))
