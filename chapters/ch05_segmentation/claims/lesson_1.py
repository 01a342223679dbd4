"""Claims of notebook 1: grouping, scores, the window and its convolution, training on whole pictures, looking again."""

import time
from functools import lru_cache

import torch
import torch.nn.functional as F
from sklearn.metrics import adjusted_rand_score
from torch import Tensor, nn

from autograder.declare.claim import Claim
from autograder.declare.kept import kept
from dlcv_lab import fit, seed, world, zoo
from solutions import ch05_segmentation as ours

SEEDS = (20, 21, 22)
K = 5
TRAINING = "600 steps of Adam, learning rate 0.002; 1500 scenes to train, 200 to test."


def mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)


def miou(pred: Tensor, y: Tensor) -> float:
    return float(ours.seg_scores(ours.confusion_matrix(pred, y, K))["miou"])


def mirrored(x: Tensor) -> Tensor:
    return F.pad(x, [7] * 4, mode="reflect")


def small_classifier() -> nn.Sequential:
    """Return the patch classifier of the lesson."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 5), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, K),
    )  # fmt: skip


def grouping(n: int) -> dict[str, float]:
    found = {}
    for ground in ("plain", "gradient"):
        scene = world.sample(
            100, n, objects=(1, 3), shapes=("circle", "square", "triangle", "star"), overlap=0.4,
            sizes=(0.16, 0.224), backgrounds=(ground,),
        )  # fmt: skip
        pairs = list(zip(world.render(scene), world.instance_masks(scene), strict=True))
        agree = [adjusted_rand_score(m.flatten(), ours.group_pixels(p, 3).flatten()) for p, m in pairs]
        found[f"{ground} ground"] = mean(agree)
    return found


def lazy(n: int) -> dict[str, float]:
    _, y = ours.labelled_scenes(300, n)
    scores = ours.seg_scores(ours.confusion_matrix(torch.zeros_like(y), y, K))
    return {name: float(scores[name]) for name in ("pixel_acc", "mean_acc", "miou", "fwiou")}


@lru_cache
def at_random(n: int) -> tuple[nn.Sequential, nn.Sequential]:
    seed(n)
    classifier = small_classifier().eval()
    return classifier, ours.convolutionalize(classifier, (3, 15, 15)).eval()


@torch.no_grad()
def same_labels(n: int) -> dict[str, float]:
    classifier, dense = (copy.double() for copy in at_random(n))
    x = ours.labelled_scenes(4, n)[0].double()
    slid = torch.stack([ours.sliding_window_segment(classifier, picture, 15) for picture in x])
    scores = dense(mirrored(x))
    patches = mirrored(x).unfold(2, 15, 1).unfold(3, 15, 1)[:, :, ::5, ::7].permute(0, 2, 3, 1, 4, 5)
    there = classifier(patches.flatten(0, 2)).unflatten(0, patches.shape[:3]).permute(0, 3, 1, 2)
    for copy in at_random(n):
        copy.float()
    return {
        "same labels": float((slid == scores.argmax(1)).double().mean()),
        "scores apart": float((there - scores[:, :, ::5, ::7]).abs().max()),
    }


def layers(side: int) -> list[tuple[int, tuple[int, int, int, int]]]:
    """Return (side of the output, layer) of the classifier's convolutions on pictures of a side."""
    sides = side - 4, side - 6, side - 8, side - 14, side - 14
    return list(zip(sides, [(3, 16, 5, 1), (16, 16, 3, 1), (16, 16, 3, 1), (16, 32, 7, 1), (32, K, 1, 1)], strict=True))


def window_cost(n: int) -> dict[str, float]:
    patch, picture = (sum(ours.conv_macs([layer], s, s) for s, layer in layers(side)) for side in (15, 32 + 14))
    classifier, dense = at_random(n)
    x, slid, at_once = ours.labelled_scenes(8, n)[0], [], []
    with torch.no_grad():
        for _ in range(5):
            slid.append(timed(lambda: [ours.sliding_window_segment(classifier, p, 15) for p in x]))
            at_once.append(timed(lambda: [dense(mirrored(p[None])) for p in x]))
    return {"multiplications": 1024 * patch / picture, "seconds": min(slid) / min(at_once)}


def timed(call) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


@kept
def end_to_end(n: int) -> dict[str, float]:
    x, y = ours.labelled_scenes(1500, n)
    test_x, test_y = ours.labelled_scenes(200, 1_000_000 + n)
    rng, side = torch.Generator().manual_seed(n), torch.arange(15)
    which = torch.randint(1500, (20_000, 1, 1), generator=rng)
    i, j = torch.randint(32, (2, 20_000, 1, 1), generator=rng)
    patches = mirrored(x)[which, :, i + side[:, None], j + side].permute(0, 3, 1, 2)
    found, options = {}, {"steps": 600, "lr": 2e-3, "progress": False}
    seed(n)
    classifier = small_classifier()
    fit(classifier, (patches, y[which, i, j].flatten()), batch_size=128, **options)
    seed(n)
    whole = ours.convolutionalize(small_classifier(), (3, 15, 15))
    fit(whole, (mirrored(x), y), loss=ours.pixel_cross_entropy, batch_size=2, **options)
    for name, net in (("patches", ours.convolutionalize(classifier, (3, 15, 15))), ("whole pictures", whole)):
        with torch.no_grad():
            found[name] = miou(net.eval()(mirrored(test_x)).argmax(1), test_y)
    return found


def full_cost(_: int) -> dict[str, float]:
    def stack(s: int) -> list[tuple[int, int, int, int]]:
        return [(3, 16, 3, 1), (16, 16, 3, 1), (16, 32, 3, s), (32, 32, 3, 1), (32, 64, 3, s), (64, 64, 3, 1)]

    net, x = ours.plain_net().double(), torch.ones(1, 3, 41, 41, dtype=torch.float64, requires_grad=True)
    for weights in net.parameters():
        weights.data.abs_()  # so that no ReLU is silent
    net.eval()(x)[0, :, 20, 20].sum().backward()
    return {
        "times the multiplications": ours.conv_macs(stack(1), 32, 32) / ours.conv_macs(stack(2), 32, 32),
        "pixels a side that seven layers see": float((x.grad[0].abs().sum(0) > 0).any(0).sum()),
    }


@torch.no_grad()
def looks(n: int) -> dict[str, float]:
    net = ours.plain_net(3 + K, norm=False).eval()
    zoo.checkpoint("ch05/recurrent", into=net)
    x, y = ours.labelled_scenes(300, n)
    parts = [ours.recurrent_segment(net, part, K, 3) for part in x.split(100)]
    return {f"look {s + 1}": miou(torch.cat([part[s].argmax(1) for part in parts]), y) for s in range(3)}


CLAIMS = [
    Claim(
        id="groups-of-pixels",
        methods=("ch05/grouping",),
        says="Goal: group pixels into meaningful or perceptually similar regions",
        source="slide 'Image Segmentation'; macqueen1967some",
        analogue="k-means on colours with three groups against the things in the scene, by the adjusted Rand index.",
        conditions="100 scenes of one to three plain things, on plain grounds and on shaded ones.",
        threshold="on every seed above 0.8 on plain grounds, and at least 0.15 lower on shaded ones",
        measure=grouping,
        holds=lambda v: all(
            plain > 0.8 and plain - shaded >= 0.15
            for plain, shaded in zip(v["plain ground"], v["gradient ground"], strict=True)
        ),
        seeds=SEEDS,
    ),
    Claim(
        id="ground-everywhere",
        methods=("ch05/seg_metrics", "ch05/pixel_classification"),
        says="Assign a class label to each pixel: only the labels of pixels count",
        source="slide 'A Practical Segmentation Task'; long2015fully",
        analogue="The scores of an answer that says 'ground' everywhere.",
        conditions="300 scenes, five classes.",
        threshold="on every seed a pixel accuracy above 0.7 and a mIoU below 0.2",
        measure=lazy,
        holds=lambda v: min(v["pixel_acc"]) > 0.7 and max(v["miou"]) < 0.2,
        seeds=SEEDS,
    ),
    Claim(
        id="classifier-is-convolution",
        methods=("ch05/fc_to_conv", "ch05/sliding_window_seg"),
        says="All layers are convolutional",
        source="slide 'Fully Convolutional Networks (FCN)'; long2015fully",
        analogue="The labels of the sliding window against one pass of the convolutionalised classifier.",
        conditions="float64, an untrained classifier of 15x15 patches, four scenes a seed.",
        threshold="on every seed all labels equal, scores within 1e-9",
        measure=same_labels,
        holds=lambda v: min(v["same labels"]) == 1 and max(v["scores apart"]) < 1e-9,
        seeds=SEEDS,
    ),
    Claim(
        id="window-repeats-itself",
        methods=("ch05/sliding_window_seg", "ch05/fc_to_conv"),
        says="Sliding window: each pixel is labelled by a pass over its patch",
        source="slide 'Semantic Segmentation: Sliding Window'; farabet2013learning",
        analogue="Multiplications and seconds of 1024 patches over those of one pass.",
        conditions="15x15 patches of a 32x32 scene, one thread, the fastest of five runs of eight scenes.",
        threshold="more than 10 times the multiplications; on every seed at least 3 times the seconds",
        measure=window_cost,
        holds=lambda v: min(v["multiplications"]) > 10 and min(v["seconds"]) >= 3,
        seeds=SEEDS,
    ),
    Claim(
        id="end-to-end",
        methods=("ch05/pixel_classification", "ch05/fc_to_conv"),
        says="End-to-end training",
        source="slide 'Fully Convolutional Networks (FCN)'; long2015fully",
        analogue="The same network from the same start, trained on 128 patches a step or on two whole pictures.",
        conditions=TRAINING,
        threshold="on every seed a higher mIoU with whole pictures",
        measure=end_to_end,
        holds=lambda v: all(b > a for a, b in zip(v["patches"], v["whole pictures"], strict=True)),
        seeds=SEEDS,
        cheap=False,
        reason="Two pictures bring sixteen times the labels, but pixels of one picture resemble each other: 128 "
        "patches come from 128 scenes.",
    ),
    Claim(
        id="full-resolution",
        methods=("ch05/dense_fullres",),
        says="Fully convolutional nets: convolutions at full resolution are expensive",
        source="slide 'Semantic Segmentation: Fully Convolutional Nets'",
        analogue="Multiplications of six layers of 16, 32 and 64 channels, with and without halving twice.",
        conditions="32x32 pixels; and the pixels a side that reach a score through seven 3x3 layers, by its gradient.",
        threshold="at least 5 times; exactly 15 pixels",
        measure=full_cost,
        holds=lambda v: v["times the multiplications"][0] >= 5 and v["pixels a side that seven layers see"][0] == 15,
        exact=True,
    ),
    Claim(
        id="looking-again",
        methods=("ch05/recurrent_scene",),
        says="Recurrent CNNs see more context without more parameters",
        source="slide 'Semantic Segmentation: Sliding Window'; pinheiro2014recurrent",
        analogue="One network that sees its own last answer: mIoU after one, two and three looks.",
        conditions="The checkpoint ch05/recurrent, 300 scenes a seed.",
        threshold="on every seed at least 0.02 higher after three looks than after one",
        measure=looks,
        holds=lambda v: all(c - a >= 0.02 for a, c in zip(v["look 1"], v["look 3"], strict=True)),
        seeds=SEEDS,
    ),
]
