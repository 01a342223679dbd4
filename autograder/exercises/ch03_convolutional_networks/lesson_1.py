"""The exercises of notebook 1, in its order; groups of them live in the modules beside this one."""

from autograder.declare.exercise import Exercise
from autograder.exercises.ch03_convolutional_networks.lesson_1_backward import CONV2D_BACKWARD, MAX_POOL2D_BACKWARD
from autograder.exercises.ch03_convolutional_networks.lesson_1_extra import COUNT_LAYER_PARAMS, FC_AS_CONV, RELU
from autograder.exercises.ch03_convolutional_networks.lesson_1_layers import CONV2D, IM2COL, MAX_POOL2D
from autograder.exercises.ch03_convolutional_networks.lesson_1_sums import CORRELATE2D, OUTPUT_SIZE

EXERCISES: list[Exercise] = [
    COUNT_LAYER_PARAMS,
    CORRELATE2D,
    OUTPUT_SIZE,
    IM2COL,
    CONV2D,
    RELU,
    MAX_POOL2D,
    CONV2D_BACKWARD,
    MAX_POOL2D_BACKWARD,
    FC_AS_CONV,
]
