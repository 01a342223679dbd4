"""The pictures and sounds of a lesson page as files beside it, so that a page is light until its reader scrolls."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from nbformat.notebooknode import NotebookNode

from autograder.base import cache

FOLDER = "pictures"
INLINE = 1_500  # bytes: what is smaller costs less inside the page than a request of its own
ENDINGS = {"svg+xml": "svg", "jpeg": "jpg", "mpeg": "mp3", "x-wav": "wav"}

_DATA = re.compile(r"data:(?:image|audio|video)/([\w.+-]+);base64,([A-Za-z0-9+/=]+)")
_IMAGE = re.compile(rf'<img\b(?=[^>]*\ssrc="{FOLDER}/)(?![^>]*\sloading=)')


def separate(page: NotebookNode, folder: Path) -> set[Path]:
    """Write what the outputs of a page hold as data addresses into files, and let the page name them.

    Pictures are then loaded when they come near the window; frames of a filmstrip beyond the first, when it is touched.

    Args:
        page: the notebook; its outputs are changed in place.
        folder: where the page lies; files go into `pictures/` below it, named by their content.

    Returns:
        The files that the page needs.
    """
    needed: set[Path] = set()

    def to_file(found: re.Match[str]) -> str:
        raw = base64.b64decode(found[2])
        if len(raw) < INLINE:
            return found[0]
        name = f"{hashlib.sha256(raw).hexdigest()[:20]}.{ENDINGS.get(found[1], found[1])}"
        path = folder / FOLDER / name
        cache.write(path, raw)
        needed.add(path)
        return f"{FOLDER}/{name}"

    for data in _html_outputs(page):
        text = _DATA.sub(to_file, data["text/html"])
        data["text/html"] = _IMAGE.sub('<img loading="lazy" decoding="async"', text)
    return needed


def _html_outputs(page: NotebookNode) -> Iterator[NotebookNode]:
    for cell in page.cells:
        for output in cell.get("outputs", []):
            if "text/html" in output.get("data", {}):
                yield output["data"]
