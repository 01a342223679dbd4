"""Chapter 23, notebook 1: the optional exercises `extract_lora` and `merged_qkv_delta`."""

import torch
import torch.nn.functional as F

from autograder.declare.exercise import Alternative, Exercise, mistaken
from dlcv_lab.checking.model import Case


def extract_cases(rng: torch.Generator) -> list[Case]:
    def case(group: str, note: str, rows: int, columns: int, r: int) -> Case:
        k = min(rows, columns)
        U, _ = torch.linalg.qr(torch.randn(rows, k, generator=rng))
        V, _ = torch.linalg.qr(torch.randn(columns, k, generator=rng))
        change = (U * (2.0 ** -torch.arange(k))) @ V.T * 3  # well separated singular values
        W0 = torch.randn(rows, columns, generator=rng)
        return Case(group, {"W0": W0, "W1": W0 + change, "r": r}, note)

    return [
        case("plain", "best of rank 2", 6, 4, 2),
        case("plain", "best of rank 1", 3, 5, 1),
        case("edge", "full rank: exact", 3, 4, 3),
    ]


def extract_probe(ns, data):
    """Return what does not depend on signs: the product, the shapes and how the size is shared."""
    A, B = ns.extract_lora(data["W0"], data["W1"], data["r"])
    shapes = {"shape of A": str(tuple(A.shape)), "shape of B": str(tuple(B.shape))}
    product = B @ A if B.shape[1] == A.shape[0] else "not defined"
    return shapes | {"B A": product, "length of A's rows": A.norm(dim=1)}


def extract_lora__eigenvectors(W0, W1, r):
    change = W1 - W0
    values, vectors = torch.linalg.eigh((change.T @ change).double())
    V = vectors.flip(1)[:, :r].to(change.dtype)  # (in, r), largest first
    root = values.flip(0)[:r].clamp(min=0).to(change.dtype) ** 0.25
    return root[:, None] * V.T, change @ V / root


def extract_lora__diagonal(W0, W1, r):
    U, S, Vh = torch.linalg.svd(W1 - W0)
    root = torch.diag(S[:r] ** 0.5)
    return root @ Vh[:r], U[:, :r] @ root


def extract_with_mistake(mistake, W0, W1, r):
    U, S, Vh = torch.linalg.svd(W0 - W1 if mistake == "sign" else W1 - W0, full_matrices=False)
    if mistake == "of the weight":
        U, S, Vh = torch.linalg.svd(W1, full_matrices=False)
    if mistake == "smallest":
        U, S, Vh = U.flip(1), S.flip(0), Vh.flip(0)
    root = S[:r] if mistake == "no root" else S[:r].sqrt()
    if mistake == "one side":
        return Vh[:r], U[:, :r] * S[:r]
    if mistake == "swapped":
        return U[:, :r] * root, root[:, None] * Vh[:r]
    return root[:, None] * Vh[:r], U[:, :r] * root


def extract_lora__sign(W0, W1, r):
    return extract_with_mistake("sign", W0, W1, r)


def extract_lora__of_the_weight(W0, W1, r):
    return extract_with_mistake("of the weight", W0, W1, r)


def extract_lora__smallest(W0, W1, r):
    return extract_with_mistake("smallest", W0, W1, r)


def extract_lora__no_root(W0, W1, r):
    return extract_with_mistake("no root", W0, W1, r)


def extract_lora__one_side(W0, W1, r):
    return extract_with_mistake("one side", W0, W1, r)


def extract_lora__swapped(W0, W1, r):
    return extract_with_mistake("swapped", W0, W1, r)


EXTRACT = Exercise(
    name="extract_lora",
    methods=("ch23/lora_merging",),
    groups={"plain": 1, "edge": 1},
    cases=extract_cases,
    probe=extract_probe,
    alternatives=(
        Alternative(name="eigenvectors", code=(extract_lora__eigenvectors,)),
        Alternative(name="diagonal", code=(extract_lora__diagonal,)),
    ),
    misconceptions=(
        mistaken(
            extract_lora__sign,
            "Your update points backwards: decompose W1 - W0.",
            "student mistake: the order of a difference", extract_with_mistake,
        ),
        mistaken(
            extract_lora__of_the_weight,
            "You decompose the new weight. Of low rank is the CHANGE, W1 - W0.",
            "card trap: low rank is claimed of the update, not of the weight", extract_with_mistake,
        ),
        mistaken(
            extract_lora__smallest,
            "You keep the smallest singular values. torch.linalg.svd sorts them from large to small.",
            "library difference: torch.linalg.eigh sorts ascending, svd descending", extract_with_mistake,
        ),
        mistaken(
            extract_lora__no_root,
            "The singular values are in A and in B, so the product has them squared. Put the root into each.",
            "student mistake: the same factor on both sides", extract_with_mistake,
        ),
        mistaken(
            extract_lora__one_side,
            "The product is right, but all of its size is in B. The text asks for the root in each.",
            "library difference: truncated SVDs are often returned as (U S, Vh)", extract_with_mistake,
        ),
        mistaken(
            extract_lora__swapped,
            "You return (B, A). The text asks for (A, B): first the one of shape (r, in).",
            "student mistake: the order of the product B A for the order of the answer", extract_with_mistake,
        ),
    ),
    hints=(
        "Which matrix is to be approximated, and which of its directions carry most of it?",
        "U, S, Vh = svd of the difference. Keep r columns of U, r values, r rows of Vh; share each value's root.",
        "root = S[:r].sqrt(); return root[:, None] * Vh[:r], U[:, :r] * root",
    ),
    good_for="turning somebody's full fine-tuning into a small file",
    minutes=10,
    difficulty="easy",
)  # fmt: skip

# --------------------------------------------------------------------------------------------------- merged_qkv_delta


def qkv_cases(rng: torch.Generator) -> list[Case]:
    def case(group: str, note: str, enable: list[bool], d: int, r: int, columns: int) -> Case:
        n = sum(enable)
        A, B = torch.randn(n * r, columns, generator=rng), torch.randn(n * d, r, generator=rng)
        return Case(group, {"A": A, "B": B, "enable": enable}, note)

    return [
        case("plain", "q and v", [True, False, True], 4, 2, 5),
        case("plain", "k alone", [False, True, False], 3, 2, 4),
        case("edge", "all three, r = 1", [True, True, True], 2, 1, 3),
        case("edge", "k and v, r larger than d", [False, True, True], 2, 4, 3),
    ]


def qkv_probe(ns, data):
    """Return the update of the fused weight."""
    return ns.merged_qkv_delta(data["A"], data["B"], enable=data["enable"])


def merged_qkv_delta__grouped(A, B, *, enable):
    n = sum(enable)
    dense = F.conv1d(A[None], B[:, :, None], groups=n)[0]  # (n d, in)
    out = torch.zeros(len(dense) // n * 3, A.shape[1], dtype=A.dtype)
    out[torch.tensor(enable).repeat_interleave(len(dense) // n)] = dense
    return out


def merged_qkv_delta__views(A, B, *, enable):
    n = sum(enable)
    products = B.view(n, -1, B.shape[1]) @ A.view(n, B.shape[1], -1)  # (n, d, in)
    out = products.new_zeros(3, *products.shape[1:])
    out[[i for i, part in enumerate(enable) if part]] = products
    return out.flatten(0, 1)


def qkv_with_mistake(mistake, A, B, *, enable):
    n, r = sum(enable), B.shape[1]
    d = len(B) // n
    parts = [B[i * d : (i + 1) * d] @ A[i * r : (i + 1) * r] for i in range(n)]
    if mistake == "same a":
        parts = [B[i * d : (i + 1) * d] @ A[:r] for i in range(n)]
    if mistake == "interleaved":
        parts = [B[i * d : (i + 1) * d] @ A[i::n] for i in range(n)]
    nothing = [torch.zeros(d, A.shape[1], dtype=A.dtype)] * (3 - n)
    if mistake == "at the top":
        return torch.cat(parts + nothing)
    if mistake == "no zeros":
        return torch.cat(parts)
    parts, nothing = iter(parts), iter(nothing)
    return torch.cat([next(parts) if part else next(nothing) for part in enable])


def merged_qkv_delta__same_a(A, B, *, enable):
    return qkv_with_mistake("same a", A, B, enable=enable)


def merged_qkv_delta__interleaved(A, B, *, enable):
    return qkv_with_mistake("interleaved", A, B, enable=enable)


def merged_qkv_delta__at_the_top(A, B, *, enable):
    return qkv_with_mistake("at the top", A, B, enable=enable)


def merged_qkv_delta__no_zeros(A, B, *, enable):
    return qkv_with_mistake("no zeros", A, B, enable=enable)


QKV = Exercise(
    name="merged_qkv_delta",
    methods=("ch23/lora_merging",),
    groups={"plain": 1, "edge": 1},
    cases=qkv_cases,
    probe=qkv_probe,
    alternatives=(
        Alternative(name="grouped", code=(merged_qkv_delta__grouped,)),
        Alternative(name="views", code=(merged_qkv_delta__views,)),
    ),
    misconceptions=(
        mistaken(
            merged_qkv_delta__same_a,
            "You use the first A for every part. A stacks one A_i of r rows for each enabled part.",
            "library difference: LoRA on the fused layer as a whole has one A for q, k and v", qkv_with_mistake,
        ),
        mistaken(
            merged_qkv_delta__interleaved,
            "You take every n-th row of A. The matrices are stacked: A_i is a block of r neighbouring rows.",
            "student mistake: stacked read as interleaved", qkv_with_mistake,
        ),
        mistaken(
            merged_qkv_delta__at_the_top,
            "Your updates fill the rows from the top. They belong to the rows of the enabled parts.",
            "card: hidden case enable = [True, False, True]", qkv_with_mistake,
        ),
        mistaken(
            merged_qkv_delta__no_zeros,
            "The rows of the parts that are not enabled are missing: the fused weight always has 3 d rows.",
            "student mistake: zeros left out", qkv_with_mistake,
        ),
    ),
    hints=(
        "How many matrices are stacked in A, and how many rows does each have?",
        "n = sum(enable), r = B.shape[1], d = len(B) // n. Product i uses rows i r to (i + 1) r of A and rows i d to "
        "(i + 1) d of B. Go through `enable` and take the next product or zeros of shape (d, in).",
        "deltas = iter([B[i * d : (i + 1) * d] @ A[i * r : (i + 1) * r] for i in range(n)]); return "
        "torch.cat([next(deltas) if part else zeros for part in enable])",
    ),
    good_for="adapting q and v of a model that computes q, k and v in one product",
    minutes=15,
)  # fmt: skip
