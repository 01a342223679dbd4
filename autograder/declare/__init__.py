"""All that a chapter imports to declare its exercises and claims."""

from autograder.declare.draws import Draws, case
from autograder.declare.exercise import Alternative, Exercise, Misconception, Question, Variant, alternative, mistaken
from autograder.declare.probes import shipped
from autograder.declare.slips import slip

__all__ = [
    "Alternative",
    "Draws",
    "Exercise",
    "Misconception",
    "Question",
    "Variant",
    "alternative",
    "case",
    "mistaken",
    "shipped",
    "slip",
]
