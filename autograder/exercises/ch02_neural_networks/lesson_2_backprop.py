"""Exercises of notebook 2, the network with one hidden layer: forward, XOR by hand, backward; the written question."""

import torch
import torch.nn.functional as F

from autograder.declare import Exercise, Question, Variant, alternative, case, slip
from autograder.exercises.ch02_neural_networks.common import DOUBLE, NO_AUTOGRAD, by_hand, named
from dlcv_lab.checking import probing


def network(d, D, K, dtype=torch.float32):
    """Draw weights whose answers are neither all yes nor all no."""
    return {
        "W": d.normal(K, D, dtype=dtype),
        "b": d.normal(K, dtype=dtype) + 0.5,
        "w": d.normal(K, dtype=dtype),
        "c": d.normal(dtype=dtype) + 1,
    }


def forward_cases(d):
    one = network(d, 2, 1)
    return [
        case("plain", "four points, two inputs, three hidden units", x=d.normal(4, 2), **network(d, 2, 3)),
        case("plain", "as many inputs as hidden units", x=d.normal(5, 3), **network(d, 3, 3)),
        case("plain", "float64", x=d.normal(3, 4, dtype=DOUBLE), **network(d, 4, 2, DOUBLE)),
        case("edge", "one hidden unit, c is a number", x=d.normal(6, 2), **one | {"c": d.real(0.5, 2.0)}),
        case("edge", "a single point with one input", x=d.normal(1, 1), **network(d, 1, 4)),
    ]


def forward_probe(ns, data):
    return named(probing.call(ns.two_layer_forward, **data), "h", "p")


def forward_library(data):
    h = F.linear(data["x"], data["W"], data["b"]).sigmoid()
    c = torch.as_tensor(data["c"], dtype=h.dtype).reshape(1)
    return {"h": h, "p": F.linear(h, data["w"][None], c).sigmoid().squeeze(1)}


def two_layer_forward__linear(x, W, b, w, c):
    h = F.linear(x, W, b).sigmoid()
    return h, torch.sigmoid((h * w).sum(1) + c)


def two_layer_forward__units(x, W, b, w, c):
    h = torch.stack([torch.sigmoid(x @ row + bias) for row, bias in zip(W, b)], dim=1)
    return h, torch.sigmoid(h @ w + c)


def two_layer_forward__standin(x, W, b, w, c):
    h = 1 / (1 + torch.exp(-(x @ W.T + b)))
    return h, 1 / (1 + torch.exp(-(h @ w + c)))


FORWARD = Variant(name="two_layer_forward", code=(two_layer_forward__standin,))

HIDDEN = "h = torch.sigmoid(x @ W.T + b)"
FORWARD_MISTAKES = (
    slip("no_hidden_squash", {HIDDEN: "h = x @ W.T + b"},
         "The hidden units return their activations unsquashed. Without the bend in between, the two layers are one "
         "linear layer.", "student mistake: nonlinearity at the output only"),
    slip("no_output_squash", {"p = torch.sigmoid(h @ w + c)": "p = h @ w + c"},
         "h is right. The output is a neuron, too: squash its activation.",
         "library difference: PyTorch networks usually end with scores"),
    slip("forgets_biases", {"x @ W.T + b": "x @ W.T", "h @ w + c": "h @ w"},
         "The biases are missing: + b for the hidden units, + c for the output.",
         "card trap: the slides write the network without biases"),
    slip("forgets_b", {"x @ W.T + b": "x @ W.T"},
         "The biases of the hidden units are missing: + b.", "card trap: the slides write the network without biases"),
    slip("forgets_c", {"h @ w + c": "h @ w"},
         "h is right. The bias of the output is missing: + c.",
         "card trap: the slides write the network without biases"),
    slip("not_transposed", {"x @ W.T": "x @ W"},
         "W has one row a hidden unit, shape (K, D), so the product with x (N, D) is x @ W.T. With as many inputs as "
         "units x @ W runs, and mixes up the weights.", "card trap: W transposed; Keras stores (D, K)"),
    slip("answer_first", {"return h, p": "return p, h"},
         "Both are right, in the wrong order: h first, then p.", "student mistake: order of a tuple"),
    slip("hidden_softmax", {HIDDEN: "h = torch.softmax(x @ W.T + b, dim=1)"},
         "Your hidden units share one softmax, so they always add up to 1. Each is a neuron of its own: sigmoid.",
         "student mistake: softmax of chapter 1 in the hidden layer"),
)  # fmt: skip

TWO_LAYER_FORWARD = Exercise(
    name="two_layer_forward",
    methods=("ch02/two_layer",),
    core=True,
    groups={"plain": 1.5, "edge": 0.5},
    cases=forward_cases,
    probe=forward_probe,
    oracle=forward_library,
    minutes=10,
    difficulty="easy",
    good_for="seeing a hidden layer as many neurons in one matrix product",
    hints=(
        "W has one row a hidden unit. Which product with x gives one number for each point and each unit?",
        "The hidden activations are x @ W.T + b, shape (N, K); squash them. The output neuron treats h as its input: "
        "h @ w + c, shape (N,); squash again.",
        "h = torch.sigmoid(x @ W.T + b); p = torch.sigmoid(h @ w + c); return h, p",
    ),
    alternatives=(
        alternative(two_layer_forward__linear),
        alternative(two_layer_forward__units),
    ),
    misconceptions=FORWARD_MISTAKES,
)


def xor_cases(d):
    corners = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    return [case("corners", "the corners (0, 0), (0, 1), (1, 0), (1, 1)", x=corners)]


def xor_probe(ns, data):
    answer = named(probing.call(ns.xor_weights), "W", "b", "w", "c")
    wrong = [name for name, part in answer.items() if getattr(part, "dtype", None) != torch.float32]
    if wrong:
        raise probing.Unusable(f"W, b, w, c must be float32 tensors; yours are not, at {', '.join(wrong)}")
    W, b, w, c = (part.double() for part in answer.values())
    if W.ndim != 2 or W.shape[1] != 2 or b.shape != W.shape[:1] or w.shape != W.shape[:1] or c.ndim != 0:
        shapes = ", ".join(str(list(part.shape)) for part in (W, b, w, c))
        raise probing.Unusable(f"W, b, w, c must have the shapes [K, 2], [K], [K], []; yours are {shapes}")
    p = torch.sigmoid(torch.sigmoid(data["x"].double() @ W.T + b) @ w + c)
    return ["yes" if a > 0.9 else "no" if a < 0.1 else "undecided" for a in p.tolist()]


def xor_weights__either_but_not():
    W = torch.tensor([[10.0, -10.0], [-10.0, 10.0]])
    return W, torch.tensor([-5.0, -5.0]), torch.tensor([12.0, 12.0]), torch.tensor(-6.0)


def xor_weights__four_corners():
    W = 20 * torch.tensor([[-1.0, -1], [-1, 1], [1, -1], [1, 1]])
    return W, torch.tensor([10.0, -10, -10, -30]), torch.tensor([-9.0, 9, 9, -9]), torch.tensor(0.0)


XOR_MISTAKES = (
    slip("inclusive_or", {"torch.tensor([8.0, -8.0])": "torch.tensor([8.0, 8.0])"},
         "Your network says yes at (1, 1), too: that is the inclusive or. The unit for 'both' must speak against.",
         "student mistake: or in place of exclusive or"),
    slip("mirrored", {"torch.tensor([8.0, -8.0])": "torch.tensor([-8.0, 8.0])", "torch.tensor(-4.0)":
                      "torch.tensor(4.0)"},
         "Yes and no are exchanged: your network answers 'are both equal?'. Change the signs of w and c.",
         "student mistake: wanted answers inverted"),
    slip("no_output_bias", {"torch.tensor(-4.0)": "torch.tensor(0.0)"},
         "Where no hidden unit speaks, the output is sigmoid(c) = 1/2. A negative c makes it say no.",
         "card trap: without an output bias"),
    slip("no_hidden_biases", {"torch.tensor([-3.0, -9.0])": "torch.tensor([0.0, 0.0])"},
         "Without biases both units draw their line through the origin and ask the same question. Move the lines "
         "between the corners.", "card trap: the slides write the network without biases"),
    slip("too_soft", {"torch.tensor([[6.0, 6.0], [6.0, 6.0]])": "torch.ones(2, 2)",
                      "torch.tensor([-3.0, -9.0])": "torch.tensor([-0.5, -1.5])",
                      "torch.tensor([8.0, -8.0])": "torch.tensor([1.0, -1.0])",
                      "torch.tensor(-4.0)": "torch.tensor(-0.5)"},
         "No answer of yours is sure, neither yes nor no. Long weights make sharp steps: multiply all weights and "
         "biases by 10, and look again.", "student mistake: weights of 1, as for a step function"),
)  # fmt: skip

XOR_WEIGHTS = Exercise(
    name="xor_weights",
    methods=("ch02/two_layer",),
    core=True,
    groups={"corners": 2.0},
    cases=xor_cases,
    probe=xor_probe,
    minutes=15,
    difficulty="medium",
    good_for="knowing what a hidden unit can say before any is trained",
    hints=(
        "If you could ask two yes/no questions that a single neuron can answer, which two would settle 'exactly one'?",
        "One unit: is at least one input large? Its line passes between (0, 0) and the others: x1 + x2 = 1/2. Another: "
        "are both large? x1 + x2 = 3/2. The output wants the first and not the second. Large weights make sure "
        "answers.",
        "W = [[6, 6], [6, 6]], b = [-3, -9]: the two questions. w = [8, -8], c = -4: the first, but not the second.",
    ),
    alternatives=(
        alternative(xor_weights__either_but_not),
        alternative(xor_weights__four_corners),
    ),
    misconceptions=XOR_MISTAKES,
)


def backward_cases(d):
    def net(group, note, n, D, K, dtype=torch.float32, **more):
        t = torch.arange(n).remainder(2).to(dtype)
        return case(group, note, x=d.normal(n, D, dtype=dtype), t=t, **network(d, D, K, dtype), **more)

    sure = {"W": torch.tensor([[1.0, -1.0]]), "b": torch.ones(1), "w": torch.tensor([200.0]), "c": torch.tensor(100.0)}
    cases = []
    for group in ("output", "hidden"):
        edge = {"ask": group}
        cases += [
            net(group, "seven points, three hidden units, no decay", 7, 2, 3),
            net(group, "alpha = 0.5", 5, 3, 4, alpha=0.5),
            net(group, "as many inputs as units, float64, alpha = 2", 6, 3, 3, DOUBLE, alpha=2.0),
            net("edge", "a single point, a single unit, alpha = 1", 1, 2, 1, alpha=1.0, **edge),
            case("edge", "p is exactly 1", x=d.normal(4, 2), t=torch.tensor([1.0, 0, 1, 0]), **sure, **edge),
        ]
    return cases


def output_probe(ns, data):
    grads = named(by_hand(ns.two_layer_backward, data), "dW", "db", "dw", "dc")
    return {"dw": grads["dw"], "dc": grads["dc"]}


def hidden_probe(ns, data):
    grads = named(by_hand(ns.two_layer_backward, data), "dW", "db", "dw", "dc")
    return {"dW": grads["dW"], "db": grads["db"]}


def backward_library(data, names):
    leaves = {k: data[k].detach().clone().requires_grad_() for k in ("W", "b", "w", "c")}
    h = F.linear(data["x"], leaves["W"], leaves["b"]).sigmoid()
    a = F.linear(h, leaves["w"][None], leaves["c"].reshape(1)).squeeze(1)
    decay = leaves["W"].square().sum() + leaves["w"].square().sum()
    M = F.binary_cross_entropy_with_logits(a, data["t"], reduction="sum") + data.get("alpha", 0.0) / 2 * decay
    return {"d" + k: torch.autograd.grad(M, leaves[k], retain_graph=True)[0] for k in names}


def output_library(data):
    return backward_library(data, ("w", "c"))


def hidden_library(data):
    return backward_library(data, ("W", "b"))


def two_layer_backward__einsum(x, t, W, b, w, c, alpha=0.0):
    h, p = two_layer_forward(x, W, b, w, c)
    error = p - t
    blame = torch.einsum("n,k,nk->nk", error, w, h - h * h)
    dW = torch.einsum("nk,nd->kd", blame, x) + alpha * W
    return dW, blame.sum(0), torch.einsum("n,nk->k", error, h) + alpha * w, error.sum()


def two_layer_backward__points(x, t, W, b, w, c, alpha=0.0):
    h, p = two_layer_forward(x, W, b, w, c)
    dW, db, dw, dc = alpha * W, torch.zeros_like(b), alpha * w, torch.zeros_like(p[0])
    for n in range(len(x)):
        e = p[n] - t[n]
        unit = e * w * h[n] * (1 - h[n])
        dW, db, dw, dc = dW + torch.outer(unit, x[n]), db + unit, dw + e * h[n], dc + e
    return dW, db, dw, dc


DECAY = "dw and dW hold the decay, too: + alpha * w, + alpha * W. Both kinds of weights pay."
BACKWARD_MISTAKES = (
    slip("mean", {"delta = p - t": "delta = (p - t) / len(t)"},
         "You take means over the points. G is a sum.", "card trap: sum, not mean"),
    slip("slope_twice", {"delta = p - t": "delta = (p - t) * p * (1 - p)"},
         "The factor p (1 - p) at the output is too much: it cancels against the derivative of the logarithm.",
         "student mistake: gradient of the squared error"),
    slip("forgets_slope", {"* w * h * (1 - h)": "* w"},
         "dw and dc are right. On its way into a hidden unit the error passes the sigmoid: times h (1 - h).",
         "student mistake: a factor of the chain rule left out"),
    slip("slope_of_the_output", {"* w * h * (1 - h)": "* w * (p * (1 - p))[:, None]"},
         "dw and dc are right. The sigmoid on the way into a hidden unit is its own: times h (1 - h), not p (1 - p).",
         "student mistake: the slope of another neuron"),
    slip("forgets_weights", {"delta[:, None] * w * h": "delta[:, None] * h"},
         "dw and dc are right. A hidden unit gets its share of the error through its weight: times w.",
         "student mistake: a factor of the chain rule left out"),
    slip("forgets_decay", {"delta @ h + alpha * w": "delta @ h", "delta_h.T @ x + alpha * W": "delta_h.T @ x"}, DECAY,
         "student mistake: optional argument never used"),
    slip("w_alone_decays", {"delta_h.T @ x + alpha * W": "delta_h.T @ x"}, DECAY,
         "student mistake: decay of one layer"),
    slip("biases_decay", {"dc = delta.sum()": "dc = delta.sum() + alpha * c",
                          "db = delta_h.sum(0)": "db = delta_h.sum(0) + alpha * b"},
         "With alpha = 0 you are right. E holds the weights only: biases do not decay.",
         "library difference: torch.optim decays every parameter"),
    slip("output_first", {"return dW, db, dw, dc": "return dw, dc, dW, db"},
         "The gradients stand in the wrong order: (dW, db, dw, dc), as the weights do in the signature.",
         "student mistake: returned in the order in which they were found"),
    slip("divides_by_p", {"delta = p - t": "delta = ((1 - t) / (1 - p) - t / p) * p * (1 - p)"},
         "Where p is exactly 0 or 1 you divide by zero. Multiply the two slopes on paper first: what is left is p - t.",
         "card trap: dG/dx and dx/da computed separately"),
)  # fmt: skip

TWO_LAYER_BACKWARD = Exercise(
    name="two_layer_backward",
    methods=("ch02/backprop",),
    core=True,
    groups={"output": 1.5, "hidden": 2.5, "edge": 1.0},
    cases=backward_cases,
    probe={"output": output_probe, "hidden": hidden_probe},
    oracle={"output": output_library, "hidden": hidden_library},
    uses=("two_layer_forward",),
    standins=(FORWARD,),
    minutes=25,
    difficulty="hard",
    good_for="back-propagation, once and for all: every deeper network repeats these lines",
    forbid=NO_AUTOGRAD,
    hints=(
        "Start at the end. What is the error at the output activation, and what did each weight there get as its "
        "input?",
        "delta = p - t, (N,). dw is delta times h, summed over the points, and dc the sum of delta. Each hidden unit "
        "gets delta times its weight w, times the slope h (1 - h) of its sigmoid: (N, K). From there on as at the "
        "output, with x in place of h. Weights decay, biases do not.",
        "delta_h = delta[:, None] * w * h * (1 - h); dW = delta_h.T @ x + alpha * W; db = delta_h.sum(0); "
        "dw = delta @ h + alpha * w; dc = delta.sum()",
    ),
    alternatives=(
        alternative(two_layer_backward__einsum),
        alternative(two_layer_backward__points),
    ),
    misconceptions=BACKWARD_MISTAKES,
)

WHY_THREE = Question(
    name="why_three",
    points=4,
    text="""In your run the disk inside the ring was cut out by three hidden units, and not by two.

1. Describe in words or with a sketch what region two hidden units with very sharp sigmoids can say "no" in, and why it
   can never be a bounded one.
2. Why are three enough?
3. Two units with *soft* sigmoids get more than 80 % right on these points. Is more training likely to bring them above
   95 %? Give one reason, or one measurement of this notebook, for your answer.

(About 120 words.)""",
    rubric="""\
* **1 (1.5 points)**: each sharp unit splits the plane along one line (half a point). Two lines cut it into at
  most four parts (a strip and two sides, or four wedges), all of which reach to infinity, so a ring around the disk is
  always crossed (one point).
* **2 (1 point)**: three half planes can meet in a triangle, which is bounded and can hold the disk; the output neuron
  says "no" only where all three agree.
* **3 (1.5 points)**: no. The verdict alone: half a point. A reason: the limit is the shape of the region, not the
  length of the training; or the measurement: two units end far below three after the same number of steps, at every
  start. "Soft units round the corners, yet the open ends of the strip stay" is a full answer.""",
    samples=(
        (
            4.0,
            "A sharp unit is 0 on one side of a line and 1 on the other. Two lines give a strip or wedges, and every "
            "such piece runs to infinity, so it leaves the disk and cuts through the ring. Three lines can form a "
            "triangle around the disk: no means inside all three. Training longer will not help two units, since the "
            "open ends of the strip remain; in the notebook 1500 steps gave about 80 % with two and 98 % with three.",
        ),
        (
            2.5,
            "Two units draw two lines, so the region is a strip and it is open. Three make a triangle. More training "
            "does not help.",
        ),
        (0.5, "Two units have too few parameters; three have more. With more training two would do it as well."),
    ),
)
