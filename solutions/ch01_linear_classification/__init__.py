"""Reference implementations of chapter 1: linear classification."""

from solutions.ch01_linear_classification.lesson_1 import *  # noqa: F403
from solutions.ch01_linear_classification.lesson_2 import *  # noqa: F403
