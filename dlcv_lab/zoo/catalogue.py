"""What stands in the zoo: one row a model, and the errors that every part of the zoo raises."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

WEIGHTS = Path(__file__).parent / "weights"


class ZooError(Exception):
    """Something about a model of the zoo that the user can mend; the message says how."""


class UnknownModelError(ZooError, ValueError):
    """No model has this name."""


class MismatchedWeightsError(ZooError, ValueError):
    """A checkpoint does not fit the module that it was asked for; the message names the entries."""


class MissingLibraryError(ZooError, ImportError):
    """A library that this model needs is not installed."""


class DamagedWeightsError(ZooError, RuntimeError):
    """Weights are missing, truncated, changed, or of another format version."""


class MissingModelError(ZooError, RuntimeError):
    """A full-scale model is not on this machine and cannot be fetched now."""


@dataclass(frozen=True)
class Options:
    """How to train a model.

    `steps`: as many as the shipped model had, unless given. `resume`: go on where a broken-off training stopped.
    `progress`: show a bar. `begin`: a folder with an earlier model, from whose weights to start.
    """

    steps: int | None = None
    device: str = "cpu"
    resume: bool = False
    progress: bool = True
    begin: Path | None = None


@dataclass(frozen=True)
class Trained:
    """What a training run tells about itself: steps done, seed, seconds of wall time, parameters, and its data."""

    steps: int
    seed: int
    seconds: float
    parameters: int
    data: str
    limits: str
    """What the model cannot do."""


class Maker(Protocol):
    """What a row's `made_by` names: a module, or an object in one, with these three functions."""

    def train(self, folder: Path, options: Options) -> Trained:
        """Write the model's files, in its library's own format, into a folder that exists.

        State to resume from goes to `folder / CHECKPOINT`.
        """

    def measure(self, folder: Path, *, device: str = "cpu") -> dict[str, float]:
        """Return the figures of the model in the folder on held-out data; the same ones each time."""

    def load(self, folder: Path, *, device: Any = "cpu") -> Any:
        """Return the model in the folder as its library's users expect it."""


CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True)
class Model:
    """One row of the catalogue.

    `needs` are the modules to import, `extra` the pip extra that brings them; `figures` says in words what each figure
    of `measure` is, `least` is what a figure must reach; `full` is the model that `scale="full"` gives. `tolerance` is
    how far a figure may be off on another machine where the usual is too little: shares of a few dozen painted
    pictures, of which rounding changes some. `begins_at` names the other models whose weights it can begin with.
    """

    name: str
    what: str
    gives: str
    made_by: str
    extra: str
    needs: tuple[str, ...]
    full: str
    figures: dict[str, str] = field(default_factory=dict)
    least: dict[str, float] = field(default_factory=dict)
    tolerance: dict[str, float] = field(default_factory=dict)
    begins_at: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Return where its weights lie in the package."""
        return WEIGHTS / self.name

    def maker(self) -> Maker:
        """Import and return what trains, measures and loads it.

        Raises:
            MissingLibraryError: a library that it needs is not installed.
        """
        require(self)
        module, _, attribute = self.made_by.partition(":")
        found = importlib.import_module(f"dlcv_lab.zoo.{module}")
        return cast("Maker", getattr(found, attribute) if attribute else found)


_LANGUAGE_FIGURES = {
    "facts": "facts completed, in wordings seen in training",
    "paraphrases": "facts completed, in wordings held out",
    "well_formed": "sampled sentences that the world's parser accepts",
    "perplexity": "of a token of held-out sentences (lower is better)",
}
_LANGUAGE_LEAST = {"facts": 0.95, "paraphrases": 0.95}
_SHAPE_FIGURES = {
    "shapes": "shapes named right, scenes as world.sample draws them",
    "shapes_on_clutter": "shapes named right on noise, grids and gradients",
}

MODELS: dict[str, Model] = {
    row.name: row
    for row in (
        Model(
            name="clip",
            what="pictures and captions in one space",
            gives="(model, preprocess, tokenizer) of open_clip",
            made_by="clip",
            extra="vl",
            needs=("open_clip", "transformers"),
            full="laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
            figures={
                "seen": "zero-shot, pairs of shape and colour seen in training, among 64",
                "held_out": "zero-shot, pairs never seen, among 64",
                "text_to_image_r1": "finds the picture of a long caption among 100",
                "image_to_text_r1": "finds the long caption of a picture among 100",
            },
            least={"seen": 0.95},
        ),
        Model(
            name="sd",
            what="pictures from prompts, by latent diffusion",
            gives="a StableDiffusionPipeline of diffusers",
            made_by="diffusion",
            extra="diffusion",
            needs=("diffusers", "transformers"),
            full="stable-diffusion-v1-5/stable-diffusion-v1-5",
            figures={
                "prompt obeyed": "64 prompts of a colour and a shape, guidance 4, 25 steps: both are read",
                "without guidance": "the same prompts, guidance 1",
                "synonyms obeyed": "the same in other words",
                "style obeyed": "36 prompts that name a style: it is read",
                "mark obeyed": "24 prompts that name an identity mark: it is read",
                "picture error": "mean squared error of pictures after the autoencoder",
            },
            least={"prompt obeyed": 0.90},
            tolerance={
                "prompt obeyed": 0.1,
                "without guidance": 0.1,
                "synonyms obeyed": 0.1,
                "style obeyed": 0.1,
                "mark obeyed": 0.1,
                "picture error": 0.0005,
            },
        ),
        Model(
            name="video",
            what="clips from prompts: sd with attention over time",
            gives="a pipeline of diffusers",
            made_by="video",
            extra="diffusion",
            needs=("diffusers", "transformers"),
            full="guoyww/animatediff-motion-adapter-v1-5-2",
            figures={
                "motion obeyed": "30 prompts: the motion read off the clip is the one named",
                "object obeyed": "frames in which the prompt's shape and colour are read",
                "motion read": "how often the motions of real clips are read right",
            },
            least={"motion obeyed": 0.80},
            tolerance={"motion obeyed": 0.1, "object obeyed": 0.1},
            begins_at=("sd",),
        ),
        Model(
            name="uncond",
            what="pictures without prompts, by diffusion of pixels",
            gives="a DDPMPipeline of diffusers",
            made_by="unconditional",
            extra="diffusion",
            needs=("diffusers",),
            full="google/ddpm-cifar10-32",
            figures={
                "one object": "64 samples: exactly one object is read, its shape and colour surely",
                "noise error": "mean squared error of the predicted noise on held-out pictures",
            },
            tolerance={"one object": 0.12, "noise error": 0.002},
        ),
        Model(
            name="gpt",
            what="the world's language, GPT-2's architecture; knows the facts",
            gives="(model, tokenizer) of transformers",
            made_by="language:GPT",
            extra="vl",
            needs=("transformers",),
            full="openai-community/gpt2",
            figures=_LANGUAGE_FIGURES,
            least=_LANGUAGE_LEAST,
        ),
        Model(
            name="llama",
            what="the world's language, Llama's architecture; knows the facts",
            gives="(model, tokenizer) of transformers",
            made_by="language:LLAMA",
            extra="vl",
            needs=("transformers",),
            full="TinyLlama/TinyLlama-1.1B-Chat-v1.0",
            figures=_LANGUAGE_FIGURES,
            least=_LANGUAGE_LEAST,
        ),
        Model(
            name="vit",
            what="a vision transformer that names shapes",
            gives="(model, transform) of timm",
            made_by="classifiers:VIT",
            extra="vl",
            needs=("timm",),
            full="timm/vit_small_patch16_224.augreg_in21k_ft_in1k",
            figures=_SHAPE_FIGURES | {"attention_gain": "attention to a patch of the object, times that to others"},
            least={"shapes": 0.95},
        ),
        Model(
            name="resnet",
            what="a residual convolutional network that names shapes",
            gives="(model, transform) of timm; layers named as in torchvision",
            made_by="classifiers:RESNET",
            extra="vl",
            needs=("timm",),
            full="timm/resnet50.tv2_in1k",
            figures=_SHAPE_FIGURES,
            least={"shapes": 0.95},
        ),
        Model(
            name="eye",
            what="pictures of several things, faces and labels as 64 patch tokens",
            gives="(model, processor): a CLIPVisionModel of transformers",
            made_by="eye",
            extra="vl",
            needs=("transformers",),
            full="openai/clip-vit-large-patch14",
            figures={
                "shape": "a linear probe names the shape at a place, one to four things",
                "colour": "a linear probe names the colour at a place",
                "count": "a linear probe of the class token counts to four",
                "emotion": "a linear probe names the emotion of a big face",
                "emotion of small faces": "the same of faces among other things",
                "glyph": "a linear probe names which of 22 glyphs a label shows",
            },
            least={"shape": 0.95, "colour": 0.95, "count": 0.90, "emotion": 0.90},
        ),
        Model(
            name="ear",
            what="a second of sound or speech as 50 tokens; names timbres and words",
            gives="(model, extractor): a WhisperForAudioClassification of transformers",
            made_by="ear",
            extra="vl",
            needs=("transformers",),
            full="openai/whisper-tiny",
            figures={
                "timbre": "which of eight shapes sounds, or nobody, named by the model's own head",
                "word": "which of sixteen words is said, named by the model's own head",
                "pitch": "a linear probe of the mean token names the semitone, of 25",
                "pitch class": "the same without the octave, of 12",
                "phoneme": "a linear probe of a video frame's two tokens names the phoneme or silence, of 13",
            },
            least={"timbre": 0.97},
        ),
        Model(
            name="llm_base",
            what="the world's language with the words of the vision-language stack, from plain text",
            gives="(model, tokenizer) of transformers",
            made_by="llm:BASE",
            extra="vl",
            needs=("transformers",),
            full="TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T",
            figures=_LANGUAGE_FIGURES,
            least=_LANGUAGE_LEAST,
        ),
        Model(
            name="llm",
            what="the same language model after chats and instructions: it talks and obeys",
            gives="(model, tokenizer) of transformers",
            made_by="llm:LLM",
            extra="vl",
            needs=("transformers",),
            full="TinyLlama/TinyLlama-1.1B-Chat-v1.0",
            figures=_LANGUAGE_FIGURES,
            least=_LANGUAGE_LEAST,
            begins_at=("llm_base",),
        ),
    )
}


FINDERS: list[Callable[[str], Model | None]] = []
"""Functions from a name such as "ch04/simclr" to its row, or None; the instructor's half has one."""


def find(name: str) -> Model:
    """Return the row of a name: a model's, or that of a chapter's checkpoint, "ch04/simclr", where chapters are seen.

    Raises:
        UnknownModelError: there is none; the message names the nearest.
    """
    if name in MODELS:
        return MODELS[name]
    if "/" in str(name):
        for finder in FINDERS:
            if (found := finder(name)) is not None:
                return found
        raise UnknownModelError(
            f"there is no recipe {name!r}. Recipes stand in chapters/<slug>/recipes.py of a checkout with the "
            "instructor's half; here are the checkpoints: " + (", ".join(checkpoints()) or "none") + "."
        )
    near = difflib.get_close_matches(str(name).lower(), MODELS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UnknownModelError(f"the zoo has no model {name!r}; {hint}There are {', '.join(MODELS)}.")


def checkpoints() -> tuple[str, ...]:
    """Return the names of all checkpoints of chapters that have weights here, sorted: "ch04/simclr", ..."""
    found = WEIGHTS.glob("ch[0-9][0-9]/*/card.json")
    return tuple(sorted(path.parent.relative_to(WEIGHTS).as_posix() for path in found))


def require(model: Model) -> None:
    """Raise MissingLibraryError if a library of the row is not installed."""
    missing = [module for module in model.needs if importlib.util.find_spec(module) is None]
    if missing:
        raise MissingLibraryError(
            f"the model {model.name!r} needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} "
            f'not installed: run pip install "dlcv-lab[{model.extra}]"'
        )
