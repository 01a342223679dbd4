"""What `check` calls right in a live kernel after "Restart and run all" is right on every road, or the verdict says
why.

Every notebook of `habits.py` is run live once (`live.py`), and read by the three roads: `dlcv check`, `dlcv submit` and
`dlcv grade`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from attack_class import SLUG, STEM, Course
from habits import HABITS, Habit

from autograder.grade.marking import Marker
from autograder.sandbox import detect
from dlcv_lab.checking.model import ExerciseResult, Job, Outcome
from dlcv_lab.checking.packs import find_chapter
from dlcv_lab.checking.runners import LocalRunner
from dlcv_lab.checking.submit import judge_public, submit_folder
from dlcv_lab.checking.wire import encode_job

pytestmark = pytest.mark.sandbox
EXERCISES = ("box_blur", "unsharp")
SAMPLE = ("a copy of the solution cell with an experiment, below", "top-level await", "a table filled by init()")


@dataclass(frozen=True)
class Corpus:
    """All notebooks as files, what a kernel says of them, and the three roads."""

    place: Path
    live: dict[str, dict[str, Any]]  # name -> what `live.run` returns
    roads: dict[str, dict[str, tuple[ExerciseResult, ...]]]  # road -> name -> results


class Remembering:
    """Runs each job once: `dlcv check` and `dlcv submit` give the same ones."""

    def __init__(self, runner: LocalRunner) -> None:
        self.runner, self.known = runner, dict[bytes, list[Outcome]]()

    def run(self, job: Job) -> list[Outcome]:
        key = encode_job(job)
        if key not in self.known:
            self.known[key] = self.runner.run(job)
        return self.known[key]


@pytest.fixture(scope="module")
def corpus(packed: Course, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    place = tmp_path_factory.mktemp("habits")
    names = dict(enumerate(HABITS))
    for number, name in names.items():
        raw = HABITS[name].make(packed.release)
        (place / f"{number:03d}.ipynb").write_bytes(raw)
        home = place / f"{number:03d}" / SLUG
        home.mkdir(parents=True)
        (home / f"{STEM}.ipynb").write_bytes(raw)
    words = [sys.executable, str(Path(__file__).parent / "live.py"), str(place)]
    running = subprocess.Popen(words, env=os.environ | {"OMP_NUM_THREADS": "1"})
    roads: dict[str, dict[str, tuple[ExerciseResult, ...]]] = {"check": {}, "submit": {}, "grade": {}}
    chapter = find_chapter("ch99")
    with LocalRunner() as local, Marker(SLUG, b"a secret of the tests", detect()) as marker:
        runner = Remembering(local)
        for number, name in names.items():
            home = place / f"{number:03d}" / SLUG
            path = home / f"{STEM}.ipynb"
            roads["check"][name] = tuple(judge_public(chapter, {STEM: path}, runner=runner))
            roads["submit"][name] = submit_folder(chapter, home, runner=runner).results
            roads["grade"][name] = marker.mark_notebook("alice", STEM, path.read_bytes())
    assert running.wait(300) == 0
    said = json.loads((place / "live.json").read_text())
    return Corpus(place, {name: said[f"{number:03d}"] for number, name in names.items()}, roads)


def told(corpus: Corpus, name: str) -> list[str]:
    """Return what is wrong about one notebook."""
    habit, live = HABITS[name], corpus.live[name]
    if "died" in live:
        return [f"{name}: the kernel died"]
    found = []
    for number, exercise in enumerate(EXERCISES):
        results = {road: each[name][number] for road, each in corpus.roads.items()}
        assert {result.name for result in results.values()} == {exercise}
        verdicts = {str(result.verdict) for result in results.values()}
        kernel = {*live["in place"][exercise], live["at the end"][exercise]}
        where = f"{name}, {exercise}: kernel {sorted(kernel)} {live['raised']}, roads " + ", ".join(
            f"{road} {result.verdict} {result.message} {result.hint} {' '.join(result.notes)}"
            for road, result in results.items()
        )
        agree = verdicts == {"OK"} if "OK" in kernel else len(verdicts) == 1 and verdicts <= kernel
        if not agree and not habit.differs:
            found.append(where)
    return found + _unsaid(habit, corpus, name)


def _unsaid(habit: Habit, corpus: Corpus, name: str) -> list[str]:
    """Tell whether a verdict lacks what it must say, or a listed difference is none any more."""
    firsts = {road: each[name][0] for road, each in corpus.roads.items()}
    silent = [
        f"{name}: {road} says {r.verdict} {r.message}" for road, r in firsts.items() if habit.says not in r.message
    ]
    live = corpus.live[name]
    kernel = {*live["in place"]["box_blur"], live["at the end"]["box_blur"]}
    same = {str(result.verdict) for result in firsts.values()} <= kernel
    return silent + ([f"{name}: it does not differ any more"] if habit.differs and same else [])


def test_kernel_and_roads_agree_on_every_notebook(corpus: Corpus) -> None:
    wrong = [line for name in HABITS for line in told(corpus, name)]
    differing = [name for name, habit in HABITS.items() if habit.differs]
    verdicts = Counter(str(results[0].verdict) for results in corpus.roads["grade"].values())
    print(f"{len(HABITS)} notebooks, {len(HABITS) - len(differing)} alike in the kernel and on three roads; listed:")
    for name in differing:
        print(f"  {name}: {HABITS[name].differs}")
    print(f"verdicts: {dict(verdicts)}")
    assert not wrong, "\n".join(wrong)
    assert len(HABITS) >= 60


def test_a_sample_says_the_same_in_a_real_kernel(corpus: Corpus) -> None:
    import nbformat
    from nbclient import NotebookClient

    for name in SAMPLE:
        number = list(HABITS).index(name)
        notebook = nbformat.read(corpus.place / f"{number:03d}.ipynb", as_version=4)
        lines = [f"print([str(__import__('dlcv_lab').check(name).verdict) for name in {EXERCISES!r}])"]
        notebook.cells += [nbformat.v4.new_code_cell(line) for line in lines]
        client = NotebookClient(notebook, timeout=120, kernel_name="python3", allow_errors=True, resources={})
        client.execute(cwd=str(corpus.place))
        live = corpus.live[name]
        assert notebook.cells[-1].outputs[0].text.strip() == str([live["at the end"][each] for each in EXERCISES]), name
        heads = [text.split(":")[0] for cell in notebook.cells if cell.cell_type == "code" and "check(" in cell.source
                 for output in cell.outputs if (text := output.get("data", {}).get("text/plain", ""))]  # fmt: skip
        right = sum("right" in head and "partly" not in head for head in heads)
        assert right == sum(verdicts.count("OK") for verdicts in live["in place"].values()), name


def test_the_commands_say_what_their_functions_say(corpus: Corpus, packed: Course) -> None:
    name = "a helper that is right only at the end"
    home = corpus.place / f"{list(HABITS).index(name):03d}"
    for road, words in (
        ("check", ["check", "ch99", "--in", str(home), "--json"]),
        ("submit", ["submit", "ch99", "--in", str(home), "--json"]),
        (
            "grade",
            ["grade", str(corpus.place / "class"), "--chapter", "ch99", "--json", str(corpus.place / "grades.json")],
        ),
    ):
        if road == "grade":
            (corpus.place / "class").mkdir()
            (corpus.place / "class" / f"ann__{STEM}.ipynb").write_bytes(HABITS[name].make(packed.release))
        main = [sys.executable, "-c", "from dlcv_lab.cli import main; main()", *words]
        done = subprocess.run(main, env=packed.environment, capture_output=True, text=True, timeout=300)
        out = (corpus.place / "grades.json").read_text() if road == "grade" else done.stdout
        told = json.loads(out)
        listed = told["students"][0]["exercises"] if road == "grade" else told["results"] if road == "submit" else told
        expected = {result.name: str(result.verdict) for result in corpus.roads[road][name]}
        assert {item["name"]: item["verdict"] for item in listed} == expected, done.stderr
