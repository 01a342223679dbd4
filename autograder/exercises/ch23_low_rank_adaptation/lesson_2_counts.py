"""Chapter 23, notebook 2: the two counting functions."""

from autograder.declare import Exercise, alternative, case, slip


def vector_cases(d):
    def weights(group, note, n):
        shapes = [(d.whole(20, 39), d.whole(50, 89)) for _ in range(n)]
        return case(group, note, shapes=shapes, r=d.whole(2, 8))

    return [
        weights(group, note, n) for group in ("vera", "dora") for note, n in (("five weights", 5), ("one weight", 1))
    ]


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


MISTAKES = (
    slip("inputs", {"r + rows for rows, _": "r + columns for _, columns"},
         "b has one number per OUTPUT of the layer, not per input.",
         "student mistake: attention layers are square, MLP layers are not"),
    slip("one_d", {"sum(r + rows for rows, _ in shapes)": "r + sum(rows for rows, _ in shapes)"},
         "You count d once. Shared are A and B; every layer has its own d and b.",
         "paper: 'shared across layers' is said of the matrices"),
    slip("with_projections", {"_ in shapes)": "_ in shapes) + r * sum(map(max, zip(*shapes)))"},
         "You count A and B. They are fixed at random and not trained.",
         "library difference: peft saves them by default (save_projection=True)"),
    slip("columns", {"+ rows for rows, columns": "+ columns for rows, columns"},
         "You count one magnitude per column. In code it is one per row of the (out, in) weight.",
         "card trap: the paper writes column-wise norms, of the transposed weight"),
    slip("one_number", {"+ rows for rows, columns": "+ 1 for rows, columns"},
         "The magnitude is a vector: one number for every row.", "student mistake: the norm of the whole matrix"),
)  # fmt: skip

VECTORS = Exercise(
    name="count_vectors",
    defines=("vera_params", "dora_params"),
    methods=("ch23/param_ledger",),
    groups={"vera": 1, "dora": 1},
    cases=vector_cases,
    probe={"vera": "vera_params", "dora": "dora_params"},
    alternatives=(
        alternative(vera_params__loop, dora_params__loop),
        alternative(vera_params__unzipped, dora_params__unzipped),
    ),
    misconceptions=MISTAKES,
    hints=(
        "Which tensors are trained in one layer, and how long are they?",
        "VeRA: d and b for every weight. DoRA: A and B as in LoRA, and m.",
        "sum(r + rows for rows, _ in shapes); sum(r * (rows + columns) + rows for rows, columns in shapes)",
    ),
    good_for="two more columns of the ledger",
    minutes=5,
    difficulty="easy",
    core=True,
)
