"""Chapter 28, notebook 2: cases, probe and variants of `concept_mask`."""

import torch

from autograder.declare.exercise import Exercise, alternative
from autograder.declare.slips import slip
from dlcv_lab.checking.model import Case


def mask_cases(rng: torch.Generator) -> list[Case]:
    """Draw attention of several layers and sizes; one picture of a batch is much fainter than the other."""

    def attention(B: int, heads: int, side: int, faint: bool = False, dtype=torch.float32) -> torch.Tensor:
        p = torch.randn(B, heads, side * side, 6, generator=rng, dtype=dtype).mul(1.5).softmax(-1)
        if faint:
            p[0] = p[0] * 0.1 + 0.02
        return p

    def case(group: str, note: str, layers: list[torch.Tensor], words: list[int], size: int, threshold=None) -> Case:
        data = {"probabilities": layers, "words": words, "size": size, "threshold": threshold}
        return Case(group, data, note)

    flat = attention(2, 2, 4)
    flat[0] = 1 / 6
    return [
        case("one layer", "one word", [attention(2, 3, 4)], [2], 4, 0.4),
        case("one layer", "two words, the threshold by default", [attention(1, 2, 5)], [1, 4], 5),
        case(
            "layers", "layers of other sizes among them", [attention(2, 2, s) for s in (3, 4, 2, 4, 8, 2)], [3], 4, 0.5
        ),
        case("layers", "float64", [attention(3, 2, 3, dtype=torch.float64) for _ in range(3)], [1, 2], 3, 0.3),
        case("edge", "a faint picture beside a strong one", [attention(2, 2, 4, faint=True)], [2, 3], 4, 0.6),
        case("edge", "everything is equal in one picture", [flat], [2], 4, 0.2),
        case("edge", "a threshold of 0", [attention(2, 2, 3)], [1], 3, 0.0),
        case("edge", "no layer of this size", [attention(2, 2, 4), attention(2, 2, 2)], [1], 3, 0.4),
    ]


def mask_probe(ns, data):
    """Return the mask."""
    options = {} if data["threshold"] is None else {"threshold": data["threshold"]}
    return ns.concept_mask(list(data["probabilities"]), list(data["words"]), size=data["size"], **options)


def concept_mask__loops(probabilities, words, *, size, threshold=0.1):
    total, layers = 0, 0
    for p in probabilities:
        if p.size(2) != size**2:
            continue
        layers += 1
        total = total + sum(p[:, :, :, w].mean(1) for w in words) / len(words)
    if layers == 0:
        raise ValueError("none of the layers has this size")
    out = []
    for a in total / layers:
        a = (a - a.min()) / (a.max() - a.min() + 1e-8)
        out.append(torch.where(a >= threshold, 1.0, 0.0).to(a.dtype).view(size, size))
    return torch.stack(out)


def concept_mask__one_stack(probabilities, words, *, size, threshold=0.1):
    kept = [p for p in probabilities if p.shape[2] == size * size]
    if len(kept) < 1:
        raise ValueError(f"{size} x {size} does not occur")
    kept = torch.stack(kept)
    a = kept.index_select(-1, torch.tensor(words)).mean((0, 2, 4))
    a = a - a.min(dim=1, keepdim=True).values
    a = a / (a.max(dim=1, keepdim=True).values + 1e-8)
    return (~(a < threshold)).type(a.dtype).reshape(-1, size, size)


def enlarge(p, size):
    side = round(p.shape[2] ** 0.5)
    places = (torch.arange(size) * side) // size
    return p[:, :, (places[:, None] * side + places).flatten()]


MASK = Exercise(
    name="concept_mask",
    methods=("ch28/receler_localised",),
    groups={"one layer": 1, "layers": 1, "edge": 1},
    cases=mask_cases,
    probe=mask_probe,
    alternatives=(alternative(concept_mask__loops), alternative(concept_mask__one_stack)),
    misconceptions=(
        slip("nothing_fits", {"if not maps:": "if False:"},
             "Where no layer has size * size places, stack is left with nothing. Raise a ValueError that says so.",
             "student mistake: the list of maps is empty"),
        slip("one_layer", {"torch.stack(maps).mean(0)": "maps[0]"},
             "You use the first layer of the right size. Average over all of them.",
             "student mistake: the first match taken"),
        slip("first_word", {"p[..., words]": "p[..., words[:1]]"},
             "You use the concept's first word. Average over all positions in `words`.",
             "card: hidden case, several concept tokens"),
        slip("shifted", {"p[..., words]": "p[..., [w + 1 for w in words]]"},
             "You read one position too far. `words` are positions in the sequence; the start token is counted "
             "already.", "card trap: token indices and the start token"),
        slip("one_head", {"p[..., words].mean((1, 3))": "p[:, 0][..., words].mean(2)"},
             "You use the first head. Average over the heads.", "student mistake: the head axis indexed"),
        slip("batch", {"a.amin(1, keepdim=True), a.amax(1, keepdim=True)": "a.min(), a.max()"},
             "You stretch the batch as a whole, so a faint picture loses its mask. Take minimum and maximum of "
             "each picture on its own.", "card trap: min-max over the image, not the batch"),
        slip("not_stretched", {"(a - low) / (high - low + 1e-8)": "a"},
             "You compare the probabilities themselves with the threshold. Stretch them to 0..1 first.",
             "student mistake: normalisation forgotten"),
        slip("by_the_largest", {"(a - low) / (high - low + 1e-8)": "a / (high + 1e-8)"},
             "You divide by the largest value only. Subtract the smallest first.",
             "library difference: max normalisation, as in many attention viewers"),
        slip("inverted", {">= threshold": "< threshold"},
             "Your mask is 1 where the word is NOT attended to. It is the other way round.",
             "student mistake: M and 1 - M exchanged"),
        slip("soft",
             {"((a - low) / (high - low + 1e-8) >= threshold).to(a.dtype)": "((a - low) / (high - low + 1e-8))"},
             "Your mask has values between 0 and 1. Compare with the threshold: the mask is 0.0 or 1.0.",
             "student mistake: the last step forgotten"),
        slip("every_size",
             {"maps = [p[..., words].mean((1, 3)) for p in probabilities if p.shape[2] == size * size]":
                "maps = []\n"
                "for p in probabilities:\n"
                "    side = math.isqrt(p.shape[2])\n"
                "    at = torch.arange(size) * side // size\n"
                "    maps.append(p[..., words].mean((1, 3))[:, (at[:, None] * side + at).flatten()])"},
             "You enlarge the maps of smaller layers and average them as well. Only layers with size * size "
             "places count.", "library difference: other attention viewers mix all sizes"),
        slip("strongest_head",
             {"p[..., words].mean((1, 3))": "p[..., words].mean(3)",
              "torch.stack(maps).mean(0)": "torch.stack(maps).mean(0).amax(1)"},
             "You take the strongest head of each place. Average over the heads.", "student mistake: maximum for mean"),
        slip("strongest_of_each",
             {"p[..., words].mean((1, 3))": "p[..., words].mean(3).amax(1)"},
             "You take the strongest head of each place. Average over the heads.",
             "student mistake: max over the heads"),
        slip("always", {">= threshold": ">= 0.1"},
             "Your threshold is always 0.1. Use the argument.", "student mistake: a default written into the code"),
        slip("strict", {">= threshold": "> threshold"},
             "A place exactly at the threshold belongs to the mask: at least, >=.",
             "first reader: no case told it from the right answer"),
        slip("truth_values", {".to(a.dtype)": ""},
             "Your mask holds True and False. Make numbers of them, in the dtype of the probabilities.",
             "student mistake: the comparison returned as it is"),
        slip("float32", {".to(a.dtype)": ".float()"},
             "Your mask is always float32. It has the dtype of the probabilities: .to(a.dtype), not .float().",
             "first reader: the stub did not say it"),
    ),
    hints=(
        "Four axes: which of them are averaged away, which one is picked from, and over which one are minimum and "
        "maximum taken?",
        "Keep the tensors with size * size places. Pick the words, mean over heads and words, stack, mean over layers: "
        "(B, places). Stretch each row to 0..1, compare, reshape.",
        "maps = [p[..., words].mean((1, 3)) for p in probabilities if p.shape[2] == size * size]; a = "
        "torch.stack(maps).mean(0); low, high = a.amin(1, keepdim=True), a.amax(1, keepdim=True)",
    ),
    good_for="seeing where a word acts in a picture, without any labels",
    minutes=20,
    core=True,
    exact_dtype=True,
)  # fmt: skip
