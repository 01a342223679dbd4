"""The claims of chapter 3, convolutional networks."""

from autograder.declare.claim import Claim
from chapters.ch03_convolutional_networks.claims import batch_norm, lesson_1, lesson_1_exact, lesson_2

CLAIMS: list[Claim] = [
    *lesson_2.CLAIMS,
    *batch_norm.CLAIMS,
    *lesson_1.CLAIMS,
    *lesson_1_exact.CLAIMS,
]
