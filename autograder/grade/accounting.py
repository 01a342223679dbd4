"""Which file counts for which student and notebook, and what becomes of every other one: nobody vanishes.

Every file of what was given has one fate: taken, refused with a reason, ambiguous, or of no concern to this chapter
(another chapter's, a picture, Jupyter's own copies). A near name, "Copy of lesson_1.ipynb", is taken where only one
notebook can be meant, and told. Nothing is opened here but to see which chapter a stray notebook begins.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

Outcome = Literal["taken", "refused", "ambiguous", "no concern"]
OUTCOMES: tuple[Outcome, ...] = ("taken", "refused", "ambiguous", "no concern")

_NOTEBOOK = re.compile(r"^(?P<body>.+)\.ipynb(\.(txt|json))?$", re.DOTALL)
_CHAPTER_FOLDER = re.compile(r"^(ch\d\d)(?![0-9a-z])")
_BEGINS = re.compile(rb"""\bstart\(\s*\\?["'](ch\d\d)""")
_OWN = "a program's own file"
_OTHER = "of another chapter"
_NO_NOTEBOOK = "no notebook of this chapter"
CheckChapter = Callable[["Given"], str]


@dataclass(frozen=True)
class Given:
    """One file of what was given."""

    name: str  # its path as it was given, for people
    student: str
    parts: tuple[str, ...]  # its path below the student's folder; () for a folder that is a link
    path: Path | None = None
    problem: str = ""  # why it may not be opened
    meant: bool = False  # named for this chapter without a folder: <student>__lesson_1.ipynb


@dataclass(frozen=True)
class Fate:
    """What became of one file. `why` is empty where it was taken under its own name."""

    file: str
    student: str
    outcome: Outcome
    why: str = ""
    stem: str = ""  # the notebook that it is, where one is meant

    def line(self) -> str:
        """Return the fate as one line for people."""
        who = f"{self.student}: " if self.student and not self.file.startswith(self.student) else ""
        return f"{who}{self.file}: {self.outcome}, {self.why}" if self.why else f"{who}{self.file}: {self.outcome}"


@dataclass
class Account:
    """The fates of all files, and of all students."""

    fates: list[Fate] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # students of whom nothing of this chapter was given

    @property
    def findings(self) -> list[Fate]:
        """Return the files that should have been taken and were not."""
        return [fate for fate in self.fates if fate.outcome in ("refused", "ambiguous")]

    @property
    def told(self) -> list[Fate]:
        """Return the files that were taken though they have another name."""
        return [fate for fate in self.fates if fate.outcome == "taken" and fate.why]

    def students(self) -> dict[str, list[str]]:
        """Return the students by what became of them: read, nothing read, nothing handed in."""
        taken = {fate.student for fate in self.fates if fate.outcome == "taken" and fate.student}
        nothing = {fate.student for fate in self.findings if fate.student} - taken
        missing = set(self.missing) - taken - nothing
        return {"read": sorted(taken), "nothing read": sorted(nothing), "nothing handed in": sorted(missing)}

    def counts(self) -> dict[str, int]:
        """Return how many files have each fate."""
        return {outcome: sum(fate.outcome == outcome for fate in self.fates) for outcome in OUTCOMES}

    def sums(self) -> str:
        """Return the sums in one sentence."""
        people = self.students()
        files = ", ".join(f"{count} {outcome}" for outcome, count in self.counts().items())
        heads = ", ".join(f"{len(names)} {kind}" for kind, names in people.items())
        return f"{len(self.fates)} files: {files}. {sum(map(len, people.values()))} students: {heads}."

    def as_data(self) -> dict[str, Any]:
        """Return the account as plain data for JSON."""
        people = self.students()
        return {
            "files": {"given": len(self.fates), **self.counts()},
            "students": {"given": sum(map(len, people.values())), **{kind: len(n) for kind, n in people.items()}},
            "not_taken": [_plain(fate) for fate in self.findings],
            "taken_under_another_name": [_plain(fate) for fate in self.told],
            "nothing_read": people["nothing read"],
            "nothing_handed_in": people["nothing handed in"],
        }

    def unreadable(self, reasons: Mapping[tuple[str, str], str]) -> None:
        """Move files that were taken and then could not be read to those that are refused; (student, stem) -> why."""
        self.fates = [
            replace(fate, outcome="refused", why=reasons[fate.student, fate.stem])
            if fate.outcome == "taken" and (fate.student, fate.stem) in reasons
            else fate
            for fate in self.fates
        ]


def _plain(fate: Fate) -> dict[str, str]:
    return {"file": fate.file, "student": fate.student, "outcome": fate.outcome, "why": fate.why}


@dataclass
class Choice:
    """What was chosen of one student's files."""

    files: dict[str, Given] = field(default_factory=dict)  # notebook stem -> file
    problems: dict[str, str] = field(default_factory=dict)  # notebook stem -> why nothing is read
    fates: list[Fate] = field(default_factory=list)


def one_form(name: str) -> str:
    """Return a name in the one form in which names are compared: NFC."""
    return unicodedata.normalize("NFC", name)


def notebook_meant(name: str, stems: Sequence[str]) -> tuple[list[str], bool]:
    """Return the notebooks that a file's name can mean, and whether it is exactly one's own."""
    if name.endswith(".ipynb") and name.removesuffix(".ipynb") in stems:
        return [name.removesuffix(".ipynb")], True
    match = _NOTEBOOK.match(one_form(name).casefold())
    if match is None:
        return [], False
    return [stem for stem in stems if _token(stem).search(match["body"])], False


def _token(stem: str) -> re.Pattern[str]:
    words = "[ _-]*".join(map(re.escape, re.split("[_-]", stem.casefold())))
    return re.compile(rf"(?<![0-9a-z]){words}(?![0-9a-z])")


def is_notebook(name: str) -> bool:
    """Tell whether a file's name ends as a notebook's, whatever a browser or a program added to it."""
    return _NOTEBOOK.match(name.casefold()) is not None


def chapter_in(raw: bytes) -> str:
    """Return the key of the chapter that a notebook's text begins, "ch03", or nothing."""
    match = _BEGINS.search(raw)
    return match[1].decode() if match else ""


def chapter_folder(parts: Iterable[str], slug: str) -> tuple[int, bool] | None:
    """Return where the first folder of a chapter stands in a path, and whether it is that of `slug`."""
    for index, part in enumerate(parts):
        name = part.casefold()
        if name == slug.casefold() or (match := _CHAPTER_FOLDER.match(name)):
            return index, name == slug.casefold() or (match is not None and match[1] == slug[:4])
    return None


def choose(
    given: Iterable[Given], slug: str, stems: Sequence[str], begins: CheckChapter, *, loose: bool = False
) -> Choice:
    """Choose the notebooks of one student; every file gets its fate.

    Args:
        given: the student's files.
        slug: the chapter.
        stems: its notebooks.
        begins: tells which chapter a file's text begins; asked for notebooks that lie in no chapter's folder.
        loose: notebooks in no chapter's folder count, unless their text begins another chapter.
    """
    made = Choice()
    rivals: dict[str, list[tuple[int, Given]]] = {stem: [] for stem in stems}
    for one in given:
        if not one.parts:
            made.fates.append(Fate(one.name, one.student, "refused", one.problem))
            continue
        place, aside = _place(one, slug, begins, loose)
        if place is None:
            made.fates.append(Fate(one.name, one.student, "no concern", aside))
            continue
        meant, exact = notebook_meant(one.parts[-1], stems)
        if len(meant) == 1:
            rivals[meant[0]].append((place + (not exact), one))
        elif meant:
            made.fates.append(Fate(one.name, one.student, "ambiguous", f"it could be {' or '.join(meant)}"))
        elif aside or place == 2 or not is_notebook(one.parts[-1]):
            made.fates.append(Fate(one.name, one.student, "no concern", aside or _NO_NOTEBOOK))
        else:
            why = f"no notebook of {slug[:4]} is called so: it has {', '.join(stems)}"
            made.fates.append(Fate(one.name, one.student, "refused", why))
    for stem, several in rivals.items():
        if several:
            _decide(made, stem, several)
    if not made.files and not made.problems:
        _nothing_read(made, stems)
    return made


def _place(one: Given, slug: str, begins: CheckChapter, loose: bool) -> tuple[int | None, str]:
    """Return how near a file lies to where it belongs (0, 1, 2), or None and why it is of no concern."""
    if ".ipynb_checkpoints" in one.parts or one.parts[-1].startswith("._") or "__MACOSX" in one.parts:
        return None, _OWN
    if one.meant:
        return 0, ""
    folder = chapter_folder(one.parts[:-1], slug)
    if folder is not None:
        at_home = folder[0] == len(one.parts) - 2 and one.parts[-2].casefold() in (slug.casefold(), slug[:4])
        return (None, _OTHER) if not folder[1] else (0 if at_home else 1, "")
    if not is_notebook(one.parts[-1]):
        return None, _NO_NOTEBOOK
    begun = begins(one)
    if begun == slug[:4] or (loose and not begun):
        return 2, ""
    return None, _OTHER if begun else _NO_NOTEBOOK


def _decide(made: Choice, stem: str, several: list[tuple[int, Given]]) -> None:
    """Take the file that is nearest to a notebook's own name and place; of two that are equally near, none."""
    best = min(rank for rank, _ in several)
    nearest = [one for rank, one in several if rank == best]
    if len(nearest) > 1:
        names = " and ".join(repr("/".join(one.parts)) for one in nearest[:3])
        made.problems[stem] = f"this notebook was handed in twice, {names}; keep one, called {stem}.ipynb"
        made.fates += [Fate(one.name, one.student, "ambiguous", f"another file is {stem}, too", stem)
                       for _, one in several]  # fmt: skip
        return
    taken = nearest[0]
    if taken.problem:
        made.problems[stem] = taken.problem
        made.fates.append(Fate(taken.name, taken.student, "refused", taken.problem, stem))
    else:
        made.files[stem] = taken
        told = f"for {stem}.ipynb of this chapter" if best else ""
        made.fates.append(Fate(taken.name, taken.student, "taken", told, stem))
    why = f"'{'/'.join(taken.parts)}' counts as {stem}; if this file is meant, call it {stem}.ipynb and remove that one"
    made.fates += [Fate(one.name, one.student, "refused", why, stem) for _, one in several if one is not taken]


def _nothing_read(made: Choice, stems: Sequence[str]) -> None:
    """Say of a student of whom files were given and none can be read that nothing is read, and why."""
    if not any(fate.why == _OTHER for fate in made.fates):  # else: a whole repository without this chapter
        made.fates = [replace(fate, outcome="refused") if fate.why == _NO_NOTEBOOK else fate for fate in made.fates]
    found = [fate for fate in made.fates if fate.outcome in ("refused", "ambiguous")]
    if found:
        told = "; ".join(f"{fate.file}: {fate.why}" for fate in found[:3])
        more = f"; and {len(found) - 3} files more" if len(found) > 3 else ""
        made.problems = dict.fromkeys(stems, f"nothing was read ({told}{more})")
