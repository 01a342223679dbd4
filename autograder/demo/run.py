"""`dlcv demo`: release chapter 3, hand in for a class of nine, grade it in the sandbox, and show what came of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from rich.markup import escape
from rich.table import Table

from autograder.base import paths
from autograder.chapter import rows
from autograder.demo.sample_class import CLASS, Sample, fill
from dlcv_lab.cli.frame import FAULT, FINDINGS, console, fail

CHAPTER = "ch03"


@dataclass(frozen=True)
class Place:
    """Where the demo works: everything below build/, made anew by each run."""

    course: Path
    repository: Path
    scores: Path


def place() -> Place:
    home = paths.build()
    return Place(home / "demo-course", home / "demo" / "student-repository", home / "demo" / "scores.json")


def run(*, book: bool = True) -> int:
    """Run the demo and return an exit code: 1 where a submission did not get the verdict that it should."""
    started = time.perf_counter()
    where = place()
    for old in (where.course, where.scores.parent):
        shutil.rmtree(old, ignore_errors=True)
    where.scores.parent.mkdir(parents=True)
    shown = paths.shown(where.course)
    command("make a course folder", "course", "init", shown, "--name", "Demo", "--chapters", CHAPTER)
    command("release chapter 3 to the student repository", "release", CHAPTER, "--to", paths.shown(where.repository),
            "--course", shown)  # fmt: skip
    hand_in(where)
    command("grade the class in the sandbox, on secret cases", "grade", "--chapter", CHAPTER, "--course", shown,
            "--json", paths.shown(where.scores))  # fmt: skip
    if book:
        command("build the book page of the chapter", "book", "--chapters", CHAPTER[2:].lstrip("0"))
    results = {entry["student"]: entry for entry in json.loads(where.scores.read_text(encoding="utf-8"))["students"]}
    code = show(results)
    next_steps(where, book)
    console.print(f"{time.perf_counter() - started:.0f} seconds.", highlight=False)
    return code


def command(what: str, *arguments: str) -> None:
    """Show a command of `dlcv` and run it in a process of its own."""
    console.rule(f"[bold]{what}", align="left")
    console.print(f"$ dlcv {' '.join(arguments)}", style="cyan", highlight=False, soft_wrap=True)
    start = "from dlcv_lab.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", start, *arguments], cwd=paths.root())
    if done.returncode:
        fail(f"the step `dlcv {arguments[0]}` ended with code {done.returncode}; its message stands above", FAULT)


def hand_in(where: Place) -> None:
    """Fill in the release notebooks for every student of the sample class, as if they had been collected."""
    console.rule("[bold]nine students hand in", align="left")
    row = rows.load_row(CHAPTER)
    released = sorted((where.repository / row.slug).glob("*.ipynb"))
    for sample in CLASS:
        folder = where.course / "submitted" / sample.student / row.slug
        folder.mkdir(parents=True)
        for path in released:
            notebook = nbformat.read(path, as_version=4)
            nbformat.write(fill(notebook, row, sample), folder / path.name)
        console.print(f"  {sample.student:6s} {sample.did}", highlight=False)


def show(results: dict[str, dict[str, Any]]) -> int:
    """Print the table of the class; return 1 where a verdict is not the one that the sample was made for."""
    table = Table(title="What came of it", title_justify="left", show_lines=True)
    for heading, width in (("student", 7), ("did", 18), ("points", 9), ("verdict", 16), ("reason", 60)):
        table.add_column(heading, max_width=width, overflow="fold")
    odd = []
    for sample in CLASS:
        entry = results[sample.student]
        verdict, reason = told(sample, entry)
        if verdict != sample.expected or not _fair(sample, entry):
            odd.append(f"{sample.student}: {verdict}, expected {sample.expected}")
        name = f" {sample.about}" if sample.about else ""
        table.add_row(sample.student, sample.did, f"{entry['score']:g}/{entry['max_score']:g}", f"{verdict}{name}",
                      escape(reason))  # fmt: skip
    console.print(table)
    for line in odd:
        console.print(f"[bold red]not as it should be:[/bold red] {escape(line)}")
    return FINDINGS if odd else 0


def told(sample: Sample, entry: dict[str, Any]) -> tuple[str, str]:
    """Return the verdict that the sample is about, and the reason that the student reads."""
    core = [exercise for exercise in entry["exercises"] if exercise["core"]]
    if sample.about:
        exercise = next(exercise for exercise in entry["exercises"] if exercise["name"] == sample.about)
        return exercise["verdict"], f"{exercise['message']} {exercise['hint']}".strip()
    verdicts = {exercise["verdict"] for exercise in core}
    if sample.expected not in ("OK", "NA"):
        gained = sum(exercise["score"] for exercise in core)
        names = ", ".join(sorted(verdicts))
        return (sample.expected if not gained and "OK" not in verdicts else "OK"), f"{names}; {core[0]['message']}"
    verdict = sample.expected if verdicts == {sample.expected} else ", ".join(sorted(verdicts))
    return verdict, core[0]["message"] if len(verdicts) == 1 else "see the feedback page"


def _fair(sample: Sample, entry: dict[str, Any]) -> bool:
    """Tell whether everything that the sample did right got its points, and the cheat got none."""
    if sample.expected == "NA" or sample.tamper is not None:
        return bool(entry["score"] == 0)
    others = [exercise for exercise in entry["exercises"] if exercise["name"] != sample.about]
    return all(exercise["verdict"] == "OK" for exercise in others)


def next_steps(where: Place, book: bool) -> None:
    """Print what to open and what to type next."""
    shown = paths.shown(where.course)
    console.rule("[bold]next steps", align="left")
    lines = [
        ("the class report (scores, mistakes)", f"open {_first(where.course / 'journal', '*.html') or shown}"),
        ("one student's feedback", f"open {_first(where.course / 'feedback' / 'tim', '**/*.html') or shown}"),
        ("why one verdict", f"dlcv explain tim {CHAPTER}.conv2d --course {shown}"),
        ("marks by hand, in formgrader", f"cd {shown} && jupyter lab  (menu Nbgrader > Formgrader)"),
        ("the student's side", f"dlcv lab {paths.shown(where.repository)}"),
    ]
    page = _first(paths.build(), "**/lesson_1.html") if book else ""
    if page:
        lines.insert(0, ("the page in the book", f"open {page}"))
    for what, line in lines:
        console.print(f"  {what + ':':36s} {line}", highlight=False, soft_wrap=True)


def _first(folder: Path, pattern: str) -> str:
    found = sorted(folder.glob(pattern)) if folder.is_dir() else []
    return paths.shown(found[0]) if found else ""
