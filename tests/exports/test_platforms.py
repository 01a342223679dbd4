"""Canvas and Moodle read back their own file: one column is filled, every other byte stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autograder.exports import ExportError, tables
from autograder.exports.platforms import CANVAS, MOODLE, Filled, fill
from autograder.exports.scores import Score

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")
SLUG = "ch99_demo"
GOLDEN = Path(__file__).parent / "golden"
LAB = "Lab 9 (1234)"


def filled_from(tmp_path: Path, raw: bytes, known: list[Score], platform=CANVAS, **options) -> Filled:  # type: ignore[no-untyped-def]
    path = tmp_path / "exported.csv"
    path.write_bytes(raw)
    return fill(path, known, platform, **options)


def test_canvas_gets_one_column_and_keeps_the_rest(tmp_path: Path, known: list[Score]) -> None:
    raw = (GOLDEN / "canvas.csv").read_bytes()
    filled = filled_from(tmp_path, raw, known, column=LAB)
    assert filled.data == (GOLDEN / "canvas.filled.csv").read_bytes()
    assert filled.filled == ["wang", "oneil", "quote"]
    assert filled.rows_without_student == ["zoe"]
    assert filled.students_without_row == ["evil", "absent"]
    assert filled.notices == ["still to be marked by hand, exported as they are now: oneil"]


def test_moodle_gets_its_grade_column_and_keeps_the_rest(tmp_path: Path, known: list[Score]) -> None:
    filled = filled_from(tmp_path, (GOLDEN / "moodle.csv").read_bytes(), known, MOODLE)
    assert filled.data == (GOLDEN / "moodle.filled.csv").read_bytes()
    assert filled.filled == ["wang", "quote"]
    assert any("does not let this grade be changed" in notice and "oneil" in notice for notice in filled.notices)


@pytest.mark.parametrize("platform", ["canvas", "moodle"])
def test_only_the_bytes_of_one_column_differ(platform: str) -> None:
    before = tables.read(GOLDEN / f"{platform}.csv", [])
    after = tables.read(GOLDEN / f"{platform}.filled.csv", [])
    column = before.column(LAB if platform == "canvas" else "Grade")

    def others(table: tables.Table) -> list[str]:
        texts, place = [], 0
        for record in table.records:
            texts.append(table.text[place : record[column].start])
            place = record[column].end
        return [*texts, table.text[place:]]

    assert others(before) == others(after)
    assert before.bom == after.bom


def test_names_are_found_whatever_their_apostrophes_and_cases(tmp_path: Path, known: list[Score]) -> None:
    raw = f'Student,ID,Section,{LAB}\n"o\u2019neil,  \u00c1INE",7,A,\n"王, 小明",8,A,\n'.encode()
    filled = filled_from(tmp_path, raw, known, column=LAB)
    assert (filled.filled, filled.matched_by) == (["oneil", "wang"], "Student")


def test_another_largest_score_needs_a_decision(tmp_path: Path, known: list[Score]) -> None:
    raw = f"Student,ID,Section,{LAB}\n    Points Possible,,,30\nwang,1,A,\n".encode()
    with pytest.raises(ExportError, match=r"up to 30, the chapter up to 3 points.*--scale"):
        filled_from(tmp_path, raw, known, column=LAB)
    assert filled_from(tmp_path, raw, known, column=LAB, scale=True).data.endswith(b"wang,1,A,30\n")
    german = b"Email address;Grade;Maximum Grade\naine.oneil@uni.example;;30,00\n"
    filled = filled_from(tmp_path, german, known, MOODLE, scale=True, decimal=",")
    assert filled.data.endswith(b"aine.oneil@uni.example;25;30,00\n")


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "has no column"),
        (b"Student,ID\nwang,1\n", "has no column 'Lab 9"),
        ("Student,Lab 9 (1234)\nw\u00e4ng,\n".encode("latin-1"), "line 2: not UTF-8"),
        ("Student,Lab 9 (1234)\n".encode("utf-16"), "not UTF-8"),
        (b"Student,Lab 9 (1234)\0\n", "zero bytes"),
        (b'Student,Lab 9 (1234)\nwang,"open\nanna,\n', "line 2: a quote is open"),
        (b"Student,Lab 9 (1234)\nwang,1,2\n", "line 2: 3 fields where the header has 2"),
        (b"Student,Lab 9 (1234),Lab 9 (1234)\nwang,,\n", "several columns"),
        (b"Student,Lab 9 (1234)\nwang,\nWANG,\n", "in two rows"),
        (b"Who,Lab 9 (1234)\nwang,\n", "--match"),
        (b"Student,Lab 9 (1234)\nnobody,\n", "no row belongs"),
    ],
)
def test_a_malformed_file_is_named_with_the_remedy(tmp_path: Path, known: list[Score], raw: bytes, says: str) -> None:
    with pytest.raises(ExportError, match=says) as told:
        filled_from(tmp_path, raw, known, column=LAB)
    assert "exported.csv" in str(told.value)


def test_canvas_needs_the_name_of_a_column(tmp_path: Path, known: list[Score]) -> None:
    with pytest.raises(ExportError, match=r"--column; .*'Lab 9 \(1234\)'"):
        filled_from(tmp_path, (GOLDEN / "canvas.csv").read_bytes(), known)


def test_what_two_students_share_tells_neither() -> None:
    two = [Score(SLUG, name, 1, 3, first_name="Li", last_name="Wei") for name in ("li1", "li2")]
    from autograder.exports.platforms import _by_name

    assert set(_by_name(two)) == {"li1", "li2"}


FIELDS = st.text(alphabet=st.sampled_from("ab,\";\t 王'\n\r"), max_size=6)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.lists(FIELDS, min_size=3, max_size=3), min_size=1, max_size=6),
    bom=st.booleans(),
    delimiter=st.sampled_from(",;\t"),
)
def test_any_csv_is_read_as_the_csv_module_reads_it_and_written_back(
    rows: list[list[str]], bom: bool, delimiter: str
) -> None:
    import csv
    import io

    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\r\n", quoting=csv.QUOTE_ALL).writerows(rows)
    table = tables._table(Path("x.csv"), out.getvalue(), bom, delimiter)
    assert [[field.text for field in record] for record in table.records] == rows
    assert table.with_values(1, {}) == (tables.BOM if bom else b"") + out.getvalue().encode()
    changed = tables._table(Path("x.csv"), table.with_values(1, {0: 'n"ew'}).decode("utf-8-sig"), bom, delimiter)
    assert changed.records[0][1].text == 'n"ew'
    assert changed.records[0][2].text == rows[0][2]
