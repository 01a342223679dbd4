"""Reference implementations of chapter 23: low-rank adaptation."""

from solutions.ch23_low_rank_adaptation.lesson_1 import *  # noqa: F403
from solutions.ch23_low_rank_adaptation.lesson_2 import *  # noqa: F403
