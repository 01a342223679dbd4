"""Exercises of notebook 1: the five steps, masks, and masked attention."""

import math

import torch
import torch.nn.functional as F

from autograder.declare import Exercise, alternative, case, slip
from autograder.exercises.ch11_transformers.common import DOUBLE, NO_LIBRARY
from dlcv_lab.checking import probing


def steps_cases(d):
    def whole(note, B, N, D, q, e, group="whole", dtype=torch.float32):
        weights = {"Wq": d.normal(q, D, dtype=dtype), "Wk": d.normal(q, D, dtype=dtype)}
        return case(group, note, x=d.normal(B, N, D, dtype=dtype), **weights, Wv=d.normal(e, D, dtype=dtype))

    return [
        case("scores", "3 queries, 4 keys, d = 2", q=d.normal(2, 3, 2), k=d.normal(2, 4, 2)),
        case("scores", "float64, d = 6", q=d.normal(1, 5, 6, dtype=DOUBLE), k=d.normal(1, 5, 6, dtype=DOUBLE)),
        case("attend", "3 rows over 4 tokens", a=d.normal(2, 3, 4), v=d.normal(2, 4, 5)),
        case("attend", "as many rows as tokens as sequences", a=d.normal(3, 3, 3), v=d.normal(3, 3, 3)),
        case("attend", "scores of ten thousand", a=10_000 + 3 * d.normal(1, 2, 3), v=d.normal(1, 3, 2)),
        case("attend", "one token to look at", a=d.normal(2, 2, 1), v=d.normal(2, 1, 3)),
        whole("2 sequences of 4 tokens", 2, 4, 3, 2, 5),
        whole("square weights, float64", 3, 3, 4, 4, 4, dtype=DOUBLE),
        whole("gradients", 2, 3, 4, 3, 2, group="gradient"),
    ]


def steps_gradient(ns, data):
    inputs = [data["x"], data["Wq"], data["Wk"], data["Wv"]]
    found = probing.gradients(lambda *given: probing.call(ns.self_attention, *given)[0], inputs)[1]
    return {f"gradient of {name}": g for name, g in zip(("x", "Wq", "Wk", "Wv"), found)}


def scores_library(data):
    return torch.einsum("btd,bsd->bts", data["q"], data["k"]) * data["q"].shape[-1] ** -0.5


def attend_library(data):
    A = (data["a"] - data["a"].logsumexp(-1, keepdim=True)).exp()
    return torch.einsum("bts,bse->bte", A, data["v"]), A


def steps_library(data):
    q, k, v = (F.linear(data["x"], data[name]) for name in ("Wq", "Wk", "Wv"))
    eye = torch.eye(k.shape[1], dtype=k.dtype).expand(len(k), -1, -1)
    return F.scaled_dot_product_attention(q, k, v), F.scaled_dot_product_attention(q, k, eye)


def attention_scores__einsum(q, k):
    return torch.einsum("btd,bsd->bts", q / q.shape[-1] ** 0.5, k)


def attend__shifted(a, v):
    e = (a - a.amax(-1, keepdim=True)).exp()
    A = e / e.sum(-1, keepdim=True)
    return torch.einsum("bts,bse->bte", A, v), A


def self_attention__linear(x, Wq, Wk, Wv):
    return attend(attention_scores(x @ Wq.mT, x @ Wk.mT), x @ Wv.mT)


def attention_scores__bmm(q, k):
    return torch.bmm(q, k.mT) * (1 / math.sqrt(k.size(-1)))


def attend__logs(a, v):
    A = a.log_softmax(2).exp()
    return torch.bmm(A, v), A


def self_attention__columns(x, Wq, Wk, Wv):
    q, k, v = ((W @ x.mT).mT for W in (Wq, Wk, Wv))
    return attend(attention_scores(q, k), v)


SELF_ATTENTION = Exercise(
    name="self_attention",
    defines=("attention_scores", "attend", "self_attention"),
    methods=("ch11/self_attention",),
    core=True,
    groups={"scores": 1.0, "attend": 1.5, "whole": 1.5, "gradient": 0.5},
    cases=steps_cases,
    probe={"scores": "attention_scores", "attend": "attend", "gradient": steps_gradient},
    oracle={"scores": scores_library, "attend": attend_library, "whole": steps_library},
    returns=("y", "A"),
    minutes=20,
    difficulty="easy",
    good_for="the layer of which everything later is made",
    alternatives=(
        alternative(attention_scores__einsum, attend__shifted, self_attention__linear, name="einsum"),
        alternative(attention_scores__bmm, attend__logs, self_attention__columns, name="bmm"),
    ),
    misconceptions=(
        slip("unscaled", {" / math.sqrt(q.shape[2])": ""},
             "The scores are not divided by sqrt(d).", "card trap: scale"),
        slip("by_d", {"math.sqrt(q.shape[2])": "q.shape[2]"},
             "You divide by d. The scale is its square root.", "student mistake: scale by d"),
        slip("by_tokens", {"math.sqrt(q.shape[2])": "math.sqrt(k.shape[1])"},
             "You divide by the root of the number of tokens. d is the length of one query.",
             "card trap: d of the key, not another axis"),
        slip("over_queries", {"torch.softmax(a, dim=2)": "torch.softmax(a, dim=1)"},
             "Your softmax runs over the tokens that ask. Each ROW of A adds up to 1: run over the last axis.",
             "card trap: softmax axis"),
        slip("over_batch", {"torch.softmax(a, dim=2)": "torch.softmax(a, dim=0)"},
             "Your softmax runs over the batch, so sequences that have nothing to do with each other share weights.",
             "library difference: the implicit axis of F.softmax is 0 for three axes"),
        slip("unstable", {"A = torch.softmax(a, dim=2)": "A = a.exp() / a.exp().sum(2, keepdim=True)"},
             "exp of ten thousand is inf, and inf / inf is NaN. Subtract each row's largest score first, or use "
             "torch.softmax.", "student mistake: softmax written out"),
        slip("not_transposed", {"x @ Wq.T, x @ Wk.T, x @ Wv.T": "x @ Wq, x @ Wk, x @ Wv"},
             "The slide's Wq x_i has tokens as columns. Yours are rows, so it is x @ Wq.T.",
             "card trap: column vectors"),
        slip("keys_as_values", {"x @ Wv.T": "x @ Wk.T"},
             "You take the keys along. What is averaged are the values, Wv x.", "student mistake: k for v"),
        slip("sees_a", {"return A @ v, A": "return a @ v, A"},
             "You average with the scores. Use the weights that came out of the softmax.",
             "student mistake: softmax never used"),
    ),
    hints=(
        "Which axis of a says who asks, and which says who is looked at? Over which of them do weights add up to 1?",
        "Scores: q @ k with its last two axes exchanged, over the root of q's last axis. Weights: softmax over the "
        "last axis. Output: weights @ v. Projections: x @ W.T.",
        "q, k, v = x @ Wq.T, x @ Wk.T, x @ Wv.T; A = torch.softmax(q @ k.transpose(1, 2) / math.sqrt(q.shape[2]), 2)",
    ),
)  # fmt: skip


def masks_cases(d):
    def pads(B, S):
        valid = torch.ones(B, S, dtype=torch.bool)
        for row in range(B):
            valid[row, S - d.whole(1, S - 1) :] = False
        return valid

    def tril(n, past=0):
        return torch.ones(n, past + n, dtype=torch.bool).tril(past)

    return [
        case("causal", "4 tokens", n=4),
        case("causal", "1 token", n=1),
        case("causal", "2 tokens after 3", n=2, past=3),
        case("causal", "1 token after 4", n=1, past=4),
        case("combined", "2 sequences of 4", causal=tril(4), valid=pads(2, 4)),
        case("combined", "2 new tokens, 3 earlier", causal=tril(2, 3), valid=pads(3, 5)),
        case("combined", "4 sequences of 4", causal=tril(4), valid=pads(4, 4)),
    ]


def causal_mask__tril(n, past=0):
    return torch.ones(n, past + n).tril(past).bool()


def combine_masks__views(causal, valid):
    B, (T, S) = len(valid), causal.shape
    return causal.view(1, 1, T, S).logical_and(valid.view(B, 1, 1, S))


def causal_mask__loop(n, past=0):
    return torch.tensor([[s <= past + t for s in range(past + n)] for t in range(n)])


def combine_masks__stack(causal, valid):
    return torch.stack([causal & row for row in valid])[:, None]


def masks_library(data):
    if "n" in data:
        return torch.ones(data["n"], data.get("past", 0) + data["n"]).triu(data.get("past", 0) + 1) == 0
    return torch.einsum("ts,bs->bts", data["causal"].double(), data["valid"].double())[:, None] > 0.5


MASKS = Exercise(
    name="causal_mask",
    defines=("causal_mask", "combine_masks"),
    methods=("ch11/sdpa_masks",),
    core=True,
    groups={"causal": 1.0, "combined": 1.0},
    cases=masks_cases,
    probe={"combined": "combine_masks"},
    oracle={"causal": masks_library, "combined": masks_library},
    minutes=10,
    difficulty="easy",
    good_for="who may look at whom, written down",
    alternatives=(
        alternative(causal_mask__tril, combine_masks__views, name="tril"),
        alternative(causal_mask__loop, combine_masks__stack, name="loop"),
    ),
    misconceptions=(
        slip("not_itself", {"<= own[:, None]": "< own[:, None]"},
             "A token may look at itself; yours may not, so the first one may look at nothing.",
             "student mistake: strictly earlier"),
        slip("polarity", {"<= own[:, None]": "> own[:, None]"},
             "Your mask is True where one must NOT look. That is nn.MultiheadAttention's habit; here True means may.",
             "library difference: nn.MultiheadAttention"),
        slip("future", {"<= own[:, None]": ">= own[:, None]"},
             "Your tokens look ahead: the triangle is the wrong one.", "student mistake: transposed triangle"),
        slip("no_past", {"own = past + torch.arange(n)": "own = torch.arange(n)"},
             "Without earlier tokens you are right. With `past` of them, new token t stands at place past + t.",
             "library difference: is_causal counts from the first key"),
        slip("either", {"causal & valid": "causal | valid"},
             "A token must be allowed by BOTH masks: and, not or.", "student mistake: or for and"),
        slip("rows", {"valid[:, None, None, :]": "valid[:, None, :, None]"},
             "You forbid padding to ask. It must not be looked AT: `valid` belongs to the last axis.",
             "student mistake: padding along the queries"),
        slip("padding_kept", {"causal & valid": "causal & ~valid"},
             "You keep the padding and hide the words: valid is True for words.",
             "library difference: key_padding_mask is True for padding"),
        slip("no_head_axis", {"valid[:, None, None, :]": "valid[:, None, :]"},
             "The values are right, but the axis of length 1 for the heads is missing: (B, 1, T, S).",
             "student mistake: shape"),
    ),
    hints=(
        "At which place of the whole sequence does new token t stand?",
        "Compare the row of all places, torch.arange(past + n), with the column of the new ones, past + arange(n). To "
        "combine, give valid the shape (B, 1, 1, S).",
        "torch.arange(past + n) <= (past + torch.arange(n))[:, None]; causal & valid[:, None, None, :]",
    ),
)  # fmt: skip


def sdpa_cases(d):
    def qkv(*batch, T=3, S=4, dim=2, e=3, dtype=torch.float32):
        sizes = {"q": (T, dim), "k": (S, dim), "v": (S, e)}
        return {name: d.normal(*batch, *size, dtype=torch.float32).to(dtype) for name, size in sizes.items()}

    def holes(*shape):
        mask = d.mask(*shape, p=0.5)
        mask[..., 0], mask[..., -1] = True, False  # every row sees something, and not everything
        return mask

    one_blind = holes(3, 4)
    one_blind[1] = False
    return [
        case("plain", "3 queries, 4 keys", **qkv(2)),
        case("plain", "with heads, float64", **qkv(2, 3, dtype=DOUBLE)),
        case("mask", "a mask for all", **qkv(2), mask=holes(3, 4)),
        case("mask", "as many queries as keys", **qkv(3, T=3, S=3), mask=holes(3, 3)),
        case("mask", "padding (B, 1, 1, S)", **qkv(2, 2), mask=holes(2, 1, 1, 4)),
        case("mask", "half precision", **qkv(1, dtype=torch.float16), mask=holes(3, 4)),
        case("blind", "one row sees nothing", **qkv(2), mask=one_blind),
        case("blind", "nobody sees anything", **qkv(1), mask=torch.zeros(3, 4, dtype=torch.bool)),
        case("gradient", "one row sees nothing", **qkv(2), mask=one_blind),
        case("gradient", "with a mask", **qkv(2), mask=holes(3, 4)),
    ]


def sdpa_gradient(ns, data):
    inputs = [data["q"], data["k"], data["v"]]
    found = probing.gradients(lambda *given: probing.call(ns.sdpa, *given, data["mask"])[0].square(), inputs)[1]
    return {f"gradient of {name}": g for name, g in zip("qkv", found)}


def sdpa_library(data):
    q, k, v, mask = (data.get(name) for name in ("q", "k", "v", "mask"))
    eye = torch.eye(k.shape[-2], dtype=k.dtype).expand(*k.shape[:-1], -1)
    answers = [F.scaled_dot_product_attention(q, k, what, attn_mask=mask) for what in (v, eye)]
    if mask is not None:  # the library's answer for a row that sees nothing has changed between versions
        answers = [torch.where(mask.any(-1, keepdim=True), y, torch.zeros_like(y)) for y in answers]
    return tuple(answers)


def sdpa__exp(q, k, v, mask=None):
    a = torch.einsum("...td,...sd->...ts", q, k) * q.shape[-1] ** -0.5
    if mask is None:
        mask = torch.ones_like(a, dtype=torch.bool)
    mask = mask.expand(a.shape)
    top = a.masked_fill(~mask, torch.finfo(a.dtype).min).amax(-1, keepdim=True)
    e = torch.where(mask, a - top, 0.0).exp() * mask
    A = e / e.sum(-1, keepdim=True).clamp(min=torch.finfo(a.dtype).tiny)
    return A @ v, A


def sdpa__finite(q, k, v, mask=None):
    a = q @ k.mT / math.sqrt(k.shape[-1])
    if mask is not None:
        a = torch.where(mask, a, torch.finfo(a.dtype).min)
    A = F.softmax(a, dim=-1)
    A = A if mask is None else A * mask
    return A @ v, A


SDPA = Exercise(
    name="sdpa",
    methods=("ch11/sdpa_masks",),
    core=True,
    groups={"plain": 1.0, "mask": 1.5, "blind": 1.0, "gradient": 0.5},
    cases=sdpa_cases,
    probe={"gradient": sdpa_gradient},
    oracle=sdpa_library,
    returns=("y", "A"),
    forbid=NO_LIBRARY,
    minutes=20,
    difficulty="medium",
    good_for="masking before, not after",
    alternatives=(alternative(sdpa__exp), alternative(sdpa__finite)),
    misconceptions=(
        slip("after", {'a = a.masked_fill(~mask, float("-inf"))': "a = a",
                       ".masked_fill(blind, 0.0)": ".masked_fill(~mask, 0.0)"},
             "You mask AFTER the softmax, so that the weights that remain add up to less than 1. Mask the scores.",
             "card trap: masking after softmax"),
        slip("zero_scores", {'float("-inf")': "0.0"},
             "A score of 0 is an ordinary score: exp(0) = 1. Forbidden tokens need a score of minus infinity.",
             "student mistake: 0 for minus infinity"),
        slip("polarity", {"a.masked_fill(~mask, ": "a.masked_fill(mask, "},
             "You hide what may be seen. Here True means may.", "library difference: nn.MultiheadAttention"),
        slip("nan_rows", {".masked_fill(blind, 0.0)": ""},
             "A row that sees nothing becomes NaN: its softmax is 0 / 0. Such rows give 0.",
             "library difference: nn.MultiheadAttention returns NaN"),
        slip("uniform_rows", {'float("-inf")': "torch.finfo(a.dtype).min", ".masked_fill(blind, 0.0)": ""},
             "A row that may look at nothing looks at everything alike. Its weights are 0.",
             "library difference: a large negative number gives uniform weights"),
        slip("big_number", {"float(\"-inf\")": "-1e9"},
             "-1e9 does not exist in half precision, whose lowest number is -65504. Use -inf.",
             "card trap: -1e9 in float16"),
        slip("unscaled", {" / math.sqrt(q.shape[-1])": ""},
             "The scores are not divided by sqrt(d).", "card trap: scale"),
        slip("columns", {"A = torch.softmax(a, dim=-1)\nreturn A @ v, A":
                         "A = torch.softmax(a, dim=-2)\nreturn A @ v, A",
                         "A = torch.softmax(a, dim=-1).masked_fill(blind, 0.0)":
                         "A = torch.softmax(a, dim=-2).masked_fill(blind, 0.0)"},
             "Your softmax runs over the queries; each row adds up to 1 over the keys.", "card trap: softmax axis"),
    ),
    hints=(
        "What must a score be so that exp(score) is 0? And what is softmax if all scores of a row are that?",
        "Fill -inf where the mask is False; softmax. Find the rows that see nothing, ~mask.any(-1, keepdim=True), and "
        "set their weights to 0.",
        "a = a.masked_fill(~mask, float('-inf')); A = torch.softmax(a, -1).masked_fill(blind, 0.0)",
    ),
)  # fmt: skip
