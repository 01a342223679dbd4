"""The detectors of the race, each trained by the chapter's own losses on the same 3000 scenes."""

from functools import lru_cache

import torch
from torch import Tensor
from torchvision import ops

from dlcv_lab import detection, detectors
from dlcv_lab.proposals import selective_search
from dlcv_lab.zoo.recipes import Training, recipe, step_generator
from solutions import ch06_object_detection as ours

SEED, POOL = 6_000, 3000
K, SIZE = len(detection.CLASSES), detection.SIZE
FIGURES = {"mAP": "mean average precision at IoU .5 on 200 held-out scenes"}
DATA = f"batches of 16 out of {POOL} scenes of 64x64 pixels with one to four objects"
LIMITS = "Circles, squares, triangles and stars of 8 to 22 pixels; it has never seen a photograph."


@lru_cache
def pool() -> detection.Sky:
    """Return the scenes that every detector learns from."""
    return detection.sky(POOL, SEED)


@lru_cache
def regions() -> list[Tensor]:
    """Return the proposals of selective search for every scene of the pool."""
    return [selective_search(image) for image in pool().images[:1500]]


def batch(step: int, scenes: int = POOL, size: int = 16) -> tuple[Tensor, torch.Generator]:
    rng = step_generator(SEED, step)
    return torch.randint(scenes, (size,), generator=rng), rng


def measured(model) -> dict[str, float]:
    held_out = detection.sky(200, SEED + 1)
    return {"mAP": detection.mean_ap(model.detect(held_out.images), held_out).mean}


@recipe(steps=500, lr=5e-3, seed=SEED, weight_decay=1e-3, figures=FIGURES, data=DATA.replace("16", "8"), limits=LIMITS)
def hog() -> Training:
    """One linear template a class over oriented gradients, with the hinge loss on every window."""
    model = detectors.HogDetector()

    def loss(step):
        index, _ = batch(step, size=8)
        total = 0.0
        for n in index.tolist():
            boxes, scores = model(pool().images[n])
            iou = ops.box_iou(boxes, pool().boxes[n])
            for k in range(K):
                mine = pool().labels[n] == k
                best = iou[:, mine].amax(1) if mine.any() else torch.zeros(len(boxes))
                positive, negative = best >= 0.6, best < 0.3
                total = total + (1 - scores[positive, k]).clamp(min=0).sum() / 4
                total = total + (1 + scores[negative, k]).clamp(min=0).sum() / 20
        return total / len(index)

    return Training(model, loss, lambda: measured(model))


def on_regions(model) -> Training:
    """Train a network of crops or of pooled features on proposals by selective search."""

    def loss(step):
        index, rng = batch(step, scenes=1500)
        chosen, wanted, targets = [], [], []
        for n in index.tolist():
            proposals = torch.cat([regions()[n], pool().boxes[n]])
            labels, goal = ours.label_proposals(proposals, pool().boxes[n], pool().labels[n])
            take = ours.sample_proposals(labels, 16, rng)
            chosen.append(proposals[take])
            wanted.append(labels[take])
            targets.append(ours.encode_boxes(goal[take], proposals[take], detectors.HEAD_WEIGHTS))
        answer = model(pool().images[index], chosen)
        return sum(ours.fast_rcnn_loss(*answer, torch.cat(wanted), torch.cat(targets)))

    return Training(model, loss, lambda: measured(model))


@recipe(steps=1000, lr=2e-3, seed=SEED, figures=FIGURES, data=DATA.replace("3000", "1500"), limits=LIMITS)
def rcnn() -> Training:
    """R-CNN: every proposal is warped and goes through the whole network."""
    return on_regions(detectors.RCNN())


@recipe(steps=1000, lr=2e-3, seed=SEED, figures=FIGURES, data=DATA.replace("3000", "1500"), limits=LIMITS)
def fast() -> Training:
    """Fast R-CNN: proposals are cut out of one feature map."""
    return on_regions(detectors.FastRCNN())


@recipe(steps=1200, lr=2e-3, seed=SEED, figures=FIGURES, data=DATA, limits=LIMITS)
def faster() -> Training:
    """Faster R-CNN: the network proposes its own boxes; both stages are trained at once."""
    model = detectors.FasterRCNN()

    def loss(step):
        index, rng = batch(step)
        boxes = [pool().boxes[n] for n in index.tolist()]
        labels = [pool().labels[n] for n in index.tolist()]
        return sum(ours.faster_rcnn_losses(model, pool().images[index], boxes, labels, rng).values())

    return Training(model, loss, lambda: measured(model))


@recipe(steps=1500, lr=2e-3, seed=SEED, figures=FIGURES, data=DATA, limits=LIMITS)
def yolo() -> Training:
    """YOLO v1 in small: a grid of 8x8 cells, two boxes each."""
    model = detectors.YOLO()

    def loss(step):
        index, _ = batch(step)
        rows = index.tolist()
        grids = [ours.yolo_encode(pool().boxes[n] / SIZE, pool().labels[n], model.S, K) for n in rows]
        return ours.yolo_loss(model(pool().images[index]), torch.stack(grids), model.B)

    return Training(model, loss, lambda: measured(model))


@recipe(steps=1500, lr=2e-3, seed=SEED, figures=FIGURES, data=DATA, limits=LIMITS)
def ssd() -> Training:
    """SSD in small: default boxes on two feature maps."""
    model = detectors.SSD()
    corners = SIZE * ops.box_convert(model.defaults, "cxcywh", "xyxy")

    def loss(step):
        index, _ = batch(step)
        labels, targets = [], []
        for n in index.tolist():
            match = ours.match_defaults(corners, pool().boxes[n])
            labels.append(torch.where(match >= 0, pool().labels[n][match] + 1, 0))
            targets.append(ours.encode_boxes(pool().boxes[n][match], corners, model.variances))
        return sum(ours.multibox_loss(*model(pool().images[index]), torch.stack(targets), torch.stack(labels)))

    return Training(model, loss, lambda: measured(model))
