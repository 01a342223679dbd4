"""The claims of chapter 23, low-rank adaptation."""

from autograder.declare.claim import Claim
from chapters.ch23_low_rank_adaptation.claims import counts, quality, rows, weights

CLAIMS: list[Claim] = [
    *counts.CLAIMS,
    *quality.CLAIMS,
    *rows.CLAIMS,
    *weights.CLAIMS,
]
