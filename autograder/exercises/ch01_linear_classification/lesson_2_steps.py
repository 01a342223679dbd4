"""Exercises of notebook 2 about steps: gradient descent, and its stochastic form."""

import torch
import torch.nn.functional as F

from autograder.declare.draws import case
from autograder.declare.exercise import Alternative, Exercise, Variant
from autograder.declare.slips import slip
from dlcv_lab.checking import probing
from dlcv_lab.checking.model import Forbid

DOUBLE = torch.float64
NO_OPTIMIZER = Forbid(names=("torch.optim",))


def gradient_descent_cases(d):
    n = d.whole(3, 5)

    def bowl(group, note, w0, lr, steps):
        M = d.normal(w0.shape[0], w0.shape[0], dtype=DOUBLE)
        return case(group, note, A=M @ M.T / w0.shape[0] + torch.eye(w0.shape[0]), w0=w0, lr=lr, steps=steps)

    return [
        bowl("plain", "a bowl", d.normal(n, dtype=DOUBLE), 0.1, d.whole(4, 7)),
        bowl("plain", "a matrix of weights", d.normal(n, 2, dtype=DOUBLE), 0.05, 3),
        bowl("edge", "no step", d.normal(n, dtype=DOUBLE), 0.1, 0),
        bowl("edge", "one step", d.normal(n, dtype=DOUBLE), 0.3, 1),
    ]


def gradient_descent_probe(ns, data):
    return probing.call(ns.gradient_descent, lambda w: data["A"] @ w, data["w0"], lr=data["lr"], steps=data["steps"])


def gradient_descent_oracle(data):
    step = torch.eye(len(data["A"]), dtype=data["A"].dtype) - data["lr"] * data["A"]
    return torch.stack([torch.linalg.matrix_power(step, k) @ data["w0"] for k in range(data["steps"] + 1)])


def gradient_descent__fills(grad_fn, w0, *, lr, steps):
    path = torch.empty(steps + 1, *w0.shape, dtype=w0.dtype)
    path[0] = w0
    for k in range(steps):
        path[k + 1] = path[k] - lr * grad_fn(path[k].clone())
    return path


def gradient_descent__copies(grad_fn, w0, *, lr, steps):
    w, seen = w0.clone(), [w0.clone()]
    while len(seen) <= steps:
        w -= lr * grad_fn(w)
        seen.append(w.clone())
    return torch.stack(seen)


GRADIENT_DESCENT = Exercise(
    name="gradient_descent",
    methods=("ch01/gradient_descent",),
    core=True,
    groups={"plain": 1.5, "edge": 0.5},
    cases=gradient_descent_cases,
    probe=gradient_descent_probe,
    oracle=gradient_descent_oracle,
    forbid=NO_OPTIMIZER,
    minutes=10,
    difficulty="easy",
    good_for="the loop that trains everything in this book",
    hints=(
        "How many entries has the path after no step at all? And after one?",
        "Keep a list that starts with w0. In each turn compute the new w from the last one, as a new tensor, and "
        "append it. At the end stack the list.",
        "w = w - lr * grad_fn(w) in a loop over range(steps), path.append(w); return torch.stack(path).",
    ),
    alternatives=(
        Alternative(name="fills", code=(gradient_descent__fills,)),
        Alternative(name="copies", code=(gradient_descent__copies,)),
    ),
    misconceptions=(
        slip(
            "uphill",
            {"w - lr": "w + lr"},
            "You walk uphill. The gradient points to where the loss grows; step against it.",
            "student mistake: sign",
        ),
        slip(
            "stale",
            {"grad_fn(w)": "grad_fn(w0)"},
            "Your first step is right, the others use the slope of the start. Ask for the gradient where you are now.",
            "student mistake: gradient computed once",
        ),
        slip(
            "one_tensor",
            {"w = w - lr * grad_fn(w)": "w -= lr * grad_fn(w)"},
            "All places of your path are the same, the last one: -= changes the tensor that the list already holds. "
            "Make a new one, w = w - ..., or append a clone.",
            "card trap: aliasing; the slide's own w -= learning_rate * dw",
        ),
        slip(
            "one_tensor_w0",
            {"w = w0.clone()": "w = w0", "w = w - lr * grad_fn(w)": "w -= lr * grad_fn(w)"},
            "All places of your path are one and the same tensor, w0 itself: -= changes it in place, and the list "
            "holds it again and again. Make a new tensor in each step, w = w - ...; then w0 stays as it is, too.",
            "card trap: aliasing; the slide's own w -= learning_rate * dw",
        ),
        slip(
            "end_only",
            {"return torch.stack(path)": "return w"},
            "You return the last weights. The whole path is asked for, the start included: steps + 1 entries.",
            "student mistake: result for path",
        ),
        slip(
            "without_the_start",
            {"path = [w]": "path = []", "return torch.stack(path)": "return torch.stack(path) if path else w[:0]"},
            "The start is missing: path[0] is w0, so that there are steps + 1 entries.",
            "student mistake: fence posts",
        ),
    ),
)


def max_stable_lr_cases(d):
    def bowl(values):
        n = len(values)
        Q = torch.linalg.qr(d.normal(n, n, dtype=DOUBLE)).Q
        return Q @ torch.diag(torch.tensor(values, dtype=DOUBLE)) @ Q.T

    a = d.real(2.0, 5.0)
    return [
        case("plain", "a tilted bowl", A=bowl([a, 1.0, 0.5])),
        case("plain", "a valley with a flat floor", A=bowl([a, a / 3, 0.0, 0.0])),
        case("edge", "one weight", A=torch.tensor([[a]])),
        case("edge", "a plain", A=torch.zeros(2, 2)),
    ]


def max_stable_lr__norm(A):
    steepest = torch.linalg.matrix_norm(A, 2).item()
    return float("inf") if steepest == 0 else 2.0 / steepest


def max_stable_lr__all(A):
    limits = [2 / v for v in torch.linalg.eigvalsh(A).tolist() if v > 0]
    return min(limits, default=float("inf"))


MAX_STABLE_LR = Exercise(
    name="max_stable_lr",
    methods=("ch01/gradient_descent",),
    groups={"plain": 1.0, "edge": 0.5},
    cases=max_stable_lr_cases,
    minutes=6,
    difficulty="medium",
    good_for="knowing why a training explodes, and at which learning rate",
    hints=(
        "Which direction of the bowl breaks first when the learning rate grows?",
        "torch.linalg.eigvalsh(A) gives the eigenvalues of a symmetric matrix, from small to large. The largest one "
        "sets the limit. Think of A = 0 before you divide.",
        "steepest = float(torch.linalg.eigvalsh(A).max()); 2 / steepest, or float('inf') if steepest is 0.",
    ),
    alternatives=(
        Alternative(name="norm", code=(max_stable_lr__norm,)),
        Alternative(name="all", code=(max_stable_lr__all,)),
    ),
    misconceptions=(
        slip(
            "one_over",
            {"2 / steepest": "1 / steepest"},
            "At 1 / lambda the steepest direction is done in a single step. It breaks at twice that rate: 2 / lambda.",
            "library difference: the step 1/L of optimization textbooks",
        ),
        slip(
            "flattest",
            {".max()": ".min()"},
            "You use the smallest eigenvalue, the flattest direction. The steepest one breaks first.",
            "student mistake: min for max",
        ),
        slip(
            "diagonal",
            {"torch.linalg.eigvalsh(A).max()": "A.diagonal().max()"},
            "You read the diagonal. If the bowl is tilted, its steepest direction lies between the axes: take "
            "eigenvalues.",
            "student mistake: diagonal for eigenvalues",
        ),
        slip(
            "divides_by_zero",
            {'2 / steepest if steepest > 0 else float("inf")': "2 / steepest"},
            "On a plain (A = 0) no step is too large: return infinity in place of dividing by 0.",
            "student mistake: the limit case",
        ),
    ),
)


def sgd_step_cases(d):
    n = d.whole(3, 5)

    def step(group, note, v=False, **options):
        tensors = {"w": d.normal(n, 2, dtype=DOUBLE), "g": d.normal(n, 2, dtype=DOUBLE)}
        return case(
            group, note, **tensors, v=d.normal(n, 2, dtype=DOUBLE) if v else None, lr=d.real(0.2, 0.4), **options
        )

    return [
        step("plain", "the first step"),
        step("plain", "a later step without momentum", v=True),
        step("momentum", "the first step with momentum", momentum=0.9),
        step("momentum", "a later step with momentum", v=True, momentum=0.8),
        step("decay", "weight decay", weight_decay=0.3),
        step("decay", "weight decay and momentum", v=True, momentum=0.9, weight_decay=0.2),
    ]


def sgd_step_oracle(data):
    w = data["w"].detach().clone()
    options = {k: data[k] for k in ("lr", "momentum", "weight_decay") if k in data}
    if not options.get("momentum"):
        return NotImplemented  # torch keeps no velocity then
    optimizer = torch.optim.SGD([w], **options)
    if data["v"] is not None:
        optimizer.state[w]["momentum_buffer"] = data["v"].detach().clone()
    w.grad = data["g"].detach().clone()
    optimizer.step()
    return w, optimizer.state[w]["momentum_buffer"]


def sgd_step__lerp(w, g, v, *, lr, momentum=0.0, weight_decay=0.0):
    total = torch.add(g, w, alpha=weight_decay)
    if v is not None:
        total = torch.add(total, v, alpha=momentum)
    return torch.sub(w, total, alpha=lr), total


def sgd_step__zero_velocity(w, g, v, *, lr, momentum=0.0, weight_decay=0.0):
    old = torch.zeros_like(w) if v is None else v
    new = momentum * old + (g + weight_decay * w)
    moved = w.clone()
    moved -= lr * new
    return moved, new


SGD_STEP = Exercise(
    name="sgd_step",
    returns=("w", "v"),
    methods=("ch01/sgd",),
    core=True,
    groups={"plain": 0.5, "momentum": 1.0, "decay": 0.5},
    cases=sgd_step_cases,
    oracle=sgd_step_oracle,
    forbid=NO_OPTIMIZER,
    minutes=10,
    difficulty="easy",
    good_for="reading optimizer code: what momentum and weight decay do, and in which order",
    hints=(
        "What is the velocity after the first step, when there was none before?",
        "Three lines, in the order of the text: add the weight decay to g; mix the old velocity with it (or start with "
        "it); move w against the new velocity. New tensors each time.",
        "g = g + weight_decay * w; v = g if v is None else momentum * v + g; return w - lr * v, v.",
    ),
    alternatives=(
        Alternative(name="lerp", code=(sgd_step__lerp,)),
        Alternative(name="zero_velocity", code=(sgd_step__zero_velocity,)),
    ),
    misconceptions=(
        slip(
            "rate_inside",
            {
                "v = g if v is None else momentum * v + g": "v = lr * g if v is None else momentum * v + lr * g",
                "w - lr * v": "w - v",
            },
            "You put the learning rate into the velocity. Here v is a sum of gradients, and lr multiplies it in the "
            "step.",
            "card trap: two conventions; they differ when lr changes",
        ),
        slip(
            "averages",
            {"momentum * v + g": "momentum * v + (1 - momentum) * g"},
            "You average: the new gradient is multiplied by 1 - momentum. Here it is added whole, v = momentum * v + "
            "g.",
            "library difference: dampening in torch.optim.SGD, and Adam's running mean",
        ),
        slip(
            "decay_beside",
            {"g = g + weight_decay * w": "", "return w - lr * v, v": "return w - lr * (v + weight_decay * w), v"},
            "Your weight decay goes past the velocity. In this order it is added to g first, so v carries it, too.",
            "library difference: decoupled weight decay (AdamW)",
        ),
        slip(
            "step_by_g",
            {"return w - lr * v, v": "return w - lr * g, v"},
            "You compute the velocity, and then step by g. The step is lr times v.",
            "student mistake: velocity not used",
        ),
        slip(
            "in_place",
            {"return w - lr * v, v": "w -= lr * v\nreturn w, v"},
            "The numbers are right, but you changed the tensor that came in: w -= works in place. Return a new one.",
            "library difference: optimizers change the weights in place",
        ),
        slip(
            "old_velocity",
            {
                "return w - lr * v, v": "return w - lr * (g if velocity is None else velocity), v",
                "g = g + weight_decay * w": "g, velocity = g + weight_decay * w, v",
            },
            "w moves along the velocity that came in. Compute the new one first, and move along that.",
            "student mistake: the lines in another order",
        ),
    ),
)


def softmax_loss_grad__standin(X, y, W, b, *, l2=0.0):
    leaves = [W.detach().requires_grad_(), b.detach().requires_grad_()]
    with torch.enable_grad():
        loss = F.cross_entropy(F.linear(X, *leaves), y) + 0.5 * l2 * leaves[0].square().sum()
        return loss.detach(), *torch.autograd.grad(loss, leaves)


def sgd_step__standin(w, g, v, *, lr, momentum=0.0, weight_decay=0.0):
    leaf = w.detach().clone()
    leaf.grad = g.detach().clone()
    optimizer = torch.optim.SGD([leaf], lr=lr, momentum=momentum, weight_decay=weight_decay)
    if v is not None and momentum:
        optimizer.state[leaf]["momentum_buffer"] = v.clone()
    optimizer.step()
    return leaf, optimizer.state[leaf].get("momentum_buffer", g)


def train_cases(d):
    def training(group, note, N, batch_size, epochs, momentum=0.0):
        X, y = d.normal(N, 4, dtype=DOUBLE), torch.arange(N) % 3
        perms = [d.permutation(N) for _ in range(epochs)]
        options = {"momentum": momentum} if momentum else {}
        return case(group, note, X=X, y=y, num_classes=3, lr=0.4, batch_size=batch_size, perms=perms, **options)

    size = d.whole(3, 4)
    return [
        case("batches", "a smaller last batch", perm=d.permutation(3 * size + 1), batch_size=size),
        case(
            "batches", "the last batch is left out", perm=d.permutation(3 * size + 1), batch_size=size, drop_last=True
        ),
        case("batches", "nothing left over", perm=d.permutation(3 * size), batch_size=size),
        case("batches", "nothing to leave out", perm=d.permutation(3 * size), batch_size=size, drop_last=True),
        case("batches", "more room than pictures", perm=d.permutation(size), batch_size=2 * size),
        training("training", "two epochs", 3 * size + 1, size, 2),
        training("training", "one batch with all", 9, 9, 2),
        training("momentum", "momentum over two epochs", 3 * size + 1, size, 2, momentum=0.9),
        training("momentum", "momentum, all batches of one size", 3 * size, size, 2, momentum=0.9),
    ]


def train_probe(ns, data):
    rest = dict(data)
    W, b = probing.call(ns.train_softmax_sgd, rest.pop("X"), rest.pop("y"), rest.pop("num_classes"), **rest)
    return {"W": W, "b": b}


def train_oracle(data):
    layer = torch.nn.Linear(data["X"].shape[1], data["num_classes"], dtype=data["X"].dtype)
    for part in layer.parameters():
        torch.nn.init.zeros_(part)
    optimizer = torch.optim.SGD(layer.parameters(), lr=data["lr"], momentum=data.get("momentum", 0.0))
    for perm in data["perms"]:
        for batch in perm.split(data["batch_size"]):
            optimizer.zero_grad()
            F.cross_entropy(layer(data["X"].detach()[batch]), data["y"][batch]).backward()
            optimizer.step()
    return {"W": layer.weight.detach(), "b": layer.bias.detach()}


def minibatches__split(perm, batch_size, *, drop_last=False):
    return [part for part in torch.split(perm, batch_size) if len(part) == batch_size or not drop_last]


def minibatches__while(perm, batch_size, *, drop_last=False):
    batches = []
    while len(perm) >= batch_size or (len(perm) and not drop_last):
        batches.append(perm[:batch_size])
        perm = perm[batch_size:]
    return batches


def train_softmax_sgd__slices(X, y, num_classes, *, lr, batch_size, perms, momentum=0.0):
    W, b = torch.zeros(num_classes, X.shape[1], dtype=X.dtype), torch.zeros(num_classes, dtype=X.dtype)
    speed = [torch.zeros_like(W), torch.zeros_like(b)]
    for perm in perms:
        rows, labels = X[perm], y[perm]
        for start in range(0, len(perm), batch_size):
            part = slice(start, start + batch_size)
            _, dW, db = softmax_loss_grad(rows[part], labels[part], W, b)
            W, speed[0] = sgd_step(W, dW, speed[0], lr=lr, momentum=momentum)
            b, speed[1] = sgd_step(b, db, speed[1], lr=lr, momentum=momentum)
    return W, b


TRAIN = Exercise(
    name="train_softmax_sgd",
    defines=("minibatches", "train_softmax_sgd"),
    methods=("ch01/sgd",),
    core=True,
    groups={"batches": 1.0, "training": 1.5, "momentum": 0.5},
    cases=train_cases,
    probe={"batches": "minibatches", "training": train_probe, "momentum": train_probe},
    oracle={"training": train_oracle, "momentum": train_oracle},
    uses=("softmax_loss_grad", "sgd_step"),
    standins=(
        Variant(name="softmax_loss_grad", code=(softmax_loss_grad__standin,)),
        Variant(name="sgd_step", code=(sgd_step__standin,)),
    ),
    forbid=NO_OPTIMIZER,
    minutes=20,
    difficulty="medium",
    good_for="epochs, batches and steps: the vocabulary of every training log",
    hints=(
        "An epoch is one entry of perms. Which pictures belong to its second batch?",
        "minibatches: slices of perm that begin at 0, batch_size, 2 * batch_size ... Training: two loops, over perms "
        "and over its batches; inside, softmax_loss_grad on X[batch], y[batch], then sgd_step for W and for b, each "
        "with its own velocity that begins as None before both loops.",
        "[perm[start : start + batch_size] for start in range(0, len(perm), batch_size)], minus a short last one if "
        "drop_last. Then: _, dW, db = softmax_loss_grad(X[batch], y[batch], W, b); "
        "W, vW = sgd_step(W, dW, vW, lr=lr, momentum=momentum), and b likewise.",
    ),
    alternatives=(
        Alternative(name="split", code=(minibatches__split,)),
        Alternative(name="slices", code=(minibatches__while, train_softmax_sgd__slices)),
    ),
    misconceptions=(
        slip(
            "ignores_the_order",
            {"perm[start : start + batch_size]": "torch.arange(start, min(start + batch_size, len(perm)))"},
            "Your batches count 0, 1, 2 ... They must follow the order of perm.",
            "student mistake: slicing the places in place of the order",
        ),
        slip(
            "always_drops",
            {"if drop_last and batches": "if batches"},
            "You leave out the smaller last batch even when drop_last is False.",
            "library difference: DataLoader(drop_last=True)",
        ),
        slip(
            "never_drops",
            {"batches.pop()": "pass"},
            "With drop_last=True a last batch that is smaller has to go.",
            "student mistake: option not used",
        ),
        slip(
            "empty_batch",
            {"range(0, len(perm), batch_size)": "range(0, len(perm) + 1, batch_size)"},
            "Where nothing is left over, you add an empty batch. It is a step too many: there is no picture in it, but "
            "with momentum the weights move on.",
            "student mistake: the rest appended without a look at whether there is one",
        ),
        slip(
            "all_the_data",
            {"X[batch], y[batch]": "X, y"},
            "Each of your steps uses all pictures. The gradient of a step comes from its batch alone: X[batch], "
            "y[batch].",
            "student mistake: full gradient inside the loop over batches",
        ),
        slip(
            "first_epoch_only",
            {"for perm in perms:": "for perm in perms[:1]:"},
            "You stop after the first epoch. perms has one order of visit for each.",
            "student mistake: return inside the loop",
        ),
        slip(
            "weighs_the_last",
            {
                "_, dW, db = softmax_loss_grad(X[batch], y[batch], W, b)": "_, dW, db = softmax_loss_grad(X[batch], "
                "y[batch], W, b)\ndW, db = dW * len(batch) / batch_size, db * len(batch) / batch_size"
            },
            "You multiply the gradient of a smaller last batch by its share. Every batch is one whole step: the mean "
            "over its own pictures.",
            "student mistake: batches weighted by their size",
        ),
        slip(
            "velocity_not_kept",
            {"W, vW = sgd_step": "W, _ = sgd_step", "b, vb = sgd_step": "b, _ = sgd_step"},
            "Without momentum you are right. sgd_step returns the new velocity beside the weights: keep it, and give "
            "it to the next step.",
            "student mistake: the second result thrown away",
        ),
        slip(
            "velocity_forgotten",
            {"for perm in perms:": "for perm in perms:\n    vW, vb = None, None"},
            "Without momentum you are right. The velocities live on from epoch to epoch: set them to None once, before "
            "both loops.",
            "student mistake: an optimizer made anew in every epoch",
        ),
    ),
)
