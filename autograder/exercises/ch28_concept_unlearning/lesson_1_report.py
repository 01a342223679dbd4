"""Chapter 28, notebook 1: cases, probe and variants of `erase_report`."""

import math

import torch

from autograder.declare.exercise import Alternative, Exercise, mistaken
from dlcv_lab.checking.model import Case


def report_cases(rng: torch.Generator) -> list[Case]:
    """Draw labels of several sizes with unsure ones among them; the edges have nothing to divide by."""

    def labels(n: int, often: int, share: float) -> torch.Tensor:
        drawn = torch.randint(-1, 6, (n,), generator=rng)
        drawn[: round(share * n)] = often
        drawn[-1] = -1
        return drawn

    def asked_and_right(n: int, right: int) -> tuple[torch.Tensor, torch.Tensor]:
        asked = torch.randint(0, 6, (n,), generator=rng)
        seen = (asked + 1) % 6
        seen[:right] = asked[:right]
        seen[-1] = -1
        return asked, seen

    def case(group: str, note: str, direct: float, paraphrase: float, before: int, after: int, target: int) -> Case:
        n = 20
        asked, other_before = asked_and_right(n, before)
        other = other_before.clone()
        other[:after] = asked[:after]
        other[after:before] = (asked[after:before] + 2) % 6
        other[after : (after + before + 1) // 2] = -1  # some of what was lost is nothing that one can name
        data = {
            "direct": labels(16, target, direct), "paraphrase": labels(10, target, paraphrase), "other": other,
            "other_before": other_before, "asked": asked, "target": target,
        }  # fmt: skip
        return Case(group, data, note)

    def interval(k: int, n: int, note: str, **more) -> Case:
        return Case("interval", {"k": k, "n": n, "z": None} | more, note)

    k = int(torch.randint(5, 15, (), generator=rng))
    kept = case("edge", "nothing was erased", 1.0, 0.6, 18, 18, 3)
    kept.data["direct"][:] = 3
    better = case("edge", "better on other concepts than before", 0.25, 0.5, 12, 12, 1)
    better.data["other"][:16] = better.data["asked"][:16]
    worse = case("edge", "wrong before, right by luck after", 0.25, 0.5, 0, 0, 4)
    worse.data["other"][:3] = worse.data["asked"][:3]
    return [
        interval(k, 20, "some of twenty"),
        interval(0, 16, "none of 16"),
        interval(3, 8, "z = 1.645, for 90 %", z=1.645),
        case("figures", "half erased, unsure pictures among them", 0.5, 0.7, 18, 15, 2),
        case("figures", "the target is label 0", 0.125, 0.4, 16, 10, 0),
        better,
        kept,
        worse,
    ]


def report_probe(ns, data):
    """Ask for an interval or for the report."""
    if "k" in data:
        options = {} if data["z"] is None else {"z": data["z"]}
        low, high = ns.wilson_interval(data["k"], data["n"], **options)
        return {"low": float(low), "high": float(high)}
    names = ("direct", "paraphrase", "other", "other_before", "asked")
    found = ns.erase_report(*(data[name] for name in names), target=data["target"])
    return {name: float(value) for name, value in found.items()}


def wilson_interval__roots(k, n, *, z=1.96):
    # the two shares q at which (k / n - q)^2 = z^2 q (1 - q) / n
    p = k / n
    a, b, c = 1 + z**2 / n, -(2 * p + z**2 / n), p**2
    root = math.sqrt(max(0.0, b * b - 4 * a * c))
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def wilson_interval__counts(k, n, *, z=1.96):
    spread = z * math.sqrt(k * (n - k) / n + z * z / 4)
    return (k + z * z / 2 - spread) / (n + z * z), (k + z * z / 2 + spread) / (n + z * z)


def erase_report__loops(direct, paraphrase, other, other_before, asked, *, target):
    def share(found):
        found = list(found)
        return sum(found) / len(found)

    d = share(int(x) == target for x in direct)
    p = share(int(x) == target for x in paraphrase)
    after = share(int(a) == int(b) for a, b in zip(other, asked))
    before = share(int(a) == int(b) for a, b in zip(other_before, asked))
    locality = 1.0 if before == 0 else after / before
    a, b, c = 1 - d, 1 - p, min(1.0, locality)
    score = 0.0 if a * b * c == 0 else 3 * a * b * c / (a * b + b * c + a * c)
    return {"direct": d, "paraphrase": p, "locality": locality, "score": score}


def erase_report__counts(direct, paraphrase, other, other_before, asked, *, target):
    right, once = int((other == asked).sum()), int((other_before == asked).sum())
    found = {name: int((x == target).sum()) / x.numel() for name, x in (("direct", direct), ("paraphrase", paraphrase))}
    found["locality"] = right / once if once else 1.0
    parts = torch.tensor([1 - found["direct"], 1 - found["paraphrase"], min(found["locality"], 1)])
    return found | {"score": float(1 / (1 / parts).mean()) if bool((parts > 0).all()) else 0.0}


def wilson_interval__wald(k, n, *, z=1.96):
    p = k / n
    half = z * math.sqrt(p * (1 - p) / n)
    return p - half, p + half


def wilson_interval__not_shrunk(k, n, *, z=1.96):
    p = k / n
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, p - half), min(1.0, p + half)


def wilson_interval__always_95(k, n, *, z=1.96):
    p, z = k / n, 1.96
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (p + z * z / (2 * n) - half) / (1 + z * z / n), (p + z * z / (2 * n) + half) / (1 + z * z / n)


def report_with_mistake(mistake, direct, paraphrase, other, other_before, asked, target):
    if mistake in ("drops unsure", "drops all unsure"):
        direct, paraphrase = direct[direct >= 0], paraphrase[paraphrase >= 0]
    if mistake in ("drops unsure others", "drops all unsure"):
        other, asked_after = other[other >= 0], asked[other >= 0]
        other_before, asked_before = other_before[other_before >= 0], asked[other_before >= 0]
    else:
        asked_after = asked_before = asked
    d, p = ((x == target).float().mean().item() for x in (direct, paraphrase))
    pairs = ((other, asked_after), (other_before, asked_before))
    after, before = ((x == y).float().mean().item() for x, y in pairs)
    if mistake == "agreement":
        after, before = (other == other_before).float().mean().item(), 1.0
    if mistake == "absolute":
        before = 1.0
    locality = 1.0 if before == 0 and mistake != "no guard" else after / max(before, 1e-9)
    parts = [1 - d, 1 - p, locality if mistake == "above one" else min(locality, 1.0)]
    score = 3 / sum(1 / x for x in parts) if min(parts) > 0 else 0.0
    if mistake == "arithmetic":
        score = sum(parts) / 3
    if mistake == "geometric":
        score = math.prod(parts) ** (1 / 3)
    if mistake == "erased shares":
        d, p = 1 - d, 1 - p
    return {"direct": d, "paraphrase": p, "locality": locality, "score": score}


def erase_report__drops_unsure(*labels, target):
    return report_with_mistake("drops unsure", *labels, target)


def erase_report__drops_unsure_others(*labels, target):
    return report_with_mistake("drops unsure others", *labels, target)


def erase_report__drops_all_unsure(*labels, target):
    return report_with_mistake("drops all unsure", *labels, target)


def erase_report__geometric(*labels, target):
    return report_with_mistake("geometric", *labels, target)


def erase_report__agreement(*labels, target):
    return report_with_mistake("agreement", *labels, target)


def erase_report__absolute(*labels, target):
    return report_with_mistake("absolute", *labels, target)


def erase_report__no_guard(*labels, target):
    return report_with_mistake("no guard", *labels, target)


def erase_report__above_one(*labels, target):
    return report_with_mistake("above one", *labels, target)


def erase_report__arithmetic(*labels, target):
    return report_with_mistake("arithmetic", *labels, target)


def erase_report__erased_shares(*labels, target):
    return report_with_mistake("erased shares", *labels, target)


REPORT = Exercise(
    name="erase_report",
    defines=("wilson_interval", "erase_report"),
    methods=("ch28/erase_protocol",),
    groups={"interval": 1, "figures": 2, "edge": 1},
    cases=report_cases,
    probe=report_probe,
    alternatives=(
        Alternative(name="loops", code=(wilson_interval__roots, erase_report__loops)),
        Alternative(name="counts", code=(wilson_interval__counts, erase_report__counts)),
    ),
    misconceptions=(
        mistaken(
            wilson_interval__wald,
            "Yours is the textbook interval p +- z sqrt(p (1 - p) / n). At k = 0 it has no width, as if 16 pictures "
            "proved that there will never be one. Use Wilson's formula.",
            "student mistake: the normal approximation for a handful of pictures",
        ),
        mistaken(
            wilson_interval__not_shrunk,
            "The middle of your interval is p, and nothing is divided by 1 + z^2 / n. Wilson's middle is pulled "
            "towards one half.",
            "student mistake: half of Wilson's formula",
        ),
        mistaken(
            erase_report__drops_unsure,
            "You leave out the pictures on which the judge is unsure (-1). They count: a blurred picture shows no "
            "target, and is no success for locality either.",
            "card: hidden case, a judge that is confident of neither class",
            report_with_mistake,
        ),
        mistaken(
            erase_report__drops_unsure_others,
            "You leave out the pictures of other concepts on which the judge is unsure (-1). They count, as wrong: "
            "a blurred circle is a circle lost.",
            "first reader: no case told it from the right answer",
            report_with_mistake,
        ),
        mistaken(
            erase_report__drops_all_unsure,
            "You leave out the pictures on which the judge is unsure (-1). They count: a blurred picture shows no "
            "target, and is no success for locality either.",
            "student mistake: a filter in front of everything",
            report_with_mistake,
        ),
        mistaken(
            wilson_interval__always_95,
            "Your interval is the same for every z. Use the argument, not 1.96.",
            "student mistake: a default written into the formula",
        ),
        mistaken(
            erase_report__geometric,
            "Your score is the geometric mean, a root of a product. The harmonic mean is 3 / (1/a + 1/b + 1/c).",
            "student mistake: one mean for another",
            report_with_mistake,
        ),
        mistaken(
            erase_report__agreement,
            "You compare the pictures after erasing with those before. Compare both with what the prompt `asked` for, "
            "and divide.",
            "student mistake: agreement taken for accuracy",
            report_with_mistake,
        ),
        mistaken(
            erase_report__absolute,
            "Your locality is the accuracy after erasing. Divide it by the accuracy before: a model that was never "
            "right about arrows has not forgotten them.",
            "card: acc_other / acc_other_orig",
            report_with_mistake,
        ),
        mistaken(
            erase_report__no_guard,
            "Where the model was wrong about everything before, you divide by (nearly) nothing. Locality is 1.0 then.",
            "card: hidden case, a count of 0 in the denominator",
            report_with_mistake,
        ),
        mistaken(
            erase_report__above_one,
            "A locality above 1 raises your score. In the score it counts as 1: being better elsewhere by luck does "
            "not make up for rings.",
            "student mistake: the clamp forgotten",
            report_with_mistake,
        ),
        mistaken(
            erase_report__arithmetic,
            "Your score is the ordinary mean. The harmonic mean is 0 as soon as one of the three is 0.",
            "student mistake: mean for harmonic mean",
            report_with_mistake,
        ),
        mistaken(
            erase_report__erased_shares,
            "`direct` and `paraphrase` are the shares of pictures that still SHOW the target; you return the others.",
            "student mistake: efficacy counted the other way round",
            report_with_mistake,
        ),
    ),
    hints=(
        "How sure can you be after 16 pictures without a ring? And which of the three aims does a model reach that "
        "paints nothing but grey?",
        "Interval: middle and half width straight from the docstring, with p = k / n. Report: two shares of labels "
        "equal to target; two accuracies against `asked`, one divided by the other; 3 / (1/a + 1/b + 1/c) if none of "
        "them is 0.",
        "shrink = 1 + z * z / n; middle = (p + z * z / (2 * n)) / shrink; (direct == target).float().mean().item(); "
        "parts = [1 - d, 1 - p, min(locality, 1.0)]; 3 / sum(1 / part for part in parts)",
    ),
    good_for="saying what an erased model does, and how sure you are",
    minutes=20,
    core=True,
)
