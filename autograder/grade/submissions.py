"""Find the submissions of a class: nbgrader's folders, flat files, or a zip of either. Nothing is trusted."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from autograder.grade.accounting import (
    Account,
    Fate,
    Given,
    chapter_folder,
    chapter_in,
    choose,
    is_notebook,
    notebook_meant,
    one_form,
)

MAX_NOTEBOOK = 20 * 2**20  # bytes
MAX_TOTAL = 4 * 2**30  # bytes of a whole archive, unpacked
MAX_FILES = 50_000
MAX_RATIO = 200  # unpacked : packed

_FLAT = re.compile(r"^(?P<student>.+?)__(?P<file>.+\.ipynb(\.(txt|json))?)$", re.DOTALL | re.IGNORECASE)
_TOOLS = frozenset({".git", ".venv", "venv", "node_modules", "__pycache__", ".ipynb_checkpoints"})
_TOOLS_FILE = "..."  # stands for what such a folder holds
_NO_STUDENT = "its name says no student; expected <student>/<chapter>/<notebook>.ipynb or <student>__<notebook>.ipynb"
_Entry = tuple[tuple[str, ...], Path | None, str]


class SubmissionsError(ValueError):
    """The folder or archive as a whole cannot be used; the message says why and what is expected."""


@dataclass
class Submission:
    """What one student handed in for one chapter."""

    student: str
    files: dict[str, Path] = field(default_factory=dict)  # notebook stem -> file
    problems: dict[str, str] = field(default_factory=dict)  # notebook stem -> why its file is not read
    beside: dict[str, tuple[str, ...]] = field(default_factory=dict)  # notebook stem -> files that lay beside it


def collect(
    place: Path, slug: str, stems: list[str], unpack_to: Path, refused: Callable[[str], None] = lambda why: None
) -> list[Submission]:
    """Return the submissions of chapter `slug` below `place`, sorted by student; `refused` is told what was left out.

    See `account`, which also says what became of every file.
    """
    submissions, account = accounted(place, slug, stems, unpack_to)
    said = {submission.student for submission in submissions if submission.problems}  # in the table, with the reason
    for fate in account.findings:
        if fate.student not in said:
            refused(fate.line())
    return submissions


def accounted(
    place: Path, slug: str, stems: Sequence[str], unpack_to: Path, expected: Iterable[str] = ()
) -> tuple[list[Submission], Account]:
    """Return the submissions of chapter `slug` below `place`, sorted by student, and the account of every file.

    Args:
        place: DIR/<student>/.../<slug>/<notebook>.ipynb, DIR/<student>__<notebook>.ipynb, or a zip of either. A
            student's folder may be a whole repository. Links and devices are problems of their submission.
        slug: the chapter.
        stems: its notebooks.
        unpack_to: where a zip is unpacked.
        expected: the class, where it is known; who of it handed in nothing is counted.

    Raises:
        SubmissionsError: nothing can be read at all.
    """
    if place.is_file() and zipfile.is_zipfile(place):
        given = _owned(_unpack(place, unpack_to), slug, stems)
        folders: list[str] = []
    elif place.is_dir():
        given, folders = _walk(place, stems)
    else:
        raise SubmissionsError(f"{place} is neither a folder nor a zip file")
    account = Account()
    by_student: dict[str, list[Given]] = {}
    for one in given:
        fault = name_problem(one.student) if one.student else ""
        if one.student and not fault:
            by_student.setdefault(one.student, []).append(one)
        elif one.parts[:1] != ("__MACOSX",) and (fault or one.problem or is_notebook(one.name)):
            why = f"{fault}; rename it and run again" if fault else one.problem or _NO_STUDENT
            account.fates.append(Fate(repr(one.name), "", "refused", why))
        else:
            account.fates.append(Fate(repr(one.name), "", "no concern", "it belongs to no student"))
    found: list[Submission] = []
    for student, files in sorted(by_student.items()):
        chosen = choose(files, slug, stems, begins)
        account.fates += chosen.fates
        if chosen.files or chosen.problems:
            taken = {stem: one.path for stem, one in chosen.files.items() if one.path is not None}
            beside = {stem: tuple(fate.file for fate in chosen.fates if fate.stem == stem and fate.outcome == "refused")
                      for stem in taken}  # fmt: skip
            found.append(Submission(student, taken, chosen.problems, beside))
    known = {submission.student for submission in found}
    everybody = {*map(one_form, folders), *by_student, *map(one_form, expected)}
    account.missing = sorted(student for student in everybody - known if not name_problem(student))
    if not found:
        reasons = "".join(f"\n{fate.line()}" for fate in account.findings[:20])
        raise SubmissionsError(
            f"{place} holds no notebook of {slug}; expected <student>/{slug}/{stems[0]}.ipynb or "
            f"<student>__{stems[0]}.ipynb{reasons}"
        )
    return found, account


def begins(one: Given) -> str:
    """Return the chapter that a notebook file's text begins, "ch03", or nothing."""
    if one.path is None or one.problem:
        return ""
    try:
        return chapter_in(read_bytes(one.path))
    except OSError:
        return ""


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


def folder_of(submitted: Path, student: str) -> Path:
    """Return a student's folder, whose name may be written in another Unicode form than the student's."""
    folder = submitted / student
    if folder.is_dir() or not submitted.is_dir():
        return folder
    return next((path for path in submitted.iterdir() if one_form(path.name) == student), folder)


def _walk(place: Path, stems: Sequence[str]) -> tuple[list[Given], list[str]]:
    """Return the files below a folder, and the names of the students' folders; links are never followed."""
    given: list[Given] = []
    folders: list[str] = []
    with os.scandir(place) as listing:
        top = sorted(listing, key=lambda entry: entry.name)
    for entry in top:
        student = one_form(entry.name)
        if entry.is_dir(follow_symlinks=False):
            folders += [] if student.startswith(".") else [student]
            given += [] if student.startswith(".") else files_of(Path(entry.path), student)
        elif entry.is_dir():
            given.append(Given(entry.name, student, (), problem="the folder is a link"))
        else:
            given.append(_flat(entry.name, stems, Path(entry.path), _file_problem(Path(entry.path))))
    return given, folders


def files_of(folder: Path, student: str) -> Iterator[Given]:
    """Yield every file of one student; what programs keep for themselves (.git) counts as one file."""
    left = MAX_FILES
    unreadable: list[OSError] = []
    for here, inner, names in os.walk(folder, onerror=unreadable.append):
        at = Path(here)
        where = at.relative_to(folder).parts
        for name in sorted(inner):
            told = "/".join((folder.name, *where, name))
            if (at / name).is_symlink():
                yield Given(told, student, (), problem="the folder is a link")
            elif name in _TOOLS:
                yield Given(told, student, (*where, name, _TOOLS_FILE))
        inner[:] = sorted(name for name in inner if name not in _TOOLS and not (at / name).is_symlink())
        for name in sorted(names):
            left -= 1
            if left < 0:
                why = f"this folder holds more than {MAX_FILES} files; the rest was not looked at"
                yield Given(f"{folder.name}/", student, (), problem=why)
                return
            parts = tuple(map(one_form, (*where, name)))
            path = at / name
            problem = _file_problem(path) if is_notebook(name) else ""
            yield Given("/".join((folder.name, *where, name)), student, parts, path, problem)
    for error in unreadable:
        told = os.path.relpath(error.filename or folder, folder.parent)
        yield Given(told, student, (), problem=f"the folder cannot be read: {error.strerror}")


def _flat(name: str, stems: Sequence[str], path: Path | None, problem: str) -> Given:
    """Return a file that lies in no student's folder: <student>__<notebook>.ipynb names its student, others nobody."""
    match = _FLAT.match(one_form(name))
    if match is None or notebook_meant(f"{match['student']}.ipynb", stems)[0]:  # lesson_1__20261104.ipynb is no name
        return Given(name, "", (name,), path, problem)
    return Given(name, match["student"], (match["file"],), path, problem, meant=True)


def _owned(entries: list[_Entry], slug: str, stems: Sequence[str]) -> list[Given]:
    """Tell whose the files of an archive are: the first folder below all those that hold the whole class."""
    above: dict[int, tuple[str, ...]] = {}  # number of an entry -> folders above its chapter's folder
    for number, (parts, _, _) in enumerate(entries):
        if not _leads_out(parts) and parts[0] != "__MACOSX":
            found = chapter_folder(parts[:-1], slug)
            folders = parts[: found[0] if found else -1]
            above[number] = folders[1:] if folders[:1] == ("submitted",) else folders  # nbgrader's own folder
    wrapped = 0
    foldered = [folders for folders in above.values() if folders]
    while foldered and all(len(one) > wrapped + 1 and one[wrapped] == foldered[0][wrapped] for one in foldered):
        wrapped += 1
    given = []
    for number, (parts, path, problem) in enumerate(entries):
        name, inner = "/".join(parts), above.get(number, ())
        flat = _flat(parts[-1], stems, path, problem)
        if number in above and flat.student and len(inner) <= wrapped + 1 and chapter_folder(parts, slug) is None:
            given.append(replace(flat, name=name))
        elif len(inner) > wrapped:
            below = parts[wrapped + 1 + (parts[0] == "submitted") :]
            given.append(Given(name, inner[wrapped], below, path, problem))
        else:
            given.append(Given(name, "", parts, path, problem))
    return given


def _leads_out(parts: Sequence[str]) -> bool:
    return ".." in parts or parts[:1] == ("/",)


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
                name = _item_name(item)
                parts = PurePosixPath(name).parts
                if name.endswith("/") or not parts:
                    continue
                problem = _item_problem(item, parts)
                path = target / f"{number}.ipynb"
                if not problem and is_notebook(parts[-1]) and parts[0] != "__MACOSX":
                    written = _copy(opened, item, path)
                    total += written
                    if written > MAX_NOTEBOOK:
                        problem = "the notebook is larger than 20 MiB"
                    if total > MAX_TOTAL:
                        raise SubmissionsError(f"{archive} unpacks to more than {MAX_TOTAL >> 30} GiB")
                entries.append((parts, path, problem))
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise SubmissionsError(f"{archive} is not a sound zip file: {error}") from None
    return entries


def _item_name(item: zipfile.ZipInfo) -> str:
    """Return the name of an archive's item: NFC, "/" between folders.

    Windows PowerShell 5 writes backslashes, and macOS writes UTF-8 without saying so.
    """
    name = item.filename
    if not item.flag_bits & 0x800 and not name.isascii():
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return one_form(name.replace("\\", "/"))


def _item_problem(item: zipfile.ZipInfo, parts: tuple[str, ...]) -> str:
    if _leads_out(parts):
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
