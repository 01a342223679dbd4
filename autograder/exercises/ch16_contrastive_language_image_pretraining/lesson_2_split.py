"""Chapter 16, notebook 2: cases, probe and variants of `exclusive_split`."""

import re

import torch

from autograder.declare.exercise import Alternative, Exercise, mistaken
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


def split_with_mistake(mistake, captions, held_out, synonyms):
    more = {} if mistake == "no synonyms" else synonyms
    names = [name for word in held_out for name in (word, *more.get(word, []))]
    if mistake == "all synonyms" and held_out:
        names += [name for table in synonyms.values() for name in table]
    if mistake == "both ways":
        names += [word for word, table in synonyms.items() if set(table) & set(held_out)]
    if mistake in ("blanks", "stripped"):
        wanted = {ending for name in names for ending in (name.lower(), name.lower() + "s")}
        signs = ".,;:!?" if mistake == "stripped" else ""
        test = [i for i, text in enumerate(captions) if wanted & {w.strip(signs or None) for w in text.lower().split()}]
        return [i for i in range(len(captions)) if i not in test], test
    left, right = (r"\b", r"\b") if mistake == "hyphens" else (r"(?<![\w-])", r"(?![\w-])")
    if mistake == "substring":
        left, right = "", ""
    if mistake == "letters":
        left, right = r"(?<![A-Za-z-])", r"(?![A-Za-z-])"
    plural = {"plural": "", "any plural": "(?:s|es)?"}.get(mistake, "s?")
    flags = 0 if mistake == "case" else re.IGNORECASE
    escape = str if mistake == "patterns" else re.escape
    patterns = [re.compile(left + escape(name) + plural + right, flags) for name in names]
    if mistake == "first":
        test = [i for i, text in enumerate(captions) if patterns and patterns[0].search(text)]
    else:
        test = [i for i, text in enumerate(captions) if any(p.search(text) for p in patterns)]
    train = [i for i in range(len(captions)) if i not in test]
    return (test, train) if mistake == "exchanged" else (train, test)


def exclusive_split__no_synonyms(captions, held_out, synonyms):
    return split_with_mistake("no synonyms", captions, held_out, synonyms)


def exclusive_split__hyphens(captions, held_out, synonyms):
    return split_with_mistake("hyphens", captions, held_out, synonyms)


def exclusive_split__substring(captions, held_out, synonyms):
    return split_with_mistake("substring", captions, held_out, synonyms)


def exclusive_split__plural(captions, held_out, synonyms):
    return split_with_mistake("plural", captions, held_out, synonyms)


def exclusive_split__case(captions, held_out, synonyms):
    return split_with_mistake("case", captions, held_out, synonyms)


def exclusive_split__first(captions, held_out, synonyms):
    return split_with_mistake("first", captions, held_out, synonyms)


def exclusive_split__exchanged(captions, held_out, synonyms):
    return split_with_mistake("exchanged", captions, held_out, synonyms)


def exclusive_split__all_synonyms(captions, held_out, synonyms):
    return split_with_mistake("all synonyms", captions, held_out, synonyms)


def exclusive_split__both_ways(captions, held_out, synonyms):
    return split_with_mistake("both ways", captions, held_out, synonyms)


def exclusive_split__blanks(captions, held_out, synonyms):
    return split_with_mistake("blanks", captions, held_out, synonyms)


def exclusive_split__stripped(captions, held_out, synonyms):
    return split_with_mistake("stripped", captions, held_out, synonyms)


def exclusive_split__letters(captions, held_out, synonyms):
    return split_with_mistake("letters", captions, held_out, synonyms)


def exclusive_split__any_plural(captions, held_out, synonyms):
    return split_with_mistake("any plural", captions, held_out, synonyms)


def exclusive_split__patterns(captions, held_out, synonyms):
    return split_with_mistake("patterns", captions, held_out, synonyms)


WORDS = "You compare the words between blanks: a name may have several words, and a sign may stand beside it."


SPLIT = Exercise(
    name="exclusive_split",
    methods=("ch16/exclusive_splits",),
    groups={"plain": 2, "edge": 1},
    cases=split_cases,
    probe=split_probe,
    alternatives=(
        Alternative(name="tokens", code=(exclusive_split__tokens,)),
        Alternative(name="one_pattern", code=(exclusive_split__one_pattern,)),
    ),
    misconceptions=(
        mistaken(
            exclusive_split__no_synonyms,
            "Synonyms of held-out words stay in your training captions: the concept leaks in under another name.",
            "card: hidden case synonym leak",
            split_with_mistake,
        ),
        mistaken(
            exclusive_split__all_synonyms,
            "You look for the synonyms of every word. Only those of held-out words count.",
            "student mistake: synonyms.values()",
            split_with_mistake,
        ),
        mistaken(
            exclusive_split__both_ways,
            "You also drop the word whose synonym is held out. Only the held-out word and its own synonyms count.",
            "student mistake: the table read in both directions",
            split_with_mistake,
        ),
        mistaken(
            exclusive_split__blanks,
            WORDS,
            "student mistake: text.lower().split()",
            split_with_mistake,
        ),
        mistaken(
            exclusive_split__stripped,
            WORDS,
            "student mistake: words between blanks, signs stripped off",
            split_with_mistake,
        ),
        mistaken(
            exclusive_split__letters,
            "Not only a to z and the hyphen are parts of a word: a digit, an underscore or an umlaut beside a name "
            "makes it another word.",
            "student mistake: [A-Za-z-] for [\\w-]",
            split_with_mistake,
        ),
        mistaken(
            exclusive_split__any_plural,
            'Only an "s" may follow: "crosses" does not name a cross here.',
            "student mistake: (s|es)?",
            split_with_mistake,
        ),
        mistaken(
            exclusive_split__patterns,
            "A full stop in a name is a full stop; in a pattern it stands for any character. Use re.escape.",
            "library difference: a name is not a pattern of re",
            split_with_mistake,
        ),
        mistaken(
            exclusive_split__hyphens,
            r'\b ends a word at a hyphen, so "ring-road" counts as a ring. A hyphen belongs to the word.',
            "library difference: \\b of re; MetaCLIP and CLIP count words by spaces",
            split_with_mistake,
        ),
        mistaken(
            exclusive_split__substring,
            'You look for substrings: "spring" and "string" name no ring.',
            "card: 'car' in 'scarf'",
            split_with_mistake,
        ),
        mistaken(
            exclusive_split__plural,
            'The plural leaks: "rings" names the concept, too.',
            "card: hidden case plural",
            split_with_mistake,
        ),
        mistaken(
            exclusive_split__case,
            'Capitals leak: "Ring" names the concept, too.',
            "card: hidden case of capitals",
            split_with_mistake,
        ),
        mistaken(
            exclusive_split__first,
            "Only the first name is looked for. Every held-out word and every synonym counts.",
            "student mistake: return inside the loop",
            split_with_mistake,
        ),
        mistaken(
            exclusive_split__exchanged,
            "The two lists are exchanged: training first, and it names nothing that is held out.",
            "student mistake: order of the result",
            split_with_mistake,
        ),
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
)
