"""Chapter 3, notebook 2: cases, probes and variants of `dropout` and of the augmentations."""

import torch
import torch.nn.functional as F
from torch import Tensor

from autograder.declare.exercise import Alternative, alternative
from autograder.declare.slips import slip
from dlcv_lab.checking.model import Case


def dropout_cases(rng: torch.Generator) -> list[Case]:
    """Draw units, masks and rates; every rate differs from 1/2, where keeping and dropping are the same."""

    def case(
        group: str, shape: tuple[int, ...], p: float, note: str, training: bool = True, view: bool = False
    ) -> Case:
        x = torch.randn(*shape, generator=rng)
        keep = torch.rand(*shape, generator=rng) >= p
        if 0 < p < 1:  # at least one unit of each kind
            keep.view(-1)[0], keep.view(-1)[-1] = True, False
        if view:
            x, keep = x.transpose(0, 1), keep.transpose(0, 1)
        weight = torch.randn(x.shape, generator=rng) if group == "gradient" else None
        return Case(group, {"x": x, "keep": keep, "p": p, "training": training, "weight": weight}, note)

    rate = 0.15 + 0.2 * float(torch.rand((), generator=rng))
    return [
        case("plain", (4, 6), rate, "training, (N, D)"),
        case("plain", (3, 5), 0.8, "training, most units dropped"),
        case("shapes", (2, 3, 4, 5), 0.3, "training, feature maps (N, C, H, W)"),
        case("shapes", (7, 3), 0.25, "training, a transposed view", view=True),
        case("edge", (3, 4), 0.3, "not training", training=False),
        case("edge", (3, 4), 1.0, "training with p = 1"),
        case("edge", (3, 4), 0.0, "training with p = 0"),
        case("gradient", (4, 5), 0.3, "gradient in training"),
        case("gradient", (4, 5), 0.3, "gradient when not training", training=False),
        case("gradient", (4, 5), 1.0, "gradient with p = 1"),
    ]


def dropout_probe(ns, data):
    """Return the units, or in a gradient case the units and the gradient of a weighted sum of them."""
    x = data["x"]
    if data["weight"] is None:
        return ns.dropout(x, data["keep"], p=data["p"], training=data["training"])
    x = x.clone().requires_grad_()
    y = ns.dropout(x, data["keep"], p=data["p"], training=data["training"])
    return {"y": y, "dx": torch.autograd.grad((y * data["weight"]).sum(), x)[0]}


def dropout__where(x, keep, *, p, training):
    if not training or p == 0:
        return x
    scale = 1 / (1 - p) if p < 1 else 0.0
    return torch.where(keep, x * scale, torch.zeros_like(x))


def dropout__masked_fill(x, keep, *, p, training):
    if training:
        return (x / max(1 - p, 1e-30)).masked_fill(~keep, 0)
    return x.clone()


DROPOUT_ALTERNATIVES = (alternative(dropout__where), alternative(dropout__masked_fill))
DROPOUT_MISCONCEPTIONS = (
    slip("no_scaling", {" / (1 - p)": ""},
         "Kept units pass unscaled. With a share p missing, the sum that the next layer sees shrinks: divide "
         "the kept ones by 1 - p so that the expected value stays.", "student mistake: dropout as a mask only"),
    slip("scales_at_test",
         {("if not training:\n"
           "    return x"):
            "if not training:\n"
            "    return x * (1 - p)",
          " / (1 - p)": ""},
         "You scale when not training, as the paper does. Here the scaling belongs into training (divide by 1 "
         "- p), and at test time x comes back unchanged.",
         "paper: Srivastava et al. 2014 multiply the weights by the keep probability at test time"),
    slip("scales_test_too",
         {"if not training:\n    return x": "if not training:\n    return x * (1 - p)"},
         "At test time you scale x. Inverted dropout has scaled in training already: x comes back unchanged.",
         "student mistake: both kinds of dropout at once"),
    slip("divides_by_p",
         {"/ (1 - p)": "/ p"},
         "You divide by p. Here p is the probability of dropping, so that 1 - p of the units are kept: divide "
         "those by 1 - p.",
         "student mistake: p taken for the probability of keeping"),
    slip("inverted_mask", {"x * keep": "x * ~keep"},
         "You zero the units whose mask is True. True means keep.",
         "library difference: masked_fill writes where the mask is True"),
    slip("p_keeps", {"if p == 1:": "if p == 0:", "/ (1 - p)": "/ p"},
         "You divide by p. Here p is the probability of dropping; kept units are divided by the probability of "
         "keeping, 1 - p.", "card trap: in the paper p is the probability of keeping"),
    slip("always_on", {"if not training:": "if False:"},
         "You drop units when training is False too. At test time every unit is on and unscaled.",
         "student mistake: F.dropout(x) whose `training` defaults to True"),
    slip("cuts_graph", {"x.masked_fill(torch.ones_like(keep), 0)": "torch.zeros_like(x)"},
         "With p = 1 your zeros are right but new: they do not hang on x, and backward() fails. Make them from "
         "x, as x.masked_fill(..., 0) does; the gradient is then zero.",
         "student mistake: torch.zeros_like(x); F.dropout keeps the graph"),
    slip("nan_at_one", {"if p == 1:": "if False:", "(1 - p)": "(1 - torch.tensor(p, dtype=x.dtype))"},
         "With p = 1 your formula computes 0 / 0 = NaN. Treat that case on its own: everything is dropped, so "
         "return zeros.", "card: hidden case p = 1"),
)  # fmt: skip

# ---------------------------------------------------------------- augmentations


def augment_cases(rng: torch.Generator) -> list[Case]:
    """Draw pictures and boxes; one group of cases per function."""

    def pictures(n: int, c: int, h: int, w: int) -> Tensor:
        return torch.rand(n, c, h, w, generator=rng)

    def offsets(n: int, pad: int) -> Tensor:
        drawn = torch.randint(2 * pad + 1, (n, 2), generator=rng)
        return torch.cat([drawn, torch.tensor([[0, 2 * pad], [2 * pad, pad]])])

    first = torch.rand(3, 2, generator=rng) * 5
    boxes = torch.cat([first, first + 1 + torch.rand(3, 2, generator=rng) * 3], dim=1)
    x, y = pictures(4, 3, 5, 7), pictures(1, 1, 6, 4)
    return [
        Case("hflip", {"x": x, "flip": torch.tensor([True, False, False, True])}, "two of four pictures"),
        Case("hflip", {"x": y, "flip": torch.tensor([False])}, "nothing to flip"),
        Case("pad_crop", {"x": pictures(5, 2, 6, 4), "offsets": offsets(3, 2), "pad": 2}, "pad 2, 6x4"),
        Case("pad_crop", {"x": y, "offsets": torch.tensor([[1, 1]]), "pad": 1}, "the picture in its place"),
        Case("color_cast", {"x": x, "shift": torch.randn(4, 3, generator=rng) * 0.4}, "4 pictures, RGB"),
        Case("color_cast", {"x": y, "shift": torch.full((1, 1), 0.7)}, "a bright grey picture"),
        Case("boxes", {"boxes": boxes, "width": 12.5}, "three boxes"),
        Case("boxes", {"boxes": torch.zeros(0, 4), "width": 8.0}, "no box at all"),
    ]


def hflip__copies(x, flip):
    out = x.clone()
    out[flip] = x[flip][..., torch.arange(x.shape[-1] - 1, -1, -1)]
    return out


def pad_crop__gathers(x, offsets, *, pad):
    n, _, h, w = x.shape
    padded = F.pad(x, (pad,) * 4)
    rows = offsets[:, :1] + torch.arange(h)
    columns = offsets[:, 1:] + torch.arange(w)
    return padded.permute(0, 2, 3, 1)[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None]].permute(
        0, 3, 1, 2
    )


def color_cast__min_max(x, shift):
    return torch.clamp(x + shift.reshape(len(x), -1, 1, 1), min=0).minimum(torch.tensor(1.0, dtype=x.dtype))


def augment_boxes_hflip__indexes(boxes, width):
    out = boxes.clone()
    out[:, [0, 2]] = width - boxes[:, [2, 0]]
    return out


AUGMENT_ALTERNATIVES = (
    Alternative(name="by_index", code=(hflip__copies, pad_crop__gathers)),
    Alternative(name="by_columns", code=(color_cast__min_max, augment_boxes_hflip__indexes)),
)
AUGMENT_MISCONCEPTIONS = (
    slip("upside_down", {"x.flip(-1)": "x.flip(-2)"},
         "hflip turns your pictures upside down: mirroring left to right reverses the last axis (columns).",
         "library difference: numpy.flipud / fliplr, axes counted the other way round"),
    slip("whole_batch", {"torch.where(flip[:, None, None, None], x.flip(-1), x)": "x.flip(-1) if flip.any() else x"},
         "hflip decides for the whole batch at once. Every picture has its own entry in `flip`.",
         "library difference: torchvision.transforms flips a whole batch or none of it"),
    slip("column_first", {"(i, j) in": "(j, i) in"},
         "pad_crop reads its offsets as (column, row). They are (row, column).",
         "library difference: PIL's crop box starts with x, torch's axes with the row"),
    slip("rolls",
         {"out[n] = padded[n, :, i : i + h, j : j + w]": "out[n] = torch.roll(x[n], (pad - i, pad - j), (1, 2))"},
         "In pad_crop, what leaves the picture on one side comes back on the other. Zeros should come instead.",
         "student mistake: torch.roll as a shift"),
    slip("no_clamp", {".clamp(0, 1)": ""},
         "color_cast returns values below 0 or above 1. Clamp the sum to [0, 1].", "card: hidden case clamp"),
    slip("wraps", {".clamp(0, 1)": " % 1"},
         "color_cast makes too bright pixels dark: the sum wraps around. It should stop at 0 and at 1.",
         "library difference: uint8 arithmetic wraps around at 256"),
    slip("not_swapped", {"width - x2, y1, width - x1": "width - x1, y1, width - x2"},
         "Your boxes have x1 > x2: after mirroring, the old right edge is the new left one.",
         "card: hidden case boxes stay x1 < x2 after a flip"),
    slip("counts_pixels", {"boxes.unbind(1)": "boxes.unbind(1)\nwidth = width - 1"},
         "Your boxes are one unit too far left: width - 1 - x is right for pixel numbers, width - x for "
         "continuous edges.", "library difference: pixel numbers 0..W-1 against edges 0..W (VOC and COCO boxes)"),
)  # fmt: skip
