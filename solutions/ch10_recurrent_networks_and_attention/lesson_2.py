"""From one vector to a glance at every word: encoder, decoder, attention, and pictures that are told.

Notebook 2 of chapter 10. Axes: B sentences, T places of the source, L words of the target, V words of the vocabulary,
Q and K numbers of a query and of a key, A of the alignment model, G cells along a side of a picture's grid.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from dlcv_lab import world

PAD, BOS, EOS = 0, 1, 2
"""Words that are none: nothing stands here; a sentence begins; it ends."""

FRENCH = {
    "circle": "cercle", "square": "carré", "triangle": "triangle", "star": "étoile",
    "ring": "anneau", "cross": "croix", "heart": "cœur", "arrow": "flèche",
    "moon": "lune", "drop": "goutte", "house": "maison", "leaf": "feuille",
    "red": "rouge", "orange": "orange", "yellow": "jaune", "green": "vert",
    "cyan": "cyan", "blue": "bleu", "purple": "violet", "brown": "brun",
}  # fmt: skip
FEMININE = ("star", "cross", "arrow", "moon", "drop", "house", "leaf")
ENDINGS = {"vert": "verte", "bleu": "bleue", "violet": "violette", "brun": "brune"}
ENGLISH_WORDS = ("<pad>", "<bos>", "<eos>", "a", "an", "and", *world.COLOURS, *world.ALL_SHAPES)
FRENCH_WORDS = ("<pad>", "<bos>", "<eos>", "un", "une", "et", *FRENCH.values(), *ENDINGS.values())


def translate(colours: list[str], shapes: list[str]) -> tuple[list[str], list[str]]:
    """Name things in English and in French: "a green star" and "une étoile verte".

    In French the adjective comes behind, and article and adjective agree with the
    gender of the thing, which English says last.
    """
    english: list[str] = []
    french: list[str] = []
    for colour, shape in zip(colours, shapes):
        female = shape in FEMININE
        told = FRENCH[colour]
        english += ["and", "an" if colour == "orange" else "a", colour, shape]
        french += ["et", "une" if female else "un", FRENCH[shape]]
        french += [ENDINGS.get(told, told) if female else told]
    return english[1:], french[1:]


def draw_sentences(
    n: int,
    seed: int,
    things: tuple[int, int] = (1, 5),
) -> tuple[Int[Tensor, "N T"], Int[Tensor, "N L"]]:
    """Draw n English sentences and their translations, as numbers of words.

    `things` is how many things a sentence names, least and most. Every sentence ends
    with EOS; PAD fills the rows up to T = L = 4 * most words.
    """
    rng = torch.Generator().manual_seed(seed)
    rows = torch.zeros(2, n, 4 * things[1], dtype=torch.int64)
    count = torch.randint(things[0], things[1] + 1, (n,), generator=rng).tolist()
    colour = torch.randint(len(world.COLOURS), (n, things[1]), generator=rng).tolist()
    shape = torch.randint(len(world.ALL_SHAPES), (n, things[1]), generator=rng).tolist()
    for k, m in enumerate(count):
        pair = translate([world.COLOURS[c] for c in colour[k][:m]], [world.ALL_SHAPES[s] for s in shape[k][:m]])
        for row, words, known in zip(rows[:, k], pair, (ENGLISH_WORDS, FRENCH_WORDS)):
            row[: len(words) + 1] = torch.tensor([*map(known.index, words), EOS])
    return rows[0], rows[1]


def shift_right(y: Int[Tensor, "B L"], bos: int) -> Int[Tensor, "B L"]:
    """Return what the decoder reads while it learns to say y: `bos`, then y's words.

    Place l holds the word before y[:, l]: the last word of y is said and never read.
    y stays as it is. (Teacher forcing: the right words are read, whatever was said.)
    """
    ### BEGIN SOLUTION
    read = torch.full_like(y, bos)
    read[:, 1:] = y[:, :-1]
    return read
    ### END SOLUTION


def greedy_decode(
    step,
    state,
    n: int,
    max_len: int,
    bos: int = 1,
    eos: int = 2,
    pad: int = 0,
) -> Int[Tensor, "n max_len"]:
    """Let a decoder speak: take the likeliest word each time, and read it back.

    `step(word, state)` reads one word of each of n sentences (int64, shape (n,)) and
    returns (logits of the next word (n, V), new state). The first word read is `bos`.
    A sentence is over with its `eos`, which stands in the answer; `pad` fills the rest
    of its row. When all are over, or after `max_len` words, stop: no further step is
    taken. Returns int64 (n, max_len).
    """
    ### BEGIN SOLUTION
    said = torch.full((n, max_len), pad, dtype=torch.int64)
    word, over = torch.full((n,), bos), torch.zeros(n, dtype=torch.bool)
    for place in range(max_len):
        if over.all():
            break
        logits, state = step(word, state)
        word = logits.argmax(1)
        said[:, place] = torch.where(over, pad, word)
        over = over | (word == eos)
    return said
    ### END SOLUTION


def connection_weights(T: int, L: int, D: int, A: int) -> dict[str, int]:
    """Count the weights that join T encoder states of D numbers to L decoder states.

    "dense": a matrix of its own for every pair. "attention": the alignment model
    v . tanh(W_s s + W_h h) with A numbers inside, the same for every pair.
    """
    return {"dense": T * L * D * D, "attention": 2 * D * A + A}


def additive_attention(
    s: Float[Tensor, "B Q"],
    h: Float[Tensor, "B T K"],
    W_s: Float[Tensor, "A Q"],
    W_h: Float[Tensor, "A K"],
    v: Float[Tensor, "A"],
    mask: Bool[Tensor, "B T"] | None = None,
) -> tuple[Float[Tensor, "B K"], Float[Tensor, "B T"]]:
    """Look at T places with a question s; return the context and the weights.

    Place j is scored e_j = v . tanh(W_s s + W_h h_j); the weights alpha are the softmax
    of the scores over the T places, and the context is the sum of alpha_j h_j.
    Bahdanau, Cho and Bengio, ICLR 2015, equations 5 and 6. Where `mask` is False there
    is no place: its weight is exactly 0, whatever stands there. A row without any
    place has weights and context 0.
    """
    ### BEGIN SOLUTION
    if mask is None:
        mask = torch.ones_like(h[:, :, 0], dtype=torch.bool)
    h = h.masked_fill(~mask[:, :, None], 0.0)
    scores = torch.tanh((s @ W_s.T)[:, None] + h @ W_h.T) @ v  # (B, T)
    scores = scores.masked_fill(~mask, -torch.inf)
    scores = scores.masked_fill(~mask.any(1, keepdim=True), 0.0)  # a row without any
    alpha = scores.softmax(dim=1) * mask
    return (alpha[:, :, None] * h).sum(1), alpha
    ### END SOLUTION


class Decoder(nn.Module):
    """Say a sentence about a memory h (B, T, K): words of another one, or places.

    With `attend` the context of every step is a fresh glance at the memory; without,
    it is one `summary` (B, K) for all steps. Everything else is the same.
    """

    def __init__(self, V: int, K: int, *, attend: bool, E: int = 32, D: int = 64) -> None:
        super().__init__()
        self.attend, self.embed = attend, nn.Embedding(V, E)
        self.first, self.cell = nn.Linear(K, D), nn.GRUCell(E + K, D)
        self.out = nn.Linear(D + K, V)
        if attend:
            self.W_s = nn.Parameter(torch.randn(D, D) / D**0.5)
            self.W_h = nn.Parameter(torch.randn(D, K) / K**0.5)
            self.v = nn.Parameter(torch.randn(D) / D**0.5)

    def begin(self, memory: Tensor, mask: Tensor | None, summary: Tensor) -> tuple:
        """Return the state before the first word."""
        return self.first(summary).tanh(), None, (memory, mask, summary)

    def step(self, word: Int[Tensor, "B"], state: tuple) -> tuple[Tensor, tuple]:
        """Read a word; return the logits of the next one and the new state."""
        s, alpha, (memory, mask, context) = state
        given = (memory, mask, context)
        if self.attend:
            parts = (self.W_s, self.W_h, self.v)
            context, alpha = additive_attention(s, memory, *parts, mask)
        s = self.cell(torch.cat([self.embed(word), context], dim=1), s)
        return self.out(torch.cat([s, context], dim=1)), (s, alpha, given)

    def forward(self, read: Int[Tensor, "B L"], state: tuple) -> tuple[Tensor, Tensor]:
        """Read L words; return all logits (B, L, V) and weights (B, L, T)."""
        logits, alphas = [], []
        for word in read.unbind(1):
            scores, state = self.step(word, state)
            logits.append(scores)
            alphas.append(state[1] if self.attend else state[2][0][:, :, 0] * 0)
        return torch.stack(logits, dim=1), torch.stack(alphas, dim=1)


class Translator(nn.Module):
    """A GRU in both directions reads the source; a decoder says the target."""

    def __init__(self, *, attend: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(len(ENGLISH_WORDS), 32)
        self.rnn = nn.GRU(32, 32, batch_first=True, bidirectional=True)
        self.decoder = Decoder(len(FRENCH_WORDS), 64, attend=attend)

    def encode(self, source: Int[Tensor, "B T"]) -> tuple:
        """Return the decoder's first state. The summary: both last states, 64 numbers."""
        mask = source != PAD
        packed = pack_padded_sequence(self.embed(source), mask.sum(1), batch_first=True, enforce_sorted=False)
        states, last = self.rnn(packed)
        memory, _ = pad_packed_sequence(states, batch_first=True, total_length=source.shape[1])
        return self.decoder.begin(memory, mask, torch.cat([*last], dim=1))

    def forward(self, source: Int[Tensor, "B T"], read: Int[Tensor, "B L"]) -> tuple:
        """Return logits (B, L, V) and weights (B, L, T)."""
        return self.decoder(read, self.encode(source))


CAPTION_SHAPES = world.SHAPES[:4]
CAPTION_WORDS = (
    "<pad>", "<bos>", "<eos>", "a", "an", "left", "of", "above",
    *world.COLOURS, *CAPTION_SHAPES,
)  # fmt: skip


def draw_captioned(n: int, seed: int) -> tuple[Float[Tensor, "N 3 32 32"], Int[Tensor, "N L"], world.Scene]:
    """Draw n pictures of two things, a caption of each as numbers of words, the scenes.

    "a red circle left of a blue square": what the world says, without sizes and ground.
    The thing in the scene's first slot is named first; it lies to the left, or above.
    """
    looks = {"objects": 2, "shapes": CAPTION_SHAPES, "sizes": (0.13, 0.18)}
    scene = world.sample(3 * n + 20, seed, **looks)
    texts = world.caption(scene, level=2)
    keep = [k for k, text in enumerate(texts) if " left of " in text or " above " in text][:n]
    scene, rows = scene[torch.tensor(keep)], torch.zeros(n, 9, dtype=torch.int64)
    for row, text in zip(rows, (texts[k] for k in keep)):
        known = text.split(" on ")[0].replace(".", "").split()
        words = [word for word in known if word in CAPTION_WORDS]
        for k in (k for k, word in enumerate(words) if word in ("a", "an")):
            words[k] = "an" if words[k + 1] == "orange" else "a"
        row[: len(words) + 1] = torch.tensor([*map(CAPTION_WORDS.index, words), EOS])
    return world.render(scene, 32), rows, scene


class Captioner(nn.Module):
    """A convolutional network looks, a decoder says what is there.

    The memory are 8x8 places of 64 numbers, each with a learned mark of where it is.
    The summary is ONE vector of 64 numbers, from a fully connected layer over all places.
    """

    def __init__(self, *, attend: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for fed, made, stride in ((3, 24, 1), (24, 32, 2), (32, 48, 2), (48, 64, 1)):
            conv = nn.Conv2d(fed, made, 3, stride, 1, bias=False)
            layers += [conv, nn.BatchNorm2d(made), nn.ReLU()]
        self.cnn = nn.Sequential(*layers)
        self.where = nn.Parameter(torch.randn(64, 64) / 8)
        self.whole = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1024, 64))
        self.decoder = Decoder(len(CAPTION_WORDS), 64, attend=attend)

    def encode(self, x: Float[Tensor, "B 3 32 32"]) -> tuple:
        """Return the decoder's first state."""
        maps = self.cnn(x)  # (B, 64, 8, 8)
        memory = maps.flatten(2).transpose(1, 2) + self.where
        return self.decoder.begin(memory, None, self.whole(maps))

    def forward(self, x: Float[Tensor, "B 3 32 32"], read: Int[Tensor, "B L"]) -> tuple:
        """Return logits (B, L, V) and weights (B, L, 64)."""
        return self.decoder(read, self.encode(x))


def attention_on(
    alpha: Float[Tensor, "B P"],
    masks: Bool[Tensor, "B H W"],
) -> tuple[Float[Tensor, "B"], Float[Tensor, "B"]]:
    """Say how much of the attention lies on a thing, and how large the thing is.

    P = G * G cells cut the picture into G rows of G equal cells, row by row. A cell
    belongs to the thing with the share of its pixels that are in the mask. Returns,
    for each picture, the sum over cells of alpha times that share, and the mean share:
    what even attention would have got.

    Raises:
        ValueError: P is no square number, or G does not divide H and W.
    """
    ### BEGIN SOLUTION
    G, (H, W) = round(alpha.shape[1] ** 0.5), masks.shape[1:]
    if alpha.shape[1] != G * G or H % G or W % G:
        raise ValueError(f"{alpha.shape[1]} cells do not tile {H}x{W} pixels")
    cover = F.avg_pool2d(masks[:, None].to(alpha.dtype), (H // G, W // G)).flatten(1)
    return (alpha * cover).sum(1), cover.mean(1)
    ### END SOLUTION
