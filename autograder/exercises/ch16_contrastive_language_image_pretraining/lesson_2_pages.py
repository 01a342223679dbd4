"""Chapter 16, notebook 2: cases, probe and variants of `assign_images`."""

import math

import torch
from scipy.optimize import linear_sum_assignment

from autograder.declare.exercise import Alternative, Exercise, mistaken
from dlcv_lab.checking.model import Case


def pages_cases(rng: torch.Generator) -> list[Case]:
    """Draw similarities with one sentence that attracts several images."""

    def case(group: str, note: str, images: int, sentences: int, lift: float = 1.0) -> Case:
        S = torch.randn(images, sentences, generator=rng, dtype=torch.float64)
        if images and sentences > 1:
            S[:, 0] += lift
            S[:2, 0] = S.max() + 1 + torch.rand(2, generator=rng, dtype=torch.float64)
        return Case(group, {"S": S}, note)

    over = case("edge", "5 images, 2 sentences", 5, 2)
    over.data["S"][4] = torch.tensor([-9.0, -8.0])  # never assigned, and its favourite is the second sentence
    later = torch.tensor([[0.8, 0.7, 0.1], [0.9, 0.1, 0.2]], dtype=torch.float64)
    trap = torch.tensor([[0.9, 0.8, 0.1], [0.85, 0.1, 0.2]], dtype=torch.float64)
    return [
        case("plain", "3 images, 6 sentences", 3, 6),
        case("plain", "4 images, 4 sentences", 4, 4),
        Case(
            "plain", {"S": trap + 0.01 * torch.rand(2, 3, generator=rng, dtype=torch.float64)}, "both want sentence 0"
        ),
        Case(
            "plain",
            {"S": later + 0.01 * torch.rand(2, 3, generator=rng, dtype=torch.float64)},
            "the second wants it more",
        ),
        over,
        case("edge", "3 images, 1 sentence", 3, 1),
        case("edge", "no image", 0, 4),
        case("edge", "images, but no sentence", 3, 0),
        Case("edge", {"S": trap.bfloat16()}, "similarities in bfloat16"),
        Case("edge", case("edge", "", 4, 5).data | {"learned": True}, "similarities that require a gradient"),
        Case("edge", {"S": -1 - torch.rand(3, 5, generator=rng, dtype=torch.float64)}, "all similarities are negative"),
    ]


def pages_probe(ns, data):
    """Return the sentences."""
    S = data["S"].clone().requires_grad_() if "learned" in data else data["S"]
    return [int(t) for t in ns.assign_images(S)]


def assign_images__permutations(S):
    import itertools

    I, T = S.shape
    if I == 0:
        return []
    if T == 0:
        raise ValueError("nowhere to put the images")
    best, found = -math.inf, None
    if I <= T:
        for columns in itertools.permutations(range(T), I):
            value = sum(float(S[i, t]) for i, t in enumerate(columns))
            if value > best:
                best, found = value, list(columns)
        return found
    for rows in itertools.permutations(range(I), T):
        value = sum(float(S[i, t]) for t, i in enumerate(rows))
        if value > best:
            best, found = value, rows
    out = [int(S[i].argmax()) for i in range(I)]
    for t, i in enumerate(found):
        out[i] = t
    return out


def assign_images__costs(S):
    if S.shape[0] == 0:
        return []
    if S.shape[1] == 0:
        raise ValueError("a page without sentences")
    S = S.detach().to(torch.float64)
    rows, columns = linear_sum_assignment((S.max() - S).numpy())
    taken = dict(zip(rows.tolist(), columns.tolist()))
    return [taken[i] if i in taken else int(torch.argmax(S[i])) for i in range(len(S))]


def pages_with_mistake(mistake, S):
    if len(S) == 0:
        return []
    if S.shape[1] == 0 and mistake not in ("as it is", "no sentence"):
        raise ValueError("no sentence")
    if mistake not in ("as it is", "gradient"):
        S = S.detach()
    if mistake not in ("as it is", "short type"):
        S = S.double()
    chosen = S.argmax(1).tolist()
    if mistake == "favourites":
        return chosen
    if mistake == "in turn":
        free = set(range(S.shape[1]))
        for i, row in enumerate(S):
            if free:
                chosen[i] = max(free, key=lambda t: float(row[t]))
                free.discard(chosen[i])
        return chosen
    if mistake == "largest first":
        left = S.clone()
        for _ in range(min(S.shape)):
            i, t = divmod(int(left.argmax()), S.shape[1])
            chosen[i] = t
            left[i], left[:, t] = -math.inf, -math.inf
        return chosen
    rows, columns = linear_sum_assignment(S.numpy(), maximize=mistake != "smallest")
    if mistake == "drops":
        return columns[rows.argsort()].tolist()
    if mistake in ("nobody", "first"):
        chosen = [-1 if mistake == "nobody" else 0] * len(S)
    for i, t in zip(rows.tolist(), columns.tolist()):
        chosen[i] = t
    return chosen


def assign_images__as_it_is(S):
    return pages_with_mistake("as it is", S)


def assign_images__no_sentence(S):
    return pages_with_mistake("no sentence", S)


def assign_images__gradient(S):
    return pages_with_mistake("gradient", S)


def assign_images__short_type(S):
    return pages_with_mistake("short type", S)


def assign_images__favourites(S):
    return pages_with_mistake("favourites", S)


def assign_images__in_turn(S):
    return pages_with_mistake("in turn", S)


def assign_images__smallest(S):
    return pages_with_mistake("smallest", S)


def assign_images__drops(S):
    return pages_with_mistake("drops", S)


def assign_images__largest_first(S):
    return pages_with_mistake("largest first", S)


def assign_images__nobody(S):
    return pages_with_mistake("nobody", S)


def assign_images__first(S):
    return pages_with_mistake("first", S)


NUMPY = "numpy knows neither gradients nor bfloat16: S.detach().double().numpy()"


SURPLUS = "Images that the assignment leaves over go to their most similar sentence, taken or not."


PAGES = Exercise(
    name="assign_images",
    methods=("ch16/mmc4",),
    groups={"plain": 1, "edge": 1},
    cases=pages_cases,
    probe=pages_probe,
    alternatives=(
        Alternative(name="permutations", code=(assign_images__permutations,)),
        Alternative(name="costs", code=(assign_images__costs,)),
    ),
    misconceptions=(
        mistaken(
            assign_images__as_it_is,
            NUMPY + ". And images without a sentence deserve a ValueError of their own.",
            "student mistake: S.numpy() and S.argmax(1), right for the plain case only",
            pages_with_mistake,
        ),
        mistaken(
            assign_images__gradient,
            NUMPY + ".",
            "library difference: Tensor.numpy() wants no graph",
            pages_with_mistake,
        ),
        mistaken(
            assign_images__short_type, NUMPY + ".", "library difference: numpy has no bfloat16", pages_with_mistake
        ),
        mistaken(
            assign_images__no_sentence,
            "Images without any sentence to put them beside: raise ValueError, not the IndexError of argmax.",
            "student mistake: an empty axis",
            pages_with_mistake,
        ),
        mistaken(
            assign_images__favourites,
            "Each image takes its favourite sentence, and several share one. A sentence gets at most one image.",
            "card: the max-assignment baseline",
            pages_with_mistake,
        ),
        mistaken(
            assign_images__in_turn,
            "You assign one image after the other. The first may take what the second needs more: maximise the sum.",
            "card: greedy is worse on a given matrix",
            pages_with_mistake,
        ),
        mistaken(
            assign_images__largest_first,
            "You take the largest similarity first. The sum may be larger without it: use linear_sum_assignment.",
            "card: greedy is worse on a given matrix",
            pages_with_mistake,
        ),
        mistaken(
            assign_images__nobody,
            SURPLUS,
            "student mistake: -1 for the rest",
            pages_with_mistake,
        ),
        mistaken(
            assign_images__first,
            SURPLUS,
            "student mistake: zeros for the rest",
            pages_with_mistake,
        ),
        mistaken(
            assign_images__smallest,
            "You minimise. linear_sum_assignment does so by default; ask for maximize=True.",
            "library difference: scipy's function minimises costs",
            pages_with_mistake,
        ),
        mistaken(
            assign_images__drops,
            "With more images than sentences some are missing in your list. They go to their most similar sentence.",
            "card: I > T, surplus -> argmax",
            pages_with_mistake,
        ),
    ),
    hints=(
        "Two images like the same sentence best. Which of them should give way?",
        "Start with everybody's favourite; overwrite those that scipy's linear_sum_assignment(maximize=True) assigns.",
        "rows, columns = linear_sum_assignment(S.detach().double().numpy(), maximize=True)",
    ),
    good_for="documents in which pictures and sentences take turns",
    minutes=10,
    difficulty="easy",
)
