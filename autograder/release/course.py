"""The course folder: everything that one run of the course owns. It lies outside the checkout's derived files.

- course.toml: chapters and their order, edition, policies, isolation, where the secret is
- secret: the key of the hidden cases (mode 600), or an environment variable instead
- nbgrader_config.py: lets nbgrader's own commands and formgrader use our judge
- source/ release/ submitted/ autograded/ feedback/ journal/ gradebook.db
"""

from __future__ import annotations

import os
import secrets
import stat
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from autograder.base import cache
from autograder.chapter import rows
from autograder.release.nbgrader_config import nbgrader_config

Edition = Literal["course", "self-study"]
EDITIONS: tuple[str, ...] = get_args(Edition)
FEEDBACK_CASES = ("after_deadline", "never")
FOLDERS = ("source", "release", "submitted", "autograded", "feedback", "journal")
SECRET_BYTES = 32


class CourseError(Exception):
    """A course folder that cannot be used; the message names the file and the remedy."""


@dataclass(frozen=True)
class Course:
    """What course.toml says, with the paths made absolute."""

    root: Path
    name: str
    chapters: tuple[str, ...]  # keys, in the order of teaching
    edition: Edition = "course"
    min_isolation: str = "bubblewrap"
    secret_at: str = "secret"  # a path, absolute or below root, or "env:NAME"
    gradebook_at: str = ""  # an SQLAlchemy URL, or "env:NAME"; empty: gradebook.db here
    never_lower: bool = True  # a regrade may raise a score, and lowers none
    feedback_cases: str = "after_deadline"  # when feedback shows the smallest failing case: or "never"
    deadlines: Mapping[str, datetime] = field(default_factory=dict)  # chapter key -> UTC; else the gradebook's

    @property
    def database(self) -> str:
        """Return the gradebook's SQLAlchemy URL; DLCV_GRADEBOOK names another one.

        Raises:
            CourseError: course.toml names a variable that is not set.
        """
        url = os.environ.get("DLCV_GRADEBOOK") or self.gradebook_at
        if url.startswith("env:"):
            name, url = url[4:], os.environ.get(url[4:], "")
            if not url:
                raise CourseError(f"{self.root / 'course.toml'}: the variable {name} holds no gradebook URL; set it")
        return _patient(url) if url else f"sqlite:///{self.root / 'gradebook.db'}"

    @property
    def journal(self) -> Path:
        return self.root / "journal"

    def folder(self, name: str) -> Path:
        """Return one of nbgrader's folders, such as "submitted"."""
        return self.root / name

    def secret(self) -> bytes:
        """Return the key of the hidden cases.

        Raises:
            CourseError: it is missing, short, or readable by others.
        """
        if self.secret_at.startswith("env:"):
            text = os.environ.get(self.secret_at[4:], "")
            if len(text) < SECRET_BYTES:
                raise CourseError(f"the variable {self.secret_at[4:]} holds no secret of {SECRET_BYTES} characters")
            return text.encode()
        path = self.root / self.secret_at
        if not path.exists():
            raise CourseError(
                f"{path}: the secret is missing; restore it, or `dlcv course init` makes one for a new run"
            )
        if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise CourseError(f"{path}: others can read the secret; run `chmod 600 {path}`")
        raw = path.read_bytes().strip()
        if len(raw) < SECRET_BYTES:
            raise CourseError(f"{path}: the secret is shorter than {SECRET_BYTES} bytes; restore it from your backup")
        return raw


TEMPLATE = """\
# One run of the course. Nothing here is touched by `make clean` or by an update of the checkout.
[course]
name = "{name}"
edition = "{edition}"  # "course": no solutions; "self-study": solutions open after an attempt
chapters = [{chapters}]  # in the order of teaching

[grading]
min_isolation = "bubblewrap"  # vm, container, bubblewrap, uid, none: below this level nothing is graded
secret = "secret"  # a file of mode 600, or "env:NAME"; whoever has it can compute the hidden cases
gradebook = ""  # empty: gradebook.db in this folder; or "postgresql://USER@HOST/DATABASE", or "env:NAME"
never_lower = true  # a regrade may raise a score, and lowers none

[feedback]
cases = "after_deadline"  # or "never": when a page shows the smallest failing case

[deadlines]  # of a chapter, with its time zone; without one the gradebook's due date holds (formgrader sets it)
# ch03 = 2026-11-30T23:59:00+01:00

[book]  # where readers open the notebooks, and where the whole book stands
# repository = "https://github.com/you/cv-student"
# hub = "https://hub.example.org"
# published = "https://you.github.io/cv-book"
"""


def init_course(
    root: Path, *, name: str = "", chapters: Iterable[str] = (), edition: str = "course"
) -> tuple[Course, list[Path]]:
    """Make a course folder, or complete one; what is there already stays as it is. Return the files that were made.

    Raises:
        CourseError: an unknown edition, or `root` is inside build/, which `make clean` removes.
        rows.RowError: an unknown chapter.
    """
    from autograder.base import paths

    root = root.resolve()
    if edition not in EDITIONS:
        raise CourseError(f"there is no edition {edition!r}; choose one of {', '.join(EDITIONS)}")
    if bad := sorted({letter for letter in str(root) if letter in "*?[]"}):
        raise CourseError(
            f"{root}: a course folder's path may not hold {' '.join(bad)}, which nbgrader takes for a pattern; choose "
            "another name"
        )
    if root.is_relative_to(paths.build()) and not root.name.startswith("demo"):
        raise CourseError(f"{root} lies in build/, which `make clean` removes; choose a folder elsewhere")
    keys = [rows.resolve(chapter)[:4] for chapter in chapters] or [slug[:4] for slug in rows.slugs()]
    made = []
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    listed = ", ".join(f'"{key}"' for key in keys)
    settings = root / "course.toml"
    if not settings.exists():
        text = TEMPLATE.format(name=name or root.name, edition=edition, chapters=listed)
        cache.write(settings, text.encode())
        made.append(settings)
    course = load_course(root)
    secret = root / course.secret_at
    if not course.secret_at.startswith("env:") and not secret.exists():
        with os.fdopen(os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(secrets.token_hex(SECRET_BYTES).encode() + b"\n")
        made.append(secret)
    ignore = root / ".gitignore"
    if not ignore.exists():
        cache.write(ignore, b"secret\ngradebook.db*\n")
        made.append(ignore)
    config = root / "nbgrader_config.py"
    if not config.exists():
        cache.write(config, nbgrader_config(course.root).encode())
        made.append(config)
    workflow = root / ".github" / "workflows" / "grade.yml"
    if not workflow.exists():
        cache.write(workflow, (Path(__file__).parent / "workflows" / "grade.yml").read_bytes())
        made.append(workflow)
    return course, made


def load_course(root: Path) -> Course:
    """Read DIR/course.toml.

    Raises:
        CourseError: it is missing or malformed.
    """
    path = root.resolve() / "course.toml"
    if not path.exists():
        raise CourseError(f"{path} does not exist; make the folder with `dlcv course init {root}`")
    try:
        data: dict[str, dict[str, Any]] = tomllib.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise CourseError(f"{path}, line {line}: not UTF-8; save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise CourseError(f"{path}: not valid TOML: {error}") from None
    course, grading = data.get("course", {}), data.get("grading", {})
    edition = course.get("edition", "course")
    if edition not in EDITIONS:
        raise CourseError(f"{path}: edition is {edition!r}; write one of {', '.join(EDITIONS)}")
    chapters = course.get("chapters", [])
    if not isinstance(chapters, list) or not all(isinstance(chapter, str) for chapter in chapters):
        raise CourseError(f'{path}: chapters is a list such as ["ch01", "ch03"]')
    return Course(
        root=path.parent,
        name=str(course.get("name", path.parent.name)),
        chapters=tuple(chapters),
        edition=edition,
        min_isolation=str(grading.get("min_isolation", "bubblewrap")),
        secret_at=str(grading.get("secret", "secret")),
        gradebook_at=str(grading.get("gradebook", "")),
        never_lower=bool(grading.get("never_lower", True)),
        feedback_cases=_feedback_cases(path, data),
        deadlines=_deadlines(path, data.get("deadlines", {})),
    )


def _patient(url: str) -> str:
    """Return a PostgreSQL URL with our driver, and with limits on waiting for the server and for locks."""
    scheme, _, rest = url.partition("://")
    if scheme not in ("postgres", "postgresql", "postgresql+psycopg"):
        return url
    limits = ("connect_timeout=10", "options=-c%20lock_timeout%3D20s")
    missing = [limit for limit in limits if limit.partition("=")[0] + "=" not in rest]
    joined = "&".join(missing)
    return f"postgresql+psycopg://{rest}" + (("&" if "?" in rest else "?") + joined if missing else "")


def _feedback_cases(path: Path, data: dict[str, dict[str, Any]]) -> str:
    older = "after_deadline" if data.get("policies", {}).get("show_failing_case", True) else "never"
    chosen = data.get("feedback", {}).get("cases", older)
    if chosen not in FEEDBACK_CASES:
        raise CourseError(f"{path}: feedback.cases is {chosen!r}; write one of {', '.join(FEEDBACK_CASES)}")
    return str(chosen)


def _deadlines(path: Path, listed: dict[str, Any]) -> dict[str, datetime]:
    for chapter, when in listed.items():
        if not isinstance(when, datetime) or when.tzinfo is None:
            example = "ch03 = 2026-11-30T23:59:00+01:00"
            raise CourseError(f"{path}: the deadline of {chapter} needs date, time and zone, as in {example}")
    return {chapter: when.astimezone(UTC) for chapter, when in listed.items()}
