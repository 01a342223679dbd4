"""Write models of the zoo as ONNX, for programs without torch such as a page in a browser: `dlcv zoo export sd`.

Each network is one file whose weights are stored in half precision and computed with in single precision; `model.json`
holds what else one needs to use them: words, noise schedule, sizes. The runtime is asked before anything is kept: a
file that computes something else than torch is an error.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import inspect
import io
import itertools
import json
import logging
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .catalogue import MissingLibraryError, UnknownModelError, ZooError

CONSTANTS = "model.json"
NEEDS = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-4
"""Largest difference from torch in single precision, as a share of the largest output; a level of grey is 4e-3."""
EDITABLE = (".attn2.to_k.weight", ".attn2.to_v.weight")
"""Ends of the names of the weights whose places in unet.onnx are told, so that a page can exchange them."""


class ExportError(ZooError):
    """A file that does not compute what torch computes; nothing was kept."""


@dataclass(frozen=True)
class Part:
    """One network: its file, its size in bytes, and the largest difference from torch, as a share of the output."""

    file: str
    size: int
    difference: float


@dataclass(frozen=True)
class Exported:
    """What `export` wrote."""

    folder: Path
    parts: tuple[Part, ...]
    seconds: float


@dataclass(frozen=True)
class _Network:
    """A network to export: `module` takes `inputs`, of which those in `batched` may have any number of rows."""

    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]
    batched: tuple[str, ...]
    editable: bool = False


class _Call(nn.Module):
    """A module whose forward is a function of another one."""

    def __init__(self, inside: nn.Module, call: Callable[..., Any]) -> None:
        super().__init__()
        self.inside, self.call = inside, call

    def forward(self, *inputs: Tensor) -> Any:
        return self.call(self.inside, *inputs)


def _sd() -> tuple[dict[str, _Network], dict[str, Any]]:
    """Text encoder, U-Net and decoder of `sd`, and what its pipeline knows besides."""
    from dlcv_lab import zoo

    from . import diffusion, text

    pipe = zoo.load("sd")
    unet, vae, scheduler, tokenizer = pipe.unet, pipe.vae, pipe.scheduler, pipe.tokenizer
    ids = text.encode(tokenizer, ["a red ring.", ""])
    gen = torch.Generator().manual_seed(0)
    shape = (unet.config.in_channels, unet.config.sample_size, unet.config.sample_size)
    latents = torch.randn(2, *shape, generator=gen)
    with torch.no_grad():
        states = pipe.text_encoder(ids).last_hidden_state
    networks = {
        "text": _Network(_Call(pipe.text_encoder, _states), {"ids": ids}, ("states",), ("ids",)),
        "unet": _Network(
            _Call(unet, _noise),
            {"latents": latents, "time": torch.tensor(481), "states": states},
            ("noise",),
            ("latents", "states"),
            editable=True,
        ),
        "decoder": _Network(_Call(vae, _decoded), {"latents": latents}, ("pictures",), ("latents",)),
    }
    settings = scheduler.config
    expected = ("epsilon", "leading", False)  # what the arithmetic of a page assumes
    found = (settings.prediction_type, settings.timestep_spacing, settings.clip_sample)
    if type(scheduler).__name__ != "DDIMScheduler" or found != expected or vae.config.get("shift_factor"):
        raise ExportError("sd no longer samples by plain DDIM: the page's arithmetic has to follow it first")
    return networks, {
        "tokens": _tokens(tokenizer, r"[^\s.,;:!?]+", text.LENGTH),
        "schedule": {
            "kept": [round(float(a), 9) for a in scheduler.alphas_cumprod],  # abar at every time
            "last": round(float(scheduler.final_alpha_cumprod), 9),  # abar before time 0
            "offset": settings.steps_offset,
        },
        "latents": list(shape),
        "scaling": vae.config.scaling_factor,
        "guidance": diffusion.GUIDANCE,
        "steps": diffusion.SAMPLING_STEPS,
    }


def _states(encoder: Any, ids: Tensor) -> Tensor:
    states: Tensor = encoder(ids).last_hidden_state
    return states


def _noise(unet: Any, latents: Tensor, time: Tensor, states: Tensor) -> Tensor:
    noise: Tensor = unet(latents, time, states).sample
    return noise


def _decoded(vae: Any, latents: Tensor) -> Tensor:
    """Latents as the U-Net has them -> pictures in [0, 1]."""
    pictures: Tensor = vae.decode(latents / vae.config.scaling_factor).sample
    return (pictures / 2 + 0.5).clamp(0, 1)


def _clip() -> tuple[dict[str, _Network], dict[str, Any]]:
    """The two towers of `clip`; their outputs have length 1."""
    from dlcv_lab import world, zoo

    from . import clip, language

    model, _, _ = zoo.load("clip")
    tokenizer = language.make_tokenizer(clip.LENGTH, closed=True)
    ids = clip._ids(tokenizer, ["a red ring", "two blue stars on a green background."])
    pictures = world.render(world.sample(2, 0))
    networks = {
        "words": _Network(_Call(model, _text_features), {"ids": ids}, ("features",), ("ids",)),
        "pictures": _Network(_Call(model, _image_features), {"pictures": pictures}, ("features",), ("pictures",)),
    }
    return networks, {
        "tokens": _tokens(tokenizer, language._PIECES, clip.LENGTH),
        "scale": round(float(model.logit_scale.detach().exp()), 4),
    }


def _text_features(model: Any, ids: Tensor) -> Tensor:
    return nn.functional.normalize(model.encode_text(ids), dim=1)


def _image_features(model: Any, pictures: Tensor) -> Tensor:
    """Pictures in [0, 1] -> features."""
    return nn.functional.normalize(model.encode_image(pictures * 2 - 1), dim=1)  # clip.normalise


def _reader() -> tuple[dict[str, _Network], dict[str, Any]]:
    """The network of `world.read`; its weights, alone among these, lose something by half precision."""
    from dlcv_lab import world
    from dlcv_lab.world import reader

    net, card = reader.load_reader()
    pictures = world.render(world.sample(2, 0))
    halved = _fused(net).half().float()
    network = _Network(_Call(halved, nn.Module.__call__), {"pictures": pictures}, ("grid", "scene"), ("pictures",))
    return {"reader": network}, {
        "heads": {kind: list(world.words.names(kind)) for kind in reader.OBJECT_HEADS},
        "temperature": {kind: card["temperature"].get(kind, 1.0) for kind in reader.OBJECT_HEADS},
        "sure": inspect.signature(reader.read).parameters["unsure_below"].default,
        "grid": reader.GRID,
        "most": world.MAX_OBJECTS,
    }


def _fused(net: nn.Module) -> nn.Module:
    """Return a copy whose normalisations are part of the convolutions before them, as the exporter would make it."""
    net = copy.deepcopy(net).eval()
    for module in net.modules():
        inside = list(module.named_children())
        for (name, one), (after, other) in itertools.pairwise(inside):
            if isinstance(one, nn.Conv2d) and isinstance(other, nn.BatchNorm2d):
                setattr(module, name, nn.utils.fusion.fuse_conv_bn_eval(one, other))
                setattr(module, after, nn.Identity())
    return net


MAKERS: dict[str, Callable[[], tuple[dict[str, _Network], dict[str, Any]]]] = {
    "sd": _sd,
    "clip": _clip,
    "reader": _reader,
}


def _tokens(tokenizer: Any, pieces: str, length: int) -> dict[str, Any]:
    """Return what cuts a text into ids: lower case, every match of `pieces` a word, start, words, end, padding."""
    ids = tokenizer.get_vocab()
    return {
        "words": sorted(ids, key=lambda word: ids[word]),
        "pieces": pieces,
        "start": tokenizer.bos_token_id,
        "end": tokenizer.eos_token_id,
        "pad": tokenizer.pad_token_id,
        "length": length,
    }


def require() -> None:
    """Raise MissingLibraryError if a library that exporting takes is not installed."""
    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingLibraryError(
            f'exporting needs {" and ".join(missing)}, not installed here: run pip install "dlcv-lab[onnx]"'
        )


def export(name: str, folder: Path) -> Exported:
    """Write a model as ONNX files and `model.json` into a folder, which appears when all of it is right.

    Args:
        name: "sd", "clip", or "reader" for the network of `world.read`.
        folder: is made, or replaced if it holds an earlier export.

    Raises:
        UnknownModelError: the model has no export.
        MissingLibraryError: onnx, onnxscript or onnxruntime are missing; the message names the extra.
        ExportError: a file computes something else than torch, or the folder holds something else.
    """
    if name not in MAKERS:
        raise UnknownModelError(f"there is no export of {name!r}; there are {', '.join(MAKERS)}")
    require()
    if folder.exists() and any(folder.iterdir()) and not (folder / CONSTANTS).is_file():
        raise ExportError(f"{folder} holds something else than an export: name another folder")
    began = time.perf_counter()
    networks, constants = MAKERS[name]()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as hidden:
        place, parts = Path(hidden) / "whole", []
        place.mkdir()
        for key, network in networks.items():
            raw = to_onnx(network)
            path = place / f"{key}.onnx"
            path.write_bytes(raw)
            parts.append(Part(path.name, len(raw), difference(network, raw)))
            if not parts[-1].difference <= TOLERANCE:
                raise ExportError(f"{path.name} of {name} is {parts[-1].difference:.1g} away from torch")
            if network.editable:
                constants["places"] = places(network.module, raw)
        told = {"name": name, **constants}
        (place / CONSTANTS).write_text(json.dumps(told, separators=(",", ":")) + "\n", encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        place.rename(folder)
    return Exported(folder, tuple(parts), time.perf_counter() - began)


def to_onnx(network: _Network) -> bytes:
    """Return the network as an ONNX file: any number of rows, weights stored in half precision."""
    rows = torch.export.Dim("rows", min=1, max=256)
    shapes = tuple({0: rows} if name in network.batched else None for name in network.inputs)
    with _quiet():
        program: Any = torch.onnx.export(
            network.module.eval(),
            tuple(network.inputs.values()),
            dynamo=True,
            optimize=True,
            verbose=False,
            input_names=list(network.inputs),
            output_names=list(network.outputs),
            dynamic_shapes=(shapes,),  # forward takes *inputs
        )
    raw: bytes = _halved(program.model_proto).SerializeToString(deterministic=True)
    return raw


def _halved(model: Any) -> Any:
    """Store tensors that half precision holds without loss in half precision, and take notes for debuggers out.

    Constants that would lose something (the frequencies of the time embedding, the mask of the text encoder) stay.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph, casts = model.graph, []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        full = numpy_helper.to_array(tensor)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # what overflows is not equal, and stays
            half = full.astype("float16")
        if full.size < 16 or not (half.astype("float32") == full).all():
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    for noted in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        if hasattr(noted, "metadata_props"):
            del noted.metadata_props[:]
        noted.doc_string = ""
    del graph.value_info[:]
    return model


@torch.no_grad()
def difference(network: _Network, raw: bytes) -> float:
    """Return the largest difference between onnxruntime and torch, as a share of torch's largest output."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
    worst = 0.0
    for rows in (slice(None), slice(1)):  # as exported, and a single row
        inputs = {name: x[rows] if name in network.batched else x for name, x in network.inputs.items()}
        wanted = network.module(*inputs.values())
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        given = session.run(list(network.outputs), {name: x.numpy() for name, x in inputs.items()})
        for one, other in zip(given, wanted):
            if tuple(one.shape) != tuple(other.shape):
                return float("inf")
            worst = max(worst, float((torch.from_numpy(one) - other).abs().max() / other.abs().max()))
    return worst


def places(module: nn.Module, raw: bytes) -> dict[str, tuple[int, int, bool]]:
    """Return where a file holds the weights that a page may exchange: name -> (first byte, bytes, transposed).

    Raises:
        ExportError: a weight is not there in half precision exactly once.
    """
    found = {}
    for name, weight in module.named_parameters():
        if not name.endswith(EDITABLE):
            continue
        for turned in (False, True):
            held = (weight.T if turned else weight).detach().half().contiguous().numpy().tobytes()
            if (count := raw.count(held)) == 1:
                found[name.removeprefix("inside.")] = (raw.index(held), len(held), turned)
                break
        else:
            raise ExportError(f"the weight {name} stands {count} times in the file")
    return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter from telling how it goes."""
    names = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")
    logs = [logging.getLogger(name) for name in names]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in zip(logs, levels):
            log.setLevel(level)
