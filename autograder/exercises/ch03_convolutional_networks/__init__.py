"""The exercises of chapter 3: convolutional networks."""

from autograder.declare.exercise import Exercise, Question
from autograder.exercises.ch03_convolutional_networks import lesson_1, lesson_2

EXERCISES: list[Exercise] = [*lesson_1.EXERCISES, *lesson_2.EXERCISES]
QUESTIONS: list[Question] = list(lesson_2.QUESTIONS)
