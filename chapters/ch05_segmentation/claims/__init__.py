"""The claims of chapter 5, segmentation. Seen on the seeds 0, 1, 3 and 77; conditions were fixed, then measured."""

from autograder.declare.claim import Claim
from chapters.ch05_segmentation.claims import lesson_1, lesson_2

CLAIMS: list[Claim] = [
    *lesson_1.CLAIMS,
    *lesson_2.CLAIMS,
]
