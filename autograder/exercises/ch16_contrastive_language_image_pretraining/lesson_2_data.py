"""Chapter 16, notebook 2: cases, probes and variants of `laion_filter` and `metaclip_balance`."""

import re

import torch
import torch.nn.functional as F

from autograder.exercise import Alternative, Exercise, Misconception
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
    exact = case("edge", "a cosine that equals the threshold", 1.0)
    exact.data["txt"][1] = 2 * exact.data["img"][1]
    exact.data["img"][1], exact.data["txt"][1] = torch.tensor([2.0, 0.0]), torch.tensor([4.0, 0.0])
    return [
        case("plain", "threshold .3", 0.3),
        case("plain", "threshold .9", 0.9),
        again,
        exact,
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


def laion_with_mistake(mistake, urls, alts, img, txt, threshold):
    cosine = (img * txt).sum(1) if mistake == "dot" else F.cosine_similarity(img, txt, dim=1)
    seen, out = set(), []
    for url, alt, c in zip(urls, alts, cosine.tolist()):
        key = {"url only": url, "alt only": alt}.get(mistake, (url, alt))
        long = len(alt.encode()) if mistake == "bytes" else len(alt)
        fits = c > threshold if mistake == "strict" else c >= threshold
        if long < 5 if mistake != "five is short" else long <= 5:
            out.append("short")
        elif mistake == "likeness first" and not fits:
            out.append("unlike")
        elif key in seen:
            out.append("double")
        elif fits:
            seen.add(key)
            out.append("kept")
        else:
            if mistake != "remembers kept":
                seen.add(key)
            out.append("unlike")
    return out


def laion_filter__dot(urls, alts, img, txt, *, threshold=0.3):
    return laion_with_mistake("dot", urls, alts, img, txt, threshold)


def laion_filter__url_only(urls, alts, img, txt, *, threshold=0.3):
    return laion_with_mistake("url only", urls, alts, img, txt, threshold)


def laion_filter__alt_only(urls, alts, img, txt, *, threshold=0.3):
    return laion_with_mistake("alt only", urls, alts, img, txt, threshold)


def laion_filter__in_bytes(urls, alts, img, txt, *, threshold=0.3):
    return laion_with_mistake("bytes", urls, alts, img, txt, threshold)


def laion_filter__strict(urls, alts, img, txt, *, threshold=0.3):
    return laion_with_mistake("strict", urls, alts, img, txt, threshold)


def laion_filter__five_is_short(urls, alts, img, txt, *, threshold=0.3):
    return laion_with_mistake("five is short", urls, alts, img, txt, threshold)


def laion_filter__remembers_kept(urls, alts, img, txt, *, threshold=0.3):
    return laion_with_mistake("remembers kept", urls, alts, img, txt, threshold)


def mistaken(variant, hint: str, source_of: str, helper, name: str = "") -> Misconception:
    """Name a misconception after its function."""
    return Misconception(
        name=name or variant.__name__.split("__")[1], code=(helper, variant), hint=hint, source_of=source_of
    )


LAION = Exercise(
    name="laion_filter",
    methods=("ch16/laion",),
    groups={"plain": 2, "edge": 1},
    cases=laion_cases,
    probe=laion_probe,
    alternatives=(
        Alternative(name="stages", code=(laion_filter__stages,)),
        Alternative(name="counts", code=(laion_filter__counts,)),
    ),
    misconceptions=(
        mistaken(
            laion_filter__dot,
            "You compare the dot product with the threshold. The features have lengths of their own; take the cosine.",
            "library difference: encode_image does not normalise unless asked",
            laion_with_mistake,
        ),
        mistaken(
            laion_filter__url_only,
            "The same picture may come with another text. A double has the same url AND the same alt-text.",
            "card: bloom filter on url + alt",
            laion_with_mistake,
        ),
        mistaken(
            laion_filter__alt_only,
            "Two pictures may share a text. A double has the same url AND the same alt-text.",
            "card: bloom filter on url + alt",
            laion_with_mistake,
        ),
        mistaken(
            laion_filter__in_bytes,
            "You count bytes. Characters count: an umlaut is one.",
            "card: unicode length in characters",
            laion_with_mistake,
        ),
        mistaken(
            laion_filter__strict,
            "A cosine equal to the threshold is enough: test with >=.",
            "card: threshold inclusive",
            laion_with_mistake,
        ),
        mistaken(
            laion_filter__five_is_short,
            "Five characters are enough; fewer than five are short.",
            "student mistake: <= for <",
            laion_with_mistake,
        ),
        mistaken(
            laion_filter__remembers_kept,
            "A pair that fails the third test is remembered all the same: its repetition is a double, not unlike.",
            "student mistake: only kept pairs are put into the set",
            laion_with_mistake,
        ),
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
)

ENTRIES = ["cat", "big cat", "a", "New York", "dog", "red", "cats"]
SENTENCES = [
    "a big cat",
    "cat.",
    "cats and dogs",
    "New York, a red dog",
    "new york",
    "A cat!a dog",
    "concatenate",
    "red\tcat\nred",
    "`cat`",
    "big  cat",
    "",
    "cat-like (dog)",
    "is it red?yes:red;cat",
]


def metaclip_cases(rng: torch.Generator) -> list[Case]:
    """Match given texts; balance drawn matches with drawn numbers."""

    def case(group: str, note: str, n: int, t: int, entries: int = 4) -> Case:
        matches = []
        for _ in range(n):
            k = int(torch.randint(0, 4, (), generator=rng))
            weights = torch.tensor([8.0, 3.0, 1.0, 0.3, 0.3, 0.3])[:entries]
            matches.append(sorted(torch.multinomial(weights, k, generator=rng).tolist()) if k else [])
        u = [torch.rand(max(1, len(m)), generator=rng, dtype=torch.float64).tolist()[: len(m)] for m in matches]
        return Case(group, {"ask": "balance", "matches": matches, "n": entries, "t": t, "u": u}, note)

    texts = [SENTENCES[k] for k in torch.randperm(len(SENTENCES), generator=rng).tolist()]
    exact = {
        "ask": "balance",
        "matches": [[0], [0], [0], [0], [1]],
        "n": 3,
        "t": 2,
        "u": [[0.5], [0.4], [0.9], [0.0], [0.99]],
    }
    return [
        Case("match", {"ask": "match", "texts": texts, "metadata": ENTRIES}, "thirteen texts"),
        Case("match", {"ask": "match", "texts": texts[:5], "metadata": ENTRIES[::-1]}, "the metadata in another order"),
        case("balance", "60 texts, t = 4", 60, 4),
        case("balance", "40 texts, t = 1", 40, 1, 6),
        case("balance", "t is larger than every count", 20, 500),
        Case("balance", exact, "a random number that equals the probability"),
    ]


def metaclip_probe(ns, data):
    """Return matches, or what is kept."""
    if data["ask"] == "match":
        return [[int(i) for i in ns.match_entries(text, list(data["metadata"]))] for text in data["texts"]]
    return [
        bool(k)
        for k in ns.balance([list(m) for m in data["matches"]], data["n"], data["t"], [list(r) for r in data["u"]])
    ]


def match_entries__replace(text, metadata):
    for sign in ",.;:?!`":
        text = text.replace(sign, f" {sign} ")
    for blank in "\t\n\r":
        text = text.replace(blank, " ")
    text = f" {text} "
    found = []
    for i in range(len(metadata)):
        if text.find(" " + metadata[i] + " ") != -1:
            found.append(i)
    return found


def balance__tensors(matches, n_entries, t, u):
    flat = torch.tensor([e for entries in matches for e in entries], dtype=torch.long)
    counts = torch.bincount(flat, minlength=n_entries).double()
    p = t / counts.clamp(min=t)
    kept = []
    for entries, draws in zip(matches, u):
        kept.append(bool((torch.tensor(draws, dtype=torch.float64) < p[torch.tensor(entries, dtype=torch.long)]).any()))
    return kept


def match_entries__translate(text, metadata):
    table = {ord(sign): f" {sign} " for sign in ",.;:?!`"} | {ord(blank): " " for blank in "\t\n\r"}
    padded = " ".join(["", text.translate(table), ""])
    return sorted(i for i, entry in enumerate(metadata) if padded.count(f" {entry} "))


def balance__loops(matches, n_entries, t, u):
    counts = {e: 0 for e in range(n_entries)}
    for entries in matches:
        for e in entries:
            counts[e] = counts[e] + 1
    out = []
    for i in range(len(matches)):
        keep = False
        for j in range(len(matches[i])):
            n = counts[matches[i][j]]
            p = 1.0 if n <= t else t / n
            if u[i][j] < p:
                keep = True
        out.append(keep)
    return out


def match_with_mistake(mistake, text, metadata):
    signs, blanks = r"([,.;:?!`])", r"[\t\n\r]"
    spaced = text.lower() if mistake == "case" else text
    if mistake != "signs stay":
        spaced = re.sub(signs, r" \1 ", spaced)
    if mistake != "tabs stay":
        spaced = re.sub(blanks, " ", spaced)
    if mistake != "no ends":
        spaced = f" {spaced} "
    if mistake == "substring":
        return [i for i, entry in enumerate(metadata) if entry in text]
    if mistake == "words":
        return [i for i, entry in enumerate(metadata) if entry in spaced.split()]
    lowered = [entry.lower() for entry in metadata] if mistake == "case" else metadata
    return [i for i, entry in enumerate(lowered) if f" {entry} " in spaced]


def match_entries__substring(text, metadata):
    return match_with_mistake("substring", text, metadata)


def match_entries__words(text, metadata):
    return match_with_mistake("words", text, metadata)


def match_entries__no_ends(text, metadata):
    return match_with_mistake("no ends", text, metadata)


def match_entries__case(text, metadata):
    return match_with_mistake("case", text, metadata)


def match_entries__signs_stay(text, metadata):
    return match_with_mistake("signs stay", text, metadata)


def match_entries__tabs_stay(text, metadata):
    return match_with_mistake("tabs stay", text, metadata)


def balance_with_mistake(mistake, matches, n_entries, t, u):
    counts = [0] * n_entries
    for entries in matches:
        for entry in entries:
            counts[entry] += 1

    def p(entry):
        return t / len(matches) if mistake == "of all texts" else t / max(counts[entry], t)

    quantifier = all if mistake == "all entries" else any
    kept = []
    for entries, draws in zip(matches, u):
        if mistake == "first entry":
            entries, draws = entries[:1], draws[:1]
        if mistake == "equal counts":
            kept.append(any(draw <= p(entry) for entry, draw in zip(entries, draws)))
        else:
            kept.append(quantifier([draw < p(entry) for entry, draw in zip(entries, draws)]))
    return kept


def balance__all_entries(matches, n_entries, t, u):
    return balance_with_mistake("all entries", matches, n_entries, t, u)


def balance__of_all_texts(matches, n_entries, t, u):
    return balance_with_mistake("of all texts", matches, n_entries, t, u)


def balance__first_entry(matches, n_entries, t, u):
    return balance_with_mistake("first entry", matches, n_entries, t, u)


def balance__equal_counts(matches, n_entries, t, u):
    return balance_with_mistake("equal counts", matches, n_entries, t, u)


METACLIP = Exercise(
    name="metaclip_balance",
    defines=("match_entries", "balance"),
    methods=("ch16/metaclip",),
    groups={"match": 1, "balance": 2},
    cases=metaclip_cases,
    probe=metaclip_probe,
    alternatives=(
        Alternative(name="tensors", code=(match_entries__replace, balance__tensors)),
        Alternative(name="loops", code=(match_entries__translate, balance__loops)),
    ),
    misconceptions=(
        mistaken(
            match_entries__substring,
            '"cat" is not in "concatenate": an entry needs a space on both sides.',
            "card: matching with spaces around",
            match_with_mistake,
        ),
        mistaken(
            match_entries__words,
            'You compare single words, so "big cat" and "New York" are never found.',
            "card: multiword entries",
            match_with_mistake,
        ),
        mistaken(
            match_entries__no_ends,
            "An entry at the very start or end of a text is missed: put a space at both ends.",
            "card: hidden case entry at the start or end",
            match_with_mistake,
        ),
        mistaken(
            match_entries__case,
            'Case matters here: "new york" does not match "New York".',
            "card: case-sensitive [code]",
            match_with_mistake,
        ),
        mistaken(
            match_entries__signs_stay,
            'In "cat." the full stop sticks to the word. Put spaces around the seven signs.',
            "card: 'cat.' matches 'cat'",
            match_with_mistake,
        ),
        mistaken(
            match_entries__tabs_stay,
            "Tabs and line ends part words, too: turn each into a space.",
            "card: hidden case tabs and newlines",
            match_with_mistake,
        ),
        mistaken(
            balance__all_entries,
            "You ask that all entries vote for a text (and keep texts without any). One is enough.",
            "paper: a text is kept if any of its entries is sampled",
            balance_with_mistake,
        ),
        mistaken(
            balance__of_all_texts,
            "The probability depends on the entry: t / max(n, t), with n the number of ITS texts.",
            "student mistake: one probability for all",
            balance_with_mistake,
        ),
        mistaken(
            balance__first_entry,
            "Only the first entry of each text has a say. Rare entries further behind must save their text, too.",
            "student mistake: one class per text",
            balance_with_mistake,
        ),
        mistaken(
            balance__equal_counts,
            "A random number equal to p does not keep the text: u < p, strictly.",
            "card: u exactly equal p",
            balance_with_mistake,
        ),
    ),
    hints=(
        "Which texts would you drop first, if you wanted each concept about equally often, but no rare one less?",
        'Match: space out signs, blanks to spaces, ends; look for " entry ". Balance: count texts per entry; '
        "p = t / max(n, t); keep if any u < p.",
        "any(draw < t / max(counts[entry], t) for entry, draw in zip(entries, draws))",
    ),
    good_for="a data set whose recipe can be read, unlike CLIP's own",
    minutes=20,
    core=True,
)
