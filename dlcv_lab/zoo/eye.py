"""Train, measure and load `eye`: transformers' CLIPVisionModel on scenes of several things, also faces and labels.

It is trained in two ways at once. Contrastively, as CLIP is: its class token against the captions of 64 pictures. And
densely: every patch token says what lies on it, shape, emotion or glyph, and in which colour; the class token says how
many things there are. Text encoder and heads are thrown away afterwards. Its first blocks begin as the zoo's `vit`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlcv_lab import world
from dlcv_lab.world.sights import Sights

from . import stack
from .catalogue import CHECKPOINT, Options, Trained
from .language import no_bars
from .training import run_steps, start, step_generator

SEED, HELD_OUT_SEED = 18_000, 18_777
STEPS, BATCH, LR = 4000, 64, 1e-3
SIZE, PATCH, WIDTH, DEPTH = 64, 8, 96, 4
MEAN = STD = 0.5
COVERED = 0.2
"""The share of a patch that a thing must cover to be what lies there."""
DATA = (
    f"dlcv_lab.world: {BATCH} fresh pictures a step of one to four things, faces and labels among them, half with "
    "textures, marks and backgrounds; the first three blocks begin with the weights of vit"
)


def sights(n: int, gen: torch.Generator) -> Sights:
    """Draw n pictures of the mixture `eye` learns from: one to four things, or one face as big as the picture."""
    big, looks = n // 8, n // 2
    parts = [
        world.sample_sights(big, gen, faces=1.0, labels=0.0, sizes=(0.25, 0.44)),
        world.sample_sights(n - big - looks, gen, objects=(1, 4)),
        world.sample_sights(
            looks, gen, objects=(1, 4), textures=("plain", *world.TEXTURES), marks=("none", *world.MARKS),
            backgrounds=world.BACKGROUNDS,
        ),
    ]  # fmt: skip
    return cat(parts)


def cat(parts: list[Sights]) -> Sights:
    """Join batches of pictures."""
    from dataclasses import fields

    slots = max(part.scene.slots for part in parts)

    def wide(column: Tensor) -> Tensor:
        return F.pad(column, (0, slots - column.shape[1]), value=-1)

    faces = world.Faces(*(torch.cat([getattr(part.faces, f.name) for part in parts]) for f in fields(world.Faces)))
    return Sights(
        world.cat([part.scene for part in parts]),
        torch.cat([wide(part.kind) for part in parts]),
        torch.cat([wide(part.colour) for part in parts]),
        torch.cat([part.face for part in parts]),
        faces,
    )


def normalise(images: Tensor) -> Tensor:
    """Return images in [0, 1] as the processor hands them to the model."""
    return (images - MEAN) / STD


def owners(seen: Sights) -> tuple[Tensor, Tensor]:
    """Return what lies on each patch, int64 [N, 64] twice: its place in the scene, and its kind.

    A place of -1 means nothing; of -100 that something touches the patch, but less than `COVERED` of it.
    """
    share = F.avg_pool2d(world.sight_masks(seen, SIZE).float(), PATCH).flatten(2)  # [N, K, patches]
    most, slot = share.max(1)
    slot = torch.where(most >= COVERED, slot, torch.where(most > 0, -100, -1))
    kind = seen.kind.gather(1, slot.clamp(min=0))
    return slot, torch.where(slot >= 0, kind, slot)


def best_patch(seen: Sights) -> Tensor:
    """Return the patch that each thing covers most, int64 [N, K]."""
    return F.avg_pool2d(world.sight_masks(seen, SIZE).float(), PATCH).flatten(2).argmax(2)


def merge(features: Tensor) -> Tensor:
    """Return 16 tokens of four neighbours each, [N, 16, 4 D], of 64 patch tokens [N, 64, D] (the class token left out).

    The four of a 2 x 2 square stand one behind the other: top left, top right, bottom left, bottom right.
    """
    n, count, width = features.shape
    side = round(count**0.5)
    grid = features.view(n, side // 2, 2, side // 2, 2, width)
    return grid.permute(0, 1, 3, 2, 4, 5).reshape(n, count // 4, 4 * width)


def build() -> Any:
    """Return an untrained model."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    return CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=DEPTH, num_attention_heads=3,
            image_size=SIZE, patch_size=PATCH, projection_dim=64, hidden_act="gelu", layer_norm_eps=1e-6,
            dtype="float32",
        )
    )  # fmt: skip


@torch.no_grad()
def begin_as_vit(model: Any, vit: Any) -> None:
    """Copy timm's vision transformer of 4 x 4 patches into the first blocks of the model; it then sees half as sharply.

    A patch of 8 x 8 pixels is filtered as one of 4 x 4 that was enlarged. What CLIP normalises before the first block
    comes out as large as vit's, on average. Blocks that vit does not have begin as the identity.
    """
    theirs, inner = vit.state_dict(), getattr(model, "vision_model", model)
    put = inner.embeddings
    put.class_embedding.copy_(theirs["cls_token"][0, 0])
    filters = theirs["patch_embed.proj.weight"] / 4
    put.patch_embedding.weight.copy_(filters.repeat_interleave(2, 2).repeat_interleave(2, 3))
    places = theirs["pos_embed"][0].clone()
    places[1:] += theirs["patch_embed.proj.bias"]  # CLIP cuts patches without a bias
    put.position_embedding.weight.copy_(places)
    scenes = world.render(world.sample(256, SEED, backgrounds=world.BACKGROUNDS), SIZE)
    spread = put(normalise(scenes))
    inner.pre_layrnorm.weight.copy_(spread.std(-1).mean().expand(WIDTH))
    names = {"layer_norm1": "norm1", "self_attn.out_proj": "attn.proj", "layer_norm2": "norm2",
             "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}  # fmt: skip
    for i, layer in enumerate(inner.encoder.layers):
        if i >= len(vit.blocks):
            for last in (layer.self_attn.out_proj, layer.mlp.fc2):
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)
            continue
        for kind in ("weight", "bias"):
            for here, there in names.items():
                getattr(layer.get_submodule(here), kind).copy_(theirs[f"blocks.{i}.{there}.{kind}"])
            for part, value in zip("qkv", theirs[f"blocks.{i}.attn.qkv.{kind}"].chunk(3)):
                getattr(layer.self_attn.get_submodule(f"{part}_proj"), kind).copy_(value)


class Heads(nn.Module):
    """What the training adds to the eye and throws away: dense heads, a count, and a text encoder for the contrast."""

    def __init__(self, tokenizer: Any) -> None:
        from transformers import CLIPTextConfig, CLIPTextModel

        super().__init__()
        self.kind = nn.Linear(WIDTH, len(world.SIGHT_KINDS) + 1)
        self.colour = nn.Linear(WIDTH, len(world.SIGHT_COLOURS))
        self.count = nn.Linear(WIDTH, world.MAX_OBJECTS + 1)
        self.picture = nn.Linear(WIDTH, 64, bias=False)
        self.words = nn.Linear(64, 64, bias=False)
        self.scale = nn.Parameter(torch.tensor(2.66))
        self.text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=1,
                num_attention_heads=2, max_position_embeddings=stack.LENGTH, hidden_act="gelu",
                bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )  # fmt: skip

    def forward(self, seen: Any, owner: Tensor, kind: Tensor, colour: Tensor, count: Tensor, cut: Any) -> Tensor:
        """Return the loss of what the eye saw (transformers' output) against the truth of every patch and picture."""
        patches = seen.last_hidden_state[:, 1:]
        dense = F.cross_entropy(self.kind(patches).flatten(0, 1), kind.flatten(), ignore_index=-100)
        here = owner >= 0
        dense = dense + F.cross_entropy(self.colour(patches[here]), colour.gather(1, owner.clamp(min=0))[here])
        number = F.cross_entropy(self.count(seen.pooler_output), count)
        a = F.normalize(self.picture(seen.pooler_output), dim=1)
        b = F.normalize(self.words(self.text(**cut).pooler_output), dim=1)
        table = self.scale.clamp(0, 4.6052).exp() * a @ b.T
        same = torch.arange(len(a), device=table.device)
        contrast = (F.cross_entropy(table, same) + F.cross_entropy(table.T, same)) / 2
        return dense + 0.5 * number + 0.3 * contrast


def train(folder: Path, options: Options) -> Trained:
    """Train on fresh pictures; see `Maker`."""
    from dlcv_lab import zoo

    torch.manual_seed(SEED)
    tokenizer = stack.make_tokenizer(closed=True)
    if options.begin is None:
        model = build()
        begin_as_vit(model, zoo.load("vit")[0])
    else:
        model = load(options.begin)[0]
    from_here = start(options, SEED, LR, STEPS, DATA)
    device = options.device
    model.to(device).train()
    heads = Heads(tokenizer).to(device)
    nothing = len(world.SIGHT_KINDS)

    def one_step(step: int) -> Tensor:
        batch = sights(BATCH, step_generator(from_here.seed, step))
        owner, kind = (part.to(device) for part in owners(batch))
        cut = tokenizer(batch.captions(), padding=True, return_tensors="pt").to(device)
        seen = model(normalise(world.render_sights(batch, SIZE)).to(device))
        kind = torch.where(kind == -1, nothing, kind)
        loss: Tensor = heads(seen, owner, kind, batch.colour.to(device), batch.count.to(device), cut)
        return loss

    matrices = [p for name, p in model.named_parameters() if ".layers." in name and p.ndim == 2]
    seconds = run_steps(
        folder / CHECKPOINT, {"model": model, "heads": heads}, one_step, options,
        steps=from_here.steps, lr=from_here.rate, weight_decay=0.05, matrices=matrices,
    )  # fmt: skip
    save(model, folder)
    return Trained(
        steps=from_here.steps,
        seed=from_here.seed,
        seconds=seconds,
        parameters=sum(p.numel() for p in model.parameters()),
        data=from_here.data,
        limits="It sees things that lie apart, at most four, and of these at most one face and one label of a single "
        "glyph. The shapes moon, drop, house and leaf were never shown, nor any painting style.",
    )


def save(model: Any, folder: Path) -> None:
    """Write the model and its processor in transformers' format, weights in half precision."""
    from transformers import CLIPImageProcessor

    with no_bars():
        model.half().save_pretrained(folder)
    config = folder / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace('"float16"', '"float32"'), encoding="utf-8")
    side = {"height": SIZE, "width": SIZE}
    CLIPImageProcessor(size=side, crop_size=side, image_mean=[MEAN] * 3, image_std=[STD] * 3).save_pretrained(folder)


def load(folder: Path, *, device: Any = "cpu") -> Any:
    """Return (model, processor) as transformers does."""
    from transformers import CLIPImageProcessor, CLIPVisionModel

    with no_bars():
        model = CLIPVisionModel.from_pretrained(folder)
    return model.eval().to(device), CLIPImageProcessor.from_pretrained(folder)


@torch.no_grad()
def features(model: Any, images: Tensor, device: Any = "cpu") -> tuple[Tensor, Tensor]:
    """Return patch tokens [N, 64, D] and class tokens [N, D] of images in [0, 1]."""
    outs = [model(normalise(part).to(device)) for part in images.split(200)]
    return (
        torch.cat([out.last_hidden_state[:, 1:].cpu() for out in outs]),
        torch.cat([out.pooler_output.cpu() for out in outs]),
    )


def probe(x: Tensor, y: Tensor, held: Tensor, truth: Tensor, *, rounds: int = 60) -> float:
    """Return how often a linear probe, fitted by L-BFGS on (x, y), names the truth of the held-out features."""
    mean, std = x.mean(0), x.std(0) + 1e-6
    x, held = (x - mean) / std, (held - mean) / std
    layer = nn.Linear(x.shape[1], int(max(y.max(), truth.max())) + 1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    fit = torch.optim.LBFGS(layer.parameters(), max_iter=rounds, history_size=8, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        fit.zero_grad()
        loss = F.cross_entropy(layer(x), y) + 1e-3 * layer.weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        fit.step(closure)
    return float((layer(held).argmax(1) == truth).float().mean())


def measure(folder: Path, *, device: str = "cpu") -> dict[str, float]:
    """Return how well linear probes read pictures off the frozen tokens; see `Maker`."""
    model, _ = load(folder, device=device)
    sets = {}
    for i, name in enumerate(("fit", "held")):
        n = 3000 if name == "fit" else 1000
        seen = world.sample_sights(n, HELD_OUT_SEED + i, objects=(1, 4))
        big = world.sample_sights(n // 2, HELD_OUT_SEED + 10 + i, faces=1.0, labels=0.0, sizes=(0.25, 0.44))
        sets[name] = [(part, *features(model, world.render_sights(part, SIZE), device)) for part in (seen, big)]
    shapes, emotions = len(world.ALL_SHAPES), len(world.EMOTIONS)

    def at_place(which: int, low: int, high: int, colour: bool = False) -> list[Tensor]:
        out = []
        for name in ("fit", "held"):
            seen, tokens, _ = sets[name][which]
            rows, slots = ((seen.kind >= low) & (seen.kind < high)).nonzero(as_tuple=True)
            out += [tokens[rows, best_patch(seen)[rows, slots]]]
            out += [(seen.colour if colour else seen.kind - low)[rows, slots]]
        return out

    every = (0, len(world.SIGHT_KINDS))
    counted = [part for name in ("fit", "held") for part in (sets[name][0][2], sets[name][0][0].count)]
    return {
        "shape": probe(*at_place(0, 0, shapes)),
        "colour": probe(*at_place(0, *every, colour=True)),
        "count": probe(*counted),
        "emotion": probe(*at_place(1, shapes, shapes + emotions)),
        "emotion of small faces": probe(*at_place(0, shapes, shapes + emotions)),
        "glyph": probe(*at_place(0, shapes + emotions, every[1])),
    }
