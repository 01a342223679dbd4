"""Checkpoints of chapter 5: networks for the same scenes, each trained in a few minutes of one core.

`dlcv zoo train ch05/unet` makes one; the scenes are those of `labelled_scenes`, drawn anew at every step.
"""

import torch
from torch import Tensor, nn

from dlcv_lab.zoo.recipes import Training, recipe, step_generator
from solutions import ch05_segmentation as ours

SEED = 5_000
BATCH = 24
HELD_OUT = 5_900_000  # a seed that no step draws
HOW = {
    "lr": 4e-3,
    "seed": SEED,
    "data": f"{BATCH} scenes a step: one to three circles, squares, triangles and stars on 32x32 pixels.",
    "figures": {"miou": "mean intersection over union of five classes, 300 held-out scenes"},
    "limits": "It knows four shapes on plain and graded grounds, at 32x32 pixels.",
}


def plan(model: nn.Module, loss=None) -> Training:
    """Return the training of one network with the pixel loss; `loss(x, y)` replaces it."""

    def pixel_loss(x: Tensor, y: Tensor) -> Tensor:
        return ours.pixel_cross_entropy(model(x), y)

    def step_loss(step: int) -> Tensor:
        return (loss or pixel_loss)(*ours.labelled_scenes(BATCH, step_generator(SEED, step)))

    def measure() -> dict[str, float]:
        x, y = ours.labelled_scenes(300, HELD_OUT)
        answer = model if loss is None else lambda x: ours.recurrent_segment(model, x, 5, steps=3)[-1]
        pred = torch.cat([answer(part).argmax(1) for part in x.split(100)])
        return {"miou": float(ours.seg_scores(ours.confusion_matrix(pred, y, 5))["miou"])}

    return Training(model, step_loss, measure)


@recipe(steps=700, **HOW)
def full() -> Training:
    """Seven convolutions at full resolution."""
    return plan(ours.plain_net())


@recipe(steps=700, **HOW)
def recurrent() -> Training:
    """The same without batch norm, with its own last answer beside the picture, three times."""
    model = ours.plain_net(3 + 5, norm=False)  # the three passes have different statistics

    def loss(x: Tensor, y: Tensor) -> Tensor:
        scores = ours.recurrent_segment(model, x, 5, steps=3)
        return sum(ours.pixel_cross_entropy(s, y) for s in scores) / 3

    return plan(model, loss)


@recipe(steps=700, **HOW)
def fcn32() -> Training:
    """FCN without skips."""
    return plan(ours.FCN(skips=0))


@recipe(steps=700, **HOW)
def fcn16() -> Training:
    """FCN with one skip."""
    return plan(ours.FCN(skips=1))


@recipe(steps=700, **HOW)
def fcn8() -> Training:
    """FCN with two skips."""
    return plan(ours.FCN(skips=2))


@recipe(steps=700, **HOW)
def segnet() -> Training:
    """SegNet with three poolings."""
    return plan(ours.SegNet())


@recipe(steps=700, **HOW)
def deconvnet() -> Training:
    """DeconvNet with three poolings."""
    return plan(ours.DeconvNet())


@recipe(steps=700, **HOW)
def unet() -> Training:
    """U-Net with three poolings."""
    return plan(ours.UNet())
