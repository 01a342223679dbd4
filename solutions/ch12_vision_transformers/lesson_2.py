"""Where a vision transformer looks: the first output token, the first row of A, rollout, and judges for them.

Notebook 2 of chapter 12. Axes: B pictures, N patches (N+1 tokens, the class token first), D width, h heads, K classes,
p side of a patch; H' rows and W' columns of patches.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


def classify(
    z: Float[Tensor, "B N+1 D"],
    head: Callable[[Tensor], Tensor],
    pool: str = "token",
) -> Float[Tensor, "B K"]:
    """Make class scores of the output tokens: head of one vector (B, D) a picture.

    pool="token" takes the first output token, pool="avg" the mean of the N patch tokens
    (global average pooling, GAP), without the class token.

    Raises:
        ValueError: pool is neither.
    """
    ### BEGIN SOLUTION
    if pool not in ("token", "avg"):
        raise ValueError(f'pool is "token" or "avg", not {pool!r}')
    return head(z[:, 0] if pool == "token" else z[:, 1:].mean(1))
    ### END SOLUTION


def last_block_class_row(
    block: nn.Module,
    z: Float[Tensor, "B N+1 D"],
) -> Float[Tensor, "B D"]:
    """Compute row 0 of a pre-norm block, and no other row.

    Equal to `block(z)[:, 0]`, at the cost of one query: keys and values are needed of
    all tokens, the query, the projection and the MLP of the class token alone. (Simpler
    code asks `attn.qkv` for all three of all tokens and drops N queries; it is right,
    too.) Parts of a block, as in timm: `norm1`; `attn.qkv`, a linear layer from D to
    3 D (queries, then keys, then values, each for `attn.num_heads` heads in turn);
    `attn.proj`; `norm2`; `mlp`. The scores of a head of width d are divided by the
    square root of d. Both residual paths are there. `mlp` must get one token a picture,
    of shape (B, 1, D).
    """
    ### BEGIN SOLUTION
    y = block.norm1(z)
    order, h = "b n (three h d) -> three b h n d", block.attn.num_heads
    q, k, v = rearrange(block.attn.qkv(y), order, three=3, h=h)
    scores = q[:, :, :1] @ k.mT / q.shape[-1] ** 0.5  # (B, h, 1, N+1)
    y = rearrange(scores.softmax(-1) @ v, "b h one d -> b one (h d)")
    first = z[:, :1] + block.attn.proj(y)
    return (first + block.mlp(block.norm2(first)))[:, 0]
    ### END SOLUTION


def cls_attention(
    A: Float[Tensor, "B h N+1 N+1"],
    grid: tuple[int, int],
    head: int | None = None,
) -> Float[Tensor, "B H' W'"]:
    """Return what the class token looks at: the first row of A as a map of the patches.

    Row 0 of A belongs to token 0 as the query; its first entry, what the class token
    pays to itself, is left out. The other N become a map of grid = (H', W') patches in
    reading order. `head` chooses one head; None takes the mean over the heads. Nothing
    is scaled: the sum of a map is 1 minus what was left out.

    Raises:
        ValueError: H' * W' is not N.
    """
    ### BEGIN SOLUTION
    if A.shape[-1] - 1 != grid[0] * grid[1]:
        raise ValueError(f"{A.shape[-1] - 1} patches are not a grid of {grid[0]} x {grid[1]}")
    row = A[:, :, 0, 1:]
    row = row.mean(1) if head is None else row[:, head]
    return row.unflatten(1, grid)
    ### END SOLUTION


def pointing_game(
    maps: Float[Tensor, "B H' W'"],
    masks: Bool[Tensor, "B H W"],
) -> float:
    """Return how often the highest patch of a map lies on the thing.

    H = H' * p and W = W' * p for one p. A picture is a hit if the patch of its largest
    score contains at least one True pixel of its mask; of several largest ones the
    first in reading order counts. The answer is the share of hits, a Python float. A
    picture without any True pixel counts neither as a hit nor as a picture.

    Raises:
        ValueError: no picture has a True pixel.
    """
    ### BEGIN SOLUTION
    p = masks.shape[-1] // maps.shape[-1]
    touched = rearrange(masks, "b (i u) (j v) -> b (i j) (u v)", u=p, v=p).any(2)
    there = masks.flatten(1).any(1)
    if not there.any():
        raise ValueError("no picture has anything to point at")
    hit = touched.gather(1, maps.flatten(1).argmax(1, keepdim=True))[:, 0]
    return float(hit[there].double().mean())
    ### END SOLUTION


def attention_rollout(
    attentions: list[Float[Tensor, "B h N N"]],
) -> Float[Tensor, "B N N"]:
    """Follow attention through all layers, back to the patches of the picture.

    attentions[0] is A of the first block. In every layer the mean over the heads is
    taken, the residual path adds the identity, and every row is divided by its sum, so
    that it is made of shares again. Entry (i, j) of the product of all layers says how
    much of output token i comes from input token j. The dtype is that of A. Abnar and
    Zuidema, ACL 2020.
    """
    ### BEGIN SOLUTION
    A = attentions[0]
    own = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    rollout = own.expand(len(A), -1, -1)
    for A in attentions:
        step = A.mean(1) + own
        step = step / step.sum(2, keepdim=True)
        rollout = step @ rollout  # the later layer stands on the left
    return rollout
    ### END SOLUTION


def occlusion_drop(
    model: Callable[[Tensor], Tensor],
    x: Float[Tensor, "B C H W"],
    y: Int[Tensor, "B"],
    p: int,
) -> Float[Tensor, "B H/p W/p"]:
    """Cover one patch after the other and tell how much the score of class y drops.

    All pixels of the covered patch become 0, in all channels; x stays as it was. Entry
    (b, i, j) is the logit of class y[b] for picture b as it is, minus that with patch
    (i, j) covered. model(x) gives logits (B, K). The answer has the dtype of x, and no
    graph is built.
    """
    ### BEGIN SOLUTION
    rows, columns = x.shape[2] // p, x.shape[3] // p
    every, drop = torch.arange(len(x)), x.new_zeros(len(x), rows, columns)
    with torch.no_grad():
        whole = model(x)[every, y]
        for i in range(rows):
            for j in range(columns):
                covered = x.clone()
                covered[:, :, i * p : (i + 1) * p, j * p : (j + 1) * p] = 0
                drop[:, i, j] = whole - model(covered)[every, y]
    return drop
    ### END SOLUTION


def attentions_of(vit: nn.Module, x: Float[Tensor, "B C H W"]) -> list[Tensor]:
    """Return A (B, h, N+1, N+1) of every block of timm's ViT, the first block first.

    timm's fast attention never writes A down, so it is switched off.
    """
    from timm.utils import AttentionExtract

    for block in vit.blocks:
        block.attn.fused_attn = False
    with torch.no_grad():
        return list(AttentionExtract(vit, method="hook")(x).values())


def rank_correlation(
    a: Float[Tensor, "B N"],
    b: Float[Tensor, "B N"],
) -> Float[Tensor, "B"]:
    """Return Spearman's rank correlation of every row of a with that row of b."""
    ranks = torch.stack([m.argsort(1).argsort(1).double() for m in (a, b)])
    ranks = F.normalize(ranks - ranks.mean(2, keepdim=True), dim=2)
    return (ranks[0] * ranks[1]).sum(1)
