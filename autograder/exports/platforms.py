"""Canvas and Moodle: fill one column of the file that the platform exported, and leave everything else as it is."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autograder.base.wording import points
from autograder.exports import ExportError
from autograder.exports.scores import Score
from autograder.exports.tables import Field, Table, read

Record = tuple[Field, ...]
_EXCUSED = ("ex", "excused")  # as Canvas writes and reads it
_TEST_STUDENT = "student, test"  # Canvas's own, in every export of a course that has been looked at as a student


@dataclass(frozen=True)
class Platform:
    """How a platform's file names things."""

    name: str
    identities: tuple[str, ...]  # columns that may tell a student, the best first
    column: str = ""  # the column of the score, where the platform has only one
    maximum: str = ""  # the column of the largest score
    locked: tuple[str, str] = ("", "")  # column and text of rows that may not be changed


CANVAS = Platform("Canvas", ("SIS Login ID", "SIS User ID", "ID", "Student"))
MOODLE = Platform(
    "Moodle", ("Email address", "Username", "ID number", "Identifier", "Full name"), "Grade", "Maximum Grade",
    ("Grade can be changed", "No"),
)  # fmt: skip


@dataclass
class Filled:
    """The new file, and what did not find its place."""

    data: bytes
    matched_by: str
    filled: list[str] = field(default_factory=list)  # students
    rows_without_student: list[str] = field(default_factory=list)
    students_without_row: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)  # students whose row stays as the platform has it

    def sums(self) -> str:
        """Return in one sentence what became of every row and of every student."""
        rows = len(self.filled) + len(self.left) + len(self.rows_without_student)
        return (
            f"{rows} rows: {len(self.filled)} filled in, {len(self.left)} left as they are, "
            f"{len(self.rows_without_student)} without a student in the gradebook. "
            f"{len(self.students_without_row)} students without a row."
        )


def fill(
    path: Path,
    scores: Sequence[Score],
    platform: Platform,
    *,
    column: str = "",
    match: str = "",
    scale: bool = False,
    decimal: str = ".",
) -> Filled:
    """Fill the scores of one chapter into a platform's file.

    Args:
        path: the exported file.
        scores: of one chapter.
        platform: CANVAS or MOODLE.
        column: the column to fill; needed for Canvas, where each assignment has one.
        match: the column that tells a student; by default the one in which most students are found.
        scale: bring scores to the platform's largest score where that is another one.
        decimal: "." or ",", as the platform's language has it.

    Raises:
        ExportError: the file cannot be read, has no such column, or another largest score.
    """
    wanted = column or platform.column
    if not wanted:
        header = read(path, platform.identities[-1:]).header
        choices = [title for title in header if title.strip() not in (*platform.identities, "Section")]
        raise ExportError(f"name the column to fill with --column; {path} has {', '.join(map(repr, choices))}")
    table = read(path, [wanted, *([match] if match else [])])
    place = table.column(wanted)
    identity = match or _best_identity(table, scores, platform)
    known = _by_name(scores)
    filled = Filled(b"", identity)
    values: dict[int, str] = {}
    used: dict[str, int] = {}
    for number, record in enumerate(table.records[1:], 1):
        said = record[table.column(identity)].text
        if _is_points_row(record[0].text) or _plain(record[0].text) == _TEST_STUDENT:
            continue
        score = known.get(_plain(said))
        if score is not None and score.student not in used and _plain(record[place].text) in _EXCUSED:
            used[score.student] = number
            filled.left.append(score.student)
            filled.notices.append(f"{score.student}, line {number + 1}: excused on the platform; it stays so")
            continue
        if score is None:
            filled.rows_without_student.append(said.strip() or f"line {number + 1}")
        elif score.student in used:
            raise ExportError(
                f"{path}: {score.student} is found in two rows ({said!r}); use another column with --match"
            )
        elif _is_locked(table, record, platform):
            used[score.student] = number
            filled.left.append(score.student)
            filled.notices.append(f"{score.student}: the platform does not let this grade be changed; left as it is")
        else:
            used[score.student] = number
            factor = _factor(path, _told_maximum(table, record, place, platform), score, scale)
            values[number] = points(score.score * factor).replace(".", decimal)
            filled.filled.append(score.student)
    filled.students_without_row = [score.student for score in scores if score.student not in used]
    waiting = [score.student for score in scores if score.waits and score.student in filled.filled]
    if waiting:
        filled.notices.append(f"still to be marked by hand, exported as they are now: {', '.join(waiting)}")
    if not values and not filled.left:
        raise ExportError(f"{path}: no row belongs to a student of the gradebook (looked at {identity!r}); use --match")
    filled.data = table.with_values(place, values)
    return filled


def _plain(text: str) -> str:
    """Return a name for comparing: NFKC, lower case, single spaces, one kind of apostrophe."""
    text = unicodedata.normalize("NFKC", text).replace("\u2019", "'").replace("\u02bc", "'")
    return " ".join(text.casefold().split())


def _by_name(scores: Iterable[Score]) -> dict[str, Score]:
    """Return scores by everything that a student is known by; what two students share tells neither of them."""
    found: dict[str, Score | None] = {}
    for score in scores:
        for name in {_plain(name) for name in score.names()}:
            found[name] = score if name not in found else None
    for score in scores:  # an identifier is never given up for somebody else's name
        found[_plain(score.student)] = score
    return {name: score for name, score in found.items() if score is not None}


def _best_identity(table: Table, scores: Sequence[Score], platform: Platform) -> str:
    known = _by_name(scores)
    titles = [title.strip() for title in table.header]
    there = [name for name in platform.identities if name in titles]
    if not there:
        raise ExportError(
            f"{table.path} has none of the columns {', '.join(map(repr, platform.identities))}; name the one that "
            f"tells a student with --match. It has {', '.join(map(repr, titles))}"
        )

    def found(name: str) -> int:
        column = titles.index(name)
        return sum(_plain(record[column].text) in known for record in table.records[1:])

    return max(there, key=found)  # of equals, the first


def _is_points_row(text: str) -> bool:
    return text.strip().casefold() == "points possible"


def _is_locked(table: Table, record: Record, platform: Platform) -> bool:
    column, word = platform.locked
    titles = [title.strip() for title in table.header]
    return column in titles and record[titles.index(column)].text.strip().casefold() == word.casefold()


def _told_maximum(table: Table, record: Record, column: int, platform: Platform) -> str:
    """Return what the file says about the largest score: in the row's own column, or in Canvas's second row."""
    titles = [title.strip() for title in table.header]
    if platform.maximum in titles:
        return record[titles.index(platform.maximum)].text
    return next((row[column].text for row in table.records[1:] if _is_points_row(row[0].text)), "")


def _factor(path: Path, told: str, score: Score, scale: bool) -> float:
    """Return what a score is multiplied with; refuse where the platform counts otherwise and nobody said --scale."""
    try:
        most = float(told.strip().replace(",", "."))
    except ValueError:
        return 1.0
    if abs(most - score.max_score) <= 1e-9:
        return 1.0
    if scale and score.max_score:
        return most / score.max_score
    raise ExportError(
        f"{path}: the platform counts up to {points(most)}, the chapter up to {points(score.max_score)} points. "
        "Change it there, or use --scale"
    )
