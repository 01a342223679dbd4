"""Train, measure and load `clip`: open_clip's model of a tiny configuration, with the library's own loss.

Its image tower begins as the zoo's `vit`, which has the same blocks: a transformer that knows shapes already needs a
tenth of the steps to learn their names. Text tower and projections begin at random.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dlcv_lab import world
from dlcv_lab.world.grammar import Say
from dlcv_lab.world.scene import Scene

from .catalogue import CHECKPOINT, Options, Trained
from .language import make_tokenizer, word_list
from .training import run_steps, start, step_generator

SEED, HELD_OUT_SEED = 16_000, 16_777
STEPS, BATCH, LR = 3000, 64, 1e-3
DATA = (
    f"dlcv_lab.world: {BATCH} fresh scenes a step, one caption each; 12 pairs of shape and colour are held out; the "
    "image tower begins with the weights of vit, which never saw these pairs either"
)
LENGTH = 32
CONFIG: dict[str, Any] = {
    "embed_dim": 64,
    "vision_cfg": {
        "image_size": 32,
        "patch_size": 4,
        "width": 96,
        "layers": 3,
        "head_width": 32,
        "mlp_ratio": 2.0,
        "no_ln_pre": True,  # as in timm's transformer, where the weights of the image tower begin
    },
    "text_cfg": {
        "context_length": LENGTH,
        "width": 64,
        "heads": 2,
        "layers": 2,
        "mlp_ratio": 2.0,
    },
}
PREPROCESS = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic", "resize_mode": "shortest"}
WEIGHTS = "open_clip_model.safetensors"


def config() -> dict[str, Any]:
    """Return the configuration that open_clip reads, the size of the vocabulary filled in."""
    text = CONFIG["text_cfg"] | {
        "vocab_size": len(word_list()),
        "hf_tokenizer_name": "local",  # read from the model's own folder: open_clip does so for `local-dir:`
        "tokenizer_kwargs": {"clean": "whitespace"},
    }
    return CONFIG | {"text_cfg": text}


def scenes(n: int, gen: torch.Generator) -> Scene:
    """Draw n scenes of the mixture `clip` learns from; the held-out pairs of shape and colour never come."""
    seen, _ = world.unseen_combinations()
    two, styled, looks = round(0.12 * n), round(0.12 * n), round(0.14 * n)
    parts = [
        world.sample(n - two - styled - looks, gen, pairs=seen),
        world.sample(two, gen, pairs=seen, objects=2, sizes=("medium", "big")),
        world.sample(styled, gen, pairs=seen, styles=world.STYLES, sizes=("medium", "big")),
        world.sample(
            looks,
            gen,
            pairs=seen,
            textures=world.TEXTURES,
            marks=("none", *world.MARKS),
            backgrounds=world.BACKGROUNDS,
            sizes=("medium", "big"),
        ),
    ]
    return world.cat([part for part in parts if len(part)])


def texts_of(scene: Scene, gen: torch.Generator) -> list[str]:
    """Return one caption a scene, of any level, with or without the full stop."""
    from dlcv_lab.world.grammar import caption_of

    say = Say(gen)
    levels = (torch.randint(3, (len(scene),), generator=gen) + 1).tolist()
    found = [caption_of(plain, level, say) for plain, level in zip(scene.plain(), levels)]
    return [text.rstrip(".") if say.coin(0.5) else text for text in found]


def normalise(images: Tensor) -> Tensor:
    """Return images in [0, 1] as `preprocess` hands them to the model."""
    mean, std = (torch.tensor(PREPROCESS[key], device=images.device)[:, None, None] for key in ("mean", "std"))
    return (images - mean) / std


def begin_as_vit(tower: Any, vit: Any) -> None:
    """Copy timm's vision transformer into open_clip's image tower of the same sizes; the two then compute the same.

    open_clip cuts patches without a bias, so timm's bias goes into the places of the patches.
    """
    theirs = vit.state_dict()
    grid = theirs["pos_embed"][0].clone()
    grid[vit.num_prefix_tokens :] += theirs["patch_embed.proj.bias"]
    ours = {
        "class_embedding": theirs["cls_token"][0, 0],
        "positional_embedding": grid,
        "conv1.weight": theirs["patch_embed.proj.weight"],
        "ln_post.weight": theirs["norm.weight"],
        "ln_post.bias": theirs["norm.bias"],
    }
    names = {
        "norm1": "ln_1",
        "attn.proj": "attn.out_proj",
        "norm2": "ln_2",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
    }
    for i in range(len(vit.blocks)):
        for kind in ("weight", "bias"):
            ours[f"transformer.resblocks.{i}.attn.in_proj_{kind}"] = theirs[f"blocks.{i}.attn.qkv.{kind}"]
            for there, here in names.items():
                ours[f"transformer.resblocks.{i}.{here}.{kind}"] = theirs[f"blocks.{i}.{there}.{kind}"]
    left = tower.load_state_dict(ours, strict=False)
    if left.missing_keys != ["proj"] or left.unexpected_keys:
        raise ValueError(f"the sizes of `clip` and `vit` differ: {left}")


def train(folder: Path, options: Options) -> Trained:
    """Train on fresh scenes and captions, the image tower from `vit`; see `Maker`."""
    from open_clip.loss import ClipLoss
    from open_clip.model import CLIP

    from dlcv_lab import zoo

    torch.manual_seed(SEED)
    if options.begin is None:
        model = CLIP(**config())
        begin_as_vit(model.visual, zoo.load("vit")[0])
    else:
        model = load(options.begin)[0]
    from_here = start(options, SEED, LR, STEPS, DATA)
    device = options.device
    model.to(device).train()
    tokenizer = make_tokenizer(LENGTH, closed=True)
    contrast = ClipLoss()

    def one_step(step: int) -> Tensor:
        gen = step_generator(from_here.seed, step)
        scene = scenes(BATCH, gen)
        words = _ids(tokenizer, texts_of(scene, gen)).to(device)
        images = normalise(world.render(scene.to(device)))
        model.logit_scale.data = torch.clamp(model.logit_scale.data, 0, 4.6052)  # at most 100, as CLIP was trained
        return contrast(*model(images, words))

    seconds = run_steps(
        folder / CHECKPOINT, {"model": model}, one_step, options,
        steps=from_here.steps, lr=from_here.rate, weight_decay=0.05,
    )  # fmt: skip
    save(model, tokenizer, folder)
    return Trained(
        steps=from_here.steps,
        seed=from_here.seed,
        seconds=seconds,
        parameters=sum(p.numel() for p in model.parameters()),
        data=from_here.data,
        limits="It knows the world's words only. Relations, counts and places are weak; held-out pairs are weaker "
        "than seen ones; small shapes are told apart less surely than big ones.",
    )


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a model in open_clip's format: configuration, weights in half precision, tokenizer."""
    from safetensors.torch import save_file

    tokenizer.save_pretrained(folder)
    settings = {"model_cfg": config(), "preprocess_cfg": PREPROCESS}
    (folder / "open_clip_config.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    save_file({name: value.half().cpu().contiguous() for name, value in model.state_dict().items()}, folder / WEIGHTS)


def load(folder: Path, *, device: Any = "cpu") -> Any:
    """Return (model, preprocess, tokenizer) as open_clip does."""
    import open_clip

    place = f"local-dir:{folder}"
    model, _, preprocess = open_clip.create_model_and_transforms(place, device=device)
    return model.eval(), preprocess, open_clip.get_tokenizer(place)


def _ids(tokenizer: Any, texts: list[str]) -> Tensor:
    cut = tokenizer(texts, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt")
    ids: Tensor = cut.input_ids
    return ids


@torch.no_grad()
def measure(folder: Path, *, device: str = "cpu") -> dict[str, float]:
    """Return zero-shot accuracy over all 64 pairs of shape and colour, and retrieval among 100; see `Maker`."""
    model, _, tokenizer = load(folder, device=device)
    seen, unseen = world.unseen_combinations()
    pairs = [*seen, *unseen]
    prompts = torch.stack(
        [
            F.normalize(
                model.encode_text(tokenizer([form.format(f"{colour} {shape}") for shape, colour in pairs]).to(device)),
                dim=1,
            )
            for form in ("a {}", "a photo of a {}", "there is a {}")
        ]
    ).mean(0)
    found = {}
    for name, chosen, seed in (("seen", seen, HELD_OUT_SEED), ("held_out", unseen, HELD_OUT_SEED + 1)):
        scene = world.sample(1024, seed, pairs=chosen)
        truth = [pairs.index((plain.things[0].shape, plain.things[0].colour)) for plain in scene.plain()]
        likeness = _embed(model, world.render(scene), device) @ prompts.T
        found[name] = float((likeness.argmax(1).cpu() == torch.tensor(truth)).float().mean())
    gen = torch.Generator().manual_seed(HELD_OUT_SEED + 2)
    scene = world.sample(1000, gen, pairs=seen, sizes=("small", "medium", "big"))
    words = tokenizer([texts[0] for texts in world.captions(scene, 1, gen, level=3)]).to(device)
    sides = _embed(model, world.render(scene), device), F.normalize(model.encode_text(words), dim=1)
    for name, (one, other) in (("text_to_image", sides[::-1]), ("image_to_text", sides)):
        rank = [(a @ b.T).argmax(1).cpu() == torch.arange(len(a)) for a, b in zip(one.split(100), other.split(100))]
        found[f"{name}_r1"] = float(torch.cat(rank).float().mean())
    return found


def _embed(model: Any, images: Tensor, device: str) -> Tensor:
    parts = [model.encode_image(normalise(part.to(device))) for part in images.split(256)]
    return F.normalize(torch.cat(parts), dim=1)
