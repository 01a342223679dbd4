"""Tiny pretrained models in the real libraries' own formats: change the name of the scale, and get the real model.

    model, preprocess, tokenizer = zoo.load("clip")                # an open_clip model
    pipe = zoo.load("sd")                                          # a diffusers pipeline
    model, preprocess, tokenizer = zoo.load("clip", scale="full")  # ViT-B-32, 151 M parameters
    zoo.checkpoint("ch04/simclr", into=model)                      # your module, trained for longer

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
from .catalogue import MismatchedWeightsError as MismatchedWeightsError
from .catalogue import MissingLibraryError as MissingLibraryError
from .catalogue import MissingModelError as MissingModelError
from .catalogue import UnknownModelError as UnknownModelError
from .catalogue import ZooError as ZooError

__all__ = [
    "Card",
    "Comparison",
    "DamagedWeightsError",
    "MismatchedWeightsError",
    "MissingLibraryError",
    "MissingModelError",
    "UnknownModelError",
    "ZooError",
    "card",
    "checkpoint",
    "checkpoints",
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
    and "llama" (model, tokenizer) of transformers; "vit" and "resnet" (model, transform); "eye" (model, processor)
    and "ear" (model, extractor) of transformers.

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


def checkpoint(name: str, *, into: Any = None, folder: str | Path | None = None) -> Any:
    """Return the state dict of a chapter's module that was trained for longer than a lesson can: "ch04/simclr".

    Args:
        name: one of `checkpoints()`.
        into: your module; the state dict must fit it, entry by entry, and is loaded into it.
        folder: a folder in which `dlcv zoo train` made it, instead of the one in the package.

    Returns:
        dict from names to tensors, floating ones float32, on the CPU.

    Raises:
        UnknownModelError: there is no such checkpoint.
        DamagedWeightsError: the weights are missing, truncated or changed.
        MismatchedWeightsError: entries of `into` are missing, or are left over, or have another shape.
    """
    known = _catalogue.checkpoints()
    if folder is None and name not in known:
        import difflib

        near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UnknownModelError(f"there is no checkpoint {name!r}; {hint}There are {', '.join(known) or 'none yet'}.")
    home = _catalogue.WEIGHTS / name if folder is None else Path(folder)
    _cards.check(home)
    from . import recipes

    found = recipes.state(home)
    if into is not None:
        _fit(name, found, into)
        into.load_state_dict(found)
    return found


def _fit(name: str, found: dict[str, Any], into: Any) -> None:
    """Raise MismatchedWeightsError unless the module has exactly these entries, in these shapes."""
    wanted = into.state_dict()
    odd = {
        "your module lacks": sorted(set(found) - set(wanted)),
        "the checkpoint lacks": [key for key in wanted if key not in found],
        "of another shape are": [
            f"{key} {list(wanted[key].shape)}, in the checkpoint {list(found[key].shape)}"
            for key in wanted
            if key in found and wanted[key].shape != found[key].shape
        ],
    }
    said = [
        f"{what} {', '.join(keys[:5])}{f' and {len(keys) - 5} more' if len(keys) > 5 else ''}"
        for what, keys in odd.items()
        if keys
    ]
    if said:
        raise MismatchedWeightsError(
            f"the checkpoint {name!r} does not fit this {type(into).__name__}: {'; '.join(said)}. "
            "Names and sizes have to be those of the chapter's text."
        )


def checkpoints() -> tuple[str, ...]:
    """Return the names of all checkpoints of chapters in this package."""
    return _catalogue.checkpoints()


def names() -> tuple[str, ...]:
    """Return the names of all models."""
    return tuple(_catalogue.MODELS)


def card(name: str) -> Card:
    """Return the card of a model or checkpoint: how it was made, its figures, its limits, its files."""
    return _cards.read(folder(name))


def folder(name: str) -> Path:
    """Return the folder of a model's files, for loading by the library alone."""
    return _catalogue.WEIGHTS / name if name in _catalogue.checkpoints() else _catalogue.find(name).folder


def verify(name: str, *, device: Any = None) -> list[Comparison]:
    """Measure a model or checkpoint again on held-out data and return its figures beside those of its card.

    Where the chapters are not seen, a checkpoint's files are compared with their checksums and nothing is measured.

    Raises:
        DamagedWeightsError: a file differs from its checksum.
    """
    from dlcv_lab.devices import device as known

    if not _catalogue.FINDERS and name in _catalogue.checkpoints():
        _cards.check(folder(name), again=True)
        return []
    model = _catalogue.find(name)
    _catalogue.require(model)
    card = _cards.check(model.folder, again=True)
    measured = model.maker().measure(model.folder, device=str(known("cpu" if device is None else str(device))))
    return _cards.compare(card, measured, model.least)
