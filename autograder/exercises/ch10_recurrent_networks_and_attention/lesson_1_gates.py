"""Exercises of notebook 1: LSTM and GRU."""

import torch
import torch.nn.functional as F
from torch import nn

from autograder.declare import Exercise, alternative, case, mistaken, slip
from autograder.exercises.ch10_recurrent_networks_and_attention.lesson_1_cells import DOUBLE, weights
from dlcv_lab.checking import probing


def gate_cases(d, blocks, memory):
    def drawn(B, E, D, dtype=torch.float32, scale=0.8):
        states = {"h": 0.6 * d.normal(B, D, dtype=dtype)} | ({"c": d.normal(B, D, dtype=dtype)} if memory else {})
        return {"x": d.normal(B, E, dtype=dtype)} | states | weights(d, blocks, E, D, dtype, scale)

    return [
        case("plain", "three sequences", **drawn(3, 4, 5)),
        case("plain", "one sequence, as many inputs as states", **drawn(1, 3, 3)),
        case("plain", "float64", **drawn(2, 2, 4, DOUBLE)),
        case("edge", "gates wide open and shut", **drawn(2, 3, 4, scale=60.0)),
        case("gradient", "gradients", **drawn(2, 3, 2, DOUBLE), dh=d.normal(2, 2, dtype=DOUBLE)),
    ]


def lstm_cases(d):
    return gate_cases(d, 4, True)


def gru_cases(d):
    return gate_cases(d, 3, False)


def lstm_gradient(ns, data):
    names = ("x", "h", "c", "W_ih", "W_hh", "b_ih", "b_hh")

    def both(*inputs):
        h, c = probing.call(ns.lstm_cell, *inputs)
        return h + 2 * c

    found = probing.gradients(both, [data[k] for k in names], data["dh"])[1]
    return dict(zip((f"gradient of {k}" for k in names), found))


def gru_gradient(ns, data):
    names = ("x", "h", "W_ih", "W_hh", "b_ih", "b_hh")
    found = probing.gradients(ns.gru_cell, [data[k] for k in names], data["dh"])[1]
    return dict(zip((f"gradient of {k}" for k in names), found))


def torch_cell(make, data, state):
    E, D = data["x"].shape[1], data["h"].shape[1]
    pairs = {"weight_ih": "W_ih", "weight_hh": "W_hh", "bias_ih": "b_ih", "bias_hh": "b_hh"}
    inside = {name: data[mine] for name, mine in pairs.items()}
    return torch.func.functional_call(make(E, D).to(data["x"].dtype), inside, (data["x"], state))


def lstm_library(data):
    return torch_cell(nn.LSTMCell, data, (data["h"], data["c"]))


def gru_library(data):
    return torch_cell(nn.GRUCell, data, data["h"])


def lstm_cell__blocks(x, h, c, W_ih, W_hh, b_ih, b_hh):
    D = h.shape[1]
    a = torch.cat([x, h], dim=1) @ torch.cat([W_ih, W_hh], dim=1).T + (b_ih + b_hh)
    gates = 1 / (1 + torch.exp(-a))
    new_c = gates[:, D : 2 * D] * c + gates[:, :D] * torch.tanh(a[:, 2 * D : 3 * D])
    return gates[:, 3 * D :] * new_c.tanh(), new_c


def lstm_cell__linear(x, h, c, W_ih, W_hh, b_ih, b_hh):
    i, f, g, o = (F.linear(x, W_ih, b_ih) + F.linear(h, W_hh, b_hh)).split(h.shape[1], dim=1)
    memory = f.sigmoid().mul(c).add(i.sigmoid().mul(g.tanh()))
    return o.sigmoid().mul(memory.tanh()), memory


def lstm_cell__old_memory(x, h, c, W_ih, W_hh, b_ih, b_hh):
    i, f, g, o = (x @ W_ih.T + b_ih + h @ W_hh.T + b_hh).chunk(4, dim=1)
    return torch.sigmoid(o) * torch.tanh(c), torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)


LSTM_CELL = Exercise(
    name="lstm_cell",
    methods=("ch10/lstm",),
    core=True,
    groups={"plain": 2.0, "edge": 0.5, "gradient": 0.5},
    cases=lstm_cases,
    probe={"gradient": lstm_gradient},
    oracle={"plain": lstm_library, "edge": lstm_library},
    returns=("h", "c"),
    minutes=15,
    difficulty="medium",
    good_for="a memory that is added to, not multiplied away",
    alternatives=(alternative(lstm_cell__blocks), alternative(lstm_cell__linear)),
    misconceptions=(
        slip("order", {"i, f, g, o = a": "i, f, o, g = a"},
             "The third block is the candidate g, the fourth the output gate o: i, f, g, o.",
             "library difference: other codes stack i, f, o, g"),
        slip("gates_swapped", {"i, f, g, o = a": "f, i, g, o = a"},
             "The first block is the input gate, the second the forget gate.", "card trap: gate order"),
        slip("no_tanh_out", {"torch.tanh(c), c": "c, c"},
             "The new h is o times tanh OF c; your tanh is missing there.", "card trap: tanh missing on c"),
        slip("candidate_gate", {"torch.tanh(g)": "torch.sigmoid(g)"},
             "The candidate g passes through tanh: it may be negative. Only gates are logistic.",
             "student mistake: four gates"),
        slip("swapped_answer", {"return torch.sigmoid(o) * torch.tanh(c), c":
                                "return c, torch.sigmoid(o) * torch.tanh(c)"},
             "The answer is (h, c), in this order.", "student mistake: order of the two states"),
        slip("coupled", {"torch.sigmoid(i) * torch.tanh(g)": "(1 - torch.sigmoid(f)) * torch.tanh(g)"},
             "The input gate is a gate of its own, not one minus the forget gate (that would be nearly a GRU).",
             "library difference: coupled gates"),
        mistaken(lstm_cell__old_memory,
                 "Your h is made of the OLD memory c. First make the new c, then h from it.",
                 "student mistake: old and new c"),
    ),
    hints=(
        "Which numbers decide how much of the old memory stays, how much is added, and how much is shown?",
        "One product gives all four blocks; chunk(4, dim=1). c = sigmoid(f) * c + sigmoid(i) * tanh(g); h = "
        "sigmoid(o) * "
        "tanh(c).",
        "a = x @ W_ih.T + b_ih + h @ W_hh.T + b_hh; i, f, g, o = a.chunk(4, dim=1); then the two lines of the text",
    ),
)  # fmt: skip


def gru_cell__from_h(x, h, W_ih, W_hh, b_ih, b_hh):
    D = h.shape[1]
    a, u = F.linear(x, W_ih, b_ih), F.linear(h, W_hh, b_hh)
    gates = (a[:, : 2 * D] + u[:, : 2 * D]).sigmoid()
    n = (a[:, 2 * D :] + gates[:, :D] * u[:, 2 * D :]).tanh()
    return n + gates[:, D:] * (h - n)


def gru_cell__split(x, h, W_ih, W_hh, b_ih, b_hh):
    W_r, W_z, W_n = W_ih.chunk(3)
    U_r, U_z, U_n = W_hh.chunk(3)
    p, q = b_ih.chunk(3), b_hh.chunk(3)
    r = torch.sigmoid(x @ W_r.T + h @ U_r.T + p[0] + q[0])
    z = torch.sigmoid(x @ W_z.T + h @ U_z.T + p[1] + q[1])
    return torch.lerp(torch.tanh(x @ W_n.T + p[2] + r * (h @ U_n.T + q[2])), h, z)


def gru_cell__reset_first(x, h, W_ih, W_hh, b_ih, b_hh):
    D = h.shape[1]
    a, u = x @ W_ih.T + b_ih, h @ W_hh.T + b_hh
    r, z = torch.sigmoid(a[:, :D] + u[:, :D]), torch.sigmoid(a[:, D : 2 * D] + u[:, D : 2 * D])
    n = torch.tanh(a[:, 2 * D :] + (r * h) @ W_hh[2 * D :].T + b_hh[2 * D :])
    return (1 - z) * n + z * h


def gru_cell__bias_outside(x, h, W_ih, W_hh, b_ih, b_hh):
    D = h.shape[1]
    a, u = x @ W_ih.T + b_ih, h @ W_hh.T
    r = torch.sigmoid(a[:, :D] + u[:, :D] + b_hh[:D])
    z = torch.sigmoid(a[:, D : 2 * D] + u[:, D : 2 * D] + b_hh[D : 2 * D])
    n = torch.tanh(a[:, 2 * D :] + r * u[:, 2 * D :] + b_hh[2 * D :])
    return (1 - z) * n + z * h


GRU_CELL = Exercise(
    name="gru_cell",
    methods=("ch10/gru",),
    core=True,
    groups={"plain": 2.0, "edge": 0.5, "gradient": 0.5},
    cases=gru_cases,
    probe={"gradient": gru_gradient},
    oracle={"plain": gru_library, "edge": gru_library},
    minutes=15,
    difficulty="medium",
    good_for="reading a definition to the letter",
    alternatives=(alternative(gru_cell__from_h), alternative(gru_cell__split)),
    misconceptions=(
        slip("flipped", {"(1 - z) * n + z * h": "z * n + (1 - z) * h"},
             "Your z replaces. Here z KEEPS the old state: (1 - z) n + z h.",
             "library difference: Chung et al. and Bahdanau et al. write z the other way round"),
        slip("no_reset", {"r * u_n": "u_n"},
             "The reset gate is computed and not used: it multiplies what comes from the state in the candidate.",
             "student mistake: r is not used"),
        slip("gates_swapped", {"r, z = torch.sigmoid(a_r + u_r), torch.sigmoid(a_z + u_z)":
                               "z, r = torch.sigmoid(a_r + u_r), torch.sigmoid(a_z + u_z)"},
             "The first block is the reset gate, the second the update gate.", "card trap: chunk order r, z, n"),
        slip("candidate_gate", {"torch.tanh(a_n + r * u_n)": "torch.sigmoid(a_n + r * u_n)"},
             "The candidate passes through tanh, not through the logistic function.", "student mistake: three gates"),
        mistaken(gru_cell__reset_first,
                 "You reset h BEFORE the matrix, as Cho et al. did. Here r multiplies the result W_hh h + b_hh.",
                 "library difference: Cho et al. 2014 and torch"),
        mistaken(gru_cell__bias_outside,
                 "The bias b_hh of the candidate belongs inside the product with r: r * (W_hh h + b_hh).",
                 "card trap: b_hn inside the reset"),
    ),
    hints=(
        "What does the new state become where z is 1, and where it is 0?",
        "Keep what comes from x and what comes from h apart, three blocks each. r and z from the sums; the candidate "
        "is "
        "tanh(a_n + r * u_n).",
        "a_r, a_z, a_n = (x @ W_ih.T + b_ih).chunk(3, dim=1); the same for u; r, z = sigmoids; n = torch.tanh(a_n + "
        "r * "
        "u_n); return (1 - z) * n + z * h",
    ),
)  # fmt: skip
