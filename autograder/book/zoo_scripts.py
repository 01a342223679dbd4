"""The models of the zoo as scripts for the book's pages: `build/pages/zoo/sd.js` and its like.

A page opened as a file may not fetch one; it may only run scripts. So each exported model lies in a script that hands
its files over, packed by gzip and written in base64 (book/_static/zoo.js takes them, when somebody clicks).
"""

from __future__ import annotations

import base64
import gzip
import importlib.metadata
import json
import re
import tempfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from autograder.base import cache, paths
from dlcv_lab import zoo
from dlcv_lab.world import reader
from dlcv_lab.zoo import exporting

KIND = "page_models"  # in the cache
FOLDER = "zoo"  # below the generated pages, and below _static
MODELS = {"paint": ("sd", "reader"), "rank": ("clip",)}  # kind of live model -> what it loads
_KINDS = re.compile(rf'data-kind=\\?"({"|".join(MODELS)})\\?"')  # in HTML, or in the JSON of a notebook


def script(name: str, told: Mapping[str, Any], parts: Mapping[str, bytes]) -> bytes:
    """Return a script that hands over a name, plain data, and files packed by gzip and written in base64."""
    packed = {key: base64.b64encode(gzip.compress(raw, 9, mtime=0)).decode("ascii") for key, raw in parts.items()}
    body = json.dumps({"told": told, "parts": packed}, ensure_ascii=False, separators=(",", ":"))
    return f'dlcvZoo.take("{name}",{body});\n'.encode()


def wanted(*sources: Path) -> set[str]:
    """Return the models that the pages and fragments below some folders load."""
    found: set[str] = set()
    for source in sources:
        for path in source.rglob("*"):
            if path.suffix in (".md", ".html", ".ipynb") and path.is_file():
                for kind in _KINDS.findall(path.read_text(encoding="utf-8")):
                    found.update(MODELS[kind])
    return found


def write(pages: Path, names: Collection[str], progress: Callable[[str], None] = lambda line: None) -> set[str]:
    """Write the scripts of some models below a folder of generated pages, and remove others; return what lies there.

    What did not change comes from the cache. Where the libraries that exporting takes are not installed, nothing is
    written: a page then says so, and keeps its filmstrip.

    Raises:
        ExportError: an exported file does not compute what torch computes.
        DamagedWeightsError: the weights of a model are missing, truncated or changed.
    """
    target = pages / FOLDER
    try:
        if names:
            exporting.require()
    except zoo.MissingLibraryError as error:
        progress(f"no models in the pages: {error}")
        names = ()
    for old in target.glob("*.js"):
        if old.stem not in names:
            old.unlink()
    for name in sorted(names):
        held = key(name)
        with cache.locked(f"{KIND}/{held}"):
            if not cache.fetch(KIND, held, target / f"{name}.js"):
                progress(f"{name} as a script for pages")
                cache.write(target / f"{name}.js", made(name))
                cache.store(KIND, held, target / f"{name}.js")
    return set(names)


def made(name: str) -> bytes:
    """Export a model and return its script."""
    with tempfile.TemporaryDirectory() as place:
        folder = exporting.export(name, Path(place) / name).folder
        told = json.loads((folder / exporting.CONSTANTS).read_text(encoding="utf-8"))
        return script(name, told, {path.stem: path.read_bytes() for path in sorted(folder.glob("*.onnx"))})


def key(name: str) -> str:
    """Return what a script depends on, as one hash: the weights, this code, and the libraries that export."""
    weights = reader.load_reader()[1]["sha256"] if name == "reader" else json.dumps(zoo.card(name).files)
    versions = [f"{each} {importlib.metadata.version(each)}" for each in ("torch", *exporting.NEEDS[:2])]
    code = cache.code_digest("dlcv_lab/zoo/exporting.py", str(Path(__file__).relative_to(paths.CHECKOUT)))
    return cache.digest(name, weights, code, *versions)
