"""Cut the world into parts: disjoint classes, unseen combinations, domains, task sequences, few-shot episodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from . import words
from .facts import nonce_words
from .grammar import mark_phrase
from .presets import Labelled, colour_cast, degrade, labelled
from .rendering import render
from .sampling import generator, sample
from .scene import Scene
from .words import WorldError

DOMAINS = ("clean", "texture", "painting", "sketch", "inverted", "satellite", "cast", "noisy", "turned")


def disjoint_classes(kind: str = "shape", held_out: int = 2, seed: int = 0) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the words of a kind as (base, new), with `held_out` new ones that no base scene shows.

    Raises WorldError unless 0 < held_out < number of words.
    """
    every = words.SHAPES if kind == "shape" else words.names(kind)
    if not 0 < held_out < len(every):
        raise WorldError(f"Of {len(every)} words 1 to {len(every) - 1} can be held out; got {held_out}.")
    new = set(torch.randperm(len(every), generator=generator(seed))[:held_out].tolist())
    return tuple(w for i, w in enumerate(every) if i not in new), tuple(w for i, w in enumerate(every) if i in new)


def unseen_combinations(held_out: int = 12, seed: int = 0) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return all (shape, colour) pairs as (seen, unseen); every shape and every colour is still seen often.

    The unseen pairs are spread over rows and columns like a Latin square. Raises WorldError for more than half of them.
    """
    side = len(words.SHAPES)
    if not 0 < held_out <= side * side // 2:
        raise WorldError(f"1 to {side * side // 2} combinations can be held out; got {held_out}.")
    gen = generator(seed)
    rows, columns = (torch.randperm(side, generator=gen).tolist() for _ in range(2))
    ranked = [(words.SHAPES[rows[i]], words.COLOURS[columns[(i + d) % side]]) for d in range(side) for i in range(side)]
    unseen = set(ranked[:held_out])
    every = [(s, c) for s in words.SHAPES for c in words.COLOURS]
    return [p for p in every if p not in unseen], [p for p in every if p in unseen]


def domain(
    name: str, n: int, seed: torch.Generator | int, *, kind: str = "shape", size: int = 32, **options: Any
) -> Labelled:
    """Draw n labelled images of one object in a domain of `DOMAINS`: same classes, another look.

    "clean" flat pictures; "texture" textured objects on noise; "painting" watercolour, swirl or mosaic; "sketch";
    "inverted" photographic negatives; "satellite" small turned objects on a grainy green or sand ground, seen through
    haze; "cast" coloured light; "noisy"; "turned" any rotation. Raises WorldError for an unknown domain.
    """
    if name not in DOMAINS:
        raise WorldError(f"{name!r} is no domain; domains are: {', '.join(DOMAINS)}.")
    gen = generator(seed)
    looks: dict[str, dict[str, Any]] = {
        "texture": {"textures": words.TEXTURES[1:], "backgrounds": ("noise",)},
        "painting": {"styles": ("watercolour", "swirl", "mosaic")},
        "sketch": {"styles": ("sketch",)},
        "satellite": {"sizes": ("small",), "rotation": "free", "backgrounds": ("noise",), "grounds": ("green", "sand")},
        "turned": {"rotation": "free"},
    }
    out = labelled(sample(n, gen, **(looks.get(name, {}) | options)), kind, size)
    changes: dict[str, Callable[[Tensor], Tensor]] = {
        "inverted": lambda images: 1 - images,
        "satellite": lambda images: 0.30 * images.new_tensor([0.80, 0.84, 0.88])[:, None, None] + 0.70 * images,
        "cast": lambda images: colour_cast(images, gen, 0.25),
        "noisy": lambda images: degrade(images, "noise", gen, 0.15),
    }
    return out._replace(images=changes[name](out.images)) if name in changes else out


@dataclass(frozen=True)
class Composed:
    """One class of objects: "star with a belt" or "striped star"."""

    name: str
    shape: str
    texture: str = "plain"
    mark: str = "none"


def composed_classes(
    kind: str = "mark", new: float = 0.5, seed: torch.Generator | int = 0
) -> tuple[tuple[Composed, ...], tuple[Composed, ...]]:
    """Return many more classes than there are shapes, as (base, new): shapes with marks, or with textures.

    "mark": 42 classes, "star with a belt", of the seven solid shapes and six marks; "texture": 24, "striped star", of
    eight shapes and three textures. Every shape and every mark or texture stands in both parts, so that a new class is
    new by its combination alone. The names use words that captions use.

    Raises:
        WorldError: for another kind, or a share of new classes that leaves a part without some shape.
    """
    if kind not in ("mark", "texture"):
        raise WorldError(f'Classes are composed of shapes and "mark" or "texture"; got {kind!r}.')
    shapes = [shape for shape in words.SHAPES if kind == "texture" or shape in words.SOLID_SHAPES]
    parts = words.MARKS[1:] if kind == "mark" else words.TEXTURES[1:]
    share = int(new * len(parts))
    if not 0 < share < len(parts):
        raise WorldError(f"With {new} of the classes new, a part would lack some shape.")
    gen = generator(seed)
    rows, columns = (torch.randperm(len(options), generator=gen).tolist() for options in (shapes, parts))
    halves: tuple[list[Composed], list[Composed]] = ([], [])
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            shape, part = shapes[row], parts[column]
            name = f"{shape} with {mark_phrase(part)}" if kind == "mark" else f"{_texture_word(part)} {shape}"
            looks = {kind: part}
            halves[(i + j) % len(parts) < share].append(Composed(name, shape, **looks))
    return tuple(halves[0]), tuple(halves[1])


def _texture_word(texture: str) -> str:
    return words.TEXTURE_SYNONYMS[texture][0]


def composed(
    classes: Sequence[Composed], n: int, seed: torch.Generator | int, *, size: int = 32, **options: Any
) -> Labelled:
    """Draw n big objects of the given classes, labelled by their place in `classes`; all else varies freely.

    `options` go to `sample`. Raises WorldError for no class.
    """
    if not classes:
        raise WorldError("At least one class is needed.")
    gen = generator(seed)
    label = torch.randint(len(classes), (n,), generator=gen)
    scene = sample(n, gen, **({"sizes": ("big",)} | options))
    looks = {
        kind: words.labels(kind, [getattr(each, kind) for each in classes]) for kind in ("shape", "texture", "mark")
    }
    scene = scene.replace(**{kind: column[label][:, None] for kind, column in looks.items()})
    return Labelled(render(scene, size), label, tuple(each.name for each in classes), scene)


@dataclass(frozen=True)
class Task:
    """One task of a stream: a name, labelled images to train and test on, and a prompt for each class."""

    name: str
    train: Labelled
    test: Labelled
    prompts: tuple[str, ...]


TASKS = ("fine colours", "textures", "styles", "emotions", "mouths", "counting", "position", "marks")


def tasks(
    n: int, seed: torch.Generator | int, names: Sequence[str] = TASKS, *, size: int = 32, test: int | None = None
) -> list[Task]:
    """Return a sequence of classification tasks for continual learning, n images to train on and `test` (or n) to test.

    Names are some of `TASKS`: fine colours (pale and dark of each colour), textures, painting styles, emotions of
    smileys, mouth shapes, counting, position in the picture, identity marks. (The eighth task of the chapter, digits,
    comes from `dlcv_lab.data`.) Raises WorldError for an unknown task.
    """
    gen = generator(seed)
    out = []
    for name in names:
        if name not in TASKS:
            raise WorldError(f"{name!r} is no task; tasks are: {', '.join(TASKS)}.")
        train, held = (_task(name, count, gen, size) for count in (n, n if test is None else test))
        out.append(Task(name, train, held, tuple(_prompt(name, word) for word in train.names)))
    return out


def _prompt(task: str, word: str) -> str:
    if task == "emotions":
        return f"a face that shows {word}."
    if task == "mouths":
        return f"a mouth that says {word}."
    if task in ("counting", "position", "styles"):
        return {"counting": f"{word} in the picture.", "position": f"an object at the {word}."}.get(
            task, f"a picture in {word} style."
        )
    return f"a picture of {word}."


def _task(name: str, n: int, gen: torch.Generator, size: int) -> Labelled:
    from .faces import render_faces, sample_faces
    from .speech import VISEMES, mouth_image

    if name == "fine colours":
        scene = sample(n, gen)
        pale = torch.randint(2, (n, 1), generator=gen)
        scene = scene.replace(shade=(pale * 2 - 1) * 0.8)
        names = tuple(f"a {tone} {colour} object" for colour in words.COLOURS for tone in ("dark", "pale"))
        return Labelled(render(scene, size), 2 * scene.colour[:, 0] + pale[:, 0], names, scene)
    if name in ("textures", "marks", "styles"):
        kind = name[:-1]
        more: dict[str, Any] = {name: words.names(kind)}
        if name == "marks":
            more["shapes"] = [s for s in words.SHAPES if s in words.SOLID_SHAPES]
        return labelled(sample(n, gen, **({"sizes": ("medium", "big")} | more)), kind, size)
    if name == "emotions":
        faces = sample_faces(n, gen)
        return Labelled(render_faces(faces, size), faces.emotion, words.EMOTIONS, sample(n, gen, objects=0))
    if name == "mouths":
        labels = torch.randint(len(VISEMES), (n,), generator=gen)
        return Labelled(mouth_image(labels, gen, size), labels, VISEMES, sample(n, gen, objects=0))
    if name == "counting":
        scene = sample(n, gen, objects=(1, 4), sizes=("small",))
        return Labelled(render(scene, size), scene.count - 1, tuple(f"{w} objects" for w in words.NUMBERS[1:]), scene)
    scene = sample(n, gen, sizes=("small", "medium"))
    column, row = ((v[:, 0] >= 0.4).long() + (v[:, 0] > 0.6).long() for v in (scene.x, scene.y))
    return Labelled(render(scene, size), 3 * row + column, words.REGIONS, scene)


@dataclass(frozen=True)
class Episode:
    """A few-shot episode: named examples, then queries.

    `support` holds ways x shots scenes, `support_label` int64 tells which of the made-up `names` each shows, `query`
    and `query_label` likewise; `classes` says what the names mean, as (shape, texture) pairs.
    """

    support: Scene
    support_label: Tensor
    query: Scene
    query_label: Tensor
    names: tuple[str, ...]
    classes: tuple[tuple[str, str], ...]


def class_pairs(part: str) -> list[tuple[str, str]]:
    """Return the (shape, texture) classes of a part: 24 for "train", 24 for "novel"; no class is in both.

    The novel ones are the four novel shapes in all textures, and for each of the eight shapes one texture held back.
    """
    held = [(shape, words.TEXTURES[i % 4]) for i, shape in enumerate(words.SHAPES)]
    if part == "novel":
        return held + [(shape, texture) for shape in words.NOVEL_SHAPES for texture in words.TEXTURES]
    if part == "train":
        return [pair for shape in words.SHAPES for texture in words.TEXTURES if (pair := (shape, texture)) not in held]
    raise WorldError(f'A part is "train" or "novel"; got {part!r}.')


def episode(
    seed: torch.Generator | int,
    ways: int = 2,
    shots: int = 2,
    queries: int = 2,
    *,
    part: str = "novel",
    names: Sequence[str] | None = None,
    **options: Any,
) -> Episode:
    """Draw one episode: `ways` classes get made-up names ("dax", "blicket"), `shots` examples each, and queries.

    Colours, places and backgrounds vary within a class, so only shape and texture tell. Support comes in random order;
    queries are balanced as far as they go round. Raises WorldError if there are too few classes or names.
    """
    gen = generator(seed)
    pool = class_pairs(part)
    if not 1 <= ways <= len(pool) or shots < 1 or queries < 0:
        raise WorldError(f"An episode has 1 to {len(pool)} ways, at least one shot and no negative number of queries.")
    if names is None:
        names = nonce_words(ways, gen)
    if len(set(names)) < ways:
        raise WorldError(f"{ways} ways need {ways} different names.")
    chosen = [pool[i] for i in torch.randperm(len(pool), generator=gen)[:ways].tolist()]
    label = torch.arange(ways).repeat_interleave(shots)[torch.randperm(ways * shots, generator=gen)]
    asked = torch.arange(queries) % ways
    asked = asked[torch.randperm(queries, generator=gen)] if queries else asked
    support, query = (_of_classes(which, chosen, gen, options) for which in (label, asked))
    return Episode(support, label, query, asked, tuple(names[:ways]), tuple(chosen))


def _of_classes(label: Tensor, chosen: list[tuple[str, str]], gen: torch.Generator, options: dict[str, Any]) -> Scene:
    scene = sample(len(label), gen, **({"sizes": ("medium", "big")} | options))
    shape = words.labels("shape", [s for s, _ in chosen])[label]
    texture = words.labels("texture", [t for _, t in chosen])[label]
    return scene.replace(shape=shape[:, None].expand_as(scene.shape), texture=texture[:, None].expand_as(scene.texture))


@dataclass(frozen=True)
class FastQuestion:
    """A question about a new picture that uses names taught by an episode.

    `question` uses the made-up name, `real_question` the true words (the upper reference); `options` are four colours,
    the answer among them. Both classes are in the picture, in different colours, so that the name must be understood.
    """

    episode: Episode
    scene: Scene
    question: str
    real_question: str
    answer: str
    options: tuple[str, ...]


def fast_question(seed: torch.Generator | int, shots: int = 2, *, part: str = "novel") -> FastQuestion:
    """Draw one item of the Fast-VQA test: two classes are named, then "what colour is the dax ?" is asked."""
    gen = generator(seed)
    taught = episode(gen, 2, shots, 0, part=part)
    colours = [words.COLOURS[i] for i in torch.randperm(len(words.COLOURS), generator=gen)[:4].tolist()]
    scene = sample(1, gen, objects=2, sizes=("medium",))
    shape = words.labels("shape", [s for s, _ in taught.classes])[None]
    texture = words.labels("texture", [t for _, t in taught.classes])[None]
    scene = scene.replace(shape=shape, texture=texture, colour=words.labels("colour", colours[:2])[None])
    which = int(torch.randint(2, (), generator=gen))
    real_shape, real_texture = taught.classes[which]
    real = f"{words.TEXTURE_SYNONYMS[real_texture][0]} {real_shape}"
    options = tuple(colours[i] for i in torch.randperm(4, generator=gen).tolist())
    question = f"what colour is the {taught.names[which]} ?"
    return FastQuestion(taught, scene, question, f"what colour is the {real} ?", colours[which], options)


def page(
    seed: torch.Generator | int, pairs: int = 8, classes: int = 3, *, bursty: bool = True, part: str = "train"
) -> tuple[Scene, Tensor, Tensor]:
    """Draw a "web page" of image-label pairs: scenes [pairs], labels int64 [pairs], classes int64 [pairs].

    A bursty page shows few classes again and again under labels that hold on this page only (0 to 7); another page
    draws classes freely, with the fixed label class modulo 8. Raises WorldError for more than 8 classes a page.
    """
    gen = generator(seed)
    pool = class_pairs(part)
    if not 1 <= classes <= 8:
        raise WorldError(f"A page shows 1 to 8 classes; got {classes}.")
    if bursty:
        own = torch.randperm(len(pool), generator=gen)[:classes]
        local = torch.randperm(8, generator=gen)[:classes]
        pick = torch.randint(classes, (pairs,), generator=gen)
        kind, label = own[pick], local[pick]
    else:
        kind = torch.randint(len(pool), (pairs,), generator=gen)
        label = kind % 8
    return _of_classes(kind, pool, gen, {}), label, kind
