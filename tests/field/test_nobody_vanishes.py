"""Every file and student of what was given is accounted for, whatever the names, archives and copies."""

from __future__ import annotations

import random
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from autograder.grade.accounting import notebook_meant
from autograder.grade.submissions import Submission, SubmissionsError, accounted
from dlcv_lab.checking.notebook_reader import UnreadableError, read_cells

SLUG = "ch03_convolutional_networks"
STEMS = ["lesson_1", "lesson_2"]
NOTEBOOK = b'{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'
BEGUN = rb'{"cells": [{"source": ["lab = start(\"ch03\")"]}]}'


def put(place: Path, name: str, raw: bytes = NOTEBOOK) -> None:
    path = place / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)


def packed(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            item = zipfile.ZipInfo("x")
            item.filename, item.external_attr = name, 0o644 << 16
            archive.writestr(item, NOTEBOOK)
    return path


def told(place: Path, tmp_path: Path, expected: tuple[str, ...] = ()):  # type: ignore[no-untyped-def]
    submissions, account = accounted(place, SLUG, STEMS, tmp_path / "unpacked", expected)
    assert sum(account.counts().values()) == len(account.fates)
    table: dict[str, Submission] = {submission.student: submission for submission in submissions}
    return table, account


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("lesson_1.ipynb", (["lesson_1"], True)),
        ("Copy of lesson_1.ipynb", (["lesson_1"], False)),
        ("lesson_1 (1).ipynb", (["lesson_1"], False)),
        ("lesson_1-Copy1.ipynb", (["lesson_1"], False)),
        ("Lesson_1.ipynb", (["lesson_1"], False)),
        ("LESSON 1.IPYNB", (["lesson_1"], False)),
        ("lesson_1.ipynb.txt", (["lesson_1"], False)),
        ("meier_lesson-1.ipynb.json", (["lesson_1"], False)),
        ("lesson_12.ipynb", ([], False)),
        ("mylesson_1.ipynb", ([], False)),
        ("lesson_1_and_lesson_2.ipynb", (["lesson_1", "lesson_2"], False)),
        ("lesson_1.pdf", ([], False)),
    ],
)
def test_a_near_name_means_one_notebook_or_none(name: str, meant: tuple[list[str], bool]) -> None:
    assert notebook_meant(name, STEMS) == meant


def test_near_names_are_taken_and_told(tmp_path: Path) -> None:
    names = {"good": "lesson_1.ipynb", "text": "lesson_1.ipynb.txt", "copy": "Copy of lesson_1.ipynb",
             "browser": "lesson_1 (1).ipynb", "upper": "Lesson_1.ipynb", "own": "lesson_1_meier.ipynb"}  # fmt: skip
    for student, name in names.items():
        put(tmp_path / "in", f"{student}/{SLUG}/{name}")
    table, account = told(tmp_path / "in", tmp_path)
    assert {student: list(one.files) for student, one in table.items()} == {name: ["lesson_1"] for name in names}
    assert {fate.student for fate in account.told} == set(names) - {"good"}
    assert not account.findings


def test_a_second_file_beside_the_right_one_is_named(tmp_path: Path) -> None:
    put(tmp_path / "in", f"mia/{SLUG}/lesson_1.ipynb")
    put(tmp_path / "in", f"mia/{SLUG}/lesson_1__20261104104101.ipynb")
    table, account = told(tmp_path / "in", tmp_path)
    assert table["mia"].files["lesson_1"].name == "lesson_1.ipynb"
    (fate,) = account.findings
    assert (fate.outcome, "lesson_1__20261104104101.ipynb" in fate.file) == ("refused", True)
    assert table["mia"].beside["lesson_1"] == (fate.file,)


def test_of_two_that_are_equally_near_none_is_taken(tmp_path: Path) -> None:
    put(tmp_path / "in", f"mia/{SLUG}/Copy of lesson_1.ipynb")
    put(tmp_path / "in", f"mia/{SLUG}/lesson_1 (1).ipynb")
    table, account = told(tmp_path / "in", tmp_path)
    assert not table["mia"].files
    assert "twice" in table["mia"].problems["lesson_1"]
    assert account.counts()["ambiguous"] == 2
    assert account.students()["nothing read"] == ["mia"]


def test_a_student_of_whom_nothing_can_be_read_stands_in_the_table_with_the_reason(tmp_path: Path) -> None:
    put(tmp_path / "in", f"ann/{SLUG}/lesson_1.ipynb")
    put(tmp_path / "in", "bob/homework.pdf")
    put(tmp_path / "in", f"eve/{SLUG}/Untitled.ipynb")
    (tmp_path / "in" / "zoe").mkdir()
    put(tmp_path / "in", "tim/ch16_contrastive_language_image_pretraining/lesson_1.ipynb")
    table, account = told(tmp_path / "in", tmp_path, ("ann", "kim"))
    assert sorted(table) == ["ann", "bob", "eve"]
    assert "homework.pdf" in table["bob"].problems["lesson_1"]
    assert "Untitled.ipynb" in table["eve"].problems["lesson_2"]
    assert account.students() == {
        "read": ["ann"], "nothing read": ["bob", "eve"], "nothing handed in": ["kim", "tim", "zoe"],
    }  # fmt: skip


def test_in_a_whole_repository_the_chapters_folder_counts(tmp_path: Path) -> None:
    for chapter in (SLUG, "ch16_contrastive_language_image_pretraining"):
        put(tmp_path / "in", f"ann/cv-work-main/{chapter}/lesson_1.ipynb")
    put(tmp_path / "in", "ann/cv-work-main/.git/config")
    put(tmp_path / "in", "ann/cv-work-main/README.md")
    put(tmp_path / "in", f"ann/cv-work-main/{SLUG}/.ipynb_checkpoints/lesson_1-checkpoint.ipynb")
    put(tmp_path / "in", "bob/lesson_1.ipynb", BEGUN)  # no chapter's folder, but its first cell says which it is
    put(tmp_path / "in", "cem/lesson_1.ipynb")
    put(tmp_path / "in", "cem/lesson_2.ipynb", BEGUN.replace(b"ch03", b"ch16"))
    table, account = told(tmp_path / "in", tmp_path)
    assert table["ann"].files["lesson_1"].parent.name == SLUG
    assert list(table["bob"].files) == ["lesson_1"]
    assert account.counts()["refused"] == 0
    assert account.students()["nothing handed in"] == ["cem"]


def test_a_zip_of_powershell_and_flat_files_together(tmp_path: Path) -> None:
    place = packed(tmp_path / "mixed.zip", f"submitted\\anna\\{SLUG}\\lesson_1.ipynb", "bob__lesson_1.ipynb")
    table, account = told(place, tmp_path)
    assert {student: list(one.files) for student, one in table.items()} == {"anna": ["lesson_1"], "bob": ["lesson_1"]}
    assert not account.findings


def test_a_name_in_two_unicode_forms_is_one_student(tmp_path: Path) -> None:
    nfc, nfd = (unicodedata.normalize(form, "josé") for form in ("NFC", "NFD"))
    place = packed(tmp_path / "nfd.zip", f"{nfc}/{SLUG}/lesson_1.ipynb", f"{nfd}/{SLUG}/lesson_2.ipynb")
    table, account = told(place, tmp_path)
    assert {student: sorted(one.files) for student, one in table.items()} == {nfc: STEMS}
    assert account.students()["read"] == [nfc]


def test_a_zip_of_whole_repositories_and_one_of_a_platform(tmp_path: Path) -> None:
    place = packed(tmp_path / "class.zip", *(f"class/{who}/cv-main/{SLUG}/lesson_1.ipynb" for who in ("ann", "bob")))
    assert sorted(told(place, tmp_path / "a")[0]) == ["ann", "bob"]
    place = packed(tmp_path / "out.zip", f"../evil/{SLUG}/lesson_1.ipynb", f"ann/{SLUG}/lesson_1.ipynb",
                   "__MACOSX/ann/._lesson_1.ipynb")  # fmt: skip
    table, account = told(place, tmp_path / "b")
    assert list(table) == ["ann"]
    assert [fate.outcome for fate in account.findings] == ["refused"]
    assert account.counts()["no concern"] == 1


def test_where_nothing_can_be_read_every_file_is_named(tmp_path: Path) -> None:
    put(tmp_path / "in", "arndtanna_101_5551_lesson_1.ipynb")
    with pytest.raises(SubmissionsError, match=r"arndtanna_101_5551_lesson_1\.ipynb.*no student"):
        told(tmp_path / "in", tmp_path)


def unreadable(table: dict[str, Submission]) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield (student, notebook) and why it cannot be read, for every file that was taken and is no notebook."""
    for student, submission in table.items():
        for stem, path in submission.files.items():
            try:
                read_cells(path.read_bytes())
            except UnreadableError as error:
                yield (student, stem), str(error)


def test_two_hundred_mixed_submissions_are_two_hundred_accounted_for(tmp_path: Path) -> None:
    """Names, zips, encodings, links, copies, wrong files, missing and double ones: all are accounted for."""
    draw = random.Random(200)
    kinds = {
        "exact": (f"{SLUG}/lesson_1.ipynb", f"{SLUG}/lesson_2.ipynb"),
        "near": (f"{SLUG}/Copy of lesson_1.ipynb",),
        "browser": (f"{SLUG}/lesson_1 (1).ipynb", f"{SLUG}/lesson_2.ipynb.txt"),
        "upper": ("CH03_Convolutional_Networks/LESSON_1.IPYNB",),
        "short": ("ch03/lesson_1.ipynb",),
        "repository": (f"work-main/{SLUG}/lesson_1.ipynb", "work-main/ch16_x/lesson_1.ipynb", "work-main/README.md"),
        "double": (f"{SLUG}/lesson_1-Copy1.ipynb", f"{SLUG}/lesson_1 (2).ipynb"),
        "pulled": (f"{SLUG}/lesson_1.ipynb", f"{SLUG}/lesson_1__2026.ipynb"),
        "picture": (f"{SLUG}/photo.jpg",),
        "other name": (f"{SLUG}/Untitled.ipynb",),
        "other chapter": ("ch16_x/lesson_1.ipynb",),
        "empty": (),
        "link": (),
        "utf-16": (f"{SLUG}/lesson_1.ipynb",),
        "conflict": (f"{SLUG}/lesson_1.ipynb",),
        "pointer": (f"{SLUG}/lesson_1.ipynb",),
    }
    spoiled = {"utf-16": NOTEBOOK.decode().encode("utf-16"), "conflict": b"<<<<<<< HEAD\n" + NOTEBOOK,
               "pointer": b"version https://git-lfs.github.com/spec/v1\n"}  # fmt: skip
    read = {"exact", "near", "browser", "upper", "short", "repository", "pulled"}
    nothing_read = {"double", "picture", "other name", "link", *spoiled}
    place, drawn = tmp_path / "in", {}
    for number in range(200):
        name = f"{draw.choice(['josé', 'zoë', '王', 'ann'])} {number}"
        student = unicodedata.normalize(draw.choice(["NFC", "NFD"]), name)
        kind = drawn[unicodedata.normalize("NFC", student)] = draw.choice(list(kinds))
        (place / student).mkdir(parents=True)
        for file in kinds[kind]:
            put(place, f"{student}/{file}", spoiled.get(kind, NOTEBOOK))
        if kind == "link":
            (place / student / SLUG).symlink_to(tmp_path)
    archive = tmp_path / "class.zip"
    given = [path for path in sorted(place.rglob("*")) if path.is_file()]
    with zipfile.ZipFile(archive, "w") as sink:
        for path in given:
            item = zipfile.ZipInfo("x")
            item.filename = str(path.relative_to(place)).replace("/", draw.choice(["/", "\\"]))
            sink.writestr(item, path.read_bytes())
    links = sum(kind == "link" for kind in drawn.values())
    for source, linked in ((place, True), (archive, False)):
        table, account = told(source, tmp_path, tuple(drawn))
        account.unreadable(dict(unreadable(table)))  # as `dlcv grade` does when it has read them
        people = account.students()
        assert Counter(name for names in people.values() for name in names) == Counter(list(drawn))  # each once
        assert set(people["read"]) == {student for student, kind in drawn.items() if kind in read}
        wrong = nothing_read if linked else nothing_read - {"link"}
        assert set(people["nothing read"]) == {student for student, kind in drawn.items() if kind in wrong}
        assert set(table) == set(people["read"]) | set(people["nothing read"])
        assert len(account.fates) == len(given) + links * linked
        assert account.as_data()["students"]["given"] == 200
        print(account.sums())


def test_gradescope_takes_the_chapters_folder_of_a_whole_repository(tmp_path: Path) -> None:
    from types import SimpleNamespace

    from autograder.exports import gradescope

    row = SimpleNamespace(slug=SLUG, notebooks=[SimpleNamespace(stem=stem) for stem in STEMS])
    for chapter in (SLUG, "ch16_contrastive_language_image_pretraining"):
        put(tmp_path / "whole", f"{chapter}/lesson_1.ipynb")
    submission, account = gradescope._collect(tmp_path / "whole", row, "ann")  # type: ignore[arg-type]
    assert submission.files["lesson_1"].parent.name == SLUG
    assert account.counts() == {"taken": 1, "refused": 0, "ambiguous": 0, "no concern": 1}

    for folder in ("one", "two"):
        put(tmp_path / "twice", f"{folder}/lesson_1.ipynb")
    submission, account = gradescope._collect(tmp_path / "twice", row, "ann")  # type: ignore[arg-type]
    assert "twice" in submission.problems["lesson_1"]
    told = gradescope.with_account({"output": "Judged."}, account)
    assert "Not taken: two/lesson_1.ipynb" in told["output"]
    assert told["extra_data"]["account"]["files"]["ambiguous"] == 2


@pytest.mark.parametrize(
    ("raw", "readable"),
    [
        (b"2027-05-04 21:59:00 UTC\n", True),
        (b"\xef\xbb\xbf2027-05-04T23:59:00+02:00", True),
        ("2027-05-04 23:59:00 UTC".encode("utf-16"), False),
        (b"2027-05-04 23:59:00 CEST", False),
        (b"handed in last Tuesday evening", False),
    ],
)
def test_a_time_that_cannot_be_read_is_told(tmp_path: Path, raw: bytes, readable: bool) -> None:
    from autograder.grade.gradebook import _timestamp

    put(tmp_path, "timestamp.txt", raw)
    stamp, notice = _timestamp(tmp_path)
    if readable:
        assert stamp is not None
        assert (stamp.hour, stamp.minute, notice) == (21, 59, "")
    else:
        assert stamp is None
        assert "timestamp.txt, line 1" in notice
        assert "+02:00" in notice
