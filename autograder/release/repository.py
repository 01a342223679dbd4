"""The student repository: notebooks without solutions, check packs, the wheel, and a note of what changed.

It is the instructor's outgoing folder. Generated files are written anew, foreign files stay, and a release that
changes nothing leaves every byte as it is. What was written is listed in .dlcv/release.json.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autograder.base import cache, paths
from autograder.chapter import content_version
from autograder.chapter.extras import extras_of
from autograder.chapter.rows import Row, load_row, slugs
from autograder.release import (
    assemble,
    launch_buttons,
    leaks,
    nbgrader_release,
    packing,
    repository_texts,
    solution_packs,
    wheel,
)
from autograder.release.course import Course

MANIFEST = ".dlcv/release.json"
CHANGES = "CHANGES.md"
CHECKOUT_FOLDERS = (".git", ".ci", "autograder", "book", "chapters", "dlcv_lab", "docs", "solutions", "tests", "tools")


class ReleaseError(Exception):
    """A release that must not go out; the message says why."""


@dataclass
class Released:
    """What a release did, for the command line."""

    folder: Path
    chapters: list[str]
    edition: str
    written: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    kept_edits: list[str] = field(default_factory=list)  # generated files that someone had edited: old text in *.bak


def release(
    to: Path,
    chapters: Iterable[str] = (),
    *,
    edition: str = "",
    solutions: bool = False,
    course: Course | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Released:
    """Write or update the student repository in the folder `to`.

    Args:
        to: the outgoing folder; made where it does not exist.
        chapters: keys or slugs; by default the course's chapters, else all.
        edition: "course" (no solutions) or "self-study" (solutions open after an attempt); by default the course's.
        solutions: publish the solutions of these chapters, after the deadline.
        course: also enter the chapters in this course's gradebook, source/ and release/.
        progress: called with a few words before each slow step.

    Raises:
        ReleaseError: there is no chapter, the release would leak, or `to` lies inside the checkout's own folders.
        nbgrader_release.FrozenError: graded cells differ from those of existing submissions.
    """
    to = to.resolve()
    _refuse_checkout(to)
    edition = edition or (course.edition if course else "course")
    wanted = list(chapters) or (list(course.chapters) if course else []) or slugs()
    if not wanted:
        raise ReleaseError("there is no chapter to release: write one with `dlcv new-chapter`")
    rows = [load_row(chapter) for chapter in wanted]
    with tempfile.TemporaryDirectory(prefix="dlcv-release-") as temporary:
        stage = Path(temporary) / "repository"
        for row in rows:
            progress(f"{row.key}: notebooks and check packs")
            _stage_chapter(row, stage, course)
            if solutions or edition == "self-study":
                solution_packs.write(row, stage / ".dlcv" / "solutions" / row.slug, after_attempt=not solutions)
        _stage_common(rows, stage, to, edition, progress)
        places = launch_buttons.read(course.root if course else None)
        wheel_path = next(stage.glob("wheels/*.whl")).relative_to(stage).as_posix()
        launch_buttons.add_first_cells(stage, {row.slug: extras_of(row) for row in rows}, wheel_path, places)
        progress("leak test")
        found = leaks.find_leaks(
            [stage], rows, secret=course.secret() if course else b"", skip=[stage / ".dlcv" / "solutions"]
        )
        if found:
            raise ReleaseError("nothing was released, because it would leak:\n" + "\n".join(map(str, found[:10])))
        done = _synchronise(stage, to, rows, edition)
    if course is not None:
        for row in rows:
            content_version.note_release(
                course.journal, row, {info.name: info.version for info in packing.infos_of(row)}
            )
    return done


def _refuse_checkout(to: Path) -> None:
    if not to.is_relative_to(paths.CHECKOUT):
        return
    inner = to.relative_to(paths.CHECKOUT).parts
    if not inner or inner[0] in CHECKOUT_FOLDERS:
        raise ReleaseError(f"{to} belongs to the checkout; choose a folder outside it, or one below build/")


def _stage_chapter(row: Row, stage: Path, course: Course | None) -> None:
    assemble.assemble(row)
    nbgrader_release.generate(paths.source(row.slug), row.slug, stage / row.slug, course)
    shutil.copytree(paths.packs() / row.slug, stage / ".dlcv" / "packs" / row.slug)


def _stage_common(rows: list[Row], stage: Path, to: Path, edition: str, progress: Callable[[str], None]) -> None:
    """Add what belongs to the repository as a whole; chapters released earlier keep their packs in the wheel."""
    new = {row.slug for row in rows}
    packs = stage / ".dlcv" / "packs"
    earlier = [
        place for place in sorted((to / ".dlcv" / "packs").glob("ch*")) if place.is_dir() and place.name not in new
    ]
    progress("wheel")
    with tempfile.TemporaryDirectory(prefix="dlcv-packs-") as temporary:
        together = Path(temporary) / "packs"
        shutil.copytree(packs, together)
        for place in earlier:
            shutil.copytree(place, together / place.name)
        built = wheel.build_wheel(together, stage / "wheels")
        listed = sorted(together.glob("ch*/chapter.json"))
        contents = [json.loads(path.read_text(encoding="utf-8")) for path in listed]
    version = wheel.version_of(built)
    for name, text in repository_texts.texts(contents, edition, version).items():
        cache.write(stage / name, text.encode())
    for name in ("LICENSE", "LICENSE-CONTENT"):
        if (paths.CHECKOUT / name).exists():
            cache.write(stage / name, (paths.CHECKOUT / name).read_bytes())


def _synchronise(stage: Path, to: Path, rows: list[Row], edition: str) -> Released:
    done = Released(to, [row.key for row in rows], edition)
    old: dict[str, str] = {}
    if (to / MANIFEST).exists():
        old = json.loads((to / MANIFEST).read_text(encoding="utf-8"))["files"]
    new = {path.relative_to(stage).as_posix(): _digest(path) for path in sorted(stage.rglob("*")) if path.is_file()}
    own = tuple(prefix + row.slug + "/" for row in rows for prefix in ("", ".dlcv/packs/", ".dlcv/solutions/"))
    stale = [name for name in old if name not in new and name.startswith((*own, "wheels/"))]
    stale = [name for name in stale if not (name.startswith(".dlcv/solutions/") and edition == "course")]
    lines = repository_texts.changes(stage, to, new, old, stale)
    for name, digest in new.items():
        target = to / name
        if target.exists() and name in old and _digest(target) not in (digest, old[name]):
            shutil.copyfile(target, target.with_name(target.name + ".bak"))
            done.kept_edits.append(name)
        if cache.write(target, (stage / name).read_bytes()):
            done.written.append(name)
    for name in stale:
        (to / name).unlink(missing_ok=True)
        done.removed.append(name)
    if lines:
        repository_texts.add_changes(to / CHANGES, lines, _today())
    kept = {name: digest for name, digest in old.items() if name not in stale} | new
    record: dict[str, Any] = {"edition": edition, "files": dict(sorted(kept.items()))}
    cache.write(to / MANIFEST, (json.dumps(record, indent=1) + "\n").encode())
    return done


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _today() -> str:
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch:
        return datetime.datetime.fromtimestamp(int(epoch), datetime.UTC).date().isoformat()
    return datetime.date.today().isoformat()
