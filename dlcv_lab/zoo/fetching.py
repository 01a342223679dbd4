"""Load the real, full-scale models from their hub's cache or, once, from the hub."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .catalogue import MissingModelError, find


@dataclass(frozen=True)
class Source:
    """Where a real model lies in the Hugging Face hub, and which of its files are needed."""

    repo: str
    files: tuple[str, ...]

    @property
    def command(self) -> str:
        """Return the shell command that fetches these files."""
        return " ".join(["hf download", self.repo, *(f'--include "{pattern}"' for pattern in self.files)])


_TEXT_MODEL = ("config.json", "generation_config.json", "model.safetensors", "tokenizer*", "vocab.json", "merges.txt")
_VISION = ("config.json", "model.safetensors", "preprocessor_config.json")
_BOTH = ("*.json", "model*.safetensors", "tokenizer*", "chat_template*")
SOURCES = {
    "clip": Source("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", ("open_clip_config.json", "open_clip_model.safetensors")),
    "gpt": Source("openai-community/gpt2", _TEXT_MODEL),
    "llama": Source("TinyLlama/TinyLlama-1.1B-Chat-v1.0", (*_TEXT_MODEL, "special_tokens_map.json")),
    "vit": Source("timm/vit_small_patch16_224.augreg_in21k_ft_in1k", ("config.json", "model.safetensors")),
    "resnet": Source("timm/resnet50.tv2_in1k", ("config.json", "model.safetensors")),
    "eye": Source("openai/clip-vit-large-patch14", _VISION),
    "ear": Source("openai/whisper-tiny", _VISION),
    "llm_base": Source("TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T", _TEXT_MODEL),
    "llm": Source("TinyLlama/TinyLlama-1.1B-Chat-v1.0", (*_TEXT_MODEL, "special_tokens_map.json")),
}
"""The models that no diffusers pipeline holds; those are in `pipelines.FULL`."""


def load(name: str, *, device: Any = "cpu") -> Any:
    """Return the real model of a name on a device, in evaluation mode, in the form that its tiny model has.

    Raises:
        MissingModelError: it is not on this machine and cannot be fetched; the message names the model, the command
            that fetches it, and the cache folder.
    """
    if name not in SOURCES:
        from . import pipelines

        return pipelines.load_full(name, device=device)
    from safetensors import SafetensorError

    source = SOURCES[name]
    folder = _snapshot(source)
    try:
        return find(name).maker().load(folder, device=device)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise _missing(source, f"its files in {folder} cannot be loaded ({_first_line(error)})") from error


def cache_folder() -> Path:
    """Return where the hub's client keeps what it fetched: the variable HF_HUB_CACHE, or below HF_HOME."""
    from huggingface_hub import constants

    return Path(os.environ.get("HF_HUB_CACHE") or constants.HF_HUB_CACHE)


def _snapshot(source: Source) -> Path:
    """Return the folder of the model's files in the cache, fetching what is not there."""
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        found = huggingface_hub.snapshot_download(
            source.repo, allow_patterns=list(source.files), cache_dir=cache_folder()
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise _missing(source, "it is not on this machine and the hub cannot be reached") from error
    if not any(Path(found).glob("*.safetensors")):
        raise _missing(source, f"{found} holds no weights: the fetching was broken off")
    return Path(found)


def _missing(source: Source, why: str) -> MissingModelError:
    return MissingModelError(
        f"The model {source.repo} cannot be had: {why}. On a machine with network run `{source.command}`; "
        f"the files go to {cache_folder()}, which you can copy here. Or use scale='laptop'."
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
