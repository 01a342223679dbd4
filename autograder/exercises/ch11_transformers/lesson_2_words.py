"""Exercises of notebook 2: greedy decoding, the cache, and the two parts of the training recipe."""

import torch
import torch.nn.functional as F

from autograder.declare import Exercise, alternative, case, slip
from autograder.exercises.ch11_transformers.common import DOUBLE
from dlcv_lab.checking import probing


def greedy_cases(d):
    V, END, PAD = 9, 2, 0

    def story(group, note, lengths, max_new, t0=1, ended=()):
        B = len(lengths)
        script = d.integers(3, V - 1, B, max_new + 1)
        for row, length in enumerate(lengths):
            if length < max_new:
                script[row, length] = END  # and goes on after it, as a model would
        start = d.integers(3, V - 1, B, t0)
        start[list(ended), 0] = END
        return case(group, note, script=script, start=start, end=END, pad=PAD, max_new=max_new)

    return [
        story("write", "2 sequences that end at different times", [3, 1], 6),
        story("write", "nobody ends", [9, 9], 4),
        story("write", "starts of 3 tokens", [2, 4, 1], 6, t0=3),
        story("edge", "an end in the start does not count", [3, 2], 5, t0=2, ended=[1]),
        story("edge", "the first word is the end", [0, 0], 5),
        story("edge", "one ends at once, one never", [0, 9], 5),
        story("edge", "no new word allowed", [1], 0),
        story("edge", "ends with the last word allowed", [3, 2], 4),
    ]


def greedy_probe(ns, data):
    script, start = data["script"], data["start"]
    said = []

    def step_fn(tokens):
        said.append(torch.is_grad_enabled())
        B, t = tokens.shape
        scores = torch.zeros(B, t, 9)
        for place in range(t):  # the word that the script has next; it moves by the word read, but for ends
            new = place - start.shape[1] + 1
            word = script[:, max(new, 0) % script.shape[1]]
            moved = 3 + (word - 3 + tokens[:, place]) % 6
            scores[torch.arange(B), place, torch.where(word == data["end"], word, moved)] = 1.0
        return scores

    out = probing.call(ns.greedy_decode, step_fn, start, data["end"], data["pad"], data["max_new"])
    return {"tokens": out, "calls": len(said), "gradients kept": any(said)}


def greedy_decode__filled(step_fn, start, end, pad, max_new):
    B, t0 = start.shape
    out = start.new_full((B, t0 + max_new), pad)
    out[:, :t0] = start
    alive, t = torch.ones(B, dtype=torch.bool), t0
    with torch.no_grad():
        while t < t0 + max_new and alive.any():
            best = step_fn(out[:, :t])[:, -1, :].max(-1).indices
            out[alive, t] = best[alive]
            alive = alive & (best != end)
            t += 1
    return out[:, :t]


@torch.no_grad()
def greedy_decode__columns(step_fn, start, end, pad, max_new):
    columns = list(start.unbind(1))
    ended = torch.zeros(start.shape[0], dtype=torch.bool)
    while len(columns) - start.shape[1] < max_new and not bool(ended.all()):
        word = step_fn(torch.stack(columns, 1))[:, -1].argmax(-1).masked_fill(ended, pad)
        columns.append(word)
        ended |= word.eq(end)
    return torch.stack(columns, 1)


GREEDY = Exercise(
    name="greedy_decode",
    methods=("ch11/greedy_decoding",),
    core=True,
    groups={"write": 2.0, "edge": 1.0},
    cases=greedy_cases,
    probe=greedy_probe,
    minutes=15,
    difficulty="medium",
    good_for="the loop in every chat program",
    alternatives=(alternative(greedy_decode__filled), alternative(greedy_decode__columns)),
    misconceptions=(
        slip("writes_on", {"best = torch.where(done, pad, best)": "best = best"},
             "A row that has ended goes on writing. It gets `pad` instead.", "card trap: finished rows emit PAD"),
        slip("start_counts", {"for _ in range(max_new):": "done = (start == end).any(dim=1)\nfor _ in range(max_new):"},
             "An `end` that stands in `start` does not count: that row has not ended.", "reader's mistake"),
        slip("first_ends_all", {"if done.all():": "if done.any():"},
             "You stop as soon as ONE row has ended.", "student mistake: any for all"),
        slip("never_stops", {"if done.all():\n    break": ""},
             "The words are right, but once every row has ended you still ask for more.",
             "student mistake: no early stop"),
        slip("first_place", {"step_fn(tokens)[:, -1]": "step_fn(tokens)[:, 0]"},
             "The scores of the LAST place tell the next word.", "student mistake: place"),
        slip("end_hidden", {"best = torch.where(done, pad, best)":
                            "done = done | (best == end)\nbest = torch.where(done, pad, best)"},
             "The end itself is overwritten by pad. A row keeps its end.", "card trap: EOS kept"),
        slip("asks_start", {"step_fn(tokens)": "step_fn(start)"},
             "You always ask with `start`. Ask with all that is written so far.",
             "student mistake: not autoregressive"),
        slip("one_more", {"for _ in range(max_new):": "for _ in range(max_new + 1):"},
             "You write one word too many.", "student mistake: off by one"),
        slip("gradients", {"with torch.no_grad():": "with torch.enable_grad():"},
             "The words are right, but the graph of every step is kept. Ask under torch.no_grad().",
             "card trap: no_grad"),
        slip("without_start", {"return tokens": "return tokens[:, start.shape[1]:]"},
             "Return `start` as well, with the new words behind it.", "student mistake: start cut off"),
    ),
    hints=(
        "What must be remembered of each row from one step to the next?",
        "Loop max_new times: break if all are done; scores of the last place; argmax; pad where done; append; done "
        "where the word is end.",
        "best = torch.where(done, pad, step_fn(tokens)[:, -1].argmax(-1)); tokens = torch.cat([tokens, best[:, None]], "
        "1); done = done | (best == end)",
    ),
)  # fmt: skip


def cache_cases(d):
    def parts(group, note, sizes, layers=1, B=2, h=2, c=3, dtype=torch.float32, **more):
        steps = [
            {"layer": layer, **{name: d.normal(B, h, t, c, dtype=dtype) for name in "qkv"}}
            for t in sizes
            for layer in range(layers)
        ]
        return case(group, note, steps=steps, **more)

    return [
        parts("update", "one token after three", [3, 1], ask="update"),
        parts("update", "two layers", [2, 1], layers=2, ask="update"),
        parts("update", "as many heads as tokens, float64", [2, 2, 2], c=2, dtype=DOUBLE, ask="update"),
        parts("attention", "one token at a time", [1, 1, 1]),
        parts("attention", "four at once, then one", [4, 1]),
        parts("attention", "two layers", [2, 1], layers=2),
        parts("chunk", "two, then three", [2, 3]),
        parts("chunk", "one, then two, then two, float64", [1, 2, 2], dtype=DOUBLE),
    ]


def cache_update(ns, data):
    cache, found = ns.KVCache(), {}
    for i, step in enumerate(data["steps"]):
        given = [step["k"].clone(), step["v"].clone()]
        keys, values = probing.call(cache.update, step["layer"], *given)
        found |= {f"keys {i}": keys, f"values {i}": values, f"length {i}": cache.length}
    return found


def cache_probe(ns, data):
    cache, found = ns.KVCache(), {}
    for i, step in enumerate(data["steps"]):
        given = (step[name] for name in "qkv")
        found[f"output {i}"] = probing.call(ns.cached_attention, *given, cache, step["layer"])
    return found | {"length": cache.length}


def update_library(data):
    found, k, v = {}, {}, {}
    for i, step in enumerate(data["steps"]):
        layer = step["layer"]
        k.setdefault(layer, []).append(step["k"])
        v.setdefault(layer, []).append(step["v"])
        found |= {f"keys {i}": torch.cat(k[layer], 2), f"values {i}": torch.cat(v[layer], 2)}
        found[f"length {i}"] = sum(part.shape[2] for part in k[0])
    return found


def cache_library(data):
    found = {}
    for layer in {step["layer"] for step in data["steps"]}:
        mine = [(i, s) for i, s in enumerate(data["steps"]) if s["layer"] == layer]
        q, k, v = (torch.cat([s[name] for _, s in mine], 2) for name in "qkv")
        parts = F.scaled_dot_product_attention(q, k, v, is_causal=True).split([s["q"].shape[2] for _, s in mine], 2)
        found |= {f"output {i}": part for (i, _), part in zip(mine, parts)}
    ordered = {f"output {i}": found[f"output {i}"] for i in range(len(data["steps"]))}
    return ordered | {"length": sum(s["k"].shape[2] for s in data["steps"] if s["layer"] == 0)}


class KVCache__get:
    def __init__(self):
        self.kept = {}

    @property
    def length(self):
        return self.kept[0][0].shape[2] if 0 in self.kept else 0

    def update(self, layer, k, v):
        old = self.kept.get(layer, (k[:, :, :0], v[:, :, :0]))
        self.kept[layer] = tuple(torch.cat(pair, dim=-2) for pair in zip(old, (k, v)))
        return self.kept[layer]


def cached_attention__scores(q, k, v, cache, layer):
    k, v = cache.update(layer, k, v)
    t, S = q.shape[2], k.shape[2]
    ahead = torch.arange(S) > torch.arange(S - t, S)[:, None]
    a = (q @ k.mT / q.shape[3] ** 0.5).masked_fill(ahead, float("-inf"))
    return a.softmax(3) @ v


class KVCache__lists:
    def __init__(self):
        self.keys, self.values = {}, {}

    @property
    def length(self):
        return sum(part.shape[2] for part in self.keys.get(0, []))

    def update(self, layer, k, v):
        self.keys.setdefault(layer, []).append(k)
        self.values.setdefault(layer, []).append(v)
        return torch.cat(self.keys[layer], 2), torch.cat(self.values[layer], 2)


def cached_attention__rows(q, k, v, cache, layer):
    k, v = cache.update(layer, k, v)
    t, S = q.shape[2], k.shape[2]
    rows = []
    for i in range(t):
        upto = S - t + i + 1
        one = F.scaled_dot_product_attention(q[:, :, i : i + 1], k[:, :, :upto], v[:, :, :upto])
        rows.append(one)
    return torch.cat(rows, dim=2)


CACHE = Exercise(
    name="cached_attention",
    defines=("KVCache", "cached_attention"),
    methods=("ch11/kv_cache",),
    core=True,
    groups={"update": 1.0, "attention": 1.5, "chunk": 1.0},
    cases=cache_cases,
    probe={"update": cache_update, "attention": cache_probe, "chunk": cache_probe},
    oracle={"update": update_library, "attention": cache_library, "chunk": cache_library},
    minutes=20,
    difficulty="medium",
    good_for="why a chat program answers at an even pace",
    alternatives=(
        alternative(KVCache__get, cached_attention__scores, name="scores"),
        alternative(KVCache__lists, cached_attention__rows, name="rows"),
    ),
    misconceptions=(
        slip("from_the_top", {"attn_mask=may": "is_causal=True"},
             "is_causal lets new token 0 look at key 0 only, as if nothing stood before it. Your new tokens stand at "
             "the END of the keys.", "library difference: is_causal is aligned at the top left"),
        slip("looks_ahead", {", attn_mask=may": ""},
             "One token at a time you are right. Several new tokens at once look ahead at each other.",
             "card trap: prefill needs a mask"),
        slip("only_new", {"k, v = cache.update(layer, k, v)": "cache.update(layer, k, v)"},
             "The cache is filled, but you look at the new tokens only.", "student mistake: result not used"),
        slip("new_first", {"torch.cat([old_k, k], dim=2), torch.cat([old_v, v], dim=2)":
                           "torch.cat([k, old_k], dim=2), torch.cat([v, old_v], dim=2)"},
             "New keys and values go BEHIND the old ones.", "student mistake: order"),
        slip("along_heads", {"torch.cat([old_k, k], dim=2), torch.cat([old_v, v], dim=2)":
                             "torch.cat([old_k, k], dim=1), torch.cat([old_v, v], dim=1)"},
             "You put them side by side along the heads. Tokens are axis 2.", "student mistake: axis"),
        slip("forgets", {"self.kept[layer] = (k, v)": "self.kept.setdefault(layer, (k, v))"},
             "The cache keeps the first tokens only; store the longer ones each time.",
             "student mistake: not stored"),
        slip("one_for_all", {"if layer in self.kept:": "layer = 0\nif layer in self.kept:"},
             "All layers share one memory. Each layer has keys and values of its own.",
             "student mistake: layer not used"),
    ),
    hints=(
        "How many keys are there after the update, and which of them is new token i's own?",
        "update: concatenate along axis 2, store, return. Attention: a (t, S) mask that is True up to column S - t + i "
        "in row i: torch.ones(t, S).tril(S - t).",
        "k, v = cache.update(layer, k, v); may = torch.ones(t, S, dtype=torch.bool).tril(S - t); return "
        "F.scaled_dot_product_attention(q, k, v, attn_mask=may)",
    ),
)  # fmt: skip


def noam_cases(d):
    return [
        case("rate", "before the peak", step=100, dim=512),
        case("rate", "at the peak", step=4000, dim=512),
        case("rate", "behind the peak", step=d.whole(20_000, 90_000), dim=256),
        case("rate", "another warm-up", step=d.whole(20, 90), dim=64, warmup=100),
        case("edge", "step 0", step=0, dim=512),
        case("edge", "step 1", step=1, dim=64, warmup=50),
    ]


def noam_library(data):
    # the official code multiplies three factors
    s, w = float(max(data["step"], 1)), float(data.get("warmup", 4000))
    rise = torch.tensor([s**-0.5, s / w**1.5], dtype=DOUBLE)
    return float(torch.exp(rise.log().min() - 0.5 * torch.tensor(float(data["dim"]), dtype=DOUBLE).log()))


def noam_lr__branches(step, dim, warmup=4000):
    import math

    step = max(step, 1)
    if step < warmup:
        return step / (warmup * math.sqrt(warmup * dim))
    return 1 / math.sqrt(step * dim)


def noam_lr__peak(step, dim, warmup=4000):
    s = max(1, step) / warmup
    return (dim * warmup) ** -0.5 * min(s, s**-0.5)


NOAM = Exercise(
    name="noam_lr",
    methods=("ch11/transformer",),
    groups={"rate": 1.0, "edge": 0.5},
    cases=noam_cases,
    oracle=noam_library,
    minutes=8,
    difficulty="easy",
    good_for="the warm-up of the paper",
    alternatives=(alternative(noam_lr__branches), alternative(noam_lr__peak)),
    misconceptions=(
        slip("larger", {"min(step**-0.5": "max(step**-0.5"},
             "You take the larger of the two: the rate would start huge.", "student mistake: max for min"),
        slip("warm_half", {"warmup**-1.5": "warmup**-0.5"},
             "The exponent of warmup is -3/2, so that both arms meet at step = warmup.", "student mistake: exponent"),
        slip("wide_is_fast", {"dim**-0.5": "dim**0.5"},
             "A wider model learns at a SMALLER rate: dim^(-1/2).", "student mistake: exponent"),
        slip("step_zero", {"step = max(step, 1)": "step = step"},
             "Step 0 has no power -1/2. It counts as step 1.", "card trap: step 0"),
        slip("one_later", {"step = max(step, 1)": "step = step + 1"},
             "You count every step one too high. Only step 0 is special.", "student mistake: off by one"),
    ),
    hints=(
        "Which arm is smaller at step 1, and which at step 100 000?",
        "dim**-0.5 times the smaller of step**-0.5 and step * warmup**-1.5, with step at least 1.",
        "step = max(step, 1); return dim**-0.5 * min(step**-0.5, step * warmup**-1.5)",
    ),
)  # fmt: skip


def smoothing_cases(d):
    def rows(M, V, pads=0, dtype=torch.float32, pad=0):
        target = d.integers(1, V - 1, M)
        if pad:
            target = (target + pad) % V  # every word but pad
        target[:pads] = pad
        return {"logits": 2 * d.normal(M, V, dtype=dtype), "target": target}

    extreme = rows(3, 5)
    extreme["logits"] = 300 * d.normal(3, 5)
    return [
        case("loss", "4 rows, 6 words", **rows(4, 6)),
        case("loss", "eps .3, float64", **rows(3, 5, dtype=DOUBLE), eps=0.3),
        case("padding", "2 of 5 rows are padding", **rows(5, 7, pads=2)),
        case("padding", "padding is word 3", **rows(4, 6, pads=1, pad=3), pad=3),
        case("padding", "all rows are padding", **rows(2, 5, pads=2)),
        case("edge", "eps 0", **rows(3, 6, pads=1), eps=0.0),
        case("edge", "logits in the hundreds", **extreme),
        case("gradient", "of the logits", **rows(4, 6, pads=1)),
    ]


def smoothing_gradient(ns, data):
    loss = lambda logits: probing.call(ns.label_smoothing_loss, logits, data["target"])  # noqa: E731
    value, found = probing.gradients(loss, [data["logits"]])
    return {"loss": value, "gradient": found[0]}


def smoothing_library(data):
    logits, target, eps, pad = data["logits"], data["target"], data.get("eps", 0.1), data.get("pad", 0)
    real = target != pad
    if not real.any():
        return 0 * logits.sum()
    others = [w for w in range(logits.shape[1]) if w != pad]
    q = F.one_hot(target, logits.shape[1]).to(logits.dtype) * (1 - eps - eps / (len(others) - 1))
    q[:, others] += eps / (len(others) - 1)
    q[:, pad] = 0
    return F.kl_div(F.log_softmax(logits[real], 1), q[real], reduction="sum")


def label_smoothing_loss__kl_div(logits, target, eps=0.1, pad=0):
    V = logits.shape[1]
    q = torch.full(logits.shape, eps / (V - 2), dtype=logits.dtype)
    q.scatter_(1, target[:, None], 1 - eps)
    q[:, pad] = 0
    q = q * (target != pad)[:, None]
    return F.kl_div(logits.log_softmax(1), q, reduction="sum")


def label_smoothing_loss__entropies(logits, target, eps=0.1, pad=0):
    import math

    logp = logits.log_softmax(-1)
    others = logits.shape[1] - 2
    true = logp.gather(1, target[:, None])[:, 0]
    rest = logp.sum(1) - true - logp[:, pad]
    cross = -(1 - eps) * true - (eps / others * rest if eps else 0)
    entropy = -sum(p * math.log(p / n) for p, n in ((1 - eps, 1), (eps, others)) if p)
    return torch.where(target == pad, 0.0, cross - entropy).sum()


SMOOTHING = Exercise(
    name="label_smoothing_loss",
    methods=("ch11/transformer",),
    groups={"loss": 1.0, "padding": 1.0, "edge": 0.5, "gradient": 0.5},
    cases=smoothing_cases,
    probe={"gradient": smoothing_gradient},
    oracle=smoothing_library,
    minutes=20,
    difficulty="medium",
    good_for="asking for 90 %, not for certainty",
    alternatives=(alternative(label_smoothing_loss__kl_div), alternative(label_smoothing_loss__entropies)),
    misconceptions=(
        slip("over_all", {"eps / (V - 2)": "eps / V"},
             "eps is shared by the V - 2 words that are neither true nor padding.",
             "library difference: F.cross_entropy spreads over all classes"),
        slip("one_less", {"eps / (V - 2)": "eps / (V - 1)"},
             "eps is shared by V - 2 words: padding gets nothing either.", "card trap: V - 2"),
        slip("padding_word", {"q[:, pad] = 0": "q = q"},
             "The padding word gets a share of eps. It must get 0.", "card trap: padding class"),
        slip("padding_rows", {"q[target == pad] = 0": "q = q"},
             "Rows whose target is padding must cost nothing.", "card trap: padding rows"),
        slip("mean", {".log_softmax(dim=1)).sum()": ".log_softmax(dim=1)).sum() / len(target)"},
             "The loss is the SUM over rows.", "card trap: sum, not mean"),
        slip("cross_entropy", {"torch.xlogy(q, q) - q * logits": "-q * logits"},
             "That is the cross-entropy. The divergence also subtracts the entropy of q, so that a perfect answer "
             "costs 0.", "library difference: cross-entropy or KL"),
        slip("zero_log_zero", {"torch.xlogy(q, q)": "q * q.log()"},
             "0 * log 0 gives NaN on a computer; here it is 0 (torch.xlogy knows).", "student mistake: 0 log 0"),
        slip("log_of_softmax", {"logits.log_softmax(dim=1)": "logits.softmax(dim=1).log()"},
             "Where a probability is rounded to 0, its log is -inf. Use log_softmax.",
             "student mistake: log of softmax"),
    ),
    hints=(
        "Write down the wanted distribution of one row whose target is word 4. What do its numbers add up to?",
        "q: eps / (V - 2) everywhere, 0 at pad, 1 - eps at the target, whole rows 0 where the target is pad. Loss: sum "
        "of xlogy(q, q) - q * log_softmax(logits).",
        "q[torch.arange(len(target)), target] = 1 - eps; (torch.xlogy(q, q) - q * logits.log_softmax(1)).sum()",
    ),
)  # fmt: skip
