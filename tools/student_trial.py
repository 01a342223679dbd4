"""A student's first hour, tried on another system: `prepare DIR` here, then `walk DIR` there.

`prepare` needs the checkout: it writes a release of chapter 3 to DIR/repository, and beside it notebooks that were
filled in wrong and right. `walk` needs the student's package alone and the standard library: doctor, check wrong, check
right, submit. It runs on Linux, macOS and Windows.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

EXERCISE = "ch03.conv2d"
SLUG = "ch03_convolutional_networks"
SAMPLES = {"wrong": "tim", "right": "ada"}  # tim's conv2d ignores the stride


def prepare(place: Path) -> None:
    """Write the release, the two samples, and this file."""
    import nbformat

    from autograder.chapter import rows
    from autograder.demo.sample_class import CLASS, fill
    from autograder.release import repository

    to = place / "repository"
    repository.release(to, ["ch03"], progress=lambda text: print(f"  {text}", flush=True))
    row = rows.load_row("ch03")
    for folder, student in SAMPLES.items():
        sample = next(sample for sample in CLASS if sample.student == student)
        (place / folder / SLUG).mkdir(parents=True, exist_ok=True)
        for path in sorted((to / SLUG).glob("*.ipynb")):
            nbformat.write(fill(nbformat.read(path, as_version=4), row, sample), place / folder / SLUG / path.name)
    shutil.copyfile(__file__, place / Path(__file__).name)


def dlcv(place: Path, *arguments: str) -> tuple[int, str]:
    """Run the command line in a process of its own, as a terminal does; return exit code and standard output."""
    start = "from dlcv_lab.cli import main; main()"
    command = [sys.executable, "-X", "utf8", "-c", start, *arguments]
    done = subprocess.run(command, cwd=place, stdout=subprocess.PIPE, encoding="utf-8", timeout=900)
    print(f"$ dlcv {' '.join(arguments)}\n{done.stdout}", flush=True)
    return done.returncode, done.stdout


def expect(what: str, good: bool) -> None:
    if not good:
        sys.exit(f"not as it should be: {what}")
    print(f"as it should be: {what}\n", flush=True)


def walk(place: Path) -> None:
    """Do what a student does, and stop at the first thing that is not as it should be."""
    repository = place / "repository"
    code, _ = dlcv(repository, "doctor")
    expect("the doctor finds nothing that fails", code == 0)
    found = {}
    for folder in SAMPLES:
        code, said = dlcv(repository, "check", EXERCISE, "--in", str((place / folder / SLUG).resolve()), "--json")
        (found[folder],) = json.loads(said)
        expect(f"{folder}: exit code {code}", code == (1 if folder == "wrong" else 0))
    expect("the wrong one is told about the stride", "stride" in found["wrong"]["hint"])
    expect("the right one is right", found["right"]["verdict"] == "OK")
    code, _ = dlcv(repository, "submit", "ch03", "--in", str((place / "right" / SLUG).resolve()))
    expect("submit writes a receipt", code == 0 and (place / "right" / SLUG / "submission.json").exists())


def main() -> None:
    verbs = {"prepare": prepare, "walk": walk}
    if len(sys.argv) != 3 or sys.argv[1] not in verbs:
        sys.exit(f"usage: {Path(sys.argv[0]).name} prepare|walk DIR")
    verbs[sys.argv[1]](Path(sys.argv[2]))


if __name__ == "__main__":
    main()
