"""Chapter 28, notebook 1: measuring, Ablating Concepts and ESD, in the order of the lesson."""

from autograder.exercises.ch28_concept_unlearning.lesson_1_esd import ESD
from autograder.exercises.ch28_concept_unlearning.lesson_1_losses import ABLATION
from autograder.exercises.ch28_concept_unlearning.lesson_1_names import NAMES
from autograder.exercises.ch28_concept_unlearning.lesson_1_pairs import PAIRS
from autograder.exercises.ch28_concept_unlearning.lesson_1_report import REPORT

EXERCISES = [REPORT, PAIRS, ABLATION, NAMES, ESD]
