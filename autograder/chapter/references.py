"""Citations for notebooks: `{cite:p}` becomes a link, from the same BibTeX file that the book reads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pybtex.database import Entry, parse_string

from autograder.base import paths


@dataclass(frozen=True)
class Reference:
    """One entry of the bibliography as a notebook shows it."""

    label: str  # "Ioffe & Szegedy 2015"
    title: str
    link: str  # may be empty


def _clean(text: str) -> str:
    return " ".join(text.replace("{", "").replace("}", "").replace("\\&", "&").split())


def _label(entry: Entry) -> str:
    people = entry.persons.get("author") or entry.persons.get("editor") or []
    names = [_clean(" ".join([*person.prelast_names, *person.last_names])) for person in people]
    who = names[0] if names else _clean(entry.fields.get("title", entry.key))
    if len(names) == 2:
        who = f"{names[0]} & {names[1]}"
    elif len(names) > 2:
        who = f"{names[0]} et al."
    return f"{who} {_clean(entry.fields.get('year', ''))}".strip()


def _link(entry: Entry) -> str:
    fields = entry.fields
    if fields.get("doi"):
        return "https://doi.org/" + fields["doi"].removeprefix("https://doi.org/")
    if fields.get("eprint"):
        return "https://arxiv.org/abs/" + fields["eprint"]
    return fields.get("url", "")


@lru_cache(maxsize=8)
def _parse(text: str) -> dict[str, Reference]:
    entries = parse_string(text, "bibtex").entries
    return {key: Reference(_label(e), _clean(e.fields.get("title", "")), _link(e)) for key, e in entries.items()}


def load(path: Path | None = None) -> dict[str, Reference]:
    """Read a BibTeX file, by default book/references.bib; an absent one is an empty bibliography."""
    path = path or paths.bibliography()
    return _parse(path.read_text(encoding="utf-8")) if path.exists() else {}


def as_link(reference: Reference) -> str:
    return f"[{reference.label}]({reference.link})" if reference.link else reference.label
