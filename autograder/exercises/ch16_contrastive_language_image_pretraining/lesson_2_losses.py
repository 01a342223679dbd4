"""Chapter 16, notebook 2: cases, probe and variants of `siglip_loss`."""

import math

import torch
import torch.nn.functional as F

from autograder.declare.exercise import Exercise, alternative
from autograder.declare.slips import slip
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


SIGLIP = Exercise(
    name="siglip_loss",
    methods=("ch16/siglip",),
    groups={"loss": 2, "edge": 1},
    cases=siglip_cases,
    probe=siglip_probe,
    alternatives=(alternative(siglip_loss__bce), alternative(siglip_loss__softplus)),
    misconceptions=(
        slip("squared", {"/ len(z)": "/ len(z) ** 2"},
             "You divide by N * N, the number of entries. SigLIP divides by N, the number of pairs.",
             "card: divides by N, not N^2"),
        slip("no_norm", {"F.normalize(img, dim=1)": "img", "F.normalize(txt, dim=1)": "txt"},
             "The features have lengths of their own. Bring every row of both to length one first.",
             "library difference: open_clip's SigLipLoss expects normalised features"),
        slip("raw_images", {"F.normalize(img, dim=1)": "img"},
             "The texts have length one now, the images do not: normalise the rows of `img`, too.",
             "student mistake: one side forgotten"),
        slip("raw_texts", {"F.normalize(txt, dim=1)": "txt"},
             "The images have length one now, the texts do not: normalise the rows of `txt`, too.",
             "student mistake: one side forgotten"),
        slip("wrong_axis",
             {"F.normalize(img, dim=1)": "F.normalize(img, dim=0)",
              "F.normalize(txt, dim=1)": "F.normalize(txt, dim=0)"},
             "You normalise columns. A feature is a row: normalise along axis 1.",
             "student mistake: F.normalize(x, dim=0)"),
        slip("no_minus",
             {"-F.logsigmoid": "F.logsigmoid"},
             "The minus is missing: the logarithm of a probability is negative, and a loss is to be made "
             "small.",
             "student mistake: log-likelihood in place of the loss"),
        slip("not_divided", {" / len(z)": ""},
             "You add up all N * N answers. Divide the sum by N, the number of pairs.",
             "student mistake: reduction='sum' alone"),
        slip("divides", {"log_scale.exp()": "(-log_scale).exp()"},
             "You divide by exp(log_scale). SigLIP multiplies the cosine by it.",
             "student mistake: a temperature that divides"),
        slip("bias_times_factor",
             {"z = log_scale.exp() * F.normalize(img, dim=1) @ F.normalize(txt, dim=1).T + bias":
                "z = log_scale.exp() * (F.normalize(img, dim=1) @ F.normalize(txt, dim=1).T + bias)"},
             "The factor multiplies the cosine alone; you multiply the bias with it, too.",
             "student mistake: a bracket"),
        slip("bias_after_y", {" + bias": "", "y * z": "y * z + bias"},
             "The sign y turns the whole logit, bias included: y * (factor * cosine + bias).",
             "student mistake: the bias added last"),
        slip("turned",
             {"y = 2 * torch.eye(len(z), dtype=z.dtype, device=z.device) - 1":
                "y = 1 - 2 * torch.eye(len(z), dtype=z.dtype, device=z.device)"},
             "The signs are exchanged: y is +1 for the right pairs and -1 for the wrong ones.",
             "student mistake: 1 - 2 * eye"),
        slip("underflows", {"F.logsigmoid(y * z)": "torch.sigmoid(y * z).log()"},
             "A sigmoid far below 0 rounds to 0, and its logarithm is minus infinity. Use F.logsigmoid.",
             "library difference: torch.sigmoid(x).log() and F.logsigmoid(x)"),
        slip("no_exp", {"log_scale.exp()": "log_scale"},
             "You multiply by `log_scale`. It is a logarithm: the factor is log_scale.exp().",
             "card: t' = ln 10 at the start"),
        slip("no_bias", {" + bias": ""},
             "The bias is missing. Without it N * N - N wrong pairs begin with probability one half.",
             "card: b = 0 gives a loss of about N ln 2 at the start"),
        slip("minus_bias", {" + bias": " - bias"},
             "You subtract the bias. It is added; it begins at -10, so its sign is already in it.",
             "student mistake: -10 taken as 'subtract'"),
        slip("zeros",
             {"y = 2 * torch.eye(len(z), dtype=z.dtype, device=z.device) - 1":
                "y = torch.eye(len(z), dtype=z.dtype, device=z.device)"},
             "Wrong pairs have y = -1, not 0: with 0 each costs ln 2, whatever the model says.",
             "student mistake: labels of binary cross-entropy used in the formula with the sign"),
        slip("diagonal", {"return -F.logsigmoid(y * z).sum() / len(z)": "return -F.logsigmoid(z.diagonal()).mean()"},
             "You use the right pairs alone. Every wrong pair asks its question, too.",
             "student mistake: only the diagonal"),
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
)  # fmt: skip
