"""Claims of notebook 1: scale, masks, heads, positions, and what is parallel."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autograder.declare.claim import Claim
from autograder.declare.kept import kept
from chapters.ch11_transformers.claims.common import SEEDS, mean, seconds, train
from dlcv_lab import count_params, seed
from solutions import ch11_transformers as ours


def root(n: int) -> dict[str, float]:
    rng = torch.Generator().manual_seed(n)
    q, k = (torch.randn(500, 16, 512, generator=rng) for _ in range(2))
    a = ours.attention_scores(q, k)
    found = {"variance, divided": a.var().item()}
    for name, scores in (("divided", a), ("not divided", a * math.sqrt(512))):
        found[f"strongest, {name}"] = ours.attend(scores, k)[1].amax(2).mean().item()
    return found


def reach(n: int) -> dict[str, float]:
    """Return how strongly the last of 64 outputs feels the first token, in three layers with fresh weights."""
    seed(n)
    weights = [torch.randn(32, 32) / 32**0.5 for _ in range(3)]
    layers = {
        "attention": lambda x: ours.self_attention(x, *weights),
        "recurrent": nn.RNN(32, 32, batch_first=True),
        "LSTM": nn.LSTM(32, 32, batch_first=True),
    }
    found = {}
    for name, layer in layers.items():
        x = torch.randn(20, 64, 32, requires_grad=True)
        (slope,) = torch.autograd.grad(layer(x)[0][:, -1].square().sum(), x)
        norms = slope[:, 0].norm(dim=1).mean(), slope[:, -1].norm(dim=1).mean()
        found[f"first over last, {name}"] = (norms[0] / norms[1]).item()
    return found


def speed(n: int) -> dict[str, float]:
    seed(n)
    weights, rnn = [torch.randn(64, 64) / 8 for _ in range(3)], nn.RNN(64, 64, batch_first=True)
    x = torch.randn(1, 256, 64)
    with torch.no_grad():
        attention = seconds(lambda: ours.self_attention(x, *weights), 15)
        return {"times as fast": seconds(lambda: rnn(x), 15) / attention}


def silent(n: int) -> dict[str, float]:
    rng = torch.Generator().manual_seed(n)
    q, k, v = (torch.randn(2, 12, 8, generator=rng) for _ in range(3))
    mask, worst = ours.causal_mask(12), 0.0
    before = ours.sdpa(q, k, v, mask)[0]
    for t in range(12):
        k2, v2 = k.clone(), v.clone()
        k2[:, t + 1 :] += 3
        v2[:, t + 1 :] -= 3
        worst = max(worst, (ours.sdpa(q, k2, v2, mask)[0] - before)[:, : t + 1].abs().max().item())
    return {"largest move": worst}


def drilled(model: nn.Module, answers, n: int) -> float:
    """Train on ten of eight symbols, 250 steps of 64; return the share of right answers for 1000 new sequences."""

    def batch(rng: torch.Generator, size: int) -> tuple[Tensor, Tensor]:
        symbols = torch.randint(8, (size, 10), generator=rng)
        return model(symbols).unflatten(2, (-1, 8)), answers(symbols)

    def loss(rng: torch.Generator) -> Tensor:
        scores, wanted = batch(rng, 64)
        return F.cross_entropy(scores.flatten(0, 2), wanted.flatten())

    train([model], loss, 250, 3e-3, n)
    with torch.no_grad():
        scores, wanted = batch(torch.Generator().manual_seed(n + 1000), 1000)
    return (scores.argmax(3) == wanted).float().mean().item()


def four_questions(symbols: Tensor) -> Tensor:
    """Return, for every place, the neighbours on both sides, the first symbol, and the last."""
    ends = [symbols[:, i : i + 1].expand_as(symbols) for i in (0, 9)]
    return torch.stack([symbols.roll(1, 1), symbols.roll(-1, 1), *ends], 2)


@kept
def heads(n: int) -> dict[str, float]:
    found = {}
    for h in (1, 4):
        seed(n)
        model = ours.Lookup(8, 32, 32, h, nn.Parameter(torch.randn(10, 32)))
        found[f"{h} heads"] = drilled(model, four_questions, n)
    return found


def head_weights(n: int) -> dict[str, float]:
    return {f"{h} heads": count_params(ours.MultiHeadAttention(512, h)) for h in (1, 2, 8)}


@kept
def places(n: int) -> dict[str, float]:
    found = {}
    for name in ("none", "sinusoidal", "learned"):
        seed(n)
        table = {"sinusoidal": ours.sinusoidal_positions(10, 32), "learned": nn.Parameter(torch.randn(10, 32))}
        model = ours.Lookup(8, 8, 32, 1, table.get(name))
        found[name] = drilled(model, lambda symbols: symbols.flip(1)[:, :, None], n)
    return found


CLAIMS = [
    Claim(
        id="root-of-d",
        methods=("ch11/self_attention",),
        says="Scores are inner products divided by the root of d; undivided, large d pushes the softmax into regions "
        "of tiny gradients",
        source="slide 'Self-Attention (2/5)'; vaswani2017attention, section 3.2.1",
        analogue="The largest of 16 weights, mean over 8000 rows, for normal queries and keys of 512 numbers.",
        conditions="500 x 16 queries and keys, d = 512",
        threshold="above 0.9 undivided, below 0.3 divided; variance of the divided scores within 5 % of 1",
        measure=root,
        holds=lambda v: (
            mean(v["strongest, not divided"]) > 0.9
            and mean(v["strongest, divided"]) < 0.3
            and all(abs(x - 1) < 0.05 for x in v["variance, divided"])
        ),
        seeds=SEEDS,
    ),
    Claim(
        id="long-distance",
        methods=("ch11/parallel_and_pooling", "ch11/self_attention"),
        says="Each output considers all inputs, modelling their long-distance dependencies",
        source="slide 'Self-Attention (5/5)'; vaswani2017attention, table 1 (maximum path length)",
        analogue="Gradient of the last of 64 outputs at the first token over that at the last token, fresh weights.",
        conditions="32 numbers a token, 20 sequences; nn.RNN and nn.LSTM as PyTorch initialises them",
        threshold="attention more than a million times the recurrent network, and above the LSTM",
        measure=reach,
        holds=lambda v: (
            mean(v["first over last, attention"]) > 1e6 * mean(v["first over last, recurrent"])
            and mean(v["first over last, attention"]) > mean(v["first over last, LSTM"])
        ),
        seeds=SEEDS,
    ),
    Claim(
        id="in-parallel",
        methods=("ch11/parallel_and_pooling",),
        says="All outputs can be computed in parallel",
        source="slide 'Self-Attention (5/5)'; vaswani2017attention, table 1 (sequential operations)",
        analogue="Seconds of nn.RNN over those of self-attention, forward, 256 tokens of 64 numbers, one core.",
        conditions="batch of 1; the best of 15 runs each",
        threshold="attention at least twice as fast",
        measure=speed,
        holds=lambda v: mean(v["times as fast"]) >= 2,
        seeds=SEEDS,
        cheap=False,
    ),
    Claim(
        id="the-future-is-silent",
        methods=("ch11/sdpa_masks",),
        says="Unpredicted tokens are masked during the softmax",
        source="slide 'The Decoder in Transformer'",
        analogue="How far an output moves when all later keys and values change.",
        conditions="2 sequences of 12 tokens, float32",
        threshold="exactly 0",
        measure=silent,
        holds=lambda v: v["largest move"] == [0.0],
        seeds=(0,),
        exact=True,
    ),
    Claim(
        id="as-many-heads-as-questions",
        methods=("ch11/multi_head",),
        says="Several heads perform attention in different subspaces, over different feature types",
        source="slides 'Multi-Head Self-Attention (1/4)' to '(4/4)'",
        analogue="Name both neighbours, the first and the last symbol: one head of 32 numbers against four of 8.",
        conditions="sequences of 10 of 8 symbols, learned positions, 250 steps of 64, Adam 3e-3. (Two questions were "
        "tried first: with some seeds one head finds a way to answer both; "
        "four are measured on the same seeds.)",
        threshold="four heads above 0.95, one below 0.80",
        measure=heads,
        holds=lambda v: mean(v["4 heads"]) > 0.95 and mean(v["1 heads"]) < 0.80,
        seeds=SEEDS,
        cheap=False,
    ),
    Claim(
        id="heads-cost-no-weights",
        methods=("ch11/multi_head",),
        says="The total cost of several heads is similar to that of one with full dimensionality",
        source="vaswani2017attention, section 3.2.2",
        analogue="Weights of the layer for D = 512 with 1, 2 and 8 heads.",
        conditions="four linear layers with biases",
        threshold="4 * 512^2 + 4 * 512 = 1 050 624 each",
        measure=head_weights,
        holds=lambda v: all(x == [1_050_624] for x in v.values()),
        seeds=(0,),
        exact=True,
    ),
    Claim(
        id="places-must-be-told",
        methods=("ch11/positional_encoding",),
        says="Without recurrence and convolution, positions must be injected; learned and sinusoidal ones do equally "
        "well",
        source="vaswani2017attention, section 3.5 and table 3, row E",
        analogue="Ten symbols backwards by one attention layer: no, sinusoidal, learned positions.",
        conditions="8 symbols, 32 numbers, one head, 250 steps of 64, Adam 3e-3",
        threshold="both kinds at least 0.3 above none, and within 0.02 of each other",
        measure=places,
        holds=lambda v: (
            min(mean(v["sinusoidal"]), mean(v["learned"])) - mean(v["none"]) >= 0.3
            and abs(mean(v["sinusoidal"]) - mean(v["learned"])) <= 0.02
        ),
        seeds=SEEDS,
        cheap=False,
    ),
]
