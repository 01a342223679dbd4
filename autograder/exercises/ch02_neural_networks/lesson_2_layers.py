"""Exercises of notebook 2 on many layers: backward through all of them, layers without a bend, a look inside."""

import itertools

import torch
import torch.nn.functional as F
from torch import nn

from autograder.declare import Exercise, alternative, case, slip
from autograder.exercises.ch02_neural_networks.common import DOUBLE, NO_AUTOGRAD, by_hand, named
from dlcv_lab.checking import probing


def layers(d, widths, dtype=torch.float32):
    return [(d.normal(o, i, dtype=dtype), d.normal(o, dtype=dtype)) for i, o in itertools.pairwise(widths)]


def mlp_cases(d):
    def net(group, note, n, widths, dtype=torch.float32):
        y = d.integers(0, widths[-1] - 1, n)
        return case(group, note, x=d.normal(n, widths[0], dtype=dtype), y=y, params=layers(d, widths, dtype))

    dead = net("edge", "a unit whose sum is exactly 0", 4, (3, 5, 3))
    W, b = dead.data["params"][0]
    W[1], b[1] = 0.0, 0.0
    return [
        net("shallow", "one layer: the linear classifier", 5, (4, 3)),
        net("shallow", "one hidden layer", 6, (3, 7, 4)),
        net("deep", "four layers, float64", 5, (4, 6, 5, 4, 3), DOUBLE),
        net("deep", "three square layers", 4, (3, 3, 3, 3)),
        net("edge", "a single point", 1, (2, 4, 3)),
        dead,
    ]


def mlp_probe(ns, data):
    answer = named(by_hand(ns.mlp_loss_grad, data), "loss", "grads")
    found = {"loss": answer["loss"]}
    if len(answer["grads"]) != len(data["params"]):
        raise probing.Unusable(f"one (dW, db) a layer is expected, {len(data['params'])} in all")
    for layer, pair in enumerate(answer["grads"], start=1):
        pair = named(pair, "dW", "db")
        found |= {f"dW of layer {layer}": pair["dW"], f"db of layer {layer}": pair["db"]}
    return found


def mlp_library(data):
    params = [tuple(q.detach().clone().requires_grad_() for q in layer) for layer in data["params"]]
    h = data["x"].detach()
    for W, b in params[:-1]:
        h = F.relu(F.linear(h, W, b))
    loss = F.cross_entropy(F.linear(h, *params[-1]), data["y"])
    flat = torch.autograd.grad(loss, [q for layer in params for q in layer])
    names = [f"d{name} of layer {layer}" for layer in range(1, len(params) + 1) for name in "Wb"]
    return {"loss": loss.detach(), **dict(zip(names, flat))}


def mlp_loss_grad__recursive(x, y, params):
    def through(h, rest):
        """Return the loss, the gradients of the layers in `rest`, and that of h."""
        (W, b), more = rest[0], rest[1:]
        a = F.linear(h, W, b)
        if more:
            loss, grads, dh = through(a.relu(), more)
            G = torch.where(a > 0, dh, torch.zeros_like(dh))
        else:
            log_p = a.log_softmax(1)
            loss, grads = F.nll_loss(log_p, y), []
            G = (log_p.exp() - torch.eye(a.shape[1], dtype=a.dtype)[y]) / len(y)
        return loss, [(torch.einsum("no,ni->oi", G, h), G.sum(0)), *grads], G @ W

    loss, grads, _ = through(x, params)
    return loss, grads


def mlp_loss_grad__stored_sums(x, y, params):
    inputs, sums = [], []
    for layer, (W, b) in enumerate(params):
        inputs.append(x if layer == 0 else sums[-1].clamp(min=0))
        sums.append(inputs[-1] @ W.T + b)
    p = torch.softmax(sums[-1], dim=1)
    loss = F.cross_entropy(sums[-1], y)
    p[torch.arange(len(y)), y] -= 1
    G, grads = p / len(y), [None] * len(params)
    for layer in range(len(params) - 1, -1, -1):
        grads[layer] = (G.T @ inputs[layer], G.sum(dim=0))
        if layer > 0:
            G = G @ params[layer][0] * (sums[layer - 1] > 0)
    return loss, grads


AFTER = "hs.append((hs[-1] @ W.T + b).clamp(min=0))"
MLP_MISTAKES = (
    slip("sum_not_mean", {"scores.shape[1])) / len(x)": "scores.shape[1]))"},
         "Your gradients are N times too large: the loss is a mean over the points, so divide the first G by N.",
         "card trap: mean over N; the neuron's objective was a sum"),
    slip("loss_is_a_sum", {"F.cross_entropy(scores, y)": 'F.cross_entropy(scores, y, reduction="sum")'},
         "Your gradients are right, and your loss is a sum: it is the mean over the points.",
         "student mistake: the neuron's objective was a sum"),
    slip("biases_averaged", {"G.sum(0)": "G.mean(0)"},
         "dW is right. The 1 / N is in G already: db is the sum of G over the points.",
         "student mistake: mean over N twice"),
    slip("no_relu_backward", {"(G @ W) * (h > 0)": "G @ W"},
         "One layer is right, more are not: on the way back the ReLU lets nothing through where its sum was not "
         "positive.", "student mistake: derivative of the activation forgotten"),
    slip("relu_for_its_slope", {"(h > 0)": "h"},
         "The slope of the ReLU is 1 or 0, and you multiply by its value.", "student mistake: value for slope"),
    slip("relu_on_scores", {"scores = hs[-1] @ W.T + b": "scores = (hs[-1] @ W.T + b).clamp(min=0)"},
         "You put a ReLU behind the last layer, too. Scores may be negative.",
         "student mistake: activation after every layer"),
    slip("no_relu", {AFTER: "hs.append(hs[-1] @ W.T + b)"},
         "There is no ReLU between your layers on the way forward.", "student mistake: activation forgotten"),
    slip("sigmoids", {AFTER: "hs.append((hs[-1] @ W.T + b).sigmoid())", "(h > 0)": "h * (1 - h)"},
         "Your layers are squashed by the sigmoid. Here a ReLU follows them: max(0, a), with slope 1 or 0.",
         "student mistake: the activation function of the exercise before"),
    slip("last_layer_first", {"grads[::-1]": "grads"},
         "Right gradients, wrong order: you found the last layer's first. Return them in the order of params.",
         "student mistake: order of the backward loop"),
    slip("uphill",
         {"scores.softmax(1) - F.one_hot(y, scores.shape[1])": "F.one_hot(y, scores.shape[1]) - scores.softmax(1)"},
         "The loss is right; all gradients have the wrong sign: it is probabilities minus truth.",
         "student mistake: truth minus prediction"),
)  # fmt: skip

MLP_LOSS_GRAD = Exercise(
    name="mlp_loss_grad",
    methods=("ch02/mlp", "ch02/backprop"),
    core=True,
    groups={"shallow": 2.0, "deep": 2.0, "edge": 1.0},
    cases=mlp_cases,
    probe=mlp_probe,
    oracle=mlp_library,
    minutes=30,
    difficulty="hard",
    good_for="a network of any depth, trained by nothing but your own code",
    forbid=NO_AUTOGRAD,
    hints=(
        "What does the backward pass of a layer need to remember from the forward pass? Keep that in a list.",
        "Forward: keep the input of every layer; ReLU after all but the last. Backward, from the last layer to the "
        "first: with G (N, out) of this layer, dW = G.T @ its input, db = G.sum(0), and for the layer below "
        "G = (G @ W), set to 0 where the ReLU was closed.",
        "G = (scores.softmax(1) - F.one_hot(y, C)) / N; for (W, _), h in zip(reversed(params), reversed(inputs)): "
        "grads.append((G.T @ h, G.sum(0))); G = (G @ W) * (h > 0). Then reverse grads.",
    ),
    alternatives=(
        alternative(mlp_loss_grad__recursive),
        alternative(mlp_loss_grad__stored_sums),
    ),
    misconceptions=MLP_MISTAKES,
)


def collapse_cases(d):
    return [
        case("plain", "two layers", params=layers(d, (3, 5, 2))),
        case("plain", "four layers, float64", params=layers(d, (4, 6, 1, 5, 3), DOUBLE)),
        case("plain", "three square layers", params=layers(d, (3, 3, 3, 3))),
        case("edge", "one layer", params=layers(d, (4, 2))),
    ]


def collapse_probe(ns, data):
    return named(probing.call(ns.collapse_linear, data["params"]), "W", "b")


def collapse_library(data):
    """Let a stack of nn.Linear process the origin and the unit vectors."""
    stack = nn.Sequential(*(nn.Linear(W.shape[1], W.shape[0], dtype=W.dtype) for W, _ in data["params"]))
    for part, (W, b) in zip(stack, data["params"]):
        part.weight.data, part.bias.data = W.detach(), b.detach()
    with torch.no_grad():
        b = stack(torch.zeros(1, stack[0].in_features, dtype=stack[0].weight.dtype))
        return {"W": (stack(torch.eye(stack[0].in_features, dtype=stack[0].weight.dtype)) - b).T, "b": b[0]}


def collapse_linear__pushes(params):
    h, origin = torch.eye(params[0][0].shape[1], dtype=params[0][0].dtype), 0 * params[0][0][0]
    for W, b in params:
        h, origin = h @ W.T, W @ origin + b
    return h.T, origin


def collapse_linear__recursive(params):
    (W, b), rest = params[0], params[1:]
    if not rest:
        return W, b
    after, offset = collapse_linear(rest)
    return after @ W, after @ b + offset


COLLAPSE_MISTAKES = (
    slip("wrong_order", {"W_next @ W,": "W @ W_next,"},
         "The later layer acts on the result of the earlier one, so its matrix stands on the left.",
         "card trap: order of the product"),
    slip("biases_added", {"W_next @ b + b_next": "b + b_next"},
         "An earlier bias passes through all later layers: it is multiplied by their matrices before the next one is "
         "added.", "card trap: bias order in collapse_linear"),
    slip("bias_through_the_product", {"W, b = W_next @ W, W_next @ b + b_next": "W = W_next @ W\nb = W @ b + b_next"},
         "The bias passes through the next layer alone: W_next @ b. You multiply it by the new W, the whole product.",
         "student mistake: W overwritten one line too early"),
    slip("last_bias_only", {"W_next @ b + b_next": "b_next"},
         "W is right. The earlier biases are lost: they pass through the later layers.",
         "student mistake: only the last bias kept"),
)  # fmt: skip

COLLAPSE_LINEAR = Exercise(
    name="collapse_linear",
    returns=("W", "b"),
    methods=("ch02/mlp",),
    groups={"plain": 1.5, "edge": 0.5},
    cases=collapse_cases,
    probe=collapse_probe,
    oracle=collapse_library,
    minutes=10,
    difficulty="medium",
    good_for="seeing why a network needs its bends",
    hints=(
        "What is W2 (W1 x + b1) + b2, with the brackets multiplied out?",
        "Begin with the first (W, b). Each further layer multiplies both from the left and adds its own bias.",
        "W, b = W_next @ W, W_next @ b + b_next",
    ),
    alternatives=(
        alternative(collapse_linear__pushes),
        alternative(collapse_linear__recursive),
    ),
    misconceptions=COLLAPSE_MISTAKES,
)


def look_cases(d):
    def look(group, note, n=3, inplace=False, training=False):
        weights = [d.normal(2, 1, 3, 3), d.normal(2), d.normal(3, 18), d.normal(3)]
        return case(group, note, x=d.normal(n, 1, 5, 5), weights=weights, inplace=inplace, training=training)

    return [
        look("plain", "a small network in evaluation mode"),
        look("plain", "a single input", n=1),
        look("modes", "the network was in training mode", training=True),
        look("modes", "a ReLU that works in place", inplace=True),
        look("modes", "both", n=4, inplace=True, training=True),
    ]


def look_probe(ns, data):
    parts = [nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(inplace=data["inplace"]), nn.Flatten(), nn.Linear(18, 3)]
    model = nn.Sequential(*parts)
    for name, value in zip(("0.weight", "0.bias", "4.weight", "4.bias"), data["weights"]):
        model.get_parameter(name).data = value.clone()
    model.to(data["x"].dtype).train(data["training"])
    outputs = probing.call(ns.layer_activations, model, data["x"])
    return {
        "outputs": [output.detach() for output in outputs],
        "gradients are kept": any(output.requires_grad for output in outputs),
        "in training mode afterwards": model.training,
    }


def layer_activations__prefixes(model, x):
    mode = model.training
    model.eval()
    with torch.no_grad():
        out = [model[: k + 1](x.clone()).reshape(len(x), -1).clone() for k in range(len(model))]
    model.train(mode)
    return out


def layer_activations__hooks(model, x):
    mode, out = model.training, []
    model.eval()

    def note(part, inputs, output):
        out.append(output.detach().clone().flatten(1))

    hooks = [part.register_forward_hook(note) for part in model]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    model.train(mode)
    return out


LISTENS = "x = part(x)\nout.append(x.flatten(1).clone())"
LOOK_MISTAKES = (
    slip("stays_in_training", {"model.eval()": ""},
         "A network found in training mode computes in training mode here (batch norm then uses the batch's own mean). "
         "Call model.eval() first.", "student mistake: evaluation mode forgotten"),
    slip("mode_not_restored", {"model.train(was_training)": ""},
         "The activations are right, but you leave the network in evaluation mode. Put it back as you found it.",
         "card trap: eval mode must be restored"),
    slip("always_training", {"model.train(was_training)": "model.train()"},
         "The activations are right, but you put every network into training mode afterwards. Note model.training "
         "first, and put the mode back as you found it.", "student mistake: model.train() as the end of model.eval()"),
    slip("keeps_gradients", {"with torch.no_grad():": "with torch.enable_grad():"},
         "Your tensors still hold the graph for gradients, and with it the memory of the whole network: work under "
         "torch.no_grad().", "card trap: no gradients kept"),
    slip("not_cloned", {"x.flatten(1).clone()": "x.flatten(1)"},
         "A ReLU that works in place overwrites the tensor you recorded just before. Record a clone.",
         "card trap: in-place ReLU corrupts the stored activation"),
    slip("not_flattened", {"x.flatten(1).clone()": "x.clone()"},
         "Right numbers, not flattened: each entry has the shape (N, features).",
         "student mistake: maps returned as maps"),
    slip("hands_on_flattened", {LISTENS: "x = part(x).flatten(1).clone()\nout.append(x)"},
         "You flatten what you hand on, and the next part cannot read it. Flatten only what you record.",
         "student mistake: one variable for two things"),
    slip("with_the_input", {"out = []": "out = [x.flatten(1)]"},
         "You also return the input. The first entry is what the first part hands on.",
         "student mistake: h_0 counted as a layer"),
)  # fmt: skip

LAYER_ACTIVATIONS = Exercise(
    name="layer_activations",
    methods=("ch02/hierarchical_features",),
    core=True,
    groups={"plain": 1.0, "modes": 1.0},
    cases=look_cases,
    probe=look_probe,
    minutes=10,
    difficulty="medium",
    good_for="looking inside any network, from here to the last chapter",
    hints=(
        "A Sequential is a list of parts: `for part in model`. What does each part get?",
        "Note model.training, call model.eval(), send x through one part after the other under torch.no_grad(), "
        "record x.flatten(1).clone() each time, and put the mode back with model.train(...).",
        "for part in model: x = part(x); out.append(x.flatten(1).clone())",
    ),
    alternatives=(
        alternative(layer_activations__prefixes),
        alternative(layer_activations__hooks),
    ),
    misconceptions=LOOK_MISTAKES,
)
