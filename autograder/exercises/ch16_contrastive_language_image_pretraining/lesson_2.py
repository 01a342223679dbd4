"""Chapter 16, notebook 2: the exercises around losses, towers and data, in the order of the lesson."""

from autograder.exercises.ch16_contrastive_language_image_pretraining.lesson_2_cache import CACHE
from autograder.exercises.ch16_contrastive_language_image_pretraining.lesson_2_laion import LAION
from autograder.exercises.ch16_contrastive_language_image_pretraining.lesson_2_language import POOL
from autograder.exercises.ch16_contrastive_language_image_pretraining.lesson_2_losses import SIGLIP
from autograder.exercises.ch16_contrastive_language_image_pretraining.lesson_2_metaclip import METACLIP
from autograder.exercises.ch16_contrastive_language_image_pretraining.lesson_2_pages import PAGES
from autograder.exercises.ch16_contrastive_language_image_pretraining.lesson_2_robust import ROBUST
from autograder.exercises.ch16_contrastive_language_image_pretraining.lesson_2_split import SPLIT

EXERCISES = [SIGLIP, CACHE, POOL, SPLIT, LAION, METACLIP, PAGES, ROBUST]
