"""nbgrader's CSV, made safe: quoted, no cell that a spreadsheet would run, UTF-8 with a byte order mark on request."""

from __future__ import annotations

from collections.abc import Iterable

from autograder.exports.scores import COLUMNS, Score
from autograder.exports.tables import harmless, rows_as_csv


def export(scores: Iterable[Score], *, bom: bool = False) -> bytes:
    """Return the table with nbgrader's own columns, in nbgrader's order."""
    rows = [
        [
            *map(harmless, (score.assignment, score.duedate, score.timestamp, score.student)),
            *map(harmless, (score.last_name, score.first_name, score.email)),
            *map(str, (score.raw_score, score.penalty, score.score, score.max_score)),
        ]
        for score in scores
    ]
    return rows_as_csv([COLUMNS, *rows], bom=bom)
