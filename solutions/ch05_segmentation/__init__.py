"""Reference implementations of chapter 5: segmentation."""

from solutions.ch05_segmentation.lesson_1 import *  # noqa: F403
from solutions.ch05_segmentation.lesson_2 import *  # noqa: F403
