"""Quick questions that an author writes into a lesson: a directive `quick` with a list of options, and why.

:::{quick} A 5x5 kernel slides over 28x28 pixels without padding. What comes out?
- 28x28
- [x] 24x24

28 - 5 + 1 = 24 places along each side.
:::
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

MOST = 3  # questions a section
LETTERS = "ABCD"

_FENCE = re.compile(
    r"^(?P<fence>`{3,}|:{3,})\{quick\}[ \t]*(?P<title>[^\n]*)\n(?P<body>.*?)^(?P=fence)[ \t]*$\n?", re.M | re.S
)
_OPTION = re.compile(r"^[-*] +(?P<right>\[[xX]\] +)?(?P<text>\S.*)$")


class QuickError(Exception):
    """A quick question that is not written as it must be; the message says what to write."""


@dataclass(frozen=True)
class Quick:
    """One question, its options of which one is right, and why; all in Markdown with code and formulas only."""

    question: str
    options: tuple[str, ...]
    answer: int
    why: str


def parse(title: str, body: Sequence[str]) -> Quick:
    """Read the directive: its title is the question, a list gives the options, the text after it says why.

    Raises:
        QuickError: there is no question, no reason, or not exactly one right option of two to four.
    """
    question = title.strip()
    found = [(index, match) for index, line in enumerate(body) if (match := _OPTION.match(line.rstrip()))]
    right = [place for place, (_, match) in enumerate(found) if match["right"]]
    why = " ".join(" ".join(body[found[-1][0] + 1 :]).split()) if found else ""
    if not question or not why:
        raise QuickError(
            f"the quick question {question!r} needs its question behind {{quick}} and, after the list, why"
        )
    if not 2 <= len(found) <= len(LETTERS) or len(right) != 1:
        raise QuickError(
            f"the quick question {question!r} has {len(found)} options, {len(right)} of them right; write two to "
            f"{len(LETTERS)} lines '- option', and one of them as '- [x] option'"
        )
    return Quick(question, tuple(match["text"].strip() for _, match in found), right[0], why)


def take(text: str) -> tuple[str, list[Quick]]:
    """Return a prose cell without its quick questions, and the questions."""
    found = [parse(match["title"], match["body"].split("\n")) for match in _FENCE.finditer(text)]
    return (re.sub(r"\n{3,}", "\n\n", _FENCE.sub("", text)).strip("\n") if found else text), found


def as_markdown(quick: Quick) -> str:
    """Return the question as a notebook shows it: the answer folds."""
    options = "\n".join(f"- **{LETTERS[index]}** {option}" for index, option in enumerate(quick.options))
    return (
        f"**Quick question.** {quick.question}\n\n{options}\n\n<details>\n<summary>Answer</summary>\n\n"
        f"**{LETTERS[quick.answer]}.** {quick.why}\n\n</details>"
    )
