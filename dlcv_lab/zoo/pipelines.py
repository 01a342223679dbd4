"""Read and write diffusers pipelines: the tiny ones in half precision, the real ones through the hub's client."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from .catalogue import MissingModelError

FULL = {
    "sd": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "uncond": "google/ddpm-cifar10-32",
    "video": "guoyww/animatediff-motion-adapter-v1-5-2",
}
"""The real models in the hub; "video" is a motion adapter for the real "sd"."""


def save(pipe: Any, folder: Path) -> None:
    """Write the pipeline's files into the folder: weights as float16, which the library loads as float32."""
    with _quiet():
        pipe.save_pretrained(folder, safe_serialization=True)
    for path in sorted(folder.rglob("*.safetensors")):
        halve(path)
    for path in sorted(folder.glob("*/config.json")):
        _forget_origin(path)


def _forget_origin(path: Path) -> None:
    """Take out of a config the folder that its weights were trained on from: a path of another machine."""
    config = json.loads(path.read_text(encoding="utf-8"))
    if config.pop("_name_or_path", None) is not None:
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def halve(path: Path) -> None:
    """Rewrite a safetensors file with its floating-point tensors as float16."""
    from safetensors.torch import load_file, save_file

    state = {name: value.half() if value.is_floating_point() else value for name, value in load_file(path).items()}
    save_file(state, path, metadata={"format": "pt"})
    path.chmod(0o644)


def load(folder: Path, *, device: Any = "cpu") -> Any:
    """Return the pipeline in a folder, in single precision, without progress bars."""
    from diffusers import DiffusionPipeline

    with _quiet():
        pipe = DiffusionPipeline.from_pretrained(folder, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device)


def load_full(name: str, *, device: Any = "cpu", cache: str | Path | None = None) -> Any:
    """Return the real model of a name as a pipeline, from the hub's cache or, failing that, from the hub.

    `cache` is the hub's cache folder, by default the one that its client uses (`HF_HOME`).

    Raises:
        MissingModelError: it is not in the cache and cannot be fetched; the message names model, command and folder.
    """
    from diffusers import AnimateDiffPipeline, DiffusionPipeline, MotionAdapter

    if name != "video":
        return _from_hub(DiffusionPipeline, FULL[name], cache).to(device)
    adapter = _from_hub(MotionAdapter, FULL[name], cache)
    return _from_hub(AnimateDiffPipeline, FULL["sd"], cache, motion_adapter=adapter).to(device)


def _from_hub(kind: Any, repository: str, cache: str | Path | None, **parts: Any) -> Any:
    for local in (True, False):
        try:
            return kind.from_pretrained(repository, cache_dir=cache, local_files_only=local, **parts)
        except (OSError, ValueError) as error:  # the hub's errors of missing files and missing network are OSErrors
            last = error
    from huggingface_hub import constants

    raise MissingModelError(
        f"The model {repository} is not in {cache or constants.HF_HUB_CACHE} and cannot be fetched now. "
        f'With network, run: python -c "from diffusers import {kind.__name__} as K; K.from_pretrained({repository!r})"'
    ) from last


def parameters(pipe: Any) -> dict[str, int]:
    """Return the number of parameters of every network of a pipeline."""
    parts = {name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}
    return {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries from drawing bars, and diffusers from saying that there is no safety checker."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    log = logging.getLogger("diffusers")
    level, shown = log.level, []
    log.setLevel(logging.ERROR)
    for each in (diffusers_logging, transformers_logging):
        if each.is_progress_bar_enabled():
            each.disable_progress_bar()
            shown.append(each)
    try:
        yield
    finally:
        log.setLevel(level)
        for each in shown:
            each.enable_progress_bar()
