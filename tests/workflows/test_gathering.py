"""`dlcv gather` and `dlcv give-back` on repositories of this machine: the right commit, and nothing but notebooks."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from autograder.grade.gathering import GatheringError, Member, gather, give_back, read_roster

SLUG, STEMS = "ch99_demo", ["lesson_1"]
DEADLINE = datetime(2027, 5, 4, 22, 0, tzinfo=UTC)


def git(folder: Path, *arguments: str, when: str = "2027-05-01T10:00:00+00:00") -> str:
    who = {f"GIT_{role}_{what}": "student" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    dates = {"GIT_AUTHOR_DATE": when, "GIT_COMMITTER_DATE": when}
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], env=os.environ | who | dates, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def commit(folder: Path, text: str, when: str, name: str = "lesson_1.ipynb") -> str:
    path = folder / SLUG / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", text, when=when)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A student's repository with a commit in time and one too late."""
    folder = tmp_path / "ada-work"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit(folder, "in time", "2027-05-04T21:00:00+00:00")
    commit(folder, "too late", "2027-05-04T23:00:00+00:00")
    return folder


def test_the_last_commit_before_the_deadline_counts(repository: Path, tmp_path: Path):
    (found,) = gather([Member("ada", str(repository))], SLUG, STEMS, DEADLINE, tmp_path / "submitted")
    folder = tmp_path / "submitted" / "ada" / SLUG
    assert found.problem == ""
    assert (folder / "lesson_1.ipynb").read_text() == "in time"
    assert (folder / "timestamp.txt").read_text() == "2027-05-04 21:00:00 UTC\n"
    assert not found.trusted  # a commit's own date is its author's word


@pytest.fixture
def on_github(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch):
    """The same repository as git and gh see one on GitHub, with a log of pushes."""

    def pushed(*pushes: tuple[str, str]) -> Member:
        log = tmp_path / "log.json"
        log.write_text(json.dumps([{"timestamp": when, "after": after} for after, when in pushes]))
        tools = tmp_path / "tools"
        tools.mkdir()
        (tools / "gh").write_text(f'#!/bin/sh\ncase "$2" in *activity*) cat {log} ;; *) echo main ;; esac\n')
        (tools / "gh").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
        for name, value in {"COUNT": "1", "KEY_0": f"url.{repository}.insteadOf",
                            "VALUE_0": "https://github.com/class/ada"}.items():  # fmt: skip
            monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
        git(repository, "config", "uploadpack.allowAnySHA1InWant", "true")
        return Member("ada", "https://github.com/class/ada")

    return pushed


def test_a_forged_date_does_not_move_the_deadline(repository: Path, tmp_path: Path, on_github):
    honest = git(repository, "rev-parse", "HEAD~1")
    forged = commit(repository, "dated back", "2027-05-01T00:00:00+00:00")
    member = on_github((honest, "2027-05-04T21:30:00Z"), (forged, "2027-05-05T08:00:00Z"))
    (found,) = gather([member], SLUG, STEMS, DEADLINE, tmp_path / "submitted")
    assert (found.commit, found.trusted, found.problem) == (honest, True, "")
    assert (tmp_path / "submitted" / "ada" / SLUG / "lesson_1.ipynb").read_text() == "in time"


def test_what_was_pushed_only_later_counts_as_nothing(repository: Path, tmp_path: Path, on_github):
    member = on_github((git(repository, "rev-parse", "HEAD~1"), "2027-05-05T08:00:00Z"))
    (found,) = gather([member], SLUG, STEMS, DEADLINE, tmp_path / "submitted")
    assert "nothing had been pushed" in found.problem
    assert not (tmp_path / "submitted").exists()


def test_links_other_files_and_other_folders_are_left_where_they_are(repository: Path, tmp_path: Path):
    (repository / SLUG / "lesson_1.ipynb").unlink()
    (repository / SLUG / "lesson_1.ipynb").symlink_to("/etc/passwd")
    (repository / SLUG / "deep").mkdir()
    (repository / SLUG / "deep" / "lesson_1.ipynb").write_text("{}")
    commit(repository, "tricks", "2027-05-04T21:30:00+00:00", name="conftest.py")
    (found,) = gather([Member("eve", str(repository))], SLUG, STEMS, DEADLINE, tmp_path / "submitted")
    assert "has no notebook in" in found.problem
    assert not (tmp_path / "submitted").exists()


def test_one_broken_repository_stops_nobody(repository: Path, tmp_path: Path):
    members = [Member("zoe", str(tmp_path / "nowhere")), Member("ada", str(repository))]
    zoe, ada = gather(members, SLUG, STEMS, DEADLINE, tmp_path / "submitted")
    assert "nowhere" in zoe.problem
    assert ada.problem == ""


def test_feedback_goes_to_a_branch_of_its_own_and_stays_when_nothing_changed(repository: Path, tmp_path: Path):
    page = tmp_path / "feedback" / "ada" / SLUG / "feedback-0.html"
    page.parent.mkdir(parents=True)
    page.write_text("<p>well done</p>")
    main = git(repository, "rev-parse", "main")
    member = Member("ada", str(repository))
    (first,) = give_back([member], SLUG, tmp_path / "feedback")
    assert git(repository, "show", f"feedback:{SLUG}/feedback-0.html") == "<p>well done</p>"
    (second,) = give_back([member], SLUG, tmp_path / "feedback")
    assert (first.problem, second.commit) == ("", first.commit)
    page.write_text("<p>even better</p>")
    (third,) = give_back([member], SLUG, tmp_path / "feedback")
    assert git(repository, "rev-parse", "feedback~1") == first.commit
    assert third.commit == git(repository, "rev-parse", "feedback")
    assert git(repository, "rev-parse", "main") == main


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,url\nada,x\n", "both columns"),
        ("student,repository\nada,x\nada,y\n", "twice"),
        ("student,repository\n../ada,x\n", "begins with a dot"),
        ("student,repository\n", "names no student"),
    ],
)
def test_a_roster_that_cannot_be_used(tmp_path: Path, text: str, said: str):
    (tmp_path / "roster.csv").write_text(text)
    with pytest.raises(GatheringError, match=said):
        read_roster(tmp_path / "roster.csv")


def test_a_missing_roster_is_named(tmp_path: Path):
    with pytest.raises(GatheringError, match="student,repository"):
        read_roster(tmp_path / "roster.csv")
