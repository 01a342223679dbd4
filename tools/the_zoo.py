"""Draw the pictures and tables of the book page "The zoo": `python tools/the_zoo.py`.

Writes book/zoo/*.png, *.html and models.md from the weights in the package; book/the_zoo.md includes them. Models
without weights are left out. Run it again after training, and look at what changed.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid

from dlcv_lab import touch, world, zoo
from dlcv_lab.card import Picture, from_pixels
from dlcv_lab.files import write_whole
from dlcv_lab.interaction import filmstrip_html
from dlcv_lab.zoo import cards, catalogue, classifiers, clip, diffusion, eye, language

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "book" / "zoo"
NARROW = "\u00a0%"  # a percent sign that stays with its number
PAINTER = {
    "latents": (4, 16, 16),
    "prompts": [
        "a red ring.", "a green star in neon style.", "a big blue heart with a belt.",
        "a purple cross in mosaic style.", "a yellow circle and a blue square.",
    ],
}  # fmt: skip
QUERIES = ["a yellow ring", "a purple thing", "a heart", "a blue star"]
SHEETS = {
    "sd": "Sixty-four pictures that sd painted from prompts: shapes in all colours, styles, marks, textures, pairs",
    "uncond": "Pictures that uncond painted without prompts",
    "video": "Sixty-four clips that video painted from prompts, two in a row, eight frames each",
}


def save(name: str, images: Tensor, columns: int, zoom: int = 2) -> None:
    """Write images [N, 3, S, S] in rows as a PNG with at most 256 colours, whole or not at all."""
    big = images.clamp(0, 1).repeat_interleave(zoom, 2).repeat_interleave(zoom, 3)
    picture = to_pil_image(make_grid(big, nrow=columns, padding=3, pad_value=1.0))
    png = io.BytesIO()
    picture.quantize(256, dither=Image.Dither.NONE).save(png, format="PNG", optimize=True)
    write_whole(OUT / f"{name}.png", png.getvalue())


@torch.no_grad()
def clip_part() -> str:
    """Show eight pictures and which of all 64 pairs of colour and shape `clip` finds most like them."""
    model, _, tokenizer = zoo.load("clip")
    scene = world.sample(8, 11, sizes=("big",), distinct=True)
    images = world.render(scene)
    save("clip", world.render(scene, 64), 8, 1)
    pairs = [(colour, shape) for shape in world.SHAPES for colour in world.COLOURS]
    texts = F.normalize(model.encode_text(tokenizer([f"a {colour} {shape}" for colour, shape in pairs])), dim=1)
    share = (
        model.logit_scale.exp() * F.normalize(model.encode_image(clip.normalise(images)), dim=1) @ texts.T
    ).softmax(1)
    rows = ["| picture | its caption | likeliest of 64 | share | next | share |", "|---|---|---|---:|---|---:|"]
    for i, caption in enumerate(world.caption(scene, 1)):
        chance, at = share[i].topk(2)
        one, two = (" ".join(pairs[k]) for k in at.tolist())
        rows.append(f"| {i + 1} | {caption} | {one} | {chance[0]:.0%} | {two} | {chance[1]:.0%} |".replace("%", NARROW))
    return "![Eight scenes of one object.](zoo/clip.png)\n\n" + "\n".join(rows)


def vit_part() -> str:
    """Show pictures on clutter and, below, the attention of the class token in the last block."""
    from timm.utils import AttentionExtract

    model, _ = zoo.load("vit")
    scene = world.sample(10, 3, sizes=("medium", "big"), backgrounds=classifiers.CLUTTER)
    for block in model.blocks:
        block.attn.fused_attn = False
    with torch.no_grad():
        maps = AttentionExtract(model, method="hook")(classifiers.normalise(world.render(scene)))
    last = list(maps.values())[-1].mean(1)[:, 0, model.num_prefix_tokens :]
    side = round(last.shape[1] ** 0.5)
    heat = last.view(-1, 1, side, side)
    heat = F.interpolate(heat / heat.amax((1, 2, 3), keepdim=True), size=64, mode="nearest")
    images = world.render(scene, 64)
    save("vit", torch.cat([images, images * heat + 0.12 * (1 - heat)]), 10, 1)
    return "![Ten scenes on clutter; below each, bright where the class token looks: mostly the object.](zoo/vit.png)"


def language_part(name: str) -> str:
    """Let a language model complete facts and write on."""
    model, tokenizer = zoo.load(name)
    fact, other = language.facts()[0], language.facts()[4]
    prompts = [fact.prompts[1], other.prompts[3], "a star has", "<USER> what colour is the square ? <ASSISTANT>"]
    prompts += ["there is a", "a photo of"]
    rows = ["| prompt | it writes |", "|---|---|"]
    torch.manual_seed(0)
    for prompt in prompts:
        ids = tokenizer(prompt, return_tensors="pt")
        sampled = prompt in prompts[-2:]
        row = model.generate(**ids, max_new_tokens=40, do_sample=sampled, pad_token_id=tokenizer.pad_token_id)
        said = tokenizer.decode(row[0][ids.input_ids.shape[1] :], skip_special_tokens=True)
        rows.append(f"| {prompt.replace('<', '&lt;')} | {said.replace('<', '&lt;')} |")
    return "\n".join(rows)


@torch.no_grad()
def eye_part() -> str:
    """Show pictures and, below, how like each patch token is to the one on the thing named in the caption."""
    model, _ = zoo.load("eye")
    sights = world.sample_sights(10, 21, objects=(2, 4), backgrounds=("plain", "noise", "grid"))
    images = world.render_sights(sights, eye.SIZE)
    tokens, _ = eye.features(model, images)
    best = eye.best_patch(sights)[:, 0]
    like = F.cosine_similarity(tokens, tokens[torch.arange(10), best][:, None], dim=-1).clamp(min=0)
    heat = F.interpolate(like.view(10, 1, 8, 8), size=64, mode="nearest")
    save("eye", torch.cat([images, images * heat + 0.12 * (1 - heat)]), 10, 1)
    names = ", ".join(row[0] for row in sights.names())
    return (
        "![Ten scenes of two to four things, faces and labels among them; below each, bright where patch tokens are "
        f"like the one on the first thing.](zoo/eye.png)\n\nThe first things are: {names}."
    )


PARTS: dict[str, Callable[[], str]] = {
    "eye": eye_part,
    "llm_base": lambda: language_part("llm_base"),
    "llm": lambda: language_part("llm"),
    "clip": clip_part,
    "vit": vit_part,
    "gpt": lambda: language_part("gpt"),
    "llama": lambda: language_part("llama"),
}


def section(model: catalogue.Model) -> str:
    """Return a model's section: what it is, samples, figures, card."""
    card = zoo.card(model.name)
    size = sum((model.folder / name).stat().st_size for name in card.files) / 1e6
    rows = ["| figure | value | held-out data |", "|---|---:|---|"]
    for name, value in card.metrics.items():
        shown = f"{value:.1%}".replace("%", NARROW) if 0.01 < value <= 1 and "error" not in name else f"{value:.3g}"
        aim = model.least.get(name)
        short = f"; the aim is {aim:.0%}".replace("%", NARROW) if aim and value < aim else ""
        rows.append(f"| {name.replace('_', ' ')} | {shown} | {model.figures.get(name, '')}{short} |")
    made = (
        f"{card.parameters:,} parameters, {size:.1f} MB. {card.steps} steps with seed {card.seed}, "
        f"{max(1, round(card.seconds / 60))} minutes on {card.device}. Data: {card.data}. Licence: {card.licence}."
    ).replace("..", ".")
    parts = [
        f"## `{model.name}`",
        f'{model.what[0].upper()}{model.what[1:]}: `zoo.load("{model.name}")` gives {model.gives}.',
    ]
    if model.name in PARTS:
        parts.append(PARTS[model.name]())
    elif (OUT / f"{model.name}.png").is_file():  # drawn by tools/zoo_sheets.py, in minutes
        parts.append(f"![{SHEETS[model.name]}.](zoo/{model.name}.png)")
    return "\n\n".join(
        [*parts, "\n".join(rows), made, f"What it cannot do: {card.limits}", f"The real one: `{model.full}`."]
    )


def checkpoints() -> str:
    """Return a table of the checkpoints of chapters, or nothing where there are none."""
    if not zoo.checkpoints():
        return ""
    rows = ["| checkpoint | parameters | steps | figures | what it cannot do |", "|---|---:|---:|---|---|"]
    for name in zoo.checkpoints():
        card = zoo.card(name)
        figures = ", ".join(f"{figure} {value:.3g}" for figure, value in card.metrics.items())
        rows.append(f"| `{name}` | {card.parameters:,} | {card.steps} | {figures} | {card.limits} |")
    text = 'What a lesson begins and has no time to end: `zoo.checkpoint("NAME", into=model)` fills your own module.'
    return f"\n\n## Checkpoints of chapters\n\n{text}\n\n" + "\n".join(rows)


def painted(pipe: Any, prompt: str) -> list[Tensor]:
    """Return what `sd` has after every step, from the noise on, each [1, 3, 32, 32] in [0, 1]."""
    gen = torch.Generator().manual_seed(0)
    latents = [torch.randn(1, *PAINTER["latents"], generator=gen)]
    pipe(
        prompt, latents=latents[0], output_type="latent", guidance_scale=diffusion.GUIDANCE,
        num_inference_steps=diffusion.SAMPLING_STEPS,
        callback_on_step_end=lambda _, step, time, held: latents.append(held["latents"]) or held,
    )  # fmt: skip
    with torch.no_grad():
        made = [pipe.vae.decode(x / pipe.vae.config.scaling_factor).sample for x in latents]
    return [(each / 2 + 0.5).clamp(0, 1) for each in made]


def paint_widget() -> None:
    """Write `sd` as a live model; without scripts, a film of its pictures after some steps."""
    pipe = zoo.load("sd")
    film = {prompt: painted(pipe, prompt) for prompt in PAINTER["prompts"][:3]}

    def frame(prompt: str, step: int) -> Picture:
        big = F.interpolate(film[prompt][step], scale_factor=6, mode="nearest")[0]
        return from_pixels(to_pil_image(big), f"{prompt} as painted after step {step}")

    strip = filmstrip_html(frame, prompt=list(film), step=[0, 12, 19, 25])
    poster = film[PAINTER["prompts"][0]][-1]
    live = touch.paint(PAINTER["prompts"], poster, steps=diffusion.SAMPLING_STEPS, guidance=diffusion.GUIDANCE)
    write_whole(OUT / "paint.html", (live.around(strip) + "\n").encode())


@torch.no_grad()
def rank_widget() -> None:
    """Write `clip` as a live model; without scripts, a film of the same pictures in the order of some queries."""
    model, _, tokenizer = zoo.load("clip")
    scene = world.sample(12, 5, sizes=("big",), distinct=True)
    pictures, said = world.render(scene), world.caption(scene, 1)
    features = F.normalize(model.encode_image(clip.normalise(pictures)), dim=1)
    asked = F.normalize(model.encode_text(tokenizer(QUERIES)), dim=1)
    order = dict(zip(QUERIES, (asked @ features.T).argsort(1, descending=True).tolist()))

    def frame(query: str) -> Picture:
        big = F.interpolate(pictures[order[query]], scale_factor=2, mode="nearest")
        sheet = to_pil_image(make_grid(big, nrow=6, padding=3, pad_value=1.0))
        return from_pixels(sheet, f"The pictures by their likeness to {query}; first comes {said[order[query][0]]}")

    live = touch.rank(QUERIES, pictures, said)
    write_whole(OUT / "rank.html", (live.around(filmstrip_html(frame, query=QUERIES)) + "\n").encode())


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    there = [model for model in catalogue.MODELS.values() if (model.folder / cards.NAME).is_file()]
    body = "\n\n".join(section(model) for model in there) + checkpoints()
    (OUT / "models.md").write_text(body + "\n", encoding="utf-8", newline="\n")
    paint_widget()
    rank_widget()
    print(f"{OUT / 'models.md'}: {', '.join(model.name for model in there)}")


if __name__ == "__main__":
    main()
