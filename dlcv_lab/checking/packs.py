"""Find, read and write check packs: what lets `check` work at once and without a network.

A root holds one folder a chapter: `<root>/<slug>/<exercise>.pack` and `<root>/<slug>/chapter.json`. Roots are looked at
in this order, and the first that holds the chapter serves it: the folder named by DLCV_PACKS; `.dlcv/packs` in the
nearest folder above; the package's own `packs`; the checkout's build/packs.
"""

from __future__ import annotations

import difflib
import functools
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dlcv_lab
from dlcv_lab.checking.model import Pack
from dlcv_lab.files import write_whole

REMEDY = (
    "work in a folder of the course's repository, install the course's own wheel of dlcv-lab, "
    "or run `dlcv assemble` in the checkout"
)


class PacksError(Exception):
    """A chapter, exercise or pack that is not there or cannot be read; the message says what to do."""

    def _render_traceback_(self) -> list[str]:
        """Show a student one line instead of our own frames (IPython calls this)."""
        return [f"dlcv: {self}"]


@dataclass(frozen=True)
class Notebook:
    """One notebook of a chapter as its table of contents names it."""

    stem: str
    title: str
    minutes: int
    exercises: tuple[str, ...]
    written: tuple[str, ...] = ()  # questions that are marked by hand
    written_points: Mapping[str, float] = field(default_factory=dict, hash=False)  # empty in files of older packages


@dataclass(frozen=True)
class Chapter:
    """One chapter's table of contents, and the folder of its packs."""

    key: str  # "ch03"
    slug: str
    title: str
    version: str
    notebooks: tuple[Notebook, ...]
    folder: Path
    extras: tuple[str, ...] = ()  # of the package, such as "vl"
    python: str = ""  # the version of Python that released it, and grades: "3.11"

    @property
    def exercises(self) -> tuple[str, ...]:
        """Return the names of all exercises, in the order of the notebooks."""
        return tuple(name for notebook in self.notebooks for name in notebook.exercises)

    @property
    def written(self) -> tuple[str, ...]:
        """Return the names of all written questions; no program marks them."""
        return tuple(name for notebook in self.notebooks for name in notebook.written)

    def notebook_of(self, exercise: str) -> Notebook:
        return next(notebook for notebook in self.notebooks if exercise in notebook.exercises)


def roots(start: Path | None = None) -> Iterator[Path]:
    """Yield every folder that may hold packs, the first choice first."""
    if named := os.environ.get("DLCV_PACKS"):
        yield Path(named)
    here = (start or Path.cwd()).resolve()
    for place in (here, *here.parents):
        if (place / ".dlcv" / "packs").is_dir():
            yield place / ".dlcv" / "packs"
            break
    package = Path(dlcv_lab.__file__).parent
    yield package / "packs"
    build = os.environ.get("DLCV_BUILD")
    yield (Path(build) if build else package.parent / "build") / "packs"


def chapters(start: Path | None = None) -> dict[str, Chapter]:
    """Return every chapter that can be checked from here, by key, in order.

    Raises:
        PacksError: a table of contents that cannot be read.
    """
    found: dict[str, Chapter] = {}
    for root in roots(start):
        for path in sorted(root.glob("ch*/chapter.json")):
            if _taken_away(path.parent):
                continue
            chapter = _contents(path)
            found.setdefault(chapter.key, chapter)
    return dict(sorted(found.items()))


def _taken_away(folder: Path) -> bool:
    """Tell whether these are left-over packs of a chapter that an author removed from the checkout."""
    checkout = Path(dlcv_lab.__file__).parent.parent
    return folder.parent == checkout / "build" / "packs" and not (checkout / "chapters" / folder.name).is_dir()


def _contents(path: Path) -> Chapter:
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        notebooks = tuple(
            Notebook(
                item["stem"],
                item["title"],
                int(item["minutes"]),
                tuple(item["exercises"]),
                tuple(item.get("written", ())),
                dict(item.get("written_points", {})),
            )
            for item in raw["notebooks"]
        )
        extras = tuple(raw.get("extras", ()))
        python = str(raw.get("python", ""))
        return Chapter(
            raw["chapter"], raw["slug"], raw["title"], raw["version"], notebooks, path.parent, extras, python
        )
    except (ValueError, KeyError, TypeError) as error:
        raise PacksError(f"{path} cannot be read ({error}); {REMEDY}") from None


def find_chapter(name: str, start: Path | None = None) -> Chapter:
    """Return a chapter by key, number or slug: "ch03", "3", "ch03_convolutional_networks".

    Raises:
        PacksError: there is no such chapter here; the nearest name is suggested.
    """
    held = chapters(start)
    wanted = name.strip().rstrip("/")
    key = f"ch{int(wanted):02d}" if wanted.isdigit() else wanted.lower()
    for chapter in held.values():
        if key in (chapter.key, chapter.slug):
            return chapter
    if not held:
        raise PacksError(f"no exercises were found from {start or Path.cwd()}: {REMEDY}")
    raise PacksError(f"there is no chapter {name!r} here.{_near(wanted, [*held])} There are: {', '.join(held)}")


def load_pack(chapter: str, name: str, start: Path | None = None) -> Pack:
    """Return the pack of an exercise: `load_pack("ch03", "conv2d")`.

    Raises:
        PacksError: unknown chapter or exercise, or a damaged pack.
    """
    found = find_chapter(chapter, start)
    if name not in found.exercises:
        raise PacksError(
            f"{found.key} has no exercise {name!r}.{_near(name, found.exercises)} It has: {', '.join(found.exercises)}"
        )
    path = found.folder / f"{name}.pack"
    if not path.exists():
        raise PacksError(f"{path} is missing; {REMEDY}")
    return _read(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _read(path: Path, _: int) -> Pack:
    from dlcv_lab.checking.envelope import EnvelopeError  # torch comes with it, and takes seconds
    from dlcv_lab.checking.wire import decode_pack

    try:
        return decode_pack(path.read_bytes())
    except EnvelopeError as error:
        raise PacksError(f"{path} is damaged ({error}); {REMEDY}") from None


def list_packs(chapter: str | None = None, start: Path | None = None) -> list[tuple[str, str]]:
    """Return (chapter key, exercise name) of everything that can be checked from here, in order."""
    held = [find_chapter(chapter, start)] if chapter else list(chapters(start).values())
    return [(found.key, name) for found in held for name in found.exercises]


def find_exercise(name: str, chapter: str | None = None, start: Path | None = None) -> tuple[str, str]:
    """Return (chapter key, name) for "ch03.conv2d", or for "conv2d" in `chapter` or in the only chapter that has it.

    Raises:
        PacksError: no such exercise, or several chapters have one of this name.
    """
    if "." in name:
        chapter, _, name = name.partition(".")
    if chapter:
        key = find_chapter(chapter, start).key
        load_pack(key, name, start)
        return key, name
    matches = [pair for pair in list_packs(start=start) if pair[1] == name]
    if len(matches) == 1:
        return matches[0]
    if matches:
        choices = ", ".join(f"{key}.{name}" for key, _ in matches)
        raise PacksError(f"several chapters have an exercise {name!r}; say which: {choices}")
    known = [exercise for _, exercise in list_packs(start=start)]
    if not known:
        raise PacksError(f"no exercises were found from {start or Path.cwd()}: {REMEDY}")
    raise PacksError(f"there is no exercise {name!r}.{_near(name, known)}")


def save_pack(pack: Pack, path: Path) -> None:
    """Write a pack in one step. The same pack gives the same bytes."""
    from dlcv_lab.checking.wire import encode_pack

    write_whole(path, encode_pack(pack), sync=False)


def _near(name: str, known: Iterator[str] | tuple[str, ...] | list[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""
