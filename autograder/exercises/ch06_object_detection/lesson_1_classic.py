"""Exercises of notebook 1 about the classical detectors: oriented gradients, springs, and stumps."""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F

from autograder.declare import Exercise, alternative, case, slip
from dlcv_lab.checking import probing
from dlcv_lab.checking.model import Forbid

DOUBLE = torch.float64


def hog_cases(d):
    ramp = torch.arange(12.0).expand(12, 12)
    return [
        case("plain", "16x16, cells of 8", image=d.uniform(16, 16)),
        case("plain", "not square, cells of 4, 6 bins", image=d.uniform(12, 20), cell=4, bins=6),
        case("plain", "float64", image=d.uniform(10, 15, dtype=DOUBLE), cell=5),
        case("edge", "13x18, cells of 5: a rest is left out", image=d.uniform(13, 18), cell=5, bins=8),
        case("edge", "brighter to the right", image=ramp / 12, cell=6),
        case("edge", "brighter downwards, dark to bright and back", image=(ramp.T / 12 - 0.5).abs(), cell=6),
        case("edge", "one grey: no edge", image=torch.full((8, 8), 0.5), cell=4),
    ]


def hog_loops(data):
    """Count pixel by pixel, in plain Python."""
    image, cell, bins = data["image"], data.get("cell", 8), data.get("bins", 9)
    H, W = image.shape
    out = torch.zeros(H // cell, W // cell, bins, dtype=image.dtype)
    rows = image.tolist()
    for y in range(H // cell * cell):
        for x in range(W // cell * cell):
            gx = rows[y][x + 1] - rows[y][x - 1] if 0 < x < W - 1 else 0.0
            gy = rows[y + 1][x] - rows[y - 1][x] if 0 < y < H - 1 else 0.0
            degrees = math.degrees(math.atan2(gy, gx)) % 180.0
            k = min(int(degrees // (180.0 / bins)), bins - 1) if degrees < 180 else 0
            out[y // cell, x // cell, k] += math.hypot(gx, gy) / cell**2
    return out


def hog_cells__scatter(image, cell=8, bins=9):
    H, W = image.shape
    gx = F.pad(image[:, 2:] - image[:, :-2], (1, 1))
    gy = F.pad(image[2:] - image[:-2], (0, 0, 1, 1))
    turn = torch.remainder(torch.atan2(gy, gx), math.pi) / math.pi * bins
    k = turn.floor().long().clamp(max=bins - 1)
    rows, columns = H // cell, W // cell
    y, x = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    inside = (y < rows * cell) & (x < columns * cell)
    place = (y // cell * columns + x // cell) * bins + k
    out = torch.zeros(rows * columns * bins, dtype=image.dtype)
    out.index_add_(0, place[inside], torch.hypot(gx, gy)[inside])
    return out.reshape(rows, columns, bins) / cell**2


def hog_cells__pooled(image, cell=8, bins=9):
    gx = torch.zeros_like(image)
    gy = torch.zeros_like(image)
    for x in range(1, image.shape[1] - 1):
        gx[:, x] = image[:, x + 1] - image[:, x - 1]
    for y in range(1, image.shape[0] - 1):
        gy[y] = image[y + 1] - image[y - 1]
    degrees = torch.atan2(gy, gx) * 180 / math.pi
    degrees = torch.where(degrees < 0, degrees + 180, degrees)
    degrees = torch.where(degrees >= 180, degrees - 180, degrees)
    size = torch.sqrt(gx * gx + gy * gy)
    layers = []
    for k in range(bins):
        low, high = k * 180 / bins, (k + 1) * 180 / bins
        layers.append(size * ((degrees >= low) & (degrees < high)))
    return F.avg_pool2d(torch.stack(layers)[None], cell)[0].permute(1, 2, 0)


HOG_CELLS = Exercise(
    name="hog_cells",
    methods=("ch06/hog",),
    core=True,
    groups={"plain": 2.0, "edge": 1.0},
    cases=hog_cases,
    oracle=hog_loops,
    minutes=22,
    difficulty="medium",
    good_for="the feature that stood behind nearly every detector between 2005 and 2012",
    forbid=Forbid(names=("skimage",)),
    hints=(
        "Which of the nine bins does a vertical edge vote for, and why do dark-to-bright and bright-to-dark "
        "edges share "
        "it?",
        "gx and gy begin as zeros; only their inner columns and rows are filled. degrees = rad2deg(atan2(gy, "
        "gx)) % 180; "
        "bin = floor(degrees / (180 / bins)). One-hot bins times the magnitude give (H, W, bins); cut to whole cells, "
        "reshape to (rows, cell, columns, cell, bins), and average over the two cell axes.",
        "votes = F.one_hot(which, bins).to(image.dtype) * magnitude[:, :, None]; votes = votes[:rows*cell, "
        ":columns*cell].reshape(rows, cell, columns, cell, bins); return votes.mean(dim=(1, 3)).",
    ),
    alternatives=(alternative(hog_cells__scatter), alternative(hog_cells__pooled)),
    misconceptions=(
        slip("signed", {"% 180": "% 360 / 2"},
             "You tell dark-to-bright from bright-to-dark edges. The direction is taken modulo 180 degrees: a "
             "star is a "
             "star on light and on dark ground.",
             "card trap: unsigned orientation"),
        slip("votes_of_one", {" * magnitude[:, :, None]": ""},
             "Every pixel has the same vote, so that noise counts as much as an edge. The vote is the gradient's "
             "magnitude.",
             "student mistake: counting in place of weighting"),
        slip("sum", {".mean(dim=(1, 3))": ".sum(dim=(1, 3))"},
             "These are the sums. Divide them by the number of pixels of a cell.",
             "student mistake: sum and mean"),
        slip("cut_first",
             {"gx, gy = torch.zeros_like(image), torch.zeros_like(image)":
              "image = image[: image.shape[0] // cell * cell, : image.shape[1] // cell * cell]\n"
              "gx, gy = torch.zeros_like(image), torch.zeros_like(image)"},
             "You cut off the rest before you take the gradients, so the last pixels of the last cells lose a "
             "neighbour. Gradients first, then cut.",
             "card trap: the rest is left out after the gradients"),
        slip("swapped", {"torch.atan2(gy, gx)": "torch.atan2(gx, gy)"},
             "The arguments of atan2 are swapped: it takes y first. Your angles are mirrored at the diagonal.",
             "library difference: the order of atan2's arguments"),
        slip("halved",
             {"image[:, 2:] - image[:, :-2]": "(image[:, 2:] - image[:, :-2]) / 2",
              "image[2:] - image[:-2]": "(image[2:] - image[:-2]) / 2"},
             "All your numbers are half as large: the gradients are differences WITHOUT the factor 1/2.",
             "library difference: numpy.gradient divides by the distance of the two neighbours"),
        slip("one_sided",
             {"gx[:, 1:-1] = image[:, 2:] - image[:, :-2]":
                  "gx[:, :-1] = image[:, 1:] - image[:, :-1]",
              "gy[1:-1] = image[2:] - image[:-2]": "gy[:-1] = image[1:] - image[:-1]"},
             "Your gradients are differences to the next pixel. Here they reach from the one neighbour to the other, "
             "over two pixels, and are 0 at the border.",
             "student mistake: forward difference"),
        slip("nearest_bin", {"(degrees / (180 / bins)).floor().long().clamp(max=bins - 1)":
                               "(degrees / (180 / bins)).round().long() % bins"},
             "You round to the nearest bin. Bin k holds the directions FROM k * 180 / bins up to the next: round down.",
             "student mistake: round for floor"),
    ),
)  # fmt: skip


def spring_cases(d):
    n = d.whole(7, 9)
    bumps = d.normal(n)
    return [
        case("plain", "a = 0.2", f=bumps, a=0.2),
        case("plain", "float64, a = 0.1 and b = 0.3", f=d.normal(9, dtype=DOUBLE), a=0.1, b=0.3),
        case("plain", "one high place, b = -0.5",
             f=torch.tensor([0.0, 0, 0, 4, 0, 0, 0]) + 0.01 * d.normal(7), a=0.25, b=-0.5),
        case("edge", "no spring: everybody goes to the best place", f=bumps, a=0.0),
        case("edge", "a spring too stiff to move", f=d.normal(6), a=1000.0),
        case("edge", "two equally good places", f=torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0]), a=0.0),
        case("edge", "a single place", f=d.normal(1), a=0.5, b=1.0),
    ]  # fmt: skip


def spring_loops(data):
    f, a, b = data["f"], data["a"], data.get("b", 0.0)
    values, places = [], []
    for p in range(len(f)):
        charged = torch.stack([f[q] - a * (p - q) ** 2 - b * (p - q) for q in range(len(f))])
        places.append(min(q for q in range(len(f)) if charged[q] == charged.max()))
        values.append(charged[places[-1]])
    return torch.stack(values), torch.tensor(places)


def distance_transform__loops(f, a, b=0.0):
    D, where = f.clone(), torch.zeros(len(f), dtype=torch.int64)
    for p in range(len(f)):
        best = None
        for q in range(len(f)):
            value = f[q] - a * (p - q) ** 2 - b * (p - q)
            if best is None or value > best:
                best, where[p] = value, q
        D[p] = best
    return D, where


def distance_transform__columns(f, a, b=0.0):
    n = len(f)
    home = torch.arange(n, dtype=f.dtype)
    best, where = torch.full_like(f, -torch.inf), torch.zeros(n, dtype=torch.int64)
    for q in range(n):
        value = f[q] - (a * (home - q) + b) * (home - q)
        where = torch.where(value > best + 1e-9, torch.tensor(q), where)
        best = torch.maximum(best, value)
    return best, where


DISTANCE_TRANSFORM = Exercise(
    name="distance_transform",
    returns=("D", "q"),
    methods=("ch06/dpm",),
    groups={"plain": 2.0, "edge": 1.0},
    cases=spring_cases,
    oracle=spring_loops,
    minutes=15,
    good_for="seeing how a model with movable parts is searched without trying all arrangements",
    hints=(
        "For one home p, write down what every place q would score. What do you do with this row of n numbers?",
        "place = torch.arange(n); offset = place[:, None] - place has p - q at row p, column q. The table is f - a * "
        "offset**2 - b * offset; f runs along the columns. Take the maximum of each row and where it is.",
        "table = f - a * offset**2 - b * offset; D = table.max(dim=1).values; the first column that equals D[p] is q.",
    ),
    alternatives=(alternative(distance_transform__loops), alternative(distance_transform__columns)),
    misconceptions=(
        slip("sign_of_b", {"- b * offset": "+ b * offset"},
             "With b = 0 you are right. The linear charge is b * (p - q), home minus place: yours has the other sign.",
             "card trap: errata, the released code's linear term is b (p - q)"),
        slip("no_linear_charge", {" - b * offset": ""},
             "With b = 0 you are right. The linear charge b * (p - q) is missing.",
             "student mistake: only the square"),
        slip("best_of_columns", {"table.max(dim=1).values": "table.max(dim=0).values",
                                 "(table == D[:, None])": "(table == D).T"},
             "You take the maximum over the homes of one place. Wanted is, for every home p, the maximum over "
             "the places "
             "q.",
             "student mistake: the wrong axis"),
        slip("distance_not_squared", {"offset**2": "offset.abs()"},
             "The spring charges the SQUARE of the distance.",
             "student mistake: absolute distance"),
        slip("displacement", {"return D, q": "return D, q - torch.arange(len(f))"},
             "D is right. q should be the place itself, not how far it lies from home.",
             "student mistake: displacement in place of position"),
        slip("last_of_equals",
             {"(table == D[:, None]).to(torch.uint8).argmax(dim=1)":
              "len(f) - 1 - (table == D[:, None]).to(torch.uint8).flip(1).argmax(dim=1)"},
             "Of several equally good places the lowest q is asked for.",
             "card trap: ties"),
    ),
)  # fmt: skip


def stump_cases(d):
    n = d.whole(10, 14)
    y = torch.arange(n) % 2
    w = d.uniform(n, low=0.2, high=1.0, dtype=DOUBLE)
    w = w / w.sum()
    high, low = y + 0.3 * d.uniform(n), 1 - y + 0.3 * d.uniform(n)
    flipped = high.clone()
    flipped[:2] = flipped[:2].flip(0)  # one example of each class on the wrong side
    # the two light examples disagree with the heavy ones: counting heads chooses another threshold
    heavy = torch.tensor([0.45, 0.45, 0.02, 0.02, 0.02, 0.02, 0.02], dtype=DOUBLE)
    return [
        case("plain", "the positives have the large values", f=flipped, y=y, w=w),
        case("plain", "the positives have the small values", f=low, y=y, w=w),
        case("plain", "noise", f=d.normal(12), y=torch.arange(12) % 2, w=torch.full((12,), 1 / 12, dtype=DOUBLE)),
        case("weights", "two examples carry most of the weight",
             f=torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]), y=torch.tensor([1, 0, 0, 1, 1, 1, 1]), w=heavy),
        case("weights", "weights that sum to 3", f=flipped, y=y, w=3 * w),
        case("edge", "one class only", f=d.normal(5), y=torch.ones(5, dtype=torch.int64),
             w=torch.full((5,), 0.2, dtype=DOUBLE)),
        case("edge", "equal values", f=torch.tensor([1.0, 1.0, 1.0, 2.0, 2.0]), y=torch.tensor([0, 1, 0, 1, 1]),
             w=torch.full((5,), 0.2, dtype=DOUBLE)),
    ]  # fmt: skip


def stump_probe(ns, data):
    theta, p, error = probing.call(ns.best_stump, **data)
    if p not in (1, -1):
        raise probing.Unusable(f"the polarity p is +1 or -1; yours is {p!r}")
    says = p * data["f"].double() < p * float(theta)
    return {"error": float(error), "error of your theta and p": float(data["w"][says != (data["y"] == 1)].sum())}


def stump_brute(data):
    """Try every cut of the sorted values, both ways round."""
    values = sorted(set(data["f"].tolist()))
    cuts = [values[0] - 1, *((a + b) / 2 for a, b in pairwise(values)), values[-1] + 1]
    y, w = data["y"].tolist(), data["w"].tolist()
    errors = [
        sum(weight for v, label, weight in zip(data["f"].tolist(), y, w) if (p * v < p * cut) != (label == 1))
        for cut in cuts
        for p in (1, -1)
    ]
    return {"error": min(errors), "error of your theta and p": min(errors)}


def best_stump__loops(f, y, w):
    values = sorted(set(f.tolist()))
    cuts = [values[0] - 1.0] + [(values[k] + values[k + 1]) / 2 for k in range(len(values) - 1)] + [values[-1] + 1.0]
    best = (0.0, 1, float("inf"))
    for theta in cuts:
        for p in (1, -1):
            wrong = (p * f < p * theta) != (y == 1)
            error = float(w[wrong].sum())
            if error < best[2]:
                best = (theta, p, error)
    return best


def best_stump__running(f, y, w):
    order = f.argsort()
    v, positive = f[order].double(), torch.where(y[order] == 1, w[order], torch.zeros_like(w))
    negative = w[order] - positive
    start = torch.zeros(1, dtype=w.dtype)
    error = torch.cat([start, negative.cumsum(0)]) + positive.sum() - torch.cat([start, positive.cumsum(0)])
    error[1:-1][v[1:] == v[:-1]] = w.sum() / 2  # no cut between equal values
    either = torch.minimum(error, w.sum() - error)
    k = int(either.argmin())
    theta = v[0] - 1 if k == 0 else v[-1] + 1 if k == len(v) else (v[k - 1] + v[k]) / 2
    return float(theta), 1 if error[k] <= w.sum() - error[k] else -1, float(either[k])


BEST_STUMP = Exercise(
    name="best_stump",
    methods=("ch06/viola_jones",),
    groups={"plain": 1.5, "weights": 1.0, "edge": 0.5},
    cases=stump_cases,
    probe=stump_probe,
    oracle=stump_brute,
    minutes=20,
    difficulty="hard",
    good_for="the weak learner of boosting: one number, one threshold",
    forbid=Forbid(names=("sklearn",)),
    hints=(
        "Fix a threshold. Which examples does 'below means face' miss, and what does 'above means face' miss?",
        "For each theta: below = f < theta. With p = +1 the stump misses where below differs from (y == 1); its "
        "error is "
        "the weight of those. With p = -1 it misses exactly the others: w.sum() minus that. Take the smallest of all.",
        "theta = torch.cat([values[:1] - 1, (values[1:] + values[:-1]) / 2, values[-1:] + 1]) with values = "
        "f.unique(); "
        "missed = (f[:, None] < theta) != (y == 1)[:, None]; plus = (w[:, None] * missed).sum(0); minus = "
        "w.sum() - plus.",
    ),
    alternatives=(alternative(best_stump__loops), alternative(best_stump__running)),
    misconceptions=(
        slip("one_polarity",
             {"torch.minimum(plus, minus).argmin()": "plus.argmin()", "if plus[k] <= minus[k]:": "if True:"},
             "You only try 'small values mean 1'. Where the positives have the LARGE values, the polarity -1 is "
             "needed.",
             "card trap: both polarities"),
        slip("counts_heads", {"(w[:, None] * missed).sum(0)": "missed.sum(0) * w.sum() / len(w)"},
             "You count mistakes. The error is the sum of the WEIGHTS of the missed examples: that is how later rounds "
             "look at the hard ones.",
             "student mistake: unweighted error"),
        slip("weights_sum_to_one", {"minus = w.sum() - plus": "minus = 1 - plus"},
             "For polarity -1 you take 1 minus the error. The weights need not sum to 1: w.sum() minus the error.",
             "student mistake: weights taken as normalised"),
        slip("no_ends",
             {"torch.cat([values[:1] - 1, (values[1:] + values[:-1]) / 2, values[-1:] + 1])":
              "(values[1:] + values[:-1]) / 2"},
             "A threshold below or above all values is missing: with one class only, the best stump says the same to "
             "everybody.",
             "card trap: the ends of the range"),
        slip("polarity_turned",
             {"return float(theta[k]), 1, float(plus[k])": "return float(theta[k]), -1, float(plus[k])",
              "return float(theta[k]), -1, float(minus[k])": "return float(theta[k]), 1, float(minus[k])"},
             "The error is right, but not for your polarity: p = +1 says 1 BELOW theta (p * f < p * theta).",
             "student mistake: 'above means face'"),
    ),
)  # fmt: skip
