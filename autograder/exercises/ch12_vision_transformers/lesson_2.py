"""Exercises of notebook 2: the first output token, the first row of A, and a judge for maps."""

import torch
import torch.nn.functional as F
from torch import nn

from autograder.declare import Exercise, alternative, case, slip
from autograder.declare.probes import shipped

DOUBLE = torch.float64


def classify_cases(d):
    def drawn(B, N, D, K):
        return {"z": d.normal(B, N + 1, D), "weight": d.normal(K, D), "bias": d.normal(K)}

    return [
        case("token", "three pictures, four patches", **drawn(3, 4, 5, 3), pool="token"),
        case("token", "the default", **drawn(2, 6, 3, 4)),
        case("avg", "the mean of four patches", **drawn(3, 4, 5, 3), pool="avg"),
        case("avg", "one picture, one patch", **drawn(1, 1, 3, 2), pool="avg"),
        case("avg", "a head that bends", **drawn(2, 3, 4, 3), pool="avg", bend=True),
        case("avg", "a pool that is not known", **drawn(1, 2, 3, 2), pool="max"),
    ]


def classify_probe(ns, data):
    """Hand over a linear head, or one whose scores of a mean are not the mean of scores."""
    bent = torch.tanh if data.get("bend") else torch.Tensor.clone
    head = lambda h: bent(F.linear(h, data["weight"], data["bias"]))  # noqa: E731
    more = {"pool": data["pool"]} if "pool" in data else {}
    return probing.call(ns.classify, data["z"], head, **more)


def classify_library(data):
    pool = data.get("pool", "token")
    if pool not in ("token", "avg"):
        raise ValueError(pool)
    z = data["z"].transpose(1, 2)  # (B, D, N + 1)
    h = z[..., 0] if pool == "token" else F.adaptive_avg_pool1d(z[..., 1:], 1)[..., 0]
    scores = h @ data["weight"].T + data["bias"]
    return scores.tanh() if data.get("bend") else scores


def classify__branches(z, head, pool="token"):
    if pool == "token":
        return head(z[:, 0, :])
    if pool == "avg":
        return head(torch.mean(z[:, 1:, :], dim=1))
    raise ValueError(f"unknown pool {pool}")


def classify__weighted(z, head, pool="token"):
    weights = torch.zeros(z.shape[1], dtype=z.dtype)
    if pool == "token":
        weights[0] = 1
    elif pool == "avg":
        weights[1:] = 1 / (z.shape[1] - 1)
    else:
        raise ValueError("unknown pool")
    return head(torch.einsum("n,bnd->bd", weights, z))


CLASSIFY = Exercise(
    name="classify",
    methods=("ch12/vit_class_output",),
    groups={"token": 0.5, "avg": 1.0},
    cases=classify_cases,
    probe=classify_probe,
    oracle=classify_library,
    minutes=6,
    difficulty="easy",
    good_for="two ways to make one vector of many tokens",
    alternatives=(alternative(classify__branches), alternative(classify__weighted)),
    misconceptions=(
        slip("mean_of_all", {"z[:, 1:].mean(1)": "z.mean(1)"},
             "Your mean holds the class token, too. Average the patch tokens alone: z[:, 1:].",
             "card trap: GAP without the class token"),
        slip("last_token", {"z[:, 0] if": "z[:, -1] if"},
             "You take the last token. The class token stands in front.", "student mistake: appended"),
        slip("sum", {"z[:, 1:].mean(1)": "z[:, 1:].sum(1)"},
             "You add the patches up. A mean also divides by their number.", "student mistake: sum for mean"),
        slip("head_first", {'head(z[:, 0] if pool == "token" else z[:, 1:].mean(1))':
             'head(z)[:, 0] if pool == "token" else head(z[:, 1:]).mean(1)'},
             "You average scores. Average the tokens first: the head gets one vector a picture, and it may be any "
             "function.", "student mistake: right for linear heads alone"),
        slip("second_token", {"z[:, 0] if": "z[:, 1] if"},
             "You take token 1, the first patch. The class token is token 0.", "student mistake: counting from 1"),
        slip("wrong_axis", {"z[:, 1:].mean(1)": "z[:, 1:].mean(2).mean(1, keepdim=True).expand(len(z), z.shape[2])"},
             "You average over the D numbers as well. The mean runs over the tokens, axis 1.", "student mistake: axis"),
        slip("unchecked", {'if pool not in ("token", "avg"):': "if False:"},
             "A pool that is neither must raise a ValueError, or a typing error goes unnoticed.",
             "card trap: unknown pool"),
    ),
    hints=(
        "Which tokens are patches?",
        'z[:, 0] is the class token, z[:, 1:] are the patches; mean(1) averages over them. Check pool first.',
        'h = z[:, 0] if pool == "token" else z[:, 1:].mean(1); return head(h)',
    ),
)  # fmt: skip


@shipped
class PlainBlock(nn.Module):
    """A block with the names of timm's, whose MLP notes what it was given."""

    def __init__(self, width, heads, phase, dtype):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = nn.Module()
        self.attn.num_heads = heads
        self.attn.qkv, self.attn.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        with torch.no_grad():
            for name, value in self.named_parameters():
                wave = torch.sin(
                    torch.arange(value.numel(), dtype=torch.float64) * 12.9898 + 78.233 * phase + len(name)
                )
                value.copy_((wave * 0.8 + ("norm" in name and "weight" in name)).reshape(value.shape))
        self.to(dtype).eval()
        self.seen: list[tuple[int, ...]] = []
        self.mlp.register_forward_pre_hook(lambda _, given: self.seen.append(tuple(given[0].shape)))

    def forward(self, z):
        q, k, v = self.attn.qkv(self.norm1(z)).unflatten(-1, (3, self.attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
        z = z + self.attn.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return z + self.mlp(self.norm2(z))


def row_cases(d):
    def drawn(B, N, D, heads, **more):
        return {"z": d.normal(B, N + 1, D, dtype=DOUBLE), "heads": heads, "phase": d.real(0.1, 1.0), **more}

    return [
        case("row", "two pictures, five patches, two heads", **drawn(2, 5, 4, 2)),
        case("row", "one head", **drawn(1, 3, 4, 1)),
        case("row", "three heads of two numbers", **drawn(3, 4, 6, 3)),
        case("row", "one patch", **drawn(2, 1, 4, 2)),
    ]


def row_probe(ns, data):
    block = PlainBlock(data["z"].shape[2], data["heads"], data["phase"], data["z"].dtype)
    out = probing.call(ns.last_block_class_row, block, data["z"])
    return {"class token": out, "what the MLP was given": block.seen}


def row_library(data):
    from functools import partial

    from timm.models.vision_transformer import Block

    z, D = data["z"], data["z"].shape[2]
    ours = PlainBlock(D, data["heads"], data["phase"], z.dtype)
    theirs = Block(D, data["heads"], 2.0, qkv_bias=True, norm_layer=partial(nn.LayerNorm, eps=1e-6)).to(z.dtype)
    names = {"mlp.0": "mlp.fc1", "mlp.2": "mlp.fc2"}
    theirs.load_state_dict({names.get(k[:5], k[:5]) + k[5:]: v for k, v in ours.state_dict().items()})
    return {"class token": theirs(z)[:, 0], "what the MLP was given": [(len(z), 1, D)]}


def last_block_class_row__library(block, z):
    y = block.norm1(z)
    B, N, D = y.shape
    heads = block.attn.num_heads
    q, k, v = block.attn.qkv(y).reshape(B, N, 3, heads, D // heads).permute(2, 0, 3, 1, 4)
    mixed = F.scaled_dot_product_attention(q[:, :, :1], k, v).transpose(1, 2).reshape(B, 1, D)
    z = z[:, :1] + block.attn.proj(mixed)
    z = z + block.mlp(block.norm2(z))
    return z.squeeze(1)


def last_block_class_row__three_layers(block, z):
    y, h = block.norm1(z), block.attn.num_heads
    D = z.shape[2]
    (wq, wk, wv), (bq, bk, bv) = block.attn.qkv.weight.split(D), block.attn.qkv.bias.split(D)
    heads = lambda t: t.unflatten(-1, (h, D // h))  # noqa: E731
    q, k, v = heads(F.linear(y[:, 0], wq, bq)), heads(F.linear(y, wk, bk)), heads(F.linear(y, wv, bv))
    share = torch.softmax(torch.einsum("bhd,bnhd->bnh", q, k) * (D // h) ** -0.5, dim=1)
    mixed = torch.einsum("bnh,bnhd->bhd", share, v).flatten(1)
    first = z[:, :1] + block.attn.proj(mixed)[:, None]
    return (first + block.mlp(block.norm2(first))).flatten(1)


LAST_BLOCK_CLASS_ROW = Exercise(
    name="last_block_class_row",
    methods=("ch12/vit_class_output",),
    core=True,
    groups={"row": 3.0},
    cases=row_cases,
    probe=row_probe,
    oracle=row_library,
    minutes=20,
    difficulty="hard",
    good_for="seeing that the classifier asks one question only",
    alternatives=(alternative(last_block_class_row__library), alternative(last_block_class_row__three_layers)),
    misconceptions=(
        slip("no_norm1", {"y = block.norm1(z)": "y = z"},
             "The attention works on norm1(z), in a pre-norm block.", "student mistake: norm forgotten"),
        slip("unscaled", {" / q.shape[-1] ** 0.5": ""},
             "You do not divide the scores by the root of d, the width of a head.", "card trap: no scaling"),
        slip("scaled_by_width", {"q.shape[-1] ** 0.5": "z.shape[-1] ** 0.5"},
             "You divide by the root of D. A head is D / h wide.", "card trap: width of the head"),
        slip("heads_first", {"(three h d)": "(h three d)"},
             "Your heads cut across queries, keys and values. qkv gives all queries first, then all keys, then all "
             "values; each of them is split into heads.", "library difference: order of qkv"),
        slip("residual_of_norm", {"first = z[:, :1]": "first = block.norm1(z)[:, :1]"},
             "The residual path starts at z, not at its norm.", "student mistake: residual of the norm"),
        slip("no_first_residual", {"first = z[:, :1] + block.attn.proj(y)": "first = block.attn.proj(y)"},
             "The residual path around the attention is missing: z[:, :1] + ...", "student mistake: residual"),
        slip("no_mlp", {"(first + block.mlp(block.norm2(first)))[:, 0]": "first[:, 0]"},
             "The second half of the block is missing: the MLP on norm2, and its residual path.",
             "student mistake: half a block"),
        slip("no_root", {"q.shape[-1] ** 0.5": "q.shape[-1]"},
             "You divide by d. The scores are divided by its square root.", "student mistake: no square root"),
        slip("no_residual", {"first + block.mlp(block.norm2(first))": "block.mlp(block.norm2(first))"},
             "The residual path around the MLP is missing.", "student mistake: residual"),
        slip("no_projection", {"block.attn.proj(y)": "y"},
             "The projection after the heads is missing: block.attn.proj.", "student mistake: forgotten"),
        slip("all_rows", {"q[:, :, :1] @": "q @", "first = z[:, :1]": "first = z"},
             "The numbers are right, but you compute all rows: the MLP gets N + 1 tokens. Only token 0 has to ask.",
             "student mistake: the whole block"),
        slip("class_keys", {"q, k, v = rearrange(block.attn.qkv(y), order, three=3, h=h)":
             "q, k, v = rearrange(block.attn.qkv(y[:, :1]), order, three=3, h=h)"},
             "Your class token sees only itself. Keys and values are needed of ALL tokens.", "student mistake: keys"),
    ),
    hints=(
        "Row 0 of A V needs row 0 of A, and that needs the query of token 0. Which keys, which values?",
        "qkv of norm1(z), split into q, k, v with heads; q of token 0 alone: q[:, :, :1]; scores (B, h, 1, N+1); then "
        "proj, z[:, :1] on top, and the MLP for this one token.",
        'q, k, v = rearrange(block.attn.qkv(block.norm1(z)), "b n (three h d) -> three b h n d", three=3, h=h); '
        "A = (q[:, :, :1] @ k.mT / q.shape[-1] ** 0.5).softmax(-1); first = z[:, :1] + "
        "block.attn.proj(...)",
    ),
)  # fmt: skip


def shares(d, *shape):
    """Draw rows of shares, uneven enough for every order of averaging to show."""
    return torch.softmax(2 * d.normal(*shape, dtype=DOUBLE), dim=-1)


def map_cases(d):
    return [
        case("mean", "two pictures, 2 x 3 patches, two heads", A=shares(d, 2, 2, 7, 7), grid=(2, 3)),
        case("mean", "three heads, 3 x 2 patches", A=shares(d, 1, 3, 7, 7), grid=(3, 2)),
        case("mean", "one head, 4 x 1", A=shares(d, 3, 1, 5, 5), grid=(4, 1)),
        case("head", "the first of three heads", A=shares(d, 2, 3, 5, 5), grid=(2, 2), head=0),
        case("head", "the last of two, 1 x 4", A=shares(d, 2, 2, 5, 5), grid=(1, 4), head=1),
        case("head", "a grid that does not fit", A=shares(d, 1, 2, 5, 5), grid=(2, 3)),
    ]


def map_library(data):
    import numpy as np

    A, (rows, columns), head = data["A"].detach().numpy(), data["grid"], data.get("head")
    if A.shape[-1] != rows * columns + 1:
        raise ValueError("grid")
    heads = [head] if head is not None else list(range(A.shape[1]))
    out = np.zeros((len(A), rows, columns))
    for place in np.ndindex(rows, columns):
        out[:, *place] = sum(A[:, k, 0, 1 + place[0] * columns + place[1]] for k in heads) / len(heads)
    return torch.from_numpy(out)


def cls_attention__mean_first(A, grid, head=None):
    rows, columns = grid
    if rows * columns + 1 != A.shape[2]:
        raise ValueError("no such grid")
    chosen = A.mean(dim=1) if head is None else A[:, head]
    return chosen[:, 0, 1:].reshape(-1, rows, columns)


def cls_attention__narrowed(A, grid, head=None):
    N = A.shape[3] - 1
    if grid[0] * grid[1] != N:
        raise ValueError("no such grid")
    query = A.select(2, 0).narrow(2, 1, N)  # (B, h, N)
    kept = query if head is None else query[:, head : head + 1]
    return (kept.sum(1) / kept.shape[1]).view(len(A), *grid)


CLS_ATTENTION = Exercise(
    name="cls_attention",
    methods=("ch12/vit_attention_map",),
    core=True,
    groups={"mean": 1.5, "head": 1.0},
    cases=map_cases,
    oracle=map_library,
    minutes=10,
    difficulty="easy",
    good_for="the picture that every paper about ViTs shows",
    alternatives=(alternative(cls_attention__mean_first), alternative(cls_attention__narrowed)),
    misconceptions=(
        slip("column", {"A[:, :, 0, 1:]": "A[:, :, 1:, 0]"},
             "You take the first COLUMN: how much each patch looks at the class token. Row 0 is the class token as "
             "the query.", "card trap: column instead of row"),
        slip("with_class", {"A[:, :, 0, 1:]": "A[:, :, 0, :-1]"},
             "Your map begins with what the class token pays to itself. Leave entry 0 out, not the last one.",
             "card trap: cls included"),
        slip("last_row", {"A[:, :, 0, 1:]": "A[:, :, -1, 1:]"},
             "You take the last row. The class token is token 0.", "student mistake: appended"),
        slip("normalised", {"return row.unflatten(1, grid)":
             "return (row / row.sum(1, keepdim=True)).unflatten(1, grid)"},
             "You scale every map to the sum 1. Nothing is scaled here: the rest is what the class token pays to "
             "itself.", "card trap: normalise for display only"),
        slip("highest", {"return row.unflatten(1, grid)":
             "return (row / row.max(1, keepdim=True)[0]).unflatten(1, grid)"},
             "You divide by the largest score. Nothing is scaled here.", "library difference: vit-explain's mask"),
        slip("softmax_again", {"return row.unflatten(1, grid)": "return row.softmax(1).unflatten(1, grid)"},
             "A went through a softmax already. A second one flattens the map.", "card trap: softmax twice"),
        slip("columns_first", {"return row.unflatten(1, grid)":
             "return row.unflatten(1, (grid[1], grid[0])).transpose(1, 2)"},
             "You lay the patches down the columns. Reading order: row by row.", "card trap: non-square grid"),
        slip("always_mean", {"row.mean(1) if head is None else row[:, head]": "row.mean(1)"},
             "You always average the heads. head chooses one.", "student mistake: an argument is ignored"),
        slip("head_zero", {"if head is None else": "if not head else"},
             "Head 0 is a head: ask `head is None`, since 0 counts as False.", "student mistake: truth of 0"),
        slip("largest_head", {"row.mean(1) if": "row.amax(1) if"},
             "You take the largest of the heads. None asks for their mean.", "library difference: vit-explain's max"),
        slip("unchecked", {"if A.shape[-1] - 1 != grid[0] * grid[1]:":
             "if A.shape[-1] - 1 != grid[0] * grid[1]:\n    grid = (A.shape[-1] - 1, 1)\nif False:"},
             "A grid that does not fit must raise a ValueError.", "card trap: grid"),
    ),
    hints=(
        "A[b, k, i, j]: i asks, j is asked. Which i is the class token, and which j are the patches?",
        "A[:, :, 0, 1:] is (B, h, N); mean over the heads or one of them; then the N numbers become rows and columns.",
        "row = A[:, :, 0, 1:]; row = row.mean(1) if head is None else row[:, head]; return row.unflatten(1, grid)",
    ),
)  # fmt: skip


def pointing_cases(d):
    def drawn(hits, p, rows, columns, blank=0):
        """Draw maps whose highest patch is on the mask in the given pictures, and only there."""
        B = len(hits)
        maps = d.uniform(B, rows, columns, low=0, high=0.5)
        masks = torch.zeros(B + blank, rows * p, columns * p, dtype=torch.bool)
        for b, hit in enumerate(hits):
            places = d.permutation(rows * columns).tolist()
            i, j = divmod(places[0], columns)
            maps[b, i, j] = 0.9
            m, n = (i, j) if hit else divmod(places[1], columns)
            masks[b, m * p + d.whole(0, p - 1), n * p + d.whole(0, p - 1)] = True
        maps = torch.cat([maps, d.uniform(blank, rows, columns)])
        order = d.permutation(B + blank)
        return {"maps": maps[order], "masks": masks[order]}

    def corner():
        """One True pixel at the far end of the highest patch, so that its middle misses."""
        maps, masks = torch.zeros(4, 2, 3), torch.zeros(4, 8, 12, dtype=torch.bool)
        for b in range(4):
            i, j = d.whole(0, 1), d.whole(0, 2)
            maps[b, i, j] = 1
            masks[b, 4 * i + (3 if b else 0), 4 * j + (3 if b % 2 else 0)] = True
        return {"maps": maps, "masks": masks}

    tie = {"maps": torch.full((4, 2, 3), 0.3), "masks": torch.zeros(4, 4, 6, dtype=torch.bool)}
    tie["masks"][0, 0, 0] = True
    tie["masks"][1:, 3, 5] = True
    return [
        case("hits", "three hits of four", **drawn((1, 1, 0, 1), 2, 3, 4)),
        case("hits", "one of five, patches of 4 x 4", **drawn((0, 0, 1, 0, 0), 4, 2, 3)),
        case("hits", "seven of eleven, 5 x 3 patches", **drawn((1, 0, 1, 1, 0, 1, 1, 0, 1, 0, 1), 2, 5, 3)),
        case("hits", "one pixel of the patch is enough", **corner()),
        case("edge", "two of three, and two empty masks", **drawn((1, 0, 1), 2, 2, 4, blank=2)),
        case("edge", "all patches alike: the first counts", **tie),
        case("edge", "nothing to point at", **drawn((), 2, 2, 2, blank=2)),
    ]


def pointing_library(data):
    maps, masks = data["maps"].detach(), data["masks"]
    p = masks.shape[1] // maps.shape[1]
    touched = F.max_pool2d(masks.double()[:, None], p)[:, 0].flatten(1)
    rows = [(touched[b], maps[b].flatten()) for b in range(len(maps)) if touched[b].any()]
    if not rows:
        raise ValueError("nothing to point at")
    best = [next(n for n in range(len(m)) if m[n] == m.max()) for _, m in rows]
    return sum(float(t[n]) for (t, _), n in zip(rows, best)) / len(rows)


def pointing_game__loops(maps, masks):
    p, columns = masks.shape[1] // maps.shape[1], maps.shape[2]
    hits = []
    for scores, mask in zip(maps, masks):
        if mask.any():
            i, j = divmod(int(scores.flatten().argmax()), columns)
            hits.append(bool(mask[i * p : (i + 1) * p, j * p : (j + 1) * p].any()))
    if not hits:
        raise ValueError("nothing to point at")
    return sum(hits) / len(hits)


def pointing_game__pooled(maps, masks):
    keep = masks.flatten(1).any(1)
    if keep.sum() == 0:
        raise ValueError("nothing to point at")
    p = masks.shape[2] // maps.shape[2]
    touched = F.max_pool2d(masks[keep].float()[:, None], p).flatten(1)
    place = maps[keep].flatten(1).argmax(1)
    return float(touched[torch.arange(len(place)), place].double().mean())


POINTING_GAME = Exercise(
    name="pointing_game",
    methods=("ch12/vit_attention_map",),
    core=True,
    groups={"hits": 1.5, "edge": 1.0},
    cases=pointing_cases,
    oracle=pointing_library,
    minutes=15,
    difficulty="medium",
    good_for="a number in place of a pretty picture",
    alternatives=(alternative(pointing_game__loops), alternative(pointing_game__pooled)),
    misconceptions=(
        slip("all_pixels", {'u=p, v=p).any(2)': 'u=p, v=p).all(2)'},
             "You ask for ALL pixels of the patch. One pixel of the thing is enough.", "student mistake: any and all"),
        slip("centre", {'u=p, v=p).any(2)': 'u=p, v=p)[..., p // 2 * (p + 1)]'},
             "You look at the middle pixel of the patch. A patch is a hit if ANY of its pixels is on the thing.",
             "library difference: the pointing game on pixels"),
        slip("first_pixel", {'u=p, v=p).any(2)': 'u=p, v=p)[..., 0]'},
             "You look at the top left pixel alone. A patch is a hit if ANY of its pixels is on the thing.",
             "student mistake: the index of a patch taken for that of a pixel"),
        slip("any_of_the_highest", {"hit = touched.gather(1, maps.flatten(1).argmax(1, keepdim=True))[:, 0]":
             "hit = (touched & (maps.flatten(1) == maps.flatten(1).amax(1, keepdim=True))).any(1)"},
             "Where several patches are the highest, you take any of them. The first in reading order counts.",
             "student mistake: ties"),
        slip("lowest", {"maps.flatten(1).argmax(": "maps.flatten(1).argmin("},
             "You point with the lowest score.", "student mistake: argmin"),
        slip("columns_first", {'"b (i u) (j v) -> b (i j) (u v)"': '"b (i u) (j v) -> b (j i) (u v)"'},
             "The patches of your masks go down the columns, those of the maps along the rows.", "card trap: order"),
        slip("empty_counts", {"hit[there].double()": "hit.double()"},
             "A picture without the thing counts as a miss with you. It must not count at all.",
             "card trap: empty mask"),
        slip("number_of_hits", {"hit[there].double().mean()": "hit[there].double().sum()"},
             "You return the number of hits. Divide by the number of pictures.", "student mistake: sum for mean"),
        slip("whole_batch", {"maps.flatten(1).argmax(1, keepdim=True)":
             "maps.flatten(1).argmax(1, keepdim=True)[:1].expand(len(maps), 1)"},
             "All pictures point where the first one does. Each has its own highest patch.", "student mistake: axis"),
        slip("unchecked", {"if not there.any():": "if not there.any():\n    return 0.0\nif False:"},
             "Where nothing is there to point at, there must be a ValueError: 0 would be a verdict.",
             "card trap: empty mask"),
    ),
    hints=(
        "For which patches would a hit be possible? Make a table of them first, (B, N), True or False.",
        "p from the two widths. Cut the masks into patches and ask any() of each; argmax of maps.flatten(1); gather.",
        'touched = rearrange(masks, "b (i u) (j v) -> b (i j) (u v)", u=p, v=p).any(2); hit = touched.gather(1, '
        "maps.flatten(1).argmax(1, keepdim=True))[:, 0]; leave out pictures with touched.any(1) False",
    ),
)  # fmt: skip
