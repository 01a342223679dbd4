"""One neuron: its function, its weight space, its objective, and the walk from zero weights to trained ones.

Notebook 1 of chapter 2. Axes: N points, D inputs, G values of a grid. The slides call the input z and the output x;
here, as in the rest of the book, x is the input and p the output.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def neuron(
    x: Float[Tensor, "N D"],
    w: Float[Tensor, "D"],
    b: float | Tensor = 0.0,
) -> Float[Tensor, "N"]:
    """Return the output p of one neuron for every row of `x`.

    The activation is a = w . x + b, one number a row. The output squashes it: p = 1 /
    (1 + exp(-a)), the sigmoid. It must be right for any a: 1 at a = 1000 and 0 at a =
    -1000, never NaN. Write the sigmoid yourself.
    """
    ### BEGIN SOLUTION
    a = x @ w + b
    return 1 / (1 + torch.exp(-a))  # exp(1000) is inf, and 1 / inf is the 0 we want
    ### END SOLUTION


def boundary(w: Float[Tensor, "2"], b: float) -> tuple[Float[Tensor, "2"], float]:
    """Describe the line on which a neuron of two inputs answers 1/2.

    Returns:
        (n, d): n is the vector of length 1 across the line, pointing to the side where
        the neuron answers more than 1/2. d (a float) says how far along n, from the
        origin, the line lies: the point d * n is on the line, and d is negative where
        the line lies behind the origin.

    Raises:
        ValueError: w is zero, so there is no line.
    """
    ### BEGIN SOLUTION
    length = torch.linalg.vector_norm(w)
    if length == 0:
        raise ValueError("a neuron with zero weights has no boundary")
    return w / length, float(-b / length)
    ### END SOLUTION


def objective(
    w: Float[Tensor, "D"],
    x: Float[Tensor, "N D"],
    t: Float[Tensor, "N"],
    alpha: float = 0.0,
) -> Float[Tensor, ""]:
    """Return M(w) = G(w) + alpha * E(w) of a neuron without bias.

    G = -sum over n of [t log p + (1 - t) log(1 - p)], with p the neuron's output for
    row n: a SUM over the points, not a mean. E = (1/2) * sum over i of w_i squared. `t`
    holds floats from 0 to 1. The value is finite also where a point is far on the wrong
    side (an activation of 300 with t = 0 costs 300). You may call
    F.binary_cross_entropy_with_logits: you wrote it in chapter 1.
    """
    ### BEGIN SOLUTION
    G = F.binary_cross_entropy_with_logits(x @ w, t, reduction="sum")
    E = w.square().sum() / 2
    return G + alpha * E
    ### END SOLUTION


def objective_grad(
    w: Float[Tensor, "D"],
    x: Float[Tensor, "N D"],
    t: Float[Tensor, "N"],
    alpha: float = 0.0,
) -> Float[Tensor, "D"]:
    """Return dM/dw = -sum over n of (t_n - p_n) x_n + alpha * w, without autograd.

    Arguments as in `objective`. Autograd is off while this function is checked.
    """
    ### BEGIN SOLUTION
    p = torch.sigmoid(x @ w)  # (N,)
    return (p - t) @ x + alpha * w  # (N,) @ (N, D) -> (D,)
    ### END SOLUTION


def loss_surface(
    x: Float[Tensor, "N 2"],
    t: Float[Tensor, "N"],
    grid: Float[Tensor, "G"],
    alpha: float = 0.0,
) -> Float[Tensor, "G G"]:
    """Evaluate the objective M at every point of a square piece of weight space.

    Entry [i, j] is M at w = (grid[j], grid[i]): the first weight runs along a row, the
    second from row to row, as matplotlib draws it. All entries are finite, for weights
    of 50, too.
    """
    ### BEGIN SOLUTION
    w2, w1 = torch.meshgrid(grid, grid, indexing="ij")
    a = torch.stack([w1, w2], dim=-1) @ x.T  # (G, G, 2) @ (2, N) -> (G, G, N)
    G = (F.softplus(a) - t * a).sum(-1)  # -[t log p + (1 - t) log(1 - p)], written in a
    return G + alpha * (w1.square() + w2.square()) / 2
    ### END SOLUTION


def train_neuron(
    x: Float[Tensor, "N D"],
    t: Float[Tensor, "N"],
    *,
    alpha: float,
    lr: float,
    steps: int,
) -> Float[Tensor, "T D"]:
    """Walk downhill on M from w = 0 and return every point of the walk.

    One step is w <- w - lr * dM/dw, with all N points (gradient descent, no momentum).

    Returns:
        T = steps + 1 rows in the dtype of `x`: the zeros first, then w after each step.
    """
    ### BEGIN SOLUTION
    w = x.new_zeros(x.shape[1])
    path = [w]
    for _ in range(steps):
        w = w - lr * objective_grad(w, x, t, alpha)
        path.append(w)
    return torch.stack(path)
    ### END SOLUTION


def choose_alpha(
    alphas: list[float],
    fit: Callable[[float], Tensor],
    x_val: Float[Tensor, "N D"],
    t_val: Float[Tensor, "N"],
) -> float:
    """Return the strength of decay whose neuron explains held-out points best.

    Args:
        alphas: strengths to try, in any order.
        fit: alpha -> trained weights w (D,). Call it once for each alpha.
        x_val, t_val: points that were not used for training.

    Best means the smallest G on the held-out points; the price of the weights is for
    training and does not count here. Of equally good ones the largest alpha wins.
    """
    ### BEGIN SOLUTION
    held_out = {alpha: float(objective(fit(alpha), x_val, t_val)) for alpha in alphas}
    return min(alphas, key=lambda alpha: (held_out[alpha], -alpha))
    ### END SOLUTION
