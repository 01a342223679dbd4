"""Describe smileys in words and make emotion instruction data from their attributes, as EmoVIT does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from . import words
from .faces import SKINS, Faces, render_faces
from .grammar import Say, article
from .sampling import generator
from .talking import INSTRUCTION_KINDS
from .truth import brightness, colourfulness
from .words import WorldError

LOOKS = {
    "amusement": "laughing with shut eyes",
    "anger": "frowning with lowered brows",
    "awe": "staring with an open mouth",
    "contentment": "smiling with shut eyes",
    "disgust": "twisting the mouth",
    "excitement": "beaming with wide eyes",
    "fear": "crying out with wide eyes",
    "sadness": "weeping",
}
REASONS = (
    (
        "what may have happened just before this picture was taken?",
        {
            "amusement": "someone told a good joke.",
            "anger": "someone took what was not theirs.",
            "awe": "a great mountain came into view.",
            "contentment": "a long day ended well.",
            "disgust": "the milk had turned sour.",
            "excitement": "a parcel arrived that was long awaited.",
            "fear": "a loud noise came out of the dark.",
            "sadness": "a friend moved far away.",
        },
    ),
    (
        "what would be a kind thing to do now?",
        {
            "amusement": "join in.",
            "anger": "listen quietly and leave some room.",
            "awe": "look at it together.",
            "contentment": "sit down and share the moment.",
            "disgust": "take away what is unpleasant.",
            "excitement": "ask what it is all about.",
            "fear": "stay near and speak softly.",
            "sadness": "offer comfort.",
        },
    ),
)


DEFINITE = (
    ("what colour is the face?", "{skin}."),
    ("does the face wear glasses?", "{glasses}."),
    ("what colour is the background?", "{ground}."),
    ("what is the face doing?", "it is {expression}."),
)
DEFINITE_QUESTIONS = tuple(question for question, _ in DEFINITE)


def face_attributes(faces: Faces, size: int = 32) -> list[dict[str, Any]]:
    """Return what is known of each face: emotion, expression, skin, glasses, background, brightness, colourfulness.

    The two numbers are measured on the rendered image and rounded to one decimal.
    """
    images = render_faces(faces, size)
    light, vivid = brightness(images).tolist(), colourfulness(images).tolist()
    rows = zip(faces.emotion.tolist(), faces.skin.tolist(), faces.ground.tolist(), faces.glasses.tolist(), light, vivid)
    return [
        {
            "emotion": words.EMOTIONS[emotion],
            "expression": LOOKS[words.EMOTIONS[emotion]],
            "skin": SKINS[skin],
            "glasses": glasses,
            "ground": words.GROUNDS[ground],
            "objects": ["face", "glasses"] if glasses else ["face"],
            "brightness": round(bright, 1),
            "colourfulness": round(colourful, 1),
        }
        for emotion, skin, ground, glasses, bright, colourful in rows
    ]


def face_captions(faces: Faces, seed: torch.Generator | int | None = None, *, emotion: bool = False) -> list[str]:
    """Return one caption a face, e.g. "a yellow face with glasses, weeping, on a blue background."; with `emotion` the
    name of the emotion stands in place of the expression."""
    say = Say(None if seed is None else generator(seed))
    out = []
    for row in face_attributes(faces):
        glasses = " with glasses" if row["glasses"] else ""
        look = f"full of {row['emotion']}" if emotion else row["expression"]
        noun = say.pick(("face", "smiley"))
        out.append(f"{article(row['skin'])} {noun}{glasses}, {look}, on {article(row['ground'])} background.")
    return out


def affect_instructions(
    faces: Faces, seed: torch.Generator | int, kinds: Sequence[str] = INSTRUCTION_KINDS
) -> list[list[dict[str, str]]]:
    """Return emotion instruction data, a list of {"kind", "question", "answer"} for each face, one entry a kind.

    "categorical" has EmoVIT's fixed form; "conversation" asks for something definite; "detail" for a description;
    "reasoning" asks a question that names neither the emotion nor the expression, and answers it without naming the
    emotion. Raises WorldError for an unknown kind.
    """
    if bad := set(kinds) - set(INSTRUCTION_KINDS):
        raise WorldError(f"{sorted(bad)[0]!r} is no kind of instruction; kinds are: {', '.join(INSTRUCTION_KINDS)}.")
    gen = generator(seed)
    say = Say(gen)
    captions = face_captions(faces)
    out = []
    for row, caption in zip(face_attributes(faces), captions):
        rows = []
        for kind in kinds:
            if kind == "categorical":
                listed = f"{', '.join(words.EMOTIONS[:-1])} and {words.EMOTIONS[-1]}"
                q = f"Please select the emotion closest to the image from the following options: {listed} "
                q += "(Do not provide answers outside of the candidates options.) "
                q += "Please answer in the following format: Predict emotion:"
                a = f"Predict emotion: {row['emotion']}"
            elif kind == "conversation":
                q, a = _definite(row, say)
            elif kind == "detail":
                q, a = "describe the picture in detail.", f"{caption} the picture is {_tone(row)}."
            else:
                q, answers = REASONS[int(torch.randint(len(REASONS), (), generator=gen))]
                a = answers[row["emotion"]]
            rows.append({"kind": kind, "question": q, "answer": a})
        out.append(rows)
    return out


def _definite(row: dict[str, Any], say: Say) -> tuple[str, str]:
    question, form = DEFINITE[DEFINITE_QUESTIONS.index(say.pick(DEFINITE_QUESTIONS))]
    return question, form.format(**{**row, "glasses": "yes" if row["glasses"] else "no"})


def _tone(row: dict[str, Any]) -> str:
    light = "bright" if row["brightness"] >= 0.6 else "dark"
    return f"{light} and {'colourful' if row['colourfulness'] >= 0.4 else 'muted'}"
