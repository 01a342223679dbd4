"""The chapter's encoders, each trained without labels by the reference: 1500 steps of 128 pictures' worth of pixels.

`task(name, ...)` builds a method; the recipes train it longer than a lesson can, the claims shorter and several times.
"""

import copy
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlcv_lab.zoo.recipes import Training, recipe, step_generator
from solutions import ch04_self_supervised_learning as ours

SEED, UNLABELLED, HELD_OUT = 4_000, 41, 42
ORDERS = torch.tensor(list(itertools.permutations(range(4))))
SIZE, STRIDE, AHEAD = 12, 5, (2, 3)  # patches of CPC, and how many rows below are foretold


@dataclass
class Task:
    """A method before its first step: `encoder` is what is judged, `module` what is kept, `also` what only trains."""

    encoder: nn.Module
    module: nn.Module
    loss: Callable[[int], Tensor]
    also: dict[str, nn.Module] = field(default_factory=dict)
    after: Callable[[int], None] | None = None


def mlp(fed: int, made: int, hidden: int = 128) -> nn.Sequential:
    return nn.Sequential(nn.Linear(fed, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, made))


def chooser(x: Tensor, seed: int) -> Callable[[int, int], tuple[Tensor, torch.Generator]]:
    """Return what draws the places of a step's pictures, and the generator of the step's other draws."""

    def draw(step: int, n: int) -> tuple[Tensor, torch.Generator]:
        rng = step_generator(seed, step)
        return torch.randint(len(x), (n,), generator=rng), rng

    return draw


def supervised(x: Tensor, y: Tensor, seed: int) -> Task:
    net, draw = nn.Sequential(ours.Encoder(), nn.Linear(64, 6)), chooser(x, seed)

    def loss(step: int) -> Tensor:
        chosen, _ = draw(step, 128)
        return F.cross_entropy(net(x[chosen]), y[chosen])

    return Task(net[0], net, loss)


def rotations(x: Tensor, seed: int) -> Task:
    net, draw = nn.Sequential(ours.Encoder(), nn.Linear(64, 4)), chooser(x, seed)

    def loss(step: int) -> Tensor:
        images, turns = ours.rotate_batch(x[draw(step, 32)[0]])
        return F.cross_entropy(net(images), turns)

    return Task(net[0], net, loss)


def puzzle(x: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Cut pictures into 2x2 shuffled tiles of 14 pixels, and say in which of the 24 orders."""
    which = torch.randint(24, (len(x),), generator=rng)
    offsets = torch.randint(0, 3, (len(x), 4, 2), generator=rng)
    return ours.make_jigsaw(x, ORDERS[which], offsets, 2, 14), which


def jigsaws(x: Tensor, seed: int) -> Task:
    net, draw = ours.JigsawNet(ours.Encoder(), 4, 24), chooser(x, seed)

    def loss(step: int) -> Tensor:
        chosen, rng = draw(step, 128)
        tiles, which = puzzle(x[chosen], rng)
        return F.cross_entropy(net(tiles), which)

    return Task(net.encoder, net, loss)


def relit(light: Tensor, rng: torch.Generator) -> Tensor:
    gain, sign, move = torch.rand(3, len(light), 1, 1, 1, generator=rng)
    return 0.5 + (light - 0.5) * (0.5 + 0.7 * gain) * (2 * (sign < 0.5) - 1) + 0.4 * (move - 0.5)


def colours(x: Tensor, seed: int, *, classify: bool = True) -> Task:
    """Colorization by classes of colour with rebalancing, or by plain regression of the colour.

    The lightness is stretched, moved and turned over at random: yellow is light and blue is dark, and a network that
    needs no more than that to name the colour never looks at the shape.
    """
    lab, draw = ours.to_lab(x), chooser(x, seed)
    light, ab = lab[:, :1], lab[:, 1:, 2::4, 2::4].permute(0, 2, 3, 1)  # (N, 8, 8, 2)
    bins = ours.colour_bins(ab.reshape(-1, 2))
    soft = ours.soft_encode(ab.reshape(-1, 2), bins)
    weight = ours.rebalance_weights(soft.mean(0))
    soft = soft.reshape(len(x), 64, -1)
    net = ours.ColourNet(ours.Encoder(), len(bins) if classify else 2)

    def loss(step: int) -> Tensor:
        chosen, rng = draw(step, 128)
        scores = net(relit(light[chosen], rng)).permute(0, 2, 3, 1)
        if not classify:
            return (scores - ab[chosen] / 100).square().sum(3).mean()
        target = soft[chosen]
        charge = -(target * scores.flatten(1, 2).log_softmax(2)).sum(2)
        return (weight[target.argmax(2)] * charge).mean()

    return Task(net.encoder, net, loss)


def predictions(x: Tensor, seed: int) -> Task:
    """CPC: from the mean context of the rows so far, the patches two and three rows below."""
    encoder, draw = ours.Encoder(), chooser(x, seed)
    context = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))
    ahead = nn.ModuleList(nn.Linear(64, 64, bias=False) for _ in AHEAD)

    def loss(step: int) -> Tensor:
        chosen, _ = draw(step, 32)
        patches = ours.to_patches(x[chosen], SIZE, STRIDE)  # (N, G, G, 3, 12, 12)
        z = encoder(ours.normalise(patches.flatten(0, 2))).unflatten(0, patches.shape[:3])
        c = ours.causal_mean(context(z))
        pairs = [(w(c[:, :-k]).flatten(0, 2), z[:, k:].flatten(0, 2)) for w, k in zip(ahead, AHEAD)]
        return torch.stack([ours.info_nce(*pair) for pair in pairs]).mean()

    return Task(encoder, encoder, loss, {"context": context, "ahead": ahead})


def contrast(x: Tensor, seed: int, *, head: str = "nonlinear", jitter: float = 1.0, temperature: float = 0.2) -> Task:
    net, draw = nn.Sequential(ours.Encoder(), ours.projection_head(head)), chooser(x, seed)

    def loss(step: int) -> Tensor:
        chosen, rng = draw(step, 64)
        views = [net(ours.random_view(x[chosen], rng, jitter=jitter)) for _ in range(2)]
        return ours.nt_xent(*views, temperature)

    return Task(net[0], net, loss)


def bootstrap(
    x: Tensor, seed: int, *, steps: int, average: bool = True, stop: bool = True, predictor: bool = True
) -> Task:
    """BYOL; without `average` the target equals the online network, without `stop` it learns as well."""
    online, draw = nn.Sequential(ours.Encoder(), mlp(64, 32)), chooser(x, seed)
    guess = mlp(32, 32) if predictor else nn.Identity()
    target = copy.deepcopy(online).requires_grad_(False)

    def loss(step: int) -> Tensor:
        chosen, rng = draw(step, 64)
        a, b = (ours.random_view(x[chosen], rng) for _ in range(2))
        z1, z2 = online(a), online(b)
        if stop:
            with torch.no_grad():
                t1, t2 = (target(a), target(b)) if average else (z1, z2)
            return ours.byol_loss(guess(z1), guess(z2), t1, t2)
        cosines = F.cosine_similarity(guess(z1), z2) + F.cosine_similarity(guess(z2), z1)
        return (4 - 2 * cosines).mean()

    def after(step: int) -> None:
        tau = 1 - (1 - 0.98) * (math.cos(math.pi * step / steps) + 1) / 2
        ours.ema_update(target, online, tau)

    return Task(online[0], online, loss, {"guess": guess, "target": target}, after)


def twins(x: Tensor, seed: int) -> Task:
    net, draw = nn.Sequential(ours.Encoder(), mlp(64, 64)), chooser(x, seed)

    def loss(step: int) -> Tensor:
        chosen, rng = draw(step, 64)
        views = [net(ours.random_view(x[chosen], rng)) for _ in range(2)]
        return ours.barlow_loss(ours.cross_correlation(*views), 0.02)

    return Task(net[0], net, loss)


def grey(x: Tensor) -> Tensor:
    return ours.to_lab(x)[:, :1].expand(-1, 3, -1, -1)


PREPARE: dict[str, Callable[[Tensor], Tensor]] = {
    "colorization": grey,
    "colorization_random": grey,
    "jigsaw": ours.normalise,
    "cpc": ours.normalise,
}
"""What an encoder was fed while it learned, it is fed while it is judged."""


def judged(encoder: nn.Module, name: str, labels: int = 10, draws: int = 5) -> float:
    """Return the accuracy of a linear probe for the shape, `labels` a class, 1000 other pictures, mean over draws."""
    prepare = PREPARE.get(name, lambda x: x)
    x, y, _ = ours.draw_pictures(2000, HELD_OUT)
    h = ours.extract_features(encoder, prepare(x))
    right = []
    for n in range(draws):
        order = torch.randperm(1000, generator=torch.Generator().manual_seed(n))
        chosen = ours.few_labels(y[:1000], labels, order)
        with torch.enable_grad():
            scores = ours.linear_probe(h[chosen], y[chosen], h[1000:], 6, 1e-2)
        right.append((scores.argmax(1) == y[1000:]).float().mean().item())
    return sum(right) / draws


FIGURES = {"probe": "linear probe of the shape, 10 labels a class, 1000 held-out pictures, mean of 5 draws of labels"}
DATA = "4000 unlabelled pictures of one upright thing, 32x32; {} a step"
LIMITS = "It has seen six shapes upright, in eight colours, on plain and patterned grounds."
COMMON = {"steps": 1500, "lr": 2e-3, "seed": SEED, "figures": FIGURES, "limits": LIMITS}


def plan(name: str, task: Task) -> Training:
    def measure() -> dict[str, float]:
        return {"probe": judged(task.encoder, name)}

    return Training(task.module, task.loss, measure, also=task.also, after=task.after)


def pictures(**look: bool) -> Tensor:
    return ours.draw_pictures(4000, UNLABELLED, **look)[0]


@recipe(**COMMON, data="4000 pictures with all their labels, 128 a step")
def supervised_encoder() -> Training:
    """The encoder trained with every label: what the others are measured against."""
    x, y, _ = ours.draw_pictures(4000, UNLABELLED)
    return plan("supervised_encoder", supervised(x, y, SEED))


@recipe(**COMMON, data=DATA.format("32 pictures, four turns each,"))
def rotnet() -> Training:
    """The encoder trained to name the rotation."""
    return plan("rotnet", rotations(pictures(), SEED))


@recipe(**COMMON, data=DATA.format("128 puzzles of four tiles"))
def jigsaw() -> Training:
    """The encoder trained to name the order of four tiles."""
    return plan("jigsaw", jigsaws(pictures(), SEED))


@recipe(**COMMON, data=DATA.format("128 grey pictures, things in natural colours,"))
def colorization() -> Training:
    """The encoder trained to colour a world in which every shape has its colour."""
    return plan("colorization", colours(pictures(natural=True), SEED))


@recipe(**COMMON, data=DATA.format("128 grey pictures"))
def colorization_random() -> Training:
    """The encoder trained to colour a world in which colour says nothing about shape."""
    return plan("colorization_random", colours(pictures(), SEED))


@recipe(**COMMON, data=DATA.format("32 pictures of 25 patches"))
def cpc() -> Training:
    """The encoder trained to tell the true patch below from others."""
    return plan("cpc", predictions(pictures(), SEED))


@recipe(**COMMON, data=DATA.format("64 pictures, two views each,"))
def simclr() -> Training:
    """The encoder trained by NT-Xent, with its projection head."""
    return plan("simclr", contrast(pictures(), SEED))


@recipe(**COMMON, data=DATA.format("64 pictures, two views each,"))
def byol() -> Training:
    """The encoder trained to foretell its own moving average, with its projector."""
    return plan("byol", bootstrap(pictures(), SEED, steps=1500))


@recipe(**COMMON, data=DATA.format("64 pictures, two views each,"))
def barlow_twins() -> Training:
    """The encoder trained to decorrelate its features, with its projector."""
    return plan("barlow_twins", twins(pictures(), SEED))
