"""Exercises of notebook 1: clips that are named, cut and foretold."""

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import nn

from autograder.declare import Exercise, alternative, case, mistaken, slip
from autograder.declare.probes import shipped

DOUBLE = torch.float64


@shipped
def parts(phase, frame, E, D, K, dtype):
    """Return a network a frame, a GRU and a layer of scores whose weights follow from a formula."""
    made = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(frame), E)), nn.GRU(E, D, batch_first=True), nn.Linear(D, K)
    at = 0
    for module in made:
        module.to(dtype)
        for p in module.parameters():
            wave = torch.sin(12.9898 * torch.arange(at, at + p.numel(), dtype=torch.float64) + 78.233 * phase)
            p.data.copy_((0.8 * wave).reshape(p.shape))
            p.requires_grad_(False)
            at += p.numel()
    return made


def clip_cases(d):
    def drawn(B, T, lengths, size=(2, 3, 3), dtype=torch.float32):
        mask = torch.arange(T) < torch.tensor(lengths)[:, None]
        return {"video": d.normal(B, T, *size, dtype=dtype), "mask": mask, "phase": d.real(0.1, 1.0)}

    return [
        case("plain", "three clips of five frames", **drawn(3, 5, [5, 5, 5])),
        case("plain", "as many clips as frames", **drawn(3, 3, [3, 3, 3])),
        case("plain", "clips of 2, 4 and 1 frames", **drawn(3, 4, [2, 4, 1])),
        case("edge", "one clip of one frame, and padding", **drawn(1, 3, [1])),
        case("edge", "float64, not square", **drawn(2, 4, [3, 2], (1, 2, 4), DOUBLE)),
    ]


def clip_probe(ns, data):
    cnn, rnn, head = parts(data["phase"], data["video"].shape[2:], 4, 3, 5, data["video"].dtype)
    return ns.classify_clips(cnn, rnn, head, data["video"], data["mask"])


def classify_clips__packed(cnn, rnn, head, video, mask):
    features = torch.stack([cnn(video[:, t]) for t in range(video.shape[1])], dim=1)
    packed = nn.utils.rnn.pack_padded_sequence(features, mask.sum(1), batch_first=True, enforce_sorted=False)
    return head(rnn(packed)[1][-1])


def classify_clips__one_by_one(cnn, rnn, head, video, mask):
    rows = []
    for clip, here in zip(video, mask):
        states, _ = rnn(cnn(clip[here]).unsqueeze(0))
        rows.append(head(states[:, -1]))
    return torch.cat(rows)


def classify_clips__averaged(cnn, rnn, head, video, mask):
    features = cnn(video.flatten(0, 1)).unflatten(0, video.shape[:2])
    states = rnn(features)[0]
    return head((states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))


def classify_clips__no_memory(cnn, rnn, head, video, mask):
    features = cnn(video.flatten(0, 1)).unflatten(0, video.shape[:2])
    last = mask.sum(1) - 1
    return head(rnn(features[torch.arange(len(features)), last][:, None])[0][:, 0])


CLASSIFY_CLIPS = Exercise(
    name="classify_clips",
    methods=("ch10/action_recognition",),
    groups={"plain": 1.5, "edge": 1.0},
    cases=clip_cases,
    probe=clip_probe,
    minutes=12,
    difficulty="medium",
    good_for="folding time into the batch, and back",
    alternatives=(alternative(classify_clips__packed), alternative(classify_clips__one_by_one)),
    misconceptions=(
        slip("after_the_padding", {"last = mask.sum(1) - 1": "last = mask.sum(1) * 0 + mask.shape[1] - 1"},
             "You take the state after the padding. Take the one after each clip's own last frame.",
             "card trap: last valid step"),
        slip("one_late", {"mask.sum(1) - 1": "mask.sum(1).clamp(max=mask.shape[1] - 1)"},
             "A clip of n frames ends at place n - 1: places count from 0.", "student mistake: off by one"),
        slip("first_state", {"last = mask.sum(1) - 1": "last = mask.sum(1) * 0"},
             "That is the state after the first frame.", "student mistake: wrong end"),
        slip("time_first", {"cnn(video.flatten(0, 1)).unflatten(0, video.shape[:2])":
                            "cnn(video.transpose(0, 1).flatten(0, 1)).unflatten(0, video.shape[:2])"},
             "You fold time-major and unfold batch-major: frames of different clips are mixed up.",
             "card trap: reshape order (B,T) against (T,B)"),
        slip("memory_over_clips", {"rnn(features)[0]": "rnn(features.transpose(0, 1))[0].transpose(0, 1)"},
             "The network runs over the clips instead of over the frames: its second axis is time here.",
             "library difference: batch_first"),
        mistaken(classify_clips__averaged,
                 "You average the states over time. Take the state after the last frame.",
                 "student mistake: mean pooling"),
        mistaken(classify_clips__no_memory,
                 "Only the last frame is read. The recurrent network must run over all frames of the clip.",
                 "student mistake: one frame"),
    ),
    hints=(
        "`cnn` knows no time. How do B T frames become one batch of pictures, and come back?",
        "video.flatten(0, 1) and .unflatten(0, (B, T)). Run rnn, and take from the states of clip b the one at place "
        "(number of its frames) - 1.",
        "features = cnn(video.flatten(0, 1)).unflatten(0, video.shape[:2]); states = rnn(features)[0]; last = "
        "mask.sum(1) - 1; return head(states[torch.arange(len(states)), last])",
    ),
)  # fmt: skip


def border_cases(d):
    def rows(*shots):
        return torch.cat([torch.full((n,), k) for n, k in shots])

    def moved(by):
        a, b, c = d.whole(3, 5), d.whole(4, 6), d.whole(3, 5)
        true = rows((a, 0), (b, 1), (c, 2), (3, 0))
        return {"pred": rows((a + by, 0), (b, 1), (c - by, 2), (3, 0)), "true": true}

    n = d.whole(3, 6)
    twice = {"true": rows((n, 0), (6, 1)), "pred": rows((n - 1, 0), (2, 2), (5, 1))}
    chain = {"true": rows((n, 0), (2, 1), (5, 2)), "pred": rows((n + 1, 0), (1, 1), (5, 2))}
    calm = torch.zeros(7, dtype=torch.int64)
    return [
        case("plain", "one frame late at two of three borders", **moved(1)),
        case("plain", "exactly right is asked for, and one frame late", **moved(1), tol=0),
        case("plain", "two frames early, two allowed", **moved(-2), tol=2),
        case("plain", "names are wrong, borders right", true=rows((n, 0), (4, 1), (3, 2)),
             pred=rows((n, 5), (4, 3), (3, 4))),
        case("pairs", "two found at one true border", **twice),
        case("pairs", "the choice of the partner matters", **chain),
        case("pairs", "the nearest partner leaves none for the next", true=rows((2, 0), (1, 1), (5, 2)),
             pred=rows((3, 0), (1, 1), (4, 2))),
        case("edge", "no border found, one there", pred=calm, true=rows((3, 0), (4, 1))),
        case("edge", "no border in either", pred=calm, true=calm + 2),
        case("edge", "a single frame", pred=calm[:1], true=calm[:1] + 1),
        case("edge", "rows of different lengths", pred=calm, true=calm[:-1]),
    ]  # fmt: skip


def border_library(data):
    pred, true = data["pred"], data["true"]
    if len(pred) != len(true):
        raise ValueError("lengths")
    found, wanted = (torch.tensor([t for t in range(1, len(y)) if y[t] != y[t - 1]]) for y in (pred, true))
    if len(found) + len(wanted) == 0:
        return 1.0
    near = (found[:, None] - wanted[None]).abs() <= data.get("tol", 1)
    rows, columns = linear_sum_assignment(near.numpy().astype(float), maximize=True)
    return 2 * float(near[rows, columns].sum()) / (len(found) + len(wanted))


def boundary_f1__two_pointers(pred, true, tol=1):
    if len(pred) != len(true):
        raise ValueError("two rows of different length")
    a = [t for t in range(1, len(pred)) if pred[t] != pred[t - 1]]
    b = [t for t in range(1, len(true)) if true[t] != true[t - 1]]
    if len(a) + len(b) == 0:
        return 1.0
    i = j = pairs = 0
    while i < len(a) and j < len(b):
        if abs(a[i] - b[j]) <= tol:
            i, j, pairs = i + 1, j + 1, pairs + 1
        elif a[i] < b[j]:
            i += 1
        else:
            j += 1
    return 2.0 * pairs / (len(a) + len(b))


def boundary_f1__augmenting(pred, true, tol=1):
    if pred.shape != true.shape:
        raise ValueError("two rows of different length")
    a = torch.nonzero(pred.diff()).flatten().tolist()
    b = torch.nonzero(true.diff()).flatten().tolist()
    if len(a) == len(b) == 0:
        return 1.0
    owner = {}

    def claim(p, seen):
        for q in b:
            if abs(p - q) <= tol and q not in seen:
                seen.add(q)
                if q not in owner or claim(owner[q], seen):
                    owner[q] = p
                    return True
        return False

    pairs = sum(claim(p, set()) for p in a)
    return 2 * pairs / (len(a) + len(b))


def boundary_f1__frames(pred, true, tol=1):
    if len(pred) != len(true):
        raise ValueError("lengths")
    return float((pred == true).float().mean())


BOUNDARY_F1 = Exercise(
    name="boundary_f1",
    methods=("ch10/video_indexing",),
    groups={"plain": 1.0, "pairs": 1.0, "edge": 1.0},
    cases=border_cases,
    oracle=border_library,
    minutes=15,
    difficulty="medium",
    good_for="a score that looks at cuts and not at names",
    alternatives=(alternative(boundary_f1__two_pointers), alternative(boundary_f1__augmenting)),
    misconceptions=(
        slip("claimed_twice", {"free.remove(near[0])": ""},
             "Two found borders claim the same true one. Each true border counts for one found one only.",
             "card trap: one-to-one matching"),
        slip("last_partner", {"free.remove(near[0])": "free.remove(near[-1])"},
             "Where two true borders are near, you take the later one and leave nothing for the next. In the order of "
             "time, take the first.", "student mistake: greedy in the wrong order"),
        slip("nearest", {"free.remove(near[0])": "free.remove(min(near, key=lambda w: abs(w - place)))"},
             "You take the nearest partner, and a border found later finds none. In the order of time, take the first "
             "free one.", "reader's mistake: nearest first"),
        slip("exact_only", {"abs(w - place) <= tol": "w == place"},
             "The tolerance is not used: a border may be `tol` frames away.",
             "student mistake: an argument is ignored"),
        slip("strictly_nearer", {"<= tol": "< tol"},
             "AT MOST tol frames away: a distance of exactly tol is right.", "student mistake: < for <="),
        slip("zero_for_none", {"return 1.0": "return 0.0"},
             "Where neither row has a border nothing was missed and nothing invented: F1 is 1.",
             "card trap: no boundary in both"),
        slip("recall", {"2 * pairs / (len(found) + len(wanted))": "pairs / max(len(wanted), 1)"},
             "That is the recall: too many found borders cost nothing. F1 is 2 pairs / (found + true).",
             "student mistake: recall for F1"),
        mistaken(boundary_f1__frames, "That is the share of right frames. Look at the borders only.",
                 "student mistake: accuracy"),
    ),
    hints=(
        "At which frames does a row of labels differ from its neighbour on the left?",
        "List the borders of both rows. Go through the found ones in order; each takes the first free true border "
        "within "
        "tol, if there is one. Count the pairs.",
        "near = [w for w in free if abs(w - place) <= tol]; if near: free.remove(near[0]); pairs += 1; "
        "return 2 * pairs / (len(found) + len(wanted))",
    ),
)  # fmt: skip


def map_cases(d):
    def drawn(B, C, D, k, H=4, W=5, dtype=torch.float32):
        return {
            "x": d.normal(B, C, H, W, dtype=dtype),
            "h": 0.6 * d.normal(B, D, H, W, dtype=dtype),
            "c": d.normal(B, D, H, W, dtype=dtype),
            "W": 0.5 * d.normal(4 * D, C + D, k, k, dtype=dtype),
            "b": d.normal(4 * D, dtype=dtype),
        }

    return [
        case("plain", "two pictures, kernel 3", **drawn(2, 3, 2, 3)),
        case("plain", "as many channels as maps, kernel 3", **drawn(1, 2, 2, 3)),
        case("plain", "kernel 1: every pixel by itself", **drawn(1, 2, 3, 1)),
        case("edge", "kernel 5, float64", **drawn(2, 1, 2, 5, dtype=DOUBLE)),
        case("edge", "an even kernel", **drawn(1, 1, 2, 2)),
    ]


def map_library(data):
    """Let nn.LSTMCell run at every pixel, over the unfolded neighbourhood of x and h."""
    W, b, h, c = data["W"], data["b"], data["h"], data["c"]
    k, D = W.shape[2], h.shape[1]
    if k % 2 == 0:
        raise ValueError("even")
    near = F.unfold(torch.cat([data["x"], h], 1), k, padding=k // 2).transpose(1, 2).flatten(0, 1)  # (B H W, ...)
    order = torch.cat([torch.arange(2 * D), torch.arange(3 * D, 4 * D), torch.arange(2 * D, 3 * D)])  # to i, f, g, o
    cell = nn.LSTMCell(near.shape[1], D).to(W.dtype)
    zero = torch.zeros(4 * D, D, dtype=W.dtype), torch.zeros(4 * D, dtype=W.dtype)
    inside = {"weight_ih": W.flatten(1)[order], "bias_ih": b[order], "weight_hh": zero[0], "bias_hh": zero[1]}
    flat = [s.permute(0, 2, 3, 1).flatten(0, 2) for s in (h, c)]
    out = torch.func.functional_call(cell, inside, (near, tuple(flat)))
    B, _, height, width = h.shape
    return tuple(s.reshape(B, height, width, D).permute(0, 3, 1, 2) for s in out)


def conv_lstm_step__sums(x, h, c, W, b):
    k, C, D = W.shape[-1], x.shape[1], h.shape[1]
    if k % 2 == 0:
        raise ValueError("even kernel")
    a = F.conv2d(x, W[:, :C], padding="same") + F.conv2d(h, W[:, C:], b, padding="same")
    i, f, o = (torch.sigmoid(a[:, n * D : (n + 1) * D]) for n in range(3))
    c_new = f * c + i * torch.tanh(a[:, 3 * D :])
    return o * torch.tanh(c_new), c_new


def conv_lstm_step__padded(x, h, c, W, b):
    k = W.size(2)
    if not k % 2:
        raise ValueError("the kernel needs a middle")
    wide = F.pad(torch.cat((x, h), 1), [k // 2] * 4)
    a = F.conv2d(wide, W) + b[:, None, None]
    i, f, o, g = a.split(h.size(1), dim=1)
    memory = c * f.sigmoid() + g.tanh() * i.sigmoid()
    return memory.tanh() * o.sigmoid(), memory


CONV_LSTM_STEP = Exercise(
    name="conv_lstm_step",
    methods=("ch10/video_prediction",),
    groups={"plain": 1.5, "edge": 1.0},
    cases=map_cases,
    oracle=map_library,
    returns=("h", "c"),
    minutes=12,
    difficulty="medium",
    good_for="a memory with a place for every pixel",
    alternatives=(alternative(conv_lstm_step__sums), alternative(conv_lstm_step__padded)),
    misconceptions=(
        slip("order", {"i, f, o, g = a": "i, f, g, o = a"},
             "The blocks are i, f, o, g here: the candidate comes last, other than in lstm_cell.",
             "card trap: gate order of the public ConvLSTM code"),
        slip("state_first", {"torch.cat([x, h], dim=1)": "torch.cat([h, x], dim=1)"},
             "The kernel expects the channels of x first, then those of h.", "student mistake: order of cat"),
        slip("border_of_one", {"padding=k // 2": "padding=1"},
             "Half a kernel of padding on each side keeps the size: k // 2, not 1.",
             "student mistake: padding for k = 3 only"),
        slip("no_tanh_out", {"o.sigmoid() * c.tanh(), c": "o.sigmoid() * c, c"},
             "The new h is o times tanh of the new c.", "card trap: tanh missing on c"),
        slip("swapped_answer", {"return o.sigmoid() * c.tanh(), c": "return c, o.sigmoid() * c.tanh()"},
             "The answer is (h, c), in this order.", "student mistake: order of the two states"),
        slip("unchecked", {"if k % 2 == 0:": "if False:"},
             "An even kernel has no middle: raise a ValueError.", "card trap: even k"),
    ),
    hints=(
        "What of lstm_cell changes if every product with a matrix becomes a convolution?",
        "One F.conv2d of torch.cat([x, h], dim=1) with padding k // 2; chunk(4, dim=1) in the order i, f, o, g; then "
        "the "
        "two lines of the LSTM.",
        "a = F.conv2d(torch.cat([x, h], dim=1), W, b, padding=k // 2); i, f, o, g = a.chunk(4, dim=1); c = "
        "f.sigmoid() * "
        "c + i.sigmoid() * g.tanh(); return o.sigmoid() * c.tanh(), c",
    ),
)  # fmt: skip
