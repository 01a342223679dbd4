"""Exercises of notebook 2: four norms, the encoder layer, the decoder layer."""

import torch
import torch.nn.functional as F
from torch import nn

from autograder.declare import Exercise, alternative, case, slip
from autograder.exercises.ch11_transformers.common import DOUBLE, filled, slopes


def norms_cases(d):
    def x(N=2, C=4, H=2, W=3, dtype=torch.float32):
        return 2 * d.normal(N, C, H, W, dtype=dtype) + d.normal(N, C, 1, 1, dtype=dtype)

    far = torch.tensor([800.0, -800, -800, 800]) + 50 * d.uniform(2, 4)  # a square of each is beyond float16
    small = 1e-3 * d.normal(3, 4)
    return [
        case("standardise", "rows", x=d.normal(3, 4) + 1, axes=(1,), ask="standardise"),
        case("standardise", "two axes, float64", x=d.normal(2, 3, 4, dtype=DOUBLE), axes=(0, 2), ask="standardise"),
        case("standardise", "numbers that hardly vary", x=small, axes=(1,), ask="standardise"),
        case("standardise", "numbers that do not vary", x=torch.full((2, 3), 4.0), axes=(1,), ask="standardise"),
        case("standardise", "half precision, far from 0", x=far.half(), axes=(1,),
             ask="standardise"),
        case("kinds", "batch", x=x(3), kind="batch"),
        case("kinds", "layer", x=x(3), kind="layer"),
        case("kinds", "instance", x=x(3), kind="instance"),
        case("kinds", "two groups of two", x=x(), kind="group"),
        case("kinds", "two groups of three, float64", x=x(C=6, dtype=DOUBLE), kind="group"),
        case("kinds", "three groups of two", x=x(C=6), kind="group", groups=3),
        case("edge", "one picture, batch", x=x(1), kind="batch"),
        case("edge", "one group", x=x(), kind="group", groups=1),
        case("edge", "groups do not divide", x=x(), kind="group", groups=3),
        case("edge", "no such kind", x=x(), kind="spectral"),
    ]  # fmt: skip


def standardise_library(data):
    x, axes = data["x"], data["axes"]
    if x.dtype == torch.float16:
        return NotImplemented
    order = [a for a in range(x.ndim) if a not in axes] + list(axes)
    moved = x.permute(order)
    shape = moved.shape[len(order) - len(axes) :]
    return F.layer_norm(moved, shape).permute([order.index(a) for a in range(x.ndim)])


def norms_library(data):
    x, kind = data["x"], data["kind"]
    if kind == "batch":
        return F.batch_norm(x, None, None, training=True)
    if kind == "layer":
        return F.layer_norm(x, x.shape[1:])
    if kind == "instance":
        return F.instance_norm(x)
    if kind == "group" and x.shape[1] % data.get("groups", 2) == 0:
        return F.group_norm(x, data.get("groups", 2))
    raise ValueError


def standardise__var_mean(x, axes, eps=1e-5):
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    var, mean = torch.var_mean(wide, axes, correction=0, keepdim=True)
    return ((wide - mean) * (var + eps).rsqrt()).to(x.dtype)


def four_norms__groups(x, kind, groups=2):
    N, C = x.shape[:2]
    if kind == "batch":
        return standardise(x, (0, 2, 3))
    groups = {"layer": 1, "instance": C, "group": groups}.get(kind)
    if groups is None or C % groups:
        raise ValueError(kind)
    return standardise(x.reshape(N, groups, -1), (2,)).reshape(x.shape)


def standardise__squares(x, axes, eps=1e-5):
    wide = x.to(torch.float64)
    centred = wide - wide.mean(axes, keepdim=True)
    return (centred / (centred.square().mean(axes, keepdim=True) + eps).sqrt()).to(x.dtype)


def four_norms__chunks(x, kind, groups=2):
    if kind not in ("batch", "layer", "instance", "group"):
        raise ValueError(f"unknown: {kind}")
    if kind == "group":
        if x.shape[1] % groups != 0:
            raise ValueError("uneven groups")
        return torch.cat([standardise(part, (1, 2, 3)) for part in x.chunk(groups, dim=1)], dim=1)
    return standardise(x, {"batch": (0, 2, 3), "layer": (1, 2, 3), "instance": (2, 3)}[kind])


NORMS = Exercise(
    name="four_norms",
    defines=("standardise", "four_norms"),
    methods=("ch11/norms",),
    core=True,
    groups={"standardise": 1.5, "kinds": 1.5, "edge": 0.5},
    cases=norms_cases,
    probe={"standardise": "standardise"},
    oracle={"standardise": standardise_library, "kinds": norms_library, "edge": norms_library},
    minutes=20,
    difficulty="medium",
    good_for="who shares a mean with whom",
    alternatives=(
        alternative(standardise__var_mean, four_norms__groups, name="groups"),
        alternative(standardise__squares, four_norms__chunks, name="chunks"),
    ),
    misconceptions=(
        slip("unbiased", {"wide.var(axes, correction=0, keepdim=True)": "wide.var(axes, keepdim=True)"},
             "Your variance divides by one less than the number of numbers. Norms divide by the number itself: "
             "correction=0.", "card trap: biased variance"),
        slip("eps_outside", {"torch.sqrt(var + eps)": "(torch.sqrt(var) + eps)"},
             "eps belongs inside the root.", "library difference: eps inside or outside"),
        slip("variance", {"torch.sqrt(var + eps)": "(var + eps)"},
             "You divide by the variance. Divide by its root.", "student mistake: no root"),
        slip("layer_over_channels", {'"layer": (1, 2, 3)': '"layer": (1,)'},
             "Your layer norm treats every place by itself. In the figure it takes all channels AND places of a "
             "picture. (Over the features of one token only: that is the Transformer's.)",
             "card trap: the figure's layer norm and the Transformer's"),
        slip("batch_over_pictures", {'"batch": (0, 2, 3)': '"batch": (0,)'},
             "Your batch norm has a mean for every pixel. A channel's mean is over all pictures and all places.",
             "student mistake: batch axis only"),
        slip("instance_over_batch", {'"instance": (2, 3)': '"instance": (0, 2, 3)'},
             "An instance is one channel of ONE picture: the axes H and W.", "student mistake: axes"),
        slip("interleaved", {'"N (G c) H W -> N G c H W", G=groups)\n'
                             'return standardise(split, (2, 3, 4)).reshape(x.shape)':
                             '"N (c G) H W -> N c G H W", G=groups)\n'
                             'return standardise(split, (1, 3, 4)).reshape(x.shape)'},
             "Your groups take every G-th channel. A group is a run of neighbouring channels.",
             "student mistake: order of (G c)"),
        slip("group_size", {"H W -> N G c H W\", G=groups)": "H W -> N G c H W\", c=groups)"},
             "`groups` is the NUMBER of groups, not the number of channels in one.",
             "student mistake: number and size exchanged"),
        slip("half", {"wide = x.to(torch.promote_types(x.dtype, torch.float32))": "wide = x"},
             "In half precision the square of 300 is beyond the largest number. Compute in float32, round at the end.",
             "library difference: torch computes norms in float32"),
        slip("no_error", {'raise ValueError(f"no such norm: {kind!r} with {groups} groups")': "return x"},
             "Another kind, or groups that do not divide C, must raise a ValueError.", "student mistake: check"),
    ),
    hints=(
        "For each kind: which numbers of a batch share one mean? Over which axes is that a mean?",
        "standardise: mean and variance with keepdim=True. The kinds: axes (0, 2, 3), (1, 2, 3), (2, 3); groups: give "
        "the channels two axes (G, C/G) first.",
        "rearrange(x, 'N (G c) H W -> N G c H W', G=groups), standardise over (2, 3, 4), and back to x.shape",
    ),
)  # fmt: skip


def layer_cases(d, decoder=False):
    def given(group, note, B=2, T=3, S=4, dtype=torch.float32, **more):
        data = {"x": d.normal(B, T, 4, dtype=dtype), "phase": d.real(0.1, 1.0), "norm_first": False}
        if decoder:
            data["memory"] = d.normal(B, S, 4, dtype=dtype)
        return case(group, note, **data | more)

    def pads(S):
        valid = torch.ones(2, S, dtype=torch.bool)
        valid[0, 2:] = False
        return valid

    padded = {"valid": pads(4 if decoder else 3)}
    return [
        given("post", "post-norm"),
        given("post", "one token, float64", T=1, dtype=DOUBLE),
        given("post", "as many tokens as memory", T=4),
        given("pre", "pre-norm", norm_first=True),
        given("pre", "one sequence", B=1, norm_first=True),
        given("pre", "pre-norm, as many tokens as memory", T=4, norm_first=True),
        given("padding", "post-norm", **padded),
        given("padding", "pre-norm", norm_first=True, **padded),
        given("gradient", "post-norm", ask="gradient"),
        given("gradient", "pre-norm", norm_first=True, ask="gradient"),
    ]


def encoder_probe(ns, data):
    layer = filled(ns.EncoderLayer(4, 2, 5, norm_first=data["norm_first"]), data["phase"], data["x"].dtype)
    return {"output": layer(data["x"], data.get("valid"))}


def encoder_gradient(ns, data):
    layer = filled(ns.EncoderLayer(4, 2, 5, norm_first=data["norm_first"]), data["phase"], data["x"].dtype)
    return slopes(layer, data["x"])


class EncoderParts(nn.Module):
    def __init__(self, dim, heads, hidden, norm_first=False):
        super().__init__()
        self.norm_first = norm_first
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.feed = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim))
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)


class EncoderLayer__library(EncoderParts):
    def forward(self, x, valid=None):
        D, hidden = x.shape[-1], self.feed[0].out_features
        twin = nn.TransformerEncoderLayer(
            D, self.attention.num_heads, hidden, 0.0, batch_first=True, norm_first=self.norm_first
        )
        twin.self_attn, twin.linear1, twin.linear2 = self.attention, self.feed[0], self.feed[2]
        twin.norm1, twin.norm2 = self.norm1, self.norm2
        return twin.train()(x, src_key_padding_mask=None if valid is None else ~valid)


class EncoderLayer__list(EncoderParts):
    def forward(self, x, valid=None):
        def look(z):
            return self.attention(z, z, z, key_padding_mask=None if valid is None else valid.logical_not())[0]

        for part, norm in ((look, self.norm1), (self.feed, self.norm2)):
            x = x + part(norm(x)) if self.norm_first else norm(x + part(x))
        return x


ENCODER = Exercise(
    name="EncoderLayer",
    methods=("ch11/residual_encoder",),
    core=True,
    groups={"post": 1.5, "pre": 1.5, "padding": 0.5, "gradient": 0.5},
    cases=layer_cases,
    probe={"post": encoder_probe, "pre": encoder_probe, "padding": encoder_probe, "gradient": encoder_gradient},
    minutes=15,
    difficulty="easy",
    good_for="the two orders of residual and norm",
    alternatives=(
        alternative(EncoderParts, EncoderLayer__library, name="library"),
        alternative(EncoderParts, EncoderLayer__list, name="list"),
    ),
    misconceptions=(
        slip("no_residual", {"x = self.norm1(x + look(x))": "x = self.norm1(look(x))",
                             "x = x + look(self.norm1(x))": "x = look(self.norm1(x))"},
             "The residual around the attention is missing: x + ...", "student mistake: residual forgotten"),
        slip("second_residual", {"self.norm2(x + self.feed(x))": "self.norm2(self.feed(x))",
                                 "return x + self.feed(self.norm2(x))": "return self.feed(self.norm2(x))"},
             "The second residual, around the linear layers, is missing.", "student mistake: residual forgotten"),
        slip("one_norm", {"self.norm2(x + self.feed(x))": "self.norm1(x + self.feed(x))",
                          "self.feed(self.norm2(x))": "self.feed(self.norm1(x))"},
             "Both parts use norm1. Each has a norm with weights of its own.", "card trap: one norm for two sublayers"),
        slip("orders_exchanged", {"if self.norm_first:": "if not self.norm_first:"},
             "Pre-norm and post-norm are exchanged.", "card trap: pre and post"),
        slip("always_post", {"if self.norm_first:": "if False:"},
             "Post-norm is right; norm_first is never asked.", "student mistake: option not used"),
        slip("normed_residual", {"x = x + look(self.norm1(x))": "x = self.norm1(x)\nx = x + look(x)",
                                 "return x + self.feed(self.norm2(x))": "x = self.norm2(x)\nreturn x + self.feed(x)"},
             "In pre-norm the residual carries x itself, not the normed x: that is what keeps the way free.",
             "student mistake: norm on the residual path"),
        slip("feeds_first", {"x = self.norm1(x + look(x))\nreturn self.norm2(x + self.feed(x))":
                             "x = self.norm1(x + self.feed(x))\nreturn self.norm2(x + look(x))"},
             "First the tokens look at each other, then each goes through the linear layers.",
             "student mistake: order of the parts"),
    ),
    hints=(
        "What is added to x, and what is normed: the sum, or what goes into the part?",
        "Post: x = norm1(x + look(x)); x = norm2(x + feed(x)). Pre: x = x + look(norm1(x)); x = x + feed(norm2(x)).",
        "if self.norm_first: x = x + look(self.norm1(x)); return x + self.feed(self.norm2(x))",
    ),
)  # fmt: skip


def decoder_cases(d):
    return layer_cases(d, decoder=True)


def decoder_probe(ns, data):
    layer = filled(ns.DecoderLayer(4, 2, 5, norm_first=data["norm_first"]), data["phase"], data["x"].dtype)
    return {"output": layer(data["x"], data["memory"], data.get("valid"))}


def decoder_gradient(ns, data):
    layer = filled(ns.DecoderLayer(4, 2, 5, norm_first=data["norm_first"]), data["phase"], data["x"].dtype)
    return slopes(layer, data["x"], data["memory"])


class DecoderParts(nn.Module):
    def __init__(self, dim, heads, hidden, norm_first=False):
        super().__init__()
        self.norm_first = norm_first
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.cross = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.feed = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim))
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)


class DecoderLayer__library(DecoderParts):
    def forward(self, x, memory, memory_valid=None):
        twin = nn.TransformerDecoderLayer(
            x.shape[-1], self.attention.num_heads, 5, 0.0, batch_first=True, norm_first=self.norm_first
        )
        twin.self_attn, twin.multihead_attn = self.attention, self.cross
        twin.linear1, twin.linear2 = self.feed[0], self.feed[2]
        twin.norm1, twin.norm2, twin.norm3 = self.norm1, self.norm2, self.norm3
        causal = torch.full((x.shape[1], x.shape[1]), float("-inf"), dtype=x.dtype).triu(1)
        padding = None
        if memory_valid is not None:
            padding = torch.zeros(memory_valid.shape, dtype=x.dtype).masked_fill(~memory_valid, float("-inf"))
        return twin(x, memory, tgt_mask=causal, memory_key_padding_mask=padding)


class DecoderLayer__list(DecoderParts):
    def forward(self, x, memory, memory_valid=None):
        T = x.shape[1]
        hidden = ~torch.tril(torch.ones((T, T), dtype=torch.bool))
        padding = None if memory_valid is None else ~memory_valid
        parts = [
            lambda z: self.attention(z, z, z, attn_mask=hidden)[0],
            lambda z: self.cross(z, memory, memory, key_padding_mask=padding)[0],
            self.feed,
        ]
        for part, norm in zip(parts, [self.norm1, self.norm2, self.norm3]):
            x = x + part(norm(x)) if self.norm_first else norm(x + part(x))
        return x


DECODER = Exercise(
    name="DecoderLayer",
    methods=("ch11/decoder",),
    core=True,
    groups={"post": 2.0, "pre": 1.5, "padding": 0.5, "gradient": 0.5},
    cases=decoder_cases,
    probe={"post": decoder_probe, "pre": decoder_probe, "padding": decoder_probe, "gradient": decoder_gradient},
    minutes=20,
    difficulty="medium",
    good_for="who asks, and who answers",
    alternatives=(
        alternative(DecoderParts, DecoderLayer__library, name="library"),
        alternative(DecoderParts, DecoderLayer__list, name="list"),
    ),
    misconceptions=(
        slip("no_mask", {"attn_mask=later, ": ""},
             "The self-attention looks ahead: hand it the causal mask.", "student mistake: mask forgotten"),
        slip("polarity", {".triu(1)": ".tril()"},
             "Your mask forbids the past and the token itself. For nn.MultiheadAttention True means must NOT look.",
             "library difference: nn.MultiheadAttention"),
        slip("not_itself", {".triu(1)": ".triu()"},
             "Your mask also forbids a token to look at itself. Then the first may look at nothing, and becomes NaN.",
             "student mistake: diagonal"),
        slip("itself_only", {"self.cross(x, memory, memory, ": "self.cross(x, x, x, "},
             "The second attention never looks at memory. Its keys and values come from there.",
             "card trap: K, V from the decoder"),
        slip("values_of_x", {"self.cross(x, memory, memory, ": "self.cross(x, memory, x, "},
             "The values of the second attention come from memory, like its keys.",
             "card trap: K from the encoder, V from the decoder"),
        slip("padding_ignored", {", key_padding_mask=padding": ""},
             "The memory's padding is looked at. Hand on key_padding_mask.", "student mistake: padding"),
        slip("padding_polarity", {"else ~memory_valid": "else memory_valid"},
             "key_padding_mask is True for padding; memory_valid is True for what is real.",
             "library difference: nn.MultiheadAttention"),
        slip("one_norm", {"x + look_across(self.norm2(x))": "x + look_across(self.norm1(x))",
                          "self.norm2(x + look_across(x))": "self.norm1(x + look_across(x))"},
             "Each of the three parts has a norm of its own: the second one is norm2.", "card trap: shared norm"),
        slip("across_first", {"x = x + look_back(self.norm1(x))\nx = x + look_across(self.norm2(x))":
                              "x = x + look_across(self.norm1(x))\nx = x + look_back(self.norm2(x))",
                              "x = self.norm1(x + look_back(x))\nx = self.norm2(x + look_across(x))":
                              "x = self.norm1(x + look_across(x))\nx = self.norm2(x + look_back(x))"},
             "First the masked self-attention, then the attention to memory.", "student mistake: order of the parts"),
        slip("one_attention", {"self.cross(x, memory, memory, ": "self.attention(x, memory, memory, "},
             "Both attentions use the weights of the first. The second one is self.cross.",
             "student mistake: wrong module"),
        slip("always_post", {"if self.norm_first:": "if False:"},
             "Post-norm is right; norm_first is never asked.", "student mistake: option not used"),
    ),
    hints=(
        "Three parts: which tokens ask in each, which are looked at, and which of them need a mask?",
        "later = ones(T, T).triu(1), True above the diagonal. self.attention(x, x, x, attn_mask=later, ...)[0]; "
        "self.cross(x, memory, memory, key_padding_mask=~memory_valid, ...)[0]; feed. Residual and norm as before.",
        "x = self.norm1(x + self.attention(x, x, x, attn_mask=later, need_weights=False)[0]); the same with cross and "
        "norm2, feed and norm3",
    ),
)  # fmt: skip
