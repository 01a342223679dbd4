"""Reference implementations of chapter 7: autoencoders."""

from solutions.ch07_autoencoders.lesson_1 import *  # noqa: F403
from solutions.ch07_autoencoders.lesson_2 import *  # noqa: F403
