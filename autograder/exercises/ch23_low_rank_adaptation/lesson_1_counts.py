"""Chapter 23, notebook 1: the three counting functions."""

import torch
from torch import nn

from autograder.declare import Alternative, Exercise, case, slip


def counts_cases(d):
    """Draw sizes; no shape is square, and widths, ranks and numbers of blocks differ."""
    width, L = 64 * d.whole(3, 11), d.whole(5, 19)
    block = {"n": L, "d": width, "r": d.whole(8, 59)}
    shapes = [(d.whole(20, 39), d.whole(50, 89)) for _ in range(5)]
    return [
        case("lora", "five weights", shapes=shapes, r=d.whole(2, 8)),
        case("lora", "keys in groups", shapes=[(8192, 8192), (1024, 8192)], r=16),
        case("lora", "no weight", shapes=[], r=8),
        case("adapter", "no layer norm", **block),
        case("adapter", "with layer norms", **block, norms=L + 1),
        case("bitfit", "no pooler", L=L, d=width, f=4 * width),
        case("bitfit", "with a pooler", L=L, d=width, f=3 * width, pooler=True),
    ]


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


MISTAKES = (
    slip("lora_square", {"r * (rows + columns)": "2 * r * columns"},
         "Your LoRA count is right for square weights only: A has r * in numbers, B has out * r.",
         "student mistake: attention layers are square, MLP layers are not"),
    slip("lora_one_matrix", {"r * (rows + columns)": "r * columns"},
         "You count A alone. LoRA trains B, too; only LoRA-FA freezes one of them.",
         "paper: LoRA-FA trains one of the two matrices"),
    slip("lora_product", {"r * (rows + columns)": "r * rows * columns"},
         "You count the product B A, which is never stored. Count the two factors.",
         "student mistake: the size of the update for the size of its factors"),
    slip("adapter_no_biases", {"(d * r + r + r * d + d)": "(d * r + r * d)"},
         "Your adapters have no biases. Each of the two linear layers has one: r and d numbers.",
         "paper: the rows '3.0M' and '6.0M' of table 2 in Hu et al. are 24 and 48 times 2 d r, weights alone"),
    slip("adapter_one_bias", {"(d * r + r + r * d + d)": "(d * r + r + r * d)"},
         "The second layer of an adapter, back to width d, has a bias, too.",
         "student mistake: the bias of the narrow layer only"),
    slip("adapter_half_norm", {"norms * 2 * d": "norms * d"},
         "A layer norm trains a scale AND a shift: 2 d numbers.", "student mistake: one vector per norm"),
    slip("bitfit_no_norms", {"+ d + 2 * d) + d": "+ d)"},
         "Layer norms have biases, too: two in each block, and one behind the embeddings.",
         "paper: BitFit trains all biases, those of the norms included"),
    slip("bitfit_no_embedding", {"+ 2 * d) + d": "+ 2 * d)"},
         "The layer norm behind the embeddings is missing: d biases that belong to no block.",
         "card: 12 * 11 * 768 + 768"),
    slip("bitfit_with_scales",
         {"2 * d) + d": "4 * d) + 2 * d"},
         "You count the scales of the layer norms, too. BitFit trains biases: one vector per norm, its shift.",
         "student mistake: a norm counted whole"),
    slip("bitfit_three_layers",
         {"4 * d + f": "3 * d + f"},
         "Attention has four linear layers with a bias: query, key, value and output. You count three.",
         "student mistake: the output projection forgotten"),
    slip("bitfit_no_hidden", {"4 * d + f": "4 * d + d"},
         "The first layer of the MLP ends in the hidden width f, so it has f biases.",
         "student mistake: all biases taken as d long"),
    slip("bitfit_no_pooler", {" + pooler * d": ""},
         "`pooler=True` adds one more linear layer d -> d, and with it d biases.",
         "card: 102,144 without, 102,912 with a pooler"),
)  # fmt: skip

COUNTS = Exercise(
    name="count_trainable",
    defines=("lora_params", "adapter_params", "bitfit_params"),
    methods=("ch23/param_ledger",),
    groups={"lora": 1, "adapter": 1, "bitfit": 1},
    cases=counts_cases,
    probe={"lora": "lora_params", "adapter": "adapter_params", "bitfit": "bitfit_params"},
    alternatives=(
        Alternative(name="modules", code=(lora_params__tensors, adapter_params__modules, bitfit_params__listed)),
        Alternative(name="factored", code=(lora_params__loop, adapter_params__factored, bitfit_params__factored)),
    ),
    misconceptions=MISTAKES,
    hints=(
        "Which tensors are trained, and how long is each of them?",
        "LoRA: A and B for every weight. Adapter: two weights and two biases. BitFit, per block: four attention "
        "biases, f and d for the MLP, two norms; and one norm in front of all blocks.",
        "sum(r * (rows + columns) for rows, columns in shapes); n * (2 * d * r + r + d) + norms * 2 * d; L * (7 * d + "
        "f) + d + pooler * d",
    ),
    good_for="checking a table before believing it",
    minutes=15,
    difficulty="easy",
    core=True,
)
