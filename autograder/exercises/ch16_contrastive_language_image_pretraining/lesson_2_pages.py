"""Chapter 16, notebook 2: cases, probe and variants of `assign_images`."""

import math

import torch
from scipy.optimize import linear_sum_assignment

from autograder.declare.exercise import Exercise, alternative
from autograder.declare.slips import slip
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


NUMPY = "numpy knows neither gradients nor bfloat16: S.detach().double().numpy()"


SURPLUS = "Images that the assignment leaves over go to their most similar sentence, taken or not."


PAGES = Exercise(
    name="assign_images",
    methods=("ch16/mmc4",),
    groups={"plain": 1, "edge": 1},
    cases=pages_cases,
    probe=pages_probe,
    alternatives=(alternative(assign_images__permutations), alternative(assign_images__costs)),
    misconceptions=(
        slip("as_it_is",
             {("if S.shape[1] == 0:\n"
               '    raise ValueError(f"{len(S)} images, but no sentence")'):
                "",
              "S.detach().double().numpy()": "S.numpy()"},
             NUMPY + ". And images without a sentence deserve a ValueError of their own.",
             "student mistake: S.numpy() and S.argmax(1), right for the plain case only"),
        slip("gradient", {".detach()": ""}, NUMPY + ".", "library difference: Tensor.numpy() wants no graph"),
        slip("short_type", {".double()": ""}, NUMPY + ".", "library difference: numpy has no bfloat16"),
        slip("no_sentence",
             {("if S.shape[1] == 0:\n"
               '    raise ValueError(f"{len(S)} images, but no sentence")'):
                ""},
             "Images without any sentence to put them beside: raise ValueError, not the IndexError of argmax.",
             "student mistake: an empty axis"),
        slip("favourites", {"chosen = S.argmax(1).tolist()": "return (chosen := S.argmax(1).tolist())"},
             "Each image takes its favourite sentence, and several share one. A sentence gets at most one image.",
             "card: the max-assignment baseline"),
        slip("in_turn",
             {"rows, columns = linear_sum_assignment(S.detach().double().numpy(), maximize=True)":
                "rows, columns, free = torch.arange(0), torch.arange(0), set(range(S.shape[1]))\n"
                "for i, row in enumerate(S):\n"
                "    if free:\n"
                "        chosen[i] = max(free, key=lambda t: float(row[t]))\n"
                "        free.discard(chosen[i])"},
             "You assign one image after the other. The first may take what the second needs more: maximise the sum.",
             "card: greedy is worse on a given matrix"),
        slip("largest_first",
             {"rows, columns = linear_sum_assignment(S.detach().double().numpy(), maximize=True)":
                "rows, columns, left = torch.arange(0), torch.arange(0), S.detach().clone()\n"
                "for _ in range(min(S.shape)):\n"
                "    i, t = divmod(int(left.argmax()), S.shape[1])\n"
                "    chosen[i] = t\n"
                "    left[i], left[:, t] = -math.inf, -math.inf"},
             "You take the largest similarity first. The sum may be larger without it: use linear_sum_assignment.",
             "card: greedy is worse on a given matrix"),
        slip("nobody", {"chosen = S.argmax(1).tolist()": "chosen = [-1] * len(S)"},
             SURPLUS, "student mistake: -1 for the rest"),
        slip("first", {"chosen = S.argmax(1).tolist()": "chosen = [0] * len(S)"},
             SURPLUS, "student mistake: zeros for the rest"),
        slip("smallest", {", maximize=True": ""},
             "You minimise. linear_sum_assignment does so by default; ask for maximize=True.",
             "library difference: scipy's function minimises costs"),
        slip("drops",
             {"rows, columns = linear_sum_assignment(S.detach().double().numpy(), maximize=True)":
                "rows, columns = linear_sum_assignment(S.detach().double().numpy(), maximize=True)\n"
                "return columns[rows.argsort()].tolist()"},
             "With more images than sentences some are missing in your list. They go to their most similar sentence.",
             "card: I > T, surplus -> argmax"),
    ),
    hints=(
        "Two images like the same sentence best. Which of them should give way?",
        "Start with everybody's favourite; overwrite those that scipy's linear_sum_assignment(maximize=True) assigns.",
        "rows, columns = linear_sum_assignment(S.detach().double().numpy(), maximize=True)",
    ),
    good_for="documents in which pictures and sentences take turns",
    minutes=10,
    difficulty="easy",
)  # fmt: skip
