"""What a student's own cells had shown when the notebook was handed in: text and PNG only, never run again.

Nothing here is trusted or counts for anything. Text passes `plain_text` and the page's escaping; of a picture only the
chunks that make up the image are kept, and none that does not add up.
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from autograder.base.wording import plain_text

MOST_OUTPUTS = 40  # per notebook
MOST_TEXT = 2000  # characters of one output
MOST_PICTURE = 400_000  # bytes of one picture
MOST_TOGETHER = 2_000_000  # bytes of one notebook's outputs
MOST_PIXELS = 4096  # along a side
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")


@dataclass(frozen=True)
class Shown:
    """One output: text, or the data URI of a picture."""

    cell: str  # first line of the cell
    text: str = ""
    picture: str = ""


@dataclass(frozen=True)
class Outputs:
    """What a notebook showed, and how many outputs were left out."""

    shown: tuple[Shown, ...]
    left_out: int = 0


def outputs_of(cells: Iterable[Mapping[str, Any]] | None) -> Outputs:
    """Return what the code cells of a notebook's JSON had shown."""
    shown: list[Shown] = []
    left_out = room = 0
    room = MOST_TOGETHER
    for cell in cells or ():
        listed = cell.get("outputs")
        if cell.get("cell_type") != "code" or not isinstance(listed, list):
            continue
        head = _first_line(cell.get("source"))
        for output in listed:
            made = _shown(head, output) if isinstance(output, dict) else None
            size = len(made.text) + len(made.picture) if made else 0
            if made is None or size > room or len(shown) >= MOST_OUTPUTS:
                left_out += 1
                continue
            shown.append(made)
            room -= size
    return Outputs(tuple(shown), left_out)


def _shown(head: str, output: Mapping[str, Any]) -> Shown | None:
    kind = output.get("output_type")
    if kind == "stream":
        return _text(head, output.get("text"))
    if kind == "error":
        return _text(head, f"{output.get('ename', '')}: {output.get('evalue', '')}")
    data = output.get("data")
    if kind not in ("display_data", "execute_result") or not isinstance(data, dict):
        return None
    picture = png(_joined(data.get("image/png")))
    if picture:
        return Shown(head, picture="data:image/png;base64," + base64.b64encode(picture).decode("ascii"))
    return _text(head, data.get("text/plain"))


def _text(head: str, given: Any) -> Shown | None:
    text = plain_text(_joined(given)[: 4 * MOST_TEXT]).strip("\n")
    if len(text) > MOST_TEXT:
        text = text[:MOST_TEXT] + " [...]"
    return Shown(head, text=text) if text else None


def _joined(given: Any) -> str:
    if isinstance(given, list):
        return "".join(part for part in given if isinstance(part, str))
    return given if isinstance(given, str) else ""


def _first_line(source: Any) -> str:
    lines = [line for line in plain_text(_joined(source)[:2000]).split("\n") if line.strip()]
    return lines[0].strip()[:80] if lines else ""


def png(text: str) -> bytes | None:
    """Return the picture of a base64 text with nothing in it but the image, or None where it is no sound PNG."""
    if not text or len(text) > 2 * MOST_PICTURE:
        return None
    try:
        raw = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(raw) > MOST_PICTURE or not raw.startswith(_SIGNATURE):
        return None
    kept, place, kinds = bytearray(_SIGNATURE), len(_SIGNATURE), []
    while place + 12 <= len(raw):
        (length,) = struct.unpack_from(">I", raw, place)
        kind, body = raw[place + 4 : place + 8], raw[place + 8 : place + 8 + length]
        end = place + 12 + length
        if end > len(raw) or raw[end - 4 : end] != struct.pack(">I", zlib.crc32(kind + body)):
            return None
        if kind in _NEEDED:
            kinds.append(kind)
            kept += raw[place:end]
        place = end
        if kind == b"IEND":
            break
    if kinds[:1] != [b"IHDR"] or kinds[-1:] != [b"IEND"] or b"IDAT" not in kinds or kinds.count(b"IHDR") != 1:
        return None
    width, height = struct.unpack_from(">II", kept, len(_SIGNATURE) + 8)
    return bytes(kept) if 0 < width <= MOST_PIXELS and 0 < height <= MOST_PIXELS else None
