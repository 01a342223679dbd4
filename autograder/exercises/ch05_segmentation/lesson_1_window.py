"""Exercises of notebook 1: the window slid over a picture, its cost, and the classifier that becomes a convolution."""

import copy
import itertools

import torch
import torch.nn.functional as F
from torch import nn

from autograder.declare.draws import case
from autograder.declare.exercise import Exercise, alternative
from autograder.declare.slips import slip
from dlcv_lab.checking import probing
from dlcv_lab.checking.model import Forbid


def window_cases(d):
    def slid(group, note, C, H, W, P, K=5, **more):
        return case(group, note, x=d.normal(C, H, W), w=d.normal(K, C * P * P), patch=P, **more)

    return [
        slid("plain", "5x5 patches over 9 x 9", 3, 9, 9, 5),
        slid("plain", "3x3 patches over 6 rows of 11", 1, 6, 11, 3),
        slid("edge", "batches of 7", 2, 8, 9, 5, batch=7),
        slid("edge", "patches of one pixel", 3, 4, 6, 1),
        slid("edge", "even patches", 1, 6, 6, 4),
    ]


def window_probe(ns, data):
    """Slide a linear classifier over the picture and note how it was called."""
    seen = []

    def f(patches):
        seen.append((tuple(patches.shape[1:]), len(patches), torch.is_grad_enabled()))
        return patches.flatten(1) @ data["w"].T

    more = {"batch": data["batch"]} if "batch" in data else {}
    labels = probing.call(ns.sliding_window_segment, f, data["x"], data["patch"], **more)
    return {
        "labels": labels,
        "patches have the right shape": all(s == (len(data["x"]), data["patch"], data["patch"]) for s, _, _ in seen),
        "never more than `batch` patches at a time": max(n for _, n, _ in seen) <= data.get("batch", 256),
        "gradients were on": any(grad for _, _, grad in seen),
    }


def window_library(data):
    if data["patch"] % 2 == 0:
        raise ValueError("even")
    r, K, C = data["patch"] // 2, len(data["w"]), len(data["x"])
    padded = F.pad(data["x"][None], (r, r, r, r), mode="reflect")
    labels = F.conv2d(padded, data["w"].reshape(K, C, 2 * r + 1, 2 * r + 1))[0].argmax(0)
    return {
        "labels": labels,
        "patches have the right shape": True,
        "never more than `batch` patches at a time": True,
        "gradients were on": False,
    }


@torch.no_grad()
def sliding_window_segment__loops(f, x, patch, batch=256):
    if patch % 2 == 0:
        raise ValueError("odd sides only")
    _, H, W = x.shape
    r = patch // 2
    padded = F.pad(x[None], (r, r, r, r), mode="reflect")[0]
    cut = [padded[:, i : i + patch, j : j + patch] for i in range(H) for j in range(W)]
    scores = [f(torch.stack(cut[n : n + batch])) for n in range(0, H * W, batch)]
    return torch.cat(scores).argmax(1).reshape(H, W)


@torch.no_grad()
def sliding_window_segment__rows(f, x, patch, batch=256):
    if not patch % 2:
        raise ValueError("odd sides only")
    _, H, W = x.shape
    r = patch // 2
    windows = F.pad(x[None], (r, r, r, r), mode="reflect")[0].unfold(1, patch, 1).unfold(2, patch, 1)
    windows = windows.permute(1, 2, 0, 3, 4).reshape(H * W, *windows.shape[:1], patch, patch)
    labels = torch.empty(H * W, dtype=torch.int64)
    for n in range(0, H * W, batch):
        labels[n : n + batch] = f(windows[n : n + batch]).argmax(dim=1)
    return labels.view(H, W)


SLIDING_WINDOW = Exercise(
    name="sliding_window_segment",
    methods=("ch05/sliding_window_seg",),
    core=True,
    groups={"plain": 1.0, "edge": 1.0},
    cases=window_cases,
    probe=window_probe,
    oracle=window_library,
    minutes=15,
    difficulty="medium",
    good_for="the oldest way to label pixels, and the yardstick of all faster ones",
    hints=(
        "Pixel (0, 0) has no neighbours above and to the left. How far must the picture be continued so that every "
        "pixel is the centre of a whole patch?",
        "Pad r = patch // 2 on all sides with mode='reflect' (F.pad wants a batch axis). F.unfold, or two loops, cut "
        "one patch a pixel, row by row. Then f on `batch` of them at a time, under torch.no_grad().",
        "patches = F.unfold(padded, patch)[0].T.reshape(-1, C, patch, patch); labels = [f(part).argmax(1) for part in "
        "patches.split(batch)]; torch.cat(labels).reshape(H, W)",
    ),
    alternatives=(alternative(sliding_window_segment__loops), alternative(sliding_window_segment__rows)),
    misconceptions=(
        slip("upper_left", {"(r, r, r, r)": "(0, 2 * r, 0, 2 * r)"},
             "Your patch begins at its pixel. The pixel belongs into the patch's centre, so pad r on all four sides.",
             "student mistake: window anchored at its corner"),
        slip("zeros", {'mode="reflect"': 'mode="constant"'},
             "Inside the picture you are right. Beyond its border it is mirrored, not black.",
             "library difference: zero padding is the default of F.pad and of convolutions"),
        slip("repeats_border", {'mode="reflect"': 'mode="replicate"'},
             "Inside the picture you are right. Beyond its border it is mirrored; you repeat the last pixel.",
             "library difference: padding_mode"),
        slip("column_by_column", {".reshape(x.shape[1:])": ".reshape(x.shape[2], x.shape[1]).T"},
             "Your labels are laid out column by column. The patches come row by row.",
             "card trap: order of pixels with H != W"),
        slip("keeps_gradients", {"with torch.no_grad():": "with torch.enable_grad():"},
             "The labels are right, but f was called with gradients on, which keeps every patch's maps in memory. Work "
             "under torch.no_grad().", "card trap: no_grad"),
        slip("all_at_once", {"patches.split(batch)": "patches.split(len(patches))"},
             "The labels are right, but f got all patches at once. It may get at most `batch` of them.",
             "card trap: batches"),
        slip("no_refusal", {"if patch % 2 == 0:": "if False:"},
             "An even patch has no centre: raise ValueError.", "card trap: even P refused"),
    ),
)  # fmt: skip


def cost_cases(d):
    stack = [(3, 16, 3, 1), (16, 32, 3, 2), (32, 5, 1, 1)]
    return [
        case("plain", "one layer at full size", layers=[(3, d.whole(4, 9), 3, 1)], H=d.whole(5, 9), W=d.whole(10, 14)),
        case("plain", "three layers, one halves", layers=stack, H=32, W=32),
        case("plain", "5x5 kernels", layers=[(d.whole(2, 5), d.whole(6, 9), 5, 1), (7, 2, 1, 1)], H=8, W=6),
        case("edge", "13 x 7 pixels, halved twice", layers=[(1, 4, 3, 2), (4, 8, 3, 2), (8, 8, 3, 1)], H=13, W=7),
        case("edge", "stride 3", layers=[(2, 3, 5, 3), (3, 3, 3, 1)], H=10, W=11),
        case("edge", "one pixel", layers=[(2, 3, 3, 2), (3, 5, 3, 1)], H=1, W=1),
        case("edge", "no layer", layers=[], H=4, W=4),
    ]


def cost_library(data):
    from torch.utils.flop_counter import FlopCounterMode

    if not data["layers"]:
        return NotImplemented
    total, size = 0, (data["H"], data["W"])
    for c_in, c_out, k, stride in data["layers"]:
        x = torch.empty(1, c_in, *size, device="meta")
        with FlopCounterMode(display=False) as counter:
            size = nn.Conv2d(c_in, c_out, k, stride, padding=k // 2, device="meta")(x).shape[2:]
        total += counter.get_total_flops() // 2  # a multiplication and an addition
    return total


def conv_macs__recursive(layers, H, W):
    if not layers:
        return 0
    c_in, c_out, k, stride = layers[0]
    H, W = (H + stride - 1) // stride, (W + stride - 1) // stride
    return c_in * c_out * k**2 * H * W + conv_macs(layers[1:], H, W)


def conv_macs__ranges(layers, H, W):
    rows, columns, total = range(H), range(W), 0
    for c_in, c_out, k, stride in layers:
        rows, columns = range(len(rows[::stride])), range(len(columns[::stride]))
        total += len(rows) * len(columns) * (c_in * k * k) * c_out
    return total


CONV_MACS = Exercise(
    name="conv_macs",
    methods=("ch05/dense_fullres",),
    groups={"plain": 1.0, "edge": 0.5},
    cases=cost_cases,
    oracle=cost_library,
    minutes=10,
    difficulty="easy",
    good_for="knowing what a network costs before running it",
    hints=(
        "How many numbers does a layer put out, and how many weights does each of them touch?",
        "Walk through the layers with the current H and W. First divide both by the stride, rounding up; then add "
        "H * W * c_out * (c_in * k * k).",
        "for c_in, c_out, k, stride in layers: H, W = -(-H // stride), -(-W // stride); total += H * W * c_out * c_in "
        "* k * k",
    ),
    alternatives=(alternative(conv_macs__recursive), alternative(conv_macs__ranges)),
    misconceptions=(
        slip("input_size", {"H, W = -(-H // stride), -(-W // stride)\ntotal += H * W * c_out * c_in * k * k":
             "total += H * W * c_out * c_in * k * k\nH, W = -(-H // stride), -(-W // stride)"},
             "You charge each layer for the size it gets. It computes as many numbers as it puts *out*: shrink H and W "
             "first.", "student mistake: cost at the input's resolution"),
        slip("never_smaller", {"H, W = -(-H // stride), -(-W // stride)": "pass"},
             "Strides of 1 are right. A stride of s leaves 1/s of the rows and columns, for all later layers too.",
             "student mistake: resolution not carried on"),
        slip("rounds_down", {"-(-H // stride), -(-W // stride)": "H // stride, W // stride"},
             "Where the stride does not divide the size, this layer's output is rounded up: ceil(H / s).",
             "card trap: H not divisible by the stride"),
        slip("one_input_channel", {"c_out * c_in * k": "c_out * k"},
             "Every output number looks at all c_in channels: multiply by c_in.", "student mistake: depth-wise count"),
        slip("kernel_side", {"c_in * k * k": "c_in * k"},
             "A kernel has k * k weights a channel, not k.", "student mistake: kernel as a line"),
        slip("counts_biases", {"c_out * c_in * k * k": "c_out * (c_in * k * k + 1)"},
             "A bias is added, not multiplied: it costs nothing here.", "student mistake: parameters instead of "
             "multiplications"),
    ),
)  # fmt: skip


def turned_cases(d):
    def turned(group, note, C=2, H=6, W=6, hidden=(7,), bias=True, pool=True, drop=False, larger=(9, 10), N=2):
        side = ((H - 2) // 2, (W - 2) // 2) if pool else (H - 2, W - 2)
        sizes = [3 * side[0] * side[1], *hidden, 4]
        linears = [(0.4 * d.normal(o, i), d.normal(o) if bias else None) for i, o in itertools.pairwise(sizes)]
        first = (d.normal(3, C, 3, 3), d.normal(3))
        return case(
            group, note, first=first, linears=linears, in_shape=(C, H, W), pool=pool, drop=drop,
            x=d.normal(N, C, H, W), larger=d.normal(N, C, *larger),
        )  # fmt: skip

    return [
        turned("plain", "two linear layers, pooling before them"),
        turned("plain", "one linear layer, no pooling", hidden=(), pool=False, larger=(8, 7)),
        turned("plain", "three linear layers", hidden=(6, 5)),
        turned("edge", "7 rows of 5, one picture", C=1, H=7, W=5, pool=False, larger=(9, 9), N=1),
        turned("edge", "no biases", bias=False),
        turned("edge", "dropout between the linear layers", drop=True),
    ]


def turned_probe(ns, data):
    """Build the classifier, turn it, and look at both on small and larger pictures."""
    layers = [nn.Conv2d(data["in_shape"][0], 3, 3), nn.ReLU(), *([nn.MaxPool2d(2)] if data["pool"] else [])]
    layers[0].weight.data, layers[0].bias.data = (t.clone() for t in data["first"])
    layers.append(nn.Flatten())
    for n, (w, b) in enumerate(data["linears"]):
        if n:
            layers += [nn.ReLU(), *([nn.Dropout(0.5)] if data["drop"] else [])]
        layers.append(nn.Linear(w.shape[1], len(w), bias=b is not None))
        layers[-1].weight.data = w.clone()
        if b is not None:
            layers[-1].bias.data = b.clone()
    model = nn.Sequential(*layers).eval()
    with torch.no_grad():
        before = model(data["x"])
    turned = probing.call(ns.convolutionalize, model, data["in_shape"])
    with torch.no_grad():
        answer = {"small": turned.eval()(data["x"]), "larger": turned(data["larger"])}
        kinds = [type(layer).__name__ for layer in turned]
        for p in turned.parameters():
            p.zero_()
        unchanged = torch.equal(model(data["x"]), before)
    return answer | {"layers": kinds, "the given model is unchanged": unchanged}


def turned_library(data):
    """Answer by the classifier itself, slid over the larger picture."""
    w, b = data["first"]

    def classify(x):
        h = F.conv2d(x, w, b).relu()
        h = (F.max_pool2d(h, 2) if data["pool"] else h).flatten(1)
        for n, (v, c) in enumerate(data["linears"]):
            h = F.linear(h if n == 0 else h.relu(), v, c)
        return h[:, :, None, None]

    _, H, W = data["in_shape"]
    jump, big = 2 if data["pool"] else 1, data["larger"]
    # pooling cuts an odd rest off: the last rows that a map place stands on
    tall = ((big.shape[2] - 2) // jump - (H - 2) // jump) + 1
    wide = ((big.shape[3] - 2) // jump - (W - 2) // jump) + 1
    rows = [
        torch.cat([classify(big[:, :, jump * i : jump * i + H, jump * j : jump * j + W]) for j in range(wide)], 3)
        for i in range(tall)
    ]
    kinds = ["Conv2d", "ReLU", *(["MaxPool2d"] if data["pool"] else [])]
    for n in range(len(data["linears"])):
        kinds += (["ReLU", *(["Dropout"] if data["drop"] else [])] if n else []) + ["Conv2d"]
    answer = {"small": classify(data["x"]).detach(), "larger": torch.cat(rows, 2).detach()}
    return answer | {"layers": kinds, "the given model is unchanged": True}


def convolutionalize__by_hand(model, in_shape):
    def turn(linear, kernel):
        rows, columns = linear.weight.shape
        conv = nn.Conv2d(columns // (kernel[0] * kernel[1]), rows, tuple(kernel), bias=linear.bias is not None)
        conv.load_state_dict(
            {name: p.detach().reshape(getattr(conv, name).shape) for name, p in linear.named_parameters()}
        )
        return conv.to(linear.weight.dtype)

    parts = list(model)
    at = next(n for n, part in enumerate(parts) if isinstance(part, nn.Flatten))
    with torch.no_grad():
        x = torch.zeros((1, *in_shape), dtype=next(model.parameters()).dtype)
        kernel = copy.deepcopy(model[:at]).eval()(x).shape[2:]
    out = [copy.deepcopy(part) for part in parts[:at]]
    for part in parts[at + 1 :]:
        if isinstance(part, nn.Linear):
            out.append(turn(part, kernel))
            kernel = (1, 1)
        else:
            out.append(copy.deepcopy(part))
    return nn.Sequential(*out)  # fmt: skip


def convolutionalize__unflatten(model, in_shape):
    parts = list(copy.deepcopy(model))
    at = [isinstance(part, nn.Flatten) for part in parts].index(True)
    maps = torch.zeros(1, *in_shape, dtype=next(model.parameters()).dtype)
    for part in parts[:at]:
        maps = part.eval()(maps)
    shape, out = tuple(maps.shape[1:]), parts[:at]
    for part in parts[at + 1 :]:
        if not isinstance(part, nn.Linear):
            out.append(part)
            continue
        conv = nn.Conv2d(shape[0], part.out_features, shape[1:], bias=part.bias is not None)
        conv.weight = nn.Parameter(part.weight.detach().unflatten(1, shape))
        if part.bias is not None:
            conv.bias = part.bias
        out.append(conv)
        shape = (part.out_features, 1, 1)
    return nn.Sequential(*out).train(model.training)


CONVOLUTIONALIZE = Exercise(
    name="convolutionalize",
    methods=("ch05/fc_to_conv",),
    core=True,
    groups={"plain": 2.0, "edge": 1.0},
    cases=turned_cases,
    probe=turned_probe,
    oracle=turned_library,
    forbid=Forbid(names=("nn.LazyConv2d",)),
    minutes=25,
    difficulty="hard",
    good_for="the step from classification to segmentation: no weight changes",
    hints=(
        "A linear layer behind a Flatten weighs every pixel of a C x h x w map. Which convolution does the same, if it "
        "is as large as the map?",
        "Run a picture of zeros through copies of the layers to see the map's size where Flatten stands. The weights "
        "(out, C h w) are reshaped to (out, C, h, w), the order that Flatten uses. Every later Linear sees a map of "
        "1x1.",
        "w = layer.weight.data.reshape(layer.out_features, -1, *side); conv = nn.Conv2d(w.shape[1], len(w), side, "
        "bias=layer.bias is not None); conv.weight.data = w, and the bias likewise; then side = (1, 1)",
    ),
    alternatives=(alternative(convolutionalize__by_hand), alternative(convolutionalize__unflatten)),
    misconceptions=(
        slip("shares_weights", {"copy.deepcopy(model).eval()": "model.eval()"},
             "The numbers are right, but the new network works on the old one's weights: changing one changes the "
             "other. Copy them.", "card trap: original untouched"),
        slip("forgets_bias", {"conv.bias.data = layer.bias.data": "conv.bias.data.zero_()"},
             "The biases of the linear layers are lost: copy them too.", "student mistake: weights without bias"),
        slip("channels_last", {"layer.weight.data.reshape(layer.out_features, -1, *side)":
             "layer.weight.data.reshape(layer.out_features, *side, -1).permute(0, 3, 1, 2)"},
             "You read the weights as row, column, channel. Flatten lays a map out as channel, row, column.",
             "card trap: C, H, W order"),
        slip("fresh_weights", {"conv.weight.data = w": ""},
             "The kernels have the right shape but weights of their own: copy those of the linear layer, reshaped.",
             "student mistake: layer made, weights forgotten"),
        slip("drops_the_rest", {"layers.append(layer)":
             "layers += [layer] * isinstance(layer, nn.Conv2d | nn.MaxPool2d)"},
             "Layers between the linear ones (ReLU, dropout) are gone. Keep every layer that is neither Flatten nor "
             "Linear.", "student mistake: only layers with weights kept"),
        slip("needs_a_bias", {"len(w), side, bias=layer.bias is not None": "len(w), side"},
             "A linear layer without bias becomes a convolution without bias: nn.Conv2d makes a random one unless "
             "told.",
             "card trap: no bias"),
    ),
)  # fmt: skip
