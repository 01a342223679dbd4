"""Chapter 16, notebook 1: cases, probe and variants of `clip_loss`."""

import math

import torch
import torch.nn.functional as F

from autograder.declare.exercise import Exercise, alternative
from autograder.declare.slips import slip
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


LOSS = Exercise(
    name="clip_loss",
    methods=("ch16/clip_loss",),
    groups={"loss": 2, "edge": 1},
    cases=loss_cases,
    probe=loss_probe,
    alternatives=(alternative(clip_loss__logsumexp), alternative(clip_loss__soft_targets)),
    misconceptions=(
        slip("no_exp", {"log_scale.exp()": "log_scale"},
             "You multiply by `log_scale` itself. It is a logarithm: the factor is log_scale.exp().",
             "card trap: scale passed as log, not exp; open_clip's ClipLoss wants the factor, CLIP's model the "
             "logarithm"),
        slip("divides", {"log_scale.exp()": "(-log_scale).exp()"},
             "You divide by exp(log_scale). CLIP multiplies; ALIGN's temperature is the one that divides.",
             "paper: ALIGN divides by a learned temperature, CLIP multiplies by exp(t)"),
        slip("no_norm", {"F.normalize(img, dim=1)": "img", "F.normalize(txt, dim=1)": "txt"},
             "The features have lengths of their own. Bring every row of both to length one first.",
             "library difference: open_clip's ClipLoss expects normalised features, this function does not get them"),
        slip("raw_images", {"F.normalize(img, dim=1)": "img"},
             "The texts have length one now, the images do not: normalise the rows of `img`, too.",
             "student mistake: one side forgotten"),
        slip("raw_texts", {"F.normalize(txt, dim=1)": "txt"},
             "The images have length one now, the texts do not: normalise the rows of `txt`, too.",
             "student mistake: one side forgotten"),
        slip("no_floor",
             {"F.normalize(img, dim=1)": "(img / img.norm(dim=1, keepdim=True))",
              "F.normalize(txt, dim=1)": "(txt / txt.norm(dim=1, keepdim=True))"},
             "A feature of zeros becomes 0 / 0, which is NaN. Divide by the length or by 1e-12, whichever is larger.",
             "library difference: F.normalize has eps, x / x.norm() has not"),
        slip("wrong_axis",
             {"F.normalize(img, dim=1)": "F.normalize(img, dim=0)",
              "F.normalize(txt, dim=1)": "F.normalize(txt, dim=0)"},
             "You normalise columns. A feature is a row: normalise along axis 1.",
             "student mistake: F.normalize(x, dim=0)"),
        slip("one_direction",
             {"return (F.cross_entropy(Z, own) + F.cross_entropy(Z.T, own)) / 2": "return F.cross_entropy(Z, own)"},
             "Images pick their texts, but texts do not pick their images: add the cross-entropy of the transposed Z.",
             "student mistake: one cross-entropy, as in a classifier"),
        slip("other_direction",
             {"return (F.cross_entropy(Z, own) + F.cross_entropy(Z.T, own)) / 2": "return F.cross_entropy(Z.T, own)"},
             "Texts pick their images, but images do not pick their texts: add the cross-entropy of Z itself.",
             "student mistake: one cross-entropy, along the columns"),
        slip("softmax_first",
             {"F.cross_entropy(Z, own)": "F.cross_entropy(Z.softmax(1), own)",
              "F.cross_entropy(Z.T, own)": "F.cross_entropy(Z.T.softmax(1), own)"},
             "You hand probabilities to F.cross_entropy, which applies a softmax itself. Hand it the logits "
             "Z.",
             "library difference: F.cross_entropy takes logits"),
        slip("underflows",
             {"return (F.cross_entropy(Z, own) + F.cross_entropy(Z.T, own)) / 2":
                "return -(Z.softmax(1).diagonal().log().mean() + Z.softmax(0).diagonal().log().mean()) / 2"},
             "The logarithm of a softmax is minus infinity where the probability rounds to 0. Use "
             "F.cross_entropy or F.log_softmax, which never form it.",
             "card: hidden case, logits stable at a large factor"),
        slip("cut_off", {"log_scale.exp()": "math.exp(log_scale.item())"},
             "`log_scale` gets no gradient: math.exp and .item() leave the graph. It is learned; use log_scale.exp().",
             "student mistake: math.exp(log_scale)"),
        slip("no_half", {" / 2": ""},
             "You add the two directions. The loss is their mean: divide by 2.",
             "paper: figure 3 of CLIP has (loss_i + loss_t) / 2; ALIGN adds"),
        slip("sums",
             {"return (F.cross_entropy(Z, own) + F.cross_entropy(Z.T, own)) / 2":
                'return (F.cross_entropy(Z, own, reduction="sum") + F.cross_entropy(Z.T, own, reduction="sum")) / 2'},
             "You sum over the pairs. Both cross-entropies are means over the N rows.",
             "student mistake: reduction='sum'"),
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
)  # fmt: skip
