"""Reference implementations of chapter 6: object detection."""

from solutions.ch06_object_detection.lesson_1 import *  # noqa: F403
from solutions.ch06_object_detection.lesson_2 import *  # noqa: F403
from solutions.ch06_object_detection.lesson_3 import *  # noqa: F403
