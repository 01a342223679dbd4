"""The claims of chapter 16, CLIP."""

from autograder.declare.claim import Claim
from chapters.ch16_contrastive_language_image_pretraining.claims import data, lesson_1

CLAIMS: list[Claim] = [
    *lesson_1.CLAIMS,
    *data.CLAIMS,
]
