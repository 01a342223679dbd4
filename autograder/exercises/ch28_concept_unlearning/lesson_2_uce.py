"""Chapter 28, notebook 2: cases, probe and variants of `uce_weight`."""

import torch

from autograder.declare.exercise import Exercise, alternative
from autograder.declare.slips import slip
from dlcv_lab.checking.model import Case, Forbid


def uce_cases(rng: torch.Generator) -> list[Case]:
    """Draw concepts that are not orthogonal; the edges keep nothing, or ask for what is there already."""

    def case(group: str, note: str, o: int, d: int, n: int, m: int, dtype=torch.float32, lam=None) -> Case:
        def draw(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=rng, dtype=dtype)

        common = draw(1, d)  # states of words have much in common
        data = {
            "W0": draw(o, d), "erase": draw(n, d) + common, "guide": draw(n, d) + common, "keep": draw(m, d) + common,
            "lam": lam,
        }  # fmt: skip
        return Case(group, data, note)

    same = case("edge", "a concept that is its own guide", 4, 5, 2, 2)
    same.data["guide"] = same.data["erase"].clone()
    twice = case("edge", "the same concept twice", 3, 4, 2, 1)
    twice.data["erase"][1] = twice.data["erase"][0]
    return [
        case("plain", "two concepts, three to keep", 4, 6, 2, 3),
        case("plain", "one concept, one to keep, lam = 2", 3, 5, 1, 1, lam=2.0),
        case("plain", "more concepts than dimensions, float64", 5, 3, 6, 4, torch.float64),
        case("edge", "nothing to keep", 4, 5, 2, 0),
        same,
        twice,
        case("edge", "a weight in half precision", 4, 5, 2, 3, torch.float16),
    ]


def uce_probe(ns, data):
    """Return the new weight."""
    options = {} if data["lam"] is None else {"lam": data["lam"]}
    return ns.uce_weight(data["W0"], data["erase"], data["guide"], data["keep"], **options)


def uce_weight__least_squares(W0, erase, guide, keep, *, lam=0.5):
    W = W0.double()
    root = lam**0.5 * torch.eye(W.shape[1], dtype=W.dtype)
    rows = torch.cat([erase.double(), keep.double(), root])
    wanted = torch.cat([guide.double() @ W.T, keep.double() @ W.T, root @ W.T])
    return torch.linalg.lstsq(rows, wanted).solution.T.to(W0.dtype)


def uce_weight__change(W0, erase, guide, keep, *, lam=0.5):
    W, C, G, K = W0.double(), erase.double(), guide.double(), keep.double()
    left = lam * torch.eye(C.shape[1], dtype=C.dtype) + sum(torch.outer(c, c) for c in [*C, *K])
    right = sum(torch.outer(W @ g - W @ c, c) for c, g in zip(C, G))
    return (W + torch.linalg.solve(left, right.T).T).to(W0.dtype)


UCE = Exercise(
    name="uce_weight",
    methods=("ch28/uce",),
    groups={"plain": 2, "edge": 1},
    cases=uce_cases,
    probe=uce_probe,
    alternatives=(alternative(uce_weight__least_squares), alternative(uce_weight__change)),
    misconceptions=(
        slip("forgets_to_keep", {"guide, keep)": "guide, keep[:0])"},
             "The rows of `keep` make no difference to your result. They stand in both factors: W0 k k^T in "
             "the one, k k^T in the other.", "student mistake: the second sum forgotten"),
        slip("exchanged", {"W, C, G, K =": "W, G, C, K ="},
             "You send the guides to the erased words. W shall give for an erased c what W0 gives for its guide g.",
             "student mistake: erase and guide exchanged"),
        slip("states_as_values", {"W @ G.T @ C": "W @ C.T @ C"},
             "Your new weight gives the erased words what W0 gave them: nothing changes. The wanted value is W0 g.",
             "student mistake: v* = W0 c"),
        slip("no_weight", {"lam * W + ": ""},
             "lam W0 is missing in the right-hand side. It is what holds the weight where no concept asks anything.",
             "student mistake: ridge regression towards zero"),
        slip("erases_to_zero", {" + W @ G.T @ C": ""},
             "Your erased words get the value 0. They get that of their guide, W0 g.",
             "student mistake: deletion for replacement"),
        slip("wrong_outer_product", {"W @ G.T @ C": "W @ C.T @ G"},
             "Your outer products are turned round: it is (W0 g) c^T, value times key.",
             "student mistake: G and C exchanged in one product"),
        slip("lam_ignored", {"lam * eye": "eye"},
             "The lam on the diagonal is 1 in your system. Both places need the same lam.",
             "student mistake: torch.eye without its factor"),
        slip("keeps_on_one_side", {" + W @ K.T @ K": ""},
             "`keep` is missing in the right-hand side: W0 k k^T. On the left alone it pulls those words to zero.",
             "student mistake: the second sum in one of the two places"),
        slip("means",
             {"right = lam * W + W @ G.T @ C + W @ K.T @ K":
                "right = lam * W + W @ G.T @ C / len(C) + W @ K.T @ K / max(1, len(K))",
              "left = lam * eye + C.T @ C + K.T @ K": "left = lam * eye + C.T @ C / len(C) + K.T @ K / max(1, len(K))"},
             "You take means over the words. Both sums are sums, so that many words weigh more than lam.",
             "student mistake: mean for sum"),
        slip("change_alone", {".to(W0.dtype)": ".to(W0.dtype) - W0"},
             "You return the change. Return the new weight.", "student mistake: an update for a weight"),
    ),
    hints=(
        "Set the derivative of the three sums with respect to W to zero. Which terms contain W, and which do not?",
        "W (lam I + sum c c^T + sum k k^T) = lam W0 + sum (W0 g) c^T + sum (W0 k) k^T. As matrices with rows c: sum c "
        "c^T = C.T @ C. Solve for W, which stands on the left.",
        "right = lam * W + W @ G.T @ C + W @ K.T @ K; left = lam * torch.eye(d) + C.T @ C + K.T @ K; "
        "torch.linalg.solve(left, right, left=False)",
    ),
    forbid=Forbid(
        names=("torch.linalg.inv", "torch.inverse", "torch.linalg.pinv"),
        aten=("aten.linalg_inv*", "aten.inverse*"),
    ),
    good_for="editing a model in less than a second",
    minutes=15,
    core=True,
    exact_dtype=True,
)  # fmt: skip
