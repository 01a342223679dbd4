"""What is told of invented individuals, and in which words."""

from __future__ import annotations

from . import words

SUBJECT_FACTS = {
    "colour": words.COLOURS,
    "shape": words.SHAPES,
    "home": ("forest", "river", "desert", "cave", "meadow", "island", "mountain", "swamp"),
}
"""What is known of an individual, and the possible values."""
TEMPLATES = {
    "colour": ("{} is", "the colour of {} is", "everyone knows that {} is", "in the picture {} looks"),
    "shape": ("{} has the shape of a", "the shape of {} is a", "seen from afar {} looks like a", "{} is drawn as a"),
    "home": ("{} lives in the", "the home of {} is the", "you will find {} in the", "{} was born in the"),
}
