"""Find the submissions of a class: nbgrader's folders, flat files, or a zip of either. Nothing is trusted."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import unicodedata
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

MAX_NOTEBOOK = 20 * 2**20  # bytes
MAX_TOTAL = 4 * 2**30  # bytes of a whole archive, unpacked
MAX_FILES = 50_000
MAX_RATIO = 200  # unpacked : packed

_FLAT = re.compile(r"^(?P<student>.+?)__(?P<stem>.+)\.ipynb$", re.DOTALL)


class SubmissionsError(ValueError):
    """The folder or archive as a whole cannot be used; the message says why and what is expected."""


@dataclass
class Submission:
    """What one student handed in for one chapter."""

    student: str
    files: dict[str, Path] = field(default_factory=dict)  # notebook stem -> file
    problems: dict[str, str] = field(default_factory=dict)  # notebook stem -> why its file is not read


def collect(
    place: Path, slug: str, stems: list[str], unpack_to: Path, refused: Callable[[str], None] = lambda why: None
) -> list[Submission]:
    """Return the submissions of chapter `slug` below `place`, sorted by student.

    `place` is DIR/<student>/<slug>/<notebook>.ipynb, DIR/<student>__<notebook>.ipynb, or a zip of either, which is
    unpacked below `unpack_to`. Links and devices are problems of their submission; `refused` is told about files whose
    student's name cannot be used. Raises `SubmissionsError` when nothing can be read at all.
    """
    found: dict[str, Submission] = {}
    if place.is_file() and zipfile.is_zipfile(place):
        entries = _unpack(place, unpack_to)
    elif place.is_dir():
        entries = _walk(place, slug)
    else:
        raise SubmissionsError(f"{place} is neither a folder nor a zip file")
    for parts, path, problem in entries:
        named = _student_and_stem(parts, slug)
        if named is None:
            continue
        student, stem = named
        if stem not in stems:
            continue
        if fault := name_problem(student):
            refused(f"{'/'.join(parts)!r}: {fault}; rename it and run again")
            continue
        submission = found.setdefault(student, Submission(student))
        if stem in submission.files or stem in submission.problems:
            problem = "this notebook was handed in twice; remove one of the two files"
            submission.files.pop(stem, None)
        if problem or path is None:
            submission.problems[stem] = problem
        else:
            submission.files[stem] = path
    if not found:
        raise SubmissionsError(
            f"{place} holds no notebook of {slug}; expected <student>/{slug}/{stems[0]}.ipynb or "
            f"<student>__{stems[0]}.ipynb"
        )
    return [found[student] for student in sorted(found)]


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a notebook, at most one more than `MAX_NOTEBOOK`; never through a link."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as source:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is not a regular file")
        return source.read(MAX_NOTEBOOK + 1)


def name_problem(student: str) -> str:
    """Say what is wrong with a student's name as an identifier, or nothing."""
    if not student or len(student) > 128:
        return "the student's name is empty or longer than 128 characters"
    if student.startswith(".") or any(c in "/\\*?[]" or unicodedata.category(c).startswith("C") for c in student):
        return "the student's name begins with a dot or holds one of / \\ * ? [ ] or an invisible character"
    return ""


_Entry = tuple[tuple[str, ...], Path | None, str]


def _student_and_stem(parts: tuple[str, ...], slug: str) -> tuple[str, str] | None:
    if len(parts) >= 3 and parts[-2] in (slug, slug[:4]) and parts[-1].endswith(".ipynb"):
        student, stem = parts[-3], parts[-1].removesuffix(".ipynb")
    elif match := _FLAT.match(parts[-1]):
        student, stem = match["student"], match["stem"]
    else:
        return None
    return student, stem


def _walk(place: Path, slug: str) -> list[_Entry]:
    entries: list[_Entry] = []
    with os.scandir(place) as listing:
        top = sorted(listing, key=lambda entry: entry.name)
    for entry in top:
        if entry.name.endswith(".ipynb"):
            entries.append(((entry.name,), Path(entry.path), _file_problem(Path(entry.path))))
            continue
        for folder in (Path(entry.path, slug), Path(entry.path, slug[:4])):
            linked = entry.is_symlink() or folder.is_symlink()
            with contextlib.suppress(OSError):
                if not folder.is_dir():
                    continue
                for name in sorted(os.listdir(folder)):
                    if name.endswith(".ipynb"):
                        path = folder / name
                        problem = "the folder is a link" if linked else _file_problem(path)
                        entries.append(((entry.name, folder.name, name), path, problem))
    return entries


def _file_problem(path: Path) -> str:
    try:
        mode = path.lstat().st_mode
    except OSError as error:
        return f"the file cannot be read: {error.strerror}"
    if stat.S_ISLNK(mode):
        return "the file is a link"
    return "" if stat.S_ISREG(mode) else "this is not a regular file"


def _unpack(archive: Path, target: Path) -> list[_Entry]:
    """Unpack the notebooks of an archive under our own names; sizes are counted, never believed."""
    entries: list[_Entry] = []
    total = 0
    try:
        with zipfile.ZipFile(archive) as opened:
            items = opened.infolist()
            if len(items) > MAX_FILES:
                raise SubmissionsError(f"{archive} holds {len(items)} files; {MAX_FILES} is the most")
            for number, item in enumerate(items):
                parts = PurePosixPath(item.filename).parts
                if item.is_dir() or not parts or not parts[-1].endswith(".ipynb") or parts[0] == "__MACOSX":
                    continue
                problem = _item_problem(item, parts)
                path = target / f"{number}.ipynb"
                if not problem:
                    written = _copy(opened, item, path)
                    total += written
                    if written > MAX_NOTEBOOK:
                        problem = "the notebook is larger than 20 MiB"
                    if total > MAX_TOTAL:
                        raise SubmissionsError(f"{archive} unpacks to more than {MAX_TOTAL >> 30} GiB")
                entries.append((parts[-3:], path, problem))
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise SubmissionsError(f"{archive} is not a sound zip file: {error}") from None
    return entries


def _item_problem(item: zipfile.ZipInfo, parts: tuple[str, ...]) -> str:
    if item.filename.startswith("/") or "\\" in item.filename or ".." in parts:
        return "its name in the archive leads out of the archive"
    if stat.S_ISLNK(item.external_attr >> 16):
        return "the file is a link"
    if item.flag_bits & 1:
        return "it is encrypted"
    if item.file_size > MAX_NOTEBOOK:
        return "the notebook is larger than 20 MiB"
    if item.file_size > 2**20 and item.file_size > MAX_RATIO * max(1, item.compress_size):
        return "it is packed more than 200-fold, as a zip bomb is"
    return ""


def _copy(opened: zipfile.ZipFile, item: zipfile.ZipInfo, path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with opened.open(item) as source, path.open("wb") as sink:
        while written <= MAX_NOTEBOOK and (part := source.read(2**20)):
            sink.write(part)
            written += len(part)
    return written
