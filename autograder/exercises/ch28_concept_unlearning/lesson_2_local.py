"""Chapter 28, notebook 2: cases, probe and variants of `localisation_loss`."""

import torch
import torch.nn.functional as F

from autograder.declare.exercise import Exercise, alternative
from autograder.declare.slips import slip
from dlcv_lab.checking.model import Case


def local_cases(rng: torch.Generator) -> list[Case]:
    """Draw outputs of several sizes and masks, one of them all ones."""

    def case(group: str, note: str, sides: list[int], size: int, B: int, share: float) -> Case:
        outputs = [torch.randn(B, s * s, 3 + k, generator=rng) for k, s in enumerate(sides)]
        mask = (torch.rand(B, size, size, generator=rng) < share).float()
        mask[0, 0, 0], mask[-1, -1, -1] = 1, 0 if share < 1 else 1
        if B > 1 and share < 1:
            mask[0, :2] = 1  # more of the first picture is masked than of the others
        return Case(group, {"outputs": outputs, "mask": mask}, note)

    return [
        case("one layer", "the mask's own size", [4], 4, 2, 0.4),
        case("one layer", "one picture", [3], 3, 1, 0.5),
        case("layers", "three layers, two of them smaller", [8, 4, 2], 8, 2, 0.5),
        case("layers", "a layer larger than the mask", [4, 8], 4, 3, 0.3),
        case("edge", "the mask covers everything", [4, 2], 4, 2, 1.0),
        case("edge", "the mask covers hardly anything", [4, 4], 4, 2, 0.0),
    ]


def local_probe(ns, data):
    """Return the loss and its gradients at the outputs."""
    outputs = [o.clone().requires_grad_() for o in data["outputs"]]
    loss = ns.localisation_loss(outputs, data["mask"])
    return {"loss": loss.detach(), "gradients": list(torch.autograd.grad(loss, outputs))}


def localisation_loss__places(outputs, mask):
    losses = []
    for o in outputs:
        side = round(o.shape[1] ** 0.5)
        M = F.interpolate(mask.unsqueeze(1), size=side).reshape(len(o), -1)
        kept = (M == 0).to(o.dtype)
        losses.append(torch.einsum("bnd,bnd,bn->", o, o, kept) / o.shape[2] / max(1.0, float(kept.sum())))
    return torch.stack(losses).mean()


def localisation_loss__select(outputs, mask):
    total = 0
    for o in outputs:
        side = int(o.shape[1] ** 0.5 + 0.5)
        rows = (torch.arange(side) * mask.shape[1]) // side
        free = mask[:, rows][:, :, rows].flatten(1) == 0
        picked = o[free]
        total = total + ((picked**2).mean() if len(picked) else (o * 0).sum())
    return total / len(outputs)


LOCAL = Exercise(
    name="localisation_loss",
    methods=("ch28/receler_localised",),
    groups={"one layer": 1, "layers": 1, "edge": 1},
    cases=local_cases,
    probe=local_probe,
    alternatives=(alternative(localisation_loss__places), alternative(localisation_loss__select)),
    misconceptions=(
        slip("inside", {"1 - F.interpolate": "F.interpolate"},
             "You silence the erasers INSIDE the mask, where they are needed. Multiply by 1 - mask.",
             "student mistake: M for 1 - M"),
        slip("bilinear", {'mode="nearest"': 'mode="bilinear", align_corners=False'},
             "Your resized mask has values between 0 and 1. Resize by 'nearest', so that it stays 0 or 1.",
             "card trap: F.interpolate by nearest"),
        slip("absolute", {"o.square()": "o.abs()"},
             "You take absolute values. The loss is a mean of squares.", "student mistake: L1 for L2"),
        slip("sum_over_dim", {"o.square().mean(-1)": "o.square().sum(-1)"},
             "You sum over the features of a place. Take their mean, so that wide layers do not count more.",
             "card trap: the slide's norm is unnormalised, the code takes the mean over channels"),
        slip("all_places",
             {"total = total + (o.square().mean(-1) * outside).sum() / outside.sum().clamp(min=1)":
                "total = total + (o.square().mean(-1) * outside).mean()"},
             "You divide by the number of all places. Divide by the number of places where the mask is 0.",
             "student mistake: mean over everything"),
        slip("per_picture",
             {"total = total + (o.square().mean(-1) * outside).sum() / outside.sum().clamp(min=1)":
                "total = total + ((o.square().mean(-1) * outside).sum(1) / outside.sum(1).clamp(min=1)).mean()"},
             "You average picture by picture. Count sum and places over the whole batch, then divide once.",
             "student mistake: mean of means"),
        slip("no_guard", {".clamp(min=1)": ""},
             "Where the mask covers everything you divide 0 by 0. Divide by 1 then: the loss is 0.",
             "card: hidden case, mask all ones"),
        slip("sum_over_layers", {" / len(outputs)": ""},
             "You sum over the layers. Average over them (1 / L in the paper).", "student mistake: 1 / L forgotten"),
        slip("root", {"o.square().mean(-1)": "o.norm(dim=-1)"},
             "You take the length of a place's output, a root. Take the mean of its squares.",
             "student mistake: the norm without its square"),
        slip("transposed",
             {'outside = 1 - F.interpolate(mask[:, None], size=(side, side), mode="nearest").flatten(1)':
                'outside = 1 - F.interpolate(mask[:, None], size=(side, side), mode="nearest").flatten(1)\n'
                "outside = outside.unflatten(1, (side, side)).transpose(1, 2).flatten(1)"},
             "Rows and columns of your mask are exchanged. Places run in rows from the top.",
             "student mistake: which axis is flattened first"),
        slip("not_divided", {" / outside.sum().clamp(min=1)": ""},
             "You add up all places and never divide by how many are outside of the mask.",
             "student mistake: the slide's norm taken as it stands"),
    ),
    hints=(
        "A layer of 8 x 8 places and a mask of 16 x 16: how do they meet? What do you divide by when there is nothing "
        "outside of the mask?",
        "Per output: side = root of the number of places; resize the mask (give it a channel axis first); 1 - mask, "
        "flattened; mean of squares over dim, times that, summed, divided by its sum clamped to at least 1.",
        'outside = 1 - F.interpolate(mask[:, None], size=(side, side), mode="nearest").flatten(1); '
        "(o.square().mean(-1) * outside).sum() / outside.sum().clamp(min=1)",
    ),
    good_for="telling a module where to keep quiet",
    minutes=15,
    core=True,
)  # fmt: skip
