"""A picture as a sequence: patches, the class token, positions, one head by hand, and the vision transformer.

Notebook 1 of chapter 12. Axes: B pictures, C channels, H rows, W columns, N patches, p side of a patch, D width of a
token, h heads, K classes.
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn


def patchify(x: Float[Tensor, "B C H W"], p: int) -> Float[Tensor, "B N C*p*p"]:
    """Cut pictures into patches of p x p pixels and write each as one row of numbers.

    Patches in reading order: the top row of patches from left to right, then the next.
    Within a patch all numbers of channel 0 come first, its pixels in reading order,
    then channel 1 and so on. N = (H / p) * (W / p). Dosovitskiy et al., ICLR 2021.

    Raises:
        ValueError: p does not divide both H and W.
    """
    ### BEGIN SOLUTION
    H, W = x.shape[2:]
    if H % p or W % p:
        raise ValueError(f"patches of {p} x {p} pixels do not fill {H} x {W}")
    return rearrange(x, "b c (i u) (j v) -> b (i j) (c u v)", u=p, v=p)
    ### END SOLUTION


def unpatchify(
    patches: Float[Tensor, "B N C*p*p"],
    p: int,
    size: tuple[int, int],
) -> Float[Tensor, "B C H W"]:
    """Put the patches of `patchify` back together; size = (H, W) of the pictures.

    The number of channels follows from the length of a row.

    Raises:
        ValueError: N patches of p x p pixels are not a picture of that size.
    """
    ### BEGIN SOLUTION
    H, W = size
    if H % p or W % p or patches.shape[1] != (H // p) * (W // p):
        raise ValueError(f"{patches.shape[1]} patches of side {p} do not fill {H} x {W}")
    order = "b (i j) (c u v) -> b c (i u) (j v)"
    return rearrange(patches, order, i=H // p, u=p, v=p)
    ### END SOLUTION


def embed_patches(
    x: Float[Tensor, "B C H W"],
    weight: Float[Tensor, "D C p p"],
    bias: Float[Tensor, "D"],
) -> Float[Tensor, "B N D"]:
    """Turn every patch into a token: one linear layer for all patches, E x_p + b.

    `weight` is kept as a convolution keeps it; its D matrices, flattened like a patch,
    are the D rows of E.
    """
    ### BEGIN SOLUTION
    return F.linear(patchify(x, weight.shape[-1]), weight.flatten(1), bias)
    ### END SOLUTION


def add_tokens(
    patches: Float[Tensor, "B N D"],
    cls: Float[Tensor, "1 1 D"],
    pos: Float[Tensor, "1 N+1 D"],
) -> Float[Tensor, "B N+1 D"]:
    """Put the class token in front of every sequence, then add the positions.

    The class token is token 0 and gets position 0; patch n becomes token n + 1. Of
    `cls` and `pos` there is one for all pictures: their gradients add up over the
    batch.
    """
    ### BEGIN SOLUTION
    B, _, D = patches.shape
    return torch.cat([cls.expand(B, 1, D), patches], dim=1) + pos
    ### END SOLUTION


def resize_pos(
    pos: Float[Tensor, "1 N+1 D"],
    old: tuple[int, int],
    new: tuple[int, int],
) -> Float[Tensor, "1 M+1 D"]:
    """Fit learned positions to another grid of patches.

    old and new are (rows, columns) of patches, N = rows * columns of old, M of new.
    Position 0, of the class token, stays as it is. The others, laid out on their grid,
    are interpolated with F.interpolate(..., mode="bicubic", align_corners=False), every
    one of the D numbers on its own.

    Raises:
        ValueError: there are not N positions beside that of the class token.
    """
    ### BEGIN SOLUTION
    first, rest = pos[:, :1], pos[:, 1:]
    if rest.shape[1] != old[0] * old[1]:
        raise ValueError(f"{rest.shape[1]} positions are not a grid of {old[0]} x {old[1]}")
    grid = rearrange(rest, "b (i j) d -> b d i j", i=old[0])
    grid = F.interpolate(grid, size=new, mode="bicubic", align_corners=False)
    return torch.cat([first, rearrange(grid, "b d i j -> b (i j) d")], dim=1)
    ### END SOLUTION


def vit_qkv(
    X: Float[Tensor, "N+1 D"],
    Wq: Float[Tensor, "d D"],
    Wk: Float[Tensor, "d D"],
    Wv: Float[Tensor, "e D"],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """One head of self-attention over the tokens of a picture; return (Q, K, V, A, Y).

    Row 0 of X is the class token, rows 1 to N are the patches. The matrices are kept as
    nn.Linear keeps its weight: the query of token i is Wq times row i of X, and is row
    i of Q (N+1, d); keys and values alike. Entry (i, j) of A is the share of attention
    that token i, as the query, pays to token j: softmax along a row of the products of
    queries and keys, divided by the square root of d. Y is (N+1, e).
    """
    ### BEGIN SOLUTION
    Q, K, V = X @ Wq.T, X @ Wk.T, X @ Wv.T
    A = torch.softmax(Q @ K.T / math.sqrt(Wq.shape[0]), dim=1)  # (N+1, N+1)
    return Q, K, V, A, A @ V
    ### END SOLUTION


class SelfAttention(nn.Module):
    """Multi-head self-attention that also tells its attention; names as in timm.

    `qkv` makes 3 D numbers a token: queries, keys, values, each for h heads in turn.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"{heads} heads do not divide a width of {width}")
        self.num_heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, z: Float[Tensor, "B N D"]) -> tuple[Tensor, Tensor]:
        """Return the new tokens (B, N, D) and the attention A (B, h, N, N)."""
        order = "b n (three h d) -> three b h n d"
        q, k, v = rearrange(self.qkv(z), order, three=3, h=self.num_heads)
        A = torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, dim=-1)
        return self.proj(rearrange(A @ v, "b h n d -> b n (h d)")), A


class MLP(nn.Module):
    """Two linear layers with a GELU between them, for every token on its own."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, z: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        return self.fc2(F.gelu(self.fc1(z)))


class Block(nn.Module):
    """One layer of the vision transformer: tokens talk, then each thinks for itself.

    Parts: `norm1`, `attn`, `norm2`, `mlp`. The norms are nn.LayerNorm over the width,
    with eps = 1e-6; `attn` is a SelfAttention, `mlp` an MLP whose hidden layer has
    int(width * mlp_ratio) units. Both stand on a residual path, and the norm comes
    *before* each of them:

        z' = z + attn(norm1(z)),    z'' = z' + mlp(norm2(z'))
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        ### BEGIN SOLUTION
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width, int(width * mlp_ratio))
        ### END SOLUTION

    def forward(self, z: Float[Tensor, "B N D"]) -> tuple[Tensor, Tensor]:
        """Return the tokens z'' (B, N, D) and the attention A (B, h, N, N)."""
        ### BEGIN SOLUTION
        y, A = self.attn(self.norm1(z))
        z = z + y
        return z + self.mlp(self.norm2(z)), A
        ### END SOLUTION


class PatchEmbed(nn.Module):
    """`embed_patches` as a convolution with stride p, as libraries keep it."""

    def __init__(self, p: int, channels: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, kernel_size=p, stride=p)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B N D"]:
        return self.proj(x).flatten(2).transpose(1, 2)


class ViT(nn.Module):
    """The vision transformer for classification. Its parts are named as in timm.

    `patch_embed`, `cls_token` (1, 1, D), `pos_embed` (1, N+1, D), `blocks`, a last
    layer norm `norm`, and `head`, one linear layer. Dosovitskiy et al., ICLR 2021.
    """

    def __init__(
        self,
        size: int = 32,
        p: int = 4,
        channels: int = 3,
        width: int = 96,
        depth: int = 3,
        heads: int = 3,
        mlp_ratio: float = 2.0,
        classes: int = 8,
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(p, channels, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        N = (size // p) ** 2
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, N + 1, width))
        layers = [Block(width, heads, mlp_ratio) for _ in range(depth)]
        self.blocks = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, classes)

    def encode(self, x: Float[Tensor, "B C H W"]) -> tuple[Tensor, list[Tensor]]:
        """Return the tokens (B, N+1, D) after `norm`, and A (B, h, N+1, N+1) a block.

        Patch tokens from `patch_embed`; class token and positions by `add_tokens`; the
        blocks, one after the other; the last norm.
        """
        ### BEGIN SOLUTION
        z = add_tokens(self.patch_embed(x), self.cls_token, self.pos_embed)
        attentions = []
        for block in self.blocks:
            z, A = block(z)
            attentions.append(A)
        return self.norm(z), attentions
        ### END SOLUTION

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        """Return the logits: `head` on the class token of what `encode` returns."""
        ### BEGIN SOLUTION
        z, _ = self.encode(x)
        return self.head(z[:, 0])
        ### END SOLUTION


def vit_param_count(
    size: int,
    p: int,
    channels: int,
    width: int,
    depth: int,
    mlp: int,
    classes: int,
) -> int:
    """Count the learned numbers of a ViT without building it.

    Square pictures of `size` pixels a side, patches of side p, `mlp` hidden units in
    every block; biases everywhere, two numbers a feature in every layer norm, class
    token, positions, last norm and head included. The number of heads plays no part.
    """
    ### BEGIN SOLUTION
    D, N = width, (size // p) ** 2
    embed = channels * p * p * D + D
    tokens = D + (N + 1) * D
    attention = D * 3 * D + 3 * D + D * D + D
    block = 2 * D + attention + 2 * D + D * mlp + mlp + mlp * D + D
    return embed + tokens + depth * block + 2 * D + D * classes + classes
    ### END SOLUTION
