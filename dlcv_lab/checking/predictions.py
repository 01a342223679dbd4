"""`predict`: commit to an expectation before an experiment. The choice stays in the notebook's own source."""

from __future__ import annotations

import html
import zlib
from collections.abc import Sequence
from types import EllipsisType

from dlcv_lab.context import in_book


class Prediction:
    """A question, its options and the choice; shown as text and as HTML."""

    def __init__(self, question: str, options: tuple[str, ...], choice: int | None) -> None:
        self.question, self.options, self.choice = question, options, choice

    def __repr__(self) -> str:
        lines = [f"What do you expect? {self.question}"]
        lines += [f"  {'(x)' if i == self.choice else '( )'} {i}: {option}" for i, option in enumerate(self.options)]
        return "\n".join([*lines, "  " + self._foot()])

    def _foot(self) -> str:
        if self.choice is None:
            return f"Replace mine=... by the number of your choice, 0 to {len(self.options) - 1}, before you go on."
        return f"Noted: {self.options[self.choice]}. Now run the experiment."

    def _repr_html_(self) -> str:
        name = f"dlcv-{zlib.crc32(repr((self.question, self.options)).encode()):08x}"
        rows = "".join(
            f'<li><label><input type="radio" name="{name}" value="{i}"{" checked" if i == self.choice else ""}> '
            f"{i}: {html.escape(option)}</label></li>"
            for i, option in enumerate(self.options)
        )
        # a page remembers the choice itself; a notebook keeps it in its source
        foot = "Choose one before you read on; this page remembers it." if in_book() else self._foot()
        return (
            f'<fieldset class="dlcv-predict"><legend><strong>What do you expect?</strong> {html.escape(self.question)}'
            f'</legend><ul style="list-style:none;padding-left:0.5em">{rows}</ul><p>{html.escape(foot)}</p></fieldset>'
        )


def predict(question: str, options: Sequence[str], mine: int | str | EllipsisType = ...) -> Prediction:
    """Ask for a prediction and note the reader's.

    Args:
        question: one sentence.
        options: at least two possible answers.
        mine: the index of an option, the option itself, or `...` where nothing was chosen yet.

    Raises:
        ValueError: fewer than two options, or a choice that is none of them.
    """
    choices = tuple(options)
    if isinstance(options, str) or len(choices) < 2:
        raise ValueError('predict needs at least two options: predict("...?", ["up", "down"])')
    if isinstance(mine, EllipsisType):
        return Prediction(question, choices, None)
    if isinstance(mine, str) and mine in choices:
        return Prediction(question, choices, choices.index(mine))
    if isinstance(mine, int) and not isinstance(mine, bool) and 0 <= mine < len(choices):
        return Prediction(question, choices, mine)
    raise ValueError(f"mine={mine!r} is none of the options; write a number from 0 to {len(choices) - 1}")
