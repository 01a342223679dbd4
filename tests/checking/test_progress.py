"""Progress is kept beside the notebooks, survives bad files, and counts equal failures in a row."""

import json

import pytest

from dlcv_lab.checking.progress import Progress, home


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_check_is_remembered_by_the_next_session(folder):
    Progress().checked("ch03.conv2d", "WA", "stride")
    Progress().checked("ch03.conv2d", "OK")
    record = Progress().of("ch03.conv2d")
    assert (record.verdict, record.solved, record.attempts) == ("OK", True, 2)


def test_a_later_mistake_does_not_unsolve_an_exercise(folder):
    progress = Progress()
    progress.checked("ch03.conv2d", "OK")
    assert progress.checked("ch03.conv2d", "WA", "x").solved


def test_not_attempted_is_no_attempt(folder):
    assert Progress().checked("ch03.conv2d", "NA").attempts == 0


def test_equal_failures_in_a_row_are_counted_and_others_start_again(folder):
    progress = Progress()
    repeats = [progress.checked("ch03.conv2d", "WA", failure).repeats for failure in ("a", "a", "a", "b", "a")]
    assert repeats == [1, 2, 3, 1, 1]
    assert progress.checked("ch03.conv2d", "OK").repeats == 0


def test_hints_only_go_forward(folder):
    progress = Progress()
    progress.hinted("ch03.conv2d", 2)
    progress.hinted("ch03.conv2d", 1)
    assert Progress().of("ch03.conv2d").hints == 2


def test_the_nearest_folder_above_is_used(folder):
    (folder / ".dlcv").mkdir()
    deep = folder / "ch03" / "more"
    deep.mkdir(parents=True)
    assert home(deep) == folder / ".dlcv"


def test_a_broken_file_is_moved_aside_and_kept(folder, capsys):
    (folder / ".dlcv").mkdir()
    (folder / ".dlcv" / "progress.json").write_text("{half")
    assert Progress().of("ch03.conv2d").attempts == 0
    assert (folder / ".dlcv" / "progress.json.broken").read_text() == "{half"
    assert "progress.json.broken" in capsys.readouterr().out


def test_what_a_newer_version_wrote_is_kept(folder):
    (folder / ".dlcv").mkdir()
    path = folder / ".dlcv" / "progress.json"
    path.write_text(json.dumps({"format": 2, "exercises": {"ch03.conv2d": {"attempts": 1, "mood": "good"}}}))
    Progress().checked("ch03.conv2d", "OK")
    assert json.loads(path.read_text())["exercises"]["ch03.conv2d"]["mood"] == "good"


def test_a_folder_that_cannot_be_written_costs_only_the_progress(folder, capsys):
    (folder / ".dlcv").write_text("a file, where the folder should be")
    assert Progress(folder / ".dlcv").checked("ch03.conv2d", "OK").verdict == "OK"
    assert "the verdict stands" in capsys.readouterr().out
