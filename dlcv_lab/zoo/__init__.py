"""Tiny pretrained models in the real libraries' own formats: change the name of the scale, and get the real model.

    model, preprocess, tokenizer = zoo.load("clip")                # an open_clip model
    pipe = zoo.load("sd")                                          # a diffusers pipeline
    model, preprocess, tokenizer = zoo.load("clip", scale="full")  # ViT-B-32, 151 M parameters

`dlcv zoo list` shows what there is; docs/zoo.md says how each was made and how well it does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from . import cards as _cards
from . import catalogue as _catalogue
from .cards import Card as Card
from .cards import Comparison as Comparison
from .catalogue import DamagedWeightsError as DamagedWeightsError
from .catalogue import MissingLibraryError as MissingLibraryError
from .catalogue import MissingModelError as MissingModelError
from .catalogue import UnknownModelError as UnknownModelError
from .catalogue import ZooError as ZooError

__all__ = [
    "Card",
    "Comparison",
    "DamagedWeightsError",
    "MissingLibraryError",
    "MissingModelError",
    "UnknownModelError",
    "ZooError",
    "card",
    "folder",
    "load",
    "names",
    "verify",
]


def load(
    name: str, *, scale: Literal["laptop", "full"] = "laptop", device: Any = None, folder: str | Path | None = None
) -> Any:
    """Return a model as its library's users expect it, in evaluation mode.

    "clip" gives (model, preprocess, tokenizer) of open_clip; "sd", "video" and "uncond" a diffusers pipeline; "gpt"
    and "llama" (model, tokenizer) of transformers; "vit" and "resnet" (model, transform).

    Args:
        name: one of `names()`.
        scale: "laptop" for the tiny model in this package, "full" for the real one, fetched once by its hub's client.
        device: where to put it; the CPU unless told otherwise, as in the libraries (`dlcv_lab.device()` is the best).
        folder: a folder in which `dlcv zoo train` made this model, instead of the one in the package.

    Raises:
        UnknownModelError: there is no such model.
        MissingLibraryError: a library is not installed; the message names the pip extra.
        DamagedWeightsError: the weights are missing, truncated or changed.
        MissingModelError: the full model is not on this machine and there is no network.
        ValueError: scale or device make no sense.
    """
    model = _catalogue.find(name)
    if scale not in ("laptop", "full"):
        raise ValueError(f"scale is 'laptop' or 'full', not {scale!r}")
    _catalogue.require(model)
    from dlcv_lab.devices import device as known

    place = known("cpu" if device is None else str(device))
    if scale == "full":
        from . import fetching

        return fetching.load(name, device=place)
    home = model.folder if folder is None else Path(folder)
    _cards.check(home)
    return model.maker().load(home, device=place)


def names() -> tuple[str, ...]:
    """Return the names of all models."""
    return tuple(_catalogue.MODELS)


def card(name: str) -> Card:
    """Return the card of a model: how it was made, its figures, its limits, its files."""
    return _cards.read(folder(name))


def folder(name: str) -> Path:
    """Return the folder of a model's files, for loading by the library alone."""
    return _catalogue.find(name).folder


def verify(name: str, *, device: Any = None) -> list[Comparison]:
    """Measure a model again on held-out data and return its figures beside those of its card.

    Raises:
        DamagedWeightsError: a file differs from its checksum.
    """
    from dlcv_lab.devices import device as known

    model = _catalogue.find(name)
    _catalogue.require(model)
    card = _cards.check(model.folder, again=True)
    measured = model.maker().measure(model.folder, device=str(known("cpu" if device is None else str(device))))
    return _cards.compare(card, measured, model.least)
