"""The card above an exercise or question: what it is worth, how long it takes, what it is good for."""

from __future__ import annotations

from collections.abc import Sequence

from autograder.declare.exercise import Exercise, Question

SYMBOLS = {"easy": "●○○", "medium": "●●○", "hard": "●●●"}


def number(value: float) -> str:
    """Write points without a needless decimal: 3, 2.5."""
    return f"{value:g}"


def plural(value: float, word: str) -> str:
    return f"{number(value)} {word}{'' if value == 1 else 's'}"


def exercise_card(exercise: Exercise, functions: Sequence[str] = ()) -> str:
    """Return the card of an exercise as Markdown that notebooks and the book show alike.

    `functions` are the earlier functions that it builds on; by default the exercises named in its `uses`.
    """
    split = ", ".join(f"{group} {number(points)}" for group, points in exercise.groups.items())
    kind = f"core · {plural(exercise.points, 'point')} ({split})" if exercise.core else "extra, not counted"
    lines = [
        f"**Exercise `{exercise.name}`** · {kind} · {exercise.difficulty} {SYMBOLS[exercise.difficulty]} · "
        f"about {exercise.minutes} minutes",
        "",
        f"Good for: {exercise.good_for.strip()}",
    ]
    if exercise.uses:
        lines += ["", "Uses your " + ", ".join(f"`{name}`" for name in functions or exercise.uses) + "."]
    if exercise.forbid.names:
        lines += ["", "Do without " + ", ".join(f"`{name}`" for name in exercise.forbid.names) + "."]
    verbs = ", ".join(f'`{verb}("{exercise.name}")`' for verb in ("check", "hint", "show_solution", "stuck"))
    lines += ["", f"Stuck or done: {verbs}."]
    return quote("\n".join(lines))


def question_card(question: Question) -> str:
    """Return the card and the text of a written question; how it is marked is not in it."""
    head = f"**Question `{question.name}`** · core · {plural(question.points, 'point')}, marked by hand"
    return quote(f"{head}\n\n{question.text.strip()}")


def quote(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.split("\n"))
