"""Reference implementations of chapter 3: convolutional networks."""

from solutions.ch03_convolutional_networks.lesson_1 import *  # noqa: F403
from solutions.ch03_convolutional_networks.lesson_2 import *  # noqa: F403
