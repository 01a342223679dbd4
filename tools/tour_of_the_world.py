"""Draw the pictures of the book page "A tour of the world": `python tools/tour_of_the_world.py`.

Writes book/world/*.png, *.html and *.md from the world itself; the page book/tour_of_the_world.md includes them. Run it
again after a change of the world and look at what changed.
"""

from __future__ import annotations

import base64
import html
import io
import wave
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from dlcv_lab import world
from dlcv_lab.card import Picture, from_pixels
from dlcv_lab.files import write_whole
from dlcv_lab.interaction import filmstrip_html
from dlcv_lab.world.sights import Sights

OUT = Path(__file__).resolve().parent.parent / "book" / "world"


def sheet(images: Tensor, columns: int, zoom: int = 2, gap: int = 3) -> Image.Image:
    """Return images [N, C, H, W] in rows on a white sheet, every pixel `zoom` pixels wide."""
    if images.shape[1] == 1:
        images = images.expand(-1, 3, -1, -1)
    big = F.interpolate(images.clamp(0, 1), scale_factor=zoom, mode="nearest")
    n, _, high, wide = big.shape
    rows = -(-n // columns)
    page = torch.ones(3, rows * (high + gap) + gap, columns * (wide + gap) + gap)
    for i, image in enumerate(big):
        top, left = gap + (i // columns) * (high + gap), gap + (i % columns) * (wide + gap)
        page[:, top : top + high, left : left + wide] = image
    return Image.fromarray((page.permute(1, 2, 0) * 255).round().byte().numpy())


def save(name: str, picture: Image.Image) -> None:
    """Write a picture as a PNG with at most 256 colours, whole or not at all."""
    png = io.BytesIO()
    picture.quantize(128, dither=Image.Dither.NONE).save(png, format="PNG", optimize=True)
    write_whole(OUT / f"{name}.png", png.getvalue())


def text(name: str, body: str) -> None:
    """Write an HTML or Markdown fragment."""
    (OUT / name).write_text(body + "\n", encoding="utf-8", newline="\n")


def shapes_and_colours() -> None:
    scenes = [
        world.make({"shape": s, "colour": c, "size": 0.33}, ground=world.GROUNDS[(i + j) % 6])
        for i, s in enumerate(world.ALL_SHAPES)
        for j, c in enumerate(world.COLOURS)
    ]
    save("shapes", sheet(world.render(world.cat(scenes), 48), 8, 1))


def looks() -> None:
    textures = [
        world.make(
            {"shape": s, "colour": world.COLOURS[(i + 2 * j) % 8], "texture": t, "size": 0.36},
            background=b,
            ground="sand",
        )
        for i, (s, b) in enumerate(zip(world.SHAPES, world.BACKGROUNDS * 2))
        for j, t in enumerate(world.TEXTURES)
    ]
    save("textures", sheet(world.render(world.cat(textures), 64), 8, 1))
    marks = [
        world.make({"shape": s, "colour": c, "mark": m, "size": 0.36})
        for s, c in (("circle", "orange"), ("square", "blue"), ("heart", "green"), ("house", "purple"))
        for m in world.MARKS
    ]
    save("marks", sheet(world.render(world.cat(marks), 64), 7, 1))
    styles = [
        world.make({"shape": s, "colour": c, "size": 0.30}, ground=g, style=t, background=b, seed=i)
        for i, (s, c, g, b) in enumerate(
            [
                ("star", "red", "white", "plain"),
                ("heart", "purple", "sand", "gradient"),
                ("arrow", "blue", "pink", "grid"),
            ]
            + [("ring", "green", "grey", "noise")]
        )
        for t in world.STYLES
    ]
    save("styles", sheet(world.render(world.cat(styles), 64), 7, 1))


def scenes_and_truth() -> None:
    scene = world.sample(24, 1, objects=(1, 4), textures=world.TEXTURES, backgrounds=world.BACKGROUNDS)
    save("scenes", sheet(world.render(scene, 64), 8, 1))
    scene = world.sample(6, 11, objects=(2, 4), overlap=0.45)
    images = world.render(scene, 64)
    palette = torch.cat(
        [torch.ones(1, 3) * 0.08, world.colour_rgb(), torch.rand(4, 3, generator=torch.Generator().manual_seed(0))]
    )
    semantic = world.semantic_masks(scene, 64)
    instance = world.instance_masks(scene, 64) * 2
    boxed = images.clone()
    for i, target in enumerate(world.targets(scene, 64)):
        for x1, y1, x2, y2 in target["boxes"].long().tolist():
            for rows, columns in (
                ((y1, y1 + 1), (x1, x2)),
                ((y2 - 1, y2), (x1, x2)),
                ((y1, y2), (x1, x1 + 1)),
                ((y1, y2), (x2 - 1, x2)),
            ):
                boxed[i, :, slice(*rows), slice(*columns)] = torch.tensor([0.95, 0.05, 0.6])[:, None, None]
    rows = [images, palette[semantic].permute(0, 3, 1, 2), palette[instance].permute(0, 3, 1, 2), boxed]
    rows.append(world.edge_map(scene, 64).expand(-1, 3, -1, -1))
    save("truth", sheet(torch.cat(rows), 6, 1))


def language() -> None:
    scene = world.sample(3, 5, objects=(2, 3), textures=world.TEXTURES, backgrounds=world.BACKGROUNDS, distinct=True)
    save("language", sheet(world.render(scene, 64), 3, 2))
    lines = []
    questions = world.questions(scene, 1, 3)
    for i, plain in enumerate(scene.plain()):
        one = scene[i]
        lines.append(f"**Picture {i + 1}**\n")
        lines += [f"- level {level}: *{world.caption(one, level)[0]}*" for level in (1, 2, 3)]
        lines.append(f"- another wording: *{world.caption(one, 2, 9)[0]}*")
        lines += [f"- {q.replace(' ?', '?')} **{a}**" for q, a, _ in questions[i]]
        lines.append(f"- *{world.refer(plain, plain.things[-1].slot, 0)}* points at object {plain.things[-1].slot + 1}")
        swap = world.swap_caption(plain, "attribute", 0)
        if swap:
            lines.append(f"- true: *{swap[0]}* false: *{swap[1]}*")
        lines.append("")
    dialog = world.dialogs(scene, 0)[0]
    lines.append("**A dialog about picture 1.** " + dialog.caption.capitalize())
    lines += [""] + [f"- {t.question.replace(' ?', '?')} **{t.answer}**" for t in dialog.turns]
    text("language.md", "\n".join(lines))
    _, records = world.web(40, 3)
    shown = {r.kind: r for r in records}
    table = ["| kind | alt-text | what is in the picture |", "|---|---|---|"]
    table += [f"| {kind} | `{shown[kind].alt}` | {shown[kind].label} |" for kind in world.ALT_KINDS if kind in shown]
    text("web.md", "\n".join(table))


def faces_and_domains() -> None:
    faces = [
        world.sample_faces(7, i, emotions=(e,), skins=world.SKINS, glasses=0.25) for i, e in enumerate(world.EMOTIONS)
    ]
    save("faces", sheet(torch.cat([world.render_faces(f, 64) for f in faces]), 7, 1))
    save("domains", sheet(torch.cat([world.domain(d, 8, 4).images for d in world.DOMAINS]), 8, 2))
    album = [world.render(world.photos(world.creature(k), 6, k), 64) for k in range(4)]
    save("creatures", sheet(torch.cat(album), 6, 1))


def larger_sets() -> None:
    sights = world.sample_sights(16, 9, objects=(1, 4))
    save("sights", sheet(world.render_sights(sights, 64), 8, 1))
    cut = world.montage(3, 1)
    save("montage", sheet(cut.render(32).flatten(0, 1), 24, 1, 1))
    base, new = world.composed_classes("mark")
    parts = [world.composed(classes[:8], 8, 2, size=64) for classes in (base, new)]
    save("composed", sheet(torch.cat([part.images for part in parts]), 8, 1))
    talk = world.ranked(world.dialogs(world.sample(1, 8, objects=2), 2), 3)[0]
    turn = talk.turns[0]
    best = sorted(zip(turn.relevance, turn.candidates), key=lambda pair: -pair[0])
    told = ", ".join(f'"{said}" {value:g}' for value, said in best if value)
    edit = world.edit_set(world.acquaintances(60, 0), 20, 1).test[0]
    lines = [
        f"- cut together: *{' '.join(cut.captions[0])}*",
        f"- a dialog's question: *{talk.caption} {turn.question}* Of its hundred answers these are not wrong, with "
        f"their relevance: {told}",
        f"- news: *{edit.old.sentences[0]}* becomes *{edit.new.sentences[0]}* In other words: "
        f"*{edit.new.sentences[1]}* What must stay: *{edit.unrelated[0].sentences[0]}*",
        f"- about the first face above: *{_emotion(sights)}*",
    ]
    text("larger.md", "\n".join(line.replace(" .", ".").replace(" ?", "?") for line in lines) + "\n")


def _emotion(sights: Sights) -> str:
    """Return an instruction and its answer for the first face."""
    turn = world.sight_instructions(sights, 1, ("reasoning",))[0][0]
    return f"{turn['question']} {turn['answer']}"


def motion() -> None:
    names = world.MOTIONS[1:]
    scene = world.sample(
        len(names), 8, sizes=(0.14, 0.17), rotation="upright", shapes=("star", "heart", "house", "arrow")
    )
    clips = world.Clips(
        scene, world.labels("motion", names), torch.zeros(len(names), dtype=torch.int64), torch.ones(len(names))
    )
    save("motion", sheet(world.render_clips(clips, 48).flatten(0, 1), 8, 1))
    speech = world.speak(3, 0, texts=["bat net", "mat pot", "fan tin"])
    save("speech", sheet(speech.video.flatten(0, 1), 24, 2, 2))


def player(samples: Tensor) -> str:
    """Return an audio player with the sound inside, 8 kHz and 16 bits."""
    raw = io.BytesIO()
    with wave.open(raw, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(world.SAMPLE_RATE)
        file.writeframes((samples.clamp(-1, 1) * 32000).short().numpy().tobytes())
    code = base64.b64encode(raw.getvalue()).decode("ascii")
    return f'<audio controls preload="none" src="data:audio/wav;base64,{code}"></audio>'


def sound() -> None:
    scenes = world.cat(
        [world.make({"shape": s, "colour": c, "size": 0.25}) for s, c in zip(world.SHAPES, world.COLOURS)]
    )
    sounds = world.sample_sounds(scenes, 0)
    heard = world.waveform(sounds, 0)
    mel = world.log_mel(heard).flip(1)[:, None]
    pictures = torch.cat([world.render(scenes, 32), mel.expand(-1, 3, -1, -1)], 3)
    rows = []
    for image, samples, shape in zip(pictures, heard, world.SHAPES):
        said = world.sound_captions(world.sample_sounds(world.make({"shape": shape}), 0))[0]
        alt = f"A {shape} and its spectrogram: time to the right, pitch upwards."
        shown = from_pixels(sheet(image[None], 1, 3), alt)
        picture = f'<img alt="{html.escape(alt)}" src="{shown.source}" width="{shown.width}" height="{shown.height}">'
        rows.append(f"<tr><td>{picture}</td><td>{shape}: {html.escape(said)}</td><td>{player(samples)}</td></tr>")
    speech = world.speak(1, 0, texts=["bat net"])
    rows.append(f"<tr><td></td><td>a mouth says: bat net</td><td>{player(speech.audio[0])}</td></tr>")
    text("sound.html", '<table class="world-sounds"><tbody>\n' + "\n".join(rows) + "\n</tbody></table>")


def widget() -> None:
    seen = {
        k: world.sample(6, 30 + k, objects=k, textures=world.TEXTURES, backgrounds=world.BACKGROUNDS)
        for k in (1, 2, 3, 4)
    }

    def look(objects: int, style: str) -> Picture:
        images = world.render(seen[objects].replace(style=style), 64)
        return from_pixels(sheet(images, 6, 1), f"Six scenes of {objects} objects in {style} style.")

    text("widget.html", filmstrip_html(look, objects=[1, 2, 3, 4], style=list(world.STYLES)))


def percent(right: float, unsure: float = 0.0) -> str:
    """Return a cell as narrow as can be: 97.2 (5), or 100."""
    brackets = f" ({100 * unsure:.0f})" if unsure >= 0.005 else ""
    return f"{100 * right:.1f}".replace("100.0", "100") + brackets


def reading() -> None:
    table = world.load_reader()[1]["calibration"]
    kinds = ("shape", "colour", "texture", "mark", "style")
    lines = ["| images | count | " + " | ".join(kinds) + " |"]
    lines.append("|---|" + "---:|" * (1 + len(kinds)))
    for name, row in table.items():
        cells = [percent(row["count"])]
        cells += [percent(row[k], row[f"{k} unsure"]) for k in kinds]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    text("reader.md", "\n".join(lines))


def main() -> None:
    """Draw everything."""
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    for part in (
        shapes_and_colours,
        looks,
        scenes_and_truth,
        language,
        faces_and_domains,
        larger_sets,
        motion,
        sound,
        widget,
        reading,
    ):
        part()
        print(part.__name__, flush=True)
    print(f"{sum(f.stat().st_size for f in OUT.iterdir()) / 1e6:.2f} MB in {OUT}")


if __name__ == "__main__":
    main()
