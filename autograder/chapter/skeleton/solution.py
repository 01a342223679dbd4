"""A window that averages: the reference solutions of chapter 99. Axes: H rows, W columns, k window side."""

import torch
from jaxtyping import Float
from torch import Tensor


def contrast(x: Float[Tensor, "H W"]) -> float:
    """Measure contrast as the standard deviation of the grey values."""
    return x.std(correction=0).item()


def box_blur(x: Float[Tensor, "H W"], k: int) -> Float[Tensor, "Ho Wo"]:
    """Average over every k x k window that stays inside the picture.

    y[i, j] is the mean of x[i : i + k, j : j + k]; y has shape (H - k + 1, W - k + 1) and the dtype of `x`.

    Raises:
        ValueError: k is larger than H or W.
    """
    H, W = x.shape
    ### BEGIN SOLUTION
    if k > min(H, W):
        raise ValueError(f"a window of side {k} does not fit into {H}x{W}")
    y = torch.zeros(H - k + 1, W - k + 1, dtype=x.dtype)
    for u in range(k):
        for v in range(k):
            y = y + x[u : u + H - k + 1, v : v + W - k + 1]
    return y / k**2
    ### END SOLUTION


def unsharp(x: Float[Tensor, "H W"], *, amount: float = 1.0) -> Float[Tensor, "Ho Wo"]:
    """Add to every inner pixel `amount` times what a 3 x 3 average takes away from it.

    y[i, j] = c + amount * (c - mean), where c = x[i + 1, j + 1] is the middle of the window. Shape (H - 2, W - 2).
    """
    ### BEGIN SOLUTION
    middle = x[1:-1, 1:-1]
    return middle + amount * (middle - box_blur(x, 3))
    ### END SOLUTION
