"""Chapter 23, notebook 2: cases, probe and variants of the two counting functions."""

import torch

from autograder.declare.exercise import Alternative, Exercise, Misconception
from dlcv_lab.checking.model import Case


def vector_cases(rng: torch.Generator) -> list[Case]:
    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=rng))

    def case(group: str, function: str, note: str, n: int) -> Case:
        shapes = [(number(20, 40), number(50, 90)) for _ in range(n)]
        return Case(group, {"function": function, "shapes": shapes, "r": number(2, 9)}, note)

    return [
        case("vera", "vera_params", "five weights", 5),
        case("vera", "vera_params", "one weight", 1),
        case("dora", "dora_params", "five weights", 5),
        case("dora", "dora_params", "one weight", 1),
    ]


def vector_probe(ns, data):
    """Call one of the two functions."""
    return int(getattr(ns, data["function"])([tuple(shape) for shape in data["shapes"]], data["r"]))


def vera_params__loop(shapes, r):
    total = len(shapes) * r
    for rows, _ in shapes:
        total += rows
    return total


def dora_params__loop(shapes, r):
    total = 0
    for rows, columns in shapes:
        total += rows * r + r * columns + rows
    return total


def vera_params__unzipped(shapes, r):
    rows, _ = zip(*shapes)
    return sum(rows) + r * len(rows)


def dora_params__unzipped(shapes, r):
    rows, columns = zip(*shapes)
    return (r + 1) * sum(rows) + r * sum(columns)


def vera_params__inputs(shapes, r):
    return sum(r + columns for _, columns in shapes)


def vera_params__one_d(shapes, r):
    return r + sum(rows for rows, _ in shapes)


def vera_params__with_projections(shapes, r):
    return sum(r + o for o, _ in shapes) + r * (max(o for o, _ in shapes) + max(i for _, i in shapes))


def dora_params__columns(shapes, r):
    return sum(r * (rows + columns) + columns for rows, columns in shapes)


def dora_params__one_number(shapes, r):
    return sum(r * (rows + columns) + 1 for rows, columns in shapes)


VECTORS = Exercise(
    name="count_vectors",
    defines=("vera_params", "dora_params"),
    methods=("ch23/param_ledger",),
    groups={"vera": 1, "dora": 1},
    cases=vector_cases,
    probe=vector_probe,
    alternatives=(
        Alternative(name="loop", code=(vera_params__loop, dora_params__loop)),
        Alternative(name="unzipped", code=(vera_params__unzipped, dora_params__unzipped)),
    ),
    misconceptions=(
        Misconception(
            name="inputs", code=(vera_params__inputs,),
            hint="b has one number per OUTPUT of the layer, not per input.",
            source_of="student mistake: attention layers are square, MLP layers are not",
        ),
        Misconception(
            name="one_d", code=(vera_params__one_d,),
            hint="You count d once. Shared are A and B; every layer has its own d and b.",
            source_of="paper: 'shared across layers' is said of the matrices",
        ),
        Misconception(
            name="with_projections", code=(vera_params__with_projections,),
            hint="You count A and B. They are fixed at random and not trained.",
            source_of="library difference: peft saves them by default (save_projection=True)",
        ),
        Misconception(
            name="columns", code=(dora_params__columns,),
            hint="You count one magnitude per column. In code it is one per row of the (out, in) weight.",
            source_of="card trap: the paper writes column-wise norms, of the transposed weight",
        ),
        Misconception(
            name="one_number", code=(dora_params__one_number,),
            hint="The magnitude is a vector: one number for every row.",
            source_of="student mistake: the norm of the whole matrix",
        ),
    ),
    hints=(
        "Which tensors are trained in one layer, and how long are they?",
        "VeRA: d and b for every weight. DoRA: A and B as in LoRA, and m.",
        "sum(r + rows for rows, _ in shapes); sum(r * (rows + columns) + rows for rows, columns in shapes)",
    ),
    good_for="two more columns of the ledger",
    minutes=5,
    difficulty="easy",
    core=True,
)  # fmt: skip
