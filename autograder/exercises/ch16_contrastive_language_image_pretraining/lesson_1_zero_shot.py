"""Chapter 16, notebook 1: cases, probes and variants of `zero_shot_logits` and `ensemble_classifier`."""

import torch
import torch.nn.functional as F

from autograder.declare.exercise import Exercise, alternative
from autograder.declare.slips import slip
from dlcv_lab.checking.model import Case


def logits_cases(rng: torch.Generator) -> list[Case]:
    """Draw features of uneven lengths; B, K and D differ."""

    def case(group: str, note: str, b: int, k: int, d: int, log_scale: float) -> Case:
        img, classes = (torch.randn(n, d, generator=rng, dtype=torch.float64) for n in (b, k))
        img = img * (0.3 + 3 * torch.rand(b, 1, generator=rng, dtype=torch.float64))
        classes = classes * (0.3 + 3 * torch.rand(k, 1, generator=rng, dtype=torch.float64))
        return Case(
            group, {"img": img, "classes": classes, "log_scale": torch.tensor(log_scale, dtype=torch.float64)}, note
        )

    return [
        case("logits", "5 images, 3 classes", 5, 3, 4, 2.66),
        case("logits", "2 images, 6 classes", 2, 6, 5, 1.1),
        case("edge", "one class", 3, 1, 4, 2.0),
        case("edge", "log_scale = 0", 2, 3, 4, 0.0),
    ]


def logits_probe(ns, data):
    """Return the logits and their gradients for images and classes."""
    weights = torch.linspace(-1, 2, len(data["img"]) * len(data["classes"]), dtype=torch.float64)
    value, grads = probing.gradients(
        ns.zero_shot_logits,
        [data["img"], data["classes"], data["log_scale"]],
        weights.view(len(data["img"]), -1),
    )
    return {"logits": value, "gradient of img": grads[0], "gradient of classes": grads[1]}


def zero_shot_logits__cosine(img, classes, log_scale):
    return torch.exp(log_scale) * F.cosine_similarity(img[:, None], classes[None], dim=2)


def zero_shot_logits__divided(img, classes, log_scale):
    dots = torch.einsum("bd,kd->bk", img, classes)
    return dots / img.norm(dim=1)[:, None] / classes.norm(dim=1)[None] * log_scale.exp()


def ensemble_cases(rng: torch.Generator) -> list[Case]:
    """Draw an encoder of texts by a table of letters; lengths of the features differ by text."""

    def case(group: str, note: str, names: list[str], templates: list[str]) -> Case:
        table = torch.randn(29, 5, generator=rng, dtype=torch.float64)
        return Case(group, {"names": names, "templates": templates, "table": table}, note)

    every = ["a {}.", "there is a big, big {} on the table of my aunt", "{}", "a photo of a {} in the rain"]
    return [
        case("ensemble", "three names, four templates", ["cat", "dog", "a very long name"], every),
        case("ensemble", "two names, three templates", ["Eiffel Tower", "blue star"], every[:3]),
        case("edge", "one template", ["cat", "dog"], every[1:2]),
        case("edge", "a name with braces", ["{0}", "set {a}"], every[:2]),
        Case("edge", {"names": ["up", "down"], "templates": ["{}", "not {}"], "table": None}, "opposite features"),
    ]


def ensemble_probe(ns, data):
    """Return the class vectors; texts are encoded by their letters, or by the word 'not' for opposite features."""

    def encode(texts):
        rows = []
        for text in list(texts):
            if data["table"] is None:
                rows.append(torch.tensor([3.0, 4.0], dtype=torch.float64) * (-2 if "not" in text else 1))
            else:
                letters = torch.tensor([ord(c) % 29 for c in text])
                weights = 1 + torch.arange(len(text), dtype=torch.float64) % 3
                rows.append((data["table"][letters] * weights[:, None]).sum(0))
        return torch.stack(rows)

    W = ns.ensemble_classifier(encode, list(data["names"]), list(data["templates"]))
    if data["table"] is None:
        return {"length of a mean of zero, after the first normalisation": W.norm(dim=1) < 0.5}
    return {"class vectors": W}


def ensemble_classifier__all_at_once(encode, names, templates):
    texts = [template.format(name) for name in names for template in templates]
    features = F.normalize(encode(texts), dim=-1).view(len(names), len(templates), -1)
    return F.normalize(features.sum(1) / len(templates), dim=-1)


def ensemble_classifier__by_template(encode, names, templates):
    total = 0
    for template in templates:
        features = encode([template.replace("{}", name) for name in names])
        total = total + features / features.norm(dim=1, keepdim=True).clamp(min=1e-12)
    mean = total / len(templates)
    return mean / mean.norm(dim=1, keepdim=True).clamp(min=1e-12)


LOGITS = Exercise(
    name="zero_shot_logits",
    methods=("ch16/zero_shot",),
    groups={"logits": 1, "edge": 1},
    cases=logits_cases,
    probe=logits_probe,
    alternatives=(alternative(zero_shot_logits__cosine), alternative(zero_shot_logits__divided)),
    misconceptions=(
        slip("no_exp", {"log_scale.exp()": "log_scale"},
             "The factor is exp(log_scale); you multiply by the logarithm.", "card trap: scale passed as log"),
        slip("no_factor", {"log_scale.exp() * ": ""},
             "These are the cosines. Multiply them by exp(log_scale), or the probabilities come out nearly equal.",
             "student mistake: the arg-max does not need the factor, the softmax does"),
        slip("softmax",
             {"return log_scale.exp() * F.normalize(img, dim=1) @ F.normalize(classes, dim=1).T":
                "return (log_scale.exp() * F.normalize(img, dim=1) @ F.normalize(classes, dim=1).T).softmax(1)"},
             "You return probabilities. Return the logits; whoever wants probabilities takes their softmax.",
             "student mistake: softmax inside"),
        slip("raw_classes", {"F.normalize(classes, dim=1)": "classes"},
             "The class vectors have lengths of their own here: bring their rows to length one, too.",
             "card: hidden case unnormalised features"),
        slip("raw_images", {"F.normalize(img, dim=1)": "img"},
             "The image features have lengths of their own: bring their rows to length one, too.",
             "library difference: open_clip's encode_image does not normalise unless asked"),
        slip("raw_both", {"F.normalize(img, dim=1)": "img", "F.normalize(classes, dim=1)": "classes"},
             "These are dot products. For cosines bring the rows of `img` and of `classes` to length one.",
             "library difference: open_clip's features come with lengths of their own"),
        slip("divides", {"log_scale.exp()": "(-log_scale).exp()"},
             "You divide by exp(log_scale). CLIP multiplies by it.",
             "paper: ALIGN divides by a temperature, CLIP multiplies by exp(t)"),
        slip("wrong_axis",
             {"F.normalize(img, dim=1)": "F.normalize(img, dim=0)",
              "F.normalize(classes, dim=1)": "F.normalize(classes, dim=0)"},
             "You normalise columns. A feature is a row: normalise along axis 1.",
             "student mistake: F.normalize(x, dim=0)"),
        slip("transposed",
             {"return log_scale.exp() * F.normalize(img, dim=1) @ F.normalize(classes, dim=1).T":
                "return (log_scale.exp() * F.normalize(img, dim=1) @ F.normalize(classes, dim=1).T).T"},
             "Rows and columns are exchanged: one row per image, one column per class.",
             "library difference: open_clip.build_zero_shot_classifier returns [D, K]"),
    ),
    hints=(
        "A linear classifier is features @ weights.T. Where do the weights come from here?",
        "Bring rows of both to length one, multiply, times exp(log_scale).",
        "log_scale.exp() * F.normalize(img, dim=1) @ F.normalize(classes, dim=1).T",
    ),
    good_for="a classifier for classes that nobody labelled",
    minutes=8,
    difficulty="easy",
    core=True,
)  # fmt: skip

ENSEMBLE = Exercise(
    name="ensemble_classifier",
    methods=("ch16/prompt_ensembles",),
    groups={"ensemble": 2, "edge": 1},
    cases=ensemble_cases,
    probe=ensemble_probe,
    alternatives=(alternative(ensemble_classifier__all_at_once), alternative(ensemble_classifier__by_template)),
    misconceptions=(
        slip("one_per_template",
             {"for name in names:": "for template in templates:",
              "template.format(name) for template in templates":
              "template.format(name) for name in names"},
             "You make one vector per template. It is one per name: the prompts of one name, averaged over "
             "the templates.",
             "student mistake: the two loops exchanged"),
        slip("first_only", {"for template in templates": "for template in templates[:1]"},
             "Only the first template is used. Average over all of them.", "student mistake: a class gets one prompt"),
        slip("lengths_count", {"F.normalize(features, dim=1)": "features"},
             "You average features of different lengths, so long ones count more. Bring each to length one first.",
             "card: normalise, average, normalise"),
        slip("axes_exchanged",
             {("rows = []\n"
               "for name in names:\n"
               "    features = encode([template.format(name) for template in templates])\n"
               "    rows.append(F.normalize(features, dim=1).mean(0))\n"
               "return F.normalize(torch.stack(rows), dim=1)"):
                "features = encode([template.format(name) for template in templates for name in names])\n"
                "unit = F.normalize(features, dim=1).view(len(names), len(templates), -1)\n"
                "return F.normalize(unit.mean(1), dim=1)"},
             "You average over the wrong texts: names and templates are exchanged when you reshape.",
             "student mistake: view(K, P, D) of texts that were listed template by template"),
        slip("not_at_the_end", {"F.normalize(torch.stack(rows), dim=1)": "torch.stack(rows)"},
             "The mean of unit vectors is shorter than one. Bring it to length one again.",
             "card: normalise, average, normalise"),
        slip("plain_mean",
             {"F.normalize(features, dim=1)": "features",
              "F.normalize(torch.stack(rows), dim=1)": "torch.stack(rows)"},
             "You average the features as they come. Bring each to length one first, and their mean at the end.",
             "card: normalise, average, normalise"),
        slip("no_floor",
             {"return F.normalize(torch.stack(rows), dim=1)":
                "W = torch.stack(rows)\n"
                "return W / W.norm(dim=1, keepdim=True)"},
             "Where prompts point in opposite directions their mean is 0, and 0 / 0 is NaN. F.normalize leaves "
             "it at 0.", "card: hidden case, opposite embeddings"),
        slip("columns", {"F.normalize(torch.stack(rows), dim=1)": "F.normalize(torch.stack(rows), dim=1).T"},
             "Your classes are columns. Here a class is a row, (K, D).",
             "library difference: open_clip.build_zero_shot_classifier returns [D, K]"),
    ),
    hints=(
        "Should a prompt count more because its feature happens to be longer?",
        "For each name: the list of its prompts, encode, normalise rows, mean over rows. Stack, normalise again.",
        "features = encode([template.format(name) for template in templates]); F.normalize(features, dim=1).mean(0)",
    ),
    good_for="one cached vector per class, in place of many prompts per picture",
    minutes=12,
    core=True,
)  # fmt: skip
