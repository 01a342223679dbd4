"""Read what is really in an image, generated ones included: shapes, colours, places, marks, style, with confidence.

A small convolutional network trained on the world (`train_reader.py`), one forward pass for all objects. It answers
"unsure" (label -1) where its calibrated confidence is below a threshold, so that scores count measurements only.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import words
from .fitting import fit_looks
from .parsing import is_true, parse
from .scene import MAX_OBJECTS, Plain, Thing
from .words import WorldError

GRID = 16
OBJECT_HEADS = {"shape": 12, "colour": 8, "texture": 4, "mark": 7}
SCENE_HEADS = {"style": 7, "background": 4, "ground": 6}
WEIGHTS = Path(__file__).parent / "weights"
UNSURE = -1


class _Block(nn.Module):
    """Two 3x3 convolutions with a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm_one = nn.BatchNorm2d(width)
        self.two = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm_two = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm_one(self.one(x)))
        return F.relu(x + self.norm_two(self.two(h)))


def _down(inside: int, outside: int, kernel: int = 3) -> nn.Sequential:
    conv = nn.Conv2d(inside, outside, kernel, stride=2, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outside), nn.ReLU())


class ReaderNet(nn.Module):
    """Map images [N, 3, 32, 32] to a grid [N, 4 + 31, 16, 16] of objects and logits [N, 17] of the scene.

    Grid channels: objectness, offset x, offset y, size, then the logits of `OBJECT_HEADS`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_down(3, 32, 5), _Block(32))
        self.eight = nn.Sequential(_down(32, 64), _Block(64))
        self.four = nn.Sequential(_down(64, 96), _Block(96), _Block(96))
        self.up_four = nn.Conv2d(96, 64, 1)
        self.up_eight = nn.Conv2d(64, 48, 1)
        self.skip = nn.Conv2d(32, 48, 1)
        self.head = nn.Sequential(
            nn.Conv2d(48, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 4 + sum(OBJECT_HEADS.values()), 1)
        )
        self.scene = nn.Linear(2 * (32 + 96), sum(SCENE_HEADS.values()))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        sixteen = self.stem(images * 2 - 1)
        eight = self.eight(sixteen)
        four = self.four(eight)
        eight = F.relu(eight + F.interpolate(self.up_four(four), scale_factor=2))
        fine = F.relu(self.skip(sixteen) + F.interpolate(self.up_eight(eight), scale_factor=2))
        pooled = [pool for level in (sixteen, four) for pool in (level.mean((2, 3)), level.amax((2, 3)))]
        return self.head(fine), self.scene(torch.cat(pooled, 1))


@dataclass(frozen=True)
class Readout:
    """What the reader found in N images, up to four objects each, surest first.

    `found` bool [N, 4]; `labels` and `confidence` by attribute ("shape", "colour", "texture", "mark": [N, 4]; "style",
    "background", "ground": [N]), labels int64 with -1 for unsure or absent; `x`, `y`, `size` float32 [N, 4] in canvas
    widths; `score` float32 [N, 4], how sure it is that there is an object.
    """

    found: Tensor
    labels: dict[str, Tensor]
    confidence: dict[str, Tensor]
    x: Tensor
    y: Tensor
    size: Tensor
    score: Tensor

    def __len__(self) -> int:
        return len(self.found)

    @property
    def count(self) -> Tensor:
        """Return the number of objects found, int64 [N]."""
        return self.found.sum(1)

    @property
    def shape(self) -> Tensor:
        """Return the shape label of the surest object, int64 [N]; -1 if unsure or nothing was found."""
        return self.labels["shape"][:, 0]

    @property
    def colour(self) -> Tensor:
        """Return the colour label of the surest object, int64 [N]; -1 if unsure or nothing was found."""
        return self.labels["colour"][:, 0]

    def plain(self) -> list[Plain]:
        """Return the readings in words, one `Plain` an image, unsure values as "unsure"."""
        return [self._plain(i) for i in range(len(self))]

    def _word(self, kind: str, label: int) -> str:
        return "unsure" if label < 0 else words.names(kind)[label]

    def _plain(self, i: int) -> Plain:
        things = []
        for k in self.found[i].nonzero()[:, 0].tolist():
            named = {kind: self._word(kind, int(self.labels[kind][i, k])) for kind in OBJECT_HEADS}
            x, y, size = (float(v[i, k]) for v in (self.x, self.y, self.size))
            things.append(Thing(slot=k, x=x, y=y, size=size, rotation=0.0, shade=0.0, layer=0, **named))
        background, ground, style = (self._word(k, int(self.labels[k][i])) for k in ("background", "ground", "style"))
        return Plain(tuple(things), background, ground, style)


@functools.lru_cache(maxsize=2)
def load_reader(device: str = "cpu") -> tuple[ReaderNet, dict[str, Any]]:
    """Return the trained network and its card (temperatures, figures); raises WorldError if the weights are damaged."""
    from safetensors.torch import load_file

    card_path, path = WEIGHTS / "reader.json", WEIGHTS / "reader.safetensors"
    try:
        card = json.loads(card_path.read_text(encoding="utf-8"))
        raw = path.read_bytes()
    except (OSError, ValueError) as error:
        raise WorldError(f"The reader's weights in {WEIGHTS} are missing or unreadable: reinstall dlcv-lab.") from error
    import hashlib

    if hashlib.sha256(raw).hexdigest() != card.get("sha256"):
        raise WorldError(f"{path} is damaged or not the file of its card: reinstall dlcv-lab.")
    net = ReaderNet()
    net.load_state_dict(load_file(path))
    return net.eval().to(device), card


def read(images: Tensor, *, closely: bool = False, unsure_below: float = 0.6) -> Readout:
    """Return what is in the images, as far as the reader can tell.

    Args:
        images: float32 [N, 3, S, S] in [0, 1], S a multiple of 32 (larger ones are averaged down to 32).
        closely: read texture and mark by rendering (`fitting`), much better than the network alone but slow: about
            20 to 40 ms an object. Meant for objects in flat style, tilted by at most 24 degrees.
        unsure_below: calibrated confidence under which an attribute reads -1; 0 always answers.

    Raises:
        WorldError: for images of another shape, kind or range, or damaged weights.
    """
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3] or images.shape[2] % 32:
        raise WorldError(f"The reader takes images [N, 3, S, S] with S a multiple of 32; got {tuple(images.shape)}.")
    bounded = images.is_floating_point() and bool(((images >= -0.05) & (images <= 1.05)).all())
    if not bounded:
        raise WorldError("The reader takes floating-point images in [0, 1]; use (images + 1) / 2 for [-1, 1].")
    net, card = load_reader(str(images.device))
    return interpret(net, images.float(), card["temperature"], closely, unsure_below)


def interpret(
    net: ReaderNet, images: Tensor, temperature: dict[str, float], closely: bool = False, unsure_below: float = 0.6
) -> Readout:
    """Run a network on images float32 [N, 3, S, S] and put its outputs in words; see `read`."""
    if images.shape[2] > 32:
        images = F.interpolate(images, size=(32, 32), mode="area")
    with torch.no_grad():
        parts = [net(part) for part in images.split(512)]
    if not parts:
        parts = [(images.new_zeros(0, 4 + sum(OBJECT_HEADS.values()), GRID, GRID), images.new_zeros(0, 17))]
    grid, scene = (torch.cat(part) for part in zip(*parts))
    readout = decode(grid, scene, temperature)
    if closely:
        i, k = readout.found.nonzero(as_tuple=True)
        looks = fit_looks(
            images[i],
            readout.labels["shape"][i, k],
            readout.labels["colour"][i, k],
            *(v[i, k] for v in (readout.x, readout.y, readout.size)),
        )
        for kind, share in looks.items():
            readout.confidence[kind][i, k], readout.labels[kind][i, k] = share.max(1)
    for kind, confidence in readout.confidence.items():
        readout.labels[kind] = torch.where(confidence >= unsure_below, readout.labels[kind], UNSURE)
    return readout


def decode(grid: Tensor, scene: Tensor, temperature: dict[str, float], threshold: float = 0.5) -> Readout:
    """Turn the network's outputs into readings: peaks of objectness, and the likeliest attributes at them."""
    score = grid[:, 0].sigmoid()
    peak = score * (score == F.max_pool2d(score[:, None], 3, stride=1, padding=1)[:, 0])
    top, at = peak.flatten(1).topk(MAX_OBJECTS, 1)
    found = top > threshold
    row, column = at // GRID, at % GRID
    picked = grid.flatten(2).gather(2, at[:, None].expand(-1, grid.shape[1], -1))
    x = (column + 0.5 + picked[:, 1].tanh()) / GRID
    y = (row + 0.5 + picked[:, 2].tanh()) / GRID
    size = picked[:, 3].sigmoid() * 0.5
    labels, confidence = {}, {}
    start = 4
    for kind, n in OBJECT_HEADS.items():
        share = (picked[:, start : start + n] / temperature.get(kind, 1.0)).softmax(1)
        confidence[kind], label = share.max(1)
        labels[kind] = torch.where(found, label, UNSURE)
        start += n
    start = 0
    for kind, n in SCENE_HEADS.items():
        share = (scene[:, start : start + n] / temperature.get(kind, 1.0)).softmax(1)
        confidence[kind], labels[kind] = share.max(1)
        start += n
    return Readout(found, labels, confidence, x, y, size, top)


def obeys(images: Tensor, texts: list[str], *, only: bool = False, unsure_below: float = 0.6) -> Tensor:
    """Return whether each image shows what its caption says, by the reader, bool [N].

    An unsure reading of a mentioned attribute counts as not shown. With `only` the image must also hold as many objects
    as the caption mentions, no more. Raises WorldError if a caption cannot be read or there are not as many captions as
    images.
    """
    if len(texts) != len(images):
        raise WorldError(f"{len(images)} images cannot be compared with {len(texts)} captions.")
    said = [parse(text) for text in texts]
    seen = read(images, unsure_below=unsure_below).plain()
    wanted = [sum(m.number for m in reading.mentions) for reading in said]
    right = [
        is_true(reading, plain) and not (only and len(plain.things) != number)
        for reading, plain, number in zip(said, seen, wanted)
    ]
    return torch.tensor(right, dtype=torch.bool)
