"""Citations for notebooks: `{cite:p}` becomes a link, from the same BibTeX files that the book reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pybtex.database import Entry, parse_string
from pybtex.richtext import Text

from autograder.base import paths


class ReferencesError(ValueError):
    """The bibliography cannot be used; the message names the file and the remedy."""


@dataclass(frozen=True)
class Reference:
    """One entry of the bibliography as a notebook shows it."""

    label: str  # "Ioffe & Szegedy 2015"
    title: str
    link: str  # may be empty


def _clean(text: str) -> str:
    """Return the plain text of LaTeX: accents as letters, no braces."""
    return " ".join(str(Text.from_latex(text)).split())


def _label(entry: Entry) -> str:
    people = entry.persons.get("author") or entry.persons.get("editor") or []
    names = [_clean(" ".join([*person.prelast_names, *person.last_names])) for person in people]
    who = names[0] if names else _clean(entry.fields.get("title", entry.key))
    if len(names) > 2 or names[1:] == ["others"]:  # BibTeX's own word for et al.
        who = f"{names[0]} et al."
    elif len(names) == 2:
        who = f"{names[0]} & {names[1]}"
    return f"{who} {_clean(entry.fields.get('year', ''))}".strip()


def _link(entry: Entry) -> str:
    fields = entry.fields
    if fields.get("doi"):
        return "https://doi.org/" + fields["doi"].removeprefix("https://doi.org/")
    if fields.get("eprint"):
        return "https://arxiv.org/abs/" + fields["eprint"]
    return fields.get("url", "")


@lru_cache(maxsize=64)
def _parse(text: str) -> dict[str, Reference]:
    entries = parse_string(text, "bibtex").entries
    return {key: Reference(_label(e), _clean(e.fields.get("title", "")), _link(e)) for key, e in entries.items()}


def load(files: Sequence[Path] | None = None) -> dict[str, Reference]:
    """Read BibTeX files, by default those of book/references: together they are one bibliography.

    Raises:
        ReferencesError: a key is there twice.
    """
    found: dict[str, Reference] = {}
    for path in paths.bibliography() if files is None else files:
        own = _parse(path.read_text(encoding="utf-8"))
        if twice := sorted(found.keys() & own.keys()):
            raise ReferencesError(f"{paths.shown(path)}: {twice[0]!r} stands in another file, too; remove one of them")
        found |= own
    return found


def as_link(reference: Reference) -> str:
    return f"[{reference.label}]({reference.link})" if reference.link else reference.label
