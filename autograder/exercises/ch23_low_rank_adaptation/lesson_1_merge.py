"""Chapter 23, notebook 1: cases, probe and variants of `merge_loras`."""

import torch

from autograder.declare.exercise import Alternative, Exercise, mistaken
from dlcv_lab.checking.model import Case


def merge_cases(rng: torch.Generator) -> list[Case]:
    """Draw several updates of different ranks, and many tiny ones for a short floating type."""

    def lora(rows: int, columns: int, r: int, alpha: float, weight: float) -> tuple:
        return torch.randn(r, columns, generator=rng), torch.randn(rows, r, generator=rng), alpha, weight

    def case(group: str, note: str, rows: int, columns: int, *settings: tuple[int, float, float]) -> Case:
        W0 = torch.randn(rows, columns, generator=rng)
        return Case(group, {"W0": W0, "loras": [lora(rows, columns, *setting) for setting in settings]}, note)

    short = torch.bfloat16
    size = 0.7 + torch.rand(1, 3, generator=rng) / 4  # less than half of what bfloat16 tells apart above 1
    tiny = (size.to(short), torch.full((2, 1), 2.0**-8, dtype=short), 1.0, 1.0)
    half = {"dtype": torch.float16}
    large = torch.full((1, 3), 300.0, **half), torch.full((2, 1), 250.0, **half)  # the product is beyond float16
    both = {
        "W0": (50 + 50 * torch.rand(2, 3, generator=rng)).half(),
        "loras": [(*large, 1.0, 1.0), (*large, 1.0, -1.0)],
    }
    exact = case("edge", "float64", 8, 16, (2, 6.0, 1.0))  # many numbers: one of them is rounded far enough
    exact.data["W0"] = exact.data["W0"].double() + torch.rand(8, 16, dtype=torch.float64, generator=rng)
    exact.data["loras"] = [(A.double(), B.double(), *rest) for A, B, *rest in exact.data["loras"]]
    return [
        case("plain", "one update, alpha = 6, r = 2", 4, 3, (2, 6.0, 1.0)),
        case("plain", "two updates of ranks 1 and 3", 3, 5, (1, 2.0, 0.5), (3, 6.0, 2.0)),
        case("edge", "a negative weight", 2, 4, (2, 4.0, -1.5), (2, 1.0, 1.0)),
        case("edge", "no update at all", 2, 3),
        Case("edge", {"W0": torch.ones(2, 3, dtype=short), "loras": [tiny] * 160}, "160 tiny updates in bfloat16"),
        Case("edge", both, "two large updates in float16 that cancel"),
        exact,
    ]


def merge_probe(ns, data):
    """Return the merged weight, in float32 where it is a short one, and whether it is W0's type and not W0."""
    W0 = data["W0"]
    merged = ns.merge_loras(W0, data["loras"])
    return {
        "merged": merged.float() if W0.dtype in (torch.bfloat16, torch.float16) else merged,
        "it has the dtype of W0": merged.dtype == W0.dtype,
        "it has memory of its own": merged.data_ptr() != W0.data_ptr(),
    }


def merge_loras__stacked(W0, loras):
    if not loras:
        return W0.clone()
    wide = torch.float64
    A = torch.cat([A.to(wide) for A, _, _, _ in loras])
    B = torch.cat([B.to(wide) * (w * alpha / A.shape[0]) for A, B, alpha, w in loras], dim=1)
    return (W0.to(wide) + B @ A).to(W0.dtype)


def merge_loras__einsum(W0, loras):
    wide = torch.float64 if W0.dtype == torch.float64 else torch.float32
    update = torch.zeros(W0.shape, dtype=wide)
    for A, B, alpha, w in loras:
        update = update + torch.einsum("or,ri->oi", B.to(wide), A.to(wide)) * alpha / B.shape[1] * w
    return (W0.to(wide) + update).to(W0.dtype)


def merge_with_mistake(mistake, W0, loras):
    if mistake == "adds factors":
        if len({len(A) for A, _, _, _ in loras}) != 1:
            raise RuntimeError("the ranks differ")
        A = sum(A * (w * alpha / len(A)) for A, _, alpha, w in loras)
        return (W0 + sum(B for _, B, _, _ in loras) @ A).to(W0.dtype)
    exact = torch.promote_types(W0.dtype, torch.float32)
    if mistake in ("short sums", "short sums in place") or (mistake == "only bfloat16" and W0.dtype == torch.float16):
        exact = W0.dtype
    if mistake == "always float32":
        exact = torch.float32
    in_place = mistake == "short sums in place" or (mistake == "in place" and exact == W0.dtype)
    total = W0 if in_place or (mistake == "returns w0" and not loras) else W0.to(exact, copy=True)
    for A, B, alpha, w in loras:
        r = len(loras[0][0]) if mistake == "first rank" else len(A)
        scaling = {"no scaling": 1.0, "alpha alone": alpha}.get(mistake, alpha / r)
        w = {"no weight": 1.0, "absolute weight": abs(w)}.get(mistake, w)
        if mistake == "transposed":
            total = total + w * scaling * (A.T.to(exact) @ B.T.to(exact))
        else:
            total += w * scaling * (B.to(exact) @ A.to(exact))
    return total if mistake == "keeps float32" else total.to(W0.dtype)


def merge_loras__adds_factors(W0, loras):
    return merge_with_mistake("adds factors", W0, loras)


def merge_loras__short_sums(W0, loras):
    return merge_with_mistake("short sums", W0, loras)


def merge_loras__first_rank(W0, loras):
    return merge_with_mistake("first rank", W0, loras)


def merge_loras__no_scaling(W0, loras):
    return merge_with_mistake("no scaling", W0, loras)


def merge_loras__no_weight(W0, loras):
    return merge_with_mistake("no weight", W0, loras)


def merge_loras__in_place(W0, loras):
    return merge_with_mistake("in place", W0, loras)


def merge_loras__short_sums_in_place(W0, loras):
    return merge_with_mistake("short sums in place", W0, loras)


def merge_loras__only_bfloat16(W0, loras):
    return merge_with_mistake("only bfloat16", W0, loras)


def merge_loras__always_float32(W0, loras):
    return merge_with_mistake("always float32", W0, loras)


def merge_loras__returns_w0(W0, loras):
    return merge_with_mistake("returns w0", W0, loras)


def merge_loras__transposed(W0, loras):
    return merge_with_mistake("transposed", W0, loras)


def merge_loras__keeps_float32(W0, loras):
    return merge_with_mistake("keeps float32", W0, loras)


MERGE = Exercise(
    name="merge_loras",
    methods=("ch23/lora_merging",),
    groups={"plain": 1, "edge": 1},
    cases=merge_cases,
    probe=merge_probe,
    alternatives=(
        Alternative(name="stacked", code=(merge_loras__stacked,)),
        Alternative(name="einsum", code=(merge_loras__einsum,)),
    ),
    misconceptions=(
        mistaken(
            merge_loras__adds_factors,
            "You add the A's and the B's and multiply then. That gives cross terms B1 A2, and it needs equal ranks: "
            "multiply each pair first, then add the products.",
            "library difference: combination_type='linear' of peft's add_weighted_adapter", merge_with_mistake,
        ),
        mistaken(
            merge_loras__short_sums,
            "In bfloat16 each small update is rounded away. Accumulate in float32, round once at the end.",
            "card: hidden case bf16 W0", merge_with_mistake,
        ),
        mistaken(
            merge_loras__first_rank,
            "You divide by the rank of the first update everywhere. Each has its own r_i, the rows of its A.",
            "student mistake: r taken outside the loop", merge_with_mistake,
        ),
        mistaken(
            merge_loras__no_scaling,
            "The factor alpha_i / r_i is missing.",
            "card trap: the slide writes W0 + B A, without alpha / r", merge_with_mistake,
        ),
        mistaken(
            merge_loras__no_weight,
            "You ignore the weights w_i.",
            "student mistake: the fourth entry unused", merge_with_mistake,
        ),
        mistaken(
            merge_loras__in_place,
            "You changed W0 itself. Work on a copy: the next task needs the old weight.",
            "student mistake: += on an argument", merge_with_mistake,
        ),
        mistaken(
            merge_loras__short_sums_in_place,
            "You add to W0 itself, in its own type. Work on a copy, in float32 where W0 is shorter: the next task "
            "needs the old weight, and a short type rounds small updates away.",
            "student mistake: total = W0", merge_with_mistake,
        ),
        mistaken(
            merge_loras__only_bfloat16,
            "In float16 you accumulate in float16. Both short types need float32: "
            "torch.promote_types(W0.dtype, torch.float32) covers them.",
            "student mistake: one of the two short types named", merge_with_mistake,
        ),
        mistaken(
            merge_loras__always_float32,
            "You compute in float32 always, so a float64 W0 loses digits. Only a SHORTER type is widened.",
            "student mistake: W0.float()", merge_with_mistake,
        ),
        mistaken(
            merge_loras__returns_w0,
            "Without an update you return W0 itself. Return a copy: whoever changes the result would change W0.",
            "library difference: Tensor.to copies only where the type changes", merge_with_mistake,
        ),
        mistaken(
            merge_loras__transposed,
            "You multiply A^T B^T, which has the shape (in, out). The update is B A, of the shape of W0.",
            "card trap: slides write both 'BA' and 'AB'", merge_with_mistake,
        ),
        mistaken(
            merge_loras__keeps_float32,
            "You return float32 for a shorter W0. Round once at the end: the result has the dtype of W0.",
            "student mistake: the conversion back forgotten", merge_with_mistake,
        ),
    ),
    hints=(
        "Is the sum of products the product of sums? And how many digits does a bfloat16 number near 1 keep?",
        "Copy W0 into float32 (or leave it, if it is longer), add weight * alpha / r times B A for each entry of the "
        "list, with r = len(A), and convert back at the end.",
        "exact = torch.promote_types(W0.dtype, torch.float32); total = W0.to(exact, copy=True); in a loop: total += "
        "weight * alpha / len(A) * (B.to(exact) @ A.to(exact)); return total.to(W0.dtype)",
    ),
    good_for="shipping an adapted model without its adapter, and mixing two of them",
    minutes=10,
    difficulty="easy",
    core=True,
)  # fmt: skip
