"""Self-attention in five steps, masks, heads, positions, and one vector for a whole sequence.

Notebook 1 of chapter 11. Axes: B sequences, N tokens, D their width; T tokens that ask, S tokens that are looked at, d
numbers of a query and of a key, e of a value, h heads. A mask is True where a token MAY look.
"""

import math

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn


def attention_scores(q: Float[Tensor, "B T d"], k: Float[Tensor, "B S d"]) -> Float[Tensor, "B T S"]:
    """Compare every query with every key: a[b, t, s] = q[b, t] . k[b, s] / sqrt(d)."""
    ### BEGIN SOLUTION
    return q @ k.transpose(1, 2) / math.sqrt(q.shape[2])
    ### END SOLUTION


def attend(
    a: Float[Tensor, "B T S"],
    v: Float[Tensor, "B S e"],
) -> tuple[Float[Tensor, "B T e"], Float[Tensor, "B T S"]]:
    """Turn scores into weights, and take the weighted mean of the values.

    A = softmax of a over the S tokens that are looked at; y[b, t] = sum over s of
    A[b, t, s] v[b, s]. Right for any score: 10 000 is no reason for NaN.

    Returns:
        (y, A).
    """
    ### BEGIN SOLUTION
    A = torch.softmax(a, dim=2)
    return A @ v, A
    ### END SOLUTION


def self_attention(
    x: Float[Tensor, "B N D"],
    Wq: Float[Tensor, "d D"],
    Wk: Float[Tensor, "d D"],
    Wv: Float[Tensor, "e D"],
) -> tuple[Float[Tensor, "B N e"], Float[Tensor, "B N N"]]:
    """Let every token of a sequence look at all of them (Vaswani et al., NeurIPS 2017).

    One token x_i, as a column, has the query q_i = Wq x_i, the key k_i = Wk x_i and the
    value v_i = Wv x_i. Here the tokens are the ROWS of x[b]. Then `attention_scores`,
    then `attend`.

    Returns:
        (y, A): what each token takes along, and how it looked at all of them.
    """
    ### BEGIN SOLUTION
    q, k, v = x @ Wq.T, x @ Wk.T, x @ Wv.T
    return attend(attention_scores(q, k), v)
    ### END SOLUTION


def causal_mask(n: int, past: int = 0) -> Bool[Tensor, "n S"]:
    """Return which tokens each of n new ones may look at, True = may; S = past + n.

    `past` tokens stand before the n new ones. A new token looks at itself and at all
    that stand before it, never at a later one.
    """
    ### BEGIN SOLUTION
    own = past + torch.arange(n)  # the places of the new tokens
    return torch.arange(past + n) <= own[:, None]
    ### END SOLUTION


def combine_masks(
    causal: Bool[Tensor, "T S"],
    valid: Bool[Tensor, "B S"],
) -> Bool[Tensor, "B one T S"]:
    """Return a mask that forbids later tokens and padding alike, shape (B, 1, T, S).

    `valid` is False where a sequence of the batch is filled up with padding. The axis
    of length 1 is for the heads to come.
    """
    ### BEGIN SOLUTION
    return causal & valid[:, None, None, :]
    ### END SOLUTION


def sdpa(
    q: Float[Tensor, "*batch T d"],
    k: Float[Tensor, "*batch S d"],
    v: Float[Tensor, "*batch S e"],
    mask: Bool[Tensor, "..."] | None = None,
) -> tuple[Float[Tensor, "*batch T e"], Float[Tensor, "*batch T S"]]:
    """Scaled dot-product attention with a mask.

    Scores and weights as before, for any number of leading axes. `mask` broadcasts
    against the scores; where it is False, the weight is exactly 0, and no gradient
    reaches that key and value. The other weights of a row add up to 1. A row that may
    look at nothing gets weights 0 and output 0, not NaN, and its gradients are 0. Works
    in half precision, where -1e9 does not exist. torch's own
    scaled_dot_product_attention is not allowed.

    Returns:
        (y, A).
    """
    ### BEGIN SOLUTION
    a = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (*batch, T, S)
    if mask is None:
        A = torch.softmax(a, dim=-1)
        return A @ v, A
    a = a.masked_fill(~mask, float("-inf"))
    blind = ~mask.any(dim=-1, keepdim=True)  # softmax over nothing is 0 / 0
    A = torch.softmax(a, dim=-1).masked_fill(blind, 0.0)
    return A @ v, A
    ### END SOLUTION


class MultiHeadAttention(nn.Module):
    """Attention in `heads` subspaces at once, which see dim / heads numbers each.

    Head i takes the i-th run of dim / heads numbers of the queries, keys and values.

    Raises:
        ValueError: heads does not divide dim.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"{heads} heads cannot share {dim} numbers evenly")
        self.heads = heads
        self.query, self.key = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.value, self.out = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def split(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B h N c"]:
        """Give each head its c = D / heads numbers of every token."""
        ### BEGIN SOLUTION
        return rearrange(x, "B N (h c) -> B h N c", h=self.heads)
        ### END SOLUTION

    def merge(self, x: Float[Tensor, "B h N c"]) -> Float[Tensor, "B N D"]:
        """Put the heads' outputs side by side again: undo `split`."""
        ### BEGIN SOLUTION
        return rearrange(x, "B h N c -> B N (h c)")
        ### END SOLUTION

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        memory: Float[Tensor, "B S D"] | None = None,
        mask: Bool[Tensor, "..."] | None = None,
    ) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B h T S"]]:
        """Let x look at `memory`, or at itself where there is none.

        Queries come from x, keys and values from what is looked at. Split all three,
        `sdpa`, merge, and the layer `out`. `mask` broadcasts against (B, h, T, S).

        Returns:
            (y, A): A holds the weights of every head.
        """
        ### BEGIN SOLUTION
        memory = x if memory is None else memory
        q, k, v = self.query(x), self.key(memory), self.value(memory)
        y, A = sdpa(self.split(q), self.split(k), self.split(v), mask)
        return self.out(self.merge(y)), A
        ### END SOLUTION


def sinusoidal_positions(n: int, D: int) -> Float[Tensor, "n D"]:
    """Return a vector for each of the places 0 to n - 1, float32 (Vaswani et al., 2017).

    PE[p, 2i] = sin(p / 10000^(2i / D)) and PE[p, 2i + 1] = cos(p / 10000^(2i / D)): sine
    and cosine take turns. Compute in float64 and round at the end, so that places in the
    millions stay right.

    Raises:
        ValueError: D is odd.
    """
    ### BEGIN SOLUTION
    if D % 2:
        raise ValueError(f"sine and cosine come in pairs, but D = {D}")
    speed = 10000.0 ** (-torch.arange(0, D, 2, dtype=torch.float64) / D)
    angle = torch.arange(n)[:, None] * speed  # (n, D/2)
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1).float()
    ### END SOLUTION


def shift_matrix(k: int, D: int) -> Float[Tensor, "D D"]:
    """Return the matrix M with M @ PE[p] = PE[p + k] for every place p, float64.

    PE is that of `sinusoidal_positions`, D is even. Each pair (sine, cosine) turns by
    its own angle: sin(a + b) = sin a cos b + cos a sin b, cos(a + b) = cos a cos b -
    sin a sin b.
    """
    ### BEGIN SOLUTION
    angle = k * 10000.0 ** (-torch.arange(0, D, 2, dtype=torch.float64) / D)
    M = torch.zeros(D, D, dtype=torch.float64)
    even = torch.arange(0, D, 2)
    M[even, even] = M[even + 1, even + 1] = angle.cos()
    M[even, even + 1], M[even + 1, even] = angle.sin(), -angle.sin()
    return M
    ### END SOLUTION


def masked_mean_pool(
    y: Float[Tensor, "B N D"],
    valid: Bool[Tensor, "B N"],
) -> Float[Tensor, "B D"]:
    """Return the mean over each sequence's valid tokens: one vector for all of it.

    Padding has no say, whatever stands in it, NaN included. Without a valid token the
    answer is 0.
    """
    ### BEGIN SOLUTION
    y = torch.where(valid[:, :, None], y, 0.0)  # 0 * NaN would be NaN
    return y.sum(1) / valid.sum(1).clamp(min=1)[:, None]
    ### END SOLUTION


class Lookup(nn.Module):
    """One attention layer that reads symbols and answers at every place, by `outputs` scores.

    `places` (N, D) are added to the symbols' vectors: a fixed tensor, a parameter that
    learns, or None.
    """

    def __init__(self, symbols: int, outputs: int, D: int, heads: int, places: Tensor | None) -> None:
        super().__init__()
        self.embed, self.attention = nn.Embedding(symbols, D), MultiHeadAttention(D, heads)
        self.read, self.places = nn.Linear(D, outputs), places

    def forward(self, symbols):
        x = self.embed(symbols)  # (B, N, D)
        if self.places is not None:
            x = x + self.places
        return self.read(self.attention(x)[0])
