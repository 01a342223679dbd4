"""Chapter 23, notebook 1: `merge_loras`, and the optional `extract_lora` and `merged_qkv_delta`."""

import torch
import torch.nn.functional as F
from torch import nn

from autograder.declare import Exercise, alternative, case, slip
from dlcv_lab.checking import probing


def merge_cases(d):
    """Draw several updates of different ranks, and many tiny ones for a short floating type."""

    def updates(group, note, rows, columns, *settings, dtype=torch.float32):
        pairs = [(d.normal(r, columns, dtype=dtype), d.normal(rows, r, dtype=dtype), *rest) for r, *rest in settings]
        return case(group, note, W0=d.normal(rows, columns, dtype=dtype), loras=pairs)

    size = d.uniform(1, 3, low=0.7, high=0.95)  # less than half of what bfloat16 tells apart above 1
    tiny = (size.bfloat16(), torch.full((2, 1), 2.0**-8, dtype=torch.bfloat16), 1.0, 1.0)
    large = (torch.full((1, 3), 300.0).half(), torch.full((2, 1), 250.0).half(), 1.0)  # a product beyond float16
    hundreds = d.uniform(2, 3, low=50, high=100).half()
    return [
        updates("plain", "one update, alpha = 6, r = 2", 4, 3, (2, 6.0, 1.0)),
        updates("plain", "two updates of ranks 1 and 3", 3, 5, (1, 2.0, 0.5), (3, 6.0, 2.0)),
        updates("edge", "a negative weight", 2, 4, (2, 4.0, -1.5), (2, 1.0, 1.0)),
        updates("edge", "no update at all", 2, 3),
        case("edge", "160 tiny updates in bfloat16", W0=torch.ones(2, 3, dtype=torch.bfloat16), loras=[tiny] * 160),
        case("edge", "two large updates in float16 that cancel", W0=hundreds, loras=[(*large, 1.0), (*large, -1.0)]),
        # many numbers: one of them is rounded far enough
        updates("edge", "float64", 8, 16, (2, 6.0, 1.0), dtype=torch.float64),
    ]


def merge_probe(ns, data):
    """Return the merged weight, in float32 where it is a short one, and whether it is W0's type and not W0."""
    W0 = data["W0"]
    merged = probing.call(ns.merge_loras, W0, data["loras"])
    return {
        "merged": merged.float() if W0.dtype in (torch.bfloat16, torch.float16) else merged,
        "it has the dtype of W0": merged.dtype == W0.dtype,
        "it has memory of its own": merged.data_ptr() != W0.data_ptr(),
    }


def merge_library(data):
    """Join two adapters of peft by concatenation."""
    import peft

    W0, loras = data["W0"], data["loras"]
    if len(loras) != 2:
        return NotImplemented
    model = nn.Sequential(nn.Linear(W0.shape[1], W0.shape[0], bias=False, dtype=W0.dtype))
    configs = [peft.LoraConfig(target_modules=["0"], r=len(A), lora_alpha=alpha) for A, _, alpha, _ in loras]
    model = peft.get_peft_model(model, configs[0], "first")
    model.add_adapter("second", configs[1])
    layer, names = model.base_model.model[0], ["first", "second"]
    for name, (A, B, *_) in zip(names, loras):
        layer.lora_A[name].weight.data, layer.lora_B[name].weight.data = A.detach(), B.detach()
    model.add_weighted_adapter(names, [weight for *_, weight in loras], "both", combination_type="cat")
    merged = W0.detach() + layer.get_delta_weight("both").detach()
    return {"merged": merged, "it has the dtype of W0": True, "it has memory of its own": True}


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


LOOP = "for A, B, alpha, weight in loras:\n    total += weight * alpha / len(A) * (B.to(exact) @ A.to(exact))"
EXACT = "torch.promote_types(W0.dtype, torch.float32)"
MERGE_MISTAKES = (
    slip("adds_factors",
         {LOOP:
            "\n"
            "              A = torch.stack([weight * alpha / len(A) * A.to(exact) for A, _, alpha, weight in "
            "loras]).sum(0)\n"
            "              total += torch.stack([B.to(exact) for _, B, _, _ in loras]).sum(0) @ A\n"
            "          "},
         "You add the A's and the B's and multiply then. That gives cross terms B1 A2, and it needs equal "
         "ranks: multiply each pair first, then add the products.",
         "library difference: combination_type='linear' of peft's add_weighted_adapter"),
    slip("short_sums", {EXACT: "W0.dtype"},
         "In bfloat16 each small update is rounded away. Accumulate in float32, round once at the end.",
         "card: hidden case bf16 W0"),
    slip("first_rank", {"len(A)": "len(loras[0][0])"},
         "You divide by the rank of the first update everywhere. Each has its own r_i, the rows of its A.",
         "student mistake: r taken outside the loop"),
    slip("no_scaling", {"alpha / len(A) * ": ""},
         "The factor alpha_i / r_i is missing.", "card trap: the slide writes W0 + B A, without alpha / r"),
    slip("no_rank",
         {"alpha / len(A)": "alpha"},
         "You multiply by alpha. Each update has the factor alpha / r, and r is the number of rows of its A.",
         "student mistake: alpha taken for the factor"),
    slip("weights_to_one",
         {"weight * alpha": "weight / sum(w for *_, w in loras) * alpha"},
         "You divide the weights by their sum. They count as they are, also where they do not add up to 1.",
         "student mistake: a weighted sum taken for a weighted mean"),
    slip("no_weight", {"weight * alpha": "alpha"},
         "You ignore the weights w_i.", "student mistake: the fourth entry unused"),
    slip("in_place", {"W0.to(exact, copy=True)": "W0.to(exact)"},
         "You changed W0 itself. Work on a copy: the next task needs the old weight.",
         "student mistake: += on an argument"),
    slip("short_sums_in_place", {EXACT: "W0.dtype", "W0.to(exact, copy=True)": "W0"},
         "You add to W0 itself, in its own type. Work on a copy, in float32 where W0 is shorter: the next task "
         "needs the old weight, and a short type rounds small updates away.", "student mistake: total = W0"),
    slip("only_bfloat16", {EXACT: "torch.float32 if W0.dtype == torch.bfloat16 else W0.dtype"},
         "In float16 you accumulate in float16. Both short types need float32: torch.promote_types(W0.dtype, "
         "torch.float32) covers them.", "student mistake: one of the two short types named"),
    slip("always_float32", {EXACT: "torch.float32"},
         "You compute in float32 always, so a float64 W0 loses digits. Only a SHORTER type is widened.",
         "student mistake: W0.float()"),
    slip("returns_w0", {"W0.to(exact, copy=True)": "W0.to(exact)", "total += weight": "total = total + weight"},
         "Without an update you return W0 itself. Return a copy: whoever changes the result would change W0.",
         "library difference: Tensor.to copies only where the type changes"),
    slip("transposed", {"(B.to(exact) @ A.to(exact))": "(A.T.to(exact) @ B.T.to(exact))"},
         "You multiply A^T B^T, which has the shape (in, out). The update is B A, of the shape of W0.",
         "card trap: slides write both 'BA' and 'AB'"),
    slip("keeps_float32", {"total.to(W0.dtype)": "total"},
         "You return float32 for a shorter W0. Round once at the end: the result has the dtype of W0.",
         "student mistake: the conversion back forgotten"),
)  # fmt: skip

MERGE = Exercise(
    name="merge_loras",
    methods=("ch23/lora_merging",),
    groups={"plain": 1, "edge": 1},
    cases=merge_cases,
    probe=merge_probe,
    oracle=merge_library,
    alternatives=(alternative(merge_loras__stacked), alternative(merge_loras__einsum)),
    misconceptions=MERGE_MISTAKES,
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
)


def extract_cases(d):
    def change(group, note, rows, columns, r):
        k = min(rows, columns)
        U, V = torch.linalg.qr(d.normal(rows, k)).Q, torch.linalg.qr(d.normal(columns, k)).Q
        W0 = d.normal(rows, columns)
        return case(group, note, W0=W0, W1=W0 + U * (3 * 2.0 ** -torch.arange(k)) @ V.T, r=r)  # well separated values

    return [
        change("plain", "best of rank 2", 6, 4, 2),
        change("plain", "best of rank 1", 3, 5, 1),
        change("edge", "full rank: exact", 3, 4, 3),
    ]


def extract_probe(ns, data):
    """Return what does not depend on signs: the product, the shapes and how the size is shared."""
    A, B = probing.call(ns.extract_lora, data["W0"], data["W1"], data["r"])
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


EXTRACT_MISTAKES = (
    slip("sign", {"W1 - W0": "W0 - W1"},
         "Your update points backwards: decompose W1 - W0.", "student mistake: the order of a difference"),
    slip("of_the_weight", {"W1 - W0": "W1"},
         "You decompose the new weight. Of low rank is the CHANGE, W1 - W0.",
         "card trap: low rank is claimed of the update, not of the weight"),
    slip("smallest",
         {"root = S[:r]":
            "U, S, Vh = U.flip(1), S.flip(0), Vh.flip(0)\n"
            "root = S[:r]"},
         "You keep the smallest singular values. torch.linalg.svd sorts them from large to small.",
         "library difference: torch.linalg.eigh sorts ascending, svd descending"),
    slip("no_root", {".sqrt()": ""},
         "The singular values are in A and in B, so the product has them squared. Put the root into each.",
         "student mistake: the same factor on both sides"),
    slip("one_side", {"root[:, None] * ": "", "U[:, :r] * root": "U[:, :r] * S[:r]"},
         "The product is right, but all of its size is in B. The text asks for the root in each.",
         "library difference: truncated SVDs are often returned as (U S, Vh)"),
    slip("swapped", {"root[:, None] * Vh[:r], U[:, :r] * root": "U[:, :r] * root, root[:, None] * Vh[:r]"},
         "You return (B, A). The text asks for (A, B): first the one of shape (r, in).",
         "student mistake: the order of the product B A for the order of the answer"),
)  # fmt: skip

EXTRACT = Exercise(
    name="extract_lora",
    methods=("ch23/lora_merging",),
    groups={"plain": 1, "edge": 1},
    cases=extract_cases,
    probe=extract_probe,
    alternatives=(alternative(extract_lora__eigenvectors), alternative(extract_lora__diagonal)),
    misconceptions=EXTRACT_MISTAKES,
    hints=(
        "Which matrix is to be approximated, and which of its directions carry most of it?",
        "U, S, Vh = svd of the difference. Keep r columns of U, r values, r rows of Vh; share each value's root.",
        "root = S[:r].sqrt(); return root[:, None] * Vh[:r], U[:, :r] * root",
    ),
    good_for="turning somebody's full fine-tuning into a small file",
    minutes=10,
    difficulty="easy",
)


def qkv_cases(d):
    def fused(group, note, enable, size, r, columns):
        n = sum(enable)
        return case(group, note, A=d.normal(n * r, columns), B=d.normal(n * size, r), enable=enable)

    return [
        fused("plain", "q and v", [True, False, True], 4, 2, 5),
        fused("plain", "k alone", [False, True, False], 3, 2, 4),
        fused("edge", "all three, r = 1", [True, True, True], 2, 1, 3),
        fused("edge", "k and v, r larger than d", [False, True, True], 2, 4, 3),
    ]


def qkv_library(data):
    """loralib's MergedLinear: a convolution in groups."""
    A, B, enable = data["A"], data["B"], torch.tensor(data["enable"])
    dense = F.conv1d(A[None], B[:, :, None], groups=int(enable.sum()))[0]
    rows = enable.repeat_interleave(len(dense) // int(enable.sum()))
    return torch.zeros(len(rows), A.shape[1], dtype=A.dtype).masked_scatter(rows[:, None], dense)


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


QKV_MISTAKES = (
    slip("same_a", {"A[i * r : (i + 1) * r]": "A[:r]"},
         "You use the first A for every part. A stacks one A_i of r rows for each enabled part.",
         "library difference: LoRA on the fused layer as a whole has one A for q, k and v"),
    slip("interleaved", {"A[i * r : (i + 1) * r]": "A[i::n]"},
         "You take every n-th row of A. The matrices are stacked: A_i is a block of r neighbouring rows.",
         "student mistake: stacked read as interleaved"),
    slip("at_the_top", {"[next(deltas) if part else nothing for part in enable]": "[*deltas, *[nothing] * (3 - n)]"},
         "Your updates fill the rows from the top. They belong to the rows of the enabled parts.",
         "card: hidden case enable = [True, False, True]"),
    slip("no_zeros", {"[next(deltas) if part else nothing for part in enable]": "list(deltas)"},
         "The rows of the parts that are not enabled are missing: the fused weight always has 3 d rows.",
         "student mistake: zeros left out"),
)  # fmt: skip

QKV = Exercise(
    name="merged_qkv_delta",
    methods=("ch23/lora_merging",),
    groups={"plain": 1, "edge": 1},
    cases=qkv_cases,
    oracle=qkv_library,
    alternatives=(alternative(merged_qkv_delta__grouped), alternative(merged_qkv_delta__views)),
    misconceptions=QKV_MISTAKES,
    hints=(
        "How many matrices are stacked in A, and how many rows does each have?",
        "n = sum(enable), r = B.shape[1], d = len(B) // n. Product i uses rows i r to (i + 1) r of A and rows i d to "
        "(i + 1) d of B. Go through `enable` and take the next product or zeros of shape (d, in).",
        "deltas = iter([B[i * d : (i + 1) * d] @ A[i * r : (i + 1) * r] for i in range(n)]); return "
        "torch.cat([next(deltas) if part else zeros for part in enable])",
    ),
    good_for="adapting q and v of a model that computes q, k and v in one product",
    minutes=15,
)
