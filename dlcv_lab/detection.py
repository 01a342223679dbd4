"""Scenes to search, a scorer and pictures for detectors: what the notebooks of one chapter share.

sky = detection.sky(100, seed=1)                      # images, boxes, labels
detection.mean_ap(found, sky).mean                    # found: one (boxes, scores, labels) a scene
detection.show_boxes(sky.images[:4], found[:4], alt="...")
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlcv_lab import world
from dlcv_lab.card import Picture, deliver, from_figure, need_alt

CLASSES = ("circle", "square", "triangle", "star")
INKS = ("#15378e", "#09a963", "#d87d00", "#b20300")
SIZE = 64

Found = tuple[Tensor, Tensor, Tensor]  # boxes [M, 4], scores [M], labels [M]


class Sky(NamedTuple):
    """Scenes and what is in them: `images` [N, 3, 64, 64], and one [M, 4] of boxes and [M] of labels a scene."""

    images: Tensor
    boxes: list[Tensor]
    labels: list[Tensor]

    def part(self, start: int, stop: int) -> Sky:
        """Return the scenes start to stop - 1."""
        return Sky(self.images[start:stop], self.boxes[start:stop], self.labels[start:stop])


class Score(NamedTuple):
    """The average precision of every class (nan where no scene holds it) and their mean."""

    per_class: list[float]
    mean: float


def sky(n: int, seed: torch.Generator | int, *, objects: int | tuple[int, int] = (1, 4)) -> Sky:
    """Draw n scenes of 64x64 pixels with circles, squares, triangles and stars on grounds that disturb.

    Boxes are float32 x1, y1, x2, y2 in pixels, y down; labels are 0 to 3, in the order of `CLASSES`. The objects lie
    apart or overlap a little; their boxes are about 8 to 22 pixels wide.
    """
    scene = world.sample(
        n, seed, objects=objects, shapes=CLASSES, textures=("plain", "stripes", "checker"),
        backgrounds=world.BACKGROUNDS, sizes=(0.075, 0.175), rotation="free", overlap=0.4,
    )  # fmt: skip
    names = [world.label("shape", name) for name in CLASSES]
    boxes, labels = [], []
    for target in world.targets(scene, SIZE):
        boxes.append(target["boxes"])
        labels.append(torch.tensor([names.index(int(label) - 1) for label in target["labels"]], dtype=torch.int64))
    return Sky(world.render(scene, SIZE), boxes, labels)


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the intersection over union of boxes [N, 4] and [M, 4] as [N, M]; 0 for two empty boxes."""
    corner = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    shared = corner.clip(0).prod(-1)
    areas = [np.prod(box[:, 2:] - box[:, :2], axis=1) for box in (a, b)]
    joint = areas[0][:, None] + areas[1][None] - shared
    return np.divide(shared, joint, out=np.zeros_like(shared), where=joint > 0)


def mean_ap(found: Sequence[Found], truth: Sky, *, threshold: float = 0.5) -> Score:
    """Score detections as PASCAL VOC does since 2010: area under the precision envelope, IoU at least `threshold`.

    A detection is right if the box of its class that it overlaps most reaches the threshold and was not found before.

    Args:
        found: one (boxes [M, 4], scores [M], labels [M]) a scene, in any order.
        truth: the scenes.

    Raises:
        ValueError: not as many lists as scenes.
    """
    if len(found) != len(truth.boxes):
        raise ValueError(f"detections of {len(found)} scenes, but the truth has {len(truth.boxes)}")
    return Score(*_summary([_class_ap(found, truth, k, threshold) for k in range(len(CLASSES))]))


def _summary(per_class: list[float]) -> tuple[list[float], float]:
    known = [ap for ap in per_class if ap == ap]
    return per_class, sum(known) / len(known) if known else float("nan")


def _class_ap(found: Sequence[Found], truth: Sky, label: int, threshold: float) -> float:
    rows: list[tuple[float, bool]] = []
    wanted = 0
    for (boxes, scores, labels), true_boxes, true_labels in zip(found, truth.boxes, truth.labels):
        mine, ours = (labels == label).numpy(), true_boxes[true_labels == label].double().numpy()
        wanted += len(ours)
        order = np.argsort(-scores.detach().numpy()[mine], kind="stable")
        quality = overlaps(boxes.detach().double().numpy()[mine][order], ours)
        taken: set[int] = set()
        for row, score in zip(quality, scores.detach().numpy()[mine][order]):
            best = int(row.argmax()) if len(row) else -1
            hit = best >= 0 and row[best] >= threshold and best not in taken
            taken |= {best} if hit else set()
            rows.append((float(score), hit))
    if wanted == 0:
        return float("nan")
    rows.sort(key=lambda row: -row[0])
    right = np.cumsum([hit for _, hit in rows]) if rows else np.zeros(0)
    precision = right / np.arange(1, len(rows) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    gained = np.array([hit for _, hit in rows], dtype=float)
    return float((envelope * gained).sum() / wanted)


def draw_boxes(
    axes: Any, image: Tensor, boxes: Tensor, labels: Tensor | None = None, names: Sequence[str] = ()
) -> None:
    """Draw one image [3, H, W] or [H, W] and its boxes [M, 4] into matplotlib axes, each class in its colour."""
    from matplotlib.patches import Rectangle

    pixels = image.permute(1, 2, 0) if image.ndim == 3 else image
    axes.imshow(
        pixels.clamp(0, 1), cmap="gray", vmin=0, vmax=1, extent=(0, image.shape[-1], image.shape[-2], 0),
        interpolation="nearest",
    )  # fmt: skip
    for k, box in enumerate(boxes.tolist()):
        ink = INKS[int(labels[k])] if labels is not None else "#853df1"
        corner, wide, high = box[:2], box[2] - box[0], box[3] - box[1]
        axes.add_patch(Rectangle(corner, wide, high, fill=False, edgecolor="white", linewidth=3))
        axes.add_patch(Rectangle(corner, wide, high, fill=False, edgecolor=ink, linewidth=1.6))
        if k < len(names):
            above = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85}
            said = axes.text(box[0], max(box[1] - 1, 3), names[k], color=ink, fontsize=7, bbox=above, clip_on=True)
            said.set_in_layout(False)
    axes.set(xticks=[], yticks=[], xlim=(0, image.shape[-1]), ylim=(image.shape[-2], 0))


def show_boxes(
    images: Any,
    found: Sequence[Any],
    *,
    alt: str,
    titles: Sequence[str] = (),
    title: str | None = None,
    cols: int = 4,
    scores: bool = True,
    display: bool = True,
) -> Picture | None:
    """Show scenes with their boxes; the colour and the word say the class.

    `found` has one (boxes, scores, labels) or (boxes, labels) an image. With `scores=False` only the class is written.

    Raises:
        TypeError: `alt` is missing or empty.
    """
    from matplotlib.figure import Figure

    said = need_alt(alt, "show_boxes")
    rows = -(-len(images) // cols)
    figure = Figure(figsize=(1.75 * cols, 1.75 * rows + (0.3 if title else 0) + (0.2 * rows if titles else 0)))
    figure.set_layout_engine("constrained")
    grid = np.atleast_1d(figure.subplots(rows, cols)).ravel()
    for axes in grid[len(images) :]:
        axes.axis("off")
    for k, (axes, image, one) in enumerate(zip(grid, images, found)):
        boxes, labels = one[0], one[-1]
        sure = [f" {float(s):.2f}" for s in one[1]] if scores and len(one) == 3 else [""] * len(boxes)
        names = [CLASSES[int(label)] + s for label, s in zip(labels, sure)]
        draw_boxes(axes, image, boxes, labels, names)
        if k < len(titles):
            axes.set_title(titles[k], fontsize=9)
    if title:
        figure.suptitle(title, fontsize=11)
    return deliver(from_figure(figure, said), display)
