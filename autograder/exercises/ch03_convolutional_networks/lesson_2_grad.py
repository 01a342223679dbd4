"""Chapter 3, notebook 2: cases, probes and variants of `batch_norm_backward` and `fold_bn`."""

import torch

from autograder.declare.exercise import alternative
from autograder.declare.slips import slip
from dlcv_lab.checking.model import Case


def backward_cases(rng: torch.Generator) -> list[Case]:
    """Draw batches, gammas of both signs and incoming gradients whose sums are not zero."""

    def case(group: str, shape: tuple[int, ...], note: str, **options: float) -> Case:
        c = shape[1]
        per_channel = [1, c] + [1] * (len(shape) - 2)
        spread = (0.5 + torch.rand(c, generator=rng)).view(per_channel)
        sign = torch.tensor([-1.0, 1.0]).repeat(c)[:c]
        x = torch.randn(*shape, generator=rng) * spread + 1 + torch.randn(c, generator=rng).view(per_channel)
        # an incoming gradient with a mean and a part along x, so that no term of the formula is small
        dy = torch.randn(*shape, generator=rng) + 0.7 + 0.5 * x
        gamma = sign * (0.7 + torch.rand(c, generator=rng))
        return Case(group, {"dy": dy, "x": x, "gamma": gamma, **options}, note)

    return [
        case("plain", (6, 4), "vectors (N, C)"),
        case("plain", (5, 3), "vectors, eps 0.25", eps=0.25),
        case("shapes", (3, 2, 4, 5), "feature maps (N, C, H, W)"),
        case("shapes", (1, 3, 2, 3), "feature maps of one picture"),
        case("edge", (2, 3), "m = 2, eps 0.25", eps=0.25),
        case("edge", (2, 1, 1, 2), "one channel", eps=0.01),
    ]


def backward_probe(ns, data):
    """Return the three gradients by name."""
    options = {"eps": data["eps"]} if "eps" in data else {}
    dx, dgamma, dbeta = ns.batch_norm_backward(data["dy"], data["x"], data["gamma"], **options)
    return {"dx": dx, "dgamma": dgamma, "dbeta": dbeta}


def batch_norm_backward__flattens(dy, x, gamma, *, eps=1e-5):
    def rows(t):
        return t.transpose(0, 1).reshape(t.shape[1], -1)

    g, v = rows(dy), rows(x)
    v = v - v.mean(1, keepdim=True)
    deviation = (v.pow(2).mean(1, keepdim=True) + eps).sqrt()
    v = v / deviation
    dgamma, dbeta = (g * v).sum(1), g.sum(1)
    centred = g - g.mean(1, keepdim=True) - v * (g * v).mean(1, keepdim=True)
    dx = gamma[:, None] / deviation * centred
    dx = dx.reshape(x.shape[1], x.shape[0], *x.shape[2:]).transpose(0, 1)
    return dx, dgamma, dbeta


def batch_norm_backward__step_by_step(dy, x, gamma, *, eps=1e-5):
    axes = (0,) if x.ndim == 2 else (0, 2, 3)
    m = x[:, 0].numel()
    wide = (1, -1) + (1,) * (x.ndim - 2)
    mean = x.mean(axes, keepdim=True)
    centred = x - mean
    var = centred.square().mean(axes, keepdim=True)
    inverse = 1 / torch.sqrt(var + eps)
    dnormal = dy * gamma.reshape(wide)
    dvar = -0.5 * (dnormal * centred).sum(axes, keepdim=True) * inverse**3
    dmean = -(dnormal * inverse).sum(axes, keepdim=True)
    dx = dnormal * inverse + dvar * 2 * centred / m + dmean / m
    return dx, (dy * centred * inverse).sum(axes), dy.sum(axes)


BACKWARD_ALTERNATIVES = (alternative(batch_norm_backward__flattens), alternative(batch_norm_backward__step_by_step))
BACKWARD_MISCONCEPTIONS = (
    slip("statistics_fixed", {" - dbeta.view(shape) - normal * dgamma.view(shape)": ""},
         "Your dx treats mean and variance as constants: that is the gradient of the eval mode. In training "
         "both depend on every sample of the batch, which gives two more terms.",
         "card: eval mode has dx = dy gamma / sqrt(var + eps), without coupling"),
    slip("forgets_mean", {" - dbeta.view(shape)": ""},
         "The path through the mean is missing: over a channel your dx does not sum to 0. Subtract dbeta "
         "inside the bracket.", "card: hidden case forgetting the path through the mean"),
    slip("forgets_variance", {" - normal * dgamma.view(shape)": ""},
         "The path through the variance is missing: subtract the normalized x times dgamma inside the bracket.",
         "student mistake: one of the two statistics left out of the chain rule"),
    slip("unbiased", {"correction=0": "correction=1"},
         "You normalize with the unbiased variance. The forward pass divides by m, so pass correction=0 to var.",
         "library difference: Tensor.var() divides by m - 1 unless told otherwise"),
    slip("counts_pictures", {"m = x.numel() // x.shape[1]": "m = len(x)"},
         "Right for vectors, wrong for feature maps: m counts the values of a channel, N H W, not N.",
         "card: hidden case 4-D, m = N H W"),
    slip("no_gamma", {"gamma.view(shape) * scale": "scale"},
         "dgamma and dbeta are right, but dx lacks the factor gamma of its channel.",
         "student mistake: stopping at the gradient of the normalized x"),
    slip("raw_input", {"(dy * normal)": "(dy * x)"},
         "Your dgamma multiplies dy by x. gamma scales the NORMALIZED x, so that is what stands in its gradient.",
         "student mistake: dgamma as in a linear layer"),
    slip("raw_input_there_alone", {"return dx, dgamma": "return dx, (dy * x).sum(axes)"},
         "Your dgamma multiplies dy by x. gamma scales the NORMALIZED x, so that is what stands in its gradient.",
         "student mistake: dgamma as in a linear layer"),
    slip("no_eps", {"var + eps": "var"},
         "eps is missing under the root, as the case with a large eps shows.",
         "card trap: the slide's formula has no eps"),
)  # fmt: skip

# ---------------------------------------------------------------- fold_bn


def fold_cases(rng: torch.Generator) -> list[Case]:
    """Draw convolutions with as many output as input channels, and others."""

    def case(group: str, o: int, c: int, k: int, note: str, *, bias: bool = True, **options: float) -> Case:
        data = {
            "w": torch.randn(o, c, k, k, generator=rng),
            "b": torch.randn(o, generator=rng) + 1 if bias else None,
            "gamma": 1.5 + torch.rand(o, generator=rng),
            "beta": torch.randn(o, generator=rng),
            "mean": 1 + torch.randn(o, generator=rng).abs(),
            "var": 0.3 + 2 * torch.rand(o, generator=rng),
            "options": options,
        }
        return Case(group, data, note)

    return [
        case("plain", 3, 3, 3, "3 to 3 channels"),
        case("plain", 4, 2, 3, "2 to 4 channels, eps 0.5", eps=0.5),
        case("edge", 4, 3, 1, "no bias, 1x1", bias=False),
    ]


def fold_probe(ns, data):
    """Return the folded weights and bias."""
    names = ("w", "b", "gamma", "beta", "mean", "var")
    w, b = ns.fold_bn(*(data[name] for name in names), **data["options"])
    return {"w": w, "b": b}


def fold_bn__einsum(w, b, gamma, beta, mean, var, *, eps=1e-5):
    factor = gamma * torch.rsqrt(var + eps)
    shifted = -mean if b is None else b - mean
    return torch.einsum("ocij,o->ocij", w, factor), beta + factor * shifted


def fold_bn__measures(w, b, gamma, beta, mean, var, *, eps=1e-5):
    def layer(z):  # what batch norm makes of the score z, channel by channel
        return (z - mean) / (var + eps) ** 0.5 * gamma + beta

    start = layer(torch.zeros_like(mean) if b is None else b)
    slope = layer(torch.ones_like(mean)) - layer(torch.zeros_like(mean))
    return (w.flatten(1) * slope[:, None]).view_as(w), start


FOLD_ALTERNATIVES = (alternative(fold_bn__einsum), alternative(fold_bn__measures))
FOLD_MISCONCEPTIONS = (
    slip("ignores_bias", {"torch.zeros_like(mean) if b is None else b": "torch.zeros_like(mean)"},
         "The bias of the convolution is lost. Batch norm sees w x + b, so b - mean gets scaled.",
         "student mistake: 'a bias before batch norm is useless' holds in training, not for given buffers"),
    slip("bias_unscaled", {"(bias - mean) * scale + beta": "bias - mean * scale + beta"},
         "Your b is added after the scaling. It stands before it: (b - mean) * scale + beta.",
         "student mistake: the order of two affine maps"),
    slip("input_axis", {"scale[:, None, None, None]": "scale[:, None, None]"},
         "You scale along the input channels. Batch norm belongs to the output channels, axis 0 of w.",
         "library difference: scale[:, None, None] broadcasts against axis 1 of w"),
    slip("no_root", {"torch.sqrt(var + eps)": "(var + eps)"},
         "You divide by the variance. Divide by its root, sqrt(var + eps).",
         "student mistake: variance for standard deviation"),
    slip("no_eps", {"var + eps": "var"},
         "eps is missing under the root: the folded layer must equal the layer as it computes at test time.",
         "card trap: the slide's formula has no eps"),
)  # fmt: skip
