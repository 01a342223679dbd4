"""The claims of chapter 12, vision transformers. Seen on the seeds 0, 1 and 2; conditions were fixed, then measured."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autograder.declare.claim import Claim
from chapters.ch12_vision_transformers.recipes import sheets
from dlcv_lab import count_params, data, fit, seed, world, zoo
from solutions import ch12_vision_transformers as ours

SEEDS = (20, 21, 22)
GRID = (8, 8)
EXAMPLE = {
    "X": [[1, 0, 0], [1, 0, 1], [0, 2, 0], [0, 1, 1], [2, 0, 0]],
    "Wq": [[1, 0, 1], [0, 1, 0], [1, 0, 0]],
    "Wk": [[1, 0, 0], [0, 1, 1], [0, 0, 1]],
    "Wv": [[0, 1, 0], [1, 0, 0], [0, 0, 2]],
}


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def farthest(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().abs().max())


def patches(_: int) -> dict[str, float]:
    x, layer = draw(2, 3, 32, 48), nn.Conv2d(3, 8, 16, 16).double()
    rows = ours.patchify(x, 16)
    with torch.device("meta"):
        embed = nn.Conv2d(3, 768, 16, 16)
    return {
        "patches of 224x224": ours.patchify(torch.zeros(1, 3, 224, 224), 16).shape[1],
        "learned numbers": count_params(embed),
        "lost on the way back": farthest(ours.unpatchify(rows, 16, (32, 48)), x),
        "from the convolution": farthest(
            ours.embed_patches(x, layer.weight, layer.bias), layer(x).flatten(2).transpose(1, 2)
        ),
    }


def trainable(_: int) -> dict[str, float]:
    torch.manual_seed(0)
    model = ours.ViT(size=8, p=2, width=12, depth=2, heads=3).double()
    model(draw(4, 3, 8, 8)).square().sum().backward()
    with torch.device("meta"):
        base = ours.ViT(size=224, p=16, width=768, depth=0, heads=12, classes=1)
    return {
        "class token of ViT-B/16": base.cls_token.numel(),
        "positions of ViT-B/16": base.pos_embed.numel(),
        "smallest gradient of a token's position": float(model.pos_embed.grad.norm(dim=2).min()),
        "gradient of the class token": float(model.cls_token.grad.norm()),
    }


def blind(_: int) -> dict[str, float]:
    torch.manual_seed(0)
    model = ours.ViT(size=8, p=2, width=12, depth=2, heads=3).double().eval()
    x, order = draw(3, 3, 8, 8), torch.randperm(16)
    moved = ours.unpatchify(ours.patchify(x, 2)[:, order], 2, (8, 8))
    with torch.no_grad():
        seen = farthest(model(x), model(moved))
        model.pos_embed.zero_()
        return {"with positions": seen, "without": farthest(model(x), model(moved))}


def convolutional() -> nn.Module:
    """A CNN of two blocks with batch norm, 36 010 numbers."""
    parts: list[nn.Module] = []
    for fed, made in ((1, 32), (32, 64)):
        conv = nn.Conv2d(fed, made, 3, padding=1, bias=False)
        parts += [conv, nn.BatchNorm2d(made), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10))


@lru_cache
def trained(kind: str, n: int, number: int) -> float:
    """Return the test accuracy after 300 steps (200 of the CNN) on the first n of 1201 training digits."""
    halves = data.split(*data.digits(), test=597 / 1797, generator=torch.Generator().manual_seed(number))
    seed(number)
    small = {"size": 8, "p": 2, "channels": 1, "width": 48, "depth": 3, "heads": 3, "classes": 10}
    model = convolutional() if kind == "CNN" else ours.ViT(**small)
    if kind == "no positions":
        model.pos_embed.requires_grad_(False).zero_()
    how = {"lr": 3e-3, "steps": 200} if kind == "CNN" else {"lr": 1e-3, "steps": 300}
    part = (halves.train.x[:n], halves.train.y[:n])
    return fit(model, part, test=halves.test, progress=False, evaluate_every=how["steps"], **how).accuracy[-1]


def positions(n: int) -> dict[str, float]:
    return {"with positions": trained("ViT", 1200, n), "without": trained("no positions", 1200, n)}


def hungry(n: int) -> dict[str, float]:
    return {f"{kind}, {m} digits": trained(kind, m, n) for m in (100, 1200) for kind in ("ViT", "CNN")}


def moving(name: str) -> nn.Module:
    model = ours.ViT(size=16, p=2, channels=1, width=48, depth=3, heads=3, classes=10).eval()
    zoo.checkpoint(f"ch12/{name}", into=model)
    return model


def learned_grid(_: int) -> dict[str, float]:
    """Compare positions by cosine, over the distance of their patches on the grid of 8 x 8."""
    places = torch.cartesian_prod(torch.arange(8.0), torch.arange(8.0))
    apart = torch.cdist(places, places)
    found = {}
    for name in ("token", "gap"):
        pos = F.normalize(moving(name).pos_embed.detach()[0, 1:], dim=1)
        alike = pos @ pos.T
        found[f"{name}, neighbours"] = float(alike[apart == 1].mean())
        found[f"{name}, 4 apart"] = float(alike[apart == 4].mean())
    return found


def worked(_: int) -> dict[str, float]:
    *_, A, Y = ours.vit_qkv(**{name: torch.tensor(rows, dtype=torch.float64) for name, rows in EXAMPLE.items()})
    return {"rows of Y": len(Y)} | {f"A[0, {j}]": float(A[0, j]) for j in range(5)} | {
        f"Y[0, {j}]": float(Y[0, j]) for j in range(3)}  # fmt: skip


def clutter(n: int, number: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw scenes of one thing on noise, grids and gradients: pictures for the zoo's vit, classes, masks."""
    scene = world.sample(n, number, backgrounds=("noise", "grid", "gradient"), sizes=("medium", "big"))
    return (world.render(scene) - 0.5) / 0.5, scene.shape[:, 0], world.object_masks(scene, 32)[:, 0]


def as_timm(_: int) -> dict[str, float]:
    theirs, mine = zoo.load("vit")[0], ours.ViT().eval()
    mine.load_state_dict(theirs.state_dict())
    x = clutter(50, 0)[0]
    with torch.no_grad():
        return {"logits differ by": farthest(mine(x), theirs(x)), "largest logit": float(theirs(x).abs().max())}


def sizes(_: int) -> dict[str, float]:
    named = {"B/16": (16, 768, 12, 3072), "L/16": (16, 1024, 24, 4096), "H/14": (14, 1280, 32, 5120)}
    return {
        f"ViT-{name}": ours.vit_param_count(224, p, 3, width, depth, mlp, 1000)
        for name, (p, width, depth, mlp) in named.items()
    }


def one_row(_: int) -> dict[str, float]:
    vit, x = zoo.load("vit")[0], clutter(50, 0)[0]
    with torch.no_grad():
        z = ours.add_tokens(vit.patch_embed(x), vit.cls_token, vit.pos_embed)
        for block in vit.blocks[:-1]:
            z = block(z)
        logits = vit.head(vit.norm(ours.last_block_class_row(vit.blocks[-1], z)))
        apart = farthest(logits, vit(x))
    T, D, hidden = 65, 96, 192
    whole = 3 * T * D * D + 2 * T * T * D + T * D * D + 2 * T * D * hidden
    row = (2 * T + 1) * D * D + 2 * T * D + D * D + 2 * D * hidden
    return {"logits differ by": apart, "share of the block's multiplications": row / whole}


def pooled(n: int) -> dict[str, float]:
    x, y = sheets("test", 1000, torch.Generator().manual_seed(n))
    found = {}
    for name, pool in (("token", "token"), ("gap", "avg")):
        model = moving(name)
        with torch.no_grad():
            scores = torch.cat([ours.classify(model.encode(part)[0], model.head, pool) for part in x.split(250)])
        found[name] = float((scores.argmax(1) == y).float().mean())
    return found


@lru_cache
def looks(n: int) -> dict[str, float]:
    x, _, masks = clutter(300, n)
    A = ours.attentions_of(zoo.load("vit")[0], x)[-1]
    row, column = ours.cls_attention(A, GRID), A.mean(1)[:, 1:, 0].unflatten(1, GRID)
    touched = F.max_pool2d(masks.float()[:, None], 4)
    return {
        "first row": ours.pointing_game(row, masks),
        "first column": ours.pointing_game(column, masks),
        "another picture's row": ours.pointing_game(row.roll(1, 0), masks),
        "patches that the thing touches": float(touched.mean()),
    }


@lru_cache
def explained(n: int) -> dict[str, float]:
    """Rank correlations of the last row and of rollout with what gradients and covered patches say."""
    x, y, _ = clutter(60, n)
    vit = zoo.load("vit")[0]
    A = ours.attentions_of(vit, x)
    maps = {"last layer": A[-1].mean(1)[:, 0, 1:], "rollout": ours.attention_rollout(A)[:, 0, 1:]}
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(vit(leaf)[range(len(y)), y].sum(), leaf)
    judges = {
        "gradient": F.avg_pool2d(slope.abs().sum(1, keepdim=True), 4).flatten(1),
        "covering": ours.occlusion_drop(vit, x, y, 4).abs().flatten(1),
    }
    return {
        f"{name}, {judge}": float(ours.rank_correlation(m, scores).mean())
        for judge, scores in judges.items()
        for name, m in maps.items()
    }


CLAIMS = [
    Claim(
        id="patch-sequence",
        methods=("ch12/vit_patch_embed",),
        says="Partition the input image into a patch sequence",
        source="slide 'Vision Transformer'; dosovitskiy2021image",
        analogue="How many patches and learned numbers, what is lost, and how far from a convolution with stride.",
        conditions="224x224 pixels, p = 16, width 768; float64 on 32x48 pixels for the differences.",
        threshold="196 patches, 590 592 numbers, nothing lost, within 1e-12 of the convolution",
        measure=patches,
        holds=lambda v: (
            v["patches of 224x224"][0] == 196
            and v["learned numbers"][0] == 590_592
            and v["lost on the way back"][0] == 0
            and v["from the convolution"][0] < 1e-12
        ),
        exact=True,
    ),
    Claim(
        id="trainable-vectors",
        methods=("ch12/vit_tokens",),
        says="Both the '*' token and positional embeddings are trainable vectors",
        source="slide 'Vision Transformer'; dosovitskiy2021image",
        analogue="How many numbers they are in ViT-B/16, and whether a gradient reaches each of them.",
        conditions="A random ViT of two blocks on four random pictures, float64.",
        threshold="768 and 151 296 numbers; no gradient is 0",
        measure=trainable,
        holds=lambda v: (
            [value[0] for value in v.values()][:2] == [768, 151_296]
            and min(value[0] for value in list(v.values())[2:]) > 0
        ),
        exact=True,
    ),
    Claim(
        id="blind-to-order",
        methods=("ch12/vit_tokens",),
        says="Without positions the class token cannot tell in which order the patches lie",
        source="slide 'Vision Transformer'",
        analogue="Logits of pictures and of the same patches in another order, with positions and without.",
        conditions="A random ViT of two blocks, 16 patches, float64.",
        threshold="without positions within 1e-12, with them more than 1e-4 apart",
        measure=blind,
        holds=lambda v: v["without"][0] < 1e-12 and v["with positions"][0] > 1e-4,
        exact=True,
    ),
    Claim(
        id="positions-matter",
        methods=("ch12/vit_tokens",),
        says="Positional embeddings (denoted by 0, 1, 2 ...) are added to the patches",
        source="slide 'Vision Transformer'; dosovitskiy2021image, table 8",
        analogue="Test accuracy on 8x8 digits with learned positions, and with positions fixed at 0.",
        conditions="p = 2, width 48, three blocks; 300 steps of 64 of 1200 digits, Adam at 1e-3.",
        threshold="on every seed at least 0.15 better with positions",
        measure=positions,
        holds=lambda v: all(a - b >= 0.15 for a, b in zip(v["with positions"], v["without"], strict=True)),
        seeds=SEEDS,
        cheap=False,
    ),
    Claim(
        id="positions-learn-the-grid",
        methods=("ch12/vit_tokens",),
        says="Closer patches tend to have more similar position embeddings",
        source="dosovitskiy2021image, section 4.5 and figure 7",
        analogue="Mean cosine of the positions of neighbouring patches, and of patches four apart.",
        conditions="The chapter's two checkpoints for moving digits; positions began as noise. The threshold "
        "was set after a look at the first, before one at the second.",
        threshold="neighbours at least 0.3 above patches four apart, in both",
        measure=learned_grid,
        holds=lambda v: all(v[f"{m}, neighbours"][0] - v[f"{m}, 4 apart"][0] >= 0.3 for m in ("token", "gap")),
        exact=True,
    ),
    Claim(
        id="worked-example",
        methods=("ch12/vit_qkv_example",),
        says="The input sequence X (of length P+1) is transformed into another sequence Y with the same length",
        source="slide 'Query-Key-Value Attention in ViT'",
        analogue="The first row of A and of Y for P = 4 and D = 3, with whole numbers for X and the three matrices.",
        conditions="The numbers of the lesson's tables, float64.",
        threshold="5 rows; A[0] = .1633 .2909 .0917 .1633 .2909 and Y[0] = .3466 1.0359 .9083, rounded",
        measure=worked,
        holds=lambda v: (
            [round(value[0], 4) for value in v.values()]
            == [5, 0.1633, 0.2909, 0.0917, 0.1633, 0.2909, 0.3466, 1.0359, 0.9083]
        ),
        exact=True,
    ),
    Claim(
        id="equal-to-timm",
        methods=("ch12/vit",),
        says="Vision Transformer (ViT)",
        source="slide 'Vision Transformer (ViT)'; dosovitskiy2021image",
        analogue="The chapter's class with the weights of the zoo's timm model, on 50 scenes.",
        conditions="float32; width 96, three blocks, three heads, 64 patches.",
        threshold="logits within 1e-4",
        measure=as_timm,
        holds=lambda v: v["logits differ by"][0] < 1e-4,
        exact=True,
    ),
    Claim(
        id="sizes-of-the-paper",
        methods=("ch12/vit",),
        says="ViT-Base 86M, ViT-Large 307M, ViT-Huge 632M parameters",
        source="dosovitskiy2021image, table 1",
        analogue="Counted by the chapter's function, for 1000 classes at 224x224 pixels.",
        conditions="Patches of 16, 16 and 14 pixels.",
        threshold="86 567 656, 304 326 632 and 632 045 800",
        measure=sizes,
        holds=lambda v: [value[0] for value in v.values()] == [86_567_656, 304_326_632, 632_045_800],
        exact=True,
    ),
    Claim(
        id="hungry-for-data",
        methods=("ch12/vit",),
        says="Transformers lack some of the inductive biases of CNNs and do not generalise well from too little data",
        source="dosovitskiy2021image, section 1",
        analogue="Test accuracy of a ViT and of a smaller CNN on 8x8 digits, from 100 and from 1200 training digits.",
        conditions="58 570 and 36 010 learned numbers; 300 steps at 1e-3 and 200 at 3e-3 of Adam, batches of 64.",
        threshold="on every seed the CNN is ahead at both sizes, and by more than twice as much at 100",
        measure=hungry,
        holds=lambda v: all(
            c - b > 0 and d - a > 2 * (c - b)
            for a, b, c, d in zip(
                v["ViT, 100 digits"], v["ViT, 1200 digits"], v["CNN, 1200 digits"], v["CNN, 100 digits"], strict=True
            )
        ),
        seeds=SEEDS,
        cheap=False,
    ),
    Claim(
        id="first-output-token",
        methods=("ch12/vit_class_output",),
        says="We only take the first output token of the output sequence (the first row of Y) for classification",
        source="slide 'Query-Key-Value Attention in ViT (cont'd)'",
        analogue="Logits from the first row of the last block alone; its multiplications as a share of the block's.",
        conditions="The zoo's vit, 50 scenes, float32.",
        threshold="logits within 1e-4, at less than a third of the multiplications",
        measure=one_row,
        holds=lambda v: v["logits differ by"][0] < 1e-4 and v["share of the block's multiplications"][0] < 1 / 3,
        exact=True,
    ),
    Claim(
        id="token-or-mean",
        methods=("ch12/vit_class_output",),
        says="Class token and global average pooling perform similarly, at learning rates of their own",
        source="dosovitskiy2021image, appendix D.3; slide 'Query-Key-Value Attention in ViT (cont'd)'",
        analogue="Test accuracy on moving digits of two models that differ in what the head reads.",
        conditions="The chapter's checkpoints, same data, steps and learning rate; 1000 unseen sheets a seed.",
        threshold="on every seed within 0.03",
        measure=pooled,
        holds=lambda v: all(abs(a - b) <= 0.03 for a, b in zip(v["token"], v["gap"], strict=True)),
        seeds=SEEDS,
        reason="A likely reason, not tested: same steps and learning rate for both, where the paper needed a rate of "
        "its own for each.",
    ),
    Claim(
        id="looks-at-the-thing",
        methods=("ch12/vit_attention_map",),
        says="To visualize the attention maps, we take the attention scores from the first row of A",
        source="slide 'Visualization of ViT'",
        analogue="How often the highest of the P scores lies on the thing (pointing game, true masks).",
        conditions="The zoo's vit, last block, mean over heads; 300 scenes of one thing on clutter a seed.",
        threshold="on every seed 3 times the share of patches that the thing touches, and twice another picture's map",
        measure=looks,
        holds=lambda v: all(
            row >= 3 * area and row >= 2 * other
            for row, other, area in zip(
                v["first row"], v["another picture's row"], v["patches that the thing touches"], strict=True
            )
        ),
        seeds=SEEDS,
    ),
    Claim(
        id="row-not-column",
        methods=("ch12/vit_attention_map",),
        says="This corresponds to the output when token '0' serves as query",
        source="slide 'Query-Key-Value Attention in ViT (cont'd)'",
        analogue="The same game with the first column of A, in which token 0 is the key.",
        conditions="As before.",
        threshold="on every seed the row is at least 0.2 better",
        measure=looks,
        holds=lambda v: all(row - column >= 0.2 for row, column in zip(v["first row"], v["first column"], strict=True)),
        seeds=SEEDS,
    ),
    Claim(
        id="rollout-and-gradients",
        methods=("ch12/attention_rollout",),
        says="Rollout correlates more with input gradients than raw attention does",
        source="abnar2020quantifying, table 2",
        analogue="Spearman correlation over 64 patches with the size of the class score's gradient, mean of 60 scenes.",
        conditions="The zoo's vit; raw attention is the last block's first row, mean over heads.",
        threshold="on every seed rollout is higher",
        measure=explained,
        holds=lambda v: all(
            a > b for a, b in zip(v["rollout, gradient"], v["last layer, gradient"], strict=True)
        ),
        seeds=SEEDS,
    ),
    Claim(
        id="rollout-and-covering",
        methods=("ch12/attention_rollout",),
        says="Rollout correlates more with blank-out scores than raw attention does",
        source="abnar2020quantifying, table 1",
        analogue="The same with the size of the change in the class score when a patch is covered.",
        conditions="As before; a covered patch is grey.",
        threshold="on every seed rollout is higher",
        measure=explained,
        holds=lambda v: all(
            a > b for a, b in zip(v["rollout, covering"], v["last layer, covering"], strict=True)
        ),
        seeds=SEEDS,
        reason="A likely reason, not tested: in the paper's deeper models the raw attention of the last layers is "
        "nearly uniform, while our last layer is sharp by itself and rollout blurs it.",
    ),
]  # fmt: skip
