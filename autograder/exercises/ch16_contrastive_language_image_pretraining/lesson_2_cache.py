"""Chapter 16, notebook 2: cases, probe and variants of `grad_cache_step`."""

import torch

from autograder.declare.exercise import Exercise, alternative
from autograder.declare.slips import slip
from dlcv_lab.checking.model import Case


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
    """Return the loss, the gradients that stand in .grad, and whether few enough examples were in graphs at a time."""
    import weakref

    class Examples:
        def __init__(self, n):
            self.n = n

    class Mark(torch.autograd.Function):  # its context lives as long as the graph, and knows when backward came by
        @staticmethod
        def forward(ctx, features, watched):
            ctx.examples, ctx.watched = Examples(len(features)), watched
            watched.alive.add(ctx.examples)
            watched.most = max(watched.most, sum(part.n for part in watched.alive))
            return features.clone()

        @staticmethod
        def backward(ctx, gradient):
            ctx.watched.alive.discard(ctx.examples)
            return gradient, None

    class Watched(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.alive, self.most = inner, weakref.WeakSet(), 0

        def forward(self, x):
            features = self.inner(x)
            return Mark.apply(features, self) if torch.is_grad_enabled() else features

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
    few = all(net.most <= data["chunk"] for net in (image_net, text_net))
    said = {"loss": float(value), "the loss is a float": isinstance(value, float)}
    return (
        said
        | {"few enough examples in graphs at a time": few}
        | {name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for name, leaf in zip(names, leaves)}
    )


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


GRAPHS = (
    "The gradients are right, but more than `chunk` examples are in graphs at a time. Compute the first features under "
    "torch.no_grad(), and call backward for one chunk before you run the next."
)


CACHE = Exercise(
    name="grad_cache_step",
    methods=("ch16/basic",),
    groups={"plain": 2, "edge": 2},
    cases=cache_cases,
    probe=cache_probe,
    alternatives=(alternative(grad_cache_step__surrogate), alternative(grad_cache_step__detached)),
    misconceptions=(
        slip("accumulates",
             {("with torch.no_grad():\n"
               "    img = torch.cat([image_net(part) for part in images.split(chunk)])\n"
               "    txt = torch.cat([text_net(part) for part in ids.split(chunk)])\n"
               "img.requires_grad_()\n"
               "txt.requires_grad_()"):
                "parts = list(zip(images.split(chunk), ids.split(chunk)))\n"
                "value = sum(loss(image_net(x), text_net(y)) for x, y in parts) / len(parts)",
              ("value = loss(img, txt)\n"
               "value.backward()"):
                "value.backward()",
              ("for net, inputs, gradient in ((image_net, images, img.grad), (text_net, ids, txt.grad)):\n"
               "    for part, share in zip(inputs.split(chunk), gradient.split(chunk)):\n"
               "        net(part).backward(share)"):
                ""},
             "You add up the losses of the chunks. Each chunk then sees only its own negatives; that is another loss.",
             "card trap: naive accumulation is not equal, it only contrasts within chunks"),
        slip("whole_graph",
             {("with torch.no_grad():\n"
               "    img = torch.cat([image_net(part) for part in images.split(chunk)])\n"
               "    txt = torch.cat([text_net(part) for part in ids.split(chunk)])\n"
               "img.requires_grad_()\n"
               "txt.requires_grad_()"):
                "img, txt = image_net(images), text_net(ids)",
              ("for net, inputs, gradient in ((image_net, images, img.grad), (text_net, ids, txt.grad)):\n"
               "    for part, share in zip(inputs.split(chunk), gradient.split(chunk)):\n"
               "        net(part).backward(share)"):
                ""},
             GRAPHS, "student mistake: the exact result without its point"),
        slip("all_graphs",
             {("with torch.no_grad():\n"
               "    img = torch.cat([image_net(part) for part in images.split(chunk)])\n"
               "    txt = torch.cat([text_net(part) for part in ids.split(chunk)])\n"
               "img.requires_grad_()\n"
               "txt.requires_grad_()"):
                "img = torch.cat([image_net(part) for part in images.split(chunk)])\n"
                "txt = torch.cat([text_net(part) for part in ids.split(chunk)])",
              ("for net, inputs, gradient in ((image_net, images, img.grad), (text_net, ids, txt.grad)):\n"
               "    for part, share in zip(inputs.split(chunk), gradient.split(chunk)):\n"
               "        net(part).backward(share)"):
                ""},
             GRAPHS, "student mistake: chunks that are joined with their graphs"),
        slip("adds_up",
             {("with torch.no_grad():\n"
               "    img = torch.cat([image_net(part) for part in images.split(chunk)])\n"
               "    txt = torch.cat([text_net(part) for part in ids.split(chunk)])\n"
               "img.requires_grad_()\n"
               "txt.requires_grad_()"):
                "parts = list(zip(images.split(chunk), ids.split(chunk)))\n"
                "value = sum(loss(image_net(x), text_net(y)) for x, y in parts)",
              ("value = loss(img, txt)\n"
               "value.backward()"):
                "value.backward()",
              ("for net, inputs, gradient in ((image_net, images, img.grad), (text_net, ids, txt.grad)):\n"
               "    for part, share in zip(inputs.split(chunk), gradient.split(chunk)):\n"
               "        net(part).backward(share)"):
                ""},
             "You add up the losses of the chunks. Each chunk then sees only its own negatives; that is another loss.",
             "card trap: naive accumulation, without a mean"),
        slip("loss_of_chunks",
             {"value = loss(img, txt)":
              "value = sum(loss(a, b) for a, b in zip(img.split(chunk), txt.split(chunk)))"},
             "You add up the losses of the chunks. Each chunk then sees only its own negatives; that is "
             "another loss.",
             "card trap: a loss for each chunk has other negatives"),
        slip("divides_by_chunks", {"backward(share)": "backward(share / len(inputs.split(chunk)))"},
             "The gradient of the features is that of the whole batch. Do not divide it by the number of chunks.",
             "library difference: gradient accumulation divides, this does not accumulate losses"),
        slip("scale_left_out", {"value.backward()": "img.grad, txt.grad = torch.autograd.grad(value, (img, txt))"},
             "The loss has a parameter of its own, which gets no gradient: call backward on the loss, once.",
             "student mistake: torch.autograd.grad for the features alone"),
        slip("scale_again",
             {"value.backward()":
                "value.backward()\n"
                "for _ in images.split(chunk)[1:]:\n"
                "    loss(img.detach(), txt.detach()).backward()"},
             "The loss's own parameter gets a gradient from each chunk. The loss is computed once, for the "
             "whole batch.", "card: hidden case, grad of log_scale included exactly once"),
        slip("last_left_out", {"zip(inputs.split(chunk), ": "zip(inputs.split(chunk)[: len(inputs) // chunk], "},
             "The last chunk, smaller than the others, gets no gradient.",
             "card: hidden case, N not divisible by chunk"),
        slip("tensor", {"value.item()": "value.detach()"},
             "You return a tensor. Return a Python number: value.item().", "student mistake: return value"),
        slip("clears",
             {"value.backward()":
                "value.backward()\n"
                "image_net.zero_grad()\n"
                "text_net.zero_grad()"},
             "You clear gradients that were there before. Add to them; the caller decides when to clear.",
             "card: hidden case, existing .grad accumulates"),
        slip("text_stays", {", (text_net, ids, txt.grad))": ",)"},
             "The text tower gets no gradient: feed its chunks their share, too.",
             "student mistake: the second tower forgotten"),
        slip("divides", {"backward(share)": "backward(share / len(inputs))"},
             "The gradient of the features is already that of the mean loss. Do not divide it again.",
             "student mistake: a mean within a mean"),
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
)  # fmt: skip
