"""The exercises of chapter 16, in the order of its notebooks."""

from autograder.exercises.ch16_contrastive_language_image_pretraining import lesson_1, lesson_2

EXERCISES = [*lesson_1.EXERCISES, *lesson_2.EXERCISES]
QUESTIONS = [*lesson_1.QUESTIONS]
