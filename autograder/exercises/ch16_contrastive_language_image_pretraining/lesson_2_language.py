"""Chapter 16, notebook 2: cases, probes and variants of `pool_text` and `exclusive_split`."""

import re

import torch

from autograder.exercise import Alternative, Exercise, Misconception
from dlcv_lab.checking.model import Case


def pool_cases(rng: torch.Generator) -> list[Case]:
    """Draw hidden states that are large at padding, so that a pooled pad shows."""

    def case(group: str, note: str, how: str, side: str, empty: bool = False) -> Case:
        hidden = torch.randn(4, 6, 3, generator=rng, dtype=torch.float64)
        lengths = torch.tensor([6, 2, 4, 0 if empty else 3])
        places = torch.arange(6)[None]
        mask = places < lengths[:, None] if side == "right" else places >= 6 - lengths[:, None]
        hidden = hidden + 5 * (~mask)[..., None]
        return Case(group, {"hidden": hidden, "mask": mask, "how": how}, note)

    return [
        case("last", "padding at the right", "last", "right"),
        case("last", "padding at the left", "last", "left"),
        case("others", "the mean, padding at the right", "mean", "right"),
        case("others", "the mean, padding at the left", "mean", "left"),
        case("others", "the first, padding at the left", "first", "left"),
        case("edge", "a text without tokens", "last", "right", empty=True),
        case("edge", "a text without tokens, the mean", "mean", "left", empty=True),
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
    value, grads = probing.gradients(lambda hidden: ns.pool_text(hidden, data["mask"], data["how"]), [data["hidden"]])
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
    return torch.einsum("bt,btd->bd", weights.to(hidden.dtype), hidden)


def pool_with_mistake(mistake, hidden, mask, how):
    if how not in ("last", "first", "mean") and mistake != "anything goes":
        raise ValueError(how)
    lengths = mask.sum(1)
    rows = torch.arange(len(hidden))
    if how == "mean":
        if mistake == "mean of pads":
            return hidden.mean(1)
        kept = (hidden * mask[..., None]).sum(1)
        if mistake == "divides by T":
            return kept / hidden.shape[1]
        return kept / lengths.clamp(min=1)[:, None]
    if how == "first":
        at = torch.zeros_like(lengths) if mistake == "first place" else mask.int().argmax(1)
    elif mistake == "last place":
        return hidden[:, -1]
    elif mistake == "counts":
        at = (lengths - 1).clamp(min=0)
    else:
        at = torch.where(mask, torch.arange(mask.shape[1]), -1).amax(1).clamp(min=0)
    chosen = hidden[rows, at]
    return chosen if mistake == "empty" else chosen * mask.any(1)[:, None]


def pool_text__last_place(hidden, mask, how="last"):
    return pool_with_mistake("last place", hidden, mask, how)


def pool_text__counts(hidden, mask, how="last"):
    return pool_with_mistake("counts", hidden, mask, how)


def pool_text__mean_of_pads(hidden, mask, how="last"):
    return pool_with_mistake("mean of pads", hidden, mask, how)


def pool_text__divides_by_t(hidden, mask, how="last"):
    return pool_with_mistake("divides by T", hidden, mask, how)


def pool_text__first_place(hidden, mask, how="last"):
    return pool_with_mistake("first place", hidden, mask, how)


def pool_text__empty(hidden, mask, how="last"):
    return pool_with_mistake("empty", hidden, mask, how)


def pool_text__anything_goes(hidden, mask, how="last"):
    return pool_with_mistake("anything goes", hidden, mask, how)


def mistaken(variant, hint: str, source_of: str, helper) -> Misconception:
    """Name a misconception after its function."""
    return Misconception(name=variant.__name__.split("__")[1], code=(helper, variant), hint=hint, source_of=source_of)


POOL = Exercise(
    name="pool_text",
    methods=("ch16/decoder_lm_features", "ch16/sharelock"),
    groups={"last": 1, "others": 1, "edge": 1},
    cases=pool_cases,
    probe=pool_probe,
    alternatives=(
        Alternative(name="loop", code=(pool_text__loop,)),
        Alternative(name="weights", code=(pool_text__weights,)),
    ),
    misconceptions=(
        mistaken(
            pool_text__last_place,
            "hidden[:, -1] is a padding state where padding stands at the right. Find the last place where mask "
            "is True.",
            "card: the classic bug; Llama's tokenizer is set to pad at the left for this reason",
            pool_with_mistake,
        ),
        mistaken(
            pool_text__counts,
            "Number of tokens minus one is the last place only if padding stands at the right.",
            "card: padding at either side",
            pool_with_mistake,
        ),
        mistaken(
            pool_text__mean_of_pads,
            "Your mean includes the states at padding. Average over the real tokens only.",
            "card: mean must ignore pads",
            pool_with_mistake,
        ),
        mistaken(
            pool_text__divides_by_t,
            "You sum the real tokens but divide by the padded length T.",
            "student mistake: mean(1) of masked states",
            pool_with_mistake,
        ),
        mistaken(
            pool_text__first_place,
            "Place 0 is padding where padding stands at the left. The first real token is wanted.",
            "student mistake: hidden[:, 0], as for BERT",
            pool_with_mistake,
        ),
        mistaken(
            pool_text__empty,
            "A text without any token must give zeros, not the state of a pad.",
            "card: hidden case all-pad row",
            pool_with_mistake,
        ),
        mistaken(
            pool_text__anything_goes,
            'An unknown `how` is taken silently for "last". Raise ValueError.',
            "student mistake: an else that swallows typing errors",
            pool_with_mistake,
        ),
    ),
    hints=(
        "In which column does the last real token stand if padding is at the left? And at the right?",
        "Mean: states times mask, summed, divided by the number of real tokens (at least 1). Last: the largest place "
        "where mask is True, e.g. torch.where(mask, places, -1).amax(1). First: mask.int().argmax(1). Times "
        "mask.any.",
        "at = torch.where(mask, torch.arange(mask.shape[1]), -1).amax(1); hidden[torch.arange(len(hidden)), "
        "at.clamp(min=0)] * mask.any(1, keepdim=True)",
    ),
    good_for="features of any language model, batched",
    minutes=12,
    core=True,
)

SYNONYMS = {"ring": ["hoop", "hollow shape"], "star": ["five-pointed shape"], "arrow": []}
TEXTS = [
    "a red ring.",
    "A Ring on sand",
    "two rings!",
    "a blue hoop",
    "there is spring in the air",
    "a string of stars",
    "a hollow shape, red",
    "a hollow, red shape",
    "the five-pointed shape",
    "a five pointed shape",
    "a ring-road",
    "starlight",
    "an arrow",
    "narrow arrows",
    "a green circle",
    "",
    "STAR",
    "a ring_2 file",
    "ring",
]


def split_cases(rng: torch.Generator) -> list[Case]:
    """Draw the order of the captions and what is held out."""

    def case(group: str, note: str, held_out: list[str], synonyms: dict[str, list[str]]) -> Case:
        order = torch.randperm(len(TEXTS), generator=rng).tolist()
        return Case(group, {"captions": [TEXTS[k] for k in order], "held_out": held_out, "synonyms": synonyms}, note)

    return [
        case("plain", "ring is held out", ["ring"], SYNONYMS),
        case("plain", "ring and star are held out", ["ring", "star"], SYNONYMS),
        case("edge", "no synonyms are known", ["ring", "arrow"], {}),
        case("edge", "a synonym belongs to another word", ["star"], SYNONYMS),
        case("edge", "nothing is held out", [], SYNONYMS),
    ]


def split_probe(ns, data):
    """Return both lists."""
    train, test = ns.exclusive_split(list(data["captions"]), list(data["held_out"]), dict(data["synonyms"]))
    return {"train": [int(i) for i in train], "test": [int(i) for i in test]}


def exclusive_split__tokens(captions, held_out, synonyms):
    names = set()
    for word in held_out:
        for name in [word] + list(synonyms.get(word, [])):
            names.add(name.lower())
            names.add(name.lower() + "s")
    train, test = [], []
    for i, text in enumerate(captions):
        low, hit = text.lower(), False
        for name in names:
            start = low.find(name)
            while start >= 0:
                around = low[max(0, start - 1) : start] + low[start + len(name) : start + len(name) + 1]
                if not any(c.isalnum() or c in "_-" for c in around):
                    hit = True
                start = low.find(name, start + 1)
        (test if hit else train).append(i)
    return train, test


def exclusive_split__one_pattern(captions, held_out, synonyms):
    names = [re.escape(n) for w in held_out for n in [w, *synonyms.get(w, [])]]
    if not names:
        return list(range(len(captions))), []
    found = re.compile(r"(^|[^\w-])(" + "|".join(names) + r")s?($|[^\w-])", re.IGNORECASE)
    sides = [found.search(text) is not None for text in captions]
    return [i for i, s in enumerate(sides) if not s], [i for i, s in enumerate(sides) if s]


def split_with_mistake(mistake, captions, held_out, synonyms):
    more = {} if mistake == "no synonyms" else synonyms
    names = [name for word in held_out for name in (word, *more.get(word, []))]
    left, right = (r"\b", r"\b") if mistake == "hyphens" else (r"(?<![\w-])", r"(?![\w-])")
    if mistake == "substring":
        left, right = "", ""
    plural = "" if mistake == "plural" else "s?"
    flags = 0 if mistake == "case" else re.IGNORECASE
    patterns = [re.compile(left + re.escape(name) + plural + right, flags) for name in names]
    if mistake == "first":
        test = [i for i, text in enumerate(captions) if patterns and patterns[0].search(text)]
    else:
        test = [i for i, text in enumerate(captions) if any(p.search(text) for p in patterns)]
    train = [i for i in range(len(captions)) if i not in test]
    return (test, train) if mistake == "exchanged" else (train, test)


def exclusive_split__no_synonyms(captions, held_out, synonyms):
    return split_with_mistake("no synonyms", captions, held_out, synonyms)


def exclusive_split__hyphens(captions, held_out, synonyms):
    return split_with_mistake("hyphens", captions, held_out, synonyms)


def exclusive_split__substring(captions, held_out, synonyms):
    return split_with_mistake("substring", captions, held_out, synonyms)


def exclusive_split__plural(captions, held_out, synonyms):
    return split_with_mistake("plural", captions, held_out, synonyms)


def exclusive_split__case(captions, held_out, synonyms):
    return split_with_mistake("case", captions, held_out, synonyms)


def exclusive_split__first(captions, held_out, synonyms):
    return split_with_mistake("first", captions, held_out, synonyms)


def exclusive_split__exchanged(captions, held_out, synonyms):
    return split_with_mistake("exchanged", captions, held_out, synonyms)


SPLIT = Exercise(
    name="exclusive_split",
    methods=("ch16/exclusive_splits",),
    groups={"plain": 2, "edge": 1},
    cases=split_cases,
    probe=split_probe,
    alternatives=(
        Alternative(name="tokens", code=(exclusive_split__tokens,)),
        Alternative(name="one_pattern", code=(exclusive_split__one_pattern,)),
    ),
    misconceptions=(
        mistaken(
            exclusive_split__no_synonyms,
            "Synonyms of held-out words stay in your training captions: the concept leaks in under another name.",
            "card: hidden case synonym leak",
            split_with_mistake,
        ),
        mistaken(
            exclusive_split__hyphens,
            r'\b ends a word at a hyphen, so "ring-road" counts as a ring. A hyphen belongs to the word.',
            "library difference: \\b of re; MetaCLIP and CLIP count words by spaces",
            split_with_mistake,
        ),
        mistaken(
            exclusive_split__substring,
            'You look for substrings: "spring" and "string" name no ring.',
            "card: 'car' in 'scarf'",
            split_with_mistake,
        ),
        mistaken(
            exclusive_split__plural,
            'The plural leaks: "rings" names the concept, too.',
            "card: hidden case plural",
            split_with_mistake,
        ),
        mistaken(
            exclusive_split__case,
            'Capitals leak: "Ring" names the concept, too.',
            "card: hidden case of capitals",
            split_with_mistake,
        ),
        mistaken(
            exclusive_split__first,
            "Only the first name is looked for. Every held-out word and every synonym counts.",
            "student mistake: return inside the loop",
            split_with_mistake,
        ),
        mistaken(
            exclusive_split__exchanged,
            "The two lists are exchanged: training first, and it names nothing that is held out.",
            "student mistake: order of the result",
            split_with_mistake,
        ),
    ),
    hints=(
        "In how many ways can a caption name a ring without containing the word 'ring' with spaces around?",
        "All names: the words and their synonyms. One pattern each: no word character or hyphen before, the "
        "name, s?, "
        "none behind; ignore case. Test: captions where any pattern is found.",
        're.compile(rf"(?<![\\w-]){re.escape(name)}s?(?![\\w-])", re.IGNORECASE)',
    ),
    good_for="any claim about concepts that a model has not seen",
    minutes=15,
    core=True,
)
