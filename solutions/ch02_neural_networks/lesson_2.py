"""Hidden layers: forward, backward by hand, many layers, activation functions, and a look inside.

Notebook 2 of chapter 2. Axes: N points, D inputs, K hidden units, C classes. `W` (K, D) and `b` (K,) belong to the
hidden units, `w` (K,) and `c` () to the output neuron.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

Params = list[tuple[Tensor, Tensor]]


def two_layer_forward(
    x: Float[Tensor, "N D"],
    W: Float[Tensor, "K D"],
    b: Float[Tensor, "K"],
    w: Float[Tensor, "K"],
    c: float | Tensor,
) -> tuple[Float[Tensor, "N K"], Float[Tensor, "N"]]:
    """Run points through K hidden neurons and one output neuron.

    Hidden unit k is a neuron with weights W[k] and bias b[k]: h_k = sigmoid(W[k] . x +
    b_k). The output is a neuron that looks at h: p = sigmoid(w . h + c). torch.sigmoid
    is allowed.

    Returns:
        (h, p): h (N, K), what the hidden units say, and p (N,), the answer.
    """
    ### BEGIN SOLUTION
    h = torch.sigmoid(x @ W.T + b)  # (N, D) @ (D, K) -> (N, K)
    p = torch.sigmoid(h @ w + c)  # (N, K) @ (K,) -> (N,)
    return h, p
    ### END SOLUTION


def xor_weights() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Choose the weights of a two-layer network by hand, so that it computes XOR.

    The inputs are the corners (0, 0), (0, 1), (1, 0), (1, 1). `two_layer_forward` with
    your weights must answer above .9 at (0, 1) and (1, 0), and below .1 at (0, 0) and
    (1, 1).

    Returns:
        (W, b, w, c), float32: W (K, 2), b (K,), w (K,), c a tensor with one number and
        no axes. K is yours to choose.
    """
    ### BEGIN SOLUTION
    W = torch.tensor([[6.0, 6.0], [6.0, 6.0]])
    b = torch.tensor([-3.0, -9.0])  # is at least one input large? are both?
    w = torch.tensor([8.0, -8.0])  # the first, but not the second
    c = torch.tensor(-4.0)
    return W, b, w, c
    ### END SOLUTION


def two_layer_backward(
    x: Float[Tensor, "N D"],
    t: Float[Tensor, "N"],
    W: Float[Tensor, "K D"],
    b: Float[Tensor, "K"],
    w: Float[Tensor, "K"],
    c: float | Tensor,
    alpha: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients (dW, db, dw, dc) of M = G + alpha * E, by hand.

    The network is that of `two_layer_forward`; each gradient has its weight's shape.

    G = -sum over n of [t log p + (1 - t) log(1 - p)], a sum over the points. E = (1/2)
    (sum of w_k squared + sum of W_kd squared): weights pay, biases do not. No autograd,
    and finite also where p is exactly 0 or 1.
    """
    h, p = two_layer_forward(x, W, b, w, c)
    ### BEGIN SOLUTION
    delta = p - t  # (N,) dG/da, the error at the output
    dw = delta @ h + alpha * w
    dc = delta.sum()
    delta_h = delta[:, None] * w * h * (1 - h)  # (N, K) dG/da_k, the hidden errors
    dW = delta_h.T @ x + alpha * W
    db = delta_h.sum(0)
    return dW, db, dw, dc
    ### END SOLUTION


def activation(name: str, a: Tensor) -> Tensor:
    """Apply an activation function, element by element.

    `name` is one of: "sigmoid"; "tanh"; "relu", max(0, a); "leaky_relu", a where a > 0
    and .01 a elsewhere; "gelu", a * Phi(a) with Phi the distribution function of the
    standard normal, (1 + erf(a / sqrt(2))) / 2; "silu", a * sigmoid(a). torch.sigmoid,
    torch.tanh, torch.exp and torch.erf are allowed.

    Raises:
        ValueError: another name.
    """
    ### BEGIN SOLUTION
    if name == "sigmoid":
        return torch.sigmoid(a)
    if name == "tanh":
        return torch.tanh(a)
    if name == "relu":
        return a * (a > 0)
    if name == "leaky_relu":
        return torch.where(a > 0, a, 0.01 * a)
    if name == "gelu":
        return a * (1 + torch.erf(a / math.sqrt(2))) / 2
    if name == "silu":
        return a * torch.sigmoid(a)
    raise ValueError(f"no activation function is called {name!r}")
    ### END SOLUTION


def activation_grad(name: str, a: Tensor) -> Tensor:
    """Return the slope of `activation(name, a)` at every element of a, by hand.

    At a = 0 that of "relu" is 0 and that of "leaky_relu" is .01. The density of the
    standard normal is exp(-a*a / 2) / sqrt(2 pi).

    Raises:
        ValueError: another name.
    """
    ### BEGIN SOLUTION
    s = torch.sigmoid(a)
    if name == "sigmoid":
        return s * (1 - s)
    if name == "tanh":
        return 1 - torch.tanh(a) ** 2
    if name == "relu":
        return (a > 0).to(a.dtype)
    if name == "leaky_relu":
        return torch.where(a > 0, torch.ones_like(a), torch.full_like(a, 0.01))
    if name == "gelu":
        density = torch.exp(-a * a / 2) / math.sqrt(2 * math.pi)
        return (1 + torch.erf(a / math.sqrt(2))) / 2 + a * density
    if name == "silu":
        return s + a * s * (1 - s)
    raise ValueError(f"no activation function is called {name!r}")
    ### END SOLUTION


def gradient_norms(
    name: str,
    depth: int,
    width: int = 64,
    rng: torch.Generator | None = None,
) -> list[float]:
    """Return the mean |dG/dW| of each layer of a fresh deep network, first layer first.

    128 random inputs, random classes. W has variance 2 / width for ReLU (He), else
    1 / width (Glorot).
    """
    rng = torch.Generator().manual_seed(0) if rng is None else rng
    gain = 2.0 if name == "relu" else 1.0
    weights = torch.randn(depth, width, width, generator=rng) * math.sqrt(gain / width)
    weights.requires_grad_()
    h = torch.randn(128, width, generator=rng)
    for W in weights[:-1]:
        h = activation(name, h @ W.T)
    classes = torch.randint(width, (128,), generator=rng)
    F.cross_entropy(h @ weights[-1].T, classes).backward()
    return weights.grad.abs().mean((1, 2)).tolist()


def mlp_loss_grad(
    x: Float[Tensor, "N D"],
    y: Int[Tensor, "N"],
    params: Params,
) -> tuple[Float[Tensor, ""], Params]:
    """Run a multilayer perceptron forwards and backwards, by hand: no autograd.

    Layer l computes a_l = h_(l-1) @ W.T + b from its (W, b) of `params`, W (out, in)
    and b (out,), with h_0 = x. Every layer but the last is followed by a ReLU, h_l =
    max(0, a_l), whose derivative is 1 where a_l > 0 and 0 elsewhere. The last a are
    class scores. There may be one layer or many.

    Returns:
        (loss, grads): the MEAN softmax cross-entropy over the N points (F.cross_entropy
        is allowed for the value), and one (dW, db) a layer, in the order and shapes of
        `params`.
    """
    ### BEGIN SOLUTION
    hs = [x]  # the input of each layer
    for W, b in params[:-1]:
        hs.append((hs[-1] @ W.T + b).clamp(min=0))
    W, b = params[-1]
    scores = hs[-1] @ W.T + b
    loss = F.cross_entropy(scores, y)

    G = (scores.softmax(1) - F.one_hot(y, scores.shape[1])) / len(x)  # (N, C)
    grads = []
    for (W, _), h in zip(reversed(params), reversed(hs)):
        grads.append((G.T @ h, G.sum(0)))
        G = (G @ W) * (h > 0)  # h > 0 exactly where its a > 0
    return loss, grads[::-1]
    ### END SOLUTION


def collapse_linear(params: Params) -> tuple[Tensor, Tensor]:
    """Replace a stack of layers WITHOUT activation functions by one equal layer.

    `params` holds (W, b) of each layer, W (out, in) and b (out,), the first layer
    first; layer l gives h @ W.T + b.

    Returns:
        (W, b) with x @ W.T + b equal to the output of the whole stack, for every x.
    """
    ### BEGIN SOLUTION
    W, b = params[0]
    for W_next, b_next in params[1:]:
        W, b = W_next @ W, W_next @ b + b_next
    return W, b
    ### END SOLUTION


def layer_activations(model: nn.Sequential, x: Tensor) -> list[Float[Tensor, "N F"]]:
    """Return what every part of `model` hands to the next, for the inputs `x` (N, ...).

    The model computes in evaluation mode and without gradients; afterwards it is in the
    mode (training or evaluation) in which you found it. A part that changes its input
    in place must not change what you recorded of the part before.

    Returns:
        One tensor a part, in order, each flattened to (N, features of one input).
    """
    ### BEGIN SOLUTION
    was_training = model.training
    model.eval()
    out = []
    with torch.no_grad():
        for part in model:
            x = part(x)
            out.append(x.flatten(1).clone())
    model.train(was_training)
    return out
    ### END SOLUTION
