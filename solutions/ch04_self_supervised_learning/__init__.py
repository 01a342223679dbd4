"""Reference implementations of chapter 4: self-supervised learning."""

from solutions.ch04_self_supervised_learning.lesson_1 import *  # noqa: F403
from solutions.ch04_self_supervised_learning.lesson_2 import *  # noqa: F403
