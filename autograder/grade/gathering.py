"""Fetch a class's repositories as they were at the deadline, and put feedback back: git alone, nothing checked out.

The class stands in roster.csv (`student,repository`). The commit that counts is the last one that the platform had
*received* by the deadline: GitHub's activity log says when, and no student can change that. Where there is no such
log, the commit's own date decides, and the report says so, because whoever commits can set that date.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from autograder.grade.accounting import Fate, Given, choose, one_form
from autograder.grade.submissions import MAX_NOTEBOOK, name_problem
from dlcv_lab.files import write_whole

_GITHUB = re.compile(r"^(?:https://github\.com/|git@github\.com:)(?P<name>[\w.-]+/[\w.-]+?)(?:\.git)?/?$")
_FILES = ("100644", "100755")  # ordinary files; links and submodules are left where they are
_PATIENCE = 300  # seconds for one git command
BRANCH = "feedback"


class GatheringError(ValueError):
    """The roster cannot be used, or git cannot do what is needed; the message says what to do."""


@dataclass(frozen=True)
class Member:
    """One line of roster.csv."""

    student: str
    repository: str


@dataclass(frozen=True)
class Gathered:
    """What was fetched for one student; `problem` where nothing was."""

    student: str
    commit: str = ""
    received: datetime | None = None
    trusted: bool = False  # the platform's word, not the commit's own date
    files: tuple[str, ...] = ()
    problem: str = ""
    fates: tuple[Fate, ...] = ()  # of every file of the repository


def read_roster(path: Path) -> list[Member]:
    """Return the class.

    Raises:
        GatheringError: the file is missing, has other columns, or a student stands in it twice.
    """
    table = _table(path)
    members: list[Member] = []
    for number, line in enumerate(table, start=2):
        student, repository = (one_form((line.get(name) or "").strip()) for name in ("student", "repository"))
        fault = "both columns are needed: student,repository" if not (student and repository) else name_problem(student)
        if not fault and student in {member.student for member in members}:
            fault = f"{student} stands here twice"
        if fault:
            raise GatheringError(f"{path}, line {number}: {fault}")
        members.append(Member(student, repository))
    if not members:
        raise GatheringError(f"{path} names no student; write lines such as ada,https://github.com/class/ada-work")
    return members


def _table(path: Path) -> list[dict[str, str]]:
    """Read a CSV file with a header: UTF-8, with commas, semicolons (as Excel writes it in many countries) or tabs."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise GatheringError(f"{path}: {error.strerror}; write a file with the columns student,repository") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise GatheringError(
            f"{path}, line {line}: not UTF-8. Save it as 'CSV UTF-8' (Excel: File > Save As), or convert it with "
            f"`iconv -f WINDOWS-1252 -t UTF-8`"
        ) from None
    header = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count))
    try:
        return [{(name or "").strip().casefold(): value for name, value in line.items() if isinstance(value, str)}
                for line in reader]  # fmt: skip
    except csv.Error as error:
        raise GatheringError(f"{path}, line {reader.line_num + 1}: {error}; write the file anew as CSV UTF-8") from None


def gather(
    members: Sequence[Member], slug: str, stems: Sequence[str], deadline: datetime, to: Path
) -> Iterator[Gathered]:
    """Write each student's notebooks to `to`/<student>/<slug>, as of the deadline, and yield what was done.

    A repository that cannot be read is a problem of its student alone; what an earlier run fetched for them stays.
    """
    if shutil.which("git") is None:
        raise GatheringError("git is not installed; install it (Debian, Ubuntu: `apt-get install git`)")
    for member in members:
        with tempfile.TemporaryDirectory(prefix="dlcv-gather-") as scratch:
            try:
                yield _gather_one(member, slug, stems, deadline, to, Path(scratch))
            except (subprocess.SubprocessError, GatheringError, OSError) as error:
                yield Gathered(member.student, problem=_reason(error))


def _gather_one(
    member: Member, slug: str, stems: Sequence[str], deadline: datetime, to: Path, scratch: Path
) -> Gathered:
    commit, received = _received(member.repository, deadline)
    trusted = bool(commit)
    _git(scratch, "init", "--quiet", "--bare")
    if commit:
        _git(scratch, "fetch", "--quiet", "--no-tags", "--depth=1", "--", member.repository, commit)
    else:
        _git(scratch, "fetch", "--quiet", "--no-tags", "--", member.repository, "HEAD")
        seconds = str(int(deadline.timestamp()))
        commit = _git(scratch, "rev-list", "-1", f"--before={seconds}", "FETCH_HEAD").decode().strip()
        if not commit:
            raise GatheringError("no commit is older than the deadline")
        received = datetime.fromtimestamp(int(_git(scratch, "show", "-s", "--format=%ct", commit)), UTC)
    assert received is not None
    given = list(_files(scratch, commit, member.student))
    chosen = choose(given, slug, stems, lambda one: "")
    found: dict[str, bytes] = {}
    for one in given:  # of two that are equally near, both: `dlcv grade` names them, and takes none
        fate = next(fate for fate in chosen.fates if fate.file == one.name)
        if fate.outcome == "taken" or (fate.outcome == "ambiguous" and not one.problem):
            name = one.parts[-1] if one.parts[-1] not in found else "-".join(one.parts)
            found[name] = _git(scratch, "cat-file", "blob", f"{commit}:{one.name}")
    if not found:
        reasons = "; ".join(f"{fate.file}: {fate.why}" for fate in chosen.fates if fate.outcome == "refused")
        told = f" ({reasons[:500]})" if reasons else ""
        raise GatheringError(f"commit {commit[:12]} has no notebook in {slug}/{told}")
    folder = to / member.student / slug
    for name, raw in found.items():
        write_whole(folder / name, raw)
    write_whole(folder / "timestamp.txt", received.strftime("%Y-%m-%d %H:%M:%S UTC\n").encode())
    return Gathered(member.student, commit, received, trusted, tuple(sorted(found)), fates=tuple(chosen.fates))


def _received(repository: str, deadline: datetime) -> tuple[str, datetime | None]:
    """Ask GitHub which commit it had on the default branch at the deadline; ("", None) where it keeps no log."""
    match = _GITHUB.match(repository)
    if match is None or shutil.which("gh") is None:
        return "", None
    branch = _gh(f"repos/{match['name']}", "--jq", ".default_branch")
    log = json.loads(_gh(f"repos/{match['name']}/activity?ref=refs/heads/{branch}&per_page=100"))
    pushes = [
        (datetime.fromisoformat(entry["timestamp"]), entry["after"]) for entry in log if set(entry["after"]) != {"0"}
    ]
    in_time = [push for push in pushes if push[0] <= deadline]
    if pushes and not in_time:
        raise GatheringError("nothing had been pushed by the deadline")
    return (max(in_time)[1], max(in_time)[0]) if in_time else ("", None)


def _gh(*arguments: str) -> str:
    done = subprocess.run(["gh", "api", *arguments], capture_output=True, text=True, timeout=_PATIENCE)
    if done.returncode:
        raise GatheringError(f"GitHub's log could not be read: {done.stderr.strip()[:300]}")
    return done.stdout.strip()


def _files(scratch: Path, commit: str, student: str) -> Iterator[Given]:
    """Yield the files of a commit; links and submodules are problems."""
    for line in _git(scratch, "ls-tree", "-r", "-z", "-l", commit).decode("utf-8", "replace").split("\0"):
        facts, _, path = line.partition("\t")
        words = facts.split()
        if len(words) == 4:
            size = int(words[3]) if words[3].isdigit() else 0
            problem = "" if words[0] in _FILES else "it is a link, or a repository of its own"
            if size > MAX_NOTEBOOK:
                problem = f"it has {size} bytes; at most {MAX_NOTEBOOK} are read"
            yield Given(path, student, tuple(one_form(path).split("/")), problem=problem)


def give_back(members: Sequence[Member], slug: str, pages: Path) -> Iterator[Gathered]:
    """Push each student's feedback page to the branch `feedback` of their repository; other branches stay untouched."""
    for member in members:
        own = sorted((pages / member.student / slug).glob("*.html"))
        if not own:
            yield Gathered(member.student, problem=f"no feedback page of {slug}; run `dlcv grade` first")
            continue
        with tempfile.TemporaryDirectory(prefix="dlcv-return-") as scratch:
            try:
                yield _give_back_one(member, slug, own, Path(scratch))
            except (subprocess.SubprocessError, OSError) as error:
                yield Gathered(member.student, problem=_reason(error))


def _give_back_one(member: Member, slug: str, own: Sequence[Path], scratch: Path) -> Gathered:
    _git(scratch, "init", "--quiet", f"--initial-branch={BRANCH}")
    there = _git(scratch, "ls-remote", "--", member.repository, f"refs/heads/{BRANCH}").split()
    if there:
        _git(scratch, "fetch", "--quiet", "--depth=1", "--", member.repository, BRANCH)
        _git(scratch, "update-ref", f"refs/heads/{BRANCH}", "FETCH_HEAD")
        _git(scratch, "read-tree", BRANCH)
    _git(scratch, "rm", "-r", "--quiet", "--cached", "--ignore-unmatch", "--", slug)
    for path in own:
        blob = _git(scratch, "hash-object", "-w", "--no-filters", "--", str(path.resolve())).decode().strip()
        _git(scratch, "update-index", "--add", "--cacheinfo", f"100644,{blob},{slug}/{path.name}")
    tree = _git(scratch, "write-tree").decode().strip()
    if there and tree == _git(scratch, "rev-parse", f"{BRANCH}^{{tree}}").decode().strip():
        commit = there[0].decode()
    else:
        parents = ["-p", BRANCH] if there else []
        commit = _git(scratch, "commit-tree", tree, *parents, "-m", f"Feedback on {slug}").decode().strip()
        _git(scratch, "push", "--quiet", "--", member.repository, f"{commit}:refs/heads/{BRANCH}")
    return Gathered(member.student, commit, datetime.now(UTC), True, tuple(path.name for path in own))


def _git(folder: Path, *arguments: str) -> bytes:
    """Run git in `folder`; it asks nothing, follows no helper transport, and signs as the grader."""
    environment = os.environ | {
        "GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "https:ssh:file", "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_AUTHOR_NAME": "grader", "GIT_AUTHOR_EMAIL": "grader@localhost",
        "GIT_COMMITTER_NAME": "grader", "GIT_COMMITTER_EMAIL": "grader@localhost",
    }  # fmt: skip
    environment.pop("GIT_DIR", None)
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, check=True, timeout=_PATIENCE).stdout


def _reason(error: Exception) -> str:
    said = getattr(error, "stderr", None) or b""
    lines = said.decode("utf-8", "replace").strip().splitlines()
    first = next((line for line in lines if line.startswith("fatal")), lines[0] if lines else str(error))
    return re.sub(r"//[^/@\s]+@", "//", first)[:300]  # no password of an address
