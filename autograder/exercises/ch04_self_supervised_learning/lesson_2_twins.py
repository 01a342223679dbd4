"""Exercises of notebook 2, losses without negatives: BYOL and Barlow Twins."""

import torch
import torch.nn.functional as F
from torch import nn

from autograder.declare import Exercise, alternative, case, mistaken, slip
from dlcv_lab.checking import probing

DOUBLE = torch.float64


def byol_cases(d):
    def four(n, dim, dtype=torch.float32):
        return {name: d.normal(n, dim, dtype=dtype) for name in ("p1", "p2", "t1", "t2")}

    agreed = four(3, 4)
    return [
        case("value", "4 pictures", **four(4, 3)),
        case(
            "value", "vectors of all lengths", **four(3, 5) | {"p1": 50 * d.normal(3, 5), "t1": 0.02 * d.normal(3, 5)}
        ),
        case("value", "float64", **four(2, 6, DOUBLE)),
        case("gradient", "only the predictions learn", **four(3, 4)),
        case("edge", "one picture", **four(1, 4)),
        case("edge", "opposite answers", **agreed | {"t2": -2 * agreed["p1"], "t1": -3 * agreed["p2"]}),
    ]


def byol_gradient(ns, data):
    inputs = [data["p1"], data["p2"], data["t1"], data["t2"]]
    value, slopes = probing.gradients(ns.byol_loss, inputs)
    names = ("p1", "p2", "t1", "t2")
    return {"loss": value} | {
        f"gradient of {name}": torch.zeros_like(x) if slope is None else slope
        for name, x, slope in zip(names, inputs, slopes)
    }


def byol_library(data):
    p1, p2 = data["p1"], data["p2"]
    t1, t2 = data["t1"].detach(), data["t2"].detach()

    def squared(p, t):
        p, t = (v / v.norm(dim=1, keepdim=True).clamp(min=1e-12) for v in (p, t))
        return (p.square() + t.square() - 2 * p * t).sum(1)

    return (squared(p1, t2) + squared(p2, t1)).mean()


def byol_loss__lengths(p1, p2, t1, t2):
    with torch.no_grad():
        t1, t2 = F.normalize(t1, dim=-1), F.normalize(t2, dim=-1)
    p1, p2 = F.normalize(p1, dim=-1), F.normalize(p2, dim=-1)
    return sum((p - t).pow(2).sum(-1).mean() for p, t in ((p1, t2), (p2, t1)))


def byol_loss__cosines(p1, p2, t1, t2):
    pairs = ((p1, t2.detach()), (p2, t1.detach()))
    return sum((2 - 2 * F.cosine_similarity(p, t)).mean() for p, t in pairs)


def byol_loss__stacked(p1, p2, t1, t2):
    p, t = F.normalize(torch.stack([p1, p2]), dim=2), F.normalize(torch.stack([t2, t1]).detach(), dim=2)
    return F.mse_loss(p, t, reduction="sum") / len(p1)


BYOL_LOSS = Exercise(
    name="byol_loss",
    methods=("ch04/byol",),
    core=True,
    groups={"value": 1.5, "gradient": 1.0, "edge": 0.5},
    cases=byol_cases,
    probe={"gradient": byol_gradient},
    oracle={"value": byol_library, "edge": byol_library},
    minutes=12,
    difficulty="easy",
    good_for="where a gradient must not go",
    alternatives=(alternative(byol_loss__lengths), alternative(byol_loss__stacked), alternative(byol_loss__cosines)),
    misconceptions=(
        slip(
            "same_view",
            {"p1 - t2": "p1 - t1", "p2 - t1": "p2 - t2"},
            "You compare the prediction with the target of the SAME view. p1 must foretell t2, and p2 t1.",
            "card trap: crossing of the views",
        ),
        slip(
            "target_learns",
            {"t1.detach(), t2.detach()": "t1, t2"},
            "The value is right, but gradients flow into the targets. Detach t1 and t2.",
            "card trap: stop-gradient",
        ),
        slip(
            "not_normalised",
            {"p1, p2, t1, t2 = (F.normalize(v, dim=1) for v in (p1, p2, t1.detach(), t2.detach()))":
                "t1, t2 = t1.detach(), t2.detach()"},
            "You compare the vectors as they are. Scale each row to length 1 first; only directions count.",
            "student mistake: not normalised",
        ),
        slip(
            "mean_of_directions",
            {"+ (p2 - t1).square().sum(1)).mean()": "+ (p2 - t1).square().sum(1)).mean() / 2"},
            "You average the two directions. The loss adds them, so it lies between 0 and 8.",
            "student mistake: mean for sum",
        ),
        slip(
            "mean_of_features",
            {
                "(p1 - t2).square().sum(1)": "(p1 - t2).square().mean(1)",
                "(p2 - t1).square().sum(1)": "(p2 - t1).square().mean(1)",
            },
            "You take the mean over the D numbers of a vector. A squared distance is their sum.",
            "library difference: F.mse_loss averages over everything",
        ),
        slip(
            "one_direction",
            {" + (p2 - t1).square().sum(1)": ""},
            "Only one direction is there. Add the distance of p2 and t1.",
            "student mistake: not symmetric",
        ),
        slip(
            "sum_of_pictures",
            {".mean()": ".sum()"},
            "You add up over the pictures. Take the mean.",
            "student mistake: sum for mean",
        ),
        slip(
            "nobody_learns",
            {"(p1, p2, t1.detach(), t2.detach())": "(p1.detach(), p2.detach(), t1.detach(), t2.detach())"},
            "The value is right, but no gradient reaches the predictions. Detach t1 and t2 only.",
            "student mistake: everything detached",
        ),
        slip(
            "not_squared",
            {"(p1 - t2).square().sum(1)": "(p1 - t2).norm(dim=1)",
             "(p2 - t1).square().sum(1)": "(p2 - t1).norm(dim=1)"},
            "You add the distances themselves. The loss takes their squares.",
            "student mistake: the square is missing",
        ),
    ),
    hints=(
        "Which of the four vectors may learn from this loss, and what stops the others?",
        "Normalise p1, p2, t1.detach() and t2.detach() along dim 1; squared distances of (p1, t2) and of (p2, "
        "t1), each "
        "summed over the features; add; mean over the pictures.",
        "return ((p1 - t2).square().sum(1) + (p2 - t1).square().sum(1)).mean(), after F.normalize(v, dim=1) of "
        "all four",
    ),
)  # fmt: skip


def ema_cases(d):
    def pair(dtype=torch.float32):
        return {
            "slow": d.normal(3, 2, dtype=dtype),
            "fast": d.normal(3, 2, dtype=dtype),
            "slow_mean": d.normal(3, dtype=dtype),
            "fast_mean": d.normal(3, dtype=dtype),
        }

    return [
        case("average", "tau 0.9", **pair(), tau=0.9),
        case("average", "tau 0.3, float64", **pair(DOUBLE), tau=0.3),
        case("edge", "tau 1: nothing moves", **pair(), tau=1.0),
        case("edge", "tau 0: a copy", **pair(), tau=0.0),
    ]


def ema_probe(ns, data):
    networks = []
    for name in ("slow", "fast"):
        network = nn.Sequential(nn.Linear(2, 3, bias=False), nn.BatchNorm1d(3)).to(data[name].dtype)
        state = {"0.weight": data[name], "1.running_mean": data[f"{name}_mean"], "1.weight": data[f"{name}_mean"] + 1}
        network.load_state_dict(state, strict=False)
        networks.append(network)
    target, online = networks
    target.requires_grad_(False)
    ns.ema_update(target, online, data["tau"])
    return {
        "target's weights": target[0].weight.detach(),
        "target's batch norm weights": target[1].weight.detach(),
        "target's running mean": target[1].running_mean,
        "target carries a graph": target[0].weight.requires_grad,
        "online weights": online[0].weight.detach(),
        "online weights learn": online[0].weight.requires_grad,
    }


def ema_update__lerp(target, online, tau):
    for a, b in zip(target.parameters(), online.parameters()):
        a.data.lerp_(b.data, 1 - tau)


@torch.no_grad()
def ema_update__scaled(target, online, tau):
    theirs = dict(online.named_parameters())
    for name, parameter in target.named_parameters():
        parameter.mul_(tau).add_(theirs[name], alpha=1 - tau)


COPIES = "\nfor old, new in zip(target.buffers(), online.buffers()):\n    old.copy_(new)"
FOLLOWS = "slow.copy_(tau * slow + (1 - tau) * fast)"
EMA_UPDATE = Exercise(
    name="ema_update",
    methods=("ch04/byol",),
    groups={"average": 1.5, "edge": 0.5},
    cases=ema_cases,
    probe=ema_probe,
    keeps_inputs=False,
    minutes=10,
    difficulty="easy",
    good_for="changing parameters outside of autograd",
    alternatives=(alternative(ema_update__lerp), alternative(ema_update__scaled)),
    misconceptions=(
        slip(
            "exchanged",
            {"tau * slow + (1 - tau) * fast": "(1 - tau) * slow + tau * fast"},
            "tau and 1 - tau are exchanged. With tau = .99 the target keeps 99 % of itself.",
            "library difference: some libraries call the share of the new weights momentum",
        ),
        slip(
            "new_name",
            {"slow.copy_(tau * slow + (1 - tau) * fast)": "slow = tau * slow + (1 - tau) * fast"},
            "The target does not change: `slow = ...` gives a new tensor that name. Change the parameter itself, with "
            "copy_, lerp_, or mul_ and add_.",
            "student mistake: a name is bound, nothing is changed",
        ),
        slip(
            "buffers_too",
            {
                "zip(target.parameters(), online.parameters())":
                    "zip(target.state_dict().values(), online.state_dict().values())"
            },
            "The parameters are right, but you also average the buffers. Batch norm's running statistics stay.",
            "card trap: EMA on parameters only",
        ),
        slip(
            "graph",
            {"with torch.no_grad():": "with torch.enable_grad():"},
            "The target's weights now hang on a graph that leads to the online network. Update under torch.no_grad().",
            "card trap: no graph",
        ),
        slip(
            "online_moves",
            {"slow.copy_(": "fast.copy_("},
            "You change the online network. The target follows it, not the other way round.",
            "student mistake: target and online exchanged",
        ),
        slip("buffers_copied", {FOLLOWS: FOLLOWS + COPIES},
             "The weights are right, and you copy the buffers, too. The running statistics are the target's own: "
             "leave them.",
             "student mistake: MoCo and some BYOL codes copy the buffers"),
    ),
    hints=(
        "What does `slow = ...` do inside a loop over parameters, and what does slow.copy_(...) do?",
        "Under torch.no_grad(), for each pair of parameters: slow becomes tau * slow + (1 - tau) * fast, in place.",
        "for slow, fast in zip(target.parameters(), online.parameters()): slow.copy_(tau * slow + (1 - tau) * fast)",
    ),
)  # fmt: skip


def barlow_cases(d):
    small = d.normal(8, 3)
    small[:, 1] *= 4e-3
    flat = d.normal(7, 3)
    flat[:, 0] = 1.5
    return [
        case("correlation", "8 pictures, 3 features", za=d.normal(8, 3) + 1, zb=2 * d.normal(8, 3) - 1),
        case("correlation", "4 pictures, 5 features", za=d.normal(4, 5), zb=d.normal(4, 5) + 0.5),
        case("correlation", "float64", za=d.normal(6, 2, dtype=DOUBLE), zb=d.normal(6, 2, dtype=DOUBLE)),
        case("correlation", "a feature that hardly varies", za=small, zb=small + 1e-3 * d.normal(8, 3)),
        case("correlation", "a feature that does not vary", za=flat, zb=d.normal(7, 3)),
        case("loss", "3x3", c=d.uniform(3, 3, low=-1), ask="loss"),
        case("loss", "lam 0.1", c=d.uniform(4, 4, low=-1), lam=0.1, ask="loss"),
        case("loss", "one feature", c=d.uniform(1, 1, low=-1), lam=0.5, ask="loss"),
        case("gradient", "from the features to the loss", za=d.normal(6, 3), zb=d.normal(6, 3), ask="gradient"),
    ]


def barlow_both(ns, data):
    def loss(za, zb):
        return probing.call(ns.barlow_loss, probing.call(ns.cross_correlation, za, zb), 0.1)

    return probing.gradients(loss, [data["za"], data["zb"]])


def barlow_of_c(ns, data):
    return ns.barlow_loss(**data)


def correlation_library(data):
    norm = nn.BatchNorm1d(data["za"].shape[1], affine=False).to(data["za"].dtype)
    return norm(data["za"]).T @ norm(data["zb"]) / len(data["za"])


def loss_library(data):
    c, lam = data["c"], data.get("lam", 5e-3)
    eye = torch.eye(len(c), dtype=c.dtype)
    return (((c - eye) ** 2) * (eye + lam * (1 - eye))).sum()


def cross_correlation__normed(za, zb, eps=1e-5):
    a, b = (F.batch_norm(z, None, None, training=True, eps=eps) for z in (za, zb))
    return torch.einsum("ni,nj->ij", a, b) / za.shape[0]


def barlow_loss__masked(c, lam=5e-3):
    own = torch.eye(len(c), dtype=torch.bool)
    return (c[own] - 1).pow(2).sum() + lam * c[~own].pow(2).sum()


def cross_correlation__centred(za, zb, eps=1e-5):
    a, b = za - za.mean(0), zb - zb.mean(0)
    scale = torch.outer((a.square().mean(0) + eps).rsqrt(), (b.square().mean(0) + eps).rsqrt())
    return (a.T @ b) / len(za) * scale


def barlow_loss__difference(c, lam=5e-3):
    diagonal = torch.diag(c)
    return (diagonal - 1).square().sum() + lam * (c - torch.diag(diagonal)).square().sum()


def cross_correlation__normed_too(za, zb, eps=1e-5):
    return (
        F.batch_norm(za, None, None, training=True, eps=eps).T
        @ F.batch_norm(zb, None, None, training=True, eps=eps)
        / len(za)
    )


def barlow_loss__in_place(c, lam=5e-3):
    own = c.diagonal().add_(-1).pow_(2).sum()
    return own + lam * (c.pow(2).sum() - c.diagonal().pow(2).sum())


BARLOW = Exercise(
    name="barlow_loss",
    defines=("cross_correlation", "barlow_loss"),
    methods=("ch04/barlow_twins",),
    core=True,
    groups={"correlation": 2.0, "loss": 1.0, "gradient": 0.5},
    cases=barlow_cases,
    probe={"correlation": "cross_correlation", "loss": barlow_of_c, "gradient": barlow_both},
    oracle={"correlation": correlation_library, "loss": loss_library},
    minutes=20,
    difficulty="medium",
    good_for="a loss about features, not about pictures",
    alternatives=(
        alternative(cross_correlation__normed, barlow_loss__masked),
        alternative(cross_correlation__centred, barlow_loss__difference),
    ),
    misconceptions=(
        slip(
            "unbiased",
            {"za.var(0, unbiased=False)": "za.var(0)", "zb.var(0, unbiased=False)": "zb.var(0)"},
            "Your variance divides by N - 1, so that the correlation of a feature with itself stays below 1. Use 1/N.",
            "card trap: the paper's pseudo-code divides by torch's default deviation",
        ),
        slip(
            "not_centred",
            {"(za - za.mean(0))": "za", "(zb - zb.mean(0))": "zb"},
            "The means are missing: subtract from every feature its mean over the pictures.",
            "student mistake: not centred",
        ),
        slip(
            "transposed",
            {"a.T @ b": "b.T @ a"},
            "Your matrix is transposed: the row belongs to the feature of view a.",
            "card trap: C is not symmetric",
        ),
        slip(
            "not_divided",
            {"a.T @ b / len(a)": "a.T @ b"},
            "You add up over the pictures. Entry (i, j) is a mean: divide by N.",
            "student mistake: sum for mean",
        ),
        slip(
            "over_pictures",
            {"a.T @ b / len(a)": "a @ b.T / len(a)"},
            "You compare pictures with pictures, (N, N). Barlow Twins compares FEATURES with features, (D, D).",
            "student mistake: SimCLR's matrix",
        ),
        slip(
            "eps_outside",
            {
                "(za.var(0, unbiased=False) + eps).sqrt()": "(za.var(0, unbiased=False).sqrt() + eps)",
                "(zb.var(0, unbiased=False) + eps).sqrt()": "(zb.var(0, unbiased=False).sqrt() + eps)",
            },
            "eps belongs inside the root: sqrt(variance + eps), as batch norm does it.",
            "library difference: eps inside or outside the root",
        ),
        slip(
            "lam_on_all",
            {"(c.square().sum() - same.square().sum())": "c.square().sum()"},
            "lam also charges the diagonal. The second sum runs over the OTHER entries only.",
            "card trap: lam only off the diagonal",
        ),
        slip(
            "mean",
            {"(1 - same).square().sum()": "(1 - same).square().mean()"},
            "You take the mean over the diagonal. Both terms are sums.",
            "student mistake: mean for sum",
        ),
        mistaken(
            barlow_loss__in_place,
            "You change the matrix that you were given. Work on copies: no add_ or pow_ on c.",
            "library difference: the official code uses add_ and pow_",
            cross_correlation__normed_too,
        ),
    ),
    hints=(
        "What would the matrix be, if both views gave the same features, and no two features said the same?",
        "Standardise za and zb over dimension 0 (variance with unbiased=False, eps inside the root); c = a.T @ b / N. "
        "The loss: (1 - diagonal) squared and summed, plus lam times the sum of squares of the rest.",
        "same = c.diagonal(); return (1 - same).square().sum() + lam * (c.square().sum() - same.square().sum())",
    ),
)  # fmt: skip
