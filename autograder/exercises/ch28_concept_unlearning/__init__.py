"""The exercises of chapter 28: concept unlearning."""

from autograder.declare.exercise import Exercise, Question
from autograder.exercises.ch28_concept_unlearning import lesson_1, lesson_2

EXERCISES: list[Exercise] = [*lesson_1.EXERCISES, *lesson_2.EXERCISES]
QUESTIONS: list[Question] = list(lesson_2.QUESTIONS)
