"""Exercises of notebook 1: from a picture to a sequence of tokens with positions."""

import torch
import torch.nn.functional as F

from autograder.declare import Exercise, alternative, case, mistaken, slip
from autograder.declare.exercise import Variant

DOUBLE = torch.float64


def patchify_cases(d):
    return [
        case("patches", "two colour pictures, 4 x 6 pixels, p = 2", x=d.normal(2, 3, 4, 6), p=2),
        case("patches", "grey, 6 x 3, p = 3", x=d.normal(3, 1, 6, 3), p=3),
        case("patches", "two channels, 8 x 4, p = 4", x=d.normal(1, 2, 8, 4), p=4),
        case("edge", "patches of a single pixel", x=d.normal(2, 3, 2, 3), p=1),
        case("edge", "one patch, as large as the picture", x=d.normal(2, 3, 4, 4), p=4),
        case("edge", "channels last in memory", x=d.normal(2, 3, 4, 6).to(memory_format=torch.channels_last), p=2),
        case("edge", "rows do not fit", x=d.normal(1, 1, 5, 4), p=2),
        case("edge", "columns do not fit", x=d.normal(1, 1, 4, 7), p=2),
        case("edge", "neither fits", x=d.normal(1, 1, 5, 7), p=2),
    ]


def patchify_library(data):
    x, p = data["x"], data["p"]
    if x.shape[2] % p or x.shape[3] % p:
        raise ValueError("p")
    return F.unfold(x, p, stride=p).transpose(1, 2)


def patchify__unfolded(x, p):
    B, C, H, W = x.shape
    if H % p != 0 or W % p != 0:
        raise ValueError("patches do not fill the picture")
    parts = x.unfold(2, p, p).unfold(3, p, p)  # (B, C, rows, columns, p, p)
    return parts.permute(0, 2, 3, 1, 4, 5).reshape(B, (H // p) * (W // p), C * p * p)


def patchify__loops(x, p):
    if x.shape[2] % p or x.shape[3] % p:
        raise ValueError("patches do not fill the picture")
    rows = []
    for top in range(0, x.shape[2], p):
        for left in range(0, x.shape[3], p):
            rows.append(x[:, :, top : top + p, left : left + p].flatten(1))
    return torch.stack(rows, dim=1)


def patchify__reshaped(x, p):
    B, C, H, W = x.shape
    if H % p or W % p:
        raise ValueError("patches do not fill the picture")
    return x.reshape(B, (H // p) * (W // p), C * p * p)


PATCHIFY = Exercise(
    name="patchify",
    methods=("ch12/vit_patch_embed",),
    core=True,
    groups={"patches": 2.0, "edge": 1.0},
    cases=patchify_cases,
    oracle=patchify_library,
    minutes=12,
    difficulty="easy",
    good_for="the one step that makes a sequence of a picture",
    alternatives=(alternative(patchify__unfolded), alternative(patchify__loops)),
    misconceptions=(
        slip("columns_first", {"-> b (i j)": "-> b (j i)"},
             "Your patches go down the columns. Reading order: the top row of patches first, from left to right.",
             "card trap: column-major order, invisible on square grids of equal patches"),
        slip("channels_last", {"(c u v)": "(u v c)"},
             "Your rows hold the pixels with their channels beside each other (p, p, C). Here all of channel 0 comes "
             "first (C, p, p), as a convolution keeps its weights.", "library difference: the official JAX code"),
        slip("transposed_patch", {"(c u v)": "(c v u)"},
             "Inside a patch you write columns before rows: every patch is transposed.", "student mistake: axes"),
        slip("strided", {"(i u) (j v) ->": "(u i) (v j) ->"},
             "Your patch takes every p-th pixel of the whole picture. A patch is a square of neighbours: the patch "
             "number is the outer index, the pixel within it the inner one.", "student mistake: (i u) and (u i)"),
        slip("unchecked", {"if H % p or W % p:": "if False:"},
             "Where p does not divide H or W there must be a ValueError with a sentence of yours.",
             "card trap: not divisible"),
        slip("rows_only", {"if H % p or W % p:": "if H % p:"},
             "You check the rows alone. The columns must fit, too.", "student mistake: one side checked"),
        mistaken(patchify__reshaped,
                 "A reshape alone cuts the list of numbers, not the picture: two pixels of one column lie W numbers "
                 "apart. Split both axes, then permute.", "student mistake: reshape without permute"),
        slip("and_for_or", {"H % p or W % p": "H % p and W % p"},
             "You complain only where neither side fits. One that does not fit is enough.", "student mistake: and, or"),
    ),
    hints=(
        "Row y of the picture is pixel u of patch row i. How do you write y with i, p and u?",
        "Split both axes: H into (H/p, p), W into (W/p, p). Bring the two patch axes in front of the channels, and "
        "flatten what is left of each patch.",
        'rearrange(x, "b c (i u) (j v) -> b (i j) (c u v)", u=p, v=p), after a check of H % p and W % p',
    ),
)  # fmt: skip


def unpatchify_cases(d):
    return [
        case("pictures", "4 x 6 pixels, three channels", patches=d.normal(2, 6, 12), p=2, size=(4, 6)),
        case("pictures", "6 x 3, one channel", patches=d.normal(1, 2, 9), p=3, size=(6, 3)),
        case("pictures", "8 x 4, two channels", patches=d.normal(3, 2, 32), p=4, size=(8, 4)),
        case("edge", "single pixels", patches=d.normal(2, 6, 3), p=1, size=(2, 3)),
        case("edge", "one patch too few", patches=d.normal(1, 5, 4), p=2, size=(4, 6)),
        case("edge", "sides that p does not divide", patches=d.normal(1, 4, 4), p=2, size=(5, 5)),
    ]


def unpatchify_library(data):
    patches, p, (H, W) = data["patches"], data["p"], data["size"]
    if H % p or W % p or patches.shape[1] * p * p != H * W:
        raise ValueError("size")
    return F.fold(patches.transpose(1, 2), (H, W), p, stride=p)


def unpatchify__permuted(patches, p, size):
    rows, columns = size[0] // p, size[1] // p
    if (rows * p, columns * p) != tuple(size) or rows * columns != patches.shape[1]:
        raise ValueError("these patches are not such a picture")
    parts = patches.reshape(len(patches), rows, columns, -1, p, p).permute(0, 3, 1, 4, 2, 5)
    return parts.reshape(len(patches), -1, *size)


def unpatchify__pasted(patches, p, size):
    H, W = size
    if H % p or W % p or patches.shape[1] != H * W // p**2:
        raise ValueError("these patches are not such a picture")
    out = patches.new_zeros(len(patches), patches.shape[2] // p**2, H, W)
    for n in range(patches.shape[1]):
        top, left = p * (n // (W // p)), p * (n % (W // p))
        out[:, :, top : top + p, left : left + p] = patches[:, n].reshape(len(patches), -1, p, p)
    return out


def unpatchify__reshaped(patches, p, size):
    H, W = size
    if H % p or W % p or patches.shape[1] != H * W // p**2:
        raise ValueError("these patches are not such a picture")
    return patches.reshape(len(patches), -1, H, W)


UNPATCHIFY = Exercise(
    name="unpatchify",
    methods=("ch12/vit_patch_embed",),
    groups={"pictures": 1.0, "edge": 0.5},
    cases=unpatchify_cases,
    oracle=unpatchify_library,
    minutes=8,
    difficulty="easy",
    good_for="seeing that patches lose nothing",
    alternatives=(alternative(unpatchify__permuted), alternative(unpatchify__pasted)),
    misconceptions=(
        slip("columns_first", {"b (i j) (c u v) ->": "b (j i) (c u v) ->"},
             "You lay the patches down the columns. Patch 1 stands to the right of patch 0.", "card trap: order"),
        slip("channels_last", {"(c u v) ->": "(u v c) ->"},
             "You read a row as (p, p, C). `patchify` wrote all of channel 0 first.", "library difference: JAX"),
        slip("transposed_patch", {"(c u v) ->": "(c v u) ->"},
             "Every patch of yours is transposed: rows before columns.", "student mistake: axes"),
        slip("interleaved", {"(i u) (j v)": "(u i) (v j)"},
             "You interleave the patches pixel by pixel. The patch number is the outer index: (i u).",
             "student mistake: (i u) and (u i)"),
        mistaken(unpatchify__reshaped,
                 "A reshape alone lays the numbers of one patch side by side, along the rows of the picture. Split "
                 "both axes, then permute.", "student mistake: reshape without permute"),
        slip("sides_swapped", {"i=H // p": "i=W // p"},
             "You count the rows of patches by the width. i runs to H // p.", "student mistake: H and W swapped"),
        slip("unchecked", {"if H % p or W % p or patches.shape[1] != (H // p) * (W // p):": "if False:"},
             "Patches that are no picture of this size must raise a ValueError.", "card trap: not divisible"),
    ),
    hints=(
        "patchify's pattern, read from right to left: what is missing that the letters alone do not tell?",
        "The numbers of patch rows and of pixels: i = H // p, u = v = p. The rest follows.",
        'rearrange(patches, "b (i j) (c u v) -> b c (i u) (j v)", i=H // p, u=p, v=p), after the check',
    ),
)  # fmt: skip


def embed_cases(d):
    def drawn(B, C, H, W, p, D, dtype=torch.float32):
        return {"x": d.normal(B, C, H, W, dtype=dtype), "weight": d.normal(D, C, p, p, dtype=dtype),
                "bias": d.normal(D, dtype=dtype)}  # fmt: skip

    return [
        case("tokens", "colour, 4 x 6 pixels, 5 numbers a token", **drawn(2, 3, 4, 6, 2, 5)),
        case("tokens", "grey, 6 x 3, float64", **drawn(1, 1, 6, 3, 3, 4, DOUBLE)),
        case("edge", "as many numbers as channels", **drawn(2, 3, 4, 4, 2, 3)),
        case("edge", "one patch", **drawn(1, 2, 2, 2, 2, 3)),
    ]


def embed_library(data):
    out = F.conv2d(data["x"], data["weight"], data["bias"], stride=data["weight"].shape[-1])
    return out.flatten(2).transpose(1, 2)


def embed_patches__convolved(x, weight, bias):
    maps = F.conv2d(x, weight, bias, stride=weight.shape[2:])
    return torch.stack([m.flatten(1).T for m in maps])


def embed_patches__summed(x, weight, bias):
    rows = patchify(x, weight.shape[2])
    return torch.einsum("bnk,dk->bnd", rows, weight.reshape(len(weight), -1)) + bias


def patchify__standin(x, p):
    if x.shape[2] % p or x.shape[3] % p:
        raise ValueError("p")
    return F.unfold(x, p, stride=p).mT


EMBED_PATCHES = Exercise(
    name="embed_patches",
    methods=("ch12/vit_patch_embed",),
    groups={"tokens": 1.0, "edge": 0.5},
    cases=embed_cases,
    oracle=embed_library,
    uses=("patchify",),
    standins=(Variant(name="patchify", code=(patchify__standin,)),),
    minutes=6,
    difficulty="easy",
    good_for="recognising a convolution in a linear layer",
    alternatives=(alternative(embed_patches__convolved), alternative(embed_patches__summed)),
    misconceptions=(
        slip("no_bias", {", bias)": ")"}, "The bias is missing: add it.", "student mistake: bias left out"),
        slip("channels_last", {"weight.flatten(1)": "weight.permute(0, 2, 3, 1).flatten(1)"},
             "You flatten the weights as (p, p, C). A row of `patchify` is (C, p, p), and so is weight[d].",
             "library difference: the official JAX code"),
        slip("transposed", {"weight.flatten(1)": "weight.transpose(2, 3).flatten(1)"},
             "You flatten every kernel by columns. Rows first, like the patch.", "student mistake: axes"),
        slip("flipped", {"weight.flatten(1)": "weight.flip(2, 3).flatten(1)"},
             "You flip the kernel. The layers of libraries multiply without flipping.", "student mistake: convolution"),
        slip("scaled", {"F.linear(patchify(x, weight.shape[-1])":
             "F.linear(patchify(x, weight.shape[-1]) / weight.shape[-1]"},
             "You divide the pixels by p. A token is E x_p + b, nothing else.", "student mistake: a mean for a sum"),
    ),
    hints=(
        "weight[d] is a C x p x p box of numbers. What is the score of a patch with it, if both are flattened alike?",
        "patchify(x, p) has rows of C*p*p numbers; weight.flatten(1) is the matrix E with D rows.",
        "return F.linear(patchify(x, p), weight.flatten(1), bias) with p = weight.shape[-1]",
    ),
)  # fmt: skip


def tokens_cases(d):
    def drawn(B, N, D):
        return {"patches": d.normal(B, N, D), "cls": d.normal(1, 1, D), "pos": d.normal(1, N + 1, D)}

    return [
        case("tokens", "two pictures of four patches", **drawn(2, 4, 3)),
        case("tokens", "three pictures of six patches", **drawn(3, 6, 2)),
        case("tokens", "one picture, one patch", **drawn(1, 1, 4)),
        case("gradient", "gradients of all three", **drawn(3, 4, 3), dy=d.normal(3, 5, 3)),
        case("gradient", "gradients, one picture", **drawn(1, 2, 3), dy=d.normal(1, 3, 3)),
    ]


def tokens_gradients(ns, data):
    inputs = [data["patches"], data["cls"], data["pos"]]
    value, found = probing.gradients(ns.add_tokens, inputs, data["dy"])
    return {"tokens": value, "gradient of patches": found[0], "gradient of cls": found[1], "gradient of pos": found[2]}


def tokens_library(data):
    patches = data["patches"]
    rows = [torch.vstack([data["cls"][0], picture]) + data["pos"][0] for picture in patches]
    return torch.stack(rows)


def add_tokens__repeated(patches, cls, pos):
    first = cls.repeat(patches.shape[0], 1, 1)
    return torch.hstack([first, patches]) + pos


def add_tokens__apart(patches, cls, pos):
    first = (cls + pos[:, :1]) * torch.ones_like(patches[:, :1])
    return torch.cat([first, patches + pos[:, 1:]], dim=1)


ADD_TOKENS = Exercise(
    name="add_tokens",
    methods=("ch12/vit_tokens",),
    core=True,
    groups={"tokens": 1.5, "gradient": 0.5},
    cases=tokens_cases,
    probe={"gradient": tokens_gradients},
    oracle=tokens_library,
    minutes=8,
    difficulty="easy",
    good_for="what the asterisk of the slide is",
    alternatives=(alternative(add_tokens__repeated), alternative(add_tokens__apart)),
    misconceptions=(
        slip("appended", {"[cls.expand(B, 1, D), patches]": "[patches, cls.expand(B, 1, D)]"},
             "You put the class token at the end. The slide says appended, but its number is 0: it stands in front.",
             "card trap: appended means prepended"),
        slip("no_position_for_cls", {"torch.cat([cls.expand(B, 1, D), patches], dim=1) + pos":
             "torch.cat([cls.expand(B, 1, D), patches + pos[:, 1:]], dim=1)"},
             "Your class token gets no position. It is token 0 and has position 0.", "card trap: cls gets pos[0]"),
        slip("no_positions", {"dim=1) + pos": "dim=1)"},
             "The positions are missing: without them the model cannot tell where a patch was.",
             "student mistake: positions left out"),
        slip("shifted", {"dim=1) + pos": "dim=1) + pos.roll(1, 1)"},
             "Your positions are one place off: token n gets position n.", "student mistake: off by one"),
        slip("detached", {"cls.expand": "cls.detach().expand"},
             "The numbers are right, but no gradient reaches the class token. It is trained: do not detach it, and do "
             "not copy it into a new tensor.", "card trap: the class token is a trainable vector"),
        slip("detached_positions", {"dim=1) + pos": "dim=1) + pos.detach()"},
             "The numbers are right, but no gradient reaches the positions. They are trained, too.",
             "student mistake: positions taken for constants"),
        slip("one_position", {"dim=1) + pos": "dim=1) + pos.mean(1, keepdim=True)"},
             "All tokens get one and the same position. Each place has a vector of its own.",
             "student mistake: positions averaged"),
        slip("zeros", {"cls.expand(B, 1, D)": "patches.new_zeros(B, 1, D)"},
             "You put zeros in front. The class token is a vector of its own: cls.", "student mistake: initial value"),
    ),
    hints=(
        "cls is there once. How does every picture of the batch get it without copying numbers?",
        "cls.expand(B, 1, D), torch.cat along the axis of the tokens, and one addition of pos for all pictures.",
        "return torch.cat([cls.expand(len(patches), 1, -1), patches], dim=1) + pos",
    ),
)  # fmt: skip


def resize_cases(d):
    def drawn(old, new, D=3, dtype=torch.float32):
        return {"pos": d.normal(1, old[0] * old[1] + 1, D, dtype=dtype), "old": old, "new": new}

    return [
        case("grids", "from 3 x 3 to 5 x 5", **drawn((3, 3), (5, 5))),
        case("grids", "not square, and wider", **drawn((2, 4), (3, 8), 2)),
        case("grids", "smaller", **drawn((6, 4), (3, 2), 2)),
        case("edge", "the same grid", **drawn((2, 3), (2, 3), 4)),
        case("edge", "same number, other shape", **drawn((2, 6), (6, 2), 2)),
        case("edge", "positions that are no such grid", **(drawn((3, 3), (4, 4)) | {"old": (3, 4)})),
    ]


def resize_pos__moved(pos, old, new):
    D = pos.shape[2]
    if pos.shape[1] != 1 + old[0] * old[1]:
        raise ValueError("no such grid")
    grid = pos[:, 1:].reshape(1, *old, D).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, tuple(new), mode="bicubic")
    return torch.cat([pos[:, :1], grid.permute(0, 2, 3, 1).reshape(1, new[0] * new[1], D)], dim=1)


def resize_pos__one_by_one(pos, old, new):
    if pos.shape[1] - 1 != old[0] * old[1]:
        raise ValueError("no such grid")
    maps = pos[0, 1:].T.reshape(-1, 1, old[0], old[1])  # every number of a position as a grey picture
    maps = F.interpolate(maps, size=(new[0], new[1]), mode="bicubic", align_corners=False)
    return torch.vstack([pos[0, :1], maps.flatten(1).T])[None]


def resize_pos__reshaped(pos, old, new):
    D = pos.shape[2]
    if pos.shape[1] - 1 != old[0] * old[1]:
        raise ValueError("no such grid")
    grid = F.interpolate(pos[:, 1:].reshape(1, D, *old), size=new, mode="bicubic", align_corners=False)
    return torch.cat([pos[:, :1], grid.reshape(1, -1, D)], dim=1)


RESIZE_POS = Exercise(
    name="resize_pos",
    methods=("ch12/vit_tokens",),
    groups={"grids": 1.5, "edge": 0.5},
    cases=resize_cases,
    minutes=12,
    difficulty="medium",
    good_for="running a trained model on larger pictures",
    alternatives=(alternative(resize_pos__moved), alternative(resize_pos__one_by_one)),
    misconceptions=(
        slip("corners", {"align_corners=False": "align_corners=True"},
             "You pin the corners together: that is torchvision's way. The text wants align_corners=False, timm's.",
             "library difference: torchvision's interpolate_embeddings"),
        slip("bilinear", {'mode="bicubic"': 'mode="bilinear"'},
             "You interpolate with straight lines. The text wants mode='bicubic'.", "student mistake: mode"),
        slip("antialiased", {"align_corners=False": "align_corners=False, antialias=True"},
             "Larger grids are right, smaller ones are not: you blur before you shrink. Leave antialias out.",
             "library difference: timm's default"),
        slip("sides_swapped", {'"b (i j) d -> b d i j", i=old[0]': '"b (i j) d -> b d i j", i=old[1]'},
             "You count the rows of the old grid by its columns. old is (rows, columns): i runs to old[0].",
             "student mistake: rows and columns swapped"),
        mistaken(resize_pos__reshaped,
                 "You reshape (N, D) to (D, rows, columns): that cuts the list of numbers, not the positions. Move the "
                 "axis of the D numbers to the front first.", "student mistake: reshape without permute"),
        slip("columns_first", {'"b (i j) d -> b d i j", i=old[0]': '"b (j i) d -> b d i j", i=old[0]'},
             "You lay the positions down the columns of the old grid. Reading order: row by row.", "card trap: order"),
        slip("written_by_columns", {'"b d i j -> b (i j) d"': '"b d i j -> b (j i) d"'},
             "You read the new grid column by column. Reading order: row by row.", "card trap: order"),
        slip("no_cls", {"[first, rearrange(": "[first[:, :0], rearrange("},
             "The class token's position is missing from the answer.", "card trap: cls untouched"),
        slip("moved_cls", {"return torch.cat([first,": "return torch.cat([first + grid.mean((2, 3))[:, None],"},
             "Position 0 belongs to the class token and stays as it is.", "card trap: cls untouched"),
        slip("unchecked", {"if rest.shape[1] != old[0] * old[1]:":
             "old = old if rest.shape[1] == old[0] * old[1] else (old[0], old[0])\nif False:"},
             "Positions that do not fill the old grid must raise a ValueError.", "card trap: not a grid"),
    ),
    hints=(
        "F.interpolate wants pictures (B, C, H, W). What are here the rows, the columns and the channels?",
        "Set position 0 aside. The others: (1, N, D) -> (1, D, rows, columns), interpolate, and back.",
        'grid = rearrange(pos[:, 1:], "b (i j) d -> b d i j", i=old[0]); grid = F.interpolate(grid, size=new, '
        'mode="bicubic", align_corners=False); put pos[:, :1] in front of rearrange(grid, "b d i j -> b (i j) d")',
    ),
)  # fmt: skip
