"""Reference implementations of chapter 10: recurrent networks and attention."""

from solutions.ch10_recurrent_networks_and_attention.lesson_1 import *  # noqa: F403
from solutions.ch10_recurrent_networks_and_attention.lesson_2 import *  # noqa: F403
