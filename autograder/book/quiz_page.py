"""Quick questions as HTML that works without kernel and network, by keyboard and by ear; without scripts, too."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from autograder.book.quiz import Option, QuickQuestion
from autograder.chapter.markup import raw

LETTERS = "ABC"


def section_block(questions: Sequence[QuickQuestion]) -> str:
    """Return the quick questions of one section as a MyST block; an empty text where there are none."""
    if not questions:
        return ""
    parts = [_question(question, place) for place, question in enumerate(questions, start=1)]
    head = '<p class="quick-head"><strong>Quick questions</strong> about the code of this section. No need to compute '
    head += "everything: one entry, a sign or a shape is often enough.</p>"
    return raw(f'<section class="quick" aria-label="Quick questions">{head}{"".join(parts)}</section>')


def _question(question: QuickQuestion, place: int) -> str:
    name = "quick-" + re.sub(r"[^a-z0-9]+", "-", question.key.lower()).strip("-")
    part = f", <code>{escape(question.part)}</code> of the result" if question.part else ""
    asked = "Which output is right?"
    if question.about:
        hint = next(option.hint for option in question.options if option.mistake == question.about)
        asked = f"One of these outputs is from wrong code, to which <code>check</code> says: “{prose(hint)}” Which one?"
    given = "".join(
        f"<li><code>{escape(label)}</code><span>=</span><span>{look.html}</span></li>" for label, look in question.given
    )
    options = "".join(
        f'<label class="quick-option"><input type="radio" name="{name}" value="{index}"> <b>{LETTERS[index]}</b> '
        f"<span>{option.shown.html}</span></label>"
        for index, option in enumerate(question.options)
    )
    answers = "".join(
        f"<li><b>{LETTERS[index]}</b> <span>{_said(question, index)}</span></li>"
        for index in range(len(question.options))
    )
    return (
        f'<fieldset class="quick-question" data-key="{escape(question.key)}" data-answer="{question.answer}">'
        f"<legend>{place}. <code>{escape(question.exercise)}</code>: {asked}</legend>"
        f'<p class="quick-note">Case: {escape(question.note)}{part}.</p><ul class="quick-given">{given}</ul>'
        f'<div class="quick-options">{options}</div><p class="quick-said" role="status"></p>'
        f"<details><summary>What each output is</summary><ul>{answers}</ul></details></fieldset>"
    )


def _said(question: QuickQuestion, index: int) -> str:
    """Return the sentence that an option is answered with."""
    option = question.options[index]
    what = "This is the right output." if not option.mistake else f"This comes from wrong code. {prose(option.hint)}"
    if index == question.answer and option.mistake:
        return f"This is it. {_reference_of(question.options)}"
    return what


def _reference_of(options: Sequence[Option]) -> str:
    place = next(index for index, option in enumerate(options) if not option.mistake)
    return f"The right output is {LETTERS[place]}."


def prose(text: str) -> str:
    """Return a sentence of plain Markdown, with code spans only, as HTML."""
    pieces = re.split(r"`([^`]+)`", " ".join(text.split()))
    return "".join(
        f"<code>{escape(piece)}</code>" if index % 2 else escape(piece) for index, piece in enumerate(pieces)
    )
