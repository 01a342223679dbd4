"""Chapter 23, notebook 1: the exercises around LoRA, merging, convolutions and counts, in the order of the lesson."""

from autograder.exercises.ch23_low_rank_adaptation.lesson_1_conv import CONV
from autograder.exercises.ch23_low_rank_adaptation.lesson_1_counts import COUNTS
from autograder.exercises.ch23_low_rank_adaptation.lesson_1_inject import INJECT
from autograder.exercises.ch23_low_rank_adaptation.lesson_1_linear import LINEAR
from autograder.exercises.ch23_low_rank_adaptation.lesson_1_merge import MERGE
from autograder.exercises.ch23_low_rank_adaptation.lesson_1_merge_extra import EXTRACT, QKV
from autograder.exercises.ch23_low_rank_adaptation.lesson_1_relatives import DYLORA, PRUNE

EXERCISES = [LINEAR, INJECT, MERGE, EXTRACT, QKV, CONV, COUNTS, DYLORA, PRUNE]
