"""The detectors of one chapter, small and whole: a linear template, three networks of two stages, two of one stage.

Every detector has `detect(images)`, which returns one (boxes [M, 4], scores [M], labels [M]) a scene, and is trained by
the chapter's recipes. Losses are not here: they are what the chapter is about.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlcv_lab.detection import CLASSES, SIZE, Found
from dlcv_lab.proposals import selective_search

K = len(CLASSES)
HEAD_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""What the box targets of a head are multiplied by, as in torchvision."""


def _ops() -> Any:
    """Return torchvision.ops, imported when it is first needed."""
    from torchvision import ops

    return ops


def _decode(weights: tuple[float, float, float, float], deltas: Tensor, boxes: Tensor) -> Tensor:
    from torchvision.models.detection._utils import BoxCoder

    return BoxCoder(weights).decode_single(deltas, boxes)


def conv(inside: int, outside: int) -> nn.Sequential:
    """Return a 3x3 convolution with batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, padding=1, bias=False), nn.BatchNorm2d(outside), nn.ReLU(inplace=True)
    )  # fmt: skip


class Backbone(nn.Sequential):
    """Turn images [N, 3, H, W] into feature maps [N, 64, H/4, W/4]; every network of the chapter begins with it."""

    def __init__(self) -> None:
        super().__init__(
            conv(3, 24), nn.MaxPool2d(2), conv(24, 48), nn.MaxPool2d(2), conv(48, 64), conv(64, 64)
        )  # fmt: skip


class Head(nn.Module):
    """Classify pooled features [M, 64, s, s] and refine their boxes: logits [M, K+1], deltas [M, 4(K+1)]."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(64 * side * side, 96)
        self.classes = nn.Linear(96, K + 1)
        self.deltas = nn.Linear(96, 4 * (K + 1))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        h = F.relu(self.hidden(features.flatten(1)))
        return self.classes(h), self.deltas(h)


def finish(
    boxes: Tensor, scores: Tensor, labels: Tensor, *, least: float = 0.05, nms: float = 0.3, most: int = 50
) -> Found:
    """Clip boxes to the picture, drop the unsure ones, and suppress doubles of the same class."""
    keep = scores > least
    boxes, scores, labels = boxes[keep].clamp(0, SIZE), scores[keep], labels[keep]
    kept = _ops().batched_nms(boxes, scores, labels, nms)[:most]
    return boxes[kept], scores[kept], labels[kept]


def finish_head(proposals: Tensor, logits: Tensor, deltas: Tensor) -> Found:
    """Turn what a head says of proposals [M, 4] into detections: each proposal may be of every class."""
    if len(proposals) == 0:
        return torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    boxes = _decode(HEAD_WEIGHTS, deltas, proposals).reshape(-1, K + 1, 4)[:, 1:]
    scores = logits.softmax(1)[:, 1:]
    labels = torch.arange(K).expand(len(scores), K)
    return finish(boxes.flatten(0, 1), scores.flatten(), labels.flatten())


class HogDetector(nn.Module):
    """One linear template a class over blocks of oriented gradients, slid over an image pyramid."""

    window, cell, per_octave = 20, 4, 3

    def __init__(self) -> None:
        super().__init__()
        self.template = nn.Conv2d(36, K, self.window // self.cell - 1)

    def levels(self, image: Tensor) -> list[tuple[Tensor, float]]:
        """Return the features [36, R, C] of each level of the pyramid, and its scale."""
        from skimage.feature import hog

        out = []
        for level in range(-2, 3):  # the first two are enlarged: the smallest objects are smaller than the window
            size = round(SIZE * 2 ** (-level / self.per_octave))
            small = F.interpolate(image[None], size=(size, size), mode="bilinear", antialias=True)[0]
            cells = (self.cell, self.cell)
            found = hog(
                small.permute(1, 2, 0).numpy(), 9, cells, (2, 2), "L2-Hys", feature_vector=False, channel_axis=-1
            )
            out.append((torch.from_numpy(found).float().flatten(2).permute(2, 0, 1), size / SIZE))
        return out

    def windows(self, places: tuple[int, int], scale: float) -> Tensor:
        """Return the boxes of the objects that the windows of a level are made for: without the margin of 3 pixels."""
        y, x = torch.meshgrid(torch.arange(places[0]), torch.arange(places[1]), indexing="ij")
        corner = self.cell * torch.stack([x, y], -1).reshape(-1, 2).float()
        return torch.cat([corner + 3, corner + self.window - 3], 1) / scale

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the boxes [M, 4] and scores [M, K] of all windows of one image."""
        boxes, scores = [], []
        for features, scale in self.levels(image):
            answer = self.template(features[None])[0]
            boxes.append(self.windows((answer.shape[1], answer.shape[2]), scale))
            scores.append(answer.flatten(1).T)
        return torch.cat(boxes), torch.cat(scores)

    @torch.no_grad()
    def detect(self, images: Tensor) -> list[Found]:
        """Return the detections of every image."""
        out = []
        for image in images:
            boxes, scores = self(image)
            labels = torch.arange(K).expand(len(scores), K)
            every = boxes[:, None].expand(-1, K, -1)
            out.append(finish(every.flatten(0, 1), scores.flatten(), labels.flatten(), least=-1.0))
        return out


class RCNN(nn.Module):
    """R-CNN: cut every proposal out of the picture, warp it to 24x24 pixels, run the whole network on each."""

    side, context = 24, 0.15

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.head = Head(3)

    def crops(self, images: Tensor, proposals: Sequence[Tensor]) -> Tensor:
        """Return the warped pictures [M, 3, 24, 24] of all proposals, with a margin of 15 % on every side."""
        margins = [self.context * (box[:, 2:] - box[:, :2]) for box in proposals]
        wider = [torch.cat([box[:, :2] - m, box[:, 2:] + m], 1) for box, m in zip(proposals, margins)]
        return _ops().roi_align(images, wider, self.side, sampling_ratio=1, aligned=True)

    def forward(self, images: Tensor, proposals: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        maps = self.backbone(self.crops(images, proposals))
        return self.head(F.max_pool2d(maps, 2))

    @torch.no_grad()
    def detect(self, images: Tensor) -> list[Found]:
        """Return the detections of every image, on proposals by selective search."""
        proposals = [selective_search(image) for image in images]
        return [finish_head(p, *self(image[None], [p])) for image, p in zip(images, proposals)]


class FastRCNN(nn.Module):
    """Fast R-CNN: run the network once, and cut the proposals out of its feature map."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.head = Head(4)

    def pool(self, maps: Tensor, proposals: Sequence[Tensor]) -> Tensor:
        """Return the features [M, 64, 4, 4] under all proposals."""
        return _ops().roi_align(maps, list(proposals), 4, spatial_scale=0.25, sampling_ratio=2, aligned=True)

    def forward(self, images: Tensor, proposals: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        return self.head(self.pool(self.backbone(images), proposals))

    @torch.no_grad()
    def detect(self, images: Tensor) -> list[Found]:
        """Return the detections of every image, on proposals by selective search."""
        proposals = [selective_search(image) for image in images]
        return [finish_head(p, *self(image[None], [p])) for image, p in zip(images, proposals)]


def make_anchors(rows: int, columns: int, stride: int, sizes: Sequence[float], ratios: Sequence[float]) -> Tensor:
    """Return anchors [rows * columns * k, 4]: k boxes round every corner of a cell, row by row, as torchvision.

    An anchor of size s and ratio r = h / w has the area s * s; corners are rounded. Ratios run slowest.
    """
    root = torch.tensor(list(ratios)).sqrt()
    w = (1 / root[:, None] * torch.tensor([float(s) for s in sizes])).flatten()
    h = (root[:, None] * torch.tensor([float(s) for s in sizes])).flatten()
    base = (torch.stack([-w, -h, w, h], 1) / 2).round()
    y, x = torch.meshgrid(torch.arange(rows) * stride, torch.arange(columns) * stride, indexing="ij")
    centre = torch.stack([x, y, x, y], -1).reshape(-1, 1, 4)
    return (centre + base).reshape(-1, 4).float()


class FasterRCNN(FastRCNN):
    """Faster R-CNN: a small network on the same feature map proposes the boxes."""

    sizes, ratios = (10.0, 15.0, 21.0), (1.0,)

    def __init__(self) -> None:
        super().__init__()
        k = len(self.sizes) * len(self.ratios)
        self.rpn = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(inplace=True))
        self.objectness = nn.Conv2d(64, k, 1)
        self.shifts = nn.Conv2d(64, 4 * k, 1)
        self.anchors = make_anchors(SIZE // 4, SIZE // 4, 4, self.sizes, self.ratios)

    def propose(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the objectness logits [N, A] and box deltas [N, A, 4] of all anchors."""
        h = self.rpn(maps)
        objectness = self.objectness(h).permute(0, 2, 3, 1).flatten(1)
        shifts = self.shifts(h).permute(0, 2, 3, 1)  # (N, H, W, 4k): anchor by anchor
        return objectness, shifts.reshape(len(h), -1, 4)

    def proposals(self, objectness: Tensor, shifts: Tensor, *, before: int = 100, after: int = 30) -> list[Tensor]:
        """Return the best boxes of each picture: decoded, clipped, without doubles above IoU .7; no gradient."""
        out = []
        for score, delta in zip(objectness.detach(), shifts.detach()):
            best = score.topk(min(before, len(score))).indices
            boxes = _decode((1.0, 1.0, 1.0, 1.0), delta[best], self.anchors[best]).clamp(0, SIZE)
            wide = (boxes[:, 2:] - boxes[:, :2]).amin(1) >= 2
            boxes, best = boxes[wide], best[wide]
            out.append(boxes[_ops().nms(boxes, score[best], 0.7)[:after]])
        return out

    @torch.no_grad()
    def detect(self, images: Tensor) -> list[Found]:
        """Return the detections of every image, on its own proposals."""
        out = []
        for image in images:
            maps = self.backbone(image[None])
            (p,) = self.proposals(*self.propose(maps))
            out.append(finish_head(p, *self.head(self.pool(maps, [p]))))
        return out


class YOLO(nn.Module):
    """YOLO v1 in small: [N, 8, 8, 14], in each cell two boxes of (x, y, root w, root h, confidence), four classes.

    x and y are the place of the centre in the cell, 0 to 1; w and h are shares of the picture. The last layer is a 1x1
    convolution where the paper has two fully connected layers.
    """

    S, B = 8, 2

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.trunk = nn.Sequential(nn.MaxPool2d(2), conv(64, 96), conv(96, 96))
        self.out = nn.Conv2d(96, 5 * self.B + K, 1)
        assert self.out.bias is not None
        with torch.no_grad():
            for b in range(self.B):
                self.out.bias[5 * b : 5 * b + 5] = torch.tensor([0.5, 0.5, 0.5, 0.5, 0.1])

    def forward(self, images: Tensor) -> Tensor:
        return self.out(self.trunk(self.backbone(images))).permute(0, 2, 3, 1)

    def decode(self, answer: Tensor) -> tuple[Tensor, Tensor]:
        """Turn the answer of one picture [S, S, 5B + K] into boxes [S*S*B, 4] and scores [S*S*B, K]."""
        S = answer.shape[0]
        cell = answer[..., : 5 * self.B].reshape(S, S, self.B, 5)
        row, column = torch.meshgrid(torch.arange(S), torch.arange(S), indexing="ij")
        x = (cell[..., 0] + column[..., None]) / S
        y = (cell[..., 1] + row[..., None]) / S
        w, h = cell[..., 2].clamp(min=0) ** 2, cell[..., 3].clamp(min=0) ** 2
        boxes = _ops().box_convert(torch.stack([x, y, w, h], -1).reshape(-1, 4), "cxcywh", "xyxy")
        scores = cell[..., 4:5] * answer[:, :, None, 5 * self.B :]
        return SIZE * boxes, scores.reshape(-1, K)

    @torch.no_grad()
    def detect(self, images: Tensor) -> list[Found]:
        """Return the detections of every image."""
        out = []
        for image in images:
            boxes, scores = self.decode(self(image[None])[0])
            labels = torch.arange(K).expand(len(scores), K)
            every = boxes[:, None].expand(-1, K, -1).flatten(0, 1)
            out.append(finish(every, scores.flatten(), labels.flatten(), nms=0.45))
        return out


def default_boxes(side: int, scale: float, next_scale: float, ratios: Sequence[float]) -> Tensor:
    """Return SSD's default boxes of a map of side x side cells: [side * side * k, 4] as cx, cy, w, h in [0, 1].

    Cell by cell, row by row; in a cell first the square of `scale`, then that of sqrt(scale * next_scale), then for
    each ratio a the boxes (s sqrt(a), s / sqrt(a)) and turned.
    """
    shapes = [(scale, scale), (math.sqrt(scale * next_scale),) * 2]
    for a in ratios:
        shapes += [(scale * math.sqrt(a), scale / math.sqrt(a)), (scale / math.sqrt(a), scale * math.sqrt(a))]
    centre = (torch.arange(side) + 0.5) / side
    y, x = torch.meshgrid(centre, centre, indexing="ij")
    middle = torch.stack([x, y], -1).reshape(-1, 1, 2).expand(-1, len(shapes), 2)
    return torch.cat([middle, torch.tensor(shapes).expand(side * side, -1, 2)], 2).reshape(-1, 4)


class SSD(nn.Module):
    """SSD in small: four default boxes in each of 8x8 + 4x4 cells: box deltas [N, 320, 4], logits [N, 320, K+1]."""

    maps = ((8, 0.14, 0.22), (4, 0.3, 0.4))
    variances = (10.0, 10.0, 5.0, 5.0)

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.fine = nn.Sequential(nn.MaxPool2d(2), conv(64, 96), conv(96, 72))
        self.coarse = nn.Sequential(nn.MaxPool2d(2), conv(72, 72))
        self.loc = nn.ModuleList([nn.Conv2d(72, 4 * 4, 1) for _ in self.maps])
        self.conf = nn.ModuleList([nn.Conv2d(72, 4 * (K + 1), 1) for _ in self.maps])
        self.defaults = torch.cat([default_boxes(side, s, after, [2.0]) for side, s, after in self.maps])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.fine(self.backbone(images))
        loc, conf = [], []
        for maps, to_loc, to_conf in zip((fine, self.coarse(fine)), self.loc, self.conf):
            loc.append(to_loc(maps).permute(0, 2, 3, 1).reshape(len(images), -1, 4))
            conf.append(to_conf(maps).permute(0, 2, 3, 1).reshape(len(images), -1, K + 1))
        return torch.cat(loc, 1), torch.cat(conf, 1)

    @torch.no_grad()
    def detect(self, images: Tensor) -> list[Found]:
        """Return the detections of every image."""
        out = []
        corners = SIZE * _ops().box_convert(self.defaults, "cxcywh", "xyxy")
        for image in images:
            loc, conf = self(image[None])
            boxes = _decode(self.variances, loc[0], corners)
            scores = conf[0].softmax(1)[:, 1:]
            labels = torch.arange(K).expand(len(scores), K)
            every = boxes[:, None].expand(-1, K, -1).flatten(0, 1)
            out.append(finish(every, scores.flatten(), labels.flatten(), nms=0.45))
        return out
