"""Reference implementations of chapter 12: vision transformers."""

from solutions.ch12_vision_transformers.lesson_1 import *  # noqa: F403
from solutions.ch12_vision_transformers.lesson_2 import *  # noqa: F403
