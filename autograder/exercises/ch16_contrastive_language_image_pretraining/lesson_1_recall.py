"""Chapter 16, notebook 1: cases, probe and variants of `recall_at_k`."""

import math

import torch

from autograder.declare.exercise import Exercise, alternative
from autograder.declare.slips import slip
from dlcv_lab.checking.model import Case


def recall_cases(rng: torch.Generator) -> list[Case]:
    """Draw similarities in which own pairs are a little better, so that no recall is 0 or 1."""

    def case(group: str, note: str, images: int, txt2img: list[int], lift: float, ks=(1, 2, 5), steps: int = 0) -> Case:
        own = torch.tensor(txt2img)
        sim = torch.randn(images, len(own), generator=rng, dtype=torch.float64)
        sim[own, torch.arange(len(own))] += lift
        if steps:
            sim = (sim * steps).round() / steps
        return Case(group, {"sim": sim, "txt2img": own, "ks": list(ks)}, note)

    def spread(images: int, texts: int) -> list[int]:
        return torch.randint(images, (texts,), generator=rng).tolist()

    five = [i for i in range(12) for _ in range(5)]
    below = case("edge", "all similarities are negative", 10, [i for i in range(10) for _ in range(2)], 1.0)
    below.data["sim"] -= 9
    broken = case("edge", "some similarities are NaN", 12, five, 1.5)
    broken.data["sim"][torch.rand(12, 60, generator=rng) < 0.1] = math.nan
    shuffled = [five[k] for k in torch.randperm(60, generator=rng).tolist()]
    return [
        case("plain", "40 images, one text each, in order", 40, list(range(40)), 1.5),
        case("plain", "12 images, 5 texts each", 12, five, 1.0),
        case("plain", "the texts are shuffled", 12, shuffled, 1.0),
        case("edge", "texts in uneven numbers, images without a text", 30, spread(24, 40), 1.2),
        case("edge", "many ties", 20, spread(20, 60), 0.5, steps=1),
        Case(
            "edge",
            {"sim": torch.zeros(4, 5, dtype=torch.float64), "txt2img": torch.tensor([0, 1, 2, 3, 0]), "ks": [1, 4]},
            "all similarities are equal",
        ),
        below,
        broken,
        Case(
            "edge",
            {"sim": torch.full((4, 4), math.nan, dtype=torch.float64), "txt2img": torch.arange(4), "ks": [1, 2]},
            "all similarities are NaN, as after a training that blew up",
        ),
        case("edge", "k is larger than the numbers of images and texts", 6, spread(6, 9), 0.0, ks=(1, 50)),
    ]


def recall_probe(ns, data):
    """Return the recalls by name."""
    found = ns.recall_at_k(data["sim"], data["txt2img"], tuple(data["ks"]))
    return {key: float(value) for key, value in sorted(found.items())}


def recall_at_k__loops(sim, txt2img, ks=(1, 5, 10)):
    table, owner = sim.tolist(), txt2img.tolist()
    found = {}
    for k in ks:
        hits = []
        for i, row in enumerate(table):
            own = [s for s, o in zip(row, owner) if o == i]
            if own:
                best = torch.tensor(own).amax().item()
                hits.append(sum(not s < best for s, o in zip(row, owner) if o != i) < k)
        found[f"i2t_R@{k}"] = sum(hits) / len(hits)
        hits = []
        for t, i in enumerate(owner):
            hits.append(sum(not table[j][t] < table[i][t] for j in range(len(table)) if j != i) < k)
        found[f"t2i_R@{k}"] = sum(hits) / len(hits)
    return found


def recall_at_k__ranks(sim, txt2img, ks=(1, 5, 10)):
    columns = torch.arange(sim.shape[1])
    mine = torch.zeros_like(sim, dtype=torch.bool)
    mine[txt2img, columns] = True
    t2i = len(sim) - (sim < sim[txt2img, columns][None]).sum(0) - 1
    i2t = []
    for i in torch.unique(txt2img).tolist():
        best = sim[i][mine[i]].max()
        i2t.append(int((sim[i][~mine[i]] < best).logical_not().sum()))
    i2t = torch.tensor(i2t)
    out = {}
    for k in ks:
        out[f"t2i_R@{k}"] = (t2i < k).double().mean().item()
        out[f"i2t_R@{k}"] = (i2t < k).double().mean().item()
    return out


RECALL = Exercise(
    name="recall_at_k",
    methods=("ch16/retrieval_recall",),
    groups={"plain": 2, "edge": 2},
    cases=recall_cases,
    probe=recall_probe,
    alternatives=(alternative(recall_at_k__loops), alternative(recall_at_k__ranks)),
    misconceptions=(
        slip("nan_loses", {"~(sim < score)": "(sim >= score)", "~(sim < best)": "(sim >= best)"},
             "NaN >= x is False, so a model whose similarities are all NaN has no rivals ahead and a recall of "
             "1. Count the rivals that are NOT below: ~(sim < own).",
             "student mistake: comparisons with NaN; found in this course's own reference"),
        slip("ties_help", {"~(sim < score)": "(sim > score)", "~(sim < best)": "(sim > best)"},
             "Your count of rivals uses >. Ties count against you: use >=.",
             "card: hidden case ties -> pessimistic rank; a model that gives one score to all would else be perfect"),
        slip("ties_help_images", {"~(sim < best)": "(sim > best)"},
             "From image to text your count of rivals uses >. Ties count against you: use >=.",
             "student mistake: one of two comparisons"),
        slip("ties_help_texts", {"~(sim < score)": "(sim > score)"},
             "From text to image your count of rivals uses >. Ties count against you: use >=.",
             "student mistake: one of two comparisons"),
        slip("first_k",
             {('found = {f"i2t_R@{k}": float((texts_ahead < k).float().mean()) for k in ks}\n'
               'return found | {f"t2i_R@{k}": float((images_ahead < k).float().mean()) for k in ks}'):
                "i2t = own.gather(1, sim.argsort(1, descending=True))[own.any(1)]\n"
                "t2i = own.gather(0, sim.argsort(0, descending=True))\n"
                'found = {f"i2t_R@{k}": float(i2t[:, :k].any(1).float().mean()) for k in ks}\n'
                'return found | {f"t2i_R@{k}": float(t2i[:k].any(0).float().mean()) for k in ks}'},
             "topk and argsort break ties in some order of their own. Ties count against you: count the rivals "
             "that are as similar or more.", "student mistake: the first k of a sorted list"),
        slip("zeros_elsewhere", {"sim.masked_fill(~own, -math.inf)": "(sim * own)"},
             "You put 0 where a text is not the image's own, and 0 wins where all similarities are negative. "
             "Put minus infinity there.", "student mistake: (sim * own).amax(1)"),
        slip("first_own_text",
             {"sim.masked_fill(~own, -math.inf).amax(1, keepdim=True)":
              "sim[torch.arange(len(sim)), own.int().argmax(1)][:, None]"},
             "You compare with an image's first text. Of its own texts the best counts.",
             "student mistake: one text per image assumed"),
        slip("own_texts_are_rivals", {"(~(sim < best) & ~own).sum(1)": "((sim >= best).sum(1) - 1)"},
             "An image's other texts are no rivals, not even in a tie. Count texts of OTHER images only.",
             "student mistake: (sim >= best).sum() - 1"),
        slip("one_too_many", {"texts_ahead < k": "texts_ahead <= k", "images_ahead < k": "images_ahead <= k"},
             "You allow k rivals ahead. A hit among the first k has fewer than k.", "student mistake: <= for <"),
        slip("one_text_each",
             {"own = torch.arange(len(sim), device=sim.device)[:, None] == txt2img[None]":
                "own = torch.eye(*sim.shape, dtype=torch.bool)\n"
                "txt2img = own.int().argmax(0)"},
             "You take text t to belong to image t. Which image it belongs to stands in txt2img[t].",
             "library difference: open_clip_train's get_clip_metrics assumes one text per image"),
        slip("all_must_be_there",
             {"sim.masked_fill(~own, -math.inf).amax(1, keepdim=True)":
                "sim.masked_fill(~own, math.inf).amin(1, keepdim=True)"},
             "One of the image's own texts among the first k is enough; you ask for all of them.",
             "student mistake: recall as in information retrieval, the share of relevant items found"),
        slip("counts_the_textless",
             {"(~(sim < best) & ~own).sum(1)[own.any(1)]":
                "torch.where(own.any(1), (~(sim < best) & ~own).sum(1), sim.shape[1] + 99)"},
             "Images without a text cannot be hit. Leave them out of the mean, do not count them as misses.",
             "card: hidden case image without captions"),
        slip("off_by_one", {"texts_ahead < k": "texts_ahead + 1 < k", "images_ahead < k": "images_ahead + 1 < k"},
             "With k = 1 a hit has no rival ahead: fewer than k, that is 0. You ask for one less.",
             "student mistake: ranks counted from 1"),
        slip("precision",
             {'found = {f"i2t_R@{k}": float((texts_ahead < k).float().mean()) for k in ks}':
                "order = own.gather(1, sim.argsort(1, descending=True))\n"
                'found = {f"i2t_R@{k}": float((order[:, :k].sum(1) / k)[own.any(1)].mean()) for k in ks}'},
             "You measure the share of own texts among the first k. A hit is at least one of them.",
             "slide 'Text-image retrieval tasks/datasets': 'count number of correct captions given a number of "
             "retrieved instances'"),
        slip("exchanged",
             {'found = {f"i2t_R@{k}"': 'found = {f"t2i_R@{k}"',
              'found | {f"t2i_R@{k}"': 'found | {f"i2t_R@{k}"'},
             "The two directions are exchanged: i2t asks for texts with an image as the query, along a row of `sim`.",
             "student mistake: axes"),
        slip("per_cent",
             {"float((texts_ahead < k).float().mean())": "100 * float((texts_ahead < k).float().mean())",
              "float((images_ahead < k).float().mean())": "100 * float((images_ahead < k).float().mean())"},
             "Return shares from 0 to 1, not per cent.", "student mistake: the papers' tables print per cent"),
    ),
    hints=(
        "For a query, which candidates could push the right answer out of the first k? Is another right answer one?",
        "own = (I, T) mask. Text t: count images, not its own, whose sim is not below sim[own image, t]. Image i: "
        "its best own text, then count foreign texts whose sim is not below that. Hit: count < k.",
        "own = torch.arange(len(sim))[:, None] == txt2img[None]; best = sim.masked_fill(~own, -math.inf).amax(1, "
        "keepdim=True); texts_ahead = (~(sim < best) & ~own).sum(1)[own.any(1)]",
    ),
    good_for="the tables in which CLIP-like models are compared",
    minutes=20,
    difficulty="hard",
    core=True,
)  # fmt: skip
