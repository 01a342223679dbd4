"""Gradients, gradient descent and its stochastic form, by hand.

Notebook 2 of chapter 1. Axes: N pictures, D numbers a picture, K classes, B pictures in
a mini-batch.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def numeric_gradient(
    f: Callable[[Tensor], Tensor | float],
    w: Float[Tensor, "..."],
    *,
    h: float = 1e-5,
    central: bool = True,
) -> Float[Tensor, "..."]:
    """Measure the slope of f at w: nudge one weight at a time, and see what f does.

    With e_i = 1 at place i and 0 elsewhere, entry i is
        central:  (f(w + h e_i) - f(w - h e_i)) / (2 h)
        forward:  (f(w + h e_i) - f(w)) / h             if central is False

    Args:
        f: takes a tensor of the shape of w and returns one number (a float, or a tensor
            without axes). It is called 2 * w.numel() times (central) or w.numel() + 1
            times (forward).
        w: weights of any shape; they are the same afterwards, to the last bit.
        h: the size of the nudge.

    Returns:
        The slopes, in the shape and dtype of w.
    """
    ### BEGIN SOLUTION
    slopes = torch.zeros(w.numel(), dtype=w.dtype)
    here = None if central else float(f(w))
    for i in range(w.numel()):
        nudge = torch.zeros(w.numel(), dtype=w.dtype)
        nudge[i] = h
        nudge = nudge.reshape(w.shape)
        if central:
            slopes[i] = (float(f(w + nudge)) - float(f(w - nudge))) / (2 * h)
        else:
            slopes[i] = (float(f(w + nudge)) - here) / h
    return slopes.reshape(w.shape)
    ### END SOLUTION


def relative_error(a: Float[Tensor, "..."], n: Float[Tensor, "..."]) -> float:
    """Compare two gradients, and return a Python float.

    It is the largest |a - n| / max(|a| + |n|, 1e-12) over all entries.
    """
    ### BEGIN SOLUTION
    return float(((a - n).abs() / (a.abs() + n.abs()).clamp(min=1e-12)).max())
    ### END SOLUTION


def softmax_loss_grad(
    X: Float[Tensor, "N D"],
    y: Int[Tensor, "N"],
    W: Float[Tensor, "K D"],
    b: Float[Tensor, "K"],
    *,
    l2: float = 0.0,
) -> tuple[Float[Tensor, ""], Float[Tensor, "K D"], Float[Tensor, "K"]]:
    """Return the loss of a linear softmax classifier, and its gradient by hand.

    With S = X W^T + b and P = softmax(S), a row for each picture,
        loss = (mean over n of -log P[n, y_n]) + l2/2 * (sum of all W[k, d]^2).
    With Y = 1 at the true classes and 0 elsewhere, the blame is G = (P - Y) / N, and
        dW = G^T X + l2 * W,    db = sum over n of G[n].
    The bias is not penalised. Autograd is off while your function runs. `F.softmax` and
    `F.log_softmax` are allowed.

    Returns:
        (loss, dW, db): a tensor without axes, and gradients in the shapes of W and b.
    """
    ### BEGIN SOLUTION
    N = len(y)
    log_p = F.log_softmax(X @ W.T + b, dim=1)  # (N, K)
    loss = -log_p[torch.arange(N), y].mean() + l2 / 2 * (W**2).sum()
    G = (log_p.exp() - F.one_hot(y, len(W))) / N
    return loss, G.T @ X + l2 * W, G.sum(0)
    ### END SOLUTION


def gradient_descent(
    grad_fn: Callable[[Tensor], Tensor],
    w0: Float[Tensor, "..."],
    *,
    lr: float,
    steps: int,
) -> Float[Tensor, "steps+1 ..."]:
    """Walk downhill, w <- w - lr * grad_fn(w), `steps` times; return the whole path.

    `grad_fn` returns the gradient at the weights it is given, in their shape. `w0`
    stays as it is.

    Returns:
        The weights before the first step, after the first, ... after the last, in the
        dtype of w0: path[0] equals w0.
    """
    ### BEGIN SOLUTION
    w = w0.clone()
    path = [w]
    for _ in range(steps):
        w = w - lr * grad_fn(w)  # a new tensor, so that the path keeps the old one
        path.append(w)
    return torch.stack(path)
    ### END SOLUTION


def max_stable_lr(A: Float[Tensor, "D D"]) -> float:
    """Return the learning rate at which gradient descent stops converging on a bowl.

    The bowl is f(w) = 1/2 * w^T A w, and the answer 2 / (the largest eigenvalue of A).
    A is symmetric, without negative eigenvalues; for A = 0 the answer is infinite.
    """
    ### BEGIN SOLUTION
    steepest = float(torch.linalg.eigvalsh(A).max())
    return 2 / steepest if steepest > 0 else float("inf")
    ### END SOLUTION


def sgd_step(
    w: Float[Tensor, "..."],
    g: Float[Tensor, "..."],
    v: Float[Tensor, "..."] | None,
    *,
    lr: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    """Take one step of SGD with momentum and weight decay, and return the new (w, v).

    In this order:
        g <- g + weight_decay * w,   v <- momentum * v + g,   w <- w - lr * v.
    In the first step there is no velocity yet: v is None, and the new v is g (weight
    decay included). None of the tensors that come in is changed.
    """
    ### BEGIN SOLUTION
    g = g + weight_decay * w
    v = g if v is None else momentum * v + g
    return w - lr * v, v
    ### END SOLUTION


def minibatches(
    perm: Int[Tensor, "N"],
    batch_size: int,
    *,
    drop_last: bool = False,
) -> list[Int[Tensor, "B"]]:
    """Cut an order of visit into batches of `batch_size`, in that order.

    What is left over becomes a last, smaller batch, or is left out if `drop_last`. No
    batch is empty.
    """
    ### BEGIN SOLUTION
    starts = range(0, len(perm), batch_size)
    batches = [perm[start : start + batch_size] for start in starts]
    if drop_last and batches and len(batches[-1]) < batch_size:
        batches.pop()
    return batches
    ### END SOLUTION


def train_softmax_sgd(
    X: Float[Tensor, "N D"],
    y: Int[Tensor, "N"],
    num_classes: int,
    *,
    lr: float,
    batch_size: int,
    perms: list[Int[Tensor, "N"]],
    momentum: float = 0.0,
) -> tuple[Float[Tensor, "K D"], Float[Tensor, "K"]]:
    """Train a linear softmax classifier from W = 0, b = 0; return (W, b), in X's dtype.

    `perms` holds one order of visit an epoch. Every epoch visits the pictures in its
    order, in batches of `batch_size` (a smaller last batch counts, too). For each
    batch: the gradient by `softmax_loss_grad` on that batch alone, then one `sgd_step`
    for W and one for b, with `lr` and `momentum`. Each of the two has a velocity of its
    own, which lives on from batch to batch and from epoch to epoch.
    """
    ### BEGIN SOLUTION
    W, b = X.new_zeros(num_classes, X.shape[1]), X.new_zeros(num_classes)
    vW, vb = None, None
    for perm in perms:
        for batch in minibatches(perm, batch_size):
            _, dW, db = softmax_loss_grad(X[batch], y[batch], W, b)
            W, vW = sgd_step(W, dW, vW, lr=lr, momentum=momentum)
            b, vb = sgd_step(b, db, vb, lr=lr, momentum=momentum)
    return W, b
    ### END SOLUTION
