"""Exercises of notebook 1 that a pencil could do: one head of attention, and the size of a model."""

import torch
import torch.nn.functional as F
from torch import nn

from autograder.declare import Exercise, alternative, case, slip

DOUBLE = torch.float64


def qkv_cases(d):
    def drawn(N, D, width, e=None, dtype=torch.float32):
        return {"X": d.normal(N + 1, D, dtype=dtype), "Wq": d.normal(width, D, dtype=dtype),
                "Wk": d.normal(width, D, dtype=dtype), "Wv": d.normal(e or width, D, dtype=dtype)}  # fmt: skip

    whole = [d.integers(-2, 2, *shape).to(DOUBLE) for shape in ((5, 3), (3, 3), (3, 3), (3, 3))]
    return [
        case("example", "four patches, three numbers each, whole numbers", **dict(zip(("X", "Wq", "Wk", "Wv"), whole))),
        case("example", "four patches, three numbers each", **drawn(4, 3, 3)),
        case("any", "six patches, a head of two numbers for tokens of five", **drawn(6, 5, 2)),
        case("any", "values wider than keys, float64", **drawn(3, 4, 2, 6, DOUBLE)),
        case("any", "the class token alone", **drawn(0, 3, 3)),
    ]


def qkv_library(data):
    Q, K, V = (F.linear(data["X"], data[name]) for name in ("Wq", "Wk", "Wv"))
    own = torch.eye(len(Q), dtype=Q.dtype)
    A, Y = (F.scaled_dot_product_attention(Q[None], K[None], v[None])[0] for v in (own, V))
    return Q, K, V, A, Y


def vit_qkv__linear(X, Wq, Wk, Wv):
    Q, K, V = (F.linear(X, weight) for weight in (Wq, Wk, Wv))
    scores = torch.einsum("id,jd->ij", Q, K) * len(Wq) ** -0.5
    A = F.softmax(scores, dim=-1)
    return Q, K, V, A, torch.einsum("ij,jd->id", A, V)


def vit_qkv__by_token(X, Wq, Wk, Wv):
    Q, K, V = [torch.stack([w @ x for x in X]) for w in (Wq, Wk, Wv)]
    rows = [torch.softmax((K / K.shape[1] ** 0.5) @ q, dim=0) for q in Q]
    return Q, K, V, torch.stack(rows), torch.stack([row @ V for row in rows])


VIT_QKV = Exercise(
    name="vit_qkv",
    methods=("ch12/vit_qkv_example",),
    core=True,
    groups={"example": 1.5, "any": 1.5},
    cases=qkv_cases,
    oracle=qkv_library,
    returns=("Q", "K", "V", "A", "Y"),
    minutes=15,
    difficulty="medium",
    good_for="checking a slide with a pencil",
    alternatives=(alternative(vit_qkv__linear), alternative(vit_qkv__by_token)),
    misconceptions=(
        slip("rows_of_weights", {"X @ Wq.T, X @ Wk.T, X @ Wv.T":
             "*(X @ (W if W.shape[0] == X.shape[1] == W.shape[1] else W.T) for W in (Wq, Wk, Wv)),"},
             "You compute X W. The matrices are kept as nn.Linear keeps them: the query of x is Wq times x, so "
             "Q = X Wq^T.", "card trap: X @ W_Q"),
        slip("unscaled", {" / math.sqrt(Wq.shape[0])": ""},
             "You do not divide the scores by the root of d.", "card trap: no scaling"),
        slip("scaled_by_tokens", {"math.sqrt(Wq.shape[0])": "math.sqrt(X.shape[1])"},
             "You divide by the root of the width D of a token. d is the width of a query: the rows of Wq.",
             "card trap: scale by D of the head"),
        slip("no_root", {"math.sqrt(Wq.shape[0])": "Wq.shape[0]"},
             "You divide by d. Its square root keeps the spread of the scores.", "student mistake: no square root"),
        slip("columns", {"math.sqrt(Wq.shape[0]), dim=1)": "math.sqrt(Wq.shape[0]), dim=0)"},
             "Your columns sum to 1. Each query shares out its own attention: softmax along a row, dim=1.",
             "student mistake: axis of the softmax"),
        slip("roles_swapped", {"Q @ K.T": "K @ Q.T"},
             "Your A has the keys as rows. Row i belongs to token i as the query.", "student mistake: transposed"),
        slip("mixes_tokens", {"A, A @ V": "A, A.T @ V"},
             "You mix by the columns of A. Row i of Y is the mean of the values, weighted by row i of A: A @ V.",
             "student mistake: transposed"),
    ),
    hints=(
        "Token i is a row of X. How do you write 'Wq times row i', for all i at once, without a loop?",
        "Q = X Wq^T; scores Q K^T divided by the root of d = Wq.shape[0]; softmax over each row; Y = A V.",
        "Q, K, V = X @ Wq.T, X @ Wk.T, X @ Wv.T; A = torch.softmax(Q @ K.T / math.sqrt(Wq.shape[0]), dim=1); "
        "return Q, K, V, A, A @ V",
    ),
)  # fmt: skip


def count_cases(d):
    def sizes(size, p, channels, width, depth, mlp, classes):
        return {"size": size, "p": p, "channels": channels, "width": width, "depth": depth, "mlp": mlp,
                "classes": classes}  # fmt: skip

    p = d.whole(2, 5)
    width = 4 * d.whole(2, 7)
    return [
        case("known", "ViT-B/16", **sizes(224, 16, 3, 768, 12, 3072, 1000)),
        case("known", "ViT-L/16", **sizes(224, 16, 3, 1024, 24, 4096, 1000)),
        case("drawn", "a small one, grey", **sizes(p * d.whole(2, 5), p, 1, width, d.whole(2, 5), width + 3,
             d.whole(2, 9))),
        case("drawn", "a hidden layer of its own size", **sizes(3 * p, p, 3, width, d.whole(3, 6), 2 * width + 1, 7)),
        case("edge", "no block at all", **sizes(4 * p, p, 3, width, 0, 5, 2)),
    ]  # fmt: skip


def count_library(data):
    from timm.models.vision_transformer import VisionTransformer

    with torch.device("meta"):
        model = VisionTransformer(img_size=data["size"], patch_size=data["p"], in_chans=data["channels"],
                                  embed_dim=data["width"], depth=data["depth"], num_heads=1, fix_init=False,
                                  weight_init="skip", mlp_ratio=(data["mlp"] + 0.5) / data["width"],
                                  num_classes=data["classes"])  # fmt: skip
    return sum(value.numel() for value in model.parameters())


def vit_param_count__layers(size, p, channels, width, depth, mlp, classes):
    def linear(n, m):
        return (n + 1) * m

    norm = 2 * width
    block = 2 * norm + linear(width, 3 * width) + linear(width, width) + linear(width, mlp) + linear(mlp, width)
    tokens = 1 + (size // p) ** 2
    return linear(channels * p**2, width) + (1 + tokens) * width + depth * block + norm + linear(width, classes)


def vit_param_count__built(size, p, channels, width, depth, mlp, classes):
    with torch.device("meta"):
        block = [nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width), nn.LayerNorm(width),
                 nn.Linear(width, mlp), nn.Linear(mlp, width)]  # fmt: skip
        ends = [nn.Conv2d(channels, width, p, p), nn.LayerNorm(width), nn.Linear(width, classes)]
    each, rest = (sum(v.numel() for part in parts for v in part.parameters()) for parts in (block, ends))
    return rest + depth * each + width * (2 + (size // p) * (size // p))


SHORT_OF_D = (
    "You are short of D numbers, once: the class token is a vector, it has a position as well (N + 1 of them), and the "
    "patch embedding has a bias."
)

VIT_PARAM_COUNT = Exercise(
    name="vit_param_count",
    methods=("ch12/vit",),
    groups={"known": 1.0, "drawn": 1.0, "edge": 0.5},
    cases=count_cases,
    oracle=count_library,
    minutes=12,
    difficulty="medium",
    good_for="knowing what a number in a table is made of",
    alternatives=(alternative(vit_param_count__layers), alternative(vit_param_count__built)),
    misconceptions=(
        slip("one_side", {"(size // p) ** 2": "size // p"},
             "You count the patches of one row. There are (size / p) rows of them.", "student mistake: no square"),
        slip("one_block", {"depth * block": "block"},
             "You count one block. There are `depth` of them.", "student mistake: an argument is ignored"),
        slip("no_class_position", {"D + (N + 1) * D": "D + N * D"},
             SHORT_OF_D, "student mistake: N positions"),
        slip("no_class_token", {"D + (N + 1) * D": "(N + 1) * D"},
             SHORT_OF_D, "student mistake: forgotten"),
        slip("no_qkv_bias", {"D * 3 * D + 3 * D + D * D + D": "D * 3 * D + D * D + D"},
             "Queries, keys and values have biases, 3 D in a block.", "library difference: qkv_bias=False"),
        slip("no_projection", {"D * 3 * D + 3 * D + D * D + D": "D * 3 * D + 3 * D"},
             "The projection after the heads is missing: D * D + D in a block.", "student mistake: forgotten"),
        slip("one_norm", {"block = 2 * D + attention + 2 * D": "block = 2 * D + attention"},
             "A block has two layer norms.", "student mistake: forgotten"),
        slip("no_last_norm", {"depth * block + 2 * D + D * classes": "depth * block + D * classes"},
             "The last norm is missing: 2 D.", "card trap: final norm missing"),
        slip("no_embed_bias", {"channels * p * p * D + D": "channels * p * p * D"},
             SHORT_OF_D, "student mistake: forgotten"),
        slip("grey", {"channels * p * p * D + D": "p * p * D + D"},
             "A patch has p * p pixels in EVERY channel.", "student mistake: channels"),
        slip("no_head_bias", {"D * classes + classes": "D * classes"},
             "The head has a bias: one more number a class.", "student mistake: forgotten"),
        slip("no_mlp_bias", {"D * mlp + mlp + mlp * D + D": "D * mlp + mlp * D"},
             "Both layers of the MLP have biases: mlp + D in a block.", "student mistake: forgotten"),
    ),
    hints=(
        "Which parts are there once, and which in every block?",
        "Once: patch embedding, class token, N + 1 positions, last norm, head. In a block: two norms, 3 D x D and "
        "D x D with biases, two layers of the MLP with biases. A norm has 2 D numbers.",
        "block = 4 * D + (D * 3 * D + 3 * D + D * D + D) + (D * mlp + mlp + mlp * D + D); embed = channels * p * p * D "
        "+ D; tokens = D + (N + 1) * D",
    ),
)  # fmt: skip
