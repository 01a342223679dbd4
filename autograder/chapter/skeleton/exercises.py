"""The exercises of chapter 99; docs/authoring.md tells what each line is for."""

import torch
import torch.nn.functional as F

from autograder.declare import Exercise, Question, alternative, case, slip
from solutions.ch99_demo import box_blur


def blur_cases(d):
    return [
        case("plain", "6x6, window 3", x=d.normal(6, 6), k=3),
        case("plain", "not square, even window", x=d.normal(7, 5), k=2),
        case("edge", "window as high as the picture", x=d.normal(4, 6), k=4),
        case("edge", "window too large", x=d.normal(3, 5), k=4),
    ]


def blur_library(data):
    return F.avg_pool2d(data["x"][None, None], data["k"], stride=1)[0, 0]


def box_blur__pooled(x, k):
    if k > min(x.shape):
        raise ValueError("the window is too large")
    return F.avg_pool2d(x[None, None], k, stride=1)[0, 0]


def box_blur__unfolded(x, k):
    if k > x.shape[0] or k > x.shape[1]:
        raise ValueError("the window is too large")
    return x.unfold(0, k, 1).unfold(1, k, 1).mean((2, 3))


BOX_BLUR = Exercise(
    name="box_blur",
    methods=("ch99/box_blur",),
    groups={"plain": 2, "edge": 1},
    cases=blur_cases,
    oracle=blur_library,
    alternatives=(alternative(box_blur__pooled), alternative(box_blur__unfolded)),
    misconceptions=(
        slip("sums", {"y / k**2": "y"},
             "You add the window up. An average also divides by the number of pixels in it.", "card trap"),
        slip("only_rows", {"for v in range(k):": "for v in range(1):", "y / k**2": "y / k"},
             "You average downwards only. The window has k columns, too.", "student mistake: one axis forgotten"),
        slip("divides_by_side", {"y / k**2": "y / k"},
             "You divide by k. A window of side k holds k * k pixels.", "student mistake: side for area"),
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
)  # fmt: skip


def unsharp_cases(d):
    return [
        case("plain", "default amount", x=d.normal(6, 7)),
        case("plain", "amount 0.4", x=d.normal(5, 5), amount=0.4),
    ]


def unsharp__one_kernel(x, *, amount=1.0):
    w = torch.full((3, 3), -amount / 9, dtype=x.dtype)
    w[1, 1] += 1 + amount
    return F.conv2d(x[None, None], w[None, None])[0, 0]


def unsharp__weighted(x, *, amount=1.0):
    return (1 + amount) * x[1:-1, 1:-1] - amount * box_blur(x, 3)


UNSHARP = Exercise(
    name="unsharp",
    methods=("ch99/box_blur",),
    groups={"plain": 1},
    cases=unsharp_cases,
    uses=("box_blur",),
    standins=(alternative(box_blur__pooled, name="box_blur"),),
    alternatives=(alternative(unsharp__one_kernel), alternative(unsharp__weighted)),
    misconceptions=(
        slip("wrong_sign", {"middle - box_blur(x, 3)": "box_blur(x, 3) - middle"},
             "You add the average and take the detail away: that blurs. Add the detail.", "card trap"),
        slip("detail_only", {"return middle + amount": "return amount"},
             "This is the detail alone. The picture itself must stay in the sum.",
             "student mistake: the first term forgotten"),
        slip("corner", {"x[1:-1, 1:-1]": "x[:-2, :-2]"},
             "You take the upper left corner of each window. Its middle is one row down and one column right.",
             "student mistake: off by one"),
    ),
    hints=(
        "What does a picture minus its average look like?",
        "Cut the border of one pixel off, so that the picture and its average have the same shape.",
        "The middle pixels are x[1:-1, 1:-1].",
    ),
    good_for="seeing a filter as the picture plus what another filter removes",
    minutes=5,
)  # fmt: skip

WHERE_BLUR_HURTS = Question(
    name="where_blur_hurts",
    text="Name one picture whose meaning a 5 x 5 average destroys, and one that it leaves as it is. Say why.",
    points=2,
    rubric="One point for each picture with its reason: detail below five pixels is lost, large flat areas stay.",
    samples=(
        (2, "Printed text is lost, since its strokes are thinner than the window; a clear sky stays the same."),
        (1, "Text becomes unreadable."),
        (0, "All pictures become worse."),
    ),
)
