"""The web book: pages made from the rows, then one strict run of Jupyter Book, then a folder that is replaced whole."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from autograder.base import cache, paths
from autograder.book import claims_page, front, pages, teaching, zoo_scripts
from autograder.book.lesson_pages import write_lessons
from autograder.chapter import book_plan, elsewhere, ledger, references, rows
from autograder.chapter.rows import Row
from autograder.release import launch_buttons
from autograder.release.execute_lessons import SIDE_BY_SIDE, Execution, execute, unexecuted

USUAL_SECONDS = 60.0  # of a lesson that never ran here
Solutions = Literal["none", "dropdown"]
Progress = Callable[[str], None]


class BookError(Exception):
    """A book that could not be built without a warning; the message lists what Sphinx said."""


@dataclass(frozen=True)
class Built:
    """What one run made."""

    folder: Path  # index.html lies here
    chapters: tuple[str, ...]
    pages: int
    seconds: float


def build(
    chapters: str = "",
    solutions: Solutions = "none",
    *,
    methods: Callable[[], Sequence[Mapping[str, Any]]],
    course: Path | None = None,
    run: Collection[str] | None = None,
    progress: Progress = lambda line: None,
) -> Built:
    """Build the book and return where it is.

    Args:
        chapters: a selection such as "3" or "16-25"; empty for all that are written.
        solutions: "none", or "dropdown" to put the worked solution under each exercise.
        methods: gives the entries of `dlcv methods --json`.
        course: a course folder whose `[book]` says where notebooks open and where the whole book stands.
        run: slugs of the chapters whose lessons are run, default all; those of others stand there without outputs.
        progress: called with one line per step.

    Raises:
        BookError: Sphinx had a warning or an error.
        LaunchError: `_config.yml` or the course's settings cannot be used.
        PlanError: the selection or book/chapters.toml cannot be used.
        RowError: a chapter cannot be assembled.
    """
    started = time.perf_counter()
    places = launch_buttons.read(course)
    written = rows.slugs()
    plan = book_plan.read().with_written(written)
    chosen = book_plan.select(chapters, written) if chapters else written
    whole = not chapters and solutions == "none"
    loaded = {slug: rows.load_row(slug) for slug in chosen}
    contents = book_plan.toc(plan, _stems(loaded))

    own = paths.build() / ("pages" if whole else f"parts/{_name(chosen, solutions)}/pages")
    to_run = [slug for slug in loaded if run is None or slug in run]
    still = Estimate.of({slug: loaded[slug] for slug in to_run})
    progress(f"{still.left} lessons, {still.said()} where nothing is kept from before")
    ran = execute([loaded[slug] for slug in to_run], progress=lambda done: progress(still.line(done)))
    ran += [done for slug in loaded if slug not in to_run for done in unexecuted(loaded[slug])]
    for slug, row in loaded.items():
        write_lessons(
            [done for done in ran if done.chapter == row.key],
            own / "chapters" / slug,
            solutions == "dropdown",
            row,
            plan,
            loaded,
            places,
        )
    progress("status of the methods")
    seconds = {(done.chapter, done.notebook): done.cpu_seconds for done in ran if done.ran}
    write_pages(own, plan, loaded, methods(), seconds, places)
    zoo_scripts.write(own, zoo_scripts.wanted(book_plan.book_folder(), own), progress)
    cache.write(own / "elsewhere.json", elsewhere.table(plan, loaded.keys(), places.published).encode())

    home = paths.root()
    direct = whole and own == home / "build" / "pages" and book_plan.book_folder() == home / "book"
    source = home if direct else own.parent / "booktree"
    if direct:
        if cache.write(home / "_toc.yml", contents.encode()):
            progress("_toc.yml brought up to date")
    else:
        _stage(source, own, contents)
    out = paths.build() / ("book" if whole else f"book-{_name(chosen, solutions)}")
    made = run_jupyter_book(source, paths.build() if direct else own.parent, progress)
    publish(made, out)
    return Built(
        out,
        tuple(chosen),
        sum("_static" not in path.parts for path in out.rglob("*.html")),
        time.perf_counter() - started,
    )


@dataclass
class Estimate:
    """How long the lessons that are left will take, by what they took before."""

    before: dict[tuple[str, str], float]  # seconds by chapter key and notebook
    total: int

    @classmethod
    def of(cls, loaded: Mapping[str, Row]) -> Estimate:
        path = paths.records() / "lessons.json"
        held = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        names = [(row.key, lesson.stem) for row in loaded.values() for lesson in row.notebooks]
        return cls({(k, s): held.get(k, {}).get(s, {}).get("seconds", USUAL_SECONDS) for k, s in names}, len(names))

    @property
    def left(self) -> int:
        return len(self.before)

    def said(self) -> str:
        minutes = sum(self.before.values()) / min(SIDE_BY_SIDE, max(1, self.left)) / 60
        return f"about {minutes:.0f} min" if minutes >= 1 else "less than a minute"

    def line(self, done: Execution) -> str:
        self.before.pop((done.chapter, done.notebook), None)
        took = "kept from before" if done.cached else f"{done.seconds:.0f} s"
        left = f", {self.said()} left at most" if self.left else ""
        return f"[{self.total - self.left} of {self.total}] {done.chapter} {done.notebook}: {took}{left}"


def _stems(loaded: Mapping[str, Row]) -> dict[str, Sequence[str]]:
    return {slug: [lesson.path.stem for lesson in row.notebooks] for slug, row in loaded.items()}


def _name(chosen: Sequence[str], solutions: Solutions) -> str:
    return book_plan.label(chosen) + ("-solutions" if solutions == "dropdown" else "")


def expected_toc() -> str:
    """Return what _toc.yml says when it agrees with the rows; needs no chapter to be importable."""
    stems = {
        slug: sorted(path.stem for path in (paths.chapters() / slug).glob("lesson*.md") if "." not in path.stem)
        for slug in rows.slugs()
    }
    return book_plan.toc(book_plan.read(), stems)


def write_pages(
    folder: Path,
    plan: book_plan.Plan,
    loaded: Mapping[str, Row],
    methods: Sequence[Mapping[str, Any]],
    seconds: Mapping[tuple[str, str], float],
    places: launch_buttons.Places,
) -> None:
    """Write the generated pages that are no lessons, and remove the pages of chapters that are gone.

    Args:
        folder: build/pages, or that of a part of the book.
        plan: parts and chapters.
        loaded: slug -> row, for the chapters in this book.
        methods: entries of `dlcv methods --json`.
        seconds: of one processor that each lesson took, by chapter key and notebook.
        places: where notebooks and the whole book stand.
    """
    ledgers = {slug: ledger.read_ledger(slug) for slug in loaded}
    place = pages.places(loaded, methods)
    texts = {
        "chapters.md": pages.chapters_page(plan, loaded, methods),
        "methods.md": pages.methods_page(plan, methods, place),
        "claims.md": claims_page.claims_page(plan, ledgers, references.load().keys()),
        "front_door.md": front.door(loaded),
        "front_series.md": front.shelf(plan, loaded, methods),
        "front_foot.md": front.foot(places),
    }
    for slug, row in loaded.items():
        own = [method for method in methods if method["chapter"] == slug]
        texts[f"chapters/{slug}/index.md"] = pages.chapter_page(plan, row, own, place, ledgers[slug], seconds)
        texts[f"teaching/{slug}.md"] = teaching.page(plan, row)
    texts["teaching/index.md"] = teaching.overview(plan, loaded)
    for name, text in texts.items():
        cache.write(folder / name, text.encode())
    there = folder / "chapters"
    for stale in there.iterdir() if there.exists() else ():
        if stale.is_dir() and stale.name not in loaded:
            shutil.rmtree(stale)
    for old in (folder / "teaching").glob("*.md"):
        if f"teaching/{old.name}" not in texts:
            old.unlink()


def _stage(source: Path, pages: Path, contents: str) -> None:
    """Lay out a source folder for a book that is not the whole one: front matter, its own pages and contents."""
    home = book_plan.book_folder()
    mirror(home, source / "book")
    mirror(pages, source / "build" / "pages")
    cache.write(source / "_config.yml", (home.parent / "_config.yml").read_bytes())
    cache.write(source / "_toc.yml", contents.encode())


def run_jupyter_book(source: Path, output: Path, progress: Progress = lambda line: None) -> Path:
    """Run Jupyter Book with warnings as errors and return its folder of pages.

    Raises:
        BookError: there was a warning or an error; the message lists each once.
    """
    made = output / "_build"
    made.mkdir(parents=True, exist_ok=True)
    stamp = made / "stamp"
    own = [path for name in ("_ext", "_static") for path in (source / "book" / name).rglob("*") if path.is_file()]
    looks = cache.files_digest([path for path in own if path.suffix != ".pyc"] + [source / "_config.yml"])
    if not stamp.exists() or stamp.read_text() != looks:
        shutil.rmtree(made / ".doctrees", ignore_errors=True)  # Sphinx does not see that these changed
    start = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]
    progress("Jupyter Book")
    done = subprocess.run(
        [*start, "build", str(source), "--path-output", str(output), "-n", "-W", "--keep-going"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        cwd=source,
        env={**os.environ, "PYTHONUTF8": "1", "NO_COLOR": "1"},
    )
    log = made / "log.txt"
    log.write_text(done.stdout + "\n" + done.stderr, encoding="utf-8")
    if done.returncode:
        # what Sphinx warned about once it keeps in its cache and does not say again
        shutil.rmtree(made / ".doctrees", ignore_errors=True)
        stamp.unlink(missing_ok=True)
        found = warnings_of(done.stdout + "\n" + done.stderr)
        said = "\n".join(found) or "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise BookError(f"Jupyter Book stopped ({len(found)} warnings, all of it in {paths.shown(log)}):\n{said}")
    stamp.write_text(looks)
    return made / "html"


def warnings_of(log: str) -> list[str]:
    """Return the warnings and errors of a build's log, each once, without colours."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", log)
    lines = [line.strip() for line in plain.splitlines() if re.search(r"\b(WARNING|ERROR|SEVERE|CRITICAL):", line)]
    return list(dict.fromkeys(lines))


def publish(made: Path, out: Path) -> None:
    """Make `out` equal to a clean build; what serves it never sees half a book for longer than the copying takes."""
    mirror(made, out, skip=(".buildinfo", "objects.inv"))


def mirror(source: Path, target: Path, skip: Sequence[str] = ()) -> None:
    """Make a folder equal to another: copy what differs, remove what is gone."""
    wanted = {path.relative_to(source) for path in source.rglob("*") if path.is_file() and path.name not in skip}
    for path in sorted(target.rglob("*"), reverse=True) if target.exists() else ():
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(target) not in wanted:
            path.unlink()
    for name in wanted:
        old, new = target / name, source / name
        if (
            not old.exists()
            or old.stat().st_size != new.stat().st_size
            or old.stat().st_mtime_ns != new.stat().st_mtime_ns
        ):
            old.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(new, old)
