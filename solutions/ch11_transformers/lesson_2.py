"""From a layer to a Transformer: norms, encoder, decoder, greedy decoding, a cache, and the training recipe.

Notebook 2 of chapter 11. Axes: B sequences, N tokens, D their width, T tokens of the target, S of the source, h heads,
c numbers of a head, V words. A mask of ours is True where a token MAY look; nn.MultiheadAttention wants the opposite.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from dlcv_lab import world


def standardise(x: Tensor, axes: tuple[int, ...], eps: float = 1e-5) -> Tensor:
    """Return (x - mean) / sqrt(variance + eps), both taken over `axes`.

    Numbers that differ only along `axes` share one mean and one variance; the variance
    divides by their number, not by one less. In half precision everything is computed in
    float32 and rounded to the dtype of x at the end.
    """
    ### BEGIN SOLUTION
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    mean = wide.mean(axes, keepdim=True)
    var = wide.var(axes, correction=0, keepdim=True)
    return ((wide - mean) / torch.sqrt(var + eps)).to(x.dtype)
    ### END SOLUTION


def four_norms(
    x: Float[Tensor, "N C H W"],
    kind: str,
    groups: int = 2,
) -> Float[Tensor, "N C H W"]:
    """Normalise pictures as one of four layers does in training, before its weights.

    Who shares a mean and a variance (Wu and He, ECCV 2018, figure 2): "batch", all
    pictures and places, for each channel; "layer", all channels and places of one
    picture; "instance", all places of one channel of one picture; "group", the same for
    `groups` runs of C / groups neighbouring channels.

    Raises:
        ValueError: another kind, or groups does not divide C.
    """
    ### BEGIN SOLUTION
    axes = {"batch": (0, 2, 3), "layer": (1, 2, 3), "instance": (2, 3)}
    if kind in axes:
        return standardise(x, axes[kind])
    if kind != "group" or x.shape[1] % groups:
        raise ValueError(f"no such norm: {kind!r} with {groups} groups")
    split = rearrange(x, "N (G c) H W -> N G c H W", G=groups)
    return standardise(split, (2, 3, 4)).reshape(x.shape)
    ### END SOLUTION


class EncoderLayer(nn.Module):
    """Self-attention, then two linear layers for each token, both with a residual.

    `norm_first=False` is the lecture's order, post-norm: x = norm1(x + attention(x)),
    then x = norm2(x + feed(x)). `norm_first=True` is pre-norm: x = x +
    attention(norm1(x)), then x = x + feed(norm2(x)). No dropout.
    """

    def __init__(self, dim: int, heads: int, hidden: int, norm_first: bool = False) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.feed = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim))
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        valid: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Run the layer; where `valid` is False stands padding, at which nobody looks.

        PyTorch's key_padding_mask is True where a token must NOT be looked at. Every
        sequence has a valid token.
        """
        padding = None if valid is None else ~valid

        def look(x: Tensor) -> Tensor:
            return self.attention(x, x, x, key_padding_mask=padding, need_weights=False)[0]

        ### BEGIN SOLUTION
        if self.norm_first:
            x = x + look(self.norm1(x))
            return x + self.feed(self.norm2(x))
        x = self.norm1(x + look(x))
        return self.norm2(x + self.feed(x))
        ### END SOLUTION


class DecoderLayer(nn.Module):
    """Masked self-attention, attention to the encoder's output, then two linear layers.

    Each of the three has a residual and a norm: norm1, norm2, norm3, in this order;
    `norm_first` as in `EncoderLayer`. No dropout.
    """

    def __init__(self, dim: int, heads: int, hidden: int, norm_first: bool = False) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.cross = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.feed = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim))
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(dim) for _ in range(3))

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        memory: Float[Tensor, "B S D"],
        memory_valid: Bool[Tensor, "B S"] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Run the layer on the target x, which looks at the encoder's output `memory`.

        Self-attention: token t may look at tokens up to t. Cross-attention: the queries
        come from x, keys AND values from memory, which is not normed here; all its valid
        tokens may be looked at. Attention modules are called as module(queries, keys,
        values, attn_mask=..., key_padding_mask=..., need_weights=False)[0]; both of
        PyTorch's masks are True where one must NOT look.
        """
        ### BEGIN SOLUTION
        T = x.shape[1]
        later = torch.ones(T, T, dtype=torch.bool, device=x.device).triu(1)
        padding = None if memory_valid is None else ~memory_valid

        def look_back(x: Tensor) -> Tensor:
            return self.attention(x, x, x, attn_mask=later, need_weights=False)[0]

        def look_across(x: Tensor) -> Tensor:
            return self.cross(x, memory, memory, key_padding_mask=padding, need_weights=False)[0]

        if self.norm_first:
            x = x + look_back(self.norm1(x))
            x = x + look_across(self.norm2(x))
            return x + self.feed(self.norm3(x))
        x = self.norm1(x + look_back(x))
        x = self.norm2(x + look_across(x))
        return self.norm3(x + self.feed(x))
        ### END SOLUTION


WORDS = ["<pad>", "<start>", "<end>", "a", "an", "left", "of", "above", *world.COLOURS, *world.SHAPES]
PAD, START, END = 0, 1, 2


def draw_scenes(n: int, seed: int) -> tuple[Float[Tensor, "n 3 32 32"], Int[Tensor, "n 10"]]:
    """Draw n pictures of two things on white, and one caption each as numbers of WORDS.

    "<start> a red ring left of an orange heart <end>", or "above"; filled up with <pad>
    to 10 tokens. The thing on the left, or on top, comes first.
    """
    scene = world.sample(n, seed, objects=2, sizes=("medium",), rotation="upright", grounds=("white",))
    rows = []
    for plain in scene.plain():
        one, two = plain.things
        link = world.relation(one, two)
        if link in ("right of", "below"):
            one, two = two, one
        link = world.relation(one, two)
        text = f"{world.article(f'{one.colour} {one.shape}')} {link} {world.article(f'{two.colour} {two.shape}')}"
        row = [START, *map(WORDS.index, text.split()), END]
        rows.append(row + [PAD] * (10 - len(row)))
    return world.render(scene), torch.tensor(rows)


class Captioner(nn.Module):
    """An encoder of picture tokens and a decoder of words: a whole Transformer.

    The picture is cut into 8 x 8 squares of 4 x 4 pixels; each, 48 numbers, is a token.
    Tables of learned positions are added to both kinds of tokens. All layers are
    pre-norm; `norm_in` and `norm_out` norm what the last layers return.
    """

    def __init__(self, encoder: list[nn.Module], decoder: list[nn.Module], dim: int, length: int = 10) -> None:
        super().__init__()
        self.patch = nn.Linear(48, dim)
        self.word = nn.Embedding(len(WORDS), dim)
        self.patch_place = nn.Parameter(0.1 * torch.randn(64, dim))
        self.word_place = nn.Parameter(0.1 * torch.randn(length, dim))
        self.encoder, self.decoder = nn.ModuleList(encoder), nn.ModuleList(decoder)
        self.norm_in, self.norm_out = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.score = nn.Linear(dim, len(WORDS))

    def encode(self, images: Float[Tensor, "B 3 32 32"]) -> Float[Tensor, "B 64 D"]:
        squares = rearrange(images, "B C (y p) (x q) -> B (y x) (p q C)", p=4, q=4)
        x = self.patch(squares) + self.patch_place
        for layer in self.encoder:
            x = layer(x)
        return self.norm_in(x)

    def decode(self, words: Int[Tensor, "B T"], memory: Float[Tensor, "B 64 D"]) -> Float[Tensor, "B T V"]:
        """Return, at every place, a score for each word as the NEXT one."""
        x = self.word(words) + self.word_place[: words.shape[1]]
        for layer in self.decoder:
            x = layer(x, memory)
        return self.score(self.norm_out(x))

    def forward(self, images, words):
        return self.decode(words, self.encode(images))


def greedy_decode(
    step_fn: Callable[[Int[Tensor, "B t"]], Float[Tensor, "B t V"]],
    start: Int[Tensor, "B t0"],
    end: int,
    pad: int,
    max_new: int,
) -> Int[Tensor, "B t1"]:
    """Write on, one token at a time, always the one with the highest score.

    `step_fn(tokens)` scores, at every place, the next token; the last place is the one
    that counts. A row that has written `end` keeps it and gets `pad` from then on.
    Stop after `max_new` tokens, or as soon as every row has written `end` (an `end` in
    `start` does not count). No gradients are kept.

    Returns:
        `start` and what was written behind it.
    """
    tokens = start
    done = torch.zeros(len(start), dtype=torch.bool, device=start.device)
    ### BEGIN SOLUTION
    for _ in range(max_new):
        if done.all():
            break
        with torch.no_grad():
            best = step_fn(tokens)[:, -1].argmax(dim=-1)
        best = torch.where(done, pad, best)
        tokens = torch.cat([tokens, best[:, None]], dim=1)
        done = done | (best == end)
    return tokens
    ### END SOLUTION


class KVCache:
    """Keep the keys and values of all tokens so far, for each layer."""

    def __init__(self) -> None:
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}

    @property
    def length(self) -> int:
        """The number of tokens that layer 0 has kept; 0 before the first update."""
        return self.kept[0][0].shape[2] if 0 in self.kept else 0

    def update(
        self,
        layer: int,
        k: Float[Tensor, "B h t c"],
        v: Float[Tensor, "B h t c"],
    ) -> tuple[Float[Tensor, "B h S c"], Float[Tensor, "B h S c"]]:
        """Put the keys and values of t new tokens behind a layer's earlier ones.

        Returns:
            All that the layer has by now: (keys, values).
        """
        ### BEGIN SOLUTION
        if layer in self.kept:
            old_k, old_v = self.kept[layer]
            k, v = torch.cat([old_k, k], dim=2), torch.cat([old_v, v], dim=2)
        self.kept[layer] = (k, v)
        return k, v
        ### END SOLUTION


def cached_attention(
    q: Float[Tensor, "B h t c"],
    k: Float[Tensor, "B h t c"],
    v: Float[Tensor, "B h t c"],
    cache: "KVCache",
    layer: int,
) -> Float[Tensor, "B h t c"]:
    """Let t new tokens look at all earlier ones, at each other, never ahead.

    q, k, v belong to the new tokens; k and v go into the cache. F.softmax and
    F.scaled_dot_product_attention are allowed; its `attn_mask` is True where one MAY
    look, and its `is_causal` counts from the first key, which is wrong here.
    """
    ### BEGIN SOLUTION
    k, v = cache.update(layer, k, v)
    t, S = q.shape[2], k.shape[2]
    may = torch.ones(t, S, dtype=torch.bool, device=q.device).tril(S - t)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=may)
    ### END SOLUTION


def heads_of(attention: nn.MultiheadAttention, x: Float[Tensor, "B t D"], part: int) -> Float[Tensor, "B h t c"]:
    """Return a library module's queries (part 0), keys (1) or values (2) of x, by head."""
    weight, bias = attention.in_proj_weight.chunk(3)[part], attention.in_proj_bias.chunk(3)[part]
    return F.linear(x, weight, bias).unflatten(2, (attention.num_heads, -1)).transpose(1, 2)


def decode_cached(
    model: Captioner,
    words: Int[Tensor, "B t"],
    memory: Float[Tensor, "B S D"],
    cache: KVCache,
    cross: dict,
) -> Float[Tensor, "B t V"]:
    """Score the next word after each of t NEW words; `cache` and `cross` know the earlier.

    `cross` keeps each layer's keys and values of the memory, which never change.
    """
    places = cache.length + torch.arange(words.shape[1])
    x = model.word(words) + model.word_place[places]
    for i, layer in enumerate(model.decoder):
        z = layer.norm1(x)
        y = cached_attention(*(heads_of(layer.attention, z, part) for part in range(3)), cache, i)
        x = x + layer.attention.out_proj(y.transpose(1, 2).flatten(2))
        if i not in cross:
            cross[i] = [heads_of(layer.cross, memory, part) for part in (1, 2)]
        y = F.scaled_dot_product_attention(heads_of(layer.cross, layer.norm2(x), 0), *cross[i])
        x = x + layer.cross.out_proj(y.transpose(1, 2).flatten(2))
        x = x + layer.feed(layer.norm3(x))
    return model.score(model.norm_out(x))


def noam_lr(step: int, dim: int, warmup: int = 4000) -> float:
    """Return the learning rate of the paper at a step (Vaswani et al., 2017, equation 3).

    dim^(-1/2) * min(step^(-1/2), step * warmup^(-3/2)): it grows by the same amount each
    step for `warmup` steps, then falls like 1 / sqrt(step). Step 0 counts as step 1.
    """
    ### BEGIN SOLUTION
    step = max(step, 1)
    return dim**-0.5 * min(step**-0.5, step * warmup**-1.5)
    ### END SOLUTION


def label_smoothing_loss(
    logits: Float[Tensor, "M V"],
    target: Int[Tensor, "M"],
    eps: float = 0.1,
    pad: int = 0,
) -> Float[Tensor, ""]:
    """Return the distance of M predictions from smoothed targets, summed, not averaged.

    The wanted distribution q of a row gives the true word 1 - eps, and every other word
    but `pad` eps / (V - 2); `pad` gets 0. Rows whose target is `pad` cost nothing. The
    distance is the Kullback-Leibler divergence, the sum over words of q (log q - log p),
    where p is the softmax of the logits and 0 log 0 = 0. It must stay finite however far
    apart the logits are, and with eps = 0, where it is the cross-entropy.
    """
    ### BEGIN SOLUTION
    V = logits.shape[1]
    q = torch.full_like(logits, eps / (V - 2))
    q[:, pad] = 0
    q[torch.arange(len(target)), target] = 1 - eps
    q[target == pad] = 0
    return (torch.xlogy(q, q) - q * logits.log_softmax(dim=1)).sum()
    ### END SOLUTION
