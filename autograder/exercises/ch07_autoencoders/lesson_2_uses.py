"""Exercises of notebook 2: the plane of faces, arithmetic with codes, units that are used, and sharpness."""

import numpy as np
import scipy.ndimage
import torch
import torch.nn.functional as F

from autograder.declare import Exercise, alternative, case, mistaken, shipped, slip
from dlcv_lab.checking import probing

DOUBLE = torch.float64


def grid_cases(d):
    return [
        case("value", "3 x 3 places", n=3, w=d.normal(2, 4)),
        case("value", "4 x 4 places, pictures of 2x3", n=4, w=d.normal(2, 2, 3)),
        case("edge", "one place, in the middle", n=1, w=d.normal(2, 3)),
        case("edge", "40 x 40 places", n=40, w=d.normal(2, 2)),
    ]


@shipped
def plane(w):
    """Return a decoder that is no straight map: pictures (M, ...) from codes (M, 2), refusing anything else."""

    def decode(z):
        if not isinstance(z, torch.Tensor) or z.ndim != 2 or z.shape[1] != 2:
            raise probing.Unusable("decode takes codes (M, 2), all in one call; yours are of another shape")
        return torch.tanh(torch.tensordot(z, w.to(z.dtype), dims=1)) + z[:, :1].reshape(-1, *[1] * (w.ndim - 1)) ** 2

    return decode


def grid_probe(ns, data):
    answer = probing.call(ns.manifold_grid, plane(data["w"]), data["n"])
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise probing.Unusable("(pictures, codes) is expected; your code returns something else")
    return {"pictures": answer[0], "codes": answer[1]}


def manifold_grid__loops(decode, n):
    places = [(i + 0.5) / n for i in range(n)]
    codes = torch.tensor([[right, down] for down in places for right in places])
    codes = torch.special.ndtri(codes)
    return decode(codes), codes


def manifold_grid__normal(decode, n):
    z = torch.distributions.Normal(0.0, 1.0).icdf((2 * torch.arange(n) + 1) / (2 * n))
    codes = torch.cartesian_prod(z, z).flip(1)
    return decode(codes), codes


def manifold_grid__corners(decode, n):
    z = torch.special.ndtri(torch.linspace(0, 1, n))
    rows, columns = torch.meshgrid(z, z, indexing="ij")
    codes = torch.stack([columns, rows], dim=-1).reshape(-1, 2)
    return decode(codes), codes


def manifold_grid__even(decode, n):
    z = torch.linspace(-2, 2, n)
    rows, columns = torch.meshgrid(z, z, indexing="ij")
    codes = torch.stack([columns, rows], dim=-1).reshape(-1, 2)
    return decode(codes), codes


MANIFOLD_GRID = Exercise(
    name="manifold_grid",
    methods=("ch07/vae_manifold",),
    groups={"value": 1.5, "edge": 0.5},
    cases=grid_cases,
    probe=grid_probe,
    minutes=12,
    difficulty="medium",
    good_for="covering a Gaussian evenly",
    alternatives=(alternative(manifold_grid__loops), alternative(manifold_grid__normal)),
    misconceptions=(
        slip("turned", {"[columns, rows]": "[rows, columns]"},
             "Your axes are exchanged: the first number of a code grows from left to right.",
             "card trap: axis order"),
        slip("lower_ends", {"torch.arange(n) + 0.5": "torch.arange(n) + 0.0"},
             "You begin at u = 0, whose place under the Gaussian is minus infinity. Take the middles (i + 1/2) / n.",
             "card trap: u = 0"),
        slip("not_bent", {"torch.special.ndtri((torch.arange(n) + 0.5) / n)": "(torch.arange(n) + 0.5) / n"},
             "Your codes are the u_i themselves. Push them through torch.special.ndtri.",
             "student mistake: quantiles forgotten"),
        slip("forwards", {"torch.special.ndtri(": "torch.special.ndtr("},
             "You push through the distribution function. Its INVERSE is wanted, torch.special.ndtri.",
             "library difference: ndtr and ndtri"),
        mistaken(manifold_grid__corners,
                 "Your u run from 0 to 1, both ends included, and the ends lie at infinity. Take (i + 1/2) / n.",
                 "card trap: u = 0 and u = 1"),
        mistaken(manifold_grid__even,
                 "Your codes stand at equal distances. They are to share the Gaussian evenly: equal steps of u, pushed "
                 "through torch.special.ndtri.", "student mistake: an even grid"),
    ),
    hints=(
        "Which code has a quarter of the Gaussian to its left?",
        "u = (torch.arange(n) + 0.5) / n, z = torch.special.ndtri(u); all pairs by torch.meshgrid.",
        'rows, columns = torch.meshgrid(z, z, indexing="ij"); codes = torch.stack([columns, rows], '
        "dim=-1).reshape(-1, 2)",
    ),
)  # fmt: skip


def analogy_cases(d):
    def album(group, note, p, q, n, **kind):
        parts = {name: d.normal(m, 1, 2, 3, **kind) for name, m in (("a_prime", p), ("a", q), ("b", n))}
        return case(group, note, **parts, w=d.normal(6, 4, **kind), v=d.normal(4, 6, **kind))

    twin = d.normal(3, 1, 2, 3)
    return [
        album("value", "3 pictures of each", 3, 3, 3),
        album("value", "4 with, 2 without, 3 to be changed", 4, 2, 3),
        album("edge", "one of each", 1, 1, 1),
        case("edge", "with and without are the same", a_prime=twin, a=twin.clone(), b=d.normal(2, 1, 2, 3),
             w=d.normal(6, 4), v=d.normal(4, 6)),
        album("edge", "the answer carries no graph", 2, 3, 2),
        album("edge", "float64", 2, 3, 4, dtype=DOUBLE),
    ]  # fmt: skip


def analogy_probe(ns, data):
    """Let the student's function meet an encoder and a decoder that are no straight maps and want gradients."""
    w, v = (data[name].clone().requires_grad_() for name in ("w", "v"))

    def encode(x):
        h = x.flatten(1) @ w
        return h + 0.1 * h**2, -1 - h.abs()

    def decode(z):
        return (torch.tanh(z) @ v).reshape(-1, *data["b"].shape[1:])

    y = probing.call(ns.latent_analogy, encode, decode, data["a_prime"], data["a"], data["b"])
    return {"pictures": y.detach(), "carries a graph": bool(y.requires_grad)}


def analogy_library(data):
    w, v = data["w"].detach().double().numpy(), data["v"].detach().double().numpy()

    def code(x):
        h = x.detach().double().numpy().reshape(len(x), -1) @ w
        return h + 0.1 * h * h

    z = code(data["b"]) + code(data["a_prime"]).mean(0) - code(data["a"]).mean(0)
    y = torch.from_numpy((np.tanh(z) @ v).reshape(data["b"].shape)).to(data["b"].dtype)
    return {"pictures": y, "carries a graph": False}


@torch.no_grad()
def latent_analogy__at_once(encode, decode, a_prime, a, b):
    mu, _ = encode(torch.cat([a_prime, a, b]))
    with_it, without, rest = mu.split([len(a_prime), len(a), len(b)])
    step = with_it.sum(0) / len(a_prime) - without.sum(0) / len(a)
    return decode(rest + step)


def latent_analogy__detached(encode, decode, a_prime, a, b):
    direction = encode(a_prime)[0].mean(dim=0, keepdim=True) - encode(a)[0].mean(dim=0, keepdim=True)
    return decode(encode(b)[0] + direction).detach()


def latent_analogy__of_mean_pictures(encode, decode, a_prime, a, b):
    with torch.no_grad():
        there, here = (encode(x.mean(0, keepdim=True))[0] for x in (a_prime, a))
        return decode(encode(b)[0] + there - here)


def latent_analogy__in_pixels(encode, decode, a_prime, a, b):
    with torch.no_grad():
        return b + a_prime.mean(0) - a.mean(0)


LATENT_ANALOGY = Exercise(
    name="latent_analogy",
    methods=("ch07/latent_arithmetic",),
    core=True,
    groups={"value": 1.5, "edge": 1.0},
    cases=analogy_cases,
    probe=analogy_probe,
    oracle=analogy_library,
    minutes=10,
    difficulty="easy",
    good_for="editing a picture without a word about pixels",
    alternatives=(alternative(latent_analogy__at_once), alternative(latent_analogy__detached)),
    misconceptions=(
        slip("other_sign", {"start + there.mean(0) - here.mean(0)": "start - there.mean(0) + here.mean(0)"},
             "You go the other way, and take off what was to be put on: b + mean of a_prime - mean of a.",
             "student mistake: sign"),
        slip("nothing_taken_off", {" - here.mean(0)": ""},
             "You add the whole mean of a_prime, with all that those faces share. Subtract the mean of a.",
             "student mistake: only one mean"),
        slip("graph", {"with torch.no_grad():": "if True:"},
             "Your answer carries a graph: nothing is trained here. Work under torch.no_grad().",
             "card trap: gradient not needed"),
        slip("log_variance", {"(encode(x)[0] for x": "(encode(x)[1] for x"},
             "You move the log variances. encode returns (mean, log variance): take the first.",
             "student mistake: wrong part of a tuple"),
        slip("mean_of_b", {"start + there": "start.mean(0, keepdim=True).expand_as(start) + there"},
             "You average over b as well. Each picture of b keeps its own code.", "student mistake: one mean too many"),
        slip("in_pairs", {"there.mean(0) - here.mean(0)": "there - here"},
             "You move every picture of b by a pair of its own. Average the codes of a_prime, and those of a, over "
             "their pictures first: one direction for all of b.", "student mistake: the means are forgotten"),
        slip("first_pair", {"there.mean(0) - here.mean(0)": "there[0] - here[0]"},
             "You take one pair of pictures. Average over all of a_prime, and over all of a: one face is a bad "
             "example of glasses.", "card trap: single samples are unstable"),
        mistaken(latent_analogy__of_mean_pictures,
                 "You encode the mean picture. Encode every picture, then average the CODES.",
                 "student mistake: mean before the encoder"),
        mistaken(latent_analogy__in_pixels,
                 "You calculate with pixels. Encode first; the sum and the difference are taken of codes.",
                 "card trap: pixel arithmetic"),
    ),
    hints=(
        "What do the faces of a_prime share that those of a do not? Where is it in the codes?",
        "Three times encode(x)[0]; two means over axis 0; one call of decode; all under torch.no_grad().",
        "return decode(encode(b)[0] + encode(a_prime)[0].mean(0) - encode(a)[0].mean(0))",
    ),
)  # fmt: skip


def unit_cases(d):
    def codes(group, note, n, *spreads, dtype=torch.float32, **rest):
        z = d.normal(n, len(spreads), dtype=dtype)
        z = (z - z.mean(0)) / z.std(0, unbiased=False)  # each of variance 1, divided by n
        order = d.permutation(len(spreads))
        return case(group, note, mu=(z * torch.tensor(spreads, dtype=dtype))[:, order] + 3, **rest)

    return [
        codes("value", "6 numbers, of which 2 hardly move", 50, 1.0, 0.5, 0.3, 0.2, 0.05, 0.01),
        codes("value", "threshold 0.5", 40, 2.0, 1.0, 0.6, 0.3, 0.1, threshold=0.5),
        codes("value", "everything rests", 20, 0.01, 0.02, 0.005),
        codes("edge", "3 pictures: divide by 3", 3, 0.09, 0.09, 0.09, 0.5, 0.02),
        case("edge", "one picture: no number varies", mu=d.normal(1, 4)),
        codes("edge", "float64", 30, 1.0, 0.2, 0.03, 0.01, dtype=DOUBLE),
    ]


def unit_library(data):
    return int((np.var(data["mu"].detach().numpy(), axis=0) > data.get("threshold", 1e-2)).sum())


def active_units__by_moments(mu, threshold=1e-2):
    off = mu - mu.mean(0, keepdim=True)
    return int(torch.count_nonzero((off * off).mean(0) > threshold))


def active_units__loop(mu, threshold=1e-2):
    return sum(1 for unit in mu.T if ((unit - unit.mean()) ** 2).sum() / len(unit) > threshold)


ACTIVE_UNITS = Exercise(
    name="active_units",
    methods=("ch07/vae_limits",),
    groups={"value": 0.5, "edge": 0.5},
    cases=unit_cases,
    oracle=unit_library,
    minutes=6,
    difficulty="easy",
    good_for="seeing a collapse as a number",
    alternatives=(alternative(active_units__by_moments), alternative(active_units__loop)),
    misconceptions=(
        slip("unbiased", {"unbiased=False": "unbiased=True"},
             "You divide by N - 1 (torch's default), and one picture gives no number. Divide by N.",
             "library difference: torch.var"),
        slip("deviation", {"mu.var(0, unbiased=False)": "mu.std(0, unbiased=False)"},
             "You compare standard deviations. The threshold is one of variances.", "student mistake: std for var"),
        slip("over_units", {"mu.var(0, unbiased=False)": "mu.var(1, unbiased=False)"},
             "You count pictures: your variance runs over the numbers of each code. It runs over the pictures.",
             "student mistake: axis"),
        slip("from_zero", {"mu.var(0, unbiased=False)": "mu.square().mean(0)"},
             "You take the mean square. A unit that always says 3 says nothing: subtract its mean first.",
             "student mistake: second moment for variance"),
        slip("idle", {"> threshold": "<= threshold"},
             "You count the units that rest. Count the active ones.", "student mistake: the complement"),
    ),
    hints=(
        "A number of the code that is the same for all pictures: what is its variance?",
        "The variance over axis 0, divided by N, compared with the threshold, counted.",
        "return int((mu.var(0, unbiased=False) > threshold).sum())",
    ),
)  # fmt: skip


def sharp_cases(d):
    return [
        case("value", "3 grey pictures of 6x5", x=d.uniform(3, 1, 6, 5)),
        case("value", "2 colour pictures", x=d.uniform(2, 3, 5, 7)),
        case("edge", "3x3 pixels: one place", x=d.uniform(2, 1, 3, 3)),
        case("edge", "bright is not sharp", x=5 + d.uniform(2, 1, 5, 5)),
        case("edge", "float64", x=d.uniform(1, 2, 4, 6, dtype=DOUBLE)),
    ]  # fmt: skip


def sharp_library(data):
    x = data["x"]
    if x.requires_grad:
        return NotImplemented
    stencil = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    return torch.tensor(
        [np.mean([scipy.ndimage.convolve(c.double().numpy(), stencil)[1:-1, 1:-1] ** 2 for c in one]) for one in x],
        dtype=x.dtype,
    )


def sharpness__conv(x):
    stencil = torch.tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0]], dtype=x.dtype)
    y = F.conv2d(x.flatten(0, 1)[:, None], stencil[None, None])
    return y.pow(2).flatten(1).mean(1).reshape(x.shape[:2]).mean(1)


def sharpness__rolled(x):
    total = -4 * x
    for axis in (2, 3):
        total = total + x.roll(1, axis) + x.roll(-1, axis)
    return (total[:, :, 1:-1, 1:-1] ** 2).flatten(1).mean(1)


def sharpness__padded(x):
    padded = F.pad(x, (1, 1, 1, 1))
    upright = padded[:, :, :-2, 1:-1] + padded[:, :, 2:, 1:-1]
    sideways = padded[:, :, 1:-1, :-2] + padded[:, :, 1:-1, 2:]
    return (upright + sideways - 4 * x).square().mean((1, 2, 3))


SHARPNESS = Exercise(
    name="sharpness",
    methods=("ch07/vae_limits",),
    groups={"value": 1.0, "edge": 1.0},
    cases=sharp_cases,
    oracle=sharp_library,
    minutes=10,
    difficulty="easy",
    good_for="a number for what the eye calls blur",
    alternatives=(alternative(sharpness__conv), alternative(sharpness__rolled)),
    misconceptions=(
        slip("not_squared", {"laplacian.square()": "laplacian.abs()"},
             "You average absolute values. The mean SQUARE is asked for.", "student mistake: abs for square"),
        slip("mean_first", {"laplacian.square().mean((1, 2, 3))": "laplacian.mean((1, 2, 3)).square()"},
             "You square the mean, in which light and dark edges cancel. Square first.",
             "student mistake: order of square and mean"),
        slip("summed", {".mean((1, 2, 3))": ".sum((1, 2, 3))"},
             "You add up over the places. The mean makes pictures of different sizes comparable.",
             "student mistake: sum for mean"),
        slip("one_number", {".mean((1, 2, 3))": ".mean()"},
             "You average over the pictures, too. Return one number a picture.", "student mistake: one for a batch"),
        slip("middle_once", {"4 * x[:, :, 1:-1, 1:-1]": "x[:, :, 1:-1, 1:-1]"},
             "Your stencil does not add up to 0: take away FOUR times the pixel itself, else brightness counts as "
             "sharpness.", "student mistake: wrong stencil"),
        slip("sideways_only", {"upright + sideways - 4 *": "sideways - 2 *"},
             "You look left and right only. All four neighbours count.", "student mistake: one direction"),
        slip("channels_apart", {".mean((1, 2, 3))": ".mean((2, 3)).sum(1)"},
             "You add up over the channels. The mean runs over them, too.", "card trap: colour channels"),
        mistaken(sharpness__padded,
                 "You pad with zeros, so every border looks like an edge. Use only places that have all four "
                 "neighbours.", "library difference: padding of convolutions"),
    ),
    hints=(
        "What does the sum of a pixel's neighbours minus four times itself give on a plain wall? On a slope?",
        "Four slices of x, each moved by one pixel, minus four times the middle slice x[:, :, 1:-1, 1:-1].",
        "laplacian = x[:, :, :-2, 1:-1] + x[:, :, 2:, 1:-1] + x[:, :, 1:-1, :-2] + x[:, :, 1:-1, 2:] - 4 * x[:, :, "
        "1:-1, 1:-1]; return laplacian.square().mean((1, 2, 3))",
    ),
)  # fmt: skip
