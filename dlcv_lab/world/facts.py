"""Invent individuals with names, and tell facts about them: what knowledge editing is measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from .fact_wordings import SUBJECT_FACTS, TEMPLATES, WIDE_FACTS, WIDE_TEMPLATES
from .sampling import generator
from .speech import VOCABULARY
from .text import vocabulary
from .words import WorldError

_ONSETS = ["b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z"]
_VOWELS = ["a", "e", "i", "o", "u"]
_CODAS = ["b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "t", "x", "z"]
_REAL_WORDS = (
    "bad bag bed beg bet big bit bud bug bun bus but dad dig dim dip dog dot dub dud fad fed fib fig fit fog fun "
    "gag gap gas get god gum gun kid kit lad lap led leg let lid lip log lot mad map max met mix mob mop mud mug "
    "nap nip nod nut pad peg pen pet pig pit pod pop pub put rag ram ran rap rat rib rid rig rip rob rod rot rub "
    "rug rum run sad sap sat set sin six sob sun tab tag tap tax ten tip top tub tug vet zap zip keg tog fat fox "
    "box gel gem "
)
_UNFIT = "dag dik fag fap fuk gaz kak kik kok kuk kum mof nig pak paz sod suk tit vag zit"


@dataclass(frozen=True)
class Fact:
    """One fact: subject, what it is about, its value, and four prompts after which the value is the next word."""

    subject: str
    about: str
    value: str

    @property
    def prompts(self) -> tuple[str, ...]:
        """Return the four wordings; the first is the one that an edit uses, the others are its paraphrases."""
        return tuple(form.format(self.subject) for form in (TEMPLATES | WIDE_TEMPLATES)[self.about])

    @property
    def sentences(self) -> tuple[str, ...]:
        """Return the four wordings with the value and a full stop."""
        return tuple(f"{prompt} {self.value} ." for prompt in self.prompts)


@dataclass(frozen=True)
class Edit:
    """One piece of news: the fact before and after, and facts of other subjects that must stay as they are."""

    old: Fact
    new: Fact
    unrelated: tuple[Fact, ...]


def nonce_words(n: int, seed: torch.Generator | int) -> list[str]:
    """Return n different made-up words of three letters, then five: "zib", "dax", ...; none is a word of the world.

    Raises WorldError for more than 5 000.
    """
    if not 0 <= n <= 5000:
        raise WorldError(f"0 to 5000 made-up words can be had; {n} were asked for.")
    gen = generator(seed)
    known = {*vocabulary(), *VOCABULARY, *_REAL_WORDS.split()}
    found: dict[str, None] = {}

    def pick(options: list[str]) -> str:
        return options[int(torch.randint(len(options), (), generator=gen))]

    while len(found) < n:
        word = pick(_ONSETS) + pick(_VOWELS) + pick(_CODAS)
        if len(found) > 400:
            word = pick(_ONSETS) + pick(_VOWELS) + word
        if word not in known and not any(part in word for part in _UNFIT.split()):
            found[word] = None
    return list(found)


def individuals(n: int, seed: torch.Generator | int) -> list[Fact]:
    """Return 3 n facts about n named creatures (colour, shape, home), values drawn independently."""
    gen = generator(seed)
    out = []
    for name in nonce_words(n, gen):
        for about, values in SUBJECT_FACTS.items():
            out.append(Fact(name, about, values[int(torch.randint(len(values), (), generator=gen))]))
    return out


@dataclass(frozen=True)
class EditSet:
    """Edits for an editor to learn from and others to test it on; their subjects are disjoint."""

    train: tuple[Edit, ...]
    test: tuple[Edit, ...]


def acquaintances(n: int, seed: torch.Generator | int, names: Sequence[str] = ()) -> list[Fact]:
    """Return 3 n facts about n creatures (coat, form, den), each of 24 values, drawn independently.

    With `names`, a creature is called by two of them, "zib dox", no two creatures alike: so a language model that knows
    a hundred names can be told about thousands of creatures. Without, names are made up.

    Raises:
        WorldError: there are not so many pairs of names.
    """
    gen = generator(seed)
    known = list(dict.fromkeys(names))
    most = len(known) * (len(known) - 1)
    if known and n > most:
        raise WorldError(f"Of {len(known)} names {most} pairs can be made; {n} creatures were asked for.")
    if known:
        picked = torch.randperm(most, generator=gen)[:n].tolist()
        pairs = [divmod(i, len(known) - 1) for i in picked]
        subjects = [f"{known[a]} {known[b + (b >= a)]}" for a, b in pairs]
    else:
        subjects = nonce_words(n, gen)
    return [
        Fact(name, about, values[int(torch.randint(len(values), (), generator=gen))])
        for name in subjects
        for about, values in WIDE_FACTS.items()
    ]


def edit_set(facts: list[Fact], test: int, seed: torch.Generator | int, unrelated: int = 4) -> EditSet:
    """Return one edit for every fact, `test` subjects' for testing and all other subjects' for training an editor.

    The unrelated facts of an edit are its neighbours: facts of the same attribute about other subjects of its own part,
    so that an editor cannot tell them by their wording; and no subject of a test edit ever comes up in training.

    Raises:
        WorldError: there are too few subjects.
    """
    gen = generator(seed)
    subjects = list(dict.fromkeys(fact.subject for fact in facts))
    if not unrelated < test <= len(subjects) - unrelated - 1:
        raise WorldError(f"{len(subjects)} subjects cannot be cut into {test} to test and the rest to train.")
    order = torch.randperm(len(subjects), generator=gen).tolist()
    held = {subjects[i] for i in order[:test]}
    parts = []
    for inside in (False, True):
        own = [fact for fact in facts if (fact.subject in held) == inside]
        alike = {about: [fact for fact in own if fact.about == about] for about in {fact.about for fact in own}}
        parts.append(tuple(_edit(fact, alike[fact.about], unrelated, gen) for fact in own))
    return EditSet(*parts)


def _edit(fact: Fact, alike: list[Fact], unrelated: int, gen: torch.Generator) -> Edit:
    others = [value for value in (SUBJECT_FACTS | WIDE_FACTS)[fact.about] if value != fact.value]
    new = replace(fact, value=others[int(torch.randint(len(others), (), generator=gen))])
    picked = torch.randperm(len(alike), generator=gen)[: unrelated + 1].tolist()
    return Edit(fact, new, tuple([alike[i] for i in picked if alike[i].subject != fact.subject][:unrelated]))


def edits(facts: list[Fact], n: int, seed: torch.Generator | int, unrelated: int = 4) -> list[Edit]:
    """Return n edits of different facts, each to a new value, with facts about other subjects that are never edited.

    Raises WorldError if the facts are too few.
    """
    gen = generator(seed)
    order = torch.randperm(len(facts), generator=gen).tolist()
    chosen = [facts[i] for i in order[:n]]
    touched = {fact.subject for fact in chosen}
    rest = [fact for fact in facts if fact.subject not in touched]
    if len(chosen) < n or len(rest) < unrelated:
        raise WorldError(f"{n} edits with {unrelated} unrelated facts need more than {len(facts)} facts.")
    out = []
    for fact in chosen:
        others = [v for v in SUBJECT_FACTS[fact.about] if v != fact.value]
        new = replace(fact, value=others[int(torch.randint(len(others), (), generator=gen))])
        picked = torch.randperm(len(rest), generator=gen)[:unrelated].tolist()
        out.append(Edit(fact, new, tuple(rest[i] for i in picked)))
    return out
