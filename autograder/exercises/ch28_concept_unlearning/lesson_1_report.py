"""Chapter 28, notebook 1: cases, probe and variants of `erase_report`."""

import math

import torch

from autograder.declare.exercise import Alternative, Exercise, alternative
from autograder.declare.slips import slip
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


REPORT = Exercise(
    name="erase_report",
    defines=("wilson_interval", "erase_report"),
    methods=("ch28/erase_protocol",),
    groups={"interval": 1, "figures": 2, "edge": 1},
    cases=report_cases,
    probe=report_probe,
    alternatives=(
        Alternative(name="loops", code=(wilson_interval__roots, erase_report__loops)),
        alternative(wilson_interval__counts, erase_report__counts),
    ),
    misconceptions=(
        slip("wald",
             {"p, shrink = k / n, 1 + z * z / n": "p = k / n",
              "middle = (p + z * z / (2 * n)) / shrink": "",
              "half = z / shrink * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))":
                "half = z * math.sqrt(p * (1 - p) / n)",
              "return max(0.0, middle - half), min(1.0, middle + half)": "return p - half, p + half"},
             "Yours is the textbook interval p +- z sqrt(p (1 - p) / n). At k = 0 it has no width, as if 16 "
             "pictures proved that there will never be one. Use Wilson's formula.",
             "student mistake: the normal approximation for a handful of pictures"),
        slip("not_shrunk",
             {"middle = (p + z * z / (2 * n)) / shrink": "middle = p",
              "half = z / shrink * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))":
                "half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))"},
             "The middle of your interval is p, and nothing is divided by 1 + z^2 / n. Wilson's middle is "
             "pulled towards one half.", "student mistake: half of Wilson's formula"),
        slip("drops_unsure", {"(seen == target)": "(seen[seen >= 0] == target)"},
             "You leave out the pictures on which the judge is unsure (-1). They count: a blurred picture "
             "shows no target, and is no success for locality either.",
             "card: hidden case, a judge that is confident of neither class"),
        slip("drops_unsure_others", {"(seen == asked)": "(seen[seen >= 0] == asked[seen >= 0])"},
             "You leave out the pictures of other concepts on which the judge is unsure (-1). They count, as "
             "wrong: a blurred circle is a circle lost.", "first reader: no case told it from the right answer"),
        slip("drops_all_unsure",
             {"(seen == target)": "(seen[seen >= 0] == target)",
              "(seen == asked)": "(seen[seen >= 0] == asked[seen >= 0])"},
             "You leave out the pictures on which the judge is unsure (-1). They count: a blurred picture "
             "shows no target, and is no success for locality either.",
             "student mistake: a filter in front of everything"),
        slip("always_95",
             {"p, shrink = k / n, 1 + z * z / n":
                "z = 1.96\n"
                "p, shrink = k / n, 1 + z * z / n"},
             "Your interval is the same for every z. Use the argument, not 1.96.",
             "student mistake: a default written into the formula"),
        slip("geometric", {"3 / sum(1 / part for part in parts)": "math.prod(parts) ** (1 / 3)"},
             "Your score is the geometric mean, a root of a product. The harmonic mean is 3 / (1/a + 1/b + 1/c).",
             "student mistake: one mean for another"),
        slip("agreement",
             {"after, before = ((seen == asked).to(torch.float64).mean().item() for seen in (other, other_before))":
                "after, before = (other == other_before).float().mean().item(), 1.0"},
             "You compare the pictures after erasing with those before. Compare both with what the prompt "
             "`asked` for, and divide.", "student mistake: agreement taken for accuracy"),
        slip("a_difference",
             {"after / before if before > 0 else 1.0": "after - before"},
             "locality is a ratio: the accuracy after erasing divided by that before. You subtract.",
             "student mistake: a loss in place of a share"),
        slip("half_root",
             {"(4 * n * n)": "(4 * n)"},
             "Under the root of the interval stands z^2 / (4 n^2); you divide by 4 n.",
             "student mistake: a square forgotten"),
        slip("absolute", {"locality = after / before if before > 0 else 1.0": "locality = after"},
             "Your locality is the accuracy after erasing. Divide it by the accuracy before: a model that was "
             "never right about arrows has not forgotten them.", "card: acc_other / acc_other_orig"),
        slip("no_guard", {"locality = after / before if before > 0 else 1.0": "locality = after / max(before, 1e-9)"},
             "Where the model was wrong about everything before, you divide by (nearly) nothing. Locality is "
             "1.0 then.", "card: hidden case, a count of 0 in the denominator"),
        slip("above_one", {"min(locality, 1.0)": "locality"},
             "A locality above 1 raises your score. In the score it counts as 1: being better elsewhere by "
             "luck does not make up for rings.", "student mistake: the clamp forgotten"),
        slip("arithmetic", {"3 / sum(1 / part for part in parts) if min(parts) > 0 else 0.0": "sum(parts) / 3"},
             "Your score is the ordinary mean. The harmonic mean is 0 as soon as one of the three is 0.",
             "student mistake: mean for harmonic mean"),
        slip("erased_shares",
             {'"direct": shown[0], "paraphrase": shown[1]': '"direct": parts[0], "paraphrase": parts[1]'},
             "`direct` and `paraphrase` are the shares of pictures that still SHOW the target; you return the others.",
             "student mistake: efficacy counted the other way round"),
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
)  # fmt: skip
