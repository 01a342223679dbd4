"""Reference implementations of chapter 11: self-attention and the Transformer."""

from solutions.ch11_transformers.lesson_1 import *  # noqa: F403
from solutions.ch11_transformers.lesson_2 import *  # noqa: F403
