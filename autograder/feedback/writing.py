"""All pages of a chapter: feedback for every student, the class summary and its JSON. Each is whole or not there."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from autograder import sandbox
from autograder.chapter.rows import Row
from autograder.feedback import as_submitted, class_report, student_page
from autograder.feedback.smallest import SHRUNK, Kept, Shrinker
from autograder.grade import recording
from autograder.grade.autograded import cells_of
from autograder.grade.gradebook import GradebookError, open_book
from autograder.grade.journal import Entry
from autograder.grade.marking import Marker
from autograder.grade.submissions import read_bytes
from autograder.release import packing
from autograder.release.course import Course
from dlcv_lab.checking.notebook_reader import UnreadableError
from dlcv_lab.files import write_whole


@dataclass(frozen=True)
class Written:
    """The pages that were written, and what to tell whoever asked for them."""

    pages: list[Path]
    summary: Path
    notice: str = ""


def write_all(
    course: Course,
    row: Row,
    entries: Iterable[Entry],
    *,
    cases: bool | None = None,
    search: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Written:
    """Write all pages of a chapter; see `cli.shared.write_feedback`."""
    counted = sorted(recording.with_decisions(course, row.slug, entries), key=lambda entry: entry.student)
    open_for, notice = (
        ({entry.student: cases for entry in counted}, "") if cases is not None else _open_for(course, row, counted)
    )
    shown = [entry for entry in counted if open_for[entry.student]]
    infos = {info.name: info for info in packing.infos_of(row)}
    files: dict[str, dict[str, Path]] = {}
    pages = []
    with tempfile.TemporaryDirectory(prefix="dlcv-pages-") as scratch:
        if course.folder("submitted").is_dir():
            files = {s.student: s.files for s in recording.handed_in(course, row, Path(scratch))}
        if search and shown:
            _search(course, row, shown, files, say)
        kept, title, secret = Kept(course.journal, row.slug), f"{row.key} {row.title}", course.secret()
        for entry in counted:
            path = student_page.page_path(course.root, entry, secret)
            text = student_page.page(
                entry, infos, title, show_cases=open_for[entry.student],
                smallest={r.name: found for r in entry.flat if (found := kept.get(entry, r))},
                outputs=_outputs(entry, files.get(entry.student, {})),
            )  # fmt: skip
            write_whole(path, text.encode("utf-8"))
            pages.append(path)
    return Written(pages, _write_summary(course, row, counted, pages, title), notice)


def _write_summary(course: Course, row: Row, entries: list[Entry], pages: list[Path], title: str) -> Path:
    links = {e.student: "../" + quote(p.relative_to(course.root).as_posix()) for e, p in zip(entries, pages)}
    judged = recording.journal_of(course, row.slug).latest()
    summary = class_report.summarise(entries, title, judged)
    path = class_report.report_path(course.root, row.slug)
    write_whole(path, class_report.page(summary, links).encode("utf-8"))
    text = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(path.with_suffix(".summary.json"), text.encode("utf-8"))
    return path


def _open_for(course: Course, row: Row, entries: list[Entry]) -> tuple[dict[str, bool], str]:
    """Return for whom failing cases may be shown, and a sentence where that may surprise. No deadline: for nobody."""
    closed = {entry.student: False for entry in entries}
    if course.feedback_cases == "never":
        return closed, ""
    due = _deadlines(course, row, closed)
    if not due:
        return closed, (
            f"No deadline of {row.key} is known, so no failing case is shown: set it in formgrader or in course.toml, "
            f"or write `dlcv feedback --chapter {row.key} --cases`."
        )
    now = datetime.now(UTC)
    return {student: student in due and due[student] < now for student in closed}, ""


def _deadlines(course: Course, row: Row, students: Iterable[str]) -> Mapping[str, datetime]:
    own = course.deadlines.get(row.key) or course.deadlines.get(row.slug)
    try:
        with open_book(course.database, row.slug, course.root) as book:
            if own is not None:
                return {student: own + book.extension(student) for student in students}
            return {student: due for student in students if (due := book.due(student)) is not None}
    except GradebookError:
        return {student: own for student in students} if own is not None else {}


def _outputs(entry: Entry, files: Mapping[str, Path]) -> dict[str, as_submitted.Outputs]:
    """Return what the judged notebooks had shown; a file that changed since shows nothing."""
    found = {}
    for stem, path in files.items():
        try:
            raw = read_bytes(path)
        except OSError:
            continue
        if hashlib.sha256(raw).hexdigest() == entry.digests.get(stem):
            found[stem] = as_submitted.outputs_of(cells_of(raw))
    return {stem: outputs for stem, outputs in found.items() if outputs.shown or outputs.left_out}


def _search(
    course: Course, row: Row, entries: list[Entry], files: Mapping[str, Mapping[str, Path]], say: Callable[[str], None]
) -> None:
    """Look for the smallest cases that are not known yet; what is found is kept at once."""
    kept = Kept(course.journal, row.slug)
    wanted = [
        (entry, stem, [r for r in results if any(c.verdict in SHRUNK for c in r.cases) and kept.get(entry, r) is None])
        for entry in entries
        for stem, results in entry.results.items()
    ]
    wanted = [(entry, stem, results) for entry, stem, results in wanted if results]
    if not wanted:
        return
    count = sum(len(results) for _, _, results in wanted)
    say(f"looking for the smallest failing case of {count} answers")
    with ExitStack() as stack:
        marker = stack.enter_context(Marker(row.slug, course.secret(), sandbox.require(course.min_isolation)))
        shrinker = Shrinker(marker)
        infos = {info.name: info for listed in marker.infos.values() for info in listed}
        for entry, stem, results in wanted:
            path = files.get(entry.student, {}).get(stem)
            if path is None:
                continue
            try:
                programs = marker.programs(stem, read_bytes(path))
            except (OSError, UnreadableError, sandbox.SandboxFault):
                continue
            for result in results:
                program = programs[result.name]
                if program.digest != result.attempt:  # other code than was judged: not what the verdict is about
                    continue
                found = shrinker.smallest(entry.student, infos[result.name], program, result)
                if found is not None:
                    kept.put(entry, result, found)
