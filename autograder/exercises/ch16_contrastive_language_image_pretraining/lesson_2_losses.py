"""Chapter 16, notebook 2: cases, probes and variants of `siglip_loss` and `grad_cache_step`."""

import math

import torch
import torch.nn.functional as F

from autograder.exercise import Alternative, Exercise, Misconception
from dlcv_lab.checking.model import Case


def siglip_cases(rng: torch.Generator) -> list[Case]:
    """Draw features of uneven lengths; N and D differ."""

    def case(group: str, note: str, n: int, d: int, log_scale: float, bias: float) -> Case:
        img, txt = (torch.randn(n, d, generator=rng, dtype=torch.float64) for _ in range(2))
        lengths = 0.3 + 3 * torch.rand(2, n, 1, generator=rng, dtype=torch.float64)
        numbers = {"log_scale": log_scale, "bias": bias}
        return Case(
            group,
            {"img": img * lengths[0], "txt": txt * lengths[1]}
            | {name: torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()},
            note,
        )

    return [
        case("loss", "6 pairs, SigLIP's initial numbers", 6, 4, math.log(10), -10.0),
        case("loss", "5 pairs in 3 dimensions", 5, 3, 0.8, -1.5),
        case("edge", "one pair", 1, 4, 1.0, 0.5),
        case("edge", "a large negative bias", 4, 5, math.log(100), -60.0),
    ]


def siglip_probe(ns, data):
    """Return the loss and all four gradients."""
    inputs = [data[name] for name in ("img", "txt", "log_scale", "bias")]
    value, grads = probing.gradients(ns.siglip_loss, inputs)
    return {"loss": value} | {f"gradient of {n}": g for n, g in zip(("img", "txt", "log_scale", "bias"), grads)}


def siglip_loss__bce(img, txt, log_scale, bias):
    u = img / img.norm(dim=1, keepdim=True)
    v = txt / txt.norm(dim=1, keepdim=True)
    z = u @ v.T * torch.exp(log_scale) + bias
    target = torch.eye(len(z), dtype=z.dtype)
    return F.binary_cross_entropy_with_logits(z, target, reduction="sum") / len(z)


def siglip_loss__softplus(img, txt, log_scale, bias):
    z = F.cosine_similarity(img[:, None], txt[None], dim=2) * log_scale.exp() + bias
    own = torch.eye(len(z), dtype=torch.bool)
    return (F.softplus(-z[own]).sum() + F.softplus(z[~own]).sum()) / len(img)


def siglip_with_mistake(mistake, img, txt, log_scale, bias):
    if mistake != "no norm":
        img, txt = F.normalize(img, dim=1), F.normalize(txt, dim=1)
    factor = log_scale if mistake == "no exp" else log_scale.exp()
    z = factor * img @ txt.T + {"no bias": 0, "minus bias": -bias}.get(mistake, bias)
    y = torch.eye(len(z), dtype=z.dtype)
    if mistake != "zeros":
        y = 2 * y - 1
    if mistake == "diagonal":
        return -F.logsigmoid(z.diagonal()).mean()
    total = -F.logsigmoid(y * z).sum()
    return total / len(z) ** 2 if mistake == "squared" else total / len(z)


def siglip_loss__squared(img, txt, log_scale, bias):
    return siglip_with_mistake("squared", img, txt, log_scale, bias)


def siglip_loss__no_norm(img, txt, log_scale, bias):
    return siglip_with_mistake("no norm", img, txt, log_scale, bias)


def siglip_loss__no_exp(img, txt, log_scale, bias):
    return siglip_with_mistake("no exp", img, txt, log_scale, bias)


def siglip_loss__no_bias(img, txt, log_scale, bias):
    return siglip_with_mistake("no bias", img, txt, log_scale, bias)


def siglip_loss__minus_bias(img, txt, log_scale, bias):
    return siglip_with_mistake("minus bias", img, txt, log_scale, bias)


def siglip_loss__zeros(img, txt, log_scale, bias):
    return siglip_with_mistake("zeros", img, txt, log_scale, bias)


def siglip_loss__diagonal(img, txt, log_scale, bias):
    return siglip_with_mistake("diagonal", img, txt, log_scale, bias)


def mistaken(variant, hint: str, source_of: str, *helpers) -> Misconception:
    """Name a misconception after its function."""
    return Misconception(name=variant.__name__.split("__")[1], code=(*helpers, variant), hint=hint, source_of=source_of)


SIGLIP = Exercise(
    name="siglip_loss",
    methods=("ch16/siglip",),
    groups={"loss": 2, "edge": 1},
    cases=siglip_cases,
    probe=siglip_probe,
    alternatives=(
        Alternative(name="bce", code=(siglip_loss__bce,)),
        Alternative(name="softplus", code=(siglip_loss__softplus,)),
    ),
    misconceptions=(
        mistaken(
            siglip_loss__squared,
            "You divide by N * N, the number of entries. SigLIP divides by N, the number of pairs.",
            "card: divides by N, not N^2",
            siglip_with_mistake,
        ),
        mistaken(
            siglip_loss__no_norm,
            "The features have lengths of their own. Bring every row of both to length one first.",
            "library difference: open_clip's SigLipLoss expects normalised features",
            siglip_with_mistake,
        ),
        mistaken(
            siglip_loss__no_exp,
            "You multiply by `log_scale`. It is a logarithm: the factor is log_scale.exp().",
            "card: t' = ln 10 at the start",
            siglip_with_mistake,
        ),
        mistaken(
            siglip_loss__no_bias,
            "The bias is missing. Without it N * N - N wrong pairs begin with probability one half.",
            "card: b = 0 gives a loss of about N ln 2 at the start",
            siglip_with_mistake,
        ),
        mistaken(
            siglip_loss__minus_bias,
            "You subtract the bias. It is added; it begins at -10, so its sign is already in it.",
            "student mistake: -10 taken as 'subtract'",
            siglip_with_mistake,
        ),
        mistaken(
            siglip_loss__zeros,
            "Wrong pairs have y = -1, not 0: with 0 each costs ln 2, whatever the model says.",
            "student mistake: labels of binary cross-entropy used in the formula with the sign",
            siglip_with_mistake,
        ),
        mistaken(
            siglip_loss__diagonal,
            "You use the right pairs alone. Every wrong pair asks its question, too.",
            "student mistake: only the diagonal",
            siglip_with_mistake,
        ),
    ),
    hints=(
        "How many yes-or-no questions does a batch of N pairs hold, and how many have the answer yes?",
        "Normalise, z = exp(log_scale) * img @ txt.T + bias; y is +1 on the diagonal, -1 elsewhere; sum of "
        "-logsigmoid(y z), divided by N.",
        "y = 2 * torch.eye(len(z)) - 1; -F.logsigmoid(y * z).sum() / len(z)",
    ),
    good_for="training with small batches, and on many machines at once",
    minutes=10,
    core=True,
)


def cache_cases(rng: torch.Generator) -> list[Case]:
    """Draw linear towers; sizes of chunks that divide the batch, do not, and are larger than it."""

    def case(group: str, note: str, n: int, chunk: int, stale: bool = False) -> Case:
        def numbers(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=rng, dtype=torch.float64)

        data = {"images": numbers(n, 4), "ids": torch.randint(7, (n,), generator=rng), "W": numbers(3, 4)}
        return Case(group, data | {"words": numbers(7, 3), "chunk": chunk, "stale": stale}, note)

    return [
        case("plain", "6 pairs in chunks of 2", 6, 2),
        case("plain", "one pair at a time", 4, 1),
        case("edge", "7 pairs in chunks of 3", 7, 3),
        case("edge", "one chunk is enough", 4, 9),
        case("edge", "gradients are there already", 5, 2, stale=True),
    ]


def cache_probe(ns, data):
    """Return the loss and the gradients that stand in .grad, and the largest number of examples in a graph."""
    seen = []

    class Watched(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            if torch.is_grad_enabled():
                seen.append(len(x))
            return self.inner(x)

    image_net = Watched(nn.Linear(4, 3, bias=False).double())
    text_net = Watched(nn.Embedding(7, 3).double())
    image_net.inner.weight.data, text_net.inner.weight.data = data["W"].clone(), data["words"].clone()
    scale = nn.Parameter(torch.tensor(1.5, dtype=torch.float64))

    def loss(img, txt):
        Z = scale.exp() * F.normalize(img, dim=1) @ F.normalize(txt, dim=1).T
        return F.cross_entropy(Z, torch.arange(len(Z)))

    leaves = [image_net.inner.weight, text_net.inner.weight, scale]
    if data["stale"]:
        for leaf in leaves:
            leaf.grad = torch.ones_like(leaf)
    value = ns.grad_cache_step(image_net, text_net, data["images"], data["ids"], loss, chunk=data["chunk"])
    names = ("image gradient", "text gradient", "gradient of the scale")
    most = min(data["chunk"], len(data["images"]))
    return {"loss": float(value), "a graph is small enough": max(seen, default=0) <= most} | {
        name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for name, leaf in zip(names, leaves)
    }


def grad_cache_step__surrogate(image_net, text_net, images, ids, loss, *, chunk):
    def features(net, inputs):
        with torch.no_grad():
            return torch.cat([net(inputs[k : k + chunk]) for k in range(0, len(inputs), chunk)]).requires_grad_(True)

    img, txt = features(image_net, images), features(text_net, ids)
    value = loss(img, txt)
    value.backward()
    for k in range(0, len(images), chunk):
        part = slice(k, k + chunk)
        ((image_net(images[part]) * img.grad[part]).sum() + (text_net(ids[part]) * txt.grad[part]).sum()).backward()
    return float(value.detach())


def grad_cache_step__detached(image_net, text_net, images, ids, loss, *, chunk):
    kept = []
    for net, inputs in ((image_net, images), (text_net, ids)):
        rows = []
        for part in torch.split(inputs, chunk):
            with torch.no_grad():
                rows.append(net(part))
        kept.append(torch.cat(rows).detach().clone().requires_grad_())
    value = loss(*kept)
    value.backward()
    for net, inputs, all_features in zip((image_net, text_net), (images, ids), kept):
        start = 0
        for part in torch.split(inputs, chunk):
            out = net(part)
            torch.autograd.backward(out, all_features.grad[start : start + len(part)])
            start += len(part)
    return value.item()


def cache_with_mistake(mistake, image_net, text_net, images, ids, loss, chunk):
    nets = ((image_net, images), (text_net, ids))
    if mistake == "accumulates":
        parts = list(zip(images.split(chunk), ids.split(chunk)))
        total = 0.0
        for x, y in parts:
            value = loss(image_net(x), text_net(y)) / len(parts)
            value.backward()
            total += value.item()
        return total
    if mistake == "whole graph":
        value = loss(image_net(images), text_net(ids))
        value.backward()
        return value.item()
    with torch.no_grad():
        img, txt = (torch.cat([net(part) for part in inputs.split(chunk)]) for net, inputs in nets)
    img, txt = img.requires_grad_(), txt.requires_grad_()
    value = loss(img, txt)
    value.backward()
    if mistake == "clears":
        for net, _ in nets:
            net.zero_grad()
    for (net, inputs), gradient in zip(nets, (img.grad, txt.grad)):
        if mistake == "text stays" and net is text_net:
            continue
        for part, share in zip(inputs.split(chunk), gradient.split(chunk)):
            net(part).backward(share / len(inputs) if mistake == "divides" else share)
    return value.item()


def grad_cache_step__accumulates(image_net, text_net, images, ids, loss, *, chunk):
    return cache_with_mistake("accumulates", image_net, text_net, images, ids, loss, chunk)


def grad_cache_step__whole_graph(image_net, text_net, images, ids, loss, *, chunk):
    return cache_with_mistake("whole graph", image_net, text_net, images, ids, loss, chunk)


def grad_cache_step__clears(image_net, text_net, images, ids, loss, *, chunk):
    return cache_with_mistake("clears", image_net, text_net, images, ids, loss, chunk)


def grad_cache_step__text_stays(image_net, text_net, images, ids, loss, *, chunk):
    return cache_with_mistake("text stays", image_net, text_net, images, ids, loss, chunk)


def grad_cache_step__divides(image_net, text_net, images, ids, loss, *, chunk):
    return cache_with_mistake("divides", image_net, text_net, images, ids, loss, chunk)


CACHE = Exercise(
    name="grad_cache_step",
    methods=("ch16/basic",),
    groups={"plain": 2, "edge": 2},
    cases=cache_cases,
    probe=cache_probe,
    alternatives=(
        Alternative(name="surrogate", code=(grad_cache_step__surrogate,)),
        Alternative(name="detached", code=(grad_cache_step__detached,)),
    ),
    misconceptions=(
        mistaken(
            grad_cache_step__accumulates,
            "You add up the losses of the chunks. Each chunk then sees only its own negatives; that is another loss.",
            "card trap: naive accumulation is not equal, it only contrasts within chunks",
            cache_with_mistake,
        ),
        mistaken(
            grad_cache_step__whole_graph,
            "The gradients are right, but the whole batch is in one graph, which was to be avoided.",
            "student mistake: the exact result without its point",
            cache_with_mistake,
        ),
        mistaken(
            grad_cache_step__clears,
            "You clear gradients that were there before. Add to them; the caller decides when to clear.",
            "card: hidden case, existing .grad accumulates",
            cache_with_mistake,
        ),
        mistaken(
            grad_cache_step__text_stays,
            "The text tower gets no gradient: feed its chunks their share, too.",
            "student mistake: the second tower forgotten",
            cache_with_mistake,
        ),
        mistaken(
            grad_cache_step__divides,
            "The gradient of the features is already that of the mean loss. Do not divide it again.",
            "student mistake: a mean within a mean",
            cache_with_mistake,
        ),
    ),
    hints=(
        "The loss depends on the weights only through 2 N feature vectors. What does the chain rule need of each?",
        "Features without a graph, joined; requires_grad_(); loss and backward fill their .grad; every chunk "
        "again with "
        "a graph, .backward(its share of the gradient).",
        "for part, share in zip(images.split(chunk), img.grad.split(chunk)): image_net(part).backward(share)",
    ),
    good_for="a batch of 65 536 pairs on a machine that holds 500",
    minutes=25,
    difficulty="hard",
)
