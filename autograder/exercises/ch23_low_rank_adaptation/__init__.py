"""The exercises of chapter 23: low-rank adaptation."""

from autograder.declare.exercise import Exercise, Question
from autograder.exercises.ch23_low_rank_adaptation import lesson_1, lesson_2

EXERCISES: list[Exercise] = [*lesson_1.EXERCISES, *lesson_2.EXERCISES]
QUESTIONS: list[Question] = list(lesson_2.QUESTIONS)
