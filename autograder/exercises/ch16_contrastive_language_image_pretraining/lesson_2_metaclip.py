"""Chapter 16, notebook 2: cases, probe and variants of `metaclip_balance`."""

import math

import torch

from autograder.declare.exercise import Alternative, Exercise
from autograder.declare.slips import slip
from dlcv_lab.checking.model import Case

ENTRIES = ["cat", "big cat", "a", "New York", "dog", "red", "cats", "!"]
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
    'a "cat" (red)',
]


def metaclip_cases(rng: torch.Generator) -> list[Case]:
    """Match given texts; balance drawn matches with drawn numbers."""

    def case(group: str, note: str, n: int, t: float, entries: int = 4) -> Case:
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
    beside = {
        "ask": "balance",
        "matches": [[0, 1], [1], [1], [1], [1, 2]],
        "n": 3,
        "t": 1,
        "u": [[0.5, 0.9], [0.3], [0.1], [0.9], [0.8, 0.5]],
    }
    return [
        Case("match", {"ask": "match", "texts": texts, "metadata": ENTRIES}, "fourteen texts"),
        Case("match", {"ask": "match", "texts": texts[:5], "metadata": ENTRIES[::-1]}, "the metadata in another order"),
        case("balance", "60 texts, t = 4", 60, 4),
        case("balance", "40 texts, t = 1", 40, 1, 6),
        case("balance", "t is larger than every count", 20, 500),
        case("balance", "t is infinite", 20, math.inf),
        Case("balance", exact, "a random number that equals the probability"),
        Case("balance", beside, "a rare entry before and behind a frequent one"),
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
    p = torch.where(counts > t, t / counts, 1.0)
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
        slip("substring", {'f" {entry} " in spaced': "entry in text"},
             '"cat" is not in "concatenate": an entry needs a space on both sides.',
             "card: matching with spaces around"),
        slip("words", {'f" {entry} " in spaced': "entry in spaced.split()"},
             'You compare single words, so "big cat" and "New York" are never found.', "card: multiword entries"),
        slip("no_ends",
             {'" " + re.sub(r"([,.;:?!`])", r" \\1 ", text) + " "': 're.sub(r"([,.;:?!`])", r" \\1 ", text)'},
             "An entry at the very start or end of a text is missed: put a space at both ends.",
             "card: hidden case entry at the start or end"),
        slip("case",
             {'return [i for i, entry in enumerate(metadata) if f" {entry} " in spaced]':
                'return [i for i, entry in enumerate(metadata) if f" {entry.lower()} " in spaced.lower()]'},
             'Case matters here: "new york" does not match "New York".', "card: case-sensitive [code]"),
        slip("small_letters", {'r" \\1 ", text)': 'r" \\1 ", text.lower())'},
             'Case matters: leave the text as it is, or "New York" is never found.', "student mistake: text.lower()"),
        slip("more_signs", {'r"([,.;:?!`])"': 'r"""([,.;:?!`"\'()-])"""'},
             "Only the seven signs get spaces. Quotes, brackets and hyphens stay where they are.",
             "student mistake: string.punctuation"),
        slip("no_back_tick", {"?!`]": "?!]"},
             "The back-tick is one of the seven signs.", "student mistake: six of seven signs"),
        slip("signs_go", {'r" \\1 "': '""'},
             "The signs stay, with spaces around them: an entry may be such a sign, and words beside it must "
             "not join.", "student mistake: replace(sign, '')"),
        slip("signs_to_spaces", {'r" \\1 "': '" "'},
             'The signs stay, with spaces around them: an entry may be such a sign, as "!" is here.',
             "student mistake: replace(sign, ' ')"),
        slip("doubles",
             {'return [i for i, entry in enumerate(metadata) if f" {entry} " in spaced]':
                'return [i for i, entry in enumerate(metadata) for _ in range(spaced.count(f" {entry} "))]'},
             "An entry that occurs several times is listed once.", "student mistake: one index an occurrence"),
        slip("one_blank",
             {'return [i for i, entry in enumerate(metadata) if f" {entry} " in spaced]':
                'spaced = f" {\' \'.join(spaced.split())} "\n'
                'return [i for i, entry in enumerate(metadata) if f" {entry} " in spaced]'},
             'Two blanks stay two: "big  cat" does not contain "big cat".', "student mistake: ' '.join(text.split())"),
        slip("signs_stay", {'" " + re.sub(r"([,.;:?!`])", r" \\1 ", text) + " "': '" " + text + " "'},
             'In "cat." the full stop sticks to the word. Put spaces around the seven signs.',
             "card: 'cat.' matches 'cat'"),
        slip("tabs_stay", {'spaced = re.sub(r"[\\t\\n\\r]", " ", spaced)': ""},
             "Tabs and line ends part words, too: turn each into a space.", "card: hidden case tabs and newlines"),
        slip("divides_infinity", {"counts[entry] <= t or draw < t / counts[entry]": "draw < t / max(counts[entry], t)"},
             "With t = math.inf your probability is infinity by infinity, NaN, and nothing is kept. Where n <= "
             "t it is 1.", "library difference: t / max(n, t) as printed; the official recipe keeps everything"),
        slip("all_entries", {"any(counts": "all(counts"},
             "You ask that all entries vote for a text (and keep texts without any). One is enough.",
             "paper: a text is kept if any of its entries is sampled"),
        slip("all_of_some",
             {"any(counts[entry] <= t or draw < t / counts[entry] for entry, draw in zip(entries, draws))":
                "bool(entries) and all(counts[entry] <= t or draw < t / counts[entry] for entry, draw in "
                "zip(entries, draws))"},
             "You ask that all entries vote for a text. One is enough.",
             "paper: a text is kept if any of its entries is sampled"),
        slip("empty_stays",
             {"any(counts[entry] <= t or draw < t / counts[entry] for entry, draw in zip(entries, draws))":
                "not entries or any(counts[entry] <= t or draw < t / counts[entry] for entry, draw in "
                "zip(entries, draws))"},
             "A text without entries is dropped.", "student mistake: an empty list counts as no objection"),
        slip("turned", {"counts[entry] <= t or draw < t / counts[entry]": "draw > t / max(counts[entry], t)"},
             "The comparison is turned: a text is kept where u < p.", "student mistake: > for <"),
        slip("running",
             {("for entries in matches:\n"
               "    for entry in entries:\n"
               "        counts[entry] += 1"):
                "",
              ("return [\n"
               "    any(counts[entry] <= t or draw < t / counts[entry] for entry, draw in zip(entries, draws))\n"
               "    for entries, draws in zip(matches, u)\n"
               "]"):
                "kept = []\n"
                "for entries, draws in zip(matches, u):\n"
                "    for entry in entries:\n"
                "        counts[entry] += 1\n"
                "    kept.append(any(counts[entry] <= t or draw < t / counts[entry] for entry, draw in "
                "zip(entries, draws)))\n"
                "return kept"},
             "You count while you decide, so early texts see small counts. Count all texts first.",
             "student mistake: one loop in place of two"),
        slip("one_number", {"zip(entries, draws)": "zip(entries, draws[:1] * len(entries))"},
             "Each entry of a text has a random number of its own, u[i][j].", "student mistake: one draw a text"),
        slip("of_all_texts", {"counts[entry] <= t or draw < t / counts[entry]": "draw < t / len(matches)"},
             "The probability depends on the entry: t / max(n, t), with n the number of ITS texts.",
             "student mistake: one probability for all"),
        slip("first_entry", {"zip(entries, draws)": "zip(entries[:1], draws)"},
             "Only the first entry of each text has a say. Rare entries further behind must save their text, too.",
             "student mistake: one class per text"),
        slip("equal_counts", {"draw < t": "draw <= t"},
             "A random number equal to p does not keep the text: u < p, strictly.", "card: u exactly equal p"),
    ),
    hints=(
        "Which texts would you drop first, if you wanted each concept about equally often, but no rare one less?",
        'Match: space out signs, blanks to spaces, ends; look for " entry ". Balance: count texts per entry; '
        "p = t / n where n > t, else 1; keep if any u < p.",
        "any(counts[entry] <= t or draw < t / counts[entry] for entry, draw in zip(entries, draws))",
    ),
    good_for="a data set whose recipe can be read, unlike CLIP's own",
    minutes=20,
    core=True,
)  # fmt: skip
