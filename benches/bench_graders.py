"""One class, three graders: chapter 3 handed in right by everyone, graded by nbgrader, by otter-grader and by us.

nbgrader and otter run the same cases as asserts in the student's kernel. Measured are wall clock, processor seconds and
memory of all processes together, how that grows with the class, and which of a dozen attacks each withstands.

`python benches/bench_graders.py` measures everything (about half an hour on two idle cores); with names of parts,
those alone. Each part is kept with its date in build/bench/graders/; parts that are not there are taken from the
published figures, and the last line sums up all of them. `--publish` writes the sum to benches/results/graders.json,
and the book's page with its picture; alone it measures nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat

sys.path.insert(0, str(Path(__file__).parent))

from peers import attacks, nbgrader_peer, otter_peer
from peers.lessons import Lessons, prepare, stripped
from peers.measure import Taken, take

ROOT = Path(__file__).resolve().parent.parent
PLACE = Path(os.environ.get("DLCV_BUILD") or ROOT / "build") / "peers"
PARTS = Path(os.environ.get("DLCV_BUILD") or ROOT / "build") / "bench" / "graders"
RESULTS = ROOT / "benches" / "results" / "graders.json"
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
SMALL = "relu,output_size"  # two exercises for the growth of large classes
FULL = 30.0  # points of the chapter


def write_class(lessons: Lessons, folder: Path, count: int) -> Path:
    """Write `count` right submissions as nbgrader collects them."""
    shutil.rmtree(folder, ignore_errors=True)
    texts = {stem: nbformat.writes(notebook) for stem, notebook in lessons.filled.items()}
    for number in range(count):
        home = folder / f"s{number:04d}" / lessons.row.slug
        home.mkdir(parents=True)
        for stem, text in texts.items():
            (home / f"{stem}.ipynb").write_text(text)
    return folder


def ours(lessons: Lessons, count: int, only: str = "", workers: int = CORES) -> dict[str, Any]:
    folder = write_class(lessons, PLACE / f"class-{count}", count)
    command = [sys.executable, "-m", "peers.ours", str(folder), str(workers), *([only] if only else [])]
    taken = take(command, cwd=Path(__file__).parent, limit=1800)
    if taken.code:
        raise RuntimeError(taken.said)
    figures = {**taken.figures(), **json.loads(taken.said.strip().splitlines()[-1])}
    if figures["verdicts"] != ["OK"] or len(figures["points"]) != 1:
        raise RuntimeError(f"honest work was not right for us: {figures}")
    if only != SMALL:
        _full_marks("we", figures["points"])
    return {**figures, "submissions": count}


def _full_marks(who: str, points: list[float]) -> None:
    if points != [FULL]:
        raise RuntimeError(f"{who} gave honest work {points} points; {FULL} is right")


def nbgrader(lessons: Lessons, shape: Callable[..., Any], counts: tuple[int, ...]) -> list[dict[str, Any]]:
    """Grade classes of these sizes with nbgrader; the class grows, so that each run grades from nothing."""
    root, found = PLACE / "nbgrader", []
    right = nbgrader_peer.set_up(lessons, root, shape)
    for count in counts:
        for number in range(count):
            nbgrader_peer.hand_in(root, f"s{number:04d}", right)
        taken = nbgrader_peer.autograde(lessons, root)
        scores = nbgrader_peer.scores(root)
        points = sorted({round(score, 3) for student, score in scores.items()})
        if taken.code or len(scores) != count:
            raise RuntimeError(f"nbgrader ended with {taken.code} after {len(scores)} of {count}: {taken.said}")
        _full_marks("nbgrader", points)
        found.append({"submissions": count, **taken.figures(), "points": points, "code": taken.code})
    return found


def otter(lessons: Lessons, counts: tuple[int, ...]) -> Any:
    """Grade stripped notebooks with otter, one call per notebook, as it is made for."""
    programs = otter_peer.install(PLACE)
    if programs is None:
        return "not measured: otter-grader could not be installed"
    works = {}
    for stem, notebook in lessons.filled.items():
        small = stripped(notebook)
        works[stem] = (otter_peer.autograder(programs, small, PLACE / f"otter-{stem}"),
                       otter_peer.without_asserts(small))  # fmt: skip
    found = []
    for count in counts:
        took: list[Taken] = []
        points = set()
        for _ in range(count):
            total = 0.0
            for stem, (archive, notebook) in works.items():
                taken, score = otter_peer.run(programs, lessons, archive, notebook, PLACE / f"otter-run-{stem}")
                took.append(taken)
                total += score or 0.0
            points.add(round(total, 3))
        _full_marks("otter", sorted(points))
        cpu = sum(taken.cpu or 0.0 for taken in took)
        found.append({"submissions": count, "wall_s": round(sum(t.wall for t in took), 2), "cpu_s": round(cpu, 2),
                      "peak_mib": round(max(t.peak_mib for t in took)), "points": sorted(points)})  # fmt: skip
    return found


def attack_nbgrader(lessons: Lessons) -> dict[str, Any]:
    found = {}
    for attack in attacks.ATTACKS:
        root = PLACE / "nbgrader-attack"
        right = nbgrader_peer.set_up(lessons, root, attacks.only_conv2d, stems=("lesson_1",), timeout=10)
        nbgrader_peer.hand_in(root, "a", {stem: attacks.tried(nb, attack) for stem, nb in right.items()})
        nbgrader_peer.hand_in(root, "z", right)
        taken = nbgrader_peer.autograde(lessons, root, limit=120)
        scores = nbgrader_peer.scores(root)
        seconds = round(taken.wall)
        found[attack.name] = {"points": scores.get("a"), "neighbour": scores.get("z", 0.0), "seconds": seconds}
        print(f"  nbgrader, {attack.name}: {found[attack.name]}", flush=True)
    return found


def attack_otter(lessons: Lessons) -> Any:
    programs = otter_peer.install(PLACE)
    if programs is None:
        return "not measured: otter-grader could not be installed"
    small = attacks.only_conv2d(lessons.filled["lesson_1"])
    archive = otter_peer.autograder(programs, small, PLACE / "otter-attack", attacks.CHECK)
    found = {}
    for attack in attacks.ATTACKS:
        notebook = otter_peer.without_asserts(attacks.tried(small, attack))
        taken, points = otter_peer.run(programs, lessons, archive, notebook, PLACE / "otter-attack-run", limit=30)
        found[attack.name] = {"points": points, "neighbour": None, "seconds": round(taken.wall)}
        print(f"  otter, {attack.name}: {found[attack.name]}", flush=True)
    return found


def attack_ours(lessons: Lessons) -> dict[str, Any]:
    """The same attacks on the real notebook; everyone hands in at once, the neighbour comes last."""
    folder = PLACE / "class-attacks"
    shutil.rmtree(folder, ignore_errors=True)
    names = {f"a{number:02d}": attack for number, attack in enumerate(attacks.ATTACKS)}
    for student, attack in {**names, "z": None}.items():
        home = folder / student / lessons.row.slug
        home.mkdir(parents=True)
        notebook = lessons.filled["lesson_1"]
        nbformat.write(attacks.tried(notebook, attack) if attack else notebook, home / "lesson_1.ipynb")
    scores = PLACE / "scores.json"
    command = [sys.executable, "-c", "from dlcv_lab.cli import main; main()", "grade", str(folder), "--chapter", "ch03"]
    taken = take([*command, "--json", str(scores)], cwd=PLACE)
    students = json.loads(scores.read_text())["students"]
    told = {entry["student"]: {e["name"]: e for e in entry["exercises"]} for entry in students}
    neighbour = told["z"]["conv2d"]["score"]
    return {
        attack.name: {"points": told[student]["conv2d"]["score"], "verdict": told[student]["conv2d"]["verdict"],
                      "neighbour": neighbour, "seconds": round(taken.wall)}
        for student, attack in names.items()
    }  # fmt: skip


def overhead(lessons: Lessons) -> dict[str, Any]:
    folder = write_class(lessons, PLACE / "class-1", 1)
    taken = take([sys.executable, "-m", "peers.ours", str(folder), "overhead"], cwd=Path(__file__).parent)
    return dict(json.loads(taken.said.strip().splitlines()[-1]))


def parts(lessons: Lessons) -> dict[str, Callable[[], Any]]:
    """Return every part by name, the quick ones first."""
    core = ",".join(lessons.core)
    return {
        "overhead": lambda: overhead(lessons),
        "ours_1": lambda: ours(lessons, 1, workers=1),
        "ours_10": lambda: ours(lessons, 10),
        "ours_core_10": lambda: ours(lessons, 10, core),
        "ours_core_100": lambda: ours(lessons, 100, core),
        "ours_core_1000": lambda: ours(lessons, 1000, core),
        "ours_100": lambda: ours(lessons, 100),
        "ours_small_100": lambda: ours(lessons, 100, SMALL),
        "ours_small_1000": lambda: ours(lessons, 1000, SMALL),
        "nbgrader_core": lambda: nbgrader(lessons, stripped, (5, 10)),
        "nbgrader_real": lambda: nbgrader(lessons, lambda notebook: notebook, (1, 2)),
        "otter_core": lambda: otter(lessons, (1, 2)),
        "attacks_ours": lambda: attack_ours(lessons),
        "attacks_nbgrader": lambda: attack_nbgrader(lessons),
        "attacks_otter": lambda: attack_otter(lessons),
    }


def measure(lessons: Lessons, wanted: list[str]) -> None:
    PARTS.mkdir(parents=True, exist_ok=True)
    for name, work in parts(lessons).items():
        if wanted and name not in wanted:
            continue
        load, began = os.getloadavg()[0], time.perf_counter()
        figures = work()
        record = {"figures": figures, "load_before": round(load, 1), "seconds": round(time.perf_counter() - began, 1),
                  "date": time.strftime("%Y-%m-%d %H:%M")}  # fmt: skip
        (PARTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
        print(f"  {name}: {json.dumps(figures)}", flush=True)


def wrapped(text: str) -> str:
    """Break long lines of prose; tables stay as they are."""
    return "\n".join(
        line if line.startswith(("|", "<", ":", "`")) else textwrap.fill(line, 118, break_long_words=False,
                                                                      subsequent_indent="  " * line.startswith("- "))
        for line in text.split("\n")
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help="names of parts; default: all")
    parser.add_argument("--publish", action="store_true", help="write benches/results/graders.json and the picture")
    parser.add_argument("--note", default="", help="how it was measured; default: as published")
    options = parser.parse_args()
    lessons = prepare(PLACE)
    if unknown := set(options.parts) - set(parts(lessons)):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(parts(lessons))}")
    if options.parts or not options.publish:
        measure(lessons, options.parts)
    from peers import page, summary

    published = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"parts": {}, "machine": {"note": ""}}
    machine = {"cores": CORES, "processor": platform.machine(), "python": platform.python_version(),
               "note": options.note or published["machine"]["note"]}  # fmt: skip
    held = summary.parts_of(published)
    held |= {path.stem: json.loads(path.read_text()) for path in sorted(PARTS.glob("*.json"))}
    held = {name: held[name] for name in parts(lessons) if name in held}
    figures = summary.of(held, machine)
    if options.publish:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(figures, indent=1) + "\n")
        summary.draw(figures, ROOT / "book" / "_static" / "grader_benchmark.svg")
        (ROOT / "book" / "grader_benchmark.md").write_text(wrapped(page.text(figures, RESULTS.parent)))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
