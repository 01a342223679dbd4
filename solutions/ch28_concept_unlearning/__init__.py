"""Reference implementations of chapter 28: concept unlearning."""

from solutions.ch28_concept_unlearning.lesson_1 import *  # noqa: F403
from solutions.ch28_concept_unlearning.lesson_2 import *  # noqa: F403
