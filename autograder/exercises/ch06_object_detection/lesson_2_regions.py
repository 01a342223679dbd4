"""Exercises of notebook 2 about regions: similarity, box coding, and pooling under a box."""

import math

import torch
import torch.nn.functional as F
from torchvision import ops
from torchvision.models.detection._utils import BoxCoder

from autograder.declare import Exercise, alternative, case, slip
from autograder.exercises.ch06_object_detection.lesson_1_boxes import some_boxes
from dlcv_lab.checking import probing
from dlcv_lab.checking.model import Forbid

DOUBLE = torch.float64


def a_region(d, x, y, wide, high, dtype=DOUBLE):
    colour, texture = d.uniform(15, low=0.01, high=1, dtype=dtype), d.uniform(12, low=0.01, high=1, dtype=dtype)
    return {
        "size": d.whole(wide * high // 2, wide * high - 2),
        "box": (x, y, x + wide, y + high),
        "colour": colour / colour.sum(),
        "texture": texture / texture.sum(),
    }


def similarity_cases(d):
    one, beside = a_region(d, 2, 3, 9, 7), a_region(d, 11, 4, 6, 8)
    inside, far = a_region(d, 4, 4, 3, 3), a_region(d, 25, 20, 5, 4)
    return [
        case("plain", "two neighbours", a=one, b=beside, pixels=1200),
        case("plain", "the other way round", a=beside, b=one, pixels=1200),
        case("plain", "one in the hole of the other", a=one, b=inside, pixels=900),
        case("plain", "far apart", a=one, b=far, pixels=1000),
    ]


def similarity_brute(data):
    a, b, pixels = data["a"], data["b"], data["pixels"]
    total = 0.0
    for key in ("colour", "texture"):
        total += sum(min(x, y) for x, y in zip(a[key].tolist(), b[key].tolist()))
    xs, ys = [*a["box"][::2], *b["box"][::2]], [*a["box"][1::2], *b["box"][1::2]]
    room = (max(xs) - min(xs)) * (max(ys) - min(ys))
    return total + 1 - (a["size"] + b["size"]) / pixels + 1 - (room - a["size"] - b["size"]) / pixels


def region_similarity__cancels(a, b, pixels):
    # the sizes cancel between the third and the fourth term
    corners = [max(-a["box"][k], -b["box"][k]) for k in (0, 1)] + [max(a["box"][k], b["box"][k]) for k in (2, 3)]
    room = (corners[2] + corners[0]) * (corners[3] + corners[1])
    shared = [torch.min(a[key], b[key]).sum().item() for key in ("colour", "texture")]
    return sum(shared) + 2 - room / pixels


def region_similarity__distance(a, b, pixels):
    total = 0.0
    for key in ("colour", "texture"):  # min(x, y) = (x + y - |x - y|) / 2
        total += float((a[key] + b[key] - (a[key] - b[key]).abs()).sum()) / 2
    both = torch.tensor([a["box"], b["box"]], dtype=torch.float64)
    room = float((both[:, 2:].amax(0) - both[:, :2].amin(0)).prod())
    filled = a["size"] + b["size"]
    return total + (1 - filled / pixels) + (1 - (room - filled) / pixels)


REGION_SIMILARITY = Exercise(
    name="region_similarity",
    methods=("ch06/selective_search",),
    groups={"plain": 2.0},
    cases=similarity_cases,
    oracle=similarity_brute,
    minutes=12,
    difficulty="easy",
    good_for="the four reasons why two patches belong to one thing",
    hints=(
        "Two histograms that are alike have much in common, bin by bin. What is common to 0.3 and 0.1?",
        "Colour and texture: sum the smaller of the two entries. Size: small regions first, 1 - (both sizes) / pixels. "
        "Fill: the box around both, from the smallest x1, y1 to the largest x2, y2, should have few pixels that belong "
        "to neither.",
        "colour = torch.minimum(a['colour'], b['colour']).sum(), likewise texture; fill = 1 - (area of the common box "
        "- a['size'] - b['size']) / pixels. Return the float of the sum of all four.",
    ),
    alternatives=(alternative(region_similarity__cancels), alternative(region_similarity__distance)),
    misconceptions=(
        slip("product", {"torch.minimum(a[\"colour\"], b[\"colour\"]).sum()": "(a[\"colour\"] * b[\"colour\"]).sum()"},
             "Your colour term multiplies the entries. The sum of the SMALLER entries is asked for: it is 1 for equal "
             "histograms.",
             "student mistake: dot product in place of intersection"),
        slip("no_texture", {"colour + texture + size + fill": "colour + size + fill"},
             "A term is missing: colour, texture, size and fill all count once.",
             "card trap: all four weights are 1"),
        slip("large_first", {"size = 1 - sizes / pixels": "size = sizes / pixels"},
             "You reward large regions. The term is 1 minus their share, so that small regions are merged first.",
             "student mistake: sign of the size term"),
        slip("room_of_all", {"((x2 - x1) * (y2 - y1) - sizes) / pixels": "((x2 - x1) * (y2 - y1)) / pixels"},
             "The fill term counts the pixels of the common box that belong to NEITHER region: subtract both sizes.",
             "student mistake: the whole box"),
        slip("plus_one", {"(x2 - x1) * (y2 - y1)": "(x2 - x1 + 1) * (y2 - y1 + 1)"},
             "The common box has the area (x2 - x1) * (y2 - y1), without + 1.",
             "card trap: errata, no max + 1"),
        slip("near_corner",
             {"x2, y2 = max(a[\"box\"][2], b[\"box\"][2]), max(a[\"box\"][3], b[\"box\"][3])":
              "x2, y2 = min(a[\"box\"][2], b[\"box\"][2]), min(a[\"box\"][3], b[\"box\"][3])"},
             "The box around both ends at the LARGER x2 and y2. You take the smaller ones, where the box that both "
             "share would end.",
             "student mistake: minimum for all four edges"),
    ),
)  # fmt: skip


def coding_cases(d):
    heads = (10.0, 10.0, 5.0, 5.0)
    n = d.whole(4, 6)
    proposals, truth = some_boxes(d, n), some_boxes(d, n)
    return [
        case("encode", "weights of 1", truth=truth, proposals=proposals),
        case("encode", "weights 10, 10, 5, 5", truth=some_boxes(d, 3), proposals=some_boxes(d, 3), weights=heads),
        case("encode", "float64", truth=some_boxes(d, 4, dtype=DOUBLE), proposals=some_boxes(d, 4, dtype=DOUBLE)),
        case("encode", "no box", truth=torch.zeros(0, 4), proposals=torch.zeros(0, 4)),
        case("decode", "weights of 1", deltas=0.4 * d.normal(n, 4), proposals=proposals),
        case("decode", "weights 10, 10, 5, 5", deltas=d.normal(3, 4), proposals=some_boxes(d, 3), weights=heads),
        case("decode", "float64", deltas=0.3 * d.normal(5, 4, dtype=DOUBLE), proposals=some_boxes(d, 5, dtype=DOUBLE)),
        case("decode", "a stretch of 50", deltas=torch.tensor([[0.1, 0.2, 50.0, 0.1], [0, 0, -1, 9]]),
             proposals=some_boxes(d, 2)),
        case("decode", "no box", deltas=torch.zeros(0, 4), proposals=torch.zeros(0, 4)),
    ]  # fmt: skip


def encode_library(data):
    return BoxCoder(data.get("weights", (1.0,) * 4)).encode_single(data["truth"], data["proposals"])


def decode_library(data):
    if len(data["deltas"]) == 0:
        return torch.zeros_like(data["deltas"])
    return BoxCoder(data.get("weights", (1.0,) * 4)).decode_single(data["deltas"], data["proposals"])


def encode_boxes__columns(truth, proposals, weights=(1.0, 1.0, 1.0, 1.0)):
    def parts(box):
        x1, y1, x2, y2 = box.unbind(1)
        return (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1

    gx, gy, gw, gh = parts(truth)
    px, py, pw, ph = parts(proposals)
    t = [(gx - px) / pw, (gy - py) / ph, gw.log() - pw.log(), gh.log() - ph.log()]
    return torch.stack([w * column for w, column in zip(weights, t)], 1)


def decode_boxes__columns(deltas, proposals, weights=(1.0, 1.0, 1.0, 1.0)):
    w, h = proposals[:, 2] - proposals[:, 0], proposals[:, 3] - proposals[:, 1]
    dx, dy, dw, dh = (deltas[:, k] / weights[k] for k in range(4))
    x, y = proposals[:, 0] + w / 2 + dx * w, proposals[:, 1] + h / 2 + dy * h
    most = math.log(1000 / 16)
    w, h = w * torch.exp(dw.clamp(max=most)), h * torch.exp(dh.clamp(max=most))
    return torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 1)


def encode_boxes__library(truth, proposals, weights=(1.0, 1.0, 1.0, 1.0)):
    t, p = (ops.box_convert(box, "xyxy", "cxcywh") for box in (truth, proposals))
    scale = torch.tensor(weights, dtype=truth.dtype)
    return scale * torch.cat([(t - p)[:, :2] / p[:, 2:], (t[:, 2:] / p[:, 2:]).log()], 1)


def decode_boxes__library(deltas, proposals, weights=(1.0, 1.0, 1.0, 1.0)):
    d = deltas / torch.tensor(weights, dtype=deltas.dtype)
    p = ops.box_convert(proposals, "xyxy", "cxcywh")
    stretch = torch.minimum(d[:, 2:], torch.tensor(math.log(1000 / 16), dtype=d.dtype))
    moved = torch.cat([p[:, :2] + p[:, 2:] * d[:, :2], p[:, 2:] * stretch.exp()], 1)
    return ops.box_convert(moved, "cxcywh", "xyxy")


ENCODE_BOXES = Exercise(
    name="encode_boxes",
    defines=("encode_boxes", "decode_boxes"),
    methods=("ch06/box_coding",),
    core=True,
    groups={"encode": 1.5, "decode": 1.5},
    cases=coding_cases,
    probe={"encode": "encode_boxes", "decode": "decode_boxes"},
    oracle={"encode": encode_library, "decode": decode_library},
    minutes=18,
    good_for="what all detectors from R-CNN to SSD regress: four numbers without a unit",
    forbid=Forbid(names=("torchvision.models", "BoxCoder")),
    hints=(
        "A box ten pixels too far left: is that a large error? What would you have to know of the box?",
        "ops.box_convert(box, 'xyxy', 'cxcywh') gives centres and sides. Shifts are divided by the proposal's sides, "
        "stretches are logarithms of the ratio of sides. To decode, undo it in reverse: divide by the weights, "
        "limit the "
        "stretch, centre = p centre + d * p sides, sides = p sides * exp(stretch), then back to corners.",
        "encode: torch.cat([(t[:, :2] - p[:, :2]) / p[:, 2:], torch.log(t[:, 2:] / p[:, 2:])], 1) * weights. decode: "
        "centre = p[:, :2] + d[:, :2] * p[:, 2:]; sides = p[:, 2:] * d[:, 2:].clamp(max=math.log(1000 / 16)).exp().",
    ),
    alternatives=(
        alternative(encode_boxes__columns, decode_boxes__columns, name="columns"),
        alternative(encode_boxes__library, decode_boxes__library, name="library"),
    ),
    misconceptions=(
        slip("corners_shift", {"(t[:, :2] - p[:, :2]) / p[:, 2:]": "(truth[:, :2] - proposals[:, :2]) / p[:, 2:]"},
             "encode: your shifts are those of the top left corner. They are shifts of the CENTRE.",
             "student mistake: corners in place of centres"),
        slip("pixels", {"(t[:, :2] - p[:, :2]) / p[:, 2:]": "t[:, :2] - p[:, :2]"},
             "encode: your shifts are pixels. Divide them by the sides of the proposal, so that small and large boxes "
             "have errors of one size.",
             "card trap: scale-free targets"),
        slip("by_the_truth", {"(t[:, :2] - p[:, :2]) / p[:, 2:]": "(t[:, :2] - p[:, :2]) / t[:, 2:]"},
             "encode: you divide by the sides of the TRUE box, which a detector does not know when it decodes. Divide "
             "by the proposal's.",
             "student mistake: relative to the wrong box"),
        slip("no_log", {"torch.log(t[:, 2:] / p[:, 2:])": "t[:, 2:] / p[:, 2:]"},
             "encode: the shifts are right; the stretches are the LOGARITHM of the ratio, 0 where nothing changes.",
             "student mistake: ratio in place of its logarithm"),
        slip("divided_by_weights", {"* shift.new_tensor(weights)": "/ shift.new_tensor(weights)"},
             "encode: with weights of 1 you are right. Targets are MULTIPLIED by the weights; decoding divides.",
             "library difference: SSD's variances are the reciprocals of torchvision's weights"),
        slip("no_limit", {".clamp(max=math.log(1000 / 16))": ""},
             "decode: a stretch of 50 makes a box of 10^22 pixels. Count it as log(1000 / 16) at most.",
             "card trap: dw = 50"),
        slip("centre_as_corner",
             {"torch.cat([centre - sides / 2, centre + sides / 2], dim=1)":
              "torch.cat([centre, centre + sides], dim=1)"},
             "decode: you return boxes that BEGIN at the centre. The corners lie half the sides to either side.",
             "student mistake: centre taken for the corner"),
        slip("centre_and_sides", {"torch.cat([centre - sides / 2, centre + sides / 2], dim=1)":
                                    "torch.cat([centre, sides], dim=1)"},
             "decode: you return centre and sides. Return corners, (x1, y1, x2, y2), as the boxes came.",
             "student mistake: the last step back to corners is left out"),
    ),
)  # fmt: skip


def align_cases(d):
    H, W = d.whole(7, 8), d.whole(9, 10)
    inner = torch.tensor([[6.0, 5.0, 21.0, 17.0], [9.3, 4.4, 16.1, 22.9]]) + d.real(0.0, 0.9)
    return [
        case("plain", "two boxes on a map of quarter size", maps=d.normal(3, H, W), boxes=inner, out=3, scale=0.25),
        case("plain", "float64, three samples a side", maps=d.normal(2, 6, 8, dtype=DOUBLE),
             boxes=torch.tensor([[3.0, 2.0, 11.0, 9.5]], dtype=DOUBLE), out=2, scale=0.5, samples=3),
        case("plain", "one bin", maps=d.normal(2, 6, 6), boxes=torch.tensor([[1.5, 0.7, 4.2, 5.1]]), out=1, scale=1.0),
        case("edge", "a box that leaves the picture", maps=d.normal(2, 5, 5) + 2,
             boxes=torch.tensor([[-6.0, 2.0, 10.0, 30.0]]), out=3, scale=0.25),
        case("edge", "a box smaller than a cell", maps=d.normal(2, 5, 5), boxes=torch.tensor([[9.0, 9.5, 10.0, 11.0]]),
             out=2, scale=0.25),
        case("edge", "no box", maps=d.normal(2, 5, 5), boxes=torch.zeros(0, 4), out=2, scale=0.25),
        case("gradient", "gradient of the map", ask="gradient", maps=d.normal(2, 6, 6),
             boxes=torch.tensor([[3.0, 2.0, 17.0, 20.0]]), out=2, scale=0.25, dy=d.normal(1, 2, 2, 2)),
    ]  # fmt: skip


def align_gradient(ns, data):
    def pooled(maps):
        return ns.roi_align(maps, data["boxes"], data["out"], data["scale"])

    return probing.gradients(pooled, [data["maps"]], data["dy"])[1]


def align_library(data):
    """Sample by grid_sample, which has gradients for the boxes, too; torchvision's roi_align has none."""
    maps, out, samples = data["maps"], data["out"], data.get("samples", 2)
    n, (H, W) = out * samples, maps.shape[1:]
    pooled = [maps.new_zeros(0, len(maps), out, out)]
    for box in data["boxes"] * data["scale"] - 0.5:
        part = (torch.arange(n, dtype=maps.dtype) + 0.5) / n
        x, y = box[0] + part * (box[2] - box[0]), box[1] + part * (box[3] - box[1])
        far = (((y < -1) | (y > H))[:, None] | ((x < -1) | (x > W))[None]).to(maps.dtype)
        grid = torch.stack(torch.broadcast_tensors(2 * x[None] / (W - 1) - 1, 2 * y[:, None] / (H - 1) - 1), -1)
        read = F.grid_sample(maps[None], grid[None], padding_mode="border", align_corners=True) * (1 - far)
        pooled.append(F.avg_pool2d(read, samples))
    return torch.cat(pooled)


def roi_align__bins(maps, boxes, out, scale, samples=2):
    C = maps.shape[0]
    pooled = torch.zeros(len(boxes), C, out, out, dtype=maps.dtype)
    steps = (torch.arange(samples, dtype=maps.dtype) + 0.5) / samples
    for m in range(len(boxes)):
        x1, y1, x2, y2 = (boxes[m] * scale - 0.5).tolist()
        for i in range(out):
            for j in range(out):
                y = y1 + (i + steps) * (y2 - y1) / out
                x = x1 + (j + steps) * (x2 - x1) / out
                points = torch.cartesian_prod(y, x).reshape(-1, 2)
                pooled[m, :, i, j] = bilinear(maps, points[:, 0], points[:, 1]).mean(1)
    return pooled


def roi_align__at_once(maps, boxes, out, scale, samples=2):
    M, n = len(boxes), out * samples
    at = boxes * scale - 0.5
    fine = (torch.arange(n, dtype=maps.dtype) + 0.5) / n  # along the whole box
    x = at[:, :1] + fine * (at[:, 2:3] - at[:, :1])
    y = at[:, 1:2] + fine * (at[:, 3:] - at[:, 1:2])
    every_y, every_x = y[:, :, None].expand(M, n, n).reshape(-1), x[:, None].expand(M, n, n).reshape(-1)
    values = bilinear(maps, every_y, every_x).reshape(len(maps), M, out, samples, out, samples)
    return values.mean(dim=(3, 5)).transpose(0, 1)


def bilinear(maps, y, x): ...  # the lesson gives it


ROI_ALIGN = Exercise(
    name="roi_align",
    methods=("ch06/roi_align",),
    core=True,
    groups={"plain": 2.0, "edge": 0.5, "gradient": 0.5},
    cases=align_cases,
    probe={"gradient": align_gradient},
    oracle=align_library,
    minutes=20,
    good_for="the step that lets a mask or a box be finer than the feature map",
    forbid=Forbid(
        aten=("torchvision.roi_align*",),
        names=("ops.roi_align", "ops.RoIAlign", "torchvision.ops.roi_align", "ops.MultiScaleRoIAlign"),
    ),
    hints=(
        "A box from pixel 6 to 21, a map with one cell for 4 pixels: where on the map does the box begin if "
        "nothing may "
        "be rounded?",
        "At 6 / 4 - 1/2. Along x there are out * samples points, evenly spaced: x1 + (k + 1/2) / (out * "
        "samples) * (x2 - "
        "x1). Read the map at all pairs of y and x with bilinear, reshape to (C, out, samples, out, samples), and "
        "average over the two sample axes.",
        "fine = (torch.arange(out * samples) + 0.5) / samples; x = x1 + fine * (x2 - x1) / out, y likewise; grid = "
        "torch.meshgrid(y, x, indexing='ij'); values = bilinear(maps, grid[0].flatten(), grid[1].flatten()).reshape(C, "
        "out, samples, out, samples).mean(dim=(2, 4)).",
    ),
    alternatives=(alternative(roi_align__bins), alternative(roi_align__at_once)),
    misconceptions=(
        slip("no_half_cell", {"box * scale - 0.5": "box * scale"},
             "Your points lie half a cell too far right and down: the centre of cell 0 is at pixel 1 / (2 scale), so "
             "subtract 1/2 after scaling.",
             "library difference: aligned=False of torchvision"),
        slip("rounds", {"box * scale - 0.5": "(box * scale).round() - 0.5"},
             "The corners are rounded to cells: that is RoI pooling. Here nothing is rounded.",
             "card trap: RoIPool's rounding"),
        slip("bin_corners", {"dtype=maps.dtype) + 0.5) / samples": "dtype=maps.dtype)) / samples"},
             "Your points lie at the beginning of their part of the bin. They belong in its middle: (i + 1/2) / "
             "samples.",
             "student mistake: sampling at bin corners"),
        slip("maximum", {"values.mean(dim=(2, 4))": "values.amax(dim=(2, 4))"},
             "A bin is the MEAN of its points. The maximum belongs to RoI pooling.",
             "student mistake: max pooling"),
        slip("rows_for_columns",
             {"bilinear(maps, grid_y.flatten(), grid_x.flatten())":
              "bilinear(maps, grid_x.flatten(), grid_y.flatten())"},
             "x and y are swapped: bilinear takes y first, and boxes hold x first.",
             "student mistake: order of x and y"),
    ),
)  # fmt: skip
