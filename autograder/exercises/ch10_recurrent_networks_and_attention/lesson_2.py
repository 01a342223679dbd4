"""Exercises of notebook 2: what a decoder reads, how it speaks, where it looks."""

import itertools

import torch
import torch.nn.functional as F

from autograder.declare import Exercise, Question, alternative, case, mistaken, slip
from dlcv_lab.checking import probing

DOUBLE = torch.float64


def shift_cases(d):
    return [
        case("plain", "two sentences of five words", y=d.integers(3, 9, 2, 5), bos=1),
        case("plain", "another word begins", y=d.integers(3, 9, 3, 3), bos=d.whole(10, 19)),
        case("edge", "sentences of one word", y=d.integers(3, 9, 4, 1), bos=2),
    ]


def shift_right__joined(y, bos):
    return torch.cat([y.new_full((len(y), 1), bos), y[:, :-1]], dim=1)


def shift_right__rolled(y, bos):
    read = y.roll(1, dims=1)
    read[:, 0] = bos
    return read


def shift_right__longer(y, bos):
    return torch.cat([y.new_full((len(y), 1), bos), y], dim=1)


def shift_right__left(y, bos):
    return torch.cat([y[:, 1:], y.new_full((len(y), 1), bos)], dim=1)


SHIFT_RIGHT = Exercise(
    name="shift_right",
    methods=("ch10/seq2seq",),
    core=True,
    groups={"plain": 1.0, "edge": 0.5},
    cases=shift_cases,
    oracle=lambda data: F.pad(data["y"], (1, 0), value=data["bos"])[:, :-1],
    minutes=5,
    difficulty="easy",
    good_for="not telling the decoder what it is to say",
    alternatives=(alternative(shift_right__joined), alternative(shift_right__rolled)),
    misconceptions=(
        slip("tells_the_answer", {"read[:, 1:] = y[:, :-1]": "read[:, 1:] = y[:, 1:]"},
             "Place l shows the very word that is to be said there. It must show the one before.",
             "card trap: target leak, unshifted input"),
        slip("changes_y", {"read = torch.full_like(y, bos)": "read = y",
                           "read[:, 1:] = y[:, :-1]": "read[:, 1:] = y[:, :-1].clone()\nread[:, 0] = bos"},
             "You write into y itself, and y is still needed for the loss. Make a new tensor.",
             "student mistake: in-place"),
        slip("always_one", {"torch.full_like(y, bos)": "torch.ones_like(y)"},
             "The first word is `bos`, whatever its number; yours is always 1.", "student mistake: a number typed in"),
        mistaken(shift_right__longer, "Your rows are one word longer than y. The last word of y is never read.",
                 "student mistake: cat without cutting"),
        mistaken(shift_right__left, "You shift to the left: the decoder reads the word AFTER the one it is to say.",
                 "student mistake: direction"),
    ),
    hints=(
        "To say the third word, which words may the decoder have read?",
        "A tensor like y that is full of bos; into its places from 1 on go the words of y without the last.",
        "read = torch.full_like(y, bos); read[:, 1:] = y[:, :-1]; return read",
    ),
)  # fmt: skip


def decode_cases(d):
    def script(rows, V=8):
        """Return for each place, sentence and word read before a table of scores whose best word is the script's."""
        n, L = len(rows), max(map(len, rows))
        table = d.uniform(L, n, V, low=0.0, high=1.0)
        for b, row in enumerate(rows):
            for place, word in enumerate(row):
                table[place, b, word] += 2.0
        return table

    def words(*lengths, eos=2, V=8):
        return [[d.whole(3, V - 1) for _ in range(m - 1)] + [eos] + [d.whole(3, V - 1) for _ in range(9 - m)]
                for m in lengths]  # fmt: skip

    bigram = 0.2 * d.normal(7, 7)
    order = [1, *(3 + d.permutation(4)).tolist(), 2]
    for a, b in itertools.pairwise(order):
        bigram[a, b] += 5
    other = words(2, 4, eos=6, V=6)
    return [
        case("plain", "two sentences of 3 and 5 words", table=script(words(3, 5)), max_len=7),
        case("plain", "each word follows from the one read before", bigram=bigram, n=1, max_len=8),
        case("plain", "none is over in time", table=script(words(7, 8, 9)), max_len=4),
        case("edge", "all are over after two words", table=script(words(2, 2)), max_len=6),
        case("edge", "one place only", table=script(words(1, 3)), max_len=1),
        case("edge", "other numbers for begin, end and nothing", table=script(other), max_len=6, bos=5, eos=6, pad=7),
    ]


def decode_probe(ns, data):
    seen = []

    def by_place(word, place):
        seen.append(word.tolist())
        return data["table"][place], place + 1

    def by_word(word, state):
        seen.append(word.tolist())
        return data["bigram"][word], state

    special = {k: data[k] for k in ("bos", "eos", "pad") if k in data}
    if "bigram" in data:
        said = ns.greedy_decode(by_word, 0, data["n"], data["max_len"], **special)
    else:
        said = ns.greedy_decode(by_place, 0, data["table"].shape[1], data["max_len"], **special)
    return {"said": said, "steps taken": len(seen), "first words read": seen[:1]}


def greedy_decode__columns(step, state, n, max_len, bos=1, eos=2, pad=0):
    columns, word, alive = [], torch.full((n,), bos), torch.ones(n, dtype=torch.bool)
    while len(columns) < max_len and alive.any():
        scores, state = step(word, state)
        word = scores.softmax(1).argmax(1).masked_fill(~alive, pad)
        columns.append(word)
        alive = alive & (word != eos)
    columns += [torch.full((n,), pad)] * (max_len - len(columns))
    return torch.stack(columns, dim=1)


def greedy_decode__afterwards(step, state, n, max_len, bos=1, eos=2, pad=0):
    said, word = [], torch.full((n,), bos)
    for _ in range(max_len):
        logits, state = step(word, state)
        word = logits.max(1).indices
        said.append(word)
        if (torch.stack(said) == eos).any(0).all():
            break
    out = torch.full((n, max_len), pad)
    for b, row in enumerate(torch.stack(said, 1).tolist()):
        row = row[: row.index(eos) + 1] if eos in row else row
        out[b, : len(row)] = torch.tensor(row)
    return out


GREEDY_DECODE = Exercise(
    name="greedy_decode",
    methods=("ch10/seq2seq",),
    core=True,
    groups={"plain": 2.0, "edge": 1.0},
    cases=decode_cases,
    probe=decode_probe,
    minutes=20,
    difficulty="medium",
    good_for="letting a network speak",
    alternatives=(alternative(greedy_decode__columns), alternative(greedy_decode__afterwards)),
    misconceptions=(
        slip("speaks_on", {"torch.where(over, pad, word)": "word"},
             "After its eos a sentence is over: only pad may follow in its row.",
             "card trap: EOS per sample, then PAD"),
        slip("eos_left_out", {"said[:, place] = torch.where(over, pad, word)\nover = over | (word == eos)":
                              "over = over | (word == eos)\nsaid[:, place] = torch.where(over, pad, word)"},
             "The eos itself belongs into the answer. Write the word first, then note that the sentence is over.",
             "student mistake: order of two lines"),
        slip("all_stop_with_the_first", {"if over.all():": "if over.any():"},
             "You stop as soon as ONE sentence is over. Stop when all are.", "card trap: EOS stop per sample"),
        slip("state_forgotten", {"logits, state = step": "logits, _ = step"},
             "Every step must go on from the state that the last one left.", "student mistake: the state is dropped"),
        slip("never_reads", {"step(word, state)": "step(torch.full((n,), bos), state)"},
             "You feed bos at every step. Read back the word that was just said.",
             "student mistake: no feedback"),
        slip("never_stops", {"if over.all():": "if False:"},
             "When all sentences are over, no further step is to be taken.", "student mistake: no early stop"),
        slip("typed_in", {"word == eos": "word == 2"},
             "The end is the word `eos`, whatever its number.", "student mistake: a number typed in"),
    ),
    hints=(
        "What does the decoder read at its second step, and how do you know that a sentence is over?",
        "A table full of pad, a word per sentence (bos at first), a flag per sentence. Loop: stop if all are over; "
        "step; "
        "argmax; write pad or the word; update the flags.",
        "logits, state = step(word, state); word = logits.argmax(1); said[:, place] = torch.where(over, pad, word); "
        "over "
        "= over | (word == eos)",
    ),
)  # fmt: skip


def attention_cases(d):
    def drawn(B, T, Q, K, A, dtype=torch.float32, scale=1.0, **more):
        return {
            "s": d.normal(B, Q, dtype=dtype),
            "h": d.normal(B, T, K, dtype=dtype),
            "W_s": scale * d.normal(A, Q, dtype=dtype),
            "W_h": scale * d.normal(A, K, dtype=dtype),
            "v": 1.5 * d.normal(A, dtype=dtype),
        } | more

    ragged = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 1, 1]]).bool()
    empty = torch.tensor([[1, 0, 1], [0, 0, 0]]).bool()
    nothing = drawn(3, 5, 3, 4, 6, mask=ragged)
    nothing["h"] = nothing["h"].masked_fill(~ragged[..., None], torch.nan)
    loud = drawn(2, 4, 3, 3, 5, DOUBLE)
    loud["v"] = 400 * loud["v"]
    return [
        case("plain", "two sentences of four words", **drawn(2, 4, 3, 5, 6)),
        case("plain", "as many words as sentences, all sizes equal", **drawn(3, 3, 3, 3, 3)),
        case("plain", "one sentence of one word", **drawn(1, 1, 2, 3, 4)),
        case("mask", "sentences of 3, 2 and 5 words", **drawn(3, 5, 3, 4, 6, mask=ragged)),
        case("mask", "a sentence without any word", **drawn(2, 3, 2, 4, 3, mask=empty)),
        case("edge", "not a number where there is no word", **nothing),
        case("edge", "scores in the thousands", **loud),
        case(
            "gradient",
            "gradients",
            **drawn(2, 3, 2, 4, 3, DOUBLE, mask=empty | torch.tensor([[0, 1, 0]] * 2).bool()),
            dcontext=d.normal(2, 4, dtype=DOUBLE),
        ),
    ]


def attention_gradient(ns, data):
    names = ("s", "h", "W_s", "W_h", "v")

    def context(*inputs):
        return probing.call(ns.additive_attention, *inputs, data["mask"])[0]

    found = probing.gradients(context, [data[k] for k in names], data["dcontext"])[1]
    return dict(zip((f"gradient of {k}" for k in names), found))


def attention_brute_force(data):
    s, h, v, mask = data["s"], data["h"], data["v"], data.get("mask")
    contexts, weights = [], []
    for b in range(len(s)):
        here = range(h.shape[1]) if mask is None else mask[b].nonzero()[:, 0].tolist()
        scores = [(v * torch.tanh(data["W_s"] @ s[b] + data["W_h"] @ h[b, j])).sum() for j in here]
        row, context = [s.new_zeros(())] * h.shape[1], s.new_zeros(h.shape[2])
        if scores:
            total = torch.stack(scores).logsumexp(0)
            for j, score in zip(here, scores):
                row[j] = (score - total).exp()
                context = context + row[j] * h[b, j]
        contexts.append(context)
        weights.append(torch.stack(row))
    return torch.stack(contexts), torch.stack(weights)


def additive_attention__einsum(s, h, W_s, W_h, v, mask=None):
    if mask is not None:
        h = torch.where(mask.unsqueeze(2), h, torch.zeros_like(h))
    hidden = torch.tanh(torch.einsum("aq,bq->ba", W_s, s).unsqueeze(1) + torch.einsum("ak,btk->bta", W_h, h))
    scores = torch.einsum("bta,a->bt", hidden, v)
    if mask is not None:
        scores = scores.masked_fill(~mask, -1e30)
    alpha = torch.softmax(scores, -1)
    if mask is not None:
        alpha = alpha * mask
    return torch.einsum("bt,btk->bk", alpha, h), alpha


def additive_attention__by_hand(s, h, W_s, W_h, v, mask=None):
    here = torch.ones(h.shape[:2], dtype=torch.bool) if mask is None else mask
    h = h.masked_fill(~here.unsqueeze(-1), 0)
    e = ((h @ W_h.t() + (s @ W_s.t()).unsqueeze(1)).tanh() * v).sum(-1)
    e = e - e.masked_fill(~here, -1e30).max(1, keepdim=True).values.clamp(min=-1e20)
    power = torch.where(here, e, 0).exp() * here
    alpha = power / power.sum(1, keepdim=True).clamp(min=1e-30)
    return torch.bmm(alpha.unsqueeze(1), h).squeeze(1), alpha


def additive_attention__after(s, h, W_s, W_h, v, mask=None):
    scores = torch.tanh((s @ W_s.T)[:, None] + h @ W_h.T) @ v
    alpha = scores.softmax(1)
    if mask is not None:
        alpha = alpha.masked_fill(~mask, 0)
    return (alpha[..., None] * h).sum(1), alpha


ADDITIVE_ATTENTION = Exercise(
    name="additive_attention",
    methods=("ch10/bahdanau_attention",),
    core=True,
    groups={"plain": 2.0, "mask": 1.0, "edge": 0.5, "gradient": 0.5},
    cases=attention_cases,
    probe={"gradient": attention_gradient},
    oracle={"plain": attention_brute_force, "mask": attention_brute_force},
    returns=("context", "alpha"),
    minutes=20,
    difficulty="medium",
    good_for="the idea on which the rest of this book stands",
    alternatives=(alternative(additive_attention__einsum), alternative(additive_attention__by_hand)),
    misconceptions=(
        slip("over_sentences", {"scores.softmax(dim=1)": "scores.softmax(dim=0)"},
             "Your weights sum to 1 over the sentences. They must sum to 1 over the places of one sentence: dim=1.",
             "card trap: softmax over the wrong axis"),
        slip("no_tanh", {"torch.tanh((s @ W_s.T)[:, None] + h @ W_h.T) @ v": "((s @ W_s.T)[:, None] + h @ W_h.T) @ v"},
             "The tanh is missing. Without it the question s adds the same to every score, and the softmax forgets it.",
             "student mistake: nonlinearity left out"),
        slip("question_forgotten", {"(s @ W_s.T)[:, None] + h @ W_h.T": "h @ W_h.T"},
             "The scores must depend on the question s.", "student mistake: s is not used"),
        slip("mask_ignored", {"scores.masked_fill(~mask, -torch.inf)": "scores"},
             "Places where the mask is False still get a share of the softmax.",
             "student mistake: padding is looked at"),
        slip("zero_scores", {"scores.masked_fill(~mask, -torch.inf)": "scores.masked_fill(~mask, 0.0)"},
             "A score of 0 is no exclusion: exp(0) is 1. Masked scores must be minus infinity.",
             "card trap: mask before the softmax"),
        slip("nan_row", {"scores = scores.masked_fill(~mask.any(1, keepdim=True), 0.0)": ""},
             "Where no place is left the softmax is 0 / 0. Such a row has weights and context 0.",
             "library difference: public codes give NaN when every key is masked"),
        slip("spreads_nan", {"h = h.masked_fill(~mask[:, :, None], 0.0)": ""},
             "Zero times not-a-number is not a number: what stands where there is no place must be taken out of h.",
             "card trap: whatever stands in the padding"),
        mistaken(additive_attention__after,
                 "You mask AFTER the softmax, so the weights of the real places no longer sum to 1.",
                 "card trap: mask before the softmax"),
    ),
    hints=(
        "How many scores has one sentence, and what must the two terms inside the tanh look like so that they can be "
        "added?",
        "(s @ W_s.T)[:, None] is (B, 1, A), h @ W_h.T is (B, T, A). tanh, times v: (B, T). Mask with minus infinity, "
        "softmax over dim 1, weighted sum of h.",
        "scores = torch.tanh((s @ W_s.T)[:, None] + h @ W_h.T) @ v; scores.masked_fill(~mask, -torch.inf); alpha = "
        "softmax(dim=1); rows without any place: 0; (alpha[:, :, None] * h).sum(1)",
    ),
)  # fmt: skip


def share_cases(d):
    def drawn(B, G, H, W, dtype=torch.float32, p=0.4):
        return {"alpha": (2 * d.normal(B, G * G, dtype=dtype)).softmax(1), "masks": d.mask(B, H, W, p=p)}

    one = torch.zeros(1, 6, 6, dtype=torch.bool)
    one[0, 2:4, 4:] = True  # exactly the cell in row 1, column 2
    sharp = torch.full((1, 9), 0.02)
    sharp[0, 5] = 0.84
    return [
        case("plain", "2x2 cells on 4x4 pixels", **drawn(3, 2, 4, 4)),
        case("plain", "3x3 cells, the thing fills one", alpha=sharp, masks=one),
        case("plain", "cells that are not square, float64", **drawn(2, 2, 4, 6, DOUBLE)),
        case("edge", "one cell a pixel", **drawn(2, 3, 3, 3)),
        case("edge", "nothing there", **drawn(2, 2, 4, 4, p=0.0)),
        case("edge", "a number of cells that is no square", alpha=d.normal(2, 6).softmax(1), masks=d.mask(2, 4, 6)),
        case("edge", "cells that do not tile the picture", **drawn(1, 3, 4, 4)),
    ]


def share_library(data):
    alpha, masks = data["alpha"], data["masks"]
    G = int(alpha.shape[1] ** 0.5 + 0.5)
    if alpha.shape[1] != G * G or masks.shape[1] % G or masks.shape[2] % G:
        raise ValueError("cells")
    high, wide = masks.shape[1] // G, masks.shape[2] // G
    spread = alpha.reshape(-1, G, G).repeat_interleave(high, 1).repeat_interleave(wide, 2) / (high * wide)
    return (spread * masks).sum((1, 2)), masks.to(alpha.dtype).mean((1, 2))


def attention_on__cut(alpha, masks):
    G = round(alpha.shape[1] ** 0.5)
    B, H, W = masks.shape
    if alpha.shape[1] != G**2 or H % G != 0 or W % G != 0:
        raise ValueError("cells do not tile the picture")
    cover = masks.to(alpha.dtype).reshape(B, G, H // G, G, W // G).mean((2, 4)).reshape(B, G * G)
    return (alpha * cover).sum(1), cover.sum(1) / (G * G)


def attention_on__spread(alpha, masks):
    B, H, W = masks.shape
    G = [g for g in range(1, 100) if g * g == alpha.shape[1]]
    if not G or H % G[0] or W % G[0]:
        raise ValueError("cells do not tile the picture")
    big = F.interpolate(alpha.reshape(B, 1, G[0], G[0]), size=(H, W), mode="nearest")[:, 0]
    big = big / big.sum((1, 2), keepdim=True) * alpha.sum(1)[:, None, None]
    inside = masks.to(alpha.dtype)
    return (big * inside).sum((1, 2)), inside.flatten(1).mean(1)


def attention_on__pointing(alpha, masks):
    G, (H, W) = round(alpha.shape[1] ** 0.5), masks.shape[1:]
    if alpha.shape[1] != G * G or H % G or W % G:
        raise ValueError("cells")
    cover = F.avg_pool2d(masks[:, None].to(alpha.dtype), (H // G, W // G)).flatten(1)
    return cover.gather(1, alpha.argmax(1, keepdim=True))[:, 0], cover.mean(1)


ATTENTION_ON = Exercise(
    name="attention_on",
    methods=("ch10/image_captioning_rnn",),
    groups={"plain": 1.5, "edge": 1.0},
    cases=share_cases,
    oracle=share_library,
    returns=("share", "area"),
    minutes=12,
    difficulty="medium",
    good_for="holding a pretty picture against the truth",
    alternatives=(alternative(attention_on__cut), alternative(attention_on__spread)),
    misconceptions=(
        slip("touched", {"F.avg_pool2d(": "F.max_pool2d("},
             "A cell that the thing only touches does not belong to it wholly: take the SHARE of its pixels.",
             "student mistake: max for mean"),
        slip("columns_first", {".flatten(1)": ".transpose(2, 3).flatten(1)"},
             "The cells are counted row by row; yours go column by column.", "student mistake: order of the cells"),
        slip("sum_of_cover", {"cover.mean(1)": "cover.sum(1)"},
             "The area is a share of the picture: the mean over the cells.", "student mistake: sum for mean"),
        slip("averaged", {"(alpha * cover).sum(1)": "(alpha * cover).mean(1)"},
             "The weights sum to 1 already: add them up over the cells, do not average.",
             "student mistake: mean for sum"),
        slip("nothing_raised", {"if alpha.shape[1] != G * G or H % G or W % G:": "if False:"},
             "Nothing is raised where the weights do not fit the picture: a ValueError is asked for.",
             "reader's mistake: no check at all"),
        slip("unchecked", {"if alpha.shape[1] != G * G or H % G or W % G:": "if alpha.shape[1] != G * G:"},
             "Cells that do not tile the picture must raise a ValueError.", "student mistake: pixels are dropped"),
        mistaken(attention_on__pointing,
                 "That looks at the most attended cell only. Count all the attention that lies on the thing.",
                 "library difference: the pointing game"),
    ),
    hints=(
        "Which pooling turns a mask of pixels into the share of each cell that is covered?",
        "avg_pool2d of the mask as numbers, with windows of (H // G, W // G); flatten row by row; then one weighted "
        "sum "
        "and one mean.",
        "cover = F.avg_pool2d(masks[:, None].to(alpha.dtype), (H // G, W // G)).flatten(1); return (alpha * "
        "cover).sum(1), cover.mean(1)",
    ),
)  # fmt: skip


WHY_NOT_CONNECT = Question(
    name="why_not_connect",
    points=3.0,
    text="A colleague proposes to join every state of the encoder to every state of the decoder by a weight matrix of "
    "its own, \"then nothing is lost\". Give two reasons why this fails, say how attention answers each of them, and "
    "name one thing that attention over a recurrent encoder still does not solve.",
    rubric="- 1 point: the two reasons (sizes vary, so matrices for place 30 exist only if place 30 was trained; the "
    "number of weights grows with T times L).\n- 1 point: how attention answers: one small function, shared by all "
    "pairs, "
    "computes the connection from the states themselves; softmax over however many places there are.\n- 1 point: "
    "one thing left: steps are taken one after the other, long chains still dilute; or the cost of T times L scores; "
    "or "
    "weights need not be explanations.",
    samples=(
        (3.0, "Lengths vary: a matrix for the pair (30, 12) gets trained only by sentences that long, and a sentence "
        "of "
         "60 words has none. And T L D^2 weights are billions for 50 words. Attention uses the same little network for "
         "every pair, so its size depends on no length, and the softmax runs over what is there. Still, the encoder "
         "reads word after word: slow, and early words fade."),
        (2.0, "Too many weights, and sentences have different lengths. Attention shares one scoring function for all "
         "pairs, so it works for any length."),
        (1.0, "It would have too many parameters and overfit."),
    ),
)  # fmt: skip
