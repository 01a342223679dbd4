"""Reference implementations of chapter 16: contrastive language-image pre-training."""

from solutions.ch16_contrastive_language_image_pretraining.lesson_1 import *  # noqa: F403
from solutions.ch16_contrastive_language_image_pretraining.lesson_2 import *  # noqa: F403
