"""Chapter 16, notebook 2: cases, probe and variants of `exclusive_split`."""

import re

import torch

from autograder.declare.exercise import Exercise, alternative
from autograder.declare.slips import slip
from dlcv_lab.checking.model import Case

SYNONYMS = {"ring": ["hoop", "hollow shape"], "star": ["five-pointed shape"], "arrow": []}
TEXTS = [
    "a red ring.",
    "A Ring on sand",
    "two rings!",
    "a blue hoop",
    "there is spring in the air",
    "a string of stars",
    "a hollow shape, red",
    "a hollow, red shape",
    "the five-pointed shape",
    "a five pointed shape",
    "a ring-road",
    "starlight",
    "an arrow",
    "narrow arrows",
    "a green circle",
    "",
    "STAR",
    "a ring_2 file",
    "ring",
    "a ring\u00f6",
    "red crosses",
    "No. 5 in red",
    "not 5, but six",
]


def split_cases(rng: torch.Generator) -> list[Case]:
    """Draw the order of the captions and what is held out."""

    def case(group: str, note: str, held_out: list[str], synonyms: dict[str, list[str]]) -> Case:
        order = torch.randperm(len(TEXTS), generator=rng).tolist()
        return Case(group, {"captions": [TEXTS[k] for k in order], "held_out": held_out, "synonyms": synonyms}, note)

    return [
        case("plain", "ring is held out", ["ring"], SYNONYMS),
        case("plain", "ring and star are held out", ["ring", "star"], SYNONYMS),
        case("edge", "no synonyms are known", ["ring", "arrow"], {}),
        case("edge", "a synonym belongs to another word", ["star"], SYNONYMS),
        case("edge", "nothing is held out", [], SYNONYMS),
        case("edge", "a name with a full stop, and a word with another plural", ["no. 5", "cross"], {}),
        case("edge", "a synonym alone is held out", ["hoop"], SYNONYMS),
    ]


def split_probe(ns, data):
    """Return both lists."""
    train, test = ns.exclusive_split(list(data["captions"]), list(data["held_out"]), dict(data["synonyms"]))
    return {"train": [int(i) for i in train], "test": [int(i) for i in test]}


def exclusive_split__tokens(captions, held_out, synonyms):
    names = set()
    for word in held_out:
        for name in [word] + list(synonyms.get(word, [])):
            names.add(name.lower())
            names.add(name.lower() + "s")
    train, test = [], []
    for i, text in enumerate(captions):
        low, hit = text.lower(), False
        for name in names:
            start = low.find(name)
            while start >= 0:
                around = low[max(0, start - 1) : start] + low[start + len(name) : start + len(name) + 1]
                if not any(c.isalnum() or c in "_-" for c in around):
                    hit = True
                start = low.find(name, start + 1)
        (test if hit else train).append(i)
    return train, test


def exclusive_split__one_pattern(captions, held_out, synonyms):
    names = [re.escape(n) for w in held_out for n in [w, *synonyms.get(w, [])]]
    if not names:
        return list(range(len(captions))), []
    found = re.compile(r"(^|[^\w-])(" + "|".join(names) + r")s?($|[^\w-])", re.IGNORECASE)
    sides = [found.search(text) is not None for text in captions]
    return [i for i, s in enumerate(sides) if not s], [i for i, s in enumerate(sides) if s]


WORDS = "You compare the words between blanks: a name may have several words, and a sign may stand beside it."


SPLIT = Exercise(
    name="exclusive_split",
    methods=("ch16/exclusive_splits",),
    groups={"plain": 2, "edge": 1},
    cases=split_cases,
    probe=split_probe,
    alternatives=(alternative(exclusive_split__tokens), alternative(exclusive_split__one_pattern)),
    misconceptions=(
        slip("no_synonyms", {"(word, *synonyms.get(word, []))": "(word,)"},
             "Synonyms of held-out words stay in your training captions: the concept leaks in under another name.",
             "card: hidden case synonym leak"),
        slip("all_synonyms",
             {'found = [re.compile(rf"(?<![\\w-]){re.escape(name)}s?(?![\\w-])", re.IGNORECASE) for name in names]':
                "if held_out:\n"
                "    names += [name for table in synonyms.values() for name in table]\n"
                'found = [re.compile(rf"(?<![\\w-]){re.escape(name)}s?(?![\\w-])", re.IGNORECASE) for name in names]'},
             "You look for the synonyms of every word. Only those of held-out words count.",
             "student mistake: synonyms.values()"),
        slip("both_ways",
             {'found = [re.compile(rf"(?<![\\w-]){re.escape(name)}s?(?![\\w-])", re.IGNORECASE) for name in names]':
                "names += [word for word, table in synonyms.items() if set(table) & set(held_out)]\n"
                'found = [re.compile(rf"(?<![\\w-]){re.escape(name)}s?(?![\\w-])", re.IGNORECASE) for name in names]'},
             "You also drop the word whose synonym is held out. Only the held-out word and its own synonyms count.",
             "student mistake: the table read in both directions"),
        slip("blanks",
             {'found = [re.compile(rf"(?<![\\w-]){re.escape(name)}s?(?![\\w-])", re.IGNORECASE) for name in names]':
                'wanted = {ending for name in names for ending in (name.lower(), name.lower() + "s")}',
              "test = [i for i, text in enumerate(captions) if any(pattern.search(text) for pattern in found)]":
                "test = [i for i, text in enumerate(captions) if wanted & set(text.lower().split())]"},
             WORDS, "student mistake: text.lower().split()"),
        slip("blanks_exactly",
             {"found = [re.compile(rf\"(?<![\\w-]){re.escape(name)}s?(?![\\w-])\", re.IGNORECASE) for name in names]":
              "wanted = {name.lower() for name in names}",
              "test = [i for i, text in enumerate(captions) if any(pattern.search(text) for pattern in found)]":
              "test = [i for i, text in enumerate(captions) if wanted & set(text.lower().split())]"},
             "You compare the words between blanks. That finds no plural, no name before a full stop or a "
             "comma, and none of several words.",
             "student mistake: words found by split alone"),
        slip("stripped",
             {'found = [re.compile(rf"(?<![\\w-]){re.escape(name)}s?(?![\\w-])", re.IGNORECASE) for name in names]':
                'wanted = {ending for name in names for ending in (name.lower(), name.lower() + "s")}',
              "test = [i for i, text in enumerate(captions) if any(pattern.search(text) for pattern in found)]":
                'test = [i for i, text in enumerate(captions) if wanted & {w.strip(".,;:!?") for w in '
                "text.lower().split()}]"},
             WORDS, "student mistake: words between blanks, signs stripped off"),
        slip("letters", {"(?<![\\w-])": "(?<![A-Za-z-])", "(?![\\w-])": "(?![A-Za-z-])"},
             "Not only a to z and the hyphen are parts of a word: a digit, an underscore or an umlaut beside a "
             "name makes it another word.", "student mistake: [A-Za-z-] for [\\w-]"),
        slip("any_plural", {"}s?(": "}(?:s|es)?("},
             'Only an "s" may follow: "crosses" does not name a cross here.', "student mistake: (s|es)?"),
        slip("patterns", {"{re.escape(name)}": "{name}"},
             "A full stop in a name is a full stop; in a pattern it stands for any character. Use re.escape.",
             "library difference: a name is not a pattern of re"),
        slip("hyphens", {"(?<![\\w-])": "\\b", "(?![\\w-])": "\\b"},
             '\\b ends a word at a hyphen, so "ring-road" counts as a ring. A hyphen belongs to the word.',
             "library difference: \\b of re; MetaCLIP and CLIP count words by spaces"),
        slip("substring", {"(?<![\\w-])": "", "(?![\\w-])": ""},
             'You look for substrings: "spring" and "string" name no ring.', "card: 'car' in 'scarf'"),
        slip("plural", {"}s?(": "}("}, 'The plural leaks: "rings" names the concept, too.', "card: hidden case plural"),
        slip("case", {", re.IGNORECASE": ""},
             'Capitals leak: "Ring" names the concept, too.', "card: hidden case of capitals"),
        slip("first",
             {"test = [i for i, text in enumerate(captions) if any(pattern.search(text) for pattern in found)]":
                "test = [i for i, text in enumerate(captions) if found and found[0].search(text)]"},
             "Only the first name is looked for. Every held-out word and every synonym counts.",
             "student mistake: return inside the loop"),
        slip("exchanged",
             {"return [i for i in range(len(captions)) if i not in hit], test":
                "return test, [i for i in range(len(captions)) if i not in hit]"},
             "The two lists are exchanged: training first, and it names nothing that is held out.",
             "student mistake: order of the result"),
    ),
    hints=(
        "In how many ways can a caption name a ring without containing the word 'ring' with spaces around?",
        "All names: the words and their synonyms. One pattern each: no word character or hyphen before, the "
        "name, s?, "
        "none behind; ignore case. Test: captions where any pattern is found.",
        're.compile(rf"(?<![\\w-]){re.escape(name)}s?(?![\\w-])", re.IGNORECASE)',
    ),
    good_for="any claim about concepts that a model has not seen",
    minutes=15,
    core=True,
)  # fmt: skip
