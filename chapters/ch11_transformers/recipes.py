"""The chapter's captioner: an encoder of two layers, a decoder of two, trained on pictures of two things."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dlcv_lab.zoo.recipes import Training, recipe, step_generator
from solutions import ch11_transformers as ours

SEED, HELD_OUT = 11_000, 42
DIM, HEADS, HIDDEN = 64, 4, 128


def captioner(layer: type[ours.DecoderLayer] = ours.DecoderLayer) -> ours.Captioner:
    """Return the chapter's model with random weights; `layer` is what its decoder is made of."""
    encoder = [ours.EncoderLayer(DIM, HEADS, HIDDEN, norm_first=True) for _ in range(2)]
    decoder = [layer(DIM, HEADS, HIDDEN, norm_first=True) for _ in range(2)]
    return ours.Captioner(encoder, decoder, DIM)


def word_loss(model: ours.Captioner, images: Tensor, words: Tensor) -> Tensor:
    """Return the cross-entropy of every next word, padding left out."""
    logits = model(images, words[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), words[:, 1:].flatten(), ignore_index=ours.PAD)


@torch.no_grad()
def written(model: ours.Captioner, images: Tensor) -> Tensor:
    """Return greedy captions (N, up to 10)."""
    memory = model.encode(images)
    start = torch.full((len(images), 1), ours.START)
    return ours.greedy_decode(lambda words: model.decode(words, memory), start, ours.END, ours.PAD, 9)


def right(found: Tensor, words: Tensor) -> float:
    """Return the share of captions that agree in every word."""
    found = F.pad(found, (0, words.shape[1] - found.shape[1]), value=ours.PAD)
    return (found == words).all(1).float().mean().item()


def draw(step: int, n: int = 64, seed: int = SEED) -> tuple[Tensor, Tensor]:
    """Return the pictures and captions of one step."""
    return ours.draw_scenes(n, int(torch.randint(2**31, (), generator=step_generator(seed, step))))


@recipe(
    steps=4000,
    lr=2e-3,
    seed=SEED,
    data="64 pictures of two things a step, 32x32, on white, with one caption each",
    figures={
        "words": "share of next words foretold, true words before them given, 1000 held-out pictures",
        "captions": "share of captions that are right in every word, written greedily, 1000 held-out pictures",
    },
    least={"captions": 0.7},
    limits="It knows two upright things of medium size on white, and the words left of and above.",
)
def captions() -> Training:
    """A Transformer that captions scenes."""
    model = captioner()

    def measure() -> dict[str, float]:
        images, words = ours.draw_scenes(1000, HELD_OUT)
        told = model(images, words[:, :-1]).argmax(2)
        real = words[:, 1:] != ours.PAD
        return {
            "words": (told == words[:, 1:])[real].float().mean().item(),
            "captions": right(written(model, images), words),
        }

    return Training(model, lambda step: word_loss(model, *draw(step)), measure)
