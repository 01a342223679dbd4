"""What comes from outside as files: submissions in folders and archives, the journal, pages with students' text."""

from __future__ import annotations

import os
import stat
import zipfile
from pathlib import Path

import pytest
from grader_helpers import write

from autograder.base import wording
from autograder.feedback import class_report, student_page
from autograder.grade.journal import Entry, Journal
from autograder.grade.marking import never_lower
from autograder.grade.submissions import Submission, SubmissionsError, collect, read_bytes
from dlcv_lab.checking.model import CaseResult, Diagnosis, ExerciseResult, Verdict

SLUG, STEM = "ch99_demo", "lesson_1"


def found(place: Path, tmp_path: Path, refused: list[str] | None = None) -> dict[str, Submission]:
    told = refused if refused is not None else []
    return {s.student: s for s in collect(place, SLUG, [STEM], tmp_path / "unpacked", told.append)}


def test_links_and_devices_are_not_followed(tmp_path: Path) -> None:
    secret = write(tmp_path / "secret.ipynb", b"{}")
    place = tmp_path / "in"
    for student in ("link", "folder_link", "fifo", "good"):
        (place / student / SLUG).mkdir(parents=True)
    (place / "link" / SLUG / f"{STEM}.ipynb").symlink_to(secret)
    os.mkfifo(place / "fifo" / SLUG / f"{STEM}.ipynb")
    (place / "folder_link" / SLUG).rmdir()
    write(tmp_path / "elsewhere" / f"{STEM}.ipynb", b"{}")
    (place / "folder_link" / SLUG).symlink_to(tmp_path / "elsewhere")
    write(place / "good" / SLUG / f"{STEM}.ipynb", b"{}")
    submissions = found(place, tmp_path)
    assert {student: bool(s.problems) for student, s in submissions.items()} == {
        "link": True, "folder_link": True, "fifo": True, "good": False,
    }  # fmt: skip
    with pytest.raises(OSError, match=r"(?i)symbolic|loop"):
        read_bytes(place / "link" / SLUG / f"{STEM}.ipynb")


def test_a_zip_is_unpacked_with_care(tmp_path: Path) -> None:
    archive = tmp_path / "class.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as sink:
        sink.writestr(f"top/good/{SLUG}/{STEM}.ipynb", "{}")
        sink.writestr(f"../evil/{SLUG}/{STEM}.ipynb", "{}")
        sink.writestr(f"bomb__{STEM}.ipynb", b"\0" * (15 * 2**20))
        sink.writestr(f"huge__{STEM}.ipynb", b"\0" * (21 * 2**20))
        link = zipfile.ZipInfo(f"link__{STEM}.ipynb")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        sink.writestr(link, "/etc/passwd")
    submissions = found(archive, tmp_path)
    assert sorted(student for student, s in submissions.items() if s.files) == ["good"]
    assert "200-fold" in submissions["bomb"].problems[STEM]
    assert "20 MiB" in submissions["huge"].problems[STEM]
    assert "link" in submissions["link"].problems[STEM]
    assert not (tmp_path / "evil").exists()
    archive.write_bytes(archive.read_bytes()[:200])
    with pytest.raises(SubmissionsError):
        found(archive, tmp_path)


def test_a_notebook_handed_in_twice_is_a_problem_and_strange_names_are_told(tmp_path: Path) -> None:
    place = tmp_path / "in"
    write(place / f"ann__{STEM}.ipynb", b"{}")
    write(place / "ann" / SLUG / f"{STEM}.ipynb", b"{}")
    write(place / f"\x1b[31m__{STEM}.ipynb", b"{}")
    refused: list[str] = []
    submissions = found(place, tmp_path, refused)
    assert "twice" in submissions["ann"].problems[STEM]
    assert list(submissions) == ["ann"]
    assert len(refused) == 1
    assert "\x1b" not in refused[0]


def entry(**changes: object) -> Entry:
    hostile = '<script>alert(1)</script>\x1b[31m\u202e=HYPERLINK("x")'
    result = ExerciseResult(
        "conv", Verdict.PA, 1.0, 3.0, message=hostile, hint=hostile, notes=(hostile,),
        diagnosis=Diagnosis("k", "t", "generic"),
        cases=(CaseResult(0, "plain", "n", Verdict.OK, max_difference=float("inf")),
               CaseResult(1, "edge", hostile, Verdict.WA, hostile)),
    )  # fmt: skip
    facts = dict(
        student=hostile, slug=SLUG, address="a", key="k", isolation="none", results={STEM: (result,)}, digests={}
    )
    return Entry(**{**facts, **changes})  # type: ignore[arg-type]


def test_nothing_that_a_student_wrote_acts_in_a_page() -> None:
    for page in (
        student_page.page(entry(), {}, "<title>", show_cases=True),
        class_report.page(class_report.summarise([entry()], "<title>"), {}),
    ):
        assert "<script" not in page
        assert "\x1b" not in page
        assert "\u202e" not in page
        assert "&lt;script&gt;" in page
        assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page


def test_a_page_has_a_name_that_only_the_secret_tells(tmp_path: Path) -> None:
    one = student_page.page_path(tmp_path, entry(student="ann"), b"secret 1")
    assert one != student_page.page_path(tmp_path, entry(student="ann"), b"secret 2")
    assert len(one.stem.removeprefix("feedback-")) == 32


def test_the_journal_gives_back_what_it_was_given(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal" / "ch99.jsonl")
    journal.append(entry())
    with journal.path.open("ab") as sink:
        sink.write(b'{"torn')
    journal.append(entry(student="bob", address="b"))
    first, second = journal.entries()
    assert first.results[STEM][0].cases[0].max_difference is None
    assert first.results[STEM][0].diagnosis == entry().results[STEM][0].diagnosis
    assert (first.student, second.student) == (entry().student, "bob")
    assert set(journal.done()) == {"a", "b"}


def test_a_verdict_in_a_terminal_holds_no_escape_sequence() -> None:
    text = wording.headline(entry().flat[0])
    assert "\x1b" not in text
    assert text.startswith("PA conv: partly right, 1 of 3 points")


def test_the_same_files_never_lose_points_and_other_files_may() -> None:
    good = ExerciseResult("conv", Verdict.OK, 3.0, 3.0)
    bad = ExerciseResult("conv", Verdict.WA, 0.0, 3.0)
    fault = ExerciseResult("conv", Verdict.XX, 0.0, 3.0)

    def made(result: ExerciseResult, digest: str = "d") -> Entry:
        return entry(results={STEM: (result,)}, digests={STEM: digest})

    kept = never_lower(made(bad), made(good)).flat[0]
    assert (kept.verdict, kept.score) == (Verdict.OK, 3.0)
    assert "judged again it would get WA" in kept.notes[0]
    assert never_lower(made(good), made(bad)).flat == (good,)
    assert never_lower(made(bad, "other"), made(good)).flat == (bad,)
    assert never_lower(made(fault), made(good)).flat == (fault,)
    assert never_lower(made(bad), None).flat == (bad,)
