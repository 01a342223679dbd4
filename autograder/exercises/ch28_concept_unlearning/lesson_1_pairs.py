"""Chapter 28, notebook 1: cases, probe and variants of `make_pairs`."""

import re

import torch

from autograder.declare.exercise import Alternative, Exercise, Misconception
from dlcv_lab.checking.model import Case


def pairs_cases(rng: torch.Generator) -> list[Case]:
    """Choose words and templates; the edges hold longer words, capitals, several words and special characters."""

    def pick(*words: str) -> str:
        return words[int(torch.randint(len(words), (), generator=rng))]

    def case(group: str, note: str, prompts: list[str], anchor: str, target: str) -> Case:
        return Case(group, {"prompts": prompts, "anchor": anchor, "target": target}, note)

    colour = pick("red", "blue", "green")
    circles = [f"a {colour} circle.", f"a {colour} circle above a cross.", f"one {pick('arrow', 'heart')}."]
    return [
        case("words", "one word, a prompt without it", circles, "circle", "ring"),
        case("words", "twice in one prompt", ["a cat and a cat", "cats"], "cat", "grumpy cat"),
        case("words", "several words", ["a round shape on blue", "round and shape"], "round shape", "ring"),
        case("edge", "part of a longer word", [f"a {colour} ring", "a string of rings", "ringing"], "ring", "circle"),
        case("edge", "capital letters", ["Art, please", "A party with ART", "martial"], "art", "sketch"),
        case("edge", "special characters", ["a c++ logo", "c+ logo", "abc++"], "c++", "plus"),
        case("edge", "a target that looks like a group", [f"a {colour} logo", "logos"], "logo", r"\1"),
    ]


def pairs_probe(ns, data):
    """Return the pairs as plain lists."""
    return [list(pair) for pair in ns.make_pairs(list(data["prompts"]), data["anchor"], data["target"])]


def make_pairs__split(prompts, anchor, target):
    found = []
    for prompt in prompts:
        parts = re.split(r"(?<!\w)" + re.escape(anchor) + r"(?!\w)", prompt, flags=re.I)
        if len(parts) > 1:
            found.append((prompt, target.join(parts)))
    return found


def make_pairs__scan(prompts, anchor, target):
    def is_letter(c):
        return c.isalnum() or c == "_"

    found = []
    for prompt in prompts:
        out, i, hit = "", 0, False
        while i < len(prompt):
            j = i + len(anchor)
            whole = (i == 0 or not is_letter(prompt[i - 1])) and (j >= len(prompt) or not is_letter(prompt[j]))
            if prompt[i:j].lower() == anchor.lower() and whole:
                out, i, hit = out + target, j, True
            else:
                out, i = out + prompt[i], i + 1
        if hit:
            found.append((prompt, out))
    return found


def make_pairs__replaces(prompts, anchor, target):
    return [(prompt, prompt.replace(anchor, target)) for prompt in prompts if anchor in prompt]


def make_pairs__keeps_all(prompts, anchor, target):
    word = re.compile(rf"(?<!\w){re.escape(anchor)}(?!\w)", re.I)
    return [(prompt, word.sub(lambda _: target, prompt)) for prompt in prompts]


def make_pairs__first_only(prompts, anchor, target):
    word = re.compile(rf"(?<!\w){re.escape(anchor)}(?!\w)", re.I)
    return [(prompt, word.sub(lambda _: target, prompt, count=1)) for prompt in prompts if word.search(prompt)]


def make_pairs__case_counts(prompts, anchor, target):
    word = re.compile(rf"(?<!\w){re.escape(anchor)}(?!\w)")
    return [(prompt, word.sub(lambda _: target, prompt)) for prompt in prompts if word.search(prompt)]


def make_pairs__lowers(prompts, anchor, target):
    word = re.compile(rf"(?<!\w){re.escape(anchor.lower())}(?!\w)")
    lower = [prompt.lower() for prompt in prompts]
    return [(prompt, word.sub(lambda _: target, low)) for prompt, low in zip(prompts, lower) if word.search(low)]


def make_pairs__copies_capitals(prompts, anchor, target):
    word = re.compile(rf"(?<!\w){re.escape(anchor)}(?!\w)", re.I)

    def same_case(found):
        if found[0].isupper() and len(found[0]) > 1:
            return target.upper()
        return target.capitalize() if found[0][:1].isupper() else target

    return [(prompt, word.sub(same_case, prompt)) for prompt in prompts if word.search(prompt)]


def make_pairs__capitalises(prompts, anchor, target):
    word = re.compile(rf"(?<!\w){re.escape(anchor)}(?!\w)", re.I)

    def same_case(found):
        return target.capitalize() if found[0][:1].isupper() else target

    return [(prompt, word.sub(same_case, prompt)) for prompt in prompts if word.search(prompt)]


def make_pairs__word_boundary(prompts, anchor, target):
    word = re.compile(rf"\b{re.escape(anchor)}\b", re.I)
    return [(prompt, word.sub(lambda _: target, prompt)) for prompt in prompts if word.search(prompt)]


def make_pairs__not_escaped(prompts, anchor, target):
    word = re.compile(rf"(?<!\w){anchor}(?!\w)", re.I)
    return [(prompt, word.sub(lambda _: target, prompt)) for prompt in prompts if word.search(prompt)]


def make_pairs__template(prompts, anchor, target):
    word = re.compile(rf"(?<!\w){re.escape(anchor)}(?!\w)", re.I)
    return [(prompt, word.sub(target, prompt)) for prompt in prompts if word.search(prompt)]


def make_pairs__target_first(prompts, anchor, target):
    word = re.compile(rf"(?<!\w){re.escape(anchor)}(?!\w)", re.I)
    return [(word.sub(lambda _: target, prompt), prompt) for prompt in prompts if word.search(prompt)]


PAIRS = Exercise(
    name="make_pairs",
    methods=("ch28/ablating_concepts",),
    groups={"words": 1, "edge": 1},
    cases=pairs_cases,
    probe=pairs_probe,
    alternatives=(
        Alternative(name="split", code=(make_pairs__split,)),
        Alternative(name="scan", code=(make_pairs__scan,)),
    ),
    misconceptions=(
        Misconception(
            name="replaces", code=(make_pairs__replaces,),
            hint="str.replace finds the word inside longer ones, too: a 'string' has a 'ring' in it. Look for whole "
            "words.",
            source_of="card: the target word inside a longer word must not be replaced",
        ),
        Misconception(
            name="keeps_all", code=(make_pairs__keeps_all,),
            hint="You also return prompts that do not name the anchor. They are left out.",
            source_of="student mistake: no filter",
        ),
        Misconception(
            name="first_only", code=(make_pairs__first_only,),
            hint="You replace the first occurrence only. Replace all of them.",
            source_of="library difference: count=1 of re.sub",
        ),
        Misconception(
            name="case_counts", code=(make_pairs__case_counts,),
            hint="'Art' and 'ART' are the anchor as well as 'art'. Ignore the case when you look for it.",
            source_of="student mistake: the tokenizer lowers the text, the search does not",
        ),
        Misconception(
            name="lowers", code=(make_pairs__lowers,),
            hint="You put the whole prompt in small letters. Only the search ignores the case; the rest of the text "
            "stays as it is.",
            source_of="first reader: no case told it from the right answer",
        ),
        Misconception(
            name="copies_capitals", code=(make_pairs__copies_capitals,),
            hint="You give the target the capitals of the word that it replaces. It goes in as it was given.",
            source_of="first reader: no case told it from the right answer",
        ),
        Misconception(
            name="capitalises", code=(make_pairs__capitalises,),
            hint="You give the target the capitals of the word that it replaces. It goes in as it was given.",
            source_of="student mistake: a capital kept at the start of a sentence",
        ),
        Misconception(
            name="word_boundary", code=(make_pairs__word_boundary,),
            hint="\\b is a place with a word character on one side, and 'c++ ' ends without one. Ask for no word "
            "character before and none behind: (?<!\\w) and (?!\\w).",
            source_of="student mistake: the usual recipe for whole words",
        ),
        Misconception(
            name="not_escaped", code=(make_pairs__not_escaped,),
            hint="The anchor's own characters, such as the + of 'c++', mean something in your expression. Use "
            "re.escape.",
            source_of="student mistake: a word put into an expression as it is",
        ),
        Misconception(
            name="template", code=(make_pairs__template,),
            hint="re.sub reads \\1 in the target as a group. Give it a function: lambda _: target.",
            source_of="library difference: the second argument of re.sub is a template",
        ),
        Misconception(
            name="target_first", code=(make_pairs__target_first,),
            hint="Your pairs are turned round: the anchor prompt comes first.",
            source_of="student mistake: order of a pair",
        ),
    ),
    hints=(
        "What stands before and behind a whole word? Which characters of the anchor mean something in a regular "
        "expression?",
        "Compile one expression: no word character before, the anchor escaped, no word character behind, case ignored. "
        "Search to decide, substitute to make the second text.",
        'word = re.compile(rf"(?<!\\w){re.escape(anchor)}(?!\\w)", re.IGNORECASE); word.sub(lambda _: target, prompt)',
    ),
    good_for="training pairs that differ in the concept and in nothing else",
    minutes=10,
)  # fmt: skip
