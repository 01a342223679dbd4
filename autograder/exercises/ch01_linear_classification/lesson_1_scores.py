"""Exercises of notebook 1 about scores and templates, and its written question."""

import torch
import torch.nn.functional as F

from autograder.declare.draws import case
from autograder.declare.exercise import Alternative, Exercise, Question
from autograder.declare.slips import slip

DOUBLE = torch.float64


def linear_scores_cases(d):
    def layer(group, note, x, K, dtype=torch.float32):
        return case(group, note, x=x, W=d.normal(K, x[:1].numel() or 12, dtype=dtype), b=d.normal(K, dtype=dtype))

    N, D = d.whole(3, 5), d.whole(6, 8)
    return [
        layer("rows", "pictures as rows", d.normal(N, D), N + 1),
        layer("rows", "as many classes as numbers", d.normal(N, D), D),
        layer("rows", "float64", d.normal(N, D, dtype=DOUBLE), N + 1, DOUBLE),
        layer("pictures", "colour pictures", d.normal(N, 3, 4, 5), 4),
        layer("pictures", "pictures that are not contiguous", d.normal(N, 5, 4, 3).permute(0, 3, 2, 1), 3),
        layer("edge", "one picture", d.normal(1, D, D), 2),
        layer("edge", "no picture at all", d.normal(0, 3, 4), 2),
        layer("edge", "whole numbers from 0 to 255", d.integers(0, 255, N, 2, 2), 3),
    ]


def linear_scores__einsum(x, W, b):
    return torch.einsum("nd,kd->nk", x.reshape(x.shape[0], W.shape[1]).type_as(W), W).add(b)


def linear_scores__by_class(x, W, b):
    columns = [(x.flatten(1).to(W.dtype) * row).sum(1) + bias for row, bias in zip(W, b)]
    return torch.stack(columns, 1)


LINEAR_SCORES = Exercise(
    name="linear_scores",
    methods=("ch01/linear_scores",),
    core=True,
    groups={"rows": 1.0, "pictures": 0.5, "edge": 0.5},
    cases=linear_scores_cases,
    oracle=lambda data: F.linear(data["x"].flatten(1).to(data["W"].dtype), data["W"], data["b"]),
    minutes=8,
    difficulty="easy",
    good_for="the one line of algebra that every later network ends with",
    hints=(
        "How many numbers has one row of x, and how many has one row of W? Which product pairs every row of the one "
        "with every row of the other?",
        "First lay each picture out as a row: x.flatten(1) keeps the first axis and joins all others. Then multiply "
        "by W on its side, and add b, which is added to every row.",
        "rows = x.flatten(1).to(W.dtype), then rows @ W.T + b.",
    ),
    alternatives=(
        Alternative(name="einsum", code=(linear_scores__einsum,)),
        Alternative(name="by_class", code=(linear_scores__by_class,)),
    ),
    misconceptions=(
        slip(
            "no_bias",
            {"rows @ W.T + b": "rows @ W.T"},
            "Every score of a class is off by the same number, whatever the picture: its bias b[k] is missing.",
            "card trap: the many copies of the 2 x 2 example with 61.95",
        ),
        slip(
            "not_on_its_side",
            {"W.T": "W"},
            "You multiply by W itself. Its rows are classes, so it has to lie on its side: W.T pairs each row of x "
            "with each row of W. It shows nothing but wrong numbers where W is square.",
            "student mistake: the slide's y = Wx for a column copied for a row",
        ),
        slip(
            "classes_first",
            {"return rows @ W.T + b": "return (rows @ W.T + b).T"},
            "The right numbers, laid on their side: rows are pictures here, columns are classes, (N, K).",
            "library difference: the slides put samples into columns",
        ),
        slip(
            "one_long_row",
            {"x.flatten(1)": "x.flatten()"},
            "flatten() joins everything, the pictures too. Keep the first axis: flatten(1) starts at axis 1.",
            "library difference: numpy's flatten has no start",
        ),
        slip(
            "channels_last",
            {"x.flatten(1)": "x.movedim(1, -1).flatten(1)"},
            "On plain rows you are right; colour pictures you read in another order. Keep the order of the axes: "
            "channel, row, column.",
            "library difference: image files and TensorFlow keep the channels last",
        ),
        slip(
            "whole_numbers",
            {".to(W.dtype)": ""},
            "Whole numbers do not multiply with decimal ones in PyTorch. Turn x into W's dtype first.",
            "library difference: numpy converts by itself",
        ),
        slip(
            "divides_by_255",
            {"rows @ W.T + b": "(rows if x.is_floating_point() else rows / 255) @ W.T + b"},
            "You divide whole numbers by 255. Nothing asks for it here: 200 becomes 200.0 in the dtype of W.",
            "student mistake: pictures are scaled to 1 out of habit",
        ),
    ),
)


def mean_template_cases(d):
    def classes(group, note, y, D=5, shift=0.0, dtype=torch.float32, K=None):
        x = d.normal(len(y), D, dtype=dtype) + shift
        return case(group, note, x=x, y=torch.as_tensor(y), num_classes=K or max(y) + 1)

    K = d.whole(3, 4)
    mixed = d.shuffled([*range(K)] * 3)
    return [
        classes("plain", "labels in any order", mixed),
        classes("plain", "float64, far from the origin", mixed, shift=10.0, dtype=DOUBLE),
        classes("edge", "one picture a class", d.shuffled([*range(K)])),
        classes("edge", "a class without a picture", [0, 2, 2, 0, 2, 0], K=K),
    ]


def mean_template_classifier__one_hot(x, y, num_classes):
    member = (y == torch.arange(num_classes)[:, None]).to(x.dtype)  # (K, N)
    count = member.sum(1)
    W = member @ x / count.clamp(min=1)[:, None]
    return W, torch.where(count > 0, -0.5 * W.square().sum(1), -torch.inf)


def mean_template_classifier__adds_up(x, y, num_classes):
    W, count = x.new_zeros(num_classes, x.shape[1]), [0] * num_classes
    for row, k in zip(x, y.tolist()):
        W[k] += row
        count[k] += 1
    for k, n in enumerate(count):
        W[k] /= max(n, 1)
    return W, x.new_tensor([-float(w @ w) / 2 if n else -torch.inf for w, n in zip(W, count)])


MEAN_TEMPLATES = Exercise(
    name="mean_template_classifier",
    returns=("W", "b"),
    methods=("ch01/templates",),
    core=True,
    groups={"plain": 1.5, "edge": 0.5},
    cases=mean_template_cases,
    minutes=12,
    difficulty="easy",
    good_for="seeing that 'the nearest mean' is a linear classifier, bias included",
    hints=(
        "Which pictures belong to class k? `y == k` says so for each, and x[y == k] picks them.",
        "Start with W full of zeros and b full of -inf. For each class that has pictures: the mean over them "
        "(axis 0), then minus half the sum of its squares.",
        "members = x[y == k]; W[k] = members.mean(0); b[k] = -(W[k] ** 2).sum() / 2, if len(members) > 0.",
    ),
    alternatives=(
        Alternative(name="one_hot", code=(mean_template_classifier__one_hot,)),
        Alternative(name="adds_up", code=(mean_template_classifier__adds_up,)),
    ),
    misconceptions=(
        slip(
            "no_bias",
            {"-(W[k] ** 2).sum() / 2": "0"},
            "Your templates are right, the bias is missing. Without it a template with much ink wins too often: "
            "b[k] = -1/2 times the sum of its squares.",
            "card trap: the bias of the nearest-mean classifier",
        ),
        slip(
            "no_half",
            {" / 2": ""},
            "Your bias is twice too large: the square of x - mu gives -2 mu x, and after dividing by -2 the square of "
            "mu has a half.",
            "student mistake: the factor 2 lost when the distance is rearranged",
        ),
        slip(
            "plus",
            {"b[k] = -(W": "b[k] = (W"},
            "Your bias has the wrong sign: it takes an advantage away from long templates, so it is negative.",
            "student mistake: sign lost when the distance is rearranged",
        ),
        slip(
            "length",
            {"(W[k] ** 2).sum() / 2": "W[k].norm() / 2"},
            "You use the length of the template. It is the squared length: the sum of the squares, without a root.",
            "student mistake: norm for squared norm",
        ),
        slip(
            "sums",
            {"members.mean(0)": "members.sum(0)"},
            "Your templates are sums. Divide by the number of pictures of the class: a mean.",
            "student mistake: sum for mean",
        ),
        slip(
            "empty_class",
            {"if len(members) > 0:": "if True:"},
            "The mean of no picture is not a number (nan). A class without pictures keeps a row of zeros and a bias of "
            "-inf.",
            "student mistake: the mean of nothing",
        ),
    ),
)

TWO_HEADS = Question(
    name="two_heads",
    points=3,
    text="""Look again at the arrow with two heads.

1. A linear classifier shall tell *arrow* (pointing left or right) from *cross*. Why can its one template for *arrow*
   still do well?
2. Now it shall tell *arrow to the left* from *arrow to the right*, all of them centred. Can one template a class do
   that? Say what you would see in the two rows of W.
3. And if the arrows lie anywhere in the picture? Why do more pictures not help?

Answer in about 100 words; name one picture or number of this notebook that supports you.""",
    rubric="""One point for each part; half for a right verdict without a reason.
* **1** the two-headed mean still overlaps with both arrows more than with a cross; classes are compared with each
  other, the template need not look like any member.
* **2** yes: each class has one appearance again; the rows are a left and a right arrow, and where they differ (the
  heads) the weights have opposite signs. What both share cancels: only differences of scores count.
* **3** one template would have to fit all places; the mean over places is a blur that is nearly the same for both
  classes. It is the form Wx + b that fails, not the amount of data.
Take away half a point if no picture or number is named.""",
    samples=(
        (
            3.0,
            "1: the mean arrow has ink where either arrow has it, so both match it better than they match the cross; "
            "only the comparison counts. 2: yes, like the ten digits (about 90 %): one row draws the left arrow, the "
            "other the right one, with opposite signs at the heads. 3: over all places both means become the same "
            "grey blur, whatever the number of pictures; a row has one weight a pixel and cannot follow.",
        ),
        (
            2.0,
            "1: two heads still look more like arrows than a cross does. 2: yes, two templates, one for each "
            "direction; see the picture of the three arrows. 3: it gets worse because there are too few pictures.",
        ),
        (0.5, "It cannot work, because a linear classifier sees pixels only. With a deep network it would."),
    ),
)
