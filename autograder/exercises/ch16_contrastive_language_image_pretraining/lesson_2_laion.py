"""Chapter 16, notebook 2: cases, probe and variants of `laion_filter`."""

import torch
import torch.nn.functional as F

from autograder.declare.exercise import Exercise, alternative
from autograder.declare.slips import slip
from dlcv_lab.checking.model import Case


def laion_cases(rng: torch.Generator) -> list[Case]:
    """Draw features with cosines on both sides of the threshold; some records repeat."""

    def case(group: str, note: str, threshold: float, **more) -> Case:
        n = 14
        angle = 3.1 * torch.rand(n, generator=rng, dtype=torch.float64)
        angle[:8] = torch.tensor([0.2, 0.3, 2.5, 2.8, 0.1, 2.2, 0.4, 0.3], dtype=torch.float64)
        lengths = 0.2 + 4 * torch.rand(2, n, 1, generator=rng, dtype=torch.float64)
        img = torch.stack([torch.ones(n), torch.zeros(n)], 1).double() * lengths[0]
        txt = torch.stack([angle.cos(), angle.sin()], 1) * lengths[1]
        urls = ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "a.jpg", "c.jpg", "a.jpg", "e.jpg"] + [f"{k}.jpg" for k in range(6)]
        alts = [
            "a red ring",
            "a red ring",
            "a blue star",
            "ring",
            "a red ring",
            "a blue star",
            "a star",
            "öäüß",
            "ringe",
        ]
        alts += ["a sun", "", "a big green heart", "a cat", "hello"]
        return Case(group, {"urls": urls, "alts": alts, "img": img, "txt": txt, "threshold": threshold}, note)

    again = case("edge", "short texts that repeat, and a feature of zeros", 0.0)
    again.data["alts"][4], again.data["urls"][4] = "ring", "d.jpg"
    again.data["img"][0] = 0
    empty = case("edge", "a feature of zeros, threshold .3", 0.3)
    empty.data["img"][4], empty.data["txt"][1] = 0, 0  # 4 repeats 0, which is kept
    exact = case("edge", "a cosine that equals the threshold", 1.0)
    exact.data["txt"][1] = 2 * exact.data["img"][1]
    exact.data["img"][1], exact.data["txt"][1] = torch.tensor([2.0, 0.0]), torch.tensor([4.0, 0.0])
    exact.data["img"][2], exact.data["txt"][2] = torch.tensor([0.5, 0.0]), torch.tensor([1.5, 0.0])  # product .75
    return [
        case("plain", "threshold .3", 0.3),
        case("plain", "threshold .9", 0.9),
        again,
        exact,
        empty,
    ]


def laion_probe(ns, data):
    """Return the reasons."""
    return list(
        ns.laion_filter(list(data["urls"]), list(data["alts"]), data["img"], data["txt"], threshold=data["threshold"])
    )


def laion_filter__stages(urls, alts, img, txt, *, threshold=0.3):
    reasons = [None] * len(alts)
    for i, alt in enumerate(alts):
        if len(alt) < 5:
            reasons[i] = "short"
    pairs = list(zip(urls, alts))
    for i, pair in enumerate(pairs):
        if reasons[i] is None and any(pairs[j] == pair for j in range(i)):
            reasons[i] = "double"
    for i in range(len(alts)):
        if reasons[i] is None:
            a, b = img[i], txt[i]
            size = (a.norm() * b.norm()).item()
            cosine = (a @ b).item() / size if size > 0 else 0.0
            reasons[i] = "unlike" if cosine < threshold else "kept"
    return reasons


def laion_filter__counts(urls, alts, img, txt, *, threshold=0.3):
    like = (F.normalize(img, dim=1) * F.normalize(txt, dim=1)).sum(1)
    times, out = {}, []
    for k in range(len(urls)):
        key = (urls[k], alts[k])
        if len(key[1]) <= 4:
            out.append("short")
            continue
        times[key] = times.get(key, 0) + 1
        out.append("double" if times[key] > 1 else "unlike" if float(like[k]) < threshold else "kept")
    return out


NOT_A_NUMBER = (
    "A feature of zeros gives 0 / 0, which is NaN and neither below nor above a threshold. Its cosine counts as 0, as "
    "in F.cosine_similarity."
)


LAION = Exercise(
    name="laion_filter",
    methods=("ch16/laion",),
    groups={"plain": 2, "edge": 1},
    cases=laion_cases,
    probe=laion_probe,
    alternatives=(alternative(laion_filter__stages), alternative(laion_filter__counts)),
    misconceptions=(
        slip("dot", {"F.cosine_similarity(img, txt, dim=1)": "(img * txt).sum(1)"},
             "You compare the dot product with the threshold. The features have lengths of their own; take the "
             "cosine.", "library difference: encode_image does not normalise unless asked"),
        slip("one_side", {"F.cosine_similarity(img, txt, dim=1)": "(F.normalize(img, dim=1) * txt).sum(1)"},
             "Only one of the two features has length one in your product. Divide by both lengths.",
             "student mistake: one side forgotten"),
        slip("zero_by_zero",
             {"F.cosine_similarity(img, txt, dim=1)": "(img * txt).sum(1) / img.norm(dim=1) / txt.norm(dim=1)",
              '"kept" if likeness >= threshold else "unlike"': '"unlike" if likeness < threshold else "kept"'},
             NOT_A_NUMBER, "library difference: x / x.norm() and F.normalize(x)"),
        slip("zero_by_zero_turned",
             {"F.cosine_similarity(img, txt, dim=1)": "(img * txt).sum(1) / img.norm(dim=1) / txt.norm(dim=1)"},
             NOT_A_NUMBER, "library difference: x / x.norm() and F.normalize(x)"),
        slip("always_three_tenths", {"likeness >= threshold": "likeness >= 0.3"},
             "You compare with .3 whatever the caller says. Compare with `threshold`.",
             "student mistake: the paper's number in place of the argument"),
        slip("words", {"len(alt) < 5": "len(alt.split()) < 5"},
             "You count words. The first test counts characters.", "student mistake: len(alt.split())"),
        slip("either",
             {"(url, alt) in seen": "url in seen or alt in seen",
              "seen.add((url, alt))": "seen.update((url, alt))"},
             "An equal url or an equal text is no double yet: both must be equal, in one earlier pair.",
             "student mistake: two sets, or"),
        slip("first_goes_too", {"(url, alt) in seen": "list(zip(urls, alts)).count((url, alt)) > 1"},
             "All copies of a pair are doubles in your list. The first one is none: no EARLIER pair equals it.",
             "student mistake: counts above one"),
        slip("double_first",
             {("if len(alt) < 5:\n"
               '    reasons.append("short")\n'
               "elif (url, alt) in seen:\n"
               '    reasons.append("double")'):
                "if (url, alt) in seen:\n"
                '    reasons.append("double")\n'
                "elif len(alt) < 5:\n"
                "    seen.add((url, alt))\n"
                '    reasons.append("short")'},
             "A short text is short each time that it comes: test the length before you look for doubles.",
             "student mistake: order of the tests"),
        slip("likeness_first",
             {"elif (url, alt) in seen:":
                "elif likeness < threshold:\n"
                '    reasons.append("unlike")\n'
                "elif (url, alt) in seen:"},
             "You compare cosines before you look for doubles. The repetition of a pair is a double, not unlike.",
             "student mistake: order of the tests"),
        slip("url_only", {"(url, alt) in seen": "url in seen", "seen.add((url, alt))": "seen.add(url)"},
             "The same picture may come with another text. A double has the same url AND the same alt-text.",
             "card: bloom filter on url + alt"),
        slip("alt_only", {"(url, alt) in seen": "alt in seen", "seen.add((url, alt))": "seen.add(alt)"},
             "Two pictures may share a text. A double has the same url AND the same alt-text.",
             "card: bloom filter on url + alt"),
        slip("in_bytes", {"len(alt) < 5": "len(alt.encode()) < 5"},
             "You count bytes. Characters count: an umlaut is one.", "card: unicode length in characters"),
        slip("strict", {"likeness >= threshold": "likeness > threshold"},
             "A cosine equal to the threshold is enough: test with >=.", "card: threshold inclusive"),
        slip("five_is_short", {"len(alt) < 5": "len(alt) <= 5"},
             "Five characters are enough; fewer than five are short.", "student mistake: <= for <"),
        slip("remembers_kept",
             {"seen.add((url, alt))":
                "if likeness >= threshold:\n"
                "    seen.add((url, alt))"},
             "A pair that fails the third test is remembered all the same: its repetition is a double, not unlike.",
             "student mistake: only kept pairs are put into the set"),
    ),
    hints=(
        "Which of the three tests needs to know the earlier records?",
        "One loop: short, else seen before, else remember it and compare the cosine. Cosines of all pairs at once: "
        "F.cosine_similarity(img, txt, dim=1).",
        'if len(alt) < 5: "short"; elif (url, alt) in seen: "double"; else: seen.add((url, alt)); '
        '"kept" if cosine >= threshold else "unlike"',
    ),
    good_for="the data set behind most open models",
    minutes=12,
    core=True,
)  # fmt: skip
