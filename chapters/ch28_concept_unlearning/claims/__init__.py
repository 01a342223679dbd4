"""The claims of chapter 28, concept unlearning."""

from autograder.declare.claim import Claim
from chapters.ch28_concept_unlearning.claims import again, exact, measured

CLAIMS: list[Claim] = [
    *exact.CLAIMS,
    *again.CLAIMS,
    *measured.CLAIMS,
]
