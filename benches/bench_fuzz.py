"""Random files against the reader (10 000) and random submissions through the sandbox (500): faults of the grader?

`python benches/bench_fuzz.py 10000 500`. It stops at the first fault with the file that made it.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "attacks"))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "fuzz"))

import attack_class
import fuzzing

from autograder.grade.marking import Marker
from autograder.sandbox import detect


def main() -> None:
    files, submissions = [int(text) for text in sys.argv[1:3]] if len(sys.argv) > 2 else (10_000, 500)
    with tempfile.TemporaryDirectory(prefix="dlcv-fuzz-") as folder:
        os.environ.update(attack_class.variables(Path(folder)))
        course = attack_class.make_course(Path(folder))
        with Marker(attack_class.SLUG, b"a secret of the benchmark", detect()) as marker:
            started = time.monotonic()
            read = fuzzing.fuzz_reader(marker.infos[attack_class.STEM], files) if files else {}
            between = time.monotonic()
            judged = fuzzing.fuzz_submissions(marker, attack_class.STEM, course.release, submissions)
    print(json.dumps({
        "files": files, "reader": read, "reader, s": round(between - started, 1), "submissions": submissions,
        "verdicts": judged, "sandbox, s": round(time.monotonic() - between, 1), "faults of the grader": 0,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
