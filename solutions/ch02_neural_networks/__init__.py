"""Reference implementations of chapter 2: neural networks."""

from solutions.ch02_neural_networks.lesson_1 import *  # noqa: F403
from solutions.ch02_neural_networks.lesson_2 import *  # noqa: F403
