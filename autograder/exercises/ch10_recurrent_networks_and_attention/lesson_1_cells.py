"""Exercises of notebook 1: a loss over steps, the vanilla network, its way back, and gradients that are too long."""

import torch
import torch.nn.functional as F
from torch import nn

from autograder.declare import Exercise, alternative, case, mistaken, slip
from dlcv_lab.checking import probing

DOUBLE = torch.float64


def loss_cases(d):
    def drawn(mask, B, T, K, dtype=torch.float32):
        return {"logits": 2 * d.normal(B, T, K, dtype=dtype), "target": d.integers(0, K - 1, B, T), "mask": mask}

    uneven = torch.tensor([[1, 0, 0, 0, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 0]]).bool()
    holes = torch.tensor([[0, 1, 0, 1], [1, 1, 0, 0]]).bool()
    junk = drawn(uneven, 3, 5, 4, DOUBLE)
    junk["target"] = junk["target"].masked_fill(~uneven, -7)
    empty = drawn(torch.zeros(2, 3).bool(), 2, 3, 4)
    lonely = drawn(torch.tensor([[1, 1, 1], [0, 0, 0]]).bool(), 2, 3, 2)
    return [
        case("plain", "three sequences of 1, 4 and 2 steps", **drawn(uneven, 3, 5, 4)),
        case("plain", "only some steps count", **drawn(holes, 2, 4, 3)),
        case("plain", "every step counts", **drawn(torch.ones(2, 3).bool(), 2, 3, 5)),
        case("edge", "targets that are no class where nothing counts", **junk),
        case("edge", "a sequence without any step", **lonely),
        case("edge", "no step at all", **empty),
        case("gradient", "gradient of the logits", **drawn(uneven, 3, 5, 4, DOUBLE)),
    ]


def loss_gradient(ns, data):
    def loss(logits):
        return ns.masked_cross_entropy(logits, data["target"], data["mask"])

    return {"gradient of the logits": probing.gradients(loss, [data["logits"]])[1][0]}


def loss_library(data):
    if not data["mask"].any():
        return data["logits"].sum() * 0
    target = data["target"].masked_fill(~data["mask"], -100)
    return F.cross_entropy(data["logits"].transpose(1, 2), target, ignore_index=-100)


def masked_cross_entropy__gathered(logits, target, mask):
    target = torch.where(mask, target, 0)
    cost = -logits.log_softmax(2).gather(2, target[..., None])[..., 0]
    return (cost * mask).sum() / mask.sum().clamp(min=1)


def masked_cross_entropy__every_step(logits, target, mask):
    cost = F.cross_entropy(logits.flatten(0, 1), target.where(mask, 0).flatten(), reduction="none")
    count = int(mask.sum())
    return torch.where(mask.flatten(), cost, 0).sum() / (count if count else 1)


def masked_cross_entropy__per_sequence(logits, target, mask):
    cost = F.cross_entropy(logits.transpose(1, 2), target.where(mask, 0), reduction="none") * mask
    return (cost.sum(1) / mask.sum(1).clamp(min=1)).mean()


MASKED_CROSS_ENTROPY = Exercise(
    name="masked_cross_entropy",
    methods=("ch10/sequence_task_types",),
    core=True,
    groups={"plain": 1.0, "edge": 1.0, "gradient": 0.5},
    cases=loss_cases,
    probe={"gradient": loss_gradient},
    oracle={"plain": loss_library, "edge": loss_library},
    minutes=10,
    difficulty="easy",
    good_for="one loss for every kind of task over time",
    alternatives=(alternative(masked_cross_entropy__gathered), alternative(masked_cross_entropy__every_step)),
    misconceptions=(
        slip("all_places", {"mask.sum().clamp(min=1)": "mask.numel()"},
             "You divide by all B T places. The mean is over the steps that count: divide by their number.",
             "card trap: mean over B*T instead of valid steps"),
        slip("nan", {".clamp(min=1)": ""},
             "Where no step counts you divide 0 by 0. The loss is 0 then.", "card trap: all masked"),
        slip("ignores_mask", {"logits[mask], target[mask]": "logits.flatten(0, 1), target.flatten()"},
             "Steps where the mask is False still cost something. Choose the steps that count, before the loss.",
             "student mistake: padding is trained on"),
        slip("inverted", {"logits[mask], target[mask]": "logits[~mask], target[~mask].clamp(min=0)"},
             "You keep the steps that do NOT count: mask is True where a step counts.",
             "library difference: key_padding_mask is True where nothing counts"),
        slip("not_averaged", {"return total / mask.sum().clamp(min=1)": "return total"},
             "That is the sum over the steps that count, not their mean.", "library difference: reduction='sum'"),
        mistaken(masked_cross_entropy__per_sequence,
                 "You average within each sequence first, then over sequences. Here every step of the batch weighs the "
                 "same.", "library difference: two ways to average sequences"),
    ),
    hints=(
        "What does logits[mask] look like, for a boolean mask of shape (B, T)?",
        "Indexing with the mask leaves a table (steps that count, K). Sum its cross-entropy and divide by the number "
        "of "
        "rows, or by 1 where there is none.",
        "total = F.cross_entropy(logits[mask], target[mask], reduction='sum'); "
        "return total / mask.sum().clamp(min=1)",
    ),
)  # fmt: skip


def weights(d, blocks, E, D, dtype, scale=0.8):
    return {
        "W_ih": scale * d.normal(blocks * D, E, dtype=dtype),
        "W_hh": scale * d.normal(blocks * D, D, dtype=dtype),
        "b_ih": d.normal(blocks * D, dtype=dtype),
        "b_hh": d.normal(blocks * D, dtype=dtype),
    }


def forward_cases(d):
    def drawn(B, T, E, D, dtype=torch.float32, **more):
        start = {"x": d.normal(B, T, E, dtype=dtype), "h0": 0.5 * d.normal(B, D, dtype=dtype)}
        return start | weights(d, 1, E, D, dtype) | more

    ragged = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]]).bool()
    holes = torch.tensor([[0, 1, 0, 1, 1], [0, 0, 0, 0, 0]]).bool()
    return [
        case("plain", "two sequences of four steps", **drawn(2, 4, 3, 5)),
        case("plain", "as many numbers in as in the state, as many steps as sequences", **drawn(3, 3, 3, 3)),
        case("plain", "one step, one sequence", **drawn(1, 1, 2, 4)),
        case("mask", "three sequences of 3, 1 and 4 steps", **drawn(3, 4, 2, 3, mask=ragged)),
        case("mask", "steps left out in between, and a sequence without input", **drawn(2, 5, 2, 3, mask=holes)),
        case("gradient", "gradients", **drawn(2, 3, 2, 3, DOUBLE), dhs=d.normal(2, 3, 3, dtype=DOUBLE)),
    ]


def forward_gradient(ns, data):
    names = ("x", "h0", "W_ih", "W_hh", "b_ih", "b_hh")
    found = probing.gradients(ns.rnn_forward, [data[k] for k in names], data["dhs"])[1]
    return dict(zip((f"gradient of {k}" for k in names), found))


def torch_rnn(data, states=None):
    """Run torch.nn.RNN with the case's weights on every sequence; with a mask only on the steps that count."""
    x, h0 = data["x"], data["h0"]
    rnn = nn.RNN(x.shape[2], h0.shape[1], batch_first=True).to(x.dtype)
    pairs = {"weight_ih_l0": "W_ih", "weight_hh_l0": "W_hh", "bias_ih_l0": "b_ih", "bias_hh_l0": "b_hh"}
    inside = {name: data[mine] for name, mine in pairs.items()}
    mask = data.get("mask")
    if mask is None:
        return torch.func.functional_call(rnn, inside, (x, h0[None]))[0]
    rows = []
    for b in range(len(x)):
        kept = [h0[b]]
        if mask[b].any():
            kept += [*torch.func.functional_call(rnn, inside, (x[b][mask[b]][None], h0[None, b : b + 1]))[0][0]]
        rows.append(torch.stack([kept[int(n)] for n in mask[b].cumsum(0)]))
    return torch.stack(rows)


def rnn_forward__together(x, h0, W_ih, W_hh, b_ih, b_hh, mask=None):
    given = x @ W_ih.T + (b_ih + b_hh)
    out, h = torch.empty_like(given), h0
    for t in range(given.shape[1]):
        h_new = (given[:, t] + F.linear(h, W_hh)).tanh()
        if mask is not None:
            m = mask[:, t].unsqueeze(1).to(h.dtype)
            h_new = m * h_new + (1 - m) * h
        out[:, t] = h = h_new
    return out


def rnn_forward__cell(x, h0, W_ih, W_hh, b_ih, b_hh, mask=None):
    if mask is None:
        mask = torch.ones(x.shape[:2], dtype=torch.bool)
    rows = []
    for b in range(x.shape[0]):
        h, row = h0[b], []
        for t in range(x.shape[1]):
            if mask[b, t]:
                h = torch.tanh(W_ih @ x[b, t] + b_ih + W_hh @ h + b_hh)
            row.append(h)
        rows.append(torch.stack(row))
    return torch.stack(rows)


RNN_FORWARD = Exercise(
    name="rnn_forward",
    methods=("ch10/rnn",),
    core=True,
    groups={"plain": 1.5, "mask": 1.0, "gradient": 0.5},
    cases=forward_cases,
    probe={"gradient": forward_gradient},
    oracle={"plain": torch_rnn, "mask": torch_rnn},
    minutes=15,
    difficulty="medium",
    good_for="the loop that all of this chapter is about",
    alternatives=(alternative(rnn_forward__together), alternative(rnn_forward__cell)),
    misconceptions=(
        slip("always_from_h0", {"h @ W_hh.T": "h0 @ W_hh.T"},
             "Every step starts from h0 again. Step t must read the state that step t - 1 left.",
             "student mistake: the state is not carried on"),
        slip("no_tanh", {"torch.tanh(x[:, t] @ W_ih.T + b_ih + h @ W_hh.T + b_hh)":
                         "x[:, t] @ W_ih.T + b_ih + h @ W_hh.T + b_hh"},
             "The tanh is missing: without it the states are linear in the inputs and can grow without bound.",
             "student mistake: nonlinearity left out"),
        slip("not_transposed", {"h @ W_hh.T": "h @ W_hh"},
             "The states are rows. W_hh h, for a row, is h @ W_hh.T.", "student mistake: transposition"),
        slip("one_bias", {" + b_hh)": ")"},
             "Two biases are added, as in torch.nn.RNN: b_ih and b_hh.", "library difference: two biases"),
        slip("mask_ignored", {"new if mask is None else torch.where(mask[:, t, None], new, h)": "new"},
             "Where the mask is False the state must stay as it was; yours goes on with the padding.",
             "card trap: padding changes the state"),
        slip("mask_to_zero", {"torch.where(mask[:, t, None], new, h)": "torch.where(mask[:, t, None], new, 0 * h)"},
             "Where the mask is False you set the state to 0. It must stay as it was before.",
             "student mistake: multiplying by the mask"),
        slip("before", {"h, states = h0, []": "h, states = h0, [h0]",
                        "torch.stack(states, dim=1)": "torch.stack(states[:-1], dim=1)"},
             "Your place t holds the state before input t. It must hold the one after it.",
             "student mistake: off by one step"),
        slip("time_first", {"dim=1)": "dim=0)"},
             "Your answer has time as its first axis. The batch comes first here: (B, T, D).",
             "library difference: batch_first=False"),
    ),
    hints=(
        "Which three things does the new state depend on, and which of them changes from step to step?",
        "Loop over t. Compute the new state from x[:, t] and h; with a mask, torch.where(mask[:, t, None], new, h). "
        "Collect h after each step, and stack along dimension 1.",
        "new = torch.tanh(x[:, t] @ W_ih.T + b_ih + h @ W_hh.T + b_hh); h = new if mask is None else "
        "torch.where(mask[:, t, None], new, h); states.append(h)",
    ),
)  # fmt: skip


def backward_cases(d):
    def drawn(B, T, E, D, dtype=torch.float32, only_last=False):
        w = weights(d, 1, E, D, dtype)
        x, h0 = d.normal(B, T, E, dtype=dtype), 0.5 * d.normal(B, D, dtype=dtype)
        hs, h = [], h0
        for t in range(T):
            h = torch.tanh(x[:, t] @ w["W_ih"].T + h @ w["W_hh"].T + w["b_ih"] + w["b_hh"])
            hs.append(h)
        dhs = d.normal(B, T, D, dtype=dtype)
        if only_last:
            dhs[:, :-1] = 0
        return {"x": x, "h0": h0, "hs": torch.stack(hs, 1), "dhs": dhs, "W_ih": w["W_ih"], "W_hh": w["W_hh"]}

    return [
        case("plain", "two sequences of three steps, an output at each", **drawn(2, 3, 3, 4)),
        case("plain", "five steps, an output at the last only", **drawn(2, 5, 2, 3, only_last=True)),
        case("plain", "float64, square weights", **drawn(3, 4, 3, 3, DOUBLE)),
        case("edge", "one step, one sequence", **drawn(1, 1, 2, 3)),
    ]


def backward_autograd(data):
    """Let autograd go back through the given states: their values are kept, and so are the slopes of tanh."""
    x, h0, W_ih, W_hh = (data[k].detach().clone().requires_grad_() for k in ("x", "h0", "W_ih", "W_hh"))
    bias = torch.zeros_like(h0[0]).requires_grad_()
    with torch.enable_grad():
        h, total = h0, 0
        for t in range(x.shape[1]):
            a = x[:, t] @ W_ih.T + h @ W_hh.T + bias
            h = torch.tanh(torch.atanh(data["hs"][:, t].detach()) + (a - a.detach()))
            total = total + (h * data["dhs"][:, t].detach()).sum()
        return torch.autograd.grad(total, [x, h0, W_ih, W_hh, bias])


def rnn_backward__lists(x, h0, hs, dhs, W_ih, W_hh):
    before = torch.cat([h0[:, None], hs[:, :-1]], dim=1)
    slope = 1 - hs.square()
    das, carried = [None] * x.shape[1], 0
    for t in range(x.shape[1] - 1, -1, -1):
        das[t] = (dhs[:, t] + carried) * slope[:, t]
        carried = das[t] @ W_hh
    da = torch.stack(das, dim=1)
    dW_hh = torch.einsum("btd,bte->de", da, before)
    return da @ W_ih, carried, da.flatten(0, 1).T @ x.flatten(0, 1), dW_hh, da.sum((0, 1))


def rnn_backward__recursive(x, h0, hs, dhs, W_ih, W_hh):
    T = x.shape[1]
    da = dhs[:, T - 1] * (1 - hs[:, T - 1] ** 2)
    before = h0 if T == 1 else hs[:, T - 2]
    if T == 1:
        return (da @ W_ih)[:, None], da @ W_hh, da.T @ x[:, 0], da.T @ before, da.sum(0)
    earlier = dhs[:, :-1].clone()
    earlier[:, -1] += da @ W_hh
    dx, dh0, dW_ih, dW_hh, db = rnn_backward__recursive(x[:, :-1], h0, hs[:, :-1], earlier, W_ih, W_hh)
    dx = torch.cat([dx, (da @ W_ih)[:, None]], dim=1)
    return dx, dh0, dW_ih + da.T @ x[:, -1], dW_hh + da.T @ before, db + da.sum(0)


RNN_BACKWARD = Exercise(
    name="rnn_backward",
    methods=("ch10/bptt",),
    core=True,
    groups={"plain": 3.0, "edge": 1.0},
    cases=backward_cases,
    oracle=backward_autograd,
    returns=("dx", "dh0", "dW_ih", "dW_hh", "db"),
    minutes=25,
    difficulty="hard",
    good_for="seeing with your own eyes why gradients vanish",
    alternatives=(alternative(rnn_backward__lists), alternative(rnn_backward__recursive)),
    misconceptions=(
        slip("not_through_time", {"(dh + dhs[:, t])": "dhs[:, t]"},
             "Only the output of step t sends its gradient back. The later states depend on hs[:, t], too: add what "
             "comes back from step t + 1.", "student mistake: no backpropagation through time"),
        slip("outputs_forgotten", {"(dh + dhs[:, t])": "(dh + (dhs[:, t] if t == x.shape[1] - 1 else 0))"},
             "You take dhs at the last step only. Every step has an output, and all of them send gradients.",
             "card trap: gradient from later steps AND from dhs[t]"),
        slip("state_after", {"before = hs[:, t - 1] if t > 0 else h0": "before = hs[:, t]"},
             "W_hh met the state BEFORE step t, hs[:, t - 1]; you multiply with the one after.",
             "student mistake: off by one step"),
        slip("zero_start", {"else h0": "else torch.zeros_like(h0)"},
             "At step 0 the state before is h0, not zero.", "student mistake: h0 forgotten in dW_hh"),
        slip("transposed", {"dh = da @ W_hh": "dh = da @ W_hh.T"},
             "Forward a row met W_hh.T; on the way back it meets W_hh.", "card trap: factor order"),
        slip("slope", {"(1 - hs[:, t] ** 2)": "(1 - hs[:, t])"},
             "The slope of tanh, from its value h, is 1 - h squared.", "student mistake: derivative of tanh"),
        slip("linear", {" * (1 - hs[:, t] ** 2)": ""},
             "The gradient must pass the tanh: multiply by its slope, 1 - h squared.",
             "student mistake: nonlinearity forgotten on the way back"),
        slip("last_step_only", {"dW_hh += da.T @ before": "dW_hh = da.T @ before"},
             "You overwrite dW_hh at every step. The same weights were used T times: add up.",
             "student mistake: shared weights are not summed"),
    ),
    hints=(
        "Step t's state goes two ways: to its own output, and into step t + 1. What comes back along each?",
        "From the last step to the first: da = (dh from later + dhs[:, t]) (1 - h^2). From da: dx[:, t], what is added "
        "to dW_ih, dW_hh (with the state before!) and db, and the dh for the step before.",
        "da = (dh + dhs[:, t]) * (1 - hs[:, t] ** 2); dx[:, t] = da @ W_ih; dW_ih += da.T @ x[:, t]; dW_hh += da.T @ "
        "before; db += da.sum(0); dh = da @ W_hh",
    ),
)  # fmt: skip


def clip_cases(d):
    long = [3 * d.normal(3, 4), 3 * d.normal(5), 3 * d.normal(2, 2, 2)]
    return [
        case("long", "three tensors, too long together", grads=long, most=1.0),
        case("long", "each is short, together they are too long", grads=[0.4 * F.normalize(d.normal(6), dim=0)
                                                                         for _ in range(9)], most=0.5),
        case("long", "float64", grads=[5 * d.normal(4, dtype=DOUBLE) + 2], most=0.25),
        case("short", "short enough", grads=[0.1 * d.normal(3), 0.1 * d.normal(2, 2)], most=5.0),
        case("short", "nothing but zeros", grads=[torch.zeros(3), torch.zeros(2, 2)], most=1.0),
    ]  # fmt: skip


def clip_library(data):
    leaves = [nn.Parameter(g.detach().clone()) for g in data["grads"]]
    for leaf, g in zip(leaves, data["grads"]):
        leaf.grad = g.detach().clone()
    norm = torch.nn.utils.clip_grad_norm_(leaves, data["most"])
    return [leaf.grad for leaf in leaves], norm


def clip_gradients__one_vector(grads, most):
    norm = torch.cat([g.flatten() for g in grads]).norm()
    return [g / max(1.0, float(norm) / most) for g in grads], norm


def clip_gradients__norms(grads, most):
    norm = torch.stack([g.norm() for g in grads]).norm()
    if norm <= most:
        return [g.clone() for g in grads], norm
    return [most * g / norm for g in grads], norm


def clip_gradients__each(grads, most):
    norm = torch.sqrt(sum(g.square().sum() for g in grads))
    return [g * min(1.0, most / max(float(g.norm()), 1e-12)) for g in grads], norm


def clip_gradients__values(grads, most):
    norm = torch.sqrt(sum(g.square().sum() for g in grads))
    return [g.clamp(-most, most) for g in grads], norm


CLIP_GRADIENTS = Exercise(
    name="clip_gradients",
    methods=("ch10/bptt",),
    groups={"long": 1.0, "short": 0.5},
    cases=clip_cases,
    returns=("gradients", "norm"),
    minutes=8,
    difficulty="easy",
    good_for="the cure for gradients that explode",
    alternatives=(alternative(clip_gradients__one_vector), alternative(clip_gradients__norms)),
    misconceptions=(
        slip("always", {"most / norm if norm > most else torch.ones_like(norm)": "most / norm"},
             "Short gradients are made LONGER. Only where the norm is above `most` anything changes.",
             "student mistake: normalising instead of clipping"),
        slip("squared", {"torch.sqrt(sum(g.square().sum() for g in grads))": "sum(g.square().sum() for g in grads)"},
             "That is the squared norm. Take the root.", "student mistake: root forgotten"),
        slip("new_norm", {"return [g * factor for g in grads], norm": 
                           "return [g * factor for g in grads], norm * factor"},
             "The norm to return is the old one, from before clipping.", "library difference: clip_grad_norm_ returns "
             "the old norm"),
        mistaken(clip_gradients__each,
                 "You clip every tensor by its own norm, which changes the direction. All tensors together are one "
                 "vector with one norm and one factor.", "card trap: global norm"),
        mistaken(clip_gradients__values,
                 "You cut single numbers off. Here the whole vector is shortened and keeps its direction.",
                 "library difference: clip_grad_value_"),
    ),
    hints=(
        "How long is a vector that is several vectors put end to end?",
        "The norm is the root of the sum of all squares, over all tensors. One factor for all: most / norm where "
        "norm > "
        "most, else 1.",
        "norm = torch.sqrt(sum(g.square().sum() for g in grads)); factor = most / norm if norm > most else 1",
    ),
)  # fmt: skip
