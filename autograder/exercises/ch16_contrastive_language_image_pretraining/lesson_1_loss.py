"""Chapter 16, notebook 1: cases, probe and variants of `clip_loss`."""

import math

import torch
import torch.nn.functional as F

from autograder.declare.exercise import Alternative, Exercise, mistaken
from dlcv_lab.checking.model import Case


def loss_cases(rng: torch.Generator) -> list[Case]:
    """Draw features of uneven lengths; N and D differ, so that an axis taken for the other shows."""

    def case(group: str, note: str, n: int, d: int, log_scale: float) -> Case:
        img, txt = (torch.randn(n, d, generator=rng, dtype=torch.float64) for _ in range(2))
        lengths = 0.3 + 3 * torch.rand(2, n, 1, generator=rng, dtype=torch.float64)
        scale = torch.tensor(log_scale, dtype=torch.float64)
        return Case(group, {"img": img * lengths[0], "txt": txt * lengths[1], "log_scale": scale}, note)

    twice = case("edge", "two texts that are equal", 4, 3, 1.0)
    twice.data["txt"][2] = twice.data["txt"][0]
    alike = case("edge", "three pairs that look all the same", 3, 4, 1.5)
    for name in ("img", "txt"):
        alike.data[name] = F.normalize(alike.data[name][:1].expand(3, 4), dim=1).contiguous()
    far = case("edge", "a factor of 1000, and a text that points away", 3, 4, math.log(1000.0))
    far.data["txt"][0], far.data["txt"][1] = -2 * far.data["img"][0], 0.5 * far.data["img"][0]
    empty = case("edge", "a feature of zeros", 3, 5, 1.0)
    empty.data["img"][1] = 0
    return [
        case("loss", "5 pairs, CLIP's initial factor", 5, 7, math.log(1 / 0.07)),
        case("loss", "6 pairs in 3 dimensions", 6, 3, 1.2),
        case("loss", "the largest factor, 100", 4, 5, math.log(100.0)),
        case("edge", "one pair", 1, 4, 2.0),
        twice,
        case("edge", "log_scale = 0", 3, 5, 0.0),
        alike,
        far,
        empty,
    ]


def loss_probe(ns, data):
    """Return the loss and its gradients with respect to both features and log_scale; the loss alone where one is 0."""
    if not data["img"].any(1).all():
        return {"loss": ns.clip_loss(data["img"], data["txt"], data["log_scale"])}
    value, grads = probing.gradients(ns.clip_loss, [data["img"], data["txt"], data["log_scale"]])
    names = ("gradient of img", "gradient of txt", "gradient of log_scale")
    return {"loss": value} | dict(zip(names, grads))


def clip_loss__logsumexp(img, txt, log_scale):
    u = img / img.norm(dim=1, keepdim=True).clamp(min=1e-12)
    v = txt / txt.norm(dim=1, keepdim=True).clamp(min=1e-12)
    Z = torch.exp(log_scale) * torch.einsum("id,jd->ij", u, v)
    own = Z.diagonal()
    return ((Z.logsumexp(1) - own).mean() + (Z.logsumexp(0) - own).mean()) / 2


def clip_loss__soft_targets(img, txt, log_scale):
    Z = F.cosine_similarity(img[:, None], txt[None], dim=2) * log_scale.exp()
    eye = torch.eye(len(Z), dtype=Z.dtype)
    rows = -(eye * F.log_softmax(Z, dim=1)).sum() / len(Z)
    columns = -(eye * F.log_softmax(Z, dim=0)).sum() / len(Z)
    return 0.5 * rows + 0.5 * columns


def loss_with_mistake(mistake, img, txt, log_scale):
    dim = 0 if mistake == "wrong axis" else 1
    u = img if mistake in ("no norm", "raw images") else F.normalize(img, dim=dim)
    v = txt if mistake in ("no norm", "raw texts") else F.normalize(txt, dim=dim)
    if mistake == "no floor":
        u, v = img / img.norm(dim=1, keepdim=True), txt / txt.norm(dim=1, keepdim=True)
    factor = {"no exp": log_scale, "divides": (-log_scale).exp()}.get(mistake, log_scale.exp())
    if mistake == "cut off":
        factor = math.exp(log_scale.item())
    Z = factor * u @ v.T
    own = torch.arange(len(Z))
    reduction = "sum" if mistake == "sums" else "mean"
    rows, columns = (F.cross_entropy(z, own, reduction=reduction) for z in (Z, Z.T))
    if mistake == "underflows":
        return -(Z.softmax(1).diagonal().log().mean() + Z.softmax(0).diagonal().log().mean()) / 2
    if mistake in ("one direction", "other direction"):
        return rows if mistake == "one direction" else columns
    return rows + columns if mistake == "no half" else (rows + columns) / 2


def clip_loss__no_exp(img, txt, log_scale):
    return loss_with_mistake("no exp", img, txt, log_scale)


def clip_loss__divides(img, txt, log_scale):
    return loss_with_mistake("divides", img, txt, log_scale)


def clip_loss__no_norm(img, txt, log_scale):
    return loss_with_mistake("no norm", img, txt, log_scale)


def clip_loss__wrong_axis(img, txt, log_scale):
    return loss_with_mistake("wrong axis", img, txt, log_scale)


def clip_loss__one_direction(img, txt, log_scale):
    return loss_with_mistake("one direction", img, txt, log_scale)


def clip_loss__other_direction(img, txt, log_scale):
    return loss_with_mistake("other direction", img, txt, log_scale)


def clip_loss__raw_images(img, txt, log_scale):
    return loss_with_mistake("raw images", img, txt, log_scale)


def clip_loss__raw_texts(img, txt, log_scale):
    return loss_with_mistake("raw texts", img, txt, log_scale)


def clip_loss__no_floor(img, txt, log_scale):
    return loss_with_mistake("no floor", img, txt, log_scale)


def clip_loss__underflows(img, txt, log_scale):
    return loss_with_mistake("underflows", img, txt, log_scale)


def clip_loss__cut_off(img, txt, log_scale):
    return loss_with_mistake("cut off", img, txt, log_scale)


def clip_loss__no_half(img, txt, log_scale):
    return loss_with_mistake("no half", img, txt, log_scale)


def clip_loss__sums(img, txt, log_scale):
    return loss_with_mistake("sums", img, txt, log_scale)


LOSS = Exercise(
    name="clip_loss",
    methods=("ch16/clip_loss",),
    groups={"loss": 2, "edge": 1},
    cases=loss_cases,
    probe=loss_probe,
    alternatives=(
        Alternative(name="logsumexp", code=(clip_loss__logsumexp,)),
        Alternative(name="soft_targets", code=(clip_loss__soft_targets,)),
    ),
    misconceptions=(
        mistaken(
            clip_loss__no_exp,
            "You multiply by `log_scale` itself. It is a logarithm: the factor is log_scale.exp().",
            "card trap: scale passed as log, not exp; open_clip's ClipLoss wants the factor, CLIP's model the "
            "logarithm",
            loss_with_mistake,
        ),
        mistaken(
            clip_loss__divides,
            "You divide by exp(log_scale). CLIP multiplies; ALIGN's temperature is the one that divides.",
            "paper: ALIGN divides by a learned temperature, CLIP multiplies by exp(t)",
            loss_with_mistake,
        ),
        mistaken(
            clip_loss__no_norm,
            "The features have lengths of their own. Bring every row of both to length one first.",
            "library difference: open_clip's ClipLoss expects normalised features, this function does not get them",
            loss_with_mistake,
        ),
        mistaken(
            clip_loss__raw_images,
            "The texts have length one now, the images do not: normalise the rows of `img`, too.",
            "student mistake: one side forgotten",
            loss_with_mistake,
        ),
        mistaken(
            clip_loss__raw_texts,
            "The images have length one now, the texts do not: normalise the rows of `txt`, too.",
            "student mistake: one side forgotten",
            loss_with_mistake,
        ),
        mistaken(
            clip_loss__no_floor,
            "A feature of zeros becomes 0 / 0, which is NaN. Divide by the length or by 1e-12, whichever is larger.",
            "library difference: F.normalize has eps, x / x.norm() has not",
            loss_with_mistake,
        ),
        mistaken(
            clip_loss__wrong_axis,
            "You normalise columns. A feature is a row: normalise along axis 1.",
            "student mistake: F.normalize(x, dim=0)",
            loss_with_mistake,
        ),
        mistaken(
            clip_loss__one_direction,
            "Images pick their texts, but texts do not pick their images: add the cross-entropy of the transposed Z.",
            "student mistake: one cross-entropy, as in a classifier",
            loss_with_mistake,
        ),
        mistaken(
            clip_loss__other_direction,
            "Texts pick their images, but images do not pick their texts: add the cross-entropy of Z itself.",
            "student mistake: one cross-entropy, along the columns",
            loss_with_mistake,
        ),
        mistaken(
            clip_loss__underflows,
            "The logarithm of a softmax is minus infinity where the probability rounds to 0. Use F.cross_entropy or "
            "F.log_softmax, which never form it.",
            "card: hidden case, logits stable at a large factor",
            loss_with_mistake,
        ),
        mistaken(
            clip_loss__cut_off,
            "`log_scale` gets no gradient: math.exp and .item() leave the graph. It is learned; use log_scale.exp().",
            "student mistake: math.exp(log_scale)",
            loss_with_mistake,
        ),
        mistaken(
            clip_loss__no_half,
            "You add the two directions. The loss is their mean: divide by 2.",
            "paper: figure 3 of CLIP has (loss_i + loss_t) / 2; ALIGN adds",
            loss_with_mistake,
        ),
        mistaken(
            clip_loss__sums,
            "You sum over the pairs. Both cross-entropies are means over the N rows.",
            "student mistake: reduction='sum'",
            loss_with_mistake,
        ),
    ),
    hints=(
        "If Z[i, j] is how well image i fits text j, which entry of row i should be the largest? And of column j?",
        "Normalise rows, Z = exp(log_scale) * img @ txt.T, the right class of row i is i; cross_entropy of Z and of "
        "Z.T; their mean.",
        "own = torch.arange(len(Z)); (F.cross_entropy(Z, own) + F.cross_entropy(Z.T, own)) / 2",
    ),
    good_for="every model of this book that knows both pictures and words",
    minutes=15,
    core=True,
)
