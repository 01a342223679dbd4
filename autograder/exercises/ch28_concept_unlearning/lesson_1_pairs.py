"""Chapter 28, notebook 1: cases, probe and variants of `make_pairs`."""

import re

import torch

from autograder.declare.exercise import Exercise, alternative
from autograder.declare.slips import slip
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


PAIRS = Exercise(
    name="make_pairs",
    methods=("ch28/ablating_concepts",),
    groups={"words": 1, "edge": 1},
    cases=pairs_cases,
    probe=pairs_probe,
    alternatives=(alternative(make_pairs__split), alternative(make_pairs__scan)),
    misconceptions=(
        slip("replaces",
             {'word = re.compile(rf"(?<!\\w){re.escape(anchor)}(?!\\w)", re.IGNORECASE)': "",
              "return [(prompt, word.sub(lambda _: target, prompt)) for prompt in prompts if word.search(prompt)]":
                "return [(prompt, prompt.replace(anchor, target)) for prompt in prompts if anchor in prompt]"},
             "str.replace finds the word inside longer ones, too: a 'string' has a 'ring' in it. Look for "
             "whole words.", "card: the target word inside a longer word must not be replaced"),
        slip("keeps_all", {" if word.search(prompt)": ""},
             "You also return prompts that do not name the anchor. They are left out.", "student mistake: no filter"),
        slip("first_only", {"target, prompt)": "target, prompt, count=1)"},
             "You replace the first occurrence only. Replace all of them.", "library difference: count=1 of re.sub"),
        slip("case_counts", {", re.IGNORECASE": ""},
             "'Art' and 'ART' are the anchor as well as 'art'. Ignore the case when you look for it.",
             "student mistake: the tokenizer lowers the text, the search does not"),
        slip("lowers", {"target, prompt)": "target, prompt.lower())"},
             "You put the whole prompt in small letters. Only the search ignores the case; the rest of the "
             "text stays as it is.", "first reader: no case told it from the right answer"),
        slip("copies_capitals",
             {"return [(prompt, word.sub(lambda _: target, prompt)) for prompt in prompts if word.search(prompt)]":
                "def same_case(found):\n"
                "    if found[0].isupper() and len(found[0]) > 1:\n"
                "        return target.upper()\n"
                "    return target.capitalize() if found[0][:1].isupper() else target\n"
                "\n"
                "return [(prompt, word.sub(same_case, prompt)) for prompt in prompts if word.search(prompt)]"},
             "You give the target the capitals of the word that it replaces. It goes in as it was given.",
             "first reader: no case told it from the right answer"),
        slip("capitalises",
             {"return [(prompt, word.sub(lambda _: target, prompt)) for prompt in prompts if word.search(prompt)]":
                "def same_case(found):\n"
                "    return target.capitalize() if found[0][:1].isupper() else target\n"
                "\n"
                "return [(prompt, word.sub(same_case, prompt)) for prompt in prompts if word.search(prompt)]"},
             "You give the target the capitals of the word that it replaces. It goes in as it was given.",
             "student mistake: a capital kept at the start of a sentence"),
        slip("word_boundary", {"(?<!\\w)": "\\b", "(?!\\w)": "\\b"},
             "\\b is a place with a word character on one side, and 'c++ ' ends without one. Ask for no word "
             "character before and none behind: (?<!\\w) and (?!\\w).",
             "student mistake: the usual recipe for whole words"),
        slip("not_escaped", {"{re.escape(anchor)}": "{anchor}"},
             "The anchor's own characters, such as the + of 'c++', mean something in your expression. Use re.escape.",
             "student mistake: a word put into an expression as it is"),
        slip("template", {"lambda _: target": "target"},
             "re.sub reads \\1 in the target as a group. Give it a function: lambda _: target.",
             "library difference: the second argument of re.sub is a template"),
        slip("target_first",
             {"(prompt, word.sub(lambda _: target, prompt))": "(word.sub(lambda _: target, prompt), prompt)"},
             "Your pairs are turned round: the anchor prompt comes first.", "student mistake: order of a pair"),
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
