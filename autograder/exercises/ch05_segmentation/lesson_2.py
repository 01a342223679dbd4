"""Exercises of notebook 2: how a map becomes larger."""

import torch
import torch.nn.functional as F

from autograder.declare.draws import case
from autograder.declare.exercise import Exercise, alternative
from autograder.declare.slips import slip
from dlcv_lab.checking import probing
from dlcv_lab.checking.model import Forbid

DOUBLE = torch.float64


def stamp_cases(d):
    def stamped(group, note, N=2, C=3, O=2, H=3, W=4, k=3, dtype=torch.float32, **more):
        x, w = d.normal(N, C, H, W, dtype=dtype), d.normal(C, O, k, k, dtype=dtype)
        return case(group, note, x=x, w=w, **more)

    def with_gradients(note, **more):
        plain = stamped("gradient", note, **more)
        x, w, rest = plain.data["x"], plain.data["w"], {n: v for n, v in plain.data.items() if n not in "xw"}
        size = F.conv_transpose2d(x, w, stride=rest.get("stride", 1), padding=rest.get("pad", 0)).shape
        return case("gradient", note, x=x, w=w, dy=d.normal(*size), **rest)

    return [
        stamped("plain", "stride 1, 3x3 kernel"),
        stamped("plain", "stride 2, stamps overlap by one", stride=2),
        stamped("plain", "one channel to one, stride 2", N=1, C=1, O=1, k=2, stride=2),
        stamped("plain", "as many channels out as in", C=2, O=2, k=4, stride=2, dtype=DOUBLE),
        stamped("pad", "stride 2, pad 1", k=4, stride=2, pad=1),
        stamped("pad", "pad 1, out_pad 1", stride=2, pad=1, out_pad=1),
        stamped("pad", "out_pad 1 beyond the canvas", H=2, W=2, k=2, stride=2, out_pad=1),
        stamped("pad", "stride 3, kernel 2: gaps", k=2, stride=3),
        with_gradients("gradients, stride 2, pad 1", stride=2, pad=1),
    ]


def stamp_gradients(ns, data):
    rest = {name: value for name, value in data.items() if name not in ("x", "w", "dy")}
    return probing.gradients(ns.conv_transpose2d, [data["x"], data["w"]], data["dy"], **rest)[1]


def stamp_library(data):
    more = {"stride": data.get("stride", 1), "padding": data.get("pad", 0), "output_padding": data.get("out_pad", 0)}
    return F.conv_transpose2d(data["x"], data["w"], **more)


def stamp_library_gradients(data):
    x, w = (data[name].detach().clone().requires_grad_() for name in "xw")
    y = F.conv_transpose2d(x, w, stride=data.get("stride", 1), padding=data.get("pad", 0))
    return list(torch.autograd.grad((y * data["dy"]).sum(), [x, w]))


def conv_transpose2d__fold(x, w, stride=1, pad=0, out_pad=0):
    (H, W), k = x.shape[2:], w.shape[2]
    columns = w.flatten(1).T @ x.flatten(2)  # (N, O k k, HW)
    high, wide = (H - 1) * stride + k, (W - 1) * stride + k
    canvas = F.pad(F.fold(columns, (high, wide), k, stride=stride), (0, out_pad, 0, out_pad))
    return canvas[:, :, pad : high + out_pad - pad, pad : wide + out_pad - pad]


def conv_transpose2d__stamps(x, w, stride=1, pad=0, out_pad=0):
    (N, _, H, W), (_, O, k, _) = x.shape, w.shape
    out = torch.zeros(N, O, (H - 1) * stride + k + out_pad, (W - 1) * stride + k + out_pad, dtype=x.dtype)
    for i in range(H):
        for j in range(W):
            stamp = torch.tensordot(x[:, :, i, j], w, dims=1)  # (N, O, k, k)
            a, b = i * stride, j * stride
            out[:, :, a : a + k, b : b + k] = out[:, :, a : a + k, b : b + k] + stamp
    return out[:, :, pad : out.shape[2] - pad, pad : out.shape[3] - pad]


def conv_transpose2d__zeros_between(x, w, stride=1, pad=0, out_pad=0):
    (N, C, H, W), k = x.shape, w.shape[2]
    spread = x.new_zeros(N, C, (H - 1) * stride + 1, (W - 1) * stride + 1)
    spread[:, :, ::stride, ::stride] = x
    y = F.conv2d(spread, w.flip(2, 3).transpose(0, 1), padding=k - 1)
    y = F.pad(y, (0, out_pad, 0, out_pad))
    return y[:, :, pad : y.shape[2] - pad, pad : y.shape[3] - pad]


CONV_TRANSPOSE2D = Exercise(
    name="conv_transpose2d",
    methods=("ch05/transposed_conv",),
    core=True,
    groups={"plain": 1.5, "pad": 1.0, "gradient": 0.5},
    cases=stamp_cases,
    probe={"gradient": stamp_gradients},
    oracle={"plain": stamp_library, "pad": stamp_library, "gradient": stamp_library_gradients},
    forbid=Forbid(names=("F.conv_transpose2d", "nn.ConvTranspose2d", "torch.conv_transpose2d", "torch.autograd")),
    minutes=25,
    difficulty="hard",
    good_for="the layer that enlarges, in decoders and generators",
    hints=(
        "One input pixel, one k x k stamp. Where does its upper left corner go, and what happens where two stamps "
        "meet?",
        "Make a canvas of zeros, (H - 1) * stride + k + out_pad high. Loop over the k * k numbers of the kernel: "
        "number (u, v) of all stamps lies on the rows u, u + stride, ... Add the channels with "
        "einsum('nchw,co->nohw'). Cut at the end.",
        "canvas[:, :, u : u + (H - 1) * stride + 1 : stride, v : v + (W - 1) * stride + 1 : stride] += "
        "torch.einsum('nchw,co->nohw', x, w[:, :, u, v]); at last "
        "canvas[:, :, pad : canvas.shape[2] - pad, pad : canvas.shape[3] - pad]",
    ),
    alternatives=(alternative(conv_transpose2d__fold), alternative(conv_transpose2d__stamps),
                  alternative(conv_transpose2d__zeros_between)),
    misconceptions=(
        slip("overwrites", {"1 : stride] += ink": "1 : stride] = ink"},
             "Where stamps overlap the last one wins. They add up.", "card trap: overlap adds"),
        slip("last_stamp_wins", {"for u in range(k):": "for i in range(H):",
             "for v in range(k):": "for j in range(W):",
             'torch.einsum("nchw,co->nohw", x, w[:, :, u, v])': 'torch.einsum("nc,cokl->nokl", x[:, :, i, j], w)',
             "slice(u, u + (H - 1) * stride + 1, stride)": "slice(i * stride, i * stride + k)",
             "canvas[:, :, rows, v : v + (W - 1) * stride + 1 : stride] += ink":
             "canvas[:, :, rows, j * stride : j * stride + k] = ink"},
             "Where stamps overlap the last one wins. They add up.", "card trap: overlap adds"),
        slip("minus_zero", {"pad : canvas.shape[2] - pad, pad : canvas.shape[3] - pad": "pad:-pad, pad:-pad"},
             "With pad > 0 you are right. With pad = 0 the slice pad:-pad is 0:0 and leaves nothing: end it at the "
             "size minus pad.", "student mistake: -0 is 0"),
        slip("flipped", {"w[:, :, u, v]": "w[:, :, k - 1 - u, k - 1 - v]"},
             "Your stamps are turned by 180 degrees. The kernel is stamped as it is.",
             "card trap: no kernel flip; scipy.signal.convolve2d"),
        slip("no_pad", {"[:, :, pad : canvas.shape[2] - pad, pad : canvas.shape[3] - pad]": ""},
             "Without `pad` you are right. pad rows and columns are cut OFF all four sides: here padding makes the "
             "result smaller.", "card trap: pad crops the output"),
        slip("pads_outwards", {"canvas[:, :, pad : canvas.shape[2] - pad, pad : canvas.shape[3] - pad]":
             "F.pad(canvas, (pad, pad, pad, pad))"},
             "You add `pad` rows. They are cut off: it undoes the padding of a convolution.",
             "card trap: pad crops the output"),
        slip("no_out_pad", {"high + out_pad, wide + out_pad": "high, wide"},
             "out_pad rows and columns fewer are cut at the bottom and on the right, so the result grows by out_pad.",
             "student mistake: optional argument never used"),
        slip("no_stride", {"N, _, H, W = x.shape": "N, _, H, W = x.shape\nstride = 1"},
             "Stride 1 is right. Neighbouring stamps begin `stride` pixels apart.",
             "student mistake: optional argument never used"),
        slip("layout_of_a_convolution",
             {'"nchw,co->nohw"': '"nchw,oc->nohw"', "w.shape[1], w.shape[2]": "w.shape[0], w.shape[2]"},
             "You read w as (out, in, k, k), the layout of a convolution. Here it is (C, O, k, k): in first.",
             "card trap: weight layout of torch"),
        slip("only_one_channel", {'"nchw,co->nohw", x, w[:, :, u, v]': '"nhw,o->nohw", x[:, 0], w[0, :, u, v]'},
             "You use the first input channel only. The stamps of all channels c add up.",
             "student mistake: sum over channels forgotten"),
        slip("cuts_two_sides", {"return canvas[:, :, pad : canvas.shape[2] - pad, pad : canvas.shape[3] - pad]":
                                  "return canvas[:, :, pad:, pad:]"},
             "You cut `pad` off the top and the left only. All four sides lose it, the bottom and the right "
             "`out_pad` less.",
             "student mistake: half of a crop"),
    ),
)  # fmt: skip


def bilinear_cases(d):
    return [
        case("plain", "k = 4", k=4),
        case("plain", "k = 3", k=3),
        case("plain", "another even one", k=2 * d.whole(3, 6)),
        case("plain", "another odd one", k=2 * d.whole(2, 6) + 1),
        case("edge", "k = 1", k=1),
        case("edge", "k = 2", k=2),
        case("edge", "k = 64, as in FCN-32s", k=64),
    ]


def bilinear_library(data):
    """Interpolate a single 1: what it leaves is the kernel."""
    k = data["k"]
    if k == 2:
        return NotImplemented  # f = 1 enlarges nothing
    f = (k + 1) // 2
    ramp = torch.cat([torch.arange(1, f + 1), torch.arange(f - 1, 0, -1)]).double() / f  # 1/f ... 1 ... 1/f
    if k % 2 == 0:
        one = torch.zeros(1, 1, 3, dtype=DOUBLE)
        one[0, 0, 1] = 1
        ramp = F.interpolate(one, scale_factor=f, mode="linear", align_corners=False)[0, 0]
        ramp = ramp[(3 * f - k) // 2 : (3 * f + k) // 2]
    return {"kernel": torch.outer(ramp, ramp), "in float64": True}


def bilinear_probe(ns, data):
    kernel = probing.call(ns.bilinear_kernel, data["k"])
    return {"kernel": kernel, "in float64": getattr(kernel, "dtype", None) == torch.float64}


def bilinear_kernel__loops(k):
    f = (k + 1) // 2
    c = (2 * f - 1 - f % 1) / 2 if k % 2 == 0 else f - 1
    g = [1 - abs(i - c) / f for i in range(k)]
    return torch.tensor([[a * b for b in g] for a in g], dtype=torch.float64)


def bilinear_kernel__middle(k):
    away = (torch.arange(k, dtype=torch.float64) - (k - 1) / 2).abs()  # the middle, for even and odd k alike
    g = 1 - away / ((k + 1) // 2)
    return torch.outer(g, g)


BILINEAR_KERNEL = Exercise(
    name="bilinear_kernel",
    methods=("ch05/transposed_conv",),
    groups={"plain": 1.0, "edge": 0.5},
    cases=bilinear_cases,
    probe=bilinear_probe,
    oracle=bilinear_library,
    minutes=10,
    difficulty="easy",
    good_for="seeing that interpolation is a transposed convolution",
    hints=(
        "Write down g for k = 4 by hand: f = 2, c = 1.5. Which four numbers come out?",
        "torch.arange(k) gives all i at once. The kernel is the outer product of g with itself.",
        "g = 1 - (torch.arange(k, dtype=torch.float64) - c).abs() / f; return g[:, None] * g",
    ),
    alternatives=(alternative(bilinear_kernel__loops), alternative(bilinear_kernel__middle)),
    misconceptions=(
        slip("same_middle", {"f - 1 if k % 2 else f - 0.5": "f - 1"},
             "Odd k are right. For even k the middle lies between two pixels: c = f - 1/2.",
             "card trap: centre for even k"),
        slip("float32", {"dtype=torch.float64": "dtype=torch.float32"},
             "The numbers are right, but in float32: give arange the dtype torch.float64.",
             "student mistake: default dtype"),
        slip("factor_rounds_down", {"(k + 1) // 2": "max(k // 2, 1)"},
             "Even k are right. f = (k + 1) // 2: for k = 3 that is 2.", "card trap: factor of odd k"),
        slip("normalised", {"return g[:, None] * g": "return g[:, None] * g / (g.sum() ** 2)"},
             "Your numbers sum to 1. They need not: it is the overlapping stamps that add up to 1 at every pixel.",
             "student mistake: smoothing kernel"),
        slip("pyramid", {"return g[:, None] * g": "return torch.minimum(g[:, None], g[None])"},
             "Entry (i, j) is the product of g(i) and g(j), not the smaller one.",
             "student mistake: cone for a product"),
        slip("too_wide", {"- c).abs() / f": "- c).abs() / (f + 1)"},
             "g reaches 0 at the distance f from the middle: divide by f.", "student mistake: off by one"),
        slip("half_of_k", {"c = f - 1 if k % 2 else f - 0.5": "c = k / 2"},
             "Your middle lies at k / 2, half a pixel too far: indices begin at 0, so it is f - 1 for odd k and f - "
             "1/2 for even k, which is (k - 1) / 2 both times.", "student mistake: off by half"),
    ),
)  # fmt: skip


def unpool_cases(d):
    def switches(note, H, W, N=2, C=3, group="switches", dtype=torch.float32):
        picture = d.permutation(N * C * H * W).reshape(N, C, H, W).float()
        x, indices = F.max_pool2d(picture, 2, return_indices=True)
        return case(group, note, x=d.normal(*x.shape, dtype=dtype), indices=indices, out_size=(H, W))

    return [
        case("nearest", "nearest, 2x2 squares", x=d.normal(2, 3, 3, 4), ask="unpool_nearest"),
        case("nearest", "nearest, 3x3 squares", x=d.normal(1, 2, 2, 3), s=3, ask="unpool_nearest"),
        case("nails", "nails, 2x2 squares", x=d.normal(2, 3, 3, 4), ask="bed_of_nails"),
        case("nails", "nails, 3x3 squares, float64", x=d.normal(1, 2, 2, 3, dtype=DOUBLE), s=3, ask="bed_of_nails"),
        switches("back to 6 x 8, float64", 6, 8, dtype=DOUBLE),
        switches("back to 7 x 5, odd sizes", 7, 5),
        switches("one picture, one channel", 4, 4, N=1, C=1),
        switches("gradient", 6, 5, group="gradient"),
    ]


def nearest_probe(ns, data):
    return ns.unpool_nearest(**data)


def nails_probe(ns, data):
    return ns.bed_of_nails(**data)


def switch_gradients(ns, data):
    y = torch.arange(data["out_size"][0] * data["out_size"][1]).to(data["x"].dtype).reshape(data["out_size"])
    weights = y.expand(*data["x"].shape[:2], *data["out_size"])
    return probing.gradients(ns.max_unpool2d, [data["x"], data["indices"], data["out_size"]], weights)[1]


def nearest_library(data):
    return F.interpolate(data["x"], scale_factor=data.get("s", 2), mode="nearest")


def nails_library(data):
    s, C = data.get("s", 2), data["x"].shape[1]
    nail = torch.zeros(C, 1, s, s, dtype=data["x"].dtype)
    nail[:, :, 0, 0] = 1
    return F.conv_transpose2d(data["x"], nail, stride=s, groups=C)


def switch_library(data):
    return F.max_unpool2d(data["x"], data["indices"], 2, output_size=data["out_size"])


def unpool_nearest__kron(x, s=2):
    return torch.kron(x, torch.ones(1, 1, s, s, dtype=x.dtype))


def bed_of_nails__kron(x, s=2):
    nail = torch.zeros(1, 1, s, s, dtype=x.dtype)
    nail[..., 0, 0] = 1
    return torch.kron(x, nail)


def max_unpool2d__index_put(x, indices, out_size):
    N, C = x.shape[:2]
    out = torch.zeros(N, C, *out_size, dtype=x.dtype)
    n, c = torch.meshgrid(torch.arange(N), torch.arange(C), indexing="ij")
    n, c = n[..., None, None].expand_as(indices), c[..., None, None].expand_as(indices)
    return out.index_put((n, c, indices // out_size[1], indices % out_size[1]), x)


def unpool_nearest__expand(x, s=2):
    N, C, h, w = x.shape
    return x[:, :, :, None, :, None].expand(N, C, h, s, w, s).reshape(N, C, h * s, w * s)


def bed_of_nails__pad(x, s=2):
    N, C, h, w = x.shape
    return F.pad(x[:, :, :, None, :, None], (0, s - 1, 0, 0, 0, s - 1)).reshape(N, C, h * s, w * s)


def max_unpool2d__loops(x, indices, out_size):
    planes = []
    for plane, places in zip(x.flatten(0, 1), indices.flatten(0, 1)):
        flat = torch.zeros(out_size[0] * out_size[1], dtype=x.dtype)
        planes.append(flat.index_add(0, places.flatten(), plane.flatten()).reshape(out_size))
    return torch.stack(planes).reshape(*x.shape[:2], *out_size)


UNPOOLING = Exercise(
    name="max_unpool2d",
    defines=("unpool_nearest", "bed_of_nails", "max_unpool2d"),
    methods=("ch05/unpooling",),
    core=True,
    groups={"nearest": 0.5, "nails": 0.5, "switches": 1.5, "gradient": 0.5},
    cases=unpool_cases,
    probe={"unpool_nearest": nearest_probe, "bed_of_nails": nails_probe, "gradient": switch_gradients},
    oracle={"unpool_nearest": nearest_library, "bed_of_nails": nails_library, "switches": switch_library},
    forbid=Forbid(names=("F.max_unpool2d", "nn.MaxUnpool2d", "F.interpolate", "nn.Upsample")),
    minutes=15,
    difficulty="medium",
    good_for="going up without weights; SegNet's memory",
    hints=(
        "Where in a 2x2 square may the value go? Each of the three functions answers differently. What does an index "
        "say about row and column?",
        "repeat_interleave twice; a canvas of zeros with the steps ::s; for the third, a flat canvas (N, C, H * W) and "
        "scatter along its last axis.",
        "x.new_zeros(N, C, H * W).scatter(2, indices.flatten(2), x.flatten(2)).reshape(N, C, H, W)",
    ),
    alternatives=(
        alternative(unpool_nearest__kron, bed_of_nails__kron, max_unpool2d__index_put, name="kron"),
        alternative(unpool_nearest__expand, bed_of_nails__pad, max_unpool2d__loops, name="planes"),
    ),
    misconceptions=(
        slip("tiles", {"x.repeat_interleave(s, 2).repeat_interleave(s, 3)": "x.repeat(1, 1, s, s)"},
             "unpool_nearest: you lay the whole picture s times beside itself. Each pixel grows into a square: "
             "repeat_interleave.", "library difference: repeat and repeat_interleave"),
        slip("lower_right", {"out[:, :, ::s, ::s] = x": "out[:, :, s - 1 :: s, s - 1 :: s] = x"},
             "bed_of_nails: the value goes into the upper left corner of its square.",
             "student mistake: other corner"),
        slip("forgets_odd_sizes", {"H, W = out_size": "H, W = 2 * x.shape[2], 2 * x.shape[3]"},
             "max_unpool2d: even sizes are right. Where a row was cut off by pooling, only out_size tells how large "
             "the map was; the indices count in its width.", "card trap: out_size 7 from 3"),
        slip("through_the_batch", {"flat.scatter(2, indices.flatten(2), x.flatten(2))":
             "flat.flatten().scatter(0, indices.flatten(), x.flatten())"},
             "max_unpool2d: the indices begin anew in every channel of every picture. You count through all of them: "
             "everything lands in the first channel.", "student mistake: indices without their plane"),
        slip("float32", {"x.new_zeros(*x": "torch.zeros(*x", "x.new_zeros(N, C, H * W)": "torch.zeros(N, C, H * W)",
             "x.flatten(2))": "x.flatten(2).float())"},
             "float32 is right. For float64 numbers, bed_of_nails and max_unpool2d need a canvas in the dtype of x: "
             "x.new_zeros.", "student mistake: default dtype"),
        slip("one_channel_for_all", {"indices.flatten(2)": "indices[:, :1].expand_as(x).flatten(2)"},
             "max_unpool2d: every channel has maxima of its own. You use the places of channel 0 for all.",
             "card trap: channels differ in arg max"),
        slip("no_gradient", {"x.flatten(2))": "x.detach().flatten(2))"},
             "max_unpool2d: the values are right, but no gradient comes through.", "card trap: differentiable in x"),
        slip("nails_for_all", {"flat.scatter(2, indices.flatten(2), x.flatten(2)).reshape(N, C, H, W)":
             "F.pad(bed_of_nails(x), (0, W - 2 * x.shape[3], 0, H - 2 * x.shape[2]))"},
             "max_unpool2d: you put every value into the upper left corner. `indices` says where it belongs.",
             "student mistake: indices ignored"),
        slip("nails_in_the_middle", {"out[:, :, ::s, ::s] = x": "out[:, :, s // 2 :: s, s // 2 :: s] = x"},
             "bed_of_nails: your nails stand in the middle of the squares. They belong into the upper left corner.",
             "student mistake: the centre of the square"),
    ),
)  # fmt: skip
