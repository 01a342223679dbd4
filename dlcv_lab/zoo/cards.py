"""The card beside each model's weights: how it was made, what it can do, and the checksums of its files."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from dlcv_lab.files import write_whole

from .catalogue import CHECKPOINT, DamagedWeightsError

FORMAT = 1
"""Version of the cards that this package reads and writes."""
NAME = "card.json"
TOLERANCE = 0.03
"""How far a share may be off where a card says nothing: other processors round otherwise, and some figures sample."""
_whole: set[Path] = set()  # folders whose files were compared with their card in this process


@dataclass(frozen=True)
class Card:
    """A model's card. `metrics` are figures on held-out data, `tolerance` how far a later measurement may be off."""

    name: str
    made_of: str
    data: str
    steps: int
    seed: int
    seconds: float
    device: str
    licence: str
    parameters: int
    metrics: dict[str, float]
    tolerance: dict[str, float]
    limits: str
    libraries: dict[str, str]
    files: dict[str, str]
    version: int = FORMAT

    def allowed(self, figure: str) -> float:
        """Return how far a measurement of the figure may be from the card."""
        return self.tolerance.get(figure, TOLERANCE)


def read(folder: Path) -> Card:
    """Return the card in a folder.

    Raises:
        DamagedWeightsError: it is missing, cannot be read, or is of another format version.
    """
    path = folder / NAME
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DamagedWeightsError(f"{path} is missing, no finished model lies there: {_remedy(folder)}") from error
    except (OSError, ValueError) as error:
        raise DamagedWeightsError(f"{path} cannot be read ({error}): {_remedy(folder)}") from error
    version = data.get("version") if isinstance(data, dict) else None
    if version != FORMAT:
        raise DamagedWeightsError(
            f"{path} has the format version {version!r}, this package reads {FORMAT}: "
            "the weights and the package are of different releases; install dlcv-lab again."
        )
    known = {each.name for each in fields(Card)}
    if set(data) != known:
        odd = sorted(set(data) ^ known)
        raise DamagedWeightsError(f"{path} lacks or adds {', '.join(odd)}: {_remedy(folder)}")
    return Card(**data)


def check(folder: Path, *, again: bool = False) -> Card:
    """Return the card, its files compared with their checksums: once a process, or `again`.

    Raises:
        DamagedWeightsError: a file is missing, truncated or changed.
    """
    card = read(folder)
    home = folder.resolve()
    if home in _whole and not again:
        return card
    for name, expected in card.files.items():
        path = folder / name
        if not path.is_file():
            raise DamagedWeightsError(f"{path} is missing: {_remedy(folder)}")
        if digest(path) != expected:
            raise DamagedWeightsError(f"{path} is damaged or not the file of its card: {_remedy(folder)}")
    _whole.add(home)
    return card


@dataclass(frozen=True)
class Comparison:
    """One figure of a card beside a new measurement; `aim` is what the figure should reach, if there is such a mark."""

    figure: str
    said: float
    measured: float
    allowed: float
    aim: float | None = None

    @property
    def ok(self) -> bool:
        """Return whether the measurement is within tolerance of the card."""
        return abs(self.measured - self.said) <= self.allowed + 1e-9

    @property
    def short(self) -> bool:
        """Return whether the card's figure is below its aim."""
        return self.aim is not None and self.said < self.aim


def compare(card: Card, measured: dict[str, float], aims: dict[str, float]) -> list[Comparison]:
    """Return every figure of the card beside its measurement; one that was not measured counts as not a number."""
    return [
        Comparison(name, said, measured.get(name, float("nan")), card.allowed(name), aims.get(name))
        for name, said in card.metrics.items()
    ]


def write(folder: Path, card: Card) -> None:
    """Write a card in one step, with the checksums of all files that lie in the folder now."""
    data = asdict(card) | {"files": digests(folder)}
    write_whole(folder / NAME, (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode())
    _whole.discard(folder.resolve())


def digests(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file below the folder but the card, checkpoints and hidden files."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path: path.relative_to(folder).as_posix() for path in found}
    return {
        name: digest(path)
        for path, name in names.items()
        if name != NAME and not name.startswith(CHECKPOINT) and not path.name.startswith(".")
    }


def digest(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remedy(folder: Path) -> str:
    chapter = f"{folder.parent.name}/" if re.fullmatch(r"ch\d\d", folder.parent.name) else ""
    return f"install dlcv-lab again, or make it anew with `dlcv zoo train {chapter}{folder.name}`."
