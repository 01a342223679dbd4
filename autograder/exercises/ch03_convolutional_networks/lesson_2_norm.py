"""Chapter 3, notebook 2: cases, probe and variants of `batch_norm`."""

import torch
from torch import Tensor

from autograder.declare.exercise import Alternative, Misconception
from dlcv_lab.checking.model import Case


def draw_norm(rng: torch.Generator, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """Draw a batch with a different mean and spread in every channel, and the four vectors of the layer."""
    c = shape[1]
    per_channel = [1, c] + [1] * (len(shape) - 2)
    spread, centre = 0.5 + torch.rand(c, generator=rng), 1 + torch.randn(c, generator=rng)
    x = torch.randn(*shape, generator=rng)
    return {
        "x": x * spread.view(per_channel) + centre.view(per_channel),
        "gamma": 1.5 + torch.rand(c, generator=rng),
        "beta": torch.randn(c, generator=rng),
        "running_mean": torch.randn(c, generator=rng),
        "running_var": 0.5 + torch.rand(c, generator=rng),
    }


def batch_norm_cases(rng: torch.Generator) -> list[Case]:
    """Draw batches of vectors and of feature maps, in training and at test time."""

    def case(group: str, shape: tuple[int, ...], note: str, training: bool = True, **options: float) -> Case:
        tensors = draw_norm(rng, shape)
        weight = torch.randn(*shape, generator=rng) if group == "gradient" else None
        data = {"tensors": tensors, "training": training, "options": options, "weight": weight}
        return Case(group, data, note)

    constant = case("edge", (6, 3), "one feature is constant", momentum=0.3, eps=0.25)
    constant.data["tensors"]["x"][:, 1] = 2.0
    return [
        case("plain", (6, 4), "training, vectors (N, C)"),
        case("plain", (5, 3), "training, momentum 0.3 and eps 0.25", momentum=0.3, eps=0.25),
        case("plain", (4, 3), "test time", training=False, eps=0.25),
        case("shapes", (3, 2, 4, 5), "training, feature maps (N, C, H, W)"),
        case("shapes", (1, 3, 2, 2), "training on one picture of 2x2 pixels"),
        case("shapes", (2, 3, 3, 2), "test time, feature maps", training=False),
        constant,
        case("edge", (1, 4), "training on a single vector"),
        case("edge", (1, 4), "test time, a single vector", training=False, momentum=0.3),
        case("gradient", (5, 3), "gradients in training", eps=0.1),
        case("gradient", (2, 2, 3, 2), "gradients in training, feature maps"),
    ]


def batch_norm_probe(ns, data):
    """Return the output and all buffers, new and old; in a gradient case the three gradients as well."""
    t, options = dict(data["tensors"]), data["options"]
    if data["weight"] is not None:
        for name in ("x", "gamma", "beta"):
            t[name] = t[name].clone().requires_grad_()
    out = ns.batch_norm(
        t["x"], t["gamma"], t["beta"], t["running_mean"], t["running_var"], training=data["training"], **options
    )
    y, mean, var = out
    answer = {"y": y, "mean": mean, "var": var, "old_mean": t["running_mean"], "old_var": t["running_var"]}
    if data["weight"] is not None:
        loss = (y * data["weight"]).sum()
        answer["gradients"] = list(torch.autograd.grad(loss, [t["x"], t["gamma"], t["beta"]]))
        answer["buffers_have_gradient"] = bool(mean.requires_grad or var.requires_grad)
    return answer


def batch_norm__flattens(x, gamma, beta, running_mean, running_var, *, training, momentum=0.1, eps=1e-5):
    c = x.shape[1]
    flat = x.transpose(0, 1).reshape(c, -1)  # (C, m)
    if training:
        if flat.shape[1] == 1:
            raise ValueError("one value per channel")
        mean, var = flat.mean(1), flat.pow(2).mean(1) - flat.mean(1) ** 2
        with torch.no_grad():
            new_mean = torch.lerp(running_mean, mean, momentum)
            new_var = torch.lerp(running_var, flat.var(1), momentum)
    else:
        mean, var, new_mean, new_var = running_mean, running_var, running_mean.clone(), running_var.clone()
    scale = gamma * (var + eps) ** -0.5
    flat = flat * scale[:, None] + (beta - mean * scale)[:, None]
    return flat.view(c, x.shape[0], *x.shape[2:]).transpose(0, 1), new_mean, new_var


def batch_norm__in_steps(x, gamma, beta, running_mean, running_var, *, training, momentum=0.1, eps=1e-5):
    axes = (0,) if x.dim() == 2 else (0, 2, 3)
    m = x[:, 0].numel()
    if training and m == 1:
        raise ValueError("cannot train on one value per channel")

    def wide(v):
        return v if x.dim() == 2 else v[:, None, None]

    if not training:
        y = (x - wide(running_mean)) / wide((running_var + eps).sqrt()) * wide(gamma) + wide(beta)
        return y, running_mean, running_var
    mean = x.sum(axes) / m
    centred = x - wide(mean)
    var = (centred * centred).sum(axes) / m
    y = wide(gamma) * centred / wide((var + eps).sqrt()) + wide(beta)
    new_mean = running_mean + momentum * (mean.data - running_mean)
    new_var = running_var + momentum * (var.data * m / (m - 1) - running_var)
    return y, new_mean, new_var


def with_mistake(mistake, x, gamma, beta, running_mean, running_var, *, training, momentum=0.1, eps=1e-5):
    axes, shape = [0, *range(2, x.ndim)], [1, -1] + [1] * (x.ndim - 2)
    m = len(x) if mistake == "counts pictures" else x.numel() // x.shape[1]
    if training and m == 1 and mistake != "one is fine":
        raise ValueError
    mean, var = x.mean(axes), x.var(axes, correction=0)
    if mistake == "statistics fixed":
        mean, var = mean.detach(), var.detach()
    new_mean, new_var = mean.detach(), var.detach() * m / max(m - 1, 1)
    if mistake == "biased buffer":
        new_var = var.detach()
    if mistake == "buffers keep graph":
        new_mean, new_var = mean, var * m / (m - 1)
    if mistake == "unbiased":
        var = var * m / (m - 1) if training else var
    if not training and mistake != "batch at test":
        mean, var = running_mean, running_var
    mean, var = mean.view(shape), var.view(shape)
    if mistake == "pixels alone" and training:
        mean, var = x.mean(0, keepdim=True), x.var(0, correction=0, keepdim=True)
    bottom = (var + eps).sqrt()
    if mistake == "eps outside":
        bottom = var.sqrt() + eps
    if mistake == "no eps":
        bottom = var.sqrt()
    y = gamma.view(shape) * (x - mean) / bottom + beta.view(shape)
    if not training:
        return y, running_mean, running_var
    share = 1 - momentum if mistake == "momentum reversed" else momentum
    if mistake == "in place":
        running_mean.mul_(1 - share).add_(share * new_mean)
        running_var.mul_(1 - share).add_(share * new_var)
        return y, running_mean, running_var
    return y, (1 - share) * running_mean + share * new_mean, (1 - share) * running_var + share * new_var


def batch_norm__unbiased(*args, **options):
    return with_mistake("unbiased", *args, **options)


def batch_norm__biased_buffer(*args, **options):
    return with_mistake("biased buffer", *args, **options)


def batch_norm__momentum_reversed(*args, **options):
    return with_mistake("momentum reversed", *args, **options)


def batch_norm__batch_at_test(*args, **options):
    return with_mistake("batch at test", *args, **options)


def batch_norm__in_place(*args, **options):
    return with_mistake("in place", *args, **options)


def batch_norm__eps_outside(*args, **options):
    return with_mistake("eps outside", *args, **options)


def batch_norm__no_eps(*args, **options):
    return with_mistake("no eps", *args, **options)


def batch_norm__pixels_alone(*args, **options):
    return with_mistake("pixels alone", *args, **options)


def batch_norm__counts_pictures(*args, **options):
    return with_mistake("counts pictures", *args, **options)


def batch_norm__one_is_fine(*args, **options):
    return with_mistake("one is fine", *args, **options)


def batch_norm__statistics_fixed(*args, **options):
    return with_mistake("statistics fixed", *args, **options)


def batch_norm__buffers_keep_graph(*args, **options):
    return with_mistake("buffers keep graph", *args, **options)


BATCH_NORM_ALTERNATIVES = (
    Alternative(name="flattens", code=(batch_norm__flattens,)),
    Alternative(name="in_steps", code=(batch_norm__in_steps,)),
)
BATCH_NORM_MISCONCEPTIONS = (
    Misconception(
        name="unbiased",
        code=(with_mistake, batch_norm__unbiased),
        hint="Your output is too small by a factor sqrt((m - 1) / m): the normalization divides by m "
        "(biased variance, correction=0); only the buffer divides by m - 1.",
        source_of="library difference: Tensor.var() divides by m - 1 unless told otherwise",
    ),
    Misconception(
        name="biased_buffer",
        code=(with_mistake, batch_norm__biased_buffer),
        hint="Your variance buffer takes the biased variance. Output and buffer differ here: the buffer "
        "takes the unbiased one, times m / (m - 1).",
        source_of="card trap: biased in the normalization, unbiased in the buffer (Keras and flax keep the biased one)",
    ),
    Misconception(
        name="momentum_reversed",
        code=(with_mistake, batch_norm__momentum_reversed),
        hint="Your buffers jump almost all the way to the batch. The new statistic has the weight "
        "momentum, the old buffer 1 - momentum.",
        source_of="library difference: the momentum of Keras is 1 - that of PyTorch",
    ),
    Misconception(
        name="batch_at_test",
        code=(with_mistake, batch_norm__batch_at_test),
        hint="At test time you still normalize by the batch. The running buffers take its place, so that a "
        "single sample works and no answer depends on its neighbours.",
        source_of="student mistake: forgetting the two modes",
    ),
    Misconception(
        name="in_place",
        code=(with_mistake, batch_norm__in_place),
        hint="You changed running_mean or running_var in place. Compute new tensors and return them.",
        source_of="library difference: F.batch_norm updates its buffers in place",
    ),
    Misconception(
        name="eps_outside",
        code=(with_mistake, batch_norm__eps_outside),
        hint="You add eps to the standard deviation. It belongs under the root: sqrt(var + eps).",
        source_of="library difference: eps added outside the root, as Adam does",
    ),
    Misconception(
        name="no_eps",
        code=(with_mistake, batch_norm__no_eps),
        hint="eps is missing: a feature that is constant over the batch divides 0 by 0. Use sqrt(var + eps).",
        source_of="card trap: the slide's formula has no eps",
    ),
    Misconception(
        name="pixels_alone",
        code=(with_mistake, batch_norm__pixels_alone),
        hint="For (N, C, H, W) you normalize every pixel over N alone. A channel shares one mean and one "
        "variance over N, H and W.",
        source_of="student mistake: axis 0 for feature maps too",
    ),
    Misconception(
        name="counts_pictures",
        code=(with_mistake, batch_norm__counts_pictures),
        hint="For (N, C, H, W), m counts values per channel, N H W, not pictures: correct your m / (m - 1) "
        "and your test for m = 1.",
        source_of="student mistake: m = len(x)",
    ),
    Misconception(
        name="one_is_fine",
        code=(with_mistake, batch_norm__one_is_fine),
        hint="With a single value per channel the variance is 0 and every output becomes beta: raise a "
        "ValueError in training.",
        source_of="card: hidden case m = 1",
    ),
    Misconception(
        name="statistics_fixed",
        code=(with_mistake, batch_norm__statistics_fixed),
        hint="Your output is right, but its gradient treats mean and variance as constants. They depend on "
        "x: keep them in the graph.",
        source_of="student mistake: torch.no_grad() around the statistics",
    ),
    Misconception(
        name="buffers_keep_graph",
        code=(with_mistake, batch_norm__buffers_keep_graph),
        hint="Your new buffers hang on the graph of this batch. The next step would back-propagate through "
        "it again: detach what goes into them.",
        source_of="student mistake: 'trying to backward through the graph a second time' in hand-written batch norm",
    ),
)
