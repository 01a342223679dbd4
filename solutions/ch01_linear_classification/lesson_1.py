"""Scores, templates, probabilities and losses of a linear classifier.

Notebook 1 of chapter 1. Axes: N pictures, D numbers a picture, K classes. Rows are
samples: S = X W^T + b.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def linear_scores(
    x: Float[Tensor, "N ..."],
    W: Float[Tensor, "K D"],
    b: Float[Tensor, "K"],
) -> Float[Tensor, "N K"]:
    """Give every picture one score a class.

    s[n, k] = sum over d of W[k, d] * x[n, d], plus b[k].

    Args:
        x: N pictures, of any shape behind the first axis, such as (N, D), (N, 8, 8) or
            (N, 3, 32, 32). Each picture is laid out as one row of D numbers first.
            Whole numbers (0 to 255) are allowed: they become numbers of W's dtype.
        W: one row of weights a class.
        b: one number a class.

    Returns:
        Scores (N, K) in the dtype of W.
    """
    ### BEGIN SOLUTION
    rows = x.flatten(1).to(W.dtype)  # (N, D)
    return rows @ W.T + b
    ### END SOLUTION


def bias_trick(
    x: Float[Tensor, "N D"], W: Float[Tensor, "K D"], b: Float[Tensor, "K"]
) -> tuple[Float[Tensor, "N D+1"], Float[Tensor, "K D+1"]]:
    """Hide the bias in the weights.

    Every picture gets one more number, a 1, and every row of W its b[k] as the last.
    The scores stay the same: x1 @ W1.T equals x @ W.T + b.
    """
    ones = x.new_ones(len(x), 1)
    return torch.cat([x, ones], dim=1), torch.cat([W, b[:, None]], dim=1)


def mean_template_classifier(
    x: Float[Tensor, "N D"], y: Int[Tensor, "N"], num_classes: int
) -> tuple[Float[Tensor, "K D"], Float[Tensor, "K"]]:
    """Write "the nearest class mean wins" as a linear classifier.

    Row k of W is the mean of the pictures of class k, and b[k] = -1/2 * (sum of the
    squares of that row).

    Args:
        x: N pictures as rows of D numbers.
        y: their classes, whole numbers from 0 to num_classes - 1, in any order.
        num_classes: K.

    Returns:
        W (K, D) and b (K,), in the dtype of x. A class without a picture gets a row of
        zeros and b[k] = -inf, so that it never wins.
    """
    ### BEGIN SOLUTION
    W = x.new_zeros(num_classes, x.shape[1])
    b = x.new_full((num_classes,), -torch.inf)
    for k in range(num_classes):
        members = x[y == k]  # (n_k, D)
        if len(members) > 0:
            W[k] = members.mean(0)
            b[k] = -(W[k] ** 2).sum() / 2
    return W, b
    ### END SOLUTION


def template_image(
    W: Float[Tensor, "K D"],
    shape: tuple[int, ...],
) -> Float[Tensor, "K ..."]:
    """Turn each row of weights into a picture: its smallest weight 0, its largest 1.

    `shape` is that of one picture, such as (8, 8) or (3, 32, 32). A row of equal
    numbers becomes 0.5 everywhere.
    """
    low, high = W.amin(1, keepdim=True), W.amax(1, keepdim=True)
    scaled = torch.where(high > low, (W - low) / (high - low), 0.5)
    return scaled.reshape(len(W), *shape)


def softmax(s: Float[Tensor, "..."], dim: int = -1) -> Float[Tensor, "..."]:
    """Turn scores into probabilities along `dim`.

    p_k = exp(s_k) / (sum over j of exp(s_j)).
    Scores of any size are allowed, 10 000 and -10 000 too: no NaN, no infinity. A score
    of -inf (a class that is ruled out) gets probability 0 as long as another one is
    finite. `s` itself is not changed.
    """
    ### BEGIN SOLUTION
    e = (s - s.amax(dim, keepdim=True)).exp()  # only differences count
    return e / e.sum(dim, keepdim=True)
    ### END SOLUTION


def log_softmax(s: Float[Tensor, "..."], dim: int = -1) -> Float[Tensor, "..."]:
    """Return the natural logarithm of the probabilities.

    It is s_k - log(sum over j of exp(s_j)), without computing the probabilities first:
    one that rounds to 0 still has a finite logarithm.
    For the scores 0 and 10 000 the answer is -10 000 and 0.
    """
    ### BEGIN SOLUTION
    below = s - s.amax(dim, keepdim=True)
    return below - below.exp().sum(dim, keepdim=True).log()
    ### END SOLUTION


def softmax_jacobian(p: Float[Tensor, "K"]) -> Float[Tensor, "K K"]:
    """Tell how every probability reacts to every score.

    J[i, j] = dp_i / ds_j = p_i * ((1 if i == j else 0) - p_j).
    `p` are the probabilities that softmax gave for one picture. J is in the dtype of p.
    """
    ### BEGIN SOLUTION
    return torch.diag(p) - p[:, None] * p[None, :]
    ### END SOLUTION


def cross_entropy(
    s: Float[Tensor, "N K"], y: Int[Tensor, "N"], *, reduction: str = "mean"
) -> Float[Tensor, ""] | Float[Tensor, "N"]:
    """Charge every picture the surprise at its true class.

    L_n = -log p[n, y_n], where p[n] is the softmax of s[n].
    The logarithm is the natural one. Scores of 10 000 must give a finite loss: use
    `log_softmax`.

    Args:
        s: scores (not probabilities), one row a picture.
        y: the true classes.
        reduction: "mean" over the N pictures, their "sum", or "none" for the N losses
            themselves.

    Raises:
        ValueError: `reduction` is none of the three.
    """
    ### BEGIN SOLUTION
    losses = -log_softmax(s, dim=1)[torch.arange(len(y)), y]  # (N,)
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    if reduction == "mean":
        return losses.mean()
    raise ValueError(f"reduction must be 'mean', 'sum' or 'none', not {reduction!r}")
    ### END SOLUTION


def bce_with_logits(
    s: Float[Tensor, "..."],
    t: Float[Tensor, "..."],
) -> Float[Tensor, ""]:
    """Charge the answers to yes/no questions, and return their mean price.

    One answer costs -(t * log q + (1 - t) * log(1 - q)), with q = 1 / (1 + exp(-s)).
    Scores of 10 000 and -10 000 must give a finite loss and a finite gradient, so do
    not compute q. The same number is log(1 + exp(s)) - s * t, and
    `torch.logaddexp(a, b)` is log(exp(a) + exp(b)) for two tensors a, b of any size.

    Args:
        s: scores of any shape, one a question; a positive score says yes.
        t: targets of the same shape: 1 for yes, 0 for no, and anything between them for
            "perhaps".

    Returns:
        The mean over all questions, a tensor without axes.
    """
    ### BEGIN SOLUTION
    return (torch.logaddexp(s, torch.zeros_like(s)) - s * t).mean()
    ### END SOLUTION


def one_vs_rest_targets(y: Int[Tensor, "N"], num_classes: int) -> Float[Tensor, "N K"]:
    """Turn classes into K yes/no questions a picture, as float32.

    t[n, k] is 1 if y[n] == k, and 0 otherwise.
    """
    ### BEGIN SOLUTION
    return (y[:, None] == torch.arange(num_classes)).float()
    ### END SOLUTION
