"""Chapter 16, notebook 2: cases, probe and variants of `siglip_loss`."""

import math

import torch
import torch.nn.functional as F

from autograder.declare.exercise import Alternative, Exercise, mistaken
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
        case("edge", "a large negative bias", 4, 5, math.log(100), -900.0),
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
    dim = 0 if mistake == "wrong axis" else 1
    if mistake not in ("no norm", "raw images"):
        img = F.normalize(img, dim=dim)
    if mistake not in ("no norm", "raw texts"):
        txt = F.normalize(txt, dim=dim)
    factor = {"no exp": log_scale, "divides": (-log_scale).exp()}.get(mistake, log_scale.exp())
    z = factor * img @ txt.T + {"no bias": 0, "minus bias": -bias}.get(mistake, bias)
    if mistake == "bias times factor":
        z = factor * (img @ txt.T + bias)
    y = torch.eye(len(z), dtype=z.dtype)
    if mistake != "zeros":
        y = 2 * y - 1
    if mistake == "diagonal":
        return -F.logsigmoid(z.diagonal()).mean()
    if mistake == "bias after y":
        return -F.logsigmoid(y * (z - bias) + bias).sum() / len(z)
    y = -y if mistake == "turned" else y
    total = -(torch.sigmoid(y * z).log() if mistake == "underflows" else F.logsigmoid(y * z)).sum()
    if mistake == "not divided":
        return total
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


def siglip_loss__not_divided(img, txt, log_scale, bias):
    return siglip_with_mistake("not divided", img, txt, log_scale, bias)


def siglip_loss__raw_images(img, txt, log_scale, bias):
    return siglip_with_mistake("raw images", img, txt, log_scale, bias)


def siglip_loss__raw_texts(img, txt, log_scale, bias):
    return siglip_with_mistake("raw texts", img, txt, log_scale, bias)


def siglip_loss__wrong_axis(img, txt, log_scale, bias):
    return siglip_with_mistake("wrong axis", img, txt, log_scale, bias)


def siglip_loss__divides(img, txt, log_scale, bias):
    return siglip_with_mistake("divides", img, txt, log_scale, bias)


def siglip_loss__bias_times_factor(img, txt, log_scale, bias):
    return siglip_with_mistake("bias times factor", img, txt, log_scale, bias)


def siglip_loss__bias_after_y(img, txt, log_scale, bias):
    return siglip_with_mistake("bias after y", img, txt, log_scale, bias)


def siglip_loss__turned(img, txt, log_scale, bias):
    return siglip_with_mistake("turned", img, txt, log_scale, bias)


def siglip_loss__underflows(img, txt, log_scale, bias):
    return siglip_with_mistake("underflows", img, txt, log_scale, bias)


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
            siglip_loss__raw_images,
            "The texts have length one now, the images do not: normalise the rows of `img`, too.",
            "student mistake: one side forgotten",
            siglip_with_mistake,
        ),
        mistaken(
            siglip_loss__raw_texts,
            "The images have length one now, the texts do not: normalise the rows of `txt`, too.",
            "student mistake: one side forgotten",
            siglip_with_mistake,
        ),
        mistaken(
            siglip_loss__wrong_axis,
            "You normalise columns. A feature is a row: normalise along axis 1.",
            "student mistake: F.normalize(x, dim=0)",
            siglip_with_mistake,
        ),
        mistaken(
            siglip_loss__not_divided,
            "You add up all N * N answers. Divide the sum by N, the number of pairs.",
            "student mistake: reduction='sum' alone",
            siglip_with_mistake,
        ),
        mistaken(
            siglip_loss__divides,
            "You divide by exp(log_scale). SigLIP multiplies the cosine by it.",
            "student mistake: a temperature that divides",
            siglip_with_mistake,
        ),
        mistaken(
            siglip_loss__bias_times_factor,
            "The factor multiplies the cosine alone; you multiply the bias with it, too.",
            "student mistake: a bracket",
            siglip_with_mistake,
        ),
        mistaken(
            siglip_loss__bias_after_y,
            "The sign y turns the whole logit, bias included: y * (factor * cosine + bias).",
            "student mistake: the bias added last",
            siglip_with_mistake,
        ),
        mistaken(
            siglip_loss__turned,
            "The signs are exchanged: y is +1 for the right pairs and -1 for the wrong ones.",
            "student mistake: 1 - 2 * eye",
            siglip_with_mistake,
        ),
        mistaken(
            siglip_loss__underflows,
            "A sigmoid far below 0 rounds to 0, and its logarithm is minus infinity. Use F.logsigmoid.",
            "library difference: torch.sigmoid(x).log() and F.logsigmoid(x)",
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
