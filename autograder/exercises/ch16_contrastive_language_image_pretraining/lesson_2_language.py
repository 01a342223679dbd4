"""Chapter 16, notebook 2: cases, probe and variants of `pool_text`."""

import math

import torch

from autograder.declare.exercise import Exercise, alternative, mistaken
from autograder.declare.slips import slip
from dlcv_lab.checking.model import Case


def pool_cases(rng: torch.Generator) -> list[Case]:
    """Draw hidden states that are large at padding, so that a pooled pad shows."""

    def case(group: str, note: str, how: str, side: str, empty: bool = False, pad: float = 5) -> Case:
        hidden = torch.randn(4, 6, 3, generator=rng, dtype=torch.float64)
        lengths = torch.tensor([6, 2, 4, 0 if empty else 3])
        places = torch.arange(6)[None]
        mask = places < lengths[:, None] if side == "right" else places >= 6 - lengths[:, None]
        hidden[~mask] += pad
        return Case(group, {"hidden": hidden, "mask": mask, "how": how}, note)

    unsaid = case("last", "`how` is not given", "", "right")

    return [
        case("last", "padding at the right", "last", "right"),
        case("last", "padding at the left", "last", "left"),
        unsaid,
        case("others", "the mean, padding at the right", "mean", "right"),
        case("others", "the mean, padding at the left", "mean", "left"),
        case("others", "the first, padding at the left", "first", "left"),
        case("edge", "a text without tokens", "last", "right", empty=True),
        case("edge", "a text without tokens, the mean", "mean", "left", empty=True),
        case("edge", "NaN at padding, the mean", "mean", "right", pad=math.nan),
        case("edge", "NaN at padding and a text without tokens", "last", "right", empty=True, pad=math.nan),
        case("edge", "an unknown name", "middle", "right"),
    ]


def pool_probe(ns, data):
    """Return the pooled features and their gradient, or that a ValueError was raised."""
    if data["how"] == "middle":
        try:
            ns.pool_text(data["hidden"], data["mask"], data["how"])
        except ValueError:
            return {"raised": "ValueError"}
        return {"raised": "nothing"}
    how = [data["how"]] if data["how"] else []
    value, grads = probing.gradients(lambda hidden: ns.pool_text(hidden, data["mask"], *how), [data["hidden"]])
    return {"feature": value, "gradient": grads[0]}


def pool_text__loop(hidden, mask, how="last"):
    if how not in {"last", "first", "mean"}:
        raise ValueError(how)
    rows = []
    for states, real in zip(hidden, mask):
        kept = states[real]
        if len(kept) == 0:
            rows.append(torch.zeros_like(states[0]))
        elif how == "mean":
            rows.append(kept.mean(0))
        else:
            rows.append(kept[-1] if how == "last" else kept[0])
    return torch.stack(rows)


def pool_text__weights(hidden, mask, how="last"):
    if how == "mean":
        weights = mask / mask.sum(1, keepdim=True).clamp(min=1)
    elif how == "last":
        weights = mask & (mask.flip(1).cumsum(1).flip(1) == 1)
    elif how == "first":
        weights = mask & (mask.cumsum(1) == 1)
    else:
        raise ValueError("how is last, first or mean")
    real = torch.where(mask[..., None], hidden, 0)
    return torch.einsum("bt,btd->bd", weights.to(hidden.dtype), real)


def pool_text__mean_unsaid(hidden, mask, how="mean"):
    if how not in ("last", "first", "mean"):
        raise ValueError(how)
    hidden = hidden.masked_fill(~mask[..., None], 0)
    if how == "mean":
        return hidden.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
    places = torch.arange(mask.shape[1])
    at = torch.where(mask, places, -1).amax(1) if how == "last" else mask.int().argmax(1)
    return hidden[torch.arange(len(hidden)), at.clamp(min=0)]


POOL = Exercise(
    name="pool_text",
    methods=("ch16/decoder_lm_features", "ch16/sharelock"),
    groups={"last": 1, "others": 1, "edge": 1},
    cases=pool_cases,
    probe=pool_probe,
    alternatives=(alternative(pool_text__loop), alternative(pool_text__weights)),
    misconceptions=(
        slip("multiplies", {"hidden.masked_fill(~mask[..., None], 0)": "hidden * mask[..., None]"},
             "NaN at a pad times 0 is NaN, and it leaks into the feature. Replace before you sum: "
             "hidden.masked_fill(~mask[..., None], 0).", "student mistake: masking by multiplication"),
        slip("last_place",
             {"hidden = hidden.masked_fill(~mask[..., None], 0)":
                'if how == "last":\n'
                "    return hidden[:, -1]\n"
                "hidden = hidden.masked_fill(~mask[..., None], 0)"},
             "hidden[:, -1] is a padding state where padding stands at the right. Find the last place where "
             "mask is True.", "card: the classic bug; Llama's tokenizer is set to pad at the left for this reason"),
        slip("last_place_zeros",
             {"hidden = hidden.masked_fill(~mask[..., None], 0)":
                'if how == "last":\n'
                "    return hidden[:, -1] * mask.any(1)[:, None]\n"
                "hidden = hidden.masked_fill(~mask[..., None], 0)"},
             "hidden[:, -1] is a padding state where padding stands at the right. Find the last place where "
             "mask is True.", "card: the classic bug, with zeros for texts without tokens"),
        slip("sums_pads",
             {"hidden = hidden.masked_fill(~mask[..., None], 0)":
                'if how == "mean":\n'
                "    return hidden.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)\n"
                "hidden = hidden.masked_fill(~mask[..., None], 0)"},
             "You divide by the number of real tokens, but the sum still holds the states at padding.",
             "student mistake: the mask in the denominator alone"),
        mistaken(
            pool_text__mean_unsaid,
            "Where `how` is not given, the last token is wanted.",
            "student mistake: another default",
        ),
        slip("last_place_chosen",
             {"hidden = hidden.masked_fill(~mask[..., None], 0)":
              "if how == \"last\":\n    return torch.where(mask.any(1)[:, None], hidden[:, -1], 0)\n"
              "hidden = hidden.masked_fill(~mask[..., None], 0)"},
             "hidden[:, -1] is a padding state where padding stands at the right. Find the last place where "
             "mask is True.",
             "student mistake: the last position for the last token"),
        slip("mean_of_pads_chosen",
             {"hidden = hidden.masked_fill(~mask[..., None], 0)":
              "if how == \"mean\":\n    return torch.where(mask.any(1)[:, None], hidden.mean(1), 0)\n"
              "hidden = hidden.masked_fill(~mask[..., None], 0)"},
             "Your mean includes the states at padding. Average over the real tokens only.",
             "student mistake: padding in the mean"),
        slip("counts",
             {"hidden = hidden.masked_fill(~mask[..., None], 0)":
                'if how == "last":\n'
                "    at = (mask.sum(1) - 1).clamp(min=0)\n"
                "    return hidden[torch.arange(len(hidden)), at] * mask.any(1)[:, None]\n"
                "hidden = hidden.masked_fill(~mask[..., None], 0)"},
             "Number of tokens minus one is the last place only if padding stands at the right.",
             "card: padding at either side"),
        slip("mean_of_pads",
             {"hidden = hidden.masked_fill(~mask[..., None], 0)":
                'if how == "mean":\n'
                "    return hidden.mean(1)\n"
                "hidden = hidden.masked_fill(~mask[..., None], 0)"},
             "Your mean includes the states at padding. Average over the real tokens only.",
             "card: mean must ignore pads"),
        slip("divides_by_t", {"mask.sum(1, keepdim=True).clamp(min=1)": "mask.shape[1]"},
             "You sum the real tokens but divide by the padded length T.", "student mistake: mean(1) of masked states"),
        slip("first_place",
             {"hidden = hidden.masked_fill(~mask[..., None], 0)":
                'if how == "first":\n'
                "    return hidden[:, 0] * mask.any(1)[:, None]\n"
                "hidden = hidden.masked_fill(~mask[..., None], 0)"},
             "Place 0 is padding where padding stands at the left. The first real token is wanted.",
             "student mistake: hidden[:, 0], as for BERT"),
        slip("empty",
             {("hidden = hidden.masked_fill(~mask[..., None], 0)\n"
               'if how == "mean":'):
                'if how == "mean":\n'
                "    hidden = hidden.masked_fill(~mask[..., None], 0)"},
             "A text without any token must give zeros, not the state of a pad.", "card: hidden case all-pad row"),
        slip("anything_goes",
             {'if how not in ("last", "first", "mean"):': "if False:",
              'if how == "last" else': 'if how != "first" else'},
             'An unknown `how` is taken silently for "last". Raise ValueError.',
             "student mistake: an else that swallows typing errors"),
    ),
    hints=(
        "In which column does the last real token stand if padding is at the left? And at the right?",
        "Put 0 where the mask is False. Mean: the sum divided by the number of real tokens (at least 1). Last: the "
        "largest place where mask is True, e.g. torch.where(mask, places, -1).amax(1). First: mask.int().argmax(1).",
        "hidden = hidden.masked_fill(~mask[..., None], 0); at = torch.where(mask, torch.arange(mask.shape[1]), "
        "-1).amax(1); hidden[torch.arange(len(hidden)), at.clamp(min=0)]",
    ),
    good_for="features of any language model, batched",
    minutes=12,
    core=True,
)  # fmt: skip
