"""Chapter 3, notebook 2: cases, probe and variants of `batch_norm`."""

import torch
from torch import Tensor

from autograder.declare.exercise import alternative
from autograder.declare.slips import slip
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
        data = {"tensors": tensors, "training": training, "options": options, "weight": weight, "mixed": False}
        return Case(group, data, note)

    constant = case("edge", (6, 3), "one feature is constant", momentum=0.3, eps=0.25)
    constant.data["tensors"]["x"][:, 1] = 2.0
    half = case("edge", (6, 3), "training in half precision, values around 30 000")
    large = half.data["tensors"]
    large["x"] = (3e4 * large["x"].sign() + 300 * large["x"]).clamp(-6e4, 6e4)  # squares beyond float16's 65 504
    large |= {name: large[name].half() for name in ("x", "gamma", "beta")}
    half.data["mixed"] = True
    return [
        case("plain", (6, 4), "training, vectors (N, C)"),
        case("plain", (5, 3), "training, momentum 0.3 and eps 0.25", momentum=0.3, eps=0.25),
        case("plain", (4, 3), "test time", training=False, eps=0.25),
        case("shapes", (3, 2, 4, 5), "training, feature maps (N, C, H, W)"),
        case("shapes", (1, 3, 2, 2), "training on one picture of 2x2 pixels"),
        case("shapes", (2, 3, 3, 2), "test time, feature maps", training=False),
        constant,
        half,
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
    if data["mixed"]:
        answer |= {"y": y.double(), "y has the dtype of x": y.dtype == t["x"].dtype}
    if data["weight"] is not None:
        loss = (y * data["weight"]).sum()
        answer["gradients"] = list(torch.autograd.grad(loss, [t["x"], t["gamma"], t["beta"]]))
        answer["buffers_have_gradient"] = bool(mean.requires_grad or var.requires_grad)
    return answer


def batch_norm__flattens(x, gamma, beta, running_mean, running_var, *, training, momentum=0.1, eps=1e-5):
    c, dtype = x.shape[1], x.dtype
    x = x.float() if dtype in (torch.float16, torch.bfloat16) else x
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
    return flat.view(c, x.shape[0], *x.shape[2:]).transpose(0, 1).to(dtype), new_mean, new_var


def batch_norm__in_steps(x, gamma, beta, running_mean, running_var, *, training, momentum=0.1, eps=1e-5):
    axes = (0,) if x.dim() == 2 else (0, 2, 3)
    m, dtype = x[:, 0].numel(), x.dtype
    x = x if dtype == torch.float64 else x.float()
    if training and m == 1:
        raise ValueError("cannot train on one value per channel")

    def wide(v):
        return v if x.dim() == 2 else v[:, None, None]

    if not training:
        y = (x - wide(running_mean)) / wide((running_var + eps).sqrt()) * wide(gamma) + wide(beta)
        return y.to(dtype), running_mean, running_var
    mean = x.sum(axes) / m
    centred = x - wide(mean)
    var = (centred * centred).sum(axes) / m
    y = wide(gamma) * centred / wide((var + eps).sqrt()) + wide(beta)
    new_mean = running_mean + momentum * (mean.data - running_mean)
    new_var = running_var + momentum * (var.data * m / (m - 1) - running_var)
    return y.to(dtype), new_mean, new_var


BATCH_NORM_ALTERNATIVES = (alternative(batch_norm__flattens), alternative(batch_norm__in_steps))
BATCH_NORM_MISCONCEPTIONS = (
    slip("overflows", {"x = x.to(torch.promote_types(dtype, torch.float32))": ""},
         "In float16 the squares of large numbers are infinite, so your variance is, and everything becomes "
         "beta. Compute in float32 where x has a shorter type, and round y at the end.",
         "library difference: F.batch_norm computes the statistics of float16 in float32"),
    slip("unbiased", {"var.view(shape) + eps": "(var * m / (m - 1) if training else var).view(shape) + eps"},
         "Your output is too small by a factor sqrt((m - 1) / m): the normalization divides by m (biased "
         "variance, correction=0); only the buffer divides by m - 1.",
         "library difference: Tensor.var() divides by m - 1 unless told otherwise"),
    slip("biased_buffer", {"* m / (m - 1)": ""},
         "Your variance buffer takes the biased variance. Output and buffer differ here: the buffer takes the "
         "unbiased one, times m / (m - 1).",
         "card trap: biased in the normalization, unbiased in the buffer (Keras and flax keep the biased one)"),
    slip("momentum_reversed",
         {"(1 - momentum) * running_mean + momentum * mean": "momentum * running_mean + (1 - momentum) * mean",
          "(1 - momentum) * running_var + momentum * var": "momentum * running_var + (1 - momentum) * var"},
         "Your buffers jump almost all the way to the batch. The new statistic has the weight momentum, the "
         "old buffer 1 - momentum.", "library difference: the momentum of Keras is 1 - that of PyTorch"),
    slip("batch_at_test",
         {"mean, var = running_mean, running_var": "mean, var = x.mean(axes), x.var(axes, correction=0)"},
         "At test time you still normalize by the batch. The running buffers take its place, so that a single "
         "sample works and no answer depends on its neighbours.", "student mistake: forgetting the two modes"),
    slip("in_place",
         {"running_mean = (1 - momentum) * running_mean + momentum * mean.detach()":
            "running_mean.mul_(1 - momentum).add_(momentum * mean.detach())",
          "running_var = (1 - momentum) * running_var + momentum * var.detach() * m / (m - 1)":
            "running_var.mul_(1 - momentum).add_(momentum * var.detach() * m / (m - 1))"},
         "You changed running_mean or running_var in place. Compute new tensors and return them.",
         "library difference: F.batch_norm updates its buffers in place"),
    slip("eps_outside", {"torch.sqrt(var.view(shape) + eps)": "(torch.sqrt(var.view(shape)) + eps)"},
         "You add eps to the standard deviation. It belongs under the root: sqrt(var + eps).",
         "library difference: eps added outside the root, as Adam does"),
    slip("no_eps", {"var.view(shape) + eps": "var.view(shape)"},
         "eps is missing: a feature that is constant over the batch divides 0 by 0. Use sqrt(var + eps).",
         "card trap: the slide's formula has no eps"),
    slip("pixels_alone",
         {"normal = (x - mean.view(shape)) / torch.sqrt(var.view(shape) + eps)":
            "\n"
            "                if training:\n"
            "                    mean, var = x.mean(0, keepdim=True), x.var(0, correction=0, keepdim=True)\n"
            "                else:\n"
            "                    mean, var = mean.view(shape), var.view(shape)\n"
            "                normal = (x - mean) / torch.sqrt(var + eps)\n"
            "            "},
         "For (N, C, H, W) you normalize every pixel over N alone. A channel shares one mean and one variance "
         "over N, H and W.", "student mistake: axis 0 for feature maps too"),
    slip("counts_pictures", {"x.numel() // x.shape[1]": "len(x)"},
         "For (N, C, H, W), m counts values per channel, N H W, not pictures: correct your m / (m - 1) and "
         "your test for m = 1.", "student mistake: m = len(x)"),
    slip("one_is_fine", {"if m < 2:": "if False:", "m / (m - 1)": "m / max(m - 1, 1)"},
         "With a single value per channel the variance is 0 and every output becomes beta: raise a ValueError "
         "in training.", "card: hidden case m = 1"),
    slip("statistics_fixed", {"x.mean(axes), x.var(": "x.detach().mean(axes), x.detach().var("},
         "Your output is right, but its gradient treats mean and variance as constants. They depend on x: keep "
         "them in the graph.", "student mistake: torch.no_grad() around the statistics"),
    slip("buffers_keep_graph", {"mean.detach()": "mean", "var.detach()": "var"},
         "Your new buffers hang on the graph of this batch. The next step would back-propagate through it "
         "again: detach what goes into them.",
         "student mistake: 'trying to backward through the graph a second time' in hand-written batch norm"),
)  # fmt: skip
