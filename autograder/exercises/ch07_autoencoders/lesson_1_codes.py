"""Exercises of notebook 1: the autoencoder, holes between codes, walks from one code to another."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autograder.declare import Exercise, alternative, case, mistaken, shipped, slip
from dlcv_lab.checking import probing

DOUBLE = torch.float64


def autoencoder_cases(d):
    def faces(group, note, n, *, turned=False, ask="", **sizes):
        side = sizes.get("side", 24)
        x = d.uniform(n, 1, side, side)
        asked = {"ask": ask} if ask else {}
        return case(group, note, x=x.transpose(2, 3) if turned else x, phase=d.real(), sizes=sizes, **asked)

    return [
        faces("value", "3 faces, two numbers each", 3),
        faces("value", "5x5 pixels, 3 numbers, 4 hidden units", 2, side=5, latent=3, hidden=4),
        faces("value", "codes from elsewhere are drawn as well", 2, ask="decoded", side=4, latent=3, hidden=5),
        faces("gradient", "gradients of the squared error", 2, side=4, latent=2, hidden=6),
        faces("edge", "one face", 1, side=6),
        faces("edge", "pictures that lie transposed in memory", 2, turned=True, side=5),
        faces("edge", "no face at all", 0, side=4),
    ]


@shipped
def filled(ns, data):
    """Return the student's model with weights from a formula."""
    model = ns.AutoEncoder(**data["sizes"])
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            at = torch.arange(p.numel(), dtype=torch.float64) * 12.9898 + 78.233 * data["phase"] + sum(map(ord, name))
            p.copy_((torch.sin(at) * 2.5 / max(p.shape[-1], 4) ** 0.5).view_as(p))
    return model.to(data["x"].dtype)


def autoencoder_probe(ns, data):
    model = filled(ns, data)
    answer = probing.call(model, data["x"])
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise probing.Unusable("forward returns (x_hat, z); yours returns something else")
    return {"x_hat": answer[0], "z": answer[1], "encode": probing.call(model.encode, data["x"])}


def autoencoder_decoded(ns, data):
    model = filled(ns, data)
    z = torch.linspace(-4, 4, 5 * data["sizes"]["latent"]).reshape(5, -1).to(data["x"].dtype)
    return {"decode": probing.call(model.decode, z)}


def autoencoder_gradient(ns, data):
    model = filled(ns, data)
    answer = probing.call(model, data["x"])
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise probing.Unusable("forward returns (x_hat, z); yours returns something else")
    loss = (answer[0] - data["x"]).square().sum()
    names, parameters = zip(*sorted(model.named_parameters()), strict=True)
    slopes = torch.autograd.grad(loss, parameters, allow_unused=True)
    return {"loss": loss.detach(), **{f"gradient of {n}": g for n, g in zip(names, slopes, strict=True)}}


class Given(nn.Module):
    def __init__(self, latent: int = 2, hidden: int = 128, side: int = 24) -> None:
        super().__init__()
        self.side = side
        going = (side * side, hidden, hidden, latent)
        self.encoder, self.decoder = self.stack(going), self.stack(going[::-1])
        self.decoder.append(nn.Sigmoid())

    def stack(self, sizes: tuple[int, ...]) -> nn.Sequential:
        parts: list[nn.Module] = []
        for fed, made in [sizes[k : k + 2] for k in range(3)]:
            parts += [nn.Linear(fed, made), nn.SiLU()]
        return nn.Sequential(*parts[:-1])


class AutoEncoder__by_loop(Given):
    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x.reshape(len(x), self.side**2))

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z).reshape(len(z), 1, self.side, self.side)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.encode(x)
        return self.decode(z), z


class AutoEncoder__functional(Given):
    def run(self, stack: nn.Sequential, a: Tensor) -> Tensor:
        for k in (0, 2):
            a = F.linear(a, stack[k].weight, stack[k].bias)
            a = a * torch.sigmoid(a)
        return F.linear(a, stack[4].weight, stack[4].bias)

    def encode(self, x: Tensor) -> Tensor:
        return self.run(self.encoder, x.squeeze(1).flatten(start_dim=1))

    def decode(self, z: Tensor) -> Tensor:
        pixels = self.run(self.decoder, z)
        return (1 / (1 + torch.exp(-pixels))).reshape(-1, self.side, self.side).unsqueeze(1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        code = self.encode(x)
        return self.decode(code), code


AUTO_ENCODER = Exercise(
    name="AutoEncoder",
    methods=("ch07/ae",),
    core=True,
    groups={"value": 2.0, "gradient": 0.5, "edge": 1.0},
    cases=autoencoder_cases,
    probe={
        "value": autoencoder_probe, "edge": autoencoder_probe, "gradient": autoencoder_gradient,
        "decoded": autoencoder_decoded,
    },
    minutes=20,
    difficulty="medium",
    good_for="a whole model in fifteen lines, whose halves one can use alone",
    alternatives=(
        alternative(Given, AutoEncoder__by_loop, name="by_loop"),
        alternative(Given, AutoEncoder__functional, name="functional"),
    ),
    misconceptions=(
        slip("no_sigmoid", {"nn.Linear(hidden, side * side), nn.Sigmoid(),": "nn.Linear(hidden, side * side),"},
             "Your pictures are not squeezed into 0 to 1: nn.Sigmoid follows the decoder's last layer.",
             "student mistake: output without sigmoid"),
        slip("squashed_code", {"nn.Linear(hidden, latent),": "nn.Linear(hidden, latent), nn.Sigmoid(),"},
             "Something follows the encoder's last layer. Codes are free numbers: nothing comes after it.",
             "student mistake: an activation on the code"),
        slip("silu_code", {"nn.Linear(hidden, latent),": "nn.Linear(hidden, latent), nn.SiLU(),"},
             "A SiLU follows the encoder's last layer. Codes are free numbers: nothing comes after it.",
             "student mistake: an activation after every layer"),
        slip("relu",
             {"nn.Linear(side * side, hidden), nn.SiLU(),": "nn.Linear(side * side, hidden), nn.ReLU(),",
              "nn.Linear(latent, hidden), nn.SiLU(),": "nn.Linear(latent, hidden), nn.ReLU(),"},
             "Your first layers end in a ReLU. Here they end in nn.SiLU, which is smooth.",
             "student mistake: ReLU by habit"),
        slip("view", {"x.flatten(1)": "x.view(-1, self.side * self.side)"},
             "view needs pictures that lie in memory row by row. Use flatten(1) or reshape.",
             "card trap: .view on a non-contiguous input"),
        slip("flat_pictures", {"self.decoder(z).unflatten(1, (1, self.side, self.side))": "self.decoder(z)"},
             "decode returns rows of pixels. Give them the shape (N, 1, side, side) again.",
             "card trap: pictures in, pictures out"),
        slip("other_order", {"return self.decode(z), z": "return z, self.decode(z)"},
             "Your forward returns (z, x_hat). First the picture, then the code.", "student mistake: order of a tuple"),
        slip("turned", {"(1, self.side, self.side))": "(1, self.side, self.side)).transpose(2, 3)"},
             "Your pictures are mirrored at the diagonal: rows come before columns.",
             "student mistake: rows and columns exchanged"),
    ),
    hints=(
        "Which sizes does a picture pass on its way to 2 numbers, and which on the way back?",
        "Two nn.Sequential with the numbers (side * side, hidden, hidden, latent) and back. encode flattens all but "
        "the first axis; decode gives the shape back.",
        "self.encoder = nn.Sequential(nn.Linear(side * side, hidden), nn.SiLU(), nn.Linear(hidden, hidden), "
        "nn.SiLU(), nn.Linear(hidden, latent)); encode: self.encoder(x.flatten(1)); decode: self.decoder(z).unflatten("
        "1, (1, self.side, self.side)).",
    ),
)  # fmt: skip


def hole_cases(d):
    twins = d.normal(6, 2)
    return [
        case("value", "12 codes, 5 queries", codes=d.normal(12, 2), query=3 * d.normal(5, 2)),
        case("value", "the nearest code, k = 1", codes=4 * d.normal(9, 3), query=d.normal(4, 3), k=1),
        case("value", "the queries are codes themselves", codes=(c := d.normal(10, 2)), query=c[:4].clone(), k=2),
        case("edge", "every code twice", codes=torch.cat([twins, twins]), query=d.normal(3, 2), k=3),
        case("edge", "all other codes count", codes=d.normal(5, 2), query=d.normal(3, 2), k=4),
        case("edge", "far from zero", codes=1000 + d.normal(8, 2), query=1000 + 2 * d.normal(3, 2)),
        case("edge", "float64", codes=d.normal(7, 4, dtype=DOUBLE), query=d.normal(2, 4, dtype=DOUBLE)),
        case("edge", "too few codes", codes=d.normal(3, 2), query=d.normal(2, 2), k=3),
    ]


def hole_library(data):
    from sklearn.neighbors import NearestNeighbors

    codes, query, k = data["codes"], data["query"], data.get("k", 3)
    if codes.requires_grad:
        return NotImplemented
    if len(codes) <= k:
        raise ValueError
    finder = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(codes.double().numpy())
    usual = np.sort(finder.kneighbors()[0][:, -1])[(len(codes) - 1) // 2]
    return torch.from_numpy(finder.kneighbors(query.double().numpy())[0][:, -1] / usual).to(codes.dtype)


def hole_score__sorted(codes, query, k=3):
    if k >= len(codes):
        raise ValueError("too few codes")
    apart = lambda a: (a[:, None] - codes[None]).square().sum(-1).sqrt().sort(dim=1).values  # noqa: E731
    return apart(query)[:, k - 1] / apart(codes)[:, k].median()


def hole_score__topk(codes, query, k=3):
    if len(codes) < k + 1:
        raise ValueError("too few codes")
    usual = []
    for n in range(len(codes)):
        others = torch.cat([codes[:n], codes[n + 1 :]])
        usual.append((others - codes[n]).norm(dim=1).topk(k, largest=False).values[-1])
    far = [(codes - q).norm(dim=1).topk(k, largest=False).values[-1] for q in query]
    return torch.stack(far) / torch.stack(usual).median()


def hole_score__no_own_row(codes, query, k=3):
    if not 0 < k < len(codes):
        raise ValueError("too few codes")
    among = (codes[:, None] - codes[None]).norm(dim=2)
    among = among.masked_fill(among == 0, float("inf"))
    usual = among.kthvalue(k, dim=1).values.median()
    return (query[:, None] - codes[None]).norm(dim=2).kthvalue(k, dim=1).values / usual


HOLE_SCORE = Exercise(
    name="hole_score",
    methods=("ch07/ae_limitation",),
    core=True,
    groups={"value": 1.5, "edge": 1.0},
    cases=hole_cases,
    oracle=hole_library,
    minutes=15,
    difficulty="medium",
    good_for="turning 'there is nothing here' into a number",
    alternatives=(alternative(hole_score__sorted), alternative(hole_score__topk)),
    misconceptions=(
        slip("itself", {"kthvalue(k + 1, dim=1)": "kthvalue(k, dim=1)"},
             "Among the codes you count each code as its own nearest neighbour, at distance 0. The k-th nearest OTHER "
             "code is meant.", "card trap: self counted as neighbour"),
        slip("query_is_a_code", {"kthvalue(k, dim=1)": "kthvalue(k + 1, dim=1)"},
             "You leave out the nearest code of a query. A query is no code: its k-th nearest code counts, even where "
             "the nearest lies at the same place.", "student mistake: self left out twice"),
        slip("mean", {".median()": ".mean()"},
             "You divide by the mean distance. Take the median, which a few lonely codes do not move.",
             "student mistake: mean for median"),
        slip("not_divided", {"far.values / usual": "far.values"},
             "Your scores are distances. Divide by what is usual among the codes.", "student mistake: not normalised"),
        slip("squared",
             {"cdist(codes, codes, compute_mode=exact)": "cdist(codes, codes, compute_mode=exact).square()"},
             "You square the distances among the codes. Distances are meant.", "student mistake: squared distances"),
        slip("mean_of_k",
             {"kthvalue(k, dim=1)": "topk(k, largest=False)", "far.values / usual": "far.values.mean(1) / usual"},
             "You average over the k nearest codes of a query. The distance to the k-th alone counts.",
             "student mistake: mean of k neighbours"),
        slip("unchecked", {"if not 0 < k < len(codes):": "if k > len(codes):"},
             "N codes have N - 1 other codes each: with k = N, too, a ValueError is due.",
             "student mistake: off by one"),
        mistaken(hole_score__no_own_row,
                 "You take every distance of 0 for a code's own. Another code may lie at the very same place, and "
                 "counts: leave out one code, not all zeros.", "card trap: duplicates"),
    ),
    hints=(
        "How far is a code usually from its third neighbour? How far is the query from its third?",
        "torch.cdist gives all distances. In the table of codes with codes, the smallest of each row is a code's "
        "distance to itself: there the k-th neighbour stands at place k + 1.",
        "usual = torch.cdist(codes, codes).kthvalue(k + 1, dim=1).values.median(); "
        "return torch.cdist(query, codes).kthvalue(k, dim=1).values / usual",
    ),
)  # fmt: skip


def walk_cases(d):
    z = d.normal(4)
    unit = lambda n, **kind: F.normalize(d.normal(n, **kind), dim=0)  # noqa: E731
    return [
        case("straight", "5 stops", z0=d.normal(3), z1=d.normal(3), n=5),
        case("straight", "only the two ends", z0=d.normal(2), z1=d.normal(2), n=2, mode="lerp"),
        case("arc", "equal lengths", z0=2 * unit(6), z1=2 * unit(6), n=5, mode="slerp"),
        case("arc", "different lengths", z0=d.normal(8), z1=3 * d.normal(8), n=4, mode="slerp"),
        case("edge", "the same direction", z0=z, z1=3 * z, n=4, mode="slerp"),
        case("edge", "opposite directions", z0=z, z1=-2 * z, n=5, mode="slerp"),
        case("edge", "one end is zero", z0=torch.zeros(3), z1=d.normal(3), n=3, mode="slerp"),
        case("edge", "float64", z0=unit(5, dtype=DOUBLE), z1=unit(5, dtype=DOUBLE), n=6, mode="slerp"),
    ]


def walk_library(data):
    """Return the arc by turning in the plane of both vectors, where they are of one length; else by the formula."""
    z0, z1, n = data["z0"], data["z1"], data["n"]
    t = torch.linspace(0, 1, n, dtype=z0.dtype)[:, None]
    cosine = (z0 @ z1 / (z0.norm() * z1.norm()).clamp(min=1e-30)).detach()
    if data.get("mode", "lerp") == "lerp" or cosine.abs() > 1 - 1e-6 or cosine == 0:
        return torch.lerp(z0.expand(n, -1), z1.expand(n, -1), t.expand(n, len(z0)))
    a, b = z0 / z0.norm(), z1 / z1.norm()
    aside = b - (a @ b) * a
    angle = torch.atan2(aside.norm(), a @ b)
    onto = (1 / aside.norm()) * aside
    # weights of the two ends from coordinates on the unit circle, each end with its own length
    y = (t * angle).sin() / angle.sin()
    x = (t * angle).cos() - y * angle.cos()
    return x * a * z0.norm() + y * (angle.cos() * a + angle.sin() * onto) * z1.norm()


def interpolate__by_stop(z0, z1, n, mode="lerp"):
    lengths = z0.norm() * z1.norm()
    cosine = float((z0 * z1).sum() / lengths) if lengths > 0 else 1.0
    stops = []
    for k in range(n):
        t = k / (n - 1)
        if mode == "lerp" or abs(cosine) > 1 - 1e-6:
            stops.append(z0 + t * (z1 - z0))
        else:
            a = math.acos(cosine)
            stops.append(math.sin(a - t * a) / math.sin(a) * z0 + math.sin(t * a) / math.sin(a) * z1)
    return torch.stack(stops)


def interpolate__weights(z0, z1, n, mode="lerp"):
    t = torch.arange(n, dtype=z0.dtype) / (n - 1)
    weights = torch.stack([1 - t, t], dim=1)  # (n, 2)
    ends = torch.stack([z0, z1])
    cosine = torch.dot(z0, z1) / (z0.norm() * z1.norm()).clamp(min=1e-20)
    if mode == "slerp" and z0.any() and z1.any() and cosine.abs() <= 1 - 1e-6:
        a = torch.acos(cosine)
        weights = torch.sin(weights * a) / torch.sin(a)
    return weights @ ends


def interpolate__on_the_sphere(z0, z1, n, mode="lerp"):
    t = torch.linspace(0, 1, n, dtype=z0.dtype)[:, None]
    cosine = F.cosine_similarity(z0, z1, dim=0)
    if mode == "lerp" or not (z0.any() and z1.any()) or cosine.abs() > 1 - 1e-6:
        return (1 - t) * z0 + t * z1
    a = cosine.acos()
    return (((1 - t) * a).sin() * F.normalize(z0, dim=0) + (t * a).sin() * F.normalize(z1, dim=0)) / a.sin()


def interpolate__plain_formula(z0, z1, n, mode="lerp"):
    t = torch.linspace(0, 1, n, dtype=z0.dtype)[:, None]
    if mode == "lerp":
        return (1 - t) * z0 + t * z1
    a = torch.acos(z0 @ z1 / (z0.norm() * z1.norm()))
    return ((1 - t) * a).sin() / a.sin() * z0 + (t * a).sin() / a.sin() * z1


def interpolate__lengths_apart(z0, z1, n, mode="lerp"):
    t = torch.linspace(0, 1, n, dtype=z0.dtype)[:, None]
    cosine = F.cosine_similarity(z0, z1, dim=0)
    if mode == "lerp" or not (z0.any() and z1.any()) or cosine.abs() > 1 - 1e-6:
        return (1 - t) * z0 + t * z1
    a = cosine.acos()
    arc = (((1 - t) * a).sin() * F.normalize(z0, dim=0) + (t * a).sin() * F.normalize(z1, dim=0)) / a.sin()
    return arc * ((1 - t) * z0.norm() + t * z1.norm())


INTERPOLATE = Exercise(
    name="interpolate",
    methods=("ch07/ae_limitation",),
    groups={"straight": 0.5, "arc": 1.0, "edge": 1.0},
    cases=walk_cases,
    oracle=walk_library,
    minutes=15,
    difficulty="medium",
    good_for="walking between codes, straight or around the origin",
    alternatives=(alternative(interpolate__by_stop), alternative(interpolate__weights)),
    misconceptions=(
        slip("dot_for_cosine", {"F.cosine_similarity(z0, z1, dim=0)": "z0 @ z1"},
             "Your cosine is the plain dot product. Divide by both lengths.", "student mistake: cosine not normalised"),
        slip("always_straight", {"if mode == \"lerp\" or alone or": "if True or alone or"},
             "Both modes walk straight. slerp weighs the ends by sines.", "student mistake: an argument is ignored"),
        slip("no_fallback", {" or alone or cosine.abs() > 1 - 1e-6": ""},
             "Where the vectors point along one line, sin(a) is 0 and you divide by it. Walk straight there, and where "
             "one of them is zero.", "card trap: slerp with angle 0"),
        slip("opposite_forgotten", {"cosine.abs()": "cosine"},
             "Opposite vectors have a cosine of -1, and sin(a) is 0 there, too. Walk straight.",
             "card trap: anti-parallel"),
        slip("backwards", {"(1 - t) * z0 + t * z1": "t * z0 + (1 - t) * z1"},
             "Your straight walk goes backwards: t = 0 is z0, t = 1 is z1.", "student mistake: weights exchanged"),
        slip("cosine_for_angle", {"cosine.acos()": "cosine"},
             "You use the cosine as if it were the angle. The angle is its acos.", "student mistake: acos forgotten"),
        mistaken(interpolate__on_the_sphere,
                 "You bring both ends to length 1 first, so the walk does not begin at z0. The sines weigh z0 and z1 "
                 "as they are.", "student mistake: slerp of unit vectors"),
        mistaken(interpolate__plain_formula,
                 "The formula divides by sin(a), and the cosine by both lengths. Where the vectors point along one "
                 "line, or one of them is zero, that is 0: walk straight there.", "card trap: slerp with angle 0"),
        mistaken(interpolate__lengths_apart,
                 "You turn the direction along the arc and the length along a line. The sines weigh z0 and z1 as they "
                 "are.", "student mistake: slerp of unit vectors, lengths mixed afterwards"),
    ),
    hints=(
        "At t = 0 the answer must be z0, at t = 1 it must be z1. What do the two formulas give there?",
        "straight = (1 - t) * z0 + t * z1 serves lerp and all special cases of slerp. The angle is acos of the "
        "cosine similarity.",
        "a = F.cosine_similarity(z0, z1, dim=0).acos(); return ((1 - t) * a).sin() / a.sin() * z0 + (t * a).sin() / "
        "a.sin() * z1",
    ),
)  # fmt: skip
