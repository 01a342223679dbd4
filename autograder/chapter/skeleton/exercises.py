"""The exercises of chapter 99. Variants are written as a student would write them; see docs/authoring.md."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from autograder.declare.exercise import Alternative, Exercise, Misconception, Question
from dlcv_lab.checking.model import Case
from solutions.ch99_demo import box_blur


def blur_cases(rng: torch.Generator) -> list[Case]:
    def picture(H: int, W: int) -> Tensor:
        return torch.randn(H, W, generator=rng)

    return [
        Case("plain", {"x": picture(6, 6), "k": 3}, "6x6, window 3"),
        Case("plain", {"x": picture(7, 5), "k": 2}, "not square, even window"),
        Case("edge", {"x": picture(4, 6), "k": 4}, "window as high as the picture"),
        Case("edge", {"x": picture(3, 5), "k": 4}, "window too large"),
    ]


def blur_probe(ns: Any, data: dict[str, Any]) -> Any:
    return ns.box_blur(**data)


def box_blur__pooled(x: Tensor, k: int) -> Tensor:
    if k > min(x.shape):
        raise ValueError("the window is too large")
    return F.avg_pool2d(x[None, None], k, stride=1)[0, 0]


def box_blur__unfolded(x: Tensor, k: int) -> Tensor:
    if k > x.shape[0] or k > x.shape[1]:
        raise ValueError("the window is too large")
    return x.unfold(0, k, 1).unfold(1, k, 1).mean((2, 3))


def box_blur__sums(x: Tensor, k: int) -> Tensor:
    if k > min(x.shape):
        raise ValueError("the window is too large")
    return x.unfold(0, k, 1).unfold(1, k, 1).sum((2, 3))


def box_blur__only_rows(x: Tensor, k: int) -> Tensor:
    if k > min(x.shape):
        raise ValueError("the window is too large")
    return x.unfold(0, k, 1).mean(2)[:, : x.shape[1] - k + 1]


def box_blur__divides_by_side(x: Tensor, k: int) -> Tensor:
    if k > min(x.shape):
        raise ValueError("the window is too large")
    return x.unfold(0, k, 1).unfold(1, k, 1).sum((2, 3)) / k


def unsharp_cases(rng: torch.Generator) -> list[Case]:
    def picture(H: int, W: int) -> Tensor:
        return torch.randn(H, W, generator=rng)

    return [
        Case("plain", {"x": picture(6, 7)}, "default amount"),
        Case("plain", {"x": picture(5, 5), "amount": 0.4}, "amount 0.4"),
    ]


def unsharp_probe(ns: Any, data: dict[str, Any]) -> Any:
    return ns.unsharp(**data)


def unsharp__one_kernel(x: Tensor, *, amount: float = 1.0) -> Tensor:
    w = torch.full((3, 3), -amount / 9, dtype=x.dtype)
    w[1, 1] += 1 + amount
    return F.conv2d(x[None, None], w[None, None])[0, 0]


def unsharp__weighted(x: Tensor, *, amount: float = 1.0) -> Tensor:
    return (1 + amount) * x[1:-1, 1:-1] - amount * box_blur(x, 3)


def unsharp__wrong_sign(x: Tensor, *, amount: float = 1.0) -> Tensor:
    middle = x[1:-1, 1:-1]
    return middle + amount * (box_blur(x, 3) - middle)


def unsharp__detail_only(x: Tensor, *, amount: float = 1.0) -> Tensor:
    return amount * (x[1:-1, 1:-1] - box_blur(x, 3))


def unsharp__corner(x: Tensor, *, amount: float = 1.0) -> Tensor:
    corner = x[:-2, :-2]
    return corner + amount * (corner - box_blur(x, 3))


EXERCISES = [
    Exercise(
        name="box_blur",
        methods=("ch99/box_blur",),
        groups={"plain": 2, "edge": 1},
        cases=blur_cases,
        probe=blur_probe,
        alternatives=(
            Alternative(name="pooled", code=(box_blur__pooled,)),
            Alternative(name="unfolded", code=(box_blur__unfolded,)),
        ),
        misconceptions=(
            Misconception(
                name="sums",
                code=(box_blur__sums,),
                hint="You add the window up. An average also divides by the number of pixels in it.",
                source_of="card trap",
            ),
            Misconception(
                name="only_rows",
                code=(box_blur__only_rows,),
                hint="You average downwards only. The window has k columns, too.",
                source_of="student mistake: one axis forgotten",
            ),
            Misconception(
                name="divides_by_side",
                code=(box_blur__divides_by_side,),
                hint="You divide by k. A window of side k holds k * k pixels.",
                source_of="student mistake: side for area",
            ),
        ),
        hints=(
            "How many windows of side k fit along an axis of length H?",
            "Add up k * k shifted copies of the picture, each of the size of the answer, then divide.",
            "The copy for the offset (u, v) is x[u : u + H - k + 1, v : v + W - k + 1].",
        ),
        good_for="the bookkeeping of windows, which every convolution needs",
        minutes=10,
        difficulty="easy",
        core=True,
    ),
    Exercise(
        name="unsharp",
        methods=("ch99/box_blur",),
        groups={"plain": 1},
        cases=unsharp_cases,
        probe=unsharp_probe,
        uses=("box_blur",),
        standins=(Alternative(name="box_blur", code=(box_blur__pooled,)),),
        alternatives=(
            Alternative(name="one_kernel", code=(unsharp__one_kernel,)),
            Alternative(name="weighted", code=(unsharp__weighted,)),
        ),
        misconceptions=(
            Misconception(
                name="wrong_sign",
                code=(unsharp__wrong_sign,),
                hint="You add the average and take the detail away: that blurs. Add the detail.",
                source_of="card trap",
            ),
            Misconception(
                name="detail_only",
                code=(unsharp__detail_only,),
                hint="This is the detail alone. The picture itself must stay in the sum.",
                source_of="student mistake: the first term forgotten",
            ),
            Misconception(
                name="corner",
                code=(unsharp__corner,),
                hint="You take the upper left corner of each window. Its middle is one row down and one column right.",
                source_of="student mistake: off by one",
            ),
        ),
        hints=(
            "What does a picture minus its average look like?",
            "Cut the border of one pixel off, so that the picture and its average have the same shape.",
            "The middle pixels are x[1:-1, 1:-1].",
        ),
        good_for="seeing a filter as the picture plus what another filter removes",
        minutes=5,
    ),
]

QUESTIONS = [
    Question(
        name="where_blur_hurts",
        text="Name one picture whose meaning a 5 x 5 average destroys, and one that it leaves as it is. Say why.",
        points=2,
        rubric="One point for each picture with its reason: detail below five pixels is lost, large flat areas stay.",
        samples=(
            (2, "Printed text is lost, since its strokes are thinner than the window; a clear sky stays the same."),
            (1, "Text becomes unreadable."),
            (0, "All pictures become worse."),
        ),
    ),
]
