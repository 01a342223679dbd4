"""Chapter 28, notebook 2: cases, probes and variants of `concept_mask` and `localisation_loss`."""

import torch
import torch.nn.functional as F

from autograder.exercise import Alternative, Exercise, Misconception
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
        case("layers", "layers of other sizes among them", [attention(2, 2, s) for s in (3, 4, 2, 4)], [3], 4, 0.5),
        case("layers", "float64", [attention(3, 2, 3, dtype=torch.float64) for _ in range(3)], [1, 2], 3, 0.3),
        case("edge", "a faint picture beside a strong one", [attention(2, 2, 4, faint=True)], [2, 3], 4, 0.6),
        case("edge", "everything is equal in one picture", [flat], [2], 4, 0.2),
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
    out = []
    for a in total / layers:
        a = (a - a.min()) / (a.max() - a.min() + 1e-8)
        out.append(torch.where(a >= threshold, 1.0, 0.0).to(a.dtype).view(size, size))
    return torch.stack(out)


def concept_mask__one_stack(probabilities, words, *, size, threshold=0.1):
    kept = torch.stack([p for p in probabilities if p.shape[2] == size * size])
    a = kept.index_select(-1, torch.tensor(words)).mean((0, 2, 4))
    a = a - a.min(dim=1, keepdim=True).values
    a = a / (a.max(dim=1, keepdim=True).values + 1e-8)
    return (~(a < threshold)).type(a.dtype).reshape(-1, size, size)


def mask_with_mistake(mistake, probabilities, words, size, threshold):
    layers = [p for p in probabilities if p.shape[2] == size * size]
    if mistake == "one layer":
        layers = layers[:1]
    pick = words[:1] if mistake == "first word" else [w + 1 for w in words] if mistake == "shifted" else words
    maps = torch.stack([p[..., pick].mean(-1) for p in layers]).mean(0)
    a = maps[:, 0] if mistake == "one head" else maps.mean(1)
    if mistake == "batch":
        low, high = a.min(), a.max()
    else:
        low, high = a.amin(1, keepdim=True), a.amax(1, keepdim=True)
    if mistake == "not stretched":
        low, high = torch.zeros_like(low), torch.ones_like(high)
    if mistake == "by the largest":
        low = torch.zeros_like(low)
    a = (a - low) / (high - low + 1e-8)
    found = (a < threshold) if mistake == "inverted" else (a >= threshold)
    return (a if mistake == "soft" else found.to(a.dtype)).unflatten(1, (size, size))


def concept_mask__one_layer(probabilities, words, *, size, threshold=0.1):
    return mask_with_mistake("one layer", probabilities, words, size, threshold)


def concept_mask__first_word(probabilities, words, *, size, threshold=0.1):
    return mask_with_mistake("first word", probabilities, words, size, threshold)


def concept_mask__shifted(probabilities, words, *, size, threshold=0.1):
    return mask_with_mistake("shifted", probabilities, words, size, threshold)


def concept_mask__one_head(probabilities, words, *, size, threshold=0.1):
    return mask_with_mistake("one head", probabilities, words, size, threshold)


def concept_mask__batch(probabilities, words, *, size, threshold=0.1):
    return mask_with_mistake("batch", probabilities, words, size, threshold)


def concept_mask__not_stretched(probabilities, words, *, size, threshold=0.1):
    return mask_with_mistake("not stretched", probabilities, words, size, threshold)


def concept_mask__by_the_largest(probabilities, words, *, size, threshold=0.1):
    return mask_with_mistake("by the largest", probabilities, words, size, threshold)


def concept_mask__inverted(probabilities, words, *, size, threshold=0.1):
    return mask_with_mistake("inverted", probabilities, words, size, threshold)


def concept_mask__soft(probabilities, words, *, size, threshold=0.1):
    return mask_with_mistake("soft", probabilities, words, size, threshold)


def mask_mistake(variant, hint: str, source_of: str) -> Misconception:
    """Name a misconception after its function."""
    name = variant.__name__.split("__")[1]
    return Misconception(name=name, code=(mask_with_mistake, variant), hint=hint, source_of=source_of)


MASK = Exercise(
    name="concept_mask",
    methods=("ch28/receler_localised",),
    groups={"one layer": 1, "layers": 1, "edge": 1},
    cases=mask_cases,
    probe=mask_probe,
    alternatives=(
        Alternative(name="loops", code=(concept_mask__loops,)),
        Alternative(name="one_stack", code=(concept_mask__one_stack,)),
    ),
    misconceptions=(
        mask_mistake(
            concept_mask__one_layer,
            "You use the first layer of the right size. Average over all of them.",
            "student mistake: the first match taken",
        ),
        mask_mistake(
            concept_mask__first_word,
            "You use the concept's first word. Average over all positions in `words`.",
            "card: hidden case, several concept tokens",
        ),
        mask_mistake(
            concept_mask__shifted,
            "You read one position too far. `words` are positions in the sequence; the start token is counted already.",
            "card trap: token indices and the start token",
        ),
        mask_mistake(
            concept_mask__one_head,
            "You use the first head. Average over the heads.",
            "student mistake: the head axis indexed",
        ),
        mask_mistake(
            concept_mask__batch,
            "You stretch the batch as a whole, so a faint picture loses its mask. Take minimum and maximum of each "
            "picture on its own.",
            "card trap: min-max over the image, not the batch",
        ),
        mask_mistake(
            concept_mask__not_stretched,
            "You compare the probabilities themselves with the threshold. Stretch them to 0..1 first.",
            "student mistake: normalisation forgotten",
        ),
        mask_mistake(
            concept_mask__by_the_largest,
            "You divide by the largest value only. Subtract the smallest first.",
            "library difference: max normalisation, as in many attention viewers",
        ),
        mask_mistake(
            concept_mask__inverted,
            "Your mask is 1 where the word is NOT attended to. It is the other way round.",
            "student mistake: M and 1 - M exchanged",
        ),
        mask_mistake(
            concept_mask__soft,
            "Your mask has values between 0 and 1. Compare with the threshold: the mask is 0.0 or 1.0.",
            "student mistake: the last step forgotten",
        ),
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
)


def local_cases(rng: torch.Generator) -> list[Case]:
    """Draw outputs of several sizes and masks, one of them all ones."""

    def case(group: str, note: str, sides: list[int], size: int, B: int, share: float, dtype=torch.float32) -> Case:
        outputs = [torch.randn(B, s * s, 3 + k, generator=rng, dtype=dtype) for k, s in enumerate(sides)]
        mask = (torch.rand(B, size, size, generator=rng) < share).to(dtype)
        mask[0, 0, 0], mask[-1, -1, -1] = 1, 0 if share < 1 else 1
        if B > 1 and share < 1:
            mask[0, :2] = 1  # more of the first picture is masked than of the others
        return Case(group, {"outputs": outputs, "mask": mask}, note)

    return [
        case("one layer", "the mask's own size", [4], 4, 2, 0.4),
        case("one layer", "one picture, float64", [3], 3, 1, 0.5, torch.float64),
        case("layers", "three layers, two of them smaller", [8, 4, 2], 8, 2, 0.5),
        case("layers", "a layer larger than the mask", [4, 8], 4, 3, 0.3),
        case("edge", "the mask covers everything", [4, 2], 4, 2, 1.0),
        case("edge", "the mask covers hardly anything", [4, 4], 4, 2, 0.0),
    ]


def local_probe(ns, data):
    """Return the loss and its gradients at the outputs."""
    outputs = [o.clone().requires_grad_() for o in data["outputs"]]
    loss = ns.localisation_loss(outputs, data["mask"])
    return {"loss": loss.detach(), "gradients": list(torch.autograd.grad(loss, outputs))}


def localisation_loss__places(outputs, mask):
    losses = []
    for o in outputs:
        side = round(o.shape[1] ** 0.5)
        M = F.interpolate(mask.unsqueeze(1), size=side).reshape(len(o), -1)
        kept = (M == 0).to(o.dtype)
        losses.append(torch.einsum("bnd,bnd,bn->", o, o, kept) / o.shape[2] / max(1.0, float(kept.sum())))
    return torch.stack(losses).mean()


def localisation_loss__select(outputs, mask):
    total = 0
    for o in outputs:
        side = int(o.shape[1] ** 0.5 + 0.5)
        rows = (torch.arange(side) * mask.shape[1]) // side
        free = mask[:, rows][:, :, rows].flatten(1) == 0
        picked = o[free]
        total = total + ((picked**2).mean() if len(picked) else (o * 0).sum())
    return total / len(outputs)


def local_with_mistake(mistake, outputs, mask):
    total = 0.0
    for o in outputs:
        side = round(o.shape[1] ** 0.5)
        mode = {"mode": "bilinear", "align_corners": False} if mistake == "bilinear" else {"mode": "nearest"}
        M = F.interpolate(mask[:, None], size=(side, side), **mode).flatten(1)
        outside = M if mistake == "inside" else 1 - M
        per_place = o.abs().mean(-1) if mistake == "absolute" else o.square().mean(-1)
        if mistake == "sum over dim":
            per_place = o.square().sum(-1)
        if mistake == "all places":
            part = (per_place * outside).mean()
        elif mistake == "per picture":
            part = ((per_place * outside).sum(1) / outside.sum(1).clamp(min=1)).mean()
        elif mistake == "no guard":
            part = (per_place * outside).sum() / outside.sum()
        else:
            part = (per_place * outside).sum() / outside.sum().clamp(min=1)
        total = total + part
    return total if mistake == "sum over layers" else total / len(outputs)


def localisation_loss__inside(outputs, mask):
    return local_with_mistake("inside", outputs, mask)


def localisation_loss__bilinear(outputs, mask):
    return local_with_mistake("bilinear", outputs, mask)


def localisation_loss__absolute(outputs, mask):
    return local_with_mistake("absolute", outputs, mask)


def localisation_loss__sum_over_dim(outputs, mask):
    return local_with_mistake("sum over dim", outputs, mask)


def localisation_loss__all_places(outputs, mask):
    return local_with_mistake("all places", outputs, mask)


def localisation_loss__per_picture(outputs, mask):
    return local_with_mistake("per picture", outputs, mask)


def localisation_loss__no_guard(outputs, mask):
    return local_with_mistake("no guard", outputs, mask)


def localisation_loss__sum_over_layers(outputs, mask):
    return local_with_mistake("sum over layers", outputs, mask)


def local_mistake(variant, hint: str, source_of: str) -> Misconception:
    """Name a misconception after its function."""
    name = variant.__name__.split("__")[1]
    return Misconception(name=name, code=(local_with_mistake, variant), hint=hint, source_of=source_of)


LOCAL = Exercise(
    name="localisation_loss",
    methods=("ch28/receler_localised",),
    groups={"one layer": 1, "layers": 1, "edge": 1},
    cases=local_cases,
    probe=local_probe,
    alternatives=(
        Alternative(name="places", code=(localisation_loss__places,)),
        Alternative(name="select", code=(localisation_loss__select,)),
    ),
    misconceptions=(
        local_mistake(
            localisation_loss__inside,
            "You silence the erasers INSIDE the mask, where they are needed. Multiply by 1 - mask.",
            "student mistake: M for 1 - M",
        ),
        local_mistake(
            localisation_loss__bilinear,
            "Your resized mask has values between 0 and 1. Resize by 'nearest', so that it stays 0 or 1.",
            "card trap: F.interpolate by nearest",
        ),
        local_mistake(
            localisation_loss__absolute,
            "You take absolute values. The loss is a mean of squares.",
            "student mistake: L1 for L2",
        ),
        local_mistake(
            localisation_loss__sum_over_dim,
            "You sum over the features of a place. Take their mean, so that wide layers do not count more.",
            "card trap: the slide's norm is unnormalised, the code takes the mean over channels",
        ),
        local_mistake(
            localisation_loss__all_places,
            "You divide by the number of all places. Divide by the number of places where the mask is 0.",
            "student mistake: mean over everything",
        ),
        local_mistake(
            localisation_loss__per_picture,
            "You average picture by picture. Count sum and places over the whole batch, then divide once.",
            "student mistake: mean of means",
        ),
        local_mistake(
            localisation_loss__no_guard,
            "Where the mask covers everything you divide 0 by 0. Divide by 1 then: the loss is 0.",
            "card: hidden case, mask all ones",
        ),
        local_mistake(
            localisation_loss__sum_over_layers,
            "You sum over the layers. Average over them (1 / L in the paper).",
            "student mistake: 1 / L forgotten",
        ),
    ),
    hints=(
        "A layer of 8 x 8 places and a mask of 16 x 16: how do they meet? What do you divide by when there is nothing "
        "outside of the mask?",
        "Per output: side = root of the number of places; resize the mask (give it a channel axis first); 1 - mask, "
        "flattened; mean of squares over dim, times that, summed, divided by its sum clamped to at least 1.",
        'outside = 1 - F.interpolate(mask[:, None], size=(side, side), mode="nearest").flatten(1); '
        "(o.square().mean(-1) * outside).sum() / outside.sum().clamp(min=1)",
    ),
    good_for="telling a module where to keep quiet",
    minutes=15,
    core=True,
)
