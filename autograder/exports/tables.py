"""CSV that other people's files are made of: read with the place of every field, changed in one column, else kept.

A learning platform reads back its own file. So nothing is parsed and written anew: the bytes of the fields that are
filled in are replaced, and every other byte stays, with its quotes, line ends and byte order mark.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autograder.exports import ExportError

BOM = b"\xef\xbb\xbf"
MOST = 50 * 2**20  # bytes
_ACTS = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet takes a cell that begins so for a formula


@dataclass(frozen=True)
class Field:
    """One field and where its raw text, quotes included, stands in the table's text."""

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Table:
    """A CSV file: its text without the byte order mark, its delimiter, and its records."""

    path: Path
    text: str
    bom: bool
    delimiter: str
    records: tuple[tuple[Field, ...], ...]

    @property
    def header(self) -> list[str]:
        return [field.text for field in self.records[0]]

    def column(self, name: str) -> int:
        """Return the number of a column; its name must match but for spaces around it.

        Raises:
            ExportError: no column or several have this name.
        """
        found = [index for index, title in enumerate(self.header) if title.strip() == name.strip()]
        if len(found) != 1:
            many = "several columns are" if found else "no column is"
            raise ExportError(f"{self.path}: {many} called {name!r}; there are: {', '.join(map(repr, self.header))}")
        return found[0]

    def with_values(self, column: int, values: Mapping[int, str]) -> bytes:
        """Return the file's bytes with new text in one column; `values` has it by the number of the record."""
        parts, place = [], 0
        for number, record in enumerate(self.records):
            if number in values:
                field = record[column]
                parts += [self.text[place : field.start], quoted(values[number], self.delimiter, like=self.raw(field))]
                place = field.end
        return (BOM if self.bom else b"") + "".join([*parts, self.text[place:]]).encode("utf-8")

    def raw(self, field: Field) -> str:
        return self.text[field.start : field.end]


def read(path: Path, needed: Sequence[str]) -> Table:
    """Read a CSV file whose header has the columns `needed`; the delimiter is the one with which it does.

    Raises:
        ExportError: it cannot be read, is not UTF-8, lacks a column, or its records do not fit the header.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error.strerror}; export it from the platform again") from None
    if len(raw) > MOST:
        raise ExportError(f"{path} is larger than {MOST >> 20} MiB; is it the exported grades file?")
    bom = raw.startswith(BOM)
    try:
        text = raw[len(BOM) if bom else 0 :].decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ExportError(
            f"{path}, line {line}: not UTF-8. Save it as 'CSV UTF-8', or export it again and do not open it in between"
        ) from None
    if "\0" in text:
        raise ExportError(f"{path} holds zero bytes; it is no CSV file. Export it from the platform again")
    tables = [_table(path, text, bom, delimiter) for delimiter in ",;\t"]
    for table in tables:
        if table.records and all(any(t.strip() == name for t in table.header) for name in needed):
            _check(table)
            return table
    seen = max((table.header for table in tables if table.records), key=len, default=[])
    missing = [name for name in needed if name not in [title.strip() for title in seen]]
    names, there = ", ".join(map(repr, missing or needed)), ", ".join(map(repr, seen)) or "none"
    raise ExportError(f"{path} has no column {names}; it has {there}. Is it the file that the platform exported?")


def _table(path: Path, text: str, bom: bool, delimiter: str) -> Table:
    records = [record for record in _records(text, delimiter, path)]
    return Table(path, text, bom, delimiter, tuple(records))


def _records(text: str, delimiter: str, path: Path) -> Iterable[tuple[Field, ...]]:
    """Yield the records of a CSV text (RFC 4180; line ends of all three kinds); blank lines are no records."""
    place, fields = 0, list[Field]()
    while place < len(text) or fields:
        field, place = _field(text, place, delimiter)
        fields.append(field)
        if place < len(text) and text[place] == delimiter:
            place += 1
            if place == len(text):
                fields.append(Field("", place, place))
            else:
                continue
        if len(fields) > 1 or fields[0].end > fields[0].start:
            yield tuple(fields)
        fields = []
        if text.startswith("\r\n", place):
            place += 2
        elif place < len(text):
            place += 1


def _field(text: str, start: int, delimiter: str) -> tuple[Field, int]:
    if text[start : start + 1] != '"':
        end = start
        while end < len(text) and text[end] not in (delimiter, "\r", "\n"):
            end += 1
        return Field(text[start:end], start, end), end
    place, parts = start + 1, list[str]()
    while True:
        close = text.find('"', place)
        if close < 0:  # an open quote: the rest of the file is this field, which `_check` refuses
            return Field(text[start:], start, len(text)), len(text)
        parts.append(text[place:close])
        if text[close + 1 : close + 2] != '"':
            break
        parts.append('"')
        place = close + 2
    end = close + 1
    while end < len(text) and text[end] not in (delimiter, "\r", "\n"):
        end += 1  # text after a closing quote, as careless programs write it, stays part of the raw field
    return Field("".join(parts) + text[close + 1 : end], start, end), end


def _check(table: Table) -> None:
    width = len(table.records[0])
    for record in table.records:
        line = table.text[: record[0].start].count("\n") + 1
        if any(raw.startswith('"') and raw.count('"') % 2 for raw in map(table.raw, record)):
            raise ExportError(f"{table.path}, line {line}: a quote is open. Export it from the platform again")
        if len(record) != width:
            raise ExportError(
                f"{table.path}, line {line}: {len(record)} fields where the header has {width}. "
                "Export it from the platform again"
            )


def quoted(text: str, delimiter: str = ",", like: str = "") -> str:
    """Return a field as CSV text; in quotes where it needs them or the field that it replaces had them."""
    if like.startswith('"') or any(c in text for c in (delimiter, '"', "\r", "\n")):
        return '"' + text.replace('"', '""') + '"'
    return text


def harmless(text: str) -> str:
    """Return text that no spreadsheet takes for a formula: an apostrophe goes before what could begin one."""
    return "'" + text if text.startswith(_ACTS) else text


def rows_as_csv(rows: Iterable[Sequence[str]], *, bom: bool = False) -> bytes:
    """Return rows as CSV bytes, every field quoted, with line ends of RFC 4180."""
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerows(rows)
    return (BOM if bom else b"") + out.getvalue().encode("utf-8")
