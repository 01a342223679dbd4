"""Exercises of notebook 1, jigsaw puzzles and colours."""

import itertools

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

from autograder.declare import Exercise, alternative, case, slip

DOUBLE = torch.float64


def all_orders(tiles):
    return torch.tensor(list(itertools.permutations(range(tiles))))


def select_cases(d):
    four = all_orders(4)
    doubled = four[torch.cat([d.permutation(24)[:6], d.permutation(24)[:6]])]
    doubled = torch.cat([doubled, doubled.flip(0)])
    return [
        case("plain", "6 of the 24 orders of 4 tiles", P=6, first=four[d.whole(0, 23)], candidates=four),
        case("plain", "8 of 24, in another order", P=8, first=four[d.whole(0, 23)], candidates=four[d.permutation(24)]),
        case(
            "plain", "5 of 120, of 5 tiles", P=5, first=d.permutation(5), candidates=all_orders(5)[d.permutation(120)]
        ),
        case("edge", "only the first", P=1, first=d.permutation(4), candidates=four),
        case("edge", "all six of 3 tiles", P=6, first=d.permutation(3), candidates=all_orders(3)[d.permutation(6)]),
        case("edge", "candidates that stand there twice", P=5, first=doubled[0], candidates=doubled),
        case("edge", "more than there are", P=7, first=d.permutation(3), candidates=all_orders(3)),
    ]


def select_library(data):
    """Return the same by scipy's distances and exact integers."""
    pool = data["candidates"].numpy()
    chosen = [data["first"].numpy()]
    while len(chosen) < data["P"]:
        hamming = np.rint(cdist(pool, np.stack(chosen), metric="hamming") * pool.shape[1]).astype(int)
        free = (hamming > 0).all(1)
        if not free.any():
            raise ValueError("too few")
        chosen.append(pool[np.where(free, hamming.sum(1), -1).argmax()])
    return torch.from_numpy(np.stack(chosen))


def select_permutations__sets(P, first, candidates):
    chosen, left = [first], [row for row in candidates if not torch.equal(row, first)]
    while len(chosen) < P:
        if not left:
            raise ValueError("not enough permutations")
        sums = [sum(int((row != other).sum()) for other in chosen) for row in left]
        best = left[sums.index(max(sums))]
        chosen.append(best)
        left = [row for row in left if not torch.equal(row, best)]
    return torch.stack(chosen)


def select_permutations__tensor(P, first, candidates):
    chosen = first[None]
    for _ in range(P - 1):
        distance = (candidates[:, None] != chosen).sum(2)
        total = distance.sum(1).masked_fill((distance == 0).any(1), -1)
        if total.max() < 0:
            raise ValueError("not enough permutations")
        chosen = torch.cat([chosen, candidates[total.argmax()][None]])
    return chosen


SELECT_PERMUTATIONS = Exercise(
    name="select_permutations",
    methods=("ch04/jigsaw",),
    groups={"plain": 1.5, "edge": 1.0},
    cases=select_cases,
    oracle=select_library,
    minutes=20,
    difficulty="medium",
    good_for="a greedy choice, and why near twins make a bad exam",
    alternatives=(alternative(select_permutations__sets), alternative(select_permutations__tensor)),
    misconceptions=(
        slip(
            "smallest_distance",
            {
                "total = torch.zeros(len(candidates), dtype=torch.int64)":
                    "total = torch.full((len(candidates),), 10**6, dtype=torch.int64)",
                "total += different.sum(1)": "total = torch.minimum(total, different.sum(1))",
            },
            "You maximise the SMALLEST distance to the chosen ones. The rule here takes the sum of the distances.",
            "card trap: minimal or summed distance",
        ),
        slip(
            "only_the_last",
            {"total += different.sum(1)": "total = different.sum(1)"},
            "You measure the distance to the permutation chosen last. Add up the distances to all chosen so far.",
            "student mistake: the sum is overwritten",
        ),
        slip(
            "agreement",
            {"different = candidates != chosen[-1]": "different = candidates == chosen[-1]"},
            "You count the slots that agree. The Hamming distance counts those that differ.",
            "student mistake: similarity taken for distance",
        ),
        slip(
            "last_of_a_tie",
            {"best = total.argmax()": "best = len(total) - 1 - total.flip(0).argmax()"},
            "Of several candidates with the same sum you take the last. Take the one that stands first.",
            "card trap: ties",
        ),
        slip(
            "chosen_twice",
            {"total[~different.any(1)] = taken": ""},
            "A permutation is chosen a second time. One with distance 0 to a chosen one is taken already.",
            "card trap: chosen ones are excluded",
        ),
        slip(
            "smallest_sum",
            {"best = total.argmax()": "best = torch.where(total < 0, 10**6, total).argmin()"},
            "You add the candidate with the smallest sum. The set should be as diverse as possible: the largest.",
            "student mistake: argmin for argmax",
        ),
    ),
    hints=(
        "Keep one number for every candidate: its summed distance to those chosen. What changes when one more is "
        "chosen?",
        "Loop: (candidates != newest).sum(1) are the distances to the newest; add them to the running sum; make "
        "those at "
        "distance 0 unavailable; take argmax; raise if nothing is left.",
        "different = candidates != chosen[-1]; total += different.sum(1); total[~different.any(1)] = a very negative "
        "number; chosen.append(candidates[total.argmax()])",
    ),
)  # fmt: skip


def jigsaw_cases(d):
    def puzzle(n, c, high, wide, grid, tile):
        cells = grid * grid
        room = torch.tensor([high // grid - tile, wide // grid - tile])
        return {
            "x": d.normal(n, c, high, wide),
            "perm": torch.stack([d.permutation(cells) for _ in range(n)]),
            "offsets": (torch.rand(n, cells, 2, generator=d) * (room + 1)).long(),
            "grid": grid,
            "tile": tile,
        }

    cycle = torch.tensor([[1, 2, 0, 3]])  # its inverse is another
    pinned = puzzle(1, 1, 12, 8, 2, 3) | {"offsets": torch.tensor([[[3, 0], [0, 1], [2, 1], [1, 0]]])}
    gap = puzzle(1, 1, 6, 6, 2, 2) | {"offsets": torch.tensor([[[0, 2], [1, 0], [0, 0], [0, 0]]])}
    below = puzzle(1, 1, 8, 8, 2, 3) | {"offsets": torch.tensor([[[0, 0], [0, -1], [0, 0], [1, 1]]])}
    return [
        case("puzzle", "two pictures, 3x3 cells", **puzzle(2, 3, 12, 12, 3, 3)),
        case("puzzle", "a cycle of three, tiles as large as cells", **puzzle(1, 1, 4, 4, 2, 2) | {"perm": cycle}),
        case("puzzle", "cells higher than wide, a cycle", **pinned | {"perm": cycle}),
        case("edge", "one cell", **puzzle(2, 1, 5, 5, 1, 4)),
        case("edge", "the grid does not divide the height", **puzzle(1, 1, 9, 8, 2, 2)),
        case("edge", "a tile reaches into the next cell", **gap),
        case("edge", "an offset below 0", **below),
    ]


def jigsaw_library(data):
    x, grid, tile = data["x"], data["grid"], data["tile"]
    N, C, H, W = x.shape
    h, w = H // grid, W // grid
    if H % grid or W % grid or data["offsets"].min() < 0:
        raise ValueError("grid or offset")
    if (data["offsets"] + tile > torch.tensor([h, w])).any():
        raise ValueError("offset")
    cells = F.unfold(x, (h, w), stride=(h, w)).reshape(N, C, h, w, grid * grid).permute(0, 4, 1, 2, 3)
    inside = [
        [cells[n, c, :, i : i + tile, j : j + tile] for c, (i, j) in enumerate(data["offsets"][n].tolist())]
        for n in range(N)
    ]
    tiles = torch.stack([torch.stack(row) for row in inside])
    return torch.stack([tiles[n][data["perm"][n]] for n in range(N)])


def make_jigsaw__reshaped(x, perm, offsets, grid, tile):
    N, C, H, W = x.shape
    h, w = H // grid, W // grid
    if h * grid != H or w * grid != W:
        raise ValueError("grid does not divide the picture")
    if offsets.min() < 0 or offsets[..., 0].max() + tile > h or offsets[..., 1].max() + tile > w:
        raise ValueError("tile leaves its cell")
    cells = x.reshape(N, C, grid, h, grid, w).permute(0, 2, 4, 1, 3, 5).reshape(N, grid * grid, C, h, w)
    rows = offsets[:, :, 0, None] + torch.arange(tile)
    columns = offsets[:, :, 1, None] + torch.arange(tile)
    n, t = torch.arange(N)[:, None, None, None], torch.arange(grid * grid)[None, :, None, None]
    tiles = cells[n, t, :, rows[..., None], columns[:, :, None]].permute(0, 1, 4, 2, 3)
    return tiles[torch.arange(N)[:, None], perm]


def make_jigsaw__stacked(x, perm, offsets, grid, tile):
    h, w = x.shape[2] // grid, x.shape[3] // grid
    if x.shape[2] % grid != 0 or x.shape[3] % grid != 0:
        raise ValueError("grid")
    pictures = []
    for image, order, moves in zip(x, perm, offsets):
        slots = []
        for cell in order:
            row, column = divmod(int(cell), grid)
            i, j = int(moves[cell, 0]), int(moves[cell, 1])
            if not (0 <= i <= h - tile and 0 <= j <= w - tile):
                raise ValueError("offset")
            slots.append(image[:, row * h + i :, column * w + j :][:, :tile, :tile])
        pictures.append(torch.stack(slots))
    return torch.stack(pictures)


MAKE_JIGSAW = Exercise(
    name="make_jigsaw",
    methods=("ch04/jigsaw",),
    core=True,
    groups={"puzzle": 2.0, "edge": 1.0},
    cases=jigsaw_cases,
    oracle=jigsaw_library,
    minutes=20,
    difficulty="medium",
    good_for="keeping places, cells and slots apart",
    alternatives=(alternative(make_jigsaw__reshaped), alternative(make_jigsaw__stacked)),
    misconceptions=(
        slip(
            "inverse",
            {"for slot, cell in enumerate(perm[n].tolist()):": "for cell, slot in enumerate(perm[n].tolist()):"},
            "You put cell s into slot perm[s]. It is the other way round: slot s holds the tile of cell perm[s].",
            "card trap: a permutation and its inverse",
        ),
        slip(
            "by_columns",
            {
                "cell // grid * high + down, cell % grid * wide + right":
                    "cell % grid * high + down, cell // grid * wide + right"
            },
            "You number the cells column by column. They go row by row: cell 1 stands to the right of cell 0.",
            "student mistake: order of the cells",
        ),
        slip(
            "offset_of_the_slot",
            {"offsets[n, cell]": "offsets[n, slot]"},
            "An offset belongs to its CELL: offsets[n, c] says where in cell c the tile begins, wherever it ends up.",
            "student mistake: slot and cell confused",
        ),
        slip(
            "right_then_down",
            {"down, right = offsets[n, cell].tolist()": "right, down = offsets[n, cell].tolist()"},
            "The two numbers of an offset are (down, right), in this order.",
            "student mistake: x and y exchanged",
        ),
        slip(
            "no_offset",
            {"down, right = offsets[n, cell].tolist()": "down, right = 0, 0"},
            "All your tiles begin in the corner of their cell. Move them by the cell's offset.",
            "student mistake: an argument is ignored",
        ),
        slip(
            "unchecked_offsets",
            {"if (offsets < 0).any() or (offsets > most).any():": "if False:"},
            "A tile that leaves its cell must raise a ValueError; yours takes pixels of the next cell.",
            "card trap: range of the offsets",
        ),
        slip(
            "unchecked_grid",
            {"if H % grid or W % grid:": "if False:"},
            "A grid that does not divide height and width must raise a ValueError.",
            "card trap: H not divisible by the grid",
        ),
        slip(
            "edge_refused",
            {"(offsets > most).any()": "(offsets >= most).any()"},
            "A tile that ends exactly where its cell ends is still inside; yours raises an error. Offset + tile may "
            "equal the cell's size.",
            "student mistake: off by one",
        ),
        slip("first_order_for_all", {"perm[n].tolist()": "perm[0].tolist()"},
             "All pictures are shuffled as the first one is. Picture n has its own order, perm[n].",
             "student mistake: one permutation a batch"),
    ),
    hints=(
        "Which cell fills slot s, and where in the picture is that cell's upper left pixel?",
        "For picture n and slot s: cell = perm[n, s]; its corner is (cell // grid * high, cell % grid * wide); add "
        "offsets[n, cell]; cut tile x tile pixels.",
        "top, left = cell // grid * high + down, cell % grid * wide + right; out[n, slot] = x[n, :, top : top + tile, "
        "left : left + tile]",
    ),
)  # fmt: skip


def grid_of_bins(side):
    steps = 10.0 * torch.arange(side) - 20
    return torch.cartesian_prod(steps, steps)


def encode_cases(d):
    bins = grid_of_bins(4)[d.permutation(16)]
    return [
        case("share", "six colours, 16 bins", ab=d.uniform(6, 2, low=-22, high=12), bins=bins),
        case("share", "three bins, a wide sigma", ab=d.uniform(4, 2, low=-15, high=5), bins=bins, k=3, sigma=9.0),
        case("share", "float64, one bin", ab=d.uniform(3, 2, low=-15, high=5, dtype=DOUBLE), bins=bins.double(), k=1),
        case("edge", "far away from every bin", ab=d.uniform(3, 2, low=140, high=160), bins=bins),
        case("edge", "as many bins as there are", ab=d.uniform(2, 2, low=-9, high=9), bins=bins[:4], k=4, sigma=6.0),
        case("edge", "no colours", ab=d.normal(0, 2), bins=bins),
        case("edge", "more bins than there are", ab=d.normal(2, 2), bins=bins[:3], k=4),
    ]


def encode_library(data):
    ab, bins = data["ab"], data["bins"]
    k, sigma = data.get("k", 5), data.get("sigma", 5.0)
    if k > len(bins):
        raise ValueError("k")
    if len(ab) == 0:
        return torch.zeros(0, len(bins), dtype=ab.dtype)
    tree = NearestNeighbors(n_neighbors=k).fit(bins.detach().numpy())
    index = torch.from_numpy(tree.kneighbors(ab.detach().numpy())[1])
    log_p = torch.distributions.Normal(0.0, sigma).log_prob(ab[:, None] - bins[index]).sum(2)
    return torch.zeros(len(ab), len(bins), dtype=ab.dtype).scatter(1, index, (log_p - log_p.logsumexp(1, True)).exp())


def soft_encode__masked(ab, bins, k=5, sigma=5.0):
    if len(bins) < k:
        raise ValueError("too few bins")
    d2 = (ab[:, None, :] - bins[None]).pow(2).sum(-1)
    kth = d2.sort(dim=1).values[:, k - 1 : k]
    near = d2 <= kth
    weight = torch.exp(-(d2 - d2.min(1, keepdim=True).values) / (2 * sigma**2)) * near
    return weight / weight.sum(1, keepdim=True)


def soft_encode__loop(ab, bins, k=5, sigma=5.0):
    if k > bins.shape[0]:
        raise ValueError("too few bins")
    out = torch.zeros(len(ab), len(bins), dtype=ab.dtype)
    for row, colour in zip(out, ab):
        squared = (bins - colour).square().sum(1)
        order = squared.argsort()[:k]
        share = torch.exp((squared[order[0]] - squared[order]) / (2 * sigma * sigma))
        row[order] = share / share.sum()
    return out


SOFT_ENCODE = Exercise(
    name="soft_encode",
    methods=("ch04/colorization",),
    core=True,
    groups={"share": 2.0, "edge": 1.0},
    cases=encode_cases,
    oracle=encode_library,
    minutes=18,
    difficulty="medium",
    good_for="targets that are distributions, and exponentials that do not vanish",
    alternatives=(alternative(soft_encode__masked), alternative(soft_encode__loop)),
    misconceptions=(
        slip(
            "not_squared",
            {"(-near / (2 * sigma**2))": "(-near.sqrt() / (2 * sigma**2))"},
            "The exponent holds the distance itself. It is the SQUARED distance over 2 sigma squared.",
            "student mistake: d for d squared",
        ),
        slip(
            "no_two",
            {"2 * sigma**2": "sigma**2"},
            "The exponent is -d^2 / (2 sigma^2): the 2 is missing.",
            "student mistake: the Gaussian's factor 2",
        ),
        slip(
            "not_normalised",
            {"(-near / (2 * sigma**2)).softmax(1)": "(-near / (2 * sigma**2)).exp()"},
            "Your rows do not sum to 1. Divide by the sum over the k bins.",
            "student mistake: a distribution must sum to 1",
        ),
        slip(
            "all_bins",
            {"d2.topk(k, dim=1": "d2.topk(len(bins), dim=1"},
            "All bins get a share. Only the k nearest do; the others are exactly 0.",
            "card trap: k is ignored",
        ),
        slip(
            "farthest",
            {", largest=False": ""},
            "You take the k FARTHEST bins: topk returns the largest unless told largest=False.",
            "library difference: topk returns the largest",
        ),
        slip(
            "underflow",
            {
                "share = (-near / (2 * sigma**2)).softmax(1)":
                    "share = (-near / (2 * sigma**2)).exp()\nshare = share / share.sum(1, keepdim=True)"
            },
            "Far from every bin all exponentials are 0, and you divide 0 by 0. Subtract the smallest squared distance "
            "first (a softmax does).",
            "card trap: exp underflows",
        ),
        slip(
            "unchecked",
            {"if k > len(bins):": "if False:"},
            "More neighbours than bins must raise a ValueError.",
            "card trap: k > Q",
        ),
        slip(
            "shares_of_all",
            {"(-near / (2 * sigma**2)).softmax(1)": "(-d2 / (2 * sigma**2)).softmax(1).gather(1, index)"},
            "You divide by the sum over ALL bins. Only the k nearest share the colour: divide by the sum over these k.",
            "student mistake: normalised before the choice",
        ),
    ),
    hints=(
        "exp(-a_i), divided by the sum over i, is a function that you know well. Which?",
        "Squared distances (N, Q); topk with largest=False gives the k nearest and their places; softmax of -d^2 / (2 "
        "sigma^2) over these k; scatter them into zeros.",
        "near, index = d2.topk(k, dim=1, largest=False); share = (-near / (2 * sigma**2)).softmax(1); return "
        "torch.zeros_like(d2).scatter(1, index, share)",
    ),
)  # fmt: skip


def rebalance_cases(d):
    def prior(n, dtype=torch.float32):
        return d.normal(n, dtype=dtype).mul(1.5).softmax(0)

    rare = torch.cat([prior(5), torch.zeros(2)])
    return [
        case("weights", "six bins", p=prior(6)),
        case("weights", "lam 0.2", p=prior(9), lam=0.2),
        case("weights", "float64, lam 0.9", p=prior(4, DOUBLE), lam=0.9),
        case("edge", "bins that no pixel has", p=rare),
        case("edge", "lam 1: nothing is rebalanced", p=prior(5), lam=1.0),
    ]


def rebalance_library(data):
    p, lam = data["p"], data.get("lam", 0.5)
    mixed = torch.lerp(p, torch.full_like(p, 1 / len(p)), lam)
    return mixed.reciprocal() / torch.dot(p, mixed.reciprocal())


def rebalance_weights__normal(p, lam=0.5):
    mixed = (1 - lam) * p + lam * torch.full_like(p, 1.0 / p.numel())
    return 1 / mixed / torch.sum(p / mixed)


def rebalance_weights__scaled(p, lam=0.5):
    w = len(p) / ((1 - lam) * p * len(p) + lam)
    return w / (w @ p)


REBALANCE_WEIGHTS = Exercise(
    name="rebalance_weights",
    methods=("ch04/colorization",),
    groups={"weights": 1.0, "edge": 0.5},
    cases=rebalance_cases,
    oracle=rebalance_library,
    minutes=8,
    difficulty="easy",
    good_for="letting the rare be heard",
    alternatives=(alternative(rebalance_weights__normal), alternative(rebalance_weights__scaled)),
    misconceptions=(
        slip(
            "sums_to_one",
            {"w / (p * w).sum()": "w / w.sum()"},
            "Your weights sum to 1. It is their mean over PIXELS that should be 1: the sum of p_q w_q.",
            "card trap: normalised by the prior",
        ),
        slip(
            "mean_of_bins",
            {"w / (p * w).sum()": "w / w.mean()"},
            "You average the weights over bins. A pixel falls into bin q with probability p_q: weigh by p.",
            "card trap: normalised by the prior",
        ),
        slip(
            "lam_exchanged",
            {"(1 - lam) * p + lam / len(p)": "lam * p + (1 - lam) / len(p)"},
            "lam and 1 - lam are exchanged: lam belongs to the uniform part.",
            "student mistake: the mixing weight",
        ),
        slip(
            "uniform_is_one",
            {"lam / len(p)": "lam"},
            "The uniform distribution over Q bins is 1 / Q in each of them.",
            "student mistake: 1 for 1 / Q",
        ),
        slip(
            "no_inverse",
            {"w = 1 / ((1 - lam) * p + lam / len(p))": "w = (1 - lam) * p + lam / len(p)"},
            "Your frequent colours weigh most. Take one over the mixture.",
            "student mistake: the inverse is missing",
        ),
        slip(
            "not_scaled",
            {"w / (p * w).sum()": "w"},
            "The proportions are right; now scale, so that the sum of p_q w_q is 1.",
            "student mistake: not normalised",
        ),
    ),
    hints=(
        "What is the mean weight of a pixel, if a share p_q of the pixels has weight w_q?",
        "w = 1 / ((1 - lam) p + lam / Q); then divide w by the sum of p * w.",
        "w = 1 / ((1 - lam) * p + lam / len(p)); return w / (p * w).sum()",
    ),
)  # fmt: skip
