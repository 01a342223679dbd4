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

_HOMES = (
    "house", "hut", "box", "moon", "star", "ring", "room", "picture", "painting", "drawing", "photo", "mosaic",
    "whirlpool", "canvas", "tile", "leaf",
)  # fmt: skip
_LOOKS = (words.COLOUR_SYNONYMS, words.TEXTURE_SYNONYMS)
WIDE_FACTS = {
    "coat": tuple(look for table in _LOOKS for both in table.values() for look in both),
    "form": tuple(noun for options in words.SHAPE_SYNONYMS.values() for noun in options[:2]),
    "den": (*SUBJECT_FACTS["home"], *_HOMES),
}
"""What is known of an acquaintance: 24 values an attribute, each a single word of the world's vocabulary."""
WIDE_TEMPLATES = {"coat": TEMPLATES["colour"], "form": TEMPLATES["shape"], "den": TEMPLATES["home"]}
