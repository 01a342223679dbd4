"""Exercises of notebook 1, how features are judged: frozen features, linear probe, nearest neighbours, rotations."""

import torch
import torch.nn.functional as F
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from autograder.declare import Exercise, alternative, case, mistaken, slip
from dlcv_lab.checking import probing
from solutions.ch04_self_supervised_learning.lesson_1 import softmax_regression

DOUBLE = torch.float64


def features_cases(d):
    def encoder(wide):
        return {"weight": d.normal(3, wide), "running_mean": d.normal(3), "running_var": d.uniform(3, low=0.5, high=2)}

    return [
        case("features", "5 pictures, one batch", x=d.normal(5, 2, 2, 2), **encoder(8), batch_size=256, training=True),
        case("features", "7 pictures, batches of 3", x=d.normal(7, 1, 2, 2), **encoder(4), batch_size=3, training=True),
        case("frozen", "the encoder was training", x=d.normal(4, 1, 2, 2), **encoder(4), batch_size=4, training=True),
        case(
            "frozen", "the encoder was evaluating", x=d.normal(4, 1, 2, 2), **encoder(4), batch_size=2, training=False
        ),
    ]


def features_probe(ns, data):
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(data["weight"].shape[1], 3, bias=False), nn.BatchNorm1d(3))
    state = {"1.weight": data["weight"], "2.running_mean": data["running_mean"], "2.running_var": data["running_var"]}
    encoder.to(data["x"].dtype).load_state_dict(state, strict=False)
    encoder.train(data["training"])
    sizes: list[int] = []
    encoder.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    h = probing.call(ns.extract_features, encoder, data["x"], data["batch_size"])
    if not isinstance(h, torch.Tensor):
        raise probing.Unusable(f"extract_features returns a {type(h).__name__} where a tensor is expected")
    return {
        "features": h.detach(),
        "sizes of the batches": sizes,
        "features carry a graph": h.requires_grad,
        "encoder is in training mode afterwards": encoder.training,
        "running mean afterwards": encoder[2].running_mean,
    }


def extract_features__rows(encoder, x, batch_size=256):
    mode = encoder.training
    encoder.train(False)
    parts = []
    for start in range(0, len(x), batch_size):
        with torch.set_grad_enabled(False):
            parts.append(encoder(x[start : start + batch_size]))
    encoder.train(mode)
    return torch.vstack(parts)


def extract_features__detached(encoder, x, batch_size=256):
    mode = encoder.training
    try:
        encoder.eval()
        return torch.cat([encoder(x[i : i + batch_size]).detach() for i in range(0, len(x), batch_size)])
    finally:
        if mode:
            encoder.train()


EXTRACT_FEATURES = Exercise(
    name="extract_features",
    methods=("ch04/pretrain_probe",),
    core=True,
    groups={"features": 1.5, "frozen": 1.5},
    cases=features_cases,
    probe=features_probe,
    minutes=12,
    difficulty="easy",
    good_for="taking features without touching the network they come from",
    alternatives=(alternative(extract_features__rows), alternative(extract_features__detached)),
    misconceptions=(
        slip(
            "training_mode",
            {"encoder.eval()": ""},
            "The encoder is still in training mode: batch norm uses the statistics of your batch, and changes its "
            "running ones. Call encoder.eval() first.",
            "card trap: batch norm in training mode during the probe",
        ),
        slip(
            "left_evaluating",
            {"encoder.train(was_training)": ""},
            "The features are right, but you leave the encoder in evaluation mode. If it was training when you found "
            "it, put it back.",
            "student mistake: the mode is not restored",
        ),
        slip(
            "always_training",
            {"encoder.train(was_training)": "encoder.train()"},
            "You always leave the encoder in training mode. Remember encoder.training at the start, and restore that.",
            "student mistake: the mode is not restored",
        ),
        slip(
            "graph",
            {"with torch.no_grad():": "with torch.enable_grad():"},
            "The features carry a graph, so every picture's activations stay in memory. Compute under torch.no_grad().",
            "student mistake: eval() is taken for no_grad()",
        ),
        slip(
            "one_batch",
            {"x.split(batch_size)": "x.split(len(x))"},
            "All pictures go through at once. Feed the encoder batch_size pictures at a time.",
            "student mistake: an argument is ignored",
        ),
        slip(
            "drops_last",
            {"x.split(batch_size)": "x.split(batch_size)[: max(1, len(x) // batch_size)]"},
            "The last, smaller batch is missing: 7 pictures in batches of 3 are three batches.",
            "library difference: DataLoader(drop_last=True)",
        ),
    ),
    hints=(
        "Which two things does a network do in training that it must not do while you only look at its features?",
        "Note encoder.training; call eval(); under torch.no_grad() run the encoder on every part of "
        "x.split(batch_size); put the parts together; restore the mode.",
        "was = encoder.training; encoder.eval(); with torch.no_grad(): h = torch.cat([encoder(p) for p in "
        "x.split(batch_size)]); encoder.train(was); return h",
    ),
)  # fmt: skip


def probe_cases(d):
    def clouds(n, m, D, K, dtype=torch.float32):
        scale, centre = d.uniform(D, low=0.2, high=5, dtype=dtype), 3 * d.normal(D, dtype=dtype)
        y = torch.arange(n) % K
        where = d.normal(K, D, dtype=dtype)
        return {
            "h": (where[y] + d.normal(n, D, dtype=dtype)) * scale + centre,
            "y": y,
            "h_test": (d.normal(m, D, dtype=dtype) + 1) * scale + centre,
            "num_classes": K,
        }

    flat = clouds(15, 4, 3, 3)
    flat["h"][:, 1] = 2.0
    uneven = clouds(12, 5, 2, 2)
    uneven["y"] = torch.tensor([0] * 9 + [1] * 3)
    return [
        case("plain", "15 pictures, 4 features, 3 classes", **clouds(15, 6, 4, 3), l2=0.05),
        case("plain", "two classes, 9 pictures and 3", **uneven, l2=0.3),
        case("plain", "float64, the default l2", **clouds(24, 5, 3, 2, DOUBLE)),
        case("edge", "a feature that never changes in training", **flat, l2=0.1),
        case("edge", "a single test picture", **clouds(10, 1, 2, 2), l2=0.1),
    ]


def linear_probe__scaled(h, y, h_test, num_classes, l2=1e-3):
    centre, spread = h.mean(0), (h - h.mean(0)).square().mean(0).sqrt()
    spread[spread < 1e-5] = 1.0
    W, b = softmax_regression((h - centre) / spread, y, num_classes, l2)
    return h_test @ (W / spread).T + (b - W @ (centre / spread))


def linear_probe__affine(h, y, h_test, num_classes, l2=1e-3):
    spread, centre = torch.std_mean(h, dim=0, correction=0)
    spread = spread.masked_fill(spread < 1e-5, 1.0)
    both = (torch.cat([h, h_test]) - centre) / spread
    return F.linear(both[len(h) :], *softmax_regression(both[: len(h)], y, num_classes, l2))


def linear_probe__rows(h, y, h_test, num_classes, l2=1e-3):
    def scaled(h):
        return (h - h.mean(1, keepdim=True)) / h.std(1, unbiased=False, keepdim=True).clamp(min=1e-6)

    W, b = softmax_regression(scaled(h), y, num_classes, l2)
    return scaled(h_test) @ W.T + b


LINEAR_PROBE = Exercise(
    name="linear_probe",
    methods=("ch04/pretrain_probe",),
    core=True,
    groups={"plain": 2.0, "edge": 1.0},
    cases=probe_cases,
    minutes=15,
    difficulty="medium",
    good_for="a fair question to any representation",
    alternatives=(alternative(linear_probe__scaled), alternative(linear_probe__affine)),
    misconceptions=(
        slip(
            "own_statistics",
            {"(h_test - mean) / std": "(h_test - h_test.mean(0)) / h_test.std(0, unbiased=False).clamp(min=1e-6)"},
            "You standardise the test features by their own mean and deviation. The classifier was fitted on the "
            "training scale: use the training set's numbers for both.",
            "card trap: standardise with the training statistics",
        ),
        slip(
            "raw_test",
            {"(h_test - mean) / std @": "h_test @"},
            "The classifier sees standardised features in training and raw ones in the test. Treat both alike.",
            "student mistake: the test set is not transformed",
        ),
        slip(
            "not_standardised",
            {"mean, std = h.mean(0), h.std(0, unbiased=False)": "mean, std = 0 * h.mean(0), torch.ones_like(h[0])"},
            "You do not standardise. The penalty l2 then hits small features harder than large ones.",
            "student mistake: raw features with weight decay",
        ),
        slip(
            "divides_by_zero",
            {"std = torch.where(std > 1e-6, std, 1.0)": ""},
            "A feature that is constant in training has deviation 0, and you divide by it. Divide by 1 there.",
            "card trap: constant feature",
        ),
        slip(
            "unbiased",
            {"unbiased=False": "unbiased=True"},
            "Your deviation divides by N - 1. Here it is the root of the MEAN squared deviation: unbiased=False.",
            "library difference: torch.std divides by N - 1, scikit-learn's StandardScaler by N",
        ),
        slip(
            "forgets_bias",
            {"@ W.T + b": "@ W.T"},
            "The bias is missing from the scores: W h + b.",
            "student mistake: bias left out",
        ),
        slip(
            "ignores_l2",
            {"y, num_classes, l2)": "y, num_classes)"},
            "You do not hand l2 on, so the default is used whatever was asked for.",
            "student mistake: an argument is ignored",
        ),
        mistaken(
            linear_probe__rows,
            "You standardise each PICTURE over its features. Standardise each feature over the pictures: mean(0).",
            "student mistake: axis",
        ),
        slip("mean_of_the_test_set", {"(h_test - mean) / std @ W.T": "(h_test - h_test.mean(0)) / std @ W.T"},
             "You subtract the mean of the test features from them. The classifier was fitted around the training "
             "mean: both sets lose that one.", "student mistake: every set is centred on itself"),
    ),
    hints=(
        "On which of the two sets may you compute a mean, if the test pictures are to be new to the classifier?",
        "mean and std from h, along dimension 0; std 0 becomes 1. Fit on (h - mean) / std. Score (h_test - mean) "
        "/ std.",
        "std = torch.where(std > 1e-6, std, 1.0); W, b = softmax_regression((h - mean) / std, y, num_classes, l2); "
        "return (h_test - mean) / std @ W.T + b",
    ),
)  # fmt: skip


def knn_cases(d):
    def drawn(n, m, D, K):
        return {
            "h": d.normal(n, D, dtype=DOUBLE) * d.uniform(n, 1, low=0.1, high=8, dtype=DOUBLE),
            "y": torch.cat([torch.arange(K), d.integers(0, K - 1, n - K)]),
            "h_test": d.normal(m, D, dtype=DOUBLE) * d.uniform(m, 1, low=0.1, high=8, dtype=DOUBLE),
            "num_classes": K,
        }

    turn = torch.linalg.qr(d.normal(2, 2, dtype=DOUBLE))[0]
    near = torch.tensor(
        [[0.1, 0.0], [3.0, 5.2]], dtype=DOUBLE
    )  # the same direction, but short; a long one at 60 degrees
    return [
        case("neighbours", "the nearest one, of vectors of all lengths", **drawn(20, 30, 3, 4), k=1),
        case("neighbours", "five votes", **drawn(25, 40, 3, 3), k=5),
        case("neighbours", "same direction against same length", h=near @ turn, y=torch.tensor([1, 0]),
             h_test=torch.tensor([[8.0, 0.0]], dtype=DOUBLE) @ turn, k=1, num_classes=2),
        case("edge", "four votes, and ties", **drawn(20, 60, 2, 3), k=4),
        case("edge", "as many neighbours as pictures", **drawn(7, 3, 2, 2), k=7),
        case("edge", "more neighbours than pictures", **drawn(4, 2, 2, 2), k=5),
    ]  # fmt: skip


def knn_library(data):
    if data["k"] > len(data["h"]):
        raise ValueError("k")
    model = KNeighborsClassifier(n_neighbors=data["k"], metric="cosine", algorithm="brute")
    model.fit(data["h"].detach().numpy(), data["y"].numpy())
    return torch.from_numpy(model.predict(data["h_test"].detach().numpy()))


def knn_predict__counts(h, y, h_test, k, num_classes):
    if k > len(y):
        raise ValueError("too few pictures")
    similar = F.cosine_similarity(h_test[:, None], h[None], dim=2)
    order = similar.argsort(dim=1, descending=True)[:, :k]
    votes = torch.stack([(y[order] == c).sum(1) for c in range(num_classes)], dim=1)
    return votes.argmax(1)


def knn_predict__loops(h, y, h_test, k, num_classes):
    if len(h) < k:
        raise ValueError("too few pictures")
    unit = h / h.norm(dim=1, keepdim=True)
    answers = []
    for query in h_test:
        nearest = (unit @ query).topk(k).indices
        answers.append(torch.bincount(y[nearest], minlength=num_classes).argmax())
    return torch.stack(answers)


KNN_PREDICT = Exercise(
    name="knn_predict",
    methods=("ch04/pretrain_probe",),
    groups={"neighbours": 1.0, "edge": 1.0},
    cases=knn_cases,
    oracle=knn_library,
    minutes=12,
    difficulty="easy",
    good_for="a judge that cannot be tuned",
    alternatives=(alternative(knn_predict__counts), alternative(knn_predict__loops)),
    misconceptions=(
        slip(
            "euclidean",
            {"F.normalize(h_test, dim=1) @ F.normalize(h, dim=1).T": "-torch.cdist(h_test, h)"},
            "You take the nearest by Euclidean distance. The cosine looks at directions only: a long and a short "
            "vector of one direction are equal.",
            "library difference: KNeighborsClassifier's default metric",
        ),
        slip(
            "dot_product",
            {"F.normalize(h_test, dim=1) @ F.normalize(h, dim=1).T": "h_test @ h.T"},
            "A plain dot product prefers long vectors. Scale the rows to length 1 first.",
            "student mistake: not normalised",
        ),
        slip(
            "wrong_axis",
            {
                "F.normalize(h_test, dim=1) @ F.normalize(h, dim=1).T":
                    "F.normalize(h_test, dim=0) @ F.normalize(h, dim=0).T"
            },
            "You normalise columns, that is features over pictures. A row is one picture: dim=1.",
            "student mistake: axis of F.normalize",
        ),
        slip(
            "farthest",
            {"cosine.topk(k, dim=1)": "cosine.topk(k, dim=1, largest=False)"},
            "You take the k LEAST similar pictures. A large cosine means near.",
            "student mistake: similarity taken for distance",
        ),
        slip(
            "only_the_nearest",
            {"cosine.topk(k, dim=1)": "cosine.topk(1, dim=1)"},
            "Only the nearest picture votes. All k do.",
            "student mistake: k is ignored",
        ),
        slip(
            "last_of_a_tie",
            {
                "F.one_hot(nearest, num_classes).sum(1).argmax(1)":
                    "num_classes - 1 - F.one_hot(nearest, num_classes).sum(1).flip(1).argmax(1)"
            },
            "Where several classes have most votes, the smallest number wins; yours takes the largest.",
            "card trap: ties",
        ),
        slip(
            "unchecked",
            {"if k > len(h):": "if False:"},
            "More neighbours than pictures must raise a ValueError with a sentence of yours.",
            "card trap: k > N",
        ),
    ),
    hints=(
        "What is the dot product of two vectors after each was scaled to length 1?",
        "Cosines (M, N) from F.normalize(..., dim=1); topk along dimension 1 gives the neighbours; y[indices] their "
        "classes; one_hot and a sum count the votes.",
        "nearest = y[cosine.topk(k, dim=1).indices]; return F.one_hot(nearest, num_classes).sum(1).argmax(1)",
    ),
)  # fmt: skip


def rotate_cases(d):
    return [
        case("turns", "two colour pictures of 4x4", x=d.normal(2, 3, 4, 4)),
        case("turns", "three grey pictures of 3x3", x=d.normal(3, 1, 3, 3)),
        case("turns", "one picture", x=d.normal(1, 2, 5, 5)),
        case("edge", "as many pictures as turns", x=d.normal(4, 1, 2, 2)),
        case("edge", "not square", x=d.normal(2, 1, 3, 4)),
    ]


def rotate_library(data):
    x = data["x"]
    if x.shape[2] != x.shape[3]:
        raise ValueError("square")
    images = []
    for image in x:  # the original code's way: flips and transposes
        images += [image, image.transpose(1, 2).flip(1), image.flip(1).flip(2), image.flip(1).transpose(1, 2)]
    return torch.stack(images), torch.tensor([0, 1, 2, 3] * len(x))


def rotate_batch__loop(x):
    if x.shape[-1] != x.shape[-2]:
        raise ValueError("not square")
    images, labels = [], []
    for image in x:
        for k in range(4):
            images.append(torch.rot90(image, k, (1, 2)))
            labels.append(k)
    return torch.stack(images), torch.tensor(labels)


def rotate_batch__written(x):
    N, C, H, W = x.shape
    if H != W:
        raise ValueError("not square")
    out = x.new_empty(4 * N, C, H, W)
    for k in range(4):
        out[k::4] = torch.rot90(x, k, (-2, -1))
    return out, torch.arange(4 * N) % 4


def rotate_batch__upside_down(x):
    if x.shape[2] != x.shape[3]:
        raise ValueError("pictures are not square")
    turned = torch.stack([x, x.transpose(2, 3), x.flip(2), x.transpose(2, 3).flip(2)], dim=1)
    return turned.flatten(0, 1), torch.arange(4).repeat(len(x))


ROTATE_BATCH = Exercise(
    name="rotate_batch",
    returns=("pictures", "labels"),
    methods=("ch04/rotnet",),
    core=True,
    groups={"turns": 2.0, "edge": 1.0},
    cases=rotate_cases,
    oracle=rotate_library,
    minutes=10,
    difficulty="easy",
    good_for="making labels out of nothing",
    alternatives=(alternative(rotate_batch__loop), alternative(rotate_batch__written)),
    misconceptions=(
        slip(
            "clockwise",
            {"x.rot90(k, (2, 3))": "x.rot90(-k, (2, 3))"},
            "You turn clockwise. Counter-clockwise is torch.rot90(x, k, (2, 3)): from rows towards columns.",
            "card trap: direction",
        ),
        slip(
            "turns_first",
            {"dim=1)": "dim=0)"},
            "Your pictures stand turn by turn: all at 0 degrees, then all at 90. The four copies of ONE picture belong "
            "beside each other.",
            "card trap: rotation-major order",
        ),
        slip(
            "labels_in_blocks",
            {".repeat(len(x))": ".repeat_interleave(len(x))"},
            "The labels must go 0, 1, 2, 3, 0, 1, 2, 3, as the copies do.",
            "student mistake: repeat and repeat_interleave",
        ),
        slip(
            "degrees",
            {"torch.arange(4, device=x.device)": "90 * torch.arange(4, device=x.device)"},
            "Labels are class numbers, not degrees: how many quarter turns, 0 to 3.",
            "student mistake: angles as classes",
        ),
        slip(
            "unchecked",
            {"if x.shape[2] != x.shape[3]:": "if False:"},
            "Pictures that are not square must raise a ValueError: a quarter turn would change their shape.",
            "card trap: H != W",
        ),
        mistaken(
            rotate_batch__upside_down,
            "Some of your copies are mirrored, not turned: a transpose alone, or one flip alone, is a reflection. A "
            "quarter turn is a transpose AND a flip, a half turn two flips.",
            "student mistake: rotation by one flip",
        ),
        slip("flips", {"x.rot90(k, (2, 3))": "(x, x.flip(3), x.flip(2), x.flip(2, 3))[k]"},
             "Some of your copies are mirror images. Quarter turns come from `torch.rot90`; a flip makes a left hand "
             "a right one.",
             "student mistake: flips for turns"),
    ),
    hints=(
        "torch.rot90 turns a whole batch. Along which new axis must the four versions stand so that flattening "
        "puts the "
        "copies of one picture beside each other?",
        "torch.stack of the four versions along dim=1 is (N, 4, C, H, W); flatten(0, 1) makes it (4N, C, H, W). The "
        "labels are 0, 1, 2, 3, repeated N times.",
        "turned = torch.stack([x.rot90(k, (2, 3)) for k in range(4)], dim=1); return turned.flatten(0, 1), "
        "torch.arange(4).repeat(len(x))",
    ),
)  # fmt: skip
