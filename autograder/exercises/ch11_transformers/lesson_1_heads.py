"""Exercises of notebook 1: heads, positions, pooling, and the written question."""

import torch
from torch import nn

from autograder.declare import Exercise, Question, alternative, case, slip
from autograder.declare.exercise import Variant
from autograder.exercises.ch11_transformers.common import DOUBLE, NO_LIBRARY, filled
from dlcv_lab.checking import probing


def sdpa__standin(q, k, v, mask=None):
    a = torch.einsum("...td,...sd->...ts", q, k) * k.shape[-1] ** -0.5
    if mask is not None:
        a = torch.where(mask, a, -torch.inf)
    A = a.softmax(-1)
    return torch.einsum("...ts,...se->...te", A, v), A


def heads_cases(d):
    def given(group, note, B=2, T=3, S=0, dim=6, heads=2, dtype=torch.float32, **more):
        data = {"x": d.normal(B, T, dim, dtype=dtype), "heads": heads, "phase": d.real(0.1, 1.0)}
        return case(group, note, **data, **({"memory": d.normal(B, S, dim, dtype=dtype)} if S else {}), **more)

    causal = torch.ones(3, 3, dtype=torch.bool).tril()
    return [
        given("split", "2 heads of 3 numbers", ask="split"),
        given("split", "3 heads of 2 numbers", heads=3, ask="split"),
        given("self", "2 heads"),
        given("self", "3 heads, float64", heads=3, dtype=DOUBLE),
        given("self", "one head, one sequence", B=1, heads=1),
        given("self", "a causal mask", mask=causal),
        given("memory", "4 tokens to look at", S=4),
        given("memory", "as many as ask", S=3),
        given("memory", "with a mask", S=4, mask=d.mask(2, 1, 1, 4, p=0.5) | torch.tensor([True, False, False, False])),
        given("gradient", "of x", S=4, ask="gradient"),
    ]


def heads_split(ns, data):
    layer = ns.MultiHeadAttention(data["x"].shape[-1], data["heads"])
    parts = probing.call(layer.split, data["x"])
    together = data["x"].unflatten(2, (data["heads"], -1)).transpose(1, 2)
    return {"split": parts, "merge": probing.call(layer.merge, together)}


def heads_probe(ns, data):
    layer = filled(ns.MultiHeadAttention(data["x"].shape[-1], data["heads"]), data["phase"], data["x"].dtype)
    y, A = probing.call(layer, data["x"], data.get("memory"), data.get("mask"))
    return {"y": y, "A": A}


def heads_gradient(ns, data):
    layer = filled(ns.MultiHeadAttention(data["x"].shape[-1], data["heads"]), data["phase"], data["x"].dtype)
    inputs = [data["x"], data["memory"]]
    found = probing.gradients(lambda x, memory: probing.call(layer, x, memory)[0].square(), inputs)[1]
    return {"gradient of x": found[0], "gradient of memory": found[1]}


class FourLayers(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))

    def split(self, x):
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def merge(self, x):
        return x.transpose(1, 2).flatten(2)


class MultiHeadAttention__views(FourLayers):
    def forward(self, x, memory=None, mask=None):
        seen = memory if memory is not None else x
        parts = [self.split(layer(z)) for layer, z in ((self.query, x), (self.key, seen), (self.value, seen))]
        y, A = sdpa(*parts, mask=mask)
        return self.out(self.merge(y)), A


class MultiHeadAttention__loop(FourLayers):
    def forward(self, x, memory=None, mask=None):
        if memory is None:
            memory = x
        q, k, v = self.query(x), self.key(memory), self.value(memory)
        ys, As = [], []
        for i, parts in enumerate(zip(*(z.chunk(self.heads, dim=2) for z in (q, k, v)))):
            own = mask
            if mask is not None:
                own = mask.expand(len(x), self.heads, x.shape[1], memory.shape[1])[:, i]
            y, A = sdpa(*parts, own)
            ys.append(y)
            As.append(A)
        return self.out(torch.cat(ys, dim=2)), torch.stack(As, dim=1)


HEADS = Exercise(
    name="MultiHeadAttention",
    methods=("ch11/multi_head",),
    core=True,
    groups={"split": 1.0, "self": 1.5, "memory": 1.5, "gradient": 0.5},
    cases=heads_cases,
    probe={"split": heads_split, "self": heads_probe, "memory": heads_probe, "gradient": heads_gradient},
    uses=("sdpa",),
    standins=(Variant(name="sdpa", code=(sdpa__standin,)),),
    forbid=NO_LIBRARY,
    minutes=20,
    difficulty="medium",
    good_for="several questions at once",
    alternatives=(
        alternative(FourLayers, MultiHeadAttention__views, name="views"),
        alternative(FourLayers, MultiHeadAttention__loop, name="loop"),
    ),
    misconceptions=(
        slip("reshaped", {'rearrange(x, "B N (h c) -> B h N c", h=self.heads)':
                          "x.reshape(x.shape[0], self.heads, x.shape[1], -1)"},
             "Your split reshapes (B, N, D) to (B, h, N, c) in one go, which mixes tokens with heads. First (B, N, h, "
             "c), then exchange the two axes.", "card trap: view without transpose"),
        slip("merged_askew", {'rearrange(x, "B h N c -> B N (h c)")': "x.reshape(x.shape[0], x.shape[2], -1)"},
             "Your merge reshapes without exchanging the axes of heads and tokens first.",
             "card trap: view without transpose"),
        slip("interleaved", {"B N (h c) -> B h N c": "B N (c h) -> B h N c", "B h N c -> B N (h c)":
                             "B h N c -> B N (c h)"},
             "Your heads take every h-th number. Head i takes the i-th RUN of c numbers.",
             "student mistake: order of (h c)"),
        slip("no_out", {"self.out(self.merge(y))": "self.merge(y)"},
             "The layer `out` is missing: it mixes what the heads found.", "student mistake: W^O forgotten"),
        slip("asks_memory", {"self.query(x)": "self.query(memory)"},
             "Without memory you are right. The queries come from x; only keys and values come from memory.",
             "card trap: who asks in encoder-decoder attention"),
        slip("values_of_x", {"self.value(memory)": "self.value(x)"},
             "The values come from the same tokens as the keys: from memory.",
             "card trap: K from the encoder, V from the decoder"),
        slip("no_mask", {"self.split(v), mask)": "self.split(v))"},
             "The mask is never handed on to sdpa.", "student mistake: argument forgotten"),
        slip("mean_weights", {"self.out(self.merge(y)), A": "self.out(self.merge(y)), A.mean(1)"},
             "You average the weights of the heads. Return those of every head, (B, h, T, S).",
             "library difference: nn.MultiheadAttention averages"),
    ),
    hints=(
        "After the split, which axes must stand last so that sdpa works on tokens and numbers?",
        "split: (B, N, D) -> (B, N, h, c) -> (B, h, N, c). forward: memory = x if there is none; three layers, three "
        "splits, sdpa, merge, out.",
        "y, A = sdpa(self.split(self.query(x)), self.split(self.key(memory)), self.split(self.value(memory)), mask); "
        "return self.out(self.merge(y)), A",
    ),
)  # fmt: skip


def sinusoidal_library(data):
    n, D = data["n"], data["D"]
    if D % 2:
        raise ValueError
    # a unit number on the circle, raised to the place: sine and cosine are its two parts
    turn = torch.polar(torch.ones(D // 2, dtype=DOUBLE), 10000.0 ** (-torch.arange(D // 2, dtype=DOUBLE) * 2 / D))
    angle = torch.arange(n, dtype=DOUBLE)[:, None] * turn.angle()
    both = torch.view_as_real(torch.polar(torch.ones_like(angle), angle)).flip(-1)
    return both.flatten(1).float()[-20:] if n > 1000 else both.flatten(1).float()


def positions_probe(ns, data):
    table = probing.call(ns.sinusoidal_positions, data["n"], data["D"])
    return table[-20:] if data["n"] > 1000 else table  # the rest travels nowhere


def positions_cases(d):
    return [
        case("table", "6 places, D = 4", n=6, D=4),
        case("table", "9 places, D = 10", n=9, D=10),
        case("table", "secret size", n=d.whole(5, 12), D=2 * d.whole(3, 6)),
        case("edge", "the last of 300 000 places", n=300_000, D=4),
        case("edge", "one place", n=1, D=6),
        case("edge", "two numbers", n=7, D=2),
        case("edge", "odd D", n=3, D=5),
    ]


def sinusoidal_positions__filled(n, D):
    if D % 2 == 1:
        raise ValueError("D is odd")
    p = torch.arange(n, dtype=torch.float64).unsqueeze(1)
    i = torch.arange(D // 2, dtype=torch.float64)
    PE = torch.empty(n, D, dtype=torch.float64)
    PE[:, 0::2] = torch.sin(p / 10000 ** (2 * i / D))
    PE[:, 1::2] = torch.cos(p / 10000 ** (2 * i / D))
    return PE.to(torch.float32)


def sinusoidal_positions__loop(n, D):
    if D % 2:
        raise ValueError("odd")
    rows = []
    for p in range(n):
        angles = [p / 10000 ** (2 * (i // 2) / D) for i in range(D)]
        rows.append([math.cos(a) if i % 2 else math.sin(a) for i, a in enumerate(angles)])
    return torch.tensor(rows, dtype=torch.float32)


POSITIONS = Exercise(
    name="sinusoidal_positions",
    methods=("ch11/positional_encoding",),
    core=True,
    groups={"table": 1.5, "edge": 0.5},
    cases=positions_cases,
    probe=positions_probe,
    oracle=sinusoidal_library,
    minutes=15,
    difficulty="medium",
    good_for="a clock with many hands",
    alternatives=(alternative(sinusoidal_positions__filled), alternative(sinusoidal_positions__loop)),
    misconceptions=(
        slip("side_by_side", {"torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)":
                              "torch.cat([angle.sin(), angle.cos()], dim=1)"},
             "All sines come first in your table. In the paper sine and cosine take turns.",
             "library difference: tensor2tensor and Marian put them side by side"),
        slip("half_speed", {"torch.arange(0, D, 2, dtype=torch.float64) / D":
                            "torch.arange(D // 2, dtype=torch.float64) / D"},
             "The exponent is 2i / D, not i / D: your slow hands are not slow enough.", "student mistake: 2i"),
        slip("one_less", {"torch.arange(0, D, 2, dtype=torch.float64) / D":
                          "torch.arange(D // 2, dtype=torch.float64) / max(D // 2 - 1, 1)"},
             "You divide by D / 2 - 1, so that the slowest hand is 10000 times as slow. The paper divides by D.",
             "library difference: tensor2tensor and DDPM"),
        slip("cosine_first", {"[angle.sin(), angle.cos()]": "[angle.cos(), angle.sin()]"},
             "Sine has the even numbers, cosine the odd ones.", "library difference: diffusers flips them by choice"),
        slip("from_one", {"torch.arange(n)": "torch.arange(1, n + 1)"},
             "Places are counted from 0.", "student mistake: off by one"),
        slip("single", {"torch.arange(0, D, 2, dtype=torch.float64) / D": "torch.arange(0, D, 2) / D"},
             "In float32 the angles of far places are wrong: compute in float64, and round at the end.",
             "reader's mistake: float32 throughout"),
        slip("odd", {"if D % 2:": "if False:"},
             "An odd D must raise a ValueError.", "card trap: odd d"),
    ),
    hints=(
        "By how much does hand i move from one place to the next?",
        "speed = 10000 ** (-(0, 2, 4, ...) / D); angle = place * speed, an (n, D/2) table; interleave sine and cosine.",
        "torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1).float()",
    ),
)  # fmt: skip


def shift_cases(d):
    return [
        case("shift", "by 1, D = 4", k=1, D=4),
        case("shift", "by 5, D = 6", k=5, D=6),
        case("shift", "secret", k=d.whole(2, 30), D=2 * d.whole(2, 5)),
        case("edge", "by 20 000", k=20_000, D=4),
        case("edge", "by nothing", k=0, D=4),
        case("edge", "backwards", k=-3, D=6),
    ]


def shift_library(data):
    # fit the matrix to the table itself: D places are enough, since its pairs turn at different speeds
    k, D = data["k"], data["D"]
    speed = 10000.0 ** (-torch.arange(0, D, 2, dtype=DOUBLE) / D)
    blocks = [torch.matrix_exp(torch.tensor([[0.0, k * s], [-k * s, 0.0]], dtype=DOUBLE)) for s in speed.tolist()]
    return torch.block_diag(*blocks)


def shift_matrix__blocks(k, D):
    blocks = []
    for i in range(0, D, 2):
        a = k / 10000 ** (i / D)
        turn = [[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]]
        blocks.append(torch.tensor(turn, dtype=torch.float64))
    return torch.block_diag(*blocks)


def shift_matrix__diagonals(k, D):
    a = k / 10000 ** (torch.arange(0, D, 2, dtype=torch.float64) / D)
    beside = torch.stack([torch.sin(a), torch.zeros_like(a)], 1).flatten()[:-1]
    middle = torch.cos(a).repeat_interleave(2)
    return torch.diag(middle) + torch.diag(beside, 1) - torch.diag(beside, -1)


SHIFT = Exercise(
    name="shift_matrix",
    methods=("ch11/positional_encoding",),
    groups={"shift": 1.5, "edge": 0.5},
    cases=shift_cases,
    oracle=shift_library,
    minutes=15,
    difficulty="medium",
    good_for="why relative places are easy to learn",
    alternatives=(alternative(shift_matrix__blocks), alternative(shift_matrix__diagonals)),
    misconceptions=(
        slip("backwards", {"angle.sin(), -angle.sin()": "-angle.sin(), angle.sin()"},
             "Your matrix turns the other way: it leads from p to p - k.", "student mistake: transposed rotation"),
        slip("always_one", {"k * 10000.0": "10000.0"},
             "Your matrix shifts by 1 whatever k is: the angle of a pair is k times its speed.",
             "student mistake: k not used"),
        slip("no_sign", {"angle.sin(), -angle.sin()": "angle.sin(), angle.sin()"},
             "One of the two sines has a minus sign: cos(a + b) = cos a cos b - sin a sin b.",
             "student mistake: sign"),
        slip("half_speed", {"torch.arange(0, D, 2, dtype=torch.float64) / D":
                            "torch.arange(D // 2, dtype=torch.float64) / D"},
             "The exponent is 2i / D, as in the table.", "student mistake: 2i"),
        slip("one_angle", {"-torch.arange(0, D, 2, dtype=torch.float64) / D":
                           "-torch.zeros(D // 2, dtype=torch.float64) / D"},
             "All pairs turn at the speed of the first. Each has its own.", "student mistake: one speed"),
    ),
    hints=(
        "Write sin(a + b) and cos(a + b) as a 2 x 2 matrix times (sin a, cos a). What is b for pair i?",
        "A block (cos b, sin b; -sin b, cos b) on the diagonal for each pair, with b = k * speed.",
        "even = torch.arange(0, D, 2); M[even, even] = M[even + 1, even + 1] = b.cos(); M[even, even + 1] = b.sin(); "
        "M[even + 1, even] = -b.sin()",
    ),
)  # fmt: skip


def pool_cases(d):
    def some(B, N):
        valid = d.mask(B, N, p=0.5)
        valid[:, 0], valid[:, -1] = True, False
        return valid

    loud = d.normal(2, 4, 3)
    valid = some(2, 4)
    loud[~valid] = float("nan")
    huge = d.normal(2, 4, 3)
    huge[~valid] = 1e30
    none = some(3, 4)
    none[1] = False
    return [
        case("mean", "2 sequences of 4", y=d.normal(2, 4, 3), valid=some(2, 4)),
        case("mean", "all valid, float64", y=d.normal(3, 3, 3, dtype=DOUBLE), valid=torch.ones(3, 3, dtype=torch.bool)),
        case("edge", "NaN in the padding", y=loud, valid=valid),
        case("edge", "1e30 in the padding", y=huge, valid=valid),
        case("edge", "one sequence without tokens", y=d.normal(3, 4, 2), valid=none),
        case("edge", "gradients, NaN in the padding", y=loud, valid=valid, ask="gradient"),
    ]


def pool_gradient(ns, data):
    found = probing.gradients(lambda y: probing.call(ns.masked_mean_pool, y, data["valid"]).square(), [data["y"]])
    return {"gradient of y": found[1][0]}


def pool_library(data):
    rows = []
    for y, valid in zip(data["y"], data["valid"]):
        rows.append(y[valid].mean(0) if valid.any() else torch.zeros_like(y[0]))
    return torch.stack(rows)


def masked_mean_pool__filled(y, valid):
    n = valid.sum(dim=1).clamp(min=1).unsqueeze(1)
    return y.masked_fill(~valid.unsqueeze(2), 0).sum(dim=1) / n


def masked_mean_pool__rows(y, valid):
    return torch.stack([row[v].mean(0) if v.any() else torch.zeros_like(row[0]) for row, v in zip(y, valid)])


POOL = Exercise(
    name="masked_mean_pool",
    methods=("ch11/parallel_and_pooling",),
    groups={"mean": 1.0, "edge": 1.0},
    cases=pool_cases,
    probe={"gradient": pool_gradient},
    oracle=pool_library,
    minutes=10,
    difficulty="easy",
    good_for="padding without a say",
    alternatives=(alternative(masked_mean_pool__filled), alternative(masked_mean_pool__rows)),
    misconceptions=(
        slip("times", {"torch.where(valid[:, :, None], y, 0.0)": "y * valid[:, :, None]"},
             "0 times NaN is NaN. Replace what stands in the padding (torch.where or masked_fill) instead of "
             "multiplying.", "card trap: NaN * 0"),
        slip("over_all", {"valid.sum(1).clamp(min=1)[:, None]": "y.shape[1]"},
             "You divide by N. Divide by the number of valid tokens.", "student mistake: padding counted"),
        slip("empty", {".clamp(min=1)": ""},
             "A sequence without tokens gives 0 / 0 = NaN. It should give 0.", "card trap: all invalid"),
        slip("sum", {"return y.sum(1) / valid.sum(1).clamp(min=1)[:, None]": "return y.sum(1)"},
             "You return the sum. Divide by the number of valid tokens.", "student mistake: sum for mean"),
        slip("everything", {"y = torch.where(valid[:, :, None], y, 0.0)": "y = y"},
             "The padding is added up, too.", "student mistake: padding has a say"),
    ),
    hints=(
        "What is 0 * NaN? And what do you divide by?",
        "Replace the padding by 0 (torch.where), add up over the tokens, divide by the number of valid ones, at least "
        "1.",
        "torch.where(valid[:, :, None], y, 0.0).sum(1) / valid.sum(1).clamp(min=1)[:, None]",
    ),
)  # fmt: skip

WHY_MASK = Question(
    name="why_mask",
    points=4,
    text="""The lecture asks of the decoder: *mask unpredicted tokens during softmax: why?* A friend trains a decoder
without the mask. Its training loss falls to almost 0 within minutes, better than yours ever gets. Then it writes
nonsense.

1. What did the friend's model learn, and why is its loss so low? (Name the tokens that it looks at.)
2. Why does it write nonsense, though every weight was trained?
3. Another friend multiplies the weights of later tokens by 0 *after* the softmax. Which of the two problems remains?

(About 100 words.)""",
    rubric="""* **1 (1.5 points)**: at place t the wanted answer is token t + 1 (half), which stands in the input
  (half);  the model learns to copy it (half).
* **2 (1 point)**: while writing, token t + 1 does not exist yet; there is nothing to copy, and it learned nothing else.
* **3 (1.5 points)**: later VALUES no longer reach the output, so it cannot copy them (half); but the rows no longer add
  up to 1, and the sum of the others tells of the later scores, a leak (half; half for either alone): the outputs still
  depend on later tokens, so writing differs from training.""",
    samples=(
        (
            4.0,
            "The input contains the answer: at place t the model should say token t+1, and without a mask it "
            "just looks "
            "one place to the right and copies. When it writes, there is nothing to the right, so it has no "
            "idea. With "
            "zeros after the softmax the later values are gone, so no plain copying. But the denominators still "
            "contain "
            "the later keys: the remaining weights add up to less than 1, by an amount that depends on the "
            "future. So "
            "the outputs during training depend on tokens that are missing later.",
        ),
        (
            2.0,
            "It looks at the next word and copies it. When writing, the next word is not known. The other way is fine.",
        ),
        (0.5, "The mask is needed for the padding, else the model learns padding tokens."),
    ),
)
