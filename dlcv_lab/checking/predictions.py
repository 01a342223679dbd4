"""`predict` asks before an experiment, `reveal` answers after it: what came, and what the reader had said."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import Any

from dlcv_lab.checking.progress import Progress
from dlcv_lab.context import chapter_or_none, in_book

Meaning = float | tuple[float, float] | None  # a number, a range, or nothing that can be computed with

LETTERS = "ABCDEF"
_NAME = re.compile(r"[a-z][a-z0-9_]*")
# one number that stands alone: "about 90 %", "2 570", ".95", "−3"; not "14x14"
_NUMBER = re.compile(r"(?<![\w.])[-\N{MINUS SIGN}]?(?:\d{1,3}(?:[ \u202f]\d{3})+|\d+)?(?:\.\d+)?(?<=\d)(?![\w.]*\w)")


@dataclass(frozen=True)
class Prediction:
    """A question, its options and the choice; shown as text and as HTML."""

    question: str
    options: tuple[str, ...]
    meanings: tuple[Meaning, ...]
    choice: int | None
    name: str = ""

    @property
    def key(self) -> str:
        """The name under which the choice is kept, such as "ch03.linear"."""
        return f"{chapter_or_none() or 'notebook'}.{self.name}"

    @property
    def of_percent(self) -> bool:
        """Tell whether the options are percentages; a share of 0.19 is then meant as 19 %."""
        return all("%" in option for option in self.options)

    def right(self, value: Any) -> int | None:
        """Return the option that a value agrees with: the range that holds it, else the nearest number."""
        if isinstance(value, str) or any(meaning is None for meaning in self.meanings):
            return None
        number = float(value) * (100 if self.of_percent else 1)
        if not math.isfinite(number):
            return None
        away = [_distance(number, meaning) for meaning in self.meanings if meaning is not None]
        return away.index(min(away)) if away.count(min(away)) == 1 else None

    def __repr__(self) -> str:
        lines = [f"What do you expect? {self.question}"]
        lines += [
            f"  {LETTERS[i]}  {option}{'  <- your choice' if i == self.choice else ''}"
            for i, option in enumerate(self.options)
        ]
        return "\n".join([*lines, "  " + self._foot()])

    def _foot(self) -> str:
        if self.choice is None:
            last = LETTERS[len(self.options) - 1]
            return f'Write your choice into the cell, mine="A" to mine="{last}", and run it before you go on.'
        return f"Noted: {self.options[self.choice]}. Now run the experiment."

    def _repr_html_(self) -> str:
        if in_book():  # a list that the page's script turns into buttons
            rows = "".join(f"<li>{html.escape(option)}</li>" for option in self.options)
            foot = "Choose before you read on."
        else:
            mark = " &larr; <b>your choice</b>"
            rows = "".join(
                f"<li><b>{LETTERS[i]}</b>&ensp;{html.escape(option)}{mark if i == self.choice else ''}</li>"
                for i, option in enumerate(self.options)
            )
            foot = html.escape(self._foot())
        return (
            f'<fieldset class="dlcv-predict" data-name="{self.key}"><legend><strong>What do you expect?</strong> '
            f'{html.escape(self.question)}</legend><ul style="list-style:none;padding-left:0.5em">{rows}</ul>'
            f"<p>{foot}</p></fieldset>"
        )


_asked: dict[str, Prediction] = {}


def predict(
    question: str,
    options: Sequence[str] | Mapping[str, float | tuple[float, float]],
    mine: int | str | EllipsisType = ...,
    name: str = "",
) -> Prediction:
    """Ask for a prediction and note the reader's; `reveal(name, value)` answers it after the experiment.

    Args:
        question: one sentence.
        options: two to six possible answers. Where each holds one number ("about 90 %", "about 20 %"), `reveal` finds
            the nearest; a mapping gives each answer its number or its range (low, high), percentages as in the text.
        mine: the letter of an option, the option itself or its index; `...` where nothing was chosen yet.
        name: small letters; what `reveal` calls it. One name a chapter.

    Raises:
        ValueError: too few or too many options, a name that is none, or a choice that is none of the options.
    """
    choices = tuple(options)
    if isinstance(options, str) or not 2 <= len(choices) <= len(LETTERS):
        raise ValueError('predict needs two to six options: predict("...?", ["up", "down"], name="way")')
    if name and not _NAME.fullmatch(name):
        raise ValueError(f"name={name!r}: write small letters, digits and _, such as name='linear'")
    meanings = tuple(options.values()) if isinstance(options, Mapping) else tuple(map(_read, choices))
    asked = Prediction(question, choices, meanings, _chosen(choices, mine), name)
    _asked[name] = asked
    return asked


def _chosen(options: tuple[str, ...], mine: int | str | EllipsisType) -> int | None:
    if isinstance(mine, EllipsisType):
        return None
    if isinstance(mine, str) and mine in options:
        return options.index(mine)
    if isinstance(mine, str) and len(mine.strip()) == 1 and mine.strip().upper() in LETTERS[: len(options)]:
        return LETTERS.index(mine.strip().upper())
    if isinstance(mine, int) and not isinstance(mine, bool) and 0 <= mine < len(options):
        return mine
    raise ValueError(f"mine={mine!r} is none of the options; write a letter from A to {LETTERS[len(options) - 1]}")


def _read(option: str) -> Meaning:
    """Return the number of an option that holds exactly one."""
    found = _NUMBER.findall(option)
    if len(found) != 1:
        return None
    return float(re.sub(r"[ \u202f]", "", found[0]).replace("\N{MINUS SIGN}", "-"))


def _distance(number: float, meaning: float | tuple[float, float]) -> float:
    low, high = meaning if isinstance(meaning, tuple) else (meaning, meaning)
    return max(low - number, number - high, 0.0)


@dataclass(frozen=True)
class Revealed:
    """What came, beside what the reader had said; shown as text and as HTML."""

    asked: Prediction
    right: int
    was: str

    def sentence(self, choice: int | None) -> str:
        """Return what a reader who chose this option is told."""
        best = self.asked.options[self.right]
        if choice is None:
            return f"It was {self.was}: “{best}” is right."
        if choice == self.right:
            return f"You said “{best}”, and it was {self.was}. You foresaw it."
        return f"You said “{self.asked.options[choice]}”; it was {self.was}: “{best}” is right."

    def __repr__(self) -> str:
        return self.sentence(self.asked.choice)

    def _repr_html_(self) -> str:
        said = html.escape(self.sentence(self.asked.choice))
        if not in_book():
            return f'<p class="dlcv-reveal"><strong>What came:</strong> {said}</p>'
        answers = json.dumps([self.sentence(choice) for choice in range(len(self.asked.options))], ensure_ascii=False)
        return (
            f'<p class="dlcv-reveal" data-name="{self.asked.key}" data-right="{self.right}" '
            f'data-answers="{html.escape(answers)}"><strong>What came:</strong> <span>{said}</span></p>'
        )


def reveal(
    name: str, value: Any, right: int | str | None = None, *, fmt: str | Callable[[Any], str] | None = None
) -> None:
    """Show what came, what the reader had said, and which option is right.

    Args:
        name: of the prediction.
        value: what the experiment gave: a number, a scalar tensor, or a few words.
        right: the right option or its index, computed from what came. It may be left out where the options hold
            numbers and `value` is one: the range that holds it is right, else the nearest number.
        fmt: how the value is written: a format such as ".1%" or ".3f", or a function. By default short; as a
            percentage where the options are percentages.

    Raises:
        ValueError: no such prediction was asked, `right` is none of its options, or it has to be given and is not.
    """
    from IPython.display import display

    if name not in _asked:
        raise ValueError(f"no prediction is called {name!r} yet; run the cell with predict(..., name={name!r}) first")
    asked = _asked[name]
    if hasattr(value, "item"):
        value = value.item()
    if right is None:
        right = asked.right(value)
        if right is None:
            raise ValueError(
                f"reveal({name!r}, {value!r}): the options cannot be told apart by this value; say which is right, "
                "computed from what came: right='up' if a > b else 'down'"
            )
    elif isinstance(right, str):
        if right not in asked.options:
            raise ValueError(f"right={right!r} is none of the options of {name!r}: {', '.join(asked.options)}")
        right = asked.options.index(right)
    shown = Revealed(asked, int(right), _written(value, fmt, asked.of_percent))
    if asked.choice is not None and not in_book():
        Progress().foresaw(asked.key, said=asked.options[asked.choice], right=asked.options[shown.right], was=shown.was)
    display(shown)


def _written(value: Any, fmt: str | Callable[[Any], str] | None, percent: bool) -> str:
    if callable(fmt):
        return fmt(value)
    if isinstance(value, str):
        return value
    if fmt is None and percent:
        fmt = ".0%"
    if fmt is not None:
        return re.sub(r"(?<=\d)%", " %", format(value, fmt)).replace("-", "\N{MINUS SIGN}")
    if isinstance(value, int):
        return f"{value:,}".replace(",", " ").replace("-", "\N{MINUS SIGN}")
    from dlcv_lab.layout import number

    return number(value)


@dataclass(frozen=True)
class Foreseen:
    """How many predictions came true; shown as one sentence."""

    right: int
    answered: int

    @property
    def counted(self) -> str:
        """Return "4 of 7", or nothing where nothing was predicted."""
        return f"{self.right} of {self.answered}" if self.answered else ""

    def __repr__(self) -> str:
        if not self.answered:
            return "You have noted no prediction in this chapter yet."
        return f"You foresaw {self.right} of the {self.answered} results that you predicted."


def foreseen(chapter: str | None = None) -> Foreseen:
    """Count the predictions of a chapter ("ch03"; by default this notebook's) and those that came true.

    What was noted first counts: a second choice knows the result.
    """
    key = chapter or chapter_or_none() or ""
    noted = [entry for name, entry in Progress().predictions.items() if name.startswith(f"{key}.")]
    return Foreseen(sum(entry.get("said") == entry.get("right") for entry in noted), len(noted))
