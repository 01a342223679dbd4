"""All that a chapter imports to declare its exercises and claims.

What draws loads torch, so it is imported when it is asked for: the grader reads a chapter's texts without it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autograder.declare.draws import Draws as Draws
    from autograder.declare.draws import case as case
    from autograder.declare.exercise import Alternative as Alternative
    from autograder.declare.exercise import Exercise as Exercise
    from autograder.declare.exercise import Misconception as Misconception
    from autograder.declare.exercise import Question as Question
    from autograder.declare.exercise import Variant as Variant
    from autograder.declare.exercise import alternative as alternative
    from autograder.declare.exercise import mistaken as mistaken
    from autograder.declare.probes import shipped as shipped
    from autograder.declare.slips import slip as slip

_HOMES = {
    "Draws": "draws",
    "case": "draws",
    "Alternative": "exercise",
    "Exercise": "exercise",
    "Misconception": "exercise",
    "Question": "exercise",
    "Variant": "exercise",
    "alternative": "exercise",
    "mistaken": "exercise",
    "shipped": "probes",
    "slip": "slips",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
