"""Chapter 23, notebook 1: cases, probe and variants of the three counting functions."""

import torch
from torch import nn

from autograder.declare.exercise import Alternative, Exercise, Misconception, mistaken
from dlcv_lab.checking.model import Case


def counts_cases(rng: torch.Generator) -> list[Case]:
    """Draw sizes; no shape is square, and widths, ranks and numbers of blocks differ."""

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=rng))

    def shapes(n: int) -> list[tuple[int, int]]:
        return [(number(20, 40), number(50, 90)) for _ in range(n)]

    d, L = 64 * number(3, 12), number(5, 20)

    def case(function: str, note: str, *args, **more) -> Case:
        return Case(function.split("_")[0], {"function": function, "args": list(args), "more": more}, note)

    return [
        case("lora_params", "five weights", shapes(5), number(2, 9)),
        case("lora_params", "keys in groups", [(8192, 8192), (1024, 8192)], 16),
        case("lora_params", "no weight", [], 8),
        case("adapter_params", "no layer norm", L, d, number(8, 60)),
        case("adapter_params", "with layer norms", L, d, number(8, 60), norms=L + 1),
        case("bitfit_params", "no pooler", L, d, 4 * d),
        case("bitfit_params", "with a pooler", L, d, 3 * d, pooler=True),
    ]


def counts_probe(ns, data):
    """Call one of the three functions."""
    shapes = [tuple(part) for part in data["args"][0]] if data["function"] == "lora_params" else data["args"][0]
    return int(getattr(ns, data["function"])(shapes, *data["args"][1:], **data["more"]))


def lora_params__tensors(shapes, r):
    pairs = [(torch.empty(rows, r, device="meta"), torch.empty(r, columns, device="meta")) for rows, columns in shapes]
    return sum(B.numel() + A.numel() for B, A in pairs)


def adapter_params__modules(n, d, r, *, norms=0):
    with torch.device("meta"):
        one = nn.Sequential(nn.Linear(d, r), nn.ReLU(), nn.Linear(r, d))
        norm = nn.LayerNorm(d)
    return n * sum(p.numel() for p in one.parameters()) + norms * sum(p.numel() for p in norm.parameters())


def bitfit_params__listed(L, d, f, *, pooler=False):
    block = {"q": d, "k": d, "v": d, "o": d, "norm 1": d, "up": f, "down": d, "norm 2": d}
    return sum(block.values()) * L + d + (d if pooler else 0)


def lora_params__loop(shapes, r):
    total = 0
    for rows, columns in shapes:
        total += rows * r
        total += r * columns
    return total


def adapter_params__factored(n, d, r, *, norms=0):
    return n * ((2 * r + 1) * d + r) + 2 * norms * d


def bitfit_params__factored(L, d, f, *, pooler=False):
    return d * (7 * L + 1 + int(pooler)) + L * f


def lora_params__square(shapes, r):
    return sum(2 * r * columns for _, columns in shapes)


def lora_params__one_matrix(shapes, r):
    return sum(r * columns for _, columns in shapes)


def lora_params__product(shapes, r):
    return sum(r * rows * columns for rows, columns in shapes)


def adapter_params__no_biases(n, d, r, *, norms=0):
    return n * 2 * d * r + norms * 2 * d


def adapter_params__one_bias(n, d, r, *, norms=0):
    return n * (2 * d * r + r) + norms * 2 * d


def adapter_params__half_norm(n, d, r, *, norms=0):
    return n * (2 * d * r + r + d) + norms * d


def bitfit_params__no_norms(L, d, f, *, pooler=False):
    return L * (5 * d + f) + pooler * d


def bitfit_params__no_embedding(L, d, f, *, pooler=False):
    return L * (7 * d + f) + pooler * d


def bitfit_params__no_hidden(L, d, f, *, pooler=False):
    return L * 8 * d + d + pooler * d


def bitfit_params__no_pooler(L, d, f, *, pooler=False):
    return L * (7 * d + f) + d


def miscounted(variant, hint: str, source_of: str) -> Misconception:
    """Name a misconception after what is counted, too: the three functions have mistakes of the same names."""
    return mistaken(variant, hint, source_of, name=variant.__name__.replace("_params__", "_"))


COUNTS = Exercise(
    name="count_trainable",
    defines=("lora_params", "adapter_params", "bitfit_params"),
    methods=("ch23/param_ledger",),
    groups={"lora": 1, "adapter": 1, "bitfit": 1},
    cases=counts_cases,
    probe=counts_probe,
    alternatives=(
        Alternative(name="modules", code=(lora_params__tensors, adapter_params__modules, bitfit_params__listed)),
        Alternative(name="factored", code=(lora_params__loop, adapter_params__factored, bitfit_params__factored)),
    ),
    misconceptions=(
        miscounted(
            lora_params__square,
            "Your LoRA count is right for square weights only: A has r * in numbers, B has out * r.",
            "student mistake: attention layers are square, MLP layers are not",
        ),
        miscounted(
            lora_params__one_matrix,
            "You count A alone. LoRA trains B, too; only LoRA-FA freezes one of them.",
            "paper: LoRA-FA trains one of the two matrices",
        ),
        miscounted(
            lora_params__product,
            "You count the product B A, which is never stored. Count the two factors.",
            "student mistake: the size of the update for the size of its factors",
        ),
        miscounted(
            adapter_params__no_biases,
            "Your adapters have no biases. Each of the two linear layers has one: r and d numbers.",
            "paper: the rows '3.0M' and '6.0M' of table 2 in Hu et al. are 24 and 48 times 2 d r, weights alone",
        ),
        miscounted(
            adapter_params__one_bias,
            "The second layer of an adapter, back to width d, has a bias, too.",
            "student mistake: the bias of the narrow layer only",
        ),
        miscounted(
            adapter_params__half_norm,
            "A layer norm trains a scale AND a shift: 2 d numbers.",
            "student mistake: one vector per norm",
        ),
        miscounted(
            bitfit_params__no_norms,
            "Layer norms have biases, too: two in each block, and one behind the embeddings.",
            "paper: BitFit trains all biases, those of the norms included",
        ),
        miscounted(
            bitfit_params__no_embedding,
            "The layer norm behind the embeddings is missing: d biases that belong to no block.",
            "card: 12 * 11 * 768 + 768",
        ),
        miscounted(
            bitfit_params__no_hidden,
            "The first layer of the MLP ends in the hidden width f, so it has f biases.",
            "student mistake: all biases taken as d long",
        ),
        miscounted(
            bitfit_params__no_pooler,
            "`pooler=True` adds one more linear layer d -> d, and with it d biases.",
            "card: 102,144 without, 102,912 with a pooler",
        ),
    ),
    hints=(
        "Which tensors are trained, and how long is each of them?",
        "LoRA: A and B for every weight. Adapter: two weights and two biases. BitFit, per block: four attention "
        "biases, "
        "f and d for the MLP, two norms; and one norm in front of all blocks.",
        "sum(r * (rows + columns) for rows, columns in shapes); n * (2 * d * r + r + d) + norms * 2 * d; "
        "L * (7 * d + f) + d + pooler * d",
    ),
    good_for="checking a table before believing it",
    minutes=15,
    difficulty="easy",
    core=True,
)
